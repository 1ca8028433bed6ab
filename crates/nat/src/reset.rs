//! Connections that somebody else ends: the load balancer, for its owner; and how many there are.

use crate::binding::{BindingInfo, State};
use crate::engine::NatEngine;
use crate::event::Sender;
use plsim_types::Instant;

impl NatEngine {
    /// Resets both ends of the established TCP connections that `is_it` accepts, and holds their
    /// ports down as after any reset; returns how many.
    ///
    /// The RSTs are in [`poll_reset`](Self::poll_reset), in a deterministic order. It walks the whole
    /// table.
    pub fn reset_flows(&mut self, is_it: impl Fn(&BindingInfo) -> bool, now: Instant) -> u32 {
        self.catch_up(now);
        let mut count = 0;
        for position in 0..self.flows.positions() {
            let binding = *self.flows.entry(position);
            if binding.state.is_established() && is_it(&self.info(&binding)) {
                self.reset_both(&binding, Sender::LbDrain);
                self.change(position, State::Reset, now);
                count += 1;
            }
        }
        count
    }

    /// Counts the established TCP connections that `is_it` accepts. It walks the whole table.
    pub fn count_flows(&self, is_it: impl Fn(&BindingInfo) -> bool) -> u32 {
        let bindings = (0..self.flows.positions()).map(|position| self.flows.entry(position));
        let own =
            bindings.filter(|binding| binding.state.is_established() && is_it(&self.info(binding)));
        // There are fewer than 2^32 ports in all.
        own.count() as u32
    }
}
