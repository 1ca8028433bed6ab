use std::net::Ipv4Addr;

use plsim_lb::{AdminState, LbEvent};
use plsim_nat::{BindingInfo, Expiry, NatEvent, Release};
use plsim_observe::Event;
use plsim_types::{Instant, PlsId, Protocol};

use crate::pool_log;
use crate::simulation::Simulation;
use crate::summarise::service_name;

/// Takes what the engines told since the last call, in the order of time; what happened at one
/// instant stays in the order of backends.
pub(crate) fn collect(simulation: &mut Simulation) -> Vec<(Instant, Event)> {
    // First, for they change what the load balancers tell.
    let mut told = crate::probe::deliver(simulation);
    for (index, node) in simulation.map.hosts.iter().enumerate() {
        let events = simulation
            .world
            .visit(*node, |room, _| room.host_mut().take_events());
        let names = Names {
            simulation,
            backend: index,
        };
        told.extend(
            events
                .iter()
                .map(|(at, event)| (*at, names.nat_event(event))),
        );
    }
    for (index, node) in simulation.map.edges.iter().enumerate() {
        let events = simulation
            .world
            .visit(*node, |room, _| room.edge_mut().take_events());
        told.extend(
            events
                .iter()
                .filter_map(|(at, event)| Some((*at, lb_event(simulation, index, event)?))),
        );
    }
    told.extend(refusals(simulation));
    told.extend(idled(simulation));
    told.sort_by_key(|(at, _)| *at);
    told
}

/// Takes the first refusal of each kind: (service, VM, protocol, reason).
fn refusals(simulation: &mut Simulation) -> Vec<(Instant, Event)> {
    let rows: Vec<_> = simulation.world.observer().refusals().collect();
    let mut told = Vec::new();
    for (key, row) in rows {
        if !simulation.told.insert(key) {
            continue;
        }
        let backends = &simulation.layout.backends;
        let backend = key
            .backend
            .map(|id| backends[usize::from(id.0)].name.clone());
        let event = Event::new("connections-refused")
            .with("reason", key.reason.name())
            .with("pls", service_name(&simulation.scenario, key.pls))
            .with("backend", backend)
            .with("protocol", key.protocol.name());
        told.push((row.first, event));
    }
    told
}

/// Takes the first idle timeout of each kind: (VM, service, protocol, whose timer it was).
fn idled(simulation: &mut Simulation) -> Vec<(Instant, Event)> {
    let mut told = Vec::new();
    for vm in 0..simulation.map.hosts.len() {
        let host = simulation.world.node(simulation.map.hosts[vm]).host();
        for usage in host.nat().usage() {
            let timers = [
                ("rule", usage.first_lb_idle),
                ("service", usage.first_expired),
            ];
            for (timer, first) in timers {
                let key = (vm, usage.pls, usage.protocol, timer);
                let Some(first) = first.filter(|_| simulation.idle_told.insert(key)) else {
                    continue;
                };
                let service = &simulation.scenario.private_link_service[usize::from(usage.pls.0)];
                let event = Event::new("idle-timeout")
                    .with("pls", service.name.as_str())
                    .with("backend", simulation.layout.backends[vm].name.as_str())
                    .with("protocol", usage.protocol.name())
                    .with("timer", timer);
                told.push((first, event));
            }
        }
    }
    told
}

/// Puts names where engines have numbers.
struct Names<'a> {
    simulation: &'a Simulation,
    backend: usize,
}

