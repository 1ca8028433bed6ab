use plsim::numbers::{counted, grouped};
use plsim_lab::{Allocation, Measurement, Occupancy, Results, Spread, Verdict, Workload};

use crate::page::{Column, Page};
use crate::terminal::{Styles, Terminal};

/// From so many columns on, each time has its spread beside it.
const WIDE: usize = 112;
/// The occupancy whose qualities are shown, if it was measured: nearly full is the normal case.
const FOCUS: Occupancy = Occupancy::Share(990_000);

/// Writes what a bench of port allocation found out for people.
pub(crate) fn ports(results: &Results, terminal: &Terminal) -> String {
    let mut page = Page::new(terminal);
    head(&mut page, results);
    for workload in results.workloads() {
        if workload.keeps_occupancy() {
            times(&mut page, results, workload);
            qualities(&mut page, results, workload);
            refusals(&mut page, results, workload);
        }
    }
    rates(&mut page, results);
    reading(&mut page, results);
    page.finish()
}

fn head(page: &mut Page, results: &Results) {
    let Styles {
        strong, dim, note, ..
    } = page.styles;
    let laboratory = &results.laboratory;
    let allocators = counted(laboratory.allocations.len() as u64, "allocator");
    page.line(&format!(
        "{strong}bench ports: {allocators} of NAT ports{strong:#}"
    ));
    let spaces = match (laboratory.nat_ips, laboratory.vms) {
        (1, 1) => "one port space, hot in the cache".to_owned(),
        (ips, vms) => format!(
            "{} x {}, port spaces visited in random order",
            counted(ips.into(), "NAT IP"),
            counted(vms.into(), "VM")
        ),
    };
    let ports = counted(laboratory.ports.into(), "port");
    page.line(&format!(
        "{dim}{spaces}, {ports} each, seed {}{dim:#}",
        laboratory.seed
    ));
    if !results.complete() {
        page.line(&format!(
            "{note}Ended early: not everything was measured.{note:#}"
        ));
    }
}

/// The allocators measured under one workload, and what each found at an occupancy.
struct Grid<'a> {
    results: &'a Results,
    workload: Workload,
    allocations: Vec<Allocation>,
}

impl<'a> Grid<'a> {
    fn new(results: &'a Results, workload: Workload) -> Self {
        let measured = |allocation: &Allocation| {
            let mut rows = results.measurements.iter();
            rows.any(|row| row.case.workload == workload && row.case.allocation == *allocation)
        };
        let all = results.laboratory.allocations.iter().copied();
        Self {
            results,
            workload,
            allocations: all.filter(measured).collect(),
        }
    }

    fn at(&self, allocation: Allocation, occupancy: Occupancy) -> Option<&'a Measurement> {
        self.results.measurements.iter().find(|row| {
            let case = &row.case;
            case.workload == self.workload
                && case.allocation == allocation
                && case.occupancy == occupancy
        })
    }

    fn occupancies(&self) -> &'a [Occupancy] {
        &self.results.laboratory.occupancies
    }

    /// The occupancy to look at closely: 99 %, or the fullest.
    fn focus(&self) -> Option<Occupancy> {
        let all = self.occupancies();
        let wanted = all.iter().find(|occupancy| **occupancy == FOCUS);
        wanted.or_else(|| all.iter().max()).copied()
    }

    fn names(&self) -> Column {
        Column::name("allocator", 0, &self.allocations, |allocation| {
            allocation.name().to_owned()
        })
    }

    fn number(
        &self,
        head: &str,
        rank: u8,
        occupancy: Occupancy,
        text: impl Fn(&Measurement) -> String,
    ) -> Column {
        Column::number(head, rank, &self.allocations, |allocation| {
            self.at(*allocation, occupancy)
                .map_or_else(String::new, &text)
        })
    }
}

