//! How bytes are put before a client's first, and hidden from it: what a PROXY protocol header does
//! to the two directions of one TCP connection.
//!
//! ```text
//!  client:                      base [ its bytes ...
//!  server:  base [ header ] base + length [ its bytes ...
//! ```
//!
//! The header takes the first numbers of the client's stream, so all that follows is shifted by its
//! length, and what the server acknowledges is shifted back. The header goes with the first segment
//! that starts the stream, which is the handshake's bare ACK, so that a server may speak first. No
//! timer repeats it: until it is acknowledged it goes again with whatever TCP itself repeats from the
//! stream's start, and with a bare ACK after the server has said that it lacks it.

use plsim_types::{TcpFlags, TcpSegment};

/// What becomes of a client's segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outward {
    /// It passes as it is: a SYN, or what belongs to one that is not answered yet.
    Pass,
    /// Its sequence number becomes this.
    Shift(u32),
    /// Its sequence number becomes this, and the header stands before its payload.
    Header(u32),
    /// It is a keepalive probe of before the first byte: so is this, but with the header in the
    /// place of its payload, at this sequence number.
    HeaderOnly(u32),
    /// The header goes ahead in a segment of its own with this sequence number, for both together
    /// would be longer than the server takes; the segment follows with the second number.
    HeaderAhead(u32, u32),
    /// The header does not fit the server's window: the bare ACK passes without it. It will have
    /// this sequence number.
    Withhold(u32),
    /// The same of a segment that needs an answer: it passes without payload and FIN, with a sequence
    /// number one less than this, which the server has already. So it answers with its window.
    Probe(u32),
}

/// What the client sees of a server's segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Inward {
    /// The acknowledgement, in the client's numbers.
    pub acknowledgement: u32,
    /// The window as it stands on the wire, without the room that the header takes.
    pub window: u16,
}

/// The splice of one connection, or of those that follow each other on one NAT port.
///
/// It follows the connection by itself: a SYN-ACK that answers the client's latest SYN starts it
/// anew. A SYN alone does not, for the server may challenge it (RFC 5961 §4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Splice {
    /// The number of the client's first byte; the server has the header there.
    base: u32,
    /// The same of the client's latest SYN.
    pending: u32,
    /// The sequence number of the SYN-ACK, which tells one connection from the next.
    answer: u32,
    /// The highest end of a client's segment.
    client_end: u32,
    /// The largest segment that the server takes, in bytes; at most [`LARGEST`].
    mss: u16,
    /// Bytes of the header.
    length: u8,
    /// How many of these the server has acknowledged.
    acknowledged: u8,
    /// The scale of the server's window.
    scale: u8,
    flags: u8,
}

/// A SYN-ACK has answered the client's SYN.
const OPEN: u8 = 1;
/// The header was sent, maybe in vain.
const SENT: u8 = 2;
/// The header waits for room.
const WITHHELD: u8 = 4;
/// The server's window has room for the header.
const ROOM: u8 = 8;
/// The server has said since that it lacks the header: its SYN-ACK again, or a bare acknowledgement.
const LACKED: u8 = 16;

/// The largest segment that a header goes before: an IPv4 packet with the longest headers of IP and
/// TCP holds both, whatever the server claims to take.
const LARGEST: u16 = u16::MAX - 60 - 60;

const _: () = assert!(size_of::<Splice>() <= 24);

impl Splice {
    /// Starts with a client's SYN; `length` is the header's.
    #[must_use]
    pub const fn new(syn: &TcpSegment, length: u8) -> Self {
        let pending = syn.sequence.wrapping_add(1);
        Self {
            base: pending,
            pending,
            answer: 0,
            client_end: pending,
            mss: 0,
            length,
            acknowledged: 0,
            scale: 0,
            flags: 0,
        }
    }

