//! Which NAT IP a new flow gets.

use crate::harness::{CLIENT_ISN, Nat, PLS, SECOND, SYN, nat_ip, segment, small};
use plsim_nat::{HeldPorts, NatConfig, NatError, Selection};
use plsim_types::{Duration, KeyedHash, LinkId, Protocol};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::net::Ipv4Addr;

const ALL: [Selection; 7] = [
    Selection::Hash,
    Selection::HashStrict,
    Selection::RoundRobin,
    Selection::LeastUsed,
    Selection::Sequential,
    Selection::ClientPaired,
    Selection::ClientPairedStrict,
];

fn config(nat_ips: u8, ports: u16, selection: Selection) -> NatConfig {
    let mut config = small(nat_ips, ports);
    config.pools[0].selection = selection;
    config
}

/// The NAT IP of a new UDP flow.
fn bind(nat: &mut Nat, link: u32, number: u32) -> Result<Ipv4Addr, NatError> {
    let sent = nat.send_from(LinkId(link), number, Protocol::Udp, None);
    sent.map(|translation| *translation.source.ip())
}

#[test]
fn all_but_the_strict_ones_use_every_port_of_the_pool() {
    for selection in ALL {
        let mut nat = Nat::new(config(3, 5, selection));
        // One client: paired flows all begin at the same NAT IP.
        let bound = (0..30).filter(|&number| bind(&mut nat, 1, number).is_ok());
        let bound = bound.count();
        let expected = match selection {
            // All ports of the one NAT IP that the client is paired with.
            Selection::ClientPairedStrict => 5,
            _ => 15,
        };
        assert_eq!(bound, expected, "{selection:?}");
        let failures: u64 = nat
            .usage(Protocol::Udp)
            .iter()
            .map(|u| u.bind_failures)
            .sum();
        assert_eq!(failures, 30 - expected as u64, "{selection:?}");
        assert!(nat.usage(Protocol::Udp).iter().all(|u| u.gave_up == 0));
    }
}

#[test]
fn round_robin_takes_turns_and_skips_the_full() {
    let mut nat = Nat::new(config(3, 2, Selection::RoundRobin));
    let order: Vec<_> = (0..6)
        .map(|number| bind(&mut nat, 1, number).unwrap())
        .collect();
    assert_eq!(order, [0, 1, 2, 0, 1, 2].map(nat_ip));
    assert_eq!(bind(&mut nat, 1, 6), Err(NatError::PortsExhausted));
    // A refusal takes no turn, and TCP has turns of its own.
    let tcp = nat.send(7, segment(SYN, CLIENT_ISN, 0, 0)).unwrap();
    assert_eq!(*tcp.source.ip(), nat_ip(0));
}

#[test]
fn a_reused_port_takes_the_turn_of_its_nat_ip() {
    let mut config = config(2, 1, Selection::RoundRobin);
    config.pools[0].held_ports = HeldPorts::ReuseOldest;
    let mut nat = Nat::new(config);
    for number in [1, 2] {
        let port = nat.open(number).unwrap();
        nat.close(number, port).unwrap();
        nat.after(1);
    }
    let reused = nat.open(3).unwrap();
    assert_eq!(*reused.ip(), nat_ip(0));
    // When both are free again, it is the other one's turn.
    nat.after(400 * SECOND).timeout();
    assert_eq!(*nat.open(4).unwrap().ip(), nat_ip(1));
}

#[test]
fn least_used_evens_out_what_other_choices_left() {
    let mut nat = Nat::new(config(3, 100, Selection::LeastUsed));
    let order: Vec<_> = (0..4)
        .map(|number| bind(&mut nat, 1, number).unwrap())
        .collect();
    assert_eq!(order, [0, 1, 2, 0].map(nat_ip));
    nat.engine.add_nat_ip(PLS, nat_ip(3)).unwrap();
    let order: Vec<_> = (4..8)
        .map(|number| bind(&mut nat, 1, number).unwrap())
        .collect();
    assert_eq!(order, [3, 1, 2, 3].map(nat_ip));
}

