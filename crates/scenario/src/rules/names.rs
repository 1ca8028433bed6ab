use super::Rules;
use super::lints::{PL001, PL002, PL003};
use crate::model::{Action, BackendVm, ClientVm, Destination, Event};
use crate::source::sanitised;
use crate::suggest::nearest;
use crate::units::{FrontendPath, Name, PoolPath, RulePath, SubnetPath};
use std::collections::BTreeMap;

/// Machines a scenario may have in all: clients, backends.
const MAX_CLIENTS: u64 = 100_000;
const MAX_BACKENDS: u64 = 1_000;

impl<'s> Rules<'s> {
    /// Names are unique among their kind.
    pub(super) fn names(&mut self) {
        let scenario = self.scenario;
        self.unique(
            "virtual_network",
            scenario.virtual_network.iter().map(|it| &it.name),
        );
        for (index, network) in scenario.virtual_network.iter().enumerate() {
            let list = format!("virtual_network[{index}].subnet");
            self.unique(&list, network.subnet.iter().map(|it| &it.name));
        }
        self.unique("client_vm", scenario.client_vm.iter().map(|it| &it.name));
        self.unique(
            "private_endpoint",
            scenario.private_endpoint.iter().map(|it| &it.name),
        );
        self.unique(
            "private_link_service",
            scenario.private_link_service.iter().map(|it| &it.name),
        );
        self.unique(
            "load_balancer",
            scenario.load_balancer.iter().map(|it| &it.name),
        );
        for (index, balancer) in scenario.load_balancer.iter().enumerate() {
            let list = |kind: &str| format!("load_balancer[{index}].{kind}");
            self.unique(
                &list("frontend"),
                balancer.frontend.iter().map(|it| &it.name),
            );
            self.unique(
                &list("backend_pool"),
                balancer.backend_pool.iter().map(|it| &it.name),
            );
            self.unique(&list("rule"), balancer.rule.iter().map(|it| &it.name));
            self.unique(&list("probe"), balancer.probe.iter().map(|it| &it.name));
        }
        self.unique("backend_vm", scenario.backend_vm.iter().map(|it| &it.name));
        // Copies of one section may share a name, sections may not.
        let mut sections = BTreeMap::new();
        let workloads = scenario.workload.iter().enumerate();
        let named = workloads.filter(|(index, it)| {
            let own = self.scenario.located.section("workload", *index);
            *sections.entry(it.name.as_str()).or_insert(own) != own || it.copy == 0
        });
        let named: Vec<_> = named.map(|(index, it)| (index, &it.name)).collect();
        self.unique_among("workload", named.into_iter());
        self.machines();
    }

    fn unique(&mut self, list: &str, names: impl Iterator<Item = &'s Name>) {
        self.unique_among(list, names.enumerate());
    }

