use plsim_host::{Arrival, Close, Distribution, Rate, TcpParameters, TcpSession};
use plsim_types::{Duration, Instant};

use crate::world::{Setup, at_once, ms, patient, probed, session};

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn held(secs: u64) -> Distribution {
    Duration::from_secs(secs).into()
}

const HANDSHAKE_AND_EXCHANGE: [&str; 8] = [
    "0 c SYN 0 0 0",
    "1000 s SYN|ACK 0 1 0",
    "2000 c ACK 1 1 0",
    "2000 c PSH|ACK 1 1 200",
    "3000 s ACK 1 201 1460",
    "3000 s ACK 1461 201 1460",
    "3000 s PSH|ACK 2921 201 80",
    "4000 c ACK 201 1461 0",
];

#[test]
fn a_connection_sends_exactly_these_segments_and_closes_with_fin() {
    let session = TcpSession {
        hold: held(5),
        ..session()
    };
    let mut mini = Setup::new(at_once(session, 1)).build();
    mini.run_ms(5_005);
    assert_eq!((mini.stats().established, mini.server_stats().live), (1, 1));
    mini.run_ms(70_000);
    let mut expected = HANDSHAKE_AND_EXCHANGE.to_vec();
    expected.extend([
        "4000 c ACK 201 2921 0",
        "4000 c ACK 201 3001 0",
        "5004000 c FIN|ACK 201 3001 0",
        "5005000 s FIN|ACK 3001 202 0",
        "5006000 c ACK 202 3002 0",
    ]);
    assert_eq!(mini.trace(Instant::ZERO), expected);
    let (stats, server) = (mini.stats(), mini.server_stats());
    assert_eq!((stats.closed, stats.requests, stats.responses), (1, 1, 1));
    assert_eq!(
        (server.closed, server.requests, server.request_bytes),
        (1, 1, 200)
    );
    assert_eq!(stats.connect_latency.max(), Some(Duration::from_millis(2)));
    mini.check();
}

#[test]
fn without_hold_the_fin_carries_the_last_acknowledgement() {
    let mut mini = Setup::new(at_once(session(), 1)).build();
    mini.run_ms(10);
    let mut expected = HANDSHAKE_AND_EXCHANGE.to_vec();
    expected.extend([
        "4000 c ACK 201 2921 0",
        "4000 c FIN|ACK 201 3001 0",
        "5000 s FIN|ACK 3001 202 0",
        "6000 c ACK 202 3002 0",
    ]);
    assert_eq!(mini.trace(Instant::ZERO), expected);
}

#[test]
fn a_reset_close_sends_one_exact_reset_and_frees_the_port_at_once() {
    let session = TcpSession {
        close: Close::Rst,
        hold: held(5),
        ..session()
    };
    let mut mini = Setup::new(at_once(session, 1)).build();
    mini.run_ms(70_000);
    let trace = mini.trace(ms(4_999));
    assert_eq!(trace, ["5004000 c RST|ACK 201 3001 0"]);
    assert_eq!((mini.stats().closed, mini.clients().live()), (1, 0));
    assert_eq!(
        (mini.server_stats().reset, mini.server_stats().live),
        (1, 0)
    );
    mini.check();
}

#[test]
fn an_abandoned_connection_stays_open_on_both_ends_without_a_packet() {
    let session = TcpSession {
        close: Close::Abandon,
        tcp: probed(secs(30), secs(30)),
        ..session()
    };
    let mut mini = Setup::new(at_once(session, 1)).build();
    mini.run_ms(1_000_000);
    assert_eq!(mini.trace(ms(5)), Vec::<String>::new());
    assert_eq!((mini.stats().established, mini.server_stats().live), (1, 1));
    assert_eq!((mini.stats().responses, mini.clients().live()), (1, 1));
    mini.check();
}

#[test]
fn an_empty_response_is_complete_when_the_request_is_acknowledged() {
    let session = TcpSession {
        response: Distribution::Fixed(0),
        request: Distribution::Fixed(8),
        ..session()
    };
    let mut mini = Setup::new(at_once(session, 1)).build();
    mini.run_ms(100);
    let expected = [
        "2000 c PSH|ACK 1 1 8",
        "3000 s ACK 1 9 0",
        "4000 c FIN|ACK 9 1 0",
        "5000 s FIN|ACK 1 10 0",
        "6000 c ACK 10 2 0",
    ];
    assert_eq!(mini.trace(ms(2))[1..], expected);
    assert_eq!(
        (mini.stats().responses, mini.server_stats().requests),
        (1, 1)
    );
}

