//! Flows of clients that dial a load balancer's frontend itself, without Private Link.
//!
//! Nothing is bound for them: the VM sees the client's own address. But somebody has to put the
//! frontend's address back onto what the VM answers, and to keep the rule's idle timer, and both need
//! the two directions that only the VM's host sees (direct server return).
//!
//! ```text
//!  client -> frontend      becomes  client -> VM          the key of a flow is what the VM sees
//!  client <- frontend      becomes  client <- VM
//! ```

use crate::binding::{Aside, State};
use crate::error::NatError;
use crate::event::{Reset, Sender};
use crate::lb_idle::{LbIdleAction, LbTimer};
use crate::tcp::{Sequences, Step, step};
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::net::{Ipv4Addr, SocketAddrV4};
use plsim_table::{FlowTable, TimerWheel};
use plsim_types::{Direction, Duration, Instant, KeyedHash, PlsId, Protocol, TcpSegment, Timers};

/// How flows live that no rule's timer is for: those that opened or closed, and UDP. They are those
/// of the NAT beside it; nothing is published.
const TIMERS: Timers = Timers::azure();

/// What the flows of one VM are made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FrontendConfig {
    /// Keys the hash of the table.
    pub seed: u64,
    /// How many active flows the VM may have, `None` for any number (D-VMF). They are counted apart
    /// from those of the NAT.
    pub flow_limit: Option<u32>,
    /// The idle timers of the TCP rules that lead to the VM.
    pub timers: Vec<FrontendTimer>,
}

/// The idle timer of a rule, and the frontend it belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrontendTimer {
    /// The frontend's address.
    pub frontend: Ipv4Addr,
    /// The timer.
    pub timer: LbTimer,
}

/// A packet of a client, of which the load balancer has chosen the VM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrontendPacket {
    /// Its source, which stays.
    pub client: SocketAddrV4,
    /// Its destination.
    pub frontend: SocketAddrV4,
    /// What its destination becomes: the VM, or with floating IP the frontend, and the backend port.
    pub server: SocketAddrV4,
    /// Its protocol.
    pub protocol: Protocol,
    /// Its TCP header; of a TCP fragment after the first, which opens and ends nothing, where it is in
    /// its segment, or `None` as for UDP.
    pub segment: Option<TcpSegment>,
}

/// What the flows of one VM did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FrontendUsage {
    /// Active flows now.
    pub flows: u32,
    /// The most of them at any instant.
    pub peak: u32,
    /// Flows that began.
    pub opened: u64,
    /// Established connections that the load balancer dropped because they were idle.
    pub lb_idle: u64,
}

/// The flows of one VM whose clients dialled a frontend.
///
/// Whoever drives it calls [`original`](Self::original) and [`reply`](Self::reply), then
/// [`poll_reset`](Self::poll_reset) until it is empty, and [`handle_timeout`](Self::handle_timeout) at
/// [`poll_timeout`](Self::poll_timeout).
///
/// # Examples
/// ```
/// use plsim_nat::{FrontendConfig, FrontendFlows, FrontendPacket};
/// use plsim_types::{Instant, Protocol};
///
/// let mut flows = FrontendFlows::new(FrontendConfig {
///     seed: 1,
///     flow_limit: None,
///     timers: vec![],
/// });
/// let query = FrontendPacket {
///     client: "10.2.9.4:49152".parse()?,
///     frontend: "10.2.0.4:53".parse()?,
///     server: "10.2.1.4:5353".parse()?,
///     protocol: Protocol::Udp,
///     segment: None,
/// };
/// flows.original(&query, Instant::ZERO)?;
/// let answered = flows.reply(Protocol::Udp, query.server, query.client, None, Instant::ZERO);
/// assert_eq!(answered, Some(Ok(query.frontend)));
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct FrontendFlows {
    hash: KeyedHash,
    limit: u32,
    timers: Vec<FrontendTimer>,
    flows: FlowTable<Flow>,
    wheel: TimerWheel,
    /// The wheel's next wake-up.
    wake: Option<Instant>,
    /// Tag of the wheel item inserted last.
    tag: u32,
    usage: FrontendUsage,
    resets: VecDeque<Reset>,
}

/// What the VM sees of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Key {
    protocol: Protocol,
    client: SocketAddrV4,
    server: SocketAddrV4,
}

#[derive(Debug, Clone, Copy)]
struct Flow {
    key: Key,
    frontend: SocketAddrV4,
    /// The last packet either way; of a flow that the load balancer has dropped, when it did.
    last: Instant,
    state: State,
    sequences: Sequences,
    /// The client's latest SYN on top of a connection that is believed to be alive.
    noted: Aside,
    /// The rule's timer, by its position; none for UDP.
    timer: Option<u16>,
    tag: u32,
}

