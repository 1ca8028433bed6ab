//! Fragments: joined, ordered, given up, and never more of them than there is room for.

use std::net::SocketAddrV4;
use std::ops::Range;

use plsim_packet::{
    Fate, Form, FragmentPolicy, Fragments, FragmentsConfig, Packet, PacketId, Payload, TcpHeader,
};
use plsim_types::{DropReason, Duration, Instant, LinkId, TcpFlags};
use proptest::prelude::{Just, Strategy, any, prop_assert, prop_assert_eq, proptest};

fn address(text: &str) -> SocketAddrV4 {
    text.parse().expect("an address and port")
}

fn wire(packet: &Packet) -> Vec<u8> {
    let mut out = Vec::new();
    packet.write_to(&mut out, usize::MAX);
    out
}

/// A datagram with 48 bytes behind the IP header, each another one.
fn datagram() -> Packet {
    let payload: Vec<u8> = (1..=40).collect();
    Packet::udp(
        address("10.1.0.4:40000"),
        address("10.1.0.10:443"),
        Payload::Bytes(payload.into()),
    )
}

/// One fragment of a packet, with an identification.
fn part(packet: &Packet, range: Range<usize>, identification: u16) -> Box<Packet> {
    let whole = wire(packet);
    let mut bytes = whole[..20].to_vec();
    let more = u16::from(range.end + 20 < whole.len()) << 13;
    bytes[2..4].copy_from_slice(&(20 + range.len() as u16).to_be_bytes());
    bytes[4..6].copy_from_slice(&identification.to_be_bytes());
    bytes[6..8].copy_from_slice(&(more | (range.start / 8) as u16).to_be_bytes());
    bytes[10..12].fill(0);
    let sum = bytes.chunks(2).fold(0_u32, |sum, pair| {
        let sum = sum + (u32::from(pair[0]) << 8 | u32::from(pair[1]));
        (sum >> 16) + (sum & 0xFFFF)
    });
    bytes[10..12].copy_from_slice(&(!(sum as u16)).to_be_bytes());
    bytes.extend(&whole[20..][range]);
    let packet = Packet::from_wire(&bytes);
    assert_eq!(packet.form(), Form::Fragment);
    Box::new(packet)
}

fn engine(policy: FragmentPolicy) -> Fragments {
    Fragments::new(FragmentsConfig {
        policy,
        ..FragmentsConfig::HOST
    })
}

fn fates(fragments: &mut Fragments) -> Vec<Fate> {
    std::iter::from_fn(|| fragments.poll_fate()).collect()
}

/// What became of packets, in short: their ids.
fn told(fates: &[Fate]) -> Vec<(&'static str, u64)> {
    let short = fates.iter().map(|fate| match fate {
        Fate::On(packet) => ("on", packet.id.0),
        Fate::Merged(packet) => ("merged", packet.id.0),
        Fate::Dropped(packet, reason) => (reason.name(), packet.id.0),
    });
    short.collect()
}

/// Sends the parts one nanosecond apart; ids count from 1.
fn send(fragments: &mut Fragments, parts: impl IntoIterator<Item = Box<Packet>>) -> Vec<Fate> {
    let mut all = Vec::new();
    for (number, mut part) in (1..).zip(parts) {
        part.id = PacketId(number);
        fragments.process(part, Instant::from_nanos(number));
        all.extend(fates(fragments));
    }
    all
}

const LATER: Instant = Instant::from_nanos(60_000_000_000);

#[test]
fn rfc4787_req14_fragments_in_any_order_become_the_packet_they_were() {
    let ranges = [0..16, 16..32, 32..48];
    for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0], [2, 0, 1]] {
        let mut fragments = engine(FragmentPolicy::Reassemble);
        let parts = order.map(|at: usize| part(&datagram(), ranges[at].clone(), 7));
        let fates = send(&mut fragments, parts);
        let [Fate::Merged(_), Fate::Merged(_), Fate::On(whole)] = fates.as_slice() else {
            panic!("{fates:?}")
        };
        // It goes on as the fragment that completed it.
        assert_eq!((whole.id, whole.form()), (PacketId(3), Form::Udp));
        assert_eq!(whole.verify(), Ok(()));
        assert_eq!(whole.five_tuple(), datagram().five_tuple());
        assert_eq!(wire(whole)[20..], wire(&datagram())[20..]);
        let left = (
            fragments.held(),
            fragments.bytes(),
            fragments.poll_timeout(),
        );
        assert_eq!(left, (0, 0, None));
    }
}

