//! Every sequence of eight steps on tiny pools, against naive sets.

use crate::harness::{Nat, SECOND, nat_ip, small};
use core::net::SocketAddrV4;
use plsim_nat::{Allocation, HeldPorts, NatConfig, NatError, Timers};
use plsim_types::{Duration, Protocol};
use std::collections::BTreeSet;

const TICK: u64 = 10 * SECOND;
const DEPTH: u32 = 8;

/// The naive model: who has which port, who rests until when, and nothing else.
#[derive(Clone)]
struct Sets {
    all: BTreeSet<SocketAddrV4>,
    /// (client, port, end of life), the oldest first.
    active: Vec<(u32, SocketAddrV4, u64)>,
    /// (port, end of rest, start of rest), the one held longest first.
    held: Vec<(SocketAddrV4, u64, u64)>,
    clients: u32,
}

impl Sets {
    fn free(&self) -> BTreeSet<SocketAddrV4> {
        let mut free = self.all.clone();
        free.retain(|port| {
            self.active.iter().all(|flow| flow.1 != *port)
                && self.held.iter().all(|held| held.0 != *port)
        });
        free
    }
}

fn config(nat_ips: u8, ports: u16, allocator: Allocation, held_ports: HeldPorts) -> NatConfig {
    let mut config = small(nat_ips, ports);
    let pool = &mut config.pools[0];
    pool.allocator = allocator;
    pool.held_ports = held_ports;
    pool.timers = Timers {
        established_idle: Duration::from_nanos(4 * TICK),
        hold_down_fin: Duration::from_nanos(2 * TICK),
        hold_down_rst: Duration::from_nanos(TICK),
        ..Timers::azure()
    };
    config
}

fn open(nat: &mut Nat, sets: &mut Sets, policy: HeldPorts) {
    let client = sets.clients;
    sets.clients += 1;
    let free = sets.free();
    let got = nat.open(client);
    if free.is_empty() && (policy == HeldPorts::Refuse || sets.held.is_empty()) {
        assert_eq!(got, Err(NatError::PortsExhausted));
        return;
    }
    let port = got.unwrap();
    if free.is_empty() {
        // Of those held since the same instant it may be any.
        let at = sets.held.iter().position(|held| held.0 == port).unwrap();
        assert_eq!(sets.held[at].2, sets.held[0].2, "not the oldest");
        sets.held.remove(at);
    } else {
        assert!(free.contains(&port), "{port} is not one of {free:?}");
    }
    sets.active.push((client, port, nat.now + 4 * TICK));
}

fn apply(action: u8, nat: &mut Nat, sets: &mut Sets, policy: HeldPorts) {
    match action {
        0 => open(nat, sets, policy),
        1 if !sets.active.is_empty() => {
            let (client, port, _) = sets.active.remove(0);
            nat.close(client, port).unwrap();
            sets.held.push((port, nat.now + 2 * TICK, nat.now));
        }
        2 if !sets.active.is_empty() => {
            let (client, port, _) = sets.active.remove(0);
            nat.abort(client).unwrap();
            sets.held.push((port, nat.now + TICK, nat.now));
        }
        1 | 2 => {}
        _ => {
            nat.after(TICK).timeout();
            sets.active.retain(|flow| flow.2 > nat.now);
            sets.held.retain(|held| held.1 > nat.now);
        }
    }
}

/// Walks the tree of sequences; every node is one sequence. Returns how many.
fn explore(nat: &Nat, sets: &Sets, policy: HeldPorts, depth: u32) -> u32 {
    if depth == 0 {
        return 1;
    }
    let mut count = 1;
    for action in 0..4 {
        let (mut nat, mut sets) = (nat.clone(), sets.clone());
        apply(action, &mut nat, &mut sets, policy);
        let expected = (sets.active.len() as u32, sets.held.len() as u32);
        assert_eq!(nat.used(Protocol::Tcp), expected);
        let bound: BTreeSet<_> = nat.engine.bindings().map(|binding| binding.nat).collect();
        assert_eq!(bound.len() as u32, expected.0 + expected.1);
        assert!(bound.is_disjoint(&sets.free()));
        count += explore(&nat, &sets, policy, depth - 1);
    }
    count
}

fn every_sequence(allocator: Allocation) {
    for nat_ips in 1..=2_u8 {
        for ports in 1..=4_u16 {
            for policy in [HeldPorts::Refuse, HeldPorts::ReuseOldest] {
                let nat = Nat::new(config(nat_ips, ports, allocator, policy));
                let addresses = (0..nat_ips).map(nat_ip);
                let all = addresses.flat_map(|address| {
                    (0..ports).map(move |port| SocketAddrV4::new(address, 1_024 + port))
                });
                let sets = Sets {
                    all: all.collect(),
                    active: Vec::new(),
                    held: Vec::new(),
                    clients: 0,
                };
                // 4^0 + 4^1 + … + 4^8 sequences.
                assert_eq!(explore(&nat, &sets, policy, DEPTH), 87_381);
            }
        }
    }
}

#[test]
fn rfc4787_req3_no_port_has_two_owners_in_any_sequence_of_eight_steps_on_bitmap_pools() {
    every_sequence(Allocation::Bitmap);
}

#[test]
fn rfc4787_req3_no_port_has_two_owners_in_any_sequence_of_eight_steps_on_fifo_pools() {
    every_sequence(Allocation::Fifo);
}
