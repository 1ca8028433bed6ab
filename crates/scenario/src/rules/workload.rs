use super::Rules;
use super::lints::{PL130, PL131, PL132, PL133};
use super::traffic::{IDLE_KEYS, foreign_to};
use crate::model::{Close, Pool, Transport, Workload, WorkloadModel};
use crate::units::{Law, TimeSpan};
use plsim_types::Duration;

use WorkloadModel::{ClosedLoop, ConstantConcurrency, OpenLoop, PubSub, UdpStream};

/// The longest service time: what the head of a request can say.
const LONGEST_SERVICE: Duration = Duration::from_secs(3 * 86_400);

/// The keys that mean something to some models only, and to which.
const KEYS: [(&str, &[WorkloadModel]); 17] = [
    (
        "connections",
        &[OpenLoop, ConstantConcurrency, PubSub, UdpStream],
    ),
    (
        "connections_per_vm",
        &[OpenLoop, ConstantConcurrency, PubSub, UdpStream],
    ),
    ("clients", &[ClosedLoop]),
    ("clients_per_vm", &[ClosedLoop]),
    ("requests", &[OpenLoop, ConstantConcurrency]),
    (
        "interval",
        &[OpenLoop, ConstantConcurrency, PubSub, UdpStream],
    ),
    ("hold", &[OpenLoop, ConstantConcurrency, UdpStream]),
    (
        "service_time",
        &[
            OpenLoop,
            ConstantConcurrency,
            ClosedLoop,
            WorkloadModel::Pool,
        ],
    ),
    (
        "response_timeout",
        &[
            OpenLoop,
            ConstantConcurrency,
            ClosedLoop,
            WorkloadModel::Pool,
        ],
    ),
    (
        "response_size",
        &[
            OpenLoop,
            ConstantConcurrency,
            ClosedLoop,
            WorkloadModel::Pool,
            PubSub,
        ],
    ),
    ("reconnect_delay", &[ConstantConcurrency, PubSub]),
    ("think_time", &[ClosedLoop]),
    ("keep_connection", &[ClosedLoop]),
    ("retry", &[ClosedLoop]),
    ("pool", &[WorkloadModel::Pool]),
    ("publisher", &[PubSub]),
    ("echo", &[UdpStream]),
];

/// Returns the keys that do nothing in a workload: it is not to write them, and has their defaults.
pub(crate) fn idle_keys(workload: &Workload) -> Vec<&'static str> {
    let of_others = KEYS.iter();
    let of_others = of_others.filter(|(_, models)| !models.contains(&workload.model));
    let mut keys: Vec<&str> = of_others.map(|(key, _)| *key).collect();
    keys.extend(foreign_to(workload.protocol));
    if workload.close == Close::Abandon {
        keys.extend(IDLE_KEYS);
    }
    if workload.effective_arrival() != &workload.arrival {
        keys.push("arrival");
    }
    keys
}

