use std::net::SocketAddrV4;

use plsim_host::{
    Close, ClosedLoopConfig, Destinations, Distribution, Jitter, Keeping, Model, Retry, Subject,
    TcpKeepalive, TcpParameters, TcpSession, UdpSession, WorkloadConfig, WorkloadKind,
};
use plsim_types::{Duration, TcpFlags};

use crate::pools::reset_by_nat;
use crate::world::{Mini, PORT, SERVER, Setup, at_once, ms, patient, session};

pub(crate) fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// Lists the times in ms at which clients sent a segment with data or, over UDP, a datagram.
fn asked(mini: &Mini) -> Vec<u64> {
    let sent = mini.log().sent.iter();
    let own =
        sent.filter(|(_, packet)| *packet.source().ip() != SERVER && packet.payload_len() > 0);
    own.map(|(at, _)| at.as_nanos() / 1_000_000).collect()
}

/// Lists the times in ms at which clients sent a SYN.
fn opened(mini: &Mini) -> Vec<u64> {
    let sent = mini.log().sent.iter();
    let own = sent.filter(|(_, packet)| {
        packet
            .tcp_segment()
            .is_some_and(|segment| segment.flags.opens())
    });
    own.map(|(at, _)| at.as_nanos() / 1_000_000).collect()
}

#[test]
pub(crate) fn each_connection_draws_its_destination() {
    let closed = SocketAddrV4::new(SERVER, PORT + 1);
    let all = Destinations {
        sockets: vec![SocketAddrV4::new(SERVER, PORT), closed],
        choice: Distribution::empirical(&[(0, 3), (1, 1)]).unwrap(),
    };
    let mut workload = at_once(session(), 1_000);
    workload.destinations = all;
    // The second workload's destinations are numbered behind those of the first.
    let mut setup = Setup::new(workload.clone());
    let second = WorkloadConfig {
        seed: 2,
        destinations: closed.into(),
        ..workload
    };
    setup.workloads.push(second);
    let mut mini = setup.build();
    mini.run_ms(1_000);
    let [first, second] = mini.clients().workloads() else {
        panic!("two workloads")
    };
    let [open, refused] = first.destinations[..] else {
        panic!("two destinations")
    };
    assert_eq!(open.attempted + refused.attempted, 1_000);
    assert!((200..300).contains(&refused.attempted), "{refused:?}");
    assert_eq!((open.failed, first.closed), (0, open.attempted));
    assert_eq!(refused.failed, refused.attempted);
    assert_eq!(first.failed_by.refused, refused.attempted);
    let [only] = second.destinations[..] else {
        panic!("one destination")
    };
    assert_eq!((only.attempted, only.failed), (1_000, 1_000));
    mini.check();
}

#[test]
pub(crate) fn a_connection_makes_its_requests_at_the_interval_and_then_holds() {
    let session = TcpSession {
        requests: Some(3),
        interval: Some(Distribution::from(secs(10))),
        hold: Distribution::from(secs(5)),
        ..session()
    };
    let mut mini = Setup::new(at_once(session, 1)).build();
    mini.run_ms(25_005);
    assert_eq!(asked(&mini), [2, 10_002, 20_002]);
    assert_eq!(mini.stats().established, 1);
    mini.run_ms(26_000);
    let stats = mini.stats();
    assert_eq!((stats.closed, stats.requests, stats.responses), (1, 3, 3));
    assert_eq!(mini.server_stats().requests, 3);
    assert_eq!(stats.request_latency.count(), 3);
    mini.check();
}

#[test]
pub(crate) fn with_an_interval_alone_requests_go_on_until_the_hold_is_over() {
    let session = TcpSession {
        interval: Some(Distribution::from(secs(10))),
        hold: Distribution::from(secs(25)),
        ..session()
    };
    let mut mini = Setup::new(at_once(session, 1)).build();
    mini.run_ms(40_000);
    assert_eq!(asked(&mini), [2, 10_002, 20_002]);
    assert_eq!(mini.stats().closed, 1);
    mini.check();
}

