//! The splice between two TCP ends that share no code with it, over a network that loses, repeats
//! and reorders: the server's stream is the header and the client's bytes, the client's is its own.

#[path = "splice/end.rs"]
mod end;
#[path = "splice/random.rs"]
mod random;
#[path = "splice/wire.rs"]
mod wire;

use std::net::{Ipv4Addr, SocketAddrV4};

use end::End;
use plsim_fabric::{Consumer, ProxyService, Splices};
use plsim_packet::{Packet, ProxyHeader};
use plsim_types::{LinkId, PlsId};
use random::Random;

const NAT: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 2, 0, 10), 1024);
const BACKEND: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 2, 1, 5), 8443);
const CONSUMER: Consumer = Consumer {
    client: SocketAddrV4::new(Ipv4Addr::new(10, 1, 0, 4), 49152),
    endpoint: SocketAddrV4::new(Ipv4Addr::new(10, 1, 0, 10), 443),
    link: LinkId(0x2100_45C1),
};

/// Runs in the check; each takes about a millisecond.
const CASES: u64 = 3_000;

/// The longest a case may take, in steps.
const PATIENCE: u32 = 200_000;

/// What the network does to packets, in percent.
#[derive(Debug)]
struct Network {
    loss: u64,
    duplication: u64,
    /// The most steps that a packet is under way.
    delay: u64,
}

/// Packets under way on one leg, with the step at which they arrive.
#[derive(Debug, Default)]
struct Leg(Vec<(u32, Packet)>);

impl Leg {
    fn send(&mut self, packet: &Packet, now: u32, network: &Network, random: &mut Random) {
        let copies = 1 + u32::from(random.percent(network.duplication));
        for _ in 0..copies {
            if !random.percent(network.loss) {
                let at = now + 1 + random.below(network.delay) as u32;
                self.0.push((at, packet.clone()));
            }
        }
    }

    fn arrived(&mut self, now: u32) -> Vec<Packet> {
        let all = std::mem::take(&mut self.0);
        let (due, rest) = all.into_iter().partition(|(at, _)| *at <= now);
        self.0 = rest;
        let due: Vec<(u32, Packet)> = due;
        due.into_iter().map(|(_, packet)| packet).collect()
    }
}

/// Both ends, the splice between them, and the four legs of the way.
struct Case {
    client: End,
    server: End,
    splices: Splices,
    network: Network,
    random: Random,
    /// Client to splice, splice to server, server to splice, splice to client.
    legs: [Leg; 4],
}

impl Case {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let network = Network {
            loss: random.pick(&[0, 0, 1, 5, 20, 40]),
            duplication: random.pick(&[0, 0, 5, 20]),
            delay: random.pick(&[1, 1, 5, 30]),
        };
        let [client, server] = end::draw(&mut random);
        Self {
            client: End::new(client, NAT, BACKEND, &mut random),
            server: End::new(server, BACKEND, NAT, &mut random),
            splices: Splices::new(vec![ProxyService {
                pls: PlsId(0),
                destination: None,
            }]),
            network,
            random,
            legs: Default::default(),
        }
    }

    fn step(&mut self, now: u32) {
        let Self {
            client,
            server,
            splices,
            network,
            random,
            legs,
        } = self;
        let [up, to_server, down, to_client] = legs;
        for mut packet in up.arrived(now) {
            let ahead = splices.outward(&mut packet, &CONSUMER);
            for packet in ahead.map(|ahead| *ahead).into_iter().chain([packet]) {
                packet.verify().expect("right checksums");
                to_server.send(&packet, now, network, random);
            }
        }
        for mut packet in down.arrived(now) {
            let header = splices.inward(&mut packet, &CONSUMER);
            packet.verify().expect("right checksums");
            to_client.send(&packet, now, network, random);
            if let Some(header) = header {
                header.verify().expect("right checksums");
                to_server.send(&header, now, network, random);
            }
        }
        for packet in to_server.arrived(now) {
            check_first_bytes(&packet, client.isn(), server);
            server.receive(&packet);
        }
        for packet in to_client.arrived(now) {
            client.receive(&packet);
        }
        for packet in client.act(random) {
            up.send(&packet, now, network, random);
        }
        for packet in server.act(random) {
            down.send(&packet, now, network, random);
        }
    }
}

/// Whatever begins the server's stream begins with the whole header, and is no longer than the
/// server takes.
fn check_first_bytes(packet: &Packet, isn: u32, server: &End) {
    let segment = wire::tcp(packet);
    let bytes = wire::payload(packet);
    if segment.sequence == isn.wrapping_add(1) && !bytes.is_empty() {
        assert!(bytes.starts_with(&header()), "{packet}");
    }
    let most = server.mss().max(ProxyHeader::LENGTH as u16);
    assert!(segment.length <= most, "{packet} is longer than {most}");
}

fn header() -> [u8; 36] {
    ProxyHeader::proxy(CONSUMER.client, CONSUMER.endpoint, CONSUMER.link)
}

#[test]
fn the_server_reads_the_header_and_the_clients_bytes_and_the_client_its_own() {
    let (mut withheld, mut fast_opens, mut headers) = (0, 0, 0);
    for seed in 0..CASES {
        let mut case = Case::new(seed);
        let done = (0..PATIENCE).find(|&now| {
            case.step(now);
            case.client.is_done() && case.server.is_done()
        });
        let Case { client, server, .. } = &case;
        let state = || format!("seed {seed}: {:?}\n{client:?}\n{server:?}", case.network);
        assert!(done.is_some(), "stuck: {}", state());
        let expected = [&header(), client.written()].concat();
        assert!(server.read() == expected, "server: {}", state());
        assert!(client.read() == server.written(), "client: {}", state());
        let stats = case.splices.stats();
        withheld += u64::from(stats.withheld > 0);
        fast_opens += u64::from(stats.fast_opens > 0);
        headers += stats.headers;
    }
    // The cases must reach what they are about.
    assert!(withheld > CASES / 20, "{withheld} of {CASES} withheld");
    assert!(
        fast_opens > CASES / 20,
        "{fast_opens} of {CASES} fast opens"
    );
    assert!(headers > CASES, "some headers must go twice");
}
