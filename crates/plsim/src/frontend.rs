//! Clients that dial a load balancer's frontend itself, without Private Link.

use plsim_lb::FrontendId;
use plsim_nat::{FrontendConfig, FrontendTimer};
use plsim_scenario::{LoadBalancer, Rule, Scenario};
use plsim_table::FixedMap;
use plsim_types::Duration;

use crate::configure;
use crate::idle;
use crate::layout::{BackendPlace, Layout, narrow, position};

/// Collects what the host of a backend VM knows of the frontends that lead to it.
pub(crate) fn flows(
    scenario: &Scenario,
    layout: &Layout,
    place: &BackendPlace,
    seed: u64,
) -> FrontendConfig {
    let mut timers = Vec::new();
    for balancer in configure::balancers_of(place) {
        let lb = &scenario.load_balancer[balancer];
        for rule in lb.rule.iter().filter(|rule| rule.carries_tcp()) {
            let frontend = position(&lb.frontend, |frontend| frontend.name == rule.frontend);
            timers.push(FrontendTimer {
                frontend: layout.frontends[balancer][frontend],
                timer: idle::timer(lb, rule),
            });
        }
    }
    FrontendConfig {
        seed,
        flow_limit: scenario.backend_vm[place.group].vm_flow_limit.0,
        timers,
    }
}

/// Returns the frontend at each address of a load balancer.
pub(crate) fn addresses(layout: &Layout, balancer: usize) -> FixedMap<u32, FrontendId> {
    let mut addresses = FixedMap::default();
    for (frontend, address) in layout.frontends[balancer].iter().enumerate() {
        addresses.insert(address.to_bits(), FrontendId(narrow(frontend)));
    }
    addresses
}

/// Returns how long the hosts remember a flow that they see nothing of: the rule's time, and as long
/// again. `None` where nobody dials the load balancer's frontends.
pub(crate) fn longest_idle(scenario: &Scenario, balancer: usize) -> Option<Duration> {
    let rules = dialled(scenario, &scenario.load_balancer[balancer]);
    let spans = rules.map(|rule| rule.effective_idle_timeout().times(2));
    spans.max()
}

/// Returns the rules of a load balancer that workloads come by without Private Link.
pub(crate) fn dialled<'a>(
    scenario: &'a Scenario,
    balancer: &'a LoadBalancer,
) -> impl Iterator<Item = &'a Rule> {
    balancer.rule.iter().filter(|rule| {
        let mut workloads = scenario.workload.iter();
        workloads.any(|workload| {
            workload.dials(&balancer.name, &rule.frontend)
                && rule.protocol.carries(workload.protocol.into())
                && [0, workload.port].contains(&rule.frontend_port)
        })
    })
}
