//! The load balancer through the whole path: rules, and pools that change while traffic flows.

use plsim::Summary;

use crate::support::{SMALL, simulate};

/// 100 TCP connections that stay open and say something every 2 s, on two VMs.
const OPEN: &str = r#"
[[workload]]
name = "tcp"
client_vm = "client"
private_endpoint = "endpoint"
port = 443
arrival = "at-once"
connections = 100
hold = "25s"
keepalive = "2s"
"#;

/// 100 UDP flows with a request every second.
const TALK: &str = r#"
[[workload]]
name = "udp"
client_vm = "client"
private_endpoint = "endpoint"
protocol = "udp"
port = 443
arrival = "at-once"
connections = 100
interval = "1s"
hold = "25s"
"#;

const TWO: &str = "backend_vm.vm.count=2";

fn event(at: &str, action: &str, more: &str) -> String {
    format!("\n[[event]]\nat = \"{at}\"\naction = \"{action}\"\n{more}\n")
}

fn run(sections: &str, overrides: &[&str]) -> Summary {
    simulate(&format!("{SMALL}{sections}"), overrides).summary
}

fn binds(summary: &Summary, protocol: &str, backend: &str) -> u64 {
    let rows = summary.nat.iter().filter(|row| row.backend == backend);
    let own = rows.filter(|row| row.protocol.name() == protocol);
    own.map(|row| row.binds).sum()
}

#[test]
fn a_removed_vm_keeps_its_connections_and_loses_its_datagrams() {
    let gone = event("5s", "remove-backend", "backend_vm = \"vm-0\"");
    let summary = run(&format!("{OPEN}{TALK}{gone}"), &[TWO]);
    assert_eq!(
        (summary.connections.closed, summary.connections.reset),
        (200, 0)
    );
    let udp = binds(&summary, "udp", "vm-0");
    let [change] = summary.membership_changes.as_slice() else {
        panic!("{:?}", summary.membership_changes)
    };
    assert_eq!(change.moved, udp, "all of its flows moved");
    assert_eq!(u64::from(change.kept), binds(&summary, "tcp", "vm-0"));
    assert_eq!((change.cause, change.eligible), ("removed", 1));
    assert_eq!(binds(&summary, "udp", "vm-1"), 100);
}

/// API: drainPeriodInSeconds, then a reset for both ends.
#[test]
fn a_drained_vm_has_its_connections_reset_when_the_time_is_over() {
    let drain = event(
        "5s",
        "drain-backend",
        "backend_vm = \"vm-0\"\ndrain_period = \"10s\"",
    );
    let by_pool = event("5s", "remove-backend", "backend_vm = \"vm-0\"");
    let period = "load_balancer.balancer.backend_pool.pool.drain_period=10s";
    for (text, overrides) in [(drain, vec![TWO]), (by_pool, vec![TWO, period])] {
        let summary = run(&format!("{OPEN}{text}"), &overrides);
        let own = binds(&summary, "tcp", "vm-0");
        assert!((30..70).contains(&own));
        assert_eq!(
            (summary.connections.reset, summary.connections.closed),
            (own, 100 - own)
        );
        assert_eq!(
            summary.ledger.injected_by.lb,
            2 * own,
            "an RST for each end"
        );
        let early = run(
            &format!("{OPEN}{text}"),
            &[&overrides[..], &["run.duration=15s"]].concat(),
        );
        assert_eq!(early.connections.reset, 0, "not before the time is over");
    }
}

#[test]
fn a_vm_that_comes_back_in_time_keeps_its_connections() {
    let drain = event(
        "5s",
        "drain-backend",
        "backend_vm = \"vm-0\"\ndrain_period = \"10s\"",
    );
    let back = "backend_vm = \"vm-0\"\nbackend_pool = \"balancer/pool\"";
    let back = event("10s", "add-backend", back);
    let summary = run(&format!("{OPEN}{drain}{back}"), &[TWO]);
    assert_eq!(
        (summary.connections.closed, summary.connections.reset),
        (100, 0)
    );
}

