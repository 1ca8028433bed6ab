use plsim_types::Duration;

/// Retransmissions back off up to this interval (RFC 6298 §2.5 allows 60 s or more).
const MAX_RTO: Duration = Duration::from_secs(60);

/// The timers of one side.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Parameters {
    /// Time until the first retransmission; later ones double it.
    pub(crate) initial_rto: Duration,
    /// Retransmissions of SYN or SYN-ACK before giving up.
    pub(crate) open_retries: u8,
    /// Retransmissions of data or FIN, and keepalive probes, before giving up.
    pub(crate) retries: u8,
    /// Silence after which a probe is sent.
    pub(crate) keepalive: Option<Duration>,
}

impl Parameters {
    /// Those of a workload without TCP.
    pub(crate) const IDLE: Self = Self {
        initial_rto: Duration::from_secs(1),
        open_retries: 0,
        retries: 0,
        keepalive: None,
    };

    /// Returns the time until the next retransmission after `count` in a row.
    pub(crate) fn rto(&self, count: u8) -> Duration {
        let limit = MAX_RTO.max(self.initial_rto);
        self.initial_rto.times(1 << count.min(32)).min(limit)
    }
}
