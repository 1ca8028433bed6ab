//! What a run says about VMs that fail, and about pools that change.

use plsim::{MembershipSummary, OutageSummary, Summary};

use crate::support::{SMALL, simulate};

/// Ten new connections in a second, each for 2 s and with one SYN.
const CLIENTS: &str = r#"
[[workload]]
name = "clients"
client_vm = "client"
private_endpoint = "endpoint"
port = 443
rate = "10/s"
stop = "28s"
hold = "2s"
syn_retries = 0
"#;

/// Connections that were there before, and send keepalives.
const LIVING: &str = r#"
[[workload]]
name = "living"
client_vm = "client"
private_endpoint = "endpoint"
port = 443
arrival = "at-once"
connections = 40
hold = "27s"
keepalive = "1s"
retries = 3
"#;

const TWO: &str = "backend_vm.vm.count=2";

/// A probe of the TCP rule: two failures in a row count.
fn probed() -> String {
    let probe = "[[load_balancer.probe]]\nname = \"health\"\nport = 8443\nprobe_threshold = 2\n\n";
    let rules = SMALL.replacen(
        "[[load_balancer.rule]]",
        &format!("{probe}[[load_balancer.rule]]"),
        1,
    );
    rules.replacen(
        "backend_port = 8443",
        "backend_port = 8443\nprobe = \"health\"",
        1,
    )
}

fn event(at: &str, action: &str, more: &str) -> String {
    format!("\n[[event]]\nat = \"{at}\"\naction = \"{action}\"\nbackend_vm = \"vm-0\"\n{more}\n")
}

fn findings(summary: &Summary) -> Vec<&str> {
    let found = summary.findings.iter();
    found.map(|finding| finding.what.as_str()).collect()
}

/// Returns the only outage and the only finding of a run.
fn only(summary: &Summary) -> (&OutageSummary, &plsim::Finding) {
    match (summary.outages.as_slice(), summary.findings.as_slice()) {
        ([outage], [finding]) => (outage, finding),
        other => panic!("{other:?}"),
    }
}

fn change<'a>(summary: &'a Summary, cause: &str) -> &'a MembershipSummary {
    let mut rows = summary.membership_changes.iter();
    let row = rows.find(|row| row.cause == cause);
    row.unwrap_or_else(|| panic!("{:?}", summary.membership_changes))
}

#[test]
fn a_dead_vm_behind_a_rule_without_a_probe_is_found_out() {
    let stopped = event("10s", "change-vm", "state = \"stopped\"");
    let summary = simulate(&format!("{SMALL}{CLIENTS}{LIVING}{stopped}"), &[TWO]).summary;
    let (outage, finding) = only(&summary);
    assert!(outage.lost > 20 && outage.unanswered > 50, "{outage:?}");
    let sum = summary.connections;
    assert_eq!((sum.reset, sum.failed), (outage.lost, outage.unanswered));
    assert_eq!(
        finding.what,
        format!(
            "VM vm-0 was stopped from 10 s to the end: {} connections were reset, {} new ones were \
             left without an answer. It kept getting new connections: rule tcp has no probe.",
            outage.lost, outage.unanswered
        )
    );
    assert!(
        finding.help[0].starts_with("Add a [[load_balancer.probe]], and name it in rule tcp"),
        "{finding:?}"
    );
    // Where there is one already, it is named.
    let only_tcp = probed().replacen("probe = \"health\"", "", 1);
    let summary = simulate(&format!("{only_tcp}{CLIENTS}{stopped}"), &[TWO]).summary;
    assert!(
        only(&summary).1.help[0].starts_with("Add probe = \"health\" to rule tcp."),
        "{:?}",
        summary.findings
    );
}

