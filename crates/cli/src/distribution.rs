//! How evenly flows were spread, and which moved, for people.

use plsim::numbers::{grouped, rounded};
use plsim::{MembershipSummary, SkewSummary, Summary};
use plsim_types::Instant;

use crate::page::{Column, Page};

/// The most rows of one table; the summary file has them all.
const ROWS: usize = 16;

impl Page {
    /// How evenly flows were spread over VMs and NAT IPs, where there are several.
    pub(crate) fn distribution(&mut self, summary: &Summary) {
        let used = || summary.skew.iter().filter(|row| row.flows() > 0);
        let rows: Vec<&SkewSummary> = used().take(ROWS).collect();
        if rows.is_empty() {
            return;
        }
        // With another choice in between, shares differ without any doing of chance.
        let caption = match summary.membership_changes.is_empty() {
            true => {
                "of flows that got a port; by chance alone, chi2 is about the degrees of freedom"
            }
            false => {
                "of flows that got a port; pools changed, so that chi2 tells nothing of chance over VMs"
            }
        };
        self.section("Distribution", caption);
        let columns = vec![
            Column::name("service", 0, &rows, |row| row.pls.clone()),
            Column::name("protocol", 1, &rows, |row| row.protocol.to_string()),
            Column::name("over", 0, &rows, |row| {
                format!("{} {}", row.shares.len(), row.over.name())
            }),
            Column::number("flows", 0, &rows, |row| grouped(row.flows())),
            Column::number("fewest", 2, &rows, |row| grouped(row.fewest())),
            Column::number("most", 0, &rows, |row| grouped(row.most())),
            Column::number("max/mean", 0, &rows, |row| thousandths(row.max_over_mean())),
            Column::number("chi2", 0, &rows, |row| tenths(row.chi_square())),
            Column::number("degrees", 3, &rows, |row| row.degrees().to_string()),
        ];
        self.table(columns, used().count());
    }

    /// What changed about whom load balancers choose among.
    pub(crate) fn membership(&mut self, summary: &Summary) {
        let changes = &summary.membership_changes;
        if changes.is_empty() {
            return;
        }
        self.section(
            "Pools that changed",
            "kept: live TCP of a VM out of the choice; moved: UDP that went elsewhere",
        );
        let rows: Vec<&MembershipSummary> = changes.iter().take(ROWS).collect();
        let resets = changes.iter().any(|row| row.reset > 0);
        let mut columns = vec![
            Column::number("at", 0, &rows, |row| {
                rounded(row.at.since(Instant::ZERO)).to_string()
            }),
            Column::name("load balancer", 1, &rows, |row| row.load_balancer.clone()),
            Column::name("pool", 2, &rows, |row| row.backend_pool.clone()),
            Column::name("cause", 0, &rows, |row| row.cause.to_owned()),
            Column::name("what", 0, &rows, |row| {
                let what = row.backend.as_ref().or(row.rule.as_ref());
                what.cloned().unwrap_or_default()
            }),
            Column::number("in the choice", 0, &rows, |row| row.eligible.to_string()),
            Column::number("kept", 0, &rows, |row| grouped(u64::from(row.kept))),
            Column::number("moved", 0, &rows, |row| grouped(row.moved)),
        ];
        if resets {
            columns.push(Column::number("reset", 0, &rows, |row| {
                grouped(u64::from(row.reset))
            }));
        }
        self.table(columns, changes.len());
    }
}

fn thousandths(number: u64) -> String {
    format!("{}.{:03}", number / 1_000, number % 1_000)
}

fn tenths(thousandths: u64) -> String {
    let tenths = thousandths.saturating_add(50) / 100;
    format!("{}.{}", grouped(tenths / 10), tenths % 10)
}
