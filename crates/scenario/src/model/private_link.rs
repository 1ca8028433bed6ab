use crate::copies::Copies;
use crate::model::nat::{
    HeldPorts, LatePackets, NatIpSelection, OnExhaustion, OnIdle, PortAllocation, PortSpace,
    Preset, TimerSet,
};
use crate::units::{FlowLimit, FrontendPath, Name, PortRange, Rate, SubnetPath, TimeSpan};
use core::net::Ipv4Addr;
use plsim_types::{NatPreset, Timers};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A private endpoint: an address in a consumer's subnet that leads to one service (PE-1).
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PrivateEndpoint {
    /// The name, unique among private endpoints.
    pub name: Name,
    /// How many sections this one stands for. In each, `{n}` in a text is its number,
    /// counted from 0; `{n/8}` is an eighth of that, rounded down, and `{n%8}` what is left.
    #[serde(skip_serializing)]
    pub copies: Option<Copies>,
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
    /// How many sections this one stands for. In each, `{n}` in a text is its number,
    /// counted from 0; `{n/8}` is an eighth of that, rounded down, and `{n%8}` what is left.
    #[serde(skip_serializing)]
    pub copies: Option<Copies>,
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
    /// Whether a PROXY protocol v2 header with the client's address and the LINKID comes before the
    /// first byte of each TCP connection (PP-1); the backend's `application` must read it.
    #[serde(default)]
    pub enable_proxy_protocol: bool,
    /// What the PROXY header names as destination; unpublished.
    #[serde(default)]
    pub proxy_destination: ProxyDestination,
    /// Whose NAT it behaves like: all that is not given below comes from here, and what is given
    /// stays. The flow limit of a VM is the VM's own key.
    #[serde(default)]
    pub preset: Preset,
    /// A set of time-outs instead of the preset's; the single ones below come on top of it.
    pub timers: Option<TimerSet>,
    /// An established TCP flow without packets for this long loses its NAT port (azure: 300 s,
    /// DP-5).
    pub idle_timeout: Option<TimeSpan>,
    /// The same once one side has sent FIN (azure: 300 s; as `idle_timeout` if that is given).
    pub half_closed_timeout: Option<TimeSpan>,
    /// A TCP flow whose SYN is not answered for this long loses its NAT port (azure: 30 s).
    pub half_open_timeout: Option<TimeSpan>,
    /// A UDP flow without packets for this long loses its NAT port (azure: 300 s).
    pub udp_idle_timeout: Option<TimeSpan>,
    /// How long a port is held after a close by FIN (azure: 65 s, as documented for Azure NAT
    /// Gateway, D-NGW).
    pub hold_down_fin: Option<TimeSpan>,
    /// How long a port is held after a reset (azure: 16 s, D-NGW).
    pub hold_down_rst: Option<TimeSpan>,
    /// How long a port is held after a TCP flow whose SYN was never answered (azure: 0 s).
    pub hold_down_half_open: Option<TimeSpan>,
    /// How long a port is held after a UDP flow has idled out (azure: 0 s; RFC 6888 REQ-8: 120 s).
    pub hold_down_udp: Option<TimeSpan>,
    /// Idle flows are only looked for this often; if absent they expire at the exact time.
    pub idle_scan_interval: Option<TimeSpan>,
    /// What both ends of a TCP flow hear when it expires (azure: reset).
    pub on_idle: Option<OnIdle>,
    /// What becomes of a TCP packet whose flow has no binding, such as data after the idle
    /// timeout (azure: drop).
    pub late_packets: Option<LatePackets>,
    /// Whether packets of the backend refresh a flow as those of the client do (RFC 4787 REQ-6).
    #[serde(default = "yes")]
    pub reply_refreshes: bool,
    /// The ports of each NAT IP and protocol (azure: 1024-65535).
    pub port_range: Option<PortRange>,
    /// How the next port is chosen (azure: bitmap).
    pub port_allocation: Option<PortAllocation>,
    /// Ports in a block, for `port_allocation = "blocks"` (64 if absent) or "reserved-blocks" (32 if
    /// absent, gcp-cloud-nat: 64), where it is the fewest ports that a client has.
    #[schemars(range(min = 1, max = 65_535))]
    pub block_size: Option<u32>,
    /// Most blocks of a NAT IP that one private endpoint may have ("blocks": 16 if absent), or one
    /// client VM ("reserved-blocks": as make 65 536 ports if absent, gcp-cloud-nat: 1).
    #[schemars(range(min = 1, max = 65_535))]
    pub block_limit: Option<u32>,
    /// The share of its reserved ports that a client must use to get twice as many (0.9 if absent;
    /// unpublished).
    #[schemars(range(min = 0.501, max = 1.0))]
    pub block_grow_at: Option<f64>,
    /// How long it waits for them (1 s if absent; unpublished).
    pub block_grow_delay: Option<TimeSpan>,
    /// How long a client must use at most a quarter of its reserved ports to lose half of them (60 s
    /// if absent; unpublished).
    pub block_shrink_after: Option<TimeSpan>,
    /// Which NAT IP a new flow gets (azure: hash).
    pub nat_ip_selection: Option<NatIpSelection>,
    /// What a NAT port is unique for (azure: per-vm). With per-vm-port the figures of a NAT IP and VM
    /// are sums over the backend ports in use.
    pub port_space: Option<PortSpace>,
    /// Most ports that one private endpoint may have on one backend VM (RFC 6888 REQ-4), or "off".
    #[serde(default = "FlowLimit::off")]
    pub endpoint_port_limit: FlowLimit,
    /// What a new flow may do when only held-down ports are left.
    #[serde(default)]
    pub held_ports: HeldPorts,
    /// What a client hears whose new flow finds no port, or meets a limit.
    #[serde(default)]
    pub on_exhaustion: OnExhaustion,
    /// How often each backend VM's NAT says so by ICMP, all its clients together (1000/s if absent, as
    /// Linux does).
    pub icmp_rate: Option<Rate>,
    /// How many such answers may come at once (50 if absent, as Linux does).
    #[schemars(range(min = 1, max = 1_000_000))]
    pub icmp_burst: Option<u32>,
}

