use super::{FRONTEND, LINK, at, config, tuple};
use crate::LoadBalancer;
use alloc::vec;
use alloc::vec::Vec;
use core::net::Ipv4Addr;
use plsim_types::{FiveTuple, LinkId, Protocol};

/// Backends, and the value of chi square (one degree of freedom less) that chance exceeds once in
/// a thousand times.
const SIZES: [(u16, f64); 6] = [
    (2, 10.83),
    (3, 13.82),
    (4, 16.27),
    (5, 18.47),
    (7, 22.46),
    (10, 27.88),
];

const FLOWS: u32 = 50_000;

/// Gives `FLOWS` flows to each size of pool and compares the shares with equal ones.
fn assert_even(flow: impl Fn(u32) -> (LinkId, FiveTuple)) {
    for (backends, limit) in SIZES {
        for may_change in [true, false] {
            let config = config(backends, may_change);
            let mut balancer = LoadBalancer::new(&config).unwrap();
            let mut shares = vec![0_u32; usize::from(backends)];
            for number in 0..FLOWS {
                let (link, tuple) = flow(number);
                let chosen = balancer.select(FRONTEND, link, &tuple, true, at(0));
                shares[usize::from(chosen.unwrap().backend.0)] += 1;
            }
            let chi_square = chi_square(&shares);
            assert!(chi_square < limit, "{backends}: {chi_square} {shares:?}");
        }
    }
}

fn chi_square(shares: &[u32]) -> f64 {
    let total: u32 = shares.iter().sum();
    let mean = f64::from(total) / shares.len() as f64;
    let deviations = shares
        .iter()
        .map(|&share| (f64::from(share) - mean).powi(2));
    deviations.sum::<f64>() / mean
}

#[test]
fn consecutive_client_ports_spread_evenly() {
    assert_even(|number| (LINK, tuple(Protocol::Tcp, number as u16)));
}

/// Linux prefers even ports for `connect`; a weak hash would then use half of the backends.
#[test]
fn even_client_ports_of_two_clients_spread_evenly() {
    assert_even(|number| {
        let mut tuple = tuple(Protocol::Tcp, (number as u16) << 1);
        tuple
            .source
            .set_ip(Ipv4Addr::from_bits(0x0A00_0004 + number / 32_768));
        (LINK, tuple)
    });
}

#[test]
fn many_clients_with_one_port_spread_evenly() {
    assert_even(|number| {
        let mut tuple = tuple(Protocol::Tcp, 50_000);
        tuple
            .source
            .set_ip(Ipv4Addr::from_bits(0x0A00_0004 + number));
        (LINK, tuple)
    });
}

/// PLS-7: the link is all that differs.
#[test]
fn overlapping_consumers_spread_evenly() {
    assert_even(|number| (LinkId(0x0100_0000 + number), tuple(Protocol::Tcp, 50_000)));
}

#[test]
fn udp_spreads_evenly() {
    assert_even(|number| (LINK, tuple(Protocol::Udp, number as u16)));
}

/// The destination address is part of the five-tuple, though not of the table's key.
#[test]
fn endpoint_addresses_alone_spread_flows_evenly() {
    assert_even(|number| {
        let mut tuple = tuple(Protocol::Udp, 50_000);
        tuple
            .destination
            .set_ip(Ipv4Addr::from_bits(0x0A00_0005 + number));
        (LINK, tuple)
    });
}

/// Over many seeds chi square must be as large as chance makes it: a mean of 3 for 4 backends,
/// within four standard errors of the mean of 200 trials (each has a deviation of √6).
#[test]
fn shares_are_as_uneven_as_chance_over_many_seeds() {
    let trials = 200;
    let values: Vec<f64> = (0..trials)
        .map(|seed| {
            let mut config = config(4, false);
            config.seed = seed;
            let mut balancer = LoadBalancer::new(&config).unwrap();
            let mut shares = [0; 4];
            for port in 0..1_000 {
                let tuple = tuple(Protocol::Tcp, port);
                let chosen = balancer.select(FRONTEND, LINK, &tuple, true, at(0));
                shares[usize::from(chosen.unwrap().backend.0)] += 1;
            }
            chi_square(&shares)
        })
        .collect();
    let mean = values.iter().sum::<f64>() / trials as f64;
    let tolerance = 4.0 * (6.0 / trials as f64).sqrt();
    assert!((mean - 3.0).abs() < tolerance, "{mean}");
}
