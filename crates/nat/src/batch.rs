//! Slices of packets: the same as one call after the other, without waiting for memory each time.
//!
//! With a million flows nothing that a packet needs is in a cache. So a slice is worked off as a
//! rolling pipeline: while one packet is translated, the binding of a later one and the index line
//! or page of a still later one are on their way.
//!
//! ```text
//!  packet   i + 2 AHEAD            i + AHEAD              i
//!           hash, ask for line     read it, ask for       translate, exactly
//!           of the index           the binding            as alone
//! ```

use crate::binding::Flow;
use crate::engine::NatEngine;
use crate::error::NatError;
use crate::packet::{Original, Reply, Translation};
use alloc::vec::Vec;
use plsim_types::Instant;

/// Packets between two steps: enough to cover main memory, few enough for the CPU's queue of misses.
pub(crate) const AHEAD: usize = 8;
/// Flows in flight: a power of two above `2 * AHEAD`.
const RING: usize = 32;

impl NatEngine {
    /// Translates packets of the consumers, each at its instant, which must not decrease: the same
    /// as [`original`](Self::original) for one after the other, only faster.
    ///
    /// The results are appended to `translated` in order.
    pub fn originals(
        &mut self,
        packets: &[(Original, Instant)],
        translated: &mut Vec<Result<Translation, NatError>>,
    ) {
        let mut flows = [Flow::default(); RING];
        let first = translated.len();
        translated.resize(first + packets.len(), Err(NatError::NoFlow));
        let translated = &mut translated[first..];
        for step in 0..packets.len() + 2 * AHEAD {
            if let Some((packet, _)) = packets.get(step) {
                let flow = self.flow_of(packet);
                self.flows.prefetch(flow.hash);
                flows[step % RING] = flow;
            }
            if (AHEAD..packets.len() + AHEAD).contains(&step) {
                let flow = &mut flows[(step - AHEAD) % RING];
                flow.found = self.flows.prefetch_found(flow.hash);
            }
            if let Some(at) = step.checked_sub(2 * AHEAD) {
                let (packet, now) = &packets[at];
                self.original_into(packet, &flows[at % RING], *now, &mut translated[at]);
            }
        }
    }

    /// Translates packets of the backend VM, each at its instant, which must not decrease: the same
    /// as [`reply`](Self::reply) for one after the other, only faster.
    ///
    /// The results are appended to `translated` in order.
    pub fn replies(
        &mut self,
        packets: &[(Reply, Instant)],
        translated: &mut Vec<Result<Translation, NatError>>,
    ) {
        let first = translated.len();
        translated.resize(first + packets.len(), Err(NatError::NoFlow));
        let translated = &mut translated[first..];
        let mut found = [None; RING];
        for step in 0..packets.len() + 2 * AHEAD {
            if let Some((packet, _)) = packets.get(step) {
                self.prefetch_owner(packet);
            }
            if let Some(at) = step.checked_sub(AHEAD)
                && let Some((packet, _)) = packets.get(at)
            {
                let owner = self.owner(packet);
                if let Some(position) = owner {
                    self.flows.prefetch_entry(position);
                }
                found[at % RING] = owner;
            }
            if let Some(at) = step.checked_sub(2 * AHEAD) {
                let (packet, now) = &packets[at];
                self.reply_into(packet, found[at % RING], *now, &mut translated[at]);
            }
        }
    }
}
