use plsim_types::Duration;
use serde_json::Value;

use crate::summary::object;

/// How connections ended or where they are; every attempted connection is in exactly one place.
///
/// attempted = connecting + established + closed + reset + idle expired + timed out + VM down + failed.
/// A retransmitted SYN belongs to the same attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Connections {
    /// Connections that clients began.
    pub attempted: u64,
    /// Waiting for an answer now.
    pub connecting: u64,
    /// Open now.
    pub established: u64,
    /// Ended in order, by FIN.
    pub closed: u64,
    /// Ended by a RST of the other end.
    pub reset: u64,
    /// Ended by the RST of an idle timeout.
    pub idle_expired: u64,
    /// Given up after retransmitting without an answer.
    pub timed_out: u64,
    /// Gone with their client VM, which crashed or was shut down.
    pub vm_down: u64,
    /// Never came to be.
    pub failed: u64,
    /// Came to be at some time; beside the partition.
    pub established_total: u64,
}

impl Connections {
    /// Adds the connections of another workload.
    pub const fn add(&mut self, other: &Self) {
        self.attempted += other.attempted;
        self.connecting += other.connecting;
        self.established += other.established;
        self.closed += other.closed;
        self.reset += other.reset;
        self.idle_expired += other.idle_expired;
        self.timed_out += other.timed_out;
        self.vm_down += other.vm_down;
        self.failed += other.failed;
        self.established_total += other.established_total;
    }

    /// Tells whether the outcomes add up to what was attempted.
    #[must_use]
    pub const fn is_partition(&self) -> bool {
        self.attempted
            == self.connecting
                + self.established
                + self.closed
                + self.reset
                + self.idle_expired
                + self.timed_out
                + self.vm_down
                + self.failed
    }

    pub(crate) fn fields(&self) -> [(&'static str, Value); 10] {
        [
            ("attempted", self.attempted.into()),
            ("established", self.established.into()),
            ("failed", self.failed.into()),
            ("closed", self.closed.into()),
            ("reset", self.reset.into()),
            ("idle_expired", self.idle_expired.into()),
            ("timed_out", self.timed_out.into()),
            ("vm_down", self.vm_down.into()),
            ("connecting", self.connecting.into()),
            ("established_total", self.established_total.into()),
        ]
    }
}

/// Failed connections by cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FailedBy {
    /// No answer to any SYN or request.
    pub timeout: u64,
    /// A RST answered the SYN.
    pub refused: u64,
    /// The client VM had no ephemeral port left.
    pub client_ports: u64,
    /// An ICMP error answered the SYN or the request.
    pub unreachable: u64,
}

/// A distribution of times: how long connecting took, for example.
///
/// Counts, ends and mean are exact. Quantiles come from the buckets, 32 in each power of two: they are
/// off by at most 1.6 %.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Latency {
    /// How many times were measured; the rest is null in the summary if none was.
    pub count: u64,
    /// The shortest.
    pub min: Duration,
    /// The arithmetic mean, whole nanoseconds.
    pub mean: Duration,
    /// The median.
    pub p50: Duration,
    /// Nine of ten took no longer.
    pub p90: Duration,
    /// 99 of 100 took no longer.
    pub p99: Duration,
    /// 999 of 1 000 took no longer.
    pub p999: Duration,
    /// The longest.
    pub max: Duration,
    /// The buckets that are not empty, in rising order: the shortest time that each takes, in
    /// nanoseconds, and how many it holds. Equal in all runs, so that runs can be added.
    pub buckets: Vec<(u64, u64)>,
}

impl Latency {
    pub(crate) fn to_value(&self) -> Value {
        let nanos = |span: Duration| match self.count {
            0 => Value::Null,
            _ => Value::from(span.as_nanos()),
        };
        object([
            ("count", self.count.into()),
            ("min_ns", nanos(self.min)),
            ("mean_ns", nanos(self.mean)),
            ("p50_ns", nanos(self.p50)),
            ("p90_ns", nanos(self.p90)),
            ("p99_ns", nanos(self.p99)),
            ("p999_ns", nanos(self.p999)),
            ("max_ns", nanos(self.max)),
            ("buckets", self.buckets_value()),
        ])
    }

    /// Returns the buckets as `from:count`, with blanks between: a line instead of hundreds.
    fn buckets_value(&self) -> Value {
        if self.buckets.is_empty() {
            return Value::Null;
        }
        let buckets = self.buckets.iter();
        let buckets: Vec<String> = buckets
            .map(|(from, count)| format!("{from}:{count}"))
            .collect();
        buckets.join(" ").into()
    }
}

#[cfg(test)]
mod tests {
    use super::Connections;

    #[test]
    fn outcomes_must_add_up_to_the_attempts() {
        let one = Connections {
            attempted: 3,
            established: 2,
            failed: 1,
            ..Default::default()
        };
        let mut sum = one;
        sum.add(&one);
        assert!(sum.is_partition() && sum.attempted == 6);
        sum.closed = 1;
        assert!(!sum.is_partition());
    }
}
