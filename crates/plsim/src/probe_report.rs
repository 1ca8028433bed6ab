//! What health probes did, and what they imply.

use plsim_host::VmState;
use plsim_observe::ProbeSummary;
use plsim_scenario::{LoadBalancer, Probe, ProbeProtocol, Scenario};

use crate::simulation::Simulation;

/// Sums up the probes of all VMs.
pub(crate) fn summaries(simulation: &Simulation) -> Vec<ProbeSummary> {
    let mut rows = Vec::new();
    for (vm, place) in simulation.layout.backends.iter().enumerate() {
        let host = simulation.world.node(simulation.map.hosts[vm]);
        let server = simulation.world.node(simulation.map.servers[vm]);
        let is_stopped = server.server().behaviour().state == VmState::Stopped;
        let Some(probes) = host.host().probes() else {
            continue;
        };
        let own = simulation.detections.asks[vm].iter().copied();
        for (number, ((lb, probe), usage)) in (0..).zip(own.zip(probes.prober().usage())) {
            let lb = &simulation.scenario.load_balancer[lb];
            let probe = &lb.probe[probe];
            rows.push(ProbeSummary {
                load_balancer: lb.name.to_string(),
                probe: probe.name.to_string(),
                backend: place.name.clone(),
                protocol: probe.protocol.name(),
                port: probe.port,
                up: usage.up,
                is_stopped,
                sent: usage.sent,
                succeeded: usage.succeeded,
                failed: usage.failed,
                failed_by: usage.failed_by,
                went_down: usage.went_down,
                first_down: usage.first_down,
                changed: usage.changed,
                detected_after: simulation.detections.found.get(&(vm, number)).copied(),
            });
        }
    }
    rows
}

/// Says what the probes of a scenario imply: one line for each.
#[must_use]
pub fn implications(scenario: &Scenario) -> Vec<String> {
    let balancers = scenario.load_balancer.iter();
    balancers
        .flat_map(|lb| {
            // One that no rule names asks nobody.
            let is_named = |probe: &&Probe| {
                let mut rules = lb.rule.iter();
                rules.any(|rule| rule.probe.as_ref() == Some(&probe.name))
            };
            let probes = lb.probe.iter().filter(is_named);
            probes.map(|probe| implication(lb, probe))
        })
        .collect()
}

fn implication(lb: &LoadBalancer, probe: &Probe) -> String {
    let asks = match (probe.protocol, &probe.request_path) {
        (ProbeProtocol::Tcp, _) | (_, None) => "TCP connect to".to_owned(),
        (ProbeProtocol::Http, Some(path)) => format!("GET {path} on"),
        (ProbeProtocol::Https, Some(path)) => format!("GET {path} over TLS on"),
    };
    let streak = probe.interval.0.times(probe.threshold().into());
    format!(
        "probe {}/{}: {asks} port {} every {}; a VM is out at most {streak} after it refuses or \
         answers wrongly, {} after it falls silent, and back {streak} after it recovers",
        lb.name,
        probe.name,
        probe.port,
        probe.interval.0,
        streak + probe.timeout(),
    )
}
