//! PROXY protocol through the whole path.

use plsim::Summary;

use crate::support::{SMALL, simulate, workload};

/// Headers from the service, an application that wants them.
const PROXY: [&str; 2] = [
    "private_link_service.service.enable_proxy_protocol=true",
    "backend_vm.vm.application=proxy-required",
];

fn run(more: &str, overrides: &[&str]) -> Summary {
    let workload = workload("w", more);
    let overrides = [&PROXY, overrides].concat();
    simulate(&format!("{SMALL}{workload}"), &overrides).summary
}

#[test]
fn a_probe_that_fails_for_its_header_is_said_to() {
    let probe = "[[load_balancer.probe]]\nname = \"health\"\nport = 8443\n\n";
    let rules = SMALL.replacen(
        "[[load_balancer.rule]]",
        &format!("{probe}[[load_balancer.rule]]"),
        1,
    );
    let rules = rules.replace(
        "backend_port = 8443",
        "backend_port = 8443\nprobe = \"health\"",
    );
    let sends = "private_link_service.service.enable_proxy_protocol=true";
    let told = |more: &[&str]| {
        let summary = simulate(&rules, &[&[sends], more].concat()).summary;
        let found = summary.findings.into_iter();
        found
            .map(|finding| (finding.what, finding.help.concat()))
            .collect::<Vec<_>>()
    };
    let [(what, help)] = told(&[]).try_into().unwrap();
    assert!(
        what.contains("PROXY header") && what.contains("plain application"),
        "{what}"
    );
    assert!(help.contains("probe_proxy_header = \"none\""), "{help}");
    assert!(told(&["load_balancer.balancer.probe_proxy_header=none"]).is_empty());
    assert!(told(&["backend_vm.vm.application=proxy-required"]).is_empty());
}

#[test]
fn pp_1_each_connection_has_one_header_and_clients_notice_nothing() {
    let more =
        "rate = \"20/s\"\nconnections = 100\nrequest_size = \"20kB\"\nresponse_size = \"20kB\"";
    let summary = run(more, &[]);
    let [row] = &summary.workloads[..] else {
        panic!()
    };
    assert_eq!((row.responses, row.retransmissions), (100, 0));
    assert_eq!(summary.backends[0].proxy_headers, 100);
    assert_eq!(summary.connections.closed, 100);
    assert_eq!(
        (summary.ledger.dropped(), summary.ledger.injected_by.nat),
        (0, 0)
    );
}

#[test]
fn headers_arrive_however_much_is_lost() {
    let more = "rate = \"20/s\"\nconnections = 300\nrequest_size = \"5kB\"\nretries = 15\n\
                syn_retries = 10\ninitial_rto = \"200ms\"";
    let loss = [
        "link.host_vm.loss=0.2",
        "link.endpoint_edge.loss=0.1",
        "run.duration=30min",
    ];
    let summary = run(more, &loss);
    let backend = &summary.backends[0];
    // Ten losses in a row make a pause of minutes, which the network may take for silence.
    let workload = &summary.workloads[0];
    assert_eq!(workload.responses + workload.lost_by.idle_expired, 300);
    assert!(workload.responses >= 298, "{workload:?}");
    assert!(backend.proxy_headers > 300, "{}", backend.proxy_headers);
    let failed = backend.failed_by;
    assert_eq!((failed.proxy_missing, failed.unreadable), (0, 0));
}

/// The NAT's RST names the byte that the server expects. A server that got another number would
/// challenge it, and its challenge would find no flow.
#[test]
fn the_reset_of_an_idle_timeout_keeps_the_shift() {
    let more = "rate = \"20/s\"\nconnections = 50\nhold = \"20s\"";
    let summary = run(more, &["private_link_service.service.idle_timeout=3s"]);
    assert_eq!(summary.connections.idle_expired, 50);
    assert_eq!(summary.ledger.injected_by.nat, 100);
    assert_eq!(summary.ledger.dropped(), 0);
}

#[test]
fn a_client_that_aborts_resets_its_server_at_once() {
    let more = "rate = \"20/s\"\nconnections = 50\nhold = \"1s\"\nclose = \"rst\"";
    let summary = run(more, &[]);
    assert_eq!(
        (summary.connections.closed, summary.ledger.dropped()),
        (50, 0)
    );
    // SYN, SYN-ACK, ACK, request, ACK, response with ACK, ACK, RST: a challenge would be one more.
    assert_eq!(summary.ledger.injected() % 50, 0);
    assert!(
        summary.ledger.injected() <= 8 * 50,
        "{}",
        summary.ledger.injected()
    );
}

