//! Standard Load Balancer decisions: which backend a flow goes to, and that it stays there.
//!
//! What it is: load-balancing rules, the hash over a pool's backends that may be chosen, what
//! moves when that changes, admin states, and the stickiness of flows ([`LoadBalancer`]). It runs
//! at the provider edge and sees packets of the original direction only, before any address
//! translation: replies go straight from the backend to the client's side.
//!
//! Beside it, and apart from it, stands the [`probe::Prober`] of one VM: when a health probe is due, what
//! its TCP connection says, and what the results mean. Who drives both tells the one what the other
//! found.
//!
//! What it is not: address translation, idle resets, packets or clocks.
//!
//! # Invariants
//! - The same seed, configuration and calls give the same decisions on every machine; the order of
//!   rules, pools and members does not show.
//! - New flows never go to a backend that is not in the choice.
//! - A TCP flow that sends again before its idle time is over keeps its backend and backend port,
//!   whatever happens to the pool, the rule or other flows (D-PRB23), until its owner ends it. The
//!   one exception is documented: a pool's only member, when it fails.
//! - A full table refuses new flows and harms no other.
//! - Memory is bounded by [`Stickiness::limit`]; a pool that cannot change costs no memory per flow.
//! - Every error leaves decisions unchanged; only counters move.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod balancer;
mod choice;
mod config;
mod distribution;
mod event;
mod membership;
mod pool;
pub mod probe;
mod rehash;
mod stickiness;
mod usage;

#[cfg(test)]
mod tests;

pub use balancer::{LbError, LoadBalancer, Selection};
pub use config::{
    AdminState, Backend, ConfigError, Distribution, Frontend, FrontendId, HashConfig, HashStrength,
    HashTuple, LbConfig, LbPoolId, Listen, NoHealthyBackends, PoolConfig, ProbeConfig, ProbeId,
    Rule, RuleId, Stickiness,
};
pub use event::LbEvent;
pub use membership::{ChangeError, RuleChange};
pub use rehash::Rehash;
pub use usage::{BackendUsage, CameBy, Cause, MembershipChange, RuleUsage, StickyFlow};
