//! What the benches share: a NAT full of flows, a load balancer, and a scenario run to its end.
#![forbid(unsafe_code)]

mod cpu_time;

pub use cpu_time::CpuTime;

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddrV4};

use plsim::{Case, Outputs, Report, Simulation, Step};
use plsim_lb::{
    AdminState, Backend, Distribution, Frontend, FrontendId, HashConfig, LbConfig, LbPoolId,
    Listen, LoadBalancer, Rehash, Rule, Stickiness,
};
use plsim_nat::{NatConfig, NatEngine, NatError, Original, PoolConfig, Reply, Translation};
use plsim_packet::{Packet, Payload, Rewrite, TcpHeader};
use plsim_types::{BackendId, Duration, Instant, LinkId, PlsId, Protocol, TcpFlags, TcpSegment};

/// The backend VM of every bench.
pub const BACKEND: Ipv4Addr = Ipv4Addr::new(10, 2, 1, 4);

/// The provider's side of a scenario: the service `service`, its load balancer, 8 backend VMs `vm`.
pub const PROVIDER: &str = r#"
[[virtual_network]]
name = "provider"
address_space = ["10.2.0.0/16"]
[[virtual_network.subnet]]
name = "nat"
prefix = "10.2.0.0/24"
private_link_service_network_policies = "Disabled"
[[virtual_network.subnet]]
name = "backend"
prefix = "10.2.1.0/24"

[[private_link_service]]
name = "service"
load_balancer_frontend = "balancer/frontend"
nat_subnet = "provider/nat"

[[load_balancer]]
name = "balancer"
[[load_balancer.frontend]]
name = "frontend"
subnet = "provider/backend"
[[load_balancer.backend_pool]]
name = "pool"
[[load_balancer.rule]]
name = "https"
frontend = "frontend"
backend_pool = "pool"
frontend_port = 443
backend_port = 443

[[backend_vm]]
name = "vm"
subnet = "provider/backend"
count = 8
backend_pools = ["balancer/pool"]
"#;

/// A NAT with this many NAT IPs and no flow limit.
#[must_use]
pub fn nat(nat_ips: u8, allocation: plsim_nat::Allocation) -> NatEngine {
    nat_of(PoolConfig {
        allocator: allocation,
        ..pool(nat_ips)
    })
}

/// A NAT with one pool and no flow limit.
///
/// # Panics
/// If the pool is invalid.
#[must_use]
pub fn nat_of(pool: PoolConfig) -> NatEngine {
    let config = NatConfig {
        backend: BACKEND,
        seed: 1,
        flow_limit: None,
        table_limit: None,
        pools: vec![pool],
        events: false,
    };
    NatEngine::new(config).expect("broken invariant: the bench's NAT is valid")
}

/// A pool of this many NAT IPs, the first 10.2.0.10.
#[must_use]
pub fn pool(nat_ips: u8) -> PoolConfig {
    let addresses = (0..nat_ips).map(|last| Ipv4Addr::new(10, 2, 0, 10 + last));
    PoolConfig::azure(PlsId(0), addresses.collect())
}

/// Prints a line of what a bench counts beside the time.
///
/// # Panics
/// If standard output is closed.
pub fn say(line: &str) {
    writeln!(std::io::stdout(), "{line}").expect("standard output is open");
}

/// The packet of a flow's original direction.
#[must_use]
pub fn original(flow: u32, flags: TcpFlags) -> Original {
    let client = Ipv4Addr::from_bits(0x0a01_0000 | (flow >> 15));
    let port = 32_768 | (flow & 0x7fff) as u16;
    Original {
        pls: PlsId(0),
        link: LinkId(7),
        client: SocketAddrV4::new(client, port),
        endpoint: SocketAddrV4::new(Ipv4Addr::new(10, 1, 255, 4), 443),
        backend_port: 443,
        protocol: Protocol::Tcp,
        segment: Some(segment(flags)),
    }
}

/// The client's next packet of a flow, as it comes to the NAT.
#[must_use]
pub fn packet(flow: u32) -> Packet {
    client_packet(flow, TcpFlags::ACK)
}

/// The client's first packet of a flow, as it comes to the NAT.
#[must_use]
pub fn syn(flow: u32) -> Packet {
    client_packet(flow, TcpFlags::SYN)
}

fn client_packet(flow: u32, flags: TcpFlags) -> Packet {
    let original = original(flow, flags);
    let header = TcpHeader {
        source: original.client,
        destination: original.endpoint,
        sequence: 1,
        acknowledgement: 2,
        flags,
        window: 65_535,
        mss: None,
    };
    let mut packet = Packet::tcp(&header, Payload::Zeros(0));
    packet.encap.pls = original.pls;
    packet.encap.link = original.link;
    packet.encap.backend_port = original.backend_port;
    packet
}

/// Visits flows in an order that no prefetcher foresees: the high bits of a product by an odd number.
#[must_use]
#[inline]
pub const fn scattered(step: u32, count: u32) -> u32 {
    ((step.wrapping_mul(2_654_435_761) as u64 * count as u64) >> 32) as u32
}