impl Names<'_> {
    fn pls(&self, pls: PlsId) -> &str {
        self.simulation.scenario.private_link_service[usize::from(pls.0)]
            .name
            .as_str()
    }

    fn backend(&self) -> &str {
        &self.simulation.layout.backends[self.backend].name
    }

    fn nat_event(&self, event: &NatEvent) -> Event {
        match event {
            NatEvent::Exhausted {
                pls,
                nat_ip,
                protocol,
                backend_port,
                ..
            } => {
                let space = (*pls, *nat_ip, *protocol, *backend_port);
                self.port_space("nat-ports-exhausted", space)
            }
            NatEvent::ShareChanged {
                pls,
                nat_ip,
                protocol,
                backend_port,
                client,
                from,
                to,
                ..
            } => {
                let kind = match to > from {
                    true => "nat-ports-doubled",
                    false => "nat-ports-halved",
                };
                self.port_space(kind, (*pls, *nat_ip, *protocol, *backend_port))
                    .with("link_id", client.0.0)
                    .with("client", client.1.to_string())
                    .with("ports_before", *from)
                    .with("ports", *to)
            }
            NatEvent::Bound { binding, .. } => self.flow("flow-bound", binding),
            NatEvent::Revived { binding, .. } => self.flow("flow-revived", binding),
            NatEvent::Expired { binding, cause, .. } => {
                let cause = match cause {
                    Expiry::HalfOpen => "half-open",
                    Expiry::EstablishedIdle => "established-idle",
                    Expiry::HalfClosedIdle => "half-closed-idle",
                    Expiry::AfterLbIdle => "after-lb-idle",
                    Expiry::UdpIdle => "udp-idle",
                };
                self.flow("flow-expired", binding).with("cause", cause)
            }
            NatEvent::LbIdle { binding, reset, .. } => {
                self.flow("flow-lb-idle", binding).with("reset", *reset)
            }
            NatEvent::Released { binding, cause, .. } => {
                let cause = match cause {
                    Release::HoldDownOver => "hold-down-over",
                    Release::Reused => "reused",
                };
                self.flow("flow-released", binding).with("cause", cause)
            }
        }
    }

    fn port_space(
        &self,
        kind: &'static str,
        (pls, nat_ip, protocol, backend_port): (PlsId, Ipv4Addr, Protocol, Option<u16>),
    ) -> Event {
        let event = Event::new(kind)
            .with("pls", self.pls(pls))
            .with("nat_ip", nat_ip.to_string())
            .with("backend", self.backend())
            .with("protocol", protocol.name());
        match backend_port {
            Some(port) => event.with("backend_port", port),
            None => event,
        }
    }

    fn flow(&self, kind: &'static str, binding: &BindingInfo) -> Event {
        Event::new(kind)
            .with("pls", self.pls(binding.pls))
            .with("backend", self.backend())
            .with("protocol", binding.protocol.name())
            .with("link_id", binding.link.0)
            .with("client", binding.client.to_string())
            .with("endpoint", binding.endpoint.to_string())
            .with("nat", binding.nat.to_string())
            .with("server", binding.backend.to_string())
    }
}

const fn admin_state(state: AdminState) -> &'static str {
    match state {
        AdminState::None => "none",
        AdminState::Up => "up",
        AdminState::Down => "down",
    }
}

fn lb_event(simulation: &Simulation, balancer: usize, event: &LbEvent) -> Option<Event> {
    let lb = &simulation.scenario.load_balancer[balancer];
    let backend = |backend: plsim_types::BackendId| {
        simulation.layout.backends[usize::from(backend.0)]
            .name
            .clone()
    };
    let pool = |pool: plsim_lb::LbPoolId| lb.backend_pool[usize::from(pool.0)].name.to_string();
    let told = match event {
        LbEvent::BackendDown { backend: id, .. } => Event::new("backend-down")
            .with("backend", backend(*id))
            .with("connections", pool_log::count(simulation, *id, |_| true)),
        LbEvent::BackendUp { backend: id, .. } => Event::new("backend-up")
            .with("backend", backend(*id))
            .with("connections", pool_log::count(simulation, *id, |_| true)),
        // Told with its cause when the verdict is passed on.
        LbEvent::Health { .. } => return None,
        LbEvent::AdminState {
            pool: id,
            backend: vm,
            state,
        } => Event::new("admin-state")
            .with("backend", backend(*vm))
            .with("backend_pool", pool(*id))
            .with("state", admin_state(*state)),
        LbEvent::Added {
            pool: id,
            backend: vm,
        } => Event::new("backend-added")
            .with("backend", backend(*vm))
            .with("backend_pool", pool(*id)),
        LbEvent::Removed {
            pool: id,
            backend: vm,
            ..
        } => Event::new("backend-removed")
            .with("backend", backend(*vm))
            .with("backend_pool", pool(*id))
            .with(
                "connections",
                pool_log::connections(simulation, (balancer, *id), *vm),
            ),
        LbEvent::FlowsEnded {
            pool: id,
            backend: vm,
            flows,
        } => Event::new("flows-ended")
            .with("backend", backend(*vm))
            .with("backend_pool", pool(*id))
            .with("remembered_flows", *flows),
        LbEvent::RuleChanged { rule } => {
            Event::new("rule-changed").with("rule", lb.rule[usize::from(rule.0)].name.as_str())
        }
        LbEvent::PoolDown { pool: id, .. } => {
            Event::new("pool-down").with("backend_pool", pool(*id))
        }
        LbEvent::PoolUp { pool: id, .. } => Event::new("pool-up").with("backend_pool", pool(*id)),
        LbEvent::TableFull { limit } => Event::new("edge-table-full").with("limit", *limit),
    };
    Some(told.with("load_balancer", lb.name.as_str()))
}
