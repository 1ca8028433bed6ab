use plsim_host::{Arrival, Close, Distribution, Rate, TcpSession, UdpSession, WorkloadKind};
use plsim_types::{Duration, Instant};
use proptest::prelude::{ProptestConfig, any, prop_oneof, proptest};
use proptest::strategy::{Just, Strategy};

use crate::world::{Setup, at_once, ms, patient, probed, session};

#[test]
fn a_thousand_connections_complete_at_20_percent_loss_with_every_byte() {
    for seed in 1..=4 {
        let session = TcpSession {
            request: Distribution::Fixed(3_000),
            response: Distribution::Fixed(6_000),
            tcp: patient(20),
            ..session()
        };
        let mut setup = Setup::new(at_once(session, 1_000));
        (setup.seed, setup.loss, setup.keep) = (seed, 0.2, false);
        let mut mini = setup.build();
        mini.run_ms(3_600_000);
        let (stats, server, log) = (mini.stats(), mini.server_stats(), mini.log());
        assert_eq!(
            (stats.closed, stats.requests, stats.responses),
            (1_000, 1_000, 1_000)
        );
        assert_eq!(
            (server.live, server.half_open, mini.clients().live()),
            (0, 0, 0)
        );
        assert_eq!((server.requests, server.request_bytes), (1_000, 3_000_000));
        assert_eq!((log.bytes(false), log.bytes(true)), (3_000_000, 6_000_000));
        assert!(stats.retransmissions > 500 && stats.syn_retransmissions > 200);
        assert!(server.retransmissions > 500);
        mini.check();
    }
}

fn close() -> impl Strategy<Value = Close> {
    prop_oneof![Just(Close::Fin), Just(Close::Rst), Just(Close::Abandon)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn every_connection_is_in_one_place_after_every_event(
        seed in any::<u64>(),
        loss in 0.0..0.7,
        close in close(),
        request in 8_u64..20_000,
        response in 0_u64..20_000,
        hold in 0_u64..40_000,
        keepalive in proptest::option::of(1_u64..20_000),
        ports in 1_u16..40,
    ) {
        let hold = Distribution::Exponential { mean: 1_000_000 * hold };
        let keepalive = keepalive.map(Duration::from_millis);
        let up_to = |high| Distribution::Uniform { low: 0, high };
        let (request, response) = (up_to(request), up_to(response));
        let tcp = keepalive.map_or(patient(3), |span| probed(span, span));
        let tcp = TcpSession {
            request: request.clone(),
            response: response.clone(),
            hold: hold.clone(),
            close,
            tcp,
            ..session()
        };
        let mut workload = at_once(tcp, 40);
        workload.arrival = Arrival::Poisson;
        workload.rate = Some(Rate { count: 2, per: Duration::from_secs(1) });
        let mut other = workload.clone();
        other.kind = WorkloadKind::Udp(UdpSession {
            request,
            response,
            service_time: Distribution::Fixed(0),
            requests: None,
            hold,
            interval: keepalive.map(Distribution::from),
            response_timeout: Duration::from_secs(2),
        });
        let mut setup = Setup::new(workload);
        setup.workloads.push(other);
        (setup.seed, setup.loss, setup.keep, setup.ports) = (seed, loss, false, (1_024, 1_023 + ports));
        let mut mini = setup.build();
        let end = ms(2_000_000);
        while mini.step(end) {
            mini.check();
        }
        let stats = mini.clients().workloads();
        let held: u64 = stats.iter().map(|stats| stats.connecting + stats.established).sum();
        assert!(mini.clients().live() as u64 >= held);
        assert_eq!(stats[1].attempted, 40);
        if close != Close::Abandon && keepalive.is_some() {
            assert_eq!(stats[0].connecting + stats[0].established, 0, "{:?}", stats[0]);
        }
        assert!(mini.log().injected < 2_000_000, "a storm");
    }
}

#[test]
fn a_run_without_events_left_stands_still() {
    let mut mini = Setup::new(at_once(session(), 1)).build();
    mini.run_ms(1_000_000);
    assert!(!mini.step(Instant::ZERO + Duration::MAX));
}
