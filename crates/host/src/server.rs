mod admission;
mod cookies;
mod full;
mod late;
mod news;
mod queues;
mod state;
mod udp;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};

use plsim_packet::{Fate, Form, Fragments, FragmentsConfig, Packet, probe};
use plsim_sim::{ChannelId, Context, Foresight, Node, Wakeup};
use plsim_table::{FixedSet, FlowTable};
use plsim_types::{DropReason, Duration, Instant, KeyedHash, Protocol, TcpSegment};

use crate::agenda::Agenda;
use crate::alarm::Alarm;
use crate::application::{Application, Failure, Said};
use crate::client_tcp::send;
use crate::config::ServerVmConfig;
use crate::parameters::TcpParameters;
use crate::probe::Answers;
use crate::request::{Extra, PackedRequest, Request};
use crate::segment::{Kind, answer_closed};
use crate::side_table::SideTable;
use crate::stats::ServerStats;
use crate::tcp::{State, Tcb, Verdict};
use cookies::Cookies;
use full::FullEnds;
use late::Late;
use news::News;
pub use queues::Admission;
use queues::{Place, Queues};
use state::Flaps;
pub use state::{Behaviour, Flapping, VmState};

/// One backend VM: answers each request with as many bytes as it asks for, and its health probes.
///
/// A connection lives until the client closes or resets it. UDP is answered without state.
#[derive(Debug)]
#[repr(align(128))]
pub struct ServerVm {
    address: Ipv4Addr,
    out: ChannelId,
    listeners: FixedSet<(Protocol, u16)>,
    application: Application,
    parameters: TcpParameters,
    floating_ips: FixedSet<Ipv4Addr>,
    /// The floating addresses that TCP peers dialled, by their address and the port here.
    dialled: BTreeMap<(Ipv4Addr, u16), Ipv4Addr>,
    slots: FlowTable<Slot>,
    queues: Queues,
    hash: KeyedHash,
    cookies: Cookies,
    stats: ServerStats,
    /// The connections of all peers but health probes, where the VM has the full TCP.
    full: Option<FullEnds>,
    fragments: Fragments,
    wakeup: Wakeup,
    behaviour: Behaviour,
    flaps: Flaps,
    /// Since when it is not running.
    down_since: Option<Instant>,
    answers: Answers,
    /// The answers that are not due yet.
    late: Agenda<Late>,
    /// The requests that ask for more than a response at once, by position.
    unusual: SideTable<PackedRequest>,
    /// The time from one message about a subject to the next.
    subjects: Vec<News>,
}

/// One server end. Vacant slots have a closed [`Tcb`] and an alarm that no timer matches.
#[derive(Debug, Default)]
struct Slot {
    tcb: Tcb,
    alarm: Alarm,
    remote: u32,
    remote_port: u16,
    local_port: u16,
}

const _: () = assert!(size_of::<Slot>() <= 48);

/// The tokens of other timers; those below are positions of connections.
const FRAGMENTS: u64 = 1 << 32;
const FLAPS: u64 = FRAGMENTS + 1;
const LATE: u64 = FRAGMENTS + 2;
const FULL: u64 = 2 << 32;

/// How a connection ended.
#[derive(Debug, Clone, Copy)]
enum Ended {
    Closed,
    Reset,
    TimedOut,
    Aborted,
}

impl ServerVm {
    /// Builds the VM.
    ///
    /// # Panics
    /// If a value of the configuration lies outside its documented range.
    #[must_use]
    pub fn new(config: ServerVmConfig) -> Self {
        config.tcp.check();
        Self {
            address: config.address,
            out: config.out,
            listeners: config.listeners.into_iter().collect(),
            application: config.application,
            parameters: config.tcp,
            floating_ips: config.floating_ips.into_iter().collect(),
            dialled: BTreeMap::new(),
            slots: FlowTable::new(),
            queues: Queues::new(config.admission),
            hash: KeyedHash::new(config.seed, "server look-up"),
            cookies: Cookies::new(config.seed),
            stats: ServerStats::default(),
            full: config.full.map(|full| {
                let isns = KeyedHash::new(config.seed, "full initial sequence numbers");
                FullEnds::new(full, isns.word(0))
            }),
            fragments: Fragments::new(FragmentsConfig::HOST),
            wakeup: Wakeup::default(),
            behaviour: config.behaviour,
            flaps: Flaps::default(),
            down_since: (config.behaviour.state != VmState::Running).then_some(Instant::ZERO),
            answers: Answers::default(),
            late: Agenda::default(),
            unusual: SideTable::new(),
            subjects: config.subjects.iter().map(News::new).collect(),
        }
    }

