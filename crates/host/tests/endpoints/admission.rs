//! What becomes of connections that a server has no room for.

use plsim_host::{Admission, Arrival, Close, Distribution, Overflow, Rate, TcpSession};
use plsim_types::{DropReason, Duration};

use crate::world::{Setup, at_once, ms, session};

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
