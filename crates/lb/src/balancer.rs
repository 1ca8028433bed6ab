use crate::config::{ConfigError, FrontendId, LbConfig, LbPoolId, Rule};
use crate::event::LbEvent;
use crate::pool::{BackendIndex, Pool};
use crate::stickiness::{FlowKey, Full, StickyTable};
use crate::usage::{BackendUsage, RuleUsage};
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use core::fmt;
use plsim_table::FixedMap;
use plsim_types::{BackendId, DropReason, FiveTuple, Instant, KeyedHash, LinkId, Protocol};

/// A Standard Load Balancer's decisions.
///
/// Whoever drives it calls [`select`](Self::select) for every packet of the original direction,
/// [`set_backend`](Self::set_backend) when a backend goes down or comes back,
/// [`handle_timeout`](Self::handle_timeout) at [`poll_timeout`](Self::poll_timeout), and after each
/// of them [`poll_event`](Self::poll_event) until it is empty. Time never goes back: an earlier
/// `now` counts as the latest one seen.
///
/// # Examples
/// ```
/// use plsim_lb::{FrontendId, LbConfig, LbPoolId, LoadBalancer, PoolConfig, Rule, Stickiness};
/// use plsim_types::{BackendId, Duration, FiveTuple, Instant, LinkId, Protocol};
///
/// let mut balancer = LoadBalancer::new(&LbConfig {
///     seed: 1,
///     rules: vec![Rule {
///         frontend: FrontendId(0),
///         protocol: Protocol::Tcp,
///         frontend_port: 443,
///         backend_port: 8443,
///         pool: LbPoolId(0),
///     }],
///     pools: vec![PoolConfig {
///         backends: vec![BackendId(0), BackendId(1)],
///         may_change: true,
///     }],
///     stickiness: Stickiness { idle: Duration::from_secs(300), limit: 1_000_000 },
/// })?;
/// let tuple = FiveTuple {
///     protocol: Protocol::Tcp,
///     source: "10.0.0.4:50000".parse()?,
///     destination: "10.0.0.5:443".parse()?,
/// };
/// let syn = balancer.select(FrontendId(0), LinkId(7), &tuple, true, Instant::ZERO)?;
/// balancer.set_backend(syn.backend, false)?;
/// let data = balancer.select(FrontendId(0), LinkId(7), &tuple, false, Instant::ZERO)?;
/// assert_eq!((data.backend, data.backend_port), (syn.backend, 8443));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct LoadBalancer {
    /// Positions in `rules`, by [`rule_key`].
    rule_index: FixedMap<u64, u32>,
    rules: Vec<RuleUsage>,
    pools: Vec<Pool>,
    backends: Vec<Backend>,
    backend_index: BTreeMap<BackendId, BackendIndex>,
    /// One hash for each protocol, over link, client and ports; also places TCP flows in the table.
    flow_hash: [KeyedHash; 2],
    /// Adds the destination address, and makes the choice independent of the place in the table.
    choice_hash: KeyedHash,
    sticky: StickyTable,
    events: VecDeque<LbEvent>,
    unmatched: u64,
    was_full: bool,
}

/// Where a packet goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Selection {
    /// The backend.
    pub backend: BackendId,
    /// The port that the rule translates to.
    pub backend_port: u16,
}

/// Why a packet goes nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LbError {
    /// No rule of the frontend has the protocol and port (PLS-2).
    NoLbRule,
    /// No backend of the pool is up, and the flow is on none (D-PRB23).
    NoHealthyBackend,
    /// The flow is new and no further one can be remembered.
    EdgeTableFull,
}

/// Why a backend cannot go up or down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BackendError {
    /// No pool has it.
    Unknown(BackendId),
    /// This pool of it was configured as one that cannot change.
    FixedPool {
        /// The backend.
        backend: BackendId,
        /// The pool.
        pool: LbPoolId,
    },
}

#[derive(Debug, Clone)]
struct Backend {
    id: BackendId,
    up: bool,
    packets: u64,
    syns: u64,
}

impl LoadBalancer {
    /// Builds a load balancer whose backends are all up.
    ///
    /// # Errors
    /// The first [`ConfigError`] found.
    pub fn new(config: &LbConfig) -> Result<Self, ConfigError> {
        config.check()?;
        let mut rule_index = FixedMap::with_capacity(config.rules.len());
        for (rule, second) in config.rules.iter().zip(0_u32..) {
            let key = rule_key(rule.frontend, rule.protocol, rule.frontend_port);
            if let Some(first) = rule_index.insert(key, second) {
                let (first, second) = (first as usize, second as usize);
                return Err(ConfigError::DuplicateRule { first, second });
            }
        }
        let (backend_index, backends) = number_backends(config);
        let pools = config.pools.iter().map(|pool| {
            let members = pool.backends.iter();
            let members = members.map(|backend| backend_index[backend]).collect();
            Pool::new(members, pool.may_change)
        });
        let flow_hash = Protocol::ALL
            .map(|protocol| KeyedHash::new(config.seed, "lb-flow").derive(protocol.name()));
        let table_hash = flow_hash[Protocol::Tcp.index()];
        Ok(Self {
            rule_index,
            rules: config.rules.iter().copied().map(unused).collect(),
            pools: pools.collect(),
            sticky: StickyTable::new(&config.stickiness, table_hash, backends.len()),
            backends,
            backend_index,
            flow_hash,
            choice_hash: KeyedHash::new(config.seed, "lb-choice"),
            events: VecDeque::new(),
            unmatched: 0,
            was_full: false,
        })
    }

