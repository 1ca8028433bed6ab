mod expectation;

use plsim_types::{Duration, Instant, TcpFlags, TcpSegment};

use crate::parameters::Parameters;
use crate::segment::{Kind, Segment};

/// The receive window of every endpoint, in bytes: the largest without scaling (RFC 7323).
pub(crate) const WINDOW: u16 = 65_535;
/// The largest segment an endpoint sends or announces, in bytes (Ethernet's 1 500 less headers).
pub(crate) const MSS: u16 = 1_460;
/// The smallest MSS believed of a peer: what any link carries (RFC 791: 68 bytes less headers).
const MIN_MSS: u16 = 28;
/// Segments sent before the first acknowledgement (RFC 6928).
const INITIAL_FLIGHT: u8 = 10;
/// How long the side that closed first keeps the connection (Linux `TCP_TIMEWAIT_LEN`).
const TIME_WAIT: Duration = Duration::from_secs(60);
/// How long it waits for the peer's FIN (Linux `tcp_fin_timeout`).
const FIN_WAIT: Duration = Duration::from_secs(60);
/// A deadline that never comes.
pub(crate) const NEVER: u64 = u64::MAX;

const ACK_DUE: u8 = 1;
const PROBE_DUE: u8 = 2;
const CLOSING: u8 = 4;
const CORKED: u8 = 8;
const SILENT: u8 = 16;
const EXPECTING: u8 = 32;
const GREETED: u8 = 64;

/// The states of RFC 9293 §3.3.2; LISTEN belongs to the server's port, not to a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) enum State {
    #[default]
    Closed,
    SynSent,
    SynReceived,
    Established,
    FinWait1,
    FinWait2,
    Closing,
    CloseWait,
    LastAck,
    TimeWait,
}

/// What a segment or a timer means beyond the segments that are now due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Continue,
    /// A challenge ACK is due (RFC 5961 §3.2, §4.2).
    Challenged,
    /// This answer is to be sent; the connection itself is as before.
    Answer(Segment),
    /// The peer reset the connection.
    Reset,
    /// The peer refused the SYN.
    Refused,
    /// Closed in good order, nothing left to wait for.
    Closed,
    /// The peer did not answer often enough.
    TimedOut,
}

/// One end of a TCP connection: what RFC 9293 calls the transmission control block.
///
/// The owner hands in segments and expired timers, then takes what is to be sent from
/// [`Tcb::poll_transmit`] until it is empty, then looks at [`Tcb::deadline`].
///
/// ```text
///  sent and acknowledged | in flight | to be sent again | written, not sent | FIN
///                       una   …    next      …         max       …         end
/// ```
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tcb {
    /// SND.UNA.
    una: u32,
    /// The next byte to send; falls back to `una` when the retransmission timer fires.
    next: u32,
    /// SND.NXT of the RFC: one after the highest byte ever sent.
    max: u32,
    /// One after the last byte written by the application; the FIN's own number.
    end: u32,
    /// RCV.NXT.
    received: u32,
    /// The number up to which the application waits for data.
    goal: u32,
    deadline: u64,
    mss: u16,
    state: State,
    flags: u8,
    /// Retransmissions or probes in a row without an answer.
    count: u8,
    /// Segments that may be in flight.
    flight: u8,
}

impl Default for Tcb {
    fn default() -> Self {
        Self::new(State::Closed, 0)
    }
}

impl Tcb {
    const fn new(state: State, isn: u32) -> Self {
        Self {
            una: isn,
            next: isn,
            max: isn,
            end: isn.wrapping_add(1),
            received: 0,
            goal: 0,
            deadline: NEVER,
            mss: MSS,
            state,
            flags: 0,
            count: 0,
            flight: INITIAL_FLIGHT,
        }
    }

    /// Starts an active open.
    pub(crate) const fn connect(isn: u32) -> Self {
        Self::new(State::SynSent, isn)
    }

    /// Starts a passive open with the peer's SYN.
    pub(crate) fn accept(isn: u32, syn: &TcpSegment, mss: Option<u16>) -> Self {
        let mut tcb = Self::new(State::SynReceived, isn);
        tcb.received = syn.sequence.wrapping_add(1);
        tcb.limit_mss(mss);
        tcb
    }

    pub(crate) const fn state(&self) -> State {
        self.state
    }

    /// Returns when [`Tcb::on_timer`] wants to be called.
    pub(crate) const fn deadline(&self) -> Option<Instant> {
        if self.deadline == NEVER {
            None
        } else {
            Some(Instant::from_nanos(self.deadline))
        }
    }

    /// Tells whether the handshake is over.
    pub(crate) fn is_open(&self) -> bool {
        self.state >= State::Established
    }

    /// Returns the next sequence number expected of the peer.
    pub(crate) const fn received(&self) -> u32 {
        self.received
    }

    /// Returns the oldest number that is not acknowledged: the SYN's, until it is.
    pub(crate) const fn unacknowledged(&self) -> u32 {
        self.una
    }

    /// Returns the number after the last byte written.
    pub(crate) const fn end(&self) -> u32 {
        self.end
    }

