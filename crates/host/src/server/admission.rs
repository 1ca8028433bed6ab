//! Who gets in, and how many there are.

use plsim_packet::Packet;
use plsim_sim::Context;
use plsim_types::{DropReason, Protocol, TcpSegment};

use super::queues::Place;
use super::{Ended, ServerVm};
use crate::tcp::Verdict;

impl ServerVm {
    /// Tells why a segment finds no room in the queues of its port, if it does not.
    pub(super) fn refusal(
        &self,
        found: Option<u32>,
        local_port: u16,
        segment: &TcpSegment,
    ) -> Option<DropReason> {
        if !self.queues.are_limited() {
            return None;
        }
        let tcb = found.map(|position| &self.slots.entry(position).tcb);
        let opens = match tcb {
            None => segment.flags.opens() && self.listens(Protocol::Tcp, local_port),
            Some(tcb) => tcb.yields_to(segment),
        };
        let is_established = tcb.is_some_and(|tcb| tcb.is_established_by(segment));
        self.queue_refusal(opens, is_established, local_port)
    }

    /// Tells why a SYN, or the last ACK of a handshake, finds no room, if it does not.
    pub(super) fn queue_refusal(
        &self,
        opens: bool,
        is_established: bool,
        local_port: u16,
    ) -> Option<DropReason> {
        if opens {
            self.queues.refusal_of_syn(local_port)
        } else if is_established {
            self.queues.refusal_of_ack(local_port)
        } else {
            None
        }
    }

    /// Drops a segment that found no room, and counts it.
    pub(super) fn overflow(
        &mut self,
        packet: Box<Packet>,
        reason: DropReason,
        cx: &mut Context<'_>,
    ) {
        *match reason {
            DropReason::SynQueueFull => &mut self.stats.overflow.syn_queue,
            _ => &mut self.stats.overflow.accept_queue,
        } += 1;
        cx.drop(packet, reason);
    }

    /// Lets the application accept the connections that it has room for.
    pub(super) fn accept_waiting(&mut self, cx: &mut Context<'_>) {
        while let Some(place) = self.queues.accept() {
            let position = match place {
                Place::Light(position) => position,
                Place::Full(position) => {
                    self.turn(position, cx);
                    continue;
                }
            };
            if self.slots.entry(position).tcb.is_satisfied() {
                self.respond(position, true, cx);
                self.conclude(position, Verdict::Continue, cx);
            }
        }
    }

    /// Counts the end of a connection that was not in TIME_WAIT.
    pub(super) fn count_end(
        &mut self,
        place: Place,
        local_port: u16,
        was_open: bool,
        ended: Ended,
    ) {
        let stats = &mut self.stats;
        if was_open {
            self.queues.leave(local_port, place);
            stats.live -= 1;
            match ended {
                Ended::Closed => stats.closed += 1,
                Ended::Reset => stats.reset += 1,
                Ended::TimedOut => stats.timed_out += 1,
                Ended::Aborted => stats.aborted += 1,
            }
        } else {
            self.queues.give_up(local_port);
            stats.half_open -= 1;
            stats.half_open_lost += 1;
        }
    }

    /// Counts a connection that is open now.
    pub(super) fn count_open(&mut self, place: Place, local_port: u16) {
        self.stats.half_open -= 1;
        self.stats.accepted += 1;
        self.stats.live += 1;
        self.queues.establish(local_port, place);
    }

    /// Counts a connection that enters TIME_WAIT.
    pub(super) fn count_linger(&mut self, place: Place, local_port: u16) {
        self.stats.live -= 1;
        self.stats.closed += 1;
        self.stats.time_wait += 1;
        self.queues.leave(local_port, place);
    }
}
