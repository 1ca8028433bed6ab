use std::net::SocketAddrV4;

use plsim_sim::Context;
use plsim_types::Duration;

use super::{LATE, ServerVm, Slot};
use crate::request_id::RequestId;
use crate::tcp::Verdict;

/// An answer of a slow VM that is not due yet.
#[derive(Debug, Clone, Copy)]
pub(super) enum Late {
    /// The response over a TCP connection that has received up to this number.
    Response {
        remote: SocketAddrV4,
        local_port: u16,
        received: u32,
    },
    /// News of a subject for a subscriber, whose connection has received up to this number.
    Message {
        remote: SocketAddrV4,
        local_port: u16,
        received: u32,
        subject: u16,
        length: u32,
    },
    /// The response over a connection of the full stack.
    Full { position: u32, number: u64 },
    /// News of a subject for a subscriber over a connection of the full stack.
    FullMessage {
        position: u32,
        number: u64,
        subject: u16,
        length: u32,
    },
    /// The answer to a datagram, in bytes.
    Datagrams {
        remote: SocketAddrV4,
        local: SocketAddrV4,
        id: RequestId,
        response: u32,
    },
}

impl ServerVm {
    pub(super) fn delay(&mut self, delay: Duration, late: Late, cx: &mut Context<'_>) {
        let due = cx.now() + delay;
        self.late.push(due, late, LATE, cx);
    }

    /// Sends the late answers that are due.
    pub(super) fn answer_late(&mut self, cx: &mut Context<'_>) {
        while let Some(late) = self.late.pop(LATE, cx) {
            match late {
                Late::Datagrams {
                    remote,
                    local,
                    id,
                    response,
                } => self.send_datagrams((local, remote), id, response, cx),
                Late::Full { position, number } => self.answer_full(position, number, cx),
                Late::FullMessage {
                    position,
                    number,
                    subject,
                    length,
                } => self.publish_full((position, number), (subject, length), cx),
                Late::Response {
                    remote,
                    local_port,
                    received,
                } => {
                    if let Some(position) = self.still(remote, local_port, received)
                        && self.release(position, cx)
                    {
                        self.conclude(position, Verdict::Continue, cx);
                    }
                }
                Late::Message {
                    remote,
                    local_port,
                    received,
                    subject,
                    length,
                } => {
                    if let Some(position) = self.still(remote, local_port, received) {
                        self.slots.entry_mut(position).tcb.write(length);
                        self.stats.messages += 1;
                        self.publish(subject, late, cx);
                        self.conclude(position, Verdict::Continue, cx);
                    }
                }
            }
        }
    }

    /// Has the next message about a subject come when it is due; a subject that nobody knows has none.
    pub(super) fn publish(&mut self, subject: u16, late: Late, cx: &mut Context<'_>) {
        if let Some(news) = self.subjects.get_mut(usize::from(subject)) {
            let due = news.after(cx.now());
            self.late.push(due, late, LATE, cx);
        }
    }

    /// Finds the connection that an answer is for, unless it is another one by now, or goes to its
    /// end: then it has received up to another number.
    fn still(&self, remote: SocketAddrV4, local_port: u16, received: u32) -> Option<u32> {
        let is_it = |slot: &Slot| slot.local_port == local_port && slot.remote_socket() == remote;
        let position = self.slots.find(self.key(remote, local_port), is_it)?;
        let tcb = &self.slots.entry(position).tcb;
        (tcb.received() == received).then_some(position)
    }
}