fn times(page: &mut Page, results: &Results, workload: Workload) {
    let grid = Grid::new(results, workload);
    let wide = page.width >= WIDE;
    let spread = if wide {
        "; ± half the interquartile range"
    } else {
        ""
    };
    page.section(
        "Time",
        &format!(
            "{}: ns for one allocation and one release, median{spread}",
            workload.name()
        ),
    );
    let mut columns = vec![grid.names()];
    for occupancy in grid.occupancies() {
        columns.push(grid.number(&occupancy.to_string(), 0, *occupancy, |row| {
            let mark = if refuses(row) { "*" } else { "" };
            row.timing.pair.map_or_else(
                || "-".to_owned(),
                |pair| format!("{}{mark}", time(&pair, wide)),
            )
        }));
    }
    page.table(columns, grid.allocations.len());
    let of_workload = |row: &&Measurement| row.case.workload == workload;
    if results.measurements.iter().filter(of_workload).any(refuses) {
        page.line("  * at least 1 % of the attempts were refused, which takes its own time");
    }
}

fn qualities(page: &mut Page, results: &Results, workload: Workload) {
    let grid = Grid::new(results, workload);
    let Some(focus) = grid.focus() else {
        return;
    };
    page.section(
        "Qualities",
        &format!("{}, {focus} in use; reuse in allocations", workload.name()),
    );
    let dash = || "-".to_owned();
    let reuse = |row: &Measurement, which: fn(&plsim_lab::ReuseDistance) -> Option<u64>| {
        let found = row.exact.reuse.as_ref().and_then(which);
        found.map_or_else(dash, grouped)
    };
    let columns = vec![
        grid.names(),
        grid.number("probes", 0, focus, |row| {
            short(row.exact.attempts.mean_probes())
        }),
        grid.number("most", 5, focus, |row| {
            grouped(row.exact.attempts.most_probes.into())
        }),
        grid.number("reuse min", 0, focus, |row| {
            reuse(row, |reuse| reuse.minimum)
        }),
        grid.number("reuse median", 0, focus, |row| {
            reuse(row, |reuse| reuse.median)
        }),
        grid.number("guessed", 0, focus, |row| {
            let found = row.exact.prediction;
            found.map_or_else(dash, |found| share(found.guessed()))
        }),
        Column::name("by", 1, &grid.allocations, |allocation| {
            let row = grid.at(*allocation, focus);
            let found = row.and_then(|row| row.exact.prediction);
            found.map_or_else(dash, |found| match found.verdict() {
                Verdict::Chance => "chance".to_owned(),
                Verdict::BetterThanChance | Verdict::Predictable => found.guesser.name().to_owned(),
            })
        }),
        grid.number("runs z", 4, focus, |row| {
            let found = row.exact.prediction.and_then(|found| found.runs_z);
            found.map_or_else(dash, |z| format!("{z:.1}"))
        }),
        grid.number("KiB", 3, focus, |row| {
            format!("{:.1}", row.exact.memory_bytes as f64 / 1024.0)
        }),
    ];
    page.table(columns, grid.allocations.len());
}

fn refusals(page: &mut Page, results: &Results, workload: Workload) {
    let mut grid = Grid::new(results, workload);
    let refuses = |allocation: &Allocation| {
        let occupancies = grid.occupancies().iter();
        occupancies
            .filter_map(|occupancy| grid.at(*allocation, *occupancy))
            .any(|row| row.exact.attempts.gave_up > 0 || row.exact.used < row.exact.wanted)
    };
    let refusing: Vec<Allocation> = grid.allocations.iter().copied().filter(refuses).collect();
    let others = grid.allocations.len() - refusing.len();
    grid.allocations = refusing;
    page.section(
        "Refused while ports were free",
        &format!("{}: share of the attempts", workload.name()),
    );
    if !grid.allocations.is_empty() {
        let mut columns = vec![grid.names()];
        for occupancy in grid.occupancies() {
            columns.push(grid.number(&occupancy.to_string(), 0, *occupancy, |row| {
                let mark = if row.exact.used < row.exact.wanted {
                    "*"
                } else {
                    ""
                };
                match row.exact.attempts.gave_up {
                    0 => format!("-{mark}"),
                    _ => format!("{}{mark}", share(row.exact.attempts.gave_up_share())),
                }
            }));
        }
        page.table(columns, grid.allocations.len());
    }
    let starved = grid
        .results
        .measurements
        .iter()
        .any(|row| row.case.workload == workload && row.exact.used < row.exact.wanted);
    if starved {
        page.line(
            "  * gave no more ports before the occupancy was reached; measured where it ended",
        );
    }
    if others > 0 {
        let noun = if others == 1 {
            "allocator"
        } else {
            "allocators"
        };
        page.line(&format!("  none by {others} {noun}"));
    }
}

