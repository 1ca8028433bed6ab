use super::{ENDPOINT, FRONTEND, LINK, at, balancer, config, pool, rule, tuple};
use crate::{
    AdminState, ConfigError, FrontendId, HashStrength, LbConfig, LbError, LbPoolId, Listen,
    LoadBalancer, ProbeId, Rehash,
};
use alloc::string::ToString;
use alloc::vec::Vec;
use core::net::Ipv4Addr;
use plsim_types::{BackendId, DropReason, Duration, FiveTuple, Protocol};

fn refused(change: impl FnOnce(&mut LbConfig)) -> ConfigError {
    let mut config = config(2, true);
    change(&mut config);
    LoadBalancer::new(&config).unwrap_err()
}

/// PLS-2: the rule of the frontend decides pool and port; without one there is no answer.
#[test]
fn frontend_protocol_and_port_decide_the_rule() {
    let mut config = config(2, true);
    config.backends.push(crate::Backend {
        id: BackendId(77),
        address: Ipv4Addr::new(10, 2, 2, 4),
    });
    config.pools.push(pool(&[77], false));
    config.rules.push(rule(Protocol::Tcp, 80, 1));
    config.rules.push(crate::Rule {
        frontend: FrontendId(1),
        ..rule(Protocol::Tcp, 443, 1)
    });
    let mut balancer = LoadBalancer::new(&config).unwrap();
    let mut to = |frontend, protocol, port| {
        let mut destination = ENDPOINT;
        destination.set_port(port);
        let tuple = FiveTuple {
            destination,
            ..tuple(protocol, 50_000)
        };
        balancer.select(frontend, LINK, &tuple, true, at(0))
    };
    let web = to(FRONTEND, Protocol::Tcp, 80).unwrap();
    assert_eq!((web.backend, web.backend_port), (BackendId(77), 8_080));
    let tls = to(FRONTEND, Protocol::Tcp, 443).unwrap();
    assert!(tls.backend < BackendId(2) && tls.backend_port == 8_443);
    let other = to(FrontendId(1), Protocol::Tcp, 443).unwrap();
    assert_eq!(other.backend, BackendId(77));
    assert_eq!(to(FRONTEND, Protocol::Udp, 80), Err(LbError::NoLbRule));
    assert_eq!(to(FRONTEND, Protocol::Tcp, 81), Err(LbError::NoLbRule));
    assert_eq!(
        to(FrontendId(2), Protocol::Tcp, 443),
        Err(LbError::NoLbRule)
    );
    assert_eq!(balancer.unmatched(), 3);
    let packets: Vec<_> = balancer.rule_usage().map(|usage| usage.packets).collect();
    assert_eq!(packets, [1, 0, 1, 1]);
}

#[test]
fn two_rules_for_one_frontend_protocol_and_port_are_refused() {
    let twice = refused(|config| config.rules.push(rule(Protocol::Udp, 443, 0)));
    assert_eq!(
        twice,
        ConfigError::DuplicateRule {
            first: 1,
            second: 2
        }
    );
    assert_eq!(
        twice.to_string(),
        "rules 1 and 2 serve the same frontend, protocol and port"
    );
}

fn member(id: u16) -> [(BackendId, AdminState); 1] {
    [(BackendId(id), AdminState::None)]
}

#[test]
fn a_configuration_that_cannot_work_is_refused_with_its_place() {
    let port = ConfigError::Port { rule: 1 };
    let listen = |listen| refused(move |config| config.rules[1].listen = listen);
    assert_eq!(listen(Listen::Port(Protocol::Udp, 0)), port);
    assert_eq!(listen(Listen::All), port);
    assert_eq!(refused(|config| config.rules[1].backend_port = 0), port);
    let frontend = FrontendId(2);
    assert_eq!(
        refused(|config| config.rules[0].frontend = frontend),
        ConfigError::UnknownFrontend { rule: 0, frontend }
    );
    let probe = ProbeId(0);
    assert_eq!(
        refused(|config| config.rules[0].probe = Some(probe)),
        ConfigError::UnknownProbe { rule: 0, probe }
    );
    let pool = LbPoolId(1);
    assert_eq!(
        refused(|config| config.rules[0].pool = pool),
        ConfigError::UnknownPool { rule: 0, pool }
    );
    assert_eq!(
        refused(|config| config.pools[0].members.extend(member(1))),
        ConfigError::DuplicateMember {
            pool: LbPoolId(0),
            backend: BackendId(1)
        }
    );
    assert_eq!(
        refused(|config| config.pools[0].members.extend(member(2))),
        ConfigError::UnknownBackend {
            pool: LbPoolId(0),
            backend: BackendId(2)
        }
    );
    assert_eq!(
        refused(|config| config.backends[1].address = config.backends[0].address),
        ConfigError::DuplicateBackend {
            backend: BackendId(1)
        }
    );
    assert_eq!(
        refused(|config| config.rehash = Rehash::Maglev { size: 65_536 }),
        ConfigError::MaglevSize { size: 65_536 }
    );
    assert_eq!(
        refused(|config| *config = LbConfig {
            rehash: Rehash::Maglev { size: 7 },
            ..super::config(8, true)
        }),
        ConfigError::MaglevTooSmall { size: 7 }
    );
    assert_eq!(
        refused(|config| config.hash.strength = HashStrength::WeakParity),
        ConfigError::WeakHash
    );
    assert_eq!(
        refused(|config| config.stickiness.idle = Duration::ZERO),
        ConfigError::ZeroIdle
    );
    assert_eq!(
        refused(|config| config.stickiness.limit = 0),
        ConfigError::ZeroLimit
    );
}

#[test]
fn every_error_has_its_own_drop_reason() {
    assert_eq!(DropReason::from(LbError::NoLbRule), DropReason::NoLbRule);
    assert_eq!(
        DropReason::from(LbError::NoHealthyBackend),
        DropReason::NoHealthyBackend
    );
    assert_eq!(
        DropReason::from(LbError::EdgeTableFull),
        DropReason::EdgeTableFull
    );
}

#[test]
fn balancers_with_the_same_seed_decide_alike_and_others_do_not() {
    let mut other = config(8, true);
    other.seed += 1;
    let (mut one, mut same) = (balancer(8), balancer(8));
    let mut other = LoadBalancer::new(&other).unwrap();
    let mut differ = 0;
    for port in 0..1_000 {
        let choice = super::syn(&mut one, port, at(0));
        assert_eq!(super::syn(&mut same, port, at(0)), choice);
        differ += usize::from(super::syn(&mut other, port, at(0)) != choice);
    }
    assert!(
        (820..930).contains(&differ),
        "{differ} of 1000, expected 875"
    );
}

/// Decisions are part of a run's bytes: they must not change by accident.
#[test]
fn choices_are_fixed_for_good() {
    let mut balancer = balancer(10);
    let chosen = [0, 1, 2, 1_000, 50_000, 65_535]
        .map(|port| super::syn(&mut balancer, port, at(0)).unwrap().backend.0);
    assert_eq!(chosen, [7, 1, 3, 2, 3, 9]);
}
