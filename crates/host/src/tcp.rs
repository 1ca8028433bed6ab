mod expectation;
mod receive;
mod round_trip;
mod timer;
mod transmit;

use plsim_types::{Instant, TcpFlags, TcpSegment};

use crate::due::Due;
use crate::parameters::TcpParameters;
use crate::segment::{Kind, Segment};

/// The receive window of every endpoint, in bytes: the largest without scaling (RFC 7323).
pub(crate) const WINDOW: u16 = 65_535;
/// The largest segment an endpoint sends or announces, in bytes (Ethernet's 1 500 less headers).
pub(crate) const MSS: u16 = 1_460;
/// The smallest MSS believed of a peer: what any link carries (RFC 791: 68 bytes less headers).
const MIN_MSS: u16 = 28;
/// The bits of [`Tcb::mss`] that are the size of a segment.
const MSS_BITS: u16 = (1 << 11) - 1;
/// The bits of [`Tcb::flight`] that count segments.
const FLIGHT_BITS: u8 = (1 << 7) - 1;
/// Segments sent before the first acknowledgement (RFC 6928).
const INITIAL_FLIGHT: u8 = 10;

const ACK_DUE: u8 = 1;
const PROBE_DUE: u8 = 2;
const CLOSING: u8 = 4;
const CORKED: u8 = 8;
const SILENT: u8 = 16;
const EXPECTING: u8 = 32;
const GREETED: u8 = 64;
/// An acknowledgement waits for company until the deadline.
const ACK_WAITS: u8 = 128;

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
    /// A challenge ACK is due (RFC 5961 §3.2, §4.2, §5.2).
    Challenged,
    /// This answer is to be sent; the connection itself is as before.
    Answer(Segment),
    /// The peer reset the connection.
    Reset,
    /// The peer refused the SYN.
    Refused,
    /// Closed in good order, nothing left to wait for.
    Closed,
    /// The peer did not answer often enough; a reset may tell it so.
    TimedOut(Option<Segment>),
}

/// One end of a TCP connection: what RFC 9293 calls the transmission control block.
///
/// The owner hands in segments and expired timers, then takes what is to be sent from
/// [`Tcb::poll_transmit`] until it is empty, then looks at [`Tcb::deadline`].
///
/// ```text
///  sent and acknowledged | in flight | to be sent again | written, not sent | FIN
///                       una   …   una+next    …      una+max      …        end
/// ```
///
/// It has 36 bytes, for there may be millions: without window scaling nothing in flight is farther
/// from `una` than 16 bits tell, and one deadline serves retransmission, keepalive, probes of a
/// closed window, delayed acknowledgements and the waiting states, for they exclude each other.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tcb {
    /// SND.UNA.
    una: u32,
    /// One after the last byte written by the application; the FIN's own number.
    end: u32,
    /// RCV.NXT.
    received: u32,
    /// The number up to which the application waits for data.
    goal: u32,
    /// Beside it the smoothed round trip is noted.
    deadline: Due,
    /// What is sent next, counted from `una`; falls back to 0 when the retransmission timer fires.
    next: u16,
    /// SND.NXT of the RFC, counted from `una`: one after the highest byte ever sent.
    max: u16,
    /// SND.WND: how much the peer takes beyond `una`.
    window: u16,
    /// The largest segment, in 11 bits; above them stands the variation of the round trip.
    mss: u16,
    state: State,
    flags: u8,
    /// Retransmissions or probes in a row without an answer.
    count: u8,
    /// Segments that may be in flight, at most 127; the upper bit tells that a round trip is measured.
    flight: u8,
}

const _: () = assert!(size_of::<Tcb>() == 36);

impl Default for Tcb {
    fn default() -> Self {
        Self::new(State::Closed, 0)
    }
}

