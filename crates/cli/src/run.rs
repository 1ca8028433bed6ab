use std::io::{self, BufWriter, Write};
use std::num::NonZero;
use std::sync::{Arc, Mutex};
use std::time::Instant as WallClock;

use plsim::{Case, Outputs, Report, RunError, Simulation, Sink, Step, Threads};
use plsim_types::KeyedHash;

use crate::arguments::{Format, RunOptions};
use crate::directory::{Directory, RUN_FILES};
use crate::exit::{self, Exit};
use crate::memory;
use crate::progress::Progress;
use crate::signals::Signals;
use crate::sources::{self, Source};
use crate::terminal::Terminal;
use crate::text;
use plsim::numbers::{counted, grouped};

/// How many kernel events run between two looks at signals and the progress bar.
const BUDGET: u64 = 200_000;

/// Runs scenario files, one after the other; all are checked before the first one starts.
pub(crate) fn run(options: &RunOptions, terminal: &Terminal) -> Exit {
    let prepared = prepare(options, terminal);
    let (sources, directories, signals) = match prepared {
        Ok(prepared) => prepared,
        Err(exit) => return exit,
    };
    let mut exit = Exit::Success;
    for (source, directory) in sources.into_iter().zip(directories) {
        let runner = Runner {
            options,
            terminal,
            signals: &signals,
            case: &source.case,
        };
        source.warn(terminal);
        exit = exit.worse(runner.run(directory));
        if matches!(exit, Exit::Signal(_)) {
            break;
        }
    }
    exit
}

type Prepared = (Vec<Source>, Vec<Option<Directory>>, Signals);

/// Does everything that can go wrong before virtual time begins.
fn prepare(options: &RunOptions, terminal: &Terminal) -> Result<Prepared, Exit> {
    let mut sources =
        sources::read_all(&options.files, &options.overrides, options.seed, terminal)?;
    if options.no_expect {
        sources
            .iter_mut()
            .for_each(|source| source.case.scenario.expect.clear());
    }
    let mut exit = Exit::Success;
    for source in &sources {
        let built = Simulation::new(source.case.clone(), Outputs::none());
        if let Err(problems) = built {
            terminal.message(&problems.render(terminal.color_error()));
            exit = Exit::Invalid;
        }
    }
    if exit != Exit::Success {
        return Err(exit);
    }
    let directories = directories(options, &sources, terminal)?;
    let signals = Signals::listen().map_err(|error| {
        terminal.error(&format!("cannot listen for signals: {error}"));
        Exit::Failure
    })?;
    Ok((sources, directories, signals))
}

/// Takes the output directory of each scenario: DIR itself for one, DIR/NAME for several.
fn directories(
    options: &RunOptions,
    sources: &[Source],
    terminal: &Terminal,
) -> Result<Vec<Option<Directory>>, Exit> {
    let Some(out) = &options.out else {
        return Ok(sources.iter().map(|_| None).collect());
    };
    let names = names(sources);
    let mut taken: Vec<Option<Directory>> = Vec::new();
    for name in &names {
        let path = if sources.len() == 1 {
            out.clone()
        } else {
            out.join(name)
        };
        taken.push(Some(Directory::take(
            &path,
            RUN_FILES,
            options.force,
            terminal,
        )?));
    }
    Ok(taken)
}

/// Gives each scenario a name of its own: NAME, or NAME-2 and so on where that is taken.
fn names(sources: &[Source]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for source in sources {
        let wanted = &source.case.name;
        let numbered = (2..).map(|number| format!("{wanted}-{number}"));
        let mut candidates = std::iter::once(wanted.clone()).chain(numbered);
        names.extend(candidates.find(|name| !names.contains(name)));
    }
    names
}

/// Runs one scenario.
struct Runner<'a> {
    options: &'a RunOptions,
    terminal: &'a Terminal,
    signals: &'a Signals,
    case: &'a Case,
}

/// What one pass over a scenario gave.
struct Pass {
    report: Report,
    /// The signal that ended it early.
    signal: Option<u8>,
    /// Wall time.
    seconds: f64,
    /// Whether a second pass gave the same bytes.
    identical: bool,
}

