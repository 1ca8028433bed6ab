use std::collections::VecDeque;
use std::sync::Arc;

use plsim_packet::{Packet, PacketId, Payload, TcpHeader};
use plsim_types::{DropReason, Instant};

use crate::channel::{Channel, ChannelId, FarEnd};
use crate::context::{Context, Foresight, Node};
use crate::entity::{NodeId, Source};
use crate::event::{Class, Tie, What, tie};
use crate::observer::{Observer, Place};
use crate::queue::{Ahead, EventQueue};
use crate::stream::Stream;
use crate::world::Stuck;

/// The most hops a packet may make without time moving.
const HOP_LIMIT: u8 = 32;
/// The most packet records kept for reuse.
const POOL_LIMIT: usize = 1 << 20;

/// A part of the world that runs on its own: some of its nodes, the links that start there, and the
/// events that wait for them. A world that runs on one thread has one lane.
///
/// What it writes all the time lies on cache lines of its own.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct Lane<N> {
    pub(crate) kernel: Kernel,
    /// By the nodes' numbers in the world; those of other lanes are missing.
    pub(crate) nodes: Vec<Option<N>>,
    /// What the nodes have handled since lanes were last formed, by number.
    pub(crate) handled: Vec<u32>,
    pub(crate) events: u64,
    stuck_after: u64,
    /// The last event of the queue.
    pub(crate) tie: Tie,
    /// How much was done in this instant since the last event of the queue or piece of work.
    chain: u64,
    /// How much may be done so.
    chain_limit: u64,
    /// The packets of a slot of which there is more to foresee, by place, and how they come.
    more: Vec<(usize, ChannelId)>,
}

/// Work of the same instant.
#[derive(Debug)]
enum Immediate {
    /// A packet on a link without latency, and the hops it has made in this instant.
    Packet(ChannelId, Box<Packet>, u8),
    /// A node that cut its work into pieces goes on.
    Again(NodeId, u64),
}

/// What the kernel keeps for each node.
#[derive(Debug)]
pub(crate) struct Seat {
    source: Source,
    stream: Stream,
    injected: u64,
}

impl Seat {
    pub(crate) const fn new(source: Source, stream: Stream) -> Self {
        Self {
            source,
            stream,
            injected: 0,
        }
    }
}

/// A packet on its way to a node of another lane.
#[derive(Debug)]
pub(crate) struct Crossing {
    at: u64,
    tie: Tie,
    by: ChannelId,
    packet: Packet,
}

/// Everything of a lane that a node may touch through its [`Context`].
#[derive(Debug)]
pub(crate) struct Kernel {
    pub(crate) now: Instant,
    /// The lane's own number.
    pub(crate) lane: u16,
    /// By number; those of other lanes are missing.
    pub(crate) seats: Vec<Option<Seat>>,
    /// By number; a link belongs to the lane of the node that sends.
    pub(crate) channels: Vec<Option<Channel>>,
    /// Where all links of the world lead.
    pub(crate) far_ends: Arc<Vec<FarEnd>>,
    pub(crate) queue: EventQueue<What>,
    /// What is left to do in this instant, before time moves.
    instant: VecDeque<Immediate>,
    /// When nodes called for the driver, since the lane last looked.
    pub(crate) calls: Vec<Instant>,
    /// The calls that the world does not know of yet.
    heeded: Vec<Instant>,
    /// Packets for other lanes, by lane.
    pub(crate) outboxes: Vec<Vec<Crossing>>,
    #[expect(clippy::vec_box, reason = "the boxes themselves are reused")]
    pool: Vec<Box<Packet>>,
}

impl Kernel {
    pub(crate) fn channel(&mut self, id: ChannelId) -> &mut Channel {
        self.channels[id.0 as usize]
            .as_mut()
            .expect("broken invariant: a node sends on links that start elsewhere")
    }

    fn seat(&mut self, node: NodeId) -> &mut Seat {
        self.seats[node.0 as usize]
            .as_mut()
            .expect("broken invariant: a node runs in a lane that is not its own")
    }

    pub(crate) fn stream(&mut self, node: NodeId) -> &mut Stream {
        &mut self.seat(node).stream
    }

    /// Gives the packet its id: numbers interleave over nodes, so an id needs no global counter.
    fn next_id(&mut self, node: NodeId) -> PacketId {
        let count = self.seats.len() as u64;
        let seat = self.seat(node);
        let id = PacketId(seat.injected * count + u64::from(node.0) + 1);
        seat.injected += 1;
        id
    }

    pub(crate) fn inject(&mut self, node: NodeId, packet: Packet) -> Box<Packet> {
        let mut packet = self.boxed(packet);
        packet.id = self.next_id(node);
        packet
    }

