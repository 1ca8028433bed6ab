use std::net::{Ipv4Addr, SocketAddrV4};

use plsim_packet::{Payload, TcpHeader};
use plsim_sim::{ChannelId, Context};
use plsim_types::{Instant, KeyedHash, TcpFlags, TcpSegment};

use crate::alarm::Alarm;
use crate::client::state::End;
use crate::client::{Group, tcp_token};
use crate::config::Close;
use crate::connection::{Asked, Connections, Event, Progress, Turn, Waiting};
use crate::ports::{EphemeralPorts, Ports};
use crate::requests::Requests;
use crate::segment::{Kind, Segment};
use crate::slots::{ClientEnd, Slots};
use crate::stats::Outcome;
use crate::tcp::{MSS, State, Tcb, Verdict, WINDOW};
use crate::workload::Traffic;

/// When an application wants to be woken that waits for nothing.
const ASLEEP: Instant = Instant::from_nanos(u64::MAX);

/// The client ends of TCP connections.
#[derive(Debug)]
pub(crate) struct TcpClients {
    pub(crate) slots: Slots<Slot>,
    requests: Requests,
}

/// One client end. Vacant slots have a closed [`Tcb`] and an alarm that no timer matches.
#[derive(Debug, Default)]
pub(crate) struct Slot {
    tcb: Tcb,
    alarm: Alarm,
    /// While connecting, when the SYN was first sent; while a response is due, when the request was
    /// written; while a message is, since when; else when the application wants to be woken.
    mark: Instant,
    vm: u16,
    port: u16,
    destination: u16,
    phase: Phase,
}

const _: () = assert!(size_of::<Slot>() <= 56);

/// Where the conversation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Phase {
    #[default]
    Connecting,
    /// Open, nothing is asked.
    Idle,
    AwaitingResponse,
    /// Open, a message of the server is waited for.
    Listening,
    /// The application is through with it: abandoned, or closing.
    Done,
    /// In TIME_WAIT: counted as closed, keeps its port.
    Lingering,
}

impl ClientEnd for Slot {
    fn destination(&self) -> u16 {
        self.destination
    }

    fn alarm(&mut self) -> &mut Alarm {
        &mut self.alarm
    }
}

impl Slot {
    fn is_vacant(&self) -> bool {
        self.tcb.state() == State::Closed
    }
}

impl TcpClients {
    pub(crate) fn new(
        ports: &EphemeralPorts,
        addresses: &[Ipv4Addr],
        key: KeyedHash,
        targets: &[SocketAddrV4],
    ) -> Self {
        Self {
            slots: Slots::new(Ports::new(ports, addresses, key, targets)),
            requests: Requests::new(),
        }
    }

    pub(crate) const fn live(&self) -> usize {
        self.slots.len()
    }

    /// Visits the destinations of connections whose close is under way: their FIN is sent.
    pub(crate) fn closing(&self) -> impl Iterator<Item = u16> {
        let slots = self.slots.iter().filter(|(_, slot)| {
            let ending = [
                State::FinWait1,
                State::FinWait2,
                State::Closing,
                State::LastAck,
            ];
            slot.phase == Phase::Done && ending.contains(&slot.tcb.state())
        });
        slots.map(|(_, slot)| slot.destination)
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.slots.memory_bytes() + self.requests.memory_bytes()
    }

    /// Takes a segment (with its MSS option, and whether the NAT made it).
    pub(crate) fn on_segment(
        &mut self,
        position: u32,
        (segment, mss, is_idle_reset): (TcpSegment, Option<u16>, bool),
        turn: &mut Turn<'_, '_>,
    ) -> Option<Event> {
        let slot = self.slots.entry_mut(position);
        let parameters = &turn.traffic.parameters;
        let verdict = slot
            .tcb
            .on_segment(&segment, mss, turn.cx.now(), parameters);
        self.conclude(position, verdict, is_idle_reset, turn)
    }

