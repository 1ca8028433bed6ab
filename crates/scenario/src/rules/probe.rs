use super::Rules;
use super::lints::{PL100, PL101, PL102, PL103, PL104, PL105, PL106, PL107};
use crate::model::{AdminState, Flapping, Probe, ProbePreset, ProbeProtocol, VmState};
use crate::suggest::nearest;
use crate::units::{Name, PoolPath};
use plsim_types::Duration;

/// The shortest interval (D-PRB23).
const SHORTEST: Duration = Duration::from_secs(5);
/// The longest that all probes of a verdict took together in 2018 (D-PRB18).
const LONGEST_2018: Duration = Duration::from_secs(120);
/// The shortest time for which a flapping VM is up or down: each change is an event of the run.
const SHORTEST_FLAP: Duration = Duration::from_millis(1);
/// Ports that an HTTP probe cannot have (D-PRB23).
const FORBIDDEN: [u16; 9] = [19, 21, 25, 70, 110, 119, 143, 220, 993];
/// The longest path, so that a request is one segment.
const LONGEST_PATH: usize = 1_024;

impl Rules<'_> {
    /// Health probes, and the VMs that they may find failing.
    pub(super) fn probes(&mut self) {
        for (index, balancer) in self.scenario.load_balancer.iter().enumerate() {
            for (place, probe) in balancer.probe.iter().enumerate() {
                let path = format!("load_balancer[{index}].probe[{place}]");
                self.probe(&path, probe);
                let is_named = |name: &Option<_>| name.as_ref() == Some(&probe.name);
                // A rule with a misspelt name is reported as such, and means this one.
                let is_misspelt = balancer.rule.iter().any(|rule| {
                    let names = || balancer.probe.iter().map(|probe| probe.name.as_str());
                    let wanted = rule.probe.as_ref().map(Name::as_str);
                    wanted.is_some_and(|wanted| {
                        !names().any(|name| name == wanted)
                            && nearest(wanted, names()) == Some(probe.name.as_str())
                    })
                });
                let is_asked = balancer.rule.iter().any(|rule| is_named(&rule.probe));
                if !is_asked && !is_misspelt {
                    let message = format!("probe `{}` is named by no rule", probe.name);
                    self.report(PL105, &format!("{path}.name"), message)
                        .label("it asks nobody")
                        .help(format!("add probe = \"{}\" to a rule", probe.name));
                }
            }
        }
        for (index, backend) in self.scenario.backend_vm.iter().enumerate() {
            let path = format!("backend_vm[{index}]");
            self.flapping(&path, backend.flapping, Some(backend.state));
            if backend.admin_state != AdminState::None {
                self.admin_states(&path, &backend.backend_pools);
            }
        }
        for (index, event) in self.scenario.event.iter().enumerate() {
            let path = format!("event[{index}]");
            self.flapping(&path, event.flapping, event.state);
            if event
                .admin_state
                .is_some_and(|state| state != AdminState::None)
            {
                let wanted = event.backend_pool.as_ref();
                let mut groups = self.scenario.backend_vm.iter();
                let group = groups.find(|group| {
                    let is_it = |name: &str| {
                        let wanted = event.backend_vm.as_ref();
                        wanted.is_some_and(|wanted| wanted.as_str() == name)
                    };
                    is_it(group.name.as_str()) || group.machines().any(|machine| is_it(&machine))
                });
                let own = group.map_or(&[][..], |group| &group.backend_pools);
                self.admin_states(&path, wanted.map_or(own, core::slice::from_ref));
            }
        }
    }

    /// Azure looks at an admin state only where a rule has a probe.
    fn admin_states(&mut self, path: &str, pools: &[PoolPath]) {
        for pool in pools {
            let Some((balancer, _)) = self.index.pool(pool) else {
                continue;
            };
            let balancer = &self.scenario.load_balancer[balancer];
            let mut rules = balancer.rule.iter();
            let unprobed =
                rules.find(|rule| rule.backend_pool == pool.backend_pool && rule.probe.is_none());
            if let Some(rule) = unprobed {
                let message = format!(
                    "rule `{}` of `{}` has no probe: Azure looks at admin states only with one",
                    rule.name, balancer.name
                );
                self.report(PL107, &format!("{path}.admin_state"), message)
                    .label("has an effect here, but not there")
                    .help("give the rule a probe");
                return;
            }
        }
    }

    fn probe(&mut self, path: &str, probe: &Probe) {
        let key = |key: &str| format!("{path}.{key}");
        if probe.interval.0 < SHORTEST {
            let message = format!(
                "a probe cannot ask every {}: the interval is 5 s or more",
                probe.interval
            );
            self.report(PL100, &key("interval"), message)
                .help("write interval = \"5s\"; probe_threshold says how many failures count");
        }
        if probe.protocol != ProbeProtocol::Tcp && FORBIDDEN.contains(&probe.port) {
            let message = format!("an {} probe cannot use port {}", probe.protocol, probe.port);
            self.report(PL101, &key("port"), message)
                .label("the port of another protocol")
                .help("use another port, or protocol = \"tcp\"");
        }
        self.request_path(path, probe);
        match probe.preset {
            ProbePreset::Azure2018 => self.number_of_probes(path, probe),
            ProbePreset::Azure if probe.number_of_probes.is_some() => {
                let message = "`number_of_probes` is not looked at any more";
                self.report(PL104, &key("number_of_probes"), message)
                    .help("use probe_threshold; preset = \"azure-2018\" counts the old way");
            }
            ProbePreset::Azure => {}
        }
    }

    fn request_path(&mut self, path: &str, probe: &Probe) {
        let key = format!("{path}.request_path");
        match (&probe.request_path, probe.protocol) {
            (Some(_), ProbeProtocol::Tcp) => {
                self.report(PL102, &key, "a TCP probe asks for nothing")
                    .label("has no use here")
                    .help("remove it, or use protocol = \"http\"");
            }
            (None, ProbeProtocol::Http | ProbeProtocol::Https) => {
                let message = format!("an {} probe needs `request_path`", probe.protocol);
                self.report(PL102, &format!("{path}.protocol"), message)
                    .label("what does it ask for?")
                    .help("add request_path = \"/\"");
            }
            (Some(wanted), _) => {
                let visible = wanted.bytes().all(|byte| byte.is_ascii_graphic());
                if !wanted.starts_with('/') || !visible || wanted.len() > LONGEST_PATH {
                    let message = "`request_path` is \"/\" and up to 1023 visible ASCII characters";
                    self.report(PL102, &key, message)
                        .label("cannot be asked for")
                        .help("write for example \"/healthz\"; encode other characters as %20");
                }
            }
            (None, ProbeProtocol::Tcp) => {}
        }
    }

    fn number_of_probes(&mut self, path: &str, probe: &Probe) {
        let number = probe.number_of_probes.unwrap_or(2);
        let all = probe.interval.0.times(number.into());
        if number >= 2 && all <= LONGEST_2018 {
            return;
        }
        let key = match probe.number_of_probes {
            Some(_) => "number_of_probes",
            None => "interval",
        };
        let message = match number {
            0 | 1 => "in 2018 a verdict took 2 probes or more".to_owned(),
            _ => format!(
                "in 2018 the probes of a verdict took 120 s at most, {number} every {} take {all}",
                probe.interval
            ),
        };
        self.report(PL103, &format!("{path}.{key}"), message)
            .help("take a number and an interval that fit, or remove preset = \"azure-2018\"");
    }

    fn flapping(&mut self, path: &str, flapping: Option<Flapping>, state: Option<VmState>) {
        let Some(flapping) = flapping else { return };
        for (key, span) in [("up", flapping.up), ("down", flapping.down)] {
            if span.0 < SHORTEST_FLAP {
                let message = match span.0.is_zero() {
                    true => format!("a flapping VM cannot be {key} for no time"),
                    false => format!("a flapping VM is {key} for {SHORTEST_FLAP} or more"),
                };
                self.report(PL106, &format!("{path}.flapping.{key}"), message)
                    .help("write for example { up = \"40s\", down = \"20s\" }");
            }
        }
        if state.is_some_and(|state| state != VmState::Running) {
            self.report(
                PL106,
                &format!("{path}.flapping"),
                "only a running VM flaps",
            )
            .see(&format!("{path}.state"), "it is not running")
            .help("remove one of the two");
        }
    }
}
