//! The flow table beside a hash map, and the timer wheel: time, allocations and memory per flow.
//!
//! Keys are visited in an order that no prefetcher foresees. "hash map" is hashbrown from a key of
//! 16 bytes to the place of an entry in an array, hashed with the same keyed hash.

use std::alloc::System;
use std::hash::{Hash, Hasher};
use std::hint::black_box;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use plsim_benches::{CpuTime, say};
use plsim_table::{FixedMap, FlowTable, TimerOwner, TimerWheel};
use plsim_types::{Duration, Instant, KeyedHash};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static COUNTED: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// One, eight and sixty-four times the ports of a NAT IP.
const COUNTS: [u32; 3] = [64_512, 516_096, 4_128_768];
const SLICE: usize = 32;

/// A cache line.
#[derive(Clone, Copy, Default)]
struct Entry {
    key: [u64; 2],
    last: u64,
    _rest: [u64; 5],
}

/// A key that hashes as the flow table's keys do.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Key([u64; 2]);

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0[0]);
        state.write_u64(self.0[1]);
    }
}

const fn key(flow: u32) -> [u64; 2] {
    [(flow >> 15) as u64 | 7 << 32, (flow & 0x7fff) as u64]
}

fn hash(key: [u64; 2]) -> u64 {
    const HASH: KeyedHash = KeyedHash::new(1, "bench");
    HASH.pair(key[0], key[1])
}

const fn scattered(step: u32, count: u32) -> u32 {
    ((step.wrapping_mul(2_654_435_761) as u64 * count as u64) >> 32) as u32
}

fn entry(flow: u32) -> Entry {
    Entry {
        key: key(flow),
        last: 0,
        _rest: [u64::from(flow); 5],
    }
}

fn filled(count: u32) -> FlowTable<Entry> {
    let mut table = FlowTable::new();
    for flow in 0..count {
        table.insert(hash(key(flow)), entry(flow));
    }
    table
}

fn filled_map(count: u32) -> (FixedMap<Key, u32>, Vec<Entry>) {
    let mut map = FixedMap::new();
    let mut entries = Vec::new();
    for flow in 0..count {
        map.insert(Key(key(flow)), entries.len() as u32);
        entries.push(entry(flow));
    }
    (map, entries)
}

/// Says how many allocations an operation made, and what it left behind.
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

/// A known flow: found and touched.
fn find(criterion: &mut Criterion<CpuTime>) {
    let mut group = criterion.benchmark_group("find");
    for count in COUNTS {
        let mut step = 0_u32;
        let mut next = || {
            step = step.wrapping_add(1);
            key(scattered(step, count))
        };
        let mut table = filled(count);
        group.throughput(Throughput::Elements(SLICE as u64));
        let mut touch = |table: &mut FlowTable<Entry>| {
            let keys: [_; SLICE] = std::array::from_fn(|_| next());
            let hashes = keys.map(hash);
            for hash in hashes {
                table.prefetch(hash);
            }
            for hash in hashes {
                table.prefetch_found(hash);
            }
            for (key, hash) in keys.into_iter().zip(hashes) {
                let found = table.find(hash, |entry| entry.key == key);
                table.entry_mut(found.expect("it is there")).last += 1;
            }
        };
        group.bench_function(BenchmarkId::new("slices of 32", count), |bencher| {
            bencher.iter(|| touch(&mut table));
        });
        report("find", count, 1_000 * SLICE as u32, || {
            for _ in 0..1_000 {
                touch(&mut table);
            }
        });
        group.throughput(Throughput::Elements(1));
        group.bench_function(BenchmarkId::new("one at a time", count), |bencher| {
            bencher.iter(|| {
                let key = black_box(next());
                let found = table.find(hash(key), |entry| entry.key == key);
                table.entry_mut(found.expect("it is there")).last += 1;
            });
        });
        drop(table);
        let (map, mut entries) = filled_map(count);
        group.bench_function(BenchmarkId::new("hash map", count), |bencher| {
            bencher.iter(|| {
                let found = map.get(&black_box(Key(next())));
                entries[*found.expect("it is there") as usize].last += 1;
            });
        });
    }
    group.finish();
}

