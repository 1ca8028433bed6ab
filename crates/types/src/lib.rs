//! The words every plsim crate uses.
//!
//! What it is: virtual time ([`Instant`], [`Duration`]), addresses and flows ([`Prefix`],
//! [`FiveTuple`], [`Direction`], [`Protocol`]), TCP header facts ([`TcpSegment`]), ids, the
//! time-outs of a NAT ([`Timers`], [`NatPreset`]), the one list of [`DropReason`]s, the keyed hash
//! that replaces randomness inside the engines, and the [`canary`] that proves the checkers.
//!
//! What it is not: packets (`plsim-packet`), tables (`plsim-table`) or any decision.
//!
//! # Invariants
//! - No dependency, no clock, no allocation: everything here is a small `Copy` value.
//! - Every word has one meaning in every crate.
#![no_std]
#![forbid(unsafe_code)]

mod address;
pub mod canary;
mod drop_reason;
mod hash;
mod ids;
mod preset;
mod prime;
mod tcp;
mod time;
mod timers;

pub use address::{Direction, FiveTuple, Prefix, PrefixError, Protocol};
pub use drop_reason::DropReason;
pub use hash::KeyedHash;
pub use ids::{BackendId, LinkId, PlsId};
pub use preset::NatPreset;
pub use prime::is_prime;
pub use tcp::{TcpFlags, TcpSegment};
pub use time::{Duration, Instant};
pub use timers::Timers;
