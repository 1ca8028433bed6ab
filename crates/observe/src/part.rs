use std::sync::Arc;

use plsim_packet::{Packet, PacketId};
use plsim_sim::{ChannelId, NodeId, Observer, Place, TapId, Tie};
use plsim_types::{DropReason, Instant};

use crate::digest::Fact;
use crate::place::Places;
use crate::recorder::Books;
use crate::refusal::{Refused, refused};

/// Watches one part of a world on a thread of its own.
///
/// What can be summed up is; the rest is noted with its place in the order of events. It lies on cache
/// lines of its own.
#[derive(Debug)]
#[repr(align(128))]
pub struct RecorderPart {
    places: Arc<Places>,
    pub(crate) books: Books,
    pub(crate) refused: Vec<(When, Refused)>,
    /// For the capture, if there is one.
    pub(crate) seen: Option<Vec<(When, Seen)>>,
    now: When,
}

/// What puts an event in order.
pub(crate) type When = (Instant, Tie);

/// Something that a capture wants to know.
#[derive(Debug)]
pub(crate) enum Seen {
    Injected(Packet),
    Duplicated(Packet, PacketId),
    Tapped(TapId, Packet),
    Delivered(Packet),
    Dropped(Packet, DropReason),
}

impl RecorderPart {
    pub(crate) fn new(places: Arc<Places>, captures: bool) -> Self {
        Self {
            places,
            books: Books::default(),
            refused: Vec::new(),
            seen: captures.then(Vec::new),
            now: (Instant::ZERO, 0),
        }
    }

    fn see(&mut self, seen: impl FnOnce() -> Seen) {
        if let Some(all) = &mut self.seen {
            all.push((self.now, seen()));
        }
    }
}

impl Observer for RecorderPart {
    fn begin(&mut self, now: Instant, tie: Tie) {
        self.now = (now, tie);
    }

    fn injected(&mut self, now: Instant, node: NodeId, packet: &Packet) {
        let place = self.places.hash(Place::Node(node));
        self.books.inject(now, place, packet);
        self.see(|| Seen::Injected(packet.clone()));
    }

    fn duplicated(&mut self, now: Instant, channel: ChannelId, packet: &Packet, of: PacketId) {
        let place = self.places.hash(Place::Channel(channel));
        self.books.duplicate(now, place, packet);
        self.see(|| Seen::Duplicated(packet.clone(), of));
    }

    fn delivered(&mut self, now: Instant, node: NodeId, packet: &Packet) {
        let place = self.places.hash(Place::Node(node));
        self.books.end(now, place, Fact::Delivered, packet);
        self.see(|| Seen::Delivered(packet.clone()));
    }

    fn dropped(&mut self, now: Instant, place: Place, packet: &Packet, reason: DropReason) {
        let place = self.places.hash(place);
        self.books.end(now, place, Fact::Dropped(reason), packet);
        if let Some(refused) = refused(place, packet, reason) {
            self.refused.push((self.now, refused));
        }
        self.see(|| Seen::Dropped(packet.clone(), reason));
    }

    fn merged(&mut self, now: Instant, node: NodeId, packet: &Packet) {
        let place = self.places.hash(Place::Node(node));
        self.books.end(now, place, Fact::Merged, packet);
        self.see(|| Seen::Delivered(packet.clone()));
    }

    fn tapped(&mut self, _: Instant, tap: TapId, packet: &Packet) {
        self.see(|| Seen::Tapped(tap, packet.clone()));
    }
}

/// Puts what parts have noted into the order of events.
pub(crate) fn in_order<T>(notes: impl IntoIterator<Item = Vec<(When, T)>>) -> Vec<(When, T)> {
    let mut all: Vec<(When, T)> = notes.into_iter().flatten().collect();
    // Stable: an event belongs to one part, which noted what it saw of it in order.
    all.sort_by_key(|(when, _)| *when);
    all
}
