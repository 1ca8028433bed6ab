use plsim_types::Duration;

use crate::backoff::Backoff;

/// The time until data is sent again as long as no round trip could be measured, because the SYN was
/// sent again (RFC 6298 §5.7; KERN: `TCP_TIMEOUT_FALLBACK`).
const UNMEASURED_RTO: Duration = Duration::from_secs(3);

/// What the operating system of one end makes of TCP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TcpParameters {
    /// Time until a SYN or SYN-ACK is sent again, above zero; it doubles up to 120 s
    /// (RFC 6298 §2.1: 1 s).
    pub initial_rto: Duration,
    /// The least that is added to the measured round trip until data is sent again, above zero
    /// (KERN: `tcp_rto_min`, 200 ms). RFC 6298 §2.4 wants no less than 1 s in all.
    pub min_rto: Duration,
    /// How often SYN or SYN-ACK is sent again before the attempt fails (Linux: 6 and 5).
    pub open_retries: u8,
    /// How often a SYN is sent again before the interval begins to double, beyond `open_retries`
    /// (KERN: `tcp_syn_linear_timeouts`, 4 since Linux 6.5); nothing if those are none.
    pub syn_linear_timeouts: u8,
    /// How long data stays unacknowledged before the connection is given up: as long as so many
    /// retransmissions take that begin with `min_rto`, counted from the first one; none means that
    /// nothing is sent again (KERN: `tcp_retries2`, 15, which is 924.6 s). Of a zero-window probe it
    /// is how often it is sent again.
    pub retries: u8,
    /// The same for what the application has closed (KERN: `tcp_orphan_retries`, 8, which is 102.2 s).
    pub orphan_retries: u8,
    /// Whether, and when, a silent connection is probed (RFC 9293 §3.8.4).
    pub keepalive: Option<TcpKeepalive>,
    /// How long a SYN or data may stay unacknowledged, whatever `retries` says (RFC 9293 §3.8.3,
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
        min_rto: Duration::from_millis(200),
        open_retries: 6,
        syn_linear_timeouts: 0,
        retries: 15,
        orphan_retries: 8,
        keepalive: None,
        user_timeout: None,
        delayed_ack: None,
        time_wait: Duration::from_secs(60),
    };
    /// A Linux server (KERN): as the client, but `tcp_synack_retries` is 5.
    pub const LINUX_SERVER: Self = Self {
        open_retries: 5,
        syn_linear_timeouts: 0,
        ..Self::LINUX_CLIENT
    };

    /// # Panics
    /// If a value lies outside its documented range.
    pub(crate) fn check(&self) {
        let above_zero = |span: Duration, name| assert!(!span.is_zero(), "{name} must be above 0");
        above_zero(self.initial_rto, "initial_rto");
        above_zero(self.min_rto, "min_rto");
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

    /// Returns when a SYN is sent again.
    pub(crate) const fn syn(&self) -> Backoff {
        Backoff::new(self.initial_rto, self.linear_timeouts())
    }

    /// Returns when a SYN-ACK is sent again.
    pub(crate) const fn syn_ack(&self) -> Backoff {
        Backoff::new(self.initial_rto, 0)
    }

    /// Returns when data is sent again whose round trip was not measured.
    pub(crate) fn unmeasured(&self) -> Duration {
        self.initial_rto.max(UNMEASURED_RTO)
    }

    /// Returns how long the timer runs after `count` retransmissions of the same: until the next
    /// one, or until the user's patience ends.
    pub(crate) fn wait(&self, backoff: Backoff, count: u8) -> Duration {
        let gap = backoff.gap(count);
        match self.user_timeout {
            None => gap,
            Some(timeout) => {
                let waited = backoff.waited(count).as_nanos();
                gap.min(Duration::from_nanos(
                    timeout.as_nanos().saturating_sub(waited),
                ))
            }
        }
    }

    /// Tells whether a SYN is given up whose timer has expired after `count` retransmissions.
    pub(crate) fn gives_up_syn(&self, count: u8) -> bool {
        let most = self.open_retries.saturating_add(self.linear_timeouts());
        count >= most || self.tries_patience(self.syn(), count).unwrap_or(false)
    }

    /// Tells whether data is given up whose timer has expired after `count` retransmissions; an orphan's
    /// application has closed.
    ///
    /// Linux looks at the time since the first retransmission, at each one that is due.
    pub(crate) fn gives_up(&self, backoff: Backoff, count: u8, is_orphan: bool) -> bool {
        let retries = self.retries_of(is_orphan);
        self.tries_patience(backoff, count).unwrap_or_else(|| {
            let waited = backoff.waited(count) + backoff.gap(count);
            let since_first = waited.as_nanos() - backoff.gap(0).as_nanos();
            let is_over = since_first >= self.patience(retries).as_nanos();
            retries == 0 || count == u8::MAX || count > 0 && is_over
        })
    }

    /// Tells whether a closed window is given up after `count` probes in a row without an answer.
    pub(crate) fn gives_up_window(&self, backoff: Backoff, count: u8, is_orphan: bool) -> bool {
        let is_enough = || count >= self.retries_of(is_orphan);
        self.tries_patience(backoff, count)
            .unwrap_or_else(is_enough)
    }

    /// Tells whether the user's patience ends with the wait after `count` retransmissions, if a user
    /// is so impatient.
    fn tries_patience(&self, backoff: Backoff, count: u8) -> Option<bool> {
        let waited = || backoff.waited(count) + backoff.gap(count);
        self.user_timeout.map(|timeout| waited() >= timeout)
    }

    /// Returns how long so many retransmissions take.
    fn patience(&self, retries: u8) -> Duration {
        let backoff = Backoff::new(self.min_rto, 0);
        backoff.waited(retries.saturating_add(1))
    }

    const fn retries_of(&self, is_orphan: bool) -> u8 {
        if is_orphan {
            self.orphan_retries
        } else {
            self.retries
        }
    }

    const fn linear_timeouts(&self) -> u8 {
        match self.open_retries {
            0 => 0,
            _ => self.syn_linear_timeouts,
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

    /// Returns how long a SYN without an answer is waited for in all.
    pub(crate) fn syn_patience(&self) -> Duration {
        let timeouts = self.open_retries.saturating_add(self.linear_timeouts());
        let all = self.syn().waited(timeouts.saturating_add(1));
        self.user_timeout.map_or(all, |timeout| all.min(timeout))
    }

    /// Returns how long a SYN-ACK without an answer is waited for in all.
    pub(crate) fn syn_ack_patience(&self) -> Duration {
        self.syn_ack().waited(self.open_retries.saturating_add(1))
    }

    /// Returns how long a peer may say nothing before a connection at rest is given up, if it ever is.
    pub(crate) fn keepalive_patience(&self) -> Option<Duration> {
        let keepalive = self.keepalive?;
        let sent = (1..=u8::MAX).find(|&count| self.loses_patience(&keepalive, count))?;
        Some(keepalive.time + keepalive.interval.times(sent.into()))
    }

    /// Returns how long data, or a FIN, may stay unacknowledged.
    pub(crate) fn data_patience(&self, is_orphan: bool) -> Duration {
        let all = || self.patience(self.retries_of(is_orphan));
        self.user_timeout.unwrap_or_else(all)
    }
}

#[cfg(test)]
mod tests {
    use super::TcpParameters;
    use crate::backoff::Backoff;
    use plsim_types::Duration;

    const LINUX: TcpParameters = TcpParameters::LINUX_CLIENT;

    fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// Returns when data is given up that is sent again after this time, in milliseconds.
    fn given_up(parameters: &TcpParameters, rto: u64, is_orphan: bool) -> u64 {
        let backoff = Backoff::new(millis(rto), 0);
        let mut counts = 0..=u8::MAX;
        let last = counts.find(|&count| parameters.gives_up(backoff, count, is_orphan));
        (backoff.waited(last.unwrap()) + backoff.gap(last.unwrap())).as_nanos() / 1_000_000
    }

    #[test]
    fn tcp_retries2_is_a_time_of_924_6_s_and_the_first_timer_behind_it_gives_up() {
        assert_eq!(LINUX.data_patience(false), millis(924_600));
        assert_eq!(given_up(&LINUX, 201, false), 925_623);
        // With 200 ms to the nanosecond it lacks one retransmission.
        assert_eq!(given_up(&LINUX, 200, false), 1_044_600);
        assert_eq!(given_up(&LINUX, 1_000, false), 967_000);
    }

    #[test]
    fn what_the_application_has_closed_is_given_up_after_102_s() {
        assert_eq!(LINUX.data_patience(true), millis(102_200));
        assert_eq!(given_up(&LINUX, 201, true), 102_711);
    }

    #[test]
    fn no_retries_are_none_and_a_user_is_obeyed() {
        let never = TcpParameters {
            retries: 0,
            ..LINUX
        };
        assert_eq!(given_up(&never, 201, false), 201);
        let user = TcpParameters {
            user_timeout: Some(millis(30_000)),
            ..LINUX
        };
        let backoff = Backoff::new(millis(200), 0);
        // 25.4 s after seven retransmissions, the eighth would come at 51 s.
        assert_eq!(user.wait(backoff, 7), millis(4_600));
        assert!(user.gives_up(backoff, 7, false) && !user.gives_up(backoff, 6, false));
        assert_eq!(user.syn_patience(), millis(30_000));
        assert!(
            user.gives_up_syn(4) && !user.gives_up_syn(3),
            "31 s, and 15 s"
        );
        assert_eq!(user.wait(user.syn(), 4), millis(15_000));
    }

    #[test]
    fn since_linux_6_5_a_syn_is_sent_ten_times_again_and_given_up_after_131_s() {
        let today = TcpParameters {
            syn_linear_timeouts: 4,
            ..LINUX
        };
        let sent: Vec<u64> = (0..=11)
            .map(|count| today.syn().waited(count).as_nanos() / 1_000_000_000)
            .collect();
        assert_eq!(sent, [0, 1, 2, 3, 4, 5, 7, 11, 19, 35, 67, 131]);
        assert!(today.gives_up_syn(10) && !today.gives_up_syn(9));
        assert_eq!(today.syn_patience(), millis(131_000));
        assert_eq!(LINUX.syn_patience(), millis(127_000));
        assert_eq!(today.syn_ack_patience(), millis(127_000), "not the SYN-ACK");
        let once = TcpParameters {
            open_retries: 0,
            ..today
        };
        assert!(once.gives_up_syn(0));
    }
}
