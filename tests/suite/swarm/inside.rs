//! The judge inside: the summary, the samples and the event log against each other and against
//! what the capture shows.

use std::collections::BTreeMap;

use plsim::Summary;
use serde_json::Value;

use super::oracle::{Findings, protocols};
use super::plan::{Plan, may_give_up};
use super::violation::Violation;

/// The texts a run wrote besides its capture.
#[derive(Debug)]
pub(super) struct Told<'a> {
    pub(super) summary: &'a Summary,
    /// `events.jsonl`.
    pub(super) events: &'a str,
    /// `timeseries.csv`.
    pub(super) samples: &'a str,
}

/// A port space by the names of the outputs: backend, protocol, NAT IP.
type Space = (String, String, String);

/// Checks what a run says about itself.
pub(super) fn check(plan: &Plan, told: &Told<'_>, seen: &Findings) -> Vec<Violation> {
    let mut check = Check {
        plan,
        violations: Vec::new(),
    };
    check.counts(told.summary, seen);
    check.spaces(told.summary, seen);
    let bound = check.bindings(told.events);
    check.samples(told, &bound);
    check.violations
}

struct Check<'a> {
    plan: &'a Plan,
    violations: Vec<Violation>,
}

/// How many ports each space had taken, by time: the state from an instant on.
type Bound = BTreeMap<Space, Vec<(u64, i64)>>;

