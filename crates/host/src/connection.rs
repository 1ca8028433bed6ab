use plsim_sim::Context;
use plsim_types::{Duration, Instant};

use crate::client::Group;
use crate::client::state::End;
use crate::config::Close;
use crate::destination::DestinationStats;
use crate::request::Request;
use crate::stats::{Outcome, WorkloadStats};
use crate::workload::Traffic;

/// What an application hears of its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    /// Requests may be written.
    Opened,
    /// It never opened, and is not mentioned again.
    Failed(Outcome),
    /// The response to the request is here, whole.
    Responded,
    /// A message that it listened for is here, whole.
    Message,
    /// The response did not come in time. The application closes, or a UDP flow asks again.
    Unanswered,
    /// The time has come that it wanted to be woken at.
    Woken,
    /// It was open and is over: ended by the other side, or dead. It is not mentioned again.
    Gone(Outcome),
}

/// A request, and how long the application waits for the response to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) request: Request,
    pub(crate) timeout: Option<Duration>,
    /// Whether it waits at all: the packets of a UDP stream follow each other, whatever comes back.
    pub(crate) is_awaited: bool,
    /// Whether the connection had been silent for so long that the network has forgotten it.
    pub(crate) after_silence: bool,
}

/// How far an application is with a connection on which it makes more than one request. It begins at the default
/// with each connection, and is forgotten with it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Progress {
    /// Requests still to be made; zero before the first, and once the last one is answered.
    pub(crate) left: u32,
    /// Whether it rests for longer before the next one than the network remembers it.
    pub(crate) rests_long: bool,
    /// When the latest was made.
    pub(crate) asked: Instant,
    /// When the hold ends, once it began; [`ENDLESS`](Self::ENDLESS) before.
    pub(crate) end: Instant,
}

const _: () = assert!(size_of::<Progress>() == 24);

impl Default for Progress {
    fn default() -> Self {
        Self {
            left: 0,
            rests_long: false,
            asked: Instant::ZERO,
            end: Self::ENDLESS,
        }
    }
}

impl Progress {
    pub(crate) const ENDLESS: Instant = Instant::from_nanos(u64::MAX);

    /// Tells whether there is another request to make.
    pub(crate) fn is_on(&self, now: Instant) -> bool {
        self.left > 0 && now < self.end
    }
}

/// A connection on which somebody waits.
#[derive(Debug)]
pub(crate) struct Waiting<'a> {
    pub(crate) traffic: &'a Traffic,
    /// The request whose response is due; `None` where messages are waited for.
    pub(crate) asked: Option<Asked>,
    pub(crate) since: Instant,
}

impl Waiting<'_> {
    /// Tells whether the network has forgotten the connection, so that the wait is in vain.
    pub(crate) fn is_in_vain(&self, now: Instant) -> bool {
        let waited = now.since(self.since);
        match &self.asked {
            Some(asked) => self.traffic.fell_silent(asked, waited),
            None => self.traffic.is_silence(waited),
        }
    }
}

/// The connections of client VMs over one transport, as an application works with them.
///
/// A connection is known by its position. After [`open`](Self::open) it connects; each event of
/// [`poll`](Self::poll) allows the next step. One that the application has closed is its no longer:
/// what TCP still does for it is counted, but no event.
pub(crate) trait Connections {
    /// Tells whether a request can follow one that was not answered.
    fn outlives_silence(&self) -> bool;

    /// Starts a connection from that client VM, or from the next one that has a port; counts a failure if
    /// VMs run, but none has.
    ///
    /// UDP knows no handshake: such a flow has an event at once.
    fn open(&mut self, from: Option<u16>, turn: &mut Turn<'_, '_>) -> Option<u32>;

    /// Writes a request on an open connection that waits for no response.
    fn ask(&mut self, position: u32, asked: Asked, turn: &mut Turn<'_, '_>);

    /// Waits for a message as long as the response to the latest request, behind what came last.
    fn listen(&mut self, position: u32, turn: &mut Turn<'_, '_>);

    /// Has [`Event::Woken`] come at a time after now, unless the application asks before.
    fn wake(&mut self, position: u32, at: Instant, turn: &mut Turn<'_, '_>);

