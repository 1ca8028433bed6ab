//! What becomes of connections that a server has no room for.

use std::net::{Ipv4Addr, SocketAddrV4};

use plsim_host::{Admission, Arrival, Close, Distribution, Overflow, Rate, SynCookies, TcpSession};
use plsim_packet::{Origin, TcpHeader};
use plsim_types::{DropReason, Duration, TcpFlags};

use crate::world::{PORT, SERVER, Setup, at_once, ms, session};

/// Held for a while after the response.
fn held(millis: u64) -> TcpSession {
    TcpSession {
        request: Distribution::Fixed(100),
        response: Distribution::Fixed(100),
        hold: Distribution::Fixed(Duration::from_millis(millis).as_nanos()),
        ..session()
    }
}

#[test]
pub(crate) fn whoever_finds_the_application_full_is_connected_but_waits_for_its_response() {
    let mut setup = Setup::new(at_once(held(500), 5));
    setup.admission = Admission {
        backlog: Some(10),
        max_connections: Some(2),
        ..setup.admission
    };
    let mut mini = setup.build();
    mini.run_ms(400);
    let stats = mini.stats();
    assert_eq!((stats.established, stats.responses), (5, 2));
    assert_eq!((mini.server_stats().live, mini.server().waiting()), (5, 3));
    // The first two close 500 ms after their response; then two more are served.
    mini.run_ms(600);
    assert_eq!(mini.stats().responses, 4);
    mini.run_ms(3_000);
    let stats = mini.stats();
    assert_eq!((stats.closed, stats.responses), (5, 5));
    assert_eq!(mini.server_stats().overflow, Overflow::default());
    assert_eq!(mini.server().waiting(), 0);
    mini.check();
}

#[test]
pub(crate) fn syns_are_dropped_while_as_many_handshakes_are_under_way_as_the_backlog_says() {
    let mut setup = Setup::new(at_once(held(0), 10));
    setup.admission.backlog = Some(4);
    let mut mini = setup.build();
    mini.run_ms(500);
    assert_eq!(mini.stats().closed, 4);
    assert_eq!(mini.server_stats().overflow.syn_queue, 6);
    assert_eq!(mini.log().dropped[&DropReason::SynQueueFull], 6);
    // Four more get in after 1 s, the last two after 3 s.
    mini.run_ms(2_000);
    assert_eq!(mini.stats().closed, 8);
    mini.run_ms(4_000);
    assert_eq!(mini.stats().closed, 10);
    assert_eq!(mini.server_stats().overflow.syn_queue, 6 + 2);
    mini.check();
}

#[test]
pub(crate) fn with_a_full_accept_queue_the_last_ack_is_ignored_and_syns_are_dropped() {
    let session = TcpSession {
        close: Close::Abandon,
        ..held(0)
    };
    // One is served, two wait.
    let mut first = at_once(session.clone(), 3);
    first.arrival = Arrival::Constant;
    first.rate = Some(Rate {
        count: 100,
        per: Duration::from_secs(1),
    });
    // Of two at once only one can wait, too.
    let mut second = at_once(session.clone(), 2);
    second.start = ms(50);
    let mut late = at_once(session, 1);
    late.start = ms(60);
    let mut setup = Setup::new(first);
    setup.workloads.extend([second, late]);
    setup.admission = Admission {
        backlog: Some(2),
        max_connections: Some(1),
        ..setup.admission
    };
    let mut mini = setup.build();
    mini.run_ms(55);
    assert_eq!((mini.server_stats().live, mini.server().waiting()), (4, 3));
    assert_eq!(mini.server_stats().half_open, 1);
    let established: u64 = mini
        .clients()
        .workloads()
        .iter()
        .map(|one| one.established)
        .sum();
    assert_eq!(established, 5, "the client believes it is connected");
    // Its ACK, and then its request, which is another.
    assert_eq!(mini.server_stats().overflow.accept_queue, 2);
    mini.run_ms(100);
    assert_eq!(mini.clients().workloads()[2].connecting, 1);
    assert_eq!(mini.log().dropped[&DropReason::AcceptQueueFull], 3);
    // The SYN-ACK and the request come again after 1 s, the late SYN as well; nobody gets in.
    mini.run_ms(1_500);
    assert_eq!(mini.server_stats().half_open, 1);
    assert_eq!(mini.server().waiting(), 3);
    assert_eq!(mini.clients().workloads()[0].responses, 1);
}

