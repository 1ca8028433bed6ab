mod closed_loop;
mod pool;

pub use closed_loop::{Jitter, Retry};
pub use pool::{NoticeClose, OnConnectFailure, Pool, PoolOrder};

use super::{Arrival, Profile, Skew, Transport};
use crate::copies::Copies;
use crate::units::{
    ByteSize, Count, DelayedAck, FrontendPath, Keepalive, Law, Name, RateCurve, TimeSpan,
    UserTimeout,
};
use plsim_types::Duration;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Traffic from one group of VMs to one destination or several: through private endpoints, or to load
/// balancers' frontends themselves.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Workload {
    /// The name, unique among workloads; copies that have one name are counted together.
    pub name: Name,
    /// How many sections this one stands for. In each, `{n}` in a text is its number,
    /// counted from 0; `{n/8}` is an eighth of that, rounded down, and `{n%8}` what is left.
    #[serde(skip_serializing)]
    pub copies: Option<Copies>,
    /// The group of client VMs that opens the connections, one VM after the other.
    pub client_vm: Option<Name>,
    /// The group of backend VMs that does, instead of client VMs.
    pub backend_vm: Option<Name>,
    /// The private endpoint they connect to.
    pub private_endpoint: Option<Name>,
    /// The frontend they connect to instead, without Private Link, from its own virtual network or a
    /// peered one: `balancer/frontend` (D-CON).
    pub load_balancer_frontend: Option<FrontendPath>,
    /// Several private endpoints instead of one; each connection draws its own.
    #[schemars(length(min = 1, max = 256))]
    pub private_endpoints: Option<Vec<Name>>,
    /// Several frontends instead of one; each connection draws its own.
    #[schemars(length(min = 1, max = 256))]
    pub load_balancer_frontends: Option<Vec<FrontendPath>>,
    /// How often each of several destinations is drawn; uniform if absent.
    pub skew: Option<Skew>,
    /// The destination port, of all destinations.
    #[schemars(range(min = 1, max = 65_535))]
    pub port: u16,
    /// The protocol.
    #[serde(default)]
    pub protocol: Transport,
    /// A client as it comes: the defaults of its documentation stand for the keys that are not
    /// written here.
    pub profile: Option<Profile>,
    /// What drives its connections.
    #[serde(default)]
    pub model: WorkloadModel,
    /// How connections are spread over time.
    #[serde(default)]
    pub arrival: Arrival,
    /// How often a connection starts (pool: a request arrives); for constant and poisson arrivals.
    /// With constant arrivals the first starts at `start`, and the one k places after it k / rate
    /// later. Models with a number of connections or clients start all at once without it. A table
    /// says how the rate changes with time: { ramp = { to = "1000/s", over = "10min" } }.
    pub rate: Option<RateCurve>,
    /// How many connections start in all, at most 100 million; required for arrivals at once.
    /// Constant concurrency, pub-sub: how many are held.
    pub connections: Option<Count>,
    /// The same for each VM of the group, instead of in all.
    pub connections_per_vm: Option<Count>,
    /// How many clients there are (closed loop).
    pub clients: Option<Count>,
    /// The same for each VM of the group, instead of in all.
    pub clients_per_vm: Option<Count>,
    /// When the first connection starts.
    #[serde(default)]
    pub start: TimeSpan,
    /// From when on no connection, request of a pool or operation of a client starts; the end of the
    /// run if absent.
    pub stop: Option<TimeSpan>,
    /// The size of the request, 8 B to 1 GiB (UDP: at most 1472 B); its first eight bytes tell the
    /// server how much to read and to answer.
    #[serde(default = "request_size")]
    pub request_size: Law<ByteSize>,
    /// The size of the response, 1 B to 1 GiB (UDP: at most 1472 B). Of a distribution without bounds
    /// what is drawn outside is taken for the nearest bound, here as for the request.
    #[serde(default = "response_size")]
    pub response_size: Law<ByteSize>,
    /// How long the server works on a request before it responds: minutes make a long query. At most
    /// 3 d.
    #[serde(default)]
    pub service_time: Law<TimeSpan>,
    /// How many requests a connection makes; without it one, or with an `interval` as many as fit
    /// into `hold`.
    pub requests: Option<Count>,
    /// The time from one request to the next, which never leaves before the response; pub-sub: from
    /// one message to the next; UDP stream: from one packet to the next.
    pub interval: Option<Law<TimeSpan>>,
    /// The time from the last response to the close. With `interval` and without `requests`: how
    /// long a connection goes on after its first response. UDP stream: how long a flow lives. One
    /// duration for all, or a distribution to draw from, as in { exponential = "2s" }.
    #[serde(default)]
    pub hold: Law<TimeSpan>,
    /// How the client ends a connection (TCP only).
    #[serde(default)]
    pub close: Close,
    /// When the client probes a silent connection, and when it gives up (TCP only).
    #[serde(default)]
    pub keepalive: Keepalive,
    /// How long the client's SYN or data may stay unacknowledged, whatever `retries` says; it also decides
    /// about unanswered keepalives, instead of their number (TCP_USER_TIMEOUT, RFC 5482; TCP only).
    #[serde(default)]
    pub user_timeout: UserTimeout,
    /// How long the client delays an acknowledgement that could travel with data (TCP only). "off"
    /// acknowledges each segment at once; Linux waits for 40ms.
    #[serde(default)]
    pub delayed_ack: DelayedAck,
    /// How often a SYN is sent again before the client gives up (TCP only).
    #[serde(default = "syn_retries")]
    #[schemars(range(min = 0, max = 10))]
    pub syn_retries: u8,
    /// How long the client's data may stay unacknowledged: as long as so many retransmissions take that
    /// begin with `min_rto`, counted from the first one; 15 are 924.6 s (Linux's tcp_retries2; TCP only).
    #[serde(default = "retries")]
    #[schemars(range(min = 0, max = 15))]
    pub retries: u8,
    /// The same for what the client has closed; 8 are 102.2 s (Linux's tcp_orphan_retries; TCP only).
    #[serde(default = "orphan_retries")]
    #[schemars(range(min = 0, max = 15))]
    pub orphan_retries: u8,
    /// The time until a SYN is sent again; it doubles each time (TCP only).
    #[serde(default = "initial_rto")]
    pub initial_rto: TimeSpan,
    /// What is added at least to the measured round trip until data is sent again (Linux's
    /// tcp_rto_min; TCP only).
    #[serde(default = "min_rto")]
    pub min_rto: TimeSpan,
    /// How long the handshake may take before the client gives up, whatever `syn_retries` says (TCP
    /// only).
    pub connect_timeout: Option<TimeSpan>,
    /// How long a client waits for a response before it gives up. TCP: as long as the connection
    /// lives if absent. UDP: 5 s if absent, assumed, as resolvers do.
    pub response_timeout: Option<TimeSpan>,
    /// The time from the end of a connection to the start of the one in its place (constant
    /// concurrency, pub-sub); at least 1 s after an attempt that failed.
    pub reconnect_delay: Option<TimeSpan>,
    /// The time from the end of one operation to the start of the next (closed loop).
    pub think_time: Option<Law<TimeSpan>>,
    /// Whether a client keeps its connection for the next request (closed loop); true if absent.
    pub keep_connection: Option<bool>,
    /// When and how often a client tries again (closed loop).
    pub retry: Option<Retry>,
    /// The pool of connections (pool).
    pub pool: Option<Pool>,
    /// Who sends the messages (pub-sub).
    pub publisher: Option<Publisher>,
    /// Whether the server sends each packet back (UDP stream); false if absent.
    pub echo: Option<bool>,
    /// How many VMs its group has.
    #[serde(skip)]
    pub(crate) machines: u32,
    /// How many copies of it with the same name come before it.
    #[serde(skip)]
    pub(crate) copy: u32,
}

