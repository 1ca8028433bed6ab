//! What time does to ports that are reserved ([`Allocation::ReservedBlocks`]).

use crate::engine::NatEngine;
use crate::port::PortAllocator;
use plsim_types::Instant;

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
        let sides = self.nat_ips.iter_mut().flat_map(|nat_ip| &mut nat_ip.sides);
        let spaces = sides.flatten().flat_map(|side| side.spaces_mut());
        let changes = spaces.filter_map(|space| {
            space.ports.advance(now);
            space.ports.next_change()
        });
        self.next_change = changes.min();
    }
}
