//! What a scenario says of the NAT, in the engine's words.

use std::net::Ipv4Addr;

use plsim_nat::{
    Allocation, AnswerRate, HeldPorts, LatePackets, NatConfig, NatEngine, OnExhaustion, OnIdle,
    Pace, PoolConfig, PortSpace, Selection,
};
use plsim_scenario as file;
use plsim_scenario::{PrivateLinkService, Scenario};
use plsim_types::{Duration, PlsId};

use crate::configure::services_of;
use crate::idle;
use crate::layout::Layout;

/// Builds the NAT of one backend VM: a pool of NAT IPs for each service that reaches it.
pub(crate) fn engine(scenario: &Scenario, layout: &Layout, index: usize, seed: u64) -> NatEngine {
    let place = &layout.backends[index];
    let pools = services_of(scenario, layout, place).map(|(pls, _)| {
        let service = &scenario.private_link_service[usize::from(pls.0)];
        let nat_ips = layout.services[usize::from(pls.0)].nat_ips.clone();
        PoolConfig {
            lb_timers: idle::timers(scenario, service),
            ..pool(service, pls, nat_ips)
        }
    });
    NatEngine::new(NatConfig {
        backend: place.address,
        seed,
        flow_limit: scenario.backend_vm[place.group].vm_flow_limit.0,
        table_limit: scenario.backend_vm[place.group].nat_table_limit.0,
        events: scenario.output.flows,
        pools: pools.collect(),
    })
    .expect("broken invariant: a checked scenario makes a valid NAT")
}

/// Collects what a service says of its NAT: its preset, and what differs from that.
pub(crate) fn pool(service: &PrivateLinkService, pls: PlsId, nat_ips: Vec<Ipv4Addr>) -> PoolConfig {
    let preset = PoolConfig::preset(service.preset.into(), pls, nat_ips);
    let ports = service.ports();
    PoolConfig {
        ports: ports.first()..=ports.last(),
        allocator: match (service.port_allocation, preset.allocator) {
            (None | Some(file::PortAllocation::Blocks), Allocation::Blocks { size, most }) => {
                blocks(service, size, most)
            }
            (None, Allocation::ReservedBlocks { .. }) => reserved(service),
            (None, allocator) => allocator,
            (Some(word), _) => allocation(word, service),
        },
        selection: service.nat_ip_selection.map_or(preset.selection, selection),
        port_space: service
            .port_space
            .map_or(preset.port_space, |word| match word {
                file::PortSpace::PerVm => PortSpace::PerVm,
                file::PortSpace::PerVmPort => PortSpace::PerVmPort,
            }),
        endpoint_port_limit: service.endpoint_port_limit.0,
        held_ports: match service.held_ports {
            file::HeldPorts::Refuse => HeldPorts::Refuse,
            file::HeldPorts::ReuseOldest => HeldPorts::ReuseOldest,
        },
        on_exhaustion: match service.on_exhaustion {
            file::OnExhaustion::Drop => OnExhaustion::Drop,
            file::OnExhaustion::IcmpAdminProhibited => OnExhaustion::AdministrativelyProhibited,
            file::OnExhaustion::IcmpHostUnreachable => OnExhaustion::HostUnreachable,
        },
        answer_rate: AnswerRate {
            interval: service
                .icmp_rate
                .map_or(AnswerRate::LINUX.interval, |rate| {
                    // At most 10 million a second: never 0. A count that does not divide the second
                    // answers that little more often.
                    Duration::from_nanos(rate.per().as_nanos() / rate.count())
                }),
            burst: service.icmp_burst.unwrap_or(AnswerRate::LINUX.burst),
        },
        on_idle: service.on_idle.map_or(preset.on_idle, |word| match word {
            file::OnIdle::Reset => OnIdle::Reset,
            file::OnIdle::Silent => OnIdle::Silent,
        }),
        late_packets: service
            .late_packets
            .map_or(preset.late_packets, |word| match word {
                file::LatePackets::Drop => LatePackets::Drop,
                file::LatePackets::Reset => LatePackets::Reset,
            }),
        reply_refreshes: service.reply_refreshes,
        timers: service.effective_timers(),
        ..preset
    }
}

fn allocation(word: file::PortAllocation, service: &PrivateLinkService) -> Allocation {
    match word {
        file::PortAllocation::Bitmap => Allocation::Bitmap,
        file::PortAllocation::BitmapHash => Allocation::BitmapHash,
        file::PortAllocation::BitmapLowest => Allocation::BitmapLowest,
        file::PortAllocation::Fifo => Allocation::Fifo,
        file::PortAllocation::Lifo => Allocation::Lifo,
        file::PortAllocation::Uniform => Allocation::Uniform,
        file::PortAllocation::Sequential => Allocation::Sequential,
        file::PortAllocation::Rfc6056Simple => Allocation::Rfc6056Simple,
        file::PortAllocation::Rfc6056Retries => Allocation::Rfc6056Retries,
        file::PortAllocation::Rfc6056Hash => Allocation::Rfc6056Hash,
        file::PortAllocation::Rfc6056DoubleHash => Allocation::Rfc6056DoubleHash,
        file::PortAllocation::Rfc6056Increments => Allocation::Rfc6056Increments,
        file::PortAllocation::Preserve => Allocation::Preserve,
        file::PortAllocation::PreserveParity => Allocation::PreserveParity,
        file::PortAllocation::PreserveRange => Allocation::PreserveRange,
        file::PortAllocation::Blocks => blocks(service, 64, 16),
        file::PortAllocation::AzureBlocks => Allocation::AzureBlocks,
        file::PortAllocation::ReservedBlocks => reserved(service),
        file::PortAllocation::Linux => Allocation::Linux,
    }
}

/// Builds blocks of the size and number that the service says, else of these.
fn blocks(service: &PrivateLinkService, size: u16, most: u16) -> Allocation {
    Allocation::Blocks {
        size: service.block_size.map_or(size, whole),
        most: service.block_limit.map_or(most, whole),
    }
}

/// Builds reserved blocks.
fn reserved(service: &PrivateLinkService) -> Allocation {
    let usual = Pace::DEFAULT;
    Allocation::ReservedBlocks {
        size: whole(service.block_size_in_force()),
        most: whole(service.block_limit_in_force()),
        pace: Pace {
            grow_at: service
                .block_grow_at
                .map_or(usual.grow_at, |share| (share * 1_000.0).round() as u16),
            delay: service.block_grow_delay.map_or(usual.delay, |span| span.0),
            rest: service.block_shrink_after.map_or(usual.rest, |span| span.0),
        },
    }
}

fn whole(count: u32) -> u16 {
    u16::try_from(count).unwrap_or(u16::MAX)
}

const fn selection(word: file::NatIpSelection) -> Selection {
    match word {
        file::NatIpSelection::Hash => Selection::Hash,
        file::NatIpSelection::HashStrict => Selection::HashStrict,
        file::NatIpSelection::RoundRobin => Selection::RoundRobin,
        file::NatIpSelection::LeastUsed => Selection::LeastUsed,
        file::NatIpSelection::Sequential => Selection::Sequential,
        file::NatIpSelection::ClientPaired => Selection::ClientPaired,
        file::NatIpSelection::ClientPairedStrict => Selection::ClientPairedStrict,
    }
}
