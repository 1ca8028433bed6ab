//! Whatever comes off the wire: its form, its fault, and what a rewrite does to it.

use std::net::SocketAddrV4;

use plsim_packet::{Form, IcmpError, Origin, Packet, PacketId, Payload, Rewrite, TcpHeader};
use plsim_types::{DropReason, FiveTuple, Protocol, TcpFlags};
use proptest::collection::vec;
use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

fn address(text: &str) -> SocketAddrV4 {
    text.parse().expect("an address and port")
}

fn wire(packet: &Packet) -> Vec<u8> {
    let mut out = Vec::new();
    packet.write_to(&mut out, usize::MAX);
    out
}

/// Sums byte pairs as the text of RFC 1071 has it.
fn sum(bytes: &[u8]) -> u16 {
    let sum = bytes.chunks(2).fold(0_u32, |sum, pair| {
        let sum = sum + (u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |&low| u32::from(low)));
        (sum >> 16) + (sum & 0xFFFF)
    });
    sum as u16
}

fn set_checksum(bytes: &mut [u8], at: usize) {
    bytes[at..at + 2].fill(0);
    let checksum = !sum(bytes);
    bytes[at..at + 2].copy_from_slice(&checksum.to_be_bytes());
}

/// What the client sends to the endpoint, as the backend sees it behind the NAT.
fn behind_the_nat() -> Packet {
    let header = TcpHeader {
        source: address("10.2.0.10:1024"),
        destination: address("10.2.1.5:8443"),
        sequence: 77,
        acknowledgement: 0,
        flags: TcpFlags::SYN,
        window: 1000,
        mss: Some(1460),
    };
    Packet::tcp(&header, Payload::Zeros(0))
}

fn datagram() -> Packet {
    let (source, destination) = (address("10.2.0.10:1024"), address("10.2.1.5:8443"));
    Packet::udp(source, destination, Payload::Bytes([1, 2, 3].into()))
}

/// An ICMP error of `sender` that quotes the first bytes of a packet, with `options` put into the
/// quoted IP header.
fn error(sender: [u8; 4], quoted: &Packet, length: usize, options: &[u8]) -> Vec<u8> {
    let mut quotation = wire(quoted);
    quotation.splice(20..20, options.iter().copied());
    quotation[0] += (options.len() / 4) as u8;
    set_checksum(&mut quotation[..20 + options.len()], 10);
    quotation.truncate(length + options.len());
    let mut icmp = vec![3, 3, 0, 0, 0, 0, 0, 0];
    icmp.extend(&quotation);
    set_checksum(&mut icmp, 2);
    let mut packet = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, 1, 0, 0];
    packet.extend(sender);
    packet.extend(&quotation[12..16]);
    packet[2..4].copy_from_slice(&(20 + icmp.len() as u16).to_be_bytes());
    set_checksum(&mut packet, 10);
    packet.extend(icmp);
    packet
}

const BACKEND: [u8; 4] = [10, 2, 1, 5];

/// Where the backend's error goes in the consumer's network.
fn back() -> Rewrite {
    Rewrite {
        source: address("10.1.0.10:443"),
        destination: address("10.1.0.4:40000"),
    }
}

#[test]
fn an_icmp_error_speaks_for_the_flow_it_is_about() {
    let packet = Packet::from_wire(&error(BACKEND, &behind_the_nat(), 28, &[]));
    assert_eq!(packet.form(), Form::IcmpError);
    let flow = FiveTuple {
        protocol: Protocol::Tcp,
        source: address("10.2.1.5:8443"),
        destination: address("10.2.0.10:1024"),
    };
    assert_eq!(packet.five_tuple(), flow);
    let told = IcmpError {
        kind: 3,
        code: 3,
        sequence: Some(77),
    };
    assert_eq!(packet.icmp_error(), Some(told));
    assert_eq!(packet.tcp_segment(), None);
    assert_eq!(packet.verify(), Ok(()));
    assert_eq!(
        packet.to_string(),
        "10.2.1.5 → 10.2.0.10 ICMP 56 3/3 about tcp 10.2.0.10:1024 -> 10.2.1.5:8443"
    );
}

