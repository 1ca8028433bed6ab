//! What the rules allow, and what the bad files cannot show.

use plsim_scenario::{Diagnostics, lints, parse};
use std::fs;
use std::path::Path;

const GOOD: &str = include_str!("good.toml");

/// Parses the good file after replacing each `(from, to)` once; returns what is reported.
fn reported(changes: &[(&str, &str)]) -> String {
    let mut text = GOOD.to_owned();
    for (from, to) in changes {
        assert!(text.contains(from), "{from}");
        text = text.replacen(from, to, 1);
    }
    match parse("good.toml", text.as_bytes(), &[]) {
        Ok((_, warnings)) if warnings.is_empty() => String::new(),
        Ok((_, warnings)) => Diagnostics::new(warnings).render(false),
        Err(problems) => problems.render(false),
    }
}

#[test]
fn every_rule_is_broken_by_a_bad_file() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bad");
    let mut texts = String::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path
            .extension()
            .is_some_and(|extension| extension == "stderr")
        {
            texts += &fs::read_to_string(path).unwrap();
        }
    }
    // A thousand endpoints, 301 rules or 33 services make no readable file: the next tests have them.
    let long = ["PL038", "PL097", "PL110"];
    let missing = lints().iter().filter(|lint| {
        !long.contains(&lint.code) && !texts.contains(&format!("[{}]: ", lint.code))
    });
    assert_eq!(
        missing.map(|lint| lint.code).collect::<Vec<_>>(),
        Vec::<&str>::new()
    );
}

/// Each change of a flapping VM is an event: a billion of them a second would be no run at all.
#[test]
fn a_vm_flaps_no_faster_than_every_millisecond() {
    let with = |up: &str| {
        let flapping = format!("[[backend_vm]]\nflapping = {{ up = \"{up}\", down = \"1ms\" }}");
        reported(&[("[[backend_vm]]", &flapping)])
    };
    assert!(!with("1ms").contains("PL106"), "{}", with("1ms"));
    let refused = with("999us");
    assert!(
        refused.contains("error[PL106]: a flapping VM is up for 1 ms or more"),
        "{refused}"
    );
}

/// Both ends' buffers count where they have any.
#[test]
fn connections_of_the_full_tcp_need_memory_for_their_buffers() {
    let limit = (
        "duration = \"120s\"",
        "duration = \"120s\"\nmemory_limit = \"64MiB\"",
    );
    let stack = |section: &'static str, full: bool| {
        let keys = match full {
            true => format!("{section}\ntcp_stack = \"full\"\nreceive_buffer = \"256KiB\""),
            false => section.to_owned(),
        };
        (section, keys)
    };
    for (client, server) in [(false, false), (true, false), (false, true), (true, true)] {
        let (client_vm, backend_vm) = (
            stack("[[client_vm]]", client),
            stack("[[backend_vm]]", server),
        );
        let text = reported(&[
            limit,
            (client_vm.0, &client_vm.1),
            (backend_vm.0, &backend_vm.1),
        ]);
        let is_full = client || server;
        assert_eq!(text.contains("error[PL004]"), is_full, "{text}");
        assert_eq!(text.contains("make its buffers smaller"), is_full, "{text}");
    }
}

/// The VM would be addressed in two ways on one port of one service.
#[test]
fn a_backend_port_of_a_frontend_has_floating_ip_or_has_not() {
    let with = |floating_ip: bool| {
        let twin = format!(
            "[[load_balancer.rule]]\nname = \"twin\"\nfrontend = \"front\"\n\
             backend_pool = \"pool\"\nfrontend_port = 10000\nbackend_port = 9000\n\
             floating_ip = {floating_ip}\n\n{}[[backend_vm]]",
            "[[load_balancer.rule]]\nname = \"other\"\nfrontend = \"front\"\n\
             backend_pool = \"pool\"\nfrontend_port = 10001\nbackend_port = 9000\n\
             floating_ip = true\n\n",
        );
        reported(&[("[[backend_vm]]", &twin)])
    };
    let mixed = with(false);
    assert!(
        mixed.contains("error[PL044]") && mixed.contains("with and without floating IP"),
        "{mixed}"
    );
    assert!(!with(true).contains("with and without"));
}