    pub(crate) fn inject_tcp(
        &mut self,
        node: NodeId,
        header: &TcpHeader,
        payload: Payload,
    ) -> Box<Packet> {
        let mut packet = match self.pool.pop() {
            Some(mut record) => {
                record.become_tcp(header, payload);
                record
            }
            None => Box::new(Packet::tcp(header, payload)),
        };
        packet.id = self.next_id(node);
        packet
    }

    fn boxed(&mut self, packet: Packet) -> Box<Packet> {
        match self.pool.pop() {
            Some(mut record) => {
                *record = packet;
                record
            }
            None => Box::new(packet),
        }
    }

    pub(crate) fn recycle(&mut self, packet: Box<Packet>) {
        if self.pool.len() < POOL_LIMIT {
            self.pool.push(packet);
        }
    }

    pub(crate) fn schedule_arrival(&mut self, at: Instant, by: ChannelId, packet: Box<Packet>) {
        let link = self.channel(by);
        let (lane, tie) = (link.lane, tie(Class::Arrival, &mut link.source));
        self.dispatch(lane, (at, tie), by, packet);
    }

    /// Files an arrival where the link leads: here or in another lane.
    #[inline]
    pub(crate) fn dispatch(
        &mut self,
        lane: u16,
        (at, tie): (Instant, Tie),
        by: ChannelId,
        packet: Box<Packet>,
    ) {
        if lane == self.lane {
            let what = What::Arrival(by, packet);
            self.queue.push(at.as_nanos(), tie, what);
        } else {
            self.cross(lane, (at, tie), by, packet);
        }
    }

    #[inline(never)]
    fn cross(&mut self, lane: u16, (at, tie): (Instant, Tie), by: ChannelId, packet: Box<Packet>) {
        let left = (*packet).clone();
        self.recycle(packet);
        self.outboxes[usize::from(lane)].push(Crossing {
            at: at.as_nanos(),
            tie,
            by,
            packet: left,
        });
    }

    /// Takes in what another lane has sent.
    pub(crate) fn take_in(&mut self, crossings: &mut Vec<Crossing>) {
        for crossing in crossings.drain(..) {
            let packet = self.boxed(crossing.packet);
            let what = What::Arrival(crossing.by, packet);
            self.queue.push(crossing.at, crossing.tie, what);
        }
    }

    pub(crate) fn schedule_timer(&mut self, at: Instant, node: NodeId, token: u64) {
        let tie = tie(Class::Timer, &mut self.seat(node).source);
        self.queue
            .push(at.as_nanos(), tie, What::Timer(node, token));
    }

    pub(crate) fn again(&mut self, node: NodeId, token: u64) {
        self.instant.push_back(Immediate::Again(node, token));
    }

    /// Sends a packet on its way over a channel with impairments.
    pub(crate) fn carry(
        &mut self,
        by: ChannelId,
        mut packet: Box<Packet>,
        departed: Instant,
        hops: u8,
    ) {
        let now = self.now;
        let link = self.channel(by);
        let latency = link.latency;
        let at = link.impair().carry(&mut packet, departed, latency, now);
        if at > now {
            self.schedule_arrival(at, by, packet);
        } else {
            self.pass_on(by, packet, hops);
        }
    }

    pub(crate) fn pass_on(&mut self, by: ChannelId, packet: Box<Packet>, hops: u8) {
        self.instant.push_back(Immediate::Packet(by, packet, hops));
    }

    /// Takes over what belongs to no entity.
    pub(crate) fn inherit(&mut self, mut other: Self) {
        self.calls.append(&mut other.calls);
        self.heeded.append(&mut other.heeded);
        self.pool.append(&mut other.pool);
        self.pool.truncate(POOL_LIMIT);
        self.instant.append(&mut other.instant);
    }

    /// Takes note of the calls.
    pub(crate) fn heed(&mut self) {
        self.heeded.append(&mut self.calls);
    }

    /// Takes out when nodes have called since the last time.
    pub(crate) fn take_calls(&mut self) -> Vec<Instant> {
        self.heed();
        std::mem::take(&mut self.heeded)
    }

    /// Counts the packets on links.
    pub(crate) fn in_flight(&self) -> u64 {
        let queued = self.queue.pending();
        let queued = queued.filter(|(_, what)| matches!(what, What::Arrival(..)));
        let passing = self.instant.iter();
        let passing = passing.filter(|work| matches!(work, Immediate::Packet(..)));
        (queued.count() + passing.count()) as u64
    }
}

