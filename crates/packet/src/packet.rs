use alloc::vec::Vec;
use core::net::{Ipv4Addr, SocketAddrV4};

use plsim_types::canary::{Fault, planted};
use plsim_types::{BackendId, FiveTuple, LinkId, PlsId, Protocol, TcpFlags, TcpSegment};
use pnet_packet::Packet as _;
use pnet_packet::tcp::{TcpOptionNumbers, TcpOptionPacket, TcpPacket};

use crate::checksum::Sum;
use crate::form::Form;
use crate::payload::Payload;

/// The longest IPv4 header (60 bytes) and the longest TCP header (60 bytes).
pub(crate) const MAX_HEADERS: usize = 120;

/// The number that follows one packet through every tap of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct PacketId(pub u64);

/// Who made a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Origin {
    /// A client or a server.
    Host,
    /// The NAT itself, such as the RST of an idle timeout.
    Nat,
    /// The load balancer, as an RST of a rule's idle timeout.
    LbTimer,
    /// The load balancer, as an RST at the end of a drain or of an admin state.
    LbDrain,
    /// The NAT, as an ICMP error about a packet it refused.
    Icmp,
    /// The host of a VM, as part of a health probe.
    Probe,
}

/// The header of the provider's tunnel: what Private Link knows of a packet beyond its bytes.
///
/// Zero, and without a service, until the private endpoint and the provider edge fill it in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Encap {
    /// The private endpoint connection it came through (PP-4).
    pub link: LinkId,
    /// The Private Link Service it goes to, if it came through one.
    pub pls: PlsId,
    /// The backend VM that the load balancer picked.
    pub backend: BackendId,
    /// The backend port of the load-balancing rule.
    pub backend_port: u16,
    /// The NAT IP that the load balancer has hashed, if it hashes one, by its place in the service.
    pub nat_ip: Option<u8>,
}

impl Encap {
    /// What a packet has before it comes to a private endpoint.
    pub(crate) const NONE: Self = Self {
        link: LinkId(0),
        pls: PlsId::NONE,
        backend: BackendId(0),
        backend_port: 0,
        nat_ip: None,
    };
}

impl Default for Encap {
    fn default() -> Self {
        Self::NONE
    }
}

/// The addresses and ports that a NAT gives a packet (RFC 3022 §4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rewrite {
    /// The new source.
    pub source: SocketAddrV4,
    /// The new destination.
    pub destination: SocketAddrV4,
}

/// One IPv4 packet, with TCP or UDP inside unless its [`Form`] says otherwise.
///
/// ```text
///  header  [ IPv4, 20..=60 bytes | TCP 20..=60 or UDP 8 bytes | unused, up to 120 ]
///          0             ip_header_len                    header_len
///  payload [ real bytes, or only their number if they are all zero ]
/// ```
///
/// Equality compares the wire bytes and the public fields.
#[derive(Clone)]
pub struct Packet {
    /// The number of the packet; 0 until the kernel gives one.
    pub id: PacketId,
    /// Who made it.
    pub origin: Origin,
    /// The tunnel header.
    pub encap: Encap,
    pub(crate) header: [u8; MAX_HEADERS],
    pub(crate) ip_header_len: u8,
    pub(crate) header_len: u8,
    pub(crate) form: Form,
    pub(crate) payload: Payload,
}

impl Packet {
    /// Returns what the packet is, beyond its bytes.
    #[must_use]
    #[inline]
    pub const fn form(&self) -> Form {
        self.form
    }

    /// Returns the protocol of the flow it belongs to; of an ICMP error, of the flow it is about.
    #[must_use]
    #[inline]
    pub fn protocol(&self) -> Protocol {
        match self.form {
            Form::Tcp => Protocol::Tcp,
            Form::Udp => Protocol::Udp,
            Form::Fragment | Form::IcmpError | Form::Unusual(_) => self.unusual_protocol(),
        }
    }

    /// Returns the protocol, both addresses and both ports.
    ///
    /// Of an ICMP error these are those of the flow it is about, as if it were a packet of that
    /// flow in the direction the error travels: what it quotes, reversed. Ports that are not there
    /// are 0.
    #[must_use]
    #[inline]
    pub fn five_tuple(&self) -> FiveTuple {
        FiveTuple {
            protocol: self.protocol(),
            source: self.source(),
            destination: self.destination(),
        }
    }

    /// Returns what a middlebox reads of it, in one look: [`Self::five_tuple`] and
    /// [`Self::tcp_segment`].
    #[must_use]
    #[inline]
    pub fn headers(&self) -> (FiveTuple, Option<TcpSegment>) {
        // The usual form is asked for alone: telling all of them apart takes seven instructions.
        if matches!(self.form, Form::Tcp) {
            (self.own_tuple(Protocol::Tcp), Some(self.own_segment()))
        } else {
            self.other_headers()
        }
    }

