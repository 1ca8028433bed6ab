use std::collections::BTreeMap;
use std::io::{self, Write};
use std::net::Ipv4Addr;

use plsim_types::{Instant, Protocol};

use crate::connections::Connections;
use crate::ledger::Ledger;
use crate::name::sanitised;
use crate::output::Output;

/// The ports of one NAT IP toward one backend VM, for one protocol, at one instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortSpaceSample<'a> {
    /// The Private Link Service.
    pub pls: &'a str,
    /// The NAT IP.
    pub nat_ip: Ipv4Addr,
    /// The backend VM.
    pub backend: &'a str,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// Ports of active bindings.
    pub in_use: u32,
    /// Ports held down after their connection ended.
    pub held: u32,
    /// Ports there are.
    pub capacity: u32,
    /// The most ports in use and held of any of its port spaces, and the ports of one: the figures
    /// above, but where each backend port has a space of its own.
    pub fullest: (u32, u32),
    /// Connections that found no port so far, counted on the NAT IP tried first.
    pub refusals: u64,
    /// The most ports in use and held together so far.
    pub peak: u32,
    /// What happened so far.
    pub counts: PortCounts,
    /// The first instant at which a port space had no free port.
    pub first_exhausted: Option<Instant>,
}

/// Counters of a NAT IP and VM since the start of the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PortCounts {
    /// Connections that got a port.
    pub binds: u64,
    /// Of those that got none, how many although a port was free: the port allocation gave up.
    pub gave_up: u64,
    /// Bindings that ended by their idle timeout.
    pub expired_idle: u64,
    /// How many of these after one side had sent FIN.
    pub expired_half_closed: u64,
    /// Bindings that ended before their handshake did.
    pub expired_half_open: u64,
    /// Connections whose flow the load balancer dropped because it was idle.
    pub lb_idle: u64,
    /// Held-down ports that new connections took early.
    pub reused_held: u64,
}

impl PortCounts {
    /// Returns the counters in the order of their columns.
    const fn all(&self) -> [u64; 7] {
        [
            self.binds,
            self.gave_up,
            self.expired_idle,
            self.expired_half_closed,
            self.expired_half_open,
            self.lb_idle,
            self.reused_held,
        ]
    }

    fn add(&mut self, other: &Self) {
        self.binds += other.binds;
        self.gave_up += other.gave_up;
        self.expired_idle += other.expired_idle;
        self.expired_half_closed += other.expired_half_closed;
        self.expired_half_open += other.expired_half_open;
        self.lb_idle += other.lb_idle;
        self.reused_held += other.reused_held;
    }
}

/// What has become of one workload, or of its copies together, up to one instant.
#[derive(Debug, Clone, Copy)]
pub struct WorkloadSample<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its connections.
    pub connections: Connections,
    /// Requests sent.
    pub requests: u64,
    /// Responses received in full.
    pub responses: u64,
    /// Requests that stayed without one.
    pub lost: u64,
    /// How long all responses took together, in nanoseconds.
    pub response_time: u128,
    /// Operations begun: requests with all their repetitions.
    pub operations: u64,
    /// Operations given up.
    pub operations_failed: u64,
    /// Attempts after the first.
    pub retries: u64,
    /// Borrows that met a dead connection.
    pub dead_borrows: u64,
}

impl WorkloadSample<'_> {
    /// Adds what has become of a copy.
    pub const fn add(&mut self, other: &Self) {
        self.connections.add(&other.connections);
        self.requests += other.requests;
        self.responses += other.responses;
        self.lost += other.lost;
        self.response_time += other.response_time;
        self.operations += other.operations;
        self.operations_failed += other.operations_failed;
        self.retries += other.retries;
        self.dead_borrows += other.dead_borrows;
    }
}

