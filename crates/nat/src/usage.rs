use core::net::Ipv4Addr;
use plsim_types::{Instant, PlsId, Protocol};

/// The state and counters of one port space: a (NAT IP, protocol) of the engine's VM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// The service.
    pub pls: PlsId,
    /// The NAT IP.
    pub nat_ip: Ipv4Addr,
    /// The protocol.
    pub protocol: Protocol,
    /// Ports there are.
    pub capacity: u32,
    /// Ports of live flows.
    pub in_use: u32,
    /// Ports held down. Free ports are `capacity - in_use - held`.
    pub held: u32,
    /// The maximum of `in_use + held` so far.
    pub peak: u32,
    /// When that maximum was reached first; `None` before the first flow.
    pub peak_at: Option<Instant>,
    /// Ports given to new flows.
    pub binds: u64,
    /// Flows refused because the whole pool was exhausted, counted on the NAT IP tried first.
    pub bind_failures: u64,
    /// Established TCP and UDP flows that idled out.
    pub expired_idle: u64,
    /// TCP attempts that were never answered.
    pub expired_half_open: u64,
    /// Held-down ports taken early by [`HeldPorts::ReuseOldest`](crate::HeldPorts::ReuseOldest).
    pub reused_held: u64,
    /// The first instant with no free port.
    pub first_exhausted: Option<Instant>,
    /// How many of the ports were held down at that instant; 0 if there was none.
    pub held_when_exhausted: u32,
    /// The instant at which the first established TCP or UDP flow had idled out.
    pub first_expired: Option<Instant>,
}
