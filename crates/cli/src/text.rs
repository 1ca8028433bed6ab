use plsim::numbers::{self, grouped, percent};
use plsim::{Latency, NatSummary, ProbeSummary, Summary, WorkloadSummary};
use plsim_types::{Duration, Instant, Protocol};

use crate::idle::service;
use crate::page::{Column, Page};
use crate::terminal::{Styles, Terminal};

/// The most rows of one table; the summary file has them all.
pub(crate) const ROWS: usize = 16;

/// Writes the result of a run for people.
pub(crate) fn summary(summary: &Summary, terminal: &Terminal) -> String {
    let mut page = Page::new(terminal);
    page.head(summary);
    page.connections(summary);
    page.workloads(summary);
    page.nat_ports(summary);
    page.idle_ceilings(&summary.idle);
    page.distribution(summary);
    page.membership(summary);
    page.probes(summary);
    page.outages(summary);
    page.refusals(summary);
    page.links(summary);
    page.packets(summary);
    page.findings(summary);
    page.expectations(summary);
    page.finish()
}

impl Page {
    fn head(&mut self, summary: &Summary) {
        let Styles {
            strong, dim, note, ..
        } = self.styles;
        let title = if summary.title.is_empty() { "" } else { ": " };
        self.line(&format!(
            "{strong}{}{title}{}{strong:#}",
            summary.scenario, summary.title
        ));
        let time = summary.virtual_time.since(Instant::ZERO);
        let digest = summary.digest.to_string();
        self.line(&format!(
            "{dim}{time} of virtual time, seed {}, digest {}{dim:#}",
            summary.seed,
            &digest[..digest.len().min(16)]
        ));
        if !summary.complete {
            self.line(&format!(
                "{note}Ended early: this is not the whole run.{note:#}"
            ));
        }
    }

    fn connections(&mut self, summary: &Summary) {
        self.section(
            "Connections",
            "by workload; each attempt is in exactly one column",
        );
        let rows: Vec<&WorkloadSummary> = summary.workloads.iter().take(ROWS).collect();
        let mut columns = vec![Column::name("workload", 0, &rows, |row| row.name.clone())];
        for (head, always, count) in OUTCOMES {
            // A column of noughts says nothing, except where its absence would puzzle.
            if always || summary.workloads.iter().any(|row| count(row) > 0) {
                columns.push(Column::number(head, 0, &rows, |row| grouped(count(row))));
            }
        }
        for (head, rank, time) in LATENCIES {
            columns.push(Column::number(head, rank, &rows, |row| {
                connecting(row, time)
            }));
        }
        self.table(columns, summary.workloads.len());
    }

    fn nat_ports(&mut self, summary: &Summary) {
        if summary.nat.is_empty() {
            return;
        }
        let are_sums = summary.nat.iter().any(|row| row.spaces > 1);
        self.section(
            "NAT ports",
            match are_sums {
                false => "one space for each NAT IP, VM and protocol; peak counts in use and held",
                true => {
                    "sums over the spaces of all backend ports; peak % is of the fullest, for the port shown"
                }
            },
        );
        let mut rows: Vec<&NatSummary> = summary.nat.iter().collect();
        // The fullest first, so that what is cut off matters least; otherwise as in the file.
        if rows.len() > ROWS {
            rows.sort_by_key(|row| std::cmp::Reverse(row.fullest_peak));
        }
        let total = rows.len();
        rows.truncate(ROWS);
        let number = |count: u32| grouped(u64::from(count));
        let mut columns = vec![
            Column::name("service", 3, &rows, |row| row.pls.clone()),
            Column::name("NAT IP", 0, &rows, |row| row.nat_ip.to_string()),
            Column::name("VM", 0, &rows, |row| row.backend.clone()),
            Column::name("protocol", 2, &rows, |row| row.protocol.to_string()),
            Column::number("ports", 1, &rows, |row| number(row.capacity)),
            Column::number("in use", 0, &rows, |row| number(row.in_use)),
            Column::number("held", 0, &rows, |row| number(row.held)),
            Column::number("peak", 0, &rows, |row| number(row.peak)),
            Column::number("peak %", 0, &rows, |row| {
                percent(u64::from(row.fullest_peak), u64::from(row.space_capacity()))
            }),
            Column::number("peak at", 4, &rows, |row| {
                row.peak_at
                    .map_or_else(|| "-".to_owned(), |at| rounded(at.since(Instant::ZERO)))
            }),
            Column::number("failed binds", 5, &rows, |row| grouped(row.bind_failures)),
            Column::number("first full at", 0, &rows, |row| {
                row.first_exhausted
                    .map_or_else(|| "-".to_owned(), |at| at.to_string())
            }),
        ];
        columns.push(Column::number("bound", 6, &rows, |row| grouped(row.binds)));
        for (head, count) in PORT_COUNTS {
            if rows.iter().any(|row| count(row) > 0) {
                columns.push(Column::number(head, 7, &rows, |row| grouped(count(row))));
            }
        }
        if are_sums {
            let port = |row: &&NatSummary| row.fullest_backend_port.map(|port| port.to_string());
            let port = |row: &&NatSummary| port(row).unwrap_or_else(|| "-".to_owned());
            columns.insert(8, Column::number("fullest", 0, &rows, port));
        }
        if rows.iter().any(|row| row.reserved_peak > 0) {
            let reserved = |row: &&NatSummary| number(row.reserved_peak);
            columns.insert(5, Column::number("most reserved", 0, &rows, reserved));
        }
        self.table(columns, total);
        if total > ROWS {
            self.nat_ports_by_service(summary);
        }
    }

