use plsim_types::Duration;

use crate::config::Rate;

/// How a rate changes with the time since the start of a workload.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Curve {
    /// Not at all.
    #[default]
    Flat,
    /// Evenly, from one rate to that of the workload, which then stays.
    Ramp {
        /// The rate at the start; `None` means zero.
        from: Option<Rate>,
        /// How long it takes; above zero.
        over: Duration,
    },
    /// With the hour of the day.
    Day {
        /// The rate in each hour in thousandths of the workload's, 0..=1000, one of them above zero.
        hours: [u16; 24],
        /// The time of day at the start, below 24 h.
        time_of_day: Duration,
    },
}

/// When how many connections have started, exactly: the integral of a rate, in whole numbers.
///
/// Work is what is left between the connections and the curve: a connection is `unit` of it.
#[derive(Debug)]
pub(crate) enum Integral {
    /// `slope` of work in a nanosecond.
    Flat { slope: u128 },
    /// Work in a nanosecond goes from `first` to `last` in `over` nanoseconds.
    Ramp { first: u128, last: u128, over: u128 },
    /// `slope` of work in a nanosecond and for each thousandth of the hour; `before` thousandths
    /// have passed since midnight at the start.
    Day {
        slope: u128,
        hours: [u16; 24],
        before: u128,
        time_of_day: u128,
    },
}

const HOUR: u128 = 3_600_000_000_000;

impl Curve {
    /// Returns the integral of a rate that changes like this, and the work of one connection.
    ///
    /// # Panics
    /// If a value lies outside its documented range, or if both rates of a ramp, squared time
    /// included, have more than 127 bits.
    pub(crate) fn integral(&self, rate: Rate) -> (Integral, Duration) {
        let per = u128::from(rate.per.as_nanos());
        match self {
            Self::Flat => {
                let slope = rate.count.into();
                (Integral::Flat { slope }, rate.per)
            }
            Self::Ramp { from, over } => {
                let from = from.unwrap_or(Rate {
                    count: 0,
                    per: rate.per,
                });
                let from_per = u128::from(from.per.as_nanos());
                let unit = per / greatest_common_divisor(per, from_per) * from_per;
                let over = u128::from(over.as_nanos());
                let first = u128::from(from.count) * (unit / from_per);
                let last = u128::from(rate.count) * (unit / per);
                let largest = first.max(last).checked_mul(2 * over * over);
                let unit = u64::try_from(unit).ok();
                let unit =
                    unit.filter(|_| over > 0 && largest.is_some_and(|most| most >> 127 == 0));
                let unit = unit.expect("the rates of a ramp have too many digits");
                let integral = Integral::Ramp { first, last, over };
                (integral, Duration::from_nanos(unit))
            }
            Self::Day { hours, time_of_day } => {
                let time_of_day = u128::from(time_of_day.as_nanos());
                assert!(time_of_day < 24 * HOUR, "a time of day is below 24 h");
                assert!(
                    hours.iter().any(|&share| share > 0)
                        && hours.iter().all(|&share| share <= 1_000),
                    "the shares of hours are 0..=1000, one above 0"
                );
                let integral = Integral::Day {
                    slope: rate.count.into(),
                    hours: *hours,
                    before: passed(hours, time_of_day),
                    time_of_day,
                };
                (integral, rate.per)
            }
        }
    }
}

impl Integral {
    /// Returns the latest nanosecond until which no more than this work was done; for a curve that
    /// rests then, the end of the rest.
    pub(crate) fn time_of(&self, work: u128) -> u128 {
        match *self {
            Self::Flat { slope } => work / slope,
            Self::Ramp { first, last, over } => {
                if let Some(beyond) = (2 * work).checked_sub((first + last) * over) {
                    return over + beyond / (2 * last);
                }
                // 2 over work = 2 over first t + (last - first) t^2, which rises until `over`.
                let wanted = 2 * over * work;
                let done = |t: u128| {
                    let even = 2 * over * first * t;
                    match last >= first {
                        true => even + (last - first) * t * t,
                        false => even - (first - last) * t * t,
                    }
                };
                let (mut low, mut high) = (0, over);
                while high - low > 1 {
                    let middle = low.midpoint(high);
                    if done(middle) <= wanted {
                        low = middle;
                    } else {
                        high = middle;
                    }
                }
                low
            }
            Self::Day {
                slope,
                ref hours,
                before,
                time_of_day,
            } => {
                let day: u128 = passed(hours, 24 * HOUR) * slope;
                let wanted = work * 1_000 + before * slope;
                let mut time = wanted / day * 24 * HOUR;
                let mut left = wanted % day;
                for &share in hours {
                    let whole = slope * u128::from(share) * HOUR;
                    if left < whole {
                        time += left / (slope * u128::from(share));
                        break;
                    }
                    left -= whole;
                    time += HOUR;
                }
                time.max(time_of_day) - time_of_day
            }
        }
    }
}

/// Sums the shares of the hours from midnight to a time of day, times nanoseconds.
fn passed(hours: &[u16; 24], time: u128) -> u128 {
    let mut left = time;
    let mut sum = 0;
    for &share in hours {
        let within = left.min(HOUR);
        sum += u128::from(share) * within;
        left -= within;
    }
    sum
}

