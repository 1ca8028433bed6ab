use alloc::boxed::Box;
use alloc::vec;
use core::ops::RangeInclusive;
use plsim_table::{Slab, prefetch};

/// Where the bindings of one (NAT IP, protocol) are: an array in two levels instead of a hash.
///
/// ```text
///  port ─► pages[(port >> 6) - base] ─► PagePool page of 64 positions ─► position of the binding
/// ```
///
/// A page is taken from the engine's pool on first use of one of its 64 ports and stays with the
/// space, so memory follows the ports that were ever used: 4 bytes each plus 4 KiB of page numbers.
#[derive(Debug, Clone)]
pub(crate) struct PortMap {
    base: u16,
    pages: Box<[u32]>,
}

/// The pages of all port maps of an engine.
#[derive(Debug, Clone, Default)]
pub(crate) struct PagePool {
    pages: Slab<[u32; 64]>,
}

/// Where a page pool keeps the owner of a port.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Place {
    page: u32,
    cell: u8,
}

const NONE: u32 = u32::MAX;

impl PortMap {
    pub(crate) fn new(range: &RangeInclusive<u16>) -> Self {
        let base = range.start() >> 6;
        let count = usize::from((range.end() >> 6) - base) + 1;
        Self {
            base,
            pages: vec![NONE; count].into_boxed_slice(),
        }
    }

    /// Returns the position of the binding that owns a port.
    #[inline]
    pub(crate) fn owner(&self, pool: &PagePool, port: u16) -> Option<u32> {
        pool.owner(self.place(port)?)
    }

    /// Returns where the pool keeps a port's owner, for as long as the map lives.
    #[inline]
    pub(crate) fn place(&self, port: u16) -> Option<Place> {
        let at = usize::from((port >> 6).wrapping_sub(self.base));
        let page = *self.pages.get(at)?;
        (page != NONE).then_some(Place {
            page,
            cell: (port % 64) as u8,
        })
    }

    /// Makes a binding the owner of a port that has none.
    #[inline]
    pub(crate) fn claim(&mut self, pool: &mut PagePool, port: u16, position: u32) {
        let owner = self.cell(pool, port);
        assert!(*owner == NONE, "broken invariant: a port has two owners");
        *owner = position;
    }

    /// Takes a port from its owner.
    #[inline]
    pub(crate) fn disclaim(&mut self, pool: &mut PagePool, port: u16, position: u32) {
        let page = self.pages[usize::from((port >> 6) - self.base)];
        let owner = &mut pool.pages[page as usize][usize::from(port % 64)];
        assert!(
            *owner == position,
            "broken invariant: a port is released by a binding that does not own it"
        );
        *owner = NONE;
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.pages.len() * size_of::<u32>()
    }

    #[inline]
    fn cell<'pool>(&mut self, pool: &'pool mut PagePool, port: u16) -> &'pool mut u32 {
        let page = &mut self.pages[usize::from((port >> 6) - self.base)];
        if *page == NONE {
            *page = pool.add();
        }
        &mut pool.pages[*page as usize][usize::from(port % 64)]
    }
}

impl PagePool {
    /// Returns the position of the binding that owns the port at a place.
    #[inline]
    pub(crate) fn owner(&self, place: Place) -> Option<u32> {
        let owner = *self.cell(place)?;
        (owner != NONE).then_some(owner)
    }

    /// Asks for the memory that [`owner`](Self::owner) will read.
    #[inline]
    pub(crate) fn prefetch(&self, place: Place) {
        if let Some(owner) = self.cell(place) {
            prefetch(owner);
        }
    }

    #[inline]
    fn cell(&self, place: Place) -> Option<&u32> {
        let page = self.pages.get(place.page as usize)?;
        Some(&page[usize::from(place.cell % 64)])
    }

    #[cold]
    fn add(&mut self) -> u32 {
        self.pages.push([NONE; 64]);
        self.pages.len() as u32 - 1
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.pages.memory_bytes()
    }
}
