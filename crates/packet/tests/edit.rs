//! Edits of TCP segments: what they name changes, nothing else, and every checksum stays right.

use std::net::{Ipv4Addr, SocketAddrV4};

use plsim_packet::{Packet, Payload};
use plsim_types::TcpFlags;
use pnet_packet::ipv4::{self, MutableIpv4Packet};
use pnet_packet::tcp::{self, MutableTcpPacket, TcpPacket};
use proptest::collection::vec;
use proptest::prelude::{
    Just, ProptestConfig, Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest,
};

const SYN: u8 = 0x02;
const ACK: u8 = 0x10;
const URG: u8 = 0x20;

/// Builds a segment with any options and payload; `urgent` is the urgent pointer.
fn segment(flags: u8, options: &[u8], payload: &[u8], urgent: u16) -> Packet {
    let (source, destination) = (Ipv4Addr::new(10, 1, 0, 4), Ipv4Addr::new(10, 1, 0, 10));
    let header = 20 + options.len().div_ceil(4) * 4;
    let mut bytes = vec![0; 20 + header + payload.len()];
    let length = bytes.len() as u16;
    let mut tcp = MutableTcpPacket::new(&mut bytes[20..]).expect("room for a header");
    tcp.set_source(49152);
    tcp.set_destination(443);
    tcp.set_sequence(0xFFFF_FFF0);
    tcp.set_acknowledgement(7);
    tcp.set_data_offset((header / 4) as u8);
    tcp.set_flags(flags);
    tcp.set_window(500);
    tcp.set_urgent_ptr(urgent);
    tcp.get_options_raw_mut()[..options.len()].copy_from_slice(options);
    tcp.set_payload(payload);
    let checksum = tcp::ipv4_checksum(
        &tcp.to_immutable(),
        &source.octets().into(),
        &destination.octets().into(),
    );
    tcp.set_checksum(checksum);
    let mut ip = MutableIpv4Packet::new(&mut bytes).expect("room for a header");
    ip.set_version(4);
    ip.set_header_length(5);
    ip.set_total_length(length);
    ip.set_ttl(64);
    ip.set_next_level_protocol(pnet_packet::ip::IpNextHeaderProtocol(6));
    ip.set_source(source.octets().into());
    ip.set_destination(destination.octets().into());
    let checksum = ipv4::checksum(&ip.to_immutable());
    ip.set_checksum(checksum);
    Packet::parse(&bytes).expect("a packet without fault")
}

fn wire(packet: &Packet) -> Vec<u8> {
    let mut bytes = Vec::new();
    packet.write_to(&mut bytes, usize::MAX);
    bytes
}

/// The options of a packet, with what pads them.
fn options(packet: &Packet) -> Vec<u8> {
    packet.header()[40..].to_vec()
}

fn payload(packet: &Packet) -> Vec<u8> {
    wire(packet).split_off(packet.header().len())
}

/// Sets lengths, checksums and these bytes to zero: what is left must survive an edit.
fn others(packet: &Packet, changed: std::ops::Range<usize>) -> Vec<u8> {
    let mut bytes = packet.header()[..40].to_vec();
    for range in [2..4, 10..12, 36..38, changed] {
        bytes[range].fill(0);
    }
    bytes
}

fn sack(blocks: &[(u32, u32)]) -> Vec<u8> {
    let mut option = vec![1, 1, 5, 2 + 8 * blocks.len() as u8];
    for (left, right) in blocks {
        option.extend(left.to_be_bytes());
        option.extend(right.to_be_bytes());
    }
    option
}

#[test]
fn bytes_are_put_before_a_payload_whether_it_is_real_or_zeros() {
    for (payload_before, kind) in [
        (vec![0; 9], "zeros"),
        (vec![7, 0, 9], "bytes"),
        (vec![], "none"),
    ] {
        let mut packet = segment(ACK, &[], &payload_before, 0);
        assert!(packet.prepend(&[1, 2, 3, 4]), "{kind}");
        packet.verify().unwrap();
        assert_eq!(
            payload(&packet),
            [&[1, 2, 3, 4], &payload_before[..]].concat(),
            "{kind}"
        );
    }
}

