use crate::binding::BindingInfo;
use core::net::{Ipv4Addr, SocketAddrV4};
use plsim_types::{Direction, Instant, LinkId, PlsId, Protocol};

/// Something an observer may want to know.
///
/// `Exhausted` and `ShareChanged` are always reported; the others, one flow each, only with
/// [`NatConfig::events`](crate::NatConfig::events).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NatEvent {
    /// A flow got a port.
    Bound {
        /// When.
        at: Instant,
        /// The new binding.
        binding: BindingInfo,
    },
    /// The last free port of a port space was taken. Told again only after a recovery: one port in 8
    /// (at least one) free, so that a space that stays nearly full does not repeat it. While one is
    /// waiting to be polled, no second one of the same (NAT IP, protocol) is added.
    Exhausted {
        /// When.
        at: Instant,
        /// The service.
        pls: PlsId,
        /// The NAT IP.
        nat_ip: Ipv4Addr,
        /// The protocol.
        protocol: Protocol,
        /// The backend port whose space it is, with
        /// [`PortSpace::PerVmPort`](crate::PortSpace::PerVmPort).
        backend_port: Option<u16>,
    },
    /// A client's share of the ports of a NAT IP was doubled or halved
    /// ([`Allocation::ReservedBlocks`](crate::Allocation::ReservedBlocks)).
    ShareChanged {
        /// When.
        at: Instant,
        /// The service.
        pls: PlsId,
        /// The NAT IP.
        nat_ip: Ipv4Addr,
        /// The protocol.
        protocol: Protocol,
        /// The backend port whose space it is, as above.
        backend_port: Option<u16>,
        /// The client.
        client: (LinkId, Ipv4Addr),
        /// The ports that it might use before.
        from: u32,
        /// The ports that it may use now.
        to: u32,
    },
    /// A flow's time was over. Its port is free, unless the cause has a hold-down, at whose end
    /// there is a `Released`.
    Expired {
        /// Its deadline.
        at: Instant,
        /// The binding as it was.
        binding: BindingInfo,
        /// Which timer ran out.
        cause: Expiry,
    },
    /// The load balancer dropped an idle flow; its port stays bound until the binding's own time is
    /// over, of which an `Expired` tells.
    LbIdle {
        /// The deadline of the rule's timer.
        at: Instant,
        /// The binding as it is now.
        binding: BindingInfo,
        /// Whether both ends got an RST.
        reset: bool,
    },
    /// A held-down binding ended; its port is free.
    Released {
        /// When.
        at: Instant,
        /// The binding as it was.
        binding: BindingInfo,
        /// Why.
        cause: Release,
    },
    /// A held-down binding is in use again, on the same port.
    Revived {
        /// When.
        at: Instant,
        /// The binding as it is now: half-open after a new SYN, a UDP flow after its datagram,
        /// established after other packets.
        binding: BindingInfo,
    },
}

/// Which timer ended a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expiry {
    /// The SYN was never answered.
    HalfOpen,
    /// An established TCP connection was idle.
    EstablishedIdle,
    /// A TCP connection was idle that the load balancer had dropped before.
    AfterLbIdle,
    /// A TCP connection of which one side had sent FIN was idle.
    HalfClosedIdle,
    /// A UDP flow was idle.
    UdpIdle,
}

/// What ended a hold-down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Release {
    /// Its time was over.
    HoldDownOver,
    /// A new flow took the port early ([`HeldPorts::ReuseOldest`](crate::HeldPorts::ReuseOldest)).
    Reused,
}

/// Who sends an RST.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sender {
    /// The NAT.
    Nat,
    /// The load balancer, whose rule's idle timer the NAT keeps.
    LbTimer,
    /// The load balancer, for its owner ([`reset_flows`](crate::NatEngine::reset_flows)).
    LbDrain,
}

/// An RST that the NAT sends: because a connection idled out (I#94724), or in answer to a packet
/// that is too late ([`LatePackets::Reset`](crate::LatePackets::Reset)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reset {
    /// The service.
    pub pls: PlsId,
    /// The private endpoint connection; `None` in answer to a backend's packet that has no
    /// binding.
    pub link: Option<LinkId>,
    /// Who sends it.
    pub by: Sender,
    /// `Original`: to the backend; `Reply`: to the client.
    pub toward: Direction,
    /// The source as the receiver knows it: the NAT IP and port, or the private endpoint.
    pub source: SocketAddrV4,
    /// The receiver.
    pub destination: SocketAddrV4,
    /// After an idle expiry, the last acknowledgement seen from the receiver, which is the next
    /// byte it expects (RFC 5961 §3.2); if the network lost an acknowledgement, the receiver may
    /// ignore the RST. In answer to a late packet, its acknowledgement, or 0 if it had none
    /// (RFC 9293 §3.10.7.1).
    pub sequence: u32,
    /// The end of a late packet without ACK, which this RST acknowledges; otherwise it has no ACK.
    pub acknowledgement: Option<u32>,
}
