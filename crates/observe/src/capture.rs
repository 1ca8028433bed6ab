use std::collections::BTreeMap;
use std::io::{self, Write};

use plsim_packet::{Origin, Packet, PacketId};
use plsim_sim::TapId;
use plsim_types::{DropReason, FiveTuple, Instant, LinkId, PlsId, TcpFlags};

use crate::name::sanitised;
use crate::output::Output;
use crate::pcapng::{self, Frame};

/// The longest snap length, in bytes: what Wireshark accepts, and more than any IPv4 packet has.
pub const SNAP_LENGTH_MAX: u32 = 262_144;

/// The name of the last interface, where dropped packets stand once more.
const DROPS: &str = "drops";

/// A point of the network at which packets are seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// What Wireshark shows as the interface, such as `pe-1` or `vm-0/nat`; control characters
    /// become escapes.
    pub name: String,
    /// One line on where that is; may be empty.
    pub description: String,
}

/// What a capture looks like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaptureConfig {
    /// The interfaces; the position is the [`TapId`].
    pub interfaces: Vec<Interface>,
    /// The most bytes kept of a packet, clamped to 1..=[`SNAP_LENGTH_MAX`].
    pub snap_length: u32,
}

impl Default for CaptureConfig {
    /// No interface, every packet in full.
    fn default() -> Self {
        Self {
            interfaces: Vec::new(),
            snap_length: SNAP_LENGTH_MAX,
        }
    }
}

/// Writes one pcapng file for the whole path, in nanoseconds of virtual time.
///
/// - Each tap is an interface; a packet has the same `epb_packetid` at each of them, so
///   `frame.packet_id == 17` follows it through the NAT.
/// - The first frame after a rewrite says what became what, and the LINKID.
/// - A RST that the NAT made says so.
/// - A dropped packet stands once more, with the reason, on a last interface named `drops`.
///
/// The first error of the writer is kept: nothing more is written, and [`Capture::finish`]
/// returns it. Memory: about 50 bytes for each packet on its way.
#[derive(Debug)]
pub struct Capture<W> {
    output: Output<W>,
    snap_length: u32,
    drops: u32,
    frames: u64,
    /// The tuple each packet on its way was last seen with.
    on_the_way: BTreeMap<PacketId, FiveTuple>,
    /// What each copy that no tap has seen yet is a copy of.
    copies: BTreeMap<PacketId, PacketId>,
}

impl<W: Write> Capture<W> {
    /// Opens a capture: section header and interfaces are written first.
    ///
    /// # Panics
    /// With more than 65 535 interfaces.
    #[must_use]
    pub fn new(out: W, config: &CaptureConfig) -> Self {
        let drops = u16::try_from(config.interfaces.len())
            .expect("broken invariant: a capture has at most 65 535 taps");
        let snap_length = config.snap_length.clamp(1, SNAP_LENGTH_MAX);
        let mut output = Output::new(out);
        output.append(|out| {
            pcapng::section_header(out, concat!("plsim ", env!("CARGO_PKG_VERSION")));
            for Interface { name, description } in &config.interfaces {
                pcapng::interface(out, &sanitised(name), &sanitised(description), snap_length);
            }
            let description = "packets that ended early, with the reason as a comment";
            pcapng::interface(out, DROPS, description, snap_length);
        });
        Self {
            output,
            snap_length,
            drops: u32::from(drops),
            frames: 0,
            on_the_way: BTreeMap::new(),
            copies: BTreeMap::new(),
        }
    }

    /// Returns the number of frames so far, those after an error excluded.
    #[must_use]
    pub const fn frames(&self) -> u64 {
        self.frames
    }

    /// Returns the first error of the writer, if it failed: a run may stop early then.
    #[must_use]
    pub const fn error(&self) -> Option<&io::Error> {
        self.output.error()
    }

    /// Notes a packet that came into being.
    pub fn injected(&mut self, packet: &Packet) {
        if self.output.error().is_none() {
            self.on_the_way.insert(packet.id, packet.five_tuple());
        }
    }

    /// Notes a packet that came into being as the copy of another one: the first frame says so.
    pub fn duplicated(&mut self, packet: &Packet, of: PacketId) {
        self.injected(packet);
        if self.output.error().is_none() {
            self.copies.insert(packet.id, of);
        }
    }

