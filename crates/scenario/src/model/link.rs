use super::Event;
use crate::units::{Bandwidth, ByteSize, TimeSpan};
use plsim_types::Duration;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The four links on the way of a packet, in path order; each works alike in both directions.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Link {
    /// Between a client VM and the private endpoint.
    pub client_endpoint: ClientEndpointLink,
    /// Between the private endpoint and the provider's edge (where the load balancer decides).
    pub endpoint_edge: EndpointEdgeLink,
    /// Between the provider's edge and the backend's host (where the NAT is).
    pub edge_host: EdgeHostLink,
    /// Between the backend's host and the backend VM.
    pub host_vm: HostVmLink,
}

/// One of the four links.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum LinkName {
    /// Between a client VM and the private endpoint.
    ClientEndpoint,
    /// Between the private endpoint and the provider's edge; on the way back, the backbone.
    EndpointEdge,
    /// Between the provider's edge and the backend's host; on the way back, from the host to the
    /// backbone.
    EdgeHost,
    /// Between the backend's host and the backend VM.
    HostVm,
}

/// One of the two directions of a link.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum LinkDirection {
    /// From clients to backend VMs.
    ToBackend,
    /// From backend VMs to clients.
    ToClient,
}

/// Loss in bursts: the model of Gilbert and Elliott (`gemodel` of tc-netem). A link is in a good or a
/// bad state and begins in the good one.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GeModel {
    /// The probability that the state turns bad after a packet, 0 to 1.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub p: f64,
    /// The probability that it turns good after a packet, above 0 to 1: bursts last 1/r packets on
    /// average, and a share of p / (p + r) is lost.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub r: f64,
    /// The share of packets lost in the bad state, 0 to 1 (netem's 1-h).
    #[serde(default = "all")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub loss_in_bad: f64,
    /// The share of packets lost in the good state, 0 to 1 (netem's 1-k).
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub loss_in_good: f64,
}

/// Packets that are held back, so that later ones overtake them.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Reorder {
    /// The share of packets held back, 0 to 1.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub probability: f64,
    /// For how long, beyond the latency.
    pub delay: TimeSpan,
    /// After one was held back, only the so many-th packet may be again; 1 means any.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub gap: u32,
}

/// How jitter is distributed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum JitterDistribution {
    /// Every latency from latency - jitter to latency + jitter is as likely as any other.
    #[default]
    Uniform,
    /// The normal law with `jitter` as its standard deviation, cut off at four of them.
    Normal,
}

/// The settings of a link, whichever of the four it is; of an event, those that change.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LinkSettings {
    /// One-way latency.
    pub latency: Option<Duration>,
    /// Bits per second.
    pub bandwidth: Option<Bandwidth>,
    /// Bytes that may wait for the link; only with a bandwidth.
    pub queue_limit: Option<ByteSize>,
    /// The share of packets lost, each by itself, 0.0..=1.0.
    pub loss: Option<f64>,
    /// Loss in bursts; it counts if both are given.
    pub gemodel: Option<GeModel>,
    /// The share of packets that arrive twice, 0.0..=1.0.
    pub duplicate: Option<f64>,
    /// The share of packets of which a bit flips, 0.0..=1.0.
    pub corrupt: Option<f64>,
    /// By how much the latency varies.
    pub jitter: Option<Duration>,
    /// How it is distributed.
    pub jitter_distribution: Option<JitterDistribution>,
    /// Whether packets may overtake each other for it.
    pub jitter_may_reorder: Option<bool>,
    /// Packets that are held back.
    pub reorder: Option<Reorder>,
}

