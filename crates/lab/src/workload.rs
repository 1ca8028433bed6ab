/// In which order connections come and go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Workload {
    /// Each new connection takes a port, then a connection chosen at random ends: lifetimes are
    /// exponential.
    RandomChurn,
    /// Each new connection takes a port, then the oldest one ends: all lifetimes are equal.
    FifoChurn,
    /// Connections come until the first one is refused; none ends.
    Fill,
    /// All connections of a full space end, in random order.
    Drain,
    /// Connections come with whole handshakes into a NAT engine with one NAT IP until the first one
    /// is refused, then all idle out at once: the allocator's share in a whole NAT.
    Nat,
    /// All ports in use lie side by side, and each new connection ends at once, so that the run
    /// is never broken: a search for the next free port from a random start walks the longest.
    Adversarial,
}

impl Workload {
    /// All workloads.
    pub const ALL: [Self; 6] = [
        Self::RandomChurn,
        Self::FifoChurn,
        Self::Fill,
        Self::Drain,
        Self::Nat,
        Self::Adversarial,
    ];

    /// Returns its name: kebab-case, as in commands and files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::RandomChurn => "random-churn",
            Self::FifoChurn => "fifo-churn",
            Self::Fill => "fill",
            Self::Drain => "drain",
            Self::Nat => "nat",
            Self::Adversarial => "adversarial",
        }
    }

    /// Finds a workload by its name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|workload| workload.name() == name)
    }

    /// Tells whether it keeps a port space at one occupancy; the others pass through all of them.
    #[must_use]
    pub const fn keeps_occupancy(self) -> bool {
        matches!(
            self,
            Self::RandomChurn | Self::FifoChurn | Self::Adversarial
        )
    }
}
