//! The applications at the client VMs: one model for each workload, all working with
//! [`Connections`].

mod closed_loop;
mod config;
mod pool;
mod pools;
mod script;
mod stats;
mod stream;

use plsim_sim::{Distribution, Stream};
use plsim_types::{Duration, Instant};

use crate::config::{Close, MAX_DATAGRAM, Subject, WorkloadConfig, WorkloadKind, draw_span};
use crate::connection::{Asked, Connections, Event, Turn};
use crate::parameters::TcpParameters;
use crate::request::{Extra, Request};
use crate::schedule::Schedule;
use closed_loop::ClosedLoop;
use pools::Pools;
use script::Script;
use stream::UdpStream;

pub use config::{
    ClosedLoopConfig, Jitter, Keeping, Model, NoticeClose, OnConnectFailure, Order, PoolConfig,
    Retry, Validation,
};
pub(crate) use stats::Why;
pub use stats::{LostBy, OperationStats, OperationsFailedBy, PoolStats, StreamStats};

/// How long an application waits before it tries again where it could not even try.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// What all connections of a workload have in common, and the workload's own randomness, which no
/// packet disturbs.
#[derive(Debug)]
pub(crate) struct Traffic {
    pub(crate) number: u16,
    /// The number of its first destination.
    pub(crate) first_destination: u16,
    /// The request of those that have no other.
    pub(crate) usual: Asked,
    pub(crate) connect_timeout: Option<Duration>,
    pub(crate) close: Close,
    pub(crate) parameters: TcpParameters,
    silence_limit: Option<Duration>,
    request: Distribution,
    response: Distribution,
    /// The most bytes of a request.
    longest: u32,
    service_time: Distribution,
    hold: Distribution,
    sizes: Stream,
    holds: Stream,
    services: Stream,
    destination: Distribution,
    destinations: Stream,
}

/// A workload that runs.
#[derive(Debug)]
pub(crate) struct Workload {
    pub(crate) traffic: Traffic,
    pub(crate) schedule: Schedule,
    pub(crate) config: WorkloadConfig,
    pub(crate) arrivals: Stream,
    pub(crate) application: Application,
}

/// What drives the connections of a workload.
#[derive(Debug)]
pub(crate) enum Application {
    /// Each connection does the same.
    Script(Script),
    ClosedLoop(ClosedLoop),
    Pools(Pools),
    UdpStream(UdpStream),
}

impl Workload {
    /// Builds a workload by its number and that of its first destination, on so many VMs.
    pub(crate) fn new(numbers: (u16, u16), config: WorkloadConfig, vms: usize) -> Self {
        let seed = config.seed;
        let mut arrivals = Stream::new(seed, "workload", "arrivals");
        let application = match &config.model {
            Model::OpenLoop | Model::ConstantConcurrency { .. } | Model::PubSub { .. } => {
                Application::Script(Script::new(&config))
            }
            Model::UdpStream { .. } => Application::UdpStream(UdpStream::new(&config)),
            Model::ClosedLoop(model) => Application::ClosedLoop(ClosedLoop::new(model, &config)),
            Model::Pool(model) => Application::Pools(Pools::new(model, &config, vms)),
        };
        Self {
            traffic: Traffic::new(numbers, &config),
            schedule: Schedule::new(&config, &mut arrivals),
            config,
            arrivals,
            application,
        }
    }

    pub(crate) const fn is_tcp(&self) -> bool {
        matches!(self.config.kind, WorkloadKind::Tcp(_))
    }
}

impl Traffic {
    fn new((number, first_destination): (u16, u16), config: &WorkloadConfig) -> Self {
        let seed = config.seed;
        let stream = |name| Stream::new(seed, "workload", name);
        let laws = match &config.kind {
            WorkloadKind::Tcp(session) => [
                &session.request,
                &session.response,
                &session.service_time,
                &session.hold,
            ],
            WorkloadKind::Udp(session) => [
                &session.request,
                &session.response,
                &session.service_time,
                &session.hold,
            ],
        };
        let [request, response, service_time, hold] = laws.map(Clone::clone);
        let longest = match &config.kind {
            WorkloadKind::Tcp(_) => Request::LONGEST,
            WorkloadKind::Udp(_) => u32::from(MAX_DATAGRAM),
        };
        let (timeout, connect_timeout, close, parameters) = match &config.kind {
            WorkloadKind::Tcp(session) => (
                session.response_timeout,
                session.connect_timeout,
                session.close,
                session.tcp,
            ),
            WorkloadKind::Udp(session) => (
                Some(session.response_timeout),
                None,
                Close::Fin,
                TcpParameters::LINUX_CLIENT,
            ),
        };
        let (subject, is_awaited, one_way) = match config.model {
            Model::PubSub { subject, .. } => (subject, true, false),
            Model::UdpStream { echo } => (None, false, !echo),
            _ => (None, true, false),
        };
        let extra = Extra {
            service_time: Duration::ZERO,
            closes: false,
            one_way,
            subject,
        };
        let mut traffic = Self {
            number,
            first_destination,
            usual: Asked {
                request: Request {
                    request: 0,
                    response: 0,
                    extra,
                },
                timeout,
                is_awaited,
                after_silence: false,
            },
            connect_timeout,
            close,
            parameters,
            silence_limit: config.silence_limit,
            request,
            response,
            longest,
            service_time,
            hold,
            sizes: stream("sizes"),
            holds: stream("holds"),
            services: stream("service times"),
            destination: config.destinations.choice.clone(),
            destinations: stream("destinations"),
        };
        // Fixed laws draw nothing: the usual request is the one that they always give.
        if [&traffic.request, &traffic.response, &traffic.service_time]
            .iter()
            .all(|law| matches!(law, Distribution::Fixed(_)))
        {
            traffic.usual = traffic.draw_request(false);
        }
        traffic
    }

