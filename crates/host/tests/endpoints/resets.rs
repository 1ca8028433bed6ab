use plsim_host::{Close, TcpSession, WorkloadConfig};
use plsim_packet::{Origin, TcpHeader};
use plsim_types::{Duration, Instant, Protocol, TcpFlags};

use crate::world::{Mini, Setup, at_once, ms, session};

fn abandoned() -> TcpSession {
    TcpSession {
        close: Close::Abandon,
        ..session()
    }
}

/// An abandoned connection, and the reset that its client would accept.
fn with_reset(workload: WorkloadConfig) -> (Mini, TcpHeader) {
    let mut mini = Setup::new(workload).build();
    mini.run_ms(100);
    let latest = mini.latest(false);
    let reset = TcpHeader {
        source: latest.destination,
        destination: latest.source,
        sequence: latest.acknowledgement,
        acknowledgement: 0,
        flags: TcpFlags::RST,
        window: 0,
        mss: None,
    };
    (mini, reset)
}

#[test]
fn an_exact_reset_of_the_nat_counts_as_idle_expired_and_frees_the_port() {
    let (mut mini, reset) = with_reset(at_once(abandoned(), 1));
    mini.forge(&reset, Origin::Nat);
    mini.run_ms(200);
    assert_eq!((mini.stats().idle_expired, mini.stats().reset), (1, 0));
    assert_eq!((mini.stats().established, mini.clients().live()), (0, 0));
    mini.check();
}

#[test]
fn an_exact_reset_of_the_server_counts_as_reset() {
    let (mut mini, reset) = with_reset(at_once(abandoned(), 1));
    mini.forge(&reset, Origin::Host);
    mini.run_ms(200);
    assert_eq!((mini.stats().idle_expired, mini.stats().reset), (0, 1));
    mini.check();
}

#[test]
fn an_inexact_reset_is_challenged_inside_the_window_and_ignored_outside() {
    let (mut mini, reset) = with_reset(at_once(abandoned(), 1));
    for (offset, answers) in [(1, 1), (65_534, 1), (65_535, 0), (u32::MAX, 0)] {
        let sent = mini.log().sent.len();
        let sequence = reset.sequence.wrapping_add(offset);
        mini.forge(&TcpHeader { sequence, ..reset }, Origin::Nat);
        mini.run_until(mini.log().sent.last().unwrap().0 + Duration::from_millis(10));
        assert_eq!(mini.log().sent.len(), sent + 1 + answers, "offset {offset}");
        assert_eq!(mini.stats().established, 1);
    }
    assert_eq!(mini.stats().challenge_acks, 2);
    mini.check();
}

#[test]
fn the_server_obeys_an_exact_reset_and_challenges_others() {
    let mut mini = Setup::new(at_once(abandoned(), 1)).build();
    mini.run_ms(100);
    let latest = mini.latest(false);
    let reset = TcpHeader {
        flags: TcpFlags::RST,
        ..latest
    };
    let sequence = reset.sequence.wrapping_add(10);
    mini.forge(&TcpHeader { sequence, ..reset }, Origin::Nat);
    mini.run_ms(200);
    assert_eq!(
        (mini.server_stats().live, mini.server_stats().challenge_acks),
        (1, 1)
    );
    mini.forge(&reset, Origin::Nat);
    mini.run_ms(300);
    assert_eq!(
        (mini.server_stats().live, mini.server_stats().reset),
        (0, 1)
    );
    mini.check();
}

#[test]
fn a_syn_to_a_live_client_earns_a_challenge_ack() {
    let (mut mini, reset) = with_reset(at_once(abandoned(), 1));
    mini.forge(
        &TcpHeader {
            flags: TcpFlags::SYN,
            ..reset
        },
        Origin::Host,
    );
    mini.run_ms(200);
    assert_eq!(
        (mini.stats().challenge_acks, mini.stats().established),
        (1, 1)
    );
    mini.check();
}

