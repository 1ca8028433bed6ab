//! Blocks of ports: whose they are, when they come and go, and RFC 7422's own table.

use plsim_nat::{
    Allocation, BlockPorts, DeterministicBlocks, NoPort, Pace, PortAllocator, PortRequest, Ports,
};
use plsim_types::{Instant, KeyedHash};
use std::collections::{BTreeMap, BTreeSet};

pub(crate) const fn of(subscriber: u64, random: u64) -> PortRequest {
    PortRequest {
        random,
        flow: 0,
        destination: 0,
        client_port: 0,
        subscriber,
    }
}

#[test]
fn rfc7422_table_of_the_document() {
    let blocks = DeterministicBlocks::new(1_024..=65_535, 1, 14, 2).unwrap();
    let table = [
        1_024..=5_055,
        5_056..=9_087,
        9_088..=13_119,
        13_120..=17_151,
        17_152..=21_183,
        21_184..=25_215,
        25_216..=29_247,
        29_248..=33_279,
        33_280..=37_311,
        37_312..=41_343,
        41_344..=45_375,
        45_376..=49_407,
        49_408..=53_439,
        53_440..=57_471,
    ];
    assert_eq!(blocks.size(), 4_032);
    for (subscriber, ports) in (0..).zip(table) {
        for port in [*ports.start(), *ports.end()] {
            assert_eq!(blocks.subscriber(0, port), Some(subscriber));
        }
        assert_eq!(blocks.block(subscriber), Some((0, ports)));
    }
    assert_eq!(blocks.block(14), None);
    assert_eq!(blocks.dynamic(), Some(57_472..=65_535));
    for port in [0, 1_023, 57_472, 65_535] {
        assert_eq!(blocks.subscriber(0, port), None);
    }
    assert_eq!(blocks.subscriber(1, 1_024), None);
}

#[test]
fn deterministic_shares_are_disjoint_and_found_again() {
    for (ports, nat_ips, subscribers, dynamic) in [
        (1_024..=65_535, 8, 100, 0),
        (1_024..=1_033, 3, 3, 0),
        (0..=65_535, 2, 1, 0),
        (65_535..=65_535, 1, 1, 0),
    ] {
        let blocks =
            DeterministicBlocks::new(ports.clone(), nat_ips, subscribers, dynamic).unwrap();
        let mut owned = 0;
        for nat_ip in 0..u32::from(nat_ips) {
            for port in ports.clone() {
                let Some(subscriber) = blocks.subscriber(nat_ip, port) else {
                    assert!(blocks.dynamic().unwrap().contains(&port));
                    continue;
                };
                let (address, share) = blocks.block(subscriber).unwrap();
                assert!(address == nat_ip && share.contains(&port));
                owned += 1;
            }
        }
        let count = u32::from(nat_ips) * u32::from(subscribers);
        assert_eq!(owned, count * blocks.size());
        assert_eq!(blocks.block(count), None);
    }
    let bad = [(0, 1, 0), (1, 0, 1), (1, 11, 0), (1, 0, 0), (1, 5, 6)];
    for (nat_ips, subscribers, dynamic) in bad {
        let blocks = DeterministicBlocks::new(1_024..=1_033, nat_ips, subscribers, dynamic);
        assert_eq!(blocks, None);
    }
}

/// What [`BlockPorts`] does, told by a map from ports to subscribers.
struct Model {
    first: u16,
    last: u16,
    size: u16,
    most: usize,
    taken: BTreeMap<u16, u64>,
}

impl Model {
    /// Returns the owner of each claimed block.
    fn owners(&self) -> BTreeMap<u16, u64> {
        let taken = self.taken.iter();
        taken
            .map(|(port, subscriber)| ((port - self.first) / self.size, *subscriber))
            .collect()
    }

    /// Tells whether the subscriber can have a port, and whether only of a new block.
    fn possible(&self, subscriber: u64) -> (bool, bool) {
        let owners = self.owners();
        let own = (self.first..=self.last)
            .filter(|port| !self.taken.contains_key(port))
            .any(|port| owners.get(&((port - self.first) / self.size)) == Some(&subscriber));
        let blocks = (self.last - self.first) / self.size + 1;
        let held = owners
            .values()
            .filter(|owner| **owner == subscriber)
            .count();
        let claim = held < self.most && owners.len() < usize::from(blocks);
        (own || claim, !own)
    }
}

