//! What went wrong on links, for people.

use plsim::numbers::{fine_percent, grouped};
use plsim::{LinkStats, LinkSummary, Summary};

use crate::page::{Column, Page};

/// The most rows of the table; more are taken together by kind and direction.
const ROWS: usize = 16;

struct Row {
    link: &'static str,
    /// Whose it is, or of how many.
    of: String,
    direction: &'static str,
    stats: LinkStats,
}

type Count = fn(&LinkStats) -> u64;

/// What can happen to a packet: head, how soon the column may go, and how many.
const FATES: [(&str, u8, Count); 7] = [
    ("while down", 0, |stats| stats.link_down),
    ("queue full", 0, |stats| stats.queue_full),
    ("most queued", 2, |stats| stats.queue_peak),
    ("duplicated", 0, |stats| stats.duplicated),
    ("corrupted", 0, |stats| stats.corrupted),
    ("held back", 0, |stats| stats.reordered),
    ("overtook", 3, |stats| stats.overtook),
];

impl Page {
    /// What links with impairments did; nothing if there are none.
    pub(crate) fn links(&mut self, summary: &Summary) {
        if summary.links.is_empty() {
            return;
        }
        self.section(
            "Links",
            "with impairments; lost %: of those that it took; most queued in bytes",
        );
        let rows = rows(&summary.links);
        let rows: Vec<&Row> = rows.iter().collect();
        let mut columns = vec![
            Column::name("link", 0, &rows, |row| row.link.to_owned()),
            Column::name("of", 0, &rows, |row| row.of.clone()),
            Column::name("direction", 0, &rows, |row| row.direction.to_owned()),
            Column::number("packets", 0, &rows, |row| grouped(row.stats.packets)),
        ];
        if rows.iter().any(|row| row.stats.lost > 0) {
            columns.extend([
                Column::number("lost", 0, &rows, |row| grouped(row.stats.lost)),
                Column::number("lost %", 0, &rows, |row| {
                    fine_percent(row.stats.lost, taken(&row.stats))
                }),
                Column::number("a burst", 1, &rows, |row| burst(&row.stats)),
            ]);
        }
        for (head, rank, count) in FATES {
            // A column of noughts says nothing.
            if rows.iter().any(|row| count(&row.stats) > 0) {
                columns.push(Column::number(head, rank, &rows, |row| {
                    grouped(count(&row.stats))
                }));
            }
        }
        let total = rows.len();
        self.table(columns, total);
    }
}

fn rows(links: &[LinkSummary]) -> Vec<Row> {
    if links.len() <= ROWS {
        let rows = links.iter().map(|row| Row {
            link: row.link,
            of: row.name.clone(),
            direction: row.direction,
            stats: row.stats,
        });
        return rows.collect();
    }
    let mut sums: Vec<(usize, Row)> = Vec::new();
    for row in links {
        let (link, direction) = (row.link, row.direction);
        let is_same = |sum: &&mut (usize, Row)| (sum.1.link, sum.1.direction) == (link, direction);
        if let Some((count, sum)) = sums.iter_mut().find(is_same) {
            *count += 1;
            sum.of = format!("{count} together");
            sum.stats.add(&row.stats);
        } else {
            let (of, stats) = (row.name.clone(), row.stats);
            let sum = Row {
                link,
                of,
                direction,
                stats,
            };
            sums.push((1, sum));
        }
    }
    sums.into_iter().map(|(_, sum)| sum).collect()
}

/// Returns how many packets it took: it was up, and had room for them.
const fn taken(stats: &LinkStats) -> u64 {
    stats.packets - stats.link_down - stats.queue_full
}

/// Returns how many packets are lost one after the other on average, to a tenth.
fn burst(stats: &LinkStats) -> String {
    if stats.loss_runs == 0 {
        return "-".to_owned();
    }
    let runs = u128::from(stats.loss_runs);
    let tenths = (u128::from(stats.lost) * 10 + runs / 2) / runs;
    format!("{}.{}", tenths / 10, tenths % 10)
}
