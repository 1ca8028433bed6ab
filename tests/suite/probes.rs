//! Health probes through the whole path: what they find, when, and what happens to traffic then.

use plsim::{ProbeSummary, Summary};

use crate::support::{SMALL, simulate};

/// Two VMs behind rules for TCP and UDP with one probe each 5 s, and three kinds of traffic:
/// connections that live, datagrams that go on, and, from `NEW` on, new connections.
fn scenario(probe: &str) -> String {
    let section = format!("[[load_balancer.probe]]\nname = \"probe\"\n{probe}\n\n");
    let rules = SMALL.replacen(
        "[[load_balancer.rule]]",
        &format!("{section}[[load_balancer.rule]]"),
        1,
    );
    let rules = rules.replace(
        "backend_port = 8443",
        "backend_port = 8443\nprobe = \"probe\"",
    );
    rules.replace("name = \"vm\"", "name = \"vm\"\ncount = 2")
}

const HTTP: &str = "protocol = \"http\"\nport = 8080\nrequest_path = \"/healthz\"";
const TCP: &str = "port = 8443";

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

[[workload]]
name = "datagrams"
client_vm = "client"
private_endpoint = "endpoint"
port = 443
protocol = "udp"
arrival = "at-once"
connections = 40
hold = "27s"
interval = "1s"
response_timeout = "500ms"
"#;

const NEW: &str = r#"
[[workload]]
name = "new"
client_vm = "client"
private_endpoint = "endpoint"
port = 443
rate = "10/s"
start = "16s"
stop = "20s"
syn_retries = 0
"#;

/// An event that changes a VM, or both with the name `vm`.
fn change(at: &str, vm: &str, what: &str) -> String {
    format!("\n[[event]]\nat = \"{at}\"\naction = \"change-vm\"\nbackend_vm = \"{vm}\"\n{what}\n")
}

fn dropped(summary: &Summary, reason: &str) -> u64 {
    let mut drops = summary.ledger.drops();
    drops
        .find(|(found, _)| found.name() == reason)
        .map_or(0, |(_, count)| count)
}

/// (attempted, closed, reset, timed out, failed) of a workload.
fn fate(summary: &Summary, name: &str) -> [u64; 5] {
    let row = summary.workloads.iter().find(|row| row.name == name);
    let sum = row.unwrap().connections;
    [
        sum.attempted,
        sum.closed,
        sum.reset,
        sum.timed_out,
        sum.failed,
    ]
}

/// Ports that flows of a protocol got on a VM.
fn binds(summary: &Summary, vm: &str, protocol: &str) -> u64 {
    let rows = summary.nat.iter();
    let rows = rows.filter(|row| row.backend == vm && row.protocol.name() == protocol);
    rows.map(|row| row.binds).sum()
}

fn probe<'a>(summary: &'a Summary, vm: &str) -> &'a ProbeSummary {
    let mut rows = summary.probes.iter();
    rows.find(|row| row.backend == vm).unwrap()
}

fn responses(summary: &Summary, name: &str) -> (u64, u64) {
    let row = summary.workloads.iter().find(|row| row.name == name);
    row.map(|row| (row.requests, row.responses)).unwrap()
}

/// Runs a scenario with an event, and without it.
fn with_and_without(probe: &str, event: &str) -> (Summary, Summary) {
    let base = format!("{}{LIVING}", scenario(probe));
    let with = simulate(&format!("{base}{NEW}{event}"), &[]).summary;
    let without = simulate(&base, &[]).summary;
    (with, without)
}

// The table of events, line by line.

