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
        // Nothing but the fill: every connection at once, up to the last port.
        (
            "fill_64512",
            PORT_EXHAUSTION,
            &[
                "workload.leak.arrival=at-once",
                "workload.leak.connections=64512",
                "run.duration=1s",
                "workload.leak.stop=1s",
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
