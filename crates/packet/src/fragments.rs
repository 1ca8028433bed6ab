use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;

use plsim_types::{DropReason, Duration, Instant};

use crate::checksum::Sum;
use crate::fragment::Stamp;
use crate::packet::{Packet, long, set_word, word};

/// The most bytes of an IPv4 packet, header included.
const LONGEST: usize = 65_535;

/// What is done with fragments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FragmentPolicy {
    /// They are dropped (D-LBLIM).
    #[default]
    Drop,
    /// They wait until their datagram is complete, and go on as one packet.
    Reassemble,
    /// They go on as they are, in order, once the first has come: later ones carry its ports, and where they are in its
    /// TCP segment.
    Forward,
}

/// What a [`Fragments`] engine is built from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FragmentsConfig {
    /// What is done with fragments.
    pub policy: FragmentPolicy,
    /// The most bytes that may wait: the wire bytes of each fragment and
    /// [`FragmentsConfig::OVERHEAD`] for each fragment and each datagram.
    pub limit: usize,
    /// How long a datagram waits after its first arrival, above zero.
    pub timeout: Duration,
}

impl FragmentsConfig {
    /// What a fragment, and a datagram, counts beyond its wire bytes.
    pub const OVERHEAD: usize = 256;

    /// What the end systems do: reassembly within 4 MiB and 30 s (KERN: `ipfrag_high_thresh`,
    /// `ipfrag_time`).
    pub const HOST: Self = Self {
        policy: FragmentPolicy::Reassemble,
        limit: 4 << 20,
        timeout: Duration::from_secs(30),
    };
}

/// What becomes of a fragment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It goes on: a fragment in its turn, or the whole packet, which has the id of the fragment
    /// that completed it.
    On(Box<Packet>),
    /// It ends as part of the packet that follows.
    Merged(Box<Packet>),
    /// It ends here.
    Dropped(Box<Packet>, DropReason),
}

/// Fragments on their way through one node: drops, reassembles or orders them.
///
/// Memory is bounded, and so is the time a fragment waits. A datagram goes on whole or not at all
/// when it is reassembled: an overlap ends all of it, fragments to come included (RFC 5722 §3), as
/// does a contradiction about its end. Only an exact repetition of a fragment that waits is dropped
/// by itself; of one that went on already there is nothing left to compare with.
#[derive(Debug, Clone)]
pub struct Fragments {
    config: FragmentsConfig,
    datagrams: BTreeMap<Key, Datagram>,
    /// When each datagram is given up; numbers keep equal times apart.
    deadlines: BTreeMap<(Instant, u64), Key>,
    /// Datagrams so far.
    count: u64,
    bytes: usize,
    held: u64,
    fates: VecDeque<Fate>,
}

/// What the fragments of a datagram have in common (RFC 791 §3.2); the link keeps consumers with
/// the same addresses apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    link: u32,
    source: u32,
    destination: u32,
    identification: u16,
    protocol: u8,
}

#[derive(Debug, Clone)]
struct Datagram {
    /// The fragments that wait, by their offset; no two overlap.
    parts: BTreeMap<usize, Box<Packet>>,
    /// The bytes of data that wait or went on.
    length: usize,
    /// The end of the fragment that reaches farthest.
    farthest: usize,
    /// The length of the whole, once the last fragment has come.
    end: Option<usize>,
    /// Where the next fragment to go on starts.
    next: usize,
    /// What the first fragment tells the others, once it has come.
    stamp: Option<Stamp>,
    /// Why nothing more of it goes on.
    spoilt: Option<DropReason>,
    /// What it counts against the limit.
    bytes: usize,
    deadline: (Instant, u64),
}

/// Whether a fragment belongs where it says.
enum Fit {
    New,
    Repetition,
    Contradiction(DropReason),
}

impl Fragments {
    /// Builds an engine in which nothing waits.
    #[must_use]
    pub const fn new(config: FragmentsConfig) -> Self {
        Self {
            config,
            datagrams: BTreeMap::new(),
            deadlines: BTreeMap::new(),
            count: 0,
            bytes: 0,
            held: 0,
            fates: VecDeque::new(),
        }
    }

