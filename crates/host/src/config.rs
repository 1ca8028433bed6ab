use core::net::Ipv4Addr;
use std::sync::Arc;

use plsim_sim::{ChannelId, Distribution, Stream};
use plsim_types::{Duration, Instant, Protocol};

use crate::application::Application;
use crate::curve::Curve;
use crate::destination::Destinations;
use crate::full::FullStack;
use crate::parameters::TcpParameters;
use crate::ports::EphemeralPorts;
use crate::server::{Admission, Behaviour};
use crate::workload::Model;

/// The largest UDP payload in one Ethernet frame, in bytes.
pub(crate) const MAX_DATAGRAM: u16 = 1_472;

/// Draws a span of time.
pub(crate) fn draw_span(law: &Distribution, random: &mut Stream) -> Duration {
    Duration::from_nanos(law.draw(random))
}

/// One group of client VMs and the workloads that start there.
#[derive(Debug, Clone, PartialEq)]
pub struct ClientVmsConfig {
    /// The VMs' addresses, 1..=65 536, without duplicates.
    pub addresses: Vec<Ipv4Addr>,
    /// Local ports of connections; Linux has 32768..=60999 (`ip_local_port_range`).
    pub ephemeral_ports: EphemeralPorts,
    /// The TCP of the VMs: the light one, or smoltcp so configured.
    pub full: Option<FullStack>,
    /// The link toward the VMs' virtual network.
    pub out: ChannelId,
    /// Decides where each VM's ports and sequence numbers begin.
    pub seed: u64,
    /// What starts there, at most 65 536 workloads with at most so many destinations in all.
    pub workloads: Vec<WorkloadConfig>,
}

/// A stream of connections that do the same.
#[derive(Debug, Clone, PartialEq)]
pub struct WorkloadConfig {
    /// Seed of the workload's arrivals, destinations and holds.
    pub seed: u64,
    /// Where the connections go.
    pub destinations: Destinations,
    /// What each of them does.
    pub kind: WorkloadKind,
    /// What drives them.
    pub model: Model,
    /// When they start.
    pub arrival: Arrival,
    /// How many start in which time; needed for [`Arrival::Constant`] and [`Arrival::Poisson`].
    pub rate: Option<Rate>,
    /// How that rate changes with time.
    pub curve: Curve,
    /// The most that start; needed if all start at once. `None` means without limit.
    pub connections: Option<u64>,
    /// Nothing starts before.
    pub start: Instant,
    /// Nothing starts then or later.
    pub stop: Instant,
    /// After how long a silence the network forgets a connection, as far as the workload's own TCP lets
    /// it be silent for so long. It decides nothing but what losses are put down to.
    pub silence_limit: Option<Duration>,
}

/// The protocol of a workload and its session.
#[derive(Debug, Clone, PartialEq)]
pub enum WorkloadKind {
    /// TCP connections.
    Tcp(TcpSession),
    /// UDP flows.
    Udp(UdpSession),
}

/// When connections start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Arrival {
    /// Connection k, counted from 1, starts when the rate has brought k - 1 since `start`: for a flat
    /// one `floor((k - 1) * per / count)` after it.
    Constant,
    /// At random and independently: for a flat rate the gaps are exponential with the mean
    /// `per / count`, the first one counted from `start`.
    Poisson,
    /// All `connections` start at `start`.
    AtOnce,
    /// So many at `start` and again after each period.
    Bursts {
        /// How many, above zero.
        size: u64,
        /// The time from the beginning of one burst to that of the next, above zero.
        every: Duration,
        /// Over which time they spread evenly, at most `every`.
        spread: Duration,
    },
    /// At these times after `start`, in nanoseconds and rising order, each so many.
    Times(Arc<[(u64, u64)]>),
}

/// A number of events in a span of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// How many, above zero.
    pub count: u64,
    /// In which time, above zero.
    pub per: Duration,
}

/// How a TCP client ends its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Close {
    /// FIN, then TIME_WAIT, which keeps the client's port.
    Fin,
    /// RST; the port is free at once.
    Rst,
    /// Not at all: after the response both applications fall silent. The connection stays open and
    /// keeps its port until a reset arrives; `hold` and `keepalive` mean nothing then.
    Abandon,
    /// The server closes first, with the response to the last request: TIME_WAIT is its own.
    Server,
}

