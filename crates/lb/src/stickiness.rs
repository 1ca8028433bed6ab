use crate::config::{FrontendId, Stickiness};
use crate::rehash::BackendIndex;
use crate::usage::{CameBy, StickyFlow};
use alloc::vec;
use alloc::vec::Vec;
use core::net::{Ipv4Addr, SocketAddrV4};
use core::ops::Range;
use plsim_table::{FlowTable, TimerWheel};
use plsim_types::{Duration, FiveTuple, Instant, KeyedHash, LinkId, Protocol};

/// What tells a flow apart at the edge.
///
/// The destination address is left out: a link is the connection of one private endpoint, which
/// keeps one address for life (PE-1). A flow that came through none is told apart by its frontend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FlowKey {
    /// The link, or without one the number of the frontend.
    link: u32,
    has_link: bool,
    client: Ipv4Addr,
    client_port: u16,
    frontend_port: u16,
    protocol: Protocol,
}

/// Where a flow goes: a backend, and the route that says which of its ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Way {
    pub(crate) backend: BackendIndex,
    /// At most [`Way::MOST_ROUTES`].
    pub(crate) route: u16,
}

impl Way {
    /// Routes are counted with 14 bits; the highest number marks a vacant place.
    pub(crate) const MOST_ROUTES: u16 = u16::MAX >> 2;
}

/// Which way each flow goes, until the flow is idle for too long.
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
    /// Whether each group of neighbours has a timer; one with flows has.
    armed: Vec<bool>,
    /// How many flows each backend has.
    on_backend: Vec<u32>,
    /// The latest time seen; every flow in the table is alive at it.
    latest: Instant,
    /// When the timers have to be looked at next.
    wake: Option<Instant>,
}

#[derive(Debug, Clone, Copy)]
struct Flow {
    link: u32,
    client: Ipv4Addr,
    client_port: u16,
    frontend_port: u16,
    backend: BackendIndex,
    /// The route, then whether there is a link, and in the lowest bit the protocol; [`VACANT`] marks a
    /// place without a flow.
    tag: u16,
    /// Nanoseconds, upper half first: 8-byte alignment would cost 8 bytes a flow.
    last_seen: [u32; 2],
}

const VACANT: u16 = u16::MAX;

/// The table has as many flows as it may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Full;

const GROUP: usize = 16;
const _: () = assert!(size_of::<Flow>() == 24, "the budget of a sticky flow");

impl FlowKey {
    pub(crate) const fn new(link: Option<LinkId>, frontend: FrontendId, tuple: &FiveTuple) -> Self {
        Self {
            link: match link {
                Some(link) => link.0,
                None => frontend.0 as u32,
            },
            has_link: link.is_some(),
            client: *tuple.source.ip(),
            client_port: tuple.source.port(),
            frontend_port: tuple.destination.port(),
            protocol: tuple.protocol,
        }
    }