#[test]
fn each_connection_on_a_reused_port_has_its_own_header() {
    let more = "rate = \"20/s\"\nconnections = 200\nhold = \"0s\"\nclose = \"rst\"";
    let reuse = [
        "private_link_service.service.port_range=2000-2001",
        "private_link_service.service.hold_down_rst=0s",
    ];
    let summary = run(more, &reuse);
    assert_eq!(summary.workloads[0].responses, 200);
    assert_eq!(summary.backends[0].proxy_headers, 200);
    assert_eq!(summary.nat[0].capacity, 2);
}

#[test]
fn keepalives_of_a_silent_connection_pass_the_shift() {
    let more = "rate = \"20/s\"\nconnections = 20\nhold = \"25s\"\nkeepalive = \"2s\"";
    let idle = ["private_link_service.service.idle_timeout=3s"];
    let summary = run(more, &idle);
    assert_eq!(summary.connections.closed, 20);
    assert_eq!(summary.backends[0].proxy_headers, 20);
    assert_eq!(summary.ledger.dropped(), 0);
}

/// PP-2 and PP-3 in the bytes that the VM gets; the frontend's address is the first of its subnet.
#[test]
fn the_destination_in_the_header_is_a_setting() {
    let workload = "
[[workload]]
name = \"w\"
client_vm = \"client\"
private_endpoint = \"endpoint\"
port = 443
rate = \"1/s\"
connections = 1
";
    for (destination, address) in [
        ("private-endpoint", [10, 1, 0, 10]),
        ("frontend", [10, 2, 1, 4]),
    ] {
        let key = format!("private_link_service.service.proxy_destination={destination}");
        let capture = captured(
            &format!("{SMALL}{workload}"),
            &[&PROXY[..], &[&key]].concat(),
        );
        let mut expected = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x14\x0A\x01\0\x04".to_vec();
        expected.extend(address);
        let found = capture
            .windows(expected.len())
            .filter(|bytes| *bytes == expected);
        // Before and after the VM's link.
        assert_eq!(found.count(), 2, "{destination}");
    }
}

/// Returns the bytes of a run's capture.
fn captured(text: &str, overrides: &[&str]) -> Vec<u8> {
    let folder = tempfile::tempdir().expect("a folder for the capture");
    let file = folder.path().join("scenario.toml");
    let out = folder.path().join("out");
    std::fs::write(&file, text).expect("a scenario file");
    let mut arguments = vec!["run", "--quiet", file.to_str().expect("a plain path")];
    arguments.extend(["--out", out.to_str().expect("a plain path")]);
    let capture = ["output.capture=true"];
    for pair in overrides.iter().chain(&capture) {
        arguments.extend(["--set", pair]);
    }
    let output = crate::support::run(&arguments);
    assert!(output.status.success(), "{output:?}");
    std::fs::read(out.join("capture.pcapng")).expect("a capture")
}

#[test]
fn udp_has_no_header() {
    let more = "protocol = \"udp\"\nrate = \"20/s\"\nconnections = 50";
    let summary = run(more, &[]);
    assert_eq!(summary.workloads[0].responses, 50);
    assert_eq!(summary.backends[0].proxy_headers, 0);
}

#[test]
fn pp_5_pp_6_every_pair_of_service_and_application_does_what_it_must() {
    for (sends, application, answered, unexpected, missing) in [
        ("false", "plain", 10, 0, 0),
        ("true", "plain", 0, 10, 0),
        ("false", "proxy-required", 0, 0, 10),
        ("true", "proxy-required", 10, 0, 0),
        ("false", "proxy-optional", 10, 0, 0),
        ("true", "proxy-optional", 10, 0, 0),
    ] {
        let pair = [
            format!("private_link_service.service.enable_proxy_protocol={sends}"),
            format!("backend_vm.vm.application={application}"),
        ];
        let summary = run("rate = \"10/s\"\nconnections = 10", &[&pair[0], &pair[1]]);
        let failed = summary.backends[0].failed_by;
        assert_eq!(summary.workloads[0].responses, answered, "{pair:?}");
        assert_eq!(summary.backends[0].requests, answered, "{pair:?}");
        assert_eq!(
            (failed.proxy_unexpected, failed.proxy_missing),
            (unexpected, missing)
        );
        // The connections came to be: it is requests that fail.
        assert_eq!(summary.connections.established_total, 10, "{pair:?}");
        assert_eq!(summary.connections.reset, 10 - answered, "{pair:?}");
        let told = summary
            .findings
            .iter()
            .any(|finding| finding.what.contains("10 requests failed"));
        assert_eq!(told, answered == 0, "{pair:?}");
    }
}
