//! The swarm as a test: its seeds, its determinism, and that its judges see something.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use crate::swarm;

/// Seeds in every check.
const SEEDS: u64 = 200;

#[test]
fn two_hundred_seeds_of_the_swarm_violate_nothing() {
    let next = AtomicU64::new(0);
    let packets = AtomicU64::new(0);
    let bad = Mutex::new(Vec::new());
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= SEEDS {
                return;
            }
            let run = swarm::run(seed);
            packets.fetch_add(run.packets, Ordering::Relaxed);
            if let Some(first) = run.violations.first() {
                bad.lock().unwrap().push(swarm::replay_line(seed, first));
            }
        }
    };
    thread::scope(|scope| {
        scope.spawn(work);
        scope.spawn(work);
    });
    let mut bad = bad.into_inner().unwrap();
    bad.sort();
    assert!(bad.is_empty(), "{}", bad.join("\n"));
    // A swarm that does nothing violates nothing.
    assert!(packets.into_inner() > 100 * SEEDS);
}

#[test]
fn a_seed_of_the_swarm_gives_the_same_bytes_again() {
    for seed in (0..SEEDS).step_by(10) {
        let (one, other) = (swarm::run(seed), swarm::run(seed));
        assert!(one.capture == other.capture, "seed {seed}");
        assert_eq!(one.summary, other.summary, "seed {seed}");
        assert_eq!(one.events, other.events, "seed {seed}");
        assert_eq!(one.samples, other.samples, "seed {seed}");
    }
}
