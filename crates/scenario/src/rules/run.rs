use super::Rules;
use super::lints::{PL003, PL037, PL190, PL202};
use crate::model::Output;
use crate::units::TimeSpan;
use plsim_types::Duration;

/// Rows a time series may have.
const MAX_SAMPLES: u64 = 10_000_000;
/// Capture points that a capture may have, beside the one for what is dropped.
const MAX_CAPTURE_POINTS: u64 = 65_535;

impl Rules<'_> {
    /// A capture has room for its interfaces.
    fn capture_points(&mut self) {
        let scenario = self.scenario;
        let vms: u64 = scenario
            .backend_vm
            .iter()
            .map(|vm| u64::from(vm.count))
            .sum();
        let count = scenario.private_endpoint.len() as u64 + 2 * vms;
        if scenario.output.capture && count > MAX_CAPTURE_POINTS {
            let message = format!(
                "a capture of {count} capture points cannot be: a file has {MAX_CAPTURE_POINTS}"
            );
            self.report(PL190, "output.capture", message).help(
                "each private endpoint is one, and each backend VM two: simulate fewer of them",
            );
        }
    }

    /// The run and its records.
    pub(super) fn run(&mut self) {
        self.capture_points();
        if !self.scenario.output.capture
            && self.scenario.output.snap_length != Output::default().snap_length
        {
            self.report(
                PL202,
                "output.snap_length",
                "without a capture nothing is cut",
            )
            .label("no effect")
            .help("write capture = true beside it");
        }
        let (run, output) = (&self.scenario.run, &self.scenario.output);
        let (duration, interval) = (run.duration.0, output.interval.0);
        if duration.is_zero() {
            self.report(PL037, "run.duration", "a run cannot last 0 s")
                .label("must be above zero")
                .help("write for example duration = \"60s\"");
        }
        if let Some(warm_up) = run.warm_up
            && warm_up.0 >= duration
            && !duration.is_zero()
        {
            let message = format!("a run of {duration} measures nothing after {}", warm_up.0);
            self.report(PL037, "run.warm_up", message)
                .label("not below `duration`")
                .see("run.duration", "the run lasts this long");
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
