use super::{backends, pool};
use crate::{
    AdminState, CameBy, FrontendId, LbConfig, LbError, LbPoolId, Listen, LoadBalancer, Rule,
    Stickiness, StickyFlow,
};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec;
use alloc::vec::Vec;
use core::net::{Ipv4Addr, SocketAddrV4};
use plsim_types::{BackendId, Duration, FiveTuple, Instant, LinkId, Protocol};
use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop_oneof, proptest};

const IDLE: u64 = 2_000_000_000_000;
const LIMIT: usize = 20;
/// Pools 0 and 1 may change and share backend 2; pool 2 cannot; pool 3 is empty.
const POOLS: [&[u16]; 4] = [&[0, 1, 2], &[2, 3], &[8, 9], &[]];

#[derive(Debug, Clone)]
enum Step {
    Packet {
        link: u32,
        client: u16,
        rule: usize,
        opens: bool,
    },
    Backend(u16, bool),
    Admin(u16, u16, AdminState),
    Add(u16, u16),
    Remove(u16, u16),
    End(u16, u16),
    Advance(u64),
    Wake,
}

fn step() -> impl Strategy<Value = Step> {
    let packet = (0..3_u32, 0..6_u16, 0..6_usize, any::<bool>());
    let packet = packet.prop_map(|(link, client, rule, opens)| Step::Packet {
        link,
        client,
        rule,
        opens,
    });
    let span = prop_oneof![
        Just(0),
        Just(1),
        Just(IDLE / 2),
        Just(IDLE - 1),
        Just(IDLE),
        0..1_000_u64,
        0..IDLE / 8,
    ];
    let seat = || (0..4_u16, 0..5_u16);
    let state = prop_oneof![
        Just(AdminState::None),
        Just(AdminState::Up),
        Just(AdminState::Down)
    ];
    prop_oneof![
        12 => packet,
        2 => (0..5_u16, any::<bool>()).prop_map(|(backend, up)| Step::Backend(backend, up)),
        1 => (seat(), state).prop_map(|((pool, vm), state)| Step::Admin(pool, vm, state)),
        1 => seat().prop_map(|(pool, vm)| Step::Add(pool, vm)),
        1 => seat().prop_map(|(pool, vm)| Step::Remove(pool, vm)),
        1 => seat().prop_map(|(pool, vm)| Step::End(pool, vm)),
        2 => span.prop_map(Step::Advance),
        1 => Just(Step::Wake),
    ]
}

fn rules() -> Vec<Rule> {
    let rule = |protocol, port, pool| Rule {
        backend_port: port + 1,
        ..super::rule(protocol, port, pool)
    };
    vec![
        rule(Protocol::Tcp, 80, 0),
        rule(Protocol::Tcp, 81, 1),
        rule(Protocol::Udp, 80, 0),
        rule(Protocol::Tcp, 82, 2),
        rule(Protocol::Tcp, 83, 3),
    ]
}

type FlowName = (LinkId, FiveTuple);

/// The slow balancer: lists that are searched from end to end. What the hash says it does not
/// know; it learns it, and holds the engine to it: one flow and one set of backends, one answer.
struct Model {
    /// Flow, backend, time of the last packet.
    flows: Vec<(FlowName, u16, u64)>,
    down: BTreeSet<u16>,
    /// The members of each pool.
    members: [BTreeMap<u16, AdminState>; 4],
    answers: BTreeMap<(FlowName, Vec<u16>), u16>,
    now: u64,
}

impl Model {
    fn new() -> Self {
        let members = POOLS.map(|members| {
            let members = members.iter();
            members.map(|&member| (member, AdminState::None)).collect()
        });
        Self {
            flows: Vec::new(),
            down: BTreeSet::new(),
            members,
            answers: BTreeMap::new(),
            now: 0,
        }
    }

    fn expire(&mut self) {
        let now = self.now;
        self.flows.retain(|flow| now < flow.2 + IDLE);
    }

