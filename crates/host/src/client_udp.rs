use std::net::{Ipv4Addr, SocketAddrV4};

use plsim_packet::{Packet, Payload};
use plsim_types::{Instant, KeyedHash};

use crate::alarm::Alarm;
use crate::client::state::End;
use crate::client::{Group, udp_token};
use crate::config::Close;
use crate::connection::{Asked, Connections, Event, Progress, Turn};
use crate::ports::{EphemeralPorts, Ports};
use crate::request_id::RequestId;
use crate::requests::Requests;
use crate::slots::{ClientEnd, Slots};
use crate::stats::Outcome;

/// The client ends of UDP flows.
#[derive(Debug)]
pub(crate) struct UdpClients {
    pub(crate) slots: Slots<Slot>,
    requests: Requests,
}

/// One client end. Vacant slots have an alarm that no timer matches.
#[derive(Debug, Default)]
pub(crate) struct Slot {
    alarm: Alarm,
    /// While a response is due, when the request was sent; else when the application wants to be
    /// woken.
    mark: Instant,
    /// Bytes of the response still to come.
    missing: u32,
    vm: u16,
    port: u16,
    destination: u16,
    phase: Phase,
    /// Whether a response ever came.
    is_established: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Phase {
    #[default]
    Vacant,
    /// The application does not know of it yet.
    Opening,
    AwaitingResponse,
    /// The response is here, but the application has not heard.
    Answered,
    /// Nothing is due.
    Idle,
    /// The latest request stays without a response.
    Unanswered,
}

const ASLEEP: Instant = Instant::from_nanos(u64::MAX);

impl ClientEnd for Slot {
    fn destination(&self) -> u16 {
        self.destination
    }

    fn alarm(&mut self) -> &mut Alarm {
        &mut self.alarm
    }
}

impl UdpClients {
    pub(crate) fn new(
        ports: &EphemeralPorts,
        addresses: &[Ipv4Addr],
        key: KeyedHash,
        targets: &[SocketAddrV4],
    ) -> Self {
        let ports = EphemeralPorts {
            shared: false,
            ..ports.clone()
        };
        Self {
            slots: Slots::new(Ports::new(&ports, addresses, key, targets)),
            requests: Requests::new(),
        }
    }

    pub(crate) const fn live(&self) -> usize {
        self.slots.len()
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.slots.memory_bytes() + self.requests.memory_bytes()
    }

    /// Tells whether a datagram belongs to the latest request: the answer to one that was given up may
    /// still come.
    pub(crate) fn expects(&self, position: u32, payload: &Payload) -> bool {
        let slot = self.slots.entry(position);
        slot.phase == Phase::AwaitingResponse && RequestId::at(slot.mark).is_of(payload)
    }

    /// Takes a datagram of the server, and whether it was expected.
    pub(crate) fn on_datagram(
        &mut self,
        position: u32,
        (length, is_expected): (u32, bool),
        turn: &mut Turn<'_, '_>,
    ) {
        let slot = self.slots.entry_mut(position);
        if !turn.traffic.usual.is_awaited {
            turn.stats.stream.echoed += 1;
            return;
        }
        if !is_expected {
            // Late, a duplicate, or part of an answer that is complete.
            return;
        }
        slot.missing = slot.missing.saturating_sub(length);
        if slot.missing == 0 {
            slot.phase = Phase::Answered;
        }
    }

    /// Takes an ICMP error that an application would see: an answer that is due will not come.
    pub(crate) fn on_error(&mut self, position: u32, turn: &mut Turn<'_, '_>) -> Option<Event> {
        let slot = self.slots.entry(position);
        if slot.phase != Phase::AwaitingResponse {
            return None;
        }
        let waited = turn.cx.now().since(slot.mark);
        turn.stats.lost(Outcome::Unreachable, waited);
        self.forget(position, Outcome::Unreachable, turn);
        Some(Event::Gone(Outcome::Unreachable))
    }

    fn asked(&self, position: u32, turn: &Turn<'_, '_>) -> Asked {
        self.requests.get(position, &turn.traffic.usual)
    }

    /// Returns when the application has something to hear, or the wait for it ends.
    fn due(&self, position: u32, turn: &Turn<'_, '_>) -> Option<Instant> {
        let slot = self.slots.entry(position);
        match slot.phase {
            Phase::AwaitingResponse => {
                let limit = self.asked(position, turn).timeout;
                limit.map(|limit| slot.mark + limit)
            }
            Phase::Idle => Some(slot.mark).filter(|mark| *mark != ASLEEP),
            Phase::Vacant | Phase::Opening | Phase::Answered | Phase::Unanswered => None,
        }
    }

