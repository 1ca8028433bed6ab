//! What a seed has drawn: the scenario as the oracle may know it, and its text.
//!
//! Every address is written into the scenario, so the oracle needs none of the simulator's own
//! decisions.

use std::net::Ipv4Addr;

use super::knobs::Settings;

/// The number of TCP in the IP header.
pub(super) const TCP: u8 = 6;
/// The number of UDP in the IP header.
pub(super) const UDP: u8 = 17;

/// A drawn scenario.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    /// The seed it was drawn from, and of the run itself.
    pub(super) seed: u64,
    /// How long the run takes, in nanoseconds.
    pub(super) duration: u64,
    /// The virtual networks; the last one is the provider's.
    pub(super) networks: Vec<Network>,
    /// Pairs of networks that are peered.
    pub(super) peerings: Vec<(usize, usize)>,
    /// The private endpoints.
    pub(super) endpoints: Vec<Endpoint>,
    /// The machines that open connections.
    pub(super) clients: Vec<Client>,
    /// The Private Link Services, all on one load balancer with one backend pool.
    pub(super) services: Vec<Service>,
    /// The load balancer.
    pub(super) balancer: Settings,
    /// The backend VMs.
    pub(super) backends: Vec<Backend>,
    /// The traffic.
    pub(super) workloads: Vec<Workload>,
    /// The links: name and settings, with loss, bandwidth and queue as text.
    pub(super) links: Vec<(&'static str, Settings, String)>,
    /// What changes while the run goes on, by time.
    pub(super) events: Vec<Event>,
}

/// A virtual network with one subnet for its machines.
#[derive(Debug, Clone)]
pub(super) struct Network {
    /// The name.
    pub(super) name: String,
    /// The first two bytes of its /16.
    pub(super) prefix: [u8; 2],
}

/// A private endpoint.
#[derive(Debug, Clone)]
pub(super) struct Endpoint {
    /// The name.
    pub(super) name: String,
    /// Its network.
    pub(super) network: usize,
    /// Its address.
    pub(super) address: Ipv4Addr,
    /// Its service.
    pub(super) service: usize,
    /// The state at the start, in the format's words.
    pub(super) state: &'static str,
    /// The other keys.
    pub(super) settings: Settings,
}

/// A machine that opens connections.
#[derive(Debug, Clone)]
pub(super) struct Client {
    /// The name.
    pub(super) name: String,
    /// Its network.
    pub(super) network: usize,
    /// Its address.
    pub(super) address: Ipv4Addr,
    /// The first and the last source port.
    pub(super) ports: (u16, u16),
    /// Its operating system.
    pub(super) os: Option<&'static str>,
}

/// A Private Link Service.
#[derive(Debug, Clone)]
pub(super) struct Service {
    /// The name.
    pub(super) name: String,
    /// The NAT IPs at the start.
    pub(super) nat_ips: Vec<Ipv4Addr>,
    /// The first and the last port of each NAT IP.
    pub(super) ports: (u16, u16),
    /// Its load-balancing rules.
    pub(super) rules: Vec<Rule>,
    /// The other keys.
    pub(super) settings: Settings,
}

/// A load-balancing rule of a service's frontend.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rule {
    /// TCP or UDP.
    pub(super) protocol: u8,
    /// What clients dial.
    pub(super) frontend_port: u16,
    /// What backends listen on.
    pub(super) backend_port: u16,
}

/// A backend VM.
#[derive(Debug, Clone)]
pub(super) struct Backend {
    /// The name.
    pub(super) name: String,
    /// Its address.
    pub(super) address: Ipv4Addr,
    /// The other keys.
    pub(super) settings: Settings,
}

/// Traffic from one client through one endpoint, or several.
#[derive(Debug, Clone)]
pub(super) struct Workload {
    /// The client.
    pub(super) client: usize,
    /// The endpoint.
    pub(super) endpoint: usize,
    /// Further endpoints, and how connections are spread over all of them.
    pub(super) others: (Vec<usize>, String),
    /// What is dialled.
    pub(super) rule: Rule,
    /// When the first connection starts, in nanoseconds.
    pub(super) start: u64,
    /// How connections arrive, as lines of TOML.
    pub(super) arrival: String,
    /// The other keys.
    pub(super) settings: Settings,
}

