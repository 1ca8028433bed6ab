//! Flows of clients that dial a frontend themselves, to the nanosecond.

use std::net::{Ipv4Addr, SocketAddrV4};

use plsim_nat::{
    FrontendConfig, FrontendFlows, FrontendPacket, FrontendTimer, LbIdleAction, LbTimer, NatError,
    Sender,
};
use plsim_types::{Direction, Duration, Instant, PlsId, Protocol, TcpFlags, TcpSegment};

const SECOND: u64 = 1_000_000_000;
const RULE: u64 = 240 * SECOND;
const FRONTEND: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 2, 0, 4), 443);
const SERVER: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 2, 1, 4), 8443);
const ACK: TcpFlags = TcpFlags::ACK;
const SYN_ACK: TcpFlags = TcpFlags(0x12);
const FIN_ACK: TcpFlags = TcpFlags(0x11);

struct Host {
    flows: FrontendFlows,
    now: Instant,
}

impl Host {
    fn new(reset: bool, then: LbIdleAction, flow_limit: Option<u32>) -> Self {
        let timer = LbTimer {
            frontend_port: Some(443),
            idle: Duration::from_secs(240),
            reset,
            then,
        };
        Self {
            flows: FrontendFlows::new(FrontendConfig {
                seed: 1,
                flow_limit,
                timers: vec![FrontendTimer {
                    frontend: *FRONTEND.ip(),
                    timer,
                }],
            }),
            now: Instant::ZERO,
        }
    }

    fn after(&mut self, nanos: u64) {
        self.now = self.now + Duration::from_nanos(nanos);
    }

    fn send(&mut self, client: u16, segment: Option<TcpSegment>) -> Result<(), NatError> {
        self.dial(FRONTEND, client, segment)
    }

    fn dial(
        &mut self,
        frontend: SocketAddrV4,
        client: u16,
        segment: Option<TcpSegment>,
    ) -> Result<(), NatError> {
        let packet = FrontendPacket {
            client: address(client),
            frontend,
            server: SERVER,
            protocol: protocol(segment),
            segment,
        };
        self.flows.original(&packet, self.now)
    }

    fn answer(
        &mut self,
        client: u16,
        segment: Option<TcpSegment>,
    ) -> Option<Result<SocketAddrV4, NatError>> {
        let protocol = protocol(segment);
        self.flows
            .reply(protocol, SERVER, address(client), segment, self.now)
    }

    /// A client from 1000 and a server from 5000 shake hands.
    fn open(&mut self, client: u16) {
        assert_eq!(self.send(client, syn()), Ok(()));
        let answered = self.answer(client, tcp(SYN_ACK, 5000, 1001));
        assert_eq!(answered, Some(Ok(FRONTEND)));
        assert_eq!(self.send(client, tcp(ACK, 1001, 5001)), Ok(()));
    }
}

fn address(port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::new(10, 2, 9, 4), port)
}

const fn protocol(segment: Option<TcpSegment>) -> Protocol {
    match segment {
        Some(_) => Protocol::Tcp,
        None => Protocol::Udp,
    }
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "the header of a packet that may be none of TCP"
)]
const fn tcp(flags: TcpFlags, sequence: u32, acknowledgement: u32) -> Option<TcpSegment> {
    Some(TcpSegment {
        flags,
        sequence,
        acknowledgement,
        window: 1000,
        length: 0,
    })
}

const fn syn() -> Option<TcpSegment> {
    tcp(TcpFlags::SYN, 1000, 0)
}

#[test]
fn an_idle_flow_is_dropped_both_ways_at_the_rules_time_until_a_new_syn() {
    let mut host = Host::new(false, LbIdleAction::Drop, None);
    host.open(1);
    // Packets of both sides refresh.
    host.after(RULE - 1);
    assert_eq!(host.answer(1, tcp(ACK, 5001, 1001)), Some(Ok(FRONTEND)));
    host.after(RULE - 1);
    assert_eq!(host.send(1, tcp(ACK, 1001, 5001)), Ok(()));
    host.after(RULE);
    assert_eq!(host.send(1, tcp(ACK, 1001, 5001)), Err(NatError::LbIdle));
    let answered = host.answer(1, tcp(ACK, 5001, 1001));
    assert_eq!(answered, Some(Err(NatError::LbIdle)));
    let usage = host.flows.usage();
    assert_eq!((usage.flows, usage.opened, usage.lb_idle), (0, 1, 1));
    assert_eq!(host.flows.poll_reset(), None);
    // Remembered for as long again, then unknown.
    let mut later = Host {
        flows: host.flows.clone(),
        now: host.now,
    };
    host.after(RULE - 1);
    assert_eq!(host.send(1, tcp(ACK, 1001, 5001)), Err(NatError::LbIdle));
    host.after(1);
    assert_eq!(host.send(1, tcp(ACK, 1001, 5001)), Err(NatError::NoFlow));
    assert_eq!(host.answer(1, tcp(ACK, 5001, 1001)), None);
    assert_eq!(host.flows.poll_timeout(), None);
    later.after(1);
    later.open(1);
    assert_eq!(later.flows.usage().flows, 1);
}

