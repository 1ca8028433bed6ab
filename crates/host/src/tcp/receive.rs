//! What a segment means.

use plsim_types::{Instant, TcpFlags, TcpSegment};

use super::{ACK_DUE, ACK_WAITS, INITIAL_FLIGHT, State, Tcb, Verdict, WINDOW, distance};
use crate::parameters::TcpParameters;
use crate::segment::Segment;

impl Tcb {
    /// Takes a segment (RFC 9293 §3.10.7).
    pub(crate) fn on_segment(
        &mut self,
        segment: &TcpSegment,
        mss: Option<u16>,
        now: Instant,
        parameters: &TcpParameters,
    ) -> Verdict {
        match self.state {
            State::Closed => Verdict::Continue,
            State::SynSent => self.answered_syn(segment, mss, now, parameters),
            State::SynReceived
            | State::Established
            | State::FinWait1
            | State::FinWait2
            | State::Closing
            | State::CloseWait
            | State::LastAck
            | State::TimeWait => self.synchronized(segment, now, parameters),
        }
    }

    fn answered_syn(
        &mut self,
        segment: &TcpSegment,
        mss: Option<u16>,
        now: Instant,
        parameters: &TcpParameters,
    ) -> Verdict {
        let flags = segment.flags;
        let has_ack = flags.has(TcpFlags::ACK);
        if has_ack && segment.acknowledgement != self.sent() {
            // An old connection of the peer: the reset ends it, our next SYN succeeds.
            return if flags.has(TcpFlags::RST) {
                Verdict::Continue
            } else {
                Verdict::Answer(Segment::reset(segment.acknowledgement))
            };
        }
        if flags.has(TcpFlags::RST) {
            return if has_ack {
                Verdict::Refused
            } else {
                Verdict::Continue
            };
        }
        if has_ack && flags.has(TcpFlags::SYN) {
            self.measure(now, parameters);
            self.una = segment.acknowledgement;
            (self.next, self.max) = (0, 0);
            self.received = segment.sequence.wrapping_add(1);
            self.window = segment.window;
            self.limit_mss(mss);
            self.set_flight(self.initial_flight());
            self.state = State::Established;
            self.flags |= ACK_DUE;
            self.rest(now, parameters);
        } else if flags.has(TcpFlags::SYN) {
            // Both ends open at once: the SYN goes again, with an acknowledgement (RFC 9293 §3.5).
            self.received = segment.sequence.wrapping_add(1);
            self.window = segment.window;
            self.limit_mss(mss);
            self.state = State::SynReceived;
            self.next = 0;
        }
        Verdict::Continue
    }

    fn synchronized(
        &mut self,
        segment: &TcpSegment,
        now: Instant,
        parameters: &TcpParameters,
    ) -> Verdict {
        let flags = segment.flags;
        let offset = distance(self.received, segment.sequence);
        let window = i32::from(WINDOW);
        let in_window = (0..window).contains(&offset);
        if flags.has(TcpFlags::RST) {
            return match offset {
                0 => Verdict::Reset,
                _ if in_window => self.challenge(),
                _ => Verdict::Continue,
            };
        }
        if flags.has(TcpFlags::SYN) {
            return self.repeated_syn(segment, now, parameters);
        }
        let length = i32::from(segment.length) + i32::from(flags.has(TcpFlags::FIN));
        let acceptable = if length == 0 {
            in_window
        } else {
            offset < window && offset.saturating_add(length) > 0
        };
        if !acceptable {
            // Of empty segments only the keepalive probe is answered: two mismatched ends would
            // otherwise acknowledge each other for ever (Linux limits the rate instead).
            if length > 0 || offset == -1 {
                self.flags |= ACK_DUE;
                if self.state == State::TimeWait {
                    self.rest(now, parameters);
                }
            }
            return Verdict::Continue;
        }
        if !flags.has(TcpFlags::ACK) {
            return Verdict::Continue;
        }
        if let Some(verdict) = self.acknowledged(segment, now, parameters) {
            return verdict;
        }
        self.take_data(segment, parameters);
        if self.is_quiet() {
            self.rest(now, parameters);
        }
        Verdict::Continue
    }

