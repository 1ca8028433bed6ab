//! Segments with any options, byte by byte.

use std::net::SocketAddrV4;

use plsim_packet::Packet;
use plsim_types::{PlsId, TcpSegment};

pub(crate) const FIN: u8 = 0x01;
pub(crate) const SYN: u8 = 0x02;
pub(crate) const RST: u8 = 0x04;
pub(crate) const ACK: u8 = 0x10;

/// What the ends put into a segment.
#[derive(Debug, Clone, Default)]
pub(crate) struct Segment {
    pub(crate) sequence: u32,
    pub(crate) acknowledgement: u32,
    pub(crate) flags: u8,
    pub(crate) window: u16,
    pub(crate) options: Vec<u8>,
    pub(crate) payload: Vec<u8>,
}

impl Segment {
    pub(crate) fn packet(&self, source: SocketAddrV4, destination: SocketAddrV4) -> Packet {
        let options = self.options.len().div_ceil(4) * 4;
        let mut tcp = Vec::new();
        tcp.extend(source.port().to_be_bytes());
        tcp.extend(destination.port().to_be_bytes());
        tcp.extend(self.sequence.to_be_bytes());
        tcp.extend(self.acknowledgement.to_be_bytes());
        tcp.push((5 + options as u8 / 4) << 4);
        tcp.push(self.flags);
        tcp.extend(self.window.to_be_bytes());
        tcp.extend([0; 4]);
        tcp.extend(&self.options);
        tcp.resize(20 + options, 0);
        tcp.extend(&self.payload);
        let mut pseudo = [source.ip().octets(), destination.ip().octets()].concat();
        pseudo.extend([0, 6]);
        pseudo.extend((tcp.len() as u16).to_be_bytes());
        pseudo.extend(&tcp);
        let checksum = !sum(&pseudo);
        tcp[16..18].copy_from_slice(&checksum.to_be_bytes());
        let mut ip = vec![0x45, 0];
        ip.extend((20 + tcp.len() as u16).to_be_bytes());
        ip.extend([0, 0, 0x40, 0, 64, 6, 0, 0]);
        ip.extend(source.ip().octets());
        ip.extend(destination.ip().octets());
        let checksum = !sum(&ip);
        ip[10..12].copy_from_slice(&checksum.to_be_bytes());
        ip.extend(tcp);
        let mut packet = Packet::parse(&ip).expect("a packet without fault");
        packet.encap.pls = PlsId(0);
        packet
    }
}

/// Sums byte pairs as the text of RFC 1071 has it.
fn sum(bytes: &[u8]) -> u16 {
    let mut sum = 0_u32;
    for pair in bytes.chunks(2) {
        sum += u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |&low| u32::from(low));
    }
    sum = (sum >> 16) + (sum & 0xFFFF);
    ((sum >> 16) + (sum & 0xFFFF)) as u16
}

/// Returns what a middlebox reads of a segment.
pub(crate) fn tcp(packet: &Packet) -> TcpSegment {
    packet.tcp_segment().expect("all packets here are TCP")
}

/// Returns the payload bytes of a packet.
pub(crate) fn payload(packet: &Packet) -> Vec<u8> {
    let mut bytes = Vec::new();
    packet.write_to(&mut bytes, usize::MAX);
    bytes.split_off(packet.header().len())
}

/// Returns the bytes of an option behind its kind and length.
pub(crate) fn option(packet: &Packet, kind: u8) -> Option<Vec<u8>> {
    let mut rest = packet.header().get(40..)?;
    loop {
        match *rest {
            [] | [0, ..] => return None,
            [1, ref tail @ ..] => rest = tail,
            [found, length, ..] => {
                let (own, tail) = rest.split_at(usize::from(length));
                if found == kind {
                    return Some(own[2..].to_vec());
                }
                rest = tail;
            }
            [_] => panic!("a cut option in {packet}"),
        }
    }
}
