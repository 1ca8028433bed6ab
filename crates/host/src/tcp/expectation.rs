//! What the application waits for.

use super::{EXPECTING, GREETED, Tcb, distance};

impl Tcb {
    /// Sets how far the application wants to receive.
    pub(crate) const fn expect_until(&mut self, goal: u32) {
        self.goal = goal;
        self.flags |= EXPECTING;
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
