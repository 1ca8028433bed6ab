//! Configurations that are refused.

use crate::harness::{BACKEND, Nat, PLS, nat_ip, small};
use plsim_nat::{ConfigError, NatConfig, NatEngine, PoolConfig};
use plsim_types::{Duration, PlsId};
use std::net::Ipv4Addr;

fn refused(change: impl FnOnce(&mut NatConfig)) -> ConfigError {
    let mut config = small(2, 10);
    change(&mut config);
    NatEngine::new(config).unwrap_err()
}

#[test]
#[expect(clippy::reversed_empty_ranges, reason = "the point of the test")]
fn what_cannot_work_is_refused_with_its_reason() {
    let many = |c: &mut NatConfig| {
        let pool = |pls| plsim_nat::PoolConfig {
            pls: PlsId(pls),
            ..c.pools[0].clone()
        };
        c.pools = (0..256).map(pool).collect();
    };
    assert_eq!(refused(many), ConfigError::PoolCount(256));
    assert_eq!(
        refused(|c| c.flow_limit = Some(0)),
        ConfigError::ZeroLimit("flow_limit")
    );
    assert_eq!(
        refused(|c| c.pools[0].nat_ips.clear()),
        ConfigError::NatIpCount(PLS, 0)
    );
    assert_eq!(
        refused(|c| c.pools[0].nat_ips = (0..9).map(nat_ip).collect()),
        ConfigError::NatIpCount(PLS, 9)
    );
    assert_eq!(
        refused(|c| c.pools[0].nat_ips[1] = nat_ip(0)),
        ConfigError::DuplicateNatIp(nat_ip(0))
    );
    assert_eq!(
        refused(|c| c.pools[0].nat_ips[1] = BACKEND),
        ConfigError::DuplicateNatIp(BACKEND)
    );
    assert_eq!(
        refused(|c| c.pools.push(c.pools[0].clone())),
        ConfigError::DuplicatePls(PLS)
    );
    assert_eq!(
        refused(|c| c.pools[0].ports = 0..=2_000),
        ConfigError::PortRange(0, 2_000)
    );
    assert_eq!(
        refused(|c| c.pools[0].ports = 3_000..=2_000),
        ConfigError::PortRange(3_000, 2_000)
    );
    assert_eq!(
        refused(|c| c.pools[0].timers.udp_idle = Duration::ZERO),
        ConfigError::ZeroTimer("udp_idle")
    );
    assert_eq!(
        refused(|c| c.pools[0].timers.idle_scan_interval = Some(Duration::ZERO)),
        ConfigError::ZeroTimer("idle_scan_interval")
    );
}

/// Pools with this many NAT IPs each, all different.
fn pools(counts: impl IntoIterator<Item = u8>) -> NatConfig {
    let mut config = small(1, 10);
    let pool = config.pools.remove(0);
    let numbered = (0..).zip(counts);
    config.pools.extend(numbered.map(|(number, count)| {
        PoolConfig {
            pls: PlsId(number),
            nat_ips: (0..count)
                .map(|ip| Ipv4Addr::new(10, 3, number as u8, ip))
                .collect(),
            ..pool.clone()
        }
    }));
    config
}

#[test]
fn a_vm_has_255_services_or_256_nat_ips_at_most() {
    let built = |config| NatEngine::new(config).map(|_| ());
    assert_eq!(built(pools([1; 255])), Ok(()));
    assert_eq!(built(pools([8; 32])), Ok(()));
    let one_more = [8; 32].into_iter().chain([1]);
    assert_eq!(
        built(pools(one_more.clone())),
        Err(ConfigError::TooManyNatIps)
    );
    assert_eq!(
        built(pools(one_more.chain([8]))),
        Err(ConfigError::TooManyNatIps)
    );
    // The same when one is added later.
    let mut nat = NatEngine::new(pools([8; 31].into_iter().chain([7]))).unwrap();
    assert_eq!(nat.add_nat_ip(PlsId(31), nat_ip(0)), Ok(()));
    let mut nat = NatEngine::new(pools([8; 31].into_iter().chain([4, 4]))).unwrap();
    assert_eq!(
        nat.add_nat_ip(PlsId(31), nat_ip(0)),
        Err(ConfigError::TooManyNatIps)
    );
}

#[test]
fn a_ninth_nat_ip_an_unknown_service_and_a_known_address_are_refused() {
    let mut nat = Nat::new(small(7, 1));
    assert_eq!(nat.engine.add_nat_ip(PLS, nat_ip(7)), Ok(()));
    assert_eq!(
        nat.engine.add_nat_ip(PLS, nat_ip(8)),
        Err(ConfigError::NatIpCount(PLS, 9))
    );
    let mut nat = Nat::new(small(1, 1));
    assert_eq!(
        nat.engine.add_nat_ip(PlsId(5), nat_ip(8)),
        Err(ConfigError::UnknownPls(PlsId(5)))
    );
    for address in [nat_ip(0), BACKEND] {
        assert_eq!(
            nat.engine.add_nat_ip(PLS, address),
            Err(ConfigError::DuplicateNatIp(address))
        );
    }
}