/// Reads a packet's headers.
#[must_use]
#[inline]
pub fn read(packet: &Packet) -> Original {
    let (tuple, segment) = packet.headers();
    Original {
        pls: packet.encap.pls,
        link: packet.encap.link,
        client: tuple.source,
        endpoint: tuple.destination,
        backend_port: packet.encap.backend_port,
        protocol: tuple.protocol,
        segment,
    }
}

/// Gives a packet the addresses and ports that the NAT says.
///
/// # Panics
/// If it was refused.
#[inline]
pub fn write(packet: &mut Packet, translated: Result<Translation, NatError>) {
    let translation = translated.expect("the flow is known");
    packet.rewrite(Rewrite {
        source: translation.source,
        destination: translation.destination,
    });
}

/// The packet that answers a translated one.
#[must_use]
pub fn reply(translation: &Translation, flags: TcpFlags) -> Reply {
    Reply {
        source: translation.destination,
        destination: translation.source,
        protocol: Protocol::Tcp,
        segment: Some(segment(flags)),
    }
}

const fn segment(flags: TcpFlags) -> TcpSegment {
    TcpSegment {
        flags,
        sequence: 1,
        acknowledgement: 2,
        window: 65_535,
        length: 0,
    }
}

/// A load balancer with one rule for port 443, before some VMs; if they may change, it has to remember
/// flows.
///
/// # Panics
/// Never: its configuration is valid.
#[must_use]
pub fn balancer(vms: u16, may_change: bool) -> LoadBalancer {
    let backend = |id| Backend {
        id: BackendId(id),
        address: Ipv4Addr::from_bits(0x0a02_0104 + u32::from(id)),
    };
    LoadBalancer::new(&LbConfig {
        seed: 1,
        frontends: vec![Frontend {
            address: Ipv4Addr::new(10, 2, 0, 4),
            nat_ips: Vec::new(),
        }],
        rules: vec![Rule {
            frontend: FrontendId(0),
            listen: Listen::Port(Protocol::Tcp, 443),
            backend_port: 443,
            pool: LbPoolId(0),
            probe: None,
            distribution: Distribution::FiveTuple,
            connection_tracking: false,
            forget_after: None,
        }],
        backends: (0..vms).map(backend).collect(),
        pools: vec![plsim_lb::PoolConfig {
            members: (0..vms)
                .map(|id| (BackendId(id), AdminState::None))
                .collect(),
            may_change,
        }],
        probes: Vec::new(),
        hash: HashConfig::default(),
        rehash: Rehash::default(),
        lone_backend_ends: true,
        stickiness: Stickiness {
            idle: Duration::from_secs(300),
            limit: 1_000_000,
        },
    })
    .expect("the bench's balancer is valid")
}

/// Opens flows 0..count with complete handshakes and returns how each is translated.
///
/// # Panics
/// If a flow is refused.
#[must_use]
pub fn fill(nat: &mut NatEngine, count: u32, now: Instant) -> Vec<Translation> {
    (0..count).map(|flow| open(nat, flow, now)).collect()
}

/// Opens a flow with a complete handshake and returns how it is translated.
///
/// # Panics
/// If it is refused.
pub fn open(nat: &mut NatEngine, flow: u32, now: Instant) -> Translation {
    let there = nat
        .original(&original(flow, TcpFlags::SYN), now)
        .expect("a port is free");
    let syn_ack = TcpFlags::SYN | TcpFlags::ACK;
    let back = nat
        .reply(&reply(&there, syn_ack), now)
        .expect("the binding is there");
    assert_eq!(back.destination, original(flow, TcpFlags::SYN).client);
    nat.original(&original(flow, TcpFlags::ACK), now)
        .expect("the binding is there");
    there
}

/// Runs a scenario text to its end, without output.
///
/// # Panics
/// If the scenario is invalid or the run fails.
#[must_use]
pub fn run(text: &str, overrides: &[&str]) -> Report {
    let mut simulation = simulation(text, overrides);
    while simulation.step(u64::MAX).expect("the run goes on") == Step::Running {}
    simulation.finish().expect("the run ends")
}

/// Builds the run of a scenario text, without output.
///
/// # Panics
/// If the scenario is invalid.
#[must_use]
pub fn simulation(text: &str, overrides: &[&str]) -> Simulation {
    let overrides: Vec<String> = overrides.iter().map(|&pair| pair.to_owned()).collect();
    let parsed = plsim_scenario::parse("bench.toml", text.as_bytes(), &overrides);
    let (scenario, _) = parsed.unwrap_or_else(|problems| panic!("{}", problems.render(false)));
    let case = Case {
        name: "bench".to_owned(),
        scenario,
        overrides,
        seed: None,
    };
    let built = Simulation::new(case, Outputs::none());
    built.unwrap_or_else(|problems| panic!("{}", problems.render(false)))
}
