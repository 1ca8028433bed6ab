use std::collections::VecDeque;
use std::ops::RangeInclusive;

use plsim_nat::{Allocation, NoPort, PortAllocator, PortRequest, Ports};
use plsim_sim::Stream;
use plsim_types::{Duration, Instant, KeyedHash};

use crate::workload::Workload;

/// The time from one connection to the next, for allocators that change by time: 1 ms, far less than
/// a reservation takes to grow.
const BETWEEN: Duration = Duration::from_millis(1);
/// How many private endpoints open connections; each owns blocks where ports come in blocks.
const ENDPOINTS: u32 = 64;
/// The ports that clients connect from: those of Linux, 32 768..=60 999.
pub(crate) const CLIENT_PORTS: (u16, u32) = (32_768, 28_232);

/// Connections that ask for a port, all to one backend address and port.
#[derive(Debug, Clone)]
pub(crate) struct Traffic {
    random: Stream,
    destination: u64,
}

impl Traffic {
    pub(crate) fn new(seed: u64, name: &str) -> Self {
        let mut random = Stream::new(seed, "laboratory", name);
        let destination = random.bits();
        Self {
            random,
            destination,
        }
    }

    pub(crate) fn request(&mut self) -> PortRequest {
        PortRequest {
            random: self.random.bits(),
            flow: self.random.bits(),
            destination: self.destination,
            client_port: CLIENT_PORTS.0 + self.random.below(CLIENT_PORTS.1) as u16,
            subscriber: 1 + u64::from(self.random.below(ENDPOINTS)),
        }
    }

    pub(crate) fn below(&mut self, limit: u32) -> u32 {
        self.random.below(limit)
    }

    /// Shuffles evenly.
    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for place in (1..items.len()).rev() {
            items.swap(place, self.below(place as u32 + 1) as usize);
        }
    }
}

/// A port in use, and whose it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) port: u16,
    pub(crate) subscriber: u64,
}

/// What was asked of an allocator, and what came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Attempts {
    /// Ports asked for.
    pub made: u64,
    /// Ports given.
    pub allocated: u64,
    /// Refusals because no port was free.
    pub full: u64,
    /// Refusals while ports were free.
    pub gave_up: u64,
    /// Ports or words looked at, in all of them (the unit is the allocator's own).
    pub probes: u64,
    /// The most of one attempt.
    pub most_probes: u32,
}

impl Attempts {
    /// Returns the probes of one attempt on average.
    #[must_use]
    pub fn mean_probes(&self) -> f64 {
        self.probes as f64 / self.made.max(1) as f64
    }

    /// Returns the share of attempts that failed although ports were free, 0..=1.
    #[must_use]
    pub fn gave_up_share(&self) -> f64 {
        self.gave_up as f64 / self.made.max(1) as f64
    }

    fn count(&mut self, probes: u32) {
        self.made += 1;
        self.probes += u64::from(probes);
        self.most_probes = self.most_probes.max(probes);
    }
}

/// One port space with a memory of what is in use.
#[derive(Debug, Clone)]
pub(crate) struct Space {
    pub(crate) ports: Ports,
    /// Ports in use: the oldest first while they end oldest first, otherwise in no order.
    pub(crate) held: VecDeque<Held>,
    /// For each port: when it was released last; those never used count as released before, the
    /// lowest first. `None` while in use.
    pub(crate) free_since: Vec<Option<u64>>,
    pub(crate) attempts: Attempts,
    first: u16,
    clock: u64,
    now: Instant,
}

impl Space {
    pub(crate) fn new(allocation: Allocation, range: &RangeInclusive<u16>, seed: u64) -> Self {
        let key = KeyedHash::new(seed, "laboratory");
        let count = range.len() as u64;
        Self {
            ports: Ports::new(allocation, range.clone(), key),
            held: VecDeque::new(),
            free_since: (0..count).map(Some).collect(),
            attempts: Attempts::default(),
            first: *range.start(),
            clock: count,
            now: Instant::ZERO,
        }
    }

    /// Returns the first port of the range.
    pub(crate) const fn first(&self) -> u16 {
        self.first
    }

    pub(crate) fn used(&self) -> u32 {
        self.held.len() as u32
    }