impl Runner<'_> {
    fn run(&self, directory: Option<Directory>) -> Exit {
        match self.run_and_write(directory) {
            Ok(pass) => self.tell(&pass),
            Err(error) => {
                self.terminal.error(&format!("{}: {error}", self.case.name));
                Exit::Failure
            }
        }
    }

    fn run_and_write(&self, mut directory: Option<Directory>) -> Result<Pass, RunError> {
        let capture = self.case.scenario.output.capture;
        let check = self.options.check_determinism;
        let first = Fingerprints::default();
        let outputs = match &mut directory {
            Some(directory) => {
                first.outputs(|name| Ok(Box::new(directory.open(name)?)), capture, check)?
            }
            None if check => first.outputs(|_| Ok(Box::new(io::sink())), capture, check)?,
            None => Outputs::none(),
        };
        let mut pass = self.pass(outputs, bounded(self.options.threads))?;
        if check && pass.signal.is_none() {
            self.run_again(&mut pass, &first)?;
        }
        if let Some(mut directory) = directory {
            let mut file = directory.open("summary.json")?;
            let written = file.write_all(pass.report.summary.to_json().as_bytes());
            written.map_err(|error| named("summary.json", &error))?;
            directory.finish()?;
        }
        Ok(pass)
    }

    /// Runs a second time, on one thread, and compares every byte that the first run wrote.
    fn run_again(&self, first: &mut Pass, expected: &Fingerprints) -> Result<(), RunError> {
        let second = Fingerprints::default();
        let capture = self.case.scenario.output.capture;
        let outputs = second.outputs(|_| Ok(Box::new(io::sink())), capture, true)?;
        let again = self.pass(outputs, 1)?;
        if again.signal.is_some() {
            // Nothing was compared; the first run's result stands, and the signal is obeyed.
            first.signal = again.signal;
            return Ok(());
        }
        let same_summary = again.report.summary.to_json() == first.report.summary.to_json();
        if !same_summary || second.values() != expected.values() {
            let what = "two runs of one scenario and seed differ".to_owned();
            return Err(RunError::Internal(what));
        }
        first.identical = true;
        Ok(())
    }

    fn pass(&self, outputs: Outputs, threads: usize) -> Result<Pass, RunError> {
        let started = now();
        exit::note_running(self.replay());
        let built = Simulation::new(self.case.clone(), outputs);
        let mut simulation =
            built.map_err(|problems| RunError::Internal(problems.render(false)))?;
        simulation.set_threads(Threads::UpTo(threads));
        let progress = Progress::new(&self.case.name, &simulation, self.options.quiet);
        let signal = loop {
            if let Some(signal) = self.signals.received() {
                break Some(signal);
            }
            let step = simulation.step(BUDGET)?;
            progress.update(&simulation);
            if step == Step::Finished {
                break None;
            }
        };
        progress.finish();
        let report = simulation.finish()?;
        let seconds = started.elapsed().as_secs_f64();
        Ok(Pass {
            report,
            signal,
            seconds,
            identical: false,
        })
    }

    /// Returns the line that runs this case again.
    fn replay(&self) -> String {
        let seed = self.case.seed.unwrap_or(self.case.scenario.run.seed);
        let sets: String = self
            .case
            .overrides
            .iter()
            .map(|pair| format!(" --set '{pair}'"))
            .collect();
        let line = format!("plsim run {} --seed {seed}{sets}", self.case.name);
        let printable = |c: char| {
            if c.is_ascii_graphic() || c == ' ' {
                c
            } else {
                '?'
            }
        };
        format!(
            "While running: {}\n",
            line.chars().map(printable).collect::<String>()
        )
    }

    /// Prints the result and returns how the run ended.
    fn tell(&self, pass: &Pass) -> Exit {
        let summary = &pass.report.summary;
        let printed = match (self.options.format, self.options.quiet) {
            (Format::Text, true) => Ok(()),
            (Format::Json, _) => self.terminal.print(&summary.to_json()),
            (Format::Text, false) => self.terminal.print(&text::summary(summary, self.terminal)),
        };
        if !self.options.quiet {
            self.tell_speed(pass);
        }
        // On the page they stand already.
        let on_page = self.options.format == Format::Text && !self.options.quiet;
        let failed = summary
            .expectations
            .iter()
            .filter(|verdict| !verdict.passed && !on_page);
        for verdict in failed {
            let note = verdict
                .note
                .as_ref()
                .map(|note| format!(" ({note})"))
                .unwrap_or_default();
            let (name, text, actual) = (&self.case.name, &verdict.text, verdict.actual_text());
            self.terminal.error(&format!(
                "{name}: expected {text}, but it is {actual}{note}"
            ));
        }
        let judged = match (pass.signal, pass.report.passed()) {
            (Some(signal), _) => Exit::Signal(signal),
            (None, true) => Exit::Success,
            (None, false) => Exit::ExpectationFailed,
        };
        printed.map_or_else(|error| judged.worse(error), |()| judged)
    }

    /// Tells what became of the threads that were asked for.
    fn shared(&self, report: &Report) -> String {
        let threads = bounded(self.options.threads);
        let percent = (100 * report.shared_events).checked_div(report.events);
        match (self.options.threads, percent.unwrap_or(0)) {
            (1, _) => String::new(),
            _ if report.summary.shards.count == 1 => ", one shard, so one thread".to_owned(),
            _ if threads == 1 => ", one processor, so one thread".to_owned(),
            (_, 0) => ", one thread: too little happens at once for more".to_owned(),
            (_, percent) => format!(", {percent} % of the events on up to {threads} threads"),
        }
    }

    /// Tells on standard error what depends on the machine and so belongs in no output.
    fn tell_speed(&self, pass: &Pass) {
        let seconds = pass.seconds;
        let summary = &pass.report.summary;
        let packets = summary.ledger.injected();
        let rate = format!("{:.2}", rate(packets, seconds) / 1e6);
        let checked = match (pass.identical, self.options.threads) {
            (false, _) => "",
            (true, 1) => ", run twice: identical",
            (true, _) => ", run again on one thread: identical",
        };
        let shared = self.shared(&pass.report);
        self.terminal.message(&format!(
            "{}: {} and {} events in {seconds:.2} s ({rate} million packets/s){shared}{checked}\n",
            self.case.name,
            counted(packets, "packet"),
            grouped(pass.report.events),
        ));
        if let Some(measured) = memory::measured(&self.case.scenario, summary) {
            self.terminal
                .message(&format!("{}: {measured}\n", self.case.name));
        }
    }
}

