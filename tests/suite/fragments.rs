//! Fragments through the whole path: joined, ordered or dropped at the provider's edge and at the
//! backend's host.

use plsim::Summary;

use crate::support::{SMALL, simulate};
use crate::wire::{BACKEND, Ip, NAT_IP, inject};

/// A datagram with 48 bytes behind the IP header, which asks for nothing.
fn datagram() -> Ip {
    Ip::udp(|udp| udp.payload = vec![0xFF; 40])
}

fn client(parts: &[Vec<u8>]) -> String {
    let events = parts.iter().enumerate();
    events
        .map(|(at, part)| inject(&format!("{}ms", at + 1), "client_vm = \"client\"", part))
        .collect()
}

fn run(events: &str, policy: &str, more: &[&str]) -> Summary {
    let policy = format!("load_balancer.balancer.fragments={policy}");
    let overrides = [&[policy.as_str(), "run.duration=60s"], more].concat();
    simulate(&format!("{SMALL}{events}"), &overrides).summary
}

fn drops(summary: &Summary) -> Vec<(&'static str, u64)> {
    let drops = summary.ledger.drops();
    drops
        .map(|(reason, count)| (reason.name(), count))
        .collect()
}

/// (delivered, merged, in flight, bindings made)
fn ends(summary: &Summary) -> (u64, u64, u64, u64) {
    let binds = summary.nat.iter().map(|space| space.binds).sum();
    let ledger = &summary.ledger;
    (ledger.delivered, ledger.merged, summary.in_flight, binds)
}

#[test]
fn rfc4787_req14_a_datagram_in_fragments_reaches_the_backend_whole_in_any_order() {
    let parts = [0..16, 16..32, 32..48].map(|range| datagram().fragment(range));
    for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0]] {
        let events = client(&order.map(|at: usize| parts[at].clone()));
        for policy in ["reassemble", "forward"] {
            let summary = run(&events, policy, &[]);
            // Joined at the edge or by the VM: one is delivered, the others are part of it.
            assert_eq!(ends(&summary), (1, 2, 0, 1), "{order:?} {policy}");
            assert_eq!(drops(&summary), []);
            assert_eq!(summary.ledger.injected(), 3);
        }
        let summary = run(&events, "drop", &[]);
        assert_eq!(
            (ends(&summary), drops(&summary)),
            ((0, 0, 0, 0), vec![("fragment", 3)])
        );
    }
}

#[test]
fn a_tcp_segment_in_fragments_opens_its_connection() {
    let syn = Ip::tcp(|tcp| tcp.payload = vec![7; 40]);
    let events = client(&[syn.fragment(24..60), syn.fragment(0..24)]);
    for policy in ["reassemble", "forward"] {
        let summary = run(&events, policy, &[]);
        // SYN, SYN-ACK, and the reset of the client that knows of nothing.
        assert_eq!(ends(&summary), (3, 1, 0, 1), "{policy}");
        assert_eq!(drops(&summary), [], "{policy}");
    }
}

#[test]
fn rfc4787_req14_fragments_without_the_rest_wait_and_time_out() {
    for policy in ["reassemble", "forward"] {
        let other = client(&[datagram().fragment(16..48)]);
        let summary = run(&other, policy, &[]);
        assert_eq!(drops(&summary), [("fragment-timeout", 1)], "{policy}");
        assert_eq!(ends(&summary), (0, 0, 0, 0), "{policy}");
        // A fragment that waits at the end of the run is on its way.
        let early = run(&other, policy, &["run.duration=30s"]);
        assert_eq!(ends(&early), (0, 0, 1, 0), "{policy}");
        let soon = run(
            &other,
            policy,
            &[
                "run.duration=30s",
                "load_balancer.balancer.fragment_timeout=2s",
            ],
        );
        assert_eq!(drops(&soon), [("fragment-timeout", 1)], "{policy}");
    }
    let first = client(&[datagram().fragment(0..16)]);
    let reassembled = run(&first, "reassemble", &[]);
    assert_eq!(
        (ends(&reassembled), drops(&reassembled)),
        ((0, 0, 0, 0), vec![("fragment-timeout", 1)])
    );
    // Forwarded it makes a binding, and times out at the VM.
    let forwarded = run(&first, "forward", &[]);
    assert_eq!(
        (ends(&forwarded), drops(&forwarded)),
        ((0, 0, 0, 1), vec![("fragment-timeout", 1)])
    );
}

