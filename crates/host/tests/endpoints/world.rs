use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddrV4};

use plsim_host::{
    Admission, Application, Arrival, Behaviour, ClientVms, ClientVmsConfig, Close, Curve,
    Distribution, EphemeralPorts, FullStack, Model, ServerStats, ServerVm, ServerVmConfig, Subject,
    TcpKeepalive, TcpParameters, TcpSession, WorkloadConfig, WorkloadKind, WorkloadStats,
};
use plsim_packet::{Origin, Packet, PacketId, Payload, TcpHeader};
use plsim_sim::{
    ChannelConfig, ChannelId, Context, Impairments, Loss, Node, NodeId, Observer, Place, Progress,
    TapId, World, WorldBuilder,
};
use plsim_types::{DropReason, Duration, Instant, Protocol, TcpFlags};

pub(crate) const SERVER: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 4);
pub(crate) const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 4);
pub(crate) const PORT: u16 = 80;

/// One node of the world; a deaf one drops all it receives.
#[derive(Debug)]
pub(crate) enum Vm {
    Client(Box<ClientVms>),
    Server { vm: Box<ServerVm>, deaf: bool },
}

impl Node for Vm {
    fn on_packet(&mut self, packet: Box<Packet>, by: ChannelId, cx: &mut Context<'_>) {
        match self {
            Self::Client(vms) => vms.on_packet(packet, by, cx),
            Self::Server { deaf: true, .. } => cx.drop(packet, DropReason::NoRoute),
            Self::Server { vm, deaf: false } => vm.on_packet(packet, by, cx),
        }
    }

    fn on_timer(&mut self, token: u64, cx: &mut Context<'_>) {
        match self {
            Self::Client(vms) => vms.on_timer(token, cx),
            Self::Server { vm, .. } => vm.on_timer(token, cx),
        }
    }
}

/// What was seen.
#[derive(Debug, Default)]
pub(crate) struct Log {
    /// Each packet as it was sent.
    pub(crate) sent: Vec<(Instant, Packet)>,
    pub(crate) keep: bool,
    pub(crate) injected: u64,
    pub(crate) delivered: u64,
    pub(crate) dropped: BTreeMap<DropReason, u64>,
    /// Distinct payload runs of each flow that were delivered.
    runs: BTreeMap<(SocketAddrV4, SocketAddrV4), BTreeSet<(u32, u16)>>,
    pub(crate) digest: u64,
}

impl Log {
    fn fold(&mut self, word: u64) {
        self.digest = (self.digest ^ word)
            .wrapping_mul(0x0000_0100_0000_01B3)
            .rotate_left(17);
    }

    /// Sums the distinct payload bytes that were delivered from, or to, a port.
    pub(crate) fn bytes(&self, from_server: bool) -> u64 {
        let flows = self
            .runs
            .iter()
            .filter(|((from, _), _)| (*from.ip() == SERVER) == from_server);
        flows
            .flat_map(|(_, runs)| runs)
            .map(|(_, length)| u64::from(*length))
            .sum()
    }
}

impl Observer for Log {
    fn injected(&mut self, now: Instant, node: NodeId, packet: &Packet) {
        packet.verify().expect("an endpoint sent a broken packet");
        self.injected += 1;
        self.fold(now.as_nanos() ^ u64::from(node.0) << 60);
        let mut bytes = Vec::new();
        packet.write_to(&mut bytes, usize::MAX);
        bytes.iter().for_each(|&byte| self.fold(u64::from(byte)));
        if self.keep {
            self.sent.push((now, packet.clone()));
        }
    }

    fn duplicated(&mut self, _now: Instant, _channel: ChannelId, _packet: &Packet, _of: PacketId) {
        self.injected += 1;
    }

    fn delivered(&mut self, _now: Instant, _node: NodeId, packet: &Packet) {
        self.delivered += 1;
        if let Some(segment) = packet.tcp_segment()
            && segment.length > 0
        {
            let flow = (packet.source(), packet.destination());
            self.runs
                .entry(flow)
                .or_default()
                .insert((segment.sequence, segment.length));
        }
    }

