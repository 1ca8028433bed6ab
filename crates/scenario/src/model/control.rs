use super::distribution::{AdminState, Distribution};
use super::link::{GeModel, JitterDistribution, LinkDirection, LinkName, Reorder};
use super::machine::{Flapping, VmState};
use crate::units::{Bandwidth, ByteSize, HexBytes, Name, PoolPath, RulePath, TimeSpan};
use core::fmt;
use core::net::Ipv4Addr;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A change while the run goes on. Events of one instant happen in the order of the file.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Event {
    /// When it happens; within the run.
    pub at: TimeSpan,
    /// What happens.
    pub action: Action,
    /// The private endpoint; for approve-endpoint and reject-endpoint.
    pub private_endpoint: Option<Name>,
    /// The Private Link Service; for add-nat-ip.
    pub private_link_service: Option<Name>,
    /// A static address for add-nat-ip; otherwise the next free address of the NAT subnet.
    pub ip_address: Option<Ipv4Addr>,
    /// A backend VM (as in `web-0`) or a whole group (`web`); for the actions about backends. For
    /// inject-packet the one VM that sends.
    pub backend_vm: Option<Name>,
    /// The backend pool: the one for add-backend; for drain-backend, remove-backend and
    /// set-admin-state all pools of the VM if absent. For change-rule the rule's new one.
    pub backend_pool: Option<PoolPath>,
    /// How long TCP connections live on, for drain-backend; the pool's `drain_period` if absent.
    pub drain_period: Option<TimeSpan>,
    /// What holds from now on, for set-admin-state.
    pub admin_state: Option<AdminState>,
    /// The rule, for change-rule.
    pub rule: Option<RulePath>,
    /// The port of the backend VM from now on, for change-rule.
    #[schemars(range(min = 1, max = 65_535))]
    pub backend_port: Option<u16>,
    /// Which fields decide from now on, for change-rule.
    pub distribution: Option<Distribution>,
    /// A client VM (as in `client-0`) or a whole group (`client`), for change-vm and restart-vm. For
    /// inject-packet the one VM that sends.
    pub client_vm: Option<Name>,
    /// What is sent, from the first byte of the IP header, right or wrong; for inject-packet.
    pub bytes: Option<HexBytes>,
    /// What the VM is good for from now on; for change-vm. It ends flapping. A client VM is running,
    /// crashed (its connections are gone without a word) or stopped (they are reset first).
    pub state: Option<VmState>,
    /// The comings and goings of the VM's application from now on; for change-vm.
    pub flapping: Option<Flapping>,
    /// The time between a request and its response from now on; for change-vm.
    pub response_delay: Option<TimeSpan>,
    /// The HTTP status that health probes get from now on; for change-vm.
    #[schemars(range(min = 100, max = 599))]
    pub probe_status: Option<u16>,
    /// Whether health probes are kept from the VM from now on; for change-vm.
    pub probe_blocked: Option<bool>,
    /// Which of the four links, for change-link, link-down and link-up; those of one
    /// `private_endpoint` (client_endpoint, endpoint_edge) or `backend_vm` (edge_host, host_vm), if one
    /// is named.
    pub link: Option<LinkName>,
    /// The direction, for the actions about links; both if absent.
    pub direction: Option<LinkDirection>,
    /// The link's one-way latency from now on; for change-link.
    pub latency: Option<TimeSpan>,
    /// The link's bits per second from now on; for change-link.
    pub bandwidth: Option<Bandwidth>,
    /// Bytes that may wait for the link from now on; for change-link.
    pub queue_limit: Option<ByteSize>,
    /// The share of packets lost from now on, each by itself; for change-link. It ends `gemodel`.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub loss: Option<f64>,
    /// Loss in bursts from now on; for change-link.
    pub gemodel: Option<GeModel>,
    /// The share of packets that arrive twice from now on; for change-link.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub duplicate: Option<f64>,
    /// The share of packets of which a bit flips from now on; for change-link.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub corrupt: Option<f64>,
    /// By how much the latency varies from now on; for change-link.
    pub jitter: Option<TimeSpan>,
    /// How jitter is distributed from now on; for change-link.
    pub jitter_distribution: Option<JitterDistribution>,
    /// Whether packets overtake each other for jitter from now on; for change-link.
    pub jitter_may_reorder: Option<bool>,
    /// Packets that are held back from now on; for change-link.
    pub reorder: Option<Reorder>,
}

/// What an event does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// The provider approves a private endpoint connection.
    ApproveEndpoint,
    /// The provider rejects a private endpoint connection.
    RejectEndpoint,
    /// A Private Link Service gets one more NAT IP.
    AddNatIp,
    /// A backend VM, or a whole group, gets no new flows, as if its probes failed: a shorthand that
    /// needs no probe. The VM itself goes on; change-vm has one that fails.
    BackendDown,
    /// What backend-down did is over.
    BackendUp,
    /// A backend VM, or a whole group, joins a pool.
    AddBackend,
    /// A backend VM, or a whole group, leaves its pool or pools: TCP connections go on until they are
    /// idle, or for the pool's `drain_period`.
    RemoveBackend,
    /// As remove-backend, and both ends of the TCP connections that are left after `drain_period` are
    /// reset.
    DrainBackend,
    /// The owner says of a backend VM, or a whole group, that it is up or down, or leaves it to probes.
    SetAdminState,
    /// A rule gets another backend port, backend pool or distribution. TCP connections keep the VM and
    /// port that they have.
    ChangeRule,
    /// A client or backend VM sends one packet of any bytes.
    InjectPacket,
    /// A backend VM, or a whole group, behaves in another way: state, flapping, response_delay,
    /// probe_status, probe_blocked. A client VM, or a whole group, changes its state.
    ChangeVm,
    /// A backend or client VM, or a whole group, starts anew and knows nothing of its connections.
    RestartVm,
    /// Links get other settings: latency, bandwidth, queue_limit, loss, gemodel, duplicate, corrupt,
    /// jitter, jitter_distribution, jitter_may_reorder, reorder. What is not named stays.
    ChangeLink,
    /// Links go down: what they have taken arrives, and they take nothing more.
    LinkDown,
    /// Links that were down are up again.
    LinkUp,
}

/// What must hold when the run is over, or at an instant of it: exactly one of `equals`, `at_least`, `at_most`, `between`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Expect {
    /// The path of a value in the summary, as in `connections.failed`.
    pub value: String,
    /// The instant at which it must hold: the summary says what there is just before it. The end of the run
    /// if absent.
    pub at: Option<TimeSpan>,
    /// The value must be this (within the tolerance, if there is one).
    pub equals: Option<ExpectValue>,
    /// The value must be this or more.
    pub at_least: Option<ExpectValue>,
    /// The value must be this or less.
    pub at_most: Option<ExpectValue>,
    /// The value must lie between these two, both included.
    pub between: Option<[ExpectValue; 2]>,
    /// How far `equals` may be missed, as an absolute difference.
    pub within: Option<ExpectValue>,
    /// Why this is expected; shown with the result.
    pub because: Option<String>,
}

/// An expected value: an integer, a decimal, a boolean or a text (durations are texts: "300s").
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum ExpectValue {
    /// true or false.
    Bool(bool),
    /// An integer.
    Integer(i64),
    /// A decimal; finite.
    Float(f64),
    /// A text, or a duration such as "300s".
    Text(String),
}

impl fmt::Display for ExpectValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(value) => value.fmt(f),
            Self::Integer(value) => value.fmt(f),
            Self::Float(value) => value.fmt(f),
            Self::Text(value) => f.write_str(value),
        }
    }
}
