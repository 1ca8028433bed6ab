//! Light TCP and smoltcp in whole scenarios: the same conversations in all four pairings, with one outcome
//! for the application and one for the NAT.

use plsim::Summary;

use crate::support::{SMALL, simulate};

const PAIRINGS: [[&str; 2]; 4] = [
    ["light", "light"],
    ["light", "full"],
    ["full", "light"],
    ["full", "full"],
];

/// What the application and the NAT saw, as text, so that a difference can be read.
fn seen(summary: &Summary) -> String {
    let mut text = String::new();
    for workload in &summary.workloads {
        text += &format!(
            "{}: {:?} {:?} {} requests, {} responses, {} awaiting, {:?}, {} messages, {:?}\n",
            workload.name,
            workload.connections,
            workload.failed_by,
            workload.requests,
            workload.responses,
            workload.awaiting,
            workload.lost_by,
            workload.messages,
            workload.operations.failed,
        );
    }
    for row in summary.nat.iter().filter(|row| row.binds > 0) {
        text += &format!(
            "NAT {}: {} binds, {} in use, {} held, {} failures, expired {} idle, {} half closed, \
             {} half open, {} LB idle\n",
            row.backend,
            row.binds,
            row.in_use,
            row.held,
            row.bind_failures,
            row.expired_idle,
            row.expired_half_closed,
            row.expired_half_open,
            row.lb_idle,
        );
    }
    for row in &summary.refusals {
        text += &format!(
            "refused {} connections, {} packets, {}\n",
            row.connections, row.packets, row.reason
        );
    }
    for (reason, count) in summary.ledger.drops().filter(|(_, count)| *count > 0) {
        // Where nobody answers, packets are sent again: by the light TCP 200 ms after a round trip and
        // more, by smoltcp after 1 s and more.
        match reason.name() {
            name @ ("no-flow" | "vm-down") => text += &format!("dropped {name}\n"),
            name => text += &format!("dropped {count} {name}\n"),
        }
    }
    text + &format!("resets of the NAT {}\n", summary.ledger.injected_by.nat)
}

/// Runs a scenario in every pairing and returns the outcome, which is one.
fn outcome(scenario: &str, overrides: &[&str]) -> Summary {
    let mut first: Option<(Summary, String)> = None;
    for [client, server] in PAIRINGS {
        let (client, server) = (
            format!("client_vm.client.tcp_stack={client}"),
            format!("backend_vm.vm.tcp_stack={server}"),
        );
        let mut all = overrides.to_vec();
        all.extend([client.as_str(), server.as_str()]);
        let summary = simulate(scenario, &all).summary;
        let seen = seen(&summary);
        match &first {
            None => first = Some((summary, seen)),
            Some((_, expected)) => assert_eq!(*expected, seen, "{client} {server}"),
        }
    }
    first.expect("four pairings").0
}

/// The small service with a workload of these keys.
fn with(workload: &str) -> String {
    format!(
        "{SMALL}\n[[workload]]\nname = \"w\"\nclient_vm = \"client\"\n\
         private_endpoint = \"endpoint\"\nport = 443\n{workload}"
    )
}

#[test]
fn requests_and_every_way_to_close() {
    for (close, open) in [("fin", 0), ("rst", 0), ("server", 0), ("abandon", 100)] {
        let workload = format!(
            "rate = \"20/s\"\nconnections = 100\nrequest_size = \"5kB\"\nresponse_size = \"50kB\"\n\
             close = \"{close}\""
        );
        let summary = outcome(&with(&workload), &[]);
        assert_eq!(summary.connections.established, open, "{close}");
        assert_eq!(summary.workloads[0].responses, 100, "{close}");
        assert_eq!(summary.nat[0].binds, 100, "{close}");
    }
}

