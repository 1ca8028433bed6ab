use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use plsim_fabric::{
    Backbone, BackendHost, BackendHostConfig, PrivateEndpointConfig, PrivateEndpointNode,
    ProviderEdge, ProviderEdgeConfig, VirtualNetworkNode, VirtualNetworkNodeConfig,
};
use plsim_host::{ClientVms, ClientVmsConfig, ServerVm, ServerVmConfig};
use plsim_lb::{FrontendId, LoadBalancer};
use plsim_nat::FrontendFlows;
use plsim_observe::Interface;
use plsim_scenario::{Diagnostics, LinkName, Scenario, SubnetPath};
use plsim_sim::{ChannelConfig, ChannelId, NodeId, TapId, WorldBuilder};
use plsim_table::FixedMap;
use plsim_types::KeyedHash;
use plsim_vnet::{EndpointId, PrivateEndpoint, VirtualNetwork, VnetId};

use crate::configure;
use crate::frontend;
use crate::host;
use crate::layout::{ClientGroup, Layout, network_of};
use crate::link::{self, Hop, LinkPlace, Owner};
use crate::loopback::Loopbacks;
use crate::membership;
use crate::room::Room;
use crate::shard;
use crate::workload;

/// The nodes of a scenario, joined by links, before the world runs.
pub(crate) struct Building {
    pub(crate) builder: WorldBuilder,
    pub(crate) rooms: Vec<Room>,
    pub(crate) map: Map,
    /// The capture points, by tap number; empty without a capture.
    pub(crate) interfaces: Vec<Interface>,
}

/// Which node is what.
#[derive(Debug, Default)]
pub(crate) struct Map {
    pub(crate) clients: Vec<NodeId>,
    pub(crate) networks: Vec<NodeId>,
    pub(crate) endpoints: Vec<NodeId>,
    pub(crate) edges: Vec<NodeId>,
    pub(crate) hosts: Vec<NodeId>,
    pub(crate) servers: Vec<NodeId>,
    /// The links that a scenario has settings for.
    pub(crate) links: Vec<LinkPlace>,
}

/// Joins everything a scenario names.
pub(crate) fn build(
    scenario: &Scenario,
    layout: &Layout,
    seed: u64,
) -> Result<Building, Diagnostics> {
    let mut site = Site::new(scenario, layout, seed);
    let clients = site.clients();
    let mut endpoints = site.endpoints();
    let backends = site.backends();
    let frontends = site.frontends();
    site.homes(&backends, &mut endpoints.backbone);
    shard::keep_together(
        scenario,
        layout,
        &site.map,
        site.backbone,
        &mut site.builder,
    );
    let mut rooms = clients.rooms;
    rooms.extend(site.networks(&clients.links, &frontends, &endpoints)?);
    rooms.extend(site.endpoint_rooms(&endpoints));
    rooms.extend(site.edges(&backends)?);
    rooms.extend(backends.rooms);
    rooms.push(Room::Backbone(endpoints.backbone));
    rooms.extend(site.loopbacks.rooms());
    Ok(Building {
        builder: site.builder,
        rooms,
        map: site.map,
        interfaces: site.interfaces,
    })
}

/// The construction at work: nodes are announced first, so that links can lead to them.
struct Site<'a> {
    scenario: &'a Scenario,
    layout: &'a Layout,
    seed: u64,
    builder: WorldBuilder,
    map: Map,
    backbone: NodeId,
    interfaces: Vec<Interface>,
    loopbacks: Loopbacks,
}

/// The client groups and the links that lead to them.
struct Clients {
    rooms: Vec<Room>,
    /// From each group to its network and back.
    links: Vec<(ChannelId, ChannelId)>,
}

/// The links around the private endpoints.
struct Endpoints {
    /// From the endpoint to the edge and to its own network.
    uplinks: Vec<(ChannelId, ChannelId)>,
    /// The capture point of each endpoint's NIC.
    taps: Vec<Option<TapId>>,
    backbone: Backbone,
}

/// The backend hosts with their VMs, and the links from the edges.
struct Backends {
    rooms: Vec<Room>,
    /// For each load balancer, the link to each backend that it serves.
    downlinks: Vec<Vec<Option<ChannelId>>>,
    /// The link from each host to the backbone.
    uplinks: Vec<ChannelId>,
}

