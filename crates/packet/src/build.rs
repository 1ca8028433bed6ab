use core::net::SocketAddrV4;

use plsim_types::{Protocol, TcpFlags};
use pnet_packet::ip::IpNextHeaderProtocol;
use pnet_packet::ipv4::{Ipv4Flags, MutableIpv4Packet};
use pnet_packet::tcp::MutableTcpPacket;
use pnet_packet::udp::MutableUdpPacket;

use crate::checksum::Sum;
use crate::form::Form;
use crate::packet::{Encap, MAX_HEADERS, Origin, Packet, PacketId};
use crate::payload::Payload;

const IP_HEADER: usize = 20;
const TCP_HEADER: usize = 20;
const UDP_HEADER: usize = 8;
/// The longest headers built: IP, TCP and the maximum segment size.
const LONGEST: usize = IP_HEADER + TCP_HEADER + 4;

/// Kind and length of the maximum segment size option (RFC 9293 §3.2).
const MSS_OPTION: [u8; 2] = [2, 4];

/// The first word of an IP header: version 4, five words long, no service class.
const VERSION_AND_LENGTH: u16 = 0x4500;

/// The initial time to live: the default of RFC 1700 and of Linux.
const TTL: u8 = 64;

/// What a TCP sender chooses of a segment (RFC 9293 §3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TcpHeader {
    /// Who sends.
    pub source: SocketAddrV4,
    /// Who receives.
    pub destination: SocketAddrV4,
    /// Sequence number of the first byte, or of the SYN.
    pub sequence: u32,
    /// Next byte expected from the other side; written whether or not ACK is set.
    pub acknowledgement: u32,
    /// Control bits.
    pub flags: TcpFlags,
    /// Receive window as it stands on the wire.
    pub window: u16,
    /// The maximum segment size option, in bytes; belongs on a SYN only.
    pub mss: Option<u16>,
}

impl Packet {
    /// A record of which only the memory counts.
    const BLANK: Self = Self {
        id: PacketId(0),
        origin: Origin::Host,
        encap: Encap::NONE,
        header: [0; MAX_HEADERS],
        ip_header_len: 0,
        header_len: 0,
        form: Form::Tcp,
        payload: Payload::Zeros(0),
    };

    /// Builds a TCP packet: time to live 64, don't fragment, IP identification 0 (RFC 6864 §4.1),
    /// both checksums right, id 0, made by a host.
    ///
    /// # Panics
    /// If headers and payload exceed the 65 535 bytes of an IPv4 packet.
    #[must_use]
    pub fn tcp(header: &TcpHeader, payload: Payload) -> Self {
        let mut packet = Self::BLANK;
        packet.become_tcp(header, payload);
        packet
    }

    /// Makes a packet that is over into the one that [`Packet::tcp`] would build: its memory is used again
    /// without a copy.
    ///
    /// # Panics
    /// As [`Packet::tcp`] does.
    pub fn become_tcp(&mut self, header: &TcpHeader, payload: Payload) {
        let (source, destination) = (header.source, header.destination);
        let tcp_len = TCP_HEADER + if header.mss.is_some() { 4 } else { 0 };
        let offset_and_flags = u16::from_be_bytes([(tcp_len << 2) as u8, header.flags.0]);
        self.become_ip(Protocol::Tcp, source, destination, tcp_len, payload);
        let mut sum = self
            .pseudo_header_sum(source, destination)
            .long(header.sequence)
            .long(header.acknowledgement)
            .word(offset_and_flags)
            .word(header.window);
        let mut tcp = MutableTcpPacket::new(&mut self.header[IP_HEADER..])
            .expect("broken invariant: the buffer holds every header");
        tcp.set_source(source.port());
        tcp.set_destination(destination.port());
        tcp.set_sequence(header.sequence);
        tcp.set_acknowledgement(header.acknowledgement);
        tcp.set_data_offset((tcp_len / 4) as u8);
        tcp.set_flags(header.flags.0);
        tcp.set_window(header.window);
        if let Some(mss) = header.mss {
            let option = tcp.get_options_raw_mut();
            option[..2].copy_from_slice(&MSS_OPTION);
            option[2..4].copy_from_slice(&mss.to_be_bytes());
            sum = sum.word(u16::from_be_bytes(MSS_OPTION)).word(mss);
        }
        tcp.set_checksum(sum.checksum());
    }

