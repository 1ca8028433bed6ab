use core::net::{Ipv4Addr, SocketAddrV4};

use alloc::boxed::Box;
use alloc::vec::Vec;
use plsim_types::{DropReason, FiveTuple, Protocol};
use pnet_packet::ipv4::Ipv4Packet;

use crate::checksum::Sum;
use crate::form::Form;
use crate::packet::{MAX_HEADERS, Origin, Packet, Rewrite, long, set_word, word};
use crate::payload::Payload;

const IP_HEADER: usize = 20;
const ICMP_HEADER: usize = 8;

/// The least that an error quotes beyond the IP header (RFC 792): the ports are in it.
const QUOTED: usize = 8;

/// An error has at most 576 bytes, so that it is not fragmented (RFC 1812 §4.3.2.3).
const LONGEST: usize = 576;

/// The IP protocol number of ICMP.
pub(crate) const ICMP: u8 = 1;

/// Destination unreachable, time exceeded, parameter problem: the errors that a NAT translates
/// (RFC 5508 §4). Source quench is obsolete (RFC 6633), a redirect has no meaning beyond its link.
const ERRORS: [u8; 3] = [3, 11, 12];

/// What an ICMP error says: its type and code, and the flow it is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IcmpError {
    /// 3, 11 or 12 (RFC 792).
    pub kind: u8,
    /// The code, which means something else for each type.
    pub code: u8,
    /// The sequence number of the segment it quotes, if it is one of TCP.
    pub sequence: Option<u32>,
}

impl Packet {
    /// Reads an ICMP message whose IP header is right; `wire` is the whole packet.
    pub(crate) fn icmp(ip: &Ipv4Packet<'_>, wire: &[u8]) -> Result<Self, DropReason> {
        let ip_header_len = usize::from(ip.get_header_length()) * 4;
        let message = &wire[ip_header_len..];
        if message.first().is_some_and(|kind| !ERRORS.contains(kind)) {
            return Err(DropReason::UnsupportedProtocol);
        }
        let quoted = message.get(ICMP_HEADER..).ok_or(DropReason::BadIcmp)?;
        if Sum::ZERO.bytes(message).fold() != 0xFFFF {
            return Err(DropReason::BadIcmp);
        }
        checked_quotation(quoted)?;
        if quoted[12..16] != ip.get_destination().octets() {
            // Whoever gets an error is the one who sent what it quotes.
            return Err(DropReason::BadIcmp);
        }
        let header_len = ip_header_len + ICMP_HEADER;
        let mut header = [0; MAX_HEADERS];
        header[..header_len].copy_from_slice(&wire[..header_len]);
        Ok(Self {
            ip_header_len: ip_header_len as u8,
            header_len: header_len as u8,
            header,
            payload: Payload::Bytes(quoted.into()),
            ..Self::blank(Form::IcmpError)
        })
    }

    /// Builds "destination unreachable" about a packet, from the address the packet was sent to,
    /// in the tunnel of that packet: time to live 64, as much of the packet as fits in 576 bytes
    /// (RFC 1812 §4.3.2.3).
    ///
    /// `None` for what no error is sent about: ICMP errors, fragments after the first and unusual
    /// bytes (RFC 1122 §3.2.2).
    #[must_use]
    pub fn unreachable(about: &Self, code: u8, origin: Origin) -> Option<Self> {
        if !about.has_ports() {
            return None;
        }
        let mut quoted = Vec::new();
        about.write_to(&mut quoted, LONGEST - IP_HEADER - ICMP_HEADER);
        let total_length = (IP_HEADER + ICMP_HEADER + quoted.len()) as u16;
        let mut packet = Self::blank(Form::IcmpError);
        packet.origin = origin;
        packet.encap = about.encap;
        packet.ip_header_len = IP_HEADER as u8;
        packet.header_len = (IP_HEADER + ICMP_HEADER) as u8;
        let header = &mut packet.header;
        header[0] = 0x45;
        // Precedence 6, internetwork control (RFC 1812 §4.3.2.5).
        header[1] = 0xC0;
        set_word(header, 2, total_length);
        header[8] = 64;
        header[9] = ICMP;
        header[12..16].copy_from_slice(&about.destination().ip().octets());
        header[16..20].copy_from_slice(&about.sender().octets());
        let checksum = Sum::ZERO.bytes(&header[..IP_HEADER]).checksum();
        set_word(header, 10, checksum);
        header[IP_HEADER] = ERRORS[0];
        header[IP_HEADER + 1] = code;
        packet.payload = Payload::Bytes(quoted.into());
        packet.sum_up_icmp();
        Some(packet)
    }

