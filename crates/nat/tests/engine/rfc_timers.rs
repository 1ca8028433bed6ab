//! The clauses of the RFCs about time and about who may refresh.

use crate::harness::{
    ACK, BACKEND, FIN, Nat, PLS, RST, SECOND, SERVICE, SYN, SYN_ACK, c, nat_ip, s, segment, small,
};
use core::net::SocketAddrV4;
use plsim_nat::{HeldPorts, NatConfig, NatError, PoolConfig, State, Timers};
use plsim_types::{Duration, LinkId, Protocol, TcpFlags};

fn with(ports: u16, timers: Timers) -> NatConfig {
    let mut config = small(1, ports);
    config.pools[0].timers = timers;
    config
}

fn service() -> SocketAddrV4 {
    SocketAddrV4::new(BACKEND, SERVICE)
}

/// Checks that `used` is (in use, held) one nanosecond before, and nothing at, `seconds` from now.
fn ends_after(nat: &mut Nat, protocol: Protocol, seconds: u64, used: (u32, u32)) {
    nat.after(seconds * SECOND - 1).timeout();
    assert_eq!(nat.used(protocol), used, "just before {seconds} s");
    nat.after(1).timeout();
    assert_eq!(nat.used(protocol), (0, 0), "at {seconds} s");
}

#[test]
fn rfc4787_req5_a_udp_binding_lives_300_s_by_default() {
    for timers in [
        Timers::azure(),
        Timers {
            hold_down_udp: Duration::ZERO,
            ..Timers::rfc()
        },
    ] {
        let mut nat = Nat::new(with(1, timers));
        nat.datagram(1).unwrap();
        ends_after(&mut nat, Protocol::Udp, 300, (1, 0));
    }
}

#[test]
fn rfc4787_req6_packets_of_the_client_refresh_and_of_the_backend_as_configured() {
    for replies_refresh in [true, false] {
        let mut config = small(1, 1);
        config.pools[0].reply_refreshes = replies_refresh;
        let mut nat = Nat::new(config);
        let port = nat.datagram(1).unwrap().source;
        nat.after(299 * SECOND);
        nat.datagram(1).unwrap();
        nat.after(200 * SECOND);
        assert!(nat.answer_from(service(), port, None).is_ok(), "translated");
        let left = if replies_refresh { 300 } else { 100 };
        ends_after(&mut nat, Protocol::Udp, left, (1, 0));
    }
}

#[test]
fn rfc4787_req6_tcp_too_and_a_change_of_state_starts_its_timer() {
    let mut config = small(1, 1);
    config.pools[0].reply_refreshes = false;
    let mut nat = Nat::new(config);
    let open = State::Established;
    nat.play(&[(c(SYN, 0, 0), State::HalfOpen)]).after(SECOND);
    nat.play(&[(s(SYN_ACK, 0, 1), open)]).after(200 * SECOND);
    nat.play(&[(s(ACK, 1, 1).with(10), open)]);
    let port = SocketAddrV4::new(nat_ip(0), 1_024);
    assert_eq!(nat.binding(port).unwrap().last.as_nanos(), SECOND);
    nat.play(&[(s(FIN, 11, 1), State::ServerFin)]);
    ends_after(&mut nat, Protocol::Tcp, 300, (1, 0));
}

#[test]
fn rfc7857_7_1_an_rst_that_is_not_valid_refreshes_nothing() {
    let mut nat = Nat::new(small(1, 1));
    let open = State::Established;
    nat.play(&[(c(SYN, 0, 0), State::HalfOpen), (s(SYN_ACK, 0, 1), open)]);
    nat.after(200 * SECOND);
    nat.play(&[(c(RST, 77, 0), open), (s(RST, 77, 0), open)]);
    ends_after(&mut nat, Protocol::Tcp, 100, (1, 0));
}

#[test]
fn rfc5382_req5_the_rfc_preset_keeps_an_idle_connection_for_2_h_4_min() {
    let mut nat = Nat::new(with(1, Timers::rfc()));
    nat.open(1).unwrap();
    ends_after(&mut nat, Protocol::Tcp, 7_440, (1, 0));
}

