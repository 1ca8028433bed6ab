//! The canonical text of a scenario is a scenario, and the same one.

use plsim_scenario::{Scenario, parse, parse_with, read_beside};
use std::path::{Path, PathBuf};

fn shipped() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scenarios");
    let folders = [root.clone(), root.join("real")];
    let files = folders.iter().flat_map(|folder| {
        folder
            .read_dir()
            .expect("the folder of scenarios is there")
            .map(|entry| entry.expect("an entry can be read").path())
    });
    let files = files.filter(|path| path.extension().is_some_and(|ending| ending == "toml"));
    files.collect()
}

fn again(path: &Path, canonical: &str) -> Scenario {
    let read = |name: &str| read_beside(path, name);
    let parsed = parse_with("again.toml", canonical.as_bytes(), &[], &read);
    let (scenario, _) =
        parsed.unwrap_or_else(|problems| panic!("{}: {}", path.display(), problems.render(false)));
    scenario
}

#[test]
fn every_shipped_scenario_is_read_back_from_its_canonical_text() {
    let files = shipped();
    assert!(files.len() > 20, "{files:?}");
    for path in files {
        let bytes = std::fs::read(&path).unwrap();
        let read = |name: &str| read_beside(&path, name);
        let (scenario, _) = parse_with("first.toml", &bytes, &[], &read).unwrap();
        let canonical = scenario.canonical();
        assert_eq!(
            again(&path, &canonical).canonical(),
            canonical,
            "{}",
            path.display()
        );
    }
}

/// One workload of each model, over each protocol that it can have.
#[test]
fn what_means_nothing_to_a_workload_is_not_in_its_canonical_text() {
    let text = std::fs::read_to_string("tests/good.toml").unwrap();
    let (before, _) = text.split_once("[[workload]]").unwrap();
    let (endpoint, client) = ("private_endpoint = ", "client_vm = ");
    let value = |key: &str| {
        let (_, rest) = text.split_once("[[workload]]").unwrap();
        let line = rest.lines().find(|line| line.starts_with(key)).unwrap();
        line.to_owned()
    };
    let common = format!("{}\n{}\nport = 443\n", value(endpoint), value(client));
    let models = [
        ("tcp", "rate = \"1/s\"", "echo"),
        ("tcp", "rate = \"1/s\"\nclose = \"abandon\"", "hold"),
        ("udp", "rate = \"1/s\"", "keepalive"),
        (
            "tcp",
            "model = \"constant-concurrency\"\nconnections = 5",
            "arrival",
        ),
        (
            "udp",
            "model = \"constant-concurrency\"\nconnections = 5",
            "close",
        ),
        (
            "tcp",
            "model = \"closed-loop\"\nclients = 5\nthink_time = \"1s\"",
            "hold",
        ),
        (
            "udp",
            "model = \"closed-loop\"\nclients = 5\nthink_time = \"1s\"",
            "initial_rto",
        ),
        (
            "tcp",
            "model = \"pool\"\nrate = \"1/s\"\npool = { size = 4 }",
            "hold",
        ),
        (
            "tcp",
            "model = \"pub-sub\"\nconnections = 5\ninterval = \"1s\"",
            "service_time",
        ),
        (
            "udp",
            "model = \"udp-stream\"\nrate = \"1/s\"\ninterval = \"1s\"\nhold = \"9s\"",
            "response_size",
        ),
    ];
    for (protocol, rest, idle) in models {
        let text = format!(
            "{before}[[workload]]\nname = \"w\"\nprotocol = \"{protocol}\"\n{common}{rest}\n"
        );
        let (scenario, _) = parse("first.toml", text.as_bytes(), &[])
            .unwrap_or_else(|problems| panic!("{}", problems.render(false)));
        let canonical = scenario.canonical();
        let (again, _) = parse("again.toml", canonical.as_bytes(), &[])
            .unwrap_or_else(|problems| panic!("{rest}: {}", problems.render(false)));
        assert_eq!(again.canonical(), canonical);
        let (_, workload) = canonical.split_once("[[workload]]").unwrap();
        let key = format!("\n{idle} = ");
        assert!(!workload.contains(&key), "{rest}: {canonical}");
    }
}
