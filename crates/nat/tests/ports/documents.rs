//! What the documents say of their algorithms, one test a clause.

use plsim_nat::{
    Allocated, Allocation, LinuxPorts, NoPort, PortAllocator, PortRequest, Ports, Rfc6056Ports,
};
use plsim_types::KeyedHash;
use std::ops::RangeInclusive;

const ALL: RangeInclusive<u16> = 1_024..=65_535;

fn key() -> KeyedHash {
    KeyedHash::new(1, "key")
}

fn random(number: u64) -> PortRequest {
    PortRequest {
        random: KeyedHash::new(2, "request").word(number),
        ..PortRequest::default()
    }
}

fn ports(name: &str, range: RangeInclusive<u16>) -> Ports {
    Ports::new(Allocation::from_name(name).unwrap(), range, key())
}

fn from(ports: &mut Ports, client_port: u16) -> Allocated {
    let request = PortRequest {
        client_port,
        ..random(u64::from(client_port))
    };
    ports.allocate(&request).unwrap()
}

/// Takes every port of the range but one, whatever the algorithm prefers.
fn all_but(ports: &mut impl PortAllocator, hole: u16) {
    let mut number = 0;
    while ports.free() > 0 {
        number += 1;
        let _ = ports.allocate(&random(number));
    }
    ports.release(hole, 0);
}

/// Returns in what share of the searches the one free port is not found.
fn failures(ports: &mut impl PortAllocator, hole: u16) -> f64 {
    all_but(ports, hole);
    let searches = 4_000;
    let mut failed = 0;
    for number in 0..searches {
        match ports.allocate(&random(1_000_000 + number)) {
            Ok(found) => ports.release(found.port, 0),
            Err(error) => {
                assert_ne!(error, NoPort::Full);
                failed += 1;
            }
        }
    }
    f64::from(failed) / searches as f64
}

#[test]
fn rfc6056_algorithm_1_scans_from_a_random_start_and_wraps() {
    let mut ports = Rfc6056Ports::simple(1_024..=1_033, key());
    let start = |index: u128| PortRequest {
        random: (index << 64).div_ceil(10) as u64,
        ..PortRequest::default()
    };
    for (port, probes) in [(1_032, 1), (1_033, 2), (1_024, 3), (1_025, 4)] {
        assert_eq!(ports.allocate(&start(8)), Ok(Allocated { port, probes }));
    }
    // From the port after the only free one, the scan looks at all ten.
    for _ in 0..6 {
        ports.allocate(&start(8)).unwrap();
    }
    ports.release(1_032, 0);
    let found = ports.allocate(&start(9)).unwrap();
    assert_eq!((found.port, found.probes), (1_032, 10));
}

#[test]
fn rfc6056_algorithm_2_may_give_up_though_ports_are_free() {
    // (1 - 1/500)^500 = 36.75 %; four standard deviations of 4 000 searches are 3.1 %.
    let share = failures(&mut Rfc6056Ports::retries(1_024..=1_523, key()), 1_200);
    assert!((share - 0.3675).abs() < 0.031, "{share}");
}

#[test]
fn rfc6056_algorithm_2_looks_at_as_many_ports_as_there_are() {
    let mut ports = Rfc6056Ports::retries(1_024..=1_055, key());
    all_but(&mut ports, 1_030);
    let mut given_up = (0..100).filter_map(|number| match ports.allocate(&random(number)) {
        Ok(found) => {
            assert!(found.probes <= 32);
            ports.release(found.port, 0);
            None
        }
        Err(error) => Some(error),
    });
    assert_eq!(given_up.next(), Some(NoPort::GaveUp { probes: 32 }));
}

#[test]
fn rfc6056_algorithm_3_gives_one_destination_consecutive_ports() {
    let mut ports = Rfc6056Ports::hash(ALL, key());
    for destination in [u64::MAX / 3, u64::MAX] {
        let request = PortRequest {
            destination,
            ..random(1)
        };
        let first = ports.allocate(&request).unwrap().port - 1_024;
        for step in 1..100 {
            let next = ports.allocate(&request).unwrap();
            assert_eq!(
                u32::from(next.port) - 1_024,
                (u32::from(first) + step) % 64_512
            );
        }
    }
}