#[test]
fn rfc4787_req14_fragments_are_forwarded_in_order_with_the_ports_of_the_first() {
    let ranges = [0..16, 16..32, 32..48];
    for (order, expected) in [
        ([0, 1, 2], [1, 2, 3]),
        ([2, 1, 0], [3, 2, 1]),
        ([1, 0, 2], [2, 1, 3]),
    ] {
        let mut fragments = engine(FragmentPolicy::Forward);
        let parts = order.map(|at: usize| part(&datagram(), ranges[at].clone(), 7));
        let fates = send(&mut fragments, parts);
        assert_eq!(told(&fates), expected.map(|id| ("on", id)));
        for (fate, range) in fates.iter().zip(&ranges) {
            let Fate::On(packet) = fate else {
                panic!("{fate:?}")
            };
            assert_eq!(packet.five_tuple(), datagram().five_tuple());
            assert_eq!(wire(packet), wire(&part(&datagram(), range.clone(), 7)));
        }
        let left = (
            fragments.held(),
            fragments.bytes(),
            fragments.poll_timeout(),
        );
        assert_eq!(left, (0, 0, None));
    }
}

#[test]
fn later_fragments_of_a_segment_tell_where_they_are_in_it() {
    let header = TcpHeader {
        source: address("10.1.0.4:40000"),
        destination: address("10.1.0.10:443"),
        sequence: u32::MAX - 3,
        acknowledgement: 77,
        flags: TcpFlags::FIN | TcpFlags::ACK,
        window: 500,
        mss: None,
    };
    let packet = Packet::tcp(&header, Payload::Zeros(40));
    let mut fragments = engine(FragmentPolicy::Forward);
    let ranges = [48..60, 24..48, 0..24];
    let parts = ranges.map(|range| part(&packet, range, 7));
    let seen: Vec<_> = send(&mut fragments, parts)
        .into_iter()
        .map(|fate| {
            let Fate::On(part) = fate else {
                panic!("{fate:?}")
            };
            let segment = part.tracked_segment().unwrap();
            assert_eq!(segment.acknowledgement, 77);
            (
                segment.flags,
                segment.sequence,
                segment.length,
                segment.end(),
            )
        })
        .collect();
    let whole = packet.tcp_segment().unwrap();
    let (start, end) = (whole.sequence, whole.end());
    assert_eq!(
        seen,
        [
            (header.flags, start, 4, start.wrapping_add(5)),
            (TcpFlags(0), start.wrapping_add(4), 24, end.wrapping_sub(13)),
            (TcpFlags::FIN, start.wrapping_add(28), 12, end),
        ]
    );
    // Nobody has told what is not forwarded, and a datagram has no such numbers.
    assert_eq!(packet.tracked_segment(), Some(whole));
    assert_eq!(datagram().tracked_segment(), None);
    let parts = [16..48, 0..16].map(|range| part(&datagram(), range, 7));
    for fate in send(&mut engine(FragmentPolicy::Forward), parts) {
        assert!(matches!(fate, Fate::On(part) if part.tracked_segment().is_none()));
    }
}

#[test]
fn rfc4787_req14_what_does_not_become_complete_is_dropped_at_the_exact_time() {
    for policy in [FragmentPolicy::Reassemble, FragmentPolicy::Forward] {
        for range in [16..32, 32..48] {
            let mut fragments = engine(policy);
            assert_eq!(send(&mut fragments, vec![part(&datagram(), range, 7)]), []);
            let deadline = Instant::from_nanos(1) + Duration::from_secs(30);
            assert_eq!(fragments.poll_timeout(), Some(deadline));
            fragments.handle_timeout(Instant::from_nanos(deadline.as_nanos() - 1));
            assert_eq!((fates(&mut fragments), fragments.held()), (vec![], 1));
            fragments.handle_timeout(deadline);
            assert_eq!(told(&fates(&mut fragments)), [("fragment-timeout", 1)]);
            assert_eq!((fragments.held(), fragments.bytes()), (0, 0));
        }
    }
    let mut fragments = engine(FragmentPolicy::Reassemble);
    send(&mut fragments, vec![part(&datagram(), 0..16, 7)]);
    fragments.handle_timeout(LATER);
    assert_eq!(told(&fates(&mut fragments)), [("fragment-timeout", 1)]);
}

