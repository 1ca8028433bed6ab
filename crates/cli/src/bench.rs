use std::io::{self, Write};

use plsim_lab::{Allocation, Effort, Laboratory, Occupancy, Results, Workload};

use crate::arguments::{BenchPortsOptions, Format};
use crate::bench_text;
use crate::directory::{BENCH_PORTS_FILES, Directory};
use crate::exit::{self, Exit};
use crate::progress::Progress;
use crate::run::now;
use crate::signals::Signals;
use crate::terminal::Terminal;

/// Measures the allocators of NAT ports and tells what came out.
pub(crate) fn ports(options: &BenchPortsOptions, terminal: &Terminal) -> Exit {
    measure_and_write(options, terminal).unwrap_or_else(|exit| exit)
}

fn measure_and_write(options: &BenchPortsOptions, terminal: &Terminal) -> Result<Exit, Exit> {
    let laboratory = laboratory(options);
    let directory = match &options.out {
        Some(path) => Some(Directory::take(
            path,
            BENCH_PORTS_FILES,
            options.force,
            terminal,
        )?),
        None => None,
    };
    let signals = Signals::listen().map_err(|error| {
        terminal.error(&format!("cannot listen for signals: {error}"));
        Exit::Failure
    })?;
    exit::note_running(format!(
        "While running: plsim bench ports --nat-ips {} --vms {} --ports {} --seed {}\n",
        options.nat_ips, options.vms, options.ports, options.seed
    ));
    let (results, signal) = measure(laboratory, &signals);
    if let Some(directory) = directory {
        write(&results, directory).map_err(|error| {
            terminal.error(&format!("bench ports: {error}"));
            Exit::Failure
        })?;
    }
    terminal.print(&match options.format {
        Format::Text => bench_text::ports(&results, terminal),
        Format::Json => results.to_json(),
    })?;
    Ok(signal.map_or(Exit::Success, Exit::Signal))
}

fn laboratory(options: &BenchPortsOptions) -> Laboratory {
    Laboratory {
        allocations: or_all(&options.allocators, Allocation::ALL),
        occupancies: or_all(&options.occupancies, &Occupancy::ALL),
        workloads: or_all(
            &options.workloads,
            &[
                Workload::RandomChurn,
                Workload::Fill,
                Workload::Drain,
                Workload::Nat,
            ],
        ),
        nat_ips: options.nat_ips,
        vms: options.vms,
        ports: options.ports,
        seed: options.seed,
        effort: match options.quick {
            true => Effort::QUICK,
            false => Effort::FULL,
        },
    }
}

/// Returns what was named, each once and in that order, or all.
fn or_all<T: Copy + PartialEq>(named: &[T], all: &[T]) -> Vec<T> {
    let wanted = if named.is_empty() { all } else { named };
    let mut each = Vec::new();
    for one in wanted {
        if !each.contains(one) {
            each.push(*one);
        }
    }
    each
}

fn measure(laboratory: Laboratory, signals: &Signals) -> (Results, Option<u8>) {
    let begun = now();
    let mut clock = || u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
    let cases = laboratory.cases();
    let progress = Progress::of_steps("bench ports", cases.len(), false);
    let mut measurements = Vec::new();
    for case in &cases {
        if signals.received().is_some() {
            break;
        }
        progress.step(measurements.len(), case.name());
        measurements.push(case.measure(&mut clock));
    }
    progress.finish();
    let results = Results {
        plsim_version: env!("CARGO_PKG_VERSION").to_owned(),
        laboratory,
        measurements,
    };
    (results, signals.received())
}

fn write(results: &Results, mut directory: Directory) -> io::Result<()> {
    let files = [
        ("ports.csv", Some(results.to_csv())),
        ("ports.svg", results.to_svg()),
        ("ports.json", Some(results.to_json())),
    ];
    for (name, text) in files {
        if let Some(text) = text {
            directory.open(name)?.write_all(text.as_bytes())?;
        }
    }
    directory.finish()
}
