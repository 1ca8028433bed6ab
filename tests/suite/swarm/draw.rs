//! From a seed to a scenario: small pools, short timers, overlapping consumers, bad links.

use std::net::Ipv4Addr;

use super::knobs::{Section, Settings, Value};
use super::plan::{
    self, Action, Backend, Client, Endpoint, Event, Network, Plan, Rule, Service, TCP, UDP,
    Workload,
};
use super::random::Random;

const SECOND: u64 = 1_000_000_000;
const MS: u64 = 1_000_000;
/// When the last connection has started.
const STARTS_UNTIL: u64 = 3 * SECOND;

/// First ports of ranges: the very ends, and around the borders of 64-port words.
const FIRST_PORTS: &[u16] = &[
    1024, 1024, 1083, 1087, 1088, 2047, 4095, 32_767, 49_151, 65_520,
];

/// Draws the scenario of a seed.
pub(super) fn draw(seed: u64) -> Plan {
    let mut random = Random::new(seed);
    let random = &mut random;
    let (networks, peerings) = networks(random);
    let services = services(random, networks[networks.len() - 1].prefix);
    let endpoints = endpoints(random, &networks, services.len());
    let clients = clients(random, &networks);
    let mut plan = Plan {
        seed,
        duration: STARTS_UNTIL + random.between(SECOND, 12 * SECOND),
        backends: backends(random, networks[networks.len() - 1].prefix),
        networks,
        peerings,
        endpoints,
        clients,
        services,
        balancer: Settings::draw(Section::Balancer, random),
        workloads: Vec::new(),
        links: links(random),
        events: Vec::new(),
    };
    for _ in 0..random.between(1, 5) {
        let workload = workload(random, &plan);
        plan.workloads.extend(workload);
    }
    events(random, &mut plan);
    proxy_protocol(&mut Random::new(!seed), &mut plan);
    bad_weather(&mut Random::new(seed ^ 0x6C69_6E6B), &mut plan);
    destinations(&mut Random::new(seed ^ 0x7A69_7066), &mut plan);
    systems(&mut Random::new(seed ^ 0x6F73), &mut plan);
    client_machines(&mut Random::new(seed ^ 0x6372_6173), &mut plan);
    plan
}

/// Services that share a load balancer all send PROXY headers, or none does.
fn proxy_protocol(random: &mut Random, plan: &mut Plan) {
    if random.chance(70) {
        return;
    }
    for service in &mut plan.services {
        service
            .settings
            .set("enable_proxy_protocol", Value::Flag(true));
    }
    for backend in &mut plan.backends {
        let application = random.pick(&["proxy-required", "proxy-optional"]);
        backend
            .settings
            .set("application", Value::Word(application));
    }
}

fn address(prefix: [u8; 2], third: u8, last: u64) -> Ipv4Addr {
    Ipv4Addr::new(prefix[0], prefix[1], third, last as u8)
}

/// One to three consumers, mostly with one and the same address space; the last network is the
/// provider's. A hub with other addresses may be peered with the first consumer.
fn networks(random: &mut Random) -> (Vec<Network>, Vec<(usize, usize)>) {
    let mut networks: Vec<Network> = (0..random.between(1, 3))
        .map(|index| Network {
            name: format!("consumer-{index}"),
            prefix: random.pick(&[[10, 1], [10, 1], [10, 1], [10, 2]]),
        })
        .collect();
    let mut peerings = Vec::new();
    if random.chance(30) {
        peerings.push((0, networks.len()));
        networks.push(Network {
            name: "hub".to_owned(),
            prefix: [172, 16],
        });
    }
    networks.push(Network {
        name: "provider".to_owned(),
        prefix: random.pick(&[[10, 1], [10, 2], [192, 168]]),
    });
    (networks, peerings)
}

