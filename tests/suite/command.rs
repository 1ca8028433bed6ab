//! The command as a process: exit codes, streams, signals.

use std::io::{Read, Write};
use std::process::Stdio;
use std::time::Duration;

use crate::support::{SMALL, plsim, run, scenario, text};

const QUICK: &str = "scenarios/quickstart.toml";

#[test]
fn a_met_expectation_ends_with_0_and_an_unmet_one_with_1() {
    assert_eq!(run(&["run", QUICK]).status.code(), Some(0));
    let output = run(&[
        "run",
        "--quiet",
        QUICK,
        "--set",
        "workload.requests.stop=40s",
    ]);
    assert_eq!(output.status.code(), Some(1));
    let told = text(&output.stderr);
    assert!(
        told.contains("expected connections.attempted = 2500, but it is 2000"),
        "{told}"
    );
}

#[test]
fn wrong_usage_ends_with_2() {
    for arguments in [
        &[][..],
        &["run"],
        &["walk"],
        &["run", QUICK, "--seed", "-1"],
        &["run", QUICK, "--seed", "18446744073709551616"],
        &["run", QUICK, "--format", "yaml"],
        &["run", QUICK, "--force"],
        &["run", "no-such-file.toml"],
        &["run", QUICK, "--set", "run.duration"],
        &["run", QUICK, "--set", "workload.nobody.rate=1/s"],
    ] {
        let output = run(arguments);
        assert_eq!(
            output.status.code(),
            Some(2),
            "{arguments:?}: {}",
            text(&output.stderr)
        );
        assert!(!output.stderr.is_empty(), "{arguments:?}");
        assert!(output.stdout.is_empty(), "{arguments:?}");
    }
}

#[test]
fn a_negative_number_is_told_as_what_it_is() {
    for (option, why) in [("--threads", "1..=256"), ("--seed", "invalid digit")] {
        let output = run(&["run", QUICK, option, "-1"]);
        let told = text(&output.stderr);
        let what = format!("invalid value '-1' for '{option} <N>'");
        assert!(told.contains(&what) && told.contains(why), "{told}");
    }
}

#[test]
fn where_port_spaces_are_not_all_shown_their_sums_are() {
    let sums = |vms: &str| {
        let key = format!("backend_vm.vm.count={vms}");
        let output = run(&["run", "--no-expect", QUICK, "--set", &key]);
        let told = text(&output.stdout);
        let mut sums = told.lines().skip_while(|line| !line.contains("in all:"));
        sums.nth(1).map(|line| {
            let cells = line.split("  ").map(str::trim);
            let cells: Vec<_> = cells.filter(|cell| !cell.is_empty()).collect();
            cells.join("|")
        })
    };
    assert_eq!(sums("16"), None);
    assert_eq!(
        sums("17"),
        Some("service|tcp|17|1 096 704|0|2 500|2 500|0".to_owned())
    );
}

#[test]
fn all_files_are_checked_before_the_first_one_runs() {
    let folder = tempfile::tempdir().unwrap();
    let broken = folder.path().join("broken.toml");
    std::fs::write(&broken, "[run]\nduration = \"1s\"\nsed = 3\n").unwrap();
    let output = run(&["run", QUICK, broken.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2));
    assert!(output.stdout.is_empty(), "nothing may have run");
    let told = text(&output.stderr);
    assert!(
        told.contains("broken.toml:3:1") && told.contains("seed"),
        "{told}"
    );
}

