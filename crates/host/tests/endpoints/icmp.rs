//! What an ICMP error does to the flow that it is about.

use plsim_host::{Close, Distribution, TcpSession, UdpSession, WorkloadKind};
use plsim_packet::{Origin, Packet, Payload};
use plsim_types::{Duration, TcpFlags};

use crate::world::{Mini, Setup, at_once, session};

/// The latest packet of the client, which the error will quote.
fn latest(mini: &Mini) -> Packet {
    mini.log().sent.last().expect("a packet was sent").1.clone()
}

fn unreachable(about: &Packet, code: u8) -> Packet {
    Packet::unreachable(about, code, Origin::Icmp).expect("the packet can be quoted")
}

#[test]
pub(crate) fn an_error_about_the_syn_fails_the_attempt_at_once_as_linux_does() {
    for (code, ends) in [(0, true), (1, true), (3, true), (4, false), (13, true)] {
        let mut mini = Setup::new(at_once(session(), 1)).build();
        mini.set_deaf(true);
        mini.run_ms(1);
        let syn = latest(&mini);
        assert_eq!(syn.tcp_segment().unwrap().flags, TcpFlags::SYN);
        mini.forge_packet(unreachable(&syn, code));
        mini.run_ms(3);
        assert_eq!(
            mini.stats().failed_by.unreachable,
            u64::from(ends),
            "{code}"
        );
        assert_eq!(mini.clients().live(), usize::from(!ends), "{code}");
        mini.check();
        mini.run_ms(2_000);
        assert_eq!(mini.stats().syn_retransmissions, u64::from(!ends), "{code}");
    }
}

#[test]
pub(crate) fn an_error_about_another_sequence_number_is_ignored() {
    let mut mini = Setup::new(at_once(session(), 1)).build();
    mini.set_deaf(true);
    mini.run_ms(1);
    let mut header = mini.latest(false);
    header.sequence = header.sequence.wrapping_sub(1);
    let stale = Packet::tcp(&header, Payload::Zeros(0));
    mini.forge_packet(unreachable(&stale, 13));
    mini.run_ms(3);
    assert_eq!((mini.stats().failed, mini.stats().connecting), (0, 1));
}

#[test]
pub(crate) fn an_established_connection_takes_no_notice() {
    let abandoned = TcpSession {
        close: Close::Abandon,
        ..session()
    };
    let mut mini = Setup::new(at_once(abandoned, 1)).build();
    mini.run_ms(100);
    for header in [mini.latest(false), mini.latest(true)] {
        mini.forge_packet(unreachable(&Packet::tcp(&header, Payload::Zeros(0)), 3));
    }
    mini.run_ms(200);
    assert_eq!((mini.stats().established, mini.server_stats().live), (1, 1));
    mini.check();
}

#[test]
fn a_hard_error_fails_a_udp_request_and_a_soft_one_does_not() {
    for (code, ends) in [(1, false), (3, true), (4, false), (13, true)] {
        let mut workload = at_once(session(), 1);
        workload.kind = WorkloadKind::Udp(UdpSession {
            request: Distribution::Fixed(100),
            response: Distribution::Fixed(100),
            hold: Duration::from_secs(3).into(),
            service_time: Distribution::Fixed(0),
            requests: None,
            interval: None,
            response_timeout: Duration::from_secs(5),
        });
        let mut mini = Setup::new(workload).build();
        mini.set_deaf(true);
        mini.run_ms(1);
        let request = latest(&mini);
        mini.forge_packet(unreachable(&request, code));
        mini.run_ms(3);
        assert_eq!(
            mini.stats().failed_by.unreachable,
            u64::from(ends),
            "{code}"
        );
        mini.run_ms(6_000);
        let timeouts = mini.stats().failed_by.timeout;
        assert_eq!((timeouts, mini.clients().live()), (u64::from(!ends), 0));
        mini.check();
    }
}
