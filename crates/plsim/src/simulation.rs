use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::io;

use plsim_observe::{
    Capture, CaptureConfig, Event, EventLog, IdleCeiling, LedgerError, Places, Recorder,
    RefusalKey, RunSample, Summary, TimeSeries,
};
use plsim_scenario::{Diagnostics, Scenario};
use plsim_sim::{Progress, Shards, Stuck, Threads, World};
use plsim_types::{Duration, Instant, PlsId, Protocol};

use crate::build::{self, Building, Map};
use crate::control;
use crate::events;
use crate::expectations::{self, Expected};
use crate::findings;
use crate::idle;
use crate::layout::Layout;
use crate::link::{self, Outage};
use crate::membership::{self, Drained};
use crate::outage::Outages;
use crate::outputs::{Outputs, Sink};
use crate::pool_log::PoolLog;
use crate::probe::{self, Detections};
use crate::report::Report;
use crate::room::Room;
use crate::summarise;

pub(crate) type PlsimWorld = World<Room, Recorder<Sink>>;

/// A run of one scenario.
#[derive(Debug)]
pub struct Simulation {
    pub(crate) name: String,
    pub(crate) overrides: Vec<String>,
    pub(crate) scenario: Scenario,
    pub(crate) seed: u64,
    pub(crate) layout: Layout,
    pub(crate) map: Map,
    pub(crate) world: PlsimWorld,
    pub(crate) detections: Detections,
    pub(crate) vm_outages: Outages,
    pub(crate) pool_log: PoolLog,
    expected: Vec<Expected>,
    /// Whether the first step was taken.
    started: bool,
    log: Option<EventLog<Sink>>,
    series: Option<TimeSeries<Sink>>,
    end: Instant,
    threads: Threads,
    /// What threads could run at once when the run began.
    pub(crate) shards: Shards,
    next_sample: Option<Instant>,
    /// The positions of the scenario's events by time; equal times stay in the order of the file.
    agenda: Vec<usize>,
    next_event: usize,
    /// Backend VMs that have left a pool and still have connections, by the time at which those end.
    pub(crate) drains: VecDeque<Drained>,
    /// When links go down and up by their sections, by time.
    outages: VecDeque<Outage>,
    /// When times begin to be measured, as long as that is to come.
    warm_up: Option<Instant>,
    /// The refusals that the log knows of.
    pub(crate) told: BTreeSet<RefusalKey>,
    /// The idle timeouts that the log knows of: VM, service, protocol and whose timer it was.
    pub(crate) idle_told: BTreeSet<(usize, PlsId, Protocol, &'static str)>,
}

/// What is to be run.
#[derive(Debug, Clone)]
pub struct Case {
    /// What outputs call the scenario.
    pub name: String,
    /// The scenario, with overrides applied.
    pub scenario: Scenario,
    /// The overrides that were applied, for the record.
    pub overrides: Vec<String>,
    /// Replaces the scenario's own seed.
    pub seed: Option<u64>,
}

/// Whether there is more to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The end is not reached; call [`Simulation::step`] again.
    Running,
    /// The end of the run is reached; call [`Simulation::finish`].
    Finished,
}

/// Why a run could not go on or end.
#[derive(Debug)]
pub enum RunError {
    /// Time does not move any more.
    Stuck(Stuck),
    /// An output could not be written.
    Output(io::Error),
    /// A promise of the simulator itself is broken: the books do not balance.
    Internal(String),
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stuck(stuck) => stuck.fmt(f),
            Self::Output(error) => write!(f, "cannot write the output: {error}"),
            Self::Internal(what) => write!(f, "internal error: {what}"),
        }
    }
}

impl std::error::Error for RunError {}

impl From<Stuck> for RunError {
    fn from(stuck: Stuck) -> Self {
        Self::Stuck(stuck)
    }
}

