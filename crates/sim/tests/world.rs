//! The kernel's promises: time, order, links, limits.

use std::cell::{Cell, RefCell};
use std::net::{Ipv4Addr, SocketAddrV4};

use plsim_packet::{Packet, PacketId, Payload};
use plsim_sim::{
    ChannelConfig, ChannelId, Context, Foresight, GilbertElliott, Impairments, Jitter, JitterLaw,
    Loss, Node, NodeId, Observer, Place, Progress, Reorder, TapId, World, WorldBuilder,
};
use plsim_types::{DropReason, Duration, Instant};

/// What the test observer writes down: time, what, packet id.
#[derive(Debug, Default, PartialEq)]
struct Log {
    lines: Vec<(u64, String, u64)>,
}

impl Log {
    fn add(&mut self, now: Instant, what: String, packet: &Packet) {
        self.lines.push((now.as_nanos(), what, packet.id.0));
    }

    fn times(&self, what: &str) -> Vec<u64> {
        self.lines
            .iter()
            .filter(|line| line.1 == what)
            .map(|line| line.0)
            .collect()
    }
}

impl Observer for Log {
    fn injected(&mut self, now: Instant, _: NodeId, packet: &Packet) {
        self.add(now, "injected".into(), packet);
    }

    fn duplicated(&mut self, now: Instant, _: ChannelId, packet: &Packet, _: PacketId) {
        self.add(now, "duplicated".into(), packet);
    }

    fn delivered(&mut self, now: Instant, _: NodeId, packet: &Packet) {
        self.add(now, "delivered".into(), packet);
    }

    fn dropped(&mut self, now: Instant, _: Place, packet: &Packet, reason: DropReason) {
        self.add(now, reason.name().into(), packet);
    }

    fn merged(&mut self, now: Instant, _: NodeId, packet: &Packet) {
        self.add(now, "merged".into(), packet);
    }

    fn tapped(&mut self, now: Instant, tap: TapId, packet: &Packet) {
        self.add(now, format!("tap {}", tap.0), packet);
    }
}

/// A node that sends a packet on each timer and delivers or passes on what arrives.
#[derive(Debug, Default)]
struct Relay {
    onward: Option<ChannelId>,
    timers: Vec<(u64, u64)>,
    /// Random bits drawn at each timer.
    draws: Vec<u64>,
    again: Option<Duration>,
    /// The timers that were foreseen.
    foreseen: RefCell<Vec<u64>>,
    /// How many packets were.
    foreseen_packets: Cell<u32>,
    /// How many there was more to foresee of.
    foreseen_again: Cell<u32>,
}

impl Node for Relay {
    fn on_packet(&mut self, packet: Box<Packet>, _: ChannelId, context: &mut Context<'_>) {
        match self.onward {
            Some(channel) => context.send(channel, packet),
            None => context.deliver(packet),
        }
    }

    fn foresee(&self, _: &Packet, _: ChannelId) -> Foresight {
        self.foreseen_packets.set(self.foreseen_packets.get() + 1);
        self.onward.map_or(Foresight::More, Foresight::Onward)
    }

    fn foresee_more(&self, _: &Packet, _: ChannelId) {
        self.foreseen_again.set(self.foreseen_again.get() + 1);
    }

    fn foresee_timer(&self, token: u64) {
        self.foreseen.borrow_mut().push(token);
    }

    fn on_timer(&mut self, token: u64, context: &mut Context<'_>) {
        self.timers.push((context.now().as_nanos(), token));
        self.draws.push(context.random().bits());
        if let Some(channel) = self.onward {
            let packet = context.inject(datagram(72));
            context.send(channel, packet);
        }
        if let Some(pause) = self.again {
            context.set_timer(context.now() + pause, token + 1);
        }
    }
}

/// A UDP packet of `payload` + 28 bytes.
fn datagram(payload: u16) -> Packet {
    let end = |last| SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, last), 53);
    Packet::udp(end(1), end(2), Payload::Zeros(payload))
}

