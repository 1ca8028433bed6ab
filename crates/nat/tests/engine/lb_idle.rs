//! The idle timer of the load balancer's rule, to the nanosecond.

use crate::harness::{
    ACK, BACKEND, CLIENT_ISN, FIN, Nat, PLS, RST, RST_ACK, SECOND, SERVER_ISN, SERVICE, SYN,
    client, endpoint, segment, small,
};
use core::net::SocketAddrV4;
use plsim_nat::{
    ConfigError, LbIdleAction, LbTimer, NatConfig, NatEngine, NatError, NatEvent, Original, Reply,
    Sender, State,
};
use plsim_types::{Direction, Duration, LinkId, Protocol};

const RULE: u64 = 240 * SECOND;
const SERVICE_IDLE: u64 = 300 * SECOND;

const TIMER: LbTimer = LbTimer {
    frontend_port: Some(443),
    idle: Duration::from_secs(240),
    reset: false,
    then: LbIdleAction::Drop,
};

fn with(timer: LbTimer) -> NatConfig {
    let mut config = small(1, 4);
    config.pools[0].lb_timers = vec![timer];
    config
}

fn from_client(nat: &mut Nat) -> Result<(), NatError> {
    let packet = segment(ACK, CLIENT_ISN + 1, SERVER_ISN + 1, 0);
    nat.send(1, packet).map(|_| ())
}

fn from_server(nat: &mut Nat, port: SocketAddrV4) -> Result<(), NatError> {
    let packet = segment(ACK, SERVER_ISN + 1, CLIENT_ISN + 1, 0);
    nat.answer(port, packet).map(|_| ())
}

#[test]
fn an_idle_flow_is_dropped_in_both_directions_from_240_s_on_and_nobody_is_told() {
    let mut nat = Nat::new(with(TIMER));
    let port = nat.open(1).unwrap();
    // Packets of both sides refresh.
    nat.after(RULE - 1);
    assert_eq!(from_client(&mut nat), Ok(()));
    nat.after(RULE - 1);
    assert_eq!(from_server(&mut nat, port), Ok(()));
    nat.after(RULE);
    assert_eq!(from_client(&mut nat), Err(NatError::LbIdle));
    assert_eq!(from_server(&mut nat, port), Err(NatError::LbIdle));
    // What is dropped refreshes nothing; the port is bound until the service's own time is over.
    nat.after(SERVICE_IDLE - RULE - 1);
    assert_eq!(from_client(&mut nat), Err(NatError::LbIdle));
    assert_eq!(nat.state(port), Some(State::LbIdle));
    assert_eq!(nat.used(Protocol::Tcp), (1, 0));
    assert_eq!(nat.engine.active_flows(), 1);
    nat.after(1);
    assert_eq!(from_client(&mut nat), Err(NatError::NoFlow));
    assert_eq!(nat.used(Protocol::Tcp), (0, 0));
    assert!(nat.resets().is_empty());
    let usage = nat.usage(Protocol::Tcp)[0];
    assert_eq!((usage.lb_idle, usage.expired_idle), (1, 0));
    let first = usage.first_lb_idle.map(plsim_types::Instant::as_nanos);
    assert_eq!(first, Some(3 * RULE - 2));
}

#[test]
fn with_tcp_reset_both_ends_hear_of_it_at_240_s_and_of_nothing_at_300_s() {
    for half_closed in [false, true] {
        let mut nat = Nat::new(with(LbTimer {
            reset: true,
            ..TIMER
        }));
        let port = nat.open(1).unwrap();
        let mut acked = CLIENT_ISN.wrapping_add(1);
        if half_closed {
            nat.send(1, segment(FIN, CLIENT_ISN + 1, SERVER_ISN + 1, 0))
                .unwrap();
            nat.answer(port, segment(ACK, SERVER_ISN + 1, CLIENT_ISN + 2, 0))
                .unwrap();
            acked = acked.wrapping_add(1);
        }
        nat.after(RULE - 1).timeout();
        assert!(nat.resets().is_empty());
        nat.after(1).timeout();
        let resets = nat.resets();
        let seen: Vec<_> = resets
            .iter()
            .map(|it| (it.by, it.toward, it.source, it.destination, it.sequence))
            .collect();
        let service = SocketAddrV4::new(BACKEND, SERVICE);
        let (original, reply) = (Direction::Original, Direction::Reply);
        let lb = Sender::LbTimer;
        assert_eq!(
            seen,
            [
                (lb, original, port, service, acked),
                (lb, reply, endpoint(), client(1), SERVER_ISN + 1)
            ]
        );
        assert_eq!(from_client(&mut nat), Err(NatError::LbIdle));
        nat.after(SERVICE_IDLE - RULE).timeout();
        assert!(nat.resets().is_empty());
        assert_eq!(nat.used(Protocol::Tcp), (0, 0));
    }
}

