//! PROXY headers spliced between two ends of a TCP that is not ours (smoltcp).

use std::collections::VecDeque;
use std::net::SocketAddrV4;

use plsim_fabric::{Consumer, ProxyService, Splices};
use plsim_packet::{Packet, ProxyHeader};
use plsim_types::{KeyedHash, LinkId, PlsId};
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::tcp::{Socket, SocketBuffer, State};
use smoltcp::time::Instant;
use smoltcp::wire::{HardwareAddress, IpAddress, IpCidr};

/// Runs in the check, about 5 ms each.
const CASES: u64 = 200;

/// The longest a case may take, in virtual milliseconds.
const PATIENCE: i64 = 3_600_000;

/// What the backend sees of a client.
const NAT: &str = "10.2.0.10:1024";
const BACKEND: &str = "10.2.1.5:8443";

/// The draws of a seed.
struct Random(KeyedHash, u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.1 += 1;
        self.0.word(self.1) % limit
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize]
    }
}

/// What passes between a stack and the network.
struct Nic {
    mtu: usize,
    received: VecDeque<Vec<u8>>,
    sent: VecDeque<Vec<u8>>,
}

struct Received(Vec<u8>);

struct Sending<'a>(&'a mut VecDeque<Vec<u8>>);

impl RxToken for Received {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, read: F) -> R {
        read(&self.0)
    }
}

impl TxToken for Sending<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, write: F) -> R {
        let mut bytes = vec![0; length];
        let result = write(&mut bytes);
        self.0.push_back(bytes);
        result
    }
}

impl Device for Nic {
    type RxToken<'a> = Received;
    type TxToken<'a> = Sending<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Received, Sending<'_>)> {
        let bytes = self.received.pop_front()?;
        Some((Received(bytes), Sending(&mut self.sent)))
    }

    fn transmit(&mut self, _: Instant) -> Option<Sending<'_>> {
        Some(Sending(&mut self.sent))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = self.mtu;
        capabilities
    }
}

/// One machine with one connection.
struct Machine {
    nic: Nic,
    interface: Interface,
    sockets: SocketSet<'static>,
    socket: SocketHandle,
    /// What its application writes, how much of that is written, and what it has read.
    bytes: Vec<u8>,
    written: usize,
    read: Vec<u8>,
    /// Writes only once so many bytes have come.
    waits_for: usize,
}

impl Machine {
    fn new(address: SocketAddrV4, loss: u64, random: &mut Random) -> Self {
        let mut nic = Nic {
            mtu: random.pick(&[1_500, 576, 110]),
            received: VecDeque::new(),
            sent: VecDeque::new(),
        };
        let mut config = Config::new(HardwareAddress::Ip);
        config.random_seed = random.below(u64::MAX);
        let mut interface = Interface::new(config, &mut nic, Instant::ZERO);
        interface.update_ip_addrs(|addresses| {
            let address = IpAddress::Ipv4(*address.ip());
            addresses.push(IpCidr::new(address, 16)).unwrap();
        });
        let mut buffer = || SocketBuffer::new(vec![0; random.pick(&[100, 1_000, 10_000, 200_000])]);
        let mut socket = Socket::new(buffer(), buffer());
        socket.set_nagle_enabled(random.below(2) == 0);
        socket.set_keep_alive(Some(smoltcp::time::Duration::from_secs(10)));
        if random.below(2) == 0 {
            // A clock for timestamps; any number that never falls does.
            socket.set_tsval_generator(Some(|| 1));
        }
        let mut sockets = SocketSet::new(Vec::new());
        let socket = sockets.add(socket);
        // Its time-outs grow to a minute: where much is lost little is sent.
        let most = if loss > 0 { 2_000 } else { 50_000 };
        let length = random.pick(&[0, 1, 100, most]);
        Self {
            nic,
            interface,
            sockets,
            socket,
            bytes: (0..length).map(|_| random.below(256) as u8).collect(),
            written: 0,
            read: Vec::new(),
            waits_for: 0,
        }
    }

    fn act(&mut self, now: Instant) {
        let socket = self.sockets.get_mut::<Socket<'_>>(self.socket);
        while socket.can_recv() {
            socket
                .recv(|bytes| {
                    self.read.extend_from_slice(bytes);
                    (bytes.len(), ())
                })
                .unwrap();
        }
        let is_opened = !matches!(
            socket.state(),
            State::Listen | State::SynSent | State::SynReceived
        );
        if is_opened && (self.read.len() >= self.waits_for || !socket.may_recv()) {
            if socket.can_send() {
                self.written += socket.send_slice(&self.bytes[self.written..]).unwrap();
            }
            if self.written == self.bytes.len() {
                socket.close();
            }
        }
        self.interface.poll(now, &mut self.nic, &mut self.sockets);
    }

