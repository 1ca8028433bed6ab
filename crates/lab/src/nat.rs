use std::net::{Ipv4Addr, SocketAddrV4};

use plsim_nat::{NatConfig, NatEngine, Original, PoolConfig, Reply, Translation};
use plsim_types::{Instant, LinkId, PlsId, Protocol, TcpFlags, TcpSegment};

use crate::case::Case;
use crate::space::CLIENT_PORTS;

/// The engine of one backend VM with one NAT IP, and connections with whole handshakes.
pub(crate) struct Nat {
    engine: NatEngine,
    now: Instant,
}

impl Nat {
    /// Builds an engine without connections.
    pub(crate) fn new(case: &Case) -> Self {
        let pool = PoolConfig {
            ports: case.range(),
            allocator: case.allocation,
            ..PoolConfig::azure(PlsId(0), vec![Ipv4Addr::new(10, 2, 0, 10)])
        };
        let config = NatConfig {
            backend: Ipv4Addr::new(10, 2, 1, 4),
            seed: case.seed,
            flow_limit: None,
            table_limit: None,
            pools: vec![pool],
            events: false,
        };
        Self {
            engine: NatEngine::new(config).expect("broken invariant: the configuration is valid"),
            now: Instant::ZERO,
        }
    }

    /// Opens connections until the first one is refused; returns how many there are.
    pub(crate) fn establish(&mut self) -> u32 {
        (0..).take_while(|flow| self.open(*flow)).count() as u32
    }

    /// Lets everything idle out, both ends being reset; returns how many connections are left.
    pub(crate) fn tear_down(&mut self) -> u32 {
        while let Some(deadline) = self.engine.poll_timeout() {
            self.now = deadline;
            self.engine.handle_timeout(deadline);
            while self.engine.poll_reset().is_some() {}
        }
        self.engine.active_flows()
    }

    /// Returns the bytes of heap memory of all tables.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.engine.memory_bytes()
    }

    /// SYN, SYN-ACK, ACK; false if the SYN is refused.
    fn open(&mut self, flow: u32) -> bool {
        let Ok(there) = self
            .engine
            .original(&original(flow, TcpFlags::SYN), self.now)
        else {
            return false;
        };
        let answer = reply(&there, TcpFlags::SYN | TcpFlags::ACK);
        let answered = self.engine.reply(&answer, self.now).is_ok();
        let acknowledged = self
            .engine
            .original(&original(flow, TcpFlags::ACK), self.now);
        assert!(
            answered && acknowledged.is_ok(),
            "broken invariant: a new binding translates"
        );
        true
    }
}

/// The packet of a flow's original direction: one client and one private endpoint for each 1 000
/// flows, at most 64 endpoints.
fn original(flow: u32, flags: TcpFlags) -> Original {
    let (client, port) = (flow / 1_000, flow % 1_000);
    Original {
        pls: PlsId(0),
        link: LinkId(1 + client % 64),
        client: SocketAddrV4::new(
            Ipv4Addr::from_bits(0x0a01_0000 + client),
            CLIENT_PORTS.0 + (port * 28) as u16,
        ),
        endpoint: SocketAddrV4::new(Ipv4Addr::new(10, 1, 255, 4), 443),
        backend_port: 443,
        protocol: Protocol::Tcp,
        segment: Some(segment(flags)),
    }
}

fn reply(translation: &Translation, flags: TcpFlags) -> Reply {
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

#[cfg(test)]
mod tests {
    use plsim_nat::Allocation;

    use super::Nat;
    use crate::{Case, Effort, Occupancy, Workload};

    #[test]
    fn a_nat_holds_as_many_connections_as_ports_and_lets_all_go() {
        let case = Case {
            allocation: Allocation::Bitmap,
            workload: Workload::Nat,
            occupancy: Occupancy::LastPort,
            spaces: 1,
            ports: 5_000,
            seed: 1,
            effort: Effort::QUICK,
        };
        let mut nat = Nat::new(&case);
        assert_eq!(nat.establish(), 5_000);
        assert_eq!(nat.tear_down(), 0);
        assert_eq!(nat.establish(), 5_000, "all ports are free again");
    }
}
