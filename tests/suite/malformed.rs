//! Packets that no proper stack sends, through the whole path: each is delivered or counted under
//! its own reason, and leaves nothing behind.

use std::collections::BTreeMap;

use plsim::Summary;

use crate::support::{SMALL, simulate};
use crate::wire::{ACK, BACKEND, ENDPOINT, FIN, Ip, NAT_IP, PSH, RST, SYN, URG, icmp, inject};

/// What becomes of the packets of a case.
enum Verdict {
    /// They make one binding and reach the backend VM; nothing is dropped.
    Forward,
    /// They are the parts of what becomes one packet, which does that.
    Join,
    /// They make one binding, and each is dropped, so many for each reason.
    Begin(BTreeMap<&'static str, u64>),
    /// Each is dropped, so many for each reason.
    Drop(BTreeMap<&'static str, u64>),
}

struct Case {
    name: &'static str,
    packets: Vec<Vec<u8>>,
    verdict: Verdict,
}

fn forward(name: &'static str, packet: Vec<u8>) -> Case {
    let packets = vec![packet];
    Case {
        name,
        packets,
        verdict: Verdict::Forward,
    }
}

fn drop(name: &'static str, reason: &'static str, packet: Vec<u8>) -> Case {
    drops(name, [(reason, 1)], vec![packet])
}

fn drops<const N: usize>(
    name: &'static str,
    reasons: [(&'static str, u64); N],
    packets: Vec<Vec<u8>>,
) -> Case {
    let verdict = Verdict::Drop(reasons.into());
    Case {
        name,
        packets,
        verdict,
    }
}

fn datagram() -> Ip {
    Ip::udp(|_| {})
}

fn syn() -> Ip {
    Ip::tcp(|_| {})
}

fn flags(flags: u8) -> Vec<u8> {
    Ip::tcp(|tcp| tcp.flags = flags).bytes()
}

/// A SYN with these TCP options.
fn options(options: &[u8]) -> Vec<u8> {
    Ip::tcp(|tcp| tcp.options = options.to_vec()).bytes()
}

/// What a table of a scenario needs beyond the small service: an endpoint that is not approved, one
/// in a network without a peering, and a pool that may change, so that the edge remembers flows.
const AROUND: &str = r#"
[[private_endpoint]]
name = "pending"
subnet = "consumer/default"
ip_address = "10.1.0.11"
private_link_service = "service"
connection_state = "Pending"

[[virtual_network]]
name = "island"
address_space = ["10.9.0.0/16"]
[[virtual_network.subnet]]
name = "default"
prefix = "10.9.0.0/24"

[[private_endpoint]]
name = "far"
subnet = "island/default"
ip_address = "10.9.0.10"
private_link_service = "service"

[[event]]
at = "29s"
action = "backend-up"
backend_vm = "vm"
"#;

fn run(packets: &[Vec<u8>], overrides: &[&str]) -> Summary {
    let mut text = format!("{SMALL}{AROUND}");
    for (number, packet) in packets.iter().enumerate() {
        let at = format!("{}ms", 1 + number);
        text += &inject(&at, "client_vm = \"client\"", packet);
    }
    simulate(&text, &[&["run.duration=30s"], overrides].concat()).summary
}

fn check(case: &Case, overrides: &[&str]) {
    let name = case.name;
    let summary = run(&case.packets, overrides);
    let sent = case.packets.len() as u64;
    let drops: BTreeMap<&str, u64> = summary
        .ledger
        .drops()
        .map(|(reason, packets)| (reason.name(), packets))
        .collect();
    let binds: u64 = summary.nat.iter().map(|space| space.binds).sum();
    match &case.verdict {
        Verdict::Forward => {
            assert_eq!(drops, BTreeMap::new(), "{name}");
            assert_eq!(binds, 1, "{name}");
            assert!(summary.ledger.delivered >= sent, "{name}");
        }
        Verdict::Join => {
            assert_eq!((drops, binds), (BTreeMap::new(), 1), "{name}");
            let ledger = &summary.ledger;
            assert!(ledger.delivered >= 1 && ledger.merged == sent - 1, "{name}");
        }
        Verdict::Begin(expected) => {
            assert_eq!((&drops, binds), (expected, 1), "{name}");
        }
        Verdict::Drop(expected) => {
            assert_eq!(drops, *expected, "{name}");
            assert_eq!(expected.values().sum::<u64>(), sent, "{name}");
            // Nothing came into being but what was sent, and no table remembers it.
            assert_eq!(summary.ledger.injected(), sent, "{name}");
            assert_eq!(summary.ledger.injected_by.host, sent, "{name}");
            assert_eq!(
                (binds, summary.lb.flows, summary.lb.syns),
                (0, 0, 0),
                "{name}"
            );
        }
    }
}

fn family(cases: &[Case], count: usize) {
    family_with(cases, count, &[]);
}

fn family_with(cases: &[Case], count: usize, overrides: &[&str]) {
    assert_eq!(cases.len(), count);
    for case in cases {
        check(case, overrides);
    }
}

#[test]
fn good_controls_are_forwarded() {
    let full = Ip::udp(|udp| udp.payload = vec![0xFF; 1472]).bytes();
    assert_eq!(full.len(), 1500);
    let mut padded = datagram().bytes();
    padded.extend([0xAA; 18]);
    let options = options(&[
        2, 4, 5, 180, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7, 1, 1, 1, 1, 1, 1, 1, 1, 1,
        1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
    ]);
    assert_eq!(options.len(), 80);
    let cases = vec![
        forward("a datagram", datagram().bytes()),
        forward(
            "UDP without checksum",
            Ip::udp(|udp| udp.checksum = Some(0)).bytes(),
        ),
        forward("empty UDP", Ip::udp(|udp| udp.payload.clear()).bytes()),
        forward(
            "DSCP and ECN",
            datagram().with(|ip| ip.service = 0xBB).bytes(),
        ),
        forward("a link trailer", padded),
        forward("a SYN", syn().bytes()),
        forward(
            "a SYN with data",
            Ip::tcp(|tcp| tcp.payload = vec![7; 100]).bytes(),
        ),
        forward("40 bytes of TCP options", options),
        forward("an ECN SYN", flags(SYN | 0xC0)),
        forward("1500 bytes", full),
        forward("an urgent SYN", flags(SYN | URG)),
        forward(
            "a client port below 1024",
            Ip::udp(|udp| udp.ports.0 = 53).bytes(),
        ),
    ];
    family(&cases, 12);
}

#[test]
fn a_wrong_length_or_version_is_told_apart() {
    let whole = datagram().bytes();
    let first = |byte: u8| datagram().with(|ip| ip.first = Some(byte)).bytes();
    let total = |total: u16| datagram().with(|ip| ip.total = Some(total)).bytes();
    let mut six = vec![0x60, 0, 0, 0, 0, 8, 17, 64];
    six.resize(48, 0);
    let cases = vec![
        drop("no byte", "truncated", Vec::new()),
        drop("one byte", "truncated", whole[..1].to_vec()),
        drop("19 bytes", "truncated", whole[..19].to_vec()),
        drop("header length 0", "bad-ip-header", first(0x40)),
        drop("header length 4", "bad-ip-header", first(0x44)),
        drop("header length 15", "bad-ip-header", first(0x4F)),
        drop("version 0", "bad-version", first(0x05)),
        drop("version 6 before an IPv4 packet", "ipv6", first(0x65)),
        drop("version 15", "bad-version", first(0xF5)),
        drop("total length beyond the bytes", "truncated", total(35)),
        drop("total length below the header", "bad-ip-header", total(19)),
        drop("total length 0", "bad-ip-header", total(0)),
        drop("total length 65535", "truncated", total(65_535)),
        drop("IPv6", "ipv6", six),
    ];
    family(&cases, 14);
}

#[test]
fn a_wrong_ip_checksum_is_dropped() {
    let checksum = |sum: u16| datagram().with(|ip| ip.checksum = Some(sum)).bytes();
    let cases = vec![
        drop("wrong", "bad-ip-checksum", checksum(0x1234)),
        drop("0xFFFF", "bad-ip-checksum", checksum(0xFFFF)),
    ];
    family(&cases, 2);
}

#[test]
fn the_time_to_live_ends_at_the_first_hop_without_an_answer() {
    let ttl = |ttl: u8| datagram().with(|ip| ip.ttl = ttl).bytes();
    let cases = vec![
        drop("0", "ttl-expired", ttl(0)),
        drop("1", "ttl-expired", ttl(1)),
        forward("255", ttl(255)),
    ];
    family(&cases, 3);
}

#[test]
fn source_routes_and_malformed_ip_options_are_dropped() {
    let options = |options: &[u8]| datagram().with(|ip| ip.options = options.to_vec()).bytes();
    let cases = vec![
        forward("no operation", options(&[1, 1, 1, 1])),
        forward("record route", options(&[7, 7, 4, 0, 0, 0, 0, 0])),
        drop(
            "loose source route",
            "ip-options",
            options(&[131, 7, 4, 10, 0, 0, 1, 0]),
        ),
        drop("length 0", "ip-options", options(&[7, 0, 4, 0])),
        drop("length 255", "ip-options", options(&[7, 255, 4, 0])),
        forward(
            "the reserved flag",
            datagram().with(|ip| ip.fragment = 0x8000).bytes(),
        ),
    ];
    family(&cases, 6);
}

#[test]
fn a_source_that_the_vm_does_not_own_is_dropped() {
    let udp = |source: [u8; 4]| datagram().with(|ip| ip.source = source).bytes();
    let land = syn().with(|ip| ip.source = ENDPOINT);
    let cases = [
        ("loopback", udp([127, 0, 0, 1])),
        ("this network", udp([0, 0, 0, 1])),
        ("broadcast", udp([255; 4])),
        ("multicast", udp([224, 0, 0, 1])),
        ("class E", udp([240, 0, 0, 1])),
        ("link-local", udp([169, 254, 169, 254])),
        ("the endpoint's own, UDP", udp(ENDPOINT)),
        ("the endpoint's own, TCP", land.bytes()),
        ("foreign", udp([203, 0, 113, 7])),
        ("a NAT IP", udp(NAT_IP)),
        ("the backend", udp(BACKEND)),
    ];
    let cases = cases.map(|(name, bytes)| drop(name, "spoofed-source", bytes));
    family(&cases, 11);
}

/// PLS-14.
#[test]
fn nothing_but_an_approved_endpoint_is_reachable() {
    let to = |to: [u8; 4]| datagram().with(|ip| ip.destination = to).bytes();
    let cases = vec![
        drop("broadcast", "no-route", to([255; 4])),
        drop("broadcast of the subnet", "no-host", to([10, 1, 0, 255])),
        drop("multicast", "no-route", to([224, 0, 0, 1])),
        drop("loopback", "no-route", to([127, 0, 0, 1])),
        drop("a NAT IP", "no-route", to(NAT_IP)),
        drop("the backend", "no-route", to(BACKEND)),
        drop("the frontend", "no-route", to([10, 2, 1, 4])),
        drop("an endpoint elsewhere", "no-route", to([10, 9, 0, 10])),
        drop(
            "an endpoint without approval",
            "not-approved",
            to([10, 1, 0, 11]),
        ),
    ];
    family(&cases, 9);
}

#[test]
fn ports_without_a_rule_and_port_0_are_dropped() {
    let udp = |ports| Ip::udp(|udp| udp.ports = ports).bytes();
    let tcp = |ports| Ip::tcp(|tcp| tcp.ports = ports).bytes();
    let cases = vec![
        drop("no rule, UDP", "no-lb-rule", udp((40_000, 80))),
        drop("no rule, TCP", "no-lb-rule", tcp((40_000, 80))),
        drop("destination 0, UDP", "bad-port", udp((40_000, 0))),
        drop("destination 0, TCP", "bad-port", tcp((40_000, 0))),
        drop("source 0, UDP", "bad-port", udp((0, 443))),
        drop("source 0, TCP", "bad-port", tcp((0, 443))),
    ];
    family(&cases, 6);
}

/// PLS-22.
#[test]
fn no_other_protocol_leaks() {
    // What the client would say about a datagram of the endpoint, if there had been one.
    let quoted = Ip::udp(|udp| udp.ports = (443, 40_000))
        .with(|ip| (ip.source, ip.destination) = (ip.destination, ip.source))
        .bytes();
    let error = icmp(3, 3, &[&[0; 4], quoted.as_slice()].concat());
    let echo = icmp(8, 0, &[0, 1, 0, 1, 1, 2, 3, 4]);
    let other = |protocol: u8| Ip::raw(protocol, vec![0; 24]).bytes();
    let refused = |name, bytes| drop(name, "unsupported-protocol", bytes);
    let cases = vec![
        refused("ICMP echo", Ip::raw(1, echo).bytes()),
        drop(
            "an ICMP error about no flow",
            "no-flow",
            Ip::raw(1, error).bytes(),
        ),
        refused("IGMP", other(2)),
        refused("IP in IP", Ip::raw(4, datagram().bytes()).bytes()),
        refused("6in4", other(41)),
        refused("GRE", other(47)),
        refused("ESP", other(50)),
        refused("AH", other(51)),
        refused("SCTP", other(132)),
        refused("UDP-Lite", Ip::raw(136, datagram().transport()).bytes()),
        refused("0", other(0)),
        refused("255", other(255)),
    ];
    family(&cases, 12);
}

/// What becomes of fragments that are in order.
#[derive(Clone, Copy)]
enum Fragments {
    Dropped,
    Joined,
    Forwarded,
}

/// The fragments of one datagram or segment.
fn fragments(policy: Fragments) -> Vec<Case> {
    // A datagram that asks for nothing.
    let long = Ip::udp(|udp| udp.payload = vec![0xFF; 40]);
    let segment = Ip::tcp(|tcp| tcp.payload = vec![1; 40]);
    let ports = Ip::udp(|udp| udp.payload = datagram().transport().repeat(2));
    let part = |flags_and_offset: u16, bytes: &[u8]| {
        long.clone()
            .with(|ip| ip.fragment = flags_and_offset)
            .around(bytes)
    };
    let whole = |name, packets: Vec<Vec<u8>>| match policy {
        Fragments::Dropped => drops(name, [("fragment", 2)], packets),
        Fragments::Joined | Fragments::Forwarded => Case {
            name,
            packets,
            verdict: Verdict::Join,
        },
    };
    // Where fragments are forwarded, the first one opens its flow and waits for the others at the VM.
    let first = |case: Case| match (policy, case.verdict) {
        (Fragments::Forwarded, Verdict::Drop(expected)) => Case {
            verdict: Verdict::Begin(expected),
            ..case
        },
        (_, verdict) => Case { verdict, ..case },
    };
    let alone = match policy {
        Fragments::Dropped => "fragment",
        Fragments::Joined | Fragments::Forwarded => "fragment-timeout",
    };
    vec![
        whole(
            "in order",
            vec![long.fragment(0..24), long.fragment(24..48)],
        ),
        whole(
            "out of order",
            vec![long.fragment(24..48), long.fragment(0..24)],
        ),
        first(drop("the first only", alone, long.fragment(0..24))),
        // Its bytes look like a UDP header for port 443.
        drop("another only", alone, ports.fragment(8..24)),
        drops(
            "a tiny first one",
            [("fragment-tiny", 1), ("fragment-overlap", 1)],
            vec![segment.fragment(0..16), segment.fragment(16..60)],
        ),
        first(drops(
            "offset 1 overlaps the TCP header",
            [(alone, 1), ("fragment-overlap", 1)],
            vec![segment.fragment(0..24), segment.fragment(8..60)],
        )),
        drop("beyond 65535 bytes", "bad-fragment", part(8189, &[0; 100])),
        drop("don't fragment", "bad-fragment", part(0x6000, &[0; 16])),
        drop("zero length", "bad-fragment", part(0x2000, &[])),
        drop(
            "odd length, more to come",
            "bad-fragment",
            part(0x2000, &[0; 13]),
        ),
    ]
}

#[test]
fn fragments_are_dropped_and_never_taken_for_packets() {
    family(&fragments(Fragments::Dropped), 10);
}

#[test]
fn fragments_become_a_whole_datagram_or_nothing() {
    for (policy, name) in [
        (Fragments::Joined, "reassemble"),
        (Fragments::Forwarded, "forward"),
    ] {
        let name = format!("load_balancer.balancer.fragments={name}");
        let overrides = [name.as_str(), "run.duration=60s"];
        family_with(&fragments(policy), 10, &overrides);
    }
}

#[test]
fn a_udp_length_or_checksum_that_is_wrong_is_dropped() {
    let length = |length: u16| Ip::udp(|udp| udp.length = Some(length)).bytes();
    // A payload that makes the computed checksum 0.
    let probe = Ip::udp(|udp| (udp.payload, udp.checksum) = (vec![0, 0], None));
    let word = probe.transport()[6..8].to_vec();
    let zero = Ip::udp(|udp| udp.payload = word);
    assert_eq!(zero.transport()[6..8], [0xFF, 0xFF]);
    let wrong = Ip::udp(|udp| udp.checksum = Some(0x1234));
    let cases = vec![
        drop("header cut", "truncated", Ip::raw(17, vec![1; 4]).bytes()),
        drop("length 7", "bad-udp-length", length(7)),
        drop("length 0", "bad-udp-length", length(0)),
        drop("length beyond IP", "bad-udp-length", length(15)),
        drop("length below IP", "bad-udp-length", length(13)),
        drop("wrong checksum", "bad-l4-checksum", wrong.bytes()),
        forward("a computed zero", zero.bytes()),
    ];
    family(&cases, 7);
}

#[test]
fn a_tcp_header_that_is_wrong_is_dropped() {
    let cut = |length: usize| Ip::raw(6, syn().transport()[..length].to_vec()).bytes();
    let offset = |words: u8| Ip::tcp(|tcp| tcp.offset = Some(words)).bytes();
    let checksum = |sum: u16| Ip::tcp(|tcp| tcp.checksum = Some(sum)).bytes();
    let cases = vec![
        drop("13 bytes", "truncated", cut(13)),
        drop("19 bytes", "truncated", cut(19)),
        drop("offset 0", "bad-tcp-header", offset(0)),
        drop("offset 4", "bad-tcp-header", offset(4)),
        drop("offset 15", "bad-tcp-header", offset(15)),
        drop("wrong checksum", "bad-l4-checksum", checksum(0x1234)),
        drop("checksum 0", "bad-l4-checksum", checksum(0)),
    ];
    family(&cases, 7);
}

#[test]
fn impossible_tcp_flags_and_segments_without_a_flow_make_no_binding() {
    let data = Ip::tcp(|tcp| (tcp.flags, tcp.payload) = (PSH | ACK, vec![1; 10]));
    let cases = vec![
        drop("null", "bad-tcp-flags", flags(0)),
        drop("SYN, FIN", "bad-tcp-flags", flags(SYN | FIN)),
        drop("SYN, RST", "bad-tcp-flags", flags(SYN | RST)),
        drop("xmas", "bad-tcp-flags", flags(FIN | PSH | URG)),
        drop("all", "bad-tcp-flags", flags(0xFF)),
        drop("FIN only", "bad-tcp-flags", flags(FIN)),
        drop("URG, PSH", "bad-tcp-flags", flags(URG | PSH)),
        drop("ACK", "no-flow", flags(ACK)),
        drop("RST", "no-flow", flags(RST)),
        drop("FIN, ACK", "no-flow", flags(FIN | ACK)),
        drop("SYN, ACK", "no-flow", flags(SYN | ACK)),
        drop("data", "no-flow", data.bytes()),
    ];
    family(&cases, 12);
}

#[test]
fn tcp_options_that_are_malformed_end_where_they_are() {
    let cases = vec![
        forward("length 0", options(&[3, 0, 7, 2, 4, 5, 180, 0])),
        forward("length 1", options(&[3, 1, 7, 2, 4, 5, 180, 0])),
        forward("length 255", options(&[3, 255, 7, 0])),
        forward("a segment size of 0", options(&[2, 4, 0, 0])),
        forward("a window scale of 15", options(&[3, 3, 15, 0])),
    ];
    family(&cases, 5);
}

#[test]
fn the_backend_vm_is_held_to_the_same_rules() {
    let answer = |change: fn(&mut Ip)| {
        Ip::udp(|udp| udp.ports = (8443, 1024))
            .with(|ip| (ip.source, ip.destination) = (BACKEND, NAT_IP))
            .with(change)
            .bytes()
    };
    let part = Ip::udp(|udp| udp.payload = vec![0; 24])
        .with(|ip| (ip.source, ip.destination) = (BACKEND, NAT_IP))
        .fragment(0..16);
    for (reason, bytes) in [
        ("no-flow", answer(|_| {})),
        ("spoofed-source", answer(|ip| ip.source = NAT_IP)),
        ("no-flow", answer(|ip| ip.destination = [10, 1, 0, 4])),
        ("ttl-expired", answer(|ip| ip.ttl = 1)),
        ("ip-options", answer(|ip| ip.options = vec![137, 3, 4, 0])),
        ("truncated", answer(|_| {})[..19].to_vec()),
        ("fragment", part),
    ] {
        let event = inject("1ms", "backend_vm = \"vm\"", &bytes);
        let summary = simulate(&format!("{SMALL}{event}"), &[]).summary;
        let drops: Vec<_> = summary.ledger.drops().collect();
        let drops: Vec<_> = drops.iter().map(|(found, n)| (found.name(), *n)).collect();
        assert_eq!(drops, [(reason, 1)]);
        assert_eq!(summary.ledger.injected(), 1);
    }
}
