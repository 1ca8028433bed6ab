use std::sync::Arc;

use plsim_types::Duration;

use crate::stream::Stream;

/// How a quantity varies from one draw to the next.
///
/// Values are whole and never negative: nanoseconds or bytes. A seed gives the same values on every
/// machine: the functions behind them are `libm`'s, and what is larger than `u64` saturates.
#[derive(Debug, Clone, PartialEq)]
pub enum Distribution {
    /// Always this value; takes nothing from the stream.
    Fixed(u64),
    /// Every whole number from `low` to `high`, both included, is as likely as any other.
    Uniform {
        /// The smallest value.
        low: u64,
        /// The largest value, at least `low`.
        high: u64,
    },
    /// Exponential: what remains does not depend on what has passed.
    Exponential {
        /// The mean.
        mean: u64,
    },
    /// Log-normal: the logarithm is normal.
    LogNormal {
        /// The median, above zero.
        median: u64,
        /// The standard deviation of the natural logarithm, finite and not negative.
        sigma: f64,
    },
    /// Pareto, truncated at both ends: the law of values that are known to be at most `maximum`.
    Pareto {
        /// The smallest value, above zero.
        minimum: u64,
        /// The tail index, finite and above zero: the smaller, the heavier the tail.
        shape: f64,
        /// The largest value, at least `minimum`.
        maximum: u64,
    },
    /// One of these values, each with the sum of the weights up to and including its own: weights
    /// rise from entry to entry, the first is above zero.
    Empirical(Arc<[(u64, u64)]>),
}

impl Distribution {
    /// Builds the distribution of values with weights; a weight of zero is never drawn.
    ///
    /// `None` if no weight is above zero, or if their sum does not fit.
    #[must_use]
    pub fn empirical(weighted: &[(u64, u64)]) -> Option<Self> {
        let mut sum = 0_u64;
        let mut cumulative = Vec::with_capacity(weighted.len());
        for &(value, weight) in weighted.iter().filter(|(_, weight)| *weight > 0) {
            sum = sum.checked_add(weight)?;
            cumulative.push((value, sum));
        }
        (sum > 0).then(|| Self::Empirical(cumulative.into()))
    }

    /// Builds Zipf's law of the numbers below `count`: number k comes in proportion to
    /// 1 / (k + 1)^exponent.
    ///
    /// `None` without a number, with more than a million, or if the exponent lies outside 0..=10.
    #[must_use]
    pub fn zipf(count: u64, exponent: f64) -> Option<Self> {
        /// The weight of the first one, so large that those of a million others add up.
        const FIRST: f64 = (1_u64 << 43) as f64;
        if !(0.0..=10.0).contains(&exponent) || count > 1_000_000 {
            return None;
        }
        let weight = |rank| to_whole(FIRST * libm::pow(to_real(rank), -exponent)).max(1);
        let weighted: Vec<_> = (0..count)
            .map(|number| (number, weight(number + 1)))
            .collect();
        Self::empirical(&weighted)
    }

    /// Draws a value.
    pub fn draw(&self, random: &mut Stream) -> u64 {
        match self {
            Self::Fixed(value) => *value,
            Self::Uniform { low, high } => match (high - low).checked_add(1) {
                Some(count) => low + random.below_u64(count),
                None => random.bits(),
            },
            Self::Exponential { mean } => to_whole(to_real(*mean) * random.exponential_unit()),
            Self::LogNormal { median, sigma } => {
                to_whole(to_real(*median) * libm::exp(sigma * random.normal_unit()))
            }
            Self::Pareto {
                minimum,
                shape,
                maximum,
            } => {
                // The inverse of (1 - (min / x)^shape) / (1 - (min / max)^shape).
                let least = to_real(*minimum);
                let cut = 1.0 - libm::pow(least / to_real(*maximum), *shape);
                let tail = 1.0 - random.unit() * cut;
                to_whole(least * libm::pow(tail, -1.0 / shape)).clamp(*minimum, *maximum)
            }
            Self::Empirical(cumulative) => {
                let sum = cumulative.last().map_or(0, |(_, sum)| *sum);
                let drawn = random.below_u64(sum);
                let at = cumulative.partition_point(|(_, sum)| *sum <= drawn);
                cumulative[at].0
            }
        }
    }

    /// Returns the mean of what is drawn, rounding to whole numbers aside; for a Pareto law that of
    /// the truncated one.
    #[must_use]
    pub fn mean(&self) -> f64 {
        match self {
            Self::Fixed(value) => to_real(*value),
            Self::Uniform { low, high } => to_real(*low).midpoint(to_real(*high)),
            Self::Exponential { mean } => to_real(*mean),
            Self::LogNormal { median, sigma } => to_real(*median) * libm::exp(0.5 * sigma * sigma),
            Self::Pareto {
                minimum,
                shape,
                maximum,
            } => {
                let least = to_real(*minimum);
                let span = libm::log(to_real(*maximum) / least);
                if span == 0.0 {
                    return least;
                }
                let above_one = shape - 1.0;
                // With shape 1 the integral is a logarithm, near it the quotient is its limit.
                let integral = if above_one == 0.0 {
                    span
                } else {
                    -libm::expm1(-above_one * span) / above_one
                };
                least * shape * integral / -libm::expm1(-shape * span)
            }
            Self::Empirical(cumulative) => {
                let mut before = 0;
                let mut weighted = 0.0;
                for &(value, sum) in cumulative.iter() {
                    weighted += to_real(value) * to_real(sum - before);
                    before = sum;
                }
                weighted / to_real(before)
            }
        }
    }

    /// Returns the smallest and the largest value that can be drawn.
    #[must_use]
    pub fn range(&self) -> (u64, u64) {
        match self {
            Self::Fixed(value) => (*value, *value),
            Self::Uniform { low, high } => (*low, *high),
            Self::Exponential { mean: 0 } => (0, 0),
            Self::Exponential { .. } | Self::LogNormal { .. } => (0, u64::MAX),
            Self::Pareto {
                minimum, maximum, ..
            } => (*minimum, *maximum),
            Self::Empirical(cumulative) => {
                let values = || cumulative.iter().map(|(value, _)| *value);
                (values().min().unwrap_or(0), values().max().unwrap_or(0))
            }
        }
    }

    /// Checks the documented ranges of the parameters.
    ///
    /// # Panics
    /// If one lies outside.
    pub fn check(&self) {
        match self {
            Self::Fixed(_) | Self::Exponential { .. } => {}
            Self::Uniform { low, high } => assert!(low <= high, "low must not be above high"),
            Self::LogNormal { median, sigma } => assert!(
                *median > 0 && sigma.is_finite() && *sigma >= 0.0,
                "a median is above 0, a sigma at least 0"
            ),
            Self::Pareto {
                minimum,
                shape,
                maximum,
            } => assert!(
                *minimum > 0 && minimum <= maximum && shape.is_finite() && *shape > 0.0,
                "0 < minimum <= maximum, and the shape is above 0"
            ),
            Self::Empirical(cumulative) => assert!(
                cumulative.first().is_some_and(|(_, sum)| *sum > 0)
                    && cumulative.is_sorted_by(|(_, one), (_, next)| one < next),
                "cumulative weights rise, from above 0"
            ),
        }
    }
}

impl From<Duration> for Distribution {
    /// A span that is always the same, in nanoseconds.
    fn from(span: Duration) -> Self {
        Self::Fixed(span.as_nanos())
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a random value needs no more than 53 bits"
)]
const fn to_real(value: u64) -> f64 {
    value as f64
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "from float to integer saturates"
)]
fn to_whole(value: f64) -> u64 {
    libm::rint(value) as u64
}