/// A second time to drain begins anew: the first one is over with the VM's return.
#[test]
fn a_vm_that_drains_twice_has_its_whole_second_time() {
    let drain = |at| {
        let more = "backend_vm = \"vm-0\"\ndrain_period = \"10s\"";
        event(at, "drain-backend", more)
    };
    let back = "backend_vm = \"vm-0\"\nbackend_pool = \"balancer/pool\"";
    let events = [drain("5s"), event("10s", "add-backend", back), drain("12s")].concat();
    let text = format!("{OPEN}{events}");
    let until = |end| run(&text, &[TWO, end]).connections.reset;
    assert_eq!(until("run.duration=21999ms"), 0, "not at 15 s");
    assert!(until("run.duration=23s") > 30);
}

/// What ends with a pool are the flows that came by it, not all of a rule that leads to it later.
#[test]
fn draining_a_pool_spares_connections_of_another_on_the_same_vm() {
    let second =
        "[[load_balancer.backend_pool]]\nname = \"other\"\n\n[[load_balancer.backend_pool]]";
    let small = SMALL.replacen("[[load_balancer.backend_pool]]", second, 1);
    let other = "backend_vm = \"vm-0\"\nbackend_pool = \"balancer/other\"";
    let events = [
        event("1s", "add-backend", other),
        event(
            "5s",
            "drain-backend",
            &format!("{other}\ndrain_period = \"1s\""),
        ),
        event(
            "20s",
            "change-rule",
            "rule = \"balancer/tcp\"\nbackend_pool = \"balancer/other\"",
        ),
    ];
    let text = format!("{small}{OPEN}{}", events.concat());
    let summary = simulate(&text, &[TWO]).summary;
    assert_eq!(
        (summary.connections.closed, summary.connections.reset),
        (100, 0)
    );
}

/// A NAT IP that is added changes what is hashed, and must not tear connections apart.
#[test]
fn where_nat_ips_are_hashed_another_one_harms_no_connection() {
    let grows = event("5s", "add-nat-ip", "private_link_service = \"service\"");
    let hashed = "load_balancer.balancer.hash_tuple=nat-ip";
    let summary = run(&format!("{OPEN}{TALK}{grows}"), &[TWO, hashed]);
    assert_eq!(summary.connections.closed, 200);
    assert_eq!(summary.ledger.dropped(), 0);
    let changes = summary.membership_changes.iter();
    let moved: u64 = changes
        .filter(|change| change.cause == "nat-ip")
        .map(|change| change.moved)
        .sum();
    assert!(moved > 10, "{moved} datagram flows moved");
}

#[test]
fn a_vm_that_joins_gets_its_share_of_new_connections() {
    let more = r#"
[[backend_vm]]
name = "late"
subnet = "provider/backend"
backend_pools = []

[[workload]]
name = "steady"
client_vm = "client"
private_endpoint = "endpoint"
port = 443
rate = "100/s"
stop = "20s"
"#;
    let joins = "backend_vm = \"late\"\nbackend_pool = \"balancer/pool\"";
    let summary = run(
        &format!("{more}{}", event("10s", "add-backend", joins)),
        &[],
    );
    assert_eq!(summary.connections.closed, 2_000);
    let late = binds(&summary, "tcp", "late");
    assert!(late.abs_diff(500) < 70, "{late} of 1000");
}

/// X8: documents disagree about established connections.
#[test]
fn admin_state_down_spares_or_resets_connections() {
    let down = event(
        "5s",
        "set-admin-state",
        "backend_vm = \"vm-0\"\nadmin_state = \"down\"",
    );
    let text = format!("{OPEN}{TALK}{down}");
    let kept = run(&text, &[TWO]);
    assert_eq!((kept.connections.closed, kept.connections.reset), (200, 0));
    assert!(kept.membership_changes[0].moved > 30);
    let reset = run(&text, &[TWO, "load_balancer.balancer.admin_down=reset"]);
    assert_eq!(reset.connections.reset, binds(&reset, "tcp", "vm-0"));
}

