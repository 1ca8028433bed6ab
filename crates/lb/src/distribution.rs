//! How a flow becomes a number (D-DIST).

use crate::config::{Distribution, Frontend, HashConfig, HashStrength, HashTuple, LbConfig};
use core::net::Ipv4Addr;
use plsim_types::{FiveTuple, KeyedHash, LinkId, Protocol};

/// The keys of the hash.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FlowHash {
    config: HashConfig,
    five: [KeyedHash; 2],
    three: [KeyedHash; 2],
    two: KeyedHash,
    nat_ip: [KeyedHash; 2],
}

/// A packet's source and destination as the hash takes them.
#[derive(Debug, Clone, Copy)]
struct Ends {
    link: LinkId,
    source: Ipv4Addr,
    destination: Ipv4Addr,
}

impl FlowHash {
    pub(crate) fn new(config: &LbConfig) -> Self {
        let choice = KeyedHash::new(config.seed, "lb-choice");
        let keys = |name| {
            let part = choice.derive(name);
            Protocol::ALL.map(|protocol| part.derive(protocol.name()))
        };
        Self {
            config: config.hash,
            five: keys("5-tuple"),
            three: keys("3-tuple"),
            two: choice.derive("2-tuple"),
            nat_ip: keys("nat-ip"),
        }
    }

    /// Tells whether a flow's NAT IP is hashed.
    pub(crate) fn takes_nat_ips(&self) -> bool {
        self.config.tuple == HashTuple::NatIp
    }

    /// Returns the NAT IP that the hash stands for, as a position in the frontend's list.
    #[inline]
    pub(crate) fn nat_ip(
        &self,
        frontend: &Frontend,
        link: Option<LinkId>,
        tuple: &FiveTuple,
    ) -> Option<u8> {
        // Without a link there is no NAT.
        let link = link?;
        // The list has at most a few; u8 is what a service can have (PLS-4).
        let count = frontend.nat_ips.len().min(usize::from(u8::MAX)) as u32;
        if self.config.tuple == HashTuple::PreNat || count == 0 {
            return None;
        }
        // The NAT knows the link, whatever the load balancer hashes.
        let ends = Ends {
            link,
            source: *tuple.source.ip(),
            destination: *tuple.destination.ip(),
        };
        let hash = self.nat_ip[tuple.protocol.index()].pair(ends.who(), ends.to(tuple));
        Some(KeyedHash::scale(hash, count) as u8)
    }

    /// Returns the number of a flow; `nat_ip` is what [`nat_ip`](Self::nat_ip) says.
    #[inline]
    pub(crate) fn number(
        &self,
        distribution: Distribution,
        frontend: &Frontend,
        nat_ip: Option<u8>,
        link: Option<LinkId>,
        tuple: &FiveTuple,
    ) -> u64 {
        let (source, destination) = match nat_ip {
            Some(position) => (frontend.nat_ips[usize::from(position)], frontend.address),
            None => (*tuple.source.ip(), *tuple.destination.ip()),
        };
        let ends = Ends {
            link: link
                .filter(|_| self.config.includes_link)
                .unwrap_or(LinkId(0)),
            source,
            destination,
        };
        let protocol = tuple.protocol.index();
        let number = match distribution {
            Distribution::FiveTuple => self.five[protocol].pair(ends.who(), ends.to(tuple)),
            Distribution::ThreeTuple => self.three[protocol].pair(ends.who(), ends.to_address()),
            Distribution::TwoTuple => self.two.pair(ends.who(), ends.to_address()),
        };
        match self.config.strength {
            HashStrength::Strong => number,
            HashStrength::WeakParity => number & !1 | u64::from(ends.parity(distribution, tuple)),
        }
    }
}

impl Ends {
    const fn who(self) -> u64 {
        (self.link.0 as u64) << 32 | self.source.to_bits() as u64
    }

    const fn to_address(self) -> u64 {
        (self.destination.to_bits() as u64) << 32
    }

    const fn to(self, tuple: &FiveTuple) -> u64 {
        self.to_address() | (tuple.source.port() as u64) << 16 | tuple.destination.port() as u64
    }

    /// Returns the parity of the lowest bits of everything hashed.
    const fn parity(self, distribution: Distribution, tuple: &FiveTuple) -> u32 {
        let addresses = self.source.to_bits() ^ self.destination.to_bits() ^ self.link.0;
        let ports = match distribution {
            Distribution::FiveTuple => tuple.source.port() ^ tuple.destination.port(),
            Distribution::TwoTuple | Distribution::ThreeTuple => 0,
        };
        (addresses ^ ports as u32) & 1
    }
}
