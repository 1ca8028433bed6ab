//! The NAT engine's rows of the head-to-head with the kernel (`benches/peers`): one row in one process,
//! wall time, one line of JSON. What each row is beside the kernel's stands in `benches/peers/README.md`.
//!
//! ```text
//! engine known FLOWS PACKETS [balancer]    packets of connections that are there
//! engine new FLOWS [balancer]              a SYN of each flow
//! engine full ROUNDS                       SYNs until all ports of a NAT IP are taken
//! ```
#![forbid(unsafe_code)]

use std::time::{Duration as Wall, Instant as WallClock};

use plsim_benches::{balancer, nat, open, packet, read, say, scattered, syn, write};
use plsim_lb::{FrontendId, LoadBalancer};
use plsim_nat::{Allocation, NatEngine, Original};
use plsim_packet::Packet;
use plsim_types::{FiveTuple, Instant};

const VMS: u32 = 8;
const NAT_IPS: u8 = 8;
const PORTS: u32 = 64_512;
/// Packets that are made before the clock starts; 160 bytes each.
const BATCH: u32 = 2_048;
/// Packets that are translated together.
const SLICE: usize = 32;

/// Whether packets come to the engine one at a time or in slices.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pace {
    Single,
    Slices,
}

/// Eight VMs with eight NAT IPs each, and what chooses among them: a load balancer that remembers its
/// flows, or the flow's number, as if clients had dialled the VMs.
struct Provider {
    balancer: Option<LoadBalancer>,
    engines: Vec<NatEngine>,
}

impl Provider {
    fn new(balanced: bool) -> Self {
        Self {
            balancer: balanced.then(|| balancer(VMS as u16, true)),
            engines: (0..VMS).map(|_| nat(NAT_IPS, Allocation::Bitmap)).collect(),
        }
    }

    /// Opens flows 0..count with complete handshakes.
    fn establish(&mut self, count: u32) {
        for flow in 0..count {
            let vm = self.choose(flow, &read(&syn(flow)));
            open(&mut self.engines[vm], flow, Instant::ZERO);
        }
    }

    #[inline]
    fn choose(&mut self, flow: u32, original: &Original) -> usize {
        let Some(balancer) = &mut self.balancer else {
            return (flow % VMS) as usize;
        };
        let tuple = FiveTuple {
            protocol: original.protocol,
            source: original.client,
            destination: original.endpoint,
        };
        let opens = original
            .segment
            .is_some_and(|segment| segment.flags.opens());
        let frontend = FrontendId(0);
        let chosen = balancer.select(frontend, original.link, &tuple, opens, Instant::ZERO);
        usize::from(chosen.expect("all backends are up").backend.0)
    }

    /// Sends clients' packets of flows through and returns how long it took, without making them.
    fn send(
        &mut self,
        flows: impl Iterator<Item = u32>,
        make: fn(u32) -> Packet,
        pace: Pace,
    ) -> Wall {
        let mut flows = flows.peekable();
        let mut time = Wall::ZERO;
        while flows.peek().is_some() {
            let batch = flows.by_ref().take(BATCH as usize);
            let mut batch: Vec<(u32, Packet)> = batch.map(|flow| (flow, make(flow))).collect();
            let from = now();
            match pace {
                Pace::Single => self.single(&mut batch),
                Pace::Slices => self.sliced(&mut batch),
            }
            time += from.elapsed();
        }
        time
    }

    fn single(&mut self, batch: &mut [(u32, Packet)]) {
        for (flow, packet) in batch {
            let original = read(packet);
            let vm = self.choose(*flow, &original);
            write(packet, self.engines[vm].original(&original, Instant::ZERO));
        }
    }

    fn sliced(&mut self, batch: &mut [(u32, Packet)]) {
        let mut slices: [Vec<&mut Packet>; VMS as usize] =
            std::array::from_fn(|_| Vec::with_capacity(SLICE));
        for (flow, packet) in batch {
            let vm = self.choose(*flow, &read(packet));
            slices[vm].push(packet);
            if slices[vm].len() == SLICE {
                translate(&mut self.engines[vm], &mut slices[vm]);
                slices[vm].clear();
            }
        }
        for (engine, slice) in self.engines.iter_mut().zip(&mut slices) {
            translate(engine, slice);
        }
    }
}

fn translate(engine: &mut NatEngine, slice: &mut [&mut Packet]) {
    engine.originals(
        slice,
        |packet| (read(packet), Instant::ZERO),
        |packet, translated| write(packet, translated),
    );
}

