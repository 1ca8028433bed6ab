//! TCP packets that belong to no binding and may not create one.

use crate::harness::{
    ACK, BACKEND, CLIENT_ISN, FIN, Nat, PLS, RST, RST_ACK, SECOND, SERVER_ISN, SERVICE, SYN,
    SYN_ACK, client, endpoint, nat_ip, segment, small,
};
use core::net::{Ipv4Addr, SocketAddrV4};
use plsim_nat::{LatePackets, NatError, OnIdle, Reset, Sender};
use plsim_types::{Direction, LinkId, Protocol, TcpFlags, TcpSegment};

fn answering() -> Nat {
    let mut config = small(1, 1);
    config.pools[0].late_packets = LatePackets::Reset;
    config.pools[0].on_idle = OnIdle::Silent;
    Nat::new(config)
}

/// The sequence number and acknowledgement of an RST.
type Numbers = (u32, Option<u32>);

/// What a segment is answered with.
fn table() -> [(TcpSegment, Option<Numbers>); 8] {
    [
        (segment(ACK, 70, 900, 10), Some((900, None))),
        (segment(FIN, 70, 900, 0), Some((900, None))),
        (segment(SYN_ACK, 70, 900, 0), Some((900, None))),
        // Parts of a segment behind its first fragment, which was answered.
        (segment(TcpFlags(0x00), 70, 900, 10), None),
        (segment(TcpFlags(0x01), 70, 900, 10), None),
        (segment(TcpFlags(0x03), u32::MAX, 0, 0), Some((0, Some(1)))),
        (segment(RST, 70, 0, 0), None),
        (segment(RST_ACK, 70, 900, 0), None),
    ]
}

#[test]
fn rfc9293_3_10_7_1_a_late_packet_of_the_client_is_answered_by_an_rst() {
    for (late, expected) in table() {
        let mut nat = answering();
        assert_eq!(nat.send(1, late), Err(NatError::NoFlow));
        let expected = expected.map(|(sequence, acknowledgement)| Reset {
            pls: PLS,
            link: Some(LinkId(1)),
            by: Sender::Nat,
            toward: Direction::Reply,
            source: endpoint(),
            destination: client(1),
            sequence,
            acknowledgement,
        });
        assert_eq!(nat.resets(), Vec::from_iter(expected), "{late:?}");
    }
}

#[test]
fn rfc9293_3_10_7_1_a_late_packet_of_the_backend_is_answered_by_an_rst() {
    let unbound = SocketAddrV4::new(nat_ip(0), 1_024);
    for (late, expected) in table() {
        let mut nat = answering();
        assert_eq!(nat.answer(unbound, late), Err(NatError::NoFlow));
        let expected = expected.map(|(sequence, acknowledgement)| Reset {
            pls: PLS,
            link: None,
            by: Sender::Nat,
            toward: Direction::Original,
            source: unbound,
            destination: SocketAddrV4::new(BACKEND, SERVICE),
            sequence,
            acknowledgement,
        });
        assert_eq!(nat.resets(), Vec::from_iter(expected), "{late:?}");
    }
}

#[test]
fn data_after_idle_expiry_is_dropped_or_reset() {
    for answered in [false, true] {
        let mut nat = answering();
        if !answered {
            let mut config = small(1, 1);
            config.pools[0].on_idle = OnIdle::Silent;
            nat = Nat::new(config);
        }
        let port = nat.open(1).unwrap();
        nat.after(300 * SECOND);
        let data = segment(ACK, CLIENT_ISN + 1, SERVER_ISN + 1, 10);
        assert_eq!(nat.send(1, data), Err(NatError::NoFlow));
        let sent: Vec<_> = nat.resets().iter().map(|reset| reset.sequence).collect();
        assert_eq!(
            sent,
            if answered {
                vec![SERVER_ISN + 1]
            } else {
                vec![]
            }
        );
        let data = segment(ACK, SERVER_ISN + 1, CLIENT_ISN + 1, 10);
        assert_eq!(nat.answer(port, data), Err(NatError::NoFlow));
        assert_eq!(nat.resets().len(), usize::from(answered));
        assert_eq!(nat.engine.bindings().count(), 0);
    }
}

#[test]
fn nothing_but_a_late_packet_of_this_nat_is_answered() {
    let mut nat = answering();
    let data = segment(ACK, 1, 2, 3);
    let service = SocketAddrV4::new(BACKEND, SERVICE);
    let unbound = SocketAddrV4::new(nat_ip(0), 1_024);
    // A NAT IP of somebody else, a source that is not this backend, a datagram, a fragment.
    let foreign = SocketAddrV4::new(nat_ip(7), 1_024);
    let stranger = SocketAddrV4::new(Ipv4Addr::new(10, 2, 0, 5), SERVICE);
    assert_eq!(nat.answer(foreign, data), Err(NatError::NoFlow));
    assert_eq!(
        nat.answer_from(stranger, unbound, Some(data)),
        Err(NatError::NoFlow)
    );
    assert_eq!(
        nat.answer_from(service, unbound, None),
        Err(NatError::NoFlow)
    );
    for fragment in [None, Some(segment(TcpFlags(0), 5, 2, 8))] {
        let fragment = nat.send_from(LinkId(1), 1, Protocol::Tcp, fragment);
        assert_eq!(fragment, Err(NatError::NoFlow));
    }
    // A new flow, one that finds no port, and a reply from the wrong port.
    let port = nat.send(1, segment(SYN, 5, 0, 0)).unwrap().source;
    assert_eq!(
        nat.send(2, segment(SYN, 5, 0, 0)),
        Err(NatError::PortsExhausted)
    );
    let other = SocketAddrV4::new(BACKEND, SERVICE + 1);
    assert_eq!(
        nat.answer_from(other, port, Some(data)),
        Err(NatError::Filtered)
    );
    assert!(nat.resets().is_empty());
}
