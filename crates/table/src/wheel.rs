use crate::chunks::{Chain, ChunkPool};
use alloc::boxed::Box;
use alloc::collections::BinaryHeap;
use alloc::vec::Vec;
use core::cmp::Reverse;
use core::mem::size_of;
use plsim_types::Instant;

/// A hierarchical timing wheel that is rescheduled lazily and still exact to the nanosecond.
///
/// ```text
///  now ──► ready (sorted)  ◄── level 0: 256 slots of 2^24 ns (16.8 ms)
///          late  (heap)        level 1: 256 slots of 2^32 ns (4.29 s)
///                              level 2: 256 slots of 2^40 ns (18.3 min) …
/// ```
///
/// An item is 8 bytes: the owner's `position` (of the thing that has a timer) and a `tag`. The
/// wheel does not store its exact deadline: when a slot comes up, the owner is asked for the
/// deadline that is true *now*. So a flow that is refreshed by every packet only stores a time
/// stamp; its item moves at most once per slot it crosses.
///
/// **What the owner promises.** For every live timer there is an item inserted with a deadline not
/// later than the true one. A deadline may move later freely. When it moves earlier than what the
/// item was inserted with, the owner inserts another item and makes the old one stale, which is
/// what the tag is for: it answers `None` for a tag that is not the current one.
///
/// **What the wheel promises.** [`pop_due`](Self::pop_due) returns items in the order of
/// (deadline, position, tag), never before their deadline. [`next_wake`](Self::next_wake) is never
/// later than the earliest deadline; it may be earlier (at the boundary of a slot), but once
/// `pop_due(now, …)` has returned `None` it lies after `now`, so that the driver always advances.
///
/// # Examples
/// ```
/// # use plsim_table::TimerWheel;
/// # use plsim_types::Instant;
/// let deadlines = [Instant::from_nanos(300_000_000_000)];
/// let current = |position: u32, _tag| Some(deadlines[position as usize]);
/// let mut wheel = TimerWheel::new();
/// wheel.insert(0, 7, deadlines[0]);
/// while let Some(wake) = wheel.next_wake() {
///     if let Some(due) = wheel.pop_due(wake, current) {
///         assert_eq!((due, wake), ((0, 7), deadlines[0]));
///     }
/// }
/// ```
#[derive(Debug, Clone, Default)]
pub struct TimerWheel {
    /// The tick up to which slots are drained; items of this tick or before are in the queues.
    tick: u64,
    levels: [Option<Box<Level>>; LEVELS],
    chunks: ChunkPool,
    /// Items of the current tick that came from slots, the earliest last.
    ready: Vec<Due>,
    /// Items inserted for the current tick.
    late: BinaryHeap<Reverse<Due>>,
    len: usize,
    /// The next wake-up.
    wake: Option<Instant>,
}

/// Ticks of 2^24 ns: short enough that few timers share one, long enough that a deadline of
/// minutes passes two levels only.
const TICK_BITS: u32 = 24;
const SLOT_BITS: u32 = 8;
const SLOTS: usize = 1 << SLOT_BITS;
const LEVELS: usize = ((64 - TICK_BITS) / SLOT_BITS) as usize;
/// The room that the ready queue keeps when it is empty, so that a burst does not hold memory for
/// ever.
const KEPT: usize = 4096;

type Due = (Instant, u32, u32);

/// Who owns the timers of a [`TimerWheel`] and knows their true deadlines.
pub trait TimerOwner {
    /// Returns the deadline that is true now, or `None` for a stale item.
    fn deadline(&mut self, position: u32, tag: u32) -> Option<Instant>;

    /// Learns that [`deadline`](Self::deadline) will soon be asked about a position, so that it can
    /// ask for its memory.
    #[inline]
    fn fetch_ahead(&self, position: u32) {
        let _ = position;
    }
}

/// A closure as the owner.
struct Asked<F>(F);

#[derive(Debug, Clone)]
struct Level {
    occupied: [u64; SLOTS / 64],
    slots: [Chain; SLOTS],
}

