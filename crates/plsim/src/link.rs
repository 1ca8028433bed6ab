//! The links of a scenario: what goes wrong on them, when, and what they did.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use plsim_observe::{Event, LinkSummary};
use plsim_scenario as file;
use plsim_scenario::LinkDirection::{ToBackend, ToClient};
use plsim_scenario::LinkName::{ClientEndpoint, EdgeHost, EndpointEdge, HostVm};
use plsim_scenario::{Action, JitterDistribution, LinkDirection, LinkName, LinkSettings, Scenario};
use plsim_sim::{
    ChannelConfig, ChannelId, GilbertElliott, Impairments, JitterLaw, LinkStats, Loss, Reorder,
};
use plsim_types::{Duration, Instant};

use crate::build::Map;
use crate::layout::{Layout, endpoint_named};
use crate::simulation::{PlsimWorld, Simulation};

/// Where a one-way link stands.
#[derive(Debug)]
pub(crate) struct LinkPlace {
    pub(crate) hop: Hop,
    pub(crate) owner: Owner,
    pub(crate) channel: ChannelId,
}

/// One kind of a one-way link, and the section of a scenario that has its settings.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Hop {
    pub(crate) kind: &'static str,
    link: LinkName,
    direction: LinkDirection,
}

/// Whose link it is, by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Owner {
    Endpoint(usize),
    Backend(usize),
    /// Of a load balancer whose frontends are dialled without an endpoint.
    Balancer(usize),
}

const fn hop(kind: &'static str, link: LinkName, direction: LinkDirection) -> Hop {
    Hop {
        kind,
        link,
        direction,
    }
}

pub(crate) const NETWORK_ENDPOINT: Hop = hop("network-endpoint", ClientEndpoint, ToBackend);
pub(crate) const NETWORK_EDGE: Hop = hop("network-edge", ClientEndpoint, ToBackend);
pub(crate) const ENDPOINT_EDGE: Hop = hop("endpoint-edge", EndpointEdge, ToBackend);
pub(crate) const EDGE_HOST: Hop = hop("edge-host", EdgeHost, ToBackend);
pub(crate) const HOST_VM: Hop = hop("host-vm", HostVm, ToBackend);
pub(crate) const VM_HOST: Hop = hop("vm-host", HostVm, ToClient);
pub(crate) const HOST_BACKBONE: Hop = hop("host-backbone", EdgeHost, ToClient);
pub(crate) const BACKBONE_ENDPOINT: Hop = hop("backbone-endpoint", EndpointEdge, ToClient);
pub(crate) const BACKBONE_NETWORK: Hop = hop("backbone-network", ClientEndpoint, ToClient);
pub(crate) const ENDPOINT_NETWORK: Hop = hop("endpoint-network", ClientEndpoint, ToClient);

impl LinkPlace {
    /// Tells whether packets may come by: to frontends only if some workload dials them.
    fn is_used(&self, scenario: &Scenario) -> bool {
        match (self.owner, self.hop.link) {
            (Owner::Balancer(_), _) | (Owner::Backend(_), ClientEndpoint) => {
                let mut workloads = scenario.workload.iter();
                workloads.any(|workload| workload.frontends().next().is_some())
            }
            _ => true,
        }
    }
}

/// A link goes down or up because its section says so.
#[derive(Debug)]
pub(crate) struct Outage {
    pub(crate) at: Instant,
    link: LinkName,
    is_down: bool,
}

/// Which links are meant; what is `None` does not matter.
struct Target {
    link: LinkName,
    direction: Option<LinkDirection>,
    owners: Option<Vec<Owner>>,
}

/// Returns the links' ends that the scenario's sections announce, in the order of time.
pub(crate) fn outages(scenario: &Scenario) -> VecDeque<Outage> {
    let mut outages = Vec::new();
    for link in LinkName::ALL {
        for [from, to] in scenario.link.down(link) {
            for (at, is_down) in [(from, true), (to, false)] {
                let at = Instant::ZERO + at.0;
                outages.push(Outage { at, link, is_down });
            }
        }
    }
    outages.sort_by_key(|outage| (outage.at, outage.link));
    outages.into()
}

