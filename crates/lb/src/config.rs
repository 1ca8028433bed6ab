use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::fmt;
use plsim_types::{BackendId, Duration, Protocol};

/// The position of a frontend IP configuration in its load balancer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FrontendId(pub u16);

/// The position of a backend pool in [`LbConfig::pools`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LbPoolId(pub u16);

/// A load-balancing rule: which pool serves a frontend's port, and on which port (PLS-2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rule {
    /// The frontend it belongs to.
    pub frontend: FrontendId,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// The port that clients contact, 1..=65535.
    pub frontend_port: u16,
    /// The port that backends listen on, 1..=65535.
    pub backend_port: u16,
    /// The pool that serves it.
    pub pool: LbPoolId,
}

/// A backend pool; all its backends are up at the start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolConfig {
    /// Its backends, in the order that the hash counts them; may be empty.
    pub backends: Vec<BackendId>,
    /// Whether a backend of it may go down or come back. A pool that cannot change keeps no
    /// flow table, because the hash alone always gives the same answer.
    pub may_change: bool,
}

/// How TCP flows of pools that may change are remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stickiness {
    /// How long a flow is remembered after its last packet of the original direction, above zero.
    pub idle: Duration,
    /// How many flows are remembered at most, 1 and up; further ones are refused.
    pub limit: u32,
}

/// Everything a load balancer is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LbConfig {
    /// Keys the hash; balancers with the same seed decide alike.
    pub seed: u64,
    /// The rules, at most one for each frontend, protocol and frontend port.
    pub rules: Vec<Rule>,
    /// The pools; the position is the [`LbPoolId`].
    pub pools: Vec<PoolConfig>,
    /// The flow table.
    pub stickiness: Stickiness,
}

/// Why a configuration is not a load balancer; `rule` is a position in [`LbConfig::rules`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConfigError {
    /// A rule's frontend or backend port is zero.
    PortZero {
        /// The rule.
        rule: usize,
    },
    /// A rule names a pool that does not exist.
    UnknownPool {
        /// The rule.
        rule: usize,
        /// The pool it names.
        pool: LbPoolId,
    },
    /// Two rules serve the same frontend, protocol and frontend port.
    DuplicateRule {
        /// The earlier rule.
        first: usize,
        /// The later rule.
        second: usize,
    },
    /// A pool lists a backend twice.
    DuplicateBackend {
        /// The pool.
        pool: LbPoolId,
        /// The backend.
        backend: BackendId,
    },
    /// There are more pools than a [`LbPoolId`] can count (65 536).
    TooManyPools,
    /// The stickiness idle time is zero: no flow would be remembered.
    ZeroIdle,
    /// The stickiness limit is zero: every flow would be refused.
    ZeroLimit,
}

impl LbConfig {
    /// Checks everything but the uniqueness of rules, which their index finds.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        if self.stickiness.idle.is_zero() {
            return Err(ConfigError::ZeroIdle);
        }
        if self.stickiness.limit == 0 {
            return Err(ConfigError::ZeroLimit);
        }
        if self.pools.len() > usize::from(u16::MAX) + 1 {
            return Err(ConfigError::TooManyPools);
        }
        for (pool, id) in self.pools.iter().zip(0..=u16::MAX) {
            let mut seen = BTreeSet::new();
            if let Some(&backend) = pool.backends.iter().find(|&&backend| !seen.insert(backend)) {
                let pool = LbPoolId(id);
                return Err(ConfigError::DuplicateBackend { pool, backend });
            }
        }
        for (rule, index) in self.rules.iter().zip(0..) {
            if rule.frontend_port == 0 || rule.backend_port == 0 {
                return Err(ConfigError::PortZero { rule: index });
            }
            if usize::from(rule.pool.0) >= self.pools.len() {
                let pool = rule.pool;
                return Err(ConfigError::UnknownPool { rule: index, pool });
            }
        }
        Ok(())
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PortZero { rule } => write!(f, "rule {rule} has port 0"),
            Self::UnknownPool { rule, pool } => {
                write!(f, "rule {rule} names pool {}, which does not exist", pool.0)
            }
            Self::DuplicateRule { first, second } => write!(
                f,
                "rules {first} and {second} serve the same frontend, protocol and port"
            ),
            Self::DuplicateBackend { pool, backend } => {
                write!(f, "pool {} lists backend {} twice", pool.0, backend.0)
            }
            Self::TooManyPools => f.write_str("more than 65536 pools"),
            Self::ZeroIdle => f.write_str("the idle time of the flow table is zero"),
            Self::ZeroLimit => f.write_str("the limit of the flow table is zero"),
        }
    }
}

impl core::error::Error for ConfigError {}
