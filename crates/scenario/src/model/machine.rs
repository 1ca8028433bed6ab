use super::distribution::AdminState;
use crate::units::{FlowLimit, Name, PoolPath, PortRange, SubnetPath};
use core::net::Ipv4Addr;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A group of equal consumer machines.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClientVm {
    /// The name of the group, unique among client VMs.
    pub name: Name,
    /// The subnet their addresses come from.
    pub subnet: SubnetPath,
    /// How many machines the group has.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 10_000))]
    pub count: u32,
    /// A static address; only for a group of one. Otherwise the next free address is taken.
    pub ip_address: Option<Ipv4Addr>,
    /// The source ports a client picks from (Linux's default).
    #[serde(default = "linux_ephemeral_ports")]
    pub ephemeral_ports: PortRange,
    /// The order in which it picks them.
    #[serde(default)]
    pub ephemeral_port_order: EphemeralPortOrder,
}

/// The order in which clients pick their source ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum EphemeralPortOrder {
    /// One after the other, from a place of its own for each VM.
    #[default]
    Ascending,
    /// The even ones, and the odd ones when those are used up, as Linux does for connect (KERN).
    EvenFirst,
}

impl ClientVm {
    /// Returns the names of the group's machines in order: `NAME-0`, `NAME-1` and so on, in a group
    /// of one `NAME`.
    pub fn machines(&self) -> impl Iterator<Item = String> {
        machines(&self.name, self.count)
    }
}

/// A group of equal provider machines behind a load balancer.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BackendVm {
    /// The name of the group, unique among backend VMs. A group of several has the machines
    /// `NAME-0`, `NAME-1` and so on, a group of one the machine `NAME`.
    pub name: Name,
    /// The subnet their addresses come from.
    pub subnet: SubnetPath,
    /// How many machines the group has.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 1_000))]
    pub count: u32,
    /// A static address; only for a group of one. Otherwise the next free address is taken.
    pub ip_address: Option<Ipv4Addr>,
    /// The backend pools they belong to at the start.
    #[schemars(length(max = 64))]
    pub backend_pools: Vec<PoolPath>,
    /// What the server on its TCP ports makes of a PROXY protocol header (PP-5, PP-6).
    #[serde(default)]
    pub application: Application,
    /// Whether probes decide about them, in all their pools, or their owner does (D-ADM).
    #[serde(default)]
    pub admin_state: AdminState,
    /// Flows one machine can hold at once (Azure: 500 000 active connections per VM, D-VMF),
    /// or "off".
    #[serde(default = "azure_flow_limit")]
    pub vm_flow_limit: FlowLimit,
    /// NAT bindings of one machine at once, held-down ports included (RFC 6888 REQ-5), or "off".
    #[serde(default = "no_limit")]
    pub nat_table_limit: FlowLimit,
}

/// What a server makes of a PROXY protocol header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Application {
    /// It does not know it: a header is garbage, and it resets the connection.
    #[default]
    Plain,
    /// It resets a connection without one.
    ProxyRequired,
    /// It reads one if there is one.
    ProxyOptional,
}

impl BackendVm {
    /// Returns the names of the group's machines in order.
    pub fn machines(&self) -> impl Iterator<Item = String> {
        machines(&self.name, self.count)
    }
}

fn machines(group: &Name, count: u32) -> impl Iterator<Item = String> {
    (0..count).map(move |index| match count {
        1 => group.to_string(),
        _ => format!("{group}-{index}"),
    })
}

const fn one() -> u32 {
    1
}

const fn no_limit() -> FlowLimit {
    FlowLimit(None)
}

const fn azure_flow_limit() -> FlowLimit {
    FlowLimit(Some(500_000))
}

fn linux_ephemeral_ports() -> PortRange {
    PortRange::new(32_768, 60_999).expect("broken invariant: the default range is not empty")
}
