//! Ports: all of them are found, at any occupancy, and all come back.

use crate::harness::{
    ACK, CLIENT_ISN, Nat, PLS, SECOND, SERVER_ISN, SYN, client, endpoint, nat_ip, segment, small,
};
use plsim_nat::{Allocation, HeldPorts, NatError, NatEvent, Original, Release, State};
use plsim_types::{Instant, KeyedHash, LinkId, Protocol};
use std::collections::{BTreeSet, VecDeque};

const ALL: u32 = 64_512;

#[test]
fn one_free_port_anywhere_in_eight_nat_ips_is_found() {
    for allocator in [Allocation::Bitmap, Allocation::Fifo] {
        let mut config = small(8, ALL as u16);
        config.pools[0].allocator = allocator;
        let mut nat = Nat::new(config);
        let mut taken = BTreeSet::new();
        for number in 0..8 * ALL {
            let got = nat.datagram(number).unwrap();
            assert!(taken.insert(got.source), "{} has two owners", got.source);
        }
        assert_eq!(nat.datagram(8 * ALL), Err(NatError::PortsExhausted));
        let failures: u64 = nat
            .usage(Protocol::Udp)
            .iter()
            .map(|u| u.bind_failures)
            .sum();
        assert_eq!(failures, 1);
        // Nobody else was harmed: keep all but some alive, in other places each time.
        let random = KeyedHash::new(5, "victims");
        let service =
            core::net::SocketAddrV4::new(crate::harness::BACKEND, crate::harness::SERVICE);
        let mut taken: Vec<_> = taken.into_iter().collect();
        for free in [1, 2] {
            let first = KeyedHash::scale(random.word(free), taken.len() as u32) as usize;
            let mut idle = BTreeSet::new();
            for _ in 0..2 {
                nat.after(100 * SECOND);
                for (at, port) in taken.iter().enumerate() {
                    if at == first || (free == 2 && at == taken.len() - 1 - first) {
                        idle.insert(*port);
                    } else {
                        nat.answer_from(service, *port, None).unwrap();
                    }
                }
            }
            nat.after(100 * SECOND).timeout();
            assert_eq!(nat.used(Protocol::Udp).0, 8 * ALL - free as u32);
            let base = 8 * ALL + 10 * free as u32;
            let found = (0..free as u32).map(|number| nat.datagram(base + number).unwrap().source);
            assert_eq!(found.collect::<BTreeSet<_>>(), idle);
            assert_eq!(nat.datagram(base + 9), Err(NatError::PortsExhausted));
            taken.rotate_left(1);
        }
    }
}

#[test]
fn rfc6888_req13_all_ports_fill_expire_and_fill_again() {
    for allocator in [Allocation::Bitmap, Allocation::Fifo] {
        let mut config = small(1, ALL as u16);
        config.pools[0].allocator = allocator;
        let mut nat = Nat::new(config);
        for round in 1..=3_u64 {
            for number in 0..ALL {
                nat.open(number).unwrap();
            }
            assert_eq!(nat.open(ALL), Err(NatError::PortsExhausted));
            assert_eq!(nat.used(Protocol::Tcp), (ALL, 0));
            nat.after(300 * SECOND).timeout();
            assert_eq!(nat.used(Protocol::Tcp), (0, 0));
            assert_eq!(nat.engine.poll_timeout(), None);
            assert_eq!(nat.resets().len() as u32, 2 * ALL);
            let usage = nat.usage(Protocol::Tcp)[0];
            assert_eq!(usage.binds, round * u64::from(ALL));
            assert_eq!(usage.expired_idle, usage.binds);
            assert_eq!(usage.first_exhausted, Some(Instant::ZERO));
            assert_eq!(usage.peak, ALL);
        }
    }
}

#[test]
fn rfc4787_req11_a_flow_hashes_to_one_nat_ip_and_falls_through_when_it_is_full() {
    let mut nat = Nat::new(small(4, 1_000));
    for number in 0..2_000 {
        nat.datagram(number).unwrap();
    }
    for usage in nat.usage(Protocol::Udp) {
        assert!(usage.in_use.abs_diff(500) < 100, "{usage:?}");
    }
    for number in 2_000..4_000 {
        nat.datagram(number).unwrap();
    }
    assert!(
        nat.usage(Protocol::Udp)
            .iter()
            .all(|usage| usage.in_use == 1_000)
    );
    assert_eq!(nat.datagram(4_000), Err(NatError::PortsExhausted));
}

