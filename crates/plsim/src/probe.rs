//! Health probes: from the scenario to the hosts, and from their verdicts to the load balancers.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};

use plsim_fabric::{Dialogue, HealthProbes, TimedProbeEvent};
use plsim_host::Behaviour;
use plsim_lb::probe::{ProbeConfig, ProbeEvent, ProbeFailure, Prober};
use plsim_lb::{NoHealthyBackends, ProbeId};
use plsim_observe::Event;
use plsim_packet::ProxyHeader;
use plsim_scenario as file;
use plsim_scenario::{BackendVm, LoadBalancer, Scenario};
use plsim_types::{BackendId, Duration, Instant, KeyedHash};

use crate::layout::{BackendPlace, Layout, narrow};
use crate::membership;
use crate::outage;
use crate::pool_log;
use crate::simulation::Simulation;

/// The probes of one VM as (load balancer, probe), by name: the order of the file must not matter.
pub(crate) fn probes_of(scenario: &Scenario, place: &BackendPlace) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    for (index, lb) in scenario.load_balancer.iter().enumerate() {
        for (number, probe) in lb.probe.iter().enumerate() {
            let leads_here = |rule: &file::Rule| {
                let is_asked = rule.probe.as_ref() == Some(&probe.name);
                let mut pools = place
                    .pools
                    .iter()
                    .filter(|(balancer, _)| *balancer == index);
                is_asked && {
                    let aims = membership::aims(scenario, index, rule);
                    pools.any(|(_, pool)| aims.pools.contains(pool))
                }
            };
            if lb.rule.iter().any(leads_here) {
                found.push((index, number));
            }
        }
    }
    found.sort_by_key(|&(lb, probe)| {
        let lb = &scenario.load_balancer[lb];
        (lb.name.as_str(), lb.probe[probe].name.as_str())
    });
    found
}

/// Returns what a load balancer needs to know of a probe.
pub(crate) const fn engine_config(probe: &file::Probe) -> plsim_lb::ProbeConfig {
    plsim_lb::ProbeConfig {
        no_healthy_backends: match probe.no_healthy_backends_behavior {
            file::NoHealthyBackends::AllProbedDown => NoHealthyBackends::AllProbedDown,
            file::NoHealthyBackends::AllProbedUp => NoHealthyBackends::AllProbedUp,
        },
    }
}

/// Builds what probes one VM; `None` if nothing does.
pub(crate) fn health_probes(
    scenario: &Scenario,
    place: &BackendPlace,
    seed: u64,
) -> Option<HealthProbes> {
    let own = probes_of(scenario, place);
    if own.is_empty() {
        return None;
    }
    let group = &scenario.backend_vm[place.group];
    let (mut configs, mut dialogues) = (Vec::new(), Vec::new());
    for (lb, probe) in own {
        let lb = &scenario.load_balancer[lb];
        let probe = &lb.probe[probe];
        let dialogue = dialogue(probe, group, place.address);
        let dialogue = match proxy_header(scenario, lb) {
            Some(header) => dialogue.after(&header),
            None => dialogue,
        };
        let first = match probe.phase {
            file::ProbePhase::Aligned => 0,
            file::ProbePhase::Spread => {
                let hash = KeyedHash::new(seed, "probe phase").derive(lb.name.as_str());
                let hash = hash.derive(probe.name.as_str()).word(0);
                ((u128::from(hash) * u128::from(probe.interval.0.as_nanos())) >> 64) as u64
            }
        };
        configs.push(ProbeConfig {
            port: probe.port,
            interval: probe.interval.0,
            timeout: probe.timeout(),
            threshold: probe.threshold(),
            flap_wait: probe.flap_wait.0,
            first: Instant::from_nanos(first),
            starts_up: true,
            turns: dialogue.turns().to_vec(),
        });
        dialogues.push(dialogue);
    }
    let prober = Prober::new(seed, configs);
    let blocked = group.probe_blocked;
    Some(HealthProbes::new(place.address, prober, dialogues, blocked))
}

