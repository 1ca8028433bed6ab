//! Backend VMs that were not as they should be.

use plsim_observe::{Ailment, Finding, OutageSummary, ProbeSummary};
use plsim_scenario::{Action, LoadBalancer, Probe, Rule, RuleProtocol};
use plsim_types::Instant;

use super::{Reader, connections};
use crate::configure::arrives_at;
use crate::numbers::{counted, rounded};

/// The most outages that have a finding of their own; the table has them all.
const MOST: usize = 8;

impl Reader<'_> {
    /// Outages that harmed somebody, one finding for each.
    pub(super) fn outages(&self) -> Vec<Finding> {
        let rows = self.summary.outages.iter();
        let harmful: Vec<&OutageSummary> = rows.filter(|row| row.harm() > 0).collect();
        let told = harmful.iter().take(MOST);
        let mut found: Vec<Finding> = told.map(|row| self.outage(row)).collect();
        let rest = harmful.get(MOST..).unwrap_or_default();
        if !rest.is_empty() {
            found.push(Finding {
                what: format!(
                    "{} harmed {}.",
                    counted(rest.len() as u64, "more outage"),
                    connections(rest.iter().map(|row| row.harm()).sum())
                ),
                help: vec!["summary.json has them all, under `outages`.".to_owned()],
            });
        }
        found
    }

    fn outage(&self, row: &OutageSummary) -> Finding {
        let rules = self.rules_without_probe(&row.backend);
        let mut what = format!("VM {} {}: {}.", row.backend, what_and_when(row), harm(row));
        let noticed = self.noticed(row);
        if !noticed.is_empty() {
            what += &format!(" {noticed}");
        }
        let kept_coming = row.refused + row.unanswered > 0;
        let mut help = Vec::new();
        if kept_coming && !rules.is_empty() {
            let names: Vec<&str> = rules.iter().map(|(_, rule)| rule.name.as_str()).collect();
            let names = names.join(", ");
            let have = if rules.len() == 1 { "has" } else { "have" };
            what += &format!(
                " It kept getting new connections: {} {have} no probe.",
                ruled(rules.len(), &names)
            );
            help.push(match rules[0].0.probe.first() {
                Some(probe) => format!(
                    "Add probe = \"{}\" to {}.",
                    probe.name,
                    ruled(rules.len(), &names)
                ),
                None => format!(
                    "Add a [[load_balancer.probe]], and name it in {}: probe = \"NAME\".",
                    ruled(rules.len(), &names)
                ),
            });
        }
        help.extend(self.sooner(row));
        help.extend(against_loss(row).map(str::to_owned));
        Finding { what, help }
    }

    /// Says what the probes of the VM made of an outage.
    fn noticed(&self, row: &OutageSummary) -> String {
        let mut probes = self.probes_of(&row.backend);
        if let (Some(probe), Some(after)) = (&row.found_by, row.found_after) {
            let back = row.back.map_or(String::new(), |at| {
                format!(
                    " and let it in again at {}",
                    rounded(at.since(Instant::ZERO))
                )
            });
            return format!("Probe {probe} took it out after {}{back}.", rounded(after));
        }
        let Some(probe) = probes.next() else {
            return String::new();
        };
        match (row.ailment, row.failed_probes, self.probe(probe)) {
            (Ailment::Stopped | Ailment::Restarted, ..) | (_, _, None) => String::new(),
            (_, 0, Some(_)) => "No probe noticed.".to_owned(),
            (_, failed, Some((lb, probe))) => format!(
                "Probe {}/{} failed {}, never {} in a row: the VM stayed in.",
                lb.name,
                probe.name,
                counted(failed, "time"),
                probe.threshold()
            ),
        }
    }

    /// Says how probes would find an outage sooner, or at all.
    fn sooner(&self, row: &OutageSummary) -> Option<String> {
        let probe = self.probes_of(&row.backend).next()?;
        let (_, probe) = self.probe(probe)?;
        let (threshold, interval) = (probe.threshold(), probe.interval.0);
        let kept_coming = row.refused + row.unanswered > 0;
        let missed = row.found_after.is_none() && row.failed_probes > 0;
        if missed && threshold > 1 {
            return Some(format!(
                "Lower probe_threshold of {} (now {threshold}): less then takes the VM out, and less \
                 lets it in again.",
                probe.name
            ));
        }
        let slow = threshold > 1 || interval.as_nanos() > 5_000_000_000;
        (kept_coming && row.found_after.is_some() && slow).then(|| {
            format!(
                "Have probe {} find out sooner: it asks every {interval}, and {} in a row count.",
                probe.name,
                counted(threshold.into(), "failure"),
            )
        })
    }

    fn probes_of<'a>(&'a self, vm: &'a str) -> impl Iterator<Item = &'a ProbeSummary> {
        let rows = self.summary.probes.iter();
        rows.filter(move |row| row.backend == vm)
    }

    /// Finds the section of a probe.
    pub(super) fn probe(&self, row: &ProbeSummary) -> Option<(&LoadBalancer, &Probe)> {
        let mut balancers = self.scenario.load_balancer.iter();
        let lb = balancers.find(|lb| *lb.name == *row.load_balancer)?;
        let probe = lb.probe.iter().find(|probe| *probe.name == *row.probe)?;
        Some((lb, probe))
    }

    /// Tells whether some workload comes by a rule.
    fn is_used(&self, lb: &LoadBalancer, rule: &Rule) -> bool {
        let mut workloads = self.scenario.workload.iter();
        workloads.any(|workload| {
            let is_here = arrives_at(self.scenario, workload, |path| {
                path.load_balancer == lb.name && path.frontend == rule.frontend
            });
            let dials = rule.protocol == RuleProtocol::All || rule.frontend_port == workload.port;
            is_here && dials && rule.protocol.carries(workload.protocol.into())
        })
    }

    /// Returns the rules without a probe by which traffic comes to a VM, at the start or later.
    fn rules_without_probe(&self, vm: &str) -> Vec<(&LoadBalancer, &Rule)> {
        let mut groups = self.scenario.backend_vm.iter();
        let Some(group) = groups.find(|group| group.machines().any(|name| name == vm)) else {
            return Vec::new();
        };
        let joins = self.scenario.event.iter().filter(|event| {
            let name = event.backend_vm.as_deref();
            event.action == Action::AddBackend && (name == Some(vm) || name == Some(&*group.name))
        });
        let joined = joins.filter_map(|event| event.backend_pool.as_ref());
        let pools: Vec<_> = group.backend_pools.iter().chain(joined).collect();
        let balancers = self.scenario.load_balancer.iter();
        let rules = balancers.flat_map(|lb| lb.rule.iter().map(move |rule| (lb, rule)));
        rules
            .filter(|(lb, rule)| {
                let mut own = pools.iter();
                rule.probe.is_none()
                    && self.is_used(lb, rule)
                    && own.any(|path| {
                        path.load_balancer == lb.name && path.backend_pool == rule.backend_pool
                    })
            })
            .collect()
    }
}

