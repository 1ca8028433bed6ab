//! Traffic that varies: distributions, and the files that hold them.

use std::fs;
use std::path::Path;

use crate::support::{self, SMALL, run, simulate, text};

/// `SMALL` with a workload that has these keys.
fn workload(keys: &str) -> String {
    format!("{SMALL}{}", support::workload("calls", keys))
}

#[test]
fn a_file_beside_the_scenario_says_how_long_connections_are_held() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("held.toml");
    let keys =
        "rate = \"100/s\"\nhold = { file = \"holds.csv\" }\nclose = \"rst\"\nconnections = 1000";
    fs::write(&path, workload(keys)).unwrap();
    let open_at_20_s = |holds: &str| {
        fs::write(folder.path().join("holds.csv"), holds).unwrap();
        let file = path.to_str().unwrap();
        let output = run(&[
            "run",
            "--format",
            "json",
            "--quiet",
            file,
            "--set",
            "run.duration=20s",
        ]);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        let summary: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        (
            summary["connections"]["established"].as_u64().unwrap(),
            summary["scenario_hash"].as_str().unwrap().to_owned(),
        )
    };
    let (open, hash) = open_at_20_s("value,weight\n1s,1\n1min,1\n");
    // Half of 1000, with a standard deviation of 16; four of them are allowed.
    assert!(open.abs_diff(500) < 64, "{open}");
    let (none, other) = open_at_20_s("1s\n");
    assert_eq!(none, 0);
    assert_ne!(hash, other, "the file is part of the scenario");
}

#[test]
fn a_scenario_from_standard_input_or_elsewhere_finds_no_file_outside_its_folder() {
    let folder = tempfile::tempdir().unwrap();
    let (inner, path) = (folder.path().join("inner"), Path::new("inner/held.toml"));
    fs::create_dir(&inner).unwrap();
    fs::write(folder.path().join("holds.csv"), "1s\n").unwrap();
    let path = folder.path().join(path);
    let told = |keys: &str| {
        fs::write(&path, workload(keys)).unwrap();
        let output = run(&["validate", path.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(2));
        text(&output.stderr)
    };
    let missing = told("rate = \"100/s\"\nhold = { file = \"holds.csv\" }");
    assert!(missing.contains("cannot read holds.csv: "), "{missing}");
    assert!(missing.contains("at: workload[0].hold.file"), "{missing}");
    let above = told("rate = \"100/s\"\nhold = { file = \"../holds.csv\" }");
    assert!(
        above.contains("beside the scenario, not above it"),
        "{above}"
    );
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink("../holds.csv", inner.join("holds.csv")).unwrap();
        let linked = told("rate = \"100/s\"\nhold = { file = \"holds.csv\" }");
        assert!(linked.contains("a link leads out"), "{linked}");
    }
}

/// Every way to start connections, with the number that theory says: `plsim validate` tells it, and
/// so many start.
#[test]
fn what_validate_says_of_a_workload_is_what_starts() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("calls.toml");
    fs::write(
        folder.path().join("starts.csv"),
        "at,count\n0s,3\n29.9s,2\n",
    )
    .unwrap();
    let factors = "0, ".repeat(23) + "0.5";
    for (keys, sentence, started) in [
        (
            "rate = \"100/s\"\nstop = \"20s\"".to_owned(),
            "starts 2 000 connections, from 0 s to 20 s",
            2_000,
        ),
        (
            "arrival = \"at-once\"\nconnections = 7\nstart = \"1s\"".to_owned(),
            "starts 7 connections, at once, at 1 s",
            7,
        ),
        (
            "arrival = { bursts = { size = 50, every = \"8s\", spread = \"4s\" } }".to_owned(),
            "starts 200 connections, in bursts of 50 every 8 s, from 0 s to 30 s",
            200,
        ),
        (
            "rate = { ramp = { from = \"2/s\", to = \"10/s\", over = \"20s\" } }".to_owned(),
            "starts 220 connections, from 0 s to 30 s; the rate goes from 2/s to 10/s in 20 s",
            220,
        ),
        (
            format!(
                "rate = {{ diurnal = {{ peak = \"10/s\", factors = [{factors}], time_of_day = \"23.995h\" }} }}"
            ),
            "starts 90 connections, from 0 s to 30 s; a day with 10/s at most, from 23 h to 24 h, \
             begun 86382 s after midnight",
            90,
        ),
        (
            "arrival = { file = \"starts.csv\" }".to_owned(),
            "starts 5 connections, at the times in starts.csv, from 0 s to 30 s; those of a line start at \
             the same instant, 3 at most",
            5,
        ),
    ] {
        fs::write(&path, workload(&keys)).unwrap();
        let file = path.to_str().unwrap();
        let told = text(&run(&["validate", file]).stdout).replace("\n    ", " ");
        assert!(
            told.contains(&format!("workload calls: {sentence}\n")),
            "{told}"
        );
        let output = run(&["run", "--format", "json", "--quiet", file]);
        let summary: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(summary["connections"]["attempted"], started, "{keys}");
    }
}

#[test]
fn random_arrivals_are_told_with_their_mean() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("calls.toml");
    fs::write(&path, workload("arrival = \"poisson\"\nrate = \"60/min\"")).unwrap();
    let told = text(&run(&["validate", path.to_str().unwrap()]).stdout);
    let sentence = "workload calls: starts about 30 connections, from 0 s to 30 s\n";
    assert!(told.contains(sentence), "{told}");
}

/// A ramp of one hour to 1 000/s that meets 64 512 ports: its 64 513th connection is refused. They
/// are k = t^2 / 7.2 s^2 then, so t is the root of 7.2 * 64 512 seconds.
#[test]
fn a_ramp_exhausts_the_ports_exactly_when_theory_says() {
    let keys = "rate = { ramp = { to = \"1000/s\", over = \"1h\" } }
close = \"abandon\"
syn_retries = 0";
    let long = [
        "run.duration=690s",
        "private_link_service.service.idle_timeout=1h",
        "link.client_endpoint.latency=0s",
        "link.endpoint_edge.latency=0s",
        "link.edge_host.latency=0s",
        "client_vm.client.count=4",
    ];
    let small = workload(keys).replace("ip_address = \"10.1.0.4\"\n", "");
    let summary = simulate(&small, &long).summary;
    let first = summary.refusals[0].first.as_nanos();
    assert_eq!(first, 681_532_391_013);
}
