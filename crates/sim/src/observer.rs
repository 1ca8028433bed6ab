use plsim_packet::{Packet, PacketId};
use plsim_types::{DropReason, Instant};

use crate::channel::ChannelId;
use crate::entity::{NodeId, TapId};
use crate::event::Tie;

/// Where something happened to a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// At a node.
    Node(NodeId),
    /// On a link.
    Channel(ChannelId),
}

/// Watches the packets of a run; it can change nothing.
///
/// The calls come in the total order of events, once for each fact.
pub trait Observer {
    /// An event of the queue begins; together with the time, `tie` tells it from all others and puts
    /// it in order.
    fn begin(&mut self, _now: Instant, _tie: Tie) {}

    /// A packet came into being at a node.
    fn injected(&mut self, now: Instant, node: NodeId, packet: &Packet);

    /// A packet came into being as the copy that a link made of the packet `of`.
    fn duplicated(&mut self, now: Instant, channel: ChannelId, packet: &Packet, of: PacketId);

    /// A packet reached its receiver.
    fn delivered(&mut self, now: Instant, node: NodeId, packet: &Packet);

    /// A packet ended early.
    fn dropped(&mut self, now: Instant, place: Place, packet: &Packet, reason: DropReason);

    /// A packet ended as part of another one.
    fn merged(&mut self, now: Instant, node: NodeId, packet: &Packet);

    /// A packet passed a capture point.
    fn tapped(&mut self, now: Instant, tap: TapId, packet: &Packet);
}

/// An observer that can watch parts of a world on threads of their own.
pub trait Split: Observer {
    /// What watches one part.
    type Part: Observer + Send;

    /// Starts to watch a part.
    fn part(&self) -> Self::Part;

    /// Takes over what the parts saw. Together they saw every event of a span of time that nobody
    /// else saw; each saw its own in their order.
    fn join(&mut self, parts: Vec<Self::Part>);
}