/// A time during which links were down.
#[derive(Debug)]
pub(crate) struct DownTime {
    pub(crate) link: LinkName,
    /// Whose, if not all of that name are meant.
    pub(crate) of: Option<String>,
    pub(crate) from: Instant,
    /// `None`: to the end of the run.
    pub(crate) until: Option<Instant>,
}

impl DownTime {
    /// Returns the link and whose it is, as in `host_vm of vm-0`.
    pub(crate) fn name(&self) -> String {
        match &self.of {
            None => self.link.name().to_owned(),
            Some(of) => format!("{} of {of}", self.link.name()),
        }
    }
}

/// Returns when links are down, by sections and by events, in the order of the four links.
pub(crate) fn down_times(scenario: &Scenario) -> Vec<DownTime> {
    let mut events: Vec<&file::Event> = scenario.event.iter().collect();
    events.sort_by_key(|event| event.at.0);
    let instant = |at: file::TimeSpan| Instant::ZERO + at.0;
    let mut times = Vec::new();
    for link in LinkName::ALL {
        let sections = scenario.link.down(link).iter();
        times.extend(sections.map(|&[from, to]| DownTime {
            link,
            of: None,
            from: instant(from),
            until: Some(instant(to)),
        }));
        for (index, event) in events.iter().enumerate() {
            if event.action != Action::LinkDown || event.link != Some(link) {
                continue;
            }
            let mut later = events[index..].iter();
            let up = later.find(|later| later.action == Action::LinkUp && is_same(later, event));
            let of = event
                .backend_vm
                .as_ref()
                .or(event.private_endpoint.as_ref());
            times.push(DownTime {
                link,
                of: of.map(ToString::to_string),
                from: instant(event.at),
                until: up.map(|up| instant(up.at)),
            });
        }
    }
    times
}

/// Tells whether two events are about the same links.
fn is_same(one: &file::Event, other: &file::Event) -> bool {
    let target = |event: &file::Event| {
        let names = (event.private_endpoint.clone(), event.backend_vm.clone());
        (event.link, event.direction, names)
    };
    target(one) == target(other)
}

/// Returns what the links of a name are made of.
pub(crate) fn config(scenario: &Scenario, name: LinkName) -> ChannelConfig {
    let mut config = ChannelConfig::default();
    apply(
        &scenario.link.settings(name),
        &mut config.latency,
        &mut config.impairments,
    );
    config
}

/// Returns the latency between an endpoint and the edge: that of the link settings inside a
/// region, that of the region table between two.
pub(crate) fn backbone_latency(scenario: &Scenario, layout: &Layout, endpoint: usize) -> Duration {
    let place = &layout.endpoints[endpoint];
    let service = &layout.services[usize::from(place.service.0)];
    let regions = [place.network, service.nat_subnet.0]
        .map(|network| &scenario.virtual_network[network].region);
    if regions[0] == regions[1] {
        return scenario.link.endpoint_edge.latency.0;
    }
    let listed = scenario.region_latency.iter().find(|row| {
        let [a, b] = &row.between;
        (a == regions[0] && b == regions[1]) || (b == regions[0] && a == regions[1])
    });
    listed
        .expect("broken invariant: a checked scenario lists both regions")
        .latency
        .0
}

/// Has the links count from the beginning that are impaired only later on.
pub(crate) fn watch(simulation: &mut Simulation) {
    let sections = LinkName::ALL.into_iter();
    let sections = sections.filter(|&link| !simulation.scenario.link.down(link).is_empty());
    let mut targets: Vec<Target> = sections.map(Target::all).collect();
    let events = 0..simulation.scenario.event.len();
    targets.extend(events.filter_map(|index| target(simulation, index)));
    let channels = targets
        .iter()
        .map(|target| target.channels(&simulation.map));
    let channels: BTreeSet<_> = channels.flatten().collect();
    let channels: Vec<_> = channels.into_iter().collect();
    if !channels.is_empty() {
        simulation.world.change_links(&channels, |_, _| {});
    }
}