    /// Takes an ICMP error that quotes a segment with this sequence number: it ends an attempt
    /// whose SYN it is about. To a connection it is a soft error, which changes nothing (RFC 5461).
    pub(crate) fn on_error(
        &mut self,
        position: u32,
        sequence: Option<u32>,
        turn: &mut Turn<'_, '_>,
    ) -> Option<Event> {
        let tcb = &self.slots.entry(position).tcb;
        if tcb.state() != State::SynSent || sequence != Some(tcb.unacknowledged()) {
            return None;
        }
        self.end(position, Outcome::Unreachable, turn)
    }

    /// Draws the consequences of a verdict.
    fn conclude(
        &mut self,
        position: u32,
        verdict: Verdict,
        is_idle_reset: bool,
        turn: &mut Turn<'_, '_>,
    ) -> Option<Event> {
        let outcome = match verdict {
            Verdict::Continue => return None,
            Verdict::Challenged => {
                turn.stats.challenge_acks += 1;
                return None;
            }
            Verdict::Answer(segment) => {
                let is_connecting = self.slots.entry(position).phase == Phase::Connecting;
                turn.stats.half_open_found += u64::from(is_connecting);
                self.send(position, &segment, turn);
                return None;
            }
            Verdict::Reset if is_idle_reset => Outcome::IdleExpired,
            Verdict::Reset => Outcome::Reset,
            Verdict::Refused => Outcome::Refused,
            Verdict::Closed => Outcome::Closed,
            Verdict::TimedOut(reset) => {
                if let Some(reset) = reset {
                    self.send(position, &reset, turn);
                }
                Outcome::TimedOut
            }
        };
        self.end(position, outcome, turn)
    }

    /// Counts a connection that ended, and forgets it; an event if its application is to know.
    fn end(&mut self, position: u32, outcome: Outcome, turn: &mut Turn<'_, '_>) -> Option<Event> {
        let slot = self.slots.entry(position);
        let event = match slot.phase {
            Phase::Connecting => {
                turn.could_not_connect(slot.destination, slot.mark, outcome);
                Some(Event::Failed(outcome))
            }
            Phase::Idle | Phase::Listening => {
                turn.ended_at_rest(outcome);
                Some(Event::Gone(outcome))
            }
            Phase::AwaitingResponse => {
                self.lost(position, outcome, turn);
                turn.stats.ended(outcome);
                Some(Event::Gone(outcome))
            }
            Phase::Done => {
                turn.stats.ended(outcome);
                None
            }
            Phase::Lingering => None,
        };
        let slot = self.slots.remove(position);
        self.slots
            .ports
            .release(slot.destination, slot.vm, slot.port);
        self.requests.forget(position);
        event
    }

    /// Counts the request on a connection as lost.
    fn lost(&self, position: u32, outcome: Outcome, turn: &mut Turn<'_, '_>) {
        let asked = self.asked(position, turn);
        turn.lost(&asked, self.slots.entry(position).mark, outcome);
    }

    fn asked(&self, position: u32, turn: &Turn<'_, '_>) -> Asked {
        self.requests.get(position, &turn.traffic.usual)
    }

    fn transmit(&mut self, position: u32, turn: &mut Turn<'_, '_>) {
        loop {
            let slot = self.slots.entry_mut(position);
            let parameters = &turn.traffic.parameters;
            let Some(segment) = slot.tcb.poll_transmit(turn.cx.now(), parameters) else {
                return;
            };
            match segment.kind {
                Kind::Plain => {}
                Kind::Retransmission if segment.flags.has(TcpFlags::SYN) => {
                    turn.stats.syn_retransmissions += 1;
                }
                Kind::Retransmission => turn.stats.retransmissions += 1,
                Kind::Probe => turn.stats.keepalive_probes += 1,
            }
            self.send(position, &segment, turn);
        }
    }

    fn send(&self, position: u32, segment: &Segment, turn: &mut Turn<'_, '_>) {
        let slot = self.slots.entry(position);
        let request = self.asked(position, turn).request;
        let start = slot.tcb.end().wrapping_sub(request.request);
        let is_first = segment.length > 0 && segment.sequence == start;
        let payload = is_first.then(|| request.to_payload(segment.length));
        let local = turn.group.socket(slot.vm, slot.port);
        let remote = turn.group.destination(slot.destination).socket;
        send(local, remote, segment, payload, turn.group.out, turn.cx);
    }

