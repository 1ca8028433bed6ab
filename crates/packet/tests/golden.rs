//! Byte vectors: packets before and after the NAT, and the bytes that are built.

use std::net::SocketAddrV4;

use plsim_packet::{Origin, Packet, PacketId, ParseError, Payload, Rewrite, TcpHeader};
use plsim_types::{Protocol, TcpFlags};

const SYN: &str =
    "4500002c1c46400040060a770a0100040a01000ac00001bb000003e8000000006002faf0c3820000020405b4";
const SYN_BEHIND_THE_NAT: &str =
    "4500002c1c4640004006097a0a0201050a020004040001bb000003e8000000006002faf07e860000020405b4";
const DATAGRAM: &str = "4500001e1c46400040110a7a0a0100040a01000ac3500035000a41ace698";
const DATAGRAM_BEHIND_THE_NAT: &str =
    "4500001e1c4640004011097d0a0201050a02000404000035000affffe698";

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex digits"))
        .collect()
}

fn wire(packet: &Packet) -> Vec<u8> {
    let mut out = Vec::new();
    packet.write_to(&mut out, usize::MAX);
    out
}

fn address(text: &str) -> SocketAddrV4 {
    text.parse().expect("an address and port")
}

fn syn() -> TcpHeader {
    TcpHeader {
        source: address("10.1.0.4:49152"),
        destination: address("10.1.0.10:443"),
        sequence: 1000,
        acknowledgement: 0,
        flags: TcpFlags::SYN,
        window: 64240,
        mss: Some(1460),
    }
}

/// Sums byte pairs as the text of RFC 1071 has it.
fn sum(start: u32, bytes: &[u8]) -> u16 {
    let sum = bytes.chunks(2).fold(start, |sum, pair| {
        let sum = sum + (u32::from(pair[0]) << 8 | u32::from(pair[1]));
        (sum >> 16) + (sum & 0xFFFF)
    });
    sum as u16
}

/// Puts `patch` at `at` and makes the IP header checksum right again.
fn patched(hex: &str, at: usize, patch: &[u8]) -> Vec<u8> {
    let mut bytes = bytes(hex);
    bytes[at..at + patch.len()].copy_from_slice(patch);
    bytes[10..12].fill(0);
    let header = (usize::from(bytes[0] & 15) * 4).clamp(20, bytes.len());
    let checksum = !sum(0, &bytes[..header]);
    bytes[10..12].copy_from_slice(&checksum.to_be_bytes());
    bytes
}

#[test]
fn rfc4787_req10_a_syn_crosses_the_nat_byte_for_byte_and_back() {
    let mut packet = Packet::parse(&bytes(SYN)).unwrap();
    let before = packet.clone();
    packet.rewrite(Rewrite {
        source: address("10.2.1.5:1024"),
        destination: address("10.2.0.4:443"),
    });
    assert_eq!(wire(&packet), bytes(SYN_BEHIND_THE_NAT));
    assert_eq!(packet.verify(), Ok(()));
    packet.rewrite(Rewrite {
        source: before.source(),
        destination: before.destination(),
    });
    assert_eq!(packet, before);
}

#[test]
fn rfc3022_4_1_a_datagram_whose_checksum_becomes_zero_leaves_the_nat_with_ffff() {
    let mut packet = Packet::parse(&bytes(DATAGRAM)).unwrap();
    packet.rewrite(Rewrite {
        source: address("10.2.1.5:1024"),
        destination: address("10.2.0.4:53"),
    });
    assert_eq!(wire(&packet), bytes(DATAGRAM_BEHIND_THE_NAT));
    assert_eq!(packet.verify(), Ok(()));
    let same = Rewrite {
        source: packet.source(),
        destination: packet.destination(),
    };
    packet.rewrite(same);
    assert_eq!(wire(&packet), bytes(DATAGRAM_BEHIND_THE_NAT));
    packet.rewrite(Rewrite {
        source: address("10.1.0.4:50000"),
        destination: address("10.1.0.10:53"),
    });
    assert_eq!(wire(&packet), bytes(DATAGRAM));
}

