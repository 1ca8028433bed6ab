use plsim_types::Duration;

use crate::histogram::Histogram;

/// Packets of UDP streams.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StreamStats {
    /// Sent by clients.
    pub sent: u64,
    /// Those that came back to them, if the server sends them back.
    pub echoed: u64,
}

/// Why requests got no response.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LostBy {
    /// None came in time, or TCP gave up.
    pub timeout: u64,
    /// The server reset the connection, or an ICMP error came.
    pub reset: u64,
    /// The NAT or the load balancer reset the connection, which was idle for too long.
    pub idle_expired: u64,
    /// The connection was closed.
    pub closed: u64,
    /// The client VM went down.
    pub vm_down: u64,
}

impl LostBy {
    pub(crate) const fn add(&mut self, other: &Self) {
        let Self {
            timeout,
            reset,
            idle_expired,
            closed,
            vm_down,
        } = other;
        self.timeout += *timeout;
        self.reset += *reset;
        self.idle_expired += *idle_expired;
        self.closed += *closed;
        self.vm_down += *vm_down;
    }

    /// Adds the parts.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.timeout + self.reset + self.idle_expired + self.closed + self.vm_down
    }
}

/// What became of what users wanted: one operation is one request and all its repetitions.
///
/// `attempted = succeeded + failed + pending`, always.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OperationStats {
    /// Operations begun.
    pub attempted: u64,
    /// A response came, sooner or later.
    pub succeeded: u64,
    /// Given up.
    pub failed: u64,
    /// Under way now.
    pub pending: u64,
    /// Why they failed; the parts add up to `failed`.
    pub failed_by: OperationsFailedBy,
    /// Attempts after the first.
    pub retries: u64,
    /// From the begin of an operation to its response, waits and repetitions included.
    pub latency: Histogram,
}

/// Why the last attempt of an operation failed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OperationsFailedBy {
    /// No connection was established.
    pub connect: u64,
    /// The connection ended under the request.
    pub reset: u64,
    /// No response came in time.
    pub timeout: u64,
    /// The pool lent no connection in time.
    pub borrow_timeout: u64,
}

/// What a pool did.
///
/// `borrows = lent + given up + waiting`, where those given up are the operations that failed by
/// `borrow_timeout`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PoolStats {
    /// Requests that asked for a connection.
    pub borrows: u64,
    /// Those that got one, which the pool took for alive.
    pub lent: u64,
    /// Those that wait now, or for the test of one.
    pub waiting: u64,
    /// Borrows that met an idle connection which was dead, as a test or the request found.
    pub dead_borrows: u64,
    /// The dead connections that they met; a borrow may meet several, one test after the other.
    pub dead_connections: u64,
    /// How many of these the request found, which failed.
    pub dead_requests: u64,
    /// How many of the dead connections the network had forgotten: they had rested for as long as the
    /// workload's `silence_limit`.
    pub dead_by_silence: u64,
    /// Tests, when lent and to keep alive.
    pub validations: u64,
    /// Those that failed.
    pub validations_failed: u64,
    /// Connections closed for having rested for `max_idle`.
    pub evicted: u64,
    /// Connections closed for having reached `max_lifetime`.
    pub retired: u64,
    /// From the request for a connection to the loan.
    pub borrow_latency: Histogram,
    /// How long the connections had rested that were lent and alive, and those that were dead.
    pub rested_alive: Histogram,
    /// See `rested_alive`.
    pub rested_dead: Histogram,
}

/// Why an attempt failed.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Why {
    Connect,
    Reset,
    Timeout,
    BorrowTimeout,
}

impl PoolStats {
    pub(crate) fn add(&mut self, other: &Self) {
        let Self {
            borrows,
            lent,
            waiting,
            dead_borrows,
            dead_connections,
            dead_requests,
            dead_by_silence,
            validations,
            validations_failed,
            evicted,
            retired,
            borrow_latency,
            rested_alive,
            rested_dead,
        } = other;
        self.borrows += borrows;
        self.lent += lent;
        self.waiting += waiting;
        self.dead_borrows += dead_borrows;
        self.dead_connections += dead_connections;
        self.dead_requests += dead_requests;
        self.dead_by_silence += dead_by_silence;
        self.validations += validations;
        self.validations_failed += validations_failed;
        self.evicted += evicted;
        self.retired += retired;
        self.borrow_latency.merge(borrow_latency);
        self.rested_alive.merge(rested_alive);
        self.rested_dead.merge(rested_dead);
    }

    pub(crate) fn lend(&mut self, after: Duration) {
        self.waiting -= 1;
        self.lent += 1;
        self.borrow_latency.record(after);
    }

    /// Counts a borrow that met a dead connection, which had rested for so long.
    pub(crate) fn found_dead(&mut self, rested: Duration, is_first: bool, by_test: bool) {
        self.dead_borrows += u64::from(is_first);
        self.dead_connections += 1;
        self.dead_requests += u64::from(!by_test);
        self.rested_dead.record(rested);
    }
}

impl OperationStats {
    pub(crate) fn add(&mut self, other: &Self) {
        let Self {
            attempted,
            succeeded,
            failed,
            pending,
            failed_by,
            retries,
            latency,
        } = other;
        self.attempted += attempted;
        self.succeeded += succeeded;
        self.failed += failed;
        self.pending += pending;
        self.failed_by.connect += failed_by.connect;
        self.failed_by.reset += failed_by.reset;
        self.failed_by.timeout += failed_by.timeout;
        self.failed_by.borrow_timeout += failed_by.borrow_timeout;
        self.retries += retries;
        self.latency.merge(latency);
    }

    pub(crate) const fn begin(&mut self) {
        self.attempted += 1;
        self.pending += 1;
    }

    pub(crate) fn succeed(&mut self, after: Duration) {
        self.pending -= 1;
        self.succeeded += 1;
        self.latency.record(after);
    }

    pub(crate) const fn fail(&mut self, why: Why) {
        self.pending -= 1;
        self.failed += 1;
        match why {
            Why::Connect => self.failed_by.connect += 1,
            Why::Reset => self.failed_by.reset += 1,
            Why::Timeout => self.failed_by.timeout += 1,
            Why::BorrowTimeout => self.failed_by.borrow_timeout += 1,
        }
    }

    /// Adds the parts that `attempted` falls into: always equal to it.
    #[must_use]
    pub const fn accounted(&self) -> u64 {
        self.succeeded + self.failed + self.pending
    }
}
