use std::net::{Ipv4Addr, SocketAddrV4};

use plsim_packet::{Packet, Payload, TcpHeader};
use plsim_sim::{ChannelId, Context, Stream};
use plsim_table::FlowTable;
use plsim_types::{Instant, KeyedHash, TcpFlags, TcpSegment};

use crate::alarm::Alarm;
use crate::client::{Group, Workload, tcp_token};
use crate::config::{Close, TcpSession, WorkloadKind, draw_span};
use crate::parameters::Parameters;
use crate::ports::{EphemeralPorts, Ports};
use crate::request::Request;
use crate::segment::{Kind, Segment};
use crate::stats::{Outcome, WorkloadStats};
use crate::tcp::{MSS, State, Tcb, Verdict, WINDOW};

/// The client ends of TCP connections.
#[derive(Debug)]
pub(crate) struct TcpClients {
    slots: FlowTable<Slot>,
    ports: Ports,
}

/// One client end. Vacant slots have a closed [`Tcb`] and an alarm that no timer matches.
#[derive(Debug, Default)]
struct Slot {
    tcb: Tcb,
    alarm: Alarm,
    /// While connecting, when the SYN was first sent; while the response is awaited, the sizes of
    /// request and response, packed; while holding, when the hold ends.
    mark: u64,
    vm: u16,
    port: u16,
    workload: u16,
    phase: Phase,
}

/// Both ends and their look-up stay below 200 bytes: an index cell has 8 bytes at a load of 1/4 at
/// worst.
const _: () = assert!(size_of::<Slot>() <= 64);

/// Where the application is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Phase {
    #[default]
    Connecting,
    AwaitingResponse,
    Holding,
    /// Nothing left to do but to answer: abandoned, or closing.
    Done,
    /// In TIME_WAIT: counted as closed, keeps its port.
    Lingering,
}

/// What one call works with besides the slots.
struct Turn<'a, 'c> {
    group: &'a Group,
    target: SocketAddrV4,
    session: &'a TcpSession,
    holds: &'a mut Stream,
    sizes: &'a mut Stream,
    stats: &'a mut WorkloadStats,
    cx: &'a mut Context<'c>,
    parameters: Parameters,
}

impl<'a, 'c> Turn<'a, 'c> {
    fn new(
        group: &'a Group,
        workload: &'a mut Workload,
        stats: &'a mut WorkloadStats,
        cx: &'a mut Context<'c>,
    ) -> Self {
        let Workload {
            config,
            holds,
            sizes,
            ..
        } = workload;
        let WorkloadKind::Tcp(session) = &config.kind else {
            unreachable!("broken invariant: a TCP connection of a UDP workload")
        };
        let parameters = Parameters {
            initial_rto: session.initial_rto,
            open_retries: session.syn_retries,
            retries: session.retries,
            keepalive: session.keepalive,
        };
        Self {
            group,
            target: config.target,
            session,
            holds,
            sizes,
            stats,
            cx,
            parameters,
        }
    }
}

impl TcpClients {
    pub(crate) fn new(ports: &EphemeralPorts, addresses: &[Ipv4Addr], key: KeyedHash) -> Self {
        Self {
            slots: FlowTable::new(),
            ports: Ports::new(ports, addresses, key),
        }
    }

    pub(crate) const fn live(&self) -> usize {
        self.slots.len()
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.slots.memory_bytes() + self.ports.memory_bytes()
    }

    /// Finds the connection at a local address and port, and its workload.
    #[inline]
    pub(crate) fn find(&self, local: SocketAddrV4, group: &Group) -> Option<(u32, usize)> {
        let position = self.slots.find(group.hash(local), |slot| {
            slot.port == local.port() && group.socket(slot.vm, slot.port) == local
        })?;
        Some((position, usize::from(self.slots.entry(position).workload)))
    }

    /// Starts a connection.
    pub(crate) fn open(
        &mut self,
        number: u16,
        isn: u32,
        group: &Group,
        workload: &mut Workload,
        stats: &mut WorkloadStats,
        cx: &mut Context<'_>,
    ) {
        let Some((vm, port)) = self.ports.take() else {
            return stats.lacked_port();
        };
        stats.started();
        let slot = Slot {
            tcb: Tcb::connect(isn),
            alarm: Alarm::default(),
            mark: cx.now().as_nanos(),
            vm,
            port,
            workload: number,
            phase: Phase::Connecting,
        };
        let position = self.slots.insert(group.hash(group.socket(vm, port)), slot);
        let mut turn = Turn::new(group, workload, stats, cx);
        self.slots.entry_mut(position).settle(position, &mut turn);
    }

