//! TCP as a middlebox sees it.

use crate::harness::{
    ACK, CLIENT_ISN, FIN, Nat, RST, RST_ACK, SECOND, SERVER_ISN, SYN, SYN_ACK, segment, small,
};
use core::net::SocketAddrV4;
use plsim_nat::{NatError, State};
use plsim_types::{Duration, Protocol};

/// An engine with one port and client 1 connected.
fn connected() -> (Nat, SocketAddrV4) {
    let mut nat = Nat::new(small(1, 1));
    let port = nat.open(1).unwrap();
    (nat, port)
}

/// The port is reused while the server still has the connection of its former user: it answers the
/// SYN with a challenge ACK, the client kills that with an RST and repeats its SYN.
#[test]
fn challenge_ack_trap() {
    let mut config = small(1, 1);
    config.pools[0].timers.hold_down_rst = Duration::ZERO;
    let mut nat = Nat::new(config);
    let port = nat.open(1).unwrap();
    // The server never gets this RST (lost behind the NAT); without hold-down the port is free.
    nat.abort(1).unwrap();
    assert_eq!(nat.used(Protocol::Tcp), (0, 0));

    nat.after(SECOND);
    let syn = segment(SYN, 500_000, 0, 0);
    assert_eq!(nat.send(2, syn).unwrap().source, port);
    // The server's ACK is of the old connection: its next byte, its expected byte.
    let challenge = segment(ACK, SERVER_ISN + 1, CLIENT_ISN + 1, 0);
    let to_client = nat.answer(port, challenge).unwrap();
    assert_eq!(to_client.destination, crate::harness::client(2));
    assert_eq!(nat.state(port), Some(State::HalfOpen));
    // The client rejects it: RST with the sequence it was told to expect.
    nat.send(2, segment(RST, CLIENT_ISN + 1, 0, 0)).unwrap();
    assert_eq!(nat.state(port), Some(State::HalfOpen));
    assert_eq!(nat.used(Protocol::Tcp), (1, 0), "exactly one owner");
    assert_eq!(
        nat.open(3),
        Err(NatError::PortsExhausted),
        "exactly one owner"
    );
    // Neither packet refreshed the binding: it still ends 30 s after the SYN.
    assert_eq!(nat.binding(port).unwrap().last.as_nanos(), SECOND);
    // The server has dropped the old connection and answers the repeated SYN.
    nat.after(SECOND);
    assert_eq!(nat.send(2, syn).unwrap().source, port);
    nat.answer(port, segment(SYN_ACK, 900_000, 500_001, 0))
        .unwrap();
    nat.send(2, segment(ACK, 500_001, 900_001, 0)).unwrap();
    assert_eq!(nat.state(port), Some(State::Established));
    assert_eq!(nat.engine.bindings().count(), 1);
    assert_eq!(nat.usage(Protocol::Tcp)[0].binds, 2);
    // And it lives as long as any other.
    nat.after(300 * SECOND - 1).timeout();
    assert_eq!(nat.state(port), Some(State::Established));
}

#[test]
fn blind_resets_pass_and_change_nothing() {
    for from_client in [true, false] {
        let (mut nat, port) = connected();
        nat.after(100 * SECOND);
        for sequence in [0, 1, CLIENT_ISN, SERVER_ISN, CLIENT_ISN + 2, SERVER_ISN + 2] {
            let blind = segment(RST, sequence, 0, 0);
            let got = if from_client {
                nat.send(1, blind)
            } else {
                nat.answer(port, blind)
            };
            assert!(got.is_ok(), "forwarded");
            assert_eq!(nat.state(port), Some(State::Established));
        }
        // Nor did they refresh.
        nat.at(300 * SECOND - 1).timeout();
        assert_eq!(nat.engine.active_flows(), 1);
        nat.after(1).timeout();
        assert_eq!(nat.engine.active_flows(), 0);
    }
}

