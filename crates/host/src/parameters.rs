use plsim_types::Duration;

/// Retransmissions back off up to this interval (KERN: `TCP_RTO_MAX`; RFC 6298 §2.5 allows any from
/// 60 s on).
const MAX_RTO: Duration = Duration::from_secs(120);

/// What the operating system of one end makes of TCP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TcpParameters {
    /// Time until the first retransmission, above zero; later ones double it up to 120 s
    /// (RFC 6298: 1 s).
    pub initial_rto: Duration,
    /// How often SYN or SYN-ACK is sent again before the attempt fails (Linux: 6 and 5).
    pub open_retries: u8,
    /// How often data, FIN or a zero-window probe is sent again before the connection is given up
    /// (Linux `tcp_retries2`: 15).
    pub retries: u8,
    /// Whether, and when, a silent connection is probed (RFC 9293 §3.8.4).
    pub keepalive: Option<TcpKeepalive>,
    /// How long sent data may stay unacknowledged, whatever `retries` says (RFC 9293 §3.8.3,
    /// RFC 5482). Above zero. It also decides about unanswered keepalive probes, instead of their
    /// number (Linux `TCP_USER_TIMEOUT`).
    pub user_timeout: Option<Duration>,
    /// How long an acknowledgement may wait for company, at most 500 ms (RFC 9293 §3.8.6.3); none is
    /// sent at once. Every second segment is acknowledged at once anyway.
    pub delayed_ack: Option<Duration>,
    /// How long the end that closed first remembers the connection (Linux: 60 s).
    pub time_wait: Duration,
}

/// The probes of a silent connection (RFC 9293 §3.8.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TcpKeepalive {
    /// Silence before the first probe, above zero.
    pub time: Duration,
    /// From one unanswered probe to the next, above zero.
    pub interval: Duration,
    /// How many probes stay unanswered before the connection is reset, above zero.
    pub probes: u8,
}

impl TcpParameters {
    /// A Linux client (KERN): `tcp_syn_retries` 6, `tcp_retries2` 15, `TCP_TIMEWAIT_LEN` 60 s.
    pub const LINUX_CLIENT: Self = Self {
        initial_rto: Duration::from_secs(1),
        open_retries: 6,
        retries: 15,
        keepalive: None,
        user_timeout: None,
        delayed_ack: None,
        time_wait: Duration::from_secs(60),
    };
    /// A Linux server (KERN): as the client, but `tcp_synack_retries` is 5.
    pub const LINUX_SERVER: Self = Self {
        open_retries: 5,
        ..Self::LINUX_CLIENT
    };

    /// # Panics
    /// If a value lies outside its documented range.
    pub(crate) fn check(&self) {
        let above_zero = |span: Duration, name| assert!(!span.is_zero(), "{name} must be above 0");
        above_zero(self.initial_rto, "initial_rto");
        if let Some(keepalive) = self.keepalive {
            above_zero(keepalive.time, "the keepalive time");
            above_zero(keepalive.interval, "the keepalive interval");
            assert!(keepalive.probes > 0, "keepalive needs at least one probe");
        }
        if let Some(timeout) = self.user_timeout {
            above_zero(timeout, "user_timeout");
        }
        if let Some(delay) = self.delayed_ack {
            above_zero(delay, "delayed_ack");
            let longest = Duration::from_millis(500);
            assert!(delay <= longest, "delayed_ack is at most 500 ms");
        }
        above_zero(self.time_wait, "time_wait");
    }

    /// Returns the time until the next retransmission after `count` in a row.
    pub(crate) fn rto(&self, count: u8) -> Duration {
        let limit = MAX_RTO.max(self.initial_rto);
        self.initial_rto.times(1 << count.min(32)).min(limit)
    }

    /// Returns how long the timer runs after `count` retransmissions of the same data: until the next
    /// one, or until the user's patience ends.
    pub(crate) fn wait(&self, count: u8) -> Duration {
        let rto = self.rto(count);
        match self.user_timeout {
            None => rto,
            Some(timeout) => {
                let waited = self.waited(count).as_nanos();
                rto.min(Duration::from_nanos(
                    timeout.as_nanos().saturating_sub(waited),
                ))
            }
        }
    }

    /// Tells whether data is given up whose timer has expired after `count` retransmissions.
    pub(crate) fn gives_up(&self, count: u8) -> bool {
        match self.user_timeout {
            None => count >= self.retries,
            Some(timeout) => self.waited(count) + self.rto(count) >= timeout,
        }
    }

    /// Tells whether a silent connection is given up when its next probe would be due.
    pub(crate) fn loses_patience(&self, keepalive: &TcpKeepalive, count: u8) -> bool {
        match self.user_timeout {
            None => count >= keepalive.probes,
            Some(timeout) => {
                let silence = keepalive.time + keepalive.interval.times(count.into());
                count > 0 && silence >= timeout
            }
        }
    }

    /// Returns how long a SYN, or SYN-ACK, without an answer is waited for in all.
    pub(crate) fn open_patience(&self) -> Duration {
        self.waited(self.open_retries.saturating_add(1))
    }

    /// Returns how long data, or a FIN, may stay unacknowledged.
    pub(crate) fn data_patience(&self) -> Duration {
        let all = || self.waited(self.retries.saturating_add(1));
        self.user_timeout.unwrap_or_else(all)
    }

    /// Returns the time from the first transmission to retransmission number `count`.
    fn waited(&self, count: u8) -> Duration {
        (0..count).fold(Duration::ZERO, |sum, sent| sum + self.rto(sent))
    }
}