fn ruled(count: usize, names: &str) -> String {
    let ending = if count == 1 { "" } else { "s" };
    format!("rule{ending} {names}")
}

/// Says what was the matter, and when: `hung from 62 s to 92 s`.
fn what_and_when(row: &OutageSummary) -> String {
    let what = match row.ailment {
        Ailment::Crashed => "hung",
        Ailment::Stopped => "was stopped",
        Ailment::NotListening => "did not listen",
        Ailment::Flapping => "came and went",
        Ailment::Restarted => return format!("was started anew at {}", row.from),
        Ailment::ProbeBlocked => "denied its health probes",
        Ailment::ProbeStatus => "failed its health probes",
        Ailment::Slow => "answered too late for its health probes",
        Ailment::LinkDown => "was down",
    };
    let until = row
        .until
        .map_or_else(|| "the end".to_owned(), |until| until.to_string());
    format!("{what} from {} to {until}", row.from)
}

/// Says who was harmed.
fn harm(row: &OutageSummary) -> String {
    let mut parts = Vec::new();
    if row.lost > 0 {
        let how = match row.ailment {
            Ailment::Crashed | Ailment::Restarted => "left hanging",
            _ => "reset",
        };
        let was = if row.lost == 1 { "was" } else { "were" };
        parts.push(format!("{} {was} {how}", connections(row.lost)));
    }
    for (count, how) in [
        (row.refused, "refused"),
        (row.unanswered, "left without an answer"),
    ] {
        if count > 0 {
            let noun = if parts.is_empty() {
                "new connection"
            } else {
                "new one"
            };
            let was = if count == 1 { "was" } else { "were" };
            parts.push(format!("{} {was} {how}", counted(count, noun)));
        }
    }
    parts.join(", ")
}

/// Says what would have kept established connections.
const fn against_loss(row: &OutageSummary) -> Option<&'static str> {
    if row.lost == 0 {
        return None;
    }
    match row.ailment {
        Ailment::Stopped | Ailment::Restarted => Some(
            "Take the VM out of its pool first (drain-backend), and touch it when its connections \
             have ended.",
        ),
        Ailment::Crashed => Some(
            "Nobody tells clients of a VM that hangs: keepalives, or time-outs of the application, \
             find out.",
        ),
        Ailment::NotListening
        | Ailment::Flapping
        | Ailment::ProbeBlocked
        | Ailment::ProbeStatus
        | Ailment::Slow
        | Ailment::LinkDown => None,
    }
}
