use crate::answer::AnswerRate;
use crate::error::ConfigError;
use crate::lb_idle::{self, LbTimer};
use crate::port::Allocation;
use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::net::Ipv4Addr;
use core::ops::RangeInclusive;
use plsim_types::PlsId;
use plsim_types::Timers;

/// What one [`NatEngine`](crate::NatEngine) is built from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NatConfig {
    /// The address of the backend VM the engine belongs to.
    pub backend: Ipv4Addr,
    /// Seed of every choice that looks random.
    pub seed: u64,
    /// Most flows at once, held-down ones not counted; `None` is no limit. Azure: 500 000 (D-VMF).
    pub flow_limit: Option<u32>,
    /// Most bindings at once, held-down ones included; `None` is no limit but the table's own,
    /// 2^30 (RFC 6888 REQ-5).
    pub table_limit: Option<u32>,
    /// One pool for each Private Link Service that reaches the VM, at most 255; without any, nothing
    /// is translated.
    pub pools: Vec<PoolConfig>,
    /// Whether [`poll_event`](crate::NatEngine::poll_event) also reports single flows. Then the
    /// owner must drain it; without, it stays within one event per (NAT IP, protocol) by itself, but for
    /// what reservations tell.
    pub events: bool,
}

/// The NAT side of one Private Link Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolConfig {
    /// The service; one pool each.
    pub pls: PlsId,
    /// Its NAT IPs: 1..=8 (PLS-4), no address twice in one engine.
    pub nat_ips: Vec<Ipv4Addr>,
    /// The ports of each NAT IP, for TCP and UDP alike: within 1..=65535, not empty. The default is
    /// [`ALL_PORTS`](Self::ALL_PORTS). Ports below 1024 are of use only to keep the range of a
    /// client's port (RFC 4787 REQ-3a).
    pub ports: RangeInclusive<u16>,
    /// How a free port is picked.
    pub allocator: Allocation,
    /// Which NAT IP a new flow gets.
    pub selection: Selection,
    /// What a NAT port is unique for.
    pub port_space: PortSpace,
    /// Most ports that one private endpoint may have on this VM, of all NAT IPs and both protocols
    /// together, held-down ones included (RFC 6888 REQ-4); `None` is no limit.
    pub endpoint_port_limit: Option<u32>,
    /// What happens when only held-down ports are left.
    pub held_ports: HeldPorts,
    /// What a client hears whose new flow is refused.
    pub on_exhaustion: OnExhaustion,
    /// How often it hears that, if by ICMP.
    pub answer_rate: AnswerRate,
    /// Whether the ends of an idle TCP connection are told.
    pub on_idle: OnIdle,
    /// What becomes of a TCP packet that belongs to no binding and may not create one.
    pub late_packets: LatePackets,
    /// Whether packets of the backend refresh a binding, as those of the client always do
    /// (RFC 4787 REQ-6 leaves it open). A segment that changes a connection's state starts the
    /// timer of the new state, whoever sent it.
    pub reply_refreshes: bool,
    /// The time-outs.
    pub timers: Timers,
    /// The idle timers of the load-balancing rules, at most one for each frontend port. Without one
    /// the load balancer forgets nothing.
    pub lb_timers: Vec<LbTimer>,
}

impl NatConfig {
    /// The most NAT IPs of all services together: 256, as many as 32 full services have.
    pub(crate) const MOST_NAT_IPS: usize = 256;
}

impl PoolConfig {
    /// The usual port range, 1024..=65535: 64 512 ports (D-NGW).
    pub const ALL_PORTS: RangeInclusive<u16> = 1024..=65535;
    /// The most NAT IPs a Private Link Service may have (PLS-4).
    pub const MOST_NAT_IPS: usize = 8;
}

/// What happens when every port of a pool is in use or held down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeldPorts {
    /// The new flow is refused: a held-down port is not free.
    Refuse,
    /// The binding held longest gives its port away early; counted in
    /// [`Usage::reused_held`](crate::Usage::reused_held).
    ReuseOldest,
}

/// Whether the ends of a TCP connection learn that it idled out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnIdle {
    /// RST to both ends (I#94724: bilateral resets by design).
    Reset,
    /// Nobody is told.
    Silent,
}

