//! Configurations that are refused.

use crate::harness::{BACKEND, Nat, PLS, nat_ip, small};
use plsim_nat::{ConfigError, NatConfig, NatEngine};
use plsim_types::{Duration, PlsId};

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
