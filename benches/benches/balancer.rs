//! The load balancer: with and without a table of flows.

use std::hint::black_box;
use std::net::{Ipv4Addr, SocketAddrV4};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use plsim_benches::balancer;
use plsim_lb::FrontendId;
use plsim_types::{FiveTuple, Instant, LinkId, Protocol};

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
            let mut balancer = balancer(4, may_change);
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
