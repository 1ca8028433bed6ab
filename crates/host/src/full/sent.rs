use plsim_types::{TcpFlags, TcpSegment};

use crate::segment::Kind;

/// How far one end has sent, and what it said last.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Sent {
    /// SND.NXT: one after the highest number sent.
    pub(super) end: u32,
    pub(super) acknowledgement: u32,
    pub(super) window: u16,
    has_begun: bool,
}

impl Sent {
    /// Takes note of a segment that leaves, and tells why it does.
    pub(super) fn note(&mut self, segment: &TcpSegment) -> Kind {
        let Self { end, has_begun, .. } = *self;
        let takes_room = segment.end() != segment.sequence;
        let is_old = has_begun && (segment.sequence.wrapping_sub(end) as i32) < 0;
        self.acknowledgement = segment.acknowledgement;
        self.window = segment.window;
        if segment.flags.has(TcpFlags::RST) || !takes_room {
            return Kind::Plain;
        }
        if !is_old || (segment.end().wrapping_sub(end) as i32) > 0 {
            (self.end, self.has_begun) = (segment.end(), true);
        }
        if is_old {
            Kind::Retransmission
        } else {
            Kind::Plain
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Sent;
    use crate::segment::Kind;
    use plsim_types::{TcpFlags, TcpSegment};

    fn segment(flags: TcpFlags, sequence: u32, length: u16) -> TcpSegment {
        TcpSegment {
            flags,
            sequence,
            acknowledgement: 7,
            window: 100,
            length,
        }
    }

    #[test]
    fn what_was_sent_before_is_a_retransmission_and_a_bare_ack_is_none() {
        let mut sent = Sent::default();
        let start = u32::MAX - 1;
        for (flags, offset, length, kind, end) in [
            (TcpFlags::SYN, 0, 0, Kind::Plain, 1),
            (TcpFlags::SYN, 0, 0, Kind::Retransmission, 1),
            (TcpFlags::ACK, 1, 0, Kind::Plain, 1),
            (TcpFlags::ACK, 1, 10, Kind::Plain, 11),
            (TcpFlags::ACK, 1, 10, Kind::Retransmission, 11),
            (TcpFlags::ACK, 1, 20, Kind::Retransmission, 21),
            (TcpFlags::ACK, 11, 5, Kind::Retransmission, 21),
            (TcpFlags::ACK | TcpFlags::FIN, 21, 0, Kind::Plain, 22),
            (TcpFlags::ACK, 22, 0, Kind::Plain, 22),
            (
                TcpFlags::ACK | TcpFlags::FIN,
                21,
                0,
                Kind::Retransmission,
                22,
            ),
            (TcpFlags::ACK | TcpFlags::RST, 21, 0, Kind::Plain, 22),
        ] {
            let said = sent.note(&segment(flags, start.wrapping_add(offset), length));
            assert_eq!((said, sent.end), (kind, start.wrapping_add(end)));
            assert_eq!((sent.acknowledgement, sent.window), (7, 100));
        }
    }
}
