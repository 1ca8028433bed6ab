//! Reserved blocks: when a share doubles, when it halves, and who is refused.

use crate::blocks::of;
use plsim_nat::{BlockPorts, NoPort, Pace, PortAllocator, Reservations};
use plsim_types::{Duration, Instant, KeyedHash};
use std::collections::{BTreeMap, BTreeSet};

const PACE: Pace = Pace {
    grow_at: 900,
    delay: Duration::from_secs(1),
    rest: Duration::from_secs(60),
};
const ALL: std::ops::RangeInclusive<u16> = 1_024..=65_535;

/// Some ports of one subscriber after another, and time.
struct Client {
    ports: BlockPorts,
    now: Instant,
    taken: Vec<(u16, u64)>,
}

impl Client {
    fn new(ports: BlockPorts) -> Self {
        Self {
            ports,
            now: Instant::ZERO,
            taken: Vec::new(),
        }
    }

    fn after(&mut self, span: Duration) -> &mut Self {
        self.now = self.now + span;
        self.ports.advance(self.now);
        self
    }

    /// Takes ports until `most` or a refusal, and says how many.
    fn take(&mut self, subscriber: u64, most: u32) -> u32 {
        let random = KeyedHash::new(3, "take");
        let mut count = 0;
        while count < most {
            let request = of(subscriber, random.word(self.taken.len() as u64));
            let Ok(found) = self.ports.allocate(&request) else {
                break;
            };
            self.taken.push((found.port, subscriber));
            count += 1;
        }
        count
    }

    /// Gives ports back, those taken last first.
    fn give_back(&mut self, count: usize) {
        for (port, subscriber) in self.taken.split_off(self.taken.len() - count) {
            self.ports.release(port, subscriber);
        }
    }

    fn share(&self) -> u32 {
        self.ports.reservations().ports
    }
}

/// GCP-DPA: 32 ports at first, and twice as many each time a VM is close to exhausting them.
#[test]
fn a_share_doubles_a_second_after_nine_tenths_of_it_are_in_use() {
    let mut vm = Client::new(BlockPorts::reserved(ALL, 32, 2_048, PACE));
    let mut share = 32_u32;
    let mut used = 0;
    for doublings in 1..=10 {
        let short = (9 * share).div_ceil(10);
        used += vm.take(1, short - 1 - used);
        assert_eq!(used, short - 1, "{share}");
        vm.after(Duration::from_secs(10));
        assert_eq!((vm.share(), vm.ports.next_change()), (share, None));
        used += vm.take(1, 1);
        assert_eq!(
            vm.ports.next_change(),
            Some(vm.now + Duration::from_secs(1))
        );
        // What is left until then is all there is.
        used += vm.take(1, u32::MAX);
        assert_eq!(used, share);
        vm.after(Duration::from_nanos(999_999_999));
        assert_eq!((vm.take(1, 1), vm.share()), (0, share));
        vm.after(Duration::from_nanos(1));
        share *= 2;
        assert_eq!(vm.share(), share);
        assert_eq!(vm.ports.reservations().doublings, doublings);
    }
    assert_eq!(share, 32_768);
}

#[test]
fn a_share_ends_at_the_most_and_then_refuses_with_ports_free() {
    let mut vm = Client::new(BlockPorts::reserved(ALL, 32, 4, PACE));
    let mut used = 0;
    for most in [32, 64, 128] {
        used += vm.take(1, u32::MAX);
        assert_eq!(used, most);
        vm.after(Duration::from_secs(1));
    }
    // Exactly: none left, then one, then two.
    for free in [0, 1, 2] {
        vm.give_back(free);
        assert_eq!(vm.take(1, u32::MAX), free as u32);
        let refused = vm.ports.allocate(&of(1, 5));
        assert_eq!(refused, Err(NoPort::GaveUp { probes: 1 }));
        assert_eq!(vm.ports.next_change(), None);
    }
    assert_eq!(vm.take(2, u32::MAX), 32, "another VM has its own");
}

/// GCP-PORTS: 64 512 / 64 = 1 008 VMs for each NAT IP.
#[test]
fn a_nat_ip_has_64_ports_for_1_008_vms_and_none_for_another() {
    let mut vms = Client::new(BlockPorts::reserved(ALL, 64, 1, PACE));
    for number in 0..1_008 {
        assert_eq!(vms.take(number, 1), 1);
    }
    let refused = vms.ports.allocate(&of(2_000, 0));
    assert_eq!(refused, Err(NoPort::GaveUp { probes: 1 }));
    // A reservation stays with its VM, in use or not.
    vms.give_back(1_008);
    assert_eq!(vms.share(), 64_512);
    assert_eq!(vms.ports.free(), 64_512);
    assert_eq!(vms.take(2_000, 1), 0);
    assert_eq!(vms.take(1_007, u32::MAX), 64);
}

