//! When backend VMs were not as they should be, and who was harmed.

use std::collections::BTreeMap;

use plsim_host::VmState;
use plsim_observe::{Ailment, OutageSummary};
use plsim_scenario::ProbeProtocol;
use plsim_types::{BackendId, DropReason, Duration, Instant};

use crate::layout::narrow;
use crate::link;
use crate::simulation::Simulation;

/// The outages of a run.
#[derive(Debug, Default)]
pub(crate) struct Outages {
    /// In the order in which they began.
    rows: Vec<Outage>,
    /// Connections of each VM that it lost although somebody else had ended them just before.
    ended_before: BTreeMap<usize, u64>,
}

#[derive(Debug)]
struct Outage {
    vm: usize,
    ailment: Ailment,
    from: Instant,
    until: Option<Instant>,
    /// The probe that took the VM out first, and how long that took.
    found: Option<(String, Duration)>,
    back: Option<Instant>,
    /// What was counted when it began; when it is over, what is its own.
    counts: Counts,
}

/// What a VM and those around it count all the time.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Counts {
    failed_probes: u64,
    lost: u64,
    refused: u64,
    unanswered: u64,
}

impl Counts {
    const fn since(self, before: Self) -> Self {
        Self {
            failed_probes: self.failed_probes - before.failed_probes,
            lost: self.lost - before.lost,
            refused: self.refused - before.refused,
            unanswered: self.unanswered - before.unanswered,
        }
    }
}

/// Returns what is counted for a VM now.
pub(crate) fn counts(simulation: &Simulation, vm: usize) -> Counts {
    let world = &simulation.world;
    let server = world.node(simulation.map.servers[vm]).server();
    let host = world.node(simulation.map.hosts[vm]).host();
    let probes = host.probes().into_iter();
    let own = Some(BackendId(narrow(vm)));
    let refusals = simulation.world.observer().refusals();
    let unanswered =
        refusals.filter(|(key, _)| key.reason == DropReason::VmDown && key.backend == own);
    let ended_before = simulation.vm_outages.ended_before.get(&vm);
    Counts {
        failed_probes: probes
            .flat_map(|probes| probes.prober().usage())
            .map(|usage| usage.failed)
            .sum(),
        lost: server.stats().lost - ended_before.copied().unwrap_or(0),
        refused: server.stats().refused,
        unanswered: unanswered.map(|(_, row)| row.connections).sum(),
    }
}

/// Returns what is the matter with a VM now.
fn ailment(simulation: &Simulation, vm: usize) -> Option<Ailment> {
    let world = &simulation.world;
    let behaviour = world.node(simulation.map.servers[vm]).server().behaviour();
    let probes = world.node(simulation.map.hosts[vm]).host().probes();
    let asks = simulation.detections.asks[vm].iter();
    let mut http = asks
        .map(|&(lb, probe)| &simulation.scenario.load_balancer[lb].probe[probe])
        .filter(|probe| probe.protocol != ProbeProtocol::Tcp);
    if behaviour.flapping.is_some() {
        return Some(Ailment::Flapping);
    }
    match behaviour.state {
        VmState::Crashed => Some(Ailment::Crashed),
        VmState::Stopped => Some(Ailment::Stopped),
        VmState::NotListening => Some(Ailment::NotListening),
        VmState::Running if probes.is_some_and(plsim_fabric::HealthProbes::are_blocked) => {
            Some(Ailment::ProbeBlocked)
        }
        VmState::Running if behaviour.probe_status != 200 && http.clone().next().is_some() => {
            Some(Ailment::ProbeStatus)
        }
        VmState::Running => http
            .any(|probe| behaviour.response_delay >= probe.timeout())
            .then_some(Ailment::Slow),
    }
}

/// Takes note of how all VMs are when the run begins.
pub(crate) fn start(simulation: &mut Simulation) {
    for vm in 0..simulation.layout.backends.len() {
        follow(simulation, vm, Counts::default());
    }
}

