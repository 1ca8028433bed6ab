//! The reference: slow, obviously right, and without a line of the engine's code. Every question
//! is answered by a walk over a plain list of flows.

use core::net::{Ipv4Addr, SocketAddrV4};
use plsim_nat::{
    LatePackets, LbIdleAction, LbTimer, NatConfig, NatError, OnIdle, PoolConfig, PortSpace,
};
use plsim_types::{LinkId, PlsId, Protocol, TcpSegment};
use std::collections::BTreeMap;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Udp,
    Init,
    Open {
        client_fin: bool,
        server_fin: bool,
    },
    /// Dropped by the load balancer, bound until then.
    Dropped(u64),
    HeldFin,
    HeldRst,
    HeldRefused,
    HeldUnanswered,
    HeldUdp,
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
    /// The latest SYN on top of the open connection: its number and its end.
    on_top: Option<(u32, u32)>,
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
    pub(crate) expired_half_closed: u64,
    pub(crate) expired_half_open: u64,
    pub(crate) lb_idle: u64,
    pub(crate) reused_held: u64,
    pub(crate) first_exhausted: Option<u64>,
}

/// (toward the backend?, link, source, destination, sequence, acknowledgement)
pub(crate) type Rst = (
    bool,
    Option<LinkId>,
    SocketAddrV4,
    SocketAddrV4,
    u32,
    Option<u32>,
);

#[derive(Debug, Clone)]
pub(crate) struct Model {
    pub(crate) config: NatConfig,
    pub(crate) flows: Vec<Flow>,
    pub(crate) counters: BTreeMap<(Ipv4Addr, Protocol), Counters>,
    pub(crate) refused: Refused,
    pub(crate) resets: Vec<Rst>,
    /// The NAT IP that what is hashed leads to, learnt when every NAT IP had a free port.
    pub(crate) first_choice: BTreeMap<Key, Ipv4Addr>,
    /// The NAT IP whose turn is next.
    pub(crate) turns: BTreeMap<(PlsId, Protocol), usize>,
}

/// New flows that the limits refused.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) flows: u64,
    pub(crate) table: u64,
    pub(crate) endpoint: u64,
}

pub(crate) enum Expected {
    Fails(NatError),
    /// Refused for want of ports; the failure counts on this NAT IP, if it is known.
    Exhausted(Option<Ipv4Addr>),
    Known(SocketAddrV4),
    /// A new flow may get any of these.
    OneOf(Vec<SocketAddrV4>),
    /// The same, or the one NAT IP it may use, which is not known yet, has no port for it.
    Perhaps(Vec<SocketAddrV4>),
}

/// Tells whether this is a part of a segment behind its first fragment.
fn is_rest(segment: &TcpSegment) -> bool {
    segment.flags.0 & 0x16 == 0
}

/// The RSTs that the receiver is believed to take: with what it has acknowledged, or all that was sent
/// if that is at most 16 MiB more.
fn expected(exact: u32, acknowledged: u32, end: u32) -> bool {
    exact == acknowledged || exact == end && end.wrapping_sub(acknowledged) <= 1 << 24
}

/// Tells whether a segment acknowledges a SYN, perhaps with some of its data.
fn names(segment: &TcpSegment, isn: u32, end: u32) -> bool {
    let acked = segment.acknowledgement.wrapping_sub(isn);
    acked >= 1 && acked <= end.wrapping_sub(isn)
}

impl Flow {
    /// A flow that has just got its port.
    pub(crate) fn new(key: Key, nat: SocketAddrV4, segment: Option<&TcpSegment>, now: u64) -> Self {
        Self {
            key,
            nat,
            phase: segment.map_or(Phase::Udp, |_| Phase::Init),
            since: now,
            isn: segment.map_or(0, |segment| segment.sequence),
            on_top: None,
            client_end: segment.map_or(0, TcpSegment::end),
            server_end: 0,
            client_ack: 0,
            server_ack: None,
        }
    }

    pub(crate) fn is_held(&self) -> bool {
        matches!(
            self.phase,
            Phase::HeldFin
                | Phase::HeldRst
                | Phase::HeldRefused
                | Phase::HeldUnanswered
                | Phase::HeldUdp
        )
    }
}

