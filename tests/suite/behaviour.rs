//! The whole path: what scenarios can set, and what run-time events do.

use plsim::Summary;

use crate::support::{SMALL, simulate, workload};

fn run(sections: &str, overrides: &[&str]) -> Summary {
    simulate(&format!("{SMALL}{sections}"), overrides).summary
}

fn dropped(summary: &Summary, reason: &str) -> u64 {
    summary
        .ledger
        .drops()
        .find(|(found, _)| found.name() == reason)
        .map_or(0, |(_, count)| count)
}

#[test]
fn a_peered_network_reaches_the_endpoint_as_its_own_clients_do() {
    let peered = r#"
[[virtual_network]]
name = "branch"
address_space = ["10.3.0.0/16"]
[[virtual_network.subnet]]
name = "default"
prefix = "10.3.0.0/24"

[[virtual_network_peering]]
virtual_networks = ["branch", "consumer"]

[[client_vm]]
name = "far"
subnet = "branch/default"
"#;
    let load = workload("w", "rate = \"10/s\"\nstop = \"10s\"");
    let load = load.replace("\"client\"", "\"far\"");
    let summary = run(&format!("{peered}{load}"), &[]);
    assert_eq!(
        (summary.connections.attempted, summary.connections.closed),
        (100, 100)
    );
    assert_eq!(summary.ledger.dropped(), 0);
}

