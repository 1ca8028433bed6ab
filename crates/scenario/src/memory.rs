//! What memory a run will need at most, from the scenario alone.

use crate::model::{
    Arrival, Close, PortAllocation, PortSpace, Preset, PrivateLinkService, Scenario, Transport,
    Workload,
};
use crate::rows::Files;
use crate::units::Law;
use plsim_types::Duration;
use std::collections::{BTreeMap, BTreeSet};

/// What the program takes before anything is built, in bytes.
const PROGRAM_BYTES: u64 = 14 << 20;
/// What a live connection takes at most, both ends, NAT and tables together.
const CONNECTION_BYTES: u64 = 400;
/// The same of one that is abandoned: no timer waits for it, and nothing rests after its close.
const ABANDONED_BYTES: u64 = 250;
/// What one takes besides that makes several requests, or has sizes or a service time of its own.
const OWN_BYTES: u64 = 64;
/// What each takes besides while tables are small, which grow by doubling: up to so many.
const SLACK_BYTES: u64 = 200;
const SLACK_CONNECTIONS: u64 = 300_000;
/// What a packet on its way takes beside it: at-once arrivals send all their SYNs together.
const PACKET_BYTES: u64 = 500;
/// How long a connection outlives its close at least: TIME_WAIT and hold-down are about a minute.
const AFTERLIFE: Duration = Duration::from_secs(65);
/// How long its buffers do, where it has any: both FINs, and those of them that are lost.
const DRAINING: Duration = Duration::from_secs(5);
/// What a port space takes: which ports are free, and where the pages are that say who has them.
const SPACE_BYTES: u64 = 13 << 10;
/// The same with an allocator that keeps its ports in an order, at most.
const ORDERED_SPACE_BYTES: u64 = 260 << 10;
/// What a page of a port space takes; one is for 64 ports, and comes with the first of them.
const PAGE_BYTES: u64 = 256;

/// What a run will need at most, in bytes, by what needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Memory {
    /// The connections that may be alive at once, those in TIME_WAIT and hold-down included.
    pub connections: u64,
    /// What they need: both ends, NAT and tables.
    pub connection_bytes: u64,
    /// What the buffers of those with the full TCP need.
    pub buffer_bytes: u64,
    /// The (NAT IP, VM, protocol) that traffic may reach.
    pub port_spaces: u64,
    /// What they need.
    pub port_space_bytes: u64,
    /// What everything needs that is there without traffic: networks, machines, endpoints.
    pub world_bytes: u64,
}

impl Memory {
    /// Adds up the parts, in bytes.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.connection_bytes
            .saturating_add(self.buffer_bytes)
            .saturating_add(self.port_space_bytes)
            .saturating_add(self.world_bytes)
    }
}

impl Scenario {
    /// Estimates what memory a run needs at most.
    #[must_use]
    pub fn memory(&self) -> Memory {
        let mut memory = Memory {
            world_bytes: self.world_bytes(),
            ..Memory::default()
        };
        self.connections(&mut memory);
        self.port_spaces(&mut memory);
        memory
    }

    fn connections(&self, memory: &mut Memory) {
        let end = self.run.duration.0;
        let services = self.private_link_service.iter();
        let held = services.map(|service| service.effective_timers().hold_down_fin);
        let afterlife = held.fold(AFTERLIFE, Duration::max);
        for workload in &self.workload {
            let live = alive(workload, (end, afterlife), &self.files);
            let each = match workload.is_abandoned() {
                true => ABANDONED_BYTES,
                false => CONNECTION_BYTES,
            };
            let own = match workload.is_alike() {
                true => 0,
                false => OWN_BYTES,
            };
            let packets = match workload.effective_arrival() {
                Arrival::AtOnce | Arrival::Bursts(_) => PACKET_BYTES,
                Arrival::Constant | Arrival::Poisson | Arrival::File(_) => 0,
            };
            add(&mut memory.connections, live);
            add(
                &mut memory.connection_bytes,
                live.saturating_mul(each + packets + own),
            );
            if workload.protocol == Transport::Tcp {
                let live = alive(workload, (end, DRAINING), &self.files);
                let buffers = live.saturating_mul(self.full_ends(workload));
                add(&mut memory.buffer_bytes, buffers);
            }
        }
        let slack = memory.connections.min(SLACK_CONNECTIONS);
        add(&mut memory.connection_bytes, slack * SLACK_BYTES);
    }

    /// Returns the bytes that the ends of a TCP connection of a workload take where they are full ones.
    fn full_ends(&self, workload: &Workload) -> u64 {
        let servers = self.backend_vm.iter();
        let server = servers.filter_map(|group| Some(group.full_tcp()?.bytes()));
        let client = self.full_clients(workload).map_or(0, |full| full.bytes());
        client.saturating_add(server.max().unwrap_or(0))
    }

