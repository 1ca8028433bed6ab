use std::io::{self, IsTerminal};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use plsim::Simulation;

/// A bar on standard error that follows virtual time or steps; nothing where that is no terminal.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: ProgressBar,
}

impl Progress {
    pub(crate) fn new(name: &str, simulation: &Simulation, quiet: bool) -> Self {
        let template = "{prefix} {bar:30} {percent:>3} %  {wide_msg}";
        let length = simulation.end().as_nanos().max(1);
        Self {
            bar: bar(name, length, template, quiet),
        }
    }

    /// A bar that follows single steps and estimates how long the others take.
    pub(crate) fn of_steps(name: &str, steps: usize, quiet: bool) -> Self {
        let template = "{prefix} {bar:30} {pos}/{len}, {eta} left  {wide_msg}";
        Self {
            bar: bar(name, steps as u64, template, quiet),
        }
    }

    /// Tells which step comes next.
    pub(crate) fn step(&self, done: usize, next: String) {
        self.bar.set_position(done as u64);
        self.bar.set_message(next);
    }

    pub(crate) fn update(&self, simulation: &Simulation) {
        if self.bar.is_hidden() {
            return;
        }
        self.bar.set_position(simulation.now().as_nanos());
        let packets = plsim::numbers::counted(simulation.packets(), "packet");
        self.bar.set_message(format!(
            "{:.1} s virtual, {packets}",
            simulation.now().as_secs_f64()
        ));
    }

    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

fn bar(name: &str, length: u64, template: &str, quiet: bool) -> ProgressBar {
    let bar = ProgressBar::new(length);
    let visible = !quiet && io::stderr().is_terminal();
    bar.set_draw_target(match visible {
        true => ProgressDrawTarget::stderr_with_hz(10),
        false => ProgressDrawTarget::hidden(),
    });
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("█▉▊▋▌▍▎▏ "));
    }
    bar.set_prefix(name.to_owned());
    bar
}
