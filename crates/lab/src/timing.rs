use std::rc::Rc;

use plsim_nat::{PortAllocator, PortRequest, Ports};

use crate::case::Case;
use crate::exact;
use crate::nat::Nat;
use crate::space::{Held, Traffic};
use crate::workload::Workload;

/// The most heap memory of all port spaces of a case, bytes; fewer spaces are built above it.
const MOST_MEMORY: usize = 1 << 30;
/// About so many probes one sample may cost, so that slow searches end some day.
const PROBES_PER_SAMPLE: f64 = 100_000.0;
/// Releases that are timed together.
const RELEASES: u32 = 256;
/// How often a whole space is filled or drained.
const PASSES: u32 = 9;

/// Nanoseconds for one operation over several samples.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// The middle sample.
    pub median: f64,
    /// The lower quartile.
    pub low: f64,
    /// The upper quartile.
    pub high: f64,
}

impl Spread {
    /// Summarises samples by nearest rank; `None` without any.
    #[must_use]
    pub fn of(mut samples: Vec<f64>) -> Option<Self> {
        samples.sort_unstable_by(f64::total_cmp);
        let at = |quarter: usize| {
            let rank = (samples.len() * quarter).div_ceil(4);
            samples.get(rank.saturating_sub(1)).copied()
        };
        Some(Self {
            median: at(2)?,
            low: at(1)?,
            high: at(3)?,
        })
    }

    /// Returns how many of the operation fit into a second at the median.
    #[must_use]
    pub fn per_second(&self) -> f64 {
        1e9 / self.median.max(1e-3)
    }

    fn less(self, nanos: f64) -> Self {
        let less = |value: f64| (value - nanos).max(0.0);
        Self {
            median: less(self.median),
            low: less(self.low),
            high: less(self.high),
        }
    }
}

/// What the clock said; never part of what a seed determines.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Timing {
    /// One connection that comes and one that goes: an attempt to allocate, and a release if it
    /// succeeded.
    pub pair: Option<Spread>,
    /// An allocation: measured by a fill, with all of its connection in a NAT, otherwise `pair` less the median of `release`.
    pub allocate: Option<Spread>,
    /// A release, measured in batches; in a NAT the end of its connection.
    pub release: Option<Spread>,
    /// How many port spaces were there; fewer than asked for above 1 GiB.
    pub spaces: u32,
}

/// Nanoseconds for one operation, on average over all occupancies: in one fill, in one drain, or in one
/// NAT that is filled and drained.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Pass {
    /// An allocation, with all of its connection in a NAT; `None` in a drain.
    pub allocate: Option<f64>,
    /// A release, in a NAT the end of its connection; `None` in a fill.
    pub release: Option<f64>,
}

/// One connection that comes, and the one that goes for it.
#[derive(Debug, Clone, Copy)]
struct Step {
    space: u32,
    request: PortRequest,
    /// `None`: the connection that has just come.
    goes: Option<Held>,
}

/// The ports of a space that are in use, as a list that all spaces share until they have walked
/// through it: with thousands of spaces a list for each would not fit into memory.
#[derive(Debug, Clone)]
struct InUse {
    shared: Rc<Vec<Held>>,
    walked: usize,
    newer: Vec<Held>,
}

/// The port spaces of a case, ready for connections that come and go.
#[derive(Debug, Clone)]
pub struct Arena {
    case: Case,
    spaces: Vec<Ports>,
    in_use: Vec<InUse>,
    traffic: Traffic,
    steps: Vec<Step>,
    /// What came of each step.
    came: Vec<Option<u16>>,
    connections: u32,
}

impl Arena {
    /// Builds the port spaces of a case: copies of one with the history that the case asks for.
    #[must_use]
    pub fn new(case: &Case) -> Self {
        let mut traffic = Traffic::new(case.seed, &format!("{} timing", case.name()));
        let (space, _) = exact::prepare(case, &mut traffic);
        let mut connections = case.effort.connections;
        let most = PROBES_PER_SAMPLE / space.attempts.mean_probes().max(1.0);
        connections = connections.min((most as u32).max(4));
        let each = space.ports.memory_bytes().max(1);
        let spaces = match case.workload.keeps_occupancy() {
            true => case.spaces.min((MOST_MEMORY / each) as u32).max(1),
            false => 1,
        };
        let mut shared: Vec<Held> = space.held.into();
        if case.workload != Workload::FifoChurn {
            traffic.shuffle(&mut shared);
        }
        let in_use = InUse {
            shared: Rc::new(shared),
            walked: 0,
            newer: Vec::new(),
        };
        Self {
            case: *case,
            spaces: vec![space.ports; spaces as usize],
            in_use: vec![in_use; spaces as usize],
            traffic,
            steps: Vec::new(),
            came: Vec::new(),
            connections,
        }
    }

