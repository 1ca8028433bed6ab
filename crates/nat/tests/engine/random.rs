//! The engine against the reference model under random steps.

use crate::harness::BACKEND;
use crate::model::{Expected, Key, Model, Phase, Rst};
use core::net::{Ipv4Addr, SocketAddrV4};
use plsim_nat::{
    Allocation, BindingInfo, Expiry, HeldPorts, LatePackets, LbIdleAction, LbTimer, LimitRefusals,
    NatConfig, NatEngine, NatError, NatEvent, OnIdle, Original, PoolConfig, PortSpace, Reply,
    Selection, State, Timers,
};
use plsim_types::{Direction, Duration, Instant, LinkId, PlsId, Protocol, TcpFlags, TcpSegment};
use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop_oneof, proptest};
use std::collections::BTreeSet;

/// All sequence numbers lie within a few bytes of the wrap, so every relation between them occurs.
const BASE: u32 = u32::MAX - 3;

#[derive(Debug, Clone)]
enum Step {
    Wait(u64),
    Timeout,
    Original(Key, Option<TcpSegment>),
    /// To the binding at this place of the model's list, or to any address.
    Reply(usize, Source, Protocol, Option<TcpSegment>),
    AddNatIp,
}

#[derive(Debug, Clone, Copy)]
enum Source {
    Backend,
    OtherHost,
    OtherPort,
    UnknownNat,
}

fn timers() -> impl Strategy<Value = Timers> {
    (0..6_u8, any::<bool>(), 0..4_u8).prop_map(|(kind, rest, late)| {
        let mut timers = Timers::azure();
        match kind {
            0 => {
                timers.idle_scan_interval = Some(Duration::from_secs(60));
                timers.established_idle = Duration::from_secs(240);
            }
            1 if rest => timers.hold_down_fin = Duration::ZERO,
            1 => timers.hold_down_rst = Duration::ZERO,
            // Held longer than idle: the wheel item moves both ways.
            2 => timers.hold_down_fin = Duration::from_secs(400),
            3 => timers.hold_down_rst = Duration::from_millis(300),
            // A FIN brings the deadline nearer.
            4 => timers.half_closed_idle = Duration::from_secs(65),
            _ => timers.udp_idle = Duration::from_secs(30),
        }
        if late & 1 != 0 {
            timers.hold_down_half_open = Duration::from_secs(65);
        }
        if late & 2 != 0 {
            timers.hold_down_udp = Duration::from_secs(if rest { 16 } else { 400 });
        }
        timers
    })
}

/// What differs between pools beside their timers.
#[derive(Debug, Clone, Copy)]
struct Settings {
    switches: u8,
    allocator: Allocation,
    selection: Selection,
    endpoint_port_limit: Option<u32>,
    lb_timer: Option<LbTimer>,
}

/// A rule's timer in half of the pools: often before the NAT's own, once for another port.
fn lb_timer() -> impl Strategy<Value = Option<LbTimer>> {
    let idle = prop_oneof![Just(16_u64), Just(240), Just(300)];
    let port = prop_oneof![2 => Just(None), 3 => Just(Some(443)), 1 => Just(Some(80))];
    let timer = (idle, port, any::<bool>(), any::<bool>());
    proptest::option::of(
        timer.prop_map(|(idle, frontend_port, reset, drop)| LbTimer {
            frontend_port,
            idle: Duration::from_secs(idle),
            reset,
            then: [LbIdleAction::Forget, LbIdleAction::Drop][usize::from(drop)],
        }),
    )
}

fn settings() -> impl Strategy<Value = Settings> {
    // Hash with fall-through and the bitmap, the defaults, half of the time.
    let finders: Vec<Allocation> = Allocation::ALL
        .iter()
        .copied()
        .filter(|allocator| allocator.never_gives_up())
        .collect();
    let allocator = prop_oneof![Just(Allocation::Bitmap), proptest::sample::select(finders)];
    let selection = prop_oneof![
        6 => Just(Selection::Hash),
        1 => Just(Selection::HashStrict),
        1 => Just(Selection::RoundRobin),
        1 => Just(Selection::LeastUsed),
        1 => Just(Selection::Sequential),
        1 => Just(Selection::ClientPaired),
        1 => Just(Selection::ClientPairedStrict),
    ];
    let limit = prop_oneof![3 => Just(None), 1 => (1..4_u32).prop_map(Some)];
    (0..64_u8, allocator, selection, limit, lb_timer()).prop_map(
        |(switches, allocator, selection, endpoint_port_limit, lb_timer)| Settings {
            switches,
            allocator,
            selection,
            endpoint_port_limit,
            lb_timer,
        },
    )
}

