use plsim_host::{Distribution, Model};
use plsim_host::{
    NoticeClose, OnConnectFailure, Order, PoolConfig, TcpSession, Validation, WorkloadConfig,
};
use plsim_packet::Origin;
use plsim_types::{Duration, TcpFlags};

use crate::workloads::{impatient, secs};
use crate::world::{Mini, SERVER, Setup, at_once, session};

pub(crate) fn pool() -> PoolConfig {
    PoolConfig {
        per_vm: 1,
        size: 2,
        min_idle: 0,
        max_idle: None,
        max_lifetime: None,
        validation: Validation {
            timeout: secs(5),
            after_idle: None,
        },
        keepalive_time: None,
        borrow_timeout: Some(secs(30)),
        total_timeout: None,
        on_connect_failure: OnConnectFailure::Wait,
        order: Order::Lifo,
        notice_close: NoticeClose::OnBorrow,
    }
}

/// The test of a connection that has rested for a second.
fn tested(timeout: Duration) -> Validation {
    Validation {
        timeout,
        after_idle: Some(secs(1)),
    }
}

/// A pool, and requests at these gaps.
pub(crate) fn borrowed(pool: PoolConfig, gap: Duration, session: TcpSession) -> WorkloadConfig {
    WorkloadConfig {
        arrival: plsim_host::Arrival::Constant,
        rate: Some(plsim_host::Rate { count: 1, per: gap }),
        connections: None,
        model: Model::Pool(pool),
        ..at_once(session, 1)
    }
}

#[test]
pub(crate) fn a_pool_lends_one_connection_to_one_request_after_the_other() {
    let workload = borrowed(pool(), secs(10), session());
    let mut mini = Setup::new(workload).build();
    mini.run_ms(95_000);
    let stats = mini.stats();
    assert_eq!((stats.attempted, stats.operations.succeeded), (1, 10));
    assert_eq!((stats.pool.borrows, stats.pool.lent), (10, 10));
    assert_eq!(stats.pool.dead_borrows, 0);
    mini.check();
}

#[test]
pub(crate) fn a_pool_opens_no_more_than_its_size_and_the_rest_waits_or_gives_up() {
    let slow = TcpSession {
        service_time: Distribution::from(secs(25)),
        ..session()
    };
    let mut mini = Setup::new(borrowed(pool(), secs(10), slow)).build();
    mini.run_ms(29_000);
    let stats = mini.stats();
    // The third request came at 20 s and was lent the first connection at 25 s.
    assert_eq!((stats.attempted, stats.pool.lent), (2, 3));
    assert!(stats.pool.borrow_latency.max() >= Some(secs(5)));
    mini.run_ms(600_000);
    let stats = mini.stats();
    assert!(stats.operations.failed_by.borrow_timeout > 0);
    assert_eq!(
        stats.operations.failed,
        stats.operations.failed_by.borrow_timeout
    );
    let given_up = stats.operations.failed_by.borrow_timeout;
    assert_eq!(
        stats.pool.borrows,
        stats.pool.lent + stats.pool.waiting + given_up
    );
    mini.check();
}

#[test]
pub(crate) fn a_pool_closes_what_rests_too_long_or_lives_too_long() {
    for (max_idle, max_lifetime, evicted, retired) in [(Some(4), None, 3, 0), (None, Some(4), 0, 3)]
    {
        let pool = PoolConfig {
            max_idle: max_idle.map(secs),
            max_lifetime: max_lifetime.map(secs),
            ..pool()
        };
        let mut mini = Setup::new(borrowed(pool, secs(10), session())).build();
        mini.run_ms(25_000);
        let stats = mini.stats();
        assert_eq!((stats.pool.evicted, stats.pool.retired), (evicted, retired));
        assert_eq!((stats.attempted, stats.operations.succeeded), (3, 3));
        mini.check();
    }
}

#[test]
pub(crate) fn a_pool_keeps_its_least_number_through_all_of_that() {
    let pool = PoolConfig {
        min_idle: 2,
        max_idle: Some(secs(4)),
        max_lifetime: Some(secs(60)),
        ..pool()
    };
    let mut mini = Setup::new(borrowed(pool, secs(1_000), session())).build();
    mini.run_ms(55_000);
    assert_eq!((mini.stats().attempted, mini.stats().established), (2, 2));
    mini.run_ms(65_000);
    assert_eq!((mini.stats().attempted, mini.stats().established), (4, 2));
    assert_eq!(mini.stats().pool.retired, 2);
    mini.check();
}

/// Resets the only connection of a pool in the name of the NAT, as after an idle timeout.
pub(crate) fn reset_by_nat(mini: &mut Mini) {
    let mut header = mini.latest(false);
    let sequence = header.acknowledgement;
    std::mem::swap(&mut header.source, &mut header.destination);
    header.flags = TcpFlags::RST;
    header.sequence = sequence;
    mini.forge(&header, Origin::Nat);
}

