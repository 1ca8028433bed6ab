use super::Rules;
use super::lints::{PL037, PL051, PL052, PL053, PL054, PL055, PL056, PL057, PL058, PL059};
use crate::model::{Arrival, Close, Destination, Transport, Workload, WorkloadModel};
use crate::units::{ByteSize, FrontendPath, Law, Name, Probing, TimeSpan};
use plsim_types::{Duration, Protocol};

/// Connections of one workload.
const MAX_CONNECTIONS: u64 = 100_000_000;
/// Connections or clients that one workload holds.
const MAX_HELD: u64 = 10_000_000;
/// The smallest request: its first eight bytes tell the server how much to read and to answer.
const MIN_REQUEST_BYTES: u64 = 8;
/// The same of one that asks for more than a response at once.
const LONG_REQUEST_BYTES: u64 = 16;
/// The largest request or response over TCP.
const MAX_TCP_BYTES: u64 = 1 << 30;
/// What an abandoned connection has no use for.
pub(super) const IDLE_KEYS: [&str; 2] = ["hold", "keepalive"];
/// The largest UDP payload in one packet: 1500 bytes less 20 for IP and 8 for UDP.
const MAX_UDP_BYTES: u64 = 1_472;

/// Returns the keys that mean something to the other protocol only.
pub(super) const fn foreign_to(protocol: Transport) -> &'static [&'static str] {
    match protocol {
        Transport::Tcp => &["echo"],
        Transport::Udp => &[
            "close",
            "connect_timeout",
            "keepalive",
            "user_timeout",
            "delayed_ack",
            "syn_retries",
            "retries",
            "orphan_retries",
            "initial_rto",
            "min_rto",
        ],
    }
}

