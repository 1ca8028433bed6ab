use plsim::{Heard, IdleCeiling, SetBy};
use plsim_types::Protocol;

use crate::page::{Column, Page};

/// The most rows; the summary file has them all.
const ROWS: usize = 16;

impl Page {
    /// Shows how long connections may be silent, and what their clients hear then.
    pub(crate) fn idle_ceilings(&mut self, ceilings: &[IdleCeiling]) {
        if ceilings.is_empty() {
            return;
        }
        self.section(
            "Idle ceiling",
            match ceilings.iter().all(is_tcp) {
                true => "how long a TCP connection may be silent: the shorter of two timers",
                false => "how long a flow may be silent: for TCP the shorter of two timers",
            },
        );
        let rows: Vec<&IdleCeiling> = ceilings.iter().take(ROWS).collect();
        let columns = vec![
            Column::name("service", 2, &rows, |row| service(&row.pls)),
            Column::name("rule", 0, &rows, rule),
            Column::number("silent for", 0, &rows, |row| row.ceiling().to_string()),
            Column::name("set by", 1, &rows, |row| set_by(row)),
            Column::name("then its client gets", 0, &rows, |row| heard(row)),
        ];
        self.table(columns, ceilings.len());
    }
}

/// Names the service that connections came by, or that they came to the frontend itself.
pub(crate) fn service(pls: &str) -> String {
    match pls {
        "" => "(frontend)".to_owned(),
        pls => pls.to_owned(),
    }
}

fn is_tcp(row: &IdleCeiling) -> bool {
    row.protocol == Protocol::Tcp
}

fn rule(row: &&IdleCeiling) -> String {
    match row.protocol {
        Protocol::Tcp => row.rule.clone(),
        Protocol::Udp => format!("{} (udp)", row.rule),
    }
}

fn set_by(row: &IdleCeiling) -> String {
    if !is_tcp(row) {
        return "the service".to_owned();
    }
    match (row.set_by, row.service_idle) {
        (_, None) => "the rule".to_owned(),
        (SetBy::Rule, Some(service)) => format!("the rule (service: {service})"),
        (SetBy::Service, Some(_)) => format!("the service (rule: {})", row.rule_idle),
    }
}

fn heard(row: &IdleCeiling) -> String {
    if !is_tcp(row) {
        return "silence, and another port when it sends".to_owned();
    }
    let heard = match row.heard {
        Heard::Silence => "silence",
        Heard::Reset => "a reset",
        Heard::ResetWhenItSends => "a reset when it sends",
    };
    match row.forgets {
        true => format!(
            "{heard}; forgotten after {} if the pool changes",
            row.rule_idle
        ),
        false => heard.to_owned(),
    }
}