/// Which NAT IP a new flow gets. Azure does not publish it.
///
/// All but the strict ones try the other NAT IPs, in the order of the list, when the chosen one has
/// no port for the flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Selection {
    /// A keyed hash of the flow.
    Hash,
    /// A keyed hash of the flow; no other NAT IP is tried.
    HashStrict,
    /// One after the other.
    RoundRobin,
    /// The one with the fewest ports in use and held; of equal ones the first.
    LeastUsed,
    /// The first that has a free port, as outbound rules of the load balancer do (D-LBOUT).
    Sequential,
    /// All flows of a (link, client address) get the same NAT IP, a keyed hash of the two
    /// (RFC 4787 REQ-2); another one only when that is full. A NAT IP added later takes its share of
    /// the clients over, for their new flows.
    ClientPaired,
    /// The same, and a flow is refused when it is full (RFC 7857 §4).
    ClientPairedStrict,
}

/// What a NAT port is unique for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PortSpace {
    /// For the VM: one flow for each (NAT IP, protocol, port) (DP-1: "64k" for each NAT IP and VM).
    PerVm,
    /// For the port of the VM that the flow goes to: the same NAT port serves several of them
    /// (RFC 7857 §3; AWS and GCP count per destination).
    PerVmPort,
}

/// What a client hears whose new flow is refused for want of a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnExhaustion {
    /// Nothing: the packet is dropped.
    Drop,
    /// ICMP 3/13, communication administratively prohibited (RFC 5508 REQ-8).
    AdministrativelyProhibited,
    /// ICMP 3/1, host unreachable (RFC 6888 REQ-11).
    HostUnreachable,
}

/// What becomes of a TCP packet that belongs to no binding and may not create one, such as data
/// after the binding has expired.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LatePackets {
    /// It is dropped.
    Drop,
    /// It is dropped and its sender gets an RST (as Azure's and AWS's NAT gateways do, D-NGW).
    Reset,
}

/// Checks everything that [`NatEngine::new`](crate::NatEngine::new) promises.
pub(crate) fn validate(config: &NatConfig) -> Result<(), ConfigError> {
    if config.pools.len() > usize::from(u8::MAX) {
        return Err(ConfigError::PoolCount(config.pools.len()));
    }
    for (name, limit) in [
        ("flow_limit", config.flow_limit),
        ("table_limit", config.table_limit),
    ] {
        if limit == Some(0) {
            return Err(ConfigError::ZeroLimit(name));
        }
    }
    let nat_ips = config.pools.iter().map(|pool| pool.nat_ips.len());
    if nat_ips.sum::<usize>() > NatConfig::MOST_NAT_IPS {
        return Err(ConfigError::TooManyNatIps);
    }
    let mut services = BTreeSet::new();
    let mut addresses = BTreeSet::from([config.backend]);
    for pool in &config.pools {
        if !services.insert(pool.pls) {
            return Err(ConfigError::DuplicatePls(pool.pls));
        }
        if !(1..=PoolConfig::MOST_NAT_IPS).contains(&pool.nat_ips.len()) {
            return Err(ConfigError::NatIpCount(pool.pls, pool.nat_ips.len()));
        }
        if pool.answer_rate.interval.is_zero() {
            return Err(ConfigError::ZeroTimer("answer_rate"));
        }
        if pool.answer_rate.burst == 0 {
            return Err(ConfigError::ZeroLimit("answer_rate"));
        }
        if let Some(twice) = pool.nat_ips.iter().find(|ip| !addresses.insert(**ip)) {
            return Err(ConfigError::DuplicateNatIp(*twice));
        }
        if pool.endpoint_port_limit == Some(0) {
            return Err(ConfigError::ZeroLimit("endpoint_port_limit"));
        }
        if let Allocation::ReservedBlocks { pace, .. } = pool.allocator
            && !(501..=1_000).contains(&pace.grow_at)
        {
            return Err(ConfigError::GrowAt(pool.pls, pace.grow_at));
        }
        if pool.held_ports == HeldPorts::ReuseOldest && !pool.allocator.never_gives_up() {
            return Err(ConfigError::ReuseGivesUp(pool.pls));
        }
        if pool.ports.is_empty() || *pool.ports.start() == 0 {
            return Err(ConfigError::PortRange(
                *pool.ports.start(),
                *pool.ports.end(),
            ));
        }
        if let Some(timer) = pool.timers.zero() {
            return Err(ConfigError::ZeroTimer(timer));
        }
        lb_idle::check(pool.pls, &pool.lb_timers)?;
    }
    Ok(())
}
