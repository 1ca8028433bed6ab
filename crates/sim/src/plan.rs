use std::sync::Arc;

use plsim_types::{Duration, Instant};

use crate::channel::ChannelId;
use crate::context::Node;
use crate::entity::NodeId;
use crate::event::What;
use crate::lane::Lane;
use crate::observer::{Observer, Split};
use crate::shard::{self, Shards};
use crate::threads::{self, LOOK_AHEAD_MAX, Terms};
use crate::world::{Progress, Stuck, World};

/// How many events there must be in the time of the look-ahead for threads to pay, and with how few
/// they no longer do.
const DENSE: u64 = 100;
const SPARSE: u64 = 50;
/// After how many events that is looked at again.
const GAUGE: u64 = 20_000;
/// After how many it is at most, where threads have come to rest again and again.
const GAUGE_MAX: u64 = 64 * GAUGE;
/// How many events are run between two looks at how even the lanes are.
const STRETCH: u64 = 2_000_000;

/// How many threads a run may use, and when it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Threads {
    /// One.
    One,
    /// Up to so many, while enough happens at once for that to pay.
    UpTo(usize),
    /// So many, as far as there are shards, even where one would be faster: for tests.
    Always(usize),
}

impl Threads {
    const fn count(self) -> usize {
        match self {
            Self::One => 1,
            Self::UpTo(count) | Self::Always(count) => count,
        }
    }
}

/// Who runs where.
#[derive(Debug)]
pub(crate) struct Plan {
    /// The lane of each node.
    pub(crate) lane_of: Vec<u16>,
    /// The shard of each node.
    shard_of: Vec<u32>,
    pub(crate) shards: Shards,
    /// By sending and receiving lane, in nanoseconds.
    look_ahead: Vec<Vec<u64>>,
    /// Whether shards were found anew since lanes were last formed.
    pub(crate) is_stale: bool,
    /// When the density of events was last looked at, and how many there had been.
    gauged: (Instant, u64),
    /// After how many events it is next.
    gauge: u64,
    /// How many events ran while there were several lanes.
    pub(crate) shared_events: u64,
}

impl Plan {
    /// Puts everything into one lane.
    pub(crate) fn new(nodes: usize) -> Self {
        Self {
            lane_of: vec![0; nodes],
            shard_of: Vec::new(),
            shards: Shards {
                count: 0,
                look_ahead: None,
            },
            look_ahead: Vec::new(),
            is_stale: false,
            gauged: (Instant::ZERO, 0),
            gauge: GAUGE,
            shared_events: 0,
        }
    }

    /// Returns the lane of a node.
    pub(crate) fn lane(&self, node: NodeId) -> usize {
        usize::from(self.lane_of[node.0 as usize])
    }
}

impl<N: Node, O: Observer> World<N, O> {
    /// Finds out what can be separated as the links are now.
    pub(crate) fn find_shards(&mut self) {
        let nodes = self.plan.lane_of.len();
        let mut pairs = self.together.clone();
        let least = |link: usize| {
            let link = ChannelId(u32::try_from(link).expect("broken invariant: 2^32 links"));
            self.channel(link).least_latency()
        };
        let links = || self.links.iter().copied().enumerate();
        pairs.extend(
            links()
                .filter(|(link, _)| least(*link).is_zero())
                .map(|(_, ends)| ends),
        );
        if self.reaction == Some(Duration::ZERO) {
            pairs.extend(
                (1..)
                    .map(|node| (NodeId(0), NodeId(node)))
                    .take(nodes.saturating_sub(1)),
            );
        }
        let (shard_of, count) = shard::number(nodes, pairs);
        let shard = |node: NodeId| shard_of[node.0 as usize];
        let crossing = links().filter(|(_, (from, to))| shard(*from) != shard(*to));
        let crossing = crossing.map(|(link, _)| least(link));
        let look_ahead = crossing.chain(self.reaction).min();
        self.plan.shards = Shards {
            count,
            look_ahead: look_ahead.filter(|_| count > 1),
        };
        self.plan.shard_of = shard_of;
        self.plan.is_stale = true;
    }

