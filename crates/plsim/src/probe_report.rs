//! What health probes did, and what they imply.

use plsim_observe::{Finding, ProbeSummary, Summary};
use plsim_scenario::{LoadBalancer, Probe, ProbeProtocol, Scenario};
use plsim_types::Instant;

use crate::numbers::counted;
use crate::simulation::Simulation;

/// Sums up the probes of all VMs.
pub(crate) fn summaries(simulation: &Simulation) -> Vec<ProbeSummary> {
    let mut rows = Vec::new();
    for (vm, place) in simulation.layout.backends.iter().enumerate() {
        let host = &simulation.world.nodes()[simulation.map.hosts[vm].0 as usize];
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

/// Says of each probe that took VMs out when it did, and why.
pub(crate) fn findings(summary: &Summary) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut rows: Vec<&ProbeSummary> = summary.probes.iter().collect();
    rows.sort_by_key(|row| (&row.load_balancer, &row.probe));
    for probe in rows.chunk_by(|one, next| {
        (&one.load_balancer, &one.probe) == (&next.load_balancer, &next.probe)
    }) {
        let down = probe.iter().filter(|row| row.went_down > 0);
        let Some(first) = down.clone().min_by_key(|row| row.first_down) else {
            continue;
        };
        let at = first.first_down.unwrap_or(Instant::ZERO);
        let name = format!("{}/{}", first.load_balancer, first.probe);
        let mut what = format!("Probe {name} took VM {} out at {at}", first.backend);
        if let Some(after) = first.detected_after {
            what += &format!(", {after} after it fell ill");
        }
        let times: u64 = down.clone().map(|row| row.went_down).sum();
        let vms = down.clone().count();
        match (times, vms) {
            (1, _) => {}
            (times, vms) if times == vms as u64 => what += &format!("; {vms} VMs went down in all"),
            (times, 1) => what += &format!("; it went down {times} times in all"),
            (times, vms) => what += &format!("; {vms} VMs went down {times} times in all"),
        }
        let still = down.clone().filter(|row| !row.up).count();
        if still > 0 {
            what += &format!("; {} down at the end", counted(still as u64, "VM"));
        }
        what.push('.');
        let mut causes = [0; 5];
        for row in down {
            for (sum, count) in causes.iter_mut().zip(row.failed_by) {
                *sum += count;
            }
        }
        let help = causes.iter().zip(REMEDIES).filter(|(count, _)| **count > 0);
        found.push(Finding {
            what,
            help: help
                .map(|(_, help)| help.replace("PORT", &first.port.to_string()))
                .collect(),
        });
    }
    found
}

/// What to look at, by the cause of failed attempts.
const REMEDIES: [&str; 5] = [
    "No answer: the VM or its application hangs or is slow, or a network security group denies \
     168.63.129.16 (service tag AzureLoadBalancer).",
    "Reset: nothing listens on port PORT, or what listens there cannot read what the probe says.",
    "Closed: the application ends the connection without an answer.",
    "Status: only 200 counts as healthy, also no redirect.",
    "TLS: an HTTPS probe wants a chain of SHA-256 certificates, TLS 1.2 and no client certificate.",
];

/// Says what the probes of a scenario imply: one line for each.
#[must_use]
pub fn implications(scenario: &Scenario) -> Vec<String> {
    let balancers = scenario.load_balancer.iter();
    balancers
        .flat_map(|lb| lb.probe.iter().map(|probe| implication(lb, probe)))
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