/// D-LBLIM.
#[test]
fn a_nic_is_reached_by_at_most_300_rules() {
    let rules = |count: usize| -> String {
        let rule = |index: usize| {
            format!(
                "[[load_balancer.rule]]\nname = \"r{index}\"\nfrontend = \"front\"\n\
                 backend_pool = \"pool\"\nfrontend_port = {0}\nbackend_port = {0}\n\n",
                10_000 + index
            )
        };
        (0..count).map(rule).collect()
    };
    let with = |count| reported(&[("[[backend_vm]]", &format!("{}[[backend_vm]]", rules(count)))]);
    assert_eq!(with(299), "");
    let report = with(300);
    assert!(
        report.contains("PL097") && report.contains("301 rules"),
        "{report}"
    );
}

/// Reports on the good file with more services on its VMs, one for each number of NAT IPs, and
/// changes of that.
fn with_services(nat_ips: &[u32], changes: &[(&str, &str)]) -> String {
    let subnet = "[[virtual_network.subnet]]\nname = \"many\"\nprefix = \"10.0.16.0/20\"\n\
                  private_link_service_network_policies = \"Disabled\"\n\n";
    let frontend = |index| {
        format!(
            "[[load_balancer.frontend]]\nname = \"f{index}\"\nsubnet = \"provider/many\"\n\n\
             [[load_balancer.rule]]\nname = \"r{index}\"\nfrontend = \"f{index}\"\n\
             backend_pool = \"pool\"\nfrontend_port = 80\nbackend_port = {}\n\n",
            10_000 + index
        )
    };
    let service = |(index, nat_ips)| {
        format!(
            "[[private_link_service]]\nname = \"s{index}\"\nload_balancer_frontend = \"lb/f{index}\"\n\
             nat_subnet = \"provider/many\"\nnat_ip_count = {nat_ips}\n\n"
        )
    };
    let frontends: String = (0..nat_ips.len()).map(frontend).collect();
    let services: String = nat_ips.iter().enumerate().map(service).collect();
    let limit = "name = \"lb\"\nprivate_link_service_limit = 600\n";
    let (network, more) = (
        format!("{subnet}[[client_vm]]"),
        format!("{frontends}{services}[[backend_vm]]"),
    );
    let base = [
        ("[[client_vm]]", network.as_str()),
        ("name = \"lb\"\n", limit),
        ("[[backend_vm]]", more.as_str()),
        ("count = 2\n", "count = 2\nvm_flow_limit = \"off\"\n"),
    ];
    reported(&[&base, changes].concat())
}

#[test]
fn the_nat_of_a_vm_has_256_nat_ips_at_most() {
    // The good file's own service has two.
    let mut most = vec![8; 31];
    most.push(6);
    assert_eq!(with_services(&most, &[]), "");
    let event = "[[event]]\nat = \"1s\"\naction = \"add-nat-ip\"\nprivate_link_service = \"s31\"\n\n[[expect]]";
    for report in [
        with_services(&most, &[("[[expect]]", event)]),
        with_services(&[8; 32], &[]),
    ] {
        assert!(
            report.contains("error[PL110]: 33 services with 25"),
            "{report}"
        );
        assert!(
            report.contains("at: backend_vm[0].backend_pools"),
            "{report}"
        );
        assert!(report.ends_with("\n1 error\n"), "{report}");
    }
    // And 255 services: with one NAT IP each they are the limit that comes first.
    assert_eq!(with_services(&[1; 254], &[]), "");
    let one = (
        "nat_ips = [\"10.0.1.10\", \"10.0.1.11\"]",
        "nat_ip_count = 1",
    );
    let report = with_services(&[1; 255], &[one]);
    let told = "256 services with 256 NAT IPs reach VM `web-0`";
    assert!(report.contains(told), "{report}");
}

