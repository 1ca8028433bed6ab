//! What each event does to established TCP, new TCP and UDP (D-PRB23, D-ADM, API): one test for
//! each line and protocol.

use super::{FRONTEND, LINK, at, config, data, pool, syn, tuple};
use crate::{
    AdminState, Cause, LbConfig, LbError, LbPoolId, LoadBalancer, NoHealthyBackends, ProbeConfig,
    ProbeId,
};
use alloc::vec;
use alloc::vec::Vec;
use plsim_types::{BackendId, Protocol};

const PROBE: ProbeId = ProbeId(0);
const POOL: LbPoolId = LbPoolId(0);
const FLOWS: u16 = 200;

/// Backends behind one probe.
fn probed(count: u16, no_healthy_backends: NoHealthyBackends) -> LoadBalancer {
    let mut config = config(count, true);
    config.probes = vec![ProbeConfig {
        no_healthy_backends,
    }];
    for rule in &mut config.rules {
        rule.probe = Some(PROBE);
    }
    LoadBalancer::new(&config).unwrap()
}

fn usual(count: u16) -> LoadBalancer {
    probed(count, NoHealthyBackends::AllProbedDown)
}

/// Sends a datagram of client port `port`.
fn datagram(balancer: &mut LoadBalancer, port: u16) -> Result<BackendId, LbError> {
    let tuple = tuple(Protocol::Udp, port);
    let chosen = balancer.select(FRONTEND, LINK, &tuple, false, at(0));
    chosen.map(|chosen| chosen.backend)
}

fn established(balancer: &mut LoadBalancer) -> Vec<BackendId> {
    let ports = 0..FLOWS;
    ports
        .map(|port| syn(balancer, port, at(0)).unwrap().backend)
        .collect()
}

fn segments(balancer: &mut LoadBalancer) -> Vec<BackendId> {
    let ports = 0..FLOWS;
    ports
        .map(|port| data(balancer, port, at(0)).unwrap().backend)
        .collect()
}

/// Opens connections from other ports.
fn fresh(balancer: &mut LoadBalancer) -> Vec<BackendId> {
    let ports = FLOWS..2 * FLOWS;
    ports
        .map(|port| syn(balancer, port, at(0)).unwrap().backend)
        .collect()
}

fn datagrams(balancer: &mut LoadBalancer) -> Vec<BackendId> {
    let ports = 0..FLOWS;
    ports
        .map(|port| datagram(balancer, port).unwrap())
        .collect()
}

fn set_health(balancer: &mut LoadBalancer, backends: &[u16], up: bool) {
    for &backend in backends {
        let backend = BackendId(backend);
        balancer.set_health(PROBE, backend, up, at(0)).unwrap();
    }
}

fn set_admin(balancer: &mut LoadBalancer, backend: u16, state: AdminState) {
    let backend = BackendId(backend);
    balancer
        .set_admin_state(POOL, backend, state, at(0))
        .unwrap();
}

const GONE: BackendId = BackendId(1);

#[test]
fn one_probe_down_established_tcp_continues_and_new_tcp_goes_elsewhere() {
    let mut balancer = usual(3);
    let before = established(&mut balancer);
    set_health(&mut balancer, &[1], false);
    assert_eq!(segments(&mut balancer), before);
    assert!(!fresh(&mut balancer).contains(&GONE));
    let kept = before.iter().filter(|&&backend| backend == GONE).count();
    let change = balancer.changes()[0];
    assert_eq!((change.cause, change.eligible), (Cause::Probe, 2));
    assert_eq!(change.kept as usize, kept);
}

#[test]
fn one_probe_down_udp_moves_to_a_healthy_backend() {
    let mut balancer = usual(3);
    let before = datagrams(&mut balancer);
    set_health(&mut balancer, &[1], false);
    let after = datagrams(&mut balancer);
    assert!(before.contains(&GONE) && !after.contains(&GONE));
    let moved = before
        .iter()
        .zip(&after)
        .filter(|(one, other)| one != other);
    assert_eq!(balancer.changes()[0].moved, moved.count() as u64);
}

#[test]
fn all_down_established_tcp_continues_and_no_new_tcp_is_taken() {
    let mut balancer = usual(2);
    let before = established(&mut balancer);
    set_health(&mut balancer, &[0, 1], false);
    assert_eq!(segments(&mut balancer), before);
    let refused = syn(&mut balancer, FLOWS, at(0));
    assert_eq!(refused, Err(LbError::NoHealthyBackend));
}

