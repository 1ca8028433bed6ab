//! What time does to bindings, and every way in which one changes state or ends.

use crate::binding::{Aside, Binding, FlowKey, State, armed_mark};
use crate::config::{HeldPorts, OnIdle};
use crate::engine::NatEngine;
use crate::event::{Expiry, NatEvent, Release, Reset, Sender};
use crate::pool::{NIL, Pool};
use crate::port::PortAllocator;
use crate::select::Choice;
use crate::space::Space;
use core::net::SocketAddrV4;
use plsim_table::{FlowTable, TimerOwner};
use plsim_types::{Direction, Instant};

/// Ends of bindings between two steps of fetching: enough to cover main memory.
const AHEAD: usize = 8;

/// The bindings as the wheel sees them.
struct Deadlines<'engine> {
    flows: &'engine mut FlowTable<Binding>,
    pools: &'engine [Pool],
}

impl TimerOwner for Deadlines<'_> {
    #[inline]
    fn deadline(&mut self, position: u32, tag: u32) -> Option<Instant> {
        let binding = self.flows.entry_mut(position);
        if binding.tag != tag {
            return None;
        }
        let deadline = binding.deadline(&self.pools[binding.key.pool()]);
        binding.armed = armed_mark(deadline);
        Some(deadline)
    }

    #[inline]
    fn fetch_ahead(&self, position: u32) {
        self.flows.prefetch_entry(position);
    }
}

