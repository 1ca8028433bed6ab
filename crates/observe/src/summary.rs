use std::net::Ipv4Addr;

use plsim_sim::Shards;
use plsim_types::{DropReason, Duration, Instant, LinkId, Protocol};
use serde_json::{Map, Value};

use crate::backend::{BackendSummary, RequestFailedBy, SynCookies};
use crate::connections::Connections;
use crate::digest::Digest;
use crate::distribution::{MembershipSummary, Over, SkewSummary};
use crate::expectation::Verdict;
use crate::idle::IdleCeiling;
use crate::ledger::Ledger;
use crate::link::LinkSummary;
use crate::outage::OutageSummary;
use crate::probe::ProbeSummary;
use crate::workload::WorkloadSummary;

/// The name and version of the summary's format; keys may be added under the same version.
pub const SCHEMA: &str = "plsim-summary/1";

/// The answer of a run: everything in it follows from scenario, overrides and seed alone.
///
/// Times are virtual nanoseconds. No wall time, no memory figure and no thread count belong here.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Summary {
    /// The version of plsim.
    pub plsim_version: String,
    /// The name of the scenario.
    pub scenario: String,
    /// The title of the scenario.
    pub title: String,
    /// A fingerprint of the scenario's text.
    pub scenario_hash: String,
    /// The `key=value` pairs that replaced values of the file, in the order given.
    pub overrides: Vec<String>,
    /// The seed of all randomness.
    pub seed: u64,
    /// Whether the run came to its planned end.
    pub complete: bool,
    /// The virtual time reached.
    pub virtual_time: Instant,
    /// The fingerprint of all packet events.
    pub digest: Digest,
    /// Into how many parts the network could be cut at the start, for threads to run them.
    pub shards: Shards,
    /// The book of packets.
    pub ledger: Ledger,
    /// Packets on links at the end.
    pub in_flight: u64,
    /// Connections of all workloads.
    pub connections: Connections,
    /// NAT port spaces, one per (Private Link Service, NAT IP, backend VM, protocol).
    pub nat: Vec<NatSummary>,
    /// How long connections may be silent, for each service and rule.
    pub idle: Vec<IdleCeiling>,
    /// Who refused what.
    pub refusals: Vec<RefusalSummary>,
    /// What the run showed, in words.
    pub findings: Vec<Finding>,
    /// What became of the scenario's expectations.
    pub expectations: Vec<Verdict>,
    /// Each workload.
    pub workloads: Vec<WorkloadSummary>,
    /// Each private endpoint.
    pub endpoints: Vec<EndpointSummary>,
    /// Each backend VM.
    pub backends: Vec<BackendSummary>,
    /// The load balancers together.
    pub lb: LbSummary,
    /// How evenly flows were spread.
    pub skew: Vec<SkewSummary>,
    /// What changed about whom load balancers choose among.
    pub membership_changes: Vec<MembershipSummary>,
    /// Each health probe of each VM.
    pub probes: Vec<ProbeSummary>,
    /// Each link that has, or had, impairments.
    pub links: Vec<LinkSummary>,
    /// Each time a backend VM was not as it should be.
    pub outages: Vec<OutageSummary>,
}

/// Something a run showed that its reader should know: what happened, and what would help.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What happened, in one sentence.
    pub what: String,
    /// What would help; may be several ways.
    pub help: Vec<String>,
}