#[test]
fn a_reset_is_valid_at_the_last_acknowledgement_or_at_the_end_of_what_was_sent() {
    let acked = CLIENT_ISN.wrapping_add(51);
    let sent = CLIENT_ISN.wrapping_add(101);
    for (sequence, valid) in [
        (acked, true),
        (sent, true),
        (acked + 1, false),
        (sent + 1, false),
    ] {
        let (mut nat, port) = connected();
        let first = segment(ACK, CLIENT_ISN + 1, SERVER_ISN + 1, 50);
        nat.send(1, first).unwrap();
        nat.answer(port, segment(ACK, SERVER_ISN + 1, acked, 0))
            .unwrap();
        nat.send(1, segment(ACK, acked, SERVER_ISN + 1, 50))
            .unwrap();
        nat.send(1, segment(RST, sequence, 0, 0)).unwrap();
        let expected = if valid {
            State::Reset
        } else {
            State::Established
        };
        assert_eq!(nat.state(port), Some(expected), "{sequence}");
    }
    // The server's, before and after the client acknowledged anything.
    let mut nat = Nat::new(small(1, 1));
    let port = nat.send(1, segment(SYN, CLIENT_ISN, 0, 0)).unwrap().source;
    nat.answer(port, segment(SYN_ACK, SERVER_ISN, CLIENT_ISN + 1, 0))
        .unwrap();
    nat.answer(port, segment(RST, SERVER_ISN + 1, 0, 0))
        .unwrap();
    assert_eq!(nat.state(port), Some(State::Reset));
}

#[test]
fn a_refusal_is_valid_only_if_it_names_the_syn() {
    let mut nat = Nat::new(small(1, 1));
    let port = nat.send(1, segment(SYN, CLIENT_ISN, 0, 0)).unwrap().source;
    let others = [
        segment(RST_ACK, 0, CLIENT_ISN, 0),
        segment(RST_ACK, 0, CLIENT_ISN + 2, 0),
        segment(RST, 0, CLIENT_ISN + 1, 0),
    ];
    for other in others {
        nat.answer(port, other).unwrap();
        assert_eq!(nat.state(port), Some(State::HalfOpen));
    }
    nat.answer(port, segment(RST_ACK, 0, CLIENT_ISN + 1, 0))
        .unwrap();
    assert_eq!(nat.state(port), Some(State::Refused));
    // A stray packet does not make a connection of what never was one; a new SYN tries again.
    nat.send(1, segment(ACK, CLIENT_ISN + 1, 0, 0)).unwrap();
    nat.answer(port, segment(ACK, 0, CLIENT_ISN + 1, 0))
        .unwrap();
    assert_eq!(nat.state(port), Some(State::Refused));
    nat.after(SECOND);
    assert_eq!(
        nat.send(1, segment(SYN, CLIENT_ISN, 0, 0)).unwrap().source,
        port
    );
    assert_eq!(nat.state(port), Some(State::HalfOpen));
}

#[test]
fn a_client_that_gives_up_frees_its_port_after_16_s() {
    let mut nat = Nat::new(small(1, 1));
    nat.send(1, segment(SYN, CLIENT_ISN, 0, 0)).unwrap();
    nat.send(1, segment(RST, CLIENT_ISN + 1, 0, 0)).unwrap();
    assert_eq!(nat.used(Protocol::Tcp), (0, 1));
    nat.after(16 * SECOND);
    assert!(nat.open(2).is_ok());
}

#[test]
fn a_hold_down_that_ends_just_before_the_former_timer_ends_in_time() {
    // The half-open timer waits at 30 s, in a slot of its own by now.
    for tenth in 290..=296_u64 {
        let mut config = small(1, 1);
        config.pools[0].timers.hold_down_rst = Duration::from_millis(300);
        let mut nat = Nat::new(config);
        nat.send(1, segment(SYN, CLIENT_ISN, 0, 0)).unwrap();
        nat.at(tenth * SECOND / 10).timeout();
        nat.send(1, segment(RST, CLIENT_ISN + 1, 0, 0)).unwrap();
        nat.after(300_000_000 - 1).timeout();
        assert_eq!(nat.used(Protocol::Tcp), (0, 1));
        nat.after(1).timeout();
        assert_eq!(nat.used(Protocol::Tcp), (0, 0), "{tenth}");
    }
}

#[test]
fn data_after_a_reset_revives_the_binding() {
    for from_client in [true, false] {
        let (mut nat, port) = connected();
        nat.abort(1).unwrap();
        assert_eq!(nat.state(port), Some(State::Reset));
        assert_eq!(nat.engine.active_flows(), 0);
        nat.after(16 * SECOND - 1);
        let got = if from_client {
            nat.send(1, segment(ACK, CLIENT_ISN + 1, SERVER_ISN + 1, 10))
        } else {
            nat.answer(port, segment(ACK, SERVER_ISN + 1, CLIENT_ISN + 1, 10))
        };
        assert!(got.is_ok());
        assert_eq!(nat.state(port), Some(State::Established));
        assert_eq!(
            (nat.engine.active_flows(), nat.used(Protocol::Tcp)),
            (1, (1, 0))
        );
        nat.after(300 * SECOND - 1).timeout();
        assert_eq!(nat.engine.active_flows(), 1);
        nat.after(1).timeout();
        assert_eq!(nat.engine.active_flows(), 0);
    }
}