impl FrontendFlows {
    /// Starts without flows.
    #[must_use]
    pub fn new(config: FrontendConfig) -> Self {
        Self {
            hash: KeyedHash::new(config.seed, "frontend-flow"),
            limit: config.flow_limit.unwrap_or(u32::MAX),
            timers: config.timers,
            flows: FlowTable::new(),
            wheel: TimerWheel::new(),
            wake: None,
            tag: 0,
            usage: FrontendUsage::default(),
            resets: VecDeque::new(),
        }
    }

    /// Takes a packet of a client; a bare SYN or a datagram may begin a flow. With
    /// [`LbIdleAction::Forget`] so may a segment that comes late, for the load balancer takes it for
    /// one of a new flow.
    ///
    /// # Errors
    /// [`NatError::NoFlow`], [`NatError::VmFlowLimit`] or [`NatError::LbIdle`]; nothing changes.
    pub fn original(&mut self, packet: &FrontendPacket, now: Instant) -> Result<(), NatError> {
        self.catch_up(now);
        let key = Key {
            protocol: packet.protocol,
            client: packet.client,
            server: packet.server,
        };
        match self.find(&key) {
            Some(position) => self.track(position, Direction::Original, packet.segment, now),
            None => self.begin(key, packet, now),
        }?;
        let opens = packet.segment.is_none_or(|segment| segment.flags.opens());
        if opens && let Some(position) = self.find(&key) {
            // To another frontend that leads to the same port: the VM cannot tell them apart.
            self.flows.entry_mut(position).frontend = packet.frontend;
        }
        Ok(())
    }

    /// Takes a packet of the VM from `server` to `client` and returns the frontend that it comes from
    /// as its receiver sees it; `None` if it belongs to no flow of these.
    ///
    /// # Errors
    /// [`NatError::LbIdle`]; nothing changes.
    pub fn reply(
        &mut self,
        protocol: Protocol,
        server: SocketAddrV4,
        client: SocketAddrV4,
        segment: Option<TcpSegment>,
        now: Instant,
    ) -> Option<Result<SocketAddrV4, NatError>> {
        if self.flows.is_empty() {
            return None;
        }
        self.catch_up(now);
        let position = self.find(&Key {
            protocol,
            client,
            server,
        })?;
        let tracked = self.track(position, Direction::Reply, segment, now);
        Some(tracked.map(|()| self.flows.entry(position).frontend))
    }

    /// Looks an ICMP error up, given as if it were a packet of the flow it is about, and returns the
    /// flow's frontend; nothing changes.
    ///
    /// # Errors
    /// [`NatError::LbIdle`].
    pub fn error(
        &mut self,
        protocol: Protocol,
        server: SocketAddrV4,
        client: SocketAddrV4,
        now: Instant,
    ) -> Option<Result<SocketAddrV4, NatError>> {
        self.catch_up(now);
        let position = self.find(&Key {
            protocol,
            client,
            server,
        })?;
        let frontend = self.flows.entry(position).frontend;
        Some(self.check_lb(position).map(|()| frontend))
    }

    /// Resets both ends of the established TCP connections that `is_it` accepts, given the client and
    /// the frontend; returns how many.
    pub fn reset_flows(
        &mut self,
        is_it: impl Fn(SocketAddrV4, SocketAddrV4) -> bool,
        now: Instant,
    ) -> u32 {
        self.catch_up(now);
        let mut count = 0;
        for position in 0..self.flows.positions() {
            let flow = *self.flows.entry(position);
            if flow.state.is_established() && is_it(flow.key.client, flow.frontend) {
                self.reset_both(&flow, Sender::LbDrain);
                self.change(position, State::Reset, now);
                count += 1;
            }
        }
        count
    }

    /// Counts the established TCP connections that `is_it` accepts, given the client and the frontend.
    pub fn count_flows(&self, is_it: impl Fn(SocketAddrV4, SocketAddrV4) -> bool) -> u32 {
        let flows = (0..self.flows.positions()).map(|position| self.flows.entry(position));
        let own = flows
            .filter(|flow| flow.state.is_established() && is_it(flow.key.client, flow.frontend));
        // The table's positions are of 32 bits.
        own.count() as u32
    }

