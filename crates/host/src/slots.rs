use plsim_table::Slab;

/// The client ends of connections. An end keeps its position until it is removed; the position freed
/// last is taken first. A vacant one holds `S::default()`.
///
/// It has no index: an end is found by its local port ([`Ports`](crate::ports::Ports)).
#[derive(Debug)]
pub(crate) struct Slots<S> {
    entries: Slab<S>,
    free: Vec<u32>,
}

impl<S: Default> Slots<S> {
    pub(crate) const fn new() -> Self {
        Self {
            entries: Slab::new(),
            free: Vec::new(),
        }
    }

    pub(crate) const fn len(&self) -> usize {
        self.entries.len() - self.free.len()
    }

    pub(crate) fn insert(&mut self, entry: S) -> u32 {
        if let Some(position) = self.free.pop() {
            self.entries[position as usize] = entry;
            return position;
        }
        self.entries.push(entry);
        u32::try_from(self.entries.len() - 1).expect("broken invariant: 2^32 ports are not held")
    }

    pub(crate) fn remove(&mut self, position: u32) -> S {
        if self.free.len() == self.free.capacity() {
            // A quarter instead of doubling: the list may become as long as the slab.
            self.free.reserve_exact((self.free.len() / 4).max(16));
        }
        self.free.push(position);
        std::mem::take(&mut self.entries[position as usize])
    }

    #[inline]
    pub(crate) fn entry(&self, position: u32) -> &S {
        &self.entries[position as usize]
    }

    #[inline]
    pub(crate) fn entry_mut(&mut self, position: u32) -> &mut S {
        &mut self.entries[position as usize]
    }

    /// Returns the bytes of heap memory held.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.entries.memory_bytes() + self.free.capacity() * size_of::<u32>()
    }
}

#[cfg(test)]
mod tests {
    use super::Slots;

    #[test]
    fn positions_are_kept_and_reused_latest_first() {
        let mut slots = Slots::new();
        let positions: Vec<u32> = (1..=3).map(|value| slots.insert(value)).collect();
        assert_eq!(positions, [0, 1, 2]);
        assert_eq!((slots.remove(0), slots.remove(2), slots.len()), (1, 3, 1));
        assert_eq!((*slots.entry(0), *slots.entry(1)), (0, 2));
        assert_eq!((slots.insert(4), slots.insert(5)), (2, 0));
        *slots.entry_mut(1) += 40;
        assert_eq!((*slots.entry(1), slots.len()), (42, 3));
    }
}
