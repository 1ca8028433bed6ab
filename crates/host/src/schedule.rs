use plsim_sim::Stream;
use plsim_types::{Duration, Instant};

use crate::config::{Arrival, WorkloadConfig};

/// When the connections of one workload start.
#[derive(Debug)]
pub(crate) struct Schedule {
    next: Option<Instant>,
    started: u64,
    limit: u64,
    /// Time since `start` in units of 1 / `count` ns, so that rates lose nothing to rounding.
    elapsed: u128,
}

impl Schedule {
    /// Finds the first start.
    pub(crate) fn new(config: &WorkloadConfig, random: &mut Stream) -> Self {
        let limit = config.connections.unwrap_or(u64::MAX);
        let mut schedule = Self {
            next: None,
            started: 0,
            limit,
            elapsed: 0,
        };
        if config.arrival == Arrival::Poisson {
            schedule.lengthen(config, random);
        }
        schedule.find_next(config);
        schedule
    }

    /// Returns when the next connection starts.
    pub(crate) const fn next(&self) -> Option<Instant> {
        self.next
    }

    /// Goes on to the connection after the next one.
    pub(crate) fn advance(&mut self, config: &WorkloadConfig, random: &mut Stream) {
        self.started += 1;
        self.lengthen(config, random);
        self.find_next(config);
    }

    fn lengthen(&mut self, config: &WorkloadConfig, random: &mut Stream) {
        let per = config.rate.map_or(Duration::ZERO, |rate| rate.per);
        self.elapsed += match config.arrival {
            Arrival::Constant => u128::from(per.as_nanos()),
            Arrival::Poisson => u128::from(random.exponential(per).as_nanos()),
            Arrival::AtOnce => 0,
        };
    }

    fn find_next(&mut self, config: &WorkloadConfig) {
        let count = config.rate.map_or(1, |rate| rate.count);
        let offset = u64::try_from(self.elapsed / u128::from(count)).unwrap_or(u64::MAX);
        let at = config.start + Duration::from_nanos(offset);
        self.next = (self.started < self.limit && at < config.stop).then_some(at);
    }
}

#[cfg(test)]
mod tests {
    use super::Schedule;
    use crate::config::{Arrival, Rate, UdpSession, WorkloadConfig, WorkloadKind};
    use crate::workload::Model;
    use core::net::{Ipv4Addr, SocketAddrV4};
    use plsim_sim::{Distribution, Stream};
    use plsim_types::{Duration, Instant};

    fn workload(arrival: Arrival, count: u64, per: Duration) -> WorkloadConfig {
        let session = UdpSession {
            request: Distribution::Fixed(8),
            response: Distribution::Fixed(8),
            service_time: Distribution::Fixed(0),
            requests: None,
            hold: Distribution::Fixed(0),
            interval: None,
            response_timeout: Duration::from_secs(1),
        };
        WorkloadConfig {
            seed: 1,
            target: SocketAddrV4::new(Ipv4Addr::LOCALHOST, 80),
            kind: WorkloadKind::Udp(session),
            model: Model::OpenLoop,
            arrival,
            rate: Some(Rate { count, per }),
            connections: None,
            start: Instant::from_nanos(5),
            stop: Instant::from_nanos(60_000_000_000),
        }
    }

    fn starts(config: &WorkloadConfig) -> Vec<u64> {
        let mut random = Stream::new(1, "test", "schedule");
        let mut schedule = Schedule::new(config, &mut random);
        let mut starts = Vec::new();
        while let Some(at) = schedule.next() {
            starts.push(at.as_nanos());
            schedule.advance(config, &mut random);
        }
        starts
    }

    #[test]
    fn three_connections_per_10_s_start_at_exact_thirds_and_none_at_stop() {
        let mut config = workload(Arrival::Constant, 3, Duration::from_secs(10));
        config.stop = Instant::from_nanos(20_000_000_005);
        let expected = [
            0,
            3_333_333_333,
            6_666_666_666,
            10_000_000_000,
            13_333_333_333,
            16_666_666_666,
        ];
        assert_eq!(starts(&config), expected.map(|offset| offset + 5));
        config.stop = Instant::from_nanos(20_000_000_006);
        assert_eq!(starts(&config).last(), Some(&20_000_000_005));
    }

    #[test]
    fn a_thousand_per_second_reaches_connection_64_513_at_64_512_ms() {
        let mut config = workload(Arrival::Constant, 1_000, Duration::from_secs(1));
        config.start = Instant::ZERO;
        config.stop = Instant::from_nanos(70_000_000_000);
        assert_eq!(starts(&config)[64_512], 64_512_000_000);
    }

    #[test]
    fn poisson_starts_have_the_asked_mean_and_keep_inside_the_window() {
        let config = workload(Arrival::Poisson, 1_000, Duration::from_secs(1));
        let starts = starts(&config);
        // 60 000 expected with a standard deviation of 245; four of them are allowed.
        assert!(starts.len().abs_diff(60_000) < 980, "{}", starts.len());
        assert!(starts.is_sorted() && starts[0] >= 5);
        assert!(starts.iter().all(|&at| at < 60_000_000_000));
    }

    #[test]
    fn at_once_starts_the_given_number_at_start() {
        let mut config = workload(Arrival::AtOnce, 1, Duration::from_secs(1));
        (config.rate, config.connections) = (None, Some(3));
        assert_eq!(starts(&config), [5, 5, 5]);
        config.stop = config.start;
        assert!(starts(&config).is_empty(), "nothing starts at stop");
    }
}
