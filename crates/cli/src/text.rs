use std::fmt::Write;

use comfy_table::{Cell, CellAlignment, ColumnConstraint, Table, presets};
use plsim::numbers::{counted, grouped, percent};
use plsim::{NatSummary, Summary, WorkloadSummary, findings};
use plsim_scenario::Scenario;
use plsim_types::{Duration, Instant};

use crate::terminal::Styles;

/// The most rows of one table; the summary file has them all.
const ROWS: usize = 16;

/// Writes the result of a run for people.
pub(crate) fn summary(scenario: &Scenario, summary: &Summary, styles: &Styles) -> String {
    let mut page = Page {
        text: String::new(),
        styles,
    };
    page.head(summary);
    page.connections(summary);
    page.nat_ports(summary);
    page.refusals(summary);
    page.packets(summary);
    page.findings(scenario, summary);
    page.expectations(summary);
    page.text
}

struct Page<'a> {
    text: String,
    styles: &'a Styles,
}

impl Page<'_> {
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

    fn section(&mut self, title: &str, remark: &str) {
        let Styles { strong, dim, .. } = self.styles;
        let gap = if remark.is_empty() { "" } else { "  " };
        self.line("");
        self.line(&format!(
            "{strong}{title}{strong:#}{gap}{dim}{remark}{dim:#}"
        ));
    }

    fn connections(&mut self, summary: &Summary) {
        self.section(
            "Connections",
            "by workload; each attempt is in exactly one column",
        );
        let rows: Vec<&WorkloadSummary> = summary.workloads.iter().take(ROWS).collect();
        let mut columns = vec![rows.iter().map(|row| row.name.clone()).collect::<Vec<_>>()];
        let mut heads = vec!["workload"];
        for (head, always, count) in OUTCOMES {
            // A column of noughts says nothing, except where its absence would puzzle.
            if always || summary.workloads.iter().any(|row| count(row) > 0) {
                heads.push(head);
                columns.push(rows.iter().map(|row| grouped(count(row))).collect());
            }
        }
        for (head, time) in LATENCIES {
            heads.push(head);
            columns.push(rows.iter().map(|row| latency(row, time)).collect());
        }
        let mut table = new_table(&heads, 1);
        for index in 0..rows.len() {
            let cells: Vec<String> = columns.iter().map(|column| column[index].clone()).collect();
            table.add_row(numbered(&[&cells[0]], &cells[1..]));
        }
        self.table(&table, summary.workloads.len());
    }

    fn nat_ports(&mut self, summary: &Summary) {
        self.section(
            "NAT ports",
            "one space for each NAT IP, backend VM and protocol",
        );
        let heads = [
            "service",
            "NAT IP",
            "VM",
            "protocol",
            "ports",
            "in use",
            "held",
            "peak",
            "peak %",
            "failed binds",
            "first full at",
        ];
        let mut table = new_table(&heads, 4);
        let mut rows: Vec<&NatSummary> = summary.nat.iter().collect();
        // The fullest first, so that what is cut off matters least; otherwise as in the file.
        if rows.len() > ROWS {
            rows.sort_by_key(|row| std::cmp::Reverse(row.peak));
        }
        for row in rows.iter().take(ROWS) {
            table.add_row(nat_cells(row));
        }
        self.table(&table, rows.len());
    }

    fn refusals(&mut self, summary: &Summary) {
        if summary.refusals.is_empty() {
            return;
        }
        self.section("Refused", "");
        let heads = [
            "reason",
            "service",
            "VM",
            "protocol",
            "connections",
            "packets",
            "first at",
        ];
        let mut table = new_table(&heads, 4);
        for row in summary.refusals.iter().take(ROWS) {
            table.add_row(numbered(
                &[
                    row.reason.name(),
                    &row.pls,
                    row.backend.as_deref().unwrap_or("-"),
                    row.protocol.name(),
                ],
                &[
                    grouped(row.connections),
                    grouped(row.packets),
                    row.first.since(Instant::ZERO).to_string(),
                ],
            ));
        }
        self.table(&table, summary.refusals.len());
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
        for (reason, packets) in ledger.drops() {
            let Styles { dim, .. } = self.styles;
            let explanation = reason.explanation();
            let packets = grouped(packets);
            self.line(&format!(
                "  {packets:>12} {reason}  {dim}{explanation}{dim:#}"
            ));
        }
    }

    fn findings(&mut self, scenario: &Scenario, summary: &Summary) {
        let found = findings(scenario, summary);
        if found.is_empty() {
            return;
        }
        self.section("What happened, and what would help", "");
        let Styles { note, .. } = *self.styles;
        for finding in found {
            self.wrapped(&format!("{note}!{note:#} "), &finding.what);
            for help in finding.help {
                self.wrapped("  - ", &help);
            }
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
        let Styles { good, bad, dim, .. } = *self.styles;
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

    fn table(&mut self, table: &Table, rows: usize) {
        for line in table.lines() {
            self.line(&format!("  {}", line.trim_end()));
        }
        if rows > ROWS {
            let more = counted((rows - ROWS) as u64, "more row");
            self.line(&format!("  ... {more}; summary.json has all"));
        }
    }

    fn wrapped(&mut self, mark: &str, text: &str) {
        const WIDTH: usize = 94;
        let mut line = format!("  {mark}");
        let indent = if mark.starts_with(' ') { 6 } else { 4 };
        let mut used = indent;
        for word in text.split(' ') {
            if used + word.len() > WIDTH {
                self.line(line.trim_end());
                line = " ".repeat(indent);
                used = indent;
            }
            used += word.len() + 1;
            line.push_str(word);
            line.push(' ');
        }
        self.line(line.trim_end());
    }

    fn line(&mut self, text: &str) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.text, "{text}");
    }
}

