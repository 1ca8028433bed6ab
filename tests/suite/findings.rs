//! What a run says in words about a NAT that was told to be another one.

use plsim::Finding;
use plsim_types::DropReason;

use crate::support::{SMALL, simulate, workload};

/// 30 connections that nobody closes, one every 100 ms.
const LEAK: &str = r#"
[[workload]]
name = "w"
client_vm = "client"
private_endpoint = "endpoint"
port = 443
rate = "10/s"
stop = "3s"
close = "abandon"
syn_retries = 0
"#;

/// Runs the leak with these values of the service, and returns its only finding.
fn finding(values: &[&str]) -> Finding {
    let overrides: Vec<String> = values
        .iter()
        .map(|value| format!("private_link_service.service.{value}"))
        .collect();
    let overrides: Vec<&str> = overrides.iter().map(String::as_str).collect();
    let mut findings = simulate(&format!("{SMALL}{LEAK}"), &overrides)
        .summary
        .findings;
    let one = findings.pop().unwrap();
    assert!(findings.is_empty(), "{findings:?} and {one:?}");
    one
}

#[test]
fn refused_clients_that_were_told_by_icmp_are_not_said_to_have_had_no_answer() {
    let told = |limit, answer| finding(&[limit, &format!("on_exhaustion={answer}")]).what;
    for limit in ["port_range=2000-2009", "endpoint_port_limit=10"] {
        for (answer, words) in [
            ("drop", ": SYNs were dropped without an answer."),
            (
                "icmp-admin-prohibited",
                ": their clients were told by ICMP 3/13.",
            ),
            (
                "icmp-host-unreachable",
                ": their clients were told by ICMP 3/1.",
            ),
        ] {
            let told = told(limit, answer);
            assert!(told.ends_with(words), "{told}");
        }
    }
}

#[test]
fn a_client_that_hears_nothing_because_too_many_do_is_told_of() {
    let answers = "on_exhaustion=icmp-admin-prohibited";
    let told = finding(&[
        "port_range=2000-2009",
        answers,
        "icmp_rate=2/s",
        "icmp_burst=4",
    ]);
    // 20 refusals in 2 s: 4 at once, then one each half second.
    let words = ": their clients were told by ICMP 3/13, but 13 packets had none: more than icmp_rate lets \
                 answer.";
    assert!(told.what.ends_with(words), "{}", told.what);
}

#[test]
fn an_endpoint_that_has_its_blocks_is_told_so_and_what_more_nat_ips_give_it() {
    let settings = ["port_allocation=blocks", "block_size=10", "block_limit=1"];
    let strict = [&settings[..], &["nat_ip_selection=client-paired-strict"]].concat();
    let tries_others = |values: &[&str]| {
        let help = finding(values).help;
        let words = "Let nat_ip_selection try the other NAT IPs";
        help.iter().any(|help| help.starts_with(words))
    };
    let two = "nat_ips=[\"10.2.0.10\", \"10.2.0.11\"]";
    assert!(tries_others(&[&strict[..], &[two]].concat()));
    assert!(!tries_others(&strict), "there is no other one");
    let told = finding(&settings);
    assert_eq!(
        told.what,
        "service: VM vm found no tcp port although some were free: a private endpoint gets at most 1 \
         block of 10 ports on a NAT IP, if as many are left. 20 connections were refused at least \
         once, the first at 1.00065 s: SYNs were dropped without an answer."
    );
    assert_eq!(
        told.help[..2],
        [
            "Raise block_limit, or spread the clients over several private endpoints.",
            "Add NAT IPs: 1 of at most 8 in use, each adds 10 ports for each private endpoint on \
             every VM."
        ]
    );
}

