//! From a distribution as the scenario writes it to one that can be drawn from.

use plsim_host::Distribution;
use plsim_scenario::{Drawn, Law, Quantity, Scenario};

/// Returns the distribution of a quantity, in nanoseconds or bytes.
pub(crate) fn law<T: Quantity>(scenario: &Scenario, law: &Law<T>) -> Distribution {
    let drawn = match law {
        Law::Fixed(value) => return Distribution::Fixed(value.whole()),
        Law::Drawn(drawn) => drawn,
    };
    match drawn {
        Drawn::Uniform([low, high]) => Distribution::Uniform {
            low: low.whole(),
            high: high.whole(),
        },
        Drawn::Exponential(mean) => Distribution::Exponential { mean: mean.whole() },
        Drawn::LogNormal { median, sigma } => Distribution::LogNormal {
            median: median.whole(),
            sigma: *sigma,
        },
        Drawn::Pareto {
            minimum,
            shape,
            maximum,
        } => Distribution::Pareto {
            minimum: minimum.whole(),
            shape: *shape,
            maximum: maximum.whole(),
        },
        Drawn::Empirical(values) => {
            let whole = values
                .iter()
                .map(|(value, weight)| (value.whole(), *weight));
            let mut weighted: Vec<(u64, u64)> = whole.collect();
            // The order in which they are listed means nothing.
            weighted.sort_unstable();
            empirical(&weighted)
        }
        Drawn::File(name) => empirical(scenario.rows(T::FILE, name)),
    }
}

fn empirical(weighted: &[(u64, u64)]) -> Distribution {
    Distribution::empirical(weighted).expect("broken invariant: the scenario has a weight above 0")
}
