//! Clients of a frontend itself: the load balancer alone, and a VM that dials its own frontend
//! (TS-6, D-CON, D-FIP, D-RST20, PP-6).

use plsim::{Report, Summary};

use crate::support::{SMALL, run, scenario, simulate, text};

/// A client VM in a subnet of the provider's network, and one workload of it.
fn test_vm(workload: &str) -> String {
    format!(
        r#"{SMALL}
[[client_vm]]
name = "test"
subnet = "provider/backend"
ip_address = "10.2.1.99"

[[workload]]
name = "w"
client_vm = "test"
load_balancer_frontend = "balancer/frontend"
port = 443
{workload}"#
    )
}

/// The only backend VMs as clients of something.
fn backends_dial(destination: &str, workload: &str) -> String {
    format!(
        r#"{SMALL}
[[workload]]
name = "w"
backend_vm = "vm"
{destination}
port = 443
{workload}"#
    )
}

const FRONTEND: &str = r#"load_balancer_frontend = "balancer/frontend""#;
const AT_ONCE: &str = "arrival = \"at-once\"\nconnections = 90\nsyn_retries = 1\n";

fn dropped(summary: &Summary, reason: &str) -> u64 {
    let mut drops = summary.ledger.drops();
    drops
        .find(|(found, _)| found.name() == reason)
        .map_or(0, |(_, count)| count)
}

fn findings(report: &Report) -> String {
    let found = report.summary.findings.iter();
    found.map(|finding| finding.what.clone() + "\n").collect()
}

#[test]
fn the_nat_is_not_touched_and_the_rule_serves() {
    let udp = "protocol = \"udp\"\narrival = \"at-once\"\nconnections = 90\n";
    for workload in [AT_ONCE, udp] {
        let summary = simulate(&test_vm(workload), &["backend_vm.vm.count=3"]).summary;
        assert_eq!(summary.connections.attempted, 90);
        assert_eq!(summary.connections.closed, 90);
        assert_eq!(summary.ledger.dropped(), 0);
        assert!(summary.nat.iter().all(|row| row.binds == 0));
        let shares: Vec<u64> = summary
            .backends
            .iter()
            .map(|vm| vm.frontend_flows)
            .collect();
        assert_eq!(shares.iter().sum::<u64>(), 90);
        assert!(shares.iter().all(|share| *share > 10), "{shares:?}");
    }
}

#[test]
fn a_client_of_a_peered_network_reaches_the_frontend_too() {
    let text = test_vm(AT_ONCE).replace(
        "provider/backend\"\nip_address = \"10.2.1.99",
        "consumer/default\"\nip_address = \"10.1.0.99",
    );
    let peered = format!(
        "{text}\n[[virtual_network_peering]]\nvirtual_networks = [\"consumer\", \"provider\"]\n"
    );
    let summary = simulate(&peered, &[]).summary;
    assert_eq!(summary.connections.closed, 90);
    assert!(summary.nat.iter().all(|row| row.binds == 0));
}

#[test]
fn a_load_balancer_without_a_service_serves_its_own_network() {
    let text = test_vm(AT_ONCE);
    let (before, after) = text.split_once("[[private_endpoint]]").unwrap();
    let (_, after) = after.split_once("[[virtual_network]]").unwrap();
    let (network, after) = after.split_once("[[private_link_service]]").unwrap();
    let (_, after) = after.split_once("[[load_balancer]]").unwrap();
    let text = format!("{before}[[virtual_network]]{network}[[load_balancer]]{after}");
    for floating in ["false", "true"] {
        let floating = format!("load_balancer.balancer.rule.tcp.floating_ip={floating}");
        let summary = simulate(&text, &[&floating]).summary;
        assert_eq!(summary.connections.closed, 90);
        assert!(summary.nat.is_empty());
    }
}