/// A sender joined to a receiver by one channel; the sender has timers at the given times.
fn pair(config: ChannelConfig, timers: &[u64]) -> World<Relay, Log> {
    let mut builder = WorldBuilder::new();
    let sender = builder.node("relay", "sender");
    let receiver = builder.node("relay", "receiver");
    let channel = builder.channel("link", "sender to receiver", (sender, receiver), config);
    let nodes = vec![
        Relay {
            onward: Some(channel),
            ..Relay::default()
        },
        Relay::default(),
    ];
    let mut world = builder.build(1, nodes, Log::default());
    world.visit(sender, |_, context| {
        for (token, at) in timers.iter().enumerate() {
            context.set_timer(Instant::from_nanos(*at), token as u64);
        }
    });
    world
}

fn run(world: &mut World<Relay, Log>, until: u64) {
    assert_eq!(
        world.run_before(Instant::from_nanos(until), u64::MAX),
        Ok(Progress::Reached)
    );
    assert_eq!(world.now().as_nanos(), until);
}

#[test]
fn a_packet_arrives_one_latency_later_and_not_a_nanosecond_before() {
    let config = ChannelConfig {
        latency: Duration::from_micros(50),
        ..ChannelConfig::default()
    };
    let mut world = pair(config, &[1_000]);
    run(&mut world, 51_000);
    assert_eq!(world.observer().times("delivered"), []);
    assert_eq!(world.in_flight(), 1);
    run(&mut world, 51_001);
    assert_eq!(world.observer().times("delivered"), [51_000]);
    assert_eq!(world.in_flight(), 0);
}

#[test]
fn bandwidth_spaces_packets_by_their_size() {
    // 100 bytes at 8 Mbit/s take 100 µs.
    let config = ChannelConfig {
        impairments: Impairments {
            bandwidth: Some(8_000_000),
            ..Impairments::default()
        },
        ..ChannelConfig::default()
    };
    let mut world = pair(config, &[1, 2, 3]);
    run(&mut world, 1_000_000);
    assert_eq!(
        world.observer().times("delivered"),
        [100_001, 200_001, 300_001]
    );
}

#[test]
fn a_full_queue_drops_what_does_not_fit() {
    let config = ChannelConfig {
        impairments: Impairments {
            bandwidth: Some(8_000_000),
            queue_limit: Some(250),
            ..Impairments::default()
        },
        ..ChannelConfig::default()
    };
    let mut world = pair(config, &[1, 2, 3, 100_002]);
    run(&mut world, 1_000_000);
    // At 3 ns, 200 bytes less a few bits still wait; a third packet of 100 does not fit.
    assert_eq!(world.observer().times("link-queue-full"), [3]);
    assert_eq!(
        world.observer().times("delivered"),
        [100_001, 200_001, 300_001]
    );
}

#[test]
fn loss_takes_the_given_share_and_the_same_packets_each_time() {
    let config = ChannelConfig {
        impairments: Impairments {
            loss: Loss::Random(0.25),
            ..Impairments::default()
        },
        ..ChannelConfig::default()
    };
    let timers: Vec<u64> = (1..=20_000).collect();
    let mut first = pair(config.clone(), &timers);
    run(&mut first, 30_000);
    let lost = first.observer().times("link-loss").len();
    // Four standard deviations of a binomial(20 000, 0.25) are 245.
    assert!(lost.abs_diff(5_000) < 245, "{lost}");
    let mut second = pair(config, &timers);
    run(&mut second, 30_000);
    assert_eq!(first.observer(), second.observer());
}

#[test]
fn a_packet_that_need_not_wait_is_not_bound_by_the_queue() {
    let config = ChannelConfig {
        impairments: Impairments {
            bandwidth: Some(8_000_000),
            queue_limit: Some(10),
            ..Impairments::default()
        },
        ..ChannelConfig::default()
    };
    let mut world = pair(config, &[1, 100, 200_000]);
    run(&mut world, 1_000_000);
    assert_eq!(world.observer().times("link-queue-full"), [100]);
    assert_eq!(world.observer().times("delivered"), [100_001, 300_000]);
}

