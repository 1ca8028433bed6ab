use alloc::vec::Vec;
use core::fmt;

use plsim_types::{DropReason, Protocol};
use pnet_packet::Packet as _;
use pnet_packet::icmp::{self, IcmpPacket};
use pnet_packet::ipv4::{self, Ipv4Flags, Ipv4Packet, MutableIpv4Packet};
use pnet_packet::tcp::{self, MutableTcpPacket, TcpPacket};
use pnet_packet::udp::{self, UdpPacket};

use crate::checksum::Sum;
use crate::form::Form;
use crate::packet::{Encap, MAX_HEADERS, Origin, Packet, PacketId};
use crate::payload::Payload;

/// Why bytes are not a packet that plsim carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParseError {
    /// The bytes end before the IP packet does, or the packet before its TCP or UDP header.
    Truncated,
    /// The IP version is not 4.
    BadVersion,
    /// The IP header length is below 20 bytes or beyond the total length.
    BadIpHeader,
    /// The IP header checksum is wrong.
    BadIpChecksum,
    /// The packet is a fragment.
    Fragment,
    /// Neither TCP nor UDP (PLS-22); the value is the IP protocol number.
    UnsupportedProtocol(u8),
    /// The TCP header length is below 20 bytes or beyond the packet.
    BadTcpHeader,
    /// The UDP length is below 8 or not what the IP packet carries.
    BadUdpLength,
    /// The TCP or UDP checksum is wrong.
    BadL4Checksum,
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Truncated => "the packet is cut short",
            Self::BadVersion => "the IP version is not 4",
            Self::BadIpHeader => "the IP header length is wrong",
            Self::BadIpChecksum => "the IP header checksum is wrong",
            Self::Fragment => "the packet is a fragment",
            Self::UnsupportedProtocol(number) => {
                return write!(f, "IP protocol {number} is neither TCP nor UDP");
            }
            Self::BadTcpHeader => "the TCP header length is wrong",
            Self::BadUdpLength => "the UDP length is wrong",
            Self::BadL4Checksum => "the TCP or UDP checksum is wrong",
        })
    }
}

impl core::error::Error for ParseError {}

impl From<ParseError> for DropReason {
    fn from(error: ParseError) -> Self {
        match error {
            ParseError::Truncated => Self::Truncated,
            ParseError::BadVersion => Self::BadVersion,
            ParseError::BadIpHeader => Self::BadIpHeader,
            ParseError::BadIpChecksum => Self::BadIpChecksum,
            ParseError::Fragment => Self::Fragment,
            ParseError::UnsupportedProtocol(_) => Self::UnsupportedProtocol,
            ParseError::BadTcpHeader => Self::BadTcpHeader,
            ParseError::BadUdpLength => Self::BadUdpLength,
            ParseError::BadL4Checksum => Self::BadL4Checksum,
        }
    }
}

impl Packet {
    /// Reads a packet off the wire, from the first byte of its IP header; bytes after the IP total
    /// length are link padding and are cut.
    ///
    /// The result has id 0, origin host and an empty tunnel header. A payload of zeros becomes a
    /// virtual run. An IP or TCP checksum of 0xFFFF where 0 is meant is accepted, as Linux sends it
    /// now and then, and becomes 0.
    ///
    /// # Errors
    /// The first [`ParseError`] in the order of the checks: length, version, header length, total
    /// length, IP checksum, fragment, protocol, transport header, transport checksum.
    pub fn parse(bytes: &[u8]) -> Result<Self, ParseError> {
        let ip = Ipv4Packet::new(bytes).ok_or(ParseError::Truncated)?;
        let ip_header_len = checked_ip_header(&ip)?;
        if is_fragment(&ip) {
            return Err(ParseError::Fragment);
        }
        let protocol = match ip.get_next_level_protocol().0 {
            6 => Protocol::Tcp,
            17 => Protocol::Udp,
            number => return Err(ParseError::UnsupportedProtocol(number)),
        };
        let wire = &bytes[..usize::from(ip.get_total_length())];
        let transport = &wire[ip_header_len..];
        let header_len = ip_header_len
            + match protocol {
                Protocol::Tcp => checked_tcp_header(transport)?,
                Protocol::Udp => checked_udp_header(transport)?,
            };
        let unsummed = protocol == Protocol::Udp
            && UdpPacket::new(transport).is_some_and(|udp| udp.get_checksum() == 0);
        if !unsummed && transport_sum(&ip, transport).fold() != 0xFFFF {
            return Err(ParseError::BadL4Checksum);
        }
        let mut header = [0; MAX_HEADERS];
        header[..header_len].copy_from_slice(&wire[..header_len]);
        // Field by field: `..blank()` would clear the header twice.
        let mut packet = Self {
            id: PacketId(0),
            origin: Origin::Host,
            encap: Encap::NONE,
            header,
            ip_header_len: ip_header_len as u8,
            header_len: header_len as u8,
            form: match protocol {
                Protocol::Tcp => Form::Tcp,
                Protocol::Udp => Form::Udp,
            },
            payload: Payload::from_wire(&wire[header_len..]),
        };
        packet.normalize_zero_checksums();
        Ok(packet)
    }

