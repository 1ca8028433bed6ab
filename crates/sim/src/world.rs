use std::collections::{BTreeMap, VecDeque};
use std::fmt;

use plsim_packet::{Packet, PacketId};
use plsim_types::{DropReason, Duration, Instant};

use crate::channel::{Channel, ChannelConfig, ChannelId};
use crate::context::{Context, Node};
use crate::entity::{NodeId, Rank, Source};
use crate::event::{Class, MAX_ENTITIES, What, tie};
use crate::impairment::{Impairments, LinkStats};
use crate::observer::{Observer, Place};
use crate::queue::RadixHeap;
use crate::stream::Stream;

/// The most hops a packet may make without time moving.
const HOP_LIMIT: u8 = 32;
/// How many packets may pass links without latency, one causing the other, before the run counts
/// as stuck, by default.
const STUCK_AFTER: u64 = 10_000_000;
/// The most packet records kept for reuse.
const POOL_LIMIT: usize = 1 << 20;

/// Collects the entities of a world before it exists.
#[derive(Debug)]
pub struct WorldBuilder {
    nodes: Vec<(&'static str, String)>,
    channels: Vec<(&'static str, String, NodeId, ChannelConfig)>,
    stuck_after: u64,
}

impl Default for WorldBuilder {
    fn default() -> Self {
        Self::new()
    }
}

impl WorldBuilder {
    /// Starts with nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            nodes: Vec::new(),
            channels: Vec::new(),
            stuck_after: STUCK_AFTER,
        }
    }

    /// Sets how many packets may pass links without latency in one instant, caused by one event;
    /// ten million by default.
    #[must_use]
    pub const fn stuck_after(mut self, events: u64) -> Self {
        self.stuck_after = events;
        self
    }

    /// Announces a node; (kind, name) must be unique, for it decides order and randomness.
    pub fn node(&mut self, kind: &'static str, name: &str) -> NodeId {
        self.nodes.push((kind, name.to_owned()));
        NodeId(u32::try_from(self.nodes.len() - 1).expect("broken invariant: 2^32 nodes"))
    }

    /// Adds a one-way link to a node; (kind, name) must be unique, for it decides order and
    /// randomness.
    pub fn channel(
        &mut self,
        kind: &'static str,
        name: &str,
        to: NodeId,
        config: ChannelConfig,
    ) -> ChannelId {
        self.channels.push((kind, name.to_owned(), to, config));
        ChannelId(u32::try_from(self.channels.len() - 1).expect("broken invariant: 2^32 links"))
    }

    /// Returns (kind, name) of each node, in the order of their ids.
    pub fn node_names(&self) -> impl Iterator<Item = (&str, &str)> {
        self.nodes.iter().map(|(kind, name)| (*kind, name.as_str()))
    }

    /// Returns (kind, name) of each link, in the order of their ids.
    pub fn channel_names(&self) -> impl Iterator<Item = (&str, &str)> {
        self.channels
            .iter()
            .map(|(kind, name, ..)| (*kind, name.as_str()))
    }

    /// Builds the world; `nodes` are those announced, in the same order.
    ///
    /// # Panics
    /// If the number of nodes differs, two entities share kind and name, or there are more than
    /// 4 194 304 entities.
    pub fn build<N: Node, O: Observer>(self, seed: u64, nodes: Vec<N>, observer: O) -> World<N, O> {
        assert_eq!(
            nodes.len(),
            self.nodes.len(),
            "every announced node must be given"
        );
        let ranks = self.ranks();
        let (node_ranks, channel_ranks) = ranks.split_at(self.nodes.len());
        let seats = self.nodes.iter().zip(node_ranks);
        let seats = seats
            .map(|((kind, name), rank)| Seat {
                source: Source::new(*rank),
                stream: Stream::new(seed, kind, name),
                injected: 0,
            })
            .collect();
        let channels = self.channels.into_iter().zip(channel_ranks);
        let channels = channels
            .map(|((kind, name, to, config), rank)| {
                let stream = Stream::new(seed, kind, &name);
                Channel::new(to, config, Source::new(*rank), stream)
            })
            .collect();
        let kernel = Kernel {
            now: Instant::ZERO,
            nodes: seats,
            channels,
            queue: RadixHeap::new(),
            instant: VecDeque::new(),
            pause: false,
            pool: Vec::new(),
        };
        World {
            kernel,
            nodes,
            observer,
            events: 0,
            stuck_after: self.stuck_after,
            chain: 0,
            chain_limit: 0,
        }
    }

