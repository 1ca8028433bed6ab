//! The two idle timers through the whole path: the matrix of docs/idle-timeouts.md (D-RST20, DP-5),
//! and what runs and `validate` say of the ceiling.

use std::fs;

use plsim::Summary;
use plsim_types::Protocol;

use crate::support::{SMALL, root, run, scenario, simulate, text};

/// One client, one connection, and a packet of it after so many seconds of silence. Of the two VMs
/// only the first is in the choice when the connection begins.
fn silent_for(seconds: &str) -> String {
    format!(
        r#"
[[workload]]
name = "w"
client_vm = "client"
private_endpoint = "endpoint"
port = 443
connections = 1
arrival = "at-once"
hold = "320s"
keepalive = "{seconds}s"
retries = 3

[[event]]
at = "0s"
action = "backend-down"
backend_vm = "vm-1"
"#
    )
}

const CHANGE: &str = r#"
[[event]]
at = "100s"
action = "backend-up"
backend_vm = "vm-1"
[[event]]
at = "100s"
action = "backend-down"
backend_vm = "vm-0"
"#;

/// A row of a table: rule, TCP reset, pool changes, and what becomes of the packet at each time.
fn rows(action: &str) -> Vec<[String; 6]> {
    let page = fs::read_to_string(root().join("docs/idle-timeouts.md")).unwrap();
    let (_, section) = page
        .split_once(&format!("\n## `lb_idle_action = \"{action}\"`"))
        .unwrap();
    let section = section.split("\n## ").next().unwrap();
    let lines = section.lines().filter(|line| line.starts_with("| "));
    lines
        .skip(1)
        .map(|line| {
            let cells = line.trim_matches('|').split(" | ");
            let cells: Vec<String> = cells.map(|cell| cell.trim().to_owned()).collect();
            cells.try_into().unwrap()
        })
        .collect()
}

/// Says in the words of the page what became of the one connection.
fn verdict(summary: &Summary) -> String {
    let dropped = ["lb-idle", "no-flow"].into_iter().find(|reason| {
        let mut drops = summary.ledger.drops();
        drops.any(|(found, count)| found.name() == *reason && count > 0)
    });
    let spaces = summary.nat.iter();
    let ended = spaces
        .filter_map(|row| row.first_lb_idle.or(row.first_expired))
        .min();
    let connections = &summary.connections;
    let (lb, nat) = (
        summary.ledger.injected_by.lb,
        summary.ledger.injected_by.nat,
    );
    match (connections.closed, connections.idle_expired, dropped) {
        (1, 0, None) => {
            assert_eq!((lb, nat), (0, 0));
            "answered".to_owned()
        }
        (0, 1, dropped) => {
            let at = ended.unwrap().as_nanos() / 1_000_000_000;
            // The rule's timer acts for the load balancer, the service's for the NAT.
            assert_eq!((lb, nat), if at == 240 { (2, 0) } else { (0, 2) });
            let before = dropped.map_or(String::new(), |reason| format!("{reason}, "));
            format!("{before}reset at {at} s")
        }
        (0, 0, Some(reason)) => {
            assert_eq!((connections.timed_out, lb, nat), (1, 0, 0));
            reason.to_owned()
        }
        other => panic!("{other:?}"),
    }
}

fn matrix(action: &str) {
    let rows = rows(action);
    assert_eq!(rows.len(), 8);
    let mut seen = Vec::new();
    for [rule, reset, changes, expected @ ..] in &rows {
        let is = |word: &str| match word {
            "yes" => true,
            "no" => false,
            other => panic!("{other}"),
        };
        seen.push((rule.as_str(), is(reset), is(changes)));
        for (silence, expected) in ["230", "270", "310"].into_iter().zip(expected) {
            let change = if is(changes) { CHANGE } else { "" };
            let summary = simulate(
                &format!("{SMALL}{}{change}", silent_for(silence)),
                &[
                    "run.duration=900s",
                    "backend_vm.vm.count=2",
                    &format!("load_balancer.balancer.lb_idle_action={action}"),
                    &format!(
                        "load_balancer.balancer.rule.tcp.idle_timeout={}",
                        rule.replace(' ', "")
                    ),
                    &format!(
                        "load_balancer.balancer.rule.tcp.enable_tcp_reset={}",
                        is(reset)
                    ),
                ],
            );
            let cell = format!("{action}, {rule}, reset {reset}, change {changes}, {silence} s");
            assert_eq!(verdict(&summary.summary), *expected, "{cell}");
        }
    }
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), 8, "every combination once");
}

#[test]
fn the_24_cells_of_a_load_balancer_that_drops() {
    matrix("drop");
}

