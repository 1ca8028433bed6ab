//! Tables for flows and timers, and maps whose order nobody can see.
//!
//! What it is: [`FixedMap`] and [`FixedSet`] (hash maps with a fixed seed and no iteration),
//! [`FlowTable`] (open addressing over a [`Slab`], for millions of flows) and [`TimerWheel`] (exact,
//! lazily rescheduled timers).
//!
//! Large tables live in huge pages and can be asked to fetch ahead of time; the module `memory`
//! is the only unsafe code of the workspace.
//!
//! What it is not: policy. No table here knows what a flow, a port or a time-out means.
//!
//! # Invariants
//! - No table can be iterated in hash order: the same calls give the same answers everywhere.
//! - Slab positions depend only on the sequence of insertions and removals.
//! - A [`TimerWheel`] hands out an item never before its deadline, in the order of
//!   (deadline, position), and its next wake-up always lies after the last call's time.
#![no_std]
#![deny(unsafe_code)]

extern crate alloc;

mod chunks;
mod flow_table;
mod hasher;
mod index;
mod map;
mod memory;
mod set;
mod slab;
mod wheel;

pub use flow_table::FlowTable;
pub use hasher::FixedHasher;
pub use map::FixedMap;
pub use memory::prefetch;
pub use set::FixedSet;
pub use slab::Slab;
pub use wheel::{TimerOwner, TimerWheel};
