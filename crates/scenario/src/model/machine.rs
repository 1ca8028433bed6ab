use super::distribution::AdminState;
use super::tcp_stack::{FullTcp, TcpStack, TcpStackKeys};
use crate::copies::Copies;
use crate::units::{
    ByteSize, DelayedAck, FlowLimit, Keepalive, Name, PoolPath, PortRange, SubnetPath, TimeSpan,
};
use core::net::Ipv4Addr;
use plsim_types::Duration;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A group of equal consumer machines.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClientVm {
    /// The name of the group, unique among client VMs.
    pub name: Name,
    /// How many sections this one stands for. In each, `{n}` in a text is its number,
    /// counted from 0; `{n/8}` is an eighth of that, rounded down, and `{n%8}` what is left.
    #[serde(skip_serializing)]
    pub copies: Option<Copies>,
    /// The subnet their addresses come from.
    pub subnet: SubnetPath,
    /// How many machines the group has.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 10_000))]
    pub count: u32,
    /// A static address; only for a group of one. Otherwise the next free address is taken.
    pub ip_address: Option<Ipv4Addr>,
    /// The operating system: it gives the defaults of the following keys. Without it they are cautious
    /// ones, those of "linux" but for ports in ascending order that destinations do not share.
    pub os: Option<ClientOs>,
    /// The source ports a client picks from: 32768-60999 in Linux, 49152-65535 in Windows (WIN-PORT).
    pub ephemeral_ports: Option<PortRange>,
    /// The order in which it picks them: even-first in Linux, which takes an odd one only while no even
    /// one is free.
    pub ephemeral_port_order: Option<EphemeralPortOrder>,
    /// How many SYNs follow each other at `initial_rto` before the interval begins to double, beyond
    /// `syn_retries`: 4 in Linux (tcp_syn_linear_timeouts, since 6.5), else none.
    #[schemars(range(min = 0, max = 10))]
    pub syn_linear_timeouts: Option<u8>,
    /// Whether TCP connections to different destinations may have one port: true in Linux (KERN). A UDP
    /// port is always one flow's.
    pub ephemeral_port_sharing: Option<bool>,
    /// How long a TCP connection that the client closed first keeps its port: 60s in Linux (KERN), 120s
    /// in Windows (WIN-PORT). Linux with tcp_tw_reuse = 1 and timestamps comes close to 1s.
    pub time_wait: Option<TimeSpan>,
    /// Which TCP they have.
    #[serde(default)]
    pub tcp_stack: TcpStack,
    /// The receive buffer of each connection, which is its largest window: 1 KiB to 16 MiB, 16 KiB if
    /// not given (full TCP only).
    pub receive_buffer: Option<ByteSize>,
    /// The send buffer of each connection: 1 KiB to 16 MiB, 16 KiB if not given (full TCP only).
    pub send_buffer: Option<ByteSize>,
    /// Whether small segments leave at once (`TCP_NODELAY`); true if not given (full TCP only).
    pub no_delay: Option<bool>,
}

/// The operating system of clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ClientOs {
    /// Ports 32768-60999, the even ones first, shared by destinations; TIME_WAIT of 60 s (KERN).
    Linux,
    /// Ports 49152-65535, each for one connection; TIME_WAIT of 120 s (WIN-PORT).
    Windows,
}

/// The order in which clients pick their source ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum EphemeralPortOrder {
    /// One after the other, from a place of its own for each VM.
    #[default]
    Ascending,
    /// The even ones, and the odd ones when those are used up, as Linux does for connect (KERN).
    EvenFirst,
}

impl ClientVm {
    /// Returns the source ports.
    #[must_use]
    pub fn effective_ephemeral_ports(&self) -> PortRange {
        let (first, last) = match self.os {
            None | Some(ClientOs::Linux) => (32_768, 60_999),
            Some(ClientOs::Windows) => (49_152, 65_535),
        };
        let default = PortRange::new(first, last);
        self.ephemeral_ports
            .or(default)
            .expect("broken invariant: the default ranges are not empty")
    }

