use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use plsim_scenario::{
    Action, Diagnostics, FrontendPath, Name, PoolPath, Scenario, SubnetPath, Workload,
};
use plsim_types::{BackendId, KeyedHash, LinkId, PlsId};
use plsim_vnet::{AddressPlan, Subnet};

/// Where everything of a scenario stands: numbers instead of names, and an address for each.
///
/// Static addresses are reserved first; then private endpoints, client VMs, frontends, NAT IPs
/// and backend VMs take the lowest free ones of their subnets, in the order of the file.
#[derive(Debug)]
pub(crate) struct Layout {
    /// The address plan of each subnet of each virtual network.
    plans: Vec<Vec<AddressPlan>>,
    /// What stands in each virtual network.
    pub(crate) networks: Vec<NetworkPlace>,
    /// The VMs of each client group, then those of the backend groups that open connections.
    pub(crate) clients: Vec<ClientPlace>,
    pub(crate) endpoints: Vec<EndpointPlace>,
    /// The address of each frontend of each load balancer, all in its virtual network.
    pub(crate) frontends: Vec<Vec<Ipv4Addr>>,
    pub(crate) services: Vec<ServicePlace>,
    /// Every backend VM, groups expanded; the position is the [`BackendId`].
    pub(crate) backends: Vec<BackendPlace>,
}

/// What stands in a virtual network, by positions.
#[derive(Debug, Default, Clone)]
pub(crate) struct NetworkPlace {
    pub(crate) clients: Vec<usize>,
    pub(crate) endpoints: Vec<usize>,
}

#[derive(Debug)]
pub(crate) struct ClientPlace {
    pub(crate) group: ClientGroup,
    pub(crate) network: usize,
    pub(crate) addresses: Vec<Ipv4Addr>,
}

/// The section of the file that VMs come from which open connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ClientGroup {
    Client(usize),
    Backend(usize),
}

impl ClientGroup {
    /// Returns the kind and the name of the node that opens the group's connections.
    pub(crate) fn name(self, scenario: &Scenario) -> (&'static str, &str) {
        match self {
            Self::Client(index) => ("client-vm", scenario.client_vm[index].name.as_str()),
            Self::Backend(index) => ("backend-client", scenario.backend_vm[index].name.as_str()),
        }
    }

    /// Returns the workloads that start at the group, with their positions.
    pub(crate) fn workloads(self, scenario: &Scenario) -> impl Iterator<Item = (usize, &Workload)> {
        let positions = match self {
            Self::Client(index) => scenario.workloads_of_clients(&scenario.client_vm[index].name),
            Self::Backend(index) => {
                scenario.workloads_of_backends(&scenario.backend_vm[index].name)
            }
        };
        let positions = positions.iter();
        positions.map(|&position| (position, &scenario.workload[position]))
    }
}

#[derive(Debug)]
pub(crate) struct EndpointPlace {
    pub(crate) network: usize,
    pub(crate) address: Ipv4Addr,
    pub(crate) link: LinkId,
    pub(crate) service: PlsId,
}

#[derive(Debug)]
pub(crate) struct ServicePlace {
    pub(crate) nat_subnet: SubnetPlace,
    pub(crate) nat_ips: Vec<Ipv4Addr>,
    pub(crate) load_balancer: usize,
    pub(crate) frontend: u16,
}

#[derive(Debug)]
pub(crate) struct BackendPlace {
    pub(crate) name: String,
    /// The section of the file it comes from.
    pub(crate) group: usize,
    pub(crate) address: Ipv4Addr,
    /// (load balancer, pool) of each pool it belongs to at the start.
    pub(crate) members: Vec<(usize, usize)>,
    /// The same, and those it may join.
    pub(crate) pools: Vec<(usize, usize)>,
}

/// A subnet by numbers: (virtual network, subnet).
pub(crate) type SubnetPlace = (usize, usize);

impl Layout {
    /// Gives everything its number and address.
    ///
    /// # Errors
    /// A diagnostic that points at the section whose subnet is full.
    pub(crate) fn new(scenario: &Scenario) -> Result<Self, Diagnostics> {
        let mut planner = Planner::new(scenario)?;
        planner.reserve_static()?;
        let endpoints = planner.endpoints()?;
        let mut clients = planner.clients()?;
        let frontends = planner.frontends()?;
        let services = planner.services()?;
        let backends = planner.backends()?;
        clients.extend(planner.backend_clients(&backends));
        let mut networks = vec![NetworkPlace::default(); scenario.virtual_network.len()];
        for (index, place) in clients.iter().enumerate() {
            networks[place.network].clients.push(index);
        }
        for (index, place) in endpoints.iter().enumerate() {
            networks[place.network].endpoints.push(index);
        }
        Ok(Self {
            plans: planner.plans,
            networks,
            clients,
            endpoints,
            frontends,
            services,
            backends,
        })
    }

