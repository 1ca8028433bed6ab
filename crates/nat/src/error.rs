use core::fmt;
use core::net::Ipv4Addr;
use plsim_types::{DropReason, PlsId};

/// Why a packet cannot be translated. It changes no binding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NatError {
    /// No port of the pool is free for the protocol.
    PortsExhausted,
    /// The private endpoint has as many ports on this VM as it may have (RFC 6888 REQ-4).
    EndpointPortLimit,
    /// The VM has as many flows as it may have (D-VMF).
    VmFlowLimit,
    /// The NAT has as many bindings as it may have (RFC 6888 REQ-5).
    NatTableFull,
    /// No binding, and the packet may not create one: only a bare SYN or a datagram may, and only
    /// for a service that has a pool here.
    NoFlow,
    /// The reply comes from another address or port than the one that was contacted.
    Filtered,
    /// The load balancer has dropped the flow because it was idle.
    LbIdle,
}

impl NatError {
    /// Tells whether a new flow was refused for want of a port or because of a limit.
    #[must_use]
    pub const fn is_refusal(self) -> bool {
        match self {
            Self::PortsExhausted
            | Self::EndpointPortLimit
            | Self::VmFlowLimit
            | Self::NatTableFull => true,
            Self::NoFlow | Self::Filtered | Self::LbIdle => false,
        }
    }
}

impl From<NatError> for DropReason {
    fn from(error: NatError) -> Self {
        match error {
            NatError::PortsExhausted => Self::NatPortsExhausted,
            NatError::EndpointPortLimit => Self::EndpointPortLimit,
            NatError::VmFlowLimit => Self::VmFlowLimit,
            NatError::NatTableFull => Self::NatTableFull,
            NatError::NoFlow => Self::NoFlow,
            NatError::Filtered => Self::Filtered,
            NatError::LbIdle => Self::LbIdle,
        }
    }
}

impl fmt::Display for NatError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PortsExhausted => "no NAT port is free",
            Self::EndpointPortLimit => "the private endpoint has as many ports as it may have",
            Self::VmFlowLimit => "the VM has as many flows as it may have",
            Self::NatTableFull => "the NAT has as many bindings as it may have",
            Self::NoFlow => "no binding, and the packet may not create one",
            Self::Filtered => "the reply does not come from where the flow goes",
            Self::LbIdle => "the load balancer has dropped the idle flow",
        })
    }
}

impl core::error::Error for NatError {}

/// Why a configuration is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConfigError {
    /// There are more than 255 pools.
    PoolCount(usize),
    /// Two pools are of the same service.
    DuplicatePls(PlsId),
    /// There is no pool of that service.
    UnknownPls(PlsId),
    /// The service has 0 NAT IPs or more than 8 (PLS-4).
    NatIpCount(PlsId, usize),
    /// There are more than 256 NAT IPs.
    TooManyNatIps,
    /// The address is given twice, or is the backend's own.
    DuplicateNatIp(Ipv4Addr),
    /// The port range is empty or starts at 0.
    PortRange(u16, u16),
    /// The pool shall reuse held-down ports, but its allocator may give up while a port is free.
    ReuseGivesUp(PlsId),
    /// The share of ports in use at which a reservation grows is not within 501..=1000 thousandths.
    GrowAt(PlsId, u16),
    /// Two timers of load-balancing rules are for the same port of the service.
    DuplicateLbTimer(PlsId),
    /// The named time-out is zero.
    ZeroTimer(&'static str),
    /// The named limit is zero.
    ZeroLimit(&'static str),
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PoolCount(count) => write!(f, "{count} pools; at most 255 are possible"),
            Self::DuplicatePls(pls) => write!(f, "service {} has two pools", pls.0),
            Self::UnknownPls(pls) => write!(f, "service {} has no pool", pls.0),
            Self::NatIpCount(pls, count) => {
                write!(
                    f,
                    "service {} has {count} NAT IPs; 1 to 8 are possible",
                    pls.0
                )
            }
            Self::TooManyNatIps => f.write_str("more than 256 NAT IPs on one backend VM"),
            Self::DuplicateNatIp(address) => {
                write!(f, "{address} is given twice or is the backend's own")
            }
            Self::PortRange(first, last) => {
                write!(f, "port range {first}-{last} is empty or starts at 0")
            }
            Self::ReuseGivesUp(pls) => write!(
                f,
                "service {} reuses held-down ports, but its allocator may give up",
                pls.0
            ),
            Self::GrowAt(pls, share) => write!(
                f,
                "service {} would grow reservations at {share} thousandths; 501 to 1000 are possible",
                pls.0
            ),
            Self::DuplicateLbTimer(pls) => {
                write!(f, "service {} has two rule timers for one port", pls.0)
            }
            Self::ZeroTimer(name) => write!(f, "timer {name} is zero"),
            Self::ZeroLimit(name) => write!(f, "{name} is zero"),
        }
    }
}

impl core::error::Error for ConfigError {}
