use std::net::{Ipv4Addr, SocketAddrV4};

use plsim_nat::{
    BindingInfo, FrontendFlows, FrontendUsage, NatEngine, NatEvent, OnExhaustion, Original, Reply,
    Reset, Sender,
};
use plsim_packet::{Fate, Form, Fragments, Origin, Packet, Payload, Rewrite, TcpHeader};
use plsim_sim::{ChannelId, Context, Foresight, Node, Wakeup};
use plsim_types::canary::{Fault, planted};
use plsim_types::{Direction, DropReason, Instant, LinkId, PlsId, Protocol, TcpFlags, TcpSegment};

use crate::admission::admit;
use crate::floating_ip::FloatingIps;
use crate::probe::{Door, HealthProbes, TimedProbeEvent};
use crate::splice::{Consumer, SpliceStats, Splices};

/// What a backend host is made of.
#[derive(Debug)]
pub struct BackendHostConfig {
    /// The address of the VM on this host.
    pub address: Ipv4Addr,
    /// The NAT of the one VM on this host.
    pub nat: NatEngine,
    /// The flows of clients that dialled a frontend themselves.
    pub frontend_flows: FrontendFlows,
    /// The PROXY headers of the services that ask for them.
    pub splices: Splices,
    /// The frontends' addresses that the VM gets packets for.
    pub floating_ips: FloatingIps,
    /// What is done with fragments that the VM sends.
    pub fragments: Fragments,
    /// The health probes of the VM, if there are any.
    pub probes: Option<HealthProbes>,
    /// Toward the VM.
    pub to_vm: ChannelId,
    /// Where the VM's packets arrive.
    pub from_vm: ChannelId,
    /// Toward the clients (direct server return).
    pub to_backbone: ChannelId,
}

/// The tokens of the timers.
const NAT: u64 = 0;
const FRAGMENTS: u64 = 1;
const PROBES: u64 = 2;
const FRONTEND: u64 = 3;

/// Codes of "destination unreachable" (RFC 792, RFC 1812 §5.2.7.1).
const HOST_UNREACHABLE: u8 = 1;
const ADMINISTRATIVELY_PROHIBITED: u8 = 13;

/// What a client dialled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialled {
    /// A private endpoint, by its connection.
    Link(LinkId),
    /// The load balancer's frontend itself.
    Frontend(Ipv4Addr),
}

/// A TCP connection of the VM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServedFlow {
    /// What its client dialled.
    pub dialled: Dialled,
    /// Its client.
    pub client: SocketAddrV4,
    /// The port that the client dialled.
    pub frontend_port: u16,
}

impl ServedFlow {
    const fn linked(binding: &BindingInfo) -> Self {
        Self {
            dialled: Dialled::Link(binding.link),
            client: binding.client,
            frontend_port: binding.endpoint.port(),
        }
    }

    const fn direct(client: SocketAddrV4, frontend: SocketAddrV4) -> Self {
        Self {
            dialled: Dialled::Frontend(*frontend.ip()),
            client,
            frontend_port: frontend.port(),
        }
    }
}

/// Something that happened in a NAT, and when.
pub type TimedNatEvent = (Instant, NatEvent);

/// The host of a backend VM: translates what goes to the VM and what it answers.
#[derive(Debug)]
#[repr(align(128))]
pub struct BackendHost {
    pub(crate) config: BackendHostConfig,
    wakeup: Wakeup,
    frontend_wakeup: Wakeup,
    fragments_wakeup: Wakeup,
    events: Vec<TimedNatEvent>,
}

impl BackendHost {
    /// Builds the node.
    #[must_use]
    pub fn new(config: BackendHostConfig) -> Self {
        Self {
            config,
            wakeup: Wakeup::default(),
            frontend_wakeup: Wakeup::default(),
            fragments_wakeup: Wakeup::default(),
            events: Vec::new(),
        }
    }

    /// Returns the NAT for its counters.
    #[must_use]
    pub const fn nat(&self) -> &NatEngine {
        &self.config.nat
    }

    /// Returns the NAT for a change at run time.
    pub const fn nat_mut(&mut self) -> &mut NatEngine {
        &mut self.config.nat
    }

    /// Returns what the flows of clients did that dialled a frontend themselves.
    #[must_use]
    pub const fn frontend_usage(&self) -> FrontendUsage {
        self.config.frontend_flows.usage()
    }

