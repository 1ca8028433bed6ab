//! Pools and rules that change while traffic flows.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use plsim_fabric::{Dialled, FloatingIp, FloatingIps, ServedFlow};
use plsim_lb::{
    CameBy, ChangeError, FrontendId, LbPoolId, LoadBalancer, RuleChange, RuleId, StickyFlow,
};
use plsim_observe::Event;
use plsim_scenario as file;
use plsim_scenario::{Action, Scenario};
use plsim_types::{BackendId, Duration, Instant, PlsId};

use crate::configure;
use crate::layout::{BackendPlace, Layout, narrow, pool_place, position};
use crate::pool_log;
use crate::simulation::Simulation;

/// A pool by numbers: (load balancer, pool).
pub(crate) type PoolPlace = (usize, usize);

/// The time of draining is over for a backend VM that has left a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Drained {
    pub(crate) at: Instant,
    pool: PoolPlace,
    backend: BackendId,
}

impl Drained {
    fn is(&self, pool: PoolPlace, backend: BackendId) -> bool {
        (self.pool, self.backend) == (pool, backend)
    }
}

/// Where a rule leads, at the start or later.
pub(crate) struct Aims {
    /// Positions of pools of its load balancer.
    pub(crate) pools: BTreeSet<usize>,
    /// Backend ports.
    pub(crate) ports: BTreeSet<u16>,
}

/// Returns where a rule leads, events included.
pub(crate) fn aims(scenario: &Scenario, balancer: usize, rule: &file::Rule) -> Aims {
    let lb = &scenario.load_balancer[balancer];
    let own = position(&lb.backend_pool, |pool| pool.name == rule.backend_pool);
    let mut aims = Aims {
        pools: BTreeSet::from([own]),
        ports: BTreeSet::from([rule.backend_port]),
    };
    for event in rule_changes(scenario) {
        if event
            .rule
            .as_ref()
            .is_some_and(|path| is_it(path, lb, rule))
        {
            let pool = event.backend_pool.as_ref();
            aims.pools
                .extend(pool.map(|pool| pool_place(scenario, pool).1));
            aims.ports.extend(event.backend_port);
        }
    }
    aims
}

/// Tells whether anything about a pool changes in the run.
pub(crate) fn may_change(scenario: &Scenario, layout: &Layout, pool: PoolPlace) -> bool {
    let members = |name: &str| {
        let vms = layout.backends_named(scenario, name).into_iter();
        vms.map(|id| &layout.backends[usize::from(id.0)])
    };
    let by_nat_ip = hashes_new_nat_ips(scenario, pool);
    let by_backend = scenario.event.iter().any(|event| {
        let changes = matches!(
            event.action,
            Action::BackendDown
                | Action::BackendUp
                | Action::AddBackend
                | Action::RemoveBackend
                | Action::DrainBackend
                | Action::SetAdminState
        );
        let wanted = event.backend_pool.as_ref();
        let is_it = wanted.is_none_or(|path| pool_place(scenario, path) == pool);
        let name = event.backend_vm.as_ref();
        let mut vms = name.into_iter().flat_map(|name| members(name.as_str()));
        changes && is_it && vms.any(|place| place.pools.contains(&pool))
    });
    let lb = &scenario.load_balancer[pool.0];
    let mut probed = lb.rule.iter().filter(|rule| rule.probe.is_some());
    let by_probe = probed.any(|rule| aims(scenario, pool.0, rule).pools.contains(&pool.1));
    by_backend
        || by_nat_ip
        || by_probe
        || rule_changes(scenario).any(|event| {
            let path = event.rule.as_ref();
            let mut rules = lb.rule.iter();
            let rule = rules.find(|rule| path.is_some_and(|path| is_it(path, lb, rule)));
            rule.is_some_and(|rule| aims(scenario, pool.0, rule).pools.contains(&pool.1))
        })
}

