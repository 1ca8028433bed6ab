use plsim_sim::{Distribution, Stream};
use plsim_table::FixedMap;
use plsim_types::{Duration, Instant};

use super::config::{ClosedLoopConfig, Jitter, Keeping, Retry};
use super::stats::Why;
use super::{RETRY_AFTER, later};
use crate::agenda::Agenda;
use crate::client::model_token;
use crate::config::{Close, WorkloadConfig, draw_span};
use crate::connection::{Connections, Event, Turn};
use crate::stats::Outcome;

/// Clients that think, ask, wait for the response, and try again when none comes.
#[derive(Debug)]
pub(crate) struct ClosedLoop {
    think_time: Distribution,
    keeping: Keeping,
    retry: Retry,
    stop: Instant,
    clients: Vec<Client>,
    /// Whose a connection is, by position.
    owners: FixedMap<u32, u32>,
    /// Which clients have thought, or waited, long enough.
    agenda: Agenda<u32>,
    thoughts: Stream,
    waits: Stream,
}

#[derive(Debug, Clone, Copy, Default)]
struct Client {
    connection: Option<u32>,
    /// Attempts of the operation at hand so far; zero while thinking.
    attempts: u32,
    /// When the operation began.
    began: Instant,
    /// Whether an attempt is under way: not while thinking or waiting for the next one.
    is_trying: bool,
    /// Since when its connection has been silent.
    rests: Instant,
}

impl ClosedLoop {
    pub(super) fn new(model: &ClosedLoopConfig, config: &WorkloadConfig) -> Self {
        let stream = |name| Stream::new(config.seed, "workload", name);
        Self {
            think_time: model.think_time.clone(),
            keeping: model.keeping,
            retry: model.retry,
            stop: config.stop,
            clients: Vec::new(),
            owners: FixedMap::new(),
            agenda: Agenda::default(),
            thoughts: stream("think times"),
            waits: stream("retries"),
        }
    }

    /// Adds a client, which asks at once, or thinks where no VM runs.
    pub(super) fn begin(&mut self, all: &mut dyn Connections, turn: &mut Turn<'_, '_>) {
        let client = self.clients.len() as u32;
        self.clients.push(Client::default());
        if turn.group.runs() {
            self.attempt(client, all, turn);
        } else {
            self.think(client, Duration::ZERO, turn);
        }
    }