    /// Resets both ends of the established TCP connections that `is_it` accepts; returns how many.
    pub fn reset_flows(
        &mut self,
        is_it: impl Fn(&ServedFlow) -> bool,
        context: &mut Context<'_>,
    ) -> u32 {
        let now = context.now();
        let BackendHostConfig {
            nat,
            frontend_flows,
            ..
        } = &mut self.config;
        let linked = |binding: &BindingInfo| is_it(&ServedFlow::linked(binding));
        let direct = |client, frontend| is_it(&ServedFlow::direct(client, frontend));
        let count = nat.reset_flows(linked, now) + frontend_flows.reset_flows(direct, now);
        self.settle(context);
        count
    }

    /// Counts the established TCP connections that `is_it` accepts. It walks the whole tables.
    pub fn count_flows(&self, is_it: impl Fn(&ServedFlow) -> bool) -> u32 {
        let linked = |binding: &BindingInfo| is_it(&ServedFlow::linked(binding));
        let direct = |client, frontend| is_it(&ServedFlow::direct(client, frontend));
        self.config.nat.count_flows(linked) + self.config.frontend_flows.count_flows(direct)
    }

    /// Takes what has happened in the NAT since the last call, in order.
    pub fn take_events(&mut self) -> Vec<TimedNatEvent> {
        std::mem::take(&mut self.events)
    }

    /// Returns what was done for the services with PROXY protocol.
    #[must_use]
    pub const fn splice_stats(&self) -> SpliceStats {
        self.config.splices.stats()
    }

    /// Starts the health probes that are due: call it at the beginning of the run.
    pub fn start(&mut self, context: &mut Context<'_>) {
        let door = self.door();
        if let Some(probes) = &mut self.config.probes {
            probes.on_timer(door, context);
        }
    }

    /// Returns the health probes of the VM, if there are any.
    #[must_use]
    pub const fn probes(&self) -> Option<&HealthProbes> {
        self.config.probes.as_ref()
    }

    /// Sets whether a network security group keeps health probes from the VM.
    pub const fn block_probes(&mut self, are_blocked: bool) {
        if let Some(probes) = &mut self.config.probes {
            probes.block(are_blocked);
        }
    }

    /// Notes that the VM was stopped or started: one that is stopped is not probed.
    pub fn set_vm_running(&mut self, is_running: bool, context: &mut Context<'_>) {
        let door = self.door();
        if let Some(probes) = &mut self.config.probes {
            probes.set_running(is_running, door, context);
        }
    }

    /// Notes whether the VM is in a pool whose rules have a probe: only then it is asked. Call
    /// [`start`](Self::start) after it.
    pub fn set_vm_asked(&mut self, probe: u16, is_asked: bool, now: Instant) {
        if let Some(probes) = &mut self.config.probes {
            probes.set_asked(probe, is_asked, now);
        }
    }

    /// Takes the changes of the probes' verdicts since the last call, in order, up to the last that
    /// `is_heard`.
    pub fn take_probe_events(
        &mut self,
        is_heard: impl Fn(&TimedProbeEvent) -> bool,
    ) -> Vec<TimedProbeEvent> {
        let probes = self.config.probes.as_mut();
        let probes = probes.map(|probes| probes.take_events(is_heard));
        probes.unwrap_or_default()
    }

    const fn door(&self) -> Door {
        Door {
            channel: self.config.to_vm,
            token: PROBES,
        }
    }

    /// Has the NAT translate a packet.
    fn translate_by_nat(
        &mut self,
        packet: &mut Packet,
        direction: Direction,
        now: Instant,
    ) -> Result<Option<Box<Packet>>, DropReason> {
        let BackendHostConfig {
            nat,
            splices,
            floating_ips,
            address,
            ..
        } = &mut self.config;
        let is_error = packet.form() == Form::IcmpError;
        let (source, destination) = (packet.source(), packet.destination());
        let translation = match direction {
            Direction::Original => {
                let original = original(packet, packet.tracked_segment());
                nat.prefer_nat_ip(packet.encap.nat_ip);
                match is_error {
                    true => nat.original_error(&original, now),
                    false => nat.original(&original, now),
                }
            }
            Direction::Reply => {
                let reply = Reply {
                    source: floating_ips.inward(source, *address),
                    destination,
                    protocol: packet.protocol(),
                    segment: splices.seen(packet),
                };
                match is_error {
                    true => nat.reply_error(&reply, now),
                    false => nat.reply(&reply, now),
                }
            }
        }?;
        packet.encap.pls = translation.pls;
        packet.encap.link = translation.link;
        let link = translation.link;
        Ok(match direction {
            Direction::Original => {
                let protocol = packet.protocol();
                let vm = translation.destination;
                packet.rewrite(Rewrite {
                    source: translation.source,
                    destination: floating_ips.outward(translation.pls, protocol, vm),
                });
                let consumer = Consumer {
                    client: source,
                    endpoint: destination,
                    link,
                };
                splices.outward(packet, &consumer)
            }
            Direction::Reply => {
                let consumer = Consumer {
                    client: translation.destination,
                    endpoint: translation.source,
                    link,
                };
                let header = splices.inward(packet, &consumer);
                packet.rewrite(Rewrite {
                    source: translation.source,
                    destination: translation.destination,
                });
                header
            }
        })
    }

