use std::collections::BTreeMap;
use std::net::SocketAddrV4;

use plsim_sim::Context;
use plsim_types::Instant;

use super::{LATE, ServerVm, Slot};
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
    /// The answer to a datagram, in bytes.
    Datagrams {
        remote: SocketAddrV4,
        local: SocketAddrV4,
        response: u32,
    },
}

/// The late answers of one VM, in the order in which they are due.
#[derive(Debug, Default)]
pub(super) struct LateAnswers {
    rows: BTreeMap<(Instant, u64), Late>,
    count: u64,
}

impl LateAnswers {
    pub(super) fn push(&mut self, due: Instant, late: Late) {
        self.rows.insert((due, self.count), late);
        self.count += 1;
    }

    /// Takes the next answer that is due.
    pub(super) fn pop(&mut self, now: Instant) -> Option<Late> {
        let first = self.rows.first_entry()?;
        (first.key().0 <= now).then(|| first.remove())
    }

    pub(super) fn next_due(&self) -> Option<Instant> {
        self.rows.first_key_value().map(|((due, _), _)| *due)
    }

    pub(super) fn clear(&mut self) {
        self.rows.clear();
    }
}

impl ServerVm {
    pub(super) fn delay(&mut self, late: Late, cx: &mut Context<'_>) {
        self.late
            .push(cx.now() + self.behaviour.response_delay, late);
        self.late_wakeup.arm(self.late.next_due(), LATE, cx);
    }

    /// Sends the late answers that are due.
    pub(super) fn answer_late(&mut self, cx: &mut Context<'_>) {
        self.late_wakeup.fired(cx.now());
        while let Some(late) = self.late.pop(cx.now()) {
            match late {
                Late::Datagrams {
                    remote,
                    local,
                    response,
                } => self.send_datagrams(local, remote, response, cx),
                Late::Response {
                    remote,
                    local_port,
                    received,
                } => {
                    let is_it = |slot: &Slot| {
                        slot.local_port == local_port && slot.remote_socket() == remote
                    };
                    let Some(position) = self.slots.find(self.key(remote, local_port), is_it)
                    else {
                        continue;
                    };
                    let slot = self.slots.entry_mut(position);
                    // Another number: another connection, or one that goes to its end.
                    if slot.tcb.received() == received && slot.tcb.uncork() {
                        self.stats.requests += u64::from(!self.answers.has(position));
                        self.conclude(position, Verdict::Continue, cx);
                    }
                }
            }
        }
        self.late_wakeup.arm(self.late.next_due(), LATE, cx);
    }
}
