use std::net::{Ipv4Addr, SocketAddrV4};

use plsim_lb::probe::{ProbeEvent, ProbeFailure, ProbeSegment, Prober, Turn, Until};
use plsim_packet::{Form, Origin, Packet, Payload, TcpHeader, probe};
use plsim_sim::{ChannelId, Context, Wakeup};
use plsim_types::{DropReason, Instant, TcpFlags};

/// The receive window and the largest segment of the prober, as of any endpoint here.
const WINDOW: u16 = 65_535;
const MSS: u16 = 1_460;

/// A verdict that changed, and when.
pub type TimedProbeEvent = (Instant, ProbeEvent);

/// All that a probe says over its connection, and what it waits for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Dialogue {
    turns: Vec<Turn>,
    bytes: Vec<u8>,
}

impl Dialogue {
    /// A TCP probe: the handshake and the close say it all.
    #[must_use]
    pub fn tcp() -> Self {
        Self::default()
    }

    /// An HTTP probe: a GET request in the clear.
    #[must_use]
    pub fn http(vm: SocketAddrV4, path: &str) -> Self {
        let request = probe::http_request(*vm.ip(), vm.port(), path);
        Self::default().say(&request, Until::Status)
    }

    /// An HTTPS probe: the handshake of TLS 1.2, then the request in a record. With an objection to
    /// the server it ends when the server's first flight has come.
    #[must_use]
    pub fn https(vm: SocketAddrV4, path: &str, objection: Option<ProbeFailure>) -> Self {
        let length = |answer: &Vec<u8>| answer.len() as u32;
        let [hello, finished] = probe::tls_client();
        let [flight, done] = probe::tls_server();
        let request = probe::http_request(*vm.ip(), vm.port(), path);
        let heard = match objection {
            Some(why) => Until::Objection(length(&flight), why),
            None => Until::Bytes(length(&flight)),
        };
        Self::default()
            .say(&hello, heard)
            .say(&finished, Until::Bytes(length(&done)))
            .say(&probe::tls_record(&request), Until::Status)
    }

    /// Puts a PROXY protocol header before everything else (PP-7).
    #[must_use]
    pub fn after(self, header: &[u8]) -> Self {
        let mut dialogue = Self::default().say(header, Until::Nothing);
        dialogue.turns.extend(self.turns);
        dialogue.bytes.extend(self.bytes);
        dialogue
    }

    /// Returns the turns, without their bytes.
    #[must_use]
    pub fn turns(&self) -> &[Turn] {
        &self.turns
    }

    fn say(mut self, text: &[u8], until: Until) -> Self {
        let say = text.len() as u16;
        self.turns.push(Turn { say, until });
        self.bytes.extend_from_slice(text);
        self
    }
}

/// The health probes that a host sends to its VM: packets for a [`Prober`].
///
/// They bypass the NAT and the load balancer.
#[derive(Debug)]
pub struct HealthProbes {
    vm: Ipv4Addr,
    prober: Prober,
    /// What each probe of the prober says.
    dialogues: Vec<Dialogue>,
    is_blocked: bool,
    wakeup: Wakeup,
    events: Vec<TimedProbeEvent>,
}

impl HealthProbes {
    /// Joins a prober with what its probes say, in the same order.
    #[must_use]
    pub fn new(vm: Ipv4Addr, prober: Prober, dialogues: Vec<Dialogue>, is_blocked: bool) -> Self {
        Self {
            vm,
            prober,
            dialogues,
            is_blocked,
            wakeup: Wakeup::default(),
            events: Vec::new(),
        }
    }

    /// Returns the prober for its counters.
    #[must_use]
    pub const fn prober(&self) -> &Prober {
        &self.prober
    }

    /// Sets whether a network security group keeps probes from the VM.
    pub const fn block(&mut self, is_blocked: bool) {
        self.is_blocked = is_blocked;
    }

    /// Tells whether they are kept from the VM.
    #[must_use]
    pub const fn are_blocked(&self) -> bool {
        self.is_blocked
    }

