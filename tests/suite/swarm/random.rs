//! The draws of a seed: SplitMix64, which is all that drawing scenarios needs.

/// A stream of random numbers that a seed determines.
#[derive(Debug, Clone)]
pub(super) struct Random(u64);

impl Random {
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) const fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Draws evenly between two numbers, both included.
    pub(super) const fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.bits() % (high - low + 1)
    }

    /// Draws between two numbers, both included, so that each order of magnitude is as likely.
    pub(super) const fn scaled(&mut self, low: u64, high: u64) -> u64 {
        let (low_bits, high_bits) = ((low + 1).ilog2(), (high + 1).ilog2());
        let top = 1_u64 << self.between(low_bits as u64, high_bits as u64);
        let drawn = top + self.between(0, top - 1);
        if drawn < low + 1 {
            low
        } else if drawn > high + 1 {
            high
        } else {
            drawn - 1
        }
    }

    /// Says yes in so many percent of all cases.
    pub(super) const fn chance(&mut self, percent: u64) -> bool {
        self.bits() % 100 < percent
    }

    pub(super) fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[(self.bits() % of.len() as u64) as usize]
    }
}