#[test]
fn a_new_syn_starts_the_flow_anew_on_the_same_port() {
    let mut nat = Nat::new(with(TIMER));
    let port = nat.open(1).unwrap();
    nat.after(RULE + SECOND);
    assert_eq!(from_client(&mut nat), Err(NatError::LbIdle));
    assert_eq!(nat.open(1), Ok(port));
    assert_eq!(nat.state(port), Some(State::Established));
    // Its timers are its own; nothing of the former time is left.
    nat.after(RULE - 1);
    assert_eq!(from_server(&mut nat, port), Ok(()));
    assert_eq!(nat.usage(Protocol::Tcp)[0].lb_idle, 1);
}

#[test]
fn only_connections_that_were_established_know_the_timer() {
    let short = LbTimer {
        idle: Duration::from_secs(1),
        reset: true,
        ..TIMER
    };
    let mut nat = Nat::new(with(short));
    nat.send(1, segment(SYN, CLIENT_ISN, 0, 0)).unwrap();
    nat.datagram(2).unwrap();
    let closed = nat.open(3).unwrap();
    nat.close(3, closed).unwrap();
    nat.open(4).unwrap();
    nat.abort(4).unwrap();
    nat.after(10 * SECOND).timeout();
    let third = nat.engine.bindings().find(|it| it.client == client(3));
    assert_eq!(third.map(|it| it.state), Some(State::Closed));
    assert!(nat.engine.bindings().all(|it| it.state != State::LbIdle));
    assert!(nat.resets().is_empty());
    assert_eq!(nat.engine.bindings().count(), 4);
}

#[test]
fn a_rule_of_another_port_or_with_no_shorter_time_does_nothing() {
    for timer in [
        LbTimer {
            frontend_port: Some(80),
            ..TIMER
        },
        LbTimer {
            idle: Duration::from_secs(300),
            reset: true,
            ..TIMER
        },
    ] {
        let mut nat = Nat::new(with(timer));
        nat.open(1).unwrap();
        nat.after(SERVICE_IDLE - 1).timeout();
        assert_eq!(from_client(&mut nat), Ok(()));
        nat.after(SERVICE_IDLE).timeout();
        let resets = nat.resets();
        assert_eq!(resets.len(), 2, "the service's own");
        assert!(resets.iter().all(|reset| reset.by == Sender::Nat));
    }
}

#[test]
fn the_timer_of_a_rule_for_all_ports_counts_for_each_of_them() {
    let mut nat = Nat::new(with(LbTimer {
        frontend_port: None,
        ..TIMER
    }));
    nat.open(1).unwrap();
    nat.after(RULE);
    assert_eq!(from_client(&mut nat), Err(NatError::LbIdle));
}

#[test]
fn where_the_load_balancer_forgets_the_next_packet_passes_as_if_nothing_had_been() {
    let forget = LbTimer {
        then: LbIdleAction::Forget,
        ..TIMER
    };
    let mut nat = Nat::new(with(forget));
    let port = nat.open(1).unwrap();
    nat.after(SERVICE_IDLE - 1);
    assert_eq!(from_client(&mut nat), Ok(()));
    assert_eq!(nat.state(port), Some(State::Established));
    assert_eq!(nat.usage(Protocol::Tcp)[0].lb_idle, 0);
}

