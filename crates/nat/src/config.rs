use crate::error::ConfigError;
use crate::timers::Timers;
use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::net::Ipv4Addr;
use core::ops::RangeInclusive;
use plsim_types::PlsId;

/// What one [`NatEngine`](crate::NatEngine) is built from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NatConfig {
    /// The address of the backend VM the engine belongs to.
    pub backend: Ipv4Addr,
    /// Seed of every choice that looks random.
    pub seed: u64,
    /// Most flows at once, held-down ones not counted; `None` is no limit. Azure: 500 000 (D-VMF).
    pub flow_limit: Option<u32>,
    /// One pool for each Private Link Service that reaches the VM, at most 255; without any, nothing
    /// is translated.
    pub pools: Vec<PoolConfig>,
    /// Whether [`poll_event`](crate::NatEngine::poll_event) also reports single flows. Then the
    /// owner must drain it; without, it stays within one event per port space by itself.
    pub events: bool,
}

/// The NAT side of one Private Link Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolConfig {
    /// The service; one pool each.
    pub pls: PlsId,
    /// Its NAT IPs: 1..=8 (PLS-4), no address twice in one engine.
    pub nat_ips: Vec<Ipv4Addr>,
    /// The ports of each NAT IP, for TCP and UDP alike: within 1024..=65535, not empty.
    /// The default is all of them, 64 512 (D-NGW).
    pub ports: RangeInclusive<u16>,
    /// How a free port is picked.
    pub allocator: Allocation,
    /// What happens when only held-down ports are left.
    pub held_ports: HeldPorts,
    /// Whether the ends of an idle TCP connection are told.
    pub on_idle: OnIdle,
    /// The time-outs.
    pub timers: Timers,
}

impl PoolConfig {
    /// The usual port range, 1024..=65535: 64 512 ports (D-NGW).
    pub const ALL_PORTS: RangeInclusive<u16> = 1024..=65535;
    /// The most NAT IPs a Private Link Service may have (PLS-4).
    pub const MOST_NAT_IPS: usize = 8;

    /// Builds a pool with what Azure does by default.
    #[must_use]
    pub const fn azure(pls: PlsId, nat_ips: Vec<Ipv4Addr>) -> Self {
        Self {
            pls,
            nat_ips,
            ports: Self::ALL_PORTS,
            allocator: Allocation::Bitmap,
            held_ports: HeldPorts::Refuse,
            on_idle: OnIdle::Reset,
            timers: Timers::azure(),
        }
    }
}

/// How a free port is picked; neither fails while a port is free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Allocation {
    /// The next free port from a random start: [`BitmapPorts`](crate::BitmapPorts).
    Bitmap,
    /// The port that has been free the longest: [`FifoPorts`](crate::FifoPorts).
    Fifo,
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

/// Checks everything that [`NatEngine::new`](crate::NatEngine::new) promises.
pub(crate) fn validate(config: &NatConfig) -> Result<(), ConfigError> {
    if config.pools.len() > usize::from(u8::MAX) {
        return Err(ConfigError::PoolCount(config.pools.len()));
    }
    if config.flow_limit == Some(0) {
        return Err(ConfigError::ZeroFlowLimit);
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
        if let Some(twice) = pool.nat_ips.iter().find(|ip| !addresses.insert(**ip)) {
            return Err(ConfigError::DuplicateNatIp(*twice));
        }
        if pool.ports.is_empty() || *pool.ports.start() < 1024 {
            return Err(ConfigError::PortRange(
                *pool.ports.start(),
                *pool.ports.end(),
            ));
        }
        if let Some(timer) = pool.timers.zero() {
            return Err(ConfigError::ZeroTimer(timer));
        }
    }
    Ok(())
}
