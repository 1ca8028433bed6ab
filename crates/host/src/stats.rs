use plsim_types::Duration;

use crate::destination::DestinationStats;
use crate::histogram::Histogram;
use crate::workload::{LostBy, OperationStats, PoolStats, StreamStats, Why};

/// How many of the requests that one response held back are looked at.
const LOOKS: u64 = 1_000;

/// What became of the connections of one workload.
///
/// Every attempted connection is in exactly one of `connecting`, `established`, `closed`, `reset`,
/// `idle_expired`, `timed_out`, `vm_down` and `failed`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WorkloadStats {
    /// Connections started; a retransmitted SYN starts none.
    pub attempted: u64,
    /// Not yet established.
    pub connecting: u64,
    /// Open now. A TCP connection counts until both FINs are exchanged.
    pub established: u64,
    /// Ever established.
    pub established_total: u64,
    /// Ended in good order: by FIN both ways, by the client's own RST, or at the end of `hold`.
    pub closed: u64,
    /// Reset by the server, or, a UDP flow, ended by an ICMP error.
    pub reset: u64,
    /// Reset by the NAT, which had forgotten the connection.
    pub idle_expired: u64,
    /// Given up after data, FIN, a keepalive probe or a UDP request went unanswered.
    pub timed_out: u64,
    /// Gone with their client VM, which crashed or was shut down.
    pub vm_down: u64,
    /// Never established.
    pub failed: u64,
    /// Why they failed; the parts add up to `failed`.
    pub failed_by: FailedBy,
    /// The attempted and the failed ones by destination, in the order of the configuration.
    pub destinations: Vec<DestinationStats>,
    /// Requests written; each is in exactly one of `responses`, `awaiting` and `lost`.
    pub requests: u64,
    /// Whole responses received.
    pub responses: u64,
    /// Requests whose response is still to come.
    pub awaiting: u64,
    /// Requests without a response, by cause.
    pub lost: LostBy,
    /// How many of these the network had forgotten the connection of, because it had been silent for
    /// too long (`silence_limit`).
    pub lost_to_silence: u64,
    /// SYNs sent again.
    pub syn_retransmissions: u64,
    /// SYNs that met an old connection of the server with the same addresses and ports: it was reset, and
    /// the SYN has to be sent again (RFC 9293 §3.5.1, half-open connections).
    pub half_open_found: u64,
    /// Segments with data or FIN sent again.
    pub retransmissions: u64,
    /// Keepalive probes sent.
    pub keepalive_probes: u64,
    /// Challenge ACKs sent (RFC 5961).
    pub challenge_acks: u64,
    /// From the first SYN, or UDP request, to the SYN-ACK, or first whole response.
    pub connect_latency: Histogram,
    /// From the first SYN to the error that told that there will be no connection (TCP).
    pub connect_failure: Histogram,
    /// From a request to its whole response.
    pub request_latency: Histogram,
    /// The same, where requests have an `interval`, as their schedule would have it: a late response also
    /// counts for each request that it held back, from when that was due.
    pub scheduled_latency: Histogram,
    /// From a request to the error that told that there will be no response: how long it takes to
    /// notice that a connection is dead.
    pub detection: Histogram,
    /// How long connections on which nothing was asked were dead before it was noticed: from the last
    /// that was heard to the end of TCP's keepalive, or from a reset to the request that the pool lent
    /// the connection to.
    pub idle_detection: Histogram,
    /// Messages that subscribers got.
    pub messages: u64,
    /// Packets of UDP streams.
    pub stream: StreamStats,
    /// What users wanted (closed loop and pool).
    pub operations: OperationStats,
    /// What the pool did.
    pub pool: PoolStats,
}

/// Why connections failed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FailedBy {
    /// No answer came.
    pub timeout: u64,
    /// The server answered the SYN with a reset.
    pub refused: u64,
    /// No client VM had an ephemeral port left.
    pub client_ports: u64,
    /// An ICMP error answered the SYN, or the UDP request.
    pub unreachable: u64,
}

/// The end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Closed,
    Reset,
    IdleExpired,
    TimedOut,
    Refused,
    Unreachable,
    VmDown,
}

impl WorkloadStats {
    /// Adds the parts that `requests` falls into: always equal to it.
    #[must_use]
    pub const fn requests_accounted(&self) -> u64 {
        self.responses + self.awaiting + self.lost.total()
    }