#[test]
fn a_built_syn_differs_from_the_captured_one_in_the_identification_only() {
    let packet = Packet::tcp(&syn(), Payload::Zeros(0));
    // Without the identification 0x1c46 the header checksum is that much higher.
    let expected = patched(SYN, 4, &[0, 0]);
    assert_eq!(expected[10..12], [0x26, 0xBD]);
    assert_eq!(wire(&packet), expected);
    assert_eq!(packet.id, PacketId(0));
    assert_eq!(packet.origin, Origin::Host);
    assert_eq!((packet.ttl(), packet.mss()), (64, Some(1460)));
}

#[test]
fn a_built_datagram_sends_a_computed_zero_as_ffff() {
    let (source, destination) = (address("10.2.1.5:1024"), address("10.2.0.4:53"));
    let packet = Packet::udp(source, destination, Payload::Bytes([0xE6, 0x98].into()));
    assert_eq!(wire(&packet), patched(DATAGRAM_BEHIND_THE_NAT, 4, &[0, 0]));
    assert_eq!(packet.verify(), Ok(()));
    assert_eq!(packet.tcp_segment(), None);
    assert_eq!(packet.mss(), None);
    assert_eq!(packet.protocol(), Protocol::Udp);
}

#[test]
fn a_datagram_without_checksum_stays_without() {
    let mut unsummed = bytes(DATAGRAM);
    unsummed[26..28].fill(0);
    let mut packet = Packet::parse(&unsummed).unwrap();
    assert_eq!(packet.verify(), Ok(()));
    packet.rewrite(Rewrite {
        source: address("10.2.1.5:1024"),
        destination: address("10.2.0.4:53"),
    });
    assert_eq!(packet.header()[26..28], [0, 0]);
    assert_eq!(packet.verify(), Ok(()));
}

#[test]
fn a_tcp_checksum_of_ffff_is_taken_for_zero_and_never_sent() {
    // Choose the window that makes the checksum 0.
    let mut header = syn();
    let at_zero = Packet::tcp(
        &TcpHeader {
            window: 0,
            ..header
        },
        Payload::Zeros(7),
    );
    header.window = u16::from_be_bytes([at_zero.header()[36], at_zero.header()[37]]);
    let packet = Packet::tcp(&header, Payload::Zeros(7));
    assert_eq!(packet.header()[36..38], [0, 0]);
    let mut input = wire(&packet);
    assert_eq!(Packet::parse(&input), Ok(packet.clone()));
    input[36..38].fill(0xFF);
    assert_eq!(Packet::parse(&input), Ok(packet));
}

#[test]
fn an_ip_checksum_of_ffff_is_taken_for_zero() {
    // Choose the identification that makes the checksum 0.
    let without = patched(SYN, 4, &[0, 0]);
    let mut input = patched(SYN, 4, &without[10..12]);
    assert_eq!(input[10..12], [0, 0]);
    let packet = Packet::parse(&input).unwrap();
    assert_eq!((packet.verify(), wire(&packet)), (Ok(()), input.clone()));
    input[10..12].fill(0xFF);
    assert_eq!(Packet::parse(&input), Ok(packet));
}

#[test]
fn every_rule_of_the_parser_has_its_own_error() {
    let refused = |bytes: &[u8]| Packet::parse(bytes).unwrap_err();
    let syn = bytes(SYN);
    for length in 0..syn.len() {
        assert_eq!(refused(&syn[..length]), ParseError::Truncated, "{length}");
    }
    for (first, error) in [
        (0x05, ParseError::BadVersion),
        (0x65, ParseError::BadVersion),
        (0xF5, ParseError::BadVersion),
        (0x40, ParseError::BadIpHeader),
        (0x44, ParseError::BadIpHeader),
        (0x4F, ParseError::BadIpHeader),
    ] {
        assert_eq!(refused(&patched(SYN, 0, &[first])), error, "{first:#x}");
    }
    assert_eq!(refused(&patched(SYN, 2, &[0, 19])), ParseError::BadIpHeader);
    assert_eq!(refused(&patched(SYN, 2, &[0, 45])), ParseError::Truncated);
    assert_eq!(refused(&patched(SYN, 2, &[0xFF; 2])), ParseError::Truncated);
    assert_eq!(refused(&patched(SYN, 2, &[0, 39])), ParseError::Truncated);
    for checksum in [[0x0A, 0x78], [0xFF, 0xFF], [0, 0]] {
        let mut bad = syn.clone();
        bad[10..12].copy_from_slice(&checksum);
        assert_eq!(refused(&bad), ParseError::BadIpChecksum);
    }
    for fragment in [[0x20, 0], [0, 1], [0x1F, 0xFF], [0x60, 0]] {
        assert_eq!(refused(&patched(SYN, 6, &fragment)), ParseError::Fragment);
    }
    for protocol in [0, 1, 2, 4, 41, 47, 50, 51, 132, 136, 255] {
        let error = ParseError::UnsupportedProtocol(protocol);
        assert_eq!(refused(&patched(SYN, 9, &[protocol])), error);
    }
    for offset in [0x00, 0x40, 0x70, 0xF0] {
        assert_eq!(
            refused(&patched(SYN, 32, &[offset])),
            ParseError::BadTcpHeader
        );
    }
    assert_eq!(
        refused(&patched(SYN, 36, &[0, 0])),
        ParseError::BadL4Checksum
    );
    assert_eq!(
        refused(&patched(SYN, 36, &[0xFF; 2])),
        ParseError::BadL4Checksum
    );
    for length in [0, 7, 8, 9, 11] {
        assert_eq!(
            refused(&patched(DATAGRAM, 24, &[0, length])),
            ParseError::BadUdpLength
        );
    }
    assert_eq!(
        refused(&patched(DATAGRAM, 28, &[0])),
        ParseError::BadL4Checksum
    );
}