    /// Visits the connections that wait for a response or a message; `traffic` tells whose a destination is.
    pub(crate) fn waiting<'a>(
        &'a self,
        traffic: impl Fn(u16) -> &'a Traffic + 'a,
    ) -> impl Iterator<Item = Waiting<'a>> + 'a {
        self.slots.iter().filter_map(move |(position, slot)| {
            let traffic = traffic(slot.destination);
            let asked = match slot.phase {
                Phase::AwaitingResponse => Some(self.requests.get(position, &traffic.usual)),
                Phase::Listening => None,
                Phase::Connecting | Phase::Idle | Phase::Done | Phase::Lingering => return None,
            };
            (!slot.is_vacant()).then_some(Waiting {
                traffic,
                asked,
                since: slot.mark,
            })
        })
    }

    /// Returns when the application has something to hear, or the wait for it ends.
    fn due(&self, position: u32, turn: &Turn<'_, '_>) -> Option<Instant> {
        let slot = self.slots.entry(position);
        let limit = match slot.phase {
            Phase::Connecting => turn.traffic.connect_timeout,
            Phase::AwaitingResponse => self.asked(position, turn).timeout,
            Phase::Idle => return Some(slot.mark).filter(|&mark| mark != ASLEEP),
            Phase::Listening | Phase::Done | Phase::Lingering => None,
        };
        limit.map(|limit| slot.mark + limit)
    }
}

impl Connections for TcpClients {
    fn outlives_silence(&self) -> bool {
        // The late response would be taken for that to the next request.
        false
    }

    fn open(&mut self, from: Option<u16>, turn: &mut Turn<'_, '_>) -> Option<u32> {
        let destination = turn.choose();
        let Some((vm, port)) = self.slots.ports.take(destination, from) else {
            turn.lacked_port(destination);
            return None;
        };
        turn.started(destination);
        let now = turn.now();
        let isn = turn.group.isn((vm, port), destination, now);
        let slot = Slot {
            tcb: Tcb::connect(isn),
            alarm: Alarm::default(),
            mark: now,
            vm,
            port,
            destination,
            phase: Phase::Connecting,
        };
        let position = self.slots.insert(slot);
        self.slots.ports.assign(destination, vm, port, position);
        self.settle(position, turn);
        Some(position)
    }

    fn ask(&mut self, position: u32, asked: Asked, turn: &mut Turn<'_, '_>) {
        let slot = self.slots.entry_mut(position);
        slot.tcb.write(asked.request.request);
        let goal = slot.tcb.received().wrapping_add(asked.request.response);
        slot.tcb.expect_until(goal);
        slot.mark = turn.now();
        slot.phase = Phase::AwaitingResponse;
        self.requests.set(position, &asked, &turn.traffic.usual);
        turn.stats.asked();
        self.settle(position, turn);
    }

    fn listen(&mut self, position: u32, turn: &mut Turn<'_, '_>) {
        let length = self.asked(position, turn).request.response;
        let slot = self.slots.entry_mut(position);
        slot.tcb.expect_more(length);
        (slot.mark, slot.phase) = (turn.now(), Phase::Listening);
    }

    fn wake(&mut self, position: u32, at: Instant, turn: &mut Turn<'_, '_>) {
        self.slots.entry_mut(position).mark = at;
        self.settle(position, turn);
    }

    fn close(&mut self, position: u32, how: Close, turn: &mut Turn<'_, '_>) {
        if self.slots.entry(position).phase == Phase::AwaitingResponse {
            self.lost(position, Outcome::Closed, turn);
        }
        let slot = self.slots.entry_mut(position);
        slot.phase = Phase::Done;
        match how {
            // The server has closed, or will: the answer to its FIN is the own one.
            Close::Server => {}
            Close::Fin => slot.tcb.close(),
            Close::Abandon => slot.tcb.fall_silent(),
            Close::Rst => {
                // What is due leaves first, such as the ACK of the response.
                self.transmit(position, turn);
                let reset = self.slots.entry(position).tcb.abort();
                self.send(position, &reset, turn);
                self.end(position, Outcome::Closed, turn);
                return;
            }
        }
        self.settle(position, turn);
    }

