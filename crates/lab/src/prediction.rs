use std::collections::BTreeSet;

/// How an observer who sees every allocation and release guesses the next port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guesser {
    /// The last port plus the step seen most often so far, or the next free port after it.
    NextStep,
    /// The free port that was released most recently.
    NewestFree,
    /// The port that has been free the longest.
    OldestFree,
    /// The free port with the lowest number.
    LowestFree,
    /// The free port that follows the longest run of used ones.
    AfterLongestRun,
}

impl Guesser {
    /// All of them, in the order in which ties are broken.
    pub const ALL: [Self; 5] = [
        Self::NextStep,
        Self::NewestFree,
        Self::OldestFree,
        Self::LowestFree,
        Self::AfterLongestRun,
    ];

    /// Returns its name: kebab-case, as in the files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NextStep => "next-step",
            Self::NewestFree => "newest-free",
            Self::OldestFree => "oldest-free",
            Self::LowestFree => "lowest-free",
            Self::AfterLongestRun => "after-longest-run",
        }
    }
}

/// What the statistical tests of predictability say about a sequence of ports.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Prediction {
    /// How many allocations were judged.
    pub judged: u64,
    /// The guesser that was right most often.
    pub guesser: Guesser,
    /// How often it was right.
    pub hits: u64,
    /// How often guessing blindly among the free ports would be right, on average.
    pub chance: f64,
    /// How many standard deviations `hits` lies above `chance`; `None` where chance leaves no doubt.
    pub guess_z: Option<f64>,
    /// The Wald-Wolfowitz runs test above and below the median: how many standard deviations the
    /// number of runs lies from that of a random order. Within ±3 is unsuspicious; far below is a
    /// sequence that climbs. `None` if all ports are equal.
    pub runs_z: Option<f64>,
}

/// How predictable a sequence is, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The best guesser does no better than chance.
    Chance,
    /// It does better: at least five hits, and more than five standard deviations above chance.
    BetterThanChance,
    /// The same, and it is right at least every second time.
    Predictable,
}

impl Verdict {
    /// Returns its name: kebab-case, as in the files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Chance => "chance",
            Self::BetterThanChance => "better-than-chance",
            Self::Predictable => "predictable",
        }
    }
}

impl Prediction {
    /// Returns the share of allocations that were guessed, 0..=1.
    #[must_use]
    pub fn guessed(&self) -> f64 {
        self.hits as f64 / self.judged.max(1) as f64
    }

    /// Judges the guesses.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        if self.hits < 5 || self.guess_z.is_none_or(|z| z <= 5.0) {
            Verdict::Chance
        } else if self.hits * 2 < self.judged {
            Verdict::BetterThanChance
        } else {
            Verdict::Predictable
        }
    }
}

/// The observer: knows which ports are free and since when, and guesses the next one.
#[derive(Debug, Clone)]
pub(crate) struct Observer {
    first: u16,
    count: u32,
    /// Free ports as distances from the first.
    free: BTreeSet<u32>,
    /// (when released, port).
    ages: BTreeSet<(u64, u32)>,
    released: Vec<u64>,
    clock: u64,
    /// (used ports before it plus one, port).
    runs: BTreeSet<(u32, u32)>,
    last: Option<u32>,
    steps: Vec<u32>,
    common_step: u32,
    hits: [u64; Guesser::ALL.len()],
    chance: f64,
    variance: f64,
    sequence: Vec<u32>,
}

impl Observer {
    /// Begins to observe `released.len()` ports from `first` on: for each port since when it is
    /// free, all instants different, or `None` if it is in use.
    pub(crate) fn new(first: u16, free_since: &[Option<u64>]) -> Self {
        let count = free_since.len() as u32;
        let mut observer = Self {
            first,
            count,
            free: BTreeSet::new(),
            ages: BTreeSet::new(),
            released: vec![0; free_since.len()],
            clock: free_since.iter().flatten().max().map_or(0, |last| last + 1),
            runs: BTreeSet::new(),
            last: None,
            steps: vec![0; free_since.len()],
            // A space of one port has no other step than nought.
            common_step: u32::from(count > 1),
            hits: [0; Guesser::ALL.len()],
            chance: 0.0,
            variance: 0.0,
            sequence: Vec::new(),
        };
        for (port, since) in free_since.iter().enumerate() {
            if let Some(since) = since {
                observer.insert(port as u32, *since);
            }
        }
        observer
    }