/// The ports of one NAT IP toward one backend VM, for one protocol.
///
/// Where each backend port has a port space of its own (`port_space = "per-vm-port"`) all figures are sums
/// over these, but for the fullest one's, which tell how near exhaustion was, and what is told about the first
/// exhaustion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NatSummary {
    /// The Private Link Service.
    pub pls: String,
    /// The NAT IP.
    pub nat_ip: Ipv4Addr,
    /// The backend VM.
    pub backend: String,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// Ports there are: 64 512 by default (DP-1).
    pub capacity: u32,
    /// Port spaces of equal size that they are in.
    pub spaces: u32,
    /// The most ports in use and held that any of the spaces has at the end.
    pub fullest: u32,
    /// The most that any of them had at any instant.
    pub fullest_peak: u32,
    /// The backend port of the space that had these, where each has one.
    pub fullest_backend_port: Option<u16>,
    /// Ports of active bindings.
    pub in_use: u32,
    /// Ports held down after their connection ended.
    pub held: u32,
    /// The most ports in use and held together at any instant.
    pub peak: u32,
    /// When that was, first.
    pub peak_at: Option<Instant>,
    /// Connections that got a port.
    pub binds: u64,
    /// Connections that found no port, counted on the NAT IP tried first.
    pub bind_failures: u64,
    /// How many of these although a port was free: the port allocation gave up.
    pub gave_up: u64,
    /// Ports or words that the searches for a port looked at.
    pub probes: u64,
    /// Bindings that ended by their idle timeout; not those in `lb_idle`.
    pub expired_idle: u64,
    /// How many of these after one side had sent FIN.
    pub expired_half_closed: u64,
    /// Bindings that ended before their handshake did.
    pub expired_half_open: u64,
    /// Connections whose flow the load balancer dropped after the idle timeout of its rule.
    pub lb_idle: u64,
    /// Held-down ports that new connections took early (`held_ports = "reuse-oldest"`).
    pub reused_held: u64,
    /// The first instant without a free port.
    pub first_exhausted: Option<Instant>,
    /// How many ports of the space that had none were held down at that instant.
    pub held_when_exhausted: u32,
    /// The first instant at which an established connection or a UDP flow had idled out.
    pub first_expired: Option<Instant>,
    /// The first instant at which the load balancer dropped an idle flow.
    pub first_lb_idle: Option<Instant>,
    /// Ports in blocks that belong to somebody, in use or not; 0 where ports are not given in blocks.
    pub reserved: u32,
    /// The most of them at any instant.
    pub reserved_peak: u32,
    /// How often a client's reserved ports were doubled.
    pub doublings: u64,
    /// How often they were halved.
    pub halvings: u64,
}

/// Packets and connections that one place refused for one reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusalSummary {
    /// The Private Link Service; empty for clients of a frontend itself.
    pub pls: String,
    /// The backend VM; null where none was chosen yet.
    pub backend: Option<String>,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// Why.
    pub reason: DropReason,
    /// Packets.
    pub packets: u64,
    /// Distinct connections.
    pub connections: u64,
    /// When the first packet was refused.
    pub first: Instant,
}

/// One private endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointSummary {
    /// Its name.
    pub name: String,
    /// Its LINKID (PP-4).
    pub link_id: LinkId,
    /// The state of its connection at the end, as Azure spells it: `Approved`, `Pending`, ...
    pub state: String,
    /// Packets from the consumer that passed (toward the service).
    pub packets_in: u64,
    /// Their bytes at the IP layer (`PEBytesIn`).
    pub bytes_in: u64,
    /// Packets to the consumer that passed.
    pub packets_out: u64,
    /// Their bytes at the IP layer (`PEBytesOut`).
    pub bytes_out: u64,
}

/// What the load balancers did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LbSummary {
    /// Flows whose backend the edge remembers at the end.
    pub flows: u64,
    /// Opening packets (SYN) sent to a backend, retransmissions included (`SYNCount`).
    pub syns: u64,
}

impl Summary {
    /// Returns the summary as JSON text: indented, keys in a fixed order, one trailing newline.
    #[must_use]
    pub fn to_json(&self) -> String {
        // The alternate form of a JSON value is indented by two blanks.
        format!("{:#}\n", self.to_value())
    }

