//! Limits: of an endpoint, of a VM's flows, of the table.

use crate::harness::{ACK, BACKEND, CLIENT_ISN, Nat, PLS, SECOND, SERVER_ISN, SYN, segment, small};
use plsim_nat::{
    Allocation, AnswerRate, Answers, ConfigError, FullestSpace, HeldPorts, LimitRefusals,
    NatEngine, NatError, NatEvent, OnExhaustion, OnIdle, Original, Pace, PoolConfig, PortSpace,
    Reply, Reset,
};
use plsim_types::{DropReason, Duration, Instant, LinkId, PlsId, Protocol};
use std::collections::BTreeSet;
use std::net::SocketAddrV4;

fn datagram(nat: &mut Nat, link: u32, number: u32) -> Result<SocketAddrV4, NatError> {
    let sent = nat.send_from(LinkId(link), number, Protocol::Udp, None);
    sent.map(|translation| translation.source)
}

#[test]
fn rfc6888_req4_an_endpoint_has_at_most_its_limit_and_others_are_not_touched() {
    let mut config = small(2, 100);
    config.pools[0].endpoint_port_limit = Some(10);
    let mut nat = Nat::new(config);
    for number in 0..10 {
        datagram(&mut nat, 1, number).unwrap();
    }
    assert_eq!(datagram(&mut nat, 1, 10), Err(NatError::EndpointPortLimit));
    assert_eq!(
        nat.send_from(LinkId(1), 11, Protocol::Tcp, Some(segment(SYN, 1, 0, 0))),
        Err(NatError::EndpointPortLimit),
        "TCP and UDP count together"
    );
    assert!(datagram(&mut nat, 1, 3).is_ok(), "a known flow passes");
    assert!(datagram(&mut nat, 2, 10).is_ok(), "another endpoint passes");
    assert_eq!(
        nat.engine.limit_refusals(),
        LimitRefusals {
            endpoint_port_limit: 2,
            ..LimitRefusals::default()
        }
    );
    assert_eq!(nat.used(Protocol::Udp), (11, 0));
    // What idles out makes room again.
    nat.after(300 * SECOND).timeout();
    for number in 0..10 {
        datagram(&mut nat, 1, 50 + number).unwrap();
    }
    assert_eq!(datagram(&mut nat, 1, 60), Err(NatError::EndpointPortLimit));
}

#[test]
fn rfc6888_req4_a_held_down_port_counts_for_its_endpoint() {
    let mut config = small(1, 100);
    config.pools[0].endpoint_port_limit = Some(1);
    let mut nat = Nat::new(config);
    let own = nat.open(1).unwrap();
    nat.close(1, own).unwrap();
    assert_eq!(nat.open(2), Err(NatError::EndpointPortLimit));
    nat.after(65 * SECOND);
    assert!(nat.open(2).is_ok());
}

#[test]
fn rfc6888_req5_the_table_has_a_limit_that_counts_held_down_bindings() {
    let mut config = small(1, 100);
    config.table_limit = Some(2);
    let mut nat = Nat::new(config);
    let own = nat.open(1).unwrap();
    nat.close(1, own).unwrap();
    datagram(&mut nat, 1, 5).unwrap();
    assert_eq!(nat.open(2), Err(NatError::NatTableFull));
    assert_eq!(nat.engine.limit_refusals().nat_table_full, 1);
    assert!(datagram(&mut nat, 1, 5).is_ok());
    assert_eq!(
        DropReason::from(NatError::NatTableFull).name(),
        "nat-table-full"
    );
    nat.after(65 * SECOND);
    assert!(nat.open(2).is_ok());
}

#[test]
fn rfc6888_req11_exhaustion_never_takes_a_port_from_a_live_flow() {
    for held_ports in [HeldPorts::Refuse, HeldPorts::ReuseOldest] {
        let mut config = small(2, 4);
        config.pools[0].held_ports = held_ports;
        let mut nat = Nat::new(config);
        let live: Vec<_> = (0..8).map(|number| nat.open(number).unwrap()).collect();
        for number in 8..200 {
            nat.after(SECOND / 4);
            assert_eq!(nat.open(number), Err(NatError::PortsExhausted));
        }
        for (number, own) in live.iter().enumerate() {
            let sent = nat.send(
                number as u32,
                segment(ACK, CLIENT_ISN + 1, SERVER_ISN + 1, 9),
            );
            assert_eq!(sent.unwrap().source, *own);
        }
        assert_eq!(nat.used(Protocol::Tcp), (8, 0));
        // One that is over is another matter.
        nat.close(3, live[3]).unwrap();
        let next = match held_ports {
            HeldPorts::Refuse => Err(NatError::PortsExhausted),
            HeldPorts::ReuseOldest => Ok(live[3]),
        };
        assert_eq!(nat.open(200), next);
    }
}