    fn forget(&mut self, position: u32, outcome: Outcome, turn: &mut Turn<'_, '_>) {
        let slot = self.slots.entry(position);
        if slot.is_established {
            turn.stats.ended(outcome);
        } else {
            turn.failed(slot.destination, outcome);
        }
        let slot = self.slots.remove(position);
        self.slots
            .ports
            .release(slot.destination, slot.vm, slot.port);
        self.requests.forget(position);
    }
}

impl Connections for UdpClients {
    fn outlives_silence(&self) -> bool {
        true
    }

    fn open(&mut self, from: Option<u16>, turn: &mut Turn<'_, '_>) -> Option<u32> {
        let destination = turn.choose();
        let Some((vm, port)) = self.slots.ports.take(destination, from) else {
            turn.lacked_port(destination);
            return None;
        };
        turn.started(destination);
        let slot = Slot {
            mark: ASLEEP,
            vm,
            port,
            destination,
            phase: Phase::Opening,
            ..Slot::default()
        };
        let position = self.slots.insert(slot);
        self.slots.ports.assign(destination, vm, port, position);
        Some(position)
    }

    fn ask(&mut self, position: u32, asked: Asked, turn: &mut Turn<'_, '_>) {
        let slot = self.slots.entry_mut(position);
        let id = if asked.is_awaited {
            slot.mark = turn.now();
            slot.missing = asked.request.response;
            slot.phase = Phase::AwaitingResponse;
            turn.stats.asked();
            RequestId::at(slot.mark)
        } else {
            turn.stats.stream.sent += 1;
            if !slot.is_established {
                slot.is_established = true;
                turn.stats.opened();
            }
            RequestId::NONE
        };
        let local = turn.group.socket(slot.vm, slot.port);
        self.requests.set(position, &asked, &turn.traffic.usual);
        let payload = asked.request.to_datagram(id);
        let remote = turn.group.destination(slot.destination).socket;
        let packet = Packet::udp(local, remote, payload);
        let packet = turn.cx.inject(packet);
        turn.cx.send(turn.group.out, packet);
        self.settle(position, turn);
    }

    fn listen(&mut self, _position: u32, _turn: &mut Turn<'_, '_>) {
        unreachable!("broken invariant: subscribers use TCP")
    }

    fn wake(&mut self, position: u32, at: Instant, turn: &mut Turn<'_, '_>) {
        self.slots.entry_mut(position).mark = at;
        self.settle(position, turn);
    }

    fn close(&mut self, position: u32, _how: Close, turn: &mut Turn<'_, '_>) {
        let slot = self.slots.entry(position);
        let outcome = match slot.phase {
            Phase::Unanswered => Outcome::TimedOut,
            _ => Outcome::Closed,
        };
        if matches!(slot.phase, Phase::AwaitingResponse | Phase::Answered) {
            let waited = turn.cx.now().since(slot.mark);
            turn.stats.lost(outcome, waited);
        }
        self.forget(position, outcome, turn);
    }

    fn poll(&mut self, position: u32, turn: &mut Turn<'_, '_>) -> Option<Event> {
        let now = turn.now();
        let is_due = self.due(position, turn).is_some_and(|due| due <= now);
        let slot = self.slots.entry_mut(position);
        let waited = now.since(slot.mark);
        let (phase, event) = match slot.phase {
            Phase::Opening => (Phase::Idle, Event::Opened),
            Phase::Answered => {
                turn.stats.responded(waited);
                if !slot.is_established {
                    turn.stats.connected(waited);
                    slot.is_established = true;
                }
                (Phase::Idle, Event::Responded)
            }
            Phase::AwaitingResponse if is_due => {
                turn.stats.lost(Outcome::TimedOut, waited);
                (Phase::Unanswered, Event::Unanswered)
            }
            Phase::Idle if is_due => (Phase::Idle, Event::Woken),
            _ => return None,
        };
        (slot.phase, slot.mark) = (phase, ASLEEP);
        Some(event)
    }

    fn progress(&mut self, position: u32) -> &mut Progress {
        self.slots.progress(position)
    }

    fn workload(&self, position: u32, group: &Group) -> usize {
        self.slots.workload(position, group)
    }

    fn lose(&mut self, position: u32, _end: End, turn: &mut Turn<'_, '_>) -> Option<Event> {
        let slot = self.slots.entry(position);
        if matches!(slot.phase, Phase::AwaitingResponse | Phase::Answered) {
            let waited = turn.cx.now().since(slot.mark);
            turn.stats.lost(Outcome::VmDown, waited);
        }
        self.forget(position, Outcome::VmDown, turn);
        Some(Event::Gone(Outcome::VmDown))
    }

    fn expire(&mut self, _position: u32, _turn: &mut Turn<'_, '_>) -> Option<Event> {
        None
    }

    fn settle(&mut self, position: u32, turn: &mut Turn<'_, '_>) {
        if turn.followed == Some(position) {
            return;
        }
        let due = self.due(position, turn);
        let alarm = &mut self.slots.entry_mut(position).alarm;
        alarm.arm(due, udp_token(position), turn.cx);
    }
}
