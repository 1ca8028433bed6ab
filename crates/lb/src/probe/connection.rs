use super::{ProbeFailure, Turn, Until};
use plsim_types::{Duration, Instant, TcpFlags, TcpSegment};

/// The time until the first retransmission, doubled each time (RFC 6298 §2).
const INITIAL_RTO: Duration = Duration::from_secs(1);

/// How far a probe's connection has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    SynSent,
    /// The handshake is over; FIN is not due yet.
    Talking,
    /// Everything is said, FIN is due or sent.
    Closing,
}

/// What became of the attempt that a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Pending,
    Succeeded,
    Failed(ProbeFailure),
}

/// A segment of a connection, without the ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sent {
    pub(super) sequence: u32,
    pub(super) acknowledgement: u32,
    pub(super) flags: TcpFlags,
    /// Where its bytes begin in what the probe says.
    pub(super) offset: u32,
    pub(super) length: u16,
}

/// The client end of one probe's TCP connection: handshake, turns, four-way close.
///
/// One segment carries what is said in a turn, so there is one thing to send again at a time. The
/// end that is done acknowledges a repeated FIN until its probe begins the next connection.
#[derive(Debug, Clone)]
pub(super) struct Connection {
    pub(super) port: u16,
    isn: u32,
    /// SND.UNA, SND.NXT and RCV.NXT of RFC 9293 §3.3.1; `next` falls back when the timer fires.
    una: u32,
    next: u32,
    max: u32,
    received: u32,
    state: State,
    outcome: Outcome,
    turn: usize,
    /// Bytes heard in this turn.
    heard: u32,
    status: Option<u16>,
    /// Bytes that may be said so far.
    released: u32,
    resend_at: Option<Instant>,
    rto: Duration,
    ack_due: bool,
    /// The handshake's last segment is due: a stack sends it by itself, before any data or FIN.
    opened: bool,
    peer_closed: bool,
    /// Nothing more is sent.
    dead: bool,
}

impl Connection {
    pub(super) fn new(port: u16, isn: u32) -> Self {
        Self {
            port,
            isn,
            una: isn,
            next: isn,
            max: isn,
            received: 0,
            state: State::SynSent,
            outcome: Outcome::Pending,
            turn: 0,
            heard: 0,
            status: None,
            released: 0,
            resend_at: None,
            rto: INITIAL_RTO,
            ack_due: false,
            opened: false,
            peer_closed: false,
            dead: false,
        }
    }

    pub(super) const fn outcome(&self) -> Outcome {
        self.outcome
    }

    pub(super) const fn deadline(&self) -> Option<Instant> {
        self.resend_at
    }

    /// Ends the attempt; the connection says no more.
    pub(super) const fn fail(&mut self, why: ProbeFailure) {
        self.outcome = Outcome::Failed(why);
        self.resend_at = None;
        self.dead = true;
    }

    /// Returns the reset that rids the peer of the connection, unless it has none or is done.
    pub(super) fn abort(&self) -> Option<Sent> {
        let gone = self.state == State::SynSent
            || self.peer_closed
            || self.outcome == Outcome::Failed(ProbeFailure::Reset);
        (!gone).then_some(Sent {
            sequence: self.max,
            acknowledgement: self.received,
            flags: TcpFlags::RST | TcpFlags::ACK,
            offset: 0,
            length: 0,
        })
    }

    /// Takes a segment of the peer; `status` is the HTTP status that it carries.
    pub(super) fn on_segment(
        &mut self,
        segment: &TcpSegment,
        status: Option<u16>,
        turns: &[Turn],
        now: Instant,
    ) {
        match self.state {
            State::SynSent => self.answered_syn(segment, turns),
            State::Talking | State::Closing => self.take(segment, status, turns, now),
        }
    }

    /// Sends again what was not acknowledged.
    pub(super) fn on_timer(&mut self, now: Instant) {
        if self.resend_at.is_some_and(|at| at <= now) {
            self.next = self.una;
            self.rto = self.rto.times(2);
            self.resend_at = None;
        }
    }

    /// Returns the next segment to send, until there is none.
    pub(super) fn poll_transmit(&mut self, turns: &[Turn], now: Instant) -> Option<Sent> {
        let total = said_by(turns, turns.len());
        let offset = self.next.wrapping_sub(self.isn.wrapping_add(1));
        let fin_due = self.state == State::Closing && offset == total;
        if self.dead {
            return None;
        }
        let (flags, length) = if self.state == State::SynSent {
            if self.next != self.isn {
                return None;
            }
            (TcpFlags::SYN, 0)
        } else if core::mem::take(&mut self.opened) {
            (TcpFlags::ACK, 0)
        } else if offset < self.released {
            let end = (0..=turns.len()).map(|turn| said_by(turns, turn));
            let end = end.filter(|&end| end > offset).min().unwrap_or(total);
            (TcpFlags::ACK | TcpFlags::PSH, (end - offset) as u16)
        } else if fin_due {
            (TcpFlags::ACK | TcpFlags::FIN, 0)
        } else if self.ack_due {
            (TcpFlags::ACK, 0)
        } else {
            return None;
        };
        let numbered = flags.has(TcpFlags::SYN) || flags.has(TcpFlags::FIN);
        let taken = u32::from(length) + u32::from(numbered);
        let sent = Sent {
            // A bare acknowledgement goes out after the highest number ever sent.
            sequence: if taken == 0 { self.max } else { self.next },
            acknowledgement: self.received,
            flags,
            offset: if length > 0 { offset } else { 0 },
            length,
        };
        self.ack_due = false;
        if taken > 0 {
            self.next = self.next.wrapping_add(taken);
            if distance(self.max, self.next) > 0 {
                self.max = self.next;
            }
            if self.resend_at.is_none() {
                self.resend_at = Some(now + self.rto);
            }
        }
        Some(sent)
    }