#[test]
fn rfc4787_req14_an_overlap_ends_the_whole_datagram_with_what_is_to_come() {
    let overlap = "fragment-overlap";
    for (first, second) in [
        (0..24, 16..32),
        (16..32, 8..24),
        (0..24, 8..16),
        (8..16, 0..24),
    ] {
        let mut fragments = engine(FragmentPolicy::Reassemble);
        let packet = datagram();
        let mut parts = vec![part(&packet, first, 7), part(&packet, second, 7)];
        parts.extend([part(&packet, 24..48, 7), part(&packet, 0..24, 7)]);
        let fates = send(&mut fragments, parts);
        let expected = [(overlap, 2), (overlap, 1), (overlap, 3), (overlap, 4)];
        assert_eq!(told(&fates), expected);
        // A new datagram may use the identification once the old one's time is over.
        fragments.handle_timeout(LATER);
        assert_eq!((fragments.bytes(), fragments.poll_timeout()), (0, None));
    }
}

#[test]
fn an_exact_repetition_is_dropped_alone() {
    let mut fragments = engine(FragmentPolicy::Reassemble);
    let packet = datagram();
    let parts = [0..24, 0..24, 24..48].map(|range| part(&packet, range, 7));
    let fates = send(&mut fragments, parts);
    assert_eq!(
        told(&fates),
        [("fragment-overlap", 2), ("merged", 1), ("on", 3)]
    );
}

#[test]
fn a_contradiction_about_the_end_ends_the_datagram() {
    let short = Packet::udp(
        address("10.1.0.4:40000"),
        address("10.1.0.10:443"),
        Payload::Zeros(24),
    );
    let bad = "bad-fragment";
    for parts in [
        // The end is at 32, then at 48; a part lies beyond the end; the end comes after a part.
        vec![part(&short, 16..32, 7), part(&datagram(), 32..48, 7)],
        vec![part(&short, 16..32, 7), part(&datagram(), 32..40, 7)],
        vec![part(&datagram(), 32..40, 7), part(&short, 16..32, 7)],
    ] {
        let mut fragments = engine(FragmentPolicy::Reassemble);
        assert_eq!(told(&send(&mut fragments, parts)), [(bad, 2), (bad, 1)]);
    }
}

#[test]
fn a_whole_with_a_wrong_checksum_is_dropped() {
    let other = Packet::udp(
        address("10.1.0.4:40000"),
        address("10.1.0.10:443"),
        Payload::Zeros(40),
    );
    let mut fragments = engine(FragmentPolicy::Reassemble);
    let parts = vec![part(&datagram(), 0..16, 7), part(&other, 16..48, 7)];
    let fates = send(&mut fragments, parts);
    assert_eq!(told(&fates), [("merged", 1), ("bad-l4-checksum", 2)]);
}

#[test]
fn datagrams_are_told_apart_by_link_addresses_protocol_and_identification() {
    let header = TcpHeader {
        source: address("10.1.0.4:40000"),
        destination: address("10.1.0.10:443"),
        sequence: 0,
        acknowledgement: 0,
        flags: TcpFlags::SYN,
        window: 1,
        mss: None,
    };
    let tcp = Packet::tcp(&header, Payload::Zeros(28));
    let other = Packet::udp(
        address("10.1.0.5:40000"),
        address("10.1.0.10:443"),
        Payload::Zeros(40),
    );
    let mut linked = part(&datagram(), 24..48, 7);
    linked.encap.link = LinkId(9);
    let parts = vec![
        part(&datagram(), 0..24, 7),
        linked,
        part(&tcp, 24..48, 7),
        part(&other, 24..48, 7),
        part(&datagram(), 24..48, 8),
    ];
    let mut fragments = engine(FragmentPolicy::Reassemble);
    assert_eq!(send(&mut fragments, parts), []);
    assert_eq!(fragments.held(), 5);
}

