use std::collections::BTreeMap;

use plsim_packet::{Form, Packet, probe};
use plsim_types::{BackendId, DropReason, Instant, KeyedHash, PlsId, Protocol};

/// Who refused what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RefusalKey {
    /// The Private Link Service the packets were for; [`PlsId::NONE`] of a frontend's own clients.
    pub pls: PlsId,
    /// The backend VM; `None` where the packets ended before the edge had chosen one.
    pub backend: Option<BackendId>,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// Why.
    pub reason: DropReason,
}

/// What one refuser refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    /// Packets.
    pub packets: u64,
    /// Distinct connections: a retransmitted SYN belongs to the same one.
    pub connections: u64,
    /// When the first packet was refused.
    pub first: Instant,
}

/// Counts refused packets and the connections they belong to.
///
/// A connection is known by (key, place, link, 5-tuple, initial sequence number); a packet that is
/// no SYN lacks the last and may go either way, so it is known by its two ends.
#[derive(Debug, Clone, Default)]
pub(crate) struct Refusals {
    rows: BTreeMap<RefusalKey, Refusal>,
    seen: RecentSet,
}

impl Refusals {
    /// Books a refused packet.
    pub(crate) fn note(&mut self, now: Instant, refused: &Refused) {
        let is_new = self.seen.insert(refused.connection);
        let row = self.rows.entry(refused.key).or_insert(Refusal {
            packets: 0,
            connections: 0,
            first: now,
        });
        row.packets += 1;
        row.connections += u64::from(is_new);
    }

    /// Returns the rows in the order of their keys.
    pub(crate) fn rows(&self) -> impl Iterator<Item = (RefusalKey, Refusal)> {
        self.rows.iter().map(|(key, row)| (*key, *row))
    }

    pub(crate) fn row(&self, key: &RefusalKey) -> Option<Refusal> {
        self.rows.get(key).copied()
    }
}

/// A packet that was refused.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Refused {
    key: RefusalKey,
    /// What stands for its connection.
    connection: u64,
}

/// Tells whether a dropped packet was refused, and by whom.
pub(crate) fn refused(place: u64, packet: &Packet, reason: DropReason) -> Option<Refused> {
    let backend_chosen = refuses(reason)?;
    if reason == DropReason::VmDown && !asks(packet) {
        return None;
    }
    let key = RefusalKey {
        pls: packet.encap.pls,
        backend: backend_chosen.then_some(packet.encap.backend),
        protocol: packet.protocol(),
        reason,
    };
    let connection = connection(&key, place, packet);
    Some(Refused { key, connection })
}

/// Tells whether a reason means that a connection was refused, and if so, whether the edge had
/// chosen a backend by then.
const fn refuses(reason: DropReason) -> Option<bool> {
    match reason {
        DropReason::NatPortsExhausted
        | DropReason::EndpointPortLimit
        | DropReason::VmFlowLimit
        | DropReason::NatTableFull
        | DropReason::LbHairpin
        | DropReason::VmDown => Some(true),
        DropReason::NotApproved
        | DropReason::NoLbRule
        | DropReason::NoHealthyBackend
        | DropReason::EdgeTableFull => Some(false),
        DropReason::NoRoute
        | DropReason::NoHost
        | DropReason::NoFlow
        | DropReason::Filtered
        | DropReason::LbIdle
        | DropReason::TtlExpired
        | DropReason::LinkLoss
        | DropReason::LinkQueueFull
        | DropReason::HopLimit
        | DropReason::ProbeBlocked
        | DropReason::SynQueueFull
        | DropReason::AcceptQueueFull
        | DropReason::NoListener
        | DropReason::Truncated
        | DropReason::BadVersion
        | DropReason::Ipv6
        | DropReason::BadIpHeader
        | DropReason::BadIpChecksum
        | DropReason::IpOptions
        | DropReason::SpoofedSource
        | DropReason::BadPort
        | DropReason::UnsupportedProtocol
        | DropReason::BadIcmp
        | DropReason::Fragment
        | DropReason::FragmentTiny
        | DropReason::FragmentOverlap
        | DropReason::FragmentTimeout
        | DropReason::FragmentLimit
        | DropReason::BadFragment
        | DropReason::BadUdpLength
        | DropReason::BadL4Checksum
        | DropReason::BadTcpHeader
        | DropReason::BadTcpFlags
        | DropReason::LinkDown => None,
    }
}

