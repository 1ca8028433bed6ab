use super::Rules;
use super::lints::{PL047, PL090, PL091, PL092, PL093, PL094, PL095, PL096, PL097};
use crate::model::{
    HashStrength, HashTuple, LoadBalancer, PoolConfiguration, Rehash, RuleProtocol, Sku,
};
use plsim_types::is_prime;
use std::collections::BTreeMap;

/// Rules that may lead to one NIC (D-LBLIM).
const MAX_RULES_OF_A_NIC: usize = 300;
/// Places of a Maglev table for each backend that keep the shares within 1 % (MAG).
const PLACES_FOR_EACH: u64 = 100;

impl Rules<'_> {
    /// What a load balancer is, and how it distributes flows.
    pub(super) fn distributions(&mut self) {
        for (index, balancer) in self.scenario.load_balancer.iter().enumerate() {
            let path = format!("load_balancer[{index}]");
            if balancer.sku == Sku::Basic {
                let message = format!(
                    "load balancer `{}` is Basic: a Private Link Service needs a Standard one",
                    balancer.name
                );
                self.report(PL090, &format!("{path}.sku"), message)
                    .label("must be \"Standard\"")
                    .help("write sku = \"Standard\", or leave the key out");
            }
            for (place, pool) in balancer.backend_pool.iter().enumerate() {
                if pool.configuration == PoolConfiguration::IpAddress {
                    let path = format!("{path}.backend_pool[{place}].configuration");
                    let message = format!(
                        "backend pool `{}` is configured by IP address: Private Link needs NICs",
                        pool.name
                    );
                    self.report(PL091, &path, message)
                        .label("must be \"nic\"")
                        .help("write configuration = \"nic\", or leave the key out");
                }
                if pool.drain_period.is_some_and(|period| period.0.is_zero()) {
                    let path = format!("{path}.backend_pool[{place}].drain_period");
                    self.report(PL096, &path, "a drain period of zero drains nothing")
                        .help("leave it out: connections then live until they are idle");
                }
            }
            self.all_ports(&path, balancer);
            self.hash(&path, balancer);
            self.maglev(&path, index, balancer);
        }
        self.rules_of_nics();
    }

    /// HA ports: protocol All and port 0 go together, and stand alone on a frontend.
    fn all_ports(&mut self, path: &str, balancer: &LoadBalancer) {
        let mut all = BTreeMap::new();
        for (place, rule) in balancer.rule.iter().enumerate() {
            let path = format!("{path}.rule[{place}]");
            let is_all = rule.protocol == RuleProtocol::All;
            for (key, port) in [
                ("frontend_port", rule.frontend_port),
                ("backend_port", rule.backend_port),
            ] {
                if (port == 0) == is_all {
                    continue;
                }
                let message = if is_all {
                    format!("`{key}` must be 0 with protocol = \"all\": the rule takes every port")
                } else {
                    format!("`{key}` must be between 1 and 65535: 0 goes with protocol = \"all\"")
                };
                self.report(PL047, &format!("{path}.{key}"), message)
                    .see(&format!("{path}.name"), "in this rule")
                    .help("HA ports are protocol = \"all\", frontend_port = 0, backend_port = 0");
            }
            if is_all {
                all.entry(&rule.frontend).or_insert(place);
            }
        }
        for (place, rule) in balancer.rule.iter().enumerate() {
            let Some(&first) = all.get(&rule.frontend) else {
                continue;
            };
            if first != place {
                let message = format!(
                    "frontend `{}` has a rule for all ports: it is the only one there",
                    rule.frontend
                );
                self.report(PL047, &format!("{path}.rule[{place}].frontend"), message)
                    .see(
                        &format!("{path}.rule[{first}].protocol"),
                        "takes every port",
                    )
                    .help("put this rule on a frontend of its own");
            }
        }
    }

    fn hash(&mut self, path: &str, balancer: &LoadBalancer) {
        let wrong = matches!(balancer.rehash, Some(Rehash::Maglev | Rehash::Rendezvous));
        if balancer.hash == HashStrength::WeakParity && wrong {
            let message = "a weak hash shows only modulo the number of backends";
            self.report(PL094, &format!("{path}.rehash"), message)
                .see(&format!("{path}.hash"), "the weak hash")
                .help("write rehash = \"modulo\", or leave the key out");
        }
        if balancer.hash_tuple == HashTuple::PreNat || balancer.hash_includes_link {
            return;
        }
        for (place, rule) in balancer.rule.iter().enumerate() {
            let members = self.members_of(balancer, rule);
            let nat_ips = self.nat_ips_of(balancer, rule);
            if rule.distribution.fields() < 5 && nat_ips < members {
                let (plural, verb) = if nat_ips == 1 { ("", "es") } else { ("s", "") };
                let message = format!(
                    "{nat_ips} NAT IP{plural} reach{verb} at most {nat_ips} of {members} backends: only addresses are hashed"
                );
                self.report(PL095, &format!("{path}.rule[{place}].name"), message)
                    .label("some VMs get nothing")
                    .see(
                        &format!("{path}.hash_tuple"),
                        "the NAT IP is hashed, not the client",
                    )
                    .help("distribution = \"5-tuple\" hashes the client's port, too");
            }
        }
    }

    /// A prime number of places, more than there are backends.
    fn maglev(&mut self, path: &str, index: usize, balancer: &LoadBalancer) {
        let is_maglev = balancer.effective_rehash() == Rehash::Maglev;
        let key = format!("{path}.maglev_size");
        if let Some(size) = balancer.maglev_size {
            if !is_maglev {
                self.report(PL092, &key, "`maglev_size` goes with rehash = \"maglev\"")
                    .help("remove it");
            } else if !is_prime(size) {
                let near = nearest_prime(size);
                let message = format!("`maglev_size` must be a prime number, which {size} is not");
                self.report(PL092, &key, message)
                    .label(format!("the nearest prime number is {near}"))
                    .help("only then does each backend's order visit every place of the table");
                return;
            }
        }
        if !is_maglev {
            return;
        }
        let size = u64::from(balancer.effective_maglev_size());
        let most = (0..balancer.backend_pool.len())
            .map(|pool| self.machines_in(index, pool))
            .max()
            .unwrap_or(0);
        if most < 2 {
            return;
        }
        let key = match balancer.maglev_size {
            Some(_) => key,
            None => format!("{path}.name"),
        };
        if size < most {
            let message =
                format!("a Maglev table of {size} places has none for some of {most} backends");
            self.report(PL092, &key, message).help(format!(
                "write maglev_size = {}",
                prime_from(most * PLACES_FOR_EACH)
            ));
        } else if size < most * PLACES_FOR_EACH {
            let message =
                format!("{size} places for {most} backends: their shares differ by more than 1 %");
            self.report(PL093, &key, message).help(format!(
                "write maglev_size = {}",
                prime_from(most * PLACES_FOR_EACH)
            ));
        }
    }

    fn rules_of_nics(&mut self) {
        for (index, vm) in self.scenario.backend_vm.iter().enumerate() {
            let pools = vm.backend_pools.iter();
            let rules = pools.filter_map(|path| {
                let (balancer, _) = self.index.pool(path)?;
                let rules = self.scenario.load_balancer[balancer].rule.iter();
                Some(
                    rules
                        .filter(|rule| rule.backend_pool == path.backend_pool)
                        .count(),
                )
            });
            let count: usize = rules.sum();
            if count > MAX_RULES_OF_A_NIC {
                let message = format!(
                    "{count} rules lead to each VM of `{}`: a NIC has at most {MAX_RULES_OF_A_NIC}",
                    vm.name
                );
                self.report(PL097, &format!("backend_vm[{index}].name"), message)
                    .help("put the VM into fewer pools, or join rules");
            }
        }
    }

    /// Counts the machines that a rule leads to at the start.
    fn members_of(&self, balancer: &LoadBalancer, rule: &crate::model::Rule) -> u64 {
        let balancers = &self.scenario.load_balancer;
        let index = balancers.iter().position(|it| it.name == balancer.name);
        let mut pools = balancer.backend_pool.iter();
        let pool = pools.position(|pool| pool.name == rule.backend_pool);
        match (index, pool) {
            (Some(index), Some(pool)) => self.machines_in(index, pool),
            _ => 0,
        }
    }

    fn machines_in(&self, balancer: usize, pool: usize) -> u64 {
        let vms = self.scenario.backend_vm.iter().filter(|vm| {
            let mut pools = vm.backend_pools.iter();
            pools.any(|path| self.index.pool(path) == Some((balancer, pool)))
        });
        vms.map(|vm| u64::from(vm.count)).sum()
    }

    /// Counts the NAT IPs of the service on a rule's frontend.
    fn nat_ips_of(&self, balancer: &LoadBalancer, rule: &crate::model::Rule) -> u64 {
        let services = self.scenario.private_link_service.iter().filter(|service| {
            let frontend = &service.load_balancer_frontend;
            frontend.load_balancer == balancer.name && frontend.frontend == rule.frontend
        });
        services.map(|service| service.nat_ip_total() as u64).sum()
    }
}

/// Returns the prime number next to one, below or above; the lower of two.
fn nearest_prime(number: u32) -> u32 {
    let mut away = 0;
    loop {
        for near in [number.saturating_sub(away), number.saturating_add(away)] {
            if is_prime(near) {
                return near;
            }
        }
        away += 1;
    }
}

/// Returns the first of the two usual sizes that is large enough, or the next prime number.
fn prime_from(number: u64) -> u64 {
    let usual = [65_537, 655_373].into_iter().find(|&size| size >= number);
    let mut size = u32::try_from(number).unwrap_or(u32::MAX);
    while !is_prime(size) {
        size += 1;
    }
    usual.unwrap_or_else(|| u64::from(size))
}

#[cfg(test)]
mod tests {
    use super::{nearest_prime, prime_from};

    #[test]
    fn the_nearest_prime_is_the_lower_of_two() {
        assert_eq!(
            [1, 8, 9, 24, 65_536, 655_360].map(nearest_prime),
            [2, 7, 7, 23, 65_537, 655_357]
        );
    }

    #[test]
    fn the_usual_sizes_come_first() {
        assert_eq!(
            [400, 70_000, 700_000].map(prime_from),
            [65_537, 655_373, 700_001]
        );
    }
}