/// What drives the connections of a workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum WorkloadModel {
    /// Connections arrive whatever becomes of those before them.
    #[default]
    OpenLoop,
    /// So many connections are held: where one ends, another one starts.
    ConstantConcurrency,
    /// So many clients each think, ask and wait for the response, and try again if none comes.
    ClosedLoop,
    /// Requests arrive and borrow connections of a pool.
    Pool,
    /// So many subscribers stay connected for the sake of rare messages.
    PubSub,
    /// Flows of packets at regular intervals, one way or echoed.
    UdpStream,
}

impl WorkloadModel {
    /// Returns the name in scenario files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::OpenLoop => "open-loop",
            Self::ConstantConcurrency => "constant-concurrency",
            Self::ClosedLoop => "closed-loop",
            Self::Pool => "pool",
            Self::PubSub => "pub-sub",
            Self::UdpStream => "udp-stream",
        }
    }
}

/// Who sends the messages of a publish-subscribe workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Publisher {
    /// The client, and the server confirms each.
    Client,
    /// The server; the client has subscribed once and only listens.
    #[default]
    Server,
}

/// How the client ends a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Close {
    /// With the FIN exchange.
    #[default]
    Fin,
    /// With a RST.
    Rst,
    /// Not at all: both ends fall silent and the client keeps its port.
    Abandon,
    /// By the server, with FIN behind the last response: TIME_WAIT is the server's.
    Server,
}

