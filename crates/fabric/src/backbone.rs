use plsim_packet::Packet;
use plsim_sim::{ChannelId, Context, Node};
use plsim_table::FixedMap;
use plsim_types::{DropReason, LinkId};

/// The way of replies from the backend hosts to the private endpoints.
///
/// Replies bypass the load balancer: the host sends them straight to the endpoint's side (direct
/// server return), told apart by the link id of the tunnel header alone.
#[derive(Debug, Default)]
pub struct Backbone {
    endpoints: FixedMap<u32, ChannelId>,
}

impl Backbone {
    /// Starts without endpoints.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the channel to the endpoint of a link.
    pub fn connect(&mut self, link: LinkId, channel: ChannelId) {
        self.endpoints.insert(link.0, channel);
    }
}

impl Node for Backbone {
    fn on_packet(&mut self, packet: Box<Packet>, _: ChannelId, context: &mut Context<'_>) {
        match self.endpoints.get(&packet.encap.link.0) {
            Some(channel) => context.send(*channel, packet),
            None => context.drop(packet, DropReason::NoRoute),
        }
    }

    fn on_timer(&mut self, _: u64, _: &mut Context<'_>) {}
}
