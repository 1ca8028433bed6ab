use plsim_host::Behaviour;
use plsim_lb::{FrontendId, LoadBalancer};
use plsim_observe::Event;
use plsim_packet::Packet;
use plsim_scenario::Action;
use plsim_sim::Context;
use plsim_types::BackendId;
use plsim_vnet::{ConnectionAction, ConnectionState};

use crate::configure;
use crate::layout::{narrow, position};
use crate::link;
use crate::machine;
use crate::membership;
use crate::outage;
use crate::pool_log;
use crate::probe;
use crate::room::Room;
use crate::simulation::Simulation;

/// Applies one event of the scenario at the virtual time reached, before the packets of that
/// instant, and returns what to tell.
pub(crate) fn apply(simulation: &mut Simulation, index: usize) -> Vec<Event> {
    let event = &simulation.scenario.event[index];
    match event.action {
        Action::ApproveEndpoint => connect(simulation, index, ConnectionAction::Approve),
        Action::RejectEndpoint => connect(simulation, index, ConnectionAction::Reject),
        Action::AddNatIp => add_nat_ip(simulation, index),
        Action::BackendDown => set_backends(simulation, index, false),
        Action::BackendUp => set_backends(simulation, index, true),
        Action::AddBackend
        | Action::RemoveBackend
        | Action::DrainBackend
        | Action::SetAdminState => {
            let told = membership::change_backends(simulation, index);
            probe::follow_pools(simulation);
            told
        }
        Action::ChangeRule => {
            let told = membership::change_rule(simulation, index);
            pool_log::follow(simulation, None);
            probe::follow_pools(simulation);
            told
        }
        Action::InjectPacket => inject_packet(simulation, index),
        Action::ChangeVm | Action::RestartVm if event.client_vm.is_some() => {
            machine::change_clients(simulation, index)
        }
        Action::ChangeVm | Action::RestartVm => change_vms(simulation, index),
        Action::ChangeLink | Action::LinkDown | Action::LinkUp => {
            link::change_by_event(simulation, index)
        }
    }
}

fn connect(simulation: &mut Simulation, index: usize, action: ConnectionAction) -> Vec<Event> {
    let scenario = &simulation.scenario;
    let name = scenario.event[index].private_endpoint.as_ref();
    let name = name
        .expect("broken invariant: a checked event names its endpoint")
        .to_string();
    let endpoint = position(&scenario.private_endpoint, |pe| pe.name.as_str() == name);
    let node = simulation.map.endpoints[endpoint];
    let changed = simulation.world.visit(node, |room, _| {
        let endpoint = room.endpoint_mut().endpoint_mut();
        endpoint.apply(action).map(|()| endpoint.state)
    });
    let state = |state: ConnectionState| state.name().to_owned();
    vec![match changed {
        Ok(now) => Event::new("connection-state")
            .with("private_endpoint", name)
            .with("state", state(now)),
        Err(error) => Event::new("event-refused")
            .with("private_endpoint", name)
            .with("reason", error.to_string()),
    }]
}

fn add_nat_ip(simulation: &mut Simulation, index: usize) -> Vec<Event> {
    let scenario = &simulation.scenario;
    let event = &scenario.event[index];
    let name = event.private_link_service.as_ref();
    let name = name
        .expect("broken invariant: a checked event names its service")
        .to_string();
    let service = position(&scenario.private_link_service, |service| {
        service.name.as_str() == name
    });
    let told = Event::new("nat-ip-added").with("pls", name.clone());
    let refused = |reason: String| {
        vec![
            Event::new("event-refused")
                .with("pls", name.clone())
                .with("reason", reason),
        ]
    };
    let address = match simulation.layout.add_nat_ip(service, event.ip_address) {
        Ok(address) => address,
        Err(error) => return refused(error.to_string()),
    };
    for (backend, place) in simulation.layout.backends.iter().enumerate() {
        let serves = configure::services_of(&simulation.scenario, &simulation.layout, place)
            .find(|(pls, _)| usize::from(pls.0) == service);
        let Some((pls, _)) = serves else { continue };
        let added = simulation
            .world
            .visit(simulation.map.hosts[backend], |room, _| {
                room.host_mut().nat_mut().add_nat_ip(pls, address)
            });
        if let Err(error) = added {
            return refused(error.to_string());
        }
    }
    let place = &simulation.layout.services[service];
    let (frontend, edge) = (
        FrontendId(place.frontend),
        simulation.map.edges[place.load_balancer],
    );
    let added = simulation.world.visit(edge, |room, context| {
        let add = |balancer: &mut LoadBalancer, now| balancer.add_nat_ip(frontend, address, now);
        room.edge_mut().change(add, context)
    });
    added.expect("broken invariant: a pool whose rules hash NAT IPs may change");
    pool_log::follow(simulation, None);
    vec![told.with("nat_ip", address.to_string())]
}