    /// Chooses the backend of a packet of the original direction.
    ///
    /// `tuple` is the packet's before any translation: from the client to the endpoint, whose port
    /// is the frontend port. `opens` tells that it is a TCP segment that opens a connection.
    /// A link belongs to one frontend and one endpoint address.
    ///
    /// TCP flows of a pool that may change keep the backend that their SYN got, except that a SYN
    /// is given to another backend when its own is down: it starts a new connection. A segment of
    /// an unknown flow, and every UDP datagram, goes where the hash says at that moment and
    /// leaves nothing behind.
    ///
    /// # Errors
    /// [`LbError`]; the packet is counted, and no flow is touched, added or moved.
    #[inline]
    pub fn select(
        &mut self,
        frontend: FrontendId,
        link: LinkId,
        tuple: &FiveTuple,
        opens: bool,
        now: Instant,
    ) -> Result<Selection, LbError> {
        let key = rule_key(frontend, tuple.protocol, tuple.destination.port());
        let Some(&rule) = self.rule_index.get(&key) else {
            self.unmatched += 1;
            return Err(LbError::NoLbRule);
        };
        let Rule {
            pool, backend_port, ..
        } = self.rules[rule as usize].rule;
        let chosen = self.choose(pool, FlowKey::new(link, tuple), tuple, opens, now);
        let usage = &mut self.rules[rule as usize];
        match chosen {
            Ok(index) => {
                let syn = u64::from(opens && tuple.protocol == Protocol::Tcp);
                usage.packets += 1;
                usage.syns += syn;
                let backend = &mut self.backends[usize::from(index)];
                backend.packets += 1;
                backend.syns += syn;
                Ok(Selection {
                    backend: backend.id,
                    backend_port,
                })
            }
            Err(error) => {
                match error {
                    LbError::NoLbRule => self.unmatched += 1,
                    LbError::NoHealthyBackend => usage.no_healthy_backend += 1,
                    LbError::EdgeTableFull => usage.table_full += 1,
                }
                Err(error)
            }
        }
    }

    /// Takes a backend out of the choice for new flows, or back into it.
    ///
    /// TCP flows that are on it stay (D-PRB23). Setting what is already so changes nothing.
    ///
    /// # Errors
    /// [`BackendError`]; nothing changes.
    pub fn set_backend(&mut self, backend: BackendId, up: bool) -> Result<(), BackendError> {
        let Some(&index) = self.backend_index.get(&backend) else {
            return Err(BackendError::Unknown(backend));
        };
        if let Some((_, pool)) = pools_of(&self.pools, index).find(|(pool, _)| !pool.may_change) {
            return Err(BackendError::FixedPool { backend, pool });
        }
        if core::mem::replace(&mut self.backends[usize::from(index)].up, up) == up {
            return Ok(());
        }
        let sticky_flows = self.sticky.on_backend(index);
        self.events.push_back(match up {
            true => LbEvent::BackendUp {
                backend,
                sticky_flows,
            },
            false => LbEvent::BackendDown {
                backend,
                sticky_flows,
            },
        });
        for (pool, id) in self.pools.iter_mut().zip(0..=u16::MAX) {
            if !pool.has(index) {
                continue;
            }
            let was_down = pool.is_down();
            pool.refresh(|member| self.backends[usize::from(member)].up);
            match (was_down, pool.is_down()) {
                (false, true) => self
                    .events
                    .push_back(LbEvent::PoolDown { pool: LbPoolId(id) }),
                (true, false) => self
                    .events
                    .push_back(LbEvent::PoolUp { pool: LbPoolId(id) }),
                (true, true) | (false, false) => {}
            }
        }
        Ok(())
    }

