use super::{FRONTEND, IDLE, LINK, at, balancer, config, data, events, syn, tuple};
use crate::{LbError, LbEvent, LoadBalancer};
use plsim_types::{BackendId, Duration, Instant, LinkId, Protocol};

const DEADLINE: u64 = 300_000_000_000;

/// Takes the first flow's backend down and tells whether a segment at `now` still finds it there.
fn is_remembered(balancer: &LoadBalancer, now: Instant) -> bool {
    let mut balancer = balancer.clone();
    let chosen = syn(&mut balancer.clone(), 1, at(0)).unwrap().backend;
    balancer.set_backend(chosen, false, at(0)).unwrap();
    data(&mut balancer, 1, now).unwrap().backend == chosen
}

#[test]
fn a_flow_is_remembered_until_one_nanosecond_before_its_idle_time_is_over() {
    let mut balancer = balancer(2);
    syn(&mut balancer, 1, at(0)).unwrap();
    assert!(is_remembered(&balancer, at(DEADLINE - 1)));
    assert!(!is_remembered(&balancer, at(DEADLINE)));
    balancer.handle_timeout(at(DEADLINE - 1));
    assert_eq!(balancer.sticky_flows(), 1);
    assert_eq!(balancer.poll_timeout(), Some(at(DEADLINE)));
    balancer.handle_timeout(at(DEADLINE));
    assert_eq!(
        (balancer.sticky_flows(), balancer.poll_timeout()),
        (0, None)
    );
}

#[test]
fn every_packet_of_the_original_direction_starts_the_idle_time_anew() {
    let mut balancer = balancer(2);
    syn(&mut balancer, 1, at(0)).unwrap();
    data(&mut balancer, 1, at(7)).unwrap();
    assert!(is_remembered(&balancer, at(DEADLINE + 6)));
    assert!(!is_remembered(&balancer, at(DEADLINE + 7)));
    syn(&mut balancer, 1, at(9)).unwrap();
    balancer.handle_timeout(at(DEADLINE + 8));
    assert_eq!(balancer.sticky_flows(), 1);
    balancer.handle_timeout(at(DEADLINE + 9));
    assert_eq!(balancer.sticky_flows(), 0);
}

#[test]
fn a_keepalive_every_299_s_keeps_a_flow_for_ten_days() {
    let mut balancer = balancer(2);
    let chosen = syn(&mut balancer, 1, at(0)).unwrap();
    balancer.set_backend(chosen.backend, false, at(0)).unwrap();
    let mut now = Instant::ZERO;
    while now.as_nanos() < Duration::from_secs(10 * 86_400).as_nanos() {
        now = now + Duration::from_secs(299);
        assert_eq!(data(&mut balancer, 1, now), Ok(chosen));
    }
}

#[test]
fn only_a_syn_makes_the_edge_remember_a_flow() {
    let mut balancer = balancer(2);
    data(&mut balancer, 1, at(0)).unwrap();
    assert_eq!(
        (balancer.sticky_flows(), balancer.poll_timeout()),
        (0, None)
    );
    let (mut packets, mut flows) = (0, 0);
    for _ in 0..3 {
        syn(&mut balancer, 1, at(1)).unwrap();
    }
    for usage in balancer.rule_usage() {
        packets += usage.packets;
        flows += usage.syns;
    }
    assert_eq!((balancer.sticky_flows(), packets, flows), (1, 4, 3));
}

/// PLS-7: consumers with equal addresses and ports are different flows.
#[test]
fn overlapping_consumers_are_remembered_apart() {
    let mut balancer = balancer(8);
    let tuple = tuple(Protocol::Tcp, 50_000);
    let mut chosen = [BackendId(0); 64];
    for (link, backend) in (0..).zip(&mut chosen) {
        let selection = balancer.select(FRONTEND, LinkId(link), &tuple, true, at(0));
        *backend = selection.unwrap().backend;
    }
    assert_eq!(balancer.sticky_flows(), 64);
    assert!(chosen.iter().any(|backend| *backend != chosen[0]));
    balancer.set_backend(BackendId(3), false, at(0)).unwrap();
    for (link, backend) in (0..).zip(chosen) {
        let selection = balancer.select(FRONTEND, LinkId(link), &tuple, false, at(1));
        assert_eq!(selection.unwrap().backend, backend);
    }
}

