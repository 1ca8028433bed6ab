use plsim_host::{Distribution, Keeping, UdpSession, WorkloadConfig, WorkloadKind};
use plsim_packet::Packet;
use plsim_types::{DropReason, Duration, Protocol};

use crate::workloads::clients;
use crate::world::{Mini, SERVER, Setup, at_once, session};

fn flow(hold: u64, interval: Option<u64>) -> WorkloadConfig {
    let mut workload = at_once(session(), 1);
    workload.kind = WorkloadKind::Udp(UdpSession {
        request: Distribution::Fixed(100),
        response: Distribution::Fixed(3_000),
        hold: Duration::from_secs(hold).into(),
        interval: interval.map(|secs| Duration::from_secs(secs).into()),
        service_time: Distribution::Fixed(0),
        requests: None,
        response_timeout: Duration::from_secs(5),
    });
    workload
}

/// Lists each datagram as (ms, from the server, payload bytes).
fn trace(mini: &Mini) -> Vec<(u64, bool, usize)> {
    let sent = mini.log().sent.iter().map(|(at, packet)| {
        (
            at.as_nanos() / 1_000_000,
            *packet.source().ip() == SERVER,
            packet.payload_len(),
        )
    });
    sent.collect()
}

#[test]
fn one_request_is_answered_in_full_datagrams_and_the_flow_closes_after_its_hold() {
    let mut mini = Setup::new(flow(3, None)).build();
    mini.run_ms(3_002);
    assert_eq!((mini.stats().established, mini.stats().responses), (1, 1));
    mini.run_ms(3_003);
    let expected = [
        (0, false, 100),
        (1, true, 1_472),
        (1, true, 1_472),
        (1, true, 56),
    ];
    assert_eq!(trace(&mini), expected);
    assert_eq!((mini.stats().closed, mini.clients().live()), (1, 0));
    assert_eq!(
        mini.stats().connect_latency.max(),
        Some(Duration::from_millis(2))
    );
    assert_eq!(mini.server_stats().requests, 1);
    mini.check();
}

#[test]
fn requests_repeat_at_the_interval_until_the_hold_is_over() {
    let mut mini = Setup::new(flow(10, Some(3))).build();
    mini.run_ms(10_002);
    assert_eq!(
        mini.stats().established,
        1,
        "the hold counts from the first response at 2 ms"
    );
    mini.run_ms(10_003);
    let asked = trace(&mini)
        .into_iter()
        .filter(|(_, from_server, _)| !from_server);
    assert_eq!(
        asked.map(|(at, ..)| at).collect::<Vec<_>>(),
        [0, 3_000, 6_000, 9_000]
    );
    let stats = mini.stats();
    assert_eq!((stats.closed, stats.requests, stats.responses), (1, 4, 4));
    mini.check();
}

#[test]
fn an_empty_response_is_one_empty_datagram() {
    let mut workload = flow(0, None);
    let WorkloadKind::Udp(session) = &mut workload.kind else {
        panic!("UDP")
    };
    session.response = Distribution::Fixed(0);
    let mut mini = Setup::new(workload).build();
    mini.run_ms(10);
    assert_eq!(trace(&mini), [(0, false, 100), (1, true, 0)]);
    assert_eq!(mini.stats().closed, 1);
}

#[test]
fn a_first_request_without_answer_fails_and_a_later_one_times_out() {
    let mut mini = Setup::new(flow(100, Some(3))).build();
    mini.run_ms(4_000);
    mini.set_deaf(true);
    mini.run_ms(11_000);
    assert_eq!(mini.stats().established, 1);
    mini.run_ms(11_001);
    assert_eq!((mini.stats().timed_out, mini.stats().established), (1, 0));
    mini.check();

    let mut setup = Setup::new(flow(100, Some(3)));
    setup.listeners = vec![(Protocol::Tcp, 80)];
    let mut mini = setup.build();
    mini.run_ms(5_000);
    assert_eq!(mini.stats().connecting, 1);
    mini.run_ms(5_001);
    assert_eq!(
        (mini.stats().failed_by.timeout, mini.stats().attempted),
        (1, 1)
    );
    assert_eq!(mini.log().dropped.get(&DropReason::NoListener), Some(&1));
    mini.check();
}

