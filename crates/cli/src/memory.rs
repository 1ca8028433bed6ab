//! The memory that runs take.

use std::fs;

use plsim::Summary;
use plsim::numbers::{counted, grouped};
use plsim_scenario::Scenario;

/// Below so many bindings the program itself takes most.
const ENOUGH: u64 = 1_000;

/// Says what a run is estimated to need.
pub(crate) fn estimate(scenario: &Scenario) -> String {
    let memory = scenario.memory();
    format!(
        "memory: estimated at {} at most, for {} alive at once, {} and all that is there without \
         traffic; the limit is {}",
        mebibytes(memory.total()),
        counted(memory.connections, "connection"),
        counted(memory.port_spaces, "port space"),
        scenario.run.memory_limit
    )
}

/// Says what the process has taken by now, and for each NAT binding of this run.
pub(crate) fn measured(scenario: &Scenario, summary: &Summary) -> Option<String> {
    let peak = peak()?;
    let bindings: u64 = summary.backends.iter().map(|vm| vm.bindings_peak).sum();
    let each = match bindings {
        ENOUGH.. => format!(
            ", {} B for each of {} NAT bindings",
            grouped(peak / bindings),
            grouped(bindings)
        ),
        _ => String::new(),
    };
    Some(format!(
        "{} of memory at the peak{each}; estimated at {} at most",
        mebibytes(peak),
        mebibytes(scenario.memory().total())
    ))
}

/// Returns the most memory that the process has had so far, in bytes, where the system tells it.
fn peak() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes << 10)
}

fn mebibytes(bytes: u64) -> String {
    format!("{} MiB", grouped(bytes.div_ceil(1 << 20)))
}