    /// Builds a UDP packet with a checksum (a computed 0 is sent as 0xFFFF, RFC 768): time to live
    /// 64, don't fragment, IP identification 0, id 0, made by a host.
    ///
    /// # Panics
    /// If headers and payload exceed the 65 535 bytes of an IPv4 packet.
    #[must_use]
    pub fn udp(source: SocketAddrV4, destination: SocketAddrV4, payload: Payload) -> Self {
        let mut packet = Self::BLANK;
        packet.become_ip(Protocol::Udp, source, destination, UDP_HEADER, payload);
        let length = (UDP_HEADER + packet.payload_len()) as u16;
        let sum = packet.pseudo_header_sum(source, destination).word(length);
        let mut udp = MutableUdpPacket::new(&mut packet.header[IP_HEADER..])
            .expect("broken invariant: the buffer holds every header");
        udp.set_source(source.port());
        udp.set_destination(destination.port());
        udp.set_length(length);
        udp.set_checksum(sum.udp_checksum());
        packet
    }

    /// Writes the IP header, with its checksum, before an empty transport header.
    #[inline]
    fn become_ip(
        &mut self,
        protocol: Protocol,
        source: SocketAddrV4,
        destination: SocketAddrV4,
        transport_len: usize,
        payload: Payload,
    ) {
        let header_len = IP_HEADER + transport_len;
        let total_length = u16::try_from(header_len + payload.len())
            .expect("broken invariant: an IPv4 packet has at most 65 535 bytes");
        self.id = PacketId(0);
        self.origin = Origin::Host;
        self.encap = Encap::NONE;
        self.header[..LONGEST].fill(0);
        self.ip_header_len = IP_HEADER as u8;
        self.header_len = header_len as u8;
        self.form = match protocol {
            Protocol::Tcp => Form::Tcp,
            Protocol::Udp => Form::Udp,
        };
        self.payload = payload;
        let sum = Sum::ZERO
            .word(VERSION_AND_LENGTH)
            .word(total_length)
            .word(u16::from(Ipv4Flags::DontFragment) << 13)
            .word(u16::from_be_bytes([TTL, protocol.number()]))
            .long(source.ip().to_bits())
            .long(destination.ip().to_bits());
        let mut ip = MutableIpv4Packet::new(&mut self.header)
            .expect("broken invariant: the buffer holds every header");
        ip.set_version(4);
        ip.set_header_length((IP_HEADER / 4) as u8);
        ip.set_total_length(total_length);
        ip.set_flags(Ipv4Flags::DontFragment);
        ip.set_ttl(TTL);
        ip.set_next_level_protocol(IpNextHeaderProtocol(protocol.number()));
        ip.set_checksum(sum.checksum());
        ip.set_source(source.ip().octets().into());
        ip.set_destination(destination.ip().octets().into());
    }

    /// Sums pseudo-header, ports and payload. Building sums values instead of the bytes just
    /// written: reading those back as wider words stalls the processor.
    #[inline]
    fn pseudo_header_sum(&self, source: SocketAddrV4, destination: SocketAddrV4) -> Sum {
        let length = usize::from(self.header_len) - IP_HEADER + self.payload.len();
        let sum = Sum::ZERO
            .long(source.ip().to_bits())
            .long(destination.ip().to_bits())
            .word(u16::from(self.header[9]))
            .word(length as u16)
            .word(source.port())
            .word(destination.port());
        self.payload.add_to(sum)
    }
}
