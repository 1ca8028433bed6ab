use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// So many items at least lie sorted ahead, as long as there are as many: who looks ahead finds them.
const AHEAD: usize = 16;
/// A slot of so many items is sorted as a whole.
const BATCH: usize = 48;
/// The most sorted items among which another one is put in its place.
const CROWD: usize = 128;
/// Bits of a time that one level tells apart.
const DIGIT: u32 = 6;
/// Slots of a level.
const SLOTS: usize = 1 << DIGIT;
/// The memory of a slot is kept for others up to so many items: they all may come to need as much.
const ROOM: usize = 256;
/// Levels that 64 bits need.
const LEVELS: usize = 64_u32.div_ceil(DIGIT) as usize;

/// The level of each bit.
const LEVEL_OF: [u8; 64] = {
    let mut levels = [0; 64];
    let mut bit = 0;
    while bit < 64 {
        levels[bit] = (bit as u32 / DIGIT) as u8;
        bit += 1;
    }
    levels
};

/// A monotone priority queue of (time, tie) keys: a hierarchical wheel whose next items lie sorted.
///
/// Items up to the horizon lie in order. A later one lies in one of 11 levels of 64 slots each: the
/// level is the highest digit (of 6 bits) in which its time differs from the horizon, the slot is that
/// digit. When few items are left in order, the horizon moves on, and the next slot is sorted, or
/// emptied into lower levels if it is large. An item moves at most 11 times, in practice two or
/// three, always in runs, so the cost hardly grows with the number pending.
///
/// # Invariants
/// - No item is pushed for a time before the last one taken.
/// - Items come out in the order of (time, tie).
/// - Every item in a slot lies behind the horizon, every other one does not.
#[derive(Debug)]
pub struct EventQueue<T> {
    /// The time of the last item taken.
    last: u64,
    horizon: u64,
    length: usize,
    /// The next items, the very next one last.
    near: Vec<Item<T>>,
    /// Items up to the horizon that came when `near` was crowded.
    late: BinaryHeap<Reverse<Item<T>>>,
    levels: Box<[Level<T>; LEVELS]>,
    /// Bit `l` is set when level `l` holds something.
    occupied: u16,
    /// The memory of emptied slots, for slots that fill.
    spare: Vec<Vec<Item<T>>>,
}

#[derive(Debug)]
struct Level<T> {
    /// Bit `s` is set when `slots[s]` holds something.
    occupied: u64,
    slots: [Vec<Item<T>>; SLOTS],
}

#[derive(Debug)]
struct Item<T> {
    time: u64,
    tie: u64,
    value: T,
}

impl<T> Item<T> {
    const fn key(&self) -> (u64, u64) {
        (self.time, self.tie)
    }
}

impl<T> PartialEq for Item<T> {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl<T> Eq for Item<T> {}

impl<T> PartialOrd for Item<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Item<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key().cmp(&other.key())
    }
}

impl<T> Default for EventQueue<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> EventQueue<T> {
    /// Builds an empty queue at time zero.
    #[must_use]
    pub fn new() -> Self {
        let level = || Level {
            occupied: 0,
            slots: [const { Vec::new() }; SLOTS],
        };
        Self {
            last: 0,
            horizon: 0,
            length: 0,
            near: Vec::new(),
            late: BinaryHeap::new(),
            levels: Box::new(std::array::from_fn(|_| level())),
            occupied: 0,
            spare: Vec::new(),
        }
    }

