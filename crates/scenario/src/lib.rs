//! The scenario file: its format, its units, and its validation with line and caret.
//!
//! What it is: [`parse`] turns the bytes of a TOML file into a checked [`Scenario`], or into all
//! of its problems at once, each with file, line, column, the line itself, a caret, the reason
//! and a remedy. The structs of the model are the one source of the format: the JSON Schema
//! ([`schema`]) is generated from them and is what the file is checked with.
//!
//! What it is not: it knows no environment (no clock, no variables; only [`read_file`] and
//! [`read_beside`] touch the file system) and builds no network. Addresses that are to be taken
//! dynamically, and the paths that expectations name, are the business of who builds the world.
//!
//! # Invariants
//! - A [`Scenario`] comes from [`parse`] only: every reference in it exists and every rule holds
//!   that can be checked without running it.
//! - No input makes it panic, overflow the stack or run for long: size and depth are limited
//!   before anything is built, and at most 50 problems are reported.
//! - No key is ignored: an unknown one is an error, also if a later version will know it.
//! - Quantities are exact: durations in nanoseconds, rates as fractions, no rounding of decimals.
//! - What is quoted from the input holds no control or direction-changing character.
#![forbid(unsafe_code)]

mod check;
mod copies;
mod diagnostic;
mod directory;
mod located;
mod memory;
mod model;
mod overrides;
mod profile;
mod read;
mod reference;
mod rows;
mod rules;
mod schema;
mod sense;
mod source;
mod suggest;
mod syntax;
mod toml_1_0;
mod tree;
mod tree_serde;
mod units;

pub use copies::Copies;
pub use diagnostic::{Diagnostic, Diagnostics, Severity};
pub use memory::Memory;
pub use model::{
    Action, AdminDown, AdminState, Application, Arrival, BackendPool, BackendVm, Bursts,
    CertificateChain, ClientEndpointLink, ClientOs, ClientVm, Close, ConnectionState, Destination,
    Distribution, EdgeHostLink, EndpointEdgeLink, EphemeralPortOrder, Event, Expect, ExpectValue,
    Flapping, Fragments, Frontend, FullTcp, GeModel, HashStrength, HashTuple, HeldPorts,
    HostVmLink, Jitter, JitterDistribution, LatePackets, LbIdleAction, Link, LinkDirection,
    LinkName, LinkSettings, LoadBalancer, LoneBackend, NatIpSelection, NetworkPolicies,
    NoHealthyBackends, NoticeClose, OnConnectFailure, OnExhaustion, OnIdle, Output, Pool,
    PoolConfiguration, PoolOrder, PortAllocation, PortSpace, Preset, PrivateEndpoint,
    PrivateLinkService, Probe, ProbePhase, ProbePreset, ProbeProtocol, ProbeProxyHeader, Profile,
    ProxyDestination, Publisher, RegionLatency, Rehash, Reorder, Retry, Rule, RuleProtocol, Run,
    Scenario, Skew, Sku, Subnet, TcpStack, TimerSet, TlsVersion, Transport, VirtualNetwork,
    VirtualNetworkPeering, VmState, Workload, WorkloadModel, Zipf,
};
pub use profile::Filled;
pub use read::{MAX_BYTES, ReadError, read_beside, read_file};
pub use reference::reference;
pub use rows::FileKind;
pub use rules::{Lint, lints};
pub use schema::schema;
pub use source::sanitised;
pub use suggest::nearest;
pub use units::{
    Bandwidth, ByteSize, Count, Curve, DayCurve, DelayedAck, Drawn, FileName, FlowLimit,
    FrontendPath, HexBytes, Keepalive, Law, Name, Network, PoolPath, PortRange, Probing, Quantity,
    Rate, RateCurve, RulePath, SubnetPath, TimeSpan, UnitError, UserTimeout,
};

use located::Located;
use serde::Deserialize;
use source::{Sources, Span};
use std::sync::Arc;
use syntax::Flaw;

/// Parses and checks a scenario; returns it with the warnings.
///
/// `source_name` names the file in messages. `overrides` are applied in order, each of the form
/// `section.NAME.key=value` (or `section[POSITION].key=value` for entries without a name); the
/// value is TOML if it parses as such, and a text otherwise. The scenario can name no other file.
///
/// # Errors
/// All problems of the first stage that finds any: encoding and syntax; keys, types and units;
/// references, ranges and Azure's rules (with the warnings among them).
pub fn parse(
    source_name: &str,
    bytes: &[u8],
    overrides: &[String],
) -> Result<(Scenario, Vec<Diagnostic>), Diagnostics> {
    let nowhere = |_: &str| Err("this scenario has no folder".to_owned());
    parse_with(source_name, bytes, overrides, &nowhere)
}

/// Parses and checks a scenario as [`parse`] does; `read` returns the content of the files that it
/// names, or says why it cannot (see [`read_beside`]).
///
/// # Errors
/// Those of [`parse`], and between its second and third stage what is wrong with the files.
pub fn parse_with(
    source_name: &str,
    bytes: &[u8],
    overrides: &[String],
    read: &dyn Fn(&str) -> Result<Vec<u8>, String>,
) -> Result<(Scenario, Vec<Diagnostic>), Diagnostics> {
    let (text, flaw) = syntax::decode(bytes);
    let mut sources = Sources::default();
    let file = sources.push(source_name, &text);
    let report = |flaws: Vec<Flaw>, sources: Sources| {
        let sources = Arc::new(sources);
        Diagnostics::new(
            flaws
                .into_iter()
                .map(|flaw| flaw.into_diagnostic(&sources))
                .collect(),
        )
    };
    if let Some(flaw) = flaw {
        return Err(report(vec![flaw], sources));
    }
    let mut tree = match syntax::parse_document(&text, file) {
        Ok(tree) => tree,
        Err(flaws) => return Err(report(flaws, sources)),
    };
    let flaws = overrides::apply(&mut tree, &mut sources, overrides);
    if !flaws.is_empty() {
        return Err(report(flaws, sources));
    }
    let filled = profile::fill(&mut tree, &mut sources);
    let mut sources = Arc::new(sources);
    let (problems, uses) = check::check(&tree, &sources);
    if !problems.is_empty() {
        return Err(Diagnostics::new(problems));
    }
    let files = rows::load(uses, read, &mut sources).map_err(Diagnostics::new)?;
    let located = Located {
        sources,
        tree: Arc::new(tree),
    };
    let mut scenario = Scenario::deserialize(&*located.tree).map_err(|mismatch| {
        // The check above accepts nothing that serde refuses; if it ever did, say so.
        let message = format!("the scenario cannot be read: {mismatch}");
        Diagnostic::new(Severity::Error, &located.sources, Span::default(), message)
    })?;
    scenario.located = located;
    scenario.files = files;
    scenario.filled = filled;
    scenario.number();
    rules::check(scenario)
}