    /// Returns the summary as a JSON value, which a [`crate::Path`] can ask.
    #[must_use]
    pub fn to_value(&self) -> Value {
        object([
            ("schema", SCHEMA.into()),
            ("plsim_version", self.plsim_version.as_str().into()),
            ("scenario", self.scenario.as_str().into()),
            ("title", self.title.as_str().into()),
            ("scenario_hash", self.scenario_hash.as_str().into()),
            ("overrides", self.overrides.clone().into()),
            ("seed", self.seed.into()),
            ("complete", self.complete.into()),
            ("virtual_time_ns", self.virtual_time.as_nanos().into()),
            ("digest", self.digest.to_string().into()),
            (
                "shards",
                object([
                    ("count", self.shards.count.into()),
                    (
                        "look_ahead_ns",
                        self.shards.look_ahead.map(Duration::as_nanos).into(),
                    ),
                ]),
            ),
            ("ledger", self.ledger_value()),
            ("connections", object(self.connections.fields())),
            ("nat", rows(&self.nat, NatSummary::to_value)),
            ("idle", rows(&self.idle, IdleCeiling::to_value)),
            ("refusals", rows(&self.refusals, RefusalSummary::to_value)),
            ("findings", rows(&self.findings, Finding::to_value)),
            ("expectations", rows(&self.expectations, Verdict::to_value)),
            (
                "workloads",
                rows(&self.workloads, WorkloadSummary::to_value),
            ),
            (
                "endpoints",
                rows(&self.endpoints, EndpointSummary::to_value),
            ),
            ("backends", rows(&self.backends, BackendSummary::to_value)),
            (
                "lb",
                object([
                    ("flows", self.lb.flows.into()),
                    ("syns", self.lb.syns.into()),
                ]),
            ),
            ("skew", rows(&self.skew, SkewSummary::to_value)),
            (
                "membership_changes",
                rows(&self.membership_changes, MembershipSummary::to_value),
            ),
            ("probes", rows(&self.probes, ProbeSummary::to_value)),
            ("links", rows(&self.links, LinkSummary::to_value)),
            ("outages", rows(&self.outages, OutageSummary::to_value)),
        ])
    }

    /// Returns a summary with one blank row in every list and every drop reason: which keys exist.
    pub(crate) fn shape() -> Value {
        let name = String::new;
        let (protocol, reason) = (Protocol::Tcp, DropReason::NoFlow);
        let mut summary = Self {
            nat: vec![NatSummary {
                pls: name(),
                nat_ip: Ipv4Addr::UNSPECIFIED,
                backend: name(),
                protocol,
                capacity: 0,
                spaces: 0,
                fullest: 0,
                fullest_peak: 0,
                fullest_backend_port: Some(0),
                in_use: 0,
                held: 0,
                peak: 0,
                peak_at: None,
                binds: 0,
                bind_failures: 0,
                gave_up: 0,
                probes: 0,
                expired_idle: 0,
                expired_half_closed: 0,
                expired_half_open: 0,
                lb_idle: 0,
                reused_held: 0,
                first_exhausted: None,
                held_when_exhausted: 0,
                first_expired: None,
                first_lb_idle: None,
                reserved: 0,
                reserved_peak: 0,
                doublings: 0,
                halvings: 0,
            }],
            idle: vec![IdleCeiling::default()],
            refusals: vec![RefusalSummary {
                pls: name(),
                backend: Some(name()),
                protocol,
                reason,
                packets: 0,
                connections: 0,
                first: Instant::ZERO,
            }],
            workloads: vec![WorkloadSummary::shape()],
            endpoints: vec![EndpointSummary {
                name: name(),
                link_id: LinkId(0),
                state: name(),
                packets_in: 0,
                bytes_in: 0,
                packets_out: 0,
                bytes_out: 0,
            }],
            backends: vec![BackendSummary {
                name: name(),
                flows: 0,
                peak: 0,
                bindings_peak: 0,
                new_flows: 0,
                frontend_flows: 0,
                frontend_lb_idle: 0,
                requests: 0,
                messages: 0,
                failed_by: RequestFailedBy::default(),
                time_wait: 0,
                waiting: 0,
                syn_queue_overflows: 0,
                syn_cookies: SynCookies::default(),
                accept_queue_overflows: 0,
                proxy_headers: 0,
                proxy_withheld: 0,
                icmp_answers: 0,
                icmp_suppressed: 0,
            }],
            skew: vec![SkewSummary {
                pls: name(),
                protocol,
                over: Over::Backends,
                shares: vec![(name(), 0)],
            }],
            membership_changes: vec![MembershipSummary {
                load_balancer: name(),
                backend_pool: name(),
                at: Instant::ZERO,
                cause: "backend",
                backend: Some(name()),
                rule: Some(name()),
                eligible: 0,
                kept: 0,
                reset: 0,
                moved: 0,
            }],
            probes: vec![ProbeSummary::default()],
            links: vec![LinkSummary::default()],
            outages: vec![OutageSummary {
                found_by: Some(name()),
                ..OutageSummary::default()
            }],
            ..Self::default()
        };
        for reason in DropReason::ALL {
            summary.ledger.drop(*reason);
        }
        summary.to_value()
    }

