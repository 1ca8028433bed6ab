use plsim_types::{DropReason, Protocol};
use pnet_packet::Packet as _;
use pnet_packet::ipv4::{Ipv4Flags, Ipv4Packet};

use crate::form::Form;
use crate::packet::{MAX_HEADERS, Packet, set_word, word};
use crate::payload::Payload;

/// The offset of a fragment counts in units of eight bytes (RFC 791 §3.1).
const UNIT: usize = 8;

/// The most bytes of an IPv4 packet, header included.
const LONGEST: usize = 65_535;

/// The fixed part of a TCP header, and a UDP header.
const TCP_HEADER: usize = 20;
const UDP_HEADER: usize = 8;

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