/// The reply comes from the frontend, and the VM saw the client itself.
#[test]
fn the_source_stays_and_the_destination_becomes_the_vm() {
    let folder = std::env::temp_dir().join(format!("plsim-frontend-{}", std::process::id()));
    let file = folder.join("scenario.toml");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(&file, test_vm("arrival = \"at-once\"\nconnections = 1\n")).unwrap();
    for (floating, server) in [("false", "10.2.1.5"), ("true", "10.2.1.4")] {
        let out = folder.join(floating);
        let floating = format!("load_balancer.balancer.rule.tcp.floating_ip={floating}");
        let arguments = [
            "run",
            file.to_str().unwrap(),
            "--set",
            "output.capture=true",
            "--set",
            &floating,
            "--set",
            "backend_vm.vm.ip_address=10.2.1.5",
            "--set",
            "load_balancer.balancer.frontend.frontend.ip_address=10.2.1.4",
            "--out",
            out.to_str().unwrap(),
        ];
        assert!(run(&arguments).status.success());
        let capture = std::fs::read(out.join("capture.pcapng")).unwrap();
        let address =
            |text: &str| -> [u8; 4] { text.parse::<std::net::Ipv4Addr>().unwrap().octets() };
        let pair = |from: &str, to: &str| [address(from), address(to)].concat();
        let has = |pair: &[u8]| capture.windows(8).any(|bytes| bytes == pair);
        assert!(has(&pair("10.2.1.99", server)), "{floating}");
        assert!(has(&pair(server, "10.2.1.99")), "{floating}");
        assert!(!has(&pair("10.2.0.10", "10.2.1.5")), "no NAT IP");
    }
    std::fs::remove_dir_all(&folder).unwrap();
}

/// D-CON: sent back to itself, a VM has one address at both ends.
#[test]
fn a_vm_reaches_its_own_frontend_only_on_another_vm() {
    for (count, least) in [(1, 90), (3, 15)] {
        let overrides = [format!("backend_vm.vm.count={count}")];
        let overrides: Vec<&str> = overrides.iter().map(String::as_str).collect();
        let report = simulate(&backends_dial(FRONTEND, AT_ONCE), &overrides);
        let summary = &report.summary;
        let failed = summary.connections.failed;
        assert_eq!(summary.connections.closed + failed, 90);
        assert!(failed >= least && failed <= 90 / count + 20, "{failed}");
        assert_eq!(summary.workloads[0].failed_by.timeout, failed);
        // Each of them sent its SYN twice, and nothing else was lost.
        assert_eq!(dropped(summary, "lb-hairpin"), 2 * failed);
        assert_eq!(summary.ledger.dropped(), 2 * failed);
        let finding = format!(
            "vm: {failed} of 90 connections failed: a VM cannot reach itself through its own frontend."
        );
        assert!(
            findings(&report).contains(&finding),
            "{}",
            findings(&report)
        );
    }
}

/// The NAT gives the packet another source, so the same VM answers itself.
#[test]
fn through_a_private_endpoint_a_vm_reaches_itself() {
    let text = backends_dial("private_endpoint = \"inside\"", AT_ONCE)
        + r#"
[[private_endpoint]]
name = "inside"
subnet = "provider/backend"
private_link_service = "service"
"#;
    let summary = simulate(&text, &[]).summary;
    assert_eq!(summary.connections.closed, 90);
    assert_eq!(summary.nat[0].binds, 90);
}

/// D-FIP: with floating IP the VM has the frontend's address itself, and its packets stay inside.
#[test]
fn with_floating_ip_a_vm_answers_itself_on_the_port_that_it_listens_on() {
    let floating = "load_balancer.balancer.rule.tcp.floating_ip=true";
    let same_port = "load_balancer.balancer.rule.tcp.backend_port=443";
    let text = backends_dial(FRONTEND, AT_ONCE);
    let overrides = ["backend_vm.vm.count=3", floating, same_port];
    let summary = simulate(&text, &overrides).summary;
    assert_eq!(summary.connections.closed, 90);
    assert_eq!(summary.lb.syns, 0, "the load balancer sees none of it");
    let shares: Vec<u64> = summary.backends.iter().map(|vm| vm.requests).collect();
    assert_eq!(shares, [30, 30, 30]);
    // Nobody listens on the frontend's port.
    let summary = simulate(&text, &["backend_vm.vm.count=3", floating]).summary;
    assert_eq!(summary.workloads[0].failed_by.refused, 90);
}