fn pool(pls: u8, nat_ips: usize, ports: u16, settings: Settings, timers: Timers) -> PoolConfig {
    let on = |bit: u8| settings.switches >> bit & 1 == 1;
    let addresses = (0..nat_ips as u8).map(|at| Ipv4Addr::new(10, 2, 1 + pls, at));
    PoolConfig {
        // Around the border of a 64-port page.
        ports: 1_087..=1_086 + ports,
        allocator: settings.allocator,
        selection: settings.selection,
        port_space: [PortSpace::PerVm, PortSpace::PerVmPort][usize::from(on(5))],
        endpoint_port_limit: settings.endpoint_port_limit,
        held_ports: [HeldPorts::Refuse, HeldPorts::ReuseOldest][usize::from(on(1))],
        on_idle: [OnIdle::Reset, OnIdle::Silent][usize::from(on(2))],
        late_packets: [LatePackets::Drop, LatePackets::Reset][usize::from(on(3))],
        reply_refreshes: !on(4),
        timers,
        lb_timers: settings.lb_timer.into_iter().collect(),
        ..PoolConfig::azure(PlsId(u16::from(pls)), addresses.collect())
    }
}

fn config() -> impl Strategy<Value = NatConfig> {
    let first = (timers(), 1..4_usize, 1..4_u16, settings());
    let limits = (
        prop_oneof![Just(None), (1..6_u32).prop_map(Some)],
        prop_oneof![3 => Just(None), 1 => (1..6_u32).prop_map(Some)],
    );
    (first, any::<u64>(), limits, any::<bool>()).prop_map(|(first, seed, limits, two)| {
        let (timers, nat_ips, ports, settings) = first;
        let mut pools = vec![pool(0, nat_ips, ports, settings, timers)];
        if two {
            pools.push(pool(1, 1, ports, settings, timers));
        }
        NatConfig {
            backend: BACKEND,
            seed,
            flow_limit: limits.0,
            table_limit: limits.1,
            pools,
            events: true,
        }
    })
}

fn wait() -> impl Strategy<Value = u64> {
    let timeouts = prop_oneof![
        Just(16_u64),
        Just(30),
        Just(65),
        Just(240),
        Just(300),
        Just(400)
    ];
    prop_oneof![
        Just(0),
        Just(1),
        // With a short hold-down: it ends just before a half-open timer of 30 s would.
        Just(29_400_000_000),
        (timeouts, 0..3_u64).prop_map(|(secs, by)| secs * 1_000_000_000 - 1 + by),
        0..70_000_000_000_u64,
    ]
}

fn flags() -> impl Strategy<Value = u8> {
    prop_oneof![
        4 => Just(0x02_u8),
        4 => Just(0x12),
        3 => Just(0x10),
        3 => Just(0x11),
        3 => Just(0x04),
        2 => Just(0x14),
        1 => Just(0x00),
        1 => Just(0x01),
        1 => 0..=0x1F_u8,
    ]
}

/// Numbers that meet, and the limits of how far apart two of a connection may be.
fn number() -> impl Strategy<Value = u32> {
    let far = prop_oneof![20 => Just(0), 1 => Just(1_u32 << 24), 1 => Just(1_u32 << 30)];
    (far, 0..6_u32).prop_map(|(far, near)| BASE.wrapping_add(far).wrapping_add(near))
}

fn segment() -> impl Strategy<Value = TcpSegment> {
    (flags(), number(), number(), 0..3_u16).prop_map(|(flags, sequence, ack, length)| TcpSegment {
        flags: TcpFlags(flags),
        sequence,
        acknowledgement: ack,
        window: 0,
        length: length.saturating_sub(1),
    })
}

