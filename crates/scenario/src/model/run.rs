use crate::units::{Bandwidth, ByteSize, TimeSpan};
use plsim_types::Duration;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How long the run takes, and its seed.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// A line that says what the scenario shows.
    pub title: Option<String>,
    /// How much virtual time is simulated; above zero.
    pub duration: TimeSpan,
    /// The seed of all randomness: the same seed gives the same run, byte for byte.
    #[serde(default)]
    pub seed: u64,
    /// The most memory the run may be estimated to need; a scenario beyond it is refused before it
    /// starts.
    #[serde(default = "memory_limit")]
    pub memory_limit: ByteSize,
}

const fn memory_limit() -> ByteSize {
    ByteSize(16 << 30)
}

/// What is recorded while the scenario runs.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Output {
    /// Virtual time between two rows of the time series; above zero, at most 10 million rows.
    pub interval: TimeSpan,
    /// Whether packets are captured in `capture.pcapng`.
    pub capture: bool,
    /// Whether `events.jsonl` has a record for each flow.
    pub flows: bool,
    /// Bytes kept of each captured packet.
    #[schemars(range(min = 64, max = 262_144))]
    pub snap_length: u32,
}

impl Default for Output {
    fn default() -> Self {
        Self {
            interval: TimeSpan(Duration::from_secs(1)),
            capture: false,
            flows: false,
            snap_length: 262_144,
        }
    }
}

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

/// The settings of a link, whichever of the four it is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LinkSettings {
    /// One-way latency.
    pub latency: Duration,
    /// Bits per second; unlimited if absent.
    pub bandwidth: Option<Bandwidth>,
    /// Bytes that may wait for the link; only with a bandwidth.
    pub queue_limit: Option<ByteSize>,
    /// The share of packets lost, 0.0..=1.0.
    pub loss: f64,
}

/// Declares one of the four links: they differ in the default of their latency only.
macro_rules! link {
    ($type:ident, $latency_us:literal, $doc:literal) => {
        #[doc = $doc]
        #[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
        #[serde(default, deny_unknown_fields)]
        pub struct $type {
            /// One-way latency (the default is an assumption: Azure publishes none).
            pub latency: TimeSpan,
            /// Bits per second; unlimited if absent.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub bandwidth: Option<Bandwidth>,
            /// Bytes that may wait for the link before packets are dropped; needs a bandwidth.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub queue_limit: Option<ByteSize>,
            /// The share of packets lost, 0 to 1.
            #[schemars(range(min = 0.0, max = 1.0))]
            pub loss: f64,
        }

        impl Default for $type {
            fn default() -> Self {
                Self {
                    latency: TimeSpan(Duration::from_micros($latency_us)),
                    bandwidth: None,
                    queue_limit: None,
                    loss: 0.0,
                }
            }
        }

        impl From<$type> for LinkSettings {
            fn from(link: $type) -> Self {
                Self {
                    latency: link.latency.0,
                    bandwidth: link.bandwidth,
                    queue_limit: link.queue_limit,
                    loss: link.loss,
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
