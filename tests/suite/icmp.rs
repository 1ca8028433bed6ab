//! ICMP errors about live flows, through the NAT in both directions (RFC 5508).

use plsim::Summary;

use crate::support::{SMALL, simulate};
use crate::wire::{ACK, BACKEND, CLIENT, ENDPOINT, Ip, NAT_IP, icmp, inject};

/// The one NAT port there is, so that the backend's packets can be written down.
const NAT_PORT: u16 = 2_000;
const ONE_PORT: &str = "private_link_service.service.port_range=2000-2000";

/// The client's one port.
const CLIENT_PORT: u16 = 40_000;

/// One UDP flow that waits for an answer of 100 bytes, and whose request is lost on the way back.
fn flow(protocol: &str, more: &str) -> String {
    format!(
        "
[[workload]]
name = \"flow\"
client_vm = \"client\"
private_endpoint = \"endpoint\"
port = 443
protocol = \"{protocol}\"
connections = 1
rate = \"1/s\"
{more}
"
    )
}

/// An ICMP error from `sender` to whom the quoted packet came from.
fn error(sender: [u8; 4], quoted: &Ip, kind: u8, code: u8) -> Vec<u8> {
    let message = icmp(kind, code, &[&[0; 4], quoted.bytes().as_slice()].concat());
    let to = quoted.source;
    Ip::raw(1, message)
        .with(|ip| (ip.source, ip.destination) = (sender, to))
        .bytes()
}

/// The client's datagram as the backend got it.
fn behind_the_nat() -> Ip {
    Ip::udp(|udp| udp.ports = (NAT_PORT, 8_443))
        .with(|ip| (ip.source, ip.destination) = (NAT_IP, BACKEND))
}

/// The backend's answer as the client got it.
fn answer() -> Ip {
    Ip::udp(|udp| udp.ports = (443, CLIENT_PORT))
        .with(|ip| (ip.source, ip.destination) = (ENDPOINT, CLIENT))
}

fn run(sections: &str, overrides: &[&str]) -> Summary {
    let one_client_port = "client_vm.client.ephemeral_ports=40000-40000";
    let overrides = [&[ONE_PORT, one_client_port], overrides].concat();
    simulate(&format!("{SMALL}{sections}"), &overrides).summary
}

fn drops(summary: &Summary) -> Vec<(&'static str, u64)> {
    let drops = summary.ledger.drops();
    drops
        .map(|(reason, count)| (reason.name(), count))
        .collect()
}

const FROM_BACKEND: &str = "backend_vm = \"vm\"";
const FROM_CLIENT: &str = "client_vm = \"client\"";

#[test]
fn rfc5508_req4_an_error_of_the_backend_reaches_the_client_in_its_own_addresses() {
    // The request takes 670 us to the backend; the error leaves before the answer could come.
    let udp = flow("udp", "hold = \"1s\"");
    let slow = "link.host_vm.latency=1s";
    let event = inject(
        "500ms",
        FROM_BACKEND,
        &error(BACKEND, &behind_the_nat(), 3, 3),
    );
    let summary = run(&format!("{udp}{event}"), &[slow]);
    // The client knows its flow by both addresses and both ports of what the error quotes.
    assert_eq!(summary.workloads[0].failed_by.unreachable, 1);
    let without = run(&udp, &[slow]);
    assert_eq!(without.workloads[0].failed_by.unreachable, 0);
    assert_eq!(without.connections.closed, 1);
}

#[test]
fn rfc5508_req5_an_error_of_the_client_reaches_the_backend() {
    let udp = flow("udp", "hold = \"10s\"");
    let event = inject("5s", FROM_CLIENT, &error(CLIENT, &answer(), 3, 3));
    let summary = run(&format!("{udp}{event}"), &[]);
    assert_eq!(drops(&summary), []);
    // Request, answer, and the error.
    assert_eq!(summary.ledger.delivered, 3);
    assert_eq!(summary.ledger.injected_by.icmp, 0, "a VM made it");
}

