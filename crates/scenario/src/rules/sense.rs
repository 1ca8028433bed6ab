use super::Rules;
use super::lints::{PL065, PL071, PL072, PL099, PL108, PL109};
use crate::model::{
    Action, ConnectionState, Event, LoadBalancer, ProbeProtocol, Rule, VmState, Workload,
};
use plsim_types::Duration;
use std::collections::BTreeSet;

impl Rules<'_> {
    /// What may be written, and shows nothing, or not what its writer had in mind.
    pub(super) fn sense(&mut self) {
        for (index, workload) in self.scenario.workload.iter().enumerate() {
            let path = format!("workload[{index}]");
            self.after_the_end(&path, workload);
        }
        self.never_approved();
        for (index, event) in self.scenario.event.iter().enumerate() {
            let path = format!("event[{index}]");
            self.without_effect(&path, event);
            self.failing_unasked(&path, event);
            self.slow_unnoticed(&path, event);
        }
        self.failing_from_the_start();
    }

    /// A run without traffic.
    pub(super) fn traffic_there_is(&mut self) {
        let injects = |event: &Event| event.action == Action::InjectPacket;
        if self.scenario.workload.is_empty() && !self.scenario.event.iter().any(injects) {
            self.report(PL072, "run", "there is no [[workload]]: nobody connects")
                .help("add one; the quickstart has an example");
        }
    }

    fn after_the_end(&mut self, path: &str, workload: &Workload) {
        let end = self.scenario.run.duration.0;
        if let Some(stop) = workload.stop.filter(|stop| stop.0 > end) {
            let message = format!("the workload stops at {}, after the end of the run", stop.0);
            self.report(PL071, &format!("{path}.stop"), message)
                .see("run.duration", "the run ends here")
                .help("leave `stop` out, or let the run last longer");
        }
    }

    fn never_approved(&mut self) {
        let workloads = self.scenario.workload.iter();
        let used: BTreeSet<_> = workloads.flat_map(Workload::endpoints).collect();
        for (index, endpoint) in self.scenario.private_endpoint.iter().enumerate() {
            let is_used = used.contains(&endpoint.name);
            let mut events = self.scenario.event.iter();
            let is_approved = endpoint.connection_state == ConnectionState::Approved
                || events.any(|event| {
                    event.action == Action::ApproveEndpoint
                        && event.private_endpoint.as_ref() == Some(&endpoint.name)
                });
            if is_used && !is_approved {
                let message = format!("`{}` is never approved: nobody gets through", endpoint.name);
                self.report(
                    PL065,
                    &format!("private_endpoint[{index}].connection_state"),
                    message,
                )
                .help(
                    "add an [[event]] with action = \"approve-endpoint\", or start as \"Approved\"",
                );
            }
        }
    }

    /// Events whose effect nobody can see: at the end of the run, or cut short.
    fn without_effect(&mut self, path: &str, event: &Event) {
        let end = self.scenario.run.duration.0;
        if event.at.0 == end {
            self.report(
                PL071,
                &format!("{path}.at"),
                "nothing follows an event at the end of the run",
            )
            .see("run.duration", "the run ends here")
            .help("move it, or let the run last longer");
            return;
        }
        if event.action != Action::DrainBackend {
            return;
        }
        let Some(period) = self.drain_period_of(event) else {
            return;
        };
        let over = event.at.0 + period;
        if over >= end {
            let message = format!("the drain ends at {over}, when the run is over");
            self.report(PL099, &format!("{path}.at"), message)
                .label(format!("for {period}"))
                .see("run.duration", "the run ends here")
                .help("drain earlier or for less, or let the run last longer");
        }
        let fails = |other: &Event| {
            let is_off = other.action == Action::RestartVm
                || other.state.is_some_and(|state| state != VmState::Running);
            is_off
                && other.backend_vm == event.backend_vm
                && other.at.0 > event.at.0
                && other.at.0 < over
        };
        if let Some(other) = self.scenario.event.iter().position(fails) {
            let at = self.scenario.event[other].at.0;
            let message = format!("the VM fails at {at}, before its drain is over at {over}");
            self.report(PL099, &format!("event[{other}].at"), message)
                .label("connections that are left end here")
                .see(&format!("{path}.at"), format!("drains for {period}"))
                .help(format!("wait until {over}, or drain for less"));
        }
    }

    fn drain_period_of(&self, event: &Event) -> Option<Duration> {
        let own = event.drain_period.map(|period| period.0);
        let pools = event.backend_pool.iter().filter_map(|path| {
            let (balancer, pool) = self.index.pool(path)?;
            let pool = &self.scenario.load_balancer[balancer].backend_pool[pool];
            pool.drain_period.map(|period| period.0)
        });
        own.or_else(|| pools.max())
    }

    /// A VM that fails, and goes on getting connections since nobody asks it.
    fn failing_unasked(&mut self, path: &str, event: &Event) {
        let fails = event.state.is_some_and(|state| state != VmState::Running);
        let (Some(name), true) = (&event.backend_vm, fails || event.flapping.is_some()) else {
            return;
        };
        let key = if fails { "state" } else { "flapping" };
        self.unasked(name.as_str(), Some(event.at.0), &format!("{path}.{key}"));
    }

    fn failing_from_the_start(&mut self) {
        for (index, backend) in self.scenario.backend_vm.iter().enumerate() {
            let key = match (backend.state, backend.flapping) {
                (VmState::Running, None) => continue,
                (VmState::Running, Some(_)) => "flapping",
                _ => "state",
            };
            self.unasked(&backend.name, None, &format!("backend_vm[{index}].{key}"));
        }
    }

    fn unasked(&mut self, name: &str, at: Option<Duration>, path: &str) {
        let found = self.rules_of(name, at).into_iter();
        let mut found = found.filter(|(_, _, _, rule)| rule.probe.is_none());
        let Some((balancer, place, lb, rule)) = found.next() else {
            return;
        };
        let message = format!(
            "rule `{}` has no probe: `{name}` stays in the choice",
            rule.name
        );
        let help = match lb.probe.first() {
            Some(probe) => format!("add probe = \"{}\" to the rule", probe.name),
            None => "add a [[load_balancer.probe]], and name it in the rule".to_owned(),
        };
        self.report(PL108, path, message)
            .label("nobody notices")
            .see(
                &format!("load_balancer[{balancer}].rule[{place}].name"),
                "goes on sending new connections",
            )
            .help(help);
    }

    /// A VM that gets slow, and not slow enough for a probe to give up.
    fn slow_unnoticed(&mut self, path: &str, event: &Event) {
        let (Some(name), Some(delay)) = (&event.backend_vm, event.response_delay) else {
            return;
        };
        let found = self.rules_of(name.as_str(), Some(event.at.0));
        let probes: Vec<_> = found
            .iter()
            .filter_map(|(_, _, lb, rule)| {
                lb.probe
                    .iter()
                    .find(|probe| Some(&probe.name) == rule.probe.as_ref())
            })
            .collect();
        let patient = probes
            .iter()
            .map(|probe| match probe.protocol {
                ProbeProtocol::Tcp => None,
                _ => Some(probe.timeout()),
            })
            .min_by_key(|timeout| timeout.unwrap_or(Duration::MAX));
        let Some(patient) = patient.filter(|timeout| timeout.is_none_or(|time| delay.0 < time))
        else {
            return;
        };
        if delay.0.is_zero() {
            return;
        }
        let help = match patient {
            None => {
                "a TCP probe sees handshakes only, which are as fast as ever; HTTP waits for the \
                     answer"
                    .to_owned()
            }
            Some(timeout) => format!("the probe gives up after {timeout}"),
        };
        let message = format!("no probe notices that `{name}` answers after {}", delay.0);
        self.report(PL109, &format!("{path}.response_delay"), message)
            .label("it stays in the choice")
            .help(help);
    }

    /// Returns the rules of a VM, or a group, whose pools it is in: at the start or by an event before
    /// this time, and not taken out since. Each with the places of its load balancer and itself.
    fn rules_of(
        &self,
        name: &str,
        at: Option<Duration>,
    ) -> Vec<(usize, usize, &LoadBalancer, &Rule)> {
        let mut groups = self.scenario.backend_vm.iter();
        let group = groups
            .find(|group| *group.name == *name || group.machines().any(|machine| machine == name));
        let mut pools: Vec<_> = group
            .into_iter()
            .flat_map(|group| &group.backend_pools)
            .collect();
        let mut events: Vec<&Event> = self.scenario.event.iter().collect();
        events.sort_by_key(|event| event.at);
        for event in events {
            let is_before = at.is_some_and(|at| event.at.0 <= at);
            let is_it = event.backend_vm.as_ref().is_some_and(|vm| {
                *vm.as_str() == *name || group.is_some_and(|group| group.name == *vm)
            });
            match (event.action, &event.backend_pool) {
                _ if !is_before || !is_it => {}
                (Action::AddBackend, Some(pool)) => pools.push(pool),
                (Action::RemoveBackend | Action::DrainBackend, wanted) => {
                    pools.retain(|pool| wanted.as_ref().is_some_and(|wanted| wanted != *pool));
                }
                _ => {}
            }
        }
        let balancers = self.scenario.load_balancer.iter().enumerate();
        let rules = balancers.flat_map(|(balancer, lb)| {
            let rules = lb.rule.iter().enumerate();
            rules.map(move |(place, rule)| (balancer, place, lb, rule))
        });
        let feeds = |lb: &LoadBalancer, rule: &Rule| {
            let mut pools = pools.iter();
            pools
                .any(|pool| pool.load_balancer == lb.name && pool.backend_pool == rule.backend_pool)
        };
        rules.filter(|(_, _, lb, rule)| feeds(lb, rule)).collect()
    }
}
