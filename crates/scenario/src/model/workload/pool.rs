use crate::units::TimeSpan;
use plsim_types::Duration;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A pool of connections that requests borrow.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Pool {
    /// How many of these pools each VM has: one for each instance of the application. Requests go to all
    /// pools of the workload in turn, or at random if their arrivals are "poisson".
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 1_000))]
    pub pools_per_vm: u16,
    /// The most connections of a pool.
    #[serde(default = "ten")]
    #[schemars(range(min = 1, max = 100_000))]
    pub size: u32,
    /// How many a pool opens at the start and keeps when idle ones are closed.
    #[serde(default)]
    pub min_idle: u32,
    /// How long a connection may be unused before the pool closes it; for ever if absent.
    pub max_idle: Option<TimeSpan>,
    /// How old a connection may become; the pool closes it when it is unused. As old as it likes if
    /// absent.
    pub max_lifetime: Option<TimeSpan>,
    /// Tests a connection before it is lent, with a request of 64 bytes and as long a response.
    #[serde(default)]
    pub validation: bool,
    /// How long a connection must have rested to be tested then.
    pub validate_after_idle: Option<TimeSpan>,
    /// How long the response to a test may take; 5 s if absent.
    pub validation_timeout: Option<TimeSpan>,
    /// How long a connection may rest before the pool tests it to keep it alive; never if absent or "0s".
    pub keepalive_time: Option<TimeSpan>,
    /// How long a request waits for a connection; "0s" means for as long as it takes.
    #[serde(default = "borrow_timeout")]
    pub borrow_timeout: TimeSpan,
    /// How long a request may take in all: waiting for a connection and for the response. Without limit
    /// if absent.
    pub total_timeout: Option<TimeSpan>,
    /// What becomes of requests that wait when a connection cannot be opened.
    #[serde(default)]
    pub on_connect_failure: OnConnectFailure,
    /// Which idle connection is lent first.
    #[serde(default)]
    pub order: PoolOrder,
    /// When the pool notices that the other side, or the network, has ended an idle connection.
    #[serde(default)]
    pub notice_close: NoticeClose,
}

/// Which idle connection is lent first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PoolOrder {
    /// The one used last.
    #[default]
    Lifo,
    /// The one that has rested longest.
    Fifo,
    /// The one that was opened first: in a quiet time the others are never used.
    Oldest,
}

/// What becomes of requests when a pool cannot open a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OnConnectFailure {
    /// They wait on, and the pool tries again after 1 s.
    #[default]
    Wait,
    /// The one that has waited longest fails at once: it was the one that wanted the connection.
    Fail,
}

/// When a pool notices the end of an idle connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum NoticeClose {
    /// When it is used: nobody reads from it meanwhile, as in blocking drivers.
    #[default]
    OnBorrow,
    /// At once: somebody reads from it all the time, as in event loops.
    AtOnce,
}

impl Pool {
    /// Returns after how long a rest the pool tests a connection to keep it alive, if it does.
    #[must_use]
    pub fn keepalives(&self) -> Option<TimeSpan> {
        self.keepalive_time.filter(|span| !span.0.is_zero())
    }
}

const fn one() -> u16 {
    1
}

const fn ten() -> u32 {
    10
}

const fn borrow_timeout() -> TimeSpan {
    TimeSpan(Duration::from_secs(30))
}
