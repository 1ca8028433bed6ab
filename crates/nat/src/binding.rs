use crate::packet::Original;
use crate::pool::Pool;
use crate::tcp::Sequences;
use core::net::{Ipv4Addr, SocketAddrV4};
use plsim_types::canary::{Fault, planted};
use plsim_types::{
    Direction, Duration, Instant, KeyedHash, LinkId, PlsId, Protocol, TcpSegment, Timers,
};

/// The state of a binding (RFC 6146 §3.5.2.2, RFC 7857 §2). The last five are held down: they
/// keep the port from others, still translate, and do not count as flows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum State {
    /// No binding; never seen outside.
    #[default]
    Vacant,
    /// A UDP flow.
    Udp,
    /// A SYN was seen, no answer yet (INIT).
    HalfOpen,
    /// The SYN-ACK was seen.
    Established,
    /// The client has sent FIN (C-FIN).
    ClientFin,
    /// The server has sent FIN (S-FIN).
    ServerFin,
    /// It was established, but the load balancer has dropped the flow because it was idle: only a
    /// new SYN passes. It counts as a flow until its own time is over.
    LbIdle,
    /// Both have sent FIN; held down.
    Closed,
    /// A valid RST ended an established connection; held down. Any later packet but an RST
    /// revives it (RFC 7857 §2.2).
    Reset,
    /// A valid RST ended the attempt before it was established; held down.
    Refused,
    /// The SYN was never answered; held down. A late SYN-ACK still establishes.
    Unanswered,
    /// An idle UDP flow; held down. Its own next datagram revives it.
    UdpHeld,
}

impl State {
    /// Tells whether the port only rests.
    #[must_use]
    #[inline]
    pub const fn is_held(self) -> bool {
        matches!(
            self,
            Self::Closed | Self::Reset | Self::Refused | Self::Unanswered | Self::UdpHeld
        )
    }

    /// Tells whether both ends have a connection, one of them possibly half-closed.
    #[must_use]
    pub const fn is_established(self) -> bool {
        matches!(self, Self::Established | Self::ClientFin | Self::ServerFin)
    }

    /// Returns the protocol.
    #[must_use]
    pub const fn protocol(self) -> Protocol {
        match self {
            Self::Udp | Self::UdpHeld => Protocol::Udp,
            Self::Vacant
            | Self::HalfOpen
            | Self::Established
            | Self::ClientFin
            | Self::ServerFin
            | Self::LbIdle
            | Self::Closed
            | Self::Reset
            | Self::Refused
            | Self::Unanswered => Protocol::Tcp,
        }
    }
}

/// What a binding joins, in full addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BindingInfo {
    /// The service.
    pub pls: PlsId,
    /// The private endpoint connection.
    pub link: LinkId,
    /// The protocol.
    pub protocol: Protocol,
    /// The consumer's client.
    pub client: SocketAddrV4,
    /// What the client dialled: the private endpoint.
    pub endpoint: SocketAddrV4,
    /// What the backend sees instead of the client.
    pub nat: SocketAddrV4,
    /// The backend VM and the port of its service.
    pub backend: SocketAddrV4,
    /// The state.
    pub state: State,
    /// The instant of the last packet that refreshed it; when held down, of the one that ended it.
    pub last: Instant,
}

/// The key of the original direction, in words that a comparison holds in registers.
///
/// ```text
///  consumer  link:32, client address:32
///  dialled   endpoint address:32, client port:16, endpoint port:16
///  service   backend port:16, pool:8, protocol:8
/// ```
#[derive(Debug, Clone, Copy, Default)]
#[repr(Rust, packed(4))] // 20 bytes instead of 24: a binding has just room for them.
pub(crate) struct FlowKey {
    consumer: u64,
    dialled: u64,
    service: u32,
}

impl PartialEq for FlowKey {
    /// Compares without a branch for each word, and without a wide load, which stalls on a key that was
    /// just stored.
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        let consumer = self.consumer ^ other.consumer;
        let dialled = self.dialled ^ other.dialled;
        let service = self.service ^ other.service;
        consumer | dialled | u64::from(service) == 0
    }
}

impl Eq for FlowKey {}

impl FlowKey {
    #[inline]
    pub(crate) const fn of(packet: &Original, pool: u8) -> Self {
        let (client, endpoint) = (packet.client, packet.endpoint);
        Self {
            consumer: (packet.link.0 as u64) << 32 | client.ip().to_bits() as u64,
            dialled: (endpoint.ip().to_bits() as u64) << 32
                | (client.port() as u64) << 16
                | endpoint.port() as u64,
            service: (packet.backend_port as u32) << 16
                | (pool as u32) << 8
                | packet.protocol.number() as u32,
        }
    }