#[test]
fn rfc5382_req5_the_rfc_preset_keeps_transitory_states_for_4_min() {
    let mut nat = Nat::new(with(1, Timers::rfc()));
    nat.play(&[(c(SYN, 0, 0), State::HalfOpen)]);
    ends_after(&mut nat, Protocol::Tcp, 240, (1, 0));
    let port = nat.open(1).unwrap();
    nat.close(1, port).unwrap();
    ends_after(&mut nat, Protocol::Tcp, 240, (0, 1));
    nat.open(1).unwrap();
    nat.abort(1).unwrap();
    ends_after(&mut nat, Protocol::Tcp, 240, (0, 1));
}

#[test]
fn rfc5382_req5_the_rfc_preset_keeps_a_half_closed_connection_as_an_open_one() {
    let mut nat = Nat::new(with(1, Timers::rfc()));
    nat.open(1).unwrap();
    nat.play(&[(c(FIN, 1, 1), State::ClientFin)]);
    ends_after(&mut nat, Protocol::Tcp, 7_440, (1, 0));
}

#[test]
fn rfc6146_4_the_constants_of_the_rfc_preset() {
    let timers = Timers::rfc();
    let seconds = |span: Duration| span.as_nanos() / SECOND;
    // TCP_TRANS, twice; UDP_DEFAULT. TCP_EST is 7 200 s there, of which RFC 5382 wants 240 s more.
    assert_eq!(seconds(timers.half_open), 240);
    assert_eq!(seconds(timers.hold_down_rst), 240);
    assert_eq!(seconds(timers.udp_idle), 300);
    assert_eq!(seconds(timers.established_idle), 7_200 + 240);
}

#[test]
fn rfc7857_2_1_opening_and_closing_have_timers_of_their_own() {
    let seconds = Duration::from_secs;
    let timers = Timers {
        half_open: seconds(11),
        established_idle: seconds(100),
        half_closed_idle: seconds(50),
        udp_idle: seconds(70),
        hold_down_fin: seconds(13),
        hold_down_rst: seconds(17),
        hold_down_half_open: Duration::ZERO,
        hold_down_udp: Duration::ZERO,
        idle_scan_interval: None,
    };
    let mut nat = Nat::new(with(1, timers));
    nat.play(&[(c(SYN, 0, 0), State::HalfOpen)]);
    ends_after(&mut nat, Protocol::Tcp, 11, (1, 0));
    nat.open(1).unwrap();
    ends_after(&mut nat, Protocol::Tcp, 100, (1, 0));
    nat.open(1).unwrap();
    nat.play(&[(s(FIN, 1, 1), State::ServerFin)]);
    ends_after(&mut nat, Protocol::Tcp, 50, (1, 0));
    let usage = nat.usage(Protocol::Tcp)[0];
    assert_eq!((usage.expired_idle, usage.expired_half_closed), (2, 1));
    let port = nat.open(1).unwrap();
    nat.close(1, port).unwrap();
    ends_after(&mut nat, Protocol::Tcp, 13, (0, 1));
    nat.open(1).unwrap();
    nat.abort(1).unwrap();
    ends_after(&mut nat, Protocol::Tcp, 17, (0, 1));
    nat.datagram(1).unwrap();
    ends_after(&mut nat, Protocol::Udp, 70, (1, 0));
}

#[test]
fn rfc6888_req8_the_rfc_preset_rests_a_udp_port_for_120_s() {
    let mut nat = Nat::new(with(1, Timers::rfc()));
    nat.datagram(1).unwrap();
    nat.after(300 * SECOND - 1).timeout();
    assert_eq!(nat.used(Protocol::Udp), (1, 0));
    nat.after(1).timeout();
    assert_eq!(
        (nat.used(Protocol::Udp), nat.engine.active_flows()),
        ((0, 1), 0)
    );
    nat.after(120 * SECOND - 1);
    assert_eq!(nat.datagram(2), Err(NatError::PortsExhausted));
    nat.after(1);
    assert!(nat.datagram(2).is_ok());
}