/// A datagram, a TCP segment, or (the rarest) a TCP fragment after the first.
fn payload() -> impl Strategy<Value = (Protocol, Option<TcpSegment>)> {
    prop_oneof![
        4 => Just((Protocol::Udp, None)),
        20 => segment().prop_map(|segment| (Protocol::Tcp, Some(segment))),
        1 => Just((Protocol::Tcp, None)),
    ]
}

fn key() -> impl Strategy<Value = (Key, Option<TcpSegment>)> {
    (0..5_u8, 0..8_u32, payload()).prop_map(|(pls, bits, (protocol, segment))| {
        let client = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 4), 5_000 + (bits & 1) as u16);
        let key = Key {
            pls: PlsId(u16::from(pls == 0)),
            link: LinkId(bits >> 1 & 1),
            client,
            endpoint: SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 9), 443),
            backend_port: 8_443 + (bits >> 2) as u16,
            protocol,
        };
        (key, segment)
    })
}

fn step() -> impl Strategy<Value = Step> {
    let source = prop_oneof![
        12 => Just(Source::Backend),
        1 => Just(Source::OtherHost),
        1 => Just(Source::OtherPort),
        1 => Just(Source::UnknownNat),
    ];
    prop_oneof![
        5 => wait().prop_map(Step::Wait),
        2 => Just(Step::Timeout),
        10 => key().prop_map(|(key, segment)| Step::Original(key, segment)),
        10 => (any::<usize>(), source, payload()).prop_map(
            |(which, source, (protocol, segment))| Step::Reply(which, source, protocol, segment)
        ),
        1 => Just(Step::AddNatIp),
    ]
}

struct Pair {
    engine: NatEngine,
    model: Model,
    pools: usize,
    now: u64,
    added: u8,
    /// What the events say is bound.
    told: BTreeSet<(SocketAddrV4, Protocol, u16)>,
}

impl Pair {
    fn new(config: &NatConfig) -> Self {
        Self {
            engine: NatEngine::new(config.clone()).unwrap(),
            model: Model::new(config),
            pools: config.pools.len(),
            now: 0,
            added: 0,
            told: BTreeSet::new(),
        }
    }

    fn apply(&mut self, step: &Step) {
        let now = Instant::from_nanos(self.now);
        match step {
            Step::Wait(nanos) => {
                self.now += nanos;
                return;
            }
            Step::Timeout => {
                self.engine.handle_timeout(now);
                self.model.advance(self.now);
            }
            Step::Original(key, segment) => self.original(key, segment.as_ref()),
            Step::Reply(which, source, protocol, segment) => {
                self.reply(*which, *source, *protocol, segment.as_ref());
            }
            Step::AddNatIp => {
                if self.model.pool(PlsId(0)).nat_ips.len() < 8 {
                    let address = Ipv4Addr::new(10, 2, 9, self.added);
                    self.engine.add_nat_ip(PlsId(0), address).unwrap();
                    self.model.add_nat_ip(PlsId(0), address);
                    self.added += 1;
                }
                self.engine.handle_timeout(now);
                self.model.advance(self.now);
            }
        }
        self.compare();
    }

    fn original(&mut self, key: &Key, segment: Option<&TcpSegment>) {
        let packet = Original {
            pls: key.pls,
            link: key.link,
            client: key.client,
            endpoint: key.endpoint,
            backend_port: key.backend_port,
            protocol: key.protocol,
            segment: segment.copied(),
        };
        let got = self.engine.original(&packet, Instant::from_nanos(self.now));
        if usize::from(key.pls.0) >= self.pools {
            assert_eq!(got, Err(NatError::NoFlow));
            self.model.advance(self.now);
            return;
        }
        if let Ok(got) = got {
            assert_eq!(
                got.destination,
                SocketAddrV4::new(BACKEND, key.backend_port)
            );
            assert_eq!((got.pls, got.link), (key.pls, key.link));
        }
        let got = got.map(|translation| translation.source);
        match self.model.original(key, segment, self.now) {
            Expected::Fails(error) => assert_eq!(got, Err(error)),
            Expected::Known(nat) => assert_eq!(got, Ok(nat)),
            Expected::OneOf(legal) => {
                let nat = got.unwrap();
                assert!(legal.contains(&nat), "{nat} is not one of {legal:?}");
                self.model.bound(key, segment, nat, self.now);
            }
            Expected::Perhaps(legal) => match got {
                Ok(nat) => {
                    assert!(legal.contains(&nat), "{nat} is not one of {legal:?}");
                    self.model.bound(key, segment, nat, self.now);
                }
                Err(error) => self.exhausted(key, error, None),
            },
            Expected::Exhausted(known) => {
                self.exhausted(key, got.expect_err("no port is free"), known);
            }
        }
    }