    /// Asks for a port once.
    pub(crate) fn allocate(&mut self, request: &PortRequest) -> Option<Held> {
        self.now = self.now + BETWEEN;
        self.ports.advance(self.now);
        match self.ports.allocate(request) {
            Ok(allocated) => {
                self.attempts.count(allocated.probes);
                self.attempts.allocated += 1;
                let held = Held {
                    port: allocated.port,
                    subscriber: request.subscriber,
                };
                self.held.push_back(held);
                self.free_since[usize::from(held.port - self.first)] = None;
                Some(held)
            }
            Err(NoPort::Full) => {
                self.attempts.count(0);
                self.attempts.full += 1;
                None
            }
            Err(NoPort::GaveUp { probes }) => {
                self.attempts.count(probes);
                self.attempts.gave_up += 1;
                None
            }
        }
    }

    /// Asks again with other connections, as often as clients would: sixteen times as often as a
    /// single random try would need on average, and 64 times.
    pub(crate) fn insist(&mut self, traffic: &mut Traffic) -> Option<Held> {
        let free = self.ports.free();
        let tries = 64 + 16 * self.ports.capacity().checked_div(free).unwrap_or(0);
        (0..tries).find_map(|_| self.allocate(&traffic.request()))
    }

    /// Fills up to `used` ports, or as far as the allocator lets it.
    pub(crate) fn fill(&mut self, used: u32, traffic: &mut Traffic) {
        while self.used() < used && self.insist(traffic).is_some() {}
    }

    /// Lets one connection come and, if it got a port, one end. Returns what came and what went.
    pub(crate) fn step(
        &mut self,
        workload: Workload,
        traffic: &mut Traffic,
    ) -> Option<(Held, Held)> {
        let before = self.used();
        let came = self.allocate(&traffic.request())?;
        let went = match workload {
            Workload::RandomChurn if before > 0 => {
                let place = traffic.below(before) as usize;
                self.held.swap_remove_back(place)
            }
            Workload::FifoChurn => self.held.pop_front(),
            _ => self.held.pop_back(),
        };
        let went = went.expect("broken invariant: a port was just allocated");
        self.give_back(went);
        Some((came, went))
    }

    fn give_back(&mut self, held: Held) {
        self.ports.release(held.port, held.subscriber);
        self.free_since[usize::from(held.port - self.first)] = Some(self.clock);
        self.clock += 1;
    }

    /// Ends all connections whose port lies within the range.
    pub(crate) fn release_within(&mut self, range: &RangeInclusive<u16>) {
        let (ended, kept): (Vec<Held>, Vec<Held>) = self
            .held
            .iter()
            .partition(|held| range.contains(&held.port));
        self.held = kept.into();
        for held in ended {
            self.give_back(held);
        }
    }
}

#[cfg(test)]
mod tests {
    use plsim_nat::{Allocation, PortAllocator};

    use super::{Attempts, Space, Traffic};
    use crate::workload::Workload;

    /// With 645 free ports scattered evenly over 64 512, a search of 248 of them meets none in
    /// C(63 867, 248) / C(64 512, 248) = 8.235 % of the cases; the client's own port is one more.
    #[test]
    fn the_248_tries_fail_as_often_as_counting_says() {
        let mut traffic = Traffic::new(1, "test");
        let mut attempts = Attempts::default();
        for _ in 0..20 {
            let mut space = Space::new(Allocation::Linux, &(1_024..=65_535), 1);
            space.fill(64_512, &mut traffic);
            assert_eq!(space.ports.free(), 0);
            for _ in 0..645 {
                let place = traffic.below(space.used()) as usize;
                let held = space.held.swap_remove_back(place);
                space.give_back(held.expect("the place is in the list"));
            }
            space.attempts = Attempts::default();
            for _ in 0..5_000 {
                // What comes goes at once, so that the free ports stay where they are.
                space.step(Workload::Adversarial, &mut traffic);
            }
            attempts.made += space.attempts.made;
            attempts.gave_up += space.attempts.gave_up;
        }
        let none_in = |tries: u32| -> f64 {
            let misses = (0..tries).map(|k| 1.0 - 645.0 / f64::from(64_512 - k));
            misses.product()
        };
        assert!((none_in(248) - 0.082_35).abs() < 0.000_01);
        let theory = none_in(249);
        let share = attempts.gave_up_share();
        assert!(
            (share / theory - 1.0).abs() < 0.1,
            "{share} against {theory}"
        );
    }
}