    fn is_done(&self) -> bool {
        let state = self.sockets.get::<Socket<'_>>(self.socket).state();
        matches!(state, State::Closed | State::TimeWait)
    }
}

/// Packets under way, with the millisecond at which they arrive.
#[derive(Default)]
struct Leg(Vec<(i64, Packet)>);

impl Leg {
    fn send(&mut self, packet: Packet, now: i64, loss: u64, random: &mut Random) {
        if random.below(100) >= loss {
            // Where packets are lost, others overtake; this stack keeps four holes at most.
            let spread = if loss > 0 { 3 } else { 1 };
            self.0.push((now + 1 + random.below(spread) as i64, packet));
        }
    }

    fn arrived(&mut self, now: i64) -> Vec<Packet> {
        let due = self.0.extract_if(.., |(at, _)| *at <= now);
        due.map(|(_, packet)| packet).collect()
    }
}

fn packets(nic: &mut Nic) -> impl Iterator<Item = Packet> {
    nic.sent.drain(..).map(|bytes| {
        let mut packet = Packet::parse(&bytes).unwrap();
        packet.encap.pls = PlsId(0);
        packet
    })
}

fn deliver(packet: &Packet, nic: &mut Nic) {
    packet.verify().unwrap();
    assert!(
        packet.wire_len() <= nic.mtu,
        "{packet} is longer than {}",
        nic.mtu
    );
    let mut bytes = Vec::new();
    packet.write_to(&mut bytes, usize::MAX);
    nic.received.push_back(bytes);
}

/// Runs one connection through a splice; returns what the ends wrote and read.
fn converse(seed: u64, consumer: &Consumer) -> [Machine; 2] {
    let mut random = Random(KeyedHash::new(seed, "real stack"), 0);
    let loss = random.pick(&[0, 0, 5, 20]);
    let addresses = [NAT, BACKEND].map(|text| text.parse::<SocketAddrV4>().unwrap());
    let [mut client, mut server] =
        addresses.map(|address| Machine::new(address, loss, &mut random));
    // Who speaks first.
    match random.below(3) {
        0 => server.waits_for = 37,
        1 => client.waits_for = 1,
        _ => {}
    }
    server
        .sockets
        .get_mut::<Socket<'_>>(server.socket)
        .listen(addresses[1])
        .unwrap();
    client
        .sockets
        .get_mut::<Socket<'_>>(client.socket)
        .connect(client.interface.context(), addresses[1], addresses[0])
        .unwrap();
    let mut splices = Splices::new(vec![ProxyService {
        pls: PlsId(0),
        destination: None,
    }]);
    let [mut up, mut inside, mut down, mut back] = <[Leg; 4]>::default();
    for now in 0..PATIENCE {
        client.act(Instant::from_millis(now));
        server.act(Instant::from_millis(now));
        if client.is_done() && server.is_done() {
            return [client, server];
        }
        for packet in packets(&mut client.nic) {
            up.send(packet, now, loss, &mut random);
        }
        for packet in packets(&mut server.nic) {
            down.send(packet, now, loss, &mut random);
        }
        for mut packet in up.arrived(now) {
            let ahead = splices.outward(&mut packet, consumer);
            for packet in ahead.map(|ahead| *ahead).into_iter().chain([packet]) {
                inside.send(packet, now, loss, &mut random);
            }
        }
        for mut packet in down.arrived(now) {
            let header = splices.inward(&mut packet, consumer);
            back.send(packet, now, loss, &mut random);
            if let Some(header) = header {
                inside.send(*header, now, loss, &mut random);
            }
        }
        for packet in inside.arrived(now) {
            deliver(&packet, &mut server.nic);
        }
        for packet in back.arrived(now) {
            deliver(&packet, &mut client.nic);
        }
    }
    let states = [&client, &server].map(|machine| {
        let state = machine.sockets.get::<Socket<'_>>(machine.socket).state();
        let (written, read) = (machine.written, machine.read.len());
        format!(
            "{state}: {written} of {} written, {read} read, mtu {}",
            machine.bytes.len(),
            machine.nic.mtu
        )
    });
    panic!("seed {seed} is stuck, loss {loss} %: {states:?}");
}

#[test]
fn a_real_stack_reads_header_and_bytes_and_its_peer_notices_nothing() {
    let consumer = Consumer {
        client: "10.1.0.4:49152".parse().unwrap(),
        endpoint: "10.1.0.10:443".parse().unwrap(),
        link: LinkId(0x2100_45C1),
    };
    let header = ProxyHeader::proxy(consumer.client, consumer.endpoint, consumer.link);
    for seed in 0..CASES {
        let [client, server] = converse(seed, &consumer);
        let expected = [&header[..], &client.bytes].concat();
        assert!(server.read == expected, "seed {seed}: the server's stream");
        assert!(
            client.read == server.bytes,
            "seed {seed}: the client's stream"
        );
    }
}