    pub(super) fn on_timer(&mut self, all: &mut dyn Connections, turn: &mut Turn<'_, '_>) {
        let token = model_token(turn.traffic.number);
        while let Some(client) = self.agenda.pop(token, turn.cx) {
            let is_thinking = self.clients[client as usize].attempts == 0;
            if is_thinking && turn.now() >= self.stop {
                self.release(client, all, turn);
            } else {
                self.attempt(client, all, turn);
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
        let Some(&client) = self.owners.get(&position) else {
            return;
        };
        match event {
            Event::Opened => {
                self.clients[client as usize].rests = turn.now();
                self.ask(client, position, all, turn);
            }
            Event::Responded => self.succeed(client, position, all, turn),
            Event::Unanswered => {
                if self.keeping == Keeping::PerRequest || !all.outlives_silence() {
                    self.release(client, all, turn);
                }
                self.fail(client, Some(Why::Timeout), turn);
            }
            Event::Failed(_) => {
                self.forget(client);
                self.fail(client, Some(Why::Connect), turn);
            }
            Event::Gone(outcome) => {
                self.forget(client);
                if self.clients[client as usize].is_trying {
                    let why = match outcome {
                        Outcome::TimedOut => Why::Timeout,
                        _ => Why::Reset,
                    };
                    self.fail(client, Some(why), turn);
                }
            }
            Event::Woken | Event::Message => {}
        }
    }

    /// Makes an attempt, on the connection that the client has or on a new one.
    fn attempt(&mut self, client: u32, all: &mut dyn Connections, turn: &mut Turn<'_, '_>) {
        let now = turn.now();
        let state = &mut self.clients[client as usize];
        let operations = &mut turn.stats.operations;
        if state.attempts == 0 {
            state.began = now;
            operations.begin();
        } else {
            operations.retries += 1;
        }
        state.attempts += 1;
        state.is_trying = true;
        if let Some(position) = state.connection {
            return self.ask(client, position, all, turn);
        }
        let Some(position) = all.open(None, turn) else {
            return self.fail(client, None, turn);
        };
        self.clients[client as usize].connection = Some(position);
        self.owners.insert(position, client);
        if let Some(event) = all.poll(position, turn) {
            self.hear(position, event, all, turn);
        }
    }

    fn ask(
        &mut self,
        client: u32,
        position: u32,
        all: &mut dyn Connections,
        turn: &mut Turn<'_, '_>,
    ) {
        let mut asked = turn
            .traffic
            .draw_request(self.keeping == Keeping::PerRequest);
        let rested = turn.now().since(self.clients[client as usize].rests);
        asked.after_silence = turn.traffic.is_silence(rested);
        all.ask(position, asked, turn);
    }

    fn succeed(
        &mut self,
        client: u32,
        position: u32,
        all: &mut dyn Connections,
        turn: &mut Turn<'_, '_>,
    ) {
        let state = &mut self.clients[client as usize];
        state.rests = turn.now();
        let took = turn.now().since(state.began);
        turn.stats.operations.succeed(took);
        if self.keeping == Keeping::PerRequest {
            self.forget(client);
            all.close(position, turn.traffic.close, turn);
        }
        self.think(client, Duration::ZERO, turn);
    }

    /// Tries again later, or gives up; without a cause no VM had a port, so that nothing was sent.
    fn fail(&mut self, client: u32, why: Option<Why>, turn: &mut Turn<'_, '_>) {
        let state = &mut self.clients[client as usize];
        let attempts = state.attempts;
        state.is_trying = false;
        // Who could not even send must not go round in one instant; who was refused comes again as soon
        // as its back-off says, but not for ever.
        let floor = match why {
            None => RETRY_AFTER,
            Some(_) => Duration::ZERO,
        };
        if attempts < self.retry.max_attempts {
            let wait = self.retry.wait(attempts, &mut self.waits);
            return self.sleep(client, wait.max(floor), turn);
        }
        turn.stats.operations.fail(why.unwrap_or(Why::Connect));
        let floor = match why {
            None | Some(Why::Connect) => RETRY_AFTER,
            Some(_) => Duration::ZERO,
        };
        self.think(client, floor, turn);
    }

    fn think(&mut self, client: u32, floor: Duration, turn: &mut Turn<'_, '_>) {
        let state = &mut self.clients[client as usize];
        (state.attempts, state.is_trying) = (0, false);
        let span = draw_span(&self.think_time, &mut self.thoughts);
        self.sleep(client, span.max(floor), turn);
    }

    fn sleep(&mut self, client: u32, span: Duration, turn: &mut Turn<'_, '_>) {
        let token = model_token(turn.traffic.number);
        let due = later(turn.now(), span);
        self.agenda.push(due, client, token, turn.cx);
    }

    /// Closes the connection of a client that has one, whatever comes of it.
    fn release(&mut self, client: u32, all: &mut dyn Connections, turn: &mut Turn<'_, '_>) {
        if let Some(position) = self.forget(client) {
            let how = match turn.traffic.close {
                Close::Rst => Close::Rst,
                Close::Fin | Close::Abandon | Close::Server => Close::Fin,
            };
            all.close(position, how, turn);
        }
    }

    fn forget(&mut self, client: u32) -> Option<u32> {
        let position = self.clients[client as usize].connection.take()?;
        self.owners.remove(&position);
        Some(position)
    }
}

impl Retry {
    /// Draws the wait after this many attempts: exponential, limited, with jitter.
    fn wait(&self, attempts: u32, random: &mut Stream) -> Duration {
        let factor = 1_u64.checked_shl(attempts - 1).unwrap_or(u64::MAX);
        let whole = self.backoff.times(factor).min(self.backoff_max);
        let half = Duration::from_nanos(whole.as_nanos() / 2);
        match self.jitter {
            Jitter::None => whole,
            Jitter::Equal => half + share(half, random),
            Jitter::Full => share(whole, random),
        }
    }
}

/// Draws a part of a span, evenly.
fn share(span: Duration, random: &mut Stream) -> Duration {
    let product = u128::from(span.as_nanos()) * u128::from(random.bits());
    Duration::from_nanos((product >> 64) as u64)
}