    /// Guesses, then learns what it was.
    pub(crate) fn allocated(&mut self, port: u16) {
        let port = u32::from(port - self.first);
        let guesses = Guesser::ALL.map(|guesser| self.guess(guesser));
        for (hits, guess) in self.hits.iter_mut().zip(guesses) {
            *hits += u64::from(guess == Some(port));
        }
        let chance = 1.0 / self.free.len().max(1) as f64;
        self.chance += chance;
        self.variance += chance * (1.0 - chance);
        if let Some(last) = self.last.replace(port) {
            let step = (port + self.count - last) % self.count;
            self.steps[step as usize] += 1;
            if self.steps[step as usize] > self.steps[self.common_step as usize] {
                self.common_step = step;
            }
        }
        self.remove(port);
        self.sequence.push(port);
    }

    pub(crate) fn released(&mut self, port: u16) {
        let now = self.clock;
        self.clock += 1;
        self.insert(u32::from(port - self.first), now);
    }

    pub(crate) fn judged(&self) -> u64 {
        self.sequence.len() as u64
    }

    pub(crate) fn finish(self) -> Prediction {
        let mut best = 0;
        for (place, hits) in self.hits.iter().enumerate() {
            if *hits > self.hits[best] {
                best = place;
            }
        }
        let hits = self.hits[best];
        Prediction {
            judged: self.judged(),
            guesser: Guesser::ALL[best],
            hits,
            chance: self.chance / self.sequence.len().max(1) as f64,
            guess_z: (self.variance > 0.0)
                .then(|| (hits as f64 - self.chance) / self.variance.sqrt()),
            runs_z: runs_z(&self.sequence),
        }
    }

    fn guess(&self, guesser: Guesser) -> Option<u32> {
        match guesser {
            Guesser::NextStep => {
                let guess = (self.last? + self.common_step) % self.count;
                self.at_or_after(guess)
            }
            Guesser::NewestFree => self.ages.last().map(|(_, port)| *port),
            Guesser::OldestFree => self.ages.first().map(|(_, port)| *port),
            Guesser::LowestFree => self.free.first().copied(),
            Guesser::AfterLongestRun => self.runs.last().map(|(_, port)| *port),
        }
    }

    fn at_or_after(&self, port: u32) -> Option<u32> {
        let after = self.free.range(port..).next();
        after.or_else(|| self.free.first()).copied()
    }

    fn before(&self, port: u32) -> Option<u32> {
        let before = self.free.range(..port).next_back();
        before.or_else(|| self.free.last()).copied()
    }

    /// Returns how far a free port lies behind another, once around at most.
    const fn distance(&self, from: u32, to: u32) -> u32 {
        match (to + self.count - from) % self.count {
            0 => self.count,
            distance => distance,
        }
    }

    fn insert(&mut self, port: u32, now: u64) {
        match (self.before(port), self.at_or_after(port)) {
            (Some(before), Some(after)) => {
                self.runs.remove(&(self.distance(before, after), after));
                self.runs.insert((self.distance(before, port), port));
                self.runs.insert((self.distance(port, after), after));
            }
            _ => {
                self.runs.insert((self.count, port));
            }
        }
        self.free.insert(port);
        self.released[port as usize] = now;
        self.ages.insert((now, port));
    }

    fn remove(&mut self, port: u32) {
        self.free.remove(&port);
        self.ages.remove(&(self.released[port as usize], port));
        match (self.before(port), self.at_or_after(port)) {
            (Some(before), Some(after)) => {
                self.runs.remove(&(self.distance(before, port), port));
                self.runs.remove(&(self.distance(port, after), after));
                self.runs.insert((self.distance(before, after), after));
            }
            _ => self.runs.clear(),
        }
    }
}

/// The Wald-Wolfowitz runs test: values equal to the median are left out.
fn runs_z(sequence: &[u32]) -> Option<f64> {
    let mut sorted = sequence.to_vec();
    sorted.sort_unstable();
    let middle = sorted.len() / 2;
    // Twice the median, so that it stays whole.
    let median = match sorted.len() % 2 {
        _ if sorted.is_empty() => return None,
        0 => u64::from(sorted[middle - 1]) + u64::from(sorted[middle]),
        _ => 2 * u64::from(sorted[middle]),
    };
    let sides = sequence
        .iter()
        .map(|value| 2 * u64::from(*value))
        .filter(|value| *value != median)
        .map(|value| value > median);
    let (mut above, mut below, mut runs) = (0_u32, 0_u32, 0_u32);
    let mut last = None;
    for side in sides {
        above += u32::from(side);
        below += u32::from(!side);
        runs += u32::from(last != Some(side));
        last = Some(side);
    }
    let (above, below, runs) = (f64::from(above), f64::from(below), f64::from(runs));
    let all = above + below;
    let mean = 2.0 * above * below / all + 1.0;
    let variance = (mean - 1.0) * (mean - 2.0) / (all - 1.0);
    (variance > 0.0).then(|| (runs - mean) / variance.sqrt())
}

#[cfg(test)]
mod tests {
    use plsim_sim::Stream;