#[test]
fn a_service_in_another_region_is_as_far_away_as_the_table_says() {
    let text = SMALL.replacen(
        "name = \"provider\"",
        "name = \"provider\"\nregion = \"eastus\"",
        1,
    );
    let table = "
[[region_latency]]
between = [\"eastus\", \"westeurope\"]
latency = \"40ms\"
";
    let load = workload("w", "rate = \"1/s\"\nstop = \"3s\"");
    let summary = simulate(&format!("{text}{table}{load}"), &[]).summary;
    // There and back: 50 us + 40 ms + 100 us + 20 us each way.
    assert_eq!(
        summary.workloads[0].connect_latency.min.as_nanos(),
        80_340_000
    );
}

#[test]
fn an_added_nat_ip_serves_the_next_connections() {
    let load = workload(
        "leak",
        "rate = \"10/s\"\nstop = \"4s\"\nclose = \"abandon\"\nsyn_retries = 0",
    );
    let event = "
[[event]]
at = \"2s\"
action = \"add-nat-ip\"
private_link_service = \"service\"
ip_address = \"10.2.0.20\"
";
    let small = ["private_link_service.service.port_range=2000-2009"];
    let without = run(&load, &small);
    assert_eq!(
        (without.connections.established, without.connections.failed),
        (10, 30)
    );
    // Ports 11 to 20 come with the second address at 2 s; connections 21 to 30 take them.
    let with = run(&format!("{load}{event}"), &small);
    assert_eq!(
        (with.connections.established, with.connections.failed),
        (20, 20)
    );
    assert_eq!(
        with.nat
            .iter()
            .filter(|row| row.protocol.name() == "tcp")
            .count(),
        2
    );
}

#[test]
fn a_backend_that_is_down_gets_no_new_flow_and_keeps_its_old_ones() {
    let load = workload("w", "rate = \"100/s\"\nstop = \"20s\"\nhold = \"3s\"");
    let down = "
[[event]]
at = \"10s\"
action = \"backend-down\"
backend_vm = \"vm-0\"
";
    let up = down
        .replace("10s", "15s")
        .replace("backend-down", "backend-up");
    let two = ["backend_vm.vm.count=2"];
    let balanced = run(&load, &two);
    let halved = run(&format!("{load}{down}"), &two);
    let flows = |summary: &Summary| {
        summary
            .backends
            .iter()
            .map(|row| row.new_flows)
            .collect::<Vec<_>>()
    };
    let (all, less) = (flows(&balanced), flows(&halved));
    assert_eq!((all[0] + all[1], less[0] + less[1]), (2_000, 2_000));
    assert!(all[0].abs_diff(1_000) < 100, "{all:?}");
    assert!(less[0].abs_diff(500) < 70, "{less:?}");
    // Nobody was harmed: connections that were open on vm-0 ended in order.
    assert_eq!(halved.connections.closed, 2_000);
    let back = flows(&run(&format!("{load}{down}{up}"), &two));
    assert!(back[0].abs_diff(750) < 90, "{back:?}");
}

#[test]
fn without_a_backend_that_is_up_new_flows_are_dropped_and_old_ones_live() {
    let load = workload(
        "w",
        "rate = \"10/s\"\nstop = \"10s\"\nhold = \"6s\"\nsyn_retries = 0",
    );
    let down = "
[[event]]
at = \"5s\"
action = \"backend-down\"
backend_vm = \"vm\"
";
    let text = format!("{load}{down}");
    for settings in [
        "backend_vm.vm.count=2",
        "load_balancer.balancer.lone_backend=persist",
    ] {
        let summary = run(&text, &[settings]);
        assert_eq!(
            (summary.connections.closed, summary.connections.failed),
            (50, 50)
        );
        assert_eq!(dropped(&summary, "no-healthy-backend"), 50);
    }
    // D-PRB23 promises it "given that a pool has more than one": the 50 that are open hear nothing.
    let alone = run(&text, &[]);
    assert_eq!(
        (alone.connections.closed, alone.connections.failed),
        (0, 50)
    );
    assert!(dropped(&alone, "no-healthy-backend") > 100);
}

#[test]
fn a_port_without_a_rule_gets_no_answer() {
    let load = workload("w", "rate = \"10/s\"\nstop = \"1s\"\nsyn_retries = 1");
    let load = load.replace("port = 443", "port = 444");
    let summary = run(&load, &[]);
    assert_eq!(
        (summary.connections.failed, dropped(&summary, "no-lb-rule")),
        (10, 20)
    );
    assert_eq!(summary.workloads[0].failed_by.timeout, 10);
}

#[test]
fn a_client_without_a_free_port_fails_for_that_reason_and_not_as_nat_exhaustion() {
    let load = workload(
        "leak",
        "rate = \"10/s\"\nstop = \"2s\"\nclose = \"abandon\"",
    );
    let summary = run(&load, &["client_vm.client.ephemeral_ports=40000-40009"]);
    assert_eq!(summary.workloads[0].failed_by.client_ports, 10);
    assert_eq!(
        (summary.connections.established, summary.refusals.len()),
        (10, 0)
    );
}

#[test]
fn udp_flows_have_their_own_port_space() {
    let tcp = workload("tcp", "rate = \"10/s\"\nstop = \"1s\"\nclose = \"abandon\"");
    let udp = workload(
        "udp",
        "protocol = \"udp\"\nrate = \"10/s\"\nstop = \"1s\"\nhold = \"5s\"",
    );
    let small = ["private_link_service.service.port_range=2000-2009"];
    let summary = run(&format!("{tcp}{udp}"), &small);
    assert_eq!(summary.ledger.dropped(), 0);
    let rows: Vec<_> = summary
        .nat
        .iter()
        .map(|row| (row.protocol.name(), row.peak))
        .collect();
    assert_eq!(rows, [("tcp", 10), ("udp", 10)]);
}

#[test]
fn a_silent_idle_timeout_leaves_the_client_to_find_out() {
    let load = workload(
        "w",
        "arrival = \"at-once\"\nconnections = 5\nhold = \"60s\"\nkeepalive = \"20s\"\nretries = 2\norphan_retries = 2",
    );
    let idle = [
        "run.duration=120s",
        "private_link_service.service.idle_timeout=10s",
    ];
    let told = run(&load, &idle);
    assert_eq!(
        (told.connections.idle_expired, told.connections.timed_out),
        (5, 0)
    );
    let silent = [&idle[..], &["private_link_service.service.on_idle=silent"]].concat();
    let silent = run(&load, &silent);
    assert_eq!(
        (
            silent.connections.idle_expired,
            silent.connections.timed_out
        ),
        (0, 5)
    );
    assert!(dropped(&silent, "no-flow") > 0);
}

#[test]
fn a_scanned_idle_timeout_ends_flows_at_the_first_scan_after_it() {
    let load = workload(
        "w",
        "arrival = \"at-once\"\nconnections = 1\nhold = \"900s\"\nstart = \"30s\"",
    );
    let scanned = run(
        &load,
        &[
            "run.duration=1000s",
            "output.interval=100s",
            "private_link_service.service.idle_timeout=240s",
            "private_link_service.service.idle_scan_interval=60s",
        ],
    );
    // Idle from 30.00333 s on; 240 s are over at 270.00333 s, and the next scan is at 300 s.
    let tcp = &scanned.nat[0];
    assert_eq!(
        tcp.first_expired.map(plsim_types::Instant::as_nanos),
        Some(300_000_000_000)
    );
}

#[test]
fn held_ports_are_refused_or_the_oldest_is_reused() {
    let load = workload("short", "rate = \"10/s\"\nstop = \"2s\"\nsyn_retries = 0");
    let small = ["private_link_service.service.port_range=2000-2009"];
    let refused = run(&load, &small);
    assert_eq!(
        (refused.connections.closed, refused.connections.failed),
        (10, 10)
    );
    let reuse = [
        small[0],
        "private_link_service.service.held_ports=reuse-oldest",
    ];
    let reused = run(&load, &reuse);
    assert_eq!(
        (reused.connections.closed, reused.connections.failed),
        (20, 0)
    );
}

#[test]
fn the_endpoint_may_take_from_the_time_to_live() {
    let load = workload("w", "rate = \"10/s\"\nstop = \"1s\"\nsyn_retries = 0");
    let most = run(&load, &["private_endpoint.endpoint.ttl_decrement=63"]);
    assert_eq!(most.connections.closed, 10);
    let all = run(&load, &["private_endpoint.endpoint.ttl_decrement=64"]);
    assert_eq!(
        (all.connections.failed, dropped(&all, "ttl-expired")),
        (10, 10)
    );
}

/// The challenge-ACK trap, end to end. The NAT silently forgets an idle connection and its only
/// port goes to a new one while the server still has the old one: SYN, challenge ACK, RST, SYN
/// again, SYN-ACK. The new connection must live.
#[test]
fn a_reused_port_whose_old_connection_the_server_still_has_becomes_a_live_connection() {
    let old = workload(
        "old",
        "arrival = \"at-once\"\nconnections = 1\nclose = \"abandon\"",
    );
    let new = workload(
        "new",
        "arrival = \"at-once\"\nconnections = 1\nstart = \"15s\"\nhold = \"2s\"",
    );
    let summary = run(
        &format!("{old}{new}"),
        &[
            "private_link_service.service.port_range=2000-2000",
            "private_link_service.service.idle_timeout=10s",
            "private_link_service.service.on_idle=silent",
        ],
    );
    let row = &summary.workloads[1];
    assert_eq!((row.connections.closed, row.connections.failed), (1, 0));
    // The first SYN was answered by a challenge ACK; the second, 1 s later, by a SYN-ACK.
    assert_eq!(row.syn_retransmissions, 1);
    assert!(row.connect_latency.min.as_nanos() > 1_000_000_000);
    assert_eq!(summary.nat[0].binds, 2);
}

#[test]
fn a_lost_packet_is_sent_again_and_every_connection_ends_well() {
    let load = workload(
        "w",
        "rate = \"50/s\"\nstop = \"10s\"\nresponse_size = \"20kB\"",
    );
    let lossy = [
        "run.duration=300s",
        "link.endpoint_edge.loss=0.1",
        "output.interval=100s",
    ];
    let summary = run(&load, &lossy);
    assert_eq!(
        (summary.connections.attempted, summary.connections.closed),
        (500, 500)
    );
    assert_eq!(summary.workloads[0].responses, 500);
    assert!(dropped(&summary, "link-loss") > 500);
}

#[test]
fn any_name_may_be_used_for_anything() {
    let load = workload("w", "rate = \"10/s\"\nstop = \"1s\"");
    let text = format!("{SMALL}{load}");
    let names = [
        "consumer", "provider", "client", "endpoint", "service", "balancer", "vm", "w",
    ];
    for name in ["host", "edge", "backbone", "network", "to", "x-0"] {
        let renamed = names.iter().fold(text.clone(), |text, old| {
            text.replace(&format!("\"{old}\""), &format!("\"{name}\""))
                .replace(&format!("\"{old}/"), &format!("\"{name}/"))
        });
        // One network, for two of them may not share a name; the rest is all called alike.
        let renamed = renamed.replacen(&format!("name = \"{name}\""), "name = \"consumer\"", 1);
        let renamed = renamed.replace(&format!("\"{name}/default\""), "\"consumer/default\"");
        assert_eq!(
            simulate(&renamed, &[]).summary.connections.closed,
            10,
            "{name}"
        );
    }
}

#[test]
fn without_any_latency_nothing_is_lost_to_the_hop_limit() {
    let load = workload(
        "w",
        "rate = \"10/s\"\nstop = \"1s\"\nresponse_size = \"200kB\"",
    );
    let links = ["client_endpoint", "endpoint_edge", "edge_host", "host_vm"];
    let zero: Vec<String> = links
        .iter()
        .map(|link| format!("link.{link}.latency=0s"))
        .collect();
    let zero: Vec<&str> = zero.iter().map(String::as_str).collect();
    let summary = run(&load, &zero);
    assert_eq!(
        (summary.connections.closed, summary.ledger.dropped()),
        (10, 0)
    );
}

#[test]
fn the_edge_remembers_a_flow_as_long_as_the_nat_does() {
    // Keepalives every 250 s, an idle timeout of 240 s that is scanned for every 60 s: bindings
    // live to the scan at 300 s, and so must the edge's memory of a VM that went down.
    let load = workload(
        "w",
        "arrival = \"at-once\"\nconnections = 100\nhold = \"800s\"\nkeepalive = \"250s\"",
    );
    let down = "
[[event]]
at = \"100s\"
action = \"backend-down\"
backend_vm = \"vm-0\"
";
    let summary = run(
        &format!("{load}{down}"),
        &[
            "run.duration=1000s",
            "output.interval=100s",
            "backend_vm.vm.count=4",
            "private_link_service.service.idle_timeout=240s",
            "private_link_service.service.idle_scan_interval=60s",
        ],
    );
    assert_eq!(
        (summary.connections.closed, summary.ledger.dropped()),
        (100, 0)
    );
}

#[test]
fn an_address_that_an_event_will_need_is_not_given_away() {
    let load = workload("w", "rate = \"10/s\"\nstop = \"4s\"");
    let event = "
[[event]]
at = \"2s\"
action = \"add-nat-ip\"
private_link_service = \"service\"
ip_address = \"10.2.0.4\"
";
    let text =
        format!("{SMALL}{load}{event}").replace("nat_ips = [\"10.2.0.10\"]", "nat_ip_count = 1");
    let summary = simulate(&text, &[]).summary;
    let addresses: Vec<String> = summary
        .nat
        .iter()
        .map(|row| row.nat_ip.to_string())
        .collect();
    assert_eq!(addresses, ["10.2.0.5", "10.2.0.5", "10.2.0.4", "10.2.0.4"]);
}

#[test]
fn findings_say_what_happened_and_what_would_help() {
    let load = workload(
        "w",
        "rate = \"10/s\"\nstop = \"3s\"\nclose = \"abandon\"\nsyn_retries = 0",
    );
    let told = |overrides: &[&str]| {
        let findings = run(&load, overrides).findings;
        findings
            .into_iter()
            .map(|finding| finding.what)
            .collect::<Vec<_>>()
    };
    assert_eq!(told(&[]), [""; 0]);
    let ports = "private_link_service.service.port_range=2000-2009";
    assert_eq!(
        told(&[ports]),
        [
            "service: VM vm ran out of tcp ports on NAT IP 10.2.0.10 at 900.65 ms. 20 connections were \
          refused at least once, the first at 1.00065 s: SYNs were dropped without an answer."
        ]
    );
    assert_eq!(
        told(&["backend_vm.vm.vm_flow_limit=5"]),
        [
            "VM vm reached its limit of 5 active connections: 25 connections were refused at least once, \
          the first at 500.65 ms: SYNs were dropped without an answer."
        ]
    );
    let silent = [
        "private_link_service.service.on_idle=silent",
        "private_link_service.service.idle_timeout=10s",
    ];
    assert_eq!(
        told(&silent),
        [
            "service: 30 connections died of silence after the idle timeout of 10 s, and nobody was \
          told: what the ends send afterwards is dropped as no-flow."
        ]
    );
}