#[test]
fn admin_state_up_overrules_a_vm_that_is_down() {
    let down = event("0s", "backend-down", "backend_vm = \"vm\"");
    let summary = run(&format!("{OPEN}{down}"), &["backend_vm.vm.admin_state=up"]);
    assert_eq!(summary.connections.closed, 100);
}

#[test]
fn a_rule_s_new_port_and_pool_are_for_new_connections() {
    let more = r#"
[[backend_vm]]
name = "other"
subnet = "provider/backend"
backend_pools = ["balancer/second"]

[[workload]]
name = "later"
client_vm = "client"
private_endpoint = "endpoint"
port = 443
rate = "10/s"
start = "10s"
stop = "20s"
"#;
    let pool = "[[load_balancer.backend_pool]]\nname = \"pool\"";
    let small = SMALL.replacen(
        pool,
        &format!("[[load_balancer.backend_pool]]\nname = \"second\"\n{pool}"),
        1,
    );
    let change = "rule = \"balancer/tcp\"\nbackend_port = 9443\nbackend_pool = \"balancer/second\"";
    let change = event("5s", "change-rule", change);
    let summary = simulate(&format!("{small}{OPEN}{more}{change}"), &[]).summary;
    assert_eq!(
        (summary.connections.closed, summary.connections.failed),
        (200, 0)
    );
    assert_eq!(binds(&summary, "tcp", "vm"), 100);
    assert_eq!(binds(&summary, "tcp", "other"), 100);
}

/// D-DIST: the mode is switched without downtime; datagrams go elsewhere.
#[test]
fn a_rule_s_new_distribution_harms_no_connection() {
    let change = |rule: &str| {
        let more = format!("rule = \"balancer/{rule}\"\ndistribution = \"SourceIP\"");
        event("5s", "change-rule", &more)
    };
    let text = format!("{OPEN}{TALK}{}{}", change("tcp"), change("udp"));
    let summary = run(&text, &[TWO]);
    assert_eq!(
        (summary.connections.closed, summary.connections.failed),
        (200, 0)
    );
    let moved: Vec<u64> = summary
        .membership_changes
        .iter()
        .map(|row| row.moved)
        .collect();
    assert_eq!((moved[0], moved.len()), (0, 2));
    assert!(
        (30..70).contains(&moved[1]),
        "one client: all go to one VM, {moved:?}"
    );
}

/// API: enableConnectionTracking, on the rule and on the frontend, which stands above it.
#[test]
fn tracked_udp_stays_while_the_pool_grows() {
    let late =
        "[[backend_vm]]\nname = \"late\"\nsubnet = \"provider/backend\"\nbackend_pools = []\n";
    let joins = "backend_vm = \"late\"\nbackend_pool = \"balancer/pool\"";
    let text = format!("{late}{TALK}{}", event("5s", "add-backend", joins));
    let moved = |overrides: &[&str]| run(&text, overrides).membership_changes[0].moved;
    assert!(moved(&[]) > 30);
    let rule = "load_balancer.balancer.rule.udp.connection_tracking=true";
    assert_eq!(moved(&[rule]), 0);
    let frontend = "load_balancer.balancer.frontend.frontend.connection_tracking=false";
    assert!(moved(&[rule, frontend]) > 30);
}

/// D-LBLIM: HA ports.
#[test]
fn a_rule_for_all_ports_carries_every_port_of_both_protocols() {
    let rules = SMALL.find("[[load_balancer.rule]]").unwrap();
    let after = SMALL.find("[[backend_vm]]").unwrap();
    let all = r#"
[[load_balancer.rule]]
name = "all"
frontend = "frontend"
backend_pool = "pool"
protocol = "all"
frontend_port = 0
backend_port = 0

"#;
    let small = format!("{}{all}{}", &SMALL[..rules], &SMALL[after..]);
    let other = OPEN.replace("\"tcp\"", "\"ssh\"").replace("443", "22");
    let summary = simulate(&format!("{small}{OPEN}{other}{TALK}"), &[]).summary;
    assert_eq!(summary.connections.closed, 300);
    assert_eq!(summary.ledger.dropped(), 0);
}