/// What one TCP connection does.
#[derive(Debug, Clone, PartialEq)]
pub struct TcpSession {
    /// Bytes of each request; what is drawn outside 8..=2^30 is taken for the nearest bound, and so
    /// is less than 16 where the server is to work, to close or to publish.
    pub request: Distribution,
    /// Bytes of each response; what is drawn outside 0..=2^30 is taken for the nearest bound.
    pub response: Distribution,
    /// How long the server works on a request before it responds, in nanoseconds, at most 78 h.
    pub service_time: Distribution,
    /// Requests of a connection, above zero. `None` means one, or with an `interval` as many as fit
    /// into `hold`, which then begins with the first response.
    pub requests: Option<u32>,
    /// Time from one request to the next, in nanoseconds. None leaves before the one before it is answered.
    pub interval: Option<Distribution>,
    /// How long each connection rests after its last response, in nanoseconds.
    pub hold: Distribution,
    /// How it ends.
    pub close: Close,
    /// How long a response may take before the client closes.
    pub response_timeout: Option<Duration>,
    /// How long the handshake may take, beside `syn_retries`.
    pub connect_timeout: Option<Duration>,
    /// What the client's operating system does with TCP.
    pub tcp: TcpParameters,
}

/// What one UDP flow does.
#[derive(Debug, Clone, PartialEq)]
pub struct UdpSession {
    /// Bytes of each request, one datagram; what is drawn outside 8..=1 472 is taken for the nearest
    /// bound, as in [`TcpSession::request`].
    pub request: Distribution,
    /// Bytes of each response, in as many datagrams as it takes, at least one; what is drawn outside
    /// 0..=2^30 is taken for the nearest bound.
    pub response: Distribution,
    /// How long the server works on a request before it responds, in nanoseconds, at most 78 h.
    pub service_time: Distribution,
    /// Requests of a flow, as in [`TcpSession::requests`].
    pub requests: Option<u32>,
    /// How long each flow lives after its last response, in nanoseconds; with `interval` and without
    /// `requests` after its first.
    pub hold: Distribution,
    /// Time from one request to the next, in nanoseconds. None leaves before the one before it is answered.
    pub interval: Option<Distribution>,
    /// How long an answer may take. One still due when `hold` ends is waited for.
    pub response_timeout: Duration,
}

/// What clients can subscribe to: each message reaches all of its subscribers at once.
#[derive(Debug, Clone, PartialEq)]
pub struct Subject {
    /// The time from one message to the next, in nanoseconds; the first comes so long after the start of
    /// the run.
    pub interval: Distribution,
    /// Seed of these times: VMs that have the same send at the same times.
    pub seed: u64,
}

/// One backend VM.
#[derive(Debug, Clone, PartialEq)]
pub struct ServerVmConfig {
    /// The VM's address.
    pub address: Ipv4Addr,
    /// Further addresses that it has on a loopback interface and answers from: those of frontends
    /// with floating IP (D-FIP).
    pub floating_ips: Vec<Ipv4Addr>,
    /// The link toward its host.
    pub out: ChannelId,
    /// The ports that answer.
    pub listeners: Vec<(Protocol, u16)>,
    /// What answers on the TCP ports.
    pub application: Application,
    /// What clients can subscribe to.
    pub subjects: Vec<Subject>,
    /// What its operating system does with TCP.
    pub tcp: TcpParameters,
    /// How many connections it takes.
    pub admission: Admission,
    /// How the VM behaves, beyond its ports.
    pub behaviour: Behaviour,
    /// The TCP of the VM: the light one, or smoltcp so configured. Health probes are answered by the
    /// light one.
    pub full: Option<FullStack>,
    /// Decides the order inside look-up tables, on which no packet depends, and SYN cookies.
    pub seed: u64,
}

impl WorkloadConfig {
    /// # Panics
    /// If a value lies outside its documented range.
    pub(crate) fn check(&self) {
        self.destinations.check();
        let (laws, interval) = match &self.kind {
            WorkloadKind::Tcp(session) => {
                session.tcp.check();
                let laws = [
                    &session.request,
                    &session.response,
                    &session.service_time,
                    &session.hold,
                ];
                (laws, &session.interval)
            }
            WorkloadKind::Udp(session) => {
                assert!(
                    !session.response_timeout.is_zero(),
                    "response_timeout must be above zero"
                );
                let laws = [
                    &session.request,
                    &session.response,
                    &session.service_time,
                    &session.hold,
                ];
                (laws, &session.interval)
            }
        };
        laws.into_iter()
            .chain(interval)
            .for_each(Distribution::check);
        match &self.arrival {
            Arrival::Times(times) => assert!(times.is_sorted(), "times rise"),
            Arrival::Bursts {
                size,
                every,
                spread,
            } => assert!(
                *size > 0 && !every.is_zero() && spread <= every,
                "a burst has a size and ends before the next one"
            ),
            Arrival::AtOnce => assert!(self.connections.is_some(), "how many start at once?"),
            Arrival::Constant | Arrival::Poisson => {
                let rate = self.rate.expect("an arrival process needs a rate");
                assert!(
                    rate.count > 0 && !rate.per.is_zero(),
                    "a rate must be above zero"
                );
            }
        }
    }
}
