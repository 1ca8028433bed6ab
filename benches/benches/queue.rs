//! The event queue beside the standard library's heap, at a steady number of pending events.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use plsim_sim::{EventQueue, Stream};

/// How far ahead an event lies, in nanoseconds.
#[derive(Clone, Copy)]
enum Ahead {
    /// Exponential with a mean of 10 ms.
    Exponential,
    /// Link latencies, and one timer in five: 1 s, 75 s or 300 s.
    Network,
}

impl Ahead {
    const ALL: [(&'static str, Self); 2] = [
        ("exponential", Self::Exponential),
        ("network", Self::Network),
    ];

    fn draw(self, random: &mut Stream) -> u64 {
        match self {
            Self::Exponential => {
                1 + random
                    .exponential(plsim_types::Duration::from_millis(10))
                    .as_nanos()
            }
            Self::Network => match random.below(15) {
                0 => 1_000_000_000,
                1 => 75_000_000_000,
                2 => 300_000_000_000,
                3..=6 => 50_000,
                7..=10 => 500_000,
                _ => 100_000,
            },
        }
    }
}

/// Takes the next event and adds one: what one event costs the queue.
fn hold(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("hold");
    group.throughput(Throughput::Elements(1));
    for (name, ahead) in Ahead::ALL {
        for pending in [1_000_u32, 1_000_000] {
            // The draws are made beforehand: only the queue is measured.
            let mut random = Stream::new(1, "bench", name);
            let draws: Vec<u64> = (0..1 << 20).map(|_| ahead.draw(&mut random)).collect();
            let mut wheel = EventQueue::new();
            let mut heap = BinaryHeap::new();
            for tie in 0..u64::from(pending) {
                let time = draws[tie as usize & 0xf_ffff];
                wheel.push(time, tie, [0_u64; 2]);
                heap.push(Reverse((time, tie, [0_u64; 2])));
            }
            let mut tie = u64::from(pending);
            group.bench_function(
                BenchmarkId::new(format!("wheel/{name}"), pending),
                |bencher| {
                    bencher.iter(|| {
                        let (now, _, value) =
                            wheel.pop_before(u64::MAX).expect("events are pending");
                        tie += 1;
                        wheel.push(now + draws[tie as usize & 0xf_ffff], tie, value);
                    });
                },
            );
            group.bench_function(
                BenchmarkId::new(format!("binary/{name}"), pending),
                |bencher| {
                    bencher.iter(|| {
                        let Reverse((now, _, value)) = heap.pop().expect("events are pending");
                        tie += 1;
                        heap.push(Reverse((now + draws[tie as usize & 0xf_ffff], tie, value)));
                    });
                },
            );
        }
    }
    group.finish();
}

criterion_group!(benches, hold);
criterion_main!(benches);