    fn other_headers(&self) -> (FiveTuple, Option<TcpSegment>) {
        if matches!(self.form, Form::Udp) {
            (self.own_tuple(Protocol::Udp), None)
        } else {
            (self.five_tuple(), self.tcp_segment())
        }
    }

    #[inline]
    fn own_tuple(&self, protocol: Protocol) -> FiveTuple {
        let ports = self.transport();
        FiveTuple {
            protocol,
            source: SocketAddrV4::new(self.sender(), word(ports, 0)),
            destination: SocketAddrV4::new(self.recipient(), word(ports, 2)),
        }
    }

    #[inline]
    fn own_segment(&self) -> TcpSegment {
        let tcp = self.transport();
        TcpSegment {
            flags: TcpFlags(tcp[13]),
            sequence: long(tcp, 4),
            acknowledgement: long(tcp, 8),
            window: word(tcp, 14),
            length: self.payload.len() as u16,
        }
    }

    /// Returns the source address and port; see [`Self::five_tuple`] for ICMP errors.
    #[must_use]
    #[inline]
    pub fn source(&self) -> SocketAddrV4 {
        if self.form == Form::IcmpError {
            return self.quoted_flow().destination;
        }
        SocketAddrV4::new(self.sender(), word(self.transport(), 0))
    }

    /// Returns the destination address and port; see [`Self::five_tuple`] for ICMP errors.
    #[must_use]
    #[inline]
    pub fn destination(&self) -> SocketAddrV4 {
        if self.form == Form::IcmpError {
            return self.quoted_flow().source;
        }
        SocketAddrV4::new(self.recipient(), word(self.transport(), 2))
    }

    /// Returns the source address of the packet's own IP header.
    #[must_use]
    #[inline]
    pub fn sender(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(long(&self.header, 12))
    }

    #[inline]
    fn recipient(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(long(&self.header, 16))
    }

    /// Returns what a middlebox reads of a TCP segment; `None` for anything else.
    ///
    /// The first fragment of a segment tells of the bytes that it carries itself.
    #[must_use]
    #[inline]
    pub fn tcp_segment(&self) -> Option<TcpSegment> {
        if self.form != Form::Tcp && !self.starts_tcp_fragments() {
            return None;
        }
        Some(self.own_segment())
    }

    /// Returns the maximum segment size option of a SYN, in bytes (RFC 9293 §3.2).
    ///
    /// `None` without the option, without SYN and for UDP. Malformed options end the search.
    #[must_use]
    pub fn mss(&self) -> Option<u16> {
        if !self.tcp_segment()?.flags.has(TcpFlags::SYN) {
            return None;
        }
        let tcp = TcpPacket::new(&self.header()[self.transport_offset()..])?;
        tcp.get_options_iter()
            .take_while(is_well_formed)
            .find(|option| option.get_number() == TcpOptionNumbers::MSS)
            .and_then(|option| option.payload().try_into().ok())
            .map(u16::from_be_bytes)
    }

    /// Returns the time to live, in hops.
    #[must_use]
    #[inline]
    pub fn ttl(&self) -> u8 {
        self.header[8]
    }

    /// Takes `by` hops from the time to live and updates the header checksum (RFC 1624).
    ///
    /// Returns false, and changes nothing, if the time to live would reach zero (RFC 1812
    /// §5.3.1): the packet has expired.
    #[must_use]
    #[inline]
    pub fn decrement_ttl(&mut self, by: u8) -> bool {
        let old = word(&self.header, 8);
        if self.ttl() <= by {
            return false;
        }
        self.header[8] -= by;
        let change = Sum::ZERO.replaced_word(old, word(&self.header, 8));
        let checksum = change.update(word(&self.header, 10));
        set_word(&mut self.header, 10, checksum);
        true
    }

    /// Gives the packet other addresses and ports and updates its checksums (RFC 1624
    /// equation 3); all other bytes stay.
    ///
    /// A UDP checksum of 0 stays 0, a computed 0 becomes 0xFFFF (RFC 3022 §4.1). In an ICMP error
    /// the addresses and ports of what it quotes change as well (RFC 5508 §4); of a fragment after
    /// the first, only the addresses.
    #[inline]
    pub fn rewrite(&mut self, to: Rewrite) {
        if matches!(self.form, Form::Tcp) {
            self.rewrite_ports(to, true);
        } else {
            self.rewrite_other(to);
        }
    }

