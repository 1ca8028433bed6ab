//! How a new flow gets a binding and a port.

use crate::binding::{Aside, Binding, FlowKey, State, armed_mark};
use crate::config::{HeldPorts, PortSpace, Selection};
use crate::engine::NatEngine;
use crate::error::NatError;
use crate::event::{NatEvent, Release};
use crate::port::{NoPort, PortAllocator, PortRequest};
use crate::side::Side;
use crate::tcp::Sequences;
use plsim_types::{Instant, Protocol, TcpSegment};

impl NatEngine {
    /// Creates a binding for the first packet of a flow; returns its NAT IP, as a position in the engine, and
    /// its port.
    #[inline(always)] // It has one caller; two frames would be a fifth of a refusal.
    pub(crate) fn bind(
        &mut self,
        key: &FlowKey,
        hash: u64,
        segment: Option<&TcpSegment>,
        now: Instant,
    ) -> Result<(u8, u16), NatError> {
        let opens = segment.is_some_and(|segment| segment.flags.opens());
        if key.protocol() == Protocol::Tcp && !opens {
            return Err(NatError::NoFlow);
        }
        self.check_limits(key)?;
        self.check_known_full(key, hash)?;
        self.bind_in(key, hash, segment, now)
    }

    /// Creates a binding in its first state.
    #[inline(never)] // A refusal shall not pay for its registers.
    fn bind_in(
        &mut self,
        key: &FlowKey,
        hash: u64,
        segment: Option<&TcpSegment>,
        now: Instant,
    ) -> Result<(u8, u16), NatError> {
        let (state, sequences) = match (key.protocol(), segment) {
            (Protocol::Tcp, Some(syn)) => (State::HalfOpen, Sequences::of_syn(syn)),
            _ => (State::Udp, Sequences::default()),
        };
        let (nat_ip, nat_port) = self.allocate(key, hash, now)?;
        self.activate();
        let mut binding = Binding {
            last: now,
            key: *key,
            nat_port,
            nat_ip,
            state,
            sequences,
            armed: 0,
            tag: self.next_tag(),
            aside: Aside::default(),
        };
        let deadline = binding.deadline(&self.pools[key.pool()]);
        binding.armed = armed_mark(deadline);
        let position = self.flows.insert(hash, binding);
        self.schedule(position, binding.tag, deadline, now);
        self.own(position, &binding, now);
        Ok((nat_ip, nat_port))
    }

    /// Enters a fresh binding everywhere but in the flow table and the wheel, and tells of it.
    #[inline]
    fn own(&mut self, position: u32, binding: &Binding, now: Instant) {
        let protocol = binding.key.protocol();
        if self.pools[binding.key.pool()].endpoint_port_limit.is_some() {
            *self
                .endpoint_ports
                .get_or_insert_with(binding.key.endpoint_id(), || 0) += 1;
        }
        let nat_ip = &mut self.nat_ips[usize::from(binding.nat_ip)];
        let address = nat_ip.address;
        let side = nat_ip.side(protocol);
        let (exhausted, space) = side.bound(binding.key.backend_port(), now);
        space
            .owners
            .claim(&mut self.pages, binding.nat_port, position);
        if self.report {
            let binding = self.info(binding);
            self.events.push_back(NatEvent::Bound { at: now, binding });
        }
        if exhausted {
            let pool = &self.pools[binding.key.pool()];
            self.events.push_back(NatEvent::Exhausted {
                at: now,
                pls: pool.pls,
                nat_ip: address,
                protocol,
                backend_port: (pool.port_space == PortSpace::PerVmPort)
                    .then_some(binding.key.backend_port()),
            });
        }
    }

    pub(crate) fn check_flow_limit(&mut self) -> Result<(), NatError> {
        if self.active < self.flow_limit {
            return Ok(());
        }
        self.refusals.vm_flow_limit += 1;
        Err(NatError::VmFlowLimit)
    }

    /// Checks what a new binding needs beside a port.
    #[inline(always)] // As `bind`.
    fn check_limits(&mut self, key: &FlowKey) -> Result<(), NatError> {
        if self.flows.len() >= self.table_limit as usize {
            self.refusals.nat_table_full += 1;
            return Err(NatError::NatTableFull);
        }
        self.check_flow_limit()?;
        if let Some(limit) = self.pools[key.pool()].endpoint_port_limit
            && self.ports_of_endpoint(key) >= limit
        {
            self.refusals.endpoint_port_limit += 1;
            return Err(NatError::EndpointPortLimit);
        }
        Ok(())
    }

    /// Returns how many ports a private endpoint has, where they are counted.
    #[inline(never)] // Only some pools do.
    fn ports_of_endpoint(&self, key: &FlowKey) -> u32 {
        let ports = self.endpoint_ports.get(&key.endpoint_id());
        ports.copied().unwrap_or(0)
    }