    /// Takes a segment of the client and says what becomes of it.
    pub fn outward(&mut self, segment: &TcpSegment) -> Outward {
        if segment.flags.has(TcpFlags::SYN) {
            self.pending = segment.sequence.wrapping_add(1);
            return Outward::Pass;
        }
        if !self.is_open(segment.sequence) {
            return Outward::Pass;
        }
        let is_new = distance(self.client_end, segment.end()) > 0;
        if is_new {
            self.client_end = segment.end();
        }
        let shifted = segment.sequence.wrapping_add(u32::from(self.length));
        let offset = distance(self.base, segment.sequence);
        // A keepalive stands one before the stream. What stands further back is an old segment of a
        // connection before this one, which the header must not travel with.
        if !(-1..=0).contains(&offset) || self.acknowledged == self.length {
            return Outward::Shift(shifted);
        }
        if segment.flags.has(TcpFlags::RST) {
            return Outward::Shift(self.reset_at_base(segment));
        }
        // On its way, as far as anybody knows: new bytes follow it.
        let is_under_way = self.has(SENT) && !self.has(LACKED);
        if is_under_way && offset == 0 && (is_new || is_bare(segment)) {
            return Outward::Shift(shifted);
        }
        self.begin(segment, offset < 0)
    }

    /// Decides on a segment that begins the stream, or stands before it.
    const fn begin(&mut self, segment: &TcpSegment, is_before: bool) -> Outward {
        let is_bare = is_bare(segment);
        let length = self.length as u16;
        let is_first = !self.has(SENT | WITHHELD);
        if !self.has(ROOM) || (self.mss < length && is_first && is_bare) {
            self.flags |= WITHHELD;
            return if is_bare || is_before {
                Outward::Withhold(self.base)
            } else {
                Outward::Probe(self.base)
            };
        }
        self.flags = (self.flags | SENT) & !(WITHHELD | LACKED);
        if is_before {
            Outward::HeaderOnly(self.base)
        } else if segment.length > self.mss.saturating_sub(length) {
            Outward::HeaderAhead(self.base, self.base.wrapping_add(length as u32))
        } else {
            Outward::Header(self.base)
        }
    }

    /// Returns the number that the server expects next, if it expects anything of the client's.
    ///
    /// An abort (with ACK) follows the header that was sent before it. An answer to the server
    /// (without ACK, RFC 9293 §3.10.7.1) names what the server acknowledged, and that is known.
    const fn reset_at_base(&self, reset: &TcpSegment) -> u32 {
        let ahead = match (reset.flags.has(TcpFlags::ACK), self.has(SENT)) {
            (true, true) => self.length,
            (true, false) | (false, true | false) => self.acknowledged,
        };
        reset.sequence.wrapping_add(ahead as u32)
    }

    /// Returns what the client sees of a server's segment; nothing changes.
    #[must_use]
    pub const fn inward(&self, segment: &TcpSegment) -> Inward {
        let TcpSegment {
            flags,
            acknowledgement,
            window,
            ..
        } = *segment;
        if !flags.has(TcpFlags::ACK) {
            return Inward {
                acknowledgement,
                window,
            };
        }
        let answers = flags.has(TcpFlags::SYN) && acknowledgement == self.pending;
        if answers || !self.is_open(acknowledgement) {
            return Inward {
                acknowledgement,
                window: if answers {
                    self.narrowed(window, 0, 0)
                } else {
                    window
                },
            };
        }
        let offset = acknowledgement.wrapping_sub(self.base);
        let scale = if flags.has(TcpFlags::SYN) {
            0
        } else {
            self.scale
        };
        Inward {
            acknowledgement: self.edge(acknowledgement),
            window: self.narrowed(window, offset, scale),
        }
    }

    /// Takes note of a server's segment, and of the maximum segment size and window scale of a
    /// SYN-ACK; returns whether a header that was withheld is to be sent now.
    pub fn observe(&mut self, segment: &TcpSegment, mss: Option<u16>, scale: Option<u8>) -> bool {
        let TcpSegment {
            flags,
            acknowledgement,
            ..
        } = *segment;
        if !flags.has(TcpFlags::ACK) {
            return false;
        }
        if flags.has(TcpFlags::SYN) {
            if acknowledgement == self.pending {
                self.open(segment, mss, scale);
            }
            return false;
        }
        if !self.is_open(acknowledgement) || flags.has(TcpFlags::RST) {
            return false;
        }
        let offset = acknowledgement.wrapping_sub(self.base);
        // What was never sent was acknowledged to somebody else.
        let sent = self.client_end.wrapping_sub(self.base);
        let sent = sent.saturating_add(u32::from(self.length));
        if self.has(SENT) && offset <= sent {
            let more = offset.min(u32::from(self.length)) as u8;
            self.acknowledged = self.acknowledged.max(more);
        }
        if offset < u32::from(self.length) {
            self.flags |= LACKED;
        }
        let ahead = offset.min(u32::from(self.length));
        self.set_room(ahead + (u32::from(segment.window) << self.scale));
        let released = self.has(WITHHELD) && self.has(ROOM);
        if released {
            self.flags = (self.flags | SENT) & !(WITHHELD | LACKED);
        }
        released
    }

