use super::{FRONTEND, LINK, at, balancer, config, data, events, syn, tuple};
use crate::{ChangeError, LbError, LbEvent, LbPoolId, LoadBalancer};
use alloc::vec::Vec;
use plsim_types::{BackendId, Protocol};

/// D-PRB23: one backend down: established TCP continues, new TCP goes to the others.
#[test]
fn established_flows_stay_on_a_backend_that_goes_down_and_new_flows_avoid_it() {
    let mut balancer = balancer(3);
    let before: Vec<_> = (0..300)
        .map(|port| syn(&mut balancer, port, at(0)).unwrap())
        .collect();
    balancer.set_backend(BackendId(1), false, at(0)).unwrap();
    for (port, chosen) in (0..).zip(&before) {
        assert_eq!(data(&mut balancer, port, at(1)).as_ref(), Ok(chosen));
    }
    for port in 300..600 {
        assert_ne!(
            syn(&mut balancer, port, at(1)).unwrap().backend,
            BackendId(1)
        );
    }
    balancer.set_backend(BackendId(1), true, at(0)).unwrap();
    for (port, chosen) in (0..).zip(&before) {
        assert_eq!(data(&mut balancer, port, at(2)).as_ref(), Ok(chosen));
    }
}

/// A SYN starts a new connection, even one that repeats an earlier connection's ports.
#[test]
fn a_syn_leaves_a_backend_that_is_down() {
    let mut balancer = balancer(2);
    let first = syn(&mut balancer, 1, at(0)).unwrap().backend;
    balancer.set_backend(first, false, at(0)).unwrap();
    assert_eq!(data(&mut balancer, 1, at(1)).unwrap().backend, first);
    let second = syn(&mut balancer, 1, at(2)).unwrap().backend;
    assert_ne!(second, first);
    balancer.set_backend(first, true, at(0)).unwrap();
    assert_eq!(data(&mut balancer, 1, at(3)).unwrap().backend, second);
    let sticky: Vec<_> = balancer
        .backend_usage()
        .map(|usage| usage.sticky_flows)
        .collect();
    assert_eq!(sticky.iter().sum::<u32>(), 1);
    assert_eq!(sticky[usize::from(second.0)], 1);
}

/// D-PRB23: all down: established TCP continues, no new TCP, UDP flows end.
#[test]
fn with_nobody_up_only_established_flows_pass() {
    let mut balancer = balancer(2);
    let chosen = syn(&mut balancer, 1, at(0)).unwrap();
    for backend in [0, 1] {
        balancer
            .set_backend(BackendId(backend), false, at(0))
            .unwrap();
    }
    assert_eq!(data(&mut balancer, 1, at(1)), Ok(chosen));
    let none = Err(LbError::NoHealthyBackend);
    assert_eq!(syn(&mut balancer, 1, at(1)), none);
    assert_eq!(syn(&mut balancer, 2, at(1)), none);
    assert_eq!(data(&mut balancer, 2, at(1)), none);
    let datagram = tuple(Protocol::Udp, 1);
    assert_eq!(
        balancer.select(FRONTEND, LINK, &datagram, false, at(1)),
        none
    );
    let refused: Vec<_> = balancer
        .rule_usage()
        .map(|usage| usage.no_healthy_backend)
        .collect();
    assert_eq!((refused, balancer.sticky_flows()), ([3, 1].to_vec(), 1));
    assert_eq!(data(&mut balancer, 1, at(2)), Ok(chosen));
}

/// D-PRB23: UDP moves to another healthy backend, and back: the edge keeps nothing for it.
#[test]
fn udp_is_hashed_anew_when_the_pool_changes() {
    let mut balancer = balancer(4);
    let send = |balancer: &mut LoadBalancer| -> Vec<_> {
        let ports = 0..200;
        let chosen = ports.map(|port| {
            let tuple = tuple(Protocol::Udp, port);
            balancer
                .select(FRONTEND, LINK, &tuple, false, at(0))
                .unwrap()
                .backend
        });
        chosen.collect()
    };
    let before = send(&mut balancer);
    balancer.set_backend(BackendId(2), false, at(0)).unwrap();
    assert!(!send(&mut balancer).contains(&BackendId(2)));
    balancer.set_backend(BackendId(2), true, at(0)).unwrap();
    assert_eq!(send(&mut balancer), before);
    assert_eq!(
        (balancer.sticky_flows(), balancer.poll_timeout()),
        (0, None)
    );
}

#[test]
fn a_pool_that_cannot_change_keeps_no_table_and_refuses_a_change() {
    let mut balancer = LoadBalancer::new(&config(3, false)).unwrap();
    let empty = balancer.sticky_bytes();
    for port in 0..1_000 {
        let chosen = syn(&mut balancer, port, at(0)).unwrap();
        assert_eq!(data(&mut balancer, port, at(u64::MAX)), Ok(chosen));
    }
    assert_eq!(
        (balancer.sticky_flows(), balancer.poll_timeout()),
        (0, None)
    );
    assert_eq!(balancer.sticky_bytes(), empty);
    let new: u64 = balancer.backend_usage().map(|usage| usage.syns).sum();
    assert_eq!(new, 1_000);
    assert_eq!(
        balancer.set_backend(BackendId(1), false, at(0)),
        Err(ChangeError::FixedPool(LbPoolId(0)))
    );
    assert!(balancer.backend_usage().all(|usage| usage.up));
}

#[test]
fn events_tell_of_changes_once_and_how_many_flows_stay() {
    let mut balancer = balancer(2);
    for port in 0..50 {
        syn(&mut balancer, port, at(0)).unwrap();
    }
    let sticky: Vec<_> = balancer
        .backend_usage()
        .map(|usage| usage.sticky_flows)
        .collect();
    for _ in 0..2 {
        for backend in [0, 1] {
            balancer
                .set_backend(BackendId(backend), false, at(0))
                .unwrap();
        }
    }
    balancer.set_backend(BackendId(0), true, at(0)).unwrap();
    let stranger = BackendId(9);
    let unknown = balancer.set_backend(stranger, false, at(0));
    assert_eq!(unknown, Err(ChangeError::UnknownBackend(stranger)));
    let down = |backend, sticky_flows| LbEvent::BackendDown {
        backend,
        sticky_flows,
    };
    let pool = LbPoolId(0);
    let expected = [
        down(BackendId(0), sticky[0]),
        down(BackendId(1), sticky[1]),
        LbEvent::PoolDown { pool, probe: None },
        LbEvent::BackendUp {
            backend: BackendId(0),
            sticky_flows: sticky[0],
        },
        LbEvent::PoolUp { pool, probe: None },
    ];
    assert_eq!(events(&mut balancer), expected);
}