impl TimerWheel {
    /// Builds an empty wheel at the start of the run; levels allocate on first use.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a timer. A deadline that has already passed is due at once.
    #[inline]
    pub fn insert(&mut self, position: u32, tag: u32, deadline: Instant) {
        self.len += 1;
        let wake = if tick_of(deadline) <= self.tick {
            self.late.push(Reverse((deadline, position, tag)));
            deadline
        } else {
            self.file(position, tag, deadline)
        };
        self.wake = Some(self.wake.map_or(wake, |earlier| earlier.min(wake)));
    }

    /// Lets the wheel know that time has come to `now`, if no slot has come up until then.
    ///
    /// Called before [`insert`](Self::insert), it spares wake-ups at slot boundaries that already
    /// lie in the past. It never skips anything.
    #[inline]
    pub fn advance(&mut self, now: Instant) {
        if self.next_wake().is_none_or(|wake| wake > now) {
            self.tick = self.tick.max(tick_of(now));
        }
    }

    /// Returns when [`pop_due`](Self::pop_due) should be called next, `None` if nothing waits.
    #[must_use]
    #[inline]
    pub const fn next_wake(&self) -> Option<Instant> {
        self.wake
    }

    /// Takes out the next timer that is due at `now`: its position and tag.
    ///
    /// `current(position, tag)` returns the deadline that is true now, or `None` for an item that
    /// is stale and shall be forgotten. Call until it returns `None`; calling early is harmless.
    #[inline]
    pub fn pop_due(
        &mut self,
        now: Instant,
        current: impl FnMut(u32, u32) -> Option<Instant>,
    ) -> Option<(u32, u32)> {
        self.pop_due_of(now, &mut Asked(current))
    }

    /// As [`pop_due`](Self::pop_due), of an owner that can fetch its timers ahead of time.
    pub fn pop_due_of(&mut self, now: Instant, owner: &mut impl TimerOwner) -> Option<(u32, u32)> {
        let due = self.take_due(now, owner);
        let queued = self.head().map(|due| due.0);
        self.wake = queued.or_else(|| {
            self.next_slot()
                .map(|(_, _, tick)| Instant::from_nanos(tick << TICK_BITS))
        });
        due
    }

    fn take_due(&mut self, now: Instant, owner: &mut impl TimerOwner) -> Option<(u32, u32)> {
        loop {
            while let Some(&(recorded, position, tag)) = self.head() {
                if recorded > now {
                    return None;
                }
                self.drop_head();
                match owner.deadline(position, tag) {
                    Some(deadline) if deadline > recorded => self.insert(position, tag, deadline),
                    Some(_) => return Some((position, tag)),
                    None => {}
                }
            }
            match self.next_slot() {
                Some((level, slot, tick)) if tick <= tick_of(now) => {
                    self.tick = tick;
                    self.drain(level, slot, owner);
                }
                _ => {
                    // No occupied slot starts up to now, so every filed item keeps its place.
                    self.tick = self.tick.max(tick_of(now));
                    // Both queues are empty.
                    if self.ready.capacity() > KEPT {
                        self.ready = Vec::new();
                    }
                    return None;
                }
            }
        }
    }

    /// Returns the position of the item that will come up `distance` items after the next one, as
    /// far as that is known: for prefetching only.
    #[must_use]
    #[inline]
    pub fn upcoming(&self, distance: usize) -> Option<u32> {
        let at = self.ready.len().checked_sub(distance + 1)?;
        Some(self.ready[at].1)
    }