    fn dropped(&mut self, _now: Instant, _place: Place, _packet: &Packet, reason: DropReason) {
        *self.dropped.entry(reason).or_default() += 1;
    }

    fn merged(&mut self, _now: Instant, _node: NodeId, _packet: &Packet) {}

    fn tapped(&mut self, _now: Instant, _tap: TapId, _packet: &Packet) {}
}

thread_local! {
    static PAIRING: Cell<[bool; 2]> = const { Cell::new([false; 2]) };
}

/// Runs tests with the full TCP at clients, at the server, or not.
pub(crate) fn in_pairing(full: [bool; 2], tests: impl FnOnce()) {
    let before = PAIRING.replace(full);
    tests();
    PAIRING.set(before);
}

/// What a test may change of the world.
#[derive(Debug, Clone)]
pub(crate) struct Setup {
    pub(crate) clients: u32,
    pub(crate) ports: (u16, u16),
    pub(crate) workloads: Vec<WorkloadConfig>,
    pub(crate) listeners: Vec<(Protocol, u16)>,
    pub(crate) latency: Duration,
    pub(crate) loss: f64,
    pub(crate) seed: u64,
    pub(crate) keep: bool,
    pub(crate) server_tcp: TcpParameters,
    pub(crate) admission: Admission,
    /// Whether the clients, and the server, have the full TCP.
    pub(crate) full: [bool; 2],
}

impl Setup {
    /// One client VM, 1 ms each way, no loss, packets kept.
    pub(crate) fn new(workload: WorkloadConfig) -> Self {
        Self {
            clients: 1,
            ports: (32_768, 60_999),
            workloads: vec![workload],
            listeners: vec![(Protocol::Tcp, PORT), (Protocol::Udp, PORT)],
            latency: Duration::from_millis(1),
            loss: 0.0,
            seed: 1,
            keep: true,
            server_tcp: TcpParameters::LINUX_SERVER,
            admission: Admission::default(),
            full: PAIRING.get(),
        }
    }

    pub(crate) fn build(self) -> Mini {
        let mut builder = WorldBuilder::new();
        let client = builder.node("client-vm", "clients");
        let server = builder.node("backend-vm", "server");
        let link = ChannelConfig {
            latency: self.latency,
            impairments: Impairments {
                loss: Loss::Random(self.loss),
                ..Default::default()
            },
            ..Default::default()
        };
        let up = builder.channel("link", "up", (client, server), link.clone());
        let down = builder.channel("link", "down", (server, client), link);
        let full = self
            .full
            .map(|is_full| is_full.then_some(FullStack::DEFAULT));
        let first = CLIENT.to_bits();
        let clients = ClientVms::new(ClientVmsConfig {
            addresses: (first..first + self.clients)
                .map(Ipv4Addr::from_bits)
                .collect(),
            ephemeral_ports: EphemeralPorts {
                range: self.ports.0..=self.ports.1,
                even_first: false,
                shared: false,
            },
            full: full[0],
            out: up,
            seed: self.seed,
            workloads: self.workloads,
        });
        let vm = Box::new(ServerVm::new(ServerVmConfig {
            floating_ips: Vec::new(),
            address: SERVER,
            out: down,
            listeners: self.listeners,
            application: Application::Plain,
            subjects: vec![Subject {
                interval: Duration::from_secs(10).into(),
                seed: 1,
            }],
            tcp: self.server_tcp,
            admission: self.admission,
            behaviour: Behaviour::default(),
            full: full[1],
            seed: self.seed,
        }));
        let nodes = vec![
            Vm::Client(Box::new(clients)),
            Vm::Server { vm, deaf: false },
        ];
        let log = Log {
            keep: self.keep,
            ..Log::default()
        };
        let mut mini = Mini {
            world: builder.build(self.seed, nodes, log),
            client,
            server,
            up,
            down,
        };
        mini.world.visit(client, |node, cx| {
            let Vm::Client(clients) = node else {
                panic!("the first node is the client group")
            };
            clients.start(cx);
        });
        mini
    }
}

