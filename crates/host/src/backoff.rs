use plsim_types::Duration;

/// Retransmissions back off up to this interval (KERN: `TCP_RTO_MAX`; RFC 6298 §2.5 allows any from
/// 60 s on).
const MAX_RTO: Duration = Duration::from_secs(120);

/// The times from one transmission of the same to the next (RFC 6298 §5.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Backoff {
    first: Duration,
    linear: u8,
}

impl Backoff {
    /// Begins with this time, which doubles each time but the first `linear` ones.
    pub(crate) const fn new(first: Duration, linear: u8) -> Self {
        Self { first, linear }
    }

    /// Returns the time until the next retransmission after `count` in a row.
    pub(crate) fn gap(self, count: u8) -> Duration {
        let doublings = count.saturating_sub(self.linear).min(32);
        let limit = MAX_RTO.max(self.first);
        self.first.times(1 << doublings).min(limit)
    }

    /// Returns the time from the first transmission to retransmission number `count`.
    pub(crate) fn waited(self, count: u8) -> Duration {
        (0..count).fold(Duration::ZERO, |sum, sent| sum + self.gap(sent))
    }
}

#[cfg(test)]
mod tests {
    use super::Backoff;
    use plsim_types::Duration;

    #[test]
    fn rfc_6298_2_5_the_interval_doubles_up_to_the_120_s_of_linux() {
        let backoff = Backoff::new(Duration::from_secs(1), 0);
        let spans = (0..9).map(|count| backoff.gap(count).as_nanos() / 1_000_000_000);
        assert_eq!(
            spans.collect::<Vec<_>>(),
            [1, 2, 4, 8, 16, 32, 64, 120, 120]
        );
        assert_eq!(backoff.gap(255), Duration::from_secs(120));
        assert_eq!(backoff.waited(7), Duration::from_secs(127));
        let slow = Backoff::new(Duration::from_secs(300), 2);
        assert_eq!(slow.gap(5), Duration::from_secs(300));
    }
}
