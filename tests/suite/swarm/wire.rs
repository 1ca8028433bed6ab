//! The headers of a packet as the oracle reads them: RFC 791, 768, 9293, and RFC 1071 in full.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddrV4};

use super::plan::{TCP, UDP};

/// What the oracle needs to know of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wire {
    /// TCP or UDP.
    pub(super) protocol: u8,
    /// Source.
    pub(super) source: SocketAddrV4,
    /// Destination.
    pub(super) destination: SocketAddrV4,
    /// The time to live.
    pub(super) ttl: u8,
    /// The fields of the TCP header; zero for UDP.
    pub(super) tcp: Tcp,
}

/// The fields of a TCP header that move a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Tcp {
    /// The sequence number.
    pub(super) sequence: u32,
    /// The acknowledgement number.
    pub(super) acknowledgement: u32,
    /// FIN 1, SYN 2, RST 4, PSH 8, ACK 16.
    pub(super) flags: u8,
    /// Bytes of payload.
    pub(super) payload: u32,
}

/// FIN.
pub(super) const FIN: u8 = 1;
/// SYN.
pub(super) const SYN: u8 = 2;
/// RST.
pub(super) const RST: u8 = 4;
/// ACK.
pub(super) const ACK: u8 = 16;

impl Tcp {
    /// Tells whether all of these flags are set.
    pub(super) const fn has(self, flags: u8) -> bool {
        self.flags & flags == flags
    }

    /// Tells whether it opens a connection: SYN alone.
    pub(super) const fn opens(self) -> bool {
        self.flags & (SYN | ACK | RST | FIN) == SYN
    }

    /// Returns the number after its last one.
    pub(super) fn end(self) -> u32 {
        let flags = u32::from(self.has(SYN)) + u32::from(self.has(FIN));
        self.sequence.wrapping_add(self.payload).wrapping_add(flags)
    }
}

impl fmt::Display for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = if self.protocol == TCP { "tcp" } else { "udp" };
        write!(f, "{name} {} -> {}", self.source, self.destination)?;
        if self.protocol == TCP {
            let Tcp {
                sequence,
                acknowledgement,
                flags,
                payload,
            } = self.tcp;
            write!(
                f,
                " flags {flags:#x} seq {sequence} ack {acknowledgement} length {payload}"
            )?;
        }
        Ok(())
    }
}

/// Reads a packet and checks every length and checksum against a full computation (N8).
///
/// # Errors
/// What is wrong with it.
pub(super) fn read(bytes: &[u8]) -> Result<Wire, String> {
    if bytes.len() < 20 || bytes[0] != 0x45 {
        return Err("not an IPv4 header of 20 bytes".to_owned());
    }
    if usize::from(u16_at(bytes, 2)) != bytes.len() {
        return Err(format!(
            "total length {} of {} bytes",
            u16_at(bytes, 2),
            bytes.len()
        ));
    }
    if fold(sum(&bytes[..20])) != 0xFFFF {
        return Err("wrong IP header checksum".to_owned());
    }
    let (protocol, body) = (bytes[9], &bytes[20..]);
    let least = match protocol {
        TCP => 20,
        UDP => 8,
        other => return Err(format!("protocol {other} was forwarded")),
    };
    if body.len() < least {
        return Err("a cut transport header".to_owned());
    }
    let pseudo = sum(&bytes[12..20]) + u64::from(protocol) + body.len() as u64;
    let mut tcp = Tcp::default();
    if protocol == UDP {
        if usize::from(u16_at(body, 4)) != body.len() {
            return Err(format!(
                "UDP length {} of {} bytes",
                u16_at(body, 4),
                body.len()
            ));
        }
        if u16_at(body, 6) != 0 && fold(pseudo + sum(body)) != 0xFFFF {
            return Err("wrong UDP checksum".to_owned());
        }
    } else {
        let header = usize::from(body[12] >> 4) * 4;
        if header < 20 || header > body.len() {
            return Err("a wrong TCP data offset".to_owned());
        }
        if fold(pseudo + sum(body)) != 0xFFFF {
            return Err("wrong TCP checksum".to_owned());
        }
        tcp = Tcp {
            sequence: u32_at(body, 4),
            acknowledgement: u32_at(body, 8),
            flags: body[13],
            payload: (body.len() - header) as u32,
        };
    }
    let socket = |address: usize, port: usize| {
        let address = Ipv4Addr::from_bits(u32_at(bytes, address));
        SocketAddrV4::new(address, u16_at(body, port))
    };
    Ok(Wire {
        protocol,
        source: socket(12, 0),
        destination: socket(16, 2),
        ttl: bytes[8],
        tcp,
    })
}

/// Returns the bytes with all that a NAT may change set to zero: addresses, ports, checksums, and
/// the time to live, which is judged by itself (N9).
pub(super) fn untouched(bytes: &[u8], protocol: u8) -> Vec<u8> {
    let checksum = if protocol == TCP { 36..38 } else { 26..28 };
    let mut bytes = bytes.to_vec();
    for changed in [8..9, 10..20, 20..24, checksum] {
        bytes[changed].fill(0);
    }
    bytes
}

fn sum(bytes: &[u8]) -> u64 {
    let words = bytes.chunks(2);
    let words =
        words.map(|word| u64::from(word[0]) << 8 | word.get(1).map_or(0, |low| (*low).into()));
    words.sum()
}

const fn fold(mut sum: u64) -> u64 {
    while sum > 0xFFFF {
        sum = (sum & 0xFFFF) + (sum >> 16);
    }
    sum
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from(u16_at(bytes, at)) << 16 | u32::from(u16_at(bytes, at + 2))
}
