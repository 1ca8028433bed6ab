use plsim_observe::{BackendSummary, Finding, RequestFailedBy};
use plsim_scenario::BackendVm;

use super::Reader;
use crate::numbers::counted;

impl Reader<'_> {
    /// Requests that failed because service and application disagree about the PROXY protocol, one
    /// finding for each group of VMs and cause.
    pub(super) fn proxy_protocol(&self) -> Vec<Finding> {
        let groups = self.scenario.backend_vm.iter();
        groups.flat_map(|group| self.disagreements(group)).collect()
    }

    fn disagreements(&self, group: &BackendVm) -> Vec<Finding> {
        let sum = |count: fn(&RequestFailedBy) -> u64| -> u64 {
            self.machines(group).map(|row| count(&row.failed_by)).sum()
        };
        let causes = [
            (
                sum(|failed| failed.proxy_unexpected),
                "a PROXY header came first, which is garbage to a plain application",
                "Have the application read it: application = \"proxy-required\"; HAProxy: bind ... \
                 accept-proxy; nginx: listen ... proxy_protocol.",
                "Or send none: enable_proxy_protocol = false in the service.",
            ),
            (
                sum(|failed| failed.proxy_missing),
                "its application waits for a PROXY header, and none came",
                "Send it: enable_proxy_protocol = true in the service.",
                "Or do without: application = \"proxy-optional\" or \"plain\".",
            ),
        ];
        let happened = causes.into_iter().filter(|(count, ..)| *count > 0);
        happened
            .map(|(count, why, first, second)| Finding {
                what: format!(
                    "{}: {} failed: {why}.",
                    group.name,
                    counted(count, "request")
                ),
                help: vec![first.to_owned(), second.to_owned()],
            })
            .collect()
    }

    fn machines<'a>(&'a self, group: &'a BackendVm) -> impl Iterator<Item = &'a BackendSummary> {
        let names: Vec<String> = group.machines().collect();
        let rows = self.summary.backends.iter();
        rows.filter(move |row| names.contains(&row.name))
    }
}
