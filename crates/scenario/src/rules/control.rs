use super::Rules;
use super::link::{LINK_CHANGES, LINK_TARGETS};
use super::lints::{PL060, PL061, PL062, PL070, PL201};
use crate::model::{Action, ConnectionState, Event, Expect, ExpectValue, VmState};

/// What can change about a VM.
const VM_CHANGES: [&str; 5] = [
    "state",
    "flapping",
    "response_delay",
    "probe_status",
    "probe_blocked",
];

/// What goes with change-link: which links, and what changes.
const CHANGE_LINK: [&str; LINK_TARGETS.len() + LINK_CHANGES.len()] = {
    let mut keys = [""; LINK_TARGETS.len() + LINK_CHANGES.len()];
    let (targets, changes) = keys.split_at_mut(LINK_TARGETS.len());
    targets.copy_from_slice(&LINK_TARGETS);
    changes.copy_from_slice(&LINK_CHANGES);
    keys
};

impl Rules<'_> {
    /// Events: their time and their keys.
    pub(super) fn events(&mut self) {
        let end = self.scenario.run.duration.0;
        for (index, event) in self.scenario.event.iter().enumerate() {
            let path = format!("event[{index}]");
            if event.at.0 > end {
                let message = format!("the event at {} comes after the end of the run", event.at.0);
                self.report(PL060, &format!("{path}.at"), message)
                    .see("run.duration", "the run ends here")
                    .help("move it, or let the run last longer");
            }
            self.event_keys(&path, event);
            self.deleted_connection(&path, event);
        }
    }

    fn event_keys(&mut self, path: &str, event: &Event) {
        let (name, needed, allowed): (_, &str, &[&str]) = match event.action {
            Action::ApproveEndpoint => ("approve-endpoint", "private_endpoint", &[]),
            Action::RejectEndpoint => ("reject-endpoint", "private_endpoint", &[]),
            Action::AddNatIp => ("add-nat-ip", "private_link_service", &["ip_address"]),
            Action::BackendDown => ("backend-down", "backend_vm", &[]),
            Action::BackendUp => ("backend-up", "backend_vm", &[]),
            Action::AddBackend => ("add-backend", "backend_vm", &["backend_pool"]),
            Action::RemoveBackend => ("remove-backend", "backend_vm", &["backend_pool"]),
            Action::DrainBackend => (
                "drain-backend",
                "backend_vm",
                &["backend_pool", "drain_period"],
            ),
            Action::SetAdminState => (
                "set-admin-state",
                "backend_vm",
                &["backend_pool", "admin_state"],
            ),
            Action::ChangeRule => (
                "change-rule",
                "rule",
                &["backend_port", "backend_pool", "distribution"],
            ),
            Action::InjectPacket => ("inject-packet", "bytes", &["client_vm", "backend_vm"]),
            Action::ChangeVm if event.client_vm.is_some() => ("change-vm", "client_vm", &["state"]),
            Action::ChangeVm => ("change-vm", "backend_vm", &VM_CHANGES),
            Action::RestartVm if event.client_vm.is_some() => ("restart-vm", "client_vm", &[]),
            Action::RestartVm => ("restart-vm", "backend_vm", &[]),
            Action::ChangeLink => ("change-link", "link", &CHANGE_LINK),
            Action::LinkDown => ("link-down", "link", &LINK_TARGETS),
            Action::LinkUp => ("link-up", "link", &LINK_TARGETS),
        };
        let given = [
            ("private_endpoint", event.private_endpoint.is_some()),
            ("private_link_service", event.private_link_service.is_some()),
            ("ip_address", event.ip_address.is_some()),
            ("backend_vm", event.backend_vm.is_some()),
            ("client_vm", event.client_vm.is_some()),
            ("bytes", event.bytes.is_some()),
            ("backend_pool", event.backend_pool.is_some()),
            ("drain_period", event.drain_period.is_some()),
            ("admin_state", event.admin_state.is_some()),
            ("rule", event.rule.is_some()),
            ("backend_port", event.backend_port.is_some()),
            ("distribution", event.distribution.is_some()),
            ("state", event.state.is_some()),
            ("flapping", event.flapping.is_some()),
            ("response_delay", event.response_delay.is_some()),
            ("probe_status", event.probe_status.is_some()),
            ("probe_blocked", event.probe_blocked.is_some()),
            ("link", event.link.is_some()),
            ("direction", event.direction.is_some()),
            ("latency", event.latency.is_some()),
            ("bandwidth", event.bandwidth.is_some()),
            ("queue_limit", event.queue_limit.is_some()),
            ("loss", event.loss.is_some()),
            ("gemodel", event.gemodel.is_some()),
            ("duplicate", event.duplicate.is_some()),
            ("corrupt", event.corrupt.is_some()),
            ("jitter", event.jitter.is_some()),
            ("jitter_distribution", event.jitter_distribution.is_some()),
            ("jitter_may_reorder", event.jitter_may_reorder.is_some()),
            ("reorder", event.reorder.is_some()),
        ];
        for (key, given) in given {
            if key == needed && !given {
                let (label, example) = match key {
                    "bytes" => ("what is sent?", "4500 …"),
                    "rule" => ("which one?", "BALANCER/RULE"),
                    "link" => ("which of the four?", "endpoint_edge"),
                    _ => ("which one?", "NAME"),
                };
                self.report(
                    PL061,
                    &format!("{path}.action"),
                    format!("\"{name}\" needs `{key}`"),
                )
                .label(label)
                .help(format!("add {key} = \"{example}\""));
            } else if given && key != needed && !allowed.contains(&key) {
                let message = format!("`{key}` does not belong to \"{name}\"");
                self.report(PL061, &format!("{path}.{key}"), message)
                    .see(&format!("{path}.action"), format!("works on `{needed}`"))
                    .help("remove it");
            }
        }
        if event.action == Action::InjectPacket {
            self.sender(path, event);
        }
        self.client_state(path, event);
        let changes: &[&str] = match event.action {
            Action::ChangeVm if event.client_vm.is_some() => &["state"],
            Action::ChangeVm => &VM_CHANGES,
            Action::ChangeLink => &LINK_CHANGES,
            _ => return,
        };
        if !given
            .iter()
            .any(|(key, given)| *given && changes.contains(key))
        {
            let message = format!("\"{name}\" changes nothing");
            self.report(PL061, &format!("{path}.action"), message)
                .label("into what?")
                .help(format!("add one of {}", changes.join(", ")));
        }
    }

    /// A client VM runs, has crashed or is stopped.
    fn client_state(&mut self, path: &str, event: &Event) {
        if event.client_vm.is_some() && event.state == Some(VmState::NotListening) {
            let message = "a client VM does not listen";
            self.report(PL061, &format!("{path}.state"), message)
                .see(&format!("{path}.client_vm"), "opens connections only")
                .help("write state = \"crashed\", \"stopped\" or \"running\"");
        }
    }

    /// One machine sends a packet.
    fn sender(&mut self, path: &str, event: &Event) {
        let message = match (&event.client_vm, &event.backend_vm) {
            (Some(_), Some(_)) => "`client_vm` and `backend_vm` cannot both send the packet",
            (None, None) => "\"inject-packet\" needs `client_vm` or `backend_vm`",
            _ => return,
        };
        self.report(PL061, &format!("{path}.action"), message)
            .label("who sends it?")
            .help("name one machine: client_vm = \"NAME\" or backend_vm = \"NAME\"");
    }

    fn deleted_connection(&mut self, path: &str, event: &Event) {
        if !matches!(
            event.action,
            Action::ApproveEndpoint | Action::RejectEndpoint
        ) {
            return;
        }
        let Some(endpoint) = event
            .private_endpoint
            .as_ref()
            .and_then(|name| self.index.endpoint(name))
        else {
            return;
        };
        if self.scenario.private_endpoint[endpoint].connection_state
            == ConnectionState::Disconnected
        {
            let message =
                "a connection that the provider has deleted cannot be approved or rejected";
            self.report(PL062, &format!("{path}.private_endpoint"), message)
                .see(
                    &format!("private_endpoint[{endpoint}].connection_state"),
                    "deleted here",
                )
                .help("start it as \"Pending\", or add another private endpoint");
        }
    }

    /// Expectations: one comparison each, between values that can be compared.
    pub(super) fn expectations(&mut self) {
        for (index, expect) in self.scenario.expect.iter().enumerate() {
            let path = format!("expect[{index}]");
            if expect.value.trim().is_empty() {
                self.report(
                    PL070,
                    &format!("{path}.value"),
                    "the path of the value is empty",
                )
                .help("name a value of the summary, for example \"connections.failed\"");
            }
            self.instant(&path, expect);
            self.comparison(&path, expect);
        }
    }

    /// An expectation is about an instant of the run.
    fn instant(&mut self, path: &str, expect: &Expect) {
        let end = self.scenario.run.duration;
        let Some(at) = expect.at else { return };
        let path = format!("{path}.at");
        if at.0.is_zero() {
            self.report(PL201, &path, "nothing has happened before the run begins")
                .help("1ns is behind what happens at the beginning");
        } else if at.0 > end.0 {
            let message = format!("the run ends at {}, before {}", end.0, at.0);
            self.report(PL201, &path, message)
                .label("never reached")
                .see("run.duration", "the run ends here")
                .help("leave `at` out for the end of the run, or let it last longer");
        }
    }

    fn comparison(&mut self, path: &str, expect: &Expect) {
        let given: Vec<&str> = [
            ("equals", expect.equals.is_some()),
            ("at_least", expect.at_least.is_some()),
            ("at_most", expect.at_most.is_some()),
            ("between", expect.between.is_some()),
        ]
        .into_iter()
        .filter_map(|(key, given)| given.then_some(key))
        .collect();
        match given.as_slice() {
            [] => {
                self.report(
                    PL070,
                    &format!("{path}.value"),
                    "the expectation compares with nothing",
                )
                .label("what is expected of it?")
                .help("add one of equals, at_least, at_most and between");
            }
            [_] => {}
            [_, second, ..] => {
                let message = format!(
                    "an expectation says one thing, this one has {}",
                    given.join(" and ")
                );
                self.report(PL070, &format!("{path}.{second}"), message)
                    .help("write a second [[expect]], or use `between`");
            }
        }
        let ordered = [("at_least", &expect.at_least), ("at_most", &expect.at_most)];
        for (key, value) in ordered {
            if let Some(ExpectValue::Bool(_)) = value {
                let message = format!("`{key}` cannot compare true or false");
                self.report(PL070, &format!("{path}.{key}"), message)
                    .help("use `equals`");
            }
        }
        if let Some([low, high]) = &expect.between {
            self.range(&format!("{path}.between"), low, high);
        }
        let Some(within) = &expect.within else {
            return;
        };
        let key = format!("{path}.within");
        match (within, &expect.equals) {
            (_, None) => {
                self.report(PL070, &key, "`within` goes with `equals`")
                    .help("remove it");
            }
            (ExpectValue::Bool(_), _) => {
                self.report(PL070, &key, "a tolerance is a number or a duration")
                    .help("remove it");
            }
            (ExpectValue::Integer(number), _) if *number < 0 => {
                self.report(PL070, &key, "a tolerance cannot be negative");
            }
            (ExpectValue::Float(number), _) if *number < 0.0 => {
                self.report(PL070, &key, "a tolerance cannot be negative");
            }
            (_, Some(ExpectValue::Bool(_))) => {
                self.report(PL070, &key, "true and false have no tolerance")
                    .help("remove it");
            }
            _ => {}
        }
    }

    fn range(&mut self, path: &str, low: &ExpectValue, high: &ExpectValue) {
        #[expect(clippy::cast_precision_loss, reason = "only to compare two bounds")]
        let number = |value: &ExpectValue| match value {
            ExpectValue::Integer(number) => Some(*number as f64),
            ExpectValue::Float(number) => Some(*number),
            ExpectValue::Bool(_) | ExpectValue::Text(_) => None,
        };
        let texts = matches!((low, high), (ExpectValue::Text(_), ExpectValue::Text(_)));
        match (number(low), number(high)) {
            (Some(low), Some(high)) if low > high => {
                self.report(
                    PL070,
                    path,
                    format!("nothing lies between {low} and {high}"),
                )
                .label("the first is above the second")
                .help("write the lower bound first");
            }
            (Some(_), Some(_)) => {}
            _ if texts => {}
            _ => {
                self.report(PL070, path, "the two bounds are not of one kind")
                    .help("write two numbers, or two durations such as \"1s\"");
            }
        }
    }
}