#[test]
fn rfc4787_req14_overlaps_never_pass() {
    let events = client(&[
        datagram().fragment(0..24),
        datagram().fragment(16..48),
        datagram().fragment(24..48),
    ]);
    let summary = run(&events, "reassemble", &[]);
    assert_eq!(ends(&summary), (0, 0, 0, 0));
    assert_eq!(drops(&summary), [("fragment-overlap", 3)]);
    let summary = run(&events, "forward", &[]);
    // The first went on before the overlap came, and waits at the VM in vain.
    assert_eq!(
        drops(&summary),
        [("fragment-overlap", 2), ("fragment-timeout", 1)]
    );
}

#[test]
fn rfc4787_req14_a_flood_is_bounded_and_does_not_reach_the_nat() {
    let firsts: Vec<Vec<u8>> = (0..200_u16)
        .map(|number| {
            let mut part = datagram().fragment(0..16);
            // Another identification; the header checksum follows (RFC 1624).
            part[4..6].copy_from_slice(&number.to_be_bytes());
            part[10..12].fill(0);
            let checksum = !crate::wire::sum(0, &part[..20]);
            part[10..12].copy_from_slice(&checksum.to_be_bytes());
            part
        })
        .collect();
    let limit = "load_balancer.balancer.fragment_limit=10kB";
    let summary = run(&client(&firsts), "reassemble", &[limit]);
    // 36 bytes and twice 256 each: 18 fit.
    let expected = [("fragment-timeout", 18), ("fragment-limit", 182)];
    assert_eq!(drops(&summary), expected);
    assert_eq!(ends(&summary), (0, 0, 0, 0));
}

#[test]
fn rfc4787_req14_answers_in_fragments_are_treated_alike() {
    let answer = datagram().with(|ip| (ip.source, ip.destination) = (BACKEND, NAT_IP));
    let mut answer = answer;
    if let crate::wire::Body::Udp(udp) = &mut answer.body {
        udp.ports = (8_443, 2_000);
    }
    let request = "
[[workload]]
name = \"flow\"
client_vm = \"client\"
private_endpoint = \"endpoint\"
port = 443
protocol = \"udp\"
connections = 1
rate = \"1/s\"
hold = \"20s\"
";
    let later = |at: &str, part: Vec<u8>| inject(at, "backend_vm = \"vm\"", &part);
    let events = later("5s", answer.fragment(16..48)) + &later("6s", answer.fragment(0..16));
    let one_port = "private_link_service.service.port_range=2000-2000";
    for policy in ["reassemble", "forward"] {
        let summary = run(&format!("{request}{events}"), policy, &[one_port]);
        // Request and answer, and the answer in two parts: joined at the host, or by the client.
        assert_eq!(ends(&summary), (3, 1, 0, 1), "{policy}");
        assert_eq!(drops(&summary), [], "{policy}");
    }
    let summary = run(&format!("{request}{events}"), "drop", &[one_port]);
    assert_eq!(drops(&summary), [("fragment", 2)]);
}

#[test]
fn runs_with_fragments_are_the_same_every_time() {
    let parts = [16..32, 0..16, 32..48].map(|range| datagram().fragment(range));
    for policy in ["drop", "reassemble", "forward"] {
        let runs = [(); 2].map(|()| run(&client(&parts), policy, &[]));
        assert_eq!(runs[0].digest, runs[1].digest, "{policy}");
        assert_eq!(runs[0].ledger, runs[1].ledger, "{policy}");
    }
}
