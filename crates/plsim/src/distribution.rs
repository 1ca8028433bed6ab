//! How evenly flows were spread, and which moved.

use std::collections::BTreeMap;

use plsim_lb::MembershipChange;
use plsim_observe::{MembershipSummary, NatSummary, Over, SkewSummary};
use plsim_scenario::Scenario;
use plsim_types::Protocol;

use crate::build::Map;
use crate::layout::Layout;
use crate::membership;
use crate::simulation::PlsimWorld;

/// Returns how evenly the flows of each service were spread over its VMs and NAT IPs; nothing where
/// there is but one, or where rules lead to several pools.
pub(crate) fn skew(scenario: &Scenario, layout: &Layout, nat: &[NatSummary]) -> Vec<SkewSummary> {
    let mut rows = Vec::new();
    for (service, place) in scenario.private_link_service.iter().zip(&layout.services) {
        for protocol in Protocol::ALL {
            let spaces = || {
                let own = nat.iter().filter(|row| row.pls == service.name.as_str());
                own.filter(|row| row.protocol == protocol)
            };
            let mut add = |over, shares: Vec<(String, u64)>| {
                if shares.len() > 1 {
                    rows.push(SkewSummary {
                        pls: service.name.to_string(),
                        protocol,
                        over,
                        shares,
                    });
                }
            };
            if leads_to_one_pool(scenario, place.load_balancer, place.frontend, protocol) {
                let backends = spaces().map(|row| (row.backend.clone(), row.binds));
                add(Over::Backends, summed(backends));
            }
            let nat_ips = spaces().map(|row| (row.nat_ip.to_string(), row.binds));
            add(Over::NatIps, summed(nat_ips));
        }
    }
    rows
}

fn leads_to_one_pool(
    scenario: &Scenario,
    balancer: usize,
    frontend: u16,
    protocol: Protocol,
) -> bool {
    let lb = &scenario.load_balancer[balancer];
    let frontend = &lb.frontend[usize::from(frontend)].name;
    let rules = lb.rule.iter().filter(|rule| rule.frontend == *frontend);
    let rules = rules.filter(|rule| rule.protocol.carries(protocol));
    let aims = rules.map(|rule| membership::aims(scenario, balancer, rule).pools);
    let mut pools: Vec<usize> = aims.flatten().collect();
    pools.sort_unstable();
    pools.dedup();
    pools.len() == 1
}

/// Adds up the flows of each name; names stay in the order of their first row.
fn summed(rows: impl Iterator<Item = (String, u64)>) -> Vec<(String, u64)> {
    let mut places = BTreeMap::new();
    let mut shares: Vec<(String, u64)> = Vec::new();
    for (name, flows) in rows {
        let place = *places.entry(name.clone()).or_insert(shares.len());
        match shares.get_mut(place) {
            Some(share) => share.1 += flows,
            None => shares.push((name, flows)),
        }
    }
    shares
}

/// Returns the changes of all load balancers' pools, by time.
pub(crate) fn membership_changes(
    scenario: &Scenario,
    layout: &Layout,
    map: &Map,
    world: &PlsimWorld,
) -> Vec<MembershipSummary> {
    let mut rows = Vec::new();
    for (balancer, node) in map.edges.iter().enumerate() {
        let lb = &scenario.load_balancer[balancer];
        let edge = world.nodes()[node.0 as usize].edge();
        let row = |change: &MembershipChange| MembershipSummary {
            load_balancer: lb.name.to_string(),
            backend_pool: lb.backend_pool[usize::from(change.pool.0)].name.to_string(),
            at: change.at,
            cause: change.cause.name(),
            backend: change
                .backend
                .map(|id| layout.backends[usize::from(id.0)].name.clone()),
            rule: change
                .rule
                .map(|rule| lb.rule[usize::from(rule.0)].name.to_string()),
            eligible: change.eligible,
            kept: change.kept,
            moved: change.moved,
        };
        rows.extend(edge.load_balancer().changes().iter().map(row));
    }
    rows.sort_by(|one, other| {
        let key = |row: &MembershipSummary| (row.at, row.load_balancer.clone());
        key(one).cmp(&key(other))
    });
    rows
}