    /// Takes a segment (with its MSS option, and whether the NAT made it).
    pub(crate) fn on_segment(
        &mut self,
        position: u32,
        (segment, mss, is_idle_reset): (TcpSegment, Option<u16>, bool),
        group: &Group,
        workload: &mut Workload,
        stats: &mut WorkloadStats,
        cx: &mut Context<'_>,
    ) {
        let mut turn = Turn::new(group, workload, stats, cx);
        let slot = self.slots.entry_mut(position);
        let verdict = slot
            .tcb
            .on_segment(&segment, mss, turn.cx.now(), &turn.parameters);
        self.conclude(position, verdict, is_idle_reset, &mut turn);
    }

    /// Takes an ICMP error that quotes a segment with this sequence number: it ends an attempt
    /// whose SYN it is about. To a connection it is a soft error, which changes nothing (RFC 5461).
    pub(crate) fn on_error(
        &mut self,
        position: u32,
        sequence: Option<u32>,
        group: &Group,
        workload: &mut Workload,
        stats: &mut WorkloadStats,
        cx: &mut Context<'_>,
    ) {
        let tcb = &self.slots.entry(position).tcb;
        if tcb.state() == State::SynSent && sequence == Some(tcb.unacknowledged()) {
            let mut turn = Turn::new(group, workload, stats, cx);
            self.end(position, Outcome::Unreachable, &mut turn);
        }
    }

    /// Tells whose timer fired; `None` if it was a stale one.
    pub(crate) fn fired(&mut self, position: u32, now: Instant) -> Option<usize> {
        let slot = self.slots.entry_mut(position);
        slot.alarm.fired(now).then_some(usize::from(slot.workload))
    }

    /// Does what is due now.
    pub(crate) fn on_timer(
        &mut self,
        position: u32,
        group: &Group,
        workload: &mut Workload,
        stats: &mut WorkloadStats,
        cx: &mut Context<'_>,
    ) {
        let mut turn = Turn::new(group, workload, stats, cx);
        let now = turn.cx.now();
        let slot = self.slots.entry_mut(position);
        let mut verdict = Verdict::Continue;
        if slot.phase == Phase::Holding && slot.mark <= now.as_nanos() {
            verdict = slot.close(&mut turn);
        }
        if verdict == Verdict::Continue && slot.tcb.deadline().is_some_and(|at| at <= now) {
            verdict = slot.tcb.on_timer(now, &turn.parameters);
        }
        self.conclude(position, verdict, false, &mut turn);
    }

    /// Draws the consequences of a verdict and of the new state.
    fn conclude(
        &mut self,
        position: u32,
        verdict: Verdict,
        is_idle_reset: bool,
        turn: &mut Turn<'_, '_>,
    ) {
        let slot = self.slots.entry_mut(position);
        let outcome = match verdict {
            Verdict::Continue => None,
            Verdict::Challenged => {
                turn.stats.challenge_acks += 1;
                None
            }
            Verdict::Answer(segment) => {
                slot.send(&segment, turn);
                None
            }
            Verdict::Reset if is_idle_reset => Some(Outcome::IdleExpired),
            Verdict::Reset => Some(Outcome::Reset),
            Verdict::Refused => Some(Outcome::Refused),
            Verdict::Closed => Some(Outcome::Closed),
            Verdict::TimedOut => Some(Outcome::TimedOut),
        };
        let outcome = outcome.or_else(|| slot.proceed(turn));
        match outcome {
            Some(outcome) => self.end(position, outcome, turn),
            None => slot.settle(position, turn),
        }
    }

    /// Counts a connection that ended, and forgets it.
    fn end(&mut self, position: u32, outcome: Outcome, turn: &mut Turn<'_, '_>) {
        let slot = self.slots.entry(position);
        match slot.phase {
            Phase::Connecting => turn.stats.failed(outcome),
            Phase::Lingering => {}
            Phase::AwaitingResponse | Phase::Holding | Phase::Done => turn.stats.ended(outcome),
        }
        let hash = turn.group.hash(turn.group.socket(slot.vm, slot.port));
        let slot = self.slots.remove(hash, position);
        self.ports.release(slot.vm, slot.port);
    }
}

