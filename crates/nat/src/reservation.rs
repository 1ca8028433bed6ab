//! What time does to ports that are reserved ([`Allocation::ReservedBlocks`]).

use crate::engine::NatEngine;
use crate::event::NatEvent;
use crate::pool::NatIp;
use crate::port::PortAllocator;
use core::net::Ipv4Addr;
use plsim_types::{Instant, LinkId, Protocol};

impl NatEngine {
    /// Keeps the time of a port space's next change, if it is the first of all; one without delay is
    /// made at once.
    #[inline]
    pub(crate) fn expect_change(&mut self, at: Option<Instant>, now: Instant) {
        if let Some(at) = at {
            self.next_change = Some(self.next_change.map_or(at, |first| first.min(at)));
            self.change_reservations(now);
        }
    }

    /// Changes the reservations whose time has come. A search does it for its own port space, so
    /// that all are exact without this; but then nobody sees them who only looks.
    pub(crate) fn change_reservations(&mut self, now: Instant) {
        if self.next_change.is_none_or(|at| at > now) {
            return;
        }
        let mut first = None;
        let Self {
            pools,
            nat_ips,
            events,
            ..
        } = self;
        for pool in pools {
            for &place in &pool.nat_ips {
                let NatIp { address, sides } = &mut nat_ips[usize::from(place)];
                for (protocol, side) in Protocol::ALL.into_iter().zip(sides) {
                    let spaces = side.iter_mut().flat_map(|side| side.spaces.iter_mut());
                    for (backend_port, space) in spaces {
                        space.ports.advance(now);
                        let next = space.ports.next_change();
                        first = [first, next].into_iter().flatten().min();
                        let told = space.ports.take_changes();
                        events.extend(told.into_iter().map(|change| NatEvent::ShareChanged {
                            at: change.at,
                            pls: pool.pls,
                            nat_ip: *address,
                            protocol,
                            backend_port: Some(backend_port).filter(|port| *port != 0),
                            client: client(change.subscriber),
                            from: change.from,
                            to: change.to,
                        }));
                    }
                }
            }
        }
        self.next_change = first;
    }
}

/// Returns whom reserved ports belong to, from [`Pool::subscriber`](crate::pool::Pool::subscriber).
const fn client(subscriber: u64) -> (LinkId, Ipv4Addr) {
    let link = LinkId((subscriber >> 32) as u32);
    (link, Ipv4Addr::from_bits(subscriber as u32))
}