    /// Returns what the packet must get; `Ok(None)` is "what the hash says".
    fn expect(&self, rule: &Rule, name: FlowName, opens: bool) -> Result<Option<u16>, LbError> {
        let up = self.up(rule);
        let known = self.flows.iter().find(|flow| flow.0 == name);
        let members = &self.members[usize::from(rule.pool.0)];
        match known {
            Some(flow)
                if !opens
                    && members.len() == 1
                    && members.contains_key(&flow.1)
                    && self.down.contains(&flow.1)
                    && !up.contains(&flow.1) =>
            {
                Err(LbError::NoHealthyBackend)
            }
            Some(flow) if !opens || up.contains(&flow.1) => Ok(Some(flow.1)),
            _ if up.is_empty() => Err(LbError::NoHealthyBackend),
            None if opens && self.remembers(rule) && self.flows.len() == LIMIT => {
                Err(LbError::EdgeTableFull)
            }
            Some(_) | None => Ok(None),
        }
    }

    /// Takes note of a packet that went to `backend`.
    fn learn(&mut self, rule: &Rule, name: FlowName, opens: bool, backend: u16, hashed: bool) {
        if hashed {
            let up = self.up(rule);
            assert!(up.contains(&backend), "{backend} is down or foreign");
            let answer = *self.answers.entry((name, up)).or_insert(backend);
            assert_eq!(answer, backend, "the hash changed its mind");
        }
        let now = self.now;
        if let Some(flow) = self.flows.iter_mut().find(|flow| flow.0 == name) {
            (flow.1, flow.2) = (backend, now);
        } else if opens && self.remembers(rule) {
            self.flows.push((name, backend, now));
        }
    }

    fn up(&self, rule: &Rule) -> Vec<u16> {
        let members = self.members[usize::from(rule.pool.0)].iter();
        let up = members.filter(|(member, admin)| match admin {
            AdminState::None => !self.down.contains(member),
            AdminState::Up => true,
            AdminState::Down => false,
        });
        up.map(|(&member, _)| member).collect()
    }

    /// Forgets the flows of a pool's rules on a backend.
    fn end(&mut self, pool: u16, backend: u16) -> BTreeSet<StickyFlow> {
        self.expire();
        let ports: Vec<Listen> = rules()
            .iter()
            .filter(|rule| rule.pool.0 == pool)
            .map(|rule| rule.listen)
            .collect();
        let mut ended = BTreeSet::new();
        self.flows.retain(|((link, tuple), on, _)| {
            let listen = Listen::Port(tuple.protocol, tuple.destination.port());
            let stays = *on != backend || !ports.contains(&listen);
            if !stays {
                ended.insert(StickyFlow {
                    came_by: CameBy::Link(*link),
                    client: tuple.source,
                    frontend_port: tuple.destination.port(),
                });
            }
            stays
        });
        ended
    }

    fn remembers(&self, rule: &Rule) -> bool {
        matches!(rule.listen, Listen::Port(Protocol::Tcp, _)) && rule.pool.0 != 2
    }
}

fn engine() -> LoadBalancer {
    let pools = (0..).zip(POOLS).map(|(id, members)| pool(members, id != 2));
    LoadBalancer::new(&LbConfig {
        seed: 7,
        rules: rules(),
        backends: backends(10),
        pools: pools.collect(),
        stickiness: Stickiness {
            idle: Duration::from_nanos(IDLE),
            limit: LIMIT as u32,
        },
        ..super::config(0, true)
    })
    .unwrap()
}

fn packet(engine: &mut LoadBalancer, model: &mut Model, step: (u32, u16, usize, bool)) {
    let (link, client, rule, opens) = step;
    let now = Instant::from_nanos(model.now);
    let rules = rules();
    let listen = rules.get(rule).map(|rule| rule.listen);
    let (protocol, port) = match listen {
        Some(Listen::Port(protocol, port)) => (protocol, port),
        _ => (Protocol::Udp, 99),
    };
    let endpoint = Ipv4Addr::from_bits(0x0A00_0100 + link);
    let tuple = FiveTuple {
        protocol,
        source: SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 4), client),
        destination: SocketAddrV4::new(endpoint, port),
    };
    let name = (LinkId(link), tuple);
    let got = engine.select(FrontendId(0), LinkId(link), &tuple, opens, now);
    let Some(rule) = rules.get(rule) else {
        assert_eq!(got, Err(LbError::NoLbRule));
        return;
    };
    model.expire();
    match (model.expect(rule, name, opens), got) {
        (Err(expected), got) => assert_eq!(got, Err(expected)),
        (Ok(expected), Ok(got)) => {
            assert_eq!(got.backend_port, rule.backend_port);
            let hashed = expected.is_none();
            assert_eq!(expected.unwrap_or(got.backend.0), got.backend.0);
            model.learn(rule, name, opens, got.backend.0, hashed);
        }
        (Ok(expected), Err(error)) => panic!("{error} instead of {expected:?}"),
    }
}

