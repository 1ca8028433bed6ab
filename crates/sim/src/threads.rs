//! Several lanes at once, each on a thread.
//!
//! Lanes are kept in step by promises (Chandy and Misra 1979, Bryant 1977): a lane says from when on it
//! may still send, so another one may run as long as nothing that is sent then could arrive. How long
//! packets are on the way between two lanes is the look-ahead. Nobody ever waits for a lock, and what a
//! lane does depends on the virtual times alone: not on how fast anybody was.

use std::hint::spin_loop;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use crossbeam_channel::{Receiver, Sender, unbounded};

use crate::context::Node;
use crate::event::Tie;
use crate::lane::{Crossing, Halt, Lane};
use crate::observer::Observer;
use crate::world::Stuck;

/// The longest look-ahead, in nanoseconds: lanes that never meet stay this close.
pub(crate) const LOOK_AHEAD_MAX: u64 = 10_000_000;
/// How many events a lane handles before it tells others how far it is.
const SLICE: u64 = 64;
/// How often a lane looks for work in vain before it lets another thread have the processor.
const SPINS: u32 = 200;
/// How often it does, while nobody has work, before all stop: the world then skips the gap.
const PATIENCE: u32 = 400;

type Batch = Vec<Crossing>;

/// What is agreed on for a run of the lanes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terms<'a> {
    /// From when on events may happen, and up to when they do, in nanoseconds.
    pub(crate) from: u64,
    pub(crate) limit: u64,
    /// By sending and receiving lane, in nanoseconds; above zero.
    pub(crate) look_ahead: &'a [Vec<u64>],
    /// When the driver reacts to a call, in nanoseconds.
    pub(crate) reaction: u64,
    /// After how many events of one lane all may stop.
    pub(crate) budget: u64,
}

/// Runs every event before the limit; earlier ones only when a node has called, the budget is used up,
/// or nothing happens for long. Returns up to when: all lanes stand there.
pub(crate) fn run<N: Node + Send, P: Observer + Send>(
    lanes: &mut [Lane<N>],
    parts: &mut [P],
    terms: &Terms<'_>,
) -> Result<u64, Stuck> {
    let count = lanes.len();
    let shared = Shared {
        lanes: (0..count).map(|_| Publication::at(terms.from)).collect(),
        stop: AtomicU64::new(terms.limit),
    };
    let mut posts: Vec<Post> = Vec::new();
    for lane in 0..count {
        posts.push(Post::new(lane, count));
    }
    for from in 0..count {
        for to in 0..count {
            if from != to {
                let (full, filled) = unbounded();
                let (empty, emptied) = unbounded();
                posts[from].out[to] = Some((full, emptied));
                posts[to].incoming[from] = Some((filled, empty));
            }
        }
    }
    let outcome = thread::scope(|scope| {
        let mut crews = lanes.iter_mut().zip(parts).zip(&mut posts);
        let first = crews.next();
        let others: Vec<_> = crews
            .map(|((lane, part), post)| {
                let shared = &shared;
                scope.spawn(move || shared.work(lane, part, post, terms))
            })
            .collect();
        let own = first.map_or(Ok(()), |((lane, part), post)| {
            shared.work(lane, part, post, terms)
        });
        let theirs = others.into_iter().map(|thread| match thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        let stuck = std::iter::once(own).chain(theirs).filter_map(Result::err);
        stuck.min_by_key(|(tie, stuck)| (stuck.at, *tie))
    });
    for (lane, post) in lanes.iter_mut().zip(&posts) {
        post.take_in(lane);
    }
    match outcome {
        Some((_, stuck)) => Err(stuck),
        None => Ok(shared.stop.into_inner()),
    }
}

/// What one lane tells the others; alone on its lines, for others read it all the time.
#[derive(Debug)]
#[repr(align(128))]
struct Publication {
    /// Nothing leaves the lane before, in nanoseconds.
    promise: AtomicU64,
    /// Whether it had nothing to do when it last looked.
    is_idle: AtomicBool,
}

impl Publication {
    const fn at(from: u64) -> Self {
        Self {
            promise: AtomicU64::new(from),
            is_idle: AtomicBool::new(false),
        }
    }
}

/// What all lanes see.
struct Shared {
    lanes: Vec<Publication>,
    /// Up to when all run, in nanoseconds. It only comes nearer, and never before anything done, unless
    /// a lane is stuck.
    stop: AtomicU64,
}

/// The channels of one lane, by the other lane: full batches one way, empty ones back.
struct Post {
    own: usize,
    out: Vec<Option<(Sender<Batch>, Receiver<Batch>)>>,
    incoming: Vec<Option<(Receiver<Batch>, Sender<Batch>)>>,
}

impl Post {
    fn new(own: usize, lanes: usize) -> Self {
        let none = || None;
        Self {
            own,
            out: std::iter::repeat_with(none).take(lanes).collect(),
            incoming: std::iter::repeat_with(|| None).take(lanes).collect(),
        }
    }

    /// Takes in what others have sent so far; returns whether there was any.
    fn take_in<N: Node>(&self, lane: &mut Lane<N>) -> bool {
        let mut any = false;
        for (filled, empty) in self.incoming.iter().flatten() {
            while let Ok(mut batch) = filled.try_recv() {
                any = true;
                lane.kernel.take_in(&mut batch);
                // The sender may be gone already.
                drop(empty.send(batch));
            }
        }
        any
    }

    /// Sends what the lane has for others.
    fn send<N: Node>(&self, lane: &mut Lane<N>) {
        for (outbox, door) in lane.kernel.outboxes.iter_mut().zip(&self.out) {
            if let Some((full, emptied)) = door
                && !outbox.is_empty()
            {
                let fresh = emptied.try_recv().unwrap_or_default();
                let batch = std::mem::replace(outbox, fresh);
                full.send(batch)
                    .expect("broken invariant: the mailbox of a lane closed during a run");
            }
        }
    }
}

/// Has all others stop when a lane ends by a panic, which nobody would wait for otherwise.
struct Alarm<'a>(&'a AtomicU64);

