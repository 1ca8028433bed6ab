//! The cases of the laboratory (`plsim bench ports`): every workload with every allocator.
//!
//! One operation is a connection that comes and one that goes; in a fill an allocation, in a drain a
//! release, in a NAT a whole connection of its own (`allocate`) and its end (`release`).

use std::time::Duration;

use criterion::measurement::{Measurement, WallTime};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use plsim_lab::{Allocation, Arena, Case, Effort, Laboratory, Occupancy, Pass, Workload};

fn laboratory(workload: Workload, occupancies: &[Occupancy], vms: u32) -> Laboratory {
    Laboratory {
        allocations: Allocation::ALL.to_vec(),
        occupancies: occupancies.to_vec(),
        workloads: vec![workload],
        nat_ips: if vms == 1 { 1 } else { 8 },
        vms,
        ports: Case::MOST_PORTS,
        seed: 1,
        effort: Effort::QUICK,
    }
}

/// Every workload with every allocator, one port space.
fn workloads(criterion: &mut Criterion) {
    let half_and_nearly_full = [Occupancy::Share(500_000), Occupancy::Share(990_000)];
    for workload in Workload::ALL {
        let occupancies = match workload {
            Workload::RandomChurn => &Occupancy::ALL[..],
            Workload::FifoChurn | Workload::Adversarial => &half_and_nearly_full,
            // They pass through all.
            Workload::Fill | Workload::Drain | Workload::Nat => &[],
        };
        let cases = laboratory(workload, occupancies, 1).cases();
        bench(criterion, workload.name(), &cases);
    }
}

/// 8 NAT IPs and 1 000 VMs, visited in random order: cache misses.
fn cold(criterion: &mut Criterion) {
    let mut laboratory = laboratory(Workload::RandomChurn, &[Occupancy::Share(990_000)], 1_000);
    laboratory.allocations = vec![Allocation::Bitmap, Allocation::Fifo];
    bench(criterion, "cold", &laboratory.cases());
}

fn bench(criterion: &mut Criterion, name: &str, cases: &[Case]) {
    let mut group = criterion.benchmark_group(name);
    group.throughput(Throughput::Elements(1));
    group.sample_size(20);
    group.warm_up_time(Duration::from_millis(200));
    group.measurement_time(Duration::from_secs(1));
    for case in cases {
        // Built only if the bench is not filtered out.
        let mut arena = None;
        let mut time = |id: String, time: fn(&mut Arena, u64) -> Duration| {
            group.bench_function(id, |bencher| {
                let arena = arena.get_or_insert_with(|| Arena::new(case));
                bencher.iter_custom(|wanted| time(arena, wanted));
            });
        };
        let allocator = case.allocation.name();
        match case.workload {
            Workload::RandomChurn | Workload::FifoChurn | Workload::Adversarial => {
                time(format!("{allocator}/{}", case.occupancy.to_text()), churn);
            }
            Workload::Fill => time(allocator.to_owned(), allocations),
            Workload::Drain => time(allocator.to_owned(), releases),
            Workload::Nat => {
                time(format!("{allocator}/allocate"), allocations);
                time(format!("{allocator}/release"), releases);
            }
        }
    }
    group.finish();
}

/// Times connections in slices; between two slices, untimed, it is decided what comes and goes.
fn churn(arena: &mut Arena, wanted: u64) -> Duration {
    let mut left = wanted;
    let mut spent = WallTime.zero();
    while left > 0 {
        let slice = left.min(u64::from(arena.connections()));
        arena.plan(slice as u32);
        let begun = WallTime.start();
        arena.run();
        spent = WallTime.add(&spent, &WallTime.end(begun));
        left -= slice;
    }
    spent
}

fn allocations(arena: &mut Arena, wanted: u64) -> Duration {
    passes(arena, wanted, |pass| pass.allocate)
}

fn releases(arena: &mut Arena, wanted: u64) -> Duration {
    passes(arena, wanted, |pass| pass.release)
}

/// Times whole passes, for their first operations are cheaper than the last, as many as so many
/// operations would be where every port is found; returns the share of so many.
fn passes(arena: &Arena, wanted: u64, which: fn(&Pass) -> Option<f64>) -> Duration {
    let begun = WallTime.start();
    let mut now = || WallTime.end(begun).as_nanos() as u64;
    let count = wanted.div_ceil(u64::from(Case::MOST_PORTS));
    let passes = (0..count).filter_map(|_| which(&arena.pass(&mut now)));
    let each = passes.sum::<f64>() / count as f64;
    Duration::from_nanos((each * wanted as f64).round() as u64)
}

criterion_group!(benches, workloads, cold);
criterion_main!(benches);
