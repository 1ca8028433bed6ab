use std::cmp::Reverse;
use std::collections::BinaryHeap;

use dial::Dial;
use wheel::Wheel;

mod dial;
mod wheel;

/// The most items in order among which another one is put in its place.
const CROWD: usize = 128;
/// So many items of a slot are shown ahead: the memory they ask for is to lie near when their turn comes.
const FORESEEN: usize = 64;
/// The memory of a slot is kept up to so many items: all slots may come to need as much.
const ROOM: usize = 64;

/// A monotone priority queue of (time, tie) keys: a calendar of the next millisecond or two, and a
/// hierarchical wheel behind it.
///
/// ```text
///   near: in order | dial: 1 024 slots of 2 us, this block and the next | wheel: blocks of 1 ms, 64 slots a level
/// ```
///
/// The dial has a slot for every 2 048 ns of this block of 2^20 ns and of the next one, so a packet on a
/// link of a virtual network is filed once. Later items lie in the wheel, by the number of their
/// block: the level is the highest digit (of 6 bits) in which it differs from the last block on the
/// dial, the slot is that digit; when that block comes onto the dial they move there, in runs. Slot after slot of the
/// dial is sorted when its time comes. So the cost hardly grows with the number pending.
///
/// # Invariants
/// - No item is pushed for a time before the last one taken.
/// - Items come out in the order of (time, tie).
/// - An item lies on the dial or in the wheel if its slot comes after the present one, else in order.
#[derive(Debug)]
pub struct EventQueue<T> {
    /// The time of the last item taken.
    last: u64,
    length: usize,
    /// The items up to the end of the dial's present slot, the very next one last.
    near: Vec<Item<T>>,
    /// Further ones that came when `near` was crowded.
    late: BinaryHeap<Reverse<Item<T>>>,
    dial: Dial<Item<T>>,
    wheel: Wheel<Item<T>>,
}

#[derive(Debug)]
struct Item<T> {
    time: u64,
    tie: u64,
    value: T,
}

impl<T> Item<T> {
    /// Returns (time, tie) as one number.
    #[inline]
    const fn key(&self) -> u128 {
        (self.time as u128) << 64 | self.tie as u128
    }
}

/// The first items of a slot, as they came.
#[derive(Debug)]
pub struct Ahead<'q, T>(&'q [Item<T>]);

