use core::fmt;

macro_rules! drop_reasons {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal,)+) => {
        /// Why a packet ended without reaching its receiver.
        ///
        /// The one list of the whole project; names are stable and kebab-case.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum DropReason {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl DropReason {
            /// Every reason, in the order of the list.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// Returns the stable kebab-case name.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// Returns one sentence on what it means.
            #[must_use]
            pub const fn explanation(self) -> &'static str {
                match self { $(Self::$variant => concat!($($doc),+).trim_ascii(),)+ }
            }
        }
    };
}

drop_reasons! {
    /// No route leads to the destination from this virtual network.
    NoRoute = "no-route",
    /// The destination lies in a subnet, but no machine has that address.
    NoHost = "no-host",
    /// The private endpoint's connection is not Approved.
    NotApproved = "not-approved",
    /// No load-balancing rule of the frontend matches the protocol and port.
    NoLbRule = "no-lb-rule",
    /// No backend of the rule's pool is up.
    NoHealthyBackend = "no-healthy-backend",
    /// The provider edge has no room for another flow's stickiness.
    EdgeTableFull = "edge-table-full",
    /// No NAT port is free for the connection on its backend VM.
    NatPortsExhausted = "nat-ports-exhausted",
    /// The private endpoint has as many NAT ports on the backend VM as it may have.
    EndpointPortLimit = "endpoint-port-limit",
    /// The backend VM has as many active flows as it may have.
    VmFlowLimit = "vm-flow-limit",
    /// The NAT of the backend VM has as many bindings as it may have.
    NatTableFull = "nat-table-full",
    /// The packet belongs to no binding and may not create one.
    NoFlow = "no-flow",
    /// The reply comes from another address or port than the one that was contacted.
    Filtered = "filtered",
    /// The load balancer has dropped the flow after the idle timeout of its rule.
    LbIdle = "lb-idle",
    /// The load balancer sent a VM's packet for its own frontend back to that VM.
    LbHairpin = "lb-hairpin",
    /// The time to live reached zero.
    TtlExpired = "ttl-expired",
    /// The link lost the packet.
    LinkLoss = "link-loss",
    /// The link's queue was full.
    LinkQueueFull = "link-queue-full",
    /// The packet made too many hops in one instant.
    HopLimit = "hop-limit",
    /// A network security group of the VM denies the source of health probes, 168.63.129.16.
    ProbeBlocked = "probe-blocked",
    /// The VM is stopped or has crashed.
    VmDown = "vm-down",
    /// The receiving machine has no socket for the datagram.
    NoListener = "no-listener",
    /// The bytes end before the packet or its headers do.
    Truncated = "truncated",
    /// The IP version is neither 4 nor 6.
    BadVersion = "bad-version",
    /// The packet is IPv6, which Private Link does not carry (PLS-21).
    Ipv6 = "ipv6",
    /// The IP header length is wrong.
    BadIpHeader = "bad-ip-header",
    /// The IP header checksum is wrong.
    BadIpChecksum = "bad-ip-checksum",
    /// The IP header has a source route or malformed options.
    IpOptions = "ip-options",
    /// The sender does not own the source address.
    SpoofedSource = "spoofed-source",
    /// The source or destination port is 0.
    BadPort = "bad-port",
    /// The packet is neither TCP nor UDP, nor an ICMP error about either (PLS-22).
    UnsupportedProtocol = "unsupported-protocol",
    /// The ICMP error has a wrong checksum or does not quote enough of a packet.
    BadIcmp = "bad-icmp",
    /// The packet is a fragment, which the load balancer does not carry.
    Fragment = "fragment",
    /// The first fragment is too small for the TCP or UDP header (RFC 1858).
    FragmentTiny = "fragment-tiny",
    /// The fragment overlaps another one of its datagram (RFC 1858, RFC 5722).
    FragmentOverlap = "fragment-overlap",
    /// The other fragments of the datagram did not come in time.
    FragmentTimeout = "fragment-timeout",
    /// There is no room for more fragments that wait for others.
    FragmentLimit = "fragment-limit",
    /// The fragment contradicts itself or the others: its length, its end or don't fragment.
    BadFragment = "bad-fragment",
    /// The UDP length is below 8 or not what the IP packet carries.
    BadUdpLength = "bad-udp-length",
    /// The TCP or UDP checksum is wrong.
    BadL4Checksum = "bad-l4-checksum",
    /// The TCP header length is wrong.
    BadTcpHeader = "bad-tcp-header",
    /// The TCP flags contradict each other.
    BadTcpFlags = "bad-tcp-flags",
    /// The link was down.
    LinkDown = "link-down",
    /// As many handshakes are under way on the port as its backlog allows.
    SynQueueFull = "syn-queue-full",
    /// As many connections wait for the application as its backlog allows.
    AcceptQueueFull = "accept-queue-full",
}

impl DropReason {
    /// Returns the position in the list, to index per-reason arrays.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// Finds a reason by its name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|reason| reason.name() == name)
    }
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::DropReason;

    #[test]
    fn names_are_unique_kebab_case_and_found_again() {
        for (index, reason) in DropReason::ALL.iter().enumerate() {
            let name = reason.name();
            assert!(
                name.bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'),
                "{name}"
            );
            assert_eq!(DropReason::from_name(name), Some(*reason));
            assert_eq!(reason.index(), index);
            assert!(reason.explanation().ends_with('.'));
        }
        assert_eq!(DropReason::from_name("other"), None);
    }
}