#[test]
fn refusals_are_told_apart_from_packets_without_a_flow() {
    let refusals = [
        NatError::PortsExhausted,
        NatError::EndpointPortLimit,
        NatError::VmFlowLimit,
        NatError::NatTableFull,
    ];
    assert!(refusals.iter().all(|error| error.is_refusal()));
    assert!(!NatError::NoFlow.is_refusal() && !NatError::Filtered.is_refusal());
    let mut config = small(1, 1);
    config.pools[0].on_exhaustion = OnExhaustion::HostUnreachable;
    let mut nat = NatEngine::new(config).unwrap();
    let mut answer = |pls| nat.answer_refusal(PlsId(pls), Instant::ZERO);
    assert_eq!(answer(0), OnExhaustion::HostUnreachable);
    assert_eq!(answer(9), OnExhaustion::Drop, "nobody's service");
}

#[test]
fn rfc1812_4_3_2_8_answers_come_in_bursts_and_then_at_their_rate() {
    let mut config = small(1, 1);
    config.pools[0].on_exhaustion = OnExhaustion::AdministrativelyProhibited;
    config.pools[0].answer_rate = AnswerRate {
        interval: Duration::from_nanos(10),
        burst: 3,
    };
    // Another service, which refuses nothing, has a bucket of its own.
    let other = PoolConfig::azure(PlsId(1), vec![[10, 2, 9, 9].into()]);
    config.pools.push(other);
    let mut nat = NatEngine::new(config.clone()).unwrap();
    let mut heard = |at: u64| {
        let answer = nat.answer_refusal(PLS, Instant::from_nanos(at));
        assert!(answer != OnExhaustion::HostUnreachable);
        answer == OnExhaustion::AdministrativelyProhibited
    };
    assert_eq!([0; 5].map(&mut heard), [true, true, true, false, false]);
    // One more each 10 ns, and not one nanosecond before.
    assert_eq!([9, 10, 19, 20].map(&mut heard), [false, true, false, true]);
    // However long nobody asks, no more than three are saved up.
    assert_eq!([900; 4].map(&mut heard), [true, true, true, false]);
    assert_eq!((nat.answers().sent, nat.answers().suppressed), (8, 5));
    // Who says nothing anyway suppresses nothing.
    config.pools[0].on_exhaustion = OnExhaustion::Drop;
    let mut silent = NatEngine::new(config).unwrap();
    let answer = silent.answer_refusal(PLS, Instant::ZERO);
    assert_eq!(
        (answer, silent.answers()),
        (OnExhaustion::Drop, Answers::default())
    );
}

#[test]
fn limits_of_zero_and_reuse_with_an_allocator_that_gives_up_are_refused() {
    let with = |change: fn(&mut plsim_nat::NatConfig)| {
        let mut config = small(1, 10);
        change(&mut config);
        NatEngine::new(config).err()
    };
    assert_eq!(
        with(|config| config.flow_limit = Some(0)),
        Some(ConfigError::ZeroLimit("flow_limit"))
    );
    assert_eq!(
        with(|config| config.table_limit = Some(0)),
        Some(ConfigError::ZeroLimit("table_limit"))
    );
    assert_eq!(
        with(|config| config.pools[0].endpoint_port_limit = Some(0)),
        Some(ConfigError::ZeroLimit("endpoint_port_limit"))
    );
    assert_eq!(
        with(|config| {
            config.pools[0].held_ports = HeldPorts::ReuseOldest;
            config.pools[0].allocator = Allocation::Linux;
        }),
        Some(ConfigError::ReuseGivesUp(PLS))
    );
    for grow_at in [500, 1_001] {
        let mut config = small(1, 10);
        config.pools[0].allocator = Allocation::ReservedBlocks {
            size: 2,
            most: 4,
            pace: Pace {
                grow_at,
                ..Pace::DEFAULT
            },
        };
        let error = NatEngine::new(config).err();
        assert_eq!(error, Some(ConfigError::GrowAt(PLS, grow_at)));
    }
    assert_eq!(
        with(|config| config.pools[0].answer_rate.burst = 0),
        Some(ConfigError::ZeroLimit("answer_rate"))
    );
    assert_eq!(
        with(|config| config.pools[0].answer_rate.interval = Duration::ZERO),
        Some(ConfigError::ZeroTimer("answer_rate"))
    );
    assert_eq!(
        with(|config| config.pools[0].ports = 0..=9),
        Some(ConfigError::PortRange(0, 9))
    );
}