    /// Closes an open connection.
    fn close(&mut self, position: u32, how: Close, turn: &mut Turn<'_, '_>);

    /// Returns what the application has not heard yet.
    fn poll(&mut self, position: u32, turn: &mut Turn<'_, '_>) -> Option<Event>;

    /// Returns how far the application is with a connection that is there.
    fn progress(&mut self, position: u32) -> &mut Progress;

    /// Returns the workload of a connection, by number.
    fn workload(&self, position: u32, group: &Group) -> usize;

    /// Ends a connection with the VM it is on; an event if its application is to know.
    fn lose(&mut self, position: u32, end: End, turn: &mut Turn<'_, '_>) -> Option<Event>;

    /// Does what is due by the transport's own timers, behind what the application does now.
    fn expire(&mut self, position: u32, turn: &mut Turn<'_, '_>) -> Option<Event>;

    /// Sends what is due and sets the timer, unless the connection is [followed](Turn::followed) just now;
    /// harmless at a vacant position.
    fn settle(&mut self, position: u32, turn: &mut Turn<'_, '_>);
}

/// What one call works with besides the connections.
#[derive(Debug)]
pub(crate) struct Turn<'a, 'c> {
    pub(crate) group: &'a Group,
    pub(crate) traffic: &'a mut Traffic,
    pub(crate) stats: &'a mut WorkloadStats,
    pub(crate) cx: &'a mut Context<'c>,
    /// The connection whose events the application hears just now: it is settled once they all are heard.
    pub(crate) followed: Option<u32>,
}

impl Turn<'_, '_> {
    pub(crate) fn now(&self) -> Instant {
        self.cx.now()
    }

    /// Draws the number of the destination for a connection.
    pub(crate) fn choose(&mut self) -> u16 {
        self.traffic.choose()
    }

    pub(crate) fn started(&mut self, destination: u16) {
        self.stats.started();
        self.destination(destination).attempted += 1;
    }

    pub(crate) fn lacked_port(&mut self, destination: u16) {
        if !self.group.runs() {
            // Nobody is there to try.
            return;
        }
        self.stats.lacked_port();
        let row = self.destination(destination);
        row.attempted += 1;
        row.failed += 1;
    }

    /// Ends a connection that never was established.
    pub(crate) fn failed(&mut self, destination: u16, outcome: Outcome) {
        self.stats.failed(outcome);
        if outcome != Outcome::VmDown {
            self.destination(destination).failed += 1;
        }
    }

    /// Does that to a TCP connection whose first SYN left at an instant.
    pub(crate) fn could_not_connect(&mut self, destination: u16, since: Instant, outcome: Outcome) {
        self.failed(destination, outcome);
        if outcome != Outcome::VmDown {
            self.stats.connect_failure.record(self.now().since(since));
        }
    }

    /// Counts a request written at an instant that stays without a response.
    pub(crate) fn lost(&mut self, asked: &Asked, since: Instant, outcome: Outcome) {
        let waited = self.now().since(since);
        self.stats.lost(outcome, waited);
        let is_told = matches!(outcome, Outcome::VmDown | Outcome::Closed);
        self.stats.lost_to_silence +=
            u64::from(!is_told && self.traffic.fell_silent(asked, waited));
    }

    /// Counts a borrow that met a dead connection of the pool, which had rested for so long.
    pub(crate) fn found_dead(&mut self, rested: Duration, is_first: bool, by_test: bool) {
        self.stats.pool.found_dead(rested, is_first, by_test);
        let is_silent = self.traffic.is_silence(rested);
        self.stats.pool.dead_by_silence += u64::from(is_silent);
    }

    /// Ends an established TCP connection on which nothing was asked.
    pub(crate) fn ended_at_rest(&mut self, outcome: Outcome) {
        self.stats.ended(outcome);
        if outcome == Outcome::TimedOut
            && let Some(patience) = self.traffic.parameters.keepalive_patience()
        {
            self.stats.idle_detection.record(patience);
        }
    }

    fn destination(&mut self, number: u16) -> &mut DestinationStats {
        &mut self.stats.destinations[usize::from(number - self.traffic.first_destination)]
    }
}
