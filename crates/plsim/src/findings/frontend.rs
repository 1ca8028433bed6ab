use plsim_observe::{Finding, WorkloadSummary};
use plsim_scenario::{BackendVm, FrontendPath, PrivateLinkService, Rule, Workload};
use plsim_types::DropReason;

use super::{Reader, connections};
use crate::frontend;
use crate::numbers::counted;

impl Reader<'_> {
    /// Clients of a frontend itself: what they prove, what they cannot do, and what they lost.
    pub(super) fn frontend_clients(&self) -> Vec<Finding> {
        let services = self.scenario.private_link_service.iter();
        let innocent = services.filter_map(|service| self.innocent(service));
        let groups = self.scenario.backend_vm.iter();
        let hairpins = groups.filter_map(|group| self.hairpins(group));
        innocent.chain(hairpins).chain(self.dropped()).collect()
    }

    /// A service that refused connections while its frontend served every client that dialled it.
    fn innocent(&self, service: &PrivateLinkService) -> Option<Finding> {
        let refused = self.summary.refusals.iter().any(|row| {
            let by_private_link = matches!(
                row.reason,
                DropReason::NatPortsExhausted
                    | DropReason::EndpointPortLimit
                    | DropReason::NatTableFull
                    | DropReason::NotApproved
            );
            row.pls == service.name.as_str() && by_private_link
        });
        let path = &service.load_balancer_frontend;
        let tests =
            self.workloads(|workload| dials(workload, path) && workload.client_vm.is_some());
        let attempted: u64 = tests.iter().map(|row| row.connections.attempted).sum();
        let failed: u64 = tests.iter().map(|row| row.connections.failed).sum();
        (refused && attempted > 0 && failed == 0).then(|| Finding {
            what: format!(
                "None of {} to frontend {path} itself failed: the load balancer, its rule and its \
                 VMs are not what ails {}.",
                connections(attempted),
                service.name
            ),
            help: vec![
                "Look at the Private Link side: the connection's state and NAT ports.".into(),
            ],
        })
    }

    /// Backend VMs that were sent their own packets.
    fn hairpins(&self, group: &BackendVm) -> Option<Finding> {
        let machines: Vec<String> = group.machines().collect();
        let rows = self.refused(DropReason::LbHairpin).filter(|row| {
            let backend = row.backend.as_ref();
            backend.is_some_and(|backend| machines.contains(backend))
        });
        let sent_back: u64 = rows.map(|row| row.connections).sum();
        let own = self.workloads(|workload| {
            workload.backend_vm.as_ref() == Some(&group.name)
                && workload.frontends().next().is_some()
        });
        let attempted: u64 = own.iter().map(|row| row.connections.attempted).sum();
        (sent_back > 0).then(|| Finding {
            what: format!(
                "{}: {sent_back} of {} failed: a VM cannot reach itself through its own frontend. The \
                 load balancer chose the VM that had sent the packet, which then had one address at \
                 both ends.",
                group.name,
                connections(attempted)
            ),
            help: vec![
                "Test from a VM of another subnet that is in no pool of the frontend.".into(),
                "Or dial a private endpoint: the NAT gives the packet another source.".into(),
            ],
        })
    }

    /// Connections of clients of a frontend that the load balancer dropped.
    fn dropped(&self) -> Option<Finding> {
        let rows = self.summary.backends.iter();
        let dropped: u64 = rows.map(|row| row.frontend_lb_idle).sum();
        let balancers = self.scenario.load_balancer.iter();
        let rules = balancers.flat_map(|lb| frontend::dialled(self.scenario, lb));
        let rules = rules.filter(|rule| rule.carries_tcp());
        let shortest = rules.map(Rule::effective_idle_timeout).min()?;
        (dropped > 0).then(|| Finding {
            what: format!(
                "The load balancer dropped {} to a frontend itself after the idle timeout of the rule.",
                counted(dropped, "connection")
            ),
            help: vec![format!(
                "Send keepalives at intervals below {shortest}, or raise idle_timeout of the rule: no \
                 service's timeout binds here."
            )],
        })
    }

    fn workloads(&self, is_it: impl Fn(&Workload) -> bool) -> Vec<&WorkloadSummary> {
        let rows = self
            .scenario
            .counted_workloads()
            .zip(&self.summary.workloads);
        rows.filter(|(workload, _)| is_it(workload))
            .map(|(_, row)| row)
            .collect()
    }
}

fn dials(workload: &Workload, path: &FrontendPath) -> bool {
    workload.dials(&path.load_balancer, &path.frontend)
}
