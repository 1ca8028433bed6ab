//! What is counted only when somebody asks.

use plsim_types::Instant;

use super::ClientVms;
use crate::config::Subject;
use crate::connection::Waiting;
use crate::workload::Workload;

impl ClientVms {
    /// Returns for each workload how many of its TCP connections wait for a response, or for a message,
    /// that cannot come: the network has forgotten them, because they had been silent for as long as
    /// their `silence_limit`.
    #[must_use]
    pub fn waiting_in_vain(&self, now: Instant) -> Vec<u64> {
        let mut counts = vec![0; self.stats.len()];
        let traffic = |destination| {
            let workload = self.group.destination(destination).workload;
            &self.workloads[usize::from(workload)].traffic
        };
        let mut count = |waiting: Waiting<'_>| {
            counts[usize::from(waiting.traffic.number)] += u64::from(waiting.is_in_vain(now));
        };
        match &self.full {
            Some(full) => full.waiting(traffic).for_each(&mut count),
            None => self.tcp.waiting(traffic).for_each(&mut count),
        }
        counts
    }

    /// Returns for each workload how many messages its subscribers were to get before now, each from its
    /// arrival on, whether it was connected then or not; `subjects` are those of their servers.
    #[must_use]
    pub fn messages_due(&self, subjects: &[Subject], now: Instant) -> Vec<u64> {
        let due = |workload: &Workload| {
            let (application, traffic) = (&workload.application, &workload.traffic);
            application.messages_due(traffic, subjects, now)
        };
        let mut counts: Vec<u64> = self.workloads.iter().map(due).collect();
        // None has started before the run begins.
        counts.resize(self.stats.len(), 0);
        counts
    }

    /// Returns for each workload how many of its established TCP connections their application has closed
    /// already: the exchange of FINs is under way, or its FIN goes unanswered.
    #[must_use]
    pub fn closing(&self) -> Vec<u64> {
        let mut counts = vec![0; self.stats.len()];
        let mut count = |destination| {
            counts[usize::from(self.group.destination(destination).workload)] += 1;
        };
        match &self.full {
            Some(full) => full.closing().for_each(&mut count),
            None => self.tcp.closing().for_each(&mut count),
        }
        counts
    }
}
