//! Plants faults in the simulator, one after the other, and demands that the swarm finds each.
#![forbid(unsafe_code)]

use plsim::{Case, Outputs, Simulation, Step};
use plsim_tests::swarm;
use plsim_types::canary::{self, Fault};

/// The seeds of the check; a fault that needs more would pass it.
const SEEDS: u64 = 200;

/// The invariant that a fault breaks first of all.
const fn broken_by(fault: Fault) -> &'static str {
    match fault {
        // A binding that a RST has ended gives its port to another flow.
        Fault::PortClash | Fault::ResetBelieved => "N1",
        Fault::PortOutOfRange => "N3",
        Fault::EarlyExpiry | Fault::LateExpiry => "N14",
        Fault::BadChecksum => "N8",
        Fault::CrossDelivery => "N2",
        Fault::Duplicate => "N11",
        Fault::FinFreedEarly => "N18",
    }
}

/// One test, because a fault is planted for the whole process.
#[test]
fn the_swarm_finds_every_planted_fault_for_what_it_is() {
    let mut missed = Vec::new();
    for fault in Fault::ALL {
        canary::plant(Some(fault));
        let found = (0..SEEDS).find_map(|seed| {
            let mut violations = swarm::run(seed).violations.into_iter();
            let violation = violations.find(|found| found.invariant == broken_by(fault))?;
            Some((seed, violation))
        });
        match found {
            Some((seed, violation)) => tell(&format!("{fault:?}: seed {seed}, {violation}")),
            None => missed.push(fault),
        }
    }
    // Of consumers with one address and port, a reply that goes to another one is noticed.
    canary::plant(Some(Fault::CrossDelivery));
    let crossed = own_packets();
    canary::plant(None);
    assert!(
        !crossed && own_packets(),
        "cross-delivery between overlapping consumers"
    );
    assert!(missed.is_empty(), "not found: {missed:?}");
    assert_eq!(swarm::run(0).violations, []);
}

/// Tells whether 2 000 consumers with one address and one port get what is theirs, and nothing else.
fn own_packets() -> bool {
    let text = include_str!("../scenarios/scale/overlapping-consumers.toml");
    let (text, _) = text.split_once("[[expect]]").expect("expectations");
    let sections = [
        "virtual_network.consumer-{n}",
        "client_vm.client-{n}",
        "private_endpoint.endpoint-{n}",
        "workload.requests",
    ];
    let overrides = sections.map(|section| format!("{section}.copies=2000"));
    let parsed = plsim_scenario::parse("scale.toml", text.as_bytes(), &overrides);
    let (scenario, _) = parsed.expect("a scenario without errors");
    let case = Case {
        name: "scale".to_owned(),
        scenario,
        overrides: overrides.into(),
        seed: None,
    };
    let mut simulation = Simulation::new(case, Outputs::none()).expect("a world");
    while simulation.step(1_000_000).expect("a run that goes on") == Step::Running {}
    let summary = simulation.finish().expect("balanced books").summary;
    let mut endpoints = summary.endpoints.iter();
    summary.ledger.dropped() == 0
        && summary.connections.closed == 2_000
        && endpoints.all(|row| (row.packets_in, row.packets_out) == (6, 3))
}

#[expect(clippy::print_stdout, reason = "who found a fault is worth reading")]
fn tell(line: &str) {
    println!("{line}");
}
