//! What is counted. Small tables do: a count does not depend on the caches.

use std::hint::black_box;

use crate::{Case, counted};
use plsim_benches::{balancer, fill, nat, nat_of, original, packet, pool, read, reply, write};
use plsim_lb::FrontendId;
use plsim_nat::{
    Allocation, BitmapPorts, FifoPorts, OnIdle, PoolConfig, PortAllocator, PortRequest,
};
use plsim_packet::{Packet, Rewrite};
use plsim_sim::{EventQueue, Stream};
use plsim_types::{Duration, FiveTuple, Instant, LinkId, TcpFlags};

pub(crate) const CASES: &[Case] = &[
    case("nat/known-slice", 8_192, known_slice),
    case("nat/known-single", 8_192, known_single),
    case("nat/reply-slice", 8_192, reply_slice),
    case("nat/reply-single", 8_192, reply_single),
    case("nat/new-flow", 65_536, new_flow),
    case("nat/refusal", 8_192, refusal),
    case("nat/expiry", 8_192, expiry),
    case("ports/bitmap", 8_192, |count| {
        churn(BitmapPorts::new(1_024..=65_535), count)
    }),
    case("ports/fifo", 8_192, |count| {
        churn(FifoPorts::new(1_024..=65_535), count)
    }),
    case("packet/read", 8_192, packet_read),
    case("packet/rewrite", 8_192, packet_rewrite),
    case("lb/choose", 8_192, |count| choose(false, count)),
    case("lb/choose-sticky", 8_192, |count| choose(true, count)),
    case("queue/pop-push", 65_536, pop_push),
];

const NOW: Instant = Instant::from_nanos(1);

const fn case(name: &'static str, operations: u32, run: fn(u32)) -> Case {
    Case {
        name,
        operations,
        run,
    }
}

fn packets(count: u32) -> Vec<Packet> {
    (0..count).map(packet).collect()
}

/// A packet of a known flow from wire to wire: read, find, track, touch, rewrite, checksums.
fn known_slice(count: u32) {
    let mut nat = nat(1, Allocation::Bitmap);
    let _ = fill(&mut nat, count, Instant::ZERO);
    let mut packets = packets(count);
    counted(&mut || {
        for slice in packets.chunks_mut(32) {
            nat.originals(slice, |packet| (read(packet), NOW), write);
        }
    });
}

fn known_single(count: u32) {
    let mut nat = nat(1, Allocation::Bitmap);
    let _ = fill(&mut nat, count, Instant::ZERO);
    let mut packets = packets(count);
    counted(&mut || {
        for packet in &mut packets {
            let translated = nat.original(&read(packet), NOW);
            write(packet, translated);
        }
    });
}

fn reply_slice(count: u32) {
    let mut nat = nat(1, Allocation::Bitmap);
    let there = fill(&mut nat, count, Instant::ZERO);
    let mut replies: Vec<_> = there.iter().map(|t| reply(t, TcpFlags::ACK)).collect();
    counted(&mut || {
        for slice in replies.chunks_mut(32) {
            nat.replies(
                slice,
                |reply| (*reply, NOW),
                |_, translated| assert!(black_box(translated).is_ok()),
            );
        }
    });
}

fn reply_single(count: u32) {
    let mut nat = nat(1, Allocation::Bitmap);
    let there = fill(&mut nat, count, Instant::ZERO);
    let replies: Vec<_> = there.iter().map(|t| reply(t, TcpFlags::ACK)).collect();
    counted(&mut || {
        for reply in &replies {
            assert!(black_box(nat.reply(reply, NOW)).is_ok());
        }
    });
}

/// The growth of the tables included.
fn new_flow(count: u32) {
    let mut nat = nat(8, Allocation::Bitmap);
    counted(&mut || {
        for flow in 0..count {
            let bound = nat.original(&original(flow, TcpFlags::SYN), NOW);
            assert!(black_box(bound).is_ok());
        }
    });
}

