//! How the NATs of other providers and of Linux behave, in the words of this engine.

use crate::answer::AnswerRate;
use crate::config::{
    HeldPorts, LatePackets, OnExhaustion, OnIdle, PoolConfig, PortSpace, Selection,
};
use crate::port::{Allocation, Pace};
use alloc::vec::Vec;
use core::net::Ipv4Addr;
use plsim_types::{NatPreset, PlsId};

impl PoolConfig {
    /// Builds a pool that behaves as a provider documents it; docs/sources.md has each fact, and
    /// what is assumed where nothing is published.
    #[must_use]
    pub fn preset(preset: NatPreset, pls: PlsId, nat_ips: Vec<Ipv4Addr>) -> Self {
        let azure = Self {
            pls,
            nat_ips,
            ports: preset.ports(),
            allocator: Allocation::Bitmap,
            selection: Selection::Hash,
            port_space: PortSpace::PerVm,
            endpoint_port_limit: None,
            held_ports: HeldPorts::Refuse,
            on_exhaustion: OnExhaustion::Drop,
            answer_rate: AnswerRate::LINUX,
            on_idle: OnIdle::Reset,
            late_packets: LatePackets::Drop,
            reply_refreshes: true,
            timers: preset.timers(),
            lb_timers: Vec::new(),
        };
        match preset {
            NatPreset::Azure => azure,
            // Ports count for each target, and whoever speaks after the time-out gets an RST.
            NatPreset::AwsPrivateLink | NatPreset::AwsNatGateway => Self {
                port_space: PortSpace::PerVmPort,
                on_idle: OnIdle::Silent,
                late_packets: LatePackets::Reset,
                ..azure
            },
            // Each VM, which is the client here, has 64 ports, or 32 and more when it needs them; they
            // serve several destinations; another NAT IP has none for it.
            NatPreset::GcpCloudNat | NatPreset::GcpCloudNatDynamic => Self {
                allocator: match preset {
                    NatPreset::GcpCloudNatDynamic => Allocation::RESERVED,
                    _ => Allocation::ReservedBlocks {
                        size: 64,
                        most: 1,
                        pace: Pace::DEFAULT,
                    },
                },
                selection: Selection::ClientPairedStrict,
                port_space: PortSpace::PerVmPort,
                on_idle: OnIdle::Silent,
                ..azure
            },
            // The client's address picks the NAT IP and no other one is tried.
            NatPreset::LinuxNfNat => Self {
                allocator: Allocation::Linux,
                selection: Selection::ClientPairedStrict,
                port_space: PortSpace::PerVmPort,
                on_idle: OnIdle::Silent,
                ..azure
            },
        }
    }

    /// Builds a pool with what Azure does by default.
    #[must_use]
    pub fn azure(pls: PlsId, nat_ips: Vec<Ipv4Addr>) -> Self {
        Self::preset(NatPreset::Azure, pls, nat_ips)
    }
}