    fn answered_syn(&mut self, segment: &TcpSegment, turns: &[Turn]) {
        let flags = segment.flags;
        if !flags.has(TcpFlags::ACK) || segment.acknowledgement != self.max {
            return;
        }
        if flags.has(TcpFlags::RST) {
            return self.fail(ProbeFailure::Reset);
        }
        if flags.has(TcpFlags::SYN) {
            self.una = self.max;
            self.next = self.max;
            self.received = segment.sequence.wrapping_add(1);
            self.resend_at = None;
            self.rto = INITIAL_RTO;
            self.opened = true;
            self.state = State::Talking;
            self.released = said_by(turns, 1);
            self.go_on(turns);
        }
    }

    fn take(&mut self, segment: &TcpSegment, status: Option<u16>, turns: &[Turn], now: Instant) {
        let flags = segment.flags;
        if flags.has(TcpFlags::RST) {
            if segment.sequence == self.received && self.outcome == Outcome::Pending {
                self.fail(ProbeFailure::Reset);
            }
            return;
        }
        let numbered = segment.length > 0 || flags.has(TcpFlags::FIN);
        if segment.sequence != self.received || flags.has(TcpFlags::SYN) {
            // A repetition, or what follows a hole and will come again.
            self.ack_due |= numbered || flags.has(TcpFlags::SYN);
            return;
        }
        self.acknowledged(segment, turns, now);
        if !numbered {
            return;
        }
        self.ack_due = true;
        self.received = segment.end();
        self.heard += u32::from(segment.length);
        self.status = self.status.or(status);
        self.go_on(turns);
        if flags.has(TcpFlags::FIN) {
            self.peer_closed = true;
            if self.state == State::Talking {
                self.close();
            }
            if self.outcome == Outcome::Pending && !only_opens(turns) {
                self.outcome = Outcome::Failed(ProbeFailure::Closed);
            }
        }
    }

    fn acknowledged(&mut self, segment: &TcpSegment, turns: &[Turn], now: Instant) {
        let ahead = distance(self.una, segment.acknowledgement);
        if !segment.flags.has(TcpFlags::ACK) || ahead <= 0 || ahead > distance(self.una, self.max) {
            return;
        }
        self.una = segment.acknowledgement;
        if distance(self.next, self.una) > 0 {
            self.next = self.una;
        }
        self.rto = INITIAL_RTO;
        self.resend_at = (self.una != self.max).then(|| now + self.rto);
        let fin = self
            .isn
            .wrapping_add(1)
            .wrapping_add(said_by(turns, turns.len()));
        if distance(fin, self.una) > 0 && only_opens(turns) && self.outcome == Outcome::Pending {
            self.outcome = Outcome::Succeeded;
        }
    }

    /// Goes on to the next turn where what was waited for has come.
    fn go_on(&mut self, turns: &[Turn]) {
        while let Some(turn) = turns.get(self.turn)
            && self.state == State::Talking
        {
            match turn.until {
                Until::Nothing => {}
                Until::Bytes(bytes) if self.heard >= bytes => {}
                Until::Objection(bytes, why) if self.heard >= bytes => return self.fail(why),
                Until::Status => match self.status {
                    Some(200) => self.outcome = Outcome::Succeeded,
                    Some(other) => self.outcome = Outcome::Failed(ProbeFailure::Status(other)),
                    None => return,
                },
                Until::Bytes(_) | Until::Objection(..) => return,
            }
            self.turn += 1;
            self.heard = 0;
            self.released = said_by(turns, self.turn + 1);
        }
        if self.turn == turns.len() && self.state == State::Talking {
            self.close();
        }
    }

    const fn close(&mut self) {
        self.state = State::Closing;
    }
}

/// Tells whether the connection itself is all that is asked for.
fn only_opens(turns: &[Turn]) -> bool {
    turns.iter().all(|turn| turn.until == Until::Nothing)
}

/// Returns how many bytes the first `count` turns say.
fn said_by(turns: &[Turn], count: usize) -> u32 {
    turns
        .iter()
        .take(count)
        .map(|turn| u32::from(turn.say))
        .sum()
}

/// Returns how far `to` lies after `from`, negative if before (RFC 9293 §3.4).
const fn distance(from: u32, to: u32) -> i32 {
    to.wrapping_sub(from) as i32
}