#[test]
fn a_second_reset_does_not_prolong_the_hold_down() {
    let (mut nat, _) = connected();
    nat.abort(1).unwrap();
    nat.after(10 * SECOND);
    nat.abort(1).unwrap();
    nat.at(16 * SECOND).timeout();
    assert_eq!(nat.used(Protocol::Tcp), (0, 0));
}

#[test]
fn half_close_keeps_the_established_timer_for_either_side() {
    for client_first in [true, false] {
        let (mut nat, port) = connected();
        if client_first {
            nat.send(1, segment(FIN, CLIENT_ISN + 1, SERVER_ISN + 1, 0))
                .unwrap();
            assert_eq!(nat.state(port), Some(State::ClientFin));
            // The server goes on sending, for hours.
            for round in 0..100 {
                nat.after(299 * SECOND);
                let sequence = SERVER_ISN + 1 + round * 10;
                nat.answer(port, segment(ACK, sequence, CLIENT_ISN + 2, 10))
                    .unwrap();
            }
            assert_eq!(nat.state(port), Some(State::ClientFin));
            nat.answer(port, segment(FIN, SERVER_ISN + 1_001, CLIENT_ISN + 2, 0))
                .unwrap();
        } else {
            nat.answer(port, segment(FIN, SERVER_ISN + 1, CLIENT_ISN + 1, 0))
                .unwrap();
            assert_eq!(nat.state(port), Some(State::ServerFin));
            // The FIN again is not a second one.
            nat.answer(port, segment(FIN, SERVER_ISN + 1, CLIENT_ISN + 1, 0))
                .unwrap();
            assert_eq!(nat.state(port), Some(State::ServerFin));
            nat.send(1, segment(FIN, CLIENT_ISN + 1, SERVER_ISN + 2, 0))
                .unwrap();
        }
        assert_eq!(nat.state(port), Some(State::Closed));
        assert_eq!(nat.used(Protocol::Tcp), (0, 1));
    }
}

#[test]
fn a_closed_binding_still_translates_both_ways_and_is_not_prolonged() {
    let (mut nat, port) = connected();
    nat.close(1, port).unwrap();
    nat.after(64 * SECOND);
    let last_ack = segment(ACK, CLIENT_ISN + 2, SERVER_ISN + 2, 0);
    assert_eq!(nat.send(1, last_ack).unwrap().source, port);
    let fin_again = segment(FIN, SERVER_ISN + 1, CLIENT_ISN + 2, 0);
    let back = nat.answer(port, fin_again).unwrap();
    assert_eq!(back.destination, crate::harness::client(1));
    assert!(nat.abort(1).is_ok());
    assert_eq!(nat.state(port), Some(State::Closed));
    nat.after(SECOND);
    assert_eq!(nat.send(1, last_ack), Err(NatError::NoFlow));
}

#[test]
fn a_new_syn_reopens_a_held_binding_on_its_port() {
    for fin in [true, false] {
        let (mut nat, port) = connected();
        if fin {
            nat.close(1, port).unwrap();
        } else {
            nat.abort(1).unwrap();
        }
        nat.after(10 * SECOND);
        let syn = segment(SYN, 77, 0, 0);
        assert_eq!(nat.send(1, syn).unwrap().source, port);
        assert_eq!(nat.state(port), Some(State::HalfOpen));
        assert_eq!(nat.used(Protocol::Tcp), (1, 0));
        assert_eq!(nat.usage(Protocol::Tcp)[0].binds, 1);
        // An answer to the former connection's SYN is not one to this.
        nat.answer(port, segment(SYN_ACK, 5, CLIENT_ISN + 1, 0))
            .unwrap();
        assert_eq!(nat.state(port), Some(State::HalfOpen));
        nat.answer(port, segment(SYN_ACK, 5, 78, 0)).unwrap();
        assert_eq!(nat.state(port), Some(State::Established));
        // Half-open again, it would have ended after 30 s.
        nat.after(31 * SECOND).timeout();
        assert_eq!(nat.used(Protocol::Tcp), (1, 0));
    }
}

