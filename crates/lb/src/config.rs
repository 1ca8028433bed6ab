use crate::rehash::Rehash;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::fmt;
use core::net::Ipv4Addr;
use plsim_types::{BackendId, Duration, Protocol, is_prime};

/// The position of a frontend IP configuration in [`LbConfig::frontends`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FrontendId(pub u16);

/// The position of a backend pool in [`LbConfig::pools`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LbPoolId(pub u16);

/// The position of a health probe in [`LbConfig::probes`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProbeId(pub u16);

/// The position of a rule in [`LbConfig::rules`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuleId(pub u16);

/// A frontend IP configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frontend {
    /// Its address.
    pub address: Ipv4Addr,
    /// The NAT IPs of the Private Link Service on it, for [`HashTuple::NatIp`]; empty without one.
    pub nat_ips: Vec<Ipv4Addr>,
}

/// What a rule matches on its frontend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Listen {
    /// One port of one protocol.
    Port(Protocol, u16),
    /// Every port of TCP and UDP: protocol All, port 0 ("HA ports", D-LBLIM). The backend port is
    /// the packet's own.
    All,
}

/// Which fields of a flow decide its backend (D-DIST).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Distribution {
    /// Source and destination address and port, and protocol (`Default`).
    #[default]
    FiveTuple,
    /// Source and destination address (`SourceIP`).
    TwoTuple,
    /// Source and destination address, and protocol (`SourceIPProtocol`).
    ThreeTuple,
}

/// A load-balancing rule: which pool serves a frontend's port, and on which port (PLS-2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// The frontend it belongs to.
    pub frontend: FrontendId,
    /// What it matches.
    pub listen: Listen,
    /// The port that backends listen on, 1..=65535; 0 with [`Listen::All`].
    pub backend_port: u16,
    /// The pool that serves it.
    pub pool: LbPoolId,
    /// The probe that decides which backends get new flows; without one all of them do.
    pub probe: Option<ProbeId>,
    /// Which fields of a flow decide its backend.
    pub distribution: Distribution,
    /// Whether a UDP flow keeps its backend while that one is in the choice
    /// (`enableConnectionTracking`, API).
    pub connection_tracking: bool,
    /// A remembered flow whose last packet is this long ago is a new one; `None`: only
    /// [`Stickiness::idle`] counts.
    pub forget_after: Option<Duration>,
}

/// A backend VM that is, or may become, a member of pools.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Backend {
    /// Its number.
    pub id: BackendId,
    /// Its address, which decides its place in the choice.
    pub address: Ipv4Addr,
}

/// A backend pool; all its backends are up at the start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolConfig {
    /// Its members at the start with what the owner says of each; may be empty.
    pub members: Vec<(BackendId, AdminState)>,
    /// Whether anything about it may change. A pool that cannot change keeps no flow table,
    /// because the hash alone always gives the same answer.
    pub may_change: bool,
}

/// What a pool's owner says of a member (D-ADM).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum AdminState {
    /// The probes decide.
    #[default]
    None,
    /// It gets new flows whatever the probes say.
    Up,
    /// It gets no new flows whatever the probes say.
    Down,
}

/// A health probe, as far as the choice needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ProbeConfig {
    /// What holds when it finds no backend healthy.
    pub no_healthy_backends: NoHealthyBackends,
}

/// What holds when no backend of a pool is healthy (`noHealthyBackendsBehavior`, API).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum NoHealthyBackends {
    /// Nobody gets new flows.
    #[default]
    AllProbedDown,
    /// Everybody gets new flows, but for those with [`AdminState::Down`].
    AllProbedUp,
}

/// What the hash takes for a flow's source and destination (unpublished).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum HashTuple {
    /// The client and the private endpoint: the load balancer stands before the NAT.
    #[default]
    PreNat,
    /// A NAT IP, picked for each flow by a hash of its own, and the frontend's address.
    NatIp,
}

/// How well the hash mixes (I#119294).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum HashStrength {
    /// Every bit depends on every field.
    #[default]
    Strong,
    /// The lowest bit is the parity of the fields' lowest bits: taken modulo an even number of
    /// backends, even client ports of one client reach half of them.
    WeakParity,
}

