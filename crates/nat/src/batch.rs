//! Slices of packets: the same as one call after the other, without waiting for memory each time.
//!
//! With a million flows nothing that a packet needs is in a cache. So a slice is worked off in rounds of
//! at most [`ROUND`] packets: first all of a round ask for the lines that tell where their bindings are;
//! then, while one is translated, one [`AHEAD`] further on looks there and asks for its binding. Asked for
//! all at once, the bindings would come faster than memory answers, and the processor only keeps some two
//! dozen misses in mind.
//!
//! ```text
//!              first, all             packet i + AHEAD        packet i
//!  originals   key and hash: ask      look there: ask for     translate, exactly
//!              for the index line     the binding             as alone
//!  replies     ask for the owner      the same                the same
//!              of the port
//! ```

use crate::binding::Flow;
use crate::engine::NatEngine;
use crate::error::NatError;
use crate::packet::{Original, Reply, Translation};
use crate::pool::NIL;
use crate::reverse::Place;
use plsim_types::Instant;

/// Packets of a round: enough to cover main memory, few enough for the processor's queue of misses.
const ROUND: usize = 32;
/// Packets between asking for a binding and translating.
const AHEAD: usize = 16;

impl NatEngine {
    /// Translates packets of the consumers: the same as [`original`](Self::original) for one after the
    /// other, only faster.
    ///
    /// `read` returns what a packet says and its instant, which must not decrease from one to the
    /// next; it is asked two or three times and must answer the same. `write` gets each packet with its result, in
    /// order.
    #[inline]
    pub fn originals<P>(
        &mut self,
        packets: &mut [P],
        read: impl Fn(&P) -> (Original, Instant),
        mut write: impl FnMut(&mut P, Result<Translation, NatError>),
    ) {
        let mut flows = [Flow::default(); ROUND];
        for packets in packets.chunks_mut(ROUND) {
            for (packet, flow) in packets.iter().zip(&mut flows) {
                *flow = self.flow_of(&read(packet).0);
                self.flows.prefetch(flow.hash);
            }
            let count = packets.len();
            for flow in &mut flows[..count.min(AHEAD)] {
                flow.found = self.flows.prefetch_found(flow.hash).unwrap_or(NIL);
            }
            for (at, packet) in packets.iter_mut().enumerate() {
                if at + AHEAD < count {
                    let later = &mut flows[(at + AHEAD) % ROUND];
                    later.found = self.flows.prefetch_found(later.hash).unwrap_or(NIL);
                }
                let flow = &flows[at % ROUND];
                let (original, now) = read(packet);
                self.catch_up(now);
                match self.usual_original(&original, flow, now) {
                    Some(translation) => write(packet, Ok(translation)),
                    None => unusual(packet, |packet| {
                        let (original, now) = read(packet);
                        let result = self.unusual_original(flow, original.segment, now);
                        write(packet, result);
                    }),
                }
            }
        }
    }

    /// Translates packets of the backend VM: the same as [`reply`](Self::reply) for one after the
    /// other, only faster. `read` and `write` are as for [`originals`](Self::originals).
    #[inline]
    pub fn replies<P>(
        &mut self,
        packets: &mut [P],
        read: impl Fn(&P) -> (Reply, Instant),
        mut write: impl FnMut(&mut P, Result<Translation, NatError>),
    ) {
        let mut places = [None; ROUND];
        let mut found = [NIL; ROUND];
        for packets in packets.chunks_mut(ROUND) {
            for (packet, place) in packets.iter().zip(&mut places) {
                *place = self.owner_place(&read(packet).0);
                if let Some(place) = *place {
                    self.pages.prefetch(place);
                }
            }
            let count = packets.len();
            for (place, found) in places[..count.min(AHEAD)].iter().zip(&mut found) {
                *found = self.prefetch_answered(*place);
            }
            for (at, packet) in packets.iter_mut().enumerate() {
                if at + AHEAD < count {
                    let later = (at + AHEAD) % ROUND;
                    found[later] = self.prefetch_answered(places[later]);
                }
                let found = found[at % ROUND];
                let (reply, now) = read(packet);
                self.catch_up(now);
                match self.usual_reply(&reply, found, now) {
                    Some(translation) => write(packet, Ok(translation)),
                    None => unusual(packet, |packet| {
                        let (reply, now) = read(packet);
                        let result = self.unusual_reply(&reply, now);
                        write(packet, result);
                    }),
                }
            }
        }
    }
}

impl NatEngine {
    /// Asks for the line in which the binding of a packet of the consumers is looked for first: for a
    /// caller that sees packets coming, but not as a slice. It changes nothing.
    #[inline]
    pub fn prefetch_original(&self, packet: &Original) {
        self.flows.prefetch(self.flow_of(packet).hash);
    }

    /// Asks for that binding; it waits for the line unless
    /// [`prefetch_original`](Self::prefetch_original) came some work before.
    #[inline]
    pub fn prefetch_original_found(&self, packet: &Original) {
        self.flows.prefetch_found(self.flow_of(packet).hash);
    }

    /// Asks for what tells which binding a packet of the backend VM answers.
    #[inline]
    pub fn prefetch_reply(&self, packet: &Reply) {
        if let Some(place) = self.owner_place(packet) {
            self.pages.prefetch(place);
        }
    }

    /// Asks for that binding; it waits unless [`prefetch_reply`](Self::prefetch_reply) came some work
    /// before.
    #[inline]
    pub fn prefetch_reply_found(&self, packet: &Reply) {
        self.prefetch_answered(self.owner_place(packet));
    }

    /// Asks for the binding that owns the port at a place, and returns where it is.
    #[inline]
    fn prefetch_answered(&self, place: Option<Place>) -> u32 {
        let found = place.and_then(|place| self.pages.owner(place));
        let found = found.unwrap_or(NIL);
        self.flows.prefetch_entry(found);
        found
    }
}

/// Does the work on an unusual packet out of line, which reads it once more: so the usual one stays in
/// registers from reading to writing.
#[inline(never)]
fn unusual<P>(packet: &mut P, work: impl FnOnce(&mut P)) {
    work(packet);
}
