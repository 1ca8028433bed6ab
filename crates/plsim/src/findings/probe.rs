//! Health probes that fail although nothing is the matter with the VM: what they ask for is wrong.

use plsim_observe::{Finding, ProbeSummary};
use plsim_scenario::{Application, ProbeProxyHeader};
use plsim_types::Instant;

use super::Reader;
use crate::numbers::{counted, rounded};

impl Reader<'_> {
    /// Probes that took VMs out whose outages do not explain it.
    pub(super) fn probes(&self) -> Vec<Finding> {
        let has_outage =
            |vm: &str| -> bool { self.summary.outages.iter().any(|row| row.backend == vm) };
        let rows = self.summary.probes.iter();
        let mut rows: Vec<&ProbeSummary> = rows
            .filter(|row| row.went_down > 0 && !has_outage(&row.backend))
            .collect();
        rows.sort_by_key(|row| (&row.load_balancer, &row.probe));
        let same = |one: &&ProbeSummary, next: &&ProbeSummary| {
            (&one.load_balancer, &one.probe) == (&next.load_balancer, &next.probe)
        };
        let probes = rows.chunk_by(same);
        probes.filter_map(|rows| self.verdict(rows)).collect()
    }

    /// Says when a probe took VMs out, and why.
    fn verdict(&self, rows: &[&ProbeSummary]) -> Option<Finding> {
        let first = rows.iter().min_by_key(|row| row.first_down)?;
        let at = first.first_down?.since(Instant::ZERO);
        let mut what = format!(
            "Probe {}/{} took VM {} out at {}",
            first.load_balancer,
            first.probe,
            first.backend,
            rounded(at)
        );
        let times: u64 = rows.iter().map(|row| row.went_down).sum();
        match (times, rows.len()) {
            (1, _) => {}
            (times, vms) if times == vms as u64 => what += &format!("; {vms} VMs went down in all"),
            (times, 1) => what += &format!("; it went down {times} times in all"),
            (times, vms) => what += &format!("; {vms} VMs went down {times} times in all"),
        }
        let still = rows.iter().filter(|row| !row.up).count();
        if still > 0 {
            what += &format!("; {} down at the end", counted(still as u64, "VM"));
        }
        what.push('.');
        if let Some(finding) = self.header(first, &what) {
            return Some(finding);
        }
        let mut causes = [0; 5];
        for row in rows {
            for (sum, count) in causes.iter_mut().zip(row.failed_by) {
                *sum += count;
            }
        }
        let help = causes.iter().zip(REMEDIES).filter(|(count, _)| **count > 0);
        let help = help.map(|(_, help)| help.replace("PORT", &first.port.to_string()));
        Some(Finding {
            what,
            help: help.collect(),
        })
    }

    /// A probe whose PROXY header the application takes for garbage (PP-7).
    fn header(&self, row: &ProbeSummary, what: &str) -> Option<Finding> {
        let (lb, _) = self.probe(row)?;
        let mut groups = self.scenario.backend_vm.iter();
        let group = groups.find(|group| group.machines().any(|name| name == row.backend))?;
        let mut services = self.scenario.private_link_service.iter();
        let sends = services.any(|service| {
            service.enable_proxy_protocol && service.load_balancer_frontend.load_balancer == lb.name
        });
        let is_garbage = sends
            && lb.probe_proxy_header != ProbeProxyHeader::None
            && group.application == Application::Plain;
        is_garbage.then(|| Finding {
            what: format!(
                "{what} Its PROXY header, which a load balancer's probes carry once a service sends \
                 them, is garbage to the plain application."
            ),
            help: vec![
                format!(
                    "Have the application of {} read it: application = \"proxy-required\" or \
                     \"proxy-optional\".",
                    group.name
                ),
                format!(
                    "Or, to see what would be: probe_proxy_header = \"none\" in load balancer {}.",
                    lb.name
                ),
            ],
        })
    }
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