#[test]
fn rfc3022_4_3_rfc5508_req5_the_quoted_header_is_translated_with_the_outer_one() {
    for (quoted, length) in [
        (behind_the_nat(), 28),
        (behind_the_nat(), 44),
        (datagram(), 28),
        (datagram(), 31),
    ] {
        for sender in [BACKEND, [10, 2, 9, 1]] {
            for options in [&[][..], &[1, 1, 1, 1], &[7; 40]] {
                let mut packet = Packet::from_wire(&error(sender, &quoted, length, options));
                assert_eq!(packet.form(), Form::IcmpError, "{length} {options:?}");
                packet.rewrite(back());
                assert_eq!(packet.verify(), Ok(()));
                // The quoted packet as its sender sent it, before the NAT.
                let mut sent = quoted.clone();
                sent.rewrite(Rewrite {
                    source: back().destination,
                    destination: back().source,
                });
                let quotation = &wire(&packet)[28..];
                assert_eq!(quotation[20 + options.len()..], wire(&sent)[20..length]);
                assert_eq!(quotation[12..20], wire(&sent)[12..20]);
                // A router's own address would mean nothing on the other side.
                assert_eq!(packet.sender().to_string(), "10.1.0.10");
                assert_eq!(packet.five_tuple().destination, back().destination);
                assert_eq!(sum(&quotation[..20 + options.len()]), 0xFFFF);
            }
        }
    }
}

#[test]
fn rfc5508_req3_a_wrong_icmp_checksum_is_refused_and_a_quoted_one_is_not_looked_at() {
    let mut broken = error(BACKEND, &behind_the_nat(), 44, &[]);
    let at = 28 + 36;
    broken[at] ^= 0x55;
    assert_eq!(
        Packet::from_wire(&broken).fault(),
        Some(DropReason::BadIcmp)
    );
    // The quoted IP header is looked at (REQ-3 a).
    let mut header = error(BACKEND, &behind_the_nat(), 44, &[]);
    header[28 + 8] ^= 1;
    set_checksum(&mut header[20..], 2);
    assert_eq!(
        Packet::from_wire(&header).fault(),
        Some(DropReason::BadIcmp)
    );
    // The error is right again, what it quotes stays wrong by as much.
    set_checksum(&mut broken[20..], 2);
    let mut packet = Packet::from_wire(&broken);
    assert_eq!(packet.fault(), None);
    let mut whole = Packet::from_wire(&error(BACKEND, &behind_the_nat(), 44, &[]));
    packet.rewrite(back());
    whole.rewrite(back());
    let right = &wire(&whole)[28 + 16..];
    let wrong = &wire(&packet)[28 + 16..];
    assert_ne!(right, wrong);
}

#[test]
fn rfc5508_req3_ip_options_of_the_quoted_packet_are_skipped() {
    let packet = Packet::from_wire(&error(BACKEND, &datagram(), 28, &[1; 12]));
    assert_eq!(packet.source(), address("10.2.1.5:8443"));
}

#[test]
fn rfc5508_req10_unreachable_time_exceeded_and_parameter_problem_are_translated() {
    for kind in [3, 11, 12] {
        let mut bytes = error(BACKEND, &datagram(), 28, &[]);
        bytes[20] = kind;
        set_checksum(&mut bytes[20..], 2);
        let mut packet = Packet::from_wire(&bytes);
        packet.rewrite(back());
        let told = packet.icmp_error().expect("an ICMP error");
        assert_eq!((told.kind, told.code), (kind, 3), "type and code stay");
        assert_eq!(packet.five_tuple().destination, back().destination);
    }
}

