//! Which fields decide, and what they are taken from.

use super::{FRONTEND, LINK, at, config, tuple};
use crate::{
    Cause, ChangeError, Distribution, FrontendId, HashStrength, HashTuple, LbConfig, LbPoolId,
    Listen, LoadBalancer, Rehash, RuleId,
};
use alloc::collections::BTreeSet;
use alloc::vec;
use alloc::vec::Vec;
use core::net::Ipv4Addr;
use plsim_types::{BackendId, FiveTuple, LinkId, Protocol};

fn with(count: u16, change: impl FnOnce(&mut LbConfig)) -> LoadBalancer {
    let mut config = config(count, false);
    change(&mut config);
    LoadBalancer::new(&config).unwrap()
}

fn distributed(distribution: Distribution) -> LoadBalancer {
    with(8, |config| {
        for rule in &mut config.rules {
            rule.distribution = distribution;
        }
        config.rules.push(super::rule(Protocol::Tcp, 444, 0));
        config.rules[2].distribution = distribution;
    })
}

fn backend(balancer: &mut LoadBalancer, link: LinkId, tuple: &FiveTuple) -> BackendId {
    let chosen = balancer.select(FRONTEND, link, tuple, true, at(0));
    chosen.unwrap().backend
}

fn from(client: u32, port: u16) -> FiveTuple {
    let mut tuple = tuple(Protocol::Tcp, port);
    tuple
        .source
        .set_ip(Ipv4Addr::from_bits(0x0A00_0004 + client));
    tuple
}

/// Returns how many backends the flows reach.
fn reached(balancer: &mut LoadBalancer, flows: impl Iterator<Item = FiveTuple>) -> usize {
    let reached: BTreeSet<_> = flows.map(|tuple| backend(balancer, LINK, &tuple)).collect();
    reached.len()
}

#[test]
fn five_tuple_spreads_the_ports_of_one_client() {
    let mut balancer = distributed(Distribution::FiveTuple);
    assert_eq!(
        reached(&mut balancer, (0..200).map(|port| from(0, port))),
        8
    );
}

/// D-DIST: SourceIP.
#[test]
fn two_tuple_keeps_a_client_on_one_backend_for_every_port_and_protocol() {
    let mut balancer = distributed(Distribution::TwoTuple);
    for client in 0..50 {
        let first = backend(&mut balancer, LINK, &from(client, 0));
        for port in [1, 2, 50_000] {
            let mut tuple = from(client, port);
            assert_eq!(backend(&mut balancer, LINK, &tuple), first);
            tuple.destination.set_port(444);
            assert_eq!(backend(&mut balancer, LINK, &tuple), first);
            tuple.destination.set_port(443);
            tuple.protocol = Protocol::Udp;
            assert_eq!(backend(&mut balancer, LINK, &tuple), first);
        }
    }
    assert_eq!(
        reached(&mut balancer, (0..200).map(|client| from(client, 7))),
        8
    );
}

/// D-DIST: SourceIPProtocol.
#[test]
fn three_tuple_keeps_a_client_on_one_backend_for_each_protocol() {
    let mut balancer = distributed(Distribution::ThreeTuple);
    let mut differ = 0;
    for client in 0..50 {
        let mut tuple = from(client, 0);
        let first = backend(&mut balancer, LINK, &tuple);
        assert_eq!(backend(&mut balancer, LINK, &from(client, 9)), first);
        tuple.protocol = Protocol::Udp;
        differ += usize::from(backend(&mut balancer, LINK, &tuple) != first);
    }
    assert!((30..50).contains(&differ), "{differ} of 50, expected 44");
}

/// DESIGN: without the link in the hash, consumers with equal addresses collide.
#[test]
fn the_link_counts_only_if_it_is_hashed() {
    for includes_link in [true, false] {
        let mut balancer = with(8, |config| config.hash.includes_link = includes_link);
        let links = (0..200).map(|link| backend(&mut balancer, LinkId(link), &from(0, 7)));
        let reached: BTreeSet<_> = links.collect();
        assert_eq!(reached.len(), if includes_link { 8 } else { 1 });
    }
}

fn nat_ips(count: u8) -> Vec<Ipv4Addr> {
    (0..count)
        .map(|ip| Ipv4Addr::new(10, 2, 0, 10 + ip))
        .collect()
}

