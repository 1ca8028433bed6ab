use crate::network::{EndpointId, SubnetId, VnetId};
use crate::subnet::Subnet;
use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::fmt;
use core::net::Ipv4Addr;
use plsim_types::Prefix;

/// The /32 route that a private endpoint injects (D-NEW).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EndpointRoute {
    /// The endpoint.
    pub id: EndpointId,
    /// The address of its NIC.
    pub address: Ipv4Addr,
}

/// What a virtual network knows of one it is peered with directly.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peering {
    /// The other network.
    pub vnet: VnetId,
    /// The other network's whole address space.
    pub address_space: Vec<Prefix>,
    /// The private endpoints of the other network itself, not of its further peers.
    pub endpoints: Vec<EndpointRoute>,
}

/// Everything one virtual network's routes are made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VirtualNetworkConfig {
    /// This network.
    pub id: VnetId,
    /// Its address space: one prefix or more, without overlap.
    pub address_space: Vec<Prefix>,
    /// Its subnets, each inside one prefix of the address space, without overlap; the position
    /// is the [`SubnetId`].
    pub subnets: Vec<Subnet>,
    /// The private endpoints in its subnets.
    pub endpoints: Vec<EndpointRoute>,
    /// The networks it is peered with.
    pub peerings: Vec<Peering>,
}

/// Whose address space a prefix belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SpaceOwner {
    /// The configured network itself.
    Own,
    /// A network it is peered with.
    Peer(VnetId),
}

/// Why a configuration is not a virtual network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConfigError {
    /// The address space has no prefix.
    NoAddressSpace,
    /// There are more subnets than a [`SubnetId`] can count (65 536).
    TooManySubnets,
    /// Two prefixes share addresses: of one network, of two peered ones, or of two networks
    /// peered with this one.
    SpaceOverlap {
        /// One prefix and its owner; it covers the other.
        first: (SpaceOwner, Prefix),
        /// The other prefix and its owner.
        second: (SpaceOwner, Prefix),
    },
    /// No prefix of the address space covers the subnet.
    SubnetOutsideSpace(SubnetId),
    /// Two subnets share addresses.
    SubnetOverlap {
        /// One subnet; it covers the other.
        first: SubnetId,
        /// The other subnet.
        second: SubnetId,
    },
    /// A network cannot be peered with itself.
    SelfPeering,
    /// The same network is peered twice.
    DuplicatePeering(VnetId),
    /// One endpoint is listed twice, in this network or a peered one.
    DuplicateEndpoint(EndpointId),
    /// Two endpoints have one address.
    EndpointAddressTaken {
        /// The address.
        address: Ipv4Addr,
        /// Who has it.
        holder: EndpointId,
        /// Who wants it, too.
        id: EndpointId,
    },
    /// The endpoint's address lies in no subnet (own) or not in the address space (peer).
    EndpointOutside {
        /// The endpoint.
        id: EndpointId,
        /// The network that lists it.
        owner: SpaceOwner,
    },
    /// The endpoint's address is one that its subnet reserves.
    EndpointReserved {
        /// The endpoint.
        id: EndpointId,
        /// The subnet.
        subnet: SubnetId,
    },
}

impl VirtualNetworkConfig {
    /// Checks address spaces, peerings and subnets, in this order.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        check_spaces(self)?;
        check_subnets(self)
    }
}

impl fmt::Display for SpaceOwner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Own => f.write_str("this network"),
            Self::Peer(vnet) => write!(f, "peered network {}", vnet.0),
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoAddressSpace => f.write_str("the address space is empty"),
            Self::TooManySubnets => f.write_str("more than 65536 subnets"),
            Self::SpaceOverlap { first, second } => write!(
                f,
                "address spaces overlap: {} of {} and {} of {}",
                first.1, first.0, second.1, second.0
            ),
            Self::SubnetOutsideSpace(id) => {
                write!(f, "subnet {} lies outside the address space", id.0)
            }
            Self::SubnetOverlap { first, second } => {
                write!(f, "subnets {} and {} overlap", first.0, second.0)
            }
            Self::SelfPeering => f.write_str("a network cannot be peered with itself"),
            Self::DuplicatePeering(vnet) => {
                write!(f, "network {} is peered twice", vnet.0)
            }
            Self::DuplicateEndpoint(id) => {
                write!(f, "private endpoint {} is listed twice", id.0)
            }
            Self::EndpointAddressTaken {
                address,
                holder,
                id,
            } => write!(
                f,
                "private endpoints {} and {} both have {address}",
                holder.0, id.0
            ),
            Self::EndpointOutside { id, owner } => write!(
                f,
                "private endpoint {} has an address outside {owner}",
                id.0
            ),
            Self::EndpointReserved { id, subnet } => write!(
                f,
                "private endpoint {} has a reserved address of subnet {}",
                id.0, subnet.0
            ),
        }
    }
}

impl core::error::Error for ConfigError {}

