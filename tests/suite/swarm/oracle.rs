//! The judge outside: it reads the capture and the static part of the scenario, nothing else.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};

use super::journey::{self, Journey, Kind, Seen, Tap};
use super::mappings::{self, Flow, Mapping, Mappings, Phase, Port, Promises, Way};
use super::pcapng::CaptureFile;
use super::plan::{Plan, TCP, UDP};
use super::violation::Violation;

/// How many ports may not be free at the end, for each (VM, protocol, NAT IP).
pub(super) type PortsAtEnd = BTreeMap<(usize, u8, Ipv4Addr), (usize, usize)>;

/// What the capture shows.
#[derive(Debug, Default)]
pub(super) struct Findings {
    /// What is wrong.
    pub(super) violations: Vec<Violation>,
    /// How many packets were seen at all.
    pub(super) packets: u64,
    /// How many were seen to end, by reason.
    pub(super) drops: BTreeMap<String, u64>,
    /// The fewest and the most ports that may be taken when the run ends.
    pub(super) ports: PortsAtEnd,
}

/// Judges a capture.
pub(super) fn judge(plan: &Plan, file: &CaptureFile) -> Findings {
    let mut findings = Findings::default();
    let (seen, links) = journey::seen(plan, file, &mut findings.violations);
    let journeys = journey::journeys(plan, &seen, &links.copies, &mut findings.violations);
    let unseen = links.corrupted.iter();
    let unseen = unseen.filter(|id| !journeys.contains_key(id)).count();
    findings.packets = (journeys.len() + unseen) as u64;
    let ended = seen.iter().filter(|packet| packet.tap == Tap::Drops);
    let reasons = ended.map(|packet| packet.reason);
    for reason in reasons.chain(links.reasons) {
        *findings.drops.entry(reason.to_owned()).or_default() += 1;
    }
    if !findings.violations.is_empty() {
        // What follows would only echo it.
        return findings;
    }
    let mut replay = Replay::new(plan, &seen, &journeys);
    for packet in &seen {
        replay.take(packet);
    }
    replay.end(&mut findings);
    findings
}

/// The capture from its beginning to some packet.
struct Replay<'a> {
    plan: &'a Plan,
    seen: &'a [Seen<'a>],
    journeys: &'a BTreeMap<u64, Journey>,
    promises: Vec<Promises>,
    pools_change: bool,
    /// The bindings of each VM.
    vms: Vec<Mappings>,
    /// The flow of each packet that passed an endpoint on its way in or a NAT on its way out.
    flows: BTreeMap<u64, Flow>,
    /// The VM of each flow, where pools do not change.
    homes: BTreeMap<Flow, usize>,
    /// How many RSTs may still come to clients: one for each idle timeout, or late packet.
    untold: BTreeMap<Flow, u32>,
    /// The backend's last packet without a binding: when, to and from where.
    late: Option<(u64, SocketAddrV4, SocketAddrV4)>,
    violations: Vec<Violation>,
}

