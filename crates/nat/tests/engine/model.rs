//! The reference: slow, obviously right, and without a line of the engine's code. Every question
//! is answered by a walk over a plain list of flows.

use core::net::{Ipv4Addr, SocketAddrV4};
use plsim_nat::{HeldPorts, NatConfig, NatError, OnIdle, PoolConfig};
use plsim_types::{LinkId, PlsId, Protocol, TcpSegment};
use std::collections::BTreeMap;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Udp,
    Init,
    Open { client_fin: bool, server_fin: bool },
    HeldFin,
    HeldRst,
    HeldRefused,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) pls: PlsId,
    pub(crate) link: LinkId,
    pub(crate) client: SocketAddrV4,
    pub(crate) endpoint: SocketAddrV4,
    pub(crate) backend_port: u16,
    pub(crate) protocol: Protocol,
}

#[derive(Debug, Clone)]
pub(crate) struct Flow {
    pub(crate) key: Key,
    pub(crate) nat: SocketAddrV4,
    pub(crate) phase: Phase,
    /// Last refresh, or when the hold-down began.
    pub(crate) since: u64,
    isn: u32,
    client_end: u32,
    server_end: u32,
    client_ack: u32,
    server_ack: Option<u32>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Counters {
    pub(crate) peak: u32,
    pub(crate) binds: u64,
    pub(crate) bind_failures: u64,
    pub(crate) expired_idle: u64,
    pub(crate) expired_half_open: u64,
    pub(crate) reused_held: u64,
    pub(crate) first_exhausted: Option<u64>,
}

/// (toward the backend?, link, source, destination, sequence)
pub(crate) type Rst = (bool, LinkId, SocketAddrV4, SocketAddrV4, u32);

#[derive(Debug, Clone)]
pub(crate) struct Model {
    config: NatConfig,
    pub(crate) flows: Vec<Flow>,
    pub(crate) counters: BTreeMap<(Ipv4Addr, Protocol), Counters>,
    pub(crate) refused_by_limit: u64,
    pub(crate) resets: Vec<Rst>,
    /// The NAT IP a flow hashes to, learnt when every NAT IP had a free port.
    first_choice: BTreeMap<Key, Ipv4Addr>,
}

pub(crate) enum Expected {
    Fails(NatError),
    /// Refused for want of ports; the failure counts on this NAT IP, if it is known.
    Exhausted(Option<Ipv4Addr>),
    Known(SocketAddrV4),
    /// A new flow may get any of these.
    OneOf(Vec<SocketAddrV4>),
}

fn after(a: u32, b: u32) -> bool {
    a != b && a.wrapping_sub(b) < 1 << 31
}

impl Flow {
    fn is_held(&self) -> bool {
        matches!(
            self.phase,
            Phase::HeldFin | Phase::HeldRst | Phase::HeldRefused
        )
    }
}

impl Model {
    pub(crate) fn new(config: &NatConfig) -> Self {
        Self {
            config: config.clone(),
            flows: Vec::new(),
            counters: BTreeMap::new(),
            refused_by_limit: 0,
            resets: Vec::new(),
            first_choice: BTreeMap::new(),
        }
    }

    pub(crate) fn pool(&self, pls: PlsId) -> &PoolConfig {
        self.config.pools.iter().find(|p| p.pls == pls).unwrap()
    }

    pub(crate) fn add_nat_ip(&mut self, pls: PlsId, address: Ipv4Addr) {
        let pool = self.config.pools.iter_mut().find(|p| p.pls == pls).unwrap();
        pool.nat_ips.push(address);
        self.first_choice.clear();
    }

    pub(crate) fn active(&self) -> usize {
        self.flows.iter().filter(|flow| !flow.is_held()).count()
    }

    /// Returns (in use, held).
    pub(crate) fn used(&self, nat_ip: Ipv4Addr, protocol: Protocol) -> (u32, u32) {
        let here = |flow: &&Flow| *flow.nat.ip() == nat_ip && flow.key.protocol == protocol;
        let all = self.flows.iter().filter(here).count() as u32;
        let held = self.flows.iter().filter(here).filter(|f| f.is_held());
        let held = held.count() as u32;
        (all - held, held)
    }

    fn counter(&mut self, nat_ip: Ipv4Addr, protocol: Protocol) -> &mut Counters {
        self.counters.entry((nat_ip, protocol)).or_default()
    }