#[test]
fn one_vm_alone_gets_every_port_and_only_then_the_space_is_full() {
    let mut vm = Client::new(BlockPorts::reserved(ALL, 32, 2_048, PACE));
    let mut used = 0;
    for _ in 0..11 {
        used += vm.take(1, u32::MAX);
        vm.after(Duration::from_secs(1));
    }
    used += vm.take(1, u32::MAX);
    assert_eq!(used, 64_512);
    assert_eq!(vm.ports.allocate(&of(1, 5)), Err(NoPort::Full));
    assert_eq!(vm.ports.next_change(), None, "there is nothing to get");
    for free in [1, 2] {
        vm.give_back(free);
        assert_eq!(vm.take(1, u32::MAX), free as u32);
        assert_eq!(vm.ports.allocate(&of(1, 5)), Err(NoPort::Full));
    }
}

#[test]
fn a_share_is_halved_after_a_minute_with_at_most_a_quarter_in_use() {
    let mut vm = Client::new(BlockPorts::reserved(ALL, 32, 2_048, PACE));
    for _ in 0..5 {
        vm.take(1, u32::MAX);
        vm.after(Duration::from_secs(1));
    }
    assert_eq!((vm.share(), vm.taken.len()), (1_024, 512));
    // One more than a quarter is not few.
    vm.give_back(512 - 257);
    assert_eq!(vm.ports.next_change(), None);
    vm.give_back(1);
    let minute = Duration::from_secs(60);
    let nearly = Duration::from_nanos(59_999_999_999);
    assert_eq!(vm.ports.next_change(), Some(vm.now + minute));
    // Use that comes back in between starts the minute again.
    vm.after(nearly);
    vm.take(1, 1);
    assert_eq!(vm.ports.next_change(), None);
    vm.give_back(257);
    vm.after(nearly);
    assert_eq!(vm.share(), 1_024);
    vm.after(Duration::from_nanos(1));
    assert_eq!(vm.share(), 512);
    for share in [256, 128, 64, 32, 32] {
        vm.after(minute);
        assert_eq!(vm.share(), share);
    }
    assert_eq!(vm.ports.next_change(), None, "the first block stays");
    let Reservations {
        peak,
        doublings,
        halvings,
        ..
    } = vm.ports.reservations();
    assert_eq!((peak, doublings, halvings), (1_024, 5, 5));
}

#[test]
fn a_block_in_use_is_given_back_with_its_last_port() {
    let mut vm = Client::new(BlockPorts::reserved(1_024..=1_151, 32, 4, PACE));
    for _ in 0..3 {
        vm.take(1, u32::MAX);
        vm.after(Duration::from_secs(1));
    }
    assert_eq!((vm.share(), vm.taken.len()), (128, 128));
    // One port of each block stays in use.
    let mut kept = BTreeMap::new();
    for (port, subscriber) in vm.taken.split_off(0) {
        if *kept.entry(port / 32).or_insert(port) != port {
            vm.ports.release(port, subscriber);
        }
    }
    vm.after(Duration::from_secs(120));
    assert_eq!(vm.ports.reservations().halvings, 2);
    assert_eq!(vm.share(), 128, "no block is free of use");
    assert_eq!(vm.take(2, 1), 0);
    let mut kept = kept.into_values();
    for left in [96, 64, 32, 32] {
        vm.ports.release(kept.next().unwrap(), 1);
        assert_eq!(vm.share(), left);
    }
    assert_eq!(vm.take(2, u32::MAX), 32);
}

