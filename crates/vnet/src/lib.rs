//! Virtual network decisions: addresses, routes, peering and private endpoint connections.
//!
//! What it is: the address plan of a subnet ([`Subnet`], [`AddressPlan`]), a longest-prefix
//! [`RouteTable`], the routing decision of one virtual network ([`VirtualNetwork`]) and the
//! connection of a private endpoint ([`PrivateEndpoint`], [`ConnectionState`]).
//!
//! What it is not: packets, links, latency or time. Nothing here changes on its own, so there is
//! no timer; regions are compared by whoever reads the topology.
//!
//! # Invariants
//! - A [`VirtualNetwork`] that exists is consistent: no overlap inside its address space, between
//!   its subnets, or with and between the networks it is peered with.
//! - Every address of a subnet is handed out at most once, reserved ones never.
//! - A route is the longest matching prefix, independent of the order of insertion.
//! - A packet crosses at most one peering.
//! - Only an Approved connection passes packets, in either direction (PLS-14).
//! - Every error leaves the state unchanged.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod config;
mod endpoint;
mod network;
mod route;
mod subnet;

pub use config::{ConfigError, EndpointRoute, Peering, SpaceOwner, VirtualNetworkConfig};
pub use endpoint::{
    ConnectionAction, ConnectionState, PrivateEndpoint, TransitionError, UnknownState,
};
pub use network::{Arrival, EndpointId, NextHop, RouteError, SubnetId, VirtualNetwork, VnetId};
pub use route::RouteTable;
pub use subnet::{AddressError, AddressPlan, Subnet, SubnetError};