#[test]
fn taps_see_a_packet_enter_and_leave_the_link() {
    let config = ChannelConfig {
        latency: Duration::from_nanos(9),
        tap_in: Some(TapId(0)),
        tap_out: Some(TapId(1)),
        ..ChannelConfig::default()
    };
    let mut world = pair(config, &[5]);
    run(&mut world, 100);
    assert_eq!(world.observer().times("tap 0"), [5]);
    assert_eq!(world.observer().times("tap 1"), [14]);
}

/// Impairments of every kind at once.
fn storm() -> Impairments {
    Impairments {
        bandwidth: Some(800_000_000),
        queue_limit: Some(3_000),
        loss: Loss::GilbertElliott(GilbertElliott {
            p: 0.05,
            r: 0.3,
            loss_in_bad: 0.9,
            loss_in_good: 0.01,
        }),
        duplicate: 0.1,
        corrupt: 0.1,
        jitter: Jitter {
            span: Duration::from_micros(5),
            law: JitterLaw::Normal,
            may_reorder: false,
        },
        reorder: Reorder {
            probability: 0.1,
            delay: Duration::from_micros(9),
            gap: 2,
        },
        is_down: false,
    }
}

#[test]
fn every_packet_and_copy_ends_once_under_all_impairments_and_the_same_way_each_time() {
    let config = ChannelConfig {
        latency: Duration::from_micros(20),
        impairments: storm(),
        ..ChannelConfig::default()
    };
    let timers: Vec<u64> = (1..=20_000).map(|n| n * 700).collect();
    let mut first = pair(config.clone(), &timers);
    run(&mut first, 20_000_000);
    let log = first.observer();
    let count = |what| log.times(what).len() as u64;
    let stats = *first.link_stats(ChannelId(0)).unwrap();
    assert_eq!((count("injected"), stats.packets), (20_000, 20_000));
    assert_eq!(count("link-loss"), stats.lost);
    assert_eq!(count("link-queue-full"), stats.queue_full);
    assert_eq!(count("duplicated"), stats.duplicated);
    let faults = log.lines.iter().filter(|line| {
        ["bad-", "truncated", "ipv6"]
            .iter()
            .any(|fault| line.1.starts_with(fault))
    });
    assert_eq!(faults.count() as u64, stats.corrupted);
    let ended = count("delivered") + stats.lost + stats.queue_full + stats.corrupted;
    assert_eq!(ended, 20_000 + stats.duplicated);
    let all = [
        stats.lost,
        stats.queue_full,
        stats.duplicated,
        stats.corrupted,
        stats.reordered,
    ];
    assert!(all.into_iter().all(|count| count > 100), "{stats:?}");
    let mut ids: Vec<u64> = log.lines.iter().map(|line| line.2).collect();
    ids.sort_unstable();
    // Each id twice: it came into being and it ended.
    assert!(
        ids.chunks(2).all(|pair| pair[0] == pair[1]),
        "{}",
        ids.len()
    );
    let mut second = pair(config, &timers);
    run(&mut second, 20_000_000);
    assert_eq!(second.observer(), log);
}

#[test]
fn what_one_link_suffers_changes_no_other() {
    let build = |second: Impairments| {
        let mut builder = WorldBuilder::new();
        let receiver = builder.node("relay", "receiver");
        let mut nodes = vec![Relay::default()];
        let mut senders = Vec::new();
        for (name, impairments) in [("a", storm()), ("b", second)] {
            let sender = builder.node("relay", name);
            senders.push(sender);
            let config = ChannelConfig {
                latency: Duration::from_micros(20),
                impairments,
                ..ChannelConfig::default()
            };
            nodes.push(Relay {
                onward: Some(builder.channel("link", name, (sender, receiver), config)),
                ..Relay::default()
            });
        }
        let mut world = builder.build(1, nodes, Log::default());
        for sender in senders {
            world.visit(sender, |_, context| {
                for at in 1..=2_000 {
                    context.set_timer(Instant::from_nanos(at * 700), at);
                }
            });
        }
        run(&mut world, 5_000_000);
        let log = world.observer().lines.iter();
        // The second of three nodes has every third id.
        let own: Vec<_> = log.filter(|line| line.2 % 3 == 2).cloned().collect();
        (own, *world.link_stats(ChannelId(0)).unwrap())
    };
    let calm = build(Impairments::default());
    assert_eq!(calm, build(storm()));
    assert!(calm.1.lost > 0 && calm.1.corrupted > 0);
}

