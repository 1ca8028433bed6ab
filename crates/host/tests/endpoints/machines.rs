use std::collections::BTreeSet;

use plsim_host::{Distribution, Keeping, TcpSession, WorkloadConfig, WorkloadKind};
use plsim_types::{DropReason, Duration, TcpFlags};

use crate::pools::{borrowed, pool};
use crate::workloads::{clients, held, impatient};
use crate::world::{CLIENT, Mini, SERVER, Setup, at_once, ms, patient, session};

fn long() -> TcpSession {
    TcpSession {
        hold: Distribution::from(Duration::from_secs(100_000)),
        ..session()
    }
}

/// Lists the source ports of all SYNs that clients sent from then on.
fn ports(mini: &Mini, since: u64) -> BTreeSet<u16> {
    let sent = mini.log().sent.iter().filter(|(at, _)| *at >= ms(since));
    let own = sent.filter(|(_, packet)| *packet.source().ip() != SERVER);
    let syns = own.filter(|(_, packet)| {
        let segment = packet.tcp_segment();
        segment.is_some_and(|segment| segment.flags.opens())
    });
    syns.map(|(_, packet)| packet.source().port()).collect()
}

/// Counts the resets that clients sent from then on.
fn resets(mini: &Mini, since: u64) -> usize {
    let sent = mini.log().sent.iter().filter(|(at, _)| *at >= ms(since));
    let own = sent.filter(|(_, packet)| *packet.source().ip() != SERVER);
    let segments = own.filter_map(|(_, packet)| packet.tcp_segment());
    segments
        .filter(|segment| segment.flags.has(TcpFlags::RST))
        .count()
}

#[test]
pub(crate) fn a_vm_that_crashes_tells_nobody_and_comes_back_with_other_ports() {
    let mut mini = Setup::new(held(5, long())).build();
    mini.run_ms(10_000);
    let before = ports(&mini, 0);
    let sent = mini.log().injected;
    mini.with_clients(|vms, cx| assert_eq!(vms.crash(0, cx), 5));
    assert_eq!((mini.stats().vm_down, mini.stats().established), (5, 0));
    assert_eq!((mini.clients().live(), mini.log().injected), (0, sent));
    mini.check();
    // Crashing again is nothing; what comes for it is dropped.
    mini.with_clients(|vms, cx| assert_eq!(vms.crash(0, cx), 0));
    mini.forge(&mini.latest(true), plsim_packet::Origin::Host);
    mini.run_ms(20_000);
    assert_eq!(mini.log().dropped[&DropReason::VmDown], 1);
    assert_eq!(mini.server_stats().live, 5, "the server knows nothing");
    mini.with_clients(|vms, cx| vms.boot(0, cx));
    mini.run_ms(30_000);
    let stats = mini.stats();
    assert_eq!(
        (stats.attempted, stats.established, stats.failed),
        (10, 5, 0)
    );
    let after = ports(&mini, 20_000);
    assert_eq!(after.len(), 5);
    assert!(after.is_disjoint(&before), "{before:?} {after:?}");
    mini.check();
}

#[test]
pub(crate) fn a_vm_that_is_shut_down_resets_its_connections() {
    let mut mini = Setup::new(held(5, long())).build();
    mini.run_ms(10_000);
    mini.with_clients(|vms, cx| assert_eq!(vms.stop(0, cx), 5));
    mini.run_ms(10_100);
    assert_eq!(resets(&mini, 10_000), 5);
    assert_eq!(mini.stats().vm_down, 5);
    assert_eq!(
        (mini.server_stats().live, mini.server_stats().reset),
        (0, 5)
    );
    mini.check();
}

#[test]
pub(crate) fn handshakes_and_time_wait_end_with_the_vm_without_a_reset() {
    // The server hears nothing of the second connection.
    let mut mini = Setup::new(at_once(session(), 1)).build();
    mini.run_ms(1_000);
    assert_eq!((mini.stats().closed, mini.clients().live()), (1, 1));
    mini.with_clients(|vms, cx| assert_eq!(vms.stop(0, cx), 1));
    assert_eq!((mini.stats().closed, mini.stats().vm_down), (1, 0));
    let mut mini = Setup::new(at_once(session(), 3)).build();
    mini.with_clients(|vms, cx| assert_eq!(vms.stop(0, cx), 3));
    assert_eq!((mini.stats().connecting, mini.stats().vm_down), (0, 3));
    mini.run_ms(1_000);
    assert_eq!(resets(&mini, 0), 0);
    mini.check();
}

