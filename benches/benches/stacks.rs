//! Whole connections through the whole path, light and full TCP at either end, in connections per second
//! of wall time: 1 000 client VMs, 8 backend VMs, handshake, request, response and FIN both ways.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use plsim_benches::{PROVIDER, run};

/// 100 000 connections within a second of virtual time, and 4 s for the last ones.
const CONNECTIONS: u64 = 100_000;
const CONSUMER: &str = r#"
[run]
duration = "5s"

[output]
interval = "1s"

[[virtual_network]]
name = "consumer"
address_space = ["10.1.0.0/16"]
[[virtual_network.subnet]]
name = "default"
prefix = "10.1.0.0/20"

[[client_vm]]
name = "client"
subnet = "consumer/default"
count = 1000

[[private_endpoint]]
name = "endpoint"
subnet = "consumer/default"
private_link_service = "service"

[[workload]]
name = "requests"
client_vm = "client"
private_endpoint = "endpoint"
port = 443
rate = "100000/s"
connections = 100000
request_size = "200B"
response_size = "1kB"
"#;

fn connections(criterion: &mut Criterion) {
    let scenario = format!("{CONSUMER}{PROVIDER}");
    let mut group = criterion.benchmark_group("connections");
    group.sample_size(10);
    group.throughput(Throughput::Elements(CONNECTIONS));
    for (client, server) in [
        ("light", "light"),
        ("light", "full"),
        ("full", "light"),
        ("full", "full"),
    ] {
        let overrides = [
            format!("client_vm.client.tcp_stack={client}"),
            format!("backend_vm.vm.tcp_stack={server}"),
        ];
        let overrides = overrides.each_ref().map(String::as_str);
        group.bench_function(format!("{client}_to_{server}"), |bencher| {
            bencher.iter(|| {
                let closed = run(&scenario, &overrides).summary.connections.closed;
                assert_eq!(closed, CONNECTIONS, "all of them end");
            });
        });
    }
    group.finish();
}

criterion_group!(benches, connections);
criterion_main!(benches);