impl Model {
    pub(crate) fn new(config: &NatConfig) -> Self {
        Self {
            config: config.clone(),
            flows: Vec::new(),
            counters: BTreeMap::new(),
            refused: Refused::default(),
            resets: Vec::new(),
            first_choice: BTreeMap::new(),
            turns: BTreeMap::new(),
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

    pub(crate) fn counter(&mut self, nat_ip: Ipv4Addr, protocol: Protocol) -> &mut Counters {
        self.counters.entry((nat_ip, protocol)).or_default()
    }

    fn deadline(&self, flow: &Flow) -> u64 {
        let timers = self.pool(flow.key.pls).timers;
        let (span, scanned) = match flow.phase {
            Phase::Udp => (timers.udp_idle, true),
            Phase::Init => (timers.half_open, false),
            Phase::Open {
                client_fin: false,
                server_fin: false,
            } => (timers.established_idle, true),
            Phase::Open { .. } => (timers.half_closed_idle, true),
            Phase::Dropped(until) => return until,
            Phase::HeldFin => (timers.hold_down_fin, false),
            Phase::HeldRst | Phase::HeldRefused => (timers.hold_down_rst, false),
            Phase::HeldUnanswered => (timers.hold_down_half_open, false),
            Phase::HeldUdp => (timers.hold_down_udp, false),
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

    /// The timer of the load balancer's rule, if it runs out before the NAT's own and does anything.
    fn lb_timer(&self, flow: &Flow) -> Option<(u64, LbTimer)> {
        let timer = self.rule_of(flow)?;
        let at = flow.since + timer.idle.as_nanos();
        let told = timer.reset || timer.then == LbIdleAction::Drop;
        let open = matches!(flow.phase, Phase::Open { .. });
        (open && told && at < self.deadline(flow)).then_some((at, timer))
    }

    fn rule_of(&self, flow: &Flow) -> Option<LbTimer> {
        let port = flow.key.endpoint.port();
        let timers = &self.pool(flow.key.pls).lb_timers;
        let mut timers = timers.iter().copied();
        timers.find(|timer| timer.frontend_port.unwrap_or(port) == port)
    }

    /// Tells whether the load balancer drops what belongs to a flow.
    fn drops(&self, flow: &Flow) -> bool {
        let rule = self.rule_of(flow);
        let action = rule.is_some_and(|rule| rule.then == LbIdleAction::Drop);
        action && matches!(flow.phase, Phase::Dropped(_))
    }

    /// Lets the load balancer drop every flow that has been idle for its rule's time.
    fn advance_lb(&mut self, now: u64) {
        for at in 0..self.flows.len() {
            let flow = self.flows[at].clone();
            let Some((_, timer)) = self.lb_timer(&flow).filter(|(at, _)| *at <= now) else {
                continue;
            };
            let (key, link) = (flow.key, Some(flow.key.link));
            let backend = SocketAddrV4::new(self.config.backend, key.backend_port);
            if timer.reset {
                let ack = flow.server_ack.unwrap();
                self.resets.push((true, link, flow.nat, backend, ack, None));
                let ack = flow.client_ack;
                self.resets
                    .push((false, link, key.endpoint, key.client, ack, None));
            }
            self.counter(*flow.nat.ip(), key.protocol).lb_idle += 1;
            let until = self.deadline(&flow);
            self.flows[at].phase = Phase::Dropped(until);
            self.flows[at].on_top = None;
        }
    }

    /// Ends everything whose time is over.
    pub(crate) fn advance(&mut self, now: u64) {
        self.advance_lb(now);
        while let Some(at) = (0..self.flows.len()).find(|&at| self.deadline(&self.flows[at]) <= now)
        {
            let flow = self.flows.remove(at);
            let ended = self.deadline(&flow);
            let pool = self.pool(flow.key.pls);
            let (told, timers) = (pool.on_idle == OnIdle::Reset, pool.timers);
            let backend = SocketAddrV4::new(self.config.backend, flow.key.backend_port);
            let (link, key) = (Some(flow.key.link), flow.key);
            let counters = self.counter(*flow.nat.ip(), key.protocol);
            let rest = match flow.phase {
                Phase::Udp => {
                    counters.expired_idle += 1;
                    Some((Phase::HeldUdp, timers.hold_down_udp))
                }
                Phase::Init => {
                    counters.expired_half_open += 1;
                    Some((Phase::HeldUnanswered, timers.hold_down_half_open))
                }
                Phase::Open {
                    client_fin,
                    server_fin,
                } => {
                    counters.expired_idle += 1;
                    counters.expired_half_closed += u64::from(client_fin || server_fin);
                    if told {
                        let ack = flow.server_ack.unwrap();
                        self.resets.push((true, link, flow.nat, backend, ack, None));
                        let ack = flow.client_ack;
                        self.resets
                            .push((false, link, key.endpoint, key.client, ack, None));
                    }
                    None
                }
                _ => None,
            };
            if let Some((phase, rest)) = rest
                && !rest.is_zero()
            {
                self.flows.push(Flow {
                    phase,
                    since: ended,
                    ..flow
                });
            }
        }
    }

    /// The RST that answers a packet without a binding (RFC 9293 §3.10.7.1).
    fn late(
        &mut self,
        pls: PlsId,
        toward_backend: bool,
        link: Option<LinkId>,
        from: SocketAddrV4,
        to: SocketAddrV4,
        segment: Option<&TcpSegment>,
    ) {
        if self.pool(pls).late_packets == LatePackets::Drop {
            return;
        }
        let Some(segment) = segment else { return };
        let flags = segment.flags.0;
        if flags & 4 != 0 || is_rest(segment) {
            return;
        }
        let (sequence, ack) = if flags & 16 != 0 {
            (segment.acknowledgement, None)
        } else {
            let controls = u32::from(flags & 1) + u32::from(flags >> 1 & 1);
            let length = u32::from(segment.length) + controls;
            (0, Some(segment.sequence.wrapping_add(length)))
        };
        self.resets
            .push((toward_backend, link, to, from, sequence, ack));
    }

    /// Says what a packet of the consumer may do, without doing it.
    pub(crate) fn original(
        &mut self,
        key: &Key,
        segment: Option<&TcpSegment>,
        now: u64,
    ) -> Expected {
        self.advance(now);
        let opens = match (key.protocol, segment) {
            (Protocol::Udp, _) => true,
            (Protocol::Tcp, Some(segment)) => segment.flags.0 & 0b1_0111 == 0b0010,
            (Protocol::Tcp, None) => false,
        };
        let full = |model: &Self| {
            let limit = model.config.flow_limit;
            limit.is_some_and(|limit| model.active() >= limit as usize)
        };
        if let Some(at) = self.flows.iter().position(|flow| flow.key == *key) {
            if opens && self.flows[at].is_held() && full(self) {
                self.refused.flows += 1;
                return Expected::Fails(NatError::VmFlowLimit);
            }
            if !opens && self.drops(&self.flows[at]) {
                return Expected::Fails(NatError::LbIdle);
            }
            let nat = self.flows[at].nat;
            self.apply(at, true, segment, full(self), now);
            return Expected::Known(nat);
        }
        if !opens {
            self.late(
                key.pls,
                false,
                Some(key.link),
                key.client,
                key.endpoint,
                segment,
            );
            return Expected::Fails(NatError::NoFlow);
        }
        let table = self.config.table_limit;
        if table.is_some_and(|limit| self.flows.len() >= limit as usize) {
            self.refused.table += 1;
            return Expected::Fails(NatError::NatTableFull);
        }
        if full(self) {
            self.refused.flows += 1;
            return Expected::Fails(NatError::VmFlowLimit);
        }
        if let Some(limit) = self.pool(key.pls).endpoint_port_limit {
            let mut own: Vec<&Flow> = self.flows.iter().collect();
            own.retain(|flow| flow.key.pls == key.pls && flow.key.link == key.link);
            if own.len() >= limit as usize {
                self.refused.endpoint += 1;
                return Expected::Fails(NatError::EndpointPortLimit);
            }
        }
        self.choices(key)
    }

    pub(crate) fn reply(
        &mut self,
        source: SocketAddrV4,
        nat: SocketAddrV4,
        protocol: Protocol,
        segment: Option<&TcpSegment>,
        now: u64,
    ) -> Result<(LinkId, SocketAddrV4, SocketAddrV4), NatError> {
        self.advance(now);
        let mut flows = self.flows.iter();
        let here = |flow: &Flow| {
            let shared = self.pool(flow.key.pls).port_space == PortSpace::PerVm;
            let own = shared || flow.key.backend_port == source.port();
            flow.nat == nat && flow.key.protocol == protocol && own
        };
        let Some(at) = flows.position(here) else {
            let mut pools = self.config.pools.iter();
            let pool = pools.find(|pool| pool.nat_ips.contains(nat.ip()));
            if let Some(pls) = pool.map(|pool| pool.pls)
                && *source.ip() == self.config.backend
            {
                self.late(pls, true, None, source, nat, segment);
            }
            return Err(NatError::NoFlow);
        };
        let key = self.flows[at].key;
        if *source.ip() != self.config.backend || source.port() != key.backend_port {
            return Err(NatError::Filtered);
        }
        if self.drops(&self.flows[at]) {
            return Err(NatError::LbIdle);
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
        let pool = self.pool(self.flows[at].key.pls);
        let (timers, refreshes) = (pool.timers, from_client || pool.reply_refreshes);
        let flow = &mut self.flows[at];
        let (phase, since, on_top) = (flow.phase, flow.since, flow.on_top);
        match segment {
            Some(segment) if is_rest(segment) => {
                let alive = match flow.phase {
                    Phase::Open { .. } => true,
                    Phase::Init => from_client,
                    _ => false,
                };
                if flow.phase != Phase::Init {
                    if alive {
                        flow.numbers(from_client, segment);
                    }
                } else if alive && segment.end().wrapping_sub(flow.client_end) <= 65_535 {
                    flow.client_end = segment.end();
                }
                flow.without_header(from_client, refreshes, full, now);
            }
            Some(segment) => flow.segment(from_client, segment, full, now),
            None => flow.without_header(from_client, refreshes, full, now),
        }
        // Only a change of state or a new connection restarts the clock for a side that does not
        // refresh.
        let renewed = on_top.is_some() && flow.on_top.is_none();
        if !refreshes && flow.phase == phase && !renewed {
            flow.since = since;
        }
        let instantly = match flow.phase {
            Phase::HeldFin => timers.hold_down_fin.is_zero(),
            Phase::HeldRst | Phase::HeldRefused => timers.hold_down_rst.is_zero(),
            _ => false,
        };
        if instantly {
            self.flows.remove(at);
        }
    }
}

impl Flow {
    /// A datagram, or a later fragment of a TCP packet.
    fn without_header(&mut self, from_client: bool, refreshes: bool, full: bool, now: u64) {
        match self.phase {
            Phase::HeldUdp if refreshes && !full => {
                self.phase = Phase::Udp;
                self.since = now;
            }
            Phase::Udp | Phase::Open { .. } => self.since = now,
            Phase::Init if from_client => self.since = now,
            _ => {}
        }
    }

    fn segment(&mut self, from_client: bool, segment: &TcpSegment, full: bool, now: u64) {
        let bit = |mask: u8| segment.flags.0 & mask != 0;
        let (fin, syn, rst, ack) = (bit(1), bit(2), bit(4), bit(16));
        if rst {
            self.reset(from_client, segment, now);
            return;
        }
        if from_client && syn && !ack && !fin {
            let retransmitted = self.phase == Phase::Init && segment.sequence == self.isn;
            if matches!(self.phase, Phase::Open { .. }) {
                self.since = now;
                self.on_top = Some((segment.sequence, segment.end()));
            } else if retransmitted {
                self.since = now;
            } else {
                self.phase = Phase::Init;
                self.since = now;
                self.isn = segment.sequence;
                self.on_top = None;
                self.client_end = segment.end();
                self.server_end = 0;
                self.server_ack = None;
            }
            return;
        }
        if let (Phase::Open { .. }, Some((isn, end))) = (self.phase, self.on_top)
            && !from_client
            && syn
            && ack
            && names(segment, isn, end)
            && segment.end() != self.server_end
        {
            // The server has taken the new SYN: another connection.
            self.client_end = end;
            self.taken(segment, fin, now);
            return;
        }
        match self.phase {
            Phase::Init | Phase::HeldRefused | Phase::HeldUnanswered => {
                if from_client {
                    if self.phase == Phase::Init {
                        self.since = now;
                    }
                    return;
                }
                let room = !(full && self.is_held());
                if syn && ack && names(segment, self.isn, self.client_end) && room {
                    self.taken(segment, fin, now);
                }
            }
            Phase::HeldRst if full => self.numbers(from_client, segment),
            Phase::HeldRst | Phase::Dropped(_) => {
                self.phase = Phase::Open {
                    client_fin: false,
                    server_fin: false,
                };
                self.carry(from_client, fin, segment, now);
            }
            Phase::Open { .. } => {
                let fin = fin && self.acknowledges(from_client, segment);
                self.carry(from_client, fin, segment, now);
            }
            Phase::HeldFin | Phase::Udp | Phase::HeldUdp => {}
        }
    }

    /// The SYN-ACK that makes a connection.
    fn taken(&mut self, syn_ack: &TcpSegment, fin: bool, now: u64) {
        self.phase = Phase::Open {
            client_fin: false,
            server_fin: fin,
        };
        self.since = now;
        self.on_top = None;
        self.server_end = syn_ack.end();
        self.client_ack = syn_ack.end();
        self.server_ack = Some(syn_ack.acknowledgement);
    }

    /// A segment of an established connection.
    fn carry(&mut self, from_client: bool, fin: bool, segment: &TcpSegment, now: u64) {
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
            self.on_top = None;
            return;
        }
        self.phase = Phase::Open {
            client_fin,
            server_fin,
        };
        self.numbers(from_client, segment);
    }

    /// Tells whether a segment acknowledges something that was sent, within the last 2^30 bytes.
    fn acknowledges(&self, from_client: bool, segment: &TcpSegment) -> bool {
        let sent = if from_client {
            self.server_end
        } else {
            self.client_end
        };
        (0..=1 << 30).contains(&sent.wrapping_sub(segment.acknowledgement))
    }

    /// What a segment without SYN says of both sides' numbers.
    fn numbers(&mut self, from_client: bool, segment: &TcpSegment) {
        if segment.flags.0 & 2 != 0 || !self.acknowledges(from_client, segment) {
            return;
        }
        let forward = |number: &mut u32, to: u32| {
            if to.wrapping_sub(*number) <= 1 << 30 {
                *number = to;
            }
        };
        let acked = segment.acknowledgement;
        if from_client {
            forward(&mut self.client_end, segment.end());
            forward(&mut self.client_ack, acked);
        } else {
            forward(&mut self.server_end, segment.end());
            if let Some(known) = &mut self.server_ack {
                forward(known, acked);
            }
        }
    }

    fn reset(&mut self, from_client: bool, segment: &TcpSegment, now: u64) {
        let exact = segment.sequence;
        let next = match self.phase {
            Phase::Init if from_client => {
                let first = self.isn.wrapping_add(1);
                expected(exact, first, self.client_end).then_some(Phase::HeldRefused)
            }
            Phase::Init => {
                let acks = segment.flags.0 & 16 != 0;
                let names = names(segment, self.isn, self.client_end);
                (acks && names).then_some(Phase::HeldRefused)
            }
            Phase::Open { .. } if from_client => {
                let known = self.server_ack.unwrap();
                expected(exact, known, self.client_end).then_some(Phase::HeldRst)
            }
            Phase::Open { .. } => {
                let acks = segment.flags.0 & 16 != 0;
                let on_top = self.on_top;
                let refused = on_top.is_some_and(|(isn, end)| acks && names(segment, isn, end));
                let valid = expected(exact, self.client_ack, self.server_end);
                (valid || refused).then_some(Phase::HeldRst)
            }
            _ => None,
        };
        if let Some(next) = next {
            self.phase = next;
            self.since = now;
            self.on_top = None;
        }
    }
}