#[test]
fn several_files_end_with_the_worst_code() {
    let changed = ["--set", "run.duration=40s"];
    let output = run(&["run", "--quiet", QUICK, QUICK, changed[0], changed[1]]);
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn json_on_standard_output_is_the_summary() {
    let output = run(&["run", QUICK, "--format", "json"]);
    let summary: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(summary["scenario"], "quickstart");
    assert_eq!(summary["connections"]["attempted"], 2500);
    assert_eq!(summary["complete"], true);
}

#[test]
fn quiet_prints_nothing_when_all_is_well() {
    let output = run(&["run", "--quiet", QUICK]);
    assert_eq!((output.stdout.len(), output.stderr.len()), (0, 0));
}

#[test]
fn quiet_keeps_warnings() {
    let late = ["--quiet", "--set", "workload.requests.stop=90s"];
    for command in ["run", "validate"] {
        let output = run(&[&[command, QUICK], &late[..]].concat());
        let told = text(&output.stderr);
        assert!(
            told.starts_with("warning[PL071]: the workload stops at 90 s"),
            "{told}"
        );
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn the_quickstart_can_be_sized_from_the_command_line() {
    let key = "private_link_service.service.nat_ip_count=2";
    let output = run(&["run", QUICK, "--set", key]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("2 nat-ips"));
}

#[test]
fn no_column_is_left_out_where_there_is_no_terminal() {
    let output = run(&["run", "scenarios/probe-failure.toml"]);
    let told = text(&output.stdout);
    for head in ["failed binds", "load balancer", "found after", "peak at"] {
        assert!(told.contains(head), "{head}");
    }
    assert!(!told.contains("not shown"));
}

#[test]
fn without_a_terminal_there_are_no_colours_and_no_bar() {
    let output = run(&["run", QUICK]);
    for stream in [output.stdout, output.stderr] {
        assert!(!stream.contains(&0x1b));
    }
}

#[test]
fn the_seed_option_replaces_the_scenarios_seed() {
    let digest = |arguments: &[&str]| {
        let mut all = vec!["run", QUICK, "--format", "json"];
        all.extend(arguments);
        let summary: serde_json::Value = serde_json::from_slice(&run(&all).stdout).unwrap();
        (summary["seed"].clone(), summary["digest"].clone())
    };
    let own = digest(&[]);
    assert_eq!(own, digest(&["--seed", "1"]));
    let other = digest(&["--seed", "2"]);
    assert_eq!(other.0, 2);
    assert_ne!(own.1, other.1);
}

#[test]
fn a_scenario_can_come_by_standard_input() {
    let mut child = plsim()
        .args(["run", "-", "--format", "json"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(SMALL.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    let summary: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(summary["scenario"], "stdin");
}

/// `plsim schema | head -1`: the reader goes away, and that is no error.
#[test]
fn a_closed_pipe_ends_with_0() {
    for arguments in [&["schema"][..], &["run", QUICK], &["validate", QUICK]] {
        let mut child = plsim()
            .args(arguments)
            .current_dir(crate::support::root())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let mut told = String::new();
        child
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut told)
            .unwrap();
        assert_eq!(
            child.wait().unwrap().code(),
            Some(0),
            "{arguments:?}: {told}"
        );
        assert!(!told.contains("panic"), "{told}");
    }
}

#[test]
fn a_signal_ends_the_run_at_an_event_with_complete_outputs() {
    for (signal, code) in [("INT", 130), ("TERM", 143), ("HUP", 129)] {
        if is_ignored(code - 128) {
            // As in a background job; the program rightly ignores it, too.
            continue;
        }
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("out");
        let file = scenario("real/azure-quickstart");
        let child = plsim()
            .args([
                "run",
                file.to_str().unwrap(),
                "--set",
                "output.capture=true",
                "--out",
            ])
            .arg(&out)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let pid = child.id().to_string();
        wait_for(|| {
            out.join(".capture.pcapng.part")
                .metadata()
                .is_ok_and(|file| file.len() > 0)
        });
        let kill = ["-s", signal, &pid];
        assert!(
            std::process::Command::new("kill")
                .args(kill)
                .status()
                .unwrap()
                .success()
        );
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{signal}");
        let summary = std::fs::read_to_string(out.join("summary.json")).unwrap();
        let summary: serde_json::Value = serde_json::from_str(&summary).unwrap();
        assert_eq!(summary["complete"], false);
        let reached = summary["virtual_time_ns"].as_u64().unwrap();
        assert!(reached < 86_400_000_000_000, "{reached}");
        assert!(out.join("capture.pcapng").metadata().unwrap().len() > 0);
    }
}

/// Tells whether this process, and so the ones it starts, ignores a signal.
fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}

/// Waits for something that another process does, a minute at most.
fn wait_for(happened: impl Fn() -> bool) {
    for _ in 0..6_000 {
        if happened() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("it did not happen within a minute");
}

#[test]
fn help_and_version_say_what_there_is() {
    let help = text(&run(&["--help"]).stdout);
    for command in ["run", "validate", "schema"] {
        assert!(help.contains(command), "{help}");
    }
    let help = text(&run(&["run", "--help"]).stdout);
    for option in [
        "--out",
        "--force",
        "--seed",
        "--set",
        "--format",
        "--quiet",
        "--check-determinism",
    ] {
        assert!(help.contains(option), "{help}");
    }
    assert!(text(&run(&["--version"]).stdout).starts_with("plsim "));
}