impl From<io::Error> for RunError {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

impl From<LedgerError> for RunError {
    fn from(error: LedgerError) -> Self {
        Self::Internal(error.to_string())
    }
}

impl Simulation {
    /// Builds the world of a scenario at virtual time zero.
    ///
    /// # Errors
    /// What only building can find: a subnet without a free address, an expectation that asks for
    /// something that does not exist.
    pub fn new(case: Case, outputs: Outputs) -> Result<Self, Diagnostics> {
        let Case {
            name,
            scenario,
            overrides,
            seed,
        } = case;
        let seed = seed.unwrap_or(scenario.run.seed);
        let expected = expectations::read(&scenario)?;
        let layout = Layout::new(&scenario)?;
        let Building {
            builder,
            rooms,
            map,
            interfaces,
        } = build::build(&scenario, &layout, seed)?;
        let places = Places::new(builder.node_names(), builder.channel_names());
        let snap_length = scenario.output.snap_length;
        let capture = outputs.capture.filter(|_| scenario.output.capture);
        let capture = capture.map(|sink| {
            Capture::new(
                sink,
                &CaptureConfig {
                    interfaces,
                    snap_length,
                },
            )
        });
        let world = builder.build(seed, rooms, Recorder::new(places, capture));
        let mut agenda: Vec<usize> = (0..scenario.event.len()).collect();
        agenda.sort_by_key(|&index| scenario.event[index].at);
        let mut simulation = Self {
            detections: Detections::new(&scenario, &layout),
            vm_outages: Outages::default(),
            pool_log: PoolLog::default(),
            name,
            overrides,
            started: false,
            end: Instant::ZERO + scenario.run.duration.0,
            threads: Threads::One,
            shards: world.shards(),
            next_sample: outputs.timeseries.is_some().then_some(Instant::ZERO),
            seed,
            layout,
            map,
            world,
            log: outputs.events.map(EventLog::new),
            series: outputs.timeseries.map(TimeSeries::new),
            agenda,
            next_event: 0,
            drains: VecDeque::new(),
            outages: link::outages(&scenario),
            warm_up: scenario.run.warm_up.map(|span| Instant::ZERO + span.0),
            told: BTreeSet::new(),
            idle_told: BTreeSet::new(),
            expected,
            scenario,
        };
        link::watch(&mut simulation);
        expectations::check(&simulation)?;
        Ok(simulation)
    }

    /// Has the run use several threads; by default it uses one. The results are the same to the byte.
    pub const fn set_threads(&mut self, threads: Threads) {
        self.threads = threads;
    }

    /// Returns the scenario.
    #[must_use]
    pub const fn scenario(&self) -> &Scenario {
        &self.scenario
    }

    /// Returns the virtual time reached.
    #[must_use]
    pub const fn now(&self) -> Instant {
        self.world.now()
    }

    /// Returns the virtual time at which the run ends.
    #[must_use]
    pub const fn end(&self) -> Instant {
        self.end
    }

    /// Returns the kernel events so far.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.world.events()
    }

    /// Returns the packets that came into being so far.
    #[must_use]
    pub const fn packets(&self) -> u64 {
        self.world.observer().ledger().injected()
    }

    pub(crate) fn expected(&self) -> &[Expected] {
        &self.expected
    }

    /// Runs on, by about `budget` kernel events at most.
    ///
    /// # Errors
    /// [`RunError::Stuck`], or [`RunError::Output`] as soon as a writer has failed.
    pub fn step(&mut self, budget: u64) -> Result<Step, RunError> {
        if !std::mem::replace(&mut self.started, true) {
            self.begin();
        }
        let stop = self.next_stop();
        let progress = self.world.run_before_on(self.threads, stop, budget)?;
        self.record_events();
        self.check_outputs()?;
        if progress == Progress::Paused {
            return Ok(Step::Running);
        }
        if self.warm_up.take_if(|at| *at <= self.world.now()).is_some() {
            for node in &self.map.clients {
                self.world
                    .visit(*node, |room, _| room.clients_mut().forget_times());
            }
        }
        self.judge_if_due();
        self.sample_if_due();
        self.apply_due_events();
        if self.world.now() < self.end {
            Ok(Step::Running)
        } else {
            Ok(Step::Finished)
        }
    }

    /// Returns how long connections of each service may be silent, for each rule they come by.
    #[must_use]
    pub fn idle_ceilings(&self) -> Vec<IdleCeiling> {
        idle::ceilings(&self.scenario)
    }

    /// Ends the run here: writes the outputs to their ends and sums up.
    ///
    /// # Errors
    /// [`RunError::Output`] if a writer fails, [`RunError::Internal`] if the books do not balance.
    pub fn finish(mut self) -> Result<Report, RunError> {
        self.record_events();
        let mut summary = self.summary();
        self.world.observer().ledger().balance(summary.in_flight)?;
        if !summary.connections.is_partition() {
            let counts = format!("{:?}", summary.connections);
            return Err(RunError::Internal(format!(
                "outcomes do not add up: {counts}"
            )));
        }
        if summary.complete {
            summary.expectations = expectations::judge(&self, &summary);
        } else {
            // What expectations say of the whole run cannot be judged by a part of it.
            let sampled = self.world.now() + interval(&self.scenario);
            if self.next_sample != Some(sampled) {
                self.sample();
            }
        }
        if let Some(log) = self.log.take() {
            log.finish()?;
        }
        if let Some(series) = self.series.take() {
            series.finish()?;
        }
        if let Some(capture) = self.world.observer_mut().take_capture() {
            capture.finish()?;
        }
        Ok(Report {
            summary,
            events: self.world.events(),
            shared_events: self.world.shared_events(),
        })
    }

