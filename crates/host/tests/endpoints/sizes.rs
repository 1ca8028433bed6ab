//! Requests and responses of many sizes.

use plsim_host::{Distribution, TcpSession, UdpSession, WorkloadKind};
use plsim_types::Duration;

use crate::world::{Setup, at_once, session};

const CONNECTIONS: u64 = 1_000;

/// The bytes that arrive are those that were drawn: their mean is that of the distributions, within
/// four standard errors.
#[test]
fn requests_and_responses_have_the_sizes_of_their_distributions() {
    let request = Distribution::Uniform {
        low: 100,
        high: 5_099,
    };
    let response = Distribution::empirical(&[(1, 1), (30_000, 1)]).expect("weights");
    let tcp = TcpSession {
        request,
        response,
        ..session()
    };
    let mut mini = Setup::new(at_once(tcp, CONNECTIONS)).build();
    mini.run_ms(60_000);
    mini.check();
    let stats = mini.stats();
    assert_eq!((stats.responses, stats.closed), (CONNECTIONS, CONNECTIONS));
    // 5000 / sqrt(12) / sqrt(1000) = 46
    let mean = mini.server_stats().request_bytes / CONNECTIONS;
    assert!(mean.abs_diff(2_599) < 184, "{mean}");
    // 15000 / sqrt(1000) = 474
    let mean = mini.log().bytes(true) / CONNECTIONS;
    assert!(mean.abs_diff(15_000) < 1_896, "{mean}");
}

/// A law without bounds may give what no packet can hold: the nearest size is taken.
#[test]
fn what_does_not_fit_is_cut_to_what_does() {
    let wild = Distribution::LogNormal {
        median: 300,
        sigma: 6.0,
    };
    let mut workload = at_once(session(), CONNECTIONS);
    workload.kind = WorkloadKind::Udp(UdpSession {
        request: wild,
        response: Distribution::Fixed(0),
        hold: Distribution::Fixed(0),
        service_time: Distribution::Fixed(0),
        requests: None,
        interval: None,
        response_timeout: Duration::from_secs(5),
    });
    let mut mini = Setup::new(workload).build();
    mini.run_ms(60_000);
    mini.check();
    assert_eq!(mini.stats().responses, CONNECTIONS);
    let sent = mini.log().sent.iter().map(|(_, packet)| packet);
    let requests = sent.filter(|packet| packet.destination().port() == crate::world::PORT);
    let lengths: Vec<u64> = requests.map(|packet| packet.payload_len() as u64).collect();
    let (least, most) = (lengths.iter().min(), lengths.iter().max());
    assert_eq!((least, most), (Some(&8), Some(&1_472)));
}