impl<'a> Site<'a> {
    fn new(scenario: &'a Scenario, layout: &'a Layout, seed: u64) -> Self {
        let mut builder = WorldBuilder::new();
        let clients = layout.clients.iter().map(|place| {
            let (kind, name) = place.group.name(scenario);
            builder.node(kind, name)
        });
        let clients = clients.collect();
        let mut announce = |kind: &'static str, names: Vec<&str>| -> Vec<NodeId> {
            names
                .into_iter()
                .map(|name| builder.node(kind, name))
                .collect()
        };
        let networks = scenario
            .virtual_network
            .iter()
            .map(|net| net.name.as_str())
            .collect();
        let endpoints = scenario
            .private_endpoint
            .iter()
            .map(|pe| pe.name.as_str())
            .collect();
        let edges = scenario
            .load_balancer
            .iter()
            .map(|lb| lb.name.as_str())
            .collect();
        let backends: Vec<&str> = layout.backends.iter().map(|vm| vm.name.as_str()).collect();
        let mut map = Map {
            clients,
            networks: announce("virtual-network", networks),
            endpoints: announce("private-endpoint", endpoints),
            edges: announce("load-balancer", edges),
            ..Map::default()
        };
        for name in backends {
            map.hosts.push(builder.node("backend-host", name));
            map.servers.push(builder.node("backend-vm", name));
        }
        let backbone = builder.node("backbone", "backbone");
        let loopbacks = Loopbacks::announce(scenario, layout, &mut builder);
        Self {
            scenario,
            layout,
            seed,
            builder,
            map,
            backbone,
            interfaces: Vec::new(),
            loopbacks,
        }
    }

    fn clients(&mut self) -> Clients {
        let mut clients = Clients {
            rooms: Vec::new(),
            links: Vec::new(),
        };
        for (index, place) in self.layout.clients.iter().enumerate() {
            let network = self.map.networks[place.network];
            let (kind, name) = place.group.name(self.scenario);
            let config = ChannelConfig::default();
            let [there, home] = match place.group {
                ClientGroup::Client(_) => ["client-network", "network-client"],
                ClientGroup::Backend(_) => ["backend-network", "network-backend"],
            };
            let node = self.map.clients[index];
            let to_network = self
                .builder
                .channel(there, name, (node, network), config.clone());
            let first = self.loopbacks.before(place.group).unwrap_or(node);
            let back = self.builder.channel(home, name, (network, first), config);
            clients.links.push((to_network, back));
            let own = (place.group, name);
            let out = self
                .loopbacks
                .join_clients(&mut self.builder, own, node, to_network);
            clients
                .rooms
                .push(Room::Clients(Box::new(ClientVms::new(ClientVmsConfig {
                    addresses: place.addresses.clone(),
                    ephemeral_ports: host::ephemeral_ports(self.scenario, place.group),
                    full: host::client_stack(self.scenario, place.group),
                    out,
                    seed: self.entity_seed(kind, name),
                    workloads: workload::workloads(self.scenario, self.layout, index, self.seed),
                }))));
        }
        clients
    }

    /// Links each endpoint to its edge, its network and the backbone.
    fn endpoints(&mut self) -> Endpoints {
        let mut around = Endpoints {
            uplinks: Vec::new(),
            taps: Vec::new(),
            backbone: Backbone::new(),
        };
        for (index, endpoint) in self.scenario.private_endpoint.iter().enumerate() {
            let place = &self.layout.endpoints[index];
            let name = &endpoint.name;
            let tap = self.tap(
                &format!("{name} nic"),
                &format!("NIC of private endpoint {name}"),
            );
            let service = &self.layout.services[usize::from(place.service.0)];
            let far = ChannelConfig {
                latency: link::backbone_latency(self.scenario, self.layout, index),
                ..link::config(self.scenario, LinkName::EndpointEdge)
            };
            let edge = self.map.edges[service.load_balancer];
            let owner = Owner::Endpoint(index);
            let node = self.map.endpoints[index];
            let to_edge = self.join(link::ENDPOINT_EDGE, name, (node, edge), far.clone(), owner);
            let near = ChannelConfig {
                tap_in: tap,
                ..link::config(self.scenario, LinkName::ClientEndpoint)
            };
            let network = self.map.networks[place.network];
            let to_network = self.join(link::ENDPOINT_NETWORK, name, (node, network), near, owner);
            let backbone = self.backbone;
            let back = self.join(link::BACKBONE_ENDPOINT, name, (backbone, node), far, owner);
            around.backbone.connect(place.link, back);
            around.uplinks.push((to_edge, to_network));
            around.taps.push(tap);
        }
        around
    }

    fn endpoint_rooms(&self, around: &Endpoints) -> Vec<Room> {
        let endpoints = self
            .scenario
            .private_endpoint
            .iter()
            .zip(&self.layout.endpoints);
        endpoints
            .zip(&around.uplinks)
            .map(|((endpoint, place), &(to_edge, to_network))| {
                Room::Endpoint(PrivateEndpointNode::new(PrivateEndpointConfig {
                    endpoint: PrivateEndpoint {
                        address: place.address,
                        link: place.link,
                        state: configure::connection_state(endpoint.connection_state),
                    },
                    pls: place.service,
                    ttl_decrement: endpoint.ttl_decrement,
                    to_edge,
                    to_network,
                }))
            })
            .collect()
    }

    fn networks(
        &mut self,
        links: &[(ChannelId, ChannelId)],
        edges: &[Option<(usize, ChannelId)>],
        around: &Endpoints,
    ) -> Result<Vec<Room>, Diagnostics> {
        let count = self.scenario.virtual_network.len();
        let peers = configure::peers(self.scenario);
        let mut to_peers: Vec<Vec<(VnetId, ChannelId)>> = vec![Vec::new(); count];
        let mut from_peers: Vec<Vec<ChannelId>> = vec![Vec::new(); count];
        for (own, others) in peers.iter().enumerate() {
            for &peer in others {
                let names = (self.network_name(own), self.network_name(peer));
                let name = pair(names.0, names.1);
                let node = self.map.networks[peer];
                let link = self.builder.channel(
                    "peering",
                    &name,
                    (self.map.networks[own], node),
                    ChannelConfig::default(),
                );
                to_peers[own].push((configure::vnet_id(peer), link));
                from_peers[peer].push(link);
            }
            to_peers[own].sort_unstable();
        }
        let mut rooms = Vec::new();
        for (own, (peers_out, peers_in)) in to_peers.into_iter().zip(from_peers).enumerate() {
            let config = configure::virtual_network(self.scenario, self.layout, own, &peers[own]);
            let network = VirtualNetwork::new(&config).map_err(|error| {
                let path = format!("virtual_network[{own}]");
                Diagnostics::from(self.scenario.error_at(&path, error.to_string()))
            })?;
            rooms.push(Room::Network(VirtualNetworkNode::new(
                VirtualNetworkNodeConfig {
                    network,
                    endpoints: self.links_to_endpoints(own, &peers[own], around),
                    peers: peers_out,
                    from_peers: peers_in,
                    machines: self.machines(own, links, edges),
                    uplinks: self.uplinks(own, links),
                },
            )));
        }
        Ok(rooms)
    }

    /// Links a network to each endpoint of its own and of its peers.
    fn links_to_endpoints(
        &mut self,
        own: usize,
        peers: &[usize],
        around: &Endpoints,
    ) -> Vec<(EndpointId, ChannelId)> {
        let mut links = Vec::new();
        let networks = std::iter::once(&own).chain(peers);
        let near = networks.flat_map(|&network| &self.layout.networks[network].endpoints);
        // In the order of the endpoints, whichever network they are in.
        let near: BTreeSet<usize> = near.copied().collect();
        for index in near {
            let endpoint = &self.scenario.private_endpoint[index].name;
            let name = pair(self.network_name(own), endpoint);
            let config = ChannelConfig {
                tap_out: around.taps[index],
                ..link::config(self.scenario, LinkName::ClientEndpoint)
            };
            let ends = (self.map.networks[own], self.map.endpoints[index]);
            let owner = Owner::Endpoint(index);
            let link = self.join(link::NETWORK_ENDPOINT, &name, ends, config, owner);
            links.push((configure::endpoint_id(index), link));
        }
        links
    }

    /// Links each load balancer to the virtual network of its frontends; returns that network and the
    /// channel from there.
    fn frontends(&mut self) -> Vec<Option<(usize, ChannelId)>> {
        let mut links = Vec::new();
        for (index, lb) in self.scenario.load_balancer.iter().enumerate() {
            let Some(frontend) = lb.frontend.first() else {
                links.push(None);
                continue;
            };
            let network = self.network_named(&frontend.subnet);
            let config = link::config(self.scenario, LinkName::ClientEndpoint);
            let ends = (self.map.networks[network], self.map.edges[index]);
            let owner = Owner::Balancer(index);
            let link = self.join(link::NETWORK_EDGE, &lb.name, ends, config, owner);
            links.push(Some((network, link)));
        }
        links
    }

    /// Links each backend host to its virtual network, for what it answers to clients there.
    fn homes(&mut self, backends: &Backends, backbone: &mut Backbone) {
        for (index, place) in self.layout.backends.iter().enumerate() {
            let subnet = &self.scenario.backend_vm[place.group].subnet;
            let network = self.map.networks[self.network_named(subnet)];
            let config = link::config(self.scenario, LinkName::ClientEndpoint);
            let (name, owner) = (&place.name, Owner::Backend(index));
            let ends = (self.backbone, network);
            let link = self.join(link::BACKBONE_NETWORK, name, ends, config, owner);
            backbone.connect_host(backends.uplinks[index], link);
        }
    }

    fn network_named(&self, subnet: &SubnetPath) -> usize {
        network_of(self.scenario, subnet)
    }

    /// Returns the channel to each address of a network: its machines, and the load balancers.
    fn machines(
        &self,
        own: usize,
        links: &[(ChannelId, ChannelId)],
        edges: &[Option<(usize, ChannelId)>],
    ) -> FixedMap<u32, ChannelId> {
        let mut machines = FixedMap::default();
        let mut add = |addresses: &[Ipv4Addr], channel| {
            for address in addresses {
                machines.insert(address.to_bits(), channel);
            }
        };
        for &client in &self.layout.networks[own].clients {
            let (_, back) = links[client];
            add(&self.layout.clients[client].addresses, back);
        }
        for (addresses, edge) in self.layout.frontends.iter().zip(edges) {
            if let Some((network, channel)) = edge
                && *network == own
            {
                add(addresses, *channel);
            }
        }
        machines
    }

    fn uplinks(&self, own: usize, links: &[(ChannelId, ChannelId)]) -> Vec<(ChannelId, ChannelId)> {
        let clients = self.layout.networks[own].clients.iter();
        clients.map(|&client| links[client]).collect()
    }

    fn backends(&mut self) -> Backends {
        let balancers = self.scenario.load_balancer.len();
        let mut backends = Backends {
            rooms: Vec::new(),
            downlinks: vec![vec![None; self.layout.backends.len()]; balancers],
            uplinks: Vec::new(),
        };
        // Hosts and VMs alternate, as they were announced.
        for (index, place) in self.layout.backends.iter().enumerate() {
            let name = &place.name;
            let owner = Owner::Backend(index);
            for balancer in configure::balancers_of(place) {
                let lb = &self.scenario.load_balancer[balancer].name;
                let config = link::config(self.scenario, LinkName::EdgeHost);
                let ends = (self.map.edges[balancer], self.map.hosts[index]);
                let name = pair(lb, name);
                let link = self.join(link::EDGE_HOST, &name, ends, config, owner);
                backends.downlinks[balancer][index] = Some(link);
            }
            let back = link::config(self.scenario, LinkName::EdgeHost);
            let ends = (self.map.hosts[index], self.backbone);
            let to_backbone = self.join(link::HOST_BACKBONE, name, ends, back, owner);
            backends.uplinks.push(to_backbone);
            let (host, server) = self.host_and_vm(index, to_backbone);
            backends
                .rooms
                .extend([Room::Host(Box::new(host)), Room::Server(Box::new(server))]);
        }
        backends
    }

    fn host_and_vm(&mut self, index: usize, to_backbone: ChannelId) -> (BackendHost, ServerVm) {
        let place = &self.layout.backends[index];
        let name = &place.name;
        let nat_tap = self.tap(
            &format!("{name} nat"),
            &format!("provider side of {name}'s NAT"),
        );
        let nic_tap = self.tap(&format!("{name} nic"), &format!("NIC of backend VM {name}"));
        let link = link::config(self.scenario, LinkName::HostVm);
        let down = ChannelConfig {
            tap_in: nat_tap,
            tap_out: nic_tap,
            ..link.clone()
        };
        let up = ChannelConfig {
            tap_in: nic_tap,
            tap_out: nat_tap,
            ..link
        };
        let (host, server) = (self.map.hosts[index], self.map.servers[index]);
        let owner = Owner::Backend(index);
        let to_vm = self.join(link::HOST_VM, name, (host, server), down, owner);
        let from_vm = self.join(link::VM_HOST, name, (server, host), up, owner);
        let nat = crate::nat::engine(
            self.scenario,
            self.layout,
            index,
            self.entity_seed("backend-host", name),
        );
        let probe_seed = self.entity_seed("health-probe", name);
        let probes = crate::probe::health_probes(self.scenario, place, probe_seed);
        // A VM of several load balancers answers under the rules of the first.
        let (balancer, _) = place.pools[0];
        let floating_ips = membership::floating_ips(self.scenario, self.layout, place);
        let host = BackendHost::new(BackendHostConfig {
            address: place.address,
            floating_ips: floating_ips.clone(),
            fragments: configure::fragments(&self.scenario.load_balancer[balancer]),
            nat,
            frontend_flows: FrontendFlows::new(frontend::flows(
                self.scenario,
                self.layout,
                place,
                self.entity_seed("frontend-flows", name),
            )),
            splices: configure::splices(self.scenario, self.layout, place),
            probes,
            to_vm,
            from_vm,
            to_backbone,
        });
        let server_vm = ServerVm::new(ServerVmConfig {
            address: place.address,
            floating_ips: floating_ips.addresses().collect(),
            out: self.loopbacks.join_server(
                &mut self.builder,
                place,
                server,
                &floating_ips,
                from_vm,
            ),
            listeners: configure::listeners(self.scenario, place),
            application: configure::application(self.scenario, place),
            subjects: workload::subjects(self.scenario, self.seed),
            tcp: host::server_tcp(&self.scenario.backend_vm[place.group]),
            admission: host::admission(&self.scenario.backend_vm[place.group]),
            behaviour: crate::probe::behaviour(&self.scenario.backend_vm[place.group]),
            full: host::server_stack(&self.scenario.backend_vm[place.group]),
            seed: self.entity_seed("backend-vm", name),
        });
        (host, server_vm)
    }

    fn edges(&self, backends: &Backends) -> Result<Vec<Room>, Diagnostics> {
        let mut rooms = Vec::new();
        for (index, lb) in self.scenario.load_balancer.iter().enumerate() {
            let seed = self.entity_seed("load-balancer", lb.name.as_str());
            let config = configure::load_balancer(self.scenario, self.layout, index, seed);
            let load_balancer = LoadBalancer::new(&config).map_err(|error| {
                let path = format!("load_balancer[{index}]");
                Diagnostics::from(self.scenario.error_at(&path, error.to_string()))
            })?;
            let services = self.layout.services.iter();
            let frontends = services
                .map(|place| (place.load_balancer == index).then_some(FrontendId(place.frontend)))
                .collect();
            let edge = ProviderEdge::new(ProviderEdgeConfig {
                load_balancer,
                frontends,
                addresses: frontend::addresses(self.layout, index),
                hosts: backends.downlinks[index].clone(),
                fragments: configure::fragments(lb),
            });
            rooms.push(Room::Edge(Box::new(edge)));
        }
        Ok(rooms)
    }

    /// Adds a link that the scenario has settings for.
    fn join(
        &mut self,
        hop: Hop,
        name: &str,
        ends: (NodeId, NodeId),
        config: ChannelConfig,
        owner: Owner,
    ) -> ChannelId {
        let channel = self.builder.channel(hop.kind, name, ends, config);
        self.map.links.push(LinkPlace {
            hop,
            owner,
            channel,
        });
        channel
    }

    /// Opens a capture point, if there is to be a capture.
    fn tap(&mut self, name: &str, description: &str) -> Option<TapId> {
        if !self.scenario.output.capture {
            return None;
        }
        let number = u32::try_from(self.interfaces.len()).ok()?;
        let (name, description) = (name.to_owned(), description.to_owned());
        self.interfaces.push(Interface { name, description });
        Some(TapId(number))
    }

    fn network_name(&self, index: usize) -> &'a str {
        self.scenario.virtual_network[index].name.as_str()
    }

    fn entity_seed(&self, kind: &str, name: &str) -> u64 {
        KeyedHash::new(self.seed, kind).derive(name).word(0)
    }
}

/// Names a link by its two ends; the slash cannot be part of a name, so no two pairs look alike.
fn pair(from: &str, to: &str) -> String {
    format!("{from}/{to}")
}