#[test]
fn a_reservation_without_delay_changes_at_once_and_wakes_nobody_for_it() {
    let mut config = small(1, 16);
    config.pools[0].allocator = Allocation::ReservedBlocks {
        size: 2,
        most: 8,
        pace: Pace {
            delay: Duration::ZERO,
            rest: Duration::ZERO,
            ..Pace::DEFAULT
        },
    };
    let mut nat = Nat::new(config);
    for number in 0..8 {
        // The share has doubled by the time that the next one comes.
        assert!(to_port(&mut nat, 8_000, number).is_ok(), "{number}");
        let wake = nat.engine.poll_timeout();
        assert!(wake.is_some_and(|wake| wake > nat.instant()), "{wake:?}");
    }
}

#[test]
fn a_reservation_that_changes_after_an_expiry_is_told_by_the_next_packet() {
    let mut config = small(1, 16);
    config.pools[0].allocator = Allocation::ReservedBlocks {
        size: 4,
        most: 4,
        pace: Pace::DEFAULT,
    };
    let mut nat = Nat::new(config);
    for number in 0..4 {
        to_port(&mut nat, 8_000, number).unwrap();
    }
    nat.after(SECOND).timeout();
    // The flows end at 300 s, which halves the share at 360 s; nobody looks until much later.
    nat.after(1_000 * SECOND);
    let nobodys = SocketAddrV4::new([10, 2, 1, 99].into(), 1_024);
    let answer = nat.answer_from(SocketAddrV4::new(BACKEND, 8_000), nobodys, None);
    assert_eq!(answer, Err(NatError::NoFlow));
    let wake = nat.engine.poll_timeout();
    assert!(wake.is_none_or(|wake| wake > nat.instant()), "{wake:?}");
    let events = std::iter::from_fn(|| nat.engine.poll_event());
    let changes: Vec<_> = events
        .filter_map(|event| match event {
            NatEvent::ShareChanged { at, from, to, .. } => Some((at.as_nanos() / SECOND, from, to)),
            _ => None,
        })
        .collect();
    assert_eq!(changes, [(1, 4, 8), (360, 8, 4)]);
}

/// A flow to another port of the same VM.
fn to_port(nat: &mut Nat, backend_port: u16, number: u16) -> Result<SocketAddrV4, NatError> {
    let packet = Original {
        pls: PLS,
        link: LinkId(1),
        client: SocketAddrV4::new([10, 1, 0, 4].into(), 20_000 + number),
        endpoint: SocketAddrV4::new([10, 1, 0, 200].into(), backend_port),
        backend_port,
        protocol: Protocol::Udp,
        segment: None,
    };
    let sent = nat.engine.original(&packet, nat.instant());
    sent.map(|translation| translation.source)
}

#[test]
fn rfc7857_3_a_port_may_serve_several_backend_ports_if_the_space_is_per_vm_port() {
    for (port_space, capacity) in [(PortSpace::PerVm, 4), (PortSpace::PerVmPort, 12)] {
        let mut config = small(1, 4);
        config.pools[0].port_space = port_space;
        let mut nat = Nat::new(config);
        let mut seen = BTreeSet::new();
        let mut bound = 0;
        for number in 0..15 {
            let backend_port = 8_000 + number % 3;
            if let Ok(own) = to_port(&mut nat, backend_port, number) {
                bound += 1;
                assert!(seen.insert((own, backend_port)), "one owner each");
                // The answer of that port comes back to this client, whoever else has the port.
                let reply = Reply {
                    source: SocketAddrV4::new(BACKEND, backend_port),
                    destination: own,
                    protocol: Protocol::Udp,
                    segment: None,
                };
                let back = nat.engine.reply(&reply, nat.instant()).unwrap();
                assert_eq!(back.destination.port(), 20_000 + number);
                assert_eq!(back.source.port(), backend_port);
            }
        }
        assert_eq!(bound, capacity);
        let usage = nat.usage(Protocol::Udp)[0];
        assert_eq!((usage.capacity, usage.in_use), (capacity, capacity));
        assert_eq!(usage.bind_failures, 15 - u64::from(capacity));
        nat.after(300 * SECOND).timeout();
        assert_eq!(nat.used(Protocol::Udp), (0, 0));
    }
}

