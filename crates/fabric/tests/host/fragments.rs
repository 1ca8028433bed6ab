//! Forwarded fragments of a TCP connection: the NAT follows it as if they were whole.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::ops::Range;

use plsim_nat::State;
use plsim_packet::{Fate, FragmentPolicy, Fragments, FragmentsConfig, Packet, Payload, TcpHeader};
use plsim_types::{Instant, TcpFlags};

use crate::world::{BACKEND, Bench, ENDPOINT, SERVICE};

const CLIENT: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 1, 0, 4), 40_000);
const VM: SocketAddrV4 = SocketAddrV4::new(BACKEND, SERVICE);
const FORWARD: FragmentsConfig = FragmentsConfig {
    policy: FragmentPolicy::Forward,
    ..FragmentsConfig::HOST
};
const ACK: TcpFlags = TcpFlags::ACK;

fn segment(
    (source, destination): (SocketAddrV4, SocketAddrV4),
    flags: TcpFlags,
    sequence: u32,
    acknowledgement: u32,
    bytes: u16,
) -> Packet {
    let header = TcpHeader {
        source,
        destination,
        sequence,
        acknowledgement,
        flags,
        window: 1_000,
        mss: None,
    };
    Packet::tcp(&header, Payload::Zeros(bytes))
}

/// Cuts a packet; the ranges are of what follows the IP header.
fn cut(packet: &Packet, ranges: &[Range<usize>]) -> Vec<Packet> {
    let mut whole = Vec::new();
    packet.write_to(&mut whole, usize::MAX);
    let fragment = |range: &Range<usize>| {
        let mut bytes = whole[..20].to_vec();
        let more = u16::from(range.end + 20 < whole.len()) << 13;
        bytes[2..4].copy_from_slice(&(20 + range.len() as u16).to_be_bytes());
        bytes[6..8].copy_from_slice(&(more | (range.start / 8) as u16).to_be_bytes());
        bytes[10..12].fill(0);
        let words = bytes.chunks(2);
        let sum = words.fold(0_u32, |sum, pair| {
            let sum = sum + (u32::from(pair[0]) << 8 | u32::from(pair[1]));
            (sum >> 16) + (sum & 0xFFFF)
        });
        bytes[10..12].copy_from_slice(&(!(sum as u16)).to_be_bytes());
        bytes.extend(&whole[20..][range.clone()]);
        Packet::from_wire(&bytes)
    };
    ranges.iter().map(fragment).collect()
}

/// Lets the edge's fragments engine put them in order.
fn through_the_edge(parts: Vec<Packet>) -> Vec<Packet> {
    let mut fragments = Fragments::new(FORWARD);
    for part in parts {
        fragments.process(Box::new(part), Instant::ZERO);
    }
    let fates = std::iter::from_fn(|| fragments.poll_fate());
    let on = fates.map(|fate| match fate {
        Fate::On(part) => *part,
        other => panic!("{other:?}"),
    });
    on.collect()
}

#[test]
fn a_connection_is_followed_through_fragments_of_both_sides() {
    let mut bench = Bench::new(100, FORWARD, |pool| pool.ports = 2_000..=2_000);
    let nat = SocketAddrV4::new(Ipv4Addr::new(10, 2, 0, 10), 2_000);
    let (there, back) = ((CLIENT, ENDPOINT), (VM, nat));
    let state = |bench: &Bench| bench.nat().bindings().next().map(|binding| binding.state);
    bench.client_sends(segment(there, TcpFlags::SYN, 100, 0, 0));
    bench.vm_sends(segment(back, TcpFlags::SYN | ACK, 500, 101, 0));
    // 60 bytes of the client in three fragments, out of order, and 44 of the server in two.
    let request = segment(there, ACK, 101, 501, 60);
    for part in through_the_edge(cut(&request, &[64..80, 24..64, 0..24])) {
        bench.client_sends(part);
    }
    let response = segment(back, ACK, 501, 161, 44);
    for part in cut(&response, &[32..64, 0..32]) {
        bench.vm_sends(part);
    }
    assert_eq!(bench.dropped(), []);
    assert_eq!(state(&bench), Some(State::Established));
    // The client has all of the response: an RST of the server at its end is what it expects.
    bench.client_sends(segment(there, ACK, 161, 545, 0));
    bench.vm_sends(segment(back, TcpFlags::RST, 544, 0, 0));
    assert_eq!(state(&bench), Some(State::Established));
    bench.vm_sends(segment(back, TcpFlags::RST, 545, 0, 0));
    assert_eq!(state(&bench), Some(State::Reset));
    // What comes after it revives, and the server had all of the request.
    bench.client_sends(segment(there, ACK, 161, 545, 0));
    bench.client_sends(segment(there, TcpFlags::RST, 161, 0, 0));
    assert_eq!(state(&bench), Some(State::Reset));
}
