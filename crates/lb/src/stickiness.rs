use crate::config::Stickiness;
use crate::pool::BackendIndex;
use alloc::vec;
use alloc::vec::Vec;
use core::net::Ipv4Addr;
use core::ops::Range;
use plsim_table::{FlowTable, TimerWheel};
use plsim_types::{Duration, FiveTuple, Instant, KeyedHash, LinkId};

/// What tells a TCP flow apart at the edge.
///
/// The destination address is left out: a link is the connection of one private endpoint, which
/// keeps one address for life (PE-1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FlowKey {
    link: LinkId,
    client: Ipv4Addr,
    client_port: u16,
    frontend_port: u16,
}

/// Which backend each TCP flow is on, until the flow is idle for too long.
///
/// ```text
///  table    [ flow ] [ flow ] … 16 … [ flow ] | [ flow ] [ vacant ] …      24 B a flow
///  timers   one item for 16 neighbours         | one item                  0.5 B a flow
///           due at the earliest of their deadlines
/// ```
///
/// A packet only stores its time. Because every flow has the same idle time, a new flow's
/// deadline is never before those of its neighbours, so their common timer needs no change.
#[derive(Debug, Clone)]
pub(crate) struct StickyTable {
    idle: Duration,
    limit: u32,
    table: FlowTable<Flow>,
    /// The key of the hash that places flows in the table.
    hash: KeyedHash,
    timers: TimerWheel,
    /// How many flows each group of neighbours has; a group has a timer exactly while above zero.
    groups: Vec<u8>,
    /// How many flows each backend has.
    on_backend: Vec<u32>,
    /// The latest time seen; every flow in the table is alive at it.
    latest: Instant,
    /// When the timers have to be looked at next.
    wake: Option<Instant>,
}

#[derive(Debug, Clone, Copy)]
struct Flow {
    key: FlowKey,
    backend: BackendIndex,
    live: bool,
    /// Nanoseconds, upper half first: 8-byte alignment would cost 8 bytes a flow.
    last_seen: [u32; 2],
}

/// The table has as many flows as it may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Full;

const GROUP: usize = 16;
const _: () = assert!(size_of::<Flow>() == 24, "the budget of a sticky flow");

impl FlowKey {
    pub(crate) const fn new(link: LinkId, tuple: &FiveTuple) -> Self {
        Self {
            link,
            client: *tuple.source.ip(),
            client_port: tuple.source.port(),
            frontend_port: tuple.destination.port(),
        }
    }

    /// Hashes every field.
    #[inline]
    pub(crate) const fn hash(&self, hash: KeyedHash) -> u64 {
        let who = (self.link.0 as u64) << 32 | self.client.to_bits() as u64;
        hash.pair(
            who,
            (self.client_port as u64) << 16 | self.frontend_port as u64,
        )
    }
}

impl StickyTable {
    pub(crate) fn new(config: &Stickiness, hash: KeyedHash, backends: usize) -> Self {
        Self {
            idle: config.idle,
            limit: config.limit,
            table: FlowTable::new(),
            hash,
            timers: TimerWheel::new(),
            groups: Vec::new(),
            on_backend: vec![0; backends],
            latest: Instant::ZERO,
            wake: None,
        }
    }

    /// Moves the table's time on and forgets every flow whose idle time is over, so that all
    /// that [`find`](Self::find) sees is alive at `now`.
    #[inline]
    pub(crate) fn advance(&mut self, now: Instant) {
        self.latest = self.latest.max(now);
        if self.wake.is_some_and(|wake| wake <= self.latest) {
            self.expire();
        }
    }

    /// Finds a flow; `hash` is [`FlowKey::hash`] with the table's own key.
    #[inline]
    pub(crate) fn find(&self, key: &FlowKey, hash: u64) -> Option<u32> {
        self.table.find(hash, |flow| flow.key == *key)
    }

    #[inline]
    pub(crate) fn backend(&self, position: u32) -> BackendIndex {
        self.table.entry(position).backend
    }

    /// Starts the flow's idle time anew.
    #[inline]
    pub(crate) fn touch(&mut self, position: u32) {
        self.table.entry_mut(position).last_seen = halves(self.latest);
    }