#[test]
fn a_share_grows_by_the_blocks_after_the_one_it_got_last() {
    for seed in 0..10 {
        let random = KeyedHash::new(seed, "first").word(0);
        let mut vm = Client::new(BlockPorts::reserved(0..=319, 32, 4, PACE));
        let port = vm.ports.allocate(&of(1, random)).unwrap().port;
        vm.taken.push((port, 1));
        let first = port / 32;
        let own = |vm: &Client| {
            let blocks = (0..10).filter(|block| vm.ports.subscriber_of(32 * block) == Some(1));
            blocks.collect::<BTreeSet<_>>()
        };
        let after = |blocks: &[u16]| blocks.iter().map(|block| (first + block) % 10).collect();
        assert_eq!(vm.take(1, u32::MAX), 31);
        vm.after(Duration::from_secs(1));
        assert_eq!(own(&vm), after(&[0, 1]), "{first}");
        assert_eq!(vm.take(1, u32::MAX), 32);
        vm.after(Duration::from_secs(1));
        assert_eq!(own(&vm), after(&[0, 1, 2, 3]), "{first}");
        // The two without ports in use go; what comes after them comes next.
        vm.give_back(31);
        vm.ports.release(port, 1);
        vm.after(Duration::from_secs(60));
        assert_eq!(own(&vm), after(&[0, 1]), "{first}");
        assert_eq!(vm.take(1, u32::MAX), 32);
        vm.after(Duration::from_secs(1));
        assert_eq!(own(&vm), after(&[0, 1, 4, 5]), "{first}");
    }
}

#[test]
fn a_share_that_was_halved_counts_ports_and_not_blocks() {
    let mut vm = Client::new(BlockPorts::reserved(0..=127, 32, 2, PACE));
    assert_eq!(vm.take(1, u32::MAX), 32);
    vm.after(Duration::from_secs(1));
    assert_eq!(vm.take(1, u32::MAX), 32);
    // Eight ports of each block stay in use, so neither goes.
    let mut kept = [0; 2];
    let first = vm.taken[0].0 / 32;
    for (port, subscriber) in vm.taken.split_off(0) {
        let block = usize::from(port / 32 != first);
        kept[block] += 1;
        if kept[block] > 8 {
            vm.ports.release(port, subscriber);
        }
    }
    vm.after(Duration::from_secs(60));
    assert_eq!(
        (vm.ports.blocks_of(1), vm.ports.reservations().halvings),
        (2, 1)
    );
    // Its share is 32 ports, wherever they lie, and not what is free in two blocks.
    assert_eq!(vm.take(1, u32::MAX), 16);
    assert_eq!((vm.share(), vm.ports.blocks_of(1)), (64, 2));
}

#[test]
fn the_last_block_counts_the_ports_it_has() {
    let mut vms = Client::new(BlockPorts::reserved(0..=49, 32, 1, PACE));
    let most = [vms.take(1, u32::MAX), vms.take(2, u32::MAX)];
    assert!(most == [32, 18] || most == [18, 32], "{most:?}");
    assert_eq!((vms.share(), vms.ports.reservations().peak), (50, 50));
    let mut blocks = BlockPorts::new(0..=49, 32, 1);
    let ports = [1, 2].map(|subscriber| blocks.allocate(&of(subscriber, 0)).unwrap().port);
    assert_eq!(blocks.reservations().ports, 50);
    blocks.release(ports[0], 1);
    let left = if ports[0] < 32 { 18 } else { 32 };
    assert_eq!(blocks.reservations().ports, left);
}

#[test]
fn growth_that_finds_nothing_is_tried_again_when_somebody_asks() {
    let mut vms = Client::new(BlockPorts::reserved(1_024..=1_119, 32, 4, PACE));
    vms.take(1, u32::MAX);
    vms.take(2, 1);
    vms.take(3, 1);
    vms.after(Duration::from_secs(100));
    let found_nothing = (vms.share(), vms.ports.next_change());
    assert_eq!(found_nothing, (96, None), "all three blocks are somebody's");
    assert_eq!(vms.ports.reservations().doublings, 0);
    // With no delay a share grows in the instant it is asked for.
    let at_once = Pace {
        delay: Duration::ZERO,
        ..PACE
    };
    let mut vm = Client::new(BlockPorts::reserved(1_024..=1_119, 32, 4, at_once));
    assert_eq!(vm.take(1, 29), 29);
    vm.after(Duration::ZERO);
    assert_eq!(vm.take(1, 35), 35);
    vm.after(Duration::ZERO);
    assert_eq!(vm.share(), 96, "as many as there are");
    assert_eq!(vm.take(1, u32::MAX), 32);
}

/// What a subscriber of the model has.
#[derive(Debug, Clone, Copy, Default)]
struct Share {
    /// Of two changes at once, that of who came first is first.
    place: usize,
    blocks: u32,
    used: u32,
    doubles_at: Option<Instant>,
    few_since: Option<Instant>,
}

