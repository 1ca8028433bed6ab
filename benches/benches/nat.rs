//! The NAT engine: a known flow, a new flow, expiry, refusal. Ports alone: `ports`.

use std::hint::black_box;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use plsim_benches::{fill, nat, original, reply};
use plsim_nat::Allocation;
use plsim_types::{Duration, Instant, TcpFlags};

const NAMES: [(&str, Allocation); 2] = [("bitmap", Allocation::Bitmap), ("fifo", Allocation::Fifo)];

/// Visits flows in an order that no prefetcher foresees: the high bits of a product by an odd number.
const fn scattered(step: u32, count: u32) -> u32 {
    ((step.wrapping_mul(2_654_435_761) as u64 * count as u64) >> 32) as u32
}

/// One packet of a live flow, in either direction, one at a time.
fn translate(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("translate");
    group.throughput(Throughput::Elements(1));
    for count in [1_000_u32, 64_512, 500_000] {
        let mut engine = nat(8, Allocation::Bitmap);
        let translations = fill(&mut engine, count, Instant::ZERO);
        let mut step = 0_u32;
        group.bench_function(BenchmarkId::new("original", count), |bencher| {
            bencher.iter(|| {
                step = step.wrapping_add(1);
                // In a run the packet at hand is in the cache; the NAT's table may not be.
                let packet = original(scattered(step, count), TcpFlags::ACK);
                engine.original(black_box(&packet), Instant::from_nanos(u64::from(step)))
            });
        });
        let packets: Vec<_> = translations
            .iter()
            .map(|to| reply(to, TcpFlags::ACK))
            .collect();
        group.bench_function(BenchmarkId::new("reply", count), |bencher| {
            bencher.iter(|| {
                step = step.wrapping_add(1);
                let packet = &packets[scattered(step, count) as usize];
                engine.reply(black_box(packet), Instant::from_nanos(u64::from(step)))
            });
        });
    }
    group.finish();
}

/// Whole fills: per flow three packets, one binding.
fn bind(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("bind");
    group.sample_size(20);
    for count in [64_512_u32, 500_000] {
        group.throughput(Throughput::Elements(u64::from(count)));
        for (name, allocation) in NAMES {
            group.bench_function(BenchmarkId::new(name, count), |bencher| {
                bencher.iter_batched_ref(
                    || nat(8, allocation),
                    |engine| fill(engine, count, Instant::ZERO),
                    BatchSize::PerIteration,
                );
            });
        }
    }
    group.finish();
}

/// Everything idles out at once: expire, reset both ends, free the port.
fn expire(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("expire");
    group.sample_size(20);
    for count in [64_512_u32, 500_000] {
        group.throughput(Throughput::Elements(u64::from(count)));
        group.bench_function(BenchmarkId::new("idle", count), |bencher| {
            bencher.iter_batched_ref(
                || {
                    let mut engine = nat(8, Allocation::Bitmap);
                    let _ = fill(&mut engine, count, Instant::ZERO);
                    engine
                },
                |engine| {
                    engine.handle_timeout(Instant::ZERO + Duration::from_secs(300));
                    assert_eq!(engine.active_flows(), 0);
                    while let Some(reset) = engine.poll_reset() {
                        black_box(reset);
                    }
                },
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

/// A SYN that finds no port.
fn refuse(criterion: &mut Criterion) {
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

criterion_group!(benches, translate, bind, expire, refuse);
criterion_main!(benches);
