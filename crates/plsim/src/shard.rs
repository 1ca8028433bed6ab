//! What threads may run apart.

use plsim_scenario::{LinkName, Scenario};
use plsim_sim::{NodeId, WorldBuilder};

use crate::build::Map;
use crate::layout::{Layout, network_of};
use crate::probe;

/// Says which nodes run on one thread although packets between them take time, because that is short: a
/// VM and its host, endpoints and their network, and the provider's side. The load balancers hear of a
/// probe's verdict as late as of a packet from the host.
pub(crate) fn keep_together(
    scenario: &Scenario,
    layout: &Layout,
    map: &Map,
    backbone: NodeId,
    builder: &mut WorldBuilder,
) {
    let vms = map.hosts.iter().zip(&map.servers);
    let mut pairs: Vec<(NodeId, NodeId)> = vms.map(|(host, vm)| (*host, *vm)).collect();
    let places = map.endpoints.iter().zip(&layout.endpoints);
    pairs.extend(places.map(|(node, place)| (*node, map.networks[place.network])));
    pairs.extend(map.edges.iter().map(|edge| (backbone, *edge)));
    let vms = scenario.backend_vm.iter().map(|group| &group.subnet);
    let balancers = scenario.load_balancer.iter();
    let frontends = balancers.flat_map(|lb| lb.frontend.iter().map(|frontend| &frontend.subnet));
    let subnets = vms.chain(frontends);
    pairs.extend(subnets.map(|subnet| (backbone, map.networks[network_of(scenario, subnet)])));
    for (one, other) in pairs {
        builder.keep_together(one, other);
    }
    let mut vms = layout.backends.iter();
    let is_probed = vms.any(|place| !probe::probes_of(scenario, place).is_empty());
    let latency = scenario.link.settings(LinkName::EdgeHost).latency;
    builder.reaction(latency.filter(|_| is_probed));
}