/// How a flow becomes a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HashConfig {
    /// Source and destination.
    pub tuple: HashTuple,
    /// Whether the link is hashed, too: if not, overlapping consumers collide.
    pub includes_link: bool,
    /// How well it mixes.
    pub strength: HashStrength,
}

/// How flows whose backend is kept are remembered: TCP of pools that may change, tracked UDP.
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
    /// The frontends; the position is the [`FrontendId`].
    pub frontends: Vec<Frontend>,
    /// The rules; the position is the [`RuleId`].
    pub rules: Vec<Rule>,
    /// Every VM that a pool has or may get, each once.
    pub backends: Vec<Backend>,
    /// The pools; the position is the [`LbPoolId`].
    pub pools: Vec<PoolConfig>,
    /// The probes; the position is the [`ProbeId`].
    pub probes: Vec<ProbeConfig>,
    /// How a flow becomes a number.
    pub hash: HashConfig,
    /// How a number becomes a backend, and so what moves when members come and go.
    pub rehash: Rehash,
    /// Whether the established TCP flows of a pool with a single member end when that one is not
    /// healthy: they are documented to go on "given that a pool has more than one" (D-PRB23).
    pub lone_backend_ends: bool,
    /// The flow table.
    pub stickiness: Stickiness,
}

/// Why a configuration is not a load balancer; `rule` is a position in [`LbConfig::rules`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConfigError {
    /// A rule's frontend or backend port is zero, or that of a rule for all ports is not.
    Port {
        /// The rule.
        rule: usize,
    },
    /// A rule names a frontend that does not exist.
    UnknownFrontend {
        /// The rule.
        rule: usize,
        /// The frontend it names.
        frontend: FrontendId,
    },
    /// A rule names a pool that does not exist.
    UnknownPool {
        /// The rule.
        rule: usize,
        /// The pool it names.
        pool: LbPoolId,
    },
    /// A rule names a probe that does not exist.
    UnknownProbe {
        /// The rule.
        rule: usize,
        /// The probe it names.
        probe: ProbeId,
    },
    /// Two rules serve the same frontend, protocol and frontend port; a rule for all ports is
    /// alone on its frontend.
    DuplicateRule {
        /// The earlier rule.
        first: usize,
        /// The later rule.
        second: usize,
    },
    /// A backend is listed twice, or has the address of another.
    DuplicateBackend {
        /// The backend.
        backend: BackendId,
    },
    /// A pool lists a backend twice.
    DuplicateMember {
        /// The pool.
        pool: LbPoolId,
        /// The backend.
        backend: BackendId,
    },
    /// A pool has a member that is not among the backends.
    UnknownBackend {
        /// The pool.
        pool: LbPoolId,
        /// The backend.
        backend: BackendId,
    },
    /// There are more rules, pools, probes or frontends than can be counted (16 000).
    TooMany,
    /// The size of the Maglev table is no prime number below [`Rehash::MOST_PLACES`].
    MaglevSize {
        /// The size.
        size: u32,
    },
    /// The Maglev table has fewer places than there are backends.
    MaglevTooSmall {
        /// The size.
        size: u32,
    },
    /// A weak hash is taken modulo the number of backends, or its weakness has no effect.
    WeakHash,
    /// The stickiness idle time is zero: no flow would be remembered.
    ZeroIdle,
    /// The stickiness limit is zero: every flow would be refused.
    ZeroLimit,
}

/// The most rules, pools, probes and frontends.
const MOST: usize = 16_000;