    /// Rewrites addresses, ports and both checksums.
    ///
    /// Sums of words in the machine's own order need no swaps: a sum of swapped words is the swapped
    /// sum (RFC 1071 §2 B).
    #[inline]
    pub(crate) fn rewrite_ports(&mut self, to: Rewrite, is_tcp: bool) {
        let addresses = self.rewrite_addresses(to);
        let transport = self.transport_mut();
        let (source, destination) = (to.source.port().to_be(), to.destination.port().to_be());
        // Each port for itself: read as one word, two ports that were just written stall the CPU.
        let change = addresses
            .long(!own_long(transport, 0))
            .word(source)
            .word(destination);
        set_own_word(transport, 0, source);
        set_own_word(transport, 2, destination);
        if is_tcp {
            let checksum = change.update(own_word(transport, 16));
            let wrong = planted(Fault::BadChecksum) && to.source.port().is_multiple_of(32);
            set_own_word(transport, 16, checksum ^ u16::from(wrong));
        } else {
            let checksum = change.update_udp(own_word(transport, 6));
            set_own_word(transport, 6, checksum);
        }
    }

    /// Rewrites the IP header and returns the change of its addresses, of words in the machine's own
    /// order.
    #[inline]
    pub(crate) fn rewrite_addresses(&mut self, to: Rewrite) -> Sum {
        let source = to.source.ip().to_bits().to_be();
        let destination = to.destination.ip().to_bits().to_be();
        let addresses = Sum::ZERO
            .replaced_long(own_long(&self.header, 12), source)
            .replaced_long(own_long(&self.header, 16), destination);
        let checksum = addresses.update(own_word(&self.header, 10));
        set_own_word(&mut self.header, 10, checksum);
        self.header[12..16].copy_from_slice(&source.to_ne_bytes());
        self.header[16..20].copy_from_slice(&destination.to_ne_bytes());
        addresses
    }

    /// Returns the bytes of both headers with their options, at most 120: IP and TCP, UDP or ICMP;
    /// of a fragment after the first only IP; of unusual bytes the first 60.
    #[must_use]
    #[inline]
    pub fn header(&self) -> &[u8] {
        &self.header[..usize::from(self.header_len)]
    }

    /// Returns what follows the headers.
    #[must_use]
    #[inline]
    pub fn payload(&self) -> &Payload {
        &self.payload
    }

    /// Returns the number of payload bytes, 0..=65 515.
    #[must_use]
    #[inline]
    pub fn payload_len(&self) -> usize {
        self.payload.len()
    }

    /// Returns the bytes on the wire at the IP layer, at most 65 535.
    #[must_use]
    #[inline]
    pub fn wire_len(&self) -> usize {
        usize::from(self.header_len) + self.payload.len()
    }

    /// Appends the wire bytes to `out`, the first `snap` of them if there are more.
    pub fn write_to(&self, out: &mut Vec<u8>, snap: usize) {
        let header = &self.header()[..self.header().len().min(snap)];
        out.extend_from_slice(header);
        self.payload.write_to(out, snap - header.len());
    }

    /// Returns where the TCP or UDP header starts.
    #[inline]
    pub(crate) fn transport_offset(&self) -> usize {
        // Never above 60; the mask says so to the compiler, which then drops the bounds checks.
        usize::from(self.ip_header_len & 0x3F)
    }

    /// Returns the fixed part of a TCP header, or a UDP header and 12 bytes that mean nothing.
    #[inline]
    fn transport(&self) -> &[u8] {
        let offset = self.transport_offset();
        &self.header[offset..offset + 20]
    }

    #[inline]
    pub(crate) fn transport_mut(&mut self) -> &mut [u8] {
        let offset = self.transport_offset();
        &mut self.header[offset..offset + 20]
    }
}

impl PartialEq for Packet {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
            && self.origin == other.origin
            && self.encap == other.encap
            && self.header() == other.header()
            && self.payload == other.payload
    }
}

impl Eq for Packet {}

/// Tells whether the option list goes on with this option: false at its end, and where a length
/// below 2 makes the rest unreadable.
fn is_well_formed(option: &TcpOptionPacket<'_>) -> bool {
    match option.get_number() {
        TcpOptionNumbers::EOL => false,
        TcpOptionNumbers::NOP => true,
        _ => option
            .get_length_raw()
            .first()
            .is_some_and(|&length| length >= 2),
    }
}

#[inline]
pub(crate) fn word(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

#[inline]
pub(crate) fn set_word(bytes: &mut [u8], at: usize, word: u16) {
    bytes[at..at + 2].copy_from_slice(&word.to_be_bytes());
}

#[inline]
pub(crate) fn long(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

#[inline]
pub(crate) fn set_long(bytes: &mut [u8], at: usize, long: u32) {
    bytes[at..at + 4].copy_from_slice(&long.to_be_bytes());
}

/// Reads a word in the machine's own order.
#[inline]
fn own_word(bytes: &[u8], at: usize) -> u16 {
    u16::from_ne_bytes([bytes[at], bytes[at + 1]])
}

#[inline]
fn set_own_word(bytes: &mut [u8], at: usize, word: u16) {
    bytes[at..at + 2].copy_from_slice(&word.to_ne_bytes());
}

#[inline]
fn own_long(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}
