//! How many instructions the hot functions take: counted, not timed, so that any machine can compare
//! them with the record in `instructions.txt`.
//!
//! ```text
//! cargo bench -p plsim-benches --bench instructions                 compares; more than 2 % above fails
//! cargo bench -p plsim-benches --bench instructions -- --record     writes the record anew
//! cargo bench -p plsim-benches --bench instructions -- --case NAME  does one, for a profiler
//! ```
//!
//! Each case runs in a process of its own under callgrind, which collects inside of [`counted`] only.
//! Counts hold for one compiler and one kind of processor; with another one, or without valgrind,
//! nothing is compared, and that is said. `PLSIM_REQUIRE_VALGRIND=1` makes a missing valgrind an error.
//!
//! The crates that do this, gungraun above all, want a runner installed in exactly the library's
//! version and keep what they compare with in the target directory: neither is there in a clean clone.

mod cases;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::hint::black_box;
use std::process::{Command, ExitCode};
use std::{env, fs};

use cases::CASES;
use plsim_benches::say;

/// A count may be this much above the recorded one: what the compiler does elsewhere in a crate moves
/// single instructions.
const TOLERANCE: f64 = 0.02;
const RECORD: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/instructions.txt");
const HEAD: &str = "\
# Instructions of one operation, counted by callgrind. To write this anew:
#   cargo bench -p plsim-benches --bench instructions -- --record
";

/// Something hot.
struct Case {
    name: &'static str,
    /// Operations of one run.
    operations: u32,
    /// Prepares, and hands what is to be counted to [`counted`].
    run: fn(u32),
}

/// Does what is counted.
#[inline(never)]
fn counted(work: &mut dyn FnMut()) {
    black_box(work)();
}

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let has = |wanted: &str| arguments.iter().any(|argument| argument == wanted);
    if let Some(at) = arguments.iter().position(|argument| argument == "--case") {
        let name = arguments.get(at + 1).map_or("", String::as_str);
        let Some(case) = CASES.iter().find(|case| case.name == name) else {
            say(&format!("there is no case {name}"));
            return ExitCode::FAILURE;
        };
        (case.run)(case.operations);
        return ExitCode::SUCCESS;
    }
    if has("--test") {
        for case in CASES {
            (case.run)(case.operations);
        }
        return ExitCode::SUCCESS;
    }
    let Some(counts) = count_all() else {
        say("skipped: there is no valgrind to count instructions with");
        return ExitCode::from(u8::from(env::var_os("PLSIM_REQUIRE_VALGRIND").is_some()));
    };
    if has("--record") {
        fs::write(RECORD, recorded(&counts)).expect("the record can be written");
        return ExitCode::SUCCESS;
    }
    let record = fs::read_to_string(RECORD).expect("there is a record");
    if !record.contains(&environment()) {
        say(&format!(
            "skipped: the record of instruction counts is not for {}",
            environment().trim().replace('\n', ", ")
        ));
        return ExitCode::SUCCESS;
    }
    compare(&record, &counts)
}

/// What counts depend on.
fn environment() -> String {
    let version = Command::new("rustc").arg("--version").output();
    let version = version.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let version = version.unwrap_or_default();
    format!(
        "compiler {}\nprocessor {}\n",
        version.trim(),
        env::consts::ARCH
    )
}

/// Counts every case, per operation; `None` without valgrind.
fn count_all() -> Option<Vec<(&'static str, f64)>> {
    let count = |case: &Case| Some((case.name, count(case)? as f64 / f64::from(case.operations)));
    CASES.iter().map(count).collect()
}

/// Counts the instructions of one case.
///
/// # Panics
/// If callgrind is there and fails.
fn count(case: &Case) -> Option<u64> {
    let valgrind = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg("--toggle-collect=*instructions::counted*")
        .arg(env::current_exe().expect("a process knows its program"))
        .args(["--case", case.name])
        .output()
        .ok()?;
    let told = String::from_utf8_lossy(&valgrind.stderr);
    let collected = told
        .lines()
        .find_map(|line| line.split("Collected : ").nth(1));
    let count = collected.and_then(|count| count.trim().parse().ok());
    let count = count.filter(|&count: &u64| count > 0 && valgrind.status.success());
    Some(count.unwrap_or_else(|| panic!("callgrind counts nothing of {}:\n{told}", case.name)))
}

fn recorded(counts: &[(&str, f64)]) -> String {
    let mut text = format!("{HEAD}{}", environment());
    for (name, count) in counts {
        writeln!(text, "{name:<24}{count:>10.1}").expect("a string grows");
    }
    text
}

fn compare(record: &str, counts: &[(&str, f64)]) -> ExitCode {
    let lines = record.lines().filter_map(|line| line.split_once(' '));
    let before: BTreeMap<&str, f64> = lines
        .filter_map(|(name, count)| Some((name, count.trim().parse().ok()?)))
        .collect();
    let mut code = ExitCode::SUCCESS;
    for (name, count) in counts {
        let Some(before) = before.get(name) else {
            say(&format!("{name}: not in the record"));
            code = ExitCode::FAILURE;
            continue;
        };
        let change = count / before - 1.0;
        let verdict = if change > TOLERANCE {
            code = ExitCode::FAILURE;
            "SLOWER"
        } else if change < -TOLERANCE {
            "better: record it"
        } else {
            ""
        };
        // Plus zero, for it makes a zero of minus zero.
        let percent = (change * 1_000.0).round() / 10.0 + 0.0;
        say(&format!(
            "{name:<24}{before:>10.1}{count:>10.1} {percent:>+6.1} % {verdict}"
        ));
    }
    if code == ExitCode::FAILURE {
        say(
            "More instructions than recorded. If they are worth it, say so in the commit and record",
        );
        say("them: cargo bench -p plsim-benches --bench instructions -- --record");
    }
    code
}
