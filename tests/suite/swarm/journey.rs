//! The way of each packet through the taps: N8 to N12, which need no memory of flows.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddrV4;

use super::pcapng::CaptureFile;
use super::plan::{Plan, TCP};
use super::proxy;
use super::violation::Violation;
use super::wire::{self, RST, Wire};

/// Where a packet was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Tap {
    /// The NIC of a private endpoint: before the check of its state on the way in, after it on the
    /// way out.
    Endpoint(usize),
    /// The provider side of a VM's NAT.
    Nat(usize),
    /// The NIC of a backend VM.
    Nic(usize),
    /// It ended here.
    Drops,
}

/// A packet at a tap.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen<'a> {
    pub(super) at: u64,
    pub(super) tap: Tap,
    pub(super) id: u64,
    pub(super) wire: Wire,
    /// Why it ended, at the tap `Drops`.
    pub(super) reason: &'a str,
    bytes: &'a [u8],
}

/// What links have made of packets.
#[derive(Debug, Default)]
pub(super) struct Links<'a> {
    /// What each copy is a copy of.
    pub(super) copies: BTreeMap<u64, u64>,
    /// The packets that were corrupted: nobody could read them any more.
    pub(super) corrupted: BTreeSet<u64>,
    /// Why these ended.
    pub(super) reasons: Vec<&'a str>,
}

/// What may be wrong with a packet of which one bit was flipped.
pub(crate) const FAULTS: [&str; 8] = [
    "truncated",
    "bad-version",
    "ipv6",
    "bad-ip-header",
    "bad-ip-checksum",
    "bad-udp-length",
    "bad-l4-checksum",
    "bad-tcp-header",
];

/// What kind of packet it is, by where it was seen first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// From a client.
    Original,
    /// From a backend VM.
    Reply,
    /// A RST of the NAT toward a VM.
    ResetToBackend,
    /// A RST of the NAT toward a client.
    ResetToClient,
    /// Lost before any tap.
    Unseen,
}

/// Everything seen of one packet.
#[derive(Debug, Clone)]
pub(super) struct Journey {
    pub(super) kind: Kind,
    /// Positions among what was seen, in order, the end excluded.
    pub(super) taps: Vec<usize>,
    /// Where it ended early.
    pub(super) drop: Option<usize>,
    /// The packet that it is a copy of, and that one's original in turn; for others itself.
    pub(super) original: u64,
}

/// Reads every frame; a frame that cannot be read or a time that goes back is a violation.
pub(super) fn seen<'a>(
    plan: &Plan,
    file: &'a CaptureFile,
    violations: &mut Vec<Violation>,
) -> (Vec<Seen<'a>>, Links<'a>) {
    let taps: Vec<Option<Tap>> = file
        .interfaces
        .iter()
        .map(|name| tap_of(plan, name))
        .collect();
    let mut seen: Vec<Seen<'a>> = Vec::with_capacity(file.frames.len());
    let mut links = Links::default();
    let mut unreadable = BTreeMap::<u64, Violation>::new();
    for frame in &file.frames {
        let Some(tap) = taps[frame.interface] else {
            let name = &file.interfaces[frame.interface];
            violations.push(Violation::new(
                "N12",
                frame.at,
                format!("an unknown tap {name}"),
            ));
            continue;
        };
        if seen.last().is_some_and(|last| last.at > frame.at) {
            violations.push(Violation::new("N16", frame.at, "time went back".to_owned()));
        }
        let reason = match tap {
            Tap::Drops => drop_reason(&frame.comment),
            _ => "",
        };
        if let Some(original) = copy_of(&frame.comment) {
            links.copies.insert(frame.id, original);
        }
        match wire::read(&frame.bytes) {
            Ok(wire) => seen.push(Seen {
                at: frame.at,
                tap,
                id: frame.id,
                wire,
                reason,
                bytes: &frame.bytes,
            }),
            Err(_) if plan.corrupts() && FAULTS.contains(&reason) => {
                unreadable.remove(&frame.id);
                links.corrupted.insert(frame.id);
                links.reasons.push(reason);
            }
            Err(wrong) => {
                let what = format!("packet {} at {tap:?}: {wrong}", frame.id);
                unreadable.insert(frame.id, Violation::new("N8", frame.at, what));
            }
        }
    }
    // A corrupted packet may be seen once more as it leaves its link; then it must have ended.
    violations.extend(unreadable.into_values());
    (seen, links)
}

/// Takes 17 out of `copy of packet 17, made by a link`.
fn copy_of(comment: &str) -> Option<u64> {
    let (_, rest) = comment.split_once("copy of packet ")?;
    rest.split(',').next()?.parse().ok()
}

