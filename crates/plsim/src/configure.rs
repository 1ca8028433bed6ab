use std::collections::BTreeSet;

use plsim_fabric::{ProxyService, Splices};
use plsim_host::Application;
use plsim_lb::{
    AdminState, Backend, Distribution, Frontend, FrontendId, HashConfig, HashStrength, HashTuple,
    LbConfig, LbPoolId, Listen, PoolConfig, ProbeId, Rehash, Rule, Stickiness,
};
use plsim_packet::{FragmentPolicy, Fragments, FragmentsConfig};
use plsim_scenario as file;
use plsim_scenario::{Destination, FrontendPath, Scenario, Workload};
use plsim_types::{BackendId, Duration, PlsId, Protocol};
use plsim_vnet::{
    ConnectionState, EndpointId, EndpointRoute, Peering, Subnet, VirtualNetworkConfig, VnetId,
};

use crate::frontend;
use crate::idle;
use crate::layout::{BackendPlace, Layout, endpoint_named, narrow, position};
use crate::membership;
use crate::probe;

pub(crate) fn endpoint_id(index: usize) -> EndpointId {
    EndpointId(u32::try_from(index).expect("broken invariant: 2^32 endpoints"))
}

pub(crate) const fn connection_state(state: file::ConnectionState) -> ConnectionState {
    match state {
        file::ConnectionState::Approved => ConnectionState::Approved,
        file::ConnectionState::Pending => ConnectionState::Pending,
        file::ConnectionState::Rejected => ConnectionState::Rejected,
        file::ConnectionState::Disconnected => ConnectionState::Disconnected,
    }
}

pub(crate) fn vnet_id(index: usize) -> VnetId {
    VnetId(u32::try_from(index).expect("broken invariant: 2^32 virtual networks"))
}

/// Returns for each network those that it is peered with, by number, in order.
pub(crate) fn peers(scenario: &Scenario) -> Vec<Vec<usize>> {
    let mut peers = vec![BTreeSet::new(); scenario.virtual_network.len()];
    for peering in &scenario.virtual_network_peering {
        let [a, b] = peering.virtual_networks.each_ref().map(|name| {
            let network = scenario.virtual_network_named(name);
            network.expect("broken invariant: a checked scenario refers to nothing missing")
        });
        if a != b {
            peers[a].insert(b);
            peers[b].insert(a);
        }
    }
    let sorted = peers.into_iter();
    sorted.map(|peers| peers.into_iter().collect()).collect()
}

/// Collects what a virtual network's routes are made of.
pub(crate) fn virtual_network(
    scenario: &Scenario,
    layout: &Layout,
    own: usize,
    peers: &[usize],
) -> VirtualNetworkConfig {
    let space = |index: usize| {
        let spaces = scenario.virtual_network[index].address_space.iter();
        spaces.map(|network| network.0).collect::<Vec<_>>()
    };
    let endpoints = |index: usize| {
        let own = layout.networks[index].endpoints.iter();
        own.map(|&id| EndpointRoute {
            id: endpoint_id(id),
            address: layout.endpoints[id].address,
        })
        .collect::<Vec<_>>()
    };
    let subnets = scenario.virtual_network[own].subnet.iter();
    VirtualNetworkConfig {
        id: vnet_id(own),
        address_space: space(own),
        subnets: subnets
            .map(|subnet| {
                Subnet::new(subnet.prefix.0).expect("broken invariant: the layout checked it")
            })
            .collect(),
        endpoints: endpoints(own),
        peerings: peers
            .iter()
            .map(|&peer| Peering {
                vnet: vnet_id(peer),
                address_space: space(peer),
                endpoints: endpoints(peer),
            })
            .collect(),
    }
}

/// Returns the load balancers that serve a backend VM, each once.
pub(crate) fn balancers_of(place: &BackendPlace) -> BTreeSet<usize> {
    place.pools.iter().map(|(balancer, _)| *balancer).collect()
}

/// Returns what a load balancer does with fragments.
pub(crate) fn fragments(lb: &file::LoadBalancer) -> Fragments {
    Fragments::new(FragmentsConfig {
        policy: match lb.fragments {
            file::Fragments::Drop => FragmentPolicy::Drop,
            file::Fragments::Reassemble => FragmentPolicy::Reassemble,
            file::Fragments::Forward => FragmentPolicy::Forward,
        },
        limit: usize::try_from(lb.fragment_limit.0).unwrap_or(usize::MAX),
        timeout: lb.fragment_timeout.0,
    })
}

