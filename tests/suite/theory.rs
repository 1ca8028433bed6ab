//! Results against theory: exact where theory is exact, within stated errors elsewhere.

use crate::support::{SMALL, simulate};

/// Abandoned connections at a constant rate against an idle timeout of 300 s: the first refusal
/// comes exactly when theory says, or never.
#[test]
fn a_constant_rate_exhausts_the_ports_exactly_when_theory_says() {
    // A tenth of a second per connection, 100 ports, idle timeout 20 s: 5/s is the limit.
    let text = |rate: &str| {
        format!(
            "{SMALL}
[[workload]]
name = \"leak\"
client_vm = \"client\"
private_endpoint = \"endpoint\"
port = 443
rate = \"{rate}\"
close = \"abandon\"
"
        )
    };
    let small = [
        "private_link_service.service.port_range=2000-2099",
        "private_link_service.service.idle_timeout=20s",
    ];
    let summary = simulate(&text("10/s"), &small).summary;
    // Connection 101 starts at 10 s; connection 100 took the last port at 9.9 s.
    assert_eq!(
        summary.nat[0].first_exhausted.unwrap().as_nanos(),
        9_900_650_000
    );
    assert_eq!(summary.refusals[0].first.as_nanos(), 10_000_650_000);
    // At 4.9/s the first port is back, 20 s after its last packet, before the 100th is needed.
    let summary = simulate(&text("4.9/s"), &small).summary;
    assert_eq!(
        (summary.nat[0].bind_failures, summary.refusals.len()),
        (0, 0)
    );
}

/// A connection of one second whose port rests for 65 s: the rate a port space can carry is
/// ports / (1 s + 65 s).
#[test]
fn the_hold_down_limits_the_rate_of_short_connections() {
    let text = |rate: &str| {
        format!(
            "{SMALL}
[[workload]]
name = \"short\"
client_vm = \"client\"
private_endpoint = \"endpoint\"
port = 443
rate = \"{rate}\"
hold = \"1s\"
syn_retries = 0
"
        )
    };
    // 660 ports carry 10 connections a second, less the round trips.
    let small = [
        "run.duration=200s",
        "private_link_service.service.port_range=2000-2659",
    ];
    assert_eq!(
        simulate(&text("9.9/s"), &small).summary.connections.failed,
        0
    );
    assert!(simulate(&text("10.1/s"), &small).summary.connections.failed > 0);
}

/// An even hash over four VMs: a chi-square value with three degrees of freedom stays below 16.3
/// with probability 0.999.
#[test]
fn the_load_balancer_spreads_flows_evenly() {
    let text = format!(
        "{SMALL}
[[workload]]
name = \"many\"
client_vm = \"client\"
private_endpoint = \"endpoint\"
port = 443
rate = \"1000/s\"
connections = 20000
"
    );
    let summary = simulate(&text, &["backend_vm.vm.count=4"]).summary;
    let flows: Vec<u64> = summary.backends.iter().map(|row| row.new_flows).collect();
    assert_eq!(flows.iter().sum::<u64>(), 20_000);
    #[expect(clippy::cast_precision_loss, reason = "counts far below 2^53")]
    let chi_square: f64 = flows.iter().map(|&n| (n as f64 - 5e3).powi(2) / 5e3).sum();
    assert!(chi_square < 16.3, "{flows:?}");
}
