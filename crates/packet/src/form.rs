use plsim_types::{DropReason, Protocol};

use crate::packet::{Packet, Rewrite};

/// What a packet is.
///
/// Packets of hosts are whole TCP or UDP packets. The other forms come off the wire
/// ([`Packet::from_wire`]), from fragmentation, and from refusals ([`Packet::unreachable`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Form {
    /// A whole TCP segment.
    Tcp,
    /// A whole UDP datagram.
    Udp,
    /// An ICMP error that quotes a TCP or UDP packet.
    IcmpError,
    /// A fragment of a TCP or UDP packet.
    Fragment,
    /// Bytes that nothing on the way carries, and why.
    Unusual(DropReason),
}

impl Packet {
    /// Returns why nothing on the way carries the packet; `None` for a proper one.
    #[must_use]
    #[inline]
    pub const fn fault(&self) -> Option<DropReason> {
        match self.form {
            Form::Unusual(reason) => Some(reason),
            Form::Tcp | Form::Udp | Form::IcmpError | Form::Fragment => None,
        }
    }

    /// Tells whether the ports stand in the packet's own header: not in a fragment after the first,
    /// nor in an ICMP error.
    #[must_use]
    #[inline]
    pub fn has_ports(&self) -> bool {
        match self.form {
            Form::Tcp | Form::Udp => true,
            Form::Fragment => self.fragment_offset() == 0,
            Form::IcmpError | Form::Unusual(_) => false,
        }
    }

    #[cold]
    pub(crate) fn unusual_protocol(&self) -> Protocol {
        let number = match self.form {
            Form::IcmpError => return self.quoted_flow().protocol,
            Form::Tcp | Form::Udp | Form::Fragment | Form::Unusual(_) => self.header[9],
        };
        if number == Protocol::Tcp.number() {
            Protocol::Tcp
        } else {
            Protocol::Udp
        }
    }

    pub(crate) fn rewrite_other(&mut self, to: Rewrite) {
        match self.form {
            Form::IcmpError => self.rewrite_error(to),
            Form::Fragment if self.fragment_offset() > 0 => {
                self.rewrite_addresses(to);
                self.stamp_ports(to.source.port(), to.destination.port());
            }
            Form::Tcp | Form::Udp | Form::Fragment => {
                let is_tcp = self.protocol() == Protocol::Tcp;
                self.rewrite_ports(to, is_tcp);
            }
            // What nothing carries keeps its bytes.
            Form::Unusual(_) => {}
        }
    }
}
