use plsim_types::{Duration, Instant};

/// What the results of a probe say about its VM: up or down.
///
/// The threshold is the same in both directions (D-PRB23).
#[derive(Debug, Clone)]
pub(super) struct Verdict {
    threshold: u8,
    flap_wait: Duration,
    up: bool,
    /// Results in a row that contradict the verdict.
    streak: u8,
    /// When the VM came up; none if it was up from the beginning.
    up_since: Option<Instant>,
    flapping: bool,
    /// The first of the successes in a row.
    good_since: Option<Instant>,
}

impl Verdict {
    pub(super) const fn new(up: bool, threshold: u8, flap_wait: Duration) -> Self {
        Self {
            threshold,
            flap_wait,
            up,
            streak: 0,
            up_since: None,
            flapping: false,
            good_since: None,
        }
    }

    pub(super) const fn up(&self) -> bool {
        self.up
    }

    /// Takes a result; tells whether the verdict changed.
    pub(super) fn note(&mut self, success: bool, now: Instant) -> bool {
        if !success {
            self.good_since = None;
        } else if self.good_since.is_none() {
            self.good_since = Some(now);
        }
        if success == self.up {
            self.streak = 0;
            return false;
        }
        self.streak = self.streak.saturating_add(1);
        let good_for = self.good_since.map(|since| now.since(since));
        let must_wait = success && self.flapping && good_for < Some(self.flap_wait);
        if self.streak < self.threshold || must_wait {
            return false;
        }
        if success {
            self.up = true;
            self.streak = 0;
            self.up_since = Some(now);
        } else {
            self.down(now);
        }
        true
    }

    /// Takes the VM down, whatever the results say.
    pub(super) fn down(&mut self, now: Instant) {
        let short = |since: Instant| now.since(since) < self.flap_wait;
        self.flapping = self.up && self.up_since.is_some_and(short);
        self.up = false;
        self.streak = 0;
        self.good_since = None;
    }
}