/// A change while the run goes on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Event {
    /// When, in nanoseconds.
    pub(super) at: u64,
    /// What.
    pub(super) action: Action,
}

/// What an event does, to what.
#[derive(Debug, Clone, Copy)]
pub(super) enum Action {
    /// The connection of an endpoint is approved.
    Approve(usize),
    /// The connection of an endpoint is rejected.
    Reject(usize),
    /// A backend VM goes down.
    Down(usize),
    /// A backend VM comes back.
    Up(usize),
    /// A client VM ends without a word.
    Crash(usize),
    /// A client VM is shut down.
    Stop(usize),
    /// A client VM is up again.
    Boot(usize),
    /// A client VM ends and is up again.
    Restart(usize),
    /// A service gets a NAT IP.
    AddNatIp(usize, Ipv4Addr),
}

impl Plan {
    /// Tells whether some link flips bits.
    pub(super) fn corrupts(&self) -> bool {
        self.links
            .iter()
            .any(|(.., weather)| weather.contains("corrupt"))
    }

    /// Tells whether packets may overtake each other on some link.
    pub(super) fn reorders(&self) -> bool {
        self.links
            .iter()
            .any(|(.., weather)| weather.contains("reorder"))
    }

    /// Tells whether some backend VM goes down or comes back.
    pub(super) fn pools_change(&self) -> bool {
        let mut actions = self.events.iter().map(|event| event.action);
        actions.any(|action| matches!(action, Action::Down(_) | Action::Up(_)))
    }

    /// Tells whether packets of one network come to another one.
    pub(super) fn reaches(&self, from: usize, to: usize) -> bool {
        let pairs = [(from, to), (to, from)];
        from == to || pairs.iter().any(|pair| self.peerings.contains(pair))
    }

    /// Tells whether an endpoint's connection is Approved at an instant: events of an instant come
    /// before its packets.
    pub(super) fn is_approved(&self, endpoint: usize, at: u64) -> bool {
        let mut approved = self.endpoints[endpoint].state == "Approved";
        for event in self.events.iter().filter(|event| event.at <= at) {
            match event.action {
                Action::Approve(which) if which == endpoint => approved = true,
                Action::Reject(which) if which == endpoint => approved = false,
                _ => {}
            }
        }
        approved
    }

    /// Tells whether a backend VM is down all the time between two instants, both included.
    pub(super) fn is_down(&self, backend: usize, from: u64, to: u64) -> bool {
        let mut down = false;
        for event in self.events.iter().filter(|event| event.at <= to) {
            match event.action {
                Action::Down(which) if which == backend => down = true,
                Action::Up(which) if which == backend && event.at <= from => down = false,
                Action::Up(which) if which == backend => return false,
                _ => continue,
            }
            if down && event.at > from {
                return false;
            }
        }
        down
    }

    /// Returns the NAT IPs of a service at an instant.
    pub(super) fn nat_ips(&self, service: usize, at: u64) -> Vec<Ipv4Addr> {
        let mut nat_ips = self.services[service].nat_ips.clone();
        for event in self.events.iter().filter(|event| event.at <= at) {
            match event.action {
                Action::AddNatIp(which, address) if which == service => nat_ips.push(address),
                _ => {}
            }
        }
        nat_ips
    }

    /// Writes the scenario file.
    pub(super) fn to_toml(&self) -> String {
        let mut out = format!(
            "# Drawn from seed {0}.\n[run]\ntitle = \"swarm {0}\"\nduration = \"{1}ns\"\nseed = {0}\n\n\
             [output]\ncapture = true\nflows = true\ninterval = \"100ms\"\n",
            self.seed, self.duration
        );
        for (name, settings, weather) in &self.links {
            out.push_str(&format!("\n[link.{name}]\n"));
            settings.write(&mut out);
            out.push_str(weather);
        }
        self.write_networks(&mut out);
        self.write_consumers(&mut out);
        self.write_provider(&mut out);
        self.write_traffic(&mut out);
        out
    }