    /// Translates a packet in place, by the NAT unless its client dialled a frontend itself; a
    /// segment that comes back goes to the VM first.
    fn translate(
        &mut self,
        packet: &mut Packet,
        direction: Direction,
        now: Instant,
    ) -> Result<Option<Box<Packet>>, DropReason> {
        let is_direct = match direction {
            Direction::Original if packet.encap.pls == PlsId::NONE => {
                self.pass_in(packet, now)?;
                true
            }
            Direction::Original => false,
            Direction::Reply => self.pass_out(packet, now)?,
        };
        match is_direct {
            true => Ok(None),
            false => self.translate_by_nat(packet, direction, now),
        }
    }

    /// Tells a client that its new flow was refused for want of resources, if the service says so
    /// (RFC 5508 REQ-8) and does not do so too often.
    fn answer(&mut self, refused: &Packet, reason: DropReason, context: &mut Context<'_>) {
        if !matches!(
            reason,
            DropReason::NatPortsExhausted
                | DropReason::EndpointPortLimit
                | DropReason::VmFlowLimit
                | DropReason::NatTableFull
        ) {
            return;
        }
        let (nat, pls) = (&mut self.config.nat, refused.encap.pls);
        let code = match nat.answer_refusal(pls, context.now()) {
            OnExhaustion::Drop => return,
            OnExhaustion::AdministrativelyProhibited => ADMINISTRATIVELY_PROHIBITED,
            OnExhaustion::HostUnreachable => HOST_UNREACHABLE,
        };
        if let Some(answer) = Packet::unreachable(refused, code, Origin::Icmp) {
            let answer = context.inject(answer);
            context.send(self.config.to_backbone, answer);
        }
    }

    /// Translates a packet and sends it on.
    fn pass(&mut self, mut packet: Box<Packet>, direction: Direction, context: &mut Context<'_>) {
        let translated = self.translate(&mut packet, direction, context.now());
        // A look-up may find an expired binding: its resets go out before the packet's own fate.
        self.settle(context);
        let translated = translated.map(|header| {
            if let Some(header) = header {
                let header = context.inject(*header);
                context.send(self.config.to_vm, header);
            }
        });
        match (translated, direction) {
            (Err(reason), direction) => {
                if direction == Direction::Original {
                    self.answer(&packet, reason, context);
                }
                context.drop(packet, reason);
            }
            (Ok(()), Direction::Original) => {
                if planted(Fault::Duplicate) && packet.source().port().is_multiple_of(32) {
                    let copy = context.inject((*packet).clone());
                    context.send(self.config.to_vm, copy);
                }
                context.send(self.config.to_vm, packet);
            }
            (Ok(()), Direction::Reply) => context.send(self.config.to_backbone, packet),
        }
    }

    /// Lets the VM's fragments go whose fate is decided.
    fn settle_fragments(&mut self, context: &mut Context<'_>) {
        while let Some(fate) = self.config.fragments.poll_fate() {
            match fate {
                Fate::On(packet) => self.pass(packet, Direction::Reply, context),
                Fate::Merged(packet) => context.merge(packet),
                Fate::Dropped(packet, reason) => context.drop(packet, reason),
            }
        }
        let deadline = self.config.fragments.poll_timeout();
        self.fragments_wakeup.arm(deadline, FRAGMENTS, context);
    }

    /// Returns the number of fragments that wait.
    #[must_use]
    pub const fn held(&self) -> u64 {
        self.config.fragments.held()
    }

    /// Sends what the NAT has to say, keeps its events, and follows its next deadline.
    fn settle(&mut self, context: &mut Context<'_>) {
        while let Some(mut reset) = self.config.nat.poll_reset() {
            if reset.toward == Direction::Original {
                let BackendHostConfig {
                    splices,
                    floating_ips,
                    ..
                } = &mut self.config;
                splices.reset(&mut reset);
                reset.destination =
                    floating_ips.outward(reset.pls, Protocol::Tcp, reset.destination);
            }
            self.send_reset(&reset, context);
        }
        while let Some(reset) = self.config.frontend_flows.poll_reset() {
            self.send_reset(&reset, context);
        }
        while let Some(event) = self.config.nat.poll_event() {
            self.events.push((context.now(), event));
        }
        self.wakeup
            .arm(self.config.nat.poll_timeout(), NAT, context);
        let deadline = self.config.frontend_flows.poll_timeout();
        self.frontend_wakeup.arm(deadline, FRONTEND, context);
    }

