//! Threads change nothing: every output has the same bytes on any number of them.

use std::fs;
use std::hint::spin_loop;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use plsim::{Case, Outputs, Simulation, Sink, Step, Threads};
use plsim_scenario::{Curve, Rate, RateCurve, Scenario, Workload};
use plsim_types::Instant;

use crate::support::{SMALL, scenario, shipped, workload};
use crate::swarm::{self, Buffer};

/// How many kernel events of each shipped scenario run, the first of them on threads.
const EVENTS: Events = Events {
    first: 12_000,
    least: 40_000,
    most: 300_000,
};
/// How many do under load, again and again.
const EVENTS_UNDER_LOAD: Events = Events {
    first: 3_000,
    least: 3_000,
    most: 60_000,
};
/// In pieces of so many it is decided whether they run on several threads.
const STRETCH: u64 = 1_000;

/// How many kernel events an excerpt has.
#[derive(Debug, Clone, Copy)]
struct Events {
    first: u64,
    least: u64,
    most: u64,
}

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
    write_in_steps(scenario, |_| threads, 5_000).0
}

/// Runs so many events at a time, on so many threads as at each time are wanted; returns how many events
/// ran on several threads, too.
fn write_in_steps(
    scenario: &Scenario,
    threads: impl Fn(Instant) -> Threads,
    budget: u64,
) -> (Written, u64) {
    let buffers = [Buffer::default(), Buffer::default(), Buffer::default()];
    let [capture, events, samples] = &buffers;
    let outputs = Outputs {
        capture: Some(Sink::new(capture.clone())),
        events: Some(Sink::new(events.clone())),
        timeseries: Some(Sink::new(samples.clone())),
    };
    let mut simulation = build(scenario, outputs);
    let mut state = Step::Running;
    while state == Step::Running {
        simulation.set_threads(threads(simulation.now()));
        state = simulation.step(budget).unwrap();
    }
    let report = simulation.finish().unwrap();
    let written = Written {
        summary: report.summary.to_json(),
        files: buffers.map(|buffer| buffer.take()),
    };
    (written, report.shared_events)
}

/// A shipped scenario up to where all that it has in store has happened: a little behind its last event
/// and the start of its last workload, and some thousands of kernel events at least. Where that would be
/// too many, its traffic is thinned to a quarter, again and again, and no event is left out.
struct Excerpt {
    scenario: Scenario,
    /// When each [`STRETCH`] of kernel events begins, and whether it runs on several threads: the first
    /// ones do, and those before, at and after an event or a start. What lies between runs on one: where
    /// little happens at once, threads that must share it take a thousand times as long.
    stretches: Vec<(Instant, bool)>,
}

impl Excerpt {
    /// Reads a scenario, and thins its traffic until the excerpt has few enough kernel events.
    fn new(file: &Path, events: Events, overrides: &[&str]) -> Self {
        let text = fs::read(file).unwrap();
        let name = file.to_str().unwrap();
        let overrides: Vec<String> = overrides.iter().map(|&pair| pair.to_owned()).collect();
        let (mut scenario, _) = plsim_scenario::parse(name, &text, &overrides).unwrap();
        scenario.output.capture = true;
        if !overrides.is_empty() {
            // They ask about links that are as in the file.
            scenario.expect.clear();
        }
        for _ in 0..10 {
            if let Some(begins) = begins(&scenario, events) {
                let end = begins.last().unwrap().since(Instant::ZERO);
                scenario.run.duration.0 = scenario.run.duration.0.min(end);
                let stretches = stretches(&scenario, &begins, events.first);
                return Self {
                    scenario,
                    stretches,
                };
            }
            scenario.workload.iter_mut().for_each(thin);
        }
        panic!("{name}: its traffic cannot be thinned");
    }

    /// Runs it on so many threads wherever it is to run on several; returns how many events that were.
    fn write(&self, count: usize) -> (Written, u64) {
        let threads = |now| {
            let begun = self.stretches.partition_point(|(begin, _)| *begin <= now);
            match self.stretches[begun.max(1) - 1].1 {
                true => Threads::Always(count),
                false => Threads::One,
            }
        };
        write_in_steps(&self.scenario, threads, STRETCH / 2)
    }
}

/// When something begins of itself: each event of the file and each workload.
fn beginnings(scenario: &Scenario) -> Vec<Instant> {
    let events = scenario.event.iter().map(|event| event.at.0);
    let starts = scenario.workload.iter().map(|workload| workload.start.0);
    events.chain(starts).map(|at| Instant::ZERO + at).collect()
}

/// Returns when each stretch begins, up to three behind the last beginning; `None` if those are too many.
fn begins(scenario: &Scenario, events: Events) -> Option<Vec<Instant>> {
    let last = beginnings(scenario).into_iter().max().unwrap_or_default();
    let mut simulation = build(scenario, Outputs::none());
    let mut begins = vec![Instant::ZERO];
    let mut behind = 0;
    while behind < 3 || simulation.events() < events.least {
        if simulation.events() > events.most {
            return None;
        }
        let state = simulation.step(STRETCH).unwrap();
        begins.push(simulation.now());
        behind += u32::from(simulation.now() > last);
        if state == Step::Finished {
            break;
        }
    }
    Some(begins)
}