    /// Where not all port spaces are shown: what they come to.
    fn nat_ports_by_service(&mut self, summary: &Summary) {
        let mut services: Vec<(&str, Protocol)> = Vec::new();
        for row in &summary.nat {
            let service = (row.pls.as_str(), row.protocol);
            if !services.contains(&service) {
                services.push(service);
            }
        }
        let sum_of = |service: &(&str, Protocol), count: fn(&NatSummary) -> u64| -> u64 {
            let rows = summary.nat.iter();
            let own = rows.filter(|row| (row.pls.as_str(), row.protocol) == *service);
            own.map(count).sum()
        };
        let total = services.len();
        services.sort_by_cached_key(|service| {
            std::cmp::Reverse(sum_of(service, |row| u64::from(row.peak)))
        });
        services.truncate(ROWS);
        let mut columns = vec![
            Column::name("in all: service", 0, &services, |(name, _)| {
                (*name).to_owned()
            }),
            Column::name("protocol", 2, &services, |(_, protocol)| {
                protocol.to_string()
            }),
        ];
        let mut sum = |head: &str, count: fn(&NatSummary) -> u64| {
            columns.push(Column::number(head, 0, &services, |service| {
                grouped(sum_of(service, count))
            }));
        };
        sum("rows", |_| 1);
        sum("ports", |row| u64::from(row.capacity));
        sum("in use", |row| u64::from(row.in_use));
        sum("held", |row| u64::from(row.held));
        sum("sum of peaks", |row| u64::from(row.peak));
        sum("failed binds", |row| row.bind_failures);
        self.table(columns, total);
    }

    fn probes(&mut self, summary: &Summary) {
        if summary.probes.is_empty() {
            return;
        }
        self.section(
            "Health probes",
            "of each VM, from its host; found after: a fault's age when the VM first went down",
        );
        let mut rows: Vec<&ProbeSummary> = summary.probes.iter().collect();
        if rows.len() > ROWS {
            rows.sort_by_key(|row| row.availability());
        }
        let total = rows.len();
        rows.truncate(ROWS);
        let or_dash = |text: Option<String>| text.unwrap_or("-".to_owned());
        let columns = vec![
            Column::name("probe", 0, &rows, |row| row.probe.clone()),
            Column::name("load balancer", 4, &rows, |row| row.load_balancer.clone()),
            Column::name("VM", 0, &rows, |row| row.backend.clone()),
            Column::name("asks", 2, &rows, |row| {
                format!("{} {}", row.protocol, row.port)
            }),
            Column::number("sent", 1, &rows, |row| grouped(row.sent)),
            Column::number("failed", 0, &rows, |row| grouped(row.failed)),
            Column::number("healthy", 0, &rows, |row| {
                percent(row.availability(), 10_000)
            }),
            Column::name("now", 0, &rows, |row| {
                match (row.is_stopped, row.up) {
                    (true, _) => "stopped",
                    (false, true) => "up",
                    (false, false) => "down",
                }
                .to_owned()
            }),
            Column::number("went down", 0, &rows, |row| grouped(row.went_down)),
            Column::number("first at", 0, &rows, |row| {
                or_dash(row.first_down.map(|at| rounded(at.since(Instant::ZERO))))
            }),
            Column::number("found after", 3, &rows, |row| {
                or_dash(row.detected_after.map(rounded))
            }),
        ];
        self.table(columns, total);
    }

    fn refusals(&mut self, summary: &Summary) {
        if summary.refusals.is_empty() {
            return;
        }
        self.section("Refused", "");
        let rows: Vec<_> = summary.refusals.iter().take(ROWS).collect();
        let columns = vec![
            Column::name("reason", 0, &rows, |row| row.reason.name().to_owned()),
            Column::name("service", 0, &rows, |row| service(&row.pls)),
            Column::name("VM", 0, &rows, |row| {
                row.backend.clone().unwrap_or("-".to_owned())
            }),
            Column::name("protocol", 1, &rows, |row| row.protocol.to_string()),
            Column::number("connections", 0, &rows, |row| grouped(row.connections)),
            Column::number("packets", 2, &rows, |row| grouped(row.packets)),
            Column::number("first at", 0, &rows, |row| row.first.to_string()),
        ];
        self.table(columns, summary.refusals.len());
    }