#[test]
fn d_prb23_one_probe_down_established_stay_new_and_udp_go_to_the_other() {
    let event = change("7s", "vm-0", "probe_status = 503");
    let (summary, calm) = with_and_without(HTTP, &event);
    assert_eq!(
        probe(&summary, "vm-0").first_down.unwrap().as_nanos(),
        10_000_080_000
    );
    assert_eq!(fate(&summary, "living"), [40, 40, 0, 0, 0]);
    assert_eq!(fate(&summary, "new"), [40, 40, 0, 0, 0]);
    let old = binds(&calm, "vm-0", "tcp");
    assert!((10..30).contains(&old), "{old}");
    assert_eq!(binds(&summary, "vm-0", "tcp"), old, "no new connection");
    assert_eq!(binds(&summary, "vm-1", "tcp"), 80 - old);
    // Every flow of datagrams was on the other VM in the end, and none went unanswered.
    assert_eq!(binds(&summary, "vm-1", "udp"), 40);
    assert_eq!(binds(&summary, "vm-0", "udp"), binds(&calm, "vm-0", "udp"));
    assert_eq!(fate(&summary, "datagrams"), [40, 40, 0, 0, 0]);
    assert_eq!(
        responses(&summary, "datagrams"),
        responses(&calm, "datagrams")
    );
}

#[test]
fn d_prb23_all_probes_down_established_go_on_nothing_new_passes_udp_ends() {
    let event = change("7s", "vm", "probe_status = 503");
    let (summary, _) = with_and_without(HTTP, &event);
    assert_eq!(fate(&summary, "living"), [40, 40, 0, 0, 0]);
    assert_eq!(fate(&summary, "new"), [40, 0, 0, 0, 40]);
    let silent = summary.workloads.iter().find(|row| row.name == "new");
    assert_eq!(silent.unwrap().failed_by.timeout, 40, "nobody answers");
    assert_eq!(fate(&summary, "datagrams"), [40, 0, 0, 40, 0]);
    // Datagrams of 0 s to 9 s were answered; those of 10 s reach the edge just after the verdict.
    assert_eq!(responses(&summary, "datagrams"), (40 * 11, 40 * 10));
    assert_eq!(dropped(&summary, "no-healthy-backend"), 80);
}

#[test]
fn api_all_probes_down_with_all_probed_up_everything_goes_on_over_all() {
    let up = format!("{HTTP}\nno_healthy_backends_behavior = \"AllProbedUp\"");
    let event = change("7s", "vm", "probe_status = 503");
    let (summary, calm) = with_and_without(&up, &event);
    assert_eq!(probe(&summary, "vm-0").went_down, 1);
    for name in ["living", "new", "datagrams"] {
        assert_eq!(fate(&summary, name), [40, 40, 0, 0, 0], "{name}");
    }
    for vm in ["vm-0", "vm-1"] {
        let new = binds(&summary, vm, "tcp") - binds(&calm, vm, "tcp");
        assert!((10..30).contains(&new), "{vm}: {new}");
    }
    assert_eq!(dropped(&summary, "no-healthy-backend"), 0);
}

#[test]
fn a_crashed_vm_sends_no_reset_and_loses_new_flows_until_the_probes_time_out() {
    let event = change("7s", "vm-0", "state = \"crashed\"");
    let (summary, calm) = with_and_without(HTTP, &event);
    // The attempt of 10 s takes 5 s to fail.
    let row = probe(&summary, "vm-0");
    assert_eq!(row.first_down.unwrap().as_nanos(), 15_000_000_000);
    assert_eq!(row.detected_after.unwrap().as_nanos(), 8_000_000_000);
    let old = binds(&calm, "vm-0", "tcp");
    assert_eq!(
        fate(&summary, "living"),
        [40, 40 - old, 0, old, 0],
        "silence, no reset"
    );
    assert_eq!(fate(&summary, "new"), [40, 40, 0, 0, 0], "after 15 s");
    // Before, new connections are lost that the hash sends there.
    let early = NEW.replace("16s", "8s").replace("20s", "12s");
    let text = format!("{}{LIVING}{early}{event}", scenario(HTTP));
    let early = simulate(&text, &[]).summary;
    let lost = fate(&early, "new")[4];
    assert!((10..30).contains(&lost), "{lost}");
    // Datagrams, too: each flow on the dead VM gives up.
    let flows = binds(&calm, "vm-0", "udp");
    assert_eq!(fate(&summary, "datagrams"), [40, 40 - flows, 0, flows, 0]);
}

