use crate::hasher::FixedHasher;
use core::fmt;
use core::hash::{Hash, Hasher};
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

/// A hash map with a fixed seed that cannot be iterated, so its order can never leak.
///
/// Look-up, insertion and removal take constant expected time. For an order, keep a `Vec` of keys
/// beside it or use a `BTreeMap`.
///
/// # Examples
/// ```
/// let mut ports = plsim_table::FixedMap::new();
/// assert_eq!(ports.insert((7_u32, 443_u16), "https"), None);
/// assert_eq!(ports.get(&(7, 443)), Some(&"https"));
/// ```
#[derive(Clone)]
pub struct FixedMap<K, V> {
    table: HashTable<(K, V)>,
}

impl<K: Hash + Eq, V> FixedMap<K, V> {
    /// Builds an empty map; allocates nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            table: HashTable::new(),
        }
    }

    /// Builds an empty map with room for `capacity` keys.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        Self {
            table: HashTable::with_capacity(capacity),
        }
    }

    /// Sets the value of a key and returns the one it had.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        match self.entry(&key) {
            Entry::Occupied(mut entry) => Some(core::mem::replace(&mut entry.get_mut().1, value)),
            Entry::Vacant(entry) => {
                entry.insert((key, value));
                None
            }
        }
    }

    /// Returns the value of a key.
    #[must_use]
    #[inline]
    pub fn get(&self, key: &K) -> Option<&V> {
        self.table
            .find(hash(key), |(stored, _)| stored == key)
            .map(|(_, value)| value)
    }

    /// Returns the value of a key for writing.
    #[must_use]
    #[inline]
    pub fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.table
            .find_mut(hash(key), |(stored, _)| stored == key)
            .map(|(_, value)| value)
    }

    /// Returns the value of a key, first inserting what `make` gives if there is none.
    pub fn get_or_insert_with(&mut self, key: K, make: impl FnOnce() -> V) -> &mut V {
        let entry = match self.entry(&key) {
            Entry::Occupied(entry) => entry,
            Entry::Vacant(entry) => entry.insert((key, make())),
        };
        &mut entry.into_mut().1
    }

    /// Takes a key out and returns its value.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        let entry = self
            .table
            .find_entry(hash(key), |(stored, _)| stored == key)
            .ok()?;
        Some(entry.remove().0.1)
    }

    /// Tells whether the key is there.
    #[must_use]
    pub fn contains(&self, key: &K) -> bool {
        self.get(key).is_some()
    }

    /// Returns the number of keys.
    #[must_use]
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Tells whether there is no key.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// Removes every key and keeps the memory.
    pub fn clear(&mut self) {
        self.table.clear();
    }

    fn entry(&mut self, key: &K) -> Entry<'_, (K, V)> {
        self.table.entry(
            hash(key),
            |(stored, _)| stored == key,
            |(stored, _)| hash(stored),
        )
    }
}

impl<K: Hash + Eq, V> Default for FixedMap<K, V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K, V> fmt::Debug for FixedMap<K, V> {
    /// Writes the size only: the content would come in hash order.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FixedMap")
            .field("len", &self.table.len())
            .finish_non_exhaustive()
    }
}

#[inline]
fn hash<K: Hash>(key: &K) -> u64 {
    let mut hasher = FixedHasher::new();
    key.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::FixedMap;
    use alloc::collections::BTreeMap;
    use proptest::prelude::{Strategy, any, proptest};

    proptest! {
        #[test]
        fn behaves_like_a_tree_map(
            steps in proptest::collection::vec((0..4_u8, any::<u8>().prop_map(|k| k % 32)), 0..300)
        ) {
            let mut map = FixedMap::with_capacity(2);
            let mut model = BTreeMap::new();
            for (number, (action, key)) in steps.into_iter().enumerate() {
                match action {
                    0 => assert_eq!(map.insert(key, number), model.insert(key, number)),
                    1 => assert_eq!(map.remove(&key), model.remove(&key)),
                    2 => assert_eq!(
                        map.get_or_insert_with(key, || number),
                        model.entry(key).or_insert(number)
                    ),
                    _ => assert_eq!(map.get_mut(&key), model.get_mut(&key)),
                }
                assert_eq!(map.len(), model.len());
                assert_eq!(map.contains(&key), model.contains_key(&key));
            }
            map.clear();
            assert!(map.is_empty());
        }
    }
}
