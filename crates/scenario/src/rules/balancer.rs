use super::Rules;
use super::lints::{PL032, PL037, PL040, PL041, PL042, PL043, PL044};
use crate::model::Action;
use std::collections::{BTreeMap, BTreeSet};

impl Rules<'_> {
    /// Load balancers and the machines behind them.
    pub(super) fn balancers(&mut self) {
        self.one_network();
        let members = self.members();
        // With a pool misspelt, which pool is empty is a guess.
        let mut pools = self
            .scenario
            .backend_vm
            .iter()
            .flat_map(|vm| &vm.backend_pools);
        let sure = pools.all(|pool| self.index.pool(pool).is_some());
        for (index, balancer) in self.scenario.load_balancer.iter().enumerate() {
            if balancer.fragment_timeout.0.is_zero() {
                let path = format!("load_balancer[{index}].fragment_timeout");
                self.report(PL037, &path, "`fragment_timeout` must be above zero")
                    .help("leave it out for 30 s; fragments = \"drop\" keeps none");
            }
            let mut seen = BTreeMap::new();
            for (place, rule) in balancer.rule.iter().enumerate() {
                let path =
                    |place: usize| format!("load_balancer[{index}].rule[{place}].frontend_port");
                // Rules for all ports have their own rule.
                for protocol in rule
                    .protocol
                    .protocols()
                    .filter(|_| rule.frontend_port != 0)
                {
                    let key = (&rule.frontend, protocol, rule.frontend_port);
                    if let Some(first) = seen.insert(key, place) {
                        let message = format!(
                            "two rules take {protocol} port {} of frontend `{}`",
                            rule.frontend_port, rule.frontend
                        );
                        self.report(PL040, &path(place), message)
                            .see(&path(first), "the first of them")
                            .help("a packet must match one rule; change the port or the frontend");
                    }
                }
                let pool = balancer
                    .backend_pool
                    .iter()
                    .position(|it| it.name == rule.backend_pool);
                if let Some(pool) = pool
                    && sure
                    && !members.contains(&(index, pool))
                {
                    let path = format!("load_balancer[{index}].rule[{place}].backend_pool");
                    let message = format!("backend pool `{}` has no members", rule.backend_pool);
                    self.report(PL041, &path, message)
                        .label("every packet of this rule is dropped")
                        .help(format!(
                            "add backend_pools = [\"{}/{}\"] to a [[backend_vm]]",
                            balancer.name, rule.backend_pool
                        ));
                }
            }
        }
        self.backend_ports();
        self.flow_limits();
    }

    /// Without floating IP the destination of a rule is (VM, backend port), with it (frontend, backend
    /// port): Azure wants it unique.
    fn backend_ports(&mut self) {
        for (index, balancer) in self.scenario.load_balancer.iter().enumerate() {
            let path = |place: usize| format!("load_balancer[{index}].rule[{place}].backend_port");
            let mut seen = BTreeMap::new();
            let mut floating = BTreeMap::new();
            for (place, rule) in balancer.rule.iter().enumerate() {
                let Some(protocol) = rule.protocol.protocols().next() else {
                    continue;
                };
                let target = (
                    &rule.frontend,
                    &rule.backend_pool,
                    protocol,
                    rule.backend_port,
                );
                let &mut (first, is_floating) =
                    floating.entry(target).or_insert((place, rule.floating_ip));
                if is_floating != rule.floating_ip {
                    let message = format!(
                        "rules of frontend `{}` lead to {protocol} port {} of `{}` with and without floating IP",
                        rule.frontend, rule.backend_port, rule.backend_pool
                    );
                    self.report(PL044, &path(place), message)
                        .see(&path(first), "the first of them")
                        .help("set floating_ip alike in both, or use another backend port");
                }
                // With floating IP the destination is the frontend's own address.
                let frontend = rule.floating_ip.then_some(&rule.frontend);
                let key = (&rule.backend_pool, protocol, rule.backend_port, frontend);
                if let Some(first) = seen.insert(key, place) {
                    let message = format!(
                        "two rules lead to {protocol} port {} of backend pool `{}`",
                        rule.backend_port, rule.backend_pool
                    );
                    self.report(PL044, &path(place), message)
                        .see(&path(first), "the first of them")
                        .help("Azure refuses this without floating IP; use another backend port, or floating_ip = true");
                }
            }
        }
    }

    /// Frontends and backends of one load balancer are in one virtual network.
    fn one_network(&mut self) {
        for (index, balancer) in self.scenario.load_balancer.iter().enumerate() {
            let path = |place: usize| format!("load_balancer[{index}].frontend[{place}].subnet");
            let mut first = None;
            for (place, frontend) in balancer.frontend.iter().enumerate() {
                let Some(subnet) = self.index.subnet(&frontend.subnet) else {
                    continue;
                };
                let (network, first_place) = *first.get_or_insert((subnet.0, place));
                if network != subnet.0 {
                    let message = format!(
                        "the frontends of `{}` are in different virtual networks",
                        balancer.name
                    );
                    self.report(PL032, &path(place), message)
                        .see(&path(first_place), "the first is here")
                        .help("an internal load balancer lives in one virtual network");
                }
            }
        }
        for (index, backend) in self.scenario.backend_vm.iter().enumerate() {
            let Some(home) = self.index.subnet(&backend.subnet) else {
                continue;
            };
            for (place, pool) in backend.backend_pools.iter().enumerate() {
                let Some((balancer, _)) = self.index.pool(pool) else {
                    continue;
                };
                let frontend = self.scenario.load_balancer[balancer].frontend.first();
                let network = frontend.and_then(|frontend| self.index.subnet(&frontend.subnet));
                if network.is_some_and(|network| network.0 != home.0) {
                    let message = format!(
                        "`{}` is in virtual network `{}`, its load balancer is not",
                        backend.name, backend.subnet.virtual_network
                    );
                    self.report(
                        PL032,
                        &format!("backend_vm[{index}].backend_pools[{place}]"),
                        message,
                    )
                    .see(
                        &format!("backend_vm[{index}].subnet"),
                        "the machine is here",
                    )
                    .see(
                        &format!("load_balancer[{balancer}].frontend[0].subnet"),
                        "the load balancer here",
                    )
                    .help("backends live in the virtual network of their load balancer");
                }
            }
        }
    }

    /// Returns the pools that have members; finds machines that are in one twice.
    fn members(&mut self) -> BTreeSet<(usize, usize)> {
        let mut members = BTreeSet::new();
        for (index, backend) in self.scenario.backend_vm.iter().enumerate() {
            let mut own = BTreeMap::new();
            for (place, pool) in backend.backend_pools.iter().enumerate() {
                members.extend(self.index.pool(pool));
                if let Some(first) = own.insert(pool, place) {
                    let path = |place: usize| format!("backend_vm[{index}].backend_pools[{place}]");
                    self.report(
                        PL042,
                        &path(place),
                        format!("`{}` is in pool `{pool}` twice", backend.name),
                    )
                    .see(&path(first), "first here")
                    .help("remove one of the two");
                }
            }
        }
        let joining = self.scenario.event.iter();
        let joining = joining.filter(|event| event.action == Action::AddBackend);
        let pools = joining.filter_map(|event| event.backend_pool.as_ref());
        members.extend(pools.filter_map(|pool| self.index.pool(pool)));
        members
    }

    /// Warns where the flow limit of a VM binds before its NAT ports do; of the default limit only where it
    /// is lower by a tenth.
    fn flow_limits(&mut self) {
        let supply = self.ports_per_pool();
        for (index, backend) in self.scenario.backend_vm.iter().enumerate() {
            let Some(limit) = backend.vm_flow_limit.0 else {
                continue;
            };
            let mut services: BTreeMap<usize, u64> = BTreeMap::new();
            for pool in &backend.backend_pools {
                let pool = self.index.pool(pool);
                services.extend(
                    pool.and_then(|pool| supply.get(&pool))
                        .into_iter()
                        .flatten(),
                );
            }
            let ports: u64 = services.values().copied().sum();
            let written = self
                .scenario
                .is_written(&format!("backend_vm[{index}].vm_flow_limit"));
            // The documented limit is 3 % below the ports of 8 NAT IPs: nobody plans by that.
            let slack = if written { 0 } else { u64::from(limit) / 10 };
            if ports > u64::from(limit) + slack {
                let key = if written { "vm_flow_limit" } else { "name" };
                let message = format!(
                    "a VM of `{}` holds {limit} flows, but its NAT IPs have {ports} ports: the limit of the VM binds first",
                    backend.name
                );
                self.report(PL043, &format!("backend_vm[{index}].{key}"), message)
                    .label(if written { "the limit" } else { "has the default limit" })
                    .help("more backend VMs raise the ceiling; vm_flow_limit = \"off\" takes the limit away");
            }
        }
    }

    /// Returns for each pool the services that reach it, with the NAT ports they have per VM.
    fn ports_per_pool(&self) -> BTreeMap<(usize, usize), BTreeMap<usize, u64>> {
        let mut supply: BTreeMap<_, BTreeMap<_, _>> = BTreeMap::new();
        for (index, service) in self.scenario.private_link_service.iter().enumerate() {
            let Some((place, _)) = self.index.frontend(&service.load_balancer_frontend) else {
                continue;
            };
            let balancer = &self.scenario.load_balancer[place];
            let ports = service.nat_ip_total() as u64 * u64::from(service.ports().size());
            for rule in &balancer.rule {
                let pool = balancer
                    .backend_pool
                    .iter()
                    .position(|it| it.name == rule.backend_pool);
                if rule.frontend == service.load_balancer_frontend.frontend
                    && let Some(pool) = pool
                {
                    supply
                        .entry((place, pool))
                        .or_default()
                        .insert(index, ports);
                }
            }
        }
        supply
    }
}