    /// A refusal, which the engine must have counted on one NAT IP.
    fn exhausted(&mut self, key: &Key, error: NatError, known: Option<Ipv4Addr>) {
        assert_eq!(error, NatError::PortsExhausted);
        let failures = |address: &Ipv4Addr| {
            let counters = self.model.counters.get(&(*address, key.protocol));
            counters.map_or(0, |counters| counters.bind_failures)
        };
        let grown = self
            .engine
            .usage()
            .find(|u| u.protocol == key.protocol && u.bind_failures > failures(&u.nat_ip));
        let blamed = grown.expect("a refusal that nobody counted").nat_ip;
        assert!(known.is_none_or(|known| known == blamed));
        self.model.failed(key, blamed);
    }

    fn reply(
        &mut self,
        which: usize,
        source: Source,
        protocol: Protocol,
        segment: Option<&TcpSegment>,
    ) {
        let flows: Vec<_> = self.model.flows.iter().collect();
        let any = SocketAddrV4::new(Ipv4Addr::new(10, 2, 1, 0), 1_087 + (which % 4) as u16);
        let picked = flows.get(which % flows.len().max(1));
        let (mut nat, port) = picked.map_or((any, 8_443), |f| (f.nat, f.key.backend_port));
        let mut from = SocketAddrV4::new(BACKEND, port);
        match source {
            Source::Backend => {}
            Source::OtherHost => from.set_ip(Ipv4Addr::new(10, 2, 0, 5)),
            Source::OtherPort => from.set_port(port + 1_000),
            Source::UnknownNat => nat.set_port(nat.port().wrapping_add((which % 7) as u16 * 400)),
        }
        let packet = Reply {
            source: from,
            destination: nat,
            protocol,
            segment: segment.copied(),
        };
        let got = self.engine.reply(&packet, Instant::from_nanos(self.now));
        let got = got.map(|got| (got.link, got.source, got.destination));
        let expected = self.model.reply(from, nat, protocol, segment, self.now);
        assert_eq!(got, expected);
    }

    /// Compares everything that can be seen from outside.
    fn compare(&mut self) {
        let wake = self.engine.poll_timeout();
        let now = Instant::from_nanos(self.now);
        assert!(wake.is_none_or(|wake| wake > now), "no progress");
        let mut resets: Vec<Rst> = core::iter::from_fn(|| self.engine.poll_reset())
            .map(|r| {
                let to_backend = r.toward == Direction::Original;
                let numbers = (r.sequence, r.acknowledgement);
                (
                    to_backend,
                    r.link,
                    r.source,
                    r.destination,
                    numbers.0,
                    numbers.1,
                )
            })
            .collect();
        resets.sort();
        self.model.resets.sort();
        assert_eq!(resets, core::mem::take(&mut self.model.resets));
        assert_eq!(self.engine.active_flows() as usize, self.model.active());
        let refused = self.model.refused;
        assert_eq!(
            self.engine.limit_refusals(),
            LimitRefusals {
                vm_flow_limit: refused.flows,
                endpoint_port_limit: refused.endpoint,
                nat_table_full: refused.table,
            }
        );
        for usage in self.engine.usage() {
            let at = (usage.nat_ip, usage.protocol);
            assert_eq!((usage.in_use, usage.held), self.model.used(at.0, at.1));
            let counters = self.model.counters.get(&at).cloned().unwrap_or_default();
            let seen = crate::model::Counters {
                peak: usage.peak,
                binds: usage.binds,
                bind_failures: usage.bind_failures,
                expired_idle: usage.expired_idle,
                expired_half_closed: usage.expired_half_closed,
                expired_half_open: usage.expired_half_open,
                lb_idle: usage.lb_idle,
                reused_held: usage.reused_held,
                first_exhausted: usage.first_exhausted.map(Instant::as_nanos),
            };
            assert_eq!(seen, counters, "{at:?}");
        }
        self.compare_bindings();
    }

