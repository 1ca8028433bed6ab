use crate::units::TimeSpan;
use plsim_types::Duration;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A pool of connections that requests borrow.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Pool {
    /// The most connections.
    #[serde(default = "ten")]
    #[schemars(range(min = 1, max = 100_000))]
    pub size: u32,
    /// How many it opens at the start and keeps when idle ones are closed.
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
    /// How long a connection may rest before the pool tests it to keep it alive; never if absent.
    pub keepalive_time: Option<TimeSpan>,
    /// How long a request waits for a connection.
    #[serde(default = "borrow_timeout")]
    pub borrow_timeout: TimeSpan,
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

const fn ten() -> u32 {
    10
}

const fn borrow_timeout() -> TimeSpan {
    TimeSpan(Duration::from_secs(30))
}