/// What one attempt after the other to open a flow came to.
#[derive(Default)]
struct Attempts {
    time: Wall,
    made: u32,
    refused: u32,
}

impl Attempts {
    fn add(&mut self, engine: &mut NatEngine, first: u32, count: u32, pace: Pace) {
        let flows = first..first + count;
        let mut packets: Vec<Packet> = flows.map(syn).collect();
        let mut refused = 0;
        let from = now();
        let mut done = |packet: &mut Packet, translated: Result<_, _>| match translated {
            Ok(translation) => write(packet, Ok(translation)),
            Err(_) => refused += 1,
        };
        match pace {
            Pace::Single => {
                for packet in &mut packets {
                    let translated = engine.original(&read(packet), Instant::ZERO);
                    done(packet, translated);
                }
            }
            Pace::Slices => {
                for slice in packets.chunks_mut(SLICE) {
                    engine.originals(slice, |packet| (read(packet), Instant::ZERO), &mut done);
                }
            }
        }
        self.time += from.elapsed();
        self.made += count;
        self.refused += refused;
    }
}

/// Takes every port of one NAT IP, again and again, with a look at 90, 98 and 100 %.
fn full(rounds: u32, pace: Pace) -> String {
    let sample = PORTS / 100;
    let levels = [90, 98, 100];
    let mut samples = [(); 3].map(|()| Attempts::default());
    let mut fill = Attempts::default();
    for _ in 0..rounds {
        let mut engine = nat(1, Allocation::Bitmap);
        let mut taken = 0;
        for (level, attempts) in levels.into_iter().zip(&mut samples) {
            let target = match level {
                100 => PORTS,
                _ => PORTS * level / 100 - sample / 2,
            };
            fill.add(&mut engine, taken, target - taken, pace);
            attempts.add(&mut engine, target, sample, pace);
            taken = target + sample;
        }
    }
    let found = fill.made + samples[0].made + samples[1].made;
    let refused = fill.refused + samples[0].refused + samples[1].refused;
    assert_eq!(
        (found, refused),
        (rounds * PORTS, 0),
        "each port at one attempt"
    );
    let filling = fill.time + samples[0].time + samples[1].time;
    let each = levels.into_iter().zip(&samples).map(|(level, attempts)| {
        let share = f64::from(attempts.refused) / f64::from(attempts.made);
        let time = per(attempts.time, attempts.made);
        format!("\"ns_{level}\": {time:.1}, \"refused_{level}\": {share:.5}, ")
    });
    format!(
        "{{{}\"attempts\": {}, \"fill_ns\": {:.1}}}",
        each.collect::<String>(),
        found / rounds,
        per(filling, found)
    )
}

/// Nanoseconds for each of some operations.
fn per(time: Wall, count: u32) -> f64 {
    time.as_secs_f64() * 1e9 / f64::from(count)
}

#[expect(
    clippy::disallowed_methods,
    reason = "wall time, as the kernel's rows are measured in"
)]
fn now() -> WallClock {
    WallClock::now()
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let number = |at: usize| -> u32 {
        let word = words.get(at).and_then(|word| word.parse().ok());
        word.expect("engine known FLOWS PACKETS, engine new FLOWS or engine full ROUNDS")
    };
    let balanced = words.last() == Some(&"balancer");
    let rows = [(Pace::Single, "single"), (Pace::Slices, "slices")].map(|(pace, name)| {
        let figure = match words.first() {
            Some(&"known") => known(number(1), number(2), balanced, pace),
            Some(&"new") => new(number(1), balanced, pace),
            _ => full(number(1), pace),
        };
        format!("\"{name}\": {figure}")
    });
    say(&format!("{{{}}}", rows.join(", ")));
}

/// Nanoseconds for each packet of an established connection.
fn known(flows: u32, packets: u32, balanced: bool, pace: Pace) -> String {
    let mut provider = Provider::new(balanced);
    provider.establish(flows);
    let steps = |steps: std::ops::Range<u32>| steps.map(|step| scattered(step, flows));
    // Once through without the clock, as with the kernel.
    provider.send(steps(0..packets / 8), packet, pace);
    let time = provider.send(steps(packets..2 * packets), packet, pace);
    format!("{:.1}", per(time, packets))
}

/// Nanoseconds for each new flow, from nothing.
fn new(flows: u32, balanced: bool, pace: Pace) -> String {
    let mut provider = Provider::new(balanced);
    let time = provider.send(0..flows, syn, pace);
    format!("{:.1}", per(time, flows))
}