#[test]
fn room_for_nat_ips_is_needed_for_what_events_bring_too() {
    let event = |keys: &str| format!("[[event]]\nat = \"1s\"\n{keys}\n\n[[expect]]");
    let no_member = ("backend_pools = [\"lb/pool\"]", "backend_pools = []");
    assert!(!with_services(&[8; 32], &[no_member]).contains("PL110"));
    let join = "action = \"add-backend\"\nbackend_vm = \"web-1\"\nbackend_pool = \"lb/pool\"";
    let report = with_services(&[8; 32], &[no_member, ("[[expect]]", &event(join))]);
    assert!(report.contains("reach VM `web-1`"), "{report}");

    let other = "[[load_balancer.backend_pool]]\nname = \"other\"\n\n[[load_balancer.rule]]";
    let other = ("[[load_balancer.rule]]", other);
    let apart = (
        "name = \"r0\"\nfrontend = \"f0\"\nbackend_pool = \"pool\"",
        "name = \"r0\"\nfrontend = \"f0\"\nbackend_pool = \"other\"",
    );
    assert!(!with_services(&[8; 32], &[other, apart]).contains("PL110"));
    let change = "action = \"change-rule\"\nrule = \"lb/r0\"\nbackend_pool = \"lb/pool\"";
    let report = with_services(&[8; 32], &[other, apart, ("[[expect]]", &event(change))]);
    assert!(report.contains("PL110"), "{report}");
}

/// D-LIM.
#[test]
fn a_service_has_at_most_1000_private_endpoints() {
    let endpoints = |count: usize| -> String {
        (0..count)
            .map(|index| {
                format!(
                    "[[private_endpoint]]\nname = \"pe-{index}\"\nsubnet = \"consumer/many\"\nprivate_link_service = \"pls\"\n\n"
                )
            })
            .collect()
    };
    let subnet = "[[virtual_network.subnet]]\nname = \"many\"\nprefix = \"10.0.16.0/20\"\n\n";
    let consumer = "[[virtual_network]]\nname = \"provider\"";
    let with = |count| {
        let (before, after) = (
            format!("{subnet}{consumer}"),
            format!("{}[[private_link", endpoints(count)),
        );
        reported(&[(consumer, &before), ("[[private_link", &after)])
    };
    assert_eq!(with(999), "");
    assert!(with(1_000).contains("error[PL038]"));
}

#[test]
fn overlapping_consumers_and_providers_are_legal() {
    // The good file has 10.0.0.0/16 on both sides already; a second consumer is no different.
    let second = "[[virtual_network]]\nname = \"second\"\naddress_space = [\"10.0.0.0/16\"]\n\n[[virtual_network.subnet]]\nname = \"all\"\nprefix = \"10.0.0.0/24\"\n\n[[private_endpoint]]\nname = \"pe-2\"\nsubnet = \"second/all\"\nip_address = \"10.0.0.4\"\nprivate_link_service = \"pls\"\n\n[[client_vm]]\nname = \"client-2\"\nsubnet = \"second/all\"\nip_address = \"10.0.0.5\"\n\n[[client_vm]]";
    assert_eq!(reported(&[("[[client_vm]]", second)]), "");
}

#[test]
fn a_peered_network_reaches_the_endpoint() {
    let spoke = "[[virtual_network]]\nname = \"spoke\"\naddress_space = [\"10.1.0.0/16\"]\n\n[[virtual_network.subnet]]\nname = \"vms\"\nprefix = \"10.1.0.0/24\"\n\n[[virtual_network_peering]]\nvirtual_networks = [\"spoke\", \"consumer\"]\n\n[[client_vm]]";
    let moved = ("subnet = \"consumer/clients\"", "subnet = \"spoke/vms\"");
    assert_eq!(reported(&[("[[client_vm]]", spoke), moved]), "");
}

#[test]
fn a_service_in_another_region_needs_only_a_latency() {
    let region = (
        "name = \"provider\"\n",
        "name = \"provider\"\nregion = \"eastus\"\n",
    );
    let latency = "[[region_latency]]\nbetween = [\"eastus\", \"westeurope\"]\nlatency = \"40ms\"\n\n[[client_vm]]";
    assert!(reported(&[region]).contains("error[PL024]"));
    assert_eq!(reported(&[region, ("[[client_vm]]", latency)]), "");
}

#[test]
fn nat_backend_and_frontend_may_share_one_subnet() {
    assert_eq!(
        reported(&[(
            "subnet = \"provider/backend\"",
            "subnet = \"provider/frontend\""
        )]),
        ""
    );
}

