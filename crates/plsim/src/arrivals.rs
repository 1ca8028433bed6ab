//! When connections start: from the scenario's words to the workload's process, and to a sentence.

use std::collections::BTreeMap;

use plsim_host::{Arrival, Curve, Rate};
use plsim_scenario as file;
use plsim_scenario::{FileKind, Name, RateCurve, Scenario, Workload};
use plsim_types::Duration;

use crate::numbers::{counted, grouped, rounded};

pub(crate) fn arrival(scenario: &Scenario, arrival: &file::Arrival) -> Arrival {
    match arrival {
        file::Arrival::Constant => Arrival::Constant,
        file::Arrival::Poisson => Arrival::Poisson,
        file::Arrival::AtOnce => Arrival::AtOnce,
        file::Arrival::Bursts(bursts) => Arrival::Bursts {
            size: bursts.size.0,
            every: bursts.every.0,
            spread: bursts.spread.0,
        },
        file::Arrival::File(name) => Arrival::Times(scenario.rows(FileKind::Starts, name).into()),
    }
}

/// Returns the rate that a curve is about: that at the end of a ramp, or the peak of a day.
pub(crate) fn rate(rate: &RateCurve) -> Rate {
    match rate {
        RateCurve::Flat(rate) => whole(*rate),
        RateCurve::Varying(file::Curve::Ramp { to, .. }) => whole(*to),
        RateCurve::Varying(file::Curve::Diurnal { peak, .. }) => whole(*peak),
    }
}

pub(crate) fn curve(rate: Option<&RateCurve>) -> Curve {
    match rate {
        None | Some(RateCurve::Flat(_)) => Curve::Flat,
        Some(RateCurve::Varying(file::Curve::Ramp { from, over, .. })) => Curve::Ramp {
            from: from.map(whole),
            over: over.0,
        },
        Some(RateCurve::Varying(day @ file::Curve::Diurnal { time_of_day, .. })) => Curve::Day {
            hours: day.hours(),
            time_of_day: time_of_day.0,
        },
    }
}

const fn whole(rate: file::Rate) -> Rate {
    Rate {
        count: rate.count(),
        per: rate.per(),
    }
}

/// Says of each workload what its profile has filled in, how many connections it starts, where that is
/// known, and the means of what it draws.
#[must_use]
pub fn plans(scenario: &Scenario) -> Vec<String> {
    let mut lines = Vec::new();
    let mut copies: BTreeMap<&Name, (u64, u64)> = BTreeMap::new();
    for workload in &scenario.workload {
        let (copies, connections) = copies.entry(&workload.name).or_default();
        *copies += 1;
        *connections += scenario.planned_connections(workload).unwrap_or(0);
    }
    let workloads = scenario.workload.iter().enumerate();
    for (number, workload) in workloads.filter(|(_, workload)| workload.copy() == 0) {
        if let Some(filled) = scenario.filled(number) {
            let keys = match filled.keys.as_slice() {
                [] => "nothing: all is written".to_owned(),
                keys => keys.join(", "),
            };
            let (name, profile) = (&workload.name, &filled.profile);
            lines.push(format!("workload {name}: profile {profile} says {keys}"));
        }
        if scenario.planned_connections(workload).is_some() {
            lines.push(plan(scenario, workload, copies[&workload.name]));
        }
        lines.extend(means(scenario, workload));
    }
    lines
}

/// Says how many connections the copies of a workload start: (copies, connections).
fn plan(scenario: &Scenario, workload: &Workload, (copies, planned): (u64, u64)) -> String {
    let stop = workload.stop.map_or(scenario.run.duration, |stop| stop).0;
    let (start, stop) = (workload.start.0, stop.min(scenario.run.duration.0));
    let when = match &workload.arrival {
        file::Arrival::AtOnce => format!("at once, at {start}"),
        file::Arrival::Bursts(bursts) => format!(
            "in bursts of {} every {}, from {start} to {stop}",
            grouped(bursts.size.0),
            bursts.every.0
        ),
        file::Arrival::File(name) => {
            let rows = scenario.rows(FileKind::Starts, name).iter();
            let most = rows.map(|(_, count)| *count).max().unwrap_or_default();
            let together = match most {
                0 | 1 => String::new(),
                most => format!(
                    "; those of a line start at the same instant, {} at most",
                    grouped(most)
                ),
            };
            format!("at the times in {name}, from {start} to {stop}{together}")
        }
        file::Arrival::Constant | file::Arrival::Poisson => {
            format!("from {start} to {stop}{}", shape(workload.rate.as_ref()))
        }
    };
    let about = match workload.arrival {
        file::Arrival::Poisson => "about ",
        _ => "",
    };
    let connections = counted(planned, "connection");
    let copies = match copies {
        1 => String::new(),
        copies => format!(" ({} copies)", grouped(copies)),
    };
    format!(
        "workload {}{copies}: starts {about}{connections}, {when}",
        workload.name
    )
}

/// Says what the times of a workload are on average that are drawn.
fn means(scenario: &Scenario, workload: &Workload) -> Option<String> {
    let laws = [
        ("hold", Some(&workload.hold)),
        ("interval", workload.interval.as_ref()),
        ("service_time", Some(&workload.service_time)),
        ("think_time", workload.think_time.as_ref()),
    ];
    let drawn = laws.into_iter().filter_map(|(key, law)| match law? {
        file::Law::Fixed(_) => None,
        law @ file::Law::Drawn(_) => {
            let mean = rounded(scenario.typical(law));
            Some(format!("{key} is {mean} on average"))
        }
    });
    let drawn: Vec<String> = drawn.collect();
    (!drawn.is_empty()).then(|| format!("workload {}: {}", workload.name, drawn.join(", ")))
}

/// Says how a rate changes.
fn shape(rate: Option<&RateCurve>) -> String {
    let rate_or_zero = |rate: Option<file::Rate>| rate.map_or("0/s".to_owned(), |r| r.to_string());
    match rate {
        None | Some(RateCurve::Flat(_)) => String::new(),
        Some(RateCurve::Varying(file::Curve::Ramp { from, to, over })) => {
            let from = rate_or_zero(*from);
            format!("; the rate goes from {from} to {to} in {}", over.0)
        }
        Some(RateCurve::Varying(
            day @ file::Curve::Diurnal {
                peak, time_of_day, ..
            },
        )) => {
            let hours = day.hours();
            let busiest = hours
                .iter()
                .enumerate()
                .max_by_key(|(at, share)| (**share, usize::MAX - at));
            let hour = busiest.map_or(0, |(hour, _)| hour);
            let begins = match time_of_day.0 {
                Duration::ZERO => String::new(),
                begins => format!(", begun {begins} after midnight"),
            };
            format!(
                "; a day with {peak} at most, from {hour} h to {} h{begins}",
                hour + 1
            )
        }
    }
}
