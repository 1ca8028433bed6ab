mod admission;
mod frontend;
mod half_open;
mod idle;
mod link;
mod machine;
mod operations;
mod outage;
mod pool;
mod ports;
mod probe;
mod proxy;
mod workload;

use plsim_observe::{Ailment, Finding, NatSummary, RefusalSummary, Summary};
use plsim_scenario::{Scenario, Transport};
use plsim_types::DropReason;

use crate::distribution;
use crate::numbers::{counted, grouped};

/// Reads a summary the way an engineer would.
pub(crate) fn findings(scenario: &Scenario, summary: &Summary) -> Vec<Finding> {
    let reader = Reader { scenario, summary };
    let mut found = Vec::new();
    found.extend(reader.exhausted());
    found.extend(reader.nearly_exhausted());
    found.extend(reader.skew());
    found.extend(distribution::uneven(scenario, summary));
    found.extend(reader.limits());
    found.extend(reader.reused());
    found.extend(reader.lb_idle());
    found.extend(reader.idle());
    found.extend(reader.applications());
    found.extend(reader.not_approved());
    found.extend(reader.proxy_protocol());
    found.extend(reader.frontend_clients());
    found.extend(reader.client_ports());
    found.extend(reader.crashed_clients());
    found.extend(reader.full_servers());
    found.extend(reader.outages());
    found.extend(reader.probes());
    found.extend(reader.resets());
    found.extend(reader.unserved());
    found.extend(reader.retries());
    found.extend(reader.link_outages());
    found.extend(reader.half_open());
    found.extend(reader.lost());
    if found.is_empty() {
        found.extend(reader.unexplained());
    }
    found
}

struct Reader<'a> {
    scenario: &'a Scenario,
    summary: &'a Summary,
}

impl Reader<'_> {
    fn not_approved(&self) -> Vec<Finding> {
        let rows = self.refused(DropReason::NotApproved);
        rows.map(|row| {
            let endpoints = self.scenario.private_endpoint.iter().zip(&self.summary.endpoints);
            let closed: Vec<String> = endpoints
                .filter(|(endpoint, _)| endpoint.private_link_service.as_str() == row.pls)
                .filter(|(_, now)| now.state != "Approved")
                .map(|(_, now)| format!("{} is {}", now.name, now.state))
                .collect();
            let help = if closed.is_empty() {
                "All its endpoints are Approved by now.".to_owned()
            } else {
                format!("Have the owner of {} approve: {}.", row.pls, closed.join(", "))
            };
            Finding {
                what: format!(
                    "{}: {} met an endpoint whose connection was not Approved at the time, first at \
                     {}.",
                    row.pls,
                    connections(row.connections),
                    row.first
                ),
                help: vec![help],
            }
        })
        .collect()
    }

    fn client_ports(&self) -> Option<Finding> {
        let failed: u64 = self
            .summary
            .workloads
            .iter()
            .map(|row| row.failed_by.client_ports)
            .sum();
        (failed > 0).then(|| Finding {
            what: format!(
                "{} failed because their client VM had no ephemeral port left: the limit was the \
                 clients', not the NAT's.",
                connections(failed)
            ),
            help: self.client_groups(),
        })
    }

    /// Says for each group of clients without ports how many VMs would do.
    fn client_groups(&self) -> Vec<String> {
        let groups = self.scenario.client_vm.iter();
        let help = groups.filter_map(|group| {
            let own = self
                .scenario
                .counted_workloads()
                .zip(&self.summary.workloads);
            let own = own.filter(|(workload, _)| workload.client_vm.as_ref() == Some(&group.name));
            let failed: u64 = own.map(|(_, row)| row.failed_by.client_ports).sum();
            let ports = u64::from(group.effective_ephemeral_ports().size());
            // All had a port at once, and those that failed had none.
            let enough = (u64::from(group.count) * ports + failed).div_ceil(ports);
            let each = match group.shares_ephemeral_ports() {
                true => "VM and destination",
                false => "VM",
            };
            (failed > 0).then(|| {
                format!(
                    "Raise count of client_vm {} from {} to {enough}, which is enough in any case: \
                     {} for each {each}. Or widen ephemeral_ports.",
                    group.name,
                    group.count,
                    counted(ports, "port")
                )
            })
        });
        help.collect()
    }

    /// Packets that ended on the way for reasons that no connection row shows.
    fn lost(&self) -> Vec<Finding> {
        let deaf = [Ailment::NotListening, Ailment::Flapping];
        let mut outages = self.summary.outages.iter();
        // A stream that ends has answers on the way; that harms nobody.
        let mut workloads = self.scenario.workload.iter().zip(&self.summary.workloads);
        let gives_up = workloads
            .any(|(workload, row)| workload.protocol == Transport::Udp && row.lost_by.timeout > 0);
        let is_late = gives_up && !outages.any(|outage| deaf.contains(&outage.ailment));
        let drops = self.summary.ledger.drops();
        drops
            .filter_map(|(reason, packets)| {
                let help = match reason {
                    DropReason::LinkQueueFull => "Raise bandwidth or queue_limit of the link.",
                    DropReason::TtlExpired => "Lower ttl_decrement of the private endpoint.",
                    DropReason::NoListener if is_late => {
                        "A response came after its client had given up: raise response_timeout."
                    }
                    _ => return None,
                };
                Some(Finding {
                    what: format!("{} ended as {reason}.", counted(packets, "packet")),
                    help: vec![help.into()],
                })
            })
            .collect()
    }

    /// Connections that did not end well although nothing above says why.
    fn unexplained(&self) -> Option<Finding> {
        let all = &self.summary.connections;
        let parts = [
            (all.failed, "failed"),
            (all.reset, "were reset"),
            (all.timed_out, "timed out"),
        ];
        let parts: Vec<String> = parts
            .into_iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, how)| format!("{} {how}", grouped(count)))
            .collect();
        let rows = self.summary.workloads.iter();
        let whose: Vec<&str> = rows
            .filter(|row| {
                let own = &row.connections;
                own.failed + own.reset + own.timed_out > 0
            })
            .map(|row| row.name.as_str())
            .collect();
        let ending = if whose.len() == 1 { "" } else { "s" };
        (!parts.is_empty()).then(|| Finding {
            what: format!(
                "Of {}, {} (workload{ending} {}).",
                connections(all.attempted),
                parts.join(", "),
                whose.join(", ")
            ),
            help: vec![
                "Look at the dropped packets above, and at one connection in a capture \
                 (--set output.capture=true --out DIR)."
                    .to_owned(),
            ],
        })
    }

    fn rows(&self, service: &str) -> impl Iterator<Item = &NatSummary> {
        self.summary
            .nat
            .iter()
            .filter(move |row| row.pls == service)
    }

    fn refused(&self, reason: DropReason) -> impl Iterator<Item = &RefusalSummary> {
        self.summary
            .refusals
            .iter()
            .filter(move |row| row.reason == reason)
    }
}

fn connections(count: u64) -> String {
    counted(count, "connection")
}
