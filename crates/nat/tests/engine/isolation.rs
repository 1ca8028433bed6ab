//! Who may use a binding, and who may not.

use crate::harness::{
    ACK, BACKEND, CLIENT_ISN, Nat, PLS, SERVICE, SYN, SYN_ACK, client, endpoint, nat_ip, segment,
    small,
};
use core::net::{Ipv4Addr, SocketAddrV4};
use plsim_nat::{NatError, Original, PoolConfig};
use plsim_types::{DropReason, Instant, LinkId, PlsId, Protocol};

const SYN_SEGMENT: plsim_types::TcpSegment = plsim_types::TcpSegment {
    flags: SYN,
    sequence: CLIENT_ISN,
    acknowledgement: 0,
    window: 0,
    length: 0,
};

#[test]
fn rfc4787_req7_consumers_with_equal_addresses_never_see_each_others_replies() {
    let mut nat = Nat::new(small(1, 8));
    let syn = Some(SYN_SEGMENT);
    let ports: Vec<SocketAddrV4> = (0..8)
        .map(|link| {
            let got = nat.send_from(LinkId(link), 1, Protocol::Tcp, syn).unwrap();
            assert_eq!(got.link, LinkId(link));
            got.source
        })
        .collect();
    for (link, port) in ports.iter().enumerate() {
        let got = nat
            .answer(*port, segment(SYN_ACK, 1, CLIENT_ISN + 1, 0))
            .unwrap();
        assert_eq!(got.link, LinkId(link as u32));
        assert_eq!((got.source, got.destination), (endpoint(), client(1)));
        // The same client again has the same binding.
        let again = nat.send_from(LinkId(link as u32), 1, Protocol::Tcp, syn);
        assert_eq!(again.unwrap().source, *port);
    }
    let fresh = nat.send_from(LinkId(9), 1, Protocol::Tcp, syn);
    assert_eq!(fresh, Err(NatError::PortsExhausted));
}

#[test]
fn rfc4787_req1_each_part_of_the_key_makes_another_flow() {
    let mut nat = Nat::new(small(1, 100));
    let base = Original {
        pls: PLS,
        link: LinkId(1),
        client: client(1),
        endpoint: endpoint(),
        backend_port: SERVICE,
        protocol: Protocol::Tcp,
        segment: Some(SYN_SEGMENT),
    };
    let mut others = [base; 8];
    others[1].link = LinkId(2);
    others[2].client = client(2);
    others[3].client.set_ip(Ipv4Addr::new(10, 1, 9, 9));
    others[4].endpoint.set_port(444);
    others[5].endpoint.set_ip(Ipv4Addr::new(10, 1, 9, 9));
    others[6].backend_port = 9_443;
    others[7].protocol = Protocol::Udp;
    others[7].segment = None;
    for (number, packet) in others.iter().enumerate() {
        nat.engine.original(packet, Instant::ZERO).unwrap();
        assert_eq!(nat.engine.active_flows() as usize, number + 1);
    }
}

#[test]
fn rfc7857_5_tcp_and_udp_have_separate_port_spaces() {
    let mut nat = Nat::new(small(1, 1));
    let tcp = nat.send(1, SYN_SEGMENT).unwrap().source;
    assert_eq!(nat.datagram(1).unwrap().source, tcp);
    assert_eq!(nat.datagram(2), Err(NatError::PortsExhausted));
}

#[test]
fn rfc4787_req8_only_the_contacted_port_of_the_backend_may_reply() {
    let mut nat = Nat::new(small(1, 4));
    let port = nat.datagram(1).unwrap().source;
    let other_port = SocketAddrV4::new(BACKEND, SERVICE + 1);
    let other_host = SocketAddrV4::new(Ipv4Addr::new(10, 2, 0, 5), SERVICE);
    for source in [other_port, other_host] {
        assert_eq!(nat.answer_from(source, port, None), Err(NatError::Filtered));
    }
    let service = SocketAddrV4::new(BACKEND, SERVICE);
    let unbound = SocketAddrV4::new(nat_ip(0), if port.port() == 1_024 { 1_025 } else { 1_024 });
    let foreign = SocketAddrV4::new(nat_ip(7), port.port());
    let below = SocketAddrV4::new(nat_ip(0), 80);
    let above = SocketAddrV4::new(nat_ip(0), 65_535);
    for nowhere in [unbound, foreign, below, above] {
        let got = nat.answer_from(service, nowhere, None);
        assert_eq!(got, Err(NatError::NoFlow), "{nowhere}");
    }
    let as_tcp = nat.answer(port, segment(ACK, 0, 0, 0));
    assert_eq!(as_tcp, Err(NatError::NoFlow));
    assert!(nat.answer_from(service, port, None).is_ok());
}