#[test]
fn rfc6056_algorithm_4_counts_apart_for_destinations_of_other_rows() {
    let mut ports = Rfc6056Ports::double_hash(ALL, key());
    let request = |number| PortRequest {
        destination: KeyedHash::new(3, "destination").word(number),
        ..random(1)
    };
    // A destination shares the row of the first one if a flow to it moves that one's counter.
    let mut port = ports.allocate(&request(0)).unwrap().port;
    let mut same = 0;
    for number in 1..=200 {
        let other = ports.allocate(&request(number)).unwrap().port;
        let next = ports.allocate(&request(0)).unwrap().port;
        let step = (u32::from(next) + 64_512 - u32::from(port)) % 64_512;
        assert!((1..=2).contains(&step), "{step}");
        same += step - 1;
        port = next;
        ports.release(other, 0);
    }
    // One of ten rows: 20 of 200 are expected.
    assert!((5..=40).contains(&same), "{same}");
}

#[test]
fn rfc6056_algorithm_5_steps_by_250_and_a_half_on_average() {
    let mut ports = Rfc6056Ports::increments(ALL, key());
    let mut last = ports.allocate(&random(0)).unwrap().port;
    let (mut sum, mut most, mut least) = (0, 0, u32::MAX);
    for number in 1..=20_000 {
        let next = ports.allocate(&random(number)).unwrap().port;
        let step = (u32::from(next) + 64_512 - u32::from(last)) % 64_512;
        (sum, most, least) = (sum + step, most.max(step), least.min(step));
        ports.release(last, 0);
        last = next;
    }
    // Four standard deviations of the mean of 20 000 are 4.1.
    assert!((f64::from(sum) / 20_000.0 - 250.5).abs() < 4.1, "{sum}");
    assert_eq!((least, most), (1, Rfc6056Ports::MOST_STEP));
}

#[test]
fn rfc6056_algorithm_5_may_give_up_though_ports_are_free() {
    let share = failures(&mut Rfc6056Ports::increments(1_024..=2_023, key()), 1_200);
    assert!((share - 0.368).abs() < 0.06, "{share}");
}

#[test]
fn rfc4787_req4_even_ports_stay_even() {
    for range in [1_024..=2_023, 1_025..=2_024, 1_025..=2_023] {
        let mut ports = ports("preserve-parity", range.clone());
        let even = range.clone().filter(|port| port % 2 == 0).count();
        assert_eq!(from(&mut ports, 1_100).port, 1_100);
        for _ in 1..even {
            assert_eq!(from(&mut ports, 1_100).port % 2, 0);
        }
        // Then the odd ones: a SHOULD does not refuse.
        for _ in even..range.len() {
            assert_eq!(from(&mut ports, 1_100).port % 2, 1);
        }
        assert_eq!(ports.free(), 0);
    }
}

#[test]
fn rfc4787_req3a_well_known_ports_stay_well_known() {
    let mut ports = ports("preserve-range", 1_000..=1_047);
    assert_eq!(from(&mut ports, 1_023).port, 1_023);
    assert_eq!(from(&mut ports, 1_024).port, 1_024);
    for _ in 1..24 {
        assert!(from(&mut ports, 53).port < 1_024);
    }
    for _ in 1..24 {
        assert!(from(&mut ports, 53).port >= 1_024);
    }
    assert_eq!(ports.free(), 0);
    ports.release(1_000, 0);
    assert_eq!(from(&mut ports, 50_000).port, 1_000);
}

#[test]
fn rfc4787_port_preservation_keeps_the_clients_port_while_it_can() {
    for name in ["preserve", "preserve-parity", "preserve-range", "linux"] {
        let mut ports = ports(name, ALL);
        for port in [1_024, 1_025, 40_000, 65_534, 65_535] {
            assert_eq!(from(&mut ports, port), Allocated { port, probes: 1 });
            let other = from(&mut ports, port);
            assert!(other.port != port && other.probes > 1);
        }
        assert!(from(&mut ports, 80).port >= 1_024);
    }
}