    #[inline]
    pub(crate) const fn link(&self) -> LinkId {
        LinkId((self.consumer >> 32) as u32)
    }

    #[inline]
    pub(crate) const fn client(&self) -> SocketAddrV4 {
        let address = Ipv4Addr::from_bits(self.consumer as u32);
        SocketAddrV4::new(address, (self.dialled >> 16) as u16)
    }

    #[inline]
    pub(crate) const fn endpoint(&self) -> SocketAddrV4 {
        let address = Ipv4Addr::from_bits((self.dialled >> 32) as u32);
        SocketAddrV4::new(address, self.dialled as u16)
    }

    #[inline]
    pub(crate) const fn backend_port(&self) -> u16 {
        (self.service >> 16) as u16
    }

    /// Returns the position of the pool in the engine.
    #[inline]
    pub(crate) const fn pool(&self) -> usize {
        (self.service >> 8) as u8 as usize
    }

    #[inline]
    pub(crate) const fn protocol(&self) -> Protocol {
        if self.service as u8 == Protocol::Udp.number() {
            Protocol::Udp
        } else {
            Protocol::Tcp
        }
    }

    /// Returns the link and the address of the client.
    #[inline]
    pub(crate) const fn consumer(&self) -> u64 {
        self.consumer
    }

    #[inline]
    pub(crate) const fn hash(&self, keyed: KeyedHash) -> u64 {
        // The pool is a position in the configuration: the order of services must not show, and the
        // link determines it anyway.
        let service = (self.backend_port() as u64) << 16 | (self.service & 0xFF) as u64;
        // The service hardly varies; spread by an odd constant it need not cost a round.
        keyed.pair(
            self.consumer()
                .wrapping_add(service.wrapping_mul(0xD6E8_FEB8_6659_FD93)),
            self.dialled,
        )
    }

    /// Tells whether it is of flows of this protocol to this port of the backend.
    #[inline]
    pub(crate) const fn goes_to(&self, protocol: Protocol, backend_port: u16) -> bool {
        self.service as u8 == protocol.number() && self.backend_port() == backend_port
    }

    /// Returns what ports are counted by where a private endpoint may only have so many.
    #[inline]
    pub(crate) const fn endpoint_id(&self) -> (u8, u32) {
        (self.pool() as u8, self.link().0)
    }
}

/// A key with its hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Flow {
    pub(crate) key: FlowKey,
    pub(crate) hash: u64,
    /// Where the index led when it was asked, or `NIL`. By now it may lead elsewhere.
    pub(crate) found: u32,
}

/// One entry of the flow table: exactly one cache line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Binding {
    /// Last refresh; for a held binding, the start of the hold-down.
    pub(crate) last: Instant,
    pub(crate) key: FlowKey,
    pub(crate) nat_port: u16,
    /// Position of the NAT IP in the engine.
    pub(crate) nat_ip: u8,
    pub(crate) state: State,
    pub(crate) sequences: Sequences,
    /// A lower bound of when the live wheel item comes up, see [`armed_mark`].
    pub(crate) armed: u32,
    /// Tag of the live wheel item; 0 for a vacant entry.
    pub(crate) tag: u32,
    pub(crate) aside: Aside,
}

/// What a binding needs in one kind of state only: eight bytes with three meanings, of which the
/// state says which holds.
///
/// A live TCP binding: the client's latest SYN on top of a connection that the NAT believes to be
/// alive, as its sequence number and its end. A held binding: its older and newer neighbour in
/// the list of held ones. Equal numbers mean that there is neither. [`State::LbIdle`]: the instant at
/// which its own time is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Aside(pub(crate) u32, pub(crate) u32);

impl Aside {
    pub(crate) const fn of_instant(at: Instant) -> Self {
        Self((at.as_nanos() >> 32) as u32, at.as_nanos() as u32)
    }

    const fn instant(self) -> Instant {
        Instant::from_nanos((self.0 as u64) << 32 | self.1 as u64)
    }
}

const _: () = assert!(size_of::<Binding>() == 64);

impl Binding {
    /// Takes the usual packet, which only refreshes: a datagram, or a segment of an established
    /// connection that neither opens nor closes anything. Returns whether it was one.
    #[inline(always)]
    pub(crate) const fn refresh(
        &mut self,
        direction: Direction,
        segment: Option<&TcpSegment>,
        now: Instant,
    ) -> bool {
        match (self.state, segment) {
            (State::Udp, _) => {}
            (State::Established, Some(segment)) if segment.flags.is_plain() => {
                self.sequences.record(direction, segment);
            }
            _ => return false,
        }
        self.last = now;
        true
    }