#[test]
fn with_tcp_reset_both_ends_hear_of_it_at_the_rules_time() {
    let mut host = Host::new(true, LbIdleAction::Drop, None);
    host.open(1);
    host.after(RULE - 1);
    host.flows.handle_timeout(host.now);
    assert_eq!(host.flows.poll_reset(), None);
    host.after(1);
    host.flows.handle_timeout(host.now);
    let to_server = host.flows.poll_reset().unwrap();
    assert_eq!(to_server.toward, Direction::Original);
    assert_eq!(
        (to_server.source, to_server.destination, to_server.sequence),
        (address(1), SERVER, 1001)
    );
    let to_client = host.flows.poll_reset().unwrap();
    assert_eq!(to_client.toward, Direction::Reply);
    assert_eq!(
        (to_client.source, to_client.destination, to_client.sequence),
        (FRONTEND, address(1), 5001)
    );
    for reset in [to_server, to_client] {
        assert_eq!(
            (reset.pls, reset.link, reset.by),
            (PlsId::NONE, None, Sender::LbTimer)
        );
    }
    assert_eq!(host.flows.poll_reset(), None);
    assert!(host.flows.poll_timeout().unwrap() > host.now);
}

#[test]
fn a_load_balancer_that_forgets_takes_what_comes_late_for_a_new_flow() {
    let mut host = Host::new(false, LbIdleAction::Forget, None);
    host.open(1);
    for _ in 0..2 {
        host.after(RULE);
        assert_eq!(host.answer(1, tcp(ACK, 5001, 1001)), Some(Ok(FRONTEND)));
    }
    assert_eq!(host.flows.usage().lb_idle, 0);
    // A VM that never saw the connection gets its packet, and its reset finds the way back.
    let mut other = Host::new(false, LbIdleAction::Forget, None);
    assert_eq!(other.send(1, tcp(ACK, 1001, 5001)), Ok(()));
    let reset = other.answer(1, tcp(TcpFlags::RST, 5001, 0));
    assert_eq!(reset, Some(Ok(FRONTEND)));
    assert_eq!(other.flows.usage().flows, 0);
}

#[test]
fn only_a_syn_or_a_datagram_begins_a_flow_of_a_load_balancer_that_drops() {
    let mut host = Host::new(false, LbIdleAction::Drop, None);
    assert_eq!(host.send(1, tcp(ACK, 1001, 5001)), Err(NatError::NoFlow));
    assert_eq!(
        host.send(1, tcp(TcpFlags::RST, 1001, 0)),
        Err(NatError::NoFlow)
    );
    assert_eq!(host.answer(1, None), None);
    assert_eq!(host.send(1, None), Ok(()));
    assert_eq!(host.answer(1, None), Some(Ok(FRONTEND)));
    // UDP knows no rule's timer: 300 s as behind a NAT.
    host.after(300 * SECOND - 1);
    assert_eq!(host.answer(1, None), Some(Ok(FRONTEND)));
    host.after(300 * SECOND);
    assert_eq!(host.answer(1, None), None);
    assert_eq!(host.flows.usage().lb_idle, 0);
}

/// A later part of a segment.
const fn rest(sequence: u32, acknowledgement: u32, length: u16) -> Option<TcpSegment> {
    Some(TcpSegment {
        flags: TcpFlags(0),
        sequence,
        acknowledgement,
        window: 0,
        length,
    })
}

