use plsim_types::Duration;

/// How fast the share of a subscriber in reserved blocks grows and shrinks.
///
/// Source: dynamic port allocation of Google's Cloud NAT (GCP-DPA): a VM that is "close to exhausting"
/// its ports gets twice as many, which takes a while, and loses them when its use has decreased
/// "significantly". None of the three figures is published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// How many thousandths of its ports a subscriber must use to get more: 501..=1000. With less,
    /// a share that has just doubled could be halved again at once.
    pub grow_at: u16,
    /// How long that takes; meanwhile it has the ports it had.
    pub delay: Duration,
    /// How long a subscriber must have used at most a quarter of its ports to lose half of them.
    pub rest: Duration,
}

impl Pace {
    /// The values in a scenario that says none.
    pub const DEFAULT: Self = Self {
        grow_at: 900,
        delay: Duration::from_secs(1),
        rest: Duration::from_secs(60),
    };

    /// Tells whether a subscriber with so many of its ports in use should have more.
    pub(crate) fn is_short(&self, used: u64, ports: u64) -> bool {
        used * 1_000 >= ports * u64::from(self.grow_at)
    }

    /// Tells whether half of the ports would be more than enough.
    pub(crate) const fn is_ample(used: u64, ports: u64) -> bool {
        used * 4 <= ports
    }
}

/// A change of a subscriber's share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    Double,
    Halve,
}
