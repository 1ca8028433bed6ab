use crate::choice::Unsettled;
use crate::config::{
    Backend, ConfigError, Frontend, FrontendId, LbConfig, LbPoolId, Listen, NoHealthyBackends,
    ProbeConfig, Rule, RuleId,
};
use crate::distribution::FlowHash;
use crate::event::LbEvent;
use crate::pool::{Group, Pool};
use crate::rehash::{BackendIndex, Chooser};
use crate::stickiness::StickyTable;
use crate::usage::{BackendUsage, MembershipChange, RuleUsage};
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;
use core::net::Ipv4Addr;
use plsim_table::FixedMap;
use plsim_types::{BackendId, DropReason, FiveTuple, Instant, KeyedHash, LinkId, Protocol};

/// A Standard Load Balancer's decisions.
///
/// Whoever drives it calls [`select`](Self::select) for every packet of the original direction,
/// [`set_health`](Self::set_health) when a probe changes its mind and the other setters as the
/// owner wishes, [`handle_timeout`](Self::handle_timeout) at [`poll_timeout`](Self::poll_timeout),
/// and after each of them [`poll_event`](Self::poll_event) until it is empty. Time never goes
/// back: an earlier `now` counts as the latest one seen.
///
/// # Examples
/// ```
/// use plsim_lb::{
///     AdminState, Backend, Distribution, Frontend, FrontendId, HashConfig, LbConfig, LbPoolId,
///     Listen, LoadBalancer, PoolConfig, Rehash, Rule, Stickiness,
/// };
/// use plsim_types::{BackendId, Duration, FiveTuple, Instant, LinkId, Protocol};
///
/// let backend = |id, address: &str| Ok::<_, std::net::AddrParseError>(Backend {
///     id: BackendId(id),
///     address: address.parse()?,
/// });
/// let mut balancer = LoadBalancer::new(&LbConfig {
///     seed: 1,
///     frontends: vec![Frontend { address: "10.2.0.4".parse()?, nat_ips: vec![] }],
///     rules: vec![Rule {
///         frontend: FrontendId(0),
///         listen: Listen::Port(Protocol::Tcp, 443),
///         backend_port: 8443,
///         pool: LbPoolId(0),
///         probe: None,
///         distribution: Distribution::FiveTuple,
///         connection_tracking: false,
///         forget_after: None,
///     }],
///     backends: vec![backend(0, "10.2.1.4")?, backend(1, "10.2.1.5")?],
///     pools: vec![PoolConfig {
///         members: vec![(BackendId(0), AdminState::None), (BackendId(1), AdminState::None)],
///         may_change: true,
///     }],
///     probes: vec![],
///     hash: HashConfig::default(),
///     rehash: Rehash::default(),
///     lone_backend_ends: true,
///     stickiness: Stickiness { idle: Duration::from_secs(300), limit: 1_000_000 },
/// })?;
/// let tuple = FiveTuple {
///     protocol: Protocol::Tcp,
///     source: "10.0.0.4:50000".parse()?,
///     destination: "10.0.0.5:443".parse()?,
/// };
/// let syn = balancer.select(FrontendId(0), LinkId(7), &tuple, true, Instant::ZERO)?;
/// balancer.set_backend(syn.backend, false, Instant::ZERO)?;
/// let data = balancer.select(FrontendId(0), LinkId(7), &tuple, false, Instant::ZERO)?;
/// assert_eq!((data.backend, data.backend_port), (syn.backend, 8443));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct LoadBalancer {
    pub(crate) frontends: Vec<Frontend>,
    /// Positions in `rules`, by [`rule_key`].
    rule_index: FixedMap<u64, u16>,
    /// The rule for all ports of each frontend.
    all_ports: Vec<Option<u16>>,
    pub(crate) rules: Vec<RuleState>,
    pub(crate) routes: Vec<Route>,
    pub(crate) pools: Vec<Pool>,
    pub(crate) groups: Vec<Group>,
    /// Makes the chooser of a further group.
    pub(crate) chooser: Chooser,
    pub(crate) backends: Vec<BackendState>,
    pub(crate) backend_index: BTreeMap<BackendId, BackendIndex>,
    pub(crate) probes: Vec<ProbeState>,
    pub(crate) flow_hash: FlowHash,
    pub(crate) lone_backend_ends: bool,
    pub(crate) sticky: StickyTable,
    /// Where datagrams of UDP flows went that are not sticky: only to count those that move.
    pub(crate) stateless: StickyTable,
    pub(crate) changes: Vec<MembershipChange>,
    pub(crate) events: VecDeque<LbEvent>,
    unmatched: u64,
    pub(crate) was_full: bool,
}

/// Where a packet goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Selection {
    /// The backend.
    pub backend: BackendId,
    /// The port that the rule translates to.
    pub backend_port: u16,
    /// The NAT IP that was hashed, as a position in [`Frontend::nat_ips`]: the one to try first.
    pub nat_ip: Option<u8>,
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