/// Tells whether flows of a pool hash to another backend because a service gets a NAT IP.
fn hashes_new_nat_ips(scenario: &Scenario, pool: PoolPlace) -> bool {
    let lb = &scenario.load_balancer[pool.0];
    let grows = |service: &file::PrivateLinkService| {
        let mut events = scenario.event.iter();
        events.any(|event| {
            event.action == Action::AddNatIp
                && event.private_link_service.as_ref() == Some(&service.name)
        })
    };
    let leads_here = |service: &file::PrivateLinkService| {
        let frontend = &service.load_balancer_frontend;
        let mut rules = lb.rule.iter();
        frontend.load_balancer == lb.name
            && rules.any(|rule| {
                rule.frontend == frontend.frontend
                    && aims(scenario, pool.0, rule).pools.contains(&pool.1)
            })
    };
    let mut services = scenario.private_link_service.iter();
    lb.hash_tuple == file::HashTuple::NatIp
        && services.any(|service| grows(service) && leads_here(service))
}

fn rule_changes(scenario: &Scenario) -> impl Iterator<Item = &file::Event> {
    let events = scenario.event.iter();
    events.filter(|event| event.action == Action::ChangeRule)
}

fn is_it(path: &file::RulePath, lb: &file::LoadBalancer, rule: &file::Rule) -> bool {
    path.load_balancer == lb.name && path.rule == rule.name
}

/// Has a backend VM, or a group, join a pool, leave pools, or be spoken of by its owner.
pub(crate) fn change_backends(simulation: &mut Simulation, index: usize) -> Vec<Event> {
    let scenario = &simulation.scenario;
    let event = &scenario.event[index];
    let name = event.backend_vm.as_ref();
    let name = name.expect("broken invariant: a checked event names its VM");
    let wanted = event.backend_pool.as_ref();
    let wanted = wanted.map(|path| pool_place(scenario, path));
    let (action, period) = (event.action, event.drain_period);
    let state = event.admin_state.map(configure::admin_state);
    let mut told = Vec::new();
    for backend in simulation.layout.backends_named(scenario, name.as_str()) {
        for pool in pools_now(simulation, backend, wanted, action) {
            let id = LbPoolId(narrow(pool.1));
            let changed = change(simulation, pool.0, |lb, now| match action {
                Action::AddBackend => lb.add_backend(id, backend, now),
                Action::SetAdminState => {
                    lb.set_admin_state(id, backend, state.unwrap_or_default(), now)
                }
                _ => lb.remove_backend(id, backend, now),
            });
            changed.expect("broken invariant: a checked event finds a pool that may change");
            let (cause, reset) = match action {
                Action::AddBackend => {
                    // Who comes back in time keeps its connections.
                    simulation
                        .drains
                        .retain(|drained| !drained.is(pool, backend));
                    ("added", 0)
                }
                Action::SetAdminState => {
                    // A row of its own, before connections end.
                    pool_log::note(simulation, pool, backend, "admin-state", 0);
                    let reset = reset_by_owner(simulation, pool, backend, state);
                    let count = reset.as_ref().map_or(0, |(count, _)| *count);
                    told.extend(reset.map(|(_, event)| event));
                    ("admin-state", count)
                }
                _ => match drain(simulation, pool, backend, period.map(|period| period.0)) {
                    true => ("draining", 0),
                    false => ("removed", 0),
                },
            };
            pool_log::note(simulation, pool, backend, cause, reset);
        }
    }
    told
}

/// Returns the pools that an event on a backend VM is about.
fn pools_now(
    simulation: &Simulation,
    backend: BackendId,
    wanted: Option<PoolPlace>,
    action: Action,
) -> Vec<PoolPlace> {
    let place = &simulation.layout.backends[usize::from(backend.0)];
    let mut pools: Vec<PoolPlace> = match wanted {
        Some(pool) => vec![pool],
        None => place.pools.clone(),
    };
    pools.sort_unstable();
    pools.dedup();
    let joins = action == Action::AddBackend;
    pools.retain(|&pool| is_member(simulation, pool, backend) != joins);
    pools
}

