//! The two idle timers of a TCP connection: its rule's and its service's.

use plsim_nat::{LatePackets, LbIdleAction, LbTimer, OnIdle};
use plsim_observe::{Heard, IdleCeiling, SetBy};
use plsim_scenario as file;
use plsim_scenario::{LoadBalancer, PrivateLinkService, Rule, RuleProtocol, Scenario};
use plsim_types::{Duration, PlsId, Protocol};

use crate::frontend;
use crate::layout::{endpoint_named, position};
use crate::nat;

/// Returns the rules that lead to a service.
fn all_rules_of<'a>(
    scenario: &'a Scenario,
    service: &'a PrivateLinkService,
) -> (&'a LoadBalancer, impl Iterator<Item = &'a Rule>) {
    let path = &service.load_balancer_frontend;
    let balancers = &scenario.load_balancer;
    let balancer = &balancers[position(balancers, |lb| lb.name == path.load_balancer)];
    let rules = balancer.rule.iter();
    (
        balancer,
        rules.filter(|rule| rule.frontend == path.frontend),
    )
}

/// Returns the rules that carry TCP to a service.
fn rules_of<'a>(
    scenario: &'a Scenario,
    service: &'a PrivateLinkService,
) -> (&'a LoadBalancer, impl Iterator<Item = &'a Rule>) {
    let (balancer, rules) = all_rules_of(scenario, service);
    (balancer, rules.filter(|rule| rule.carries_tcp()))
}

/// Returns the timers of a service's rules, for the NAT to keep.
pub(crate) fn timers(scenario: &Scenario, service: &PrivateLinkService) -> Vec<LbTimer> {
    let (balancer, rules) = rules_of(scenario, service);
    rules.map(|rule| timer(balancer, rule)).collect()
}

/// Returns the timer of a rule.
pub(crate) fn timer(balancer: &LoadBalancer, rule: &Rule) -> LbTimer {
    LbTimer {
        frontend_port: (rule.protocol != RuleProtocol::All).then_some(rule.frontend_port),
        idle: rule.effective_idle_timeout(),
        reset: rule.enable_tcp_reset,
        then: action(balancer),
    }
}

/// Returns when the edge takes a flow for a new one because it was idle.
pub(crate) fn forget_after(balancer: &LoadBalancer, rule: &Rule) -> Option<Duration> {
    (action(balancer) == LbIdleAction::Forget).then(|| rule.effective_idle_timeout())
}

const fn action(balancer: &LoadBalancer) -> LbIdleAction {
    match balancer.lb_idle_action {
        file::LbIdleAction::Drop => LbIdleAction::Drop,
        file::LbIdleAction::Forget => LbIdleAction::Forget,
    }
}

/// Returns how long connections may be silent, by service and rule, in the order of the file; then of
/// clients that dial a frontend itself.
pub(crate) fn ceilings(scenario: &Scenario) -> Vec<IdleCeiling> {
    let mut workloads = scenario.workload.iter();
    let has_udp = workloads.any(|workload| workload.protocol == file::Transport::Udp);
    let services = scenario.private_link_service.iter();
    let by_service = services.flat_map(|service| {
        let (balancer, rules) = all_rules_of(scenario, service);
        rules.flat_map(move |rule| {
            let tcp = rule.carries_tcp().then(|| ceiling(balancer, rule, service));
            let udp = (has_udp && rule.protocol != RuleProtocol::Tcp)
                .then(|| udp_ceiling(balancer, rule, service));
            tcp.into_iter().chain(udp)
        })
    });
    let balancers = scenario.load_balancer.iter();
    let direct = balancers.flat_map(|balancer| {
        let dialled = frontend::dialled(scenario, balancer);
        dialled.filter_map(|rule| direct_ceiling(balancer, rule))
    });
    by_service.chain(direct).collect()
}

/// The rule that a workload's packets come to, and the service that they come by, if by one.
type Way<'a> = (&'a LoadBalancer, &'a Rule, Option<&'a PrivateLinkService>);

/// Returns the ways of a workload's connections.
fn ways<'a>(scenario: &'a Scenario, workload: &'a file::Workload) -> impl Iterator<Item = Way<'a>> {
    let by_endpoint = workload.endpoints().filter_map(|name| {
        let endpoint = &scenario.private_endpoint[endpoint_named(scenario, name)];
        let mut services = scenario.private_link_service.iter();
        let service = services.find(|service| service.name == endpoint.private_link_service)?;
        Some((Some(service), &service.load_balancer_frontend))
    });
    let direct = workload.frontends().map(|path| (None, path));
    by_endpoint.chain(direct).filter_map(|(service, path)| {
        let mut balancers = scenario.load_balancer.iter();
        let balancer = balancers.find(|balancer| balancer.name == path.load_balancer)?;
        let mut rules = balancer.rule.iter();
        let rule = rules.find(|rule| {
            rule.frontend == path.frontend
                && rule.carries_tcp()
                && [0, workload.port].contains(&rule.frontend_port)
        })?;
        Some((balancer, rule, service))
    })
}