/// The NAT IP stands for the client: with addresses alone, k NAT IPs reach at most k backends.
#[test]
fn two_tuple_over_nat_ips_reaches_as_many_backends_as_there_are_nat_ips() {
    for count in 1..=4 {
        let mut balancer = with(8, |config| {
            config.frontends[0].nat_ips = nat_ips(count);
            config.hash.tuple = HashTuple::NatIp;
            config.hash.includes_link = false;
            config.rules[0].distribution = Distribution::TwoTuple;
        });
        let flows = (0..2_000).map(|number| from(number, number as u16));
        let reached = reached(&mut balancer, flows);
        assert!((1..=usize::from(count)).contains(&reached), "{reached}");
    }
}

#[test]
fn a_nat_ip_is_picked_evenly_and_stays_with_its_flow() {
    let mut balancer = with(2, |config| {
        config.pools[0].may_change = true;
        config.frontends[0].nat_ips = nat_ips(4);
        config.hash.tuple = HashTuple::NatIp;
    });
    let mut shares = [0; 4];
    for port in 0..4_000 {
        let pick = |balancer: &mut LoadBalancer| {
            let chosen = balancer.select(FRONTEND, LINK, &from(0, port), true, at(0));
            chosen.unwrap().nat_ip.unwrap()
        };
        let first = pick(&mut balancer);
        assert_eq!(pick(&mut balancer), first);
        shares[usize::from(first)] += 1;
    }
    // Within four standard deviations (27) of 1000.
    assert!(
        shares.iter().all(|share| (890..1_110).contains(share)),
        "{shares:?}"
    );
    balancer
        .add_nat_ip(FRONTEND, Ipv4Addr::new(10, 2, 0, 20), at(0))
        .unwrap();
    let picks = (0..200).map(|port| balancer.select(FRONTEND, LINK, &from(0, port), true, at(0)));
    assert!(picks.flatten().any(|chosen| chosen.nat_ip == Some(4)));
}

/// One more NAT IP: many flows have another one from now on, but TCP stays where it is.
#[test]
fn a_further_nat_ip_moves_datagrams_and_no_connection() {
    let mut balancer = with(4, |config| {
        config.frontends[0].nat_ips = nat_ips(1);
        config.hash.tuple = HashTuple::NatIp;
        config.pools[0].may_change = true;
    });
    let all = |balancer: &mut LoadBalancer, protocol, opens| {
        let tuples = (0..200).map(|port| tuple(protocol, port));
        let chosen = tuples.map(|tuple| balancer.select(FRONTEND, LINK, &tuple, opens, at(0)));
        chosen
            .map(|chosen| chosen.unwrap().backend)
            .collect::<Vec<_>>()
    };
    let tcp = all(&mut balancer, Protocol::Tcp, true);
    let udp = all(&mut balancer, Protocol::Udp, false);
    let further = Ipv4Addr::new(10, 2, 0, 20);
    balancer.add_nat_ip(FRONTEND, further, at(0)).unwrap();
    assert_eq!(all(&mut balancer, Protocol::Tcp, false), tcp);
    let after = all(&mut balancer, Protocol::Udp, false);
    let moved = udp.iter().zip(&after).filter(|(one, other)| one != other);
    let moved = moved.count() as u64;
    let changes = balancer.changes().iter();
    let udp = changes.filter(|change| change.rule == Some(RuleId(1)));
    let told: Vec<_> = udp.map(|change| (change.cause, change.moved)).collect();
    assert_eq!(told, [(Cause::NatIp, moved)]);
    assert!(moved > 50, "{moved}");
}

/// In a pool that was said not to change nothing is remembered, so connections would break.
#[test]
fn a_further_nat_ip_needs_pools_that_may_change_where_it_is_hashed() {
    for (hash, expected) in [
        (HashTuple::PreNat, Ok(())),
        (HashTuple::NatIp, Err(ChangeError::FixedPool(LbPoolId(0)))),
    ] {
        let mut balancer = with(2, |config| {
            config.frontends[0].nat_ips = nat_ips(1);
            config.hash.tuple = hash;
            config.pools[0].may_change = false;
        });
        let further = Ipv4Addr::new(10, 2, 0, 20);
        assert_eq!(balancer.add_nat_ip(FRONTEND, further, at(0)), expected);
    }
}

