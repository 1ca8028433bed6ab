//! What a packet does to the binding it belongs to.

use crate::binding::{State, armed_mark};
use crate::engine::NatEngine;
use crate::error::NatError;
use crate::tcp::{Sequences, Step, step};
use plsim_types::{Direction, Instant, TcpSegment};

impl NatEngine {
    /// Applies a packet of a known flow.
    #[inline]
    pub(crate) fn track(
        &mut self,
        position: u32,
        direction: Direction,
        segment: Option<&TcpSegment>,
        now: Instant,
    ) -> Result<(), NatError> {
        let binding = self.flows.entry_mut(position);
        if binding.state == State::Udp {
            // Either direction refreshes (RFC 4787 REQ-6).
            binding.last = now;
            return Ok(());
        }
        let segment = segment.ok_or(NatError::NoFlow)?;
        match step(binding.state, direction, segment, &binding.sequences) {
            Step::Pass => {}
            Step::Touch => binding.last = now,
            Step::Refresh => {
                binding.last = now;
                binding.sequences.record(direction, segment);
            }
            Step::Go(next) => self.enter(position, next, direction, segment, now),
            Step::Restart => return self.restart(position, segment, now),
        }
        Ok(())
    }

    /// Moves a binding to another state because of a segment.
    fn enter(
        &mut self,
        position: u32,
        next: State,
        direction: Direction,
        segment: &TcpSegment,
        now: Instant,
    ) {
        let before = self.flows.entry(position).state;
        if before.is_held() && self.active >= self.flow_limit {
            // The packet passes, as for any held-down binding; only the revival does not happen.
            return;
        }
        let binding = self.flows.entry_mut(position);
        if before == State::HalfOpen || before == State::Refused {
            if !next.is_held() {
                binding.sequences.establish(segment);
            }
        } else if !next.is_held() {
            binding.sequences.record(direction, segment);
        }
        self.change(position, next, now);
    }

    /// A SYN starts a new attempt on the binding of an old one, with the same port.
    fn restart(&mut self, position: u32, syn: &TcpSegment, now: Instant) -> Result<(), NatError> {
        if self.flows.entry(position).state.is_held() {
            self.check_flow_limit()?;
        }
        self.flows.entry_mut(position).sequences = Sequences::of_syn(syn);
        self.change(position, State::HalfOpen, now);
        Ok(())
    }

    /// Makes sure that the wheel comes back no later than the binding's deadline.
    pub(crate) fn arm(&mut self, position: u32, now: Instant) {
        let binding = self.flows.entry_mut(position);
        let deadline = binding.deadline(&self.pools[usize::from(binding.pool)].timers);
        let mark = armed_mark(deadline);
        if binding.tag != 0 && mark > binding.armed {
            return;
        }
        // 0 means vacant. After 2^32 insertions a stale item could meet its own tag again, and
        // would only cause one look too many.
        self.tag = self.tag.checked_add(1).unwrap_or(1);
        binding.tag = self.tag;
        binding.armed = mark;
        self.wheel.advance(now);
        self.wheel.insert(position, self.tag, deadline);
        self.wake = self.wheel.next_wake();
    }
}
