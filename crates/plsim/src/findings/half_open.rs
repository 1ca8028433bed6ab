//! Connections that only one end still has (RFC 9293 §3.5.1).

use plsim_observe::Finding;

use super::Reader;
use crate::numbers::counted;

impl Reader<'_> {
    /// Clients whose SYNs met connections that only the server still had.
    pub(super) fn half_open(&self) -> Vec<Finding> {
        let rows = self.scenario.workload.iter().zip(&self.summary.workloads);
        let met = rows.filter(|(_, row)| row.half_open_found > 0);
        met.map(|(workload, row)| Finding {
            what: format!(
                "{}: {} met an old connection that only the server still had, with the same addresses \
                 and ports: a client resets it, and connects {} later, with the SYN sent again.",
                row.name,
                counted(row.half_open_found, "SYN"),
                workload.initial_rto.0
            ),
            help: vec![
                "Have the servers hear of the end: a port comes again when its connection was dropped \
                 without a word (enable_tcp_reset, or on_idle)."
                    .to_owned(),
                "Or have them forget sooner, by keepalives, or by an idle timeout shorter than those on \
                 the way."
                    .to_owned(),
            ],
        })
        .collect()
    }
}
