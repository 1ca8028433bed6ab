use plsim_types::Protocol;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which fields of a flow decide its backend (D-DIST).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum Distribution {
    /// Source and destination address and port, and protocol.
    #[default]
    #[serde(rename = "5-tuple")]
    FiveTuple,
    /// Source and destination address.
    #[serde(rename = "2-tuple")]
    TwoTuple,
    /// Source and destination address, and protocol.
    #[serde(rename = "3-tuple")]
    ThreeTuple,
    /// What the API calls 5-tuple.
    Default,
    /// What the API calls 2-tuple.
    SourceIP,
    /// What the API calls 3-tuple.
    SourceIPProtocol,
}

impl Distribution {
    /// Tells whether two words mean the same.
    #[must_use]
    pub const fn fields(self) -> u8 {
        match self {
            Self::FiveTuple | Self::Default => 5,
            Self::ThreeTuple | Self::SourceIPProtocol => 3,
            Self::TwoTuple | Self::SourceIP => 2,
        }
    }
}

/// What a load-balancing rule carries (PLS-22).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RuleProtocol {
    /// TCP.
    #[default]
    Tcp,
    /// UDP.
    Udp,
    /// TCP and UDP on every port ("HA ports"): frontend_port = 0 and backend_port = 0.
    All,
}

impl RuleProtocol {
    /// Tells whether a rule with it carries packets of a protocol.
    #[must_use]
    pub const fn carries(self, protocol: Protocol) -> bool {
        match self {
            Self::Tcp => matches!(protocol, Protocol::Tcp),
            Self::Udp => matches!(protocol, Protocol::Udp),
            Self::All => true,
        }
    }

    /// Returns the protocols that a rule with it carries.
    pub fn protocols(self) -> impl Iterator<Item = Protocol> {
        let all = Protocol::ALL.into_iter();
        all.filter(move |protocol| self.carries(*protocol))
    }
}

/// What the hash takes for a flow's source and destination (unpublished).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum HashTuple {
    /// The client and the private endpoint: the load balancer stands before the NAT.
    #[default]
    PreNat,
    /// A NAT IP, picked by a hash of the flow, and the frontend's address. The NAT tries that NAT IP
    /// first.
    NatIp,
}

/// How well the hash mixes (I#119294).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum HashStrength {
    /// Every bit depends on every field.
    #[default]
    Strong,
    /// The lowest bit is the parity of addresses and ports, as users find it: of an even number of
    /// backends the even ports of one client reach half, an odd number is used evenly. Goes with
    /// rehash = "modulo".
    WeakParity,
}

/// How a hash becomes a backend, and so which flows move when the pool changes (unpublished).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Rehash {
    /// A Maglev table: equal shares, and hardly a flow moves that need not (MAG).
    #[default]
    Maglev,
    /// The remainder of a division by the number of backends: nearly all flows move.
    Modulo,
    /// The highest of a hash for each backend: no flow moves that need not; slow with many backends.
    Rendezvous,
}

/// What a pool's owner says of a member (D-ADM).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AdminState {
    /// The health probe decides.
    #[default]
    None,
    /// It gets new flows whatever the probe says.
    Up,
    /// It gets no new flows whatever the probe says.
    Down,
}

/// What becomes of established TCP connections of a member whose admin state is set to down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AdminDown {
    /// They go on (D-ADM).
    #[default]
    Persist,
    /// Both ends are reset (API).
    Reset,
}

/// What becomes of the established TCP connections of a pool's only VM when it fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LoneBackend {
    /// Their packets are dropped: connections go on "given that a pool has more than one" (D-PRB23).
    #[default]
    End,
    /// They go on as in larger pools.
    Persist,
}

/// The product that a load balancer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum Sku {
    /// Standard, the only one that carries Private Link Services.
    #[default]
    Standard,
    /// Refused (PLS-1).
    Basic,
}

/// How a backend pool knows its members.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PoolConfiguration {
    /// By their NICs.
    #[default]
    Nic,
    /// Refused: by IP address (PLS-23).
    IpAddress,
}
