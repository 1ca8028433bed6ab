use crate::index::Index;
use crate::slab::Slab;
use alloc::vec::Vec;

/// A hash table for flows: an index of positions over a slab of entries.
///
/// ```text
///  index   [ 8 × (mark:32, position:32) ] [ 8 × (mark, position) ] …   a line each, load <= 0.7
///                              |                               |
///  entries [ E ] [ E ] [ vacant ] [ E ] …            free: [ 2 ]
/// ```
///
/// The caller hashes a key once and passes the hash; its upper 32 bits, but for the lowest of them, are
/// all the table uses. A removal leaves no tombstone, so a table that lives long stays as fast as a
/// fresh one. An entry keeps its position until it is removed; positions are
/// handed out in a deterministic order (the one freed last first). A vacant position holds
/// `E::default()`. The index doubles when seven tenths full and never shrinks; entries never move
/// once their first segment is whole (2 to 14 MiB), and both are in huge pages from 2 MiB on.
///
/// A table of a million flows is not in any cache: a look-up waits twice for main memory. Who has
/// several look-ups to make asks for the lines ahead of time:
/// [`prefetch`](Self::prefetch) for the line of the index, some work later
/// [`prefetch_found`](Self::prefetch_found), then [`find`](Self::find).
///
/// # Examples
/// ```
/// # use plsim_table::FlowTable;
/// let mut table = FlowTable::new();
/// let position = table.insert(0xABCD << 40, ("flow", 1));
/// assert_eq!(table.find(0xABCD << 40, |entry| entry.0 == "flow"), Some(position));
/// table.entry_mut(position).1 += 1;
/// assert_eq!(table.remove(0xABCD << 40, position), ("flow", 2));
/// ```
#[derive(Debug, Clone)]
pub struct FlowTable<E> {
    index: Index,
    entries: Slab<E>,
    free: Vec<u32>,
    len: usize,
}

/// Keeps every position below `u32::MAX` and the index within 2^32 slots.
const LARGEST: usize = 1 << 30;

impl<E: Default> FlowTable<E> {
    /// Builds an empty table of 16 slots (128 bytes).
    #[must_use]
    pub fn new() -> Self {
        Self {
            index: Index::new(),
            entries: Slab::new(),
            free: Vec::new(),
            len: 0,
        }
    }

    /// Finds the position of the entry with this hash that `is_it` accepts.
    #[must_use]
    #[inline]
    pub fn find(&self, hash: u64, mut is_it: impl FnMut(&E) -> bool) -> Option<u32> {
        self.index
            .find(hash, |position| is_it(&self.entries[position as usize]))
    }

    /// Asks for the cache line in which [`find`](Self::find) will look first.
    #[inline]
    pub fn prefetch(&self, hash: u64) {
        self.index.prefetch(hash);
    }

    /// Asks for the entry that [`find`](Self::find) will look at first, if there is one, and
    /// returns its position. Nearly always it is the one; whoever looks at it and sees that it is
    /// can spare the search.
    ///
    /// It reads the index, so it waits for it unless [`prefetch`](Self::prefetch) came long
    /// enough before.
    #[inline]
    pub fn prefetch_found(&self, hash: u64) -> Option<u32> {
        let position = self.index.find(hash, |_| true)?;
        self.prefetch_entry(position);
        Some(position)
    }

    /// Asks for the entry at a position; one that was never handed out asks for nothing.
    #[inline]
    pub fn prefetch_entry(&self, position: u32) {
        self.entries.prefetch(position as usize);
    }

    /// Adds an entry and returns its position. The caller knows that no equal entry is there.
    ///
    /// # Panics
    /// With more than 2^30 entries.
    pub fn insert(&mut self, hash: u64, entry: E) -> u32 {
        assert!(self.len < LARGEST, "a flow table holds at most 2^30 flows");
        if (self.len + 1) * 10 > self.index.slots() * 7 {
            self.index.grow();
        }
        let position = self.place(entry);
        self.index.link(hash, position);
        self.len += 1;
        position
    }

    /// Takes the entry at a position out; `hash` must be the one it was inserted with.
    ///
    /// # Panics
    /// If there is no entry with that hash at that position.
    pub fn remove(&mut self, hash: u64, position: u32) -> E {
        self.index.unlink(hash, position);
        self.len -= 1;
        if self.free.len() == self.free.capacity() {
            // A quarter instead of doubling: the list may become as long as the table.
            self.free.reserve_exact((self.free.len() / 4).max(16));
        }
        self.free.push(position);
        core::mem::take(&mut self.entries[position as usize])
    }