#[test]
fn rfc5508_req4_an_error_about_no_mapping_is_dropped() {
    let udp = flow("udp", "hold = \"10s\"");
    let other_port = Ip::udp(|udp| udp.ports = (NAT_PORT + 1, 8_443))
        .with(|ip| (ip.source, ip.destination) = (NAT_IP, BACKEND));
    let other_service = Ip::udp(|udp| udp.ports = (NAT_PORT, 53))
        .with(|ip| (ip.source, ip.destination) = (NAT_IP, BACKEND));
    let other_protocol = Ip::tcp(|tcp| (tcp.ports, tcp.flags) = ((NAT_PORT, 8_443), ACK))
        .with(|ip| (ip.source, ip.destination) = (NAT_IP, BACKEND));
    for (quoted, reason) in [
        (other_port, "no-flow"),
        (other_service, "filtered"),
        (other_protocol, "no-flow"),
    ] {
        let event = inject("5s", FROM_BACKEND, &error(BACKEND, &quoted, 3, 3));
        let summary = run(&format!("{udp}{event}"), &[]);
        assert_eq!(drops(&summary), [(reason, 1)]);
    }
    let other_client = Ip::udp(|udp| udp.ports = (443, CLIENT_PORT + 1))
        .with(|ip| (ip.source, ip.destination) = (ENDPOINT, CLIENT));
    let event = inject("5s", FROM_CLIENT, &error(CLIENT, &other_client, 3, 3));
    let summary = run(&format!("{udp}{event}"), &[]);
    assert_eq!(drops(&summary), [("no-flow", 1)]);
}

#[test]
fn rfc5508_req3_a_wrong_icmp_checksum_is_dropped_at_the_first_hop() {
    let udp = flow("udp", "hold = \"10s\"");
    let mut bytes = error(CLIENT, &answer(), 3, 3);
    bytes[22] ^= 1;
    let event = inject("5s", FROM_CLIENT, &bytes);
    let summary = run(&format!("{udp}{event}"), &[]);
    assert_eq!(drops(&summary), [("bad-icmp", 1)]);
}

#[test]
fn rfc4787_req12_icmp_never_ends_a_mapping_and_never_refreshes_it() {
    // An abandoned session: silent after its response, gone at the idle timeout.
    let tcp = flow("tcp", "close = \"abandon\"");
    let quiet = run(&tcp, &["run.duration=400s"]);
    let end = quiet.nat[0].first_expired;
    assert!(end.is_some());
    let inward = Ip::tcp(|tcp| (tcp.ports, tcp.flags) = ((443, CLIENT_PORT), ACK))
        .with(|ip| (ip.source, ip.destination) = (ENDPOINT, CLIENT));
    let outward = Ip::tcp(|tcp| (tcp.ports, tcp.flags) = ((NAT_PORT, 8_443), ACK))
        .with(|ip| (ip.source, ip.destination) = (NAT_IP, BACKEND));
    let mut events = String::new();
    for (kind, code) in [(3, 0), (3, 1), (3, 2), (3, 3), (3, 13), (11, 0), (12, 0)] {
        events += &inject("100s", FROM_CLIENT, &error(CLIENT, &inward, kind, code));
        events += &inject("200s", FROM_BACKEND, &error(BACKEND, &outward, kind, code));
    }
    let disturbed = run(&format!("{tcp}{events}"), &["run.duration=400s"]);
    assert_eq!(drops(&disturbed), drops(&quiet));
    assert_eq!(disturbed.ledger.delivered, quiet.ledger.delivered + 14);
    assert_eq!(disturbed.nat[0].first_expired, end);
    assert_eq!(disturbed.connections, quiet.connections);
    assert_eq!(disturbed.nat[0].binds, 1);
}

#[test]
fn rfc5508_req8_a_client_that_hears_of_exhaustion_fails_at_once() {
    let two = flow("tcp", "close = \"abandon\"").replace("connections = 1", "connections = 2");
    let answer = "private_link_service.service.on_exhaustion=icmp-admin-prohibited";
    let summary = simulate(&format!("{SMALL}{two}"), &[ONE_PORT, answer]).summary;
    assert_eq!(drops(&summary), [("nat-ports-exhausted", 1)]);
    assert_eq!(summary.ledger.injected_by.icmp, 1);
    assert_eq!(summary.workloads[0].failed_by.unreachable, 1);
    assert_eq!(summary.workloads[0].syn_retransmissions, 0);
    let silent = simulate(&format!("{SMALL}{two}"), &[ONE_PORT]).summary;
    assert_eq!(silent.workloads[0].failed_by.unreachable, 0);
    assert!(silent.workloads[0].syn_retransmissions > 0);
}