#[test]
pub(crate) fn a_dead_connection_is_met_by_the_request_by_the_test_or_by_nobody() {
    let tested = tested(secs(5));
    let untested = pool().validation;
    for (validation, notice_close, dead, failed) in [
        (untested, NoticeClose::OnBorrow, 1, 1),
        (tested, NoticeClose::OnBorrow, 1, 0),
        (untested, NoticeClose::AtOnce, 0, 0),
    ] {
        let pool = PoolConfig {
            validation,
            notice_close,
            ..pool()
        };
        let mut mini = Setup::new(borrowed(pool, secs(10), session())).build();
        mini.run_ms(5_000);
        reset_by_nat(&mut mini);
        mini.run_ms(15_000);
        let stats = mini.stats();
        assert_eq!(
            (stats.pool.dead_borrows, stats.pool.dead_requests),
            (dead, failed)
        );
        assert_eq!(stats.operations.failed_by.reset, failed);
        assert_eq!(stats.operations.succeeded, 2 - failed);
        mini.check();
    }
}

#[test]
pub(crate) fn a_silent_death_is_met_at_the_timeout_of_the_request_or_of_the_test() {
    let tested = tested(secs(1));
    for (validation, succeeded, lost) in [(pool().validation, 1, secs(2)), (tested, 2, secs(1))] {
        let pool = PoolConfig {
            validation,
            ..pool()
        };
        let mut mini = Setup::new(borrowed(pool, secs(10), impatient())).build();
        mini.run_ms(9_999);
        mini.set_deaf(true);
        mini.run_ms(12_500);
        mini.set_deaf(false);
        mini.run_ms(15_000);
        let stats = mini.stats();
        assert_eq!(stats.pool.dead_borrows, 1);
        assert_eq!(stats.operations.succeeded, succeeded);
        assert_eq!(stats.detection.max(), Some(lost));
        mini.check();
    }
}

#[test]
pub(crate) fn a_pools_keepalive_is_a_small_request_and_does_not_count_as_use() {
    let pool = PoolConfig {
        keepalive_time: Some(secs(3)),
        max_idle: Some(secs(10)),
        ..pool()
    };
    let mut mini = Setup::new(borrowed(pool, secs(100), session())).build();
    mini.run_ms(50_000);
    let stats = mini.stats();
    assert_eq!((stats.pool.validations, stats.pool.evicted), (3, 1));
    assert_eq!((stats.requests, stats.responses), (4, 4));
    mini.check();
}

#[test]
pub(crate) fn a_tested_connection_rested_until_its_test_began() {
    let tested = tested(secs(1));
    let pool = PoolConfig {
        validation: tested,
        ..pool()
    };
    let mut mini = Setup::new(borrowed(pool, secs(10), impatient())).build();
    mini.run_ms(9_999);
    mini.set_deaf(true);
    mini.run_ms(12_500);
    mini.set_deaf(false);
    mini.run_ms(25_000);
    let pool = &mini.stats().pool;
    // The response came after a few milliseconds.
    let rested = Duration::from_millis(9_990)..=Duration::from_secs(10);
    let dead = pool.rested_dead.max().unwrap();
    assert!(rested.contains(&dead), "the test of 1 s is no rest: {dead}");
    let alive = pool.rested_alive.max().unwrap();
    assert!(alive < secs(10), "nor is the time of a good one: {alive}");
    mini.check();
}

#[test]
pub(crate) fn a_dead_connection_that_is_met_says_since_when_it_was() {
    let mut mini = Setup::new(borrowed(pool(), secs(10), session())).build();
    mini.run_ms(5_000);
    reset_by_nat(&mut mini);
    mini.run_ms(15_000);
    let stats = mini.stats();
    // Nothing was sent, so no request was lost on the way.
    assert_eq!((stats.lost.total(), stats.detection.count()), (0, 0));
    let unnoticed = stats.idle_detection.max().unwrap();
    assert!(
        unnoticed > Duration::from_millis(4_990) && unnoticed <= secs(5),
        "{unnoticed}"
    );
    mini.check();
}

#[test]
pub(crate) fn a_pool_that_cannot_connect_tells_its_requests_or_has_them_wait() {
    for (on_connect_failure, connect, waiting, attempts) in [
        (OnConnectFailure::Fail, 10, 0, 10),
        // One at 0 s, and one each second: while the pool tries, it does so for all that wait.
        (OnConnectFailure::Wait, 0, 10, 11),
    ] {
        let pool = PoolConfig {
            size: 1,
            on_connect_failure,
            borrow_timeout: None,
            ..pool()
        };
        let mut setup = Setup::new(borrowed(pool, secs(1), session()));
        setup.listeners.clear();
        let mut mini = setup.build();
        mini.run_ms(9_999);
        let stats = mini.stats();
        let failed_by = stats.operations.failed_by;
        assert_eq!((failed_by.connect, failed_by.borrow_timeout), (connect, 0));
        assert_eq!(stats.pool.waiting, waiting);
        assert!(
            stats.attempted.abs_diff(attempts) <= 1,
            "{}",
            stats.attempted
        );
        assert_eq!(stats.pool.borrows, connect + waiting);
        mini.check();
    }
}