    /// Adds bytes to send.
    pub(crate) const fn write(&mut self, length: u32) {
        self.end = self.end.wrapping_add(length);
    }

    /// Holds back what is written until [`Tcb::uncork`].
    pub(crate) const fn cork(&mut self) {
        self.flags |= CORKED;
    }

    /// Lets go what [`Tcb::cork`] held back; tells whether it held anything back.
    pub(crate) const fn uncork(&mut self) -> bool {
        let held = self.has(CORKED);
        self.flags &= !CORKED;
        held
    }

    /// Tells whether everything written has arrived.
    pub(crate) const fn is_acknowledged(&self) -> bool {
        distance(self.end, self.una) >= 0
    }

    /// Closes once everything written has been sent.
    pub(crate) const fn close(&mut self) {
        self.flags |= CLOSING;
    }

    /// Ends keepalive: from now on the connection only answers.
    pub(crate) const fn fall_silent(&mut self) {
        self.flags |= SILENT;
        if self.una == self.max {
            self.deadline = NEVER;
        }
    }

    /// Returns the reset that aborts the connection (RFC 9293 §3.10.5).
    pub(crate) fn abort(&self) -> Segment {
        Segment {
            sequence: self.max,
            acknowledgement: self.received,
            flags: TcpFlags::RST | TcpFlags::ACK,
            length: 0,
            kind: Kind::Plain,
        }
    }

