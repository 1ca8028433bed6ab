use std::net::{Ipv4Addr, SocketAddrV4};

use plsim_packet::{Packet, Payload};
use plsim_types::{Instant, KeyedHash, TcpFlags, TcpSegment};

use crate::alarm::Alarm;
use crate::client::state::End as VmEnd;
use crate::client::{Group, full_token};
use crate::client_tcp::send;
use crate::config::Close;
use crate::connection::{Asked, Connections, Event, Progress, Turn, Waiting};
use crate::full::{Connection, FullStack, Stack, Turned};
use crate::ports::{EphemeralPorts, Ports};
use crate::segment::Kind;
use crate::slots::{ClientEnd, Slots};
use crate::stats::Outcome;
use crate::tcp::{Tcb, Verdict};
use crate::workload::Traffic;

/// When an application wants to be woken that waits for nothing.
const ASLEEP: Instant = Instant::from_nanos(u64::MAX);

/// The client ends of TCP connections that smoltcp keeps.
#[derive(Debug)]
pub(crate) struct FullClients {
    stack: Stack,
    pub(crate) slots: Slots<Slot>,
}

/// One client end. Vacant slots have an alarm that no timer matches.
#[derive(Debug, Default)]
pub(crate) struct Slot {
    end: End,
    alarm: Alarm,
    /// As in the light end's slot.
    mark: Instant,
    /// The latest request.
    asked: Option<Asked>,
    vm: u16,
    port: u16,
    destination: u16,
    phase: Phase,
}

#[derive(Debug, Default)]
enum End {
    #[default]
    Vacant,
    Open(Box<Connection>),
    /// In TIME_WAIT: counted as closed, keeps its port.
    Lingering(Tcb),
}

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
    /// The application is through with it.
    Done,
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
    fn connection(&mut self) -> Option<&mut Connection> {
        match &mut self.end {
            End::Open(connection) => Some(connection),
            End::Vacant | End::Lingering(_) => None,
        }
    }

    /// Counts the request on it as lost, if a response is due.
    fn lost(&self, outcome: Outcome, turn: &mut Turn<'_, '_>) {
        if let (Phase::AwaitingResponse, Some(asked)) = (self.phase, &self.asked) {
            turn.lost(asked, self.mark, outcome);
        }
    }

    fn open(&mut self) -> &mut Connection {
        self.connection()
            .expect("broken invariant: the application works with an open connection")
    }
}

impl FullClients {
    pub(crate) fn new(
        (config, seed): (FullStack, u64),
        ports: &EphemeralPorts,
        addresses: &[Ipv4Addr],
        key: KeyedHash,
        targets: &[SocketAddrV4],
    ) -> Self {
        Self {
            stack: Stack::new(config, seed),
            slots: Slots::new(Ports::new(ports, addresses, key, targets)),
        }
    }

    pub(crate) const fn live(&self) -> usize {
        self.slots.len()
    }

    /// Visits the destinations of connections whose close is under way.
    pub(crate) fn closing(&self) -> impl Iterator<Item = u16> {
        let slots = self.slots.iter().filter(|(_, slot)| match &slot.end {
            End::Open(connection) => slot.phase == Phase::Done && connection.is_closing(),
            End::Vacant | End::Lingering(_) => false,
        });
        slots.map(|(_, slot)| slot.destination)
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.slots.memory_bytes() + self.stack.memory_bytes()
    }

    /// Has the stack take a packet, which [`on_segment`](Self::on_segment) then draws the consequences of.
    pub(crate) fn take(
        &mut self,
        position: u32,
        packet: (&Packet, &TcpSegment),
        now: Instant,
    ) -> Turned {
        match &mut self.slots.entry_mut(position).end {
            End::Open(connection) => self.stack.take(connection, packet, now),
            End::Vacant | End::Lingering(_) => Turned::Goes,
        }
    }

    /// Takes the segment of a packet (and whether an idle timer made it).
    pub(crate) fn on_segment(
        &mut self,
        position: u32,
        (segment, turned, is_idle_reset): (TcpSegment, Turned, bool),
        turn: &mut Turn<'_, '_>,
    ) -> Option<Event> {
        self.send(turn);
        if self.finds_half_open(position, &segment) {
            turn.stats.half_open_found += 1;
        }
        if let End::Lingering(tcb) = &mut self.slots.entry_mut(position).end {
            let parameters = &turn.traffic.parameters;
            let verdict = tcb.on_segment(&segment, None, turn.cx.now(), parameters);
            return self.linger(position, verdict, turn);
        }
        self.conclude(position, turned, is_idle_reset, turn)
    }