/// Tells whether a client wants something new with a packet: a connection, or an answer to a datagram.
/// What belongs to a connection of before is no refusal, and health probes are no clients.
fn asks(packet: &Packet) -> bool {
    let opens = packet
        .tcp_segment()
        .is_some_and(|segment| segment.flags.opens());
    *packet.source().ip() != probe::SOURCE && (opens || packet.form() == Form::Udp)
}

/// Returns what stands for the connection of a packet.
fn connection(key: &RefusalKey, place: u64, packet: &Packet) -> u64 {
    let end =
        |end: std::net::SocketAddrV4| u64::from(end.ip().to_bits()) << 16 | u64::from(end.port());
    let mut ends = [end(packet.source()), end(packet.destination())];
    let opening = packet.tcp_segment().filter(|segment| segment.flags.opens());
    if opening.is_none() {
        ends.sort_unstable();
    } else if key.reason == DropReason::VmDown {
        // Behind the NAT: a SYN that comes again may have another port by then.
        ends = [0; 2];
    }
    let start = opening.map_or(0, |segment| 1 << 32 | u64::from(segment.sequence));
    let who = u64::from(key.pls.0) << 48
        | u64::from(key.backend.map_or(0, |backend| backend.0)) << 32
        | u64::from(key.protocol.number()) << 8
        | key.reason.index() as u64;
    let link = u64::from(packet.encap.link.0);
    let word = HASH.pair(ends[0], ends[1]);
    HASH.pair(HASH.pair(word ^ place, start), who ^ link.rotate_left(8))
}

const HASH: KeyedHash = KeyedHash::new(0, "refusal");

/// A set of 64-bit hashes that forgets the oldest: two generations of at most [`GENERATION`].
///
/// A hash is certainly remembered until that many others have come after it. Memory: at most 32
/// MiB, nothing while empty.
#[derive(Debug, Clone, Default)]
struct RecentSet {
    young: HashTable,
    old: HashTable,
}

/// How many others may lie between two packets of one connection before it counts twice: 2^20.
const GENERATION: usize = 1 << 20;

impl RecentSet {
    /// Remembers a hash and tells whether it was new.
    fn insert(&mut self, hash: u64) -> bool {
        // Zero marks a free slot.
        let hash = hash.max(1);
        if self.young.contains(hash) {
            return false;
        }
        let is_new = !self.old.contains(hash);
        if self.young.length == GENERATION {
            std::mem::swap(&mut self.young, &mut self.old);
            self.young.clear();
        }
        self.young.add(hash);
        is_new
    }
}

/// Open addressing with linear probing, at most half full.
#[derive(Debug, Clone, Default)]
struct HashTable {
    slots: Vec<u64>,
    length: usize,
}

impl HashTable {
    /// Adds a hash that is not there.
    fn add(&mut self, hash: u64) {
        if self.length * 2 >= self.slots.len() {
            self.grow();
        }
        let slot = self.slot(hash);
        self.slots[slot] = hash;
        self.length += 1;
    }

    fn contains(&self, hash: u64) -> bool {
        !self.slots.is_empty() && self.slots[self.slot(hash)] == hash
    }

    fn clear(&mut self) {
        self.slots.fill(0);
        self.length = 0;
    }

    /// Returns where a hash is, or the free slot where it belongs.
    fn slot(&self, hash: u64) -> usize {
        let mask = self.slots.len() - 1;
        let mut slot = hash as usize & mask;
        while self.slots[slot] != 0 && self.slots[slot] != hash {
            slot = (slot + 1) & mask;
        }
        slot
    }

    fn grow(&mut self) {
        let size = (self.slots.len() * 2).max(64);
        let full = std::mem::replace(&mut self.slots, vec![0; size]);
        for hash in full.into_iter().filter(|hash| *hash != 0) {
            let slot = self.slot(hash);
            self.slots[slot] = hash;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{GENERATION, RecentSet};
    use plsim_types::KeyedHash;

    #[test]
    fn a_hash_is_remembered_while_fewer_than_a_generation_of_others_follow() {
        let hash = KeyedHash::new(1, "test");
        let mut set = RecentSet::default();
        for word in 1..GENERATION as u64 {
            set.insert(hash.word(word));
        }
        assert!(set.insert(0) && !set.insert(0));
        for word in 0..GENERATION as u64 {
            assert!(set.insert(hash.word(word | 1 << 40)));
        }
        assert!(!set.insert(0), "2^20 others came after it");
        for word in 0..2 * GENERATION as u64 {
            set.insert(hash.word(word | 1 << 41));
        }
        assert!(set.insert(0), "a bounded set must forget");
        assert_eq!(set.young.slots.len() + set.old.slots.len(), 4 * GENERATION);
    }
}