impl Default for HashConfig {
    /// The private endpoint's tuple and its link, well mixed.
    fn default() -> Self {
        Self {
            tuple: HashTuple::PreNat,
            includes_link: true,
            strength: HashStrength::Strong,
        }
    }
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
        let lists = [
            self.rules.len(),
            self.pools.len(),
            self.probes.len(),
            self.frontends.len(),
        ];
        if lists.iter().any(|&count| count > MOST) {
            return Err(ConfigError::TooMany);
        }
        self.check_hash()?;
        self.check_pools()?;
        for (rule, index) in self.rules.iter().zip(0..) {
            self.check_rule(rule, index)?;
        }
        Ok(())
    }

    fn check_hash(&self) -> Result<(), ConfigError> {
        if let Rehash::Maglev { size } = self.rehash {
            if size > Rehash::MOST_PLACES || !is_prime(size) {
                return Err(ConfigError::MaglevSize { size });
            }
            if (size as usize) < self.backends.len() {
                return Err(ConfigError::MaglevTooSmall { size });
            }
        }
        match (self.hash.strength, self.rehash) {
            (HashStrength::WeakParity, Rehash::Maglev { .. } | Rehash::Rendezvous) => {
                Err(ConfigError::WeakHash)
            }
            _ => Ok(()),
        }
    }

    fn check_pools(&self) -> Result<(), ConfigError> {
        let mut addresses = BTreeSet::new();
        let mut known = BTreeMap::new();
        for backend in &self.backends {
            let new = known.insert(backend.id, ()).is_none();
            if !new || !addresses.insert(backend.address) {
                let backend = backend.id;
                return Err(ConfigError::DuplicateBackend { backend });
            }
        }
        for (pool, id) in self.pools.iter().zip(0..) {
            let pool_id = LbPoolId(id);
            let mut seen = BTreeSet::new();
            for &(backend, _) in &pool.members {
                if !seen.insert(backend) {
                    let pool = pool_id;
                    return Err(ConfigError::DuplicateMember { pool, backend });
                }
                if !known.contains_key(&backend) {
                    let pool = pool_id;
                    return Err(ConfigError::UnknownBackend { pool, backend });
                }
            }
        }
        Ok(())
    }

    fn check_rule(&self, rule: &Rule, index: usize) -> Result<(), ConfigError> {
        let ports_fit = match rule.listen {
            Listen::Port(_, port) => port != 0 && rule.backend_port != 0,
            Listen::All => rule.backend_port == 0,
        };
        if !ports_fit {
            return Err(ConfigError::Port { rule: index });
        }
        if usize::from(rule.frontend.0) >= self.frontends.len() {
            let frontend = rule.frontend;
            return Err(ConfigError::UnknownFrontend {
                rule: index,
                frontend,
            });
        }
        if usize::from(rule.pool.0) >= self.pools.len() {
            let pool = rule.pool;
            return Err(ConfigError::UnknownPool { rule: index, pool });
        }
        match rule.probe {
            Some(probe) if usize::from(probe.0) >= self.probes.len() => {
                Err(ConfigError::UnknownProbe { rule: index, probe })
            }
            _ => Ok(()),
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Port { rule } => write!(
                f,
                "the ports of rule {rule} are not what its protocol needs: 0 for all, else above"
            ),
            Self::UnknownFrontend { rule, frontend } => write!(
                f,
                "rule {rule} names frontend {}, which does not exist",
                frontend.0
            ),
            Self::UnknownPool { rule, pool } => {
                write!(f, "rule {rule} names pool {}, which does not exist", pool.0)
            }
            Self::UnknownProbe { rule, probe } => write!(
                f,
                "rule {rule} names probe {}, which does not exist",
                probe.0
            ),
            Self::DuplicateRule { first, second } => write!(
                f,
                "rules {first} and {second} serve the same frontend, protocol and port"
            ),
            Self::DuplicateBackend { backend } => {
                write!(f, "backend {} or its address is there twice", backend.0)
            }
            Self::DuplicateMember { pool, backend } => {
                write!(f, "pool {} lists backend {} twice", pool.0, backend.0)
            }
            Self::UnknownBackend { pool, backend } => write!(
                f,
                "pool {} lists backend {}, which does not exist",
                pool.0, backend.0
            ),
            Self::TooMany => write!(f, "more than {MOST} rules, pools, probes or frontends"),
            Self::MaglevSize { size } => write!(
                f,
                "the Maglev table has {size} places, which is no prime number up to {}",
                Rehash::MOST_PLACES
            ),
            Self::MaglevTooSmall { size } => {
                write!(f, "the Maglev table has {size} places, fewer than backends")
            }
            Self::WeakHash => {
                f.write_str("a weak hash is taken modulo the number of backends, not otherwise")
            }
            Self::ZeroIdle => f.write_str("the idle time of the flow table is zero"),
            Self::ZeroLimit => f.write_str("the limit of the flow table is zero"),
        }
    }
}

impl core::error::Error for ConfigError {}