    /// Recomputes every length and checksum from the wire bytes with pnet_packet, sharing no code
    /// with the incremental updates: the oracle of tests and of checked runs. Unusual bytes have
    /// nothing that could be right, and pass.
    ///
    /// # Errors
    /// The first thing that is wrong, as [`Self::parse`] names it.
    pub fn verify(&self) -> Result<(), ParseError> {
        if self.fault().is_some() {
            return Ok(());
        }
        let mut bytes = Vec::with_capacity(self.wire_len());
        self.write_to(&mut bytes, usize::MAX);
        let ip = Ipv4Packet::new(&bytes).ok_or(ParseError::Truncated)?;
        if ip.get_version() != 4 {
            return Err(ParseError::BadVersion);
        }
        let header_length = usize::from(ip.get_header_length()) * 4;
        let total_length = usize::from(ip.get_total_length());
        if header_length != self.transport_offset() || total_length != bytes.len() {
            return Err(ParseError::BadIpHeader);
        }
        if ip.get_checksum() != ipv4::checksum(&ip) {
            return Err(ParseError::BadIpChecksum);
        }
        match self.form {
            Form::Fragment if is_fragment(&ip) => return Ok(()),
            Form::IcmpError => return verify_icmp(&ip),
            _ if is_fragment(&ip) => return Err(ParseError::Fragment),
            _ => {}
        }
        let transport_len = usize::from(self.header_len) - header_length;
        match ip.get_next_level_protocol().0 {
            6 => verify_tcp(&ip, transport_len),
            17 => verify_udp(&ip, transport_len),
            number => Err(ParseError::UnsupportedProtocol(number)),
        }
    }

    /// Turns 0xFFFF, the other zero of one's complement, into the 0 that RFC 1624 asks for; with
    /// UDP it is the proper form and stays.
    fn normalize_zero_checksums(&mut self) {
        if let Some(mut ip) = MutableIpv4Packet::new(&mut self.header)
            && ip.get_checksum() == 0xFFFF
        {
            ip.set_checksum(0);
        }
        let offset = self.transport_offset();
        if self.protocol() == Protocol::Tcp
            && let Some(mut tcp) = MutableTcpPacket::new(&mut self.header[offset..])
            && tcp.get_checksum() == 0xFFFF
        {
            tcp.set_checksum(0);
        }
    }
}

/// Checks the IP header and returns its length, at most the total length.
pub(crate) fn checked_ip_header(ip: &Ipv4Packet<'_>) -> Result<usize, ParseError> {
    if ip.get_version() != 4 {
        return Err(ParseError::BadVersion);
    }
    let header_length = usize::from(ip.get_header_length()) * 4;
    let total_length = usize::from(ip.get_total_length());
    if header_length < Ipv4Packet::minimum_packet_size() || header_length > total_length {
        return Err(ParseError::BadIpHeader);
    }
    if total_length > ip.packet().len() {
        return Err(ParseError::Truncated);
    }
    if Sum::ZERO.bytes(&ip.packet()[..header_length]).fold() != 0xFFFF {
        return Err(ParseError::BadIpChecksum);
    }
    Ok(header_length)
}

pub(crate) fn is_fragment(ip: &Ipv4Packet<'_>) -> bool {
    ip.get_flags() & Ipv4Flags::MoreFragments != 0 || ip.get_fragment_offset() != 0
}

/// Sums pseudo-header, transport header with its checksum, and payload (RFC 9293 §3.1, RFC 768).
fn transport_sum(ip: &Ipv4Packet<'_>, transport: &[u8]) -> Sum {
    Sum::ZERO
        .bytes(&ip.get_source().octets())
        .bytes(&ip.get_destination().octets())
        .word(u16::from(ip.get_next_level_protocol().0))
        .word(transport.len() as u16)
        .bytes(transport)
}

/// Returns the length of the TCP header with its options.
fn checked_tcp_header(transport: &[u8]) -> Result<usize, ParseError> {
    let tcp = TcpPacket::new(transport).ok_or(ParseError::Truncated)?;
    let length = usize::from(tcp.get_data_offset()) * 4;
    if length < TcpPacket::minimum_packet_size() || length > transport.len() {
        return Err(ParseError::BadTcpHeader);
    }
    Ok(length)
}