#[derive(Debug)]
pub(crate) struct Mini {
    world: World<Vm, Log>,
    client: NodeId,
    server: NodeId,
    up: ChannelId,
    down: ChannelId,
}

impl Mini {
    pub(crate) fn run_until(&mut self, at: Instant) {
        let progress = self
            .world
            .run_before(at, u64::MAX)
            .expect("the run is stuck");
        assert_eq!(progress, Progress::Reached);
    }

    /// Runs to just before an instant given in milliseconds.
    pub(crate) fn run_ms(&mut self, millis: u64) {
        self.run_until(ms(millis));
    }

    /// Runs at most one event; false at the limit.
    pub(crate) fn step(&mut self, limit: Instant) -> bool {
        self.world.run_before(limit, 1).expect("the run is stuck") == Progress::Paused
    }

    pub(crate) fn clients(&self) -> &ClientVms {
        let Vm::Client(clients) = self.world.node(self.client) else {
            panic!("the first node")
        };
        clients
    }

    pub(crate) fn stats(&self) -> &WorkloadStats {
        &self.clients().workloads()[0]
    }

    pub(crate) fn server(&self) -> &ServerVm {
        let Vm::Server { vm, .. } = self.world.node(self.server) else {
            panic!("the second node")
        };
        vm
    }

    pub(crate) fn server_stats(&self) -> &ServerStats {
        self.server().stats()
    }

    pub(crate) fn log(&self) -> &Log {
        self.world.observer()
    }

    pub(crate) fn in_flight(&self) -> u64 {
        self.world.in_flight()
    }

