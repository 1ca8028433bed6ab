//! What is to be sent.

use plsim_types::{Instant, TcpFlags};

use super::{ACK_DUE, ACK_WAITS, CLOSING, CORKED, PROBE_DUE, State, Tcb};
use crate::parameters::TcpParameters;
use crate::segment::{Kind, Segment};

impl Tcb {
    /// Returns the next segment to send, until there is none.
    pub(crate) fn poll_transmit(
        &mut self,
        now: Instant,
        parameters: &TcpParameters,
    ) -> Option<Segment> {
        match self.state {
            State::Closed => return None,
            State::SynSent | State::SynReceived if self.next == 0 => {
                let flags = match self.state {
                    State::SynSent => TcpFlags::SYN,
                    _ => TcpFlags::SYN | TcpFlags::ACK,
                };
                return Some(self.emit(flags, 0, 1, now, parameters));
            }
            State::SynSent | State::SynReceived | State::TimeWait => {}
            _ => {
                if let Some(segment) = self.next_data(now, parameters) {
                    return Some(segment);
                }
            }
        }
        let (sequence, kind) = if self.has(PROBE_DUE) {
            // A byte the peer has already: it must answer (RFC 9293 §3.8.4). For a closed window
            // that is Linux's way, too, rather than the next byte (§3.8.6.1).
            (self.sent().wrapping_sub(1), Kind::Probe)
        } else if self.has(ACK_DUE) {
            // Not what comes next: after a fall-back that number may be old to the peer.
            (self.sent(), Kind::Plain)
        } else {
            return None;
        };
        self.flags &= !(ACK_DUE | PROBE_DUE);
        self.stop_waiting(parameters);
        Some(Segment {
            sequence,
            acknowledgement: self.received,
            flags: TcpFlags::ACK,
            length: 0,
            kind,
        })
    }

    fn next_data(&mut self, now: Instant, parameters: &TcpParameters) -> Option<Segment> {
        let unsent = self.unsent();
        if unsent < 0 || self.has(CORKED) {
            return None;
        }
        let unsent = unsent as u32;
        let closes = self.has(CLOSING);
        if unsent == 0 && !closes {
            return None;
        }
        let mut length = self.mss().min(unsent);
        let room = self.room();
        let is_head_again = self.next == 0 && !self.is_quiet();
        if room < length {
            // What stands first is sent again even if the peer has drawn its window in (§3.8.6);
            // less than a segment leaves only if no acknowledgement will make room (§3.8.6.2.1).
            if is_head_again {
                length = length.min(room.max(u32::from(self.max)));
            } else if self.is_quiet() && room > 0 {
                length = room;
            } else {
                self.await_window(now, parameters);
                return None;
            }
        }
        let is_last = length == unsent;
        // The FIN has a number of its own, for which there must be room as well.
        let has_room = self.peer_room() > length;
        let fin = is_last && closes && (has_room || is_head_again && u32::from(self.max) > length);
        if length == 0 && !fin {
            self.await_window(now, parameters);
            return None;
        }
        let mut flags = TcpFlags::ACK;
        if length > 0 && is_last {
            flags = flags | TcpFlags::PSH;
        }
        if fin {
            flags = flags | TcpFlags::FIN;
            self.state = match self.state {
                State::Established => State::FinWait1,
                State::CloseWait => State::LastAck,
                state => state,
            };
        }
        Some(self.emit(
            flags,
            length as u16,
            length + u32::from(fin),
            now,
            parameters,
        ))
    }

    /// Returns how many bytes may follow those in flight.
    fn room(&self) -> u32 {
        let congestion = u32::from(self.flight()) * self.mss();
        let in_flight = u32::from(self.next);
        self.peer_room().min(congestion.saturating_sub(in_flight))
    }

    /// Returns how many the peer takes.
    fn peer_room(&self) -> u32 {
        u32::from(self.window.saturating_sub(self.next))
    }

    /// Builds a segment that takes sequence numbers, maybe for the second time.
    fn emit(
        &mut self,
        flags: TcpFlags,
        length: u16,
        numbers: u32,
        now: Instant,
        parameters: &TcpParameters,
    ) -> Segment {
        let sequence = self.una.wrapping_add(u32::from(self.next));
        let kind = if self.next == self.max {
            Kind::Plain
        } else {
            // Nobody knows which of the two an acknowledgement is for (RFC 6298 §3).
            self.end_measuring();
            Kind::Retransmission
        };
        if self.is_quiet() {
            self.count = 0;
            self.begin_measuring();
            self.retransmit_after(0, now, parameters);
        }
        self.next += numbers as u16;
        self.max = self.max.max(self.next);
        self.flags &= !(ACK_DUE | PROBE_DUE | ACK_WAITS);
        Segment {
            sequence,
            acknowledgement: self.received,
            flags,
            length,
            kind,
        }
    }
}
