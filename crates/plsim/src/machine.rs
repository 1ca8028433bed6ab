//! Client VMs that go down and come back.

use plsim_observe::Event;
use plsim_scenario::{Action, VmState};

use crate::layout::{narrow, position};
use crate::simulation::Simulation;

/// Changes the state of a client VM, or of all VMs of a group, and returns what to tell.
pub(crate) fn change_clients(simulation: &mut Simulation, index: usize) -> Vec<Event> {
    let scenario = &simulation.scenario;
    let event = &scenario.event[index];
    let name = event.client_vm.as_ref();
    let name = name.expect("broken invariant: a checked event names its VM");
    let group = position(&scenario.client_vm, |group| {
        group.name == *name || group.machines().any(|machine| machine == name.as_str())
    });
    let machines = scenario.client_vm[group].machines().enumerate();
    let all = scenario.client_vm[group].name == *name;
    let machines: Vec<_> = machines
        .filter(|(_, machine)| all || machine == name.as_str())
        .collect();
    let restarts = event.action == Action::RestartVm;
    let state = event.state.unwrap_or_default();
    let node = simulation.map.clients[group];
    let mut told = Vec::new();
    for (vm, machine) in machines {
        let vm = narrow(vm);
        let gone = simulation.world.visit(node, |room, context| {
            let clients = room.clients_mut();
            let gone = match state {
                VmState::Stopped => clients.stop(vm, context),
                VmState::Running if !restarts => 0,
                _ => clients.crash(vm, context),
            };
            if restarts || state == VmState::Running {
                clients.boot(vm, context);
            }
            gone
        });
        let event = match restarts {
            true => Event::new("vm-restarted").with("client_vm", machine),
            false => Event::new("vm-changed")
                .with("client_vm", machine)
                .with("state", state.name()),
        };
        told.push(event.with("connections", gone));
    }
    told
}
