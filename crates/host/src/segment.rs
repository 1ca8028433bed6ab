use plsim_types::{TcpFlags, TcpSegment};

/// Why a segment is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Plain,
    /// It was sent before.
    Retransmission,
    /// It asks whether the peer is still there.
    Probe,
}

/// A segment to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) sequence: u32,
    pub(crate) acknowledgement: u32,
    pub(crate) flags: TcpFlags,
    pub(crate) length: u16,
    pub(crate) kind: Kind,
}

impl Segment {
    /// Builds a bare reset.
    pub(crate) const fn reset(sequence: u32) -> Self {
        Self {
            sequence,
            acknowledgement: 0,
            flags: TcpFlags::RST,
            length: 0,
            kind: Kind::Plain,
        }
    }
}

/// Returns the reset that a segment to a closed port earns; none for a reset (RFC 9293 §3.10.7.1).
pub(crate) fn answer_closed(segment: &TcpSegment) -> Option<Segment> {
    if segment.flags.has(TcpFlags::RST) {
        None
    } else if segment.flags.has(TcpFlags::ACK) {
        Some(Segment::reset(segment.acknowledgement))
    } else {
        Some(Segment {
            sequence: 0,
            acknowledgement: segment.end(),
            flags: TcpFlags::RST | TcpFlags::ACK,
            length: 0,
            kind: Kind::Plain,
        })
    }
}