impl<'a> Replay<'a> {
    fn new(plan: &'a Plan, seen: &'a [Seen<'a>], journeys: &'a BTreeMap<u64, Journey>) -> Self {
        Self {
            plan,
            seen,
            journeys,
            promises: plan.services.iter().map(Promises::of).collect(),
            pools_change: plan.pools_change(),
            vms: vec![Mappings::default(); plan.backends.len()],
            flows: BTreeMap::new(),
            homes: BTreeMap::new(),
            untold: BTreeMap::new(),
            late: None,
            violations: Vec::new(),
        }
    }

    fn take(&mut self, packet: &Seen<'a>) {
        let journey = &self.journeys[&packet.id];
        match (journey.kind, packet.tap) {
            (Kind::Original, Tap::Endpoint(endpoint)) => self.enters(endpoint, packet, journey),
            (Kind::Original, Tap::Nat(vm)) => self.translated(vm, packet, journey),
            (Kind::Original, Tap::Drops) => self.refused(packet),
            (Kind::Reply, Tap::Nat(vm)) => self.answers(vm, packet, journey),
            (Kind::Reply | Kind::ResetToClient, Tap::Endpoint(endpoint)) => {
                self.leaves(endpoint, packet, journey);
            }
            (Kind::Reply, Tap::Drops) if packet.reason == "not-approved" => {
                if let Some(flow) = self
                    .flow_of(packet)
                    .filter(|flow| self.plan.is_approved(flow.endpoint, packet.at))
                {
                    self.tell(
                        "N13",
                        packet,
                        format!("dropped although {flow:?} is approved"),
                    );
                }
            }
            (Kind::ResetToBackend, Tap::Nat(vm)) => self.reset(vm, packet),
            _ => {}
        }
    }

    fn tell(&mut self, invariant: &'static str, packet: &Seen<'_>, what: impl std::fmt::Display) {
        let what = format!(
            "packet {} at {:?} ({}): {what}",
            packet.id, packet.tap, packet.wire
        );
        self.violations
            .push(Violation::new(invariant, packet.at, what));
    }

    /// A client's packet at the endpoint, before its state is asked.
    fn enters(&mut self, endpoint: usize, packet: &Seen<'a>, journey: &Journey) {
        let wire = packet.wire;
        if *wire.destination.ip() != self.plan.endpoints[endpoint].address {
            self.tell("N12", packet, "it is not for the endpoint");
        }
        let flow = Flow {
            endpoint,
            protocol: wire.protocol,
            client: wire.source,
            port: wire.destination.port(),
        };
        self.learn(packet, flow);
        let dropped = journey.drop.map(|position| &self.seen[position]);
        let refused =
            dropped.is_some_and(|drop| drop.reason == "not-approved" && drop.at == packet.at);
        if refused == self.plan.is_approved(endpoint, packet.at) {
            let what = format!("passed or dropped against the endpoint's state: {refused}");
            self.tell("N13", packet, what);
        }
    }

    /// A client's packet behind the NAT.
    fn translated(&mut self, vm: usize, packet: &Seen<'a>, journey: &Journey) {
        let (at, wire, plan) = (packet.at, packet.wire, self.plan);
        let Some(flow) = self.flow_of(packet) else {
            return self.tell("N11", packet, "it came through no endpoint");
        };
        let (service, promises) = self.service_of(&flow);
        let decided = self.seen[journey.taps[0]].at;
        let backend_port = plan.services[service].backend_port(flow.protocol, flow.port);
        let target = backend_port.map(|port| SocketAddrV4::new(plan.backends[vm].address, port));
        if target != Some(wire.destination) {
            return self.tell("N2", packet, format!("it should go to {target:?}"));
        }
        let (first, last) = plan.services[service].ports;
        let nat = wire.source;
        if !plan.nat_ips(service, at).contains(nat.ip()) || !(first..=last).contains(&nat.port()) {
            let what = format!(
                "{nat} is not of {}:{first}-{last}",
                plan.services[service].name
            );
            return self.tell("N3", packet, what);
        }
        if flow.protocol == UDP && plan.is_down(vm, decided, at) {
            self.tell("N6", packet, "a datagram was sent to a VM that is down");
        }
        self.check_home(vm, &flow, packet);
        let opens = flow.protocol == UDP || wire.tcp.opens();
        let known = self.vms[vm].get(&flow).copied();
        if let Some(known) = known {
            if at < known.sure && known.nat != nat {
                let what = format!("its live flow has {}, not {nat}", known.nat);
                return self.tell("N1", packet, what);
            }
            if at >= known.possible {
                self.gone(vm, &known, packet);
                if !opens {
                    let late = at - known.possible;
                    let what = format!("its binding should be gone for {late} ns");
                    return self.tell("N14", packet, what);
                }
            } else if known.nat == nat {
                let limited = self.is_limited(vm);
                let mapping = self.vms[vm].get(&flow).expect("it was just found");
                mapping.packet(Way::ToBackend, wire.tcp, at, &promises, limited);
                return;
            }
        }
        if !opens {
            return self.tell("N17", packet, "it created a binding");
        }
        if plan.is_down(vm, decided, at) {
            self.tell("N6", packet, "a new flow was sent to a VM that is down");
        }
        let narrow = promises.per_port.then_some(wire.destination.port());
        let port = (flow.protocol, nat, narrow);
        self.claim(vm, port, &flow, packet);
        self.vms[vm].remove(&flow);
        let vm_port = wire.destination.port();
        let mapping = Mapping::new(flow, nat, vm_port, wire.tcp, at, &promises);
        self.vms[vm].insert(mapping, port);
    }

    /// Checks that a NAT port is free for a new flow (N1, and N18 for one that is held down).
    fn claim(&mut self, vm: usize, port: Port, flow: &Flow, packet: &Seen<'a>) {
        let Some(owner) = self.vms[vm].owner(port) else {
            return;
        };
        if owner.flow == *flow {
            return;
        }
        if packet.at < owner.sure {
            let held = packet.at >= owner.rests;
            let invariant = if held { "N18" } else { "N1" };
            let left = owner.sure - packet.at;
            let what = format!("its port belongs to {:?} for another {left} ns", owner.flow);
            self.tell(invariant, packet, what);
        } else if packet.at >= owner.possible {
            self.gone(vm, &owner, packet);
        }
        self.vms[vm].remove(&owner.flow);
    }

    /// Checks that a flow stays with its VM (N6).
    fn check_home(&mut self, vm: usize, flow: &Flow, packet: &Seen<'a>) {
        if !self.pools_change {
            let home = *self.homes.entry(*flow).or_insert(vm);
            if home != vm {
                self.tell(
                    "N6",
                    packet,
                    format!("its flow was with VM {home}, not {vm}"),
                );
            }
            return;
        }
        if flow.protocol == UDP || !packet.wire.tcp.opens() {
            // Datagrams are hashed anew; what follows a SYN has a binding where it goes or is told
            // as one that creates it.
            return;
        }
        let decided = self.seen[self.journeys[&packet.id].taps[0]].at;
        for other in (0..self.vms.len()).filter(|other| *other != vm) {
            let (_, promises) = self.service_of(flow);
            let Some(known) = self.vms[other].get(flow).copied() else {
                continue;
            };
            let fresh = packet.at - known.last_original < promises.remembered() / 2;
            let live = packet.at < known.sure && known.phase == Phase::Open && fresh;
            // Its own VM may have gone down before the decision, or up again after it.
            let up = !self.plan.events.iter().any(|event| {
                matches!(event.action, super::plan::Action::Down(which) if which == other)
                    && event.at <= packet.at
            });
            if live && up && decided > known.last_original {
                self.tell(
                    "N6",
                    packet,
                    format!("its live flow is with VM {other}, not {vm}"),
                );
            }
        }
    }

    /// A packet of the client that was dropped on its way.
    fn refused(&mut self, packet: &Seen<'a>) {
        let Some(flow) = self.flow_of(packet) else {
            return;
        };
        let opens = flow.protocol == UDP || packet.wire.tcp.opens();
        // The NAT that refused is known if only one can be asked.
        let vms = match self.homes.get(&flow) {
            Some(home) if !self.pools_change => vec![*home],
            _ => (0..self.vms.len()).collect(),
        };
        let certain = vms.len() == 1 || !self.pools_change;
        let live = vms.iter().any(|vm| {
            let known = self.vms[*vm].get(&flow);
            known.is_some_and(|known| packet.at < known.sure)
        });
        let held = vms.iter().any(|vm| {
            let known = self.vms[*vm].get(&flow);
            known.is_some_and(|known| {
                let unclear = matches!(known.phase, Phase::OpenOrReset | Phase::Unknown);
                packet.at >= known.rests || unclear || flow.protocol == UDP
            })
        });
        match packet.reason {
            "no-flow" if opens => {
                self.tell("N4", packet, "it may begin a flow");
            }
            "no-flow" if live && certain => {
                self.tell("N14", packet, "its flow is live");
            }
            "no-flow" if self.service_of(&flow).1.resets_late => {
                *self.untold.entry(flow).or_default() += 1;
            }
            "nat-ports-exhausted" | "endpoint-port-limit" | "nat-table-full" if live && certain => {
                self.tell("N7", packet, "its flow is live");
            }
            "endpoint-port-limit" => {
                let service = &self.plan.services[self.service_of(&flow).0];
                let limit = service.settings.number("endpoint_port_limit");
                self.check_limit(
                    packet,
                    opens,
                    |_| limit,
                    |vm| vm.present(Some(flow.endpoint), packet.at),
                    &vms,
                );
            }
            "nat-table-full" => {
                let limit = |vm: usize| self.plan.backends[vm].settings.number("nat_table_limit");
                self.check_limit(packet, opens, limit, |vm| vm.present(None, packet.at), &vms);
            }
            "nat-ports-exhausted" => {
                let (service, promises) = self.service_of(&flow);
                let nat_ips = self.plan.nat_ips(service, packet.at);
                let (first, last) = self.plan.services[service].ports;
                let ports = usize::from(last - first) + 1;
                let vm_port = self.plan.services[service].backend_port(flow.protocol, flow.port);
                let narrow = vm_port.filter(|_| promises.per_port);
                let is_full = |vm: usize, nat_ips: &[Ipv4Addr]| {
                    let vm = &self.vms[vm];
                    let reuses = promises.reuses_held;
                    vm.taken(nat_ips, flow.protocol, narrow, packet.at, reuses)
                        == nat_ips.len() * ports
                };
                let full = vms.iter().any(|vm| match promises.strict {
                    true => nat_ips.chunks(1).any(|nat_ip| is_full(*vm, nat_ip)),
                    false => is_full(*vm, &nat_ips),
                });
                if !(full || promises.gives_up) || !opens {
                    let all = nat_ips.len() * ports;
                    self.tell("N4", packet, format!("one of {all} ports is free"));
                }
            }
            "vm-flow-limit" if live && certain && !held => {
                self.tell("N7", packet, "its flow is live");
            }
            "vm-flow-limit" => {
                let limit = |vm: usize| self.plan.backends[vm].settings.number("vm_flow_limit");
                self.check_limit(packet, opens, limit, |vm| vm.active(packet.at), &vms);
            }
            _ => {}
        }
    }

    /// Checks that some VM that may have refused a flow had reached its limit (N4).
    fn check_limit(
        &mut self,
        packet: &Seen<'a>,
        opens: bool,
        limit: impl Fn(usize) -> Option<u64>,
        count: impl Fn(&Mappings) -> usize,
        vms: &[usize],
    ) {
        let mut reached = vms.iter().filter_map(|vm| {
            let limit = limit(*vm)?;
            Some(count(&self.vms[*vm]) as u64 >= limit)
        });
        if !opens || !reached.any(|reached| reached) {
            self.tell("N4", packet, "no limit is reached");
        }
    }

    /// A packet of the VM before it is translated back.
    fn answers(&mut self, vm: usize, packet: &Seen<'a>, journey: &Journey) {
        let (at, wire) = (packet.at, packet.wire);
        let drop = journey.drop.map(|position| &self.seen[position]);
        let refusal = drop
            .filter(|drop| drop.at == at && ["no-flow", "filtered"].contains(&drop.reason))
            .map(|drop| drop.reason);
        let owner = self.vms[vm].peer(wire.protocol, wire.destination, wire.source.port());
        if refusal == Some("no-flow") {
            self.late = Some((at, wire.destination, wire.source));
        }
        let Some(owner) = owner.filter(|owner| at < owner.possible) else {
            // The tap sees a packet before its NAT does, which sends the RSTs due in that instant.
            if let Some(owner) = owner.filter(|owner| at > owner.possible) {
                self.gone(vm, &owner, packet);
            }
            if refusal != Some("no-flow") {
                let what = "nobody can have its destination any more";
                self.tell("N14", packet, format!("{what}: {refusal:?}"));
            }
            return;
        };
        let fits = owner.backend_port == wire.source.port();
        match refusal {
            None if !fits => self.tell("N2", packet, format!("it is not from {:?}", owner.flow)),
            Some("filtered") if fits => {
                self.tell("N2", packet, format!("it is an answer to {:?}", owner.flow));
            }
            Some("no-flow") if at < owner.sure => {
                let left = owner.sure - at;
                let what = format!("{:?} lives for another {left} ns", owner.flow);
                self.tell("N14", packet, what);
            }
            Some(_) => {}
            None => {
                let (_, promises) = self.service_of(&owner.flow);
                let limited = self.is_limited(vm);
                self.learn(packet, owner.flow);
                let mapping = self.vms[vm].get(&owner.flow).expect("it was just found");
                mapping.packet(Way::ToClient, wire.tcp, at, &promises, limited);
            }
        }
    }

    /// A packet toward the client as it leaves the endpoint.
    fn leaves(&mut self, endpoint: usize, packet: &Seen<'a>, journey: &Journey) {
        let wire = packet.wire;
        if !self.plan.is_approved(endpoint, packet.at) {
            self.tell("N13", packet, "the endpoint is not approved");
        }
        let shown = Flow {
            endpoint,
            protocol: wire.protocol,
            client: wire.destination,
            port: wire.source.port(),
        };
        if *wire.source.ip() != self.plan.endpoints[endpoint].address {
            self.tell("N2", packet, "its source is not the endpoint");
        }
        if journey.kind == Kind::ResetToClient {
            if journey.original != packet.id {
                // A copy tells nothing new.
                return;
            }
            let untold = self.untold.get_mut(&shown).filter(|count| **count > 0);
            match untold {
                Some(count) => *count -= 1,
                None => self.tell("N11", packet, "nothing has ended or come late"),
            }
            return;
        }
        let flow = self.flow_of(packet);
        if flow != Some(shown) {
            self.tell("N2", packet, format!("it belongs to {flow:?}"));
        }
    }

    /// A RST that the NAT sends to a VM: a flow has idled out, or the VM's packet came too late.
    fn reset(&mut self, vm: usize, packet: &Seen<'a>) {
        let (at, wire) = (packet.at, packet.wire);
        let owner = self.vms[vm].peer(wire.protocol, wire.source, wire.destination.port());
        let is_open = |phase| matches!(phase, Phase::Open | Phase::OpenOrReset | Phase::Unknown);
        let due = owner.is_some_and(|owner| {
            let resets = self.service_of(&owner.flow).1.resets_on_idle;
            let is_its = owner.backend_port == wire.destination.port();
            resets && is_its && is_open(owner.phase) && (owner.sure..=owner.possible).contains(&at)
        });
        let answers_late = self.late == Some((at, wire.source, wire.destination));
        if answers_late && !due && self.promises.iter().any(|promises| promises.resets_late) {
            return;
        }
        let Some(owner) = owner else {
            return self.tell("N11", packet, "nobody has its source");
        };
        let (_, promises) = self.service_of(&owner.flow);
        let backend = SocketAddrV4::new(self.plan.backends[vm].address, owner.backend_port);
        if wire.destination != backend || !is_open(owner.phase) || !promises.resets_on_idle {
            self.tell("N11", packet, format!("{owner:?} is not told of its end"));
        }
        if at < owner.sure || at > owner.possible {
            let what = format!(
                "{:?} ends between {} and {}",
                owner.flow, owner.sure, owner.possible
            );
            self.tell("N14", packet, what);
        }
        *self.untold.entry(owner.flow).or_default() += 1;
        self.vms[vm].remove(&owner.flow);
    }

    /// Takes out a binding whose time is over; one that was open must have been told (N14).
    fn gone(&mut self, vm: usize, mapping: &Mapping, packet: &Seen<'a>) {
        if self.is_untold(mapping) {
            let what = format!("{:?} idled out and nobody was told", mapping.flow);
            self.tell("N14", packet, what);
        }
        self.vms[vm].remove(&mapping.flow);
    }

    fn is_untold(&self, mapping: &Mapping) -> bool {
        let (_, promises) = self.service_of(&mapping.flow);
        mapping.phase == Phase::Open && promises.resets_on_idle
    }

    /// Notes the flow of a packet, and of its original, which may have ended before it was seen.
    fn learn(&mut self, packet: &Seen<'_>, flow: Flow) {
        let original = self.journeys[&packet.id].original;
        self.flows.insert(packet.id, flow);
        self.flows.entry(original).or_insert(flow);
    }

    /// Returns the flow of a packet; of a copy that of its original.
    fn flow_of(&self, packet: &Seen<'_>) -> Option<Flow> {
        let flow = self.flows.get(&packet.id);
        let original = || self.flows.get(&self.journeys[&packet.id].original);
        flow.or_else(original).copied()
    }

    fn service_of(&self, flow: &Flow) -> (usize, Promises) {
        let service = self.plan.endpoints[flow.endpoint].service;
        (service, self.promises[service])
    }

    fn is_limited(&self, vm: usize) -> bool {
        self.plan.backends[vm]
            .settings
            .get("vm_flow_limit")
            .is_some()
    }

    /// Counts what is left when the run ends: what falls due in that very instant is still there.
    fn end(mut self, findings: &mut Findings) {
        let end = self.plan.duration;
        for vm in 0..self.vms.len() {
            for mapping in self.vms[vm].all() {
                if mapping.possible < end && self.is_untold(mapping) {
                    let what = format!("{:?} idled out and nobody was told", mapping.flow);
                    let violation = Violation::new("N14", mapping.possible, what);
                    self.violations.push(violation);
                }
                let key = (vm, mapping.flow.protocol, *mapping.nat.ip());
                let (least, most) = findings.ports.entry(key).or_default();
                *least += usize::from(mapping.sure >= end);
                *most += usize::from(mapping.possible >= end);
            }
        }
        findings.violations.append(&mut self.violations);
    }
}

/// Returns the protocols with their names in summaries.
pub(super) fn protocols() -> [(u8, &'static str); 2] {
    [TCP, UDP].map(|protocol| (protocol, mappings::name(protocol)))
}