    /// Sends a packet as it is: a VM may send any bytes.
    pub fn send(&self, packet: Packet, cx: &mut Context<'_>) {
        let packet = cx.inject(packet);
        cx.send(self.out, packet);
    }

    /// Returns what the VM did so far.
    #[must_use]
    pub const fn stats(&self) -> &ServerStats {
        &self.stats
    }

    /// Returns the number of connections that wait until the application accepts them.
    #[must_use]
    pub fn waiting(&self) -> u64 {
        self.queues.waiting()
    }

    /// Returns the bytes of heap memory held for connections and look-up.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        let full = self.full.as_ref().map_or(0, FullEnds::memory_bytes);
        self.slots.memory_bytes() + self.unusual.memory_bytes() + full
    }

    /// Returns the number of fragments that wait for others.
    #[must_use]
    pub const fn held(&self) -> u64 {
        self.fragments.held()
    }

    fn listens(&self, protocol: Protocol, port: u16) -> bool {
        self.behaviour.state == VmState::Running && self.listeners.contains(&(protocol, port))
    }

    /// Returns the own end of a TCP connection.
    fn local(&self, remote: SocketAddrV4, local_port: u16) -> SocketAddrV4 {
        let dialled = self.dialled.get(&(*remote.ip(), local_port));
        SocketAddrV4::new(*dialled.unwrap_or(&self.address), local_port)
    }

    fn key(&self, remote: SocketAddrV4, local_port: u16) -> u64 {
        let ports = u64::from(remote.port()) << 16 | u64::from(local_port);
        self.hash
            .word(u64::from(remote.ip().to_bits()) << 32 | ports)
    }

    fn on_tcp(&mut self, packet: Box<Packet>, cx: &mut Context<'_>) {
        let (local, remote) = (packet.destination(), packet.source());
        let Some(segment) = packet.tcp_segment() else {
            return cx.deliver(packet);
        };
        if self.is_full(remote) {
            return self.on_full(packet, &segment, cx);
        }
        let mss = packet.mss();
        let is_known =
            |slot: &Slot| slot.local_port == local.port() && slot.remote_socket() == remote;
        let mut found = self.slots.find(self.key(remote, local.port()), is_known);
        let ends = (remote, local.port());
        let cookie = match found {
            None => self.read_cookie(ends, &segment, cx.now()),
            Some(_) => None,
        };
        let refusal = match cookie {
            None => self.refusal(found, local.port(), &segment),
            Some(_) => self.queue_refusal(false, true, local.port()),
        };
        if let Some(reason) = refusal {
            if !self.sends_cookie(reason) {
                return self.overflow(packet, reason, cx);
            }
            cx.deliver(packet);
            return self.send_cookie(found, ends, (&segment, mss), cx);
        }
        if let Some(mss) = cookie {
            found = Some(self.accept_cookie(ends, &segment, mss));
        }
        let Some(position) = found else {
            cx.deliver(packet);
            return self.on_stranger(remote, local.port(), &segment, mss, cx);
        };
        let tcb = &self.slots.entry(position).tcb;
        if tcb.yields_to(&segment) && self.listens(Protocol::Tcp, local.port()) {
            self.end(position, Ended::Closed);
            cx.deliver(packet);
            return self.on_stranger(remote, local.port(), &segment, mss, cx);
        }
        let slot = self.slots.entry_mut(position);
        let was_open = slot.tcb.is_open();
        let was_over = slot.tcb.state() == State::TimeWait;
        let place = Place::Light(position);
        let before = slot.tcb.received();
        // Where the first byte that is new stands in the segment.
        let from = before.wrapping_sub(segment.sequence);
        let is_first = !slot.tcb.is_expecting() && from < u32::from(segment.length);
        let opening = is_first.then(|| {
            let is_greeted = slot.tcb.is_greeted();
            self.application
                .open(packet.payload(), from as usize, is_greeted)
        });
        cx.deliver(packet);
        let verdict = slot
            .tcb
            .on_segment(&segment, mss, cx.now(), &self.parameters);
        if !was_open && slot.tcb.is_open() {
            self.count_open(place, local.port());
        }
        let slot = self.slots.entry_mut(position);
        if slot.tcb.state() == State::TimeWait && !was_over {
            self.count_linger(place, local.port());
        }
        let slot = self.slots.entry_mut(position);
        // A FIN counts one in sequence numbers, but is no byte.
        let fresh = slot
            .tcb
            .received()
            .wrapping_sub(before)
            .min(u32::from(segment.length));
        self.stats.request_bytes += u64::from(fresh);
        if let Some(opening) = opening.filter(|_| fresh > 0) {
            let opening = match opening {
                Ok(opening) => opening,
                Err(failure) => return self.refuse(position, failure, cx),
            };
            self.stats.request_bytes -= u64::from(opening.header);
            if opening.header > 0 {
                slot.tcb.greet();
            }
            let first = before.wrapping_add(opening.header);
            match opening.said {
                None => {}
                Some(Said::Request(head)) => {
                    slot.begin(&head, first);
                    if head.extra != Extra::default() {
                        *self.unusual.entry(position) = PackedRequest::new(&head);
                    }
                }
                Some(Said::Probe(word)) => {
                    let status = self.behaviour.probe_status;
                    let end = slot.tcb.end();
                    let (response, is_last) = self.answers.hear(position, word, end, status);
                    if is_last {
                        let request = fresh - opening.header;
                        let extra = Extra::default();
                        let head = Request {
                            request,
                            response,
                            extra,
                        };
                        slot.begin(&head, first);
                    } else {
                        slot.tcb.write(response);
                    }
                }
            }
        }
        if slot.tcb.is_satisfied() {
            self.respond(position, fresh > 0, cx);
        }
        self.conclude(position, verdict, cx);
    }

    /// Lets the response go whose request is here, or notes when it is due.
    fn respond(&mut self, position: u32, is_new: bool, cx: &mut Context<'_>) {
        let slot = self.slots.entry(position);
        if self.queues.waits(slot.local_port, Place::Light(position)) {
            return;
        }
        let work = self
            .unusual
            .get(position)
            .unpack()
            .map_or(Duration::ZERO, |head| head.extra.service_time);
        let delay = self.behaviour.response_delay + work;
        if delay.is_zero() {
            self.release(position, cx);
        } else if is_new {
            let late = Late::Response {
                remote: slot.remote_socket(),
                local_port: slot.local_port,
                received: slot.tcb.received(),
            };
            self.delay(delay, late, cx);
        }
    }

    /// Lets the response go, and waits for the next request, or closes if it is to; false if there
    /// is none.
    fn release(&mut self, position: u32, cx: &mut Context<'_>) -> bool {
        let slot = self.slots.entry_mut(position);
        if !slot.tcb.uncork() {
            return false;
        }
        slot.tcb.expect_anew();
        self.stats.requests += u64::from(!self.answers.has(position));
        let Some(head) = self.unusual.remove(position).unpack() else {
            return true;
        };
        if head.extra.closes {
            slot.tcb.close();
        }
        if let Some(subject) = head.extra.subject {
            let late = Late::Message {
                remote: slot.remote_socket(),
                local_port: slot.local_port,
                received: slot.tcb.received(),
                subject,
                length: head.response,
            };
            self.publish(subject, late, cx);
        }
        true
    }

    /// Takes a segment that belongs to no connection.
    fn on_stranger(
        &mut self,
        remote: SocketAddrV4,
        local_port: u16,
        segment: &TcpSegment,
        mss: Option<u16>,
        cx: &mut Context<'_>,
    ) {
        if segment.flags.opens() && self.listens(Protocol::Tcp, local_port) {
            let isn = cx.random().bits() as u32;
            let slot = Slot {
                tcb: Tcb::accept(isn, segment, mss),
                alarm: Alarm::default(),
                remote: remote.ip().to_bits(),
                remote_port: remote.port(),
                local_port,
            };
            self.stats.half_open += 1;
            self.queues.begin(local_port);
            let position = self.slots.insert(self.key(remote, local_port), slot);
            return self.conclude(position, Verdict::Continue, cx);
        }
        self.answer_stranger(remote, local_port, segment, cx);
    }

    /// Resets what belongs to no connection.
    fn answer_stranger(
        &mut self,
        remote: SocketAddrV4,
        local_port: u16,
        segment: &TcpSegment,
        cx: &mut Context<'_>,
    ) {
        if let Some(answer) = answer_closed(segment) {
            // The prober counts its failures itself.
            let is_probe = *remote.ip() == probe::SOURCE;
            self.stats.refused += u64::from(segment.flags.opens() && !is_probe);
            let local = self.local(remote, local_port);
            send(local, remote, &answer, None, self.out, cx);
        }
    }

    /// Draws the consequences of a verdict, sends what is due and sets the timer.
    fn conclude(&mut self, position: u32, verdict: Verdict, cx: &mut Context<'_>) {
        let slot = self.slots.entry(position);
        let remote = slot.remote_socket();
        let local = self.local(remote, slot.local_port);
        let slot = self.slots.entry_mut(position);
        let ended = match verdict {
            Verdict::Continue => None,
            Verdict::Challenged => {
                self.stats.challenge_acks += 1;
                None
            }
            Verdict::Answer(segment) => {
                send(local, remote, &segment, None, self.out, cx);
                None
            }
            Verdict::Reset | Verdict::Refused => Some(Ended::Reset),
            Verdict::Closed => Some(Ended::Closed),
            Verdict::TimedOut(reset) => {
                if let Some(reset) = reset {
                    send(local, remote, &reset, None, self.out, cx);
                }
                Some(Ended::TimedOut)
            }
        };
        if let Some(ended) = ended {
            return self.end(position, ended);
        }
        while let Some(segment) = slot.tcb.poll_transmit(cx.now(), &self.parameters) {
            self.stats.retransmissions += u64::from(segment.kind == Kind::Retransmission);
            let payload = self.answers.payload(position, &segment);
            send(local, remote, &segment, payload, self.out, cx);
        }
        slot.alarm.arm(slot.tcb.deadline(), u64::from(position), cx);
    }

    /// Resets a connection that brought no request.
    fn refuse(&mut self, position: u32, failure: Failure, cx: &mut Context<'_>) {
        // The prober counts its failures itself.
        if *self.slots.entry(position).remote_socket().ip() != probe::SOURCE {
            self.count_failure(failure);
        }
        self.abort(position, cx);
    }

    const fn count_failure(&mut self, failure: Failure) {
        let reasons = &mut self.stats.failed_by;
        *match failure {
            Failure::UnexpectedHeader => &mut reasons.proxy_unexpected,
            Failure::MissingHeader => &mut reasons.proxy_missing,
            Failure::Unreadable => &mut reasons.unreadable,
        } += 1;
    }

    fn abort(&mut self, position: u32, cx: &mut Context<'_>) {
        let slot = self.slots.entry(position);
        let remote = slot.remote_socket();
        send(
            self.local(remote, slot.local_port),
            remote,
            &slot.tcb.abort(),
            None,
            self.out,
            cx,
        );
        self.end(position, Ended::Aborted);
    }

    fn end(&mut self, position: u32, ended: Ended) {
        let slot = self.slots.entry(position);
        let key = self.key(slot.remote_socket(), slot.local_port);
        self.answers.forget(position);
        self.unusual.remove(position);
        let state = slot.tcb.state();
        let local_port = slot.local_port;
        if state == State::TimeWait {
            self.stats.time_wait -= 1;
        } else {
            let was_open = slot.tcb.is_open();
            self.count_end(Place::Light(position), local_port, was_open, ended);
        }
        self.slots.remove(key, position);
    }

    fn receive(&mut self, packet: Box<Packet>, cx: &mut Context<'_>) {
        if !self.behaviour.state.takes_packets() {
            return cx.drop(packet, DropReason::VmDown);
        }
        let (local, remote) = (packet.destination(), packet.source());
        let peer = (*remote.ip(), local.port());
        if *local.ip() == self.address {
            if !self.dialled.is_empty() {
                self.dialled.remove(&peer);
            }
        } else {
            if !self.floating_ips.contains(local.ip()) {
                return cx.drop(packet, DropReason::NoHost);
            }
            self.dialled.insert(peer, *local.ip());
        }
        match packet.form() {
            Form::Tcp => self.on_tcp(packet, cx),
            Form::Udp => self.on_udp(packet, cx),
            // Established connections take no notice (RFC 5461), and there is no other use.
            Form::IcmpError => cx.deliver(packet),
            Form::Fragment => {
                self.fragments.process(packet, cx.now());
                self.settle_fragments(cx);
            }
            Form::Unusual(fault) => cx.drop(packet, fault),
        }
    }

    /// Takes the packets that are whole, and lets the fragments go that never will be.
    fn settle_fragments(&mut self, cx: &mut Context<'_>) {
        while let Some(fate) = self.fragments.poll_fate() {
            match fate {
                Fate::On(packet) => self.receive(packet, cx),
                Fate::Merged(packet) => cx.merge(packet),
                Fate::Dropped(packet, reason) => cx.drop(packet, reason),
            }
        }
        let deadline = self.fragments.poll_timeout();
        self.wakeup.arm(deadline, FRAGMENTS, cx);
    }
}

