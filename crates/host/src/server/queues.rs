use std::collections::{BTreeMap, VecDeque};

use plsim_types::{DropReason, Instant};

use super::cookies::MEMORY;

/// How many connections a backend VM takes on each of its TCP ports; `None` means any number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Admission {
    /// How many handshakes may be under way, and how many connections beyond one may wait until the
    /// application accepts them (KERN: the backlog of `listen`).
    pub backlog: Option<u32>,
    /// How many connections the application has open at once: others wait.
    pub max_connections: Option<u32>,
    /// Whether a SYN that finds as many handshakes under way is answered with a cookie (RFC 4987 §3.6)
    /// instead of being dropped; the light TCP only.
    pub syn_cookies: bool,
}

/// The queues of all listening ports, as Linux keeps them: one of handshakes that are under way and
/// one of connections that the application has not accepted.
///
/// ```text
///  SYN ─► handshakes, at most `backlog` ─► waiting, at most `backlog` + 1 ─► accepted, `max_connections`
///    dropped if either queue is full    ACK ignored if that queue is full
///    (cookie if only the first is)
/// ```
#[derive(Debug, Default)]
pub(super) struct Queues {
    admission: Admission,
    ports: BTreeMap<u16, Queue>,
}

/// Where a connection stands: among the light ends, or those of the full TCP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Light(u32),
    Full(u32),
}

#[derive(Debug, Default)]
struct Queue {
    handshakes: u32,
    accepted: u32,
    /// The one that waits longest first.
    waiting: VecDeque<Place>,
    /// When the latest cookie was sent.
    cookie: Option<Instant>,
}

impl Queues {
    pub(super) fn new(admission: Admission) -> Self {
        Self {
            admission,
            ports: BTreeMap::new(),
        }
    }

    /// Tells whether there is anything to limit.
    pub(super) const fn are_limited(&self) -> bool {
        self.admission.backlog.is_some() || self.admission.max_connections.is_some()
    }

    /// Tells why a SYN is dropped, if it is.
    pub(super) fn refusal_of_syn(&self, port: u16) -> Option<DropReason> {
        let queue = self.ports.get(&port)?;
        let backlog = self.admission.backlog?;
        if self.is_full(queue) {
            Some(DropReason::AcceptQueueFull)
        } else {
            (queue.handshakes >= backlog).then_some(DropReason::SynQueueFull)
        }
    }

    /// Tells why the last ACK of a handshake is dropped, if it is.
    pub(super) fn refusal_of_ack(&self, port: u16) -> Option<DropReason> {
        let queue = self.ports.get(&port)?;
        let must_wait = !self.accepts(queue);
        (must_wait && self.is_full(queue)).then_some(DropReason::AcceptQueueFull)
    }

    pub(super) const fn has_cookies(&self) -> bool {
        self.admission.syn_cookies
    }

    /// Notes that a port sends a cookie.
    pub(super) fn sent_cookie(&mut self, port: u16, now: Instant) {
        self.ports.entry(port).or_default().cookie = Some(now);
    }

    /// Tells whether a port has sent cookies lately, so that one may come back.
    pub(super) fn expects_cookie(&self, port: u16, now: Instant) -> bool {
        let sent = self.ports.get(&port).and_then(|queue| queue.cookie);
        sent.is_some_and(|sent| now.since(sent) <= MEMORY)
    }

    /// Begins a handshake.
    pub(super) fn begin(&mut self, port: u16) {
        self.ports.entry(port).or_default().handshakes += 1;
    }

    /// Ends a handshake without a connection.
    pub(super) fn give_up(&mut self, port: u16) {
        if let Some(queue) = self.ports.get_mut(&port) {
            queue.handshakes -= 1;
        }
    }

    /// Ends a handshake: the connection is accepted, or waits.
    pub(super) fn establish(&mut self, port: u16, place: Place) {
        let Some(queue) = self.ports.get(&port) else {
            return;
        };
        let accepts = self.accepts(queue) && queue.waiting.is_empty();
        let queue = self.ports.entry(port).or_default();
        queue.handshakes -= 1;
        if accepts {
            queue.accepted += 1;
        } else {
            queue.waiting.push_back(place);
        }
    }

