//! What the oracle believes of the bindings of one backend VM, from packets alone.
//!
//! Each binding has two ends: until `sure` it must be there, from `possible` on it must be gone.
//! They are one and the same instant wherever the rules say exactly what a packet does, and lie
//! apart where a NAT may judge either way, as about an RST inside the window.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};

use super::knobs::Value;
use super::plan::{Service, TCP, UDP, may_give_up};
use super::wire::{ACK, FIN, RST, SYN, Tcp};

/// Who talks to whom, as the consumer sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Flow {
    pub(super) endpoint: usize,
    pub(super) protocol: u8,
    pub(super) client: SocketAddrV4,
    /// The port that was dialled.
    pub(super) port: u16,
}

/// Which way a packet goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    ToBackend,
    ToClient,
}

/// What is known of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Udp,
    /// A SYN was seen.
    Opening,
    /// Its answer was seen.
    Open,
    /// Both have sent FIN.
    Closed,
    /// A valid RST ended it.
    Reset,
    /// A valid RST ended it before it was open.
    Refused,
    /// Open, or reset: the RST was neither surely valid nor surely not.
    OpenOrReset,
    /// Nothing but that it may be there.
    Unknown,
}

/// A binding as far as packets show it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mapping {
    pub(super) flow: Flow,
    pub(super) nat: SocketAddrV4,
    pub(super) backend_port: u16,
    /// Before this it must be there.
    pub(super) sure: u64,
    /// From this on it must be gone.
    pub(super) possible: u64,
    pub(super) phase: Phase,
    /// From this on its port only rests, if it is still there.
    pub(super) rests: u64,
    /// The last packet of the client.
    pub(super) last_original: u64,
    isn: u32,
    /// A SYN that came on top of an open connection and was not answered yet.
    noted: Option<u32>,
    /// Who has sent FIN: the client, the server.
    fins: [bool; 2],
    /// The highest number after a segment of each.
    ends: [u32; 2],
    /// The highest acknowledgement of each.
    acks: [u32; 2],
}

/// The promises of a service that its bindings follow.
#[derive(Debug, Clone, Copy)]
pub(super) struct Promises {
    idle: u64,
    half_closed: u64,
    udp_idle: u64,
    half_open: u64,
    hold_fin: u64,
    hold_rst: u64,
    hold_half_open: u64,
    hold_udp: u64,
    scan: Option<u64>,
    reply_refreshes: bool,
    pub(super) resets_on_idle: bool,
    pub(super) resets_late: bool,
    pub(super) reuses_held: bool,
    /// A port is unique for a port of the VM only.
    pub(super) per_port: bool,
    /// A flow may be refused although some port is free.
    pub(super) gives_up: bool,
    /// Only one NAT IP is tried for a flow.
    pub(super) strict: bool,
}

impl Promises {
    pub(super) fn of(service: &Service) -> Self {
        let nanos = |key| service.settings.nanos(key);
        let always = |key| nanos(key).expect("the drawing writes this key always");
        Self {
            idle: always("idle_timeout"),
            half_closed: nanos("half_closed_timeout").unwrap_or(always("idle_timeout")),
            udp_idle: always("udp_idle_timeout"),
            half_open: always("half_open_timeout"),
            hold_fin: always("hold_down_fin"),
            hold_rst: always("hold_down_rst"),
            hold_half_open: nanos("hold_down_half_open").unwrap_or(0),
            hold_udp: nanos("hold_down_udp").unwrap_or(0),
            scan: nanos("idle_scan_interval"),
            reply_refreshes: service.settings.get("reply_refreshes") != Some(Value::Flag(false)),
            resets_late: service.settings.says("late_packets", "reset"),
            per_port: service.settings.says("port_space", "per-vm-port"),
            gives_up: may_give_up(&service.settings),
            strict: ["hash-strict", "client-paired-strict"]
                .iter()
                .any(|word| service.settings.says("nat_ip_selection", word)),
            resets_on_idle: !service.settings.says("on_idle", "silent"),
            reuses_held: service.settings.says("held_ports", "reuse-oldest"),
        }
    }

