//! The NAT engine: a known flow, a new flow, expiry, refusal. Ports alone: `ports`.

use std::alloc::System;
use std::cell::RefCell;
use std::hint::black_box;
use std::net::{Ipv4Addr, SocketAddrV4};

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use plsim_benches::{
    BACKEND, CpuTime, balancer, fill, nat, nat_of, original, packet, pool, read, reply, say,
    scattered, write,
};
use plsim_lb::{FrontendId, LoadBalancer};
use plsim_nat::{Allocation, NatEngine, OnIdle, Original, PoolConfig, Reply, Translation};
use plsim_packet::Packet;
use plsim_types::{Duration, FiveTuple, Instant, LinkId, PlsId, TcpFlags};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static COUNTED: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Full NAT IPs and the VMs that they stand on: one, one with eight, eight with eight each.
const SIZES: [(u32, u8); 3] = [(1, 1), (1, 8), (8, 8)];
const PORTS: u32 = 64_512;
/// Packets that are translated together; in a run they arrived at one host in one instant.
const SLICE: usize = 32;

/// The NATs of some VMs with every port of every NAT IP in use.
struct Fleet {
    engines: Vec<NatEngine>,
    /// Flows of each engine.
    each: u32,
    step: u32,
}

impl Fleet {
    fn new((vms, nat_ips): (u32, u8), on_idle: OnIdle) -> Self {
        let engines = (0..vms).map(|_| {
            let mut engine = nat_of(PoolConfig {
                on_idle,
                ..pool(nat_ips)
            });
            let _ = fill(&mut engine, u32::from(nat_ips) * PORTS, Instant::ZERO);
            engine
        });
        Self {
            engines: engines.collect(),
            each: u32::from(nat_ips) * PORTS,
            step: 0,
        }
    }

    fn flows(&self) -> u32 {
        self.each * self.engines.len() as u32
    }

    /// A client's packet of some flow.
    fn packet(&mut self) -> Packet {
        self.step = self.step.wrapping_add(1);
        packet(scattered(self.step, self.each))
    }
}

/// Says how many allocations an operation makes, and how many bytes it leaves allocated.
fn report(what: &str, count: u32, operations: u32, work: impl FnOnce()) {
    let region = Region::new(COUNTED);
    work();
    let change = region.change();
    let calls = (change.allocations + change.reallocations) as f64 / f64::from(operations);
    let held = change.bytes_allocated as f64 - change.bytes_deallocated as f64;
    let held = held / f64::from(operations);
    say(&format!(
        "{what}/{count}: {calls:.6} allocations and {held:+.1} bytes per operation"
    ));
}

/// A packet of a live flow from wire to wire: read, look up, track, touch, rewrite, checksums. The
/// packet at hand is in the cache, as in a run; the NAT's tables need not be. Engines take turns.
fn translate(criterion: &mut Criterion<CpuTime>) {
    let mut group = criterion.benchmark_group("translate");
    for size in SIZES {
        let mut fleet = Fleet::new(size, OnIdle::Reset);
        let count = fleet.flows();
        let vms = fleet.engines.len();
        let mut turn = 0;
        let now = Instant::from_nanos(1);
        let mut slice = |fleet: &mut Fleet, packets: &mut [Packet; SLICE]| {
            turn = (turn + 1) % vms;
            fleet.engines[turn].originals(packets, |packet| (read(packet), now), write);
        };
        let slices = |fleet: &mut Fleet| -> Vec<[Packet; SLICE]> {
            (0..64)
                .map(|_| std::array::from_fn(|_| fleet.packet()))
                .collect()
        };
        group.throughput(Throughput::Elements(64 * SLICE as u64));
        let shared = RefCell::new(&mut fleet);
        group.bench_function(BenchmarkId::new("slices of 32", count), |bencher| {
            bencher.iter_batched_ref(
                || slices(&mut shared.borrow_mut()),
                |packets| {
                    for packets in packets {
                        slice(&mut shared.borrow_mut(), packets);
                    }
                },
                BatchSize::PerIteration,
            );
        });
        group.bench_function(BenchmarkId::new("one at a time", count), |bencher| {
            bencher.iter_batched_ref(
                || slices(&mut shared.borrow_mut()),
                |packets| {
                    let fleet = &mut *shared.borrow_mut();
                    for (at, packet) in packets.as_flattened_mut().iter_mut().enumerate() {
                        let original = read(packet);
                        write(packet, fleet.engines[at % vms].original(&original, now));
                    }
                },
                BatchSize::PerIteration,
            );
        });
        let mut packets = slices(&mut fleet);
        let operations = 64 * SLICE as u32;
        report("translate", count, operations, || {
            for packets in &mut packets {
                slice(&mut fleet, packets);
            }
        });
        let bytes: usize = fleet.engines.iter().map(NatEngine::memory_bytes).sum();
        say(&format!(
            "memory/{count}: {:.1} bytes per flow",
            bytes as f64 / f64::from(count)
        ));
    }
    group.finish();
}

