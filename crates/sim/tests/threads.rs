//! What happens does not depend on threads.

use std::net::{Ipv4Addr, SocketAddrV4};

use plsim_packet::{Packet, PacketId, Payload};
use plsim_sim::{
    ChannelConfig, ChannelId, Context, Impairments, Jitter, JitterLaw, Loss, Node, NodeId,
    Observer, Place, Progress, Reorder, Shards, Split, Stream, Stuck, TapId, Threads, Tie, World,
    WorldBuilder,
};
use plsim_types::{DropReason, Duration, Instant};

const NODES: u32 = 24;
const END: u64 = 1_500_000;

/// Writes down everything, in the order of events.
#[derive(Debug, Default)]
struct Log {
    now: (u64, Tie),
    lines: Vec<((u64, Tie), String)>,
}

impl Log {
    fn add(&mut self, what: String) {
        self.lines.push((self.now, what));
    }
}

impl Observer for Log {
    fn begin(&mut self, now: Instant, tie: Tie) {
        self.now = (now.as_nanos(), tie);
    }

    fn injected(&mut self, now: Instant, node: NodeId, packet: &Packet) {
        self.add(format!("{now} {node:?} injected {:?}", packet.id));
    }

    fn duplicated(&mut self, now: Instant, link: ChannelId, packet: &Packet, of: PacketId) {
        self.add(format!("{now} {link:?} {:?} of {of:?}", packet.id));
    }

    fn delivered(&mut self, now: Instant, node: NodeId, packet: &Packet) {
        self.add(format!("{now} {node:?} delivered {:?}", packet.id));
    }

    fn dropped(&mut self, now: Instant, place: Place, packet: &Packet, reason: DropReason) {
        self.add(format!("{now} {place:?} {reason} {:?}", packet.id));
    }

    fn merged(&mut self, now: Instant, node: NodeId, packet: &Packet) {
        self.add(format!("{now} {node:?} merged {:?}", packet.id));
    }

    fn tapped(&mut self, now: Instant, tap: TapId, packet: &Packet) {
        self.add(format!("{now} {tap:?} {:?}", packet.id));
    }
}

impl Split for Log {
    type Part = Self;

    fn part(&self) -> Self {
        Self::default()
    }

    fn join(&mut self, parts: Vec<Self>) {
        let mut lines: Vec<_> = parts.into_iter().flat_map(|part| part.lines).collect();
        lines.sort_by_key(|(when, _)| *when);
        self.lines.extend(lines);
    }
}

/// A node that does one thing or another with what comes.
#[derive(Debug)]
struct Walker {
    out: Vec<ChannelId>,
    /// How many packets it may still make.
    left: u32,
    panics_at: Option<Instant>,
}

impl Walker {
    fn send(&self, packet: Box<Packet>, context: &mut Context<'_>) {
        let way = context.random().below(self.out.len() as u32);
        context.send(self.out[way as usize], packet);
    }
}

impl Node for Walker {
    fn on_packet(&mut self, packet: Box<Packet>, _: ChannelId, context: &mut Context<'_>) {
        assert!(
            self.panics_at.is_none_or(|at| context.now() < at),
            "as the test wants it"
        );
        match context.random().below(16) {
            0 => context.drop(packet, DropReason::NoRoute),
            1 => context.merge(packet),
            2..4 => context.deliver(packet),
            4 => {
                context.call();
                self.send(packet, context);
            }
            _ => self.send(packet, context),
        }
    }

    fn on_timer(&mut self, token: u64, context: &mut Context<'_>) {
        for _ in 0..context.random().below(3) {
            let end = |last| SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, last), 53);
            let packet = Packet::udp(end(1), end(2), Payload::Zeros(72));
            let packet = context.inject(packet);
            self.send(packet, context);
        }
        if self.left > 0 {
            self.left -= 1;
            let pause = u64::from(context.random().below(20_000)) + 1;
            let next = context.now() + Duration::from_nanos(pause);
            context.set_timer(next, token);
        }
    }
}

/// What a mesh is like.
#[derive(Debug, Clone, Copy)]
struct Mesh {
    seed: u64,
    impaired: bool,
    /// The shortest latency of a link, and how late the driver is, in nanoseconds.
    least: u64,
    reaction: u64,
}