#[test]
fn datagrams_reach_another_vm_once_the_crashed_one_is_found() {
    let patient = LIVING.replace("500ms", "20s");
    let event = change("7s", "vm-0", "state = \"crashed\"");
    let text = format!("{}{patient}{event}", scenario(HTTP));
    let late = "
[[workload]]
name = \"late\"
client_vm = \"client\"
private_endpoint = \"endpoint\"
port = 443
protocol = \"udp\"
rate = \"10/s\"
start = \"15s\"
stop = \"20s\"
";
    let summary = simulate(&format!("{text}{late}"), &[]).summary;
    assert_eq!(fate(&summary, "late"), [50, 50, 0, 0, 0]);
}

#[test]
fn d_prb23_a_blocked_probe_takes_the_vm_down_although_it_serves() {
    let event = change("7s", "vm-0", "probe_blocked = true");
    let (summary, calm) = with_and_without(HTTP, &event);
    let row = probe(&summary, "vm-0");
    assert_eq!(row.first_down.unwrap().as_nanos(), 15_000_000_000);
    assert_eq!(row.failed_by[0], row.failed, "all for want of an answer");
    for name in ["living", "new"] {
        assert_eq!(fate(&summary, name), [40, 40, 0, 0, 0], "{name}");
    }
    assert_eq!(binds(&summary, "vm-0", "tcp"), binds(&calm, "vm-0", "tcp"));
    assert_eq!(binds(&summary, "vm-1", "udp"), 40);
    // The SYN of each attempt since 10 s, sent again after 1 and 3 s.
    assert_eq!(dropped(&summary, "probe-blocked"), 3 * 4);
    // From the start, as a key of the VM.
    let blocked = scenario(HTTP).replace("count = 2", "count = 2\nprobe_blocked = true");
    let summary = simulate(&blocked, &[]).summary;
    assert_eq!(summary.probes.iter().filter(|row| !row.up).count(), 2);
}

// How a probe asks, and what it finds.

#[test]
fn d_prb23_a_tcp_probe_finds_a_closed_port_at_once_and_a_hung_application_never() {
    let event = change("7s", "vm-0", "state = \"not-listening\"");
    let (summary, calm) = with_and_without(TCP, &event);
    let row = probe(&summary, "vm-0");
    assert_eq!(row.first_down.unwrap().as_nanos(), 10_000_040_000);
    assert_eq!(row.failed_by[1], row.failed, "all by reset");
    let old = binds(&calm, "vm-0", "tcp");
    assert_eq!(fate(&summary, "living"), [40, 40 - old, old, 0, 0]);
    assert_eq!(fate(&summary, "new"), [40, 40, 0, 0, 0]);
    // An application that takes a minute to answer: only HTTP notices.
    let slow = change("7s", "vm-0", "response_delay = \"60s\"");
    let (tcp, _) = with_and_without(TCP, &slow);
    assert_eq!(probe(&tcp, "vm-0").failed, 0);
    let (http, _) = with_and_without(HTTP, &slow);
    assert_eq!(
        probe(&http, "vm-0").first_down.unwrap().as_nanos(),
        15_000_000_000
    );
}

#[test]
fn d_prb23_an_answer_may_take_as_long_as_the_interval_and_30_s_at_most() {
    let run = |interval: &str, delay: &str| {
        let text = format!(
            "{}{}",
            scenario(HTTP),
            change("1s", "vm-0", &format!("response_delay = \"{delay}\""))
        );
        let interval = format!("load_balancer.balancer.probe.probe.interval={interval}");
        let summary = simulate(&text, &[&interval, "run.duration=200s"]).summary;
        probe(&summary, "vm-0").went_down
    };
    // 80 us of round trips come on top.
    assert_eq!((run("5s", "4.999919s"), run("5s", "4.999921s")), (0, 1));
    assert_eq!((run("60s", "29.999919s"), run("60s", "29.999921s")), (0, 1));
}