    fn deadline(&self, flow: &Flow) -> u64 {
        let timers = self.pool(flow.key.pls).timers;
        let (span, scanned) = match flow.phase {
            Phase::Udp => (timers.udp_idle, true),
            Phase::Init => (timers.half_open, false),
            Phase::Open { .. } => (timers.established_idle, true),
            Phase::HeldFin => (timers.hold_down_fin, false),
            Phase::HeldRst | Phase::HeldRefused => (timers.hold_down_rst, false),
        };
        let exact = flow.since + span.as_nanos();
        match timers.idle_scan_interval {
            Some(interval) if scanned => {
                let mut scan = exact - exact % interval.as_nanos();
                while scan < exact {
                    scan += interval.as_nanos();
                }
                scan
            }
            _ => exact,
        }
    }

    /// Ends everything whose time is over.
    pub(crate) fn advance(&mut self, now: u64) {
        let (over, live): (Vec<Flow>, Vec<Flow>) = core::mem::take(&mut self.flows)
            .into_iter()
            .partition(|flow| self.deadline(flow) <= now);
        self.flows = live;
        for flow in over {
            let told = self.pool(flow.key.pls).on_idle == OnIdle::Reset;
            let backend = SocketAddrV4::new(self.config.backend, flow.key.backend_port);
            let (link, key) = (flow.key.link, flow.key);
            let counters = self.counter(*flow.nat.ip(), key.protocol);
            match flow.phase {
                Phase::Udp => counters.expired_idle += 1,
                Phase::Init => counters.expired_half_open += 1,
                Phase::Open { .. } => {
                    counters.expired_idle += 1;
                    if told {
                        let ack = flow.server_ack.unwrap();
                        self.resets.push((true, link, flow.nat, backend, ack));
                        let ack = flow.client_ack;
                        self.resets
                            .push((false, link, key.endpoint, key.client, ack));
                    }
                }
                Phase::HeldFin | Phase::HeldRst | Phase::HeldRefused => {}
            }
        }
    }

    /// Says what a packet of the consumer may do, without doing it.
    pub(crate) fn original(
        &mut self,
        key: &Key,
        segment: Option<&TcpSegment>,
        now: u64,
    ) -> Expected {
        self.advance(now);
        let opens = segment.is_none_or(|segment| segment.flags.0 & 0b1_0111 == 0b0010);
        let full = |model: &Self| {
            let limit = model.config.flow_limit;
            limit.is_some_and(|limit| model.active() >= limit as usize)
        };
        if let Some(at) = self.flows.iter().position(|flow| flow.key == *key) {
            if opens && segment.is_some() && self.flows[at].is_held() && full(self) {
                self.refused_by_limit += 1;
                return Expected::Fails(NatError::VmFlowLimit);
            }
            let nat = self.flows[at].nat;
            self.apply(at, true, segment, full(self), now);
            return Expected::Known(nat);
        }
        if !opens {
            return Expected::Fails(NatError::NoFlow);
        }
        if full(self) {
            self.refused_by_limit += 1;
            return Expected::Fails(NatError::VmFlowLimit);
        }
        self.choices(key)
    }

    fn choices(&self, key: &Key) -> Expected {
        let pool = self.pool(key.pls);
        let taken = |nat: &SocketAddrV4| {
            let mut flows = self.flows.iter();
            flows.any(|flow| flow.nat == *nat && flow.key.protocol == key.protocol)
        };
        let free_of = |address: &Ipv4Addr| -> Vec<SocketAddrV4> {
            let ports = pool.ports.clone();
            let all = ports.map(|port| SocketAddrV4::new(*address, port));
            all.filter(|nat| !taken(nat)).collect()
        };
        let free: Vec<_> = pool.nat_ips.iter().flat_map(free_of).collect();
        let first = self.first_choice.get(key).copied();
        if free.is_empty() {
            let mut held: Vec<&Flow> = self.flows.iter().filter(|f| f.is_held()).collect();
            held.retain(|flow| flow.key.pls == key.pls && flow.key.protocol == key.protocol);
            let oldest = held.iter().map(|flow| flow.since).min();
            if pool.held_ports == HeldPorts::Refuse || oldest.is_none() {
                return Expected::Exhausted(first);
            }
            held.retain(|flow| Some(flow.since) == oldest);
            return Expected::OneOf(held.iter().map(|flow| flow.nat).collect());
        }
        let Some(first) = first else {
            return Expected::OneOf(free);
        };
        let start = pool.nat_ips.iter().position(|ip| *ip == first).unwrap();
        let in_order = pool.nat_ips.iter().cycle().skip(start);
        let mut candidates = in_order.map(free_of).filter(|free| !free.is_empty());
        Expected::OneOf(candidates.next().unwrap())
    }

