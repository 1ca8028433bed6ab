use serde_json::Value;

use crate::connections::{Connections, FailedBy, Latency};
use crate::summary::{object, rows};

/// What became of one workload.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WorkloadSummary {
    /// Its name in the scenario.
    pub name: String,
    /// What drives it, as the scenario spells it: `open-loop`, `pool`, ...
    pub model: &'static str,
    /// What its connections are over: `tcp` or `udp`.
    pub protocol: &'static str,
    /// Where its connections are.
    pub connections: Connections,
    /// How many of the established ones their application has closed already: the close is under way, or
    /// goes unanswered.
    pub closing: u64,
    /// Why connections failed.
    pub failed_by: FailedBy,
    /// Where they went, in the order of the scenario.
    pub destinations: Vec<DestinationSummary>,
    /// Requests sent.
    pub requests: u64,
    /// Responses received in full.
    pub responses: u64,
    /// Requests whose response is still to come.
    pub awaiting: u64,
    /// Requests without a response, by cause.
    pub lost_by: LostBy,
    /// How many of them the network had forgotten the connection of: it had been silent for the idle
    /// timeout that binds.
    pub lost_to_silence: u64,
    /// Responses and messages that are waited for on such connections at the end.
    pub waiting_in_vain: u64,
    /// SYNs sent again.
    pub syn_retransmissions: u64,
    /// SYNs that met an old connection of the server with the same addresses and ports, and had to be sent
    /// again.
    pub half_open_found: u64,
    /// Other segments sent again.
    pub retransmissions: u64,
    /// How long connecting took.
    pub connect_latency: Latency,
    /// How long it took until TCP connections had failed to come to be.
    pub connect_failure: Latency,
    /// How long responses took.
    pub request_latency: Latency,
    /// The same by the schedule of the workload's `interval`: a late response counts for the requests that it
    /// held back, too, from when they were due. Without an interval nothing.
    pub scheduled_latency: Latency,
    /// From a request without a response to the error that said so.
    pub detection: Latency,
    /// How long connections with nothing under way were dead before it was noticed.
    pub idle_detection: Latency,
    /// Messages that subscribers got.
    pub messages: u64,
    /// Those that they were to get: all that came after a subscriber's arrival, connected or not. What is
    /// missing is lost, or on its way.
    pub messages_due: u64,
    /// Packets that UDP streams sent.
    pub packets_sent: u64,
    /// Those of them that came back.
    pub packets_echoed: u64,
    /// What users wanted; nothing but noughts where each request stands for itself.
    pub operations: Operations,
    /// What its pool did, if it has one.
    pub pool: Option<PoolSummary>,
}

/// What became of a workload's connections to one destination.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DestinationSummary {
    /// The private endpoint, or the frontend as `balancer/frontend`.
    pub name: String,
    /// Connections started.
    pub attempted: u64,
    /// Those that were never established.
    pub failed: u64,
}

/// Requests without a response, by cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LostBy {
    /// None came in time, or TCP gave up.
    pub timeout: u64,
    /// The server reset the connection, or an ICMP error came.
    pub reset: u64,
    /// An idle timeout on the way reset the connection.
    pub idle_expired: u64,
    /// The connection was closed.
    pub closed: u64,
    /// The client VM went down.
    pub vm_down: u64,
}

/// Requests with all their repetitions.
///
/// attempted = succeeded + failed + pending.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Operations {
    /// Begun.
    pub attempted: u64,
    /// Responded to, sooner or later.
    pub succeeded: u64,
    /// Given up.
    pub failed: u64,
    /// Under way now.
    pub pending: u64,
    /// Attempts after the first.
    pub retries: u64,
    /// Given up because no connection was established.
    pub failed_by_connect: u64,
    /// Given up because the connection ended under the last request.
    pub failed_by_reset: u64,
    /// Given up because no response came in time.
    pub failed_by_timeout: u64,
    /// Given up because the pool lent no connection in time.
    pub failed_by_borrow_timeout: u64,
    /// From the begin to the response.
    pub latency: Latency,
}

/// What a pool did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PoolSummary {
    /// Requests that asked for a connection.
    pub borrows: u64,
    /// Those that got one.
    pub lent: u64,
    /// Those that wait now.
    pub waiting: u64,
    /// Those that met a dead connection.
    pub dead_borrows: u64,
    /// The dead connections that they met.
    pub dead_connections: u64,
    /// How many of these a request found, which failed.
    pub dead_requests: u64,
    /// How many of the dead connections had been silent for the idle timeout that binds.
    pub dead_by_silence: u64,
    /// Tests of connections.
    pub validations: u64,
    /// Those that failed.
    pub validations_failed: u64,
    /// Connections closed for being unused.
    pub evicted: u64,
    /// Connections closed for their age.
    pub retired: u64,
    /// How long borrows waited.
    pub borrow_latency: Latency,
    /// How long the connections had rested that were lent and alive.
    pub rested_alive: Latency,
    /// How long those had that were dead.
    pub rested_dead: Latency,
}

