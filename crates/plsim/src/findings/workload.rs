use plsim_observe::{Finding, Heard, IdleCeiling, SetBy, WorkloadSummary};
use plsim_scenario::{Pool, PrivateEndpoint, Publisher, Transport, Workload, WorkloadModel};
use plsim_types::Duration;

use super::Reader;
use crate::layout::endpoint_named;
use crate::numbers::{counted, grouped, percent};

/// The unit in which safe settings are told.
const SECOND: Duration = Duration::from_secs(1);

impl Reader<'_> {
    /// What the idle timeouts did to applications, and which setting of theirs would be safe.
    pub(super) fn applications(&self) -> Vec<Finding> {
        let rows = self
            .scenario
            .counted_workloads()
            .zip(&self.summary.workloads);
        let rows = rows.filter(|(workload, _)| workload.protocol == Transport::Tcp);
        rows.filter_map(|(workload, row)| {
            let ceiling = self.ceiling(workload)?;
            match (&workload.pool, workload.model) {
                (Some(pool), _) => dead_borrows(pool, row, ceiling),
                (None, WorkloadModel::PubSub) => self.unheard(workload, row, ceiling),
                (None, _) => self.rested(workload, row, ceiling),
            }
        })
        .collect()
    }

    /// Returns how long a connection of a workload may be silent whichever endpoint it goes to, and
    /// why.
    fn ceiling(&self, workload: &Workload) -> Option<&IdleCeiling> {
        let endpoints = &self.scenario.private_endpoint;
        let own = workload
            .endpoints()
            .map(|name| &endpoints[endpoint_named(self.scenario, name)]);
        let ceilings = own.filter_map(|endpoint| self.ceiling_by(endpoint, workload));
        ceilings.min_by_key(|row| row.ceiling())
    }

    fn ceiling_by(&self, endpoint: &PrivateEndpoint, workload: &Workload) -> Option<&IdleCeiling> {
        let pls = &endpoint.private_link_service;
        let mut services = self.scenario.private_link_service.iter();
        let path = &services
            .find(|service| service.name == *pls)?
            .load_balancer_frontend;
        let mut balancers = self.scenario.load_balancer.iter();
        let balancer = balancers.find(|balancer| balancer.name == path.load_balancer)?;
        let mut rules = balancer.rule.iter();
        let rule = rules.find(|rule| {
            rule.frontend == path.frontend
                && rule.carries_tcp()
                && [0, workload.port].contains(&rule.frontend_port)
        })?;
        let mut ceilings = self.summary.idle.iter();
        ceilings.find(|row| row.pls == pls.as_str() && row.rule == rule.name.as_str())
    }

    /// Requests that met a connection which had rested for too long, or waited on one.
    fn rested(
        &self,
        workload: &Workload,
        row: &WorkloadSummary,
        ceiling: &IdleCeiling,
    ) -> Option<Finding> {
        let harmed = row.lost_by.total() + row.awaiting;
        let rests = [
            ("think_time", workload.think_time.as_ref()),
            ("interval", workload.interval.as_ref()),
            ("service_time", Some(&workload.service_time)),
        ];
        let rests = rests
            .into_iter()
            .filter_map(|(key, law)| Some((key, self.scenario.typical(law?))));
        let mut rests = rests.filter(|(_, span)| *span >= ceiling.ceiling());
        let (key, span) = rests.next()?;
        if harmed == 0 {
            return None;
        }
        let noticed = match row.detection.count {
            0 => "nobody has noticed yet".to_owned(),
            _ => format!("it took up to {} to notice", row.detection.max),
        };
        let why = match key {
            "service_time" => format!("the server works for {span} without a packet"),
            _ => format!("{key} is {span}"),
        };
        let what = format!(
            "{}: {} of requests got no response ({} of {}), and {noticed}: {why}; the largest safe \
             silence is {} because {}.",
            row.name,
            percent(harmed, row.requests),
            grouped(harmed),
            grouped(row.requests),
            safe(ceiling),
            binds(ceiling)
        );
        let what_sends = match key {
            "service_time" => "progress",
            _ => "heartbeats",
        };
        Some(Finding {
            what,
            help: against(ceiling, what_sends),
        })
    }

    /// Subscribers that missed messages because their connections were gone.
    fn unheard(
        &self,
        workload: &Workload,
        row: &WorkloadSummary,
        ceiling: &IdleCeiling,
    ) -> Option<Finding> {
        if workload.publisher == Some(Publisher::Client) {
            return self.rested(workload, row, ceiling);
        }
        let interval = self.scenario.typical(workload.interval.as_ref()?);
        let is_told = ceiling.heard == Heard::Reset;
        (interval >= ceiling.ceiling() && !is_told && row.connections.established > 0).then(|| {
            Finding {
                what: format!(
                    "{}: subscribers wait for messages that cannot reach them: {} are open as far as \
                     they know, but messages come every {interval}, and {}.",
                    row.name,
                    counted(row.connections.established, "connection"),
                    binds(ceiling)
                ),
                help: against(ceiling, "the interval of messages, or of heartbeats,"),
            }
        })
    }
}