impl Workload {
    /// Returns how many copies of it with the same name come before it.
    #[must_use]
    pub const fn copy(&self) -> u32 {
        self.copy
    }

    /// Returns when nothing starts any more, unless the run ends before.
    #[must_use]
    pub fn stop_or(&self, end: Duration) -> Duration {
        self.stop.map_or(end, |stop| stop.0)
    }

    /// Returns how many connections, requests of a pool or clients start in all, if that is limited.
    #[must_use]
    pub fn starts(&self) -> Option<u64> {
        let (in_all, each) = match self.model {
            WorkloadModel::ClosedLoop => (self.clients, self.clients_per_vm),
            _ => (self.connections, self.connections_per_vm),
        };
        let each = each.map(|each| each.0.saturating_mul(u64::from(self.machines)));
        in_all.map(|count| count.0).or(each)
    }

    /// Returns how many pools it has on all its VMs; none unless that is its model.
    #[must_use]
    pub fn pools(&self) -> u64 {
        let each = self.pool.as_ref().map_or(0, |pool| pool.pools_per_vm);
        u64::from(each) * u64::from(self.machines)
    }

    /// Tells whether it says how many connections or clients there are, in all or for each VM.
    pub(crate) const fn has_number(&self) -> bool {
        match self.model {
            WorkloadModel::ClosedLoop => self.clients.is_some() || self.clients_per_vm.is_some(),
            _ => self.connections.is_some() || self.connections_per_vm.is_some(),
        }
    }

    /// Returns the key by which it says how many connections or clients there are.
    pub(crate) const fn number_key(&self) -> &'static str {
        match (self.model, self.connections_per_vm, self.clients_per_vm) {
            (WorkloadModel::ClosedLoop, _, Some(_)) => "clients_per_vm",
            (WorkloadModel::ClosedLoop, ..) => "clients",
            (_, Some(_), _) => "connections_per_vm",
            _ => "connections",
        }
    }

    /// Tells whether its requests ask for more than a response at once: their head takes 16 bytes
    /// then, not 8.
    #[must_use]
    pub fn has_long_head(&self) -> bool {
        self.service_time != Law::default()
            || self.close == Close::Server
            || matches!(self.model, WorkloadModel::PubSub | WorkloadModel::UdpStream)
    }

    /// Tells whether the model holds a number of connections or clients, instead of letting them
    /// come and go.
    #[must_use]
    pub const fn is_held(&self) -> bool {
        matches!(
            self.model,
            WorkloadModel::ConstantConcurrency | WorkloadModel::ClosedLoop | WorkloadModel::PubSub
        )
    }

    /// Returns how arrivals are spread: those of a model that holds a number come at once, unless
    /// they have a rate, or are in bursts or from a file.
    #[must_use]
    pub const fn effective_arrival(&self) -> &Arrival {
        match (&self.arrival, &self.rate) {
            (Arrival::Constant | Arrival::Poisson, None) if self.is_held() => &Arrival::AtOnce,
            (arrival, _) => arrival,
        }
    }
}

const fn request_size() -> Law<ByteSize> {
    Law::Fixed(ByteSize(200))
}

const fn response_size() -> Law<ByteSize> {
    Law::Fixed(ByteSize(1_000))
}

const fn syn_retries() -> u8 {
    6
}

const fn retries() -> u8 {
    15
}

const fn orphan_retries() -> u8 {
    8
}

const fn min_rto() -> TimeSpan {
    TimeSpan(Duration::from_millis(200))
}

const fn initial_rto() -> TimeSpan {
    TimeSpan(Duration::from_secs(1))
}
