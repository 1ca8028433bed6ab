use plsim_observe::Finding;
use plsim_scenario::{Action, ClientVm, Event, VmState};

use super::{Reader, connections};

impl Reader<'_> {
    /// Connections that ended with their client VM, of which nobody was told.
    pub(super) fn crashed_clients(&self) -> Vec<Finding> {
        let groups = self.scenario.client_vm.iter();
        groups.filter_map(|group| self.crashes_of(group)).collect()
    }

    fn crashes_of(&self, group: &ClientVm) -> Option<Finding> {
        let events = self.scenario.event.iter();
        let crashes = events.filter(|event| ends_silently(event, group));
        let crashes: Vec<String> = crashes
            .filter_map(|event| Some(format!("{} at {}", event.client_vm.as_ref()?, event.at.0)))
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
        let idle = services.map(|service| service.effective_timers().established_idle);
        let idle = idle.max()?;
        (gone > 0).then(|| Finding {
            what: format!(
                "{}: {} ended with their VM, which crashed ({}). Nobody was told: the NAT keeps their \
                 ports until they have been silent for up to {idle}.",
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
