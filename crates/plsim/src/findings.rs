mod frontend;
mod proxy;
mod workload;

use plsim_nat::{Allocation, LatePackets, OnIdle, PoolConfig, PortSpace, Selection};
use plsim_observe::{Finding, Heard, IdleCeiling, NatSummary, RefusalSummary, SetBy, Summary};
use plsim_scenario::{Close, OnExhaustion, PrivateLinkService, Scenario};
use plsim_types::{DropReason, Duration, PlsId, Protocol};

use crate::distribution;
use crate::nat;
use crate::numbers::{counted, grouped};

/// Reads a summary the way an engineer would.
pub(crate) fn findings(scenario: &Scenario, summary: &Summary) -> Vec<Finding> {
    let reader = Reader { scenario, summary };
    let mut found = Vec::new();
    found.extend(reader.exhausted());
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
    found.extend(crate::probe_report::findings(summary));
    found.extend(reader.unserved());
    found.extend(reader.lost());
    found
}

/// When Linux sends the first keepalive, unless told otherwise.
const LINUX_KEEPALIVE: Duration = Duration::from_secs(7_200);

struct Reader<'a> {
    scenario: &'a Scenario,
    summary: &'a Summary,
}

impl Reader<'_> {
    /// VMs whose port spaces refused connections, one finding for each service.
    fn exhausted(&self) -> Vec<Finding> {
        let services = self.scenario.private_link_service.iter();
        services
            .filter_map(|service| {
                let name = service.name.as_str();
                let refused: Vec<&RefusalSummary> = self
                    .refused(DropReason::NatPortsExhausted)
                    .filter(|row| row.pls == name)
                    .collect();
                let first = refused.iter().min_by_key(|row| row.first)?;
                let backend = first.backend.as_deref().unwrap_or_default();
                let rows: Vec<&NatSummary> = self
                    .rows(name)
                    .filter(|row| row.backend == backend && row.protocol == first.protocol)
                    .collect();
                let pool = nat::pool(service, PlsId(0), Vec::new());
                let others = match refused.len() - 1 {
                    0 => String::new(),
                    1 => " (another VM followed)".to_owned(),
                    count => format!(" ({count} more VMs followed)"),
                };
                let what = match dry(&rows, pool.port_space) {
                    Some(dry) => format!("ran out of {} ports on {dry}{others}", first.protocol),
                    None => format!(
                        "found no {} port although some were free{others}: {}",
                        first.protocol,
                        gives_up(pool.allocator)
                    ),
                };
                let mut what = format!(
                    "{name}: VM {backend} {what}. {} were refused at least once, the first at {}: {}.",
                    connections(refused.iter().map(|row| row.connections).sum()),
                    first.first,
                    answer(service, first.protocol),
                );
                let gave_up: u64 = rows.iter().map(|row| row.gave_up).sum();
                let full = rows.iter().any(|row| is_full(row));
                if full && gave_up > 0 {
                    what += &format!(
                        " {} met free ports all the same: {}.",
                        counted(gave_up, "refusal"),
                        gives_up(pool.allocator)
                    );
                }
                let mut help = Vec::new();
                if gave_up > 0 {
                    help.push(against_giving_up(pool.allocator));
                }
                if rows.iter().any(|row| !is_full(row)) && is_strict(pool.selection) {
                    help.push(
                        "Let nat_ip_selection try the other NAT IPs, too: a strict one refuses \
                         when the first is full."
                            .to_owned(),
                    );
                }
                help.extend(self.more_ports(service, &rows, &pool));
                Some(Finding { what, help })
            })
            .collect()
    }

    /// Ways to more ports, or to ports that come back sooner.
    fn more_ports(
        &self,
        service: &PrivateLinkService,
        full: &[&NatSummary],
        pool: &PoolConfig,
    ) -> Vec<String> {
        let rows: Vec<&NatSummary> = self.rows(service.name.as_str()).collect();
        let count = |mut names: Vec<String>| {
            names.sort_unstable();
            names.dedup();
            names.len()
        };
        let nat_ips = count(rows.iter().map(|row| row.nat_ip.to_string()).collect());
        let vms = count(rows.iter().map(|row| row.backend.clone()).collect());
        let (ports, whose) = match (pool.allocator, pool.port_space) {
            (Allocation::Blocks { size, most }, _) => (
                u32::from(size) * u32::from(most),
                " for each private endpoint",
            ),
            (_, PortSpace::PerVm) => (u32::MAX, ""),
            (_, PortSpace::PerVmPort) => (u32::MAX, " for each backend port"),
        };
        let ports = grouped(u64::from(ports.min(service.ports().size())));
        let mut help = Vec::new();
        if nat_ips < 8 {
            help.push(format!(
                "Add NAT IPs: {nat_ips} of at most 8 in use, each adds {ports} ports{whose} on every VM."
            ));
        }
        help.push(format!(
            "Add backend VMs: {vms} now, each adds {ports} ports{whose} for every NAT IP."
        ));
        // What filled the ports when they ran out, not what is left of it at the end.
        let held: u64 = full
            .iter()
            .map(|row| u64::from(row.held_when_exhausted))
            .sum();
        let ports: u64 = full.iter().map(|row| u64::from(row.capacity)).sum();
        let timers = service.effective_timers();
        if held > ports / 2 {
            help.push(format!(
                "Keep connections open longer and reuse them: most ports are held down after a \
                 close ({} after FIN), so short connections cost the most.",
                timers.hold_down_fin
            ));
        } else {
            help.push(format!(
                "Close what is no longer needed: an abandoned connection keeps its port for the \
                 idle timeout of {}, a closed one for the hold-down of {}.",
                timers.established_idle, timers.hold_down_fin
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
            .filter(|row| is_full(row) && row.peak == row.capacity)
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

    /// Limits of a VM that refused connections.
    fn limits(&self) -> Vec<Finding> {
        let rows = self.summary.refusals.iter();
        rows.filter_map(|row| {
            let backend = row.backend.as_deref().unwrap_or_default();
            let mut groups = self.scenario.backend_vm.iter();
            let group = groups.find(|group| group.machines().any(|name| name == backend))?;
            let mut services = self.scenario.private_link_service.iter();
            let service = services.find(|service| service.name.as_str() == row.pls)?;
            let (who, limit, of, help) = match row.reason {
                DropReason::VmFlowLimit => (
                    format!("VM {backend}"),
                    group.vm_flow_limit.0,
                    "active connections",
                    "Add backend VMs: the limit is the VM's own, so more NAT IPs do not help.",
                ),
                DropReason::NatTableFull => (
                    format!("The NAT of VM {backend}"),
                    group.nat_table_limit.0,
                    "bindings, held-down ones included",
                    "Raise nat_table_limit, or add backend VMs.",
                ),
                DropReason::EndpointPortLimit => (
                    format!("A private endpoint of {} on VM {backend}", row.pls),
                    service.endpoint_port_limit.0,
                    "ports",
                    "Raise endpoint_port_limit, or spread the clients over several endpoints.",
                ),
                _ => return None,
            };
            Some(Finding {
                what: format!(
                    "{who} reached its limit of {} {of}: {} were refused at least once, the first \
                     at {}: {}.",
                    grouped(u64::from(limit.unwrap_or_default())),
                    connections(row.connections),
                    row.first,
                    answer(service, row.protocol)
                ),
                help: vec![help.to_owned()],
            })
        })
        .collect()
    }

    fn reused(&self) -> Option<Finding> {
        let reused: u64 = self.summary.nat.iter().map(|row| row.reused_held).sum();
        (reused > 0).then(|| Finding {
            what: format!(
                "{} took a port whose hold-down was not over (held_ports = \"reuse-oldest\"): the \
                 server may still know the connection before it.",
                connections(reused)
            ),
            help: vec!["Add NAT IPs or backend VMs, so that ports can rest.".into()],
        })
    }

    /// Connections that the load balancer dropped, one finding for each service.
    fn lb_idle(&self) -> Vec<Finding> {
        let services = self.scenario.private_link_service.iter();
        services
            .filter_map(|service| {
                let name = service.name.as_str();
                let dropped: u64 = self.rows(name).map(|row| row.lb_idle).sum();
                let rules = self.summary.idle.iter();
                let rules: Vec<&IdleCeiling> = rules
                    .filter(|row| row.pls == name && row.set_by == SetBy::Rule)
                    .collect();
                let shortest = rules.iter().map(|row| row.rule_idle).min()?;
                let told = |heard| rules.iter().any(|row| row.heard == heard);
                let told = match (told(Heard::Reset), told(Heard::Silence)) {
                    (true, false) => "both ends got a RST",
                    (true, true) => "some rules send RST, some nothing",
                    (false, true | false) => {
                        "nobody was told, and what the ends send afterwards is dropped as lb-idle"
                    }
                };
                let mut whose: Vec<String> = rules
                    .iter()
                    .map(|row| format!("{} ({})", row.rule, row.rule_idle))
                    .collect();
                whose.dedup();
                let mut help = self.against_silence(name, shortest);
                help.push(format!(
                    "Raise idle_timeout of the rule to {} or more: the service's own timeout binds \
                     then.",
                    service.effective_timers().established_idle
                ));
                (dropped > 0).then(|| Finding {
                    what: format!(
                        "{name}: the load balancer dropped {} after the idle timeout of {}; {told}.",
                        connections(dropped),
                        whose.join(", "),
                    ),
                    help,
                })
            })
            .collect()
    }

    /// Connections that idled out, one finding for each service.
    fn idle(&self) -> Vec<Finding> {
        let services = self.scenario.private_link_service.iter();
        services
            .filter_map(|service| {
                let rows = self.rows(service.name.as_str());
                let rows = rows.filter(|row| row.protocol == Protocol::Tcp);
                let (mut expired, mut half_closed) = (0, 0);
                for row in rows {
                    expired += row.expired_idle;
                    half_closed += row.expired_half_closed;
                }
                let timers = service.effective_timers();
                let timeout = timers.established_idle;
                let mut waited = vec![format!("after the idle timeout of {timeout}")];
                if half_closed > 0 && timers.half_closed_idle != timeout {
                    let wait = timers.half_closed_idle;
                    waited.push(format!(
                        "{} of them half-closed after {wait}",
                        grouped(half_closed)
                    ));
                }
                (expired > 0).then(|| Finding {
                    what: format!(
                        "{}: {} died of silence {}, {}.",
                        service.name,
                        connections(expired),
                        waited.join(", "),
                        told(service)
                    ),
                    help: self.against_silence(service.name.as_str(), timeout),
                })
            })
            .collect()
    }

    /// What keeps the connections of a service from idling out, if they were meant to live.
    fn against_silence(&self, service: &str, timeout: Duration) -> Vec<String> {
        let endpoints = self.scenario.private_endpoint.iter();
        let endpoints: Vec<_> = endpoints
            .filter(|pe| pe.private_link_service.as_str() == service)
            .collect();
        let own = self.scenario.workload.iter().filter(|workload| {
            endpoints
                .iter()
                .any(|endpoint| workload.comes_by(&endpoint.name))
        });
        let (abandoned, meant): (Vec<_>, Vec<_>) =
            own.partition(|workload| workload.close == Close::Abandon);
        let mut help = Vec::new();
        if !abandoned.is_empty() {
            let names: Vec<&str> = abandoned
                .iter()
                .map(|workload| workload.name.as_str())
                .collect();
            help.push(format!(
                "Close what is abandoned (workload {}).",
                names.join(", ")
            ));
        }
        if !meant.is_empty() {
            let linux = if timeout <= LINUX_KEEPALIVE {
                "; Linux's default of 7 200 s comes too late"
            } else {
                ""
            };
            help.push(format!(
                "Send keepalives at intervals below {timeout}, on TCP or in the application{linux}."
            ));
        }
        help
    }

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
            help: vec!["Raise count of the client_vm, or its ephemeral_ports.".into()],
        })
    }

    fn unserved(&self) -> Vec<Finding> {
        let rows = self.summary.refusals.iter();
        rows.filter_map(|row| {
            let help = match row.reason {
                DropReason::NoLbRule => "Add a load-balancing rule for the port, or correct it.",
                DropReason::NoHealthyBackend => "Bring a backend of the pool up.",
                DropReason::EdgeTableFull => "Raise flow_table_limit of the load balancer.",
                _ => return None,
            };
            Some(Finding {
                what: format!(
                    "{} to {} were dropped ({}), first at {}.",
                    connections(row.connections),
                    match row.pls.as_str() {
                        "" => "a frontend itself",
                        service => service,
                    },
                    row.reason,
                    row.first
                ),
                help: vec![help.into()],
            })
        })
        .collect()
    }

    /// Packets that ended on the way for reasons that no connection row shows.
    fn lost(&self) -> Vec<Finding> {
        let drops = self.summary.ledger.drops();
        drops
            .filter_map(|(reason, packets)| {
                let help = match reason {
                    DropReason::LinkQueueFull => "Raise bandwidth or queue_limit of the link.",
                    DropReason::LinkDown => "Links were down: by `down` or by link-down.",
                    DropReason::TtlExpired => "Lower ttl_decrement of the private endpoint.",
                    DropReason::NoListener => {
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

/// Says what the ends of a connection of the service hear when it idles out.
fn told(service: &PrivateLinkService) -> &'static str {
    let pool = nat::pool(service, PlsId(0), Vec::new());
    match (pool.on_idle, pool.late_packets) {
        (OnIdle::Reset, _) => "and both ends got a RST",
        (OnIdle::Silent, LatePackets::Reset) => {
            "and nobody was told: whoever sends afterwards gets a RST"
        }
        (OnIdle::Silent, LatePackets::Drop) => {
            "and nobody was told: what the ends send afterwards is dropped as no-flow"
        }
    }
}

/// Says what a client of the service hears whose packet is refused.
fn answer(service: &PrivateLinkService, protocol: Protocol) -> &'static str {
    match (service.on_exhaustion, protocol) {
        (OnExhaustion::Drop, Protocol::Tcp) => "SYNs were dropped without an answer",
        (OnExhaustion::Drop, Protocol::Udp) => "datagrams were dropped without an answer",
        (OnExhaustion::IcmpAdminProhibited, _) => "their clients were told by ICMP 3/13",
        (OnExhaustion::IcmpHostUnreachable, _) => "their clients were told by ICMP 3/1",
    }
}

/// Says which of the NAT IPs of a VM ran out, and when; nothing if none did.
fn dry(rows: &[&NatSummary], port_space: PortSpace) -> Option<String> {
    let dry = rows.iter().filter(|row| is_full(row));
    let last = dry.clone().max_by_key(|row| row.first_exhausted)?;
    let at = last.first_exhausted?;
    let whose = match port_space {
        PortSpace::PerVm => "",
        PortSpace::PerVmPort => " for a backend port",
    };
    let (ip, all) = (last.nat_ip, rows.len());
    Some(match dry.count() {
        1 if all == 1 => format!("NAT IP {ip}{whose} at {at}"),
        1 => format!("NAT IP {ip}{whose}, one of {all}, at {at}"),
        count if count == all => format!("all {all} NAT IPs{whose}, {ip} the last, at {at}"),
        count => format!("{count} of {all} NAT IPs{whose}, {ip} the last, at {at}"),
    })
}

/// Tells whether a flow is refused when the first NAT IP has no port.
const fn is_strict(selection: Selection) -> bool {
    matches!(
        selection,
        Selection::HashStrict | Selection::ClientPairedStrict
    )
}

/// Says why a port allocation refuses although ports are free.
fn gives_up(allocation: Allocation) -> String {
    match allocation {
        Allocation::Blocks { size, most } => format!(
            "a private endpoint gets at most {} of {} on a NAT IP, if as many are left",
            counted(most.into(), "block"),
            counted(size.into(), "port")
        ),
        Allocation::AzureBlocks => {
            "every block of 8 ports belongs to a private endpoint, which alone may use it"
                .to_owned()
        }
        _ => format!("port_allocation \"{}\" gives up early", allocation.name()),
    }
}

fn against_giving_up(allocation: Allocation) -> String {
    match allocation {
        Allocation::Blocks { .. } => {
            "Raise block_limit, or spread the clients over several private endpoints.".to_owned()
        }
        _ => "Use a port_allocation that finds every free port, such as \"bitmap\".".to_owned(),
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

fn connections(count: u64) -> String {
    counted(count, "connection")
}