    /// Adds the parts that `attempted` falls into: always equal to it.
    #[must_use]
    pub const fn accounted(&self) -> u64 {
        self.connecting
            + self.established
            + self.closed
            + self.reset
            + self.idle_expired
            + self.timed_out
            + self.vm_down
            + self.failed
    }

    /// Adds what another workload did; its destinations are listed after the own ones.
    pub fn add(&mut self, other: &Self) {
        let Self {
            attempted,
            connecting,
            established,
            established_total,
            closed,
            reset,
            idle_expired,
            timed_out,
            vm_down,
            failed,
            failed_by,
            destinations,
            requests,
            responses,
            awaiting,
            lost,
            lost_to_silence,
            syn_retransmissions,
            half_open_found,
            retransmissions,
            keepalive_probes,
            challenge_acks,
            connect_latency,
            connect_failure,
            request_latency,
            scheduled_latency,
            detection,
            idle_detection,
            messages,
            stream,
            operations,
            pool,
        } = other;
        self.attempted += attempted;
        self.connecting += connecting;
        self.established += established;
        self.established_total += established_total;
        self.closed += closed;
        self.reset += reset;
        self.idle_expired += idle_expired;
        self.timed_out += timed_out;
        self.vm_down += vm_down;
        self.failed += failed;
        self.failed_by.timeout += failed_by.timeout;
        self.failed_by.refused += failed_by.refused;
        self.failed_by.client_ports += failed_by.client_ports;
        self.failed_by.unreachable += failed_by.unreachable;
        self.destinations.extend_from_slice(destinations);
        self.requests += requests;
        self.responses += responses;
        self.awaiting += awaiting;
        self.lost.add(lost);
        self.lost_to_silence += lost_to_silence;
        self.syn_retransmissions += syn_retransmissions;
        self.half_open_found += half_open_found;
        self.retransmissions += retransmissions;
        self.keepalive_probes += keepalive_probes;
        self.challenge_acks += challenge_acks;
        self.connect_latency.merge(connect_latency);
        self.request_latency.merge(request_latency);
        self.connect_failure.merge(connect_failure);
        self.scheduled_latency.merge(scheduled_latency);
        self.detection.merge(detection);
        self.idle_detection.merge(idle_detection);
        self.messages += messages;
        self.stream.sent += stream.sent;
        self.stream.echoed += stream.echoed;
        self.operations.add(operations);
        self.pool.add(pool);
    }

    /// Forgets the times that were measured so far; counts stay.
    pub(crate) fn forget_times(&mut self) {
        let pool = &mut self.pool;
        for times in [
            &mut self.connect_latency,
            &mut self.connect_failure,
            &mut self.request_latency,
            &mut self.scheduled_latency,
            &mut self.detection,
            &mut self.idle_detection,
            &mut self.operations.latency,
            &mut pool.borrow_latency,
            &mut pool.rested_alive,
            &mut pool.rested_dead,
        ] {
            *times = Histogram::new();
        }
    }

    pub(crate) const fn started(&mut self) {
        self.attempted += 1;
        self.connecting += 1;
    }

    pub(crate) const fn lacked_port(&mut self) {
        self.attempted += 1;
        self.failed += 1;
        self.failed_by.client_ports += 1;
    }

    pub(crate) fn connected(&mut self, after: Duration) {
        self.opened();
        self.connect_latency.record(after);
    }

    pub(crate) const fn asked(&mut self) {
        self.requests += 1;
        self.awaiting += 1;
    }

    pub(crate) fn responded(&mut self, after: Duration) {
        self.awaiting -= 1;
        self.responses += 1;
        self.request_latency.record(after);
    }

    /// Counts a response where the next request was due `gap` after the one before it.
    pub(crate) fn on_schedule(&mut self, took: Duration, gap: Duration) {
        self.scheduled_latency.record(took);
        if gap.is_zero() {
            return;
        }
        // Each request that was held back would have waited for less by one more gap. Of very many
        // only some are looked at, and stand for their neighbours.
        let held_back = took.as_nanos() / gap.as_nanos();
        let step = held_back.div_ceil(LOOKS).max(1);
        for number in (step..=held_back).step_by(step as usize) {
            let waited = Duration::from_nanos(took.as_nanos() - number * gap.as_nanos());
            self.scheduled_latency.record_many(waited, step);
        }
    }

    /// Counts a request that stays without a response.
    pub(crate) fn lost(&mut self, outcome: Outcome, after: Duration) {
        self.awaiting -= 1;
        match outcome {
            Outcome::Closed => self.lost.closed += 1,
            Outcome::Reset | Outcome::Refused | Outcome::Unreachable => self.lost.reset += 1,
            Outcome::IdleExpired => self.lost.idle_expired += 1,
            Outcome::TimedOut => self.lost.timeout += 1,
            Outcome::VmDown => {
                // Nobody is left to notice.
                self.lost.vm_down += 1;
                return;
            }
        }
        self.detection.record(after);
    }