    /// Returns the number of items, stale ones included.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Tells whether nothing waits.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Returns the bytes of heap memory held.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        let levels = self.levels.iter().flatten().count() * size_of::<Level>();
        let queues = (self.ready.capacity() + self.late.capacity()) * size_of::<Due>();
        levels + self.chunks.bytes() + queues
    }

    #[inline]
    fn head(&self) -> Option<&Due> {
        match (self.ready.last(), self.late.peek()) {
            (Some(ready), Some(Reverse(late))) => Some(ready.min(late)),
            (Some(ready), None) => Some(ready),
            (None, late) => late.map(|Reverse(due)| due),
        }
    }

    fn drop_head(&mut self) {
        self.len -= 1;
        let late_is_first = match (self.ready.last(), self.late.peek()) {
            (Some(ready), Some(Reverse(late))) => late < ready,
            (ready, _) => ready.is_none(),
        };
        if late_is_first {
            self.late.pop();
        } else {
            self.ready.pop();
        }
    }

    /// Puts an item of a later tick into the slot of the highest digit in which the ticks differ, and
    /// returns when that comes up.
    fn file(&mut self, position: u32, tag: u32, deadline: Instant) -> Instant {
        let tick = tick_of(deadline);
        let number = ((63 - (tick ^ self.tick).leading_zeros()) / SLOT_BITS) as usize;
        let slot = digit(tick, number);
        let level = match &mut self.levels[number] {
            Some(level) => level,
            none => none.insert(Level::boxed()),
        };
        level.occupied[slot / 64] |= 1 << (slot % 64);
        self.chunks.append(&mut level.slots[slot], (position, tag));
        let shift = TICK_BITS + number as u32 * SLOT_BITS;
        Instant::from_nanos(deadline.as_nanos() >> shift << shift)
    }

    /// Returns the first occupied slot (level, slot) and the tick at which it starts.
    ///
    /// Lower levels come first: their items share more leading digits with the current tick.
    fn next_slot(&self) -> Option<(usize, usize, u64)> {
        for (number, level) in self.levels.iter().enumerate() {
            let Some(level) = level else { continue };
            if let Some(slot) = level.first_occupied() {
                let shift = number as u32 * SLOT_BITS;
                let above = self.tick >> shift >> SLOT_BITS << SLOT_BITS;
                return Some((number, slot, (above | slot as u64) << shift));
            }
        }
        None
    }

    /// Moves the items of a slot that has come up to lower levels or to the ready queue.
    fn drain(&mut self, level: usize, slot: usize, owner: &mut impl TimerOwner) {
        let Some(from) = self.levels[level].as_mut() else {
            return;
        };
        from.occupied[slot / 64] &= !(1 << (slot % 64));
        let mut rest = core::mem::take(&mut from.slots[slot]);
        self.chunks.fetch_ahead(&rest, owner);
        while let Some(chunk) = self.chunks.take_first(&mut rest) {
            self.chunks.fetch_ahead(&rest, owner);
            for &(position, tag) in chunk.items() {
                match owner.deadline(position, tag) {
                    None => self.len -= 1,
                    Some(deadline) if tick_of(deadline) <= self.tick => {
                        self.ready.push((deadline, position, tag));
                    }
                    Some(deadline) => {
                        self.file(position, tag, deadline);
                    }
                }
            }
        }
        self.ready.sort_unstable_by(|a, b| b.cmp(a));
    }
}

impl<F: FnMut(u32, u32) -> Option<Instant>> TimerOwner for Asked<F> {
    #[inline]
    fn deadline(&mut self, position: u32, tag: u32) -> Option<Instant> {
        (self.0)(position, tag)
    }
}

impl Level {
    #[cold] // Its 2 KiB shall not be in the frame of who files an item.
    #[inline(never)]
    fn boxed() -> Box<Self> {
        Box::new(Self {
            occupied: [0; SLOTS / 64],
            slots: [Chain::default(); SLOTS],
        })
    }

    fn first_occupied(&self) -> Option<usize> {
        let word = self.occupied.iter().position(|&word| word != 0)?;
        Some(word * 64 + self.occupied[word].trailing_zeros() as usize)
    }
}

const fn tick_of(deadline: Instant) -> u64 {
    deadline.as_nanos() >> TICK_BITS
}

const fn digit(tick: u64, level: usize) -> usize {
    (tick >> (level as u32 * SLOT_BITS)) as usize % SLOTS
}

