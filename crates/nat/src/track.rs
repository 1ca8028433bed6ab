//! What a packet does to the binding it belongs to.

use crate::binding::{Aside, State, armed_mark};
use crate::engine::NatEngine;
use crate::error::NatError;
use crate::tcp::{Sequences, Step, step};
use plsim_types::{Direction, Instant, TcpSegment};

impl NatEngine {
    /// Applies a packet of a known flow.
    #[inline(never)] // The usual packet, see [`Binding::refresh`], shall not pay for its registers.
    pub(crate) fn track(
        &mut self,
        position: u32,
        direction: Direction,
        segment: Option<&TcpSegment>,
        now: Instant,
    ) -> Result<(), NatError> {
        let binding = self.flows.entry_mut(position);
        let refreshes =
            direction == Direction::Original || self.pools[binding.key.pool()].reply_refreshes;
        if binding.state == State::Udp {
            if refreshes {
                binding.last = now;
            }
            return Ok(());
        }
        if binding.state == State::UdpHeld {
            return self.revive_udp(position, direction, refreshes, now);
        }
        if binding.state == State::LbIdle {
            let opens = segment.is_some_and(|segment| segment.flags.opens());
            if direction == Direction::Reply || !opens {
                self.check_lb(position)?;
            }
        }
        let binding = self.flows.entry_mut(position);
        let Some(segment) = segment.filter(|segment| !segment.flags.is_rest()) else {
            // A fragment after the first: what may be said of it is how far it reaches.
            let alive = match direction {
                Direction::Original => !binding.state.is_held() && binding.state != State::LbIdle,
                Direction::Reply => binding.state.is_established(),
            };
            if alive {
                match segment {
                    Some(rest) if binding.state == State::HalfOpen => {
                        binding.sequences.record_rest_of_syn(rest);
                    }
                    Some(rest) => binding.sequences.record(direction, rest),
                    None => {}
                }
                if refreshes {
                    binding.last = now;
                }
            }
            return Ok(());
        };
        match step(
            binding.state,
            direction,
            segment,
            &binding.sequences,
            binding.aside,
        ) {
            Step::Pass => return Ok(()),
            Step::Touch => {}
            Step::Refresh => binding.sequences.record(direction, segment),
            Step::Attempt => binding.aside = Aside(segment.sequence, segment.end()),
            step @ (Step::Go(next) | Step::Accept(next)) => {
                self.enter(position, next, step, direction, segment, now);
                return Ok(());
            }
            Step::Restart => return self.restart(position, segment, now),
        }
        if refreshes {
            binding.last = now;
        }
        Ok(())
    }

    /// The next datagram of a UDP flow whose port rests: of the client as if it were the first, of
    /// the backend if such ones refresh.
    #[inline(never)]
    fn revive_udp(
        &mut self,
        position: u32,
        direction: Direction,
        refreshes: bool,
        now: Instant,
    ) -> Result<(), NatError> {
        match direction {
            Direction::Original => self.check_flow_limit()?,
            Direction::Reply if !refreshes || self.active >= self.flow_limit => return Ok(()),
            Direction::Reply => {}
        }
        self.change(position, State::Udp, now);
        Ok(())
    }

    /// Moves a binding to another state because of a segment. That starts the timer of the new
    /// state, whichever side's packets refresh.
    #[inline(never)]
    fn enter(
        &mut self,
        position: u32,
        next: State,
        step: Step,
        direction: Direction,
        segment: &TcpSegment,
        now: Instant,
    ) {
        let before = self.flows.entry(position).state;
        let full = self.active >= self.flow_limit;
        let binding = self.flows.entry_mut(position);
        if before.is_held() && full {
            // The packet passes, as for any held-down binding; only the revival does not happen.
            if let Step::Go(_) = step {
                binding.sequences.record(direction, segment);
            }
            return;
        }
        if let Step::Accept(_) = step {
            let noted = if before.is_established() {
                core::mem::take(&mut binding.aside)
            } else {
                Aside::default()
            };
            binding.sequences.establish(segment, noted);
        } else if !next.is_held() {
            binding.sequences.record(direction, segment);
        }
        self.change(position, next, now);
    }

    /// A SYN starts a new attempt on the binding of an old one, with the same port.
    #[inline(never)]
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
        let binding = self.flows.entry(position);
        let deadline = binding.deadline(&self.pools[binding.key.pool()]);
        let mark = armed_mark(deadline);
        if binding.tag != 0 && mark > binding.armed {
            return;
        }
        let tag = self.next_tag();
        let binding = self.flows.entry_mut(position);
        binding.tag = tag;
        binding.armed = mark;
        self.schedule(position, tag, deadline, now);
    }

    /// Returns a tag for another wheel item.
    #[inline]
    pub(crate) const fn next_tag(&mut self) -> u32 {
        // 0 means vacant. After 2^32 insertions a stale item could meet its own tag again, and
        // would only cause one look too many.
        self.tag = match self.tag.checked_add(1) {
            Some(tag) => tag,
            None => 1,
        };
        self.tag
    }

    /// Puts an item into the wheel.
    #[inline]
    pub(crate) fn schedule(&mut self, position: u32, tag: u32, deadline: Instant, now: Instant) {
        self.wheel.advance(now);
        self.wheel.insert(position, tag, deadline);
        self.wake = self.wheel.next_wake();
    }
}