/// N7: a full table refuses new flows and harms no other; the place of an idle flow is free again
/// at its very deadline, even if nobody called `handle_timeout`.
#[test]
fn a_full_table_refuses_only_flows_that_it_would_have_to_remember() {
    let mut config = config(2, true);
    config.stickiness.limit = 3;
    let mut balancer = LoadBalancer::new(&config).unwrap();
    for port in 0..3 {
        syn(&mut balancer, port, at(u64::from(port))).unwrap();
    }
    for port in 3..6 {
        assert_eq!(syn(&mut balancer, port, at(5)), Err(LbError::EdgeTableFull));
    }
    assert_eq!(events(&mut balancer), [LbEvent::TableFull { limit: 3 }]);
    for port in 0..3 {
        syn(&mut balancer, port, at(6)).unwrap();
        data(&mut balancer, port, at(7 + u64::from(port))).unwrap();
    }
    data(&mut balancer, 3, at(8)).unwrap();
    let datagram = tuple(Protocol::Udp, 9);
    balancer
        .select(FRONTEND, LINK, &datagram, false, at(8))
        .unwrap();
    let full = |now, balancer: &LoadBalancer| syn(&mut balancer.clone(), 3, now);
    assert_eq!(
        full(at(DEADLINE + 6), &balancer),
        Err(LbError::EdgeTableFull)
    );
    assert!(full(at(DEADLINE + 7), &balancer).is_ok());
    let refused: u64 = balancer.rule_usage().map(|usage| usage.table_full).sum();
    assert_eq!((refused, balancer.sticky_flows()), (3, 3));
}

#[test]
fn flows_of_one_instant_are_forgotten_at_one_instant() {
    let mut balancer = balancer(4);
    for port in 0..10_000 {
        syn(&mut balancer, port, at(u64::from(port / 100))).unwrap();
    }
    for step in 0..100 {
        balancer.handle_timeout(at(DEADLINE + step - 1));
        assert_eq!(u64::from(balancer.sticky_flows()), 100 * (100 - step));
        assert!(balancer.poll_timeout().unwrap() <= at(DEADLINE + step));
    }
    balancer.handle_timeout(at(DEADLINE + 99));
    assert_eq!(
        (balancer.sticky_flows(), balancer.poll_timeout()),
        (0, None)
    );
    assert!(
        balancer
            .backend_usage()
            .all(|usage| usage.sticky_flows == 0)
    );
}

/// The driver asks for the next wake-up after every call and must never get one of the past.
#[test]
fn the_first_flow_of_a_long_run_wakes_the_driver_in_the_future() {
    let mut balancer = balancer(2);
    for seconds in [1_500, 100_000, 10 * 86_400] {
        let now = Instant::ZERO + Duration::from_secs(seconds);
        syn(&mut balancer, 1, now).unwrap();
        let wake = balancer.poll_timeout().unwrap();
        assert!(wake > now && wake <= now + IDLE, "{wake}");
    }
}

#[test]
fn time_that_goes_back_counts_as_the_latest_seen() {
    let mut balancer = balancer(2);
    syn(&mut balancer, 1, at(10)).unwrap();
    data(&mut balancer, 1, at(3)).unwrap();
    balancer.handle_timeout(at(2));
    assert_eq!(balancer.sticky_flows(), 1);
    balancer.handle_timeout(at(9) + IDLE);
    assert_eq!(balancer.sticky_flows(), 1);
    balancer.handle_timeout(at(10) + IDLE);
    assert_eq!(balancer.sticky_flows(), 0);
}

#[test]
fn a_rule_that_forgets_takes_a_flow_for_a_new_one_after_its_own_time() {
    let mut config = config(2, true);
    config.rules[0].forget_after = Some(Duration::from_nanos(100));
    let mut balancer = LoadBalancer::new(&config).unwrap();
    syn(&mut balancer, 1, at(0)).unwrap();
    assert!(is_remembered(&balancer, at(99)));
    assert!(!is_remembered(&balancer, at(100)));
    // It is remembered where it is now.
    let chosen = syn(&mut balancer, 1, at(50)).unwrap().backend;
    balancer.set_backend(chosen, false, at(60)).unwrap();
    let other = data(&mut balancer, 1, at(150)).unwrap().backend;
    assert_ne!(other, chosen);
    balancer.set_backend(chosen, true, at(160)).unwrap();
    assert_eq!(data(&mut balancer, 1, at(249)).unwrap().backend, other);
    assert_eq!(balancer.sticky_flows(), 1);
}
