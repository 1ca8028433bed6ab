//! The light TCP beside a full one: the same conversations in all four pairings, with one outcome.

use plsim_host::{
    Arrival, Close, Distribution, Rate, TcpKeepalive, TcpParameters, TcpSession, WorkloadStats,
};
use plsim_packet::{Origin, TcpHeader};
use plsim_types::{Duration, TcpFlags};

use crate::world::{Mini, SERVER, Setup, at_once, in_pairing, ms, patient, probed, session};
use crate::{admission, icmp, machines, pools, workloads};

const PAIRINGS: [[bool; 2]; 4] = [[false, false], [false, true], [true, false], [true, true]];

/// What the applications at both ends saw, in numbers that do not depend on how TCP got there.
fn outcome(mini: &Mini) -> [u64; 14] {
    let WorkloadStats {
        attempted,
        connecting,
        established,
        established_total,
        closed,
        reset,
        idle_expired,
        timed_out,
        failed,
        requests,
        responses,
        ..
    } = *mini.stats();
    let server = mini.server_stats();
    [
        attempted,
        connecting,
        established,
        established_total,
        closed,
        reset,
        idle_expired,
        timed_out,
        failed,
        requests,
        responses,
        server.accepted,
        server.requests,
        server.request_bytes,
    ]
}

/// Runs a conversation in every pairing and returns what all of them saw.
fn in_parity(session: &TcpSession, count: u64, act: impl Fn(&mut Mini)) -> [u64; 14] {
    let outcomes = PAIRINGS.map(|full| {
        let mut setup = Setup::new(at_once(session.clone(), count));
        setup.full = full;
        let mut mini = setup.build();
        act(&mut mini);
        mini.check();
        outcome(&mini)
    });
    for (pairing, other) in PAIRINGS.iter().zip(&outcomes) {
        assert_eq!(other, &outcomes[0], "{pairing:?}");
    }
    outcomes[0]
}

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn held(span: Duration) -> Distribution {
    span.into()
}

#[test]
fn a_handshake_a_request_and_a_response_of_many_windows() {
    let long = TcpSession {
        request: Distribution::Fixed(100_000),
        response: Distribution::Fixed(300_000),
        ..session()
    };
    let seen = in_parity(&long, 20, |mini| mini.run_ms(30_000));
    assert_eq!(
        seen,
        [20, 0, 0, 20, 20, 0, 0, 0, 0, 20, 20, 20, 20, 2_000_000]
    );
}

#[test]
fn many_requests_over_one_connection() {
    let many = TcpSession {
        requests: Some(10),
        interval: Some(held(secs(1))),
        ..session()
    };
    let seen = in_parity(&many, 5, |mini| mini.run_ms(60_000));
    assert_eq!(seen[4..], [5, 0, 0, 0, 0, 50, 50, 5, 50, 10_000]);
}

#[test]
fn closes_by_either_side_by_reset_and_by_nobody() {
    for (close, closed, open) in [
        (Close::Fin, 7, 0),
        (Close::Rst, 7, 0),
        (Close::Server, 7, 0),
        (Close::Abandon, 0, 7),
    ] {
        let seen = in_parity(&TcpSession { close, ..session() }, 7, |mini| {
            mini.run_ms(200_000);
        });
        assert_eq!((seen[4], seen[2]), (closed, open), "{close:?}");
    }
}

#[test]
fn nobody_listens() {
    let seen = PAIRINGS.map(|full| {
        let mut setup = Setup::new(at_once(session(), 3));
        setup.full = full;
        setup.listeners.clear();
        let mut mini = setup.build();
        mini.run_ms(10_000);
        mini.check();
        (mini.stats().failed_by.refused, mini.server_stats().refused)
    });
    assert_eq!(seen, [(3, 3); 4]);
}

#[test]
fn a_server_that_falls_silent_is_noticed_by_data_and_by_keepalive() {
    let patient = TcpSession {
        hold: held(secs(100_000)),
        tcp: TcpParameters {
            keepalive: Some(TcpKeepalive {
                time: secs(30),
                interval: secs(10),
                probes: 3,
            }),
            ..TcpParameters::LINUX_CLIENT
        },
        ..session()
    };
    let seen = in_parity(&patient, 4, |mini| {
        mini.run_ms(100_000);
        mini.set_deaf(true);
        mini.run_ms(1_000_000);
    });
    assert_eq!((seen[3], seen[7]), (4, 4));
    let asking = TcpSession {
        requests: Some(2),
        interval: Some(held(secs(60))),
        ..session()
    };
    let seen = in_parity(&asking, 4, |mini| {
        mini.run_ms(30_000);
        mini.set_deaf(true);
        mini.run_ms(3_000_000);
    });
    assert_eq!((seen[7], seen[9], seen[10]), (4, 8, 4));
}

