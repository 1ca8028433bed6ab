use crate::port::Reservations;
use core::net::Ipv4Addr;
use plsim_types::{Instant, PlsId, Protocol};

/// The state and counters of a (NAT IP, protocol) of the engine's VM.
///
/// With [`PortSpace::PerVmPort`](crate::PortSpace::PerVmPort) it has a port space for each backend port
/// that was ever used: all figures are sums over these, but for [`fullest`](Self::fullest), which tells
/// how near exhaustion is, the instants, which are of whichever was first, and
/// [`held_when_exhausted`](Self::held_when_exhausted).
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
    /// Port spaces of equal size that they are in: 1, but for
    /// [`PortSpace::PerVmPort`](crate::PortSpace::PerVmPort).
    pub spaces: u32,
    /// The fullest of these.
    pub fullest: FullestSpace,
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
    /// Ports or words that the searches for a port looked at, as the allocator's docs say.
    pub probes: u64,
    /// Flows refused because no NAT IP that the selection allows had a port for them, counted on
    /// the NAT IP tried first.
    pub bind_failures: u64,
    /// How many of these were refused although a port was free, because the allocator's algorithm
    /// gave up.
    pub gave_up: u64,
    /// Established TCP and UDP flows that idled out; not those that the load balancer had dropped
    /// before.
    pub expired_idle: u64,
    /// Those of them of which one side had sent FIN.
    pub expired_half_closed: u64,
    /// TCP attempts that were never answered.
    pub expired_half_open: u64,
    /// Idle TCP flows that the load balancer dropped ([`LbTimer`](crate::LbTimer)).
    pub lb_idle: u64,
    /// Held-down ports taken early by [`HeldPorts::ReuseOldest`](crate::HeldPorts::ReuseOldest).
    pub reused_held: u64,
    /// The first instant at which a port space had no free port.
    pub first_exhausted: Option<Instant>,
    /// How many ports of that space were held down at that instant; 0 if there was none.
    pub held_when_exhausted: u32,
    /// The instant at which the first established TCP or UDP flow had idled out.
    pub first_expired: Option<Instant>,
    /// The first instant at which the load balancer dropped an idle flow.
    pub first_lb_idle: Option<Instant>,
    /// The ports in blocks that are somebody's, used or not.
    pub reserved: Reservations,
}

/// The fullest of the port spaces of a (NAT IP, protocol); of one the figures of that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FullestSpace {
    /// The most ports in use or held down that any of them has now.
    pub taken: u32,
    /// The most that any of them had at any instant.
    pub peak: u32,
    /// The backend port of the one that had these, the lowest of equal ones; `None` if spaces are not
    /// per backend port, or none was ever used.
    pub backend_port: Option<u16>,
}

/// How many new flows the limits of a NAT refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LimitRefusals {
    /// By [`NatConfig::flow_limit`](crate::NatConfig::flow_limit).
    pub vm_flow_limit: u64,
    /// By [`PoolConfig::endpoint_port_limit`](crate::PoolConfig::endpoint_port_limit).
    pub endpoint_port_limit: u64,
    /// By [`NatConfig::table_limit`](crate::NatConfig::table_limit).
    pub nat_table_full: u64,
}
