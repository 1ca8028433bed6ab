use std::net::Ipv4Addr;

use plsim_packet::Packet;
use plsim_types::{DropReason, TcpFlags};

/// The combinations of FIN, SYN, RST, ACK and URG that occur in TCP, one bit for each value of the
/// five flags; PSH, ECE and CWR may be set in any (KERN has the same list).
const POSSIBLE: u64 = 1 << SYN
    | 1 << (SYN | URG)
    | 1 << (SYN | ACK)
    | 1 << RST
    | 1 << (RST | ACK)
    | 1 << (FIN | ACK)
    | 1 << (FIN | ACK | URG)
    | 1 << ACK
    | 1 << (ACK | URG);

const FIN: u8 = TcpFlags::FIN.0;
const SYN: u8 = TcpFlags::SYN.0;
const RST: u8 = TcpFlags::RST.0;
const ACK: u8 = TcpFlags::ACK.0;
const URG: u8 = 0x20;

/// Decides at a machine's first hop whether its packet may go on; `owns` tells whether the machine
/// has an address.
///
/// # Errors
/// The first of: what makes the bytes no packet, a source route or malformed options, a time to
/// live that ends here, a source that is not the machine's, a port 0, impossible TCP flags. No
/// ICMP answers any of them. The reserved IP flag and other options pass: nobody reads them.
pub(crate) fn admit(
    packet: &Packet,
    owns: impl FnOnce(Ipv4Addr) -> bool,
) -> Result<(), DropReason> {
    if let Some(fault) = packet.fault() {
        return Err(fault);
    }
    if !packet.has_plain_options() {
        return Err(DropReason::IpOptions);
    }
    if packet.ttl() <= 1 {
        return Err(DropReason::TtlExpired);
    }
    if !owns(packet.sender()) {
        return Err(DropReason::SpoofedSource);
    }
    if packet.has_ports() && (packet.source().port() == 0 || packet.destination().port() == 0) {
        return Err(DropReason::BadPort);
    }
    let flags = packet.tcp_segment().map(|segment| segment.flags.0);
    match flags {
        Some(flags) if POSSIBLE >> (flags & (FIN | SYN | RST | ACK | URG)) & 1 == 0 => {
            Err(DropReason::BadTcpFlags)
        }
        Some(_) | None => Ok(()),
    }
}
