use crate::config::{ConfigError, EndpointRoute, SpaceOwner, VirtualNetworkConfig};
use crate::route::RouteTable;
use alloc::collections::{BTreeMap, BTreeSet};
use core::fmt;
use core::net::Ipv4Addr;
use plsim_types::{DropReason, Prefix};

/// The position of a virtual network in the scenario.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VnetId(pub u32);

/// The position of a subnet in its virtual network's configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubnetId(pub u16);

/// The position of a private endpoint in the scenario.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EndpointId(pub u32);

/// The routing decision of one virtual network: Azure's system routes.
///
/// These are the address space, the peered networks' address spaces and a /32 for every private
/// endpoint of this network and of the directly peered ones (D-NEW). There is no route to the
/// Internet: what matches nothing has no route.
#[derive(Debug, Clone)]
pub struct VirtualNetwork {
    id: VnetId,
    routes: RouteTable<Target>,
}

/// How a packet came to this virtual network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Arrival {
    /// From a machine or an endpoint of this network.
    Local,
    /// Over a peering.
    Peering,
}

/// Where a packet goes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NextHop {
    /// To a machine in a subnet of this network.
    Subnet(SubnetId),
    /// To a private endpoint in this network or in a directly peered one.
    Endpoint {
        /// The endpoint.
        id: EndpointId,
        /// The network whose subnet it has its address from.
        vnet: VnetId,
    },
    /// To a peered network.
    Peer(VnetId),
}

/// Why a packet has no next hop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RouteError {
    /// No route matches the destination.
    NoRoute,
    /// The destination lies in the address space, but in no subnet.
    NoSubnet,
    /// The packet came over a peering and would have to leave over another one: peering is not
    /// transitive.
    NotTransitive {
        /// The network it would go to.
        peer: VnetId,
    },
}

/// What a route of the table means; an address space without a subnet leads nowhere.
#[derive(Debug, Clone, Copy)]
enum Target {
    Unassigned,
    Subnet(SubnetId),
    Endpoint { id: EndpointId, vnet: VnetId },
    Peer(VnetId),
}

impl VirtualNetwork {
    /// Builds a virtual network.
    ///
    /// # Errors
    /// The first [`ConfigError`] found: address spaces, then subnets, then endpoints.
    pub fn new(config: &VirtualNetworkConfig) -> Result<Self, ConfigError> {
        config.check()?;
        let mut routes = RouteTable::new();
        for &prefix in &config.address_space {
            routes.insert(prefix, Target::Unassigned);
        }
        // After the address space: a subnet as wide as it takes the route's place.
        for (subnet, id) in config.subnets.iter().zip(0..=u16::MAX) {
            routes.insert(subnet.prefix(), Target::Subnet(SubnetId(id)));
        }
        for peering in &config.peerings {
            for &prefix in &peering.address_space {
                routes.insert(prefix, Target::Peer(peering.vnet));
            }
        }
        insert_endpoints(config, &mut routes)?;
        Ok(Self {
            id: config.id,
            routes,
        })
    }

    /// Returns which network this is.
    #[must_use]
    pub const fn id(&self) -> VnetId {
        self.id
    }

    /// Returns the number of routes, 1 and up.
    #[must_use]
    pub fn route_count(&self) -> usize {
        self.routes.len()
    }

    /// Decides where a packet to `destination` goes next.
    ///
    /// # Errors
    /// [`RouteError`]; nothing changes in any case.
    #[inline]
    pub fn route(&self, destination: Ipv4Addr, arrived: Arrival) -> Result<NextHop, RouteError> {
        let Some((_, target)) = self.routes.lookup(destination) else {
            return Err(RouteError::NoRoute);
        };
        match (target, arrived) {
            (Target::Unassigned, Arrival::Local | Arrival::Peering) => Err(RouteError::NoSubnet),
            (Target::Subnet(id), Arrival::Local | Arrival::Peering) => Ok(NextHop::Subnet(id)),
            (Target::Endpoint { id, vnet }, Arrival::Local) => Ok(NextHop::Endpoint { id, vnet }),
            (Target::Endpoint { id, vnet }, Arrival::Peering) if vnet == self.id => {
                Ok(NextHop::Endpoint { id, vnet })
            }
            (Target::Peer(peer), Arrival::Local) => Ok(NextHop::Peer(peer)),
            (Target::Endpoint { vnet: peer, .. } | Target::Peer(peer), Arrival::Peering) => {
                Err(RouteError::NotTransitive { peer })
            }
        }
    }
}