    fn unique_among(&mut self, list: &str, names: impl Iterator<Item = (usize, &'s Name)>) {
        let mut seen = BTreeMap::new();
        for (index, name) in names {
            if let Some(first) = seen.insert(name.as_str(), index) {
                self.report(
                    PL001,
                    &format!("{list}[{index}].name"),
                    format!("the name `{name}` is used twice"),
                )
                .label("used again here")
                .see(&format!("{list}[{first}].name"), "first used here")
                .help("give each entry its own name: others refer to it by name");
                seen.insert(name.as_str(), first);
            }
        }
    }

    /// Groups stay within their limits, and no machine of a group is called as another group.
    fn machines(&mut self) {
        let total = |counts: &mut dyn Iterator<Item = u32>| counts.map(u64::from).sum::<u64>();
        let clients = total(&mut self.scenario.client_vm.iter().map(|it| it.count));
        let backends = total(&mut self.scenario.backend_vm.iter().map(|it| it.count));
        for (kind, count, limit) in [
            ("client_vm", clients, MAX_CLIENTS),
            ("backend_vm", backends, MAX_BACKENDS),
        ] {
            if count > limit {
                let message = format!("a scenario can have {limit} {kind} machines, not {count}");
                self.report(PL003, kind, message)
                    .help("lower `count` in one of the groups");
                return;
            }
        }
        for (index, group) in self.scenario.backend_vm.iter().enumerate() {
            if group.count == 1 {
                continue;
            }
            for machine in group.machines() {
                if let Some(other) = self.index.backend(&machine) {
                    let path = format!("backend_vm[{other}].name");
                    self.report(PL001, &path, format!("the name `{machine}` is used twice"))
                        .see(
                            &format!("backend_vm[{index}].name"),
                            "a machine of this group has it",
                        )
                        .help("a group of several has the machines NAME-0, NAME-1 and so on");
                }
            }
        }
    }

    /// What is named exists.
    pub(super) fn references(&mut self) {
        let scenario = self.scenario;
        let networks: Vec<&'s str> = scenario
            .virtual_network
            .iter()
            .map(|it| it.name.as_str())
            .collect();
        for (index, peering) in scenario.virtual_network_peering.iter().enumerate() {
            for (side, name) in peering.virtual_networks.iter().enumerate() {
                if self.index.network(name).is_none() {
                    let path = format!("virtual_network_peering[{index}].virtual_networks[{side}]");
                    self.dangling(&path, "virtual network", name, &networks);
                }
            }
        }
        for (index, client) in scenario.client_vm.iter().enumerate() {
            self.subnet_reference(&format!("client_vm[{index}].subnet"), &client.subnet);
        }
        self.balancer_references();
        self.service_references();
        self.workload_references();
        self.event_references();
    }

    fn balancer_references(&mut self) {
        let scenario = self.scenario;
        for (index, balancer) in scenario.load_balancer.iter().enumerate() {
            for (place, frontend) in balancer.frontend.iter().enumerate() {
                let path = format!("load_balancer[{index}].frontend[{place}].subnet");
                self.subnet_reference(&path, &frontend.subnet);
            }
            let frontends: Vec<&str> = balancer
                .frontend
                .iter()
                .map(|it| it.name.as_str())
                .collect();
            let probes: Vec<&str> = balancer.probe.iter().map(|it| it.name.as_str()).collect();
            let pools: Vec<&str> = balancer
                .backend_pool
                .iter()
                .map(|it| it.name.as_str())
                .collect();
            for (place, rule) in balancer.rule.iter().enumerate() {
                let path = format!("load_balancer[{index}].rule[{place}]");
                if !frontends.contains(&rule.frontend.as_str()) {
                    let kind = format!("frontend in `{}` named", balancer.name);
                    self.dangling(
                        &format!("{path}.frontend"),
                        &kind,
                        &rule.frontend,
                        &frontends,
                    );
                }
                if let Some(probe) = &rule.probe
                    && !probes.contains(&probe.as_str())
                {
                    let kind = format!("probe in `{}` named", balancer.name);
                    self.dangling(&format!("{path}.probe"), &kind, probe, &probes);
                }
                if !pools.contains(&rule.backend_pool.as_str()) {
                    let kind = format!("backend pool in `{}` named", balancer.name);
                    self.dangling(
                        &format!("{path}.backend_pool"),
                        &kind,
                        &rule.backend_pool,
                        &pools,
                    );
                }
            }
        }
        for (index, backend) in scenario.backend_vm.iter().enumerate() {
            self.subnet_reference(&format!("backend_vm[{index}].subnet"), &backend.subnet);
            for (place, pool) in backend.backend_pools.iter().enumerate() {
                self.pool_reference(&format!("backend_vm[{index}].backend_pools[{place}]"), pool);
            }
        }
    }

    fn service_references(&mut self) {
        let scenario = self.scenario;
        for (index, service) in scenario.private_link_service.iter().enumerate() {
            let path = format!("private_link_service[{index}]");
            self.subnet_reference(&format!("{path}.nat_subnet"), &service.nat_subnet);
            let frontend = format!("{path}.load_balancer_frontend");
            self.frontend_reference(&frontend, &service.load_balancer_frontend);
        }
        let services: Vec<&str> = scenario
            .private_link_service
            .iter()
            .map(|it| it.name.as_str())
            .collect();
        for (index, endpoint) in scenario.private_endpoint.iter().enumerate() {
            self.subnet_reference(
                &format!("private_endpoint[{index}].subnet"),
                &endpoint.subnet,
            );
            if self.index.service(&endpoint.private_link_service).is_none() {
                let path = format!("private_endpoint[{index}].private_link_service");
                self.dangling(
                    &path,
                    "Private Link Service",
                    &endpoint.private_link_service,
                    &services,
                );
            }
        }
    }

    fn workload_references(&mut self) {
        let scenario = self.scenario;
        let clients: Vec<&str> = scenario
            .client_vm
            .iter()
            .map(|it| it.name.as_str())
            .collect();
        let backends: Vec<&str> = scenario
            .backend_vm
            .iter()
            .map(|it| it.name.as_str())
            .collect();
        let endpoints: Vec<&str> = scenario
            .private_endpoint
            .iter()
            .map(|it| it.name.as_str())
            .collect();
        for (index, workload) in scenario.workload.iter().enumerate() {
            let path = |key: &str| format!("workload[{index}].{key}");
            if let Some(name) = &workload.client_vm
                && self.index.client(name).is_none()
            {
                self.dangling(&path("client_vm"), "group of client VMs", name, &clients);
            }
            if let Some(name) = &workload.backend_vm
                && self.index.backend(name).is_none()
            {
                self.dangling(&path("backend_vm"), "group of backend VMs", name, &backends);
            }
            for (key, destination) in workload.destinations() {
                match destination {
                    Destination::PrivateEndpoint(name) => {
                        if self.index.endpoint(name).is_none() {
                            self.dangling(&path(&key), "private endpoint", name, &endpoints);
                        }
                    }
                    Destination::Frontend(frontend) => {
                        self.frontend_reference(&path(&key), frontend);
                    }
                }
            }
        }
    }

    fn event_references(&mut self) {
        let scenario = self.scenario;
        let names = |names: &mut dyn Iterator<Item = &'s Name>| -> Vec<String> {
            names.map(ToString::to_string).collect()
        };
        let endpoints = names(&mut scenario.private_endpoint.iter().map(|it| &it.name));
        let services = names(&mut scenario.private_link_service.iter().map(|it| &it.name));
        let mut backends = names(&mut scenario.backend_vm.iter().map(|it| &it.name));
        let groups = scenario.backend_vm.iter().take(1_000);
        let servers: Vec<String> = groups.flat_map(BackendVm::machines).collect();
        backends.extend(servers.iter().cloned());
        let names_client = |event: &Event| event.client_vm.is_some();
        let groups = scenario.client_vm.iter().take(1_000);
        let clients: Vec<String> = match scenario.event.iter().any(names_client) {
            true => groups.flat_map(ClientVm::machines).collect(),
            false => Vec::new(),
        };
        let mut clients_and_groups = names(&mut scenario.client_vm.iter().map(|it| &it.name));
        clients_and_groups.extend(clients.iter().cloned());
        for (index, event) in scenario.event.iter().enumerate() {
            if let Some(pool) = &event.backend_pool {
                self.pool_reference(&format!("event[{index}].backend_pool"), pool);
            }
            let (key, kind, name, known) = match event.action {
                Action::ApproveEndpoint | Action::RejectEndpoint => (
                    "private_endpoint",
                    "private endpoint",
                    &event.private_endpoint,
                    &endpoints,
                ),
                Action::AddNatIp => {
                    let service = &event.private_link_service;
                    (
                        "private_link_service",
                        "Private Link Service",
                        service,
                        &services,
                    )
                }
                Action::ChangeRule => {
                    self.rule_reference(&format!("event[{index}].rule"), event.rule.as_ref());
                    continue;
                }
                Action::ChangeLink | Action::LinkDown | Action::LinkUp
                    if event.private_endpoint.is_some() =>
                {
                    (
                        "private_endpoint",
                        "private endpoint",
                        &event.private_endpoint,
                        &endpoints,
                    )
                }
                Action::ChangeVm | Action::RestartVm if event.client_vm.is_some() => (
                    "client_vm",
                    "client VM or group",
                    &event.client_vm,
                    &clients_and_groups,
                ),
                Action::ChangeLink
                | Action::LinkDown
                | Action::LinkUp
                | Action::BackendDown
                | Action::BackendUp
                | Action::AddBackend
                | Action::RemoveBackend
                | Action::DrainBackend
                | Action::SetAdminState
                | Action::ChangeVm
                | Action::RestartVm => (
                    "backend_vm",
                    "backend VM or group",
                    &event.backend_vm,
                    &backends,
                ),
                Action::InjectPacket if event.client_vm.is_some() => {
                    ("client_vm", "client VM", &event.client_vm, &clients)
                }
                Action::InjectPacket => ("backend_vm", "backend VM", &event.backend_vm, &servers),
            };
            if let Some(name) = name
                && !known.iter().any(|known| known == name.as_str())
            {
                let known: Vec<&str> = known.iter().map(String::as_str).collect();
                self.dangling(&format!("event[{index}].{key}"), kind, name, &known);
            }
        }
    }