    /// Returns how many connections one sample has.
    #[must_use]
    pub const fn connections(&self) -> u32 {
        self.connections
    }

    /// Decides what the next `count` connections are: nothing of this is timed.
    pub fn plan(&mut self, count: u32) {
        self.settle();
        for _ in 0..count {
            let space = self.traffic.below(self.spaces.len() as u32);
            let goes = match self.case.workload {
                Workload::Adversarial => None,
                _ => self.next_to_go(space),
            };
            let request = self.traffic.request();
            self.steps.push(Step {
                space,
                request,
                goes,
            });
        }
        self.came.reserve(self.steps.len());
    }

    /// Lets the planned connections come and go: this is what is timed.
    pub fn run(&mut self) {
        for step in &self.steps {
            let ports = &mut self.spaces[step.space as usize];
            let came = ports.allocate(&step.request).ok().map(|given| given.port);
            if let Some(port) = came {
                match step.goes {
                    Some(held) => ports.release(held.port, held.subscriber),
                    None => ports.release(port, step.request.subscriber),
                }
            }
            self.came.push(came);
        }
    }

    /// Times the case; `now` returns nanoseconds since any instant and never goes back.
    #[must_use]
    pub fn measure(mut self, now: &mut dyn FnMut() -> u64) -> Timing {
        let mut timing = Timing {
            spaces: self.spaces.len() as u32,
            ..Timing::default()
        };
        match self.case.workload {
            Workload::Fill | Workload::Drain | Workload::Nat => {
                let passes: Vec<Pass> = (0..PASSES).map(|_| self.pass(now)).collect();
                timing.allocate = Spread::of(passes.iter().filter_map(|p| p.allocate).collect());
                timing.release = Spread::of(passes.iter().filter_map(|p| p.release).collect());
            }
            Workload::RandomChurn | Workload::FifoChurn | Workload::Adversarial => {
                // Unmeasured: caches and branch predictors get to know the code.
                self.plan(self.connections);
                self.run();
                timing.pair = self.time_pairs(now);
                timing.release = self.time_releases(now);
                timing.allocate = timing
                    .pair
                    .zip(timing.release)
                    .map(|(pair, release)| pair.less(release.median));
            }
        }
        timing
    }

    fn time_pairs(&mut self, now: &mut dyn FnMut() -> u64) -> Option<Spread> {
        let samples = (0..self.case.effort.samples).map(|_| {
            self.plan(self.connections);
            timed(now, self.connections, || self.run())
        });
        Spread::of(samples.collect())
    }

    /// Times releases alone; before and after, untimed, the ports are allocated.
    fn time_releases(&mut self, now: &mut dyn FnMut() -> u64) -> Option<Spread> {
        self.settle();
        let mut samples = Vec::new();
        for _ in 0..self.case.effort.samples {
            let mut batch: Vec<(u32, Held)> = Vec::new();
            let mut emptied = Vec::new();
            for _ in 0..RELEASES {
                let space = self.traffic.below(self.spaces.len() as u32);
                let going = self.next_to_go(space);
                emptied.extend(going.map(|_| space));
                let held = going.or_else(|| self.allocate(space));
                batch.extend(held.map(|held| (space, held)));
            }
            samples.push(timed(now, batch.len().max(1) as u32, || {
                for (space, held) in &batch {
                    self.spaces[*space as usize].release(held.port, held.subscriber);
                }
            }));
            for space in emptied {
                let held = self.allocate(space);
                self.in_use[space as usize].newer.extend(held);
            }
        }
        Spread::of(samples)
    }

    /// Times one pass of a workload that passes through all occupancies; each starts anew. Of the
    /// others there is nothing to tell.
    #[must_use]
    pub fn pass(&self, now: &mut dyn FnMut() -> u64) -> Pass {
        match self.case.workload {
            Workload::Fill => self.fill(now),
            Workload::Drain => self.drain(now),
            Workload::Nat => self.establish_and_tear_down(now),
            Workload::RandomChurn | Workload::FifoChurn | Workload::Adversarial => Pass::default(),
        }
    }