#[test]
fn sequential_fills_one_nat_ip_after_the_other() {
    let mut nat = Nat::new(config(3, 4, Selection::Sequential));
    let order: Vec<_> = (0..12)
        .map(|number| bind(&mut nat, 1, number).unwrap())
        .collect();
    let expected: Vec<_> = (0..12).map(|number| nat_ip(number / 4)).collect();
    assert_eq!(order, expected);
}

#[test]
fn hashes_spread_flows_evenly_over_nat_ips() {
    for selection in [Selection::Hash, Selection::HashStrict] {
        let mut nat = Nat::new(config(8, 2_000, selection));
        let mut counts: BTreeMap<Ipv4Addr, f64> = BTreeMap::new();
        for number in 0..8_000 {
            *counts
                .entry(bind(&mut nat, 1, number).unwrap())
                .or_default() += 1.0;
        }
        // 7 degrees of freedom: above 24.3 with a probability of 0.1 %.
        let chi: f64 = counts
            .values()
            .map(|n| (n - 1_000.0).powi(2) / 1_000.0)
            .sum();
        assert!(counts.len() == 8 && chi < 24.3, "{counts:?}");
    }
}

#[test]
fn rfc4787_req2_a_client_keeps_its_nat_ip_until_that_is_full() {
    for selection in [Selection::ClientPaired, Selection::ClientPairedStrict] {
        let mut nat = Nat::new(config(8, 50, selection));
        let mut used = BTreeSet::new();
        for link in 0..40 {
            let own: BTreeSet<_> = (0..2).map(|n| bind(&mut nat, link, n).unwrap()).collect();
            assert_eq!(own.len(), 1, "one NAT IP for each (link, client)");
            used.extend(own);
        }
        assert!(used.len() > 4, "clients differ: {used:?}");
    }
}

#[test]
fn rfc7857_4_strict_pairing_refuses_when_the_nat_ip_is_full_and_soft_pairing_does_not() {
    let mut strict = Nat::new(config(2, 3, Selection::ClientPairedStrict));
    let mut soft = Nat::new(config(2, 3, Selection::ClientPaired));
    for number in 0..3 {
        let own = bind(&mut strict, 1, number);
        assert_eq!(own, bind(&mut soft, 1, number));
    }
    let first = bind(&mut strict, 1, 0).unwrap();
    assert_eq!(bind(&mut strict, 1, 3), Err(NatError::PortsExhausted));
    assert_ne!(bind(&mut soft, 1, 3), Ok(first));
    assert_eq!(strict.used(Protocol::Udp), (3, 0));
    // The refusal counts where the client belongs.
    let usage = strict.usage(Protocol::Udp);
    let own = usage.iter().find(|usage| usage.nat_ip == first).unwrap();
    assert_eq!(own.bind_failures, 1);
}

