use plsim_fabric::{
    Backbone, BackendHost, Loopback, PrivateEndpointNode, ProviderEdge, VirtualNetworkNode,
};
use plsim_host::{ClientVms, ServerVm};
use plsim_packet::Packet;
use plsim_sim::{ChannelId, Context, Foresight, Node};

/// Every kind of node, in path order.
#[derive(Debug)]
pub(crate) enum Room {
    Clients(Box<ClientVms>),
    Network(VirtualNetworkNode),
    Endpoint(PrivateEndpointNode),
    Edge(Box<ProviderEdge>),
    Host(Box<BackendHost>),
    Server(Box<ServerVm>),
    Backbone(Backbone),
    Loopback(Loopback),
}

/// Declares the doors to the kinds of node that the map lists by number.
macro_rules! doors {
    ($($kind:ident($node:ty): $door:ident, $door_mut:ident;)+) => {
        impl Room {
            $(
                pub(crate) fn $door(&self) -> &$node {
                    match self {
                        Self::$kind(node) => node,
                        _ => unreachable!("broken invariant: the map gave another kind of node"),
                    }
                }

                pub(crate) fn $door_mut(&mut self) -> &mut $node {
                    match self {
                        Self::$kind(node) => node,
                        _ => unreachable!("broken invariant: the map gave another kind of node"),
                    }
                }
            )+
        }
    };
}

doors! {
    Clients(ClientVms): clients, clients_mut;
    Endpoint(PrivateEndpointNode): endpoint, endpoint_mut;
    Edge(ProviderEdge): edge, edge_mut;
    Host(BackendHost): host, host_mut;
    Server(ServerVm): server, server_mut;
}

impl Room {
    /// Returns the number of packets that wait here: fragments of one that is not complete.
    pub(crate) fn held(&self) -> u64 {
        match self {
            Self::Clients(node) => node.held(),
            Self::Edge(node) => node.held(),
            Self::Host(node) => node.held(),
            Self::Server(node) => node.held(),
            Self::Network(_) | Self::Endpoint(_) | Self::Backbone(_) | Self::Loopback(_) => 0,
        }
    }

    /// Has a machine send a packet as it is.
    pub(crate) fn send(&self, packet: Packet, context: &mut Context<'_>) {
        match self {
            Self::Clients(node) => node.send(packet, context),
            Self::Server(node) => node.send(packet, context),
            _ => unreachable!("broken invariant: the map gave another kind of node"),
        }
    }
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
            Self::Loopback(node) => node.on_packet(packet, by, context),
        }
    }

    fn foresee(&self, packet: &Packet, by: ChannelId) -> Foresight {
        match self {
            Self::Clients(node) => node.foresee(packet, by),
            Self::Network(node) => node.foresee(packet, by),
            Self::Endpoint(node) => node.foresee(packet, by),
            Self::Edge(node) => node.foresee(packet, by),
            Self::Host(node) => node.foresee(packet, by),
            Self::Server(node) => node.foresee(packet, by),
            Self::Backbone(node) => node.foresee(packet, by),
            Self::Loopback(node) => node.foresee(packet, by),
        }
    }

    fn foresee_more(&self, packet: &Packet, by: ChannelId) {
        match self {
            Self::Clients(node) => node.foresee_more(packet, by),
            Self::Network(node) => node.foresee_more(packet, by),
            Self::Endpoint(node) => node.foresee_more(packet, by),
            Self::Edge(node) => node.foresee_more(packet, by),
            Self::Host(node) => node.foresee_more(packet, by),
            Self::Server(node) => node.foresee_more(packet, by),
            Self::Backbone(node) => node.foresee_more(packet, by),
            Self::Loopback(node) => node.foresee_more(packet, by),
        }
    }

    fn foresee_timer(&self, token: u64) {
        match self {
            Self::Clients(node) => node.foresee_timer(token),
            Self::Network(node) => node.foresee_timer(token),
            Self::Endpoint(node) => node.foresee_timer(token),
            Self::Edge(node) => node.foresee_timer(token),
            Self::Host(node) => node.foresee_timer(token),
            Self::Server(node) => node.foresee_timer(token),
            Self::Backbone(node) => node.foresee_timer(token),
            Self::Loopback(node) => node.foresee_timer(token),
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
            Self::Loopback(node) => node.on_timer(token, context),
        }
    }
}