    fn pool_reference(&mut self, path: &str, pool: &PoolPath) {
        if self.index.pool(pool).is_some() {
            return;
        }
        let known = self.balancer_parts(|balancer| {
            let pools = balancer.backend_pool.iter();
            pools.map(|it| it.name.as_str()).collect()
        });
        self.dangling_path(path, "backend pool", &pool.to_string(), &known);
    }

    fn frontend_reference(&mut self, path: &str, frontend: &FrontendPath) {
        if self.index.frontend(frontend).is_some() {
            return;
        }
        let known = self.balancer_parts(|balancer| {
            let frontends = balancer.frontend.iter();
            frontends.map(|it| it.name.as_str()).collect()
        });
        self.dangling_path(path, "frontend", &frontend.to_string(), &known);
    }

    fn rule_reference(&mut self, path: &str, rule: Option<&RulePath>) {
        let Some(rule) = rule.filter(|rule| self.index.rule(rule).is_none()) else {
            return;
        };
        let known = self.balancer_parts(|balancer| {
            let rules = balancer.rule.iter();
            rules.map(|it| it.name.as_str()).collect()
        });
        self.dangling_path(path, "load-balancing rule", &rule.to_string(), &known);
    }

    /// Lists `balancer/part` for the parts of all load balancers.
    fn balancer_parts(
        &self,
        parts: impl Fn(&'s crate::model::LoadBalancer) -> Vec<&'s str>,
    ) -> Vec<String> {
        let balancers = self.scenario.load_balancer.iter().take(200);
        balancers
            .flat_map(|balancer| {
                let prefix = &balancer.name;
                parts(balancer)
                    .into_iter()
                    .map(move |part| format!("{prefix}/{part}"))
            })
            .collect()
    }

    fn subnet_reference(&mut self, path: &str, subnet: &SubnetPath) {
        if self.index.subnet(subnet).is_some() {
            return;
        }
        let networks = self.scenario.virtual_network.iter().take(200);
        let known: Vec<String> = networks
            .flat_map(|network| {
                network
                    .subnet
                    .iter()
                    .map(move |it| format!("{}/{}", network.name, it.name))
            })
            .collect();
        self.dangling_path(path, "subnet", &subnet.to_string(), &known);
    }

    fn dangling_path(&mut self, path: &str, kind: &str, name: &str, known: &[String]) {
        let known: Vec<&str> = known.iter().map(String::as_str).collect();
        self.dangling(path, kind, name, &known);
    }

    fn dangling(&mut self, path: &str, kind: &str, name: &str, known: &[&str]) {
        let shown = sanitised(name);
        let help = match nearest(name, known.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None if known.is_empty() => {
                let kind = kind.trim_end_matches(" named");
                format!("the scenario has no {kind}; add one")
            }
            None => {
                let listed: Vec<String> =
                    known.iter().take(8).map(|it| format!("`{it}`")).collect();
                let more = if known.len() > 8 { ", …" } else { "" };
                format!("there is {}{more}", listed.join(", "))
            }
        };
        self.report(PL002, path, format!("there is no {kind} `{shown}`"))
            .label("not found")
            .help(help);
    }
}