    /// Takes a fragment; drain [`Fragments::poll_fate`] after the call.
    pub fn process(&mut self, fragment: Box<Packet>, now: Instant) {
        self.handle_timeout(now);
        if self.config.policy == FragmentPolicy::Drop {
            return self.drop(fragment, DropReason::Fragment);
        }
        let key = Key::of(&fragment);
        let known = self.datagrams.contains_key(&key);
        let cost = FragmentsConfig::OVERHEAD + fragment.wire_len();
        let entry = if known { 0 } else { FragmentsConfig::OVERHEAD };
        if self.bytes + entry + cost > self.config.limit {
            return self.drop(fragment, DropReason::FragmentLimit);
        }
        if !known {
            self.open(key, now);
        }
        let datagram = self
            .datagrams
            .get_mut(&key)
            .expect("broken invariant: just opened");
        match datagram.fit(&fragment) {
            Fit::New => {
                self.bytes += cost;
                self.held += 1;
                datagram.bytes += cost;
                let offset = datagram.insert(fragment);
                match self.config.policy {
                    FragmentPolicy::Forward => self.forward(key),
                    FragmentPolicy::Reassemble | FragmentPolicy::Drop => {
                        self.reassemble(key, offset);
                    }
                }
            }
            Fit::Repetition => self.drop(fragment, DropReason::FragmentOverlap),
            Fit::Contradiction(reason) => {
                self.drop(fragment, reason);
                self.spoil(key, reason);
            }
        }
    }

    /// Gives up the datagrams whose time is over: one waits until one nanosecond before its
    /// deadline.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(entry) = self.deadlines.first_entry()
            && entry.key().0 <= now
        {
            let key = *entry.get();
            self.spoil(key, DropReason::FragmentTimeout);
            self.close(key);
        }
    }

    /// Returns when [`Fragments::handle_timeout`] has something to do next; after a call it lies
    /// after that call's time.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.deadlines
            .first_key_value()
            .map(|(deadline, _)| deadline.0)
    }

    /// Takes the next fate out, in the order in which they were decided.
    pub fn poll_fate(&mut self) -> Option<Fate> {
        self.fates.pop_front()
    }

    /// Returns the number of fragments that wait.
    #[must_use]
    pub const fn held(&self) -> u64 {
        self.held
    }

    /// Returns what counts against the limit, in bytes.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    fn drop(&mut self, fragment: Box<Packet>, reason: DropReason) {
        self.fates.push_back(Fate::Dropped(fragment, reason));
    }

    fn open(&mut self, key: Key, now: Instant) {
        let deadline = (now + self.config.timeout, self.count);
        self.count += 1;
        self.bytes += FragmentsConfig::OVERHEAD;
        self.deadlines.insert(deadline, key);
        let datagram = Datagram {
            parts: BTreeMap::new(),
            length: 0,
            farthest: 0,
            end: None,
            next: 0,
            stamp: None,
            spoilt: None,
            bytes: FragmentsConfig::OVERHEAD,
            deadline,
        };
        self.datagrams.insert(key, datagram);
    }

    /// Forgets a datagram and returns what still waited.
    fn close(&mut self, key: Key) -> BTreeMap<usize, Box<Packet>> {
        let datagram = self
            .datagrams
            .remove(&key)
            .expect("broken invariant: a datagram is closed once");
        self.deadlines.remove(&datagram.deadline);
        self.bytes -= datagram.bytes;
        self.held -= datagram.parts.len() as u64;
        datagram.parts
    }

    /// Drops what waits of a datagram; the rest will follow it until its time is over.
    fn spoil(&mut self, key: Key, reason: DropReason) {
        let datagram = self
            .datagrams
            .get_mut(&key)
            .expect("broken invariant: an open datagram is spoilt");
        datagram.spoilt.get_or_insert(reason);
        self.bytes -= datagram.bytes - FragmentsConfig::OVERHEAD;
        self.held -= datagram.parts.len() as u64;
        datagram.bytes = FragmentsConfig::OVERHEAD;
        let parts = core::mem::take(&mut datagram.parts);
        let dropped = parts.into_values().map(|part| Fate::Dropped(part, reason));
        self.fates.extend(dropped);
    }

    /// Lets the fragments go on whose turn it is.
    fn forward(&mut self, key: Key) {
        let datagram = self
            .datagrams
            .get_mut(&key)
            .expect("broken invariant: an open datagram is forwarded");
        while let Some(stamp) = &datagram.stamp
            && let Some(mut part) = datagram.parts.remove(&datagram.next)
        {
            part.take_stamp(stamp);
            let cost = FragmentsConfig::OVERHEAD + part.wire_len();
            datagram.next += part.data_len();
            datagram.bytes -= cost;
            self.bytes -= cost;
            self.held -= 1;
            self.fates.push_back(Fate::On(part));
        }
        if datagram.end == Some(datagram.next) {
            self.close(key);
        }
    }

    /// Makes the whole packet if nothing is missing; `completing` is the offset of the fragment
    /// that came last.
    fn reassemble(&mut self, key: Key, completing: usize) {
        let datagram = &self.datagrams[&key];
        if datagram.end != Some(datagram.length) {
            return;
        }
        let mut parts = self.close(key);
        let bytes = whole(&parts);
        let mut last = parts
            .remove(&completing)
            .expect("broken invariant: what came last is a part");
        if bytes.len() > LONGEST {
            // The first fragment's header is longer than those of the others.
            let parts = parts.into_values().chain([last]);
            let reason = DropReason::BadFragment;
            let dropped = parts.map(|part| Fate::Dropped(part, reason));
            return self.fates.extend(dropped);
        }
        self.fates.extend(parts.into_values().map(Fate::Merged));
        let mut packet = Packet::from_wire(&bytes);
        packet.id = last.id;
        packet.origin = last.origin;
        packet.encap = last.encap;
        *last = packet;
        self.fates.push_back(match last.fault() {
            Some(fault) => Fate::Dropped(last, fault),
            None => Fate::On(last),
        });
    }
}

