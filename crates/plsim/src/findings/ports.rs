//! Ports, flows and bindings that ran out.

use plsim_nat::{Allocation, PoolConfig, PortSpace, Selection};
use plsim_observe::{Finding, NatSummary, RefusalSummary};
use plsim_scenario::{OnExhaustion, PrivateLinkService};
use plsim_types::{DropReason, Instant, PlsId, Protocol};

use super::{Reader, connections};
use crate::nat;
use crate::numbers::{counted, grouped, percent, rounded};

impl Reader<'_> {
    /// VMs whose port spaces refused connections, one finding for each service.
    pub(super) fn exhausted(&self) -> Vec<Finding> {
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
                    self.answer(service, first.protocol),
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
                let other_free = rows.len() > 1 && rows.iter().any(|row| !is_full(row));
                if other_free && is_strict(pool.selection) {
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

    /// VMs whose port spaces nearly refused connections, one finding for each service and protocol.
    pub(super) fn nearly_exhausted(&self) -> Vec<Finding> {
        let services = self.scenario.private_link_service.iter();
        let spaces = services.flat_map(|service| {
            let protocols = [Protocol::Tcp, Protocol::Udp];
            protocols.map(|protocol| (service, protocol))
        });
        spaces
            .filter_map(|(service, protocol)| {
                let rows = self.rows(service.name.as_str());
                let rows: Vec<_> = rows.filter(|row| row.protocol == protocol).collect();
                if rows.iter().any(|row| row.bind_failures > 0) {
                    return None;
                }
                let worst = rows.into_iter().max_by_key(|row| row.fullest_peak)?;
                let peak = u64::from(worst.fullest_peak);
                let capacity = u64::from(worst.space_capacity());
                if peak * 100 < capacity * NEARLY {
                    return None;
                }
                let at = rounded(worst.peak_at?.since(Instant::ZERO));
                let (whose, when) = match worst.fullest_backend_port {
                    None => (String::new(), format!("at {at}")),
                    // That instant is of the sum over all backend ports.
                    Some(port) => (format!(" for backend port {port}"), "at once".to_owned()),
                };
                let pool = nat::pool(service, PlsId(0), Vec::new());
                Some(Finding {
                    what: format!(
                        "{}: VM {} had {} of its {protocol} ports{whose} on NAT IP {} taken {when}: {} were \
                         left of {}.",
                        service.name,
                        worst.backend,
                        percent(peak, capacity),
                        worst.nat_ip,
                        grouped(capacity - peak),
                        grouped(capacity)
                    ),
                    help: self.more_room(service, &pool),
                })
            })
            .collect()
    }

    /// Ways to more ports.
    fn more_room(&self, service: &PrivateLinkService, pool: &PoolConfig) -> Vec<String> {
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
            (Allocation::ReservedBlocks { size, most, .. }, _) => {
                (u32::from(size) * u32::from(most), " for each client")
            }
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
        help
    }

    /// Ways to more ports, or to ports that come back sooner.
    fn more_ports(
        &self,
        service: &PrivateLinkService,
        full: &[&NatSummary],
        pool: &PoolConfig,
    ) -> Vec<String> {
        let mut help = self.more_room(service, pool);
        // What filled the ports when they ran out, not what is left of it at the end.
        let exhausted = full.iter().filter(|row| row.first_exhausted.is_some());
        let (held, of) = exhausted.fold((0, 0), |(held, of), row| {
            let space = u64::from(row.space_capacity());
            (held + u64::from(row.held_when_exhausted), of + space)
        });
        let ports: u64 = full.iter().map(|row| u64::from(row.capacity)).sum();
        let timers = service.effective_timers();
        let unanswered: u64 = full.iter().map(|row| row.expired_half_open).sum();
        if full.iter().all(|row| row.protocol == Protocol::Udp) {
            help.push(format!(
                "Have clients keep their sockets: UDP has no close, so each new source port takes a NAT \
                 port until it has been silent for {}. Or lower udp_idle_timeout.",
                timers.udp_idle
            ));
        } else if unanswered > ports / 2 {
            help.push(format!(
                "Find out who sends SYNs that nobody answers: {} never got an answer, and each kept its \
                 port for the half-open timeout of {}.",
                connections(unanswered),
                timers.half_open
            ));
        } else if held > of / 2 {
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
    pub(super) fn skew(&self) -> Option<Finding> {
        let worst = self
            .summary
            .nat
            .iter()
            .filter(|row| is_full(row) && row.fullest_peak == row.space_capacity())
            .max_by_key(|row| row.fullest_peak)?;
        let peers = self.summary.nat.iter().filter(|row| {
            row.pls == worst.pls && row.nat_ip == worst.nat_ip && row.protocol == worst.protocol
        });
        let shares: Vec<u64> = peers
            .map(|row| permille(row.fullest_peak, row.space_capacity()))
            .collect();
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
    pub(super) fn limits(&self) -> Vec<Finding> {
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
                    self.answer(service, row.protocol)
                ),
                help: vec![help.to_owned()],
            })
        })
        .collect()
    }

    /// Says what a client of the service hears whose packet is refused.
    fn answer(&self, service: &PrivateLinkService, protocol: Protocol) -> String {
        let code = match (service.on_exhaustion, protocol) {
            (OnExhaustion::Drop, Protocol::Tcp) => {
                return "SYNs were dropped without an answer".into();
            }
            (OnExhaustion::Drop, Protocol::Udp) => {
                return "datagrams were dropped without an answer".into();
            }
            (OnExhaustion::IcmpAdminProhibited, _) => "3/13",
            (OnExhaustion::IcmpHostUnreachable, _) => "3/1",
        };
        let backends = self.summary.backends.iter();
        match backends.map(|row| row.icmp_suppressed).sum() {
            0 => format!("their clients were told by ICMP {code}"),
            count => format!(
                "their clients were told by ICMP {code}, but {} had none: more than icmp_rate lets answer",
                counted(count, "packet")
            ),
        }
    }

    pub(super) fn reused(&self) -> Option<Finding> {
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
}

/// From what share of its ports on, in percent, a space is said to be nearly full.
const NEARLY: u64 = 90;

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
        Allocation::ReservedBlocks { size, most, pace } => {
            let size = u32::from(size);
            if most == 1 {
                format!(
                    "a client has {} of a NAT IP, if as many are left",
                    counted(size.into(), "port")
                )
            } else {
                format!(
                    "a client has {} of a NAT IP at first and up to {}, and gets twice as many {} \
                     after {} % of them are in use, if as many are left",
                    counted(size.into(), "port"),
                    grouped(u64::from(size * u32::from(most))),
                    pace.delay,
                    thousandths(pace.grow_at),
                )
            }
        }
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
        Allocation::ReservedBlocks { .. } => {
            "Raise block_size, so that clients have more ports from the first, or block_limit, so that \
             they get more in the end."
                .to_owned()
        }
        _ => "Use a port_allocation that finds every free port, such as \"bitmap\".".to_owned(),
    }
}

/// Writes thousandths as percent, without a fraction that is zero.
fn thousandths(share: u16) -> String {
    match share % 10 {
        0 => (share / 10).to_string(),
        rest => format!("{}.{rest}", share / 10),
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
