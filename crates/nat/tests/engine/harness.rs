//! A flow in one line each.

use core::net::{Ipv4Addr, SocketAddrV4};
use plsim_nat::{
    BindingInfo, NatConfig, NatEngine, NatError, Original, PoolConfig, Reply, Reset, State,
    Translation, Usage,
};
use plsim_types::{Instant, LinkId, PlsId, Protocol, TcpFlags, TcpSegment};

pub(crate) const BACKEND: Ipv4Addr = Ipv4Addr::new(10, 2, 0, 4);
pub(crate) const PLS: PlsId = PlsId(0);
pub(crate) const SERVICE: u16 = 8443;
pub(crate) const SECOND: u64 = 1_000_000_000;
/// The client's first sequence number, close enough to the end that data wraps.
pub(crate) const CLIENT_ISN: u32 = u32::MAX - 50;
/// The server's first sequence number.
pub(crate) const SERVER_ISN: u32 = 7_000;

pub(crate) const FIN: TcpFlags = TcpFlags(0x11);
pub(crate) const SYN: TcpFlags = TcpFlags(0x02);
pub(crate) const SYN_ACK: TcpFlags = TcpFlags(0x12);
pub(crate) const RST: TcpFlags = TcpFlags(0x04);
pub(crate) const RST_ACK: TcpFlags = TcpFlags(0x14);
pub(crate) const ACK: TcpFlags = TcpFlags(0x10);

pub(crate) fn nat_ip(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 2, 1, number + 5)
}

pub(crate) fn client(number: u32) -> SocketAddrV4 {
    let address = Ipv4Addr::from_bits(Ipv4Addr::new(10, 1, 0, 4).to_bits() + number / 60_000);
    SocketAddrV4::new(address, (number % 60_000) as u16 + 1_024)
}

pub(crate) fn endpoint() -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::new(10, 1, 0, 200), 443)
}

/// One pool with `nat_ips` addresses and the first `ports` ports, everything else as in Azure.
pub(crate) fn small(nat_ips: u8, ports: u16) -> NatConfig {
    let addresses = (0..nat_ips).map(nat_ip).collect();
    let mut pool = PoolConfig::azure(PLS, addresses);
    pool.ports = 1_024..=(1_023 + ports);
    NatConfig {
        backend: BACKEND,
        seed: 1,
        flow_limit: None,
        table_limit: None,
        pools: vec![pool],
        events: false,
    }
}

pub(crate) fn segment(
    flags: TcpFlags,
    sequence: u32,
    acknowledgement: u32,
    length: u16,
) -> TcpSegment {
    TcpSegment {
        flags,
        sequence,
        acknowledgement,
        window: 1_000,
        length,
    }
}

/// An engine with a clock in nanoseconds.
#[derive(Clone)]
pub(crate) struct Nat {
    pub(crate) engine: NatEngine,
    pub(crate) now: u64,
}

impl Nat {
    pub(crate) fn new(config: NatConfig) -> Self {
        let engine = NatEngine::new(config).unwrap();
        Self { engine, now: 0 }
    }

    pub(crate) fn instant(&self) -> Instant {
        Instant::from_nanos(self.now)
    }

    /// Moves the clock without telling the engine.
    pub(crate) fn at(&mut self, nanos: u64) -> &mut Self {
        assert!(nanos >= self.now);
        self.now = nanos;
        self
    }

    pub(crate) fn after(&mut self, nanos: u64) -> &mut Self {
        self.at(self.now + nanos)
    }

    pub(crate) fn timeout(&mut self) -> &mut Self {
        self.engine.handle_timeout(self.instant());
        let wake = self.engine.poll_timeout();
        assert!(wake.is_none_or(|wake| wake > self.instant()), "no progress");
        self
    }

    pub(crate) fn send(
        &mut self,
        number: u32,
        segment: TcpSegment,
    ) -> Result<Translation, NatError> {
        self.send_from(LinkId(1), number, Protocol::Tcp, Some(segment))
    }

    pub(crate) fn datagram(&mut self, number: u32) -> Result<Translation, NatError> {
        self.send_from(LinkId(1), number, Protocol::Udp, None)
    }

    pub(crate) fn send_from(
        &mut self,
        link: LinkId,
        number: u32,
        protocol: Protocol,
        segment: Option<TcpSegment>,
    ) -> Result<Translation, NatError> {
        let packet = Original {
            pls: PLS,
            link,
            client: client(number),
            endpoint: endpoint(),
            backend_port: SERVICE,
            protocol,
            segment,
        };
        self.engine.original(&packet, self.instant())
    }

