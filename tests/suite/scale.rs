//! The scenarios of `scenarios/scale`, made smaller; they themselves are run by hand.

use std::fs;

use plsim::Report;

use crate::support::{root, run, simulate, text};

fn content(name: &str) -> String {
    fs::read_to_string(root().join(format!("scenarios/scale/{name}.toml"))).unwrap()
}

/// The scenario without its expectations, which are about its full size.
fn small(name: &str, overrides: &[&str]) -> Report {
    let content = content(name);
    let (body, _) = content.split_once("[[expect]]").unwrap();
    simulate(body, overrides)
}

/// Replaces all copies of the consumers' sections.
fn consumers(count: usize) -> Vec<String> {
    let sections = [
        "virtual_network.consumer-{n}",
        "client_vm.client-{n}",
        "private_endpoint.endpoint-{n}",
        "workload.requests",
    ];
    let overrides = sections.map(|section| format!("{section}.copies={count}"));
    overrides.into()
}

#[test]
fn every_port_of_8_nat_ips_and_10_vms_is_taken_and_the_rest_is_refused() {
    // 1 024 ports for each of 80 spaces; 86 000 connections, 8 600 for each VM give or take 88.
    let overrides = [
        "private_link_service.service.port_range=1024-2047",
        "workload.leak.rate=100000/s",
        "workload.leak.stop=860ms",
        "run.duration=5s",
    ];
    let summary = small("five-million-ports", &overrides).summary;
    let spaces: Vec<_> = summary.nat.iter().filter(|row| row.capacity > 0).collect();
    assert_eq!(spaces.len(), 80);
    assert!(spaces.iter().all(|row| row.in_use == 1_024));
    let connections = summary.connections;
    assert_eq!(
        (connections.established, connections.failed),
        (81_920, 4_080)
    );
    let refused: u64 = summary.refusals.iter().map(|row| row.connections).sum();
    assert_eq!(refused, 4_080);
    assert_eq!(summary.ledger.dropped(), 2 * 4_080, "two SYNs of each");
}

#[test]
fn port_spaces_of_100_vms_that_are_hardly_used_refuse_nothing() {
    let overrides = ["backend_vm.vm.count=100", "workload.requests.stop=1s"];
    let summary = small("thousand-vms", &overrides).summary;
    assert_eq!(summary.nat.len(), 800);
    assert_eq!(summary.connections.closed, 10_000);
    assert_eq!(summary.nat.iter().map(|row| row.binds).sum::<u64>(), 10_000);
    assert_eq!(summary.ledger.dropped(), 0);
}

#[test]
fn a_thousand_endpoints_pass_the_packets_of_their_own_connections() {
    let overrides = [
        "private_endpoint.endpoint-{n}.copies=1000",
        "workload.requests.copies=1000",
    ];
    let summary = small("ten-thousand-endpoints", &overrides).summary;
    assert_eq!(summary.endpoints.len(), 1_000);
    assert!(summary.endpoints.iter().all(|row| row.packets_in == 60));
    assert_eq!(
        summary.workloads.len(),
        1,
        "copies of one name are counted together"
    );
    assert_eq!(summary.workloads[0].connections.closed, 10_000);
    assert_eq!(summary.workloads[0].destinations.len(), 1_000);
}

#[test]
fn overlapping_consumers_each_get_their_own_packets() {
    let overrides = consumers(2_000);
    let overrides: Vec<&str> = overrides.iter().map(String::as_str).collect();
    let summary = small("overlapping-consumers", &overrides).summary;
    assert_eq!(summary.connections.closed, 2_000);
    assert_eq!(
        (summary.ledger.dropped(), summary.connections.reset),
        (0, 0)
    );
    let endpoints = &summary.endpoints;
    assert!(
        endpoints
            .iter()
            .all(|row| (row.packets_in, row.packets_out) == (6, 3))
    );
    let used: Vec<u64> = summary
        .nat
        .iter()
        .map(|row| row.binds)
        .filter(|&binds| binds > 0)
        .collect();
    assert_eq!(used, [1_000, 1_000]);
}

/// The workload of each copy has a random stream of its own, whatever the copies are called.
#[test]
fn copies_of_one_name_draw_their_own_numbers() {
    let mut overrides = consumers(50);
    overrides.push("workload.requests.hold={ exponential = \"5s\" }".to_owned());
    let overrides: Vec<&str> = overrides.iter().map(String::as_str).collect();
    let name = "overlapping-consumers";
    let together = small(name, &overrides).summary;
    let content = content(name).replace("name = \"requests\"", "name = \"requests-{n}\"");
    let (body, _) = content.split_once("[[expect]]").unwrap();
    let renamed: Vec<String> = overrides
        .iter()
        .map(|set| set.replace("workload.requests.", "workload.requests-{n}."))
        .collect();
    let renamed: Vec<&str> = renamed.iter().map(String::as_str).collect();
    let apart = simulate(body, &renamed).summary;
    assert_eq!((together.workloads.len(), apart.workloads.len()), (1, 50));
    let latency = &together.workloads[0].connect_latency;
    assert_eq!(latency.count, 50);
    assert_eq!(apart.connections.closed, together.connections.closed);
    assert_ne!(apart.digest, together.digest, "holds follow the names");
}

#[test]
fn a_run_beyond_the_memory_limit_is_refused_with_numbers() {
    let arguments = [
        "run",
        "scenarios/scale/five-million-ports.toml",
        "--set",
        "run.memory_limit=1GiB",
    ];
    let output = run(&arguments);
    assert_eq!(output.status.code(), Some(2));
    let told = text(&output.stderr);
    for words in [
        "error[PL004]: the run may need up to ",
        "of memory; the limit is 1GiB",
        "for 5 200 000 connections that may live at once",
        "for 80 port spaces",
        "raise `memory_limit`",
    ] {
        assert!(told.contains(words), "{words}: {told}");
    }
}
