//! Replays seeds of the swarm: `swarm --seed N | --seeds A..B [--keep DIR]`.
#![forbid(unsafe_code)]

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use plsim_tests::swarm::{self, Run};

const USAGE: &str = "usage: swarm --seed N | --seeds A..B [--keep DIR]";

fn main() -> ExitCode {
    match arguments().and_then(|(seeds, keep)| replay(seeds, keep.as_deref())) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::from(1),
        Err(problem) => {
            tell(&problem);
            ExitCode::from(2)
        }
    }
}

/// Reads the seeds, the last one excluded, and the folder for outputs.
fn arguments() -> Result<(Range<u64>, Option<PathBuf>), String> {
    let mut arguments = std::env::args().skip(1);
    let mut seeds = None;
    let mut keep = None;
    while let Some(option) = arguments.next() {
        let value = arguments.next().ok_or(USAGE)?;
        match option.as_str() {
            "--seed" => seeds = range(&value, &value).map(|range| range.start..range.end + 1),
            "--seeds" => {
                seeds = value
                    .split_once("..")
                    .and_then(|(from, to)| range(from, to))
            }
            "--keep" => keep = Some(PathBuf::from(value)),
            _ => return Err(USAGE.to_owned()),
        }
    }
    Ok((seeds.ok_or(USAGE)?, keep))
}

fn range(from: &str, to: &str) -> Option<Range<u64>> {
    Some(from.parse().ok()?..to.parse().ok()?)
}

/// Runs the seeds and returns how many violate something.
fn replay(seeds: Range<u64>, keep: Option<&Path>) -> Result<u64, String> {
    let mut bad = 0;
    for seed in seeds {
        let run = swarm::run(seed);
        if let Some(folder) = keep {
            save(&folder.join(format!("seed-{seed}")), &run).map_err(|error| error.to_string())?;
        }
        match run.violations.first() {
            None => tell(&format!(
                "seed {seed}: {} packets, nothing violated",
                run.packets
            )),
            Some(first) => {
                bad += 1;
                tell(&swarm::replay_line(seed, first));
                for violation in run.violations.iter().skip(1).take(9) {
                    tell(&format!("  then {violation}"));
                }
            }
        }
    }
    Ok(bad)
}

fn save(folder: &Path, run: &Run) -> std::io::Result<()> {
    fs::create_dir_all(folder)?;
    fs::write(folder.join("scenario.toml"), &run.scenario)?;
    fs::write(folder.join("capture.pcapng"), &run.capture)?;
    fs::write(folder.join("events.jsonl"), &run.events)?;
    fs::write(folder.join("timeseries.csv"), &run.samples)?;
    fs::write(folder.join("summary.json"), &run.summary)
}

#[expect(clippy::print_stdout, reason = "this is what the program is for")]
fn tell(line: &str) {
    println!("{line}");
}