/// Whole tables: filled from empty, then emptied in scattered order.
fn fill(criterion: &mut Criterion<CpuTime>) {
    let mut group = criterion.benchmark_group("fill");
    group.sample_size(10);
    for count in COUNTS {
        group.throughput(Throughput::Elements(u64::from(count)));
        group.bench_function(BenchmarkId::new("flow table", count), |bencher| {
            bencher.iter_with_large_drop(|| filled(count));
        });
        group.bench_function(BenchmarkId::new("hash map", count), |bencher| {
            bencher.iter_with_large_drop(|| filled_map(count));
        });
        report("fill", count, count, || {
            std::mem::forget(black_box(filled(count)))
        });
    }
    group.finish();
    let mut group = criterion.benchmark_group("empty");
    group.sample_size(10);
    for count in COUNTS {
        group.throughput(Throughput::Elements(u64::from(count)));
        let odd = 2_654_435_761_u64;
        let order = |step: u32| (u64::from(step) * odd % u64::from(count)) as u32;
        group.bench_function(BenchmarkId::new("flow table", count), |bencher| {
            bencher.iter_batched_ref(
                || filled(count),
                |table| {
                    for step in 0..count {
                        let flow = order(step);
                        table.remove(hash(key(flow)), flow);
                    }
                },
                BatchSize::PerIteration,
            );
        });
        group.bench_function(BenchmarkId::new("hash map", count), |bencher| {
            bencher.iter_batched_ref(
                || filled_map(count),
                |(map, entries)| {
                    for step in 0..count {
                        let place = map.remove(&Key(key(order(step)))).expect("it is there");
                        entries[place as usize] = Entry::default();
                    }
                },
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

/// The deadlines of entries, as an owner keeps them.
struct Flows(FlowTable<Entry>);

impl TimerOwner for Flows {
    fn deadline(&mut self, position: u32, _tag: u32) -> Option<Instant> {
        Some(Instant::from_nanos(self.0.entry(position).last))
    }

    fn fetch_ahead(&self, position: u32) {
        self.0.prefetch_entry(position);
    }
}

/// Idle timers of 300 s: armed, refreshed by 4 s, and run out.
fn wheel(criterion: &mut Criterion<CpuTime>) {
    let mut group = criterion.benchmark_group("wheel");
    group.sample_size(10);
    let idle = Duration::from_secs(300);
    for count in COUNTS {
        group.throughput(Throughput::Elements(u64::from(count)));
        let armed = |at: &dyn Fn(u32) -> Instant| {
            let mut flows = Flows(filled(count));
            let mut wheel = TimerWheel::new();
            for position in 0..count {
                let deadline = at(position) + idle;
                flows.0.entry_mut(position).last = deadline.as_nanos();
                wheel.insert(position, 0, deadline);
            }
            (flows, wheel)
        };
        let at_once = |_| Instant::ZERO;
        let over_a_minute =
            |position| Instant::from_nanos(60_000_000_000 / u64::from(count) * u64::from(position));
        let scattered_over_a_minute =
            |position: u32| Instant::from_nanos(60 * u64::from(scattered(position, 1_000_000_000)));
        let cases: [(&str, &dyn Fn(u32) -> Instant); 3] = [
            ("all at once", &at_once),
            ("over a minute", &over_a_minute),
            ("scattered", &scattered_over_a_minute),
        ];
        for (name, at) in cases {
            group.bench_function(BenchmarkId::new(name, count), |bencher| {
                bencher.iter_batched_ref(
                    || armed(at),
                    |(flows, wheel)| {
                        while let Some(wake) = wheel.next_wake() {
                            while let Some(due) = wheel.pop_due_of(wake, flows) {
                                black_box(due);
                            }
                        }
                    },
                    BatchSize::PerIteration,
                );
            });
        }
        let (_, wheel) = armed(&at_once);
        let bytes = wheel.memory_bytes() as f64 / f64::from(count);
        say(&format!("wheel/{count}: {bytes:.1} bytes a timer"));
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().with_measurement(CpuTime);
    targets = find, fill, wheel
}
criterion_main!(benches);
