use plsim_types::{Duration, Instant};
use serde_json::Value;

use crate::summary::object;

/// Why attempts of a probe fail.
pub(crate) const PROBE_FAILURES: [&str; 5] = ["no_answer", "reset", "closed", "status", "tls"];

/// What one health probe found out about one VM.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProbeSummary {
    /// The load balancer.
    pub load_balancer: String,
    /// The probe.
    pub probe: String,
    /// The backend VM.
    pub backend: String,
    /// `tcp`, `http` or `https`.
    pub protocol: &'static str,
    /// The VM's port.
    pub port: u16,
    /// What the VM is at the end.
    pub up: bool,
    /// Whether it was stopped then: it is down without having been asked.
    pub is_stopped: bool,
    /// Attempts started.
    pub sent: u64,
    /// Attempts that succeeded.
    pub succeeded: u64,
    /// Attempts that failed.
    pub failed: u64,
    /// Failed attempts by their cause: no answer, reset, closed, status, TLS.
    pub failed_by: [u64; 5],
    /// How often failed attempts took the VM down.
    pub went_down: u64,
    /// When they first did.
    pub first_down: Option<Instant>,
    /// When the verdict changed last.
    pub changed: Option<Instant>,
    /// How long a fault of the VM was there when it first took it down.
    pub detected_after: Option<Duration>,
}

impl ProbeSummary {
    /// Returns the share of finished attempts that succeeded, in hundredths of a percent, rounded
    /// down: Azure's `DipAvailability` is the average of it. Without any attempt it is 100 %.
    #[must_use]
    pub fn availability(&self) -> u64 {
        match self.succeeded + self.failed {
            0 => 10_000,
            all => (u128::from(self.succeeded) * 10_000 / u128::from(all)) as u64,
        }
    }

    pub(crate) fn to_value(&self) -> Value {
        let by = PROBE_FAILURES.into_iter().zip(self.failed_by);
        #[expect(
            clippy::cast_precision_loss,
            reason = "at most 10 000, so the quotient is the same everywhere"
        )]
        let availability = self.availability() as f64 / 100.0;
        object([
            ("load_balancer", self.load_balancer.as_str().into()),
            ("probe", self.probe.as_str().into()),
            ("backend", self.backend.as_str().into()),
            ("protocol", self.protocol.into()),
            ("port", self.port.into()),
            ("up", self.up.into()),
            ("stopped", self.is_stopped.into()),
            ("sent", self.sent.into()),
            ("succeeded", self.succeeded.into()),
            ("failed", self.failed.into()),
            (
                "failed_by",
                object(by.map(|(cause, count)| (cause, count.into()))),
            ),
            ("availability_percent", availability.into()),
            ("went_down", self.went_down.into()),
            (
                "first_down_ns",
                self.first_down.map(Instant::as_nanos).into(),
            ),
            ("changed_ns", self.changed.map(Instant::as_nanos).into()),
            (
                "detected_after_ns",
                self.detected_after.map(Duration::as_nanos).into(),
            ),
        ])
    }
}