#[test]
fn an_added_nat_ip_takes_new_flows_and_moves_no_old_one() {
    let mut nat = Nat::new(small(1, 2));
    let old = [
        nat.datagram(1).unwrap().source,
        nat.datagram(2).unwrap().source,
    ];
    assert_eq!(nat.datagram(3), Err(NatError::PortsExhausted));
    nat.engine.add_nat_ip(PLS, nat_ip(1)).unwrap();
    assert_eq!(*nat.datagram(3).unwrap().source.ip(), nat_ip(1));
    assert_eq!(
        old,
        [1, 2].map(|number| nat.datagram(number).unwrap().source)
    );
    assert_eq!(nat.engine.usage().count(), 4);
}

#[test]
fn the_flow_limit_refuses_without_blaming_the_ports() {
    let mut config = small(1, 10);
    config.flow_limit = Some(2);
    let mut nat = Nat::new(config);
    let first = nat.open(1).unwrap();
    nat.open(2).unwrap();
    assert_eq!(nat.open(3), Err(NatError::VmFlowLimit));
    assert_eq!(nat.engine.limit_refusals().vm_flow_limit, 1);
    assert_eq!(nat.usage(Protocol::Tcp)[0].bind_failures, 0);
    // A held-down binding does not count.
    nat.close(1, first).unwrap();
    nat.open(3).unwrap();
    assert_eq!(
        (nat.engine.active_flows(), nat.used(Protocol::Tcp)),
        (2, (2, 1))
    );
    // So its re-opening is refused, and changes nothing.
    let syn = segment(SYN, CLIENT_ISN, 0, 0);
    assert_eq!(nat.send(1, syn), Err(NatError::VmFlowLimit));
    assert_eq!(nat.state(first), Some(State::Closed));
}

#[test]
fn reuse_oldest_takes_the_port_held_longest_and_only_when_none_is_free() {
    let mut config = small(1, 3);
    config.pools[0].held_ports = HeldPorts::ReuseOldest;
    config.events = true;
    let mut nat = Nat::new(config);
    let ports: Vec<_> = (0..3).map(|number| nat.open(number).unwrap()).collect();
    for number in [1, 0] {
        nat.after(SECOND);
        nat.close(number, ports[number as usize]).unwrap();
    }
    assert_eq!(nat.open(10), Ok(ports[1]));
    assert_eq!(nat.open(11), Ok(ports[0]));
    assert_eq!(nat.open(12), Err(NatError::PortsExhausted));
    assert_eq!(nat.usage(Protocol::Tcp)[0].reused_held, 2);
    let reused = core::iter::from_fn(|| nat.engine.poll_event()).filter(|event| {
        let NatEvent::Released { cause, .. } = event else {
            return false;
        };
        *cause == Release::Reused
    });
    assert_eq!(reused.count(), 2);
    // The old owner's late packet finds nothing; the new owner is safe.
    assert_eq!(nat.abort(1), Err(NatError::NoFlow));
    assert_eq!(nat.state(ports[1]), Some(State::Established));
    // The stale timer of the old hold-down does not end the new flow.
    nat.after(100 * SECOND).timeout();
    assert_eq!(nat.used(Protocol::Tcp), (3, 0));
}

#[test]
fn exhaustion_is_told_once_and_again_after_a_recovery() {
    let mut nat = Nat::new(small(1, 128));
    let told = |nat: &mut Nat| {
        core::iter::from_fn(|| nat.engine.poll_event())
            .filter(|event| matches!(event, NatEvent::Exhausted { .. }))
            .count()
    };
    let mut ports: VecDeque<_> = (0..128).map(|n| (n, nat.open(n).unwrap())).collect();
    assert_eq!(told(&mut nat), 1);
    // One port of 128 comes and goes: nearly full is no recovery.
    for number in 200..210 {
        let (client, port) = ports.pop_front().unwrap();
        nat.close(client, port).unwrap();
        nat.after(65 * SECOND).timeout();
        for (client, _) in &ports {
            nat.send(*client, segment(crate::harness::ACK, 0, 0, 0))
                .unwrap();
        }
        ports.push_back((number, nat.open(number).unwrap()));
    }
    assert_eq!(told(&mut nat), 0);
    // Sixteen of 128 are.
    for round in 0..5 {
        for _ in 0..16 {
            let (client, port) = ports.pop_front().unwrap();
            nat.close(client, port).unwrap();
        }
        nat.after(65 * SECOND).timeout();
        for (client, _) in &ports {
            nat.send(*client, segment(crate::harness::ACK, 0, 0, 0))
                .unwrap();
        }
        for number in 0..16 {
            let number = 300 + round * 16 + number;
            ports.push_back((number, nat.open(number).unwrap()));
        }
    }
    // Nobody polled in between: one waits, not five.
    assert_eq!(told(&mut nat), 1);
}