/// The rules in words of counts, for subscribers that use whole blocks only one way: blocks of one
/// port, so that a port in use is a block in use.
struct Model {
    count: u32,
    most: u32,
    shares: BTreeMap<u64, Share>,
}

impl Model {
    /// Blocks that a subscriber keeps from the others: its share, or more while it uses more.
    fn unclaimed(&self) -> u32 {
        let kept = self.shares.values().map(|share| share.blocks);
        self.count - kept.sum::<u32>()
    }

    fn review(&mut self, subscriber: u64, now: Instant) {
        let more = self.unclaimed() > 0;
        let most = self.most;
        let share = self.shares.get_mut(&subscriber).unwrap();
        if share.doubles_at.is_some() {
            return;
        }
        let short = 10 * share.used >= 9 * share.blocks;
        let few = share.blocks > 1 && 4 * share.used <= share.blocks;
        if share.blocks < most && more && short {
            share.doubles_at = Some(now + PACE.delay);
        }
        let since = share.few_since.or(Some(now));
        share.few_since = since.filter(|_| few && share.doubles_at.is_none());
    }

    fn advance(&mut self, now: Instant) {
        loop {
            let due = self.shares.iter().filter_map(|(subscriber, share)| {
                let at = share
                    .doubles_at
                    .or(share.few_since.map(|since| since + PACE.rest))?;
                (at <= now).then_some((at, share.place, *subscriber))
            });
            let Some((at, _, subscriber)) = due.min() else {
                return;
            };
            let unclaimed = self.unclaimed();
            let share = self.shares.get_mut(&subscriber).unwrap();
            share.few_since = None;
            if share.doubles_at.take().is_some() {
                let more = share.blocks.min(self.most - share.blocks).min(unclaimed);
                share.blocks += more;
                if more == 0 {
                    continue;
                }
            } else {
                share.blocks = share.blocks.div_ceil(2);
            }
            self.review(subscriber, at);
        }
    }

    fn allocate(&mut self, subscriber: u64, now: Instant) -> bool {
        let known = self.shares.contains_key(&subscriber);
        if !known && self.unclaimed() == 0 {
            return false;
        }
        let place = self.shares.len();
        let share = self.shares.entry(subscriber).or_insert(Share {
            place,
            blocks: 1,
            ..Share::default()
        });
        let room = share.used < share.blocks;
        share.used += u32::from(room);
        self.review(subscriber, now);
        room
    }
}

#[test]
fn shares_agree_with_a_model_of_counts() {
    let mut full = 0;
    for (count, most) in [(3_u16, 2), (40, 8), (100, 64), (257, 1_000)] {
        let mut ports = BlockPorts::reserved(5_000..=4_999 + count, 1, most, PACE);
        let mut model = Model {
            count: u32::from(count),
            most: u32::from(most),
            shares: BTreeMap::new(),
        };
        let mut taken: Vec<(u16, u64)> = Vec::new();
        let mut now = Instant::ZERO;
        let random = KeyedHash::new(u64::from(count), "shares");
        for step in 0..20_000_u64 {
            let word = random.word(step);
            if word.is_multiple_of(4) {
                let waits = [0, 300, 999, 1_000, 20_000, 60_000];
                now = now + Duration::from_millis(waits[(word >> 8) as usize % 6]);
                ports.advance(now);
                model.advance(now);
            }
            let grow = word >> 32 & 7 < if step / 500 % 2 == 0 { 6 } else { 2 };
            // Two of four subscribers ask for most.
            let subscriber = (word >> 16) & (word >> 18) & 3;
            if grow || taken.is_empty() {
                let possible = taken.len() < usize::from(count) && model.allocate(subscriber, now);
                let found = ports.allocate(&of(subscriber, word));
                assert_eq!(found.is_ok(), possible, "step {step}");
                full += u32::from(found == Err(NoPort::Full));
                taken.extend(found.map(|found| (found.port, subscriber)));
            } else {
                let (port, owner) = taken.swap_remove(word as usize % taken.len());
                ports.release(port, owner);
                model.shares.get_mut(&owner).unwrap().used -= 1;
                model.review(owner, now);
            }
            for (subscriber, share) in &model.shares {
                assert_eq!(ports.blocks_of(*subscriber), share.blocks, "step {step}");
            }
            let reserved = u32::from(count) - model.unclaimed();
            assert_eq!(ports.reservations().ports, reserved);
        }
        assert!(ports.reservations().halvings > 0 || most == 2);
    }
    assert!(full > 0);
}