impl fmt::Display for RouteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRoute => f.write_str("no route leads to the destination"),
            Self::NoSubnet => f.write_str("the destination lies in no subnet"),
            Self::NotTransitive { peer } => write!(
                f,
                "peering is not transitive: the packet came over one and would leave to \
                 network {} over another",
                peer.0
            ),
        }
    }
}

impl core::error::Error for RouteError {}

impl From<RouteError> for DropReason {
    fn from(error: RouteError) -> Self {
        match error {
            RouteError::NoRoute | RouteError::NoSubnet | RouteError::NotTransitive { .. } => {
                Self::NoRoute
            }
        }
    }
}

/// Inserts the /32s of this network and its peers, and checks the addresses against the routes
/// that are there already.
fn insert_endpoints(
    config: &VirtualNetworkConfig,
    routes: &mut RouteTable<Target>,
) -> Result<(), ConfigError> {
    let own = (SpaceOwner::Own, config.id, &config.endpoints);
    let peers = config.peerings.iter();
    let peers = peers.map(|peering| {
        let owner = SpaceOwner::Peer(peering.vnet);
        (owner, peering.vnet, &peering.endpoints)
    });
    let mut holders = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for (owner, vnet, endpoints) in core::iter::once(own).chain(peers) {
        for &EndpointRoute { id, address } in endpoints {
            if !seen.insert(id) {
                return Err(ConfigError::DuplicateEndpoint(id));
            }
            if let Some(holder) = holders.insert(address, id) {
                return Err(ConfigError::EndpointAddressTaken {
                    address,
                    holder,
                    id,
                });
            }
            let home = routes.lookup(address).map(|(_, target)| target);
            if !is_home(home, owner) {
                return Err(ConfigError::EndpointOutside { id, owner });
            }
            if let Some(Target::Subnet(subnet)) = home
                && config.subnets[usize::from(subnet.0)]
                    .check(address)
                    .is_err()
            {
                return Err(ConfigError::EndpointReserved { id, subnet });
            }
            routes.insert(Prefix::host(address), Target::Endpoint { id, vnet });
        }
    }
    Ok(())
}