/// The timers of silence are the same ones, to the nanosecond.
#[test]
fn silence_is_given_up_at_the_same_instant() {
    let short = TcpSession {
        response: Distribution::Fixed(100),
        hold: held(secs(1_000)),
        ..session()
    };
    let again = TcpSession {
        requests: Some(2),
        interval: Some(held(secs(60))),
        tcp: TcpParameters {
            user_timeout: Some(secs(15)),
            ..patient(3)
        },
        ..short.clone()
    };
    let probed = TcpSession {
        tcp: probed(secs(30), secs(10)),
        ..short.clone()
    };
    // 1 + 2 + 4 + 8 s of SYNs; a request at 60 s, given up after 15 s; three probes from 30 s on.
    for (session, deaf_from, at) in [
        (short, 0, 15_000),
        (again, 30_000, 75_002),
        (probed, 20_000, 60_004),
    ] {
        for full in PAIRINGS {
            let mut setup = Setup::new(at_once(session.clone(), 1));
            setup.full = full;
            let mut mini = setup.build();
            mini.run_ms(deaf_from);
            mini.set_deaf(true);
            mini.run_until(ms(at));
            let given_up = |mini: &Mini| mini.stats().timed_out + mini.stats().failed_by.timeout;
            assert_eq!(given_up(&mini), 0, "{full:?} {at}");
            mini.run_until(ms(at) + Duration::from_nanos(1));
            assert_eq!(given_up(&mini), 1, "{full:?} {at}");
            mini.check();
        }
    }
}

#[test]
fn an_idle_connection_that_is_reset_in_between() {
    let idle = TcpSession {
        hold: held(secs(1_000)),
        ..session()
    };
    for full in PAIRINGS {
        let mut setup = Setup::new(at_once(idle.clone(), 1));
        setup.full = full;
        let mut mini = setup.build();
        mini.run_ms(300_000);
        let latest = mini.latest(false);
        let reset = TcpHeader {
            source: latest.destination,
            destination: latest.source,
            sequence: latest.acknowledgement,
            acknowledgement: latest.sequence,
            flags: TcpFlags::RST | TcpFlags::ACK,
            window: 0,
            mss: None,
        };
        mini.forge(&reset, Origin::Nat);
        mini.run_ms(301_000);
        assert_eq!(mini.stats().idle_expired, 1, "{full:?}");
        mini.check();
    }
}

#[test]
fn under_loss_every_conversation_ends_in_good_order() {
    for full in PAIRINGS {
        for seed in 1..=3 {
            let asking = TcpSession {
                request: Distribution::Fixed(5_000),
                response: Distribution::Fixed(20_000),
                tcp: TcpParameters {
                    open_retries: 20,
                    retries: 20,
                    ..TcpParameters::LINUX_CLIENT
                },
                ..session()
            };
            let mut setup = Setup::new(at_once(asking, 50));
            (setup.full, setup.loss, setup.seed) = (full, 0.1, seed);
            let mut mini = setup.build();
            mini.run_until(ms(4_000_000));
            mini.check();
            let stats = mini.stats();
            let server = mini.server_stats();
            assert_eq!(
                (stats.requests, stats.responses),
                (50, 50),
                "{full:?} {seed}"
            );
            // A lost last ACK may end an end otherwise than by FIN, never the conversation.
            assert_eq!(
                stats.closed + stats.timed_out + stats.reset,
                50,
                "{full:?} {seed}"
            );
            assert_eq!((server.requests, server.request_bytes), (50, 250_000));
        }
    }
}

/// TIME_WAIT is the light end's at both: it lasts 60 s, and yields to the next connection on its port.
#[test]
fn time_wait_yields_to_a_new_connection_and_ends_after_60_s() {
    let closed_by_server = TcpSession {
        close: Close::Server,
        ..session()
    };
    for full in PAIRINGS {
        let mut workload = at_once(closed_by_server.clone(), 5);
        workload.arrival = Arrival::Constant;
        workload.rate = Some(Rate {
            count: 1,
            per: secs(10),
        });
        let mut setup = Setup::new(workload);
        (setup.full, setup.ports) = (full, (5_000, 5_000));
        let mut mini = setup.build();
        mini.run_ms(60_000);
        assert_eq!(
            (mini.stats().closed, mini.stats().failed),
            (5, 0),
            "{full:?}"
        );
        let server = mini.server_stats();
        assert_eq!((server.accepted, server.time_wait), (5, 1), "{full:?}");
        mini.run_ms(105_000);
        assert_eq!(mini.server_stats().time_wait, 0, "{full:?}");
        mini.check();
    }
}

/// What a full end cannot show, as docs/workloads.md says: challenge ACKs (RFC 5961).
#[test]
fn a_stray_syn_or_reset_is_challenged_by_a_light_server_only() {
    let abandoned = TcpSession {
        close: Close::Abandon,
        ..session()
    };
    for full in PAIRINGS {
        let is_light = u64::from(!full[1]);
        let mut setup = Setup::new(at_once(abandoned.clone(), 1));
        setup.full = full;
        let mut mini = setup.build();
        mini.run_ms(1_000);
        let latest = mini.latest(false);
        let syn = TcpHeader {
            flags: TcpFlags::SYN,
            sequence: latest.sequence.wrapping_add(100_000),
            mss: Some(1_460),
            ..latest
        };
        mini.forge(&syn, Origin::Nat);
        mini.run_ms(2_000);
        let server = mini.server_stats();
        assert_eq!(
            (server.live, server.challenge_acks),
            (1, is_light),
            "{full:?}"
        );
        let answered = mini
            .log()
            .sent
            .iter()
            .any(|(at, packet)| *at >= ms(1_000) && *packet.source().ip() == SERVER);
        assert_eq!(answered, is_light == 1, "{full:?}");
        let inexact = TcpHeader {
            flags: TcpFlags::RST,
            sequence: latest.sequence.wrapping_add(10),
            ..latest
        };
        mini.forge(&inexact, Origin::Nat);
        mini.run_ms(3_000);
        assert_eq!(mini.server_stats().live, is_light, "{full:?}");
        mini.check();
    }
}

