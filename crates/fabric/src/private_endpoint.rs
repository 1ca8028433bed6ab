use plsim_packet::Packet;
use plsim_sim::{ChannelId, Context, Foresight, Node};
use plsim_types::{Direction, DropReason, PlsId};
use plsim_vnet::PrivateEndpoint;

/// What a private endpoint's node is made of.
#[derive(Debug)]
pub struct PrivateEndpointConfig {
    /// The address, link id and connection state.
    pub endpoint: PrivateEndpoint,
    /// The service it is connected to.
    pub pls: PlsId,
    /// What the hop takes from the time to live, 0 by default (unpublished).
    pub ttl_decrement: u8,
    /// Toward the provider.
    pub to_edge: ChannelId,
    /// Toward the endpoint's own virtual network.
    pub to_network: ChannelId,
}

/// What passed an endpoint in one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Traffic {
    /// Packets that passed.
    pub packets: u64,
    /// Their bytes, IP header included.
    pub bytes: u64,
}

/// The NIC of a private endpoint: passes traffic while the connection is Approved (PLS-14).
#[derive(Debug)]
pub struct PrivateEndpointNode {
    config: PrivateEndpointConfig,
    traffic: [Traffic; 2],
}

impl PrivateEndpointNode {
    /// Builds the node.
    #[must_use]
    pub const fn new(config: PrivateEndpointConfig) -> Self {
        Self {
            config,
            traffic: [Traffic {
                packets: 0,
                bytes: 0,
            }; 2],
        }
    }

    /// Returns the address, link id and connection state.
    #[must_use]
    pub const fn endpoint(&self) -> &PrivateEndpoint {
        &self.config.endpoint
    }

    /// Returns the endpoint for a change of its connection state.
    pub const fn endpoint_mut(&mut self) -> &mut PrivateEndpoint {
        &mut self.config.endpoint
    }

    /// Returns what has passed in one direction.
    #[must_use]
    pub const fn traffic(&self, direction: Direction) -> Traffic {
        self.traffic[direction.index()]
    }

    fn check(&self, packet: &mut Packet) -> Result<(), DropReason> {
        if !self.config.endpoint.state.passes() {
            return Err(DropReason::NotApproved);
        }
        let decrement = self.config.ttl_decrement;
        if decrement > 0 && !packet.decrement_ttl(decrement) {
            return Err(DropReason::TtlExpired);
        }
        Ok(())
    }
}

impl Node for PrivateEndpointNode {
    fn on_packet(&mut self, mut packet: Box<Packet>, _: ChannelId, context: &mut Context<'_>) {
        let to_endpoint = *packet.destination().ip() == self.config.endpoint.address;
        let direction = if to_endpoint {
            Direction::Original
        } else {
            Direction::Reply
        };
        if direction == Direction::Original {
            packet.encap.link = self.config.endpoint.link;
            packet.encap.pls = self.config.pls;
        }
        if let Err(reason) = self.check(&mut packet) {
            context.drop(packet, reason);
            return;
        }
        let traffic = &mut self.traffic[direction.index()];
        traffic.packets += 1;
        traffic.bytes += packet.wire_len() as u64;
        let onward = match direction {
            Direction::Original => self.config.to_edge,
            Direction::Reply => self.config.to_network,
        };
        context.send(onward, packet);
    }

    fn foresee(&self, packet: &Packet, _: ChannelId) -> Foresight {
        match *packet.destination().ip() == self.config.endpoint.address {
            true => Foresight::Done,
            false => Foresight::Onward(self.config.to_network),
        }
    }

    fn on_timer(&mut self, _: u64, _: &mut Context<'_>) {}
}