fn services(random: &mut Random, prefix: [u8; 2]) -> Vec<Service> {
    let services = 0..random.pick(&[1, 1, 2]);
    services
        .map(|index| {
            let size = random.scaled(1, 40) as u16;
            let highest = u16::MAX - (size - 1);
            let first = if random.chance(20) {
                highest
            } else {
                random.pick(FIRST_PORTS).min(highest)
            };
            let last = first + (size - 1);
            let base = 10 * (index + 1);
            let rule = |protocol, frontend_port, offset: u16| Rule {
                protocol,
                frontend_port,
                backend_port: 8000 + 100 * index as u16 + offset,
            };
            let mut rules = vec![rule(TCP, 443, 0), rule(UDP, 443, 0)];
            if random.chance(40) {
                rules.extend([rule(TCP, 80, 1), rule(UDP, 53, 1)]);
            }
            let nat_ips = 0..random.between(1, 3);
            let mut settings = Settings::draw(Section::Service, random);
            let reserves = settings.says("port_allocation", "reserved-blocks");
            if reserves || settings.says("port_allocation", "blocks") {
                let block = random.between(1, u64::from(size).min(8));
                settings.set("block_size", Value::Number(block));
            }
            if reserves {
                let spans = ["block_grow_delay", "block_shrink_after"];
                for key in spans {
                    settings.set(key, Value::Nanos(random.scaled(0, 2_000_000_000)));
                }
            }
            if plan::may_give_up(&settings) {
                // Such an allocation may not find the port that was held down the longest.
                settings.remove("held_ports");
            }
            Service {
                name: format!("service-{index}"),
                nat_ips: nat_ips.map(|ip| address(prefix, 1, base + ip)).collect(),
                ports: (first, last),
                rules,
                settings,
            }
        })
        .collect()
}

fn backends(random: &mut Random, prefix: [u8; 2]) -> Vec<Backend> {
    let backends = 0..random.pick(&[1, 1, 2, 3, 4]);
    backends
        .map(|index| Backend {
            name: format!("vm-{index}"),
            address: address(prefix, 0, 100 + index),
            settings: Settings::draw(Section::Backend, random),
        })
        .collect()
}

/// Endpoints of different networks often have one and the same address.
fn endpoints(random: &mut Random, networks: &[Network], services: usize) -> Vec<Endpoint> {
    let consumers = networks.len() as u64 - 1;
    let mut endpoints: Vec<Endpoint> = Vec::new();
    for index in 0..random.between(1, 4) {
        let network = random.between(0, consumers - 1) as usize;
        let in_network = endpoints.iter().filter(|other| other.network == network);
        let last = 10 + in_network.count() as u64;
        endpoints.push(Endpoint {
            name: format!("endpoint-{index}"),
            network,
            address: address(networks[network].prefix, 0, last),
            service: random.between(0, services as u64 - 1) as usize,
            state: match random.between(0, 11) {
                0 => "Pending",
                1 => "Rejected",
                _ => "Approved",
            },
            settings: Settings::draw(Section::Endpoint, random),
        });
    }
    endpoints
}

/// Two clients in each network, with the same addresses in all and few source ports.
fn clients(random: &mut Random, networks: &[Network]) -> Vec<Client> {
    let mut clients = Vec::new();
    for (network, Network { name, prefix }) in networks.iter().enumerate() {
        if network + 1 == networks.len() {
            break;
        }
        for index in 0..2 {
            let size = random.scaled(4, 300) as u16;
            let first: u16 = random.pick(&[1, 1023, 32_760, 49_152, u16::MAX - (size - 1)]);
            clients.push(Client {
                name: format!("client-{name}-{index}"),
                network,
                address: address(*prefix, 0, 4 + index),
                ports: (first, first + (size - 1)),
                os: None,
            });
        }
    }
    clients
}

fn links(random: &mut Random) -> Vec<(&'static str, Settings, String)> {
    let lossy = random.chance(50);
    let slow = random.chance(25);
    let names = ["client_endpoint", "endpoint_edge", "edge_host", "host_vm"];
    let links = names.map(|name| {
        let settings = Settings::draw(Section::Link, random);
        let mut weather = String::new();
        if lossy && random.chance(50) {
            let permille = random.scaled(1, 300);
            weather.push_str(&format!("loss = 0.{permille:03}\n"));
        }
        if slow && random.chance(50) {
            let rate = random.scaled(500, 100_000);
            weather.push_str(&format!("bandwidth = \"{rate}kbps\"\n"));
            let queue = random.scaled(2_000, 50_000);
            weather.push_str(&format!("queue_limit = \"{queue}B\"\n"));
        }
        (name, settings, weather)
    });
    links.into_iter().collect()
}

