use super::Rules;
use super::lints::{PL002, PL032, PL044, PL061, PL096, PL098};
use crate::model::{Action, BackendVm, Event, Rule, RuleProtocol};
use crate::units::{Name, PoolPath};
use std::collections::{BTreeMap, BTreeSet};

/// A machine's place: its name and a pool.
type Seat<'s> = (String, &'s PoolPath);
/// Where a rule leads: to a pool and a port.
type Target<'s> = (&'s Name, u16);
/// Where rules lead that were changed, by the places of their load balancer and themselves.
type Targets<'s> = BTreeMap<(usize, usize), Target<'s>>;

impl<'s> Rules<'s> {
    /// Events that change pools and rules: their keys, and that they find what they change.
    pub(super) fn memberships(&mut self) {
        let mut seats = self.seats_at_start();
        let mut targets = Targets::new();
        let mut agenda: Vec<usize> = (0..self.scenario.event.len()).collect();
        agenda.sort_by_key(|&index| self.scenario.event[index].at);
        for index in agenda {
            let event = &self.scenario.event[index];
            let path = format!("event[{index}]");
            match event.action {
                Action::AddBackend => self.add_backend(&path, event, &mut seats),
                Action::RemoveBackend => self.leave(&path, event, &mut seats),
                Action::DrainBackend => {
                    self.drain_period(&path, event);
                    self.leave(&path, event, &mut seats);
                }
                Action::SetAdminState => self.admin_state(&path, event, &seats),
                Action::ChangeRule => {
                    self.change_rule(&path, event);
                    self.change_target(&path, event, &mut targets);
                }
                _ => {}
            }
        }
    }

