//! The clauses of the RFCs about TCP, as tables: a segment, and the state that it leaves.

use crate::harness::{
    ACK, CLIENT_ISN, FIN, Line, Nat, RST, RST_ACK, SECOND, SYN, SYN_ACK, c, nat_ip, s, segment,
    small,
};
use core::net::SocketAddrV4;
use plsim_nat::{NatError, State};
use plsim_types::Protocol;

const OPEN: State = State::Established;

fn one_port() -> Nat {
    Nat::new(small(1, 1))
}

/// The handshake, and what it leaves.
fn handshake() -> [(Line, State); 3] {
    [
        (c(SYN, 0, 0), State::HalfOpen),
        (s(SYN_ACK, 0, 1), OPEN),
        (c(ACK, 1, 1), OPEN),
    ]
}

fn connected() -> Nat {
    let mut nat = one_port();
    nat.play(&handshake());
    nat
}

#[test]
fn rfc6146_3_5_2_2_syn_then_syn_ack_establishes() {
    one_port().play(&handshake());
}

#[test]
fn rfc6146_3_5_2_2_only_the_answer_to_the_syn_establishes() {
    one_port().play(&[
        (c(SYN, 0, 0), State::HalfOpen),
        (s(ACK, 0, 1), State::HalfOpen),
        (s(SYN_ACK, 0, 0), State::HalfOpen),
        (s(SYN_ACK, 0, 2), State::HalfOpen),
        (c(ACK, 1, 1), State::HalfOpen),
        (s(SYN_ACK, 0, 1), OPEN),
    ]);
}

#[test]
fn rfc6146_3_5_2_2_a_retransmitted_syn_keeps_binding_and_state() {
    let mut nat = one_port();
    nat.play(&[
        (c(SYN, 0, 0), State::HalfOpen),
        (c(SYN, 0, 0), State::HalfOpen),
        (s(SYN_ACK, 0, 1), OPEN),
        (s(SYN_ACK, 0, 1), OPEN),
        (c(SYN, 0, 0), OPEN),
        (s(SYN_ACK, 0, 1), OPEN),
        (c(ACK, 1, 1), OPEN),
        (s(RST, 1, 0), State::Reset),
    ]);
    assert_eq!(nat.usage(Protocol::Tcp)[0].binds, 1);
}

#[test]
fn rfc6146_3_5_2_2_the_first_fin_leads_to_c_fin_or_s_fin() {
    connected().play(&[(c(FIN, 1, 1), State::ClientFin)]);
    connected().play(&[(s(FIN, 1, 1), State::ServerFin)]);
}

#[test]
fn rfc6146_3_5_2_2_a_retransmitted_fin_is_not_the_other_sides() {
    connected().play(&[
        (c(FIN, 1, 1), State::ClientFin),
        (c(FIN, 1, 1), State::ClientFin),
        (s(ACK, 1, 2), State::ClientFin),
        (s(FIN, 1, 2), State::Closed),
        (s(FIN, 1, 2), State::Closed),
        (c(ACK, 2, 2), State::Closed),
    ]);
    connected().play(&[
        (s(FIN, 1, 1), State::ServerFin),
        (s(FIN, 1, 1), State::ServerFin),
        (c(FIN, 1, 2), State::Closed),
        (c(FIN, 1, 2), State::Closed),
        (s(ACK, 2, 2), State::Closed),
    ]);
}

#[test]
fn rfc6146_3_5_2_2_an_rst_leads_to_trans_and_a_second_one_stays_there() {
    let reset = State::Reset;
    connected().play(&[(c(RST, 1, 0), reset), (c(RST, 1, 0), reset)]);
    connected().play(&[(s(RST, 1, 0), reset), (c(RST, 1, 0), reset)]);
    connected().play(&[(c(FIN, 1, 1), State::ClientFin), (s(RST, 1, 0), reset)]);
    connected().play(&[(s(FIN, 1, 1), State::ServerFin), (c(RST, 1, 0), reset)]);
}

#[test]
fn rfc6146_3_5_2_2_a_syn_reopens_what_is_closing() {
    let closed = [
        (c(FIN, 1, 1), State::ClientFin),
        (s(FIN, 1, 2), State::Closed),
    ];
    let reset = [(c(RST, 1, 0), State::Reset)];
    for ending in [&closed[..], &reset[..]] {
        connected().play(ending).play(&[
            (c(SYN, 9_000, 0), State::HalfOpen),
            // What is left of the former connection changes nothing.
            (s(SYN_ACK, 0, 1), State::HalfOpen),
            (s(ACK, 2, 2), State::HalfOpen),
            (c(RST, 2, 0), State::HalfOpen),
            (s(SYN_ACK, 50_000, 9_001), OPEN),
            (c(FIN, 9_001, 50_001), State::ClientFin),
        ]);
    }
}