/// Workloads that go to several endpoints of services with the same rule.
fn destinations(random: &mut Random, plan: &mut Plan) {
    for index in 0..plan.workloads.len() {
        if random.chance(70) {
            continue;
        }
        let workload = &plan.workloads[index];
        let here = plan.clients[workload.client].network;
        let (protocol, port) = (workload.rule.protocol, workload.rule.frontend_port);
        let others = plan
            .endpoints
            .iter()
            .enumerate()
            .filter(|(other, endpoint)| {
                let service = &plan.services[endpoint.service];
                *other != workload.endpoint
                    && plan.reaches(here, endpoint.network)
                    && service.backend_port(protocol, port).is_some()
            });
        let others: Vec<usize> = others.map(|(other, _)| other).collect();
        let count = others.len() + 1;
        let skew = match random.between(0, 2) {
            0 => "\"uniform\"".to_owned(),
            1 => format!("{{ zipf = {{ exponent = 0.{} }} }}", random.between(1, 9)),
            _ => {
                let weights = (0..count).map(|_| random.between(1, 9).to_string());
                let weights = weights.collect::<Vec<_>>().join(", ");
                format!("{{ weights = [{weights}] }}")
            }
        };
        plan.workloads[index].others = (others, skew);
    }
}

/// What operating systems and clients bring with them, in a third of all scenarios.
fn systems(random: &mut Random, plan: &mut Plan) {
    if random.chance(67) {
        return;
    }
    for workload in &mut plan.workloads {
        if workload.rule.protocol != TCP {
            continue;
        }
        let (settings, is_open) = (&mut workload.settings, !workload.arrival.contains("model"));
        let falls_silent = settings.says("close", "abandon");
        if random.chance(40) && is_open && !falls_silent {
            let profile = random.pick(&[
                "libpq",
                "npgsql",
                "pgbouncer",
                "librdkafka",
                "dotnet-httpclient",
                "go-net-http",
                "node-http",
                "curl",
            ]);
            settings.set("profile", Value::Word(profile));
            // Not that of its own.
            settings.set("model", Value::Word("open-loop"));
        } else if random.chance(40) && !falls_silent {
            let preset = random.pick(&["linux", "windows", "go", "jvm", "dotnet"]);
            settings.set("keepalive", Value::Word(preset));
        }
        if random.chance(30) {
            let delay = random.scaled(MS, 200 * MS);
            settings.set("delayed_ack", Value::Nanos(delay));
        }
        if random.chance(30) {
            let most = random.scaled(50 * MS, 2 * SECOND);
            settings.set("user_timeout", Value::Nanos(most));
        }
    }
    for backend in &mut plan.backends {
        for (key, most) in [("backlog", 40), ("max_connections", 60)] {
            if random.chance(30) {
                let number = random.scaled(1, most);
                backend.settings.set(key, Value::Number(number));
            }
        }
        for (key, most) in [("keepalive", 2 * SECOND), ("delayed_ack", 200 * MS)] {
            if random.chance(30) {
                let span = random.scaled(MS, most);
                backend.settings.set(key, Value::Nanos(span));
            }
        }
    }
    for client in &mut plan.clients {
        if random.chance(40) {
            client.os = Some(random.pick(&["linux", "windows"]));
        }
    }
}

/// Client VMs that crash or are shut down, and mostly come back, in a quarter of all scenarios.
fn client_machines(random: &mut Random, plan: &mut Plan) {
    if random.chance(75) {
        return;
    }
    for _ in 0..random.between(1, 3) {
        let client = random.between(0, plan.clients.len() as u64 - 1) as usize;
        let first = match random.between(0, 3) {
            0 => Action::Restart(client),
            1 => Action::Stop(client),
            _ => Action::Crash(client),
        };
        let events = both(random, first, Action::Boot(client), STARTS_UNTIL + SECOND);
        plan.events.extend(events);
    }
    plan.events.sort_by_key(|event| event.at);
}