    pub(crate) fn answer(
        &mut self,
        nat: SocketAddrV4,
        segment: TcpSegment,
    ) -> Result<Translation, NatError> {
        self.answer_from(SocketAddrV4::new(BACKEND, SERVICE), nat, Some(segment))
    }

    pub(crate) fn answer_from(
        &mut self,
        source: SocketAddrV4,
        nat: SocketAddrV4,
        segment: Option<TcpSegment>,
    ) -> Result<Translation, NatError> {
        let packet = Reply {
            source,
            destination: nat,
            protocol: segment.map_or(Protocol::Udp, |_| Protocol::Tcp),
            segment,
        };
        self.engine.reply(&packet, self.instant())
    }

    /// SYN, SYN-ACK, ACK; returns the NAT IP and port.
    pub(crate) fn open(&mut self, number: u32) -> Result<SocketAddrV4, NatError> {
        let nat = self.send(number, segment(SYN, CLIENT_ISN, 0, 0))?.source;
        self.answer(nat, segment(SYN_ACK, SERVER_ISN, CLIENT_ISN + 1, 0))?;
        self.send(number, segment(ACK, CLIENT_ISN + 1, SERVER_ISN + 1, 0))?;
        Ok(nat)
    }

    /// FIN from the client, then from the server.
    pub(crate) fn close(&mut self, number: u32, nat: SocketAddrV4) -> Result<(), NatError> {
        self.send(number, segment(FIN, CLIENT_ISN + 1, SERVER_ISN + 1, 0))?;
        self.answer(nat, segment(FIN, SERVER_ISN + 1, CLIENT_ISN + 2, 0))?;
        Ok(())
    }

    /// A valid RST of the client.
    pub(crate) fn abort(&mut self, number: u32) -> Result<(), NatError> {
        self.send(number, segment(RST, CLIENT_ISN + 1, 0, 0))?;
        Ok(())
    }

    pub(crate) fn resets(&mut self) -> Vec<Reset> {
        core::iter::from_fn(|| self.engine.poll_reset()).collect()
    }

    pub(crate) fn usage(&self, protocol: Protocol) -> Vec<Usage> {
        let usage = self.engine.usage();
        usage.filter(|usage| usage.protocol == protocol).collect()
    }

    /// Returns (in use, held) of all NAT IPs together.
    pub(crate) fn used(&self, protocol: Protocol) -> (u32, u32) {
        let usage = self.usage(protocol);
        usage.iter().fold((0, 0), |(in_use, held), space| {
            (in_use + space.in_use, held + space.held)
        })
    }

    pub(crate) fn binding(&self, nat: SocketAddrV4) -> Option<BindingInfo> {
        self.engine.bindings().find(|binding| binding.nat == nat)
    }

    pub(crate) fn state(&self, nat: SocketAddrV4) -> Option<State> {
        self.binding(nat).map(|binding| binding.state)
    }
}

/// One segment of a scripted connection. Numbers count from the sender's first sequence number and
/// from the other side's.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Line {
    from_client: bool,
    segment: TcpSegment,
}

/// A segment of client 1.
pub(crate) fn c(flags: TcpFlags, sequence: u32, acknowledgement: u32) -> Line {
    Line {
        from_client: true,
        segment: segment(
            flags,
            CLIENT_ISN.wrapping_add(sequence),
            SERVER_ISN.wrapping_add(acknowledgement),
            0,
        ),
    }
}

/// A segment of the server.
pub(crate) fn s(flags: TcpFlags, sequence: u32, acknowledgement: u32) -> Line {
    Line {
        from_client: false,
        segment: segment(
            flags,
            SERVER_ISN.wrapping_add(sequence),
            CLIENT_ISN.wrapping_add(acknowledgement),
            0,
        ),
    }
}

impl Line {
    /// The same with data.
    pub(crate) fn with(mut self, bytes: u16) -> Self {
        self.segment.length = bytes;
        self
    }
}

impl Nat {
    /// Plays a connection of client 1 on an engine with one port; each segment must pass and leave
    /// the state that stands beside it.
    pub(crate) fn play(&mut self, script: &[(Line, State)]) -> &mut Self {
        let port = SocketAddrV4::new(nat_ip(0), 1_024);
        for (number, (line, expected)) in script.iter().enumerate() {
            let passed = if line.from_client {
                self.send(1, line.segment)
            } else {
                self.answer(port, line.segment)
            };
            assert!(passed.is_ok(), "{number}: {line:?} is {passed:?}");
            assert_eq!(self.state(port), Some(*expected), "{number}: {line:?}");
        }
        self
    }
}
