use plsim_fabric::{Backbone, BackendHost, PrivateEndpointNode, ProviderEdge, VirtualNetworkNode};
use plsim_host::{ClientVms, ServerVm};
use plsim_packet::Packet;
use plsim_sim::{ChannelId, Context, Node};

/// Every kind of node, in path order.
#[derive(Debug)]
pub(crate) enum Room {
    Clients(ClientVms),
    Network(VirtualNetworkNode),
    Endpoint(PrivateEndpointNode),
    Edge(ProviderEdge),
    Host(BackendHost),
    Server(ServerVm),
    Backbone(Backbone),
}

impl Node for Room {
    fn on_packet(&mut self, packet: Box<Packet>, by: ChannelId, context: &mut Context<'_>) {
        match self {
            Self::Clients(node) => node.on_packet(packet, by, context),
            Self::Network(node) => node.on_packet(packet, by, context),
            Self::Endpoint(node) => node.on_packet(packet, by, context),
            Self::Edge(node) => node.on_packet(packet, by, context),
            Self::Host(node) => node.on_packet(packet, by, context),
            Self::Server(node) => node.on_packet(packet, by, context),
            Self::Backbone(node) => node.on_packet(packet, by, context),
        }
    }

    fn on_timer(&mut self, token: u64, context: &mut Context<'_>) {
        match self {
            Self::Clients(node) => node.on_timer(token, context),
            Self::Network(node) => node.on_timer(token, context),
            Self::Endpoint(node) => node.on_timer(token, context),
            Self::Edge(node) => node.on_timer(token, context),
            Self::Host(node) => node.on_timer(token, context),
            Self::Server(node) => node.on_timer(token, context),
            Self::Backbone(node) => node.on_timer(token, context),
        }
    }
}
