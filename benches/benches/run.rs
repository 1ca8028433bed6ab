//! Whole runs, in simulated end-to-end packets per second of wall time.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use plsim_benches::run;

const PORT_EXHAUSTION: &str = include_str!("../../scenarios/port-exhaustion.toml");
const QUICKSTART: &str = include_str!("../../scenarios/quickstart.toml");

/// One NAT IP and one VM run full: 64 512 complete handshakes through the whole path.
fn whole_run(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("run");
    group.sample_size(10);
    for (name, text, overrides) in [
        ("quickstart", QUICKSTART, &[][..]),
        ("port_exhaustion", PORT_EXHAUSTION, &[]),
        // Nothing but complete handshakes up to the last port, at the scenario's 1 000/s ...
        (
            "fill_64512",
            PORT_EXHAUSTION,
            &[
                "workload.leak.connections=64512",
                "run.duration=65s",
                "workload.leak.stop=65s",
            ],
        ),
        // ... and all within 7 ms: every connection is on its way at once.
        (
            "burst_64512",
            PORT_EXHAUSTION,
            &[
                "workload.leak.rate=10000000/s",
                "workload.leak.connections=64512",
                "workload.leak.stop=1s",
                "run.duration=1s",
            ],
        ),
    ] {
        let packets = run(text, overrides).summary.ledger.injected();
        group.throughput(Throughput::Elements(packets));
        group.bench_function(name, |bencher| bencher.iter(|| run(text, overrides)));
    }
    group.finish();
}

criterion_group!(benches, whole_run);
criterion_main!(benches);
