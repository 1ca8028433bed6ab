use super::Transport;
use crate::units::{ByteSize, Count, FrontendPath, Keepalive, Law, Name, Rate, TimeSpan};
use plsim_types::Duration;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Traffic from one group of VMs to one destination: through a private endpoint, or to a load
/// balancer's frontend itself.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Workload {
    /// The name, unique among workloads.
    pub name: Name,
    /// The group of client VMs that opens the connections, one VM after the other.
    pub client_vm: Option<Name>,
    /// The group of backend VMs that does, instead of client VMs.
    pub backend_vm: Option<Name>,
    /// The private endpoint they connect to.
    pub private_endpoint: Option<Name>,
    /// The frontend they connect to instead, without Private Link, from its own virtual network or a
    /// peered one: `balancer/frontend` (D-CON).
    pub load_balancer_frontend: Option<FrontendPath>,
    /// The destination port.
    #[schemars(range(min = 1, max = 65_535))]
    pub port: u16,
    /// The protocol.
    #[serde(default)]
    pub protocol: Transport,
    /// How connections are spread over time.
    #[serde(default)]
    pub arrival: Arrival,
    /// How often a connection starts; for constant and poisson arrivals. With constant arrivals
    /// the first starts at `start`, and the one k places after it k / rate later.
    pub rate: Option<Rate>,
    /// How many connections start in all, at most 100 million; required for arrivals at once.
    pub connections: Option<Count>,
    /// When the first connection starts.
    #[serde(default)]
    pub start: TimeSpan,
    /// From when on no connection starts; the end of the run if absent.
    pub stop: Option<TimeSpan>,
    /// The size of the request, 8 B to 1 GiB (UDP: at most 1472 B); its first eight bytes tell the
    /// server how much to read and to answer.
    #[serde(default = "request_size")]
    pub request_size: Law<ByteSize>,
    /// The size of the response, 1 B to 1 GiB (UDP: at most 1472 B). Of a distribution without bounds
    /// what is drawn outside is taken for the nearest bound, here as for the request.
    #[serde(default = "response_size")]
    pub response_size: Law<ByteSize>,
    /// TCP: the time from the response to the close. UDP: how long the flow lives. One duration for
    /// all, or a distribution to draw from, as in { exponential = "2s" }.
    #[serde(default)]
    pub hold: Law<TimeSpan>,
    /// How the client ends a connection (TCP only).
    #[serde(default)]
    pub close: Close,
    /// Silence after which the client sends a TCP keepalive, or "off" (TCP only).
    #[serde(default)]
    pub keepalive: Keepalive,
    /// How often a SYN is sent again before the client gives up (TCP only).
    #[serde(default = "syn_retries")]
    #[schemars(range(min = 0, max = 10))]
    pub syn_retries: u8,
    /// How often data is sent again before an end gives up (TCP only).
    #[serde(default = "retries")]
    #[schemars(range(min = 0, max = 15))]
    pub retries: u8,
    /// The first retransmission timeout; it doubles each time (TCP only).
    #[serde(default = "initial_rto")]
    pub initial_rto: TimeSpan,
    /// The time between two requests of a flow; without it a flow is one request (UDP only).
    pub interval: Option<TimeSpan>,
    /// How long a UDP client waits for a response before it gives up; 5 s if not given, assumed, as
    /// resolvers do.
    pub response_timeout: Option<TimeSpan>,
}

impl Workload {
    /// Tells whether its connections come through a private endpoint.
    #[must_use]
    pub fn comes_by(&self, endpoint: &Name) -> bool {
        self.private_endpoint.as_ref() == Some(endpoint)
    }

    /// Tells whether its connections go to a frontend itself.
    #[must_use]
    pub fn dials(&self, balancer: &Name, frontend: &Name) -> bool {
        let path = self.load_balancer_frontend.as_ref();
        path.is_some_and(|path| path.load_balancer == *balancer && path.frontend == *frontend)
    }
}

/// How connections are spread over time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Arrival {
    /// Evenly, at exactly the rate.
    #[default]
    Constant,
    /// At random and independently, with the rate as mean.
    Poisson,
    /// All in the same instant.
    AtOnce,
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

const fn initial_rto() -> TimeSpan {
    TimeSpan(Duration::from_secs(1))
}
