use super::Rules;
use super::index::SubnetId;
use super::lints::{PL050, PL066, PL067, PL068, PL069};
use crate::model::{Application, BackendVm, Destination, Workload};
use crate::units::FrontendPath;

/// The group that a workload starts at.
pub(super) struct Home<'s> {
    /// `client_vm` or `backend_vm`.
    kind: &'static str,
    /// Its position.
    index: usize,
    name: &'s str,
    subnet: SubnetId,
}

/// What a rule leads to.
struct Fed {
    /// Positions of groups of backend VMs.
    members: Vec<usize>,
    /// Whether the rule has floating IP.
    floats: bool,
}

impl<'s> Rules<'s> {
    /// Who opens the connections of workloads and where they go: through a private endpoint, or to a
    /// frontend itself.
    pub(super) fn frontend_clients(&mut self) {
        let scenario = self.scenario;
        self.number_of_destinations();
        for (index, workload) in scenario.workload.iter().enumerate() {
            let path = format!("workload[{index}]");
            self.one_of(
                &path,
                workload,
                ("client_vm", workload.client_vm.is_some()),
                ("backend_vm", workload.backend_vm.is_some()),
                "who opens the connections?",
            );
            self.destinations(&path, workload);
            for (key, destination) in workload.destinations() {
                self.reach(&path, workload, (&key, destination));
                if let Destination::Frontend(frontend) = destination {
                    self.own_frontend(&path, workload, frontend);
                    self.no_proxy_header(&format!("{path}.{key}"), workload, frontend);
                }
            }
        }
    }

    /// Exactly one of two keys is there.
    fn one_of(
        &mut self,
        path: &str,
        workload: &Workload,
        usual: (&str, bool),
        other: (&str, bool),
        question: &str,
    ) {
        let (usual, other) = match (usual, other) {
            ((usual, true), (other, true)) => {
                let message = format!("`{usual}` and `{other}` exclude each other");
                self.report(PL066, &format!("{path}.{other}"), message)
                    .label("one of them only")
                    .see(&format!("{path}.{usual}"), "the other one")
                    .help("write one workload for each");
                return;
            }
            ((usual, false), (other, false)) => (usual, other),
            _ => return,
        };
        let message = format!(
            "workload `{}` has neither `{usual}` nor `{other}`",
            workload.name
        );
        self.report(PL066, path, message)
            .label(question)
            .help(format!("add `{usual}`, or `{other}`"));
    }