    /// Returns the number of items pending.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.length
    }

    /// Tells whether nothing is pending.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Returns the time of the least item; [`u64::MAX`] if there is none.
    #[must_use]
    pub fn next_time(&self) -> u64 {
        let near = self.near.last().map(|item| item.time);
        let late = self.late.peek().map(|Reverse(item)| item.time);
        match (near, late) {
            (Some(near), Some(late)) => near.min(late),
            (Some(time), None) | (None, Some(time)) => time,
            (None, None) => self.lowest().map_or(u64::MAX, |(level, slot)| {
                let items = self.levels[level].slots[slot].iter();
                items.map(|item| item.time).min().unwrap_or(u64::MAX)
            }),
        }
    }

    /// Returns what will be taken after `distance` other items, unless something comes between; `None`
    /// if that is not known yet.
    #[must_use]
    #[inline]
    pub fn coming(&self, distance: usize) -> Option<&T> {
        let place = self.near.len().checked_sub(distance + 1)?;
        self.near.get(place).map(|item| &item.value)
    }

    /// Takes everything out, in no particular order: (time, tie, value).
    pub fn drain(&mut self) -> impl Iterator<Item = (u64, u64, T)> {
        let Self {
            near, late, levels, ..
        } = std::mem::take(self);
        let late = late.into_iter().map(|Reverse(item)| item);
        let slots = levels.into_iter().flat_map(|level| level.slots);
        let all = near.into_iter().chain(late).chain(slots.flatten());
        all.map(|item| (item.time, item.tie, item.value))
    }

    /// Adds an item; equal times come out by rising `tie`.
    ///
    /// # Panics
    /// If `time` lies before the last item taken.
    #[inline]
    pub fn push(&mut self, time: u64, tie: u64, value: T) {
        assert!(time >= self.last, "an event was scheduled in the past");
        self.length += 1;
        let item = Item { time, tie, value };
        if time > self.horizon {
            self.file(item);
        } else {
            self.join(item);
        }
    }

    /// Takes the least item if its time lies before `limit`: (time, tie, value).
    #[inline]
    pub fn pop_before(&mut self, limit: u64) -> Option<(u64, u64, T)> {
        self.pop_foreseeing(limit, |_| {})
    }

    /// The same; `foresee` is shown most items once, some time before they are taken.
    #[inline]
    pub fn pop_foreseeing(&mut self, limit: u64, foresee: impl FnMut(&T)) -> Option<(u64, u64, T)> {
        if self.near.len() < AHEAD && self.occupied != 0 {
            let fresh = self.refill();
            let fresh = self.near[..fresh].iter().rev();
            fresh.map(|item| &item.value).for_each(foresee);
        }
        if !self.late.is_empty() {
            return self.pop_of_two(limit);
        }
        if self.near.last()?.time >= limit {
            return None;
        }
        let item = self.near.pop()?;
        Some(self.taken(item))
    }

    /// Takes the least item while some lie apart.
    #[cold]
    fn pop_of_two(&mut self, limit: u64) -> Option<(u64, u64, T)> {
        let Reverse(late) = self.late.peek()?;
        let near = self.near.last().filter(|near| *near < late);
        if near.unwrap_or(late).time >= limit {
            return None;
        }
        let item = match near {
            Some(_) => self.near.pop(),
            None => self.late.pop().map(|Reverse(item)| item),
        };
        item.map(|item| self.taken(item))
    }

    #[inline]
    fn taken(&mut self, item: Item<T>) -> (u64, u64, T) {
        self.length -= 1;
        self.last = item.time;
        (item.time, item.tie, item.value)
    }

    /// Visits every pending item with its time, in no particular order.
    pub fn pending(&self) -> impl Iterator<Item = (u64, &T)> {
        let slots = self.levels.iter().flat_map(|level| &level.slots);
        self.near
            .iter()
            .chain(self.late.iter().map(|Reverse(item)| item))
            .chain(slots.flatten())
            .map(|item| (item.time, &item.value))
    }

    /// Returns level and slot of the items that come first of those behind the horizon.
    #[inline]
    fn lowest(&self) -> Option<(usize, usize)> {
        let level = self.occupied.trailing_zeros() as usize;
        let slot = self.levels.get(level)?.occupied.trailing_zeros() as usize;
        Some((level, slot))
    }

    /// Moves the horizon on, until enough items lie in order; returns how many are new there.
    #[inline(never)]
    fn refill(&mut self) -> usize {
        let mut fresh = 0;
        while self.near.len() < AHEAD
            && let Some((level, slot)) = self.lowest()
        {
            let mut items = self.empty(level, slot);
            if level == 0 || items.len() <= BATCH {
                // To the end of the slot's span: the horizon's digits above, its own, then any.
                let span = (1 << (level as u32 * DIGIT)) - 1;
                self.horizon = items.first().map_or(self.horizon, |item| item.time | span);
            } else {
                let least = items.iter().map(|item| item.time).min();
                let horizon = least.unwrap_or(self.horizon);
                self.horizon = horizon;
                for later in items.extract_if(.., |item| item.time > horizon) {
                    self.file(later);
                }
            }
            // They mostly came in order.
            items.reverse();
            items.sort_unstable_by_key(|item| Reverse(item.key()));
            fresh += items.len();
            items.append(&mut self.near);
            let emptied = std::mem::replace(&mut self.near, items);
            if emptied.capacity() <= ROOM {
                self.spare.push(emptied);
            }
        }
        fresh
    }

    /// Takes the items of a slot.
    fn empty(&mut self, level: usize, slot: usize) -> Vec<Item<T>> {
        let Level { occupied, slots } = &mut self.levels[level];
        *occupied &= !(1 << slot);
        if *occupied == 0 {
            self.occupied &= !(1 << level);
        }
        std::mem::take(&mut slots[slot])
    }

    /// Files an item that lies behind the horizon.
    #[inline]
    fn file(&mut self, item: Item<T>) {
        let bit = (item.time ^ self.horizon).ilog2();
        let level = u32::from(LEVEL_OF[bit as usize]);
        let slot = (item.time >> (level * DIGIT)) as usize % SLOTS;
        self.occupied |= 1 << level;
        let level = &mut self.levels[level as usize];
        level.occupied |= 1 << slot;
        let items = &mut level.slots[slot];
        if items.len() == items.capacity() {
            make_room(items, &mut self.spare);
        }
        items.push(item);
    }

    /// Puts an item among those up to the horizon.
    #[inline(never)]
    fn join(&mut self, item: Item<T>) {
        if self.near.len() >= CROWD {
            self.retreat();
        }
        if item.time > self.horizon {
            self.file(item);
        } else if self.near.len() >= CROWD {
            self.late.push(Reverse(item));
        } else {
            let after = self.near.partition_point(|other| *other > item);
            self.near.insert(after, item);
        }
    }

    /// Moves the horizon back to where enough items are left in order: it had moved on while little was
    /// pending, and now there is much.
    #[cold]
    fn retreat(&mut self) {
        let horizon = self.near[self.near.len() - AHEAD].time;
        let Some(bit) = (horizon ^ self.horizon).checked_ilog2() else {
            return;
        };
        let behind = self.near.partition_point(|item| item.time > horizon);
        let mut behind: Vec<_> = self.near.drain(..behind).collect();
        let late = std::mem::take(&mut self.late).into_vec();
        behind.extend(late.into_iter().map(|Reverse(item)| item));
        for level in 0..=(bit / DIGIT) as usize {
            while self.levels[level].occupied != 0 {
                let slot = self.levels[level].occupied.trailing_zeros() as usize;
                behind.extend(self.empty(level, slot));
            }
        }
        self.horizon = horizon;
        for item in behind {
            if item.time > horizon {
                self.file(item);
            } else {
                self.late.push(Reverse(item));
            }
        }
    }
}

