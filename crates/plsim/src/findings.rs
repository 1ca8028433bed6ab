use plsim_observe::{NatSummary, Summary};
use plsim_scenario::Scenario;
use plsim_types::{DropReason, Duration, Instant};

use crate::numbers::{counted, grouped};

/// Something a run showed that its reader should know: what happened, and what would help.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What happened, in one sentence.
    pub what: String,
    /// What would help; may be several ways.
    pub help: Vec<String>,
}

/// Reads a summary the way an engineer would.
#[must_use]
pub fn findings(scenario: &Scenario, summary: &Summary) -> Vec<Finding> {
    let reader = Reader { scenario, summary };
    let mut found = Vec::new();
    found.extend(reader.exhausted());
    found.extend(reader.skew());
    found.extend(reader.flow_limit());
    found.extend(reader.idle());
    found.extend(reader.not_approved());
    found.extend(reader.client_ports());
    found.extend(reader.unrouted());
    found
}

struct Reader<'a> {
    scenario: &'a Scenario,
    summary: &'a Summary,
}

impl Reader<'_> {
    /// Port spaces that refused connections, one finding for each service.
    fn exhausted(&self) -> Vec<Finding> {
        let services = self.scenario.private_link_service.iter();
        services
            .filter_map(|service| {
                let name = service.name.as_str();
                let full: Vec<&NatSummary> = self.rows(name).filter(|row| is_full(row)).collect();
                let first = full.iter().min_by_key(|row| row.first_exhausted)?;
                let refused = self.refused(name, DropReason::NatPortsExhausted);
                if refused == 0 {
                    return None;
                }
                Some(Finding {
                    what: format!(
                        "{name}: NAT IP {} had no free {} port toward VM {} from {} on{}; {} were \
                         refused, their SYNs dropped without an answer.",
                        first.nat_ip,
                        first.protocol,
                        first.backend,
                        at(first.first_exhausted),
                        others(full.len() - 1),
                        connections(refused),
                    ),
                    help: self.more_ports(name, &full),
                })
            })
            .collect()
    }

    /// Ways to more ports, or to ports that come back sooner.
    fn more_ports(&self, service: &str, full: &[&NatSummary]) -> Vec<String> {
        let rows: Vec<&NatSummary> = self.rows(service).collect();
        let count = |mut names: Vec<String>| {
            names.sort_unstable();
            names.dedup();
            names.len()
        };
        let nat_ips = count(rows.iter().map(|row| row.nat_ip.to_string()).collect());
        let vms = count(rows.iter().map(|row| row.backend.clone()).collect());
        let capacity = rows.first().map_or(0, |row| row.capacity);
        let mut help = Vec::new();
        if nat_ips < 8 {
            help.push(format!(
                "Add NAT IPs: {nat_ips} of at most 8 in use, each adds {} ports on every VM.",
                grouped(u64::from(capacity))
            ));
        }
        help.push(format!(
            "Add backend VMs: {vms} now, each adds {} ports for every NAT IP.",
            grouped(u64::from(capacity))
        ));
        let held: u64 = full.iter().map(|row| u64::from(row.held)).sum();
        let in_use: u64 = full.iter().map(|row| u64::from(row.in_use)).sum();
        let wanted = &self.scenario.private_link_service;
        let Some(settings) = wanted.iter().find(|entry| entry.name.as_str() == service) else {
            return help;
        };
        if held > in_use {
            help.push(format!(
                "Keep connections open longer and reuse them: most ports are held down after a \
                 close ({} after FIN), so short connections cost the most.",
                settings.hold_down_fin.0
            ));
        } else {
            help.push(format!(
                "Close what is no longer needed: an abandoned connection keeps its port for the \
                 idle timeout of {}, a closed one for the hold-down of {}.",
                settings.idle_timeout.0, settings.hold_down_fin.0
            ));
        }
        help
    }

    /// A full VM that the average over VMs hides.
    fn skew(&self) -> Option<Finding> {
        let worst = self
            .summary
            .nat
            .iter()
            .filter(|row| is_full(row))
            .max_by_key(|row| row.peak)?;
        let peers = self.summary.nat.iter().filter(|row| {
            row.pls == worst.pls && row.nat_ip == worst.nat_ip && row.protocol == worst.protocol
        });
        let shares: Vec<u64> = peers.map(|row| permille(row.peak, row.capacity)).collect();
        let average = shares.iter().sum::<u64>() / shares.len().max(1) as u64;
        (shares.len() > 1 && average < 950).then(|| Finding {
            what: format!(
                "The average over {} VMs hides a full one: NAT IP {} peaked at {}.{} % on average \
                 (what Azure's PLSNatPortsUsage shows), and at 100 % on {}.",
                shares.len(),
                worst.nat_ip,
                average / 10,
                average % 10,
                worst.backend
            ),
            help: vec!["Watch the fullest VM: timeseries.csv has it beside the average.".into()],
        })
    }

    fn flow_limit(&self) -> Option<Finding> {
        let rows = self.summary.refusals.iter();
        let row = rows
            .filter(|row| row.reason == DropReason::VmFlowLimit)
            .min_by_key(|row| row.first)?;
        let backend = row.backend.clone().unwrap_or_default();
        Some(Finding {
            what: format!(
                "VM {backend} reached its flow limit at {}: {} were refused although NAT ports \
                 were free.",
                row.first,
                connections(row.connections)
            ),
            help: vec![
                "Add backend VMs: the limit is the VM's own (500 000 active connections), so more \
                 NAT IPs do not help."
                    .into(),
            ],
        })
    }

    fn idle(&self) -> Option<Finding> {
        let expired = self.summary.connections.idle_expired;
        let shortest = self
            .scenario
            .private_link_service
            .iter()
            .map(|pls| pls.idle_timeout.0)
            .min()?;
        (expired > 0).then(|| Finding {
            what: format!(
                "{} died of silence: the service dropped them after the idle timeout of {shortest}, \
                 and both ends got a RST.",
                connections(expired)
            ),
            help: vec![format!(
                "Send keepalives at intervals below {shortest}, on TCP or in the application; \
                 Linux's default of 7 200 s comes too late."
            )],
        })
    }

    fn not_approved(&self) -> Vec<Finding> {
        let rows = self.summary.refusals.iter();
        rows.filter(|row| row.reason == DropReason::NotApproved)
            .map(|row| Finding {
                what: format!(
                    "{} to {} met a private endpoint whose connection was not Approved, first at \
                     {}.",
                    connections(row.connections),
                    row.pls,
                    row.first
                ),
                help: vec!["Have the owner of the service approve the connection.".into()],
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
            help: vec!["Raise count of the client_vm, or its ephemeral_ports.".into()],
        })
    }

    fn unrouted(&self) -> Vec<Finding> {
        let rows = self.summary.refusals.iter();
        rows.filter_map(|row| {
            let help = match row.reason {
                DropReason::NoLbRule => "Add a load-balancing rule for the port, or correct it.",
                DropReason::NoHealthyBackend => "Bring a backend of the pool up.",
                _ => return None,
            };
            Some(Finding {
                what: format!(
                    "{} to {} were dropped ({}), first at {}.",
                    connections(row.connections),
                    row.pls,
                    row.reason,
                    row.first
                ),
                help: vec![help.into()],
            })
        })
        .collect()
    }

    fn rows(&self, service: &str) -> impl Iterator<Item = &NatSummary> {
        self.summary
            .nat
            .iter()
            .filter(move |row| row.pls == service)
    }

    fn refused(&self, service: &str, reason: DropReason) -> u64 {
        let rows = self.summary.refusals.iter();
        let rows = rows.filter(|row| row.pls == service && row.reason == reason);
        rows.map(|row| row.connections).sum()
    }
}

fn is_full(row: &NatSummary) -> bool {
    row.first_exhausted.is_some()
}

fn permille(part: u32, whole: u32) -> u64 {
    (u64::from(part) * 1_000)
        .checked_div(u64::from(whole))
        .unwrap_or(0)
}

fn others(count: usize) -> String {
    match count {
        0 => String::new(),
        1 => " (and one more pair of NAT IP and VM)".to_owned(),
        count => format!(" (and {count} more pairs of NAT IP and VM)"),
    }
}

fn at(instant: Option<Instant>) -> Duration {
    instant.map_or(Duration::ZERO, |instant| instant.since(Instant::ZERO))
}

fn connections(count: u64) -> String {
    counted(count, "connection")
}
