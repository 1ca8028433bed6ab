//! What changed about whom load balancers choose among, in the words of those who changed it.

use std::collections::BTreeSet;

use plsim_fabric::ServedFlow;
use plsim_lb::{LbPoolId, MembershipChange, ProbeId, RuleId, StickyFlow};
use plsim_observe::MembershipSummary;
use plsim_types::{BackendId, Instant};

use crate::layout::narrow;
use crate::membership::{PoolPlace, sticky_flow};
use crate::simulation::Simulation;

/// The changes of a run, in order.
#[derive(Debug, Default)]
pub(crate) struct PoolLog {
    rows: Vec<Row>,
    /// How many changes of each load balancer are in the rows.
    seen: Vec<usize>,
}

/// A change that a load balancer recorded, or one that left the choice as it was.
#[derive(Debug)]
struct Row {
    at: Instant,
    balancer: usize,
    /// Its place among the load balancer's changes.
    record: Option<usize>,
    pool: LbPoolId,
    /// The probe of the rules that are concerned.
    probe: Option<ProbeId>,
    cause: &'static str,
    backend: Option<BackendId>,
    rule: Option<RuleId>,
    eligible: u16,
    kept: u32,
    reset: u32,
}

/// Takes note of what load balancers recorded since the last call; `cause` says it better than they.
pub(crate) fn follow(simulation: &mut Simulation, cause: Option<&'static str>) {
    let mut seen = std::mem::take(&mut simulation.pool_log.seen);
    seen.resize(simulation.map.edges.len(), 0);
    for (balancer, seen) in seen.iter_mut().enumerate() {
        let edge = simulation.world.node(simulation.map.edges[balancer]);
        let changes = edge.edge().load_balancer().changes();
        let new: Vec<MembershipChange> = changes[*seen..].to_vec();
        for change in new {
            let kept = match (change.kept, change.backend) {
                (0, _) | (_, None) => 0,
                (_, Some(backend)) => connections(simulation, (balancer, change.pool), backend),
            };
            let row = Row {
                at: change.at,
                balancer,
                record: Some(*seen),
                pool: change.pool,
                probe: change.probe,
                cause: cause.unwrap_or(change.cause.name()),
                backend: change.backend,
                rule: change.rule,
                eligible: change.eligible,
                kept,
                reset: 0,
            };
            *seen += 1;
            simulation.pool_log.push(row);
        }
    }
    simulation.pool_log.seen = seen;
}

/// Takes note of an event that was about a VM in a pool; it has a row even if it left the choice as
/// it was, as for a VM that no probe has found healthy yet.
pub(crate) fn note(
    simulation: &mut Simulation,
    pool: PoolPlace,
    backend: BackendId,
    cause: &'static str,
    reset: u32,
) {
    follow(simulation, Some(cause));
    let (at, id) = (simulation.world.now(), LbPoolId(narrow(pool.1)));
    let rows = simulation.pool_log.rows.iter_mut().rev();
    let mut rows = rows.take_while(|row| row.at == at);
    let is_it = |row: &&mut Row| {
        (row.balancer, row.pool, row.backend, row.cause) == (pool.0, id, Some(backend), cause)
    };
    if let Some(row) = rows.find(is_it) {
        row.reset += reset;
        row.kept = row.kept.saturating_sub(reset);
        return;
    }
    let edge = simulation.world.node(simulation.map.edges[pool.0]);
    let lb = edge.edge().load_balancer();
    let own = lb.rule_usage().filter(|usage| usage.rule.pool == id);
    let probes: BTreeSet<Option<ProbeId>> = own.map(|usage| usage.rule.probe).collect();
    let groups: Vec<(Option<ProbeId>, usize)> = probes
        .into_iter()
        .filter_map(|probe| Some((probe, lb.eligible(id, probe)?)))
        .collect();
    for (place, (probe, eligible)) in groups.into_iter().enumerate() {
        simulation.pool_log.push(Row {
            at,
            balancer: pool.0,
            record: None,
            pool: id,
            probe,
            cause,
            backend: Some(backend),
            rule: None,
            eligible: narrow(eligible),
            kept: 0,
            // Once, not for each probe.
            reset: if place == 0 { reset } else { 0 },
        });
    }
}

/// Counts the established TCP connections that came to a VM by a pool; none lives on one that is not
/// running.
pub(crate) fn connections(
    simulation: &Simulation,
    pool: (usize, LbPoolId),
    backend: BackendId,
) -> u32 {
    let edge = simulation.world.node(simulation.map.edges[pool.0]);
    let flows = edge.edge().load_balancer().flows_on(pool.1, backend);
    let flows: BTreeSet<StickyFlow> = flows.collect();
    let frontends = &simulation.layout.frontends[pool.0];
    count(simulation, backend, |flow| {
        sticky_flow(frontends, flow).is_some_and(|flow| flows.contains(&flow))
    })
}

/// Counts the established TCP connections of a running VM that `is_it` accepts.
pub(crate) fn count(
    simulation: &Simulation,
    backend: BackendId,
    is_it: impl Fn(&ServedFlow) -> bool,
) -> u32 {
    let vm = usize::from(backend.0);
    let world = &simulation.world;
    let server = world.node(simulation.map.servers[vm]).server();
    let host = world.node(simulation.map.hosts[vm]).host();
    match server.behaviour().state {
        plsim_host::VmState::Running => host.count_flows(is_it),
        _ => 0,
    }
}

/// Sums up the changes of all load balancers' pools, by time.
pub(crate) fn summaries(simulation: &Simulation) -> Vec<MembershipSummary> {
    let rows = simulation.pool_log.rows.iter();
    let mut rows: Vec<MembershipSummary> = rows
        .map(|row| {
            let edge = simulation.world.node(simulation.map.edges[row.balancer]);
            let changes = edge.edge().load_balancer().changes();
            let lb = &simulation.scenario.load_balancer[row.balancer];
            let backends = &simulation.layout.backends;
            MembershipSummary {
                load_balancer: lb.name.to_string(),
                backend_pool: lb.backend_pool[usize::from(row.pool.0)].name.to_string(),
                at: row.at,
                cause: row.cause,
                backend: row
                    .backend
                    .map(|id| backends[usize::from(id.0)].name.clone()),
                rule: row
                    .rule
                    .map(|rule| lb.rule[usize::from(rule.0)].name.to_string()),
                eligible: row.eligible,
                kept: row.kept,
                reset: row.reset,
                moved: row.record.map_or(0, |place| changes[place].moved),
            }
        })
        .collect();
    rows.sort_by_key(|row| (row.at, row.load_balancer.clone()));
    rows
}

impl PoolLog {
    /// Adds a row. A VM that joins and has to wait for its first good probes is one change, not two.
    fn push(&mut self, row: Row) {
        let key = |row: &Row| (row.at, row.balancer, row.pool, row.probe, row.backend);
        let now = self.rows.iter_mut().rev();
        let mut now = now.take_while(|known| known.at == row.at);
        if row.cause == WAITING
            && let Some(added) = now.find(|known| known.cause == "added" && key(known) == key(&row))
        {
            (added.record, added.eligible) = (row.record, row.eligible);
            return;
        }
        self.rows.push(row);
    }
}

/// A VM that is new in a pool and not in the choice before its probes succeed.
pub(crate) const WAITING: &str = "waiting";