/// Tells whether an owner's endpoint may have an address that the routes so far lead to `home`.
fn is_home(home: Option<Target>, owner: SpaceOwner) -> bool {
    match (home, owner) {
        (Some(Target::Subnet(_)), SpaceOwner::Own) => true,
        (Some(Target::Peer(vnet)), SpaceOwner::Peer(peer)) => vnet == peer,
        (
            None
            | Some(
                Target::Unassigned | Target::Subnet(_) | Target::Endpoint { .. } | Target::Peer(_),
            ),
            SpaceOwner::Own | SpaceOwner::Peer(_),
        ) => false,
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::{Arrival, EndpointId, NextHop, RouteError, SubnetId, VirtualNetwork, VnetId};
    use crate::config::{EndpointRoute, Peering, VirtualNetworkConfig};
    use crate::subnet::Subnet;
    use core::net::Ipv4Addr;
    use plsim_types::DropReason;
    use std::string::ToString;
    use std::vec;

    const HUB: VnetId = VnetId(0);
    const SPOKE: VnetId = VnetId(1);
    const OTHER: VnetId = VnetId(2);
    const OWN_ENDPOINT: EndpointId = EndpointId(70);
    const SPOKE_ENDPOINT: EndpointId = EndpointId(71);

    fn endpoint(id: EndpointId, address: &str) -> EndpointRoute {
        let address = address.parse().unwrap();
        EndpointRoute { id, address }
    }

    /// A hub with two subnets and an endpoint, peered with two spokes of which one has another.
    fn hub() -> VirtualNetwork {
        let subnet = |text: &str| Subnet::new(text.parse().unwrap()).unwrap();
        VirtualNetwork::new(&VirtualNetworkConfig {
            id: HUB,
            address_space: vec!["10.0.0.0/16".parse().unwrap()],
            subnets: vec![subnet("10.0.0.0/24"), subnet("10.0.1.0/24")],
            endpoints: vec![endpoint(OWN_ENDPOINT, "10.0.1.5")],
            peerings: vec![
                Peering {
                    vnet: SPOKE,
                    address_space: vec!["10.1.0.0/16".parse().unwrap()],
                    endpoints: vec![endpoint(SPOKE_ENDPOINT, "10.1.0.9")],
                },
                Peering {
                    vnet: OTHER,
                    address_space: vec!["10.2.0.0/16".parse().unwrap()],
                    endpoints: vec![],
                },
            ],
        })
        .unwrap()
    }

    fn route(network: &VirtualNetwork, to: &str, arrived: Arrival) -> Result<NextHop, RouteError> {
        network.route(to.parse::<Ipv4Addr>().unwrap(), arrived)
    }

    /// D-NEW: the endpoint's /32 is injected into its network and the directly peered ones.
    #[test]
    fn an_endpoints_slash_32_beats_its_subnet_here_and_in_peered_networks() {
        let hub = hub();
        let to = |text| route(&hub, text, Arrival::Local);
        let own = NextHop::Endpoint {
            id: OWN_ENDPOINT,
            vnet: HUB,
        };
        let peered = NextHop::Endpoint {
            id: SPOKE_ENDPOINT,
            vnet: SPOKE,
        };
        assert_eq!(to("10.0.1.5"), Ok(own));
        assert_eq!(to("10.0.1.4"), Ok(NextHop::Subnet(SubnetId(1))));
        assert_eq!(to("10.1.0.9"), Ok(peered));
        assert_eq!(to("10.1.0.8"), Ok(NextHop::Peer(SPOKE)));
    }

    /// PE-5: reachable from the same and from a peered network.
    #[test]
    fn a_packet_that_came_over_a_peering_reaches_subnets_and_own_endpoints() {
        let hub = hub();
        let to = |text| route(&hub, text, Arrival::Peering);
        let own = NextHop::Endpoint {
            id: OWN_ENDPOINT,
            vnet: HUB,
        };
        assert_eq!(to("10.0.0.200"), Ok(NextHop::Subnet(SubnetId(0))));
        assert_eq!(to("10.0.1.5"), Ok(own));
    }

    #[test]
    fn peering_is_not_transitive() {
        let hub = hub();
        for (to, peer) in [
            ("10.2.0.4", OTHER),
            ("10.1.0.8", SPOKE),
            ("10.1.0.9", SPOKE),
        ] {
            let refused = route(&hub, to, Arrival::Peering).unwrap_err();
            assert_eq!(refused, RouteError::NotTransitive { peer }, "{to}");
            assert_eq!(DropReason::from(refused), DropReason::NoRoute);
        }
    }

    #[test]
    fn space_without_a_subnet_and_foreign_addresses_lead_nowhere() {
        let hub = hub();
        for arrived in [Arrival::Local, Arrival::Peering] {
            assert_eq!(route(&hub, "10.0.2.4", arrived), Err(RouteError::NoSubnet));
            assert_eq!(route(&hub, "10.3.0.4", arrived), Err(RouteError::NoRoute));
            assert_eq!(route(&hub, "8.8.8.8", arrived), Err(RouteError::NoRoute));
        }
        assert_eq!((hub.id(), hub.route_count()), (HUB, 7));
        assert!(
            RouteError::NotTransitive { peer: OTHER }
                .to_string()
                .contains("network 2")
        );
    }

    #[test]
    fn a_subnet_as_wide_as_the_address_space_takes_its_route() {
        let network = VirtualNetwork::new(&VirtualNetworkConfig {
            id: SPOKE,
            address_space: vec!["10.0.0.0/24".parse().unwrap()],
            subnets: vec![Subnet::new("10.0.0.0/24".parse().unwrap()).unwrap()],
            endpoints: vec![],
            peerings: vec![],
        })
        .unwrap();
        let hop = route(&network, "10.0.0.77", Arrival::Local);
        assert_eq!(
            (hop, network.route_count()),
            (Ok(NextHop::Subnet(SubnetId(0))), 1)
        );
    }
}
