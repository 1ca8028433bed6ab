//! Connections that the load balancer's owner ends.

use crate::harness::{
    ACK, CLIENT_ISN, Nat, SECOND, SERVER_ISN, SERVICE, SYN, client, segment, small,
};
use plsim_nat::State;
use plsim_types::{Direction, Protocol};

/// Established ones only: nobody has a connection to reset in the others.
#[test]
fn both_ends_of_established_connections_hear_a_reset_and_the_port_rests() {
    let mut nat = Nat::new(small(1, 10));
    let open = nat.open(1).unwrap();
    let half_open = nat.send(2, segment(SYN, CLIENT_ISN, 0, 0)).unwrap().source;
    let closed = nat.open(3).unwrap();
    nat.close(3, closed).unwrap();
    nat.datagram(4).unwrap();
    let now = nat.instant();
    assert_eq!(nat.engine.reset_flows(|_| true, now), 1);
    let resets = nat.resets();
    let told: Vec<_> = resets
        .iter()
        .map(|reset| (reset.toward, reset.sequence))
        .collect();
    let expected = [
        (Direction::Original, CLIENT_ISN + 1),
        (Direction::Reply, SERVER_ISN + 1),
    ];
    assert_eq!(told, expected, "each what it expects next");
    assert_eq!(resets[1].destination, client(1));
    assert_eq!(nat.state(open), Some(State::Reset));
    assert_eq!(nat.state(half_open), Some(State::HalfOpen));
    assert_eq!(nat.state(closed), Some(State::Closed));
    assert_eq!(nat.used(Protocol::Udp), (1, 0));
    // 16 s, as after any reset (D-NGW).
    nat.at(16 * SECOND - 1).timeout();
    assert_eq!(nat.state(open), Some(State::Reset));
    nat.at(16 * SECOND).timeout();
    assert_eq!(nat.state(open), None);
}

#[test]
fn only_the_connections_that_are_meant_are_reset() {
    let mut nat = Nat::new(small(1, 10));
    let ports = [1, 2, 3].map(|number| nat.open(number).unwrap());
    let now = nat.instant();
    let meant = client(2);
    assert_eq!(
        nat.engine
            .reset_flows(|binding| binding.client == meant, now),
        1
    );
    assert_eq!(
        nat.engine
            .reset_flows(|binding| binding.backend.port() != SERVICE, now),
        0
    );
    let states = ports.map(|port| nat.state(port));
    let live = Some(State::Established);
    assert_eq!(states, [live, Some(State::Reset), live]);
    nat.send(1, segment(ACK, CLIENT_ISN + 1, SERVER_ISN + 1, 5))
        .unwrap();
    assert_eq!(nat.used(Protocol::Tcp), (2, 1));
}