    /// Returns what an ICMP error says; `None` for any other packet.
    #[must_use]
    pub fn icmp_error(&self) -> Option<IcmpError> {
        if self.form != Form::IcmpError {
            return None;
        }
        let at = self.transport_offset();
        let (quoted, offset) = self.quotation();
        let is_tcp = quoted[9] == Protocol::Tcp.number();
        Some(IcmpError {
            kind: self.header[at],
            code: self.header[at + 1],
            sequence: is_tcp.then(|| long(quoted, offset + 4)),
        })
    }

    /// Returns the flow of the quoted packet, as it was sent.
    #[cold]
    pub(crate) fn quoted_flow(&self) -> FiveTuple {
        let (quoted, offset) = self.quotation();
        let end = |address, port| {
            let address = Ipv4Addr::from_bits(long(quoted, address));
            SocketAddrV4::new(address, word(quoted, port))
        };
        let protocol = match quoted[9] {
            6 => Protocol::Tcp,
            _ => Protocol::Udp,
        };
        FiveTuple {
            protocol,
            source: end(12, offset),
            destination: end(16, offset + 2),
        }
    }

    /// Rewrites an error and what it quotes: the error goes from `to.source` to `to.destination`,
    /// so the quoted packet went the other way. The error's own source becomes the translated one
    /// even if a router on the way made it, for its address means nothing on the other side
    /// (RFC 5508 REQ-5). Type, code and quoted checksums that were wrong stay so (REQ-3 c).
    pub(crate) fn rewrite_error(&mut self, to: Rewrite) {
        self.rewrite_addresses(to);
        let Payload::Bytes(quoted) = &mut self.payload else {
            unreachable!("broken invariant: an ICMP error quotes real bytes")
        };
        rewrite_quoted(quoted, to.destination, to.source);
        self.sum_up_icmp();
    }

    /// Computes the ICMP checksum anew.
    fn sum_up_icmp(&mut self) {
        let at = self.transport_offset();
        set_word(&mut self.header, at + 2, 0);
        let sum = Sum::ZERO.bytes(&self.header[at..at + ICMP_HEADER]);
        let checksum = self.payload.add_to(sum).checksum();
        set_word(&mut self.header, at + 2, checksum);
    }

    /// Returns the quoted bytes and where their transport header starts.
    fn quotation(&self) -> (&[u8], usize) {
        let Payload::Bytes(quoted) = &self.payload else {
            unreachable!("broken invariant: an ICMP error quotes real bytes")
        };
        (quoted, usize::from(quoted[0] & 15) * 4)
    }
}

/// Checks that the quoted packet tells its flow: its IP header with options and checksum, and the
/// ports. Its TCP or UDP checksum is not looked at (RFC 5508 REQ-3 c).
fn checked_quotation(quoted: &[u8]) -> Result<(), DropReason> {
    let header = Ipv4Packet::new(quoted).ok_or(DropReason::BadIcmp)?;
    let length = usize::from(header.get_header_length()) * 4;
    if header.get_version() != 4
        || length < IP_HEADER
        || quoted.len() < length + QUOTED
        || header.get_fragment_offset() != 0
    {
        return Err(DropReason::BadIcmp);
    }
    if !matches!(header.get_next_level_protocol().0, 6 | 17) {
        return Err(DropReason::UnsupportedProtocol);
    }
    // RFC 5508 REQ-3 a.
    match Sum::ZERO.bytes(&quoted[..length]).fold() {
        0xFFFF => Ok(()),
        _ => Err(DropReason::BadIcmp),
    }
}

/// Rewrites a quoted packet; its checksums are updated as far as they were quoted.
fn rewrite_quoted(quoted: &mut Box<[u8]>, source: SocketAddrV4, destination: SocketAddrV4) {
    let at = usize::from(quoted[0] & 15) * 4;
    let (from, to) = (source.ip().to_bits(), destination.ip().to_bits());
    let addresses = Sum::ZERO
        .replaced_long(long(quoted, 12), from)
        .replaced_long(long(quoted, 16), to);
    let checksum = addresses.update(word(quoted, 10));
    set_word(quoted, 10, checksum);
    quoted[12..16].copy_from_slice(&from.to_be_bytes());
    quoted[16..20].copy_from_slice(&to.to_be_bytes());
    let ports = u32::from(source.port()) << 16 | u32::from(destination.port());
    let change = addresses.replaced_long(long(quoted, at), ports);
    quoted[at..at + 4].copy_from_slice(&ports.to_be_bytes());
    if quoted[9] == Protocol::Udp.number() {
        let checksum = change.update_udp(word(quoted, at + 6));
        set_word(quoted, at + 6, checksum);
    } else if quoted.len() >= at + 18 {
        let checksum = change.update(word(quoted, at + 16));
        set_word(quoted, at + 16, checksum);
    }
}
