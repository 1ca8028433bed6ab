use plsim_sim::Stream;
use plsim_types::Instant;

use super::config::PoolConfig;
use super::pool::Pool;
use crate::config::{Arrival, WorkloadConfig};
use crate::connection::{Connections, Event, Turn};
use crate::side_table::SideTable;

/// The pools of a workload: as many on each VM as there are instances of the application.
///
/// Requests go to them in turn, first to one on each VM; at random if they arrive so, for what is split at
/// random is random again. A pool on a VM that is down is left out.
#[derive(Debug)]
pub(crate) struct Pools {
    /// Those of the VMs in turn.
    pools: Vec<Pool>,
    /// The one whose turn it is.
    next: usize,
    choice: Option<Stream>,
    /// Whose connection is at a position of the transport.
    owners: SideTable<u16>,
}

impl Pools {
    pub(super) fn new(model: &PoolConfig, config: &WorkloadConfig, vms: usize) -> Self {
        let count = u16::try_from(usize::from(model.per_vm) * vms);
        let count = count.expect("a workload has at most 65535 pools");
        let pool = |number| Pool::new(model, number, (usize::from(number) % vms) as u16);
        let is_random = config.arrival == Arrival::Poisson && count > 1;
        Self {
            pools: (0..count).map(pool).collect(),
            next: 0,
            choice: is_random.then(|| Stream::new(config.seed, "workload", "pools")),
            owners: SideTable::new(),
        }
    }

    pub(super) fn start(
        &mut self,
        at: Instant,
        all: &mut dyn Connections,
        turn: &mut Turn<'_, '_>,
    ) {
        for number in 0..self.pools.len() {
            self.with(number, |pool| pool.start(at, all, turn));
        }
    }

    /// A request arrives while some VM runs.
    pub(super) fn begin(&mut self, all: &mut dyn Connections, turn: &mut Turn<'_, '_>) {
        let count = self.pools.len();
        let first = match &mut self.choice {
            Some(random) => random.below(count as u32) as usize,
            None => self.next,
        };
        let mut candidates = (first..first + count).map(|number| number % count);
        let number = candidates.find(|&number| self.pools[number].runs(turn));
        let number = number.expect("broken invariant: some VM runs");
        self.next = (number + 1) % count;
        self.with(number, |pool| pool.begin(all, turn));
    }

    pub(super) fn hear(
        &mut self,
        position: u32,
        event: Event,
        all: &mut dyn Connections,
        turn: &mut Turn<'_, '_>,
    ) {
        let number = usize::from(self.owners.get(position));
        self.with(number, |pool| pool.hear(position, event, all, turn));
    }

    pub(super) fn on_timer(
        &mut self,
        number: u16,
        all: &mut dyn Connections,
        turn: &mut Turn<'_, '_>,
    ) {
        self.with(usize::from(number), |pool| pool.on_timer(all, turn));
    }

    pub(super) fn resume(&mut self, all: &mut dyn Connections, turn: &mut Turn<'_, '_>) {
        for number in 0..self.pools.len() {
            self.with(number, |pool| pool.on_timer(all, turn));
        }
    }

    /// Has a pool do something, and notes the connections that it opened.
    fn with(&mut self, number: usize, act: impl FnOnce(&mut Pool)) {
        let pool = &mut self.pools[number];
        act(pool);
        for position in pool.opened() {
            *self.owners.entry(position) = number as u16;
        }
    }
}
