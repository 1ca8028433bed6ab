//! Balls into bins: how uneven an even hash must be.

use super::{FRONTEND, LINK, at, config, tuple};
use crate::{Distribution, LoadBalancer};
use alloc::vec;
use alloc::vec::Vec;
use core::net::Ipv4Addr;
use plsim_types::{FiveTuple, Protocol};

/// Flow number `number`, of as many clients as that takes.
fn flow(number: u32) -> FiveTuple {
    let mut tuple = tuple(Protocol::Tcp, number as u16);
    let client = Ipv4Addr::from_bits(0x0A00_0000 + (number >> 16));
    tuple.source.set_ip(client);
    tuple
}

/// Returns how many of the flows each backend gets.
fn shares(balancer: &mut LoadBalancer, flows: impl Iterator<Item = FiveTuple>) -> Vec<u32> {
    let mut shares = vec![0; balancer.backend_usage().count()];
    for tuple in flows {
        let chosen = balancer.select(FRONTEND, LINK, &tuple, true, at(0));
        shares[usize::from(chosen.unwrap().backend.0)] += 1;
    }
    shares
}

/// E[max] = m/n + e·√(m/n) with the expected maximum e of n standard normal variables; 1.0294,
/// 1.5388 and 2.5076 for 4, 10 and 100. Within four standard errors of the trials' mean.
#[test]
fn the_busiest_backend_has_as_much_as_chance_gives_it() {
    for (flows, count, expected, trials, tolerance) in [
        (100_000, 4, 25_163.0, 40, 70.0),
        (100_000, 10, 10_154.0, 40, 38.0),
        (1_000_000, 100, 10_251.0, 4, 90.0),
    ] {
        let most = |seed| {
            let mut config = config(count, false);
            config.seed = seed;
            let mut balancer = LoadBalancer::new(&config).unwrap();
            let shares = shares(&mut balancer, (0..flows).map(flow));
            f64::from(*shares.iter().max().unwrap())
        };
        let mean = (0..trials).map(most).sum::<f64>() / trials as f64;
        assert!((mean - expected).abs() < tolerance, "{count}: {mean}");
    }
}

/// Counts in how many trials the event `is_it` happens, with `balls` flows each.
fn frequency(
    count: u16,
    distribution: Distribution,
    balls: u32,
    trials: u32,
    is_it: impl Fn(&[u32]) -> bool,
) -> f64 {
    let mut config = config(count, false);
    config.rules[0].distribution = distribution;
    let mut balancer = LoadBalancer::new(&config).unwrap();
    let mut hits = 0_u32;
    for trial in 0..trials {
        let flows = (0..balls).map(|ball| {
            let mut tuple = tuple(Protocol::Tcp, 50_000);
            let client = 0x0A00_0000 + trial * balls + ball;
            tuple.source.set_ip(Ipv4Addr::from_bits(client));
            tuple
        });
        hits += u32::from(is_it(&shares(&mut balancer, flows)));
    }
    f64::from(hits) / f64::from(trials)
}

/// Four standard deviations of a frequency.
fn tolerance(probability: f64, trials: u32) -> f64 {
    4.0 * (probability * (1.0 - probability) / f64::from(trials)).sqrt()
}

/// The exact distribution of the maximum.
#[test]
fn eight_flows_over_eight_backends_pile_up_as_the_exact_distribution_says() {
    let trials = 20_000;
    let exact = [
        0.002_403, 0.498_376, 0.409_355, 0.080_025, 0.009_159, 0.000_654,
    ];
    let mut mean = 0.0;
    for (most, probability) in (1..).zip(exact) {
        let is_it = |shares: &[u32]| shares.iter().max() == Some(&most);
        let found = frequency(8, Distribution::FiveTuple, 8, trials, is_it);
        assert!(
            (found - probability).abs() < tolerance(probability, trials),
            "{most}: {found}"
        );
        mean += f64::from(most) * found;
    }
    // A deviation of 0.7: four standard errors.
    assert!((mean - 2.597_233).abs() < 0.02, "{mean}");
}

/// SourceIP: with few clients some backend gets nothing, by inclusion and exclusion.
#[test]
fn affinity_leaves_backends_idle_as_often_as_it_must() {
    let trials = 10_000;
    for (clients, count, probability) in [
        (4, 4, 0.906_25),
        (8, 4, 0.377_075),
        (16, 4, 0.039_999),
        (20, 8, 0.469_442),
        (50, 8, 0.010_065),
    ] {
        let is_it = |shares: &[u32]| shares.contains(&0);
        let found = frequency(count, Distribution::TwoTuple, clients, trials, is_it);
        let off = (found - probability).abs();
        assert!(
            off < tolerance(probability, trials),
            "{clients}/{count}: {found}"
        );
    }
}