/// The whole run at one instant.
#[derive(Debug, Clone, Copy)]
pub struct RunSample<'a> {
    /// Connections of all workloads.
    pub connections: &'a Connections,
    /// The book of packets.
    pub ledger: &'a Ledger,
    /// Its workloads, in the order of the scenario.
    pub workloads: &'a [WorkloadSample<'a>],
}

/// Writes samples as one tidy CSV file (RFC 4180, lines end with LF).
///
/// Every row has the same columns; those that do not apply to its `scope` are empty:
///
/// | scope | one row per | columns |
/// |---|---|---|
/// | `port-space` | PLS, NAT IP, backend VM, protocol | `in_use`, `held`, `free`, `capacity`, `refusals`, `usage_percent`, and at the end `peak`, `binds`, `gave_up`, `expired_idle`, `expired_half_closed`, `expired_half_open`, `lb_idle`, `reused_held`, `first_exhausted_s` |
/// | `nat-ip` | PLS, NAT IP, protocol | the same summed over backend VMs; but `usage_percent` is their average, as Azure's `PLSNatPortsUsage` shows it (D-MET), and `usage_percent_max` the fullest VM's, which Azure hides; `peak` is the highest one's, `first_exhausted_s` the first one's |
/// | `run` | sample | `attempted`, `established`, `closed`, `reset`, `idle_expired`, `timed_out`, `vm_down`, `failed`, `connecting`, `established_total` (connections) and `injected`, `delivered`, `dropped` (packets) |
/// | `workload` | workload | its connections as in `run`, `requests`, `responses`, `lost`, `response_time_sum_s`, `operations`, `operations_failed`, `retries`, `dead_borrows` |
///
/// `time_s` and `first_exhausted_s` are in seconds with all nine decimals. `refusals` and the counters
/// behind `peak`, packets and connections count from the start of the run, except `established` and
/// `connecting`, which are those at the instant. Usage is (in use + held) / capacity in percent, with four
/// decimals; where each backend port has a port space of its own, that of the fullest, while all other
/// figures are sums. A name that a spreadsheet would take for a formula begins with an apostrophe.
///
/// The first error of the writer is kept: nothing more is written, and [`TimeSeries::finish`]
/// returns it.
#[derive(Debug)]
pub struct TimeSeries<W> {
    output: Output<W>,
}

const HEADER: &str = "time_s,scope,pls,nat_ip,backend,protocol,in_use,held,free,capacity,refusals,\
                      usage_percent,usage_percent_max,attempted,established,closed,reset,\
                      idle_expired,timed_out,vm_down,failed,connecting,established_total,injected,delivered,dropped,\
                      peak,binds,gave_up,expired_idle,expired_half_closed,expired_half_open,lb_idle,\
                      reused_held,first_exhausted_s,\
                      workload,requests,responses,lost,response_time_sum_s,operations,operations_failed,\
                      retries,dead_borrows\n";

/// The columns of runs and workloads, those of ports, and those of workloads, where they are empty.
const NO_COUNTS: &str = ",,,,,,,,,,,,,";
const NO_PORTS: &str = ",,,,,,,,,";
const NO_WORKLOAD: &str = ",,,,,,,,,";

/// What the backend VMs behind one NAT IP have in common.
#[derive(Debug, Default)]
struct Aggregate {
    in_use: u64,
    held: u64,
    capacity: u64,
    refusals: u64,
    backends: u64,
    usage_sum: u64,
    usage_max: u64,
    peak: u32,
    counts: PortCounts,
    first_exhausted: Option<Instant>,
}

impl<W: Write> TimeSeries<W> {
    /// Opens a file: the header line is written first.
    #[must_use]
    pub fn new(out: W) -> Self {
        let mut output = Output::new(out);
        output.append(|out| out.extend_from_slice(HEADER.as_bytes()));
        Self { output }
    }

