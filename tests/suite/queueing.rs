//! Runs through the whole path against queueing theory: five seeds, within four standard errors
//! that come from batches.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use plsim::{Case, Outputs, Simulation, Sink, Step};

use crate::support::SMALL;

/// Poisson arrivals of connections that are reset after their hold: a port is bound for that time.
const CALLS: &str = r#"
[[workload]]
name = "calls"
client_vm = "client"
private_endpoint = "endpoint"
port = 443
arrival = "poisson"
close = "rst"
syn_retries = 0
"#;

/// What makes holding times those of theory: no port rests, and round trips vanish.
const IDEAL: [&str; 5] = [
    "private_link_service.service.hold_down_rst=0s",
    "link.client_endpoint.latency=1us",
    "link.endpoint_edge.latency=1us",
    "link.edge_host.latency=1us",
    "link.host_vm.latency=1us",
];

#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// One sample of a run.
#[derive(Debug, Default, Clone, Copy)]
struct Sample {
    in_use: f64,
    attempted: f64,
    failed: f64,
}

/// Runs `CALLS` with this seed and returns a sample for each `output.interval`.
fn samples(seed: u64, overrides: &[String]) -> Vec<Sample> {
    let ideal = IDEAL.iter().map(|&pair| pair.to_owned());
    let overrides: Vec<String> = ideal.chain(overrides.iter().cloned()).collect();
    let text = format!("{SMALL}{CALLS}");
    let parsed = plsim_scenario::parse("calls.toml", text.as_bytes(), &overrides);
    let (scenario, _) = parsed.unwrap_or_else(|problems| panic!("{}", problems.render(false)));
    let case = Case {
        name: "calls".to_owned(),
        scenario,
        overrides,
        seed: Some(seed),
    };
    let written = Shared::default();
    let outputs = Outputs {
        timeseries: Some(Sink::new(written.clone())),
        ..Outputs::none()
    };
    let mut simulation = Simulation::new(case, outputs).expect("a scenario that can be built");
    while simulation.step(1_000_000).unwrap() == Step::Running {}
    simulation.finish().unwrap();
    let csv = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
    let mut rows = csv.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let header = rows.next().unwrap();
    let column = |name: &str| header.iter().position(|column| *column == name).unwrap();
    let (scope, protocol) = (column("scope"), column("protocol"));
    let number = |row: &[&str], name: &str| -> f64 { row[column(name)].parse().unwrap() };
    let mut samples = Vec::new();
    let mut sample = Sample::default();
    for row in rows {
        match row[scope] {
            "nat-ip" if row[protocol] == "tcp" => sample.in_use = number(&row, "in_use"),
            "run" => {
                sample.attempted = number(&row, "attempted");
                sample.failed = number(&row, "failed");
                samples.push(sample);
            }
            _ => {}
        }
    }
    samples
}

/// Returns the mean of batches and its standard error.
#[expect(clippy::cast_precision_loss, reason = "a few hundred batches")]
fn estimate(batches: &[f64]) -> (f64, f64) {
    let count = batches.len() as f64;
    let mean = batches.iter().sum::<f64>() / count;
    let variance = batches.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (count - 1.0);
    (mean, (variance / count).sqrt())
}

fn assert_theory(what: &str, batches: &[f64], theory: f64) {
    let (mean, error) = estimate(batches);
    assert!(
        (mean - theory).abs() < 4.0 * error && error < theory / 10.0,
        "{what}: {mean} ± {error}, theory {theory}"
    );
}

/// Little's law, L = lambda W: the ports in use are the rate times the mean hold, however holds are
/// distributed. The mean of a truncated Pareto law with shape 1.5 from 1 s to 100 s is
/// 3 (1 - 100^-0.5) / (1 - 100^-1.5) = 2.7027 s.
#[test]
fn ports_in_use_obey_littles_law() {
    for (hold, mean) in [
        ("4s", 4.0),
        ("{ exponential = \"4s\" }", 4.0),
        ("{ uniform = [\"1s\", \"7s\"] }", 4.0),
        (
            "{ log_normal = { median = \"2s\", sigma = 1.0 } }",
            2.0 * 0.5_f64.exp(),
        ),
        (
            "{ pareto = { minimum = \"1s\", shape = 1.5, maximum = \"100s\" } }",
            2.702_702_7,
        ),
    ] {
        let overrides = [
            "run.duration=500s".to_owned(),
            "output.interval=10s".to_owned(),
            "workload.calls.rate=20/s".to_owned(),
            format!("workload.calls.hold={hold}"),
        ];
        let mut batches = Vec::new();
        for seed in 1..=5 {
            let samples = samples(seed, &overrides);
            // The first 100 s warm up; a batch is 50 s.
            let kept: Vec<f64> = samples[10..].iter().map(|sample| sample.in_use).collect();
            batches.extend(
                kept.chunks_exact(5)
                    .map(|five| five.iter().sum::<f64>() / 5.0),
            );
        }
        assert!(batches.len() >= 35, "{}", batches.len());
        assert_theory(hold, &batches, 20.0 * mean);
    }
}

/// Returns B(load, servers), by its recursion.
fn erlang_b(load: f64, servers: u32) -> f64 {
    (1..=servers).fold(1.0, |blocked, server| {
        load * blocked / (f64::from(server) + load * blocked)
    })
}

/// Erlang-B (blocked calls cleared): B(7, 10) = 7.87 %. It does not matter how holding times are
/// distributed, and a port too many or too few would be seen.
#[test]
fn blocking_is_erlang_b_with_poisson_arrivals() {
    let theory = erlang_b(7.0, 10);
    assert!((theory - 0.078_741).abs() < 1e-6, "{theory}");
    for hold in [
        "1s",
        "{ exponential = \"1s\" }",
        "{ empirical = [[\"500ms\", 3], [\"2.5s\", 1]] }",
    ] {
        let overrides = [
            "run.duration=4001s".to_owned(),
            "output.interval=1s".to_owned(),
            "private_link_service.service.port_range=2000-2009".to_owned(),
            "workload.calls.rate=7/s".to_owned(),
            format!("workload.calls.hold={hold}"),
        ];
        let mut batches = Vec::new();
        for seed in 1..=5 {
            let samples = samples(seed, &overrides);
            assert!(samples.len() >= 4_001, "{}", samples.len());
            // One mean hold warms up; a batch is 200 of them.
            let ends: Vec<Sample> = samples.into_iter().skip(1).step_by(200).collect();
            batches.extend(ends.windows(2).map(|pair| {
                (pair[1].failed - pair[0].failed) / (pair[1].attempted - pair[0].attempted)
            }));
        }
        assert!(batches.len() >= 95, "{}", batches.len());
        assert_theory(hold, &batches, theory);
        let (mean, error) = estimate(&batches);
        for servers in [9, 11] {
            let other = erlang_b(7.0, servers);
            assert!(
                (mean - other).abs() > 8.0 * error,
                "{hold}: {mean} ± {error} could be {servers} ports, {other}"
            );
        }
    }
}