impl Node for ServerVm {
    fn on_packet(&mut self, packet: Box<Packet>, _by: ChannelId, cx: &mut Context<'_>) {
        self.receive(packet, cx);
        self.accept_waiting(cx);
    }

    fn foresee(&self, packet: &Packet, _: ChannelId) -> Foresight {
        if packet.form() != Form::Tcp {
            return Foresight::Done;
        }
        let key = self.key(packet.source(), packet.destination().port());
        self.slots.prefetch(key);
        Foresight::More
    }

    fn foresee_more(&self, packet: &Packet, _: ChannelId) {
        let key = self.key(packet.source(), packet.destination().port());
        self.slots.prefetch_found(key);
    }

    fn foresee_timer(&self, token: u64) {
        if token < FRAGMENTS {
            self.slots.prefetch_entry(token as u32);
        }
    }

    fn on_timer(&mut self, token: u64, cx: &mut Context<'_>) {
        if token == FRAGMENTS {
            self.wakeup.fired(cx.now());
            self.fragments.handle_timeout(cx.now());
            return self.settle_fragments(cx);
        }
        if token == FLAPS {
            if let Some(state) = self.flaps.fire(self.behaviour.state, FLAPS, cx) {
                self.become_state(state, cx);
            }
            return;
        }
        if let Some(position) = token.checked_sub(FULL) {
            self.on_full_timer(position as u32, cx);
            return self.accept_waiting(cx);
        }
        if token == LATE {
            return self.answer_late(cx);
        }
        let position = token as u32;
        let slot = self.slots.entry_mut(position);
        if !slot.alarm.fired(cx.now()) {
            return;
        }
        let is_due = slot.tcb.deadline().is_some_and(|at| at <= cx.now());
        let verdict = match is_due {
            true => slot.tcb.on_timer(cx.now(), &self.parameters),
            false => Verdict::Continue,
        };
        self.conclude(position, verdict, cx);
        self.accept_waiting(cx);
    }
}

impl Slot {
    fn remote_socket(&self) -> SocketAddrV4 {
        SocketAddrV4::new(Ipv4Addr::from_bits(self.remote), self.remote_port)
    }

    /// Notes what the request will be long and prepares the response.
    fn begin(&mut self, head: &Request, first: u32) {
        self.tcb.expect_until(first.wrapping_add(head.request));
        // The peer may close with the request's last byte: then nothing is written any more.
        if self.tcb.state() == State::Established {
            self.tcb.cork();
            self.tcb.write(head.response);
        }
    }
}
