use plsim_types::{Duration, Instant};

/// A connection of the pool.
#[derive(Debug, Clone, Copy)]
pub(super) struct Member {
    pub(super) position: u32,
    /// When the pool gives it up for its age.
    pub(super) expiry: Option<Instant>,
    /// When a request last used it.
    pub(super) used: Instant,
    pub(super) state: State,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum State {
    Connecting,
    /// Nothing has been sent since then.
    Idle {
        since: Instant,
    },
    /// The same, but it ended meanwhile, and nobody has looked.
    Dead {
        since: Instant,
        ended: Instant,
    },
    /// A request is on it, after so long a rest, if the pool could not know that it lives.
    Lent {
        operation: Operation,
        rested: Option<Duration>,
    },
    /// It is tested after so long a rest, for a request that wants it or to keep it alive.
    Tested {
        operation: Option<Operation>,
        rested: Duration,
    },
}

/// A request from its arrival to its response.
#[derive(Debug, Clone, Copy)]
pub(super) struct Operation {
    pub(super) began: Instant,
    /// Whether it met a dead connection already.
    pub(super) met_dead: bool,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Task {
    /// The first that waits may have waited too long.
    Waiting,
    /// A dead connection reaches its `max_idle` or its expiry.
    Bury(u64),
    /// The pool opens connections again.
    Refill,
}

impl Member {
    pub(super) fn is_expired(&self, now: Instant) -> bool {
        self.expiry.is_some_and(|expiry| expiry <= now)
    }
}
