//! A swarm of small scenarios, each drawn from one seed, and two judges of what they do.
//!
//! What it is: [`run`] draws the scenario of a seed, lets it run with a capture and asks
//! both judges: the oracle outside, which reads the capture with its own eyes and knows of the
//! scenario only what is configured, and the checks inside, which hold summary, samples and event
//! log against each other and against the capture. A violation comes with one line that replays it.
//!
//! What it is not: no property of speed, and no second simulator: where a NAT may judge either way
//! the oracle accepts both.
//!
//! | invariant | where |
//! |---|---|
//! | N1 one binding for a flow, one flow for a (VM, NAT IP, protocol, port) | outside, and in the event log |
//! | N2 a reply reaches the client that owns the binding, from what it dialled | outside |
//! | N3 NAT IP and port are of the service's pool and range | outside |
//! | N4 a flow is refused if and only if no port is free, or a limit is reached | outside, from bindings that the capture shows; counters inside |
//! | N5 each port comes back exactly once | event log, samples; at the end against the capture |
//! | N6 a flow stays with its VM, a VM that is down gets no new one | outside |
//! | N7 a live flow loses no packet because of another's refusal | outside |
//! | N8 lengths and checksums | outside, recomputed in full |
//! | N9 untouched fields are untouched, the time to live changes by what is configured, a PROXY header changes what it must | outside |
//! | N10 every packet ends once, for one reason; summary and capture agree | outside and inside; the balance by the run itself |
//! | N11 nothing is invented or doubled, order is kept in each flow | outside |
//! | N12 nothing untranslated passes | outside |
//! | N13 nothing passes an endpoint that is not Approved | outside |
//! | N14 no binding ends early or late | outside: replies, RSTs to the nanosecond, refusals, and ports at the end |
//! | N15 packets move the deadline | outside: the same bindings with keepalives |
//! | N16 time does not go back | capture, event log, samples |
//! | N17 only SYN and datagrams create bindings, only valid RSTs end them | outside |
//! | N18 a held-down port is not reused | outside |
//! | N19 the same bytes again | a part of the seeds runs twice |
//! | N21 all of this for every seed | the swarm itself |
//!
//! Not decided here: a UDP flow that idles out and begins anew on the very same port (the capture
//! shows no difference, its neighbours do); which VM refused a flow while pools change (any that
//! could have is accepted); whether a port is free where an allocation may give up; N20, because
//! runs cannot be resumed.
//!
//! Workloads are drawn with their models, several destinations and client profiles; client VMs crash, are shut down
//! and come back.
//!
//! Not drawn: presets and sets of time-outs, whose values are drawn one by one; ICMP on exhaustion.

mod draw;
mod inside;
pub(crate) mod journey;
mod knobs;
mod mappings;
mod oracle;
mod pcapng;
mod plan;
mod proxy;
mod random;
mod violation;
mod wire;

use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};

use plsim::{Case, Outputs, Report, Simulation, Sink, Step, Threads};

use draw::draw;
use plan::Plan;
pub use violation::Violation;

/// What a run of one seed left behind.
#[derive(Debug, Default)]
pub struct Run {
    /// The scenario's text.
    pub scenario: String,
    /// The capture.
    pub capture: Vec<u8>,
    /// `events.jsonl`.
    pub events: String,
    /// `timeseries.csv`.
    pub samples: String,
    /// `summary.json`; empty if the run did not end.
    pub summary: String,
    /// The packets of the run.
    pub packets: u64,
    /// What was violated, the first first.
    pub violations: Vec<Violation>,
}

/// Runs a seed and returns what was violated and all outputs.
#[must_use]
pub fn run(seed: u64) -> Run {
    run_on(seed, Threads::One)
}

/// Draws the scenario of a seed, runs it on so many threads and judges the run.
#[must_use]
pub fn run_on(seed: u64, threads: Threads) -> Run {
    let plan = draw(seed);
    let outputs = [Buffer::default(), Buffer::default(), Buffer::default()];
    let mut run = Run {
        scenario: plan.to_toml(),
        ..Run::default()
    };
    let report = catch_unwind(AssertUnwindSafe(|| {
        simulate(&run.scenario, threads, &outputs)
    }));
    let [capture, events, samples] = outputs;
    run.capture = capture.take();
    run.events = String::from_utf8_lossy(&events.take()).into_owned();
    run.samples = String::from_utf8_lossy(&samples.take()).into_owned();
    let report = match report {
        Ok(Ok(report)) => report,
        Ok(Err((invariant, problem))) => {
            run.violations.push(Violation::new(invariant, 0, problem));
            return run;
        }
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
            let what = format!("panic: {}", text.unwrap_or("without words"));
            run.violations.push(Violation::new("an assertion", 0, what));
            return run;
        }
    };
    run.summary = report.summary.to_json();
    run.packets = report.summary.ledger.injected();
    judge(&plan, &report, &mut run);
    run
}

/// Asks both judges.
fn judge(plan: &Plan, report: &Report, run: &mut Run) {
    let file = match pcapng::read(&run.capture) {
        Ok(file) => file,
        Err(problem) => {
            run.violations.push(Violation::new("N19", 0, problem));
            return;
        }
    };
    let findings = oracle::judge(plan, &file);
    let told = inside::Told {
        summary: &report.summary,
        events: &run.events,
        samples: &run.samples,
    };
    let inside = inside::check(plan, &told, &findings);
    run.violations = findings.violations;
    run.violations.extend(inside);
    // The cause comes before its effects.
    run.violations.sort_by_key(|violation| violation.at);
}

/// Returns the line that replays a seed, with what it violates.
#[must_use]
pub fn replay_line(seed: u64, violation: &Violation) -> String {
    let commit = Command::new("git")
        .args(["rev-parse", "--short", "HEAD"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output();
    let commit = commit.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    let commit = commit.unwrap_or_default();
    format!(
        "replay: cargo run -p plsim-tests --bin swarm -- --seed {seed} (commit {commit}): {violation}"
    )
}

/// Runs a scenario to its end; an error comes with the invariant it violates.
fn simulate(
    text: &str,
    threads: Threads,
    outputs: &[Buffer; 3],
) -> Result<Report, (&'static str, String)> {
    let refused = |problems: plsim_scenario::Diagnostics| ("the drawing", problems.render(false));
    let (scenario, _) =
        plsim_scenario::parse("swarm.toml", text.as_bytes(), &[]).map_err(refused)?;
    let [capture, events, samples] = outputs;
    let case = Case {
        name: "swarm".to_owned(),
        scenario,
        overrides: Vec::new(),
        seed: None,
    };
    let outputs = Outputs {
        capture: Some(Sink::new(capture.clone())),
        events: Some(Sink::new(events.clone())),
        timeseries: Some(Sink::new(samples.clone())),
    };
    let mut simulation = Simulation::new(case, outputs).map_err(refused)?;
    simulation.set_threads(threads);
    let broken = |error: plsim::RunError| ("N10", error.to_string());
    while simulation.step(1_000_000).map_err(broken)? == Step::Running {}
    simulation.finish().map_err(broken)
}

/// A file in memory that its writer need not give back.
#[derive(Debug, Clone, Default)]
pub struct Buffer(Arc<Mutex<Vec<u8>>>);

impl Buffer {
    /// Takes what was written since the last time.
    #[must_use]
    pub fn take(&self) -> Vec<u8> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut buffer = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        buffer.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
