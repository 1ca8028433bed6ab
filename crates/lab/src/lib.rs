//! The laboratory: what each way of allocating NAT ports costs and is worth.
//!
//! What it is: a [`Laboratory`] lists [`Case`]s, each one allocator under one workload at one
//! occupancy. A case builds port spaces with a realistic history and measures them; a
//! [`Measurement`] keeps what a seed determines ([`Exact`]) apart from what the clock said
//! ([`Timing`]); [`Results`] writes all of it as JSON, CSV and SVG.
//!
//! What it is not: it reads no clock (whoever measures hands one in), opens no file, prints
//! nothing, and translates no packet: what is measured is the allocator's share of a NAT.
//!
//! # Invariants
//! - The same case and seed give the same [`Exact`], on every machine, with every clock.
//! - Work is bounded by counts of operations, never by time.
//! - At the moment of an allocation exactly as many ports are in use as the occupancy says, as long
//!   as the allocator gives that many.
#![forbid(unsafe_code)]

mod case;
mod exact;
mod nat;
mod occupancy;
mod plot;
mod prediction;
mod results;
mod reuse;
mod space;
mod timing;
mod workload;

pub use case::{Case, Effort, Laboratory, Measurement};
pub use exact::Exact;
pub use occupancy::Occupancy;
pub use plsim_nat::Allocation;
pub use prediction::{Guesser, Prediction, Verdict};
pub use results::{Results, SCHEMA};
pub use reuse::ReuseDistance;
pub use space::Attempts;
pub use timing::{Arena, Pass, Spread, Timing};
pub use workload::Workload;
