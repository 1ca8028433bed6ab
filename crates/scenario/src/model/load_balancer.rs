use super::distribution::{
    AdminDown, Distribution, HashStrength, HashTuple, LoneBackend, PoolConfiguration, Rehash,
    RuleProtocol, Sku,
};
use super::probe::{Probe, ProbeProxyHeader};
use crate::copies::Copies;
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
    /// How many sections this one stands for. In each, `{n}` in a text is its number,
    /// counted from 0; `{n/8}` is an eighth of that, rounded down, and `{n%8}` what is left.
    #[serde(skip_serializing)]
    pub copies: Option<Copies>,
    /// The product.
    #[serde(default)]
    pub sku: Sku,
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
    /// Health probes; a rule without one takes its backends for healthy.
    #[serde(default)]
    #[schemars(length(max = 600))]
    pub probe: Vec<Probe>,
    /// What comes first in the probes' connections once a Private Link Service here has the PROXY
    /// protocol enabled; Azure only says that it holds no client information (PP-7).
    #[serde(default)]
    pub probe_proxy_header: ProbeProxyHeader,
    /// What is hashed to find a flow's backend; unpublished.
    #[serde(default)]
    pub hash_tuple: HashTuple,
    /// Whether the private endpoint connection is hashed, too; if not, consumers with equal addresses
    /// collide. Unpublished.
    #[serde(default = "yes")]
    pub hash_includes_link: bool,
    /// How well the hash mixes.
    #[serde(default)]
    pub hash: HashStrength,
    /// What happens to the flows when a pool changes (maglev if absent, modulo with
    /// hash = "weak-parity"). Established TCP stays in any case.
    pub rehash: Option<Rehash>,
    /// Places in the Maglev table, a prime number: 65 537 (the default) or, for large pools, 655 373
    /// (MAG).
    #[schemars(range(min = 2, max = 2_097_152))]
    pub maglev_size: Option<u32>,
    /// What becomes of TCP connections when an admin state is set to down: documents disagree.
    #[serde(default)]
    pub admin_down: AdminDown,
    /// What becomes of TCP connections when the only VM of a pool fails.
    #[serde(default)]
    pub lone_backend: LoneBackend,
    /// Private Link Services that it may carry (PLS-19: 8; more behind a feature flag).
    #[serde(default = "service_limit")]
    #[schemars(range(min = 1, max = 600))]
    pub private_link_service_limit: u32,
    /// The most flows whose backend is remembered, TCP where a pool may change and tracked UDP;
    /// unpublished.
    #[serde(default = "flow_table_limit")]
    #[schemars(range(min = 1, max = 100_000_000))]
    pub flow_table_limit: u32,
    /// What becomes of a TCP flow after the idle timeout of its rule; unpublished.
    #[serde(default)]
    pub lb_idle_action: LbIdleAction,
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

/// What becomes of a TCP flow after the idle timeout of its rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LbIdleAction {
    /// Its packets are dropped in both directions until a SYN starts it anew.
    #[default]
    Drop,
    /// It is forgotten, so that its next packet is balanced as that of a new flow: nothing is noticed
    /// unless the pool has changed and another VM gets it.
    Forget,
}

/// A frontend IP configuration.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Frontend {
    /// The name, unique in the load balancer.
    pub name: Name,
    /// How many sections this one stands for. In each, `{n}` in a text is its number,
    /// counted from 0; `{n/8}` is an eighth of that, rounded down, and `{n%8}` what is left.
    #[serde(skip_serializing)]
    pub copies: Option<Copies>,
    /// The subnet its address comes from.
    pub subnet: SubnetPath,
    /// A static address; otherwise the next free address of the subnet is taken.
    pub ip_address: Option<Ipv4Addr>,
    /// Whether UDP flows keep their backend while it is healthy (API: enableConnectionTracking);
    /// stands above what its rules say.
    pub connection_tracking: Option<bool>,
}

