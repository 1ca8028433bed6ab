use std::fmt;

/// A broken invariant, with the first thing that shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which one, as in the table of this module.
    pub invariant: &'static str,
    /// When it was seen, in nanoseconds.
    pub at: u64,
    /// What was seen.
    pub what: String,
}

impl Violation {
    pub(super) const fn new(invariant: &'static str, at: u64, what: String) -> Self {
        Self {
            invariant,
            at,
            what,
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            invariant,
            at,
            what,
        } = self;
        write!(f, "{invariant} at {at} ns: {what}")
    }
}
