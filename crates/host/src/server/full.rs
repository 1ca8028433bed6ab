//! The connections of a backend VM that smoltcp keeps.

use std::net::{Ipv4Addr, SocketAddrV4};

use plsim_packet::{Packet, Payload, ProxyError, ProxyHeader, probe};
use plsim_sim::Context;
use plsim_table::FlowTable;
use plsim_types::{Protocol, TcpFlags, TcpSegment};

use super::late::Late;
use super::queues::Place;
use super::state::VmState;
use super::{Ended, FULL, ServerVm};
use crate::alarm::Alarm;
use crate::application::{Failure, Opening, Said};
use crate::client_tcp::send;
use crate::full::{Connection, FullStack, Stack, Turned};
use crate::request::Request;
use crate::segment::Kind;
use crate::tcp::{Tcb, Verdict};

/// The server ends that smoltcp keeps.
#[derive(Debug)]
pub(super) struct FullEnds {
    stack: Stack,
    slots: FlowTable<Slot>,
    /// How many there have been.
    count: u64,
}

/// One server end. Vacant slots have an alarm that no timer matches.
#[derive(Debug, Default)]
struct Slot {
    end: End,
    /// Tells this connection from others that had its place.
    number: u64,
    alarm: Alarm,
    remote: u32,
    remote_port: u16,
    local_port: u16,
    phase: Phase,
    is_greeted: bool,
    /// Bytes received that are counted.
    counted: u64,
}

#[derive(Debug, Default)]
enum End {
    #[default]
    Vacant,
    Open(Box<Connection>),
    /// In TIME_WAIT.
    Lingering(Tcb),
}

/// Where the conversation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Phase {
    #[default]
    Opening,
    /// Waits for a request.
    Idle,
    /// Waits for the rest of it.
    Reading(Request),
    /// The response is not due yet.
    Working(Request),
    /// This end has reset it.
    Aborted,
}

impl Slot {
    fn remote_socket(&self) -> SocketAddrV4 {
        SocketAddrV4::new(Ipv4Addr::from_bits(self.remote), self.remote_port)
    }

    fn open(&mut self) -> Option<&mut Connection> {
        match &mut self.end {
            End::Open(connection) => Some(connection),
            End::Vacant | End::Lingering(_) => None,
        }
    }
}

impl FullEnds {
    pub(super) fn new(config: FullStack, seed: u64) -> Self {
        Self {
            stack: Stack::new(config, seed),
            slots: FlowTable::new(),
            count: 0,
        }
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.slots.memory_bytes() + self.stack.memory_bytes()
    }

    fn find(&self, key: u64, remote: SocketAddrV4, local_port: u16) -> Option<u32> {
        self.slots.find(key, |slot| {
            slot.local_port == local_port && slot.remote_socket() == remote
        })
    }

    fn slot(&mut self, position: u32) -> &mut Slot {
        self.slots.entry_mut(position)
    }

    fn connection(&mut self, position: u32) -> &mut Connection {
        self.both(position).1
    }

    /// Returns the stack and an open connection.
    fn both(&mut self, position: u32) -> (&mut Stack, &mut Connection) {
        let connection = self.slots.entry_mut(position).open();
        let connection = connection.expect("broken invariant: the connection is open");
        (&mut self.stack, connection)
    }

    /// Tells whether a connection is still the one that an answer is for.
    fn is_still(&self, position: u32, number: u64) -> bool {
        let slot = self.slots.entry(position);
        matches!(slot.end, End::Open(_)) && slot.number == number
    }
}

impl ServerVm {
    /// Tells whether smoltcp keeps the connections with a peer; health probes stay with the light
    /// endpoint.
    pub(super) fn is_full(&self, remote: SocketAddrV4) -> bool {
        self.full.is_some() && *remote.ip() != probe::SOURCE
    }

    fn ends(&mut self) -> &mut FullEnds {
        self.full
            .as_mut()
            .expect("broken invariant: the VM has a full stack")
    }