    /// Takes over the engine's choice, which was legal.
    pub(crate) fn bound(
        &mut self,
        key: &Key,
        segment: Option<&TcpSegment>,
        nat: SocketAddrV4,
        now: u64,
    ) {
        let (ports, nat_ips) = {
            let pool = self.pool(key.pls);
            (pool.ports.len() as u32, pool.nat_ips.clone())
        };
        let protocol = key.protocol;
        let has_free = |model: &Self, ip: &Ipv4Addr| {
            let (in_use, held) = model.used(*ip, protocol);
            in_use + held < ports
        };
        if nat_ips.iter().all(|ip| has_free(self, ip)) {
            self.first_choice.insert(*key, *nat.ip());
        }
        let of_port = |flow: &Flow| flow.nat == nat && flow.key.protocol == protocol;
        if let Some(at) = self.flows.iter().position(of_port) {
            assert!(self.flows.remove(at).is_held());
            self.counter(*nat.ip(), protocol).reused_held += 1;
        }
        let isn = segment.map_or(0, |segment| segment.sequence);
        self.flows.push(Flow {
            key: *key,
            nat,
            phase: segment.map_or(Phase::Udp, |_| Phase::Init),
            since: now,
            isn,
            client_end: segment.map_or(0, TcpSegment::end),
            server_end: 0,
            client_ack: 0,
            server_ack: None,
        });
        let (in_use, held) = self.used(*nat.ip(), protocol);
        let counters = self.counter(*nat.ip(), protocol);
        counters.binds += 1;
        counters.peak = counters.peak.max(in_use + held);
        if in_use + held == ports && counters.first_exhausted.is_none() {
            counters.first_exhausted = Some(now);
        }
    }

    /// Notes the NAT IP on which the engine counted a refusal.
    pub(crate) fn failed(&mut self, key: &Key, nat_ip: Ipv4Addr) {
        self.counter(nat_ip, key.protocol).bind_failures += 1;
        self.first_choice.insert(*key, nat_ip);
    }

    pub(crate) fn reply(
        &mut self,
        source: SocketAddrV4,
        nat: SocketAddrV4,
        segment: Option<&TcpSegment>,
        now: u64,
    ) -> Result<(LinkId, SocketAddrV4, SocketAddrV4), NatError> {
        self.advance(now);
        let protocol = segment.map_or(Protocol::Udp, |_| Protocol::Tcp);
        let mut flows = self.flows.iter();
        let at = flows
            .position(|flow| flow.nat == nat && flow.key.protocol == protocol)
            .ok_or(NatError::NoFlow)?;
        let key = self.flows[at].key;
        if *source.ip() != self.config.backend || source.port() != key.backend_port {
            return Err(NatError::Filtered);
        }
        let limit = self.config.flow_limit;
        let full = limit.is_some_and(|limit| self.active() >= limit as usize);
        self.apply(at, false, segment, full, now);
        Ok((key.link, key.endpoint, key.client))
    }

