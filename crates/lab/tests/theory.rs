//! What a laboratory counts, against what can be known beforehand.

use plsim_lab::{
    Allocation, Case, Effort, Exact, Guesser, Laboratory, Occupancy, Results, Verdict, Workload,
};

const SMALL: Effort = Effort {
    samples: 3,
    connections: 50,
    judged: 2_000,
    probes: 20_000_000,
};

fn case(name: &str, workload: Workload, occupancy: &str) -> Case {
    Case {
        allocation: Allocation::from_name(name).expect("the name is known"),
        workload,
        occupancy: Occupancy::from_text(occupancy).expect("the occupancy is valid"),
        spaces: 1,
        ports: 4_096,
        seed: 1,
        effort: SMALL,
    }
}

/// A clock that moves by this many nanoseconds whenever it is read.
fn ticking(step: u64) -> impl FnMut() -> u64 {
    let mut now = 0;
    move || {
        now += step;
        now
    }
}

fn exact(name: &str, workload: Workload, occupancy: &str) -> Exact {
    case(name, workload, occupancy)
        .measure(&mut ticking(1))
        .exact
}

#[test]
fn a_queue_returns_ports_after_exactly_as_many_allocations_as_ports_are_free() {
    for (occupancy, free) in [("0", 4_096), ("50", 2_048), ("99", 41), ("last", 1)] {
        for workload in [Workload::RandomChurn, Workload::FifoChurn] {
            let reuse = exact("fifo", workload, occupancy).reuse.unwrap();
            assert_eq!((reuse.minimum, reuse.median), (Some(free), Some(free)));
        }
    }
}

#[test]
fn a_stack_returns_a_port_at_once() {
    let found = exact("lifo", Workload::RandomChurn, "90");
    let reuse = found.reuse.unwrap();
    assert_eq!((reuse.minimum, reuse.median), (Some(1), Some(1)));
    let prediction = found.prediction.unwrap();
    assert_eq!(prediction.guesser, Guesser::NewestFree);
    assert_eq!(prediction.hits, prediction.judged);
}

/// A uniform choice among f free ports waits geometrically: half come back within
/// ln 2 / -ln(1 - 1/f) allocations.
#[test]
fn a_uniform_choice_returns_ports_after_a_geometric_wait() {
    let reuse = exact("uniform", Workload::RandomChurn, "90").reuse.unwrap();
    let free = 410.0_f64;
    let theory = std::f64::consts::LN_2 / -(1.0 - 1.0 / free).ln();
    let median = reuse.median.unwrap() as f64;
    // About 1 800 waits: the median's standard error is near 410 / sqrt(1 800) = 10.
    assert!((median - theory).abs() < 40.0, "{median} against {theory}");
}

#[test]
fn sequences_are_predictable_and_a_uniform_choice_is_not() {
    let sequential = exact("sequential", Workload::RandomChurn, "50")
        .prediction
        .unwrap();
    assert_eq!(sequential.verdict(), Verdict::Predictable);
    assert!(sequential.guessed() > 0.99, "{sequential:?}");
    assert!(sequential.runs_z.unwrap() < -20.0, "{sequential:?}");
    let uniform = exact("uniform", Workload::RandomChurn, "50")
        .prediction
        .unwrap();
    assert_eq!(uniform.verdict(), Verdict::Chance, "{uniform:?}");
    assert!(uniform.guessed() < 0.01, "{uniform:?}");
    assert!(uniform.runs_z.unwrap().abs() < 4.0, "{uniform:?}");
    let fifo = exact("fifo", Workload::RandomChurn, "50")
        .prediction
        .unwrap();
    assert_eq!(fifo.guesser, Guesser::OldestFree);
    assert_eq!(fifo.hits, fifo.judged);
}

/// Tries with replacement need ports / free of them on average.
#[test]
fn random_tries_cost_what_probability_says() {
    for (occupancy, theory) in [("50", 2.0), ("90", 4_096.0 / 410.0), ("99", 4_096.0 / 41.0)] {
        let attempts = exact("rfc6056-2", Workload::RandomChurn, occupancy).attempts;
        let mean = attempts.mean_probes();
        // Geometric: the standard error is the mean over the root of at least 2 000.
        assert!((mean / theory - 1.0).abs() < 0.1, "{mean} against {theory}");
    }
}

#[test]
fn only_who_may_give_up_gives_up() {
    for allocation in Allocation::ALL {
        for occupancy in ["0", "99", "last"] {
            let found = exact(allocation.name(), Workload::RandomChurn, occupancy);
            let attempts = found.attempts;
            assert_eq!(
                attempts.made,
                attempts.allocated + attempts.full + attempts.gave_up
            );
            if allocation.never_gives_up() {
                assert_eq!((attempts.gave_up, attempts.full), (0, 0), "{allocation:?}");
                assert_eq!(found.used, found.wanted, "{allocation:?}");
            }
        }
    }
    let fill = exact("bitmap", Workload::Fill, "0");
    assert_eq!(fill.first_refusal, Some(4_096));
    assert_eq!((fill.attempts.allocated, fill.attempts.full), (4_096, 1));
}

