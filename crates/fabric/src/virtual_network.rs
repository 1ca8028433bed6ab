use std::net::Ipv4Addr;

use plsim_packet::Packet;
use plsim_sim::{ChannelId, Context, Foresight, Node};
use plsim_table::FixedMap;
use plsim_types::DropReason;
use plsim_vnet::{Arrival, EndpointId, NextHop, VirtualNetwork, VnetId};

use crate::admission::admit;

/// What a virtual network's node is made of.
#[derive(Debug)]
pub struct VirtualNetworkNodeConfig {
    /// The routes.
    pub network: VirtualNetwork,
    /// The channel to each private endpoint that is reachable from here.
    pub endpoints: Vec<(EndpointId, ChannelId)>,
    /// The channel to each peered network.
    pub peers: Vec<(VnetId, ChannelId)>,
    /// The channels on which packets of peered networks arrive.
    pub from_peers: Vec<ChannelId>,
    /// The channel to each machine, by its address as a number.
    pub machines: FixedMap<u32, ChannelId>,
    /// For each channel on which packets of machines arrive, the one that leads to the same
    /// machines; in rising order.
    pub uplinks: Vec<(ChannelId, ChannelId)>,
}

/// A virtual network: routes packets of its machines to endpoints and back.
#[derive(Debug)]
pub struct VirtualNetworkNode {
    config: VirtualNetworkNodeConfig,
}

impl VirtualNetworkNode {
    /// Builds the node.
    #[must_use]
    pub const fn new(config: VirtualNetworkNodeConfig) -> Self {
        Self { config }
    }

    fn next(&self, packet: &Packet, by: ChannelId) -> Result<ChannelId, DropReason> {
        let uplinks = &self.config.uplinks;
        if let Ok(at) = uplinks.binary_search_by_key(&by, |uplink| uplink.0) {
            admit(packet, |address| self.leads_to(address, uplinks[at].1))?;
        }
        let arrival = if self.config.from_peers.contains(&by) {
            Arrival::Peering
        } else {
            Arrival::Local
        };
        let destination = *packet.destination().ip();
        match self
            .config
            .network
            .route(destination, arrival)
            .map_err(DropReason::from)?
        {
            NextHop::Subnet(_) => self
                .config
                .machines
                .get(&destination.to_bits())
                .copied()
                .ok_or(DropReason::NoHost),
            NextHop::Endpoint { id, .. } => channel_of(&self.config.endpoints, id),
            NextHop::Peer(vnet) => channel_of(&self.config.peers, vnet),
        }
    }

    /// Tells whether an address belongs to the machines behind a channel.
    fn leads_to(&self, address: Ipv4Addr, channel: ChannelId) -> bool {
        self.config.machines.get(&address.to_bits()) == Some(&channel)
    }
}

fn channel_of<K: Ord + Copy>(sorted: &[(K, ChannelId)], key: K) -> Result<ChannelId, DropReason> {
    match sorted.binary_search_by_key(&key, |entry| entry.0) {
        Ok(index) => Ok(sorted[index].1),
        Err(_) => Err(DropReason::NoRoute),
    }
}

impl Node for VirtualNetworkNode {
    fn on_packet(&mut self, packet: Box<Packet>, by: ChannelId, context: &mut Context<'_>) {
        match self.next(&packet, by) {
            Ok(channel) => context.send(channel, packet),
            Err(reason) => context.drop(packet, reason),
        }
    }

    fn foresee(&self, packet: &Packet, _: ChannelId) -> Foresight {
        let address = packet.destination().ip().to_bits();
        match self.config.machines.get(&address) {
            Some(channel) => Foresight::Onward(*channel),
            None => Foresight::Done,
        }
    }

    fn on_timer(&mut self, _: u64, _: &mut Context<'_>) {}
}
