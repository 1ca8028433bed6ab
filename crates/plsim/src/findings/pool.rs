//! Pools that had nobody left, and connections that ended because of a change.

use plsim_observe::{Finding, MembershipSummary, RefusalSummary};
use plsim_types::{DropReason, Instant};

use super::{Reader, connections};
use crate::numbers::{grouped, rounded};

/// The most resets that are listed in one sentence.
const MOST: usize = 4;

impl Reader<'_> {
    /// Connections that were reset when their time to drain was over, or as their owner wanted it.
    pub(super) fn resets(&self) -> Vec<Finding> {
        let whys = [
            (
                "drained",
                "still open when the time to drain was over",
                "Drain for longer (drain_period), or have clients renew their connections now and \
                 then.",
            ),
            (
                "admin-state",
                "on a VM that its owner set to down",
                "Drain the VM first, or leave admin_down at \"persist\".",
            ),
        ];
        let found = whys.into_iter().filter_map(|(cause, why, help)| {
            let rows = self.summary.membership_changes.iter();
            let rows: Vec<&MembershipSummary> = rows
                .filter(|row| row.cause == cause && row.reset > 0)
                .collect();
            let count = rows.iter().map(|row| u64::from(row.reset)).sum();
            let each = rows.iter().take(MOST).map(|row| {
                let vm = row.backend.as_deref().unwrap_or_default();
                format!(
                    "{} of {vm} at {}",
                    grouped(row.reset.into()),
                    rounded(row.at.since(Instant::ZERO))
                )
            });
            let each: Vec<String> = each.collect();
            let more = if rows.len() > MOST { ", ..." } else { "" };
            let were = if count == 1 { "was" } else { "were" };
            (count > 0).then(|| Finding {
                what: format!(
                    "{} {were} {why}, and {were} reset: {}{more}.",
                    connections(count),
                    each.join(", ")
                ),
                help: vec![help.to_owned()],
            })
        });
        found.collect()
    }

    /// Connections that no backend took.
    pub(super) fn unserved(&self) -> Vec<Finding> {
        let rows = self.summary.refusals.iter();
        rows.filter_map(|row| {
            let help = match row.reason {
                DropReason::NoLbRule => "Add a load-balancing rule for the port, or correct it.",
                DropReason::NoHealthyBackend => self.nobody_left(row),
                DropReason::EdgeTableFull => "Raise flow_table_limit of the load balancer.",
                _ => return None,
            };
            Some(Finding {
                what: format!(
                    "{} to {} were dropped ({}), first at {}.",
                    connections(row.connections),
                    match row.pls.as_str() {
                        "" => "a frontend itself",
                        service => service,
                    },
                    row.reason,
                    row.first
                ),
                help: vec![help.into()],
            })
        })
        .collect()
    }

    /// Says what brings a pool back that nobody of could be chosen.
    fn nobody_left(&self, row: &RefusalSummary) -> &'static str {
        let mut services = self.scenario.private_link_service.iter();
        let service = services.find(|service| *service.name == *row.pls);
        let changes = self.summary.membership_changes.iter();
        let mut emptied = changes.filter(|change| {
            let own = service.is_some_and(|service| {
                *service.load_balancer_frontend.load_balancer == *change.load_balancer
            });
            own && change.at <= row.first && change.eligible == 0
        });
        match emptied.next_back().map(|change| change.cause) {
            None => "No VM of the pool may be chosen: add one, or look at admin_state.",
            Some("removed" | "draining") => "The pool is empty: have a VM join it (add-backend).",
            Some("admin-state") => {
                "All VMs of the pool are set to down: set one to \"up\", or to \"none\" and leave it \
                 to the probes."
            }
            Some("backend") => {
                "All VMs were taken out by backend-down: backend-up brings them back."
            }
            Some("stopped") => "All VMs of the pool are stopped: start one.",
            Some("probe") => {
                "No VM of the pool passes its health probe: mend one, or go on in spite of the probe \
                 (no_healthy_backends_behavior = \"AllProbedUp\")."
            }
            Some(_) => "The VMs of the pool are new: they wait for their first good probes.",
        }
    }
}
