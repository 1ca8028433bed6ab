//! The Internet checksum (RFC 1071) and its incremental update (RFC 1624).

/// A one's complement sum of big-endian 16-bit words, not yet folded.
///
/// 2^16 ≡ 1 (mod 0xFFFF), so 32-bit words may be added whole; a positive sum folds to 1..=0xFFFF
/// and only the empty sum folds to 0, which is what makes equation 3 of RFC 1624 exact.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sum(u64);

impl Sum {
    /// The sum of nothing.
    pub(crate) const ZERO: Self = Self(0);

    /// Adds one word.
    pub(crate) const fn word(self, word: u16) -> Self {
        Self(self.0 + word as u64)
    }

    /// Adds two words, such as an IPv4 address.
    pub(crate) const fn long(self, long: u32) -> Self {
        Self(self.0 + long as u64)
    }

    /// Adds a run of bytes that starts at an even offset; an odd end is padded with one zero byte.
    pub(crate) fn bytes(self, bytes: &[u8]) -> Self {
        let (longs, rest) = bytes.as_chunks::<4>();
        let mut last = [0; 4];
        last[..rest.len()].copy_from_slice(rest);
        // The sum does not depend on byte order (RFC 1071 §2 B): one swap at the end instead of
        // one per word lets the loop run on vectors.
        let native: u64 = longs
            .iter()
            .chain([&last])
            .map(|&long| u64::from(u32::from_ne_bytes(long)))
            .sum();
        self.word(u16::from_be(Self(native).fold()))
    }

    /// Adds the change of one word: the `~m + m'` of RFC 1624 equation 3.
    pub(crate) const fn replaced_word(self, old: u16, new: u16) -> Self {
        self.word(!old).word(new)
    }

    /// Adds the change of two words.
    pub(crate) const fn replaced_long(self, old: u32, new: u32) -> Self {
        self.long(!old).long(new)
    }

    /// Returns the sum in 16 bits.
    pub(crate) const fn fold(self) -> u16 {
        // Added to itself with its halves swapped, a number has the sum of its halves in the upper one,
        // and the carry of the lower one, which is the same sum, comes around into it.
        let long = (self.0.wrapping_add(self.0.rotate_left(32)) >> 32) as u32;
        (long.wrapping_add(long.rotate_left(16)) >> 16) as u16
    }

    /// Returns the checksum of the summed words: the complement of the folded sum.
    pub(crate) const fn checksum(self) -> u16 {
        !self.fold()
    }

    /// Returns the checksum as UDP sends it: a computed 0 becomes 0xFFFF, for 0 means "none"
    /// (RFC 768).
    pub(crate) const fn udp_checksum(self) -> u16 {
        match self.checksum() {
            0 => 0xFFFF,
            checksum => checksum,
        }
    }

    /// Returns the checksum after the change summed up here: `~(~HC + ~m + m')`, RFC 1624
    /// equation 3.
    pub(crate) const fn update(self, checksum: u16) -> u16 {
        self.word(!checksum).checksum()
    }