#[test]
fn an_impairment_draws_from_a_stream_of_its_own() {
    let lost = |impairments: Impairments| {
        let config = ChannelConfig {
            latency: Duration::from_micros(20),
            impairments,
            ..ChannelConfig::default()
        };
        let timers: Vec<u64> = (1..=5_000).map(|n| n * 100_000).collect();
        let mut world = pair(config, &timers);
        run(&mut world, 600_000_000);
        world.observer().times("link-loss")
    };
    let only_loss = Impairments {
        loss: storm().loss,
        ..Impairments::default()
    };
    let lost_alone = lost(only_loss);
    assert!(lost_alone.len() > 300);
    assert_eq!(lost_alone, lost(storm()));
}

#[test]
fn a_link_without_impairments_counts_nothing() {
    let mut world = pair(ChannelConfig::default(), &[5, 6]);
    run(&mut world, 10);
    assert_eq!(world.link_stats(ChannelId(0)), None);
}

#[test]
fn a_link_goes_down_and_up_between_two_steps() {
    let config = ChannelConfig {
        latency: Duration::from_nanos(10),
        ..ChannelConfig::default()
    };
    let mut world = pair(config, &[1, 4, 5, 9, 12, 13]);
    run(&mut world, 5);
    world.change_links(&[ChannelId(0)], |_, link| link.is_down = true);
    run(&mut world, 12);
    world.change_links(&[ChannelId(0)], |_, link| link.is_down = false);
    run(&mut world, 100);
    let log = world.observer();
    assert_eq!(log.times("link-down"), [5, 9]);
    assert_eq!(
        log.times("delivered"),
        [11, 14, 22, 23],
        "what it has taken before arrives"
    );
    let stats = world.link_stats(ChannelId(0)).unwrap();
    assert_eq!(
        (stats.packets, stats.link_down),
        (4, 2),
        "counted from the first change on"
    );
}

#[test]
fn a_shorter_latency_lets_nothing_overtake() {
    let config = ChannelConfig {
        latency: Duration::from_nanos(100),
        ..ChannelConfig::default()
    };
    let mut world = pair(config, &[1, 50, 51, 101, 149, 150, 160]);
    run(&mut world, 51);
    world.change_links(&[ChannelId(0)], |latency, _| *latency = Duration::ZERO);
    run(&mut world, 300);
    // The packet of 50 ns arrives at 150 ns, and those behind it no sooner; so does the one that is
    // sent in that very instant.
    let log = world.observer();
    assert_eq!(log.times("delivered"), [101, 150, 150, 150, 150, 151, 160]);
    let ids: Vec<u64> = log
        .lines
        .iter()
        .filter(|line| line.1 == "delivered")
        .map(|line| line.2)
        .collect();
    assert!(ids.is_sorted(), "{ids:?}");
}

#[test]
fn a_loop_without_latency_ends_at_the_hop_limit() {
    let mut builder = WorldBuilder::new();
    let node = builder.node("relay", "mirror");
    let channel = builder.channel("link", "to itself", (node, node), ChannelConfig::default());
    let nodes = vec![Relay {
        onward: Some(channel),
        ..Relay::default()
    }];
    let mut world = builder.build(1, nodes, Log::default());
    world.visit(node, |_, context| {
        context.set_timer(Instant::from_nanos(7), 0)
    });
    run(&mut world, 100);
    assert_eq!(world.observer().times("hop-limit"), [7]);
}

