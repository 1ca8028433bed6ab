use plsim_sim::LinkStats;
use serde_json::Value;

use crate::summary::object;

/// What a link with impairments did, in one direction.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LinkSummary {
    /// Which of the four: `client_endpoint`, `endpoint_edge`, `edge_host` or `host_vm`.
    pub link: &'static str,
    /// The private endpoint or backend VM whose link it is.
    pub name: String,
    /// `to-backend` or `to-client`.
    pub direction: &'static str,
    /// What it did.
    pub stats: LinkStats,
}

impl LinkSummary {
    pub(crate) fn to_value(&self) -> Value {
        let stats = &self.stats;
        object([
            ("link", self.link.into()),
            ("name", self.name.as_str().into()),
            ("direction", self.direction.into()),
            ("packets", stats.packets.into()),
            ("link_down", stats.link_down.into()),
            ("queue_full", stats.queue_full.into()),
            ("queue_peak_bytes", stats.queue_peak.into()),
            ("lost", stats.lost.into()),
            ("loss_runs", stats.loss_runs.into()),
            ("duplicated", stats.duplicated.into()),
            ("corrupted", stats.corrupted.into()),
            ("reordered", stats.reordered.into()),
            ("overtook", stats.overtook.into()),
        ])
    }
}