    /// Takes a segment of a peer.
    pub(super) fn on_full(
        &mut self,
        packet: Box<Packet>,
        segment: &TcpSegment,
        cx: &mut Context<'_>,
    ) {
        let (local_port, remote) = (packet.destination().port(), packet.source());
        let key = self.key(remote, local_port);
        let listens = segment.flags.opens() && self.listens(Protocol::Tcp, local_port);
        let mut found = self.ends().find(key, remote, local_port);
        let (mut is_established, mut is_over) = (false, false);
        if let Some(position) = found {
            match &self.ends().slot(position).end {
                End::Open(connection) => {
                    let flags = segment.flags;
                    is_established = flags.has(TcpFlags::ACK)
                        && !flags.has(TcpFlags::SYN)
                        && !flags.has(TcpFlags::RST)
                        && connection.is_opened_by(segment.acknowledgement);
                }
                End::Lingering(tcb) => is_over = listens && tcb.yields_to(segment),
                End::Vacant => {}
            }
        }
        let opens = listens && (found.is_none() || is_over);
        if let Some(reason) = self.queue_refusal(opens, is_established, local_port) {
            return self.overflow(packet, reason, cx);
        }
        if let (Some(position), true) = (found, is_over) {
            self.end_full(position, Ended::Closed);
            found = None;
        }
        let position = match found {
            Some(position) => position,
            None if opens => self.listen(key, remote, local_port, cx),
            None => {
                cx.deliver(packet);
                return self.answer_stranger(remote, local_port, segment, cx);
            }
        };
        let parameters = self.parameters;
        if let End::Lingering(tcb) = &mut self.ends().slot(position).end {
            let verdict = tcb.on_segment(segment, None, cx.now(), &parameters);
            cx.deliver(packet);
            return self.linger(position, verdict, cx);
        }
        let (stack, connection) = self.ends().both(position);
        let turned = stack.take(connection, (&*packet, segment), cx.now());
        cx.deliver(packet);
        self.send_full(cx);
        self.count(position);
        if self.conclude_full(position, turned, cx) {
            self.turn(position, cx);
        }
    }

    fn listen(
        &mut self,
        key: u64,
        remote: SocketAddrV4,
        local_port: u16,
        cx: &mut Context<'_>,
    ) -> u32 {
        let local = self.local(remote, local_port);
        self.stats.half_open += 1;
        self.queues.begin(local_port);
        let parameters = self.parameters;
        let ends = self.ends();
        ends.count += 1;
        let connection = ends.stack.listen(local, remote, &parameters, cx.now());
        let slot = Slot {
            end: End::Open(connection),
            number: ends.count,
            remote: remote.ip().to_bits(),
            remote_port: remote.port(),
            local_port,
            ..Slot::default()
        };
        ends.slots.insert(key, slot)
    }

    /// Lets the application do what it has to on an open connection, and sends what comes of it.
    pub(super) fn turn(&mut self, position: u32, cx: &mut Context<'_>) {
        while self.serve(position, cx) {
            self.count(position);
        }
        let local = self.local_end(position);
        let (stack, connection) = self.ends().both(position);
        let turned = stack.turn(connection, local, cx.now());
        let deadline = connection.deadline();
        self.send_full(cx);
        if self.conclude_full(position, turned, cx) {
            let alarm = &mut self.ends().slot(position).alarm;
            alarm.arm(deadline, FULL + u64::from(position), cx);
        }
    }

    fn local_end(&mut self, position: u32) -> SocketAddrV4 {
        let slot = self.ends().slot(position);
        let (remote, local_port) = (slot.remote_socket(), slot.local_port);
        self.local(remote, local_port)
    }

    fn send_full(&mut self, cx: &mut Context<'_>) {
        let out = self.out;
        while let Some((packet, kind)) = self.ends().stack.poll_sent() {
            self.stats.retransmissions += u64::from(kind == Kind::Retransmission);
            let packet = cx.inject(packet);
            cx.send(out, packet);
        }
    }

    /// Counts what has come.
    fn count(&mut self, position: u32) {
        let slot = self.ends().slot(position);
        let (local_port, counted, phase) = (slot.local_port, slot.counted, slot.phase);
        let connection = self.ends().connection(position);
        let (received, was_open) = (connection.received(), connection.was_open());
        let slot = self.ends().slot(position);
        slot.counted = received;
        let opens = phase == Phase::Opening && was_open;
        if opens {
            slot.phase = Phase::Idle;
        }
        self.stats.request_bytes += received - counted;
        if opens {
            self.count_open(Place::Full(position), local_port);
        }
    }

