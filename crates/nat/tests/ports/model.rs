//! Every allocator against a plain set of free ports.

use plsim_nat::{Allocation, NoPort, PortAllocator, PortRequest, Ports};
use plsim_types::KeyedHash;
use proptest::collection::vec;
use proptest::prelude::{any, proptest};
use std::collections::BTreeSet;
use std::ops::RangeInclusive;

/// An allocator and the ports that are free, and who has the others.
pub(crate) struct Checked {
    allocation: Allocation,
    range: RangeInclusive<u16>,
    pub(crate) ports: Ports,
    pub(crate) free: BTreeSet<u16>,
    pub(crate) taken: Vec<(u16, u64)>,
}

impl Checked {
    pub(crate) fn new(allocation: Allocation, range: RangeInclusive<u16>) -> Self {
        Self {
            allocation,
            ports: Ports::new(allocation, range.clone(), KeyedHash::new(7, "model")),
            free: range.clone().collect(),
            range,
            taken: Vec::new(),
        }
    }

    /// Allocates and checks all that holds for every allocator.
    pub(crate) fn allocate(&mut self, request: &PortRequest) -> Result<u16, NoPort> {
        let name = self.allocation.name();
        let result = self.ports.allocate(request);
        let result = match result {
            Ok(allocated) => {
                assert!(self.free.remove(&allocated.port), "{name}: {allocated:?}");
                assert!(allocated.probes > 0, "{name}");
                self.taken.push((allocated.port, request.subscriber));
                Ok(allocated.port)
            }
            Err(error) => {
                assert_eq!(error == NoPort::Full, self.free.is_empty(), "{name}");
                assert!(error == NoPort::Full || !self.allocation.never_gives_up());
                Err(error)
            }
        };
        self.count();
        result
    }

    pub(crate) fn release(&mut self, place: usize) {
        let (port, subscriber) = self.taken.swap_remove(place);
        self.ports.release(port, subscriber);
        assert!(self.free.insert(port));
        self.count();
    }

    fn count(&self) {
        assert_eq!(self.ports.capacity(), self.range.len() as u32);
        assert_eq!(self.ports.free(), self.free.len() as u32);
    }
}

pub(crate) fn request(random: u64) -> PortRequest {
    let hash = KeyedHash::new(9, "request");
    PortRequest {
        random,
        flow: hash.pair(random, 1),
        destination: hash.pair(random % 3, 2),
        client_port: hash.pair(random, 3) as u16,
        subscriber: hash.pair(random, 4) % 4,
    }
}

proptest! {
    #[test]
    fn every_allocator_agrees_with_a_set(
        first in any::<u16>(),
        count in 1..300_u16,
        steps in vec((any::<bool>(), any::<u64>()), 0..600),
    ) {
        let first = first.min(u16::MAX - (count - 1));
        for &allocation in Allocation::ALL {
            let mut checked = Checked::new(allocation, first..=first + (count - 1));
            for &(allocate, random) in &steps {
                if allocate || checked.taken.is_empty() {
                    let _ = checked.allocate(&request(random));
                } else {
                    checked.release(random as usize % checked.taken.len());
                }
            }
            while !checked.taken.is_empty() {
                checked.release(checked.taken.len() / 2);
            }
        }
    }
}

#[test]
fn ranges_of_any_size_give_each_port_once_and_none_outside() {
    for &allocation in Allocation::ALL {
        for count in [1_u32, 2, 63, 64, 65, 127, 4_095, 4_096, 4_097] {
            for first in [0, 1_023, 1_024, 65_536 - count] {
                let range = first as u16..=(first + count - 1) as u16;
                let mut checked = Checked::new(allocation, range);
                let mut random = KeyedHash::new(4, "start").word(u64::from(first));
                let mut tries = 0;
                while !checked.free.is_empty() && tries < 3 * count {
                    random = KeyedHash::new(4, "next").word(random);
                    tries += 1;
                    let _ = checked.allocate(&request(random));
                }
                let left = checked.free.len() as u32;
                let full = if allocation.never_gives_up() {
                    0
                } else {
                    count
                };
                assert!(
                    left <= full,
                    "{}: {left} of {count} left",
                    allocation.name()
                );
                while !checked.taken.is_empty() {
                    checked.release(0);
                }
            }
        }
    }
}