const fn greatest_common_divisor(mut a: u128, mut b: u128) -> u128 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[cfg(test)]
mod tests {
    use super::{Curve, HOUR};
    use crate::config::Rate;
    use plsim_types::Duration;

    const SECOND: u128 = 1_000_000_000;

    fn per_second(count: u64) -> Rate {
        Rate {
            count,
            per: Duration::from_secs(1),
        }
    }

    /// Returns when connection k starts, counted from 0.
    fn start(curve: &Curve, rate: Rate, k: u128) -> u128 {
        let (integral, unit) = curve.integral(rate);
        integral.time_of(k * u128::from(unit.as_nanos()))
    }

    #[test]
    fn a_ramp_from_zero_follows_the_square_root() {
        // From 0 to 10/s in 10 s: k = t^2 / 2.
        let over = Duration::from_secs(10);
        let ramp = Curve::Ramp { from: None, over };
        let at = |k| start(&ramp, per_second(10), k);
        assert_eq!(at(0), 0);
        assert_eq!(at(1), 1_414_213_562, "the root of 2, rounded down");
        assert_eq!(at(2), 2 * SECOND);
        assert_eq!(at(18), 6 * SECOND);
        assert_eq!(at(50), 10 * SECOND, "the end of the ramp");
        assert_eq!(at(51), 10 * SECOND + SECOND / 10, "then 10/s");
        assert_eq!(at(150), 20 * SECOND);
    }

    #[test]
    fn a_ramp_between_rates_of_other_units_is_exact_too() {
        // From 3/s down to 60/min in 4 s: k = 3t - t^2/4, so 8 in 4 s.
        let ramp = Curve::Ramp {
            from: Some(per_second(3)),
            over: Duration::from_secs(4),
        };
        let rate = Rate {
            count: 60,
            per: Duration::from_secs(60),
        };
        assert_eq!(start(&ramp, rate, 5), 2 * SECOND);
        assert_eq!(start(&ramp, rate, 8), 4 * SECOND);
        assert_eq!(start(&ramp, rate, 10), 6 * SECOND);
        let all: Vec<u128> = (0..40).map(|k| start(&ramp, rate, k)).collect();
        assert!(all.is_sorted());
    }

    /// No connection starts before the curve has earned it, and each does at once: for every k the
    /// integral at its start is at most k, and a nanosecond later it is more.
    #[test]
    fn starts_are_the_nanosecond_before_the_curve_passes_them() {
        let over = Duration::from_nanos(7_919);
        for (first, last) in [(5, 31), (31, 5), (0, 17), (13, 13)] {
            let rate = |count| Rate {
                count,
                per: Duration::from_nanos(97),
            };
            let from = (first > 0).then(|| rate(first));
            let (integral, unit) = Curve::Ramp { from, over }.integral(rate(last));
            let (first, last, over) = (i128::from(first), i128::from(last), 7_919);
            let twice = |t: i128| 2 * over * first * t + (last - first) * t * t;
            for k in 0..400 {
                let work = k * i128::from(unit.as_nanos());
                let t = integral.time_of(work as u128) as i128;
                if t >= over {
                    break;
                }
                let wanted = 2 * over * work;
                assert!(
                    twice(t) <= wanted && twice(t + 1) > wanted,
                    "{first} {last} {k}"
                );
            }
        }
    }

    #[test]
    fn a_day_has_its_hours_and_rests_at_night() {
        let mut hours = [0; 24];
        (hours[8], hours[9]) = (500, 1_000);
        let day = |time_of_day: u64| Curve::Day {
            hours,
            time_of_day: Duration::from_secs(time_of_day),
        };
        let rate = Rate {
            count: 1,
            per: Duration::from_secs(60),
        };
        let at = |k, time_of_day| start(&day(time_of_day), rate, k);
        // At midnight: nothing before eight o'clock, 30 in that hour, then 60, then none.
        assert_eq!(at(0, 0), 8 * HOUR);
        assert_eq!(at(1, 0), 8 * HOUR + 120 * SECOND);
        assert_eq!(at(30, 0), 9 * HOUR);
        assert_eq!(at(31, 0), 9 * HOUR + 60 * SECOND);
        assert_eq!(at(89, 0), 10 * HOUR - 60 * SECOND);
        assert_eq!(at(90, 0), 32 * HOUR, "the next morning");
        // At half past eight: 15 in half an hour, then 60.
        assert_eq!(at(0, 30_600), 0);
        assert_eq!(at(15, 30_600), HOUR / 2);
        assert_eq!(at(75, 30_600), 23 * HOUR + HOUR / 2);
        // At noon all is over for the day.
        assert_eq!(at(0, 43_200), 20 * HOUR);
    }

    #[test]
    #[should_panic(expected = "too many digits")]
    fn a_ramp_that_cannot_be_exact_is_refused() {
        let rate = |count, per| Rate {
            count,
            per: Duration::from_nanos(per),
        };
        let from = Some(rate(1, 31_536_000_000_000_001));
        let over = Duration::from_secs(31_536_000);
        Curve::Ramp { from, over }.integral(rate(1, 31_535_999_999_999_999));
    }
}
