//! When backend VMs were not as they should be, for people.

use plsim::numbers::{grouped, rounded};
use plsim::{Ailment, OutageSummary, Summary};
use plsim_types::{Duration, Instant};

use crate::page::{Column, Page};

/// The most rows of one table; the summary file has them all.
const ROWS: usize = 16;

impl Page {
    /// What was the matter with VMs, when it was noticed, and who was harmed.
    pub(crate) fn outages(&mut self, summary: &Summary) {
        let all = &summary.outages;
        if all.is_empty() {
            return;
        }
        self.section(
            "Outages",
            match all.iter().any(is_of_link) {
                false => "of VMs; lost: connections they had; refused, unanswered: new ones",
                true => {
                    "of VMs and links; lost: connections VMs had; refused, unanswered: new ones"
                }
            },
        );
        let rows: Vec<&OutageSummary> = all.iter().take(ROWS).collect();
        let time = |at: Instant| rounded(at.since(Instant::ZERO)).to_string();
        let or_dash = |text: Option<String>| text.unwrap_or("-".to_owned());
        let span = |span: Duration| rounded(span).to_string();
        let columns = vec![
            Column::name(
                match all.iter().any(is_of_link) {
                    false => "VM",
                    true => "VM, link",
                },
                0,
                &rows,
                |row| row.backend.clone(),
            ),
            Column::name("was", 0, &rows, |row| row.ailment.name().to_owned()),
            Column::number("from", 0, &rows, |row| time(row.from)),
            Column::number("until", 0, &rows, |row| {
                row.until.map_or_else(|| "the end".to_owned(), time)
            }),
            Column::number("found after", 1, &rows, |row| {
                or_dash(row.found_after.map(span))
            }),
            Column::number("back at", 2, &rows, |row| or_dash(row.back.map(time))),
            Column::number("lost", 0, &rows, |row| harmed(row, row.lost)),
            Column::number("refused", 0, &rows, |row| harmed(row, row.refused)),
            Column::number("unanswered", 0, &rows, |row| harmed(row, row.unanswered)),
        ];
        self.table(columns, all.len());
    }
}

fn is_of_link(row: &OutageSummary) -> bool {
    row.ailment == Ailment::LinkDown
}

/// Writes how many connections suffered, where that is known.
fn harmed(row: &OutageSummary, count: u64) -> String {
    match is_of_link(row) {
        true => "-".to_owned(),
        false => grouped(count),
    }
}
