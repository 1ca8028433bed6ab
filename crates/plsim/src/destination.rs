//! Where the connections of a workload go.

use std::net::{Ipv4Addr, SocketAddrV4};

use plsim_host::{Destinations, Distribution};
use plsim_scenario::{Destination, Scenario, Skew, Workload};

use crate::layout::{Layout, endpoint_named, frontend_place};

/// Returns what a workload dials, and how often each.
pub(crate) fn destinations(
    scenario: &Scenario,
    layout: &Layout,
    workload: &Workload,
) -> Destinations {
    let all = workload.destinations();
    let sockets = all.map(|(_, destination)| {
        SocketAddrV4::new(address(scenario, layout, destination), workload.port)
    });
    let sockets: Vec<_> = sockets.collect();
    Destinations {
        choice: choice(sockets.len() as u64, workload.skew.as_ref()),
        sockets,
    }
}

fn choice(count: u64, skew: Option<&Skew>) -> Distribution {
    if count == 1 {
        return Distribution::Fixed(0);
    }
    let drawn = match skew.unwrap_or(&Skew::Uniform) {
        Skew::Uniform => Some(Distribution::Uniform {
            low: 0,
            high: count - 1,
        }),
        Skew::Zipf(law) => Distribution::zipf(count, law.exponent),
        Skew::Weights(weights) => {
            let weights = weights.iter().map(|&weight| u64::from(weight));
            Distribution::empirical(&(0..).zip(weights).collect::<Vec<_>>())
        }
    };
    drawn.expect("broken invariant: rule PL151")
}

fn address(scenario: &Scenario, layout: &Layout, destination: Destination<'_>) -> Ipv4Addr {
    match destination {
        Destination::PrivateEndpoint(name) => {
            layout.endpoints[endpoint_named(scenario, name)].address
        }
        Destination::Frontend(path) => {
            let (balancer, frontend) = frontend_place(scenario, path);
            layout.frontends[balancer][frontend]
        }
    }
}
