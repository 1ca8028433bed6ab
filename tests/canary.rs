//! Plants faults in the simulator, one after the other, and demands that the swarm finds each.
#![forbid(unsafe_code)]

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
    canary::plant(None);
    assert!(missed.is_empty(), "not found: {missed:?}");
    assert_eq!(swarm::run(0).violations, []);
}

#[expect(clippy::print_stdout, reason = "who found a fault is worth reading")]
fn tell(line: &str) {
    println!("{line}");
}