    fn ledger_value(&self) -> Value {
        let Self {
            ledger, in_flight, ..
        } = self;
        let by = &ledger.injected_by;
        let injected_by = object([
            ("host", by.host.into()),
            ("nat", by.nat.into()),
            ("lb", by.lb.into()),
            ("probe", by.probe.into()),
            ("icmp", by.icmp.into()),
            ("duplicate", by.duplicate.into()),
        ]);
        let drops = ledger
            .drops()
            .map(|(reason, packets)| (reason.name(), packets.into()));
        object([
            ("injected", ledger.injected().into()),
            ("delivered", ledger.delivered.into()),
            ("dropped", ledger.dropped().into()),
            ("merged", ledger.merged.into()),
            ("in_flight", (*in_flight).into()),
            ("injected_by", injected_by),
            ("drops", object(drops)),
        ])
    }
}

impl Finding {
    fn to_value(&self) -> Value {
        object([
            ("what", self.what.as_str().into()),
            ("help", self.help.clone().into()),
        ])
    }
}

impl NatSummary {
    /// Returns the ports of one space.
    #[must_use]
    pub const fn space_capacity(&self) -> u32 {
        match self.capacity.checked_div(self.spaces) {
            Some(ports) => ports,
            None => 0,
        }
    }

    fn to_value(&self) -> Value {
        object([
            ("pls", self.pls.as_str().into()),
            ("nat_ip", self.nat_ip.to_string().into()),
            ("backend", self.backend.as_str().into()),
            ("protocol", self.protocol.name().into()),
            ("capacity", self.capacity.into()),
            ("spaces", self.spaces.into()),
            ("fullest", self.fullest.into()),
            ("fullest_peak", self.fullest_peak.into()),
            ("fullest_backend_port", self.fullest_backend_port.into()),
            ("in_use", self.in_use.into()),
            ("held", self.held.into()),
            ("peak", self.peak.into()),
            ("peak_at_ns", self.peak_at.map(Instant::as_nanos).into()),
            ("binds", self.binds.into()),
            ("bind_failures", self.bind_failures.into()),
            ("gave_up", self.gave_up.into()),
            ("probes", self.probes.into()),
            ("expired_idle", self.expired_idle.into()),
            ("expired_half_closed", self.expired_half_closed.into()),
            ("expired_half_open", self.expired_half_open.into()),
            ("lb_idle", self.lb_idle.into()),
            ("reused_held", self.reused_held.into()),
            (
                "first_exhausted_ns",
                self.first_exhausted.map(Instant::as_nanos).into(),
            ),
            ("held_when_exhausted", self.held_when_exhausted.into()),
            (
                "first_expired_ns",
                self.first_expired.map(Instant::as_nanos).into(),
            ),
            (
                "first_lb_idle_ns",
                self.first_lb_idle.map(Instant::as_nanos).into(),
            ),
            ("reserved", self.reserved.into()),
            ("reserved_peak", self.reserved_peak.into()),
            ("doublings", self.doublings.into()),
            ("halvings", self.halvings.into()),
        ])
    }
}

impl RefusalSummary {
    fn to_value(&self) -> Value {
        object([
            ("pls", self.pls.as_str().into()),
            ("backend", self.backend.as_deref().into()),
            ("protocol", self.protocol.name().into()),
            ("reason", self.reason.name().into()),
            ("packets", self.packets.into()),
            ("connections", self.connections.into()),
            ("first_ns", self.first.as_nanos().into()),
        ])
    }
}

impl EndpointSummary {
    fn to_value(&self) -> Value {
        object([
            ("name", self.name.as_str().into()),
            ("link_id", self.link_id.0.into()),
            ("state", self.state.as_str().into()),
            ("packets_in", self.packets_in.into()),
            ("bytes_in", self.bytes_in.into()),
            ("packets_out", self.packets_out.into()),
            ("bytes_out", self.bytes_out.into()),
        ])
    }
}

/// Builds a JSON object whose keys keep this order.
pub(crate) fn object(fields: impl IntoIterator<Item = (&'static str, Value)>) -> Value {
    let fields = fields
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value));
    Value::Object(fields.collect::<Map<_, _>>())
}

pub(crate) fn rows<T>(rows: &[T], to_value: impl Fn(&T) -> Value) -> Value {
    rows.iter().map(to_value).collect()
}
