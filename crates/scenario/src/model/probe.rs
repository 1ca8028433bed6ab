use crate::units::{Name, TimeSpan};
use core::fmt;
use plsim_types::Duration;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A health probe: each VM that a rule with this probe leads to is asked by its own host, from
/// 168.63.129.16 (D-PRB23).
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Probe {
    /// The name, unique in the load balancer.
    pub name: Name,
    /// How it asks.
    #[serde(default)]
    pub protocol: ProbeProtocol,
    /// The port of the VM.
    #[schemars(range(min = 1, max = 65_535))]
    pub port: u16,
    /// What http and https ask for, beginning with "/"; only status 200 is success.
    pub request_path: Option<String>,
    /// From one attempt to the next, 5 s or more. D-PRB23 has 5 s; the API and Terraform take 15 s
    /// if it is left out there.
    #[serde(default = "interval")]
    pub interval: TimeSpan,
    /// Results in a row that take a VM down or up again.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 100))]
    pub probe_threshold: u8,
    /// Results in a row with preset = "azure-2018", 2 or more; ignored otherwise, as by Azure.
    #[schemars(range(min = 1, max = 2_147_483_647))]
    pub number_of_probes: Option<u32>,
    /// Whose rules hold.
    #[serde(default)]
    pub preset: ProbePreset,
    /// What happens when no VM of a pool is healthy; established TCP connections go on in any case,
    /// but see `lone_backend`.
    #[serde(default)]
    pub no_healthy_backends_behavior: NoHealthyBackends,
    /// A VM that goes down within this time after it came up is flapping, and comes up again only
    /// after so much time without a failure. Azure documents an extra wait, not its length; "0s" is
    /// none.
    #[serde(default = "flap_wait")]
    pub flap_wait: TimeSpan,
    /// When the VMs are asked for the first time.
    #[serde(default)]
    pub phase: ProbePhase,
}

/// How a probe asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ProbeProtocol {
    /// A handshake and a close; a reset or silence is failure.
    #[default]
    Tcp,
    /// A GET request.
    Http,
    /// A GET request over TLS 1.2.
    Https,
}

/// Whose rules a probe follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum ProbePreset {
    /// Azure's of today: `probe_threshold` counts, an attempt takes the interval at most, and 30 s
    /// (D-PRB23).
    #[default]
    #[serde(rename = "azure")]
    Azure,
    /// Azure's of 2018: `number_of_probes` counts (default 2), together 120 s at most, and an
    /// attempt may take 31 s (D-PRB18).
    #[serde(rename = "azure-2018")]
    Azure2018,
}

/// What happens when no VM of a pool is healthy (API: noHealthyBackendsBehavior).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum NoHealthyBackends {
    /// No new flow: the frontend is silent.
    #[default]
    AllProbedDown,
    /// New flows go to all of them.
    AllProbedUp,
}

/// When the VMs are asked for the first time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ProbePhase {
    /// All when the run begins: detection times can be computed by hand.
    #[default]
    Aligned,
    /// Each at a time of its own within the first interval, as independent hosts would.
    Spread,
}

/// What comes first in a probe's connection once a Private Link Service on the load balancer has
/// the PROXY protocol enabled (PP-7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ProbeProxyHeader {
    /// The 16 bytes of a LOCAL header.
    #[default]
    Local,
    /// The 16 bytes of a PROXY header with unspecified addresses.
    Proxy,
    /// None.
    None,
}

impl Probe {
    /// Returns the results in a row that change a verdict.
    #[must_use]
    pub fn threshold(&self) -> u8 {
        match self.preset {
            ProbePreset::Azure => self.probe_threshold,
            ProbePreset::Azure2018 => {
                let number = self.number_of_probes.unwrap_or(2);
                u8::try_from(number).unwrap_or(u8::MAX)
            }
        }
    }

    /// Returns how long an attempt may take.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        match (self.preset, self.protocol) {
            (ProbePreset::Azure2018, ProbeProtocol::Http | ProbeProtocol::Https) => {
                Duration::from_secs(31)
            }
            _ => self.interval.0.min(Duration::from_secs(30)),
        }
    }
}

impl ProbeProtocol {
    /// Returns the name as a scenario writes it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

impl fmt::Display for ProbeProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

const fn interval() -> TimeSpan {
    TimeSpan(Duration::from_secs(5))
}

const fn flap_wait() -> TimeSpan {
    TimeSpan(Duration::from_secs(60))
}

const fn one() -> u8 {
    1
}
