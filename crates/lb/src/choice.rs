//! Which way a packet goes: where its flow went before, or where the hash says.

use crate::balancer::{LbError, LoadBalancer, RuleState};
use crate::config::FrontendId;
use crate::event::LbEvent;
use crate::rehash::BackendIndex;
use crate::stickiness::{FlowKey, Full, Way};
use plsim_types::{FiveTuple, Instant, LinkId, Protocol};

/// A packet whose rule is found, but not its backend.
pub(crate) struct Unsettled<'p> {
    pub(crate) rule: u16,
    pub(crate) frontend: FrontendId,
    pub(crate) link: Option<LinkId>,
    pub(crate) tuple: &'p FiveTuple,
    pub(crate) opens: bool,
    pub(crate) nat_ip: Option<u8>,
}

impl LoadBalancer {
    /// Returns the way of a packet.
    #[inline]
    pub(crate) fn choose(&mut self, packet: &Unsettled<'_>, now: Instant) -> Result<Way, LbError> {
        let state = &self.rules[usize::from(packet.rule)];
        let rule = &state.usage.rule;
        if !self.pools[usize::from(rule.pool.0)].may_change {
            return self.hashed(packet);
        }
        match packet.tuple.protocol {
            Protocol::Tcp => self.sticky_tcp(packet, now),
            Protocol::Udp if rule.connection_tracking => self.sticky_udp(packet, now),
            Protocol::Udp => self.stateless_udp(packet, now),
        }
    }

    /// Asks for the line in which a packet's flow is looked for first, if flows are remembered at all: for a
    /// caller that sees packets coming. It changes nothing; it tells whether it has asked.
    #[inline]
    pub fn prefetch(&self, frontend: FrontendId, link: Option<LinkId>, tuple: &FiveTuple) -> bool {
        if !self.remembers() {
            return false;
        }
        let key = FlowKey::new(link, frontend, tuple);
        self.sticky.prefetch(self.sticky.place(&key));
        true
    }

    /// Asks for what is remembered of that flow; it waits for the line unless
    /// [`prefetch`](Self::prefetch) came some work before.
    #[inline]
    pub fn prefetch_found(&self, frontend: FrontendId, link: Option<LinkId>, tuple: &FiveTuple) {
        let key = FlowKey::new(link, frontend, tuple);
        self.sticky.prefetch_found(self.sticky.place(&key));
    }

    const fn remembers(&self) -> bool {
        self.sticky.len() > 0
    }

    fn sticky_tcp(&mut self, packet: &Unsettled<'_>, now: Instant) -> Result<Way, LbError> {
        self.sticky.advance(now);
        let key = FlowKey::new(packet.link, packet.frontend, packet.tuple);
        let place = self.sticky.place(&key);
        let Some(position) = self.sticky.find(&key, place) else {
            let way = self.hashed(packet)?;
            if packet.opens {
                self.remember(key, place, way)?;
            }
            return Ok(way);
        };
        let way = self.sticky.way(position);
        let state = &self.rules[usize::from(packet.rule)];
        let forgotten = state
            .usage
            .rule
            .forget_after
            .is_some_and(|span| self.sticky.is_idle(position, span));
        if packet.opens || forgotten {
            // A new connection, or so it seems: it takes the rule as it is now.
            let stays = !forgotten && self.groups[state.group].is_eligible(way.backend);
            let way = match stays {
                true => Way {
                    route: state.route,
                    ..way
                },
                false => self.hashed(packet)?,
            };
            self.sticky.move_to(position, way);
            return Ok(way);
        }
        if self.lone_backend_ends && self.is_alone_and_down(state, way.backend) {
            return Err(LbError::NoHealthyBackend);
        }
        self.sticky.touch(position);
        Ok(way)
    }

    /// A datagram of a flow whose backend is kept as long as it is in the choice.
    fn sticky_udp(&mut self, packet: &Unsettled<'_>, now: Instant) -> Result<Way, LbError> {
        self.sticky.advance(now);
        let key = FlowKey::new(packet.link, packet.frontend, packet.tuple);
        let place = self.sticky.place(&key);
        let Some(position) = self.sticky.find(&key, place) else {
            let way = self.hashed(packet)?;
            self.remember(key, place, way)?;
            return Ok(way);
        };
        let way = self.sticky.way(position);
        let state = &self.rules[usize::from(packet.rule)];
        if self.groups[state.group].is_eligible(way.backend) {
            self.sticky.touch(position);
            return Ok(way);
        }
        let way = self.hashed(packet)?;
        self.sticky.move_to(position, way);
        self.count_moved(packet.rule);
        Ok(way)
    }

    /// A datagram that goes where the hash says; where the one before went is only counted.
    fn stateless_udp(&mut self, packet: &Unsettled<'_>, now: Instant) -> Result<Way, LbError> {
        let way = self.hashed(packet)?;
        self.stateless.advance(now);
        let key = FlowKey::new(packet.link, packet.frontend, packet.tuple);
        let place = self.stateless.place(&key);
        match self.stateless.find(&key, place) {
            None => {
                // Of a flow for which there is no room, a move is not noticed.
                let _: Result<(), Full> = self.stateless.insert(key, place, way);
            }
            Some(position) => {
                let moved = self.stateless.way(position).backend != way.backend;
                self.stateless.move_to(position, way);
                if moved {
                    self.count_moved(packet.rule);
                }
            }
        }
        Ok(way)
    }

    fn count_moved(&mut self, rule: u16) {
        if let Some(change) = self.rules[usize::from(rule)].latest_change {
            self.changes[change].moved += 1;
        }
    }

    /// Tells whether a backend is the only one of its pool, and unhealthy.
    fn is_alone_and_down(&self, state: &RuleState, backend: BackendIndex) -> bool {
        let group = &self.groups[state.group];
        let pool = &self.pools[group.pool];
        let alone = matches!(pool.members.as_slice(), &[(only, _)] if only == backend);
        alone && !group.is_eligible(backend) && !self.is_healthy(group.probe, backend)
    }

    /// Returns the way that the hash says.
    #[inline]
    fn hashed(&self, packet: &Unsettled<'_>) -> Result<Way, LbError> {
        let state = &self.rules[usize::from(packet.rule)];
        let rule = &state.usage.rule;
        let number = self.flow_hash.number(
            rule.distribution,
            &self.frontends[usize::from(packet.frontend.0)],
            packet.nat_ip,
            packet.link,
            packet.tuple,
        );
        let backend = self.groups[state.group].pick(number);
        Ok(Way {
            backend: backend.ok_or(LbError::NoHealthyBackend)?,
            route: state.route,
        })
    }

    fn remember(&mut self, key: FlowKey, place: u64, way: Way) -> Result<(), LbError> {
        self.sticky.insert(key, place, way).map_err(|Full| {
            if !core::mem::replace(&mut self.was_full, true) {
                let limit = self.sticky.len();
                self.events.push_back(LbEvent::TableFull { limit });
            }
            LbError::EdgeTableFull
        })
    }
}