#[test]
fn the_24_cells_of_a_load_balancer_that_forgets() {
    matrix("forget");
}

/// (ceiling in seconds, who sets it, what the client hears) of the rule named `tcp`.
fn ceiling(overrides: &[&str]) -> (u64, &'static str, &'static str) {
    let summary = simulate(SMALL, overrides).summary;
    let mut rows = summary.idle.iter();
    let row = rows.find(|row| row.protocol == Protocol::Tcp).unwrap();
    assert_eq!((row.pls.as_str(), row.rule.as_str()), ("service", "tcp"));
    let seconds = row.ceiling().as_nanos() / 1_000_000_000;
    (seconds, row.set_by.name(), row.heard.name())
}

#[test]
fn udp_has_the_services_own_time_and_tells_nobody() {
    let udp = "private_link_service.service.udp_idle_timeout=100s";
    let workload = "\n[[workload]]\nname = \"dns\"\nclient_vm = \"client\"\n\
                    private_endpoint = \"endpoint\"\nport = 443\nprotocol = \"udp\"\nrate = \"1/s\"\n";
    let idle = |text: &str| simulate(text, &[udp]).summary.idle;
    assert!(
        idle(SMALL).iter().all(|row| row.protocol == Protocol::Tcp),
        "nobody asks"
    );
    let rows = idle(&format!("{SMALL}{workload}"));
    let [row] = rows
        .iter()
        .filter(|row| row.protocol == Protocol::Udp)
        .collect::<Vec<_>>()[..]
    else {
        panic!("{rows:?}");
    };
    assert_eq!(row.ceiling().as_nanos(), 100_000_000_000);
    assert_eq!(
        (row.set_by.name(), row.heard.name()),
        ("service", "silence")
    );
}

#[test]
fn the_ceiling_is_the_shorter_timer_and_says_what_the_client_hears() {
    let rule = "load_balancer.balancer.rule.tcp.idle_timeout=4min";
    let reset = "load_balancer.balancer.rule.tcp.enable_tcp_reset=true";
    let forget = "load_balancer.balancer.lb_idle_action=forget";
    let short = "private_link_service.service.idle_timeout=200s";
    let silent = "private_link_service.service.on_idle=silent";
    let late = "private_link_service.service.late_packets=reset";
    assert_eq!(ceiling(&[rule]), (240, "rule", "silence"));
    assert_eq!(ceiling(&[rule, reset]), (240, "rule", "reset"));
    assert_eq!(ceiling(&[rule, forget]), (300, "service", "reset"));
    assert_eq!(ceiling(&[rule, forget, reset]), (240, "rule", "reset"));
    assert_eq!(ceiling(&[rule, short]), (200, "service", "reset"));
    assert_eq!(ceiling(&[]), (300, "service", "reset"));
    assert_eq!(ceiling(&[silent]), (300, "service", "silence"));
    assert_eq!(
        ceiling(&[silent, late]),
        (300, "service", "reset-when-it-sends")
    );
}

#[test]
fn run_and_validate_show_the_ceiling() {
    let file = scenario("idle-240-vs-300");
    let file = file.to_str().unwrap();
    for command in [&["validate", file][..], &["run", "--no-expect", file]] {
        let shown = text(&run(command).stdout);
        for line in [
            "default            240 s  the rule (service: 300 s)",
            "with-reset         240 s  the rule (service: 300 s)",
            "half-an-hour       300 s  the service (rule: 1800 s)",
        ] {
            assert!(shown.contains(line), "{line} is not in\n{shown}");
        }
    }
    let quiet = run(&["validate", "--quiet", file]);
    assert_eq!(text(&quiet.stdout), "");
}

#[test]
fn a_finding_says_who_was_dropped_and_what_would_help() {
    let text = format!("{SMALL}{}", silent_for("300"));
    let rule = "load_balancer.balancer.rule.tcp.idle_timeout=4min";
    let overrides = ["run.duration=900s", "backend_vm.vm.count=2", rule];
    let findings = simulate(&text, &overrides).summary.findings;
    let finding = findings
        .iter()
        .find(|finding| finding.what.contains("load balancer dropped"))
        .unwrap();
    assert_eq!(
        finding.what,
        "service: the load balancer dropped 1 connection after the idle timeout of 240 s of rule tcp; nobody was told, and what the ends send afterwards is dropped as lb-idle. No request was lost to that."
    );
    assert!(finding.help.iter().any(|help| help.contains("below 240 s")));
    // The service's own timer has nothing to tell of it.
    assert!(
        findings
            .iter()
            .all(|it| !it.what.contains("died of silence"))
    );
}