#[derive(Debug, Clone)]
pub(crate) struct BackendState {
    pub(crate) id: BackendId,
    pub(crate) address: Ipv4Addr,
    pub(crate) up: bool,
    packets: u64,
    syns: u64,
}

#[derive(Debug, Clone)]
pub(crate) struct RuleState {
    pub(crate) usage: RuleUsage,
    /// Position in `groups`.
    pub(crate) group: usize,
    /// The route of new flows.
    pub(crate) route: u16,
    /// The latest change of whom it chooses among, as a position in `changes`.
    pub(crate) latest_change: Option<usize>,
}

/// A rule with a backend port and a pool that it has or had: flows keep those they began with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Route {
    rule: u16,
    backend_port: u16,
    /// Position in `pools`.
    pub(crate) pool: usize,
}

impl Route {
    pub(crate) fn of(number: u16, rule: &Rule) -> Self {
        Self {
            rule: number,
            backend_port: rule.backend_port,
            pool: usize::from(rule.pool.0),
        }
    }
}

#[derive(Debug, Clone)]
pub(crate) struct ProbeState {
    pub(crate) no_healthy_backends: NoHealthyBackends,
    /// By [`BackendIndex`].
    pub(crate) healthy: Vec<bool>,
}

impl LoadBalancer {
    /// Builds a load balancer whose backends are all up and healthy.
    ///
    /// # Errors
    /// The first [`ConfigError`] found.
    pub fn new(config: &LbConfig) -> Result<Self, ConfigError> {
        config.check()?;
        let (rule_index, all_ports) = index_rules(config)?;
        let (backend_index, backends) = number_backends(config);
        let pools = config.pools.iter().map(|pool| {
            let members = pool.members.iter();
            let members = members.map(|(id, admin)| (backend_index[id], *admin));
            Pool {
                members: members.collect(),
                may_change: pool.may_change,
            }
        });
        let place = KeyedHash::new(config.seed, "lb-flow");
        let table = StickyTable::new(&config.stickiness, place, backends.len());
        let probe = |probe: &ProbeConfig| ProbeState {
            no_healthy_backends: probe.no_healthy_backends,
            healthy: vec![true; backends.len()],
        };
        let mut balancer = Self {
            frontends: config.frontends.clone(),
            rule_index,
            all_ports,
            rules: Vec::new(),
            routes: Vec::new(),
            pools: pools.collect(),
            groups: Vec::new(),
            chooser: Chooser::new(config.rehash, config.seed),
            probes: config.probes.iter().map(probe).collect(),
            backends,
            backend_index,
            flow_hash: FlowHash::new(config),
            lone_backend_ends: config.lone_backend_ends,
            stateless: table.clone(),
            sticky: table,
            changes: Vec::new(),
            events: VecDeque::new(),
            unmatched: 0,
            was_full: false,
        };
        for (rule, number) in config.rules.iter().zip(0..) {
            let state = RuleState {
                usage: unused(*rule),
                group: balancer.group_of(rule),
                route: number,
                latest_change: None,
            };
            balancer.rules.push(state);
            balancer.routes.push(Route::of(number, rule));
        }
        Ok(balancer)
    }

