use plsim_lb::{ChangeError, FrontendId, LbEvent, LoadBalancer, ProbeId};
use plsim_packet::{Fate, Form, Fragments, Packet};
use plsim_sim::{ChannelId, Context, Foresight, Node, Wakeup};
use plsim_table::FixedMap;
use plsim_types::{BackendId, DropReason, Instant, LinkId, PlsId};

/// What a provider edge is made of.
#[derive(Debug)]
pub struct ProviderEdgeConfig {
    /// The load balancer's decisions.
    pub load_balancer: LoadBalancer,
    /// The frontend of each Private Link Service, by its number (PLS-2); `None` where the service
    /// sits on another load balancer.
    pub frontends: Vec<Option<FrontendId>>,
    /// The frontend at each address, as a number, for clients that dial it themselves.
    pub addresses: FixedMap<u32, FrontendId>,
    /// The channel to the host of each backend VM, by its number; `None` for VMs of other pools.
    pub hosts: Vec<Option<ChannelId>>,
    /// What is done with fragments, before a backend is picked.
    pub fragments: Fragments,
}

impl ProviderEdgeConfig {
    /// Returns the frontend that a packet goes to, and the link that it came by, if by one.
    #[inline]
    fn dialled(&self, packet: &Packet) -> Option<(FrontendId, Option<LinkId>)> {
        if packet.encap.pls == PlsId::NONE {
            let address = packet.destination().ip().to_bits();
            let frontend = self.addresses.get(&address).copied();
            return frontend.map(|frontend| (frontend, None));
        }
        let frontend = self.frontends.get(usize::from(packet.encap.pls.0));
        let frontend = frontend.copied().flatten();
        frontend.map(|frontend| (frontend, Some(packet.encap.link)))
    }
}

/// The provider's edge: the load balancer picks the backend of the un-translated flow, which came
/// through a Private Link Service or dialled a frontend itself.
#[derive(Debug)]
#[repr(align(128))]
pub struct ProviderEdge {
    config: ProviderEdgeConfig,
    wakeup: Wakeup,
    fragments_wakeup: Wakeup,
    events: Vec<TimedLbEvent>,
}

/// The tokens of the two timers.
const LOAD_BALANCER: u64 = 0;
const FRAGMENTS: u64 = 1;

/// Something that happened in a load balancer, and when.
pub type TimedLbEvent = (Instant, LbEvent);

impl ProviderEdge {
    /// Builds the node.
    #[must_use]
    pub fn new(config: ProviderEdgeConfig) -> Self {
        Self {
            config,
            wakeup: Wakeup::default(),
            fragments_wakeup: Wakeup::default(),
            events: Vec::new(),
        }
    }

    /// Returns the load balancer for its counters.
    #[must_use]
    pub const fn load_balancer(&self) -> &LoadBalancer {
        &self.config.load_balancer
    }

    /// Changes something about the load balancer and follows its next deadline.
    ///
    /// # Errors
    /// [`ChangeError`] of the change; nothing is changed then.
    pub fn change<T>(
        &mut self,
        change: impl FnOnce(&mut LoadBalancer, Instant) -> Result<T, ChangeError>,
        context: &mut Context<'_>,
    ) -> Result<T, ChangeError> {
        let changed = change(&mut self.config.load_balancer, context.now());
        self.settle(context);
        changed
    }

    /// Tells what a probe found out about a backend.
    ///
    /// # Errors
    /// [`ChangeError`] if the probe or the backend is not the load balancer's, or a pool with it
    /// was said not to change.
    pub fn set_health(
        &mut self,
        probe: ProbeId,
        backend: BackendId,
        up: bool,
        context: &mut Context<'_>,
    ) -> Result<(), ChangeError> {
        let tell = |balancer: &mut LoadBalancer, now| balancer.set_health(probe, backend, up, now);
        self.change(tell, context)
    }

