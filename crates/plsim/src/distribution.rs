//! How evenly flows were spread.

use std::collections::BTreeMap;

use plsim_observe::{Finding, NatSummary, Over, SkewSummary, Summary};
use plsim_scenario::{HashStrength, HashTuple, Scenario};
use plsim_types::Protocol;

use crate::layout::Layout;
use crate::membership;
use crate::numbers::grouped;

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

/// Flows for each VM, on average, from which on an uneven distribution is no accident.
const MANY: u64 = 100;
/// Max/mean, in thousandths, from which on it is worth a word.
const UNEVEN: u64 = 1_500;

/// Returns a finding for each service whose VMs got very different shares, though its pool never
/// changed.
pub(crate) fn uneven(scenario: &Scenario, summary: &Summary) -> Vec<Finding> {
    let rows = summary.skew.iter().filter(|row| {
        let many = MANY * row.shares.len() as u64;
        row.over == Over::Backends && row.flows() >= many && row.max_over_mean() >= UNEVEN
    });
    rows.filter_map(|row| {
        let mut services = scenario.private_link_service.iter();
        let service = services.find(|service| *service.name == *row.pls)?;
        let path = &service.load_balancer_frontend;
        let mut balancers = scenario.load_balancer.iter();
        let lb = balancers.find(|lb| lb.name == path.load_balancer)?;
        let mut changes = summary.membership_changes.iter();
        if changes.any(|change| *change.load_balancer == *lb.name) {
            return None;
        }
        let idle = row.shares.iter().filter(|(_, flows)| *flows == 0).count();
        let idle = match idle {
            0 => String::new(),
            idle => format!("; {idle} of {} got nothing", row.shares.len()),
        };
        let (busiest, _) = row.shares.iter().max_by_key(|(_, flows)| *flows)?;
        let times = row.max_over_mean();
        let what = format!(
            "{}: VM {busiest} got {}.{} times the mean of {} {} flows{idle}.",
            row.pls,
            times / 1_000,
            times % 1_000 / 100,
            grouped(row.flows()),
            row.protocol,
        );
        let mut rules = lb.rule.iter().filter(|rule| rule.frontend == path.frontend);
        let by_address =
            rules.any(|rule| rule.protocol.carries(row.protocol) && rule.distribution.fields() < 5);
        let mut help = Vec::new();
        if by_address {
            let whose = match lb.hash_tuple {
                HashTuple::PreNat => "A client keeps its VM, whatever it opens",
                HashTuple::NatIp => "All flows of a NAT IP go to one VM",
            };
            help.push(format!(
                "{whose}; distribution = \"5-tuple\" hashes the ports, too."
            ));
        }
        if lb.hash == HashStrength::WeakParity && row.shares.len().is_multiple_of(2) {
            help.push("A weak hash favours half of an even pool: add or remove a VM.".to_owned());
        }
        Some(Finding { what, help })
    })
    .collect()
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
