//! Random packets, random rewrites and random bytes.

use std::net::{Ipv4Addr, SocketAddrV4};

use plsim_packet::{Packet, Payload, Rewrite, TcpHeader};
use plsim_types::{Protocol, TcpFlags};
use proptest::collection::vec;
use proptest::prelude::{
    Just, ProptestConfig, Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest,
};

/// Words that are often 0x0000 or 0xFFFF, where one's complement has its traps.
fn edgy() -> impl Strategy<Value = u16> {
    prop_oneof![Just(0), Just(0xFFFF), any::<u16>()]
}

fn address() -> impl Strategy<Value = SocketAddrV4> {
    (edgy(), edgy(), edgy()).prop_map(|(high, low, port)| {
        SocketAddrV4::new(
            Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)),
            port,
        )
    })
}

fn payload() -> impl Strategy<Value = Payload> {
    prop_oneof![
        (0..1500_u16).prop_map(Payload::Zeros),
        vec(any::<u8>(), 0..40).prop_map(|bytes| Payload::Bytes(bytes.into())),
        vec(prop_oneof![Just(0), Just(0xFF)], 0..40).prop_map(|bytes| Payload::Bytes(bytes.into())),
    ]
}

fn tcp() -> impl Strategy<Value = Packet> {
    let fields = (
        any::<u32>(),
        any::<u32>(),
        any::<u8>(),
        edgy(),
        any::<Option<u16>>(),
    );
    (address(), address(), fields, payload()).prop_map(|(source, destination, fields, payload)| {
        let (sequence, acknowledgement, flags, window, mss) = fields;
        let header = TcpHeader {
            source,
            destination,
            sequence,
            acknowledgement,
            flags: TcpFlags(flags),
            window,
            mss,
        };
        let packet = Packet::tcp(&header, payload);
        let segment = packet.tcp_segment().expect("a TCP packet has a segment");
        assert_eq!(
            (segment.sequence, segment.acknowledgement),
            (sequence, acknowledgement)
        );
        assert_eq!((segment.flags.0, segment.window), (flags, window));
        assert_eq!(usize::from(segment.length), packet.payload_len());
        assert_eq!(
            packet.mss(),
            mss.filter(|_| segment.flags.has(TcpFlags::SYN))
        );
        packet
    })
}

fn packet() -> impl Strategy<Value = Packet> {
    let udp = (address(), address(), payload())
        .prop_map(|(source, destination, payload)| Packet::udp(source, destination, payload));
    prop_oneof![tcp(), udp]
}

fn wire(packet: &Packet) -> Vec<u8> {
    let mut out = Vec::new();
    packet.write_to(&mut out, usize::MAX);
    out
}

