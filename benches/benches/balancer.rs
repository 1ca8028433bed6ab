//! The load balancer: with and without a table of flows.

use std::hint::black_box;
use std::net::{Ipv4Addr, SocketAddrV4};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use plsim_lb::{
    AdminState, Backend, Distribution, Frontend, FrontendId, HashConfig, LbConfig, LbPoolId,
    Listen, LoadBalancer, PoolConfig, Rehash, Rule, Stickiness,
};
use plsim_types::{BackendId, Duration, FiveTuple, Instant, LinkId, Protocol};

fn balancer(may_change: bool) -> LoadBalancer {
    LoadBalancer::new(&LbConfig {
        seed: 1,
        frontends: vec![Frontend {
            address: Ipv4Addr::new(10, 2, 0, 4),
            nat_ips: Vec::new(),
        }],
        rules: vec![Rule {
            frontend: FrontendId(0),
            listen: Listen::Port(Protocol::Tcp, 443),
            backend_port: 443,
            pool: LbPoolId(0),
            probe: None,
            distribution: Distribution::FiveTuple,
            connection_tracking: false,
            forget_after: None,
        }],
        backends: (0..4)
            .map(|id| Backend {
                id: BackendId(id),
                address: Ipv4Addr::from_bits(0x0a02_0104 + u32::from(id)),
            })
            .collect(),
        pools: vec![PoolConfig {
            members: (0..4).map(|id| (BackendId(id), AdminState::None)).collect(),
            may_change,
        }],
        probes: Vec::new(),
        hash: HashConfig::default(),
        rehash: Rehash::default(),
        lone_backend_ends: true,
        stickiness: Stickiness {
            idle: Duration::from_secs(300),
            limit: 1_000_000,
        },
    })
    .expect("the bench's balancer is valid")
}

fn tuple(flow: u32) -> FiveTuple {
    let client = Ipv4Addr::from_bits(0x0a01_0000 | (flow >> 15));
    FiveTuple {
        protocol: Protocol::Tcp,
        source: SocketAddrV4::new(client, 32_768 | (flow & 0x7fff) as u16),
        destination: SocketAddrV4::new(Ipv4Addr::new(10, 1, 255, 4), 443),
    }
}

fn select(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("select");
    group.throughput(Throughput::Elements(1));
    for (name, may_change) in [("fixed_pool", false), ("sticky", true)] {
        for flows in [1_000_u32, 64_512] {
            let mut balancer = balancer(may_change);
            let link = LinkId(7);
            for flow in 0..flows {
                let opened =
                    balancer.select(FrontendId(0), link, &tuple(flow), true, Instant::ZERO);
                assert!(opened.is_ok());
            }
            let mut step = 0_u64;
            group.bench_function(BenchmarkId::new(name, flows), |bencher| {
                bencher.iter(|| {
                    step += 1;
                    let flow = (step.wrapping_mul(2_654_435_761) % u64::from(flows)) as u32;
                    let now = Instant::from_nanos(step);
                    balancer.select(FrontendId(0), link, black_box(&tuple(flow)), false, now)
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, select);
criterion_main!(benches);
