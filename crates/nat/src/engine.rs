use crate::binding::{Binding, BindingInfo, FlowKey, State};
use crate::config::{NatConfig, PoolConfig, validate};
use crate::error::{ConfigError, NatError};
use crate::event::{NatEvent, Reset};
use crate::packet::{Original, Reply, Translation};
use crate::pool::{NatIp, Pool};
use crate::reverse::PagePool;
use crate::usage::Usage;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::net::{Ipv4Addr, SocketAddrV4};
use plsim_table::{FixedMap, FlowTable, TimerWheel};
use plsim_types::{Direction, Instant, KeyedHash, LinkId, PlsId, Protocol};

/// The NAT of one backend VM.
///
/// # Examples
/// ```
/// use plsim_nat::{NatConfig, NatEngine, Original, PoolConfig};
/// use plsim_types::{Instant, LinkId, PlsId, Protocol};
///
/// let pls = PlsId(0);
/// let mut nat = NatEngine::new(NatConfig {
///     backend: "10.2.0.4".parse()?,
///     seed: 1,
///     flow_limit: Some(500_000),
///     table_limit: None,
///     pools: vec![PoolConfig::azure(pls, vec!["10.2.1.5".parse()?])],
///     events: false,
/// })?;
/// let datagram = Original {
///     pls,
///     link: LinkId(7),
///     client: "10.1.0.4:49152".parse()?,
///     endpoint: "10.1.0.10:53".parse()?,
///     backend_port: 5353,
///     protocol: Protocol::Udp,
///     segment: None,
/// };
/// let translation = nat.original(&datagram, Instant::ZERO)?;
/// assert_eq!(translation.source.ip().to_string(), "10.2.1.5");
/// assert_eq!(translation.destination.to_string(), "10.2.0.4:5353");
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct NatEngine {
    pub(crate) backend: Ipv4Addr,
    /// Hashes the key of a flow.
    pub(crate) key: KeyedHash,
    /// Picks the NAT IP tried first.
    pub(crate) select: KeyedHash,
    /// Picks where the search for a port starts.
    pub(crate) start: KeyedHash,
    pub(crate) flow_limit: u32,
    pub(crate) report: bool,
    pub(crate) pools: Vec<Pool>,
    pub(crate) nat_ips: Vec<NatIp>,
    by_address: FixedMap<Ipv4Addr, u16>,
    pub(crate) flows: FlowTable<Binding>,
    pub(crate) pages: PagePool,
    pub(crate) wheel: TimerWheel,
    /// The wheel's next wake-up.
    pub(crate) wake: Option<Instant>,
    /// Tag of the wheel item inserted last.
    pub(crate) tag: u32,
    /// Bindings that are not held down.
    pub(crate) active: u32,
    /// The most of them at any instant.
    pub(crate) peak_active: u32,
    pub(crate) flow_limit_refusals: u64,
    pub(crate) events: VecDeque<NatEvent>,
    pub(crate) resets: VecDeque<Reset>,
}

impl NatEngine {
    /// Builds an engine without any flow. Port spaces take memory on first use.
    ///
    /// # Errors
    /// [`ConfigError`], if a count or range of the configuration is not what its fields promise, a
    /// service or address is there twice, or a time-out is zero.
    pub fn new(config: NatConfig) -> Result<Self, ConfigError> {
        validate(&config)?;
        let hash = KeyedHash::new(config.seed, "nat");
        let mut engine = Self {
            backend: config.backend,
            key: hash.derive("key"),
            select: hash.derive("nat-ip"),
            start: hash.derive("port"),
            flow_limit: config.flow_limit.unwrap_or(u32::MAX),
            report: config.events,
            pools: Vec::with_capacity(config.pools.len()),
            nat_ips: Vec::new(),
            by_address: FixedMap::new(),
            flows: FlowTable::new(),
            pages: PagePool::default(),
            wheel: TimerWheel::new(),
            wake: None,
            tag: 0,
            active: 0,
            peak_active: 0,
            flow_limit_refusals: 0,
            events: VecDeque::new(),
            resets: VecDeque::new(),
        };
        for (index, pool) in config.pools.into_iter().enumerate() {
            engine.pools.push(Pool::new(&pool));
            for address in pool.nat_ips {
                engine.append_nat_ip(index as u8, address);
            }
        }
        Ok(engine)
    }