impl Key {
    fn of(fragment: &Packet) -> Self {
        Self {
            link: fragment.encap.link.0,
            source: long(&fragment.header, 12),
            destination: long(&fragment.header, 16),
            identification: word(&fragment.header, 4),
            protocol: fragment.header[9],
        }
    }
}

impl Datagram {
    fn fit(&self, fragment: &Packet) -> Fit {
        if let Some(reason) = self.spoilt {
            return Fit::Contradiction(reason);
        }
        let start = fragment.fragment_offset();
        let end = start + fragment.data_len();
        let is_last = !fragment.has_more_fragments();
        if self
            .end
            .is_some_and(|known| end > known || is_last && end != known)
            || is_last && self.farthest > end
        {
            return Fit::Contradiction(DropReason::BadFragment);
        }
        if self
            .parts
            .get(&start)
            .is_some_and(|part| part.has_bytes_of(fragment))
        {
            return Fit::Repetition;
        }
        let before = self.parts.range(..=start).next_back();
        let after = self.parts.range(start..).next();
        if start < self.next
            || before.is_some_and(|(at, part)| at + part.data_len() > start)
            || after.is_some_and(|(at, _)| *at < end)
        {
            return Fit::Contradiction(DropReason::FragmentOverlap);
        }
        Fit::New
    }

    /// Adds a fragment and returns its offset.
    fn insert(&mut self, fragment: Box<Packet>) -> usize {
        let offset = fragment.fragment_offset();
        let end = offset + fragment.data_len();
        self.length += fragment.data_len();
        self.farthest = self.farthest.max(end);
        if !fragment.has_more_fragments() {
            self.end = Some(end);
        }
        if offset == 0 {
            self.stamp = Some(fragment.stamp());
        }
        self.parts.insert(offset, fragment);
        offset
    }
}

/// Joins all parts behind the header of the first, which is made that of a whole packet.
fn whole(parts: &BTreeMap<usize, Box<Packet>>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (offset, part) in parts {
        let before = bytes.len();
        part.write_to(&mut bytes, usize::MAX);
        if *offset > 0 {
            bytes.drain(before..before + part.transport_offset());
        }
    }
    let header = usize::from(bytes[0] & 15) * 4;
    let total = bytes.len().min(LONGEST) as u16;
    set_word(&mut bytes, 2, total);
    set_word(&mut bytes, 6, 0);
    set_word(&mut bytes, 10, 0);
    let checksum = Sum::ZERO.bytes(&bytes[..header]).checksum();
    set_word(&mut bytes, 10, checksum);
    bytes
}
