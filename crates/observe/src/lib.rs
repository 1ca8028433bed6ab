//! Passive outputs: ledger, digest, capture, time series, event log, summary.
//!
//! What it is: a [`Recorder`] watches every packet of a run and keeps the [`Ledger`], the
//! [`Digest`], the refusals and, when asked, a pcapng [`Capture`]; [`TimeSeries`] (CSV) and
//! [`EventLog`] (JSON Lines) write what the caller samples; a [`Summary`] is the answer of a run,
//! and a [`Path`] asks it questions ([`Expectation`]).
//!
//! What it is not: it opens no file, prints nothing, reads no clock, and nothing here can change a
//! run.
//!
//! # Invariants
//! - Equal runs give equal bytes: no wall time, no iteration over a hash map, integer arithmetic.
//! - The digest does not depend on what output was asked for.
//! - Every packet that came into being is delivered, dropped with a reason, merged or in flight;
//!   [`Ledger::balance`] proves it.
//! - A writer keeps its first error, writes nothing more after it, and gives it back from
//!   `finish`, which alone flushes; dropping a writer writes nothing.
//! - Names from a scenario cannot become control characters, spreadsheet formulas or broken quotes.
#![forbid(unsafe_code)]

mod backend;
mod capture;
mod connections;
mod digest;
mod distribution;
mod event_log;
mod expectation;
mod idle;
mod ledger;
mod link;
mod name;
mod number;
mod outage;
mod output;
mod part;
mod pcapng;
mod place;
mod probe;
mod query;
mod query_text;
mod recorder;
mod refusal;
mod summary;
mod time_series;
mod workload;

pub use backend::{BackendSummary, RequestFailedBy, SynCookies};
pub use capture::{Capture, CaptureConfig, Interface, SNAP_LENGTH_MAX};
pub use connections::{Connections, FailedBy, Latency};
pub use digest::Digest;
pub use distribution::{MembershipSummary, Over, SkewSummary};
pub use event_log::{Event, EventLog};
pub use expectation::{Expectation, Test, Verdict};
pub use idle::{Heard, IdleCeiling, SetBy};
pub use ledger::{InjectedBy, Ledger, LedgerError};
pub use link::LinkSummary;
pub use name::sanitised;
pub use outage::{Ailment, OutageSummary};
pub use part::RecorderPart;
pub use place::Places;
pub use probe::ProbeSummary;
pub use query::{Path, QueryError};
pub use recorder::Recorder;
pub use refusal::{Refusal, RefusalKey};
pub use summary::{
    EndpointSummary, Finding, LbSummary, NatSummary, RefusalSummary, SCHEMA, Summary,
};
pub use time_series::{PortCounts, PortSpaceSample, RunSample, TimeSeries, WorkloadSample};

pub use serde_json::{Number, Value};
pub use workload::{DestinationSummary, LostBy, Operations, PoolSummary, WorkloadSummary};
