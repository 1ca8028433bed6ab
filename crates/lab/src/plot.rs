use std::fmt::Write as _;

use crate::case::Measurement;
use crate::results::Results;
use crate::workload::Workload;

/// The panels: a title, and the names or beginnings of names that belong there; the last takes all
/// others.
const PANELS: [(&str, &[&str]); 3] = [
    (
        "A free port without a search",
        &["bitmap", "fifo", "lifo", "uniform"],
    ),
    ("RFC 6056", &["rfc6056"]),
    ("What other NATs do", &[""]),
];
/// The curve that every panel shows for comparison.
const ANCHOR: &str = "bitmap";
/// Okabe and Ito's colours, which the colour-blind can tell apart.
const COLOURS: [&str; 7] = [
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#333333",
];
const DASHES: [&str; 7] = ["none", "7 3", "2 3", "9 3 2 3", "none", "5 2", "2 2"];

const PANEL: (f64, f64) = (300.0, 380.0);
/// Left for the labels of the y axis, between panels for the names of the curves.
const LEFT: f64 = 78.0;
const NAMES: f64 = 128.0;
const TOP: f64 = 96.0;
const BOTTOM: f64 = 104.0;
/// The least distance of two names of curves.
const LINE: f64 = 16.0;

/// One allocator's points, from left to right.
struct Curve<'a> {
    name: &'static str,
    points: Vec<(usize, &'a Measurement)>,
}

/// Where things stand.
struct Scale {
    decades: (i32, i32),
    places: usize,
}

impl Scale {
    fn x(&self, place: usize) -> f64 {
        let inner = PANEL.0 - 24.0;
        12.0 + inner * place as f64 / (self.places.max(2) - 1) as f64
    }

    fn y(&self, nanos: f64) -> f64 {
        let (low, high) = self.decades;
        let share = (nanos.max(0.1).log10() - f64::from(low)) / f64::from(high - low);
        PANEL.1 * (1.0 - share.clamp(0.0, 1.0))
    }
}

/// Draws nanoseconds over occupancy; `None` without a workload that has occupancies.
pub(crate) fn draw(results: &Results) -> Option<String> {
    let workload = results
        .workloads()
        .into_iter()
        .find(|workload| workload.keeps_occupancy())?;
    let curves = curves(results, workload);
    let medians = curves
        .iter()
        .flat_map(|curve| &curve.points)
        .filter_map(|(_, row)| row.timing.pair.map(|pair| pair.median.max(0.1).log10()));
    let low = medians.clone().fold(f64::INFINITY, f64::min).floor();
    let high = medians.fold(f64::NEG_INFINITY, f64::max).ceil();
    if !low.is_finite() || !high.is_finite() {
        return None;
    }
    let occupancies = &results.laboratory.occupancies;
    let scale = Scale {
        decades: (low as i32, (high as i32).max(low as i32 + 1)),
        places: occupancies.len(),
    };
    let panels = panels(&curves);
    let width = LEFT + panels.len() as f64 * (PANEL.0 + NAMES) + 8.0;
    let height = TOP + PANEL.1 + BOTTOM;
    let mut svg = Svg(String::new());
    svg.head(results, workload, (width, height));
    for (index, (title, members)) in panels.iter().enumerate() {
        let left = LEFT + index as f64 * (PANEL.0 + NAMES);
        svg.line(&format!("<g transform=\"translate({left:.1} {TOP:.1})\">"));
        svg.axes(title, &scale, results, index == 0);
        let anchor = curves.iter().find(|curve| curve.name == ANCHOR);
        if let Some(anchor) = anchor.filter(|_| members.iter().all(|c| c.name != ANCHOR)) {
            svg.anchor(anchor, &scale);
        }
        for (place, curve) in members.iter().enumerate() {
            svg.curve(curve, place, &scale);
        }
        svg.names(members, &scale);
        svg.line("</g>");
    }
    svg.foot((width, height));
    Some(svg.0)
}