impl Mesh {
    fn build(self) -> World<Walker, Log> {
        let mut draw = Stream::new(self.seed, "test", "mesh");
        let mut builder = WorldBuilder::new();
        let names: Vec<String> = (0..NODES).map(|node| format!("node {node}")).collect();
        let ids: Vec<NodeId> = names
            .iter()
            .map(|name| builder.node("walker", name))
            .collect();
        let mut nodes = Vec::new();
        for &from in &ids {
            let mut out = Vec::new();
            for way in 0..4 {
                // The first ones stay near, in the same instant.
                let near = way == 0 && draw.below(2) == 0;
                let to = match near {
                    true => ids[(from.0 ^ 1) as usize],
                    false => ids[draw.below(NODES) as usize],
                };
                let latency = match near {
                    true => 0,
                    false => self.least + u64::from(draw.below(50_000)),
                };
                let impairments = Impairments {
                    loss: Loss::Random(0.02),
                    duplicate: 0.02,
                    corrupt: 0.02,
                    bandwidth: Some(50_000_000),
                    jitter: Jitter {
                        span: Duration::from_nanos(latency / 8),
                        law: [JitterLaw::Uniform, JitterLaw::Normal][draw.below(2) as usize],
                        may_reorder: draw.below(2) == 0,
                    },
                    reorder: Reorder {
                        probability: 0.05,
                        delay: Duration::from_nanos(3_000),
                        gap: 2,
                    },
                    ..Impairments::default()
                };
                let config = ChannelConfig {
                    latency: Duration::from_nanos(latency),
                    impairments: match self.impaired {
                        true => impairments,
                        false => Impairments::default(),
                    },
                    tap_in: Some(TapId(from.0)),
                    tap_out: Some(TapId(to.0)),
                };
                let name = format!("{from:?} {way}");
                out.push(builder.channel("link", &name, (from, to), config));
            }
            nodes.push(Walker {
                out,
                left: 80,
                panics_at: None,
            });
        }
        builder.reaction(Some(Duration::from_nanos(self.reaction)));
        let mut world = builder.build(self.seed, nodes, Log::default());
        for id in ids {
            world.visit(id, |_, context| {
                context.set_timer(Instant::from_nanos(u64::from(id.0) % 5 + 1), 0);
            });
        }
        world
    }

    /// Runs to the end; at each call the driver has a node do something, and in the middle links change.
    fn run(self, threads: Threads, budget: u64) -> (Vec<String>, u64, Shards) {
        let mut world = self.build();
        let mut calls = 0;
        let middle = Instant::from_nanos(END / 2);
        for limit in [middle, Instant::from_nanos(END)] {
            loop {
                let before = world.now();
                let progress = world
                    .run_before_on(threads, limit, budget)
                    .expect("time moves");
                if progress == Progress::Reached {
                    break;
                }
                let called = world.now().since(before);
                assert!(budget > 0 || !called.is_zero());
                if world.is_called() {
                    calls += 1;
                    let node = NodeId(calls % NODES);
                    world.visit(node, |walker, context| {
                        walker.left += 1;
                        walker.on_timer(1, context);
                    });
                }
            }
            if limit == middle {
                let links: Vec<ChannelId> = (0..8).map(ChannelId).collect();
                world.change_links(&links, |latency, impairments| {
                    *latency = *latency + Duration::from_nanos(500);
                    impairments.duplicate = 0.1;
                });
            }
        }
        let (events, shards) = (world.events(), world.shards());
        let log = world.observer();
        let count = |what: &str| {
            log.lines
                .iter()
                .filter(|line| line.1.contains(what))
                .count() as u64
        };
        assert!(count("injected") > 500, "{self:?}");
        let lines = log.lines.iter().map(|(_, what)| what.clone()).collect();
        (lines, events, shards)
    }
}

#[test]
fn a_mesh_runs_the_same_way_on_any_number_of_threads() {
    for seed in 0..2 {
        for impaired in [false, true] {
            for (least, reaction) in [(2_000, 70_000), (100, 400), (40_000, 9_000)] {
                let mesh = Mesh {
                    seed,
                    impaired,
                    least,
                    reaction,
                };
                let one = mesh.run(Threads::One, u64::MAX);
                assert!(one.2.count > 3, "{:?}", one.2);
                for threads in [2, 3, 8] {
                    for budget in [u64::MAX, 97] {
                        let many = mesh.run(Threads::Always(threads), budget);
                        assert!(many.0 == one.0, "{mesh:?} on {threads} threads");
                        assert_eq!((many.1, many.2), (one.1, one.2));
                    }
                }
            }
        }
    }
}