#[test]
pub(crate) fn the_other_vms_of_the_group_take_over() {
    let mut setup = Setup::new(held(10, long()));
    setup.clients = 2;
    let mut mini = setup.build();
    mini.run_ms(10_000);
    mini.with_clients(|vms, cx| assert_eq!(vms.crash(1, cx), 5));
    mini.run_ms(20_000);
    let stats = mini.stats();
    assert_eq!(
        (stats.established, stats.attempted, stats.vm_down),
        (10, 15, 5)
    );
    let late = mini.log().sent.iter().filter(|(at, _)| *at >= ms(10_000));
    let mut own = late.filter(|(_, packet)| *packet.source().ip() != SERVER);
    assert!(own.all(|(_, packet)| *packet.source().ip() == CLIENT));
    mini.check();
}

#[test]
pub(crate) fn a_borrow_whose_time_is_over_while_it_is_tested_ends_with_the_vm() {
    let mut tested = pool();
    tested.size = 1;
    tested.borrow_timeout = Some(Duration::from_secs(2));
    tested.validation.after_idle = Some(Duration::ZERO);
    let session = TcpSession {
        tcp: patient(15),
        ..session()
    };
    let mut mini = Setup::new(borrowed(tested, Duration::from_secs(10), session)).build();
    mini.run_ms(9_000);
    mini.set_deaf(true);
    // The second request came at 10 s; its connection is tested for five seconds.
    mini.run_ms(14_000);
    assert_eq!(mini.stats().pool.waiting, 1);
    mini.with_clients(|vms, cx| assert_eq!(vms.crash(0, cx), 1));
    let stats = mini.stats();
    assert_eq!(stats.pool.waiting, 0);
    assert_eq!(stats.operations.failed_by.borrow_timeout, 1);
    mini.check();
}

#[test]
fn what_drives_a_workload_survives_its_vms() {
    let tcp = || WorkloadKind::Tcp(impatient());
    let slow = TcpSession {
        service_time: Distribution::from(Duration::from_millis(1_500)),
        ..impatient()
    };
    let second = Duration::from_secs(1);
    let workloads: [WorkloadConfig; 5] = [
        held(10, long()),
        clients(10, Keeping::Keep, 3, tcp()),
        clients(10, Keeping::PerRequest, 1, WorkloadKind::Tcp(slow.clone())),
        borrowed(pool(), second, session()),
        borrowed(pool(), second, slow),
    ];
    let mut lost = 0;
    for workload in workloads {
        // Down from the first moment on, and again in the midst of things.
        let mut setup = Setup::new(WorkloadConfig {
            start: ms(5_000),
            ..workload
        });
        setup.clients = 2;
        let mut mini = setup.build();
        let ends = [(1_000, 0), (1_001, 1), (41_500, 0), (41_700, 1)];
        let begins = [(21_000, 0), (22_000, 1), (51_000, 1), (61_000, 0)];
        for (ends, begins) in ends.chunks(2).zip(begins.chunks(2)) {
            for &(at, vm) in ends {
                mini.run_ms(at);
                mini.with_clients(|vms, cx| {
                    vms.crash(vm, cx);
                });
                mini.check();
            }
            for &(at, vm) in begins {
                mini.run_ms(at);
                mini.with_clients(|vms, cx| vms.boot(vm, cx));
                mini.check();
            }
        }
        lost += mini.stats().vm_down;
        let before = mini.stats().responses;
        mini.run_ms(300_000);
        let stats = mini.stats();
        assert!(
            stats.responses > before || stats.established == 10,
            "{stats:?}"
        );
        assert_eq!(stats.failed_by.client_ports, 0);
        let pool = &stats.pool;
        let given_up = stats.operations.failed_by.borrow_timeout;
        assert_eq!(
            pool.borrows,
            pool.lent + pool.waiting + given_up,
            "{pool:?}"
        );
        mini.check();
    }
    assert!(lost > 10, "{lost}");
}
