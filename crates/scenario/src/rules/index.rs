use crate::model::{Scenario, Subnet, VirtualNetwork};
use crate::units::{FrontendPath, Name, PoolPath, RulePath, SubnetPath};
use std::collections::BTreeMap;

/// Finds entries by name; the first wins where a name is used twice (which is an error by itself).
pub(super) struct Index<'s> {
    scenario: &'s Scenario,
    networks: BTreeMap<&'s str, usize>,
    subnets: BTreeMap<(&'s str, &'s str), (usize, usize)>,
    balancers: BTreeMap<&'s str, usize>,
    services: BTreeMap<&'s str, usize>,
    endpoints: BTreeMap<&'s str, usize>,
    clients: BTreeMap<&'s str, usize>,
    backends: BTreeMap<&'s str, usize>,
}

/// The position of a subnet: virtual network, subnet.
pub(super) type SubnetId = (usize, usize);

impl<'s> Index<'s> {
    pub(super) fn new(scenario: &'s Scenario) -> Self {
        fn by_name<'s>(names: impl Iterator<Item = &'s Name>) -> BTreeMap<&'s str, usize> {
            let mut map = BTreeMap::new();
            for (index, name) in names.enumerate() {
                map.entry(name.as_str()).or_insert(index);
            }
            map
        }
        let mut subnets = BTreeMap::new();
        for (network_index, network) in scenario.virtual_network.iter().enumerate() {
            for (index, subnet) in network.subnet.iter().enumerate() {
                let key = (network.name.as_str(), subnet.name.as_str());
                subnets.entry(key).or_insert((network_index, index));
            }
        }
        Self {
            scenario,
            networks: by_name(scenario.virtual_network.iter().map(|it| &it.name)),
            subnets,
            balancers: by_name(scenario.load_balancer.iter().map(|it| &it.name)),
            services: by_name(scenario.private_link_service.iter().map(|it| &it.name)),
            endpoints: by_name(scenario.private_endpoint.iter().map(|it| &it.name)),
            clients: by_name(scenario.client_vm.iter().map(|it| &it.name)),
            backends: by_name(scenario.backend_vm.iter().map(|it| &it.name)),
        }
    }

    pub(super) fn network(&self, name: &str) -> Option<usize> {
        self.networks.get(name).copied()
    }

    pub(super) fn subnet(&self, path: &SubnetPath) -> Option<SubnetId> {
        let key = (path.virtual_network.as_str(), path.subnet.as_str());
        self.subnets.get(&key).copied()
    }

    pub(super) fn service(&self, name: &str) -> Option<usize> {
        self.services.get(name).copied()
    }

    pub(super) fn endpoint(&self, name: &str) -> Option<usize> {
        self.endpoints.get(name).copied()
    }

    pub(super) fn client(&self, name: &str) -> Option<usize> {
        self.clients.get(name).copied()
    }

    pub(super) fn backend(&self, name: &str) -> Option<usize> {
        self.backends.get(name).copied()
    }

    pub(super) fn balancer(&self, name: &str) -> Option<usize> {
        self.balancers.get(name).copied()
    }

    /// Returns the positions of load balancer and frontend.
    pub(super) fn frontend(&self, path: &FrontendPath) -> Option<(usize, usize)> {
        let balancer = self.balancer(&path.load_balancer)?;
        let frontends = &self.scenario.load_balancer[balancer].frontend;
        let frontend = frontends.iter().position(|it| it.name == path.frontend)?;
        Some((balancer, frontend))
    }

    /// Returns the positions of load balancer and backend pool.
    pub(super) fn pool(&self, path: &PoolPath) -> Option<(usize, usize)> {
        let balancer = self.balancer(&path.load_balancer)?;
        let pools = &self.scenario.load_balancer[balancer].backend_pool;
        let pool = pools.iter().position(|it| it.name == path.backend_pool)?;
        Some((balancer, pool))
    }

    /// Returns the positions of load balancer and rule.
    pub(super) fn rule(&self, path: &RulePath) -> Option<(usize, usize)> {
        let balancer = self.balancer(&path.load_balancer)?;
        let rules = &self.scenario.load_balancer[balancer].rule;
        let rule = rules.iter().position(|it| it.name == path.rule)?;
        Some((balancer, rule))
    }

    pub(super) fn network_of(&self, id: SubnetId) -> &'s VirtualNetwork {
        &self.scenario.virtual_network[id.0]
    }

    pub(super) fn subnet_of(&self, id: SubnetId) -> &'s Subnet {
        &self.scenario.virtual_network[id.0].subnet[id.1]
    }
}