/// Why a lane stands still.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Halt {
    /// Nothing is left to do before the limit.
    Done,
    /// So many events were handled, and all of the last instant.
    Budget,
    /// A node has asked for the driver.
    Called,
}

impl<N: Node> Lane<N> {
    pub(crate) fn new(
        lane: u16,
        lanes: usize,
        entities: (usize, usize),
        far_ends: Arc<Vec<FarEnd>>,
        (now, stuck_after): (Instant, u64),
    ) -> Self {
        let (nodes, channels) = entities;
        Self {
            kernel: Kernel {
                now,
                lane,
                seats: apart(nodes, || None),
                channels: apart(channels, || None),
                far_ends,
                queue: EventQueue::new(),
                instant: VecDeque::new(),
                calls: Vec::new(),
                heeded: Vec::new(),
                outboxes: std::iter::repeat_with(Vec::new).take(lanes).collect(),
                pool: Vec::new(),
            },
            nodes: apart(nodes, || None),
            handled: apart(nodes, || 0),
            events: 0,
            stuck_after,
            tie: 0,
            chain: 0,
            chain_limit: 0,
            more: Vec::new(),
        }
    }

    /// Returns the time of the next event, in nanoseconds; [`u64::MAX`] if there is none.
    pub(crate) fn next_time(&self) -> u64 {
        if self.kernel.instant.is_empty() {
            self.kernel.queue.next_time()
        } else {
            self.kernel.now.as_nanos()
        }
    }

    /// Returns a time before which nothing happens, without a search.
    pub(crate) fn earliest(&self) -> u64 {
        if self.kernel.instant.is_empty() {
            self.kernel.queue.earliest()
        } else {
            self.kernel.now.as_nanos()
        }
    }

    /// Runs events that lie before `limit`, until about `budget` more are handled or a node calls.
    pub(crate) fn run_before<O: Observer>(
        &mut self,
        observer: &mut O,
        limit: u64,
        budget: u64,
    ) -> Result<Halt, Stuck> {
        let stop_at = self.events.saturating_add(budget);
        loop {
            if !self.kernel.calls.is_empty() {
                return Ok(Halt::Called);
            }
            if let Some(work) = self.kernel.instant.pop_front() {
                self.handle_immediate(work, observer)?;
                continue;
            }
            if self.events >= stop_at && self.kernel.queue.next_time() > self.kernel.now.as_nanos()
            {
                return Ok(Halt::Budget);
            }
            let kernel = &mut self.kernel;
            let mut lookout = Lookout {
                far_ends: &kernel.far_ends,
                nodes: &self.nodes,
                more: &mut self.more,
            };
            let show = |ahead: &Ahead<'_, What>| lookout.show(ahead);
            let Some((time, tie, what)) = kernel.queue.pop_foreseeing(limit, show) else {
                return Ok(Halt::Done);
            };
            self.kernel.now = Instant::from_nanos(time);
            self.tie = tie;
            observer.begin(self.kernel.now, tie);
            match what {
                What::Arrival(by, packet) => self.arrive(by, packet, 0, observer),
                What::Timer(node, token) => self.fire(node, token, observer),
            }
            self.begin_chain();
        }
    }

