//! Claims about the whole engine, through its public face.

mod changes;
mod direct;
mod distribution;
mod evenness;
mod event_table;
mod model;
mod pools;
mod rules;
mod skew;
mod stickiness;

use crate::{
    AdminState, Backend, Distribution, Frontend, FrontendId, HashConfig, LbConfig, LbError,
    LbEvent, LbPoolId, Listen, LoadBalancer, PoolConfig, Rehash, Rule, Selection, Stickiness,
};
use alloc::vec;
use alloc::vec::Vec;
use core::net::{Ipv4Addr, SocketAddrV4};
use plsim_types::{BackendId, Duration, FiveTuple, Instant, LinkId, Protocol};

const FRONTEND: FrontendId = FrontendId(0);
const LINK: LinkId = LinkId(0x0100_0001);
const IDLE: Duration = Duration::from_secs(300);
const ENDPOINT: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 5), 443);

fn rule(protocol: Protocol, frontend_port: u16, pool: u16) -> Rule {
    Rule {
        frontend: FRONTEND,
        listen: Listen::Port(protocol, frontend_port),
        backend_port: frontend_port + 8_000,
        pool: LbPoolId(pool),
        probe: None,
        distribution: Distribution::FiveTuple,
        connection_tracking: false,
        forget_after: None,
    }
}

fn frontend(number: u8) -> Frontend {
    Frontend {
        address: Ipv4Addr::new(10, 2, 0, number),
        nat_ips: Vec::new(),
    }
}

fn backends(count: u16) -> Vec<Backend> {
    let backend = |id| Backend {
        id: BackendId(id),
        address: Ipv4Addr::from_bits(0x0A02_0104 + u32::from(id)),
    };
    (0..count).map(backend).collect()
}

fn pool(members: &[u16], may_change: bool) -> PoolConfig {
    let members = members.iter().map(|&id| (BackendId(id), AdminState::None));
    PoolConfig {
        members: members.collect(),
        may_change,
    }
}

/// One pool behind TCP 443 and UDP 443, and a second frontend without rules.
fn config(count: u16, may_change: bool) -> LbConfig {
    let members: Vec<u16> = (0..count).collect();
    LbConfig {
        seed: 42,
        frontends: vec![frontend(4), frontend(5)],
        rules: vec![rule(Protocol::Tcp, 443, 0), rule(Protocol::Udp, 443, 0)],
        backends: backends(count),
        pools: vec![pool(&members, may_change)],
        probes: Vec::new(),
        hash: HashConfig::default(),
        rehash: Rehash::default(),
        lone_backend_ends: true,
        stickiness: Stickiness {
            idle: IDLE,
            limit: 1_000_000,
        },
    }
}

fn balancer(backends: u16) -> LoadBalancer {
    LoadBalancer::new(&config(backends, true)).unwrap()
}

fn tuple(protocol: Protocol, client_port: u16) -> FiveTuple {
    FiveTuple {
        protocol,
        source: SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 4), client_port),
        destination: ENDPOINT,
    }
}

fn at(nanos: u64) -> Instant {
    Instant::from_nanos(nanos)
}

/// Sends the SYN of client port `port` at `now`.
fn syn(balancer: &mut LoadBalancer, port: u16, now: Instant) -> Result<Selection, LbError> {
    balancer.select(FRONTEND, LINK, &tuple(Protocol::Tcp, port), true, now)
}

/// Sends a later segment of client port `port` at `now`.
fn data(balancer: &mut LoadBalancer, port: u16, now: Instant) -> Result<Selection, LbError> {
    balancer.select(FRONTEND, LINK, &tuple(Protocol::Tcp, port), false, now)
}

fn events(balancer: &mut LoadBalancer) -> Vec<LbEvent> {
    core::iter::from_fn(|| balancer.poll_event()).collect()
}