#[test]
fn link_padding_is_cut_and_zeros_become_virtual() {
    let mut padded = bytes(SYN);
    padded.extend([0; 18]);
    let packet = Packet::parse(&padded).unwrap();
    assert_eq!(packet.wire_len(), 44);
    let built = Packet::tcp(&syn(), Payload::Bytes(vec![0; 9].into()));
    let parsed = Packet::parse(&wire(&built)).unwrap();
    assert!(matches!(parsed.payload(), Payload::Zeros(9)));
    assert_eq!(parsed, built);
}

/// A SYN with 4 bytes of IP options and 40 bytes of TCP options, both checksums right.
fn syn_with(options: &[u8]) -> Vec<u8> {
    let mut input = vec![
        0x46, 0, 0, 84, 0, 0, 0x40, 0, 9, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2,
    ];
    input.extend([1; 4]);
    input.extend([
        0xC0, 0, 0x01, 0xBB, 0, 0, 0, 1, 0, 0, 0, 0, 0xF0, 2, 0xFF, 0xFF, 0, 0, 0, 0,
    ]);
    input.extend(options);
    input.resize(84, 0);
    let checksum = !sum(0, &input[..24]);
    input[10..12].copy_from_slice(&checksum.to_be_bytes());
    // The pseudo-header: addresses, protocol 6, 60 bytes of TCP.
    let pseudo = 0x0A00 + 1 + 0x0A00 + 2 + 6 + 60;
    let checksum = !sum(pseudo, &input[24..]);
    input[40..42].copy_from_slice(&checksum.to_be_bytes());
    input
}

#[test]
fn ip_options_and_forty_bytes_of_tcp_options_are_carried() {
    let mut packet = Packet::parse(&syn_with(&[1, 1, 2, 4, 0x05, 0x50])).unwrap();
    assert_eq!((packet.mss(), packet.header().len()), (Some(1360), 84));
    assert_eq!(packet.source(), address("10.0.0.1:49152"));
    assert_eq!(packet.verify(), Ok(()));
    packet.rewrite(Rewrite {
        source: address("255.255.255.255:65535"),
        destination: address("0.0.0.0:0"),
    });
    assert_eq!(packet.verify(), Ok(()));
    assert_eq!(packet.destination(), address("0.0.0.0:0"));
    assert_eq!(packet.header()[20..24], [1; 4]);
}

