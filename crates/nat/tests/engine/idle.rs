//! Times to the nanosecond.

use crate::harness::{
    ACK, BACKEND, CLIENT_ISN, FIN, Nat, RST, SECOND, SERVER_ISN, SERVICE, SYN, SYN_ACK, client,
    endpoint, segment, small,
};
use core::net::SocketAddrV4;
use plsim_nat::{NatError, OnIdle, Reset, Sender, State};
use plsim_types::{Direction, Duration, Instant, LinkId, Protocol};

const IDLE: u64 = 300 * SECOND;

fn data_of_client(nat: &mut Nat, number: u32) -> Result<(), NatError> {
    let packet = segment(ACK, CLIENT_ISN + 1, SERVER_ISN + 1, 0);
    nat.send(number, packet).map(|_| ())
}

fn data_of_server(nat: &mut Nat, port: SocketAddrV4) -> Result<(), NatError> {
    let packet = segment(ACK, SERVER_ISN + 1, CLIENT_ISN + 1, 0);
    nat.answer(port, packet).map(|_| ())
}

#[test]
fn tcp_binding_idles_out_300_s_after_its_last_packet_of_either_side() {
    for from_client in [true, false] {
        for alive in [true, false] {
            let mut nat = Nat::new(small(1, 4));
            let port = nat.open(1).unwrap();
            nat.after(100 * SECOND);
            data_of_server(&mut nat, port).unwrap();
            nat.after(IDLE - u64::from(alive));
            // No `handle_timeout`: the look-up itself must know.
            let got = if from_client {
                data_of_client(&mut nat, 1)
            } else {
                data_of_server(&mut nat, port)
            };
            if alive {
                assert_eq!(got, Ok(()), "at 299.999999999 s");
                assert!(nat.resets().is_empty());
            } else {
                assert_eq!(got, Err(NatError::NoFlow), "at 300.000000000 s");
                assert_eq!(nat.resets().len(), 2);
                assert_eq!(nat.used(Protocol::Tcp), (0, 0));
            }
        }
    }
}

#[test]
fn udp_binding_idles_out_300_s_after_its_last_packet_of_either_side() {
    let service = SocketAddrV4::new(BACKEND, SERVICE);
    let mut nat = Nat::new(small(1, 4));
    let port = nat.datagram(1).unwrap().source;
    nat.after(IDLE - 1);
    assert!(nat.answer_from(service, port, None).is_ok());
    nat.after(IDLE - 1);
    assert_eq!(nat.datagram(1).unwrap().source, port);
    nat.after(IDLE);
    let late = nat.answer_from(service, port, None);
    assert_eq!(late, Err(NatError::NoFlow));
    assert!(nat.resets().is_empty());
    assert_eq!(nat.usage(Protocol::Udp)[0].expired_idle, 1);
    assert_eq!(nat.used(Protocol::Udp), (0, 0));
}

#[test]
fn a_driver_that_sleeps_until_poll_timeout_expires_at_300_s_exactly() {
    let mut nat = Nat::new(small(1, 4));
    nat.at(123_456_789);
    nat.open(1).unwrap();
    let deadline = nat.now + IDLE;
    while let Some(wake) = nat.engine.poll_timeout() {
        assert_eq!(nat.engine.active_flows(), 1);
        nat.at(wake.as_nanos()).timeout();
    }
    assert_eq!(nat.now, deadline);
    assert_eq!(nat.engine.active_flows(), 0);
}

#[test]
fn keepalive_every_299_s_keeps_a_flow_for_ten_days() {
    let mut nat = Nat::new(small(1, 4));
    let port = nat.open(1).unwrap();
    while nat.now < 10 * 86_400 * SECOND {
        // The driver wakes whenever the engine asks, as a kernel would.
        let next = nat.now + 299 * SECOND;
        while let Some(wake) = nat.engine.poll_timeout().filter(|w| w.as_nanos() < next) {
            nat.at(wake.as_nanos()).timeout();
        }
        nat.at(next);
        data_of_client(&mut nat, 1).unwrap();
    }
    assert_eq!(nat.state(port), Some(State::Established));
    assert!(nat.resets().is_empty());
}

#[test]
fn a_scan_every_60_s_expires_240_s_idle_after_240_to_300_s() {
    for (last, expected) in [
        (0, 240),
        (1, 300),
        (59, 300),
        (60, 300),
        (61, 360),
        (119, 360),
    ] {
        let mut config = small(1, 4);
        config.pools[0].timers.established_idle = Duration::from_secs(240);
        config.pools[0].timers.idle_scan_interval = Some(Duration::from_secs(60));
        let mut nat = Nat::new(config);
        nat.at(last * SECOND);
        nat.open(1).unwrap();
        nat.at(expected * SECOND - 1).timeout();
        assert_eq!(nat.engine.active_flows(), 1, "{last}");
        nat.after(1).timeout();
        assert_eq!(nat.engine.active_flows(), 0, "{last}");
    }
}