#[test]
fn the_smallest_subnet_is_a_29_with_three_addresses() {
    let prefix = |length| format!("prefix = \"10.0.0.0/{length}\"");
    let small = ("prefix = \"10.0.0.0/24\"", prefix(29));
    assert_eq!(
        reported(&[(small.0, &small.1), ("count = 4", "count = 3")]),
        ""
    );
    assert!(reported(&[(small.0, &small.1)]).contains("error[PL018]"));
    assert!(reported(&[(small.0, &prefix(30))]).contains("error[PL013]"));
}

#[test]
fn a_keepalive_at_the_idle_timeout_is_warned_about_and_one_before_is_not() {
    let keepalive = |text: &str, rule: &str| {
        reported(&[
            ("close = \"abandon\"", &format!("keepalive = \"{text}\"")),
            (
                "backend_port = 8080",
                &format!("backend_port = 8080\n{rule}"),
            ),
        ])
    };
    // The rule's 4 minutes come before the service's 300 s, but not 30 minutes.
    for (rule, before, at) in [
        ("", "239.999999999s", "240s"),
        ("idle_timeout = \"30min\"", "299.999999999s", "300s"),
    ] {
        assert_eq!(keepalive(before, rule), "");
        assert!(keepalive(at, rule).starts_with("warning[PL057]"));
    }
}

#[test]
fn a_keepalive_of_the_backends_saves_silent_clients_as_well() {
    let with = |servers: &str| {
        reported(&[
            ("close = \"abandon\"", "keepalive = \"linux\""),
            (
                "[[backend_vm]]",
                &format!("[[backend_vm]]\nkeepalive = {servers}"),
            ),
        ])
    };
    assert_eq!(with("\"go\""), "");
    assert_eq!(with("{ time = \"239s\", interval = \"300s\" }"), "");
    assert!(with("\"240s\"").starts_with("warning[PL057]"));
    assert!(with("\"off\"").starts_with("warning[PL057]"));
}

#[test]
fn the_idle_timeout_of_a_rule_is_4_to_100_minutes_and_above_30_in_dispute() {
    let of_rule = |text: &str| {
        let key = format!("backend_port = 8080\nidle_timeout = \"{text}\"");
        reported(&[("backend_port = 8080", &key)])
    };
    for good in ["4min", "240s", "30min"] {
        assert_eq!(of_rule(good), "");
    }
    for disputed in ["1800.000000001s", "100min"] {
        assert!(of_rule(disputed).starts_with("warning[PL049]"));
    }
    for bad in ["0s", "239.999999999s", "6000.000000001s"] {
        assert!(of_rule(bad).starts_with("error[PL048]"));
    }
}

#[test]
fn an_event_at_the_end_of_the_run_is_within_it() {
    let told = reported(&[("at = \"10s\"", "at = \"120s\"")]);
    assert!(
        told.contains("warning[PL071]: nothing follows an event at the end"),
        "{told}"
    );
    assert!(reported(&[("at = \"10s\"", "at = \"120.000000001s\"")]).contains("error[PL060]"));
}

#[test]
fn eight_nat_ips_of_64_512_ports_meet_the_flow_limit_of_a_vm() {
    let nat = |count| {
        (
            "nat_ips = [\"10.0.1.10\", \"10.0.1.11\"]",
            format!("nat_ip_count = {count}"),
        )
    };
    let (from, seven) = nat(7);
    assert_eq!(reported(&[(from, &seven)]), "");
    let (from, eight) = nat(8);
    // The default is only 3 % lower.
    assert_eq!(reported(&[(from, &eight)]), "");
    let limit = |limit: &str| {
        let written = format!("vm_flow_limit = {limit}\nbackend_pools");
        reported(&[(from, &eight), ("backend_pools", &written)])
    };
    assert!(limit("500_000").contains("516096 ports"));
    assert_eq!(limit("516_096"), "");
    let off = ("backend_pools", "vm_flow_limit = \"off\"\nbackend_pools");
    assert_eq!(reported(&[(from, &eight), off]), "");
}

