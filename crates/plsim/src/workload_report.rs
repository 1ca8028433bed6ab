//! What became of workloads, and what their clients suffered.

use std::borrow::Cow;
use std::collections::BTreeMap;

use plsim_host::{Histogram, WorkloadStats};
use plsim_observe::{
    DestinationSummary, FailedBy, Latency, LostBy, Operations, PoolSummary, WorkloadSample,
    WorkloadSummary,
};
use plsim_scenario::{Workload, WorkloadModel};
use plsim_types::Protocol;

use crate::summarise::outcomes;

/// What became of one workload.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Outcome<'a> {
    pub(crate) stats: &'a WorkloadStats,
    /// Connections that wait for what cannot come.
    pub(crate) waiting_in_vain: u64,
    /// Connections that their application has given up.
    pub(crate) closing: u64,
    /// Messages that its subscribers were to get.
    pub(crate) messages_due: u64,
}

/// Copies of one workload, added up.
struct Sum<'a> {
    copies: Vec<&'a Workload>,
    stats: Cow<'a, WorkloadStats>,
    waiting_in_vain: u64,
    closing: u64,
    messages_due: u64,
}

/// Sums up all workloads; copies with one name are added up.
pub(crate) fn summaries<'a>(
    workloads: impl Iterator<Item = (&'a Workload, Outcome<'a>)>,
) -> Vec<WorkloadSummary> {
    let mut sums: Vec<Sum<'_>> = Vec::new();
    let mut places = BTreeMap::new();
    for (workload, outcome) in workloads {
        let place = *places.entry(&workload.name).or_insert(sums.len());
        let Some(sum) = sums.get_mut(place) else {
            sums.push(Sum {
                copies: vec![workload],
                stats: Cow::Borrowed(outcome.stats),
                waiting_in_vain: outcome.waiting_in_vain,
                closing: outcome.closing,
                messages_due: outcome.messages_due,
            });
            continue;
        };
        sum.copies.push(workload);
        sum.stats.to_mut().add(outcome.stats);
        sum.waiting_in_vain += outcome.waiting_in_vain;
        sum.closing += outcome.closing;
        sum.messages_due += outcome.messages_due;
    }
    sums.iter().map(summary).collect()
}

fn summary(sum: &Sum<'_>) -> WorkloadSummary {
    let Sum {
        copies,
        stats,
        waiting_in_vain,
        closing,
        messages_due,
    } = sum;
    let (workload, waiting_in_vain, closing) = (copies[0], *waiting_in_vain, *closing);
    WorkloadSummary {
        name: workload.name.to_string(),
        model: workload.model.name(),
        protocol: Protocol::from(workload.protocol).name(),
        connections: outcomes(stats),
        closing,
        failed_by: FailedBy {
            timeout: stats.failed_by.timeout,
            refused: stats.failed_by.refused,
            client_ports: stats.failed_by.client_ports,
            unreachable: stats.failed_by.unreachable,
        },
        destinations: destinations(copies, stats),
        requests: stats.requests,
        responses: stats.responses,
        awaiting: stats.awaiting,
        lost_by: LostBy {
            timeout: stats.lost.timeout,
            reset: stats.lost.reset,
            idle_expired: stats.lost.idle_expired,
            closed: stats.lost.closed,
            vm_down: stats.lost.vm_down,
        },
        lost_to_silence: stats.lost_to_silence,
        waiting_in_vain,
        syn_retransmissions: stats.syn_retransmissions,
        half_open_found: stats.half_open_found,
        retransmissions: stats.retransmissions,
        connect_latency: latency(&stats.connect_latency),
        connect_failure: latency(&stats.connect_failure),
        request_latency: latency(&stats.request_latency),
        scheduled_latency: latency(&stats.scheduled_latency),
        detection: latency(&stats.detection),
        idle_detection: latency(&stats.idle_detection),
        messages: stats.messages,
        messages_due: *messages_due,
        packets_sent: stats.stream.sent,
        packets_echoed: stats.stream.echoed,
        operations: operations(stats),
        pool: (workload.model == WorkloadModel::Pool).then(|| pool(stats)),
    }
}

/// Returns what the time series says of all workloads; copies with one name are added up.
pub(crate) fn samples<'a>(
    workloads: impl Iterator<Item = (&'a Workload, &'a WorkloadStats)>,
) -> Vec<WorkloadSample<'a>> {
    let mut rows: Vec<WorkloadSample<'_>> = Vec::new();
    let mut places = BTreeMap::new();
    for (workload, stats) in workloads {
        let place = *places.entry(&workload.name).or_insert(rows.len());
        match rows.get_mut(place) {
            None => rows.push(sample(workload, stats)),
            Some(sum) => sum.add(&sample(workload, stats)),
        }
    }
    rows
}

fn sample<'a>(workload: &'a Workload, stats: &WorkloadStats) -> WorkloadSample<'a> {
    WorkloadSample {
        name: workload.name.as_str(),
        connections: outcomes(stats),
        requests: stats.requests,
        responses: stats.responses,
        lost: stats.lost.total(),
        response_time: stats.request_latency.sum_nanos(),
        operations: stats.operations.attempted,
        operations_failed: stats.operations.failed,
        retries: stats.operations.retries,
        dead_borrows: stats.pool.dead_borrows,
    }
}

fn destinations(copies: &[&Workload], stats: &WorkloadStats) -> Vec<DestinationSummary> {
    let destinations = copies.iter().flat_map(|workload| workload.destinations());
    let rows = destinations.zip(&stats.destinations);
    rows.map(|((_, destination), row)| DestinationSummary {
        name: destination.name(),
        attempted: row.attempted,
        failed: row.failed,
    })
    .collect()
}

fn operations(stats: &WorkloadStats) -> Operations {
    let operations = &stats.operations;
    Operations {
        attempted: operations.attempted,
        succeeded: operations.succeeded,
        failed: operations.failed,
        pending: operations.pending,
        retries: operations.retries,
        failed_by_connect: operations.failed_by.connect,
        failed_by_reset: operations.failed_by.reset,
        failed_by_timeout: operations.failed_by.timeout,
        failed_by_borrow_timeout: operations.failed_by.borrow_timeout,
        latency: latency(&operations.latency),
    }
}

fn pool(stats: &WorkloadStats) -> PoolSummary {
    let pool = &stats.pool;
    PoolSummary {
        borrows: pool.borrows,
        lent: pool.lent,
        waiting: pool.waiting,
        dead_borrows: pool.dead_borrows,
        dead_connections: pool.dead_connections,
        dead_requests: pool.dead_requests,
        dead_by_silence: pool.dead_by_silence,
        validations: pool.validations,
        validations_failed: pool.validations_failed,
        evicted: pool.evicted,
        retired: pool.retired,
        borrow_latency: latency(&pool.borrow_latency),
        rested_alive: latency(&pool.rested_alive),
        rested_dead: latency(&pool.rested_dead),
    }
}

fn latency(histogram: &Histogram) -> Latency {
    // Nothing measured: the count of zero says so.
    let or_zero = Option::unwrap_or_default;
    Latency {
        count: histogram.count(),
        min: or_zero(histogram.min()),
        mean: or_zero(histogram.mean()),
        p50: or_zero(histogram.quantile(500)),
        p90: or_zero(histogram.quantile(900)),
        p99: or_zero(histogram.quantile(990)),
        p999: or_zero(histogram.quantile(999)),
        max: or_zero(histogram.max()),
        buckets: histogram.buckets().collect(),
    }
}