    /// Tells whether a connection waits for the application.
    pub(super) fn waits(&self, port: u16, place: Place) -> bool {
        let queue = self.ports.get(&port);
        queue.is_some_and(|queue| queue.waiting.contains(&place))
    }

    /// Ends a connection.
    pub(super) fn leave(&mut self, port: u16, place: Place) {
        let Some(queue) = self.ports.get_mut(&port) else {
            return;
        };
        match queue.waiting.iter().position(|&one| one == place) {
            Some(at) => drop(queue.waiting.remove(at)),
            None => queue.accepted -= 1,
        }
    }

    /// Accepts the connection that waits longest, if there is room for one.
    pub(super) fn accept(&mut self) -> Option<Place> {
        let limit = self.admission.max_connections?;
        for queue in self.ports.values_mut() {
            if queue.accepted < limit
                && let Some(place) = queue.waiting.pop_front()
            {
                queue.accepted += 1;
                return Some(place);
            }
        }
        None
    }

    /// Returns the connections that wait.
    pub(super) fn waiting(&self) -> u64 {
        let queues = self.ports.values();
        queues.map(|queue| queue.waiting.len() as u64).sum()
    }

    fn accepts(&self, queue: &Queue) -> bool {
        let limit = self.admission.max_connections;
        limit.is_none_or(|limit| queue.accepted < limit)
    }

    /// Linux lets one more wait than the backlog says.
    fn is_full(&self, queue: &Queue) -> bool {
        let backlog = self.admission.backlog;
        backlog.is_some_and(|backlog| queue.waiting.len() as u64 > u64::from(backlog))
    }
}

#[cfg(test)]
mod tests {
    use super::Place::Light;
    use super::{Admission, Queues};
    use plsim_types::DropReason;

    fn queues(backlog: u32, max_connections: u32) -> Queues {
        Queues::new(Admission {
            backlog: Some(backlog),
            max_connections: Some(max_connections),
            syn_cookies: false,
        })
    }

    #[test]
    fn as_many_handshakes_are_under_way_as_the_backlog_says_on_each_port() {
        let mut queues = queues(2, 10);
        for _ in 0..2 {
            assert_eq!(queues.refusal_of_syn(80), None);
            queues.begin(80);
        }
        assert_eq!(queues.refusal_of_syn(80), Some(DropReason::SynQueueFull));
        assert_eq!(queues.refusal_of_syn(443), None);
        queues.give_up(80);
        assert_eq!(queues.refusal_of_syn(80), None);
    }

    #[test]
    fn one_more_than_the_backlog_waits_and_then_neither_syn_nor_ack_gets_in() {
        let mut queues = queues(1, 1);
        for position in 0..3 {
            let place = Light(position);
            assert_eq!(queues.refusal_of_syn(80), None);
            queues.begin(80);
            assert_eq!(queues.refusal_of_ack(80), None);
            queues.establish(80, place);
            assert_eq!(queues.waits(80, place), position > 0);
        }
        assert_eq!(queues.waiting(), 2);
        queues.begin(80);
        assert_eq!(queues.refusal_of_ack(80), Some(DropReason::AcceptQueueFull));
        assert_eq!(queues.refusal_of_syn(80), Some(DropReason::AcceptQueueFull));
        assert_eq!(queues.accept(), None, "the application is full");
        queues.leave(80, Light(0));
        assert_eq!(queues.accept(), Some(Light(1)), "who waits longest");
        assert_eq!(queues.accept(), None);
        assert_eq!(queues.refusal_of_ack(80), None);
        queues.leave(80, Light(2));
        queues.leave(80, Light(1));
        assert_eq!((queues.accept(), queues.waiting()), (None, 0));
    }

    #[test]
    fn without_a_limit_everybody_is_accepted() {
        let mut queues = Queues::new(Admission::default());
        assert!(!queues.are_limited());
        for position in 0..1_000 {
            assert_eq!(queues.refusal_of_syn(80), None);
            queues.begin(80);
            assert_eq!(queues.refusal_of_ack(80), None);
            queues.establish(80, Light(position));
        }
        assert_eq!(queues.waiting(), 0);
    }
}
