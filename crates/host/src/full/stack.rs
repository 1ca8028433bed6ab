use std::collections::VecDeque;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddrV4};

use plsim_packet::{Packet, Payload, TcpHeader};
use plsim_types::{Duration, Instant, TcpFlags, TcpSegment};
use smoltcp::iface::{Config, Interface, SocketSet};
use smoltcp::socket::tcp::{CongestionControl, Socket, SocketBuffer, State};
use smoltcp::wire::{HardwareAddress, IpAddress, IpCidr};

use super::connection::Connection;
use super::nic::Nic;
use super::sent::Sent;
use super::timer::{Overdue, Watch};
use crate::parameters::TcpParameters;
use crate::segment::Kind;

/// The full TCP of client VMs or of a backend VM: smoltcp, for all their connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FullStack {
    /// Bytes of the receive buffer of each connection, which is its largest window.
    pub receive_buffer: usize,
    /// Bytes of the send buffer of each connection.
    pub send_buffer: usize,
    /// Whether small segments leave at once (TCP_NODELAY).
    pub no_delay: bool,
}

impl FullStack {
    /// 16 KiB each way, no waiting: what a scenario has unless it says otherwise.
    pub const DEFAULT: Self = Self {
        receive_buffer: 16_384,
        send_buffer: 16_384,
        no_delay: true,
    };
}

/// smoltcp for all connections of one node.
pub(crate) struct Stack {
    interface: Interface,
    nic: Nic,
    /// What leaves, and why.
    sent: VecDeque<(Packet, Kind)>,
    config: FullStack,
    /// The address the interface has at the moment.
    address: Ipv4Addr,
    /// Socket sets of connections that are gone, for their buffers.
    #[expect(clippy::vec_box, reason = "the boxes themselves are reused")]
    spare: Vec<Box<Connection>>,
    /// How many connections there are, spare ones included.
    made: usize,
}

impl fmt::Debug for Stack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stack")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

/// What became of a connection in a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turned {
    /// It lives.
    Goes,
    /// The peer refused the SYN.
    Refused,
    /// The peer reset it.
    Reset,
    /// Nobody answered for too long.
    TimedOut,
    /// Closed in good order, or aborted by this end.
    Gone,
    /// Closed by both sides, this one first: it is in TIME_WAIT.
    Lingers,
}

impl Stack {
    pub(crate) fn new(config: FullStack, seed: u64) -> Self {
        let mut nic = Nic::default();
        let mut own = Config::new(HardwareAddress::Ip);
        own.random_seed = seed;
        let interface = Interface::new(own, &mut nic, smoltcp::time::Instant::ZERO);
        Self {
            interface,
            nic,
            sent: VecDeque::new(),
            config,
            address: Ipv4Addr::UNSPECIFIED,
            spare: Vec::new(),
            made: 0,
        }
    }

    /// Starts an active open; the SYN leaves with the first turn.
    pub(crate) fn connect(
        &mut self,
        local: SocketAddrV4,
        remote: SocketAddrV4,
        parameters: &TcpParameters,
        now: Instant,
    ) -> Box<Connection> {
        self.become_host(*local.ip());
        let mut connection = self.fresh(remote, parameters, now);
        let context = self.interface.context();
        let socket = connection.sockets.get_mut::<Socket<'_>>(connection.handle);
        socket
            .connect(context, remote, local)
            .expect("broken invariant: both ends have addresses and ports");
        connection
    }

    /// Waits for one SYN, which the first turn brings.
    pub(crate) fn listen(
        &mut self,
        local: SocketAddrV4,
        remote: SocketAddrV4,
        parameters: &TcpParameters,
        now: Instant,
    ) -> Box<Connection> {
        let mut connection = self.fresh(remote, parameters, now);
        connection
            .socket_mut()
            .listen(local)
            .expect("broken invariant: a fresh socket listens");
        connection
    }