/// Gives a full slot more room: that of a slot that was emptied, if it had any.
#[inline(never)]
fn make_room<T>(items: &mut Vec<T>, spare: &mut Vec<Vec<T>>) {
    if items.capacity() == 0
        && let Some(room) = spare.pop()
    {
        *items = room;
    }
    if items.len() == items.capacity() {
        items.reserve(items.len().max(8));
    }
}

#[cfg(test)]
mod tests {
    use super::EventQueue;
    use std::cmp::Reverse;
    use std::collections::BinaryHeap;

    #[test]
    fn order_is_that_of_a_binary_heap_under_random_pushes_and_pops() {
        let mut random = crate::Stream::new(3, "test", "queue");
        let mut queue = EventQueue::new();
        let mut model = BinaryHeap::new();
        let mut now = 0;
        for tie in 0..200_000_u64 {
            // Many equal times, some far away, some right now.
            let ahead = match random.below(4) {
                0 => 0,
                1 => u64::from(random.below(4)),
                2 => u64::from(random.below(1_000_000)),
                _ => random.bits() >> (8 + random.below(40)),
            };
            let tie = tie ^ 0x55;
            queue.push(now + ahead, tie, tie);
            model.push(Reverse((now + ahead, tie)));
            let next = model.peek().map(|Reverse((time, _))| *time);
            assert_eq!(Some(queue.next_time()), next);
            if random.below(5) < 2 {
                let (time, tie, value) = queue.pop_before(u64::MAX).unwrap();
                let Reverse(expected) = model.pop().unwrap();
                assert_eq!((time, tie), expected);
                assert_eq!(value, tie);
                now = time;
            }
        }
        assert_eq!(queue.len(), model.len());
        let all: Vec<_> = queue.drain().collect();
        assert!(queue.is_empty() && queue.next_time() == u64::MAX);
        for (time, tie, value) in all {
            queue.push(time, tie, value);
        }
        assert_eq!(queue.pending().count(), model.len());
        while let Some(Reverse(expected)) = model.pop() {
            let (time, tie, _) = queue.pop_before(u64::MAX).unwrap();
            assert_eq!((time, tie), expected);
        }
        assert!(queue.is_empty() && queue.pop_before(u64::MAX).is_none());
    }

