use std::collections::BTreeSet;

use plsim_nat::Usage;
use plsim_observe::{
    BackendSummary, Connections, EndpointSummary, LbSummary, NatSummary, PortCounts,
    PortSpaceSample, RefusalSummary, RequestFailedBy, Summary, SynCookies, WorkloadSample,
    WorkloadSummary,
};
use plsim_scenario::Scenario;
use plsim_types::{Direction, KeyedHash, PlsId, Protocol};

use crate::build::Map;
use crate::configure;
use crate::distribution;
use crate::idle;
use crate::layout::Layout;
use crate::room::Room;
use crate::simulation::{PlsimWorld, Simulation};
use crate::workload;
use crate::workload_report::{self, Outcome};

/// Sums up a run as it stands, without judging the expectations, and without the scenario's hash, which
/// takes as long as reading a large file.
pub(crate) fn summary(simulation: &Simulation) -> Summary {
    let Simulation {
        scenario,
        layout,
        map,
        world,
        ..
    } = simulation;
    let recorder = world.observer();
    let nat = nat(scenario, layout, map, world);
    Summary {
        plsim_version: env!("CARGO_PKG_VERSION").to_owned(),
        scenario: simulation.name.clone(),
        title: scenario.run.title.clone().unwrap_or_default(),
        scenario_hash: String::new(),
        overrides: simulation.overrides.clone(),
        seed: simulation.seed,
        complete: world.now() >= simulation.end(),
        virtual_time: world.now(),
        digest: recorder.digest(),
        shards: simulation.shards,
        ledger: recorder.ledger().clone(),
        in_flight: world.in_flight() + world.nodes().map(Room::held).sum::<u64>(),
        connections: connections(map, world),
        skew: distribution::skew(scenario, layout, &nat),
        membership_changes: crate::pool_log::summaries(simulation),
        nat,
        idle: idle::ceilings(scenario),
        refusals: refusals(simulation),
        findings: Vec::new(),
        expectations: Vec::new(),
        workloads: workloads(simulation),
        endpoints: endpoints(scenario, map, world),
        backends: backends(layout, map, world),
        lb: load_balancers(map, world),
        probes: crate::probe_report::summaries(simulation),
        links: crate::link::summaries(scenario, layout, map, world),
        outages: crate::outage::summaries(simulation),
    }
}

/// Adds up the connections of all workloads.
pub(crate) fn connections(map: &Map, world: &PlsimWorld) -> Connections {
    let mut total = Connections::default();
    for clients in client_rooms(map, world) {
        for stats in clients.workloads() {
            total.add(&outcomes(stats));
        }
    }
    total
}

/// Returns every port space that traffic can reach, in the order of backends, services, NAT IPs.
pub(crate) fn port_spaces<'a>(
    scenario: &'a Scenario,
    layout: &'a Layout,
    map: &'a Map,
    world: &'a PlsimWorld,
) -> Vec<PortSpaceSample<'a>> {
    usages(scenario, layout, map, world)
        .map(|(backend, usage)| PortSpaceSample {
            pls: scenario.private_link_service[usize::from(usage.pls.0)]
                .name
                .as_str(),
            nat_ip: usage.nat_ip,
            backend,
            protocol: usage.protocol,
            in_use: usage.in_use,
            held: usage.held,
            capacity: usage.capacity,
            fullest: (usage.fullest.taken, usage.capacity / usage.spaces),
            refusals: usage.bind_failures,
            peak: usage.peak,
            counts: PortCounts {
                binds: usage.binds,
                gave_up: usage.gave_up,
                expired_idle: usage.expired_idle,
                expired_half_closed: usage.expired_half_closed,
                expired_half_open: usage.expired_half_open,
                lb_idle: usage.lb_idle,
                reused_held: usage.reused_held,
            },
            first_exhausted: usage.first_exhausted,
        })
        .collect()
}

