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
}

/// The connections of client VMs over one transport, as an application works with them.
///
/// A connection is known by its position. After [`open`](Self::open) it connects; each event of
/// [`poll`](Self::poll) allows the next step. One that the application has closed is its no longer:
/// what TCP still does for it is counted, but no event.
pub(crate) trait Connections {
    /// Tells whether a request can follow one that was not answered.
    fn outlives_silence(&self) -> bool;

    /// Starts a connection from the next client VM that has a port; counts a failure if VMs run, but
    /// none has.
    ///
    /// UDP knows no handshake: such a flow has an event at once.
    fn open(&mut self, turn: &mut Turn<'_, '_>) -> Option<u32>;

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

    /// Returns the workload of a connection, by number.
    fn workload(&self, position: u32, group: &Group) -> usize;

    /// Ends a connection with the VM it is on; an event if its application is to know.
    fn lose(&mut self, position: u32, end: End, turn: &mut Turn<'_, '_>) -> Option<Event>;

    /// Does what is due by the transport's own timers, behind what the application does now.
    fn expire(&mut self, position: u32, turn: &mut Turn<'_, '_>) -> Option<Event>;

    /// Sends what is due and sets the timer; harmless at a vacant position.
    fn settle(&mut self, position: u32, turn: &mut Turn<'_, '_>);
}

/// What one call works with besides the connections.
#[derive(Debug)]
pub(crate) struct Turn<'a, 'c> {
    pub(crate) group: &'a Group,
    pub(crate) traffic: &'a mut Traffic,
    pub(crate) stats: &'a mut WorkloadStats,
    pub(crate) cx: &'a mut Context<'c>,
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

    fn destination(&mut self, number: u16) -> &mut DestinationStats {
        &mut self.stats.destinations[usize::from(number - self.traffic.first_destination)]
    }
}
