//! The idle timer of a load-balancing rule, kept with the binding because the load balancer itself
//! sees no replies (direct server return).
//!
//! ```text
//!  last packet          rule's idle time           service's idle time
//!       |---- Established ----|-------- LbIdle --------| gone
//!                             RST to both, if asked    nobody hears of it
//! ```
//!
//! In [`State::LbIdle`] the load balancer does not know the flow any more, but the port stays bound:
//! the NAT has a timer of its own, and dropped packets do not refresh it. A flow gets there by the
//! wheel alone, so the usual packet pays nothing for it.

use crate::binding::{Aside, Binding, State};
use crate::engine::NatEngine;
use crate::error::{ConfigError, NatError};
use crate::event::{NatEvent, Sender};
use crate::pool::Pool;
use plsim_types::{Duration, Instant, PlsId, Protocol};

/// The idle timer of the load-balancing rule behind a port of the service's frontend; TCP only
/// (D-RST20). It counts for connections that were established, from the last packet that refreshes
/// the binding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LbTimer {
    /// The port that clients dial; `None`: any (HA ports).
    pub frontend_port: Option<u16>,
    /// The rule's idle time-out, above zero. Where the service's own is not longer, that one acts.
    pub idle: Duration,
    /// Whether both ends get an RST then (`enableTcpReset`).
    pub reset: bool,
    /// What becomes of later packets of the flow.
    pub then: LbIdleAction,
}

/// What becomes of packets of a flow that has idled out at the load balancer; documents do not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LbIdleAction {
    /// They are dropped in both directions until a SYN starts the flow anew.
    #[default]
    Drop,
    /// The load balancer takes them for a new flow: where it sends them to the same VM again,
    /// nothing is noticed.
    Forget,
}

impl LbTimer {
    /// Tells whether anything happens here when it runs out.
    pub(crate) const fn acts(&self) -> bool {
        match self.then {
            LbIdleAction::Drop => true,
            LbIdleAction::Forget => self.reset,
        }
    }
}

/// Checks that the timers of a pool are not zero and at most one for each port.
pub(crate) fn check(pls: PlsId, timers: &[LbTimer]) -> Result<(), ConfigError> {
    for (place, timer) in timers.iter().enumerate() {
        if timer.idle.is_zero() {
            return Err(ConfigError::ZeroTimer("lb_timers"));
        }
        let meets = |other: &LbTimer| match (timer.frontend_port, other.frontend_port) {
            (Some(one), Some(other)) => one == other,
            (None, _) | (_, None) => true,
        };
        if timers[..place].iter().any(meets) {
            return Err(ConfigError::DuplicateLbTimer(pls));
        }
    }
    Ok(())
}

impl Pool {
    /// Returns the timer of the rule that a binding's flow came by.
    fn lb_timer(&self, binding: &Binding) -> Option<&LbTimer> {
        let port = binding.key.endpoint().port();
        let mut timers = self.lb_timers.iter();
        timers.find(|timer| timer.frontend_port.is_none_or(|own| own == port))
    }
}

impl Binding {
    /// Returns when the load balancer drops the flow, with the rule's timer, if that is before the
    /// NAT's own time is over.
    #[inline]
    pub(crate) fn lb_deadline(&self, pool: &Pool) -> Option<(Instant, LbTimer)> {
        if pool.lb_timers.is_empty() || !self.state.is_established() {
            return None;
        }
        let timer = *pool.lb_timer(self).filter(|timer| timer.acts())?;
        let at = self.last + timer.idle;
        (at < self.expiry(&pool.timers)).then_some((at, timer))
    }
}

impl NatEngine {
    /// The load balancer drops a flow: the binding lives on until its own time is over.
    pub(crate) fn drop_by_lb(&mut self, position: u32, at: Instant, timer: &LbTimer) {
        let binding = *self.flows.entry(position);
        let expiry = binding.expiry(&self.pools[binding.key.pool()].timers);
        if timer.reset {
            self.reset_both(&binding, Sender::LbTimer);
        }
        let entry = self.flows.entry_mut(position);
        entry.state = State::LbIdle;
        entry.aside = Aside::of_instant(expiry);
        // The wheel has just given its item back.
        entry.tag = 0;
        let side = self.nat_ips[usize::from(binding.nat_ip)].side(Protocol::Tcp);
        side.lb_idle += 1;
        side.first_lb_idle.get_or_insert(at);
        if self.report {
            let binding = self.info(self.flows.entry(position));
            let reset = timer.reset;
            self.events
                .push_back(NatEvent::LbIdle { at, binding, reset });
        }
        self.arm(position, at);
    }

    /// Refuses a packet of a flow that the load balancer has dropped, unless it takes it for a new
    /// one.
    pub(crate) fn check_lb(&self, position: u32) -> Result<(), NatError> {
        let binding = self.flows.entry(position);
        if binding.state != State::LbIdle {
            return Ok(());
        }
        match self.pools[binding.key.pool()].lb_timer(binding) {
            Some(timer) if timer.then == LbIdleAction::Drop => Err(NatError::LbIdle),
            Some(_) | None => Ok(()),
        }
    }
}