#[test]
fn the_same_key_and_requests_give_the_same_ports() {
    for &allocation in Allocation::ALL {
        let run = |seed| {
            let key = KeyedHash::new(seed, "key");
            let mut ports = Ports::new(allocation, 1_024..=9_999, key);
            let requests = (0..500).map(|number| request(KeyedHash::new(1, "x").word(number)));
            let found = requests.map(|request| ports.allocate(&request));
            found.collect::<Vec<_>>()
        };
        assert_eq!(run(1), run(1), "{}", allocation.name());
    }
}

/// Calls `release` and tells whether it panicked.
fn refuses(allocation: Allocation, ports: &Ports, port: u16, subscriber: u64) -> bool {
    let mut ports = ports.clone();
    let call = move || ports.release(port, subscriber);
    let refused = std::panic::catch_unwind(std::panic::AssertUnwindSafe(call)).is_err();
    assert!(refused, "{} took {port}", allocation.name());
    refused
}

#[test]
fn a_port_that_is_not_allocated_is_not_taken_back() {
    for &allocation in Allocation::ALL {
        let mut ports = Ports::new(allocation, 1_024..=1_123, KeyedHash::new(1, "key"));
        let request = request(5);
        // Some begin with the first port of all, which would be a case of its own.
        let first = ports.allocate(&request).unwrap().port;
        let port = ports.allocate(&request).unwrap().port;
        let free = (1_024..=1_123).find(|free| ![first, port].contains(free));
        let others = [0, 1_023, 1_124, u16::MAX, free.unwrap()];
        for other in others {
            assert!(refuses(allocation, &ports, other, request.subscriber));
        }
        ports.release(port, request.subscriber);
        assert!(refuses(allocation, &ports, port, request.subscriber));
    }
}

#[test]
fn memory_is_what_the_documents_of_the_types_say() {
    for &allocation in Allocation::ALL {
        let mut ports = Ports::new(allocation, 1_024..=65_535, KeyedHash::new(1, "key"));
        let at_first = ports.memory_bytes();
        let mut taken = Vec::new();
        let mut random = 0;
        while ports.free() > 500 {
            random = KeyedHash::new(4, "next").word(random);
            let request = PortRequest {
                subscriber: 1,
                ..request(random)
            };
            match ports.allocate(&request) {
                Ok(allocated) => taken.push(allocated.port),
                Err(_) => break,
            }
        }
        let released = match allocation {
            Allocation::Fifo | Allocation::Lifo => 2 * taken.len(),
            _ => 0,
        };
        for port in taken {
            ports.release(port, 1);
        }
        assert!(ports.memory_bytes() >= at_first + released);
        let bits = 8 * (1_008 + 16);
        let (least, most) = match allocation {
            Allocation::Fifo | Allocation::Lifo => (8 * 1_008, bits + 128 * 1_024),
            Allocation::Uniform => (4 * 64_512, 4 * 64_512),
            Allocation::Blocks { .. } => (bits + 16 * 1_008, 26 * 1_024),
            Allocation::AzureBlocks => (bits + 16 * 8_064, 140 * 1_024),
            Allocation::ReservedBlocks { .. } => (bits + 16 * 2_016, 42 * 1_024),
            _ => (bits, 13 * 1_024),
        };
        let name = allocation.name();
        assert!(
            at_first >= least && ports.memory_bytes() <= most,
            "{name}: {at_first}"
        );
    }
}

#[test]
fn names_find_their_allocation() {
    for &allocation in Allocation::ALL {
        assert_eq!(Allocation::from_name(allocation.name()), Some(allocation));
        assert!(!allocation.source().is_empty());
    }
    for number in 1..=5 {
        let named = Allocation::from_name(&format!("rfc6056-{number}")).unwrap();
        assert_eq!(named.source(), format!("RFC 6056 §3.3.{number}"));
    }
    assert_eq!(Allocation::from_name("bitmaps"), None);
    let names: BTreeSet<_> = Allocation::ALL.iter().map(|all| all.name()).collect();
    assert_eq!(names.len(), Allocation::ALL.len());
}
