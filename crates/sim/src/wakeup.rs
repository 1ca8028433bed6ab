use plsim_types::Instant;

use crate::context::Context;

/// Keeps one timer event in step with an engine's next deadline.
///
/// An engine's deadline may move often; a timer is set only when it moves forward, and one that
/// has become too early merely asks again.
#[derive(Debug, Clone, Default)]
pub struct Wakeup {
    armed: Option<Instant>,
}

impl Wakeup {
    /// Makes sure the node is woken, with `token`, no later than at `deadline`.
    ///
    /// # Panics
    /// If the deadline does not lie after now: the engine would hang the run.
    pub fn arm(&mut self, deadline: Option<Instant>, token: u64, context: &mut Context<'_>) {
        let Some(deadline) = deadline else { return };
        if self.armed.is_none_or(|armed| armed > deadline) {
            context.set_timer(deadline, token);
            self.armed = Some(deadline);
        }
    }

    /// Notes that the timer of this instant has fired; call it before [`Wakeup::arm`].
    pub fn fired(&mut self, now: Instant) {
        if self.armed.is_some_and(|armed| armed <= now) {
            self.armed = None;
        }
    }
}
