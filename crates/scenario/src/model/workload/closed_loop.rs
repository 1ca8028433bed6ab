use crate::units::TimeSpan;
use plsim_types::Duration;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// When and how often a client of a closed loop tries again.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Retry {
    /// Attempts in all for one operation; 1 means no retry.
    #[serde(default = "three")]
    #[schemars(range(min = 1, max = 1_000))]
    pub max_attempts: u32,
    /// The wait before the second attempt; it doubles each time.
    #[serde(default = "backoff")]
    pub backoff: TimeSpan,
    /// The longest wait.
    #[serde(default = "backoff_max")]
    pub backoff_max: TimeSpan,
    /// What chance does to the wait.
    #[serde(default)]
    pub jitter: Jitter,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            max_attempts: three(),
            backoff: backoff(),
            backoff_max: backoff_max(),
            jitter: Jitter::default(),
        }
    }
}

/// What chance does to the wait before a retry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Jitter {
    /// Nothing: clients that failed together come back together.
    None,
    /// Half of it is certain, the rest is drawn evenly.
    Equal,
    /// All of it is drawn evenly, from nothing to the whole.
    #[default]
    Full,
}

const fn three() -> u32 {
    3
}

const fn backoff() -> TimeSpan {
    TimeSpan(Duration::from_millis(100))
}

const fn backoff_max() -> TimeSpan {
    TimeSpan(Duration::from_secs(20))
}