#[test]
fn an_error_that_does_not_tell_its_flow_is_refused() {
    let bad = |bytes: &[u8]| Packet::from_wire(bytes).fault();
    for length in [0, 8, 19, 20, 27] {
        let bytes = error(BACKEND, &datagram(), length.max(16), &[]);
        let mut cut = bytes[..28 + length].to_vec();
        cut[2..4].copy_from_slice(&(28 + length as u16).to_be_bytes());
        set_checksum(&mut cut[20..], 2);
        let (header, _) = cut.split_at_mut(20);
        set_checksum(header, 10);
        assert_eq!(bad(&cut), Some(DropReason::BadIcmp), "{length}");
    }
    let change = |at: usize, byte: u8| {
        let mut bytes = error(BACKEND, &datagram(), 28, &[]);
        bytes[at] = byte;
        set_checksum(&mut bytes[28..48], 10);
        set_checksum(&mut bytes[20..], 2);
        bad(&bytes)
    };
    assert_eq!(change(28, 0x65), Some(DropReason::BadIcmp), "version");
    assert_eq!(change(28, 0x44), Some(DropReason::BadIcmp), "length");
    assert_eq!(change(28, 0x4F), Some(DropReason::BadIcmp), "length");
    assert_eq!(change(28 + 7, 1), Some(DropReason::BadIcmp), "a fragment");
    assert_eq!(
        change(28 + 15, 9),
        Some(DropReason::BadIcmp),
        "not whose it is"
    );
    let refused = Some(DropReason::UnsupportedProtocol);
    assert_eq!(change(28 + 9, 1), refused, "about an ICMP query");
    for kind in [0, 4, 5, 8, 13] {
        assert_eq!(change(20, kind), refused, "type {kind}");
    }
    for kind in [3, 11, 12] {
        assert_eq!(change(20, kind), None, "type {kind}");
    }
}

#[test]
fn an_error_that_is_built_reads_as_one_that_was_received() {
    let about = behind_the_nat();
    let built = Packet::unreachable(&about, 13, Origin::Icmp).unwrap();
    assert_eq!((built.verify(), built.wire_len()), (Ok(()), 28 + 44));
    let mut parsed = Packet::from_wire(&wire(&built));
    parsed.origin = Origin::Icmp;
    assert_eq!(parsed, built);
    assert_eq!(built.sender().octets(), BACKEND);
    let long = Packet::udp(about.source(), about.destination(), Payload::Zeros(9_000));
    let built = Packet::unreachable(&long, 1, Origin::Icmp).unwrap();
    assert_eq!((built.verify(), built.wire_len()), (Ok(()), 576));
    assert_eq!(Packet::unreachable(&built, 1, Origin::Icmp), None);
    let unusual = Packet::from_wire(&[0; 30]);
    assert_eq!(Packet::unreachable(&unusual, 1, Origin::Icmp), None);
}

#[test]
fn every_flipped_bit_of_a_packet_is_found_out() {
    let error = Packet::unreachable(&behind_the_nat(), 13, Origin::Icmp).unwrap();
    let mut whole = [behind_the_nat(), datagram(), error];
    for packet in &mut whole {
        packet.id = PacketId(7);
        for bit in 0..packet.wire_len() * 8 {
            let mut hit = packet.clone();
            hit.flip_bit(bit);
            assert!(hit.fault().is_some(), "bit {bit} of {packet}");
            assert_eq!(hit.id, packet.id);
            let (before, after) = (wire(packet), wire(&hit));
            let changed: u32 = before
                .iter()
                .zip(&after)
                .map(|(before, after)| (before ^ after).count_ones())
                .sum();
            assert_eq!((changed, after.len()), (1, before.len()), "bit {bit}");
            assert_ne!(before[bit / 8], after[bit / 8]);
        }
    }
}

#[test]
fn a_flipped_bit_of_an_unsummed_udp_payload_is_not_found_out() {
    let mut bytes = wire(&datagram());
    bytes[26..28].fill(0);
    let mut packet = Packet::from_wire(&bytes);
    packet.flip_bit(8 * 30);
    assert_eq!(packet.fault(), None);
    bytes[30] ^= 0x80;
    assert_eq!(wire(&packet), bytes);
}

