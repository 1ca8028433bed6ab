use crate::memory::{HUGE, Memory, prefetch};
use alloc::vec::Vec;
use core::ops::{Index, IndexMut};

/// An array that only grows, in segments, so that growing copies next to nothing.
///
/// ```text
///  segments ─► [ 0 … PER - 1 ] [ PER … 2 PER - 1 ] …    each of at least BYTES bytes
/// ```
///
/// The first segment starts with 256 bytes and grows as a `Vec` does until it has `BYTES` bytes, and in
/// steps of as many until it is whole; the others are allocated whole. So a small array stays small and
/// a large one has no slack but in its last segment.
#[derive(Debug, Clone)]
pub struct Slab<T, const BYTES: usize = HUGE> {
    segments: Vec<Memory<T>>,
    len: usize,
    /// Elements for which there are segments.
    room: usize,
}

impl<T, const BYTES: usize> Slab<T, BYTES> {
    /// Elements of a segment: a power of two, so that a place is found by shift and mask. A large segment
    /// is made of huge pages but for a quarter of one at most, where four times the size is enough for that.
    const PER: usize = {
        let mut per = Self::LEAST;
        while BYTES >= HUGE && per < 4 * Self::LEAST && per * size_of::<T>() % HUGE > HUGE / 4 {
            per *= 2;
        }
        per
    };
    /// The elements that take at least `BYTES` bytes.
    const LEAST: usize = (BYTES / size_of::<T>()).next_power_of_two();
    const SHIFT: u32 = Self::PER.trailing_zeros();
    const FIRST: usize = if size_of::<T>() < 256 {
        256 / size_of::<T>()
    } else {
        1
    };

    /// Builds an empty array; allocates nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            segments: Vec::new(),
            len: 0,
            room: 0,
        }
    }

    /// Returns the number of elements.
    #[must_use]
    #[inline]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Tells whether there is no element.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Returns an element, if the index lies below the length.
    #[must_use]
    #[inline]
    pub fn get(&self, index: usize) -> Option<&T> {
        self.segments
            .get(index >> Self::SHIFT)?
            .get(index & (Self::PER - 1))
    }

    /// Returns an element for writing, if the index lies below the length.
    #[must_use]
    #[inline]
    pub fn get_mut(&mut self, index: usize) -> Option<&mut T> {
        self.segments
            .get_mut(index >> Self::SHIFT)?
            .get_mut(index & (Self::PER - 1))
    }

    /// Appends an element.
    #[inline]
    pub fn push(&mut self, value: T) {
        if self.len == self.room {
            self.make_room();
        }
        self.segments[self.len >> Self::SHIFT].push(value);
        self.len += 1;
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.segments.iter().flat_map(|segment| segment.iter())
    }

    /// Asks for the cache line in which an element begins; for nothing if there is none.
    #[inline]
    pub fn prefetch(&self, index: usize) {
        if let Some(element) = self.get(index) {
            prefetch(element);
        }
    }

    /// Returns the bytes of heap memory held.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        let segments: usize = self.segments.iter().map(Memory::bytes).sum();
        segments + self.segments.capacity() * size_of::<Memory<T>>()
    }

    #[cold]
    fn make_room(&mut self) {
        match &mut self.segments[..] {
            [] => self.segments.push(Memory::with_capacity(Self::FIRST)),
            [first] if self.len < Self::PER => {
                let more = (self.len / 2).max(Self::FIRST);
                first.grow(match self.len < Self::LEAST {
                    true => (self.len + more).min(Self::LEAST),
                    false => self.len + Self::LEAST,
                });
            }
            _ => self.segments.push(Memory::with_capacity(Self::PER)),
        }
        let last = self.segments.last().map_or(0, Memory::capacity);
        self.room = (self.segments.len() - 1) * Self::PER + last;
    }
}

impl<T, const BYTES: usize> Default for Slab<T, BYTES> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T, const BYTES: usize> Index<usize> for Slab<T, BYTES> {
    type Output = T;

    #[inline]
    fn index(&self, index: usize) -> &T {
        &self.segments[index >> Self::SHIFT][index & (Self::PER - 1)]
    }
}

impl<T, const BYTES: usize> IndexMut<usize> for Slab<T, BYTES> {
    #[inline]
    fn index_mut(&mut self, index: usize) -> &mut T {
        &mut self.segments[index >> Self::SHIFT][index & (Self::PER - 1)]
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::Slab;
    use crate::memory::HUGE;

    #[test]
    fn a_small_slab_is_small() {
        let mut slab = Slab::<_>::new();
        assert_eq!(slab.memory_bytes(), 0);
        slab.push([0_u64; 8]);
        assert!(slab.memory_bytes() <= 512, "{}", slab.memory_bytes());
    }

    #[test]
    fn elements_keep_their_places_over_segments() {
        let mut slab = Slab::<_>::new();
        let count = if cfg!(miri) { 1_500 } else { 3 * 2048 + 1 };
        for number in 0..count {
            slab.push([number; 1024 / 8]);
        }
        assert_eq!(slab.len(), count);
        assert!((0..count).all(|number| slab[number] == [number; 1024 / 8]));
        assert!(slab.iter().map(|element| element[0]).eq(0..count));
        slab[count - 1][0] = 7;
        assert_eq!(slab[count - 1][0], 7);
        slab.prefetch(count - 1);
        slab.prefetch(count);
        if !cfg!(miri) {
            assert!(slab.memory_bytes() < 4 * HUGE + 200);
        }
    }

    #[test]
    fn the_first_segment_grows_in_steps_until_it_is_whole() {
        type Odd = Slab<[u8; 48], { 64 << 10 }>;
        type Huge = Slab<[u8; 48]>;
        assert_eq!((Odd::LEAST, Odd::PER), (2_048, 2_048));
        assert_eq!((Huge::LEAST, Huge::PER), (65_536, 131_072));
        if cfg!(miri) {
            return;
        }
        let mut slab = Huge::new();
        let mut rooms = Vec::new();
        for number in 0..200_000_u32 {
            slab.push([number as u8; 48]);
            rooms.push(slab.room);
        }
        rooms.dedup();
        rooms.retain(|&room| room >= Huge::LEAST);
        assert_eq!(rooms, [65_536, 131_072, 262_144]);
        assert!((0..200_000).all(|number| slab[number] == [number as u8; 48]));
    }

    #[test]
    fn elements_of_an_odd_size_fill_at_least_a_huge_page() {
        assert_eq!(Slab::<[u8; 64]>::PER * 64, HUGE);
        assert_eq!(Slab::<[u8; 24]>::PER * 24, 3 * HUGE);
        assert_eq!(Slab::<[u8; 48]>::PER * 48, 3 * HUGE);
        assert_eq!(Slab::<[u8; 56]>::PER * 56, 7 * HUGE);
        assert_eq!(Slab::<[u8; 24], 4_096>::PER * 24, 6_144);
    }
}