#[test]
pub(crate) fn the_server_works_on_a_request_for_its_service_time() {
    let session = TcpSession {
        service_time: Distribution::from(secs(30)),
        ..session()
    };
    let mut mini = Setup::new(at_once(session, 1)).build();
    mini.run_ms(30_003);
    assert_eq!((mini.stats().responses, mini.stats().awaiting), (0, 1));
    mini.run_ms(30_010);
    let latency = &mini.stats().request_latency;
    // 1 ms each way, and one more for the second flight of a response of three segments.
    assert!(latency.min() >= Some(secs(30)) && latency.max() < Some(Duration::from_millis(30_010)));
    mini.check();
}

#[test]
pub(crate) fn an_unanswered_request_is_given_up_at_its_timeout_to_the_nanosecond() {
    let session = TcpSession {
        response_timeout: Some(secs(3)),
        close: Close::Rst,
        ..session()
    };
    let mut mini = Setup::new(at_once(session, 1)).build();
    mini.run_ms(2);
    mini.set_deaf(true);
    mini.run_ms(3_002);
    assert_eq!((mini.stats().awaiting, mini.stats().lost.timeout), (1, 0));
    mini.run_ms(3_003);
    let stats = mini.stats();
    assert_eq!((stats.awaiting, stats.lost.timeout), (0, 1));
    assert_eq!(stats.detection.max(), Some(secs(3)));
    assert_eq!((stats.closed, mini.clients().live()), (1, 0));
    mini.check();
}

#[test]
pub(crate) fn a_connect_timeout_ends_an_attempt_before_the_syn_retries_do() {
    let session = TcpSession {
        connect_timeout: Some(secs(2)),
        ..session()
    };
    let mut mini = Setup::new(at_once(session, 1)).build();
    mini.set_deaf(true);
    mini.run_ms(2_000);
    assert_eq!(mini.stats().connecting, 1);
    mini.run_ms(2_001);
    assert_eq!(mini.stats().failed_by.timeout, 1);
    mini.run_ms(10_000);
    assert_eq!(opened(&mini), [0, 1_000]);
    mini.check();
}

#[test]
pub(crate) fn a_server_that_closes_first_keeps_the_time_wait() {
    let session = TcpSession {
        requests: Some(2),
        close: Close::Server,
        ..session()
    };
    let mut mini = Setup::new(at_once(session, 1)).build();
    mini.run_ms(100);
    let fins = mini.log().sent.iter().filter_map(|(_, packet)| {
        let segment = packet.tcp_segment()?;
        segment
            .flags
            .has(TcpFlags::FIN)
            .then_some(*packet.source().ip() == SERVER)
    });
    assert_eq!(fins.collect::<Vec<_>>(), [true, false]);
    assert_eq!((mini.stats().closed, mini.stats().responses), (1, 2));
    assert_eq!(mini.clients().live(), 0, "no TIME_WAIT at the client");
    mini.check();
}

pub(crate) fn held(connections: u64, session: TcpSession) -> WorkloadConfig {
    WorkloadConfig {
        model: Model::ConstantConcurrency {
            reconnect_delay: secs(1),
        },
        ..at_once(session, connections)
    }
}

#[test]
pub(crate) fn constant_concurrency_replaces_what_ends() {
    let session = TcpSession {
        hold: Distribution::from(secs(10)),
        ..session()
    };
    let mut mini = Setup::new(held(3, session)).build();
    mini.run_ms(60_000);
    let stats = mini.stats();
    // One life is 10 s, 4 ms for the handshake and the response, and 1 s until the next.
    assert_eq!((stats.attempted, stats.established), (18, 3));
    mini.check();
}

#[test]
pub(crate) fn constant_concurrency_starts_nothing_at_stop() {
    let session = TcpSession {
        hold: Distribution::from(secs(10)),
        ..session()
    };
    let mut workload = held(3, session);
    workload.stop = ms(30_000);
    let mut mini = Setup::new(workload).build();
    mini.run_ms(200_000);
    assert_eq!((mini.stats().attempted, mini.stats().closed), (9, 9));
    mini.check();
}

#[test]
pub(crate) fn where_nobody_listens_the_next_attempt_waits_for_a_second() {
    let mut setup = Setup::new(WorkloadConfig {
        model: Model::ConstantConcurrency {
            reconnect_delay: Duration::ZERO,
        },
        ..at_once(session(), 1)
    });
    setup.listeners.clear();
    let mut mini = setup.build();
    mini.run_ms(5_000);
    assert_eq!(opened(&mini), [0, 1_002, 2_004, 3_006, 4_008]);
    mini.check();
}