#[test]
fn rfc6888_req8_a_resting_udp_port_still_belongs_to_its_flow() {
    let mut nat = Nat::new(with(1, Timers::rfc()));
    let port = nat.datagram(1).unwrap().source;
    for from_client in [true, false] {
        nat.after(300 * SECOND + 60 * SECOND).timeout();
        assert_eq!(nat.used(Protocol::Udp), (0, 1));
        if from_client {
            assert_eq!(nat.datagram(1).unwrap().source, port);
        } else {
            assert!(nat.answer_from(service(), port, None).is_ok());
        }
        assert_eq!(
            (nat.used(Protocol::Udp), nat.engine.active_flows()),
            ((1, 0), 1)
        );
    }
    let usage = nat.usage(Protocol::Udp)[0];
    assert_eq!((usage.binds, usage.expired_idle), (1, 2));
}

#[test]
fn a_hold_down_that_nobody_watched_began_at_the_deadline_of_the_flow() {
    let mut nat = Nat::new(with(1, Timers::rfc()));
    nat.datagram(1).unwrap();
    // Both timers have run out when the engine looks.
    nat.after(420 * SECOND);
    assert!(nat.datagram(2).is_ok());
    assert_eq!(nat.usage(Protocol::Udp)[0].binds, 2);
}

#[test]
fn a_resting_udp_port_is_revived_only_within_the_flow_limit() {
    let mut config = with(2, Timers::rfc());
    config.flow_limit = Some(1);
    let mut nat = Nat::new(config);
    let port = nat.datagram(1).unwrap().source;
    nat.after(300 * SECOND);
    nat.datagram(2).unwrap();
    assert_eq!(nat.datagram(1), Err(NatError::VmFlowLimit));
    assert!(nat.answer_from(service(), port, None).is_ok());
    assert_eq!(nat.used(Protocol::Udp), (1, 1));
}

#[test]
fn resting_udp_ports_can_be_reused_the_oldest_first() {
    let mut config = with(2, Timers::rfc());
    config.pools[0].held_ports = HeldPorts::ReuseOldest;
    let mut nat = Nat::new(config);
    let oldest = nat.datagram(1).unwrap().source;
    nat.after(SECOND);
    nat.datagram(2).unwrap();
    nat.after(300 * SECOND);
    assert_eq!(nat.datagram(3).unwrap().source, oldest);
    assert_eq!(nat.usage(Protocol::Udp)[0].reused_held, 1);
}

#[test]
fn a_half_open_port_rests_if_configured_and_a_late_answer_still_establishes() {
    let timers = Timers {
        hold_down_half_open: Duration::from_secs(30),
        ..Timers::azure()
    };
    let mut nat = Nat::new(with(1, timers));
    let port = nat
        .send(1, segment(SYN, crate::harness::CLIENT_ISN, 0, 0))
        .unwrap()
        .source;
    nat.after(30 * SECOND).timeout();
    assert_eq!(nat.state(port), Some(State::Unanswered));
    assert_eq!(
        (nat.used(Protocol::Tcp), nat.engine.active_flows()),
        ((0, 1), 0)
    );
    assert_eq!(nat.open(2), Err(NatError::PortsExhausted));
    nat.after(10 * SECOND);
    nat.play(&[
        (c(ACK, 1, 1), State::Unanswered),
        (s(ACK, 0, 1), State::Unanswered),
        (s(SYN_ACK, 0, 1), State::Established),
    ]);
    assert_eq!(nat.used(Protocol::Tcp), (1, 0));
    nat.after(300 * SECOND).timeout();
    nat.play(&[(c(SYN, 0, 0), State::HalfOpen)]);
    nat.after(59 * SECOND).timeout();
    // A new SYN is a new attempt.
    nat.play(&[(c(SYN, 500, 0), State::HalfOpen)]);
    ends_twice(&mut nat);
}

/// The half-open timer, then the hold-down.
fn ends_twice(nat: &mut Nat) {
    nat.after(30 * SECOND - 1).timeout();
    assert_eq!(nat.used(Protocol::Tcp), (1, 0));
    nat.after(1).timeout();
    assert_eq!(nat.used(Protocol::Tcp), (0, 1));
    nat.after(30 * SECOND).timeout();
    assert_eq!(nat.used(Protocol::Tcp), (0, 0));
}

