use crate::config::{FrontendId, LbPoolId, ProbeId, Rule, RuleId};
use core::net::SocketAddrV4;
use plsim_types::{BackendId, Instant, LinkId};

/// What one backend got so far.
///
/// `syns` counts packets that open a TCP connection, retransmissions included, as Azure's metric
/// `SYNCount` does (D-MET).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BackendUsage {
    /// The backend.
    pub backend: BackendId,
    /// Whether it is up, probes and admin states aside.
    pub up: bool,
    /// Packets sent to it, TCP and UDP.
    pub packets: u64,
    /// Opening packets (SYN) sent to it.
    pub syns: u64,
    /// Flows that are remembered to be on it now: TCP, and tracked UDP.
    pub sticky_flows: u32,
}

/// What one rule did so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RuleUsage {
    /// The rule as it is now.
    pub rule: Rule,
    /// Packets sent to a backend.
    pub packets: u64,
    /// Opening packets (SYN) sent to a backend.
    pub syns: u64,
    /// Packets refused because no backend was up.
    pub no_healthy_backend: u64,
    /// Packets refused because the flow table was full.
    pub table_full: u64,
}

/// A TCP flow that is remembered to be on a backend, or was until its owner ended it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StickyFlow {
    /// The way that it came.
    pub came_by: CameBy,
    /// The client.
    pub client: SocketAddrV4,
    /// The port that it dialled.
    pub frontend_port: u16,
}

/// How a flow comes to a load balancer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CameBy {
    /// Through a private endpoint connection.
    Link(LinkId),
    /// Its client dialled the frontend itself.
    Frontend(FrontendId),
}

/// Why the backends that rules choose among changed, or the way they choose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cause {
    /// A backend went down or came back.
    Backend,
    /// A probe changed its mind.
    Probe,
    /// An admin state was set.
    AdminState,
    /// A backend joined.
    Added,
    /// A backend left.
    Removed,
    /// A rule got another pool or distribution.
    Rule,
    /// The service of a rule got a NAT IP, and NAT IPs are hashed.
    NatIp,
}

impl Cause {
    /// Returns the stable kebab-case name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Backend => "backend",
            Self::Probe => "probe",
            Self::AdminState => "admin-state",
            Self::Added => "added",
            Self::Removed => "removed",
            Self::Rule => "rule",
            Self::NatIp => "nat-ip",
        }
    }
}

/// A change of whom rules choose among, and what became of the flows of before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MembershipChange {
    /// When.
    pub at: Instant,
    /// Why.
    pub cause: Cause,
    /// The pool.
    pub pool: LbPoolId,
    /// The probe of the rules that are concerned; `None` for those without.
    pub probe: Option<ProbeId>,
    /// The backend that joined, left or changed.
    pub backend: Option<BackendId>,
    /// The only rule concerned, if the rule itself was changed.
    pub rule: Option<RuleId>,
    /// How many backends may be chosen since.
    pub eligible: u16,
    /// TCP flows that stayed on the backend, though it is not in the choice any more: those that
    /// are remembered, so also those that ended less than the stickiness idle time ago.
    pub kept: u32,
    /// Flows whose next packet went to another backend than the one before: UDP.
    pub moved: u64,
}
