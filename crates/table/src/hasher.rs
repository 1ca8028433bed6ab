use core::hash::Hasher;

const START: u64 = 0xA076_1D64_78BD_642F;
const MULTIPLIER: u64 = 0x9E37_79B9_7F4A_7C15;
const FINISH: u64 = 0xD6E8_FEB8_6659_FD93;

/// A hasher without a random seed: one folded 64×64→128-bit multiplication per word.
///
/// The same key hashes to the same value on every machine of any word size and byte order, as
/// long as the key's `Hash` feeds integers. It does not resist chosen keys, so it serves control
/// structures only; tables that face traffic take a keyed hash from their owner.
#[derive(Debug, Clone)]
pub struct FixedHasher {
    state: u64,
}

impl FixedHasher {
    /// Starts a hash.
    #[must_use]
    #[inline]
    pub const fn new() -> Self {
        Self { state: START }
    }

    #[inline]
    const fn mix(&mut self, word: u64) {
        self.state = folded(self.state ^ word, MULTIPLIER);
    }
}

impl Default for FixedHasher {
    fn default() -> Self {
        Self::new()
    }
}

impl Hasher for FixedHasher {
    #[inline]
    fn finish(&self) -> u64 {
        folded(self.state ^ FINISH, MULTIPLIER)
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.mix(u64::from_le_bytes(word));
        }
        // Tells "a" from "a\0".
        self.mix(bytes.len() as u64);
    }

    #[inline]
    fn write_u8(&mut self, value: u8) {
        self.mix(u64::from(value));
    }

    #[inline]
    fn write_u16(&mut self, value: u16) {
        self.mix(u64::from(value));
    }

    #[inline]
    fn write_u32(&mut self, value: u32) {
        self.mix(u64::from(value));
    }

    #[inline]
    fn write_u64(&mut self, value: u64) {
        self.mix(value);
    }

    #[inline]
    fn write_usize(&mut self, value: usize) {
        self.mix(value as u64);
    }
}

const fn folded(a: u64, b: u64) -> u64 {
    let product = a as u128 * b as u128;
    (product as u64) ^ ((product >> 64) as u64)
}

#[cfg(test)]
mod tests {
    use super::FixedHasher;
    use core::hash::{Hash, Hasher};

    fn hash(key: impl Hash) -> u64 {
        let mut hasher = FixedHasher::new();
        key.hash(&mut hasher);
        hasher.finish()
    }

    #[test]
    fn hashes_of_words_are_fixed_for_good() {
        assert_eq!(hash(0_u32), hash(0_u64));
        assert_ne!(hash((1_u16, 2_u16)), hash((2_u16, 1_u16)));
        assert_ne!(hash("a"), hash("a\0"));
        assert_eq!(hash(7_u32), 0x1EF4_D4FB_F9AF_80BB_u64);
    }

    #[test]
    fn sequential_keys_differ_in_the_top_seven_bits_as_often_as_chance() {
        let mut buckets = [0_u32; 128];
        for key in 0..128_000_u32 {
            buckets[(hash(key) >> 57) as usize] += 1;
        }
        assert!(
            buckets.iter().all(|count| count.abs_diff(1_000) < 200),
            "{buckets:?}"
        );
    }
}
