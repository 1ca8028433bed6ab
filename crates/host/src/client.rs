mod counts;
pub(crate) mod state;

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddrV4};

use plsim_packet::{Fate, Form, Fragments, FragmentsConfig, IcmpError, Origin, Packet};
use plsim_sim::{ChannelId, Context, Foresight, Node, Wakeup};
use plsim_table::FixedMap;
use plsim_types::{DropReason, Instant, KeyedHash, Protocol};

use crate::client_full::FullClients;
use crate::client_tcp::{TcpClients, send};
use crate::client_udp::UdpClients;
use crate::config::{ClientVmsConfig, WorkloadConfig};
use crate::connection::{Connections, Turn};
use crate::destination::{Destination, DestinationStats};
use crate::segment::answer_closed;
use crate::stats::WorkloadStats;
use crate::workload::{Application, Workload};

/// How many connections start before the kernel gets a word in: a burst must not hide a signal.
const PIECE: u32 = 1_000;

/// Initial sequence numbers rise by one in so many nanoseconds (KERN; RFC 6528 has 4 microseconds).
const ISN_TICK: u64 = 64;

/// What a timer is for: the upper half of its token.
const ARRIVAL: u64 = 0;
const TCP: u64 = 1;
const UDP: u64 = 2;
const FRAGMENTS: u64 = 3 << 32;
const MODEL: u64 = 4;
const FULL: u64 = 5;

pub(crate) const fn tcp_token(position: u32) -> u64 {
    TCP << 32 | position as u64
}

pub(crate) const fn udp_token(position: u32) -> u64 {
    UDP << 32 | position as u64
}

pub(crate) const fn full_token(position: u32) -> u64 {
    FULL << 32 | position as u64
}

/// The timer of what drives a workload.
pub(crate) const fn model_token(workload: u16) -> u64 {
    pool_token(workload, 0)
}

/// The timer of one of a workload's pools.
pub(crate) const fn pool_token(workload: u16, pool: u16) -> u64 {
    MODEL << 32 | (pool as u64) << 16 | workload as u64
}

/// All client VMs of one group, with the workloads that start there.
///
/// Connections take turns over the VMs; each takes the next free ephemeral port of its VM, or of
/// the next VM that has one, and fails for want of a client port only if none has.
#[derive(Debug)]
#[repr(align(128))]
pub struct ClientVms {
    group: Group,
    /// What [`ClientVms::start`] will start.
    planned: Vec<WorkloadConfig>,
    workloads: Vec<Workload>,
    stats: Vec<WorkloadStats>,
    tcp: TcpClients,
    /// The TCP of all workloads here, where it is the full one.
    full: Option<FullClients>,
    udp: UdpClients,
    fragments: Fragments,
    wakeup: Wakeup,
}

/// The VMs as all their connections see them.
#[derive(Debug)]
pub(crate) struct Group {
    addresses: Vec<Ipv4Addr>,
    /// The number of the VM at each address.
    numbers: FixedMap<u32, u16>,
    /// Where the connections of all workloads go, by number.
    destinations: Vec<Destination>,
    /// The VMs that do not run.
    down: BTreeSet<u16>,
    isns: KeyedHash,
    pub(crate) out: ChannelId,
}

impl Group {
    /// Returns the address of a VM with a port on it.
    pub(crate) fn socket(&self, vm: u16, port: u16) -> SocketAddrV4 {
        SocketAddrV4::new(self.addresses[usize::from(vm)], port)
    }

    /// Returns the number of the VM at an address.
    #[inline]
    pub(crate) fn vm(&self, address: &Ipv4Addr) -> Option<u16> {
        self.numbers.get(&address.to_bits()).copied()
    }

    #[inline]
    pub(crate) fn destination(&self, number: u16) -> &Destination {
        &self.destinations[usize::from(number)]
    }