/// Collects a load balancer's rules and pools.
pub(crate) fn load_balancer(
    scenario: &Scenario,
    layout: &Layout,
    index: usize,
    seed: u64,
) -> LbConfig {
    let lb = &scenario.load_balancer[index];
    let rules = lb.rule.iter().map(|rule| Rule {
        frontend: FrontendId(narrow(position(&lb.frontend, |fe| {
            fe.name == rule.frontend
        }))),
        listen: match rule.protocol {
            file::RuleProtocol::Tcp => Listen::Port(Protocol::Tcp, rule.frontend_port),
            file::RuleProtocol::Udp => Listen::Port(Protocol::Udp, rule.frontend_port),
            file::RuleProtocol::All => Listen::All,
        },
        backend_port: rule.backend_port,
        pool: LbPoolId(narrow(position(&lb.backend_pool, |pool| {
            pool.name == rule.backend_pool
        }))),
        probe: rule
            .probe
            .as_ref()
            .map(|name| ProbeId(narrow(position(&lb.probe, |probe| probe.name == *name)))),
        distribution: distribution(rule.distribution),
        connection_tracking: lb.tracks(rule),
        forget_after: idle::forget_after(lb, rule),
    });
    let frontends = (0..).zip(&layout.frontends[index]);
    let frontends = frontends.map(|(frontend, &address)| Frontend {
        address,
        nat_ips: layout
            .services
            .iter()
            .find(|service| (service.load_balancer, service.frontend) == (index, frontend))
            .map_or(Vec::new(), |service| service.nat_ips.clone()),
    });
    let places = || (0..).map(BackendId).zip(&layout.backends);
    let served = places().filter(|(_, place)| place.pools.iter().any(|(lb, _)| *lb == index));
    let backends = served.map(|(id, place)| Backend {
        id,
        address: place.address,
    });
    let pools = (0..lb.backend_pool.len()).map(|pool| {
        let members = places().filter(|(_, place)| place.members.contains(&(index, pool)));
        PoolConfig {
            members: members
                .map(|(id, place)| {
                    let group = &scenario.backend_vm[place.group];
                    (id, admin_state(group.admin_state))
                })
                .collect(),
            may_change: membership::may_change(scenario, layout, (index, pool)),
        }
    });
    LbConfig {
        seed,
        frontends: frontends.collect(),
        rules: rules.collect(),
        backends: backends.collect(),
        pools: pools.collect(),
        probes: lb.probe.iter().map(probe::engine_config).collect(),
        hash: HashConfig {
            tuple: match lb.hash_tuple {
                file::HashTuple::PreNat => HashTuple::PreNat,
                file::HashTuple::NatIp => HashTuple::NatIp,
            },
            includes_link: lb.hash_includes_link,
            strength: match lb.hash {
                file::HashStrength::Strong => HashStrength::Strong,
                file::HashStrength::WeakParity => HashStrength::WeakParity,
            },
        },
        rehash: match lb.effective_rehash() {
            file::Rehash::Maglev => Rehash::Maglev {
                size: lb.effective_maglev_size(),
            },
            file::Rehash::Modulo => Rehash::Modulo,
            file::Rehash::Rendezvous => Rehash::Rendezvous,
        },
        lone_backend_ends: lb.lone_backend == file::LoneBackend::End,
        stickiness: Stickiness {
            idle: longest_idle(scenario, layout, index),
            limit: lb.flow_table_limit,
        },
    }
}

pub(crate) const fn admin_state(state: file::AdminState) -> AdminState {
    match state {
        file::AdminState::None => AdminState::None,
        file::AdminState::Up => AdminState::Up,
        file::AdminState::Down => AdminState::Down,
    }
}

pub(crate) const fn distribution(distribution: file::Distribution) -> Distribution {
    match distribution {
        file::Distribution::FiveTuple | file::Distribution::Default => Distribution::FiveTuple,
        file::Distribution::TwoTuple | file::Distribution::SourceIP => Distribution::TwoTuple,
        file::Distribution::ThreeTuple | file::Distribution::SourceIPProtocol => {
            Distribution::ThreeTuple
        }
    }
}

/// Returns how long the edge remembers a flow: as long as any binding behind it may live without a
/// packet.
fn longest_idle(scenario: &Scenario, layout: &Layout, balancer: usize) -> Duration {
    let services = scenario.private_link_service.iter().zip(&layout.services);
    let services = services.filter(|(_, place)| place.load_balancer == balancer);
    let lb = &scenario.load_balancer[balancer];
    let tracked = lb.rule.iter().any(|rule| lb.tracks(rule));
    let longest = services.flat_map(|(service, _)| {
        let timers = service.effective_timers();
        let scan = timers.idle_scan_interval.unwrap_or(Duration::ZERO);
        [
            timers.established_idle + scan,
            timers.half_closed_idle + scan,
            timers.half_open + timers.hold_down_half_open,
            timers.hold_down_fin,
            timers.hold_down_rst,
            // Of UDP only where flows of it are remembered.
            match tracked {
                true => timers.udp_idle + scan + timers.hold_down_udp,
                false => Duration::ZERO,
            },
        ]
    });
    let direct = frontend::longest_idle(scenario, balancer);
    longest
        .max()
        .max(direct)
        .unwrap_or(Duration::from_secs(300))
}

