use crate::pool::Pool;
use crate::port::Reservations;
use crate::space::{Space, Spaces};
use crate::usage::{FullestSpace, Usage};
use core::net::Ipv4Addr;
use plsim_types::{Instant, Protocol};

/// The TCP or the UDP side of a NAT IP: its port spaces, created on first use, and its counters.
#[derive(Debug, Clone, Default)]
pub(crate) struct Side {
    pub(crate) spaces: Spaces,
    pub(crate) in_use: u32,
    held: u32,
    peak: u32,
    peak_at: Option<Instant>,
    binds: u64,
    pub(crate) searches: u64,
    pub(crate) probes: u64,
    pub(crate) bind_failures: u64,
    pub(crate) gave_up: u64,
    pub(crate) expired_idle: u64,
    pub(crate) expired_half_open: u64,
    pub(crate) expired_half_closed: u64,
    pub(crate) lb_idle: u64,
    pub(crate) reused_held: u64,
    first_exhausted: Option<Instant>,
    held_when_exhausted: u32,
    pub(crate) first_expired: Option<Instant>,
    pub(crate) first_lb_idle: Option<Instant>,
    /// An `Exhausted` event waits to be polled.
    pub(crate) exhaustion_queued: bool,
}

impl Side {
    /// Counts a port that was just allocated; returns whether exhaustion is to be told, and its space.
    pub(crate) fn bound(&mut self, backend_port: u16, now: Instant) -> (bool, &mut Space) {
        self.binds += 1;
        self.in_use += 1;
        if self.in_use + self.held > self.peak {
            self.peak = self.in_use + self.held;
            self.peak_at = Some(now);
        }
        let space = self.spaces.get_mut(backend_port);
        let fresh = space.bound();
        if fresh && self.first_exhausted.is_none() {
            self.first_exhausted = Some(now);
            self.held_when_exhausted = space.held;
        }
        let told = fresh && !core::mem::replace(&mut self.exhaustion_queued, true);
        (told, space)
    }

    /// Counts a port that is held down from now on.
    pub(crate) fn hold(&mut self, backend_port: u16) {
        self.in_use -= 1;
        self.held += 1;
        self.spaces.get_mut(backend_port).held += 1;
    }

    /// Counts a held-down port that is in use again, or about to be released.
    pub(crate) fn unhold(&mut self, backend_port: u16) {
        self.in_use += 1;
        self.held -= 1;
        self.spaces.get_mut(backend_port).held -= 1;
    }

    pub(crate) fn usage(&self, nat_ip: Ipv4Addr, protocol: Protocol, pool: &Pool) -> Usage {
        let mut reserved = Reservations::default();
        let mut fullest = FullestSpace::default();
        for (port, space) in self.spaces.iter() {
            fullest.taken = fullest.taken.max(space.taken());
            if space.peak() > fullest.peak {
                fullest.peak = space.peak();
                fullest.backend_port = Some(port).filter(|port| *port != 0);
            }
            let own = space.ports.reservations();
            reserved.ports += own.ports;
            reserved.peak += own.peak;
            reserved.doublings += own.doublings;
            reserved.halvings += own.halvings;
        }
        Usage {
            pls: pool.pls,
            nat_ip,
            protocol,
            capacity: pool.ports.len() as u32 * (self.spaces.len() as u32).max(1),
            spaces: (self.spaces.len() as u32).max(1),
            fullest,
            in_use: self.in_use,
            held: self.held,
            peak: self.peak,
            peak_at: self.peak_at,
            binds: self.binds,
            probes: self.probes,
            bind_failures: self.bind_failures,
            gave_up: self.gave_up,
            expired_idle: self.expired_idle,
            expired_half_open: self.expired_half_open,
            expired_half_closed: self.expired_half_closed,
            lb_idle: self.lb_idle,
            reused_held: self.reused_held,
            first_exhausted: self.first_exhausted,
            held_when_exhausted: self.held_when_exhausted,
            first_expired: self.first_expired,
            first_lb_idle: self.first_lb_idle,
            reserved,
        }
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        let spaces = self.spaces.iter();
        size_of::<Self>() + spaces.map(|(_, space)| space.memory_bytes()).sum::<usize>()
    }
}
