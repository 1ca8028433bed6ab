//! What must not change a result.

use crate::support::{SMALL, simulate};

const STEADY: &str = r#"
[[workload]]
name = "steady"
client_vm = "client"
private_endpoint = "endpoint"
port = 443
rate = "50/s"
stop = "20s"
hold = "1s"
"#;

#[test]
fn every_run_ends_with_balanced_books() {
    // The library refuses to end otherwise; here with loss, a full queue and refused connections.
    let text = format!("{SMALL}{STEADY}");
    let harsh = [
        "link.endpoint_edge.loss=0.2",
        "link.host_vm.bandwidth=200kbps",
        "link.host_vm.queue_limit=2kB",
        "private_link_service.service.port_range=2000-2099",
    ];
    let summary = simulate(&text, &harsh).summary;
    let ledger = &summary.ledger;
    assert_eq!(
        ledger.injected(),
        ledger.delivered + ledger.dropped() + ledger.merged + summary.in_flight
    );
    let reasons: Vec<&str> = ledger.drops().map(|(reason, _)| reason.name()).collect();
    for reason in ["nat-ports-exhausted", "link-loss", "link-queue-full"] {
        assert!(reasons.contains(&reason), "{reasons:?}");
    }
}

#[test]
fn an_endpoint_that_sends_nothing_changes_nothing() {
    let text = format!("{SMALL}{STEADY}");
    let lossy = ["link.endpoint_edge.loss=0.1"];
    let alone = simulate(&text, &lossy).summary;
    let silent = r#"
[[private_endpoint]]
name = "a-silent-one"
subnet = "consumer/default"
private_link_service = "service"
"#;
    let joined = simulate(&format!("{text}{silent}"), &lossy).summary;
    assert_eq!(alone.digest.to_string(), joined.digest.to_string());
}

#[test]
fn the_order_of_independent_sections_changes_nothing() {
    let other = STEADY.replace("steady", "other").replace("50/s", "30/s");
    let client = r#"
[[client_vm]]
name = "second"
subnet = "consumer/default"
ip_address = "10.1.0.5"
"#;
    let other = other.replace("\"client\"", "\"second\"");
    let lossy = ["link.endpoint_edge.loss=0.1"];
    let one = simulate(&format!("{SMALL}{client}{STEADY}{other}"), &lossy).summary;
    let two = simulate(&format!("{SMALL}{other}{STEADY}{client}"), &lossy).summary;
    assert_eq!(one.digest.to_string(), two.digest.to_string());
}

/// With chance at work in one of them: its stream must not depend on what stands before it.
#[test]
fn the_order_of_workloads_and_services_changes_nothing() {
    let poisson = STEADY.replace("rate =", "arrival = \"poisson\"\nrate =");
    let other = STEADY
        .replace("steady", "other")
        .replace("port = 443", "port = 444");
    let service = r#"
[[private_link_service]]
name = "z-first"
load_balancer_frontend = "balancer/second"
nat_subnet = "provider/nat"
nat_ips = ["10.2.0.20"]
"#;
    let frontend = r#"
[[load_balancer.frontend]]
name = "second"
subnet = "provider/backend"
"#;
    let base = SMALL.replacen(
        "[[load_balancer.backend_pool]]",
        &format!("{frontend}\n[[load_balancer.backend_pool]]"),
        1,
    );
    // The second service before the first one, or after it.
    let before = base.replacen(
        "[[private_link_service]]",
        &format!("{service}\n[[private_link_service]]"),
        1,
    );
    let one = simulate(&format!("{before}{poisson}{other}"), &[]).summary;
    let two = simulate(&format!("{base}{other}{poisson}{service}"), &[]).summary;
    assert_eq!(one.connections, two.connections);
    assert_eq!(one.digest.to_string(), two.digest.to_string());
}

#[test]
fn names_change_no_count_in_a_run_without_randomness() {
    let text = format!("{SMALL}{STEADY}");
    let renamed = text
        .replace("\"client\"", "\"zz\"")
        .replace("endpoint\"", "aa\"");
    let counts = |text: &str| {
        let summary = simulate(text, &[]).summary;
        (
            summary.ledger.injected(),
            summary.connections,
            summary.nat[0].peak,
        )
    };
    assert_eq!(counts(&text), counts(&renamed));
}

#[test]
fn totals_without_randomness_are_equal_across_seeds() {
    let text = format!("{SMALL}{STEADY}");
    let totals = |seed: &str| {
        let summary = simulate(&text, &[&format!("run.seed={seed}")]).summary;
        (summary.ledger.injected(), summary.connections)
    };
    assert_eq!(totals("1"), totals("2"));
}

#[test]
fn what_happened_before_does_not_depend_on_when_the_run_ends() {
    let text = format!("{SMALL}{STEADY}");
    let lossy = "link.endpoint_edge.loss=0.1";
    let short = simulate(
        &text,
        &[lossy, "run.duration=10s", "workload.steady.stop=9s"],
    )
    .summary;
    let long = simulate(
        &text,
        &[lossy, "run.duration=20s", "workload.steady.stop=9s"],
    )
    .summary;
    assert_eq!(short.connections.attempted, long.connections.attempted);
    assert!(short.ledger.injected() <= long.ledger.injected());
}