fn curves(results: &Results, workload: Workload) -> Vec<Curve<'_>> {
    let occupancies = &results.laboratory.occupancies;
    let mut curves: Vec<Curve<'_>> = Vec::new();
    for row in &results.measurements {
        let place = occupancies
            .iter()
            .position(|occupancy| *occupancy == row.case.occupancy);
        let (Some(place), true) = (place, row.case.workload == workload) else {
            continue;
        };
        let name = row.case.allocation.name();
        match curves.iter_mut().find(|curve| curve.name == name) {
            Some(curve) => curve.points.push((place, row)),
            None => curves.push(Curve {
                name,
                points: vec![(place, row)],
            }),
        }
    }
    curves
}

/// Shares the curves out; panels without one are left out.
fn panels<'a>(curves: &'a [Curve<'a>]) -> Vec<(&'static str, Vec<&'a Curve<'a>>)> {
    let home = |curve: &Curve<'_>| {
        PANELS
            .iter()
            .position(|(_, names)| names.iter().any(|name| curve.name.starts_with(name)))
    };
    let mut panels = Vec::new();
    for (index, (title, _)) in PANELS.iter().enumerate() {
        let members: Vec<&Curve<'_>> = curves
            .iter()
            .filter(|curve| home(curve) == Some(index))
            .collect();
        if !members.is_empty() {
            panels.push((*title, members));
        }
    }
    panels
}

/// Writes a number of nanoseconds as an axis does.
fn nanos(decade: i32) -> String {
    match decade {
        ..0 => format!("{} ns", 10_f64.powi(decade)),
        0..3 => format!("{} ns", 10_i64.pow(decade as u32)),
        3..6 => format!("{} µs", 10_i64.pow(decade as u32 - 3)),
        _ => format!("{} ms", 10_i64.pow((decade as u32 - 6).min(12))),
    }
}

/// The text of a drawing; writing to a string cannot fail.
struct Svg(String);

impl Svg {
    fn line(&mut self, text: &str) {
        self.0.push_str(text);
        self.0.push('\n');
    }

    fn text(&mut self, at: (f64, f64), attributes: &str, text: &str) {
        let (x, y) = at;
        let _ = writeln!(
            self.0,
            "<text x=\"{x:.1}\" y=\"{y:.1}\" {attributes}>{}</text>",
            escaped(text)
        );
    }