    fn fresh(
        &mut self,
        remote: SocketAddrV4,
        parameters: &TcpParameters,
        now: Instant,
    ) -> Box<Connection> {
        let FullStack {
            receive_buffer,
            send_buffer,
            no_delay,
        } = self.config;
        let watch = Watch::new(*parameters, now);
        let mut connection = self.spare.pop().unwrap_or_else(|| {
            let buffer = |bytes| SocketBuffer::new(vec![0; bytes]);
            let socket = Socket::new(buffer(receive_buffer), buffer(send_buffer));
            let mut sockets = SocketSet::new(Vec::with_capacity(1));
            let handle = sockets.add(socket);
            self.made += 1;
            Box::new(Connection {
                sockets,
                handle,
                outbox: VecDeque::new(),
                inbox: Vec::new(),
                unwanted: 0,
                received: 0,
                is_closing: false,
                was_open: false,
                watch,
                sent: Sent::default(),
                remote,
                fin: 0,
                next: None,
                is_changed: true,
            })
        });
        (connection.watch, connection.remote) = (watch, remote);
        (connection.next, connection.is_changed) = (None, true);
        let socket = connection.socket_mut();
        // Anew for each: it also forgets what was learnt of the path.
        socket.set_congestion_control(CongestionControl::Cubic);
        socket.set_nagle_enabled(!no_delay);
        socket.set_ack_delay(parameters.delayed_ack.map(duration));
        connection
    }

    /// Takes a connection that is gone back.
    pub(crate) fn recycle(&mut self, mut connection: Box<Connection>) {
        connection.socket_mut().abort();
        connection.outbox.clear();
        connection.inbox.clear();
        connection.unwanted = 0;
        connection.received = 0;
        connection.is_closing = false;
        connection.was_open = false;
        connection.sent = Sent::default();
        self.spare.push(connection);
    }

    /// Has a connection take a packet, and read what comes with it. What the application does about it
    /// leaves together with the acknowledgement, by [`Stack::turn`] in the same instant.
    pub(crate) fn take(
        &mut self,
        connection: &mut Connection,
        (packet, segment): (&Packet, &TcpSegment),
        now: Instant,
    ) -> Turned {
        self.become_host(*packet.destination().ip());
        let before = connection.socket().state();
        self.nic.put(packet);
        self.interface
            .poll_ingress_single(at(now), &mut self.nic, &mut connection.sockets);
        self.collect(connection);
        connection.hear(segment, now);
        connection.read();
        let state = connection.socket().state();
        connection.was_open |= !matches!(
            state,
            State::Listen | State::SynSent | State::SynReceived | State::Closed
        );
        // A socket that waited for a SYN waits again once that attempt is reset.
        if !matches!(state, State::Closed | State::Listen) {
            return Turned::Goes;
        }
        match before {
            State::Closed | State::Listen => Turned::Gone,
            State::SynSent if segment.flags.has(TcpFlags::RST) => Turned::Refused,
            _ if segment.flags.has(TcpFlags::RST) => Turned::Reset,
            // The ACK of our FIN.
            _ => Turned::Gone,
        }
    }

    /// Lets a connection send what it has to say now; the packets are in [`Stack::poll_sent`]. Nothing
    /// ends by it but what the application has aborted.
    pub(crate) fn turn(
        &mut self,
        connection: &mut Connection,
        local: SocketAddrV4,
        now: Instant,
    ) -> Turned {
        if !connection.is_due(now) {
            return Turned::Goes;
        }
        self.become_host(*local.ip());
        connection.feed();
        connection.look(now);
        if connection.is_overdue(now) {
            // It is given up at this instant instead of repeating itself.
            return Turned::Goes;
        }
        let Self { interface, nic, .. } = self;
        let next = loop {
            interface.poll_egress(at(now), nic, &mut connection.sockets);
            connection.feed();
            let next = interface.poll_at(at(now), &connection.sockets);
            if next.is_none_or(|next| next > at(now)) {
                break next;
            }
        };
        connection.next = next.map(instant);
        connection.is_changed = false;
        connection.look(now);
        self.collect(connection);
        match connection.socket().state() {
            State::Closed => Turned::Gone,
            State::TimeWait if connection.has_acknowledged_fin() => Turned::Lingers,
            _ => Turned::Goes,
        }
    }

    /// Does what is due about a peer that has been silent for too long.
    pub(crate) fn expire(
        &mut self,
        connection: &mut Connection,
        local: SocketAddrV4,
        now: Instant,
    ) -> Turned {
        if !connection.is_overdue(now) {
            return Turned::Goes;
        }
        let state = connection.socket().state();
        match connection.watch.overdue(state) {
            Overdue::Closed => return Turned::Gone,
            Overdue::GivenUp { with_reset: false } => return Turned::TimedOut,
            Overdue::GivenUp { with_reset: true } => {
                connection.abort();
                self.turn(connection, local, now);
                return Turned::TimedOut;
            }
            Overdue::Probe => self.sent.push_back((connection.probe(local), Kind::Probe)),
        }
        Turned::Goes
    }

