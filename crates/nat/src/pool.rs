use crate::answer::Answering;
use crate::binding::FlowKey;
use crate::config::{HeldPorts, LatePackets, OnIdle, PoolConfig, PortSpace, Selection};
use crate::lb_idle::LbTimer;
use crate::port::Allocation;
use crate::side::Side;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::net::Ipv4Addr;
use core::ops::RangeInclusive;
use plsim_types::canary::{Fault, planted};
use plsim_types::{PlsId, Protocol, Timers};

/// The NAT side of one service.
#[derive(Debug, Clone)]
pub(crate) struct Pool {
    pub(crate) pls: PlsId,
    /// Positions of its NAT IPs in the engine, in the order they were added.
    pub(crate) nat_ips: Vec<u8>,
    pub(crate) ports: RangeInclusive<u16>,
    pub(crate) allocator: Allocation,
    pub(crate) selection: Selection,
    pub(crate) port_space: PortSpace,
    pub(crate) endpoint_port_limit: Option<u32>,
    pub(crate) held_ports: HeldPorts,
    pub(crate) answering: Answering,
    pub(crate) on_idle: OnIdle,
    pub(crate) late_packets: LatePackets,
    pub(crate) reply_refreshes: bool,
    pub(crate) timers: Timers,
    pub(crate) lb_timers: Vec<LbTimer>,
    /// For each protocol, the NAT IP whose turn is next.
    pub(crate) turns: [usize; 2],
    /// For each protocol, the backend port for whose flows no NAT IP had a port when one was last
    /// looked for, until a port is freed or a NAT IP added: a refusal need not look again.
    pub(crate) full: [Option<u16>; 2],
}

/// One NAT IP with its two sides, which are created on first use.
#[derive(Debug, Clone)]
pub(crate) struct NatIp {
    pub(crate) address: Ipv4Addr,
    pub(crate) sides: [Option<Box<Side>>; 2],
}

/// No position.
pub(crate) const NIL: u32 = u32::MAX;

impl Pool {
    pub(crate) fn new(config: &PoolConfig) -> Self {
        let beyond = u16::from(planted(Fault::PortOutOfRange));
        Self {
            pls: config.pls,
            nat_ips: Vec::new(),
            ports: *config.ports.start()..=config.ports.end().saturating_add(beyond),
            allocator: config.allocator,
            selection: config.selection,
            port_space: config.port_space,
            endpoint_port_limit: config.endpoint_port_limit,
            held_ports: config.held_ports,
            answering: Answering::new(config),
            on_idle: config.on_idle,
            late_packets: config.late_packets,
            reply_refreshes: config.reply_refreshes,
            timers: config.timers,
            lb_timers: config.lb_timers.clone(),
            turns: [0; 2],
            full: [None; 2],
        }
    }

    /// Returns whom the ports of a flow belong to, where ports belong to somebody.
    #[inline]
    pub(crate) const fn subscriber(&self, key: &FlowKey) -> u64 {
        match self.allocator {
            Allocation::ReservedBlocks { .. } => key.consumer(),
            _ => key.link().0 as u64,
        }
    }
}

impl NatIp {
    pub(crate) const fn new(address: Ipv4Addr) -> Self {
        Self {
            address,
            sides: [None, None],
        }
    }

    /// Returns the side that some binding uses.
    ///
    /// # Panics
    /// If no flow of the protocol has ever looked for a port here.
    #[inline]
    pub(crate) fn side(&mut self, protocol: Protocol) -> &mut Side {
        self.sides[protocol.index()]
            .as_mut()
            .expect("broken invariant: a binding without its port space")
    }

    #[inline]
    pub(crate) fn side_or_new(&mut self, protocol: Protocol) -> &mut Side {
        self.sides[protocol.index()].get_or_insert_default()
    }
}