#[test]
fn the_urgent_pointer_moves_with_its_byte() {
    let urgent =
        |packet: &Packet| TcpPacket::new(&wire(packet)[20..]).map(|tcp| tcp.get_urgent_ptr());
    for (flags, before, after) in [(ACK | URG, 5, 41), (ACK, 5, 5), (ACK | URG, 65_530, 65_535)] {
        let mut packet = segment(flags, &[], &[1, 2, 3], before);
        assert!(packet.prepend(&[0xAA; 36]));
        packet.verify().unwrap();
        assert_eq!(urgent(&packet), Some(after));
    }
}

#[test]
fn a_packet_never_grows_beyond_what_ip_can_carry() {
    let mut packet = segment(ACK, &[], &vec![1; 65_535 - 40 - 35], 0);
    let before = packet.clone();
    assert!(!packet.prepend(&[0; 36]));
    assert_eq!(packet, before);
    assert!(packet.prepend(&[0; 35]));
    packet.verify().unwrap();
    let mut datagram = Packet::udp(packet.source(), packet.destination(), Payload::Zeros(3));
    assert!(!datagram.prepend(&[1]));
}

#[test]
fn a_syn_announces_the_other_mss_with_or_without_the_option() {
    let with = [2, 4, 5, 0xB4, 1, 3, 3, 7];
    let mut packet = segment(SYN, &with, &[], 0);
    packet.set_mss(1_424);
    assert_eq!(options(&packet), [2, 4, 5, 0x90, 1, 3, 3, 7]);
    // Before what is there: behind an end-of-options nobody would read it.
    let mut packet = segment(SYN | ACK, &[1, 3, 3, 7, 0, 0, 0, 0], &[], 0);
    packet.set_mss(500);
    packet.verify().unwrap();
    assert_eq!(options(&packet), [2, 4, 1, 0xF4, 1, 3, 3, 7, 0, 0, 0, 0]);
    assert_eq!((packet.mss(), packet.window_scale()), (Some(500), Some(7)));
    // No room, no SYN: as before.
    for (flags, options) in [(SYN, vec![1; 40]), (ACK, vec![])] {
        let mut packet = segment(flags, &options, &[], 0);
        let before = packet.clone();
        packet.set_mss(500);
        assert_eq!(packet, before);
    }
}

#[test]
fn sack_blocks_move_and_empty_ones_leave_without_a_trace() {
    let clamp = |edge: u32| if edge < 136 { 100 } else { edge - 36 };
    let moved = |blocks: &[(u32, u32)]| {
        let mut packet = segment(ACK, &sack(blocks), &[1], 0);
        packet.map_sack(clamp);
        packet.verify().unwrap();
        options(&packet)
    };
    assert_eq!(moved(&[(200, 300)]), sack(&[(164, 264)]));
    // A block that begins in the header, and a D-SACK of nothing else (RFC 2883).
    assert_eq!(moved(&[(120, 300)]), sack(&[(100, 264)]));
    assert_eq!(moved(&[(100, 136)]), [1; 12]);
    let two = [sack(&[(164, 264)]), vec![1; 8]].concat();
    assert_eq!(moved(&[(100, 136), (200, 300)]), two);
    assert_eq!(moved(&[(200, 300), (100, 110)]), two);
    let four = [(200, 300), (400, 500), (600, 700), (800, 900)];
    assert_eq!(
        moved(&four),
        sack(&four.map(|(left, right)| (left - 36, right - 36)))
    );
}

#[test]
fn rfc_7413_a_syn_loses_its_data_and_either_fast_open_option() {
    let cookie = [34, 6, 1, 2, 3, 4, 2, 4, 5, 0xB4];
    let experiment = [254, 6, 0xF9, 0x89, 3, 4, 2, 4, 5, 0xB4];
    let other = [254, 6, 0x12, 0x34, 3, 4, 2, 4, 5, 0xB4];
    for (options, data, expected) in [
        (&cookie[..], &b"data"[..], true),
        (&cookie, b"", true),
        (&experiment, b"data", true),
        (&other, b"", false),
        (&other, b"data", true),
    ] {
        let mut packet = segment(SYN, options, data, 0);
        assert_eq!(packet.strip_fast_open(), expected);
        packet.verify().unwrap();
        assert_eq!((packet.payload_len(), packet.mss()), (0, Some(1_460)));
        let kind = packet.header()[40];
        assert_eq!(kind, if options == other { 254 } else { 1 });
    }
    assert!(!segment(ACK, &cookie, b"data", 0).strip_fast_open());
}

