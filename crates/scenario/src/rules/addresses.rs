use super::Rules;
use super::index::{Index, SubnetId};
use super::lints::{PL014, PL015, PL016, PL017, PL018};
use crate::model::{Action, Scenario};
use crate::units::SubnetPath;
use core::net::Ipv4Addr;
use plsim_types::Prefix;
use std::collections::BTreeMap;

/// Addresses that Azure keeps in every subnet: the first four and the last.
const RESERVED: u64 = 5;

/// Something that takes addresses of a subnet.
pub(super) struct Claim {
    path: String,
    subnet: SubnetId,
    addresses: Vec<(String, Ipv4Addr)>,
    /// Addresses taken in all, static ones included.
    count: u64,
}

impl Rules<'_> {
    /// Static addresses are usable and unique, and there are enough for the dynamic ones.
    pub(super) fn addresses(&mut self) {
        let claims = std::mem::take(&mut self.claims);
        let mut used = BTreeMap::new();
        for claim in &claims {
            for (path, address) in &claim.addresses {
                self.static_address(path, *address, claim.subnet);
                if let Some(first) = used.insert((claim.subnet.0, *address), path) {
                    let network = &self.index.network_of(claim.subnet).name;
                    let message = format!("{address} is used twice in `{network}`");
                    self.report(PL016, path, message)
                        .label("used again here")
                        .see(first, "first used here")
                        .help("choose another address");
                    used.insert((claim.subnet.0, *address), first);
                }
            }
        }
        for (subnet, claims) in by_subnet(&claims) {
            let place = self.index.subnet_of(subnet);
            let needed: u64 = claims.iter().map(|claim| claim.count).sum();
            let usable = place.prefix.0.size().saturating_sub(RESERVED);
            if needed > usable {
                let message = format!(
                    "subnet `{}/{}` ({}) has {usable} usable addresses of {needed} that are needed",
                    self.index.network_of(subnet).name,
                    place.name,
                    place.prefix
                );
                let widest = claims.iter().max_by_key(|claim| claim.count);
                let widest = widest.map_or("", |claim| claim.path.as_str());
                let path = format!("virtual_network[{}].subnet[{}].prefix", subnet.0, subnet.1);
                self.report(PL018, &path, message)
                    .label("too small")
                    .see(widest, "takes the most of them")
                    .help("use a shorter prefix; Azure reserves five addresses of each subnet");
            }
        }
        self.claims = claims;
        self.groups_with_an_address();
    }

    /// Returns how many addresses of a subnet stay free beside those that `but` does not name.
    pub(super) fn free_addresses(&self, subnet: SubnetId, but: &str) -> u64 {
        let taken: u64 = self
            .claims
            .iter()
            .filter(|claim| claim.subnet == subnet && claim.path != but)
            .map(|claim| claim.count)
            .sum();
        let size = self.index.subnet_of(subnet).prefix.0.size();
        size.saturating_sub(RESERVED).saturating_sub(taken)
    }

    fn static_address(&mut self, path: &str, address: Ipv4Addr, subnet: SubnetId) {
        let place = self.index.subnet_of(subnet);
        let prefix = place.prefix.0;
        let name = format!("{}/{}", self.index.network_of(subnet).name, place.name);
        let see = format!("virtual_network[{}].subnet[{}].prefix", subnet.0, subnet.1);
        let help = match usable(prefix) {
            Some((first, last)) => format!("its usable addresses are {first} to {last}"),
            None => "the subnet has no usable address".to_owned(),
        };
        if !prefix.contains(address) {
            self.report(
                PL014,
                path,
                format!("{address} is outside subnet `{name}` ({prefix})"),
            )
            .label("outside the subnet")
            .see(&see, "the subnet")
            .help(help);
        } else if usable(prefix).is_none_or(|(first, last)| address < first || address > last) {
            self.report(
                PL015,
                path,
                format!("{address} is reserved by Azure in subnet `{name}` ({prefix})"),
            )
            .label("the first four addresses and the last are reserved")
            .help(help);
        }
    }

    fn groups_with_an_address(&mut self) {
        let scenario = self.scenario;
        let clients = scenario
            .client_vm
            .iter()
            .map(|vm| ("client_vm", vm.count, vm.ip_address));
        let backends = scenario
            .backend_vm
            .iter()
            .map(|vm| ("backend_vm", vm.count, vm.ip_address));
        let groups: Vec<_> = clients.enumerate().chain(backends.enumerate()).collect();
        for (index, (kind, count, address)) in groups {
            if count > 1 && address.is_some() {
                let message = format!("one static address cannot serve {count} machines");
                self.report(PL017, &format!("{kind}[{index}].ip_address"), message)
                    .see(&format!("{kind}[{index}].count"), "the group has several machines")
                    .help("leave the address out (each takes the next free one), or write one entry per machine");
            }
        }
    }
}

