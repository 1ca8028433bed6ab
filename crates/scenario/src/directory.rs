//! Who is called what, and which workloads belong together: found without walking through lists.

use crate::model::{FullTcp, Scenario, Workload};
use crate::units::Name;
use std::collections::BTreeMap;

/// Positions by name; of entries with one name the first.
#[derive(Debug, Clone, Default)]
pub(crate) struct Directory {
    networks: BTreeMap<Name, usize>,
    endpoints: BTreeMap<Name, usize>,
    clients: BTreeMap<Name, usize>,
    backends: BTreeMap<Name, usize>,
    /// The workloads that start at a group of client VMs, and of backend VMs.
    of_clients: BTreeMap<Name, Vec<usize>>,
    of_backends: BTreeMap<Name, Vec<usize>>,
}

impl Directory {
    fn new(scenario: &Scenario) -> Self {
        let mut all = Self {
            networks: by_name(&scenario.virtual_network, |it| &it.name),
            endpoints: by_name(&scenario.private_endpoint, |it| &it.name),
            clients: by_name(&scenario.client_vm, |it| &it.name),
            backends: by_name(&scenario.backend_vm, |it| &it.name),
            ..Self::default()
        };
        for (index, workload) in scenario.workload.iter().enumerate() {
            let groups = match (&workload.client_vm, &workload.backend_vm) {
                (Some(group), _) => Some((&mut all.of_clients, group)),
                (None, Some(group)) => Some((&mut all.of_backends, group)),
                (None, None) => None,
            };
            if let Some((groups, group)) = groups {
                groups.entry(group.clone()).or_default().push(index);
            }
        }
        all
    }
}

fn by_name<T>(list: &[T], name: impl Fn(&T) -> &Name) -> BTreeMap<Name, usize> {
    let mut map = BTreeMap::new();
    for (index, entry) in list.iter().enumerate() {
        map.entry(name(entry).clone()).or_insert(index);
    }
    map
}

impl Scenario {
    /// Returns the position of a virtual network.
    #[must_use]
    pub fn virtual_network_named(&self, name: &Name) -> Option<usize> {
        self.directory.networks.get(name).copied()
    }

    /// Returns the position of a private endpoint.
    #[must_use]
    pub fn private_endpoint_named(&self, name: &Name) -> Option<usize> {
        self.directory.endpoints.get(name).copied()
    }

    /// Returns the positions of the workloads that start at a group of client VMs, in order.
    #[must_use]
    pub fn workloads_of_clients(&self, group: &Name) -> &[usize] {
        self.directory
            .of_clients
            .get(group)
            .map_or(&[], Vec::as_slice)
    }

    /// Returns the positions of the workloads that start at a group of backend VMs, in order.
    #[must_use]
    pub fn workloads_of_backends(&self, group: &Name) -> &[usize] {
        self.directory
            .of_backends
            .get(group)
            .map_or(&[], Vec::as_slice)
    }

    /// Returns one workload for each that figures are given of: of copies with one name the first.
    pub fn counted_workloads(&self) -> impl Iterator<Item = &Workload> {
        self.workload.iter().filter(|workload| workload.copy == 0)
    }

    /// Returns the full TCP of the machines that a workload starts at, if they have it.
    pub(crate) fn full_clients(&self, workload: &Workload) -> Option<FullTcp> {
        if let Some(name) = &workload.backend_vm {
            let group = *self.directory.backends.get(name)?;
            return self.backend_vm[group].full_tcp();
        }
        let group = *self.directory.clients.get(workload.client_vm.as_ref()?)?;
        self.client_vm[group].full_tcp()
    }

    /// Notes who is called what, how many VMs start a workload, and which copy it is.
    pub(crate) fn number(&mut self) {
        self.directory = Directory::new(self);
        let mut copies: BTreeMap<String, u32> = BTreeMap::new();
        for workload in &mut self.workload {
            let Directory {
                clients, backends, ..
            } = &self.directory;
            let own = match (&workload.client_vm, &workload.backend_vm) {
                (Some(own), _) => clients.get(own).map(|&at| self.client_vm[at].count),
                (None, Some(own)) => backends.get(own).map(|&at| self.backend_vm[at].count),
                (None, None) => None,
            };
            workload.machines = own.unwrap_or(0);
            let copy = copies.entry(workload.name.to_string()).or_default();
            workload.copy = *copy;
            *copy += 1;
        }
    }
}
