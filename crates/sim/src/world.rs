use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use plsim_types::{Duration, Instant};

use crate::channel::{Channel, ChannelConfig, ChannelId, FarEnd};
use crate::context::{Context, Node};
use crate::entity::{NodeId, Rank, Source};
use crate::event::{MAX_ENTITIES, What};
use crate::impairment::{Impairments, LinkStats};
use crate::lane::{Halt, Lane, Seat};
use crate::observer::Observer;
use crate::plan::Plan;
use crate::shard::Shards;
use crate::stream::Stream;

/// How many packets may pass links without latency, one causing the other, before the run counts
/// as stuck, by default.
const STUCK_AFTER: u64 = 10_000_000;

/// Collects the entities of a world before it exists.
#[derive(Debug)]
pub struct WorldBuilder {
    nodes: Vec<(&'static str, String)>,
    channels: Vec<Link>,
    together: Vec<(NodeId, NodeId)>,
    reaction: Option<Duration>,
    stuck_after: u64,
}

#[derive(Debug)]
struct Link {
    kind: &'static str,
    name: String,
    from: NodeId,
    to: NodeId,
    config: ChannelConfig,
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
            together: Vec::new(),
            reaction: Some(Duration::ZERO),
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

    /// Has two nodes run on the same thread always.
    pub fn keep_together(&mut self, one: NodeId, other: NodeId) {
        self.together.push((one, other));
    }

    /// Sets how long after a [`call`](Context::call) the driver reacts; by default at once, which leaves
    /// a world that cannot be shared out over threads. `None`: nodes never call.
    pub const fn reaction(&mut self, after: Option<Duration>) {
        self.reaction = after;
    }

    /// Adds a one-way link from a node, which alone sends on it, to another one; (kind, name) must be unique, for it decides order and
    /// randomness.
    pub fn channel(
        &mut self,
        kind: &'static str,
        name: &str,
        (from, to): (NodeId, NodeId),
        config: ChannelConfig,
    ) -> ChannelId {
        self.channels.push(Link {
            kind,
            name: name.to_owned(),
            from,
            to,
            config,
        });
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
            .map(|link| (link.kind, link.name.as_str()))
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
        let mut lane = Lane::new(
            0,
            1,
            (self.nodes.len(), self.channels.len()),
            Arc::default(),
            (Instant::ZERO, self.stuck_after),
        );
        lane.nodes = nodes.into_iter().map(Some).collect();
        let seats = self.nodes.iter().zip(node_ranks);
        let seats = seats.map(|((kind, name), rank)| {
            Some(Seat::new(Source::new(*rank), Stream::new(seed, kind, name)))
        });
        lane.kernel.seats = seats.collect();
        let mut links = Vec::new();
        let mut far_ends = Vec::new();
        let mut channels = Vec::new();
        for (link, rank) in self.channels.into_iter().zip(channel_ranks) {
            let stream = Stream::new(seed, link.kind, &link.name);
            links.push((link.from, link.to));
            let tap_out = link.config.tap_out;
            let channel = Channel::new(link.config, Source::new(*rank), stream);
            far_ends.push(FarEnd {
                to: link.to,
                tap_out,
                is_impaired: channel.impaired.is_some(),
            });
            channels.push(Some(channel));
        }
        lane.kernel.channels = channels;
        lane.kernel.far_ends = Arc::new(far_ends);
        let mut world = World {
            lanes: vec![lane],
            plan: Plan::new(self.nodes.len()),
            links,
            together: self.together,
            reaction: self.reaction,
            stuck_after: self.stuck_after,
            observer,
            now: Instant::ZERO,
            due: BTreeSet::new(),
            stuck: None,
            is_called: false,
        };
        world.find_shards();
        world
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

/// How far a call of [`World::run_before`] came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Everything before the limit has happened, and the clock stands at the limit.
    Reached,
    /// The budget is used up, or the driver is to react to a call; call again. Everything before the
    /// clock has happened, and nothing else.
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
    pub(crate) lanes: Vec<Lane<N>>,
    pub(crate) plan: Plan,
    /// From and to which node each link leads.
    pub(crate) links: Vec<(NodeId, NodeId)>,
    /// Nodes that must not be separated.
    pub(crate) together: Vec<(NodeId, NodeId)>,
    pub(crate) reaction: Option<Duration>,
    pub(crate) stuck_after: u64,
    pub(crate) observer: O,
    /// Everything before has happened, nothing else has.
    pub(crate) now: Instant,
    /// When the driver is to react to calls.
    due: BTreeSet<Instant>,
    /// What went wrong in a visit.
    stuck: Option<Stuck>,
    /// Whether the last step ended because the driver is to react.
    is_called: bool,
}

impl<N: Node, O: Observer> World<N, O> {
    /// Returns the virtual time.
    #[must_use]
    pub const fn now(&self) -> Instant {
        self.now
    }