type Count = fn(&WorkloadSummary) -> u64;
type Time = fn(&WorkloadSummary) -> Duration;

/// Where a connection can stand: head, whether it is shown even if it is nought, and how many.
const OUTCOMES: [(&str, bool, Count); 8] = [
    ("attempted", true, |row| row.connections.attempted),
    ("open", true, |row| row.connections.established),
    ("closed", true, |row| row.connections.closed),
    ("reset", false, |row| row.connections.reset),
    ("idle expired", false, |row| row.connections.idle_expired),
    ("timed out", false, |row| row.connections.timed_out),
    ("connecting", false, |row| row.connections.connecting),
    ("failed", true, |row| row.connections.failed),
];

const LATENCIES: [(&str, Time); 2] = [
    ("connect p50", |row| row.connect_latency.p50),
    ("p99", |row| row.connect_latency.p99),
];

fn latency(row: &WorkloadSummary, time: Time) -> String {
    match row.connect_latency.count {
        0 => "-".to_owned(),
        _ => rounded(time(row)),
    }
}

fn nat_cells(row: &NatSummary) -> Vec<Cell> {
    let since = row
        .first_exhausted
        .map(|at| at.since(Instant::ZERO).to_string());
    numbered(
        &[
            &row.pls,
            &row.nat_ip.to_string(),
            &row.backend,
            row.protocol.name(),
        ],
        &[
            grouped(u64::from(row.capacity)),
            grouped(u64::from(row.in_use)),
            grouped(u64::from(row.held)),
            grouped(u64::from(row.peak)),
            percent(u64::from(row.peak), u64::from(row.capacity)),
            grouped(row.bind_failures),
            since.unwrap_or_else(|| "-".to_owned()),
        ],
    )
}

/// Rounds a time to what the eye can use: three digits after the point.
fn rounded(span: Duration) -> String {
    let nanos = span.as_nanos();
    let unit = match nanos {
        0..1_000 => 1,
        1_000..1_000_000 => 1_000,
        1_000_000..1_000_000_000 => 1_000_000,
        _ => 1_000_000_000,
    };
    let step = (unit / 1_000).max(1);
    Duration::from_nanos(nanos / step * step).to_string()
}

/// Builds the cells of a row: names to the left, numbers to the right.
fn numbered(names: &[&str], numbers: &[String]) -> Vec<Cell> {
    let names = names.iter().map(Cell::new);
    let numbers = numbers
        .iter()
        .map(|number| Cell::new(number).set_alignment(CellAlignment::Right));
    names.chain(numbers).collect()
}

/// Builds a table whose first columns are names and whose others are numbers.
fn new_table(heads: &[&str], names: usize) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    let cells = heads.iter().enumerate().map(|(index, head)| {
        let cell = Cell::new(head);
        if index < names {
            cell
        } else {
            cell.set_alignment(CellAlignment::Right)
        }
    });
    table.set_header(cells.collect::<Vec<_>>());
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
        column.set_constraint(ColumnConstraint::ContentWidth);
    }
    table
}