    /// A SYN inside a connection: the peer's own again, or a new one of a peer that forgot us.
    fn repeated_syn(
        &mut self,
        segment: &TcpSegment,
        now: Instant,
        parameters: &TcpParameters,
    ) -> Verdict {
        let is_same = segment.sequence.wrapping_add(1) == self.received;
        if self.state == State::SynReceived && is_same {
            if self.is_established_by_syn(segment) {
                self.flags |= ACK_DUE;
                let verdict = self.acknowledged(segment, now, parameters);
                self.rest(now, parameters);
                return verdict.unwrap_or(Verdict::Continue);
            }
            self.next = 0;
            return Verdict::Continue;
        }
        if segment.flags.has(TcpFlags::ACK) {
            // The peer's SYN-ACK once more: our ACK was lost.
            self.flags |= ACK_DUE;
            return Verdict::Continue;
        }
        self.challenge()
    }

    /// Tells whether a SYN answers the own one, of two that crossed.
    fn is_established_by_syn(&self, segment: &TcpSegment) -> bool {
        segment.flags.has(TcpFlags::ACK) && segment.acknowledgement == self.sent()
    }

    const fn challenge(&mut self) -> Verdict {
        self.flags |= ACK_DUE;
        Verdict::Challenged
    }

    /// Takes the acknowledgement; a verdict ends the handling of the segment.
    fn acknowledged(
        &mut self,
        segment: &TcpSegment,
        now: Instant,
        parameters: &TcpParameters,
    ) -> Option<Verdict> {
        let ahead = distance(self.una, segment.acknowledgement);
        if self.state == State::SynReceived {
            if ahead != 1 {
                return Some(Verdict::Answer(Segment::reset(segment.acknowledgement)));
            }
            self.measure(now, parameters);
            self.state = State::Established;
            // The acknowledgement below adds one.
            self.set_flight(self.initial_flight() - 1);
        }
        // RFC 5961 §5.2: nothing above what was sent, nothing older than the largest window.
        if ahead > i32::from(self.max) || ahead < -i32::from(WINDOW) {
            return Some(if segment.length > 0 {
                self.challenge()
            } else {
                Verdict::Continue
            });
        }
        if ahead >= 0 {
            self.window = segment.window;
        }
        if ahead > 0 {
            self.measure(now, parameters);
            self.una = segment.acknowledgement;
            self.max -= ahead as u16;
            self.next = self.next.saturating_sub(ahead as u16);
            self.count = 0;
            self.set_flight(self.flight() + 1);
            if !self.is_quiet() {
                self.retransmit_after(0, now, parameters);
            }
        }
        if self.una == self.end.wrapping_add(1) {
            match self.state {
                State::FinWait1 => self.state = State::FinWait2,
                State::Closing => self.state = State::TimeWait,
                State::LastAck => return Some(Verdict::Closed),
                _ => {}
            }
        }
        None
    }

    /// Returns how many segments may be in flight at first: one where the SYN or SYN-ACK got lost
    /// (RFC 6928 §2), as far as Linux follows, which forgives the first loss.
    const fn initial_flight(&self) -> u8 {
        match self.count {
            0 | 1 => INITIAL_FLIGHT,
            _ => 1,
        }
    }

    /// Takes data and FIN in order; what follows a hole must come again.
    fn take_data(&mut self, segment: &TcpSegment, parameters: &TcpParameters) {
        let has_fin = segment.flags.has(TcpFlags::FIN);
        if segment.length == 0 && !has_fin {
            return;
        }
        let was_waiting = self.has(ACK_WAITS);
        self.flags = self.flags & !ACK_WAITS | ACK_DUE;
        let end = segment.sequence.wrapping_add(u32::from(segment.length));
        let is_hole = distance(segment.sequence, self.received) < 0;
        let receives = matches!(
            self.state,
            State::Established | State::FinWait1 | State::FinWait2
        );
        // After its FIN the peer has nothing more to say (RFC 9293 §3.10.7.4).
        if is_hole || !receives {
            return;
        }
        if distance(self.received, end) > 0 {
            self.received = end;
            // With something in flight there is no deadline left for it.
            let may_wait = parameters.delayed_ack.is_some() && !has_fin && self.is_quiet();
            if may_wait && !was_waiting {
                self.flags = self.flags & !ACK_DUE | ACK_WAITS;
            }
        }
        if !has_fin || self.received != end {
            return;
        }
        self.state = match self.state {
            State::Established => State::CloseWait,
            State::FinWait1 => State::Closing,
            _ => State::TimeWait,
        };
        self.received = self.received.wrapping_add(1);
        if self.state == State::CloseWait {
            // Applications here close when the peer does; what they held back is void.
            if self.uncork() {
                self.end = self.sent();
            }
            self.close();
        }
    }
}
