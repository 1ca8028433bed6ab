//! The Private Link Service NAT engine of one backend VM.
//!
//! What it is: a pure state machine. A [`NatEngine`] decides, for one packet at one instant, which
//! binding it belongs to or may create, and how its addresses and ports change: the consumer's
//! client becomes a NAT IP and port, the private endpoint becomes the backend. It owns the port
//! spaces of its VM (PLS-4: ports count per NAT IP *per VM*), follows TCP connections, expires idle
//! ones and says which RSTs that causes.
//!
//! Beside it stand the flows of clients that dial a load balancer's frontend themselves
//! ([`FrontendFlows`]): they need no NAT, but the same eyes on both directions.
//!
//! What it is not: it holds no packet, rewrites no byte, chooses no backend, sends nothing and has
//! no clock: `now` is an argument, and what looks random is a keyed hash of the seed.
//!
//! The driving loop: feed packets with [`NatEngine::original`] and [`NatEngine::reply`]; call
//! [`NatEngine::handle_timeout`] when [`NatEngine::poll_timeout`] is reached; after any of these,
//! drain [`NatEngine::poll_reset`] and [`NatEngine::poll_event`].
//!
//! # Invariants
//! - A live flow has exactly one binding, and within (protocol, NAT IP) a port has at most one,
//!   whatever the backend port, unless the pool says [`PortSpace::PerVmPort`].
//! - The reply direction is the exact inverse of the original one, and only the backend's own
//!   address and the port that was contacted may use it.
//! - An allocation fails if and only if no port is free where the pool's selection may look, but for
//!   the algorithms that [give up](Allocation::never_gives_up) by design; a held-down port is not
//!   free.
//! - A binding lives until its deadline minus one nanosecond and is gone at the deadline, in both
//!   directions, whether or not `handle_timeout` has run. So it is with the load balancer's own timer,
//!   after which the flow's packets are dropped but the port stays bound ([`LbTimer`]).
//! - Binding one flow never harms another live one.
//! - A call that returns an error changes nothing but counters. With [`LatePackets::Reset`] it may
//!   queue an RST.
//! - After `handle_timeout(now)` the next deadline lies after `now`; early calls are harmless.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod answer;
mod batch;
mod bind;
mod binding;
mod config;
mod engine;
mod error;
mod event;
mod expiry;
mod frontend;
mod late;
mod lb_idle;
mod packet;
mod pool;
mod port;
mod preset;
mod reservation;
mod reset;
mod reverse;
mod select;
mod side;
mod space;
mod splice;
mod tcp;
mod track;
mod usage;

pub use answer::{AnswerRate, Answers};
pub use binding::{BindingInfo, State};
pub use config::{
    HeldPorts, LatePackets, NatConfig, OnExhaustion, OnIdle, PoolConfig, PortSpace, Selection,
};
pub use engine::NatEngine;
pub use error::{ConfigError, NatError};
pub use event::{Expiry, NatEvent, Release, Reset, Sender};
pub use frontend::{FrontendConfig, FrontendFlows, FrontendPacket, FrontendTimer, FrontendUsage};
pub use lb_idle::{LbIdleAction, LbTimer};
pub use packet::{Original, Reply, Translation};
pub use plsim_types::{NatPreset, Timers};
pub use port::{
    Allocated, Allocation, BitmapPorts, BlockPorts, DeterministicBlocks, FifoPorts, LifoPorts,
    LinuxPorts, NoPort, Pace, PortAllocator, PortRequest, Ports, PreservePorts, Reservations,
    Rfc6056Ports, SequentialPorts, ShareChange, UniformPorts,
};
pub use splice::{Inward, Outward, Splice};
pub use usage::{FullestSpace, LimitRefusals, Usage};
