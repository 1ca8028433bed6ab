use std::collections::BTreeMap;

use plsim_sim::{Context, Wakeup};
use plsim_types::Instant;

/// What is to be done later, in the order of time, and in the order of entry at one instant.
#[derive(Debug)]
pub(crate) struct Agenda<T> {
    rows: BTreeMap<(Instant, u64), T>,
    count: u64,
    wakeup: Wakeup,
}

impl<T> Default for Agenda<T> {
    fn default() -> Self {
        Self {
            rows: BTreeMap::new(),
            count: 0,
            wakeup: Wakeup::default(),
        }
    }
}

impl<T> Agenda<T> {
    /// Adds a row, due after now, and has the node woken with `token` by then.
    pub(crate) fn push(&mut self, due: Instant, row: T, token: u64, cx: &mut Context<'_>) {
        self.rows.insert((due, self.count), row);
        self.count += 1;
        self.wakeup.arm(Some(due), token, cx);
    }

    /// Forgets all rows; a timer that is set fires in vain.
    pub(crate) fn clear(&mut self) {
        self.rows.clear();
    }

    /// Takes the next row that is due; without one, the timer is set for the first that will be.
    pub(crate) fn pop(&mut self, token: u64, cx: &mut Context<'_>) -> Option<T> {
        self.wakeup.fired(cx.now());
        let first = self.rows.first_entry()?;
        if first.key().0 <= cx.now() {
            return Some(first.remove());
        }
        let due = first.key().0;
        self.wakeup.arm(Some(due), token, cx);
        None
    }
}