    /// Returns the initial sequence number of a connection to a destination: for each pair of sockets
    /// it rises with the clock, so that a server whose old connection is in TIME_WAIT knows a SYN as new
    /// (RFC 6528 §3, RFC 6191 §2).
    pub(crate) fn isn(&self, (vm, port): (u16, u16), destination: u16, now: Instant) -> u32 {
        let (local, remote) = (self.socket(vm, port), self.destination(destination).socket);
        let addresses = u64::from(local.ip().to_bits()) << 32 | u64::from(remote.ip().to_bits());
        let ports = u64::from(local.port()) << 16 | u64::from(remote.port());
        let offset = self.isns.pair(addresses, ports) as u32;
        offset.wrapping_add((now.as_nanos() / ISN_TICK) as u32)
    }

    /// Tells whether a VM runs.
    pub(crate) fn is_up(&self, vm: u16) -> bool {
        !self.down.contains(&vm)
    }

    fn has(&self, vm: u16) -> bool {
        usize::from(vm) < self.addresses.len()
    }

    /// Tells whether anything can run anywhere.
    pub(crate) fn runs(&self) -> bool {
        self.down.len() < self.addresses.len()
    }

    /// Tells whether a VM at this address would hear a packet, if there is one.
    fn hears(&self, address: &Ipv4Addr) -> bool {
        let is_down = |vm| self.down.contains(&vm);
        self.down.is_empty() || !self.vm(address).is_some_and(is_down)
    }

    fn owns(&self, address: &Ipv4Addr) -> bool {
        self.vm(address).is_some()
    }
}

impl ClientVms {
    /// Builds the VMs; nothing happens before [`ClientVms::start`].
    ///
    /// # Panics
    /// If a value of the configuration lies outside its documented range.
    #[must_use]
    pub fn new(config: ClientVmsConfig) -> Self {
        let ClientVmsConfig {
            addresses,
            ephemeral_ports,
            full,
            out,
            seed,
            workloads,
        } = config;
        assert!(
            (1..=65_536).contains(&addresses.len()),
            "a group has 1..=65536 client VMs"
        );
        assert!(
            workloads.len() <= 65_536,
            "a group has at most 65536 workloads"
        );
        let mut numbers = FixedMap::with_capacity(addresses.len());
        for (number, address) in (0..=u16::MAX).zip(&addresses) {
            let before = numbers.insert(address.to_bits(), number);
            assert!(before.is_none(), "two client VMs have one address");
        }
        workloads.iter().for_each(WorkloadConfig::check);
        let destinations = numbered(&workloads);
        let targets: Vec<_> = destinations.iter().map(|place| place.socket).collect();
        let key = |purpose| KeyedHash::new(seed, purpose);
        let (ports, vms) = (&ephemeral_ports, &addresses);
        let tcp = TcpClients::new(ports, vms, key("tcp ports"), &targets);
        let full = full.map(|stack| {
            let isns = key("full initial sequence numbers").word(0);
            FullClients::new((stack, isns), ports, vms, key("tcp ports"), &targets)
        });
        let udp = UdpClients::new(ports, vms, key("udp ports"), &targets);
        let group = Group {
            addresses,
            numbers,
            destinations,
            down: BTreeSet::new(),
            isns: key("initial sequence numbers"),
            out,
        };
        let stats = workloads.iter().map(|workload| WorkloadStats {
            destinations: vec![DestinationStats::default(); workload.destinations.sockets.len()],
            ..WorkloadStats::default()
        });
        let stats = stats.collect();
        Self {
            group,
            planned: workloads,
            workloads: Vec::new(),
            stats,
            tcp,
            full,
            udp,
            fragments: Fragments::new(FragmentsConfig::HOST),
            wakeup: Wakeup::default(),
        }
    }

    /// Starts the workloads; call it once, at the start of the run, through
    /// [`World::visit`](plsim_sim::World::visit).
    ///
    /// Connections that start at this instant send at once. Arrivals and hold times derive from each
    /// workload's own seed.
    pub fn start(&mut self, cx: &mut Context<'_>) {
        let mut first = 0;
        for (at, config) in std::mem::take(&mut self.planned).into_iter().enumerate() {
            let start = config.start;
            let count = config.destinations.sockets.len() as u16;
            let vms = self.group.addresses.len();
            let numbers = (at as u16, first);
            self.workloads.push(Workload::new(numbers, config, vms));
            first = first.wrapping_add(count);
            self.run(at, cx, |application, all, turn| {
                application.start(start, all, turn);
            });
            self.arrive(at, cx);
        }
    }