    /// Sums up what there is now.
    fn summary(&self) -> Summary {
        let mut summary = summarise::summary(self);
        summary.scenario_hash = summarise::scenario_hash(&self.scenario);
        summary.findings = findings::findings(&self.scenario, &summary);
        summary
    }

    /// Does what belongs to time zero: sample, events, and then the clients' first packets.
    fn begin(&mut self) {
        self.sample_if_due();
        probe::start(self);
        self.apply_due_events();
        for node in &self.map.clients {
            self.world
                .visit(*node, |room, context| room.clients_mut().start(context));
        }
    }

    /// Returns the next time at which something happens that is no event of the kernel.
    fn next_stop(&self) -> Instant {
        let event = self
            .agenda
            .get(self.next_event)
            .map(|&index| self.event_time(index));
        let drained = self.drains.front().map(|drained| drained.at);
        let outage = self.outages.front().map(|outage| outage.at);
        let stops = [
            Some(self.end),
            expectations::next_instant(&self.expected),
            self.warm_up,
            self.next_sample,
            event,
            drained,
            outage,
        ];
        stops.into_iter().flatten().min().unwrap_or(self.end)
    }

    fn event_time(&self, index: usize) -> Instant {
        Instant::ZERO + self.scenario.event[index].at.0
    }

    fn judge_if_due(&mut self) {
        let now = self.world.now();
        let next = expectations::next_instant(&self.expected);
        if now < self.end && next.is_some_and(|at| at <= now) {
            let summary = self.summary();
            expectations::judge_now(&mut self.expected, now, &summary);
        }
    }

    fn sample_if_due(&mut self) {
        let now = self.world.now();
        if self.next_sample.is_some_and(|at| at <= now) || now >= self.end {
            self.sample();
        }
    }

    fn sample(&mut self) {
        let now = self.world.now();
        let Some(series) = &mut self.series else {
            return;
        };
        let spaces = summarise::port_spaces(&self.scenario, &self.layout, &self.map, &self.world);
        let connections = summarise::connections(&self.map, &self.world);
        let (layout, map) = (&self.layout, &self.map);
        let workloads = summarise::workload_samples(&self.scenario, layout, map, &self.world);
        let run = RunSample {
            connections: &connections,
            ledger: self.world.observer().ledger(),
            workloads: &workloads,
        };
        series.sample(now, &spaces, &run);
        self.next_sample = Some(now + interval(&self.scenario));
    }

    fn apply_due_events(&mut self) {
        while let Some(drained) = self.drains.pop_front_if(|next| next.at <= self.world.now()) {
            let told = membership::drained(self, drained);
            self.log(&told);
        }
        while let Some(outage) = self
            .outages
            .pop_front_if(|next| next.at <= self.world.now())
        {
            let told = link::change_by_section(self, &outage);
            self.log(&[told]);
        }
        while let Some(&index) = self.agenda.get(self.next_event) {
            if self.event_time(index) > self.world.now() {
                return;
            }
            self.next_event += 1;
            let told = control::apply(self, index);
            self.log(&told);
        }
    }

    /// Writes what was done now, and what the engines say to it.
    fn log(&mut self, told: &[Event]) {
        if let Some(log) = &mut self.log {
            for event in told {
                log.record(self.world.now(), event);
            }
        }
        self.record_events();
    }

    /// Moves what the engines told since the last step into the log, in the order of time.
    fn record_events(&mut self) {
        let told = events::collect(self);
        if let Some(log) = &mut self.log {
            for (at, event) in &told {
                log.record(*at, event);
            }
        }
    }

    fn check_outputs(&self) -> Result<(), RunError> {
        let log = self.log.as_ref().and_then(EventLog::error);
        let series = self.series.as_ref().and_then(TimeSeries::error);
        let capture = self.world.observer().error();
        match log.or(series).or(capture) {
            None => Ok(()),
            Some(error) => Err(RunError::Output(io::Error::new(
                error.kind(),
                error.to_string(),
            ))),
        }
    }
}

fn interval(scenario: &Scenario) -> Duration {
    scenario.output.interval.0
}
