use std::net::{Ipv4Addr, SocketAddrV4};

use plsim_packet::{Packet, Payload};
use plsim_types::{DropReason, Duration, Instant};

use super::{GilbertElliott, Impaired, Impairments, Jitter, JitterLaw, Loss, Reorder};
use crate::stream::Stream;

const LATENCY: Duration = Duration::from_micros(500);

fn impaired(settings: Impairments) -> Impaired {
    Impaired::new(settings, &Stream::new(7, "test", "impairment"))
}

/// A UDP packet of 128 bytes.
fn packet() -> Packet {
    let end = |last| SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, last), 53);
    Packet::udp(end(1), end(2), Payload::Zeros(100))
}

/// Returns which of `count` packets are lost.
fn losses(loss: Loss, count: usize) -> (Vec<bool>, Impaired) {
    let mut link = impaired(Impairments {
        loss,
        ..Impairments::default()
    });
    let lost = (0..count).map(|_| link.admit(128, Instant::ZERO) == Err(DropReason::LinkLoss));
    (lost.collect(), link)
}

/// Returns how long each of `count` packets takes that enter a nanosecond apart from the last.
fn delays(settings: Impairments, count: u64) -> (Vec<u64>, Impaired) {
    let mut link = impaired(settings);
    let mut packet = packet();
    let delays = (0..count).map(|sent| {
        let now = Instant::from_nanos(sent);
        let at = link.carry(&mut packet, now, LATENCY, now);
        at.since(now).as_nanos()
    });
    (delays.collect(), link)
}