#[test]
fn a_link_that_loses_its_latency_while_lanes_stand_apart_joins_them() {
    let run = |threads| {
        let mut builder = WorldBuilder::new();
        let ids = ["a", "b", "c"].map(|name| builder.node("walker", name));
        let mut links = Vec::new();
        for (from, to) in [(0, 1), (1, 0), (1, 2), (2, 1)] {
            let config = ChannelConfig {
                latency: Duration::from_micros(5),
                ..ChannelConfig::default()
            };
            let name = format!("{from}-{to}");
            links.push(builder.channel("link", &name, (ids[from], ids[to]), config));
        }
        builder.reaction(Some(Duration::from_micros(70)));
        let out = [vec![links[0]], vec![links[1], links[2]], vec![links[3]]];
        let nodes = out.map(|out| Walker {
            out,
            left: 50,
            panics_at: None,
        });
        let mut world = builder.build(7, nodes.into(), Log::default());
        world.visit(ids[2], |_, context| {
            context.set_timer(Instant::from_nanos(1), 0);
        });
        let step = |world: &mut World<Walker, Log>, to| {
            let limit = Instant::from_nanos(to);
            while world.run_before_on(threads, limit, u64::MAX) == Ok(Progress::Paused) {}
        };
        step(&mut world, 4_000);
        world.change_links(&links[..2], |latency, _| *latency = Duration::ZERO);
        world.visit(ids[0], |walker, context| walker.on_timer(1, context));
        step(&mut world, 400_000);
        (world.events(), world.observer().lines.clone())
    };
    let one = run(Threads::One);
    assert!(one.0 > 20, "{}", one.0);
    for threads in [2, 3] {
        assert!(run(Threads::Always(threads)) == one);
    }
}

#[test]
fn where_the_driver_reacts_at_once_nothing_is_shared_out() {
    let mesh = Mesh {
        seed: 1,
        impaired: false,
        least: 2_000,
        reaction: 0,
    };
    let one = mesh.run(Threads::One, u64::MAX);
    assert_eq!((one.2.count, one.2.look_ahead), (1, None));
    assert!(mesh.run(Threads::Always(4), u64::MAX) == one);
}

#[test]
fn nodes_without_latency_between_them_are_one_shard() {
    let mut builder = WorldBuilder::new();
    let ids = ["a", "b", "c", "d"].map(|name| builder.node("walker", name));
    let mut link = |name, from: usize, to: usize, micros| {
        let config = ChannelConfig {
            latency: Duration::from_micros(micros),
            ..ChannelConfig::default()
        };
        builder.channel("link", name, (ids[from], ids[to]), config)
    };
    link("a-b", 0, 1, 0);
    link("b-c", 1, 2, 70);
    let back = link("c-b", 2, 1, 50);
    link("c-d", 2, 3, 10);
    builder.keep_together(ids[2], ids[3]);
    builder.reaction(None);
    let walkers = ids.map(|_| Walker {
        out: Vec::new(),
        left: 0,
        panics_at: None,
    });
    let mut world = builder.build(1, walkers.into(), Log::default());
    let shards = |world: &World<Walker, Log>| (world.shards().count, world.shards().look_ahead);
    assert_eq!(shards(&world), (2, Some(Duration::from_micros(50))));
    // Jitter can make a latency vanish.
    world.change_links(&[back], |_, impairments| {
        impairments.jitter.span = Duration::from_micros(50);
    });
    let limit = Instant::from_nanos(10);
    world
        .run_before_on(Threads::Always(2), limit, u64::MAX)
        .unwrap();
    assert_eq!(shards(&world), (1, None));
}