impl Slot {
    /// Lets the application react; an outcome ends the connection.
    fn proceed(&mut self, turn: &mut Turn<'_, '_>) -> Option<Outcome> {
        if self.phase == Phase::Connecting && self.tcb.is_open() {
            let first_sent = Instant::from_nanos(self.mark);
            turn.stats.connected(turn.cx.now().since(first_sent));
            // The handshake's ACK leaves before the application gets to write.
            self.transmit(turn);
            let TcpSession {
                request, response, ..
            } = turn.session;
            let head = Request::draw(request, response, Request::LONGEST, turn.sizes);
            self.mark = head.to_word();
            self.tcb.write(head.request);
            let goal = self.tcb.received().wrapping_add(head.response);
            self.tcb.expect_until(goal);
            turn.stats.requests += 1;
            self.phase = Phase::AwaitingResponse;
        }
        if self.phase == Phase::AwaitingResponse
            && self.tcb.is_satisfied()
            && self.tcb.is_acknowledged()
        {
            turn.stats.responses += 1;
            if turn.session.close == Close::Abandon {
                self.tcb.fall_silent();
                self.phase = Phase::Done;
            } else {
                let hold = draw_span(&turn.session.hold, turn.holds);
                self.mark = (turn.cx.now() + hold).as_nanos();
                self.phase = Phase::Holding;
                if hold.is_zero() && self.close(turn) == Verdict::Closed {
                    return Some(Outcome::Closed);
                }
            }
        }
        if self.tcb.state() == State::TimeWait && self.phase != Phase::Lingering {
            turn.stats.ended(Outcome::Closed);
            self.phase = Phase::Lingering;
        }
        None
    }

    /// Ends the session as configured.
    fn close(&mut self, turn: &mut Turn<'_, '_>) -> Verdict {
        if turn.session.close == Close::Rst {
            // What is due leaves first, such as the ACK of the response.
            self.transmit(turn);
            let reset = self.tcb.abort();
            self.send(&reset, turn);
            return Verdict::Closed;
        }
        self.tcb.close();
        self.phase = Phase::Done;
        Verdict::Continue
    }

    /// Sends what is due and sets the timer.
    fn settle(&mut self, position: u32, turn: &mut Turn<'_, '_>) {
        self.transmit(turn);
        let hold = (self.phase == Phase::Holding).then_some(Instant::from_nanos(self.mark));
        let deadline = match (self.tcb.deadline(), hold) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        self.alarm.arm(deadline, tcp_token(position), turn.cx);
    }

    fn transmit(&mut self, turn: &mut Turn<'_, '_>) {
        while let Some(segment) = self.tcb.poll_transmit(turn.cx.now(), &turn.parameters) {
            match segment.kind {
                Kind::Plain => {}
                Kind::Retransmission if segment.flags.has(TcpFlags::SYN) => {
                    turn.stats.syn_retransmissions += 1;
                }
                Kind::Retransmission => turn.stats.retransmissions += 1,
                Kind::Probe => turn.stats.keepalive_probes += 1,
            }
            self.send(&segment, turn);
        }
    }

    fn send(&self, segment: &Segment, turn: &mut Turn<'_, '_>) {
        let head = Request::from_word(self.mark);
        let start = self.tcb.end().wrapping_sub(head.request);
        let is_first = self.phase == Phase::AwaitingResponse
            && segment.length > 0
            && segment.sequence == start;
        let payload = is_first.then(|| head.to_payload(segment.length));
        let local = turn.group.socket(self.vm, self.port);
        send(
            local,
            turn.target,
            segment,
            payload,
            turn.group.out,
            turn.cx,
        );
    }
}

/// Builds a packet and sends it; a payload that is not given is zeros.
pub(crate) fn send(
    source: SocketAddrV4,
    destination: SocketAddrV4,
    segment: &Segment,
    payload: Option<Payload>,
    out: ChannelId,
    cx: &mut Context<'_>,
) {
    let Segment {
        sequence,
        acknowledgement,
        flags,
        length,
        kind: _,
    } = *segment;
    let mss = flags.has(TcpFlags::SYN).then_some(MSS);
    let window = if flags.has(TcpFlags::RST) { 0 } else { WINDOW };
    let header = TcpHeader {
        source,
        destination,
        sequence,
        acknowledgement,
        flags,
        window,
        mss,
    };
    let packet = Packet::tcp(&header, payload.unwrap_or(Payload::Zeros(length)));
    let packet = cx.inject(packet);
    cx.send(out, packet);
}