    /// Returns the order of the source ports.
    #[must_use]
    pub fn effective_ephemeral_port_order(&self) -> EphemeralPortOrder {
        let default = match self.os {
            Some(ClientOs::Linux) => EphemeralPortOrder::EvenFirst,
            None | Some(ClientOs::Windows) => EphemeralPortOrder::Ascending,
        };
        self.ephemeral_port_order.unwrap_or(default)
    }

    /// Returns how many SYNs are sent again before the interval begins to double.
    #[must_use]
    pub fn effective_syn_linear_timeouts(&self) -> u8 {
        let default = match self.os {
            Some(ClientOs::Linux) => 4,
            None | Some(ClientOs::Windows) => 0,
        };
        self.syn_linear_timeouts.unwrap_or(default)
    }

    /// Tells whether TCP connections to different destinations may have one port.
    #[must_use]
    pub fn shares_ephemeral_ports(&self) -> bool {
        self.ephemeral_port_sharing
            .unwrap_or(self.os == Some(ClientOs::Linux))
    }

    /// Returns how long a connection that was closed first keeps its port.
    #[must_use]
    pub fn effective_time_wait(&self) -> Duration {
        let default = match self.os {
            None | Some(ClientOs::Linux) => 60,
            Some(ClientOs::Windows) => 120,
        };
        self.time_wait
            .map_or(Duration::from_secs(default), |TimeSpan(span)| span)
    }

    /// Returns the full TCP of the machines; `None` if they have the light one.
    #[must_use]
    pub fn full_tcp(&self) -> Option<FullTcp> {
        self.tcp_keys().full()
    }

    pub(crate) const fn tcp_keys(&self) -> TcpStackKeys {
        TcpStackKeys {
            stack: self.tcp_stack,
            receive_buffer: self.receive_buffer,
            send_buffer: self.send_buffer,
            no_delay: self.no_delay,
        }
    }

    /// Returns the names of the group's machines in order: `NAME-0`, `NAME-1` and so on, in a group
    /// of one `NAME`.
    pub fn machines(&self) -> impl Iterator<Item = String> {
        machines(&self.name, self.count)
    }
}