    fn poll(&mut self, position: u32, turn: &mut Turn<'_, '_>) -> Option<Event> {
        let now = turn.now();
        let slot = self.slots.entry_mut(position);
        if slot.is_vacant() {
            return None;
        }
        let asleep = ASLEEP;
        match slot.phase {
            Phase::Connecting if slot.tcb.is_open() => {
                turn.stats.connected(now.since(slot.mark));
                (slot.phase, slot.mark) = (Phase::Idle, asleep);
                // The handshake's ACK leaves before the application gets to write.
                self.transmit(position, turn);
                return Some(Event::Opened);
            }
            Phase::AwaitingResponse if slot.tcb.is_satisfied() && slot.tcb.is_acknowledged() => {
                turn.stats.responded(now.since(slot.mark));
                (slot.phase, slot.mark) = (Phase::Idle, asleep);
                return Some(Event::Responded);
            }
            Phase::Listening if slot.tcb.is_satisfied() => {
                turn.stats.messages += 1;
                (slot.phase, slot.mark) = (Phase::Idle, asleep);
                return Some(Event::Message);
            }
            Phase::Idle | Phase::AwaitingResponse | Phase::Listening if slot.tcb.is_left() => {
                let was_asked = slot.phase == Phase::AwaitingResponse;
                slot.phase = Phase::Done;
                if was_asked {
                    self.lost(position, Outcome::Closed, turn);
                }
                return Some(Event::Gone(Outcome::Closed));
            }
            Phase::Done if slot.tcb.state() == State::TimeWait => {
                turn.stats.ended(Outcome::Closed);
                slot.phase = Phase::Lingering;
            }
            _ => {}
        }
        let phase = slot.phase;
        if self.due(position, turn).is_none_or(|due| due > now) {
            return None;
        }
        match phase {
            Phase::Connecting => self.end(position, Outcome::TimedOut, turn),
            Phase::AwaitingResponse => {
                self.lost(position, Outcome::TimedOut, turn);
                let slot = self.slots.entry_mut(position);
                (slot.phase, slot.mark) = (Phase::Idle, asleep);
                Some(Event::Unanswered)
            }
            Phase::Idle => {
                self.slots.entry_mut(position).mark = asleep;
                Some(Event::Woken)
            }
            Phase::Listening | Phase::Done | Phase::Lingering => None,
        }
    }

    fn progress(&mut self, position: u32) -> &mut Progress {
        self.slots.progress(position)
    }

    fn workload(&self, position: u32, group: &Group) -> usize {
        self.slots.workload(position, group)
    }

    fn lose(&mut self, position: u32, end: End, turn: &mut Turn<'_, '_>) -> Option<Event> {
        let slot = self.slots.entry(position);
        let is_open = !matches!(slot.phase, Phase::Connecting | Phase::Lingering);
        if end == End::Stop && is_open {
            let reset = slot.tcb.abort();
            self.send(position, &reset, turn);
        }
        self.end(position, Outcome::VmDown, turn)
    }

    fn expire(&mut self, position: u32, turn: &mut Turn<'_, '_>) -> Option<Event> {
        let now = turn.now();
        let tcb = &mut self.slots.entry_mut(position).tcb;
        if tcb.deadline().is_none_or(|at| at > now) {
            return None;
        }
        let verdict = tcb.on_timer(now, &turn.traffic.parameters);
        self.conclude(position, verdict, false, turn)
    }

    fn settle(&mut self, position: u32, turn: &mut Turn<'_, '_>) {
        if turn.followed == Some(position) || self.slots.entry(position).is_vacant() {
            return;
        }
        self.transmit(position, turn);
        let due = self.due(position, turn);
        let slot = self.slots.entry_mut(position);
        let deadline = match (slot.tcb.deadline(), due) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        // What is due now is done by the timer that is firing, or about to.
        let deadline = deadline.filter(|at| *at > turn.cx.now());
        slot.alarm.arm(deadline, tcp_token(position), turn.cx);
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
    let packet = cx.inject_tcp(&header, payload.unwrap_or(Payload::Zeros(length)));
    cx.send(out, packet);
}
