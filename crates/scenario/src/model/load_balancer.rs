use crate::units::{ByteSize, Name, SubnetPath, TimeSpan};
use core::net::Ipv4Addr;
use plsim_types::{Duration, Protocol};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A Standard internal load balancer (PLS-1).
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LoadBalancer {
    /// The name, unique among load balancers.
    pub name: Name,
    /// Frontend IP configurations.
    #[schemars(length(min = 1, max = 600))]
    pub frontend: Vec<Frontend>,
    /// Backend pools.
    #[schemars(length(min = 1, max = 600))]
    pub backend_pool: Vec<BackendPool>,
    /// Load-balancing rules; what no rule matches is dropped.
    #[serde(default)]
    #[schemars(length(max = 1_500))]
    pub rule: Vec<Rule>,
    /// The most TCP flows whose backend is remembered where a pool may change; unpublished.
    #[serde(default = "flow_table_limit")]
    #[schemars(range(min = 1, max = 100_000_000))]
    pub flow_table_limit: u32,
    /// What is done with IP fragments, of clients and of the backend VMs' answers.
    #[serde(default)]
    pub fragments: Fragments,
    /// The memory in which fragments wait for others: their bytes, and 256 bytes for each fragment
    /// and each packet of which one waits (Linux: 4 MiB); with fragments = "reassemble" or
    /// "forward".
    #[serde(default = "fragment_limit")]
    pub fragment_limit: ByteSize,
    /// How long fragments wait for others (Linux: 30 s; RFC 6146: 2 s or more).
    #[serde(default = "fragment_timeout")]
    pub fragment_timeout: TimeSpan,
}

/// What is done with IP fragments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Fragments {
    /// They are dropped, as Azure's rules do (D-LBLIM).
    #[default]
    Drop,
    /// They are joined, and go on as one packet.
    Reassemble,
    /// They go on in order once the first has come; the receiver joins them. Meant for UDP: of a
    /// TCP segment in pieces the NAT sees the first only, so it believes too little until the next
    /// whole one; and identifications stay, so those of two clients may meet at the backend.
    Forward,
}

/// A frontend IP configuration.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Frontend {
    /// The name, unique in the load balancer.
    pub name: Name,
    /// The subnet its address comes from.
    pub subnet: SubnetPath,
    /// A static address; otherwise the next free address of the subnet is taken.
    pub ip_address: Option<Ipv4Addr>,
}

/// A backend pool; its members are the backend VMs that name it.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BackendPool {
    /// The name, unique in the load balancer.
    pub name: Name,
}

/// A load-balancing rule.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// The name, unique in the load balancer.
    pub name: Name,
    /// The frontend of the same load balancer that it listens on.
    pub frontend: Name,
    /// The backend pool of the same load balancer that it feeds.
    pub backend_pool: Name,
    /// The protocol it matches (PLS-22).
    #[serde(default)]
    pub protocol: Transport,
    /// The port it listens on.
    #[schemars(range(min = 1, max = 65_535))]
    pub frontend_port: u16,
    /// The port of the backend VM.
    #[schemars(range(min = 1, max = 65_535))]
    pub backend_port: u16,
}

/// A transport protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Transport {
    /// TCP.
    #[default]
    Tcp,
    /// UDP.
    Udp,
}

impl From<Transport> for Protocol {
    fn from(transport: Transport) -> Self {
        match transport {
            Transport::Tcp => Self::Tcp,
            Transport::Udp => Self::Udp,
        }
    }
}

const fn fragment_limit() -> ByteSize {
    ByteSize(4 << 20)
}

const fn fragment_timeout() -> TimeSpan {
    TimeSpan(Duration::from_secs(30))
}

const fn flow_table_limit() -> u32 {
    10_000_000
}