/// A packet of the backend's, translated back.
fn reverse(criterion: &mut Criterion<CpuTime>) {
    let mut group = criterion.benchmark_group("reverse");
    for size in SIZES {
        let mut fleet = Fleet::new(size, OnIdle::Reset);
        let (count, vms) = (fleet.flows(), fleet.engines.len());
        let anywhere = Translation {
            pls: PlsId(0),
            link: LinkId(7),
            source: SocketAddrV4::new(BACKEND, 0),
            destination: SocketAddrV4::new(BACKEND, 443),
        };
        let now = Instant::from_nanos(1);
        let mut packets = |_| {
            fleet.step = fleet.step.wrapping_add(1);
            let at = scattered(fleet.step, fleet.each);
            let nat_ip = Ipv4Addr::new(10, 2, 0, 10 + (at / PORTS) as u8);
            let packet = Reply {
                destination: SocketAddrV4::new(nat_ip, 1024 + (at % PORTS) as u16),
                ..reply(&anywhere, TcpFlags::ACK)
            };
            (packet, now)
        };
        let mut slices = || -> Vec<[(Reply, Instant); SLICE]> {
            (0..64).map(|_| std::array::from_fn(&mut packets)).collect()
        };
        let mut engines = std::mem::take(&mut fleet.engines);
        group.throughput(Throughput::Elements(64 * SLICE as u64));
        group.bench_function(BenchmarkId::new("slices of 32", count), |bencher| {
            bencher.iter_batched_ref(
                &mut slices,
                |packets| {
                    for (turn, packets) in packets.iter_mut().enumerate() {
                        engines[turn % vms].replies(
                            packets,
                            |packet| *packet,
                            |_, translated| assert!(black_box(translated).is_ok()),
                        );
                    }
                },
                BatchSize::PerIteration,
            );
        });
        group.bench_function(BenchmarkId::new("one at a time", count), |bencher| {
            bencher.iter_batched_ref(
                &mut slices,
                |packets| {
                    for (turn, (packet, now)) in packets.as_flattened().iter().enumerate() {
                        let translated = engines[turn % vms].reply(packet, *now);
                        assert!(black_box(translated).is_ok());
                    }
                },
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

/// New flows from nothing until every port is in use: the load balancer's choice, then a miss, NAT
/// IP, port, both directions, timer. All growth of tables is in it.
fn bind(criterion: &mut Criterion<CpuTime>) {
    let mut group = criterion.benchmark_group("bind");
    group.sample_size(10);
    for (vms, nat_ips) in SIZES {
        // A hash fills no VM exactly: a little below, so that none is full.
        let count = vms * u32::from(nat_ips) * PORTS;
        let flows = if vms == 1 { count } else { count - count / 64 };
        let empty = || {
            let engines = (0..vms).map(|_| nat(nat_ips, Allocation::Bitmap));
            (balancer(vms as u16, false), engines.collect::<Vec<_>>())
        };
        group.throughput(Throughput::Elements(u64::from(flows)));
        group.bench_function(BenchmarkId::new("one at a time", count), |bencher| {
            bencher.iter_batched_ref(
                empty,
                |(balancer, engines)| {
                    for flow in 0..flows {
                        let (vm, packet) = choose(balancer, flow);
                        let bound = engines[vm].original(&packet, Instant::ZERO);
                        assert!(black_box(bound).is_ok());
                    }
                },
                BatchSize::PerIteration,
            );
        });
        let sliced = |(balancer, engines): &mut (LoadBalancer, Vec<NatEngine>)| {
            let mut slices: Vec<Vec<_>> = vec![Vec::with_capacity(SLICE); vms as usize];
            for flow in 0..flows {
                let (vm, packet) = choose(balancer, flow);
                slices[vm].push((packet, Instant::ZERO));
                if slices[vm].len() == SLICE {
                    engines[vm].originals(
                        &mut slices[vm],
                        |packet| *packet,
                        |_, bound| assert!(black_box(bound).is_ok()),
                    );
                    slices[vm].clear();
                }
            }
        };
        group.bench_function(BenchmarkId::new("slices of 32", count), |bencher| {
            bencher.iter_batched_ref(empty, sliced, BatchSize::PerIteration);
        });
        let mut all = empty();
        report("bind", count, flows, || sliced(&mut all));
    }
    group.finish();
}

fn choose(balancer: &mut LoadBalancer, flow: u32) -> (usize, Original) {
    let packet = original(flow, TcpFlags::SYN);
    let tuple = FiveTuple {
        protocol: packet.protocol,
        source: packet.client,
        destination: packet.endpoint,
    };
    let chosen = balancer
        .select(FrontendId(0), packet.link, &tuple, true, Instant::ZERO)
        .expect("all backends are up");
    (usize::from(chosen.backend.0), packet)
}

/// Everything idles out at once: expire, free the port; "reset" also tells both ends.
fn expire(criterion: &mut Criterion<CpuTime>) {
    let mut group = criterion.benchmark_group("expire");
    group.sample_size(10);
    for size in SIZES {
        for (name, on_idle) in [("silent", OnIdle::Silent), ("reset", OnIdle::Reset)] {
            let count = size.0 * u32::from(size.1) * PORTS;
            group.throughput(Throughput::Elements(u64::from(count)));
            group.bench_function(BenchmarkId::new(name, count), |bencher| {
                bencher.iter_batched_ref(
                    || Fleet::new(size, on_idle),
                    |fleet| {
                        for engine in &mut fleet.engines {
                            engine.handle_timeout(Instant::ZERO + Duration::from_secs(300));
                            assert_eq!(engine.active_flows(), 0);
                            while let Some(reset) = engine.poll_reset() {
                                black_box(reset);
                            }
                        }
                    },
                    BatchSize::PerIteration,
                );
            });
        }
    }
    group.finish();
}

/// A SYN that finds no port.
fn refuse(criterion: &mut Criterion<CpuTime>) {
    let mut engine = nat(8, Allocation::Bitmap);
    let _ = fill(&mut engine, 8 * 64_512, Instant::ZERO);
    let mut flow = 0x0100_0000_u32;
    let mut group = criterion.benchmark_group("refuse");
    group.throughput(Throughput::Elements(1));
    group.bench_function("full", |bencher| {
        bencher.iter(|| {
            flow = flow.wrapping_add(1);
            engine.original(black_box(&original(flow, TcpFlags::SYN)), Instant::ZERO)
        });
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().with_measurement(CpuTime);
    targets = translate, reverse, bind, expire, refuse
}
criterion_main!(benches);