pub(crate) fn clients(
    count: u64,
    keeping: Keeping,
    max_attempts: u32,
    kind: WorkloadKind,
) -> WorkloadConfig {
    WorkloadConfig {
        kind,
        model: Model::ClosedLoop(ClosedLoopConfig {
            think_time: Distribution::from(secs(10)),
            keeping,
            retry: Retry {
                max_attempts,
                backoff: secs(1),
                backoff_max: secs(3),
                jitter: Jitter::None,
            },
        }),
        ..at_once(session(), count)
    }
}

pub(crate) fn impatient() -> TcpSession {
    TcpSession {
        response_timeout: Some(secs(2)),
        connect_timeout: Some(secs(2)),
        ..session()
    }
}

#[test]
pub(crate) fn a_client_of_a_closed_loop_keeps_its_connection_or_takes_a_new_one() {
    for (keeping, connections) in [(Keeping::Keep, 2), (Keeping::PerRequest, 8)] {
        let kind = WorkloadKind::Tcp(session());
        let mut mini = Setup::new(clients(2, keeping, 1, kind)).build();
        mini.run_ms(35_000);
        let stats = mini.stats();
        assert_eq!(stats.attempted, connections);
        assert_eq!((stats.operations.succeeded, stats.requests), (8, 8));
        assert_eq!(stats.operations.latency.count(), 8);
        mini.check();
    }
}

#[test]
pub(crate) fn a_client_retries_with_back_off_and_gives_up() {
    let kind = WorkloadKind::Tcp(impatient());
    let mut mini = Setup::new(clients(1, Keeping::Keep, 4, kind)).build();
    mini.set_deaf(true);
    mini.run_ms(20_000);
    // Each attempt lasts 2 s with one repeated SYN; waits are 1, 2 and 3 s (limited).
    let starts = [0, 3_000, 7_000, 12_000];
    let syns: Vec<u64> = starts.iter().flat_map(|at| [*at, at + 1_000]).collect();
    assert_eq!(opened(&mini), syns);
    let operations = &mini.stats().operations;
    assert_eq!((operations.retries, operations.failed_by.connect), (3, 1));
    mini.set_deaf(false);
    mini.run_ms(25_000);
    assert_eq!(
        mini.stats().operations.succeeded,
        1,
        "after 10 s of thought"
    );
    mini.check();
}

#[test]
pub(crate) fn a_retry_after_a_lost_response_succeeds_on_a_new_connection() {
    let kind = WorkloadKind::Tcp(impatient());
    let mut mini = Setup::new(clients(1, Keeping::Keep, 2, kind)).build();
    mini.run_ms(2);
    mini.set_deaf(true);
    mini.run_ms(2_500);
    mini.set_deaf(false);
    mini.run_ms(4_000);
    let stats = mini.stats();
    assert_eq!((stats.lost.timeout, stats.operations.retries), (1, 1));
    assert_eq!((stats.operations.succeeded, stats.attempted), (1, 2));
    mini.check();
}

#[test]
fn a_udp_client_asks_again_from_the_same_port_or_another() {
    for (keeping, ports) in [(Keeping::Keep, 1), (Keeping::PerRequest, 2)] {
        let kind = WorkloadKind::Udp(UdpSession {
            request: Distribution::Fixed(60),
            response: Distribution::Fixed(120),
            service_time: Distribution::Fixed(0),
            requests: None,
            hold: Distribution::Fixed(0),
            interval: None,
            response_timeout: secs(2),
        });
        let mut mini = Setup::new(clients(1, keeping, 3, kind)).build();
        mini.set_deaf(true);
        mini.run_ms(2_500);
        mini.set_deaf(false);
        mini.run_ms(5_000);
        assert_eq!(asked(&mini), [0, 3_000]);
        let stats = mini.stats();
        assert_eq!(
            (stats.operations.succeeded, stats.operations.retries),
            (1, 1)
        );
        assert_eq!(stats.attempted, ports);
        mini.check();
    }
}

