//! The words for what a NAT does.

use plsim_types::NatPreset;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Whose NAT a service behaves like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Preset {
    /// Azure Private Link Service.
    #[default]
    Azure,
    /// AWS PrivateLink before a Network Load Balancer.
    AwsPrivatelink,
    /// AWS NAT gateway.
    AwsNatGateway,
    /// Google Cloud NAT with static port allocation: 64 ports for each client VM.
    GcpCloudNat,
    /// Google Cloud NAT with dynamic port allocation: 32 to 65 536 ports for each client VM.
    GcpCloudNatDynamic,
    /// Linux nf_nat with an SNAT range.
    LinuxNfNat,
}

impl From<Preset> for NatPreset {
    fn from(preset: Preset) -> Self {
        match preset {
            Preset::Azure => Self::Azure,
            Preset::AwsPrivatelink => Self::AwsPrivateLink,
            Preset::AwsNatGateway => Self::AwsNatGateway,
            Preset::GcpCloudNat => Self::GcpCloudNat,
            Preset::GcpCloudNatDynamic => Self::GcpCloudNatDynamic,
            Preset::LinuxNfNat => Self::LinuxNfNat,
        }
    }
}

/// A named set of time-outs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TimerSet {
    /// Azure: 300 s idle.
    Azure,
    /// RFC 5382 and RFC 4787: 7440 s established, 240 s transitory, 300 s UDP.
    Rfc,
    /// Linux conntrack: 432000 s established, 120 s UDP.
    Linux,
}

/// What both ends of a TCP flow hear when it idles out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OnIdle {
    /// Both ends get a RST.
    Reset,
    /// Nobody is told.
    Silent,
}

/// What becomes of a TCP packet whose flow has no binding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LatePackets {
    /// It is dropped.
    Drop,
    /// It is dropped and its sender gets a RST.
    Reset,
}

/// How the NAT chooses the next port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PortAllocation {
    /// The next free port from a random start.
    Bitmap,
    /// The next free port from a start that the flow's hash gives.
    BitmapHash,
    /// The lowest free port.
    BitmapLowest,
    /// The port that has been free for the longest time.
    Fifo,
    /// The port that was freed last.
    Lifo,
    /// Any free port, all equally likely.
    Uniform,
    /// The next free port after the last one given.
    Sequential,
    /// RFC 6056 algorithm 1: a random start, then one after the other.
    #[serde(rename = "rfc6056-1")]
    Rfc6056Simple,
    /// RFC 6056 algorithm 2: random tries, which may give up.
    #[serde(rename = "rfc6056-2")]
    Rfc6056Retries,
    /// RFC 6056 algorithm 3: a start by the hash of the destination, and a counter.
    #[serde(rename = "rfc6056-3")]
    Rfc6056Hash,
    /// RFC 6056 algorithm 4: the same with a table of counters.
    #[serde(rename = "rfc6056-4")]
    Rfc6056DoubleHash,
    /// RFC 6056 algorithm 5: random increments.
    #[serde(rename = "rfc6056-5")]
    Rfc6056Increments,
    /// The client's own port if it is free, else a random one.
    Preserve,
    /// The same, keeping even ports even and odd ones odd (RFC 4787 REQ-4).
    PreserveParity,
    /// The same, keeping ports below 1024 there (RFC 4787 REQ-3a).
    PreserveRange,
    /// Blocks of ports for each private endpoint (RFC 7422).
    Blocks,
    /// Blocks of 8 ports for each private endpoint, as Azure's outbound rules give them.
    AzureBlocks,
    /// Blocks of ports reserved for each client VM of a private endpoint, one at first and twice as
    /// many each time it is short of them, as in Google's Cloud NAT.
    ReservedBlocks,
    /// Linux's search, which gives up after 248 tries.
    Linux,
}

/// Which NAT IP a new flow gets. All but the strict ones go on to the others when it has no port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum NatIpSelection {
    /// A hash of the flow.
    Hash,
    /// A hash of the flow; no other is tried.
    HashStrict,
    /// One after the other.
    RoundRobin,
    /// The one with the fewest ports taken.
    LeastUsed,
    /// The first that has a free port.
    Sequential,
    /// The same one for all flows of a client (RFC 4787 REQ-2).
    ClientPaired,
    /// The same one for all flows of a client; no other is tried (RFC 7857 section 4).
    ClientPairedStrict,
}

/// What a NAT port is unique for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PortSpace {
    /// The backend VM: 64k ports per NAT IP and VM.
    PerVm,
    /// The backend VM and port: each of its services has its own ports.
    PerVmPort,
}

/// What a new flow may do when only held-down ports are left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum HeldPorts {
    /// It is refused: a held-down port is not free.
    #[default]
    Refuse,
    /// It takes the port that has been held down for the longest time.
    ReuseOldest,
}

/// What a client hears whose new flow is refused by the NAT.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OnExhaustion {
    /// Nothing.
    #[default]
    Drop,
    /// ICMP 3/13, communication administratively prohibited (RFC 5508 REQ-8).
    IcmpAdminProhibited,
    /// ICMP 3/1, host unreachable (RFC 6888 REQ-11).
    IcmpHostUnreachable,
}
