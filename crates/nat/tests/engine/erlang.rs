//! Blocking at full size against Erlang's formula.

use crate::harness::{Nat, small};
use plsim_nat::NatError;
use plsim_types::{Duration, KeyedHash, Protocol};

/// Ports of a NAT IP, and the erlangs offered to them.
const PORTS: u32 = 64_512;
const OFFERED: f64 = 65_000.0;
/// Holds in a batch: ports that are taken together come back together, so batches are longer.
const HOLDS: u32 = 5;

/// Erlang-B, blocked calls cleared: it does not matter how holding times are distributed, so each
/// is exactly the idle timeout of a UDP binding that never sees a second packet. One hold of
/// warm-up and 20 measured, five seeds; the standard error comes from the 20 batches.
#[test]
fn a_nat_ip_of_64_512_ports_blocks_as_erlang_says() {
    let inverse = (1..=PORTS).fold(1.0, |inverse, k| 1.0 + f64::from(k) / OFFERED * inverse);
    let theory = 1.0 / inverse;
    assert!((theory - 8.998_917_23e-3).abs() < 1e-10, "{theory}");
    let batches: Vec<f64> = (1..=5).flat_map(blocked).collect();
    let count = batches.len() as f64;
    let mean = batches.iter().sum::<f64>() / count;
    let variance = batches
        .iter()
        .map(|share| (share - mean).powi(2))
        .sum::<f64>();
    let error = (variance / (count - 1.0) / count).sqrt();
    assert!(
        (mean - theory).abs() < 4.0 * error && error < theory / 10.0,
        "{mean:.6} ± {error:.6}, theory {theory:.6}"
    );
}

/// The share of Poisson arrivals that find no port, in batches.
fn blocked(seed: u64) -> Vec<f64> {
    let mut config = small(1, PORTS as u16);
    let second = 1_000_000_000;
    config.pools[0].timers.udp_idle = Duration::from_nanos(second);
    let mut nat = Nat::new(config);
    let random = KeyedHash::new(seed, "arrivals");
    let mut batches = vec![(0_u32, 0_u32); 4];
    let (mut now, mut number) = (0.0_f64, 0);
    loop {
        let uniform = (random.word(u64::from(number)) >> 11) as f64 / (1_u64 << 53) as f64;
        now += -(1.0 - uniform).ln() / OFFERED;
        nat.at((now * second as f64) as u64).timeout();
        let refused = match nat.datagram(number) {
            Ok(_) => 0,
            Err(error) => {
                assert_eq!(error, NatError::PortsExhausted);
                1
            }
        };
        number += 1;
        let hold = now as u32;
        if hold == 0 {
            continue;
        }
        let Some(batch) = batches.get_mut(((hold - 1) / HOLDS) as usize) else {
            let (used, _) = nat.used(Protocol::Udp);
            assert!(used <= PORTS, "{used}");
            break;
        };
        batch.0 += 1;
        batch.1 += refused;
    }
    let share = |(arrived, refused)| f64::from(refused) / f64::from(arrived);
    batches.into_iter().map(share).collect()
}
