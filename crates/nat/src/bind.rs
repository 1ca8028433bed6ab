//! How a new flow gets a binding and a port.

use crate::binding::{Binding, FlowKey, State};
use crate::config::HeldPorts;
use crate::engine::NatEngine;
use crate::error::NatError;
use crate::event::{NatEvent, Release};
use crate::pool::NIL;
use crate::port::{PortAllocator, PortRequest};
use crate::tcp::Sequences;
use plsim_types::{Instant, KeyedHash, Protocol, TcpSegment};

impl NatEngine {
    /// Creates a binding for the first packet of a flow.
    pub(crate) fn bind(
        &mut self,
        key: &FlowKey,
        hash: u64,
        segment: Option<&TcpSegment>,
        now: Instant,
    ) -> Result<u32, NatError> {
        let (state, sequences) = match (key.protocol, segment) {
            (Protocol::Udp, _) => (State::Udp, Sequences::default()),
            (Protocol::Tcp, Some(syn)) if syn.flags.opens() => {
                (State::HalfOpen, Sequences::of_syn(syn))
            }
            (Protocol::Tcp, _) => return Err(NatError::NoFlow),
        };
        self.check_flow_limit()?;
        let (nat_ip, nat_port) = self.allocate(key, hash, now)?;
        self.activate();
        let position = self.flows.insert(
            hash,
            Binding {
                last: now,
                link: key.link.0,
                client_ip: key.client.ip().to_bits(),
                endpoint_ip: key.endpoint.ip().to_bits(),
                client_port: key.client.port(),
                endpoint_port: key.endpoint.port(),
                backend_port: key.backend_port,
                nat_port,
                nat_ip,
                pool: key.pool,
                state,
                sequences,
                armed: 0,
                tag: 0,
                older: NIL,
                newer: NIL,
            },
        );
        self.own(position, now);
        Ok(position)
    }

    /// Enters a fresh binding everywhere but in the flow table, and tells of it.
    fn own(&mut self, position: u32, now: Instant) {
        self.arm(position, now);
        let binding = *self.flows.entry(position);
        let protocol = binding.state.protocol();
        let nat_ip = &mut self.nat_ips[usize::from(binding.nat_ip)];
        let address = nat_ip.address;
        let space = nat_ip.space(protocol);
        space
            .owners
            .claim(&mut self.pages, binding.nat_port, position);
        let exhausted = space.bound(now);
        if self.report {
            let binding = self.info(&binding);
            self.events.push_back(NatEvent::Bound { at: now, binding });
        }
        if exhausted {
            self.events.push_back(NatEvent::Exhausted {
                at: now,
                pls: self.pools[usize::from(binding.pool)].pls,
                nat_ip: address,
                protocol,
            });
        }
    }

    pub(crate) fn check_flow_limit(&mut self) -> Result<(), NatError> {
        if self.active < self.flow_limit {
            return Ok(());
        }
        self.flow_limit_refusals += 1;
        Err(NatError::VmFlowLimit)
    }

    /// Takes a port: of the NAT IP the flow hashes to, else of the next one that has one free.
    fn allocate(&mut self, key: &FlowKey, hash: u64, now: Instant) -> Result<(u16, u16), NatError> {
        let count = self.pools[usize::from(key.pool)].nat_ips.len();
        let first = KeyedHash::scale(self.select.word(hash), count as u32) as usize;
        for offset in 0..count {
            let pool = &self.pools[usize::from(key.pool)];
            let nat_ip = pool.nat_ips[(first + offset) % count];
            let space =
                self.nat_ips[usize::from(nat_ip)].space_or_new(key.protocol, pool, self.start);
            if space.ports.free() == 0 {
                continue;
            }
            if let Some(port) = self.search(nat_ip, key, hash) {
                return Ok((nat_ip, port));
            }
        }
        let pool = &self.pools[usize::from(key.pool)];
        let first = pool.nat_ips[first];
        if pool.held_ports == HeldPorts::ReuseOldest
            && let Some(position) = self.oldest_held(key)
        {
            let nat_ip = self.flows.entry(position).nat_ip;
            self.nat_ips[usize::from(nat_ip)]
                .space(key.protocol)
                .reused_held += 1;
            self.release_held(position, now, Release::Reused);
            let port = self.search(nat_ip, key, hash);
            return Ok((nat_ip, port.ok_or(NatError::PortsExhausted)?));
        }
        let space = self.nat_ips[usize::from(first)].space(key.protocol);
        space.bind_failures += 1;
        Err(NatError::PortsExhausted)
    }

    /// Takes a port of a NAT IP that has one free; `None` if the algorithm gives up.
    fn search(&mut self, nat_ip: u16, key: &FlowKey, hash: u64) -> Option<u16> {
        let space = self.nat_ips[usize::from(nat_ip)].space(key.protocol);
        let backend = u64::from(self.backend.to_bits()) << 32;
        let port = u64::from(key.protocol.number()) << 16 | u64::from(key.backend_port);
        let request = PortRequest {
            // The space's own count makes two searches of one flow start at different places.
            random: self.start.pair(hash, space.binds),
            flow: hash,
            destination: self.start.word(backend | port),
            client_port: key.client.port(),
            subscriber: key.link.0,
        };
        let allocated = space.ports.allocate(&request).ok()?;
        Some(allocated.port)
    }
}
