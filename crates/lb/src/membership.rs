//! What an owner or a probe changes while traffic flows.

use crate::balancer::{LoadBalancer, Route, pool_id, rule_id};
use crate::config::{
    AdminState, Distribution, FrontendId, LbPoolId, Listen, NoHealthyBackends, ProbeId, Rule,
    RuleId,
};
use crate::event::LbEvent;
use crate::pool::Group;
use crate::rehash::BackendIndex;
use crate::stickiness::Way;
use crate::usage::{Cause, MembershipChange, StickyFlow};
use alloc::vec::Vec;
use core::fmt;
use core::net::Ipv4Addr;
use plsim_types::{BackendId, Instant};

/// Why a change is not made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeError {
    /// The load balancer does not know the backend.
    UnknownBackend(BackendId),
    /// There is no such pool.
    UnknownPool(LbPoolId),
    /// There is no such probe.
    UnknownProbe(ProbeId),
    /// There is no such rule.
    UnknownRule(RuleId),
    /// There is no such frontend.
    UnknownFrontend(FrontendId),
    /// This pool was configured as one that cannot change.
    FixedPool(LbPoolId),
    /// The pool does not have the backend.
    NotAMember(LbPoolId, BackendId),
    /// The pool has the backend already.
    AlreadyAMember(LbPoolId, BackendId),
    /// The backend port is zero, or the rule is for all ports and has none of its own.
    Port(RuleId),
    /// Rules have changed their port and pool too often (32 767 pairs in all).
    TooManyRoutes,
}

/// What becomes of a rule; what is `None` stays as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RuleChange {
    /// The backend port of new flows; TCP flows keep the one they began with.
    pub backend_port: Option<u16>,
    /// The pool of new flows; TCP flows keep their backend.
    pub pool: Option<LbPoolId>,
    /// Which fields decide; TCP flows keep their backend (D-DIST: no downtime).
    pub distribution: Option<Distribution>,
}

/// What was changed, for the record.
#[derive(Debug, Clone, Copy)]
struct Change {
    at: Instant,
    cause: Cause,
    backend: Option<BackendIndex>,
}

impl LoadBalancer {
    /// The most changes of membership that are kept for [`changes`](Self::changes); further ones
    /// happen, but are not recorded.
    pub const MOST_CHANGES: usize = 10_000;