    /// Returns each entity's place in the order of (kind, name), nodes first.
    fn ranks(&self) -> Vec<Rank> {
        let names: Vec<_> = self.node_names().chain(self.channel_names()).collect();
        assert!(names.len() <= MAX_ENTITIES, "too many nodes and links");
        let mut order: Vec<usize> = (0..names.len()).collect();
        order.sort_unstable_by_key(|&entity| names[entity]);
        let mut ranks = vec![Rank(0); names.len()];
        for (rank, entity) in order.iter().enumerate() {
            if rank > 0 {
                assert_ne!(
                    names[order[rank - 1]],
                    names[*entity],
                    "two entities share a name"
                );
            }
            ranks[*entity] = Rank(u32::try_from(rank).expect("broken invariant: checked above"));
        }
        ranks
    }
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
    pub(crate) stream: Stream,
    injected: u64,
}

/// Everything of the world that a node may touch through its [`Context`].
#[derive(Debug)]
pub(crate) struct Kernel {
    pub(crate) now: Instant,
    pub(crate) nodes: Vec<Seat>,
    pub(crate) channels: Vec<Channel>,
    queue: RadixHeap<What>,
    /// What is left to do in this instant, before time moves.
    instant: VecDeque<Immediate>,
    /// Whether a node wants the driver to look at it.
    pub(crate) pause: bool,
    #[expect(clippy::vec_box, reason = "the boxes themselves are reused")]
    pool: Vec<Box<Packet>>,
}

impl Kernel {
    /// Gives the packet its id: numbers interleave over nodes, so an id needs no global counter.
    pub(crate) fn inject(&mut self, node: NodeId, mut packet: Packet) -> Box<Packet> {
        let count = self.nodes.len() as u64;
        let seat = &mut self.nodes[node.0 as usize];
        packet.id = PacketId(seat.injected * count + u64::from(node.0) + 1);
        seat.injected += 1;
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
        let tie = tie(Class::Arrival, &mut self.channels[by.0 as usize].source);
        self.queue
            .push(at.as_nanos(), tie, What::Arrival(by, packet));
    }

    pub(crate) fn schedule_timer(&mut self, at: Instant, node: NodeId, token: u64) {
        let tie = tie(Class::Timer, &mut self.nodes[node.0 as usize].source);
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
        let link = &mut self.channels[by.0 as usize];
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
}

/// How far a call of [`World::run_before`] came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Everything before the limit has happened, and the clock stands at the limit.
    Reached,
    /// The budget is used up, or a node has asked for a pause; call again.
    Paused,
}

/// The run does not move: packets answer each other without end in one instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stuck {
    /// The instant that does not end.
    pub at: Instant,
    /// How many packets were handled after the event that began it.
    pub handled: u64,
}

impl fmt::Display for Stuck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} packets passed at {} without time moving",
            self.handled, self.at
        )
    }
}

impl std::error::Error for Stuck {}

/// The nodes, the links between them, and the clock.
#[derive(Debug)]
pub struct World<N, O> {
    kernel: Kernel,
    nodes: Vec<N>,
    observer: O,
    events: u64,
    stuck_after: u64,
    /// How much was done in this instant since the last event of the queue or piece of work.
    chain: u64,
    /// How much may be done so.
    chain_limit: u64,
}

impl<N: Node, O: Observer> World<N, O> {
    /// Returns the virtual time.
    #[must_use]
    pub const fn now(&self) -> Instant {
        self.kernel.now
    }

    /// Returns the number of events so far.
    #[must_use]
    pub const fn events(&self) -> u64 {
        self.events
    }