    fn fill(&self, now: &mut dyn FnMut() -> u64) -> Pass {
        let mut traffic = self.traffic.clone();
        let requests: Vec<PortRequest> = (0..self.case.ports).map(|_| traffic.request()).collect();
        let mut ports = self.spaces[0].clone();
        let mut given = 0;
        let nanos = timed(now, 1, || {
            let until = requests.iter().map_while(|ask| ports.allocate(ask).ok());
            given = until.count();
        });
        Pass {
            allocate: Some(nanos / given.max(1) as f64),
            release: None,
        }
    }

    fn drain(&self, now: &mut dyn FnMut() -> u64) -> Pass {
        let held = &self.in_use[0].shared;
        let mut ports = self.spaces[0].clone();
        let nanos = timed(now, held.len().max(1) as u32, || {
            for held in held.iter() {
                ports.release(held.port, held.subscriber);
            }
        });
        Pass {
            allocate: None,
            release: Some(nanos),
        }
    }

    fn establish_and_tear_down(&self, now: &mut dyn FnMut() -> u64) -> Pass {
        let mut nat = Nat::new(&self.case);
        let mut count = 0;
        let establish = timed(now, 1, || count = nat.establish());
        let tear_down = timed(now, 1, || assert_eq!(nat.tear_down(), 0));
        let each = f64::from(count.max(1));
        Pass {
            allocate: Some(establish / each),
            release: Some(tear_down / each),
        }
    }

    /// Books what came of the last steps.
    fn settle(&mut self) {
        for (step, came) in self.steps.drain(..).zip(self.came.drain(..)) {
            let newer = &mut self.in_use[step.space as usize].newer;
            match (step.goes, came) {
                (None, _) => {}
                (Some(stays), None) => newer.push(stays),
                (Some(_), Some(port)) => newer.push(Held {
                    port,
                    subscriber: step.request.subscriber,
                }),
            }
        }
    }

    /// Picks the next connection of a space to end: those of one generation in random order, or
    /// the oldest first.
    fn next_to_go(&mut self, space: u32) -> Option<Held> {
        let in_use = &mut self.in_use[space as usize];
        if in_use.walked == in_use.shared.len() {
            let mut newer = std::mem::take(&mut in_use.newer);
            if self.case.workload != Workload::FifoChurn {
                self.traffic.shuffle(&mut newer);
            }
            in_use.shared = Rc::new(newer);
            in_use.walked = 0;
        }
        let held = in_use.shared.get(in_use.walked).copied();
        in_use.walked += usize::from(held.is_some());
        held
    }

    /// Allocates a port in a space, with as many tries as it sensibly takes.
    fn allocate(&mut self, space: u32) -> Option<Held> {
        let ports = &mut self.spaces[space as usize];
        let tries = 64 + 16 * ports.capacity().checked_div(ports.free()).unwrap_or(0);
        (0..tries).find_map(|_| {
            let request = self.traffic.request();
            let given = ports.allocate(&request).ok()?;
            Some(Held {
                port: given.port,
                subscriber: request.subscriber,
            })
        })
    }
}

/// Returns the nanoseconds of one operation of `count`.
fn timed(now: &mut dyn FnMut() -> u64, count: u32, run: impl FnOnce()) -> f64 {
    let begun = now();
    run();
    (now() - begun) as f64 / f64::from(count)
}

#[cfg(test)]
mod tests {
    use super::Spread;

    #[test]
    fn spreads_are_quartiles_by_nearest_rank() {
        let spread = Spread::of(vec![4.0, 1.0, 3.0, 2.0]).unwrap();
        assert_eq!((spread.low, spread.median, spread.high), (1.0, 2.0, 3.0));
        let spread = Spread::of(vec![7.0]).unwrap();
        assert_eq!((spread.low, spread.median, spread.high), (7.0, 7.0, 7.0));
        let spread = Spread::of((1..=101).map(f64::from).collect()).unwrap();
        assert_eq!((spread.low, spread.median, spread.high), (26.0, 51.0, 76.0));
        assert_eq!(Spread::of(Vec::new()), None);
        assert!((spread.per_second() - 1e9 / 51.0).abs() < 1e-3);
    }
}