    /// Forms so many lanes; `lane_of` is the lane of each shard.
    pub(crate) fn form(&mut self, lanes: usize, lane_of: &[u16]) {
        let plan = &mut self.plan;
        for (lane, shard) in plan.lane_of.iter_mut().zip(&plan.shard_of) {
            *lane = lane_of[*shard as usize];
        }
        let old = std::mem::take(&mut self.lanes);
        let far_ends = Arc::clone(&old[0].kernel.far_ends);
        let (nodes, links) = (plan.lane_of.len(), self.links.len());
        for lane in 0..lanes {
            let number = u16::try_from(lane).expect("broken invariant: 65 536 lanes");
            let far_ends = Arc::clone(&far_ends);
            let clock = (self.now, self.stuck_after);
            let lane = Lane::new(number, lanes, (nodes, links), far_ends, clock);
            self.lanes.push(lane);
        }
        for mut lane in old {
            self.lanes[0].events += lane.events;
            for place in 0..nodes {
                let to = &mut self.lanes[usize::from(plan.lane_of[place])];
                if let Some(node) = lane.nodes[place].take() {
                    to.nodes[place] = Some(node);
                    to.kernel.seats[place] = lane.kernel.seats[place].take();
                }
            }
            for (place, (from, to)) in self.links.iter().enumerate() {
                if let Some(mut channel) = lane.kernel.channels[place].take() {
                    channel.lane = plan.lane_of[to.0 as usize];
                    self.lanes[plan.lane(*from)].kernel.channels[place] = Some(channel);
                }
            }
            for (time, tie, what) in lane.kernel.queue.drain() {
                let node = match &what {
                    What::Arrival(by, _) => self.links[by.0 as usize].1,
                    What::Timer(node, _) => *node,
                };
                self.lanes[plan.lane(node)]
                    .kernel
                    .queue
                    .push(time, tie, what);
            }
            self.lanes[0].kernel.inherit(lane.kernel);
        }
        self.plan.look_ahead = self.look_ahead();
    }

    /// Returns how long what one lane does cannot reach another one.
    fn look_ahead(&self) -> Vec<Vec<u64>> {
        let lanes = self.lanes.len();
        let reaction = self.reaction.map_or(u64::MAX, Duration::as_nanos);
        let mut least = vec![vec![reaction.min(LOOK_AHEAD_MAX); lanes]; lanes];
        for (place, (from, to)) in self.links.iter().enumerate() {
            let (from, to) = (self.plan.lane(*from), self.plan.lane(*to));
            if from != to
                && let Some(channel) = &self.lanes[from].kernel.channels[place]
            {
                let cell = &mut least[from][to];
                *cell = (*cell).min(channel.least_latency().as_nanos());
            }
        }
        least
    }

    /// Returns what each shard has handled since lanes were last formed.
    fn loads(&self) -> Vec<u64> {
        let mut loads = vec![0; self.plan.shards.count];
        for (node, (shard, lane)) in self
            .plan
            .shard_of
            .iter()
            .zip(&self.plan.lane_of)
            .enumerate()
        {
            loads[*shard as usize] += u64::from(self.lanes[usize::from(*lane)].handled[node]);
        }
        loads
    }

    /// Tells whether enough happens within the look-ahead for threads to pay.
    fn is_dense(&mut self) -> bool {
        let is_shared = self.lanes.len() > 1;
        let (since, before) = self.plan.gauged;
        let events = self.events() - before;
        let Some(look_ahead) = self.plan.shards.look_ahead else {
            return false;
        };
        if events < self.plan.gauge {
            return is_shared;
        }
        self.plan.gauged = (self.now, before + events);
        let span = u128::from(self.now.since(since).as_nanos().max(1));
        let dense = u128::from(events) * u128::from(look_ahead.as_nanos()) / span;
        dense >= u128::from(if is_shared { SPARSE } else { DENSE })
    }

