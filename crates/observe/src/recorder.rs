use std::io::{self, Write};

use plsim_packet::{Packet, PacketId};
use plsim_sim::{ChannelId, NodeId, Observer, Place, TapId};
use plsim_types::{DropReason, Instant, Protocol};

use crate::capture::Capture;
use crate::digest::{Digest, Fact};
use crate::ledger::Ledger;
use crate::place::Places;
use crate::refusal::{Refusal, RefusalKey, Refusals};

/// Watches a run: books every packet, and writes the capture if there is one.
///
/// Without a capture use `Recorder<std::io::Sink>`.
#[derive(Debug)]
pub struct Recorder<W> {
    places: Places,
    ledger: Ledger,
    digest: Digest,
    refusals: Refusals,
    injected: [u64; 2],
    capture: Option<Capture<W>>,
}

impl<W: Write> Recorder<W> {
    /// Starts with empty books; `places` must name every node and link of the world.
    #[must_use]
    pub fn new(places: Places, capture: Option<Capture<W>>) -> Self {
        Self {
            places,
            ledger: Ledger::default(),
            digest: Digest::default(),
            refusals: Refusals::default(),
            injected: [0; 2],
            capture,
        }
    }

    /// Returns the book of packets.
    #[must_use]
    pub const fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Returns the fingerprint of all packet events so far.
    #[must_use]
    pub const fn digest(&self) -> Digest {
        self.digest
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
        self.injected[protocol.index()]
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
        self.ledger.inject(packet.origin);
        self.injected[packet.protocol().index()] += 1;
        let place = self.places.hash(Place::Node(node));
        self.digest.add(now, place, Fact::Injected, packet);
        if let Some(capture) = &mut self.capture {
            capture.injected(packet);
        }
    }

    fn duplicated(&mut self, now: Instant, channel: ChannelId, packet: &Packet, of: PacketId) {
        self.ledger.duplicate();
        self.injected[packet.protocol().index()] += 1;
        let place = self.places.hash(Place::Channel(channel));
        self.digest.add(now, place, Fact::Injected, packet);
        if let Some(capture) = &mut self.capture {
            capture.duplicated(packet, of);
        }
    }

    fn delivered(&mut self, now: Instant, node: NodeId, packet: &Packet) {
        self.ledger.deliver();
        let place = self.places.hash(Place::Node(node));
        self.digest.add(now, place, Fact::Delivered, packet);
        if let Some(capture) = &mut self.capture {
            capture.delivered(packet);
        }
    }

    fn dropped(&mut self, now: Instant, place: Place, packet: &Packet, reason: DropReason) {
        self.ledger.drop(reason);
        let place = self.places.hash(place);
        self.digest.add(now, place, Fact::Dropped(reason), packet);
        self.refusals.note(now, place, packet, reason);
        if let Some(capture) = &mut self.capture {
            capture.dropped(now, packet, reason);
        }
    }

    fn merged(&mut self, now: Instant, node: NodeId, packet: &Packet) {
        self.ledger.merge();
        let place = self.places.hash(Place::Node(node));
        self.digest.add(now, place, Fact::Merged, packet);
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
