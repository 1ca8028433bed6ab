//! The only unsafe code of the workspace: memory in huge pages, prefetch, and a comparison.
//!
//! The first two are worth it because a table of a million flows is read at random. With 4 KiB pages each
//! such read misses the TLB as well, and a read that is not asked for ahead of time waits for main
//! memory alone. The engines' slices of packets ask for 16 lines at a time. The third makes a look-up in
//! a line of the index 30 instructions shorter, and a NAT makes one for each packet.
//!
//! What is unsafe here and why it holds:
//! - [`Memory`] is an array of a fixed capacity whose first `len` elements are initialised, as in
//!   `Vec`, which cannot give the alignment. Allocation, release and every access go through
//!   `layout` and the slice that `Deref` builds from `start` and `len`.
//! - `madvise` with `MADV_HUGEPAGE` changes neither content nor validity of memory, only the page
//!   size the kernel prefers; it is told whole pages of a block that is ours. If it fails, nothing
//!   is lost but speed, so the result is ignored.
//! - A prefetch instruction never faults, whatever the address.
//! - Vector instructions of SSE2 are part of every x86-64; they work on values, not on addresses.
#![expect(
    unsafe_code,
    reason = "huge pages need an alignment that Vec cannot give, prefetch and vectors are intrinsics"
)]

use alloc::alloc::{alloc, dealloc, handle_alloc_error};
use core::alloc::Layout;
use core::fmt;
use core::ops::{Deref, DerefMut};
use core::ptr::NonNull;

/// The size of a huge page on x86-64 and, with 4 KiB base pages, on aarch64.
pub(crate) const HUGE: usize = 2 << 20;
/// The size of a cache line.
const LINE: usize = 64;

/// A vector of fixed capacity that never moves; in huge pages if it is as large as one.
pub(crate) struct Memory<T> {
    start: NonNull<T>,
    len: usize,
    capacity: usize,
}

// SAFETY: it owns its elements and hands them out by the usual borrows only, as `Vec` does.
unsafe impl<T: Send> Send for Memory<T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Sync for Memory<T> {}

impl<T> Memory<T> {
    /// Allocates room for `capacity` elements, which must take at least one byte.
    ///
    /// # Panics
    /// If the size is zero or above `isize::MAX` bytes.
    pub(crate) fn with_capacity(capacity: usize) -> Self {
        let layout = layout::<T>(capacity);
        assert!(layout.size() > 0, "memory for nothing");
        // SAFETY: the layout has a size above zero.
        let start = unsafe { alloc(layout) };
        let Some(start) = NonNull::new(start) else {
            handle_alloc_error(layout)
        };
        // Before the first touch: a page that is there already stays as small as it is.
        advise(start, layout.size());
        Self {
            start: start.cast(),
            len: 0,
            capacity,
        }
    }

    /// Allocates room for `capacity` elements and fills it with copies of one.
    pub(crate) fn filled(capacity: usize, value: T) -> Self
    where
        T: Copy,
    {
        let mut memory = Self::with_capacity(capacity);
        for _ in 0..capacity {
            memory.push(value);
        }
        memory
    }

    /// Appends an element.
    ///
    /// # Panics
    /// If there is no room.
    #[inline]
    pub(crate) fn push(&mut self, value: T) {
        assert!(self.len < self.capacity, "memory of fixed size is full");
        // SAFETY: `len` is below the capacity, so the place is inside the block; it holds no
        // initialised element that would have to be dropped.
        unsafe { self.start.add(self.len).write(value) };
        self.len += 1;
    }

    /// Moves the elements into a block of `capacity`, which must be enough for them.
    pub(crate) fn grow(&mut self, capacity: usize) {
        assert!(capacity >= self.len, "memory shrinks below its content");
        let mut larger = Self::with_capacity(capacity);
        // SAFETY: both blocks have room for `len` elements and are distinct. The elements move:
        // setting the old length to zero keeps the old block from dropping them.
        unsafe { self.start.copy_to_nonoverlapping(larger.start, self.len) };
        larger.len = core::mem::take(&mut self.len);
        *self = larger;
    }

    pub(crate) const fn capacity(&self) -> usize {
        self.capacity
    }

    pub(crate) const fn bytes(&self) -> usize {
        self.capacity * size_of::<T>()
    }
}

impl<T> Deref for Memory<T> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        // SAFETY: the first `len` elements are initialised and live as long as `self` is borrowed.
        unsafe { core::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl<T> DerefMut for Memory<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as in `deref`; the borrow is unique.
        unsafe { core::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

impl<T> Drop for Memory<T> {
    fn drop(&mut self) {
        // SAFETY: the elements are initialised, nobody can see them any more, and the block came
        // from `alloc` with this very layout.
        unsafe {
            core::ptr::drop_in_place::<[T]>(&raw mut **self);
            dealloc(self.start.as_ptr().cast(), layout::<T>(self.capacity));
        }
    }
}

impl<T: Clone> Clone for Memory<T> {
    fn clone(&self) -> Self {
        let mut copy = Self::with_capacity(self.capacity);
        for element in &**self {
            copy.push(element.clone());
        }
        copy
    }
}

impl<T: fmt::Debug> fmt::Debug for Memory<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(formatter)
    }
}

/// The layout of a block: no element of 64 bytes straddles two lines, no large block two half pages.
fn layout<T>(capacity: usize) -> Layout {
    Layout::array::<T>(capacity)
        .and_then(|array| array.align_to(if array.size() < HUGE { LINE } else { HUGE }))
        .expect("a table is larger than the address space")
}

