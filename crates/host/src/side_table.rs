use plsim_table::Slab;

/// What only some connections have, by their positions: nothing is hashed, and a value costs its own size. The
/// others have the default. Memory grows to the highest position that ever had a value.
#[derive(Debug)]
pub(crate) struct SideTable<T> {
    values: Slab<T>,
}

impl<T: Copy + Default> SideTable<T> {
    pub(crate) const fn new() -> Self {
        Self {
            values: Slab::new(),
        }
    }

    #[inline]
    pub(crate) fn get(&self, position: u32) -> T {
        let value = self.values.get(position as usize);
        value.copied().unwrap_or_default()
    }

    /// Returns the value at a position for writing.
    pub(crate) fn entry(&mut self, position: u32) -> &mut T {
        let position = position as usize;
        while self.values.len() <= position {
            self.values.push(T::default());
        }
        &mut self.values[position]
    }

    /// Takes the value of a position out.
    #[inline]
    pub(crate) fn remove(&mut self, position: u32) -> T {
        let value = self.values.get_mut(position as usize);
        value.map(std::mem::take).unwrap_or_default()
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.values.memory_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::SideTable;

    #[test]
    fn who_has_nothing_has_the_default_and_who_had_nothing_costs_nothing() {
        let mut table = SideTable::new();
        assert_eq!((table.get(7), table.remove(7)), (0, 0));
        assert_eq!(table.memory_bytes(), 0);
        *table.entry(7) += 5_u32;
        assert_eq!((table.get(6), table.get(7), table.get(8)), (0, 5, 0));
        assert_eq!((table.remove(7), table.get(7)), (5, 0));
    }
}
