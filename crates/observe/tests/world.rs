//! The recorder in a real world: packets in flight, losses, another order of creation.

use std::net::{Ipv4Addr, SocketAddrV4};

use plsim_observe::{Capture, CaptureConfig, Interface, Places, Recorder};
use plsim_packet::{Packet, Payload};
use plsim_sim::{
    ChannelConfig, ChannelId, Context, Impairments, Loss, Node, NodeId, TapId, World, WorldBuilder,
};
use plsim_types::{Duration, Instant};

const A: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 1), 1_000);
const B: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 2), 2_000);

/// One end: `a` sends a datagram every microsecond, `b` takes them.
struct End(Option<ChannelId>);

impl Node for End {
    fn on_packet(&mut self, packet: Box<Packet>, _: ChannelId, context: &mut Context<'_>) {
        context.deliver(packet);
    }

    fn on_timer(&mut self, token: u64, context: &mut Context<'_>) {
        let Some(out) = self.0 else { return };
        let packet = context.inject(Packet::udp(A, B, Payload::Zeros(100)));
        context.send(out, packet);
        context.set_timer(context.now() + Duration::from_micros(1), token);
    }
}

type Lossy = World<End, Recorder<Vec<u8>>>;

/// Builds the world with its ends in this order and lets `a` begin.
fn world(order: [&'static str; 2]) -> Lossy {
    let mut builder = WorldBuilder::new();
    let ids = order.map(|name| builder.node("end", name));
    let id_of = |name| if order[0] == name { ids[0] } else { ids[1] };
    let config = ChannelConfig {
        latency: Duration::from_micros(50),
        impairments: Impairments {
            loss: Loss::Random(0.25),
            ..Impairments::default()
        },
        tap_in: Some(TapId(0)),
        tap_out: Some(TapId(1)),
    };
    let channel = builder.channel("link", "a->b", (id_of("a"), id_of("b")), config);
    let nodes = order.map(|name| End((name == "a").then_some(channel)));
    let places = Places::new(order.map(|name| ("end", name)), [("link", "a->b")]);
    let interfaces = ["a", "b"].map(|name| Interface {
        name: name.to_owned(),
        description: String::new(),
    });
    let config = CaptureConfig {
        interfaces: interfaces.into(),
        ..CaptureConfig::default()
    };
    let recorder = Recorder::new(places, Some(Capture::new(Vec::new(), &config)));
    let mut world = builder.build(1, nodes.into(), recorder);
    let first: NodeId = id_of("a");
    world.visit(first, |_, context| {
        context.set_timer(Instant::from_nanos(1), 0)
    });
    world
}

fn run(world: &mut Lossy) {
    let limit = Instant::from_nanos(1_000_000);
    world.run_before(limit, u64::MAX).expect("time moves");
}

#[test]
fn the_ledger_balances_with_packets_in_flight() {
    let mut world = world(["a", "b"]);
    run(&mut world);
    let ledger = world.observer().ledger();
    assert!(world.in_flight() > 0 && ledger.dropped() > 0 && ledger.delivered > 0);
    assert_eq!(ledger.injected(), 1_000);
    assert_eq!(ledger.balance(world.in_flight()), Ok(()));
    assert!(ledger.balance(world.in_flight() + 1).is_err());
}

#[test]
fn every_packet_stands_once_per_tap_and_once_more_if_it_was_lost() {
    let mut world = world(["a", "b"]);
    run(&mut world);
    let ledger = world.observer().ledger();
    let frames = ledger.injected() + ledger.delivered + ledger.dropped();
    let capture = world.observer().capture().expect("there is a capture");
    assert_eq!(capture.frames(), frames);
}

#[test]
fn the_digest_is_that_of_a_world_built_in_another_order() {
    let (mut one, mut other) = (world(["a", "b"]), world(["b", "a"]));
    run(&mut one);
    run(&mut other);
    assert_eq!(one.observer().digest(), other.observer().digest());
}