#[test]
fn a_large_exchange_arrives_whole_and_each_data_segment_is_acknowledged() {
    let session = TcpSession {
        request: Distribution::Fixed(300_000),
        response: Distribution::Fixed(1_000_000),
        ..session()
    };
    let mut mini = Setup::new(at_once(session, 1)).build();
    mini.run_ms(1_000);
    assert_eq!((mini.stats().closed, mini.stats().retransmissions), (1, 0));
    assert_eq!(mini.server_stats().request_bytes, 300_000);
    assert_eq!(
        (mini.log().bytes(false), mini.log().bytes(true)),
        (300_000, 1_000_000)
    );
    let first_flight = mini
        .trace(ms(2))
        .iter()
        .take_while(|line| line.starts_with("2000 c"))
        .count();
    assert_eq!(first_flight, 1 + 10, "the handshake's ACK and ten segments");
    mini.check();
}

#[test]
fn a_syn_is_repeated_after_1_3_and_7_s_and_given_up_at_15_s() {
    let mut mini = Setup::new(at_once(session(), 1)).build();
    mini.set_deaf(true);
    mini.run_ms(15_000);
    let expected = [
        "0 c SYN 0 0 0",
        "1000000 c SYN 0 0 0",
        "3000000 c SYN 0 0 0",
        "7000000 c SYN 0 0 0",
    ];
    assert_eq!(mini.trace(Instant::ZERO), expected);
    assert_eq!(mini.stats().connecting, 1, "15 s are not over");
    mini.run_until(ms(15_000) + Duration::from_nanos(1));
    let stats = mini.stats();
    assert_eq!(
        (stats.failed_by.timeout, stats.failed, stats.attempted),
        (1, 1, 1)
    );
    assert_eq!((stats.syn_retransmissions, mini.clients().live()), (3, 0));
    mini.check();
}

#[test]
fn without_syn_retries_a_connection_fails_after_one_rto() {
    let session = TcpSession {
        tcp: patient(0),
        ..session()
    };
    let mut mini = Setup::new(at_once(session, 1)).build();
    mini.set_deaf(true);
    mini.run_until(ms(1_000) + Duration::from_nanos(1));
    assert_eq!(
        (mini.stats().failed_by.timeout, mini.log().injected),
        (1, 1)
    );
}

#[test]
fn a_connect_latency_counts_from_the_first_syn() {
    let mut mini = Setup::new(at_once(session(), 1)).build();
    mini.set_deaf(true);
    mini.run_ms(2_000);
    mini.set_deaf(false);
    mini.run_ms(4_000);
    assert_eq!(
        mini.stats().connect_latency.max(),
        Some(Duration::from_millis(3_002))
    );
    assert_eq!(
        (mini.stats().closed, mini.stats().syn_retransmissions),
        (1, 2)
    );
}

#[test]
fn keepalive_probes_go_out_after_each_silent_interval_and_are_answered() {
    let session = TcpSession {
        tcp: probed(secs(10), secs(10)),
        hold: held(25),
        ..session()
    };
    let mut mini = Setup::new(at_once(session, 1)).build();
    mini.run_ms(25_000);
    let expected = [
        "10004000 c ACK 200 3001 0",
        "10005000 s ACK 3001 201 0",
        "20006000 c ACK 200 3001 0",
        "20007000 s ACK 3001 201 0",
    ];
    assert_eq!(mini.trace(ms(5)), expected);
    mini.run_ms(100_000);
    assert_eq!(mini.trace(ms(25_000))[0], "25004000 c FIN|ACK 201 3001 0");
    assert_eq!((mini.stats().closed, mini.stats().keepalive_probes), (1, 2));
    mini.check();
}

#[test]
fn unanswered_keepalive_probes_time_the_connection_out() {
    let session = TcpSession {
        tcp: probed(secs(10), secs(10)),
        hold: held(9_999),
        ..session()
    };
    let mut mini = Setup::new(at_once(session, 1)).build();
    mini.run_ms(6);
    mini.set_deaf(true);
    mini.run_ms(40_004);
    let expected = [
        "10004000 c ACK 200 3001 0",
        "20004000 c ACK 200 3001 0",
        "30004000 c ACK 200 3001 0",
    ];
    assert_eq!(mini.trace(ms(5)), expected);
    assert_eq!(mini.stats().established, 1);
    mini.run_until(ms(40_004) + Duration::from_nanos(1));
    let last = mini.trace(ms(40_000));
    assert_eq!(last, ["40004000 c RST|ACK 201 3001 0"], "as Linux does");
    assert_eq!((mini.stats().timed_out, mini.clients().live()), (1, 0));
    mini.check();
}