impl Rules<'_> {
    /// Workloads: what they start, where it goes, and whether it can arrive.
    pub(super) fn traffic(&mut self) {
        for (index, vm) in self.scenario.backend_vm.iter().enumerate() {
            let path = format!("backend_vm[{index}]");
            if let Some(probing) = &vm.keepalive.0 {
                self.probing(&path, probing);
            }
            self.time_wait(&path, vm.time_wait.0);
        }
        for (index, vm) in self.scenario.client_vm.iter().enumerate() {
            self.time_wait(&format!("client_vm[{index}]"), vm.effective_time_wait());
        }
        for (index, workload) in self.scenario.workload.iter().enumerate() {
            let path = format!("workload[{index}]");
            self.keys_of_protocol(&path, workload);
            self.model(&path, workload);
            self.arrivals(&path, workload);
            self.sizes(&path, workload);
            self.rules_for(&path, workload);
            self.keepalive(&path, workload);
            self.abandoned(&path, workload);
        }
    }

    fn keys_of_protocol(&mut self, path: &str, workload: &Workload) {
        let (own, other) = match workload.protocol {
            Transport::Tcp => ("tcp", "udp"),
            Transport::Udp => ("udp", "tcp"),
        };
        for key in foreign_to(workload.protocol) {
            let key_path = format!("{path}.{key}");
            if self.scenario.is_written(&key_path) {
                self.report(
                    PL054,
                    &key_path,
                    format!("`{key}` is for {other}, this workload is {own}"),
                )
                .label(format!("no meaning in {own}"))
                .help(format!("remove it, or write protocol = \"{other}\""));
            }
        }
        let zero = |timer: Duration| timer.is_zero();
        for (key, timer, help) in [
            (
                "initial_rto",
                workload.initial_rto,
                "RFC 6298 begins with \"1s\"",
            ),
            ("min_rto", workload.min_rto, "Linux has \"200ms\""),
        ] {
            if zero(timer.0) {
                let message = format!("`{key}` must be above zero");
                self.report(PL037, &format!("{path}.{key}"), message)
                    .help(help);
            }
        }
        let fixed = |law: &Option<Law<TimeSpan>>| match law {
            Some(Law::Fixed(span)) => Some(*span),
            Some(Law::Drawn(_)) | None => None,
        };
        let spans = [
            (
                "connect_timeout",
                workload.connect_timeout,
                "leave it out: `syn_retries` decides",
            ),
            (
                "response_timeout",
                workload.response_timeout,
                "leave it out: TCP then waits for as long as the connection lives, UDP for 5 s",
            ),
            (
                "interval",
                fixed(&workload.interval),
                "leave it out, or say with `requests` how many follow each other",
            ),
        ];
        for (key, span, help) in spans {
            if span.is_some_and(|span| zero(span.0)) {
                let message = format!("`{key}` must be above zero");
                self.report(PL037, &format!("{path}.{key}"), message)
                    .help(help);
            }
        }
    }

    fn arrivals(&mut self, path: &str, workload: &Workload) {
        let end = self.scenario.run.duration.0;
        let stop = workload.stop.map_or(end, |stop| stop.0);
        let start = workload.start.0;
        if start >= end && !end.is_zero() {
            self.report(
                PL055,
                &format!("{path}.start"),
                format!("the workload starts at {start}, when the run is over"),
            )
            .see("run.duration", "the run ends here")
            .help("start it earlier, or let the run last longer");
            return;
        }
        if workload.stop.is_some() && stop <= start {
            let message = format!("the workload stops at {stop}, before it starts at {start}");
            self.report(PL055, &format!("{path}.stop"), message)
                .label("must be after the start")
                .help("`stop` is a point in time, not a length");
            return;
        }
        let connections = workload.starts();
        if connections == Some(0) && workload.machines > 0 {
            let message = match workload.model {
                WorkloadModel::ClosedLoop => "a closed loop has at least one client",
                _ => "a workload starts at least one connection",
            };
            let key = workload.number_key();
            self.report(PL052, &format!("{path}.{key}"), message)
                .help("leave the workload out if nothing is to start");
        }
        if workload.is_held() && workload.rate.is_none() {
            return self.held(path, connections, workload);
        }
        match (&workload.arrival, &workload.rate) {
            (Arrival::AtOnce, rate) => self.at_once(path, rate.is_some(), connections, workload),
            (Arrival::Bursts(_) | Arrival::File(_), Some(_)) => {
                let message = "arrivals in bursts or from a file have no rate";
                self.report(PL052, &format!("{path}.rate"), message)
                    .see(&format!("{path}.arrival"), "says when connections start")
                    .help("remove `rate`, or use arrival = \"constant\"");
            }
            (Arrival::Constant | Arrival::Poisson, None) => {
                self.report(PL052, path, format!("workload `{}` has no `rate`", workload.name))
                    .label("how often does a connection start?")
                    .help("add for example rate = \"1000/s\", or arrival = \"at-once\" and connections = 1000");
            }
            (Arrival::Constant | Arrival::Poisson, Some(_)) => {
                self.number_of_starts(path, "rate", workload);
            }
            (Arrival::Bursts(_) | Arrival::File(_), None) => {
                self.number_of_starts(path, "arrival", workload);
            }
        }
    }

    /// Checks that not too many connections start, and of a list all.
    fn number_of_starts(&mut self, path: &str, key: &str, workload: &Workload) {
        let files = &self.scenario.files;
        let span = workload.span(self.scenario.run.duration.0);
        if let Some(count) = workload
            .connections
            .filter(|count| count.0 > MAX_CONNECTIONS)
        {
            let message = format!(
                "a workload starts at most {MAX_CONNECTIONS} connections, not {}",
                count.0
            );
            self.report(PL053, &format!("{path}.connections"), message)
                .help("split the work over several runs");
            return;
        }
        let Some(started) = workload.planned(self.scenario.run.duration.0, files) else {
            return;
        };
        if started > MAX_CONNECTIONS {
            let message =
                format!("{started} connections start in {span}; the limit is {MAX_CONNECTIONS}");
            self.report(PL053, &format!("{path}.{key}"), message)
                .label("too many in all")
                .help("let fewer start, set `stop`, or cap them with `connections`");
        }
        if !matches!(workload.arrival, Arrival::File(_)) || workload.has_number() {
            return;
        }
        let listed = workload.arrival.starts_within(Duration::MAX, files);
        let late = listed.map_or(0, |listed| listed.saturating_sub(started));
        if late > 0 {
            let message = format!("{late} of the connections in the file never start");
            self.report(PL059, &format!("{path}.{key}"), message)
                .label(format!("this workload starts connections for {span}"))
                .help("times in the file count from `start`; let the run last longer");
        }
    }

    /// A number of connections or clients without a rate: all at once.
    fn held(&mut self, path: &str, count: Option<u64>, workload: &Workload) {
        if matches!(workload.arrival, Arrival::Constant | Arrival::Poisson)
            && self.scenario.is_written(&format!("{path}.arrival"))
        {
            self.report(
                PL052,
                &format!("{path}.arrival"),
                "this arrival needs a `rate`",
            )
            .help("add one, or leave `arrival` out: all then start at once");
        }
        if count.is_some_and(|count| count > MAX_HELD) {
            let message = format!(
                "a `{}` workload holds at most {MAX_HELD}, not {}",
                workload.model.name(),
                count.unwrap_or_default()
            );
            let key = workload.number_key();
            self.report(PL053, &format!("{path}.{key}"), message)
                .help("split the work over several workloads or runs");
        }
    }

    fn at_once(&mut self, path: &str, rate: bool, connections: Option<u64>, workload: &Workload) {
        if rate {
            self.report(
                PL052,
                &format!("{path}.rate"),
                "arrivals at once have no rate",
            )
            .see(&format!("{path}.arrival"), "all start in one instant")
            .help("remove `rate`, or use arrival = \"constant\"");
        }
        if workload.stop.is_some() {
            self.report(
                PL052,
                &format!("{path}.stop"),
                "arrivals at once need no `stop`",
            )
            .see(&format!("{path}.arrival"), "all start in one instant")
            .help("remove `stop`");
        }
        match connections {
            None => {
                self.report(
                    PL052,
                    path,
                    format!("workload `{}` has no `connections`", workload.name),
                )
                .label("how many start at once?")
                .help("add for example connections = 1000");
            }
            Some(count) if count > MAX_CONNECTIONS => {
                let message =
                    format!("a workload starts at most {MAX_CONNECTIONS} connections, not {count}");
                let key = workload.number_key();
                self.report(PL053, &format!("{path}.{key}"), message)
                    .help("split the work over several runs");
            }
            Some(_) => {}
        }
    }

    /// After its response an abandoned connection falls silent for good: these keys do nothing.
    fn abandoned(&mut self, path: &str, workload: &Workload) {
        if workload.close != Close::Abandon {
            return;
        }
        for key in IDLE_KEYS {
            let key_path = format!("{path}.{key}");
            if self.scenario.is_written(&key_path) {
                self.report(PL058, &key_path, format!("`{key}` does nothing here"))
                    .see(&format!("{path}.close"), "falls silent after the response")
                    .help("remove it, or close with \"fin\" or \"rst\"");
            }
        }
    }

    fn sizes(&mut self, path: &str, workload: &Workload) {
        let (most, why) = match workload.protocol {
            Transport::Tcp => (MAX_TCP_BYTES, "over TCP"),
            Transport::Udp => (
                MAX_UDP_BYTES,
                "over UDP: it must fit into one packet of 1500 bytes",
            ),
        };
        let head = match workload.has_long_head() {
            true => LONG_REQUEST_BYTES,
            false => MIN_REQUEST_BYTES,
        };
        for (key, law, least) in [
            ("request_size", &workload.request_size, head),
            ("response_size", &workload.response_size, 1),
        ] {
            let Some((ByteSize(smallest), ByteSize(largest))) = law.range(&self.scenario.files)
            else {
                continue;
            };
            if smallest < least || largest > most {
                let wrong = if smallest < least { smallest } else { largest };
                let message = format!(
                    "`{key}` must lie between {} and {} {why}, not {}",
                    ByteSize(least),
                    ByteSize(most),
                    ByteSize(wrong)
                );
                self.report(PL056, &format!("{path}.{key}"), message)
                    .label("out of range");
            }
        }
    }

    /// Returns the service that a private endpoint leads to.
    fn service_of(&self, endpoint: &Name) -> Option<usize> {
        let endpoint = &self.scenario.private_endpoint[self.index.endpoint(endpoint)?];
        self.index.service(&endpoint.private_link_service)
    }

    /// Returns the frontends that a workload's connections come to, each once.
    fn frontends_of<'a>(&'a self, workload: &'a Workload) -> Vec<&'a FrontendPath> {
        let mut frontends = Vec::new();
        for (_, destination) in workload.destinations() {
            let frontend = match destination {
                Destination::PrivateEndpoint(name) => self.service_of(name).map(|service| {
                    &self.scenario.private_link_service[service].load_balancer_frontend
                }),
                Destination::Frontend(path) => Some(path),
            };
            frontends.extend(frontend.filter(|path| !frontends.contains(path)));
        }
        frontends
    }

    /// Warns if no rule takes the workload's packets: that is a legal experiment.
    fn rules_for(&mut self, path: &str, workload: &Workload) {
        let frontends: Vec<FrontendPath> =
            self.frontends_of(workload).into_iter().cloned().collect();
        for frontend in &frontends {
            self.rule_for(path, workload, frontend);
        }
    }

    fn rule_for(&mut self, path: &str, workload: &Workload, frontend: &FrontendPath) {
        let Some((balancer, _)) = self.index.frontend(frontend) else {
            return;
        };
        let protocol = Protocol::from(workload.protocol);
        let rules = &self.scenario.load_balancer[balancer].rule;
        let on_frontend = || {
            rules.iter().filter(|rule| {
                rule.frontend == frontend.frontend && rule.protocol.carries(protocol)
            })
        };
        if on_frontend().all(|rule| ![0, workload.port].contains(&rule.frontend_port)) {
            let ports: Vec<String> = on_frontend()
                .take(8)
                .map(|rule| rule.frontend_port.to_string())
                .collect();
            let help = match ports.as_slice() {
                [] => format!("frontend `{frontend}` has no {protocol} rule"),
                ports => format!(
                    "the {protocol} rules of frontend `{frontend}` take {}",
                    ports.join(", ")
                ),
            };
            let message = format!(
                "no rule takes {protocol} port {}: every packet is dropped",
                workload.port
            );
            self.report(PL051, &format!("{path}.port"), message)
                .label("no rule")
                .help(help);
        }
    }

    fn time_wait(&mut self, path: &str, span: Duration) {
        if span.is_zero() {
            let message = "`time_wait` must be above zero";
            self.report(PL037, &format!("{path}.time_wait"), message)
                .help("Linux has \"60s\"");
        }
    }

    /// The spans of a keepalive are above zero.
    pub(super) fn probing(&mut self, path: &str, probing: &Probing) {
        for (key, span) in [("time", probing.time), ("interval", probing.interval)] {
            if span.0.is_zero() {
                let key_path = format!("{path}.keepalive.{key}");
                self.report(PL037, &key_path, format!("`{key}` must be above zero"))
                    .help("Linux has { time = \"7200s\", interval = \"75s\", probes = 9 }");
            }
        }
    }

    /// Returns how long a connection of a workload may be silent wherever it goes, and whose timeout
    /// that is.
    pub(super) fn ceiling_of(&self, workload: &Workload) -> Option<(Duration, &'static str)> {
        let destinations = workload.destinations();
        let ceilings = destinations.filter_map(|(_, destination)| match destination {
            Destination::PrivateEndpoint(name) => {
                Some(self.idle_ceiling(self.service_of(name)?, workload.port))
            }
            Destination::Frontend(path) => self.rule_ceiling(path, workload.port),
        });
        ceilings.min_by_key(|(ceiling, _)| *ceiling)
    }

    fn keepalive(&mut self, path: &str, workload: &Workload) {
        let Some(probing) = workload.keepalive.0 else {
            return;
        };
        self.probing(path, &probing);
        let keepalive = probing.time.0;
        let Some((timeout, whose)) = self.ceiling_of(workload) else {
            return;
        };
        let backends = &self.scenario.backend_vm;
        let servers_probe = !backends.is_empty()
            && backends.iter().all(|vm| {
                let probing = vm.keepalive.0;
                probing.is_some_and(|probing| probing.time.0 < timeout)
            });
        if keepalive >= timeout && !servers_probe {
            let message = format!(
                "the first keepalive comes after {keepalive}, the flow is gone after {timeout} without packets"
            );
            self.report(PL057, &format!("{path}.keepalive"), message)
                .label("too late")
                .help(format!(
                    "keepalives must come before {whose}; Linux's default of 7200 s does not"
                ));
        }
    }
}