#[test]
fn blocks_agree_with_a_map_of_ports() {
    for (first, last, size, most) in [
        (1_024, 1_123, 8, 3),
        (1_024, 1_123, 7, 100),
        (65_400, 65_535, 64, 1),
        (0, 50, 1, 20),
        (1_024, 1_123, 1_000, 2),
        (1_024, 1_300, 70, 2),
    ] {
        let mut ports = BlockPorts::new(first..=last, size, most as u16);
        let mut model = Model {
            first,
            last,
            size,
            most,
            taken: BTreeMap::new(),
        };
        let random = KeyedHash::new(u64::from(size), "blocks");
        for step in 0..3_000 {
            let word = random.word(step);
            // Mostly allocations first, mostly releases then, in turns.
            let grow = word >> 32 & 7 < if step / 300 % 2 == 0 { 6 } else { 2 };
            let subscriber = (word >> 8) % 5;
            if grow || model.taken.is_empty() {
                let owners = model.owners();
                let (possible, claims) = model.possible(subscriber);
                match ports.allocate(&of(subscriber, word)) {
                    Ok(got) => {
                        assert!(possible && (first..=last).contains(&got.port));
                        let owner = owners.get(&((got.port - first) / size)).copied();
                        assert_eq!(owner, (!claims).then_some(subscriber));
                        assert_eq!(model.taken.insert(got.port, subscriber), None);
                    }
                    Err(NoPort::Full) => {
                        assert_eq!(model.taken.len(), usize::from(last - first) + 1);
                    }
                    Err(NoPort::GaveUp { .. }) => {
                        assert!(!possible && ports.free() > 0);
                    }
                }
            } else {
                let place = word as usize % model.taken.len();
                let (&port, &owner) = model.taken.iter().nth(place).unwrap();
                model.taken.remove(&port);
                ports.release(port, owner);
            }
            let owners = model.owners();
            let taken = model.taken.len() as u32;
            assert_eq!(ports.free(), u32::from(last - first) + 1 - taken);
            for port in [first, first + (last - first) / 2, last] {
                let owner = owners.get(&((port - first) / size));
                assert_eq!(ports.subscriber_of(port), owner.copied());
            }
            let held = owners.values().filter(|owner| **owner == subscriber);
            assert_eq!(ports.blocks_of(subscriber), held.count() as u32);
        }
    }
}

/// D-LBOUT: multiples of 8.
#[test]
fn azures_blocks_have_8_ports_and_a_subscriber_takes_as_many_as_there_are() {
    let key = KeyedHash::new(1, "key");
    let mut ports = Ports::new(Allocation::AzureBlocks, 1_024..=1_055, key);
    let mut take = |subscriber, count| {
        let found = (0..count).map(|number| ports.allocate(&of(subscriber, number)));
        let blocks = found.map(|found| found.map(|found| found.port / 8));
        blocks.collect::<Result<BTreeSet<u16>, _>>()
    };
    assert_eq!(take(1, 8).unwrap().len(), 1);
    assert_eq!(take(2, 1).unwrap().len(), 1);
    assert_eq!(take(1, 16).unwrap().len(), 2);
    // Seven ports are free, and somebody's.
    assert!(matches!(take(1, 1), Err(NoPort::GaveUp { .. })));
    assert_eq!(take(2, 7).unwrap().len(), 1);
}

#[test]
fn nobody_is_known_for_a_port_outside_the_range() {
    let mut ports = BlockPorts::new(1_024..=1_033, 4, 3);
    for number in 0..10 {
        ports.allocate(&of(9, number)).unwrap();
    }
    assert_eq!(ports.subscriber_of(1_033), Some(9));
    for port in [0, 1_023, 1_034, u16::MAX] {
        assert_eq!(ports.subscriber_of(port), None);
    }
}

#[test]
#[should_panic(expected = "released by another subscriber")]
fn a_block_takes_no_port_back_from_another_subscriber() {
    let mut ports = BlockPorts::new(1_024..=1_033, 4, 3);
    let port = ports.allocate(&of(1, 0)).unwrap().port;
    ports.release(port, 2);
}

#[test]
fn a_search_that_leaves_its_block_starts_again_at_the_blocks_first_port() {
    let mut ports = BlockPorts::new(0..=15, 8, 1);
    for _ in 0..8 {
        ports.allocate(&of(1, 0)).unwrap();
    }
    ports.release(0, 1);
    // From port 7 on, the next free one is of the other block, in the same word.
    let found = ports.allocate(&of(1, u64::MAX)).unwrap();
    assert_eq!((found.port, found.probes), (0, 2));
}

#[test]
fn the_memory_of_subscribers_and_of_what_is_due_with_them_is_counted() {
    let memory = |subscribers: u64, ports_each: u64| {
        let mut ports = BlockPorts::reserved(1_024..=65_535, 64, 4, Pace::DEFAULT);
        for number in 0..subscribers * ports_each {
            ports.allocate(&of(number % subscribers, number)).unwrap();
        }
        ports.memory_bytes()
    };
    let each = (memory(1_000, 1) - memory(1, 1)) / 1_000;
    assert!((56..=72).contains(&each), "{each}");
    // From 58 of 64 ports on, more are planned.
    let planned = memory(500, 58) - memory(500, 57);
    assert_eq!(planned, 500 * size_of::<(Instant, u32)>());
}

#[test]
fn the_memory_of_former_subscribers_is_used_again() {
    let mut ports = BlockPorts::new(1_024..=65_535, 64, 16);
    let empty = ports.memory_bytes();
    let mut after = Vec::new();
    for round in 0..3 {
        let taken = [1, 2, 3].map(|number| {
            let subscriber = 10 * round + number;
            (ports.allocate(&of(subscriber, 5)), subscriber)
        });
        // At least its number, its count and its first block.
        assert!(ports.memory_bytes() >= empty + 3 * 16);
        for (found, subscriber) in taken {
            ports.release(found.unwrap().port, subscriber);
        }
        after.push(ports.memory_bytes());
    }
    assert_eq!(after, [after[0]; 3]);
}