    /// As [`Self::update`] under UDP's rules: a stored 0 stays, a computed 0 becomes 0xFFFF
    /// (RFC 768, RFC 3022 §4.1).
    pub(crate) const fn update_udp(self, checksum: u16) -> u16 {
        match checksum {
            0 => 0,
            // Also repairs a stored 0xFFFF, which equation 3 turns into 0 even when nothing changed.
            _ => self.word(!checksum).udp_checksum(),
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::Sum;
    use std::vec::Vec;

    /// RFC 1071 as its text has it, a byte pair at a time.
    fn slow_sum(bytes: &[u8]) -> u16 {
        let mut sum = 0_u32;
        for pair in bytes.chunks(2) {
            sum += u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |&low| u32::from(low));
            sum = (sum >> 16) + (sum & 0xFFFF);
        }
        sum as u16
    }

    /// A small generator, so that the cases are the same on every run.
    fn next(state: &mut u64) -> u64 {
        *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A word that is 0x0000 or 0xFFFF half of the time.
    fn edgy(state: &mut u64) -> u16 {
        match next(state) % 8 {
            0 | 1 => 0,
            2 | 3 => 0xFFFF,
            _ => next(state) as u16,
        }
    }

    #[test]
    fn rfc1624_3_equation_3_gives_zero_where_equation_2_gives_ffff() {
        let (checksum, old, new) = (0xDD2F, 0x5555, 0x3285);
        assert_eq!(Sum::ZERO.replaced_word(old, new).update(checksum), 0x0000);
        // RFC 1624 equation 2, the older form: HC' = HC + m + ~m'.
        let equation_2 = Sum::ZERO.word(checksum).word(old).word(!new).fold();
        assert_eq!(equation_2, 0xFFFF);
    }

    #[test]
    fn the_example_of_rfc_1071_adds_up() {
        let bytes = [0x00, 0x01, 0xF2, 0x03, 0xF4, 0xF5, 0xF6, 0xF7];
        assert_eq!(Sum::ZERO.bytes(&bytes).fold(), 0xDDF2);
        assert_eq!(Sum::ZERO.fold(), 0);
    }

    #[test]
    fn every_length_and_alignment_sums_as_byte_pairs_do() {
        let mut state = 1;
        let bytes: Vec<u8> = (0..300).map(|_| edgy(&mut state) as u8).collect();
        for start in 0..8 {
            for end in start..bytes.len() {
                let run = &bytes[start..end];
                assert_eq!(Sum::ZERO.bytes(run).fold(), slow_sum(run), "{start}..{end}");
            }
        }
    }

    #[test]
    fn the_longest_packet_of_ones_does_not_overflow() {
        let bytes = std::vec![0xFF; 65_535];
        assert_eq!(Sum::ZERO.bytes(&bytes).fold(), slow_sum(&bytes));
        assert_eq!(Sum(u64::MAX).fold(), 0xFFFF);
    }

    #[test]
    fn incremental_equals_full_over_all_edge_words() {
        const EDGES: [u16; 8] = [0, 1, 0x00FF, 0x7FFF, 0x8000, 0xFF00, 0xFFFE, 0xFFFF];
        for rest in 0..=0xFFFF_u16 {
            // The rest of a real packet is never all zero (length, protocol).
            let rest = rest.max(1);
            for old in EDGES {
                let before = Sum::ZERO.word(rest).word(old).checksum();
                for new in EDGES {
                    let full = Sum::ZERO.word(rest).word(new);
                    let change = Sum::ZERO.replaced_word(old, new);
                    assert_eq!(change.update(before), full.checksum());
                }
            }
        }
    }

    #[test]
    fn incremental_equals_full_on_a_million_random_rewrites() {
        let mut state = 2;
        let mut zeros = 0;
        for _ in 0..1_000_000 {
            // Never all zero, as in a real packet, but often a multiple of 0xFFFF.
            let rest = Sum::ZERO
                .word(edgy(&mut state))
                .word(edgy(&mut state).max(1));
            let mut words = || [(); 6].map(|()| edgy(&mut state));
            let (old, new) = (words(), words());
            let long =
                |words: [u16; 6], at: usize| u32::from(words[at]) << 16 | u32::from(words[at + 1]);
            let sum = |words: [u16; 6]| words.iter().fold(rest, |sum, &word| sum.word(word));
            let change = Sum::ZERO
                .replaced_long(long(old, 0), long(new, 0))
                .replaced_long(long(old, 2), long(new, 2))
                .replaced_word(old[4], new[4])
                .replaced_word(old[5], new[5]);
            let full = sum(new).checksum();
            zeros += u32::from(full == 0);
            assert_eq!(change.update(sum(old).checksum()), full);
            assert_eq!(
                change.update_udp(sum(old).udp_checksum()),
                sum(new).udp_checksum()
            );
        }
        assert!(zeros > 1000, "the cases must reach a checksum of zero");
    }

    #[test]
    fn rfc768_udp_keeps_no_checksum_and_never_sends_a_computed_zero() {
        let change = Sum::ZERO.replaced_word(0x1234, 0x4321);
        assert_eq!(change.update_udp(0), 0);
        let identity = Sum::ZERO.replaced_word(7, 7);
        assert_eq!(identity.update(0xFFFF), 0);
        assert_eq!(identity.update_udp(0xFFFF), 0xFFFF);
    }
}