    /// When something last used at `at` has been idle for long enough.
    fn idle_end(&self, at: u64, timeout: u64) -> u64 {
        match self.scan {
            None => at + timeout,
            Some(scan) => (at + timeout).div_ceil(scan) * scan,
        }
    }

    /// The shortest time a load balancer may remember a flow of the service for.
    pub(super) const fn remembered(&self) -> u64 {
        self.idle
    }
}

impl Mapping {
    /// Begins with a SYN or a datagram.
    pub(super) fn new(
        flow: Flow,
        nat: SocketAddrV4,
        backend_port: u16,
        segment: Tcp,
        at: u64,
        promises: &Promises,
    ) -> Self {
        let mut mapping = Self {
            flow,
            nat,
            backend_port,
            sure: at,
            possible: at,
            phase: Phase::Udp,
            rests: at,
            last_original: at,
            isn: 0,
            noted: None,
            fins: [false; 2],
            ends: [0; 2],
            acks: [0; 2],
        };
        if flow.protocol == TCP {
            mapping.open(segment);
        }
        mapping.refresh(at, promises);
        mapping
    }

    /// Applies a packet that was translated.
    ///
    /// `limited` says that the VM may refuse to revive a binding for want of flows.
    pub(super) fn packet(
        &mut self,
        way: Way,
        segment: Tcp,
        at: u64,
        promises: &Promises,
        limited: bool,
    ) {
        if way == Way::ToBackend {
            self.last_original = at;
        }
        if self.phase == Phase::Udp {
            return self.datagram(way, at, promises, limited);
        }
        if segment.has(RST) {
            self.reset(way, segment, at, promises);
        } else if segment.opens() && way == Way::ToBackend {
            self.syn(segment, at, promises);
        } else {
            self.other(way, segment, at, promises, limited);
        }
        self.record(way, segment);
    }

    fn datagram(&mut self, way: Way, at: u64, promises: &Promises, limited: bool) {
        if way == Way::ToClient && !promises.reply_refreshes {
            return;
        }
        let sure = self.sure;
        let revived = way == Way::ToClient && at >= self.rests;
        self.refresh(at, promises);
        if revived && limited {
            // The VM may have had no room for it.
            self.sure = sure;
        }
    }

    fn syn(&mut self, segment: Tcp, at: u64, promises: &Promises) {
        match self.phase {
            Phase::Open => {
                // The server knows better whether it has the connection.
                self.noted = Some(segment.sequence);
                self.refresh(at, promises);
            }
            Phase::OpenOrReset | Phase::Unknown => self.anything(at, promises),
            _ => {
                self.open(segment);
                self.refresh(at, promises);
            }
        }
    }

    /// A new attempt: nothing of an earlier one counts any more.
    fn open(&mut self, segment: Tcp) {
        self.phase = Phase::Opening;
        self.isn = segment.sequence;
        self.noted = None;
        self.fins = [false; 2];
        self.ends = [segment.end(), 0];
        self.acks = [0, segment.end()];
    }

    fn other(&mut self, way: Way, segment: Tcp, at: u64, promises: &Promises, limited: bool) {
        let answered = segment.acknowledgement.wrapping_sub(1);
        let answers = way == Way::ToClient && segment.has(SYN | ACK);
        let refreshes = way == Way::ToBackend || promises.reply_refreshes;
        match self.phase {
            Phase::Opening | Phase::Refused if answers && answered == self.isn => {
                if limited && at >= self.rests {
                    return self.anything(at, promises);
                }
                self.accepted(segment, at, promises);
            }
            Phase::Open
                if answers && self.noted == Some(answered) && segment.end() != self.ends[1] =>
            {
                self.isn = answered;
                self.ends[0] = segment.acknowledgement;
                self.accepted(segment, at, promises);
            }
            Phase::Opening if way == Way::ToBackend && at < self.rests => {
                self.refresh(at, promises);
            }
            Phase::Open => {
                let before = self.fins;
                self.fins[way as usize] |= segment.has(FIN);
                if self.fins == [true; 2] {
                    self.hold(Phase::Closed, at, promises);
                } else if refreshes || self.fins != before {
                    self.refresh(at, promises);
                }
            }
            // RFC 7857 §2.2: the RST was not taken, or never valid.
            Phase::Reset | Phase::OpenOrReset => {
                let reset = self.phase == Phase::Reset;
                let certain =
                    reset || (self.fins == [false; 2] && refreshes && self.noted.is_none());
                if limited || !certain {
                    return self.anything(at, promises);
                }
                self.phase = Phase::Open;
                self.fins = [false; 2];
                self.fins[way as usize] = segment.has(FIN);
                self.refresh(at, promises);
            }
            Phase::Unknown => self.anything(at, promises),
            Phase::Opening | Phase::Closed | Phase::Refused | Phase::Udp => {}
        }
    }