/// The share of Poisson arrivals that find no port, with exponential holds of mean 1 s.
fn blocked(selection: Selection, per_nat_ip: f64, arrivals: u32) -> (f64, f64) {
    let mut config = config(8, 16, selection);
    config.pools[0].timers.hold_down_rst = Duration::ZERO;
    let mut nat = Nat::new(config);
    let random = KeyedHash::new(7, "arrivals");
    let exponential = |draw: u64| {
        let uniform = (random.word(draw) >> 11) as f64 / (1_u64 << 53) as f64;
        -(1.0 - uniform).ln()
    };
    let mut ends: BinaryHeap<Reverse<(u64, u32)>> = BinaryHeap::new();
    let mut now = 0.0;
    let mut batches = Vec::new();
    let mut refused = 0_u32;
    let batch = arrivals / 40;
    for number in 0..arrivals {
        now += exponential(u64::from(number) * 2) / (8.0 * per_nat_ip);
        let nanos = (now * 1e9) as u64;
        while let Some(&Reverse((end, done))) = ends.peek()
            && end <= nanos
        {
            ends.pop();
            nat.at(end).abort(done).unwrap();
        }
        nat.at(nanos);
        match nat.open(number) {
            Ok(_) => {
                let end = now + exponential(u64::from(number) * 2 + 1);
                ends.push(Reverse(((end * 1e9) as u64, number)));
            }
            Err(error) => {
                assert_eq!(error, NatError::PortsExhausted);
                refused += 1;
            }
        }
        if (number + 1) % batch == 0 {
            batches.push(f64::from(std::mem::take(&mut refused)) / f64::from(batch));
        }
    }
    // The first tenth warms up; the spread of the mean comes from the batches.
    let kept = &batches[4..];
    let count = kept.len() as f64;
    let mean = kept.iter().sum::<f64>() / count;
    let variance = kept.iter().map(|b| (b - mean).powi(2)).sum::<f64>() / (count - 1.0);
    (mean, (variance / count).sqrt())
}

/// Erlang's B formula by its inverse recursion.
fn erlang_b(servers: u32, offered: f64) -> f64 {
    let inverse = (1..=servers).fold(1.0, |inverse, k| 1.0 + f64::from(k) / offered * inverse);
    1.0 / inverse
}

/// What pooling is worth: with strict hashing each NAT IP blocks by itself, with fall-through the
/// pool blocks as one. At 64 512 ports and 64 000 erlangs per NAT IP the same formula gives 2.08e-4
/// against 4.4e-11; here 8 NAT IPs of 16 ports with 14 erlangs each, within four standard errors.
#[test]
fn strict_hashing_blocks_per_nat_ip_and_fall_through_as_one_pool() {
    let full_size = (
        erlang_b(64_512, 64_000.0),
        erlang_b(8 * 64_512, 8.0 * 64_000.0),
    );
    assert!(
        (full_size.0 / 2.081_870_51e-4 - 1.0).abs() < 1e-6,
        "{full_size:?}"
    );
    assert!(
        (full_size.1 / 4.446e-11 - 1.0).abs() < 1e-3,
        "{full_size:?}"
    );
    let cases = [
        (Selection::HashStrict, erlang_b(16, 14.0)),
        (Selection::Hash, erlang_b(128, 112.0)),
        (Selection::RoundRobin, erlang_b(128, 112.0)),
    ];
    for (selection, theory) in cases {
        let (mean, error) = blocked(selection, 14.0, 120_000);
        assert!(
            (mean - theory).abs() < 4.0 * error && error < theory / 5.0,
            "{selection:?}: {mean:.5} ± {error:.5}, theory {theory:.5}"
        );
    }
}

/// What a load balancer has hashed comes first, whatever the selection; a place that is not there
/// counts for nothing.
#[test]
fn the_preferred_nat_ip_comes_first_and_the_next_when_it_is_full() {
    for selection in ALL {
        let mut nat = Nat::new(config(3, 2, selection));
        nat.engine.prefer_nat_ip(Some(1));
        let own: Vec<_> = (0..2).map(|number| bind(&mut nat, 1, number)).collect();
        assert_eq!(own, [Ok(nat_ip(1)); 2], "{selection:?}");
        let strict = matches!(
            selection,
            Selection::HashStrict | Selection::ClientPairedStrict
        );
        let next = match strict {
            true => Err(NatError::PortsExhausted),
            false => Ok(nat_ip(2)),
        };
        assert_eq!(bind(&mut nat, 1, 2), next, "{selection:?}");
    }
    let choices = |preferred| {
        let mut nat = Nat::new(config(3, 50, Selection::Hash));
        nat.engine.prefer_nat_ip(preferred);
        (0..60)
            .map(|number| bind(&mut nat, 1, number).unwrap())
            .collect::<Vec<_>>()
    };
    assert_eq!(choices(Some(3)), choices(None));
}