impl Check<'_> {
    fn tell(&mut self, invariant: &'static str, at: u64, what: String) {
        self.violations.push(Violation::new(invariant, at, what));
    }

    /// N10: the summary and the capture count the same packets.
    fn counts(&mut self, summary: &Summary, seen: &Findings) {
        let end = self.plan.duration;
        let ledger = &summary.ledger;
        let drops: BTreeMap<String, u64> = ledger
            .drops()
            .map(|(reason, packets)| (reason.name().to_owned(), packets))
            .collect();
        if drops != seen.drops {
            let what = format!("dropped {drops:?}, in the capture {:?}", seen.drops);
            self.tell("N10", end, what);
        }
        let injected = ledger.injected();
        // Behind the endpoint's tap no copy is seen.
        let last = ("client_endpoint", "to-client");
        let last = (summary.links.iter()).filter(|row| (row.link, row.direction) == last);
        let copies: u64 = last.map(|row| row.stats.duplicated).sum();
        let unseen = summary.in_flight + copies;
        if seen.packets > injected || injected - seen.packets > unseen {
            let what = format!(
                "{injected} packets, {unseen} of them unseen at most, but {} in the capture",
                seen.packets
            );
            self.tell("N10", end, what);
        }
        for row in &summary.workloads {
            let requests = row.responses + row.awaiting + row.lost_by.total();
            let operations = &row.operations;
            let done = operations.succeeded + operations.failed + operations.pending;
            if !row.connections.is_partition()
                || row.requests != requests
                || operations.attempted != done
            {
                self.tell("N10", end, format!("not each in one place: {row:?}"));
            }
        }
        if !summary.complete || summary.virtual_time.as_nanos() != end {
            self.tell("N16", end, "the run did not come to its end".to_owned());
        }
    }

    /// N4, N5: no space holds more than it has, and at the end it holds what the capture says.
    fn spaces(&mut self, summary: &Summary, seen: &Findings) {
        let end = self.plan.duration;
        for space in &summary.nat {
            let name = format!(
                "{} {} {}",
                space.backend,
                space.protocol.name(),
                space.nat_ip
            );
            let taken = space.in_use + space.held;
            if taken > space.peak || space.peak > space.capacity {
                let what = format!(
                    "{name}: {taken} taken, peak {}, capacity {}",
                    space.peak, space.capacity
                );
                self.tell("N4", end, what);
            }
            if u64::from(taken) > space.binds {
                self.tell(
                    "N5",
                    end,
                    format!("{name}: {taken} taken of {} binds", space.binds),
                );
            }
            let mut services = self.plan.services.iter();
            let service = services.find(|service| service.name == space.pls);
            let gives_up = service.is_some_and(|service| may_give_up(&service.settings));
            if space.bind_failures > 0 && space.first_exhausted.is_none() && !gives_up {
                self.tell(
                    "N4",
                    end,
                    format!("{name}: refused a flow and was never full"),
                );
            }
            let backend = self
                .plan
                .backends
                .iter()
                .position(|vm| vm.name == space.backend);
            let protocol = protocols()
                .iter()
                .find(|(_, name)| *name == space.protocol.name())
                .map(|(number, _)| *number);
            let (Some(backend), Some(protocol)) = (backend, protocol) else {
                continue;
            };
            let key = (backend, protocol, space.nat_ip);
            let (least, most) = seen.ports.get(&key).copied().unwrap_or_default();
            if !(least..=most).contains(&(taken as usize)) {
                let what =
                    format!("{name}: {taken} ports taken, the capture says {least} to {most}");
                self.tell("N5", end, what);
            }
        }
    }

    /// N5: each port that is given comes back once before it is given again.
    fn bindings(&mut self, events: &str) -> Bound {
        let mut owners = BTreeMap::<String, String>::new();
        let mut bound = Bound::new();
        let mut last = 0;
        for line in events.lines() {
            let Ok(event) = serde_json::from_str::<Value>(line) else {
                self.tell("N16", last, format!("not an event: {line}"));
                continue;
            };
            let at = event["t_ns"].as_u64().unwrap_or_default();
            if at < last {
                self.tell("N16", at, "the event log goes back in time".to_owned());
            }
            last = at;
            let kind = event["event"].as_str().unwrap_or_default();
            if !kind.starts_with("flow-") {
                continue;
            }
            let text = |key: &str| event[key].as_str().unwrap_or_default().to_owned();
            let mut services = self.plan.services.iter();
            let service = services.find(|service| service.name == text("pls"));
            let says = |key, word| service.is_some_and(|service| service.settings.says(key, word));
            let rests = |key| service.is_some_and(|service| service.settings.nanos(key).is_some());
            let server = match says("port_space", "per-vm-port") {
                true => text("server"),
                false => String::new(),
            };
            let (backend, protocol, nat) = (text("backend"), text("protocol"), text("nat"));
            let port = format!("{backend} {protocol} {nat} {server}");
            let flow = format!(
                "{} {} {}",
                event["link_id"],
                text("client"),
                text("endpoint")
            );
            let nat_ip = text("nat").split(':').next().unwrap_or_default().to_owned();
            let (change, right) = match kind {
                "flow-bound" => (1, owners.insert(port.clone(), flow.clone()).is_none()),
                "flow-revived" => (0, owners.get(&port) == Some(&flow)),
                // Its port is held down: it is free when it is released.
                "flow-expired"
                    if text("cause") == "udp-idle" && rests("hold_down_udp")
                        || text("cause") == "half-open" && rests("hold_down_half_open") =>
                {
                    (0, owners.get(&port) == Some(&flow))
                }
                _ => (-1, owners.remove(&port) == Some(flow.clone())),
            };
            if !right {
                self.tell(
                    "N5",
                    at,
                    format!("{kind} of {port}, which is not {flow}'s to have"),
                );
            }
            let space = (text("backend"), text("protocol"), nat_ip);
            let steps = bound.entry(space).or_default();
            let taken = steps.last().map_or(0, |(_, taken)| *taken) + change;
            steps.push((at, taken));
        }
        bound
    }

    /// N4 and N5 at every sample: what is taken is what was given and has not come back.
    fn samples(&mut self, told: &Told<'_>, bound: &Bound) {
        let mut last = 0;
        for line in told.samples.lines().skip(1) {
            let fields: Vec<&str> = line.split(',').collect();
            let at = nanos(fields[0]);
            if at < last {
                self.tell("N16", at, "the samples go back in time".to_owned());
            }
            last = at;
            if fields[1] != "port-space" {
                continue;
            }
            let number = |field: usize| fields[field].parse::<i64>().unwrap_or(-1);
            let (in_use, held, free, capacity) = (number(6), number(7), number(8), number(9));
            let whole = in_use + held + free == capacity && in_use >= 0 && held >= 0 && free >= 0;
            let space = (
                fields[4].to_owned(),
                fields[5].to_owned(),
                fields[3].to_owned(),
            );
            let steps = bound.get(&space).map(Vec::as_slice).unwrap_or_default();
            // A sample shows the state just before its instant.
            let before = steps.partition_point(|(when, _)| *when < at);
            let taken = before.checked_sub(1).map_or(0, |step| steps[step].1);
            if !whole || taken != in_use + held {
                let what = format!(
                    "{space:?}: {in_use} in use, {held} held, {free} free of {capacity}; {taken} were given"
                );
                self.tell("N5", at, what);
            }
        }
        let rows = told.summary.nat.len();
        let addresses: usize = (0..self.plan.services.len())
            .map(|service| self.plan.nat_ips(service, self.plan.duration).len())
            .sum();
        if rows != addresses * self.plan.backends.len() * protocols().len() {
            self.tell("N3", last, format!("{rows} port spaces"));
        }
    }
}

/// Reads `1.500000000` as nanoseconds.
fn nanos(seconds: &str) -> u64 {
    let digits: String = seconds.chars().filter(char::is_ascii_digit).collect();
    digits.parse().unwrap_or_default()
}