#[test]
fn a_later_fragment_refreshes_what_is_alive_and_opens_nothing() {
    let mut nat = Nat::new(small(1, 1));
    let fragment = |nat: &mut Nat| nat.send_from(LinkId(1), 1, Protocol::Tcp, None);
    assert_eq!(fragment(&mut nat), Err(NatError::NoFlow));
    let port = nat.open(1).unwrap();
    nat.after(299 * SECOND);
    assert_eq!(fragment(&mut nat).unwrap().source, port);
    nat.after(299 * SECOND);
    let reply = plsim_nat::Reply {
        source: service(),
        destination: port,
        protocol: Protocol::Tcp,
        segment: None,
    };
    assert!(nat.engine.reply(&reply, nat.instant()).is_ok());
    ends_after(&mut nat, Protocol::Tcp, 300, (1, 0));
    // What rests is translated but not prolonged.
    let port = nat.open(1).unwrap();
    nat.close(1, port).unwrap();
    nat.after(64 * SECOND);
    assert!(fragment(&mut nat).is_ok());
    ends_after(&mut nat, Protocol::Tcp, 1, (0, 1));
}

#[test]
fn later_fragments_tell_how_far_their_segment_reaches() {
    let rest = |flags| TcpFlags(flags);
    let mut nat = Nat::new(small(1, 1));
    nat.play(&[
        // A SYN with data in two fragments, which the server acknowledges as a whole.
        (c(SYN, 0, 0).with(16), State::HalfOpen),
        (c(rest(0), 17, 0).with(8), State::HalfOpen),
        (s(rest(0), 0, 1), State::HalfOpen),
        (s(SYN_ACK, 0, 25), State::Established),
        (c(ACK, 25, 1), State::Established),
        // A response in three, and what acknowledges all of it.
        (s(ACK, 1, 25).with(100), State::Established),
        (s(rest(0), 101, 25).with(100), State::Established),
        (s(rest(0), 201, 25).with(50), State::Established),
        (c(ACK, 25, 251), State::Established),
        // The FIN stands behind the last one.
        (c(FIN, 25, 251).with(8), State::ClientFin),
        (c(rest(1), 33, 251).with(8), State::ClientFin),
        (s(ACK, 251, 42).with(10), State::ClientFin),
        (s(rest(0), 261, 42).with(50), State::ClientFin),
        (c(ACK, 42, 311), State::ClientFin),
        (s(RST, 310, 0), State::ClientFin),
        (s(RST, 311, 0), State::Reset),
        (c(ACK, 42, 311), State::Established),
        (c(RST, 42, 0), State::Reset),
        // What rests is not revived by a part.
        (c(rest(0), 42, 251).with(8), State::Reset),
    ]);
    nat.after(16 * SECOND).timeout();
    assert_eq!(nat.used(Protocol::Tcp), (0, 0));
}

#[test]
fn the_parts_of_a_syn_are_of_one_datagram() {
    for (reach, after) in [(65_535, State::Established), (65_536, State::HalfOpen)] {
        let part = c(TcpFlags(0), reach - 7, 0).with(8);
        Nat::new(small(1, 1)).play(&[
            (c(SYN, 0, 0), State::HalfOpen),
            (part, State::HalfOpen),
            (s(SYN_ACK, 0, reach + 1), after),
        ]);
    }
}

#[test]
fn rfc6888_req3_nat_ips_need_not_be_neighbours() {
    let far = ["10.2.1.5", "192.168.7.9"].map(|ip| ip.parse().unwrap());
    let mut config = small(1, 1);
    config.pools[0] = PoolConfig {
        ports: 1_024..=1_024,
        ..PoolConfig::azure(PLS, far.to_vec())
    };
    let mut nat = Nat::new(config);
    let mut got = [1, 2].map(|client| *nat.open(client).unwrap().ip());
    got.sort();
    assert_eq!(got, far);
}