#[test]
#[should_panic(expected = "as the test wants it")]
fn a_panic_on_one_thread_ends_the_run() {
    let mesh = Mesh {
        seed: 3,
        impaired: false,
        least: 2_000,
        reaction: 1_000,
    };
    let mut world = mesh.build();
    world.visit(NodeId(5), |walker, _| {
        walker.panics_at = Some(Instant::from_nanos(200_000));
    });
    let limit = Instant::from_nanos(END);
    while world.run_before_on(Threads::Always(4), limit, u64::MAX) == Ok(Progress::Paused) {}
}

/// Fires some timers, a nanosecond apart; a last one then sends so many packets round in its instant, for
/// ever.
#[derive(Debug)]
struct Mirror {
    link: ChannelId,
    timers: u64,
    stuck_at: Instant,
    packets: u32,
}

impl Mirror {
    fn send(&self, context: &mut Context<'_>) {
        let end = |last| SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, last), 53);
        let packet = context.inject(Packet::udp(end(1), end(2), Payload::Zeros(0)));
        context.send(self.link, packet);
    }
}

impl Node for Mirror {
    fn on_packet(&mut self, packet: Box<Packet>, _: ChannelId, context: &mut Context<'_>) {
        context.deliver(packet);
        self.send(context);
    }

    fn on_timer(&mut self, token: u64, context: &mut Context<'_>) {
        if token == 1 {
            return (0..self.packets).for_each(|_| self.send(context));
        }
        self.timers = self.timers.saturating_sub(1);
        match self.timers {
            0 => context.set_timer(self.stuck_at, 1),
            _ => context.set_timer(context.now() + Duration::from_nanos(1), 0),
        }
    }
}

/// Has nodes get stuck, after so many timers, at a time in nanoseconds, and with so many packets; either they
/// are far from each other, or there are links of 1 us between them.
fn stuck_on(threads: Threads, nodes: [(u64, u64, u32); 3], are_near: bool) -> Stuck {
    let mut builder = WorldBuilder::new().stuck_after(500);
    builder.reaction(None);
    let mut mirrors = Vec::new();
    for (timers, at, packets) in nodes {
        let name = format!("mirror {}", mirrors.len());
        let id = builder.node("mirror", &name);
        mirrors.push(Mirror {
            link: builder.channel("link", &name, (id, id), ChannelConfig::default()),
            timers,
            stuck_at: Instant::from_nanos(at),
            packets,
        });
    }
    let config = ChannelConfig {
        latency: Duration::from_micros(1),
        ..ChannelConfig::default()
    };
    for node in (0..3).filter(|_| are_near) {
        let ends = (NodeId(node), NodeId((node + 1) % 3));
        builder.channel("link", &format!("{node} on"), ends, config.clone());
        builder.channel(
            "link",
            &format!("{node} back"),
            (ends.1, ends.0),
            config.clone(),
        );
    }
    let mut world = builder.build(1, mirrors, Log::default());
    for node in 0..3 {
        world.visit(NodeId(node), |_, context| {
            context.set_timer(Instant::from_nanos(1), 0)
        });
    }
    let limit = Instant::from_nanos(END);
    let result = world.run_before_on(threads, limit, u64::MAX);
    assert_eq!(world.run_before_on(threads, limit, u64::MAX), result);
    result.expect_err("a node is stuck")
}

#[test]
fn who_is_stuck_first_in_virtual_time_stops_all() {
    let never = 2 * END;
    let cases = [
        // One alone; the first has more to do until then, then the last; both in one instant.
        [(1, never, 0), (1, 700, 1), (9, never, 0)],
        [(50_000, 60_000, 1), (1, 80_000, 2), (1, 70_000, 3)],
        [(1, 80_000, 1), (1, 70_000, 2), (50_000, 60_000, 3)],
        [(1, 60_000, 2), (50_000, 60_000, 1), (1, 60_000, 3)],
        [(50_000, 60_000, 2), (1, 60_000, 1), (1, 60_000, 3)],
    ];
    for nodes in cases {
        let stuck = stuck_on(Threads::One, nodes, false);
        let least = nodes.iter().map(|(_, at, _)| *at).min().unwrap();
        assert_eq!(stuck.at, Instant::from_nanos(least));
        for (threads, are_near) in [(2, false), (3, false), (2, true), (3, true)] {
            let many = stuck_on(Threads::Always(threads), nodes, are_near);
            assert_eq!(many, stuck, "{nodes:?}, near: {are_near}");
        }
    }
}
