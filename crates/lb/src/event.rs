use crate::config::LbPoolId;
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
    /// The last backend of a pool went down: the pool takes no new flow.
    PoolDown {
        /// The pool.
        pool: LbPoolId,
    },
    /// A pool without any backend has one again.
    PoolUp {
        /// The pool.
        pool: LbPoolId,
    },
    /// For the first time a flow was refused because the table is full; counters tell how often
    /// it happened since.
    TableFull {
        /// The limit that was reached.
        limit: u32,
    },
}
