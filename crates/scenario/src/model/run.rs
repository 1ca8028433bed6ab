use crate::units::{ByteSize, TimeSpan};
use plsim_types::Duration;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How long the run takes, and its seed.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// A line that says what the scenario shows.
    pub title: Option<String>,
    /// How much virtual time is simulated; above zero.
    pub duration: TimeSpan,
    /// From when on times are measured (connecting, responses, borrows, ...): what was measured before is
    /// forgotten. Counts are of the whole run. Below `duration`.
    pub warm_up: Option<TimeSpan>,
    /// The seed of all randomness: the same seed gives the same run, byte for byte.
    #[serde(default)]
    pub seed: u64,
    /// The most memory the run may be estimated to need; a scenario beyond it is refused before it
    /// starts.
    #[serde(default = "memory_limit")]
    pub memory_limit: ByteSize,
}

const fn memory_limit() -> ByteSize {
    ByteSize(16 << 30)
}

/// What is recorded while the scenario runs.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Output {
    /// Virtual time between two rows of the time series; above zero, at most 10 million rows.
    pub interval: TimeSpan,
    /// Whether packets are captured in `capture.pcapng`.
    pub capture: bool,
    /// Whether `events.jsonl` has a record for each flow.
    pub flows: bool,
    /// Bytes kept of each captured packet.
    #[schemars(range(min = 64, max = 262_144))]
    pub snap_length: u32,
}

impl Default for Output {
    fn default() -> Self {
        Self {
            interval: TimeSpan(Duration::from_secs(1)),
            capture: false,
            flows: false,
            snap_length: 262_144,
        }
    }
}
