//! Claims about the whole engine, through its public face.

mod evenness;
mod model;
mod pools;
mod rules;
mod stickiness;

use crate::{
    FrontendId, LbConfig, LbError, LbEvent, LbPoolId, LoadBalancer, PoolConfig, Rule, Selection,
    Stickiness,
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
        protocol,
        frontend_port,
        backend_port: frontend_port + 8_000,
        pool: LbPoolId(pool),
    }
}

/// One pool behind TCP 443 and UDP 443.
fn config(backends: u16, may_change: bool) -> LbConfig {
    LbConfig {
        seed: 42,
        rules: vec![rule(Protocol::Tcp, 443, 0), rule(Protocol::Udp, 443, 0)],
        pools: vec![PoolConfig {
            backends: (0..backends).map(BackendId).collect(),
            may_change,
        }],
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
