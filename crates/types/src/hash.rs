/// A keyed hash: what the engines use where a choice must look random.
///
/// The algorithm is fixed for good (folded 64×64→128-bit multiplication), so the same key and
/// words give the same value on every machine and in every version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyedHash {
    key: u64,
}

const MULTIPLIER: u64 = 0x9E37_79B9_7F4A_7C15;
const FINISH: u64 = 0xD6E8_FEB8_6659_FD93;

impl KeyedHash {
    /// Builds a hash for one purpose; other purposes with the same seed are independent.
    #[must_use]
    pub const fn new(seed: u64, purpose: &str) -> Self {
        Self {
            key: folded(seed ^ FINISH, MULTIPLIER),
        }
        .derive(purpose)
    }

    /// Returns an independent hash for a named part.
    #[must_use]
    pub const fn derive(self, name: &str) -> Self {
        let bytes = name.as_bytes();
        let mut key = self.word(bytes.len() as u64);
        let mut index = 0;
        while index < bytes.len() {
            key = folded(
                key ^ bytes[index] as u64 ^ FINISH,
                MULTIPLIER ^ key.rotate_left(32),
            );
            index += 1;
        }
        Self {
            key: folded(key ^ FINISH, MULTIPLIER),
        }
    }

    /// Hashes one word.
    #[must_use]
    #[inline]
    pub const fn word(self, word: u64) -> u64 {
        let mixed = folded(self.key ^ word, MULTIPLIER ^ self.key.rotate_left(29));
        folded(mixed ^ FINISH, MULTIPLIER)
    }

    /// Hashes two words.
    #[must_use]
    #[inline]
    pub const fn pair(self, first: u64, second: u64) -> u64 {
        Self {
            key: self.word(first),
        }
        .word(second)
    }

    /// Maps a hash value evenly onto `0..count`; `count` must be above zero.
    #[must_use]
    #[inline]
    pub const fn scale(hash: u64, count: u32) -> u32 {
        ((hash as u128 * count as u128) >> 64) as u32
    }
}

#[inline]
const fn folded(a: u64, b: u64) -> u64 {
    let product = a as u128 * b as u128;
    (product as u64) ^ ((product >> 64) as u64)
}

#[cfg(test)]
mod tests {
    use super::KeyedHash;

    #[test]
    fn values_are_fixed_for_good() {
        let hash = KeyedHash::new(1, "golden");
        assert_eq!(hash.word(0), KeyedHash::new(1, "golden").word(0));
        assert_ne!(hash.word(0), hash.word(1));
        assert_ne!(hash.word(7), hash.derive("x").word(7));
        assert_ne!(
            KeyedHash::new(1, "golden").word(0),
            KeyedHash::new(2, "golden").word(0)
        );
    }

    #[test]
    fn sequential_words_spread_evenly_over_small_counts() {
        let hash = KeyedHash::new(42, "spread");
        for count in [2_u32, 3, 4, 8] {
            let mut seen = [0_u32; 8];
            for word in 0..80_000 {
                seen[KeyedHash::scale(hash.pair(word, word << 16), count) as usize] += 1;
            }
            let mean = 80_000 / count;
            for share in &seen[..count as usize] {
                assert!(share.abs_diff(mean) < mean / 25, "{count}: {seen:?}");
            }
        }
    }
}
