use plsim_sim::{Distribution, Stream};
use plsim_types::{Duration, Instant};

use crate::config::{Subject, draw_span};

/// When the messages about a subject come.
#[derive(Debug)]
pub(super) struct News {
    interval: Distribution,
    intervals: Stream,
    /// The latest time that was drawn.
    next: Instant,
}

impl Subject {
    /// Returns when the messages come, up to before an instant.
    pub(crate) fn messages_before(&self, end: Instant) -> impl Iterator<Item = Instant> {
        let mut news = News::new(self);
        let mut last = Instant::ZERO;
        std::iter::from_fn(move || {
            last = news.after(last);
            (last < end).then_some(last)
        })
    }
}

impl News {
    pub(super) fn new(subject: &Subject) -> Self {
        Self {
            interval: subject.interval.clone(),
            intervals: Stream::new(subject.seed, "subject", "intervals"),
            next: Instant::ZERO,
        }
    }

    /// Returns when the first message after an instant comes; instants do not go back.
    pub(super) fn after(&mut self, now: Instant) -> Instant {
        let least = Duration::from_nanos(1);
        if let Distribution::Fixed(nanos) = self.interval {
            // Nobody may have asked for long.
            let gap = nanos.max(1);
            let passed = now.as_nanos() / gap * gap;
            self.next = self.next.max(Instant::from_nanos(passed));
        }
        while self.next <= now {
            self.next = self.next + draw_span(&self.interval, &mut self.intervals).max(least);
        }
        self.next
    }
}