#[test]
fn by_default_every_fragment_is_dropped_at_once() {
    let mut fragments = engine(FragmentPolicy::default());
    let parts = vec![part(&datagram(), 0..24, 7), part(&datagram(), 24..48, 7)];
    let fates = send(&mut fragments, parts);
    assert_eq!(told(&fates), [("fragment", 1), ("fragment", 2)]);
}

#[test]
fn rfc4787_req14_the_limit_is_exact_and_a_flood_stays_below_it() {
    // A first fragment of 24 bytes of data: 44 bytes, and the overhead of fragment and datagram.
    let cost = 44 + 2 * FragmentsConfig::OVERHEAD;
    for (limit, held) in [(3 * cost - 1, 2), (3 * cost, 3), (3 * cost + 1, 3)] {
        let mut fragments = Fragments::new(FragmentsConfig {
            limit,
            ..FragmentsConfig::HOST
        });
        for identification in 0..1_000 {
            let first = part(&datagram(), 0..24, identification);
            fragments.process(first, Instant::ZERO);
            assert!(fragments.bytes() <= limit);
        }
        assert_eq!(fragments.held(), held);
        let refused = fates(&mut fragments);
        assert_eq!(refused.len() as u64, 1_000 - held);
        let limit = DropReason::FragmentLimit;
        assert!(
            refused
                .iter()
                .all(|fate| matches!(fate, Fate::Dropped(_, why) if *why == limit))
        );
        // Room comes back with time.
        fragments.handle_timeout(LATER);
        assert_eq!((fragments.held(), fragments.bytes()), (0, 0));
    }
}

#[test]
fn the_largest_packet_is_joined_and_a_larger_one_is_not() {
    let payload = Payload::Zeros(65_507);
    let packet = Packet::udp(address("10.1.0.4:1"), address("10.1.0.10:2"), payload);
    let mut fragments = engine(FragmentPolicy::Reassemble);
    let cuts: Vec<usize> = (0..65_515).step_by(1_480).chain([65_515]).collect();
    let parts = cuts.windows(2).map(|cut| part(&packet, cut[0]..cut[1], 1));
    let fates = send(&mut fragments, parts);
    let Some(Fate::On(whole)) = fates.last() else {
        panic!("{fates:?}")
    };
    assert_eq!((whole.wire_len(), whole.verify()), (65_535, Ok(())));
}

/// A permutation of the parts of one datagram, with repetitions.
fn arrivals() -> impl Strategy<Value = Vec<usize>> {
    Just((0..6).collect::<Vec<usize>>()).prop_shuffle()
}

proptest! {
    #[test]
    fn every_order_gives_the_same_packet(order in arrivals(), forward in any::<bool>()) {
        let packet = datagram();
        let policy = if forward { FragmentPolicy::Forward } else { FragmentPolicy::Reassemble };
        let parts = || order.iter().map(|at| part(&packet, at * 8..at * 8 + 8, 3));
        let (mut one, mut other) = (engine(policy), engine(policy));
        let mut fates = send(&mut one, parts());
        prop_assert_eq!(&fates, &send(&mut other, parts()));
        if forward {
            // What comes out in order is joined by the receiver without waiting.
            let ordered = fates.into_iter().map(|fate| match fate {
                Fate::On(packet) => packet,
                fate => panic!("{fate:?}"),
            });
            let ordered: Vec<_> = ordered.collect();
            prop_assert!(ordered.is_sorted_by_key(|packet| packet.fragment_offset()));
            fates = send(&mut engine(FragmentPolicy::Reassemble), ordered);
        }
        let Some(Fate::On(whole)) = fates.last() else {
            panic!("{fates:?}")
        };
        prop_assert_eq!(&wire(whole)[20..], &wire(&packet)[20..]);
        prop_assert_eq!(fates.len(), 6);
    }
}
