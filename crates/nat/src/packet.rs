use core::net::SocketAddrV4;
use plsim_types::{LinkId, PlsId, Protocol, TcpSegment};

/// A packet from the consumer, before translation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Original {
    /// The service it is for.
    pub pls: PlsId,
    /// The private endpoint connection it came through.
    pub link: LinkId,
    /// Its source.
    pub client: SocketAddrV4,
    /// Its destination: the private endpoint.
    pub endpoint: SocketAddrV4,
    /// The port on the backend that the load balancer's rule says.
    pub backend_port: u16,
    /// Its protocol.
    pub protocol: Protocol,
    /// Its TCP header; of a TCP fragment after the first, which opens and ends nothing, where it is in
    /// its segment, or `None` as for UDP.
    pub segment: Option<TcpSegment>,
}

/// A packet from the backend VM, before translation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reply {
    /// Its source: the backend VM.
    pub source: SocketAddrV4,
    /// Its destination: a NAT IP and port.
    pub destination: SocketAddrV4,
    /// Its protocol.
    pub protocol: Protocol,
    /// Its TCP header; of a TCP fragment after the first, which opens and ends nothing, where it is in
    /// its segment, or `None` as for UDP.
    pub segment: Option<TcpSegment>,
}

/// What a packet becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Translation {
    /// The service the flow belongs to.
    pub pls: PlsId,
    /// The private endpoint connection the flow belongs to.
    pub link: LinkId,
    /// The new source.
    pub source: SocketAddrV4,
    /// The new destination.
    pub destination: SocketAddrV4,
}