impl Tcb {
    const fn new(state: State, isn: u32) -> Self {
        Self {
            una: isn,
            end: isn.wrapping_add(1),
            received: 0,
            goal: 0,
            deadline: Due::NEVER,
            next: 0,
            max: 0,
            window: 0,
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
        tcb.window = syn.window;
        tcb.limit_mss(mss);
        tcb
    }

    /// Makes the passive open of which the other end has a cookie, before its ACK is taken.
    pub(crate) fn by_cookie(ack: &TcpSegment, mss: u16) -> Self {
        let syn = TcpSegment {
            sequence: ack.sequence.wrapping_sub(1),
            ..*ack
        };
        let mut tcb = Self::accept(ack.acknowledgement.wrapping_sub(1), &syn, Some(mss));
        (tcb.next, tcb.max) = (1, 1);
        tcb
    }

    /// Enters TIME_WAIT in place of another end, which has sent and received up to these numbers, both
    /// FINs included.
    pub(crate) fn linger(
        sent: u32,
        received: u32,
        now: Instant,
        parameters: &TcpParameters,
    ) -> Self {
        let mut tcb = Self::new(State::TimeWait, sent);
        (tcb.end, tcb.received) = (sent.wrapping_sub(1), received);
        tcb.rest(now, parameters);
        tcb
    }

    pub(crate) const fn state(&self) -> State {
        self.state
    }

    /// Returns when [`Tcb::on_timer`] wants to be called.
    pub(crate) const fn deadline(&self) -> Option<Instant> {
        self.deadline.instant()
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
    pub(crate) fn fall_silent(&mut self) {
        self.flags |= SILENT;
        if self.is_quiet() && !self.has(ACK_WAITS) {
            self.deadline.set(None);
        }
    }

    /// Returns the reset that aborts the connection (RFC 9293 §3.10.5).
    pub(crate) fn abort(&self) -> Segment {
        Segment {
            sequence: self.sent(),
            acknowledgement: self.received,
            flags: TcpFlags::RST | TcpFlags::ACK,
            length: 0,
            kind: Kind::Plain,
        }
    }

    /// Tells whether a segment ends the handshake of a passive open.
    pub(crate) fn is_established_by(&self, segment: &TcpSegment) -> bool {
        let flags = segment.flags;
        self.state == State::SynReceived
            && flags.has(TcpFlags::ACK)
            && !flags.has(TcpFlags::SYN)
            && !flags.has(TcpFlags::RST)
            && segment.acknowledgement == self.sent()
    }

    /// Tells whether a SYN opens a new connection in place of this one, which is in TIME_WAIT:
    /// its number must be new to this end (RFC 9293 §3.10.7.4, RFC 6191 §2).
    pub(crate) const fn yields_to(&self, segment: &TcpSegment) -> bool {
        matches!(self.state, State::TimeWait)
            && segment.flags.opens()
            && distance(self.received, segment.sequence) > 0
    }

    /// Returns the highest number sent: SND.NXT.
    const fn sent(&self) -> u32 {
        self.una.wrapping_add(self.max as u32)
    }

    /// Tells whether nothing is in flight.
    const fn is_quiet(&self) -> bool {
        self.max == 0
    }

    /// Returns the bytes written that are not sent, or to be sent again; −1 once the FIN is sent.
    const fn unsent(&self) -> i32 {
        distance(self.una.wrapping_add(self.next as u32), self.end)
    }

    fn mss(&self) -> u32 {
        u32::from(self.mss & MSS_BITS)
    }

    const fn flight(&self) -> u8 {
        self.flight & FLIGHT_BITS
    }

    fn set_flight(&mut self, segments: u8) {
        self.flight = self.flight & !FLIGHT_BITS | segments.min(FLIGHT_BITS);
    }

    fn limit_mss(&mut self, announced: Option<u16>) {
        // Without the option the peer takes 536 bytes (RFC 9293 §3.7.1).
        let mss = announced.unwrap_or(536).clamp(MIN_MSS, MSS);
        self.mss = self.mss & !MSS_BITS | mss;
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