    /// Returns the group that a workload starts at, if it exists.
    pub(super) fn home(&self, workload: &'s Workload) -> Option<Home<'s>> {
        let (kind, index, name, subnet) = match (&workload.client_vm, &workload.backend_vm) {
            (Some(name), None) => {
                let index = self.index.client(name)?;
                let subnet = &self.scenario.client_vm[index].subnet;
                ("client_vm", index, name, subnet)
            }
            (None, Some(name)) => {
                let index = self.index.backend(name)?;
                let subnet = &self.scenario.backend_vm[index].subnet;
                ("backend_vm", index, name, subnet)
            }
            (Some(_), Some(_)) | (None, None) => return None,
        };
        Some(Home {
            kind,
            index,
            name,
            subnet: self.index.subnet(subnet)?,
        })
    }

    /// Clients and what they dial are in one virtual network, or in peered ones.
    fn reach(
        &mut self,
        path: &str,
        workload: &'s Workload,
        (key, destination): (&str, Destination<'_>),
    ) {
        let scenario = self.scenario;
        let Some(home) = self.home(workload) else {
            return;
        };
        let (lint, kind, own, at, subnet) = match destination {
            Destination::PrivateEndpoint(name) => {
                let Some(endpoint) = self.index.endpoint(name) else {
                    return;
                };
                let at = format!("private_endpoint[{endpoint}].subnet");
                let subnet = &scenario.private_endpoint[endpoint].subnet;
                (PL050, "endpoint", "the endpoint is here", at, subnet)
            }
            Destination::Frontend(path) => {
                let Some((balancer, frontend)) = self.index.frontend(path) else {
                    return;
                };
                let at = format!("load_balancer[{balancer}].frontend[{frontend}].subnet");
                let subnet = &scenario.load_balancer[balancer].frontend[frontend].subnet;
                (PL067, "frontend", "the frontend is here", at, subnet)
            }
        };
        let Some(there) = self.index.subnet(subnet) else {
            return;
        };
        let here = &self.index.network_of(home.subnet).name;
        let there = &self.index.network_of(there).name;
        let peered = scenario.virtual_network_peering.iter().any(|peering| {
            let [one, other] = &peering.virtual_networks;
            (one == here && other == there) || (one == there && other == here)
        });
        if here == there || peered {
            return;
        }
        let message = format!(
            "`{}` in `{here}` cannot reach {kind} `{}` in `{there}`",
            home.name,
            destination.name()
        );
        let clients = format!("{}[{}].subnet", home.kind, home.index);
        let finding = self
            .report(lint, &format!("{path}.{key}"), message)
            .label("not in the same virtual network, and not peered")
            .see(&clients, "the clients are here")
            .see(&at, own)
            .help(format!(
                "add [[virtual_network_peering]] with virtual_networks = [\"{here}\", \"{there}\"] (peering is not transitive)"
            ));
        if kind == "frontend" {
            finding.help(
                "or go through a private endpoint: that is what Private Link is for; the load balancer \
                 alone is tried from a VM on the provider's side",
            );
        }
    }

    /// Warns of backend VMs that dial a frontend which may send them to themselves.
    fn own_frontend(&mut self, path: &str, workload: &Workload, frontend: &FrontendPath) {
        let Some(name) = &workload.backend_vm else {
            return;
        };
        let Some(index) = self.index.backend(name) else {
            return;
        };
        let fed = match self.fed_by(workload, frontend) {
            Some(fed) if fed.members.contains(&index) => fed,
            _ => return,
        };
        let members = fed.members.iter();
        let all: u32 = members
            .map(|&member| self.scenario.backend_vm[member].count)
            .sum();
        if fed.floats {
            let message = format!(
                "`{name}` answers itself: with floating IP it has the address of `{frontend}`"
            );
            self.report(PL068, &format!("{path}.backend_vm"), message)
                .label("the load balancer sees none of these packets")
                .help("start it at a VM that is in no pool of the frontend");
            return;
        }
        let message = match all {
            1 => {
                format!("`{name}` is alone behind `{frontend}` and cannot reach itself through it")
            }
            _ => format!(
                "about 1 of {all} connections of `{name}` to its own frontend `{frontend}` will time out"
            ),
        };
        self.report(PL068, &format!("{path}.backend_vm"), message)
            .label("a flow that is sent back to its own VM has one address at both ends")
            .see(
                &format!("backend_vm[{index}].backend_pools"),
                "in the pool of the frontend's rule",
            )
            .help("start it at a VM of another subnet that is in no pool of the frontend")
            .help("or through a private endpoint: then the VM sees a NAT IP");
    }

    /// Warns of backends that wait for a PROXY header, which only a Private Link Service sends.
    fn no_proxy_header(&mut self, path: &str, workload: &Workload, frontend: &FrontendPath) {
        let fed = self.fed_by(workload, frontend);
        for member in fed.map_or(Vec::new(), |fed| fed.members) {
            let BackendVm {
                name, application, ..
            } = &self.scenario.backend_vm[member];
            if *application != Application::ProxyRequired {
                continue;
            }
            let message = format!(
                "`{name}` waits for PROXY headers, which clients of a frontend do not send"
            );
            self.report(PL069, path, message)
                .label("every request is reset")
                .see(
                    &format!("backend_vm[{member}].application"),
                    "wants a header first",
                )
                .help(
                    "the header is the Private Link Service's; write application = \"proxy-optional\" \
                     if both ways are to work",
                );
        }
    }

    /// Returns what the rule for a workload feeds at the start.
    fn fed_by(&self, workload: &Workload, path: &FrontendPath) -> Option<Fed> {
        let (balancer, _) = self.index.frontend(path)?;
        let lb = &self.scenario.load_balancer[balancer];
        let rule = lb.rule.iter().find(|rule| {
            rule.frontend == path.frontend
                && rule.protocol.carries(workload.protocol.into())
                && [0, workload.port].contains(&rule.frontend_port)
        })?;
        let groups = self.scenario.backend_vm.iter().enumerate();
        let members = groups.filter(|(_, group)| {
            let mut pools = group.backend_pools.iter();
            pools
                .any(|pool| pool.load_balancer == lb.name && pool.backend_pool == rule.backend_pool)
        });
        Some(Fed {
            members: members.map(|(index, _)| index).collect(),
            floats: rule.floating_ip,
        })
    }
}