/// Tells whether a backend VM is in a pool now.
pub(crate) fn is_member(simulation: &Simulation, pool: PoolPlace, backend: BackendId) -> bool {
    let node = simulation.map.edges[pool.0];
    let edge = simulation.world.node(node).edge();
    edge.load_balancer()
        .is_member(LbPoolId(narrow(pool.1)), backend)
}

/// Notes when the connections of a VM that has left a pool are to end; returns whether they are.
fn drain(
    simulation: &mut Simulation,
    pool: PoolPlace,
    backend: BackendId,
    period: Option<Duration>,
) -> bool {
    let lb = &simulation.scenario.load_balancer[pool.0];
    let own = lb.backend_pool[pool.1].drain_period;
    let Some(period) = period.or(own.map(|period| period.0)) else {
        return false;
    };
    let drained = Drained {
        at: simulation.world.now() + period,
        pool,
        backend,
    };
    let drains = &mut simulation.drains;
    let place = drains.partition_point(|known| known.at <= drained.at);
    drains.insert(place, drained);
    true
}

/// Ends the connections that a VM still has that has left a pool.
pub(crate) fn drained(simulation: &mut Simulation, drained: Drained) -> Vec<Event> {
    let Drained { pool, backend, .. } = drained;
    let ended = end_flows(simulation, pool, backend);
    let count = ended.as_ref().map_or(0, |(count, _)| *count);
    pool_log::note(simulation, pool, backend, "drained", count);
    ended.into_iter().map(|(_, event)| event).collect()
}

/// X8: with admin_down = "reset", connections of a member end when its owner takes it down.
fn reset_by_owner(
    simulation: &mut Simulation,
    pool: PoolPlace,
    backend: BackendId,
    state: Option<plsim_lb::AdminState>,
) -> Option<(u32, Event)> {
    let lb = &simulation.scenario.load_balancer[pool.0];
    let resets = lb.admin_down == file::AdminDown::Reset;
    (resets && state == Some(plsim_lb::AdminState::Down))
        .then(|| end_flows(simulation, pool, backend))
        .flatten()
}

/// Forgets the flows of a pool's rules on a backend VM and resets both ends of the connections;
/// returns how many there were, if any, and what to tell.
fn end_flows(
    simulation: &mut Simulation,
    pool: PoolPlace,
    backend: BackendId,
) -> Option<(u32, Event)> {
    let id = LbPoolId(narrow(pool.1));
    let ended = change(simulation, pool.0, |lb, now| lb.end_flows(id, backend, now));
    let ended = ended.expect("broken invariant: a checked event names a pool that may change");
    let ended: BTreeSet<StickyFlow> = ended.into_iter().collect();
    let frontends = &simulation.layout.frontends[pool.0];
    let host = simulation.map.hosts[usize::from(backend.0)];
    let count = simulation.world.visit(host, |room, context| {
        let is_it = |flow: &ServedFlow| {
            sticky_flow(frontends, flow).is_some_and(|flow| ended.contains(&flow))
        };
        room.host_mut().reset_flows(is_it, context)
    });
    let place = &simulation.layout.backends[usize::from(backend.0)];
    let lb = &simulation.scenario.load_balancer[pool.0];
    (count > 0).then(|| {
        let told = Event::new("connections-reset")
            .with("backend", place.name.as_str())
            .with("backend_pool", lb.backend_pool[pool.1].name.as_str())
            .with("connections", count)
            .with("load_balancer", lb.name.as_str());
        (count, told)
    })
}