    fn write_networks(&self, out: &mut String) {
        for (index, Network { name, prefix }) in self.networks.iter().enumerate() {
            let [a, b] = prefix;
            out.push_str(&format!(
                "\n[[virtual_network]]\nname = \"{name}\"\naddress_space = [\"{a}.{b}.0.0/16\"]\n\
                 [[virtual_network.subnet]]\nname = \"default\"\nprefix = \"{a}.{b}.0.0/24\"\n"
            ));
            if index + 1 == self.networks.len() {
                out.push_str(&format!(
                    "[[virtual_network.subnet]]\nname = \"nat\"\nprefix = \"{a}.{b}.1.0/24\"\n\
                     private_link_service_network_policies = \"Disabled\"\n"
                ));
            }
        }
        for (one, other) in &self.peerings {
            let (one, other) = (&self.networks[*one].name, &self.networks[*other].name);
            out.push_str(&format!(
                "\n[[virtual_network_peering]]\nvirtual_networks = [\"{one}\", \"{other}\"]\n"
            ));
        }
    }

    fn write_consumers(&self, out: &mut String) {
        for client in &self.clients {
            out.push_str(&format!(
                "\n[[client_vm]]\nname = \"{}\"\nsubnet = \"{}/default\"\nip_address = \"{}\"\n\
                 ephemeral_ports = \"{}-{}\"\n",
                client.name,
                self.networks[client.network].name,
                client.address,
                client.ports.0,
                client.ports.1
            ));
            if let Some(os) = client.os {
                out.push_str(&format!("os = \"{os}\"\n"));
            }
        }
        for endpoint in &self.endpoints {
            out.push_str(&format!(
                "\n[[private_endpoint]]\nname = \"{}\"\nsubnet = \"{}/default\"\nip_address = \"{}\"\n\
                 private_link_service = \"{}\"\nconnection_state = \"{}\"\n",
                endpoint.name,
                self.networks[endpoint.network].name,
                endpoint.address,
                self.services[endpoint.service].name,
                endpoint.state
            ));
            endpoint.settings.write(out);
        }
    }

    fn write_provider(&self, out: &mut String) {
        let provider = &self.networks[self.networks.len() - 1].name;
        for (index, service) in self.services.iter().enumerate() {
            let nat_ips = service.nat_ips.iter().map(|ip| format!("\"{ip}\""));
            let nat_ips = nat_ips.collect::<Vec<_>>().join(", ");
            out.push_str(&format!(
                "\n[[private_link_service]]\nname = \"{}\"\n\
                 load_balancer_frontend = \"balancer/frontend-{index}\"\n\
                 nat_subnet = \"{provider}/nat\"\nnat_ips = [{nat_ips}]\nport_range = \"{}-{}\"\n",
                service.name, service.ports.0, service.ports.1
            ));
            service.settings.write(out);
        }
        out.push_str("\n[[load_balancer]]\nname = \"balancer\"\n");
        self.balancer.write(out);
        for index in 0..self.services.len() {
            out.push_str(&format!(
                "[[load_balancer.frontend]]\nname = \"frontend-{index}\"\n\
                 subnet = \"{provider}/default\"\n"
            ));
        }
        out.push_str("[[load_balancer.backend_pool]]\nname = \"pool\"\n");
        for (index, service) in self.services.iter().enumerate() {
            for (place, rule) in service.rules.iter().enumerate() {
                out.push_str(&format!(
                    "[[load_balancer.rule]]\nname = \"rule-{index}-{place}\"\n\
                     frontend = \"frontend-{index}\"\nbackend_pool = \"pool\"\nprotocol = \"{}\"\n\
                     frontend_port = {}\nbackend_port = {}\n",
                    word(rule.protocol),
                    rule.frontend_port,
                    rule.backend_port
                ));
            }
        }
        for backend in &self.backends {
            out.push_str(&format!(
                "\n[[backend_vm]]\nname = \"{}\"\nsubnet = \"{provider}/default\"\n\
                 ip_address = \"{}\"\nbackend_pools = [\"balancer/pool\"]\n",
                backend.name, backend.address
            ));
            backend.settings.write(out);
        }
    }