    /// Has something happen to the client VMs.
    pub(crate) fn with_clients(&mut self, act: impl FnOnce(&mut ClientVms, &mut Context<'_>)) {
        self.world.visit(self.client, |node, cx| {
            let Vm::Client(clients) = node else {
                panic!("the first node")
            };
            act(clients, cx);
        });
    }

    /// Makes the server drop all it receives, or hear again.
    pub(crate) fn set_deaf(&mut self, is_deaf: bool) {
        self.world.visit(self.server, |node, _| {
            let Vm::Server { deaf, .. } = node else {
                panic!("the second node")
            };
            *deaf = is_deaf;
        });
    }

    /// Forges a bare segment from one end, or from the NAT in its name.
    pub(crate) fn forge(&mut self, header: &TcpHeader, origin: Origin) {
        self.forge_data(header, origin, 0);
    }

    /// The same with that many zero bytes.
    pub(crate) fn forge_data(&mut self, header: &TcpHeader, origin: Origin, length: u16) {
        let mut packet = Packet::tcp(header, Payload::Zeros(length));
        packet.origin = origin;
        self.forge_packet(packet);
    }

    /// Sends any packet from the end whose address it has.
    pub(crate) fn forge_packet(&mut self, packet: Packet) {
        let (node, out) = if packet.sender() == SERVER {
            (self.server, self.down)
        } else {
            (self.client, self.up)
        };
        self.world.visit(node, |_, cx| {
            let packet = cx.inject(packet);
            cx.send(out, packet);
        });
    }

    /// Returns the headers of the latest segment from the server or from the clients.
    pub(crate) fn latest(&self, from_server: bool) -> TcpHeader {
        let mut sent = self.log().sent.iter().rev().map(|(_, packet)| packet);
        let packet = sent
            .find(|packet| (*packet.source().ip() == SERVER) == from_server)
            .expect("nothing was sent");
        header_of(packet)
    }

    /// Checks that every packet is accounted for and every connection is in one place.
    pub(crate) fn check(&self) {
        for stats in self.clients().workloads() {
            assert_eq!(stats.attempted, stats.accounted(), "{stats:?}");
            assert_eq!(stats.requests, stats.requests_accounted(), "{stats:?}");
            let operations = &stats.operations;
            assert_eq!(operations.attempted, operations.accounted(), "{stats:?}");
            let by = operations.failed_by;
            assert_eq!(
                operations.failed,
                by.connect + by.reset + by.timeout + by.borrow_timeout
            );
            let failed = stats.failed_by;
            assert_eq!(
                stats.failed,
                failed.timeout + failed.refused + failed.client_ports + failed.unreachable
            );
        }
        let server = self.server_stats();
        let ended = server.closed + server.reset + server.timed_out + server.aborted;
        assert_eq!(server.accepted, server.live + ended, "{server:?}");
        let log = self.log();
        let dropped: u64 = log.dropped.values().sum();
        assert_eq!(log.injected, log.delivered + dropped + self.in_flight());
    }

    /// Writes each packet from `since` on as `µs side flags seq ack length`, numbers relative.
    pub(crate) fn trace(&self, since: Instant) -> Vec<String> {
        let mut isn = [None, None];
        let mut lines = Vec::new();
        for (at, packet) in &self.log().sent {
            let segment = packet.tcp_segment().expect("a TCP trace");
            let side = usize::from(*packet.source().ip() == SERVER);
            let own = *isn[side].get_or_insert(segment.sequence);
            let acknowledged = match (segment.flags.has(TcpFlags::ACK), isn[1 - side]) {
                (true, Some(isn)) => segment.acknowledgement.wrapping_sub(isn),
                _ => 0,
            };
            if *at >= since {
                let micros = at.as_nanos() / 1_000;
                let sequence = segment.sequence.wrapping_sub(own);
                let name = ["c", "s"][side];
                let (flags, length) = (segment.flags, segment.length);
                lines.push(format!(
                    "{micros} {name} {flags} {sequence} {acknowledged} {length}"
                ));
            }
        }
        lines
    }
}

pub(crate) fn header_of(packet: &Packet) -> TcpHeader {
    let segment = packet.tcp_segment().expect("TCP");
    TcpHeader {
        source: packet.source(),
        destination: packet.destination(),
        sequence: segment.sequence,
        acknowledgement: segment.acknowledgement,
        flags: segment.flags,
        window: segment.window,
        mss: packet.mss(),
    }
}

pub(crate) fn ms(millis: u64) -> Instant {
    Instant::ZERO + Duration::from_millis(millis)
}

/// One connection at t = 0: 200 B asked, 3 000 B answered, closed by FIN at once.
pub(crate) fn session() -> TcpSession {
    TcpSession {
        request: Distribution::Fixed(200),
        response: Distribution::Fixed(3_000),
        hold: Distribution::Fixed(0),
        service_time: Distribution::Fixed(0),
        requests: None,
        interval: None,
        close: Close::Fin,
        response_timeout: None,
        connect_timeout: None,
        tcp: patient(3),
    }
}

/// Sends each segment again so many times.
pub(crate) fn patient(retries: u8) -> TcpParameters {
    TcpParameters {
        open_retries: retries,
        retries,
        orphan_retries: retries,
        ..TcpParameters::LINUX_CLIENT
    }
}

/// Gives up after three unanswered probes.
pub(crate) fn probed(time: Duration, interval: Duration) -> TcpParameters {
    TcpParameters {
        keepalive: Some(TcpKeepalive {
            time,
            interval,
            probes: 3,
        }),
        ..patient(3)
    }
}

pub(crate) fn at_once(session: TcpSession, connections: u64) -> WorkloadConfig {
    WorkloadConfig {
        seed: 1,
        destinations: SocketAddrV4::new(SERVER, PORT).into(),
        kind: WorkloadKind::Tcp(session),
        model: Model::OpenLoop,
        arrival: Arrival::AtOnce,
        rate: None,
        curve: Curve::Flat,
        connections: Some(connections),
        start: Instant::ZERO,
        stop: ms(1_000_000_000),
        silence_limit: None,
    }
}