fn nat(scenario: &Scenario, layout: &Layout, map: &Map, world: &PlsimWorld) -> Vec<NatSummary> {
    usages(scenario, layout, map, world)
        .map(|(backend, usage)| NatSummary {
            pls: scenario.private_link_service[usize::from(usage.pls.0)]
                .name
                .to_string(),
            nat_ip: usage.nat_ip,
            backend: backend.to_owned(),
            protocol: usage.protocol,
            capacity: usage.capacity,
            spaces: usage.spaces,
            fullest: usage.fullest.taken,
            fullest_peak: usage.fullest.peak,
            fullest_backend_port: usage.fullest.backend_port,
            in_use: usage.in_use,
            held: usage.held,
            peak: usage.peak,
            peak_at: usage.peak_at,
            binds: usage.binds,
            bind_failures: usage.bind_failures,
            gave_up: usage.gave_up,
            probes: usage.probes,
            expired_idle: usage.expired_idle,
            expired_half_closed: usage.expired_half_closed,
            expired_half_open: usage.expired_half_open,
            lb_idle: usage.lb_idle,
            reused_held: usage.reused_held,
            first_exhausted: usage.first_exhausted,
            held_when_exhausted: usage.held_when_exhausted,
            first_expired: usage.first_expired,
            first_lb_idle: usage.first_lb_idle,
            reserved: usage.reserved.ports,
            reserved_peak: usage.reserved.peak,
            doublings: usage.reserved.doublings,
            halvings: usage.reserved.halvings,
        })
        .collect()
}

/// Visits the port spaces of every host whose protocol some rule carries.
fn usages<'a>(
    scenario: &'a Scenario,
    layout: &'a Layout,
    map: &'a Map,
    world: &'a PlsimWorld,
) -> impl Iterator<Item = (&'a str, Usage)> {
    map.hosts
        .iter()
        .zip(&layout.backends)
        .flat_map(move |(node, place)| {
            let host = world.node(*node).host();
            let carried: Vec<(plsim_types::PlsId, BTreeSet<Protocol>)> =
                configure::services_of(scenario, layout, place).collect();
            host.nat()
                .usage()
                .filter(move |usage| {
                    carried.iter().any(|(pls, protocols)| {
                        *pls == usage.pls && protocols.contains(&usage.protocol)
                    })
                })
                .map(|usage| (place.name.as_str(), usage))
        })
}

fn refusals(simulation: &Simulation) -> Vec<RefusalSummary> {
    let Simulation {
        scenario,
        layout,
        world,
        ..
    } = simulation;
    let rows = world.observer().refusals();
    rows.map(|(key, row)| RefusalSummary {
        pls: service_name(scenario, key.pls).to_owned(),
        backend: key
            .backend
            .map(|id| layout.backends[usize::from(id.0)].name.clone()),
        protocol: key.protocol,
        reason: key.reason,
        packets: row.packets,
        connections: row.connections,
        first: row.first,
    })
    .collect()
}

/// Returns the name of a service; of [`PlsId::NONE`] nothing.
pub(crate) fn service_name(scenario: &Scenario, pls: PlsId) -> &str {
    let service = scenario.private_link_service.get(usize::from(pls.0));
    service.map_or("", |service| service.name.as_str())
}

fn workloads(simulation: &Simulation) -> Vec<WorkloadSummary> {
    let Simulation {
        scenario,
        layout,
        map,
        world,
        ..
    } = simulation;
    let subjects = workload::subjects(scenario, simulation.seed);
    let mut copies: Vec<_> = vec![None; scenario.workload.len()];
    for (place, clients) in layout.clients.iter().zip(client_rooms(map, world)) {
        let own = place.group.workloads(scenario);
        let vain = clients.waiting_in_vain(world.now()).into_iter();
        let due = clients.messages_due(&subjects, world.now());
        let now = vain.zip(clients.closing()).zip(due);
        for ((position, _), (stats, now)) in own.zip(clients.workloads().iter().zip(now)) {
            let ((waiting_in_vain, closing), messages_due) = now;
            copies[position] = Some(Outcome {
                stats,
                waiting_in_vain,
                closing,
                messages_due,
            });
        }
    }
    let copies = scenario.workload.iter().zip(copies);
    let copies = copies.filter_map(|(workload, outcome)| Some((workload, outcome?)));
    workload_report::summaries(copies)
}

