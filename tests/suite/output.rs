//! The output directory: complete or absent, never mixed, never half-written.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::support::{SMALL, run, simulate, text};

const QUICK: &str = "scenarios/quickstart.toml";

fn names(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).unwrap();
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

fn set(list: &[&str]) -> BTreeSet<String> {
    list.iter().map(|&name| name.to_owned()).collect()
}

#[test]
fn a_run_leaves_its_files_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("new/deep");
    let out = out.to_str().unwrap();
    assert!(
        run(&["run", "--quiet", QUICK, "--out", out])
            .status
            .success()
    );
    let plain = set(&["events.jsonl", "summary.json", "timeseries.csv"]);
    assert_eq!(names(Path::new(out)), plain);

    // Not empty: refused before anything runs, and nothing is touched.
    let before = fs::read(format!("{out}/summary.json")).unwrap();
    let output = run(&["run", QUICK, "--out", out, "--seed", "2"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        text(&output.stderr).contains("--force"),
        "{}",
        text(&output.stderr)
    );
    assert!(output.stdout.is_empty());
    assert_eq!(fs::read(format!("{out}/summary.json")).unwrap(), before);

    // Forced, with a capture; then without: the old capture does not stay behind.
    let capture = ["--set", "output.capture=true"];
    let forced = ["run", "--quiet", QUICK, "--out", out, "--force"];
    assert!(run(&[&forced[..], &capture[..]].concat()).status.success());
    assert!(names(Path::new(out)).contains("capture.pcapng"));
    assert!(run(&forced).status.success());
    assert_eq!(names(Path::new(out)), plain);
}

#[test]
fn several_scenarios_get_a_directory_each() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().to_str().unwrap();
    let other = "scenarios/unapproved-endpoint.toml";
    assert!(
        run(&["run", "--quiet", QUICK, other, QUICK, "--out", out])
            .status
            .success()
    );
    let expected = set(&["quickstart", "quickstart-3", "unapproved-endpoint"]);
    let found = names(folder.path());
    assert_eq!(found.len(), 3, "{found:?}");
    assert!(
        found.contains("quickstart") && found.contains("unapproved-endpoint"),
        "{expected:?}"
    );
}