    use super::{Guesser, Observer, Verdict, runs_z};

    fn all_free(count: u64) -> Vec<Option<u64>> {
        (0..count).map(Some).collect()
    }

    #[test]
    fn the_runs_test_gives_the_textbook_value() {
        // 5 above, 5 below, 6 runs, by hand: mean 6, variance 20/9.
        let mixed = [1, 9, 8, 2, 3, 7, 6, 4, 0, 10];
        assert_eq!(runs_z(&mixed), Some(0.0));
        // 2 runs: (2 - 6) / sqrt(20 / 9) = -2.683.
        let climbing: Vec<u32> = (0..10).collect();
        assert!((runs_z(&climbing).unwrap() + 2.683_281_5).abs() < 1e-6);
        // 10 runs: the same distance above.
        let swinging = [0, 9, 1, 8, 2, 7, 3, 6, 4, 5];
        assert!((runs_z(&swinging).unwrap() - 2.683_281_5).abs() < 1e-6);
        assert_eq!(runs_z(&[]), None);
        assert_eq!(runs_z(&[5, 5, 5]), None);
    }

    #[test]
    fn a_sequence_is_guessed_and_chance_is_not() {
        let mut observer = Observer::new(100, &all_free(1_000));
        for step in 0..1_000 {
            let port = 100 + (step * 7) % 1_000;
            observer.allocated(port);
            observer.released(port);
        }
        let prediction = observer.finish();
        assert_eq!(prediction.guesser, Guesser::NextStep);
        // The step of 7 is known from the third allocation on.
        assert_eq!(prediction.hits, 998);
        assert_eq!(prediction.verdict(), Verdict::Predictable);
        assert!((prediction.chance - 0.001).abs() < 1e-12);

        let mut random = Stream::new(1, "test", "guess");
        let mut observer = Observer::new(100, &all_free(1_000));
        for _ in 0..5_000 {
            let port = 100 + random.below(1_000) as u16;
            observer.allocated(port);
            observer.released(port);
        }
        let prediction = observer.finish();
        assert_eq!(prediction.verdict(), Verdict::Chance, "{prediction:?}");
        assert!(prediction.runs_z.unwrap().abs() < 3.5, "{prediction:?}");
    }

    #[test]
    fn queues_stacks_and_lowest_first_are_seen_through() {
        // Ports 0 to 9; 3, 5 and 8 are free, released in the order 5, 8, 3.
        let mut since = vec![None; 10];
        (since[5], since[8], since[3]) = (Some(1), Some(2), Some(3));
        let observer = Observer::new(0, &since);
        assert_eq!(observer.guess(Guesser::OldestFree), Some(5));
        assert_eq!(observer.guess(Guesser::NewestFree), Some(3));
        assert_eq!(observer.guess(Guesser::LowestFree), Some(3));
        // Before 3 lie 9, 0, 1, 2; before 5 only 4; before 8 only 6 and 7.
        assert_eq!(observer.guess(Guesser::AfterLongestRun), Some(3));
        assert_eq!(observer.guess(Guesser::NextStep), None);
    }

    #[test]
    fn the_longest_run_is_right_after_any_steps() {
        let mut random = Stream::new(3, "test", "runs");
        let mut free: Vec<bool> = (0..40).map(|port| port % 3 == 0).collect();
        let since: Vec<Option<u64>> = free
            .iter()
            .enumerate()
            .map(|(port, free)| free.then_some(port as u64))
            .collect();
        let mut observer = Observer::new(0, &since);
        for _ in 0..2_000 {
            let port = random.below(40) as usize;
            free[port] = !free[port];
            if free[port] {
                observer.released(port as u16);
            } else {
                observer.allocated(port as u16);
            }
            let run = |port: usize| (1..=40).find(|back| free[(port + 40 - back) % 40]);
            let longest = (0..40)
                .filter(|port| free[*port])
                .max_by_key(|port| (run(*port), *port));
            let guess = observer.guess(Guesser::AfterLongestRun);
            assert_eq!(guess, longest.map(|port| port as u32));
            assert_eq!(observer.runs.len(), observer.free.len());
        }
    }

    #[test]
    fn the_only_free_port_is_no_achievement() {
        let mut since = vec![None; 10];
        since[4] = Some(0);
        let mut observer = Observer::new(0, &since);
        for port in [4, 7, 1, 2, 9, 8] {
            observer.allocated(port);
            let next = [7, 1, 2, 9, 8, 4][observer.judged() as usize - 1];
            observer.released(next);
        }
        let prediction = observer.finish();
        assert_eq!((prediction.hits, prediction.guess_z), (6, None));
        assert_eq!(prediction.verdict(), Verdict::Chance);
    }
}