impl Rules<'_> {
    /// What drives a workload: that it has what it needs, and nothing that it would ignore.
    pub(super) fn model(&mut self, path: &str, workload: &Workload) {
        self.keys_of_model(path, workload);
        self.needs_of_model(path, workload);
        self.closes(path, workload);
        let service_time = self.scenario.typical(&workload.service_time);
        if service_time > LONGEST_SERVICE {
            let message = format!("`service_time` cannot be {service_time}");
            self.report(PL130, &format!("{path}.service_time"), message)
                .label("longer than 3 d")
                .help("a query that nobody would wait for needs no service time");
        }
        if let Some(requests) = workload.requests
            && !(1..=u64::from(u32::MAX)).contains(&requests.0)
        {
            self.report(
                PL130,
                &format!("{path}.requests"),
                "`requests` must be 1 to 4294967295",
            )
            .help("leave it out for one request, or for as many as fit into `hold`");
        }
        if let Some(retry) = &workload.retry {
            let (first, most) = (retry.backoff.0, retry.backoff_max.0);
            if first > most {
                let message = format!("`backoff` of {first} is above `backoff_max` of {most}");
                self.report(PL132, &format!("{path}.retry.backoff"), message)
                    .help("the waits begin with `backoff` and double up to `backoff_max`");
            }
        }
        if let Some(pool) = &workload.pool {
            self.pool(&format!("{path}.pool"), pool, workload.pools());
        }
        self.rests(path, workload);
    }

    fn keys_of_model(&mut self, path: &str, workload: &Workload) {
        for (key, models) in KEYS {
            let key_path = format!("{path}.{key}");
            if models.contains(&workload.model) || !self.scenario.is_written(&key_path) {
                continue;
            }
            let own = workload.model.name();
            let names: Vec<String> = models
                .iter()
                .map(|model| format!("\"{}\"", model.name()))
                .collect();
            let message = format!("`{key}` means nothing to the model \"{own}\"");
            let help = instead(workload.model, key);
            let finding = self.report(PL130, &key_path, message);
            let finding = finding.help(format!(
                "remove it, or write model = {}",
                names.join(" or ")
            ));
            if let Some(help) = help {
                finding.help(help);
            }
        }
        let (needed, other) = match workload.model {
            UdpStream => (Transport::Udp, "udp"),
            PubSub | WorkloadModel::Pool => (Transport::Tcp, "tcp"),
            OpenLoop | ConstantConcurrency | ClosedLoop => return,
        };
        if workload.protocol != needed {
            let message = format!("a `{}` workload is {other}", workload.model.name());
            self.report(PL130, &format!("{path}.model"), message)
                .help(format!("write protocol = \"{other}\", or another model"));
        }
    }

    fn needs_of_model(&mut self, path: &str, workload: &Workload) {
        let own = workload.model.name();
        let pairs = [
            (
                "connections",
                workload.connections,
                workload.connections_per_vm,
            ),
            ("clients", workload.clients, workload.clients_per_vm),
        ];
        for (key, in_all, each) in pairs {
            if in_all.is_some() && each.is_some() {
                let message = format!("`{key}` and `{key}_per_vm` exclude each other");
                self.report(PL130, &format!("{path}.{key}_per_vm"), message)
                    .see(&format!("{path}.{key}"), "those of all VMs together")
                    .help("keep one of them");
            }
        }
        let needs: &[(&str, bool, &str)] = match workload.model {
            OpenLoop => &[],
            ConstantConcurrency => &[("connections", workload.has_number(), "1000")],
            ClosedLoop => &[
                ("clients", workload.has_number(), "100"),
                ("think_time", workload.think_time.is_some(), "\"1s\""),
            ],
            WorkloadModel::Pool => &[("pool", workload.pool.is_some(), "{ size = 10 }")],
            PubSub => &[
                ("connections", workload.has_number(), "100"),
                ("interval", workload.interval.is_some(), "\"10min\""),
            ],
            UdpStream => &[
                ("interval", workload.interval.is_some(), "\"20ms\""),
                ("hold", workload.hold != Law::default(), "\"1min\""),
            ],
        };
        for (key, _, example) in needs.iter().filter(|(_, is_there, _)| !is_there) {
            let message = format!("the model \"{own}\" needs `{key}`");
            self.report(PL130, path, message)
                .help(format!("add for example {key} = {example}"));
        }
    }

    /// Ways to close that a model has no use for.
    fn closes(&mut self, path: &str, workload: &Workload) {
        let path = format!("{path}.close");
        match workload.close {
            Close::Fin | Close::Rst => {}
            Close::Abandon if workload.model == OpenLoop => {}
            Close::Abandon => {
                let message = "only connections that arrive and are left alone can be abandoned";
                self.report(PL130, &path, message)
                    .help("use model = \"open-loop\", or close with \"fin\" or \"rst\"");
            }
            Close::Server => {
                let ends = match workload.model {
                    OpenLoop | ConstantConcurrency => {
                        workload.requests.is_some() || workload.interval.is_none()
                    }
                    ClosedLoop => workload.keep_connection == Some(false),
                    WorkloadModel::Pool | PubSub | UdpStream => false,
                };
                if !ends {
                    let message = "the server closes behind the last request, and there is none";
                    self.report(PL130, &path, message)
                        .help("say how many `requests` there are, or set keep_connection = false");
                }
                if workload.hold != Law::default() {
                    self.report(
                        PL130,
                        &path,
                        "a server that closes does not wait for `hold`",
                    )
                    .help("remove `hold`, or let the client close");
                }
            }
        }
    }

    fn pool(&mut self, path: &str, pool: &Pool, pools: u64) {
        if pools == 0 || pools > MOST_POOLS {
            let message = format!("a workload cannot have {pools} pools");
            self.report(PL131, &format!("{path}.pools_per_vm"), message)
                .label("for each VM of the group")
                .help("1 is one for each VM; all VMs together may have 65535");
        }
        if pool.min_idle > pool.size {
            let message = format!(
                "a pool of {} cannot keep {} connections",
                pool.size, pool.min_idle
            );
            self.report(PL131, &format!("{path}.min_idle"), message)
                .see(&format!("{path}.size"), "the most there are")
                .help("`min_idle` is at most `size`");
        }
        let spans = [
            ("max_idle", pool.max_idle),
            ("max_lifetime", pool.max_lifetime),
            ("validation_timeout", pool.validation_timeout),
            ("total_timeout", pool.total_timeout),
        ];
        let is_zero = |span: Option<TimeSpan>| span.is_some_and(|span| span.0.is_zero());
        for (key, _) in spans.into_iter().filter(|(_, span)| is_zero(*span)) {
            let message = format!("`{key}` must be above zero");
            self.report(PL131, &format!("{path}.{key}"), message)
                .help("leave it out if the pool has no such limit");
        }
        if pool.validate_after_idle.is_some() && !pool.validation {
            let key = format!("{path}.validate_after_idle");
            self.report(PL131, &key, "this pool does not test what it lends")
                .help("add validation = true, or remove the key");
        }
        if pool.validation_timeout.is_some() && !pool.validation && pool.keepalives().is_none() {
            let key = format!("{path}.validation_timeout");
            self.report(PL131, &key, "this pool tests no connection")
                .help("add validation = true or keepalive_time, or remove the key");
        }
        if let (Some(idle), Some(life)) = (pool.max_idle, pool.max_lifetime)
            && life < idle
        {
            let message = format!(
                "no connection is unused for {}: it is closed when it is {} old",
                idle.0, life.0
            );
            self.report(PL131, &format!("{path}.max_idle"), message)
                .see(&format!("{path}.max_lifetime"), "shorter")
                .help("`max_idle` is at most `max_lifetime`");
        }
    }

    /// Warns of connections that are meant to rest for longer than the network lets them.
    fn rests(&mut self, path: &str, workload: &Workload) {
        if workload.protocol == Transport::Udp || workload.close == Close::Abandon {
            return;
        }
        let Some((ceiling, whose)) = self.ceiling_of(workload) else {
            return;
        };
        if workload
            .keepalive
            .0
            .is_some_and(|probing| probing.time.0 < ceiling)
        {
            return;
        }
        let pool = workload.pool.as_ref();
        let tends = pool.and_then(Pool::keepalives);
        // A pool that keeps all its connections closes none for being unused.
        let limit = match pool {
            Some(pool) if pool.min_idle >= pool.size => ("pool.max_lifetime", pool.max_lifetime),
            _ => ("pool.max_idle", pool.and_then(|pool| pool.max_idle)),
        };
        let is_tended = tends.is_some_and(|tends| tends.0 < ceiling);
        // Of a distribution nothing is said: many of its holds may be short.
        let held = match (&workload.hold, workload.model) {
            (Law::Fixed(hold), WorkloadModel::OpenLoop | WorkloadModel::ConstantConcurrency) => {
                let rests = workload.interval.is_none() || workload.requests.is_some();
                let silent = rests && workload.keepalive.0.is_none();
                let shows = workload.start.0 + ceiling < self.scenario.run.duration.0;
                Some(*hold).filter(|hold| silent && shows && hold.0 > ceiling)
            }
            _ => None,
        };
        let rests = [
            ("hold", held),
            (limit.0, limit.1.filter(|_| !is_tended)),
            ("pool.keepalive_time", tends),
        ];
        self.drawn_rests(path, workload, (ceiling, whose));
        for (key, span) in rests {
            let Some(span) = span.filter(|span| span.0 >= ceiling) else {
                continue;
            };
            if key == "pool.max_lifetime" {
                let message = format!(
                    "a pool that keeps all its connections closes none for resting, and the flow of one that \
                     rests is gone after {ceiling}, before it is {} old",
                    span.0
                );
                self.report(PL133, &format!("{path}.{key}"), message)
                    .label("too long")
                    .help(format!(
                        "set max_idle and lower min_idle, or keepalive_time; else {}",
                        against(whose)
                    ));
                continue;
            }
            let message = format!(
                "a connection that rests for {} is dead: the flow is gone after {ceiling} without \
                 packets",
                span.0
            );
            self.report(PL133, &format!("{path}.{key}"), message)
                .label("too long")
                .help(against(whose));
        }
    }

    /// Warns of laws of which more than a few draws are too long, whatever their mean is.
    fn drawn_rests(&mut self, path: &str, workload: &Workload, (ceiling, whose): (Duration, &str)) {
        let laws = [
            ("interval", workload.interval.as_ref()),
            ("service_time", Some(&workload.service_time)),
            ("think_time", workload.think_time.as_ref()),
        ];
        for (key, law) in laws {
            let Some(law) = law else { continue };
            let share = self.scenario.share_of(law, ceiling);
            if share < FEW {
                continue;
            }
            let message = match law {
                Law::Fixed(span) => format!(
                    "a connection that rests for {} is dead: the flow is gone after {ceiling} without \
                     packets",
                    span.0
                ),
                Law::Drawn(_) => format!(
                    "{} of the rests are for {ceiling} or more: the flow is gone after so long without \
                     packets",
                    share_text(share)
                ),
            };
            self.report(PL133, &format!("{path}.{key}"), message)
                .label("too long")
                .help(against(whose));
        }
    }
}

/// The most pools of a workload: as many as their timers can be told apart.
const MOST_POOLS: u64 = 65_535;

/// Draws that are too long are told from this share on: one in a thousand.
const FEW: f64 = 0.001;

fn against(whose: &str) -> String {
    format!("stay below {whose}, or send TCP keepalives more often")
}

/// Writes a share in percent with one decimal.
fn share_text(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

/// Says which key of a model does what another key does elsewhere.
fn instead(model: WorkloadModel, key: &str) -> Option<&'static str> {
    match (model, key) {
        (ClosedLoop, "connections" | "connections_per_vm") => Some("a closed loop has `clients`"),
        (WorkloadModel::Pool, "connections" | "connections_per_vm") => {
            Some("the pool's own `size` limits its connections")
        }
        (ClosedLoop, "interval" | "hold") => Some("a closed loop has `think_time`"),
        (WorkloadModel::Pool, "hold") => Some("the pool's own `max_idle` ends idle connections"),
        _ => None,
    }
}