fn dialogue(probe: &file::Probe, group: &BackendVm, address: Ipv4Addr) -> Dialogue {
    let vm = SocketAddrV4::new(address, probe.port);
    let path = probe.request_path.as_deref().unwrap_or("/");
    match probe.protocol {
        file::ProbeProtocol::Tcp => Dialogue::tcp(),
        file::ProbeProtocol::Http => Dialogue::http(vm, path),
        file::ProbeProtocol::Https => Dialogue::https(vm, path, objection(group)),
    }
}

/// Returns what comes first in the connections of a load balancer's probes: once one of its services
/// has the PROXY protocol enabled, those of every rule carry a header without client information
/// (PP-7).
fn proxy_header(scenario: &Scenario, lb: &LoadBalancer) -> Option<[u8; ProxyHeader::FIXED]> {
    let mut services = scenario.private_link_service.iter();
    let is_enabled = services.any(|service| {
        service.enable_proxy_protocol && service.load_balancer_frontend.load_balancer == lb.name
    });
    match lb.probe_proxy_header {
        _ if !is_enabled => None,
        file::ProbeProxyHeader::Local => Some(ProxyHeader::local()),
        file::ProbeProxyHeader::Proxy => Some(ProxyHeader::unspecified()),
        file::ProbeProxyHeader::None => None,
    }
}

/// Returns what an HTTPS probe objects to in the VMs of a group.
fn objection(group: &BackendVm) -> Option<ProbeFailure> {
    if group.tls_min_version == file::TlsVersion::V1_3 {
        Some(ProbeFailure::TlsVersion)
    } else if group.certificate_chain == file::CertificateChain::Sha1 {
        Some(ProbeFailure::Certificate)
    } else {
        group
            .client_certificate_required
            .then_some(ProbeFailure::ClientCertificate)
    }
}

/// Returns how the VMs of a group behave at the start.
pub(crate) fn behaviour(group: &BackendVm) -> Behaviour {
    Behaviour {
        state: vm_state(group.state),
        flapping: group.flapping.map(flapping),
        response_delay: group.response_delay.0,
        probe_status: group.probe_status,
    }
}

pub(crate) const fn vm_state(state: file::VmState) -> plsim_host::VmState {
    match state {
        file::VmState::Running => plsim_host::VmState::Running,
        file::VmState::NotListening => plsim_host::VmState::NotListening,
        file::VmState::Crashed => plsim_host::VmState::Crashed,
        file::VmState::Stopped => plsim_host::VmState::Stopped,
    }
}

pub(crate) const fn flapping(flapping: file::Flapping) -> plsim_host::Flapping {
    plsim_host::Flapping {
        up: flapping.up.0,
        down: flapping.down.0,
    }
}

/// Who asks whom, and what is known of faults: when each VM was last changed by an event, and how
/// long faults were there when probes first found them.
#[derive(Debug)]
pub(crate) struct Detections {
    /// The probes of each VM.
    pub(crate) asks: Vec<Vec<(usize, usize)>>,
    faults: BTreeMap<usize, Instant>,
    /// By VM and position among its probes.
    pub(crate) found: BTreeMap<(usize, u16), Duration>,
}

impl Detections {
    pub(crate) fn new(scenario: &Scenario, layout: &Layout) -> Self {
        let asks = layout.backends.iter();
        Self {
            asks: asks.map(|place| probes_of(scenario, place)).collect(),
            faults: BTreeMap::new(),
            found: BTreeMap::new(),
        }
    }

    /// Notes that an event did something to a VM.
    pub(crate) fn note_fault(&mut self, vm: usize, now: Instant) {
        self.faults.insert(vm, now);
    }
}

/// Takes note of pools that changed: their members are asked, and nobody else.
pub(crate) fn follow_pools(simulation: &mut Simulation) {
    note_members(simulation);
    for host in &simulation.map.hosts {
        simulation
            .world
            .visit(*host, |room, context| room.host_mut().start(context));
    }
}

fn note_members(simulation: &mut Simulation) {
    for vm in 0..simulation.map.hosts.len() {
        let backend = BackendId(narrow(vm));
        for id in 0..simulation.detections.asks[vm].len() {
            let (lb, probe) = simulation.detections.asks[vm][id];
            let edge = simulation.world.node(simulation.map.edges[lb]);
            let balancer = edge.edge().load_balancer();
            let is_asked = balancer.rule_usage().any(|usage| {
                usage.rule.probe == Some(ProbeId(narrow(probe)))
                    && balancer.is_member(usage.rule.pool, backend)
            });
            let host = simulation.map.hosts[vm];
            simulation.world.visit(host, |room, context| {
                room.host_mut()
                    .set_vm_asked(narrow(id), is_asked, context.now());
            });
        }
    }
}

