//! Clients that ask again and again.

use plsim_observe::{Finding, WorkloadSummary};
use plsim_scenario::{Jitter, Retry, Workload};

use super::Reader;
use crate::numbers::{counted, grouped, percent};

impl Reader<'_> {
    /// Clients whose repetitions are a load of their own: one more for each five operations.
    pub(super) fn retries(&self) -> Vec<Finding> {
        let rows = self.scenario.workload.iter().zip(&self.summary.workloads);
        let many = rows.filter(|(_, row)| {
            let operations = &row.operations;
            operations.retries > 0 && operations.retries * 5 >= operations.attempted
        });
        many.map(|(workload, row)| repeated(workload, row))
            .collect()
    }
}

fn repeated(workload: &Workload, row: &WorkloadSummary) -> Finding {
    let operations = &row.operations;
    let usual = Retry::default();
    let retry = workload.retry.as_ref().unwrap_or(&usual);
    let mut help = vec![format!(
        "Wait for longer between attempts (backoff = \"{}\", backoff_max = \"{}\"), or make fewer \
         (max_attempts = {}): who repeats asks most of a service when it is least able to answer.",
        retry.backoff, retry.backoff_max, retry.max_attempts
    )];
    if retry.jitter == Jitter::None {
        help.push(
            "Add jitter: without it clients that failed together come back together.".to_owned(),
        );
    }
    Finding {
        what: format!(
            "{}: clients repeated {}, {} of what was asked for ({}); {} failed in the end.",
            row.name,
            counted(operations.retries, "time"),
            percent(operations.retries, operations.attempted),
            counted(operations.attempted, "operation"),
            grouped(operations.failed),
        ),
        help,
    }
}