/// Chooses the stretches that run on threads.
fn stretches(scenario: &Scenario, begins: &[Instant], first: u64) -> Vec<(Instant, bool)> {
    let first = usize::try_from(first / STRETCH).unwrap();
    let mut stretches: Vec<_> = begins
        .iter()
        .enumerate()
        .map(|(place, begin)| (*begin, place < first))
        .collect();
    for at in beginnings(scenario) {
        let place = begins.partition_point(|begin| *begin <= at);
        let around = place.saturating_sub(2)..stretches.len().min(place + 1);
        for (_, is_shared) in &mut stretches[around] {
            *is_shared = true;
        }
    }
    stretches
}

/// Leaves a quarter of the connections.
fn thin(workload: &mut Workload) {
    let fewer = |rate: &mut Rate| {
        let every = rate.per().as_nanos() as f64 / 1e9 / rate.count() as f64;
        *rate = format!("{:.9}/s", 0.25 / every).parse().unwrap();
    };
    match &mut workload.rate {
        Some(RateCurve::Flat(rate)) => fewer(rate),
        Some(RateCurve::Varying(Curve::Diurnal { peak, .. })) => fewer(peak),
        Some(RateCurve::Varying(Curve::Ramp { from, to, .. })) => {
            from.iter_mut().for_each(fewer);
            fewer(to);
        }
        None => {}
    }
    let numbers = [
        &mut workload.connections,
        &mut workload.connections_per_vm,
        &mut workload.clients,
        &mut workload.clients_per_vm,
    ];
    for number in numbers.into_iter().flatten() {
        number.0 = number.0.div_ceil(4);
    }
}

#[test]
fn every_shipped_scenario_writes_the_same_bytes_on_any_number_of_threads() {
    let mut shared_out = 0;
    let mut shared_by_command = 0;
    for file in shipped() {
        let name = file.display();
        let excerpt = Excerpt::new(&file, EVENTS, &[]);
        let (one, _) = excerpt.write(1);
        assert!(one.files[0].len() > 10_000, "{name} captures packets");
        let whole = one.summary.contains("\"shards\": {\n    \"count\": 1,");
        shared_out += usize::from(!whole);
        for threads in [2, 4, 8] {
            let (many, shared) = excerpt.write(threads);
            assert!(many == one, "{name} on {threads} threads");
            assert_eq!(shared == 0, whole, "{name}");
        }
        let (many, shared) = write_in_steps(&excerpt.scenario, |_| Threads::UpTo(2), 200_000);
        assert!(many == one, "{name} on two threads while that pays");
        shared_by_command += shared;
    }
    assert!(shared_out > 25, "{shared_out}");
    // How many depends on how soon the processors had time.
    assert!(shared_by_command > 0);
}

/// Keeps the processors busy beside some work, so that its threads are interrupted at odd moments.
fn under_load(work: impl FnOnce()) {
    struct End<'a>(&'a AtomicBool);
    impl Drop for End<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        for number in 1..=4 {
            let is_over = &is_over;
            scope.spawn(move || {
                while !is_over.load(Ordering::Relaxed) {
                    for _ in 0..1_009 * number {
                        spin_loop();
                    }
                    thread::sleep(std::time::Duration::from_micros(50));
                }
            });
        }
        let _end = End(&is_over);
        work();
    });
}

/// `PLSIM_REPEAT` says how often; with the links' impairments events, crashes and pools that change.
#[test]
fn threads_that_are_interrupted_write_the_same_bytes_each_time() {
    let times = std::env::var("PLSIM_REPEAT").map_or(5, |times| times.parse().unwrap());
    let impaired = [
        "link.client_endpoint.jitter=15us",
        "link.endpoint_edge.bandwidth=200Mbps",
        "link.edge_host.loss=0.01",
        "link.edge_host.duplicate=0.01",
        "link.edge_host.jitter=30us",
    ];
    let names = [
        "client-crash-leaks-ports",
        "lossy-link",
        "scale-pool-maglev-vs-modulo",
    ];
    for name in names {
        let excerpt = Excerpt::new(&scenario(name), EVENTS_UNDER_LOAD, &impaired);
        let (one, _) = excerpt.write(1);
        under_load(|| {
            for round in 0..times {
                for threads in [2, 4, 8] {
                    let (many, shared) = excerpt.write(threads);
                    assert!(shared > 4_000, "{name}: {shared}");
                    assert!(many == one, "{name} on {threads} threads, round {round}");
                }
            }
        });
    }
}

#[test]
fn threads_that_come_and_go_as_it_pays_change_no_byte() {
    let busy = |name: &str, rate: u32, start: &str, stop: &str| {
        let keys = format!("rate = \"{rate}/s\"\nstart = \"{start}\"\nstop = \"{stop}\"");
        workload(name, &keys)
    };
    let text = [
        SMALL.to_owned(),
        busy("always", 50, "0s", "3s"),
        busy("rush", 60_000, "500ms", "600ms"),
        busy("again", 60_000, "2s", "2100ms"),
    ]
    .concat();
    let (mut scenario, _) = plsim_scenario::parse(
        "rush.toml",
        text.as_bytes(),
        &["run.duration=3s".to_owned()],
    )
    .unwrap();
    scenario.output.capture = true;
    let (one, alone) = write_in_steps(&scenario, |_| Threads::UpTo(1), 200_000);
    assert_eq!(alone, 0);
    for threads in [2, 3] {
        let (many, shared) = write_in_steps(&scenario, |_| Threads::UpTo(threads), 200_000);
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
