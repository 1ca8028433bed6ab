use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// A monotone priority queue of (time, tie) keys: a radix heap.
///
/// Items lie in 65 buckets by the highest bit in which their time differs from the time of the
/// last item taken; taking the next item empties the lowest bucket into smaller ones. An item
/// moves at most 64 times, in practice two or three, always in long sequential runs, so the cost
/// hardly grows with the number pending.
///
/// # Invariants
/// - No item is pushed for a time before the last one taken.
/// - Items come out in the order of (time, tie).
#[derive(Debug)]
pub struct RadixHeap<T> {
    last: u64,
    length: usize,
    /// Items of exactly `last`, sorted by falling tie.
    current: Vec<Item<T>>,
    /// Items of exactly `last` that came after `current` was sorted.
    late: BinaryHeap<Reverse<Item<T>>>,
    /// `buckets[b]` holds times whose highest bit different from `last` is bit `b`.
    buckets: [Vec<Item<T>>; 64],
    /// The least time in each bucket; [`u64::MAX`] in an empty one.
    least: [u64; 64],
    /// Bit `b` is set when `buckets[b]` holds something.
    occupied: u64,
}

#[derive(Debug)]
struct Item<T> {
    time: u64,
    tie: u64,
    value: T,
}

impl<T> PartialEq for Item<T> {
    fn eq(&self, other: &Self) -> bool {
        self.tie == other.tie
    }
}

impl<T> Eq for Item<T> {}

impl<T> PartialOrd for Item<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Item<T> {
    /// Compares ties only: items that are compared share their time.
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.tie.cmp(&other.tie)
    }
}

impl<T> Default for RadixHeap<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> RadixHeap<T> {
    /// Builds an empty queue at time zero.
    #[must_use]
    pub fn new() -> Self {
        Self {
            last: 0,
            length: 0,
            current: Vec::new(),
            late: BinaryHeap::new(),
            buckets: [const { Vec::new() }; 64],
            least: [u64::MAX; 64],
            occupied: 0,
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
        if !self.current.is_empty() || !self.late.is_empty() {
            return self.last;
        }
        match self.occupied {
            0 => u64::MAX,
            occupied => self.least[occupied.trailing_zeros() as usize],
        }
    }

    /// Takes everything out, in no particular order: (time, tie, value).
    pub fn drain(&mut self) -> impl Iterator<Item = (u64, u64, T)> {
        let Self {
            current,
            late,
            buckets,
            ..
        } = std::mem::take(self);
        let late = late.into_iter().map(|Reverse(item)| item);
        let all = current.into_iter().chain(late);
        all.chain(buckets.into_iter().flatten())
            .map(|item| (item.time, item.tie, item.value))
    }

    /// Adds an item; equal times come out by rising `tie`.
    ///
    /// # Panics
    /// If `time` lies before the last item taken.
    pub fn push(&mut self, time: u64, tie: u64, value: T) {
        assert!(time >= self.last, "an event was scheduled in the past");
        self.length += 1;
        let item = Item { time, tie, value };
        match (time ^ self.last).checked_ilog2() {
            None => self.late.push(Reverse(item)),
            Some(bit) => self.file(bit as usize, item),
        }
    }

    /// Takes the least item if its time lies before `limit`: (time, tie, value).
    pub fn pop_before(&mut self, limit: u64) -> Option<(u64, u64, T)> {
        if self.current.is_empty() && self.late.is_empty() {
            self.refill(limit)?;
        } else if self.last >= limit {
            return None;
        }
        let late_is_next = match (self.current.last(), self.late.peek()) {
            (Some(sorted), Some(Reverse(late))) => late.tie < sorted.tie,
            (None, Some(_)) => true,
            (_, None) => false,
        };
        let item = if late_is_next {
            self.late.pop().map(|Reverse(item)| item)
        } else {
            self.current.pop()
        }?;
        self.length -= 1;
        Some((item.time, item.tie, item.value))
    }

    /// Visits every pending item with its time, in no particular order.
    pub fn pending(&self) -> impl Iterator<Item = (u64, &T)> {
        self.current
            .iter()
            .chain(self.late.iter().map(|Reverse(item)| item))
            .chain(self.buckets.iter().flatten())
            .map(|item| (item.time, &item.value))
    }

    /// Moves the lowest bucket's items to where they belong as seen from its least time.
    fn refill(&mut self, limit: u64) -> Option<()> {
        if self.occupied == 0 {
            return None;
        }
        let lowest = self.occupied.trailing_zeros() as usize;
        let least = self.least[lowest];
        if least >= limit {
            return None;
        }
        self.last = least;
        self.occupied &= !(1 << lowest);
        self.least[lowest] = u64::MAX;
        let mut items = std::mem::take(&mut self.buckets[lowest]);
        for item in items.drain(..) {
            match (item.time ^ least).checked_ilog2() {
                None => self.current.push(item),
                Some(bit) => self.file(bit as usize, item),
            }
        }
        // The emptied bucket keeps its memory: no allocation in the steady state.
        self.buckets[lowest] = items;
        if self.current.len() > 1 {
            self.current.sort_unstable_by_key(|item| Reverse(item.tie));
        }
        Some(())
    }

    fn file(&mut self, bit: usize, item: Item<T>) {
        self.occupied |= 1 << bit;
        self.least[bit] = self.least[bit].min(item.time);
        self.buckets[bit].push(item);
    }
}

#[cfg(test)]
mod tests {
    use super::RadixHeap;
    use std::cmp::Reverse;
    use std::collections::BinaryHeap;

    #[test]
    fn order_is_that_of_a_binary_heap_under_random_pushes_and_pops() {
        let mut random = crate::Stream::new(3, "test", "queue");
        let mut queue = RadixHeap::new();
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
        let mut queue = RadixHeap::new();
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
    #[should_panic(expected = "scheduled in the past")]
    fn the_past_is_refused() {
        let mut queue = RadixHeap::new();
        queue.push(10, 1, ());
        queue.pop_before(u64::MAX);
        queue.push(9, 2, ());
    }
}