    /// Counts the packets on links.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        let queued = self.kernel.queue.pending();
        queued
            .filter(|(_, what)| matches!(what, What::Arrival(..)))
            .count() as u64
            + self
                .kernel
                .instant
                .iter()
                .filter(|work| matches!(work, Immediate::Packet(..)))
                .count() as u64
    }

    /// Returns the nodes, in the order of their ids.
    #[must_use]
    pub fn nodes(&self) -> &[N] {
        &self.nodes
    }

    /// Returns the observer.
    #[must_use]
    pub const fn observer(&self) -> &O {
        &self.observer
    }

    /// Returns the observer for a change between two steps.
    pub const fn observer_mut(&mut self) -> &mut O {
        &mut self.observer
    }

    /// Changes links between two steps: their latency and their impairments. Packets on the way
    /// arrive as they would have, and those after them do not overtake them for the change.
    pub fn change_links(
        &mut self,
        links: &[ChannelId],
        change: impl Fn(&mut Duration, &mut Impairments),
    ) {
        let channels = &mut self.kernel.channels;
        let plain = links.iter().copied();
        let plain = plain.filter(|link| channels[link.0 as usize].impaired.is_none());
        let mut last: BTreeMap<ChannelId, Option<Instant>> =
            plain.map(|link| (link, None)).collect();
        if !last.is_empty() {
            // They have not noted when their packets arrive.
            for (at, what) in self.kernel.queue.pending() {
                if let What::Arrival(by, _) = what
                    && let Some(last) = last.get_mut(by)
                {
                    *last = (*last).max(Some(Instant::from_nanos(at)));
                }
            }
        }
        for &link in links {
            let channel = &mut channels[link.0 as usize];
            let mut latency = channel.latency;
            let impaired = channel.impair();
            impaired.follow(last.get(&link).copied().flatten());
            change(&mut latency, &mut impaired.settings);
            channel.latency = latency;
        }
    }

    /// Returns what a link has done; `None` if it never had impairments.
    #[must_use]
    pub fn link_stats(&self, link: ChannelId) -> Option<&LinkStats> {
        let impaired = self.kernel.channels[link.0 as usize].impaired.as_ref()?;
        Some(&impaired.stats)
    }

    /// Lets the caller act as a node between two steps: how a run starts and is intervened in.
    ///
    /// What it sends over links without latency goes on with the next [`World::run_before`].
    pub fn visit<R>(&mut self, node: NodeId, act: impl FnOnce(&mut N, &mut Context<'_>) -> R) -> R {
        let mut context = Context {
            kernel: &mut self.kernel,
            observer: &mut self.observer,
            node,
            at_hand: None,
        };
        let result = act(&mut self.nodes[node.0 as usize], &mut context);
        self.begin_chain();
        result
    }

    /// Runs events that lie before `limit`, at most about `budget` of them, or until a node asks for
    /// a [`pause`](Context::pause).
    ///
    /// # Errors
    /// [`Stuck`] when time does not move any more; the world stays as it was then.
    pub fn run_before(&mut self, limit: Instant, budget: u64) -> Result<Progress, Stuck> {
        let stop_at = self.events.saturating_add(budget);
        while self.events < stop_at && !std::mem::take(&mut self.kernel.pause) {
            if let Some(work) = self.kernel.instant.pop_front() {
                self.handle_immediate(work)?;
                continue;
            }
            let Some((time, _, what)) = self.kernel.queue.pop_before(limit.as_nanos()) else {
                self.kernel.now = self.kernel.now.max(limit);
                return Ok(Progress::Reached);
            };
            self.kernel.now = Instant::from_nanos(time);
            match what {
                What::Arrival(by, packet) => self.arrive(by, packet, 0),
                What::Timer(node, token) => self.fire(node, token),
            }
            self.begin_chain();
        }
        Ok(Progress::Paused)
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

    fn handle_immediate(&mut self, work: Immediate) -> Result<(), Stuck> {
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
                self.observer
                    .dropped(now, Place::Channel(by), &packet, DropReason::HopLimit);
                self.kernel.recycle(packet);
            }
            Immediate::Packet(by, packet, hops) => self.arrive(by, packet, hops),
            Immediate::Again(node, token) => {
                let before = self.kernel.instant.len();
                self.fire(node, token);
                // Every packet of the next piece may make its hops.
                let added = self.kernel.instant.len().saturating_sub(before) as u64;
                self.chain_limit += added * u64::from(HOP_LIMIT);
            }
        }
        Ok(())
    }

    fn fire(&mut self, node: NodeId, token: u64) {
        self.events += 1;
        let mut context = Context {
            kernel: &mut self.kernel,
            observer: &mut self.observer,
            node,
            at_hand: None,
        };
        self.nodes[node.0 as usize].on_timer(token, &mut context);
    }

    fn arrive(&mut self, by: ChannelId, packet: Box<Packet>, hops: u8) {
        self.events += 1;
        let channel = &self.kernel.channels[by.0 as usize];
        let node = channel.to;
        if let Some(tap) = channel.tap_out {
            self.observer.tapped(self.kernel.now, tap, &packet);
        }
        // What a link has corrupted ends where the link does, as at a network card that checks sums.
        if channel.impaired.is_some()
            && let Some(fault) = packet.fault()
        {
            let (now, place) = (self.kernel.now, Place::Node(node));
            self.observer.dropped(now, place, &packet, fault);
            return self.kernel.recycle(packet);
        }
        let mut context = Context {
            kernel: &mut self.kernel,
            observer: &mut self.observer,
            node,
            at_hand: Some((packet.id, hops)),
        };
        self.nodes[node.0 as usize].on_packet(packet, by, &mut context);
    }
}