#[test]
pub(crate) fn subscribers_hear_every_message_and_say_nothing() {
    let mut workload = at_once(session(), 3);
    workload.model = Model::PubSub {
        subject: Some(0),
        reconnect_delay: secs(1),
    };
    let mut mini = Setup::new(workload).build();
    mini.run_ms(60_000);
    let stats = mini.stats();
    // News every 10 s, counted from the confirmation.
    assert_eq!((stats.messages, mini.server_stats().messages), (15, 15));
    assert_eq!(
        (stats.requests, stats.responses, stats.established),
        (3, 3, 3)
    );
    assert_eq!(asked(&mini).len(), 3);
    let subject = Subject {
        interval: secs(10).into(),
        seed: 1,
    };
    let due = |mini: &Mini, until| {
        mini.clients()
            .messages_due(std::slice::from_ref(&subject), until)
    };
    assert_eq!(due(&mini, ms(60_000)), [15]);
    // The network forgets the connections; nobody is told, but all the messages were due.
    mini.set_deaf(true);
    mini.with_clients(|clients, cx| _ = clients.crash(0, cx));
    mini.run_ms(90_001);
    assert_eq!(
        (mini.stats().messages, due(&mini, ms(90_001))),
        (15, vec![27])
    );
    mini.check();
}

#[test]
pub(crate) fn publishers_send_at_the_interval_for_as_long_as_the_run_lasts() {
    let session = TcpSession {
        interval: Some(Distribution::from(secs(10))),
        ..session()
    };
    let mut workload = at_once(session, 1);
    workload.model = Model::PubSub {
        subject: None,
        reconnect_delay: secs(1),
    };
    let mut mini = Setup::new(workload).build();
    mini.run_ms(55_000);
    assert_eq!(asked(&mini), [2, 10_002, 20_002, 30_002, 40_002, 50_002]);
    reset_by_nat(&mut mini);
    mini.run_ms(58_000);
    let stats = mini.stats();
    assert_eq!(
        (stats.attempted, stats.idle_expired, stats.established),
        (2, 1, 1)
    );
    mini.check();
}

#[test]
fn a_udp_stream_sends_at_the_interval_until_its_hold_is_over() {
    for (echo, back) in [(false, 0), (true, 5)] {
        let mut workload = at_once(session(), 1);
        workload.model = Model::UdpStream { echo };
        workload.kind = WorkloadKind::Udp(UdpSession {
            request: Distribution::Fixed(160),
            response: Distribution::Fixed(160),
            service_time: Distribution::Fixed(0),
            requests: None,
            hold: Distribution::from(Duration::from_millis(100)),
            interval: Some(Distribution::from(Duration::from_millis(20))),
            response_timeout: secs(5),
        });
        let mut mini = Setup::new(workload).build();
        mini.run_ms(200);
        assert_eq!(asked(&mini), [0, 20, 40, 60, 80]);
        let stats = mini.stats();
        assert_eq!((stats.stream.sent, stats.stream.echoed), (5, back));
        assert_eq!(
            (stats.closed, stats.requests, mini.clients().live()),
            (1, 0, 0)
        );
        mini.check();
    }
}

#[test]
pub(crate) fn a_message_that_is_drawn_without_a_byte_has_one() {
    let session = TcpSession {
        response: Distribution::Uniform { low: 0, high: 1 },
        ..session()
    };
    let mut workload = at_once(session, 3);
    workload.model = Model::PubSub {
        subject: Some(0),
        reconnect_delay: secs(1),
    };
    let mut mini = Setup::new(workload).build();
    mini.run_ms(60_000);
    assert_eq!(mini.stats().messages, 15);
    mini.check();
}

#[test]
pub(crate) fn a_late_response_counts_for_the_requests_that_it_held_back() {
    let session = TcpSession {
        interval: Some(Distribution::from(secs(1))),
        hold: Distribution::from(secs(5)),
        service_time: Distribution::from(Duration::from_millis(3_500)),
        ..session()
    };
    let mut mini = Setup::new(at_once(session, 1)).build();
    mini.run_ms(4_000);
    let stats = mini.stats();
    assert_eq!(stats.request_latency.count(), 1);
    // The next three were due 1, 2 and 3 s after it.
    let latency = &stats.scheduled_latency;
    assert_eq!(latency.count(), 4);
    let near = |span: Option<Duration>, millis: u64| {
        let millis = Duration::from_millis(millis);
        span >= Some(millis) && span < Some(millis + Duration::from_millis(10))
    };
    assert!(near(latency.min(), 500) && near(latency.max(), 3_500));
    assert!(near(latency.mean(), 2_000), "{:?}", latency.mean());
    mini.check();
}

