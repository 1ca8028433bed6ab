//! Client and server VMs: light and full TCP endpoints, UDP ones, and the workloads that start there.
//!
//! What it is: two nodes. [`ClientVms`] holds all VMs of one group and starts connections on them
//! as their [`WorkloadConfig`]s say; [`ServerVm`] is one backend VM that answers. The light ends run
//! the same TCP state machine: handshake, request, response, keepalive, FIN and RST, retransmission
//! with back-off and go-back-N, the peer's window, resets checked as RFC 5961 asks.
//!
//! What it is not: where it is light, a full TCP. There is no reassembly queue (a segment after a hole is dropped
//! and sent again), no SACK, the round trip is measured once for each flight that follows a rest, and there
//! is no congestion control beyond slow start inside a fixed window; two ends never open one connection at the same time (RFC 9293 §3.5, figure 7).
//! That serves churn, port use and idle timeouts, not throughput under loss. For that, clients or servers
//! can have smoltcp instead ([`FullStack`]); applications do not notice which of the two is below.
//!
//! The application protocol, over TCP and UDP alike: a request begins with its own length and the
//! length of the wanted response, both u32 in network byte order; one that wants more than a response
//! at once says so in 8 bytes more. Over UDP the head also has an ID, which each datagram of the response
//! repeats. Everything else is zeros. The server answers once it has the whole
//! request. Its [`Application`] says whether a PROXY protocol header may stand before it. Health
//! probes are understood, too: a GET request, and TLS records of which only the sizes matter.
//!
//! At the client an application drives connections by its [`Model`]: it asks them for things and hears
//! what became of it, and does not know whether TCP or UDP is below.
//!
//! # Invariants
//! - `attempted = connecting + established + closed + reset + idle_expired + timed_out + failed`,
//!   after every event ([`WorkloadStats::accounted`]).
//! - A port of a client VM belongs to at most one connection; it is free again only when that
//!   connection is gone, TIME_WAIT included.
//! - `requests = responses + awaiting + lost` ([`WorkloadStats::requests_accounted`]), and operations
//!   and borrows add up as well.
//! - A light connection of an open loop needs its slot and a place to be found by, 128 bytes for both ends
//!   together: no buffer, no list, one pending timer.
//! - Every received packet ends delivered or dropped with a reason; every sent one is injected.
//! - Two mismatched ends cannot answer each other for ever.
#![forbid(unsafe_code)]

mod agenda;
mod alarm;
mod application;
mod backoff;
mod client;
mod client_full;
mod client_tcp;
mod client_udp;
mod config;
mod connection;
mod curve;
mod destination;
mod due;
mod full;
mod histogram;
mod parameters;
mod ports;
mod probe;
mod request;
mod request_id;
mod requests;
mod schedule;
mod segment;
mod server;
mod side_table;
mod slots;
mod stats;
mod tcp;
mod workload;

pub use application::Application;
pub use client::ClientVms;
pub use config::{
    Arrival, ClientVmsConfig, Close, Rate, ServerVmConfig, Subject, TcpSession, UdpSession,
    WorkloadConfig, WorkloadKind,
};
pub use curve::Curve;
pub use destination::{DestinationStats, Destinations};
pub use full::FullStack;
pub use histogram::Histogram;
pub use parameters::{TcpKeepalive, TcpParameters};
pub use plsim_sim::Distribution;
pub use ports::EphemeralPorts;
pub use server::{Admission, Behaviour, Flapping, ServerVm, VmState};
pub use stats::{FailedBy, Overflow, RequestFailedBy, ServerStats, SynCookies, WorkloadStats};
pub use workload::{
    ClosedLoopConfig, Jitter, Keeping, LostBy, Model, NoticeClose, OnConnectFailure,
    OperationStats, OperationsFailedBy, Order, PoolConfig, PoolStats, Retry, StreamStats,
    Validation,
};