    /// Draws the consequences of a turn; true if the connection is still open.
    fn conclude_full(&mut self, position: u32, turned: Turned, cx: &mut Context<'_>) -> bool {
        let was_aborted = self.ends().slot(position).phase == Phase::Aborted;
        let ended = match turned {
            Turned::Goes => return true,
            Turned::Lingers => {
                self.begin_to_linger(position, cx);
                return false;
            }
            Turned::Gone if was_aborted => Ended::Aborted,
            Turned::Gone => Ended::Closed,
            Turned::Reset | Turned::Refused => Ended::Reset,
            Turned::TimedOut => Ended::TimedOut,
        };
        self.end_full(position, ended);
        false
    }

    /// Enters TIME_WAIT: smoltcp gets its buffers back.
    fn begin_to_linger(&mut self, position: u32, cx: &mut Context<'_>) {
        let parameters = self.parameters;
        let ends = self.ends();
        let remains = ends.connection(position).remains(cx.now(), &parameters);
        let slot = ends.slot(position);
        let local_port = slot.local_port;
        if let End::Open(connection) = std::mem::replace(&mut slot.end, End::Lingering(remains)) {
            ends.stack.recycle(connection);
        }
        self.count_linger(Place::Full(position), local_port);
        self.linger(position, Verdict::Continue, cx);
    }

    /// Draws the consequences of what happened in TIME_WAIT.
    fn linger(&mut self, position: u32, verdict: Verdict, cx: &mut Context<'_>) {
        match verdict {
            Verdict::Challenged => self.stats.challenge_acks += 1,
            Verdict::Reset | Verdict::Closed => return self.end_full(position, Ended::Closed),
            _ => {}
        }
        let (local, out, parameters) = (self.local_end(position), self.out, self.parameters);
        let slot = self.ends().slot(position);
        let remote = slot.remote_socket();
        let End::Lingering(tcb) = &mut slot.end else {
            return;
        };
        while let Some(segment) = tcb.poll_transmit(cx.now(), &parameters) {
            send(local, remote, &segment, None, out, cx);
        }
        slot.alarm
            .arm(tcb.deadline(), FULL + u64::from(position), cx);
    }

    /// Does what the application has to do next; false if that is nothing.
    fn serve(&mut self, position: u32, cx: &mut Context<'_>) -> bool {
        let slot = self.ends().slot(position);
        let (phase, local_port) = (slot.phase, slot.local_port);
        if self.queues.waits(local_port, Place::Full(position)) {
            return false;
        }
        let connection = self.ends().connection(position);
        let has_input = !connection.inbox().is_empty() && !connection.is_closing();
        if phase == Phase::Idle && has_input && self.read(position) {
            return true;
        }
        let connection = self.ends().connection(position);
        match phase {
            Phase::Reading(request) if connection.is_skipped() => {
                let delay = self.behaviour.response_delay + request.extra.service_time;
                if delay.is_zero() {
                    self.answer(position, &request, cx);
                    return true;
                }
                let slot = self.ends().slot(position);
                slot.phase = Phase::Working(request);
                let number = slot.number;
                self.delay(delay, Late::Full { position, number }, cx);
                // The peer may have closed by now.
                true
            }
            // Applications here close when the peer does; what they work on is void.
            Phase::Idle | Phase::Reading(_) | Phase::Working(_)
                if connection.is_closed_by_peer() && !connection.is_closing() =>
            {
                connection.ignore();
                connection.close();
                self.ends().slot(position).phase = Phase::Idle;
                true
            }
            _ => false,
        }
    }

    /// Reads what has come first; true if that leads to something.
    fn read(&mut self, position: u32) -> bool {
        let application = self.application;
        let is_greeted = self.ends().slot(position).is_greeted;
        let connection = self.ends().connection(position);
        let header = ProxyHeader::parse(connection.inbox());
        let length = connection.inbox().len();
        let bytes = Payload::Bytes(connection.inbox().into());
        let failure = match application.open(&bytes, 0, is_greeted) {
            Ok(Opening {
                header,
                said: Some(Said::Request(request)),
            }) => {
                connection.skip(header);
                connection.skip(request.request);
                let slot = self.ends().slot(position);
                slot.is_greeted |= header > 0;
                slot.phase = Phase::Reading(request);
                self.stats.request_bytes -= u64::from(header);
                return true;
            }
            Ok(Opening { header, said: None }) => {
                connection.skip(header);
                self.ends().slot(position).is_greeted = true;
                self.stats.request_bytes -= u64::from(header);
                return true;
            }
            // Nobody but the prober probes.
            Ok(_) => Failure::Unreadable,
            Err(failure) => failure,
        };
        // A stream comes in pieces.
        let head = header.map_or(0, |(_, length)| length) + Request::EXTENDED_LENGTH as usize;
        let is_part = header == Err(ProxyError::Partial) || length < head;
        if failure == Failure::Unreadable && is_part {
            return false;
        }
        self.count_failure(failure);
        self.abort_full(position);
        true
    }

