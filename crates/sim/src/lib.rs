//! The simulation kernel: virtual clock, event queue, links, randomness.
//!
//! What it is: a [`World`] owns the nodes, the clock and every packet between two nodes. A [`Node`]
//! reacts to packets and timers through a [`Context`]; an [`Observer`] watches. Links are
//! in-memory L3 channels ([`Channel`]) with latency and [`Impairments`].
//!
//! What it is not: it knows no NAT, load balancer, scenario or file.
//!
//! # Invariants
//! - Time is private to [`World`] and moves only forward, only while it runs.
//! - Events run in the total order (time, class, source entity, per-source counter), which depends
//!   on names and not on the order in which entities were added.
//! - What happens does not depend on threads: nodes in different shards meet only over links that take
//!   time, and each runs its own events in that order.
//! - Every packet is owned once; it ends delivered, dropped with a reason, or in flight.
//! - Randomness comes from one named stream per entity, seeded by (run seed, kind, name).
#![forbid(unsafe_code)]

mod channel;
mod context;
mod distribution;
mod entity;
mod event;
mod impairment;
mod lane;
mod observer;
mod plan;
mod queue;
mod shard;
mod stream;
mod threads;
mod wakeup;
mod world;

pub use channel::{Channel, ChannelConfig, ChannelId};
pub use context::{Context, Foresight, Node};
pub use distribution::Distribution;
pub use entity::{NodeId, TapId};
pub use event::Tie;
pub use impairment::{GilbertElliott, Impairments, Jitter, JitterLaw, LinkStats, Loss, Reorder};
pub use observer::{Observer, Place, Split};
pub use plan::Threads;
pub use queue::{Ahead, EventQueue};
pub use shard::Shards;
pub use stream::Stream;
pub use wakeup::Wakeup;
pub use world::{Progress, Stuck, World, WorldBuilder};