    /// Translates a packet of the consumer; a bare SYN or a datagram may create its binding.
    ///
    /// # Errors
    /// [`NatError::NoFlow`], [`NatError::VmFlowLimit`] (also for a SYN that would re-open a
    /// held-down binding) or [`NatError::PortsExhausted`]; only counters change.
    pub fn original(&mut self, packet: &Original, now: Instant) -> Result<Translation, NatError> {
        self.catch_up(now);
        let pool = self.pool_of(packet.pls).ok_or(NatError::NoFlow)?;
        let key = FlowKey {
            link: packet.link,
            client: packet.client,
            endpoint: packet.endpoint,
            backend_port: packet.backend_port,
            pool,
            protocol: packet.protocol,
        };
        let hash = key.hash(self.key);
        let found = self.flows.find(hash, |binding| binding.matches(&key));
        let (position, known) = match found {
            Some(position) => (position, true),
            None => (self.bind(&key, hash, packet.segment.as_ref(), now)?, false),
        };
        let binding = self.flows.entry(position);
        let translation = Translation {
            pls: packet.pls,
            link: packet.link,
            source: self.nat_address(binding),
            destination: SocketAddrV4::new(self.backend, binding.backend_port),
        };
        if known {
            self.track(position, Direction::Original, packet.segment.as_ref(), now)?;
        }
        Ok(translation)
    }

    /// Translates a packet of the backend VM; it never creates a binding.
    ///
    /// # Errors
    /// [`NatError::NoFlow`] if nobody owns the NAT IP and port, [`NatError::Filtered`] if the
    /// packet does not come from the backend's address and the port that was contacted
    /// (RFC 4787 §5, address-and-port-dependent filtering). Nothing changes.
    pub fn reply(&mut self, packet: &Reply, now: Instant) -> Result<Translation, NatError> {
        self.catch_up(now);
        let position = self
            .owner(packet.destination, packet.protocol)
            .ok_or(NatError::NoFlow)?;
        let binding = self.flows.entry(position);
        if packet.source != SocketAddrV4::new(self.backend, binding.backend_port) {
            return Err(NatError::Filtered);
        }
        let translation = Translation {
            pls: self.pools[usize::from(binding.pool)].pls,
            link: LinkId(binding.link),
            source: binding.endpoint(),
            destination: binding.client(),
        };
        self.track(position, Direction::Reply, packet.segment.as_ref(), now)?;
        Ok(translation)
    }

    /// Adds a NAT IP to a service; new flows may use it from now on.
    ///
    /// # Errors
    /// [`ConfigError::UnknownPls`], [`ConfigError::NatIpCount`] if it would be the ninth,
    /// [`ConfigError::DuplicateNatIp`]; nothing changes.
    pub fn add_nat_ip(&mut self, pls: PlsId, address: Ipv4Addr) -> Result<(), ConfigError> {
        let pool = self.pool_of(pls).ok_or(ConfigError::UnknownPls(pls))?;
        let count = self.pools[usize::from(pool)].nat_ips.len() + 1;
        if count > PoolConfig::MOST_NAT_IPS {
            return Err(ConfigError::NatIpCount(pls, count));
        }
        if address == self.backend || self.by_address.contains(&address) {
            return Err(ConfigError::DuplicateNatIp(address));
        }
        self.append_nat_ip(pool, address);
        Ok(())
    }

    /// Returns the next event; see [`NatConfig::events`] for which there are.
    pub fn poll_event(&mut self) -> Option<NatEvent> {
        let event = self.events.pop_front();
        if let Some(NatEvent::Exhausted {
            nat_ip, protocol, ..
        }) = event
            && let Some(&nat_ip) = self.by_address.get(&nat_ip)
        {
            let space = self.nat_ips[usize::from(nat_ip)].space(protocol);
            space.exhaustion_queued = false;
        }
        event
    }

