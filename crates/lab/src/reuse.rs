/// How many allocations pass until a released port is handed out again, that one included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReuseDistance {
    /// The shortest one seen; 1 is the next allocation. `None` if no port came back.
    pub minimum: Option<u64>,
    /// The middle one of the ports that were released in the first half of the observation, those
    /// that did not come back counted as longer; `None` if the middle one did not come back.
    pub median: Option<u64>,
}

/// Follows ports from their release to their next allocation.
#[derive(Debug, Clone)]
pub(crate) struct ReuseWatch {
    first: u16,
    /// For each port: allocations so far when it was last released, if it is free since then.
    released: Vec<Option<u64>>,
    allocations: u64,
    /// Releases up to this many allocations are followed for the median.
    half: u64,
    followed: usize,
    minimum: Option<u64>,
    distances: Vec<u64>,
}

impl ReuseWatch {
    /// Begins to watch ports `first..`; about `allocations` are expected.
    pub(crate) fn new(first: u16, count: u32, allocations: u64) -> Self {
        Self {
            first,
            released: vec![None; count as usize],
            allocations: 0,
            half: allocations / 2,
            followed: 0,
            minimum: None,
            distances: Vec::new(),
        }
    }

    pub(crate) fn allocated(&mut self, port: u16) {
        self.allocations += 1;
        if let Some(before) = self.released[usize::from(port - self.first)].take() {
            let distance = self.allocations - before;
            self.minimum = Some(self.minimum.map_or(distance, |least| least.min(distance)));
            if before <= self.half {
                self.distances.push(distance);
            }
        }
    }

    pub(crate) fn released(&mut self, port: u16) {
        self.released[usize::from(port - self.first)] = Some(self.allocations);
        self.followed += usize::from(self.allocations <= self.half);
    }

    pub(crate) fn finish(mut self) -> ReuseDistance {
        self.distances.sort_unstable();
        let middle = self.followed.saturating_sub(1) / 2;
        ReuseDistance {
            minimum: self.minimum,
            median: self.distances.get(middle).copied(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::ReuseWatch;

    #[test]
    fn distances_count_allocations_and_those_that_never_end_are_long() {
        let mut watch = ReuseWatch::new(10, 4, 6);
        for port in [10, 11, 12] {
            watch.released(port);
        }
        watch.allocated(12);
        watch.allocated(13);
        watch.allocated(10);
        let three_of_them = watch.clone().finish();
        // 1, 3 and one that is longer: the middle one is 3.
        assert_eq!(
            (three_of_them.minimum, three_of_them.median),
            (Some(1), Some(3))
        );
        watch.released(13);
        watch.released(12);
        // 1, 3 and three that are longer.
        assert_eq!(watch.finish().median, None);
    }

    #[test]
    fn late_releases_do_not_shorten_the_median() {
        let mut watch = ReuseWatch::new(0, 2, 4);
        watch.released(0);
        for _ in 0..3 {
            watch.allocated(1);
            watch.released(1);
        }
        watch.allocated(0);
        let reuse = watch.finish();
        // Followed: port 0 (4 allocations), port 1 twice (1 each); its third release came late.
        assert_eq!((reuse.minimum, reuse.median), (Some(1), Some(1)));
    }
}