/// Sets the addresses, ports and checksums to zero: what is left must survive a rewrite.
fn untouched(packet: &Packet) -> Vec<u8> {
    let mut bytes = wire(packet);
    bytes[10..24].fill(0);
    match packet.protocol() {
        Protocol::Tcp => bytes[36..38].fill(0),
        Protocol::Udp => bytes[26..28].fill(0),
    }
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_rewrite_keeps_every_checksum_right_and_is_undone_by_its_opposite(
        packet in packet(), source in address(), destination in address(),
    ) {
        let mut translated = packet.clone();
        translated.rewrite(Rewrite { source, destination });
        prop_assert_eq!(translated.verify(), Ok(()));
        prop_assert_eq!(translated.source(), source);
        prop_assert_eq!(translated.destination(), destination);
        prop_assert_eq!(untouched(&translated), untouched(&packet));
        translated.rewrite(Rewrite { source: packet.source(), destination: packet.destination() });
        prop_assert_eq!(translated, packet);
    }

    #[test]
    fn random_bytes_never_panic(bytes in vec(any::<u8>(), 0..200)) {
        if let Ok(packet) = Packet::parse(&bytes) {
            prop_assert_eq!(packet.verify(), Ok(()));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_built_is_valid_and_parses_back(packet in packet(), padding in 0..20_usize) {
        prop_assert_eq!(packet.verify(), Ok(()));
        let mut bytes = wire(&packet);
        prop_assert_eq!(bytes.len(), packet.wire_len());
        bytes.resize(bytes.len() + padding, 0x55);
        let parsed = Packet::parse(&bytes).unwrap();
        prop_assert_eq!(wire(&parsed), &bytes[..packet.wire_len()]);
        prop_assert_eq!(parsed, packet);
    }

    #[test]
    fn a_lower_time_to_live_keeps_the_checksum_right(mut packet in packet(), by in 0..64_u8) {
        let before = wire(&packet);
        prop_assert!(packet.decrement_ttl(by));
        prop_assert_eq!(packet.ttl(), 64 - by);
        prop_assert_eq!(packet.verify(), Ok(()));
        let mut after = wire(&packet);
        after[8] = before[8];
        after[10..12].copy_from_slice(&before[10..12]);
        prop_assert_eq!(after, before);
    }

    #[test]
    fn virtual_and_real_zeros_give_the_same_bytes(
        source in address(), destination in address(), length in 0..2000_u16,
    ) {
        let real = || Payload::Bytes(vec![0; usize::from(length)].into());
        let header = TcpHeader {
            source, destination, sequence: 1, acknowledgement: 2,
            flags: TcpFlags::ACK, window: 3, mss: None,
        };
        let zeros = || Payload::Zeros(length);
        prop_assert_eq!(wire(&Packet::tcp(&header, zeros())), wire(&Packet::tcp(&header, real())));
        let udp = |payload| wire(&Packet::udp(source, destination, payload));
        prop_assert_eq!(udp(zeros()), udp(real()));
    }

    #[test]
    fn mutated_packets_never_panic_and_what_parses_is_valid(
        packet in packet(), patches in vec((any::<u16>(), any::<u8>()), 1..6), cut in any::<u16>(),
    ) {
        let mut bytes = wire(&packet);
        for (at, byte) in patches {
            // Mostly in the headers, where the rules are.
            let at = usize::from(at) % bytes.len().min(64);
            bytes[at] = byte;
        }
        if cut % 4 == 0 {
            bytes.truncate(usize::from(cut / 4) % (bytes.len() + 1));
        }
        let fixed = with_right_checksums(bytes.clone());
        for bytes in [bytes, fixed] {
            if let Ok(mut parsed) = Packet::parse(&bytes) {
                prop_assert_eq!(parsed.verify(), Ok(()));
                let _ = (parsed.mss(), parsed.five_tuple(), parsed.to_string());
                let (source, destination) = (parsed.destination(), parsed.source());
                parsed.rewrite(Rewrite { source, destination });
                prop_assert_eq!(parsed.verify(), Ok(()));
            }
        }
    }
}

/// Lets mutated bytes pass the checksums, to reach the rules behind them.
fn with_right_checksums(mut bytes: Vec<u8>) -> Vec<u8> {
    let total = bytes.get(2..4).map_or(0, |field| {
        usize::from(field[0]) << 8 | usize::from(field[1])
    });
    let header = bytes.first().map_or(0, |first| usize::from(first & 15) * 4);
    if header < 20 || total < header + 20 || total > bytes.len() {
        return bytes;
    }
    bytes[10..12].fill(0);
    let checksum = !sum(0, &bytes[..header]);
    bytes[10..12].copy_from_slice(&checksum.to_be_bytes());
    let pseudo = u32::from(bytes[9]) + (total - header) as u32;
    let pseudo = u32::from(sum(pseudo, &bytes[12..20]));
    let at = header + if bytes[9] == 17 { 6 } else { 16 };
    bytes[at..at + 2].fill(0);
    let checksum = !sum(pseudo, &bytes[header..total]);
    bytes[at..at + 2].copy_from_slice(&checksum.to_be_bytes());
    bytes
}

fn sum(start: u32, bytes: &[u8]) -> u16 {
    let mut sum = start;
    for pair in bytes.chunks(2) {
        sum += u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |&low| u32::from(low));
        sum = (sum >> 16) + (sum & 0xFFFF);
    }
    ((sum >> 16) + (sum & 0xFFFF)) as u16
}
