use crate::memory::{Memory, equal, prefetch};

/// Where the entries of a hash table are: a position for each, found by the upper 32 bits of its hash.
///
/// ```text
///  bucket   marks [ 8 × 32 bits ] positions [ 8 × 32 bits ]     one cache line
///                  0: no entry
///  home of a mark: its upper bits ─► bucket ─► the next one while a bucket is full
/// ```
///
/// All marks of a bucket are compared at once. A search of single cells is a loop of one or two
/// steps whose number no processor foresees, and a wrong guess costs a wait for memory, for nothing
/// of the next search has begun; this one takes the same way nearly always, whether or not there is
/// an entry. Linear probing with backward-shift deletion, so there are no tombstones.
#[derive(Debug, Clone)]
pub(crate) struct Index {
    buckets: Memory<Bucket>,
    /// Shifts a mark down to its home bucket.
    shift: u32,
}

/// One cache line.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C, align(64))]
struct Bucket {
    marks: [u32; SLOTS],
    positions: [u32; SLOTS],
}

const SLOTS: usize = 8;
const SMALLEST: usize = 2;
/// The mark of a slot without an entry.
const NONE: u32 = 0;

impl Index {
    pub(crate) fn new() -> Self {
        Self {
            buckets: Memory::filled(SMALLEST, Bucket::default()),
            shift: 32 - SMALLEST.trailing_zeros(),
        }
    }

    /// Finds the first position under this hash that `is_it` accepts.
    #[inline]
    pub(crate) fn find(&self, hash: u64, mut is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        let mark = mark(hash);
        let mut at = self.home(mark);
        loop {
            let bucket = &self.buckets[at];
            for slot in bucket.hits(mark) {
                let position = bucket.positions[slot];
                if is_it(position) {
                    return Some(position);
                }
            }
            if !bucket.is_full() {
                return None;
            }
            at = self.after(at);
        }
    }

    /// Asks for the cache line in which [`find`](Self::find) will look first.
    #[inline]
    pub(crate) fn prefetch(&self, hash: u64) {
        prefetch(&self.buckets[self.home(mark(hash))]);
    }

    /// Adds a position; there must be a free slot.
    #[inline]
    pub(crate) fn link(&mut self, hash: u64, position: u32) {
        self.place(mark(hash), position);
    }

    /// Takes a position out.
    ///
    /// # Panics
    /// If it is not there under that hash.
    pub(crate) fn unlink(&mut self, hash: u64, position: u32) {
        let mark = mark(hash);
        let mut hole = self.home(mark);
        let slot = loop {
            let bucket = &self.buckets[hole];
            if let Some(slot) = bucket.slot_of(mark, position) {
                break slot;
            }
            assert!(
                bucket.is_full(),
                "broken invariant: removing a flow that is not in the table"
            );
            hole = self.after(hole);
        };
        let full = self.buckets[hole].is_full();
        self.buckets[hole].marks[slot] = NONE;
        if full {
            self.fill_hole(hole, slot);
        }
    }

    /// Returns the number of slots.
    #[inline]
    pub(crate) fn slots(&self) -> usize {
        self.buckets.len() * SLOTS
    }

    pub(crate) fn bytes(&self) -> usize {
        self.buckets.bytes()
    }

    /// Doubles the number of slots.
    pub(crate) fn grow(&mut self) {
        let doubled = self.buckets.len() * 2;
        let buckets = Memory::filled(doubled, Bucket::default());
        let before = core::mem::replace(&mut self.buckets, buckets);
        self.shift -= 1;
        // Homes keep their order, so both are walked from front to back.
        for bucket in &*before {
            for (&mark, &position) in bucket.marks.iter().zip(&bucket.positions) {
                if mark != NONE {
                    self.place(mark, position);
                }
            }
        }
    }

    #[inline]
    fn place(&mut self, mark: u32, position: u32) {
        let mut at = self.home(mark);
        loop {
            let bucket = &mut self.buckets[at];
            if let Some(slot) = bucket.hits(NONE).next() {
                bucket.marks[slot] = mark;
                bucket.positions[slot] = position;
                return;
            }
            at = self.after(at);
        }
    }

    /// Moves entries that found no slot in their bucket, or in one on their way, closer to it.
    #[cold]
    fn fill_hole(&mut self, mut hole: usize, mut slot: usize) {
        let mask = self.buckets.len() - 1;
        let mut next = hole;
        loop {
            next = self.after(next);
            let bucket = self.buckets[next];
            let full = bucket.is_full();
            // An entry may move back to the hole unless its home lies after the hole.
            let movable = bucket.marks.iter().position(|&mark| {
                let from_home = next.wrapping_sub(self.home(mark)) & mask;
                mark != NONE && from_home >= next.wrapping_sub(hole) & mask
            });
            if let Some(from) = movable {
                let to = &mut self.buckets[hole];
                to.marks[slot] = bucket.marks[from];
                to.positions[slot] = bucket.positions[from];
                self.buckets[next].marks[from] = NONE;
                (hole, slot) = (next, from);
            }
            if !full {
                return;
            }
        }
    }

    #[inline]
    const fn home(&self, mark: u32) -> usize {
        (mark >> self.shift) as usize
    }

    #[inline]
    fn after(&self, at: usize) -> usize {
        (at + 1) & (self.buckets.len() - 1)
    }
}

impl Bucket {
    /// Returns the slots with this mark.
    #[inline]
    fn hits(&self, mark: u32) -> Hits {
        Hits(equal(&self.marks, mark))
    }

    #[inline]
    fn is_full(&self) -> bool {
        self.hits(NONE).0 == 0
    }

    #[inline]
    fn slot_of(&self, mark: u32, position: u32) -> Option<usize> {
        self.hits(mark)
            .find(|&slot| self.positions[slot] == position)
    }
}

/// Slots of a bucket: a bit for each, the first one lowest.
#[derive(Debug, Clone, Copy)]
struct Hits(u8);

impl Iterator for Hits {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        if self.0 == 0 {
            return None;
        }
        let slot = self.0.trailing_zeros() as usize;
        self.0 &= self.0 - 1;
        Some(slot)
    }
}

/// Returns the upper half of a hash, and never [`NONE`].
#[inline]
const fn mark(hash: u64) -> u32 {
    (hash >> 32) as u32 | 1
}