#[test]
fn the_reservation_of_a_client_can_be_changed_one_number_at_a_time() {
    let why = |values: &[&str]| {
        let what = finding(values).what;
        let (_, rest) = what.split_once("were free: ").unwrap();
        rest.split_once(". ").unwrap().0.to_owned()
    };
    let gcp = "preset=gcp-cloud-nat";
    let rest = "of a NAT IP, if as many are left";
    assert_eq!(
        why(&[gcp, "block_size=7"]),
        format!("a client has 7 ports {rest}")
    );
    let dynamic = ["preset=gcp-cloud-nat-dynamic", "block_size=8"];
    let grows = |values: &[&str]| why(&[&dynamic[..], values].concat());
    assert_eq!(
        grows(&["block_limit=2"]),
        "a client has 8 ports of a NAT IP at first and up to 16, and gets twice as many 1 s after 90 % \
         of them are in use, if as many are left"
    );
    let slow = grows(&["block_grow_delay=5s", "block_grow_at=0.875"]);
    assert!(
        slow.contains("up to 65 536, and gets twice as many 5 s after 87.5 % of"),
        "{slow}"
    );
    let help = finding(&[dynamic[0], dynamic[1], "block_limit=2"]).help;
    assert!(help[0].starts_with("Raise block_size,"), "{help:?}");
    assert!(
        help[1].ends_with("each adds 16 ports for each client on every VM."),
        "{help:?}"
    );
}

#[test]
fn clients_without_ports_are_told_how_many_would_do() {
    let few = "client_vm.client.ephemeral_ports=40000-40009";
    let summary = simulate(&format!("{SMALL}{LEAK}"), &[few]).summary;
    let [told] = summary.findings.as_slice() else {
        panic!("{:?}", summary.findings)
    };
    assert_eq!(
        told.help,
        [
            "Raise count of client_vm client from 1 to 3, which is enough in any case: 10 ports for \
             each VM. Or widen ephemeral_ports."
        ]
    );
    let three = [few, "client_vm.client.count=3"];
    let leak = format!("{SMALL}{LEAK}").replace("ip_address = \"10.1.0.4\"\n", "");
    assert!(simulate(&leak, &three).summary.findings.is_empty());
}

#[test]
fn an_idle_connection_can_be_told_by_its_rule() {
    let leak = LEAK.replace("\nclose = \"abandon\"", "\nhold = \"280s\"");
    let keys = [
        "run.duration=300s",
        "load_balancer.balancer.rule.tcp.idle_timeout=4min",
    ];
    let told = |more: &[&str]| {
        let keys = [&keys[..], more].concat();
        let mut found = simulate(&format!("{SMALL}{leak}"), &keys).summary.findings;
        assert_eq!(found.len(), 1, "{found:?}");
        found.remove(0)
    };
    let silent = told(&[]);
    assert!(
        silent
            .what
            .contains("after the idle timeout of 240 s of rule tcp; nobody was told"),
        "{silent:?}"
    );
    assert!(
        silent.help[1].starts_with("Or set enable_tcp_reset = true in rule tcp"),
        "{silent:?}"
    );
    let reset = told(&["load_balancer.balancer.rule.tcp.enable_tcp_reset=true"]);
    assert!(
        !reset.help.concat().contains("enable_tcp_reset"),
        "{reset:?}"
    );
}

#[test]
fn the_blocks_of_an_endpoint_can_be_changed_one_number_at_a_time() {
    let bound = |values: &[&str]| {
        let what = finding(values).what;
        let (_, rest) = what.split_once("at most ").unwrap();
        rest.split_once(" on").unwrap().0.to_owned()
    };
    let named = "port_allocation=blocks";
    assert_eq!(
        bound(&[named, "block_size=7", "block_limit=2"]),
        "2 blocks of 7 ports"
    );
    assert_eq!(
        bound(&[named, "block_size=1"]),
        "16 blocks of 1 port",
        "without the preset"
    );
}

#[test]
fn a_full_nat_ip_among_others_is_one_of_them() {
    let strict = [
        "nat_ips=[\"10.2.0.10\", \"10.2.0.11\"]",
        "nat_ip_selection=client-paired-strict",
        "port_range=2000-2009",
    ];
    let told = finding(&strict);
    assert!(told.what.contains(", one of 2, at 900.65 ms."), "{told:?}");
    assert!(
        told.help[0].starts_with("Let nat_ip_selection try the other NAT IPs"),
        "{told:?}"
    );
    let patient = finding(&[strict[0], strict[2]]);
    assert!(patient.what.contains("on all 2 NAT IPs, "), "{patient:?}");
    assert!(patient.help[0].starts_with("Add NAT IPs"), "{patient:?}");
}

#[test]
fn ports_for_each_backend_port_are_counted_as_such() {
    let told = finding(&["port_space=per-vm-port", "port_range=2000-2009"]);
    assert!(
        told.what
            .contains("on NAT IP 10.2.0.10 for a backend port at 900.65 ms."),
        "{told:?}"
    );
    assert_eq!(
        told.help[0],
        "Add NAT IPs: 1 of at most 8 in use, each adds 10 ports for each backend port on every VM."
    );
}

