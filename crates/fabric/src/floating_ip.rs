use std::net::{Ipv4Addr, SocketAddrV4};

use plsim_types::{PlsId, Protocol};

/// A load-balancing rule with floating IP: its VMs get packets for the frontend's address, which
/// they have on a loopback interface, and answer from it (D-FIP).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FloatingIp {
    /// The service on the frontend; [`PlsId::NONE`] if it has none.
    pub pls: PlsId,
    /// What the rule carries.
    pub protocol: Protocol,
    /// The backend port of the rule; `None` for a rule for all ports.
    pub port: Option<u16>,
    /// The frontend's address.
    pub address: Ipv4Addr,
}

/// The floating addresses of one VM.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FloatingIps(pub Vec<FloatingIp>);

impl FloatingIps {
    /// Returns what a packet for the VM is addressed to whose client dialled a frontend itself.
    pub(crate) fn dialled(
        &self,
        frontend: Ipv4Addr,
        protocol: Protocol,
        vm: SocketAddrV4,
    ) -> SocketAddrV4 {
        let floats = self.0.iter().any(|rule| {
            (rule.address, rule.protocol) == (frontend, protocol)
                && rule.port.is_none_or(|port| port == vm.port())
        });
        SocketAddrV4::new(if floats { frontend } else { *vm.ip() }, vm.port())
    }

    /// Returns what a packet for the VM is addressed to, of a service's flow.
    pub(crate) fn outward(&self, pls: PlsId, protocol: Protocol, vm: SocketAddrV4) -> SocketAddrV4 {
        let is_it = |rule: &&FloatingIp| {
            (rule.pls, rule.protocol) == (pls, protocol)
                && rule.port.is_none_or(|port| port == vm.port())
        };
        let rule = self.0.iter().find(is_it);
        rule.map_or(vm, |rule| SocketAddrV4::new(rule.address, vm.port()))
    }

    /// Returns what the NAT knows the sender of a packet of the VM as.
    pub(crate) fn inward(&self, source: SocketAddrV4, vm: Ipv4Addr) -> SocketAddrV4 {
        match self.has(*source.ip()) {
            true => SocketAddrV4::new(vm, source.port()),
            false => source,
        }
    }

    /// Tells whether the VM answers from an address.
    pub(crate) fn has(&self, address: Ipv4Addr) -> bool {
        self.0.iter().any(|rule| rule.address == address)
    }
}
