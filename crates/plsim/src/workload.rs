//! Workloads: what starts at which client VMs.

use plsim_host::{
    Close, ClosedLoopConfig, Distribution, Jitter, Keeping, Model, NoticeClose, OnConnectFailure,
    Order, PoolConfig, Retry, Subject, TcpParameters, TcpSession, UdpSession, Validation,
    WorkloadConfig, WorkloadKind,
};
use plsim_scenario as file;
use plsim_scenario::{Scenario, WorkloadModel};
use plsim_types::{Duration, Instant, KeyedHash};

use crate::arrivals;
use crate::destination;
use crate::host;
use crate::idle;
use crate::law::law;
use crate::layout::{Layout, narrow};

/// How long a UDP client waits for a response if the scenario does not say.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(5);
/// The same of a pool that tests a connection (HIKARI: `validationTimeout`).
const VALIDATION_TIMEOUT: Duration = Duration::from_secs(5);

/// Collects the workloads that start at one group of VMs.
pub(crate) fn workloads(
    scenario: &Scenario,
    layout: &Layout,
    client: usize,
    seed: u64,
) -> Vec<WorkloadConfig> {
    let group = layout.clients[client].group;
    let own = group.workloads(scenario);
    own.map(|(_, workload)| {
        let stop = workload.stop.unwrap_or(scenario.run.duration);
        WorkloadConfig {
            seed: KeyedHash::new(seed, "workload")
                .derive(workload.name.as_str())
                .word(u64::from(workload.copy())),
            destinations: destination::destinations(scenario, layout, workload),
            kind: session(
                scenario,
                workload,
                host::client_tcp(scenario, group, workload),
            ),
            model: model(scenario, workload),
            arrival: arrivals::arrival(scenario, workload.effective_arrival()),
            rate: workload.rate.as_ref().map(arrivals::rate),
            curve: arrivals::curve(workload.rate.as_ref()),
            connections: workload.starts(),
            start: Instant::ZERO + workload.start.0,
            stop: Instant::ZERO + stop.0,
            silence_limit: idle::silence_limit(scenario, workload),
        }
    })
    .collect()
}

fn session(scenario: &Scenario, workload: &file::Workload, tcp: TcpParameters) -> WorkloadKind {
    let request = law(scenario, &workload.request_size);
    let response = law(scenario, &workload.response_size);
    let hold = law(scenario, &workload.hold);
    let service_time = law(scenario, &workload.service_time);
    let interval = workload.interval.as_ref();
    let interval = interval.map(|interval| law(scenario, interval));
    let requests = workload.requests.map(|count| count.0);
    let requests = requests.map(|count| u32::try_from(count).unwrap_or(u32::MAX));
    match workload.protocol {
        file::Transport::Tcp => WorkloadKind::Tcp(TcpSession {
            request,
            response,
            service_time,
            requests,
            interval,
            hold,
            response_timeout: span(workload.response_timeout),
            connect_timeout: span(workload.connect_timeout),
            close: match workload.close {
                file::Close::Fin => Close::Fin,
                file::Close::Rst => Close::Rst,
                file::Close::Abandon => Close::Abandon,
                file::Close::Server => Close::Server,
            },
            tcp,
        }),
        file::Transport::Udp => WorkloadKind::Udp(UdpSession {
            request,
            response,
            service_time,
            requests,
            hold,
            interval,
            response_timeout: span(workload.response_timeout).unwrap_or(RESPONSE_TIMEOUT),
        }),
    }
}

/// Returns the subjects of all workloads whose server publishes, in the order of their names: the
/// order in the file must not show.
fn subjects_of(scenario: &Scenario) -> Vec<&file::Workload> {
    let own = scenario.workload.iter().filter(|workload| {
        workload.model == WorkloadModel::PubSub
            && workload.publisher.unwrap_or_default() == file::Publisher::Server
    });
    let mut own: Vec<_> = own.collect();
    own.sort_by(|one, other| one.name.cmp(&other.name));
    own
}

