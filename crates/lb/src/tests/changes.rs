//! Rules that change, and changes that are refused.

use super::{FRONTEND, LINK, at, balancer, config, data, pool, syn, tuple};
use crate::{
    AdminState, Cause, ChangeError, Distribution, FrontendId, LbPoolId, Listen, LoadBalancer,
    ProbeConfig, ProbeId, RuleChange, RuleId,
};
use alloc::vec;
use alloc::vec::Vec;
use core::net::Ipv4Addr;
use core::ops::Range;
use plsim_types::{BackendId, Protocol};

const POOL: LbPoolId = LbPoolId(0);

fn change(balancer: &mut LoadBalancer, change: RuleChange) -> Result<(), ChangeError> {
    balancer.change_rule(RuleId(0), change, at(0))
}

#[test]
fn a_new_backend_port_is_for_new_connections_only() {
    let mut balancer = balancer(2);
    let first = syn(&mut balancer, 1, at(0)).unwrap();
    let port = |backend_port| RuleChange {
        backend_port: Some(backend_port),
        ..RuleChange::default()
    };
    change(&mut balancer, port(9_000)).unwrap();
    assert_eq!(data(&mut balancer, 1, at(1)), Ok(first));
    assert_eq!(syn(&mut balancer, 2, at(1)).unwrap().backend_port, 9_000);
    let again = syn(&mut balancer, 1, at(2)).unwrap();
    assert_eq!((again.backend, again.backend_port), (first.backend, 9_000));
    change(&mut balancer, port(8_443)).unwrap();
    assert_eq!(data(&mut balancer, 1, at(3)).unwrap().backend_port, 9_000);
    assert_eq!(syn(&mut balancer, 3, at(3)).unwrap().backend_port, 8_443);
    assert!(balancer.changes().is_empty(), "nobody moves");
}

#[test]
fn a_new_pool_is_for_new_connections_only() {
    let mut config = config(4, true);
    config.pools = vec![pool(&[0, 1], true), pool(&[2, 3], true)];
    let mut balancer = LoadBalancer::new(&config).unwrap();
    let first = syn(&mut balancer, 1, at(0)).unwrap();
    let other = RuleChange {
        pool: Some(LbPoolId(1)),
        ..RuleChange::default()
    };
    change(&mut balancer, other).unwrap();
    assert_eq!(data(&mut balancer, 1, at(1)), Ok(first));
    assert!(syn(&mut balancer, 2, at(1)).unwrap().backend >= BackendId(2));
    assert!(syn(&mut balancer, 1, at(1)).unwrap().backend >= BackendId(2));
    let change = balancer.changes()[0];
    assert_eq!((change.cause, change.rule), (Cause::Rule, Some(RuleId(0))));
    assert_eq!((change.pool, change.eligible), (LbPoolId(1), 2));
}

/// D-DIST: switching the mode causes no downtime; UDP is hashed anew.
#[test]
fn a_new_distribution_keeps_tcp_and_hashes_udp_anew() {
    let mut balancer = balancer(4);
    let ports = 0..100;
    let tcp: Vec<_> = ports
        .clone()
        .map(|port| syn(&mut balancer, port, at(0)))
        .collect();
    let send = |balancer: &mut LoadBalancer| -> Vec<BackendId> {
        let each = (0..100).map(|port| {
            let tuple = tuple(Protocol::Udp, port);
            balancer.select(FRONTEND, LINK, &tuple, false, at(0))
        });
        each.map(|chosen| chosen.unwrap().backend).collect()
    };
    let before = send(&mut balancer);
    let by_client = RuleChange {
        distribution: Some(Distribution::TwoTuple),
        ..RuleChange::default()
    };
    for rule in [RuleId(0), RuleId(1)] {
        balancer.change_rule(rule, by_client, at(0)).unwrap();
    }
    let later: Vec<_> = ports.map(|port| data(&mut balancer, port, at(1))).collect();
    assert_eq!(later, tcp);
    let after = send(&mut balancer);
    assert!(after.iter().all(|backend| *backend == after[0]));
    let moved = before
        .iter()
        .zip(&after)
        .filter(|(one, other)| one != other);
    assert_eq!(balancer.changes()[1].moved, moved.count() as u64);
    assert_eq!(balancer.changes()[0].moved, 0, "TCP");
}