#[test]
fn unusual_bytes_stay_as_they_are() {
    for length in [0, 1, 19, 20, 59, 60, 61, 200, 65_535] {
        let bytes: Vec<u8> = (0..length).map(|at| at as u8).collect();
        let mut packet = Packet::from_wire(&bytes);
        assert!(packet.fault().is_some(), "{length}");
        assert_eq!((wire(&packet), packet.wire_len()), (bytes.clone(), length));
        packet.rewrite(back());
        assert_eq!(wire(&packet), bytes);
        assert_eq!(
            (packet.source().port(), packet.destination().port()),
            (0, 0)
        );
    }
    assert_eq!(Packet::from_wire(&[0x45; 70_000]).wire_len(), 65_535);
}

/// One fragment of a packet: `range` counts from behind the IP header.
fn fragment(packet: &Packet, range: std::ops::Range<usize>) -> Vec<u8> {
    let whole = wire(packet);
    let mut bytes = whole[..20].to_vec();
    let more = u16::from(range.end + 20 < whole.len()) << 13;
    bytes[6..8].copy_from_slice(&(more | (range.start / 8) as u16).to_be_bytes());
    bytes[2..4].copy_from_slice(&(20 + range.len() as u16).to_be_bytes());
    set_checksum(&mut bytes, 10);
    bytes.extend(&whole[20..][range]);
    bytes
}

#[test]
fn of_later_fragments_only_the_addresses_are_translated() {
    let (source, destination) = (address("10.1.0.4:40000"), address("10.1.0.10:443"));
    let payload: Vec<u8> = (0..40).collect();
    let packet = Packet::udp(source, destination, Payload::Bytes(payload.into()));
    let to = Rewrite {
        source: address("10.2.0.10:1024"),
        destination: address("10.2.1.5:8443"),
    };
    let mut rewritten = packet.clone();
    rewritten.rewrite(to);
    for range in [0..16, 16..32, 32..48] {
        let mut part = Packet::from_wire(&fragment(&packet, range.clone()));
        assert_eq!(part.form(), Form::Fragment);
        assert_eq!(part.fragment_offset(), range.start);
        assert_eq!(part.has_more_fragments(), range.end < 48);
        assert_eq!(part.has_ports(), range.start == 0);
        part.stamp_ports(40_000, 443);
        assert_eq!((part.source(), part.destination()), (source, destination));
        assert_eq!(part.tcp_segment(), None);
        part.rewrite(to);
        assert_eq!(
            (part.source(), part.destination()),
            (to.source, to.destination)
        );
        assert_eq!(wire(&part), fragment(&rewritten, range));
        assert_eq!(part.verify(), Ok(()));
    }
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in vec(any::<u8>(), 0..120), fix in any::<bool>()) {
        let mut bytes = bytes;
        if fix && bytes.len() >= 60 {
            let length = bytes.len() as u16;
            bytes[0] = 0x45 | bytes[0] & 1;
            bytes[2..4].copy_from_slice(&length.to_be_bytes());
            bytes[9] = [1, 6, 17][usize::from(bytes[9] % 3)];
            let header = usize::from(bytes[0] & 15) * 4;
            let (ip, rest) = bytes.split_at_mut(header);
            set_checksum(ip, 10);
            if ip[9] == 1 {
                rest[0] = 3;
                rest[8] = 0x45;
                rest[8 + 9] = 17;
                rest[8 + 6] = 0;
                rest[8 + 7] = 0;
                let whom: [u8; 4] = ip[16..20].try_into().unwrap();
                rest[20..24].copy_from_slice(&whom);
                set_checksum(&mut rest[8..28], 10);
                set_checksum(rest, 2);
            }
        }
        let mut packet = Packet::from_wire(&bytes);
        prop_assert!(packet.wire_len() <= bytes.len());
        prop_assert_eq!(&wire(&packet)[..], &bytes[..packet.wire_len()]);
        let _ = (packet.to_string(), packet.mss(), packet.has_plain_options());
        packet.rewrite(back());
        prop_assert_eq!(packet.verify(), Ok(()));
    }
}