#[test]
fn after_its_reset_a_forgotten_flow_lives_again_with_its_next_packet_but_an_rst() {
    for (packet, state) in [(ACK, State::Established), (FIN, State::ClientFin)] {
        let mut nat = Nat::new(with(LbTimer {
            reset: true,
            then: LbIdleAction::Forget,
            ..TIMER
        }));
        let port = nat.open(1).unwrap();
        nat.after(RULE).timeout();
        assert_eq!(nat.resets().len(), 2);
        nat.send(1, segment(RST, CLIENT_ISN + 1, 0, 0)).unwrap();
        assert_eq!(nat.state(port), Some(State::LbIdle));
        nat.after(SECOND);
        nat.send(1, segment(packet, CLIENT_ISN + 1, SERVER_ISN + 1, 0))
            .unwrap();
        assert_eq!(nat.state(port), Some(state));
        nat.after(RULE).timeout();
        assert_eq!(nat.resets().len(), 2, "idle once more");
    }
}

#[test]
fn a_forgotten_flow_that_lives_again_has_seen_no_syn_on_top() {
    let mut nat = Nat::new(with(LbTimer {
        reset: true,
        then: LbIdleAction::Forget,
        ..TIMER
    }));
    let port = nat.open(1).unwrap();
    nat.after(RULE).timeout();
    from_client(&mut nat).unwrap();
    // No acknowledgement whatsoever refuses what was not sent.
    for number in 0..32 {
        let refusal = segment(RST_ACK, SERVER_ISN + 900, number << 27, 0);
        nat.answer(port, refusal).unwrap();
        assert_eq!(nat.state(port), Some(State::Established), "{number}");
    }
}

#[test]
fn icmp_errors_and_fragments_of_a_dropped_flow_are_dropped_with_it() {
    let mut nat = Nat::new(with(TIMER));
    let port = nat.open(1).unwrap();
    nat.after(RULE);
    let now = nat.instant();
    let packet = Original {
        pls: PLS,
        link: LinkId(1),
        client: client(1),
        endpoint: endpoint(),
        backend_port: SERVICE,
        protocol: Protocol::Tcp,
        segment: None,
    };
    let answer = Reply {
        source: SocketAddrV4::new(BACKEND, SERVICE),
        destination: port,
        protocol: Protocol::Tcp,
        segment: None,
    };
    let engine = &mut nat.engine;
    assert_eq!(engine.original(&packet, now), Err(NatError::LbIdle));
    assert_eq!(engine.original_error(&packet, now), Err(NatError::LbIdle));
    assert_eq!(engine.reply(&answer, now), Err(NatError::LbIdle));
    assert_eq!(engine.reply_error(&answer, now), Err(NatError::LbIdle));
}

#[test]
fn the_drop_is_an_event_of_its_own_before_the_binding_expires() {
    let mut config = with(TIMER);
    config.events = true;
    let mut nat = Nat::new(config);
    nat.open(1).unwrap();
    nat.after(SERVICE_IDLE).timeout();
    let events: Vec<_> = core::iter::from_fn(|| nat.engine.poll_event()).collect();
    let seconds = |at: &plsim_types::Instant| at.as_nanos() / SECOND;
    assert!(
        matches!(
            &events[..],
            [NatEvent::Bound { .. }, NatEvent::LbIdle { at, binding, reset: false }, NatEvent::Expired { at: end, cause: plsim_nat::Expiry::AfterLbIdle, .. }]
                if seconds(at) == 240 && binding.state == State::LbIdle && seconds(end) == 300
        ),
        "{events:?}"
    );
}

#[test]
fn a_timer_of_zero_and_two_of_one_port_are_refused() {
    let refused = |timers: Vec<LbTimer>| {
        let mut config = small(1, 4);
        config.pools[0].lb_timers = timers;
        NatEngine::new(config).unwrap_err()
    };
    let zero = LbTimer {
        idle: Duration::ZERO,
        ..TIMER
    };
    let all = LbTimer {
        frontend_port: None,
        ..TIMER
    };
    let other = LbTimer {
        frontend_port: Some(80),
        ..TIMER
    };
    let mut config = small(1, 4);
    config.pools[0].lb_timers = vec![other, TIMER];
    assert!(NatEngine::new(config).is_ok(), "one for each of two ports");
    assert_eq!(refused(vec![zero]), ConfigError::ZeroTimer("lb_timers"));
    assert_eq!(
        refused(vec![other, TIMER, TIMER]),
        ConfigError::DuplicateLbTimer(PLS)
    );
    assert_eq!(
        refused(vec![other, all]),
        ConfigError::DuplicateLbTimer(PLS)
    );
}
