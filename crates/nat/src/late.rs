//! RSTs in answer to TCP packets that belong to no binding and may not create one.

use crate::binding::FlowKey;
use crate::config::LatePackets;
use crate::engine::NatEngine;
use crate::event::{Reset, Sender};
use crate::packet::Reply;
use plsim_types::{Direction, TcpFlags, TcpSegment};

impl NatEngine {
    /// Answers a client's packet, if its pool says so.
    #[cold]
    pub(crate) fn answer_late_original(&mut self, key: &FlowKey, segment: Option<&TcpSegment>) {
        let pool = &self.pools[key.pool()];
        let wanted = pool.late_packets == LatePackets::Reset;
        if let Some((sequence, acknowledgement)) = answer(segment).filter(|_| wanted) {
            self.resets.push_back(Reset {
                pls: pool.pls,
                link: Some(key.link()),
                by: Sender::Nat,
                toward: Direction::Reply,
                source: key.endpoint(),
                destination: key.client(),
                sequence,
                acknowledgement,
            });
        }
    }

    /// Answers a packet of the backend itself, if it is for a NAT IP whose pool says so.
    #[cold]
    pub(crate) fn answer_late_reply(&mut self, packet: &Reply) {
        if *packet.source.ip() != self.backend {
            return;
        }
        let nat_ip = self.by_address.get(packet.destination.ip());
        let pool = nat_ip.and_then(|at| self.pools.iter().find(|pool| pool.nat_ips.contains(at)));
        let pool = pool.filter(|pool| pool.late_packets == LatePackets::Reset);
        if let (Some(pool), Some((sequence, acknowledgement))) =
            (pool, answer(packet.segment.as_ref()))
        {
            self.resets.push_back(Reset {
                pls: pool.pls,
                link: None,
                by: Sender::Nat,
                toward: Direction::Original,
                source: packet.destination,
                destination: packet.source,
                sequence,
                acknowledgement,
            });
        }
    }
}

/// Returns the sequence number and the acknowledgement of the RST that answers a segment (RFC 9293
/// §3.10.7.1); `None` if there is to be none: nobody answers an RST, and a fragment without TCP
/// header cannot be answered.
fn answer(segment: Option<&TcpSegment>) -> Option<(u32, Option<u32>)> {
    let segment = segment.filter(|segment| !segment.flags.has(TcpFlags::RST))?;
    if segment.flags.is_rest() {
        return None;
    }
    Some(if segment.flags.has(TcpFlags::ACK) {
        (segment.acknowledgement, None)
    } else {
        (0, Some(segment.end()))
    })
}
