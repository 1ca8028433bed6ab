use std::collections::VecDeque;
use std::net::SocketAddrV4;

use plsim_types::Instant;
use smoltcp::iface::{SocketHandle, SocketSet};
use smoltcp::socket::tcp::{Socket, State};

use super::sent::Sent;
use super::timer::Watch;
use crate::parameters::TcpParameters;
use crate::tcp::Tcb;

/// How many bytes wait for the application at most; then the window closes. A PROXY header with a
/// request's head is far shorter.
const INBOX: usize = 1_024;

/// One end of a TCP connection that smoltcp keeps.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(super) sockets: SocketSet<'static>,
    pub(super) handle: SocketHandle,
    pub(super) outbox: VecDeque<Written>,
    /// What the application has not read.
    pub(super) inbox: Vec<u8>,
    /// Bytes still to come that it does not want to see.
    pub(super) unwanted: u64,
    pub(super) received: u64,
    pub(super) is_closing: bool,
    pub(super) was_open: bool,
    pub(super) watch: Watch,
    pub(super) sent: Sent,
    pub(super) remote: SocketAddrV4,
    /// One after the number of the peer's FIN, once it has come.
    pub(super) fin: u32,
    /// When smoltcp wants a turn.
    pub(super) next: Option<Instant>,
    /// Whether anything has happened since its latest turn.
    pub(super) is_changed: bool,
}

/// Bytes the application has written and smoltcp has not taken: some of its own, then zeros.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) bytes: Box<[u8]>,
    pub(super) done: usize,
    pub(super) zeros: u32,
}