/// Returns the first and the last usable address of a subnet.
fn usable(prefix: Prefix) -> Option<(Ipv4Addr, Ipv4Addr)> {
    let first = Ipv4Addr::from_bits(prefix.network().to_bits().checked_add(4)?);
    let last = Ipv4Addr::from_bits(prefix.last().to_bits().checked_sub(1)?);
    (prefix.size() > RESERVED).then_some((first, last))
}

fn by_subnet(claims: &[Claim]) -> BTreeMap<SubnetId, Vec<&Claim>> {
    let mut map: BTreeMap<SubnetId, Vec<&Claim>> = BTreeMap::new();
    for claim in claims {
        map.entry(claim.subnet).or_default().push(claim);
    }
    map
}

/// Lists everything that takes addresses, in the order of the model.
pub(super) fn claims(scenario: &Scenario, index: &Index<'_>) -> Vec<Claim> {
    let mut claims = Vec::new();
    let mut add = |path: String, subnet: &SubnetPath, count: u64, addresses: Vec<_>| {
        if let Some(subnet) = index.subnet(subnet) {
            claims.push(Claim {
                path,
                subnet,
                addresses,
                count,
            });
        }
    };
    let single = |path: &str, address: Option<Ipv4Addr>| {
        let path = format!("{path}.ip_address");
        address
            .map(|address| (path, address))
            .into_iter()
            .collect::<Vec<_>>()
    };
    for (number, vm) in scenario.client_vm.iter().enumerate() {
        let path = format!("client_vm[{number}]");
        let addresses = single(&path, vm.ip_address);
        add(path, &vm.subnet, vm.count.into(), addresses);
    }
    for (number, endpoint) in scenario.private_endpoint.iter().enumerate() {
        let path = format!("private_endpoint[{number}]");
        let addresses = single(&path, endpoint.ip_address);
        add(path, &endpoint.subnet, 1, addresses);
    }
    for (number, balancer) in scenario.load_balancer.iter().enumerate() {
        for (place, frontend) in balancer.frontend.iter().enumerate() {
            let path = format!("load_balancer[{number}].frontend[{place}]");
            let addresses = single(&path, frontend.ip_address);
            add(path, &frontend.subnet, 1, addresses);
        }
    }
    for (number, vm) in scenario.backend_vm.iter().enumerate() {
        let path = format!("backend_vm[{number}]");
        let addresses = single(&path, vm.ip_address);
        add(path, &vm.subnet, vm.count.into(), addresses);
    }
    for (number, service) in scenario.private_link_service.iter().enumerate() {
        let path = format!("private_link_service[{number}]");
        let addresses = service.nat_ips.iter().flatten().enumerate();
        let addresses = addresses
            .map(|(place, address)| (format!("{path}.nat_ips[{place}]"), *address))
            .collect();
        add(
            path,
            &service.nat_subnet,
            service.nat_ip_total() as u64,
            addresses,
        );
    }
    for (number, event) in scenario.event.iter().enumerate() {
        let service = event.private_link_service.as_deref();
        if event.action == Action::AddNatIp
            && let Some(service) = service.and_then(|name| index.service(name))
        {
            let path = format!("event[{number}]");
            let addresses = single(&path, event.ip_address);
            let subnet = &scenario.private_link_service[service].nat_subnet;
            add(path, subnet, 1, addresses);
        }
    }
    claims
}
