use super::Rules;
use super::lints::{PL003, PL066, PL150, PL151};
use crate::model::{Skew, Workload};
use std::collections::BTreeMap;

/// Destinations that the workloads of one group of VMs may have in all.
const MAX_DESTINATIONS: usize = 65_536;

impl Rules<'_> {
    /// A workload has a destination, or several of one kind, and a skew only over several.
    pub(super) fn destinations(&mut self, path: &str, workload: &Workload) {
        let keys = [
            ("private_endpoint", workload.private_endpoint.is_some()),
            ("private_endpoints", workload.private_endpoints.is_some()),
            (
                "load_balancer_frontend",
                workload.load_balancer_frontend.is_some(),
            ),
            (
                "load_balancer_frontends",
                workload.load_balancer_frontends.is_some(),
            ),
        ];
        let mut given = keys.iter().filter(|(_, given)| *given);
        match (given.next(), given.next()) {
            (None, _) => {
                let message = format!(
                    "workload `{}` has neither `private_endpoint` nor `load_balancer_frontend`",
                    workload.name
                );
                self.report(PL066, path, message)
                    .label("where do the connections go?")
                    .help("add `private_endpoint`, or `load_balancer_frontend`");
            }
            (Some((one, _)), Some((other, _))) => {
                let message = format!("`{one}` and `{other}` exclude each other");
                let finding = self
                    .report(PL066, &format!("{path}.{other}"), message)
                    .label("one of them only")
                    .see(&format!("{path}.{one}"), "the other one");
                let plural = format!("{one}s");
                if plural == *other {
                    finding.help(format!("list all of them in `{other}`"));
                } else {
                    finding.help("write one workload for each");
                }
                return;
            }
            (Some(_), None) => {}
        }
        self.listed_once(path, workload);
        self.skew(path, workload);
    }

    /// The destinations of the workloads of each group of VMs can be numbered.
    pub(super) fn number_of_destinations(&mut self) {
        let mut groups: BTreeMap<_, usize> = BTreeMap::new();
        for workload in &self.scenario.workload {
            let group = (&workload.client_vm, &workload.backend_vm);
            *groups.entry(group).or_default() += workload.destinations().count();
        }
        let most = groups.into_iter().max_by_key(|(_, count)| *count);
        if let Some((group, count)) = most
            && count > MAX_DESTINATIONS
        {
            let name = group.0.as_ref().or(group.1.as_ref());
            let name = name.map_or("", |name| name.as_str());
            let message = format!(
                "the workloads of `{name}` have {count} destinations in all; the limit is \
                 {MAX_DESTINATIONS}"
            );
            self.report(PL003, "workload", message)
                .help("split the work over several groups of VMs");
        }
    }

    fn listed_once(&mut self, path: &str, workload: &Workload) {
        let all: Vec<_> = workload.destinations().collect();
        for (at, (key, destination)) in all.iter().enumerate() {
            let before = all[..at].iter().find(|(_, other)| other == destination);
            if let Some((first, _)) = before {
                let message = format!("`{}` is listed twice", destination.name());
                self.report(PL150, &format!("{path}.{key}"), message)
                    .see(&format!("{path}.{first}"), "listed first here")
                    .help("to have it get more than others write for example skew = { weights = [2, 1] }");
            }
        }
    }

    fn skew(&mut self, path: &str, workload: &Workload) {
        let Some(skew) = &workload.skew else { return };
        let count = workload.destinations().count();
        let key = format!("{path}.skew");
        if count == 1 {
            let message = "there is one destination: nothing can be skewed";
            self.report(PL151, &key, message)
                .help("list several in `private_endpoints` or `load_balancer_frontends`");
            return;
        }
        let Skew::Weights(weights) = skew else { return };
        let key = format!("{key}.weights");
        if weights.len() != count {
            let message = format!("{} weights for {count} destinations", weights.len());
            self.report(PL151, &key, message)
                .help("give one weight for each, in the order in which they are listed");
        } else if weights.iter().all(|weight| *weight == 0) {
            self.report(PL151, &key, "no destination would be drawn")
                .help("at least one weight is above zero");
        }
    }
}
