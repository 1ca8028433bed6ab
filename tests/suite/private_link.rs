//! What is documented of endpoints and services, through the whole path; a test's name begins with
//! the fact that it proves (docs/sources.md).

use plsim::Summary;

use crate::support::{SMALL, simulate};

fn workload(name: &str, endpoint: &str, more: &str) -> String {
    format!(
        "
[[workload]]
name = \"{name}\"
client_vm = \"client\"
private_endpoint = \"{endpoint}\"
port = 443
{more}
"
    )
}

fn endpoint(name: &str) -> String {
    format!(
        "
[[private_endpoint]]
name = \"{name}\"
subnet = \"consumer/default\"
private_link_service = \"service\"
"
    )
}

fn event(at: &str, action: &str) -> String {
    format!("\n[[event]]\nat = \"{at}\"\naction = \"{action}\"\nprivate_endpoint = \"endpoint\"\n")
}

fn run(sections: &str, overrides: &[&str]) -> Summary {
    simulate(&format!("{SMALL}{sections}"), overrides).summary
}

fn established(summary: &Summary, workload: &str) -> u64 {
    let mut rows = summary.workloads.iter();
    let row = rows.find(|row| row.name == workload);
    row.map(|row| row.connections.established_total).unwrap()
}

/// Clients dial the address that the endpoint had when the run began.
#[test]
fn pe_1_an_endpoint_keeps_its_address_through_every_state() {
    let dynamic = SMALL.replacen("ip_address = \"10.1.0.10\"\n", "", 1);
    let load = workload("w", "endpoint", "rate = \"1/s\"\nsyn_retries = 0");
    let events = event("9500ms", "reject-endpoint") + &event("19500ms", "approve-endpoint");
    for base in [SMALL, &dynamic] {
        let summary = simulate(&format!("{base}{load}{events}"), &[]).summary;
        // Those of 10 s to 19 s meet a rejected connection.
        assert_eq!(
            (summary.connections.attempted, summary.connections.closed),
            (30, 20)
        );
        assert_eq!(summary.connections.failed, 10);
    }
}

/// That is its state until the provider says more; no packet passes before.
#[test]
fn pe_6_a_pending_endpoint_waits_for_the_provider() {
    let load = workload("w", "endpoint", "rate = \"1/s\"\nsyn_retries = 0");
    let pending = "private_endpoint.endpoint.connection_state=Pending";
    let never = run(&load, &[pending]);
    assert_eq!(established(&never, "w"), 0);
    assert_eq!((never.endpoints[0].packets_in, never.nat[0].binds), (0, 0));
    let approved = event("9500ms", "approve-endpoint");
    let later = run(&format!("{load}{approved}"), &[pending]);
    assert_eq!(later.connections.closed, 20);
}

#[test]
fn pls_14_only_approved_connections_pass_in_either_direction() {
    let load =
        "arrival = \"at-once\"\nconnections = 10\nhold = \"20s\"\nkeepalive = \"1s\"\nretries = 1";
    let load = workload("w", "endpoint", load);
    for (state, closed) in [
        ("Approved", 10),
        ("Pending", 0),
        ("Rejected", 0),
        ("Disconnected", 0),
    ] {
        let state = format!("private_endpoint.endpoint.connection_state={state}");
        let summary = run(&load, &[&state]);
        assert_eq!(summary.connections.closed, closed, "{state}");
        let silent = summary.endpoints[0].packets_out == 0;
        assert_eq!(silent, closed == 0, "{state}");
    }
    // What is open when the state changes is cut.
    let cut = run(&format!("{load}{}", event("5s", "reject-endpoint")), &[]);
    assert_eq!(cut.connections.timed_out, 10);
}

