//! Where the reference lets a new flow go: which NAT IPs it tries, and which ports they have.

use crate::model::{Expected, Flow, Key, Model};
use core::net::{Ipv4Addr, SocketAddrV4};
use plsim_nat::{HeldPorts, PortSpace, Selection};
use plsim_types::{Protocol, TcpSegment};

impl Model {
    /// What of a key is hashed to choose a NAT IP.
    fn hashed(&self, key: &Key) -> Key {
        match self.pool(key.pls).selection {
            Selection::ClientPaired | Selection::ClientPairedStrict => Key {
                client: SocketAddrV4::new(*key.client.ip(), 0),
                backend_port: 0,
                protocol: Protocol::Tcp,
                ..*key
            },
            _ => *key,
        }
    }

    fn is_strict(&self, key: &Key) -> bool {
        let selection = self.pool(key.pls).selection;
        [Selection::HashStrict, Selection::ClientPairedStrict].contains(&selection)
    }

    /// The flows that have a port of a NAT IP in the space that a new flow would use.
    fn in_space<'m>(&'m self, nat_ip: Ipv4Addr, key: &Key) -> impl Iterator<Item = &'m Flow> {
        let per_port = self.pool(key.pls).port_space == PortSpace::PerVmPort;
        let (protocol, backend_port) = (key.protocol, key.backend_port);
        self.flows.iter().filter(move |flow| {
            *flow.nat.ip() == nat_ip
                && flow.key.protocol == protocol
                && (!per_port || flow.key.backend_port == backend_port)
        })
    }

    fn free_of(&self, nat_ip: Ipv4Addr, key: &Key) -> Vec<SocketAddrV4> {
        let ports = self.pool(key.pls).ports.clone();
        let all = ports.map(|port| SocketAddrV4::new(nat_ip, port));
        all.filter(|nat| self.in_space(nat_ip, key).all(|flow| flow.nat != *nat))
            .collect()
    }

    /// The NAT IPs that a new flow tries, in order; `None` if the hash is not known yet.
    fn tries(&self, key: &Key) -> Option<Vec<Ipv4Addr>> {
        let pool = self.pool(key.pls);
        let all = &pool.nat_ips;
        let first = match pool.selection {
            Selection::Sequential => 0,
            Selection::RoundRobin => {
                let turn = self.turns.get(&(key.pls, key.protocol));
                turn.copied().unwrap_or(0)
            }
            Selection::LeastUsed => {
                let taken = |at: &usize| self.in_space(all[*at], key).count();
                (0..all.len()).min_by_key(taken).unwrap()
            }
            _ => {
                let known = self.first_choice.get(&self.hashed(key))?;
                all.iter().position(|ip| ip == known).unwrap()
            }
        };
        let count = if self.is_strict(key) { 1 } else { all.len() };
        Some(
            all.iter()
                .cycle()
                .skip(first)
                .take(count)
                .copied()
                .collect(),
        )
    }

    /// The bindings held the longest among some NAT IPs, if the pool reuses them.
    fn reusable(&self, nat_ips: &[Ipv4Addr], key: &Key) -> Vec<SocketAddrV4> {
        if self.pool(key.pls).held_ports == HeldPorts::Refuse {
            return Vec::new();
        }
        let all = nat_ips.iter().flat_map(|ip| self.in_space(*ip, key));
        let mut held: Vec<&Flow> = all.filter(|flow| flow.is_held()).collect();
        let oldest = held.iter().map(|flow| flow.since).min();
        held.retain(|flow| Some(flow.since) == oldest);
        held.iter().map(|flow| flow.nat).collect()
    }

    pub(crate) fn choices(&self, key: &Key) -> Expected {
        let Some(tries) = self.tries(key) else {
            return self.unknown_choices(key);
        };
        let mut free = tries.iter().map(|ip| self.free_of(*ip, key));
        if let Some(free) = free.find(|free| !free.is_empty()) {
            return Expected::OneOf(free);
        }
        match self.reusable(&tries, key) {
            none if none.is_empty() => Expected::Exhausted(Some(tries[0])),
            held => Expected::OneOf(held),
        }
    }

    fn unknown_choices(&self, key: &Key) -> Expected {
        let all = &self.pool(key.pls).nat_ips;
        let free: Vec<_> = all.iter().flat_map(|ip| self.free_of(*ip, key)).collect();
        if self.is_strict(key) {
            let alone = all.iter().flat_map(|ip| match self.free_of(*ip, key) {
                none if none.is_empty() => self.reusable(&[*ip], key),
                free => free,
            });
            return Expected::Perhaps(alone.collect());
        }
        if !free.is_empty() {
            return Expected::OneOf(free);
        }
        match self.reusable(all, key) {
            none if none.is_empty() => Expected::Exhausted(None),
            held => Expected::OneOf(held),
        }
    }

    /// Takes over the engine's choice, which was legal.
    pub(crate) fn bound(
        &mut self,
        key: &Key,
        segment: Option<&TcpSegment>,
        nat: SocketAddrV4,
        now: u64,
    ) {
        let nat_ips = self.pool(key.pls).nat_ips.clone();
        let protocol = key.protocol;
        let all_free = nat_ips.iter().all(|ip| !self.free_of(*ip, key).is_empty());
        if all_free || self.is_strict(key) {
            self.first_choice.insert(self.hashed(key), *nat.ip());
        }
        let at = nat_ips.iter().position(|ip| ip == nat.ip()).unwrap();
        self.turns
            .insert((key.pls, protocol), (at + 1) % nat_ips.len());
        let before = self.in_space(*nat.ip(), key).find(|flow| flow.nat == nat);
        if let Some(before) = before.cloned() {
            assert!(before.is_held());
            self.flows.retain(|flow| flow.key != before.key);
            self.counter(*nat.ip(), protocol).reused_held += 1;
        }
        self.flows.push(Flow::new(*key, nat, segment, now));
        let (in_use, held) = self.used(*nat.ip(), protocol);
        let full = self.free_of(*nat.ip(), key).is_empty();
        let counters = self.counter(*nat.ip(), protocol);
        counters.binds += 1;
        counters.peak = counters.peak.max(in_use + held);
        if full && counters.first_exhausted.is_none() {
            counters.first_exhausted = Some(now);
        }
    }

    /// Notes the NAT IP on which the engine counted a refusal.
    pub(crate) fn failed(&mut self, key: &Key, nat_ip: Ipv4Addr) {
        self.counter(nat_ip, key.protocol).bind_failures += 1;
        self.first_choice.insert(self.hashed(key), nat_ip);
    }
}
