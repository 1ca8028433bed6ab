use super::Rules;
use super::lints::PL004;
use crate::model::{Arrival, Close, Transport, Workload};
use crate::rows::Files;
use crate::units::{ByteSize, Law};
use plsim_types::Duration;

/// What a live connection takes at most, both ends, NAT and tables together, in bytes.
const CONNECTION_BYTES: u64 = 400;
/// What a packet on its way takes beside it: at-once arrivals send all their SYNs together.
const PACKET_BYTES: u64 = 500;
/// How long a connection outlives its close: TIME_WAIT and hold-down are about a minute.
const AFTERLIFE: Duration = Duration::from_secs(65);
/// How long its buffers do, where it has any: both FINs, and those of them that are lost.
const DRAINING: Duration = Duration::from_secs(5);

impl Rules<'_> {
    /// The run as a whole: how many connections may live at once, and what they take.
    pub(super) fn memory(&mut self) {
        let end = self.scenario.run.duration.0;
        let limit = self.scenario.run.memory_limit;
        let mut connections = 0_u64;
        let (mut needed, mut buffers) = (0_u64, 0_u64);
        for workload in &self.scenario.workload {
            let files = &self.scenario.files;
            let live = alive(workload, (end, AFTERLIFE), files);
            let each = match workload.effective_arrival() {
                Arrival::AtOnce | Arrival::Bursts(_) => CONNECTION_BYTES + PACKET_BYTES,
                Arrival::Constant | Arrival::Poisson | Arrival::File(_) => CONNECTION_BYTES,
            };
            connections = connections.saturating_add(live);
            needed = needed.saturating_add(live.saturating_mul(each));
            if workload.protocol == Transport::Tcp {
                let live = alive(workload, (end, DRAINING), files);
                buffers = buffers.saturating_add(live.saturating_mul(self.full_ends(workload)));
            }
        }
        needed = needed.saturating_add(buffers);
        if needed > limit.0 {
            let help = if buffers > needed / 2 {
                "the full TCP takes most of it: make its buffers smaller, or write tcp_stack = \"light\""
            } else {
                "lower the rates or holds, or raise `memory_limit` if the machine has more"
            };
            // In the unit of the limit where both are large.
            let unit = if limit.0.is_multiple_of(1 << 30) && needed >= 1 << 30 {
                30
            } else {
                20
            };
            let needed = ByteSize(needed.div_ceil(1 << unit) << unit);
            let connections = grouped(connections);
            let message = format!(
                "about {connections} connections may live at once and need up to {needed} of \
                 memory; the limit is {limit}"
            );
            self.report(PL004, "run.memory_limit", message).help(help);
        }
    }

    /// Returns the bytes that the ends of a TCP connection of a workload take where they are full ones.
    fn full_ends(&self, workload: &Workload) -> u64 {
        let servers = self.scenario.backend_vm.iter();
        let server = servers.filter_map(|group| Some(group.full_tcp()?.bytes()));
        let client = self.full_clients(workload).map_or(0, |full| full.bytes());
        client.saturating_add(server.max().unwrap_or(0))
    }
}

/// Writes a number in groups of three digits.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

/// Returns how many connections of a workload may live at once, if each outlives its close by so much.
fn alive(workload: &Workload, (end, afterlife): (Duration, Duration), files: &Files) -> u64 {
    if let Some(pool) = &workload.pool {
        return u64::from(pool.size);
    }
    let total = workload.planned(end, files).unwrap_or(u64::MAX);
    if workload.is_held() {
        return total;
    }
    let hold = match &workload.hold {
        Law::Fixed(span) => span.0,
        // The mean number alive follows the mean hold; doubled, chance stays far below it.
        drawn @ Law::Drawn(_) => drawn.mean(files).0.times(2),
    };
    let abandoned = workload.protocol == Transport::Tcp && workload.close == Close::Abandon;
    let lifetime = if abandoned {
        Duration::MAX
    } else {
        hold + afterlife
    };
    let span = lifetime.min(workload.span(end));
    let most = match (&workload.arrival, &workload.rate) {
        (Arrival::Constant | Arrival::Poisson, Some(rate)) => rate.highest().starts_within(span),
        (Arrival::Bursts(bursts), _) => {
            // At worst the last one begins as the span ends.
            let whole = workload.arrival.starts_within(span, files);
            whole.map_or(total, |whole| whole.saturating_add(bursts.size.0))
        }
        _ => total,
    };
    most.min(total)
}
