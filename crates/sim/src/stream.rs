use plsim_types::{Duration, KeyedHash};
use rand::{Rng, RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

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

    /// Draws a number of [0, 1) with 53 random bits.
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit exactly")]
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 * (1.0 / 9_007_199_254_740_992.0)
    }

    /// Returns true with the given probability, 0..=1.
    pub fn chance(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// Draws an exponentially distributed span with this mean, rounded to whole nanoseconds.
    ///
    /// The logarithm is `libm`'s, which gives the same bytes on every machine.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a random span needs no more than 53 bits, and float to int saturates"
    )]
    pub fn exponential(&mut self, mean: Duration) -> Duration {
        let factor = -libm::log(1.0 - self.unit());
        Duration::from_nanos(libm::rint(mean.as_nanos() as f64 * factor) as u64)
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