#[test]
fn malformed_options_end_the_search() {
    for options in [
        &[5, 0][..],
        &[5, 1, 1, 1],
        &[5, 255, 0, 0],
        &[8],
        &[2, 1, 5, 0xB4],
    ] {
        let mut packet = segment(SYN | ACK, options, &[], 0);
        let before = packet.clone();
        packet.map_sack(|_| panic!("{options:?} holds no block"));
        assert!(!packet.strip_fast_open());
        assert_eq!((packet.window_scale(), &packet), (None, &before));
    }
}

fn any_segment() -> impl Strategy<Value = Packet> {
    let block = (any::<u32>(), any::<u32>());
    let options = prop_oneof![
        vec(any::<u8>(), 0..40),
        vec(block, 1..5).prop_map(|blocks| sack(&blocks)),
        Just(vec![2, 4, 5, 0xB4, 1, 3, 3, 7, 34, 2]),
    ];
    let payload = prop_oneof![
        vec(any::<u8>(), 0..40),
        (0..1500_usize).prop_map(|length| vec![0; length]),
    ];
    (any::<u8>(), options, payload, any::<u16>())
        .prop_map(|(flags, options, payload, urgent)| segment(flags, &options, &payload, urgent))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_edit_keeps_the_rest_and_the_checksums(
        packet in any_segment(), long in any::<u32>(), word in any::<u16>(), bytes in vec(any::<u8>(), 0..50),
    ) {
        let mut edited = packet.clone();
        edited.set_sequence(long);
        prop_assert_eq!(edited.verify(), Ok(()));
        prop_assert_eq!(others(&edited, 24..28), others(&packet, 24..28));
        edited.set_acknowledgement(long);
        edited.set_window(word);
        edited.set_flags(TcpFlags(word as u8));
        prop_assert_eq!(edited.verify(), Ok(()));
        prop_assert_eq!(others(&edited, 24..36), others(&packet, 24..36));
        let now = edited.tcp_segment().unwrap();
        prop_assert_eq!((now.sequence, now.acknowledgement), (long, long));
        prop_assert_eq!((now.window, now.flags.0), (word, word as u8));
        prop_assert_eq!(payload(&edited), payload(&packet));

        let mut edited = packet.clone();
        prop_assert!(edited.prepend(&bytes));
        prop_assert_eq!(edited.verify(), Ok(()));
        prop_assert_eq!(payload(&edited), [bytes, payload(&packet)].concat());
        prop_assert_eq!(options(&edited), options(&packet));
        prop_assert_eq!(others(&edited, 38..40), others(&packet, 38..40));
        edited.clear_payload();
        prop_assert_eq!(edited.verify(), Ok(()));
        prop_assert_eq!((edited.payload_len(), options(&edited)), (0, options(&packet)));

        let mut edited = packet.clone();
        edited.set_mss(word);
        prop_assert_eq!(edited.verify(), Ok(()));
        edited.map_sack(|edge| edge.wrapping_sub(long));
        prop_assert_eq!(edited.verify(), Ok(()));
        edited.strip_fast_open();
        prop_assert_eq!(edited.verify(), Ok(()));
        prop_assert_eq!(others(&edited, 32..33), others(&packet, 32..33));
    }
}

#[test]
fn no_edit_touches_what_is_not_a_whole_tcp_segment() {
    let address = SocketAddrV4::new(Ipv4Addr::new(10, 1, 0, 4), 53);
    let mut packet = Packet::udp(address, address, Payload::Zeros(30));
    let before = packet.clone();
    packet.set_sequence(1);
    packet.set_acknowledgement(1);
    packet.set_window(1);
    packet.set_flags(TcpFlags::SYN);
    packet.set_mss(1);
    packet.map_sack(|edge| edge + 1);
    packet.clear_payload();
    assert!(!packet.strip_fast_open());
    assert_eq!(packet, before);
}
