//! Live connections that go on working: end-to-end packets per second of wall time through endpoint, load
//! balancer and NAT, with all statistics, and bytes of memory per connection, on one thread and on two.
//!
//! 4 consumer networks, 8 NAT IPs on 10 VMs. 100 000 connections open in a second of virtual time until all are
//! there; then each has its turn again: 100 000 requests and responses per second, three packets each, at
//! connections whose state has left the caches if there are many. That is measured.
//!
//! `cargo bench -p plsim-benches --bench live` takes all rows; `-- 64512 1032192` takes those.

use std::fmt::Write as _;
use std::fs;
use std::time::{Duration as Wall, Instant as WallClock};

use plsim::{Simulation, Step, Threads};
use plsim_benches::{PROVIDER, say, simulation};
use plsim_types::{Duration, Instant};

const ROWS: [u64; 3] = [64_512, 1_032_192, 4_128_768];
/// Requests in a second of virtual time.
const REQUESTS: u64 = 100_000;
const NETWORKS: u64 = 4;
/// How many seconds of virtual time are measured.
const SPAN: u64 = 10;

/// A service of the largest size.
const LARGE: [&str; 3] = [
    "private_link_service.service.nat_ip_count=8",
    "backend_vm.vm.count=10",
    "backend_vm.vm.vm_flow_limit=off",
];

/// Returns when all connections have been open for a second, in seconds.
const fn open(flows: u64) -> u64 {
    flows.div_ceil(REQUESTS) + 1
}

fn scenario(flows: u64) -> String {
    let duration = open(flows) + SPAN;
    let mut text = format!("[run]\nduration = \"{duration}s\"\n{PROVIDER}");
    let (share, rate) = (flows / NETWORKS, REQUESTS / NETWORKS);
    let interval = flows * 1_000_000 / REQUESTS;
    for network in 0..NETWORKS {
        write!(
            text,
            r#"
[[virtual_network]]
name = "consumer-{network}"
address_space = ["10.1.0.0/16"]
[[virtual_network.subnet]]
name = "default"
prefix = "10.1.0.0/24"

[[client_vm]]
name = "client-{network}"
subnet = "consumer-{network}/default"
count = 40

[[private_endpoint]]
name = "endpoint-{network}"
subnet = "consumer-{network}/default"
private_link_service = "service"

[[workload]]
name = "requests-{network}"
client_vm = "client-{network}"
private_endpoint = "endpoint-{network}"
port = 443
rate = "{rate}/s"
connections = {share}
hold = "1h"
interval = "{interval}us"
request_size = "200B"
response_size = "1kB"
"#
        )
        .expect("a text can be written to");
    }
    text
}

/// What one row came to.
struct Row {
    packets: u64,
    wall: Wall,
    bytes: u64,
}

fn measure(flows: u64, threads: Threads, span: u64) -> Row {
    let before = resident();
    let mut simulation = simulation(&scenario(flows), &LARGE);
    simulation.set_threads(threads);
    run_to(&mut simulation, open(flows));
    let bytes = resident().saturating_sub(before) / flows;
    let (packets, from) = (simulation.packets(), now());
    run_to(&mut simulation, open(flows) + span);
    let wall = from.elapsed();
    Row {
        packets: simulation.packets() - packets,
        wall,
        bytes,
    }
}

fn run_to(simulation: &mut Simulation, second: u64) {
    let until = Instant::ZERO + Duration::from_secs(second);
    while simulation.now() < until
        && simulation.step(200_000).expect("the run goes on") == Step::Running
    {}
}

#[expect(
    clippy::disallowed_methods,
    reason = "a bench of threads measures wall time"
)]
fn now() -> WallClock {
    WallClock::now()
}

/// Returns the bytes of memory that the process has, by Linux's account; zero elsewhere.
fn resident() -> u64 {
    let pages = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = pages.split(' ').nth(1).and_then(|word| word.parse().ok());
    pages.unwrap_or(0) * 4_096
}

#[expect(clippy::cast_precision_loss, reason = "shown with three digits")]
fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let is_test = words.iter().any(|word| word == "--test");
    let wanted: Vec<u64> = words.iter().filter_map(|word| word.parse().ok()).collect();
    let rows = ROWS.iter().copied();
    let rows: Vec<u64> = match (is_test, wanted.is_empty()) {
        (true, _) => vec![4_000],
        (false, true) => rows.collect(),
        (false, false) => wanted,
    };
    let span = if is_test { 1 } else { SPAN };
    say("connections  threads  packets/s  bytes a connection");
    for flows in rows {
        for threads in [1, 2] {
            let row = measure(flows, Threads::UpTo(threads), span);
            assert!(row.packets >= span * REQUESTS, "requests are answered");
            let rate = row.packets as f64 / row.wall.as_secs_f64() / 1e6;
            let bytes = match row.bytes {
                0 => "-".to_owned(),
                bytes => bytes.to_string(),
            };
            say(&format!(
                "{flows:>11}  {threads:>7}  {rate:>7.2} M  {bytes:>18}"
            ));
        }
    }
}