#[test]
pub(crate) fn a_request_that_waited_for_its_connection_has_that_much_less_time() {
    let slow = TcpSession {
        service_time: Distribution::from(secs(8)),
        ..session()
    };
    let pool = PoolConfig {
        size: 1,
        borrow_timeout: None,
        total_timeout: Some(secs(10)),
        ..pool()
    };
    let mut mini = Setup::new(borrowed(pool, secs(5), slow)).build();
    mini.run_ms(14_999);
    assert_eq!(mini.stats().operations.failed, 0);
    mini.run_ms(15_001);
    // The second one came at 5 s, got the connection at 8 s, and had 7 s left.
    let operations = &mini.stats().operations;
    assert_eq!((operations.succeeded, operations.failed_by.timeout), (1, 1));
    mini.check();
}

#[test]
pub(crate) fn the_oldest_connection_is_lent_first_whatever_has_rested_longer() {
    for (order, rested) in [(Order::Fifo, 20), (Order::Oldest, 10)] {
        let pool = PoolConfig {
            min_idle: 2,
            order,
            ..pool()
        };
        let mut mini = Setup::new(borrowed(pool, secs(10), session())).build();
        mini.run_ms(55_000);
        let longest = mini.stats().pool.rested_alive.max().unwrap();
        let expected = secs(rested - 1)..=secs(rested);
        assert!(expected.contains(&longest), "{order:?}: {longest}");
        mini.check();
    }
}

#[test]
pub(crate) fn each_vm_has_pools_of_its_own_and_requests_go_to_them_in_turn() {
    for (per_vm, pools) in [(1, 3), (2, 6)] {
        let pool = PoolConfig {
            per_vm,
            size: 5,
            min_idle: 2,
            ..pool()
        };
        let mut setup = Setup::new(borrowed(pool, secs(1), session()));
        setup.clients = 3;
        let mut mini = setup.build();
        mini.run_ms(500);
        assert_eq!(mini.stats().established, 2 * pools, "each keeps its own");
        mini.run_ms(60_500);
        let stats = mini.stats();
        assert_eq!((stats.attempted, stats.pool.lent), (2 * pools, 61));
        // Each request is one flow's, and the VMs take turns.
        let log = &mini.log().sent;
        let asked = log
            .iter()
            .filter(|(_, packet)| *packet.destination().ip() == SERVER && packet.payload_len() > 0);
        let vms = asked.map(|(_, packet)| packet.source().ip().octets()[3]);
        let expected = [4, 5, 6].into_iter().cycle().take(61);
        assert!(vms.eq(expected));
        mini.check();
    }
}

#[test]
fn requests_that_arrive_at_random_go_to_pools_at_random() {
    let pool = PoolConfig {
        per_vm: 10,
        ..pool()
    };
    let mut workload = borrowed(pool, secs(1), session());
    workload.arrival = plsim_host::Arrival::Poisson;
    let mut setup = Setup::new(workload);
    setup.clients = 10;
    let mut mini = setup.build();
    // Each of 100 pools opens one with its first request: 100 (1 - 0.99^100) = 63.4 +- 3.1 by now, not 100.
    mini.run_ms(100_000);
    let opened = mini.stats().attempted;
    assert!((50..=77).contains(&opened), "{opened}");
    mini.check();
}

#[test]
pub(crate) fn the_pool_of_a_vm_that_is_down_stands_still_and_the_others_get_its_requests() {
    let pool = PoolConfig {
        min_idle: 1,
        ..pool()
    };
    let mut setup = Setup::new(borrowed(pool, secs(1), session()));
    setup.clients = 2;
    let mut mini = setup.build();
    mini.run_ms(10_500);
    mini.with_clients(|clients, cx| _ = clients.crash(0, cx));
    mini.run_ms(20_500);
    let stats = mini.stats();
    assert_eq!((stats.vm_down, stats.established), (1, 1));
    assert_eq!((stats.attempted, stats.operations.succeeded), (2, 21));
    mini.with_clients(|clients, cx| clients.boot(0, cx));
    mini.run_ms(30_500);
    let stats = mini.stats();
    assert_eq!((stats.attempted, stats.established), (3, 2));
    assert_eq!((stats.operations.succeeded, stats.failed), (31, 0));
    mini.check();
}