#[test]
fn a_flapping_vm_that_its_probe_misses_is_found_out() {
    let flaps = event(
        "1s",
        "change-vm",
        "flapping = { up = \"7s\", down = \"3s\" }",
    );
    let text = format!("{}{CLIENTS}{flaps}", probed());
    let summary = simulate(
        &text,
        &[TWO, "run.duration=60s", "workload.clients.stop=58s"],
    )
    .summary;
    let (outage, finding) = only(&summary);
    assert!(outage.refused > 20 && outage.lost > 10, "{outage:?}");
    assert_eq!((outage.found_after, summary.probes[0].went_down), (None, 0));
    assert!(outage.failed_probes > 2, "{outage:?}");
    assert!(
        finding.what.contains(&format!(
            "Probe balancer/health failed {} times, never 2 in a row: the VM stayed in.",
            outage.failed_probes
        )),
        "{finding:?}"
    );
    assert_eq!(
        summary.connections.failed, outage.refused,
        "no probe among them"
    );
    assert!(
        finding
            .help
            .iter()
            .any(|help| help.contains("Lower probe_threshold"))
    );
}

#[test]
fn an_outage_that_harmed_nobody_has_a_row_and_no_finding() {
    let blocked = event("10s", "change-vm", "probe_blocked = true");
    let summary = simulate(&format!("{}{CLIENTS}{blocked}", probed()), &[TWO]).summary;
    assert!(summary.findings.is_empty(), "{:?}", summary.findings);
    let [outage] = summary.outages.as_slice() else {
        panic!("{:?}", summary.outages)
    };
    assert_eq!(outage.found_by.as_deref(), Some("balancer/health"));
    assert_eq!((outage.ailment.name(), outage.harm()), ("probe-blocked", 0));
}

#[test]
fn each_outage_says_whom_it_harmed_and_when_it_was_noticed() {
    let faults = [
        event("6s", "change-vm", "state = \"not-listening\""),
        event("12s", "change-vm", "state = \"running\""),
        event("21s", "change-vm", "state = \"crashed\""),
        event("40s", "restart-vm", ""),
    ];
    let text = format!("{}{CLIENTS}{}", probed(), faults.concat());
    let overrides = [TWO, "run.duration=60s", "workload.clients.stop=58s"];
    let summary = simulate(&text, &overrides).summary;
    let [gone, hung] = summary.outages.as_slice() else {
        panic!("{:?}", summary.outages)
    };
    // Asked at 10 s: one failure is not enough. Then at 25 s and 30 s, with 5 s each to answer.
    assert_eq!((gone.found_after, gone.unanswered), (None, 0));
    assert!(
        gone.refused > 10 && hung.unanswered > 20,
        "{gone:?} {hung:?}"
    );
    assert_eq!(hung.found_after.unwrap().as_nanos(), 14_000_000_000);
    assert_eq!(hung.back.unwrap().as_nanos() / 1_000_000_000, 45);
    assert_eq!(summary.connections.failed, gone.refused + hung.unanswered);
    let told = findings(&summary);
    assert!(
        told[0].starts_with("VM vm-0 did not listen from 6 s to 12 s: "),
        "{told:?}"
    );
    assert!(
        told[1].starts_with("VM vm-0 hung from 21 s to 40 s: ")
            && told[1].ends_with("took it out after 14 s and let it in again at 45 s."),
        "{told:?}"
    );
}

#[test]
fn a_healthy_vm_that_joins_is_not_said_to_have_been_taken_out() {
    let spare =
        "\n[[backend_vm]]\nname = \"spare\"\nsubnet = \"provider/backend\"\nbackend_pools = []\n";
    let joins =
        event("6s", "add-backend", "backend_pool = \"balancer/pool\"").replace("vm-0", "spare");
    let text = format!("{}{spare}{CLIENTS}{joins}", probed());
    let summary = simulate(&text, &[]).summary;
    assert!(summary.findings.is_empty(), "{:?}", summary.findings);
    let spare = summary.probes.iter().find(|row| row.backend == "spare");
    assert_eq!(spare.unwrap().went_down, 0);
    let causes = summary.membership_changes.iter();
    let tcp: Vec<_> = causes.map(|row| (row.cause, row.eligible)).collect();
    // One row for the rule with the probe, where it waits until 15 s, and one for the rule without.
    assert_eq!(tcp, [("added", 1), ("added", 2), ("probe", 2)]);
}