    fn head(&mut self, results: &Results, workload: Workload, size: (f64, f64)) {
        let (width, height) = size;
        let laboratory = &results.laboratory;
        let title = "Time to allocate and release a NAT port";
        let spaces = match (laboratory.nat_ips, laboratory.vms) {
            (1, 1) => "1 port space, hot in the cache".to_owned(),
            (ips, vms) => format!("{ips} NAT IPs x {vms} VMs, visited in random order"),
        };
        let remark = format!(
            "{}, {spaces}, {} ports each, seed {}; medians, bars are quartiles",
            workload.name(),
            laboratory.ports,
            laboratory.seed
        );
        self.line(&format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" \
             width=\"{width:.0}\" height=\"{height:.0}\" role=\"img\" \
             aria-labelledby=\"title desc\" font-family=\"system-ui, 'Segoe UI', 'DejaVu Sans', \
             sans-serif\" font-size=\"12\" fill=\"#222222\">"
        ));
        self.line(&format!("<title id=\"title\">{title}</title>"));
        self.line(&format!(
            "<desc id=\"desc\">{}. Nanoseconds on a logarithmic scale over the share of ports in \
             use, one line for each allocator.</desc>",
            escaped(&remark)
        ));
        self.line(&format!(
            "<rect width=\"{width:.0}\" height=\"{height:.0}\" fill=\"#ffffff\"/>"
        ));
        self.text((16.0, 30.0), "font-size=\"19\" font-weight=\"600\"", title);
        self.text((16.0, 51.0), "fill=\"#555555\"", &remark);
    }

    fn axes(&mut self, title: &str, scale: &Scale, results: &Results, first: bool) {
        let (width, height) = PANEL;
        self.text((0.0, -14.0), "font-size=\"14\" font-weight=\"600\"", title);
        for decade in scale.decades.0..=scale.decades.1 {
            let y = scale.y(10_f64.powi(decade));
            self.line(&format!(
                "<line x1=\"0\" x2=\"{width}\" y1=\"{y:.1}\" y2=\"{y:.1}\" stroke=\"#dddddd\"/>"
            ));
            if first {
                let style = "text-anchor=\"end\" fill=\"#555555\"";
                self.text((-8.0, y + 4.0), style, &nanos(decade));
            }
        }
        for (place, occupancy) in results.laboratory.occupancies.iter().enumerate() {
            let x = scale.x(place);
            self.line(&format!(
                "<line x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{height}\" y2=\"{:.1}\" \
                 stroke=\"#888888\"/>",
                height + 5.0
            ));
            let style = "text-anchor=\"middle\" font-size=\"10.5\" fill=\"#555555\"";
            let label = occupancy.to_text();
            self.text((x, height + 19.0), style, &label);
        }
        self.line(&format!(
            "<line x1=\"0\" x2=\"{width}\" y1=\"{height}\" y2=\"{height}\" stroke=\"#888888\"/>"
        ));
        let style = "text-anchor=\"middle\"";
        let unit = "ports in use, % (last: one is free)";
        self.text((width / 2.0, height + 38.0), style, unit);
        if first {
            let style = "text-anchor=\"middle\" transform=\"rotate(-90)\"";
            self.text(
                (-height / 2.0, -58.0),
                style,
                "one allocation and one release",
            );
        }
    }

    fn anchor(&mut self, curve: &Curve<'_>, scale: &Scale) {
        let path = path(curve, scale);
        self.line(&format!(
            "<path d=\"{path}\" fill=\"none\" stroke=\"#bbbbbb\" stroke-width=\"2\"><title>{} for \
             comparison</title></path>",
            escaped(curve.name)
        ));
    }

    fn curve(&mut self, curve: &Curve<'_>, place: usize, scale: &Scale) {
        let colour = COLOURS[place % COLOURS.len()];
        let dash = DASHES[place % DASHES.len()];
        self.line(&format!(
            "<g stroke=\"{colour}\" stroke-width=\"1.8\"><title>{}</title>",
            escaped(curve.name)
        ));
        self.line(&format!(
            "<path d=\"{}\" fill=\"none\" stroke-dasharray=\"{dash}\"/>",
            path(curve, scale)
        ));
        for (at, row) in &curve.points {
            let Some(pair) = row.timing.pair else {
                continue;
            };
            let (x, y) = (scale.x(*at), scale.y(pair.median));
            self.line(&format!(
                "<line x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{:.1}\" y2=\"{:.1}\" \
                 stroke-width=\"1\"/>",
                scale.y(pair.low),
                scale.y(pair.high)
            ));
            let refuses = row.exact.attempts.gave_up_share() >= 0.01;
            let fill = if refuses { "#ffffff" } else { colour };
            self.line(&marker(place, (x, y), fill));
        }
        self.line("</g>");
    }

    /// Writes the names of the curves at their right ends, none over another.
    fn names(&mut self, members: &[&Curve<'_>], scale: &Scale) {
        let mut ends: Vec<(f64, usize)> = members
            .iter()
            .enumerate()
            .filter_map(|(place, curve)| {
                let (_, row) = curve.points.last()?;
                Some((scale.y(row.timing.pair?.median), place))
            })
            .collect();
        ends.sort_by(|one, other| one.0.total_cmp(&other.0));
        let wanted: Vec<f64> = ends.iter().map(|end| end.0).collect();
        let end = scale.x(scale.places.max(2) - 1);
        for ((from, place), y) in ends.into_iter().zip(spread_out(&wanted, PANEL.1)) {
            let colour = COLOURS[place % COLOURS.len()];
            let left = PANEL.0 + 8.0;
            self.line(&format!(
                "<path d=\"M{:.1} {from:.1}L{left:.1} {y:.1}\" fill=\"none\" stroke=\"{colour}\" \
                 stroke-opacity=\"0.5\"/>",
                end + 5.0
            ));
            self.line(&format!(
                "<g stroke=\"{colour}\" stroke-width=\"1.8\">{}</g>",
                marker(place, (left + 6.0, y), colour)
            ));
            self.text((left + 15.0, y + 4.0), "", members[place].name);
        }
    }

    fn foot(&mut self, size: (f64, f64)) {
        let y = size.1 - 34.0;
        let style = "fill=\"#555555\"";
        let hollow = "Hollow markers: at least 1 % of the attempts were refused although ports were \
                      free; a refusal counts as an attempt. Grey: bitmap, for comparison.";
        self.text((16.0, y), style, hollow);
        let share = "The allocator's share only, not a whole NAT's. Fullness is not to scale: from 90 % on \
                     each step leaves a tenth of the free ports.";
        self.text((16.0, y + 18.0), style, share);
        self.line("</svg>");
    }
}

