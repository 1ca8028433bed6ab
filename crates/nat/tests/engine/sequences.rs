//! Whole stories of packets that NATs have got wrong.

use crate::harness::{
    ACK, BACKEND, CLIENT_ISN, FIN, Nat, PLS, RST, SECOND, SERVER_ISN, SERVICE, SYN, SYN_ACK, c,
    client, endpoint, s, segment, small,
};
use core::net::SocketAddrV4;
use plsim_nat::{Allocation, NatError, Original, State};
use plsim_types::{Duration, LinkId, Protocol};

const OPEN: State = State::Established;

fn connected() -> Nat {
    let mut nat = Nat::new(small(1, 1));
    nat.play(&[
        (c(SYN, 0, 0), State::HalfOpen),
        (s(SYN_ACK, 0, 1), OPEN),
        (c(ACK, 1, 1), OPEN),
    ]);
    nat
}

/// An engine without hold-downs whose only port has just been freed by client 1.
fn freed() -> (Nat, SocketAddrV4) {
    let mut config = small(1, 1);
    config.pools[0].timers.hold_down_rst = Duration::ZERO;
    config.pools[0].timers.hold_down_fin = Duration::ZERO;
    let mut nat = Nat::new(config);
    let port = nat.open(1).unwrap();
    (nat, port)
}

#[test]
fn four_resets_out_of_the_window_leave_the_connection_established() {
    let mut nat = connected();
    for number in [1_000, 2_000, 3_000, 4_000] {
        nat.play(&[(s(RST, number, 0), OPEN)]);
    }
    nat.play(&[(c(ACK, 1, 1).with(10), OPEN), (s(ACK, 1, 11), OPEN)]);
}

#[test]
fn a_syn_ack_that_comes_three_times_is_one_connection() {
    let mut nat = Nat::new(small(1, 1));
    nat.play(&[
        (c(SYN, 0, 0), State::HalfOpen),
        (s(SYN_ACK, 0, 1), OPEN),
        (s(SYN_ACK, 0, 1), OPEN),
        (s(SYN_ACK, 0, 1), OPEN),
        (c(ACK, 1, 1), OPEN),
        (s(SYN_ACK, 0, 1), OPEN),
        (s(RST, 2, 0), OPEN),
        (s(RST, 1, 0), State::Reset),
    ]);
    assert_eq!(nat.usage(Protocol::Tcp)[0].binds, 1);
}

#[test]
fn an_old_syn_ack_after_a_new_syn_establishes_nothing() {
    Nat::new(small(1, 1)).play(&[
        (c(SYN, 0, 0), State::HalfOpen),
        (c(SYN, 9_000, 0), State::HalfOpen),
        (s(SYN_ACK, 0, 1), State::HalfOpen),
        // The client resets what it has not asked for; nor does that end the new attempt.
        (c(RST, 1, 0), State::HalfOpen),
        (s(SYN_ACK, 50_000, 9_001), OPEN),
    ]);
}

#[test]
fn a_client_that_restarted_reopens_through_challenge_and_reset() {
    // Half-open connection, found from the side of the client (RFC 9293 §3.5.1).
    connected().play(&[
        (c(SYN, 9_000, 0), OPEN),
        (s(ACK, 1, 1), OPEN),
        (c(RST, 1, 0), State::Reset),
        (c(SYN, 9_000, 0), State::HalfOpen),
        (s(SYN_ACK, 50_000, 9_001), OPEN),
    ]);
}

#[test]
fn a_server_that_restarted_resets_what_it_does_not_know() {
    // Found from the side of the server: its RST answers data at the acknowledgement it was sent.
    connected().play(&[
        (c(ACK, 1, 1).with(10), OPEN),
        (s(RST, 1, 0), State::Reset),
        (c(SYN, 9_000, 0), State::HalfOpen),
        (s(SYN_ACK, 50_000, 9_001), OPEN),
    ]);
}

#[test]
fn both_ends_restarted_and_connect_on_the_old_binding() {
    let mut nat = connected();
    nat.after(200 * SECOND);
    nat.play(&[
        (c(SYN, 9_000, 0), OPEN),
        (s(SYN_ACK, 50_000, 9_001), OPEN),
        (c(ACK, 9_001, 50_001).with(10), OPEN),
        (s(ACK, 50_001, 9_011), OPEN),
    ]);
    // Idle, the RSTs carry the numbers of the new connection.
    nat.after(300 * SECOND).timeout();
    let sequences: Vec<u32> = nat.resets().iter().map(|reset| reset.sequence).collect();
    let to_server = CLIENT_ISN.wrapping_add(9_011);
    assert_eq!(sequences, [to_server, SERVER_ISN + 50_001]);
}

#[test]
fn a_lost_fin_leaves_a_half_closed_connection_that_idles_out() {
    let mut nat = connected();
    nat.play(&[
        (c(FIN, 1, 1), State::ClientFin),
        (s(ACK, 1, 2), State::ClientFin),
    ]);
    // The server's FIN is lost before the NAT, and it is gone.
    nat.after(300 * SECOND - 1).timeout();
    assert_eq!(nat.used(Protocol::Tcp), (1, 0));
    nat.after(1).timeout();
    assert_eq!(nat.used(Protocol::Tcp), (0, 0));
    assert_eq!(nat.usage(Protocol::Tcp)[0].expired_half_closed, 1);
}