impl Connection {
    pub(super) fn socket(&self) -> &Socket<'static> {
        self.sockets.get(self.handle)
    }

    pub(super) fn socket_mut(&mut self) -> &mut Socket<'static> {
        self.sockets.get_mut(self.handle)
    }

    /// Adds bytes to send, and so many zeros after them; they leave with the next turn.
    pub(crate) fn write(&mut self, bytes: Box<[u8]>, zeros: u32) {
        self.is_changed = true;
        self.outbox.push_back(Written {
            bytes,
            done: 0,
            zeros,
        });
    }

    /// Closes once everything written has been sent.
    pub(crate) const fn close(&mut self) {
        self.is_changed |= !self.is_closing;
        self.is_closing = true;
    }

    /// Tells whether this end has closed.
    pub(crate) const fn is_closing(&self) -> bool {
        self.is_closing
    }

    /// Passes over everything that is still to come.
    pub(crate) fn ignore(&mut self) {
        self.inbox.clear();
        self.unwanted = u64::MAX;
        self.read();
    }

    /// Resets the connection; the RST leaves with the next turn.
    pub(crate) fn abort(&mut self) {
        self.is_changed = true;
        self.outbox.clear();
        self.socket_mut().abort();
    }

    /// Ends keepalive: from now on the connection only answers.
    pub(crate) fn fall_silent(&mut self) {
        self.watch.fall_silent();
    }

    /// Tells whether the handshake was completed.
    pub(crate) const fn was_open(&self) -> bool {
        self.was_open
    }

    /// Tells whether the peer has closed its side.
    pub(crate) fn is_closed_by_peer(&self) -> bool {
        matches!(
            self.socket().state(),
            State::CloseWait | State::LastAck | State::Closing | State::TimeWait
        )
    }

    /// Returns the number of the SYN that waits for an answer.
    pub(crate) fn unanswered_syn(&self) -> Option<u32> {
        let is_waiting = self.socket().state() == State::SynSent;
        is_waiting.then(|| self.sent.end.wrapping_sub(1))
    }

    /// Tells whether an acknowledgement of this number ends the handshake of a passive open.
    pub(crate) fn is_opened_by(&self, acknowledgement: u32) -> bool {
        self.socket().state() == State::SynReceived && self.sent.end == acknowledgement
    }

    /// Returns what is left of it in TIME_WAIT, which the light end keeps: smoltcp has 10 s for all.
    pub(crate) fn remains(&self, now: Instant, parameters: &TcpParameters) -> Tcb {
        let Sent {
            end,
            acknowledgement,
            ..
        } = self.sent;
        Tcb::linger(end, acknowledgement, now, parameters)
    }

    /// Tells whether everything written has arrived.
    pub(crate) fn is_acknowledged(&self) -> bool {
        self.outbox.is_empty() && self.socket().send_queue() == 0
    }

    /// Returns how many bytes have come.
    pub(crate) const fn received(&self) -> u64 {
        self.received
    }

    /// Returns what waits for the application, at most 1 024 bytes.
    pub(crate) fn inbox(&self) -> &[u8] {
        &self.inbox
    }

    /// Passes over the next bytes of the stream, those that are still to come included.
    pub(crate) fn skip(&mut self, length: u32) {
        let waiting = self.inbox.len().min(length as usize);
        self.inbox.drain(..waiting);
        let rest = u64::from(length) - waiting as u64;
        self.unwanted = self.unwanted.saturating_add(rest);
        self.read();
    }

    /// Tells whether everything passed over has come.
    pub(crate) const fn is_skipped(&self) -> bool {
        self.unwanted == 0
    }

    /// Reads what has come and there is room for.
    pub(super) fn read(&mut self) {
        let Self {
            sockets,
            handle,
            inbox,
            unwanted,
            received,
            is_changed,
            ..
        } = self;
        let socket = sockets.get_mut::<Socket<'_>>(*handle);
        *is_changed |= socket.can_recv();
        while socket.can_recv() && inbox.len() < INBOX {
            let read = socket.recv(|bytes| {
                let skipped = (*unwanted).min(bytes.len() as u64) as usize;
                *unwanted -= skipped as u64;
                let kept = (bytes.len() - skipped).min(INBOX - inbox.len());
                inbox.extend_from_slice(&bytes[skipped..skipped + kept]);
                (skipped + kept, (skipped + kept) as u64)
            });
            *received += read.expect("broken invariant: there are bytes to read");
        }
    }

    /// Gives smoltcp what it has room for, and the FIN behind it.
    pub(super) fn feed(&mut self) {
        let Self {
            sockets,
            handle,
            outbox,
            is_closing,
            ..
        } = self;
        let socket = sockets.get_mut::<Socket<'_>>(*handle);
        if !socket.may_send() {
            return;
        }
        while let Some(written) = outbox.front_mut() {
            if written.is_done() {
                outbox.pop_front();
                continue;
            }
            if !socket.can_send() {
                return;
            }
            let sent = socket.send(|room| {
                let length = written.fill(room);
                (length, ())
            });
            sent.expect("broken invariant: there is room to send");
        }
        if *is_closing {
            socket.close();
        }
    }

    /// Tells whether the peer's FIN has been acknowledged.
    pub(super) const fn has_acknowledged_fin(&self) -> bool {
        self.sent.acknowledgement == self.fin
    }

    /// Tells whether the peer has anything to acknowledge.
    pub(super) fn is_waiting(&self) -> bool {
        match self.socket().state() {
            State::Established | State::CloseWait => !self.is_acknowledged(),
            _ => true,
        }
    }
}

impl Written {
    const fn is_done(&self) -> bool {
        self.done == self.bytes.len() && self.zeros == 0
    }

    /// Writes as much as there is room for; returns how much.
    fn fill(&mut self, room: &mut [u8]) -> usize {
        let rest = &self.bytes[self.done..];
        let bytes = rest.len().min(room.len());
        room[..bytes].copy_from_slice(&rest[..bytes]);
        self.done += bytes;
        let zeros = (self.zeros as usize).min(room.len() - bytes);
        room[bytes..bytes + zeros].fill(0);
        self.zeros -= zeros as u32;
        bytes + zeros
    }
}