/// The idle timer of the rule, with the service's out of play.
#[test]
fn only_the_rules_idle_timeout_binds() {
    let rule = "load_balancer.balancer.rule.tcp.idle_timeout";
    let reset = "load_balancer.balancer.rule.tcp.enable_tcp_reset=true";
    let forget = "load_balancer.balancer.lb_idle_action=forget";
    let silent_for = |seconds: &str, idle: &str, more: &[&str]| {
        let workload = format!(
            "arrival = \"at-once\"\nconnections = 1\nhold = \"700s\"\nkeepalive = \"{seconds}s\"\nretries = 3\n"
        );
        let idle = format!("{rule}={idle}");
        let overrides = [&["run.duration=2000s", idle.as_str()], more].concat();
        simulate(&test_vm(&workload), &overrides)
    };
    let closed = |report: &Report| report.summary.connections.closed == 1;
    assert!(closed(&silent_for("239", "4min", &[])));
    // 300 s of the service are nothing to it.
    assert!(closed(&silent_for("599", "10min", &[])));
    let silence = silent_for("241", "4min", &[]);
    assert_eq!(silence.summary.connections.timed_out, 1);
    assert!(dropped(&silence.summary, "lb-idle") > 0);
    assert_eq!(silence.summary.backends[0].frontend_lb_idle, 1);
    assert_eq!(silence.summary.ledger.injected_by.lb, 0);
    assert!(findings(&silence).contains("dropped 1 connection to a frontend itself"));
    let told = silent_for("241", "4min", &[reset]);
    assert_eq!(told.summary.connections.idle_expired, 1);
    assert_eq!(told.summary.ledger.injected_by.lb, 2);
    let forgotten = silent_for("241", "4min", &[forget]);
    assert!(closed(&forgotten));
    assert_eq!(forgotten.summary.ledger.dropped(), 0);
}

#[test]
fn the_ceiling_of_a_frontends_own_clients_stands_beside_the_services() {
    let rows = simulate(&test_vm(AT_ONCE), &[]).summary.idle;
    let rows: Vec<_> = rows
        .iter()
        .map(|row| {
            (
                row.pls.as_str(),
                row.ceiling().to_string(),
                row.set_by.name(),
            )
        })
        .collect();
    assert_eq!(
        rows,
        [
            ("service", "300 s".to_owned(), "service"),
            ("", "1800 s".to_owned(), "rule")
        ]
    );
}

#[test]
fn a_drained_vm_resets_the_connections_of_direct_clients_too() {
    let workload = "arrival = \"at-once\"\nconnections = 40\nhold = \"20s\"\n";
    let text = test_vm(workload)
        + r#"
[[event]]
at = "5s"
action = "drain-backend"
backend_vm = "vm-0"
backend_pool = "balancer/pool"
drain_period = "3s"
"#;
    let summary = simulate(&text, &["backend_vm.vm.count=2"]).summary;
    let on_it = summary.backends[0].frontend_flows;
    assert!(on_it > 5, "{on_it}");
    assert_eq!(summary.connections.reset, on_it);
    assert_eq!(summary.connections.closed, 40 - on_it);
    assert_eq!(summary.ledger.injected_by.lb, 2 * on_it);
}

/// PP-6: only a Private Link Service sends the header.
#[test]
fn an_application_that_wants_a_proxy_header_gets_none() {
    let proxy = "private_link_service.service.enable_proxy_protocol=true";
    let application = "backend_vm.vm.application=proxy-required";
    let summary = simulate(&test_vm(AT_ONCE), &[proxy, application]).summary;
    assert_eq!(summary.connections.reset, 90);
    assert_eq!(summary.backends[0].failed_by.proxy_missing, 90);
    assert_eq!(summary.backends[0].proxy_headers, 0);
}

/// What a frontend's clients cannot reach has the reason of the load balancer.
#[test]
fn a_port_without_a_rule_is_dropped_and_told() {
    let text = test_vm(AT_ONCE).replace("port = 443\narrival", "port = 444\narrival");
    let report = simulate(&text, &[]);
    assert_eq!(dropped(&report.summary, "no-lb-rule"), 180);
    assert_eq!(report.summary.refusals[0].pls, "");
    assert!(findings(&report).contains("90 connections to a frontend itself were dropped"));
}

#[test]
fn the_shipped_scenario_says_what_the_test_proves_and_which_one_misleads() {
    let file = scenario("frontend-clients");
    let shown = run(&["run", file.to_str().unwrap()]);
    let shown = (text(&shown.stdout), text(&shown.stderr));
    let one_line = shown.0.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(one_line.contains("None of 600 connections to frontend balancer/orders itself failed"));
    assert!(one_line.contains("a VM cannot reach itself through its own frontend"));
    assert!(shown.1.contains("PL068"), "{}", shown.1);
}