    /// Ends what is due at `now`; early calls are harmless, and every call with `now` does it first.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.catch_up(now);
    }

    /// Returns when [`handle_timeout`](Self::handle_timeout) should be called; after a call it lies
    /// after that call's time.
    #[must_use]
    pub const fn poll_timeout(&self) -> Option<Instant> {
        match self.flows.is_empty() {
            true => None,
            false => self.wake,
        }
    }

    /// Takes an RST that is to be sent: of the load balancer, without service or link.
    pub fn poll_reset(&mut self) -> Option<Reset> {
        self.resets.pop_front()
    }

    /// Returns what the flows did.
    #[must_use]
    pub const fn usage(&self) -> FrontendUsage {
        self.usage
    }

    fn find(&self, key: &Key) -> Option<u32> {
        let hash = key.hash(self.hash);
        self.flows.find(hash, |flow| flow.key == *key)
    }

    /// Begins a flow.
    fn begin(&mut self, key: Key, packet: &FrontendPacket, now: Instant) -> Result<(), NatError> {
        let timer = self.timer_of(key.protocol, packet.frontend);
        let forgets = timer.is_some_and(|timer| {
            self.timers[usize::from(timer)].timer.then == LbIdleAction::Forget
        });
        let (state, sequences) = match (key.protocol, packet.segment) {
            (Protocol::Udp, _) => (State::Udp, Sequences::default()),
            (Protocol::Tcp, Some(syn)) if syn.flags.opens() => {
                (State::HalfOpen, Sequences::of_syn(&syn))
            }
            (Protocol::Tcp, Some(segment))
                if forgets && segment.flags.is_plain() && !segment.flags.is_rest() =>
            {
                (State::Established, Sequences::midway(&segment))
            }
            (Protocol::Tcp, _) => return Err(NatError::NoFlow),
        };
        if self.usage.flows >= self.limit {
            return Err(NatError::VmFlowLimit);
        }
        let position = self.flows.insert(
            key.hash(self.hash),
            Flow {
                key,
                frontend: packet.frontend,
                last: now,
                state,
                sequences,
                noted: Aside::default(),
                timer,
                tag: 0,
            },
        );
        self.usage.opened += 1;
        self.activate();
        self.arm(position, now);
        Ok(())
    }

    fn timer_of(&self, protocol: Protocol, frontend: SocketAddrV4) -> Option<u16> {
        let place = self.timers.iter().position(|own| {
            let port = own.timer.frontend_port;
            own.frontend == *frontend.ip() && port.is_none_or(|port| port == frontend.port())
        });
        // A VM has 300 rules at most (D-LBLIM).
        place
            .filter(|_| protocol == Protocol::Tcp)
            .map(|place| place as u16)
    }

    /// Applies a packet of a known flow.
    fn track(
        &mut self,
        position: u32,
        direction: Direction,
        segment: Option<TcpSegment>,
        now: Instant,
    ) -> Result<(), NatError> {
        let opens = segment.is_some_and(|segment| segment.flags.opens());
        if direction == Direction::Reply || !opens {
            self.check_lb(position)?;
        }
        let flow = self.flows.entry_mut(position);
        let Some(segment) = segment.filter(|segment| !segment.flags.is_rest()) else {
            // A datagram, or a fragment after the first.
            if flow.state.is_active() {
                match (segment, flow.state, direction) {
                    (Some(rest), State::HalfOpen, Direction::Original) => {
                        flow.sequences.record_rest_of_syn(&rest);
                    }
                    (Some(rest), _, _) => flow.sequences.record(direction, &rest),
                    (None, _, _) => {}
                }
                flow.last = now;
            }
            return Ok(());
        };
        let next = step(flow.state, direction, &segment, &flow.sequences, flow.noted);
        match next {
            Step::Pass => return Ok(()),
            Step::Touch => {}
            Step::Refresh => flow.sequences.record(direction, &segment),
            Step::Attempt => flow.noted = Aside(segment.sequence, segment.end()),
            Step::Accept(state) => {
                let noted = core::mem::take(&mut flow.noted);
                flow.sequences.establish(&segment, noted);
                self.change(position, state, now);
            }
            Step::Go(state) => {
                if !state.is_held() {
                    flow.sequences.record(direction, &segment);
                }
                self.change(position, state, now);
            }
            Step::Restart => {
                if !flow.state.is_active() && self.usage.flows >= self.limit {
                    return Err(NatError::VmFlowLimit);
                }
                flow.sequences = Sequences::of_syn(&segment);
                flow.noted = Aside::default();
                self.change(position, State::HalfOpen, now);
            }
        }
        self.flows.entry_mut(position).last = now;
        Ok(())
    }

    /// Refuses a packet of a flow that the load balancer has dropped, unless it takes it for a new
    /// one.
    fn check_lb(&self, position: u32) -> Result<(), NatError> {
        let flow = self.flows.entry(position);
        match (flow.state, self.lb_timer(flow)) {
            (State::LbIdle, Some(timer)) if timer.then == LbIdleAction::Drop => {
                Err(NatError::LbIdle)
            }
            _ => Ok(()),
        }
    }

    fn lb_timer(&self, flow: &Flow) -> Option<&LbTimer> {
        Some(&self.timers[usize::from(flow.timer?)].timer)
    }

    fn change(&mut self, position: u32, next: State, now: Instant) {
        let flow = self.flows.entry_mut(position);
        let before = core::mem::replace(&mut flow.state, next);
        flow.last = now;
        match (before.is_active(), next.is_active()) {
            (true, false) => self.usage.flows -= 1,
            (false, true) => self.activate(),
            (true, true) | (false, false) => {}
        }
        self.arm(position, now);
    }

    fn activate(&mut self) {
        self.usage.flows += 1;
        self.usage.peak = self.usage.peak.max(self.usage.flows);
    }

    /// Gives the wheel a flow's deadline; an earlier item of it turns stale with the tag.
    fn arm(&mut self, position: u32, now: Instant) {
        self.tag = self.tag.wrapping_add(1);
        let flow = self.flows.entry_mut(position);
        flow.tag = self.tag;
        let deadline = deadline(flow, &self.timers);
        self.wheel.advance(now);
        self.wheel.insert(position, self.tag, deadline);
        self.wake = self.wheel.next_wake();
    }

    fn catch_up(&mut self, now: Instant) {
        if self.wake.is_none_or(|wake| wake > now) {
            return;
        }
        while let Some((position, _)) = {
            let (flows, timers) = (&self.flows, &self.timers);
            self.wheel.pop_due(now, |position, tag| {
                let flow = flows.entry(position);
                (flow.state != State::Vacant && flow.tag == tag).then(|| deadline(flow, timers))
            })
        } {
            self.end(position);
        }
        self.wake = self.wheel.next_wake();
    }

    /// A flow's time is over; of an established connection it was the rule's.
    fn end(&mut self, position: u32) {
        let flow = *self.flows.entry(position);
        if flow.state.is_established()
            && let Some(timer) = self.lb_timer(&flow).copied()
        {
            let at = deadline(&flow, &self.timers);
            if timer.acts() {
                self.usage.lb_idle += 1;
            }
            if timer.reset {
                self.reset_both(&flow, Sender::LbTimer);
            }
            // Remembered for as long again, so that what comes late is known for what it is.
            return self.change(position, State::LbIdle, at);
        }
        self.usage.flows -= u32::from(flow.state.is_active());
        self.flows.remove(flow.key.hash(self.hash), position);
    }

    fn reset_both(&mut self, flow: &Flow, by: Sender) {
        let mut push = |toward, source, destination, sequence| {
            self.resets.push_back(Reset {
                pls: PlsId::NONE,
                link: None,
                by,
                toward,
                source,
                destination,
                sequence,
                acknowledgement: None,
            });
        };
        let (key, seen) = (&flow.key, &flow.sequences);
        push(Direction::Original, key.client, key.server, seen.server_ack);
        push(Direction::Reply, flow.frontend, key.client, seen.client_ack);
    }
}

