//! What happens when nothing does: retransmission, probes, and the waiting states.

use plsim_types::{Duration, Instant};

use super::{ACK_DUE, ACK_WAITS, CLOSING, CORKED, PROBE_DUE, SILENT, State, Tcb, Verdict};
use crate::parameters::TcpParameters;

/// How long the side that closed first waits for the peer's FIN (Linux `tcp_fin_timeout`).
const FIN_WAIT: Duration = Duration::from_secs(60);

impl Tcb {
    /// Takes the expiry of [`Tcb::deadline`].
    pub(crate) fn on_timer(&mut self, now: Instant, parameters: &TcpParameters) -> Verdict {
        if self.has(ACK_WAITS) {
            self.flags |= ACK_DUE;
            self.stop_waiting(parameters);
            return Verdict::Continue;
        }
        if matches!(self.state, State::TimeWait | State::FinWait2) {
            return Verdict::Closed;
        }
        if !self.is_quiet() {
            return self.retransmit(now, parameters);
        }
        if self.is_blocked() {
            let backoff = self.backoff(parameters);
            if parameters.gives_up_window(backoff, self.count, self.has(CLOSING)) {
                return Verdict::TimedOut(None);
            }
            self.count = self.count.saturating_add(1);
            self.flags |= PROBE_DUE;
            self.retransmit_after(self.count, now, parameters);
            return Verdict::Continue;
        }
        let Some(keepalive) = &parameters.keepalive else {
            self.deadline.set(None);
            return Verdict::Continue;
        };
        if parameters.loses_patience(keepalive, self.count) {
            return Verdict::TimedOut(Some(self.abort()));
        }
        self.count = self.count.saturating_add(1);
        self.flags |= PROBE_DUE;
        self.deadline.set(Some(now + keepalive.interval));
        Verdict::Continue
    }

    /// Goes back N: everything in flight counts as lost (RFC 6298 §5.4 to §5.6).
    fn retransmit(&mut self, now: Instant, parameters: &TcpParameters) -> Verdict {
        let gives_up = match self.state {
            State::SynSent => parameters.gives_up_syn(self.count),
            State::SynReceived => self.count >= parameters.open_retries,
            _ => parameters.gives_up(self.backoff(parameters), self.count, self.has(CLOSING)),
        };
        if gives_up {
            return Verdict::TimedOut(None);
        }
        self.count = self.count.saturating_add(1);
        self.next = 0;
        self.set_flight(1);
        self.retransmit_after(self.count, now, parameters);
        Verdict::Continue
    }

    /// Sets the deadline of what has been sent, or asked, `count` times again.
    pub(super) fn retransmit_after(&mut self, count: u8, now: Instant, parameters: &TcpParameters) {
        let span = parameters.wait(self.backoff(parameters), count);
        self.deadline.set(Some(now + span));
    }

    /// Sets the deadline of a connection with nothing in flight, whose peer was last heard at an
    /// instant.
    pub(super) fn rest(&mut self, heard: Instant, parameters: &TcpParameters) {
        if self.is_blocked() {
            // Every answer shows that the peer lives, but the back-off stands (RFC 9293 §3.8.6.1), and
            // so does a user's patience (KERN).
            if parameters.user_timeout.is_none() {
                self.count = self.count.min(parameters.retries / 2);
            }
            return self.retransmit_after(self.count, heard, parameters);
        }
        self.count = 0;
        let span = match self.state {
            _ if self.has(ACK_WAITS) => parameters.delayed_ack,
            State::TimeWait => Some(parameters.time_wait),
            State::FinWait2 => Some(FIN_WAIT),
            _ if self.has(SILENT) => None,
            _ => parameters.keepalive.map(|keepalive| keepalive.time),
        };
        self.deadline.set(span.map(|span| heard + span));
    }

    /// Ends the wait of an acknowledgement that leaves now.
    pub(super) fn stop_waiting(&mut self, parameters: &TcpParameters) {
        if !self.has(ACK_WAITS) {
            return;
        }
        self.flags &= !ACK_WAITS;
        if let (Some(deadline), Some(delay)) = (self.deadline(), parameters.delayed_ack) {
            // The peer was last heard when the wait began.
            self.rest(deadline - delay, parameters);
        }
    }

    /// Makes sure that a closed window is asked about.
    pub(super) fn await_window(&mut self, now: Instant, parameters: &TcpParameters) {
        if !self.is_blocked() {
            return;
        }
        let due = now + self.backoff(parameters).gap(self.count);
        if self.deadline().is_none_or(|deadline| deadline > due) {
            self.deadline.set(Some(due));
        }
    }

    /// Tells whether only the peer's closed window keeps data or the FIN back.
    fn is_blocked(&self) -> bool {
        let unsent = self.unsent();
        let has_work = unsent > 0 || unsent == 0 && self.has(CLOSING);
        let sends = matches!(
            self.state,
            State::Established | State::FinWait1 | State::CloseWait | State::LastAck
        );
        self.is_quiet() && self.window == 0 && sends && has_work && !self.has(CORKED)
    }
}