    /// Hashes every field.
    #[inline]
    pub(crate) const fn hash(&self, hash: KeyedHash) -> u64 {
        let who = (self.link as u64) << 32 | self.client.to_bits() as u64;
        let what = (!self.has_link as u64) << 40 | (self.protocol.number() as u64) << 32;
        hash.pair(
            who,
            what | (self.client_port as u64) << 16 | self.frontend_port as u64,
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
            armed: Vec::new(),
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

    /// Finds a flow; `hash` is what [`place`](Self::place) says.
    #[inline]
    pub(crate) fn find(&self, key: &FlowKey, hash: u64) -> Option<u32> {
        self.table.find(hash, |flow| flow.matches(key))
    }

    /// Asks for the line in which a flow is looked for first.
    #[inline]
    pub(crate) fn prefetch(&self, hash: u64) {
        self.table.prefetch(hash);
    }

    /// Asks for a flow.
    #[inline]
    pub(crate) fn prefetch_found(&self, hash: u64) {
        self.table.prefetch_found(hash);
    }

    /// Returns the hash that places a flow in the table.
    #[inline]
    pub(crate) const fn place(&self, key: &FlowKey) -> u64 {
        key.hash(self.hash)
    }

    #[inline]
    pub(crate) fn way(&self, position: u32) -> Way {
        let flow = self.table.entry(position);
        Way {
            backend: flow.backend,
            route: flow.route(),
        }
    }

    /// Tells whether the flow's last packet was at least this long ago.
    #[inline]
    pub(crate) fn is_idle(&self, position: u32, span: Duration) -> bool {
        self.table.entry(position).deadline(span) <= self.latest
    }

    /// Starts the flow's idle time anew.
    #[inline]
    pub(crate) fn touch(&mut self, position: u32) {
        self.table.entry_mut(position).last_seen = halves(self.latest);
    }

    /// Remembers a flow that [`find`](Self::find) does not know.
    pub(crate) fn insert(&mut self, key: FlowKey, hash: u64, way: Way) -> Result<(), Full> {
        if self.table.len() >= self.limit as usize {
            return Err(Full);
        }
        let position = self.table.insert(
            hash,
            Flow {
                link: key.link,
                client: key.client,
                client_port: key.client_port,
                frontend_port: key.frontend_port,
                backend: way.backend,
                tag: tag(way.route, key.has_link, key.protocol),
                last_seen: halves(self.latest),
            },
        );
        self.on_backend[usize::from(way.backend)] += 1;
        let group = position as usize / GROUP;
        if group >= self.armed.len() {
            self.armed.resize(group + 1, false);
        }
        if !self.armed[group] {
            self.arm(group as u32);
        }
        Ok(())
    }

    /// Gives a flow another way and starts its idle time anew.
    pub(crate) fn move_to(&mut self, position: u32, way: Way) {
        self.touch(position);
        let flow = self.table.entry_mut(position);
        flow.tag = tag(way.route, flow.has_link(), flow.protocol());
        let before = core::mem::replace(&mut flow.backend, way.backend);
        self.on_backend[usize::from(before)] -= 1;
        self.on_backend[usize::from(way.backend)] += 1;
    }

    /// Forgets the TCP flows on a backend whose route is one of those; returns them.
    pub(crate) fn forget_tcp(
        &mut self,
        backend: BackendIndex,
        is_route: impl Fn(u16) -> bool,
    ) -> Vec<StickyFlow> {
        let mut ended = Vec::new();
        for position in 0..self.table.positions() {
            let flow = *self.table.entry(position);
            if flow.is_tcp_on(backend) && is_route(flow.route()) {
                self.remove(position);
                ended.push(flow.name());
            }
        }
        ended
    }

    /// Returns the TCP flows on a backend whose route is one of those.
    pub(crate) fn tcp_flows(
        &self,
        backend: BackendIndex,
        is_route: impl Fn(u16) -> bool,
    ) -> impl Iterator<Item = StickyFlow> {
        let positions = match self.on_backend(backend) {
            0 => 0,
            _ => self.table.positions(),
        };
        let flows = (0..positions).map(|position| self.table.entry(position));
        let on_it = flows.filter(move |flow| flow.is_tcp_on(backend) && is_route(flow.route()));
        on_it.map(Flow::name)
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
        self.table.memory_bytes() + self.timers.memory_bytes() + self.armed.capacity()
    }

    fn arm(&mut self, group: u32) {
        // The wheel learns the time first, or its next wake-up could lie in the past.
        self.expire();
        self.timers.insert(group, 0, self.latest + self.idle);
        self.armed[group as usize] = true;
        self.wake = self.timers.next_wake();
    }

    fn expire(&mut self) {
        let (now, idle) = (self.latest, self.idle);
        while let Some((group, _)) = {
            let (table, armed) = (&self.table, &mut self.armed);
            self.timers.pop_due(now, |group, _| {
                let deadline = earliest(table, group, idle);
                // Without one the timer is dropped: the group's flows were taken out.
                armed[group as usize] = deadline.is_some();
                deadline
            })
        } {
            for position in places(&self.table, group) {
                self.expire_flow(position);
            }
            let deadline = earliest(&self.table, group, idle);
            self.armed[group as usize] = deadline.is_some();
            if let Some(deadline) = deadline {
                self.timers.insert(group, 0, deadline);
            }
        }
        self.wake = self.timers.next_wake();
    }

    fn expire_flow(&mut self, position: u32) {
        let flow = self.table.entry(position);
        if flow.is_live() && flow.deadline(self.idle) <= self.latest {
            self.remove(position);
        }
    }

    /// Removes a flow; the timer of a group that has none left goes when it comes up.
    fn remove(&mut self, position: u32) {
        let flow = *self.table.entry(position);
        self.table.remove(self.place(&flow.key()), position);
        self.on_backend[usize::from(flow.backend)] -= 1;
    }
}

impl Flow {
    const fn is_live(&self) -> bool {
        self.tag != VACANT
    }

    const fn route(&self) -> u16 {
        self.tag >> 2
    }

    const fn has_link(&self) -> bool {
        self.tag & 2 != 0
    }

    const fn came_by(&self) -> CameBy {
        match self.has_link() {
            true => CameBy::Link(LinkId(self.link)),
            false => CameBy::Frontend(FrontendId(self.link as u16)),
        }
    }

    const fn protocol(&self) -> Protocol {
        Protocol::ALL[(self.tag & 1) as usize]
    }

    fn is_tcp_on(&self, backend: BackendIndex) -> bool {
        self.is_live() && self.backend == backend && self.protocol() == Protocol::Tcp
    }

    const fn name(&self) -> StickyFlow {
        StickyFlow {
            came_by: self.came_by(),
            client: SocketAddrV4::new(self.client, self.client_port),
            frontend_port: self.frontend_port,
        }
    }

    const fn key(&self) -> FlowKey {
        FlowKey {
            link: self.link,
            has_link: self.has_link(),
            client: self.client,
            client_port: self.client_port,
            frontend_port: self.frontend_port,
            protocol: self.protocol(),
        }
    }

    fn matches(&self, key: &FlowKey) -> bool {
        self.is_live() && self.key() == *key
    }

    fn deadline(&self, idle: Duration) -> Instant {
        let [high, low] = self.last_seen.map(u64::from);
        Instant::from_nanos(high << 32 | low) + idle
    }
}

impl Default for Flow {
    /// A vacant place.
    fn default() -> Self {
        Self {
            link: 0,
            client: Ipv4Addr::UNSPECIFIED,
            client_port: 0,
            frontend_port: 0,
            backend: 0,
            tag: VACANT,
            last_seen: [0; 2],
        }
    }
}

const fn tag(route: u16, has_link: bool, protocol: Protocol) -> u16 {
    route << 2 | (has_link as u16) << 1 | protocol.index() as u16
}

/// Returns the positions of a group of neighbours.
fn places(table: &FlowTable<Flow>, group: u32) -> Range<u32> {
    let first = group * GROUP as u32;
    first..table.positions().min(first + GROUP as u32)
}

/// Returns the earliest deadline of a group of neighbours.
fn earliest(table: &FlowTable<Flow>, group: u32, idle: Duration) -> Option<Instant> {
    let group = places(table, group).map(|position| table.entry(position));
    let live = group.filter(|flow| flow.is_live());
    live.map(|flow| flow.deadline(idle)).min()
}

const fn halves(time: Instant) -> [u32; 2] {
    let nanos = time.as_nanos();
    [(nanos >> 32) as u32, nanos as u32]
}