#[test]
fn the_fullest_of_the_spaces_is_told_beside_the_sum_of_all() {
    let mut config = small(1, 4);
    config.pools[0].port_space = PortSpace::PerVmPort;
    let mut nat = Nat::new(config);
    let none = nat.usage(Protocol::Udp)[0];
    assert_eq!((none.capacity, none.spaces), (4, 1));
    assert_eq!(none.fullest, FullestSpace::default());
    for (number, backend_port) in (0..).zip([8_001, 8_000, 8_001, 8_000, 8_001, 8_002, 8_001]) {
        to_port(&mut nat, backend_port, number).unwrap();
    }
    let usage = nat.usage(Protocol::Udp)[0];
    assert_eq!((usage.capacity, usage.spaces), (12, 3));
    assert_eq!((usage.in_use, usage.peak), (7, 7));
    let full = FullestSpace {
        taken: 4,
        peak: 4,
        backend_port: Some(8_001),
    };
    assert_eq!(usage.fullest, full);
    assert_eq!(usage.first_exhausted, Some(Instant::ZERO));
    let event = nat.engine.poll_event();
    assert!(
        matches!(
            event,
            Some(NatEvent::Exhausted {
                backend_port: Some(8_001),
                ..
            })
        ),
        "{event:?}"
    );
    nat.after(300 * SECOND).timeout();
    to_port(&mut nat, 8_001, 0).unwrap();
    let usage = nat.usage(Protocol::Udp)[0];
    assert_eq!(usage.fullest, FullestSpace { taken: 1, ..full });
    assert_eq!(usage.first_exhausted, Some(Instant::ZERO));
    // Of equal ones the lowest.
    let mut config = small(1, 4);
    config.pools[0].port_space = PortSpace::PerVmPort;
    let mut nat = Nat::new(config);
    to_port(&mut nat, 8_001, 0).unwrap();
    to_port(&mut nat, 8_000, 1).unwrap();
    let fullest = nat.usage(Protocol::Udp)[0].fullest;
    assert_eq!((fullest.peak, fullest.backend_port), (1, Some(8_000)));
    // A space for the whole VM is the fullest one, and belongs to no port.
    let mut nat = Nat::new(small(1, 4));
    to_port(&mut nat, 8_000, 0).unwrap();
    to_port(&mut nat, 8_001, 1).unwrap();
    let usage = nat.usage(Protocol::Udp)[0];
    assert_eq!((usage.fullest.taken, usage.fullest.peak), (2, 2));
    assert_eq!((usage.spaces, usage.fullest.backend_port), (1, None));
}

#[test]
fn only_the_held_ports_of_the_exhausted_space_are_told() {
    let mut config = small(1, 3);
    config.pools[0].port_space = PortSpace::PerVmPort;
    config.pools[0].timers.hold_down_udp = Duration::from_secs(60);
    let mut nat = Nat::new(config);
    // Flow 0 to each port rests from 300 s on; that of the first comes back to life.
    for backend_port in [8_000, 8_001] {
        to_port(&mut nat, backend_port, 0).unwrap();
        to_port(&mut nat, backend_port, 1).unwrap();
    }
    nat.after(300 * SECOND).timeout();
    assert_eq!(nat.used(Protocol::Udp), (0, 4));
    to_port(&mut nat, 8_000, 0).unwrap();
    assert_eq!(nat.usage(Protocol::Udp)[0].first_exhausted, None);
    nat.after(SECOND);
    to_port(&mut nat, 8_000, 2).unwrap();
    let usage = nat.usage(Protocol::Udp)[0];
    assert_eq!((usage.in_use, usage.held), (2, 3));
    assert_eq!(usage.first_exhausted, Some(nat.instant()));
    assert_eq!(usage.held_when_exhausted, 1);
}