#[test]
fn pls_18_a_service_has_many_endpoints_and_an_endpoint_one_service() {
    let names: Vec<String> = (0..20).map(|index| format!("pe-{index}")).collect();
    let sections = names.iter().map(|name| {
        let load = workload(name, name, "rate = \"1/s\"\nhold = \"1s\"\nstop = \"20s\"");
        endpoint(name) + &load
    });
    let summary = run(&sections.collect::<String>(), &[]);
    assert_eq!(summary.connections.closed, 20 * 20);
    assert_eq!(summary.ledger.dropped(), 0);
    let mut links: Vec<u32> = summary.endpoints.iter().map(|row| row.link_id.0).collect();
    links.sort_unstable();
    links.dedup();
    assert_eq!(links.len(), 21, "one for each");

    let two = SMALL.replace(
        "private_link_service = \"service\"",
        "private_link_service = [\"service\", \"service\"]",
    );
    let refused = plsim_scenario::parse("two.toml", two.as_bytes(), &[]).unwrap_err();
    assert!(refused.render(false).contains("not a list"));
}

/// 20 ports for each NAT IP and VM instead of 64 512, and more connections than all of them.
#[test]
fn dp_1_each_nat_ip_has_all_its_ports_on_each_vm() {
    let load = "arrival = \"at-once\"\nconnections = 1000\nclose = \"abandon\"\nsyn_retries = 0";
    let load = workload("w", "endpoint", load);
    for (nat_ips, vms) in [(1, 1), (2, 1), (1, 3), (2, 3)] {
        let ips: Vec<String> = (0..nat_ips)
            .map(|ip| format!("\"10.2.0.{}\"", 10 + ip))
            .collect();
        let overrides = [
            format!("private_link_service.service.nat_ips=[{}]", ips.join(", ")),
            format!("backend_vm.vm.count={vms}"),
            "private_link_service.service.port_range=2000-2019".to_owned(),
        ];
        let overrides: Vec<&str> = overrides.iter().map(String::as_str).collect();
        let summary = run(&load, &overrides);
        assert_eq!(established(&summary, "w"), nat_ips * vms * 20);
        let tcp = summary
            .nat
            .iter()
            .filter(|row| row.protocol.name() == "tcp");
        let full: Vec<(u32, u32)> = tcp.map(|row| (row.capacity, row.in_use)).collect();
        assert_eq!(full, vec![(20, 20); (nat_ips * vms) as usize]);
    }
    // And without a range of its own: 64k, the well-known ones left out.
    assert_eq!(run(&load, &[]).nat[0].capacity, 64_512);
}

/// 150 connections for 100 ports: each of the three ways makes room for all of them.
#[test]
fn dp_4_more_vms_nat_ips_or_services_make_room() {
    let abandoned = |count| {
        format!(
            "arrival = \"at-once\"\nconnections = {count}\nclose = \"abandon\"\nsyn_retries = 0"
        )
    };
    let ports = "private_link_service.service.port_range=2000-2099";
    let all = workload("w", "endpoint", &abandoned(150));
    assert_eq!(run(&all, &[ports]).connections.established, 100);
    let vms = run(&all, &[ports, "backend_vm.vm.count=3"]);
    assert_eq!(vms.connections.established, 150);
    let nat_ips = "private_link_service.service.nat_ips=[\"10.2.0.10\", \"10.2.0.11\"]";
    assert_eq!(run(&all, &[ports, nat_ips]).connections.established, 150);

    let service = "
[[private_link_service]]
name = \"second\"
load_balancer_frontend = \"balancer/second\"
nat_subnet = \"provider/nat\"
port_range = \"2000-2099\"
";
    let frontend = "[[load_balancer.frontend]]
name = \"second\"
subnet = \"provider/backend\"
[[load_balancer.rule]]
name = \"second\"
frontend = \"second\"
backend_pool = \"pool\"
frontend_port = 443
backend_port = 9443
[[load_balancer.backend_pool]]";
    let base = SMALL.replacen("[[load_balancer.backend_pool]]", frontend, 1);
    let other = endpoint("other").replace("\"service\"", "\"second\"");
    let halves =
        workload("w", "endpoint", &abandoned(75)) + &workload("o", "other", &abandoned(75));
    let text = format!("{base}{service}{other}{halves}");
    assert_eq!(
        simulate(&text, &[ports]).summary.connections.established,
        150
    );
}