#[test]
fn linuxs_keepalive_is_too_late_only_where_it_is() {
    let idle = |timeout: &str| {
        let leak = LEAK.replace("\nclose = \"abandon\"", "\nhold = \"3h\"");
        let overrides = [
            "run.duration=150min".to_owned(),
            format!("private_link_service.service.idle_timeout={timeout}"),
            // No rule can have that long a time.
            "load_balancer.balancer.lb_idle_action=forget".to_owned(),
        ];
        let overrides: Vec<&str> = overrides.iter().map(String::as_str).collect();
        let summary = simulate(&format!("{SMALL}{leak}"), &overrides).summary;
        let told = summary.findings.into_iter().map(|finding| finding.help);
        told.collect::<Vec<_>>().concat().concat()
    };
    assert!(idle("7200s").ends_with("; Linux's default of 7 200 s comes too late."));
    assert!(idle("7201s").ends_with("on TCP or in the application."));
}

#[test]
fn a_port_space_that_is_nearly_full_is_told() {
    let told = finding(&["port_range=2000-2031"]);
    assert_eq!(
        told.what,
        "service: VM vm had 93.8 % of its tcp ports on NAT IP 10.2.0.10 taken at 2.9 s: 2 were left of 32."
    );
    assert!(told.help[0].starts_with("Add NAT IPs"), "{told:?}");
    let half = ["private_link_service.service.port_range=2000-2063"];
    let half = simulate(&format!("{SMALL}{LEAK}"), &half).summary;
    assert!(half.findings.is_empty(), "{:?}", half.findings);
}

#[test]
fn of_udp_nobody_is_told_to_close() {
    let udp = workload("w", "protocol = \"udp\"\nrate = \"10/s\"\nstop = \"3s\"");
    let full = ["private_link_service.service.port_range=2000-2009"];
    let findings = simulate(&format!("{SMALL}{udp}"), &full).summary.findings;
    let full = findings
        .iter()
        .find(|found| found.what.contains("ran out of udp ports"));
    assert_eq!(
        full.unwrap().help.last().unwrap(),
        "Have clients keep their sockets: UDP has no close, so each new source port takes a NAT port \
         until it has been silent for 300 s. Or lower udp_idle_timeout."
    );
}

#[test]
fn connections_of_a_crashed_client_have_one_finding() {
    let four_minutes = SMALL.replace("\"30min\"", "\"4min\"");
    let held = workload(
        "held",
        "arrival = \"at-once\"\nconnections = 10\nhold = \"1h\"",
    );
    let crash = |at, how: &str| {
        format!("[[event]]\nat = \"{at}\"\naction = {how}\nclient_vm = \"client\"\n")
    };
    let crashes =
        crash("200s", "\"restart-vm\"") + &crash("5s", "\"change-vm\"\nstate = \"crashed\"");
    let text = format!("{four_minutes}{held}{crashes}");
    let findings = simulate(&text, &["run.duration=400s"]).summary.findings;
    let [told] = findings.as_slice() else {
        panic!("{findings:?}")
    };
    assert_eq!(
        told.what,
        "client: 10 connections ended with their VM (client crashed at 5 s, client restarted at 200 s). \
         Nobody was told: the load balancer drops their packets after 240 s of silence, but the NAT keeps \
         their ports until they have been silent for 300 s."
    );
}

#[test]
fn a_link_that_was_down_is_named_with_its_times() {
    let down = "[link.edge_host]\ndown = [[\"1s\", \"2s\"]]\n";
    let event = "[[event]]\nat = \"2500ms\"\naction = \"link-down\"\nlink = \"edge_host\"\n\
                 backend_vm = \"vm\"\n";
    let report = simulate(&format!("{SMALL}{LEAK}{down}{event}"), &[]);
    let findings = &report.summary.findings;
    let told = findings
        .iter()
        .find(|found| found.what.starts_with("Link "));
    let lost = report.summary.links.iter().map(|row| row.stats.link_down);
    assert_eq!(
        told.unwrap().what,
        format!(
            "Link edge_host was down from 1 s to 2 s, from 2.5 s to the end (of vm): {} packets ended \
             there.",
            lost.sum::<u64>()
        )
    );
}

