use alloc::vec;
use alloc::vec::Vec;
use core::ops::RangeInclusive;

/// The free ports of a range, in a bitmap with a 64-ary summary: what the allocators stand on.
///
/// ```text
///  top        1 word    bit = some bit set in that middle word
///  middle    16 words   bit = some bit set in that bottom word
///  bottom  1008 words   bit = that port is free
/// ```
///
/// Ports are known by their index, which is the distance from the first one. Memory: 8.2 KiB for
/// 64 512 ports.
#[derive(Debug, Clone)]
pub(crate) struct FreePorts {
    first: u16,
    count: u32,
    free: u32,
    top: u64,
    /// Beside the other fields: whoever has many sets finds none of them in the cache, and this spares a
    /// line and a page.
    middle: [u64; GROUPS],
    bottom: Vec<u64>,
}

/// Words of the middle level: enough for 2^16 ports.
const GROUPS: usize = 16;

impl FreePorts {
    /// Builds the set with every port of the range free; an empty range has none.
    pub(crate) fn new(range: &RangeInclusive<u16>) -> Self {
        Self::of_count(*range.start(), range.len() as u32)
    }

    /// Builds the set of the indices below `count`.
    pub(crate) fn of_count(first: u16, count: u32) -> Self {
        let bottom = ones(count);
        let words = ones(bottom.len() as u32);
        let mut middle = [0; GROUPS];
        middle[..words.len()].copy_from_slice(&words);
        Self {
            first,
            count,
            free: count,
            top: ones(words.len() as u32).first().copied().unwrap_or(0),
            middle,
            bottom,
        }
    }

    #[inline]
    pub(crate) const fn count(&self) -> u32 {
        self.count
    }

    #[inline]
    pub(crate) const fn free(&self) -> u32 {
        self.free
    }

    pub(crate) const fn memory_bytes(&self) -> usize {
        (GROUPS + self.bottom.capacity()) * size_of::<u64>()
    }

    #[inline]
    pub(crate) const fn port(&self, index: u32) -> u16 {
        (self.first as u32 + index) as u16
    }

    /// Returns the index of a port; that of one outside the range is not below the count.
    #[inline]
    pub(crate) fn index(&self, port: u16) -> u32 {
        u32::from(port).wrapping_sub(u32::from(self.first))
    }

    /// Tells whether the index is in the range and its port free.
    #[inline]
    pub(crate) fn is_free(&self, index: u32) -> bool {
        let (word, bit) = split(index);
        index < self.count && self.bottom[word] & 1 << bit != 0
    }

    /// Finds the first free index at or after `from`, else the first of all, and how many words
    /// that took: at most six. One must be free, and `from` be below the count.
    #[inline]
    pub(crate) fn next_free(&self, from: u32) -> (u32, u32) {
        let (word, bit) = split(from);
        if let Some(found) = first_from(self.bottom[word], bit) {
            return (join(word, found), 1);
        }
        // The rest of that word is used: look for another word, from the one after it on.
        let (group, bit) = split(word as u32 + 1);
        let group_bits = self.middle.get(group).copied().unwrap_or(0);
        if let Some(found) = first_from(group_bits, bit) {
            return (self.lowest_in(join(group, found)), 3);
        }
        let (group, words) = match first_from(self.top, group as u32 + 1) {
            Some(group) => (group, 5),
            None => (self.top.trailing_zeros(), 6),
        };
        let found = self.middle[group as usize].trailing_zeros();
        (self.lowest_in(join(group as usize, found)), words)
    }

    #[inline]
    fn lowest_in(&self, word: u32) -> u32 {
        join(word as usize, self.bottom[word as usize].trailing_zeros())
    }

    /// Takes a port that is free.
    #[inline]
    pub(crate) fn take(&mut self, index: u32) {
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
    }

    /// Gives a port back; panics if it was not taken.
    #[inline]
    pub(crate) fn put(&mut self, index: u32) {
        assert!(
            index < self.count && !self.is_free(index),
            "broken invariant: a port is released that is not allocated"
        );
        let (word, bit) = split(index);
        self.bottom[word] |= 1 << bit;
        let (group, bit) = split(word as u32);
        self.middle[group] |= 1 << bit;
        self.top |= 1 << group;
        self.free += 1;
    }
}

/// The ports of a range that are in use, a bit each: for allocators that keep their free ones in some
/// order and only have to know that nobody gives one back twice.
#[derive(Debug, Clone)]
pub(crate) struct UsedPorts {
    first: u16,
    count: u32,
    free: u32,
    used: Vec<u64>,
}

impl UsedPorts {
    /// Builds the set with every port of the range free; an empty range has none.
    pub(crate) fn new(range: &RangeInclusive<u16>) -> Self {
        let count = range.len() as u32;
        Self {
            first: *range.start(),
            count,
            free: count,
            used: vec![0; count.div_ceil(64) as usize],
        }
    }

    #[inline]
    pub(crate) const fn count(&self) -> u32 {
        self.count
    }

    #[inline]
    pub(crate) const fn free(&self) -> u32 {
        self.free
    }

    pub(crate) const fn memory_bytes(&self) -> usize {
        self.used.capacity() * size_of::<u64>()
    }

    #[inline]
    pub(crate) const fn port(&self, index: u32) -> u16 {
        (self.first as u32 + index) as u16
    }

    /// Takes a port that is free.
    #[inline]
    pub(crate) fn take(&mut self, port: u16) {
        let (word, bit) = split(u32::from(port - self.first));
        self.used[word] |= 1 << bit;
        self.free -= 1;
    }

    /// Gives a port back; panics if it was not taken.
    #[inline]
    pub(crate) fn put(&mut self, port: u16) {
        let (word, bit) = split(u32::from(port).wrapping_sub(u32::from(self.first)));
        let word = self.used.get_mut(word);
        let word = word.filter(|word| **word & 1 << bit != 0);
        let word = word.expect("broken invariant: a port is released that is not allocated");
        *word &= !(1 << bit);
        self.free += 1;
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

/// Returns the lowest set bit of a word at or after `bit`, which is below 64.
#[inline]
const fn first_from(word: u64, bit: u32) -> Option<u32> {
    let rest = word >> bit;
    if rest == 0 {
        None
    } else {
        Some(bit + rest.trailing_zeros())
    }
}
