//! Health probes: when one is due, what its connection says, and what its results mean.

mod connection;
mod verdict;

#[cfg(test)]
mod tests;

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use connection::{Connection, Outcome, Sent};
use core::fmt;
use plsim_types::{Duration, Instant, KeyedHash, TcpFlags, TcpSegment};
use verdict::Verdict;

/// The ports that probes come from: those that Windows takes for outgoing connections.
const PORTS: u16 = 49_152;
/// How many there are.
const PORT_COUNT: u16 = 16_384;

/// One probe of one VM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeConfig {
    /// The VM's port, above zero.
    pub port: u16,
    /// The time from the start of one attempt to the start of the next, above zero. An attempt
    /// that is not over by then makes the next one wait for the beat after.
    pub interval: Duration,
    /// How long an attempt may take, above zero (D-PRB23: the interval, at most 30 s).
    pub timeout: Duration,
    /// Results in a row that change the verdict, up and down alike, 1 and up.
    pub threshold: u8,
    /// A VM that goes down within this time after it came up is flapping: it comes up again after
    /// so much time without a failure.
    pub flap_wait: Duration,
    /// When the first attempt starts.
    pub first: Instant,
    /// Whether the VM counts as up before the first result.
    pub starts_up: bool,
    /// What is said and heard over the connection; nothing for a probe that only opens and closes.
    pub turns: Vec<Turn>,
}

/// What a probe says in one segment, and what it waits for then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Turn {
    /// Bytes, at most 1 400; 0 says nothing.
    pub say: u16,
    /// What ends the turn.
    pub until: Until,
}

/// What a probe waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// Nothing: the next turn follows at once.
    Nothing,
    /// So many bytes of the VM.
    Bytes(u32),
    /// So many bytes of the VM, to which the prober then has this objection.
    Objection(u32, ProbeFailure),
    /// The status of an HTTP response: 200 is success, anything else is not (D-PRB23).
    Status,
}

/// Why an attempt failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ProbeFailure {
    /// What was waited for did not come in time.
    NoAnswer,
    /// The VM reset the connection.
    Reset,
    /// The VM closed the connection without the answer.
    Closed,
    /// The response had this status instead of 200.
    Status(u16),
    /// A certificate of the VM's chain is not signed with SHA-256.
    Certificate,
    /// The VM asks for a client certificate, and the prober has none.
    ClientCertificate,
    /// The VM does not speak TLS 1.2 (I#107193).
    TlsVersion,
}

/// A segment for the VM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProbeSegment {
    /// The probe, by its position in the configuration.
    pub probe: u16,
    /// The prober's port.
    pub source_port: u16,
    /// The VM's port.
    pub destination_port: u16,
    /// Sequence number.
    pub sequence: u32,
    /// The next byte expected of the VM; valid with ACK.
    pub acknowledgement: u32,
    /// Control bits.
    pub flags: TcpFlags,
    /// Where its bytes begin in all that the probe says.
    pub offset: u32,
    /// How many bytes there are.
    pub length: u16,
}

/// A verdict changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProbeEvent {
    /// The probe, by its position in the configuration.
    pub probe: u16,
    /// What the VM is now.
    pub up: bool,
    /// Why it went down; none if it came up, was stopped, or is new.
    pub failure: Option<ProbeFailure>,
}

/// What a probe did so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ProbeUsage {
    /// What the VM is.
    pub up: bool,
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
}

/// Everything that probes one VM: a state machine without a clock.
///
/// Whoever drives it hands in the VM's segments ([`on_segment`](Self::on_segment)), calls
/// [`handle_timeout`](Self::handle_timeout) at [`poll_timeout`](Self::poll_timeout), and after each
/// of them sends what [`poll_transmit`](Self::poll_transmit) gives and takes what
/// [`poll_event`](Self::poll_event) tells, until both are empty.
///
/// # Examples
/// ```
/// use plsim_lb::probe::{ProbeConfig, Prober};
/// use plsim_types::{Duration, Instant, TcpFlags};
///
/// let mut prober = Prober::new(1, vec![ProbeConfig {
///     port: 80,
///     interval: Duration::from_secs(5),
///     timeout: Duration::from_secs(5),
///     threshold: 1,
///     flap_wait: Duration::ZERO,
///     first: Instant::from_nanos(1),
///     starts_up: true,
///     turns: Vec::new(),
/// }]);
/// let start = prober.poll_timeout().unwrap();
/// prober.handle_timeout(start);
/// assert_eq!(prober.poll_transmit(start).unwrap().flags, TcpFlags::SYN);
/// // Nobody answers: after 5 s the VM is down.
/// prober.handle_timeout(start + Duration::from_secs(5));
/// assert!(!prober.poll_event().unwrap().up);
/// ```
#[derive(Debug, Clone)]
pub struct Prober {
    probes: Vec<Probe>,
    hash: KeyedHash,
    /// Attempts so far: gives each its port and initial sequence number.
    attempts: u64,
    is_running: bool,
    /// Resets that are due, whose connections are gone.
    resets: VecDeque<ProbeSegment>,
    events: VecDeque<ProbeEvent>,
}

