//! Threads change nothing: every output has the same bytes on any number of them.

use std::fs;

use plsim::{Case, Outputs, Simulation, Sink, Step, Threads};
use plsim_scenario::Scenario;
use plsim_types::Instant;

use crate::support::{SMALL, shipped};
use crate::swarm::{self, Buffer};

/// How many kernel events of each scenario are run.
const EVENTS: u64 = 12_000;

/// Everything that a run writes.
#[derive(Debug, PartialEq)]
struct Written {
    summary: String,
    files: [Vec<u8>; 3],
}

fn build(scenario: &Scenario, outputs: Outputs) -> Simulation {
    let case = Case {
        name: "threads".to_owned(),
        scenario: scenario.clone(),
        overrides: Vec::new(),
        seed: None,
    };
    let simulation = Simulation::new(case, outputs);
    simulation.unwrap_or_else(|problems| panic!("{}", problems.render(false)))
}

fn write(scenario: &Scenario, threads: Threads) -> Written {
    write_in_steps(scenario, threads, 5_000).0
}

/// Runs so many events at a time; returns how many ran on several threads, too.
fn write_in_steps(scenario: &Scenario, threads: Threads, budget: u64) -> (Written, u64) {
    let buffers = [Buffer::default(), Buffer::default(), Buffer::default()];
    let [capture, events, samples] = &buffers;
    let outputs = Outputs {
        capture: Some(Sink::new(capture.clone())),
        events: Some(Sink::new(events.clone())),
        timeseries: Some(Sink::new(samples.clone())),
    };
    let mut simulation = build(scenario, outputs);
    simulation.set_threads(threads);
    while simulation.step(budget).unwrap() == Step::Running {}
    let report = simulation.finish().unwrap();
    let written = Written {
        summary: report.summary.to_json(),
        files: buffers.map(|buffer| buffer.take()),
    };
    (written, report.shared_events)
}

/// Has a scenario end after some of its events, and write everything.
fn shorten(scenario: &mut Scenario) {
    scenario.output.capture = true;
    let mut simulation = build(scenario, Outputs::none());
    if simulation.step(EVENTS).unwrap() == Step::Finished {
        return;
    }
    while simulation.events() < EVENTS && simulation.step(EVENTS).unwrap() == Step::Running {}
    let end = simulation.now().since(Instant::ZERO);
    scenario.run.duration.0 = scenario.run.duration.0.min(end);
}

#[test]
fn every_shipped_scenario_writes_the_same_bytes_on_any_number_of_threads() {
    let mut shared_out = 0;
    for file in shipped() {
        let name = file.to_str().unwrap();
        let text = fs::read(&file).unwrap();
        let (mut scenario, _) = plsim_scenario::parse(name, &text, &[]).unwrap();
        shorten(&mut scenario);
        let one = write(&scenario, Threads::One);
        assert!(one.files[0].len() > 10_000, "{name} captures packets");
        let whole = one.summary.contains("\"shards\": {\n    \"count\": 1,");
        shared_out += usize::from(!whole);
        for threads in [2, 4, 8] {
            let many = write(&scenario, Threads::Always(threads));
            assert!(many == one, "{name} on {threads} threads");
        }
    }
    assert!(shared_out > 25, "{shared_out}");
}

#[test]
fn threads_that_come_and_go_as_it_pays_change_no_byte() {
    let workload = |name: &str, rate: u32, start: &str, stop: &str| {
        format!(
            "
[[workload]]
name = \"{name}\"
client_vm = \"client\"
private_endpoint = \"endpoint\"
port = 443
rate = \"{rate}/s\"
start = \"{start}\"
stop = \"{stop}\"
"
        )
    };
    let text = [
        SMALL.to_owned(),
        workload("always", 50, "0s", "3s"),
        workload("rush", 60_000, "500ms", "600ms"),
        workload("again", 60_000, "2s", "2100ms"),
    ]
    .concat();
    let (mut scenario, _) = plsim_scenario::parse(
        "rush.toml",
        text.as_bytes(),
        &["run.duration=3s".to_owned()],
    )
    .unwrap();
    scenario.output.capture = true;
    let (one, alone) = write_in_steps(&scenario, Threads::UpTo(1), 200_000);
    assert_eq!(alone, 0);
    for threads in [2, 3] {
        let (many, shared) = write_in_steps(&scenario, Threads::UpTo(threads), 200_000);
        assert!(many == one, "{threads} threads");
        assert!(shared > 50_000, "{shared} events on {threads} threads");
    }
}

#[test]
fn a_swarm_writes_the_same_bytes_on_any_number_of_threads() {
    for seed in (0..200).step_by(8) {
        let one = swarm::run(seed);
        for threads in [2, 4, 8] {
            let many = swarm::run_on(seed, Threads::Always(threads));
            assert!(
                many.capture == one.capture,
                "seed {seed}, {threads} threads"
            );
            assert_eq!(many.summary, one.summary, "seed {seed}, {threads} threads");
            assert_eq!(many.events, one.events, "seed {seed}, {threads} threads");
            assert_eq!(many.samples, one.samples, "seed {seed}, {threads} threads");
        }
    }
}

#[test]
fn a_service_without_latencies_cannot_be_shared_out_and_says_so() {
    let text = format!(
        "{SMALL}
[[workload]]
name = \"w\"
client_vm = \"client\"
private_endpoint = \"endpoint\"
port = 443
rate = \"50/s\"
"
    );
    let latencies = |latency: &str| -> Vec<String> {
        let links = ["client_endpoint", "endpoint_edge", "edge_host", "host_vm"];
        links
            .map(|link| format!("link.{link}.latency={latency}"))
            .into()
    };
    let parsed = |overrides: &[String]| {
        let parsed = plsim_scenario::parse("test.toml", text.as_bytes(), overrides);
        let (mut scenario, _) = parsed.unwrap();
        scenario.output.capture = true;
        scenario
    };
    let shards = |written: &Written| {
        let summary: serde_json::Value = serde_json::from_str(&written.summary).unwrap();
        summary["shards"].clone()
    };
    for (latency, count, look_ahead) in [("0s", 1, None), ("30us", 3, Some(30_000))] {
        let scenario = parsed(&latencies(latency));
        let one = write(&scenario, Threads::One);
        let expected = serde_json::json!({ "count": count, "look_ahead_ns": look_ahead });
        assert_eq!(shards(&one), expected);
        assert!(write(&scenario, Threads::Always(4)) == one);
    }
}