fn inject_packet(simulation: &mut Simulation, index: usize) -> Vec<Event> {
    let scenario = &simulation.scenario;
    let event = &scenario.event[index];
    let bytes = event.bytes.as_ref();
    let packet = Packet::from_wire(
        &bytes
            .expect("broken invariant: a checked event has bytes")
            .0,
    );
    let (key, name, node) = if let Some(name) = &event.client_vm {
        let group = position(&scenario.client_vm, |group| {
            group.machines().any(|machine| machine == name.as_str())
        });
        ("client_vm", name, simulation.map.clients[group])
    } else {
        let name = event.backend_vm.as_ref();
        let name = name.expect("broken invariant: a checked event names its sender");
        let vm = position(&simulation.layout.backends, |vm| vm.name == name.as_str());
        ("backend_vm", name, simulation.map.servers[vm])
    };
    let told = Event::new("packet-injected").with(key, name.as_str());
    let send = |room: &mut Room, context: &mut Context<'_>| room.send(packet, context);
    simulation.world.visit(node, send);
    vec![told]
}

fn change_vms(simulation: &mut Simulation, index: usize) -> Vec<Event> {
    let event = &simulation.scenario.event[index];
    let name = event.backend_vm.as_ref();
    let name = name.expect("broken invariant: a checked event names its VM");
    let vms = simulation
        .layout
        .backends_named(&simulation.scenario, name.as_str());
    let now = simulation.world.now();
    let mut told = Vec::new();
    for vm in vms.into_iter().map(|id| usize::from(id.0)) {
        let (host, server) = (simulation.map.hosts[vm], simulation.map.servers[vm]);
        let before = outage::counts(simulation, vm);
        let alive = pool_log::count(simulation, BackendId(narrow(vm)), |_| true);
        let event = &simulation.scenario.event[index];
        let restarts = event.action == Action::RestartVm;
        let state = simulation.world.visit(server, |room, context| {
            let server = room.server_mut();
            if restarts {
                server.restart(context);
            } else {
                server.behave(changed(event, *server.behaviour()), context);
            }
            server.behaviour().state
        });
        let is_running = state != plsim_host::VmState::Stopped;
        simulation.world.visit(host, |room, context| {
            if let Some(blocked) = event.probe_blocked {
                room.host_mut().block_probes(blocked);
            }
            room.host_mut().set_vm_running(is_running, context);
        });
        outage::lost_of(simulation, vm, alive, &before);
        match restarts {
            true => outage::restarted(simulation, vm, before),
            false => outage::follow(simulation, vm, before),
        }
        simulation.detections.note_fault(vm, now);
        let event = &simulation.scenario.event[index];
        let place = &simulation.layout.backends[vm];
        told.push(vm_event(event, &place.name));
    }
    told
}

/// Applies what an event changes about a VM.
fn changed(event: &plsim_scenario::Event, before: Behaviour) -> Behaviour {
    let mut behaviour = before;
    if let Some(state) = event.state {
        behaviour.state = probe::vm_state(state);
        behaviour.flapping = None;
    }
    if let Some(flapping) = event.flapping {
        behaviour.state = plsim_host::VmState::Running;
        behaviour.flapping = Some(probe::flapping(flapping));
    }
    if let Some(delay) = event.response_delay {
        behaviour.response_delay = delay.0;
    }
    behaviour.probe_status = event.probe_status.unwrap_or(before.probe_status);
    behaviour
}

fn vm_event(event: &plsim_scenario::Event, vm: &str) -> Event {
    if event.action == Action::RestartVm {
        return Event::new("vm-restarted").with("backend", vm);
    }
    let mut told = Event::new("vm-changed").with("backend", vm);
    if let Some(state) = event.state {
        told = told.with("state", state.name());
    }
    if let Some(flapping) = event.flapping {
        told = told
            .with("up_ns", flapping.up.0.as_nanos())
            .with("down_ns", flapping.down.0.as_nanos());
    }
    if let Some(delay) = event.response_delay {
        told = told.with("response_delay_ns", delay.0.as_nanos());
    }
    if let Some(status) = event.probe_status {
        told = told.with("probe_status", status);
    }
    if let Some(blocked) = event.probe_blocked {
        told = told.with("probe_blocked", blocked);
    }
    told
}

fn set_backends(simulation: &mut Simulation, index: usize, up: bool) -> Vec<Event> {
    let scenario = &simulation.scenario;
    let name = scenario.event[index].backend_vm.as_ref();
    let name = name.expect("broken invariant: a checked event names its VM");
    for backend in simulation.layout.backends_named(scenario, name.as_str()) {
        set_backend(simulation, backend, up);
    }
    // The load balancers tell what changed.
    Vec::new()
}

fn set_backend(simulation: &mut Simulation, backend: BackendId, up: bool) {
    let place = &simulation.layout.backends[usize::from(backend.0)];
    for balancer in configure::balancers_of(place) {
        let changed = simulation
            .world
            .visit(simulation.map.edges[balancer], |room, context| {
                let set = |balancer: &mut LoadBalancer, now| balancer.set_backend(backend, up, now);
                room.edge_mut().change(set, context)
            });
        changed.expect("broken invariant: pools that events name may change");
    }
    let pools = simulation.layout.backends[usize::from(backend.0)]
        .pools
        .clone();
    for pool in pools {
        if membership::is_member(simulation, pool, backend) {
            pool_log::note(simulation, pool, backend, "backend", 0);
        }
    }
}