#[derive(Debug, Clone)]
struct Probe {
    config: ProbeConfig,
    /// Whether the VM is asked at all.
    is_asked: bool,
    next: Instant,
    /// When the attempt in progress has taken too long.
    gives_up: Option<Instant>,
    connection: Option<Connection>,
    verdict: Verdict,
    usage: ProbeUsage,
}

impl Prober {
    /// Builds the prober of a VM that runs.
    #[must_use]
    pub fn new(seed: u64, probes: Vec<ProbeConfig>) -> Self {
        let probes = probes.into_iter().map(Probe::new).collect();
        Self {
            probes,
            hash: KeyedHash::new(seed, "probe"),
            attempts: 0,
            is_running: true,
            resets: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// Returns what each probe did, in configured order.
    pub fn usage(&self) -> impl Iterator<Item = ProbeUsage> {
        self.probes.iter().map(|probe| ProbeUsage {
            up: probe.verdict.up(),
            ..probe.usage
        })
    }

    /// Notes that the VM was stopped or started. One that is stopped is not probed and is down at
    /// once; one that starts comes up by its probes, from their next beat on.
    pub fn set_running(&mut self, is_running: bool, now: Instant) {
        if core::mem::replace(&mut self.is_running, is_running) == is_running {
            return;
        }
        for (probe, id) in self.probes.iter_mut().zip(0..) {
            probe.rest(now);
            if !is_running {
                self.events.extend(probe.distrust(id, now));
            }
        }
    }

    /// Notes that the VM joined a pool whose rules have a probe, or left the last one. It is asked
    /// only while it is in one; who joins is down until the probe says otherwise, which is no
    /// failure and not counted as one.
    pub fn set_asked(&mut self, id: u16, is_asked: bool, now: Instant) {
        let probe = &mut self.probes[usize::from(id)];
        if core::mem::replace(&mut probe.is_asked, is_asked) != is_asked {
            probe.rest(now);
            if is_asked {
                self.events.extend(probe.distrust(id, now));
            }
        }
    }

    /// Takes a segment of the VM: `source_port` is the VM's, `status` the HTTP status it carries.
    ///
    /// One that belongs to no connection is answered with a reset (RFC 9293 §3.10.7.1).
    pub fn on_segment(
        &mut self,
        source_port: u16,
        destination_port: u16,
        segment: &TcpSegment,
        status: Option<u16>,
        now: Instant,
    ) {
        let mut probes = self.probes.iter_mut().zip(0_u16..);
        let found = probes.find_map(|(probe, id)| {
            let is_it = |connection: &&mut Connection| connection.port == destination_port;
            let connection = probe.connection.as_mut().filter(is_it)?;
            (probe.config.port == source_port).then_some(())?;
            connection.on_segment(segment, status, &probe.config.turns, now);
            Some(id)
        });
        match found {
            Some(id) => self.settle(id, now),
            None if segment.flags.has(TcpFlags::RST) => {}
            None => self.resets.push_back(ProbeSegment {
                probe: 0,
                source_port: destination_port,
                destination_port: source_port,
                sequence: segment.acknowledgement,
                acknowledgement: segment.end(),
                flags: match segment.flags.has(TcpFlags::ACK) {
                    true => TcpFlags::RST,
                    false => TcpFlags::RST | TcpFlags::ACK,
                },
                offset: 0,
                length: 0,
            }),
        }
    }

    /// Ends attempts that took too long, sends again what was not acknowledged, and starts the
    /// attempts that are due.
    pub fn handle_timeout(&mut self, now: Instant) {
        if !self.is_running {
            return;
        }
        for id in 0..self.probes.len() as u16 {
            let probe = &mut self.probes[usize::from(id)];
            if !probe.is_asked {
                continue;
            }
            if let Some(connection) = &mut probe.connection {
                connection.on_timer(now);
                if probe.gives_up.is_some_and(|at| at <= now) {
                    connection.fail(ProbeFailure::NoAnswer);
                    self.settle(id, now);
                }
            }
            self.start_if_due(id, now);
        }
    }

    /// Returns when [`handle_timeout`](Self::handle_timeout) is to be called; after a call and
    /// after all is sent it lies after that call's time.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        if !self.is_running {
            return None;
        }
        let asked = self.probes.iter().filter(|probe| probe.is_asked);
        let deadlines = asked.flat_map(|probe| {
            let resend = probe.connection.as_ref().and_then(Connection::deadline);
            [Some(probe.next), probe.gives_up, resend]
        });
        deadlines.flatten().min()
    }

    /// Returns the next segment to send, until there is none.
    pub fn poll_transmit(&mut self, now: Instant) -> Option<ProbeSegment> {
        if let Some(reset) = self.resets.pop_front() {
            return Some(reset);
        }
        self.probes.iter_mut().zip(0..).find_map(|(probe, id)| {
            let connection = probe.connection.as_mut()?;
            let sent = connection.poll_transmit(&probe.config.turns, now)?;
            Some(segment(id, probe.config.port, connection.port, sent))
        })
    }

