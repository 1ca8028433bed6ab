//! What can be drawn, one line for each key of the scenario format.
//!
//! A new key of the format joins the swarm with a line here; the oracle has to know it only if it
//! changes what is promised.

use super::random::Random;

/// The section of a scenario that a key belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Section {
    /// `[link.*]`.
    Link,
    /// `[[private_link_service]]`.
    Service,
    /// `[[load_balancer]]`.
    Balancer,
    /// `[[backend_vm]]`.
    Backend,
    /// `[[private_endpoint]]`.
    Endpoint,
    /// `[[workload]]` of either protocol.
    Workload,
    /// `[[workload]]` over TCP.
    Tcp,
    /// `[[workload]]` over UDP.
    Udp,
}

/// What a key may say.
#[derive(Debug, Clone, Copy)]
enum Values {
    /// One of these words.
    Words(&'static [&'static str]),
    /// A span of time in nanoseconds, both ends included, small ones as likely as large ones.
    Nanos(u64, u64),
    /// A whole number, both ends included, small ones as likely as large ones.
    Number(u64, u64),
    /// A size in bytes, both ends included, small ones as likely as large ones.
    Bytes(u64, u64),
    /// A distribution between two values of this unit, each above zero.
    Law(&'static str, u64, u64),
    /// True or false.
    Flag,
}

