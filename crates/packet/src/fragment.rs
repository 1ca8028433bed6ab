use plsim_types::{DropReason, Protocol, TcpFlags, TcpSegment};
use pnet_packet::Packet as _;
use pnet_packet::ipv4::{Ipv4Flags, Ipv4Packet};

use crate::form::Form;
use crate::packet::{MAX_HEADERS, Packet, long, set_long, set_word, word};
use crate::payload::Payload;

/// The offset of a fragment counts in units of eight bytes (RFC 791 §3.1).
const UNIT: usize = 8;

/// The most bytes of an IPv4 packet, header included.
const LONGEST: usize = 65_535;

/// The fixed part of a TCP header, and a UDP header.
const TCP_HEADER: usize = 20;
const UDP_HEADER: usize = 8;

/// What the first fragment of a datagram tells the others.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stamp {
    source: u16,
    destination: u16,
    /// The sequence number at the datagram's offset 0, were there no header.
    base: u32,
    acknowledgement: u32,
    ends: bool,
}

impl Packet {
    /// Reads a fragment whose IP header is right; `wire` is the whole of it.
    pub(crate) fn fragment(ip: &Ipv4Packet<'_>, wire: &[u8]) -> Result<Self, DropReason> {
        let ip_header_len = usize::from(ip.get_header_length()) * 4;
        let data = &wire[ip_header_len..];
        let offset = usize::from(ip.get_fragment_offset()) * UNIT;
        let flags = ip.get_flags();
        let has_more = flags & Ipv4Flags::MoreFragments != 0;
        let transport = match ip.get_next_level_protocol().0 {
            6 => Protocol::Tcp,
            17 => Protocol::Udp,
            _ => return Err(DropReason::UnsupportedProtocol),
        };
        if data.is_empty()
            || has_more && !data.len().is_multiple_of(UNIT)
            || flags & Ipv4Flags::DontFragment != 0
            || ip_header_len + offset + data.len() > LONGEST
        {
            return Err(DropReason::BadFragment);
        }
        // A second fragment that starts inside the TCP header could overwrite its flags
        // (RFC 1858 §3.2.2, RFC 3128).
        if transport == Protocol::Tcp && offset > 0 && offset < TCP_HEADER {
            return Err(DropReason::FragmentOverlap);
        }
        let mut header_len = ip_header_len;
        if offset == 0 {
            let needed = match transport {
                Protocol::Tcp => data.get(12).map_or(TCP_HEADER, |offset| {
                    (usize::from(offset >> 4) * 4).max(TCP_HEADER)
                }),
                Protocol::Udp => UDP_HEADER,
            };
            if data.len() < needed {
                return Err(DropReason::FragmentTiny);
            }
            header_len += needed;
        }
        let mut header = [0; MAX_HEADERS];
        header[..header_len].copy_from_slice(&ip.packet()[..header_len]);
        Ok(Self {
            ip_header_len: ip_header_len as u8,
            header_len: header_len as u8,
            header,
            payload: Payload::from_wire(&wire[header_len..]),
            ..Self::blank(Form::Fragment)
        })
    }

    /// Returns where the packet's data starts in its datagram, in bytes; 0 if it is no fragment.
    #[must_use]
    pub fn fragment_offset(&self) -> usize {
        usize::from(word(&self.header, 6) & 0x1FFF) * UNIT
    }

    /// Returns the bytes behind the IP header.
    #[must_use]
    pub fn data_len(&self) -> usize {
        self.wire_len() - self.transport_offset()
    }

    /// Tells whether another fragment carries the same.
    pub(crate) fn has_bytes_of(&self, other: &Self) -> bool {
        let data = |packet: &Self| packet.header()[packet.transport_offset()..].to_vec();
        data(self) == data(other) && self.payload == other.payload
    }

    /// Tells whether more fragments of the datagram follow.
    #[must_use]
    pub fn has_more_fragments(&self) -> bool {
        word(&self.header, 6) & 0x2000 != 0
    }

    /// Tells whether this is the first fragment of a TCP segment.
    #[inline]
    pub(crate) fn starts_tcp_fragments(&self) -> bool {
        self.form == Form::Fragment
            && self.fragment_offset() == 0
            && self.protocol() == Protocol::Tcp
    }

    /// Returns what a first fragment tells the others.
    pub(crate) fn stamp(&self) -> Stamp {
        let mut stamp = Stamp {
            source: self.source().port(),
            destination: self.destination().port(),
            base: 0,
            acknowledgement: 0,
            ends: false,
        };
        if let Some(segment) = self.tcp_segment() {
            let header = usize::from(self.header_len - self.ip_header_len);
            let opens = segment.flags.has(TcpFlags::SYN);
            stamp.base = segment
                .sequence
                .wrapping_add(u32::from(opens))
                .wrapping_sub(header as u32);
            stamp.acknowledgement = segment.acknowledgement;
            stamp.ends = segment.flags.has(TcpFlags::FIN);
        }
        stamp
    }

    /// Gives a fragment after the first what its datagram's first one tells: the ports, and of a TCP
    /// segment where the fragment is in it. It stands behind the header and is not on the wire.
    pub(crate) fn take_stamp(&mut self, stamp: &Stamp) {
        self.stamp_ports(stamp.source, stamp.destination);
        let offset = self.fragment_offset();
        if offset > 0 {
            let ends = stamp.ends && !self.has_more_fragments();
            let behind = self.transport_mut();
            set_long(behind, 4, stamp.base.wrapping_add(offset as u32));
            set_long(behind, 8, stamp.acknowledgement);
            behind[13] = if ends { TcpFlags::FIN.0 } else { 0 };
        }
    }

    /// Returns what a middlebox that has seen the first fragment reads of any part of a TCP segment:
    /// its [segment](Self::tcp_segment), or of a fragment after the first where it is in that.
    ///
    /// Only a fragment that was [forwarded](crate::FragmentPolicy::Forward) knows.
    #[must_use]
    #[inline]
    pub fn tracked_segment(&self) -> Option<TcpSegment> {
        self.tcp_segment().or_else(|| self.later_part())
    }

    #[cold]
    fn later_part(&self) -> Option<TcpSegment> {
        if self.form != Form::Fragment || self.protocol() != Protocol::Tcp {
            return None;
        }
        let behind = &self.header[self.transport_offset()..];
        Some(TcpSegment {
            flags: TcpFlags(behind[13]),
            sequence: long(behind, 4),
            acknowledgement: long(behind, 8),
            window: 0,
            length: self.data_len() as u16,
        })
    }

    /// Gives a fragment after the first the ports of its datagram. They stand behind the header
    /// and are not on the wire.
    pub fn stamp_ports(&mut self, source: u16, destination: u16) {
        if self.form == Form::Fragment && self.fragment_offset() > 0 {
            let behind = self.transport_mut();
            set_word(behind, 0, source);
            set_word(behind, 2, destination);
        }
    }
}
