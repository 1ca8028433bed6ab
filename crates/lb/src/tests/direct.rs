//! Clients that dial a frontend themselves.

use super::{FRONTEND, at, balancer, config, frontend, pool, rule, tuple};
use crate::{FrontendId, HashConfig, HashTuple, LoadBalancer, Rule};
use alloc::vec;
use alloc::vec::Vec;
use core::net::Ipv4Addr;
use plsim_types::{BackendId, LinkId, Protocol};

#[test]
fn no_link_and_no_nat_ip_is_hashed() {
    let mut config = config(8, false);
    config.hash = HashConfig {
        tuple: HashTuple::NatIp,
        ..HashConfig::default()
    };
    config.frontends[0].nat_ips = vec![Ipv4Addr::new(10, 2, 3, 4)];
    let mut with_nat = LoadBalancer::new(&config).unwrap();
    config.hash = HashConfig {
        includes_link: false,
        ..HashConfig::default()
    };
    let mut without = LoadBalancer::new(&config).unwrap();
    for port in 1..200 {
        let tuple = tuple(Protocol::Tcp, port);
        let direct = with_nat
            .select_direct(FRONTEND, &tuple, true, at(0))
            .unwrap();
        assert_eq!(direct.nat_ip, None);
        // As a client behind a load balancer that does not hash the link.
        let linked = without.select(FRONTEND, LinkId(7), &tuple, true, at(0));
        assert_eq!(direct.backend, linked.unwrap().backend);
    }
}

#[test]
fn its_flows_are_remembered_apart_from_those_of_links_and_of_other_frontends() {
    let mut config = config(8, true);
    config.frontends = vec![frontend(4), frontend(5)];
    config.rules.push(Rule {
        frontend: FrontendId(1),
        backend_port: 9_443,
        ..rule(Protocol::Tcp, 443, 0)
    });
    config.pools = vec![pool(&[0, 1, 2, 3, 4, 5, 6, 7], true)];
    let mut balancer = LoadBalancer::new(&config).unwrap();
    let tuple = tuple(Protocol::Tcp, 50_000);
    let mut send = |opens, now| -> Vec<(BackendId, u16)> {
        let chosen = [
            balancer.select_direct(FrontendId(0), &tuple, opens, at(now)),
            balancer.select_direct(FrontendId(1), &tuple, opens, at(now)),
            // A link may have the number of a frontend.
            balancer.select(FrontendId(0), LinkId(0), &tuple, opens, at(now)),
            balancer.select(FrontendId(0), LinkId(1), &tuple, opens, at(now)),
        ];
        let chosen = chosen.map(|chosen| chosen.unwrap());
        chosen
            .map(|chosen| (chosen.backend, chosen.backend_port))
            .to_vec()
    };
    let first = send(true, 0);
    assert_eq!(send(false, 1), first);
    assert_eq!(
        first.iter().map(|(_, port)| *port).collect::<Vec<_>>(),
        [8_443, 9_443, 8_443, 8_443]
    );
    assert_eq!(balancer.sticky_flows(), 4);
}

#[test]
fn its_flow_stays_where_it_is_when_the_pool_changes() {
    let mut balancer = balancer(4);
    let tuple = tuple(Protocol::Tcp, 50_000);
    let syn = balancer
        .select_direct(FRONTEND, &tuple, true, at(0))
        .unwrap();
    balancer.set_backend(syn.backend, false, at(1)).unwrap();
    let data = balancer
        .select_direct(FRONTEND, &tuple, false, at(2))
        .unwrap();
    assert_eq!(data.backend, syn.backend);
    let again = balancer
        .select_direct(FRONTEND, &tuple, true, at(3))
        .unwrap();
    assert_ne!(again.backend, syn.backend);
}
