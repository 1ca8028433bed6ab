//! Standard Load Balancer decisions: which backend a flow goes to, and that it stays there.
//!
//! What it is: load-balancing rules, the hash over a pool's backends that are up, and the
//! stickiness of TCP flows ([`LoadBalancer`]). It runs at the provider edge and sees packets of
//! the original direction only, before any address translation: replies go straight from the
//! backend to the client's side.
//!
//! What it is not: address translation, probes (somebody else says which backend is up), idle
//! resets, packets or clocks.
//!
//! # Invariants
//! - The same seed, configuration and calls give the same decisions on every machine.
//! - New flows never go to a backend that is down.
//! - A TCP flow that sends again before its idle time is over keeps its backend, whatever happens
//!   to the pool or to other flows (D-PRB23).
//! - A full table refuses new flows and harms no other.
//! - Memory is bounded by [`Stickiness::limit`]; a pool that cannot change costs no memory per flow.
//! - Every error leaves decisions unchanged; only counters move.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod balancer;
mod config;
mod event;
mod pool;
mod stickiness;
mod usage;

#[cfg(test)]
mod tests;

pub use balancer::{BackendError, LbError, LoadBalancer, Selection};
pub use config::{ConfigError, FrontendId, LbConfig, LbPoolId, PoolConfig, Rule, Stickiness};
pub use event::LbEvent;
pub use usage::{BackendUsage, RuleUsage};