#[test]
fn an_answer_still_due_at_the_end_of_hold_is_waited_for() {
    let mut mini = Setup::new(flow(4, Some(3))).build();
    mini.run_ms(2_000);
    mini.set_deaf(true);
    mini.run_ms(8_000);
    assert_eq!(
        mini.stats().established,
        1,
        "hold ended at 4 s, the answer is due until 8 s"
    );
    mini.run_ms(8_001);
    assert_eq!((mini.stats().timed_out, mini.stats().closed), (1, 0));
}

#[test]
fn a_late_answer_to_a_closed_flow_finds_no_listener() {
    let mut workload = flow(0, None);
    let WorkloadKind::Udp(session) = &mut workload.kind else {
        panic!("UDP")
    };
    session.response_timeout = Duration::from_micros(1_500);
    let mut mini = Setup::new(workload).build();
    mini.run_ms(10);
    assert_eq!(mini.stats().failed_by.timeout, 1);
    assert_eq!(mini.log().dropped.get(&DropReason::NoListener), Some(&3));
    assert_eq!(mini.stats().attempted, 1);
}

/// A client that asks for so many bytes, waits for 2 s, and has three attempts.
fn asking(response: u64, service_time: u64) -> Mini {
    let kind = WorkloadKind::Udp(UdpSession {
        request: Distribution::Fixed(60),
        response: Distribution::Fixed(response),
        hold: Distribution::Fixed(0),
        interval: None,
        service_time: Duration::from_millis(service_time).into(),
        requests: None,
        response_timeout: Duration::from_secs(2),
    });
    Setup::new(clients(1, Keeping::Keep, 3, kind)).build()
}

#[test]
fn the_answer_to_a_request_that_was_given_up_is_none_to_the_next_one() {
    // The first is answered at 3.502 s: it was given up at 2 s, and the second is out since 3 s.
    for response in [2, 120, 3_000] {
        let mut mini = asking(response, 3_500);
        mini.run_ms(60_000);
        let stats = mini.stats();
        let datagrams = trace(&mini)
            .iter()
            .filter(|(_, by_server, _)| *by_server)
            .count();
        assert!(datagrams > 5, "the answers do come");
        assert_eq!((stats.responses, stats.operations.succeeded), (0, 0));
        assert_eq!(stats.lost.timeout + stats.awaiting, stats.requests);
        mini.check();
    }
    let mut mini = asking(120, 1_997);
    mini.run_ms(60_000);
    let latency = &mini.stats().request_latency;
    assert_eq!(latency.min(), Some(Duration::from_millis(1_999)));
    assert_eq!(mini.stats().lost.total(), 0, "at the last moment");
}

#[test]
fn a_duplicate_of_an_answer_is_none_to_the_next_request() {
    let mut mini = asking(120, 500);
    mini.run_ms(600);
    let (_, answer) = mini
        .log()
        .sent
        .iter()
        .find(|(_, packet)| *packet.source().ip() == SERVER)
        .unwrap();
    let copy = Packet::udp(
        answer.source(),
        answer.destination(),
        answer.payload().clone(),
    );
    // The client thinks for 10 s, and asks again.
    mini.run_ms(10_600);
    assert_eq!((mini.stats().requests, mini.stats().responses), (2, 1));
    mini.forge_packet(copy);
    mini.run_ms(20_000);
    let latency = &mini.stats().request_latency;
    assert_eq!(
        (latency.count(), latency.min()),
        (2, Some(Duration::from_millis(502)))
    );
    mini.check();
}