    /// Refuses a flow where none has got a port since the last one was looked for.
    #[inline(always)] // As `bind`.
    fn check_known_full(&mut self, key: &FlowKey, hash: u64) -> Result<(), NatError> {
        let pool = &self.pools[key.pool()];
        if pool.full[key.protocol().index()] != Some(key.backend_port())
            || pool.held_ports == HeldPorts::ReuseOldest
        {
            return Ok(());
        }
        let first = pool.nat_ips[self.first_choice(pool, key, hash)];
        let side = self.nat_ips[usize::from(first)].side(key.protocol());
        side.bind_failures += 1;
        Err(NatError::PortsExhausted)
    }

    /// Takes a port: of the NAT IP that the selection names, else of the next one that has one.
    fn allocate(&mut self, key: &FlowKey, hash: u64, now: Instant) -> Result<(u8, u16), NatError> {
        let choice = self.choose(key, hash);
        let pool = key.pool();
        let count = self.pools[pool].nat_ips.len();
        let mut gave_up = false;
        let known_full = self.pools[pool].full[key.protocol().index()] == Some(key.backend_port());
        let tries = if known_full { 0 } else { choice.tries };
        for offset in 0..tries {
            let index = (choice.first + offset) % count;
            let nat_ip = self.pools[pool].nat_ips[index];
            match self.search(nat_ip, key, hash, now) {
                Ok(port) => {
                    self.pass_turn(key, nat_ip);
                    return Ok((nat_ip, port));
                }
                Err(NoPort::Full) => {}
                Err(NoPort::GaveUp { .. }) => gave_up = true,
            }
        }
        if self.pools[pool].held_ports == HeldPorts::ReuseOldest
            && let Some(position) = self.oldest_held(key, choice)
        {
            let nat_ip = self.flows.entry(position).nat_ip;
            self.nat_ips[usize::from(nat_ip)]
                .side(key.protocol())
                .reused_held += 1;
            self.release_held(position, now, Release::Reused);
            self.pass_turn(key, nat_ip);
            let port = self.search(nat_ip, key, hash, now);
            return Ok((
                nat_ip,
                port.expect("broken invariant: no port is free after one was released"),
            ));
        }
        if choice.tries == count && !gave_up {
            self.pools[pool].full[key.protocol().index()] = Some(key.backend_port());
        }
        let first = self.pools[pool].nat_ips[choice.first];
        let side = self.nat_ips[usize::from(first)].side(key.protocol());
        side.bind_failures += 1;
        side.gave_up += u64::from(gave_up);
        Err(NatError::PortsExhausted)
    }

    /// The turn of a round robin is the next one's once a NAT IP has given a port.
    fn pass_turn(&mut self, key: &FlowKey, nat_ip: u8) {
        let pool = &mut self.pools[key.pool()];
        if pool.selection == Selection::RoundRobin
            && let Some(at) = pool.nat_ips.iter().position(|own| *own == nat_ip)
        {
            pool.turns[key.protocol().index()] = (at + 1) % pool.nat_ips.len();
        }
    }

    /// Looks for a port of one NAT IP.
    fn search(
        &mut self,
        nat_ip: u8,
        key: &FlowKey,
        hash: u64,
        now: Instant,
    ) -> Result<u16, NoPort> {
        let pool = &self.pools[key.pool()];
        let nat_ip = &mut self.nat_ips[usize::from(nat_ip)];
        let address = u64::from(nat_ip.address.to_bits());
        let Side {
            spaces,
            searches,
            probes,
            ..
        } = nat_ip.side_or_new(key.protocol());
        let space = spaces.get_or_new(key.backend_port(), pool, self.start);
        if space.ports.free() == 0 {
            return Err(NoPort::Full);
        }
        // The side's own count makes two searches of one flow start at different places.
        let search = *searches;
        *searches += 1;
        let destination = if pool.allocator.hashes_destination() {
            self.destination.pair(
                u64::from(key.backend_port()) << 8 | u64::from(key.protocol().number()),
                address,
            )
        } else {
            0
        };
        let request = PortRequest {
            random: self.start.pair(hash, search),
            flow: hash,
            destination,
            client_port: key.client().port(),
            subscriber: pool.subscriber(key),
        };
        let found = space.allocate(&request, now);
        let change = space.ports.next_change();
        if let Ok(allocated) = found
            && let Some(place) = space.owners.place(allocated.port)
        {
            // The page is written last of all.
            self.pages.prefetch(place);
        }
        *probes += u64::from(match found {
            Ok(allocated) => allocated.probes,
            Err(NoPort::GaveUp { probes }) => probes,
            Err(NoPort::Full) => 0,
        });
        self.expect_change(change, now);
        found.map(|allocated| allocated.port)
    }
}