    /// Starts the connection that the SYN-ACK opens, unless it is a repetition.
    fn open(&mut self, answer: &TcpSegment, mss: Option<u16>, scale: Option<u8>) {
        let is_known =
            self.has(OPEN) && self.base == self.pending && self.answer == answer.sequence;
        if is_known {
            self.flags |= LACKED;
            return;
        }
        *self = Self {
            base: self.pending,
            pending: self.pending,
            answer: answer.sequence,
            client_end: self.pending,
            // Without the option the server takes 536 bytes (RFC 9293 §3.7.1).
            mss: mss.unwrap_or(536).min(LARGEST),
            length: self.length,
            acknowledged: 0,
            scale: scale.unwrap_or(0),
            flags: OPEN,
        };
        // The window of a SYN is never scaled (RFC 7323 §2.2).
        self.set_room(u32::from(answer.window));
    }

    /// Returns the maximum segment size that the client shall see instead of the server's, in bytes:
    /// less by the header, so that the first segment is no longer than others. Where that would leave
    /// less than the header itself, it stays, and the header goes ahead of long segments.
    #[must_use]
    pub const fn client_mss(&self, mss: u16) -> u16 {
        let length = self.length as u16;
        if mss < 2 * length { mss } else { mss - length }
    }

    /// Returns an acknowledgement or an edge of a SACK block in the client's numbers: what lies in
    /// the header becomes the first byte's.
    #[must_use]
    pub const fn edge(&self, edge: u32) -> u32 {
        let length = self.length as u32;
        if !self.has(OPEN) {
            edge
        } else if edge.wrapping_sub(self.base) < length {
            self.base
        } else {
            edge.wrapping_sub(length)
        }
    }

    /// Returns the sequence number of a RST to the server, given in the client's numbers: the next
    /// byte that the server has said it expects.
    #[must_use]
    pub const fn reset(&self, sequence: u32) -> u32 {
        if !self.is_open(sequence) {
            sequence
        } else if sequence == self.base {
            sequence.wrapping_add(self.acknowledged as u32)
        } else {
            sequence.wrapping_add(self.length as u32)
        }
    }

    /// Tells whether a number belongs to an open connection, not to a SYN that waits for its answer.
    const fn is_open(&self, number: u32) -> bool {
        self.has(OPEN) && (number != self.pending || self.pending == self.base)
    }

    /// Takes the part of the header that is not acknowledged out of a window.
    const fn narrowed(&self, window: u16, offset: u32, scale: u8) -> u16 {
        let length = self.length as u32;
        if offset >= length {
            return window;
        }
        window.saturating_sub((length - offset).div_ceil(1 << scale) as u16)
    }

    const fn set_room(&mut self, window: u32) {
        if window >= self.length as u32 {
            self.flags |= ROOM;
        } else {
            self.flags &= !ROOM;
        }
    }

    /// Tells whether one of the flags is set.
    const fn has(&self, flags: u8) -> bool {
        self.flags & flags != 0
    }
}

/// Tells whether a segment takes no sequence number.
const fn is_bare(segment: &TcpSegment) -> bool {
    segment.length == 0 && !segment.flags.has(TcpFlags::FIN)
}

/// Returns how far `to` lies after `from`, negative if before (RFC 9293 §3.4: modulo 2^32).
const fn distance(from: u32, to: u32) -> i32 {
    to.wrapping_sub(from) as i32
}
