//! Backend VMs that open connections and have floating addresses: what they send to such an address
//! stays inside.

use std::collections::BTreeMap;

use plsim_fabric::{FloatingIps, Loopback, LoopbackConfig, LoopbackVm};
use plsim_scenario::Scenario;
use plsim_sim::{ChannelConfig, ChannelId, NodeId, WorldBuilder};

use crate::layout::{BackendPlace, ClientGroup, Layout};
use crate::membership;
use crate::room::Room;

/// The loopback interfaces of the groups of VMs that need one.
#[derive(Debug)]
pub(crate) struct Loopbacks {
    /// The nodes, by the position of the group.
    nodes: BTreeMap<usize, NodeId>,
    /// What they are made of, as far as it is known.
    planned: BTreeMap<usize, LoopbackConfig>,
}

impl Loopbacks {
    /// Announces a node for each group of VMs that needs one.
    pub(crate) fn announce(
        scenario: &Scenario,
        layout: &Layout,
        builder: &mut WorldBuilder,
    ) -> Self {
        let mut nodes = BTreeMap::new();
        for client in &layout.clients {
            let ClientGroup::Backend(group) = client.group else {
                continue;
            };
            let mut vms = layout.backends.iter().filter(|place| place.group == group);
            if vms.any(|place| {
                membership::floating_ips(scenario, layout, place)
                    .addresses()
                    .next()
                    .is_some()
            }) {
                let name = scenario.backend_vm[group].name.as_str();
                nodes.insert(group, builder.node("loopback", name));
            }
        }
        Self {
            nodes,
            planned: BTreeMap::new(),
        }
    }

    /// Returns the node that stands before the clients of a group, if one does.
    pub(crate) fn before(&self, group: ClientGroup) -> Option<NodeId> {
        match group {
            ClientGroup::Client(_) => None,
            ClientGroup::Backend(group) => self.nodes.get(&group).copied(),
        }
    }

    /// Links the clients of a group, which send to their network on `to_network`; returns the channel
    /// on which they send now.
    pub(crate) fn join_clients(
        &mut self,
        builder: &mut WorldBuilder,
        (group, name): (ClientGroup, &str),
        clients: NodeId,
        to_network: ChannelId,
    ) -> ChannelId {
        let (ClientGroup::Backend(index), Some(node)) = (group, self.before(group)) else {
            return to_network;
        };
        let inside = ChannelConfig::default();
        let from_clients =
            builder.channel("client-loopback", name, (clients, node), inside.clone());
        let config = LoopbackConfig {
            vms: Vec::new(),
            to_clients: builder.channel("loopback-client", name, (node, clients), inside),
            from_clients,
            to_network,
        };
        self.planned.insert(index, config);
        from_clients
    }

    /// Links the server of a VM, which sends to its host on `to_host`; returns the channel on which it
    /// sends now.
    pub(crate) fn join_server(
        &mut self,
        builder: &mut WorldBuilder,
        place: &BackendPlace,
        server: NodeId,
        floating_ips: &FloatingIps,
        to_host: ChannelId,
    ) -> ChannelId {
        let planned = self.planned.get_mut(&place.group);
        let (Some(config), Some(&node)) = (planned, self.nodes.get(&place.group)) else {
            return to_host;
        };
        let inside = ChannelConfig::default();
        let from_server =
            builder.channel("vm-loopback", &place.name, (server, node), inside.clone());
        config.vms.push(LoopbackVm {
            address: place.address,
            floating_ips: floating_ips.addresses().collect(),
            to_server: builder.channel("loopback-vm", &place.name, (node, server), inside),
            from_server,
            to_host,
        });
        from_server
    }

    /// Returns the nodes in the order in which they were announced.
    pub(crate) fn rooms(self) -> impl Iterator<Item = Room> {
        let mut planned = self.planned;
        let mut nodes: Vec<(usize, NodeId)> = self.nodes.into_iter().collect();
        nodes.sort_by_key(|(_, node)| node.0);
        nodes.into_iter().filter_map(move |(group, _)| {
            let config = planned.remove(&group)?;
            Some(Room::Loopback(Loopback::new(config)))
        })
    }
}