/// Moves sorted places apart that are too close, each group around where it wants to be.
fn spread_out(wanted: &[f64], end: f64) -> Vec<f64> {
    let room = |count: usize| count as f64 * LINE;
    // Groups that touch: where the first one stands, and how many there are.
    let mut groups: Vec<(f64, usize)> = Vec::new();
    for place in wanted {
        let (mut begin, mut count) = (*place, 1);
        while let Some((before, earlier)) = groups.pop_if(|last| last.0 + room(last.1) > begin) {
            let moved = (begin - room(earlier)) * count as f64;
            count += earlier;
            begin = (before * earlier as f64 + moved) / count as f64;
        }
        begin = begin.min(end - room(count - 1)).max(0.0);
        groups.push((begin, count));
    }
    let places = groups
        .iter()
        .flat_map(|(begin, count)| (0..*count).map(move |index| begin + room(index)));
    places.collect()
}

fn path(curve: &Curve<'_>, scale: &Scale) -> String {
    let mut path = String::new();
    for (place, row) in &curve.points {
        if let Some(pair) = row.timing.pair {
            let command = if path.is_empty() { 'M' } else { 'L' };
            let _ = write!(
                path,
                "{command}{:.1} {:.1}",
                scale.x(*place),
                scale.y(pair.median)
            );
        }
    }
    path
}

fn marker(place: usize, at: (f64, f64), fill: &str) -> String {
    let (x, y) = at;
    let polygon = |corners: &[(f64, f64)]| {
        let points: Vec<String> = corners
            .iter()
            .map(|(dx, dy)| format!("{:.1},{:.1}", x + dx, y + dy))
            .collect();
        format!("<polygon points=\"{}\" fill=\"{fill}\"/>", points.join(" "))
    };
    match place % 4 {
        0 => format!("<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.4\" fill=\"{fill}\"/>"),
        1 => polygon(&[(-3.2, -3.2), (3.2, -3.2), (3.2, 3.2), (-3.2, 3.2)]),
        2 => polygon(&[(0.0, -4.2), (4.0, 3.2), (-4.0, 3.2)]),
        _ => polygon(&[(0.0, -4.6), (4.2, 0.0), (0.0, 4.6), (-4.2, 0.0)]),
    }
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            _ => out.push(character),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{LINE, escaped, nanos, spread_out};

    #[test]
    fn names_never_lie_over_each_other_and_stay_inside() {
        let places = spread_out(
            &[10.0, 11.0, 12.0, 200.0, 300.0, 304.0, 379.0, 380.0],
            380.0,
        );
        assert!(places.windows(2).all(|two| two[1] - two[0] >= LINE - 1e-9));
        assert!(places.iter().all(|place| (0.0..=380.0).contains(place)));
        assert!((places[3] - 200.0).abs() < 1e-9, "{places:?}");
        // Two that are too close give way in both directions.
        assert!((places[4] - 294.0).abs() < 1e-9, "{places:?}");
        assert!((places[5] - 310.0).abs() < 1e-9, "{places:?}");
    }

    #[test]
    fn texts_cannot_leave_their_element() {
        assert_eq!(
            escaped("<a href=\"x\">&"),
            "&lt;a href=&quot;x&quot;&gt;&amp;"
        );
    }

    #[test]
    fn decades_have_readable_units() {
        let texts: Vec<String> = [-1, 0, 2, 3, 5, 6].map(nanos).into();
        assert_eq!(
            texts,
            ["0.1 ns", "1 ns", "100 ns", "1 µs", "100 µs", "1 ms"]
        );
    }
}