/// D-PRB23: "given that a backend pool has more than one backend instance".
#[test]
fn all_down_established_tcp_ends_if_the_pool_has_one_backend() {
    for ends in [true, false] {
        let config = LbConfig {
            lone_backend_ends: ends,
            ..config(1, true)
        };
        let mut balancer = LoadBalancer::new(&config).unwrap();
        syn(&mut balancer, 1, at(0)).unwrap();
        balancer.set_backend(BackendId(0), false, at(0)).unwrap();
        assert_eq!(data(&mut balancer, 1, at(0)).is_err(), ends);
        balancer.set_backend(BackendId(0), true, at(0)).unwrap();
        assert!(data(&mut balancer, 1, at(0)).is_ok());
        // Its owner may take it down: that is no failure (D-ADM).
        set_admin(&mut balancer, 0, AdminState::Down);
        assert!(data(&mut balancer, 1, at(0)).is_ok());
    }
}

#[test]
fn all_down_udp_flows_end() {
    let mut balancer = usual(2);
    datagram(&mut balancer, 1).unwrap();
    set_health(&mut balancer, &[0, 1], false);
    assert_eq!(datagram(&mut balancer, 1), Err(LbError::NoHealthyBackend));
}

#[test]
fn all_down_with_all_probed_up_tcp_is_hashed_over_all() {
    let mut balancer = probed(3, NoHealthyBackends::AllProbedUp);
    let before = established(&mut balancer);
    set_health(&mut balancer, &[0, 1, 2], false);
    assert_eq!(segments(&mut balancer), before);
    let after = fresh(&mut balancer);
    assert!((0..3).all(|backend| after.contains(&BackendId(backend))));
}

#[test]
fn all_down_with_all_probed_up_udp_is_hashed_over_all() {
    let mut balancer = probed(3, NoHealthyBackends::AllProbedUp);
    let before = datagrams(&mut balancer);
    set_health(&mut balancer, &[0, 1], false);
    assert!(
        datagrams(&mut balancer)
            .iter()
            .all(|&it| it == BackendId(2))
    );
    set_health(&mut balancer, &[2], false);
    assert_eq!(datagrams(&mut balancer), before);
}

#[test]
fn all_down_with_all_probed_up_spares_who_is_admin_down() {
    let mut balancer = probed(3, NoHealthyBackends::AllProbedUp);
    set_admin(&mut balancer, 1, AdminState::Down);
    set_health(&mut balancer, &[0, 1, 2], false);
    assert!(!datagrams(&mut balancer).contains(&GONE));
}

#[test]
fn admin_down_established_tcp_continues_and_no_new_tcp_is_taken() {
    let mut balancer = usual(3);
    let before = established(&mut balancer);
    set_admin(&mut balancer, 1, AdminState::Down);
    assert_eq!(segments(&mut balancer), before);
    assert!(!fresh(&mut balancer).contains(&GONE));
    set_admin(&mut balancer, 1, AdminState::None);
    assert!(established(&mut balancer).contains(&GONE));
}

/// X8: the API's text.
#[test]
fn admin_down_established_tcp_is_forgotten_where_the_owner_wants_it_reset() {
    let mut balancer = usual(3);
    let before = established(&mut balancer);
    set_admin(&mut balancer, 1, AdminState::Down);
    let ended = balancer.end_flows(POOL, GONE, at(0)).unwrap();
    let own = before.iter().filter(|&&backend| backend == GONE).count();
    assert_eq!((ended.len(), own > 0), (own, true));
    assert!(!segments(&mut balancer).contains(&GONE));
}

#[test]
fn admin_down_udp_moves() {
    let mut balancer = usual(3);
    assert!(datagrams(&mut balancer).contains(&GONE));
    set_admin(&mut balancer, 1, AdminState::Down);
    assert!(!datagrams(&mut balancer).contains(&GONE));
}

#[test]
fn admin_up_takes_tcp_whatever_the_probe_says() {
    let mut balancer = usual(3);
    let before = established(&mut balancer);
    set_admin(&mut balancer, 1, AdminState::Up);
    set_health(&mut balancer, &[0, 1], false);
    assert_eq!(segments(&mut balancer), before);
    assert!(fresh(&mut balancer).contains(&GONE));
    set_admin(&mut balancer, 1, AdminState::None);
    assert!(
        (2 * FLOWS..3 * FLOWS)
            .all(|port| { syn(&mut balancer, port, at(0)).unwrap().backend == BackendId(2) })
    );
}