#[test]
fn an_unanswered_fin_times_out_after_its_retries() {
    let session = TcpSession {
        hold: held(1),
        ..session()
    };
    let mut mini = Setup::new(at_once(session, 1)).build();
    mini.run_ms(500);
    mini.set_deaf(true);
    mini.run_ms(16_005);
    let fins: Vec<_> = mini.trace(ms(500));
    // The round trip of 2 ms counts as 2.031616 ms; 200 ms are added.
    let times = [1_004_000, 1_206_031, 1_610_094, 2_418_221, 4_034_474];
    assert_eq!(fins, times.map(|at| format!("{at} c FIN|ACK 201 3001 0")));
    assert_eq!(
        (mini.stats().timed_out, mini.stats().retransmissions),
        (1, 4),
        "3 s after the first retransmission"
    );
    mini.check();
}

#[test]
fn a_request_that_nobody_acknowledges_times_out() {
    let mut mini = Setup::new(at_once(session(), 1)).build();
    mini.run_until(ms(2) + Duration::from_nanos(1));
    mini.set_deaf(true);
    mini.run_ms(15_003);
    assert_eq!(
        (mini.stats().timed_out, mini.stats().established_total),
        (1, 1)
    );
    assert_eq!(mini.clients().live(), 0);
    mini.check();
}

#[test]
fn arrivals_of_3_per_10_s_send_their_syns_at_exact_times() {
    let mut workload = at_once(session(), 5);
    workload.arrival = Arrival::Constant;
    workload.rate = Some(Rate {
        count: 3,
        per: secs(10),
    });
    let mut mini = Setup::new(workload).build();
    mini.run_ms(200_000);
    let syns = mini.log().sent.iter().filter_map(|(at, packet)| {
        packet
            .tcp_segment()
            .filter(|segment| segment.flags.opens())
            .map(|_| at.as_nanos())
    });
    let expected = [
        0,
        3_333_333_333,
        6_666_666_666,
        10_000_000_000,
        13_333_333_333,
    ];
    assert_eq!(syns.collect::<Vec<_>>(), expected);
    assert_eq!(mini.stats().closed, 5);
}

#[test]
fn the_same_seed_gives_the_same_bytes_and_another_seed_others() {
    let run = |seed| {
        let hold = Distribution::Exponential {
            mean: 2_000_000_000,
        };
        let mut workload = at_once(
            TcpSession {
                hold,
                tcp: patient(9),
                ..session()
            },
            300,
        );
        workload.arrival = Arrival::Poisson;
        workload.rate = Some(Rate {
            count: 50,
            per: secs(1),
        });
        let mut setup = Setup::new(workload);
        (setup.seed, setup.loss, setup.keep, setup.clients) = (seed, 0.1, false, 7);
        let mut mini = setup.build();
        mini.run_ms(200_000);
        mini.check();
        (mini.log().digest, mini.stats().clone())
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1).0, run(2).0);
}

#[test]
fn delayed_acknowledgements_are_fewer_and_the_last_one_comes_alone_after_its_time() {
    let tcp = TcpParameters {
        delayed_ack: Some(Duration::from_millis(40)),
        ..patient(3)
    };
    let session = TcpSession {
        hold: held(1),
        tcp,
        ..session()
    };
    let mut setup = Setup::new(at_once(session, 1));
    setup.server_tcp.delayed_ack = tcp.delayed_ack;
    let mut mini = setup.build();
    mini.run_ms(10_000);
    let expected = [
        "3000 s ACK 1 201 1460",
        "3000 s ACK 1461 201 1460",
        "3000 s PSH|ACK 2921 201 80",
        // The second segment at once, the third 40 ms late.
        "4000 c ACK 201 2921 0",
        "44000 c ACK 201 3001 0",
        "1004000 c FIN|ACK 201 3001 0",
        "1005000 s FIN|ACK 3001 202 0",
        "1006000 c ACK 202 3002 0",
    ];
    assert_eq!(mini.trace(ms(3)), expected);
    mini.check();
}

#[test]
fn a_server_probes_its_silent_clients_and_resets_who_does_not_answer() {
    let session = TcpSession {
        hold: held(9_999),
        ..session()
    };
    let mut setup = Setup::new(at_once(session, 1));
    setup.server_tcp = probed(secs(10), secs(2));
    let mut mini = setup.build();
    mini.run_ms(11_000);
    let expected = ["10005000 s ACK 3000 201 0", "10006000 c ACK 201 3001 0"];
    assert_eq!(mini.trace(ms(100)), expected);
    // It hears nothing any more: probes 10, 12 and 14 s after the last answer, and a reset.
    mini.set_deaf(true);
    mini.run_ms(26_008);
    assert_eq!(mini.server_stats().timed_out, 1);
    assert_eq!(mini.stats().reset, 0, "on its way");
    mini.run_ms(27_000);
    assert_eq!((mini.stats().reset, mini.clients().live()), (1, 0));
}
