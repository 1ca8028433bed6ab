//! What a TCP segment does to a binding: one pure function over (state, direction, segment, what
//! was seen before). RFC 6146 §3.5.2.2 and RFC 7857 §2, with RSTs validated in the spirit of
//! RFC 5961.
//!
//! A SYN on a connection that the NAT believes to be alive ([`on_open`]) is only noted: the server
//! knows better. If it is alive, the server answers with a challenge ACK, the client with an RST at
//! exactly that acknowledgement, which is valid, and the next SYN starts anew. If the server lost
//! the connection or has it in TIME-WAIT, it takes the SYN (the SYN-ACK acknowledges what was
//! noted) or refuses it (so does the RST). The noted SYN alone makes no RST valid, so a stranger who
//! forges one ends nothing.
//!
//! Windows are not followed, there is no room for them in a binding; in their place stand the largest
//! that TCP has ([`LARGEST_WINDOW`]) and the most that is usually in flight ([`IN_FLIGHT`]). A segment
//! moves what is expected only if its acknowledgement is acceptable (RFC 5961 §5.2). So who forges data
//! and an RST at its end holds a connection down with one pair of packets in a thousand; the next
//! packet of its true ends revives it.

use crate::binding::{Aside, State};
use plsim_types::canary::{Fault, planted};
use plsim_types::{Direction, TcpFlags, TcpSegment};

/// The largest window of TCP, rounded up (RFC 7323 §2.3): no segment lies farther ahead of the others of
/// its sender, no acknowledgement farther behind what it is about.
const LARGEST_WINDOW: u32 = 1 << 30;

/// The most unacknowledged bytes with an RST behind them that is believed: more than Linux keeps room for
/// (6 MiB; KERN: `tcp_rmem`).
const IN_FLIGHT: u32 = 1 << 24;

/// What was seen of a connection's sequence numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Sequences {
    /// The client's highest end of a segment.
    pub(crate) client_end: u32,
    /// The client's highest acknowledgement; until it has sent one, the end of the SYN-ACK.
    pub(crate) client_ack: u32,
    /// The server's highest end of a segment; zero until the SYN-ACK.
    pub(crate) server_end: u32,
    /// The server's highest acknowledgement; until the SYN-ACK, the client's ISN + 1.
    pub(crate) server_ack: u32,
}

/// What a segment does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Translated, nothing else: not even a refresh.
    Pass,
    /// Refreshes the binding; its sequence numbers belong to something else.
    Touch,
    /// Refreshes the binding and is recorded.
    Refresh,
    /// Refreshes the binding and is noted: a SYN on a live connection.
    Attempt,
    /// Changes the state (and refreshes).
    Go(State),
    /// The server takes the client's latest SYN: the state changes, and its numbers are the
    /// connection's from now on.
    Accept(State),
    /// A new connection attempt on the same binding and port.
    Restart,
}

impl Sequences {
    /// Returns the sequences of a connection of which only the SYN was seen.
    pub(crate) const fn of_syn(syn: &TcpSegment) -> Self {
        Self {
            client_end: syn.end(),
            client_ack: 0,
            server_end: 0,
            server_ack: syn.sequence.wrapping_add(1),
        }
    }

    /// Returns the SYN of a connection of which only that was seen, as [`Aside`] notes one.
    const fn syn(&self) -> Aside {
        Aside(self.server_ack.wrapping_sub(1), self.client_end)
    }

    /// Takes over the server's numbers from the SYN-ACK that establishes the connection, and the
    /// client's from the SYN it answers, if that came on top of another connection.
    pub(crate) const fn establish(&mut self, syn_ack: &TcpSegment, noted: Aside) {
        if noted.0 != noted.1 {
            self.client_end = noted.1;
        }
        self.server_end = syn_ack.end();
        self.client_ack = syn_ack.end();
        self.server_ack = syn_ack.acknowledgement;
    }