#[test]
fn admin_up_takes_udp_whatever_the_probe_says() {
    let mut balancer = usual(2);
    set_admin(&mut balancer, 1, AdminState::Up);
    set_health(&mut balancer, &[0, 1], false);
    assert!(datagrams(&mut balancer).iter().all(|&it| it == GONE));
}

#[test]
fn removed_backend_keeps_its_tcp_and_gets_no_new_tcp() {
    let mut balancer = usual(3);
    let before = established(&mut balancer);
    balancer.remove_backend(POOL, GONE, at(0)).unwrap();
    assert!(!balancer.is_member(POOL, GONE));
    assert_eq!(segments(&mut balancer), before);
    assert!(!fresh(&mut balancer).contains(&GONE));
    balancer.add_backend(POOL, GONE, at(0)).unwrap();
    assert!(
        (2 * FLOWS..3 * FLOWS)
            .any(|port| { syn(&mut balancer, port, at(0)).unwrap().backend == GONE })
    );
}

#[test]
fn removed_backend_loses_its_udp() {
    let mut balancer = usual(3);
    let before = datagrams(&mut balancer);
    balancer.remove_backend(POOL, GONE, at(0)).unwrap();
    assert!(!datagrams(&mut balancer).contains(&GONE));
    balancer.add_backend(POOL, GONE, at(0)).unwrap();
    assert_eq!(datagrams(&mut balancer), before);
}

/// The load balancer knows nothing of a crash: flows and new flows go there until the probe fails.
#[test]
fn crashed_vm_gets_tcp_until_its_probe_fails() {
    let mut balancer = usual(2);
    established(&mut balancer);
    assert!(fresh(&mut balancer).contains(&GONE));
    set_health(&mut balancer, &[1], false);
    let after = (2 * FLOWS..3 * FLOWS).map(|port| syn(&mut balancer, port, at(0)));
    assert!(after.flatten().all(|chosen| chosen.backend != GONE));
}

#[test]
fn crashed_vm_gets_udp_until_its_probe_fails() {
    let mut balancer = usual(2);
    assert!(datagrams(&mut balancer).contains(&GONE));
    set_health(&mut balancer, &[1], false);
    assert!(!datagrams(&mut balancer).contains(&GONE));
}

/// API, enableConnectionTracking: as long as its backend is healthy a UDP flow stays.
#[test]
fn tracked_udp_stays_when_the_pool_grows_and_moves_when_its_own_backend_fails() {
    let mut config = config(3, true);
    config.rules[1].connection_tracking = true;
    config.pools = vec![pool(&[0, 1], true)];
    let mut balancer = LoadBalancer::new(&config).unwrap();
    let before = datagrams(&mut balancer);
    assert_eq!(balancer.sticky_flows(), u32::from(FLOWS));
    balancer.add_backend(POOL, BackendId(2), at(0)).unwrap();
    assert_eq!(datagrams(&mut balancer), before);
    assert_eq!(balancer.changes()[0].moved, 0);
    balancer.set_backend(GONE, false, at(0)).unwrap();
    let after = datagrams(&mut balancer);
    for (one, other) in before.iter().zip(&after) {
        assert_eq!(one == other, *one != GONE);
    }
    let own = before.iter().filter(|&&backend| backend == GONE).count();
    assert_eq!(balancer.changes()[1].moved, own as u64);
    // Back again: the flow stays where it went.
    balancer.set_backend(GONE, true, at(0)).unwrap();
    assert_eq!(datagrams(&mut balancer), after);
}

/// D-PRB23: a VM may be up for one rule's probe and down for another's.
#[test]
fn each_rule_follows_its_own_probe_and_one_without_any_follows_none() {
    let mut config = config(2, true);
    config.probes = vec![ProbeConfig::default(); 2];
    config.rules[0].probe = Some(PROBE);
    let mut balancer = LoadBalancer::new(&config).unwrap();
    for backend in [0, 1] {
        balancer
            .set_health(ProbeId(1), BackendId(backend), false, at(0))
            .unwrap();
    }
    assert!(fresh(&mut balancer).contains(&GONE), "another rule's probe");
    set_health(&mut balancer, &[1], false);
    assert!(!established(&mut balancer).contains(&GONE));
    assert!(datagrams(&mut balancer).contains(&GONE), "no probe");
}
