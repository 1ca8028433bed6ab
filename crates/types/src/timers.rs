use crate::time::{Duration, Instant};

/// The time-outs of a NAT. All must be above zero except the hold-downs, of which zero frees the
/// port at once.
///
/// RFC 7857 §2.1 asks for separate timers of opening and of closing connections: `half_open`, and
/// one hold-down for each way in which a flow may end. A connection that idles out has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timers {
    /// Life of a TCP binding whose SYN was not answered, since the client's last packet.
    pub half_open: Duration,
    /// Life of an established TCP binding since its last packet either way.
    pub established_idle: Duration,
    /// Life of a TCP binding of which one side has sent FIN, since its last packet either way.
    pub half_closed_idle: Duration,
    /// Life of a UDP binding since its last packet either way.
    pub udp_idle: Duration,
    /// How long a port rests after FIN from both sides.
    pub hold_down_fin: Duration,
    /// How long a port rests after a valid RST.
    pub hold_down_rst: Duration,
    /// How long a port rests after `half_open` has run out.
    pub hold_down_half_open: Duration,
    /// How long a port rests after `udp_idle` has run out (RFC 6888 REQ-8).
    pub hold_down_udp: Duration,
    /// `None`: idle bindings expire to the nanosecond. `Some(i)`: they expire at the first multiple
    /// of `i` (since the start of the run) at which they have been idle long enough; 240 s scanned
    /// every 60 s gives the 240 s to 300 s that Azure support measured (D-240). Half-open ones and
    /// hold-downs end exactly in any case.
    pub idle_scan_interval: Option<Duration>,
}

impl Timers {
    /// Azure: 300 s idle (DP-5); half-open and hold-downs as its NAT Gateway documents (D-NGW). It
    /// rests UDP ports for 65 s too, but nothing says so of Private Link: zero here.
    #[must_use]
    pub const fn azure() -> Self {
        Self {
            half_open: Duration::from_secs(30),
            established_idle: Duration::from_secs(300),
            half_closed_idle: Duration::from_secs(300),
            udp_idle: Duration::from_secs(300),
            hold_down_fin: Duration::from_secs(65),
            hold_down_rst: Duration::from_secs(16),
            hold_down_half_open: Duration::ZERO,
            hold_down_udp: Duration::ZERO,
            idle_scan_interval: None,
        }
    }

    /// The RFCs: RFC 5382 REQ-5 (2 h 4 min established, also half-closed; 4 min transitory), RFC
    /// 4787 REQ-5 (UDP), RFC 6888 REQ-8 (120 s of rest for a UDP port).
    #[must_use]
    pub const fn rfc() -> Self {
        Self {
            half_open: Duration::from_secs(240),
            established_idle: Duration::from_secs(7_440),
            half_closed_idle: Duration::from_secs(7_440),
            udp_idle: Duration::from_secs(300),
            hold_down_fin: Duration::from_secs(240),
            hold_down_rst: Duration::from_secs(240),
            hold_down_half_open: Duration::ZERO,
            hold_down_udp: Duration::from_secs(120),
            idle_scan_interval: None,
        }
    }

    /// Linux conntrack 6.1's defaults, as far as these states tell them apart (KERN): SYN_SENT,
    /// ESTABLISHED, CLOSE_WAIT, the UDP stream, TIME_WAIT and CLOSE.
    ///
    /// It has more states: SYN_RECV (60 s; here a SYN-ACK establishes, RFC 6146), FIN_WAIT (120 s,
    /// until the FIN is acknowledged), LAST_ACK (30 s), UDP before the first reply (30 s), and 300 s
    /// after three retransmissions without an answer.
    #[must_use]
    pub const fn linux() -> Self {
        Self {
            half_open: Duration::from_secs(120),
            established_idle: Duration::from_secs(432_000),
            half_closed_idle: Duration::from_secs(60),
            udp_idle: Duration::from_secs(120),
            hold_down_fin: Duration::from_secs(120),
            hold_down_rst: Duration::from_secs(10),
            hold_down_half_open: Duration::ZERO,
            hold_down_udp: Duration::ZERO,
            idle_scan_interval: None,
        }
    }

    /// Returns the instant at which something last used at `last` has been idle too long.
    #[must_use]
    #[inline]
    pub fn idle_deadline(&self, last: Instant, timeout: Duration) -> Instant {
        let exact = last + timeout;
        let Some(interval) = self.idle_scan_interval else {
            return exact;
        };
        let scans = exact.as_nanos().div_ceil(interval.as_nanos());
        Instant::from_nanos(scans.saturating_mul(interval.as_nanos()))
    }

    /// Returns the name of a timer that is zero but must not be.
    #[must_use]
    pub fn zero(&self) -> Option<&'static str> {
        let timers = [
            ("half_open", self.half_open),
            ("established_idle", self.established_idle),
            ("half_closed_idle", self.half_closed_idle),
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

#[cfg(test)]
mod tests {
    use super::Timers;
    use crate::time::Duration;

    fn timers(live: [u64; 4], rests: [u64; 4]) -> Timers {
        let [half_open, established_idle, half_closed_idle, udp_idle] =
            live.map(Duration::from_secs);
        let [
            hold_down_fin,
            hold_down_rst,
            hold_down_half_open,
            hold_down_udp,
        ] = rests.map(Duration::from_secs);
        Timers {
            half_open,
            established_idle,
            half_closed_idle,
            udp_idle,
            hold_down_fin,
            hold_down_rst,
            hold_down_half_open,
            hold_down_udp,
            idle_scan_interval: None,
        }
    }

    /// D-NGW and DP-5, RFC 5382 and 4787, KERN.
    #[test]
    fn the_times_are_those_of_the_sources() {
        let minutes = 60;
        let hours = 60 * minutes;
        let established = 2 * hours + 4 * minutes;
        let transitory = 4 * minutes;
        assert_eq!(Timers::azure(), timers([30, 300, 300, 300], [65, 16, 0, 0]));
        assert_eq!(
            Timers::rfc(),
            timers(
                [transitory, established, established, 5 * minutes],
                [transitory, transitory, 0, 2 * minutes]
            )
        );
        assert_eq!(
            Timers::linux(),
            timers(
                [2 * minutes, 5 * 24 * hours, minutes, 2 * minutes],
                [2 * minutes, 10, 0, 0]
            )
        );
    }

    #[test]
    fn a_timer_of_zero_is_named_and_a_hold_down_may_be_zero() {
        let zero = |change: fn(&mut Timers)| {
            let mut timers = Timers::azure();
            change(&mut timers);
            timers.zero()
        };
        assert_eq!(zero(|t| t.half_open = Duration::ZERO), Some("half_open"));
        assert_eq!(
            zero(|t| t.established_idle = Duration::ZERO),
            Some("established_idle")
        );
        assert_eq!(
            zero(|t| t.half_closed_idle = Duration::ZERO),
            Some("half_closed_idle")
        );
        assert_eq!(zero(|t| t.udp_idle = Duration::ZERO), Some("udp_idle"));
        assert_eq!(
            zero(|t| t.idle_scan_interval = Some(Duration::ZERO)),
            Some("idle_scan_interval")
        );
        assert_eq!(zero(|t| t.hold_down_fin = Duration::ZERO), None);
    }
}
