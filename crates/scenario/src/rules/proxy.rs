use super::Rules;
use super::lints::{PL080, PL081, PL082, PL083, PL084};
use crate::model::{Application, Fragments, PrivateLinkService, ProxyDestination};
use plsim_types::Protocol;
use std::collections::BTreeMap;

impl Rules<'_> {
    /// PROXY protocol: who sends headers, and who understands them.
    pub(super) fn proxy_protocol(&mut self) {
        self.services_agree();
        for (index, service) in self.scenario.private_link_service.iter().enumerate() {
            let Some((balancer, _)) = self.index.frontend(&service.load_balancer_frontend) else {
                continue;
            };
            if service.enable_proxy_protocol {
                self.no_header(index, balancer, service);
            } else if service.proxy_destination != ProxyDestination::PrivateEndpoint {
                let path = format!("private_link_service[{index}].proxy_destination");
                let message = format!("`{}` sends no PROXY headers", service.name);
                self.report(PL084, &path, message)
                    .label("there is none that could name it")
                    .help("write enable_proxy_protocol = true, or leave the key out");
            }
            self.applications(index, balancer, service);
        }
    }

    /// All services of a load balancer send headers, or none does: health probes cannot do both.
    fn services_agree(&mut self) {
        let mut first: BTreeMap<&str, (usize, bool)> = BTreeMap::new();
        for (index, service) in self.scenario.private_link_service.iter().enumerate() {
            let balancer = service.load_balancer_frontend.load_balancer.as_str();
            let own = service.enable_proxy_protocol;
            let (other, theirs) = *first.entry(balancer).or_insert((index, own));
            if own == theirs {
                continue;
            }
            let path = |index: usize| {
                let path = format!("private_link_service[{index}]");
                let key = format!("{path}.enable_proxy_protocol");
                match self.scenario.is_written(&key) {
                    true => key,
                    false => format!("{path}.name"),
                }
            };
            let (here, there) = (path(index), path(other));
            let name = &self.scenario.private_link_service[other].name;
            let message = format!(
                "`{}` and `{name}` share load balancer `{balancer}`, but only one sends PROXY headers",
                service.name
            );
            let word = |enabled| if enabled { "sends them" } else { "does not" };
            self.report(PL080, &here, message)
                .label(word(own))
                .see(&there, word(theirs))
                .help("set enable_proxy_protocol alike, or give one of them its own load balancer and pool")
                .help("the probes of all rules of the load balancer carry the header once one service does");
        }
    }

    /// What of a service with PROXY protocol has no header, or cannot have one.
    fn no_header(&mut self, index: usize, balancer: usize, service: &PrivateLinkService) {
        let lb = &self.scenario.load_balancer[balancer];
        let key = format!("private_link_service[{index}].enable_proxy_protocol");
        for (place, rule) in lb.rule.iter().enumerate() {
            if rule.frontend == service.load_balancer_frontend.frontend
                && rule.protocol.carries(Protocol::Udp)
            {
                let path = format!("load_balancer[{balancer}].rule[{place}].protocol");
                let message = format!(
                    "the UDP rule `{}` carries no PROXY header: that is for TCP",
                    rule.name
                );
                self.report(PL082, &path, message)
                    .label("its backends see the NAT IP only")
                    .see(&key, "for TCP connections")
                    .help(
                        "nothing needs to change if the application does not ask who its client is",
                    );
            }
        }
        if lb.fragments == Fragments::Forward {
            let path = format!("load_balancer[{balancer}].fragments");
            self.report(
                PL083,
                &path,
                "a PROXY header cannot be put into a fragmented stream",
            )
            .see(&key, "asks for headers")
            .help("write fragments = \"reassemble\"");
        }
    }

    /// Warns of backends that do not understand how their connections begin.
    fn applications(&mut self, index: usize, balancer: usize, service: &PrivateLinkService) {
        let lb = &self.scenario.load_balancer[balancer];
        let fed = |pool: usize| {
            lb.rule.iter().any(|rule| {
                rule.frontend == service.load_balancer_frontend.frontend
                    && rule.protocol.carries(Protocol::Tcp)
                    && rule.backend_pool == lb.backend_pool[pool].name
            })
        };
        for (vm, backend) in self.scenario.backend_vm.iter().enumerate() {
            let mut pools = backend.backend_pools.iter();
            let is_reached = pools.any(|path| {
                let place = self.index.pool(path);
                place.is_some_and(|(own, pool)| own == balancer && fed(pool))
            });
            let (vm_name, name) = (&backend.name, &service.name);
            let (message, label, help) = match (service.enable_proxy_protocol, backend.application)
            {
                (true, Application::Plain) => (
                    format!("`{vm_name}` does not understand the PROXY headers of `{name}`"),
                    "resets every request, and every health probe with a header",
                    "write application = \"proxy-required\" or \"proxy-optional\", and configure the \
                     real server likewise (HAProxy: accept-proxy, nginx: listen ... proxy_protocol)",
                ),
                (false, Application::ProxyRequired) => (
                    format!("`{vm_name}` waits for PROXY headers, but `{name}` sends none"),
                    "resets every request",
                    "write enable_proxy_protocol = true in the service, or application = \
                     \"proxy-optional\"",
                ),
                (true, Application::ProxyRequired | Application::ProxyOptional)
                | (false, Application::Plain | Application::ProxyOptional) => continue,
            };
            if !is_reached {
                continue;
            }
            let key = |path: String, key: &str| match self
                .scenario
                .is_written(&format!("{path}.{key}"))
            {
                true => format!("{path}.{key}"),
                false => format!("{path}.name"),
            };
            let here = key(format!("backend_vm[{vm}]"), "application");
            let there = key(
                format!("private_link_service[{index}]"),
                "enable_proxy_protocol",
            );
            self.report(PL081, &here, message)
                .label(label)
                .see(
                    &there,
                    if service.enable_proxy_protocol {
                        "sends them"
                    } else {
                        "sends none"
                    },
                )
                .help(help);
        }
    }
}