    fn write_traffic(&self, out: &mut String) {
        for (index, workload) in self.workloads.iter().enumerate() {
            let name = |endpoint: usize| format!("\"{}\"", self.endpoints[endpoint].name);
            let own = name(workload.endpoint);
            let (others, skew) = &workload.others;
            let destination = match others.as_slice() {
                [] => format!("private_endpoint = {own}"),
                others => {
                    let others: Vec<_> = others.iter().map(|&other| name(other)).collect();
                    let others = others.join(", ");
                    format!("private_endpoints = [{own}, {others}]\nskew = {skew}")
                }
            };
            out.push_str(&format!(
                "\n[[workload]]\nname = \"workload-{index}\"\nclient_vm = \"{}\"\n{destination}\n\
                 protocol = \"{}\"\nport = {}\nstart = \"{}ns\"\n{}",
                self.clients[workload.client].name,
                word(workload.rule.protocol),
                workload.rule.frontend_port,
                workload.start,
                workload.arrival
            ));
            workload.settings.write(out);
        }
        for event in &self.events {
            let endpoint = |which: usize| self.endpoints[which].name.as_str();
            let client = |which: usize| self.clients[which].name.as_str();
            let (action, key, name) = match event.action {
                Action::Approve(which) => ("approve-endpoint", "private_endpoint", endpoint(which)),
                Action::Reject(which) => ("reject-endpoint", "private_endpoint", endpoint(which)),
                Action::Down(which) => (
                    "backend-down",
                    "backend_vm",
                    self.backends[which].name.as_str(),
                ),
                Action::Up(which) => (
                    "backend-up",
                    "backend_vm",
                    self.backends[which].name.as_str(),
                ),
                Action::Crash(which) | Action::Stop(which) | Action::Boot(which) => {
                    ("change-vm", "client_vm", client(which))
                }
                Action::Restart(which) => ("restart-vm", "client_vm", client(which)),
                Action::AddNatIp(which, _) => (
                    "add-nat-ip",
                    "private_link_service",
                    self.services[which].name.as_str(),
                ),
            };
            out.push_str(&format!(
                "\n[[event]]\nat = \"{}ns\"\naction = \"{action}\"\n{key} = \"{name}\"\n",
                event.at
            ));
            let more = match event.action {
                Action::AddNatIp(_, address) => format!("ip_address = \"{address}\"\n"),
                Action::Crash(_) => "state = \"crashed\"\n".to_owned(),
                Action::Stop(_) => "state = \"stopped\"\n".to_owned(),
                Action::Boot(_) => "state = \"running\"\n".to_owned(),
                _ => String::new(),
            };
            out.push_str(&more);
        }
    }
}

impl Service {
    /// Returns the port of the backends behind a dialled port.
    pub(super) fn backend_port(&self, protocol: u8, frontend_port: u16) -> Option<u16> {
        let mut rules = self.rules.iter();
        let rule =
            rules.find(|rule| rule.protocol == protocol && rule.frontend_port == frontend_port)?;
        Some(rule.backend_port)
    }
}

/// Tells whether a service's port allocation may give up although a port is free.
pub(super) fn may_give_up(settings: &Settings) -> bool {
    let words = [
        "rfc6056-2",
        "rfc6056-5",
        "blocks",
        "azure-blocks",
        "reserved-blocks",
        "linux",
    ];
    words
        .iter()
        .any(|word| settings.says("port_allocation", word))
}

const fn word(protocol: u8) -> &'static str {
    if protocol == UDP { "udp" } else { "tcp" }
}