/// Returns what the time series says of each workload, in the order of the scenario.
pub(crate) fn workload_samples<'a>(
    scenario: &'a Scenario,
    layout: &Layout,
    map: &'a Map,
    world: &'a PlsimWorld,
) -> Vec<WorkloadSample<'a>> {
    let mut copies: Vec<_> = vec![None; scenario.workload.len()];
    for (place, clients) in layout.clients.iter().zip(client_rooms(map, world)) {
        let own = place.group.workloads(scenario);
        for ((position, _), stats) in own.zip(clients.workloads()) {
            copies[position] = Some(stats);
        }
    }
    let copies = scenario.workload.iter().zip(copies);
    workload_report::samples(copies.filter_map(|(workload, stats)| Some((workload, stats?))))
}

pub(crate) fn outcomes(stats: &plsim_host::WorkloadStats) -> Connections {
    Connections {
        attempted: stats.attempted,
        connecting: stats.connecting,
        established: stats.established,
        closed: stats.closed,
        reset: stats.reset,
        idle_expired: stats.idle_expired,
        timed_out: stats.timed_out,
        vm_down: stats.vm_down,
        failed: stats.failed,
        established_total: stats.established_total,
    }
}

fn endpoints(scenario: &Scenario, map: &Map, world: &PlsimWorld) -> Vec<EndpointSummary> {
    let nodes = scenario.private_endpoint.iter().zip(&map.endpoints);
    nodes
        .map(|(endpoint, node)| {
            let room = world.node(*node).endpoint();
            let inward = room.traffic(Direction::Original);
            let outward = room.traffic(Direction::Reply);
            EndpointSummary {
                name: endpoint.name.to_string(),
                link_id: room.endpoint().link,
                state: room.endpoint().state.name().to_owned(),
                packets_in: inward.packets,
                bytes_in: inward.bytes,
                packets_out: outward.packets,
                bytes_out: outward.bytes,
            }
        })
        .collect()
}

fn backends(layout: &Layout, map: &Map, world: &PlsimWorld) -> Vec<BackendSummary> {
    let nodes = map.hosts.iter().zip(&map.servers);
    let machines = layout.backends.iter().zip(nodes);
    machines
        .map(|(place, (host, server))| {
            let host = world.node(*host).host();
            let nat = host.nat();
            let vm = world.node(*server).server();
            let server = vm.stats();
            let splices = host.splice_stats();
            let direct = host.frontend_usage();
            let answers = nat.answers();
            BackendSummary {
                name: place.name.clone(),
                flows: u64::from(nat.active_flows()),
                peak: u64::from(nat.peak_flows()),
                bindings_peak: u64::from(nat.peak_bindings()),
                new_flows: nat.usage().map(|usage| usage.binds).sum(),
                frontend_flows: direct.opened,
                frontend_lb_idle: direct.lb_idle,
                requests: server.requests,
                messages: server.messages,
                failed_by: RequestFailedBy {
                    proxy_unexpected: server.failed_by.proxy_unexpected,
                    proxy_missing: server.failed_by.proxy_missing,
                    unreadable: server.failed_by.unreadable,
                },
                time_wait: server.time_wait,
                waiting: vm.waiting(),
                syn_queue_overflows: server.overflow.syn_queue,
                syn_cookies: SynCookies {
                    sent: server.cookies.sent,
                    accepted: server.cookies.accepted,
                    failed: server.cookies.failed,
                },
                accept_queue_overflows: server.overflow.accept_queue,
                proxy_headers: splices.headers,
                proxy_withheld: splices.withheld,
                icmp_answers: answers.sent,
                icmp_suppressed: answers.suppressed,
            }
        })
        .collect()
}

fn load_balancers(map: &Map, world: &PlsimWorld) -> LbSummary {
    let mut sum = LbSummary::default();
    for node in &map.edges {
        let edge = world.node(*node).edge();
        let lb = edge.load_balancer();
        sum.flows += u64::from(lb.sticky_flows());
        sum.syns += lb.rule_usage().map(|usage| usage.syns).sum::<u64>();
    }
    sum
}

fn client_rooms<'a>(
    map: &'a Map,
    world: &'a PlsimWorld,
) -> impl Iterator<Item = &'a plsim_host::ClientVms> {
    map.clients.iter().map(|node| world.node(*node).clients())
}

/// Returns a 64-bit fingerprint of what a scenario says, in hexadecimal.
pub(crate) fn scenario_hash(scenario: &Scenario) -> String {
    let text = scenario.canonical();
    let hash = KeyedHash::new(0, "scenario").derive(&text).word(0);
    format!("{hash:016x}")
}