/// Asks the kernel for huge pages where a block has whole ones.
fn advise(start: NonNull<u8>, size: usize) {
    #[cfg(all(target_os = "linux", not(miri)))]
    if size >= HUGE {
        let whole = size / HUGE * HUGE;
        // SAFETY: the range lies inside a block that was just allocated and is aligned to a huge
        // page; the advice changes no content.
        let _ = unsafe { libc::madvise(start.as_ptr().cast(), whole, libc::MADV_HUGEPAGE) };
    }
    #[cfg(not(all(target_os = "linux", not(miri))))]
    let _ = (start, size);
}

/// Asks for the cache line in which a value begins, to have it when it will be read; changes nothing.
#[inline]
pub fn prefetch<T>(value: &T) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch cannot fault, and SSE is part of every x86-64.
        unsafe { _mm_prefetch::<_MM_HINT_T0>((&raw const *value).cast()) };
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = value;
}

/// Returns a bit for each of eight numbers, the lowest for the first: whether it is the wanted one.
#[inline]
pub(crate) fn equal(numbers: &[u32; 8], wanted: u32) -> u8 {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: SSE2 is part of every x86-64.
    return unsafe { equal_in_vectors(numbers, wanted) };
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    return equal_one_by_one(numbers, wanted);
}

/// Compares four at a time: of the other form the compiler makes forty instructions.
#[cfg(all(target_arch = "x86_64", not(miri)))]
#[inline]
#[target_feature(enable = "sse2")]
fn equal_in_vectors(numbers: &[u32; 8], wanted: u32) -> u8 {
    use core::arch::x86_64::{
        _mm_cmpeq_epi32, _mm_movemask_epi8, _mm_packs_epi16, _mm_packs_epi32, _mm_set_epi32,
        _mm_set1_epi32, _mm_setzero_si128,
    };
    let [a, b, c, d, e, f, g, h] = numbers.map(u32::cast_signed);
    let wanted = _mm_set1_epi32(wanted.cast_signed());
    let first = _mm_cmpeq_epi32(_mm_set_epi32(d, c, b, a), wanted);
    let second = _mm_cmpeq_epi32(_mm_set_epi32(h, g, f, e), wanted);
    let bytes = _mm_packs_epi16(_mm_packs_epi32(first, second), _mm_setzero_si128());
    _mm_movemask_epi8(bytes) as u8
}

#[cfg(any(not(target_arch = "x86_64"), miri, test))]
fn equal_one_by_one(numbers: &[u32; 8], wanted: u32) -> u8 {
    let numbers = numbers.iter().enumerate();
    numbers.fold(0, |bits, (at, &number)| {
        bits | u8::from(number == wanted) << at
    })
}

#[cfg(test)]
mod tests {
    use super::{HUGE, Memory, equal, equal_one_by_one, prefetch};
    use alloc::rc::Rc;
    use alloc::vec::Vec;

    #[test]
    fn elements_survive_growth_and_cloning() {
        let mut memory = Memory::with_capacity(3);
        for number in 0..3_u32 {
            memory.push(Rc::new(number));
        }
        memory.grow(100);
        memory.push(Rc::new(3));
        let copy = memory.clone();
        let values: Vec<u32> = copy.iter().map(|number| **number).collect();
        assert_eq!(values, [0, 1, 2, 3]);
        assert_eq!(
            (copy.capacity(), copy.bytes()),
            (100, 100 * size_of::<usize>())
        );
    }

    #[test]
    fn elements_are_dropped_exactly_once() {
        let shared = Rc::new(());
        let mut memory = Memory::with_capacity(2);
        memory.push(Rc::clone(&shared));
        memory.push(Rc::clone(&shared));
        memory.grow(4);
        memory[0] = Rc::new(());
        assert_eq!(Rc::strong_count(&shared), 2);
        drop(memory);
        assert_eq!(Rc::strong_count(&shared), 1);
    }

    #[test]
    fn small_blocks_start_at_a_line_and_large_ones_at_a_huge_page() {
        let small = Memory::filled(3, [0_u8; 24]);
        assert_eq!(small.as_ptr().addr() % 64, 0);
        let mut large = Memory::<[u64; 1024]>::with_capacity(HUGE / 8192);
        large.push([7; 1024]);
        assert_eq!(large.as_ptr().addr() % HUGE, 0);
        assert_eq!(large[0][1023], 7);
    }

    #[test]
    #[should_panic(expected = "full")]
    fn a_full_block_takes_no_more() {
        let mut memory = Memory::filled(2, 0_u64);
        memory.push(1);
    }

    #[test]
    fn every_set_of_equal_numbers_is_seen() {
        for (wanted, other) in [(0, u32::MAX), (u32::MAX, 0), (0x8000_0001, 0x8000_0000)] {
            for bits in 0..=u8::MAX {
                let numbers = core::array::from_fn(|at| match bits >> at & 1 {
                    0 => other,
                    _ => wanted,
                });
                assert_eq!(equal(&numbers, wanted), bits);
                assert_eq!(equal_one_by_one(&numbers, wanted), bits);
            }
        }
    }

    #[test]
    fn a_prefetch_changes_nothing() {
        let memory = Memory::filled(2, 5_u64);
        prefetch(&memory[1]);
        assert_eq!(*memory, [5, 5]);
    }
}