    /// Writes a packet that passes a tap.
    ///
    /// # Panics
    /// If the tap is none of the configured interfaces.
    pub fn tapped(&mut self, now: Instant, tap: TapId, packet: &Packet) {
        assert!(
            tap.0 < self.drops,
            "broken invariant: {tap:?} is no interface of the capture"
        );
        let seen = packet.five_tuple();
        let before = self
            .on_the_way
            .get_mut(&packet.id)
            .filter(|before| **before != seen);
        let comment = match before {
            Some(before) => {
                let before = std::mem::replace(before, seen);
                Some(rewrite_comment(before, seen, packet))
            }
            None => reset_comment(packet),
        };
        let comment = join(comment, self.copy_comment(packet));
        self.write(now, tap.0, packet, comment.as_deref());
    }

    /// Forgets a packet that reached its receiver, or became part of another one.
    pub fn delivered(&mut self, packet: &Packet) {
        self.on_the_way.remove(&packet.id);
        self.copies.remove(&packet.id);
    }

    /// Writes a packet that ended early once more, and forgets it.
    pub fn dropped(&mut self, now: Instant, packet: &Packet, reason: DropReason) {
        self.on_the_way.remove(&packet.id);
        let comment = format!("dropped: {reason} - {}", reason.explanation());
        let comment = join(Some(comment), self.copy_comment(packet));
        self.write(now, self.drops, packet, comment.as_deref());
    }

    /// Says of a copy that is seen first what it is a copy of.
    fn copy_comment(&mut self, packet: &Packet) -> Option<String> {
        let of = self.copies.remove(&packet.id)?;
        Some(format!("copy of packet {}, made by a link", of.0))
    }

    /// Writes what is buffered, flushes, and returns the writer.
    ///
    /// # Errors
    /// The first error of the writer; nothing was written after it.
    pub fn finish(self) -> io::Result<W> {
        self.output.finish()
    }

    fn write(&mut self, now: Instant, interface: u32, packet: &Packet, comment: Option<&str>) {
        let Self {
            output,
            snap_length,
            frames,
            ..
        } = self;
        output.append(|out| {
            *frames += 1;
            let frame = Frame {
                interface,
                nanos: now.as_nanos(),
                original_length: packet.wire_len() as u32,
                packet_id: packet.id.0,
                comment,
            };
            pcapng::packet(out, &frame, |out| {
                packet.write_to(out, *snap_length as usize)
            });
        });
    }
}

fn join(first: Option<String>, second: Option<String>) -> Option<String> {
    match (first, second) {
        (Some(first), Some(second)) => Some(format!("{first}; {second}")),
        (first, second) => first.or(second),
    }
}

/// Says what a NAT did, or without Private Link the load balancer; the source stands first, the
/// destination only if it changed.
fn rewrite_comment(before: FiveTuple, after: FiveTuple, packet: &Packet) -> String {
    let who = match packet.encap.pls {
        PlsId::NONE => "load balancer",
        _ => "NAT",
    };
    let link = link(packet);
    let source = (before.source != after.source)
        .then(|| format!("{} -> {}{link}", before.source, after.source));
    let destination = (before.destination != after.destination).then(|| {
        format!(
            "destination {} -> {}",
            before.destination, after.destination
        )
    });
    match (source, destination) {
        (Some(source), Some(destination)) => format!("{who} {source}; {destination}"),
        (Some(only), None) => format!("{who} {only}"),
        (None, only) => format!("{who} {}{link}", only.unwrap_or_default()),
    }
}

/// Names the link of a packet, if it came through Private Link.
fn link(packet: &Packet) -> String {
    match packet.encap.pls {
        PlsId::NONE => String::new(),
        _ => format!(", link {}", packet.encap.link),
    }
}

/// An RST of the load balancer: of an idle timeout; or of the NAT: of an idle timeout, or the answer to
/// a packet that belongs to no flow. The last has no link where the backend VM is its receiver.
fn reset_comment(packet: &Packet) -> Option<String> {
    let is_reset = packet.tcp_segment()?.flags.has(TcpFlags::RST);
    if !is_reset {
        return None;
    }
    let by = match packet.origin {
        Origin::Host | Origin::Icmp | Origin::Probe => return None,
        Origin::Nat if packet.encap.link == LinkId(0) => {
            return Some("reset by the NAT: no such flow".to_owned());
        }
        Origin::Nat => "the NAT: idle timeout or no such flow",
        Origin::LbTimer => "the load balancer: idle timeout of the rule",
        Origin::LbDrain => "the load balancer: drained or taken down",
    };
    Some(format!("reset by {by}{}", link(packet)))
}
