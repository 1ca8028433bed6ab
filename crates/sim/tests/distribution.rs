//! Distributions against their own theory, and against themselves for good.

use plsim_sim::{Distribution, Stream};

const SECOND: u64 = 1_000_000_000;
const HOUR: u64 = 3_600 * SECOND;
const DRAWS: usize = 100_000;

fn laws() -> Vec<(&'static str, Distribution)> {
    let pareto = |shape, maximum| Distribution::Pareto {
        minimum: SECOND,
        shape,
        maximum,
    };
    let log_normal = |sigma| Distribution::LogNormal {
        median: 2 * SECOND,
        sigma,
    };
    let weighted = [(10 * SECOND, 1), (SECOND, 3), (2 * SECOND, 0), (HOUR, 1)];
    vec![
        ("fixed", Distribution::Fixed(7)),
        (
            "uniform",
            Distribution::Uniform {
                low: SECOND,
                high: 3 * SECOND,
            },
        ),
        (
            "exponential",
            Distribution::Exponential { mean: 2 * SECOND },
        ),
        ("log-normal", log_normal(1.0)),
        ("narrow log-normal", log_normal(0.1)),
        ("pareto", pareto(1.5, HOUR)),
        ("pareto with shape 1", pareto(1.0, HOUR)),
        ("heavy pareto", pareto(0.5, HOUR)),
        (
            "empirical",
            Distribution::empirical(&weighted).expect("weights"),
        ),
    ]
}

fn drawn(law: &Distribution, seed: u64, count: usize) -> Vec<u64> {
    let mut random = Stream::new(seed, "test", "distribution");
    (0..count).map(|_| law.draw(&mut random)).collect()
}

/// The probability of a value up to `x`, from the law's own formula.
fn below(law: &Distribution, x: f64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a test of statistics")]
    let real = |value: u64| value as f64;
    match law {
        Distribution::Uniform { low, high } => (x - real(*low)) / (real(*high) - real(*low)),
        Distribution::Exponential { mean } => 1.0 - (-x / real(*mean)).exp(),
        Distribution::LogNormal { median, sigma } => {
            let z = (x / real(*median)).ln() / sigma;
            0.5 * libm::erfc(-z / core::f64::consts::SQRT_2)
        }
        Distribution::Pareto {
            minimum,
            shape,
            maximum,
        } => {
            let beyond = |x: f64| (real(*minimum) / x).powf(*shape);
            (1.0 - beyond(x)) / (1.0 - beyond(real(*maximum)))
        }
        Distribution::Fixed(_) | Distribution::Empirical(_) => panic!("this law has steps"),
    }
}

/// Kolmogorov-Smirnov: the largest distance between what was drawn and the law, times the root of
/// the number of draws, is above 1.95 with a probability of 0.001.
#[test]
fn what_is_drawn_follows_the_law() {
    for (name, law) in laws() {
        if matches!(law, Distribution::Fixed(_) | Distribution::Empirical(_)) {
            continue;
        }
        let mut values = drawn(&law, 1, DRAWS);
        values.sort_unstable();
        let mut distance = 0.0_f64;
        #[expect(clippy::cast_precision_loss, reason = "a test of statistics")]
        for (rank, value) in values.iter().enumerate() {
            let (share, probability) = (rank as f64 / DRAWS as f64, below(&law, *value as f64));
            let next = (rank + 1) as f64 / DRAWS as f64;
            distance = distance.max((share - probability).abs());
            distance = distance.max((next - probability).abs());
        }
        #[expect(clippy::cast_precision_loss, reason = "a test of statistics")]
        let statistic = distance * (DRAWS as f64).sqrt();
        assert!(statistic < 1.95, "{name}: {statistic}");
    }
}

#[test]
fn the_mean_of_what_is_drawn_is_the_mean_of_the_law() {
    for (name, law) in laws() {
        #[expect(clippy::cast_precision_loss, reason = "a test of statistics")]
        let values: Vec<f64> = drawn(&law, 2, DRAWS).iter().map(|&v| v as f64).collect();
        #[expect(clippy::cast_precision_loss, reason = "a test of statistics")]
        let count = DRAWS as f64;
        let mean = values.iter().sum::<f64>() / count;
        let spread = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / count;
        let four_sigma = 4.0 * (spread / count).sqrt();
        let wanted = law.mean();
        assert!(
            (mean - wanted).abs() <= four_sigma,
            "{name}: {mean} {wanted}"
        );
    }
}

#[test]
fn weights_are_shares_and_a_weight_of_zero_is_never_drawn() {
    let law = Distribution::empirical(&[(10, 1), (20, 0), (30, 3)]).expect("weights");
    let values = drawn(&law, 3, 40_000);
    let tens = values.iter().filter(|value| **value == 10).count();
    // Binomial with a standard deviation of 87; four of them are allowed.
    assert!(tens.abs_diff(10_000) < 348, "{tens}");
    assert!(!values.contains(&20));
    assert_eq!(Distribution::empirical(&[(10, 0)]), None);
    assert_eq!(Distribution::empirical(&[(1, u64::MAX), (2, 1)]), None);
}

