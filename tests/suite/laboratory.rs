//! `plsim bench ports` as a process: exit codes, files, and what a seed determines.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::support::{run, text};

/// A bench that takes no time: small spaces, few allocators.
const SMALL: &[&str] = &[
    "bench",
    "ports",
    "--quick",
    "--ports",
    "512",
    "--allocator",
    "bitmap",
    "--allocator",
    "linux",
    "--allocator",
    "rfc6056-1",
    "--occupancy",
    "50",
    "--occupancy",
    "99",
    "--occupancy",
    "last",
    "--nat-ips",
    "2",
    "--vms",
    "2",
];

fn small(more: &[&str]) -> std::process::Output {
    let arguments: Vec<&str> = SMALL.iter().chain(more).copied().collect();
    run(&arguments)
}

fn json(more: &[&str]) -> Value {
    let output = small(&[&["--format", "json"], more].concat());
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Takes the timing out of each case.
fn without_timing(mut results: Value) -> Value {
    for case in results["cases"].as_array_mut().unwrap() {
        assert!(case.as_object_mut().unwrap().remove("timing").is_some());
    }
    results
}

/// Takes the columns of time out of a table.
fn csv_without_timing(folder: &Path) -> Vec<Vec<String>> {
    let table = fs::read_to_string(folder.join("ports.csv")).unwrap();
    let rows: Vec<Vec<&str>> = table
        .lines()
        .map(|line| line.split(',').collect())
        .collect();
    let timed = |head: &str| head.ends_with("_ns") || head.ends_with("_per_s");
    let kept: Vec<usize> = (0..rows[0].len())
        .filter(|at| !timed(rows[0][*at]))
        .collect();
    assert_eq!(rows[0].len() - kept.len(), 7);
    rows.iter()
        .map(|row| kept.iter().map(|at| row[*at].to_owned()).collect())
        .collect()
}

#[test]
fn a_seed_determines_everything_but_the_timing() {
    let first = without_timing(json(&["--seed", "5"]));
    assert_eq!(first, without_timing(json(&["--seed", "5"])));
    let other = without_timing(json(&["--seed", "6"]));
    assert_ne!(first["cases"], other["cases"]);
    assert_eq!(first["seed"], 5);
    assert_eq!(first["schema"], "plsim-bench-ports/1");
    assert_eq!(first["complete"], true);
    // Three allocators: random churn at three occupancies, a fill, a drain and a NAT.
    assert_eq!(first["cases"].as_array().unwrap().len(), 3 * (3 + 3));
    let folder = tempfile::tempdir().unwrap();
    let tables = ["one", "two"].map(|name| {
        let out = folder.path().join(name);
        let output = small(&["--seed", "5", "--out", out.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        csv_without_timing(&out)
    });
    assert_eq!(tables[0], tables[1]);
}

#[test]
fn the_files_hold_what_is_printed() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let output = small(&["--format", "json", "--out", out.to_str().unwrap()]);
    assert_eq!(fs::read(out.join("ports.json")).unwrap(), output.stdout);
    let mut names: Vec<String> = fs::read_dir(&out)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["ports.csv", "ports.json", "ports.svg"]);
    let svg = fs::read_to_string(out.join("ports.svg")).unwrap();
    for name in ["bitmap", "linux", "rfc6056-1"] {
        assert!(svg.contains(&format!("<title>{name}</title>")), "{svg}");
    }
    let results: Value = serde_json::from_slice(&output.stdout).unwrap();
    for case in results["cases"].as_array().unwrap() {
        let timed = case["timing"].as_object().unwrap();
        assert!(timed.values().any(|value| !value.is_null()), "{case}");
    }
}

#[test]
fn results_are_not_overwritten_without_force() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().to_str().unwrap();
    assert_eq!(small(&["--out", out]).status.code(), Some(0));
    let before = fs::read(folder.path().join("ports.json")).unwrap();
    let output = small(&["--out", out, "--seed", "9"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        text(&output.stderr).contains("--force"),
        "{}",
        text(&output.stderr)
    );
    assert!(output.stdout.is_empty(), "nothing may have been measured");
    assert_eq!(fs::read(folder.path().join("ports.json")).unwrap(), before);
    let forced = small(&["--out", out, "--seed", "9", "--force"]);
    assert_eq!(forced.status.code(), Some(0), "{}", text(&forced.stderr));
    assert_ne!(fs::read(folder.path().join("ports.json")).unwrap(), before);
}

#[test]
fn wrong_usage_ends_with_2_and_a_hint() {
    for (arguments, hint) in [
        (&["--allocator", "bitmpa"][..], "bitmap"),
        (&["--workload", "random"], "random-churn"),
        (&["--occupancy", "101"], "0 to 100"),
        (&["--occupancy", "full"], "last"),
        (&["--nat-ips", "0"], "1..=64"),
        (&["--vms", "100000"], "1..=10000"),
        (&["--ports", "64513"], "1..=64512"),
        (&["--force"], "--out"),
    ] {
        let output = run(&[&["bench", "ports"], arguments].concat());
        let told = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {told}");
        assert!(told.contains(hint), "{arguments:?}: {told}");
        assert!(output.stdout.is_empty(), "{arguments:?}");
    }
    assert_eq!(run(&["bench"]).status.code(), Some(2));
}

#[test]
fn tables_have_no_colours_in_a_file() {
    let output = run(&[
        "bench",
        "ports",
        "--quick",
        "--ports",
        "300",
        "--workload",
        "fifo-churn",
    ]);
    let page = text(&output.stdout);
    assert!(!page.contains('\u{1b}'));
    for part in [
        "Time",
        "Qualities",
        "Refused while ports were free",
        "99.99 %",
        "last port",
    ] {
        assert!(page.contains(part), "{page}");
    }
    assert!(output.stderr.is_empty(), "{}", text(&output.stderr));
}

/// The search of Linux refuses while ports are free; the bitmap never does.
#[test]
fn refusals_while_ports_are_free_are_counted_and_said() {
    let results = json(&[]);
    let cases = results["cases"].as_array().unwrap();
    let refused = |allocator: &str| -> u64 {
        cases
            .iter()
            .filter(|case| case["allocator"] == allocator && case["workload"] == "random-churn")
            .map(|case| case["refused_while_free"].as_u64().unwrap())
            .sum()
    };
    assert_eq!(refused("bitmap"), 0);
    assert_eq!(refused("rfc6056-1"), 0);
    assert!(refused("linux") > 0);
    let page = text(&small(&[]).stdout);
    assert!(page.contains("linux refused"), "{page}");
    assert!(page.contains("none by 2 allocators"), "{page}");
}
