use std::fmt::Write as _;

use plsim_observe::Value;

use crate::case::{Laboratory, Measurement};
use crate::exact::Exact;
use crate::plot;
use crate::timing::Spread;
use crate::workload::Workload;

/// The name and version of the format of the results; keys may be added under the same version.
pub const SCHEMA: &str = "plsim-bench-ports/1";

/// What a laboratory found out.
#[derive(Debug, Clone, PartialEq)]
pub struct Results {
    /// The version of plsim.
    pub plsim_version: String,
    /// What was to be measured.
    pub laboratory: Laboratory,
    /// What was measured, in the order of [`Laboratory::cases`]; not all if it ended early.
    pub measurements: Vec<Measurement>,
}

impl Results {
    /// Tells whether every case was measured.
    #[must_use]
    pub fn complete(&self) -> bool {
        self.measurements.len() == self.laboratory.cases().len()
    }

    /// Writes everything as JSON. What depends on the machine stands under the key `timing` of
    /// each case; all else is the same for the same arguments and seed.
    #[must_use]
    pub fn to_json(&self) -> String {
        let laboratory = &self.laboratory;
        let document = object([
            ("schema", SCHEMA.into()),
            ("plsim_version", self.plsim_version.clone().into()),
            ("seed", laboratory.seed.into()),
            ("nat_ips", laboratory.nat_ips.into()),
            ("vms", laboratory.vms.into()),
            ("ports", laboratory.ports.into()),
            ("complete", self.complete().into()),
            (
                "cases",
                self.measurements
                    .iter()
                    .map(case)
                    .collect::<Vec<_>>()
                    .into(),
            ),
        ]);
        format!("{document:#}\n")
    }

    /// Writes one row for each case as CSV (RFC 4180, lines end with LF). The columns of time end
    /// with `_ns` or `_per_s`; what does not apply is empty.
    #[must_use]
    pub fn to_csv(&self) -> String {
        let mut text = String::new();
        let heads = COLUMNS.map(|(head, _)| head);
        text.push_str(&heads.join(","));
        text.push('\n');
        for measurement in &self.measurements {
            let cells = COLUMNS.map(|(_, cell)| cell(measurement));
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{}", cells.join(","));
        }
        text
    }

    /// Draws the time of a connection over the occupancy as SVG, for the first workload that has
    /// occupancies; `None` if none has.
    #[must_use]
    pub fn to_svg(&self) -> Option<String> {
        plot::draw(self)
    }

    /// Returns the workloads that were measured, in their order.
    #[must_use]
    pub fn workloads(&self) -> Vec<Workload> {
        let mut found = Vec::new();
        for measurement in &self.measurements {
            if !found.contains(&measurement.case.workload) {
                found.push(measurement.case.workload);
            }
        }
        found
    }
}

fn case(measurement: &Measurement) -> Value {
    let Measurement {
        case,
        exact,
        timing,
    } = measurement;
    let occupancy = case
        .workload
        .keeps_occupancy()
        .then(|| case.occupancy.to_text());
    let reuse = exact.reuse.map(|reuse| {
        object([
            ("minimum", reuse.minimum.into()),
            ("median", reuse.median.into()),
        ])
    });
    object([
        ("workload", case.workload.name().into()),
        ("allocator", case.allocation.name().into()),
        ("source", case.allocation.source().into()),
        ("occupancy", occupancy.into()),
        ("spaces", timing.spaces.into()),
        ("ports_wanted", exact.wanted.into()),
        ("ports_in_use", exact.used.into()),
        ("history", exact.history.into()),
        ("attempts", exact.attempts.made.into()),
        ("allocated", exact.attempts.allocated.into()),
        ("refused_full", exact.attempts.full.into()),
        ("refused_while_free", exact.attempts.gave_up.into()),
        (
            "probes",
            object([
                ("mean", exact.attempts.mean_probes().into()),
                ("most", exact.attempts.most_probes.into()),
            ]),
        ),
        ("reuse_distance", reuse.into()),
        ("prediction", prediction(exact).into()),
        (
            "connection_tracking_table_capacity",
            exact.first_refusal.into(),
        ),
        ("memory_bytes", exact.memory_bytes.into()),
        (
            "timing",
            object([
                ("pair_ns", timing.pair.map(spread).into()),
                ("allocate_ns", timing.allocate.map(spread).into()),
                ("release_ns", timing.release.map(spread).into()),
                (
                    "maximum_connection_establishment_rate",
                    rate(timing.allocate).into(),
                ),
                ("connection_tear_down_rate", rate(timing.release).into()),
            ]),
        ),
    ])
}

