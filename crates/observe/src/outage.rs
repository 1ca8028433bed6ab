use plsim_types::{Duration, Instant};
use serde_json::Value;

use crate::summary::object;

/// A time during which a backend VM was not as it should be, and who was harmed by it; or one during which a
/// link was down, where nobody can say who was.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OutageSummary {
    /// The backend VM, or the link, and whose it is.
    pub backend: String,
    /// What was the matter.
    pub ailment: Ailment,
    /// When it began.
    pub from: Instant,
    /// When it ended; `None` if it lasted to the end of the run.
    pub until: Option<Instant>,
    /// The health probe that took the VM out first, as in `balancer/probe`.
    pub found_by: Option<String>,
    /// How long it took to do so.
    pub found_after: Option<Duration>,
    /// When a probe that had taken the VM out let it in again.
    pub back: Option<Instant>,
    /// Failed attempts of its probes.
    pub failed_probes: u64,
    /// Established connections that were lost.
    pub lost: u64,
    /// New connections that were refused: nothing listened.
    pub refused: u64,
    /// New connections, and UDP flows, that got no answer.
    pub unanswered: u64,
}

/// What can be the matter with a VM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Ailment {
    /// It hangs.
    #[default]
    Crashed,
    /// It was shut down.
    Stopped,
    /// Its application has ended.
    NotListening,
    /// Its application comes and goes.
    Flapping,
    /// It was started anew while it was well.
    Restarted,
    /// A network security group denies its health probes.
    ProbeBlocked,
    /// Its health probes get another status than 200.
    ProbeStatus,
    /// It answers later than a health probe waits.
    Slow,
    /// A link, not a VM: it took no packets.
    LinkDown,
}

impl Ailment {
    /// Returns the stable kebab-case name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Crashed => "crashed",
            Self::Stopped => "stopped",
            Self::NotListening => "not-listening",
            Self::Flapping => "flapping",
            Self::Restarted => "restarted",
            Self::ProbeBlocked => "probe-blocked",
            Self::ProbeStatus => "probe-status",
            Self::Slow => "slow",
            Self::LinkDown => "link-down",
        }
    }
}

impl OutageSummary {
    /// Returns how many connections suffered.
    #[must_use]
    pub const fn harm(&self) -> u64 {
        self.lost + self.refused + self.unanswered
    }

    pub(crate) fn to_value(&self) -> Value {
        object([
            ("backend", self.backend.as_str().into()),
            ("cause", self.ailment.name().into()),
            ("from_ns", self.from.as_nanos().into()),
            ("until_ns", self.until.map(Instant::as_nanos).into()),
            ("found_by", self.found_by.as_deref().into()),
            (
                "found_after_ns",
                self.found_after.map(Duration::as_nanos).into(),
            ),
            ("back_ns", self.back.map(Instant::as_nanos).into()),
            ("failed_probes", self.failed_probes.into()),
            ("lost", self.lost.into()),
            ("refused", self.refused.into()),
            ("unanswered", self.unanswered.into()),
        ])
    }
}