    fn port_spaces(&self, memory: &mut Memory) {
        let protocols = [Transport::Tcp, Transport::Udp].map(|protocol| {
            let mut workloads = self.workload.iter();
            usize::from(workloads.any(|workload| workload.protocol == protocol))
        });
        let protocols: usize = protocols.iter().sum();
        let mut machines: BTreeMap<&str, u64> = BTreeMap::new();
        for group in &self.backend_vm {
            let balancers = group.backend_pools.iter();
            let balancers: BTreeSet<&str> = balancers.map(|path| &*path.load_balancer).collect();
            for balancer in balancers {
                *machines.entry(balancer).or_default() += u64::from(group.count);
            }
        }
        let mut ports = 0_u64;
        for service in &self.private_link_service {
            let balancer = &*service.load_balancer_frontend.load_balancer;
            let vms = machines.get(balancer).copied().unwrap_or(0);
            let of_a_vm = service.nat_ip_total() * protocols * self.shares(service);
            let spaces = vms.saturating_mul(of_a_vm as u64);
            add(&mut memory.port_spaces, spaces);
            let each = match service.port_allocation {
                Some(
                    PortAllocation::Uniform
                    | PortAllocation::Fifo
                    | PortAllocation::Lifo
                    | PortAllocation::Blocks
                    | PortAllocation::AzureBlocks,
                ) => ORDERED_SPACE_BYTES,
                _ if service.reserves_blocks() => ORDERED_SPACE_BYTES,
                _ => SPACE_BYTES,
            };
            add(&mut memory.port_space_bytes, spaces.saturating_mul(each));
            add(&mut ports, spaces.saturating_mul(1 << 16));
        }
        // A page for each connection, until all pages are there.
        let pages = memory.connections.min(ports / 64);
        add(
            &mut memory.port_space_bytes,
            pages.saturating_mul(PAGE_BYTES),
        );
    }

    /// Returns how many spaces there are for each NAT IP, VM and protocol.
    fn shares(&self, service: &PrivateLinkService) -> usize {
        match (service.port_space, service.preset) {
            (Some(PortSpace::PerVm), _) | (None, Preset::Azure) => return 1,
            (Some(PortSpace::PerVmPort) | None, _) => {}
        }
        let path = &service.load_balancer_frontend;
        let balancers = self.load_balancer.iter();
        let own = balancers.filter(|lb| lb.name == path.load_balancer);
        let rules = own.flat_map(|lb| lb.rule.iter().filter(|rule| rule.frontend == path.frontend));
        rules.count().max(1)
    }

    fn world_bytes(&self) -> u64 {
        let backends: u64 = self.backend_vm.iter().map(|vm| u64::from(vm.count)).sum();
        let clients: u64 = self.client_vm.iter().map(|vm| u64::from(vm.count)).sum();
        let pairs = [
            (self.virtual_network.len() as u64, 2 << 10),
            (self.private_endpoint.len() as u64, 4 << 10),
            (self.client_vm.len() as u64, 4 << 10),
            (clients, 1 << 10),
            (self.workload.len() as u64, 8 << 10),
            (backends, 64 << 10),
        ];
        let parts = pairs
            .iter()
            .map(|(count, each)| count.saturating_mul(*each));
        parts.fold(PROGRAM_BYTES, u64::saturating_add)
    }
}

impl Workload {
    /// Tells whether nobody closes its connections.
    fn is_abandoned(&self) -> bool {
        self.protocol == Transport::Tcp && self.close == Close::Abandon
    }

    /// Tells whether each of its connections makes one request, which is that of all others.
    fn is_alike(&self) -> bool {
        let sizes = [&self.request_size, &self.response_size];
        sizes.iter().all(|law| matches!(law, Law::Fixed(_)))
            && matches!(self.service_time, Law::Fixed(_))
            && self.requests.is_none()
            && self.interval.is_none()
    }
}

fn add(sum: &mut u64, more: u64) {
    *sum = sum.saturating_add(more);
}

/// Returns how many connections of a workload may live at once, if each outlives its close by so much.
fn alive(workload: &Workload, (end, afterlife): (Duration, Duration), files: &Files) -> u64 {
    if let Some(pool) = &workload.pool {
        // Of a pool without a limit each request may have a connection of its own.
        let pools = workload.pools();
        let kept = u64::from(pool.min_idle).saturating_mul(pools);
        let wanted = workload.planned(end, files).unwrap_or(u64::MAX);
        let most = u64::from(pool.size).saturating_mul(pools);
        return most.min(kept.saturating_add(wanted));
    }
    let total = workload.planned(end, files).unwrap_or(u64::MAX);
    if workload.is_held() {
        return total;
    }
    let hold = match &workload.hold {
        Law::Fixed(span) => span.0,
        // The mean number alive follows the mean hold; doubled, chance stays far below it.
        drawn @ Law::Drawn(_) => drawn.mean(files).0.times(2),
    };
    let lifetime = match workload.is_abandoned() {
        true => Duration::MAX,
        false => hold + afterlife,
    };
    let span = lifetime.min(workload.span(end));
    let most = match (&workload.arrival, &workload.rate) {
        (Arrival::Constant | Arrival::Poisson, Some(rate)) => rate.highest().starts_within(span),
        (Arrival::Bursts(bursts), _) => {
            // At worst the last one begins as the span ends.
            let whole = workload.arrival.starts_within(span, files);
            whole.map_or(total, |whole| whole.saturating_add(bursts.size.0))
        }
        _ => total,
    };
    most.min(total)
}