/// Where everything fills up and empties: the allocator alone, and in a whole NAT.
fn rates(page: &mut Page, results: &Results) {
    let alone = (Workload::Fill, Workload::Drain);
    let remark = "the allocator's share only; RFC 9693's words";
    rates_of(page, results, "Fill and drain", remark, alone);
    let remark = "three packets, tables and timers included; one NAT IP, one VM; RFC 9693's words";
    let whole = (Workload::Nat, Workload::Nat);
    rates_of(page, results, "In a whole NAT", remark, whole);
}

fn rates_of(
    page: &mut Page,
    results: &Results,
    title: &str,
    remark: &str,
    workloads: (Workload, Workload),
) {
    let find = |allocation: Allocation, workload: Workload| {
        let mut rows = results.measurements.iter();
        rows.find(|row| row.case.workload == workload && row.case.allocation == allocation)
    };
    let coming = |row: &Allocation| find(*row, workloads.0);
    let going = |row: &Allocation| find(*row, workloads.1);
    let all = results.laboratory.allocations.iter().copied();
    let rows: Vec<Allocation> = all
        .filter(|row| coming(row).or_else(|| going(row)).is_some())
        .collect();
    if rows.is_empty() {
        return;
    }
    page.section(title, remark);
    let dash = || "-".to_owned();
    let columns = vec![
        Column::name("allocator", 0, &rows, |row| row.name().to_owned()),
        Column::number("table capacity", 0, &rows, |row| {
            let found = coming(row).and_then(|row| row.exact.first_refusal);
            found.map_or_else(dash, |ports| grouped(ports.into()))
        }),
        Column::number("max establishment rate", 0, &rows, |row| {
            let found = coming(row).and_then(|row| row.timing.allocate);
            found.as_ref().map_or_else(dash, millions)
        }),
        Column::number("tear-down rate", 0, &rows, |row| {
            let found = going(row).and_then(|row| row.timing.release);
            found.as_ref().map_or_else(dash, millions)
        }),
    ];
    let shown = rows.len();
    page.table(columns, shown);
}

/// Says in words what stands out.
fn reading(page: &mut Page, results: &Results) {
    let Some(workload) = results
        .workloads()
        .into_iter()
        .find(|workload| workload.keeps_occupancy())
    else {
        return;
    };
    let grid = Grid::new(results, workload);
    let sentences = [slowed(&grid), refused(&grid), guessed(&grid)];
    let mut sentences = sentences.into_iter().flatten().peekable();
    if sentences.peek().is_none() {
        return;
    }
    page.section("What to read off it", "");
    let Styles { note, .. } = page.styles;
    for sentence in sentences {
        page.wrapped(&format!("{note}!{note:#} "), &sentence);
    }
}

