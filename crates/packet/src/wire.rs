use alloc::vec::Vec;

use plsim_types::DropReason;
use pnet_packet::ipv4::Ipv4Packet;

use crate::form::Form;
use crate::icmp::ICMP;
use crate::packet::{Encap, MAX_HEADERS, Origin, Packet, PacketId};
use crate::parse::{ParseError, checked_ip_header, is_fragment};
use crate::payload::Payload;

/// The bytes of an unusual packet that stand in its header; the ports are read behind them, and
/// are 0.
const UNUSUAL_HEADER: usize = 60;

/// The most bytes of a packet.
const LONGEST: usize = 65_535;

impl Packet {
    /// Reads whatever a machine sends, from the first byte of its IP header; bytes after the IP
    /// total length are link padding and are cut.
    ///
    /// It never fails: what nothing on the way carries keeps its bytes, the first 65 535 of them,
    /// and [`Packet::fault`] says what is wrong with it.
    #[must_use]
    pub fn from_wire(bytes: &[u8]) -> Self {
        let bytes = &bytes[..bytes.len().min(LONGEST)];
        Self::read(bytes).unwrap_or_else(|fault| Self::unusual(bytes, fault))
    }

    /// Flips one bit of the wire bytes, as a link does that corrupts; the first bit is the highest of
    /// the first byte. Id, maker and tunnel header stay.
    ///
    /// The packet becomes what its bytes then are. The Internet checksum finds every single bit
    /// (RFC 1071), so [`Packet::fault`] says what is wrong, but for three kinds: a fragment whose
    /// transport bytes are hit, which only the whole can tell; a UDP datagram without a checksum; and
    /// one whose checksum becomes 0, which says that there is none (RFC 768).
    ///
    /// # Panics
    /// If the packet has no such bit.
    pub fn flip_bit(&mut self, bit: usize) {
        let mut bytes = Vec::with_capacity(self.wire_len());
        self.write_to(&mut bytes, usize::MAX);
        bytes[bit / 8] ^= 0x80 >> (bit % 8);
        let (id, origin, encap) = (self.id, self.origin, self.encap);
        *self = Self::from_wire(&bytes);
        (self.id, self.origin, self.encap) = (id, origin, encap);
    }

    fn read(bytes: &[u8]) -> Result<Self, DropReason> {
        match Self::parse(bytes) {
            Err(ParseError::Fragment | ParseError::UnsupportedProtocol(ICMP)) => {}
            Err(ParseError::BadVersion) if bytes[0] >> 4 == 6 => return Err(DropReason::Ipv6),
            parsed => return parsed.map_err(DropReason::from),
        }
        let ip = Ipv4Packet::new(bytes).ok_or(DropReason::Truncated)?;
        checked_ip_header(&ip)?;
        let wire = &bytes[..usize::from(ip.get_total_length())];
        if is_fragment(&ip) {
            Self::fragment(&ip, wire)
        } else {
            Self::icmp(&ip, wire)
        }
    }

    /// Keeps bytes as they are.
    fn unusual(bytes: &[u8], fault: DropReason) -> Self {
        let mut packet = Self::blank(Form::Unusual(fault));
        let (head, rest) = bytes.split_at(bytes.len().min(UNUSUAL_HEADER));
        packet.header[..head.len()].copy_from_slice(head);
        packet.header_len = head.len() as u8;
        packet.ip_header_len = UNUSUAL_HEADER as u8;
        packet.payload = Payload::from_wire(rest);
        packet
    }

    /// Returns a packet without bytes, from a host, with id 0.
    pub(crate) const fn blank(form: Form) -> Self {
        Self {
            id: PacketId(0),
            origin: Origin::Host,
            encap: Encap::NONE,
            header: [0; MAX_HEADERS],
            ip_header_len: 0,
            header_len: 0,
            form,
            payload: Payload::Zeros(0),
        }
    }
}