    /// Takes the address of a NAT IP that is added at run time: the given one or the next free.
    pub(crate) fn add_nat_ip(
        &mut self,
        service: usize,
        wanted: Option<Ipv4Addr>,
    ) -> Result<Ipv4Addr, plsim_vnet::AddressError> {
        let (network, subnet) = self.services[service].nat_subnet;
        let address = match wanted {
            // Reserved at the start, like every address that the file gives.
            Some(address) => address,
            None => self.plans[network][subnet].allocate()?,
        };
        self.services[service].nat_ips.push(address);
        Ok(address)
    }

    /// Finds a backend VM by its name, or all VMs of a group by the group's name.
    pub(crate) fn backends_named(&self, scenario: &Scenario, name: &str) -> Vec<BackendId> {
        let mut found = Vec::new();
        for (index, backend) in (0..).zip(&self.backends) {
            let group = scenario.backend_vm[backend.group].name.as_str();
            if backend.name == name || group == name {
                found.push(BackendId(index));
            }
        }
        found
    }
}

struct Planner<'a> {
    scenario: &'a Scenario,
    plans: Vec<Vec<AddressPlan>>,
}

impl<'a> Planner<'a> {
    fn new(scenario: &'a Scenario) -> Result<Self, Diagnostics> {
        let mut plans = Vec::new();
        for (network_index, network) in scenario.virtual_network.iter().enumerate() {
            let mut subnets = Vec::new();
            for (index, subnet) in network.subnet.iter().enumerate() {
                let subnet = Subnet::new(subnet.prefix.0).map_err(|error| {
                    let path = format!("virtual_network[{network_index}].subnet[{index}].prefix");
                    Diagnostics::from(scenario.error_at(&path, error.to_string()))
                })?;
                subnets.push(AddressPlan::new(subnet));
            }
            plans.push(subnets);
        }
        Ok(Self { scenario, plans })
    }

    /// Reserves every address that the file gives, so that no dynamic one takes it.
    fn reserve_static(&mut self) -> Result<(), Diagnostics> {
        let scenario = self.scenario;
        for (index, endpoint) in scenario.private_endpoint.iter().enumerate() {
            self.reserve(&endpoint.subnet, endpoint.ip_address, || {
                format!("private_endpoint[{index}].ip_address")
            })?;
        }
        for (index, client) in scenario.client_vm.iter().enumerate() {
            self.reserve(&client.subnet, client.ip_address, || {
                format!("client_vm[{index}].ip_address")
            })?;
        }
        for (index, balancer) in scenario.load_balancer.iter().enumerate() {
            for (inner, frontend) in balancer.frontend.iter().enumerate() {
                self.reserve(&frontend.subnet, frontend.ip_address, || {
                    format!("load_balancer[{index}].frontend[{inner}].ip_address")
                })?;
            }
        }
        for (index, service) in scenario.private_link_service.iter().enumerate() {
            for (inner, address) in service.nat_ips.iter().flatten().enumerate() {
                self.reserve(&service.nat_subnet, Some(*address), || {
                    format!("private_link_service[{index}].nat_ips[{inner}]")
                })?;
            }
        }
        for (index, backend) in scenario.backend_vm.iter().enumerate() {
            self.reserve(&backend.subnet, backend.ip_address, || {
                format!("backend_vm[{index}].ip_address")
            })?;
        }
        for (index, event) in scenario.event.iter().enumerate() {
            let services = scenario.private_link_service.iter();
            let mut services = services
                .filter(|service| event.private_link_service.as_ref() == Some(&service.name));
            if let Some(service) = services.next() {
                self.reserve(&service.nat_subnet, event.ip_address, || {
                    format!("event[{index}].ip_address")
                })?;
            }
        }
        Ok(())
    }

