use plsim_types::{Duration, Instant};

use super::{RETRY_AFTER, later};
use crate::agenda::Agenda;
use crate::client::model_token;
use crate::config::{Close, WorkloadConfig, WorkloadKind, draw_span};
use crate::connection::{Connections, Event, Progress, Turn};
use crate::workload::Model;
use plsim_sim::{Distribution, Stream};

/// Connections that all do the same: so many requests, or requests for so long; then they end.
#[derive(Debug)]
pub(crate) struct Script {
    /// How many requests a connection makes; `None`: as many as fit into its hold.
    requests: Option<u32>,
    /// The time from one request to the next.
    interval: Option<Distribution>,
    intervals: Stream,
    /// Whether another connection starts where one ends, and after what time.
    reconnect_delay: Option<Duration>,
    /// Whether a connection goes on until something ends it.
    is_endless: bool,
    stop: Instant,
    starts: Agenda<()>,
    /// When how many subscribers arrived, where the server publishes.
    subscribers: Vec<(Instant, u64)>,
}

impl Script {
    pub(super) fn new(config: &WorkloadConfig) -> Self {
        let (requests, interval) = match &config.kind {
            WorkloadKind::Tcp(session) => (session.requests, session.interval.clone()),
            WorkloadKind::Udp(session) => (session.requests, session.interval.clone()),
        };
        let requests = match (requests, &interval) {
            (None, None) => Some(1),
            (requests, _) => requests,
        };
        Self {
            requests,
            interval,
            intervals: Stream::new(config.seed, "workload", "intervals"),
            reconnect_delay: match config.model {
                Model::ConstantConcurrency { reconnect_delay }
                | Model::PubSub {
                    reconnect_delay, ..
                } => Some(reconnect_delay),
                _ => None,
            },
            is_endless: matches!(config.model, Model::PubSub { .. }),
            stop: config.stop,
            starts: Agenda::default(),
            subscribers: Vec::new(),
        }
    }

    /// A connection of the workload's schedule.
    pub(super) fn arrive(&mut self, all: &mut dyn Connections, turn: &mut Turn<'_, '_>) {
        if turn.traffic.is_subscription() {
            match self.subscribers.last_mut() {
                Some((at, count)) if *at == turn.now() => *count += 1,
                _ => self.subscribers.push((turn.now(), 1)),
            }
        }
        self.begin(all, turn);
    }

    /// Returns how many of these messages subscribers were to get, each from its arrival on.
    pub(super) fn due(&self, messages: impl Iterator<Item = Instant>) -> u64 {
        let mut arrivals = self.subscribers.iter().peekable();
        let (mut subscribers, mut due) = (0, 0);
        for at in messages {
            while let Some((_, count)) = arrivals.next_if(|(arrival, _)| *arrival < at) {
                subscribers += count;
            }
            due += subscribers;
        }
        due
    }

    fn begin(&mut self, all: &mut dyn Connections, turn: &mut Turn<'_, '_>) {
        match all.open(None, turn) {
            None => self.replace(true, turn),
            Some(position) => {
                if let Some(event) = all.poll(position, turn) {
                    self.hear(position, event, all, turn);
                }
            }
        }
    }

    pub(super) fn hear(
        &mut self,
        position: u32,
        event: Event,
        all: &mut dyn Connections,
        turn: &mut Turn<'_, '_>,
    ) {
        match event {
            Event::Opened => self.ask(position, all, turn),
            Event::Responded | Event::Message if turn.traffic.is_subscription() => {
                all.listen(position, turn);
            }
            Event::Responded | Event::Message => self.go_on(position, all, turn),
            Event::Woken if self.is_on(position, all, turn) => self.ask(position, all, turn),
            Event::Woken => self.finish(position, all, turn),
            Event::Unanswered => {
                let how = match turn.traffic.close {
                    Close::Rst => Close::Rst,
                    Close::Fin | Close::Abandon | Close::Server => Close::Fin,
                };
                all.close(position, how, turn);
                self.replace(false, turn);
            }
            Event::Failed(_) => self.replace(true, turn),
            Event::Gone(_) => self.replace(false, turn),
        }
    }