    /// What a packet does to the flow it belongs to.
    fn apply(
        &mut self,
        at: usize,
        from_client: bool,
        segment: Option<&TcpSegment>,
        full: bool,
        now: u64,
    ) {
        let timers = self.pool(self.flows[at].key.pls).timers;
        let flow = &mut self.flows[at];
        let Some(segment) = segment else {
            flow.since = now;
            return;
        };
        flow.segment(from_client, segment, full, now);
        let instantly = match flow.phase {
            Phase::HeldFin => timers.hold_down_fin.is_zero(),
            Phase::HeldRst | Phase::HeldRefused => timers.hold_down_rst.is_zero(),
            Phase::Udp | Phase::Init | Phase::Open { .. } => false,
        };
        if instantly {
            self.flows.remove(at);
        }
    }
}

impl Flow {
    fn segment(&mut self, from_client: bool, segment: &TcpSegment, full: bool, now: u64) {
        let bit = |mask: u8| segment.flags.0 & mask != 0;
        let (fin, syn, rst, ack) = (bit(1), bit(2), bit(4), bit(16));
        if rst {
            self.reset(from_client, segment, now);
            return;
        }
        if from_client && syn && !ack && !fin {
            let retransmitted = self.phase == Phase::Init && segment.sequence == self.isn;
            if matches!(self.phase, Phase::Open { .. }) || retransmitted {
                self.since = now;
            } else {
                self.phase = Phase::Init;
                self.since = now;
                self.isn = segment.sequence;
                self.client_end = segment.end();
                self.server_ack = None;
            }
            return;
        }
        match self.phase {
            Phase::Init | Phase::HeldRefused => {
                if from_client {
                    if self.phase == Phase::Init {
                        self.since = now;
                    }
                    return;
                }
                // The SYN-ACK must acknowledge the SYN, perhaps with some of its data.
                let acked = segment.acknowledgement.wrapping_sub(self.isn);
                let most = self.client_end.wrapping_sub(self.isn);
                let room = !(full && self.phase == Phase::HeldRefused);
                if syn && ack && acked >= 1 && acked <= most && room {
                    self.phase = Phase::Open {
                        client_fin: false,
                        server_fin: fin,
                    };
                    self.since = now;
                    self.server_end = segment.end();
                    self.client_ack = segment.end();
                    self.server_ack = Some(segment.acknowledgement);
                }
            }
            Phase::HeldRst if full => {}
            Phase::HeldRst => {
                self.phase = Phase::Open {
                    client_fin: false,
                    server_fin: false,
                };
                self.carry(from_client, fin, syn, ack, segment, now);
            }
            Phase::Open { .. } => self.carry(from_client, fin, syn, ack, segment, now),
            Phase::HeldFin | Phase::Udp => {}
        }
    }

    /// A segment of an established connection.
    fn carry(
        &mut self,
        from_client: bool,
        fin: bool,
        syn: bool,
        ack: bool,
        segment: &TcpSegment,
        now: u64,
    ) {
        let Phase::Open {
            mut client_fin,
            mut server_fin,
        } = self.phase
        else {
            return;
        };
        self.since = now;
        client_fin |= fin && from_client;
        server_fin |= fin && !from_client;
        if client_fin && server_fin {
            self.phase = Phase::HeldFin;
            return;
        }
        self.phase = Phase::Open {
            client_fin,
            server_fin,
        };
        if syn {
            return;
        }
        let known = self.server_ack.unwrap();
        if from_client {
            if after(segment.end(), self.client_end) {
                self.client_end = segment.end();
            }
            let acked = segment.acknowledgement;
            if ack && after(acked, self.client_ack) && !after(acked, self.server_end) {
                self.client_ack = acked;
            }
        } else {
            if after(segment.end(), self.server_end) {
                self.server_end = segment.end();
            }
            let acked = segment.acknowledgement;
            if ack && after(acked, known) && !after(acked, self.client_end) {
                self.server_ack = Some(acked);
            }
        }
    }

    fn reset(&mut self, from_client: bool, segment: &TcpSegment, now: u64) {
        let exact = segment.sequence;
        let next = match self.phase {
            Phase::Init if from_client => {
                let expected = self.isn.wrapping_add(1);
                (exact == expected || exact == self.client_end).then_some(Phase::HeldRefused)
            }
            Phase::Init => {
                let acks = segment.flags.0 & 16 != 0;
                let expected = self.isn.wrapping_add(1);
                (acks && segment.acknowledgement == expected).then_some(Phase::HeldRefused)
            }
            Phase::Open { .. } if from_client => {
                let valid = Some(exact) == self.server_ack || exact == self.client_end;
                valid.then_some(Phase::HeldRst)
            }
            Phase::Open { .. } => {
                let valid = exact == self.client_ack || exact == self.server_end;
                valid.then_some(Phase::HeldRst)
            }
            Phase::Udp | Phase::HeldFin | Phase::HeldRst | Phase::HeldRefused => None,
        };
        if let Some(next) = next {
            self.phase = next;
            self.since = now;
        }
    }
}