    fn reserve(
        &mut self,
        subnet: &SubnetPath,
        address: Option<Ipv4Addr>,
        path: impl Fn() -> String,
    ) -> Result<(), Diagnostics> {
        let Some(address) = address else {
            return Ok(());
        };
        let (network, index) = self.subnet(subnet);
        let reserved = self.plans[network][index].reserve(address);
        reserved.map_err(|error| self.scenario.error_at(&path(), error.to_string()).into())
    }

    /// Returns the given address, or the next free one of the subnet.
    fn address(
        &mut self,
        subnet: &SubnetPath,
        given: Option<Ipv4Addr>,
        path: impl Fn() -> String,
    ) -> Result<Ipv4Addr, Diagnostics> {
        if let Some(address) = given {
            return Ok(address);
        }
        let (network, index) = self.subnet(subnet);
        let allocated = self.plans[network][index].allocate();
        allocated.map_err(|error| {
            self.scenario
                .error_at(&path(), error.to_string())
                .help("take a wider prefix for the subnet, or another subnet")
                .into()
        })
    }

    fn endpoints(&mut self) -> Result<Vec<EndpointPlace>, Diagnostics> {
        let scenario = self.scenario;
        let mut links = Links::new(scenario);
        let mut places = Vec::new();
        for (index, endpoint) in scenario.private_endpoint.iter().enumerate() {
            let path = || format!("private_endpoint[{index}].subnet");
            let address = self.address(&endpoint.subnet, endpoint.ip_address, path)?;
            let (network, _) = self.subnet(&endpoint.subnet);
            let service = position(&scenario.private_link_service, |service| {
                service.name == endpoint.private_link_service
            });
            places.push(EndpointPlace {
                network,
                address,
                link: links.link(endpoint.link_id, endpoint.name.as_str()),
                service: PlsId(narrow(service)),
            });
        }
        Ok(places)
    }

    fn clients(&mut self) -> Result<Vec<ClientPlace>, Diagnostics> {
        let mut places = Vec::new();
        for (index, client) in self.scenario.client_vm.iter().enumerate() {
            let group = ClientGroup::Client(index);
            let (network, _) = self.subnet(&client.subnet);
            let mut addresses = Vec::new();
            for _ in 0..client.count {
                let path = || format!("client_vm[{index}].subnet");
                addresses.push(self.address(&client.subnet, client.ip_address, path)?);
            }
            places.push(ClientPlace {
                group,
                network,
                addresses,
            });
        }
        Ok(places)
    }

    /// Returns the groups of backend VMs that open connections, with the addresses they have.
    fn backend_clients(&self, backends: &[BackendPlace]) -> Vec<ClientPlace> {
        let groups = self.scenario.backend_vm.iter().enumerate();
        let groups = groups.map(|(index, vm)| (index, ClientGroup::Backend(index), vm));
        let opening =
            groups.filter(|(_, group, _)| group.workloads(self.scenario).next().is_some());
        let places = opening.map(|(index, group, vm)| {
            let own = backends.iter().filter(|place| place.group == index);
            ClientPlace {
                group,
                network: self.subnet(&vm.subnet).0,
                addresses: own.map(|place| place.address).collect(),
            }
        });
        places.collect()
    }

    fn frontends(&mut self) -> Result<Vec<Vec<Ipv4Addr>>, Diagnostics> {
        let mut places = Vec::new();
        for (index, balancer) in self.scenario.load_balancer.iter().enumerate() {
            let mut addresses = Vec::new();
            for (inner, frontend) in balancer.frontend.iter().enumerate() {
                let path = || format!("load_balancer[{index}].frontend[{inner}].subnet");
                addresses.push(self.address(&frontend.subnet, frontend.ip_address, path)?);
            }
            places.push(addresses);
        }
        Ok(places)
    }

    fn services(&mut self) -> Result<Vec<ServicePlace>, Diagnostics> {
        let scenario = self.scenario;
        let mut places = Vec::new();
        for (index, service) in scenario.private_link_service.iter().enumerate() {
            let mut nat_ips = service.nat_ips.clone().unwrap_or_default();
            while nat_ips.len() < service.nat_ip_total() {
                let path = || format!("private_link_service[{index}].nat_subnet");
                nat_ips.push(self.address(&service.nat_subnet, None, path)?);
            }
            let (load_balancer, frontend) =
                frontend_place(scenario, &service.load_balancer_frontend);
            places.push(ServicePlace {
                nat_subnet: self.subnet(&service.nat_subnet),
                nat_ips,
                load_balancer,
                frontend: narrow(frontend),
            });
        }
        Ok(places)
    }

