use crate::copies::Copies;
use crate::units::{Name, Network, TimeSpan};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The one-way latency between two regions.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RegionLatency {
    /// The two regions, in any order.
    pub between: [Name; 2],
    /// One-way latency; it replaces the latency of `link.endpoint_edge` for endpoints whose
    /// service is in the other region.
    pub latency: TimeSpan,
}

/// A virtual network.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VirtualNetwork {
    /// The name, unique among virtual networks.
    pub name: Name,
    /// How many sections this one stands for. In each, `{n}` in a text is its number,
    /// counted from 0; `{n/8}` is an eighth of that, rounded down, and `{n%8}` what is left.
    #[serde(skip_serializing)]
    pub copies: Option<Copies>,
    /// The Azure region; a name to compare, nothing else.
    #[serde(default = "default_region")]
    pub region: Name,
    /// The address prefixes of the network; they may overlap with those of networks that are
    /// not peered with it (PLS-7).
    #[schemars(length(min = 1, max = 64))]
    pub address_space: Vec<Network>,
    /// Its subnets.
    #[serde(default)]
    #[schemars(length(max = 3_000))]
    pub subnet: Vec<Subnet>,
}

/// A subnet of a virtual network.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Subnet {
    /// The name, unique in the virtual network.
    pub name: Name,
    /// Its addresses: inside the address space, /2 to /29 (Azure reserves five of them: the first
    /// four and the last).
    pub prefix: Network,
    /// Azure's `privateLinkServiceNetworkPolicies`: must be Disabled where a Private Link
    /// Service takes its NAT IPs (PLS-24).
    #[serde(default)]
    pub private_link_service_network_policies: NetworkPolicies,
}

/// Azure's `privateLinkServiceNetworkPolicies` of a subnet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum NetworkPolicies {
    /// Azure's default: no Private Link Service can take NAT IPs here.
    #[default]
    Enabled,
    /// A Private Link Service can take NAT IPs here.
    Disabled,
}

/// A peering of two virtual networks, in both directions; not transitive.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VirtualNetworkPeering {
    /// The two virtual networks, in any order: of one region, without overlap.
    pub virtual_networks: [Name; 2],
}

fn default_region() -> Name {
    "westeurope"
        .parse()
        .expect("broken invariant: the default region is a name")
}