    /// The server has answered the SYN.
    fn accepted(&mut self, segment: Tcp, at: u64, promises: &Promises) {
        self.phase = Phase::Open;
        self.noted = None;
        self.fins = [false; 2];
        self.ends[1] = segment.end();
        self.acks = [segment.end(), segment.acknowledgement];
        self.refresh(at, promises);
    }

    fn reset(&mut self, way: Way, segment: Tcp, at: u64, promises: &Promises) {
        let own = way as usize;
        let (expected, highest) = (self.acks[1 - own], self.ends[own]);
        let far = |from: u32| {
            let distance = segment.sequence.wrapping_sub(from) as i32;
            !(-65_536..=65_536).contains(&distance)
        };
        let refuses = |isn: u32| {
            way == Way::ToClient
                && segment.has(ACK)
                && segment.acknowledgement == isn.wrapping_add(1)
        };
        match self.phase {
            Phase::Opening if at >= self.rests => {}
            Phase::Opening if refuses(self.isn) => self.hold(Phase::Refused, at, promises),
            Phase::Opening if way == Way::ToClient || far(self.isn) => {}
            Phase::Open if self.noted.is_some_and(refuses) => {
                self.hold(Phase::Reset, at, promises);
            }
            Phase::Open if segment.sequence == expected && expected == highest => {
                self.hold(Phase::Reset, at, promises);
            }
            Phase::Open if far(expected) && far(highest) => {}
            Phase::Open => {
                self.doubt(at, promises);
                self.phase = Phase::OpenOrReset;
            }
            Phase::Opening | Phase::OpenOrReset | Phase::Unknown => self.anything(at, promises),
            Phase::Closed | Phase::Reset | Phase::Refused | Phase::Udp => {}
        }
    }

    /// The RST may have been believed.
    fn doubt(&mut self, at: u64, promises: &Promises) {
        self.sure = match promises.reuses_held {
            true => at,
            false => self.sure.min(at + promises.hold_rst),
        };
        self.possible = self.possible.max(at + promises.hold_rst);
        self.rests = self.possible;
    }

    /// It may be in any state, and this packet may have done anything.
    fn anything(&mut self, at: u64, promises: &Promises) {
        self.doubt(at, promises);
        self.phase = Phase::Unknown;
        let Promises {
            half_open,
            half_closed,
            hold_fin,
            hold_half_open,
            ..
        } = *promises;
        self.sure = self.sure.min(at + hold_fin.min(half_open).min(half_closed));
        let longest = hold_fin.max(half_open + hold_half_open);
        let idle = promises.idle_end(at, promises.idle.max(half_closed));
        self.possible = self.possible.max(at + longest).max(idle);
        self.rests = self.possible;
    }

    fn hold(&mut self, phase: Phase, at: u64, promises: &Promises) {
        self.phase = phase;
        self.noted = None;
        let hold = match phase {
            Phase::Closed => promises.hold_fin,
            _ => promises.hold_rst,
        };
        self.live_until(at, hold, promises);
    }

    fn refresh(&mut self, at: u64, promises: &Promises) {
        match self.phase {
            Phase::Udp => {
                let end = promises.idle_end(at, promises.udp_idle);
                self.live_until(end, promises.hold_udp, promises);
            }
            Phase::Opening => {
                self.live_until(at + promises.half_open, promises.hold_half_open, promises);
            }
            _ => {
                let half_closed = self.fins != [false; 2];
                let idle = if half_closed {
                    promises.half_closed
                } else {
                    promises.idle
                };
                self.live_until(promises.idle_end(at, idle), 0, promises);
            }
        }
    }