impl NatEngine {
    /// Ends every binding whose deadline has come, in the order of (deadline, position).
    ///
    /// Calling it early or twice is harmless. Packets are exact without it: every call that takes
    /// `now` does this first.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.catch_up(now);
        self.change_reservations(now);
    }

    /// Returns when [`handle_timeout`](Self::handle_timeout) should be called, `None` if there is no
    /// binding that could end and no reservation that could change.
    ///
    /// After a call with `now` it lies after `now`. It may be earlier than the next deadline.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        // Stale items may outlive the last binding in the wheel; nobody needs to wake for them.
        let wake = self.wake.filter(|_| !self.flows.is_empty());
        // By cases: it is asked after every packet, and an iterator over both costs four times as much.
        match (wake, self.next_change) {
            (Some(wake), Some(change)) => Some(wake.min(change)),
            (wake, change) => wake.or(change),
        }
    }

    #[inline]
    pub(crate) fn catch_up(&mut self, now: Instant) {
        if self.wake.is_some_and(|wake| wake <= now) {
            self.expire_due(now);
        }
    }

    #[cold]
    fn expire_due(&mut self, now: Instant) {
        loop {
            let mut deadlines = Deadlines {
                flows: &mut self.flows,
                pools: &self.pools,
            };
            let due = self.wheel.pop_due_of(now, &mut deadlines);
            let Some((position, _)) = due else { break };
            self.fetch_ahead();
            self.end(position);
        }
        self.wake = self.wheel.next_wake();
        self.change_reservations(now);
    }

    /// Asks for what the ends of bindings that are due soon will read: the binding, later the index
    /// line and the page of its port.
    fn fetch_ahead(&self) {
        if let Some(position) = self.wheel.upcoming(2 * AHEAD) {
            self.flows.prefetch_entry(position);
        }
        if let Some(position) = self.wheel.upcoming(AHEAD) {
            let binding = self.flows.entry(position);
            self.flows.prefetch(binding.key.hash(self.key));
            let nat_ip = &self.nat_ips[usize::from(binding.nat_ip)];
            let side = nat_ip.sides[binding.key.protocol().index()].as_ref();
            let space = side.and_then(|side| side.spaces.get(binding.key.backend_port()));
            if let Some(place) = space.and_then(|space| space.owners.place(binding.nat_port)) {
                self.pages.prefetch(place);
            }
        }
    }

    /// Ends the binding whose time is over, or holds its port down; or the load balancer's time is,
    /// which drops the flow.
    fn end(&mut self, position: u32) {
        let binding = *self.flows.entry(position);
        let pool = &self.pools[binding.key.pool()];
        if let Some((at, timer)) = binding.lb_deadline(pool) {
            return self.drop_by_lb(position, at, &timer);
        }
        let at = binding.expiry(&pool.timers);
        let timers = pool.timers;
        let (cause, rest) = match binding.state {
            State::HalfOpen => (
                Expiry::HalfOpen,
                Some((State::Unanswered, timers.hold_down_half_open)),
            ),
            State::Udp => (
                Expiry::UdpIdle,
                Some((State::UdpHeld, timers.hold_down_udp)),
            ),
            State::Established => (Expiry::EstablishedIdle, None),
            State::LbIdle => (Expiry::AfterLbIdle, None),
            State::ClientFin | State::ServerFin => (Expiry::HalfClosedIdle, None),
            State::Closed
            | State::Reset
            | State::Refused
            | State::Unanswered
            | State::UdpHeld
            | State::Vacant => {
                return self.release_held(position, at, Release::HoldDownOver);
            }
        };
        if binding.state.is_established() && pool.on_idle == OnIdle::Reset {
            self.reset_both(&binding, Sender::Nat);
        }
        if self.report {
            let binding = self.info(&binding);
            self.events
                .push_back(NatEvent::Expired { at, binding, cause });
        }
        let side = self.nat_ips[usize::from(binding.nat_ip)].side(binding.key.protocol());
        if cause == Expiry::HalfOpen {
            side.expired_half_open += 1;
        } else if cause != Expiry::AfterLbIdle {
            side.expired_idle += 1;
            side.expired_half_closed += u64::from(cause == Expiry::HalfClosedIdle);
            side.first_expired.get_or_insert(at);
        }
        if let Some((held, _)) = rest.filter(|(_, rest)| !rest.is_zero()) {
            // The wheel has just given its item back.
            self.flows.entry_mut(position).tag = 0;
            return self.change(position, held, at);
        }
        side.in_use -= 1;
        self.active -= 1;
        self.free(position, at);
    }

    /// Ends a held-down binding.
    pub(crate) fn release_held(&mut self, position: u32, at: Instant, cause: Release) {
        let binding = *self.flows.entry(position);
        if self.report {
            let binding = self.info(&binding);
            self.events
                .push_back(NatEvent::Released { at, binding, cause });
        }
        self.unlist(position);
        let side = self.nat_ips[usize::from(binding.nat_ip)].side(binding.key.protocol());
        side.unhold(binding.key.backend_port());
        side.in_use -= 1;
        self.free(position, at);
    }

    /// Moves a binding to another state, with all that hangs on it.
    pub(crate) fn change(&mut self, position: u32, next: State, now: Instant) {
        let binding = self.flows.entry_mut(position);
        let before = core::mem::replace(&mut binding.state, next);
        binding.last = now;
        if before == State::LbIdle {
            binding.aside = Aside::default();
        }
        let binding = *binding;
        let side = self.nat_ips[usize::from(binding.nat_ip)].side(next.protocol());
        match (before.is_held(), next.is_held()) {
            (false, true) => {
                side.hold(binding.key.backend_port());
                self.active -= 1;
                self.enlist(position);
            }
            (true, false) => {
                side.unhold(binding.key.backend_port());
                self.activate();
                self.unlist(position);
                if self.report {
                    let binding = self.info(&binding);
                    self.events
                        .push_back(NatEvent::Revived { at: now, binding });
                }
            }
            (false, false) | (true, true) => {}
        }
        let deadline = binding.deadline(&self.pools[binding.key.pool()]);
        if next.is_held() && deadline <= now {
            // No hold-down is configured.
            self.release_held(position, now, Release::HoldDownOver);
        } else {
            self.arm(position, now);
        }
    }

    /// Returns the binding that has been held down the longest, of the port spaces that a new flow
    /// may use.
    pub(crate) fn oldest_held(&self, key: &FlowKey, choice: Choice) -> Option<u32> {
        let nat_ips = &self.pools[key.pool()].nat_ips;
        let tried = nat_ips.iter().cycle().skip(choice.first);
        let spaces = tried.take(choice.tries).filter_map(|&at| {
            let side = self.nat_ips[usize::from(at)].sides[key.protocol().index()].as_ref()?;
            side.spaces.get(key.backend_port())
        });
        let oldest = spaces
            .map(|space| space.oldest_held)
            .filter(|&at| at != NIL);
        oldest.min_by_key(|&position| self.flows.entry(position).last)
    }

    /// Takes a binding that is no longer counted out of every table. Its wheel item, if any, turns
    /// stale with the tag.
    fn free(&mut self, position: u32, at: Instant) {
        let binding = *self.flows.entry(position);
        let hash = binding.key.hash(self.key);
        self.flows.remove(hash, position);
        if self.pools[binding.key.pool()].endpoint_port_limit.is_some() {
            *self
                .endpoint_ports
                .get_or_insert_with(binding.key.endpoint_id(), || 0) -= 1;
        }
        let side = self.nat_ips[usize::from(binding.nat_ip)].side(binding.key.protocol());
        let space = side.spaces.get_mut(binding.key.backend_port());
        space
            .owners
            .disclaim(&mut self.pages, binding.nat_port, position);
        let pool = &mut self.pools[binding.key.pool()];
        space.release(binding.nat_port, pool.subscriber(&binding.key), at);
        pool.full = [None; 2];
        let change = space.ports.next_change();
        self.expect_change(change, at);
    }

    pub(crate) fn reset_both(&mut self, binding: &Binding, by: Sender) {
        let info = self.info(binding);
        let (pls, link) = (info.pls, binding.key.link());
        let mut push = |toward, source: SocketAddrV4, destination: SocketAddrV4, sequence| {
            self.resets.push_back(Reset {
                pls,
                link: Some(link),
                by,
                toward,
                source,
                destination,
                sequence,
                acknowledgement: None,
            });
        };
        let seen = &binding.sequences;
        push(Direction::Original, info.nat, info.backend, seen.server_ack);
        push(
            Direction::Reply,
            info.endpoint,
            info.client,
            seen.client_ack,
        );
    }

    /// Appends a binding to the list of held ones; only pools that reuse them pay for the list.
    fn enlist(&mut self, position: u32) {
        let binding = *self.flows.entry(position);
        if self.pools[binding.key.pool()].held_ports != HeldPorts::ReuseOldest {
            return;
        }
        let space = self.space_of(&binding);
        let older = core::mem::replace(&mut space.newest_held, position);
        if older == NIL {
            space.oldest_held = position;
        } else {
            self.flows.entry_mut(older).aside.1 = position;
        }
        self.flows.entry_mut(position).aside = Aside(older, NIL);
    }

    /// Takes it out of the list again, and forgets what stood aside of a live binding before.
    fn unlist(&mut self, position: u32) {
        let binding = self.flows.entry_mut(position);
        let Aside(older, newer) = core::mem::take(&mut binding.aside);
        let binding = *binding;
        if self.pools[binding.key.pool()].held_ports != HeldPorts::ReuseOldest {
            return;
        }
        let space = self.space_of(&binding);
        match older {
            NIL => space.oldest_held = newer,
            older => self.flows.entry_mut(older).aside.1 = newer,
        }
        let space = self.space_of(&binding);
        match newer {
            NIL => space.newest_held = older,
            newer => self.flows.entry_mut(newer).aside.0 = older,
        }
    }

    fn space_of(&mut self, binding: &Binding) -> &mut Space {
        let side = self.nat_ips[usize::from(binding.nat_ip)].side(binding.key.protocol());
        side.spaces.get_mut(binding.key.backend_port())
    }
}
