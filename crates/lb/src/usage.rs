use crate::config::Rule;
use plsim_types::BackendId;

/// What one backend got so far.
///
/// `syns` counts packets that open a TCP connection, retransmissions included, as Azure's metric
/// `SYNCount` does (D-MET).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BackendUsage {
    /// The backend.
    pub backend: BackendId,
    /// Whether it gets new flows.
    pub up: bool,
    /// Packets sent to it, TCP and UDP.
    pub packets: u64,
    /// Opening packets (SYN) sent to it.
    pub syns: u64,
    /// TCP flows that are remembered to be on it now.
    pub sticky_flows: u32,
}

/// What one rule did so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RuleUsage {
    /// The rule.
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