/// What a PROXY header names as destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ProxyDestination {
    /// The private endpoint that the client dialled, as the protocol wants the original connection.
    #[default]
    PrivateEndpoint,
    /// The address of the load balancer's frontend, with the port that the client dialled.
    Frontend,
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

    /// Returns the ports of each NAT IP.
    #[must_use]
    pub fn ports(&self) -> PortRange {
        self.port_range.unwrap_or_else(|| {
            let preset = NatPreset::from(self.preset).ports();
            PortRange::new(*preset.start(), *preset.end())
                .expect("broken invariant: a preset has ports")
        })
    }

    /// Tells whether the port allocation may give up although a port is free.
    #[must_use]
    pub const fn may_give_up(&self) -> bool {
        match self.port_allocation {
            None => self.reserves_blocks() || matches!(self.preset, Preset::LinuxNfNat),
            Some(allocation) => matches!(
                allocation,
                PortAllocation::Rfc6056Retries
                    | PortAllocation::Rfc6056Increments
                    | PortAllocation::Blocks
                    | PortAllocation::AzureBlocks
                    | PortAllocation::ReservedBlocks
                    | PortAllocation::Linux
            ),
        }
    }

    /// Tells whether each client VM has blocks of its own.
    #[must_use]
    pub const fn reserves_blocks(&self) -> bool {
        match self.port_allocation {
            None => matches!(
                self.preset,
                Preset::GcpCloudNat | Preset::GcpCloudNatDynamic
            ),
            Some(allocation) => matches!(allocation, PortAllocation::ReservedBlocks),
        }
    }

    /// Returns the ports of a block that hold, where blocks are reserved.
    #[must_use]
    pub fn block_size_in_force(&self) -> u32 {
        let preset = if self.preset == Preset::GcpCloudNat {
            64
        } else {
            32
        };
        self.block_size.unwrap_or(preset)
    }

    /// Returns the most blocks of a client, where blocks are reserved.
    #[must_use]
    pub fn block_limit_in_force(&self) -> u32 {
        self.block_limit.unwrap_or_else(|| match self.preset {
            Preset::GcpCloudNat => 1,
            _ => (65_536 / self.block_size_in_force()).max(1),
        })
    }

    /// Returns the time-outs that hold.
    #[must_use]
    pub fn effective_timers(&self) -> Timers {
        let preset = match self.timers {
            None => NatPreset::from(self.preset).timers(),
            Some(TimerSet::Azure) => Timers::azure(),
            Some(TimerSet::Rfc) => Timers::rfc(),
            Some(TimerSet::Linux) => Timers::linux(),
        };
        let or = |given: Option<TimeSpan>, preset| given.map_or(preset, |span| span.0);
        Timers {
            half_open: or(self.half_open_timeout, preset.half_open),
            established_idle: or(self.idle_timeout, preset.established_idle),
            half_closed_idle: or(
                self.half_closed_timeout.or(self.idle_timeout),
                preset.half_closed_idle,
            ),
            udp_idle: or(self.udp_idle_timeout, preset.udp_idle),
            hold_down_fin: or(self.hold_down_fin, preset.hold_down_fin),
            hold_down_rst: or(self.hold_down_rst, preset.hold_down_rst),
            hold_down_half_open: or(self.hold_down_half_open, preset.hold_down_half_open),
            hold_down_udp: or(self.hold_down_udp, preset.hold_down_udp),
            idle_scan_interval: self
                .idle_scan_interval
                .map(|span| span.0)
                .or(preset.idle_scan_interval),
        }
    }
}

const fn yes() -> bool {
    true
}