#[test]
fn a_stopped_vm_resets_its_connections_and_is_neither_probed_nor_used() {
    let event = change("7s", "vm-0", "state = \"stopped\"");
    let (summary, calm) = with_and_without(HTTP, &event);
    let row = probe(&summary, "vm-0");
    assert_eq!((row.sent, row.failed), (2, 0), "those of 0 s and 5 s");
    assert_eq!(row.changed.unwrap().as_nanos(), 7_000_000_000);
    assert_eq!(
        (row.first_down, row.is_stopped),
        (None, true),
        "no probe did it"
    );
    let old = binds(&calm, "vm-0", "tcp");
    assert_eq!(fate(&summary, "living"), [40, 40 - old, old, 0, 0]);
    assert_eq!(fate(&summary, "new"), [40, 40, 0, 0, 0]);
    // Started again it has to earn its place.
    let start = change("17s", "vm-0", "state = \"running\"");
    let text = format!("{}{event}{start}", scenario(HTTP));
    let back = simulate(&text, &[]).summary;
    let row = probe(&back, "vm-0");
    assert_eq!(
        (row.up, row.changed.unwrap().as_nanos()),
        (true, 20_000_080_000)
    );
}

#[test]
fn a_flapping_vm_waits_before_it_is_up_again() {
    let flapping = |wait: &str| {
        let probe = format!("{TCP}\nflap_wait = \"{wait}\"");
        let vm = "count = 2\nflapping = { up = \"12s\", down = \"10s\" }";
        let text = scenario(&probe).replace("count = 2", vm);
        let text = text.replace("duration = \"30s\"", "duration = \"200s\"");
        let summary = simulate(&text, &[]).summary;
        probe_of(&summary)
    };
    fn probe_of(summary: &Summary) -> (u64, u64) {
        let row = probe(summary, "vm-0");
        (row.went_down, row.failed)
    }
    // Down in 12-22, 34-44, ... 188-198: each time two attempts or so fail.
    assert_eq!(flapping("0s"), (9, 18));
    // After the second time down it would have to hold out for 30 s, which it never does.
    assert_eq!(flapping("30s"), (2, 18));
}

#[test]
fn d_prb23_an_https_probe_judges_what_the_vm_declares() {
    let https = HTTP.replace("\"http\"", "\"https\"");
    let run = |keys: &str| {
        let text = scenario(&https).replace("count = 2", &format!("count = 2\n{keys}"));
        let summary = simulate(&text, &[]).summary;
        let row = probe(&summary, "vm-0");
        (row.up, row.succeeded, row.failed_by[3], row.failed_by[4])
    };
    assert_eq!(run(""), (true, 6, 0, 0));
    assert_eq!(run("probe_status = 404"), (false, 0, 6, 0));
    assert_eq!(run("certificate_chain = \"sha1\""), (false, 0, 0, 6));
    assert_eq!(run("client_certificate_required = true"), (false, 0, 0, 6));
    assert_eq!(run("tls_min_version = \"1.3\""), (false, 0, 0, 6));
}

#[test]
fn pp_7_probes_carry_the_proxy_header_once_a_service_sends_it() {
    let run = |probe: &str, application: &str, enabled: bool, header: &str| {
        let text = scenario(probe);
        let vm = format!("count = 2\napplication = \"{application}\"");
        let text = text.replace("count = 2", &vm).replace(
            "nat_ips = [\"10.2.0.10\"]",
            &format!("nat_ips = [\"10.2.0.10\"]\nenable_proxy_protocol = {enabled}"),
        );
        let header = format!("load_balancer.balancer.probe_proxy_header={header}");
        let summary = simulate(&text, &[&header]).summary;
        let failed: u64 = summary
            .backends
            .iter()
            .map(|row| row.failed_by.proxy_missing)
            .sum();
        assert_eq!(failed, 0, "a probe is no request");
        probe_of(&summary)
    };
    fn probe_of(summary: &Summary) -> (bool, u64) {
        let row = probe(summary, "vm-0");
        (row.up, row.failed_by[1])
    }
    let (up, down) = ((true, 0), (false, 6));
    let https = HTTP.replace("\"http\"", "\"https\"");
    for probe in [HTTP, &https] {
        for header in ["local", "proxy"] {
            assert_eq!(run(probe, "plain", true, header), down, "{header}");
            assert_eq!(run(probe, "proxy-required", true, header), up, "{header}");
            assert_eq!(run(probe, "proxy-optional", true, header), up, "{header}");
        }
        assert_eq!(run(probe, "plain", true, "none"), up);
        assert_eq!(run(probe, "proxy-required", true, "none"), down);
        assert_eq!(run(probe, "proxy-required", false, "local"), down);
        assert_eq!(run(probe, "plain", false, "local"), up);
    }
    // A TCP probe says nothing else: an application that waits for more has no reason to reset.
    assert_eq!(run(TCP, "plain", true, "local"), down);
    assert_eq!(run(TCP, "proxy-required", true, "local"), up);
    assert_eq!(run(TCP, "proxy-required", false, "local"), up);
}