    /// Tells whether the acknowledgement of a segment is acceptable: of something that was sent, and not
    /// too long ago (RFC 5961 §5.2). What is neither SYN nor RST has one: without, nothing passes its
    /// first hop.
    #[inline(always)]
    const fn accepts(&self, direction: Direction, segment: &TcpSegment) -> bool {
        let sent = match direction {
            Direction::Original => self.server_end,
            Direction::Reply => self.client_end,
        };
        sent.wrapping_sub(segment.acknowledgement) <= LARGEST_WINDOW
    }

    /// Records a later part of the client's SYN: one datagram with all of its data.
    pub(crate) const fn record_rest_of_syn(&mut self, rest: &TcpSegment) {
        if rest.end().wrapping_sub(self.client_end) <= u16::MAX as u32 {
            self.client_end = rest.end();
        }
    }

    /// Records a segment of an established connection, or a later part of one.
    ///
    /// It counts only if its acknowledgement is acceptable, and moves the numbers only forward: a stale
    /// acknowledgement of an earlier connection must not end up in our RST.
    #[inline(always)] // With the direction known, half of it is gone.
    pub(crate) const fn record(&mut self, direction: Direction, segment: &TcpSegment) {
        if segment.flags.has(TcpFlags::SYN) || !self.accepts(direction, segment) {
            return;
        }
        let (end, ack) = match direction {
            Direction::Original => (&mut self.client_end, &mut self.client_ack),
            Direction::Reply => (&mut self.server_end, &mut self.server_ack),
        };
        let acked = segment.acknowledgement;
        if segment.end().wrapping_sub(*end) <= LARGEST_WINDOW {
            *end = segment.end();
        }
        if acked.wrapping_sub(*ack) <= LARGEST_WINDOW {
            *ack = acked;
        }
    }
}

/// Decides what a segment does to a binding in `state`; `noted` is the SYN noted by
/// [`Step::Attempt`], if the state is a live one.
#[inline]
pub(crate) fn step(
    state: State,
    direction: Direction,
    segment: &TcpSegment,
    seen: &Sequences,
    noted: Aside,
) -> Step {
    let flags = segment.flags;
    if flags.has(TcpFlags::RST) {
        return on_reset(state, direction, segment, seen, noted);
    }
    if flags.opens() && direction == Direction::Original {
        return on_open(state, segment, seen);
    }
    match state {
        State::HalfOpen => match direction {
            // Any packet of the client refreshes, not only its SYN again.
            Direction::Original => Step::Touch,
            // A bare ACK here answers for a connection that the server still has from an earlier
            // user of the port (challenge ACK); only a SYN-ACK of *this* SYN counts.
            Direction::Reply => on_answer(segment, seen.syn()).unwrap_or(Step::Pass),
        },
        State::Refused | State::Unanswered => match direction {
            Direction::Original => Step::Pass,
            Direction::Reply => on_answer(segment, seen.syn()).unwrap_or(Step::Pass),
        },
        State::Established | State::ClientFin | State::ServerFin => {
            // A SYN-ACK that ends where the server's bytes end is the former one again.
            if direction == Direction::Reply
                && segment.end() != seen.server_end
                && let Some(accepted) = on_answer(segment, noted)
            {
                accepted
            } else if flags.has(TcpFlags::FIN) && seen.accepts(direction, segment) {
                on_fin(state, direction)
            } else {
                Step::Refresh
            }
        }
        // RFC 7857 §2.2: a packet after the RST shows that the RST was not taken. So it is where the
        // load balancer takes it for one of a new flow.
        State::Reset | State::LbIdle if flags.has(TcpFlags::FIN) => {
            on_fin(State::Established, direction)
        }
        State::Reset | State::LbIdle => Step::Go(State::Established),
        State::Closed | State::Udp | State::UdpHeld | State::Vacant => Step::Pass,
    }
}