/// Takes `no-flow` out of `dropped: no-flow - The packet ...`.
fn drop_reason(comment: &str) -> &str {
    let reason = comment.strip_prefix("dropped: ");
    reason
        .and_then(|rest| rest.split(" - ").next())
        .unwrap_or_default()
}

fn tap_of(plan: &Plan, name: &str) -> Option<Tap> {
    if name == "drops" {
        return Some(Tap::Drops);
    }
    let (node, tap) = name.rsplit_once(' ')?;
    let endpoint = plan
        .endpoints
        .iter()
        .position(|endpoint| endpoint.name == node);
    let backend = plan
        .backends
        .iter()
        .position(|backend| backend.name == node);
    match (endpoint, backend, tap) {
        (Some(endpoint), _, "nic") => Some(Tap::Endpoint(endpoint)),
        (_, Some(backend), "nic") => Some(Tap::Nic(backend)),
        (_, Some(backend), "nat") => Some(Tap::Nat(backend)),
        _ => None,
    }
}

/// Joins what was seen of each packet and checks its way.
pub(super) fn journeys(
    plan: &Plan,
    seen: &[Seen<'_>],
    copies: &BTreeMap<u64, u64>,
    violations: &mut Vec<Violation>,
) -> BTreeMap<u64, Journey> {
    let mut journeys = BTreeMap::<u64, Journey>::new();
    for (position, packet) in seen.iter().enumerate() {
        if !journeys.contains_key(&packet.id) {
            let journey = begin(plan, seen, packet, copies, &journeys);
            journeys.insert(packet.id, journey);
        }
        let journey = journeys.get_mut(&packet.id).expect("it was just inserted");
        if journey.drop.is_some() {
            let what = format!("packet {} was seen after its end", packet.id);
            violations.push(Violation::new("N10", packet.at, what));
        } else if packet.tap == Tap::Drops {
            journey.drop = Some(position);
        } else {
            journey.taps.push(position);
        }
    }
    for journey in journeys.values() {
        check_way(plan, seen, journey, violations);
    }
    if !plan.reorders() {
        check_order(seen, &journeys, violations);
    }
    journeys
}

/// Begins the journey of a packet; that of a copy with what its original had behind it then: the
/// taps before the one that it is seen at; of one that ends unseen, the first.
fn begin(
    plan: &Plan,
    seen: &[Seen<'_>],
    packet: &Seen<'_>,
    copies: &BTreeMap<u64, u64>,
    journeys: &BTreeMap<u64, Journey>,
) -> Journey {
    let mut original = packet.id;
    while let Some(of) = copies.get(&original) {
        original = *of;
        // What ended before any tap has shown nothing: its own original may have.
        let known = journeys.get(of).filter(|known| known.kind != Kind::Unseen);
        let Some(known) = known else { continue };
        let taps = known.taps.iter().copied();
        let taps = match packet.tap {
            Tap::Drops => taps.take(1).collect(),
            tap => taps.take_while(|at| seen[*at].tap != tap).collect(),
        };
        return Journey {
            taps,
            drop: None,
            ..*known
        };
    }
    Journey {
        kind: kind_of(plan, packet),
        taps: Vec::new(),
        drop: None,
        original,
    }
}

fn kind_of(plan: &Plan, packet: &Seen<'_>) -> Kind {
    let from = *packet.wire.source.ip();
    match packet.tap {
        Tap::Endpoint(which) if from == plan.endpoints[which].address => Kind::ResetToClient,
        Tap::Endpoint(_) => Kind::Original,
        Tap::Nat(_) => Kind::ResetToBackend,
        Tap::Nic(_) => Kind::Reply,
        Tap::Drops => Kind::Unseen,
    }
}

/// Checks the order of taps (N11), what may end a packet where (N12), and what may change (N9).
fn check_way(plan: &Plan, seen: &[Seen<'_>], journey: &Journey, violations: &mut Vec<Violation>) {
    let taps: Vec<&Seen<'_>> = journey
        .taps
        .iter()
        .map(|position| &seen[*position])
        .collect();
    let Some(first) = taps.first() else {
        return;
    };
    let places: Vec<Tap> = taps.iter().map(|packet| packet.tap).collect();
    // A shorter way is one that ended on a link or at a node.
    let regular = match (journey.kind, places.as_slice()) {
        (Kind::Original, [Tap::Endpoint(_), Tap::Nat(nat), Tap::Nic(nic)])
        | (
            Kind::Reply,
            [Tap::Nic(nic), Tap::Nat(nat)] | [Tap::Nic(nic), Tap::Nat(nat), Tap::Endpoint(_)],
        ) => nat == nic,
        (Kind::Original, [Tap::Endpoint(_)] | [Tap::Endpoint(_), Tap::Nat(_)])
        | (Kind::Reply, [Tap::Nic(_)]) => true,
        (Kind::ResetToBackend, [Tap::Nat(nat), Tap::Nic(nic)]) if nat != nic => false,
        (Kind::ResetToBackend, [Tap::Nat(_)] | [Tap::Nat(_), Tap::Nic(_)])
        | (Kind::ResetToClient, [Tap::Endpoint(_)]) => first.wire.tcp.has(RST),
        _ => false,
    };
    if !regular {
        let what = format!(
            "packet {} ({}) was seen at {places:?}",
            first.id, first.wire
        );
        violations.push(Violation::new("N11", first.at, what));
        return;
    }
    for pair in taps.windows(2) {
        check_untouched(plan, pair[0], pair[1], violations);
    }
    if let (Some(drop), Some(Tap::Nat(_) | Tap::Nic(_)), Kind::Original) =
        (journey.drop, places.last(), journey.kind)
    {
        // Once translated only links, and a server that does not listen or is full, may end it.
        let reason = seen[drop].reason;
        let by_server = ["no-listener", "syn-queue-full", "accept-queue-full"];
        if !(reason.starts_with("link-") || by_server.contains(&reason)) {
            let what = format!(
                "packet {} was translated and then dropped: {reason}",
                first.id
            );
            violations.push(Violation::new("N12", first.at, what));
        }
    }
}

fn check_untouched(
    plan: &Plan,
    before: &Seen<'_>,
    after: &Seen<'_>,
    violations: &mut Vec<Violation>,
) {
    let same_host = matches!(
        (before.tap, after.tap),
        (Tap::Nat(_), Tap::Nic(_)) | (Tap::Nic(_), Tap::Nat(_))
    );
    let endpoint = match (before.tap, after.tap) {
        (Tap::Endpoint(which), _) | (_, Tap::Endpoint(which)) => Some(which),
        _ => None,
    };
    let decrement =
        endpoint.and_then(|which| plan.endpoints[which].settings.number("ttl_decrement"));
    let protocol = before.wire.protocol;
    let has_headers = |which: usize| {
        let service = &plan.services[plan.endpoints[which].service];
        service.settings.get("enable_proxy_protocol").is_some()
    };
    let (from, to) = (&before.wire, &after.wire);
    let untouched =
        || wire::untouched(before.bytes, protocol) == wire::untouched(after.bytes, protocol);
    // Where a pool changes during a handshake, a VM gets segments of a client whose SYN another one
    // has answered.
    let unanswered = || plan.pools_change() && untouched();
    let right = if same_host {
        before.bytes == after.bytes
    } else if protocol == TCP && endpoint.is_some_and(has_headers) {
        u64::from(from.ttl) == u64::from(to.ttl) + decrement.unwrap_or(0)
            && match before.tap {
                Tap::Endpoint(_) => {
                    proxy::is_outward(from, before.bytes, to, after.bytes) || unanswered()
                }
                _ => proxy::is_inward(from, before.bytes, to, after.bytes),
            }
    } else {
        u64::from(before.wire.ttl) == u64::from(after.wire.ttl) + decrement.unwrap_or(0)
            && protocol == after.wire.protocol
            && untouched()
    };
    if !right {
        let what = format!(
            "packet {} was changed from {:?} ({}) to {:?} ({})",
            before.id, before.tap, before.wire, after.tap, after.wire
        );
        violations.push(Violation::new("N9", after.at, what));
    }
}

/// Checks that no packet overtakes another of its flow between two taps (N11).
fn check_order(
    seen: &[Seen<'_>],
    journeys: &BTreeMap<u64, Journey>,
    violations: &mut Vec<Violation>,
) {
    type Lane = (Tap, Tap, u8, SocketAddrV4, SocketAddrV4);
    let mut lanes = BTreeMap::<Lane, Vec<(usize, usize)>>::new();
    for journey in journeys.values() {
        for pair in journey.taps.windows(2) {
            let (from, to) = (&seen[pair[0]], &seen[pair[1]]);
            let Wire {
                protocol,
                source,
                destination,
                ..
            } = from.wire;
            let lane = (from.tap, to.tap, protocol, source, destination);
            lanes.entry(lane).or_default().push((pair[0], pair[1]));
        }
    }
    for pairs in lanes.values_mut() {
        pairs.sort_unstable();
        if let Some(pair) = pairs.windows(2).find(|pair| pair[0].1 > pair[1].1) {
            let (first, second) = (&seen[pair[0].1], &seen[pair[1].1]);
            let what = format!(
                "packet {} overtook packet {} of its flow",
                second.id, first.id
            );
            violations.push(Violation::new("N11", second.at, what));
        }
    }
}