    /// Takes the changes of verdicts since the last call, in order, up to the last that `is_heard`.
    pub(crate) fn take_events(
        &mut self,
        is_heard: impl Fn(&TimedProbeEvent) -> bool,
    ) -> Vec<TimedProbeEvent> {
        let last = self.events.iter().rposition(is_heard);
        let count = last.map_or(0, |last| last + 1);
        self.events.drain(..count).collect()
    }

    /// Notes that the VM was stopped or started.
    pub(crate) fn set_running(&mut self, running: bool, to_vm: Door, context: &mut Context<'_>) {
        self.prober.set_running(running, context.now());
        self.settle(to_vm, context);
    }

    /// Notes whether the VM is in a pool whose rules have a probe; what follows from it is done with
    /// the next timer.
    pub(crate) fn set_asked(&mut self, probe: u16, is_asked: bool, now: Instant) {
        self.prober.set_asked(probe, is_asked, now);
    }

    /// Tells whether a packet of the VM is meant for the prober.
    pub(crate) fn is_for(packet: &Packet) -> bool {
        packet.form() == Form::Tcp && *packet.destination().ip() == probe::SOURCE
    }

    /// Takes a packet that is meant for the prober.
    pub(crate) fn on_packet(
        &mut self,
        packet: Box<Packet>,
        to_vm: Door,
        context: &mut Context<'_>,
    ) {
        let (vm, own) = (packet.source().port(), packet.destination().port());
        let status = match packet.payload() {
            Payload::Bytes(bytes) => probe::http_status(bytes),
            Payload::Zeros(_) => None,
        };
        let segment = packet.tcp_segment();
        context.deliver(packet);
        if let Some(segment) = segment {
            let now = context.now();
            self.prober.on_segment(vm, own, &segment, status, now);
            self.settle(to_vm, context);
        }
    }

    /// Does what is due.
    pub(crate) fn on_timer(&mut self, to_vm: Door, context: &mut Context<'_>) {
        self.wakeup.fired(context.now());
        self.prober.handle_timeout(context.now());
        self.settle(to_vm, context);
    }

    /// Sends what the prober has to say, keeps its events, and follows its next deadline.
    pub(crate) fn settle(&mut self, to_vm: Door, context: &mut Context<'_>) {
        while let Some(segment) = self.prober.poll_transmit(context.now()) {
            let packet = context.inject(self.packet(&segment));
            if self.is_blocked {
                context.drop(packet, DropReason::ProbeBlocked);
            } else {
                context.send(to_vm.channel, packet);
            }
        }
        while let Some(event) = self.prober.poll_event() {
            self.events.push((context.now(), event));
            // The driver tells the load balancers.
            context.call();
        }
        let deadline = self.prober.poll_timeout();
        self.wakeup.arm(deadline, to_vm.token, context);
    }

    fn packet(&self, segment: &ProbeSegment) -> Packet {
        let start = segment.offset as usize;
        let payload = match segment.length {
            0 => Payload::Zeros(0),
            length => {
                let bytes = &self.dialogues[usize::from(segment.probe)].bytes;
                Payload::Bytes(bytes[start..start + usize::from(length)].into())
            }
        };
        let has = |flag| segment.flags.has(flag);
        let header = TcpHeader {
            source: SocketAddrV4::new(probe::SOURCE, segment.source_port),
            destination: SocketAddrV4::new(self.vm, segment.destination_port),
            sequence: segment.sequence,
            acknowledgement: if has(TcpFlags::ACK) {
                segment.acknowledgement
            } else {
                0
            },
            flags: segment.flags,
            window: if has(TcpFlags::RST) { 0 } else { WINDOW },
            mss: has(TcpFlags::SYN).then_some(MSS),
        };
        let mut packet = Packet::tcp(&header, payload);
        packet.origin = Origin::Probe;
        packet
    }
}

/// Where a host's probes leave, and the token of their timer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Door {
    pub(crate) channel: ChannelId,
    pub(crate) token: u64,
}