/// The client closes its half while the server works on the response, or sends it.
#[test]
fn a_half_that_is_closed_early() {
    for keys in [
        "service_time = \"10s\"\nresponse_timeout = \"2s\"",
        "response_size = \"300kB\"\nresponse_timeout = \"4ms\"",
    ] {
        let workload = format!("arrival = \"at-once\"\nconnections = 10\nclose = \"fin\"\n{keys}");
        let summary = outcome(&with(&workload), &[]);
        let w = &summary.workloads[0];
        assert_eq!(
            (w.lost_by.timeout, w.connections.closed),
            (10, 10),
            "{keys}"
        );
        assert_eq!(summary.nat[0].in_use, 0, "{keys}");
    }
}

#[test]
fn a_conversation_under_loss_comes_to_its_end() {
    let workload = "rate = \"5/s\"\nconnections = 100\nrequest_size = \"20kB\"\nretries = 15\n\
                    response_size = \"20kB\"\nclose = \"fin\"\n\
                    [[event]]\nat = \"0s\"\naction = \"change-link\"\nlink = \"endpoint_edge\"\n\
                    private_endpoint = \"endpoint\"\nloss = 0.05";
    for [client, server] in PAIRINGS {
        let (client, server) = (
            format!("client_vm.client.tcp_stack={client}"),
            format!("backend_vm.vm.tcp_stack={server}"),
        );
        let overrides = ["run.duration=2000s", client.as_str(), server.as_str()];
        let summary = simulate(&with(workload), &overrides).summary;
        // Which packets are lost depends on how many there are; what it comes to does not.
        let w = &summary.workloads[0];
        assert_eq!(
            (w.responses, w.connections.closed),
            (100, 100),
            "{client} {server}"
        );
        let nat = &summary.nat[0];
        assert_eq!((nat.binds, nat.in_use), (100, 0), "{client} {server}");
        assert!(summary.ledger.dropped() > 100, "{client} {server}");
    }
}

#[test]
fn silence_ends_in_a_reset_of_the_nat_or_is_kept_away_by_probes() {
    let idle = "arrival = \"at-once\"\nconnections = 10\nhold = \"500s\"\n";
    let summary = outcome(&with(idle), &["run.duration=400s"]);
    assert_eq!(
        (
            summary.connections.idle_expired,
            summary.nat[0].expired_idle
        ),
        (10, 10)
    );
    assert_eq!(summary.ledger.injected_by.nat, 20);
    let kept = format!("{idle}keepalive = {{ time = \"100s\", interval = \"10s\", probes = 3 }}");
    let summary = outcome(&with(&kept), &["run.duration=400s"]);
    assert_eq!(
        (summary.connections.established, summary.nat[0].in_use),
        (10, 10)
    );
}

/// The NAT forgets without a word: what the client sends then has no flow, packet by packet.
#[test]
fn silence_that_nobody_is_told_about_is_met_by_the_next_request() {
    let asking =
        "arrival = \"at-once\"\nconnections = 5\nrequests = 2\ninterval = \"400s\"\nretries = 4";
    let silent = [
        "run.duration=600s",
        "private_link_service.service.on_idle=silent",
    ];
    let summary = outcome(&with(asking), &silent);
    assert_eq!(
        (
            summary.connections.timed_out,
            summary.workloads[0].lost_by.timeout
        ),
        (5, 5)
    );
    let mut drops = summary.ledger.drops();
    let no_flow = drops.find(|(reason, _)| reason.name() == "no-flow");
    // Four times take 6.2 s, which Linux counts from the first repetition on: the next to last is behind it.
    assert_eq!(no_flow.unwrap().1, 5 * 6, "data, and five times again");
}

#[test]
fn a_server_that_hangs_is_noticed_by_data_by_probes_or_never() {
    let hangs =
        "[[event]]\nat = \"20s\"\naction = \"change-vm\"\nbackend_vm = \"vm\"\nstate = \"crashed\"";
    for (keys, timed_out) in [
        ("requests = 2\ninterval = \"60s\"\nretries = 4", 10),
        (
            "hold = \"900s\"\nkeepalive = { time = \"60s\", interval = \"10s\", probes = 3 }",
            10,
        ),
        (
            "hold = \"900s\"\nkeepalive = { time = \"60s\", interval = \"10s\", probes = 30 }\nuser_timeout = \"90s\"",
            10,
        ),
        ("hold = \"900s\"", 0),
    ] {
        let workload = format!("arrival = \"at-once\"\nconnections = 10\n{keys}\n{hangs}");
        let summary = outcome(&with(&workload), &["run.duration=250s"]);
        assert_eq!(summary.connections.timed_out, timed_out, "{keys}");
    }
}