    fn seats_at_start(&self) -> BTreeSet<Seat<'s>> {
        let mut seats = BTreeSet::new();
        for vm in &self.scenario.backend_vm {
            for machine in vm.machines() {
                let pools = vm.backend_pools.iter();
                seats.extend(pools.map(|pool| (machine.clone(), pool)));
            }
        }
        seats
    }

    /// Returns the machines that an event is about, with their group; empty if it names none.
    fn machines_of(&self, event: &Event) -> Vec<(String, &'s BackendVm)> {
        let Some(name) = &event.backend_vm else {
            return Vec::new();
        };
        let groups = self.scenario.backend_vm.iter();
        let machines = groups.flat_map(|group| group.machines().map(move |name| (name, group)));
        machines
            .filter(|(machine, group)| machine == name.as_str() || group.name == *name)
            .collect()
    }

    fn add_backend(&mut self, path: &str, event: &'s Event, seats: &mut BTreeSet<Seat<'s>>) {
        let Some(pool) = &event.backend_pool else {
            self.report(
                PL061,
                &format!("{path}.action"),
                "\"add-backend\" needs `backend_pool`",
            )
            .label("which one?")
            .help("add backend_pool = \"BALANCER/POOL\"");
            return;
        };
        for (machine, group) in self.machines_of(event) {
            self.same_network(path, pool, group);
            if !seats.insert((machine.clone(), pool)) {
                let message = format!("`{machine}` is in pool `{pool}` at this time already");
                self.report(PL098, &format!("{path}.backend_vm"), message)
                    .help("remove the event, or have the VM leave the pool before");
                return;
            }
        }
    }

    /// Backends live in the virtual network of their load balancer.
    fn same_network(&mut self, path: &str, pool: &PoolPath, group: &BackendVm) {
        let Some((balancer, _)) = self.index.pool(pool) else {
            return;
        };
        let frontend = self.scenario.load_balancer[balancer].frontend.first();
        let network = frontend.and_then(|frontend| self.index.subnet(&frontend.subnet));
        let home = self.index.subnet(&group.subnet);
        if let (Some(network), Some(home)) = (network, home)
            && network.0 != home.0
        {
            let message = format!(
                "`{}` is in virtual network `{}`, the load balancer of `{pool}` is not",
                group.name, group.subnet.virtual_network
            );
            self.report(PL032, &format!("{path}.backend_pool"), message)
                .help("backends live in the virtual network of their load balancer");
        }
    }

    fn leave(&mut self, path: &str, event: &'s Event, seats: &mut BTreeSet<Seat<'s>>) {
        for (machine, _) in self.machines_of(event) {
            let is_it = |seat: &Seat<'s>| {
                seat.0 == machine
                    && event
                        .backend_pool
                        .as_ref()
                        .is_none_or(|pool| pool == seat.1)
            };
            let before = seats.len();
            seats.retain(|seat| !is_it(seat));
            if seats.len() == before {
                return self.no_seat(path, event, &machine);
            }
        }
    }

    fn admin_state(&mut self, path: &str, event: &Event, seats: &BTreeSet<Seat<'s>>) {
        if event.admin_state.is_none() {
            self.report(
                PL061,
                &format!("{path}.action"),
                "\"set-admin-state\" needs `admin_state`",
            )
            .label("to what?")
            .help("add admin_state = \"down\", \"up\" or \"none\"");
        }
        for (machine, _) in self.machines_of(event) {
            let wanted = event.backend_pool.as_ref();
            let mut own = seats.iter().filter(|seat| seat.0 == machine);
            if !own.any(|seat| wanted.is_none_or(|pool| pool == seat.1)) {
                return self.no_seat(path, event, &machine);
            }
        }
    }

    fn no_seat(&mut self, path: &str, event: &Event, machine: &str) {
        let pool = event.backend_pool.as_ref();
        if pool.is_some_and(|pool| self.index.pool(pool).is_none()) {
            // A misspelt name is reported as such.
            return;
        }
        let message = match &event.backend_pool {
            Some(pool) => format!("`{machine}` is not in pool `{pool}` at this time"),
            None => format!("`{machine}` is in no pool at this time"),
        };
        self.report(PL098, &format!("{path}.backend_vm"), message)
            .help("remove the event, or have the VM join before (add-backend)");
    }

    fn drain_period(&mut self, path: &str, event: &Event) {
        if let Some(period) = event.drain_period {
            if period.0.is_zero() {
                let message = "a drain period of zero drains nothing";
                self.report(PL096, &format!("{path}.drain_period"), message)
                    .help("give a time, or use \"remove-backend\"");
            }
            return;
        }
        let machines = self.machines_of(event);
        let leaves = machines.iter().flat_map(|(_, group)| &group.backend_pools);
        let pools: BTreeSet<&PoolPath> = match &event.backend_pool {
            Some(pool) => BTreeSet::from([pool]),
            None => leaves.collect(),
        };
        let periodless = pools.into_iter().find(|path| {
            self.index.pool(path).is_some_and(|(balancer, pool)| {
                let pool = &self.scenario.load_balancer[balancer].backend_pool[pool];
                pool.drain_period.is_none()
            })
        });
        if let Some(pool) = periodless {
            let message = format!("how long `{pool}` drains is not said");
            self.report(PL061, &format!("{path}.action"), message)
                .label("for how long?")
                .help("add drain_period = \"60s\" here, or to the pool");
        }
    }

    fn change_rule(&mut self, path: &str, event: &Event) {
        let nothing = event.backend_port.is_none()
            && event.backend_pool.is_none()
            && event.distribution.is_none();
        if nothing {
            self.report(
                PL061,
                &format!("{path}.action"),
                "\"change-rule\" changes nothing",
            )
            .label("into what?")
            .help("add one of backend_port, backend_pool, distribution");
        }
        let Some(path_of_rule) = &event.rule else {
            return;
        };
        let Some(balancer) = self.index.balancer(&path_of_rule.load_balancer) else {
            return;
        };
        let balancer = &self.scenario.load_balancer[balancer];
        if let Some(pool) = &event.backend_pool
            && pool.load_balancer != balancer.name
        {
            let message = format!("pool `{pool}` belongs to another load balancer than the rule");
            self.report(PL002, &format!("{path}.backend_pool"), message)
                .see(&format!("{path}.rule"), "the rule")
                .help("a rule feeds a pool of its own load balancer");
        }
        let mut rules = balancer.rule.iter();
        let rule = rules.find(|rule| rule.name == path_of_rule.rule);
        if rule.is_some_and(|rule| rule.protocol == RuleProtocol::All)
            && event.backend_port.is_some()
        {
            let message = format!("rule `{path_of_rule}` is for all ports and has none of its own");
            self.report(PL061, &format!("{path}.backend_port"), message)
                .help("remove it");
        }
    }

    /// After an event, too, each rule has a destination of its own.
    fn change_target(&mut self, path: &str, event: &'s Event, targets: &mut Targets<'s>) {
        let found = event.rule.as_ref().and_then(|rule| self.index.rule(rule));
        let Some((balancer, place)) = found else {
            return;
        };
        let rules = &self.scenario.load_balancer[balancer].rule;
        let of = |place: usize, rule: &'s Rule, targets: &Targets<'s>| {
            let changed = targets.get(&(balancer, place)).copied();
            changed.unwrap_or((&rule.backend_pool, rule.backend_port))
        };
        let (pool, port) = of(place, &rules[place], targets);
        let pool = event
            .backend_pool
            .as_ref()
            .map_or(pool, |path| &path.backend_pool);
        let target = (pool, event.backend_port.unwrap_or(port));
        targets.insert((balancer, place), target);
        let rival = rules.iter().enumerate().find(|(other, rule)| {
            *other != place && of(*other, rule, targets) == target && clash(&rules[place], rule)
        });
        if let Some((other, _)) = rival {
            let message = format!(
                "from {} on two rules lead to port {} of backend pool `{pool}`",
                event.at.0, target.1
            );
            let key = match event.backend_port {
                Some(_) => "backend_port",
                None => "backend_pool",
            };
            self.report(PL044, &format!("{path}.{key}"), message)
                .see(
                    &format!("load_balancer[{balancer}].rule[{other}].name"),
                    "the other one",
                )
                .help("use another backend port; with floating IP both may have it, if their frontends differ");
        }
    }

    /// A VM is in some pool, at the start or later.
    pub(super) fn idle_machines(&mut self) {
        let mut joining: BTreeMap<&str, ()> = BTreeMap::new();
        for event in &self.scenario.event {
            if let (Action::AddBackend, Some(name)) = (event.action, &event.backend_vm) {
                joining.insert(name.as_str(), ());
            }
        }
        for (index, vm) in self.scenario.backend_vm.iter().enumerate() {
            let joins = |name: &str| joining.contains_key(name);
            let is_idle = vm.backend_pools.is_empty()
                && !joins(vm.name.as_str())
                && !vm.machines().any(|machine| joins(&machine));
            if is_idle {
                let message = format!("`{}` is in no backend pool, and no event adds it", vm.name);
                self.report(
                    PL098,
                    &format!("backend_vm[{index}].backend_pools"),
                    message,
                )
                .label("empty")
                .help("name a pool as \"BALANCER/POOL\", or add an event with \"add-backend\"");
            }
        }
    }
}

/// Tells whether two rules to the same port of a pool have the same destination, or one on a frontend
/// with floating IP and one without.
fn clash(one: &Rule, other: &Rule) -> bool {
    let mut protocols = one.protocol.protocols();
    let alike = protocols.any(|protocol| other.protocol.carries(protocol));
    let neither_floats = !one.floating_ip && !other.floating_ip;
    alike && (neither_floats || one.frontend == other.frontend)
}
