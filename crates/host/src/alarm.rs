use plsim_sim::Context;
use plsim_types::Instant;

use crate::tcp::NEVER;

/// The one pending kernel timer of a connection, in 8 bytes.
///
/// A deadline that moves away leaves the timer alone; it then fires early and is set again. One
/// that comes nearer gets a new timer, and the old one turns stale: it fires at another time than
/// the one noted here, which is how it is recognised, also after its slot got a new owner.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Alarm {
    armed: u64,
}

impl Default for Alarm {
    fn default() -> Self {
        Self { armed: NEVER }
    }
}

impl Alarm {
    /// Makes sure the timer fires no later than the deadline, which lies after now.
    pub(crate) fn arm(&mut self, deadline: Option<Instant>, token: u64, cx: &mut Context<'_>) {
        let Some(deadline) = deadline else { return };
        if deadline.as_nanos() < self.armed {
            self.armed = deadline.as_nanos();
            cx.set_timer(deadline, token);
        }
    }

    /// Takes note of a firing; false if it was a stale one.
    pub(crate) const fn fired(&mut self, now: Instant) -> bool {
        let is_ours = self.armed == now.as_nanos();
        if is_ours {
            self.armed = NEVER;
        }
        is_ours
    }
}