#[test]
fn kept_counts_live_connections() {
    let drains = event("20s", "remove-backend", "");
    let text = format!("{SMALL}{CLIENTS}{LIVING}{drains}");
    let summary = simulate(&text, &[TWO]).summary;
    let flows: u64 = summary.nat.iter().map(|row| row.binds).sum();
    let kept = change(&summary, "removed").kept;
    assert!(flows > 200 && (20..60).contains(&kept), "{kept} of {flows}");
    // A VM that was stopped keeps nobody, though all its flows are remembered.
    let stops = event("20s", "change-vm", "state = \"stopped\"");
    let summary = simulate(&format!("{}{CLIENTS}{LIVING}{stops}", probed()), &[TWO]).summary;
    assert_eq!(change(&summary, "stopped").kept, 0);
    let row = &summary.probes[0];
    assert_eq!((row.is_stopped, row.went_down, row.failed), (true, 0, 0));
}

#[test]
fn every_event_about_a_pool_has_a_row_and_a_drain_says_what_it_cost() {
    let steps = [
        event("5s", "drain-backend", "drain_period = \"5s\""),
        event("10s", "change-vm", "state = \"stopped\""),
        event("14s", "change-vm", "state = \"running\""),
        event("14s", "add-backend", "backend_pool = \"balancer/pool\""),
    ];
    let udp = "protocol = \"udp\"\nfrontend_port = 443\nbackend_port = 8443";
    let text = probed().replace(udp, &format!("{udp}\nprobe = \"health\""));
    let text = format!("{text}{LIVING}{}", steps.concat());
    let summary = simulate(&text, &[TWO]).summary;
    let rows: Vec<_> = summary
        .membership_changes
        .iter()
        .map(|row| (row.at.as_nanos() / 1_000_000_000, row.cause, row.eligible))
        .collect();
    assert_eq!(
        rows,
        [
            (5, "draining", 1),
            (10, "drained", 1),
            (14, "added", 1),
            (20, "probe", 2)
        ]
    );
    let reset = change(&summary, "drained").reset;
    assert_eq!(u64::from(reset), summary.connections.reset);
    assert_eq!(change(&summary, "draining").kept, reset);
    assert_eq!(
        findings(&summary),
        [format!(
            "{reset} connections were still open when the time to drain was over, and were reset: \
             {reset} of vm-0 at 10 s."
        )],
        "a planned stop of an empty VM is none"
    );
}

#[test]
fn what_brings_a_pool_back_fits_the_reason_why_it_is_empty() {
    let remedy = |events: String| {
        let summary = simulate(&format!("{}{CLIENTS}{events}", probed()), &[]).summary;
        let found = summary.findings.iter();
        let mut found = found.filter(|finding| finding.what.contains("no-healthy-backend"));
        found.next().unwrap().help.concat()
    };
    let all = |action: &str, more: &str| event("10s", action, more).replace("vm-0", "vm");
    for (events, words) in [
        (all("remove-backend", ""), "add-backend"),
        (
            all("set-admin-state", "admin_state = \"down\""),
            "set to down",
        ),
        (all("backend-down", ""), "backend-up"),
        (all("change-vm", "state = \"stopped\""), "are stopped"),
        (all("change-vm", "state = \"crashed\""), "AllProbedUp"),
    ] {
        let help = remedy(events);
        assert!(help.contains(words), "{help}");
    }
}

#[test]
fn nobody_fails_without_a_finding() {
    let lossy = "\n[link.endpoint_edge]\nloss = 0.2\n";
    let summary = simulate(&format!("{SMALL}{CLIENTS}{lossy}"), &[]).summary;
    assert!(summary.connections.failed > 0);
    let told = findings(&summary);
    assert_eq!(told.len(), 1);
    assert!(told[0].starts_with("Of 280 connections, "), "{told:?}");
    assert!(told[0].ends_with("(workload clients)."), "{told:?}");
}