    /// Takes the next event out, in the order in which they happened.
    pub fn poll_event(&mut self) -> Option<ProbeEvent> {
        self.events.pop_front()
    }

    /// Draws the consequences of an attempt that is over.
    fn settle(&mut self, id: u16, now: Instant) {
        let probe = &mut self.probes[usize::from(id)];
        let outcome = probe.connection.as_ref().map(Connection::outcome);
        let failure = match outcome {
            Some(Outcome::Succeeded) => None,
            Some(Outcome::Failed(why)) => Some(why),
            Some(Outcome::Pending) | None => return,
        };
        if matches!(
            failure,
            Some(
                ProbeFailure::NoAnswer
                    | ProbeFailure::Certificate
                    | ProbeFailure::ClientCertificate
                    | ProbeFailure::TlsVersion
            )
        ) {
            self.resets.extend(probe.abort(id));
        }
        if probe.gives_up.take().is_none() {
            // It was over before.
            return;
        }
        let up = failure.is_none();
        probe.usage.note_result(failure);
        if probe.verdict.note(up, now) {
            probe.usage.changed = Some(now);
            if !up {
                probe.usage.went_down += 1;
                probe.usage.first_down.get_or_insert(now);
            }
            self.events.push_back(ProbeEvent {
                probe: id,
                up,
                failure,
            });
        }
    }

    fn start_if_due(&mut self, id: u16, now: Instant) {
        let probe = &mut self.probes[usize::from(id)];
        if probe.next > now {
            return;
        }
        if probe.gives_up.is_some() {
            return probe.skip_to_after(now);
        }
        // A VM whose end is still open hears that nobody is there any more.
        self.resets.extend(probe.abort(id));
        let port = PORTS + (self.attempts % u64::from(PORT_COUNT)) as u16;
        let isn = self.hash.word(self.attempts) as u32;
        self.attempts += 1;
        probe.connection = Some(Connection::new(port, isn));
        probe.gives_up = Some(now + probe.config.timeout);
        probe.usage.sent += 1;
        probe.skip_to_after(now);
    }
}

impl Probe {
    fn new(config: ProbeConfig) -> Self {
        Self {
            next: config.first,
            is_asked: true,
            gives_up: None,
            connection: None,
            verdict: Verdict::new(config.starts_up, config.threshold, config.flap_wait),
            usage: ProbeUsage::default(),
            config,
        }
    }

    /// Gives up what is going on, until the next beat.
    fn rest(&mut self, now: Instant) {
        self.connection = None;
        self.gives_up = None;
        self.skip_to_after(now);
    }

    /// Takes the VM down, whatever its results; tells of it if that is new.
    fn distrust(&mut self, id: u16, now: Instant) -> Option<ProbeEvent> {
        if !self.verdict.up() {
            return None;
        }
        self.verdict.down(now);
        self.usage.changed = Some(now);
        Some(ProbeEvent {
            probe: id,
            up: false,
            failure: None,
        })
    }

    /// Moves the next attempt to the first beat after now.
    fn skip_to_after(&mut self, now: Instant) {
        if self.next <= now {
            let interval = self.config.interval.as_nanos().max(1);
            let late = now.since(self.next).as_nanos();
            self.next = self.next + self.config.interval.times(late / interval + 1);
        }
    }

    /// Forgets the connection; returns the reset that is due then.
    fn abort(&mut self, id: u16) -> Option<ProbeSegment> {
        let connection = self.connection.take()?;
        let sent = connection.abort()?;
        Some(segment(id, self.config.port, connection.port, sent))
    }
}

impl ProbeUsage {
    const fn note_result(&mut self, failure: Option<ProbeFailure>) {
        match failure {
            None => self.succeeded += 1,
            Some(why) => {
                self.failed += 1;
                self.failed_by[why.index()] += 1;
            }
        }
    }
}

impl ProbeFailure {
    const fn index(self) -> usize {
        match self {
            Self::NoAnswer => 0,
            Self::Reset => 1,
            Self::Closed => 2,
            Self::Status(_) => 3,
            Self::Certificate | Self::ClientCertificate | Self::TlsVersion => 4,
        }
    }
}

impl fmt::Display for ProbeFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoAnswer => f.write_str("no answer"),
            Self::Reset => f.write_str("connection reset"),
            Self::Closed => f.write_str("connection closed without an answer"),
            Self::Status(status) => write!(f, "HTTP status {status}"),
            Self::Certificate => f.write_str("certificate chain without SHA-256"),
            Self::ClientCertificate => f.write_str("client certificate demanded"),
            Self::TlsVersion => f.write_str("no TLS 1.2"),
        }
    }
}

const fn segment(probe: u16, vm_port: u16, port: u16, sent: Sent) -> ProbeSegment {
    ProbeSegment {
        probe,
        source_port: port,
        destination_port: vm_port,
        sequence: sent.sequence,
        acknowledgement: sent.acknowledgement,
        flags: sent.flags,
        offset: sent.offset,
        length: sent.length,
    }
}
