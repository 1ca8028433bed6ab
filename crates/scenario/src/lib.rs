//! The scenario file: its format, its units, and its validation with line and caret.
//!
//! What it is: [`parse`] turns the bytes of a TOML file into a checked [`Scenario`], or into all
//! of its problems at once, each with file, line, column, the line itself, a caret, the reason
//! and a remedy. The structs of the model are the one source of the format: the JSON Schema
//! ([`schema`]) is generated from them and is what the file is checked with.
//!
//! What it is not: it knows no environment (no clock, no variables, no other files; only
//! [`read_file`] touches the file system) and builds no network. Addresses that are to be taken
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
mod diagnostic;
mod located;
mod model;
mod overrides;
mod read;
mod rules;
mod schema;
mod source;
mod suggest;
mod syntax;
mod toml_1_0;
mod tree;
mod tree_serde;
mod units;

pub use diagnostic::{Diagnostic, Diagnostics, Severity};
pub use model::{
    Action, AdminDown, AdminState, Application, Arrival, BackendPool, BackendVm, CertificateChain,
    ClientEndpointLink, ClientVm, Close, ConnectionState, Distribution, EdgeHostLink,
    EndpointEdgeLink, EphemeralPortOrder, Event, Expect, ExpectValue, Flapping, Fragments,
    Frontend, GeModel, HashStrength, HashTuple, HeldPorts, HoldDistribution, HostVmLink,
    JitterDistribution, LatePackets, LbIdleAction, Link, LinkDirection, LinkName, LinkSettings,
    LoadBalancer, LoneBackend, NatIpSelection, NetworkPolicies, NoHealthyBackends, OnExhaustion,
    OnIdle, Output, PoolConfiguration, PortAllocation, PortSpace, Preset, PrivateEndpoint,
    PrivateLinkService, Probe, ProbePhase, ProbePreset, ProbeProtocol, ProbeProxyHeader,
    ProxyDestination, RegionLatency, Rehash, Reorder, Rule, RuleProtocol, Run, Scenario, Sku,
    Subnet, TimerSet, TlsVersion, Transport, VirtualNetwork, VirtualNetworkPeering, VmState,
    Workload,
};
pub use read::{MAX_BYTES, ReadError, read_file};
pub use rules::{Lint, lints};
pub use schema::schema;
pub use source::sanitised;
pub use units::{
    Bandwidth, ByteSize, Count, FlowLimit, FrontendPath, HexBytes, Keepalive, Name, Network,
    PoolPath, PortRange, Rate, RulePath, SubnetPath, TimeSpan, UnitError,
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
/// value is TOML if it parses as such, and a text otherwise.
///
/// # Errors
/// All problems of the first stage that finds any: encoding and syntax; keys, types and units;
/// references, ranges and Azure's rules (with the warnings among them).
pub fn parse(
    source_name: &str,
    bytes: &[u8],
    overrides: &[String],
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
    let located = Located {
        sources: Arc::new(sources),
        tree: Arc::new(tree),
    };
    let problems = check::check(&located.tree, &located.sources);
    if !problems.is_empty() {
        return Err(Diagnostics::new(problems));
    }
    let mut scenario = Scenario::deserialize(&*located.tree).map_err(|mismatch| {
        // The check above accepts nothing that serde refuses; if it ever did, say so.
        let message = format!("the scenario cannot be read: {mismatch}");
        Diagnostic::new(Severity::Error, &located.sources, Span::default(), message)
    })?;
    scenario.located = located;
    rules::check(scenario)
}
