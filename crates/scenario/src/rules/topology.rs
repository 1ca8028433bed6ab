use super::Rules;
use super::lints::{PL010, PL011, PL012, PL013, PL020, PL021, PL022, PL023, PL024};
use crate::model::VirtualNetwork;
use plsim_types::Prefix;
use std::collections::{BTreeMap, BTreeSet};

impl Rules<'_> {
    /// Virtual networks, their subnets, their peerings and the regions.
    pub(super) fn topology(&mut self) {
        for (index, network) in self.scenario.virtual_network.iter().enumerate() {
            self.address_space(index, network);
        }
        self.peerings();
        self.region_latencies();
    }

    fn address_space(&mut self, index: usize, network: &VirtualNetwork) {
        let spaces: Vec<Prefix> = network.address_space.iter().map(|it| it.0).collect();
        for (one, other) in overlaps(&spaces) {
            let path = |place: usize| format!("virtual_network[{index}].address_space[{place}]");
            let message = format!(
                "{} and {} overlap in `{}`",
                spaces[one], spaces[other], network.name
            );
            self.report(PL010, &path(other), message)
                .see(&path(one), "overlaps with this")
                .help("remove the narrower of the two");
        }
        let prefixes: Vec<Prefix> = network.subnet.iter().map(|it| it.prefix.0).collect();
        for (one, other) in overlaps(&prefixes) {
            let path = |place: usize| format!("virtual_network[{index}].subnet[{place}].prefix");
            let message = format!(
                "subnets `{}` ({}) and `{}` ({}) overlap",
                network.subnet[one].name,
                prefixes[one],
                network.subnet[other].name,
                prefixes[other]
            );
            self.report(PL012, &path(other), message)
                .label("overlaps")
                .see(&path(one), "with this subnet")
                .help("give each subnet of a virtual network its own addresses");
        }
        for (place, subnet) in network.subnet.iter().enumerate() {
            let path = format!("virtual_network[{index}].subnet[{place}].prefix");
            let prefix = subnet.prefix.0;
            if !(2..=29).contains(&prefix.length()) {
                let message = format!("a subnet is /2 to /29, not /{}", prefix.length());
                self.report(PL013, &path, message)
                    .help("Azure reserves five addresses of each subnet: a /29 leaves three");
            }
            if !spaces.iter().any(|space| space.covers(prefix)) {
                let spaces: Vec<String> = spaces.iter().take(8).map(ToString::to_string).collect();
                let message = format!(
                    "subnet `{}` ({prefix}) is outside the address space of `{}`",
                    subnet.name, network.name
                );
                self.report(PL011, &path, message)
                    .label("outside")
                    .see(
                        &format!("virtual_network[{index}].address_space"),
                        format!("the address space is {}", spaces.join(", ")),
                    )
                    .help("move the subnet into it, or add a prefix to the address space");
            }
        }
    }

    fn peerings(&mut self) {
        let mut seen = BTreeMap::new();
        for (index, peering) in self.scenario.virtual_network_peering.iter().enumerate() {
            let path = format!("virtual_network_peering[{index}].virtual_networks");
            let [one, other] = &peering.virtual_networks;
            if one == other {
                self.report(
                    PL020,
                    &path,
                    format!("`{one}` cannot be peered with itself"),
                )
                .help("a peering names two different virtual networks");
                continue;
            }
            if let Some(first) = seen.insert((one.min(other), one.max(other)), index) {
                self.report(
                    PL020,
                    &path,
                    format!("`{one}` and `{other}` are peered twice"),
                )
                .see(
                    &format!("virtual_network_peering[{first}].virtual_networks"),
                    "first here",
                )
                .help("a peering works in both directions; remove one of the two");
                continue;
            }
            let (Some(one), Some(other)) = (self.index.network(one), self.index.network(other))
            else {
                continue;
            };
            self.peering(&path, one, other);
        }
    }

    fn peering(&mut self, path: &str, one: usize, other: usize) {
        let (first, second) = (
            &self.scenario.virtual_network[one],
            &self.scenario.virtual_network[other],
        );
        if first.region != second.region {
            let message = format!(
                "`{}` is in {}, `{}` in {}: global peering is not supported yet",
                first.name, first.region, second.name, second.region
            );
            self.report(PL021, path, message).help(
                "put both virtual networks into one region, or give each its own private endpoint",
            );
        }
        let overlap = first.address_space.iter().find_map(|space| {
            let other = second
                .address_space
                .iter()
                .find(|it| it.0.overlaps(space.0))?;
            Some((space, other))
        });
        if let Some((space, other_space)) = overlap {
            let message = format!(
                "`{}` ({space}) and `{}` ({other_space}) overlap: they cannot be peered",
                first.name, second.name
            );
            self.report(PL022, path, message)
                .see(
                    &format!("virtual_network[{one}].address_space"),
                    "this address space",
                )
                .see(
                    &format!("virtual_network[{other}].address_space"),
                    "and this one",
                )
                .help(
                    "virtual networks that overlap can both have a private endpoint to one service",
                );
        }
    }

    fn region_latencies(&mut self) {
        let mut known = BTreeSet::new();
        for (index, entry) in self.scenario.region_latency.iter().enumerate() {
            let path = format!("region_latency[{index}].between");
            let [one, other] = &entry.between;
            if one == other {
                self.report(
                    PL023,
                    &path,
                    format!("{one} is given twice: a latency is between two regions"),
                )
                .help("the latency inside a region is link.endpoint_edge");
            }
            if !known.insert((one.min(other), one.max(other))) {
                self.report(
                    PL023,
                    &path,
                    format!("the latency between {one} and {other} is given twice"),
                )
                .help("the latency holds in both directions; remove one of the two");
            }
        }
        for (index, endpoint) in self.scenario.private_endpoint.iter().enumerate() {
            let service = self.index.service(&endpoint.private_link_service);
            let service = service.map(|service| &self.scenario.private_link_service[service]);
            let there = service.and_then(|service| self.index.subnet(&service.nat_subnet));
            let (Some(here), Some(there)) = (self.index.subnet(&endpoint.subnet), there) else {
                continue;
            };
            let here = &self.index.network_of(here).region;
            let there = &self.index.network_of(there).region;
            if here != there && !known.contains(&(here.min(there), here.max(there))) {
                let message = format!("the latency between {here} and {there} is not given");
                self.report(PL024, &format!("private_endpoint[{index}].private_link_service"), message)
                    .label(format!("is in {there}, the endpoint in {here}"))
                    .help(format!(
                        "add [[region_latency]] with between = [\"{here}\", \"{there}\"] and a latency, for example \"40ms\""
                    ));
            }
        }
    }
}

/// Returns pairs of positions whose prefixes overlap: each prefix with the nearest wider or equal
/// one before it in address order, so at least one pair if there is any overlap.
fn overlaps(prefixes: &[Prefix]) -> Vec<(usize, usize)> {
    let mut order: Vec<usize> = (0..prefixes.len()).collect();
    order.sort_by_key(|index| {
        (
            prefixes[*index].network(),
            prefixes[*index].length(),
            *index,
        )
    });
    let mut found = Vec::new();
    let mut widest: Option<usize> = None;
    for index in order {
        match widest {
            Some(before) if prefixes[before].overlaps(prefixes[index]) => {
                found.push((before.min(index), before.max(index)));
            }
            _ => widest = Some(index),
        }
    }
    found
}