    /// Returns the next RST to send. The owner drains them after every call that takes `now`.
    pub fn poll_reset(&mut self) -> Option<Reset> {
        self.resets.pop_front()
    }

    /// Returns the state of every port space: by service, then NAT IP, both in the order they were
    /// configured or added, then TCP before UDP.
    pub fn usage(&self) -> impl Iterator<Item = Usage> {
        self.pools.iter().flat_map(move |pool| {
            pool.nat_ips.iter().flat_map(move |&nat_ip| {
                let nat_ip = &self.nat_ips[usize::from(nat_ip)];
                Protocol::ALL.map(|protocol| nat_ip.usage(protocol, pool))
            })
        })
    }

    /// Returns every binding, the held-down ones too, in a deterministic order. For inspection: it
    /// walks the whole table.
    pub fn bindings(&self) -> impl Iterator<Item = BindingInfo> {
        let live = self.flows.slots().filter(|b| b.state != State::Vacant);
        live.map(|binding| self.info(binding))
    }

    /// Returns the number of flows that count against the flow limit: not the held-down ones.
    #[must_use]
    pub const fn active_flows(&self) -> u32 {
        self.active
    }

    /// Returns the most active flows at any instant so far.
    #[must_use]
    pub const fn peak_flows(&self) -> u32 {
        self.peak_active
    }

    /// Returns how many new flows the flow limit refused.
    #[must_use]
    pub const fn flow_limit_refusals(&self) -> u64 {
        self.flow_limit_refusals
    }

    /// Returns the bytes of heap memory held for flows, ports and timers.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        let spaces = self.nat_ips.iter().flat_map(|nat_ip| nat_ip.spaces.iter());
        let spaces: usize = spaces.flatten().map(|space| space.memory_bytes()).sum();
        spaces
            + self.flows.memory_bytes()
            + self.pages.memory_bytes()
            + self.wheel.memory_bytes()
            + self.events.capacity() * size_of::<NatEvent>()
            + self.resets.capacity() * size_of::<Reset>()
    }

    fn append_nat_ip(&mut self, pool: u8, address: Ipv4Addr) {
        let position = self.nat_ips.len() as u16;
        self.nat_ips.push(NatIp::new(address));
        self.by_address.insert(address, position);
        self.pools[usize::from(pool)].nat_ips.push(position);
    }

    /// Counts one more flow that is not held down.
    pub(crate) fn activate(&mut self) {
        self.active += 1;
        self.peak_active = self.peak_active.max(self.active);
    }

    #[inline]
    fn pool_of(&self, pls: PlsId) -> Option<u8> {
        let position = self.pools.iter().position(|pool| pool.pls == pls)?;
        Some(position as u8)
    }

    #[inline]
    fn nat_address(&self, binding: &Binding) -> SocketAddrV4 {
        let nat_ip = &self.nat_ips[usize::from(binding.nat_ip)];
        SocketAddrV4::new(nat_ip.address, binding.nat_port)
    }

    #[inline]
    fn owner(&self, nat: SocketAddrV4, protocol: Protocol) -> Option<u32> {
        let nat_ip = *self.by_address.get(nat.ip())?;
        let space = self.nat_ips[usize::from(nat_ip)].spaces[protocol.index()].as_ref()?;
        space.owners.owner(&self.pages, nat.port())
    }

    pub(crate) fn info(&self, binding: &Binding) -> BindingInfo {
        BindingInfo {
            pls: self.pools[usize::from(binding.pool)].pls,
            link: LinkId(binding.link),
            protocol: binding.state.protocol(),
            client: binding.client(),
            endpoint: binding.endpoint(),
            nat: self.nat_address(binding),
            backend: SocketAddrV4::new(self.backend, binding.backend_port),
            state: binding.state,
            last: binding.last,
        }
    }
}
