use super::ROOM;

/// Bits of a number that one level tells apart.
const DIGIT: u32 = 6;
/// Slots of a level.
const SLOTS: usize = 1 << DIGIT;
/// Levels that the number of a block needs: 44 bits.
const LEVELS: usize = 8;

/// The level of each bit of a number.
const LEVEL_OF: [u8; 64] = {
    let mut levels = [0; 64];
    let mut bit = 0;
    while bit < 64 {
        levels[bit] = (bit as u32 / DIGIT) as u8;
        bit += 1;
    }
    levels
};

/// A hierarchical wheel: items by a number that lies above the one it has reached.
///
/// The level of an item is the highest digit (of 6 bits) in which its number differs from the one
/// reached, its slot is that digit. An item moves to a lower level each time the wheel comes to its slot.
#[derive(Debug)]
pub(super) struct Wheel<T> {
    reached: u64,
    levels: Box<[Level<T>; LEVELS]>,
    /// Bit `l` is set when level `l` holds something.
    occupied: u8,
}

#[derive(Debug)]
struct Level<T> {
    /// Bit `s` is set when `slots[s]` holds something.
    occupied: u64,
    slots: [Vec<T>; SLOTS],
}

/// A slot, and its level.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    level: usize,
    slot: usize,
}

impl<T> Wheel<T> {
    pub(super) fn new(reached: u64) -> Self {
        let level = || Level {
            occupied: 0,
            slots: [const { Vec::new() }; SLOTS],
        };
        Self {
            reached,
            levels: Box::new(std::array::from_fn(|_| level())),
            occupied: 0,
        }
    }

    /// Adds an item with a number above the one reached.
    #[inline]
    pub(super) fn push(&mut self, number: u64, item: T) {
        let bit = (number ^ self.reached).ilog2();
        let level = u32::from(LEVEL_OF[bit as usize]);
        let slot = (number >> (level * DIGIT)) as usize % SLOTS;
        self.occupied |= 1 << level;
        let level = &mut self.levels[level as usize];
        level.occupied |= 1 << slot;
        level.slots[slot].push(item);
    }

    /// Returns the slot of the items that come first.
    #[inline]
    pub(super) fn next(&self) -> Option<Place> {
        let level = self.occupied.trailing_zeros() as usize;
        let slot = self.levels.get(level)?.occupied.trailing_zeros() as usize;
        Some(Place { level, slot })
    }

    /// Returns the least number that belongs to the slot of the items that come first.
    #[inline]
    pub(super) const fn begin(&self, place: Place) -> u64 {
        let low = place.level as u32 * DIGIT;
        // The digits above the slot's own are those of the number reached.
        let above = self.reached >> (low + DIGIT) << DIGIT;
        (above | place.slot as u64) << low
    }

    pub(super) fn items(&self, place: Place) -> &[T] {
        &self.levels[place.level].slots[place.slot]
    }

    /// Goes on to a number, no later than the least one here, and gives out the items that have it.
    pub(super) fn advance(
        &mut self,
        number: u64,
        number_of: impl Fn(&T) -> u64,
        mut give: impl FnMut(T),
    ) {
        self.reached = number;
        while let Some(place) = self.next()
            && self.begin(place) == number
        {
            let mut items = self.empty(place);
            for item in items.drain(..) {
                match number_of(&item) {
                    own if own == number => give(item),
                    own => self.push(own, item),
                }
            }
            if items.capacity() <= ROOM {
                self.levels[place.level].slots[place.slot] = items;
            }
        }
    }

    /// Takes the items of a slot.
    fn empty(&mut self, Place { level, slot }: Place) -> Vec<T> {
        let Level { occupied, slots } = &mut self.levels[level];
        *occupied &= !(1 << slot);
        if *occupied == 0 {
            self.occupied &= !(1 << level);
        }
        std::mem::take(&mut slots[slot])
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.levels.iter().flat_map(|level| &level.slots).flatten()
    }

    pub(super) fn into_items(self) -> impl Iterator<Item = T> {
        let slots = self.levels.into_iter().flat_map(|level| level.slots);
        slots.flatten()
    }
}