#[test]
fn a_reopened_attempt_ends_after_30_s_although_the_hold_down_was_longer() {
    let (mut nat, port) = connected();
    nat.close(1, port).unwrap();
    nat.after(SECOND);
    nat.send(1, segment(SYN, 77, 0, 0)).unwrap();
    nat.after(30 * SECOND - 1).timeout();
    assert_eq!(nat.used(Protocol::Tcp), (1, 0));
    nat.after(1).timeout();
    assert_eq!(nat.used(Protocol::Tcp), (0, 0));
}

#[test]
fn another_syn_on_a_half_open_binding_is_a_new_attempt() {
    let mut nat = Nat::new(small(1, 1));
    let port = nat.send(1, segment(SYN, 10, 0, 0)).unwrap().source;
    assert_eq!(nat.send(1, segment(SYN, 5_000, 0, 0)).unwrap().source, port);
    nat.answer(port, segment(SYN_ACK, 1, 11, 0)).unwrap();
    assert_eq!(
        nat.state(port),
        Some(State::HalfOpen),
        "the answer to the first"
    );
    nat.answer(port, segment(SYN_ACK, 1, 5_001, 0)).unwrap();
    assert_eq!(nat.state(port), Some(State::Established));
}

#[test]
fn a_syn_on_an_established_binding_is_forwarded_and_changes_nothing() {
    let (mut nat, port) = connected();
    assert_eq!(nat.send(1, segment(SYN, 5_000, 0, 0)).unwrap().source, port);
    assert_eq!(nat.state(port), Some(State::Established));
    // Its sequence number does not validate an RST.
    nat.send(1, segment(RST, 5_001, 0, 0)).unwrap();
    assert_eq!(nat.state(port), Some(State::Established));
    // But the RST that answers the server's challenge does.
    nat.answer(port, segment(ACK, SERVER_ISN + 1, CLIENT_ISN + 1, 0))
        .unwrap();
    nat.send(1, segment(RST, CLIENT_ISN + 1, 0, 0)).unwrap();
    assert_eq!(nat.state(port), Some(State::Reset));
    nat.send(1, segment(SYN, 5_000, 0, 0)).unwrap();
    nat.answer(port, segment(SYN_ACK, 1, 5_001, 0)).unwrap();
    assert_eq!(nat.state(port), Some(State::Established));
}

#[test]
fn syn_ack_may_acknowledge_data_of_the_syn() {
    for (acknowledged, accepted) in [(1, true), (11, true), (12, false), (0, false)] {
        let mut nat = Nat::new(small(1, 1));
        let port = nat.send(1, segment(SYN, CLIENT_ISN, 0, 10)).unwrap().source;
        nat.answer(port, segment(SYN_ACK, 1, CLIENT_ISN + acknowledged, 0))
            .unwrap();
        let established = nat.state(port) == Some(State::Established);
        assert_eq!(established, accepted, "{acknowledged}");
    }
}

#[test]
fn the_server_cannot_open_a_connection() {
    let mut nat = Nat::new(small(1, 1));
    let port = nat.send(1, segment(SYN, CLIENT_ISN, 0, 0)).unwrap().source;
    nat.answer(port, segment(SYN, 1, 0, 0)).unwrap();
    assert_eq!(nat.state(port), Some(State::HalfOpen));
    let unbound = SocketAddrV4::new(*port.ip(), 1_025);
    assert_eq!(
        nat.answer(unbound, segment(SYN, 1, 0, 0)),
        Err(NatError::NoFlow)
    );
}

#[test]
fn without_hold_down_a_port_is_free_at_the_second_fin() {
    let mut config = small(1, 1);
    config.pools[0].timers.hold_down_fin = Duration::ZERO;
    let mut nat = Nat::new(config);
    let port = nat.open(1).unwrap();
    // The FIN that ends it is still translated.
    nat.close(1, port).unwrap();
    assert_eq!(nat.used(Protocol::Tcp), (0, 0));
    assert_eq!(nat.open(2), Ok(port));
}

#[test]
fn a_reset_connection_is_revived_only_within_the_flow_limit() {
    let mut config = small(1, 2);
    config.flow_limit = Some(1);
    let mut nat = Nat::new(config);
    let port = nat.open(1).unwrap();
    nat.abort(1).unwrap();
    let other = nat.open(2).unwrap();
    let data = segment(ACK, CLIENT_ISN + 1, SERVER_ISN + 1, 10);
    assert!(nat.send(1, data).is_ok(), "the packet passes");
    assert_eq!(nat.state(port), Some(State::Reset));
    assert_eq!(nat.used(Protocol::Tcp), (1, 1));
    nat.close(2, other).unwrap();
    nat.send(1, data).unwrap();
    assert_eq!(nat.state(port), Some(State::Established));
}
