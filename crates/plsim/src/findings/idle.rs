//! Connections that were silent for too long.

use std::collections::BTreeSet;

use plsim_nat::{LatePackets, OnIdle};
use plsim_observe::{Finding, Heard, IdleCeiling, SetBy};
use plsim_scenario::{Close, PrivateLinkService, RuleProtocol};
use plsim_types::{Duration, PlsId, Protocol};

use super::{Reader, connections};
use crate::layout::endpoint_named;
use crate::nat;
use crate::numbers::grouped;

/// When Linux sends the first keepalive, unless told otherwise.
const LINUX_KEEPALIVE: Duration = Duration::from_secs(7_200);

impl Reader<'_> {
    /// Connections that the load balancer dropped, one finding for each service.
    pub(super) fn lb_idle(&self) -> Vec<Finding> {
        let services = self.scenario.private_link_service.iter();
        services
            .filter_map(|service| {
                let name = service.name.as_str();
                let dropped: u64 = self.rows(name).map(|row| row.lb_idle).sum();
                let rules = self.summary.idle.iter();
                let rules: Vec<&IdleCeiling> = rules
                    .filter(|row| row.pls == name && row.set_by == SetBy::Rule)
                    .collect();
                let shortest = rules.iter().map(|row| row.rule_idle).min()?;
                let told = |heard| rules.iter().any(|row| row.heard == heard);
                let told = match (told(Heard::Reset), told(Heard::Silence)) {
                    (true, false) => "both ends got a RST",
                    (true, true) => "some rules send RST, some nothing",
                    (false, true | false) => {
                        "nobody was told, and what the ends send afterwards is dropped as lb-idle"
                    }
                };
                let mut whose: Vec<String> = rules
                    .iter()
                    .map(|row| format!("{} of rule {}", row.rule_idle, row.rule))
                    .collect();
                whose.dedup();
                let mut help = self.against_silence(name, shortest);
                let silent = rules
                    .iter()
                    .filter(|row| row.heard == Heard::Silence && self.may_reset(row));
                let mut silent: Vec<&str> = silent.map(|row| row.rule.as_str()).collect();
                silent.dedup();
                if !silent.is_empty() {
                    help.push(format!(
                        "Or set enable_tcp_reset = true in {}: both ends learn of it, and can \
                         connect anew.",
                        of_rules(&silent)
                    ));
                }
                let mut names: Vec<&str> = rules.iter().map(|row| row.rule.as_str()).collect();
                names.dedup();
                help.push(format!(
                    "Or raise idle_timeout of {} to {} or more: the service's own timeout binds \
                     then.",
                    of_rules(&names),
                    service.effective_timers().established_idle
                ));
                let missed = match self.missed(name) {
                    0 => " No request was lost to that.",
                    _ => "",
                };
                let orphans = self.orphans(name);
                (dropped > orphans).then(|| Finding {
                    what: format!(
                        "{name}: the load balancer dropped {} after the idle timeout of {}; \
                         {told}.{missed}{}",
                        connections(dropped),
                        whose.join(", "),
                        without_client(orphans)
                    ),
                    help,
                })
            })
            .collect()
    }

    /// Counts what clients of a service missed of connections that had been silent for too long: who has
    /// given one up before, or asks for nothing more, misses nothing.
    fn missed(&self, service: &str) -> u64 {
        let rows = self
            .scenario
            .counted_workloads()
            .zip(&self.summary.workloads);
        let own = rows.filter(|(workload, _)| {
            workload.endpoints().any(|name| {
                let endpoint = &self.scenario.private_endpoint[endpoint_named(self.scenario, name)];
                endpoint.private_link_service.as_str() == service
            })
        });
        own.map(|(_, row)| {
            let dead = row.pool.as_ref().map_or(0, |pool| pool.dead_by_silence);
            row.lost_to_silence + row.waiting_in_vain + dead
        })
        .sum()
    }

    /// Tells whether a rule may have a TCP reset: one of all ports may not.
    fn may_reset(&self, row: &IdleCeiling) -> bool {
        let mut balancers = self.scenario.load_balancer.iter();
        let lb = balancers.find(|lb| *lb.name == *row.load_balancer);
        let mut rules = lb.into_iter().flat_map(|lb| &lb.rule);
        let rule = rules.find(|rule| *rule.name == *row.rule);
        rule.is_some_and(|rule| rule.protocol != RuleProtocol::All)
    }

    /// Connections that idled out, one finding for each service.
    pub(super) fn idle(&self) -> Vec<Finding> {
        let services = self.scenario.private_link_service.iter();
        services
            .filter_map(|service| {
                let rows = self.rows(service.name.as_str());
                let rows = rows.filter(|row| row.protocol == Protocol::Tcp);
                let (mut expired, mut half_closed) = (0, 0);
                for row in rows {
                    expired += row.expired_idle;
                    half_closed += row.expired_half_closed;
                }
                let timers = service.effective_timers();
                let timeout = timers.established_idle;
                let mut waited = vec![format!("after the idle timeout of {timeout}")];
                if half_closed > 0 && timers.half_closed_idle != timeout {
                    let wait = timers.half_closed_idle;
                    waited.push(format!(
                        "{} of them half-closed after {wait}",
                        grouped(half_closed)
                    ));
                }
                let orphans = self.orphans(service.name.as_str());
                (expired > orphans).then(|| Finding {
                    what: format!(
                        "{}: {} died of silence {}, {}.{}",
                        service.name,
                        connections(expired),
                        waited.join(", "),
                        told(service),
                        without_client(orphans)
                    ),
                    help: self.against_silence(service.name.as_str(), timeout),
                })
            })
            .collect()
    }

    /// What keeps the connections of a service from idling out, if they were meant to live.
    fn against_silence(&self, service: &str, timeout: Duration) -> Vec<String> {
        let endpoints = self.scenario.private_endpoint.iter();
        let endpoints: BTreeSet<_> = endpoints
            .filter(|pe| pe.private_link_service.as_str() == service)
            .map(|endpoint| &endpoint.name)
            .collect();
        let own = self.scenario.workload.iter().filter(|workload| {
            let mut destinations = workload.endpoints();
            destinations.any(|name| endpoints.contains(name))
        });
        let (abandoned, meant): (Vec<_>, Vec<_>) =
            own.partition(|workload| workload.close == Close::Abandon);
        let mut help = Vec::new();
        if !abandoned.is_empty() {
            let mut names: Vec<&str> = abandoned
                .iter()
                .map(|workload| workload.name.as_str())
                .collect();
            // Copies may have one name.
            names.dedup();
            help.push(format!(
                "Close what is abandoned (workload {}).",
                names.join(", ")
            ));
        }
        if !meant.is_empty() {
            let linux = if timeout <= LINUX_KEEPALIVE {
                "; Linux's default of 7 200 s comes too late"
            } else {
                ""
            };
            help.push(format!(
                "Send keepalives at intervals below {timeout}, on TCP or in the application{linux}."
            ));
        }
        help
    }
}

/// Says what the ends of a connection of the service hear when it idles out.
fn told(service: &PrivateLinkService) -> &'static str {
    let pool = nat::pool(service, PlsId(0), Vec::new());
    match (pool.on_idle, pool.late_packets) {
        (OnIdle::Reset, _) => "and both ends got a RST",
        (OnIdle::Silent, LatePackets::Reset) => {
            "and nobody was told: whoever sends afterwards gets a RST"
        }
        (OnIdle::Silent, LatePackets::Drop) => {
            "and nobody was told: what the ends send afterwards is dropped as no-flow"
        }
    }
}

/// Says how many of the connections ended with their client VM, of which another finding tells.
fn without_client(orphans: u64) -> String {
    match orphans {
        0 => String::new(),
        _ => format!(
            " Up to {} of them had lost their client VM.",
            grouped(orphans)
        ),
    }
}

fn of_rules(names: &[&str]) -> String {
    let ending = if names.len() == 1 { "" } else { "s" };
    format!("rule{ending} {}", names.join(", "))
}