/// Judges an RST: the only place that does.
fn on_reset(
    state: State,
    direction: Direction,
    segment: &TcpSegment,
    seen: &Sequences,
    noted: Aside,
) -> Step {
    let next = match state {
        State::HalfOpen => State::Refused,
        State::Established | State::ClientFin | State::ServerFin => State::Reset,
        State::LbIdle
        | State::Closed
        | State::Reset
        | State::Refused
        | State::Unanswered
        | State::Udp
        | State::UdpHeld
        | State::Vacant => {
            return Step::Pass;
        }
    };
    let valid = match (state, direction) {
        // Nothing of the server's was seen yet; it must name the SYN it refuses.
        (State::HalfOpen, Direction::Reply) => refuses(segment, seen.syn()),
        (_, Direction::Original) => is_expected(segment, seen.server_ack, seen.client_end),
        (_, Direction::Reply) => {
            is_expected(segment, seen.client_ack, seen.server_end) || refuses(segment, noted)
        }
    };
    if valid || planted(Fault::ResetBelieved) {
        Step::Go(next)
    } else {
        Step::Pass
    }
}

/// Judges whether an RST has the number that its receiver expects (RFC 5961 §3.2): what that has
/// acknowledged, or the end of what was sent if all of it may have arrived by now.
const fn is_expected(segment: &TcpSegment, acknowledged: u32, end: u32) -> bool {
    segment.sequence == acknowledged
        || segment.sequence == end && end.wrapping_sub(acknowledged) <= IN_FLIGHT
}

fn on_open(state: State, segment: &TcpSegment, seen: &Sequences) -> Step {
    match state {
        State::HalfOpen if segment.sequence.wrapping_add(1) == seen.server_ack => Step::Touch,
        State::HalfOpen
        | State::LbIdle
        | State::Closed
        | State::Reset
        | State::Refused
        | State::Unanswered => Step::Restart,
        // The server answers: with a challenge ACK if it still has the connection (RFC 5961 §4).
        State::Established | State::ClientFin | State::ServerFin => Step::Attempt,
        State::Udp | State::UdpHeld | State::Vacant => Step::Pass,
    }
}

/// Judges whether a server's packet takes a SYN.
fn on_answer(segment: &TcpSegment, syn: Aside) -> Option<Step> {
    let answers = segment.flags.has(TcpFlags::SYN | TcpFlags::ACK) && acknowledges(segment, syn);
    answers.then_some(Step::Accept(if segment.flags.has(TcpFlags::FIN) {
        State::ServerFin
    } else {
        State::Established
    }))
}

/// Judges whether a server's RST refuses a SYN: it acknowledges it, with all of its data (RFC 9293
/// §3.10.7.1) or, as the client accepts too, a part (§3.10.7.3).
fn refuses(segment: &TcpSegment, syn: Aside) -> bool {
    segment.flags.has(TcpFlags::ACK) && acknowledges(segment, syn)
}

/// The SYN may carry data, of which the server may acknowledge a part (RFC 7413).
const fn acknowledges(segment: &TcpSegment, syn: Aside) -> bool {
    newer(segment.acknowledgement, syn.0) && !newer(segment.acknowledgement, syn.1)
}

const fn on_fin(state: State, direction: Direction) -> Step {
    match (state, direction) {
        (State::ClientFin, Direction::Original) | (State::ServerFin, Direction::Reply) => {
            Step::Refresh
        }
        (State::ClientFin, Direction::Reply) | (State::ServerFin, Direction::Original) => {
            Step::Go(State::Closed)
        }
        (_, Direction::Original) => Step::Go(State::ClientFin),
        (_, Direction::Reply) => Step::Go(State::ServerFin),
    }
}

/// Compares sequence numbers modulo 2^32 (RFC 9293 §3.4).
#[inline]
const fn newer(a: u32, b: u32) -> bool {
    a.wrapping_sub(b) as i32 > 0
}
