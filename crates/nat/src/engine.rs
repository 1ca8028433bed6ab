use crate::binding::{Binding, BindingInfo, Flow, FlowKey, State};
use crate::config::{NatConfig, PoolConfig, validate};
use crate::error::{ConfigError, NatError};
use crate::event::{NatEvent, Reset};
use crate::packet::{Original, Reply, Translation};
use crate::pool::{NIL, NatIp, Pool};
use crate::reverse::{PagePool, Place};
use crate::side::Side;
use crate::usage::{LimitRefusals, Usage};
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::net::{Ipv4Addr, SocketAddrV4};
use plsim_table::{FixedMap, FlowTable, TimerWheel};
use plsim_types::canary::{Fault, planted};
use plsim_types::{Direction, Instant, KeyedHash, PlsId, Protocol, TcpSegment};

/// The position of the pool of a service that the engine does not know: none has it.
const NO_POOL: u8 = u8::MAX;

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
    /// Names a destination to the allocators of RFC 6056.
    pub(crate) destination: KeyedHash,
    pub(crate) flow_limit: u32,
    pub(crate) table_limit: u32,
    pub(crate) report: bool,
    pub(crate) pools: Vec<Pool>,
    /// The position of each service's pool, or `NO_POOL`.
    pub(crate) by_pls: Vec<u8>,
    pub(crate) nat_ips: Vec<NatIp>,
    pub(crate) by_address: FixedMap<Ipv4Addr, u8>,
    pub(crate) flows: FlowTable<Binding>,
    pub(crate) pages: PagePool,
    pub(crate) wheel: TimerWheel,
    /// The wheel's next wake-up.
    pub(crate) wake: Option<Instant>,
    /// When the first reservation changes, or earlier.
    pub(crate) next_change: Option<Instant>,
    /// Tag of the wheel item inserted last.
    pub(crate) tag: u32,
    /// Bindings that are not held down.
    pub(crate) active: u32,
    /// The most of them at any instant.
    pub(crate) peak_active: u32,
    /// Ports of each private endpoint, by pool and link; kept only for pools that limit them.
    pub(crate) endpoint_ports: FixedMap<(u8, u32), u32>,
    pub(crate) refusals: LimitRefusals,
    /// The NAT IP that a new flow tries first, by its place in the pool.
    pub(crate) preferred: Option<u8>,
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
            destination: hash.derive("destination"),
            flow_limit: config.flow_limit.unwrap_or(u32::MAX),
            table_limit: config.table_limit.unwrap_or(u32::MAX),
            report: config.events,
            pools: Vec::with_capacity(config.pools.len()),
            by_pls: Vec::new(),
            nat_ips: Vec::new(),
            by_address: FixedMap::new(),
            flows: FlowTable::new(),
            pages: PagePool::default(),
            wheel: TimerWheel::new(),
            wake: None,
            next_change: None,
            tag: 0,
            active: 0,
            peak_active: 0,
            endpoint_ports: FixedMap::new(),
            refusals: LimitRefusals::default(),
            preferred: None,
            events: VecDeque::new(),
            resets: VecDeque::new(),
        };
        for (index, pool) in config.pools.into_iter().enumerate() {
            engine.pools.push(Pool::new(&pool));
            let pls = usize::from(pool.pls.0);
            if engine.by_pls.len() <= pls {
                engine.by_pls.resize(pls + 1, NO_POOL);
            }
            engine.by_pls[pls] = index as u8;
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
    /// held-down binding), [`NatError::PortsExhausted`] or [`NatError::LbIdle`]; only counters change.
    #[inline(always)] // See below.
    pub fn original(&mut self, packet: &Original, now: Instant) -> Result<Translation, NatError> {
        self.catch_up(now);
        let flow = self.flow_of(packet);
        let found = self.find(&flow);
        if let Some(position) = found
            && let Some(translation) = self.refresh_original(packet, position, now)
        {
            return Ok(translation);
        }
        // Copies of its own, and each part of the result for itself: so whoever has the engine translate
        // a usual packet keeps packet and result in registers.
        let segment = packet.segment;
        let translated = match found {
            Some(position) => self.tracked_original(position, segment, now),
            None => self.first_original(flow.key, flow.hash, segment, now),
        };
        match translated {
            Ok(translation) => Ok(translation),
            Err(error) => Err(error),
        }
    }

    /// Returns the key of a packet's flow and its hash; no binding has that of an unknown service.
    #[inline]
    pub(crate) fn flow_of(&self, packet: &Original) -> Flow {
        let key = FlowKey::of(packet, self.pool_of(packet.pls).unwrap_or(NO_POOL));
        Flow {
            key,
            hash: key.hash(self.key),
            found: NIL,
        }
    }

    /// Translates a packet of the consumer that only refreshes its binding; `None` if it is none, or
    /// the binding is not where the flow was found. What ended before it has to be over.
    #[inline]
    pub(crate) fn usual_original(
        &mut self,
        packet: &Original,
        flow: &Flow,
        now: Instant,
    ) -> Option<Translation> {
        if self.flows.get(flow.found)?.key != flow.key {
            return None;
        }
        self.refresh_original(packet, flow.found, now)
    }

    /// Translates a packet of the consumer that only refreshes its binding, which is known.
    #[inline(always)]
    fn refresh_original(
        &mut self,
        packet: &Original,
        position: u32,
        now: Instant,
    ) -> Option<Translation> {
        let binding = self.flows.entry_mut(position);
        if !binding.refresh(Direction::Original, packet.segment.as_ref(), now) {
            return None;
        }
        let (nat_ip, nat_port) = (binding.nat_ip, binding.nat_port);
        Some(Translation {
            pls: packet.pls,
            link: packet.link,
            source: self.nat_address(nat_ip, nat_port),
            destination: SocketAddrV4::new(self.backend, packet.backend_port),
        })
    }

    /// Translates a packet of the consumer that has no binding, or does more than refresh it.
    pub(crate) fn unusual_original(
        &mut self,
        flow: &Flow,
        segment: Option<TcpSegment>,
        now: Instant,
    ) -> Result<Translation, NatError> {
        match self.find(flow) {
            Some(position) => self.tracked_original(position, segment, now),
            None => self.first_original(flow.key, flow.hash, segment, now),
        }
    }

    /// Translates a packet of the consumer that does more than refresh its binding.
    #[inline(never)] // The usual packet shall not pay for its registers.
    fn tracked_original(
        &mut self,
        position: u32,
        segment: Option<TcpSegment>,
        now: Instant,
    ) -> Result<Translation, NatError> {
        // Before it is tracked: the packet may be the binding's last.
        let translation = self.outward(self.flows.entry(position));
        self.track(position, Direction::Original, segment.as_ref(), now)?;
        Ok(translation)
    }

    /// Translates a packet of the consumer that has no binding.
    #[inline(never)] // As above.
    fn first_original(
        &mut self,
        key: FlowKey,
        hash: u64,
        segment: Option<TcpSegment>,
        now: Instant,
    ) -> Result<Translation, NatError> {
        if key.pool() == usize::from(NO_POOL) {
            return Err(NatError::NoFlow);
        }
        match self.bind(&key, hash, segment.as_ref(), now) {
            Ok((nat_ip, nat_port)) => Ok(Translation {
                pls: self.pools[key.pool()].pls,
                link: key.link(),
                source: self.nat_address(nat_ip, nat_port),
                destination: SocketAddrV4::new(self.backend, key.backend_port()),
            }),
            Err(error) => {
                if error == NatError::NoFlow {
                    self.answer_late_original(&key, segment.as_ref());
                }
                Err(error)
            }
        }
    }

    /// Translates a packet of the backend VM; it never creates a binding.
    ///
    /// # Errors
    /// [`NatError::NoFlow`] if nobody owns the NAT IP and port, [`NatError::Filtered`] if the
    /// packet does not come from the backend's address and the port that was contacted
    /// (RFC 4787 §5, address-and-port-dependent filtering), [`NatError::LbIdle`]. Nothing changes.
    #[inline(always)] // As for packets of the consumer.
    pub fn reply(&mut self, packet: &Reply, now: Instant) -> Result<Translation, NatError> {
        self.catch_up(now);
        let found = self.owner(packet).unwrap_or(NIL);
        if let Some(translation) = self.usual_reply(packet, found, now) {
            return Ok(translation);
        }
        let packet = *packet;
        match self.unusual_reply(&packet, now) {
            Ok(translation) => Ok(translation),
            Err(error) => Err(error),
        }
    }

    /// Translates a packet of the backend VM that only refreshes its binding; `None` if it is none.
    /// `found` is where the owner of its port was when it was asked for: it is still, or the place is
    /// vacant, for no packet of the backend takes a port. What ended before it has to be over.
    #[inline]
    pub(crate) fn usual_reply(
        &mut self,
        packet: &Reply,
        found: u32,
        now: Instant,
    ) -> Option<Translation> {
        let binding = self.flows.get_mut(found)?;
        let contacted = self.backend == *packet.source.ip()
            && binding.key.goes_to(packet.protocol, packet.source.port());
        if !contacted {
            return None;
        }
        let key = binding.key;
        let pool = &self.pools[key.pool()];
        let usual =
            pool.reply_refreshes && binding.refresh(Direction::Reply, packet.segment.as_ref(), now);
        usual.then(|| Translation {
            pls: pool.pls,
            link: key.link(),
            source: key.endpoint(),
            destination: key.client(),
        })
    }

    /// Translates a packet of the backend VM that has no binding, or does more than refresh it.
    #[inline(never)] // As for packets of the consumer.
    pub(crate) fn unusual_reply(
        &mut self,
        packet: &Reply,
        now: Instant,
    ) -> Result<Translation, NatError> {
        match self.answered(packet) {
            Ok(position) => {
                let translation = self.inward(self.flows.entry(position));
                self.track(position, Direction::Reply, packet.segment.as_ref(), now)?;
                Ok(translation)
            }
            Err(error) => {
                if error == NatError::NoFlow {
                    self.answer_late_reply(packet);
                }
                Err(error)
            }
        }
    }

    /// Translates an ICMP error of the consumer about a flow of the original direction, given as if
    /// it were a packet of that flow in its own direction; nothing changes (RFC 5508 REQ-3 to
    /// REQ-6, RFC 4787 REQ-12).
    ///
    /// # Errors
    /// [`NatError::NoFlow`] or [`NatError::LbIdle`].
    pub fn original_error(
        &mut self,
        packet: &Original,
        now: Instant,
    ) -> Result<Translation, NatError> {
        self.catch_up(now);
        let position = self.find(&self.flow_of(packet)).ok_or(NatError::NoFlow)?;
        self.check_lb(position)?;
        Ok(self.outward(self.flows.entry(position)))
    }

    /// Translates an ICMP error of the provider's side about a flow, given as if it were a packet
    /// of the backend; nothing changes.
    ///
    /// # Errors
    /// [`NatError::NoFlow`], [`NatError::Filtered`] or [`NatError::LbIdle`], as for
    /// [`reply`](Self::reply).
    pub fn reply_error(&mut self, packet: &Reply, now: Instant) -> Result<Translation, NatError> {
        self.catch_up(now);
        let position = self.answered(packet)?;
        self.check_lb(position)?;
        Ok(self.inward(self.flows.entry(position)))
    }

    /// Adds a NAT IP to a service; new flows may use it from now on.
    ///
    /// # Errors
    /// [`ConfigError::UnknownPls`], [`ConfigError::NatIpCount`] if it would be the ninth,
    /// [`ConfigError::DuplicateNatIp`], [`ConfigError::TooManyNatIps`]; nothing changes.
    pub fn add_nat_ip(&mut self, pls: PlsId, address: Ipv4Addr) -> Result<(), ConfigError> {
        let pool = self.pool_of(pls).ok_or(ConfigError::UnknownPls(pls))?;
        let count = self.pools[usize::from(pool)].nat_ips.len() + 1;
        if count > PoolConfig::MOST_NAT_IPS {
            return Err(ConfigError::NatIpCount(pls, count));
        }
        if address == self.backend || self.by_address.contains(&address) {
            return Err(ConfigError::DuplicateNatIp(address));
        }
        if self.nat_ips.len() == NatConfig::MOST_NAT_IPS {
            return Err(ConfigError::TooManyNatIps);
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
            let side = self.nat_ips[usize::from(nat_ip)].side(protocol);
            side.exhaustion_queued = false;
        }
        event
    }

    /// Returns the next RST to send. The owner drains them after every call that takes `now`.
    pub fn poll_reset(&mut self) -> Option<Reset> {
        self.resets.pop_front()
    }

    /// Returns the state of the ports: by service, then NAT IP, both in the order they were
    /// configured or added, then TCP before UDP.
    pub fn usage(&self) -> impl Iterator<Item = Usage> {
        self.pools.iter().flat_map(move |pool| {
            pool.nat_ips.iter().flat_map(move |&nat_ip| {
                let nat_ip = &self.nat_ips[usize::from(nat_ip)];
                Protocol::ALL.map(|protocol| match &nat_ip.sides[protocol.index()] {
                    Some(side) => side.usage(nat_ip.address, protocol, pool),
                    None => Side::default().usage(nat_ip.address, protocol, pool),
                })
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

    /// Returns the most bindings at any instant so far: active flows, and those that are held down.
    #[must_use]
    pub const fn peak_bindings(&self) -> u32 {
        self.flows.positions()
    }

    /// Returns how many new flows each limit refused.
    #[must_use]
    pub const fn limit_refusals(&self) -> LimitRefusals {
        self.refusals
    }

    /// Returns the bytes of heap memory held for flows, ports and timers.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        let sides = self.nat_ips.iter().flat_map(|nat_ip| nat_ip.sides.iter());
        let others = [
            self.flows.memory_bytes(),
            self.pages.memory_bytes(),
            self.wheel.memory_bytes(),
            self.events.capacity() * size_of::<NatEvent>(),
            self.resets.capacity() * size_of::<Reset>(),
        ];
        let sides = sides.flatten().map(|side| side.memory_bytes());
        sides.chain(others).sum()
    }

    fn append_nat_ip(&mut self, pool: u8, address: Ipv4Addr) {
        let position = self.nat_ips.len() as u8;
        self.nat_ips.push(NatIp::new(address));
        self.by_address.insert(address, position);
        let pool = &mut self.pools[usize::from(pool)];
        pool.nat_ips.push(position);
        pool.full = [None; 2];
    }

    /// Counts one more flow that is not held down.
    pub(crate) fn activate(&mut self) {
        self.active += 1;
        self.peak_active = self.peak_active.max(self.active);
    }

    #[inline]
    fn pool_of(&self, pls: PlsId) -> Option<u8> {
        let position = *self.by_pls.get(usize::from(pls.0))?;
        (position != NO_POOL).then_some(position)
    }

    #[inline]
    fn nat_address(&self, nat_ip: u8, port: u16) -> SocketAddrV4 {
        let nat_ip = &self.nat_ips[usize::from(nat_ip)];
        let clashes = planted(Fault::PortClash) && port % 32 == 31;
        SocketAddrV4::new(nat_ip.address, port - u16::from(clashes))
    }

    #[inline]
    fn find(&self, flow: &Flow) -> Option<u32> {
        self.flows
            .find(flow.hash, |binding| binding.key == flow.key)
    }

    /// Finds the binding that a packet of the backend answers.
    #[inline]
    fn answered(&self, packet: &Reply) -> Result<u32, NatError> {
        let position = self.owner(packet).ok_or(NatError::NoFlow)?;
        let backend_port = self.flows.entry(position).key.backend_port();
        if packet.source == SocketAddrV4::new(self.backend, backend_port) {
            Ok(position)
        } else {
            Err(NatError::Filtered)
        }
    }

    /// Returns how a binding translates toward the backend.
    #[inline]
    fn outward(&self, binding: &Binding) -> Translation {
        Translation {
            pls: self.pools[binding.key.pool()].pls,
            link: binding.key.link(),
            source: self.nat_address(binding.nat_ip, binding.nat_port),
            destination: SocketAddrV4::new(self.backend, binding.key.backend_port()),
        }
    }

    /// Returns how a binding translates toward the client.
    #[inline]
    fn inward(&self, binding: &Binding) -> Translation {
        Translation {
            pls: self.pools[binding.key.pool()].pls,
            link: binding.key.link(),
            source: binding.key.endpoint(),
            destination: binding.key.client(),
        }
    }

    #[inline]
    pub(crate) fn owner(&self, packet: &Reply) -> Option<u32> {
        let nat_ip = *self.by_address.get(packet.destination.ip())?;
        let side = self.nat_ips[usize::from(nat_ip)].sides[packet.protocol.index()].as_ref()?;
        let space = side.spaces.get(packet.source.port())?;
        let port = packet.destination.port();
        if planted(Fault::CrossDelivery)
            && port.is_multiple_of(32)
            && let Some(neighbour) = space.owners.owner(&self.pages, port + 1)
        {
            return Some(neighbour);
        }
        space.owners.owner(&self.pages, port)
    }

    /// Returns where the owner of the port stands that a packet of the backend is for.
    #[inline]
    pub(crate) fn owner_place(&self, packet: &Reply) -> Option<Place> {
        let nat_ip = *self.by_address.get(packet.destination.ip())?;
        let side = self.nat_ips[usize::from(nat_ip)].sides[packet.protocol.index()].as_ref()?;
        let space = side.spaces.get(packet.source.port())?;
        space.owners.place(packet.destination.port())
    }

    pub(crate) fn info(&self, binding: &Binding) -> BindingInfo {
        BindingInfo {
            pls: self.pools[binding.key.pool()].pls,
            link: binding.key.link(),
            protocol: binding.key.protocol(),
            client: binding.key.client(),
            endpoint: binding.key.endpoint(),
            nat: self.nat_address(binding.nat_ip, binding.nat_port),
            backend: SocketAddrV4::new(self.backend, binding.key.backend_port()),
            state: binding.state,
            last: binding.last,
        }
    }
}