#[test]
fn probes_bypass_the_nat_and_are_counted_as_their_own() {
    let summary = simulate(&scenario(TCP), &[]).summary;
    // SYN, ACK, FIN, ACK from the prober, SYN-ACK, ACK with FIN from the VM, 6 times on 2 VMs.
    let by = summary.ledger.injected_by;
    assert_eq!((by.probe, by.host), (48, summary.ledger.injected() - 48));
    assert_eq!(summary.ledger.dropped(), 0);
    assert_eq!(
        binds(&summary, "vm-0", "tcp") + binds(&summary, "vm-1", "tcp"),
        0
    );
}

#[test]
fn each_rule_follows_its_own_probe() {
    // The UDP rule asks another port of the same VMs, which nobody has closed.
    let second = "[[load_balancer.probe]]\nname = \"other\"\nport = 9000\n\n[[load_balancer.rule]]\nname = \"udp\"";
    let text = scenario(HTTP).replacen("[[load_balancer.rule]]\nname = \"udp\"", second, 1);
    let split = text.rfind("probe = \"probe\"").unwrap();
    let text = format!("{}probe = \"other\"{}", &text[..split], &text[split + 15..]);
    let event = change("7s", "vm", "probe_status = 503");
    let summary = simulate(&format!("{text}{LIVING}{NEW}{event}"), &[]).summary;
    assert_eq!(summary.probes.len(), 4);
    assert_eq!(fate(&summary, "new"), [40, 0, 0, 0, 40]);
    assert_eq!(fate(&summary, "datagrams"), [40, 40, 0, 0, 0]);
}

#[test]
fn a_vm_that_joins_a_pool_is_asked_first_and_one_that_left_is_not_asked_any_more() {
    let event = |at: &str, action: &str| {
        format!(
            "\n[[event]]\nat = \"{at}\"\naction = \"{action}\"\nbackend_vm = \"vm-0\"\n\
             backend_pool = \"balancer/pool\"\n"
        )
    };
    let (leave, join) = (event("7s", "remove-backend"), event("16s", "add-backend"));
    let summary = simulate(&format!("{}{NEW}{leave}{join}", scenario(HTTP)), &[]).summary;
    let row = probe(&summary, "vm-0");
    // Asked at 0 s and 5 s, and again at 20 s and 25 s.
    assert_eq!((row.sent, row.failed), (4, 0));
    assert_eq!(
        (row.up, row.changed.unwrap().as_nanos()),
        (true, 20_000_080_000)
    );
    assert_eq!(
        (row.went_down, row.first_down),
        (0, None),
        "it never fell ill"
    );
    let told = |finding: &plsim::Finding| finding.what.contains("took VM");
    assert!(!summary.findings.iter().any(told));
    assert_eq!(fate(&summary, "new"), [40, 40, 0, 0, 0]);
    assert_eq!(
        binds(&summary, "vm-0", "tcp"),
        0,
        "connections of 16 s to 20 s"
    );
}

