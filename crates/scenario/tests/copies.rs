//! Sections that stand for many.

use plsim_scenario::{Scenario, Workload, parse};

const COPIES: &str = r#"
[run]
duration = "10s"

[[virtual_network]]
name = "consumer-{n}"
copies = 2
address_space = ["10.0.0.0/16"]

[[virtual_network.subnet]]
name = "default"
prefix = "10.0.0.0/24"

[[client_vm]]
name = "client-{n}"
copies = 2
subnet = "consumer-{n}/default"
ip_address = "10.0.0.1{n}"

[[private_endpoint]]
name = "endpoint-{n}"
copies = 4
subnet = "consumer-{n%2}/default"
private_link_service = "service-{n/2}"

[[virtual_network]]
name = "provider"
address_space = ["10.2.0.0/16"]

[[virtual_network.subnet]]
name = "nat"
prefix = "10.2.0.0/24"
private_link_service_network_policies = "Disabled"

[[private_link_service]]
name = "service-{n}"
copies = 2
load_balancer_frontend = "balancer-{n}/frontend-1"
nat_subnet = "provider/nat"

[[load_balancer]]
name = "balancer-{n}"
copies = 2

[[load_balancer.frontend]]
name = "frontend-{n}"
copies = 2
subnet = "provider/nat"

[[load_balancer.backend_pool]]
name = "pool-{n}"

[[load_balancer.rule]]
name = "https"
frontend = "frontend-1"
backend_pool = "pool-{n}"
frontend_port = 443
backend_port = 443

[[backend_vm]]
name = "vm-{n}"
copies = 2
subnet = "provider/nat"
backend_pools = ["balancer-{n}/pool-{n}"]

[[workload]]
name = "requests-{n}"
copies = 2
client_vm = "client-{n}"
private_endpoint = "endpoint-{n}"
port = 443
rate = "1/s"
"#;

fn read(text: &str) -> Scenario {
    let read = parse("copies.toml", text.as_bytes(), &[]);
    read.unwrap_or_else(|problems| panic!("{}", problems.render(false)))
        .0
}

/// What `COPIES` says, without copies.
fn written_out() -> String {
    let mut text = String::new();
    // Sections of a load balancer belong to it: it is written out with them.
    let (before, rest) = COPIES.split_once("[[load_balancer]]").expect("a section");
    let (balancer, after) = rest.split_once("[[backend_vm]]").expect("a section");
    let balancer = format!("[[load_balancer]]{balancer}");
    let (networks, before) = before.split_once("[[client_vm]]").expect("a section");
    let (run, networks) = networks
        .split_once("[[virtual_network]]")
        .expect("a section");
    text.push_str(run);
    for number in 0..2 {
        let network = format!("[[virtual_network]]{networks}").replace("copies = 2\n", "");
        text.push_str(&network.replace("{n}", &number.to_string()));
    }
    for section in format!("[[client_vm]]{before}").split("\n\n") {
        text.push_str(&copied(section));
    }
    for number in 0..2 {
        let mut own = balancer.replacen("copies = 2\n", "", 1);
        let frontend = own.find("[[load_balancer.frontend]]").expect("a section");
        let pool = own
            .find("[[load_balancer.backend_pool]]")
            .expect("a section");
        let frontends = copied(&own[frontend..pool]);
        own.replace_range(frontend..pool, &frontends);
        text.push_str(&own.replace("{n}", &number.to_string()));
    }
    for section in format!("[[backend_vm]]{after}").split("\n\n") {
        text.push_str(&copied(section));
    }
    text
}

/// Writes a section out, if it has copies.
fn copied(section: &str) -> String {
    let count = section
        .lines()
        .find_map(|line| line.strip_prefix("copies = "));
    let count: usize = count.map_or(1, |count| count.parse().expect("a number"));
    let mut text = String::new();
    for number in 0..count {
        let own = section
            .replace(&format!("copies = {count}\n"), "")
            .replace("{n}", &number.to_string())
            .replace("{n/2}", &(number / 2).to_string())
            .replace("{n%2}", &(number % 2).to_string());
        text.push_str(&format!("{own}\n\n"));
    }
    text
}

#[test]
fn copies_are_what_one_would_write_by_hand() {
    let by_hand = written_out();
    assert!(!by_hand.contains("copies") && !by_hand.contains('{'));
    assert_eq!(read(COPIES).canonical(), read(&by_hand).canonical());
}

#[test]
fn copies_can_be_set_from_outside() {
    let set = ["workload.requests-{n}.copies=1".to_owned()];
    let (scenario, _) = parse("copies.toml", COPIES.as_bytes(), &set).unwrap();
    assert_eq!(scenario.workload.len(), 1);
}

#[test]
fn copies_of_a_workload_with_one_name_are_counted_as_one() {
    let scenario = read(&COPIES.replace("requests-{n}", "requests"));
    assert_eq!(scenario.workload.len(), 2);
    assert_eq!(scenario.counted_workloads().count(), 1);
    let copies: Vec<u32> = scenario.workload.iter().map(Workload::copy).collect();
    assert_eq!(copies, [0, 1]);
}
