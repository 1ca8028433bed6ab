use plsim_packet::Packet;
use plsim_sim::{ChannelId, Context, Node};
use plsim_table::FixedMap;
use plsim_types::{DropReason, LinkId, PlsId};

/// The way of replies from the backend hosts to the private endpoints.
///
/// Replies bypass the load balancer: the host sends them straight to the endpoint's side (direct
/// server return), told apart by the link id of the tunnel header alone. Those to clients of a
/// frontend itself have no tunnel: they go to the VM's own virtual network.
#[derive(Debug, Default)]
pub struct Backbone {
    endpoints: FixedMap<u32, ChannelId>,
    /// The channel to the network of each host, by the channel on which its packets arrive.
    networks: FixedMap<ChannelId, ChannelId>,
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

    /// Adds the channel to the virtual network of the host whose packets arrive on another one.
    pub fn connect_host(&mut self, by: ChannelId, network: ChannelId) {
        self.networks.insert(by, network);
    }
}

impl Node for Backbone {
    fn on_packet(&mut self, packet: Box<Packet>, by: ChannelId, context: &mut Context<'_>) {
        let channel = match packet.encap.pls {
            PlsId::NONE => self.networks.get(&by),
            _ => self.endpoints.get(&packet.encap.link.0),
        };
        match channel {
            Some(channel) => context.send(*channel, packet),
            None => context.drop(packet, DropReason::NoRoute),
        }
    }

    fn on_timer(&mut self, _: u64, _: &mut Context<'_>) {}
}