#[test]
fn half_open_expires_silently_30_s_after_the_last_packet_of_the_client() {
    let mut nat = Nat::new(small(1, 1));
    let syn = segment(SYN, CLIENT_ISN, 0, 0);
    nat.send(1, syn).unwrap();
    nat.at(20 * SECOND);
    nat.send(1, syn).unwrap();
    nat.at(50 * SECOND - 1).timeout();
    assert_eq!(nat.engine.active_flows(), 1);
    nat.at(50 * SECOND);
    // The port is free at that very instant.
    assert!(nat.send(2, syn).is_ok());
    assert!(nat.resets().is_empty());
    let usage = nat.usage(Protocol::Tcp)[0];
    assert_eq!((usage.expired_half_open, usage.expired_idle), (1, 0));
}

#[test]
fn hold_down_lasts_65_s_after_both_fins_and_16_s_after_an_rst() {
    for (fin, hold) in [(true, 65 * SECOND), (false, 16 * SECOND)] {
        let mut nat = Nat::new(small(1, 1));
        let port = nat.open(1).unwrap();
        nat.after(SECOND);
        if fin {
            nat.close(1, port).unwrap();
        } else {
            nat.abort(1).unwrap();
        }
        assert_eq!(
            (nat.engine.active_flows(), nat.used(Protocol::Tcp)),
            (0, (0, 1))
        );
        nat.after(hold - 1);
        assert_eq!(nat.open(2), Err(NatError::PortsExhausted));
        nat.after(1);
        assert_eq!(nat.open(2), Ok(port));
        assert!(nat.resets().is_empty());
    }
}

#[test]
fn an_idle_reset_carries_the_last_acknowledgement_of_each_receiver() {
    let mut nat = Nat::new(small(1, 1));
    let port = nat.open(1).unwrap();
    // 100 bytes from the client, across the wrap, acknowledged; 40 from the server, acknowledged;
    // 30 more from the server, never acknowledged.
    let sent = CLIENT_ISN.wrapping_add(101);
    nat.send(1, segment(ACK, CLIENT_ISN + 1, SERVER_ISN + 1, 100))
        .unwrap();
    nat.answer(port, segment(ACK, SERVER_ISN + 1, sent, 40))
        .unwrap();
    nat.send(1, segment(ACK, sent, SERVER_ISN + 41, 0)).unwrap();
    nat.answer(port, segment(ACK, SERVER_ISN + 41, sent, 30))
        .unwrap();
    // An old acknowledgement that was overtaken, and one of bytes nobody sent.
    nat.send(1, segment(ACK, sent, SERVER_ISN + 1, 0)).unwrap();
    nat.answer(port, segment(ACK, SERVER_ISN + 41, sent.wrapping_add(9), 0))
        .unwrap();
    nat.after(IDLE).timeout();
    let backend = SocketAddrV4::new(BACKEND, SERVICE);
    let reset = |toward, source, destination, sequence| Reset {
        pls: crate::harness::PLS,
        link: Some(LinkId(1)),
        by: Sender::Nat,
        toward,
        source,
        destination,
        sequence,
        acknowledgement: None,
    };
    assert_eq!(
        nat.resets(),
        [
            reset(Direction::Original, port, backend, sent),
            reset(Direction::Reply, endpoint(), client(1), SERVER_ISN + 41),
        ]
    );
    assert_eq!(
        nat.used(Protocol::Tcp),
        (0, 0),
        "our own RST starts no hold-down"
    );
}

#[test]
fn an_idle_reset_before_any_acknowledgement_names_the_end_of_the_syn_ack() {
    let mut nat = Nat::new(small(1, 1));
    let port = nat.send(1, segment(SYN, CLIENT_ISN, 0, 0)).unwrap().source;
    nat.answer(port, segment(SYN_ACK, SERVER_ISN, CLIENT_ISN + 1, 0))
        .unwrap();
    nat.after(IDLE).timeout();
    let sequences: Vec<u32> = nat.resets().iter().map(|reset| reset.sequence).collect();
    assert_eq!(sequences, [CLIENT_ISN + 1, SERVER_ISN + 1]);
}

#[test]
fn a_half_closed_connection_idles_out_with_resets_too() {
    let mut nat = Nat::new(small(1, 1));
    let port = nat.open(1).unwrap();
    nat.send(1, segment(FIN, CLIENT_ISN + 1, SERVER_ISN + 1, 0))
        .unwrap();
    nat.answer(port, segment(ACK, SERVER_ISN + 1, CLIENT_ISN + 2, 0))
        .unwrap();
    nat.after(IDLE - 1).timeout();
    assert_eq!(nat.state(port), Some(State::ClientFin));
    nat.after(1).timeout();
    assert_eq!(nat.resets()[0].sequence, CLIENT_ISN + 2);
}

