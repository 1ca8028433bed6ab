//! What a client hears whose new flow the NAT refuses.

use std::net::{Ipv4Addr, SocketAddrV4};

use plsim_fabric::{BackendHost, BackendHostConfig, FloatingIps, Splices};
use plsim_nat::{FrontendConfig, FrontendFlows, NatConfig, NatEngine, OnExhaustion, PoolConfig};
use plsim_packet::{Fragments, FragmentsConfig, IcmpError, Origin, Packet, PacketId, Payload};
use plsim_sim::{
    ChannelConfig, ChannelId, Context, Node, NodeId, Observer, Place, TapId, World, WorldBuilder,
};
use plsim_types::{DropReason, Instant, LinkId, PlsId};

#[derive(Debug)]
enum Room {
    Host(Box<BackendHost>),
    /// Keeps what arrives.
    End(Vec<Packet>),
}

impl Node for Room {
    fn on_packet(&mut self, packet: Box<Packet>, by: ChannelId, context: &mut Context<'_>) {
        match self {
            Self::Host(host) => host.on_packet(packet, by, context),
            Self::End(seen) => {
                seen.push((*packet).clone());
                context.deliver(packet);
            }
        }
    }

    fn on_timer(&mut self, token: u64, context: &mut Context<'_>) {
        if let Self::Host(host) = self {
            host.on_timer(token, context);
        }
    }
}

#[derive(Debug, Default)]
struct Log(Vec<DropReason>);

impl Observer for Log {
    fn injected(&mut self, _: Instant, _: NodeId, _: &Packet) {}

    fn duplicated(&mut self, _: Instant, _: ChannelId, _: &Packet, _: PacketId) {}

    fn delivered(&mut self, _: Instant, _: NodeId, _: &Packet) {}

    fn dropped(&mut self, _: Instant, _: Place, _: &Packet, reason: DropReason) {
        self.0.push(reason);
    }

    fn merged(&mut self, _: Instant, _: NodeId, _: &Packet) {}

    fn tapped(&mut self, _: Instant, _: TapId, _: &Packet) {}
}

const BACKEND: Ipv4Addr = Ipv4Addr::new(10, 2, 1, 5);
const ENDPOINT: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 1, 0, 10), 443);
const PLS: PlsId = PlsId(0);
const LINK: LinkId = LinkId(7);

/// Sends `flows` datagrams from as many ports to a host with `ports` NAT ports and room for
/// `limit` flows; returns what came out toward the consumer and what was dropped.
fn run(answer: OnExhaustion, ports: u16, limit: u32, flows: u16) -> (Vec<Packet>, Vec<DropReason>) {
    let mut pool = PoolConfig::azure(PLS, vec![Ipv4Addr::new(10, 2, 0, 10)]);
    pool.ports = 2_000..=1_999 + ports;
    pool.on_exhaustion = answer;
    let nat = NatEngine::new(NatConfig {
        backend: BACKEND,
        seed: 1,
        flow_limit: Some(limit),
        table_limit: None,
        pools: vec![pool],
        events: false,
    });
    let mut builder = WorldBuilder::new();
    let host = builder.node("host", "host");
    let vm = builder.node("end", "vm");
    let consumer = builder.node("end", "consumer");
    let mut link = |name, ends| builder.channel("link", name, ends, ChannelConfig::default());
    let to_vm = link("to-vm", (host, vm));
    let from_vm = link("from-vm", (vm, host));
    let from_edge = link("from-edge", (consumer, host));
    let to_backbone = link("to-backbone", (host, consumer));
    let node = BackendHost::new(BackendHostConfig {
        address: BACKEND,
        nat: nat.expect("the configuration is right"),
        frontend_flows: FrontendFlows::new(FrontendConfig {
            seed: 1,
            flow_limit: None,
            timers: Vec::new(),
        }),
        splices: Splices::default(),
        floating_ips: FloatingIps::default(),
        fragments: Fragments::new(FragmentsConfig::HOST),
        probes: None,
        to_vm,
        from_vm,
        to_backbone,
    });
    let nodes = vec![
        Room::Host(Box::new(node)),
        Room::End(Vec::new()),
        Room::End(Vec::new()),
    ];
    let mut world: World<Room, Log> = builder.build(1, nodes, Log::default());
    for flow in 0..flows {
        world.visit(consumer, |_, context| {
            let client = SocketAddrV4::new(Ipv4Addr::new(10, 1, 0, 4), 40_000 + flow);
            let mut packet = Packet::udp(client, ENDPOINT, Payload::Zeros(100));
            packet.encap.pls = PLS;
            packet.encap.link = LINK;
            packet.encap.backend_port = 8_443;
            let packet = context.inject(packet);
            context.send(from_edge, packet);
        });
    }
    let ran = world.run_before(Instant::from_nanos(1), 1_000);
    ran.expect("the run is stuck");
    let Room::End(seen) = world.node(consumer) else {
        panic!("the consumer is an end")
    };
    (seen.clone(), world.observer().0.clone())
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