#[test]
fn without_events_nothing_piles_up_when_nobody_polls() {
    let mut config = small(1, 64);
    config.pools[0].on_idle = plsim_nat::OnIdle::Silent;
    let mut nat = Nat::new(config);
    let fill = |nat: &mut Nat| {
        for number in 0..64 {
            nat.open(number).unwrap();
        }
        nat.after(300 * SECOND).timeout();
    };
    (0..3).for_each(|_| fill(&mut nat));
    let before = nat.engine.memory_bytes();
    (0..50).for_each(|_| fill(&mut nat));
    assert!(nat.engine.memory_bytes() <= before + 64 * 1024);
    assert_eq!(core::iter::from_fn(|| nat.engine.poll_event()).count(), 1);
}

#[test]
fn ports_freed_anywhere_in_eight_nat_ips_are_the_ones_found() {
    for allocator in [Allocation::Uniform, Allocation::PreserveParity] {
        let mut config = small(8, ALL as u16);
        config.pools[0].allocator = allocator;
        config.pools[0].on_idle = plsim_nat::OnIdle::Silent;
        config.pools[0].timers.established_idle = plsim_types::Duration::from_secs(100_000);
        let mut nat = Nat::new(config);
        let mut open: Vec<_> = (0..8 * ALL)
            .map(|number| (number, nat.open(number).unwrap()))
            .collect();
        open.sort_unstable_by_key(|(_, port)| *port);
        let random = KeyedHash::new(6, "places");
        let corners = [0, 8 * ALL - 1];
        for trial in 0..60_u64 {
            let place = |word| KeyedHash::scale(random.pair(trial, word), 8 * ALL);
            let places = if trial == 1 {
                corners
            } else {
                [place(0), place(1)]
            };
            let holes = &places[..1 + trial as usize % 2];
            let mut freed = BTreeSet::new();
            for hole in holes {
                let (number, port) = open[*hole as usize];
                if freed.insert(port) {
                    nat.close(number, port).unwrap();
                }
            }
            // Held down is not free.
            let base = 8 * ALL + 4 * trial as u32;
            assert_eq!(nat.open(base), Err(NatError::PortsExhausted));
            nat.after(100 * SECOND).timeout();
            let mut found = BTreeSet::new();
            for hole in &holes[..freed.len()] {
                let number = base + 1 + found.len() as u32;
                let port = nat.open(number).unwrap();
                found.insert(port);
                open[*hole as usize] = (number, port);
            }
            assert_eq!(found, freed);
            assert_eq!(nat.open(base + 3), Err(NatError::PortsExhausted));
        }
    }
}

#[test]
fn a_revived_binding_is_told_and_its_port_not_reused() {
    let mut config = small(1, 2);
    config.pools[0].held_ports = HeldPorts::ReuseOldest;
    config.events = true;
    let mut nat = Nat::new(config);
    let ports = [1, 2].map(|number| nat.open(number).unwrap());
    nat.abort(1).unwrap();
    nat.after(SECOND).abort(2).unwrap();
    while nat.engine.poll_event().is_some() {}
    let data = segment(ACK, CLIENT_ISN + 1, SERVER_ISN + 1, 10);
    nat.after(SECOND).send(1, data).unwrap();
    assert_eq!(
        nat.engine.poll_event(),
        Some(NatEvent::Revived {
            at: nat.instant(),
            binding: nat.binding(ports[0]).unwrap(),
        })
    );
    assert_eq!(nat.engine.poll_event(), None);
    assert_eq!(nat.open(3), Ok(ports[1]));
    assert_eq!(nat.open(4), Err(NatError::PortsExhausted));
}

#[test]
fn a_flow_that_comes_back_searches_from_another_start() {
    let mut nat = Nat::new(small(1, 60_000));
    let ports: BTreeSet<_> = (0..3)
        .map(|_| nat.after(300 * SECOND).datagram(1).unwrap().source.port())
        .collect();
    assert_eq!(ports.len(), 3);
}

#[test]
fn the_hashed_offset_is_that_of_protocol_backend_port_and_nat_ip() {
    let first = |protocol, backend_port, nat_ips: u8| {
        let mut config = small(nat_ips, 60_000);
        config.pools[0].allocator = Allocation::Rfc6056Hash;
        // The last NAT IP is the only one.
        config.pools[0].nat_ips.drain(..usize::from(nat_ips) - 1);
        let mut nat = Nat::new(config);
        let packet = Original {
            pls: PLS,
            link: LinkId(1),
            client: client(1),
            endpoint: endpoint(),
            backend_port,
            protocol,
            segment: (protocol == Protocol::Tcp).then(|| segment(SYN, CLIENT_ISN, 0, 0)),
        };
        let sent = nat.engine.original(&packet, nat.instant());
        sent.unwrap().source.port()
    };
    let ports: BTreeSet<_> = [
        first(Protocol::Tcp, 8_443, 1),
        first(Protocol::Udp, 8_443, 1),
        first(Protocol::Tcp, 8_444, 1),
        first(Protocol::Tcp, 8_443, 2),
    ]
    .into();
    assert_eq!(ports.len(), 4);
}