#[test]
fn arrivals_of_an_instant_come_before_its_timers() {
    let config = ChannelConfig {
        latency: Duration::from_nanos(10),
        ..ChannelConfig::default()
    };
    let mut world = pair(config, &[5]);
    let receiver = NodeId(1);
    world.visit(receiver, |_, context| {
        context.set_timer(Instant::from_nanos(15), 77)
    });
    run(&mut world, 15);
    assert!(world.node(NodeId(1)).timers.is_empty());
    run(&mut world, 16);
    assert_eq!(world.observer().times("delivered"), [15]);
    assert_eq!(world.node(NodeId(1)).timers, [(15, 77)]);
}

#[test]
fn order_and_randomness_depend_on_names_not_on_the_order_of_creation() {
    // Two senders fire at the same instants; their packets meet at one receiver.
    let build = |names: &[&str]| {
        let mut builder = WorldBuilder::new();
        let receiver = builder.node("relay", "receiver");
        let ids: Vec<NodeId> = names
            .iter()
            .map(|name| builder.node("relay", name))
            .collect();
        let config = ChannelConfig {
            latency: Duration::from_nanos(3),
            ..ChannelConfig::default()
        };
        let mut nodes = vec![Relay::default()];
        for (name, id) in names.iter().zip(&ids) {
            let ends = (*id, receiver);
            let onward = Some(builder.channel("link", name, ends, config.clone()));
            nodes.push(Relay {
                onward,
                ..Relay::default()
            });
        }
        let mut world = builder.build(1, nodes, Log::default());
        for id in &ids {
            world.visit(*id, |_, context| {
                context.set_timer(Instant::from_nanos(5), 0)
            });
        }
        run(&mut world, 100);
        let order: Vec<String> = world
            .observer()
            .lines
            .iter()
            .filter(|line| line.1 == "injected")
            .map(|line| names[(line.2 - 1) as usize % (names.len() + 1) - 1].to_owned())
            .collect();
        let draws: Vec<(String, Vec<u64>)> = names
            .iter()
            .zip(world.nodes().skip(1))
            .map(|(name, node)| ((*name).to_owned(), node.draws.clone()))
            .collect();
        (order, draws)
    };
    let (order, draws) = build(&["a", "b"]);
    let (swapped, swapped_draws) = build(&["b", "a"]);
    assert_eq!(order, ["a", "b"]);
    assert_eq!(swapped, order);
    assert_eq!(draws[0], swapped_draws[1]);
    // Another entity shifts nobody's stream and swaps nobody.
    let (more, more_draws) = build(&["aa", "b", "a"]);
    assert_eq!(more, ["a", "aa", "b"]);
    assert_eq!(more_draws[2], draws[0]);
}

#[test]
fn a_budget_pauses_between_two_events_without_changing_anything() {
    let config = ChannelConfig {
        latency: Duration::from_nanos(10),
        ..ChannelConfig::default()
    };
    let mut whole = pair(config.clone(), &[1, 2, 3, 4]);
    run(&mut whole, 100);
    let mut steps = pair(config, &[1, 2, 3, 4]);
    let mut pauses = 0;
    while steps.run_before(Instant::from_nanos(100), 1) == Ok(Progress::Paused) {
        pauses += 1;
    }
    assert_eq!(pauses, 8);
    assert_eq!(steps.observer(), whole.observer());
    assert_eq!(steps.events(), whole.events());
}

#[test]
fn a_node_can_call_the_driver_right_after_its_event() {
    let mut world = pair(ChannelConfig::default(), &[5, 5, 7]);
    world.visit(NodeId(0), |_, context| context.call());
    let limit = Instant::from_nanos(10);
    let step = |world: &mut World<Relay, Log>| world.run_before(limit, u64::MAX);
    assert_eq!(step(&mut world), Ok(Progress::Paused));
    assert_eq!((world.now(), world.events()), (Instant::ZERO, 0));
    assert_eq!(
        step(&mut world),
        Ok(Progress::Reached),
        "one pause for one call"
    );
    assert_eq!(world.now(), limit);
}