#[test]
fn silent_pools_send_no_reset() {
    let mut config = small(1, 1);
    config.pools[0].on_idle = OnIdle::Silent;
    let mut nat = Nat::new(config);
    nat.open(1).unwrap();
    nat.after(IDLE).timeout();
    assert!(nat.resets().is_empty());
    assert_eq!(nat.usage(Protocol::Tcp)[0].expired_idle, 1);
}

#[test]
fn a_syn_at_the_deadline_is_a_new_flow_after_the_resets_of_the_old_one() {
    let mut nat = Nat::new(small(1, 1));
    nat.open(1).unwrap();
    nat.after(IDLE);
    nat.open(1).unwrap();
    assert_eq!(nat.resets().len(), 2);
    assert_eq!(nat.usage(Protocol::Tcp)[0].binds, 2);
}

#[test]
fn spurious_timeouts_change_nothing() {
    let mut nat = Nat::new(small(1, 4));
    assert_eq!(nat.engine.poll_timeout(), None);
    nat.timeout();
    let port = nat.open(1).unwrap();
    let before = format!("{:?}", nat.engine);
    for _ in 0..10 {
        nat.timeout();
    }
    assert_eq!(format!("{:?}", nat.engine), before);
    nat.abort(1).unwrap();
    nat.answer(port, segment(RST, 1, 0, 0)).unwrap();
    nat.after(16 * SECOND).timeout();
    assert_eq!(nat.engine.poll_timeout(), None);
}

#[test]
fn many_bindings_end_in_the_order_of_their_deadlines() {
    let mut nat = Nat::new(small(1, 1_000));
    for number in 0..1_000 {
        nat.at(u64::from(number) * 7_777_777).open(number).unwrap();
    }
    nat.after(2 * IDLE).timeout();
    let clients: Vec<_> = nat.resets().iter().map(|reset| reset.destination).collect();
    let expected: Vec<_> = (0..1_000).map(client).collect();
    let to_clients: Vec<_> = clients.into_iter().skip(1).step_by(2).collect();
    assert_eq!(to_clients, expected);
    assert_eq!(nat.instant(), Instant::from_nanos(nat.now));
}

#[test]
fn the_first_flow_that_idles_out_is_told_and_no_attempt_is() {
    let mut nat = Nat::new(small(1, 10));
    nat.send(3, segment(SYN, CLIENT_ISN, 0, 0)).unwrap();
    nat.after(30 * SECOND).timeout();
    assert_eq!(nat.usage(Protocol::Tcp)[0].expired_half_open, 1);
    assert_eq!(nat.usage(Protocol::Tcp)[0].first_expired, None);
    nat.open(1).unwrap();
    nat.after(SECOND).open(2).unwrap();
    let first = nat.now - SECOND + IDLE;
    nat.after(2 * IDLE).timeout();
    assert_eq!(nat.usage(Protocol::Tcp)[0].expired_idle, 2);
    assert_eq!(
        nat.usage(Protocol::Tcp)[0].first_expired,
        Some(Instant::from_nanos(first))
    );
}

#[test]
fn the_peak_is_told_with_the_instant_at_which_it_was_first_reached() {
    let mut nat = Nat::new(small(1, 10));
    for number in [1, 2] {
        nat.after(SECOND).datagram(number).unwrap();
    }
    nat.after(IDLE).timeout();
    for number in [3, 4] {
        nat.after(SECOND).datagram(number).unwrap();
    }
    let usage = nat.usage(Protocol::Udp)[0];
    assert_eq!(usage.peak, 2);
    assert_eq!(usage.peak_at, Some(Instant::from_nanos(2 * SECOND)));
}

#[test]
fn ports_held_down_at_the_first_exhaustion_are_told() {
    let mut nat = Nat::new(small(1, 3));
    for number in [1, 2] {
        let port = nat.open(number).unwrap();
        nat.close(number, port).unwrap();
    }
    assert_eq!(nat.usage(Protocol::Tcp)[0].held_when_exhausted, 0);
    nat.after(SECOND).open(3).unwrap();
    let usage = nat.usage(Protocol::Tcp)[0];
    assert_eq!(usage.held_when_exhausted, 2);
    assert_eq!(usage.first_exhausted, Some(nat.instant()));
    // What becomes of them later is another matter.
    nat.after(65 * SECOND).timeout();
    let usage = nat.usage(Protocol::Tcp)[0];
    assert_eq!((usage.held, usage.held_when_exhausted), (0, 2));
}