#[test]
fn later_fragments_tell_how_far_their_segment_reaches() {
    let mut host = Host::new(false, LbIdleAction::Drop, None);
    // A SYN with data in two parts, which the server acknowledges as a whole.
    let syn = syn().map(|syn| TcpSegment { length: 16, ..syn });
    host.send(1, syn).unwrap();
    host.send(1, rest(1017, 0, 8)).unwrap();
    host.answer(1, tcp(SYN_ACK, 5000, 1025)).unwrap().unwrap();
    // So is a request, of which the server expects the next byte.
    host.send(1, tcp(ACK, 1025, 5001)).unwrap();
    host.send(1, rest(1025, 5001, 50)).unwrap();
    host.answer(1, tcp(ACK, 5001, 1075)).unwrap().unwrap();
    host.send(1, tcp(TcpFlags::RST, 1074, 0)).unwrap();
    assert_eq!(host.flows.usage().flows, 1);
    host.send(1, tcp(TcpFlags::RST, 1075, 0)).unwrap();
    assert_eq!(host.flows.usage().flows, 0);
    // What rests is not prolonged by a part, and no part begins anything.
    host.after(16 * SECOND - 1);
    assert_eq!(host.send(1, rest(1075, 5001, 8)), Ok(()));
    assert_eq!(host.flows.usage().flows, 0);
    host.after(1);
    for mut host in [host, Host::new(false, LbIdleAction::Forget, None)] {
        assert_eq!(host.send(1, rest(1075, 5001, 8)), Err(NatError::NoFlow));
    }
}

#[test]
fn datagrams_and_later_fragments_refresh() {
    let mut host = Host::new(false, LbIdleAction::Drop, None);
    host.open(1);
    for _ in 0..3 {
        host.after(RULE - 1);
        assert_eq!(host.send(1, rest(1001, 5001, 8)), Ok(()));
    }
    let mut host = Host::new(false, LbIdleAction::Drop, None);
    host.send(1, None).unwrap();
    for _ in 0..3 {
        host.after(300 * SECOND - 1);
        assert_eq!(host.answer(1, None), Some(Ok(FRONTEND)));
    }
}

#[test]
fn a_closed_connection_rests_and_is_no_active_flow() {
    let mut host = Host::new(true, LbIdleAction::Drop, Some(1));
    host.open(1);
    assert_eq!(host.send(2, syn()), Err(NatError::VmFlowLimit));
    host.send(1, tcp(FIN_ACK, 1001, 5001)).unwrap();
    host.answer(1, tcp(FIN_ACK, 5001, 1002)).unwrap().unwrap();
    assert_eq!(host.flows.usage().flows, 0);
    // The last ACK still passes, and another flow may begin.
    assert_eq!(host.send(1, tcp(ACK, 1002, 5002)), Ok(()));
    assert_eq!(host.send(2, syn()), Ok(()));
    // Its SYN again is a new connection, for which there is no room.
    assert_eq!(host.send(1, syn()), Err(NatError::VmFlowLimit));
    let usage = host.flows.usage();
    assert_eq!((usage.flows, usage.peak, usage.opened), (1, 1, 2));
    host.after(RULE);
    host.flows.handle_timeout(host.now);
    assert_eq!(host.flows.poll_reset(), None, "nobody has a connection");
    assert_eq!(host.flows.usage().flows, 0);
}

#[test]
fn a_syn_to_another_frontend_of_the_same_port_takes_the_flow_along() {
    let mut host = Host::new(false, LbIdleAction::Drop, None);
    let other = SocketAddrV4::new(Ipv4Addr::new(10, 2, 0, 5), 443);
    host.open(1);
    host.dial(other, 1, tcp(TcpFlags::SYN, 9000, 0)).unwrap();
    assert_eq!(host.answer(1, tcp(ACK, 5001, 1001)), Some(Ok(other)));
}

#[test]
fn drained_flows_are_reset_and_others_stay() {
    let mut host = Host::new(false, LbIdleAction::Drop, None);
    host.open(1);
    host.send(2, syn()).unwrap();
    let elsewhere = host
        .flows
        .reset_flows(|client, _| client == address(3), host.now);
    assert_eq!(elsewhere, 0);
    let drained = host.flows.reset_flows(
        |client, frontend| [address(1), address(2)].contains(&client) && frontend == FRONTEND,
        host.now,
    );
    assert_eq!(drained, 1, "the other one is not established");
    let resets: Vec<_> = std::iter::from_fn(|| host.flows.poll_reset()).collect();
    assert_eq!(resets.len(), 2);
    assert!(resets.iter().all(|reset| reset.by == Sender::LbDrain));
    assert_eq!(host.flows.usage().flows, 1);
}