    /// Forgets the flows whose idle time is over at `now`: a flow is there until one nanosecond
    /// before its deadline. Calling it early is harmless, calling it late changes no decision.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.sticky.advance(now);
    }

    /// Returns when [`handle_timeout`](Self::handle_timeout) should be called next, never later
    /// than the earliest deadline; after a call it lies after that call's time.
    #[must_use]
    pub const fn poll_timeout(&self) -> Option<Instant> {
        self.sticky.next_wake()
    }

    /// Takes the next event out, in the order in which they happened.
    pub fn poll_event(&mut self) -> Option<LbEvent> {
        self.events.pop_front()
    }

    /// Returns what every backend got, in ascending order of [`BackendId`].
    pub fn backend_usage(&self) -> impl Iterator<Item = BackendUsage> {
        self.backends
            .iter()
            .zip(0..=BackendIndex::MAX)
            .map(|(backend, index)| BackendUsage {
                backend: backend.id,
                up: backend.up,
                packets: backend.packets,
                syns: backend.syns,
                sticky_flows: self.sticky.on_backend(index),
            })
    }

    /// Returns what every rule did, in configured order.
    pub fn rule_usage(&self) -> impl Iterator<Item = RuleUsage> {
        self.rules.iter().copied()
    }

    /// Returns how many packets matched no rule.
    #[must_use]
    pub const fn unmatched(&self) -> u64 {
        self.unmatched
    }

    /// Returns how many TCP flows are remembered.
    #[must_use]
    pub const fn sticky_flows(&self) -> u32 {
        self.sticky.len()
    }

    /// Returns the bytes of heap memory that remembered flows hold.
    #[must_use]
    pub fn sticky_bytes(&self) -> usize {
        self.sticky.memory_bytes()
    }

    /// Returns the backend of a packet.
    #[inline]
    fn choose(
        &mut self,
        pool: LbPoolId,
        key: FlowKey,
        tuple: &FiveTuple,
        opens: bool,
        now: Instant,
    ) -> Result<BackendIndex, LbError> {
        let pool = &self.pools[usize::from(pool.0)];
        let hash = key.hash(self.flow_hash[tuple.protocol.index()]);
        let pick = || {
            let address = u64::from(tuple.destination.ip().to_bits());
            pool.pick(self.choice_hash.pair(hash, address))
                .ok_or(LbError::NoHealthyBackend)
        };
        let remembers = match tuple.protocol {
            Protocol::Tcp => pool.may_change,
            Protocol::Udp => false,
        };
        if !remembers {
            return pick();
        }
        self.sticky.advance(now);
        let Some(position) = self.sticky.find(&key, hash) else {
            let backend = pick()?;
            if opens {
                self.remember(key, hash, backend)?;
            }
            return Ok(backend);
        };
        let backend = self.sticky.backend(position);
        if opens && !self.backends[usize::from(backend)].up {
            let backend = pick()?;
            self.sticky.move_to(position, backend);
            return Ok(backend);
        }
        self.sticky.touch(position);
        Ok(backend)
    }

    fn remember(&mut self, key: FlowKey, hash: u64, backend: BackendIndex) -> Result<(), LbError> {
        self.sticky.insert(key, hash, backend).map_err(|Full| {
            if !core::mem::replace(&mut self.was_full, true) {
                let limit = self.sticky.len();
                self.events.push_back(LbEvent::TableFull { limit });
            }
            LbError::EdgeTableFull
        })
    }
}

impl fmt::Display for LbError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoLbRule => "no load-balancing rule has the protocol and port",
            Self::NoHealthyBackend => "no backend of the pool is up",
            Self::EdgeTableFull => "the flow table is full",
        })
    }
}

impl core::error::Error for LbError {}

impl From<LbError> for DropReason {
    fn from(error: LbError) -> Self {
        match error {
            LbError::NoLbRule => Self::NoLbRule,
            LbError::NoHealthyBackend => Self::NoHealthyBackend,
            LbError::EdgeTableFull => Self::EdgeTableFull,
        }
    }
}

impl fmt::Display for BackendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(backend) => write!(f, "backend {} is in no pool", backend.0),
            Self::FixedPool { backend, pool } => write!(
                f,
                "backend {} is in pool {}, which cannot change",
                backend.0, pool.0
            ),
        }
    }
}

impl core::error::Error for BackendError {}

/// Packs what a rule is found by.
#[inline]
const fn rule_key(frontend: FrontendId, protocol: Protocol, port: u16) -> u64 {
    (frontend.0 as u64) << 32 | (protocol.number() as u64) << 16 | port as u64
}

/// Numbers the backends of all pools in ascending order of their ids.
fn number_backends(config: &LbConfig) -> (BTreeMap<BackendId, BackendIndex>, Vec<Backend>) {
    let members = config.pools.iter().flat_map(|pool| &pool.backends);
    let mut index: BTreeMap<_, _> = members.map(|&backend| (backend, 0)).collect();
    for (place, number) in index.values_mut().zip(0..=BackendIndex::MAX) {
        *place = number;
    }
    let backends = index.keys().map(|&id| Backend {
        id,
        up: true,
        packets: 0,
        syns: 0,
    });
    let backends = backends.collect();
    (index, backends)
}

fn pools_of(pools: &[Pool], backend: BackendIndex) -> impl Iterator<Item = (&Pool, LbPoolId)> {
    let numbered = pools.iter().zip(0..=u16::MAX);
    numbered
        .filter(move |(pool, _)| pool.has(backend))
        .map(|(pool, id)| (pool, LbPoolId(id)))
}

const fn unused(rule: Rule) -> RuleUsage {
    RuleUsage {
        rule,
        packets: 0,
        syns: 0,
        no_healthy_backend: 0,
        table_full: 0,
    }
}
