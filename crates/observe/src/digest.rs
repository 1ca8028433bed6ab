use std::fmt;

use plsim_packet::Packet;
use plsim_types::{DropReason, Instant};

/// What happened to a packet, as far as the digest is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fact {
    /// It came into being.
    Injected,
    /// It reached its receiver.
    Delivered,
    /// It ended as part of another one.
    Merged,
    /// It ended early.
    Dropped(DropReason),
}

impl Fact {
    const fn code(self) -> u64 {
        match self {
            Self::Injected => 0x1_0000,
            Self::Delivered => 0x2_0000,
            Self::Merged => 0x4_0000,
            Self::Dropped(reason) => 0x3_0000 | reason.index() as u64,
        }
    }
}

/// A 128-bit fingerprint of every packet event of a run.
///
/// An event counts with its time, place, kind and drop reason, and the packet with all its header
/// bytes (5-tuple, lengths, time to live, flags, sequence and acknowledgement numbers, options,
/// and by its checksum the payload), its link and its maker. Packet ids, node numbers, capture
/// points and the positions of services and backends in the scenario do not count.
///
/// The fingerprint is the sum of one 128-bit hash per event (two lanes of folded 64×64→128
/// multiplications), so parts of a run can be summed up apart and merged in any order. It tells
/// runs apart; it is no defence against someone who builds a collision on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Digest {
    lanes: [u64; 2],
    events: u64,
}

impl Digest {
    /// Returns the number of events.
    #[must_use]
    pub const fn events(&self) -> u64 {
        self.events
    }

    /// Adds the events of another part of the same run.
    pub const fn merge(&mut self, other: &Self) {
        self.lanes[0] = self.lanes[0].wrapping_add(other.lanes[0]);
        self.lanes[1] = self.lanes[1].wrapping_add(other.lanes[1]);
        self.events += other.events;
    }

    /// Adds one event.
    #[inline]
    pub(crate) fn add(&mut self, now: Instant, place: u64, fact: Fact, packet: &Packet) {
        let header = packet.header();
        let bytes = match header.first_chunk::<PLAIN>() {
            Some(plain) if header.len() == PLAIN => words(plain),
            _ => odd_words(header),
        };
        let who = join(packet.encap.link.0, packet.origin as u32);
        let words = [
            now.as_nanos(),
            place,
            bytes[0],
            bytes[1],
            bytes[2],
            bytes[3],
            bytes[4],
            who,
        ];
        let lanes = mix(words, fact.code());
        self.lanes[0] = self.lanes[0].wrapping_add(lanes[0]);
        self.lanes[1] = self.lanes[1].wrapping_add(lanes[1]);
        self.events += 1;
    }
}

/// The bytes of an IPv4 and a TCP header without options.
const PLAIN: usize = 40;

#[inline]
fn words(bytes: &[u8; PLAIN]) -> [u64; 5] {
    let mut words = [0; 5];
    for (word, chunk) in words.iter_mut().zip(bytes.as_chunks().0) {
        *word = u64::from_le_bytes(*chunk);
    }
    words
}

/// Returns five words for headers with options, and for the short ones of UDP.
fn odd_words(header: &[u8]) -> [u64; 5] {
    let (plain, rest) = header.split_at(header.len().min(PLAIN));
    let mut bytes = [0; PLAIN];
    bytes[..plain.len()].copy_from_slice(plain);
    let mut all = words(&bytes);
    for chunk in rest.chunks(8) {
        let mut bytes = [0; 8];
        bytes[..chunk.len()].copy_from_slice(chunk);
        let (low, high) = multiply(all[4] ^ KEYS[6], u64::from_le_bytes(bytes) ^ KEYS[7]);
        all[4] = low ^ high;
    }
    all
}

impl fmt::Display for Digest {
    /// Writes 32 hexadecimal digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [first, second] = mix(
            [self.lanes[0], self.lanes[1], 0, 0, 0, 0, 0, 0],
            self.events,
        );
        write!(f, "{first:016x}{second:016x}")
    }
}

/// Constants with balanced bits: the digits of π (Blowfish's first sub-keys).
const KEYS: [u64; 8] = [
    0x243F_6A88_85A3_08D3,
    0x1319_8A2E_0370_7344,
    0xA409_3822_299F_31D0,
    0x082E_FA98_EC4E_6C89,
    0x4528_21E6_38D0_1377,
    0xBE54_66CF_34E9_0C6C,
    0xC0AC_29B7_C97C_50DD,
    0x3F84_D5B5_B547_0917,
];

/// Hashes the words of one event into two lanes.
///
/// Both halves of each product feed both lanes, in other roles, so that no 64-bit bottleneck lies
/// in between.
#[inline]
const fn mix(words: [u64; 8], kind: u64) -> [u64; 2] {
    let (a, b) = multiply(words[0] ^ KEYS[0], words[1] ^ KEYS[1]);
    let (c, d) = multiply(words[2] ^ KEYS[2], words[3] ^ KEYS[3]);
    let (e, f) = multiply(words[4] ^ KEYS[4], words[5] ^ KEYS[5]);
    let (g, h) = multiply(words[6] ^ KEYS[6], words[7] ^ KEYS[7]);
    let (low, high) = multiply(
        a ^ d.rotate_left(23) ^ e ^ h.rotate_left(11) ^ kind,
        c ^ b.rotate_left(41) ^ g ^ f.rotate_left(29) ^ KEYS[3],
    );
    let (other_low, other_high) = multiply(
        a.rotate_left(32) ^ b ^ g ^ f ^ KEYS[5],
        c.rotate_left(17) ^ d ^ e.rotate_left(47) ^ h ^ kind.rotate_left(32),
    );
    [low ^ high ^ c, other_low ^ other_high ^ e]
}

#[inline]
const fn multiply(a: u64, b: u64) -> (u64, u64) {
    let product = a as u128 * b as u128;
    (product as u64, (product >> 64) as u64)
}

#[inline]
const fn join(high: u32, low: u32) -> u64 {
    (high as u64) << 32 | low as u64
}
