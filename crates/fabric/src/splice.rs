use std::net::{Ipv4Addr, SocketAddrV4};

use plsim_nat::{Outward, Reset, Splice};
use plsim_packet::{Form, Origin, Packet, ProxyHeader};
use plsim_table::FixedMap;
use plsim_types::{LinkId, PlsId, TcpFlags, TcpSegment};

/// A consumer's connection as the consumer sees it: what a PROXY header tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Consumer {
    /// The client.
    pub client: SocketAddrV4,
    /// The private endpoint that it dialled.
    pub endpoint: SocketAddrV4,
    /// The private endpoint connection.
    pub link: LinkId,
}

/// A service with PROXY protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProxyService {
    /// The service.
    pub pls: PlsId,
    /// What its headers name as destination instead of the private endpoint's address.
    pub destination: Option<Ipv4Addr>,
}

/// What was done for the services with PROXY protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SpliceStats {
    /// Headers sent, repetitions included.
    pub headers: u64,
    /// Client segments whose header had to wait for the server's window.
    pub withheld: u64,
    /// SYNs that lost their data or their fast open option.
    pub fast_opens: u64,
}

/// The splices of one backend VM: PROXY headers in front of the TCP streams of the services that ask
/// for them.
///
/// The state belongs to a NAT port, not to a binding: a connection that gets the port later starts
/// it anew. So there are never more than the VM has ports, and nothing needs to be told of a
/// binding's end. Services without PROXY protocol have none.
#[derive(Debug, Default)]
pub struct Splices {
    services: Vec<ProxyService>,
    /// By NAT IP and port, and the backend's port.
    flows: FixedMap<(SocketAddrV4, u16), Splice>,
    /// The latest segment of a connection whose header waits for room: it will carry it.
    waiting: FixedMap<(SocketAddrV4, u16), Box<Packet>>,
    stats: SpliceStats,
}

impl Splices {
    /// Starts without any connection.
    #[must_use]
    pub fn new(services: Vec<ProxyService>) -> Self {
        Self {
            services,
            ..Self::default()
        }
    }

    /// Returns the counters.
    #[must_use]
    pub const fn stats(&self) -> SpliceStats {
        self.stats
    }

    /// Puts a client's segment, already translated, into the server's numbers, with the header where
    /// it belongs; returns a segment that is to go ahead of it.
    pub fn outward(&mut self, packet: &mut Packet, consumer: &Consumer) -> Option<Box<Packet>> {
        if packet.form() != Form::Tcp || self.service(packet.encap.pls).is_none() {
            return None;
        }
        let segment = packet.tcp_segment()?;
        let key = (packet.source(), packet.destination().port());
        if segment.flags.opens() {
            let new = || Splice::new(&segment, ProxyHeader::LENGTH as u8);
            self.flows.get_or_insert_with(key, new).outward(&segment);
            self.stats.fast_opens += u64::from(packet.strip_fast_open());
            return None;
        }
        match self.flows.get_mut(&key)?.outward(&segment) {
            Outward::Pass => None,
            Outward::Shift(sequence) => {
                packet.set_sequence(sequence);
                None
            }
            Outward::Header(sequence) => {
                packet.set_sequence(sequence);
                self.insert(packet, consumer);
                None
            }
            Outward::HeaderOnly(sequence) => {
                *packet = bare(packet, sequence);
                self.insert(packet, consumer);
                None
            }
            Outward::HeaderAhead(sequence, own) => {
                let mut ahead = bare(packet, sequence);
                ahead.origin = Origin::Nat;
                self.insert(&mut ahead, consumer);
                packet.set_sequence(own);
                Some(Box::new(ahead))
            }
            Outward::Withhold(base) => {
                self.withhold(key, bare(packet, base));
                None
            }
            Outward::Probe(base) => {
                self.withhold(key, bare(packet, base));
                *packet = bare(packet, base.wrapping_sub(1));
                None
            }
        }
    }

    /// Returns the server's segment as the client will see it, for the NAT to judge.
    #[must_use]
    pub fn seen(&self, packet: &Packet) -> Option<TcpSegment> {
        let segment = packet.tracked_segment()?;
        let Some(splice) = self.flows.get(&reply_key(packet)) else {
            return Some(segment);
        };
        let inward = splice.inward(&segment);
        Some(TcpSegment {
            acknowledgement: inward.acknowledgement,
            window: inward.window,
            ..segment
        })
    }

    /// Puts a server's segment, not yet translated, into the client's numbers; returns a segment
    /// that is to go to the server: a header that had to wait.
    pub fn inward(&mut self, packet: &mut Packet, consumer: &Consumer) -> Option<Box<Packet>> {
        let key = reply_key(packet);
        let segment = packet.tcp_segment()?;
        if packet.form() != Form::Tcp {
            return None;
        }
        let splice = self.flows.get_mut(&key)?;
        let mss = packet.mss();
        let inward = splice.inward(&segment);
        let released = splice.observe(&segment, mss, packet.window_scale());
        if inward.acknowledgement != segment.acknowledgement {
            packet.set_acknowledgement(inward.acknowledgement);
        }
        if inward.window != segment.window {
            packet.set_window(inward.window);
        }
        if segment.flags.has(TcpFlags::SYN) {
            packet.set_mss(splice.client_mss(mss.unwrap_or(536)));
        } else {
            let splice = *splice;
            packet.map_sack(|edge| splice.edge(edge));
        }
        let mut header = self.waiting.remove(&key).filter(|_| released)?;
        self.insert(&mut header, consumer);
        Some(header)
    }

    /// Puts a RST of the NAT to the server into the server's numbers.
    pub fn reset(&self, reset: &mut Reset) {
        let key = (reset.source, reset.destination.port());
        if let Some(splice) = self.flows.get(&key) {
            reset.sequence = splice.reset(reset.sequence);
        }
    }

    fn service(&self, pls: PlsId) -> Option<&ProxyService> {
        self.services.iter().find(|service| service.pls == pls)
    }

    fn insert(&mut self, packet: &mut Packet, consumer: &Consumer) {
        let mut dialled = consumer.endpoint;
        if let Some(service) = self.service(packet.encap.pls) {
            dialled.set_ip(service.destination.unwrap_or(*dialled.ip()));
        }
        let header = ProxyHeader::proxy(consumer.client, dialled, consumer.link);
        let fits = packet.prepend(&header);
        assert!(
            fits,
            "broken invariant: the header goes ahead of a long segment"
        );
        self.stats.headers += 1;
    }

    fn withhold(&mut self, key: (SocketAddrV4, u16), mut segment: Packet) {
        self.stats.withheld += 1;
        segment.origin = Origin::Nat;
        self.waiting.insert(key, Box::new(segment));
    }
}

/// Returns a segment without payload, with no flag but ACK and this sequence number.
fn bare(packet: &Packet, sequence: u32) -> Packet {
    let mut bare = packet.clone();
    bare.clear_payload();
    bare.set_flags(TcpFlags::ACK);
    bare.set_sequence(sequence);
    bare
}

/// Returns the key of the connection that a server's packet belongs to.
fn reply_key(packet: &Packet) -> (SocketAddrV4, u16) {
    (packet.destination(), packet.source().port())
}