fn prediction(exact: &Exact) -> Option<Value> {
    let prediction = exact.prediction?;
    Some(object([
        ("judged", prediction.judged.into()),
        ("guesser", prediction.guesser.name().into()),
        ("guessed", prediction.guessed().into()),
        ("chance", prediction.chance.into()),
        ("guess_z", prediction.guess_z.into()),
        ("runs_z", prediction.runs_z.into()),
        ("verdict", prediction.verdict().name().into()),
    ]))
}

fn spread(spread: Spread) -> Value {
    object([
        ("median", spread.median.into()),
        ("low", spread.low.into()),
        ("high", spread.high.into()),
    ])
}

/// Returns how many a second; whole, since it is never exact.
fn rate(spread: Option<Spread>) -> Option<u64> {
    spread.map(|spread| spread.per_second() as u64)
}

fn object<const N: usize>(fields: [(&str, Value); N]) -> Value {
    fields.into_iter().collect()
}

type Cell = fn(&Measurement) -> String;

/// The columns of the CSV file.
const COLUMNS: [(&str, Cell); 31] = [
    ("workload", |row| row.case.workload.name().to_owned()),
    ("allocator", |row| row.case.allocation.name().to_owned()),
    ("occupancy", |row| {
        match row.case.workload.keeps_occupancy() {
            true => row.case.occupancy.to_text(),
            false => String::new(),
        }
    }),
    ("spaces", |row| row.timing.spaces.to_string()),
    ("ports_wanted", |row| row.exact.wanted.to_string()),
    ("ports_in_use", |row| row.exact.used.to_string()),
    ("history", |row| row.exact.history.to_string()),
    ("attempts", |row| row.exact.attempts.made.to_string()),
    ("allocated", |row| row.exact.attempts.allocated.to_string()),
    ("refused_full", |row| row.exact.attempts.full.to_string()),
    ("refused_while_free", |row| {
        row.exact.attempts.gave_up.to_string()
    }),
    ("probes_mean", |row| {
        decimals(row.exact.attempts.mean_probes())
    }),
    ("probes_most", |row| {
        row.exact.attempts.most_probes.to_string()
    }),
    ("reuse_minimum", |row| {
        optional(row.exact.reuse.and_then(|reuse| reuse.minimum))
    }),
    ("reuse_median", |row| {
        optional(row.exact.reuse.and_then(|reuse| reuse.median))
    }),
    ("judged", |row| {
        optional(row.exact.prediction.map(|found| found.judged))
    }),
    ("guesser", |row| {
        optional(row.exact.prediction.map(|found| found.guesser.name()))
    }),
    ("guessed", |row| {
        optional(row.exact.prediction.map(|found| decimals(found.guessed())))
    }),
    ("chance", |row| {
        optional(row.exact.prediction.map(|found| decimals(found.chance)))
    }),
    ("guess_z", |row| {
        let found = row.exact.prediction.and_then(|found| found.guess_z);
        optional(found.map(decimals))
    }),
    ("runs_z", |row| {
        let found = row.exact.prediction.and_then(|found| found.runs_z);
        optional(found.map(decimals))
    }),
    ("verdict", |row| {
        optional(row.exact.prediction.map(|found| found.verdict().name()))
    }),
    ("connection_tracking_table_capacity", |row| {
        optional(row.exact.first_refusal)
    }),
    ("memory_bytes", |row| row.exact.memory_bytes.to_string()),
    ("pair_ns", |row| {
        nanos(row.timing.pair, |spread| spread.median)
    }),
    ("pair_low_ns", |row| {
        nanos(row.timing.pair, |spread| spread.low)
    }),
    ("pair_high_ns", |row| {
        nanos(row.timing.pair, |spread| spread.high)
    }),
    ("allocate_ns", |row| {
        nanos(row.timing.allocate, |spread| spread.median)
    }),
    ("release_ns", |row| {
        nanos(row.timing.release, |spread| spread.median)
    }),
    ("maximum_connection_establishment_rate_per_s", |row| {
        optional(rate(row.timing.allocate))
    }),
    ("connection_tear_down_rate_per_s", |row| {
        optional(rate(row.timing.release))
    }),
];

fn optional(value: Option<impl ToString>) -> String {
    value.map_or_else(String::new, |value| value.to_string())
}

fn decimals(value: f64) -> String {
    format!("{value:.6}")
}

fn nanos(spread: Option<Spread>, which: fn(&Spread) -> f64) -> String {
    optional(spread.map(|spread| format!("{:.2}", which(&spread))))
}