/// Starts the VMs and the probes; call it once.
pub(crate) fn start(simulation: &mut Simulation) {
    note_members(simulation);
    let Simulation { map, world, .. } = simulation;
    for (host, server) in map.hosts.iter().zip(&map.servers) {
        world.visit(*server, |room, context| {
            room.server_mut().start(context);
        });
        let is_stopped =
            world.node(*server).server().behaviour().state == plsim_host::VmState::Stopped;
        world.visit(*host, |room, context| {
            let host = room.host_mut();
            if is_stopped {
                host.set_vm_running(false, context);
            }
            host.start(context);
        });
    }
    outage::start(simulation);
}

/// Tells the load balancers what the probes found out; returns what to log.
///
/// They hear of a verdict as late as of a packet from the host. What the driver itself has done to a VM
/// is known at once, with everything before.
pub(crate) fn deliver(simulation: &mut Simulation) -> Vec<(Instant, Event)> {
    let mut told = Vec::new();
    let now = simulation.world.now();
    let reaction = simulation.world.reaction().unwrap_or(Duration::ZERO);
    let heard = |(at, _): &TimedProbeEvent| *at == now || *at + reaction <= now;
    for vm in 0..simulation.map.hosts.len() {
        let node = simulation.map.hosts[vm];
        let events = simulation.world.visit(node, |room, _| {
            room.host_mut().take_probe_events(|event| heard(event))
        });
        for (at, event) in events {
            told.push((now, tell(simulation, vm, at, &event)));
        }
    }
    told
}

/// Tells the load balancer of one verdict.
fn tell(simulation: &mut Simulation, vm: usize, at: Instant, event: &ProbeEvent) -> Event {
    let place = &simulation.layout.backends[vm];
    let (lb, probe) = simulation.detections.asks[vm][usize::from(event.probe)];
    let balancer = &simulation.scenario.load_balancer[lb];
    let name = format!("{}/{}", balancer.name, balancer.probe[probe].name);
    let kind = if event.up { "probe-up" } else { "probe-down" };
    let mut told = Event::new(kind)
        .with("load_balancer", balancer.name.as_str())
        .with("probe", balancer.probe[probe].name.as_str())
        .with("backend", place.name.as_str());
    let mut cause = None;
    if !event.up {
        let server = simulation.world.node(simulation.map.servers[vm]);
        let server = server.server();
        let is_stopped = server.behaviour().state == plsim_host::VmState::Stopped;
        let why = match (event.failure, is_stopped) {
            (Some(failure), _) => failure.to_string(),
            (None, true) => "stopped".to_owned(),
            (None, false) => "new in the pool".to_owned(),
        };
        cause = match (event.failure, is_stopped) {
            (Some(_), _) => None,
            (None, true) => Some("stopped"),
            (None, false) => Some(pool_log::WAITING),
        };
        let since = server.down_since();
        let since = since.or_else(|| simulation.detections.faults.get(&vm).copied());
        let after = since.filter(|_| event.failure.is_some());
        let after = after.map(|since| at.since(since));
        told = told.with("cause", why);
        told = told.with("after_ns", after.map(Duration::as_nanos));
        if let Some(after) = after {
            let found = &mut simulation.detections.found;
            found.entry((vm, event.probe)).or_insert(after);
            outage::judged(simulation, vm, name, at, Some(after));
        }
    } else {
        outage::judged(simulation, vm, name, at, None);
    }
    let (probe, backend) = (ProbeId(narrow(probe)), BackendId(narrow(vm)));
    let edge = simulation.map.edges[lb];
    let changed = simulation.world.visit(edge, |room, context| {
        room.edge_mut()
            .set_health(probe, backend, event.up, context)
    });
    changed.expect("broken invariant: pools with a probe may change");
    pool_log::follow(simulation, cause);
    told.with(
        "connections",
        pool_log::count(simulation, backend, |_| true),
    )
}