/// Returns how many threads may be used: more than there are processors would wait for each other.
fn bounded(threads: u16) -> usize {
    let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
    usize::from(threads).min(processors)
}

#[expect(clippy::cast_precision_loss, reason = "shown with three digits")]
fn rate(packets: u64, seconds: f64) -> f64 {
    if seconds > 0.0 {
        packets as f64 / seconds
    } else {
        0.0
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the command line may time a run for people"
)]
pub(crate) fn now() -> WallClock {
    WallClock::now()
}

/// A running hash of each output file's bytes.
#[derive(Debug, Default, Clone)]
struct Fingerprints {
    files: Arc<Mutex<Vec<(&'static str, u64)>>>,
}

impl Fingerprints {
    /// Opens the outputs of a run, each watched.
    fn outputs(
        &self,
        mut open: impl FnMut(&'static str) -> io::Result<Box<dyn Write + Send>>,
        capture: bool,
        hashed: bool,
    ) -> io::Result<Outputs> {
        let mut sink = |name: &'static str| -> io::Result<Sink> {
            let file = BufWriter::with_capacity(1 << 16, open(name)?);
            Ok(Sink::new(self.watch(name, file, hashed)))
        };
        Ok(Outputs {
            events: Some(sink("events.jsonl")?),
            timeseries: Some(sink("timeseries.csv")?),
            capture: capture.then(|| sink("capture.pcapng")).transpose()?,
        })
    }

    fn watch<W: Write>(&self, name: &'static str, inner: W, hashed: bool) -> Watched<W> {
        let mut files = self.lock();
        files.push((name, 0));
        let place = files.len() - 1;
        let hash = hashed.then(|| KeyedHash::new(0, "bytes"));
        Watched {
            inner,
            name,
            hash,
            place,
            all: self.clone(),
        }
    }

    fn values(&self) -> Vec<(&'static str, u64)> {
        self.lock().clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<(&'static str, u64)>> {
        self.files
            .lock()
            .expect("broken invariant: nobody panics while holding the lock")
    }
}

/// A writer whose errors name its file, and whose bytes are hashed on their way if asked, however
/// they are cut into pieces.
struct Watched<W> {
    inner: W,
    name: &'static str,
    hash: Option<KeyedHash>,
    place: usize,
    all: Fingerprints,
}

impl<W: Write> Write for Watched<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self
            .inner
            .write(bytes)
            .map_err(|error| named(self.name, &error))?;
        if let Some(hash) = self.hash {
            let mut files = self.all.lock();
            let value = &mut files[self.place].1;
            for byte in &bytes[..written] {
                *value = hash.pair(*value, u64::from(*byte));
            }
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush().map_err(|error| named(self.name, &error))
    }
}

/// Puts the file's name in front of an error.
fn named(name: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{name}: {error}"))
}