    fn backends(&mut self) -> Result<Vec<BackendPlace>, Diagnostics> {
        let scenario = self.scenario;
        let mut places = Vec::new();
        for (group, backend) in scenario.backend_vm.iter().enumerate() {
            let pools = backend.backend_pools.iter();
            let members: Vec<_> = pools.map(|path| pool_place(scenario, path)).collect();
            for name in backend.machines() {
                let mut pools = members.clone();
                pools.extend(joined(scenario, &name, backend.name.as_str()));
                let path = || format!("backend_vm[{group}].subnet");
                let address = self.address(&backend.subnet, backend.ip_address, path)?;
                places.push(BackendPlace {
                    name,
                    group,
                    address,
                    members: members.clone(),
                    pools,
                });
            }
        }
        Ok(places)
    }

    fn subnet(&self, path: &SubnetPath) -> SubnetPlace {
        let network = network_of(self.scenario, path);
        let subnets = &self.scenario.virtual_network[network].subnet;
        (
            network,
            position(subnets, |subnet| subnet.name == path.subnet),
        )
    }
}

/// Hands out link ids: those of the file, and for the others a value that depends on the name.
struct Links {
    taken: BTreeSet<u32>,
    hash: KeyedHash,
}

impl Links {
    fn new(scenario: &Scenario) -> Self {
        let given = scenario
            .private_endpoint
            .iter()
            .filter_map(|endpoint| endpoint.link_id);
        Self {
            taken: given.collect(),
            hash: KeyedHash::new(0, "link id"),
        }
    }

    fn link(&mut self, given: Option<u32>, name: &str) -> LinkId {
        if let Some(link) = given {
            return LinkId(link);
        }
        let hash = self.hash.derive(name);
        let mut attempt = 0;
        loop {
            let link = KeyedHash::scale(hash.word(attempt), u32::MAX) + 1;
            if self.taken.insert(link) {
                return LinkId(link);
            }
            attempt += 1;
        }
    }
}

/// Returns the pools that events add a backend VM to.
fn joined<'a>(
    scenario: &'a Scenario,
    machine: &'a str,
    group: &'a str,
) -> impl Iterator<Item = (usize, usize)> + 'a {
    let joins = scenario.event.iter().filter(move |event| {
        let name = event.backend_vm.as_ref();
        event.action == Action::AddBackend
            && name.is_some_and(|name| name.as_str() == machine || name.as_str() == group)
    });
    let pools = joins.filter_map(|event| event.backend_pool.as_ref());
    pools.map(|path| pool_place(scenario, path))
}

/// Returns the position of a subnet's network.
pub(crate) fn network_of(scenario: &Scenario, subnet: &SubnetPath) -> usize {
    let network = scenario.virtual_network_named(&subnet.virtual_network);
    network.expect("broken invariant: a checked scenario refers to nothing missing")
}

/// Returns the position of a private endpoint.
pub(crate) fn endpoint_named(scenario: &Scenario, name: &Name) -> usize {
    let endpoint = scenario.private_endpoint_named(name);
    endpoint.expect("broken invariant: a checked scenario refers to nothing missing")
}

/// Finds a backend pool by its path: (load balancer, pool).
pub(crate) fn pool_place(scenario: &Scenario, path: &PoolPath) -> (usize, usize) {
    let balancer = position(&scenario.load_balancer, |lb| lb.name == path.load_balancer);
    let pools = &scenario.load_balancer[balancer].backend_pool;
    let pool = position(pools, |pool| pool.name == path.backend_pool);
    (balancer, pool)
}

/// Finds a frontend by its path: (load balancer, frontend).
pub(crate) fn frontend_place(scenario: &Scenario, path: &FrontendPath) -> (usize, usize) {
    let balancer = position(&scenario.load_balancer, |lb| lb.name == path.load_balancer);
    let frontends = &scenario.load_balancer[balancer].frontend;
    let frontend = position(frontends, |frontend| frontend.name == path.frontend);
    (balancer, frontend)
}

/// Finds what a checked scenario promises to contain.
pub(crate) fn position<T>(list: &[T], matches: impl Fn(&T) -> bool) -> usize {
    list.iter()
        .position(matches)
        .expect("broken invariant: a checked scenario refers to nothing missing")
}

pub(crate) fn narrow(index: usize) -> u16 {
    u16::try_from(index).expect("broken invariant: a checked scenario has at most 65 536 of each")
}