    pub(crate) const fn give_up_borrow(&mut self) {
        self.pool.waiting -= 1;
        self.operations.fail(Why::BorrowTimeout);
    }

    /// Counts a flow that needs no answer to be one.
    pub(crate) const fn opened(&mut self) {
        self.connecting -= 1;
        self.established += 1;
        self.established_total += 1;
    }

    /// Ends a connection that never was established: by refusal, with its VM, or for want of an answer.
    pub(crate) const fn failed(&mut self, outcome: Outcome) {
        self.connecting -= 1;
        let cause = match outcome {
            Outcome::VmDown => {
                self.vm_down += 1;
                return;
            }
            Outcome::Refused | Outcome::Reset | Outcome::IdleExpired => &mut self.failed_by.refused,
            Outcome::TimedOut | Outcome::Closed => &mut self.failed_by.timeout,
            Outcome::Unreachable => &mut self.failed_by.unreachable,
        };
        *cause += 1;
        self.failed += 1;
    }

    /// Ends a connection that was established.
    pub(crate) const fn ended(&mut self, outcome: Outcome) {
        self.established -= 1;
        match outcome {
            Outcome::Closed => self.closed += 1,
            Outcome::Reset | Outcome::Refused | Outcome::Unreachable => self.reset += 1,
            Outcome::IdleExpired => self.idle_expired += 1,
            Outcome::TimedOut => self.timed_out += 1,
            Outcome::VmDown => self.vm_down += 1,
        }
    }
}

/// Why a server could not read the request of a connection, and reset it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RequestFailedBy {
    /// It knows no PROXY protocol, but there was a header (PP-5).
    pub proxy_unexpected: u64,
    /// It wants a PROXY protocol header, but there was none (PP-6).
    pub proxy_missing: u64,
    /// It was garbage.
    pub unreadable: u64,
}

/// Segments that a full queue of their port dropped, each time they came.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Overflow {
    /// SYNs: as many handshakes were under way as the backlog allows.
    pub syn_queue: u64,
    /// SYNs, and last ACKs of handshakes: too many connections wait for the application.
    pub accept_queue: u64,
}

/// Handshakes of which the server kept nothing (RFC 4987 §3.6).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SynCookies {
    /// SYNs that found as many handshakes under way as the backlog allows, and were answered with a cookie.
    pub sent: u64,
    /// Cookies that came back and made a connection.
    pub accepted: u64,
    /// Segments of no connection that brought none, or an old one, while some were expected: they were reset.
    pub failed: u64,
}

/// What a server VM did.
///
/// `accepted = live + closed + reset + timed_out + aborted`, always.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ServerStats {
    /// SYN received, handshake not complete.
    pub half_open: u64,
    /// Half-open connections given up: SYN-ACK unanswered or reset.
    pub half_open_lost: u64,
    /// Handshakes completed.
    pub accepted: u64,
    /// Open now.
    pub live: u64,
    /// Closed by this end first, and remembered for a while.
    pub time_wait: u64,
    /// Closed by FIN both ways.
    pub closed: u64,
    /// Reset by the client or by the NAT.
    pub reset: u64,
    /// Given up after data or FIN went unanswered.
    pub timed_out: u64,
    /// Ended by the server: no request could be read (see `failed_by` for why), or it was `lost`.
    pub aborted: u64,
    /// Why requests could not be read.
    pub failed_by: RequestFailedBy,
    /// Whole requests received, over TCP and UDP.
    pub requests: u64,
    /// Messages sent to subscribers.
    pub messages: u64,
    /// Payload bytes of requests received in order, without repetitions.
    pub request_bytes: u64,
    /// Segments dropped because a queue of their port was full.
    pub overflow: Overflow,
    /// Handshakes of which it kept nothing.
    pub cookies: SynCookies,
    /// SYNs to closed ports answered with a reset; not those of health probes.
    pub refused: u64,
    /// Open connections that it had when it stopped, hung or was started anew, or its application
    /// ended; also counted in `aborted`. Not those of health probes.
    pub lost: u64,
    /// Challenge ACKs sent (RFC 5961).
    pub challenge_acks: u64,
    /// Segments with SYN, data or FIN sent again.
    pub retransmissions: u64,
}