    /// Writes the rows of one instant: port spaces as given, then NAT IPs by name, then the run, then its
    /// workloads as given.
    pub fn sample(&mut self, now: Instant, spaces: &[PortSpaceSample<'_>], run: &RunSample<'_>) {
        let time = Seconds(now);
        let mut nat_ips = BTreeMap::<_, Aggregate>::new();
        for space in spaces {
            self.output.append(|out| write_space(out, &time, space));
            nat_ips
                .entry((space.pls, space.nat_ip, space.protocol))
                .or_default()
                .add(space);
        }
        for ((pls, nat_ip, protocol), sum) in &nat_ips {
            self.output.append(|out| {
                let pls = Field(pls);
                let free = sum.capacity.saturating_sub(sum.in_use + sum.held);
                let average = Percent((sum.usage_sum + sum.backends / 2) / sum.backends);
                // Writing to a vector cannot fail, here and below.
                let _ = write!(
                    out,
                    "{time},nat-ip,{pls},{nat_ip},,{protocol},{},{},{free},{},{},{average},{}\
                     {NO_COUNTS}",
                    sum.in_use,
                    sum.held,
                    sum.capacity,
                    sum.refusals,
                    Percent(sum.usage_max)
                );
                write_ports(out, sum.peak, &sum.counts, sum.first_exhausted);
            });
        }
        self.output.append(|out| {
            let packets = [
                run.ledger.injected(),
                run.ledger.delivered,
                run.ledger.dropped(),
            ];
            let _ = write!(out, "{time},run,,,,,,,,,,,");
            write_counts(out, &outcomes(run.connections));
            write_counts(out, &packets);
            let _ = writeln!(out, "{NO_PORTS}{NO_WORKLOAD}");
        });
        for workload in run.workloads {
            self.output
                .append(|out| write_workload(out, &time, workload));
        }
    }

    /// Returns the first error of the writer, if it failed.
    #[must_use]
    pub const fn error(&self) -> Option<&io::Error> {
        self.output.error()
    }

    /// Writes what is buffered, flushes, and returns the writer.
    ///
    /// # Errors
    /// The first error of the writer; nothing was written after it.
    pub fn finish(self) -> io::Result<W> {
        self.output.finish()
    }
}

fn outcomes(connections: &Connections) -> [u64; 10] {
    let c = connections;
    [
        c.attempted,
        c.established,
        c.closed,
        c.reset,
        c.idle_expired,
        c.timed_out,
        c.vm_down,
        c.failed,
        c.connecting,
        c.established_total,
    ]
}

fn write_counts(out: &mut Vec<u8>, counts: &[u64]) {
    for count in counts {
        let _ = write!(out, ",{count}");
    }
}

fn write_workload(out: &mut Vec<u8>, time: &Seconds, workload: &WorkloadSample<'_>) {
    let _ = write!(out, "{time},workload,,,,,,,,,,,");
    write_counts(out, &outcomes(&workload.connections));
    let _ = write!(out, ",,,{NO_PORTS},{}", Field(workload.name));
    write_counts(out, &[workload.requests, workload.responses, workload.lost]);
    let (seconds, nanos) = (
        workload.response_time / 1_000_000_000,
        workload.response_time % 1_000_000_000,
    );
    let _ = write!(out, ",{seconds}.{nanos:09}");
    let WorkloadSample {
        operations,
        operations_failed,
        retries,
        dead_borrows,
        ..
    } = *workload;
    write_counts(out, &[operations, operations_failed, retries, dead_borrows]);
    out.push(b'\n');
}

fn write_space(out: &mut Vec<u8>, time: &Seconds, space: &PortSpaceSample<'_>) {
    let PortSpaceSample {
        nat_ip,
        protocol,
        in_use,
        held,
        capacity,
        refusals,
        ..
    } = space;
    let (pls, backend) = (Field(space.pls), Field(space.backend));
    let free = u64::from(*capacity).saturating_sub(u64::from(*in_use) + u64::from(*held));
    let usage = Percent(usage(space));
    let _ = write!(
        out,
        "{time},port-space,{pls},{nat_ip},{backend},{protocol},{in_use},{held},{free},{capacity},\
         {refusals},{usage},{NO_COUNTS}"
    );
    write_ports(out, space.peak, &space.counts, space.first_exhausted);
}

/// Writes the last columns of a row about ports.
fn write_ports(out: &mut Vec<u8>, peak: u32, counts: &PortCounts, first: Option<Instant>) {
    let _ = write!(out, ",{peak}");
    write_counts(out, &counts.all());
    let _ = match first {
        Some(at) => writeln!(out, ",{}{NO_WORKLOAD}", Seconds(at)),
        None => writeln!(out, ",{NO_WORKLOAD}"),
    };
}

impl Aggregate {
    fn add(&mut self, space: &PortSpaceSample<'_>) {
        let usage = usage(space);
        self.in_use += u64::from(space.in_use);
        self.held += u64::from(space.held);
        self.capacity += u64::from(space.capacity);
        self.refusals += space.refusals;
        self.backends += 1;
        self.usage_sum += usage;
        self.usage_max = self.usage_max.max(usage);
        self.peak = self.peak.max(space.peak);
        self.counts.add(&space.counts);
        let firsts = [self.first_exhausted, space.first_exhausted];
        self.first_exhausted = firsts.into_iter().flatten().min();
    }
}

/// Returns in use + held of the fullest space as millionths of its capacity, rounded down so that only
/// a full space shows 100 percent.
fn usage(space: &PortSpaceSample<'_>) -> u64 {
    let (used, capacity) = space.fullest;
    (u64::from(used) * 1_000_000)
        .checked_div(capacity.into())
        .unwrap_or(0)
}

/// Millionths, shown as percent with four decimals.
struct Percent(u64);

impl std::fmt::Display for Percent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{:04}", self.0 / 10_000, self.0 % 10_000)
    }
}

