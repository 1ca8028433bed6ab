use super::decimal::{Product, split};
use super::{UnitError, text_leaf};
use core::fmt;
use core::str::FromStr;
use plsim_types::Duration;

/// A span of virtual time, written as `"300s"`, `"50us"`, `"1.5ms"`, `"4min"`, `"2h"` or `"1d"`.
///
/// Exact in nanoseconds, 0..=366 days.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct TimeSpan(pub Duration);

/// A timer of TCP that may be off: a span above zero, or `"off"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct UserTimeout(pub Option<Duration>);

/// How long an acknowledgement is delayed: a span of at most 500 ms, or `"off"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct DelayedAck(pub Option<Duration>);

/// The longest span a scenario may name: 366 days.
pub(crate) const MAX_SPAN: Duration = Duration::from_secs(366 * 86_400);

pub(super) const UNITS: [(&str, u64); 9] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("min", 60 * 1_000_000_000),
    ("h", 3_600 * 1_000_000_000),
    ("d", 86_400 * 1_000_000_000),
    ("m", 0),
];

/// Returns the nanoseconds of one time unit.
pub(super) fn unit_nanos(unit: &str) -> Result<u64, UnitError> {
    let known = "the units of time are ns, us, ms, s, min, h and d";
    match UNITS.iter().find(|(name, _)| *name == unit) {
        Some((_, 0)) => Err(UnitError::with_help(
            "the unit `m` could mean minutes or milliseconds",
            "write \"min\" or \"ms\"",
        )),
        Some((_, nanos)) => Ok(*nanos),
        None if unit.is_empty() => Err(UnitError::with_help("the unit is missing", known)),
        None => Err(UnitError::with_help("unknown unit of time", known)),
    }
}

impl FromStr for TimeSpan {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let (number, unit) = split(text, "a duration", "300s")?;
        let nanos = number
            .times(unit_nanos(unit)?.into())
            .map_err(|why| match why {
                Product::TooLarge => too_long(),
                Product::NotWhole => UnitError::with_help(
                    "a duration cannot be finer than one nanosecond",
                    "shorten the fraction",
                ),
            })?;
        let nanos = u64::try_from(nanos).map_err(|_| too_long())?;
        if nanos > MAX_SPAN.as_nanos() {
            return Err(too_long());
        }
        Ok(Self(Duration::from_nanos(nanos)))
    }
}

fn too_long() -> UnitError {
    UnitError::with_help(
        "a duration cannot be longer than 366 days",
        "virtual time is counted in nanoseconds; a shorter run with a higher rate shows the same",
    )
}

impl fmt::Display for TimeSpan {
    /// Writes the shortest exact form in one unit: `300s`, `64.512s`, `50us`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.to_string().replace(' ', "").replace("µs", "us"))
    }
}

/// Parses a span above zero, or "off".
pub(super) fn span_or_off(text: &str) -> Result<Option<Duration>, UnitError> {
    if text == "off" {
        return Ok(None);
    }
    let TimeSpan(span) = text.parse().map_err(|error: UnitError| {
        UnitError::with_help(
            error.message,
            "write a duration such as \"240s\", or \"off\"",
        )
    })?;
    if span.is_zero() {
        return Err(UnitError::with_help(
            "a timer cannot be zero",
            "write \"off\" to go without",
        ));
    }
    Ok(Some(span))
}

fn write_span_or_off(span: Option<Duration>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match span {
        Some(span) => fmt::Display::fmt(&TimeSpan(span), f),
        None => f.write_str("off"),
    }
}

impl FromStr for UserTimeout {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        span_or_off(text).map(Self)
    }
}

impl fmt::Display for UserTimeout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_span_or_off(self.0, f)
    }
}

impl FromStr for DelayedAck {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let span = span_or_off(text)?;
        if span.is_some_and(|span| span > Duration::from_millis(500)) {
            return Err(UnitError::with_help(
                "an acknowledgement may wait for 500 ms at most (RFC 9293)",
                "Linux waits for \"40ms\", Windows for up to \"200ms\"",
            ));
        }
        Ok(Self(span))
    }
}

impl fmt::Display for DelayedAck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_span_or_off(self.0, f)
    }
}

text_leaf!(
    TimeSpan,
    "duration-text",
    r"^[0-9]+(\.[0-9]+)? ?(ns|us|µs|ms|s|min|h|d)$",
    "A span of virtual time: a decimal number and a unit (ns, us, ms, s, min, h, d). At most 366 days.",
    ["300s", "50us", "1.5ms", "4min", "2h", "1d"]
);
text_leaf!(
    UserTimeout,
    "user-timeout",
    r"^(off|[0-9]+(\.[0-9]+)? ?(ns|us|µs|ms|s|min|h|d))$",
    "A span of virtual time above zero, or \"off\".",
    ["30s", "off"]
);
text_leaf!(
    DelayedAck,
    "delayed-ack",
    r"^(off|[0-9]+(\.[0-9]+)? ?(ns|us|µs|ms|s|min|h|d))$",
    "A span of virtual time above zero, at most 500 ms, or \"off\".",
    ["40ms", "200ms", "off"]
);

#[cfg(test)]
mod tests {
    use super::{DelayedAck, TimeSpan, UserTimeout};

    fn nanos(text: &str) -> Option<u64> {
        text.parse().ok().map(|TimeSpan(span)| span.as_nanos())
    }

    #[test]
    fn durations_are_exact_in_nanoseconds() {
        assert_eq!(nanos("300s"), Some(300_000_000_000));
        assert_eq!(nanos("50us"), Some(50_000));
        assert_eq!(nanos("50 µs"), Some(50_000));
        assert_eq!(nanos("1.5ms"), Some(1_500_000));
        assert_eq!(nanos("4min"), Some(240_000_000_000));
        assert_eq!(nanos("2h"), Some(7_200_000_000_000));
        assert_eq!(nanos("64.512s"), Some(64_512_000_000));
        assert_eq!(nanos("0s"), Some(0));
        assert_eq!(nanos("366d"), Some(366 * 86_400_000_000_000));
    }

    #[test]
    fn durations_that_are_none_are_refused() {
        for text in [
            "300",
            "",
            "s",
            "-1s",
            "NaN",
            "infs",
            "1e3s",
            "1m",
            "1 fortnight",
            "0.5ns",
            "367d",
            "99999999999999999999s",
            "9999999999999999999d",
            "1s ",
            " 1s",
            "1  s",
            "1_000s",
            "1S",
        ] {
            assert_eq!(nanos(text), None, "{text}");
        }
    }

    #[test]
    fn a_written_duration_reads_back_as_itself() {
        for text in ["300s", "1.5ms", "50us", "7ns", "64.512s", "0s"] {
            assert_eq!(text.parse::<TimeSpan>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn timers_that_may_be_off_are_above_zero_and_acknowledgements_wait_for_500_ms_at_most() {
        assert_eq!("off".parse(), Ok(UserTimeout(None)));
        assert_eq!("30s".parse::<UserTimeout>().unwrap().to_string(), "30s");
        assert!("0s".parse::<UserTimeout>().is_err());
        assert_eq!("500ms".parse::<DelayedAck>().unwrap().to_string(), "500ms");
        assert!("501ms".parse::<DelayedAck>().is_err());
    }
}
