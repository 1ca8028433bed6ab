use plsim_nat::PortAllocator;

use crate::case::{Case, Effort};
use crate::nat::Nat;
use crate::prediction::{Observer, Prediction};
use crate::reuse::{ReuseDistance, ReuseWatch};
use crate::space::{Attempts, Space, Traffic};
use crate::workload::Workload;

/// The fewest connections of a history.
const SHORTEST_HISTORY: u32 = 1_000;
/// The fewest connections that are counted, whatever they cost.
const FEWEST: u64 = 250;

/// What follows from case and seed alone: counts, no time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Exact {
    /// Ports that were to be in use when a port is asked for.
    pub wanted: u32,
    /// Ports that were in use at the end; fewer where the allocator gave no more.
    pub used: u32,
    /// Connections that came and went after filling and before counting.
    pub history: u32,
    /// The attempts that were counted.
    pub attempts: Attempts,
    /// Ports in use at the first refusal of a fill, or connections in a NAT: what the allocator
    /// makes of the connection tracking table capacity (RFC 9693).
    pub first_refusal: Option<u32>,
    /// When ports come back; where connections end.
    pub reuse: Option<ReuseDistance>,
    /// How well the next port can be guessed; where ports are allocated.
    pub prediction: Option<Prediction>,
    /// Heap memory of one port space, or of all tables of a NAT, bytes.
    pub memory_bytes: usize,
}

/// Builds a space with the history that the case asks for.
///
/// Churn: filled to the occupancy, then so many connections come and go that each free port has
/// been taken and replaced four times on average, and at least a thousand. Adversarial: filled to
/// the last port, then as many ports side by side are released as the occupancy leaves free.
pub(crate) fn prepare(case: &Case, traffic: &mut Traffic) -> (Space, u32) {
    let range = case.range();
    let mut space = Space::new(case.allocation, &range, case.seed);
    let capacity = space.ports.capacity();
    let used = case.occupancy.used(capacity);
    let history = match case.workload {
        Workload::Fill | Workload::Nat => return (space, 0),
        Workload::Drain => {
            space.fill(capacity, traffic);
            return (space, 0);
        }
        Workload::RandomChurn | Workload::FifoChurn => {
            space.fill(used, traffic);
            (4 * (capacity - used)).max(SHORTEST_HISTORY)
        }
        Workload::Adversarial => {
            space.fill(capacity, traffic);
            let begin = range.start() + (used / 2) as u16;
            let last = begin + (capacity - used - 1) as u16;
            space.release_within(&(begin..=last));
            SHORTEST_HISTORY
        }
    };
    // The history is as long as it is for every allocator, unless a step costs too much.
    let mut done = 0;
    space.attempts = Attempts::default();
    while done < history && space.attempts.probes < case.effort.probes {
        space.step(case.workload, traffic);
        done += 1;
    }
    space.fill(used, traffic);
    (space, done)
}

/// Counts what the case is about.
pub(crate) fn measure(case: &Case) -> Exact {
    let mut traffic = Traffic::new(case.seed, &format!("{} exact", case.name()));
    let (mut space, history) = prepare(case, &mut traffic);
    let mean_probes = space.attempts.mean_probes();
    space.attempts = Attempts::default();
    let mut exact = Exact {
        wanted: case.occupancy.used(space.ports.capacity()),
        used: 0,
        history,
        attempts: Attempts::default(),
        first_refusal: None,
        reuse: None,
        prediction: None,
        memory_bytes: 0,
    };
    match case.workload {
        Workload::Fill => {
            exact.wanted = space.ports.capacity();
            let (refusal, prediction) = fill(&mut space, &mut traffic, &case.effort);
            exact.first_refusal = Some(refusal);
            exact.prediction = Some(prediction);
        }
        Workload::Drain => exact.wanted = space.ports.capacity(),
        Workload::Nat => return in_a_nat(case, exact),
        Workload::RandomChurn | Workload::FifoChurn | Workload::Adversarial => {
            let free = u64::from(space.ports.free());
            let affordable = (case.effort.probes as f64 / mean_probes.max(1.0)) as u64;
            let wanted = 4 * free + u64::from(case.effort.judged);
            let steps = wanted.min(affordable.max(FEWEST));
            let (reuse, prediction) = churn(case, &mut space, &mut traffic, steps);
            exact.reuse = Some(reuse);
            exact.prediction = Some(prediction);
        }
    }
    exact.used = space.used();
    exact.attempts = space.attempts;
    exact.memory_bytes = space.ports.memory_bytes();
    exact
}

/// Counts what an engine holds; its memory is that of all its tables.
fn in_a_nat(case: &Case, exact: Exact) -> Exact {
    let mut nat = Nat::new(case);
    let used = nat.establish();
    Exact {
        wanted: case.ports,
        used,
        first_refusal: Some(used),
        memory_bytes: nat.memory_bytes(),
        ..exact
    }
}

/// Fills an empty space until the first refusal; returns how far that was.
fn fill(space: &mut Space, traffic: &mut Traffic, effort: &Effort) -> (u32, Prediction) {
    let mut observer = Observer::new(space.first(), &space.free_since);
    while let Some(held) = space.allocate(&traffic.request()) {
        if observer.judged() < u64::from(effort.judged) {
            observer.allocated(held.port);
        }
    }
    (space.used(), observer.finish())
}

/// Lets connections come and go; the last ones are judged for predictability.
fn churn(
    case: &Case,
    space: &mut Space,
    traffic: &mut Traffic,
    steps: u64,
) -> (ReuseDistance, Prediction) {
    let mut reuse = ReuseWatch::new(space.first(), space.ports.capacity(), steps);
    let mut observer = None;
    for step in 0..steps {
        if observer.is_none() && steps - step <= u64::from(case.effort.judged) {
            observer = Some(Observer::new(space.first(), &space.free_since));
        }
        let Some((came, went)) = space.step(case.workload, traffic) else {
            continue;
        };
        reuse.allocated(came.port);
        reuse.released(went.port);
        if let Some(observer) = &mut observer {
            observer.allocated(came.port);
            observer.released(went.port);
        }
    }
    let observer = observer.expect("broken invariant: at least one step is judged");
    (reuse.finish(), observer.finish())
}
