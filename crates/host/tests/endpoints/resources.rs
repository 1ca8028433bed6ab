use plsim_host::{Arrival, Close, Distribution, Rate, TcpSession};
use plsim_types::{Duration, Instant};

use crate::world::{Setup, at_once, ms, session};

fn abandoned() -> TcpSession {
    TcpSession {
        request: Distribution::Fixed(8),
        response: Distribution::Fixed(8),
        close: Close::Abandon,
        ..session()
    }
}

#[test]
fn a_connection_without_a_free_port_on_any_vm_fails_for_client_ports() {
    let mut setup = Setup::new(at_once(abandoned(), 7));
    (setup.clients, setup.ports) = (2, (1_024, 1_026));
    let mut mini = setup.build();
    mini.run_ms(100);
    let stats = mini.stats();
    assert_eq!(
        (
            stats.established,
            stats.failed,
            stats.failed_by.client_ports
        ),
        (6, 1, 1)
    );
    assert_eq!(mini.clients().live(), 6);
    mini.check();
}

#[test]
fn time_wait_keeps_the_port_for_60_s() {
    let mut workload = at_once(session(), 3);
    (workload.arrival, workload.rate) = (
        Arrival::Constant,
        Some(Rate {
            count: 1,
            per: Duration::from_secs(30),
        }),
    );
    let mut setup = Setup::new(workload);
    setup.ports = (5_000, 5_000);
    // The first connection enters TIME_WAIT 6 ms after its start; the third starts at 60 s.
    let mut mini = setup.clone().build();
    mini.run_ms(90_000);
    assert_eq!(
        (mini.stats().closed, mini.stats().failed_by.client_ports),
        (1, 2)
    );
    // Six milliseconds and one nanosecond later the port is free.
    let per = Duration::from_nanos(30_003_000_001);
    setup.workloads[0].rate = Some(Rate { count: 1, per });
    let mut mini = setup.build();
    mini.run_ms(60_005);
    assert_eq!(mini.clients().live(), 1, "closed, but in TIME_WAIT");
    mini.run_ms(90_000);
    assert_eq!(
        (mini.stats().closed, mini.stats().failed_by.client_ports),
        (2, 1)
    );
    mini.check();
}

#[test]
fn a_port_used_again_while_the_server_is_in_time_wait_connects_at_once() {
    let mut workload = at_once(
        TcpSession {
            close: Close::Server,
            ..session()
        },
        50,
    );
    workload.arrival = Arrival::Constant;
    workload.rate = Some(Rate {
        count: 1,
        per: Duration::from_secs(1),
    });
    let mut setup = Setup::new(workload);
    setup.ports = (5_000, 5_001);
    let mut mini = setup.build();
    mini.run_ms(50_500);
    let stats = mini.stats();
    assert_eq!((stats.closed, stats.attempted), (50, 50));
    assert_eq!((stats.syn_retransmissions, stats.challenge_acks), (0, 0));
    assert_eq!(mini.server_stats().challenge_acks, 0);
    assert_eq!(mini.server_stats().time_wait, 2, "one for each port");
    mini.check();
}

#[test]
fn a_port_rests_as_long_as_its_system_says() {
    let mut session = session();
    session.tcp.time_wait = Duration::from_secs(120);
    let mut setup = Setup::new(at_once(session, 1));
    setup.ports = (5_000, 5_000);
    let mut mini = setup.build();
    // TIME_WAIT begins with the server's FIN, 6 ms after the start.
    mini.run_ms(120_006);
    assert_eq!((mini.stats().closed, mini.clients().live()), (1, 1));
    mini.run_ms(120_007);
    assert_eq!(mini.clients().live(), 0);
}

#[test]
fn connections_take_turns_over_the_vms() {
    let mut setup = Setup::new(at_once(abandoned(), 9));
    setup.clients = 3;
    let mini = setup.build();
    let sources = mini
        .log()
        .sent
        .iter()
        .map(|(_, packet)| packet.source().ip().octets()[3]);
    assert_eq!(sources.collect::<Vec<_>>(), [4, 5, 6, 4, 5, 6, 4, 5, 6]);
}

/// Slabs grow in steps of 65 536 ends at first, then of 131 072 and 262 144; before the last one is full a
/// part of it is only reserved.
#[test]
fn both_ends_of_a_connection_with_their_look_up_take_128_bytes() {
    for (connections, limit) in [
        (64_512, 128),
        (131_072, 128),
        (262_144, 128),
        (131_073, 205),
        (262_145, 205),
    ] {
        let mut setup = Setup::new(at_once(abandoned(), connections));
        (setup.clients, setup.keep) = (10, false);
        let mut mini = setup.build();
        mini.run_ms(100);
        assert_eq!(mini.server_stats().live, connections);
        let bytes = mini.clients().memory_bytes() + mini.server().memory_bytes();
        let each = (bytes as u64).div_ceil(connections);
        assert!(
            each <= limit,
            "{each} bytes for each of {connections} connections"
        );
    }
}

#[test]
fn sizes_of_its_own_and_further_requests_take_24_bytes_each_and_16_where_the_server_works() {
    let sizes = Distribution::Uniform {
        low: 16,
        high: 1_000,
    };
    let sized = TcpSession {
        request: sizes.clone(),
        ..abandoned()
    };
    let worked = TcpSession {
        service_time: Distribution::Fixed(1_000_000),
        ..sized.clone()
    };
    let repeated = TcpSession {
        requests: Some(2),
        interval: Some(Distribution::Fixed(3_600_000_000_000)),
        ..worked.clone()
    };
    for (session, limit) in [(sized, 128 + 24), (worked, 128 + 40), (repeated, 128 + 64)] {
        let mut setup = Setup::new(at_once(session, 262_144));
        (setup.clients, setup.keep) = (10, false);
        let mut mini = setup.build();
        mini.run_ms(2_000);
        assert_eq!(mini.stats().responses, 262_144);
        assert_eq!(mini.server_stats().live, 262_144);
        let bytes = mini.clients().memory_bytes() + mini.server().memory_bytes();
        let each = bytes.div_ceil(262_144);
        assert!((limit - 24..=limit).contains(&each), "{each} of {limit}");
    }
}

#[test]
fn ten_thousand_idle_vms_cost_less_than_2_mb() {
    let mut workload = at_once(abandoned(), 1);
    workload.start = ms(1);
    let mut setup = Setup::new(workload);
    setup.clients = 10_000;
    let mini = setup.build();
    assert_eq!(mini.clients().live(), 0);
    assert!(
        mini.clients().memory_bytes() < 2_000_000,
        "{}",
        mini.clients().memory_bytes()
    );
}

#[test]
fn every_port_of_a_vm_can_be_used_and_the_last_one_is_found() {
    let mut setup = Setup::new(at_once(abandoned(), 28_233));
    setup.keep = false;
    let mut mini = setup.build();
    mini.run_ms(100);
    assert_eq!(
        (
            mini.stats().established,
            mini.stats().failed_by.client_ports
        ),
        (28_232, 1)
    );
    mini.check();
}

#[test]
fn nothing_starts_at_stop() {
    let mut workload = at_once(session(), 5);
    workload.stop = Instant::ZERO;
    let mut mini = Setup::new(workload).build();
    mini.run_ms(100);
    assert_eq!(mini.stats().attempted, 0);
}