    /// Remembers a flow that [`find`](Self::find) does not know.
    pub(crate) fn insert(
        &mut self,
        key: FlowKey,
        hash: u64,
        backend: BackendIndex,
    ) -> Result<(), Full> {
        if self.table.len() >= self.limit as usize {
            return Err(Full);
        }
        let position = self.table.insert(
            hash,
            Flow {
                key,
                backend,
                live: true,
                last_seen: halves(self.latest),
            },
        );
        self.on_backend[usize::from(backend)] += 1;
        let group = position as usize / GROUP;
        if group >= self.groups.len() {
            self.groups.resize(group + 1, 0);
        }
        self.groups[group] += 1;
        if self.groups[group] == 1 {
            self.arm(group as u32);
        }
        Ok(())
    }

    /// Gives a flow to another backend and starts its idle time anew.
    pub(crate) fn move_to(&mut self, position: u32, backend: BackendIndex) {
        self.touch(position);
        let flow = self.table.entry_mut(position);
        let before = core::mem::replace(&mut flow.backend, backend);
        self.on_backend[usize::from(before)] -= 1;
        self.on_backend[usize::from(backend)] += 1;
    }

    pub(crate) const fn next_wake(&self) -> Option<Instant> {
        self.wake
    }

    pub(crate) const fn len(&self) -> u32 {
        // The limit is a u32.
        self.table.len() as u32
    }

    pub(crate) fn on_backend(&self, backend: BackendIndex) -> u32 {
        self.on_backend[usize::from(backend)]
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.table.memory_bytes() + self.timers.memory_bytes() + self.groups.capacity()
    }

    fn arm(&mut self, group: u32) {
        // The wheel learns the time first, or its next wake-up could lie in the past.
        self.expire();
        self.timers.insert(group, 0, self.latest + self.idle);
        self.wake = self.timers.next_wake();
    }

    fn expire(&mut self) {
        let (now, idle) = (self.latest, self.idle);
        while let Some((group, _)) = {
            let table = &self.table;
            self.timers
                .pop_due(now, |group, _| earliest(table, group, idle))
        } {
            for position in places(&self.table, group) {
                self.expire_flow(position);
            }
            if let Some(deadline) = earliest(&self.table, group, idle) {
                self.timers.insert(group, 0, deadline);
            }
        }
        self.wake = self.timers.next_wake();
    }

    fn expire_flow(&mut self, position: u32) {
        let flow = *self.table.entry(position);
        if !flow.live || flow.deadline(self.idle) > self.latest {
            return;
        }
        self.table.remove(flow.key.hash(self.hash), position);
        self.on_backend[usize::from(flow.backend)] -= 1;
        self.groups[position as usize / GROUP] -= 1;
    }
}

impl Flow {
    fn deadline(&self, idle: Duration) -> Instant {
        let [high, low] = self.last_seen.map(u64::from);
        Instant::from_nanos(high << 32 | low) + idle
    }
}

impl Default for Flow {
    /// A vacant place.
    fn default() -> Self {
        Self {
            key: FlowKey {
                link: LinkId(0),
                client: Ipv4Addr::UNSPECIFIED,
                client_port: 0,
                frontend_port: 0,
            },
            backend: 0,
            live: false,
            last_seen: [0; 2],
        }
    }
}

/// Returns the positions of a group of neighbours.
fn places(table: &FlowTable<Flow>, group: u32) -> Range<u32> {
    let first = group * GROUP as u32;
    first..table.positions().min(first + GROUP as u32)
}

/// Returns the earliest deadline of a group of neighbours.
fn earliest(table: &FlowTable<Flow>, group: u32, idle: Duration) -> Option<Instant> {
    let group = places(table, group).map(|position| table.entry(position));
    let live = group.filter(|flow| flow.live);
    live.map(|flow| flow.deadline(idle)).min()
}

const fn halves(time: Instant) -> [u32; 2] {
    let nanos = time.as_nanos();
    [(nanos >> 32) as u32, nanos as u32]
}