/// A group of equal provider machines behind a load balancer. They listen on the backend ports of all
/// rules that lead to them, and on the ports of those rules' probes.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BackendVm {
    /// The name of the group, unique among backend VMs. A group of several has the machines
    /// `NAME-0`, `NAME-1` and so on, a group of one the machine `NAME`.
    pub name: Name,
    /// How many sections this one stands for. In each, `{n}` in a text is its number,
    /// counted from 0; `{n/8}` is an eighth of that, rounded down, and `{n%8}` what is left.
    #[serde(skip_serializing)]
    pub copies: Option<Copies>,
    /// The subnet their addresses come from.
    pub subnet: SubnetPath,
    /// How many machines the group has.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 1_000))]
    pub count: u32,
    /// A static address; only for a group of one. Otherwise the next free address is taken.
    pub ip_address: Option<Ipv4Addr>,
    /// The backend pools they belong to at the start.
    #[schemars(length(max = 64))]
    pub backend_pools: Vec<PoolPath>,
    /// What the server on its TCP ports makes of a PROXY protocol header (PP-5, PP-6).
    #[serde(default)]
    pub application: Application,
    /// Whether probes decide about them, in all their pools, or their owner does (D-ADM).
    #[serde(default)]
    pub admin_state: AdminState,
    /// Flows one machine can hold at once (Azure: 500 000 active connections per VM, D-VMF),
    /// or "off".
    #[serde(default = "azure_flow_limit")]
    pub vm_flow_limit: FlowLimit,
    /// NAT bindings of one machine at once, held-down ports included (RFC 6888 REQ-5), or "off".
    #[serde(default = "FlowLimit::off")]
    pub nat_table_limit: FlowLimit,
    /// What the machines are good for when the run begins.
    #[serde(default)]
    pub state: VmState,
    /// An application that ends and comes back by itself, as in { up = "40s", down = "20s" }: it
    /// begins with a time up and is not listening while it is down.
    pub flapping: Option<Flapping>,
    /// The time between a request and its response; handshakes are as fast as ever.
    #[serde(default)]
    pub response_delay: TimeSpan,
    /// When the machines probe a silent TCP connection, and when they give up.
    #[serde(default)]
    pub keepalive: Keepalive,
    /// How long the machines delay a TCP acknowledgement that could travel with data. "off"
    /// acknowledges each segment at once; Linux waits for 40ms.
    #[serde(default)]
    pub delayed_ack: DelayedAck,
    /// How long the machines remember a TCP connection that they closed first.
    #[serde(default = "time_wait")]
    pub time_wait: TimeSpan,
    /// How many handshakes may be under way on each TCP port of a machine, and how many connections
    /// beyond one may wait until the application accepts them: SYNs are dropped when the latter queue is
    /// full, or the former and `syn_cookies` are off (KERN). "off" unless `max_connections` is given, then 4096, as Linux's `somaxconn`.
    pub backlog: Option<FlowLimit>,
    /// Whether a SYN that finds as many handshakes under way as `backlog` says is answered with a cookie, of
    /// which the machine keeps nothing, instead of being dropped (RFC 4987 §3.6). True if not given, as in
    /// Linux (`tcp_syncookies` 1); Windows is documented to have none. Light TCP only.
    pub syn_cookies: Option<bool>,
    /// How many connections the application has open at once on each TCP port; others wait in the
    /// backlog, without a response.
    #[serde(default = "FlowLimit::off")]
    pub max_connections: FlowLimit,
    /// The HTTP status that health probes get.
    #[serde(default = "ok")]
    #[schemars(range(min = 100, max = 599))]
    pub probe_status: u16,
    /// Whether a network security group denies the source of health probes, 168.63.129.16: every
    /// probe of the machines fails then (D-PRB23).
    #[serde(default)]
    pub probe_blocked: bool,
    /// How the certificates are signed that the machines show to HTTPS probes.
    #[serde(default)]
    pub certificate_chain: CertificateChain,
    /// Whether the machines demand a client certificate of HTTPS probes, which have none (D-PRB23).
    #[serde(default)]
    pub client_certificate_required: bool,
    /// The oldest TLS version that the machines speak with HTTPS probes, which speak 1.2 only
    /// (I#107193).
    #[serde(default)]
    pub tls_min_version: TlsVersion,
    /// Which TCP they have.
    #[serde(default)]
    pub tcp_stack: TcpStack,
    /// The receive buffer of each connection, which is its largest window: 1 KiB to 16 MiB, 16 KiB if
    /// not given (full TCP only).
    pub receive_buffer: Option<ByteSize>,
    /// The send buffer of each connection: 1 KiB to 16 MiB, 16 KiB if not given (full TCP only).
    pub send_buffer: Option<ByteSize>,
    /// Whether small segments leave at once (`TCP_NODELAY`); true if not given (full TCP only).
    pub no_delay: Option<bool>,
}

/// What a backend VM is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum VmState {
    /// It answers.
    #[default]
    Running,
    /// The application has ended: the operating system resets what comes for it.
    NotListening,
    /// It hangs: nothing answers, and nobody was told.
    Crashed,
    /// It was shut down: its connections are reset, then nothing answers. It is not probed and
    /// counts as down.
    Stopped,
}

impl VmState {
    /// Returns the name as a scenario writes it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::NotListening => "not-listening",
            Self::Crashed => "crashed",
            Self::Stopped => "stopped",
        }
    }
}

/// The comings and goings of an application.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Flapping {
    /// How long it is running, 1 ms or more.
    pub up: TimeSpan,
    /// How long it is not listening, 1 ms or more.
    pub down: TimeSpan,
}

/// How the certificates of a server's chain are signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CertificateChain {
    /// All with SHA-256, as HTTPS probes want it (D-PRB23).
    #[default]
    Sha256,
    /// At least one with SHA-1.
    Sha1,
}

/// A version of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum TlsVersion {
    /// 1.2.
    #[default]
    #[serde(rename = "1.2")]
    V1_2,
    /// 1.3.
    #[serde(rename = "1.3")]
    V1_3,
}