#[test]
#[should_panic(expected = "a timer must lie in the future")]
fn a_timer_that_would_hang_the_run_is_a_broken_invariant() {
    let mut world = pair(ChannelConfig::default(), &[5]);
    world.visit(NodeId(0), |node, _| node.again = Some(Duration::ZERO));
    run(&mut world, 100);
}

/// Answers each packet with a new one, and each packet goes back in the same instant.
#[derive(Debug)]
struct Echo {
    back: ChannelId,
}

impl Node for Echo {
    fn on_packet(&mut self, packet: Box<Packet>, _: ChannelId, context: &mut Context<'_>) {
        context.deliver(packet);
        let answer = context.inject(datagram(0));
        context.send(self.back, answer);
    }

    fn on_timer(&mut self, _: u64, context: &mut Context<'_>) {
        let first = context.inject(datagram(0));
        context.send(self.back, first);
    }
}

#[test]
fn packets_that_answer_each_other_for_ever_in_one_instant_are_an_error() {
    let mut builder = WorldBuilder::new().stuck_after(1_000);
    let node = builder.node("echo", "node");
    let back = builder.channel("link", "to itself", (node, node), ChannelConfig::default());
    let mut world = builder.build(1, vec![Echo { back }], Log::default());
    world.visit(node, |_, context| {
        context.set_timer(Instant::from_nanos(1), 0)
    });
    let stuck = world
        .run_before(Instant::from_nanos(10), u64::MAX)
        .unwrap_err();
    assert_eq!(
        stuck.to_string(),
        "1032 packets passed at 1 ns without time moving"
    );
    // It stays so, and the packet that was next is still accounted for.
    assert_eq!(
        world.run_before(Instant::from_nanos(10), u64::MAX),
        Err(stuck)
    );
    assert_eq!(world.in_flight(), 1);
    // Not one of the packets made more than one hop: the hop limit was not the reason.
    assert!(world.observer().times("hop-limit").is_empty());
}

#[test]
fn much_work_of_one_instant_is_not_stuck() {
    let mut builder = WorldBuilder::new().stuck_after(1_000);
    let node = builder.node("relay", "node");
    let mut world = builder.build(1, vec![Relay::default()], Log::default());
    world.visit(node, |_, context| {
        for token in 0..5_000 {
            context.set_timer(Instant::from_nanos(1), token);
        }
    });
    assert_eq!(
        world.run_before(Instant::from_nanos(10), u64::MAX),
        Ok(Progress::Reached)
    );
    assert_eq!(world.node(NodeId(0)).timers.len(), 5_000);
}

#[test]
fn nodes_foresee_what_comes_and_along_the_way_of_a_packet() {
    let times: Vec<u64> = (1..=200).map(|step| step * 1_000).collect();
    let config = ChannelConfig {
        latency: Duration::from_micros(50),
        ..ChannelConfig::default()
    };
    let mut world = pair(config, &times);
    run(&mut world, 100_001);
    let sender = world.nodes().next().unwrap();
    // Each slot of the queue is shown when the one before it begins.
    let told = sender.foreseen.borrow();
    for token in sender.timers.iter().map(|timer| timer.1).skip(4) {
        let count = told.iter().filter(|told| **told == token).count();
        assert_eq!(count, 1, "timer {token}");
    }
    assert!(told.len() < 110, "the future lies open: {}", told.len());
    let receiver = world.nodes().nth(1).unwrap();
    assert_eq!(world.observer().times("delivered").len(), 50);
    let foreseen = receiver.foreseen_packets.get();
    assert!((46..=60).contains(&foreseen), "{foreseen}");
    assert_eq!(receiver.foreseen_again.get(), foreseen);
    assert_eq!(sender.foreseen_again.get(), 0, "it passes packets on");
}
