//! Slices of packets: the same as one call after the other, without waiting for memory each time.
//!
//! With a million flows nothing that a packet needs is in a cache. So a slice is worked off in three
//! rounds of at most [`ROUND`] packets: while the one asks for what the next will read, memory has
//! time to answer.
//!
//! ```text
//!  originals   key and hash: ask for the line      look there: ask     translate, exactly
//!              of the index                        for the binding     as alone
//!  replies     ask for the owner of the port       the same            the same
//! ```

use crate::binding::Flow;
use crate::engine::NatEngine;
use crate::error::NatError;
use crate::packet::{Original, Reply, Translation};
use crate::pool::NIL;
use plsim_types::Instant;

/// Packets of a round: enough to cover main memory, few enough for the processor's queue of misses.
const ROUND: usize = 32;

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
            for flow in &mut flows[..packets.len()] {
                flow.found = self.flows.prefetch_found(flow.hash).unwrap_or(NIL);
            }
            for (packet, flow) in packets.iter_mut().zip(&flows) {
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
            for (place, found) in places[..packets.len()].iter().zip(&mut found) {
                *found = place.and_then(|at| self.pages.owner(at)).unwrap_or(NIL);
                self.flows.prefetch_entry(*found);
            }
            for (packet, &found) in packets.iter_mut().zip(&found) {
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

/// Does the work on an unusual packet out of line, which reads it once more: so the usual one stays in
/// registers from reading to writing.
#[inline(never)]
fn unusual<P>(packet: &mut P, work: impl FnOnce(&mut P)) {
    work(packet);
}