/// The allocator that slows down the most as ports run out, beside the one that does least.
fn slowed(grid: &Grid<'_>) -> Option<String> {
    let (emptiest, fullest) = (
        *grid.occupancies().iter().min()?,
        *grid.occupancies().iter().max()?,
    );
    let slowdowns: Vec<(f64, Allocation, f64, f64)> = grid
        .allocations
        .iter()
        .filter_map(|allocation| {
            let nanos = |at| Some(grid.at(*allocation, at)?.timing.pair?.median);
            let (early, late) = (nanos(emptiest)?, nanos(fullest)?);
            (early > 0.0).then_some((late / early, *allocation, early, late))
        })
        .collect();
    // Who refuses is soon done.
    let refuses = |allocation: Allocation| {
        grid.at(allocation, fullest)
            .is_some_and(|row| row.exact.attempts.gave_up > 0)
    };
    let by_factor = |one: &&(f64, Allocation, f64, f64), other: &&(f64, Allocation, f64, f64)| {
        one.0.total_cmp(&other.0)
    };
    let (factor, worst, early, late) = slowdowns.iter().max_by(by_factor)?;
    let (_, best, from, to) = slowdowns
        .iter()
        .filter(|slowdown| !refuses(slowdown.1))
        .min_by(by_factor)?;
    if worst == best || *factor < 2.0 {
        return None;
    }
    Some(format!(
        "From {emptiest} to {}{fullest}, {} slows down {} times, from {} to {} ns; {} goes from {} to \
         {} ns.",
        match fullest {
            Occupancy::LastPort => "the ",
            Occupancy::Share(_) => "",
        },
        worst.name(),
        short(*factor),
        short(*early),
        short(*late),
        best.name(),
        short(*from),
        short(*to)
    ))
}

/// The allocator that refuses most at the focus.
fn refused(grid: &Grid<'_>) -> Option<String> {
    let focus = grid.focus()?;
    let rows = grid
        .allocations
        .iter()
        .filter_map(|allocation| grid.at(*allocation, focus));
    let worst = rows.max_by(|one, other| {
        let share = |row: &Measurement| row.exact.attempts.gave_up_share();
        share(one).total_cmp(&share(other))
    })?;
    let attempts = &worst.exact.attempts;
    (attempts.gave_up > 0).then(|| {
        format!(
            "At {focus} in use, {} refused {} of the connections although {} were free.",
            worst.case.allocation.name(),
            share(attempts.gave_up_share()),
            counted(u64::from(worst.case.ports - worst.exact.used), "port")
        )
    })
}

/// The allocators whose next port is known at least every second time.
fn guessed(grid: &Grid<'_>) -> Option<String> {
    let focus = grid.focus()?;
    let names: Vec<&str> = grid
        .allocations
        .iter()
        .filter(|allocation| {
            let row = grid.at(**allocation, focus);
            let found = row.and_then(|row| row.exact.prediction);
            found.is_some_and(|found| found.verdict() == Verdict::Predictable)
        })
        .map(|allocation| allocation.name())
        .collect();
    (!names.is_empty()).then(|| {
        format!(
            "Who sees all ports come and go knows the next one at least every second time with {}.",
            names.join(", ")
        )
    })
}

/// Tells whether enough attempts failed while ports were free to count in a median.
fn refuses(row: &Measurement) -> bool {
    row.exact.attempts.gave_up_share() >= 0.01
}

fn time(spread: &Spread, wide: bool) -> String {
    if !wide {
        return short(spread.median);
    }
    let half = (spread.high - spread.low) / 2.0;
    let half = match spread.median {
        ..99.95 => short(half),
        _ => grouped(half.round() as u64),
    };
    format!("{} ±{half}", short(spread.median))
}

/// Writes a number with what the eye can use: a decimal below a hundred, then groups of three.
fn short(value: f64) -> String {
    if value < 99.95 {
        format!("{value:.1}")
    } else {
        grouped(value.round() as u64)
    }
}

fn share(share: f64) -> String {
    match share * 100.0 {
        0.0 => "0 %".to_owned(),
        ..0.01 => "<0.01 %".to_owned(),
        percent @ 0.01..1.0 => format!("{percent:.2} %"),
        percent => format!("{percent:.1} %"),
    }
}

fn millions(spread: &Spread) -> String {
    format!("{:.1} M/s", spread.per_second() / 1e6)
}

#[cfg(test)]
mod tests {
    use super::{share, short};

    #[test]
    fn numbers_have_the_digits_that_count() {
        let texts = [0.04, 7.26, 99.94, 99.96, 15_700.4].map(short);
        assert_eq!(texts, ["0.0", "7.3", "99.9", "100", "15 700"]);
        let texts = [0.0, 0.000_05, 0.000_15, 0.128, 1.0].map(share);
        assert_eq!(texts, ["0 %", "<0.01 %", "0.01 %", "12.8 %", "100.0 %"]);
    }
}
