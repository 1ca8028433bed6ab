//! What the application waits for.

use super::{EXPECTING, GREETED, State, Tcb, distance};

impl Tcb {
    /// Sets how far the application wants to receive.
    pub(crate) const fn expect_until(&mut self, goal: u32) {
        self.goal = goal;
        self.flags |= EXPECTING;
    }

    /// Moves on how far the application wants to receive.
    pub(crate) const fn expect_more(&mut self, length: u32) {
        self.goal = self.goal.wrapping_add(length);
    }

    /// Notes that the application has what it waited for, and will say anew how far it wants to
    /// receive.
    pub(crate) const fn expect_anew(&mut self) {
        self.flags &= !EXPECTING;
    }

    /// Tells whether the peer has closed, and this end has not.
    pub(crate) const fn is_left(&self) -> bool {
        matches!(self.state, State::CloseWait | State::LastAck)
    }

    /// Tells whether the application has said how far it wants to receive.
    pub(crate) const fn is_expecting(&self) -> bool {
        self.has(EXPECTING)
    }

    /// Notes that the application has read what comes before the request.
    pub(crate) const fn greet(&mut self) {
        self.flags |= GREETED;
    }

    /// Tells whether it has.
    pub(crate) const fn is_greeted(&self) -> bool {
        self.has(GREETED)
    }

    /// Tells whether everything the application waits for is here.
    pub(crate) const fn is_satisfied(&self) -> bool {
        self.has(EXPECTING) && distance(self.goal, self.received) >= 0
    }
}