    /// Takes what smoltcp has sent.
    fn collect(&mut self, connection: &mut Connection) {
        while let Some(packet) = self.nic.take() {
            let segment = packet.tcp_segment();
            let segment = segment.expect("broken invariant: smoltcp sends TCP here");
            let kind = connection.sent.note(&segment);
            self.sent.push_back((packet, kind));
        }
    }

    /// Returns the bytes of heap memory held for connections, about.
    pub(crate) const fn memory_bytes(&self) -> usize {
        let buffers = self.config.receive_buffer + self.config.send_buffer;
        self.made * (buffers + size_of::<Connection>() + size_of::<Socket<'_>>())
    }

    /// Takes the next packet that leaves, and why it does.
    pub(crate) fn poll_sent(&mut self) -> Option<(Packet, Kind)> {
        self.sent.pop_front()
    }

    /// Gives the interface the address of the VM whose turn it is: to smoltcp all the world is in its
    /// subnet.
    fn become_host(&mut self, address: Ipv4Addr) {
        if self.address == address {
            return;
        }
        self.address = address;
        self.interface.update_ip_addrs(|addresses| {
            addresses.clear();
            let everything = IpCidr::new(IpAddress::Ipv4(address), 0);
            addresses
                .push(everything)
                .expect("broken invariant: there is room for one address");
        });
    }
}

impl Connection {
    /// Returns when it wants a [`turn`](Stack::turn), or is to [`expire`](Stack::expire).
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let watch = self.watch.deadline(self.socket().state());
        [self.next, watch].into_iter().flatten().min()
    }

    /// Tells whether a turn would do anything.
    fn is_due(&self, now: Instant) -> bool {
        self.is_changed || self.next.is_some_and(|next| next <= now)
    }

    /// Notes whether the peer has anything to acknowledge.
    fn look(&mut self, now: Instant) {
        let is_waiting = self.is_waiting();
        self.watch.look(is_waiting, now);
    }

    /// Tells whether [`Stack::expire`] has something to do now.
    fn is_overdue(&self, now: Instant) -> bool {
        let deadline = self.watch.deadline(self.socket().state());
        deadline.is_some_and(|deadline| deadline <= now)
    }

    /// Takes note of a segment of the peer that smoltcp has seen.
    fn hear(&mut self, segment: &TcpSegment, now: Instant) {
        self.is_changed = true;
        let is_open = !matches!(
            self.socket().state(),
            State::Listen | State::SynSent | State::SynReceived
        );
        // A SYN is of another connection, which this one knows nothing of.
        if is_open && (!segment.flags.has(TcpFlags::SYN) || !self.was_open) {
            self.watch.hear(now);
        }
        if segment.flags.has(TcpFlags::FIN) {
            self.fin = segment.end();
        }
    }

    /// Builds a keepalive probe as Linux does: a number that the peer has, and no byte.
    fn probe(&self, local: SocketAddrV4) -> Packet {
        let header = TcpHeader {
            source: local,
            destination: self.remote,
            sequence: self.sent.end.wrapping_sub(1),
            acknowledgement: self.sent.acknowledgement,
            flags: TcpFlags::ACK,
            window: self.sent.window,
            mss: None,
        };
        Packet::tcp(&header, Payload::Zeros(0))
    }
}

/// The virtual time in smoltcp's units, which are microseconds: never later than it is.
fn at(now: Instant) -> smoltcp::time::Instant {
    smoltcp::time::Instant::from_micros((now.as_nanos() / 1_000) as i64)
}

/// The other way round. What is due now, which smoltcp says by a time long ago, has been done.
fn instant(at: smoltcp::time::Instant) -> Instant {
    let micros = u64::try_from(at.total_micros()).unwrap_or(0);
    Instant::from_nanos(micros.saturating_mul(1_000))
}

fn duration(span: Duration) -> smoltcp::time::Duration {
    smoltcp::time::Duration::from_micros(span.as_nanos() / 1_000)
}