    /// It lives until `end`, and its port rests for `hold` after that.
    fn live_until(&mut self, end: u64, hold: u64, promises: &Promises) {
        self.rests = end;
        self.possible = end + hold;
        self.sure = if promises.reuses_held {
            end
        } else {
            self.possible
        };
    }

    fn record(&mut self, way: Way, segment: Tcp) {
        if segment.has(SYN) || segment.has(RST) {
            return;
        }
        let (own, other) = (way as usize, 1 - way as usize);
        if newer(segment.end(), self.ends[own]) {
            self.ends[own] = segment.end();
        }
        let ack = segment.acknowledgement;
        let plausible = newer(ack, self.acks[own]) && !newer(ack, self.ends[other]);
        if segment.has(ACK) && plausible {
            self.acks[own] = ack;
        }
    }
}

const fn newer(one: u32, other: u32) -> bool {
    one.wrapping_sub(other) as i32 > 0
}

/// The bindings of one backend VM.
#[derive(Debug, Clone, Default)]
pub(super) struct Mappings {
    by_flow: BTreeMap<Flow, Mapping>,
    /// The flow that has a NAT port: of the whole VM, or of one port of it.
    owners: BTreeMap<Port, Flow>,
}

/// A protocol, a NAT IP and port, and the port of the VM if the NAT port is unique for that only.
pub(super) type Port = (u8, SocketAddrV4, Option<u16>);

impl Mappings {
    pub(super) fn get(&mut self, flow: &Flow) -> Option<&mut Mapping> {
        self.by_flow.get_mut(flow)
    }

    /// Returns who has a NAT port, maybe no more.
    pub(super) fn owner(&self, port: Port) -> Option<Mapping> {
        self.by_flow.get(self.owners.get(&port)?).copied()
    }

    /// Returns who has the NAT port of a packet from or to this port of the VM.
    pub(super) fn peer(&self, protocol: u8, nat: SocketAddrV4, vm_port: u16) -> Option<Mapping> {
        let narrow = self.owner((protocol, nat, Some(vm_port)));
        narrow.or_else(|| self.owner((protocol, nat, None)))
    }

    pub(super) fn insert(&mut self, mapping: Mapping, port: Port) {
        self.owners.insert(port, mapping.flow);
        self.by_flow.insert(mapping.flow, mapping);
    }

    pub(super) fn remove(&mut self, flow: &Flow) {
        if let Some(mapping) = self.by_flow.remove(flow) {
            for vm_port in [None, Some(mapping.backend_port)] {
                let port = (flow.protocol, mapping.nat, vm_port);
                if self.owners.get(&port) == Some(flow) {
                    self.owners.remove(&port);
                }
            }
        }
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Mapping> {
        self.by_flow.values()
    }

    /// Counts the ports of some NAT IPs that may not be free; held ones count unless they may be
    /// taken.
    pub(super) fn taken(
        &self,
        nat_ips: &[Ipv4Addr],
        protocol: u8,
        vm_port: Option<u16>,
        at: u64,
        reuses_held: bool,
    ) -> usize {
        let taken = self.all().filter(|mapping| {
            mapping.flow.protocol == protocol
                && nat_ips.contains(mapping.nat.ip())
                && vm_port.is_none_or(|port| port == mapping.backend_port)
                && at < mapping.possible
                && !(reuses_held && at >= mapping.rests)
        });
        taken.count()
    }

    /// Counts the flows that may count against the VM's limit.
    pub(super) fn active(&self, at: u64) -> usize {
        let active = self.all();
        active
            .filter(|mapping| at < mapping.possible && at < mapping.rests)
            .count()
    }

    /// Counts the bindings that may be there, of one endpoint or of all.
    pub(super) fn present(&self, endpoint: Option<usize>, at: u64) -> usize {
        let present = self.all().filter(|mapping| {
            at < mapping.possible && endpoint.is_none_or(|one| one == mapping.flow.endpoint)
        });
        present.count()
    }
}

/// Tells the protocols apart in messages.
pub(super) const fn name(protocol: u8) -> &'static str {
    if protocol == UDP { "udp" } else { "tcp" }
}