#[test]
fn only_a_bare_syn_opens_a_tcp_flow() {
    let mut nat = Nat::new(small(1, 4));
    for flags in 0..=0x3F_u8 {
        let packet = segment(plsim_types::TcpFlags(flags), CLIENT_ISN, 0, 0);
        let opens = flags & 0x17 == 0x02;
        let got = Nat::new(small(1, 4)).send(1, packet);
        assert_eq!(got.is_ok(), opens, "{flags:#04x}");
        if !opens {
            assert_eq!(got, Err(NatError::NoFlow));
        }
    }
    let without_header = nat.send_from(LinkId(1), 1, Protocol::Tcp, None);
    assert_eq!(without_header, Err(NatError::NoFlow));
}

#[test]
fn services_have_their_own_nat_ips_and_an_unknown_one_has_none() {
    let mut config = small(1, 1);
    config
        .pools
        .push(PoolConfig::azure(PlsId(9), vec![nat_ip(1)]));
    let mut nat = Nat::new(config);
    nat.open(1).unwrap();
    assert_eq!(nat.open(2), Err(NatError::PortsExhausted));
    let mut packet = Original {
        pls: PlsId(9),
        link: LinkId(1),
        client: client(2),
        endpoint: endpoint(),
        backend_port: SERVICE,
        protocol: Protocol::Udp,
        segment: None,
    };
    let got = nat.engine.original(&packet, Instant::ZERO).unwrap();
    assert_eq!(*got.source.ip(), nat_ip(1));
    packet.pls = PlsId(3);
    let got = nat.engine.original(&packet, Instant::ZERO);
    assert_eq!(got, Err(NatError::NoFlow));
    let order: Vec<_> = nat.engine.usage().map(|u| (u.pls.0, u.protocol)).collect();
    let (tcp, udp) = (Protocol::Tcp, Protocol::Udp);
    assert_eq!(order, [(0, tcp), (0, udp), (9, tcp), (9, udp)]);
}

#[test]
fn every_error_has_its_drop_reason() {
    let reasons = [
        (NatError::PortsExhausted, DropReason::NatPortsExhausted),
        (NatError::VmFlowLimit, DropReason::VmFlowLimit),
        (NatError::NoFlow, DropReason::NoFlow),
        (NatError::Filtered, DropReason::Filtered),
    ];
    for (error, reason) in reasons {
        assert_eq!(DropReason::from(error), reason);
    }
}

#[test]
fn rfc6888_req11_a_full_pool_refuses_new_flows_and_evicts_none() {
    let mut nat = Nat::new(small(1, 4));
    let ports: Vec<SocketAddrV4> = (0..4).map(|number| nat.open(number).unwrap()).collect();
    for number in 4..100 {
        assert_eq!(nat.open(number), Err(NatError::PortsExhausted));
    }
    for (number, port) in ports.iter().enumerate() {
        let data = segment(ACK, CLIENT_ISN + 1, 0, 10);
        assert_eq!(nat.send(number as u32, data).unwrap().source, *port);
        let back = nat.answer(*port, segment(ACK, 0, CLIENT_ISN + 11, 10));
        assert_eq!(back.unwrap().destination, client(number as u32));
    }
    assert!(nat.resets().is_empty());
}

#[test]
fn rfc7857_9_ports_of_consecutive_flows_do_not_follow_each_other() {
    let mut nat = Nat::new(small(1, 60_000));
    let ports: Vec<u16> = (0..2_000)
        .map(|number| nat.datagram(number).unwrap().source.port())
        .collect();
    let near = ports
        .windows(2)
        .filter(|pair| pair[0].abs_diff(pair[1]) < 30);
    // Two even choices are that near once in a thousand.
    assert!(near.count() < 12);
    let low = ports.iter().filter(|&&port| port < 31_024).count();
    assert!(low.abs_diff(1_000) < 150, "{low}");
}
