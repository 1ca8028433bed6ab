//! One host between a consumer and a VM, both of which keep what they get.

use std::net::{Ipv4Addr, SocketAddrV4};

use plsim_fabric::{BackendHost, BackendHostConfig, FloatingIps, Splices};
use plsim_nat::{FrontendConfig, FrontendFlows, NatConfig, NatEngine, PoolConfig};
use plsim_packet::{Fragments, FragmentsConfig, Packet, PacketId};
use plsim_sim::{
    ChannelConfig, ChannelId, Context, Node, NodeId, Observer, Place, TapId, World, WorldBuilder,
};
use plsim_types::{DropReason, Instant, LinkId, PlsId};

#[derive(Debug)]
pub(crate) enum Room {
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
pub(crate) struct Log(Vec<DropReason>);

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

pub(crate) const BACKEND: Ipv4Addr = Ipv4Addr::new(10, 2, 1, 5);
pub(crate) const ENDPOINT: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 1, 0, 10), 443);
pub(crate) const SERVICE: u16 = 8_443;
pub(crate) const LINK: LinkId = LinkId(7);
const PLS: PlsId = PlsId(0);

/// The world, and where packets go in.
pub(crate) struct Bench {
    world: World<Room, Log>,
    host: NodeId,
    vm: (NodeId, ChannelId),
    consumer: (NodeId, ChannelId),
    now: u64,
}

impl Bench {
    /// Builds a host with one service, of which `change` may make another, and room for `limit` flows.
    pub(crate) fn new(
        limit: u32,
        fragments: FragmentsConfig,
        change: impl FnOnce(&mut PoolConfig),
    ) -> Self {
        let mut pool = PoolConfig::azure(PLS, vec![Ipv4Addr::new(10, 2, 0, 10)]);
        change(&mut pool);
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
            fragments: Fragments::new(fragments),
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
        Self {
            world: builder.build(1, nodes, Log::default()),
            host,
            vm: (vm, from_vm),
            consumer: (consumer, from_edge),
            now: 0,
        }
    }

    /// Sends a packet of a client, as the edge would.
    pub(crate) fn client_sends(&mut self, mut packet: Packet) {
        packet.encap.pls = PLS;
        packet.encap.link = LINK;
        packet.encap.backend_port = SERVICE;
        self.send(self.consumer, packet);
    }

    /// Sends a packet of the VM.
    pub(crate) fn vm_sends(&mut self, packet: Packet) {
        self.send(self.vm, packet);
    }

    fn send(&mut self, (node, channel): (NodeId, ChannelId), packet: Packet) {
        self.world.visit(node, |_, context| {
            let packet = context.inject(packet);
            context.send(channel, packet);
        });
        self.now += 1;
        let ran = self.world.run_before(Instant::from_nanos(self.now), 1_000);
        ran.expect("the run is stuck");
    }

    /// Returns what came out toward the consumers.
    pub(crate) fn heard(&self) -> &[Packet] {
        match self.world.node(self.consumer.0) {
            Room::End(seen) => seen,
            Room::Host(_) => panic!("the consumer is an end"),
        }
    }

    /// Returns why packets were dropped.
    pub(crate) fn dropped(&self) -> &[DropReason] {
        &self.world.observer().0
    }

    pub(crate) fn nat(&self) -> &NatEngine {
        match self.world.node(self.host) {
            Room::Host(host) => host.nat(),
            Room::End(_) => panic!("the host is no end"),
        }
    }
}