    /// Chooses the backend of a packet of the original direction.
    ///
    /// `tuple` is the packet's before any translation: from the client to the endpoint, whose port
    /// is the frontend port. `opens` tells that it is a TCP segment that opens a connection.
    /// A link belongs to one frontend and one endpoint address.
    ///
    /// TCP flows of a pool that may change keep the backend that their SYN got, except that a SYN
    /// is given to another backend when its own is not in the choice: it starts a new connection.
    /// So does any segment of a flow that the rule has forgotten. A segment of an unknown flow, and every UDP datagram, goes where the hash says at that
    /// moment and leaves nothing behind. A UDP flow of a rule with connection tracking keeps its
    /// backend as long as that one is in the choice.
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
        self.select_by(frontend, Some(link), tuple, opens, now)
    }

    /// Chooses the backend of a packet of a client that dials the frontend itself, without Private
    /// Link: as [`select`](Self::select), but no link and no NAT IP is hashed.
    ///
    /// # Errors
    /// [`LbError`], as for [`select`](Self::select).
    #[inline]
    pub fn select_direct(
        &mut self,
        frontend: FrontendId,
        tuple: &FiveTuple,
        opens: bool,
        now: Instant,
    ) -> Result<Selection, LbError> {
        self.select_by(frontend, None, tuple, opens, now)
    }

    #[inline]
    fn select_by(
        &mut self,
        frontend: FrontendId,
        link: Option<LinkId>,
        tuple: &FiveTuple,
        opens: bool,
        now: Instant,
    ) -> Result<Selection, LbError> {
        let Some(rule) = self.find_rule(frontend, tuple) else {
            self.unmatched += 1;
            return Err(LbError::NoLbRule);
        };
        let nat_ip = {
            let frontend = &self.frontends[usize::from(frontend.0)];
            self.flow_hash.nat_ip(frontend, link, tuple)
        };
        let packet = Unsettled {
            rule,
            frontend,
            link,
            tuple,
            opens,
            nat_ip,
        };
        let chosen = self.choose(&packet, now);
        let state = &mut self.rules[usize::from(rule)];
        let usage = &mut state.usage;
        match chosen {
            Ok(way) => {
                let syn = u64::from(opens && tuple.protocol == Protocol::Tcp);
                usage.packets += 1;
                usage.syns += syn;
                let backend = &mut self.backends[usize::from(way.backend)];
                backend.packets += 1;
                backend.syns += syn;
                Ok(Selection {
                    backend: backend.id,
                    backend_port: match usage.rule.listen {
                        Listen::All => tuple.destination.port(),
                        Listen::Port(..) => self.routes[usize::from(way.route)].backend_port,
                    },
                    nat_ip,
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
        self.rules.iter().map(|state| state.usage)
    }

    /// Returns every change of whom rules choose among, in order, the first
    /// [`MOST_CHANGES`](Self::MOST_CHANGES) of them.
    #[must_use]
    pub fn changes(&self) -> &[MembershipChange] {
        &self.changes
    }

    /// Returns how many packets matched no rule.
    #[must_use]
    pub const fn unmatched(&self) -> u64 {
        self.unmatched
    }

    /// Returns how many flows are remembered: TCP, and tracked UDP.
    #[must_use]
    pub const fn sticky_flows(&self) -> u32 {
        self.sticky.len()
    }

    /// Returns the bytes of heap memory that remembered flows hold.
    #[must_use]
    pub fn sticky_bytes(&self) -> usize {
        self.sticky.memory_bytes() + self.stateless.memory_bytes()
    }

    /// Returns the bytes of heap memory that the tables of the choice hold.
    #[must_use]
    pub fn choice_bytes(&self) -> usize {
        self.groups.iter().map(Group::memory_bytes).sum()
    }

    #[inline]
    fn find_rule(&self, frontend: FrontendId, tuple: &FiveTuple) -> Option<u16> {
        let key = rule_key(frontend, tuple.protocol, tuple.destination.port());
        let found = self.rule_index.get(&key).copied();
        found.or_else(|| *self.all_ports.get(usize::from(frontend.0))?)
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

/// Packs what a rule is found by.
#[inline]
const fn rule_key(frontend: FrontendId, protocol: Protocol, port: u16) -> u64 {
    (frontend.0 as u64) << 32 | (protocol.number() as u64) << 16 | port as u64
}

type RuleIndex = (FixedMap<u64, u16>, Vec<Option<u16>>);

/// Indexes the rules by what they match, and those for all ports by their frontend.
fn index_rules(config: &LbConfig) -> Result<RuleIndex, ConfigError> {
    let mut by_port = FixedMap::with_capacity(config.rules.len());
    let mut all = vec![None; config.frontends.len()];
    // The first rule of each frontend, and whether it is for all ports.
    let mut first_of: Vec<Option<u16>> = all.clone();
    for (rule, second) in config.rules.iter().zip(0_u16..) {
        let frontend = usize::from(rule.frontend.0);
        let rival = match rule.listen {
            Listen::Port(protocol, port) => {
                let key = rule_key(rule.frontend, protocol, port);
                by_port.insert(key, second).or(all[frontend])
            }
            Listen::All => {
                all[frontend] = Some(second);
                first_of[frontend]
            }
        };
        if let Some(first) = rival {
            let (first, second) = (usize::from(first), usize::from(second));
            return Err(ConfigError::DuplicateRule { first, second });
        }
        first_of[frontend].get_or_insert(second);
    }
    Ok((by_port, all))
}

/// Numbers the backends in ascending order of their ids.
fn number_backends(config: &LbConfig) -> (BTreeMap<BackendId, BackendIndex>, Vec<BackendState>) {
    let mut sorted: Vec<&Backend> = config.backends.iter().collect();
    sorted.sort_unstable();
    let numbered = sorted.iter().zip(0..=BackendIndex::MAX);
    let index = numbered.map(|(backend, number)| (backend.id, number));
    let states = sorted.iter().map(|backend| BackendState {
        id: backend.id,
        address: backend.address,
        up: true,
        packets: 0,
        syns: 0,
    });
    (index.collect(), states.collect())
}

/// Names a pool by its position.
pub(crate) fn pool_id(position: usize) -> LbPoolId {
    LbPoolId(u16::try_from(position).expect("broken invariant: pools are counted with 16 bits"))
}

/// Names a rule by its position.
pub(crate) fn rule_id(position: usize) -> RuleId {
    RuleId(u16::try_from(position).expect("broken invariant: rules are counted with 16 bits"))
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