    /// Draws the number of a destination.
    pub(crate) fn choose(&mut self) -> u16 {
        self.first_destination + self.destination.draw(&mut self.destinations) as u16
    }

    /// Draws the next request; the server closes behind the last one if it is to.
    fn draw_request(&mut self, is_last: bool) -> Asked {
        let extra = Extra {
            service_time: draw_span(&self.service_time, &mut self.services),
            closes: is_last && self.close == Close::Server,
            ..self.usual.request.extra
        };
        let laws = (&self.request, &self.response);
        let bounds = (extra, self.longest);
        let mut request = Request::draw(laws.0, laws.1, bounds, &mut self.sizes);
        if !self.usual.is_awaited {
            // The packets of a stream come back as they are.
            request.response = request.request;
        } else if self.is_subscription() {
            // A message without a byte could not be heard.
            request.response = request.response.max(1);
        }
        Asked {
            request,
            ..self.usual
        }
    }

    /// Tells whether the network forgets a connection that is silent for so long.
    pub(crate) fn is_silence(&self, span: Duration) -> bool {
        self.silence_limit.is_some_and(|limit| span >= limit)
    }

    /// Tells whether a request that waited for so long was lost for silence: before it, or while the
    /// server worked on it.
    pub(crate) fn fell_silent(&self, asked: &Asked, waited: Duration) -> bool {
        let works = asked.request.extra.service_time;
        asked.after_silence || self.is_silence(works) && self.is_silence(waited)
    }

    /// Tells whether connections only listen once they have subscribed.
    const fn is_subscription(&self) -> bool {
        self.usual.request.extra.subject.is_some()
    }

    fn draw_hold(&mut self) -> Duration {
        draw_span(&self.hold, &mut self.holds)
    }
}

impl Application {
    /// Does what an application does before anything arrives.
    pub(crate) fn start(
        &mut self,
        at: Instant,
        all: &mut dyn Connections,
        turn: &mut Turn<'_, '_>,
    ) {
        match self {
            Self::Script(_) | Self::ClosedLoop(_) | Self::UdpStream(_) => {}
            Self::Pools(pools) => pools.start(at, all, turn),
        }
    }

    /// Takes the next arrival of the workload's schedule.
    pub(crate) fn arrive(&mut self, all: &mut dyn Connections, turn: &mut Turn<'_, '_>) {
        match self {
            Self::Script(script) => script.arrive(all, turn),
            Self::ClosedLoop(clients) => clients.begin(all, turn),
            // Nobody is there to ask.
            Self::Pools(_) if !turn.group.runs() => {}
            Self::Pools(pools) => pools.begin(all, turn),
            Self::UdpStream(stream) => stream.begin(all, turn),
        }
    }

    /// Takes what a connection has to say after something happened to it, beginning with `event`, and
    /// settles it.
    pub(crate) fn follow(
        &mut self,
        position: u32,
        event: Option<Event>,
        all: &mut dyn Connections,
        turn: &mut Turn<'_, '_>,
    ) {
        self.heed(position, event, all, turn);
        all.settle(position, turn);
    }

    /// Takes what a connection has to say, beginning with `event`.
    pub(crate) fn heed(
        &mut self,
        position: u32,
        event: Option<Event>,
        all: &mut dyn Connections,
        turn: &mut Turn<'_, '_>,
    ) {
        turn.followed = Some(position);
        let mut next = event;
        while let Some(event) = next.or_else(|| all.poll(position, turn)) {
            self.hear(position, event, all, turn);
            next = None;
        }
        turn.followed = None;
    }

    /// Takes an event of a connection.
    fn hear(
        &mut self,
        position: u32,
        event: Event,
        all: &mut dyn Connections,
        turn: &mut Turn<'_, '_>,
    ) {
        match self {
            Self::Script(script) => script.hear(position, event, all, turn),
            Self::ClosedLoop(clients) => clients.hear(position, event, all, turn),
            Self::Pools(pools) => pools.hear(position, event, all, turn),
            Self::UdpStream(stream) => stream.hear(position, event, all, turn),
        }
    }

    /// Does what is due by the clock of the application, or of one of its pools.
    pub(crate) fn on_timer(
        &mut self,
        pool: u16,
        all: &mut dyn Connections,
        turn: &mut Turn<'_, '_>,
    ) {
        match self {
            Self::Script(script) => script.on_timer(all, turn),
            Self::ClosedLoop(clients) => clients.on_timer(all, turn),
            Self::Pools(pools) => pools.on_timer(pool, all, turn),
            Self::UdpStream(_) => {}
        }
    }

    /// Returns how many messages its subscribers were to get before an instant; `subjects` are the server's.
    pub(crate) fn messages_due(
        &self,
        traffic: &Traffic,
        subjects: &[Subject],
        end: Instant,
    ) -> u64 {
        let subject = traffic.usual.request.extra.subject;
        match (
            self,
            subject.and_then(|number| subjects.get(usize::from(number))),
        ) {
            (Self::Script(script), Some(subject)) => script.due(subject.messages_before(end)),
            _ => 0,
        }
    }

    /// Does what came due while no VM ran, or that of a pool did not.
    pub(crate) fn resume(&mut self, all: &mut dyn Connections, turn: &mut Turn<'_, '_>) {
        match self {
            Self::Pools(pools) => pools.resume(all, turn),
            Self::Script(_) | Self::ClosedLoop(_) | Self::UdpStream(_) => {
                self.on_timer(0, all, turn);
            }
        }
    }
}

/// Returns an instant after now.
fn later(now: Instant, span: Duration) -> Instant {
    now + span.max(Duration::from_nanos(1))
}
