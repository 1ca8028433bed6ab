//! What became of workloads, and what their clients suffered.

use std::borrow::Cow;
use std::collections::BTreeMap;

use plsim_host::{Histogram, WorkloadStats};
use plsim_observe::{
    DestinationSummary, FailedBy, Latency, LostBy, Operations, PoolSummary, WorkloadSummary,
};
use plsim_scenario::{Workload, WorkloadModel};

use crate::summarise::outcomes;

/// Sums up all workloads, each with its statistics and how many connections wait in vain; copies with one
/// name are added up.
pub(crate) fn summaries<'a>(
    workloads: impl Iterator<Item = (&'a Workload, &'a WorkloadStats, u64)>,
) -> Vec<WorkloadSummary> {
    let mut rows: Vec<(Vec<&Workload>, Cow<'_, WorkloadStats>, u64)> = Vec::new();
    let mut places = BTreeMap::new();
    for (workload, stats, vain) in workloads {
        let place = *places.entry(&workload.name).or_insert(rows.len());
        match rows.get_mut(place) {
            None => rows.push((vec![workload], Cow::Borrowed(stats), vain)),
            Some((copies, sum, in_vain)) => {
                copies.push(workload);
                sum.to_mut().add(stats);
                *in_vain += vain;
            }
        }
    }
    let rows = rows.iter();
    rows.map(|(copies, stats, vain)| summary(copies, stats, *vain))
        .collect()
}

/// Sums up the copies of one workload.
fn summary(copies: &[&Workload], stats: &WorkloadStats, waiting_in_vain: u64) -> WorkloadSummary {
    let workload = copies[0];
    WorkloadSummary {
        name: workload.name.to_string(),
        model: workload.model.name(),
        connections: outcomes(stats),
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
        retransmissions: stats.retransmissions,
        connect_latency: latency(&stats.connect_latency),
        connect_failure: latency(&stats.connect_failure),
        request_latency: latency(&stats.request_latency),
        scheduled_latency: latency(&stats.scheduled_latency),
        detection: latency(&stats.detection),
        idle_detection: latency(&stats.idle_detection),
        messages: stats.messages,
        packets_sent: stats.stream.sent,
        packets_echoed: stats.stream.echoed,
        operations: operations(stats),
        pool: (workload.model == WorkloadModel::Pool).then(|| pool(stats)),
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