impl<T> Ahead<'_, T> {
    /// Visits them.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter().map(|item| &item.value)
    }

    /// Returns one of them.
    #[must_use]
    pub fn get(&self, place: usize) -> Option<&T> {
        self.0.get(place).map(|item| &item.value)
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
        Self {
            last: 0,
            length: 0,
            near: Vec::new(),
            late: BinaryHeap::new(),
            dial: Dial::new(),
            wheel: Wheel::new(dial::block_of(0) + 1),
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
        let near = self.near.last().into_iter();
        let late = self.late.peek().map(|Reverse(item)| item).into_iter();
        let least = near.chain(late).map(|item| item.time).min();
        let behind = || match self.dial.next() {
            Some(slot) => self.dial.items(slot),
            None => self
                .wheel
                .next()
                .map_or(&[][..], |place| self.wheel.items(place)),
        };
        let least = least.or_else(|| behind().iter().map(|item| item.time).min());
        least.unwrap_or(u64::MAX)
    }

    /// Returns a time before which there is nothing, without a search: mostly that of the least item.
    #[must_use]
    #[inline]
    pub fn earliest(&self) -> u64 {
        if self.near.is_empty()
            && self.late.is_empty()
            && self.dial.next().is_none()
            && let Some(place) = self.wheel.next()
        {
            return dial::begin_of_block(self.wheel.begin(place));
        }
        self.next_time()
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
        let slot = dial::slot_of(time);
        if self.dial.has_ahead(slot) {
            self.dial.push(slot, item);
        } else {
            self.file(item);
        }
    }

    /// Adds an item that has no place on the dial.
    #[inline(never)]
    fn file(&mut self, item: Item<T>) {
        let block = dial::block_of(item.time);
        if block > self.dial.last_block() {
            self.wheel.push(block, item);
        } else if self.near.len() < CROWD {
            let after = self.near.partition_point(|other| *other > item);
            self.near.insert(after, item);
        } else {
            self.late.push(Reverse(item));
        }
    }

    /// Takes the least item if its time lies before `limit`: (time, tie, value).
    #[inline]
    pub fn pop_before(&mut self, limit: u64) -> Option<(u64, u64, T)> {
        self.pop_foreseeing(limit, |_| {})
    }

    /// The same; `foresee` is shown what each slot of the dial holds when the one before it begins.
    #[inline]
    pub fn pop_foreseeing(
        &mut self,
        limit: u64,
        foresee: impl FnOnce(&Ahead<'_, T>),
    ) -> Option<(u64, u64, T)> {
        if self.near.is_empty() && self.late.is_empty() && self.turn(limit) {
            let coming = self
                .dial
                .next()
                .map_or(&[][..], |slot| self.dial.items(slot));
            foresee(&Ahead(&coming[..coming.len().min(FORESEEN)]));
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

    /// Takes everything out, in no particular order: (time, tie, value).
    pub fn drain(&mut self) -> impl Iterator<Item = (u64, u64, T)> {
        let Self {
            near,
            late,
            dial,
            wheel,
            ..
        } = std::mem::take(self);
        let late = late.into_iter().map(|Reverse(item)| item);
        let behind = dial.into_items().chain(wheel.into_items());
        let all = near.into_iter().chain(late).chain(behind);
        all.map(|item| (item.time, item.tie, item.value))
    }

    /// Visits every pending item with its time, in no particular order.
    pub fn pending(&self) -> impl Iterator<Item = (u64, &T)> {
        let late = self.late.iter().map(|Reverse(item)| item);
        let behind = self.dial.iter().chain(self.wheel.iter());
        let all = self.near.iter().chain(late).chain(behind);
        all.map(|item| (item.time, &item.value))
    }

    /// Turns the dial to the next slot with items and puts them in order, unless that begins at the limit or
    /// later; tells whether it did.
    #[inline(never)]
    fn turn(&mut self, limit: u64) -> bool {
        loop {
            if let Some(slot) = self.dial.next() {
                if dial::begin_of(slot) >= limit {
                    return false;
                }
                if self.dial.turn(slot) {
                    self.bring(self.dial.last_block());
                }
                self.dial.take(slot, &mut self.near);
                if self.near.len() > 1 {
                    // They mostly came in order.
                    self.near.reverse();
                    self.near.sort_unstable_by_key(|item| Reverse(item.key()));
                }
                return true;
            }
            let Some(place) = self.wheel.next() else {
                return false;
            };
            let block = self.wheel.begin(place);
            if dial::begin_of_block(block) >= limit {
                return false;
            }
            self.dial.skip_to(block);
            self.bring(block);
        }
    }

    /// Brings the items of a block onto the dial, of which it has just become the last.
    fn bring(&mut self, block: u64) {
        let dial = &mut self.dial;
        let show = |item: Item<T>| dial.push(dial::slot_of(item.time), item);
        let block_of = |item: &Item<T>| dial::block_of(item.time);
        self.wheel.advance(block, block_of, show);
    }
}

#[cfg(test)]
mod tests {
    use super::{Ahead, EventQueue};
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
            assert!(queue.earliest() <= queue.next_time() && queue.earliest() >= now);
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
    fn a_crowded_slot_does_not_turn_the_dial_to_what_lies_far_behind() {
        let mut queue = EventQueue::new();
        let hour = 3_600_000_000_000;
        queue.push(hour, 0, 0);
        queue.push(100, 0, 0);
        assert_eq!(queue.pop_before(u64::MAX).map(|item| item.0), Some(100));
        for tie in 1..=1_000 {
            queue.push(101, tie, tie);
        }
        for tie in 1..=500 {
            assert_eq!(queue.pop_before(u64::MAX), Some((101, tie, tie)));
        }
        queue.push(10_101, 0, 0);
        assert!(queue.dial.next().is_some());
        assert_eq!(queue.len(), 502);
        let rest: Vec<u64> = std::iter::from_fn(|| queue.pop_before(u64::MAX))
            .map(|item| item.0)
            .collect();
        assert_eq!(rest[499..], [101, 10_101, hour]);
        assert!(rest[..500].iter().all(|time| *time == 101));
    }

    #[test]
    fn the_next_slot_is_shown_when_one_begins() {
        let mut queue = EventQueue::new();
        for number in 0..100_u64 {
            queue.push(number * 1_000, 0, number);
        }
        let mut shown = Vec::new();
        for number in 0..100 {
            let mut ahead = Vec::new();
            let show = |slot: &Ahead<'_, u64>| {
                ahead.extend(slot.iter());
                assert_eq!(slot.get(0), ahead.first());
                assert_eq!(slot.get(ahead.len()), None);
            };
            let (_, _, taken) = queue.pop_foreseeing(u64::MAX, show).unwrap();
            assert_eq!(taken, number);
            assert!(
                ahead
                    .iter()
                    .all(|item| (number + 1..=number + 4).contains(item)),
                "{number}: {ahead:?}"
            );
            shown.append(&mut ahead);
        }
        let all: Vec<u64> = (5..100).collect();
        assert_eq!(shown, all, "each once, from the third slot on");
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