    /// Returns the instant at which the binding is gone, or the load balancer drops its flow, unless
    /// something refreshes it.
    #[inline]
    pub(crate) fn deadline(&self, pool: &Pool) -> Instant {
        match self.lb_deadline(pool) {
            Some((at, _)) => at,
            None => self.expiry(&pool.timers),
        }
    }

    /// Returns the instant at which the binding is gone unless something refreshes it.
    #[inline]
    pub(crate) fn expiry(&self, timers: &Timers) -> Instant {
        let deadline = match self.state {
            State::Vacant => self.last,
            State::Udp => timers.idle_deadline(self.last, timers.udp_idle),
            State::HalfOpen => self.last + timers.half_open,
            State::Established => timers.idle_deadline(self.last, timers.established_idle),
            State::ClientFin | State::ServerFin => {
                timers.idle_deadline(self.last, timers.half_closed_idle)
            }
            State::LbIdle => return self.aside.instant(),
            State::Closed if planted(Fault::FinFreedEarly) => self.last,
            State::Closed => self.last + timers.hold_down_fin,
            State::Reset | State::Refused => self.last + timers.hold_down_rst,
            State::Unanswered => self.last + timers.hold_down_half_open,
            State::UdpHeld => self.last + timers.hold_down_udp,
        };
        if planted(Fault::EarlyExpiry) {
            return deadline - Duration::from_micros(1);
        }
        if planted(Fault::LateExpiry) {
            return deadline + Duration::from_micros(1);
        }
        deadline
    }
}

/// Rounds a deadline down to 2^30 ns (1.07 s), saturating after 146 years.
///
/// If a new deadline has a higher mark than the wheel item was armed with, the item comes up early
/// enough and nothing needs to be inserted.
pub(crate) fn armed_mark(deadline: Instant) -> u32 {
    u32::try_from(deadline.as_nanos() >> 30).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::{FlowKey, armed_mark};
    use crate::packet::Original;
    use core::net::{Ipv4Addr, SocketAddrV4};
    use plsim_types::{Instant, KeyedHash, LinkId, PlsId, Protocol};

    const PACKET: Original = Original {
        pls: PlsId(0),
        link: LinkId(1),
        client: SocketAddrV4::new(Ipv4Addr::new(10, 1, 0, 4), 1_024),
        endpoint: SocketAddrV4::new(Ipv4Addr::new(10, 1, 0, 200), 443),
        backend_port: 8_443,
        protocol: Protocol::Tcp,
        segment: None,
    };

    /// Keys of packets that differ from [`PACKET`] in one field.
    fn others() -> [FlowKey; 7] {
        let mut packets = [PACKET; 7];
        packets[0].link = LinkId(2);
        packets[1].client.set_ip(Ipv4Addr::new(10, 1, 0, 5));
        packets[2].client.set_port(1_025);
        packets[3].endpoint.set_ip(Ipv4Addr::new(10, 1, 0, 201));
        packets[4].endpoint.set_port(444);
        packets[5].backend_port = 8_444;
        packets[6].protocol = Protocol::Udp;
        packets.map(|packet| FlowKey::of(&packet, 0))
    }

    #[test]
    fn a_key_tells_what_it_was_made_of() {
        let key = FlowKey::of(&PACKET, 3);
        assert_eq!((key.link(), key.client()), (PACKET.link, PACKET.client));
        assert_eq!(key.endpoint(), PACKET.endpoint);
        assert_eq!((key.backend_port(), key.pool()), (8_443, 3));
        assert_eq!(key.protocol(), Protocol::Tcp);
        assert_eq!(others()[6].protocol(), Protocol::Udp);
        assert_eq!(key.consumer(), 1 << 32 | 0x0A01_0004);
        assert!(key.goes_to(Protocol::Tcp, 8_443));
        assert!(!key.goes_to(Protocol::Udp, 8_443) && !key.goes_to(Protocol::Tcp, 443));
        assert!(!FlowKey::default().goes_to(Protocol::Tcp, 0));
    }

    #[test]
    fn every_field_counts_in_the_key_and_every_field_but_the_pool_in_its_hash() {
        let keyed = KeyedHash::new(1, "flows");
        let own = FlowKey::of(&PACKET, 0);
        for key in others() {
            assert_ne!(key, own);
            assert_ne!(key.hash(keyed), own.hash(keyed), "{key:?}");
        }
        assert_ne!(FlowKey::of(&PACKET, 1), own);
        assert_eq!(FlowKey::of(&PACKET, 1).hash(keyed), own.hash(keyed));
    }

    #[test]
    fn the_mark_of_a_deadline_rounds_down_and_saturates() {
        let mark = |nanos| armed_mark(Instant::from_nanos(nanos));
        assert_eq!(mark((3 << 30) - 1), 2);
        assert_eq!(mark(3 << 30), 3);
        assert_eq!(mark(u64::MAX), u32::MAX);
    }
}
