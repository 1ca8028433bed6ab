//! How long a round trip takes (RFC 6298 §2 and §3).

use std::cmp::Ordering;

use plsim_types::{Duration, Instant};

use super::{FLIGHT_BITS, MSS_BITS, State, Tcb};
use crate::backoff::Backoff;
use crate::parameters::TcpParameters;

/// The time of a round trip and its variation, in the 13 bits that a connection has to spare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct RoundTrip {
    /// SRTT: zero before it was measured, one for none, then from 1 ms to a minute in steps of a
    /// sixteenth or less.
    smoothed: u8,
    /// RTTVAR from 1 ms to half a minute, in 31 steps of the square root of two; zero for less.
    variation: u8,
}

/// Sixteen of these nanoseconds are the shortest smoothed time above none.
const UNIT: u64 = 1 << 16;
const LONGEST: u64 = 60_000_000_000;
const VARIATION_BITS: u8 = (1 << 5) - 1;

impl RoundTrip {
    /// Takes a measurement (RFC 6298 §2.2, §2.3).
    fn take(self, sample: Duration) -> Self {
        let sample = sample.as_nanos().min(LONGEST);
        let Some((smoothed, variation)) = self.times() else {
            return Self {
                smoothed: step_of_smoothed(sample),
                variation: step_of_variation(sample / 2),
            };
        };
        let error = smoothed.abs_diff(sample);
        Self {
            smoothed: toward(
                self.smoothed,
                step_of_smoothed(smoothed - smoothed / 8 + sample / 8),
                step_of_smoothed(sample),
            ),
            variation: toward(
                self.variation,
                step_of_variation(variation - variation / 4 + error / 4),
                step_of_variation(error),
            ),
        }
    }

    /// Returns the time until what is sent now is sent again: as in Linux the lower bound is the
    /// variation's, not that of the sum (RFC 6298 §2.4).
    fn timeout(self, parameters: &TcpParameters) -> Duration {
        match self.times() {
            None => parameters.unmeasured(),
            Some((smoothed, variation)) => {
                let variation = Duration::from_nanos(4 * variation);
                Duration::from_nanos(smoothed) + variation.max(parameters.min_rto)
            }
        }
    }

    fn times(self) -> Option<(u64, u64)> {
        let smoothed = match self.smoothed {
            0 => return None,
            1 => 0,
            step => u64::from(16 + (step - 2) % 16) << ((step - 2) / 16),
        };
        let variation = self.variation.checked_sub(1).map_or(0, |step| {
            let power = 1_000_000_u64 << (step / 2);
            if step % 2 == 0 {
                power
            } else {
                power * 181 / 128
            }
        });
        Some((smoothed * UNIT, variation))
    }
}

/// Returns the next step of an average, or a neighbour of the last one where a part of the way to the goal
/// is less than a step: it would never arrive.
fn toward(last: u8, next: u8, goal: u8) -> u8 {
    match goal.cmp(&last) {
        _ if next != last => next,
        Ordering::Less => last - 1,
        Ordering::Equal => last,
        Ordering::Greater => last + 1,
    }
}

/// Returns the nearest step, in nanoseconds up to a minute.
const fn step_of_smoothed(nanos: u64) -> u8 {
    let units = (nanos + UNIT / 2) / UNIT;
    let octave = match units {
        0..8 => return 1,
        8..16 => return 2,
        _ => units.ilog2() - 4,
    };
    let sixteenths = (units + (1 << octave) / 2) >> octave;
    // The sixteenths are 16 to 32: the last is the first of the next octave.
    (16 * octave as u64 + sixteenths - 14) as u8
}

/// Returns the nearest step, in nanoseconds up to a minute.
fn step_of_variation(nanos: u64) -> u8 {
    let micros = nanos / 1_000;
    // Its logarithm counts half octaves from 2^-1/4 ms on.
    let square = micros * micros * 1_414 / 1_000_000_000;
    match square.checked_ilog2() {
        None => 0,
        Some(half_octaves) => (half_octaves as u8 + 1).min(VARIATION_BITS),
    }
}

impl Tcb {
    /// Returns when what is in flight is sent again.
    pub(super) fn backoff(&self, parameters: &TcpParameters) -> Backoff {
        match self.state {
            State::SynSent => parameters.syn(),
            State::SynReceived => parameters.syn_ack(),
            _ => Backoff::new(self.round_trip().timeout(parameters), 0),
        }
    }

