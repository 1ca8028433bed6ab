use super::distribution::AdminState;
use crate::units::{FlowLimit, Name, PoolPath, PortRange, SubnetPath, TimeSpan};
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
    #[serde(default = "FlowLimit::off")]
    pub nat_table_limit: FlowLimit,
    /// What the machines are good for when the run begins.
    #[serde(default)]
    pub state: VmState,
    /// An application that ends and comes back by itself, as in { up = "40s", down = "20s" }: it
    /// begins with a time up and is not listening while it is down.
    pub flapping: Option<Flapping>,
    /// The time between a request and its response; handshakes are as fast as ever.
    #[serde(default)]
    pub response_delay: TimeSpan,
    /// The HTTP status that health probes get.
    #[serde(default = "ok")]
    #[schemars(range(min = 100, max = 599))]
    pub probe_status: u16,
    /// Whether a network security group denies the source of health probes, 168.63.129.16: every
    /// probe of the machines fails then (D-PRB23).
    #[serde(default)]
    pub probe_blocked: bool,
    /// How the certificates are signed that the machines show to HTTPS probes.
    #[serde(default)]
    pub certificate_chain: CertificateChain,
    /// Whether the machines demand a client certificate of HTTPS probes, which have none (D-PRB23).
    #[serde(default)]
    pub client_certificate_required: bool,
    /// The oldest TLS version that the machines speak with HTTPS probes, which speak 1.2 only
    /// (I#107193).
    #[serde(default)]
    pub tls_min_version: TlsVersion,
}

/// What a backend VM is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum VmState {
    /// It answers.
    #[default]
    Running,
    /// The application has ended: the operating system resets what comes for it.
    NotListening,
    /// It hangs: nothing answers, and nobody was told.
    Crashed,
    /// It was shut down: its connections are reset, then nothing answers. It is not probed and
    /// counts as down.
    Stopped,
}

impl VmState {
    /// Returns the name as a scenario writes it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::NotListening => "not-listening",
            Self::Crashed => "crashed",
            Self::Stopped => "stopped",
        }
    }
}

/// The comings and goings of an application.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Flapping {
    /// How long it is running, 1 ms or more.
    pub up: TimeSpan,
    /// How long it is not listening, 1 ms or more.
    pub down: TimeSpan,
}

/// How the certificates of a server's chain are signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CertificateChain {
    /// All with SHA-256, as HTTPS probes want it (D-PRB23).
    #[default]
    Sha256,
    /// At least one with SHA-1.
    Sha1,
}

/// A version of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum TlsVersion {
    /// 1.2.
    #[default]
    #[serde(rename = "1.2")]
    V1_2,
    /// 1.3.
    #[serde(rename = "1.3")]
    V1_3,
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

const fn ok() -> u16 {
    200
}

const fn one() -> u32 {
    1
}

const fn azure_flow_limit() -> FlowLimit {
    FlowLimit(Some(500_000))
}

fn linux_ephemeral_ports() -> PortRange {
    PortRange::new(32_768, 60_999).expect("broken invariant: the default range is not empty")
}
