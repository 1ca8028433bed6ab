use plsim_observe::{Finding, SetBy};
use plsim_scenario::{Action, ClientVm, Event, VmState};

use super::{Reader, connections};
use crate::layout::endpoint_named;

impl Reader<'_> {
    /// Connections that ended with their client VM, of which nobody was told.
    pub(super) fn crashed_clients(&self) -> Vec<Finding> {
        let groups = self.scenario.client_vm.iter();
        groups.filter_map(|group| self.crashes_of(group)).collect()
    }

    /// Counts the connections to a service that ended silently with their client VM, those of its group
    /// that ended with a word included.
    pub(super) fn orphans(&self, service: &str) -> u64 {
        let rows = self
            .scenario
            .counted_workloads()
            .zip(&self.summary.workloads);
        let own = rows.filter(|(workload, _)| {
            let mut groups = self.scenario.client_vm.iter();
            let group = groups.find(|group| workload.client_vm.as_ref() == Some(&group.name));
            let mut events = self.scenario.event.iter();
            group.is_some_and(|group| events.any(|event| ends_silently(event, group)))
                && workload.endpoints().any(|name| {
                    let endpoint = endpoint_named(self.scenario, name);
                    *self.scenario.private_endpoint[endpoint].private_link_service == *service
                })
        });
        own.map(|(_, row)| row.connections.vm_down).sum()
    }

    fn crashes_of(&self, group: &ClientVm) -> Option<Finding> {
        let events = self.scenario.event.iter();
        let mut crashes: Vec<&Event> = events.filter(|event| ends_silently(event, group)).collect();
        crashes.sort_by_key(|event| event.at.0);
        let crashes: Vec<String> = crashes
            .into_iter()
            .filter_map(|event| {
                let how = match event.action {
                    Action::RestartVm => "restarted",
                    _ => "crashed",
                };
                Some(format!(
                    "{} {how} at {}",
                    event.client_vm.as_ref()?,
                    event.at.0
                ))
            })
            .collect();
        if crashes.is_empty() {
            return None;
        }
        let rows = self
            .scenario
            .counted_workloads()
            .zip(&self.summary.workloads);
        let own = rows.filter(|(workload, _)| workload.client_vm.as_ref() == Some(&group.name));
        let by_endpoint = own.filter(|(workload, _)| workload.endpoints().next().is_some());
        let own: Vec<_> = by_endpoint.collect();
        let gone: u64 = own.iter().map(|(_, row)| row.connections.vm_down).sum();
        let endpoints = self.scenario.private_endpoint.iter().filter(|endpoint| {
            own.iter()
                .any(|(workload, _)| workload.comes_by(&endpoint.name))
        });
        let services = endpoints.filter_map(|endpoint| {
            let mut services = self.scenario.private_link_service.iter();
            services.find(|service| service.name == endpoint.private_link_service)
        });
        let services: Vec<_> = services.collect();
        let idle = services.iter();
        let idle = idle.map(|service| service.effective_timers().established_idle);
        let idle = idle.max()?;
        let rules = self.summary.idle.iter().filter(|row| {
            let mut own = services.iter();
            row.set_by == SetBy::Rule && own.any(|service| service.name.as_str() == row.pls)
        });
        let dropped = match rules.map(|row| row.rule_idle).min() {
            Some(rule) => format!(
                "the load balancer drops their packets after {rule} of silence, but the NAT keeps \
                 their ports"
            ),
            None => "the NAT keeps their ports".to_owned(),
        };
        (gone > 0).then(|| Finding {
            what: format!(
                "{}: {} ended with their VM ({}). Nobody was told: {dropped} until they have been \
                 silent for {idle}.",
                group.name,
                connections(gone),
                crashes.join(", ")
            ),
            help: vec![
                "Have ports for VMs that may be lost together and for those that take over.".into(),
                "Have backend VMs send keepalives: where nobody answers they reset the connection, and \
                 its port is free."
                    .into(),
            ],
        })
    }
}

/// Tells whether an event ends a VM of a group without a word.
fn ends_silently(event: &Event, group: &ClientVm) -> bool {
    let silent = match event.action {
        Action::RestartVm => true,
        Action::ChangeVm => event.state == Some(VmState::Crashed),
        _ => false,
    };
    let name = event.client_vm.as_ref();
    silent
        && name.is_some_and(|name| {
            *name == group.name || group.machines().any(|machine| machine == name.as_str())
        })
}