    /// Writes the response to a request.
    fn answer(&mut self, position: u32, request: &Request, cx: &mut Context<'_>) {
        let slot = self.ends().slot(position);
        slot.phase = Phase::Idle;
        let number = slot.number;
        let connection = self.ends().connection(position);
        connection.write(Box::new([]), request.response);
        if request.extra.closes {
            connection.close();
        }
        self.stats.requests += 1;
        if let Some(subject) = request.extra.subject {
            let length = request.response;
            let late = Late::FullMessage {
                position,
                number,
                subject,
                length,
            };
            self.publish(subject, late, cx);
        }
    }

    /// Lets a response go that was due later.
    pub(super) fn answer_full(&mut self, position: u32, number: u64, cx: &mut Context<'_>) {
        if !self.ends().is_still(position, number) {
            return;
        }
        if let Phase::Working(request) = self.ends().slot(position).phase {
            self.answer(position, &request, cx);
            self.turn(position, cx);
        }
    }

    /// Sends a subscriber news.
    pub(super) fn publish_full(
        &mut self,
        (position, number): (u32, u64),
        (subject, length): (u16, u32),
        cx: &mut Context<'_>,
    ) {
        let ends = self.ends();
        if !ends.is_still(position, number) || ends.connection(position).is_closing() {
            return;
        }
        ends.connection(position).write(Box::new([]), length);
        self.stats.messages += 1;
        let late = Late::FullMessage {
            position,
            number,
            subject,
            length,
        };
        self.publish(subject, late, cx);
        self.turn(position, cx);
    }

    /// Does what is due on a connection now.
    pub(super) fn on_full_timer(&mut self, position: u32, cx: &mut Context<'_>) {
        let parameters = self.parameters;
        let local = self.local_end(position);
        let slot = self.ends().slot(position);
        if !slot.alarm.fired(cx.now()) {
            return;
        }
        match &mut slot.end {
            End::Vacant => {}
            End::Lingering(tcb) => {
                let is_due = tcb.deadline().is_some_and(|at| at <= cx.now());
                let verdict = match is_due {
                    true => tcb.on_timer(cx.now(), &parameters),
                    false => Verdict::Continue,
                };
                self.linger(position, verdict, cx);
            }
            End::Open(_) => {
                let (stack, connection) = self.ends().both(position);
                let turned = stack.expire(connection, local, cx.now());
                self.send_full(cx);
                if self.conclude_full(position, turned, cx) {
                    self.turn(position, cx);
                }
            }
        }
    }

    /// Ends all connections: with resets, unless the VM crashes.
    pub(super) fn end_all_full(&mut self, state: VmState, cx: &mut Context<'_>) {
        if self.full.is_none() {
            return;
        }
        for position in 0..self.ends().slots.positions() {
            let slot = self.ends().slot(position);
            match &slot.end {
                End::Vacant => continue,
                End::Lingering(_) => self.end_full(position, Ended::Aborted),
                End::Open(connection) => {
                    self.stats.lost += u64::from(connection.was_open());
                    if state == VmState::Crashed {
                        self.end_full(position, Ended::Aborted);
                    } else {
                        self.abort_full(position);
                        self.turn(position, cx);
                    }
                }
            }
        }
    }

    fn abort_full(&mut self, position: u32) {
        let slot = self.ends().slot(position);
        slot.phase = Phase::Aborted;
        self.ends().connection(position).abort();
    }

    fn end_full(&mut self, position: u32, ended: Ended) {
        let slot = self.ends().slot(position);
        let (remote, local_port) = (slot.remote_socket(), slot.local_port);
        let key = self.key(remote, local_port);
        let ends = self.ends();
        let slot = ends.slots.remove(key, position);
        let End::Open(connection) = slot.end else {
            self.stats.time_wait -= 1;
            return;
        };
        // What is counted as open is known to the queues, too.
        let was_open = slot.phase != Phase::Opening && connection.was_open();
        ends.stack.recycle(connection);
        self.count_end(Place::Full(position), local_port, was_open, ended);
    }
}
