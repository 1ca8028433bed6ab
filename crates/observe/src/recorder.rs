use std::io::{self, Write};
use std::sync::Arc;

use plsim_packet::{Packet, PacketId};
use plsim_sim::{ChannelId, NodeId, Observer, Place, Split, TapId};
use plsim_types::{DropReason, Instant, Protocol};

use crate::capture::Capture;
use crate::digest::{Digest, Fact};
use crate::ledger::Ledger;
use crate::part::{RecorderPart, Seen, in_order};
use crate::place::Places;
use crate::refusal::{Refusal, RefusalKey, Refusals, refused};

/// Watches a run: books every packet, and writes the capture if there is one.
///
/// Without a capture use `Recorder<std::io::Sink>`.
#[derive(Debug)]
pub struct Recorder<W> {
    places: Arc<Places>,
    books: Books,
    refusals: Refusals,
    capture: Option<Capture<W>>,
}

impl<W: Write> Recorder<W> {
    /// Starts with empty books; `places` must name every node and link of the world.
    #[must_use]
    pub fn new(places: Places, capture: Option<Capture<W>>) -> Self {
        Self {
            places: Arc::new(places),
            books: Books::default(),
            refusals: Refusals::default(),
            capture,
        }
    }

    /// Returns the book of packets.
    #[must_use]
    pub const fn ledger(&self) -> &Ledger {
        &self.books.ledger
    }

    /// Returns the fingerprint of all packet events so far.
    #[must_use]
    pub const fn digest(&self) -> Digest {
        self.books.digest
    }

    /// Returns who refused what so far, in a stable order.
    ///
    /// A connection of which more than 1 048 576 others were refused between two of its packets
    /// may count twice: that bounds the memory to 32 MiB.
    pub fn refusals(&self) -> impl Iterator<Item = (RefusalKey, Refusal)> {
        self.refusals.rows()
    }

    /// Returns what one refuser refused so far.
    #[must_use]
    pub fn refusal(&self, key: &RefusalKey) -> Option<Refusal> {
        self.refusals.row(key)
    }

    /// Returns how many packets of a protocol came into being.
    #[must_use]
    pub const fn injected_of(&self, protocol: Protocol) -> u64 {
        self.books.injected[protocol.index()]
    }

    /// Returns the capture, if there is one.
    #[must_use]
    pub const fn capture(&self) -> Option<&Capture<W>> {
        self.capture.as_ref()
    }

    /// Takes the capture out, so that it can be finished.
    #[must_use]
    pub fn take_capture(&mut self) -> Option<Capture<W>> {
        self.capture.take()
    }

    /// Returns the first error of the capture's writer: a run may stop early then.
    #[must_use]
    pub fn error(&self) -> Option<&io::Error> {
        self.capture.as_ref().and_then(Capture::error)
    }
}

impl<W: Write> Observer for Recorder<W> {
    fn injected(&mut self, now: Instant, node: NodeId, packet: &Packet) {
        let place = self.places.hash(Place::Node(node));
        self.books.inject(now, place, packet);
        if let Some(capture) = &mut self.capture {
            capture.injected(packet);
        }
    }

    fn duplicated(&mut self, now: Instant, channel: ChannelId, packet: &Packet, of: PacketId) {
        let place = self.places.hash(Place::Channel(channel));
        self.books.duplicate(now, place, packet);
        if let Some(capture) = &mut self.capture {
            capture.duplicated(packet, of);
        }
    }

    fn delivered(&mut self, now: Instant, node: NodeId, packet: &Packet) {
        let place = self.places.hash(Place::Node(node));
        self.books.end(now, place, Fact::Delivered, packet);
        if let Some(capture) = &mut self.capture {
            capture.delivered(packet);
        }
    }

    fn dropped(&mut self, now: Instant, place: Place, packet: &Packet, reason: DropReason) {
        let place = self.places.hash(place);
        self.books.end(now, place, Fact::Dropped(reason), packet);
        if let Some(refused) = refused(place, packet, reason) {
            self.refusals.note(now, &refused);
        }
        if let Some(capture) = &mut self.capture {
            capture.dropped(now, packet, reason);
        }
    }

    fn merged(&mut self, now: Instant, node: NodeId, packet: &Packet) {
        let place = self.places.hash(Place::Node(node));
        self.books.end(now, place, Fact::Merged, packet);
        if let Some(capture) = &mut self.capture {
            capture.delivered(packet);
        }
    }

    fn tapped(&mut self, now: Instant, tap: TapId, packet: &Packet) {
        if let Some(capture) = &mut self.capture {
            capture.tapped(now, tap, packet);
        }
    }
}

impl<W: Write> Split for Recorder<W> {
    type Part = RecorderPart;

    fn part(&self) -> RecorderPart {
        RecorderPart::new(Arc::clone(&self.places), self.capture.is_some())
    }

    fn join(&mut self, mut parts: Vec<RecorderPart>) {
        for part in &parts {
            self.books.add(&part.books);
        }
        let refused = parts
            .iter_mut()
            .map(|part| std::mem::take(&mut part.refused));
        for ((now, _), refused) in in_order(refused) {
            self.refusals.note(now, &refused);
        }
        let Some(capture) = &mut self.capture else {
            return;
        };
        for ((now, _), seen) in in_order(parts.into_iter().filter_map(|part| part.seen)) {
            match seen {
                Seen::Injected(packet) => capture.injected(&packet),
                Seen::Duplicated(packet, of) => capture.duplicated(&packet, of),
                Seen::Tapped(tap, packet) => capture.tapped(now, tap, &packet),
                Seen::Delivered(packet) => capture.delivered(&packet),
                Seen::Dropped(packet, reason) => capture.dropped(now, &packet, reason),
            }
        }
    }
}

/// What is counted of packets: sums, which parts of a run can have each for itself.
#[derive(Debug, Clone, Default)]
pub(crate) struct Books {
    ledger: Ledger,
    digest: Digest,
    injected: [u64; 2],
}

impl Books {
    pub(crate) fn inject(&mut self, now: Instant, place: u64, packet: &Packet) {
        self.ledger.inject(packet.origin);
        self.came(now, place, packet);
    }

    pub(crate) fn duplicate(&mut self, now: Instant, place: u64, packet: &Packet) {
        self.ledger.duplicate();
        self.came(now, place, packet);
    }

    fn came(&mut self, now: Instant, place: u64, packet: &Packet) {
        self.injected[packet.protocol().index()] += 1;
        self.digest.add(now, place, Fact::Injected, packet);
    }

    pub(crate) fn end(&mut self, now: Instant, place: u64, how: Fact, packet: &Packet) {
        match how {
            Fact::Delivered => self.ledger.deliver(),
            Fact::Merged => self.ledger.merge(),
            Fact::Dropped(reason) => self.ledger.drop(reason),
            Fact::Injected => unreachable!("broken invariant: a packet ends where it begins"),
        }
        self.digest.add(now, place, how, packet);
    }

    fn add(&mut self, other: &Self) {
        self.ledger.add(&other.ledger);
        self.digest.merge(&other.digest);
        for (own, other) in self.injected.iter_mut().zip(other.injected) {
            *own += other;
        }
    }
}