/// Declares one of the four links: they differ in the default of their latency only.
macro_rules! link {
    ($type:ident, $latency_us:literal, $doc:literal) => {
        #[doc = $doc]
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
        #[serde(default, deny_unknown_fields)]
        pub struct $type {
            /// One-way latency (the default is an assumption: Azure publishes none).
            pub latency: TimeSpan,
            /// Bits per second; unlimited if absent.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub bandwidth: Option<Bandwidth>,
            /// Bytes that may wait for the link before packets are dropped, 1500 or more; needs a
            /// bandwidth.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub queue_limit: Option<ByteSize>,
            /// The share of packets lost, each by itself, 0 to 1.
            #[schemars(range(min = 0.0, max = 1.0))]
            pub loss: f64,
            /// Loss in bursts instead, as in { p = 0.002, r = 0.2 }.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub gemodel: Option<GeModel>,
            /// The share of packets that arrive twice, 0 to 1.
            #[schemars(range(min = 0.0, max = 1.0))]
            pub duplicate: f64,
            /// The share of packets of which one bit flips, 0 to 1: who receives them finds a wrong
            /// checksum and drops them.
            #[schemars(range(min = 0.0, max = 1.0))]
            pub corrupt: f64,
            /// By how much the latency varies, each way.
            pub jitter: TimeSpan,
            /// How jitter is distributed.
            pub jitter_distribution: JitterDistribution,
            /// Whether packets may overtake each other for jitter; otherwise they wait for those
            /// before them.
            pub jitter_may_reorder: bool,
            /// Packets that are held back and overtaken, as in { probability = 0.01, delay = "1ms" }.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub reorder: Option<Reorder>,
            /// When the link is down, as in [["10s", "15s"]]: from the first instant on, up again at the
            /// second. What it has taken before arrives.
            #[schemars(length(max = 1_000))]
            pub down: Vec<[TimeSpan; 2]>,
        }

        impl Default for $type {
            fn default() -> Self {
                Self {
                    latency: TimeSpan(Duration::from_micros($latency_us)),
                    bandwidth: None,
                    queue_limit: None,
                    loss: 0.0,
                    gemodel: None,
                    duplicate: 0.0,
                    corrupt: 0.0,
                    jitter: TimeSpan(Duration::ZERO),
                    jitter_distribution: JitterDistribution::default(),
                    jitter_may_reorder: false,
                    reorder: None,
                    down: Vec::new(),
                }
            }
        }

        impl From<&$type> for LinkSettings {
            fn from(link: &$type) -> Self {
                Self {
                    latency: Some(link.latency.0),
                    bandwidth: link.bandwidth,
                    queue_limit: link.queue_limit,
                    loss: Some(link.loss),
                    gemodel: link.gemodel,
                    duplicate: Some(link.duplicate),
                    corrupt: Some(link.corrupt),
                    jitter: Some(link.jitter.0),
                    jitter_distribution: Some(link.jitter_distribution),
                    jitter_may_reorder: Some(link.jitter_may_reorder),
                    reorder: link.reorder,
                }
            }
        }
    };
}

link!(
    ClientEndpointLink,
    50,
    "The link between a client VM and the private endpoint."
);
link!(
    EndpointEdgeLink,
    500,
    "The link between the private endpoint and the provider's edge."
);
link!(
    EdgeHostLink,
    100,
    "The link between the provider's edge and the backend's host."
);
link!(
    HostVmLink,
    20,
    "The link between the backend's host and the backend VM."
);

impl Link {
    /// Returns the settings of one of the links.
    #[must_use]
    pub fn settings(&self, name: LinkName) -> LinkSettings {
        match name {
            LinkName::ClientEndpoint => (&self.client_endpoint).into(),
            LinkName::EndpointEdge => (&self.endpoint_edge).into(),
            LinkName::EdgeHost => (&self.edge_host).into(),
            LinkName::HostVm => (&self.host_vm).into(),
        }
    }

    /// Returns when one of the links is down.
    #[must_use]
    pub fn down(&self, name: LinkName) -> &[[TimeSpan; 2]] {
        match name {
            LinkName::ClientEndpoint => &self.client_endpoint.down,
            LinkName::EndpointEdge => &self.endpoint_edge.down,
            LinkName::EdgeHost => &self.edge_host.down,
            LinkName::HostVm => &self.host_vm.down,
        }
    }
}

impl LinkName {
    /// All links, in path order.
    pub const ALL: [Self; 4] = [
        Self::ClientEndpoint,
        Self::EndpointEdge,
        Self::EdgeHost,
        Self::HostVm,
    ];

    /// Returns the name as a scenario writes it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ClientEndpoint => "client_endpoint",
            Self::EndpointEdge => "endpoint_edge",
            Self::EdgeHost => "edge_host",
            Self::HostVm => "host_vm",
        }
    }

    /// Tells whether the link is one of a private endpoint; the others are of a backend VM.
    #[must_use]
    pub const fn is_of_endpoint(self) -> bool {
        matches!(self, Self::ClientEndpoint | Self::EndpointEdge)
    }
}

impl LinkDirection {
    /// Returns the name as a scenario writes it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ToBackend => "to-backend",
            Self::ToClient => "to-client",
        }
    }
}

impl Event {
    /// Returns what changes about links, for change-link.
    #[must_use]
    pub fn link_settings(&self) -> LinkSettings {
        LinkSettings {
            latency: self.latency.map(|latency| latency.0),
            bandwidth: self.bandwidth,
            queue_limit: self.queue_limit,
            loss: self.loss,
            gemodel: self.gemodel,
            duplicate: self.duplicate,
            corrupt: self.corrupt,
            jitter: self.jitter.map(|jitter| jitter.0),
            jitter_distribution: self.jitter_distribution,
            jitter_may_reorder: self.jitter_may_reorder,
            reorder: self.reorder,
        }
    }
}

const fn all() -> f64 {
    1.0
}

const fn one() -> u32 {
    1
}