#[test]
fn what_is_already_so_changes_nothing() {
    let mut balancer = balancer(2);
    let backend = BackendId(0);
    balancer
        .set_admin_state(POOL, backend, AdminState::None, at(0))
        .unwrap();
    balancer.set_backend(backend, true, at(0)).unwrap();
    change(&mut balancer, RuleChange::default()).unwrap();
    assert_eq!((balancer.poll_event(), balancer.changes().len()), (None, 0));
    // Up, and healthy anyway: an event, but the choice is what it was.
    balancer
        .set_admin_state(POOL, backend, AdminState::Up, at(0))
        .unwrap();
    assert!(balancer.poll_event().is_some() && balancer.changes().is_empty());
}

#[test]
fn flows_of_another_pool_are_not_ended() {
    let mut config = config(2, true);
    config.pools.push(pool(&[0, 1], true));
    config.rules.push(super::rule(Protocol::Tcp, 444, 1));
    let mut balancer = LoadBalancer::new(&config).unwrap();
    let mut other = tuple(Protocol::Tcp, 7);
    other.destination.set_port(444);
    for port in 0..50 {
        syn(&mut balancer, port, at(0)).unwrap();
        other.source.set_port(port);
        balancer
            .select(FRONTEND, LINK, &other, true, at(0))
            .unwrap();
    }
    let mut ended = 0;
    for backend in [0, 1] {
        ended += balancer
            .end_flows(POOL, BackendId(backend), at(0))
            .unwrap()
            .len();
    }
    assert_eq!((ended, balancer.sticky_flows()), (50, 50));
    // Places and timers of what is gone serve the next.
    for port in 0..50 {
        syn(&mut balancer, port, at(1)).unwrap();
    }
    balancer.handle_timeout(at(0) + super::IDLE);
    assert_eq!(balancer.sticky_flows(), 50);
    balancer.handle_timeout(at(1) + super::IDLE);
    assert_eq!(
        (balancer.sticky_flows(), balancer.poll_timeout()),
        (0, None)
    );
}

#[test]
fn changes_that_make_no_sense_are_refused_and_change_nothing() {
    let mut config = config(3, true);
    config.pools = vec![pool(&[0, 1], true), pool(&[0], false)];
    config.rules.push(super::rule(Protocol::Tcp, 444, 1));
    config.rules.push(crate::Rule {
        frontend: FrontendId(1),
        listen: Listen::All,
        backend_port: 0,
        ..super::rule(Protocol::Tcp, 445, 0)
    });
    config.probes = vec![ProbeConfig::default()];
    config.rules[2].probe = Some(ProbeId(0));
    let mut balancer = LoadBalancer::new(&config).unwrap();
    let (member, foreign, unknown) = (BackendId(0), BackendId(2), BackendId(9));
    let (fixed, none) = (LbPoolId(1), LbPoolId(2));
    let b = &mut balancer;
    assert_eq!(
        b.add_backend(POOL, member, at(0)),
        Err(ChangeError::AlreadyAMember(POOL, member))
    );
    assert_eq!(
        b.add_backend(POOL, unknown, at(0)),
        Err(ChangeError::UnknownBackend(unknown))
    );
    assert_eq!(
        b.add_backend(none, foreign, at(0)),
        Err(ChangeError::UnknownPool(none))
    );
    assert_eq!(
        b.add_backend(fixed, foreign, at(0)),
        Err(ChangeError::FixedPool(fixed))
    );
    assert_eq!(
        b.remove_backend(POOL, foreign, at(0)),
        Err(ChangeError::NotAMember(POOL, foreign))
    );
    assert_eq!(
        b.set_admin_state(POOL, foreign, AdminState::Down, at(0)),
        Err(ChangeError::NotAMember(POOL, foreign))
    );
    assert_eq!(
        b.set_health(ProbeId(1), member, false, at(0)),
        Err(ChangeError::UnknownProbe(ProbeId(1)))
    );
    assert_eq!(
        b.set_health(ProbeId(0), member, false, at(0)),
        Err(ChangeError::FixedPool(fixed))
    );
    assert_eq!(
        b.end_flows(fixed, member, at(0)),
        Err(ChangeError::FixedPool(fixed))
    );
    let port = RuleChange {
        backend_port: Some(0),
        ..RuleChange::default()
    };
    assert_eq!(
        b.change_rule(RuleId(0), port, at(0)),
        Err(ChangeError::Port(RuleId(0)))
    );
    let own = RuleChange {
        backend_port: Some(80),
        ..RuleChange::default()
    };
    assert_eq!(
        b.change_rule(RuleId(3), own, at(0)),
        Err(ChangeError::Port(RuleId(3)))
    );
    assert_eq!(
        b.change_rule(RuleId(2), own, at(0)),
        Err(ChangeError::FixedPool(fixed))
    );
    assert_eq!(
        b.change_rule(RuleId(9), own, at(0)),
        Err(ChangeError::UnknownRule(RuleId(9)))
    );
    let nowhere = FrontendId(2);
    assert_eq!(
        b.add_nat_ip(nowhere, Ipv4Addr::new(10, 2, 0, 20), at(0)),
        Err(ChangeError::UnknownFrontend(nowhere))
    );
    assert_eq!((b.poll_event(), b.changes().len()), (None, 0));
}