#[cfg(test)]
mod tests {
    use super::TimerWheel;
    use alloc::collections::BinaryHeap;
    use alloc::vec::Vec;
    use core::cmp::Reverse;
    use plsim_types::{Duration, Instant};
    use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop_oneof, proptest};

    /// Spans around the borders of ticks and levels.
    fn span() -> impl Strategy<Value = u64> {
        prop_oneof![
            Just(0),
            Just(1),
            Just((1 << 24) - 1),
            Just(1 << 24),
            Just((1 << 32) - 1),
            Just(1 << 32),
            Just(300_000_000_000),
            0..1_u64 << 26,
            0..1_u64 << 42,
            any::<u64>(),
        ]
    }

    #[derive(Debug, Clone)]
    enum Step {
        Add(u64),
        Postpone(usize, u64),
        Hasten(usize, u64),
        Advance(u64),
        Wake,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            span().prop_map(Step::Add),
            (any::<usize>(), span()).prop_map(|(which, by)| Step::Postpone(which, by)),
            (any::<usize>(), span()).prop_map(|(which, to)| Step::Hasten(which, to)),
            span().prop_map(Step::Advance),
            Just(Step::Wake),
        ]
    }

    #[derive(Default)]
    struct Timers {
        /// The true deadline and the current tag of every timer; `None` once fired.
        timers: Vec<Option<(u64, u32)>>,
        wheel: TimerWheel,
        now: u64,
    }

    impl Timers {
        fn apply(&mut self, step: &Step) {
            let count = self.timers.len().max(1);
            match *step {
                Step::Add(after) => {
                    let deadline = self.now.saturating_add(after);
                    let position = self.timers.len() as u32;
                    self.timers.push(Some((deadline, 0)));
                    if after % 2 == 0 {
                        self.wheel.advance(Instant::from_nanos(self.now));
                    }
                    self.wheel
                        .insert(position, 0, Instant::from_nanos(deadline));
                }
                Step::Postpone(which, by) => {
                    if let Some(Some(timer)) = self.timers.get_mut(which % count) {
                        timer.0 = timer.0.saturating_add(by);
                    }
                }
                Step::Hasten(which, after) => {
                    if let Some(Some(timer)) = self.timers.get_mut(which % count) {
                        *timer = (self.now.saturating_add(after), timer.1 + 1);
                        let deadline = Instant::from_nanos(timer.0);
                        self.wheel.insert((which % count) as u32, timer.1, deadline);
                    }
                }
                Step::Advance(by) => self.advance(self.now.saturating_add(by)),
                Step::Wake => {
                    if let Some(wake) = self.wheel.next_wake() {
                        self.advance(wake.as_nanos().max(self.now));
                    }
                }
            }
        }

        fn advance(&mut self, now: u64) {
            self.now = now;
            let live = self.timers.iter().enumerate();
            let mut expected: BinaryHeap<Reverse<(u64, u32)>> = live
                .filter_map(|(at, timer)| timer.map(|(deadline, _)| Reverse((deadline, at as u32))))
                .collect();
            let instant = Instant::from_nanos(now);
            while let Some((position, _)) = self.wheel.pop_due(instant, |position, tag| {
                let timer = self.timers[position as usize].filter(|timer| timer.1 == tag);
                timer.map(|(deadline, _)| Instant::from_nanos(deadline))
            }) {
                let Some(Reverse((deadline, first))) = expected.pop() else {
                    panic!("{position} fired, nothing is due");
                };
                assert_eq!(position, first);
                assert!(deadline <= now);
                self.timers[position as usize] = None;
            }
            let next = expected.peek().map(|Reverse((deadline, _))| *deadline);
            assert!(
                next.is_none_or(|deadline| deadline > now),
                "missed {next:?}"
            );
            let wake = self.wheel.next_wake().map(Instant::as_nanos);
            assert!(wake.is_none_or(|wake| wake > now), "no progress: {wake:?}");
            assert!(next.is_none_or(|next| wake.is_some_and(|wake| wake <= next)));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]
        #[test]
        fn fires_exactly_what_a_heap_would_in_the_same_order(
            steps in proptest::collection::vec(step(), 0..80)
        ) {
            let mut timers = Timers::default();
            for step in &steps {
                timers.apply(step);
            }
            timers.advance(u64::MAX);
            assert!(timers.wheel.is_empty());
            assert_eq!(timers.wheel.next_wake(), None);
        }
    }

    #[test]
    fn advancing_to_a_slot_that_comes_up_skips_nothing() {
        let start = 5 << 24;
        let deadlines = [start + 5, start + 9].map(Instant::from_nanos);
        let mut wheel = TimerWheel::new();
        wheel.insert(0, 0, deadlines[0]);
        wheel.advance(Instant::from_nanos(start));
        wheel.insert(1, 0, deadlines[1]);
        assert!(wheel.next_wake().unwrap() <= deadlines[0]);
        for position in [0, 1] {
            let due = wheel.pop_due(deadlines[1], |at, _| Some(deadlines[at as usize]));
            assert_eq!(due, Some((position, 0)));
        }
    }

    #[test]
    fn a_burst_does_not_hold_the_memory_of_its_queue() {
        const COUNT: usize = 20_000;
        let deadline = Instant::from_nanos(1 << 30);
        let mut wheel = TimerWheel::new();
        for position in 0..COUNT {
            wheel.insert(position as u32, 0, deadline);
        }
        let current = |_, _| Some(deadline);
        assert_eq!(wheel.pop_due(deadline, current), Some((0, 0)));
        let most = wheel.memory_bytes();
        assert!(most >= COUNT * 16, "{most}");
        while wheel.pop_due(deadline, current).is_some() {}
        assert!(wheel.memory_bytes() <= most - COUNT * 16);
    }

    #[test]
    fn items_and_their_memory_are_counted_stale_ones_included() {
        let mut wheel = TimerWheel::new();
        assert_eq!((wheel.len(), wheel.memory_bytes()), (0, 0));
        for exponent in [25, 33, 41] {
            wheel.insert(0, 0, Instant::from_nanos(1 << exponent));
        }
        assert_eq!((wheel.len(), wheel.is_empty()), (3, false));
        // Three levels of 256 slots.
        assert!(wheel.memory_bytes() >= 3 * 2_048);
        for _ in 0..10_000 {
            wheel.insert(0, 1, Instant::from_nanos(1 << 41));
        }
        let filed = wheel.memory_bytes();
        assert!(filed >= 80_000, "{filed}");
        for _ in 0..10_000 {
            wheel.insert(0, 2, Instant::ZERO);
        }
        assert!(wheel.memory_bytes() >= filed + 160_000);
        assert_eq!(wheel.len(), 20_003);
        assert_eq!(
            wheel.pop_due(Instant::from_nanos(u64::MAX), |_, _| None),
            None
        );
        assert!(wheel.is_empty());
    }

    #[test]
    fn the_items_after_the_next_one_are_known_once_their_slot_has_come_up() {
        let deadline = |position: u32| Instant::from_nanos((1 << 30) + u64::from(position));
        let current = |position, _| Some(deadline(position));
        let mut wheel = TimerWheel::new();
        for position in [7, 5, 6] {
            wheel.insert(position, 0, deadline(position));
        }
        assert_eq!(wheel.upcoming(0), None);
        assert_eq!(wheel.pop_due(deadline(5), current), Some((5, 0)));
        let upcoming = [0, 1, 2].map(|distance| wheel.upcoming(distance));
        assert_eq!(upcoming, [Some(6), Some(7), None]);
    }

    #[test]
    fn a_filed_item_wakes_its_owner_when_its_slot_begins() {
        for level in [24, 32, 40, 48] {
            let mut wheel = TimerWheel::new();
            let begin = Instant::from_nanos(7 << level);
            wheel.insert(0, 0, begin + Duration::from_nanos((1 << level) - 1));
            assert_eq!(wheel.next_wake(), Some(begin), "{level}");
        }
    }

    #[test]
    fn an_idle_timer_of_300_s_wakes_its_owner_at_most_four_times() {
        let deadline = Instant::from_nanos(300_000_000_001);
        let mut wheel = TimerWheel::new();
        wheel.insert(3, 0, deadline);
        let mut wakes = 0;
        loop {
            wakes += 1;
            let wake = wheel.next_wake().unwrap();
            if wheel.pop_due(wake, |_, _| Some(deadline)).is_some() {
                assert_eq!(wake, deadline);
                break;
            }
        }
        assert!(wakes <= 4, "{wakes}");
    }
}