#[test]
fn icmp_errors_find_their_flow_and_change_nothing() {
    let mut nat = Nat::new(small(2, 10));
    let own = nat.open(1).unwrap();
    let about = Original {
        pls: PLS,
        link: LinkId(1),
        client: crate::harness::client(1),
        endpoint: crate::harness::endpoint(),
        backend_port: crate::harness::SERVICE,
        protocol: Protocol::Tcp,
        segment: None,
    };
    let answer = Reply {
        source: SocketAddrV4::new(BACKEND, crate::harness::SERVICE),
        destination: own,
        protocol: Protocol::Tcp,
        segment: None,
    };
    let before = nat.binding(own);
    nat.after(299 * SECOND);
    let now = nat.instant();
    let there = nat.engine.original_error(&about, now).unwrap();
    assert_eq!((there.source, there.destination), (own, answer.source));
    let back = nat.engine.reply_error(&answer, now).unwrap();
    assert_eq!(
        (back.source, back.destination),
        (about.endpoint, about.client)
    );
    assert_eq!(nat.binding(own), before, "not refreshed");

    let stranger = Original {
        link: LinkId(2),
        ..about
    };
    assert_eq!(
        nat.engine.original_error(&stranger, now),
        Err(NatError::NoFlow)
    );
    let elsewhere = Reply {
        source: SocketAddrV4::new(BACKEND, 1),
        ..answer
    };
    assert_eq!(
        nat.engine.reply_error(&elsewhere, now),
        Err(NatError::Filtered)
    );
    // It does not keep the flow alive.
    nat.after(SECOND);
    let now = nat.instant();
    assert_eq!(
        nat.engine.original_error(&about, now),
        Err(NatError::NoFlow)
    );
    assert_eq!(nat.engine.active_flows(), 0);
    let mut nat = Nat::new(small(2, 10));
    nat.open(1).unwrap();
    nat.datagram(2).unwrap();
    nat.after(300 * SECOND);
    let now = nat.instant();
    assert_eq!(nat.engine.reply_error(&answer, now), Err(NatError::NoFlow));
    assert_eq!((nat.engine.active_flows(), nat.engine.peak_flows()), (0, 2));
}

#[test]
fn a_refusal_although_ports_are_free_is_counted_as_such() {
    let mut config = small(1, 8);
    config.pools[0].allocator = Allocation::Blocks { size: 4, most: 1 };
    let mut nat = Nat::new(config);
    for number in 0..4 {
        datagram(&mut nat, 1, number).unwrap();
    }
    for number in 4..6 {
        assert_eq!(
            datagram(&mut nat, 1, number),
            Err(NatError::PortsExhausted),
            "its block is full"
        );
    }
    for number in 6..10 {
        datagram(&mut nat, 2, number).unwrap();
    }
    assert_eq!(datagram(&mut nat, 2, 10), Err(NatError::PortsExhausted));
    let usage = nat.usage(Protocol::Udp)[0];
    assert_eq!((usage.bind_failures, usage.gave_up), (3, 2));
    assert!(
        usage.probes >= usage.binds + usage.gave_up,
        "a search that gives up has looked, too"
    );
}

#[test]
fn memory_is_counted_for_each_port_space() {
    let mut config = small(1, 60_000);
    config.pools[0].port_space = PortSpace::PerVmPort;
    let mut nat = Nat::new(config);
    to_port(&mut nat, 443, 0).unwrap();
    let one = nat.engine.memory_bytes();
    to_port(&mut nat, 444, 1).unwrap();
    // A bit for each port and four bytes for each page of 64.
    let space = 60_000 / 8 + 60_000 / 64 * 4;
    let grown = nat.engine.memory_bytes() - one;
    assert!((space..2 * space).contains(&grown), "{grown}");
    // Of the last 64 ports only those.
    let mut config = small(1, 1);
    config.pools[0].port_space = PortSpace::PerVmPort;
    config.pools[0].ports = 65_472..=65_535;
    let mut nat = Nat::new(config);
    to_port(&mut nat, 443, 0).unwrap();
    let one = nat.engine.memory_bytes();
    to_port(&mut nat, 444, 1).unwrap();
    let grown = nat.engine.memory_bytes() - one;
    assert!(grown < 1_024, "{grown}");
}

#[test]
fn memory_of_owners_events_and_resets_is_counted() {
    let memory = |change: fn(&mut plsim_nat::NatConfig)| {
        let mut config = small(1, 60_000);
        config.pools[0].allocator = Allocation::BitmapLowest;
        config.pools[0].on_idle = OnIdle::Silent;
        change(&mut config);
        let mut nat = Nat::new(config);
        for number in 0..1_000 {
            nat.open(number).unwrap();
        }
        let full = nat.engine.memory_bytes();
        nat.after(300 * SECOND).timeout();
        (full, nat.engine.memory_bytes())
    };
    let dense = memory(|_| {});
    // The owners of 64 ports side by side share 256 bytes; of a thousand random ones hardly any do.
    let spread = memory(|config| config.pools[0].allocator = Allocation::Bitmap);
    assert!(spread.0 - dense.0 >= 500 * 256, "{spread:?} {dense:?}");
    let told = memory(|config| config.events = true);
    let events = told.0 - dense.0;
    let least = 1_000 * size_of::<NatEvent>();
    assert!((least..=2 * least).contains(&events), "{events}");
    let reset = memory(|config| config.pools[0].on_idle = OnIdle::Reset);
    let resets = reset.1 - dense.1;
    let least = 2_000 * size_of::<Reset>();
    assert!((least..=2 * least).contains(&resets), "{resets}");
}