/// The server still holds the first connection when the second one comes from the same port: it
/// answers the SYN with a challenge ACK, the client resets it, and the next SYN succeeds.
#[test]
fn a_server_with_an_old_connection_on_the_port_is_reset_and_then_accepts() {
    let old = at_once(abandoned(), 1);
    let new = WorkloadConfig {
        seed: 1,
        start: ms(1_000),
        ..old.clone()
    };
    let mut setup = Setup::new(old);
    setup.workloads.push(new);
    setup.ports = (5_000, 5_000);
    let mut mini = setup.build();
    mini.run_ms(100);
    let latest = mini.latest(false);
    let reset = TcpHeader {
        source: latest.destination,
        destination: latest.source,
        sequence: latest.acknowledgement,
        flags: TcpFlags::RST,
        ..latest
    };
    mini.forge(&reset, Origin::Nat);
    mini.run_ms(3_000);
    let flags = |since: Instant| -> Vec<String> {
        let lines = mini.trace(since).into_iter();
        lines
            .map(|line| line.split(' ').take(3).collect::<Vec<_>>().join(" "))
            .collect()
    };
    assert_eq!(
        flags(ms(1_000))[..5],
        [
            "1000000 c SYN",
            "1001000 s ACK",
            "1002000 c RST",
            "2000000 c SYN",
            "2001000 s SYN|ACK"
        ]
    );
    let stats = mini.clients().workloads();
    assert_eq!((stats[0].idle_expired, stats[1].established), (1, 1));
    assert_eq!(stats[1].syn_retransmissions, 1);
    let server = mini.server_stats();
    assert_eq!(
        (server.challenge_acks, server.reset, server.live),
        (1, 1, 1)
    );
    mini.check();
}

#[test]
fn a_port_nobody_listens_on_refuses_the_connection() {
    let mut setup = Setup::new(at_once(session(), 3));
    setup.listeners = vec![(Protocol::Udp, 80)];
    let mut mini = setup.build();
    mini.run_ms(100);
    assert_eq!(
        (mini.stats().failed_by.refused, mini.stats().failed),
        (3, 3)
    );
    assert_eq!((mini.server_stats().refused, mini.clients().live()), (3, 0));
    assert!(mini.stats().connect_latency.count() == 0);
    mini.check();
}

#[test]
fn late_segments_to_a_freed_client_port_are_reset() {
    let rst = TcpSession {
        close: Close::Rst,
        ..session()
    };
    let (mut mini, reset) = with_reset(at_once(rst, 1));
    let late = TcpHeader {
        flags: TcpFlags::ACK,
        acknowledgement: 77,
        ..reset
    };
    mini.forge(&late, Origin::Host);
    mini.run_ms(101);
    mini.forge(&reset, Origin::Host);
    mini.run_ms(200);
    let last = mini.latest(false);
    assert_eq!((last.flags, last.sequence), (TcpFlags::RST, 77));
    assert_eq!(mini.trace(ms(100)).len(), 3, "no reset for a reset");
    mini.check();
}

#[test]
fn a_request_without_a_readable_head_is_aborted() {
    let mut mini = Setup::new(at_once(session(), 1)).build();
    mini.run_until(ms(1) + Duration::from_nanos(1));
    // The handshake is half done; zeros overtake the client's own request.
    let syn_ack = mini.latest(true);
    let header = TcpHeader {
        source: syn_ack.destination,
        destination: syn_ack.source,
        sequence: syn_ack.acknowledgement,
        acknowledgement: syn_ack.sequence.wrapping_add(1),
        flags: TcpFlags::ACK,
        ..syn_ack
    };
    let header = TcpHeader {
        mss: None,
        ..header
    };
    mini.forge_data(&header, Origin::Host, 100);
    mini.run_ms(10);
    assert_eq!(
        (mini.server_stats().aborted, mini.server_stats().requests),
        (1, 0)
    );
    assert_eq!(mini.stats().reset, 1);
    mini.check();
}