/// Moves both to the model's time and compares everything that can be seen.
fn compare(engine: &mut LoadBalancer, model: &mut Model) {
    let now = Instant::from_nanos(model.now);
    model.expire();
    let late = engine.sticky_flows() as usize;
    assert!(late >= model.flows.len() && late <= LIMIT);
    engine.handle_timeout(now);
    assert_eq!(engine.sticky_flows() as usize, model.flows.len());
    for usage in engine.backend_usage() {
        let backend = usage.backend.0;
        let flows = model.flows.iter().filter(|flow| flow.1 == backend).count();
        assert_eq!(usage.sticky_flows as usize, flows);
        assert_eq!(usage.up, !model.down.contains(&backend));
    }
    let wake = engine.poll_timeout();
    assert!(wake.is_none_or(|wake| wake > now), "no progress");
    let deadline = model.flows.iter().map(|flow| flow.2 + IDLE).min();
    // A timer of flows that were ended may come up for nothing.
    assert!(wake.is_some() || deadline.is_none());
    assert!(deadline.is_none_or(|deadline| wake <= Some(Instant::from_nanos(deadline))));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]
    #[test]
    fn engine_agrees_with_the_slow_model_under_random_steps(
        steps in proptest::collection::vec((step(), any::<bool>()), 0..250)
    ) {
        let mut engine = engine();
        let mut model = Model::new();
        for (step, look) in steps {
            match step {
                Step::Packet { link, client, rule, opens } => {
                    packet(&mut engine, &mut model, (link, client, rule, opens));
                }
                Step::Backend(backend, up) => {
                    let now = Instant::from_nanos(model.now);
                    let set = engine.set_backend(BackendId(backend), up, now);
                    assert_eq!(set, Ok(()));
                    if up {
                        model.down.remove(&backend);
                    } else {
                        model.down.insert(backend);
                    }
                }
                Step::Admin(pool, backend, state) => {
                    let now = Instant::from_nanos(model.now);
                    let set = engine.set_admin_state(LbPoolId(pool), BackendId(backend), state, now);
                    let seat = model.members[usize::from(pool)].get_mut(&backend);
                    assert_eq!(set.is_ok(), pool != 2 && seat.is_some());
                    if let Some(seat) = seat.filter(|_| pool != 2) {
                        *seat = state;
                    }
                }
                Step::Add(pool, backend) => {
                    let now = Instant::from_nanos(model.now);
                    let added = engine.add_backend(LbPoolId(pool), BackendId(backend), now);
                    let members = &mut model.members[usize::from(pool)];
                    let new = pool != 2 && !members.contains_key(&backend);
                    assert_eq!(added.is_ok(), new);
                    if new {
                        members.insert(backend, AdminState::None);
                    }
                }
                Step::Remove(pool, backend) => {
                    let now = Instant::from_nanos(model.now);
                    let removed = engine.remove_backend(LbPoolId(pool), BackendId(backend), now);
                    let members = &mut model.members[usize::from(pool)];
                    let known = pool != 2 && members.contains_key(&backend);
                    assert_eq!(removed.is_ok(), known);
                    if known {
                        members.remove(&backend);
                    }
                }
                Step::End(pool, backend) => {
                    let now = Instant::from_nanos(model.now);
                    let ended = engine.end_flows(LbPoolId(pool), BackendId(backend), now);
                    assert_eq!(ended.is_ok(), pool != 2);
                    if pool != 2 {
                        let ended: BTreeSet<StickyFlow> = ended.unwrap().into_iter().collect();
                        assert_eq!(ended, model.end(pool, backend));
                    }
                }
                Step::Advance(span) => model.now += span,
                Step::Wake => {
                    let wake = engine.poll_timeout().map_or(0, Instant::as_nanos);
                    model.now = model.now.max(wake);
                }
            }
            // Looking calls `handle_timeout`; without it the engine must be as right.
            if look {
                compare(&mut engine, &mut model);
            }
            let wake = engine.poll_timeout();
            assert!(!look || wake.is_none_or(|wake| wake.as_nanos() > model.now));
        }
        compare(&mut engine, &mut model);
    }
}
