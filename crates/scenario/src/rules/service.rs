use super::Rules;
use super::lints::{
    PL030, PL031, PL032, PL033, PL034, PL035, PL036, PL037, PL038, PL039, PL045, PL046, PL110,
    PL160, PL195,
};
use crate::model::{
    Action, BackendVm, HeldPorts, NetworkPolicies, OnExhaustion, PortAllocation, PrivateLinkService,
};
use std::collections::{BTreeMap, BTreeSet};

/// NAT IPs of a Private Link Service (PLS-4).
const MAX_NAT_IPS: usize = 8;
/// Private endpoints of a Private Link Service (D-LIM).
const MAX_ENDPOINTS: usize = 1_000;
/// Free addresses that Azure recommends in the NAT subnet (PLS-3).
const RECOMMENDED_FREE: u64 = 8;
/// What the NAT of a backend VM has room for.
const MAX_NAT_IPS_OF_A_VM: usize = 256;
const MAX_SERVICES_OF_A_VM: usize = 255;

impl Rules<'_> {
    /// Private Link Services and their endpoints.
    pub(super) fn services(&mut self) {
        let mut per_frontend = BTreeMap::new();
        let mut per_balancer: BTreeMap<&str, usize> = BTreeMap::new();
        for (index, service) in self.scenario.private_link_service.iter().enumerate() {
            let path = format!("private_link_service[{index}]");
            self.nat_ips(&path, service);
            self.nat_subnet(&path, service);
            self.timers(&path, service);
            self.ports(&path, service);
            let frontend = &service.load_balancer_frontend;
            if let Some(first) = per_frontend.insert(frontend, index) {
                let first = format!("private_link_service[{first}].load_balancer_frontend");
                let message =
                    format!("frontend `{frontend}` already carries a Private Link Service");
                self.report(PL033, &format!("{path}.load_balancer_frontend"), message)
                    .label("one service per frontend")
                    .see(&first, "carries this one")
                    .help("add a frontend to the load balancer");
            }
            let count = per_balancer
                .entry(frontend.load_balancer.as_str())
                .or_default();
            *count += 1;
            let balancer = self.index.balancer(&frontend.load_balancer);
            let limit = balancer.map_or(u32::MAX, |balancer| {
                self.scenario.load_balancer[balancer].private_link_service_limit
            });
            if *count == limit as usize + 1 {
                let message = format!(
                    "load balancer `{}` carries more than {limit} Private Link Services",
                    frontend.load_balancer
                );
                self.report(PL034, &format!("{path}.load_balancer_frontend"), message)
                    .label(format!("number {count}"))
                    .help("use a second load balancer");
            }
        }
        self.endpoints();
        self.nat_ips_of_vms();
    }

    fn nat_ips(&mut self, path: &str, service: &PrivateLinkService) {
        let key = match (&service.nat_ips, service.nat_ip_count) {
            (Some(_), Some(_)) => {
                let message = "NAT IPs are either static or dynamic: `nat_ips` or `nat_ip_count`";
                self.report(PL030, &format!("{path}.nat_ip_count"), message)
                    .see(&format!("{path}.nat_ips"), "static ones are given here")
                    .help("remove one of the two");
                return;
            }
            (Some(_), None) => format!("{path}.nat_ips"),
            (None, _) => format!("{path}.nat_ip_count"),
        };
        let added = self.added_nat_ips(service);
        let (given, total) = (service.nat_ip_total(), service.nat_ip_total() + added.len());
        if given == 0 || given > MAX_NAT_IPS {
            let message =
                format!("a Private Link Service has 1 to {MAX_NAT_IPS} NAT IPs, not {given}");
            let help = if given == 0 {
                "write nat_ip_count = 1, or leave both keys out for one dynamic NAT IP"
            } else {
                "to scale further add backend VMs, or Private Link Services on other frontends (DP-4)"
            };
            self.report(PL030, &key, message)
                .label(format!("{given} given"))
                .help(help);
        } else if total > MAX_NAT_IPS
            && let Some(last) = added.get(MAX_NAT_IPS - given)
        {
            let message = format!(
                "this event would give `{}` more than {MAX_NAT_IPS} NAT IPs",
                service.name
            );
            self.report(PL030, last, message)
                .label(format!("NAT IP number {}", MAX_NAT_IPS + 1))
                .see(&key, format!("{given} at the start"))
                .help("remove the event, or start with fewer");
        }
    }

    /// Returns the paths of the events that add NAT IPs to a service.
    fn added_nat_ips(&self, service: &PrivateLinkService) -> Vec<String> {
        let events = self.scenario.event.iter().enumerate();
        let adding = events.filter(|(_, event)| {
            event.action == Action::AddNatIp
                && event.private_link_service.as_ref() == Some(&service.name)
        });
        adding
            .map(|(index, _)| format!("event[{index}].action"))
            .collect()
    }

    /// The NAT of a backend VM has room for the services that reach it, at the start or later.
    fn nat_ips_of_vms(&mut self) {
        let services = self.scenario.private_link_service.iter();
        let services: Vec<_> = services
            .map(|service| {
                let nat_ips = service.nat_ip_total() + self.added_nat_ips(service).len();
                // More are an error by themselves.
                (self.pools_behind(service), nat_ips.min(MAX_NAT_IPS))
            })
            .collect();
        let is_too_much = |reached: &[usize]| {
            reached.iter().sum::<usize>() > MAX_NAT_IPS_OF_A_VM
                || reached.len() > MAX_SERVICES_OF_A_VM
        };
        for (index, vm) in self.scenario.backend_vm.iter().enumerate() {
            let mut reached = vm.machines().map(|machine| {
                let pools = self.pools_of(vm, &machine);
                let services = services.iter().filter(|(to, _)| !to.is_disjoint(&pools));
                let nat_ips: Vec<usize> = services.map(|(_, nat_ips)| *nat_ips).collect();
                (machine, nat_ips)
            });
            let Some((machine, nat_ips)) = reached.find(|(_, nat_ips)| is_too_much(nat_ips)) else {
                continue;
            };
            let message = format!(
                "{} services with {} NAT IPs reach VM `{machine}`",
                nat_ips.len(),
                nat_ips.iter().sum::<usize>()
            );
            self.report(PL110, &format!("backend_vm[{index}].backend_pools"), message)
                .label(format!(
                    "its NAT has room for {MAX_NAT_IPS_OF_A_VM} NAT IPs of {MAX_SERVICES_OF_A_VM} services"
                ))
                .help("put the VM into fewer pools, or give the services fewer NAT IPs")
                .help("the limit is plsim's own: eight services of one load balancer have at most 64");
        }
    }

    /// Returns the pools that a service's rules lead to, at the start or later.
    fn pools_behind(&self, service: &PrivateLinkService) -> BTreeSet<(usize, usize)> {
        let path = &service.load_balancer_frontend;
        let Some(balancer) = self.index.balancer(&path.load_balancer) else {
            return BTreeSet::new();
        };
        let rules = self.scenario.load_balancer[balancer].rule.iter();
        let rules = rules.filter(|rule| rule.frontend == path.frontend);
        let names: BTreeSet<_> = rules.clone().map(|rule| &rule.name).collect();
        let changes = self.scenario.event.iter().filter(|event| {
            let rule = event.rule.as_ref();
            rule.is_some_and(|rule| {
                rule.load_balancer == path.load_balancer && names.contains(&rule.rule)
            })
        });
        let later = changes.filter_map(|event| self.index.pool(event.backend_pool.as_ref()?));
        let pools = &self.scenario.load_balancer[balancer].backend_pool;
        let now = rules.filter_map(|rule| {
            let pool = pools
                .iter()
                .position(|pool| pool.name == rule.backend_pool)?;
            Some((balancer, pool))
        });
        now.chain(later).collect()
    }

    /// Returns the pools that a machine is in, at the start or later.
    fn pools_of(&self, vm: &BackendVm, machine: &str) -> BTreeSet<(usize, usize)> {
        let joins = self.scenario.event.iter().filter(|event| {
            let name = event.backend_vm.as_ref();
            event.action == Action::AddBackend
                && name.is_some_and(|name| name.as_str() == machine || *name == vm.name)
        });
        let later = joins.filter_map(|event| event.backend_pool.as_ref());
        let pools = vm.backend_pools.iter().chain(later);
        pools.filter_map(|pool| self.index.pool(pool)).collect()
    }

    fn nat_subnet(&mut self, path: &str, service: &PrivateLinkService) {
        let Some(id) = self.index.subnet(&service.nat_subnet) else {
            return;
        };
        let key = format!("{path}.nat_subnet");
        let subnet = self.index.subnet_of(id);
        let subnet_path = format!("virtual_network[{}].subnet[{}]", id.0, id.1);
        if subnet.private_link_service_network_policies == NetworkPolicies::Enabled {
            let message = format!(
                "subnet `{}` cannot give NAT IPs: its Private Link Service network policies are enabled",
                service.nat_subnet
            );
            let policies = "private_link_service_network_policies";
            let (written, label) = if self
                .scenario
                .is_written(&format!("{subnet_path}.{policies}"))
            {
                (format!("{subnet_path}.{policies}"), "enabled here")
            } else {
                (
                    format!("{subnet_path}.prefix"),
                    "enabled by default in this subnet",
                )
            };
            self.report(PL031, &key, message)
                .label("needs them disabled")
                .see(&written, label)
                .help(format!("add {policies} = \"Disabled\" to the subnet"));
        }
        if let Some((balancer, frontend)) = self.index.frontend(&service.load_balancer_frontend) {
            let frontend_subnet = &self.scenario.load_balancer[balancer].frontend[frontend].subnet;
            if self
                .index
                .subnet(frontend_subnet)
                .is_some_and(|other| other.0 != id.0)
            {
                let message = format!(
                    "the NAT subnet `{}` and the frontend's subnet `{frontend_subnet}` are in different virtual networks",
                    service.nat_subnet
                );
                self.report(PL032, &key, message)
                    .see(
                        &format!("load_balancer[{balancer}].frontend[{frontend}].subnet"),
                        "the frontend is here",
                    )
                    .help("a Private Link Service takes its NAT IPs from the virtual network of its load balancer");
            }
        }
        let free = self.free_addresses(id, path);
        if free < RECOMMENDED_FREE {
            let message = format!(
                "NAT subnet `{}` has room for {free} NAT IPs",
                service.nat_subnet
            );
            self.report(PL035, &key, message)
                .label(format!(
                    "{RECOMMENDED_FREE} free addresses or more are recommended"
                ))
                .see(&format!("{subnet_path}.prefix"), "the subnet")
                .help("a service can grow to 8 NAT IPs only if the subnet has room for them");
        }
    }

    fn ports(&mut self, path: &str, service: &PrivateLinkService) {
        let ports = service.ports();
        let preserves = service.port_allocation == Some(PortAllocation::PreserveRange);
        if ports.first() < 1024 && !preserves {
            let message = format!("NAT ports begin at 1024, not at {}", ports.first());
            self.report(PL036, &format!("{path}.port_range"), message)
                .help("the whole range is \"1024-65535\": 64512 ports per NAT IP and VM");
        }
        self.blocks(path, service);
        self.icmp(path, service);
        if service.held_ports == HeldPorts::ReuseOldest && service.may_give_up() {
            let message = "the oldest held-down port cannot be reused: the port allocation may not \
                           find it";
            self.report(PL046, &format!("{path}.held_ports"), message.to_owned())
                .help("use a port_allocation that finds every free port, such as \"bitmap\"");
        }
    }

    fn icmp(&mut self, path: &str, service: &PrivateLinkService) {
        let keys = [
            ("icmp_rate", service.icmp_rate.is_some()),
            ("icmp_burst", service.icmp_burst.is_some()),
        ];
        let silent = service.on_exhaustion == OnExhaustion::Drop;
        for (key, _) in keys.into_iter().filter(|(_, given)| *given && silent) {
            let message = format!("`{key}` is of no use: no client is answered");
            self.report(PL195, &format!("{path}.{key}"), message).help(
                "add on_exhaustion = \"icmp-admin-prohibited\" or \"icmp-host-unreachable\", or remove it",
            );
        }
    }

    fn blocks(&mut self, path: &str, service: &PrivateLinkService) {
        let ports = service.ports();
        let reserves = service.reserves_blocks();
        let blocks = reserves || service.port_allocation == Some(PortAllocation::Blocks);
        let keys = [
            ("block_size", service.block_size.is_some()),
            ("block_limit", service.block_limit.is_some()),
        ];
        for (key, _) in keys.into_iter().filter(|(_, given)| *given && !blocks) {
            let message = format!("`{key}` is of no use without blocks");
            self.report(PL045, &format!("{path}.{key}"), message)
                .help("add port_allocation = \"blocks\" or \"reserved-blocks\", or remove it");
        }
        if let Some(size) = service
            .block_size
            .filter(|size| blocks && *size > ports.size())
        {
            let message = format!("a block of {size} does not fit into {ports}");
            self.report(PL045, &format!("{path}.block_size"), message)
                .label(format!("there are {} ports", ports.size()))
                .help("the last block may be smaller, but not the only one");
        }
        let grows = reserves && service.block_limit_in_force() > 1;
        let keys = [
            ("block_grow_at", service.block_grow_at.is_some()),
            ("block_grow_delay", service.block_grow_delay.is_some()),
            ("block_shrink_after", service.block_shrink_after.is_some()),
        ];
        for (key, _) in keys.into_iter().filter(|(_, given)| *given && !grows) {
            let message = format!("`{key}` is of no use: reservations of this service never grow");
            self.report(PL045, &format!("{path}.{key}"), message)
                .help(
                    "add port_allocation = \"reserved-blocks\" with a block_limit above 1, or remove it",
                );
        }
        if service.port_allocation.is_none() && reserves {
            self.google_blocks(path, service);
        }
    }

    /// Numbers that Google's Cloud NAT would refuse.
    fn google_blocks(&mut self, path: &str, service: &PrivateLinkService) {
        let limit = service.block_limit_in_force();
        let least = service.block_size_in_force();
        let most = u64::from(least) * u64::from(limit);
        if !least.is_power_of_two() || limit > 1 && least < 32 {
            let message = format!("Cloud NAT does not reserve {least} ports for a VM");
            self.report(PL160, &format!("{path}.block_size"), message)
                .label("Google's minPortsPerVm")
                .help("it is a power of two, 32 or more if ports are allocated dynamically");
        } else if !limit.is_power_of_two() || most > 65_536 {
            let message = format!("Cloud NAT does not give a VM up to {most} ports");
            self.report(PL160, &format!("{path}.block_limit"), message)
                .label(format!(
                    "{limit} blocks of {least} ports: Google's maxPortsPerVm"
                ))
                .help("it is a power of two and at most 65536");
        }
    }

    fn timers(&mut self, path: &str, service: &PrivateLinkService) {
        let timers = [
            ("idle_timeout", service.idle_timeout),
            ("half_closed_timeout", service.half_closed_timeout),
            ("idle_scan_interval", service.idle_scan_interval),
            ("half_open_timeout", service.half_open_timeout),
            ("udp_idle_timeout", service.udp_idle_timeout),
        ];
        for (key, timer) in timers {
            if timer.is_some_and(|timer| timer.0.is_zero()) {
                let message = format!("`{key}` must be above zero");
                let finding = self.report(PL037, &format!("{path}.{key}"), message);
                if key == "idle_scan_interval" {
                    finding.help("leave it out: flows then expire at the exact time");
                } else {
                    finding.help("a flow would be gone in the instant it begins");
                }
            }
        }
    }

    fn endpoints(&mut self) {
        let mut per_service: BTreeMap<&str, usize> = BTreeMap::new();
        let mut links = BTreeMap::new();
        for (index, endpoint) in self.scenario.private_endpoint.iter().enumerate() {
            let count = per_service
                .entry(&endpoint.private_link_service)
                .or_default();
            *count += 1;
            if *count == MAX_ENDPOINTS + 1 {
                let message = format!(
                    "`{}` has more than {MAX_ENDPOINTS} private endpoints",
                    endpoint.private_link_service
                );
                let path = format!("private_endpoint[{index}].private_link_service");
                self.report(PL038, &path, message)
                    .help("spread the endpoints over several Private Link Services");
            }
            let Some(link) = endpoint.link_id else {
                continue;
            };
            if let Some(first) = links.insert(link, index) {
                let path = |index: usize| format!("private_endpoint[{index}].link_id");
                self.report(PL039, &path(index), format!("link id {link} is used twice"))
                    .see(&path(first), "first used here")
                    .help("leave it out: plsim then derives one from the endpoint's name");
            }
        }
    }
}