    /// Takes a backend out of the choice for new flows, or back into it, in all its pools and
    /// whatever probes say; [`AdminState::Up`] overrules it.
    ///
    /// TCP flows that are on it stay (D-PRB23). Setting what is already so changes nothing. It holds
    /// for pools that the backend joins later, too.
    ///
    /// # Errors
    /// [`ChangeError`]; nothing changes.
    pub fn set_backend(
        &mut self,
        backend: BackendId,
        up: bool,
        now: Instant,
    ) -> Result<(), ChangeError> {
        let index = self.backend(backend)?;
        let mut pools = (0..).zip(&self.pools).filter(|(_, pool)| pool.has(index));
        if let Some((fixed, _)) = pools.find(|(_, pool)| !pool.may_change) {
            return Err(ChangeError::FixedPool(pool_id(fixed)));
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
        self.refresh(|_| true, &Change::new(now, Cause::Backend, index));
        Ok(())
    }

    /// Tells what a probe found out about a backend.
    ///
    /// It decides for the rules with this probe only; before the first verdict a backend counts as
    /// healthy. TCP flows stay (D-PRB23). A verdict that is not new changes nothing.
    ///
    /// # Errors
    /// [`ChangeError`]; nothing changes.
    pub fn set_health(
        &mut self,
        probe: ProbeId,
        backend: BackendId,
        up: bool,
        now: Instant,
    ) -> Result<(), ChangeError> {
        let index = self.backend(backend)?;
        let Some(state) = self.probes.get(usize::from(probe.0)) else {
            return Err(ChangeError::UnknownProbe(probe));
        };
        if state.healthy[usize::from(index)] == up {
            return Ok(());
        }
        let concerned = |group: &&Group| group.probe == Some(probe);
        let mut pools = self.groups.iter().filter(concerned).map(|group| group.pool);
        let fixed = pools.find(|&pool| !self.pools[pool].may_change && self.pools[pool].has(index));
        if let Some(fixed) = fixed {
            return Err(ChangeError::FixedPool(pool_id(fixed)));
        }
        self.probes[usize::from(probe.0)].healthy[usize::from(index)] = up;
        let sticky_flows = self.sticky.on_backend(index);
        self.events.push_back(LbEvent::Health {
            probe,
            backend,
            up,
            sticky_flows,
        });
        let change = Change::new(now, Cause::Probe, index);
        self.refresh(|group| group.probe == Some(probe), &change);
        Ok(())
    }

    /// Sets what the owner says of a member (D-ADM).
    ///
    /// With [`AdminState::Down`] established TCP stays and UDP moves; whoever wants the connections
    /// reset, as the API's text says, calls [`end_flows`](Self::end_flows) as well.
    ///
    /// # Errors
    /// [`ChangeError`]; nothing changes.
    pub fn set_admin_state(
        &mut self,
        pool: LbPoolId,
        backend: BackendId,
        state: AdminState,
        now: Instant,
    ) -> Result<(), ChangeError> {
        let (at, index) = self.changing(pool, backend)?;
        let Some(position) = self.pools[at].position(index) else {
            return Err(ChangeError::NotAMember(pool, backend));
        };
        let member = &mut self.pools[at].members[position];
        if core::mem::replace(&mut member.1, state) == state {
            return Ok(());
        }
        self.events.push_back(LbEvent::AdminState {
            pool,
            backend,
            state,
        });
        let change = Change::new(now, Cause::AdminState, index);
        self.refresh(|group| group.pool == at, &change);
        Ok(())
    }

    /// Puts a backend into a pool, with [`AdminState::None`].
    ///
    /// # Errors
    /// [`ChangeError`]; nothing changes.
    pub fn add_backend(
        &mut self,
        pool: LbPoolId,
        backend: BackendId,
        now: Instant,
    ) -> Result<(), ChangeError> {
        let (at, index) = self.changing(pool, backend)?;
        if self.pools[at].has(index) {
            return Err(ChangeError::AlreadyAMember(pool, backend));
        }
        self.pools[at].members.push((index, AdminState::None));
        self.events.push_back(LbEvent::Added { pool, backend });
        let change = Change::new(now, Cause::Added, index);
        self.refresh(|group| group.pool == at, &change);
        Ok(())
    }

    /// Takes a backend out of a pool.
    ///
    /// Its TCP flows stay on it until they are idle (unpublished), or until
    /// [`end_flows`](Self::end_flows) when a time to drain is over.
    ///
    /// # Errors
    /// [`ChangeError`]; nothing changes.
    pub fn remove_backend(
        &mut self,
        pool: LbPoolId,
        backend: BackendId,
        now: Instant,
    ) -> Result<(), ChangeError> {
        let (at, index) = self.changing(pool, backend)?;
        let Some(position) = self.pools[at].position(index) else {
            return Err(ChangeError::NotAMember(pool, backend));
        };
        self.pools[at].members.remove(position);
        let sticky_flows = self.flows_of(at, index);
        self.events.push_back(LbEvent::Removed {
            pool,
            backend,
            sticky_flows,
        });
        let change = Change::new(now, Cause::Removed, index);
        self.refresh(|group| group.pool == at, &change);
        Ok(())
    }

    /// Forgets the TCP flows that came to a backend by a pool, and returns them in a deterministic
    /// order; tracked UDP moves by itself.
    ///
    /// They are those of rules that led to the pool when they began. Whoever drives the balancer
    /// resets their connections at the backend's host; a later segment of one goes where the hash
    /// says.
    ///
    /// # Errors
    /// [`ChangeError`]; nothing changes.
    pub fn end_flows(
        &mut self,
        pool: LbPoolId,
        backend: BackendId,
        now: Instant,
    ) -> Result<Vec<StickyFlow>, ChangeError> {
        let (at, index) = self.changing(pool, backend)?;
        self.sticky.advance(now);
        let Self { sticky, routes, .. } = self;
        let ended = sticky.forget_tcp(index, |route| routes[usize::from(route)].pool == at);
        // The limit of the table is a u32.
        let flows = ended.len() as u32;
        self.events.push_back(LbEvent::FlowsEnded {
            pool,
            backend,
            flows,
        });
        Ok(ended)
    }

    /// Returns the TCP flows that came to a backend by a pool and are remembered: also those that
    /// ended less than the stickiness idle time ago. None for a pool or backend that it does not know.
    pub fn flows_on(&self, pool: LbPoolId, backend: BackendId) -> impl Iterator<Item = StickyFlow> {
        let index = self.backend_index.get(&backend).copied();
        let at = usize::from(pool.0);
        let is_it = move |route: u16| self.routes[usize::from(route)].pool == at;
        let flows = index.map(|index| self.sticky.tcp_flows(index, is_it));
        flows.into_iter().flatten()
    }

    /// Returns how many backends of a pool may be chosen: by the rules with this probe, or without.
    /// `None` if there are no such rules.
    #[must_use]
    pub fn eligible(&self, pool: LbPoolId, probe: Option<ProbeId>) -> Option<usize> {
        let at = usize::from(pool.0);
        let mut groups = self.groups.iter();
        let group = groups.find(|group| (group.pool, group.probe) == (at, probe));
        group.map(Group::eligible)
    }

    /// Tells whether a pool has a backend now.
    #[must_use]
    pub fn is_member(&self, pool: LbPoolId, backend: BackendId) -> bool {
        let index = self.backend_index.get(&backend);
        let pool = self.pools.get(usize::from(pool.0));
        matches!((pool, index), (Some(pool), Some(&index)) if pool.has(index))
    }

    /// Changes a rule.
    ///
    /// # Errors
    /// [`ChangeError`]; nothing changes.
    pub fn change_rule(
        &mut self,
        rule: RuleId,
        change: RuleChange,
        now: Instant,
    ) -> Result<(), ChangeError> {
        let number = usize::from(rule.0);
        let Some(state) = self.rules.get(number) else {
            return Err(ChangeError::UnknownRule(rule));
        };
        let before = state.usage.rule;
        let after = Rule {
            backend_port: change.backend_port.unwrap_or(before.backend_port),
            pool: change.pool.unwrap_or(before.pool),
            distribution: change.distribution.unwrap_or(before.distribution),
            ..before
        };
        let has_port = after.backend_port != 0;
        if has_port != matches!(after.listen, Listen::Port(..)) {
            return Err(ChangeError::Port(rule));
        }
        for pool in [before.pool, after.pool] {
            match self.pools.get(usize::from(pool.0)) {
                None => return Err(ChangeError::UnknownPool(pool)),
                Some(found) if !found.may_change => return Err(ChangeError::FixedPool(pool)),
                Some(_) => {}
            }
        }
        if after == before {
            return Ok(());
        }
        if (after.backend_port, after.pool) != (before.backend_port, before.pool) {
            self.add_route(rule, &after)?;
        }
        let group = self.group_of(&after);
        let state = &mut self.rules[number];
        state.usage.rule = after;
        state.group = group;
        self.events.push_back(LbEvent::RuleChanged { rule });
        if (after.pool, after.distribution) != (before.pool, before.distribution) {
            self.note_rule(number, Cause::Rule, now);
        }
        Ok(())
    }

    /// Tells of a NAT IP that the service of a frontend got.
    ///
    /// With [`HashTuple::NatIp`](crate::HashTuple::NatIp) many flows have another NAT IP from now
    /// on, and so another backend: TCP flows keep theirs, UDP moves.
    ///
    /// # Errors
    /// [`ChangeError`]; nothing changes.
    pub fn add_nat_ip(
        &mut self,
        frontend: FrontendId,
        address: Ipv4Addr,
        now: Instant,
    ) -> Result<(), ChangeError> {
        if usize::from(frontend.0) >= self.frontends.len() {
            return Err(ChangeError::UnknownFrontend(frontend));
        }
        let moves = self.flow_hash.takes_nat_ips();
        let own = |rule: &usize| moves && self.rules[*rule].usage.rule.frontend == frontend;
        let concerned: Vec<usize> = (0..self.rules.len()).filter(own).collect();
        let mut pools = concerned
            .iter()
            .map(|&rule| self.rules[rule].usage.rule.pool);
        if let Some(fixed) = pools.find(|pool| !self.pools[usize::from(pool.0)].may_change) {
            return Err(ChangeError::FixedPool(fixed));
        }
        self.frontends[usize::from(frontend.0)]
            .nat_ips
            .push(address);
        for rule in concerned {
            self.note_rule(rule, Cause::NatIp, now);
        }
        Ok(())
    }

    /// Returns the group that a rule chooses from; makes it if there is none.
    pub(crate) fn group_of(&mut self, rule: &Rule) -> usize {
        let pool = usize::from(rule.pool.0);
        let mut groups = self.groups.iter();
        let known = groups.position(|group| group.pool == pool && group.probe == rule.probe);
        known.unwrap_or_else(|| {
            let chooser = self.chooser.clone();
            let group = Group::new(pool, rule.probe, chooser, self.backends.len());
            self.groups.push(group);
            let at = self.groups.len() - 1;
            self.refresh_group(at);
            at
        })
    }

    /// Tells whether nothing but an admin state keeps a backend out of the choice.
    pub(crate) fn is_healthy(&self, probe: Option<ProbeId>, backend: BackendIndex) -> bool {
        let index = usize::from(backend);
        let probed = probe.is_none_or(|probe| self.probes[usize::from(probe.0)].healthy[index]);
        self.backends[index].up && probed
    }

    fn backend(&self, backend: BackendId) -> Result<BackendIndex, ChangeError> {
        let index = self.backend_index.get(&backend).copied();
        index.ok_or(ChangeError::UnknownBackend(backend))
    }

    /// Finds a pool that may change, and a backend.
    fn changing(
        &self,
        pool: LbPoolId,
        backend: BackendId,
    ) -> Result<(usize, BackendIndex), ChangeError> {
        let index = self.backend(backend)?;
        let at = usize::from(pool.0);
        match self.pools.get(at) {
            None => Err(ChangeError::UnknownPool(pool)),
            Some(found) if !found.may_change => Err(ChangeError::FixedPool(pool)),
            Some(_) => Ok((at, index)),
        }
    }

    fn add_route(&mut self, rule: RuleId, now: &Rule) -> Result<(), ChangeError> {
        let route = Route::of(rule.0, now);
        let known = self.routes.iter().position(|known| *known == route);
        let number = known.unwrap_or(self.routes.len());
        let number = u16::try_from(number)
            .ok()
            .filter(|&number| number < Way::MOST_ROUTES)
            .ok_or(ChangeError::TooManyRoutes)?;
        if known.is_none() {
            self.routes.push(route);
        }
        self.rules[usize::from(rule.0)].route = number;
        Ok(())
    }

    /// Finds out anew who may be chosen in some groups, and records where that has changed.
    fn refresh(&mut self, concerned: impl Fn(&Group) -> bool, change: &Change) {
        for at in 0..self.groups.len() {
            if !concerned(&self.groups[at]) {
                continue;
            }
            let was_down = self.groups[at].eligible() == 0;
            if !self.refresh_group(at) {
                continue;
            }
            let group = &self.groups[at];
            let (pool, probe) = (pool_id(group.pool), group.probe);
            match (was_down, group.eligible() == 0) {
                (false, true) => self.events.push_back(LbEvent::PoolDown { pool, probe }),
                (true, false) => self.events.push_back(LbEvent::PoolUp { pool, probe }),
                (true, true) | (false, false) => {}
            }
            let kept = match change.backend {
                Some(backend) if !group.is_eligible(backend) => self.flows_of(group.pool, backend),
                _ => 0,
            };
            let record = self.record(at, kept, change);
            let latest = self.keep(record);
            for rule in self.rules.iter_mut().filter(|rule| rule.group == at) {
                rule.latest_change = latest;
            }
        }
    }

    fn refresh_group(&mut self, at: usize) -> bool {
        let Self {
            groups,
            pools,
            probes,
            backends,
            ..
        } = self;
        let group = &mut groups[at];
        let probe = group.probe.map(|probe| &probes[usize::from(probe.0)]);
        group.refresh(
            &pools[group.pool],
            probe.map_or(NoHealthyBackends::AllProbedDown, |probe| {
                probe.no_healthy_backends
            }),
            |backend| {
                let index = usize::from(backend);
                backends[index].up && probe.is_none_or(|probe| probe.healthy[index])
            },
            |backend| backends[usize::from(backend)].address,
        )
    }

    /// Counts the TCP flows that came to a backend by a pool.
    fn flows_of(&self, pool: usize, backend: BackendIndex) -> u32 {
        let is_it = |route| self.routes[usize::from(route)].pool == pool;
        // The limit of the table is a u32.
        self.sticky.tcp_flows(backend, is_it).count() as u32
    }

    fn record(&self, group: usize, kept: u32, change: &Change) -> MembershipChange {
        let group = &self.groups[group];
        let eligible = u16::try_from(group.eligible());
        MembershipChange {
            at: change.at,
            cause: change.cause,
            pool: pool_id(group.pool),
            probe: group.probe,
            backend: change
                .backend
                .map(|index| self.backends[usize::from(index)].id),
            rule: None,
            eligible: eligible.expect("broken invariant: backends are counted with 16 bits"),
            kept,
            moved: 0,
        }
    }

    /// Records that a rule itself chooses in another way now.
    fn note_rule(&mut self, rule: usize, cause: Cause, now: Instant) {
        let change = Change {
            at: now,
            cause,
            backend: None,
        };
        let record = MembershipChange {
            rule: Some(rule_id(rule)),
            ..self.record(self.rules[rule].group, 0, &change)
        };
        let latest = self.keep(record);
        self.rules[rule].latest_change = latest;
    }

    fn keep(&mut self, record: MembershipChange) -> Option<usize> {
        if self.changes.len() >= Self::MOST_CHANGES {
            return None;
        }
        self.changes.push(record);
        Some(self.changes.len() - 1)
    }
}

impl Change {
    const fn new(at: Instant, cause: Cause, backend: BackendIndex) -> Self {
        Self {
            at,
            cause,
            backend: Some(backend),
        }
    }
}

impl fmt::Display for ChangeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownBackend(backend) => write!(f, "there is no backend {}", backend.0),
            Self::UnknownPool(pool) => write!(f, "there is no pool {}", pool.0),
            Self::UnknownProbe(probe) => write!(f, "there is no probe {}", probe.0),
            Self::UnknownRule(rule) => write!(f, "there is no rule {}", rule.0),
            Self::UnknownFrontend(frontend) => write!(f, "there is no frontend {}", frontend.0),
            Self::FixedPool(pool) => write!(f, "pool {} cannot change", pool.0),
            Self::NotAMember(pool, backend) => {
                write!(f, "backend {} is not in pool {}", backend.0, pool.0)
            }
            Self::AlreadyAMember(pool, backend) => {
                write!(f, "backend {} is in pool {} already", backend.0, pool.0)
            }
            Self::Port(rule) => write!(f, "rule {} cannot have that backend port", rule.0),
            Self::TooManyRoutes => {
                f.write_str("rules have changed their ports and pools too often")
            }
        }
    }
}

impl core::error::Error for ChangeError {}