#[test]
fn each_limit_can_be_off_but_not_zero() {
    for (key, before) in [
        ("endpoint_port_limit", "nat_ips = "),
        ("vm_flow_limit", "backend_pools = "),
        ("nat_table_limit", "backend_pools = "),
    ] {
        let told = |value: &str| reported(&[(before, &format!("{key} = {value}\n{before}"))]);
        assert_eq!(told("\"off\""), "", "{key}");
        assert_eq!(told("\"400k\""), told("400_000"), "{key}");
        assert!(told("0").contains("must lie between 1 and 4294967295"));
        assert!(told("\"0\"").contains("a limit of 0 would refuse every flow"));
    }
    let text = GOOD.replace("nat_ips = ", "endpoint_port_limit = \"off\"\nnat_ips = ");
    let (scenario, _) = parse("good.toml", text.as_bytes(), &[]).unwrap();
    assert_eq!(scenario.private_link_service[0].endpoint_port_limit.0, None);
}

/// GCP-DPA.
#[test]
fn reservations_have_the_numbers_that_google_takes_where_its_preset_is_said() {
    let told = |lines: &str| reported(&[("nat_ips = ", &format!("{lines}\nnat_ips = "))]);
    let dynamic = |lines: &str| told(&format!("preset = \"gcp-cloud-nat-dynamic\"\n{lines}"));
    for fine in [
        "",
        "block_size = 64",
        "block_limit = 2",
        "block_size = 1024\nblock_limit = 64",
    ] {
        assert_eq!(dynamic(fine), "", "{fine}");
    }
    for (odd, words) in [
        ("block_size = 100", "does not reserve 100 ports"),
        ("block_size = 16", "does not reserve 16 ports"),
        ("block_limit = 3", "up to 96 ports"),
        ("block_size = 64\nblock_limit = 2048", "up to 131072 ports"),
    ] {
        let told = dynamic(odd);
        assert!(told.contains("PL160") && told.contains(words), "{told}");
    }
    let alone = "port_allocation = \"reserved-blocks\"";
    assert_eq!(
        told(&format!("{alone}\nblock_size = 7\nblock_limit = 3")),
        ""
    );
    let fixed = "preset = \"gcp-cloud-nat\"";
    assert_eq!(told(&format!("{fixed}\nblock_size = 16")), "");
    for lines in [
        format!("{fixed}\nblock_grow_delay = \"1s\""),
        "port_allocation = \"blocks\"\nblock_grow_at = 0.8".to_owned(),
        "block_shrink_after = \"1s\"".to_owned(),
    ] {
        let told = told(&lines);
        assert!(told.contains("never grow"), "{told}");
    }
    let half = told(&format!("{alone}\nblock_grow_at = 0.5"));
    assert!(half.contains("must lie between 0.501 and 1"), "{half}");
}

#[test]
fn the_largest_seed_is_two_to_the_64_less_one() {
    let text = GOOD.replace("seed = 7", "seed = 18446744073709551615");
    let (scenario, _) = parse("good.toml", text.as_bytes(), &[]).unwrap();
    assert_eq!(scenario.run.seed, u64::MAX);
    let (again, _) = parse("again.toml", scenario.canonical().as_bytes(), &[]).unwrap();
    assert_eq!(again.run.seed, u64::MAX);
}

#[test]
fn one_hundred_million_connections_are_the_most() {
    let rate = |rate: &str| {
        let plenty = ("[run]\n", "[run]\nmemory_limit = \"1TiB\"\n");
        reported(&[
            plenty,
            (
                "rate = \"1000/s\"\nstop = \"60s\"",
                &format!("rate = \"{rate}\"\nstop = \"10s\""),
            ),
        ])
    };
    assert_eq!(rate("10000000/s"), "");
    let stop = ("stop = \"60s\"", "stop = \"10.0000001s\"");
    assert!(
        reported(&[("rate = \"1000/s\"", "rate = \"10000000/s\""), stop]).contains("error[PL053]")
    );
}

#[test]
fn a_diagnostic_can_be_read_by_a_program() {
    let text = GOOD.replace(
        "prefix = \"10.0.1.0/24\"\nprivate",
        "prefix = \"10.9.1.0/24\"\nprivate",
    );
    let problems = parse("good.toml", text.as_bytes(), &[]).unwrap_err();
    let problem = problems
        .iter()
        .find(|problem| problem.code() == Some("PL011"))
        .unwrap();
    assert_eq!(problem.path(), "virtual_network[1].subnet[0].prefix");
    assert_eq!(
        (problem.source_name(), problem.line_and_column()),
        ("good.toml", (34, 10))
    );
    assert!(!problem.remedies().is_empty() && problem.message().contains("outside"));
}
