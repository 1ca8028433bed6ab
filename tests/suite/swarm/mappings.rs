//! What the oracle believes of the bindings of one backend VM, from packets alone.
//!
//! Each binding has two ends: until `sure` it must be there, from `possible` on it must be gone.
//! They are one and the same instant wherever the rules say exactly what a packet does, and lie
//! apart where a NAT may judge either way, as about an RST inside the window.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};

use super::plan::{Service, TCP, UDP};
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

impl Phase {
    /// Tells whether the port surely rests.
    pub(super) const fn is_held(self) -> bool {
        matches!(self, Self::Closed | Self::Reset | Self::Refused)
    }
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
    /// The last packet of the client.
    pub(super) last_original: u64,
    isn: u32,
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
    udp_idle: u64,
    half_open: u64,
    hold_fin: u64,
    hold_rst: u64,
    scan: Option<u64>,
    pub(super) resets_on_idle: bool,
    pub(super) reuses_held: bool,
}

impl Promises {
    pub(super) fn of(service: &Service) -> Self {
        let nanos = |key| service.settings.nanos(key);
        let always = |key| nanos(key).expect("the drawing writes this key always");
        Self {
            idle: always("idle_timeout"),
            udp_idle: always("udp_idle_timeout"),
            half_open: always("half_open_timeout"),
            hold_fin: always("hold_down_fin"),
            hold_rst: always("hold_down_rst"),
            scan: nanos("idle_scan_interval"),
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
            last_original: at,
            isn: 0,
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
            return self.refresh(at, promises);
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

    fn syn(&mut self, segment: Tcp, at: u64, promises: &Promises) {
        match self.phase {
            Phase::Open => self.refresh(at, promises),
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
        self.fins = [false; 2];
        self.ends = [segment.end(), 0];
        self.acks = [0, segment.end()];
    }

    fn other(&mut self, way: Way, segment: Tcp, at: u64, promises: &Promises, limited: bool) {
        let next = self.isn.wrapping_add(1);
        let answers =
            way == Way::ToClient && segment.has(SYN | ACK) && segment.acknowledgement == next;
        match self.phase {
            Phase::Opening | Phase::Refused if answers => {
                if limited && self.phase == Phase::Refused {
                    return self.anything(at, promises);
                }
                self.phase = Phase::Open;
                self.ends[1] = segment.end();
                self.acks = [segment.end(), segment.acknowledgement];
                self.refresh(at, promises);
            }
            // It may keep the attempt alive or not.
            Phase::Opening => self.possible = self.possible.max(at + promises.half_open),
            Phase::Open => {
                self.fins[way as usize] |= segment.has(FIN);
                if self.fins == [true; 2] {
                    self.hold(Phase::Closed, at, promises);
                } else {
                    self.refresh(at, promises);
                }
            }
            // RFC 7857 §2.2: the RST was not taken, or never valid.
            Phase::Reset | Phase::OpenOrReset => {
                let certain = self.phase == Phase::Reset || self.fins == [false; 2];
                if limited || !certain {
                    return self.anything(at, promises);
                }
                self.phase = Phase::Open;
                self.fins = [false; 2];
                self.fins[way as usize] = segment.has(FIN);
                self.refresh(at, promises);
            }
            Phase::Unknown => self.anything(at, promises),
            Phase::Closed | Phase::Refused | Phase::Udp => {}
        }
    }

    fn reset(&mut self, way: Way, segment: Tcp, at: u64, promises: &Promises) {
        let own = way as usize;
        let (expected, highest) = (self.acks[1 - own], self.ends[own]);
        let far = |from: u32| {
            let distance = segment.sequence.wrapping_sub(from) as i32;
            !(-65_536..=65_536).contains(&distance)
        };
        match self.phase {
            Phase::Opening if way == Way::ToClient => {
                if segment.has(ACK) && segment.acknowledgement == self.isn.wrapping_add(1) {
                    self.hold(Phase::Refused, at, promises);
                }
            }
            Phase::Opening if far(self.isn) => {}
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
    }

    /// It may be in any state, and this packet may have done anything.
    fn anything(&mut self, at: u64, promises: &Promises) {
        self.doubt(at, promises);
        self.phase = Phase::Unknown;
        self.sure = self
            .sure
            .min(at + promises.hold_fin.min(promises.half_open));
        let longest = promises
            .hold_fin
            .max(promises.half_open)
            .max(promises.hold_rst);
        self.possible = self
            .possible
            .max(at + longest)
            .max(promises.idle_end(at, promises.idle));
    }

    fn hold(&mut self, phase: Phase, at: u64, promises: &Promises) {
        self.phase = phase;
        let hold = match phase {
            Phase::Closed => promises.hold_fin,
            _ => promises.hold_rst,
        };
        self.possible = at + hold;
        self.sure = if promises.reuses_held {
            at
        } else {
            self.possible
        };
    }

    fn refresh(&mut self, at: u64, promises: &Promises) {
        self.sure = match self.phase {
            Phase::Udp => promises.idle_end(at, promises.udp_idle),
            Phase::Opening => at + promises.half_open,
            _ => promises.idle_end(at, promises.idle),
        };
        self.possible = self.sure;
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
    /// The flow that has a NAT port.
    owners: BTreeMap<(u8, SocketAddrV4), Flow>,
}

impl Mappings {
    pub(super) fn get(&mut self, flow: &Flow) -> Option<&mut Mapping> {
        self.by_flow.get_mut(flow)
    }

    /// Returns who has a NAT port, maybe no more.
    pub(super) fn owner(&mut self, protocol: u8, nat: SocketAddrV4) -> Option<&mut Mapping> {
        self.by_flow.get_mut(self.owners.get(&(protocol, nat))?)
    }

    pub(super) fn insert(&mut self, mapping: Mapping) {
        let key = (mapping.flow.protocol, mapping.nat);
        self.owners.insert(key, mapping.flow);
        self.by_flow.insert(mapping.flow, mapping);
    }

    pub(super) fn remove(&mut self, flow: &Flow) -> Option<Mapping> {
        let mapping = self.by_flow.remove(flow)?;
        self.owners.remove(&(flow.protocol, mapping.nat));
        Some(mapping)
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
        at: u64,
        reuses_held: bool,
    ) -> usize {
        let taken = self.all().filter(|mapping| {
            mapping.flow.protocol == protocol
                && nat_ips.contains(mapping.nat.ip())
                && at < mapping.possible
                && !(reuses_held && mapping.phase.is_held())
        });
        taken.count()
    }

    /// Counts the flows that may count against the VM's limit.
    pub(super) fn active(&self, at: u64) -> usize {
        let active = self.all();
        active
            .filter(|mapping| at < mapping.possible && !mapping.phase.is_held())
            .count()
    }
}

/// Tells the protocols apart in messages.
pub(super) const fn name(protocol: u8) -> &'static str {
    if protocol == UDP { "udp" } else { "tcp" }
}