fn with_cookies(session: TcpSession, count: u64, backlog: u32) -> Setup {
    let mut setup = Setup::new(at_once(session, count));
    setup.admission = Admission {
        backlog: Some(backlog),
        max_connections: None,
        syn_cookies: true,
    };
    setup.full = [false; 2];
    setup
}

#[test]
fn a_syn_that_finds_no_room_gets_a_cookie_and_connects_at_once() {
    let mut mini = with_cookies(held(0), 10, 4).build();
    mini.run_ms(500);
    assert_eq!(mini.stats().closed, 10);
    assert_eq!(mini.stats().responses, 10);
    assert_eq!(mini.stats().syn_retransmissions, 0);
    let server = mini.server_stats();
    let all = SynCookies {
        sent: 6,
        accepted: 6,
        failed: 0,
    };
    assert_eq!((server.cookies, server.accepted), (all, 10));
    assert_eq!(server.overflow, Overflow::default());
    assert_eq!((server.half_open, server.half_open_lost), (0, 0));
    mini.check();
}

/// A SYN of a host that answers nothing.
fn silent_syn(port: u16) -> TcpHeader {
    TcpHeader {
        source: SocketAddrV4::new(Ipv4Addr::new(10, 9, 9, 9), port),
        destination: SocketAddrV4::new(SERVER, PORT),
        sequence: 7,
        acknowledgement: 0,
        flags: TcpFlags::SYN,
        window: 1_000,
        mss: Some(1_460),
    }
}

/// RFC 4987 §3.6 (RFC4987).
#[test]
fn of_a_handshake_with_a_cookie_the_server_keeps_nothing() {
    let mut mini = with_cookies(held(0), 1, 1).build();
    mini.run_ms(100);
    for port in 2_000..2_100 {
        mini.forge(&silent_syn(port), Origin::Host);
    }
    mini.run_ms(900);
    let server = mini.server_stats();
    assert_eq!((server.half_open, server.cookies.sent), (1, 99));
    assert_eq!(server.retransmissions, 0);
    mini.run_ms(200_000);
    let server = mini.server_stats();
    assert_eq!((server.half_open, server.half_open_lost), (0, 1));
    assert_eq!(server.retransmissions, 5, "of the SYN-ACK that it knows");
}

#[test]
fn a_cookie_comes_back_with_the_first_data_or_is_too_old() {
    for (after, accepted) in [(60_000, 1), (125_000, 0)] {
        let mut mini = with_cookies(held(0), 1, 1).build();
        mini.run_ms(100);
        mini.forge(&silent_syn(2_000), Origin::Host);
        mini.forge(&silent_syn(2_001), Origin::Host);
        mini.run_ms(200);
        let answer = mini.latest(true);
        assert_eq!(answer.flags, TcpFlags::SYN | TcpFlags::ACK);
        // Cookies are expected for two minutes after the last one.
        mini.run_ms(after - 5_000);
        mini.forge(&silent_syn(2_002), Origin::Host);
        mini.forge(&silent_syn(2_003), Origin::Host);
        mini.run_ms(after);
        let data = TcpHeader {
            sequence: 8,
            acknowledgement: answer.sequence.wrapping_add(1),
            flags: TcpFlags::ACK,
            mss: None,
            ..silent_syn(2_001)
        };
        mini.forge_data(&data, Origin::Host, 100);
        mini.run_ms(after + 100);
        let server = mini.server_stats();
        assert_eq!(server.accepted - mini.stats().closed, accepted);
        let cookies = (server.cookies.accepted, server.cookies.failed);
        assert_eq!(cookies, (accepted, 1 - accepted));
        // What is no request is reset, too.
        assert!(mini.latest(true).flags.has(TcpFlags::RST));
    }
}

#[test]
fn a_cookie_that_finds_the_queue_for_the_application_full_is_dropped() {
    let mut setup = with_cookies(held(60_000), 6, 1);
    setup.admission.max_connections = Some(1);
    let mut mini = setup.build();
    mini.run_ms(150);
    let server = mini.server_stats();
    // One is served and two wait, as with a backlog of one; of the others the last ACK is ignored.
    assert_eq!((server.accepted, server.cookies.sent), (3, 5));
    assert_eq!((server.cookies.accepted, server.half_open), (2, 0));
    assert_eq!(server.overflow.syn_queue, 0);
    assert_eq!(mini.log().dropped[&DropReason::AcceptQueueFull], 2 * 3);
    assert_eq!(mini.stats().established, 6, "so the clients believe");
    mini.check();
}