/// Returns how long a connection of a workload may be silent whichever destination it goes to, and why.
pub(crate) fn ceiling_of<'a>(
    scenario: &Scenario,
    ceilings: &'a [IdleCeiling],
    workload: &file::Workload,
) -> Option<&'a IdleCeiling> {
    let own = ways(scenario, workload).filter_map(|(balancer, rule, service)| {
        ceilings.iter().find(|row| {
            row.protocol == Protocol::Tcp
                && row.pls == service.map_or("", |service| service.name.as_str())
                && row.load_balancer == balancer.name.as_str()
                && row.rule == rule.name.as_str()
        })
    });
    own.min_by_key(|row| row.ceiling())
}

/// Returns after how long a silence the network forgets a connection of a workload; nothing if keepalives
/// of one end come before.
pub(crate) fn silence_limit(scenario: &Scenario, workload: &file::Workload) -> Option<Duration> {
    if workload.protocol == file::Transport::Udp {
        return None;
    }
    let ceilings = ways(scenario, workload).filter_map(|(balancer, rule, service)| match service {
        Some(service) => Some(ceiling(balancer, rule, service)),
        None => direct_ceiling(balancer, rule),
    });
    let limit = ceilings.map(|ceiling| ceiling.ceiling()).min()?;
    let probes =
        |keepalive: file::Keepalive| keepalive.0.is_some_and(|probing| probing.time.0 < limit);
    let servers = &scenario.backend_vm;
    let is_probed = probes(workload.keepalive) || servers.iter().all(|vm| probes(vm.keepalive));
    (!is_probed).then_some(limit)
}

/// Returns the ceiling of clients of a frontend itself, if the load balancer ends their connections.
fn direct_ceiling(balancer: &LoadBalancer, rule: &Rule) -> Option<IdleCeiling> {
    let ends = rule.enable_tcp_reset || action(balancer) == LbIdleAction::Drop;
    (rule.carries_tcp() && ends).then(|| IdleCeiling {
        pls: String::new(),
        load_balancer: balancer.name.to_string(),
        rule: rule.name.to_string(),
        protocol: Protocol::Tcp,
        rule_idle: rule.effective_idle_timeout(),
        service_idle: None,
        set_by: SetBy::Rule,
        heard: match rule.enable_tcp_reset {
            true => Heard::Reset,
            false => Heard::Silence,
        },
        forgets: false,
    })
}

/// Returns the ceiling of UDP flows: rules have no timer for them (D-RST20), and nobody can be told.
fn udp_ceiling(balancer: &LoadBalancer, rule: &Rule, service: &PrivateLinkService) -> IdleCeiling {
    let idle = service.effective_timers().udp_idle;
    IdleCeiling {
        pls: service.name.to_string(),
        load_balancer: balancer.name.to_string(),
        rule: rule.name.to_string(),
        protocol: Protocol::Udp,
        service_idle: Some(idle),
        set_by: SetBy::Service,
        heard: Heard::Silence,
        ..IdleCeiling::default()
    }
}

fn ceiling(balancer: &LoadBalancer, rule: &Rule, service: &PrivateLinkService) -> IdleCeiling {
    let (rule_idle, service_idle) = (
        rule.effective_idle_timeout(),
        service.effective_timers().established_idle,
    );
    let forgets = action(balancer) == LbIdleAction::Forget;
    let earlier = rule_idle < service_idle;
    let set_by = match earlier && (rule.enable_tcp_reset || !forgets) {
        true => SetBy::Rule,
        false => SetBy::Service,
    };
    let pool = nat::pool(service, PlsId(0), Vec::new());
    let heard = match (set_by, pool.on_idle, pool.late_packets) {
        (SetBy::Rule, ..) if rule.enable_tcp_reset => Heard::Reset,
        (SetBy::Rule, ..) | (SetBy::Service, OnIdle::Silent, LatePackets::Drop) => Heard::Silence,
        (SetBy::Service, OnIdle::Reset, _) => Heard::Reset,
        (SetBy::Service, OnIdle::Silent, LatePackets::Reset) => Heard::ResetWhenItSends,
    };
    IdleCeiling {
        pls: service.name.to_string(),
        load_balancer: balancer.name.to_string(),
        rule: rule.name.to_string(),
        protocol: Protocol::Tcp,
        rule_idle,
        service_idle: Some(service_idle),
        set_by,
        heard,
        forgets: forgets && earlier && set_by == SetBy::Service,
    }
}
