use crate::units::{FrontendPath, Name, PortRange, SubnetPath, TimeSpan};
use core::net::Ipv4Addr;
use plsim_types::Duration;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A private endpoint: an address in a consumer's subnet that leads to one service (PE-1).
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PrivateEndpoint {
    /// The name, unique among private endpoints.
    pub name: Name,
    /// The consumer's subnet.
    pub subnet: SubnetPath,
    /// A static address; otherwise the next free address of the subnet is taken.
    pub ip_address: Option<Ipv4Addr>,
    /// The Private Link Service it leads to: exactly one (PLS-18).
    pub private_link_service: Name,
    /// The state of the connection at the start; only Approved lets packets pass (PLS-14).
    #[serde(default)]
    pub connection_state: ConnectionState,
    /// The LINKID of the connection, unique; derived from the name if absent (PP-4).
    #[schemars(range(min = 0, max = 4_294_967_295_u32))]
    pub link_id: Option<u32>,
    /// What the endpoint takes off the TTL of each packet.
    #[serde(default)]
    pub ttl_decrement: u8,
}

/// The state of a private endpoint connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum ConnectionState {
    /// The provider has agreed: packets pass.
    #[default]
    Approved,
    /// The provider has not answered yet.
    Pending,
    /// The provider has refused.
    Rejected,
    /// The provider has deleted the connection.
    Disconnected,
}

/// A Private Link Service: the provider's side, with its NAT.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PrivateLinkService {
    /// The name, unique among Private Link Services.
    pub name: Name,
    /// The load balancer frontend it is attached to; one service per frontend, at most eight per
    /// load balancer (PLS-19).
    pub load_balancer_frontend: FrontendPath,
    /// The provider's subnet that its NAT IPs come from (PLS-3).
    pub nat_subnet: SubnetPath,
    /// Static NAT IPs, 1 to 8 (PLS-4). Either this or `nat_ip_count`.
    pub nat_ips: Option<Vec<Ipv4Addr>>,
    /// The number of dynamic NAT IPs, 1 to 8 (PLS-4); one if neither this nor `nat_ips` is given.
    #[schemars(range(min = 0, max = 1_000))]
    pub nat_ip_count: Option<u32>,
    /// A flow without packets for this long loses its NAT port (DP-5).
    #[serde(default = "idle_timeout")]
    pub idle_timeout: TimeSpan,
    /// What both ends of a TCP flow hear when it expires.
    #[serde(default)]
    pub on_idle: OnIdle,
    /// Idle flows are only looked for this often; if absent they expire at the exact time.
    pub idle_scan_interval: Option<TimeSpan>,
    /// A TCP flow whose handshake is not complete after this loses its NAT port.
    #[serde(default = "half_open_timeout")]
    pub half_open_timeout: TimeSpan,
    /// How long a port is held after a close by FIN (documented for Azure NAT Gateway, D-NGW).
    #[serde(default = "hold_down_fin")]
    pub hold_down_fin: TimeSpan,
    /// How long a port is held after a reset (documented for Azure NAT Gateway, D-NGW).
    #[serde(default = "hold_down_rst")]
    pub hold_down_rst: TimeSpan,
    /// A UDP flow without packets for this long loses its NAT port.
    #[serde(default = "idle_timeout")]
    pub udp_idle_timeout: TimeSpan,
    /// The ports of each NAT IP, per backend VM and protocol; at or above 1024.
    #[serde(default = "nat_ports")]
    pub port_range: PortRange,
    /// How the next port is chosen.
    #[serde(default)]
    pub port_allocation: PortAllocation,
    /// What a new flow may do when only held-down ports are left.
    #[serde(default)]
    pub held_ports: HeldPorts,
}

impl PrivateLinkService {
    /// Returns the number of NAT IPs, 1..=8.
    #[must_use]
    pub fn nat_ip_total(&self) -> usize {
        match (&self.nat_ips, self.nat_ip_count) {
            (Some(addresses), _) => addresses.len(),
            (None, Some(count)) => usize::try_from(count).unwrap_or(usize::MAX),
            (None, None) => 1,
        }
    }
}

/// What both ends of a TCP flow hear when it idles out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OnIdle {
    /// Both ends get a RST.
    #[default]
    Reset,
    /// Nobody is told.
    Silent,
}

/// How the NAT chooses the next port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PortAllocation {
    /// The next free port from a random start.
    #[default]
    Bitmap,
    /// The port that has been free for the longest time.
    Fifo,
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

const fn idle_timeout() -> TimeSpan {
    TimeSpan(Duration::from_secs(300))
}

const fn half_open_timeout() -> TimeSpan {
    TimeSpan(Duration::from_secs(30))
}

const fn hold_down_fin() -> TimeSpan {
    TimeSpan(Duration::from_secs(65))
}

const fn hold_down_rst() -> TimeSpan {
    TimeSpan(Duration::from_secs(16))
}

fn nat_ports() -> PortRange {
    PortRange::new(1024, 65_535).expect("broken invariant: the default range is not empty")
}
