use super::decimal::split;
use super::time::{MAX_SPAN, unit_nanos};
use super::{UnitError, text_leaf};
use core::fmt;
use core::str::FromStr;
use plsim_types::Duration;

/// How often something happens, written as `"1000/s"`, `"0.5/s"` or `"60/min"`.
///
/// Kept as an exact fraction in lowest terms: `count` things in `per`. At least one in 366 days,
/// at most 10 million in a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rate {
    count: u64,
    per: Duration,
}

/// The highest rate, things per second.
const MAX_PER_SECOND: u128 = 10_000_000;

impl Rate {
    /// Returns how many things happen in [`per`](Self::per); at least 1.
    #[must_use]
    pub const fn count(self) -> u64 {
        self.count
    }

    /// Returns the span in which [`count`](Self::count) things happen; above zero.
    #[must_use]
    pub const fn per(self) -> Duration {
        self.per
    }

    /// Returns the time from the first thing to the one `index` places after it: `index / rate`
    /// rounded down to a nanosecond, or `None` beyond the range of virtual time.
    #[must_use]
    pub fn offset(self, index: u64) -> Option<Duration> {
        let nanos = u128::from(index) * u128::from(self.per.as_nanos()) / u128::from(self.count);
        u64::try_from(nanos).ok().map(Duration::from_nanos)
    }

    /// Returns how many things start in a half-open span: the smallest `n` with
    /// `offset(n) >= span`, saturating.
    #[must_use]
    pub fn starts_within(self, span: Duration) -> u64 {
        // offset(n) >= span is n * per / count >= span, that is n >= span * count / per.
        let product = u128::from(span.as_nanos()) * u128::from(self.count);
        u64::try_from(product.div_ceil(u128::from(self.per.as_nanos()))).unwrap_or(u64::MAX)
    }
}

impl FromStr for Rate {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let (number, unit) = split(text, "a rate", "1000/s")?;
        let (multiple, unit) = unit.split_once('/').ok_or_else(|| {
            UnitError::with_help(
                "a rate needs the time it counts in",
                "write for example \"1000/s\" or \"60/min\"",
            )
        })?;
        let multiple = match multiple {
            "" => 1,
            "k" => 1_000,
            "M" => 1_000_000,
            _ => {
                return Err(UnitError::with_help(
                    "unknown multiple",
                    "write the number in full, or use k (1000) or M (1000000): 10k/s is 10000/s",
                ));
            }
        };
        let per = u128::from(unit_nanos(unit)?) * 10_u128.pow(number.scale);
        let count = number.digits.saturating_mul(multiple);
        if count == 0 {
            return Err(UnitError::with_help(
                "a rate must be above zero",
                "leave the workload out if nothing is to start",
            ));
        }
        let shared = greatest_common_divisor(count, per);
        let (count, per) = (count / shared, per / shared);
        if count * 1_000_000_000 > per.saturating_mul(MAX_PER_SECOND) {
            return Err(UnitError::new("a rate cannot be above 10000000/s"));
        }
        if per > u128::from(MAX_SPAN.as_nanos()).saturating_mul(count) {
            return Err(UnitError::new("a rate cannot be below one in 366 days"));
        }
        let fits = |value: u128| {
            u64::try_from(value).map_err(|_| UnitError::new("the rate has too many digits"))
        };
        Ok(Self {
            count: fits(count)?,
            per: Duration::from_nanos(fits(per)?),
        })
    }
}

pub(super) const fn greatest_common_divisor(mut a: u128, mut b: u128) -> u128 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

impl fmt::Display for Rate {
    /// Writes the rate per second as a decimal if that is exact, else per the smallest unit of
    /// time in which it is.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (unit, nanos) in [
            ("s", 1_000_000_000_u128),
            ("min", 60_000_000_000),
            ("h", 3_600_000_000_000),
            ("d", 86_400_000_000_000),
            ("ns", 1),
        ] {
            let mut scaled = u128::from(self.count) * nanos;
            let per = u128::from(self.per.as_nanos());
            let mut scale = 0_usize;
            while scaled % per != 0 && scale < 18 && scaled < u128::MAX / 10 {
                scaled *= 10;
                scale += 1;
            }
            if scaled % per != 0 {
                continue;
            }
            let digits = format!("{:0>width$}", scaled / per, width = scale + 1);
            let (whole, fraction) = digits.split_at(digits.len() - scale);
            let point = if scale == 0 { "" } else { "." };
            return write!(f, "{whole}{point}{fraction}/{unit}");
        }
        write!(f, "{} in {}", self.count, self.per)
    }
}