#[test]
fn clients_that_repeat_much_are_told_what_it_costs() {
    let retry = |jitter: &str| {
        let eager = format!(
            "model = \"closed-loop\"\nclients = 10\nthink_time = \"1s\"\n\
             retry = {{ max_attempts = 5, backoff = \"50ms\", jitter = \"{jitter}\" }}"
        );
        let deaf = "[[event]]\nat = \"10s\"\naction = \"change-vm\"\nbackend_vm = \"vm\"\n\
                    state = \"not-listening\"\n";
        let report = simulate(&format!("{SMALL}{}{deaf}", workload("eager", &eager)), &[]);
        let failed = report.summary.workloads[0].operations.failed;
        let mut findings = report.summary.findings.into_iter();
        let told = findings.find(|found| found.what.starts_with("eager: clients repeated "));
        let told = told.unwrap();
        assert!(
            told.what
                .ends_with(&format!("; {failed} failed in the end.")),
            "{told:?}"
        );
        told.help
    };
    assert!(retry("none")[1].starts_with("Add jitter"));
    let help = retry("full");
    assert!(
        help.len() == 1 && help[0].contains("backoff = \"50ms\"") && help[0].contains("= 5)"),
        "{help:?}"
    );
}

#[test]
fn a_port_that_comes_again_too_early_for_the_server_explains_a_slow_connect() {
    let one = "arrival = \"at-once\"\nconnections = 1\nhold = \"1h\"\n";
    let text = format!(
        "{SMALL}{}{}",
        workload("first", one),
        workload("second", &format!("{one}start = \"20s\""))
    );
    for stack in ["light", "full"] {
        let keys = [
            "private_link_service.service.port_range=2000-2000",
            "private_link_service.service.idle_timeout=10s",
            "private_link_service.service.on_idle=silent",
            &format!("client_vm.client.tcp_stack={stack}"),
        ];
        let summary = simulate(&text, &keys).summary;
        let met = summary.workloads.iter().map(|row| row.half_open_found);
        assert_eq!(met.collect::<Vec<_>>(), [0, 1], "{stack}");
        let mut findings = summary.findings.iter();
        let told = findings.find(|found| found.what.starts_with("second: "));
        assert_eq!(
            told.unwrap().what,
            "second: 1 SYN met an old connection that only the server still had, with the same addresses \
             and ports: a client resets it, and connects 1 s later, with the SYN sent again."
        );
    }
}

#[test]
fn connections_that_are_being_closed_are_told_apart() {
    let closes = workload(
        "w",
        "arrival = \"at-once\"\nconnections = 10\nhold = \"2s\"",
    );
    let crash = "[[event]]\nat = \"1s\"\naction = \"change-vm\"\nbackend_vm = \"vm\"\n\
                 state = \"crashed\"\n";
    for stack in ["light", "full"] {
        let stack = format!("client_vm.client.tcp_stack={stack}");
        let text = format!("{SMALL}{closes}{crash}");
        let closing = |end: &str| {
            let end = format!("run.duration={end}");
            let summary = simulate(&text, &[&stack, &end]).summary;
            let row = &summary.workloads[0];
            (row.connections.established, row.closing)
        };
        assert_eq!(closing("1900ms"), (10, 0), "{stack}");
        assert_eq!(closing("5s"), (10, 10), "{stack}");
    }
}

#[test]
fn an_answer_that_comes_too_late_is_told_but_not_of_a_stream_that_has_ended() {
    let told = |keys: &str| {
        let keys = format!("protocol = \"udp\"\nconnections = 1\n{keys}");
        let workload = workload("w", &keys);
        let summary = simulate(&format!("{SMALL}{workload}"), &[]).summary;
        let late: Vec<_> = summary.ledger.drops().collect();
        assert_eq!(late, [(DropReason::NoListener, 1)], "{keys}");
        let mut help = summary.findings.into_iter().flat_map(|found| found.help);
        help.any(|help| help.contains("raise response_timeout"))
    };
    // A round trip takes 1.34 ms.
    assert!(told("rate = \"1/s\"\nresponse_timeout = \"1ms\""));
    assert!(!told(
        "model = \"udp-stream\"\nrate = \"1/s\"\ninterval = \"1s\"\nhold = \"3001ms\"\necho = true"
    ));
}