/// KERN.
#[test]
fn linux_gives_up_after_248_ports_and_the_clients_own() {
    let mut ports = LinuxPorts::new(1_024..=9_999, key());
    all_but(&mut ports, 5_000);
    let gave_up = (0..50).filter_map(|number| match ports.allocate(&random(number)) {
        Ok(found) => {
            assert!(found.probes <= 249);
            ports.release(found.port, 0);
            None
        }
        Err(error) => Some(error),
    });
    let gave_up: Vec<_> = gave_up.collect();
    assert!(gave_up.len() > 40);
    assert!(
        gave_up
            .iter()
            .all(|error| *error == NoPort::GaveUp { probes: 249 })
    );
    // A small range is scanned fully.
    let mut ports = LinuxPorts::new(1_024..=1_151, key());
    for hole in 1_024..=1_151 {
        all_but(&mut ports, hole);
        let found = ports.allocate(&random(u64::from(hole))).unwrap();
        assert!(found.port == hole && found.probes <= 129);
    }
}

#[test]
fn the_bitmap_takes_the_next_free_port_from_the_start_and_wraps() {
    let start = |index: u128| (index << 64).div_ceil(10) as u64;
    for (name, random, flow) in [("bitmap", start(8), 0), ("bitmap-hash", 0, start(8))] {
        let request = PortRequest {
            random,
            flow,
            ..PortRequest::default()
        };
        let mut ports = ports(name, 1_024..=1_033);
        for (port, probes) in [(1_032, 1), (1_033, 1), (1_024, 6)] {
            assert_eq!(ports.allocate(&request), Ok(Allocated { port, probes }));
        }
        ports.release(1_033, 0);
        assert_eq!(ports.allocate(&request).unwrap().port, 1_033);
    }
    let mut ports = ports("bitmap-lowest", ALL);
    let mut take = || ports.allocate(&random(1)).unwrap().port;
    assert_eq!([take(), take(), take()], [1_024, 1_025, 1_026]);
    ports.release(1_025, 0);
    assert_eq!(ports.allocate(&random(2)).unwrap().port, 1_025);
}

#[test]
fn fifo_lifo_and_sequential_keep_their_order() {
    for (name, orders) in [
        ("fifo", [1_027, 1_024, 1_026]),
        ("lifo", [1_026, 1_024, 1_027]),
        ("sequential", [1_027, 1_024, 1_026]),
    ] {
        let mut ports = ports(name, 1_024..=1_027);
        let mut take = |release: &[u16]| {
            release.iter().for_each(|port| ports.release(*port, 0));
            ports.allocate(&random(1)).unwrap().port
        };
        assert_eq!([take(&[]), take(&[]), take(&[])], [1_024, 1_025, 1_026]);
        assert_eq!(
            [take(&[1_024, 1_026]), take(&[]), take(&[])],
            orders,
            "{name}"
        );
    }
    // The port after the last one, though that one is free again.
    let mut ports = ports("sequential", 1_024..=1_026);
    for port in [1_024, 1_025, 1_026, 1_024] {
        assert_eq!(ports.allocate(&random(1)).unwrap().port, port);
        ports.release(port, 0);
    }
}

#[test]
fn uniform_prefers_no_port() {
    // A run of used ports makes the bitmap prefer the port after it; here nothing is preferred.
    let mut ports = ports("uniform", 1_024..=1_123);
    all_but(&mut ports, 1_024);
    (1_100..1_110).for_each(|port| ports.release(port, 0));
    let mut seen = [0_u32; 100];
    for number in 0..11_000 {
        let port = ports.allocate(&random(number)).unwrap().port;
        seen[usize::from(port - 1_024)] += 1;
        ports.release(port, 0);
    }
    // 1 000 each; four standard deviations are 121.
    for index in (76..86).chain([0]) {
        assert!(seen[index].abs_diff(1_000) < 121, "{seen:?}");
    }
}