/// What a key says in one scenario.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Value {
    /// A word.
    Word(&'static str),
    /// A span of time in nanoseconds.
    Nanos(u64),
    /// A whole number.
    Number(u64),
    /// A size in bytes.
    Bytes(u64),
    /// A distribution: its number, its unit, and two values in order.
    Law(u64, &'static str, u64, u64),
    /// True or false.
    Flag(bool),
}

struct Knob {
    section: Section,
    key: &'static str,
    /// How often the key is written, in percent.
    chance: u64,
    values: Values,
}

const fn knob(section: Section, key: &'static str, chance: u64, values: Values) -> Knob {
    Knob {
        section,
        key,
        chance,
        values,
    }
}

const MS: u64 = 1_000_000;

/// Every key that is drawn by itself; what hangs together is drawn in `draw`.
#[rustfmt::skip]
const KNOBS: &[Knob] = &[
    knob(Section::Link, "latency", 50, Values::Nanos(1_000, 20 * MS)),
    knob(Section::Link, "latency", 10, Values::Nanos(0, 0)),
    knob(Section::Service, "idle_timeout", 100, Values::Nanos(50 * MS, 3_000 * MS)),
    knob(Section::Service, "udp_idle_timeout", 100, Values::Nanos(50 * MS, 2_000 * MS)),
    knob(Section::Service, "half_open_timeout", 100, Values::Nanos(50 * MS, 3_000 * MS)),
    knob(Section::Service, "hold_down_fin", 100, Values::Nanos(MS, 2_000 * MS)),
    knob(Section::Service, "hold_down_fin", 20, Values::Nanos(0, 0)),
    knob(Section::Service, "hold_down_rst", 100, Values::Nanos(MS, 2_000 * MS)),
    knob(Section::Service, "hold_down_rst", 20, Values::Nanos(0, 0)),
    knob(Section::Service, "idle_scan_interval", 20, Values::Nanos(20 * MS, 500 * MS)),
    knob(Section::Service, "on_idle", 60, Values::Words(&["reset", "silent"])),
    knob(Section::Service, "half_closed_timeout", 30, Values::Nanos(50 * MS, 3_000 * MS)),
    knob(Section::Service, "hold_down_half_open", 30, Values::Nanos(MS, 1_000 * MS)),
    knob(Section::Service, "hold_down_udp", 30, Values::Nanos(MS, 1_000 * MS)),
    knob(Section::Service, "late_packets", 40, Values::Words(&["drop", "reset"])),
    knob(Section::Service, "reply_refreshes", 30, Values::Flag),
    knob(Section::Service, "port_allocation", 80, Values::Words(&[
        "bitmap", "bitmap-hash", "bitmap-lowest", "fifo", "lifo", "uniform", "sequential",
        "rfc6056-1", "rfc6056-2", "rfc6056-3", "rfc6056-4", "rfc6056-5", "preserve",
        "preserve-parity", "preserve-range", "blocks", "azure-blocks", "reserved-blocks", "linux",
    ])),
    knob(Section::Service, "nat_ip_selection", 60, Values::Words(&[
        "hash", "hash-strict", "round-robin", "least-used", "sequential", "client-paired",
        "client-paired-strict",
    ])),
    knob(Section::Service, "port_space", 40, Values::Words(&["per-vm", "per-vm-port"])),
    knob(Section::Service, "endpoint_port_limit", 15, Values::Number(1, 60)),
    knob(Section::Service, "held_ports", 30, Values::Words(&["refuse", "reuse-oldest"])),
    knob(Section::Balancer, "flow_table_limit", 5, Values::Number(1, 60)),
    knob(Section::Backend, "vm_flow_limit", 15, Values::Number(1, 60)),
    knob(Section::Backend, "nat_table_limit", 10, Values::Number(1, 80)),
    knob(Section::Backend, "tcp_stack", 30, Values::Words(&["full"])),
    knob(Section::Endpoint, "ttl_decrement", 30, Values::Number(0, 70)),
    knob(Section::Workload, "hold", 70, Values::Nanos(MS, 3_000 * MS)),
    knob(Section::Workload, "hold", 30, Values::Law("ns", MS, 3_000 * MS)),
    knob(Section::Tcp, "request_size", 70, Values::Bytes(8, 20_000)),
    knob(Section::Tcp, "request_size", 20, Values::Law("B", 8, 20_000)),
    knob(Section::Tcp, "response_size", 70, Values::Bytes(1, 20_000)),
    knob(Section::Tcp, "response_size", 20, Values::Law("B", 8, 20_000)),
    knob(Section::Tcp, "requests", 30, Values::Number(1, 5)),
    knob(Section::Tcp, "interval", 30, Values::Nanos(30 * MS, 2_000 * MS)),
    knob(Section::Tcp, "response_timeout", 30, Values::Nanos(50 * MS, 1_000 * MS)),
    knob(Section::Tcp, "connect_timeout", 20, Values::Nanos(50 * MS, 1_000 * MS)),
    knob(Section::Tcp, "close", 90, Values::Words(&["fin", "rst", "abandon"])),
    knob(Section::Tcp, "keepalive", 40, Values::Nanos(20 * MS, 2_000 * MS)),
    knob(Section::Tcp, "syn_retries", 70, Values::Number(0, 5)),
    knob(Section::Tcp, "retries", 100, Values::Number(0, 5)),
    knob(Section::Tcp, "initial_rto", 90, Values::Nanos(20 * MS, 1_000 * MS)),
    knob(Section::Udp, "request_size", 70, Values::Bytes(8, 1_472)),
    knob(Section::Udp, "response_size", 70, Values::Bytes(1, 1_472)),
    knob(Section::Udp, "interval", 60, Values::Nanos(30 * MS, 2_000 * MS)),
    knob(Section::Udp, "response_timeout", 80, Values::Nanos(50 * MS, 1_000 * MS)),
];

/// The keys of one section of a scenario with what they say.
#[derive(Debug, Clone, Default)]
pub(super) struct Settings(Vec<(&'static str, Value)>);

impl Settings {
    /// Draws the keys of a section.
    pub(super) fn draw(section: Section, random: &mut Random) -> Self {
        let mut settings = Self::default();
        for knob in KNOBS.iter().filter(|knob| knob.section == section) {
            if random.chance(knob.chance) {
                settings.set(knob.key, knob.values.draw(random));
            }
        }
        settings
    }

    /// Says what a key says; the last word counts.
    pub(super) fn set(&mut self, key: &'static str, value: Value) {
        self.remove(key);
        self.0.push((key, value));
    }

    /// Takes over the keys of another section.
    pub(super) fn extend(&mut self, other: &Self) {
        for (key, value) in &other.0 {
            self.set(key, *value);
        }
    }

    /// Takes a key out.
    pub(super) fn remove(&mut self, key: &str) {
        self.0.retain(|(known, _)| *known != key);
    }

    /// Returns what a key says.
    pub(super) fn get(&self, key: &str) -> Option<Value> {
        let found = self.0.iter().find(|(known, _)| *known == key);
        found.map(|(_, value)| *value)
    }

    /// Returns a span of time in nanoseconds.
    pub(super) fn nanos(&self, key: &str) -> Option<u64> {
        match self.get(key) {
            Some(Value::Nanos(nanos)) => Some(nanos),
            _ => None,
        }
    }

    /// Returns a whole number.
    pub(super) fn number(&self, key: &str) -> Option<u64> {
        match self.get(key) {
            Some(Value::Number(number)) => Some(number),
            _ => None,
        }
    }

    /// Tells whether a key says this word.
    pub(super) fn says(&self, key: &str, word: &str) -> bool {
        matches!(self.get(key), Some(Value::Word(said)) if said == word)
    }

    /// Writes the keys as lines of TOML.
    pub(super) fn write(&self, out: &mut String) {
        for (key, value) in &self.0 {
            let value = match value {
                Value::Word(word) => format!("\"{word}\""),
                Value::Nanos(nanos) => format!("\"{nanos}ns\""),
                Value::Number(number) => number.to_string(),
                Value::Bytes(bytes) => format!("\"{bytes}B\""),
                Value::Law(number, unit, low, high) => law(*number, unit, *low, *high),
                Value::Flag(flag) => flag.to_string(),
            };
            out.push_str(&format!("{key} = {value}\n"));
        }
    }
}

impl Values {
    fn draw(self, random: &mut Random) -> Value {
        match self {
            Self::Words(words) => Value::Word(random.pick(words)),
            Self::Nanos(low, high) => Value::Nanos(random.scaled(low, high)),
            Self::Number(low, high) => Value::Number(random.scaled(low, high)),
            Self::Bytes(low, high) => Value::Bytes(random.scaled(low, high)),
            Self::Law(unit, low, high) => {
                let (a, b) = (random.scaled(low, high), random.scaled(low, high));
                Value::Law(random.between(0, 4), unit, a.min(b), a.max(b))
            }
            Self::Flag => Value::Flag(random.chance(50)),
        }
    }
}

/// Writes a distribution.
fn law(number: u64, unit: &str, low: u64, high: u64) -> String {
    let (low, high) = (format!("\"{low}{unit}\""), format!("\"{high}{unit}\""));
    match number {
        0 => format!("{{ uniform = [{low}, {high}] }}"),
        1 => format!("{{ exponential = {low} }}"),
        2 => format!("{{ log_normal = {{ median = {low}, sigma = 0.8 }} }}"),
        3 => format!("{{ pareto = {{ minimum = {low}, shape = 1.3, maximum = {high} }} }}"),
        _ => format!("{{ empirical = [[{low}, 3], [{high}, 1]] }}"),
    }
}
