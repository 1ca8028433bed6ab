//! Same scenario and seed: the same bytes.

use std::fs;
use std::path::Path;

use crate::support::{SMALL, run, simulate};

/// A run with every source of randomness at work: Poisson arrivals, exponential holds, loss.
const RANDOM: &[&str] = &[
    "--set",
    "output.capture=true",
    "--set",
    "output.flows=true",
    "--set",
    "run.duration=20s",
    "--set",
    "workload.requests.stop=15s",
    "--set",
    "workload.requests.arrival=poisson",
    "--set",
    "workload.requests.hold={ log_normal = { median = \"2s\", sigma = 1.0 } }",
    "--set",
    "workload.requests.response_size={ pareto = { minimum = \"200B\", shape = 1.2, maximum = \"100kB\" } }",
    "--set",
    "link.endpoint_edge.loss=0.05",
    "--set",
    "link.host_vm.bandwidth=10Mbps",
];

fn outputs(seed: &str, out: &Path) -> Vec<(String, Vec<u8>)> {
    let file = "scenarios/quickstart.toml";
    let mut arguments = vec!["run", "--quiet", file, "--seed", seed, "--out"];
    arguments.push(out.to_str().unwrap());
    arguments.extend(RANDOM);
    // Its expectations are about the run without loss.
    assert_eq!(run(&arguments).status.code(), Some(1));
    let mut files: Vec<(String, Vec<u8>)> = fs::read_dir(out)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| {
            (
                entry.file_name().into_string().unwrap(),
                fs::read(entry.path()).unwrap(),
            )
        })
        .collect();
    files.sort();
    files
}

#[test]
fn two_processes_write_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let first = outputs("7", &folder.path().join("first"));
    assert_eq!(first.len(), 4);
    assert!(first.iter().all(|(_, bytes)| !bytes.is_empty()));
    assert!(first == outputs("7", &folder.path().join("second")));
    assert!(first != outputs("8", &folder.path().join("third")));
}

#[test]
fn the_command_can_check_its_own_determinism() {
    let mut arguments = vec!["run", "--check-determinism", "scenarios/quickstart.toml"];
    arguments.extend(RANDOM);
    let output = run(&arguments);
    assert_eq!(output.status.code(), Some(1));
    assert!(crate::support::text(&output.stderr).contains("run twice: identical"));
}

#[test]
fn the_digest_does_not_depend_on_what_output_is_asked_for() {
    let workload = r#"
[[workload]]
name = "w"
client_vm = "client"
private_endpoint = "endpoint"
port = 443
rate = "50/s"
"#;
    let text = format!("{SMALL}{workload}");
    let plain = simulate(&text, &[]).summary;
    let chatty = [
        "output.capture=true",
        "output.flows=true",
        "output.interval=10ms",
    ];
    let chatty = simulate(&text, &chatty).summary;
    assert_eq!(plain.digest.to_string(), chatty.digest.to_string());
    assert_eq!(plain.ledger.injected(), chatty.ledger.injected());
}