impl LostBy {
    /// Adds the parts.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.timeout + self.reset + self.idle_expired + self.closed + self.vm_down
    }

    fn to_value(self) -> Value {
        object([
            ("timeout", self.timeout.into()),
            ("reset", self.reset.into()),
            ("idle_expired", self.idle_expired.into()),
            ("closed", self.closed.into()),
            ("vm_down", self.vm_down.into()),
        ])
    }
}

impl DestinationSummary {
    fn to_value(&self) -> Value {
        object([
            ("name", self.name.as_str().into()),
            ("attempted", self.attempted.into()),
            ("failed", self.failed.into()),
        ])
    }
}

impl Operations {
    fn to_value(&self) -> Value {
        let failed_by = object([
            ("connect", self.failed_by_connect.into()),
            ("reset", self.failed_by_reset.into()),
            ("timeout", self.failed_by_timeout.into()),
            ("borrow_timeout", self.failed_by_borrow_timeout.into()),
        ]);
        object([
            ("attempted", self.attempted.into()),
            ("succeeded", self.succeeded.into()),
            ("failed", self.failed.into()),
            ("pending", self.pending.into()),
            ("retries", self.retries.into()),
            ("failed_by", failed_by),
            ("latency", self.latency.to_value()),
        ])
    }
}

impl PoolSummary {
    fn to_value(&self) -> Value {
        object([
            ("borrows", self.borrows.into()),
            ("lent", self.lent.into()),
            ("waiting", self.waiting.into()),
            ("dead_borrows", self.dead_borrows.into()),
            ("dead_connections", self.dead_connections.into()),
            ("dead_requests", self.dead_requests.into()),
            ("dead_by_silence", self.dead_by_silence.into()),
            ("validations", self.validations.into()),
            ("validations_failed", self.validations_failed.into()),
            ("evicted", self.evicted.into()),
            ("retired", self.retired.into()),
            ("borrow_latency", self.borrow_latency.to_value()),
            ("rested_alive", self.rested_alive.to_value()),
            ("rested_dead", self.rested_dead.to_value()),
        ])
    }
}

impl WorkloadSummary {
    /// Returns a summary that has every part, with noughts in it.
    pub(crate) fn shape() -> Self {
        Self {
            destinations: vec![DestinationSummary::default()],
            pool: Some(PoolSummary::default()),
            ..Self::default()
        }
    }

    pub(crate) fn to_value(&self) -> Value {
        let failed_by = object([
            ("timeout", self.failed_by.timeout.into()),
            ("refused", self.failed_by.refused.into()),
            ("client_ports", self.failed_by.client_ports.into()),
            ("unreachable", self.failed_by.unreachable.into()),
        ]);
        let head = [
            ("name", Value::from(self.name.as_str())),
            ("model", self.model.into()),
            ("protocol", self.protocol.into()),
        ];
        let rest = [
            ("closing", self.closing.into()),
            ("failed_by", failed_by),
            (
                "destinations",
                rows(&self.destinations, DestinationSummary::to_value),
            ),
            ("requests", self.requests.into()),
            ("responses", self.responses.into()),
            ("awaiting", self.awaiting.into()),
            ("lost", self.lost_by.total().into()),
            ("lost_by", self.lost_by.to_value()),
            ("lost_to_silence", self.lost_to_silence.into()),
            ("waiting_in_vain", self.waiting_in_vain.into()),
            ("syn_retransmissions", self.syn_retransmissions.into()),
            ("half_open_found", self.half_open_found.into()),
            ("retransmissions", self.retransmissions.into()),
            ("connect_latency", self.connect_latency.to_value()),
            ("connect_failure", self.connect_failure.to_value()),
            ("request_latency", self.request_latency.to_value()),
            ("scheduled_latency", self.scheduled_latency.to_value()),
            ("detection", self.detection.to_value()),
            ("idle_detection", self.idle_detection.to_value()),
            ("messages", self.messages.into()),
            ("messages_due", self.messages_due.into()),
            ("packets_sent", self.packets_sent.into()),
            ("packets_echoed", self.packets_echoed.into()),
            ("operations", self.operations.to_value()),
            (
                "pool",
                self.pool
                    .as_ref()
                    .map_or(Value::Null, PoolSummary::to_value),
            ),
        ];
        object(
            head.into_iter()
                .chain(self.connections.fields())
                .chain(rest),
        )
    }
}