/// Takes links down or up as their section says, and returns what to tell.
pub(crate) fn change_by_section(simulation: &mut Simulation, outage: &Outage) -> Event {
    let target = Target::all(outage.link);
    set_down(simulation, &target, outage.is_down);
    target.event(up_or_down(outage.is_down))
}

/// Applies an event about links, and returns what to tell.
pub(crate) fn change_by_event(simulation: &mut Simulation, index: usize) -> Vec<Event> {
    let target = target(simulation, index);
    let target = target.expect("broken invariant: a checked event names its link");
    let event = &simulation.scenario.event[index];
    let told = match event.action {
        Action::LinkDown | Action::LinkUp => {
            let is_down = event.action == Action::LinkDown;
            set_down(simulation, &target, is_down);
            target.event(up_or_down(is_down))
        }
        _ => {
            let settings = event.link_settings();
            let channels = target.channels(&simulation.map);
            simulation
                .world
                .change_links(&channels, |latency, impairments| {
                    apply(&settings, latency, impairments);
                });
            told(target.event("link-changed"), &settings)
        }
    };
    let event = &simulation.scenario.event[index];
    let endpoint = event.private_endpoint.as_ref();
    let backend = event.backend_vm.as_ref();
    let named = [("private_endpoint", endpoint), ("backend", backend)];
    let named = named
        .into_iter()
        .filter_map(|(key, name)| Some((key, name?)));
    vec![named.fold(told, |told, (key, name)| told.with(key, name.as_str()))]
}

/// Sums up what the links did that have, or had, impairments: a row for each link of each endpoint
/// and VM, in each direction.
pub(crate) fn summaries(
    scenario: &Scenario,
    layout: &Layout,
    map: &Map,
    world: &PlsimWorld,
) -> Vec<LinkSummary> {
    let mut rows: BTreeMap<(LinkName, Owner, LinkDirection), LinkStats> = BTreeMap::new();
    for place in map.links.iter().filter(|place| place.is_used(scenario)) {
        if let Some(stats) = world.link_stats(place.channel) {
            let key = (place.hop.link, place.owner, place.hop.direction);
            rows.entry(key).or_default().add(stats);
        }
    }
    let rows = rows.into_iter();
    rows.map(|((link, owner, direction), stats)| LinkSummary {
        link: link.name(),
        name: match owner {
            Owner::Endpoint(index) => scenario.private_endpoint[index].name.to_string(),
            Owner::Backend(index) => layout.backends[index].name.clone(),
            Owner::Balancer(index) => scenario.load_balancer[index].name.to_string(),
        },
        direction: direction.name(),
        stats,
    })
    .collect()
}

/// Returns the links that an event is about; `None` if it is about none.
fn target(simulation: &Simulation, index: usize) -> Option<Target> {
    let scenario = &simulation.scenario;
    let event = &scenario.event[index];
    let link = event.link?;
    let endpoint = event
        .private_endpoint
        .as_ref()
        .map(|name| vec![Owner::Endpoint(endpoint_named(scenario, name))]);
    let vms = event.backend_vm.as_ref().map(|name| {
        let vms = simulation.layout.backends_named(scenario, name.as_str());
        let vms = vms.into_iter();
        vms.map(|id| Owner::Backend(usize::from(id.0))).collect()
    });
    Some(Target {
        link,
        direction: event.direction,
        owners: endpoint.or(vms),
    })
}

fn set_down(simulation: &mut Simulation, target: &Target, is_down: bool) {
    let channels = target.channels(&simulation.map);
    simulation
        .world
        .change_links(&channels, |_, impairments| impairments.is_down = is_down);
}

