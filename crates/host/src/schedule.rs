use plsim_sim::Stream;
use plsim_types::{Duration, Instant};

use crate::config::{Arrival, WorkloadConfig};
use crate::curve::Integral;

/// When the connections of one workload start.
#[derive(Debug)]
pub(crate) struct Schedule {
    next: Option<Instant>,
    started: u64,
    limit: u64,
    process: Process,
}

/// What decides the next start.
#[derive(Debug)]
enum Process {
    AtOnce,
    /// A rate: the work that was due until now, and that of one connection (see [`Integral`]), so
    /// that rates lose nothing to rounding.
    Rate {
        integral: Integral,
        unit: Duration,
        is_random: bool,
        work: u128,
    },
    Bursts,
    /// The position in a list of times, and how many have started there.
    Times {
        at: usize,
        started: u64,
    },
}

impl Schedule {
    /// Finds the first start.
    pub(crate) fn new(config: &WorkloadConfig, random: &mut Stream) -> Self {
        let process = match config.arrival {
            Arrival::AtOnce => Process::AtOnce,
            Arrival::Constant | Arrival::Poisson => {
                let rate = config
                    .rate
                    .expect("broken invariant: an arrival process with a rate");
                let (integral, unit) = config.curve.integral(rate);
                Process::Rate {
                    integral,
                    unit,
                    is_random: config.arrival == Arrival::Poisson,
                    work: 0,
                }
            }
            Arrival::Bursts { .. } => Process::Bursts,
            Arrival::Times(_) => Process::Times { at: 0, started: 0 },
        };
        let mut schedule = Self {
            next: None,
            started: 0,
            limit: config.connections.unwrap_or(u64::MAX),
            process,
        };
        if config.arrival == Arrival::Poisson {
            schedule.process.step(random);
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
        self.process.step(random);
        self.find_next(config);
    }

    fn find_next(&mut self, config: &WorkloadConfig) {
        let at = self.process.offset(config, self.started).map(|offset| {
            let offset = u64::try_from(offset).unwrap_or(u64::MAX);
            config.start + Duration::from_nanos(offset)
        });
        self.next = at.filter(|at| self.started < self.limit && *at < config.stop);
    }
}

impl Process {
    /// Goes on by one connection.
    fn step(&mut self, random: &mut Stream) {
        match self {
            Self::AtOnce | Self::Bursts => {}
            Self::Rate {
                unit,
                is_random,
                work,
                ..
            } => {
                let gap = match is_random {
                    true => random.exponential(*unit),
                    false => *unit,
                };
                *work += u128::from(gap.as_nanos());
            }
            Self::Times { started, .. } => *started += 1,
        }
    }

    /// Returns the nanoseconds from `start` to the connection that comes after `started` others.
    fn offset(&mut self, config: &WorkloadConfig, started: u64) -> Option<u128> {
        match (self, &config.arrival) {
            (Self::Rate { integral, work, .. }, _) => Some(integral.time_of(*work)),
            (
                Self::Bursts,
                Arrival::Bursts {
                    size,
                    every,
                    spread,
                },
            ) => {
                let nanos = |span: &Duration| u128::from(span.as_nanos());
                let (burst, place) = (started / size, started % size);
                let within = u128::from(place) * nanos(spread) / u128::from(*size);
                Some(u128::from(burst) * nanos(every) + within)
            }
            (Self::Times { at, started }, Arrival::Times(times)) => {
                while let Some((time, count)) = times.get(*at) {
                    if *started < *count {
                        return Some(u128::from(*time));
                    }
                    (*at, *started) = (*at + 1, 0);
                }
                None
            }
            (Self::AtOnce | Self::Bursts | Self::Times { .. }, _) => Some(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Schedule;
    use crate::config::{Arrival, Rate, UdpSession, WorkloadConfig, WorkloadKind};
    use crate::curve::Curve;
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
            silence_limit: None,
            seed: 1,
            destinations: SocketAddrV4::new(Ipv4Addr::LOCALHOST, 80).into(),
            kind: WorkloadKind::Udp(session),
            model: Model::OpenLoop,
            arrival,
            rate: Some(Rate { count, per }),
            curve: Curve::Flat,
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

    #[test]
    fn bursts_come_every_period_and_spread_evenly() {
        let arrival = |spread| Arrival::Bursts {
            size: 3,
            every: Duration::from_nanos(100),
            spread: Duration::from_nanos(spread),
        };
        let mut config = workload(arrival(10), 1, Duration::from_secs(1));
        (config.rate, config.stop) = (None, Instant::from_nanos(212));
        assert_eq!(starts(&config), [5, 8, 11, 105, 108, 111, 205, 208, 211]);
        (config.arrival, config.connections) = (arrival(0), Some(5));
        assert_eq!(starts(&config), [5, 5, 5, 105, 105]);
    }

    #[test]
    fn a_list_of_times_counts_from_the_start_and_ends() {
        let times = [(0, 2), (7, 0), (30, 1), (50, 9)];
        let mut config = workload(Arrival::Times(times.as_slice().into()), 1, Duration::ZERO);
        (config.rate, config.connections) = (None, Some(5));
        assert_eq!(starts(&config), [5, 5, 35, 55, 55]);
        (config.connections, config.stop) = (None, Instant::from_nanos(55));
        assert_eq!(starts(&config), [5, 5, 35], "nothing starts at stop");
        config.arrival = Arrival::Times([].as_slice().into());
        assert!(starts(&config).is_empty());
    }

    #[test]
    fn poisson_starts_follow_a_ramp() {
        let mut config = workload(Arrival::Poisson, 1_000, Duration::from_secs(1));
        (config.start, config.stop) = (Instant::ZERO, Instant::from_nanos(40_000_000_000));
        config.curve = Curve::Ramp {
            from: None,
            over: Duration::from_secs(40),
        };
        let starts = starts(&config);
        // 20 000 with a standard deviation of 141, a quarter of them in the first half (71), and
        // in the last tenth 3 800 (62); four of each are allowed.
        assert!(starts.len().abs_diff(20_000) < 566, "{}", starts.len());
        let first_half = starts.partition_point(|at| *at < 20_000_000_000);
        assert!(first_half.abs_diff(5_000) < 284, "{first_half}");
        let last = starts.len() - starts.partition_point(|at| *at < 36_000_000_000);
        assert!(last.abs_diff(3_800) < 248, "{last}");
        assert!(starts.is_sorted());
    }

    #[test]
    fn poisson_starts_follow_a_day() {
        let mut config = workload(Arrival::Poisson, 1, Duration::from_secs(1));
        let hour = 3_600_000_000_000;
        (config.start, config.stop) = (Instant::ZERO, Instant::from_nanos(24 * hour));
        let mut hours = [500; 24];
        (hours[3], hours[12]) = (0, 1_000);
        // The run begins at two o'clock.
        let time_of_day = Duration::from_secs(2 * 3_600);
        config.curve = Curve::Day { hours, time_of_day };
        let starts = starts(&config);
        let within = |place: u64| {
            let until = |at: u64| starts.partition_point(|start| *start < at * hour);
            until(place + 1) - until(place)
        };
        // 3 600 with a standard deviation of 60, 1 800 with one of 42; four of each are allowed.
        assert_eq!(within(1), 0, "three o'clock");
        assert!(within(10).abs_diff(3_600) < 240, "{}", within(10));
        for place in (0..24).filter(|place| ![1, 10].contains(place)) {
            assert!(
                within(place).abs_diff(1_800) < 170,
                "{place}: {}",
                within(place)
            );
        }
        assert!(starts.is_sorted());
    }
}