/// D-FIP: connections, datagrams and resets are for the frontend's address, and answered from it.
#[test]
fn with_floating_ip_the_vm_is_addressed_as_the_frontend() {
    let floating = [
        "load_balancer.balancer.rule.tcp.floating_ip=true",
        "load_balancer.balancer.rule.udp.floating_ip=true",
        "private_link_service.service.idle_timeout=10s",
    ];
    let silent = OPEN.replace("keepalive = \"2s\"\n", "");
    let summary = run(&format!("{silent}{TALK}"), &floating);
    assert_eq!(summary.connections.closed, 100, "UDP");
    assert_eq!(summary.connections.idle_expired, 100, "TCP");
    assert_eq!(summary.ledger.injected_by.nat, 200);
    assert_eq!(summary.ledger.dropped(), 0, "the VMs took their resets");
}

/// Two services with one backend port between them: the VM tells them apart by the address.
#[test]
fn two_services_share_a_backend_port_with_floating_ip() {
    let more = r#"
[[private_link_service]]
name = "second"
load_balancer_frontend = "balancer/second"
nat_subnet = "provider/nat"

[[private_endpoint]]
name = "second"
subnet = "consumer/default"
private_link_service = "second"
"#;
    let second = r#"[[load_balancer.frontend]]
name = "second"
subnet = "provider/backend"
[[load_balancer.rule]]
name = "second"
frontend = "second"
backend_pool = "pool"
frontend_port = 443
backend_port = 8443
floating_ip = true
[[load_balancer.backend_pool]]"#;
    let small = SMALL.replacen("[[load_balancer.backend_pool]]", second, 1);
    let other = OPEN
        .replace("\"tcp\"", "\"other\"")
        .replace("\"endpoint\"", "\"second\"");
    let floating = ["load_balancer.balancer.rule.tcp.floating_ip=true"];
    let summary = simulate(&format!("{small}{more}{OPEN}{other}"), &floating).summary;
    assert_eq!(summary.connections.closed, 200);
    assert_eq!(summary.ledger.dropped(), 0);
}

/// The NAT IP that was hashed is the one that the NAT takes, as long as it has ports.
/// Thirty-two services with eight NAT IPs each: what rule PL110 lets pass, the NAT takes.
#[test]
fn a_vm_takes_256_nat_ips() {
    let more: String = (1..32)
        .map(|index| {
            format!(
                "[[load_balancer.frontend]]\nname = \"f{index}\"\nsubnet = \"provider/backend\"\n\n\
                 [[load_balancer.rule]]\nname = \"r{index}\"\nfrontend = \"f{index}\"\n\
                 backend_pool = \"pool\"\nfrontend_port = 443\nbackend_port = {}\n\n\
                 [[private_link_service]]\nname = \"s{index}\"\nnat_subnet = \"provider/nat\"\n\
                 load_balancer_frontend = \"balancer/f{index}\"\nnat_ip_count = 8\n\
                 port_range = \"1024-1033\"\n\n",
                9_000 + index
            )
        })
        .collect();
    let text = SMALL
        .replace(
            "nat_ips = [\"10.2.0.10\"]",
            "nat_ip_count = 8\nport_range = \"1024-1033\"",
        )
        .replace("prefix = \"10.2.0.0/24\"\n", "prefix = \"10.2.32.0/23\"\n")
        .replace(
            "name = \"balancer\"\n",
            "name = \"balancer\"\nprivate_link_service_limit = 32\n",
        )
        .replace("[[backend_vm]]", &format!("{more}[[backend_vm]]"));
    let summary = simulate(&format!("{text}{OPEN}"), &["workload.tcp.connections=80"]).summary;
    // TCP and UDP; only the first service is used, and to its last port.
    assert_eq!(summary.nat.len(), 8 + 256);
    assert_eq!(summary.connections.closed, 80);
}