#[test]
fn an_output_directory_that_cannot_be_is_refused_before_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "mine").unwrap();
    let output = run(&["run", QUICK, "--out", file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2));
    assert!(output.stdout.is_empty());
    assert_eq!(fs::read_to_string(&file).unwrap(), "mine");
    // Below a file no directory can be created: the operating system's word, exit code 3.
    let below = file.join("below");
    let output = run(&["run", QUICK, "--out", below.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(3));
    assert!(output.stdout.is_empty());
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_ends_with_3_and_leaves_no_file() {
    // A file size limit of 64 KiB stands for the full disk; a capture of the quickstart needs more.
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let binary = crate::support::plsim();
    let script = format!(
        "ulimit -f 64; exec {} run {QUICK} --set output.capture=true --out {}",
        binary.get_program().to_str().unwrap(),
        out.display()
    );
    let output = std::process::Command::new("bash")
        .args(["-c", &script])
        .current_dir(crate::support::root())
        .output()
        .unwrap();
    let told = text(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{told}");
    assert!(told.contains("cannot write the output"), "{told}");
    assert_eq!(names(&out), BTreeSet::new());
}

#[test]
fn two_runs_cannot_share_a_directory() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    fs::create_dir(&out).unwrap();
    let lock = fs::File::create(out.join(".plsim.lock")).unwrap();
    lock.lock().unwrap();
    let output = run(&["run", QUICK, "--out", out.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        text(&output.stderr).contains("in use"),
        "{}",
        text(&output.stderr)
    );
    // A lock that a killed run left behind is no obstacle.
    drop(lock);
    assert!(
        run(&["run", "--quiet", QUICK, "--out", out.to_str().unwrap()])
            .status
            .success()
    );
}

#[test]
fn the_time_series_samples_every_interval_and_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let arguments = [
        "run",
        "--quiet",
        QUICK,
        "--set",
        "output.interval=25s",
        "--out",
    ];
    assert!(
        run(&[&arguments[..], &[out.to_str().unwrap()]].concat())
            .status
            .success()
    );
    let csv = fs::read_to_string(out.join("timeseries.csv")).unwrap();
    let times: Vec<&str> = csv
        .lines()
        .filter(|line| line.contains(",run,"))
        .map(|line| line.split(',').next().unwrap())
        .collect();
    assert_eq!(
        times,
        [
            "0.000000000",
            "25.000000000",
            "50.000000000",
            "60.000000000"
        ]
    );
    // The same instant three ways: the VMs' own rows, and their average and maximum.
    let spaces: Vec<&str> = csv
        .lines()
        .filter(|line| line.starts_with("50.000000000,port-space"))
        .collect();
    assert_eq!(spaces.len(), 2, "{spaces:?}");
    assert!(
        csv.lines()
            .any(|line| line.starts_with("50.000000000,nat-ip,service,10.2.0.4"))
    );
}

#[test]
fn the_event_log_tells_when_ports_ran_out_and_each_flow_when_asked() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("small.toml");
    let workload = r#"
[[workload]]
name = "w"
client_vm = "client"
private_endpoint = "endpoint"
port = 443
rate = "10/s"
connections = 20
"#;
    fs::write(&file, format!("{SMALL}{workload}")).unwrap();
    let out = folder.path().join("out");
    let set = ["--set", "private_link_service.service.port_range=2000-2009"];
    let mut arguments = vec!["run", "--quiet", file.to_str().unwrap()];
    arguments.extend(set);
    arguments.extend(["--set", "output.flows=true", "--out", out.to_str().unwrap()]);
    assert!(run(&arguments).status.success());
    let log = fs::read_to_string(out.join("events.jsonl")).unwrap();
    let events: Vec<serde_json::Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let bound = events
        .iter()
        .filter(|event| event["event"] == "flow-bound")
        .count();
    assert_eq!(bound, 10);
    let full = events
        .iter()
        .find(|event| event["event"] == "nat-ports-exhausted")
        .unwrap();
    // The tenth connection starts at 0.9 s and binds 650 us later.
    assert_eq!(full["t_ns"], 900_650_000);
    assert_eq!(
        (&full["nat_ip"], &full["backend"]),
        (&"10.2.0.10".into(), &"vm".into())
    );
    let times: Vec<u64> = events
        .iter()
        .map(|event| event["t_ns"].as_u64().unwrap())
        .collect();
    assert!(times.is_sorted());
}

#[test]
fn the_event_log_tells_when_a_clients_ports_are_doubled_and_halved() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("small.toml");
    let workload = r#"
[[workload]]
name = "w"
client_vm = "client"
private_endpoint = "endpoint"
port = 443
rate = "10/s"
connections = 8
hold = "0s"
"#;
    fs::write(&file, format!("{SMALL}{workload}")).unwrap();
    let out = folder.path().join("out");
    let service = "private_link_service.service.";
    let set = ["preset=gcp-cloud-nat-dynamic", "block_size=8"].map(|set| format!("{service}{set}"));
    let mut arguments = vec!["run", "--quiet", file.to_str().unwrap()];
    arguments.extend(set.iter().flat_map(|set| ["--set", set]));
    let run_for = ["--set", "run.duration=400s", "--out"];
    arguments.extend(run_for);
    arguments.push(out.to_str().unwrap());
    assert!(run(&arguments).status.success());
    let log = fs::read_to_string(out.join("events.jsonl")).unwrap();
    let told: Vec<serde_json::Value> = log
        .lines()
        .filter(|line| line.contains("nat-ports-"))
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    // The eighth is bound at 0.7 s and 650 us, a second before there are more. All are closed by then;
    // their ports come back after 120 s, and half of them go a minute after the sixth has: when
    // four of 16 are left, a quarter.
    let [doubled, halved] = told.as_slice() else {
        panic!("{told:?}")
    };
    let names = |event: &serde_json::Value| {
        let fields = ["event", "client", "backend_port", "ports_before", "ports"];
        fields.map(|field| event[field].to_string()).join(" ")
    };
    assert_eq!(
        names(doubled),
        "\"nat-ports-doubled\" \"10.1.0.4\" 8443 8 16"
    );
    assert_eq!(doubled["t_ns"], 1_700_650_000_u64);
    assert_eq!(names(halved), "\"nat-ports-halved\" \"10.1.0.4\" 8443 16 8");
    let seconds = halved["t_ns"].as_u64().unwrap() / 1_000_000_000;
    assert_eq!(seconds, 180, "{halved}");
}