/// What goes wrong on links beyond loss and bandwidth, in a third of all scenarios.
fn bad_weather(random: &mut Random, plan: &mut Plan) {
    if random.chance(67) {
        return;
    }
    let until = plan.duration;
    for (_, settings, weather) in &mut plan.links {
        let share = |random: &mut Random| format!("0.{:03}", random.scaled(1, 200));
        if random.chance(30) && !weather.contains("loss") {
            let (p, r) = (share(random), random.between(1, 9));
            weather.push_str(&format!("gemodel = {{ p = {p}, r = 0.{r} }}\n"));
        }
        for key in ["duplicate", "corrupt"] {
            if random.chance(30) {
                weather.push_str(&format!("{key} = {}\n", share(random)));
            }
        }
        let latency = settings.nanos("latency").unwrap_or(20_000);
        if latency > 0 && random.chance(40) {
            let jitter = random.scaled(1, latency);
            weather.push_str(&format!("jitter = \"{jitter}ns\"\n"));
            if random.chance(50) {
                weather.push_str("jitter_distribution = \"normal\"\n");
            }
            if random.chance(20) {
                weather.push_str("jitter_may_reorder = true\n");
            }
        }
        if random.chance(15) {
            let (share, delay) = (share(random), random.scaled(1_000, 5_000_000));
            weather.push_str(&format!(
                "reorder = {{ probability = {share}, delay = \"{delay}ns\" }}\n"
            ));
        }
        if random.chance(20) {
            let from = random.between(0, until - 2);
            let to = from + random.scaled(1, until - from);
            weather.push_str(&format!("down = [[\"{from}ns\", \"{to}ns\"]]\n"));
        }
    }
}

/// Draws traffic for an endpoint; none if nobody can reach it.
fn workload(random: &mut Random, plan: &Plan) -> Option<Workload> {
    let endpoint = random.between(0, plan.endpoints.len() as u64 - 1) as usize;
    let target = &plan.endpoints[endpoint];
    let clients = plan.clients.iter().enumerate();
    let clients: Vec<usize> = clients
        .filter(|(_, client)| plan.reaches(client.network, target.network))
        .map(|(index, _)| index)
        .collect();
    if clients.is_empty() {
        return None;
    }
    let rule = random.pick(&plan.services[target.service].rules);
    let mut settings = Settings::draw(Section::Workload, random);
    let own = match rule.protocol {
        UDP => Section::Udp,
        _ => Section::Tcp,
    };
    settings.extend(&Settings::draw(own, random));
    if settings.says("close", "abandon") {
        // Nothing is held open by one who has fallen silent.
        for key in ["hold", "keepalive"] {
            settings.remove(key);
        }
    }
    let connections = random.scaled(10, 250);
    let start = random.between(0, STARTS_UNTIL / 2);
    let model = match own {
        Section::Tcp => random.pick(&["", "", "", "held", "closed", "pool", "server", "client"]),
        _ => random.pick(&["", "", "", "held", "closed", "stream"]),
    };
    let arrival = match random.between(0, 11) {
        0 => format!("arrival = \"at-once\"\nconnections = {connections}\n"),
        10 => {
            let size = random.between(1, connections);
            let every = (STARTS_UNTIL - start) / connections.div_ceil(size);
            let spread = random.between(0, every);
            let bursts = format!("size = {size}, every = \"{every}ns\", spread = \"{spread}ns\"");
            format!("arrival = {{ bursts = {{ {bursts} }} }}\nconnections = {connections}\n")
        }
        11 => {
            // The area under the ramp is as large as that of a flat rate.
            let span = random.scaled(SECOND / 20, STARTS_UNTIL - start);
            let rate = (2 * connections * SECOND).div_ceil(span);
            let ramp = format!("to = \"{rate}/s\", over = \"{span}ns\"");
            format!("rate = {{ ramp = {{ {ramp} }} }}\nconnections = {connections}\n")
        }
        kind => {
            // All have started when `STARTS_UNTIL` comes.
            let span = random.scaled(SECOND / 20, STARTS_UNTIL - start);
            let rate = (connections * SECOND).div_ceil(span);
            let word = if kind < 4 { "poisson" } else { "constant" };
            format!("arrival = \"{word}\"\nrate = \"{rate}/s\"\nconnections = {connections}\n")
        }
    };
    let arrival = match model {
        "" => arrival,
        model => driven(random, model, connections.min(40), &mut settings),
    };
    Some(Workload {
        client: random.pick(&clients),
        endpoint,
        others: (Vec::new(), String::new()),
        rule,
        start,
        arrival,
        settings,
    })
}