/// Checks that no two prefixes of this network and its peers share an address.
///
/// Azure refuses a peering whose space overlaps this network's or that of another peer: the
/// route would be ambiguous.
fn check_spaces(config: &VirtualNetworkConfig) -> Result<(), ConfigError> {
    if config.address_space.is_empty() {
        return Err(ConfigError::NoAddressSpace);
    }
    let own = config.address_space.iter();
    let mut spaces: Vec<_> = own.map(|&prefix| (prefix, SpaceOwner::Own)).collect();
    let mut peers = BTreeSet::new();
    for peering in &config.peerings {
        if peering.vnet == config.id {
            return Err(ConfigError::SelfPeering);
        }
        if !peers.insert(peering.vnet) {
            return Err(ConfigError::DuplicatePeering(peering.vnet));
        }
        let owner = SpaceOwner::Peer(peering.vnet);
        spaces.extend(peering.address_space.iter().map(|&prefix| (prefix, owner)));
    }
    match overlap(&mut spaces) {
        None => Ok(()),
        Some((first, second)) => Err(ConfigError::SpaceOverlap {
            first: (first.1, first.0),
            second: (second.1, second.0),
        }),
    }
}

fn check_subnets(config: &VirtualNetworkConfig) -> Result<(), ConfigError> {
    if config.subnets.len() > usize::from(u16::MAX) + 1 {
        return Err(ConfigError::TooManySubnets);
    }
    let mut subnets = subnets(config);
    for &(prefix, id) in &subnets {
        if !config
            .address_space
            .iter()
            .any(|space| space.covers(prefix))
        {
            return Err(ConfigError::SubnetOutsideSpace(id));
        }
    }
    match overlap(&mut subnets) {
        None => Ok(()),
        Some((first, second)) => Err(ConfigError::SubnetOverlap {
            first: first.1,
            second: second.1,
        }),
    }
}

fn subnets(config: &VirtualNetworkConfig) -> Vec<(Prefix, SubnetId)> {
    let numbered = config.subnets.iter().zip(0..=u16::MAX);
    numbered
        .map(|(subnet, id)| (subnet.prefix(), SubnetId(id)))
        .collect()
}

