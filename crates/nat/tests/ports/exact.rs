//! With 0, 1 or 2 free ports anywhere in 64 512, the answer is exact.

use crate::model::request;
use plsim_nat::{Allocation, NoPort, PortAllocator, PortRequest, Ports};
use plsim_types::KeyedHash;

const FIRST: u16 = 1_024;
const COUNT: u32 = 64_512;

/// The ports around every border of a word, of a group of words, and of the range.
fn borders() -> impl Iterator<Item = u16> {
    (0..COUNT)
        .filter(|index| index % 64 == 0 || index % 64 == 63)
        .map(|index| FIRST + index as u16)
}

fn full(allocation: Allocation) -> Ports {
    let mut ports = Ports::new(allocation, FIRST..=u16::MAX, KeyedHash::new(1, "key"));
    let random = KeyedHash::new(1, "fill");
    for number in 0..u64::from(COUNT) {
        ports.allocate(&owned(random.word(number))).unwrap();
    }
    ports
}

/// A request of the subscriber that has all the ports.
fn owned(random: u64) -> PortRequest {
    PortRequest {
        subscriber: 1,
        ..request(random)
    }
}

/// Frees those ports of a full space, expects to get just them, and that then it is full.
fn exact(ports: &mut Ports, holes: &[u16], random: u64) {
    holes.iter().for_each(|hole| ports.release(*hole, 1));
    let search = KeyedHash::new(random, "search");
    let mut found: Vec<u16> = (0..holes.len() as u64)
        .map(|number| ports.allocate(&owned(search.word(number))).unwrap().port)
        .collect();
    found.sort_unstable();
    assert_eq!(found, holes);
    assert_eq!(ports.allocate(&owned(random)), Err(NoPort::Full));
    assert_eq!(ports.free(), 0);
}

#[test]
fn one_free_port_at_every_word_border_is_found() {
    for &allocation in Allocation::ALL {
        if !allocation.never_gives_up() {
            continue;
        }
        let mut ports = full(allocation);
        // The scans of RFC 6056 look at each port: fewer places, spread over the range.
        let scans = allocation.name().starts_with("rfc6056");
        let step = if scans { 63 } else { 1 };
        for (number, port) in borders().step_by(step).chain([u16::MAX]).enumerate() {
            exact(&mut ports, &[port], number as u64);
        }
    }
}

#[test]
fn two_free_ports_anywhere_are_found() {
    let random = KeyedHash::new(2, "places");
    for &allocation in Allocation::ALL {
        if !allocation.never_gives_up() {
            continue;
        }
        let mut ports = full(allocation);
        for number in 0..100 {
            let low = KeyedHash::scale(random.word(number), COUNT - 1);
            let high = low + 1 + KeyedHash::scale(random.word(!number), COUNT - 1 - low);
            exact(
                &mut ports,
                &[FIRST + low as u16, FIRST + high as u16],
                number,
            );
        }
        exact(&mut ports, &[FIRST, u16::MAX], 1);
        exact(&mut ports, &[], 1);
    }
}

#[test]
fn the_client_ports_beside_the_range_are_nobodys() {
    for &allocation in Allocation::ALL {
        for client_port in [1_023, 1_088, 0, u16::MAX] {
            let mut ports = Ports::new(allocation, 1_024..=1_087, KeyedHash::new(1, "key"));
            let request = PortRequest {
                client_port,
                ..PortRequest::default()
            };
            let found = ports.allocate(&request).unwrap().port;
            assert!((1_024..=1_087).contains(&found), "{}", allocation.name());
        }
    }
}
