use plsim_observe::Summary;

/// What a run has to say.
#[derive(Debug)]
pub struct Report {
    /// Everything that `summary.json` says.
    pub summary: Summary,
    /// How many events the kernel ran: a measure of work, not of the network.
    pub events: u64,
    /// How many of them ran on several threads at once.
    pub shared_events: u64,
}

impl Report {
    /// Tells whether every expectation was met.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.summary
            .expectations
            .iter()
            .all(|verdict| verdict.passed)
    }
}