#[test]
fn the_mss_is_found_behind_other_options_but_not_behind_a_malformed_one() {
    let at_the_end: Vec<u8> = [[1; 36].as_slice(), &[2, 4, 0xFF, 0xFF]].concat();
    for (options, mss) in [
        (&[2, 4, 0, 0][..], Some(0)),
        (&[3, 3, 7, 2, 4, 0x05, 0xB4], Some(1460)),
        (
            &[8, 10, 1, 2, 3, 4, 5, 6, 7, 8, 4, 2, 2, 4, 0x02, 0x18],
            Some(536),
        ),
        (&at_the_end, Some(65_535)),
        (&[0, 2, 4, 0x05, 0xB4], None),
        (&[3, 0, 2, 4, 0x05, 0xB4], None),
        (&[3, 1, 2, 4, 0x05, 0xB4], None),
        (&[3, 255, 2, 4, 0x05, 0xB4], None),
        (&[2, 0, 2, 4, 0x05, 0xB4], None),
        (&[2, 3, 0x05, 0xB4], None),
        (&[2, 5, 0x05, 0xB4, 0], None),
        (&[1; 40], None),
        (&[], None),
    ] {
        let packet = Packet::parse(&syn_with(options)).unwrap();
        assert_eq!(packet.mss(), mss, "{options:?}");
    }
    for last in [[1, 2].as_slice(), &[2, 4], &[2, 4, 0x05]] {
        let filled = [vec![1; 40 - last.len()].as_slice(), last].concat();
        let packet = Packet::parse(&syn_with(&filled)).unwrap();
        assert_eq!(packet.mss(), None, "{last:?}");
    }
}

#[test]
fn the_snap_length_cuts_header_and_payload() {
    let packet = Packet::tcp(&syn(), Payload::Zeros(3));
    let whole = wire(&packet);
    assert_eq!(whole.len(), packet.wire_len());
    for snap in 0..=whole.len() + 1 {
        let mut out = vec![0xAA];
        packet.write_to(&mut out, snap);
        assert_eq!(out[1..], whole[..snap.min(whole.len())]);
    }
}

#[test]
fn the_time_to_live_stops_at_one() {
    let mut packet = Packet::parse(&bytes(SYN)).unwrap();
    assert!(packet.decrement_ttl(1));
    assert_eq!(packet.ttl(), 63);
    assert_eq!(packet.verify(), Ok(()));
    let before = packet.clone();
    assert!(!packet.decrement_ttl(63));
    assert!(!packet.decrement_ttl(255));
    assert_eq!(packet, before);
    assert!(packet.decrement_ttl(62));
    assert_eq!((packet.ttl(), packet.verify()), (1, Ok(())));
    assert!(!packet.decrement_ttl(1));
}

#[test]
fn the_largest_packets_are_built_and_parsed() {
    let header = TcpHeader { mss: None, ..syn() };
    let packet = Packet::tcp(&header, Payload::Zeros(65_495));
    assert_eq!((packet.wire_len(), packet.verify()), (65_535, Ok(())));
    let ones = Payload::Bytes(vec![0xFF; 65_507].into());
    let packet = Packet::udp(header.source, header.destination, ones);
    assert_eq!((packet.wire_len(), packet.verify()), (65_535, Ok(())));
    assert_eq!(Packet::parse(&wire(&packet)), Ok(packet));
}

#[test]
#[should_panic(expected = "at most 65 535 bytes")]
fn a_packet_beyond_65535_bytes_is_a_broken_invariant() {
    let _ = Packet::tcp(&syn(), Payload::Zeros(u16::MAX));
}

#[test]
fn a_packet_reads_as_one_line_of_tshark() {
    let packet = Packet::tcp(&syn(), Payload::Zeros(0));
    assert_eq!(
        packet.to_string(),
        "10.1.0.4 → 10.1.0.10 TCP 44 49152 → 443 [SYN] Seq=1000 Win=64240 Len=0 MSS=1460"
    );
    let header = TcpHeader {
        flags: TcpFlags::PSH | TcpFlags::ACK,
        acknowledgement: 7,
        mss: None,
        ..syn()
    };
    assert_eq!(
        Packet::tcp(&header, Payload::Zeros(200)).to_string(),
        "10.1.0.4 → 10.1.0.10 TCP 240 49152 → 443 [PSH, ACK] Seq=1000 Ack=7 Win=64240 Len=200"
    );
    let packet = Packet::udp(header.source, header.destination, Payload::Zeros(2));
    assert_eq!(
        packet.to_string(),
        "10.1.0.4 → 10.1.0.10 UDP 30 49152 → 443 Len=2"
    );
    assert_eq!(
        format!("{packet:?}"),
        "Packet { id: 0, origin: Host, tuple: udp 10.1.0.4:49152 -> 10.1.0.10:443, ttl: 64, \
         header: 28, payload: 2 zeros, .. }"
    );
}

#[test]
fn a_packet_takes_160_bytes() {
    assert_eq!(size_of::<Packet>(), 160);
}