/// Draws what drives so many connections or clients, and takes out what means nothing to it.
fn driven(random: &mut Random, model: &str, count: u64, settings: &mut Settings) -> String {
    let span = |random: &mut Random| random.scaled(10 * MS, SECOND);
    let (foreign, text): (&[&str], String) = match model {
        "held" => {
            let delay = span(random);
            let text = format!(
                "model = \"constant-concurrency\"\nconnections = {count}\nreconnect_delay = \"{delay}ns\"\n"
            );
            (&[], text)
        }
        "closed" => {
            let (think, backoff) = (span(random), span(random));
            let attempts = random.between(1, 4);
            let keep = random.chance(50);
            let text = format!(
                "model = \"closed-loop\"\nclients = {count}\nthink_time = \"{think}ns\"\n\
                 keep_connection = {keep}\n\
                 retry = {{ max_attempts = {attempts}, backoff = \"{backoff}ns\" }}\n"
            );
            (&["hold", "interval", "requests"], text)
        }
        "pool" => {
            let size = random.between(1, count);
            let least = random.between(0, size);
            let (idle, loan) = (span(random), span(random));
            let tested = random.chance(50);
            let text = format!(
                "model = \"pool\"\nrate = \"{count}/s\"\npool = {{ size = {size}, min_idle = {least}, \
                 max_idle = \"{idle}ns\", borrow_timeout = \"{loan}ns\", validation = {tested} }}\n"
            );
            (&["hold", "interval", "requests"], text)
        }
        "stream" => {
            let (interval, hold) = (random.between(10 * MS, 200 * MS), span(random));
            let echo = random.chance(50);
            let text = format!(
                "model = \"udp-stream\"\nrate = \"{count}/s\"\nconnections = {count}\n\
                 interval = \"{interval}ns\"\nhold = \"{hold}ns\"\necho = {echo}\n"
            );
            let foreign = &[
                "hold",
                "interval",
                "requests",
                "response_size",
                "response_timeout",
            ];
            (foreign, text)
        }
        publisher => {
            let interval = span(random);
            let text = format!(
                "model = \"pub-sub\"\npublisher = \"{publisher}\"\nconnections = {count}\n\
                 interval = \"{interval}ns\"\n"
            );
            (&["hold", "interval", "requests", "response_timeout"], text)
        }
    };
    for key in foreign {
        settings.remove(key);
    }
    if settings.says("close", "abandon") {
        settings.remove("close");
    }
    if matches!(model, "server" | "client" | "stream") {
        // The head of these takes 16 bytes.
        settings.remove("request_size");
    }
    text
}

fn events(random: &mut Random, plan: &mut Plan) {
    let mut events = Vec::new();
    let until = STARTS_UNTIL + SECOND;
    let last = |count: usize| count as u64 - 1;
    for _ in 0..random.pick(&[0, 0, 1, 2]) {
        let endpoint = random.between(0, last(plan.endpoints.len())) as usize;
        let (first, second) = match plan.endpoints[endpoint].state {
            "Approved" => (Action::Reject(endpoint), Action::Approve(endpoint)),
            _ => (Action::Approve(endpoint), Action::Reject(endpoint)),
        };
        events.extend(both(random, first, second, until));
    }
    for _ in 0..random.pick(&[0, 0, 1, 3]) {
        let backend = random.between(0, last(plan.backends.len())) as usize;
        events.extend(both(
            random,
            Action::Down(backend),
            Action::Up(backend),
            until,
        ));
    }
    for index in 0..random.pick(&[0, 0, 0, 1, 2]) {
        let service = random.between(0, last(plan.services.len()));
        let prefix = plan.networks[plan.networks.len() - 1].prefix;
        let nat_ip = address(prefix, 1, 10 * (service + 1) + 5 + index);
        events.push(Event {
            at: random.between(0, until),
            action: Action::AddNatIp(service as usize, nat_ip),
        });
    }
    events.sort_by_key(|event| event.at);
    plan.events = events;
}

/// Something that happens and is mostly taken back.
fn both(random: &mut Random, first: Action, second: Action, until: u64) -> Vec<Event> {
    let at = random.between(0, until);
    let mut events = vec![Event { at, action: first }];
    if random.chance(70) {
        events.push(Event {
            at: random.between(at, until),
            action: second,
        });
    }
    events
}