const fn up_or_down(is_down: bool) -> &'static str {
    if is_down { "link-down" } else { "link-up" }
}

impl Target {
    const fn all(link: LinkName) -> Self {
        Self {
            link,
            direction: None,
            owners: None,
        }
    }

    fn channels(&self, map: &Map) -> Vec<ChannelId> {
        let places = map.links.iter().filter(|place| {
            place.hop.link == self.link
                && self
                    .direction
                    .is_none_or(|wanted| wanted == place.hop.direction)
                && (self.owners.as_ref()).is_none_or(|owners| owners.contains(&place.owner))
        });
        places.map(|place| place.channel).collect()
    }

    fn event(&self, kind: &'static str) -> Event {
        let told = Event::new(kind).with("link", self.link.name());
        match self.direction {
            Some(direction) => told.with("direction", direction.name()),
            None => told,
        }
    }
}

/// Changes what the settings name.
fn apply(settings: &LinkSettings, latency: &mut Duration, impairments: &mut Impairments) {
    let Impairments {
        is_down: _,
        bandwidth,
        queue_limit,
        loss,
        duplicate,
        corrupt,
        jitter,
        reorder,
    } = impairments;
    *latency = settings.latency.unwrap_or(*latency);
    *bandwidth = settings.bandwidth.map(|rate| rate.0).or(*bandwidth);
    *queue_limit = settings.queue_limit.map(|limit| limit.0).or(*queue_limit);
    *loss = settings.loss.map_or(*loss, Loss::Random);
    if let Some(model) = settings.gemodel {
        *loss = Loss::GilbertElliott(GilbertElliott {
            p: model.p,
            r: model.r,
            loss_in_bad: model.loss_in_bad,
            loss_in_good: model.loss_in_good,
        });
    }
    *duplicate = settings.duplicate.unwrap_or(*duplicate);
    *corrupt = settings.corrupt.unwrap_or(*corrupt);
    jitter.span = settings.jitter.unwrap_or(jitter.span);
    jitter.law = settings.jitter_distribution.map_or(jitter.law, law);
    jitter.may_reorder = settings.jitter_may_reorder.unwrap_or(jitter.may_reorder);
    if let Some(held) = settings.reorder {
        *reorder = Reorder {
            probability: held.probability,
            delay: held.delay.0,
            gap: held.gap,
        };
    }
}

const fn law(distribution: JitterDistribution) -> JitterLaw {
    match distribution {
        JitterDistribution::Uniform => JitterLaw::Uniform,
        JitterDistribution::Normal => JitterLaw::Normal,
    }
}

/// Adds what a change names.
fn told(event: Event, settings: &LinkSettings) -> Event {
    let nanos = |span: Option<Duration>| span.map(Duration::as_nanos);
    let mut told = event;
    let numbers = [
        ("latency_ns", nanos(settings.latency)),
        ("bandwidth_bps", settings.bandwidth.map(|rate| rate.0)),
        (
            "queue_limit_bytes",
            settings.queue_limit.map(|limit| limit.0),
        ),
        ("jitter_ns", nanos(settings.jitter)),
        (
            "reorder_delay_ns",
            nanos(settings.reorder.map(|held| held.delay.0)),
        ),
    ];
    for (key, number) in numbers {
        if let Some(number) = number {
            told = told.with(key, number);
        }
    }
    let shares = [
        ("loss", settings.loss),
        ("gemodel_p", settings.gemodel.map(|model| model.p)),
        ("gemodel_r", settings.gemodel.map(|model| model.r)),
        ("duplicate", settings.duplicate),
        ("corrupt", settings.corrupt),
        ("reorder", settings.reorder.map(|held| held.probability)),
    ];
    for (key, share) in shares {
        if let Some(share) = share {
            told = told.with(key, share);
        }
    }
    told
}
