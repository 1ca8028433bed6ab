use plsim_types::Duration;

/// Buckets in each power of two.
const STEPS: u32 = 32;
const STEP_BITS: u32 = STEPS.trailing_zeros();

/// A distribution of time spans with exact count, sum, minimum and maximum.
///
/// Log-linear buckets, 32 in each power of two: a quantile is off by at most 1.6 %, spans below
/// 64 ns are exact. At most 15 KiB; what is all alike takes 8 bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Histogram {
    /// From the lowest that holds anything to the highest.
    buckets: Vec<u64>,
    /// The number of the first of them.
    first: usize,
    count: u64,
    sum: u128,
    min: u64,
    max: u64,
}

impl Histogram {
    /// Builds an empty histogram.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one span.
    pub fn record(&mut self, span: Duration) {
        self.record_many(span, 1);
    }

    /// Adds a span so often; above zero.
    pub(crate) fn record_many(&mut self, span: Duration, times: u64) {
        let nanos = span.as_nanos();
        let bucket = bucket(nanos);
        match bucket.checked_sub(self.first) {
            Some(place) if place < self.buckets.len() => self.buckets[place] += times,
            _ => {
                self.reach(bucket, bucket);
                self.buckets[bucket - self.first] += times;
            }
        }
        self.min = if self.count == 0 {
            nanos
        } else {
            self.min.min(nanos)
        };
        self.max = self.max.max(nanos);
        self.count += times;
        self.sum += u128::from(nanos) * u128::from(times);
    }

    /// Adds everything that another histogram holds.
    pub fn merge(&mut self, other: &Self) {
        if other.count == 0 {
            return;
        }
        self.reach(other.first, other.first + other.buckets.len() - 1);
        let place = other.first - self.first;
        for (mine, theirs) in self.buckets[place..].iter_mut().zip(&other.buckets) {
            *mine += theirs;
        }
        self.min = if self.count == 0 {
            other.min
        } else {
            self.min.min(other.min)
        };
        self.max = self.max.max(other.max);
        self.count += other.count;
        self.sum += other.sum;
    }

    /// Makes room for the buckets from one to another.
    fn reach(&mut self, lowest: usize, highest: usize) {
        if self.buckets.is_empty() {
            self.first = lowest;
        }
        let below = self.first.saturating_sub(lowest);
        self.buckets.splice(..0, std::iter::repeat_n(0, below));
        self.first -= below;
        let length = (highest + 1 - self.first).max(self.buckets.len());
        self.buckets.resize(length, 0);
    }

    /// Returns the number of spans.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// Returns the sum of all spans in nanoseconds.
    #[must_use]
    pub const fn sum_nanos(&self) -> u128 {
        self.sum
    }

    /// Returns the mean, rounded down to whole nanoseconds; `None` without spans.
    #[must_use]
    pub fn mean(&self) -> Option<Duration> {
        let mean = self.sum.checked_div(u128::from(self.count))?;
        u64::try_from(mean).ok().map(Duration::from_nanos)
    }

    /// Returns the shortest span; `None` without spans.
    #[must_use]
    pub fn min(&self) -> Option<Duration> {
        (self.count > 0).then_some(Duration::from_nanos(self.min))
    }

    /// Returns the longest span; `None` without spans.
    #[must_use]
    pub fn max(&self) -> Option<Duration> {
        (self.count > 0).then_some(Duration::from_nanos(self.max))
    }

    /// Visits the buckets that hold spans, in rising order: the shortest span of each in nanoseconds, and
    /// how many it holds.
    pub fn buckets(&self) -> impl Iterator<Item = (u64, u64)> {
        let buckets = self.buckets.iter().enumerate();
        let held = buckets.filter(|(_, count)| **count > 0);
        held.map(|(at, count)| (shortest(self.first + at), *count))
    }

    /// Returns the span that this share of all spans, in thousandths, does not exceed.
    ///
    /// `quantile(500)` is the median. Values above 1000 count as 1000; `None` without spans.
    #[must_use]
    pub fn quantile(&self, thousandths: u32) -> Option<Duration> {
        if self.count == 0 {
            return None;
        }
        let share = u128::from(thousandths.min(1_000));
        let rank = (u128::from(self.count) * share).div_ceil(1_000).max(1);
        let mut seen = 0_u128;
        let at = self.buckets.iter().position(|&held| {
            seen += u128::from(held);
            seen >= rank
        })?;
        let middle = middle(self.first + at);
        Some(Duration::from_nanos(middle.clamp(self.min, self.max)))
    }
}