/// Returns what clients can subscribe to: all VMs have the same news at the same time.
pub(crate) fn subjects(scenario: &Scenario, seed: u64) -> Vec<Subject> {
    let own = subjects_of(scenario).into_iter();
    own.filter_map(|workload| {
        Some(Subject {
            interval: law(scenario, workload.interval.as_ref()?),
            seed: KeyedHash::new(seed, "subject")
                .derive(workload.name.as_str())
                .word(0),
        })
    })
    .collect()
}

fn subject(scenario: &Scenario, workload: &file::Workload) -> Option<u16> {
    let mut own = subjects_of(scenario).into_iter();
    let at = own.position(|other| other.name == workload.name)?;
    Some(narrow(at))
}

fn model(scenario: &Scenario, workload: &file::Workload) -> Model {
    match workload.model {
        WorkloadModel::OpenLoop => Model::OpenLoop,
        WorkloadModel::ConstantConcurrency => Model::ConstantConcurrency {
            reconnect_delay: span(workload.reconnect_delay).unwrap_or_default(),
        },
        WorkloadModel::ClosedLoop => Model::ClosedLoop(closed_loop(scenario, workload)),
        WorkloadModel::Pool => {
            let pool = workload.pool.as_ref();
            Model::Pool(pool.map(pool_config).expect("broken invariant: rule PL120"))
        }
        WorkloadModel::PubSub => Model::PubSub {
            subject: subject(scenario, workload),
            reconnect_delay: span(workload.reconnect_delay).unwrap_or_default(),
        },
        WorkloadModel::UdpStream => Model::UdpStream {
            echo: workload.echo == Some(true),
        },
    }
}

fn closed_loop(scenario: &Scenario, workload: &file::Workload) -> ClosedLoopConfig {
    let retry = workload.retry.clone().unwrap_or_default();
    ClosedLoopConfig {
        think_time: match &workload.think_time {
            Some(think_time) => law(scenario, think_time),
            None => Distribution::Fixed(0),
        },
        keeping: match workload.keep_connection {
            Some(false) => Keeping::PerRequest,
            Some(true) | None => Keeping::Keep,
        },
        retry: Retry {
            max_attempts: retry.max_attempts,
            backoff: retry.backoff.0,
            backoff_max: retry.backoff_max.0,
            jitter: match retry.jitter {
                file::Jitter::None => Jitter::None,
                file::Jitter::Equal => Jitter::Equal,
                file::Jitter::Full => Jitter::Full,
            },
        },
    }
}

fn pool_config(pool: &file::Pool) -> PoolConfig {
    let after_idle = span(pool.validate_after_idle).unwrap_or_default();
    PoolConfig {
        per_vm: pool.pools_per_vm,
        size: pool.size,
        min_idle: pool.min_idle,
        max_idle: span(pool.max_idle),
        max_lifetime: span(pool.max_lifetime),
        validation: Validation {
            timeout: span(pool.validation_timeout).unwrap_or(VALIDATION_TIMEOUT),
            after_idle: pool.validation.then_some(after_idle),
        },
        keepalive_time: span(pool.keepalives()),
        borrow_timeout: Some(pool.borrow_timeout.0).filter(|span| !span.is_zero()),
        total_timeout: span(pool.total_timeout),
        on_connect_failure: match pool.on_connect_failure {
            file::OnConnectFailure::Wait => OnConnectFailure::Wait,
            file::OnConnectFailure::Fail => OnConnectFailure::Fail,
        },
        order: match pool.order {
            file::PoolOrder::Lifo => Order::Lifo,
            file::PoolOrder::Fifo => Order::Fifo,
            file::PoolOrder::Oldest => Order::Oldest,
        },
        notice_close: match pool.notice_close {
            file::NoticeClose::OnBorrow => NoticeClose::OnBorrow,
            file::NoticeClose::AtOnce => NoticeClose::AtOnce,
        },
    }
}

fn span(span: Option<file::TimeSpan>) -> Option<Duration> {
    span.map(|span| span.0)
}