#[test]
pub(crate) fn a_subscriber_whose_keepalives_stay_unanswered_says_how_long_that_took() {
    let session = TcpSession {
        tcp: TcpParameters {
            keepalive: Some(TcpKeepalive {
                time: secs(30),
                interval: secs(5),
                probes: 3,
            }),
            ..TcpParameters::LINUX_CLIENT
        },
        ..session()
    };
    let mut workload = at_once(session, 2);
    workload.model = Model::PubSub {
        subject: Some(0),
        reconnect_delay: secs(1_000),
    };
    let mut mini = Setup::new(workload).build();
    mini.run_ms(15_000);
    mini.set_deaf(true);
    mini.run_ms(100_000);
    let stats = mini.stats();
    assert_eq!((stats.timed_out, stats.detection.count()), (2, 0));
    let found = &stats.idle_detection;
    assert_eq!((found.count(), found.max()), (2, Some(secs(45))));
    mini.check();
}

#[test]
pub(crate) fn a_refused_attempt_says_how_long_it_took_to_fail() {
    let mut setup = Setup::new(at_once(session(), 3));
    setup.listeners.clear();
    let mut mini = setup.build();
    mini.run_ms(10);
    let stats = mini.stats();
    assert_eq!(stats.failed_by.refused, 3);
    let took = &stats.connect_failure;
    assert_eq!(
        (took.count(), took.max()),
        (3, Some(Duration::from_millis(2)))
    );
    mini.check();
}

#[test]
pub(crate) fn requests_are_lost_to_silence_only_on_connections_that_were_silent() {
    let think = |limit: u64| {
        let kind = WorkloadKind::Tcp(impatient());
        let mut workload = clients(1, Keeping::Keep, 1, kind);
        // A client thinks for 10 s.
        workload.silence_limit = Some(secs(limit));
        let mut mini = Setup::new(workload).build();
        mini.run_ms(5_000);
        mini.set_deaf(true);
        mini.run_ms(15_000);
        assert_eq!(mini.stats().lost.timeout, 1);
        mini.stats().lost_to_silence
    };
    assert_eq!((think(10), think(11)), (1, 0));
    // The silence of a server that works.
    let works = |limit: u64| {
        let session = TcpSession {
            service_time: Distribution::from(secs(10)),
            response_timeout: Some(secs(20)),
            tcp: patient(15),
            ..session()
        };
        let mut workload = at_once(session, 1);
        workload.silence_limit = Some(secs(limit));
        let mut mini = Setup::new(workload).build();
        mini.run_ms(2);
        mini.set_deaf(true);
        mini.run_ms(5_000);
        assert_eq!(mini.clients().waiting_in_vain(ms(5_000)), [0]);
        let vain = mini.clients().waiting_in_vain(ms(15_000));
        mini.run_ms(30_000);
        assert_eq!(mini.stats().lost.timeout, 1);
        (vain[0], mini.stats().lost_to_silence)
    };
    assert_eq!((works(10), works(11)), ((1, 1), (0, 0)));
}

#[test]
pub(crate) fn news_reaches_all_subscribers_at_once_whenever_they_came() {
    let mut workload = at_once(session(), 3);
    workload.arrival = plsim_host::Arrival::Constant;
    workload.rate = Some(plsim_host::Rate {
        count: 1,
        per: secs(3),
    });
    workload.model = Model::PubSub {
        subject: Some(0),
        reconnect_delay: secs(1),
    };
    let mut mini = Setup::new(workload).build();
    mini.run_ms(25_000);
    let news = mini.log().sent.iter().filter_map(|(at, packet)| {
        let is_news = *packet.source().ip() == SERVER && packet.payload_len() > 0;
        (is_news && *at >= ms(9_900)).then_some(at.as_nanos() / 1_000_000)
    });
    // The first segment of each message of three segments leaves at once.
    let mut times: Vec<u64> = news.collect();
    times.dedup();
    assert_eq!(times[0], 10_000);
    assert!(
        times.contains(&20_000) && times.iter().all(|at| at % 10_000 < 10),
        "{times:?}"
    );
    assert_eq!(mini.stats().messages, 6);
    mini.check();
}