    /// Returns the number of events so far.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.lanes.iter().map(|lane| lane.events).sum()
    }

    /// Returns how many of them ran while several lanes were at work.
    #[must_use]
    pub const fn shared_events(&self) -> u64 {
        self.plan.shared_events
    }

    /// Counts the packets on links.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        self.lanes.iter().map(|lane| lane.kernel.in_flight()).sum()
    }

    /// Returns a node.
    ///
    /// # Panics
    /// If it is not one of this world.
    #[must_use]
    pub fn node(&self, node: NodeId) -> &N {
        let node = self.lane(node).nodes[node.0 as usize].as_ref();
        node.expect("broken invariant: a node is in the lane of its number")
    }

    /// Returns the nodes, in the order of their ids.
    pub fn nodes(&self) -> impl Iterator<Item = &N> {
        (0..)
            .map(NodeId)
            .take(self.plan.lane_of.len())
            .map(|node| self.node(node))
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

    /// Returns how long after a [`call`](Context::call) the driver reacts; `None` if nodes never call.
    #[must_use]
    pub const fn reaction(&self) -> Option<Duration> {
        self.reaction
    }

    /// Returns which parts of the world can run at once.
    #[must_use]
    pub const fn shards(&self) -> Shards {
        self.plan.shards
    }

    /// Changes links between two steps: their latency and their impairments. Packets on the way
    /// arrive as they would have, and those after them do not overtake them for the change.
    pub fn change_links(
        &mut self,
        links: &[ChannelId],
        change: impl Fn(&mut Duration, &mut Impairments),
    ) {
        let plain = links.iter().copied();
        let plain = plain.filter(|link| self.channel(*link).impaired.is_none());
        let mut last: BTreeMap<ChannelId, Option<Instant>> =
            plain.map(|link| (link, None)).collect();
        if !last.is_empty() {
            // They have not noted when their packets arrive.
            let lanes = self.lanes.iter();
            for (at, what) in lanes.flat_map(|lane| lane.kernel.queue.pending()) {
                if let What::Arrival(by, _) = what
                    && let Some(last) = last.get_mut(by)
                {
                    *last = (*last).max(Some(Instant::from_nanos(at)));
                }
            }
        }
        let mut far_ends = Vec::clone(&self.lanes[0].kernel.far_ends);
        for &link in links {
            let from = self.links[link.0 as usize].0;
            let lane = self.plan.lane(from);
            let channel = self.lanes[lane].kernel.channel(link);
            let mut latency = channel.latency;
            let impaired = channel.impair();
            impaired.follow(last.get(&link).copied().flatten());
            change(&mut latency, &mut impaired.settings);
            channel.latency = latency;
            far_ends[link.0 as usize].is_impaired = true;
        }
        let far_ends = Arc::new(far_ends);
        for lane in &mut self.lanes {
            lane.kernel.far_ends = Arc::clone(&far_ends);
        }
        self.find_shards();
    }

    /// Returns what a link has done; `None` if it never had impairments.
    #[must_use]
    pub fn link_stats(&self, link: ChannelId) -> Option<&LinkStats> {
        let impaired = self.channel(link).impaired.as_ref()?;
        Some(&impaired.stats)
    }

    /// Lets the caller act as a node between two steps: how a run starts and is intervened in.
    ///
    /// What it sends over links without latency passes at once.
    pub fn visit<R>(&mut self, node: NodeId, act: impl FnOnce(&mut N, &mut Context<'_>) -> R) -> R {
        // A link that has lost its latency may lead from one lane into another.
        if self.plan.is_stale {
            self.gather();
        }
        let lane = self.plan.lane(node);
        let (result, passed) = self.lanes[lane].visit(node, &mut self.observer, act);
        if let Err(stuck) = passed {
            self.stuck.get_or_insert(stuck);
        }
        self.exchange();
        result
    }

    /// Runs events that lie before `limit`, until about `budget` of them and all of their instant are
    /// done, or the driver is to react to a [`call`](Context::call).
    ///
    /// # Errors
    /// [`Stuck`] when time does not move any more; the world stays as it was then.
    pub fn run_before(&mut self, limit: Instant, budget: u64) -> Result<Progress, Stuck> {
        self.gather();
        let stop_at = self.events().saturating_add(budget);
        loop {
            let until = self.begin_step(limit)?;
            let lane = &mut self.lanes[0];
            let left = stop_at.saturating_sub(lane.events);
            let halt = lane.run_before(&mut self.observer, until.as_nanos(), left)?;
            let reached = match halt {
                Halt::Done => until,
                Halt::Budget => lane.kernel.now + Duration::from_nanos(1),
                Halt::Called => {
                    self.heed_calls();
                    if self
                        .due
                        .first()
                        .is_none_or(|due| *due > self.lanes[0].kernel.now)
                    {
                        continue;
                    }
                    self.lanes[0].kernel.now
                }
            };
            return Ok(self.end_step(reached, limit));
        }
    }

    /// Returns up to when may be run.
    pub(crate) fn begin_step(&mut self, limit: Instant) -> Result<Instant, Stuck> {
        // The error of a visit: the visited lane stands where it was.
        if let Some(stuck) = self.stuck {
            return Err(stuck);
        }
        // Of visits.
        self.heed_calls();
        let due = self.due.first().copied();
        Ok(due.map_or(limit, |due| due.min(limit)))
    }

    /// Moves the clock to where all lanes stand.
    pub(crate) fn end_step(&mut self, reached: Instant, limit: Instant) -> Progress {
        self.now = self.now.max(reached);
        for lane in &mut self.lanes {
            lane.kernel.now = self.now;
        }
        self.heed_calls();
        self.is_called = self.due.first().is_some_and(|due| *due <= self.now);
        self.due.retain(|due| *due > reached);
        if reached >= limit {
            Progress::Reached
        } else {
            Progress::Paused
        }
    }

    /// Tells whether the last run ended because the driver is to react to a [`call`](Context::call).
    #[must_use]
    pub const fn is_called(&self) -> bool {
        self.is_called
    }

    /// Takes note of when the driver is to react.
    fn heed_calls(&mut self) {
        for lane in &mut self.lanes {
            let calls = lane.kernel.take_calls().into_iter();
            let due = calls.map(|at| {
                let reaction = self.reaction;
                at + reaction.expect("broken invariant: a node calls in a world without calls")
            });
            self.due.extend(due);
        }
    }

    /// Hands packets over that lanes have for each other.
    fn exchange(&mut self) {
        if self.lanes.len() == 1 {
            return;
        }
        for from in 0..self.lanes.len() {
            for to in 0..self.lanes.len() {
                let mut batch = std::mem::take(&mut self.lanes[from].kernel.outboxes[to]);
                self.lanes[to].kernel.take_in(&mut batch);
                self.lanes[from].kernel.outboxes[to] = batch;
            }
        }
    }

    /// Puts the whole world into one lane.
    pub(crate) fn gather(&mut self) {
        if self.lanes.len() > 1 {
            let lanes = vec![0; self.plan.shards.count];
            self.form(1, &lanes);
        }
    }

    fn lane(&self, node: NodeId) -> &Lane<N> {
        &self.lanes[self.plan.lane(node)]
    }

    pub(crate) fn channel(&self, link: ChannelId) -> &Channel {
        let place = link.0 as usize;
        let channel = self.lane(self.links[place].0).kernel.channels[place].as_ref();
        channel.expect("broken invariant: a link is in the lane of its sender")
    }
}
