//! The nodes on a packet's way, in path order.
//!
//! What it is: thin nodes that ask an engine and then forward or drop — the
//! [`VirtualNetworkNode`], the [`PrivateEndpointNode`], the [`ProviderEdge`] (Private Link Service
//! and load balancer), the [`BackendHost`] (NAT, and the [`HealthProbes`] of its VM) and the
//! [`Backbone`] that carries replies straight back (direct server return).
//!
//! What it is not: no routing, hashing or translation is decided here.
//!
//! # Invariants
//! - A packet that is not translated is not forwarded to a backend, nor back to a consumer.
//! - What a machine sends passes its first hop only as a proper packet from its own address.
//! - Nothing passes a private endpoint whose connection is not Approved, in either direction
//!   (PLS-14).
//! - A client's stream reaches the server of a service with PROXY protocol as the header and then its
//!   own bytes; the client's numbers show nothing of it ([`Splices`]).
//! - After every call a node's timer is in step with its engine's next deadline.
#![forbid(unsafe_code)]

mod admission;
mod backbone;
mod backend_host;
mod floating_ip;
mod frontend;
mod loopback;
mod private_endpoint;
mod probe;
mod provider_edge;
mod splice;
mod virtual_network;

pub use backbone::Backbone;
pub use backend_host::{BackendHost, BackendHostConfig, Dialled, ServedFlow, TimedNatEvent};
pub use floating_ip::{FloatingIp, FloatingIps};
pub use loopback::{Loopback, LoopbackConfig, LoopbackVm};
pub use private_endpoint::{PrivateEndpointConfig, PrivateEndpointNode, Traffic};
pub use probe::{Dialogue, HealthProbes, TimedProbeEvent};
pub use provider_edge::{ProviderEdge, ProviderEdgeConfig, TimedLbEvent};
pub use splice::{Consumer, ProxyService, SpliceStats, Splices};
pub use virtual_network::{VirtualNetworkNode, VirtualNetworkNodeConfig};