/// Finds two prefixes that share an address, the wider one first.
///
/// Two prefixes are nested or apart, so in the order (network, length) a prefix that covers any
/// other also covers its direct successor.
fn overlap<T: Copy + Ord>(prefixes: &mut [(Prefix, T)]) -> Option<((Prefix, T), (Prefix, T))> {
    prefixes.sort_unstable_by_key(|&(prefix, tag)| (prefix.network(), prefix.length(), tag));
    prefixes
        .windows(2)
        .find(|pair| pair[0].0.covers(pair[1].0))
        .map(|pair| (pair[0], pair[1]))
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::{ConfigError, EndpointRoute, Peering, SpaceOwner, VirtualNetworkConfig, overlap};
    use crate::network::{EndpointId, SubnetId, VirtualNetwork, VnetId};
    use crate::subnet::Subnet;
    use core::net::Ipv4Addr;
    use plsim_types::Prefix;
    use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};
    use std::string::ToString;
    use std::vec;
    use std::vec::Vec;

    fn prefix(text: &str) -> Prefix {
        text.parse().unwrap()
    }

    fn peering(vnet: u32, space: &[&str]) -> Peering {
        Peering {
            vnet: VnetId(vnet),
            address_space: space.iter().map(|text| prefix(text)).collect(),
            endpoints: vec![],
        }
    }

    fn endpoint(id: u32, address: &str) -> EndpointRoute {
        EndpointRoute {
            id: EndpointId(id),
            address: address.parse().unwrap(),
        }
    }

    /// Network 0, 10.0.0.0/16 with subnets .0 and .1; valid.
    fn valid() -> VirtualNetworkConfig {
        VirtualNetworkConfig {
            id: VnetId(0),
            address_space: vec![prefix("10.0.0.0/16")],
            subnets: ["10.0.0.0/24", "10.0.1.0/24"]
                .map(|text| Subnet::new(prefix(text)).unwrap())
                .to_vec(),
            endpoints: vec![endpoint(1, "10.0.0.5")],
            peerings: vec![peering(1, &["10.1.0.0/16"])],
        }
    }

    fn refused(change: impl FnOnce(&mut VirtualNetworkConfig)) -> ConfigError {
        let mut config = valid();
        assert!(VirtualNetwork::new(&config).is_ok());
        change(&mut config);
        VirtualNetwork::new(&config).unwrap_err()
    }

    #[test]
    fn a_network_needs_an_address_space_without_overlap() {
        let none = refused(|config| config.address_space.clear());
        assert_eq!(none, ConfigError::NoAddressSpace);
        let twice = refused(|config| config.address_space.push(prefix("10.0.128.0/17")));
        assert_eq!(
            twice,
            ConfigError::SpaceOverlap {
                first: (SpaceOwner::Own, prefix("10.0.0.0/16")),
                second: (SpaceOwner::Own, prefix("10.0.128.0/17")),
            }
        );
    }

    #[test]
    fn subnets_lie_in_the_space_and_apart() {
        let push = |text: &'static str| {
            refused(|config| config.subnets.push(Subnet::new(prefix(text)).unwrap()))
        };
        assert_eq!(
            push("10.1.0.0/24"),
            ConfigError::SubnetOutsideSpace(SubnetId(2))
        );
        assert_eq!(
            push("10.0.0.0/15"),
            ConfigError::SubnetOutsideSpace(SubnetId(2))
        );
        let overlap = ConfigError::SubnetOverlap {
            first: SubnetId(1),
            second: SubnetId(2),
        };
        assert_eq!(push("10.0.1.128/25"), overlap);
        assert_eq!(overlap.to_string(), "subnets 1 and 2 overlap");
    }

    #[test]
    fn peered_networks_must_not_overlap_this_one_or_each_other() {
        let own = refused(|config| config.peerings.push(peering(2, &["10.0.9.0/24"])));
        assert_eq!(
            own,
            ConfigError::SpaceOverlap {
                first: (SpaceOwner::Own, prefix("10.0.0.0/16")),
                second: (SpaceOwner::Peer(VnetId(2)), prefix("10.0.9.0/24")),
            }
        );
        let peers = refused(|config| config.peerings.push(peering(2, &["10.1.0.0/16"])));
        assert_eq!(
            peers.to_string(),
            "address spaces overlap: 10.1.0.0/16 of peered network 1 and 10.1.0.0/16 of peered \
             network 2"
        );
    }

    #[test]
    fn a_network_is_peered_once_with_another_and_never_with_itself() {
        let own = refused(|config| config.peerings.push(peering(0, &["10.9.0.0/16"])));
        assert_eq!(own, ConfigError::SelfPeering);
        let twice = refused(|config| config.peerings.push(peering(1, &["10.9.0.0/16"])));
        assert_eq!(twice, ConfigError::DuplicatePeering(VnetId(1)));
    }

    #[test]
    fn endpoints_have_a_usable_address_of_their_own_network() {
        let own = |id, address: &'static str| {
            refused(|config| config.endpoints.push(endpoint(id, address)))
        };
        let outside = |id, owner| ConfigError::EndpointOutside {
            id: EndpointId(id),
            owner,
        };
        assert_eq!(
            own(1, "10.0.0.6"),
            ConfigError::DuplicateEndpoint(EndpointId(1))
        );
        assert_eq!(own(2, "10.0.2.6"), outside(2, SpaceOwner::Own));
        assert_eq!(own(2, "10.1.0.6"), outside(2, SpaceOwner::Own));
        assert_eq!(own(2, "9.0.0.6"), outside(2, SpaceOwner::Own));
        let reserved = ConfigError::EndpointReserved {
            id: EndpointId(2),
            subnet: SubnetId(1),
        };
        assert_eq!(own(2, "10.0.1.255"), reserved);
        let taken = ConfigError::EndpointAddressTaken {
            address: Ipv4Addr::new(10, 0, 0, 5),
            holder: EndpointId(1),
            id: EndpointId(2),
        };
        assert_eq!(own(2, "10.0.0.5"), taken);
        let peer = |address: &'static str| {
            refused(|config| config.peerings[0].endpoints.push(endpoint(3, address)))
        };
        assert_eq!(peer("10.2.0.4"), outside(3, SpaceOwner::Peer(VnetId(1))));
        let stray = refused(|config| {
            config.peerings.push(peering(2, &["10.2.0.0/16"]));
            config.peerings[0].endpoints.push(endpoint(3, "10.2.0.4"));
        });
        assert_eq!(stray, outside(3, SpaceOwner::Peer(VnetId(1))));
        assert_eq!(peer("10.0.0.9"), outside(3, SpaceOwner::Peer(VnetId(1))));
    }

    proptest! {
        #[test]
        fn overlap_is_found_exactly_when_a_pair_overlaps(
            parts in proptest::collection::vec((any::<u32>(), 0..=10_u8), 0..12),
        ) {
            let prefixes: Vec<Prefix> = parts
                .iter()
                .map(|&(bits, length)| {
                    let mask = if length == 0 { 0 } else { u32::MAX << (32 - length) };
                    Prefix::new(Ipv4Addr::from_bits(bits & mask), length).unwrap()
                })
                .collect();
            let pairwise = (1..prefixes.len())
                .any(|end| prefixes[..end].iter().any(|one| one.overlaps(prefixes[end])));
            let mut tagged: Vec<_> = prefixes.iter().copied().zip(0_u16..).collect();
            let found = overlap(&mut tagged);
            prop_assert_eq!(found.is_some(), pairwise);
            if let Some((wide, narrow)) = found {
                prop_assert!(wide.0.covers(narrow.0) && wide.1 != narrow.1);
            }
        }
    }
}