    /// Takes what has happened in the load balancer since the last call, in order.
    pub fn take_events(&mut self) -> Vec<TimedLbEvent> {
        std::mem::take(&mut self.events)
    }

    /// Returns the number of fragments that wait.
    #[must_use]
    pub const fn held(&self) -> u64 {
        self.config.fragments.held()
    }

    /// Sends a packet to the host of its backend.
    fn forward(&mut self, mut packet: Box<Packet>, context: &mut Context<'_>) {
        match self.select(&mut packet, context) {
            Ok(channel) => context.send(channel, packet),
            Err(reason) => context.drop(packet, reason),
        }
    }

    /// Lets the fragments go whose fate is decided.
    fn settle_fragments(&mut self, context: &mut Context<'_>) {
        while let Some(fate) = self.config.fragments.poll_fate() {
            match fate {
                Fate::On(packet) => self.forward(packet, context),
                Fate::Merged(packet) => context.merge(packet),
                Fate::Dropped(packet, reason) => context.drop(packet, reason),
            }
        }
        let deadline = self.config.fragments.poll_timeout();
        self.fragments_wakeup.arm(deadline, FRAGMENTS, context);
    }

    /// Keeps the load balancer's events and follows its next deadline.
    fn settle(&mut self, context: &mut Context<'_>) {
        while let Some(event) = self.config.load_balancer.poll_event() {
            self.events.push((context.now(), event));
        }
        let deadline = self.config.load_balancer.poll_timeout();
        self.wakeup.arm(deadline, LOAD_BALANCER, context);
    }

    fn select(
        &mut self,
        packet: &mut Packet,
        context: &Context<'_>,
    ) -> Result<ChannelId, DropReason> {
        let opens = packet
            .tcp_segment()
            .is_some_and(|segment| segment.flags.opens());
        let tuple = packet.five_tuple();
        let (frontend, link) = self.config.dialled(packet).ok_or(DropReason::NoLbRule)?;
        let (balancer, now) = (&mut self.config.load_balancer, context.now());
        let chosen = match link {
            None => balancer.select_direct(frontend, &tuple, opens, now),
            Some(link) => balancer.select(frontend, link, &tuple, opens, now),
        }?;
        packet.encap.backend = chosen.backend;
        packet.encap.backend_port = chosen.backend_port;
        packet.encap.nat_ip = chosen.nat_ip;
        let host = self
            .config
            .hosts
            .get(usize::from(chosen.backend.0))
            .copied()
            .flatten();
        host.ok_or(DropReason::NoHealthyBackend)
    }
}

impl Node for ProviderEdge {
    fn on_packet(&mut self, packet: Box<Packet>, _: ChannelId, context: &mut Context<'_>) {
        if packet.form() == Form::Fragment {
            self.config.fragments.process(packet, context.now());
            self.settle_fragments(context);
        } else {
            self.forward(packet, context);
        }
        self.settle(context);
    }

    fn foresee(&self, packet: &Packet, _: ChannelId) -> Foresight {
        let balancer = &self.config.load_balancer;
        if let Some((frontend, link)) = self.config.dialled(packet)
            && balancer.prefetch(frontend, link, &packet.five_tuple())
        {
            return Foresight::More;
        }
        Foresight::Done
    }

    fn foresee_more(&self, packet: &Packet, _: ChannelId) {
        if let Some((frontend, link)) = self.config.dialled(packet) {
            let balancer = &self.config.load_balancer;
            balancer.prefetch_found(frontend, link, &packet.five_tuple());
        }
    }

    fn on_timer(&mut self, token: u64, context: &mut Context<'_>) {
        if token == FRAGMENTS {
            self.fragments_wakeup.fired(context.now());
            self.config.fragments.handle_timeout(context.now());
            return self.settle_fragments(context);
        }
        self.wakeup.fired(context.now());
        self.config.load_balancer.handle_timeout(context.now());
        self.settle(context);
    }
}