    /// Sends a packet as it is: any of these VMs may send any bytes.
    pub fn send(&self, packet: Packet, cx: &mut Context<'_>) {
        let packet = cx.inject(packet);
        cx.send(self.group.out, packet);
    }

    /// Returns what became of each workload's connections, in the order of the configuration.
    #[must_use]
    pub fn workloads(&self) -> &[WorkloadStats] {
        &self.stats
    }

    /// Forgets the times that were measured so far, for the end of a warm-up; counts stay.
    pub fn forget_times(&mut self) {
        self.stats.iter_mut().for_each(WorkloadStats::forget_times);
    }

    /// Returns the number of connections that hold a port now, those in TIME_WAIT included.
    #[must_use]
    pub const fn live(&self) -> usize {
        let full = match &self.full {
            Some(full) => full.live(),
            None => 0,
        };
        self.tcp.live() + full + self.udp.live()
    }

    /// Returns the bytes of heap memory held for connections, look-up and ports.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        let full = self.full.as_ref().map_or(0, FullClients::memory_bytes);
        self.tcp.memory_bytes() + full + self.udp.memory_bytes()
    }

    /// Returns the number of fragments that wait for others.
    #[must_use]
    pub const fn held(&self) -> u64 {
        self.fragments.held()
    }

    /// Has the application of a workload do something.
    fn run(
        &mut self,
        at: usize,
        cx: &mut Context<'_>,
        act: impl FnOnce(&mut Application, &mut dyn Connections, &mut Turn<'_, '_>),
    ) {
        let workload = &mut self.workloads[at];
        let all: &mut dyn Connections = match (workload.is_tcp(), &mut self.full) {
            (true, Some(full)) => full,
            (true, None) => &mut self.tcp,
            (false, _) => &mut self.udp,
        };
        let (mut turn, application) = turn(&self.group, workload, &mut self.stats[at], cx);
        act(application, all, &mut turn);
    }

    /// Starts everything that is due and sets the timer for what comes next.
    fn arrive(&mut self, at: usize, cx: &mut Context<'_>) {
        let now = cx.now();
        let mut piece = 0;
        while let Some(start) = self.workloads[at].schedule.next() {
            if piece == PIECE {
                cx.again(ARRIVAL << 32 | at as u64);
                return;
            }
            piece += 1;
            if start > now {
                cx.set_timer(start, ARRIVAL << 32 | at as u64);
                return;
            }
            let workload = &mut self.workloads[at];
            workload
                .schedule
                .advance(&workload.config, &mut workload.arrivals);
            self.run(at, cx, Application::arrive);
        }
    }

    fn on_tcp(&mut self, packet: Box<Packet>, cx: &mut Context<'_>) {
        let (local, remote) = (packet.destination(), packet.source());
        let Some(segment) = packet.tcp_segment() else {
            return cx.deliver(packet);
        };
        let found = match &self.full {
            Some(full) => full.slots.find(local, remote, &self.group),
            None => self.tcp.slots.find(local, remote, &self.group),
        };
        let Some((position, at)) = found else {
            if !self.group.owns(local.ip()) {
                return cx.drop(packet, DropReason::NoHost);
            }
            cx.deliver(packet);
            if let Some(answer) = answer_closed(&segment) {
                send(local, remote, &answer, None, self.group.out, cx);
            }
            return;
        };
        let is_idle_reset = matches!(packet.origin, Origin::Nat | Origin::LbTimer);
        let mss = packet.mss();
        let full = self.full.as_mut().map(|full| {
            let turned = full.take(position, (&packet, &segment), cx.now());
            (full, turned)
        });
        cx.deliver(packet);
        let (mut turn, application) = turn(
            &self.group,
            &mut self.workloads[at],
            &mut self.stats[at],
            cx,
        );
        if let Some((full, turned)) = full {
            let input = (segment, turned, is_idle_reset);
            let event = full.on_segment(position, input, &mut turn);
            return application.follow(position, event, full, &mut turn);
        }
        let input = (segment, mss, is_idle_reset);
        let event = self.tcp.on_segment(position, input, &mut turn);
        application.follow(position, event, &mut self.tcp, &mut turn);
    }

    fn on_udp(&mut self, packet: Box<Packet>, cx: &mut Context<'_>) {
        let (local, remote) = (packet.destination(), packet.source());
        let found = self.udp.slots.find(local, remote, &self.group);
        let Some((position, at)) = found else {
            let is_ours = self.group.owns(local.ip());
            let reason = if is_ours {
                DropReason::NoListener
            } else {
                DropReason::NoHost
            };
            return cx.drop(packet, reason);
        };
        let length = packet.payload_len() as u32;
        let is_expected = self.udp.expects(position, packet.payload());
        cx.deliver(packet);
        let (mut turn, application) = turn(
            &self.group,
            &mut self.workloads[at],
            &mut self.stats[at],
            cx,
        );
        self.udp
            .on_datagram(position, (length, is_expected), &mut turn);
        application.follow(position, None, &mut self.udp, &mut turn);
    }

    fn receive(&mut self, packet: Box<Packet>, cx: &mut Context<'_>) {
        if !self.group.hears(packet.destination().ip()) {
            return cx.drop(packet, DropReason::VmDown);
        }
        match packet.form() {
            Form::Tcp => self.on_tcp(packet, cx),
            Form::Udp => self.on_udp(packet, cx),
            Form::IcmpError => self.on_error(packet, cx),
            Form::Fragment => {
                self.fragments.process(packet, cx.now());
                self.settle_fragments(cx);
            }
            Form::Unusual(fault) => cx.drop(packet, fault),
        }
    }

    /// Takes the packets that are whole, and lets the fragments go that never will be.
    fn settle_fragments(&mut self, cx: &mut Context<'_>) {
        while let Some(fate) = self.fragments.poll_fate() {
            match fate {
                Fate::On(packet) => self.receive(packet, cx),
                Fate::Merged(packet) => cx.merge(packet),
                Fate::Dropped(packet, reason) => cx.drop(packet, reason),
            }
        }
        let deadline = self.fragments.poll_timeout();
        self.wakeup.arm(deadline, FRAGMENTS, cx);
    }

    /// Takes an ICMP error about a packet of ours.
    fn on_error(&mut self, packet: Box<Packet>, cx: &mut Context<'_>) {
        let (local, remote) = (packet.destination(), packet.source());
        if !self.group.owns(local.ip()) {
            return cx.drop(packet, DropReason::NoHost);
        }
        let (protocol, error) = (packet.protocol(), packet.icmp_error());
        cx.deliver(packet);
        let found = match protocol {
            Protocol::Tcp => match &self.full {
                Some(full) => full.slots.find(local, remote, &self.group),
                None => self.tcp.slots.find(local, remote, &self.group),
            },
            Protocol::Udp => self.udp.slots.find(local, remote, &self.group),
        };
        let (Some((position, at)), Some(error)) = (found, error) else {
            return;
        };
        let (mut turn, application) = turn(
            &self.group,
            &mut self.workloads[at],
            &mut self.stats[at],
            cx,
        );
        match protocol {
            Protocol::Tcp if ends_attempt(&error) => {
                if let Some(full) = &mut self.full {
                    let event = full.on_error(position, error.sequence, &mut turn);
                    return application.follow(position, event, full, &mut turn);
                }
                let event = self.tcp.on_error(position, error.sequence, &mut turn);
                application.follow(position, event, &mut self.tcp, &mut turn);
            }
            Protocol::Udp if is_hard(&error) => {
                let event = self.udp.on_error(position, &mut turn);
                application.follow(position, event, &mut self.udp, &mut turn);
            }
            Protocol::Tcp | Protocol::Udp => {}
        }
    }
}