/// What a server makes of a PROXY protocol header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Application {
    /// It does not know it: a header is garbage, and it resets the connection.
    #[default]
    Plain,
    /// It resets a connection without one.
    ProxyRequired,
    /// It reads one if there is one.
    ProxyOptional,
}

impl BackendVm {
    /// Returns the backlog of each TCP port; `None` if there is no limit.
    #[must_use]
    pub fn effective_backlog(&self) -> Option<u32> {
        match (self.backlog, self.max_connections) {
            (Some(FlowLimit(backlog)), _) => backlog,
            (None, FlowLimit(Some(_))) => Some(4_096),
            (None, FlowLimit(None)) => None,
        }
    }

    /// Tells whether SYNs are answered with cookies where there is no room for handshakes.
    #[must_use]
    pub fn has_syn_cookies(&self) -> bool {
        self.full_tcp().is_none() && self.syn_cookies.unwrap_or(true)
    }

    /// Returns the full TCP of the machines; `None` if they have the light one.
    #[must_use]
    pub fn full_tcp(&self) -> Option<FullTcp> {
        self.tcp_keys().full()
    }

    pub(crate) const fn tcp_keys(&self) -> TcpStackKeys {
        TcpStackKeys {
            stack: self.tcp_stack,
            receive_buffer: self.receive_buffer,
            send_buffer: self.send_buffer,
            no_delay: self.no_delay,
        }
    }

    /// Returns the names of the group's machines in order.
    pub fn machines(&self) -> impl Iterator<Item = String> {
        machines(&self.name, self.count)
    }
}

fn machines(group: &Name, count: u32) -> impl Iterator<Item = String> {
    (0..count).map(move |index| match count {
        1 => group.to_string(),
        _ => format!("{group}-{index}"),
    })
}

const fn ok() -> u16 {
    200
}

const fn time_wait() -> TimeSpan {
    TimeSpan(Duration::from_secs(60))
}

const fn one() -> u32 {
    1
}

const fn azure_flow_limit() -> FlowLimit {
    FlowLimit(Some(500_000))
}

#[cfg(test)]
mod tests {
    use super::{ClientOs, ClientVm, EphemeralPortOrder, TcpStack};
    use plsim_types::Duration;

    fn client(os: Option<ClientOs>) -> ClientVm {
        ClientVm {
            name: "client".parse().unwrap(),
            copies: None,
            subnet: "vnet/subnet".parse().unwrap(),
            count: 1,
            ip_address: None,
            os,
            ephemeral_ports: None,
            ephemeral_port_order: None,
            syn_linear_timeouts: None,
            ephemeral_port_sharing: None,
            time_wait: None,
            tcp_stack: TcpStack::Light,
            receive_buffer: None,
            send_buffer: None,
            no_delay: None,
        }
    }

    /// KERN, WIN-PORT.
    #[test]
    fn an_operating_system_brings_its_ports_and_its_time_wait() {
        let (linux, windows) = (ClientOs::Linux, ClientOs::Windows);
        let (even, ascending) = (EphemeralPortOrder::EvenFirst, EphemeralPortOrder::Ascending);
        for (os, ports, order, shares, wait) in [
            (None, "32768-60999", ascending, false, 60),
            (Some(linux), "32768-60999", even, true, 60),
            (Some(windows), "49152-65535", ascending, false, 120),
        ] {
            let mut client = client(os);
            assert_eq!(client.effective_ephemeral_ports().to_string(), ports);
            assert_eq!(client.effective_ephemeral_port_order(), order);
            assert_eq!(client.shares_ephemeral_ports(), shares);
            let linear = if os == Some(linux) { 4 } else { 0 };
            assert_eq!(client.effective_syn_linear_timeouts(), linear);
            assert_eq!(client.effective_time_wait(), Duration::from_secs(wait));
            client.ephemeral_port_sharing = Some(!shares);
            assert_eq!(client.shares_ephemeral_ports(), !shares);
        }
    }
}