#[test]
fn rfc7857_2_the_state_machine() {
    let (client, server) = (State::ClientFin, State::ServerFin);
    let (closed, reset) = (State::Closed, State::Reset);
    // What leads to a state, and where data, FIN and a valid RST of each side lead from there.
    type Script<'a> = &'a [(Line, State)];
    let table: [(Script<'_>, [State; 6]); 5] = [
        (&[], [OPEN, OPEN, client, server, reset, reset]),
        (
            &[(c(FIN, 1, 1), client)],
            [client, client, client, closed, reset, reset],
        ),
        (
            &[(s(FIN, 1, 1), server)],
            [server, server, closed, server, reset, reset],
        ),
        (
            &[(c(FIN, 1, 1), client), (s(FIN, 1, 1), closed)],
            [closed, closed, closed, closed, closed, closed],
        ),
        (
            &[(c(RST, 1, 0), reset)],
            [OPEN, OPEN, client, server, reset, reset],
        ),
    ];
    for (before, after) in table {
        let segments = [
            c(ACK, 1, 1).with(5),
            s(ACK, 1, 1).with(5),
            c(FIN, 1, 1),
            s(FIN, 1, 1),
            c(RST, 1, 0),
            s(RST, 1, 0),
        ];
        for (segment, expected) in segments.into_iter().zip(after) {
            connected().play(before).play(&[(segment, expected)]);
        }
    }
}

#[test]
fn rfc7857_2_2_data_after_rst_revives() {
    for data in [
        c(ACK, 1, 1).with(1),
        s(ACK, 1, 1).with(1),
        c(ACK, 1, 1),
        s(ACK, 1, 1),
    ] {
        let mut nat = connected();
        nat.play(&[(c(RST, 1, 0), State::Reset), (data, OPEN)]);
        assert_eq!(nat.used(Protocol::Tcp), (1, 0));
    }
}

#[test]
fn rfc7857_2_2_the_state_outlives_an_rst() {
    let mut nat = connected();
    nat.play(&[(c(RST, 1, 0), State::Reset)]);
    nat.after(16 * SECOND - 1).timeout();
    assert_eq!(nat.used(Protocol::Tcp), (0, 1));
    nat.after(1).timeout();
    assert_eq!(nat.used(Protocol::Tcp), (0, 0));
}

#[test]
fn rfc5961_3_2_blind_rst_is_ignored() {
    // Below, above, far away; with ACK or without; from either side.
    for flags in [RST, RST_ACK] {
        for number in [0, 2, 3, 1_000, 1 << 31, u32::MAX] {
            connected().play(&[(c(flags, number, 1), OPEN), (s(flags, number, 1), OPEN)]);
            connected().play(&[
                (c(FIN, 1, 1), State::ClientFin),
                (s(flags, number.wrapping_add(7), 2), State::ClientFin),
            ]);
        }
    }
}

#[test]
fn rfc5961_3_2_the_exact_rst_is_taken() {
    connected().play(&[
        (c(ACK, 1, 1).with(40), OPEN),
        (s(ACK, 1, 21), OPEN),
        (c(RST, 20, 0), OPEN),
        (c(RST, 22, 0), OPEN),
        (c(RST, 21, 0), State::Reset),
    ]);
    connected().play(&[(c(ACK, 1, 1).with(40), OPEN), (c(RST, 41, 0), State::Reset)]);
}

#[test]
fn rfc5961_3_2_windows_are_not_followed_but_the_true_ends_revive_what_a_forger_held_down() {
    // 16 MiB that nobody has acknowledged may be in flight, one byte more may not.
    let far = 1 << 24;
    connected().play(&[
        (c(ACK, far - 9, 1).with(10), OPEN),
        (c(RST, far + 1, 1), State::Reset),
        (s(ACK, 1, 1), OPEN),
    ]);
    connected().play(&[
        (c(ACK, far - 8, 1).with(10), OPEN),
        (c(RST, far + 2, 1), OPEN),
        // Acknowledged it is what the server expects, however much it was.
        (s(ACK, 1, far + 2), OPEN),
        (c(RST, far + 2, 1), State::Reset),
    ]);
    connected().play(&[
        (s(ACK, far - 8, 1).with(10), OPEN),
        (s(RST, far + 2, 1), OPEN),
        (c(ACK, 1, far + 2), OPEN),
        (s(RST, far + 2, 1), State::Reset),
    ]);
}

#[test]
fn rfc7323_2_3_data_from_beyond_the_largest_window_moves_nothing() {
    let window = 1 << 30;
    for (end, moves) in [(window + 1, true), (window + 2, false)] {
        let after = if moves { State::Reset } else { OPEN };
        connected().play(&[
            (c(ACK, end - 10, 1).with(10), OPEN),
            // The server's acknowledgement is one of what was sent, or of nothing.
            (s(ACK, 1, end), OPEN),
            (c(RST, end, 1), after),
        ]);
    }
}

#[test]
fn rfc5961_5_2_data_with_an_acknowledgement_of_nothing_sent_moves_nothing() {
    let before = 1_u32.wrapping_sub(1 << 30);
    for (acknowledgement, moves) in [
        (1, true),
        (2, false),
        (1 << 31, false),
        (before, true),
        (before.wrapping_sub(1), false),
    ] {
        let after = if moves { State::Reset } else { OPEN };
        connected().play(&[
            (c(ACK, 1, acknowledgement).with(10), OPEN),
            (c(RST, 11, 0), after),
        ]);
        connected().play(&[
            (s(ACK, 1, acknowledgement).with(10), OPEN),
            (s(RST, 11, 0), after),
        ]);
    }
}

#[test]
fn rfc5961_5_2_a_fin_with_an_acknowledgement_of_nothing_sent_closes_nothing() {
    connected().play(&[
        (c(FIN, 1, 2), OPEN),
        (s(FIN, 1, 2), OPEN),
        (c(FIN, 1, 1), State::ClientFin),
        (s(FIN, 1, 3), State::ClientFin),
        (s(FIN, 1, 2), State::Closed),
    ]);
}

#[test]
fn what_a_full_vm_lets_pass_after_an_rst_is_counted_all_the_same() {
    let mut config = small(1, 2);
    config.flow_limit = Some(1);
    let mut nat = Nat::new(config);
    let port = nat.open(1).unwrap();
    nat.abort(1).unwrap();
    let other = nat.open(2).unwrap();
    // The RST was not taken: both sides go on, but there is no room to revive them.
    let first = CLIENT_ISN.wrapping_add(1);
    nat.send(1, segment(ACK, first, 7_001, 10)).unwrap();
    nat.answer(port, segment(ACK, 7_001, first.wrapping_add(10), 20))
        .unwrap();
    assert_eq!(nat.state(port), Some(State::Reset));
    nat.close(2, other).unwrap();
    nat.send(1, segment(ACK, first.wrapping_add(10), 7_021, 0))
        .unwrap();
    assert_eq!(nat.state(port), Some(OPEN));
    nat.answer(port, segment(RST, 7_021, 0, 0)).unwrap();
    assert_eq!(nat.state(port), Some(State::Reset));
}

#[test]
fn rfc5961_4_a_syn_on_a_live_connection_is_challenged_and_the_rst_for_that_is_taken() {
    connected().play(&[
        (c(SYN, 9_000, 0), OPEN),
        (s(ACK, 1, 1), OPEN),
        // Not an RST that a stranger could guess from the SYN that it forged.
        (c(RST, 9_000, 0), OPEN),
        (c(RST, 9_001, 0), OPEN),
        (c(RST, 1, 0), State::Reset),
        (c(SYN, 9_000, 0), State::HalfOpen),
        (s(SYN_ACK, 50_000, 9_001), OPEN),
        (c(ACK, 9_001, 50_001), OPEN),
    ]);
}

#[test]
fn rfc5961_4_a_forged_syn_harms_nothing() {
    connected().play(&[
        (c(SYN, 9_000, 0), OPEN),
        (s(ACK, 1, 1), OPEN),
        // The true client takes the challenge for an old acknowledgement and goes on.
        (c(ACK, 1, 1).with(10), OPEN),
        (s(ACK, 1, 11).with(10), OPEN),
        (c(RST, 9_001, 0), OPEN),
        (s(RST, 50_000, 9_001), OPEN),
        (s(SYN_ACK, 50_000, 9_002), OPEN),
        (c(RST, 11, 0), State::Reset),
    ]);
}

#[test]
fn rfc9293_3_10_7_4_a_server_that_takes_a_syn_on_top_has_a_new_connection() {
    let half: [&[(Line, State)]; 3] = [
        &[],
        &[(c(FIN, 1, 1), State::ClientFin)],
        &[(s(FIN, 1, 1), State::ServerFin)],
    ];
    for before in half {
        let state = before.last().map_or(OPEN, |line| line.1);
        connected().play(before).play(&[
            (c(SYN, 9_000, 0), state),
            (s(SYN_ACK, 50_000, 9_001), OPEN),
            // The numbers are the new connection's.
            (s(RST, 1, 0), OPEN),
            (c(RST, 1, 0), OPEN),
            (c(ACK, 9_001, 50_001).with(10), OPEN),
            (s(ACK, 50_001, 9_011), OPEN),
            (s(RST, 50_001, 0), State::Reset),
        ]);
    }
}

#[test]
fn rfc9293_3_10_7_4_data_of_the_syn_on_top_counts_when_it_is_taken() {
    // The server has acknowledged none of the ten bytes yet; the client resets behind them.
    connected().play(&[
        (c(SYN, 9_000, 0).with(10), OPEN),
        (s(SYN_ACK, 50_000, 9_001), OPEN),
        (c(RST, 9_012, 0), OPEN),
        (c(RST, 9_011, 0), State::Reset),
    ]);
}

#[test]
fn rfc9293_3_10_7_1_a_server_without_the_connection_refuses_the_syn_on_top() {
    connected().play(&[
        (c(SYN, 9_000, 0), OPEN),
        (s(RST_ACK, 50_000, 9_000), OPEN),
        (s(RST_ACK, 50_000, 9_002), OPEN),
        (s(RST, 50_000, 9_001), OPEN),
        (s(RST_ACK, 50_000, 9_001), State::Reset),
    ]);
}

#[test]
fn rfc9293_3_10_7_1_a_syn_with_data_is_refused_at_its_end() {
    for (acknowledged, after) in [
        (0, State::HalfOpen),
        (1, State::Refused),
        (11, State::Refused),
        (12, State::HalfOpen),
    ] {
        one_port().play(&[
            (c(SYN, 0, 0).with(10), State::HalfOpen),
            (s(RST_ACK, 0, acknowledged), after),
        ]);
    }
}

#[test]
fn rfc5382_req2_simultaneous_close() {
    // The FINs cross; the last acknowledgements come in either order.
    for client_first in [true, false] {
        let mut acks = [(c(ACK, 2, 2), State::Closed), (s(ACK, 2, 2), State::Closed)];
        if !client_first {
            acks.reverse();
        }
        connected()
            .play(&[
                (c(FIN, 1, 1), State::ClientFin),
                (s(FIN, 1, 1), State::Closed),
            ])
            .play(&acks);
    }
}

#[test]
fn rfc5382_req2_half_close_lets_the_other_side_go_on() {
    connected().play(&[
        (c(FIN, 1, 1), State::ClientFin),
        (s(ACK, 1, 2).with(100), State::ClientFin),
        (c(ACK, 2, 101), State::ClientFin),
        (s(ACK, 101, 2).with(100), State::ClientFin),
        (s(FIN, 201, 2), State::Closed),
        (c(ACK, 2, 202), State::Closed),
    ]);
}

#[test]
fn rfc5382_req2_a_fin_that_overtakes_data() {
    connected().play(&[
        (c(FIN, 11, 1), State::ClientFin),
        (c(ACK, 1, 1).with(10), State::ClientFin),
        (s(ACK, 1, 12), State::ClientFin),
        (s(FIN, 1, 12), State::Closed),
        // Late data is still translated.
        (s(ACK, 1, 12).with(10), State::Closed),
    ]);
}

#[test]
fn rfc5382_req2_simultaneous_open_does_not_happen() {
    // A service does not connect to a NAT IP; if it did, its SYN would open nothing.
    one_port().play(&[
        (c(SYN, 0, 0), State::HalfOpen),
        (s(SYN, 0, 0), State::HalfOpen),
        (c(SYN_ACK, 0, 1), State::HalfOpen),
        (s(SYN_ACK, 0, 1), OPEN),
    ]);
}

#[test]
fn rfc5382_req4_an_unsolicited_syn_of_the_backend_is_dropped_silently() {
    let mut nat = one_port();
    let unbound = SocketAddrV4::new(nat_ip(0), 1_024);
    let syn = segment(SYN, 1, 0, 0);
    assert_eq!(nat.answer(unbound, syn), Err(NatError::NoFlow));
    assert!(nat.resets().is_empty());
    assert_eq!(nat.engine.bindings().count(), 0);
}

#[test]
fn a_syn_repeated_without_its_data_is_the_same_attempt() {
    one_port().play(&[
        (c(SYN, 0, 0).with(100), State::HalfOpen),
        (c(SYN, 0, 0), State::HalfOpen),
        // The server had the first one.
        (s(SYN_ACK, 0, 101), OPEN),
    ]);
}

#[test]
fn only_the_server_can_take_a_syn_on_top() {
    let mut nat = connected();
    nat.play(&[(c(SYN, 9_000, 0), OPEN)]);
    let own = segment(SYN_ACK, 77, CLIENT_ISN.wrapping_add(9_001), 0);
    nat.send(1, own).unwrap();
    // The numbers are still those of the connection.
    nat.play(&[(s(RST, 1, 0), State::Reset)]);
}
