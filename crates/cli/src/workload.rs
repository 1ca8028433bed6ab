use plsim::numbers::{grouped, percent};
use plsim::{Summary, WorkloadSummary};

use crate::page::{Column, Page};
use crate::text::{ROWS, max, p50, p99};

type Count = fn(&WorkloadSummary) -> u64;

/// What became of requests: head, and how many.
const REQUESTS: [(&str, Count); 8] = [
    ("timed out", |row| row.lost_by.timeout),
    ("reset", |row| row.lost_by.reset),
    ("idle expired", |row| row.lost_by.idle_expired),
    ("closed", |row| row.lost_by.closed),
    ("VM down", |row| row.lost_by.vm_down),
    ("awaiting", |row| row.awaiting),
    ("messages", |row| row.messages),
    ("missed", |row| {
        row.messages_due.saturating_sub(row.messages)
    }),
];

/// Why operations failed.
const FAILURES: [(&str, Count); 4] = [
    ("no connection", |row| row.operations.failed_by_connect),
    ("connection ended", |row| row.operations.failed_by_reset),
    ("no response", |row| row.operations.failed_by_timeout),
    ("no loan", |row| row.operations.failed_by_borrow_timeout),
];

impl Page {
    /// What clients suffered, where they did or where the scenario asks for more than connections.
    pub(crate) fn workloads(&mut self, summary: &Summary) {
        self.destinations(summary);
        self.requests(summary);
        self.operations(summary);
        self.pools(summary);
        self.streams(summary);
    }

    /// Where connections went, of the workloads that have a choice.
    fn destinations(&mut self, summary: &Summary) {
        let workloads = summary.workloads.iter();
        let several = workloads.filter(|row| row.destinations.len() > 1);
        let rows: Vec<_> = several
            .flat_map(|row| row.destinations.iter().map(move |place| (row, place)))
            .collect();
        if rows.is_empty() {
            return;
        }
        self.section("Destinations", "where the connections of workloads went");
        let total = rows.len();
        let rows: Vec<_> = rows.into_iter().take(ROWS).collect();
        let columns = vec![
            Column::name("workload", 0, &rows, |row| row.0.name.clone()),
            Column::name("destination", 0, &rows, |row| row.1.name.clone()),
            Column::number("attempted", 0, &rows, |row| grouped(row.1.attempted)),
            Column::number("%", 0, &rows, |row| {
                percent(row.1.attempted, row.0.connections.attempted)
            }),
            Column::number("failed", 0, &rows, |row| grouped(row.1.failed)),
        ];
        self.table(columns, total);
    }

    fn requests(&mut self, summary: &Summary) {
        let rows = summary.workloads.iter();
        let rows: Vec<_> = rows.filter(|row| row.requests > 0).collect();
        let total = rows.len();
        let rows: Vec<_> = rows.into_iter().take(ROWS).collect();
        if rows.is_empty() {
            return;
        }
        self.section(
            "Requests",
            "by workload, from a request to its response; noticed: to the error that told it was lost",
        );
        let mut columns = vec![
            Column::name("workload", 0, &rows, |row| row.name.clone()),
            Column::number("sent", 0, &rows, |row| grouped(row.requests)),
            Column::number("answered", 0, &rows, |row| grouped(row.responses)),
        ];
        for (head, count) in REQUESTS {
            if rows.iter().any(|row| count(row) > 0) {
                columns.push(Column::number(head, 0, &rows, |row| grouped(count(row))));
            }
        }
        columns.extend([
            Column::number("p50", 1, &rows, |row| p50(&row.request_latency)),
            Column::number("p99", 2, &rows, |row| p99(&row.request_latency)),
            Column::number("max", 1, &rows, |row| max(&row.request_latency)),
        ]);
        if rows.iter().any(|row| row.detection.count > 0) {
            columns.extend([
                Column::number("noticed p50", 1, &rows, |row| p50(&row.detection)),
                Column::number("noticed max", 2, &rows, |row| max(&row.detection)),
            ]);
        }
        self.table(columns, total);
    }

    fn operations(&mut self, summary: &Summary) {
        let rows = summary.workloads.iter();
        let rows: Vec<_> = rows.filter(|row| row.operations.attempted > 0).collect();
        let total = rows.len();
        let rows: Vec<_> = rows.into_iter().take(ROWS).collect();
        if rows.is_empty() {
            return;
        }
        self.section(
            "Operations",
            "a request with all its repetitions, from its begin",
        );
        let mut columns = vec![
            Column::name("workload", 0, &rows, |row| row.name.clone()),
            Column::number("attempted", 0, &rows, |row| {
                grouped(row.operations.attempted)
            }),
            Column::number("succeeded", 0, &rows, |row| {
                grouped(row.operations.succeeded)
            }),
            Column::number("failed", 0, &rows, |row| grouped(row.operations.failed)),
        ];
        if rows.iter().any(|row| row.operations.pending > 0) {
            columns.push(Column::number("pending", 0, &rows, |row| {
                grouped(row.operations.pending)
            }));
        }
        for (head, count) in FAILURES {
            if rows.iter().any(|row| count(row) > 0) {
                columns.push(Column::number(head, 1, &rows, |row| grouped(count(row))));
            }
        }
        columns.extend([
            Column::number("retries", 0, &rows, |row| grouped(row.operations.retries)),
            Column::number("p50", 1, &rows, |row| p50(&row.operations.latency)),
            Column::number("p99", 2, &rows, |row| p99(&row.operations.latency)),
        ]);
        self.table(columns, total);
    }

    fn pools(&mut self, summary: &Summary) {
        let rows = summary.workloads.iter();
        let rows: Vec<_> = rows
            .filter_map(|row| Some((row.name.clone(), row.pool.as_ref()?)))
            .collect();
        if rows.is_empty() {
            return;
        }
        self.section(
            "Pools",
            "dead: borrows that met a dead connection, one or several",
        );
        let total = rows.len();
        let rows: Vec<_> = rows.iter().take(ROWS).collect();
        let columns = vec![
            Column::name("workload", 0, &rows, |row| row.0.clone()),
            Column::number("borrows", 0, &rows, |row| grouped(row.1.borrows)),
            Column::number("lent", 1, &rows, |row| grouped(row.1.lent)),
            Column::number("dead", 0, &rows, |row| grouped(row.1.dead_borrows)),
            Column::number("%", 0, &rows, |row| {
                percent(row.1.dead_borrows, row.1.borrows)
            }),
            Column::number("met by request", 0, &rows, |row| {
                grouped(row.1.dead_requests)
            }),
            Column::number("tests", 2, &rows, |row| grouped(row.1.validations)),
            Column::number("evicted", 2, &rows, |row| grouped(row.1.evicted)),
            Column::number("retired", 2, &rows, |row| grouped(row.1.retired)),
            Column::number("wait p99", 1, &rows, |row| p99(&row.1.borrow_latency)),
        ];
        self.table(columns, total);
    }

    fn streams(&mut self, summary: &Summary) {
        let rows = summary.workloads.iter();
        let rows: Vec<_> = rows.filter(|row| row.packets_sent > 0).collect();
        if rows.is_empty() {
            return;
        }
        self.section("UDP streams", "packets");
        let total = rows.len();
        let rows: Vec<_> = rows.into_iter().take(ROWS).collect();
        let columns = vec![
            Column::name("workload", 0, &rows, |row| row.name.clone()),
            Column::number("sent", 0, &rows, |row| grouped(row.packets_sent)),
            Column::number("echoed", 0, &rows, |row| grouped(row.packets_echoed)),
        ];
        self.table(columns, total);
    }
}