/// A VM that goes down before it joins is down when it does.
#[test]
fn what_was_said_of_a_backend_holds_when_it_joins() {
    let mut config = config(2, true);
    config.pools = vec![pool(&[0], true)];
    let mut balancer = LoadBalancer::new(&config).unwrap();
    balancer.set_backend(BackendId(1), false, at(0)).unwrap();
    balancer.add_backend(POOL, BackendId(1), at(0)).unwrap();
    let chosen = |balancer: &mut LoadBalancer| {
        let ports = 0..100;
        let each = ports.map(|port| syn(&mut balancer.clone(), port, at(0)).unwrap().backend);
        each.filter(|backend| *backend == BackendId(1)).count()
    };
    assert_eq!(chosen(&mut balancer), 0);
    balancer.set_backend(BackendId(1), true, at(0)).unwrap();
    assert!(chosen(&mut balancer) > 20);
}

/// A flow belongs to the pool that its rule led to when it began.
#[test]
fn flows_of_a_rule_that_went_to_another_pool_end_with_their_own() {
    let mut config = config(2, true);
    config.pools.push(pool(&[0, 1], true));
    let mut balancer = LoadBalancer::new(&config).unwrap();
    let begin = |balancer: &mut LoadBalancer, ports: Range<u16>| {
        let chosen = ports.map(|port| syn(balancer, port, at(0)).unwrap().backend);
        chosen.filter(|chosen| *chosen == BackendId(0)).count()
    };
    let old = begin(&mut balancer, 0..50);
    let elsewhere = RuleChange {
        pool: Some(LbPoolId(1)),
        ..RuleChange::default()
    };
    balancer.change_rule(RuleId(0), elsewhere, at(0)).unwrap();
    let new = begin(&mut balancer, 50..100);
    for (from, flows) in [(POOL, old), (LbPoolId(1), new)] {
        balancer.remove_backend(from, BackendId(0), at(0)).unwrap();
        let ended = balancer.end_flows(from, BackendId(0), at(0)).unwrap();
        assert!(flows > 0 && ended.len() == flows, "{flows}");
    }
    assert_eq!(balancer.sticky_flows() as usize, 100 - old - new);
}

/// A tracked UDP flow is no TCP flow that stays: it moves.
#[test]
fn only_tcp_is_counted_as_kept_and_ended() {
    let mut config = config(2, true);
    config.rules[1].connection_tracking = true;
    let mut balancer = LoadBalancer::new(&config).unwrap();
    let mut on_it = 0;
    for port in 0..50 {
        on_it += u32::from(syn(&mut balancer, port, at(0)).unwrap().backend == BackendId(0));
        let datagram = tuple(Protocol::Udp, port);
        balancer
            .select(FRONTEND, LINK, &datagram, false, at(0))
            .unwrap();
    }
    balancer.remove_backend(POOL, BackendId(0), at(0)).unwrap();
    assert_eq!(balancer.changes()[0].kept, on_it);
    let ended = balancer.end_flows(POOL, BackendId(0), at(0)).unwrap();
    assert_eq!(ended.len() as u32, on_it);
    for port in 0..50 {
        let datagram = tuple(Protocol::Udp, port);
        let chosen = balancer.select(FRONTEND, LINK, &datagram, false, at(0));
        assert_eq!(chosen.unwrap().backend, REST);
    }
    assert!(balancer.changes()[0].moved > 10, "{:?}", balancer.changes());
}

/// The backend that is left of two.
const REST: BackendId = BackendId(1);