    /// Tells whether a segment shows that the server has an old connection with these addresses and ports.
    fn finds_half_open(&mut self, position: u32, segment: &TcpSegment) -> bool {
        let connection = self.slots.entry_mut(position).connection();
        let syn = connection.and_then(|connection| connection.unanswered_syn());
        syn.is_some_and(|syn| {
            let is_answer = segment.acknowledgement == syn.wrapping_add(1);
            segment.flags.has(TcpFlags::ACK) && !segment.flags.has(TcpFlags::RST) && !is_answer
        })
    }

    /// Takes an ICMP error that quotes a segment with this sequence number, as the light end does.
    pub(crate) fn on_error(
        &mut self,
        position: u32,
        sequence: Option<u32>,
        turn: &mut Turn<'_, '_>,
    ) -> Option<Event> {
        let connection = self.slots.entry_mut(position).connection()?;
        let syn = connection.unanswered_syn()?;
        if sequence != Some(syn) {
            return None;
        }
        self.end(position, Outcome::Unreachable, turn)
    }

    /// Lets the stack work on an open connection, and sends what it has to say.
    fn turn(&mut self, position: u32, turn: &mut Turn<'_, '_>) -> Turned {
        let slot = self.slots.entry_mut(position);
        let local = turn.group.socket(slot.vm, slot.port);
        let turned = self.stack.turn(slot.open(), local, turn.cx.now());
        self.send(turn);
        turned
    }

    fn send(&mut self, turn: &mut Turn<'_, '_>) {
        while let Some((packet, kind)) = self.stack.poll_sent() {
            match kind {
                Kind::Plain => {}
                Kind::Retransmission if opens(&packet) => turn.stats.syn_retransmissions += 1,
                Kind::Retransmission => turn.stats.retransmissions += 1,
                Kind::Probe => turn.stats.keepalive_probes += 1,
            }
            let packet = turn.cx.inject(packet);
            turn.cx.send(turn.group.out, packet);
        }
    }

    /// Draws the consequences of a turn.
    fn conclude(
        &mut self,
        position: u32,
        turned: Turned,
        is_idle_reset: bool,
        turn: &mut Turn<'_, '_>,
    ) -> Option<Event> {
        let outcome = match turned {
            Turned::Goes => return None,
            Turned::Lingers => {
                self.begin_to_linger(position, turn);
                return None;
            }
            Turned::Refused => Outcome::Refused,
            Turned::Reset if is_idle_reset => Outcome::IdleExpired,
            Turned::Reset => Outcome::Reset,
            Turned::TimedOut => Outcome::TimedOut,
            Turned::Gone => Outcome::Closed,
        };
        self.end(position, outcome, turn)
    }

    /// Enters TIME_WAIT: smoltcp gets its buffers back.
    fn begin_to_linger(&mut self, position: u32, turn: &mut Turn<'_, '_>) {
        let now = turn.now();
        let slot = self.slots.entry_mut(position);
        let remains = slot.open().remains(now, &turn.traffic.parameters);
        if let End::Open(connection) = std::mem::replace(&mut slot.end, End::Lingering(remains)) {
            self.stack.recycle(connection);
        }
        turn.stats.ended(Outcome::Closed);
    }

    /// Draws the consequences of what happened in TIME_WAIT.
    fn linger(
        &mut self,
        position: u32,
        verdict: Verdict,
        turn: &mut Turn<'_, '_>,
    ) -> Option<Event> {
        match verdict {
            Verdict::Challenged => turn.stats.challenge_acks += 1,
            Verdict::Reset | Verdict::Closed => return self.end(position, Outcome::Closed, turn),
            _ => {}
        }
        None
    }