    /// Takes a segment (RFC 9293 §3.10.7).
    pub(crate) fn on_segment(
        &mut self,
        segment: &TcpSegment,
        mss: Option<u16>,
        now: Instant,
        parameters: &Parameters,
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

    /// Takes the expiry of [`Tcb::deadline`].
    pub(crate) fn on_timer(&mut self, now: Instant, parameters: &Parameters) -> Verdict {
        if matches!(self.state, State::TimeWait | State::FinWait2) {
            return Verdict::Closed;
        }
        let limit = match self.state {
            State::SynSent | State::SynReceived => parameters.open_retries,
            _ => parameters.retries,
        };
        if self.count >= limit {
            return Verdict::TimedOut;
        }
        self.count += 1;
        if self.una == self.max {
            let Some(keepalive) = parameters.keepalive else {
                return Verdict::Continue;
            };
            self.flags |= PROBE_DUE;
            self.deadline = (now + keepalive).as_nanos();
        } else {
            // Go back N: everything in flight counts as lost (RFC 6298 §5.4 to §5.6).
            self.next = self.una;
            self.flight = 1;
            self.deadline = (now + parameters.rto(self.count)).as_nanos();
        }
        Verdict::Continue
    }

    /// Returns the next segment to send, until there is none.
    pub(crate) fn poll_transmit(
        &mut self,
        now: Instant,
        parameters: &Parameters,
    ) -> Option<Segment> {
        match self.state {
            State::Closed => return None,
            State::SynSent | State::SynReceived if self.next == self.una => {
                let (flags, sequence) = match self.state {
                    State::SynSent => (TcpFlags::SYN, self.next),
                    _ => (TcpFlags::SYN | TcpFlags::ACK, self.next),
                };
                self.flags &= !ACK_DUE;
                let kind = self.take(1, now, parameters);
                let acknowledgement = self.received;
                return Some(Segment {
                    sequence,
                    acknowledgement,
                    flags,
                    length: 0,
                    kind,
                });
            }
            State::SynSent | State::SynReceived | State::TimeWait => {}
            _ => {
                if let Some(segment) = self.next_data(now, parameters) {
                    return Some(segment);
                }
            }
        }
        let (sequence, kind) = if self.has(PROBE_DUE) {
            // A byte the peer has already: it must answer (RFC 9293 §3.8.4).
            (self.max.wrapping_sub(1), Kind::Probe)
        } else if self.has(ACK_DUE) {
            // Not `next`: after a fall-back that number may be old to the peer.
            (self.max, Kind::Plain)
        } else {
            return None;
        };
        self.flags &= !(ACK_DUE | PROBE_DUE);
        let acknowledgement = self.received;
        Some(Segment {
            sequence,
            acknowledgement,
            flags: TcpFlags::ACK,
            length: 0,
            kind,
        })
    }

    fn next_data(&mut self, now: Instant, parameters: &Parameters) -> Option<Segment> {
        let unsent = distance(self.next, self.end);
        if unsent < 0 || self.has(CORKED) {
            return None;
        }
        let length = u32::from(self.mss).min(unsent as u32);
        let window = u32::from(self.flight) * u32::from(self.mss);
        let in_flight = self.next.wrapping_sub(self.una);
        let last = length == unsent as u32;
        let fin = last && self.has(CLOSING);
        if (length == 0 && !fin) || in_flight + length > window.min(u32::from(WINDOW)) {
            return None;
        }
        let mut flags = TcpFlags::ACK;
        if length > 0 && last {
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
        let sequence = self.next;
        let kind = self.take(length + u32::from(fin), now, parameters);
        self.flags &= !(ACK_DUE | PROBE_DUE);
        let acknowledgement = self.received;
        Some(Segment {
            sequence,
            acknowledgement,
            flags,
            length: length as u16,
            kind,
        })
    }

    /// Moves `next` on, maybe over old ground.
    fn take(&mut self, length: u32, now: Instant, parameters: &Parameters) -> Kind {
        let kind = if self.next == self.max {
            Kind::Plain
        } else {
            Kind::Retransmission
        };
        if self.una == self.max {
            self.count = 0;
            self.deadline = (now + parameters.rto(0)).as_nanos();
        }
        self.next = self.next.wrapping_add(length);
        if distance(self.max, self.next) > 0 {
            self.max = self.next;
        }
        kind
    }

    fn answered_syn(
        &mut self,
        segment: &TcpSegment,
        mss: Option<u16>,
        now: Instant,
        parameters: &Parameters,
    ) -> Verdict {
        let flags = segment.flags;
        let has_ack = flags.has(TcpFlags::ACK);
        if has_ack && segment.acknowledgement != self.max {
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
            self.una = self.max;
            self.next = self.max;
            self.received = segment.sequence.wrapping_add(1);
            self.limit_mss(mss);
            self.flight = INITIAL_FLIGHT;
            self.state = State::Established;
            self.flags |= ACK_DUE;
            self.rest(now, parameters);
        }
        Verdict::Continue
    }

    fn synchronized(
        &mut self,
        segment: &TcpSegment,
        now: Instant,
        parameters: &Parameters,
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
            return self.repeated_syn(segment);
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
        self.take_data(segment);
        if self.una == self.max {
            self.rest(now, parameters);
        }
        Verdict::Continue
    }

    /// A SYN inside a connection: the peer's own again, or a new one of a peer that forgot us.
    fn repeated_syn(&mut self, segment: &TcpSegment) -> Verdict {
        let is_same = segment.sequence.wrapping_add(1) == self.received;
        if self.state == State::SynReceived && is_same {
            self.next = self.una;
            return Verdict::Continue;
        }
        if segment.flags.has(TcpFlags::ACK) {
            // The peer's SYN-ACK once more: our ACK was lost.
            self.flags |= ACK_DUE;
            return Verdict::Continue;
        }
        self.challenge()
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
        parameters: &Parameters,
    ) -> Option<Verdict> {
        let ahead = distance(self.una, segment.acknowledgement);
        let sent = distance(self.una, self.max);
        if self.state == State::SynReceived {
            if ahead != 1 {
                return Some(Verdict::Answer(Segment::reset(segment.acknowledgement)));
            }
            self.state = State::Established;
            self.flight = INITIAL_FLIGHT - 1;
        }
        if ahead > sent {
            if segment.length > 0 {
                self.flags |= ACK_DUE;
            }
            return Some(Verdict::Continue);
        }
        if ahead > 0 {
            self.una = segment.acknowledgement;
            if distance(self.next, self.una) > 0 {
                self.next = self.una;
            }
            self.count = 0;
            self.flight = self.flight.saturating_add(1);
            if self.una != self.max {
                self.deadline = (now + parameters.rto(0)).as_nanos();
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

    /// Takes data and FIN in order; what follows a hole must come again.
    fn take_data(&mut self, segment: &TcpSegment) {
        let has_fin = segment.flags.has(TcpFlags::FIN);
        if segment.length == 0 && !has_fin {
            return;
        }
        self.flags |= ACK_DUE;
        let end = segment.sequence.wrapping_add(u32::from(segment.length));
        if distance(segment.sequence, self.received) < 0 {
            return;
        }
        if distance(self.received, end) > 0 {
            self.received = end;
        }
        if !has_fin || self.received != end {
            return;
        }
        self.state = match self.state {
            State::Established => State::CloseWait,
            State::FinWait1 => State::Closing,
            State::FinWait2 => State::TimeWait,
            // A second FIN; the first one is acknowledged already.
            _ => return,
        };
        self.received = self.received.wrapping_add(1);
        if self.state == State::CloseWait {
            // Applications here close when the peer does; what they held back is void.
            if self.uncork() {
                self.end = self.max;
            }
            self.close();
        }
    }

    /// Sets the deadline of a connection with nothing in flight.
    fn rest(&mut self, now: Instant, parameters: &Parameters) {
        self.count = 0;
        let span = match self.state {
            State::TimeWait => Some(TIME_WAIT),
            State::FinWait2 => Some(FIN_WAIT),
            _ if self.has(SILENT) => None,
            _ => parameters.keepalive,
        };
        self.deadline = span.map_or(NEVER, |span| (now + span).as_nanos());
    }

    fn limit_mss(&mut self, announced: Option<u16>) {
        // Without the option the peer takes 536 bytes (RFC 9293 §3.7.1).
        self.mss = announced.unwrap_or(536).clamp(MIN_MSS, MSS);
    }

    const fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// Returns how far `to` lies after `from`, negative if before (RFC 9293 §3.4: modulo 2^32).
const fn distance(from: u32, to: u32) -> i32 {
    to.wrapping_sub(from) as i32
}

#[cfg(test)]
mod tests;