/// Takes note of how many connections were alive when a VM lost what it had: it does not know of a
/// reset that is still on its way.
pub(crate) fn lost_of(simulation: &mut Simulation, vm: usize, alive: u32, before: &Counts) {
    let lost = counts(simulation, vm).lost - before.lost;
    let ended_before = simulation.vm_outages.ended_before.entry(vm).or_default();
    *ended_before += lost.saturating_sub(alive.into());
}

/// Takes note of a VM that may have changed just now; `before` was counted before it did.
pub(crate) fn follow(simulation: &mut Simulation, vm: usize, before: Counts) {
    let (now, ailment) = (simulation.world.now(), ailment(simulation, vm));
    let open = simulation.vm_outages.open(vm).map(|outage| outage.ailment);
    if open == ailment {
        return;
    }
    if let Some(outage) = simulation.vm_outages.open(vm) {
        outage.until = Some(now);
        outage.counts = before.since(outage.counts);
    }
    if let Some(ailment) = ailment {
        simulation.vm_outages.begin(vm, ailment, now, before);
    }
}

/// Takes note of a VM that was started anew: what it lost belongs to what it had, or to that alone.
pub(crate) fn restarted(simulation: &mut Simulation, vm: usize, before: Counts) {
    let now = simulation.world.now();
    let after = counts(simulation, vm);
    if simulation.vm_outages.open(vm).is_none() {
        let outages = &mut simulation.vm_outages;
        outages.begin(vm, Ailment::Restarted, now, after.since(before));
        if let Some(outage) = outages.open(vm) {
            outage.until = Some(now);
        }
    }
    follow(simulation, vm, after);
}

/// Takes note of a probe that took a VM out so long after the fault, or let it in again.
pub(crate) fn judged(
    simulation: &mut Simulation,
    vm: usize,
    probe: String,
    at: Instant,
    taken_out: Option<Duration>,
) {
    let own = simulation.vm_outages.rows.iter_mut().rev();
    let mut own = own.filter(|outage| outage.vm == vm);
    match taken_out {
        Some(after) => {
            if let Some(outage) = own.next().filter(|outage| outage.until.is_none()) {
                outage.found.get_or_insert((probe, after));
            }
        }
        None => {
            let is_out =
                |outage: &&mut Outage| outage.found.is_some() || outage.ailment == Ailment::Stopped;
            if let Some(outage) = own.find(is_out) {
                outage.back.get_or_insert(at);
            }
        }
    }
}

/// Sums up the outages: those of VMs, then those of links.
pub(crate) fn summaries(simulation: &Simulation) -> Vec<OutageSummary> {
    let mut all = of_machines(simulation);
    let now = simulation.now();
    let links = link::down_times(&simulation.scenario).into_iter();
    let begun = links.filter(|down| down.from < now);
    all.extend(begun.map(|down| OutageSummary {
        backend: down.name(),
        ailment: Ailment::LinkDown,
        from: down.from,
        until: down.until.filter(|until| *until <= now),
        ..OutageSummary::default()
    }));
    all
}

fn of_machines(simulation: &Simulation) -> Vec<OutageSummary> {
    let rows = simulation.vm_outages.rows.iter();
    rows.map(|outage| {
        let own = match outage.until {
            Some(_) => outage.counts,
            None => counts(simulation, outage.vm).since(outage.counts),
        };
        let found = outage.found.as_ref();
        OutageSummary {
            backend: simulation.layout.backends[outage.vm].name.clone(),
            ailment: outage.ailment,
            from: outage.from,
            until: outage.until,
            found_by: found.map(|(probe, _)| probe.clone()),
            found_after: found.map(|(_, after)| *after),
            back: outage.back,
            failed_probes: own.failed_probes,
            lost: own.lost,
            refused: own.refused,
            unanswered: own.unanswered,
        }
    })
    .collect()
}

impl Outages {
    fn open(&mut self, vm: usize) -> Option<&mut Outage> {
        let mut rows = self.rows.iter_mut().rev();
        rows.find(|outage| outage.vm == vm && outage.until.is_none())
    }

    fn begin(&mut self, vm: usize, ailment: Ailment, from: Instant, counts: Counts) {
        self.rows.push(Outage {
            vm,
            ailment,
            from,
            until: None,
            found: None,
            back: None,
            counts,
        });
    }
}