    /// Forms the lanes that are best for what happens now.
    fn reform(&mut self, threads: Threads) {
        let was_stale = std::mem::take(&mut self.plan.is_stale);
        let pays = matches!(threads, Threads::Always(_)) || self.is_dense();
        let lanes = match pays {
            true => threads.count().min(self.plan.shards.count),
            false => 1,
        };
        if lanes <= 1 {
            return self.gather();
        }
        let loads = self.loads();
        let wanted = shard::share_out(&loads, lanes);
        let is_uneven = || {
            let now: Vec<u16> = self.lanes_of_shards();
            let [now, best] = [&now, &wanted].map(|of| shard::heaviest(&loads, of, lanes));
            loads.iter().sum::<u64>() > STRETCH / 2 && now > best + best / 16
        };
        if was_stale || lanes != self.lanes.len() || is_uneven() {
            self.form(lanes, &wanted);
        }
    }

    /// Goes back to one lane after so many events of several, if they ended for want of work: traffic that
    /// comes in bursts would have threads wait in between, and start anew each time.
    fn rest(&mut self, events: u64) {
        if events >= GAUGE {
            self.plan.gauge = GAUGE;
            return;
        }
        self.plan.gauge = (2 * self.plan.gauge).min(GAUGE_MAX);
        self.plan.gauged = (self.now, self.events());
        self.gather();
    }

    fn lanes_of_shards(&self) -> Vec<u16> {
        let mut lanes = vec![0; self.plan.shards.count];
        for (shard, lane) in self.plan.shard_of.iter().zip(&self.plan.lane_of) {
            lanes[*shard as usize] = *lane;
        }
        lanes
    }
}

impl<N: Node + Send, O: Split> World<N, O> {
    /// Does what [`run_before`](Self::run_before) does, on several threads. What happens is the same to
    /// the byte; only where it stops before the limit may differ.
    ///
    /// # Errors
    /// [`Stuck`] when time does not move any more.
    pub fn run_before_on(
        &mut self,
        threads: Threads,
        limit: Instant,
        budget: u64,
    ) -> Result<Progress, Stuck> {
        let stop_at = self.events().saturating_add(budget);
        loop {
            let left = stop_at.saturating_sub(self.events());
            let may_share = threads.count() > 1;
            if may_share {
                self.reform(threads);
            }
            let progress = if self.lanes.len() == 1 || !may_share {
                let stretch = if may_share { left.min(GAUGE) } else { left };
                self.run_before(limit, stretch)?
            } else {
                let before = self.events();
                let progress = self.run_lanes(limit, left.min(STRETCH))?;
                self.plan.shared_events += self.events() - before;
                let is_told = progress == Progress::Reached || self.is_called();
                if !is_told && matches!(threads, Threads::UpTo(_)) {
                    self.rest(self.events() - before);
                }
                progress
            };
            if progress == Progress::Reached || self.events() >= stop_at || self.is_called() {
                return Ok(progress);
            }
        }
    }

    fn run_lanes(&mut self, limit: Instant, budget: u64) -> Result<Progress, Stuck> {
        let until = self.begin_step(limit)?;
        let lanes = self.lanes.len() as u64;
        let next = self.lanes.iter().map(Lane::next_time).min();
        let terms = Terms {
            from: next.unwrap_or(u64::MAX).min(until.as_nanos()),
            limit: until.as_nanos(),
            look_ahead: &self.plan.look_ahead,
            reaction: self.reaction.map_or(u64::MAX, Duration::as_nanos),
            budget: budget / lanes,
        };
        let mut parts: Vec<_> = self.lanes.iter().map(|_| self.observer.part()).collect();
        let reached = threads::run(&mut self.lanes, &mut parts, &terms);
        self.observer.join(parts);
        let reached = reached.inspect_err(|stuck| self.now = stuck.at)?;
        Ok(self.end_step(Instant::from_nanos(reached), limit))
    }
}
