//! What a client hears whose new flow the NAT refuses.

use std::net::{Ipv4Addr, SocketAddrV4};

use plsim_nat::{AnswerRate, OnExhaustion};
use plsim_packet::{FragmentsConfig, IcmpError, Origin, Packet, Payload};
use plsim_types::{DropReason, Duration};

use crate::world::{Bench, ENDPOINT, LINK};

/// Sends `flows` datagrams from as many ports to a host with `ports` NAT ports and room for
/// `limit` flows; returns what came out toward the consumer and what was dropped.
fn run(answer: OnExhaustion, ports: u16, limit: u32, flows: u16) -> (Vec<Packet>, Vec<DropReason>) {
    let mut bench = Bench::new(limit, FragmentsConfig::HOST, |pool| {
        pool.ports = 2_000..=1_999 + ports;
        pool.on_exhaustion = answer;
        pool.answer_rate = AnswerRate {
            interval: Duration::from_secs(1),
            burst: 2,
        };
    });
    for flow in 0..flows {
        let client = SocketAddrV4::new(Ipv4Addr::new(10, 1, 0, 4), 40_000 + flow);
        bench.client_sends(Packet::udp(client, ENDPOINT, Payload::Zeros(100)));
    }
    (bench.heard().to_vec(), bench.dropped().to_vec())
}

#[test]
fn rfc5508_req8_an_exhausted_nat_says_so_if_it_is_told_to() {
    for (answer, code) in [
        (OnExhaustion::AdministrativelyProhibited, 13),
        (OnExhaustion::HostUnreachable, 1),
    ] {
        for (ports, limit, reason) in [
            (2, 100, DropReason::NatPortsExhausted),
            (100, 2, DropReason::VmFlowLimit),
        ] {
            let (heard, dropped) = run(answer, ports, limit, 3);
            assert_eq!(dropped, [reason], "the packet still counts");
            let [error] = heard.as_slice() else {
                panic!("one answer, not {heard:?}")
            };
            let told = IcmpError {
                kind: 3,
                code,
                sequence: None,
            };
            assert_eq!(error.icmp_error(), Some(told));
            assert_eq!(error.verify(), Ok(()));
            // It comes from the endpoint and quotes what the client sent: no provider address.
            assert_eq!(error.sender(), *ENDPOINT.ip());
            assert_eq!(error.source(), ENDPOINT);
            assert_eq!(error.destination().port(), 40_002);
            assert_eq!((error.origin, error.encap.link), (Origin::Icmp, LINK));
        }
    }
}

#[test]
fn rfc5508_req8_by_default_the_client_hears_nothing() {
    let (heard, dropped) = run(OnExhaustion::Drop, 2, 100, 4);
    assert_eq!(heard, []);
    assert_eq!(dropped, [DropReason::NatPortsExhausted; 2]);
}

#[test]
fn rfc1812_4_3_2_8_who_is_one_too_many_hears_nothing_either() {
    let (heard, dropped) = run(OnExhaustion::HostUnreachable, 2, 100, 7);
    assert_eq!(heard.len(), 2);
    assert_eq!(dropped, [DropReason::NatPortsExhausted; 5]);
}