impl Node for ClientVms {
    fn on_packet(&mut self, packet: Box<Packet>, _by: ChannelId, cx: &mut Context<'_>) {
        self.receive(packet, cx);
    }

    fn foresee(&self, packet: &Packet, _: ChannelId) -> Foresight {
        if self.full.is_some() || packet.form() != Form::Tcp {
            return Foresight::Done;
        }
        let (local, remote) = (packet.destination(), packet.source());
        self.tcp.slots.foresee(local, remote, &self.group);
        Foresight::More
    }

    fn foresee_more(&self, packet: &Packet, _: ChannelId) {
        let (local, remote) = (packet.destination(), packet.source());
        self.tcp.slots.foresee_found(local, remote, &self.group);
    }

    fn foresee_timer(&self, token: u64) {
        if token >> 32 == TCP {
            self.tcp.slots.prefetch(token as u32);
        }
    }

    fn on_timer(&mut self, token: u64, cx: &mut Context<'_>) {
        if token == FRAGMENTS {
            self.wakeup.fired(cx.now());
            self.fragments.handle_timeout(cx.now());
            return self.settle_fragments(cx);
        }
        let position = token as u32;
        if token >> 32 == ARRIVAL {
            return self.arrive(position as usize, cx);
        }
        if token >> 32 == MODEL && !self.group.runs() {
            return;
        }
        if token >> 32 == MODEL {
            let (at, part) = (position & 0xFFFF, (position >> 16) as u16);
            return self.run(at as usize, cx, |application, all, turn| {
                application.on_timer(part, all, turn);
            });
        }
        let now = cx.now();
        let fired = match (token >> 32, &mut self.full) {
            (TCP, _) => self.tcp.slots.fired(position, now, &self.group),
            (FULL, Some(full)) => full.slots.fired(position, now, &self.group),
            _ => self.udp.slots.fired(position, now, &self.group),
        };
        let Some(at) = fired else { return };
        self.run(at, cx, |application, all, turn| {
            application.heed(position, None, all, turn);
            let event = all.expire(position, turn);
            application.follow(position, event, all, turn);
        });
    }
}