    /// Returns what the NAT is told of a packet of the VM, as far as that says whose it is.
    #[inline]
    fn reply_of(&self, packet: &Packet) -> Reply {
        let BackendHostConfig {
            floating_ips,
            address,
            ..
        } = &self.config;
        Reply {
            source: floating_ips.inward(packet.source(), *address),
            destination: packet.destination(),
            protocol: packet.protocol(),
            segment: None,
        }
    }

    fn send_reset(&self, reset: &Reset, context: &mut Context<'_>) {
        let packet = context.inject(reset_packet(reset));
        let channel = match reset.toward {
            Direction::Original => self.config.to_vm,
            Direction::Reply => self.config.to_backbone,
        };
        context.send(channel, packet);
    }
}

/// Returns what the NAT is told of a packet of the consumers.
#[inline]
fn original(packet: &Packet, segment: Option<TcpSegment>) -> Original {
    Original {
        pls: packet.encap.pls,
        link: packet.encap.link,
        client: packet.source(),
        endpoint: packet.destination(),
        backend_port: packet.encap.backend_port,
        protocol: packet.protocol(),
        segment,
    }
}

/// Builds an RST of the NAT, or of the load balancer for which it keeps state.
fn reset_packet(reset: &Reset) -> Packet {
    let header = TcpHeader {
        source: reset.source,
        destination: reset.destination,
        sequence: reset.sequence,
        acknowledgement: reset.acknowledgement.unwrap_or(0),
        flags: match reset.acknowledgement {
            Some(_) => TcpFlags::RST | TcpFlags::ACK,
            None => TcpFlags::RST,
        },
        window: 0,
        mss: None,
    };
    let mut packet = Packet::tcp(&header, Payload::Zeros(0));
    packet.origin = match reset.by {
        Sender::Nat => Origin::Nat,
        Sender::LbTimer => Origin::LbTimer,
        Sender::LbDrain => Origin::LbDrain,
    };
    packet.encap.pls = reset.pls;
    if let Some(link) = reset.link {
        packet.encap.link = link;
    }
    packet
}

impl Node for BackendHost {
    fn on_packet(&mut self, packet: Box<Packet>, by: ChannelId, context: &mut Context<'_>) {
        let from_vm = by == self.config.from_vm;
        let own = self.config.address;
        let is_own = |address| address == own || self.config.floating_ips.has(address);
        if from_vm && let Err(reason) = admit(&packet, is_own) {
            return context.drop(packet, reason);
        }
        let door = self.door();
        if from_vm
            && let Some(probes) = &mut self.config.probes
            && HealthProbes::is_for(&packet)
        {
            return probes.on_packet(packet, door, context);
        }
        if from_vm && packet.form() == Form::Fragment {
            self.config.fragments.process(packet, context.now());
            return self.settle_fragments(context);
        }
        let direction = if from_vm {
            Direction::Reply
        } else {
            Direction::Original
        };
        self.pass(packet, direction, context);
    }

    fn foresee(&self, packet: &Packet, by: ChannelId) -> Foresight {
        match by == self.config.from_vm {
            true => self.config.nat.prefetch_reply(&self.reply_of(packet)),
            false => self.config.nat.prefetch_original(&original(packet, None)),
        }
        Foresight::More
    }

    fn foresee_more(&self, packet: &Packet, by: ChannelId) {
        let nat = &self.config.nat;
        match by == self.config.from_vm {
            true => nat.prefetch_reply_found(&self.reply_of(packet)),
            false => nat.prefetch_original_found(&original(packet, None)),
        }
    }

    fn on_timer(&mut self, token: u64, context: &mut Context<'_>) {
        if token == FRAGMENTS {
            self.fragments_wakeup.fired(context.now());
            self.config.fragments.handle_timeout(context.now());
            return self.settle_fragments(context);
        }
        if token == PROBES {
            let door = self.door();
            if let Some(probes) = &mut self.config.probes {
                probes.on_timer(door, context);
            }
            return;
        }
        if token == FRONTEND {
            self.frontend_wakeup.fired(context.now());
            self.config.frontend_flows.handle_timeout(context.now());
        } else {
            self.wakeup.fired(context.now());
            self.config.nat.handle_timeout(context.now());
        }
        self.settle(context);
    }
}
