//! The rules a scenario must obey beyond its form: Azure's, and those of sound experiments.

mod addresses;
mod balancer;
mod control;
mod destination;
mod distribution;
mod frontend;
mod idle;
mod index;
mod link;
mod lints;
mod membership;
mod memory;
mod names;
mod probe;
mod proxy;
mod run;
mod sense;
mod service;
mod tcp_stack;
mod topology;
mod traffic;
mod workload;

pub use lints::{Lint, lints};
pub(crate) use workload::idle_keys;

use crate::diagnostic::{Diagnostic, Diagnostics, Severity, gathered};
use crate::model::Scenario;
use addresses::Claim;
use index::Index;
use std::collections::BTreeMap;

/// The rules at work on one scenario.
pub(crate) struct Rules<'s> {
    scenario: &'s Scenario,
    index: Index<'s>,
    claims: Vec<Claim>,
    found: Vec<Diagnostic>,
}

/// Applies all rules; returns the scenario with the warnings, or everything found.
pub(crate) fn check(scenario: Scenario) -> Result<(Scenario, Vec<Diagnostic>), Diagnostics> {
    let index = Index::new(&scenario);
    let mut rules = Rules {
        scenario: &scenario,
        claims: addresses::claims(&scenario, &index),
        index,
        found: Vec::new(),
    };
    rules.names();
    rules.references();
    rules.run();
    rules.links();
    rules.topology();
    rules.addresses();
    rules.services();
    rules.balancers();
    rules.probes();
    rules.proxy_protocol();
    rules.distributions();
    rules.idle();
    rules.tcp_stacks();
    rules.traffic();
    rules.frontend_clients();
    rules.events();
    rules.memberships();
    rules.idle_machines();
    rules.sense();
    rules.expectations();
    if rules
        .found
        .iter()
        .all(|found| found.severity != Severity::Error)
    {
        // An estimate of what cannot run says nothing.
        rules.memory();
        rules.traffic_there_is();
    }
    let found = once_for_all_copies(rules.found, &scenario);
    if found
        .iter()
        .any(|diagnostic| diagnostic.severity == Severity::Error)
    {
        return Err(Diagnostics::new(found));
    }
    Ok((scenario, gathered(found)))
}

/// Keeps of what is found in several copies of a section what is found in the first of them.
fn once_for_all_copies(found: Vec<Diagnostic>, scenario: &Scenario) -> Vec<Diagnostic> {
    let mut kept: Vec<Diagnostic> = Vec::new();
    // The first copy that something is found in, and in how many others it is found as well.
    let mut first: BTreeMap<_, (String, usize, usize)> = BTreeMap::new();
    for diagnostic in found {
        let key = (diagnostic.code, scenario.located.written(&diagnostic.path));
        match first.get_mut(&key) {
            Some((path, _, others)) if *path != diagnostic.path => *others += 1,
            Some(_) => kept.push(diagnostic),
            None => {
                first.insert(key, (diagnostic.path.clone(), kept.len(), 0));
                kept.push(diagnostic);
            }
        }
    }
    for (_, at, others) in first.into_values() {
        match others {
            0 => {}
            1 => kept[at]
                .help
                .push("the same holds for another copy".to_owned()),
            _ => kept[at]
                .help
                .push(format!("the same holds for {others} more copies")),
        }
    }
    kept
}

impl<'s> Rules<'s> {
    /// Adds a finding about the value at `path`.
    fn report(
        &mut self,
        lint: &'static Lint,
        path: &str,
        message: impl Into<String>,
    ) -> Finding<'_, 's> {
        let located = &self.scenario.located;
        let mut diagnostic = located.diagnostic(lint.severity, path, message.into());
        diagnostic.code = Some(lint.code);
        diagnostic.fact = lint.source;
        self.found.push(diagnostic);
        Finding {
            scenario: self.scenario,
            diagnostic: self
                .found
                .last_mut()
                .expect("broken invariant: just pushed"),
        }
    }
}

/// A finding that can be given more words.
struct Finding<'r, 's> {
    scenario: &'s Scenario,
    diagnostic: &'r mut Diagnostic,
}

impl Finding<'_, '_> {
    fn label(self, label: impl Into<String>) -> Self {
        self.diagnostic.label = label.into();
        self
    }

    fn help(self, help: impl Into<String>) -> Self {
        self.diagnostic.help.push(help.into());
        self
    }

    /// Shows a second place.
    fn see(self, path: &str, label: impl Into<String>) -> Self {
        let span = self.scenario.located.tree.span_at(path);
        self.diagnostic.related.push((span, label.into()));
        self
    }
}
