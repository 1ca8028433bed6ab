use plsim_types::{Duration, Instant};

/// The time-outs of a pool. All must be above zero except the hold-downs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timers {
    /// Life of a TCP binding whose SYN was not answered, since the client's last packet.
    pub half_open: Duration,
    /// Life of an established TCP binding (also half-closed) since its last packet either way.
    pub established_idle: Duration,
    /// Life of a UDP binding since its last packet either way.
    pub udp_idle: Duration,
    /// How long a port rests after FIN from both sides; zero frees it at once.
    pub hold_down_fin: Duration,
    /// How long a port rests after a valid RST; zero frees it at once.
    pub hold_down_rst: Duration,
    /// `None`: idle bindings expire to the nanosecond. `Some(i)`: they expire at the first multiple
    /// of `i` (since the start of the run) at which they have been idle long enough; 240 s scanned
    /// every 60 s gives the 240 s to 300 s that Azure support measured (D-240).
    pub idle_scan_interval: Option<Duration>,
}

impl Timers {
    /// Azure: 300 s idle (DP-5); half-open and hold-downs as its NAT Gateway documents (D-NGW).
    #[must_use]
    pub const fn azure() -> Self {
        Self {
            half_open: Duration::from_secs(30),
            established_idle: Duration::from_secs(300),
            udp_idle: Duration::from_secs(300),
            hold_down_fin: Duration::from_secs(65),
            hold_down_rst: Duration::from_secs(16),
            idle_scan_interval: None,
        }
    }

    /// The RFCs: RFC 5382 REQ-5 (2 h 4 min established, 4 min transitory), RFC 4787 REQ-5 (UDP).
    #[must_use]
    pub const fn rfc() -> Self {
        Self {
            half_open: Duration::from_secs(240),
            established_idle: Duration::from_secs(7_440),
            udp_idle: Duration::from_secs(300),
            hold_down_fin: Duration::from_secs(240),
            hold_down_rst: Duration::from_secs(240),
            idle_scan_interval: None,
        }
    }

    /// Linux conntrack 6.1's defaults, as far as these states tell them apart (KERN).
    #[must_use]
    pub const fn linux() -> Self {
        Self {
            half_open: Duration::from_secs(120),
            established_idle: Duration::from_secs(432_000),
            udp_idle: Duration::from_secs(120),
            hold_down_fin: Duration::from_secs(120),
            hold_down_rst: Duration::from_secs(10),
            idle_scan_interval: None,
        }
    }

    /// Returns the instant at which something last used at `last` has been idle too long.
    #[inline]
    pub(crate) fn idle_deadline(&self, last: Instant, timeout: Duration) -> Instant {
        let exact = last + timeout;
        let Some(interval) = self.idle_scan_interval else {
            return exact;
        };
        let scans = exact.as_nanos().div_ceil(interval.as_nanos());
        Instant::from_nanos(scans.saturating_mul(interval.as_nanos()))
    }

    /// Returns the name of a timer that is zero but must not be.
    pub(crate) fn zero(&self) -> Option<&'static str> {
        let timers = [
            ("half_open", self.half_open),
            ("established_idle", self.established_idle),
            ("udp_idle", self.udp_idle),
            (
                "idle_scan_interval",
                self.idle_scan_interval.unwrap_or(Duration::MAX),
            ),
        ];
        timers
            .into_iter()
            .find(|(_, span)| span.is_zero())
            .map(|(name, _)| name)
    }
}