#[test]
fn before_the_nat_no_nat_ip_is_picked() {
    let mut balancer = with(2, |config| config.frontends[0].nat_ips = nat_ips(4));
    let chosen = balancer.select(FRONTEND, LINK, &from(0, 7), true, at(0));
    assert_eq!(chosen.unwrap().nat_ip, None);
}

/// I#119294: even pools and even client ports go badly together, odd pools do not mind.
#[test]
fn a_weak_hash_gives_even_ports_of_a_client_half_of_an_even_pool() {
    for (count, expected) in [(2, 1), (4, 2), (8, 4), (3, 3), (5, 5), (7, 7)] {
        let mut balancer = with(count, |config| {
            config.rehash = Rehash::Modulo;
            config.hash.strength = HashStrength::WeakParity;
        });
        let even = (0..500).map(|port| from(0, port << 1));
        assert_eq!(reached(&mut balancer, even), expected, "{count} backends");
        let any = (0..500).map(|port| from(0, port));
        assert_eq!(reached(&mut balancer, any), usize::from(count));
    }
}

#[test]
fn a_strong_hash_modulo_reaches_every_backend_from_even_ports() {
    let mut balancer = with(4, |config| config.rehash = Rehash::Modulo);
    let even = (0..500).map(|port| from(0, port << 1));
    assert_eq!(reached(&mut balancer, even), 4);
}

/// The order in which members are configured is not the balancer's business.
#[test]
fn members_in_another_order_change_no_choice() {
    for rehash in [Rehash::default(), Rehash::Modulo, Rehash::Rendezvous] {
        let mut one = with(5, |config| config.rehash = rehash);
        let mut other = with(5, |config| {
            config.rehash = rehash;
            config.pools[0].members.reverse();
            config.backends.reverse();
        });
        for port in 0..500 {
            let tuple = from(0, port);
            let chosen = backend(&mut one, LINK, &tuple);
            assert_eq!(backend(&mut other, LINK, &tuple), chosen);
        }
    }
}

/// The answer of a pool that cannot change is that of one that could, but does not.
#[test]
fn a_fixed_pool_answers_as_one_that_may_change() {
    for rehash in [Rehash::default(), Rehash::Modulo, Rehash::Rendezvous] {
        let change = |config: &mut LbConfig| config.rehash = rehash;
        let mut fixed = with(5, change);
        let mut free = with(5, |config| {
            change(config);
            config.pools[0].may_change = true;
        });
        for port in 0..500 {
            let tuple = from(u32::from(port % 7), port);
            let chosen = backend(&mut fixed, LINK, &tuple);
            assert_eq!(backend(&mut free, LINK, &tuple), chosen);
        }
    }
}

/// D-LBLIM: HA ports.
#[test]
fn a_rule_for_all_ports_takes_both_protocols_and_keeps_the_port() {
    let mut balancer = with(2, |config| {
        config.rules = vec![crate::Rule {
            listen: Listen::All,
            backend_port: 0,
            ..super::rule(Protocol::Tcp, 443, 0)
        }];
    });
    for protocol in Protocol::ALL {
        for port in [1, 53, 65_535] {
            let mut tuple = tuple(protocol, 7);
            tuple.destination.set_port(port);
            let chosen = balancer.select(FRONTEND, LINK, &tuple, true, at(0));
            assert_eq!(chosen.unwrap().backend_port, port);
        }
    }
    let elsewhere = balancer.select(FrontendId(1), LINK, &tuple(Protocol::Tcp, 7), true, at(0));
    assert!(elsewhere.is_err());
}

/// D-LBLIM: one for each frontend, and nothing beside it.
#[test]
fn a_rule_for_all_ports_is_alone_on_its_frontend() {
    for all_first in [true, false] {
        let mut config = config(2, false);
        config.rules.truncate(1);
        config.rules.push(crate::Rule {
            listen: Listen::All,
            backend_port: 0,
            ..super::rule(Protocol::Udp, 443, 0)
        });
        if all_first {
            config.rules.reverse();
        }
        let (first, second) = (0, 1);
        let refused = LoadBalancer::new(&config).unwrap_err();
        assert_eq!(refused, crate::ConfigError::DuplicateRule { first, second });
        config.rules[1].frontend = FrontendId(1);
        assert!(LoadBalancer::new(&config).is_ok());
    }
}
