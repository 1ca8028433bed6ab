use super::set::FreePorts;
use super::{Allocated, NoPort, PortAllocator, PortRequest};
use core::ops::RangeInclusive;
use plsim_types::KeyedHash;

/// The five algorithms of RFC 6056 §3.3, each with the loop the document writes down.
///
/// At most as many tries as there are ports; each try looks at one port, and the tries are the
/// probes. Only a space without any free port is refused without a try. The counters are those of
/// one port space and are seeded by its key. Memory: 8.2 KiB for 64 512 ports.
///
/// | algorithm | port of a try | gives up | predictable |
/// |---|---|---|---|
/// | 1 | a random start, then the next one | never | no, but for runs of used ports |
/// | 2 | a random one each time | yes: with one port free of P after P tries, 36.8 % | no |
/// | 3 | F(destination) + one counter | never | within one destination |
/// | 4 | F(destination) + counter G(destination) | never | within one destination |
/// | 5 | the last one + a random step of 1..=500 | yes: with one free, about 37 % | in its rough course |
#[derive(Debug, Clone)]
pub struct Rfc6056Ports {
    ports: FreePorts,
    key: KeyedHash,
    algorithm: Algorithm,
}

/// An algorithm with its counters, which are indices or, modulo the count, lead to them.
#[derive(Debug, Clone)]
pub(crate) enum Algorithm {
    Simple,
    Retries,
    Hash {
        counter: u32,
    },
    DoubleHash {
        counters: [u32; Rfc6056Ports::TABLE_LENGTH],
    },
    Increments {
        last: u32,
    },
}

impl Rfc6056Ports {
    /// The counters of algorithm 4 (`TABLE_LENGTH`); destinations that share one see each other.
    pub const TABLE_LENGTH: usize = 10;
    /// The greatest step of algorithm 5 (N), the value RFC 6056 §3.3.5 gives.
    pub const MOST_STEP: u32 = 500;

    /// Algorithm 1, simple port randomization (§3.3.1).
    #[must_use]
    pub fn simple(range: RangeInclusive<u16>, key: KeyedHash) -> Self {
        Self::new(range, key, Algorithm::Simple)
    }

    /// Algorithm 2, another simple port randomization (§3.3.2).
    #[must_use]
    pub fn retries(range: RangeInclusive<u16>, key: KeyedHash) -> Self {
        Self::new(range, key, Algorithm::Retries)
    }

    /// Algorithm 3, simple hash-based port selection (§3.3.3).
    #[must_use]
    pub fn hash(range: RangeInclusive<u16>, key: KeyedHash) -> Self {
        Self::new(range, key, Algorithm::Hash { counter: 0 })
    }

    /// Algorithm 4, double-hash port selection (§3.3.4).
    #[must_use]
    pub fn double_hash(range: RangeInclusive<u16>, key: KeyedHash) -> Self {
        let count = range.len() as u32;
        let table = key.derive("table");
        let counters = core::array::from_fn(|row| KeyedHash::scale(table.word(row as u64), count));
        Self::new(range, key, Algorithm::DoubleHash { counters })
    }

    /// Algorithm 5, random-increments port selection (§3.3.5).
    #[must_use]
    pub fn increments(range: RangeInclusive<u16>, key: KeyedHash) -> Self {
        let last = KeyedHash::scale(key.derive("last").word(0), range.len() as u32);
        Self::new(range, key, Algorithm::Increments { last })
    }

    fn new(range: RangeInclusive<u16>, key: KeyedHash, algorithm: Algorithm) -> Self {
        Self {
            ports: FreePorts::new(&range),
            key,
            algorithm,
        }
    }
}

/// Returns the index after this one, around the end of the range.
const fn after(index: u32, count: u32) -> u32 {
    if index + 1 == count { 0 } else { index + 1 }
}

impl PortAllocator for Rfc6056Ports {
    fn allocate(&mut self, request: &PortRequest) -> Result<Allocated, NoPort> {
        if self.ports.free() == 0 {
            return Err(NoPort::Full);
        }
        let count = self.ports.count();
        let key = self.key;
        let random = |number: u32, below| {
            KeyedHash::scale(key.pair(request.random, u64::from(number)), below)
        };
        let offset = KeyedHash::scale(request.destination, count);
        let mut index = KeyedHash::scale(request.random, count);
        for probes in 1..=count {
            match &mut self.algorithm {
                Algorithm::Simple if probes == 1 => {}
                Algorithm::Simple => index = after(index, count),
                Algorithm::Retries => index = random(probes, count),
                Algorithm::Hash { counter } => {
                    index = (offset + *counter) % count;
                    *counter = after(*counter, count);
                }
                Algorithm::DoubleHash { counters } => {
                    let row =
                        KeyedHash::scale(key.word(request.destination), counters.len() as u32);
                    let counter = &mut counters[row as usize];
                    index = (offset + *counter) % count;
                    *counter = after(*counter, count);
                }
                Algorithm::Increments { last } => {
                    *last = (*last + 1 + random(probes, Self::MOST_STEP)) % count;
                    index = *last;
                }
            }
            if self.ports.is_free(index) {
                self.ports.take(index);
                return Ok(Allocated {
                    port: self.ports.port(index),
                    probes,
                });
            }
        }
        Err(NoPort::GaveUp { probes: count })
    }

    fn release(&mut self, port: u16, _subscriber: u64) {
        self.ports.put(self.ports.index(port));
    }

    fn capacity(&self) -> u32 {
        self.ports.count()
    }

    #[inline]
    fn free(&self) -> u32 {
        self.ports.free()
    }

    fn memory_bytes(&self) -> usize {
        self.ports.memory_bytes()
    }
}