text_leaf!(
    Rate,
    "rate",
    r"^[0-9]+(\.[0-9]+)? ?[kM]?/(ns|us|µs|ms|s|min|h|d)$",
    "How often something happens: a decimal number, k (1000) or M (1000000) if it is large, a slash and a unit of time. At most 10000000/s.",
    ["1000/s", "0.5/s", "60/min"]
);

#[cfg(test)]
mod tests {
    use super::Rate;
    use plsim_types::Duration;

    fn rate(text: &str) -> Rate {
        text.parse().unwrap()
    }

    #[test]
    fn rates_are_exact_fractions_in_lowest_terms() {
        assert_eq!(
            (rate("1000/s").count(), rate("1000/s").per()),
            (1, Duration::from_millis(1))
        );
        assert_eq!(rate("60/min"), rate("1/s"));
        assert_eq!(rate("0.5/s"), rate("30/min"));
        assert_eq!(
            (rate("1.5k/s"), rate("2M/s")),
            (rate("1500/s"), rate("2000000/s"))
        );
        assert_eq!(
            rate("3/s").offset(1),
            Some(Duration::from_nanos(333_333_333))
        );
        assert_eq!(rate("3/s").offset(3), Some(Duration::from_secs(1)));
    }

    #[test]
    fn connection_number_64_513_at_1000_per_second_starts_at_64_512_s() {
        assert_eq!(
            rate("1000/s").offset(64_512),
            Some(Duration::from_millis(64_512))
        );
    }

    #[test]
    fn starts_within_counts_a_half_open_span() {
        assert_eq!(rate("1000/s").starts_within(Duration::from_secs(1)), 1000);
        assert_eq!(
            rate("1000/s").starts_within(Duration::from_nanos(1_000_000_001)),
            1001
        );
        assert_eq!(
            rate("3/s").starts_within(Duration::from_nanos(333_333_333)),
            1
        );
        assert_eq!(rate("3/s").starts_within(Duration::ZERO), 0);
    }

    #[test]
    fn rates_that_are_none_are_refused() {
        for text in [
            "1000",
            "0/s",
            "-1/s",
            "NaN/s",
            "inf/s",
            "1/",
            "/s",
            "1/m",
            "10000001/s",
            "1000000000/s",
            "11M/s",
            "1G/s",
            "1e3/s",
            "0.001/366d",
            "1s",
            "0.0000000000000000001/s",
        ] {
            assert!(text.parse::<Rate>().is_err(), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_written_rate_reads_back_as_itself(
            whole in 0..10_000_000_u64, fraction in "[0-9]{0,8}", unit in "(ms|s|min|h|d)",
        ) {
            let point = if fraction.is_empty() { "" } else { "." };
            if let Ok(rate) = format!("{whole}{point}{fraction}/{unit}").parse::<Rate>() {
                proptest::prop_assert_eq!(rate.to_string().parse::<Rate>(), Ok(rate));
                // The k-th start is the last nanosecond at which k have not passed yet.
                let start = rate.offset(1_000).unwrap();
                proptest::prop_assert!(rate.starts_within(start) <= 1_000);
                let later = start + Duration::from_nanos(1);
                proptest::prop_assert!(rate.starts_within(later) > 1_000);
            }
        }
    }

    #[test]
    fn a_written_rate_reads_back_as_itself() {
        for text in [
            "1000/s",
            "0.5/s",
            "1/min",
            "1/d",
            "7/h",
            "0.125/s",
            "10000000/s",
            "0.37/d",
        ] {
            assert_eq!(rate(&rate(text).to_string()), rate(text), "{text}");
        }
        assert_eq!(rate("60/min").to_string(), "1/s");
    }
}