/// Borrows that met a connection which had rested for too long.
fn dead_borrows(pool: &Pool, row: &WorkloadSummary, ceiling: &IdleCeiling) -> Option<Finding> {
    let stats = row.pool?;
    if stats.dead_borrows == 0 {
        return None;
    }
    let tested = stats.dead_connections - stats.dead_requests;
    let found = match (tested, stats.dead_requests) {
        (tested, 0) => format!("tests found all {}", grouped(tested)),
        (0, _) => "all were found by requests, which failed".to_owned(),
        (tested, requests) => format!(
            "tests found {}, requests {}, which failed",
            grouped(tested),
            grouped(requests)
        ),
    };
    let mut what = format!(
        "{}: {} of borrows hit a dead socket ({} of {}); {found}",
        row.name,
        percent(stats.dead_borrows, stats.borrows),
        grouped(stats.dead_borrows),
        grouped(stats.borrows),
    );
    if stats.rested_dead.min < ceiling.ceiling() {
        what += ". Not all had rested long enough for an idle timeout.";
        let help = "See what else ends connections: VMs, the application, max_lifetime.".into();
        return Some(Finding {
            what,
            help: vec![help],
        });
    }
    what += &format!(
        "; the largest safe max_idle is {} because {}.",
        safe(ceiling),
        binds(ceiling)
    );
    let own = match (pool.max_idle, pool.min_idle) {
        (None, _) => "it has none".to_owned(),
        (Some(span), 0) => format!("it is {}", span.0),
        (Some(span), min_idle) => {
            format!("it is {}, and min_idle keeps {min_idle} from it", span.0)
        }
    };
    let mut help = vec![format!(
        "Set max_idle to {} or less ({own}), or keepalive_time.",
        safe(ceiling)
    )];
    if !pool.validation {
        help.push(
            "Test connections before they are lent (validation): a request then waits, but does \
             not fail."
                .to_owned(),
        );
    }
    help.extend(against(ceiling, "pings"));
    Some(Finding { what, help })
}

/// Returns the longest silence in whole seconds that a connection outlives.
fn safe(ceiling: &IdleCeiling) -> Duration {
    let nanos = ceiling.ceiling().as_nanos();
    Duration::from_secs(nanos.saturating_sub(1) / SECOND.as_nanos())
}

/// Says which timer binds.
fn binds(ceiling: &IdleCeiling) -> String {
    let span = ceiling.ceiling();
    match ceiling.set_by {
        SetBy::Rule => format!("the load-balancing rule's idle timeout of {span} binds"),
        SetBy::Service => format!("the Private Link Service's idle timeout of {span} binds"),
    }
}

/// Says what keeps connections alive.
fn against(ceiling: &IdleCeiling, words: &str) -> Vec<String> {
    let span = ceiling.ceiling();
    let mut help = vec![format!(
        "Send TCP keepalives, or {words} at intervals below {span}."
    )];
    if ceiling.set_by == SetBy::Rule && ceiling.heard == Heard::Silence {
        help.push(
            "Set enable_tcp_reset in the rule: clients then learn at once what they now learn by \
             waiting."
                .to_owned(),
        );
    }
    help
}
