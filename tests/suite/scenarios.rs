//! The shipped scenario files and their schema.

use std::fs;

use crate::support::{root, run, scenario, shipped, text};

#[test]
fn every_shipped_scenario_is_valid_and_warned_about_only_where_that_is_its_subject() {
    // PL057: the keepalive comes too late; PL043: the VM's flow limit binds before its ports;
    // PL081: service and application disagree about PROXY headers; PL095: one NAT IP reaches one
    // VM; PL133: connections are meant to rest for too long; PL068: a VM cannot reach itself through its
    // own frontend; PL108: a VM fails, and no probe asks it; PL065: nobody approves an endpoint.
    let subjects = [
        ("idle-timeout", "PL057 PL133"),
        ("idle-240-vs-300", "PL133"),
        ("keepalive-defaults", "PL057 PL133 PL108"),
        ("aro-gateway", "PL133"),
        ("retry-storm", "PL108 PL133"),
        ("eight-nat-ips", "PL043"),
        ("proxy-protocol", "PL081"),
        ("affinity-skew", "PL095"),
        ("idle-pool-hikari", "PL133"),
        ("kafka-idle-partitions", "PL133 PL057"),
        ("long-query-keepalive", "PL133"),
        ("pub-sub-idle", "PL133"),
        ("mixed-fidelity", "PL133"),
        ("frontend-clients", "PL068"),
        ("unapproved-endpoint", "PL065"),
    ];
    for file in shipped() {
        let output = run(&["validate", file.to_str().unwrap()]);
        let told = text(&output.stderr);
        assert!(output.status.success(), "{told}");
        for line in told.lines().filter(|line| line.starts_with("warning")) {
            let name = file.file_stem().unwrap().to_str().unwrap();
            let subject = subjects.iter().find(|(subject, _)| *subject == name);
            let about_it =
                subject.is_some_and(|(_, codes)| codes.split(' ').any(|code| line.contains(code)));
            assert!(about_it, "{}: {line}", file.display());
        }
    }
}

#[test]
fn every_shipped_scenario_is_a_commented_tutorial_with_expectations() {
    for file in shipped() {
        let content = fs::read_to_string(&file).unwrap();
        assert!(
            content.starts_with("#:schema ") && content.contains("\n\n# "),
            "{} names its schema and says what it shows",
            file.display()
        );
        assert!(
            content.contains("\n[[expect]]"),
            "{} expects something",
            file.display()
        );
        assert!(
            content.contains("\ntitle = "),
            "{} has a title",
            file.display()
        );
    }
}

/// The large ones run in release, by check.sh.
#[test]
fn the_small_scenarios_meet_their_expectations() {
    let names = [
        "quickstart",
        "idle-timeout",
        "idle-240-vs-300",
        "overlapping-consumers",
        "unapproved-endpoint",
        "refused-with-icmp",
        "endpoint-port-limit",
        "proxy-protocol",
        "affinity-skew",
        "scale-pool-maglev-vs-modulo",
        "eight-services-one-lb",
        "probe-failure",
        "all-backends-down",
        "rolling-upgrade",
        "lossy-link",
        "mixed-fidelity",
        "idle-pool-hikari",
        "kafka-idle-partitions",
        "long-query-keepalive",
        "retry-storm",
        "udp-dns-like",
        "keepalive-defaults",
        "full-server",
        "real/aro-gateway",
    ];
    let files = names.map(scenario);
    let mut arguments = vec!["run", "--quiet"];
    arguments.extend(files.iter().map(|file| file.to_str().unwrap()));
    let output = run(&arguments);
    assert!(!text(&output.stderr).contains("error"));
    assert!(output.status.success());
}

#[test]
fn the_committed_schema_is_the_one_the_command_prints() {
    let committed = fs::read_to_string(root().join("scenarios/scenario.schema.json")).unwrap();
    let printed = text(&run(&["schema"]).stdout);
    assert!(
        committed == printed,
        "run: cargo run --release -- schema > scenarios/scenario.schema.json"
    );
    let schema: serde_json::Value = serde_json::from_str(&committed).unwrap();
    for section in [
        "run",
        "virtual_network",
        "private_endpoint",
        "workload",
        "event",
        "expect",
    ] {
        assert!(schema["properties"][section].is_object(), "{section}");
    }
}

#[test]
fn the_page_of_keys_is_the_one_the_command_prints() {
    let committed = fs::read_to_string(root().join("docs/scenario-keys.md")).unwrap();
    let printed = text(&run(&["schema", "--markdown"]).stdout);
    assert!(
        committed == printed,
        "run: cargo run --release -- schema --markdown > docs/scenario-keys.md"
    );
    let entry = "- **`arrival`**: ";
    assert!(printed.contains("\n## `[[load_balancer.rule]]`\n") && printed.contains(entry));
}

/// Files for editors must be plain TOML 1.0: no newline in inline tables, no trailing comma there.
#[test]
fn shipped_scenarios_say_the_same_to_a_plain_toml_reader() {
    for file in shipped() {
        let content = fs::read_to_string(&file).unwrap();
        let table: toml::Table = content.parse().unwrap();
        assert!(table["run"]["duration"].is_str(), "{}", file.display());
    }
}
