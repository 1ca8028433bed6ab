//! Scenario to world to report: the library behind the `plsim` command.
//!
//! What it is: [`Simulation`] builds the nodes and links of a checked
//! [`Scenario`](plsim_scenario::Scenario), lets virtual time run in steps, applies the scenario's
//! events, samples the port spaces, and ends in a [`Report`].
//!
//! What it is not: it opens no file, prints nothing and reads no clock; whoever drives it hands in
//! writers ([`Outputs`]) and may stop between two steps.
//!
//! # Invariants
//! - Same scenario and seed: the same report and the same bytes in every output.
//! - A run ends only with a balanced ledger and with connection outcomes that partition the
//!   attempts; anything else is [`RunError::Internal`].
//!
//! # Examples
//! ```
//! use plsim::{Case, Outputs, Simulation, Step};
//!
//! # let text = include_str!("../../../scenarios/quickstart.toml");
//! let (scenario, _warnings) = plsim_scenario::parse("quickstart.toml", text.as_bytes(), &[])
//!     .map_err(|problems| problems.render(false))?;
//! let case = Case { name: "quickstart".into(), scenario, overrides: vec![], seed: None };
//! let mut simulation = Simulation::new(case, Outputs::none())
//!     .map_err(|problems| problems.render(false))?;
//! while simulation.step(100_000)? == Step::Running {}
//! let report = simulation.finish()?;
//! assert!(report.passed());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

mod arrivals;
mod build;
mod configure;
mod control;
mod destination;
mod distribution;
mod events;
mod expectations;
mod findings;
mod frontend;
mod host;
mod idle;
mod law;
mod layout;
mod link;
mod loopback;
mod machine;
mod membership;
mod nat;
pub mod numbers;
mod outage;
mod outputs;
mod pool_log;
mod probe;
mod probe_report;
mod report;
mod room;
mod shard;
mod simulation;
mod summarise;
mod workload;
mod workload_report;

pub use arrivals::plans;
pub use outputs::{Outputs, Sink};
pub use probe_report::implications;
pub use report::Report;
pub use simulation::{Case, RunError, Simulation, Step};

pub use plsim_sim::{LinkStats, Shards, Threads};

pub use plsim_observe::{
    Ailment, Finding, Heard, IdleCeiling, Latency, LinkSummary, MembershipSummary, NatSummary,
    OutageSummary, ProbeSummary, RefusalSummary, SetBy, SkewSummary, Summary, Verdict,
    WorkloadSummary,
};