/// A backend pool; its members are the backend VMs that name it.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BackendPool {
    /// The name, unique in the load balancer.
    pub name: Name,
    /// How many sections this one stands for. In each, `{n}` in a text is its number,
    /// counted from 0; `{n/8}` is an eighth of that, rounded down, and `{n%8}` what is left.
    #[serde(skip_serializing)]
    pub copies: Option<Copies>,
    /// How it knows its members.
    #[serde(default)]
    pub configuration: PoolConfiguration,
    /// How long TCP connections to a VM that leaves the pool live on before both ends are reset (API:
    /// drainPeriodInSeconds). If absent they go on until they are idle; unpublished.
    pub drain_period: Option<TimeSpan>,
}

/// A load-balancing rule.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// The name, unique in the load balancer.
    pub name: Name,
    /// How many sections this one stands for. In each, `{n}` in a text is its number,
    /// counted from 0; `{n/8}` is an eighth of that, rounded down, and `{n%8}` what is left.
    #[serde(skip_serializing)]
    pub copies: Option<Copies>,
    /// The frontend of the same load balancer that it listens on.
    pub frontend: Name,
    /// The backend pool of the same load balancer that it feeds.
    pub backend_pool: Name,
    /// The protocol it matches (PLS-22).
    #[serde(default)]
    pub protocol: RuleProtocol,
    /// The port it listens on; 0 with protocol = "all".
    pub frontend_port: u16,
    /// The port of the backend VM; 0 with protocol = "all", where it is the packet's own.
    pub backend_port: u16,
    /// The health probe of the same load balancer that decides which VMs get new flows; without one
    /// all of them do, always.
    pub probe: Option<Name>,
    /// Which fields of a flow decide its backend.
    #[serde(default)]
    pub distribution: Distribution,
    /// Whether the backend VM gets packets for the frontend's address instead of its own (D-FIP).
    #[serde(default)]
    pub floating_ip: bool,
    /// Whether UDP flows keep their backend while it is healthy (API: enableConnectionTracking).
    #[serde(default)]
    pub connection_tracking: bool,
    /// A TCP flow without packets for this long is dropped by the load balancer, whatever the Private
    /// Link Service's own timeout is (4 min if absent; 4 to 100 min, X9; D-RST20).
    pub idle_timeout: Option<TimeSpan>,
    /// Whether both ends get a RST then; otherwise nobody is told (D-RST20).
    #[serde(default)]
    pub enable_tcp_reset: bool,
}

impl Rule {
    /// The idle timeout of a rule that names none: 4 minutes (D-RST20).
    pub const IDLE_TIMEOUT: Duration = Duration::from_secs(240);

    /// Returns the idle timeout that holds.
    #[must_use]
    pub fn effective_idle_timeout(&self) -> Duration {
        self.idle_timeout.map_or(Self::IDLE_TIMEOUT, |span| span.0)
    }

    /// Tells whether it matches TCP.
    #[must_use]
    pub const fn carries_tcp(&self) -> bool {
        match self.protocol {
            RuleProtocol::Tcp | RuleProtocol::All => true,
            RuleProtocol::Udp => false,
        }
    }
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

impl LoadBalancer {
    /// Returns how a hash becomes a backend.
    #[must_use]
    pub fn effective_rehash(&self) -> Rehash {
        self.rehash.unwrap_or(match self.hash {
            HashStrength::Strong => Rehash::Maglev,
            HashStrength::WeakParity => Rehash::Modulo,
        })
    }

    /// Returns the places of the Maglev table.
    #[must_use]
    pub fn effective_maglev_size(&self) -> u32 {
        self.maglev_size.unwrap_or(65_537)
    }

    /// Tells whether UDP flows of a rule keep their backend: the frontend's word stands above the
    /// rule's.
    #[must_use]
    pub fn tracks(&self, rule: &Rule) -> bool {
        let mut frontends = self.frontend.iter();
        let frontend = frontends.find(|frontend| frontend.name == rule.frontend);
        let word = frontend.and_then(|frontend| frontend.connection_tracking);
        word.unwrap_or(rule.connection_tracking)
    }
}

const fn yes() -> bool {
    true
}

const fn service_limit() -> u32 {
    8
}

const fn flow_table_limit() -> u32 {
    10_000_000
}