/// Numbers the destinations of all workloads.
///
/// # Panics
/// If there are more than 65 536.
fn numbered(workloads: &[WorkloadConfig]) -> Vec<Destination> {
    let own = (0..=u16::MAX).zip(workloads);
    let all = own.flat_map(|(workload, config)| {
        let sockets = config.destinations.sockets.iter();
        sockets.map(move |&socket| Destination { workload, socket })
    });
    let all: Vec<_> = all.collect();
    assert!(
        all.len() <= 65_536,
        "a group has at most 65536 destinations"
    );
    all
}

/// Splits a workload into what drives it and what its calls work with.
fn turn<'a, 'c>(
    group: &'a Group,
    workload: &'a mut Workload,
    stats: &'a mut WorkloadStats,
    cx: &'a mut Context<'c>,
) -> (Turn<'a, 'c>, &'a mut Application) {
    let turn = Turn {
        group,
        traffic: &mut workload.traffic,
        stats,
        cx,
        followed: None,
    };
    (turn, &mut workload.application)
}

/// Tells whether an error ends a TCP attempt that it is about: any does (KERN; RFC 5461 §2.2),
/// but for "fragmentation needed", which only tells the size.
const fn ends_attempt(error: &IcmpError) -> bool {
    !matches!(
        error,
        IcmpError {
            kind: 3,
            code: 4 | 16..,
            ..
        }
    )
}

/// Tells whether an error reaches the application that has connected a UDP socket: KERN keeps
/// back those that may pass by themselves, such as "host unreachable".
const fn is_hard(error: &IcmpError) -> bool {
    matches!(
        error,
        IcmpError {
            kind: 3,
            code: 2 | 3 | 6..=10 | 13..=15,
            ..
        }
    )
}
