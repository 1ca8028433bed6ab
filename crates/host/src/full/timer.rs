//! How long a silent peer is waited for. smoltcp has one time-out and one keepalive interval; these are
//! the timers of the light end instead, so that both give up for the same reason.

use plsim_types::{Duration, Instant};
use smoltcp::socket::tcp::State;

use crate::parameters::TcpParameters;

/// How long the end that closed first waits for the peer's FIN (Linux `tcp_fin_timeout`).
const FIN_WAIT: Duration = Duration::from_secs(60);

/// Watches over the peer of one connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Watch {
    parameters: TcpParameters,
    /// How long a SYN is waited for.
    syn: Duration,
    /// How long a SYN-ACK is.
    syn_ack: Duration,
    /// How long data is.
    data: Duration,
    /// How long what the application has closed is.
    orphan: Duration,
    /// When the peer was last heard, or this end began to wait for it.
    since: Instant,
    /// Keepalive probes in a row without an answer.
    probes: u8,
    /// Whether anything waits for an acknowledgement.
    is_waiting: bool,
}

/// What is to be done about a peer that is silent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Overdue {
    /// It is asked whether it is there.
    Probe,
    /// It is given up; whether a reset tells it so.
    GivenUp { with_reset: bool },
    /// Its FIN is not waited for any longer.
    Closed,
}

impl Watch {
    pub(super) fn new(parameters: TcpParameters, now: Instant) -> Self {
        Self {
            parameters,
            syn: parameters.syn_patience(),
            syn_ack: parameters.syn_ack_patience(),
            data: parameters.data_patience(false),
            orphan: parameters.data_patience(true),
            since: now,
            probes: 0,
            is_waiting: true,
        }
    }

    /// Notes that the peer has said something.
    pub(super) const fn hear(&mut self, now: Instant) {
        (self.since, self.probes) = (now, 0);
    }

    /// Notes whether anything waits for an acknowledgement after a turn.
    pub(super) const fn look(&mut self, is_waiting: bool, now: Instant) {
        if is_waiting && !self.is_waiting {
            self.since = now;
        }
        self.is_waiting = is_waiting;
    }

    /// Sends no more probes.
    pub(super) const fn fall_silent(&mut self) {
        self.parameters.keepalive = None;
    }

    /// Returns when [`Watch::overdue`] has something to say.
    pub(super) fn deadline(&self, state: State) -> Option<Instant> {
        let span = match state {
            State::Listen | State::Closed | State::TimeWait => return None,
            State::SynSent => self.syn,
            State::SynReceived => self.syn_ack,
            State::FinWait2 => FIN_WAIT,
            State::FinWait1 | State::Closing | State::LastAck if self.is_waiting => self.orphan,
            _ if self.is_waiting => self.data,
            _ => {
                let keepalive = &self.parameters.keepalive?;
                keepalive.time + keepalive.interval.times(self.probes.into())
            }
        };
        Some(self.since + span)
    }

    /// Tells what is to be done at the deadline.
    pub(super) fn overdue(&mut self, state: State) -> Overdue {
        if state == State::FinWait2 {
            return Overdue::Closed;
        }
        let keepalive = self.parameters.keepalive.filter(|_| !self.is_waiting);
        let Some(keepalive) = keepalive else {
            return Overdue::GivenUp { with_reset: false };
        };
        if self.parameters.loses_patience(&keepalive, self.probes) {
            return Overdue::GivenUp { with_reset: true };
        }
        self.probes = self.probes.saturating_add(1);
        Overdue::Probe
    }
}

#[cfg(test)]
mod tests {
    use super::{Overdue, Watch};
    use crate::parameters::{TcpKeepalive, TcpParameters};
    use plsim_types::{Duration, Instant};
    use smoltcp::socket::tcp::State;

    const PARAMETERS: TcpParameters = TcpParameters {
        keepalive: Some(TcpKeepalive {
            time: Duration::from_secs(100),
            interval: Duration::from_secs(10),
            probes: 2,
        }),
        ..TcpParameters::LINUX_CLIENT
    };

    fn secs(secs: u64) -> Option<Instant> {
        Some(Instant::ZERO + Duration::from_secs(secs))
    }

    #[test]
    fn an_idle_peer_is_probed_so_often_and_then_reset() {
        let mut watch = Watch::new(PARAMETERS, Instant::ZERO);
        assert_eq!(watch.deadline(State::SynSent), secs(127));
        watch.hear(Instant::ZERO);
        watch.look(false, Instant::ZERO);
        for (at, overdue) in [
            (100, Overdue::Probe),
            (110, Overdue::Probe),
            (120, Overdue::GivenUp { with_reset: true }),
        ] {
            assert_eq!(watch.deadline(State::Established), secs(at));
            assert_eq!(watch.overdue(State::Established), overdue);
        }
        watch.hear(secs(115).unwrap());
        assert_eq!(watch.deadline(State::Established), secs(215));
        watch.fall_silent();
        assert_eq!(watch.deadline(State::Established), None);
    }

    #[test]
    fn data_is_waited_for_from_when_it_was_written_and_a_fin_for_60_s() {
        let patient = TcpParameters {
            user_timeout: Some(Duration::from_secs(30)),
            ..PARAMETERS
        };
        let mut watch = Watch::new(patient, Instant::ZERO);
        watch.look(false, Instant::ZERO);
        watch.look(true, secs(500).unwrap());
        watch.look(true, secs(501).unwrap());
        assert_eq!(watch.deadline(State::Established), secs(530));
        assert_eq!(
            watch.overdue(State::Established),
            Overdue::GivenUp { with_reset: false }
        );
        watch.hear(secs(510).unwrap());
        assert_eq!(watch.deadline(State::LastAck), secs(540));
        assert_eq!(watch.deadline(State::FinWait2), secs(570));
        assert_eq!(watch.overdue(State::FinWait2), Overdue::Closed);
        assert_eq!(watch.deadline(State::TimeWait), None);
    }
}
