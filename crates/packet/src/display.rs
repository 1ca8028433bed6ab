use core::fmt;

use plsim_types::{Protocol, TcpFlags, TcpSegment};

use crate::icmp::IcmpError;
use crate::packet::Packet;

impl fmt::Display for Packet {
    /// Writes one line as tshark does, with absolute sequence numbers and the IP length:
    /// `10.1.0.4 → 10.1.0.10 TCP 44 49152 → 443 [SYN] Seq=1000 Win=64240 Len=0 MSS=1460`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(fault) = self.fault() {
            return write!(f, "{} bytes, {fault}", self.wire_len());
        }
        let (source, destination) = (self.source(), self.destination());
        if let Some(IcmpError { kind, code, .. }) = self.icmp_error() {
            let about = self.quoted_flow();
            return write!(
                f,
                "{} → {} ICMP {} {kind}/{code} about {about}",
                self.sender(),
                destination.ip(),
                self.wire_len(),
            );
        }
        if !self.has_ports() {
            let (addresses, offset) = ((source.ip(), destination.ip()), self.fragment_offset());
            let length = self.wire_len();
            return write!(
                f,
                "{} → {} IPv4 {length} Offset={offset}",
                addresses.0, addresses.1
            );
        }
        let protocol = match self.protocol() {
            Protocol::Tcp => "TCP",
            Protocol::Udp => "UDP",
        };
        write!(
            f,
            "{} → {} {protocol} {}",
            source.ip(),
            destination.ip(),
            self.wire_len()
        )?;
        write!(f, " {} → {}", source.port(), destination.port())?;
        if let Some(segment) = self.tcp_segment() {
            write_segment(f, &segment)?;
        }
        write!(f, " Len={}", self.payload_len())?;
        match self.mss() {
            Some(mss) => write!(f, " MSS={mss}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Packet {
    /// Writes ids, tuple, flags and lengths; no bytes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Packet");
        out.field("id", &self.id.0);
        out.field("origin", &self.origin);
        out.field("tuple", &format_args!("{}", self.five_tuple()));
        if let Some(segment) = self.tcp_segment() {
            out.field("flags", &format_args!("{}", segment.flags));
        }
        out.field("ttl", &self.ttl());
        out.field("header", &self.header_len);
        out.field("payload", &self.payload);
        out.finish_non_exhaustive()
    }
}

fn write_segment(f: &mut fmt::Formatter<'_>, segment: &TcpSegment) -> fmt::Result {
    const NAMES: [&str; 8] = ["FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR"];
    f.write_str(" [")?;
    let mut separator = "";
    for (bit, name) in NAMES.iter().enumerate() {
        if segment.flags.0 & (1 << bit) != 0 {
            write!(f, "{separator}{name}")?;
            separator = ", ";
        }
    }
    if segment.flags == TcpFlags(0) {
        f.write_str("<None>")?;
    }
    write!(f, "] Seq={}", segment.sequence)?;
    if segment.flags.has(TcpFlags::ACK) {
        write!(f, " Ack={}", segment.acknowledgement)?;
    }
    write!(f, " Win={}", segment.window)
}
