use super::Rules;
use super::lints::{PL048, PL049, PL063, PL064};
use crate::model::{LbIdleAction, Rule, RuleProtocol};
use crate::units::FrontendPath;
use plsim_types::Duration;

/// What documents allow: 4 to 30 minutes the older ones, to 100 the newer ones (X9).
const SHORTEST: Duration = Duration::from_secs(4 * 60);
const LONGEST_IN_ALL: Duration = Duration::from_secs(30 * 60);
const LONGEST: Duration = Duration::from_secs(100 * 60);

impl Rules<'_> {
    /// The idle timers of load-balancing rules.
    pub(super) fn idle(&mut self) {
        for (index, balancer) in self.scenario.load_balancer.iter().enumerate() {
            for (place, rule) in balancer.rule.iter().enumerate() {
                self.idle_of_rule(&format!("load_balancer[{index}].rule[{place}]"), rule);
            }
        }
    }

    fn idle_of_rule(&mut self, path: &str, rule: &Rule) {
        if !rule.carries_tcp() {
            let keys = [
                ("idle_timeout", rule.idle_timeout.is_some()),
                ("enable_tcp_reset", rule.enable_tcp_reset),
            ];
            for (key, _) in keys.into_iter().filter(|(_, given)| *given) {
                let message = format!("`{key}` has no effect on a rule of UDP");
                self.report(PL063, &format!("{path}.{key}"), message)
                    .help("remove it: the load balancer keeps no state of UDP flows by itself");
            }
            return;
        }
        if rule.protocol == RuleProtocol::All && rule.enable_tcp_reset {
            let message = "TCP reset does not exist for a rule of all ports";
            self.report(PL064, &format!("{path}.enable_tcp_reset"), message)
                .label("not on an internal load balancer with HA ports")
                .help("remove it, or give each port a rule of its own");
        }
        let Some(span) = rule.idle_timeout.map(|span| span.0) else {
            return;
        };
        let path = format!("{path}.idle_timeout");
        if !(SHORTEST..=LONGEST).contains(&span) {
            let message = format!("the idle timeout of a rule cannot be {span}");
            self.report(PL048, &path, message)
                .label("not 4 to 100 minutes")
                .help(match span < SHORTEST {
                    true => "\"4min\" is the shortest, and the default",
                    false => "\"100min\" is the longest; keepalives keep a flow for any time",
                });
        } else if span > LONGEST_IN_ALL {
            let message = format!("documents disagree whether an idle timeout of {span} exists");
            self.report(PL049, &path, message)
                .label("above 30 minutes")
                .help("older documents and the API's own text say 4 to 30 minutes");
        }
    }

    /// Returns how long a TCP flow to a port of a service may be silent, and whose timeout that is.
    pub(super) fn idle_ceiling(&self, service: usize, port: u16) -> (Duration, &'static str) {
        let service = &self.scenario.private_link_service[service];
        let own = service.effective_timers().established_idle;
        match self.rule_ceiling(&service.load_balancer_frontend, port) {
            Some((rule, whose)) if rule < own => (rule, whose),
            _ => (own, "the idle timeout of the Private Link Service"),
        }
    }

    /// Returns how long a TCP flow to a port of a frontend may be silent, if the load balancer ends it
    /// then.
    pub(super) fn rule_ceiling(
        &self,
        path: &FrontendPath,
        port: u16,
    ) -> Option<(Duration, &'static str)> {
        let (balancer, _) = self.index.frontend(path)?;
        let balancer = &self.scenario.load_balancer[balancer];
        let mut rules = balancer.rule.iter();
        let rule = rules.find(|rule| {
            let own = rule.protocol == RuleProtocol::All || rule.frontend_port == port;
            rule.frontend == path.frontend && rule.carries_tcp() && own
        })?;
        let ends = balancer.lb_idle_action == LbIdleAction::Drop || rule.enable_tcp_reset;
        ends.then(|| {
            (
                rule.effective_idle_timeout(),
                "the idle timeout of the load-balancing rule",
            )
        })
    }
}