/// An instant, shown as seconds with nine decimals.
struct Seconds(Instant);

impl std::fmt::Display for Seconds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let nanos = self.0.as_nanos();
        write!(f, "{}.{:09}", nanos / 1_000_000_000, nanos % 1_000_000_000)
    }
}

/// A text as a CSV field: quoted where RFC 4180 asks for it, never a formula, and never more than
/// one line.
struct Field<'a>(&'a str);

impl std::fmt::Display for Field<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = sanitised(self.0);
        let formula = text.starts_with(['=', '+', '-', '@']);
        let guard = if formula { "'" } else { "" };
        if text.contains(['"', ',']) {
            write!(f, "\"{guard}{}\"", text.replace('"', "\"\""))
        } else {
            write!(f, "{guard}{text}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{
        Field, HEADER, PortCounts, PortSpaceSample, RunSample, TimeSeries, WorkloadSample,
    };
    use crate::connections::Connections;
    use crate::ledger::Ledger;
    use crate::output::tests::SmallDisk;
    use plsim_packet::Origin;
    use plsim_types::{Instant, Protocol};
    use std::io;
    use std::net::Ipv4Addr;

    fn space<'a>(pls: &'a str, backend: &'a str, in_use: u32, held: u32) -> PortSpaceSample<'a> {
        PortSpaceSample {
            pls,
            nat_ip: Ipv4Addr::new(10, 2, 0, 4),
            backend,
            protocol: Protocol::Tcp,
            in_use,
            held,
            capacity: 64_512,
            fullest: (in_use + held, 64_512),
            refusals: 7,
            peak: in_use + held + 1,
            counts: PortCounts {
                binds: 9,
                gave_up: 8,
                expired_idle: 6,
                expired_half_closed: 5,
                expired_half_open: 4,
                lb_idle: 3,
                reused_held: 2,
            },
            first_exhausted: (in_use > 0).then(|| Instant::from_nanos(1_000_000_001)),
        }
    }

    fn written(spaces: &[PortSpaceSample<'_>]) -> String {
        let connections = Connections {
            attempted: 9,
            connecting: 8,
            ..Default::default()
        };
        let mut ledger = Ledger::default();
        ledger.inject(Origin::Host);
        let workload = WorkloadSample {
            name: "w",
            connections,
            requests: 6,
            responses: 4,
            lost: 1,
            response_time: 2_000_000_005,
            operations: 5,
            operations_failed: 2,
            retries: 3,
            dead_borrows: 7,
        };
        let run = RunSample {
            connections: &connections,
            ledger: &ledger,
            workloads: &[workload],
        };
        let mut series = TimeSeries::new(Vec::new());
        series.sample(Instant::from_nanos(64_500_000_000), spaces, &run);
        String::from_utf8(series.finish().unwrap()).unwrap()
    }

    #[test]
    fn the_average_over_vms_hides_what_the_maximum_shows() {
        let text = written(&[
            space("orders", "vm-0", 64_000, 512),
            space("orders", "vm-1", 0, 0),
        ]);
        let expected = [
            "64.500000000,port-space,orders,10.2.0.4,vm-0,tcp,64000,512,0,64512,7,100.0000\
             ,,,,,,,,,,,,,,,64513,9,8,6,5,4,3,2,1.000000001,,,,,,,,,",
            "64.500000000,port-space,orders,10.2.0.4,vm-1,tcp,0,0,64512,64512,7,0.0000\
             ,,,,,,,,,,,,,,,1,9,8,6,5,4,3,2,,,,,,,,,,",
            "64.500000000,nat-ip,orders,10.2.0.4,,tcp,64000,512,64512,129024,14,50.0000,100.0000\
             ,,,,,,,,,,,,,,64513,18,16,12,10,8,6,4,1.000000001,,,,,,,,,",
            "64.500000000,run,,,,,,,,,,,,9,0,0,0,0,0,0,0,8,0,1,0,0,,,,,,,,,,,,,,,,,,",
            "64.500000000,workload,,,,,,,,,,,,9,0,0,0,0,0,0,0,8,0,,,,,,,,,,,,,w,6,4,1,2.000000005,5,2,3,7",
        ];
        assert_eq!(text, format!("{HEADER}{}\n", expected.join("\n")));
    }

    #[test]
    fn every_row_has_every_column() {
        let text = written(&[space("orders", "vm-0", 1, 0)]);
        for line in text.lines() {
            assert_eq!(line.split(',').count(), 44, "{line}");
        }
    }

    #[test]
    fn one_free_port_is_not_yet_100_percent() {
        let text = written(&[space("orders", "vm-0", 64_511, 0)]);
        assert!(text.contains(",1,64512,7,99.9984,"), "{text}");
    }

    #[test]
    fn usage_is_the_fullest_spaces_where_others_hide_it() {
        let sample = PortSpaceSample {
            capacity: 129_024,
            fullest: (64_512, 64_512),
            ..space("orders", "vm-0", 64_512, 0)
        };
        let text = written(&[sample]);
        assert!(text.contains(",64512,0,64512,129024,7,100.0000,"), "{text}");
    }

    #[test]
    fn names_cannot_break_a_row_or_become_a_formula() {
        let shown = |text: &str| Field(text).to_string();
        assert_eq!(shown("vm-0"), "vm-0");
        assert_eq!(shown("a,b"), "\"a,b\"");
        assert_eq!(shown("a \"b\"\n"), "\"a \"\"b\"\"\\u{a}\"");
        assert_eq!(shown("=HYPERLINK(\"x\",1)"), "\"'=HYPERLINK(\"\"x\"\",1)\"");
        for first in ["=", "+", "-", "@"] {
            let name = format!("{first}1");
            assert_eq!(shown(&name), format!("'{name}"));
        }
    }

    #[test]
    fn a_full_disk_is_told_at_the_end() {
        let series = TimeSeries::new(SmallDisk::new(10));
        assert_eq!(
            series.finish().unwrap_err().kind(),
            io::ErrorKind::StorageFull
        );
    }
}
