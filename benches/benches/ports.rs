//! The cases of the laboratory (`plsim bench ports`): one connection comes, one goes.

use std::time::Duration;

use criterion::measurement::{Measurement, WallTime};
use criterion::{Bencher, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use plsim_lab::{Allocation, Arena, Case, Effort, Laboratory, Occupancy, Workload};

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

/// Every allocator at every occupancy, one port space.
fn random_churn(criterion: &mut Criterion) {
    let cases = laboratory(Workload::RandomChurn, &Occupancy::ALL, 1).cases();
    bench(criterion, "random-churn", &cases);
}

/// The oldest connection goes, as where all live equally long.
fn fifo_churn(criterion: &mut Criterion) {
    let occupancies = [Occupancy::Share(500_000), Occupancy::Share(990_000)];
    let cases = laboratory(Workload::FifoChurn, &occupancies, 1).cases();
    bench(criterion, "fifo-churn", &cases);
}

/// Used ports side by side: the worst for a scan from a random start.
fn adversarial(criterion: &mut Criterion) {
    let occupancies = [Occupancy::Share(500_000), Occupancy::Share(990_000)];
    let cases = laboratory(Workload::Adversarial, &occupancies, 1).cases();
    bench(criterion, "adversarial", &cases);
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
        let id = BenchmarkId::new(case.allocation.name(), case.occupancy.to_text());
        // Built only if the bench is not filtered out.
        let mut arena = None;
        group.bench_function(id, |bencher| {
            connections(bencher, arena.get_or_insert_with(|| Arena::new(case)));
        });
    }
    group.finish();
}

/// Times connections in slices; between two slices, untimed, it is decided what comes and goes.
fn connections(bencher: &mut Bencher<'_>, arena: &mut Arena) {
    bencher.iter_custom(|wanted| {
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
    });
}

criterion_group!(benches, random_churn, fifo_churn, adversarial, cold);
criterion_main!(benches);