    #[test]
    fn nothing_at_or_after_the_limit_is_taken() {
        let mut queue = EventQueue::new();
        queue.push(10, 1, ());
        queue.push(10, 2, ());
        assert!(queue.pop_before(10).is_none());
        // Looking must not move time: an earlier push is still legal.
        queue.push(5, 3, ());
        assert_eq!(queue.pop_before(11).unwrap().0, 5);
        assert_eq!(queue.pop_before(11).unwrap().1, 1);
        assert!(queue.pop_before(10).is_none());
        assert_eq!(queue.pop_before(11).unwrap().1, 2);
    }

    #[test]
    fn a_rush_after_a_quiet_time_comes_out_in_order() {
        let mut queue = EventQueue::new();
        let mut model = BinaryHeap::new();
        let mut tie = 0;
        let mut push = |queue: &mut EventQueue<u64>, model: &mut BinaryHeap<_>, time: u64| {
            tie += 1;
            queue.push(time, tie, tie);
            model.push(Reverse((time, tie)));
        };
        for second in 1..=40 {
            push(&mut queue, &mut model, second * 1_000_000_000);
        }
        for round in 0..40_u64 {
            // The next seconds lie in order by now; then much happens before the first of them.
            let (now, _, _) = queue.pop_before(u64::MAX).unwrap();
            assert_eq!(model.pop().map(|Reverse((time, _))| time), Some(now));
            for step in 0..300_u64 {
                let time = now + 1 + step * step * 7_919 % (1 << (10 + round % 20));
                push(&mut queue, &mut model, time);
            }
            for _ in 0..300 {
                let (time, tie, _) = queue.pop_before(u64::MAX).unwrap();
                assert_eq!(model.pop(), Some(Reverse((time, tie))));
            }
        }
        assert!(queue.is_empty() && model.is_empty());
    }

    #[test]
    fn what_comes_is_known_ahead() {
        let mut queue = EventQueue::new();
        for number in (0..100_u64).rev() {
            queue.push(number * 1_000, 0, number);
        }
        assert_eq!(
            queue.coming(0),
            Some(&0),
            "lies at the horizon from the beginning"
        );
        assert_eq!(queue.coming(1), None, "nothing was asked for yet");
        for number in 0..100 {
            let (_, _, taken) = queue.pop_before(u64::MAX).unwrap();
            assert_eq!(taken, number);
            for distance in 0..15 {
                let later = number + 1 + distance;
                let expected = (later < 100).then_some(later);
                assert_eq!(queue.coming(distance as usize).copied(), expected);
            }
        }
    }

    #[test]
    #[should_panic(expected = "scheduled in the past")]
    fn the_past_is_refused() {
        let mut queue = EventQueue::new();
        queue.push(10, 1, ());
        queue.pop_before(u64::MAX);
        queue.push(9, 2, ());
    }
}