/// P(k) = k^-s / H(n, s).
#[test]
fn zipf_gives_the_first_ones_most() {
    let shares = |exponent: f64| {
        let law = Distribution::zipf(4, exponent).expect("a law");
        let mut counts = [0_u32; 4];
        for number in drawn(&law, 7, 100_000) {
            counts[number as usize] += 1;
        }
        counts.map(|count| f64::from(count) / 100_000.0)
    };
    let expected = |exponent: f64| {
        let weights = [1.0, 2.0, 3.0, 4.0].map(|rank: f64| rank.powf(-exponent));
        weights.map(|weight| weight / weights.iter().sum::<f64>())
    };
    for exponent in [0.0, 0.8, 1.0, 2.5] {
        for (share, expected) in shares(exponent).into_iter().zip(expected(exponent)) {
            // Four standard deviations of a share in 100 000 draws at most.
            assert!(
                (share - expected).abs() < 0.0064,
                "{exponent}: {share} {expected}"
            );
        }
    }
    assert_eq!(Distribution::zipf(0, 1.0), None);
    assert_eq!(Distribution::zipf(1_000_001, 1.0), None);
    assert_eq!(Distribution::zipf(2, -0.1), None);
    assert_eq!(Distribution::zipf(2, f64::NAN), None);
    let all = Distribution::zipf(1_000_000, 10.0).expect("a law");
    assert_eq!(all.range(), (0, 999_999), "even the last one can be drawn");
}

#[test]
fn nothing_is_drawn_outside_the_range_of_the_law() {
    let mut laws = laws();
    let extreme = |minimum, shape, maximum| Distribution::Pareto {
        minimum,
        shape,
        maximum,
    };
    laws.push((
        "all",
        Distribution::Uniform {
            low: 0,
            high: u64::MAX,
        },
    ));
    laws.push(("one", Distribution::Uniform { low: 9, high: 9 }));
    laws.push(("steep", extreme(1, 100.0, u64::MAX)));
    laws.push(("flat", extreme(1, 0.01, u64::MAX)));
    laws.push(("point", extreme(5, 1.5, 5)));
    for (name, law) in laws {
        law.check();
        let (low, high) = law.range();
        let values = drawn(&law, 4, 10_000);
        assert!(values.iter().all(|v| (low..=high).contains(v)), "{name}");
        assert!(law.mean().is_finite(), "{name}");
    }
}

#[test]
fn what_is_too_large_saturates() {
    let wild = Distribution::LogNormal {
        median: 1 << 60,
        sigma: 10.0,
    };
    let values = drawn(&wild, 5, 1_000);
    assert!(values.contains(&u64::MAX) && values.iter().any(|value| *value < 1 << 50));
    let none = Distribution::Exponential { mean: 0 };
    assert_eq!(drawn(&none, 5, 3), [0, 0, 0]);
    assert_eq!(none.range(), (0, 0));
}

#[test]
fn a_fixed_value_takes_nothing_from_the_stream() {
    let mut random = Stream::new(1, "test", "fixed");
    let untouched = random.clone().bits();
    assert_eq!(Distribution::Fixed(5).draw(&mut random), 5);
    assert_eq!(random.bits(), untouched);
}

/// The mean of a truncated Pareto law is an integral with a hole at shape 1: both sides of it and
/// the hole itself agree.
#[test]
fn the_mean_of_a_pareto_law_is_smooth_at_shape_one() {
    let mean = |shape| {
        let (minimum, maximum) = (1_000, 1_000_000);
        let law = Distribution::Pareto {
            minimum,
            shape,
            maximum,
        };
        law.mean()
    };
    // 1000 ln(1000) / (1 - 1/1000)
    assert!((mean(1.0) - 6_914.669_948_96).abs() < 1e-6, "{}", mean(1.0));
    assert!((mean(1.0 + 1e-9) - mean(1.0)).abs() < 1e-3);
    assert!((mean(1.0 - 1e-9) - mean(1.0)).abs() < 1e-3);
    // 3 * 1000 / 2, less the tail beyond the maximum, a millionth of the whole.
    assert!((mean(3.0) - 1_499.998_5).abs() < 1e-3, "{}", mean(3.0));
}

#[test]
fn the_values_are_fixed_for_good() {
    let golden: Vec<(&str, Vec<u64>)> = laws()
        .into_iter()
        .map(|(name, law)| (name, drawn(&law, 1, 3)))
        .collect();
    let expected: [(&str, [u64; 3]); 9] = [
        ("fixed", [7, 7, 7]),
        ("uniform", [2_230_589_026, 2_363_320_781, 1_498_207_801]),
        ("exponential", [1_910_554_411, 2_289_273_024, 572_975_973]),
        ("log-normal", [1_124_909_547, 2_955_981_189, 403_033_027]),
        (
            "narrow log-normal",
            [1_888_159_841, 2_079_683_100, 1_703_966_529],
        ),
        ("pareto", [1_890_509_811, 2_144_881_699, 1_210_448_518]),
        (
            "pareto with shape 1",
            [2_598_236_717, 3_139_431_974, 1_331_619_459],
        ),
        (
            "heavy pareto",
            [6_410_514_711, 9_199_420_764, 1_754_086_764],
        ),
        ("empirical", [1_000_000_000; 3]),
    ];
    let expected = expected.map(|(name, values)| (name, values.to_vec()));
    assert_eq!(
        golden, expected,
        "seeded results of every user would change"
    );
}