/// Returns the services whose rules lead to a backend VM, with the protocols they carry.
pub(crate) fn services_of<'a>(
    scenario: &'a Scenario,
    layout: &'a Layout,
    place: &'a BackendPlace,
) -> impl Iterator<Item = (PlsId, BTreeSet<Protocol>)> + 'a {
    (0..)
        .map(PlsId)
        .zip(&layout.services)
        .filter_map(move |(pls, service)| {
            let lb = &scenario.load_balancer[service.load_balancer];
            let frontend = &lb.frontend[usize::from(service.frontend)].name;
            let rules = lb.rule.iter().filter(|rule| {
                let aims = membership::aims(scenario, service.load_balancer, rule);
                let pools = aims.pools.iter().map(|&pool| (service.load_balancer, pool));
                rule.frontend == *frontend
                    && pools.into_iter().any(|pool| place.pools.contains(&pool))
            });
            let protocols: BTreeSet<Protocol> =
                rules.flat_map(|rule| rule.protocol.protocols()).collect();
            (!protocols.is_empty()).then_some((pls, protocols))
        })
}

/// Returns what a backend VM listens on: the backend ports of every rule that leads to it, now or
/// later, and the ports of their probes. For a rule for all ports they are those that workloads dial.
pub(crate) fn listeners(scenario: &Scenario, place: &BackendPlace) -> Vec<(Protocol, u16)> {
    let mut listeners = BTreeSet::new();
    for &(balancer, pool) in &place.pools {
        for rule in &scenario.load_balancer[balancer].rule {
            let aims = membership::aims(scenario, balancer, rule);
            if !aims.pools.contains(&pool) {
                continue;
            }
            for protocol in rule.protocol.protocols() {
                match rule.protocol {
                    file::RuleProtocol::All => {
                        listeners.extend(dialled(scenario, balancer, rule, protocol));
                    }
                    file::RuleProtocol::Tcp | file::RuleProtocol::Udp => {
                        listeners.extend(aims.ports.iter().map(|&port| (protocol, port)));
                    }
                }
            }
        }
    }
    for (balancer, probe) in probe::probes_of(scenario, place) {
        let port = scenario.load_balancer[balancer].probe[probe].port;
        listeners.insert((Protocol::Tcp, port));
    }
    listeners.into_iter().collect()
}

/// Returns the splices of a backend VM: the services that reach it and send PROXY headers.
pub(crate) fn splices(scenario: &Scenario, layout: &Layout, place: &BackendPlace) -> Splices {
    let reached = services_of(scenario, layout, place);
    let services = reached.filter_map(|(pls, _)| {
        let service = &scenario.private_link_service[usize::from(pls.0)];
        let place = &layout.services[usize::from(pls.0)];
        let frontend = layout.frontends[place.load_balancer][usize::from(place.frontend)];
        service.enable_proxy_protocol.then_some(ProxyService {
            pls,
            destination: match service.proxy_destination {
                file::ProxyDestination::PrivateEndpoint => None,
                file::ProxyDestination::Frontend => Some(frontend),
            },
        })
    });
    Splices::new(services.collect())
}

/// Returns what a backend VM makes of a PROXY header.
pub(crate) fn application(scenario: &Scenario, place: &BackendPlace) -> Application {
    match scenario.backend_vm[place.group].application {
        file::Application::Plain => Application::Plain,
        file::Application::ProxyRequired => Application::ProxyRequired,
        file::Application::ProxyOptional => Application::ProxyOptional,
    }
}

/// Tells whether some of a workload's connections come to a frontend, through a private endpoint or
/// not.
pub(crate) fn arrives_at(
    scenario: &Scenario,
    workload: &Workload,
    is_it: impl Fn(&FrontendPath) -> bool,
) -> bool {
    let mut destinations = workload.destinations();
    destinations.any(|(_, destination)| is_it(frontend_of(scenario, destination)))
}

/// Returns the frontend behind a destination.
fn frontend_of<'a>(scenario: &'a Scenario, destination: Destination<'a>) -> &'a FrontendPath {
    let name = match destination {
        Destination::PrivateEndpoint(name) => name,
        Destination::Frontend(path) => return path,
    };
    let endpoint = &scenario.private_endpoint[endpoint_named(scenario, name)];
    let services = &scenario.private_link_service;
    let wanted = &endpoint.private_link_service;
    let service = &services[position(services, |service| service.name == *wanted)];
    &service.load_balancer_frontend
}

/// Returns the ports that workloads dial through the frontend of a rule.
fn dialled(
    scenario: &Scenario,
    balancer: usize,
    rule: &file::Rule,
    protocol: Protocol,
) -> BTreeSet<(Protocol, u16)> {
    let lb = &scenario.load_balancer[balancer];
    let through_it = scenario.workload.iter().filter(|workload| {
        Protocol::from(workload.protocol) == protocol
            && arrives_at(scenario, workload, |path| {
                path.load_balancer == lb.name && path.frontend == rule.frontend
            })
    });
    through_it
        .map(|workload| (protocol, workload.port))
        .collect()
}
