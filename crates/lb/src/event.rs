use crate::config::{AdminState, LbPoolId, ProbeId, RuleId};
use plsim_types::BackendId;

/// Something that happened to a load balancer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LbEvent {
    /// A backend went down: it gets no new flow.
    BackendDown {
        /// The backend.
        backend: BackendId,
        /// TCP flows that stay on it (D-PRB23).
        sticky_flows: u32,
    },
    /// A backend is up again.
    BackendUp {
        /// The backend.
        backend: BackendId,
        /// TCP flows that stayed on it.
        sticky_flows: u32,
    },
    /// A probe finds a backend unhealthy, or healthy again.
    Health {
        /// The probe.
        probe: ProbeId,
        /// The backend.
        backend: BackendId,
        /// What the probe says now.
        up: bool,
        /// TCP flows that are on it.
        sticky_flows: u32,
    },
    /// A pool's owner says something else of a member.
    AdminState {
        /// The pool.
        pool: LbPoolId,
        /// The backend.
        backend: BackendId,
        /// What holds now.
        state: AdminState,
    },
    /// A backend joined a pool.
    Added {
        /// The pool.
        pool: LbPoolId,
        /// The backend.
        backend: BackendId,
    },
    /// A backend left a pool.
    Removed {
        /// The pool.
        pool: LbPoolId,
        /// The backend.
        backend: BackendId,
        /// TCP flows that stay on it.
        sticky_flows: u32,
    },
    /// The TCP flows that a pool still had on a backend were ended.
    FlowsEnded {
        /// The pool.
        pool: LbPoolId,
        /// The backend.
        backend: BackendId,
        /// How many.
        flows: u32,
    },
    /// A rule was changed.
    RuleChanged {
        /// The rule.
        rule: RuleId,
    },
    /// Nobody is left in a pool for the rules with a probe, or without: no new flow is taken.
    PoolDown {
        /// The pool.
        pool: LbPoolId,
        /// The probe of the rules.
        probe: Option<ProbeId>,
    },
    /// A pool without any backend for some rules has one again.
    PoolUp {
        /// The pool.
        pool: LbPoolId,
        /// The probe of the rules.
        probe: Option<ProbeId>,
    },
    /// For the first time a flow was refused because the table is full; counters tell how often
    /// it happened since.
    TableFull {
        /// The limit that was reached.
        limit: u32,
    },
}
