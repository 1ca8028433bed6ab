use crate::port::PortAllocator;
use alloc::vec;
use alloc::vec::Vec;
use core::ops::RangeInclusive;
use plsim_types::KeyedHash;

/// The next free port from a random start, found in a bitmap with a 64-ary summary.
///
/// ```text
///  top        1 word    bit = some bit set in that middle word
///  middle    16 words   bit = some bit set in that bottom word
///  bottom  1008 words   bit = that port is free
/// ```
///
/// Source: the random start is RFC 6056 algorithm 1 (RFC 7857 §9 wants random ports); the summary
/// replaces its linear scan. Allocation and release take at most five word operations at *any*
/// occupancy; the last free port is found as fast as the first. Memory: 8.2 KiB for 64 512 ports.
/// As every search that starts anywhere and takes the next free one, it prefers ports that follow
/// a run of used ones.
#[derive(Debug, Clone)]
pub struct BitmapPorts {
    first: u16,
    count: u32,
    free: u32,
    top: u64,
    middle: Vec<u64>,
    bottom: Vec<u64>,
}

impl BitmapPorts {
    /// Builds the set with every port of the range free; an empty range has none.
    #[must_use]
    pub fn new(range: RangeInclusive<u16>) -> Self {
        let count = range.len() as u32;
        let bottom = ones(count);
        let middle = ones(bottom.len() as u32);
        Self {
            first: *range.start(),
            count,
            free: count,
            top: ones(middle.len() as u32).first().copied().unwrap_or(0),
            middle,
            bottom,
        }
    }

    /// Finds the first free index at or after `from`.
    #[inline]
    fn next_free(&self, from: u32) -> Option<u32> {
        let (word, bit) = split(from);
        if let Some(found) = first_from(self.bottom[word], bit) {
            return Some(join(word, found));
        }
        // The rest of that word is used: look for another word, from the one after it on.
        let (group, bit) = split(word as u32 + 1);
        let group_bits = self.middle.get(group).copied().unwrap_or(0);
        let word = match first_from(group_bits, bit) {
            Some(found) => join(group, found),
            None => {
                let group = first_from(self.top, group as u32 + 1)?;
                join(group as usize, self.middle[group as usize].trailing_zeros())
            }
        } as usize;
        Some(join(word, self.bottom[word].trailing_zeros()))
    }
}

impl PortAllocator for BitmapPorts {
    #[inline]
    fn allocate(&mut self, random: u64) -> Option<u16> {
        if self.free == 0 {
            return None;
        }
        let start = KeyedHash::scale(random, self.count);
        let index = self
            .next_free(start)
            .or_else(|| self.next_free(0))
            .expect("broken invariant: the count of free ports is above the bits set");
        let (word, bit) = split(index);
        self.bottom[word] &= !(1 << bit);
        if self.bottom[word] == 0 {
            let (group, bit) = split(word as u32);
            self.middle[group] &= !(1 << bit);
            if self.middle[group] == 0 {
                self.top &= !(1 << group);
            }
        }
        self.free -= 1;
        Some(self.first + index as u16)
    }

    #[inline]
    fn release(&mut self, port: u16) {
        let (word, bit) = split(u32::from(port - self.first));
        assert!(
            self.bottom[word] & 1 << bit == 0,
            "broken invariant: a free port is released"
        );
        self.bottom[word] |= 1 << bit;
        let (group, bit) = split(word as u32);
        self.middle[group] |= 1 << bit;
        self.top |= 1 << group;
        self.free += 1;
    }

    #[inline]
    fn free(&self) -> u32 {
        self.free
    }

    fn memory_bytes(&self) -> usize {
        (self.middle.capacity() + self.bottom.capacity()) * size_of::<u64>()
    }
}

/// Returns words with the lowest `count` bits set.
fn ones(count: u32) -> Vec<u64> {
    let mut words = vec![u64::MAX; count.div_ceil(64) as usize];
    if let Some(last) = words.last_mut() {
        *last >>= (64 - count % 64) % 64;
    }
    words
}

#[inline]
const fn split(index: u32) -> (usize, u32) {
    (index as usize / 64, index % 64)
}

#[inline]
const fn join(word: usize, bit: u32) -> u32 {
    word as u32 * 64 + bit
}

/// Returns the lowest set bit of a word at or after `bit`, which may be 64.
#[inline]
const fn first_from(word: u64, bit: u32) -> Option<u32> {
    if bit >= 64 {
        return None;
    }
    let rest = word >> bit;
    if rest == 0 {
        None
    } else {
        Some(bit + rest.trailing_zeros())
    }
}
