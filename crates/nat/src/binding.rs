use crate::packet::Original;
use crate::tcp::Sequences;
use core::net::{Ipv4Addr, SocketAddrV4};
use plsim_types::canary::{Fault, planted};
use plsim_types::{Duration, Instant, KeyedHash, LinkId, PlsId, Protocol, Timers};

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

/// The key of the original direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FlowKey {
    pub(crate) link: LinkId,
    pub(crate) client: SocketAddrV4,
    pub(crate) endpoint: SocketAddrV4,
    pub(crate) backend_port: u16,
    pub(crate) pool: u8,
    pub(crate) protocol: Protocol,
}

impl FlowKey {
    #[inline]
    pub(crate) const fn of(packet: &Original, pool: u8) -> Self {
        Self {
            link: packet.link,
            client: packet.client,
            endpoint: packet.endpoint,
            backend_port: packet.backend_port,
            pool,
            protocol: packet.protocol,
        }
    }

    #[inline]
    pub(crate) fn hash(&self, keyed: KeyedHash) -> u64 {
        let consumer = u64::from(self.link.0) << 32 | u64::from(self.client.ip().to_bits());
        let dialled = u64::from(self.endpoint.ip().to_bits()) << 32
            | u64::from(self.client.port()) << 16
            | u64::from(self.endpoint.port());
        // The pool is a position in the configuration: the order of services must not show, and the
        // link determines it anyway.
        let service = u64::from(self.backend_port) << 16 | u64::from(self.protocol.number());
        // The service hardly varies; spread by an odd constant it need not cost a round.
        keyed.pair(
            consumer.wrapping_add(service.wrapping_mul(0xD6E8_FEB8_6659_FD93)),
            dialled,
        )
    }
}

/// One entry of the flow table: exactly one cache line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Binding {
    /// Last refresh; for a held binding, the start of the hold-down.
    pub(crate) last: Instant,
    pub(crate) link: u32,
    pub(crate) client_ip: u32,
    pub(crate) endpoint_ip: u32,
    pub(crate) client_port: u16,
    pub(crate) endpoint_port: u16,
    pub(crate) backend_port: u16,
    pub(crate) nat_port: u16,
    /// Position of the NAT IP in the engine.
    pub(crate) nat_ip: u16,
    pub(crate) pool: u8,
    pub(crate) state: State,
    pub(crate) sequences: Sequences,
    /// A lower bound of when the live wheel item comes up, see [`armed_mark`].
    pub(crate) armed: u32,
    /// Tag of the live wheel item; 0 for a vacant entry.
    pub(crate) tag: u32,
    pub(crate) aside: Aside,
}

/// What a binding needs in one kind of state only: eight bytes with two meanings, of which
/// [`State::is_held`] says which holds.
///
/// A live TCP binding: the client's latest SYN on top of a connection that the NAT believes to be
/// alive, as its sequence number and its end. A held binding: its older and newer neighbour in
/// the list of held ones. Equal numbers mean that there is neither.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Aside(pub(crate) u32, pub(crate) u32);

const _: () = assert!(size_of::<Binding>() == 64);

impl Binding {
    #[inline]
    pub(crate) fn matches(&self, key: &FlowKey) -> bool {
        self.link == key.link.0
            && self.client_ip == key.client.ip().to_bits()
            && self.endpoint_ip == key.endpoint.ip().to_bits()
            && self.client_port == key.client.port()
            && self.endpoint_port == key.endpoint.port()
            && self.backend_port == key.backend_port
            && self.pool == key.pool
            && self.state.protocol() == key.protocol
    }

    pub(crate) fn key(&self) -> FlowKey {
        FlowKey {
            link: LinkId(self.link),
            client: self.client(),
            endpoint: self.endpoint(),
            backend_port: self.backend_port,
            pool: self.pool,
            protocol: self.state.protocol(),
        }
    }

    #[inline]
    pub(crate) fn client(&self) -> SocketAddrV4 {
        SocketAddrV4::new(Ipv4Addr::from_bits(self.client_ip), self.client_port)
    }

    #[inline]
    pub(crate) fn endpoint(&self) -> SocketAddrV4 {
        SocketAddrV4::new(Ipv4Addr::from_bits(self.endpoint_ip), self.endpoint_port)
    }

    /// Returns the instant at which the binding is gone unless something refreshes it.
    #[inline]
    pub(crate) fn deadline(&self, timers: &Timers) -> Instant {
        let deadline = match self.state {
            State::Vacant => self.last,
            State::Udp => timers.idle_deadline(self.last, timers.udp_idle),
            State::HalfOpen => self.last + timers.half_open,
            State::Established => timers.idle_deadline(self.last, timers.established_idle),
            State::ClientFin | State::ServerFin => {
                timers.idle_deadline(self.last, timers.half_closed_idle)
            }
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
    use super::{Binding, FlowKey, State, armed_mark};
    use core::net::{Ipv4Addr, SocketAddrV4};
    use plsim_types::{Instant, KeyedHash, LinkId, Protocol};

    const KEY: FlowKey = FlowKey {
        link: LinkId(1),
        client: SocketAddrV4::new(Ipv4Addr::new(10, 1, 0, 4), 1_024),
        endpoint: SocketAddrV4::new(Ipv4Addr::new(10, 1, 0, 200), 443),
        backend_port: 8_443,
        pool: 0,
        protocol: Protocol::Tcp,
    };

    /// Keys that differ from [`KEY`] in one field, but for the pool.
    fn others() -> [FlowKey; 7] {
        let mut keys = [KEY; 7];
        keys[0].link = LinkId(2);
        keys[1].client.set_ip(Ipv4Addr::new(10, 1, 0, 5));
        keys[2].client.set_port(1_025);
        keys[3].endpoint.set_ip(Ipv4Addr::new(10, 1, 0, 201));
        keys[4].endpoint.set_port(444);
        keys[5].backend_port = 8_444;
        keys[6].protocol = Protocol::Udp;
        keys
    }

    #[test]
    fn a_binding_matches_its_own_key_only() {
        let binding = Binding {
            link: KEY.link.0,
            client_ip: KEY.client.ip().to_bits(),
            endpoint_ip: KEY.endpoint.ip().to_bits(),
            client_port: KEY.client.port(),
            endpoint_port: KEY.endpoint.port(),
            backend_port: KEY.backend_port,
            pool: KEY.pool,
            state: State::HalfOpen,
            ..Binding::default()
        };
        assert!(binding.matches(&KEY));
        assert_eq!(binding.key(), KEY);
        for key in others() {
            assert!(!binding.matches(&key), "{key:?}");
        }
        assert!(!binding.matches(&FlowKey { pool: 1, ..KEY }));
    }

    #[test]
    fn every_field_but_the_pool_counts_in_the_hash() {
        let keyed = KeyedHash::new(1, "flows");
        let own = KEY.hash(keyed);
        for key in others() {
            assert_ne!(key.hash(keyed), own, "{key:?}");
        }
        assert_eq!(FlowKey { pool: 1, ..KEY }.hash(keyed), own);
    }

    #[test]
    fn the_mark_of_a_deadline_rounds_down_and_saturates() {
        let mark = |nanos| armed_mark(Instant::from_nanos(nanos));
        assert_eq!(mark((3 << 30) - 1), 2);
        assert_eq!(mark(3 << 30), 3);
        assert_eq!(mark(u64::MAX), u32::MAX);
    }
}
