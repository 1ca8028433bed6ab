use plsim_observe::{Finding, Heard, IdleCeiling, SetBy, WorkloadSummary};
use plsim_scenario::{Law, Pool, Publisher, Transport, Workload, WorkloadModel};
use plsim_types::Duration;

use super::Reader;
use crate::idle;
use crate::numbers::{counted, grouped, percent, rounded};

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
            let ceiling = idle::ceiling_of(self.scenario, &self.summary.idle, workload)?;
            match (&workload.pool, workload.model) {
                (Some(pool), _) => self
                    .dead_borrows((workload, pool), row, ceiling)
                    .or_else(|| self.rested(workload, row, ceiling)),
                (None, WorkloadModel::PubSub) => self.unheard(workload, row, ceiling),
                (None, _) => self.rested(workload, row, ceiling),
            }
        })
        .collect()
    }

    /// Tells whether the timer that binds has dropped connections on the way of a workload.
    fn has_dropped(&self, workload: &Workload, ceiling: &IdleCeiling) -> bool {
        let by_service = workload.endpoints().next().is_some();
        match (by_service, ceiling.set_by) {
            (true, SetBy::Rule) => self.rows(&ceiling.pls).any(|row| row.lb_idle > 0),
            (true, SetBy::Service) => self.rows(&ceiling.pls).any(|row| row.expired_idle > 0),
            (false, _) => {
                let mut backends = self.summary.backends.iter();
                backends.any(|row| row.frontend_lb_idle > 0)
            }
        }
    }

    /// Says which key of a workload makes for silence of that length, and how often.
    fn silent_by(&self, workload: &Workload, ceiling: Duration) -> Option<(&'static str, String)> {
        let laws = [
            ("service_time", Some(&workload.service_time)),
            ("think_time", workload.think_time.as_ref()),
            ("interval", workload.interval.as_ref()),
        ];
        let laws = laws.into_iter().filter_map(|(key, law)| Some((key, law?)));
        let shares = laws.map(|(key, law)| (key, law, self.scenario.share_of(law, ceiling)));
        let (key, law, share) = shares.max_by(|one, other| one.2.total_cmp(&other.2))?;
        let what = match (key, law) {
            _ if share <= 0.0 => return None,
            ("service_time", Law::Fixed(span)) => {
                format!("the server works for {} without a packet", span.0)
            }
            (key, Law::Fixed(span)) => format!("{key} is {}", span.0),
            (key, Law::Drawn(_)) => {
                format!("{:.1} % of {key} is {ceiling} or more", share * 100.0)
            }
        };
        Some((key, what))
    }

    /// Requests that met a connection which had rested for too long, or waited on one.
    fn rested(
        &self,
        workload: &Workload,
        row: &WorkloadSummary,
        ceiling: &IdleCeiling,
    ) -> Option<Finding> {
        let harmed = row.lost_to_silence + row.waiting_in_vain;
        if harmed == 0 || !self.has_dropped(workload, ceiling) {
            return None;
        }
        let noticed = match row.lost_to_silence {
            0 => "nobody has noticed yet".to_owned(),
            _ => format!("it took up to {} to notice", rounded(row.detection.max)),
        };
        let (key, why) = self
            .silent_by(workload, ceiling.ceiling())
            .unwrap_or(("", "their connections had rested".to_owned()));
        let others = match row.lost_by.total() - row.lost_to_silence {
            0 => String::new(),
            others => format!(" ({} more were lost otherwise)", grouped(others)),
        };
        let what = format!(
            "{}: {} of requests were lost to silence ({} of {}){others}, and {noticed}: {why}; the \
             largest safe silence is {} because {}.",
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
        let deaf = row.waiting_in_vain;
        (deaf > 0 && !is_told && self.has_dropped(workload, ceiling)).then(|| Finding {
            what: format!(
                "{}: subscribers wait for messages that cannot reach them: {} are open as far as \
                 they know, but messages come every {interval}, and {}.",
                row.name,
                counted(deaf, "connection"),
                binds(ceiling)
            ),
            help: against(ceiling, "the interval of messages, or of heartbeats,"),
        })
    }

    /// Borrows that met a connection which had rested for too long.
    fn dead_borrows(
        &self,
        (workload, pool): (&Workload, &Pool),
        row: &WorkloadSummary,
        ceiling: &IdleCeiling,
    ) -> Option<Finding> {
        let stats = row.pool.as_ref()?;
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
        let forgotten = match self.has_dropped(workload, ceiling) {
            true => stats.dead_by_silence,
            false => 0,
        };
        let elsewhere = "See what else ends connections: VMs, the application, max_lifetime.";
        if forgotten == 0 {
            what += ". None had rested long enough for an idle timeout.";
            return Some(Finding {
                what,
                help: vec![elsewhere.into()],
            });
        }
        let others = stats.dead_connections - forgotten;
        if others > 0 {
            what += &format!(
                "; {} had not rested long enough for an idle timeout",
                grouped(others)
            );
        }
        what += &format!(
            "; the largest safe max_idle is {} because {}.",
            safe(ceiling),
            binds(ceiling)
        );
        let min_idle = match (pool.min_idle, workload.pools()) {
            (0, _) => None,
            (min_idle, 1) => Some(format!("{min_idle}")),
            (min_idle, pools) => Some(format!("{min_idle} in each of {} pools", grouped(pools))),
        };
        let own = match (pool.max_idle, &min_idle) {
            (None, _) => "it has none".to_owned(),
            (Some(span), None) => format!("it is {}", span.0),
            (Some(span), Some(min_idle)) => {
                format!("it is {}, and min_idle keeps {min_idle} from it", span.0)
            }
        };
        let lower = match min_idle {
            None => "",
            Some(_) => " and lower min_idle",
        };
        let mut help = vec![format!(
            "Set max_idle to {} or less{lower} ({own}), or keepalive_time.",
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
        if others > 0 {
            help.push(elsewhere.into());
        }
        Some(Finding { what, help })
    }
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