    /// Starts the connections that take the place of others.
    pub(super) fn on_timer(&mut self, all: &mut dyn Connections, turn: &mut Turn<'_, '_>) {
        while self
            .starts
            .pop(model_token(turn.traffic.number), turn.cx)
            .is_some()
        {
            if turn.now() < self.stop {
                self.begin(all, turn);
            }
        }
    }

    fn ask(&mut self, position: u32, all: &mut dyn Connections, turn: &mut Turn<'_, '_>) {
        let (is_last, rested_long) = match self.requests {
            Some(1) => (true, false),
            requests => {
                let progress = all.progress(position);
                if progress.left == 0 {
                    progress.left = requests.unwrap_or(u32::MAX);
                }
                progress.asked = turn.now();
                (
                    requests.is_some() && progress.left == 1,
                    progress.rests_long,
                )
            }
        };
        let mut asked = turn.traffic.draw_request(is_last);
        asked.after_silence = rested_long;
        all.ask(position, asked, turn);
    }

    fn is_on(&self, position: u32, all: &mut dyn Connections, turn: &Turn<'_, '_>) -> bool {
        self.requests != Some(1) && all.progress(position).is_on(turn.now())
    }

    /// Makes the next request, or rests until then.
    fn go_on(&mut self, position: u32, all: &mut dyn Connections, turn: &mut Turn<'_, '_>) {
        if self.requests == Some(1) {
            return self.rest(position, all, turn);
        }
        let progress = all.progress(position);
        let now = turn.now();
        let took = now.since(progress.asked);
        if self.requests.is_some() {
            progress.left -= 1;
            if progress.left == 0 {
                if self.interval.is_some() {
                    turn.stats.scheduled_latency.record(took);
                }
                return self.rest(position, all, turn);
            }
        } else if progress.end == Progress::ENDLESS && !self.is_endless {
            progress.end = now + turn.traffic.draw_hold();
        }
        let gap = match &self.interval {
            Some(interval) => draw_span(interval, &mut self.intervals),
            None => Duration::ZERO,
        };
        if self.interval.is_some() {
            turn.stats.on_schedule(took, gap);
        }
        let next = progress.asked + gap;
        let due = next.min(progress.end);
        progress.rests_long = turn.traffic.is_silence(due.since(now));
        let is_on = progress.is_on(now);
        if due > now {
            all.wake(position, due, turn);
        } else if is_on {
            self.ask(position, all, turn);
        } else {
            self.finish(position, all, turn);
        }
    }

    /// Holds the connection after its last response.
    fn rest(&mut self, position: u32, all: &mut dyn Connections, turn: &mut Turn<'_, '_>) {
        match turn.traffic.close {
            Close::Abandon | Close::Server => {
                self.finish(position, all, turn);
            }
            Close::Fin | Close::Rst => {
                let hold = turn.traffic.draw_hold();
                if hold.is_zero() {
                    self.finish(position, all, turn);
                } else {
                    all.wake(position, turn.now() + hold, turn);
                }
            }
        }
    }

    /// Ends a connection as configured.
    fn finish(&mut self, position: u32, all: &mut dyn Connections, turn: &mut Turn<'_, '_>) {
        all.close(position, turn.traffic.close, turn);
        self.replace(false, turn);
    }

    /// Has another connection take the place of one that is over.
    fn replace(&mut self, has_failed: bool, turn: &mut Turn<'_, '_>) {
        let Some(delay) = self.reconnect_delay else {
            return;
        };
        let delay = match has_failed {
            true => delay.max(RETRY_AFTER),
            false => delay,
        };
        let due = later(turn.now(), delay);
        let token = model_token(turn.traffic.number);
        self.starts.push(due, (), token, turn.cx);
    }
}
