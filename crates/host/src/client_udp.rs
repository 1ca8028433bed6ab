use std::net::{Ipv4Addr, SocketAddrV4};

use plsim_packet::Packet;
use plsim_sim::Context;
use plsim_table::FlowTable;
use plsim_types::{Instant, KeyedHash};

use crate::alarm::Alarm;
use crate::client::{Group, Workload, udp_token};
use crate::config::{MAX_DATAGRAM, UdpSession, WorkloadConfig, WorkloadKind, draw_span};
use crate::ports::{EphemeralPorts, Ports};
use crate::request::Request;
use crate::stats::{Outcome, WorkloadStats};

/// The client ends of UDP flows.
#[derive(Debug)]
pub(crate) struct UdpClients {
    slots: FlowTable<Slot>,
    ports: Ports,
}

/// One client end. Vacant slots have an alarm that no timer matches.
#[derive(Debug, Default)]
struct Slot {
    alarm: Alarm,
    /// When the latest request was sent.
    sent: Instant,
    /// When the flow ends, once established.
    end: Instant,
    /// Bytes of the response still to come.
    missing: u32,
    vm: u16,
    port: u16,
    workload: u16,
    phase: Phase,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Phase {
    /// The first answer is due.
    #[default]
    Connecting,
    /// Another answer is due.
    Awaiting,
    /// Nothing is due.
    Resting,
}

impl UdpClients {
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

    /// Finds the flow at a local address and port, and its workload.
    pub(crate) fn find(&self, local: SocketAddrV4, group: &Group) -> Option<(u32, usize)> {
        let position = self.slots.find(group.hash(local), |slot| {
            slot.port == local.port() && group.socket(slot.vm, slot.port) == local
        })?;
        Some((position, usize::from(self.slots.entry(position).workload)))
    }

    /// Starts a flow.
    pub(crate) fn open(
        &mut self,
        number: u16,
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
            vm,
            port,
            workload: number,
            ..Slot::default()
        };
        let position = self.slots.insert(group.hash(group.socket(vm, port)), slot);
        let slot = self.slots.entry_mut(position);
        slot.request(group, workload, stats, cx);
        slot.arm(position, session(workload), cx);
    }

    /// Takes a datagram of the server.
    pub(crate) fn on_datagram(
        &mut self,
        position: u32,
        length: u32,
        group: &Group,
        workload: &mut Workload,
        stats: &mut WorkloadStats,
        cx: &mut Context<'_>,
    ) {
        let slot = self.slots.entry_mut(position);
        if slot.phase == Phase::Resting {
            // A duplicate, or part of an answer that is complete.
            return;
        }
        slot.missing = slot.missing.saturating_sub(length);
        if slot.missing > 0 {
            return;
        }
        stats.responses += 1;
        if slot.phase == Phase::Connecting {
            stats.connected(cx.now().since(slot.sent));
            let Workload { config, holds, .. } = workload;
            slot.end = cx.now() + draw_span(&udp(config).hold, holds);
        }
        slot.phase = Phase::Resting;
        self.on_timer(position, group, workload, stats, cx);
    }

    /// Takes an ICMP error that an application would see: an answer that is due will not come.
    pub(crate) fn on_error(&mut self, position: u32, group: &Group, stats: &mut WorkloadStats) {
        match self.slots.entry(position).phase {
            Phase::Connecting => stats.failed(Outcome::Unreachable),
            Phase::Awaiting => stats.ended(Outcome::Unreachable),
            Phase::Resting => return,
        }
        self.forget(position, group);
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
        let slot = self.slots.entry_mut(position);
        if slot.deadline(session(workload)) > cx.now() {
            return slot.arm(position, session(workload), cx);
        }
        match slot.phase {
            Phase::Connecting => stats.failed(Outcome::TimedOut),
            Phase::Awaiting => stats.ended(Outcome::TimedOut),
            Phase::Resting if cx.now() < slot.end => {
                slot.request(group, workload, stats, cx);
                slot.phase = Phase::Awaiting;
                return slot.arm(position, session(workload), cx);
            }
            Phase::Resting => stats.ended(Outcome::Closed),
        }
        self.forget(position, group);
    }

    fn forget(&mut self, position: u32, group: &Group) {
        let slot = self.slots.entry(position);
        let hash = group.hash(group.socket(slot.vm, slot.port));
        let slot = self.slots.remove(hash, position);
        self.ports.release(slot.vm, slot.port);
    }
}

impl Slot {
    fn request(
        &mut self,
        group: &Group,
        workload: &mut Workload,
        stats: &mut WorkloadStats,
        cx: &mut Context<'_>,
    ) {
        let Workload { config, sizes, .. } = workload;
        let UdpSession {
            request, response, ..
        } = udp(config);
        let head = Request::draw(request, response, u32::from(MAX_DATAGRAM), sizes);
        self.sent = cx.now();
        self.missing = head.response;
        stats.requests += 1;
        let payload = head.to_payload(head.request as u16);
        let local = group.socket(self.vm, self.port);
        let packet = cx.inject(Packet::udp(local, workload.config.target, payload));
        cx.send(group.out, packet);
    }

    fn deadline(&self, session: &UdpSession) -> Instant {
        match (self.phase, session.interval) {
            (Phase::Connecting | Phase::Awaiting, _) => self.sent + session.response_timeout,
            (Phase::Resting, None) => self.end,
            (Phase::Resting, Some(interval)) => self.end.min(self.sent + interval),
        }
    }

    fn arm(&mut self, position: u32, session: &UdpSession, cx: &mut Context<'_>) {
        self.alarm
            .arm(Some(self.deadline(session)), udp_token(position), cx);
    }
}

fn session(workload: &Workload) -> &UdpSession {
    udp(&workload.config)
}

fn udp(config: &WorkloadConfig) -> &UdpSession {
    let WorkloadKind::Udp(session) = &config.kind else {
        unreachable!("broken invariant: a UDP flow of a TCP workload")
    };
    session
}
