use crate::config::{HeldPorts, OnIdle, PoolConfig};
use crate::port::{Allocation, PortAllocator, Ports};
use crate::reverse::PortMap;
use crate::timers::Timers;
use crate::usage::Usage;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::net::Ipv4Addr;
use core::ops::RangeInclusive;
use plsim_types::{Instant, KeyedHash, PlsId, Protocol};

/// The NAT side of one service.
#[derive(Debug, Clone)]
pub(crate) struct Pool {
    pub(crate) pls: PlsId,
    /// Positions of its NAT IPs in the engine, in the order they were added.
    pub(crate) nat_ips: Vec<u16>,
    pub(crate) ports: RangeInclusive<u16>,
    pub(crate) allocator: Allocation,
    pub(crate) held_ports: HeldPorts,
    pub(crate) on_idle: OnIdle,
    pub(crate) timers: Timers,
}

/// One NAT IP with its port spaces, which are created on first use.
#[derive(Debug, Clone)]
pub(crate) struct NatIp {
    pub(crate) address: Ipv4Addr,
    pub(crate) spaces: [Option<Box<Space>>; 2],
}

/// The ports of one (NAT IP, protocol).
#[derive(Debug, Clone)]
pub(crate) struct Space {
    pub(crate) ports: Ports,
    pub(crate) owners: PortMap,
    pub(crate) capacity: u32,
    pub(crate) in_use: u32,
    pub(crate) held: u32,
    pub(crate) peak: u32,
    pub(crate) binds: u64,
    pub(crate) bind_failures: u64,
    pub(crate) expired_idle: u64,
    pub(crate) expired_half_open: u64,
    pub(crate) reused_held: u64,
    pub(crate) first_exhausted: Option<Instant>,
    pub(crate) first_expired: Option<Instant>,
    pub(crate) peak_at: Option<Instant>,
    pub(crate) held_when_exhausted: u32,
    /// Exhaustion was told and enough ports were not free again since.
    pub(crate) exhaustion_told: bool,
    /// An `Exhausted` event waits to be polled.
    pub(crate) exhaustion_queued: bool,
    /// Ends of the list of held bindings, `NIL` if empty; kept only to reuse the oldest.
    pub(crate) oldest_held: u32,
    pub(crate) newest_held: u32,
}

/// No position.
pub(crate) const NIL: u32 = u32::MAX;

impl Pool {
    pub(crate) fn new(config: &PoolConfig) -> Self {
        Self {
            pls: config.pls,
            nat_ips: Vec::new(),
            ports: config.ports.clone(),
            allocator: config.allocator,
            held_ports: config.held_ports,
            on_idle: config.on_idle,
            timers: config.timers,
        }
    }
}

impl NatIp {
    pub(crate) const fn new(address: Ipv4Addr) -> Self {
        Self {
            address,
            spaces: [None, None],
        }
    }

    pub(crate) fn space_or_new(
        &mut self,
        protocol: Protocol,
        pool: &Pool,
        key: KeyedHash,
    ) -> &mut Space {
        let number = u64::from(protocol.number());
        self.spaces[protocol.index()].get_or_insert_with(|| {
            let key = KeyedHash::new(key.pair(self.address.to_bits().into(), number), "space");
            Box::new(Space::new(pool, key))
        })
    }

    #[inline]
    pub(crate) fn space(&mut self, protocol: Protocol) -> &mut Space {
        self.spaces[protocol.index()]
            .as_mut()
            .expect("broken invariant: a binding without its port space")
    }

    pub(crate) fn usage(&self, protocol: Protocol, pool: &Pool) -> Usage {
        let space = self.spaces[protocol.index()].as_deref();
        Usage {
            pls: pool.pls,
            nat_ip: self.address,
            protocol,
            capacity: pool.ports.len() as u32,
            in_use: space.map_or(0, |space| space.in_use),
            held: space.map_or(0, |space| space.held),
            peak: space.map_or(0, |space| space.peak),
            binds: space.map_or(0, |space| space.binds),
            bind_failures: space.map_or(0, |space| space.bind_failures),
            expired_idle: space.map_or(0, |space| space.expired_idle),
            expired_half_open: space.map_or(0, |space| space.expired_half_open),
            reused_held: space.map_or(0, |space| space.reused_held),
            first_exhausted: space.and_then(|space| space.first_exhausted),
            first_expired: space.and_then(|space| space.first_expired),
            peak_at: space.and_then(|space| space.peak_at),
            held_when_exhausted: space.map_or(0, |space| space.held_when_exhausted),
        }
    }
}

impl Space {
    fn new(pool: &Pool, key: KeyedHash) -> Self {
        Self {
            ports: Ports::new(pool.allocator, pool.ports.clone(), key),
            owners: PortMap::new(&pool.ports),
            capacity: pool.ports.len() as u32,
            in_use: 0,
            held: 0,
            peak: 0,
            binds: 0,
            bind_failures: 0,
            expired_idle: 0,
            expired_half_open: 0,
            reused_held: 0,
            first_exhausted: None,
            first_expired: None,
            peak_at: None,
            held_when_exhausted: 0,
            exhaustion_told: false,
            exhaustion_queued: false,
            oldest_held: NIL,
            newest_held: NIL,
        }
    }

    /// Counts a port that was just allocated; returns whether exhaustion is to be told.
    pub(crate) fn bound(&mut self, now: Instant) -> bool {
        self.binds += 1;
        self.in_use += 1;
        if self.in_use + self.held > self.peak {
            self.peak = self.in_use + self.held;
            self.peak_at = Some(now);
        }
        if self.ports.free() > 0 {
            return false;
        }
        if self.first_exhausted.is_none() {
            self.first_exhausted = Some(now);
            self.held_when_exhausted = self.held;
        }
        !core::mem::replace(&mut self.exhaustion_told, true)
            && !core::mem::replace(&mut self.exhaustion_queued, true)
    }

    /// Gives a port back that is no longer counted.
    pub(crate) fn released(&mut self, port: u16, link: u32) {
        self.ports.release(port, link);
        if self.ports.free() >= (self.capacity / 8).max(1) {
            self.exhaustion_told = false;
        }
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        size_of::<Self>() + self.ports.memory_bytes() + self.owners.memory_bytes()
    }
}