/// Returns what the load balancer calls a flow that a host serves.
pub(crate) fn sticky_flow(frontends: &[Ipv4Addr], flow: &ServedFlow) -> Option<StickyFlow> {
    let came_by = match flow.dialled {
        Dialled::Link(link) => CameBy::Link(link),
        Dialled::Frontend(address) => {
            let number = frontends.iter().position(|own| *own == address)?;
            CameBy::Frontend(FrontendId(narrow(number)))
        }
    };
    Some(StickyFlow {
        came_by,
        client: flow.client,
        frontend_port: flow.frontend_port,
    })
}

/// What a rule leads to: a frontend's flows to one port, or to all.
struct Target {
    /// The service on the frontend; [`PlsId::NONE`] if it has none.
    pls: PlsId,
    frontend: Ipv4Addr,
    port: Option<u16>,
}

/// Returns what a rule leads to, events included.
fn targets_of(
    scenario: &Scenario,
    layout: &Layout,
    balancer: usize,
    rule: &file::Rule,
) -> Vec<Target> {
    let frontends = &scenario.load_balancer[balancer].frontend;
    let own = position(frontends, |frontend| frontend.name == rule.frontend);
    let mut services = (0..).map(PlsId).zip(&layout.services);
    let service = services.find(|(_, service)| {
        (service.load_balancer, usize::from(service.frontend)) == (balancer, own)
    });
    let ports = aims(scenario, balancer, rule).ports.into_iter();
    ports
        .map(|port| Target {
            pls: service.map_or(PlsId::NONE, |(pls, _)| pls),
            frontend: layout.frontends[balancer][own],
            port: Some(port).filter(|&port| port != 0),
        })
        .collect()
}

/// Returns the frontends' addresses that a backend VM gets packets for.
pub(crate) fn floating_ips(
    scenario: &Scenario,
    layout: &Layout,
    place: &BackendPlace,
) -> FloatingIps {
    let mut floating_ips = Vec::new();
    for balancer in configure::balancers_of(place) {
        let rules = scenario.load_balancer[balancer].rule.iter();
        for rule in rules.filter(|rule| rule.floating_ip) {
            let pools = aims(scenario, balancer, rule).pools;
            if !place
                .pools
                .iter()
                .any(|&(lb, pool)| lb == balancer && pools.contains(&pool))
            {
                continue;
            }
            for target in targets_of(scenario, layout, balancer, rule) {
                floating_ips.extend(rule.protocol.protocols().map(|protocol| FloatingIp {
                    pls: target.pls,
                    protocol,
                    port: target.port,
                    address: target.frontend,
                }));
            }
        }
    }
    FloatingIps::new(floating_ips)
}

/// Changes a rule.
pub(crate) fn change_rule(simulation: &mut Simulation, index: usize) -> Vec<Event> {
    let scenario = &simulation.scenario;
    let event = &scenario.event[index];
    let path = event.rule.as_ref();
    let path = path.expect("broken invariant: a checked event names its rule");
    let balancer = position(&scenario.load_balancer, |lb| lb.name == path.load_balancer);
    let rules = &scenario.load_balancer[balancer].rule;
    let rule = RuleId(narrow(position(rules, |rule| rule.name == path.rule)));
    let pool = event.backend_pool.as_ref();
    let wanted = RuleChange {
        backend_port: event.backend_port,
        pool: pool.map(|path| LbPoolId(narrow(pool_place(scenario, path).1))),
        distribution: event.distribution.map(configure::distribution),
    };
    let changed = change(simulation, balancer, |lb, now| {
        lb.change_rule(rule, wanted, now)
    });
    match changed {
        // The load balancer tells what changed.
        Ok(()) => Vec::new(),
        Err(error) => vec![Event::new("event-refused").with("reason", error.to_string())],
    }
}

fn change<T>(
    simulation: &mut Simulation,
    balancer: usize,
    change: impl FnOnce(&mut LoadBalancer, Instant) -> Result<T, ChangeError>,
) -> Result<T, ChangeError> {
    let edge = simulation.map.edges[balancer];
    simulation.world.visit(edge, |room, context| {
        room.edge_mut().change(change, context)
    })
}