    /// Returns the entry at a position that [`find`](Self::find) or [`insert`](Self::insert) gave.
    ///
    /// # Panics
    /// If the position was never handed out. A removed position reads as `E::default()`.
    #[must_use]
    #[inline]
    pub fn entry(&self, position: u32) -> &E {
        &self.entries[position as usize]
    }

    /// Returns the entry at a position for writing.
    ///
    /// # Panics
    /// If the position was never handed out.
    #[must_use]
    #[inline]
    pub fn entry_mut(&mut self, position: u32) -> &mut E {
        &mut self.entries[position as usize]
    }

    /// Returns the entry at a position; `None` if the position was never handed out.
    #[must_use]
    #[inline]
    pub fn get(&self, position: u32) -> Option<&E> {
        self.entries.get(position as usize)
    }

    /// Returns the entry at a position for writing; `None` if the position was never handed out.
    #[must_use]
    #[inline]
    pub fn get_mut(&mut self, position: u32) -> Option<&mut E> {
        self.entries.get_mut(position as usize)
    }

    /// Returns every place in position order; vacant ones are `E::default()`.
    pub fn slots(&self) -> impl Iterator<Item = &E> {
        self.entries.iter()
    }

    /// Returns how many positions were ever handed out: all lie below it.
    #[must_use]
    pub const fn positions(&self) -> u32 {
        self.entries.len() as u32
    }

    /// Returns the number of entries.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Tells whether there is no entry.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Returns the bytes of heap memory held.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.index.bytes() + self.entries.memory_bytes() + self.free.capacity() * size_of::<u32>()
    }

    fn place(&mut self, entry: E) -> u32 {
        if let Some(position) = self.free.pop() {
            self.entries[position as usize] = entry;
            return position;
        }
        self.entries.push(entry);
        (self.entries.len() - 1) as u32
    }
}

impl<E: Default> Default for FlowTable<E> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::FlowTable;
    use alloc::collections::{BTreeMap, BTreeSet};
    use plsim_types::KeyedHash;
    use proptest::prelude::{ProptestConfig, proptest};

    /// Few fingerprints, so that clusters, wrap-around and equal fingerprints are common.
    fn poor_hash(key: u16) -> u64 {
        u64::from(key % 7) << 60 | u64::from(key % 3) << 32 | u64::from(key)
    }

    fn good_hash(key: u16) -> u64 {
        KeyedHash::new(1, "test").word(u64::from(key))
    }

    fn compare(steps: &[(u8, u16)], hash: fn(u16) -> u64) {
        let mut table = FlowTable::new();
        let mut model: BTreeMap<u16, (u32, usize)> = BTreeMap::new();
        for (number, &(action, key)) in steps.iter().enumerate() {
            let found = table.find(hash(key), |entry: &(u16, usize)| entry.0 == key);
            assert_eq!(found, model.get(&key).map(|known| known.0));
            match (action, found) {
                (0 | 1, None) => {
                    let position = table.insert(hash(key), (key, number));
                    model.insert(key, (position, number));
                }
                (_, Some(position)) if action > 1 => {
                    let known = model.remove(&key).unwrap();
                    assert_eq!(table.remove(hash(key), position), (key, known.1));
                    assert_eq!(*table.entry(position), (0, 0));
                }
                _ => {}
            }
            assert_eq!(table.len(), model.len());
        }
        let positions: BTreeSet<u32> = model.values().map(|known| known.0).collect();
        assert_eq!(positions.len(), model.len());
        for (key, (position, number)) in model {
            assert_eq!(*table.entry(position), (key, number));
            assert_eq!(
                table.find(hash(key), |entry| entry.0 == key),
                Some(position)
            );
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]
        #[test]
        fn behaves_like_a_tree_map(
            steps in proptest::collection::vec((0..4_u8, 1..200_u16), 0..600)
        ) {
            compare(&steps, good_hash);
            compare(&steps, poor_hash);
        }
    }

    #[test]
    fn positions_are_reused_latest_first() {
        let mut table = FlowTable::new();
        for key in 1..=3 {
            table.insert(good_hash(key), key);
        }
        table.remove(good_hash(1), 0);
        table.remove(good_hash(3), 2);
        assert_eq!(table.insert(good_hash(4), 4), 2);
        assert_eq!(table.insert(good_hash(5), 5), 0);
        assert!(table.slots().eq(&[5, 2, 4]));
    }
}
