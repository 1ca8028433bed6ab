use std::net::Ipv4Addr;

use plsim_packet::Packet;
use plsim_sim::{ChannelId, Context, Node};

/// A VM that is server and client at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoopbackVm {
    /// Its address.
    pub address: Ipv4Addr,
    /// The frontends' addresses that its loopback interface has, for rules with floating IP.
    pub floating_ips: Vec<Ipv4Addr>,
    /// Toward its server.
    pub to_server: ChannelId,
    /// Where its server's packets arrive.
    pub from_server: ChannelId,
    /// From its NIC to its host.
    pub to_host: ChannelId,
}

/// What the loopback interfaces of a group of VMs are made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoopbackConfig {
    /// The VMs.
    pub vms: Vec<LoopbackVm>,
    /// Toward the clients on them.
    pub to_clients: ChannelId,
    /// Where the packets of those clients arrive.
    pub from_clients: ChannelId,
    /// From the VMs to their virtual network.
    pub to_network: ChannelId,
}

/// The loopback interfaces of a group of VMs with floating IP: what a VM sends to an address of its
/// own does not leave it (D-FIP).
#[derive(Debug)]
pub struct Loopback {
    config: LoopbackConfig,
}

impl Loopback {
    /// Builds the node.
    #[must_use]
    pub const fn new(config: LoopbackConfig) -> Self {
        Self { config }
    }

    fn next(&self, packet: &Packet, by: ChannelId) -> ChannelId {
        let config = &self.config;
        let (sender, destination) = (packet.sender(), *packet.destination().ip());
        let vm = |is_it: &dyn Fn(&LoopbackVm) -> bool| config.vms.iter().find(|vm| is_it(vm));
        if by == config.from_clients {
            let own = vm(&|vm| vm.address == sender && vm.floating_ips.contains(&destination));
            return own.map_or(config.to_network, |vm| vm.to_server);
        }
        match vm(&|vm| vm.from_server == by) {
            Some(vm) if vm.address != destination => vm.to_host,
            Some(_) | None => config.to_clients,
        }
    }
}

impl Node for Loopback {
    fn on_packet(&mut self, packet: Box<Packet>, by: ChannelId, context: &mut Context<'_>) {
        let channel = self.next(&packet, by);
        context.send(channel, packet);
    }

    fn on_timer(&mut self, _: u64, _: &mut Context<'_>) {}
}