    /// Lets the caller act as a node, and everything happen in this instant that follows from it.
    pub(crate) fn visit<O: Observer, R>(
        &mut self,
        node: NodeId,
        observer: &mut O,
        act: impl FnOnce(&mut N, &mut Context<'_>) -> R,
    ) -> (R, Result<(), Stuck>) {
        let mut context = Context {
            kernel: &mut self.kernel,
            observer,
            node,
            at_hand: None,
        };
        let own = self.nodes[node.0 as usize].as_mut();
        let own = own.expect("broken invariant: a node is visited in a lane that is not its own");
        let is_in_between = context.kernel.instant.is_empty();
        let result = act(own, &mut context);
        self.begin_chain();
        // A driver that reacts within an instant acts before the rest of it.
        while is_in_between && let Some(work) = self.kernel.instant.pop_front() {
            if let Err(stuck) = self.handle_immediate(work, observer) {
                return (result, Err(stuck));
            }
        }
        (result, Ok(()))
    }

    /// Notes how much work of this instant is known to be finite.
    ///
    /// Events of the queue were scheduled in the past of their instant, so they are finitely many;
    /// only packets that answer each other without latency could make an instant go on for ever.
    fn begin_chain(&mut self) {
        let waiting = self.kernel.instant.len() as u64;
        self.chain = 0;
        self.chain_limit = self.stuck_after + waiting * u64::from(HOP_LIMIT);
    }

    fn handle_immediate<O: Observer>(
        &mut self,
        work: Immediate,
        observer: &mut O,
    ) -> Result<(), Stuck> {
        if self.chain == self.chain_limit {
            self.kernel.instant.push_front(work);
            return Err(Stuck {
                at: self.kernel.now,
                handled: self.chain,
            });
        }
        self.chain += 1;
        match work {
            Immediate::Packet(by, packet, hops) if hops > HOP_LIMIT => {
                let now = self.kernel.now;
                observer.dropped(now, Place::Channel(by), &packet, DropReason::HopLimit);
                self.kernel.recycle(packet);
            }
            Immediate::Packet(by, packet, hops) => self.arrive(by, packet, hops, observer),
            Immediate::Again(node, token) => {
                let before = self.kernel.instant.len();
                self.fire(node, token, observer);
                // Every packet of the next piece may make its hops.
                let added = self.kernel.instant.len().saturating_sub(before) as u64;
                self.chain_limit += added * u64::from(HOP_LIMIT);
            }
        }
        Ok(())
    }

    fn fire<O: Observer>(&mut self, node: NodeId, token: u64, observer: &mut O) {
        let own = note(&mut self.events, &mut self.handled, &mut self.nodes, node);
        let mut context = Context {
            kernel: &mut self.kernel,
            observer,
            node,
            at_hand: None,
        };
        own.on_timer(token, &mut context);
    }

    fn arrive<O: Observer>(
        &mut self,
        by: ChannelId,
        packet: Box<Packet>,
        hops: u8,
        observer: &mut O,
    ) {
        let far = self.kernel.far_ends[by.0 as usize];
        let own = note(&mut self.events, &mut self.handled, &mut self.nodes, far.to);
        let (now, node) = (self.kernel.now, far.to);
        if let Some(tap) = far.tap_out {
            observer.tapped(now, tap, &packet);
        }
        // What a link has corrupted ends where the link does, as at a network card that checks sums.
        if far.is_impaired
            && let Some(fault) = packet.fault()
        {
            observer.dropped(now, Place::Node(node), &packet, fault);
            return self.kernel.recycle(packet);
        }
        let mut context = Context {
            kernel: &mut self.kernel,
            observer,
            node,
            at_hand: Some((packet.id, hops)),
        };
        own.on_packet(packet, by, &mut context);
    }
}

/// Tells nodes of events to come.
struct Lookout<'a, N> {
    far_ends: &'a [FarEnd],
    nodes: &'a [Option<N>],
    more: &'a mut Vec<(usize, ChannelId)>,
}

impl<N: Node> Lookout<'_, N> {
    /// Has the memory asked for that the events of a slot need.
    fn show(&mut self, ahead: &Ahead<'_, What>) {
        for (place, what) in ahead.iter().enumerate() {
            match what {
                What::Arrival(by, packet) => self.follow(place, *by, packet),
                What::Timer(node, token) => {
                    if let Some(node) = &self.nodes[node.0 as usize] {
                        node.foresee_timer(*token);
                    }
                }
            }
        }
        for (place, by) in self.more.drain(..) {
            let to = self.far_ends[by.0 as usize].to;
            if let (Some(What::Arrival(_, packet)), Some(node)) =
                (ahead.get(place), &self.nodes[to.0 as usize])
            {
                node.foresee_more(packet, by);
            }
        }
    }

    /// Shows a packet to the nodes that it may soon pass, those that need little and the one that needs
    /// more.
    #[inline]
    fn follow(&mut self, place: usize, mut by: ChannelId, packet: &Packet) {
        for _ in 0..HOP_LIMIT {
            let to = self.far_ends[by.0 as usize].to;
            let Some(node) = &self.nodes[to.0 as usize] else {
                return;
            };
            match node.foresee(packet, by) {
                Foresight::Onward(next) => by = next,
                Foresight::More => return self.more.push((place, by)),
                Foresight::Done => return,
            }
        }
    }
}

/// Fills a vector whose last cache line nothing else shares.
fn apart<T>(length: usize, fill: impl FnMut() -> T) -> Vec<T> {
    let mut vector = Vec::with_capacity(length + 128 / size_of::<T>() + 1);
    vector.resize_with(length, fill);
    vector
}

/// Counts an event for its node, and returns the node.
fn note<'a, N>(
    events: &mut u64,
    handled: &mut [u32],
    nodes: &'a mut [Option<N>],
    node: NodeId,
) -> &'a mut N {
    *events += 1;
    let place = node.0 as usize;
    handled[place] = handled[place].wrapping_add(1);
    nodes[place]
        .as_mut()
        .expect("broken invariant: an event stands in a lane that is not its node's")
}
