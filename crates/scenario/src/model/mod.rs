//! What a scenario file says, section by section. The doc comments are the schema's descriptions.

mod arrival;
mod control;
mod destination;
mod distribution;
mod link;
mod load_balancer;
mod machine;
mod nat;
mod network;
mod private_link;
mod probe;
mod profile;
mod run;
mod tcp_stack;
mod workload;

pub use arrival::{Arrival, Bursts};
pub use control::{Action, Event, Expect, ExpectValue};
pub use destination::{Destination, Skew, Zipf};
pub use distribution::{
    AdminDown, AdminState, Distribution, HashStrength, HashTuple, LoneBackend, PoolConfiguration,
    Rehash, RuleProtocol, Sku,
};
pub use link::{
    ClientEndpointLink, EdgeHostLink, EndpointEdgeLink, GeModel, HostVmLink, JitterDistribution,
    Link, LinkDirection, LinkName, LinkSettings, Reorder,
};
pub use load_balancer::{
    BackendPool, Fragments, Frontend, LbIdleAction, LoadBalancer, Rule, Transport,
};
pub use machine::{
    Application, BackendVm, CertificateChain, ClientOs, ClientVm, EphemeralPortOrder, Flapping,
    TlsVersion, VmState,
};
pub use nat::{
    HeldPorts, LatePackets, NatIpSelection, OnExhaustion, OnIdle, PortAllocation, PortSpace,
    Preset, TimerSet,
};
pub use network::{NetworkPolicies, RegionLatency, Subnet, VirtualNetwork, VirtualNetworkPeering};
pub use private_link::{ConnectionState, PrivateEndpoint, PrivateLinkService, ProxyDestination};
pub use probe::{
    NoHealthyBackends, Probe, ProbePhase, ProbePreset, ProbeProtocol, ProbeProxyHeader,
};
pub use profile::Profile;
pub use run::{Output, Run};
pub(crate) use tcp_stack::TcpStackKeys;
pub use tcp_stack::{FullTcp, TcpStack};
pub use workload::{
    Close, Jitter, NoticeClose, OnConnectFailure, Pool, PoolOrder, Publisher, Retry, Workload,
    WorkloadModel,
};

use crate::directory::Directory;
use crate::located::Located;
use crate::profile::Filled;
use crate::rows::Files;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A plsim scenario: the network, the traffic, what happens while it runs and what is expected.
///
/// Made by [`parse`](crate::parse) only: every reference exists and every rule that can be
/// checked without running holds. Lists keep the order of the file.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(
    title = "plsim scenario",
    description = "The network, the traffic, what happens while it runs and what is expected."
)]
pub struct Scenario {
    /// How long the run takes, and its seed.
    pub run: Run,
    /// What is recorded while it runs.
    #[serde(default)]
    pub output: Output,
    /// The four links on the way of a packet: latency, bandwidth, and what goes wrong on them.
    #[serde(default)]
    pub link: Link,
    /// Latencies between regions, for endpoints whose service is in another region.
    #[serde(default)]
    #[schemars(length(max = 1_000))]
    pub region_latency: Vec<RegionLatency>,
    /// Virtual networks with their subnets.
    #[serde(default)]
    #[schemars(length(max = 110_000))]
    pub virtual_network: Vec<VirtualNetwork>,
    /// Peerings: each joins two virtual networks of one region.
    #[serde(default)]
    #[schemars(length(max = 1_000))]
    pub virtual_network_peering: Vec<VirtualNetworkPeering>,
    /// Consumer machines, in groups, that open connections.
    #[serde(default)]
    #[schemars(length(max = 110_000))]
    pub client_vm: Vec<ClientVm>,
    /// Private endpoints: addresses in a consumer's subnet that lead to a Private Link Service.
    #[serde(default)]
    #[schemars(length(max = 110_000))]
    pub private_endpoint: Vec<PrivateEndpoint>,
    /// Private Link Services: the provider's side, with its NAT.
    #[serde(default)]
    #[schemars(length(max = 800))]
    pub private_link_service: Vec<PrivateLinkService>,
    /// Standard internal load balancers.
    #[serde(default)]
    #[schemars(length(max = 1_000))]
    pub load_balancer: Vec<LoadBalancer>,
    /// Provider machines, in groups, that answer connections.
    #[serde(default)]
    #[schemars(length(max = 1_000))]
    pub backend_vm: Vec<BackendVm>,
    /// The traffic.
    #[serde(default, serialize_with = "crate::located::effective")]
    #[schemars(length(max = 110_000))]
    pub workload: Vec<Workload>,
    /// Changes while the run goes on.
    #[serde(default)]
    #[schemars(length(max = 10_000))]
    pub event: Vec<Event>,
    /// What must hold when the run is over; if one does not, the run fails.
    #[serde(default)]
    #[schemars(length(max = 1_000))]
    pub expect: Vec<Expect>,
    /// Where each value was written.
    #[serde(skip)]
    pub(crate) located: Located,
    /// What stands in the files that it names.
    #[serde(skip)]
    pub(crate) files: Files,
    /// Who is called what.
    #[serde(skip)]
    pub(crate) directory: Directory,
    /// What profiles have filled in, for each workload.
    #[serde(skip)]
    pub(crate) filled: Vec<Option<Filled>>,
}