#[test]
fn a_server_that_ends_or_was_never_there_resets() {
    let held = "rate = \"10/s\"\nhold = \"100s\"\nclose = \"fin\"\nstop = \"20s\"\n\
                [[event]]\nat = \"10s\"\naction = \"change-vm\"\nbackend_vm = \"vm\"\nstate = \"not-listening\"";
    let summary = outcome(&with(held), &[]);
    assert_eq!(
        (
            summary.connections.reset,
            summary.workloads[0].failed_by.refused
        ),
        (100, 100)
    );
}

#[test]
fn a_full_nat_drops_as_many_syns() {
    let workload = "arrival = \"at-once\"\nconnections = 50\nclose = \"abandon\"\nsyn_retries = 3";
    let limit = ["backend_vm.vm.nat_table_limit=30", "run.duration=60s"];
    let summary = outcome(&with(workload), &limit);
    assert_eq!(
        (
            summary.connections.established,
            summary.workloads[0].failed_by.timeout
        ),
        (30, 20)
    );
    assert_eq!(
        summary.ledger.dropped(),
        20 * 4,
        "a SYN, and three times again"
    );
}

#[test]
fn proxy_headers_and_queues_treat_both_alike() {
    let workload = "arrival = \"at-once\"\nconnections = 20\nclose = \"fin\"";
    let header = "private_link_service.service.enable_proxy_protocol=true";
    for (application, responses) in [("proxy-required", 20), ("plain", 0)] {
        let application = format!("backend_vm.vm.application={application}");
        let summary = outcome(&with(workload), &[header, &application]);
        assert_eq!(summary.workloads[0].responses, responses);
        assert_eq!(summary.connections.reset, 20 - responses);
    }
    let queues = [
        "backend_vm.vm.max_connections=5",
        "backend_vm.vm.backlog=16",
        // The full TCP has none.
        "backend_vm.vm.syn_cookies=false",
    ];
    let held = format!("{workload}\nhold = \"2s\"");
    let summary = outcome(&with(&held), &queues);
    assert_eq!(summary.connections.closed, 20);
    let mut drops = summary.ledger.drops();
    assert!(drops.any(|(reason, count)| reason.name() == "syn-queue-full" && count > 0));
}

/// A pool that borrows, a loop that thinks, subscribers: each drives either TCP.
#[test]
fn every_model_drives_either_tcp() {
    for keys in [
        "model = \"constant-concurrency\"\nconnections = 10\nhold = \"3s\"",
        "model = \"closed-loop\"\nclients = 10\nthink_time = \"1s\"\nresponse_timeout = \"2s\"",
        "model = \"pub-sub\"\nconnections = 10\ninterval = \"2s\"",
        "model = \"pool\"\nrate = \"3/s\"\n[workload.pool]\nsize = 4\nmax_idle = \"2s\"",
    ] {
        let summary = outcome(&with(keys), &["run.duration=60s"]);
        let w = &summary.workloads[0];
        assert!(w.responses + w.messages > 100, "{keys}: {w:?}");
        assert_eq!(w.connections.failed, 0, "{keys}");
    }
}

/// The same scenario gives the same bytes, and full ends are not light ones in disguise.
#[test]
fn full_ends_are_deterministic_and_leave_their_mark() {
    let workload = "rate = \"20/s\"\nconnections = 50\nresponse_size = \"100kB\"";
    let digest = |stack: &str| {
        let overrides = [
            format!("client_vm.client.tcp_stack={stack}"),
            format!("backend_vm.vm.tcp_stack={stack}"),
        ];
        let overrides = overrides.each_ref().map(String::as_str);
        simulate(&with(workload), &overrides).summary.digest
    };
    assert_eq!(digest("full"), digest("full"));
    assert_ne!(digest("full"), digest("light"));
}