    fn packets(&mut self, summary: &Summary) {
        let ledger = &summary.ledger;
        self.section("Packets", "injected = delivered + dropped + in flight");
        self.line(&format!(
            "  {} = {} + {} + {}",
            grouped(ledger.injected()),
            grouped(ledger.delivered),
            grouped(ledger.dropped()),
            grouped(summary.in_flight)
        ));
        if ledger.injected_by.duplicate > 0 {
            let copies = grouped(ledger.injected_by.duplicate);
            self.line(&format!("  {copies} of them are copies that links made"));
        }
        for (reason, packets) in ledger.drops() {
            let Styles { dim, .. } = self.styles;
            let explanation = reason.explanation();
            let packets = grouped(packets);
            self.line(&format!(
                "  {packets:>12} {reason}  {dim}{explanation}{dim:#}"
            ));
        }
    }

    fn expectations(&mut self, summary: &Summary) {
        let all = summary.expectations.len();
        if all == 0 {
            return;
        }
        let met = summary
            .expectations
            .iter()
            .filter(|verdict| verdict.passed)
            .count();
        self.section("Expectations", &format!("{met} of {all} met"));
        let Styles { good, bad, dim, .. } = self.styles;
        for verdict in &summary.expectations {
            if verdict.passed {
                self.line(&format!("  {good}ok{good:#}    {}", verdict.text));
                continue;
            }
            let actual = verdict.actual_text();
            self.line(&format!(
                "  {bad}FAIL{bad:#}  {}, but it is {actual}",
                verdict.text
            ));
            if let Some(note) = &verdict.note {
                self.line(&format!("        {dim}{note}{dim:#}"));
            }
        }
    }
}

/// What ended at a NAT IP and VM other than as it should: head, and how many.
const PORT_COUNTS: [(&str, PortCount); 6] = [
    ("gave up", |row| row.gave_up),
    ("idled out", |row| row.expired_idle),
    ("half-closed", |row| row.expired_half_closed),
    ("unanswered", |row| row.expired_half_open),
    ("LB idle", |row| row.lb_idle),
    ("reused", |row| row.reused_held),
];

type PortCount = fn(&NatSummary) -> u64;
type Count = fn(&WorkloadSummary) -> u64;
type Time = fn(&Latency) -> String;

/// Where a connection can stand: head, whether it is shown even if it is nought, and how many.
const OUTCOMES: [(&str, bool, Count); 10] = [
    ("attempted", true, |row| row.connections.attempted),
    ("open", true, |row| {
        row.connections.established - row.closing
    }),
    ("closing", false, |row| row.closing),
    ("closed", true, |row| row.connections.closed),
    ("reset", false, |row| row.connections.reset),
    ("idle expired", false, |row| row.connections.idle_expired),
    ("timed out", false, |row| row.connections.timed_out),
    ("VM down", false, |row| row.connections.vm_down),
    ("connecting", false, |row| row.connections.connecting),
    ("failed", true, |row| row.connections.failed),
];

const LATENCIES: [(&str, u8, Time); 3] =
    [("connect p50", 1, p50), ("p99", 2, p99), ("max", 3, max)];

/// How long connecting took; a UDP flow needs no handshake.
fn connecting(row: &WorkloadSummary, time: Time) -> String {
    match row.protocol {
        "udp" => "-".to_owned(),
        _ => time(&row.connect_latency),
    }
}

/// Writes the median of a distribution.
pub(crate) fn p50(latency: &Latency) -> String {
    quantile(latency, latency.p50)
}

/// Writes what 99 of 100 do not exceed.
pub(crate) fn p99(latency: &Latency) -> String {
    quantile(latency, latency.p99)
}

/// Writes the longest time of a distribution, which is exact.
pub(crate) fn max(latency: &Latency) -> String {
    or_dash(latency, latency.max)
}

/// Writes a quantile with the digits that are certain: it is within the ends, which are exact.
fn quantile(latency: &Latency, span: Duration) -> String {
    let span = numbers::approximate(span);
    or_dash(latency, span.clamp(latency.min, latency.max))
}

fn or_dash(latency: &Latency, span: Duration) -> String {
    match latency.count {
        0 => "-".to_owned(),
        _ => rounded(span),
    }
}

/// Writes a time as the eye can use it.
pub(crate) fn rounded(span: Duration) -> String {
    numbers::rounded(span).to_string()
}