impl Key {
    fn hash(&self, hash: KeyedHash) -> u64 {
        let [client, server] = [self.client, self.server]
            .map(|end| u64::from(end.ip().to_bits()) << 16 | u64::from(end.port()));
        hash.pair(client, server << 8 | u64::from(self.protocol.number()))
    }
}

impl State {
    /// Tells whether the load balancer takes it for a flow that goes on.
    const fn is_active(self) -> bool {
        !self.is_held() && !matches!(self, Self::LbIdle | Self::Vacant)
    }
}

impl Sequences {
    /// Returns what one segment of a client tells of a connection that is open already.
    const fn midway(segment: &TcpSegment) -> Self {
        Self {
            client_end: segment.end(),
            client_ack: segment.acknowledgement,
            server_end: segment.acknowledgement,
            server_ack: segment.sequence,
        }
    }
}

impl Default for Flow {
    /// A vacant place.
    fn default() -> Self {
        let nobody = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0);
        Self {
            key: Key {
                protocol: Protocol::Tcp,
                client: nobody,
                server: nobody,
            },
            frontend: nobody,
            last: Instant::ZERO,
            state: State::Vacant,
            sequences: Sequences::default(),
            noted: Aside::default(),
            timer: None,
            tag: 0,
        }
    }
}

/// Returns when a flow's state ends unless a packet comes.
fn deadline(flow: &Flow, timers: &[FrontendTimer]) -> Instant {
    let rule = || {
        let timer = flow
            .timer
            .map(|timer| timers[usize::from(timer)].timer.idle);
        timer.unwrap_or(TIMERS.established_idle)
    };
    let span: Duration = match flow.state {
        State::Established | State::ClientFin | State::ServerFin | State::LbIdle => rule(),
        State::HalfOpen => TIMERS.half_open,
        State::Udp => TIMERS.udp_idle,
        State::Closed => TIMERS.hold_down_fin,
        State::Reset | State::Refused => TIMERS.hold_down_rst,
        State::Unanswered | State::UdpHeld | State::Vacant => Duration::ZERO,
    };
    flow.last + span
}
