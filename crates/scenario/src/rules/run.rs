use super::Rules;
use super::lints::{PL003, PL037};
use crate::units::TimeSpan;
use plsim_types::Duration;

/// Rows a time series may have.
const MAX_SAMPLES: u64 = 10_000_000;

impl Rules<'_> {
    /// The run and its records.
    pub(super) fn run(&mut self) {
        let (run, output) = (&self.scenario.run, &self.scenario.output);
        let (duration, interval) = (run.duration.0, output.interval.0);
        if duration.is_zero() {
            self.report(PL037, "run.duration", "a run cannot last 0 s")
                .label("must be above zero")
                .help("write for example duration = \"60s\"");
        }
        if interval.is_zero() {
            self.report(
                PL037,
                "output.interval",
                "the time series cannot have a row every 0 s",
            )
            .label("must be above zero");
        } else if duration.as_nanos() / interval.as_nanos() > MAX_SAMPLES {
            let rows = duration.as_nanos() / interval.as_nanos();
            let message =
                format!("the time series would have {rows} samples; the limit is {MAX_SAMPLES}");
            let fits = TimeSpan(Duration::from_secs(
                duration
                    .as_nanos()
                    .div_ceil(MAX_SAMPLES)
                    .div_ceil(1_000_000_000),
            ));
            let help = format!("for this run set output.interval to \"{fits}\" or more");
            match self.scenario.is_written("output.interval") {
                true => self
                    .report(PL003, "output.interval", message)
                    .label("too fine for the run")
                    .see("run.duration", "the run lasts this long"),
                false => self
                    .report(PL003, "run.duration", message)
                    .label(format!("one each {interval}, if nothing else is said")),
            }
            .help(help);
        }
    }
}