#[test]
fn the_nat_takes_the_nat_ip_that_the_load_balancer_has_hashed() {
    let nat_ip = [
        TWO,
        "load_balancer.balancer.hash_tuple=nat-ip",
        "load_balancer.balancer.rule.tcp.distribution=2-tuple",
        "private_link_service.service.nat_ips=[\"10.2.0.10\", \"10.2.0.11\", \"10.2.0.12\"]",
    ];
    let summary = run(OPEN, &nat_ip);
    let used = summary.nat.iter().filter(|row| row.binds > 0);
    let mut nat_ips: Vec<_> = used.map(|row| row.nat_ip).collect();
    nat_ips.sort_unstable();
    let count = nat_ips.len();
    nat_ips.dedup();
    assert_eq!((nat_ips.len(), count), (3, 3), "each NAT IP on one VM only");
}

#[test]
fn the_order_of_backend_vms_in_the_file_changes_nothing() {
    let vm = |name: &str, address: &str| {
        format!(
            "\n[[backend_vm]]\nname = \"{name}\"\nsubnet = \"provider/backend\"\n\
             ip_address = \"{address}\"\nbackend_pools = [\"balancer/pool\"]\n"
        )
    };
    let (a, b) = (vm("a", "10.2.1.20"), vm("b", "10.2.1.30"));
    let digest = |text: &str| run(text, &[]).digest.to_string();
    for rehash in ["maglev", "modulo", "rendezvous"] {
        let rehash = format!("load_balancer.balancer.rehash={rehash}");
        let run = |text: &str| simulate(&format!("{SMALL}{text}{OPEN}"), &[&rehash]).summary;
        assert_eq!(
            run(&format!("{a}{b}")).digest.to_string(),
            run(&format!("{b}{a}")).digest.to_string()
        );
    }
    assert_ne!(digest(OPEN), digest(&format!("{a}{OPEN}")));
}

/// What is uneven by configuration is told with its remedy; what a change of the pool made so is not.
#[test]
fn an_uneven_distribution_is_told_with_what_would_help() {
    let more = OPEN.replace("= 100", "= 500");
    let by_address = "load_balancer.balancer.rule.tcp.distribution=SourceIP";
    let told = |text: &str, overrides: &[&str]| run(text, overrides).findings;
    assert_eq!(told(&more, &[TWO]), []);
    let found = told(&more, &[TWO, by_address]);
    let [finding] = found.as_slice() else {
        panic!("{found:?}")
    };
    assert!(
        finding
            .what
            .ends_with("got 2.0 times the mean of 500 tcp flows; 1 of 2 got nothing.")
    );
    assert!(finding.help[0].contains("5-tuple"));
    let weak = [
        TWO,
        "load_balancer.balancer.hash=weak-parity",
        "client_vm.client.ephemeral_port_order=even-first",
    ];
    let found = told(&more, &weak);
    assert!(found[0].help[0].starts_with("A weak hash"), "{found:?}");
    let down = event("20s", "backend-down", "backend_vm = \"vm-0\"");
    assert_eq!(told(&format!("{more}{down}"), &[TWO, by_address]), []);
}

#[test]
fn a_vm_that_is_in_no_pool_may_go_down_and_come_back() {
    let late =
        "[[backend_vm]]\nname = \"late\"\nsubnet = \"provider/backend\"\nbackend_pools = []\n";
    let vm = "backend_vm = \"late\"";
    let joins = format!("{vm}\nbackend_pool = \"balancer/pool\"");
    let events = [
        event("1s", "backend-down", vm),
        event("2s", "add-backend", &joins),
        event("3s", "remove-backend", vm),
        event("4s", "backend-up", vm),
    ];
    let summary = run(&format!("{late}{TALK}{}", events.concat()), &[]);
    assert_eq!(summary.connections.closed, 100);
    assert_eq!(binds(&summary, "udp", "late"), 0);
}