/// Returns the bucket of a span.
const fn bucket(nanos: u64) -> usize {
    if nanos < STEPS as u64 {
        return nanos as usize;
    }
    let power = nanos.ilog2();
    let step = (nanos >> (power - STEP_BITS)) as u32 - STEPS;
    ((power - STEP_BITS + 1) * STEPS + step) as usize
}

/// Returns the shortest span of a bucket.
const fn shortest(bucket: usize) -> u64 {
    match bucket as u32 / STEPS {
        0 => bucket as u64,
        group => (STEPS as u64 + bucket as u64 % STEPS as u64) << (group - 1),
    }
}

/// Returns the span in the middle of a bucket.
const fn middle(bucket: usize) -> u64 {
    let width = match bucket as u32 / STEPS {
        0 => 0,
        group => 1_u64 << (group - 1),
    };
    shortest(bucket) + width / 2
}

#[cfg(test)]
mod tests {
    use super::{Histogram, bucket, middle};
    use plsim_types::Duration;

    #[test]
    fn buckets_tell_the_shortest_span_that_they_take_wherever_the_first_lies() {
        for nanos in [0_u64, 5, 63, 64, 1_340_000, 3_001_340_000] {
            let mut histogram = Histogram::new();
            histogram.record(Duration::from_nanos(nanos));
            let buckets: Vec<_> = histogram.buckets().collect();
            let [(from, 1)] = buckets[..] else {
                panic!("{buckets:?}");
            };
            assert!(
                from <= nanos && nanos - from <= nanos / 32,
                "{from} for {nanos}"
            );
            // The same beside a shorter one.
            histogram.record(Duration::ZERO);
            assert!(
                histogram.buckets().any(|(other, _)| other == from),
                "{nanos}"
            );
        }
    }

    #[test]
    fn every_span_is_within_two_percent_of_the_middle_of_its_bucket() {
        let mut nanos = 0_u64;
        while nanos < u64::MAX / 2 {
            let found = middle(bucket(nanos));
            assert!(
                found.abs_diff(nanos) * 50 <= nanos,
                "{nanos} is found as {found}"
            );
            nanos = nanos + nanos / 100 + 1;
        }
        assert_eq!(bucket(u64::MAX) + 1, 1_920);
        assert!(middle(1_919) > u64::MAX - (1 << 58));
        assert!((1..10_000_000).all(|nanos| bucket(nanos) - bucket(nanos - 1) <= 1));
    }

    #[test]
    fn quantiles_are_true_within_three_percent_and_the_ends_are_exact() {
        let mut histogram = Histogram::new();
        assert_eq!((histogram.quantile(500), histogram.min()), (None, None));
        for micros in 1..=10_000 {
            histogram.record(Duration::from_micros(micros));
        }
        for thousandths in [1, 10, 500, 900, 990, 999] {
            let truth = u64::from(thousandths) * 10_000;
            let found = histogram.quantile(thousandths).unwrap().as_nanos();
            assert!(
                found.abs_diff(truth) * 100 <= truth * 3,
                "{thousandths}: {found}"
            );
        }
        assert_eq!(histogram.quantile(1_000), histogram.max());
        assert_eq!(histogram.max(), Some(Duration::from_millis(10)));
        assert_eq!(histogram.min(), Some(Duration::from_micros(1)));
        assert_eq!(histogram.mean(), Some(Duration::from_nanos(5_000_500)));
        assert_eq!(
            (histogram.count(), histogram.sum_nanos()),
            (10_000, 50_005_000_000)
        );
    }

    #[test]
    fn merging_equals_recording_into_one() {
        let (mut left, mut right, mut both) = <(Histogram, Histogram, Histogram)>::default();
        for nanos in [5, 900, 70_000] {
            left.record(Duration::from_nanos(nanos));
            both.record(Duration::from_nanos(nanos));
        }
        right.record(Duration::from_secs(3));
        both.record(Duration::from_secs(3));
        left.merge(&right);
        left.merge(&Histogram::new());
        assert_eq!(left, both);
    }
}