#[test]
fn a_restarted_vm_resets_what_it_does_not_know_any_more() {
    let event = "\n[[event]]\nat = \"7s\"\naction = \"restart-vm\"\nbackend_vm = \"vm-0\"\n";
    let (summary, calm) = with_and_without(HTTP, event);
    let old = binds(&calm, "vm-0", "tcp");
    assert_eq!(fate(&summary, "living"), [40, 40 - old, old, 0, 0]);
    assert_eq!(fate(&summary, "new"), [40, 40, 0, 0, 0]);
    assert_eq!(
        probe(&summary, "vm-0").failed,
        0,
        "it was back before the next probe"
    );
}

#[test]
fn d_prb18_in_2018_the_number_of_probes_counted_and_an_answer_took_31_s() {
    let old = format!("{HTTP}\npreset = \"azure-2018\"\nnumber_of_probes = 3");
    let refuse = change("7s", "vm-0", "probe_status = 503");
    let summary = simulate(&format!("{}{refuse}", scenario(&old)), &[]).summary;
    // 10 s, 15 s, 20 s.
    assert_eq!(
        probe(&summary, "vm-0").first_down.unwrap().as_nanos(),
        20_000_080_000
    );
    // The attempt of 10 s waits for 31 s, the next ones begin at 45 s and 80 s.
    let hang = change("7s", "vm-0", "state = \"crashed\"");
    let long = ["run.duration=200s"];
    let summary = simulate(&format!("{}{hang}", scenario(&old)), &long).summary;
    assert_eq!(
        probe(&summary, "vm-0").first_down.unwrap().as_nanos(),
        111_000_000_000
    );
    // Today the number is not looked at.
    let now = old.replace("preset = \"azure-2018\"\n", "");
    let summary = simulate(&format!("{}{refuse}", scenario(&now)), &[]).summary;
    assert_eq!(
        probe(&summary, "vm-0").first_down.unwrap().as_nanos(),
        10_000_080_000
    );
}

#[test]
fn probes_can_begin_at_times_of_their_own() {
    let text = scenario(&format!("{TCP}\nphase = \"spread\""));
    let text = text.replace("count = 2", "count = 2\nstate = \"not-listening\"");
    let summary = simulate(&text, &[]).summary;
    let first = |vm| probe(&summary, vm).first_down.unwrap().as_nanos();
    assert_ne!(first("vm-0"), first("vm-1"));
    assert!(first("vm-0").max(first("vm-1")) < 5_000_040_000);
}

#[test]
fn a_rule_without_a_probe_takes_its_backends_for_healthy() {
    let text =
        format!("{SMALL}{LIVING}").replace("name = \"vm\"", "name = \"vm\"\nstate = \"crashed\"");
    let summary = simulate(&text, &["workload.living.syn_retries=0"]).summary;
    assert_eq!(
        (
            summary.probes.len(),
            dropped(&summary, "no-healthy-backend")
        ),
        (0, 0)
    );
    assert_eq!(fate(&summary, "living"), [40, 0, 0, 0, 40]);
}

#[test]
fn the_order_of_probes_in_the_file_changes_nothing() {
    let probes = ["b", "a", "c"].map(|name| {
        format!(
            "[[load_balancer.probe]]\nname = \"{name}\"\nport = 90{}\n\n",
            name.len()
        )
    });
    let rules: String = (0..3)
        .map(|rule| {
            let probe = ["b", "a", "c"][rule];
            format!(
                "[[load_balancer.rule]]\nname = \"r{rule}\"\nfrontend = \"frontend\"\nbackend_pool = \
                 \"pool\"\nfrontend_port = 5{rule}\nbackend_port = 5{rule}\nprobe = \"{probe}\"\n"
            )
        })
        .collect();
    let digest = |order: [usize; 3]| {
        let probes: String = order.map(|place| probes[place].clone()).concat();
        let text = SMALL.replacen(
            "[[load_balancer.rule]]",
            &format!("{probes}{rules}[[load_balancer.rule]]"),
            1,
        );
        let summary = simulate(&format!("{text}{LIVING}"), &["link.host_vm.loss=0.1"]).summary;
        summary.digest.to_string()
    };
    assert_eq!(digest([0, 1, 2]), digest([2, 0, 1]));
}