/// Returns the length of the UDP header.
fn checked_udp_header(transport: &[u8]) -> Result<usize, ParseError> {
    let udp = UdpPacket::new(transport).ok_or(ParseError::Truncated)?;
    // A shorter UDP length would hide bytes behind the datagram (RFC 768 gives them no meaning).
    if usize::from(udp.get_length()) != transport.len() {
        return Err(ParseError::BadUdpLength);
    }
    Ok(UdpPacket::minimum_packet_size())
}

fn verify_icmp(ip: &Ipv4Packet<'_>) -> Result<(), ParseError> {
    let icmp = IcmpPacket::new(ip.payload()).ok_or(ParseError::Truncated)?;
    if icmp.get_checksum() != icmp::checksum(&icmp) {
        return Err(ParseError::BadL4Checksum);
    }
    Ok(())
}

fn verify_tcp(ip: &Ipv4Packet<'_>, header_len: usize) -> Result<(), ParseError> {
    let tcp = TcpPacket::new(ip.payload()).ok_or(ParseError::Truncated)?;
    if usize::from(tcp.get_data_offset()) * 4 != header_len {
        return Err(ParseError::BadTcpHeader);
    }
    if tcp.get_checksum() != tcp::ipv4_checksum(&tcp, &ip.get_source(), &ip.get_destination()) {
        return Err(ParseError::BadL4Checksum);
    }
    Ok(())
}

fn verify_udp(ip: &Ipv4Packet<'_>, header_len: usize) -> Result<(), ParseError> {
    let udp = UdpPacket::new(ip.payload()).ok_or(ParseError::Truncated)?;
    if usize::from(udp.get_length()) != ip.payload().len()
        || header_len != UdpPacket::minimum_packet_size()
    {
        return Err(ParseError::BadUdpLength);
    }
    let computed = udp::ipv4_checksum(&udp, &ip.get_source(), &ip.get_destination());
    match (udp.get_checksum(), computed) {
        (0, _) | (0xFFFF, 0) => Ok(()),
        (stored, computed) if stored == computed => Ok(()),
        _ => Err(ParseError::BadL4Checksum),
    }
}

#[cfg(test)]
mod tests {
    use super::ParseError;
    use crate::{Packet, Payload, TcpHeader};
    use core::net::{Ipv4Addr, SocketAddrV4};
    use plsim_types::TcpFlags;

    fn packets() -> [Packet; 2] {
        let source = SocketAddrV4::new(Ipv4Addr::new(10, 1, 0, 4), 49152);
        let destination = SocketAddrV4::new(Ipv4Addr::new(10, 1, 0, 10), 443);
        let header = TcpHeader {
            source,
            destination,
            sequence: 1,
            acknowledgement: 0,
            flags: TcpFlags::SYN,
            window: 64240,
            mss: Some(1460),
        };
        let payload = Payload::Bytes([1, 2, 3].into());
        [
            Packet::tcp(&header, payload.clone()),
            Packet::udp(source, destination, payload),
        ]
    }

    #[test]
    fn the_oracle_sees_every_flipped_bit() {
        for packet in packets() {
            for at in 0..packet.header().len() {
                for bit in 0..8 {
                    let mut broken = packet.clone();
                    broken.header[at] ^= 1 << bit;
                    assert!(broken.verify().is_err(), "byte {at} bit {bit}");
                }
            }
            let mut broken = packet.clone();
            broken.payload = Payload::Bytes([1, 2, 4].into());
            assert_eq!(broken.verify(), Err(ParseError::BadL4Checksum));
            for length in [2, 4] {
                broken.payload = Payload::Zeros(length);
                assert_eq!(broken.verify(), Err(ParseError::BadIpHeader));
            }
        }
    }

    #[test]
    fn the_oracle_tells_the_checksums_apart() {
        let [mut tcp, mut udp] = packets();
        for (packet, checksum) in [(&mut tcp, 36), (&mut udp, 26)] {
            packet.header[checksum] ^= 1;
            assert_eq!(packet.verify(), Err(ParseError::BadL4Checksum));
            packet.header[11] ^= 1;
            assert_eq!(packet.verify(), Err(ParseError::BadIpChecksum));
        }
        let [_, mut unsummed] = packets();
        unsummed.header[26..28].fill(0);
        assert_eq!(unsummed.verify(), Ok(()));
        unsummed.header[26..28].fill(0xFF);
        assert_eq!(unsummed.verify(), Err(ParseError::BadL4Checksum));
    }
}