impl Drop for Alarm<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.store(0, Ordering::Release);
        }
    }
}

impl Shared {
    /// Runs one lane to the common stop; if it gets stuck, it says on which event, too.
    fn work<N: Node, P: Observer>(
        &self,
        lane: &mut Lane<N>,
        part: &mut P,
        post: &Post,
        terms: &Terms<'_>,
    ) -> Result<(), (Tie, Stuck)> {
        let _alarm = Alarm(&self.stop);
        let own = &self.lanes[post.own];
        let farthest = terms.look_ahead[post.own].iter().max();
        let farthest = farthest.copied().unwrap_or(0);
        let enough = lane.events.saturating_add(terms.budget);
        let mut idle = 0;
        loop {
            // In this order: the stop may come nearer before a promise moves on, and batches are sent
            // before it does.
            let horizon = self.horizon(post.own, terms);
            let stop = self.stop.load(Ordering::Acquire);
            let until = horizon.min(stop);
            let mut is_busy = post.take_in(lane);
            let before = lane.events;
            let halt = lane.run_before(part, until, SLICE).map_err(|stuck| {
                self.give_up(lane, post, stuck.at.as_nanos());
                (lane.tie, stuck)
            })?;
            is_busy |= lane.events > before;
            if halt == Halt::Called {
                let due = lane.kernel.now.as_nanos().saturating_add(terms.reaction);
                self.stop.fetch_min(due, Ordering::AcqRel);
                lane.kernel.heed();
            }
            post.send(lane);
            let promise = lane.earliest().min(until);
            own.promise.store(promise, Ordering::Release);
            if halt == Halt::Done && until == stop {
                return Ok(());
            }
            if is_busy {
                idle = 0;
            } else {
                idle += 1;
                if idle > SPINS {
                    thread::yield_now();
                } else {
                    spin_loop();
                }
            }
            own.is_idle.store(!is_busy, Ordering::Relaxed);
            let is_over = lane.events >= enough || (idle > PATIENCE && self.nobody_works());
            if is_over {
                // Nobody has come farther than this: it would have needed a later promise.
                let reached = promise.saturating_add(farthest);
                self.stop.fetch_min(reached, Ordering::AcqRel);
            }
        }
    }

    /// Ends a lane that is stuck. All others go on to the end of this instant: one that gets stuck
    /// earlier in virtual time is what is told, whoever was faster.
    fn give_up<N: Node>(&self, lane: &mut Lane<N>, post: &Post, at: u64) {
        let own = &self.lanes[post.own];
        self.stop.fetch_min(at.saturating_add(1), Ordering::AcqRel);
        post.send(lane);
        own.promise.store(at, Ordering::Release);
        own.is_idle.store(true, Ordering::Relaxed);
    }

    /// Returns up to when nothing can arrive that a lane does not know of.
    fn horizon(&self, lane: usize, terms: &Terms<'_>) -> u64 {
        let others = self.lanes.iter().enumerate();
        others
            .filter(|(other, _)| *other != lane)
            .map(|(other, published)| {
                let promise = published.promise.load(Ordering::Acquire);
                promise.saturating_add(terms.look_ahead[other][lane])
            })
            .min()
            .unwrap_or(u64::MAX)
    }

    fn nobody_works(&self) -> bool {
        self.lanes
            .iter()
            .all(|lane| lane.is_idle.load(Ordering::Relaxed))
    }
}
