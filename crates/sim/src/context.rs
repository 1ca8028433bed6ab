use plsim_packet::{Packet, PacketId, Payload, TcpHeader};
use plsim_types::{DropReason, Instant};

use crate::channel::ChannelId;
use crate::entity::NodeId;
use crate::event::{Class, tie};
use crate::lane::Kernel;
use crate::observer::{Observer, Place};
use crate::stream::Stream;

/// Something that packets pass through, start from or end at.
///
/// A node is thin: it asks an engine, then forwards, delivers or drops.
pub trait Node {
    /// Takes a packet that arrived by a channel; it must end up sent, delivered or dropped.
    fn on_packet(&mut self, packet: Box<Packet>, by: ChannelId, context: &mut Context<'_>);

    /// Reacts to a timer that this node set.
    fn on_timer(&mut self, token: u64, context: &mut Context<'_>);

    /// Asks for the memory that a packet will need which comes by a channel: with the next slot of the
    /// queue that holds anything. It waits for nothing that grows with the flows; it changes
    /// nothing, and nothing depends on whether it is called.
    fn foresee(&self, _packet: &Packet, _by: ChannelId) -> Foresight {
        Foresight::Done
    }

    /// Asks for what is found in the memory that [`foresee`](Self::foresee) has asked for, if that said
    /// so.
    fn foresee_more(&self, _packet: &Packet, _by: ChannelId) {}

    /// Does as [`foresee`](Self::foresee) for a timer with this token.
    fn foresee_timer(&self, _token: u64) {}
}

/// What is left to foresee of a packet.
///
/// A table is read in two steps: a line of its index tells where an entry is. Were both done at once,
/// each packet would wait for its own line; so those of all packets are asked for before any is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Foresight {
    /// Nothing.
    Done,
    /// There is more to ask for, once what was asked for is there.
    More,
    /// It probably goes on by this channel soon, for the node there to foresee it, too: one that is
    /// nearer to the packet's end.
    Onward(ChannelId),
}

/// What a node can do to the world while it is running.
pub struct Context<'a> {
    pub(crate) kernel: &'a mut Kernel,
    pub(crate) observer: &'a mut dyn Observer,
    pub(crate) node: NodeId,
    /// The packet at hand, and the hops it has made in this instant.
    pub(crate) at_hand: Option<(PacketId, u8)>,
}

impl std::fmt::Debug for Context<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context")
            .field("now", &self.now())
            .field("node", &self.node)
            .finish()
    }
}

impl Context<'_> {
    /// Returns the virtual time.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.kernel.now
    }

    /// Returns the node at hand.
    #[must_use]
    pub const fn node(&self) -> NodeId {
        self.node
    }

    /// Returns the node's own stream of random numbers.
    pub fn random(&mut self) -> &mut Stream {
        self.kernel.stream(self.node)
    }

    /// Brings a packet into being: gives it its id and counts it.
    pub fn inject(&mut self, packet: Packet) -> Box<Packet> {
        let packet = self.kernel.inject(self.node, packet);
        self.observer.injected(self.kernel.now, self.node, &packet);
        packet
    }

    /// Brings a TCP packet into being, as [`Packet::tcp`] and [`Context::inject`] would; where one has
    /// ended, in its memory and without a copy.
    pub fn inject_tcp(&mut self, header: &TcpHeader, payload: Payload) -> Box<Packet> {
        let packet = self.kernel.inject_tcp(self.node, header, payload);
        self.observer.injected(self.kernel.now, self.node, &packet);
        packet
    }

    /// Hands a packet to a channel that starts at this node.
    pub fn send(&mut self, channel: ChannelId, packet: Box<Packet>) {
        let now = self.kernel.now;
        let link = self.kernel.channel(channel);
        if let Some(tap) = link.tap_in {
            self.observer.tapped(now, tap, &packet);
        }
        if link.impaired.is_some() {
            return self.send_impaired(channel, packet);
        }
        let latency = link.latency;
        if latency.is_zero() {
            let hops = self.hops_of(&packet) + 1;
            self.kernel.pass_on(channel, packet, hops);
        } else {
            let (lane, tie) = (link.lane, tie(Class::Arrival, &mut link.source));
            self.kernel
                .dispatch(lane, (now + latency, tie), channel, packet);
        }
    }

    /// Hands a packet to a channel with impairments, of which no packet, one or two come out.
    #[inline(never)]
    fn send_impaired(&mut self, channel: ChannelId, packet: Box<Packet>) {
        let now = self.kernel.now;
        let hops = self.hops_of(&packet) + 1;
        let link = self.kernel.channel(channel).impair();
        let departed = match link.admit(packet.wire_len() as u64, now) {
            Ok(departed) => departed,
            Err(reason) => return self.end(Place::Channel(channel), packet, reason),
        };
        let copy = link.duplicates().then(|| (*packet).clone());
        let id = packet.id;
        self.kernel.carry(channel, packet, departed, hops);
        if let Some(copy) = copy {
            let copy = self.kernel.inject(self.node, copy);
            self.observer.duplicated(now, channel, &copy, id);
            self.kernel.carry(channel, copy, departed, hops);
        }
    }

    /// Ends a packet at its receiver.
    pub fn deliver(&mut self, packet: Box<Packet>) {
        self.observer.delivered(self.kernel.now, self.node, &packet);
        self.kernel.recycle(packet);
    }

    /// Ends a packet that became part of another one.
    pub fn merge(&mut self, packet: Box<Packet>) {
        self.observer.merged(self.kernel.now, self.node, &packet);
        self.kernel.recycle(packet);
    }

    /// Ends a packet early, at this node.
    pub fn drop(&mut self, packet: Box<Packet>, reason: DropReason) {
        self.end(Place::Node(self.node), packet, reason);
    }

    /// Has [`Node::on_timer`] called with `token` at a later time; timers cannot be taken back.
    ///
    /// # Panics
    /// If `at` does not lie after now: the run would hang.
    pub fn set_timer(&mut self, at: Instant, token: u64) {
        assert!(
            at > self.kernel.now,
            "a timer must lie in the future: {at} at {:?}",
            self.node
        );
        self.kernel.schedule_timer(at, self.node, token);
    }

    /// Returns the hops a packet has made in this instant: those of the one at hand, none for a new
    /// one.
    fn hops_of(&self, packet: &Packet) -> u8 {
        match self.at_hand {
            Some((id, hops)) if id == packet.id => hops,
            Some(_) | None => 0,
        }
    }

    /// Has [`Node::on_timer`] called with `token` once more in this instant, behind the packets sent
    /// so far: for work that is too much for one piece.
    pub fn again(&mut self, token: u64) {
        self.kernel.again(self.node, token);
    }

    /// Calls the driver: [`World::run_before`](crate::World::run_before) returns as soon as the world's
    /// [`reaction`](crate::WorldBuilder::reaction) time has passed.
    ///
    /// # Panics
    /// If the world was built for nodes that never call.
    pub fn call(&mut self) {
        self.kernel.calls.push(self.kernel.now);
    }

    fn end(&mut self, place: Place, packet: Box<Packet>, reason: DropReason) {
        self.observer
            .dropped(self.kernel.now, place, &packet, reason);
        self.kernel.recycle(packet);
    }
}
