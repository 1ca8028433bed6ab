use crate::map::FixedMap;
use core::fmt;
use core::hash::Hash;

/// A hash set with a fixed seed that cannot be iterated; see [`FixedMap`].
#[derive(Clone)]
pub struct FixedSet<K> {
    map: FixedMap<K, ()>,
}

impl<K: Hash + Eq> FixedSet<K> {
    /// Builds an empty set; allocates nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            map: FixedMap::new(),
        }
    }

    /// Builds an empty set with room for `capacity` keys.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        Self {
            map: FixedMap::with_capacity(capacity),
        }
    }

    /// Adds a key and tells whether it was new.
    pub fn insert(&mut self, key: K) -> bool {
        self.map.insert(key, ()).is_none()
    }

    /// Takes a key out and tells whether it was there.
    pub fn remove(&mut self, key: &K) -> bool {
        self.map.remove(key).is_some()
    }

    /// Tells whether the key is there.
    #[must_use]
    pub fn contains(&self, key: &K) -> bool {
        self.map.contains(key)
    }

    /// Returns the number of keys.
    #[must_use]
    pub fn len(&self) -> usize {
        self.map.len()
    }

    /// Tells whether there is no key.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    /// Removes every key and keeps the memory.
    pub fn clear(&mut self) {
        self.map.clear();
    }
}

impl<K: Hash + Eq> FromIterator<K> for FixedSet<K> {
    fn from_iter<I: IntoIterator<Item = K>>(keys: I) -> Self {
        let mut set = Self::default();
        for key in keys {
            set.insert(key);
        }
        set
    }
}

impl<K: Hash + Eq> Default for FixedSet<K> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K> fmt::Debug for FixedSet<K> {
    /// Writes the size only: the content would come in hash order.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("FixedSet").field(&self.map).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::FixedSet;

    #[test]
    fn a_key_is_new_once() {
        let mut set = FixedSet::with_capacity(1);
        assert!(set.insert(5_u32) && !set.insert(5) && set.contains(&5));
        assert!(set.remove(&5) && !set.remove(&5) && set.is_empty());
        set.insert(6);
        set.clear();
        assert_eq!(set.len(), 0);
    }
}