/// What applications do does not depend on the TCP below.
#[test]
fn the_tests_of_workloads_queues_and_icmp_hold_in_every_pairing() {
    for full in PAIRINGS {
        in_pairing(full, || {
            machines::a_vm_that_crashes_tells_nobody_and_comes_back_with_other_ports();
            machines::a_vm_that_is_shut_down_resets_its_connections();
            machines::handshakes_and_time_wait_end_with_the_vm_without_a_reset();
            machines::the_other_vms_of_the_group_take_over();
            machines::a_borrow_whose_time_is_over_while_it_is_tested_ends_with_the_vm();
            workloads::each_connection_draws_its_destination();
            workloads::a_connection_makes_its_requests_at_the_interval_and_then_holds();
            workloads::with_an_interval_alone_requests_go_on_until_the_hold_is_over();
            workloads::the_server_works_on_a_request_for_its_service_time();
            workloads::an_unanswered_request_is_given_up_at_its_timeout_to_the_nanosecond();
            workloads::a_connect_timeout_ends_an_attempt_before_the_syn_retries_do();
            workloads::a_server_that_closes_first_keeps_the_time_wait();
            workloads::constant_concurrency_replaces_what_ends();
            workloads::constant_concurrency_starts_nothing_at_stop();
            workloads::where_nobody_listens_the_next_attempt_waits_for_a_second();
            workloads::a_client_of_a_closed_loop_keeps_its_connection_or_takes_a_new_one();
            workloads::a_client_retries_with_back_off_and_gives_up();
            workloads::a_retry_after_a_lost_response_succeeds_on_a_new_connection();
            pools::a_pool_lends_one_connection_to_one_request_after_the_other();
            pools::a_pool_opens_no_more_than_its_size_and_the_rest_waits_or_gives_up();
            pools::a_pool_closes_what_rests_too_long_or_lives_too_long();
            pools::a_pool_keeps_its_least_number_through_all_of_that();
            pools::each_vm_has_pools_of_its_own_and_requests_go_to_them_in_turn();
            pools::the_pool_of_a_vm_that_is_down_stands_still_and_the_others_get_its_requests();
            pools::a_dead_connection_is_met_by_the_request_by_the_test_or_by_nobody();
            pools::a_silent_death_is_met_at_the_timeout_of_the_request_or_of_the_test();
            pools::a_pools_keepalive_is_a_small_request_and_does_not_count_as_use();
            workloads::subscribers_hear_every_message_and_say_nothing();
            workloads::publishers_send_at_the_interval_for_as_long_as_the_run_lasts();
            workloads::a_message_that_is_drawn_without_a_byte_has_one();
            workloads::a_late_response_counts_for_the_requests_that_it_held_back();
            workloads::a_refused_attempt_says_how_long_it_took_to_fail();
            workloads::requests_are_lost_to_silence_only_on_connections_that_were_silent();
            workloads::news_reaches_all_subscribers_at_once_whenever_they_came();
            pools::a_tested_connection_rested_until_its_test_began();
            pools::a_dead_connection_that_is_met_says_since_when_it_was();
            pools::a_pool_that_cannot_connect_tells_its_requests_or_has_them_wait();
            pools::a_request_that_waited_for_its_connection_has_that_much_less_time();
            pools::the_oldest_connection_is_lent_first_whatever_has_rested_longer();
            admission::whoever_finds_the_application_full_is_connected_but_waits_for_its_response();
            admission::syns_are_dropped_while_as_many_handshakes_are_under_way_as_the_backlog_says(
            );
            admission::with_a_full_accept_queue_the_last_ack_is_ignored_and_syns_are_dropped();
            icmp::an_error_about_the_syn_fails_the_attempt_at_once_as_linux_does();
            icmp::an_error_about_another_sequence_number_is_ignored();
            icmp::an_established_connection_takes_no_notice();
        });
    }
}

#[test]
fn the_windows_show_which_tcp_is_at_work() {
    for full in PAIRINGS {
        let mut setup = Setup::new(at_once(session(), 1));
        setup.full = full;
        let mut mini = setup.build();
        mini.run_ms(10);
        let windows = mini.log().sent[..2].iter().map(|(_, packet)| {
            let segment = packet.tcp_segment().unwrap();
            assert!(segment.flags.has(TcpFlags::SYN));
            segment.window
        });
        let expected = full.map(|is_full| if is_full { 16_384 } else { 65_535 });
        assert_eq!(windows.collect::<Vec<_>>(), expected);
    }
}