#[test]
fn the_event_log_has_the_first_idle_timeout_of_each_kind() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("small.toml");
    let workload = r#"
[[workload]]
name = "w"
client_vm = "client"
private_endpoint = "endpoint"
port = 443
rate = "1/s"
connections = 20
close = "abandon"
"#;
    fs::write(&file, format!("{SMALL}{workload}")).unwrap();
    let timers = |more: &str| {
        let out = folder.path().join("out");
        let out = out.to_str().unwrap();
        let mut arguments = vec![
            "run",
            "--quiet",
            file.to_str().unwrap(),
            "--force",
            "--out",
            out,
        ];
        arguments.extend(["--set", "run.duration=400s", "--set", more]);
        assert!(run(&arguments).status.success());
        let log = fs::read_to_string(folder.path().join("out/events.jsonl")).unwrap();
        let idle = log.lines().filter(|line| line.contains("\"idle-timeout\""));
        let events = idle.map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        events
            .map(|event| {
                let seconds = event["t_ns"].as_u64().unwrap() / 1_000_000_000;
                (seconds, event["timer"].as_str().unwrap().to_owned())
            })
            .collect::<Vec<_>>()
    };
    let both = timers("load_balancer.balancer.rule.tcp.idle_timeout=4min");
    assert_eq!(both, [(240, "rule".to_owned())]);
    let service = timers("load_balancer.balancer.rule.tcp.idle_timeout=30min");
    assert_eq!(service, [(300, "service".to_owned())]);
}

#[test]
fn the_summary_has_every_promised_key() {
    let summary: serde_json::Value =
        serde_json::from_str(&simulate(SMALL, &[]).summary.to_json()).unwrap();
    for key in [
        "schema",
        "plsim_version",
        "scenario",
        "seed",
        "complete",
        "virtual_time_ns",
        "digest",
        "ledger",
        "connections",
        "nat",
        "refusals",
        "expectations",
    ] {
        assert!(summary.get(key).is_some(), "{key}");
    }
    for key in [
        "injected",
        "delivered",
        "dropped",
        "merged",
        "in_flight",
        "injected_by",
        "drops",
    ] {
        assert!(summary["ledger"].get(key).is_some(), "{key}");
    }
    for key in ["host", "nat", "lb", "probe", "icmp", "duplicate"] {
        assert!(summary["ledger"]["injected_by"].get(key).is_some(), "{key}");
    }
    for key in [
        "attempted",
        "established",
        "failed",
        "closed",
        "reset",
        "idle_expired",
    ] {
        assert!(summary["connections"].get(key).is_some(), "{key}");
    }
    for key in [
        "pls",
        "nat_ip",
        "backend",
        "protocol",
        "capacity",
        "in_use",
        "held",
        "peak",
        "bind_failures",
        "first_exhausted_ns",
    ] {
        assert!(summary["nat"][0].get(key).is_some(), "{key}");
    }
}

#[test]
fn an_expectation_at_an_instant_is_about_what_there_is_just_before_it() {
    let text = format!(
        "{SMALL}{}",
        r#"
[[workload]]
name = "steady"
client_vm = "client"
private_endpoint = "endpoint"
port = 443
rate = "1/s"
stop = "20s"
close = "abandon"

[[expect]]
value = "connections.attempted"
at = "5s"
equals = 5
because = "the one of 5 s has not started"

[[expect]]
value = "connections.attempted"
at = "5.000000001s"
equals = 6

[[expect]]
value = "connections.attempted"
at = "30s"
equals = 20

[[expect]]
value = "connections.attempted"
equals = 21
"#
    );
    let summary = simulate(&text, &[]).summary;
    let verdicts: Vec<_> = summary
        .expectations
        .iter()
        .map(|verdict| verdict.passed)
        .collect();
    assert_eq!(verdicts, [true, true, true, false]);
    let told = &summary.expectations[1].text;
    assert_eq!(told, "connections.attempted = 6 at 5.000000001 s");
    let without = text.split("[[expect]]").next().unwrap();
    let digest = simulate(without, &[]).summary.digest;
    assert_eq!(
        summary.digest.to_string(),
        digest.to_string(),
        "asking changes nothing"
    );
}