fn jitter(law: JitterLaw, span: Duration, may_reorder: bool) -> Impairments {
    Impairments {
        jitter: Jitter {
            span,
            law,
            may_reorder,
        },
        ..Impairments::default()
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts far below 2^53")]
fn mean(values: &[u64]) -> f64 {
    values.iter().sum::<u64>() as f64 / values.len() as f64
}

#[test]
#[expect(clippy::cast_precision_loss, reason = "counts far below 2^53")]
fn gilbert_elliott_loses_p_over_p_plus_r_in_bursts_of_one_over_r() {
    let model = GilbertElliott {
        p: 0.002,
        r: 0.2,
        loss_in_bad: 1.0,
        loss_in_good: 0.0,
    };
    let (lost, link) = losses(Loss::GilbertElliott(model), 1_000_000);
    let total = lost.iter().filter(|&&lost| lost).count() as f64;
    let bursts: Vec<usize> = lost.split(|lost| !lost).map(<[bool]>::len).collect();
    let bursts: Vec<u64> = bursts
        .into_iter()
        .filter(|&n| n > 0)
        .map(|n| n as u64)
        .collect();
    assert_eq!(
        (link.stats.lost as f64, link.stats.loss_runs),
        (total, bursts.len() as u64)
    );
    // About 1 970 bursts. Their lengths are geometric with mean 5 and deviation 4.5, so the mean of
    // all has the standard error 0.10; their number one of 44, less than with Poisson's law. Four
    // standard errors are allowed.
    assert!((mean(&bursts) - 5.0).abs() < 0.41, "{}", mean(&bursts));
    let expected = 1e6 * model.p / (model.p + model.r);
    // The number and the lengths of bursts: sqrt(44² · 5² + 1 970 · 4.5²) = 298.
    assert!(
        (total - expected).abs() < 4.0 * 298.0,
        "{total} of {expected}"
    );
}

#[test]
fn random_loss_comes_in_bursts_of_almost_one() {
    let (_, link) = losses(Loss::Random(0.01), 1_000_000);
    // Deviations: sqrt(10^6 · 0.01 · 0.99) = 99.5 packets; a burst ends with probability 0.99, so
    // 9 900 bursts. Four deviations are allowed.
    assert!(link.stats.lost.abs_diff(10_000) < 400, "{:?}", link.stats);
    assert!(
        link.stats.loss_runs.abs_diff(9_900) < 400,
        "{:?}",
        link.stats
    );
}

#[test]
fn the_bad_state_may_let_packets_through_and_the_good_one_may_lose_some() {
    let model = GilbertElliott {
        p: 0.5,
        r: 0.5,
        loss_in_bad: 0.6,
        loss_in_good: 0.2,
    };
    let (lost, _) = losses(Loss::GilbertElliott(model), 100_000);
    let lost = lost.into_iter().filter(|&lost| lost).count();
    // Half of the packets meet each state, one independent of the other: 40 %, deviation 155.
    assert!(lost.abs_diff(40_000) < 620, "{lost}");
}

#[test]
fn a_link_begins_in_the_good_state() {
    let model = GilbertElliott {
        p: 1.0,
        r: 1.0,
        loss_in_bad: 1.0,
        loss_in_good: 0.0,
    };
    let (lost, _) = losses(Loss::GilbertElliott(model), 6);
    assert_eq!(lost, [false, true, false, true, false, true]);
}

#[test]
fn uniform_jitter_stays_within_its_bounds_and_reaches_them() {
    let span = Duration::from_nanos(50);
    let (delays, _) = delays(jitter(JitterLaw::Uniform, span, true), 100_000);
    assert_eq!(delays.iter().min(), Some(&499_950));
    assert_eq!(delays.iter().max(), Some(&500_050));
    // The standard error of the mean is 101 / sqrt(12 · 100 000) = 0.09 ns.
    assert!(
        (mean(&delays) - 500_000.0).abs() < 0.37,
        "{}",
        mean(&delays)
    );
}

#[test]
#[expect(clippy::cast_precision_loss, reason = "numbers far below 2^53")]
fn normal_jitter_has_its_deviation_and_ends_at_four_of_them() {
    let span = Duration::from_micros(100);
    let (delays, _) = delays(jitter(JitterLaw::Normal, span, true), 100_000);
    assert!(
        delays
            .iter()
            .all(|delay| (100_000..=900_000).contains(delay))
    );
    // Standard errors: 100 000 / sqrt(100 000) = 316 ns of the mean, 224 ns of the deviation.
    let found = mean(&delays);
    assert!((found - 500_000.0).abs() < 1_265.0, "{found}");
    let squares = delays.iter().map(|&delay| (delay as f64 - found).powi(2));
    let deviation = (squares.sum::<f64>() / delays.len() as f64).sqrt();
    assert!((deviation - 100_000.0).abs() < 900.0, "{deviation}");
    let within = delays
        .iter()
        .filter(|delay| delay.abs_diff(500_000) <= 100_000);
    // 68.27 % lie within one deviation; the standard error of the count is 147.
    assert!(within.count().abs_diff(68_269) < 589);
}

#[test]
fn a_latency_never_becomes_negative() {
    let (delays, _) = delays(jitter(JitterLaw::Uniform, LATENCY.times(3), true), 10_000);
    assert_eq!(delays.iter().min(), Some(&0));
}

#[test]
fn jitter_that_may_not_reorder_keeps_packets_first_in_first_out() {
    let span = Duration::from_micros(100);
    for may_reorder in [false, true] {
        let settings = jitter(JitterLaw::Uniform, span, may_reorder);
        let (delays, link) = delays(settings, 10_000);
        let arrivals: Vec<u64> = (0..)
            .zip(delays)
            .map(|(sent, delay)| sent + delay)
            .collect();
        assert_eq!(arrivals.is_sorted(), !may_reorder);
        assert_eq!(link.stats.overtook > 0, may_reorder);
        assert_eq!(link.stats.reordered, 0);
    }
}

#[test]
fn reorder_holds_back_every_gapth_packet_and_only_those_behind_overtake() {
    let delay = Duration::from_nanos(3);
    let settings = |probability, gap| Impairments {
        reorder: Reorder {
            probability,
            delay,
            gap,
        },
        ..Impairments::default()
    };
    let (found, link) = delays(settings(1.0, 5), 10);
    let plain = LATENCY.as_nanos();
    let late = plain + 3;
    let five = [plain, plain, plain, plain, late];
    assert_eq!(found, [five, five].concat());
    // The two behind each arrive before it, the third in the same instant; nothing is behind the last.
    assert_eq!((link.stats.reordered, link.stats.overtook), (2, 2));
    let (found, link) = delays(settings(0.25, 0), 100_000);
    let held = found.iter().filter(|&&delay| delay == late).count() as u64;
    assert_eq!(held, link.stats.reordered);
    assert_eq!(
        found.iter().filter(|&&delay| delay == plain).count() as u64,
        100_000 - held
    );
    // Four standard deviations of a binomial(100 000, 0.25) are 548.
    assert!(held.abs_diff(25_000) < 548, "{held}");
}

#[test]
fn each_packet_is_doubled_and_each_one_corrupted_with_its_probability() {
    let mut link = impaired(Impairments {
        duplicate: 0.1,
        corrupt: 0.02,
        ..Impairments::default()
    });
    let whole = packet();
    let (mut doubled, mut broken) = (0_u64, 0_u64);
    for _ in 0..100_000 {
        doubled += u64::from(link.duplicates());
        let mut packet = whole.clone();
        link.carry(&mut packet, Instant::ZERO, LATENCY, Instant::ZERO);
        broken += u64::from(packet != whole);
        assert_eq!(packet != whole, packet.fault().is_some());
    }
    assert_eq!(
        (link.stats.duplicated, link.stats.corrupted),
        (doubled, broken)
    );
    // Four standard deviations of binomials: 379 and 177.
    assert!(doubled.abs_diff(10_000) < 379, "{doubled}");
    assert!(broken.abs_diff(2_000) < 177, "{broken}");
}

#[test]
fn the_queue_tells_the_most_bytes_that_waited() {
    // A byte takes a microsecond.
    let mut link = impaired(Impairments {
        bandwidth: Some(8_000_000),
        queue_limit: Some(1_000),
        ..Impairments::default()
    });
    let at = Instant::from_nanos;
    assert_eq!(link.admit(400, at(0)), Ok(at(400_000)));
    assert_eq!(link.stats.queue_peak, 400);
    assert_eq!(link.admit(600, at(0)), Ok(at(1_000_000)));
    assert_eq!(link.stats.queue_peak, 1_000);
    assert_eq!(link.admit(1, at(0)), Err(DropReason::LinkQueueFull));
    assert_eq!(link.admit(100, at(100_000)), Ok(at(1_100_000)));
    assert_eq!((link.stats.queue_peak, link.stats.queue_full), (1_000, 1));
}

#[test]
fn a_link_that_is_down_takes_nothing_and_draws_nothing() {
    let settings = Impairments {
        loss: Loss::Random(0.5),
        ..Impairments::default()
    };
    let (lost, _) = losses(settings.loss, 20);
    let mut link = impaired(settings);
    let mut seen = Vec::new();
    for packet in 0..30 {
        link.settings.is_down = (5..15).contains(&packet);
        match link.admit(128, Instant::ZERO) {
            Err(DropReason::LinkDown) => {}
            verdict => seen.push(verdict.is_err()),
        }
    }
    assert_eq!(seen, lost);
    assert_eq!(link.stats.link_down, 10);
}