/// A SYN that finds no port at any of eight NAT IPs.
fn refusal(count: u32) {
    let mut nat = nat_of(PoolConfig {
        ports: 1_024..=2_047,
        ..pool(8)
    });
    let _ = fill(&mut nat, 8 * 1_024, Instant::ZERO);
    counted(&mut || {
        for flow in 0..count {
            let refused = nat.original(&original(1 << 20 | flow, TcpFlags::SYN), NOW);
            assert!(black_box(refused).is_err());
        }
    });
}

/// All flows idle out at once.
fn expiry(count: u32) {
    let mut nat = nat_of(PoolConfig {
        on_idle: OnIdle::Silent,
        ..pool(8)
    });
    let _ = fill(&mut nat, count, Instant::ZERO);
    counted(&mut || nat.handle_timeout(Instant::ZERO + Duration::from_secs(300)));
    assert_eq!(nat.active_flows(), 0);
}

/// One port comes, one goes, at half occupancy.
fn churn(mut ports: impl PortAllocator, count: u32) {
    let mut random = Stream::new(1, "bench", "ports");
    let mut request = || PortRequest {
        random: u64::from(random.below(u32::MAX)) << 32,
        ..PortRequest::default()
    };
    let requests: Vec<PortRequest> = (0..count).map(|_| request()).collect();
    let mut held: Vec<u16> = Vec::new();
    for request in requests.iter().cycle().take(ports.capacity() as usize / 2) {
        held.push(ports.allocate(request).expect("half are free").port);
    }
    counted(&mut || {
        for (request, held) in requests.iter().zip(&mut held) {
            ports.release(*held, 0);
            *held = ports.allocate(request).expect("half are free").port;
        }
    });
}

fn packet_read(count: u32) {
    let packets = packets(count);
    counted(&mut || {
        for packet in &packets {
            black_box(packet.headers());
        }
    });
}

fn packet_rewrite(count: u32) {
    let mut packets = packets(count);
    let there = original(1 << 20, TcpFlags::ACK);
    let to = Rewrite {
        source: there.client,
        destination: there.endpoint,
    };
    counted(&mut || {
        for packet in &mut packets {
            packet.rewrite(black_box(to));
        }
    });
}

/// A packet of a flow that the load balancer has seen.
fn choose(may_change: bool, count: u32) {
    let mut balancer = balancer(4, may_change);
    let tuple = |flow| {
        let packet = original(flow, TcpFlags::ACK);
        FiveTuple {
            protocol: packet.protocol,
            source: packet.client,
            destination: packet.endpoint,
        }
    };
    let tuples: Vec<FiveTuple> = (0..count).map(tuple).collect();
    let mut select = |tuple: &FiveTuple, opens| {
        let chosen = balancer.select(FrontendId(0), LinkId(7), tuple, opens, NOW);
        assert!(black_box(chosen).is_ok());
    };
    tuples.iter().for_each(|tuple| select(tuple, true));
    counted(&mut || tuples.iter().for_each(|tuple| select(tuple, false)));
}

/// Takes the next event and adds one, with 1 000 pending; times are those of links and timers.
fn pop_push(count: u32) {
    let mut random = Stream::new(1, "bench", "queue");
    let mut draw = |_| match random.below(15) {
        0 => 1_000_000_000,
        1 => 75_000_000_000,
        2 => 300_000_000_000,
        3..=6 => 50_000,
        7..=10 => 500_000,
        _ => 100_000_u64,
    };
    let draws: Vec<u64> = (0..count).map(&mut draw).collect();
    let mut queue = EventQueue::new();
    for tie in 0..1_000 {
        queue.push(draw(0), tie, [0_u64; 2]);
    }
    counted(&mut || {
        for (tie, ahead) in (1_000..).zip(&draws) {
            let (now, _, value) = queue.pop_before(u64::MAX).expect("events are pending");
            queue.push(now + ahead, tie, value);
        }
    });
}
