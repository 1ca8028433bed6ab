use plsim_types::{Duration, Protocol};
use serde_json::Value;

use crate::summary::object;

/// How long a TCP connection, or a UDP flow, may be silent that comes by one rule to one service.
///
/// Two timers run for TCP, the rule's and the service's; the shorter one binds. Clients of the frontend
/// itself only have the rule's, UDP only the service's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdleCeiling {
    /// The Private Link Service; empty for clients of the frontend itself.
    pub pls: String,
    /// The rule's load balancer.
    pub load_balancer: String,
    /// The rule.
    pub rule: String,
    /// What carries it.
    pub protocol: Protocol,
    /// The rule's own time; for TCP only.
    pub rule_idle: Duration,
    /// The service's own time; `None` for clients of the frontend itself.
    pub service_idle: Option<Duration>,
    /// What binds.
    pub set_by: SetBy,
    /// What a client hears when it is reached.
    pub heard: Heard,
    /// Whether the load balancer only forgets the flow at the rule's time, which shows once its pool
    /// has changed.
    pub forgets: bool,
}

/// Which of the two timers binds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SetBy {
    /// The load-balancing rule's.
    #[default]
    Rule,
    /// The Private Link Service's.
    Service,
}

/// What a client hears when its connection has been silent for too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Heard {
    /// Nothing, whatever it sends.
    #[default]
    Silence,
    /// An RST at that instant.
    Reset,
    /// Nothing at that instant, and an RST when it sends something.
    ResetWhenItSends,
}

impl Default for IdleCeiling {
    fn default() -> Self {
        Self {
            pls: String::new(),
            load_balancer: String::new(),
            rule: String::new(),
            protocol: Protocol::Tcp,
            rule_idle: Duration::ZERO,
            service_idle: None,
            set_by: SetBy::default(),
            heard: Heard::default(),
            forgets: false,
        }
    }
}

impl SetBy {
    /// Returns the name in the summary.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rule => "rule",
            Self::Service => "service",
        }
    }
}

impl Heard {
    /// Returns the name in the summary.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Silence => "silence",
            Self::Reset => "reset",
            Self::ResetWhenItSends => "reset-when-it-sends",
        }
    }
}

impl IdleCeiling {
    /// Returns the time that binds.
    #[must_use]
    pub const fn ceiling(&self) -> Duration {
        match (self.set_by, self.service_idle) {
            (SetBy::Service, Some(service)) => service,
            (SetBy::Rule, _) | (SetBy::Service, None) => self.rule_idle,
        }
    }

    pub(crate) fn to_value(&self) -> Value {
        let rule = (self.protocol == Protocol::Tcp).then_some(self.rule_idle);
        object([
            ("pls", self.pls.as_str().into()),
            ("load_balancer", self.load_balancer.as_str().into()),
            ("rule", self.rule.as_str().into()),
            ("protocol", self.protocol.name().into()),
            ("ceiling_ns", self.ceiling().as_nanos().into()),
            ("set_by", self.set_by.name().into()),
            ("client_hears", self.heard.name().into()),
            ("rule_ns", rule.map(Duration::as_nanos).into()),
            (
                "service_ns",
                self.service_idle.map(Duration::as_nanos).into(),
            ),
            ("forgets", self.forgets.into()),
        ])
    }
}
