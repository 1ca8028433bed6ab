use std::net::{Ipv4Addr, SocketAddrV4};

use plsim_table::{FixedMap, FixedSet};
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
#[derive(Debug, Clone, Default)]
pub struct FloatingIps {
    rules: Vec<FloatingIp>,
    addresses: FixedSet<Ipv4Addr>,
    dialled: FixedSet<(Ipv4Addr, Protocol, Option<u16>)>,
    of_services: FixedMap<(PlsId, Protocol, Option<u16>), Ipv4Addr>,
}

impl FloatingIps {
    /// Collects the addresses that rules give a VM; of several for one port of a service the first
    /// holds.
    #[must_use]
    pub fn new(rules: Vec<FloatingIp>) -> Self {
        let mut own = Self::default();
        for rule in &rules {
            own.addresses.insert(rule.address);
            own.dialled.insert((rule.address, rule.protocol, rule.port));
            let key = (rule.pls, rule.protocol, rule.port);
            own.of_services.get_or_insert_with(key, || rule.address);
        }
        Self { rules, ..own }
    }

    /// Returns the addresses, one for each rule, in the order of the rules.
    pub fn addresses(&self) -> impl Iterator<Item = Ipv4Addr> {
        self.rules.iter().map(|rule| rule.address)
    }

    /// Returns what a packet for the VM is addressed to whose client dialled a frontend itself.
    pub(crate) fn dialled(
        &self,
        frontend: Ipv4Addr,
        protocol: Protocol,
        vm: SocketAddrV4,
    ) -> SocketAddrV4 {
        let floats = self.has(frontend)
            && [Some(vm.port()), None]
                .into_iter()
                .any(|port| self.dialled.contains(&(frontend, protocol, port)));
        SocketAddrV4::new(if floats { frontend } else { *vm.ip() }, vm.port())
    }

    /// Returns what a packet for the VM is addressed to, of a service's flow.
    #[inline]
    pub(crate) fn outward(&self, pls: PlsId, protocol: Protocol, vm: SocketAddrV4) -> SocketAddrV4 {
        if self.rules.is_empty() {
            return vm;
        }
        let address = [Some(vm.port()), None]
            .into_iter()
            .find_map(|port| self.of_services.get(&(pls, protocol, port)));
        address.map_or(vm, |address| SocketAddrV4::new(*address, vm.port()))
    }

    /// Returns what the NAT knows the sender of a packet of the VM as.
    #[inline]
    pub(crate) fn inward(&self, source: SocketAddrV4, vm: Ipv4Addr) -> SocketAddrV4 {
        match self.has(*source.ip()) {
            true => SocketAddrV4::new(vm, source.port()),
            false => source,
        }
    }

    /// Tells whether the VM answers from an address.
    #[inline]
    pub(crate) fn has(&self, address: Ipv4Addr) -> bool {
        !self.rules.is_empty() && self.addresses.contains(&address)
    }
}