#[test]
fn a_port_is_reused_while_the_server_is_in_time_wait() {
    // The server closed first and holds the old connection; it takes a clearly newer SYN
    // (RFC 9293 §3.6.1), or answers an older one with its last ACK.
    for newer in [true, false] {
        let (mut nat, port) = freed();
        nat.play(&[(s(FIN, 1, 1), State::ServerFin)]);
        nat.send(1, segment(FIN, CLIENT_ISN + 1, SERVER_ISN + 2, 0))
            .unwrap();
        assert_eq!(nat.used(Protocol::Tcp), (0, 0));
        let syn = segment(SYN, 600, 0, 0);
        assert_eq!(nat.send(2, syn).unwrap().source, port);
        if !newer {
            let last_ack = segment(ACK, SERVER_ISN + 2, CLIENT_ISN + 2, 0);
            let passed = nat.answer(port, last_ack).unwrap();
            assert_eq!(passed.destination, client(2));
            nat.send(2, segment(RST, CLIENT_ISN + 2, 0, 0)).unwrap();
            assert_eq!(nat.state(port), Some(State::HalfOpen));
            nat.after(SECOND);
            nat.send(2, syn).unwrap();
        }
        nat.answer(port, segment(SYN_ACK, 70_000, 601, 0)).unwrap();
        nat.send(2, segment(ACK, 601, 70_001, 0)).unwrap();
        assert_eq!(nat.state(port), Some(OPEN));
        assert_eq!(nat.engine.bindings().count(), 1);
    }
}

#[test]
fn a_port_is_reused_while_the_server_is_established() {
    let (mut nat, port) = freed();
    nat.abort(1).unwrap();
    let syn = segment(SYN, 600, 0, 0);
    nat.send(2, syn).unwrap();
    // Data of the old connection reaches the new client, which resets it.
    nat.answer(port, segment(ACK, SERVER_ISN + 1, CLIENT_ISN + 1, 100))
        .unwrap();
    nat.send(2, segment(RST, CLIENT_ISN + 1, 0, 0)).unwrap();
    assert_eq!(nat.state(port), Some(State::HalfOpen));
    nat.send(2, syn).unwrap();
    nat.answer(port, segment(SYN_ACK, 70_000, 601, 0)).unwrap();
    assert_eq!(nat.state(port), Some(OPEN));
}

#[test]
fn replies_alone_keep_a_udp_flow() {
    let mut nat = Nat::new(small(1, 1));
    let service = SocketAddrV4::new(BACKEND, SERVICE);
    let port = nat.datagram(1).unwrap().source;
    for _ in 0..10 {
        nat.after(299 * SECOND);
        assert!(nat.answer_from(service, port, None).is_ok());
    }
    assert_eq!(nat.used(Protocol::Udp), (1, 0));
}

#[test]
fn a_reply_from_another_port_of_the_server_neither_passes_nor_refreshes() {
    let mut nat = Nat::new(small(1, 1));
    let port = nat.datagram(1).unwrap().source;
    nat.after(200 * SECOND);
    let other = SocketAddrV4::new(BACKEND, SERVICE + 1);
    assert_eq!(nat.answer_from(other, port, None), Err(NatError::Filtered));
    nat.after(100 * SECOND).timeout();
    assert_eq!(nat.used(Protocol::Udp), (0, 0));
}

/// Port shadowing: where a NAT keeps one table of tuples for both directions, a client that sends from
/// the service's port can stand in the way of others.
#[test]
fn a_client_that_sends_from_the_services_port_shadows_nobody() {
    for &allocator in Allocation::ALL {
        let mut config = small(1, 10);
        config.pools[0].allocator = allocator;
        config.pools[0].ports = SERVICE - 5..=SERVICE + 4;
        let mut nat = Nat::new(config);
        let own = [SERVICE, endpoint().port(), 40_000].map(|port| {
            let client = SocketAddrV4::new([10, 1, 0, 4].into(), port);
            let packet = Original {
                pls: PLS,
                link: LinkId(1),
                client,
                endpoint: endpoint(),
                backend_port: SERVICE,
                protocol: Protocol::Tcp,
                segment: Some(segment(SYN, CLIENT_ISN, 0, 0)),
            };
            let now = nat.instant();
            (client, nat.engine.original(&packet, now).unwrap().source)
        });
        for (client, port) in own {
            let answer = nat.answer(port, segment(SYN_ACK, SERVER_ISN, CLIENT_ISN + 1, 0));
            let answer = answer.unwrap();
            let name = allocator.name();
            assert_eq!(
                (answer.source, answer.destination),
                (endpoint(), client),
                "{name}"
            );
        }
    }
}

#[test]
fn a_reset_then_data_then_a_reset_again() {
    let mut nat = connected();
    nat.play(&[
        (c(RST, 1, 0), State::Reset),
        (s(ACK, 1, 1).with(10), OPEN),
        (s(RST, 1, 0), State::Reset),
        (s(FIN, 11, 1), State::ServerFin),
        (c(RST, 1, 0), State::Reset),
    ]);
    nat.after(16 * SECOND).timeout();
    assert_eq!(nat.used(Protocol::Tcp), (0, 0));
}
