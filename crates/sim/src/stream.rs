use plsim_types::{Duration, KeyedHash};
use rand::{Rng, RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

use crate::distribution::Distribution;

/// One entity's own stream of random numbers.
///
/// The generator is PCG XSL 64 (MCG) by name, so a seed gives the same numbers in every version;
/// the seed comes from (run seed, kind, name), so adding an entity shifts nobody else's stream.
#[derive(Debug, Clone)]
pub struct Stream {
    generator: Pcg64Mcg,
}

impl Stream {
    /// Opens the stream of the entity `kind`/`name` in the run with this seed.
    #[must_use]
    pub fn new(seed: u64, kind: &str, name: &str) -> Self {
        let entity = KeyedHash::new(seed, kind).derive(name);
        let mut state = [0; 16];
        state[..8].copy_from_slice(&entity.word(0).to_le_bytes());
        state[8..].copy_from_slice(&entity.word(1).to_le_bytes());
        Self {
            generator: Pcg64Mcg::from_seed(state),
        }
    }

    /// Draws 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.generator.next_u64()
    }

    /// Draws a number of `0..limit`; `limit` must be above zero.
    pub fn below(&mut self, limit: u32) -> u32 {
        self.generator.random_range(0..limit)
    }

    /// Draws a number of `0..limit`, each exactly as likely; `limit` must be above zero.
    #[expect(clippy::cast_possible_truncation, reason = "the halves of a product")]
    pub fn below_u64(&mut self, limit: u64) -> u64 {
        let mut draw = || u128::from(self.bits()) * u128::from(limit);
        let mut product = draw();
        // What is left of 2^64 / limit is drawn again (Lemire 2019).
        let excess = limit.wrapping_neg() % limit;
        while (product as u64) < excess {
            product = draw();
        }
        (product >> 64) as u64
    }

    /// Draws a number of [0, 1) with 53 random bits.
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit exactly")]
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 * (1.0 / 9_007_199_254_740_992.0)
    }

    /// Returns true with the given probability, 0..=1.
    pub fn chance(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// Draws an exponentially distributed number with the mean 1, at most 37.
    ///
    /// The logarithm is `libm`'s, which gives the same bytes on every machine.
    pub fn exponential_unit(&mut self) -> f64 {
        -libm::log(1.0 - self.unit())
    }

    /// Draws a normally distributed number with the mean 0 and the standard deviation 1, at most
    /// 8.6 away from 0 (Box and Muller 1958).
    pub fn normal_unit(&mut self) -> f64 {
        let radius = libm::sqrt(2.0 * self.exponential_unit());
        radius * libm::cos(core::f64::consts::TAU * self.unit())
    }

    /// Draws an exponentially distributed span with this mean, rounded to whole nanoseconds.
    pub fn exponential(&mut self, mean: Duration) -> Duration {
        let law = Distribution::Exponential {
            mean: mean.as_nanos(),
        };
        Duration::from_nanos(law.draw(self))
    }
}

#[cfg(test)]
mod tests {
    use super::Stream;
    use plsim_types::Duration;

    #[test]
    fn the_generator_is_fixed_for_good() {
        let mut stream = Stream::new(1, "client-vm", "golden");
        let drawn: Vec<u64> = (0..3).map(|_| stream.bits()).collect();
        let golden = [
            8_457_162_073_434_435_259,
            5_430_687_110_647_566_683,
            806_378_299_178_973_990,
        ];
        assert_eq!(drawn, golden, "seeded results of every user would change");
    }

    #[test]
    fn names_and_kinds_open_different_streams() {
        let mut first = Stream::new(1, "client-vm", "a");
        assert_ne!(first.bits(), Stream::new(1, "client-vm", "b").bits());
        assert_ne!(first.bits(), Stream::new(1, "channel", "a").bits());
        assert_ne!(first.bits(), Stream::new(2, "client-vm", "a").bits());
    }

    #[test]
    fn numbers_below_a_limit_are_all_alike() {
        let mut stream = Stream::new(3, "test", "below");
        let mut found = [0_u32; 7];
        for _ in 0..70_000 {
            found[stream.below_u64(7) as usize] += 1;
        }
        // Each is binomial with a standard deviation of 93; four of them are allowed.
        assert!(
            found.iter().all(|count| count.abs_diff(10_000) < 372),
            "{found:?}"
        );
        assert_eq!(stream.below_u64(1), 0);
        assert!((0..64).any(|_| stream.below_u64(u64::MAX) > u64::MAX / 2));
    }

    #[test]
    fn exponential_spans_have_the_asked_mean() {
        let mut stream = Stream::new(7, "test", "exponential");
        let mean = Duration::from_secs(300);
        let sum: u64 = (0..200_000)
            .map(|_| stream.exponential(mean).as_nanos() / 1_000)
            .sum();
        let found = sum / 200_000;
        // The standard error is 300 s / sqrt(200 000) = 0.67 s; four of them are allowed.
        assert!(found.abs_diff(300_000_000) < 2_700_000, "{found} µs");
    }
}