    /// Counts a connection that ended, and forgets it; an event if its application is to know.
    fn end(&mut self, position: u32, outcome: Outcome, turn: &mut Turn<'_, '_>) -> Option<Event> {
        let mut slot = self.slots.remove(position);
        self.slots
            .ports
            .release(slot.destination, slot.vm, slot.port);
        let End::Open(connection) = std::mem::take(&mut slot.end) else {
            return None;
        };
        self.stack.recycle(connection);
        match slot.phase {
            Phase::Connecting => {
                turn.could_not_connect(slot.destination, slot.mark, outcome);
                return Some(Event::Failed(outcome));
            }
            Phase::Idle | Phase::Listening => turn.ended_at_rest(outcome),
            Phase::AwaitingResponse | Phase::Done => {
                slot.lost(outcome, turn);
                turn.stats.ended(outcome);
            }
        }
        (slot.phase != Phase::Done).then_some(Event::Gone(outcome))
    }

    /// Visits the connections that wait, as the light ends' owner does.
    pub(crate) fn waiting<'a>(
        &'a self,
        traffic: impl Fn(u16) -> &'a Traffic + 'a,
    ) -> impl Iterator<Item = Waiting<'a>> + 'a {
        self.slots.iter().filter_map(move |(_, slot)| {
            let asked = match slot.phase {
                Phase::AwaitingResponse => slot.asked,
                Phase::Listening => None,
                Phase::Connecting | Phase::Idle | Phase::Done => return None,
            };
            matches!(slot.end, End::Open(_)).then_some(Waiting {
                traffic: traffic(slot.destination),
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
            Phase::AwaitingResponse => slot.asked.and_then(|asked| asked.timeout),
            Phase::Idle => return Some(slot.mark).filter(|&mark| mark != ASLEEP),
            Phase::Listening | Phase::Done => None,
        };
        limit.map(|limit| slot.mark + limit)
    }
}

impl Connections for FullClients {
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
        let local = turn.group.socket(vm, port);
        let remote = turn.group.destination(destination).socket;
        let parameters = &turn.traffic.parameters;
        let connection = self.stack.connect(local, remote, parameters, now);
        let slot = Slot {
            end: End::Open(connection),
            mark: now,
            vm,
            port,
            destination,
            ..Slot::default()
        };
        let position = self.slots.insert(slot);
        self.slots.ports.assign(destination, vm, port, position);
        self.settle(position, turn);
        Some(position)
    }

    fn ask(&mut self, position: u32, asked: Asked, turn: &mut Turn<'_, '_>) {
        let now = turn.now();
        let slot = self.slots.entry_mut(position);
        let request = asked.request;
        let head = request.head_length();
        let Payload::Bytes(bytes) = request.to_payload(head as u16) else {
            unreachable!("broken invariant: a head is not all zeros");
        };
        let connection = slot.open();
        connection.write(bytes, request.request - head);
        connection.skip(request.response);
        (slot.mark, slot.asked, slot.phase) = (now, Some(asked), Phase::AwaitingResponse);
        turn.stats.asked();
        self.settle(position, turn);
    }

    fn listen(&mut self, position: u32, turn: &mut Turn<'_, '_>) {
        let slot = self.slots.entry_mut(position);
        let length = slot.asked.map_or(0, |asked| asked.request.response);
        slot.open().skip(length);
        (slot.mark, slot.phase) = (turn.now(), Phase::Listening);
    }

    fn wake(&mut self, position: u32, at: Instant, turn: &mut Turn<'_, '_>) {
        self.slots.entry_mut(position).mark = at;
        self.settle(position, turn);
    }

    fn close(&mut self, position: u32, how: Close, turn: &mut Turn<'_, '_>) {
        let slot = self.slots.entry_mut(position);
        slot.lost(Outcome::Closed, turn);
        slot.phase = Phase::Done;
        let connection = slot.open();
        connection.ignore();
        match how {
            // The server has closed, or will: the answer to its FIN is the own one.
            Close::Server => {}
            Close::Fin => connection.close(),
            Close::Abandon => connection.fall_silent(),
            Close::Rst => {
                // What is due leaves first, such as the ACK of the response.
                self.turn(position, turn);
                self.slots.entry_mut(position).open().abort();
            }
        }
        self.settle(position, turn);
    }

    fn poll(&mut self, position: u32, turn: &mut Turn<'_, '_>) -> Option<Event> {
        let now = turn.now();
        let slot = self.slots.entry_mut(position);
        let (phase, mark) = (slot.phase, slot.mark);
        let connection = slot.connection()?;
        let is_whole = connection.is_skipped();
        let is_left = connection.is_closed_by_peer();
        let event = match phase {
            Phase::Connecting if connection.was_open() => {
                turn.stats.connected(now.since(mark));
                (slot.phase, slot.mark) = (Phase::Idle, ASLEEP);
                // The handshake's ACK leaves before the application gets to write.
                self.turn(position, turn);
                return Some(Event::Opened);
            }
            Phase::AwaitingResponse if is_whole && connection.is_acknowledged() => {
                turn.stats.responded(now.since(mark));
                Some(Event::Responded)
            }
            Phase::Listening if is_whole => {
                turn.stats.messages += 1;
                Some(Event::Message)
            }
            _ => None,
        };
        if event.is_some() {
            (slot.phase, slot.mark) = (Phase::Idle, ASLEEP);
            return event;
        }
        if is_left && phase != Phase::Connecting {
            connection.ignore();
            connection.close();
            slot.lost(Outcome::Closed, turn);
            slot.phase = Phase::Done;
            return (phase != Phase::Done).then_some(Event::Gone(Outcome::Closed));
        }
        if self.due(position, turn).is_none_or(|due| due > now) {
            return None;
        }
        match phase {
            Phase::Connecting => self.end(position, Outcome::TimedOut, turn),
            Phase::AwaitingResponse => {
                let slot = self.slots.entry_mut(position);
                slot.lost(Outcome::TimedOut, turn);
                (slot.phase, slot.mark) = (Phase::Idle, ASLEEP);
                Some(Event::Unanswered)
            }
            Phase::Idle => {
                self.slots.entry_mut(position).mark = ASLEEP;
                Some(Event::Woken)
            }
            Phase::Listening | Phase::Done => None,
        }
    }

    fn progress(&mut self, position: u32) -> &mut Progress {
        self.slots.progress(position)
    }

    fn workload(&self, position: u32, group: &Group) -> usize {
        self.slots.workload(position, group)
    }

    fn lose(&mut self, position: u32, end: VmEnd, turn: &mut Turn<'_, '_>) -> Option<Event> {
        let slot = self.slots.entry_mut(position);
        let was_open = slot.phase != Phase::Connecting;
        if end == VmEnd::Stop
            && was_open
            && let Some(connection) = slot.connection()
        {
            connection.abort();
            self.turn(position, turn);
        }
        self.end(position, Outcome::VmDown, turn)
    }

    fn expire(&mut self, position: u32, turn: &mut Turn<'_, '_>) -> Option<Event> {
        let now = turn.now();
        let slot = self.slots.entry_mut(position);
        let local = turn.group.socket(slot.vm, slot.port);
        let turned = match &mut slot.end {
            End::Vacant => return None,
            End::Open(connection) => self.stack.expire(connection, local, now),
            End::Lingering(tcb) => {
                if tcb.deadline().is_none_or(|at| at > now) {
                    return None;
                }
                let verdict = tcb.on_timer(now, &turn.traffic.parameters);
                return self.linger(position, verdict, turn);
            }
        };
        self.send(turn);
        self.conclude(position, turned, false, turn)
    }

    fn settle(&mut self, position: u32, turn: &mut Turn<'_, '_>) {
        if turn.followed == Some(position) {
            return;
        }
        if matches!(self.slots.entry(position).end, End::Open(_)) {
            let turned = self.turn(position, turn);
            // The application has ended it itself, so there is nothing to tell it.
            self.conclude(position, turned, false, turn);
        }
        let now = turn.now();
        let due = self.due(position, turn);
        let slot = self.slots.entry_mut(position);
        let own = match &mut slot.end {
            End::Vacant => return,
            End::Open(connection) => connection.deadline(),
            End::Lingering(tcb) => {
                let source = turn.group.socket(slot.vm, slot.port);
                let target = turn.group.destination(slot.destination).socket;
                while let Some(segment) = tcb.poll_transmit(now, &turn.traffic.parameters) {
                    send(source, target, &segment, None, turn.group.out, turn.cx);
                }
                tcb.deadline()
            }
        };
        let deadline = [own, due].into_iter().flatten().min();
        // What is due now is done by the timer that is firing, or about to.
        let deadline = deadline.filter(|at| *at > now);
        slot.alarm.arm(deadline, full_token(position), turn.cx);
    }
}

/// Tells whether a packet is a SYN.
fn opens(packet: &Packet) -> bool {
    let segment = packet.tcp_segment();
    segment.is_some_and(|segment| segment.flags.has(TcpFlags::SYN))
}
