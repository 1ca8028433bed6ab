use super::ROOM;

/// Bits of a time within a slot.
const WIDTH: u32 = 11;
/// Bits of a slot's number within a block.
const BLOCK: u32 = 9;
/// The slots of two blocks.
const SLOTS: usize = 2 << BLOCK;

/// Returns the number of the slot that a time belongs to.
#[inline]
pub(super) const fn slot_of(time: u64) -> u64 {
    time >> WIDTH
}

/// Returns the number of the block that a time belongs to.
#[inline]
pub(super) const fn block_of(time: u64) -> u64 {
    time >> (WIDTH + BLOCK)
}

/// Returns the first time of a slot.
#[inline]
pub(super) const fn begin_of(slot: u64) -> u64 {
    slot << WIDTH
}

/// Returns the first time of a block.
#[inline]
pub(super) const fn begin_of_block(block: u64) -> u64 {
    block << (WIDTH + BLOCK)
}

/// A ring of slots for the times of this block and of the next one.
#[derive(Debug)]
pub(super) struct Dial<T> {
    /// The number of the present slot: it and those before it are empty.
    present: u64,
    slots: Box<[Vec<T>]>,
    /// Bit `s % 64` of word `s / 64` is set when `slots[s]` holds something.
    occupied: [u64; SLOTS / 64],
    /// Bit `w` is set when word `w` has a bit.
    words: u32,
}

const _: () = assert!(SLOTS / 64 <= 32);

impl<T> Dial<T> {
    pub(super) fn new() -> Self {
        Self {
            present: 0,
            slots: std::iter::repeat_with(Vec::new).take(SLOTS).collect(),
            occupied: [0; SLOTS / 64],
            words: 0,
        }
    }

    /// Tells whether a slot is on the dial behind the present one.
    #[inline]
    pub(super) const fn has_ahead(&self, slot: u64) -> bool {
        slot > self.present && slot >> BLOCK <= self.last_block()
    }

    /// Returns the number of the last block that is on the dial.
    #[inline]
    pub(super) const fn last_block(&self) -> u64 {
        (self.present >> BLOCK) + 1
    }

    /// Adds an item to a slot that is on the dial.
    #[inline]
    pub(super) fn push(&mut self, slot: u64, item: T) {
        let place = slot as usize % SLOTS;
        self.occupied[place / 64] |= 1 << (place % 64);
        self.words |= 1 << (place / 64);
        self.slots[place].push(item);
    }

    /// Returns the number of the next slot that holds something.
    #[inline]
    pub(super) fn next(&self) -> Option<u64> {
        if self.words == 0 {
            return None;
        }
        // Of a ring: what lies behind the present place comes first.
        let first = (self.present as usize + 1) % SLOTS;
        let word = first / 64;
        let rest = self.occupied[word] >> (first % 64);
        let distance = if rest == 0 {
            let count = SLOTS as u32 / 64;
            let ahead = word as u32 + 1;
            // The words behind this one, then those from the first on, this one included.
            let turned = (self.words >> ahead) | (self.words << (count - ahead));
            let word = (ahead + turned.trailing_zeros()) as usize % (count as usize);
            let place = word * 64 + self.occupied[word].trailing_zeros() as usize;
            (place + SLOTS - first) % SLOTS
        } else {
            rest.trailing_zeros() as usize
        };
        Some(self.present + 1 + distance as u64)
    }

    pub(super) fn items(&self, slot: u64) -> &[T] {
        &self.slots[slot as usize % SLOTS]
    }

    /// Makes a slot the present one, the next that holds something; tells whether another block came onto
    /// the dial for it.
    #[inline]
    pub(super) const fn turn(&mut self, slot: u64) -> bool {
        let last = self.last_block();
        self.present = slot;
        self.last_block() != last
    }

    /// Turns the dial, which is empty, until a block is the next one.
    pub(super) const fn skip_to(&mut self, block: u64) {
        self.present = (block << BLOCK) - 1;
    }

    /// Takes the items of a slot, in exchange for room.
    #[inline]
    pub(super) fn take(&mut self, slot: u64, items: &mut Vec<T>) {
        let place = slot as usize % SLOTS;
        let word = place / 64;
        self.occupied[word] &= !(1 << (place % 64));
        if self.occupied[word] == 0 {
            self.words &= !(1 << word);
        }
        std::mem::swap(&mut self.slots[place], items);
        if self.slots[place].capacity() > ROOM {
            self.slots[place] = Vec::new();
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.slots.iter().flatten()
    }

    pub(super) fn into_items(self) -> impl Iterator<Item = T> {
        self.slots.into_iter().flatten()
    }
}