    /// Begins to measure: what is sent now is sent for the first time, behind nothing.
    pub(super) const fn begin_measuring(&mut self) {
        self.flight |= !FLIGHT_BITS;
    }

    /// Ends a measurement; false if there was none.
    pub(super) const fn end_measuring(&mut self) -> bool {
        let was_under_way = self.flight & !FLIGHT_BITS != 0;
        self.flight &= FLIGHT_BITS;
        was_under_way
    }

    /// Takes the round trip that an acknowledgement ends. When it began follows from the deadline
    /// that was set then.
    pub(super) fn measure(&mut self, now: Instant, parameters: &TcpParameters) {
        if !self.end_measuring() {
            return;
        }
        if let Some(deadline) = self.deadline() {
            let sent = deadline - parameters.wait(self.backoff(parameters), 0);
            let RoundTrip {
                smoothed,
                variation,
            } = self.round_trip().take(now.since(sent));
            self.deadline.set_note(smoothed);
            self.mss = self.mss & MSS_BITS | u16::from(variation) << MSS_BITS.count_ones();
        }
    }

    const fn round_trip(&self) -> RoundTrip {
        RoundTrip {
            smoothed: self.deadline.note(),
            variation: (self.mss >> MSS_BITS.count_ones()) as u8,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{RoundTrip, step_of_smoothed, step_of_variation};
    use crate::parameters::TcpParameters;
    use plsim_types::Duration;

    const LINUX: TcpParameters = TcpParameters::LINUX_CLIENT;
    const UNKNOWN: RoundTrip = RoundTrip {
        smoothed: 0,
        variation: 0,
    };

    /// Tells whether a span is this long, but for so many per cent.
    fn is_near(span: Duration, millis: u64, per_cent: u64) -> bool {
        span.as_nanos().abs_diff(millis * 1_000_000) <= millis * 10_000 * per_cent
    }

    #[test]
    fn every_step_is_nearest_to_its_own_time() {
        for smoothed in 1..=u8::MAX {
            let trip = RoundTrip {
                smoothed,
                variation: 0,
            };
            let (time, none) = trip.times().unwrap();
            assert_eq!((none, step_of_smoothed(time)), (0, smoothed));
            assert_eq!(step_of_smoothed(time + time / 130), smoothed);
            assert_eq!(step_of_smoothed(time - time / 130), smoothed);
        }
        for variation in 0..32 {
            let trip = RoundTrip {
                smoothed: 1,
                variation,
            };
            let (_, time) = trip.times().unwrap();
            assert_eq!(step_of_variation(time + time / 8), variation);
            assert_eq!(step_of_variation(time - time / 8), variation);
        }
        assert_eq!((step_of_smoothed(0), step_of_variation(0)), (1, 0));
        assert_eq!(
            UNKNOWN.take(Duration::from_secs(900)).smoothed,
            254,
            "a minute"
        );
    }

    #[test]
    fn rfc_6298_2_the_first_round_trip_counts_whole_and_the_others_for_an_eighth() {
        assert_eq!(UNKNOWN.timeout(&LINUX), Duration::from_secs(3), "§5.7");
        // 400 ms + 4 × 200 ms.
        let mut trip = UNKNOWN.take(Duration::from_millis(400));
        assert!(is_near(trip.timeout(&LINUX), 1_200, 15), "{trip:?}");
        // SRTT 500 ms, RTTVAR 150 + 200 ms.
        trip = trip.take(Duration::from_millis(1_200));
        assert!(is_near(trip.timeout(&LINUX), 1_900, 15), "{trip:?}");
        for _ in 0..100 {
            trip = trip.take(Duration::from_millis(1_200));
        }
        let last = trip.timeout(&LINUX);
        assert!(
            (1_200..2_000).contains(&(last.as_nanos() / 1_000_000)),
            "{trip:?}"
        );
    }

    #[test]
    fn linux_adds_200_ms_at_least() {
        for (micros, millis) in [(300, 201), (1_300, 201), (40_000, 240)] {
            let mut trip = UNKNOWN;
            for _ in 0..10 {
                trip = trip.take(Duration::from_micros(micros));
            }
            assert!(is_near(trip.timeout(&LINUX), millis, 1), "{micros}");
        }
    }
}