/// All used ports side by side: a scan from a random start walks used² / 2P on average, the bitmap
/// with a summary looks at a handful of words.
#[test]
fn an_adversary_slows_the_scan_and_not_the_bitmap() {
    let scan = exact("rfc6056-1", Workload::Adversarial, "50")
        .attempts
        .mean_probes();
    let theory = 2_048.0 * 2_048.0 / (2.0 * 4_096.0);
    assert!((scan / theory - 1.0).abs() < 0.1, "{scan} against {theory}");
    let random = exact("rfc6056-1", Workload::RandomChurn, "50")
        .attempts
        .mean_probes();
    assert!(scan > 50.0 * random, "{scan} against {random}");
    let bitmap = exact("bitmap", Workload::Adversarial, "50").attempts;
    assert!(bitmap.most_probes <= 10, "{bitmap:?}");
}

#[test]
fn the_clock_changes_nothing_but_the_timing() {
    let case = case("rfc6056-3", Workload::RandomChurn, "90");
    let (slow, fast) = (
        case.measure(&mut ticking(5_000)),
        case.measure(&mut ticking(1)),
    );
    assert_eq!(slow.exact, fast.exact);
    // Each sample reads the clock twice, one tick apart, for 50 connections.
    assert_eq!(slow.timing.pair.unwrap().median, 100.0);
    assert_eq!(fast.timing.pair.unwrap().median, 0.02);
    // 256 releases are timed together.
    assert_eq!(slow.timing.release.unwrap().median, 5_000.0 / 256.0);
    assert_eq!(
        slow.timing.allocate.unwrap().median,
        100.0 - 5_000.0 / 256.0
    );
    let other = Case { seed: 2, ..case };
    assert_ne!(other.measure(&mut ticking(1)).exact, fast.exact);
}

/// Spaces of a few ports, in which every corner is near.
#[test]
fn tiny_spaces_are_measured_like_others() {
    let effort = Effort {
        samples: 2,
        connections: 20,
        judged: 100,
        probes: 10_000,
    };
    for ports in [1, 2, 3, 8] {
        let laboratory = Laboratory {
            allocations: Allocation::ALL.to_vec(),
            occupancies: vec![
                Occupancy::Share(0),
                Occupancy::Share(500_000),
                Occupancy::LastPort,
            ],
            workloads: Workload::ALL.to_vec(),
            nat_ips: 1,
            vms: 2,
            ports,
            seed: 3,
            effort,
        };
        for case in laboratory.cases() {
            let found = case.measure(&mut ticking(1)).exact;
            assert!(found.used <= found.wanted, "{case:?}: {found:?}");
            assert!(found.wanted <= ports, "{case:?}: {found:?}");
        }
    }
}

#[test]
fn results_are_valid_json_csv_and_svg() {
    let laboratory = Laboratory {
        allocations: vec![Allocation::Bitmap, Allocation::Linux],
        occupancies: vec![Occupancy::Share(0), Occupancy::LastPort],
        workloads: Workload::ALL.to_vec(),
        nat_ips: 2,
        vms: 3,
        ports: 256,
        seed: 7,
        effort: SMALL,
    };
    let cases = laboratory.cases();
    // Three workloads at two occupancies, three that pass through all.
    assert_eq!(cases.len(), 2 * (3 * 2 + 3));
    let measurements: Vec<_> = cases
        .iter()
        .map(|case| case.measure(&mut ticking(9)))
        .collect();
    assert_eq!(measurements[0].timing.spaces, 6);
    let results = Results {
        plsim_version: "0".to_owned(),
        laboratory,
        measurements,
    };
    assert!(results.complete());
    let csv = results.to_csv();
    let columns = csv.lines().map(|line| line.split(',').count());
    assert_eq!(columns.clone().count(), 19);
    assert!(
        columns.min() == columns_of_head(&csv) && !csv.contains('"'),
        "{csv}"
    );
    let svg = results.to_svg().unwrap();
    assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
    for element in ["g", "text", "title", "desc"] {
        let opened = svg.matches(&format!("<{element}>")).count()
            + svg.matches(&format!("<{element} ")).count();
        assert_eq!(
            opened,
            svg.matches(&format!("</{element}>")).count(),
            "{element}"
        );
    }
    assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
}

fn columns_of_head(csv: &str) -> Option<usize> {
    Some(csv.lines().next()?.split(',').count())
}