    fn compare_bindings(&mut self) {
        let mut count = 0;
        for binding in self.engine.bindings() {
            count += 1;
            let mut flows = self.model.flows.iter();
            let flow = flows
                .find(|flow| {
                    flow.nat == binding.nat
                        && flow.key.protocol == binding.protocol
                        && flow.key.backend_port == binding.backend.port()
                })
                .expect("a binding nobody knows");
            assert_eq!(flow.key.client, binding.client);
            assert_eq!(flow.key.link, binding.link);
            assert_eq!(flow.since, binding.last.as_nanos());
            assert_eq!(state_of(flow.phase), binding.state);
        }
        assert_eq!(count, self.model.flows.len());
        while let Some(event) = self.engine.poll_event() {
            match event {
                NatEvent::Bound { binding, .. } => {
                    assert!(self.told.insert(owned(&binding)));
                }
                // Its port rests; the end of that is told too.
                NatEvent::Expired { binding, cause, .. } if self.rests(binding.pls, cause) => {}
                NatEvent::Expired { binding, .. } | NatEvent::Released { binding, .. } => {
                    assert!(self.told.remove(&owned(&binding)));
                }
                NatEvent::Revived { binding, .. } | NatEvent::LbIdle { binding, .. } => {
                    assert!(self.told.contains(&owned(&binding)));
                }
                NatEvent::Exhausted { .. } | NatEvent::ShareChanged { .. } => {}
            }
        }
        let flows = self.model.flows.iter();
        let bound: BTreeSet<_> = flows
            .map(|flow| (flow.nat, flow.key.protocol, flow.key.backend_port))
            .collect();
        assert_eq!(self.told, bound);
    }

    fn rests(&self, pls: PlsId, cause: Expiry) -> bool {
        let timers = self.model.pool(pls).timers;
        match cause {
            Expiry::HalfOpen => !timers.hold_down_half_open.is_zero(),
            Expiry::UdpIdle => !timers.hold_down_udp.is_zero(),
            Expiry::EstablishedIdle | Expiry::HalfClosedIdle | Expiry::AfterLbIdle => false,
        }
    }
}

/// What a binding owns: in the wider port space a port of one backend port.
fn owned(binding: &BindingInfo) -> (SocketAddrV4, Protocol, u16) {
    (binding.nat, binding.protocol, binding.backend.port())
}

fn state_of(phase: Phase) -> State {
    match phase {
        Phase::Udp => State::Udp,
        Phase::Init => State::HalfOpen,
        Phase::Open {
            client_fin: true, ..
        } => State::ClientFin,
        Phase::Open {
            server_fin: true, ..
        } => State::ServerFin,
        Phase::Open { .. } => State::Established,
        Phase::Dropped(_) => State::LbIdle,
        Phase::HeldFin => State::Closed,
        Phase::HeldRst => State::Reset,
        Phase::HeldRefused => State::Refused,
        Phase::HeldUnanswered => State::Unanswered,
        Phase::HeldUdp => State::UdpHeld,
    }
}

/// `PROPTEST_CASES` of them, or 12 000.
fn cases() -> u32 {
    let wanted = std::env::var("PROPTEST_CASES").ok();
    wanted.map_or(12_000, |cases| {
        cases.parse().expect("PROPTEST_CASES is a number")
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(cases()) })]
    #[test]
    fn behaves_like_the_reference_model(
        config in config(),
        steps in proptest::collection::vec(step(), 1..120),
    ) {
        let mut pair = Pair::new(&config);
        for step in &steps {
            pair.apply(step);
        }
        // Everything ends, and every port comes back.
        pair.apply(&Step::Wait(1_000_000_000_000));
        pair.apply(&Step::Timeout);
        assert!(pair.model.flows.is_empty());
        assert_eq!(pair.engine.poll_timeout(), None);
    }
}
