use super::law::Nonsense;
use super::{Rate, TimeSpan};
use plsim_types::Duration;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// A rate that stays, or one that changes with time.
///
/// Written as the rate (`"100/s"`), or as a table with one key
/// (`{ ramp = { to = "100/s", over = "10min" } }`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum RateCurve {
    /// Always the same.
    Flat(Rate),
    /// Another one at each time.
    Varying(Curve),
}

/// A rate that changes with the time since the start of a workload.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Curve {
    /// From one rate to another, evenly; the second one then stays.
    Ramp {
        /// The rate at the start; zero if absent.
        from: Option<Rate>,
        /// The rate at the end.
        to: Rate,
        /// How long it takes, above zero.
        over: TimeSpan,
    },
    /// By the hour of the day.
    Diurnal {
        /// The rate in an hour whose factor is 1.
        peak: Rate,
        /// What the day is like; `OfficeDay` if there are no factors.
        curve: Option<DayCurve>,
        /// A factor of 0..=1 for each hour from midnight on, in thousandths.
        factors: Option<Box<[f64; 24]>>,
        /// The time of day at the start of the workload, below 24 h.
        #[serde(default)]
        time_of_day: TimeSpan,
    },
}

/// A day with a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DayCurve {
    /// People at work: two peaks around a lunch break, hardly anything at night (assumed).
    OfficeDay,
}

/// Thousandths of the peak in each hour of [`DayCurve::OfficeDay`].
const OFFICE_DAY: [u16; 24] = [
    20, 20, 20, 20, 20, 30, 80, 250, 600, 900, 1_000, 980, 800, 850, 970, 950, 850, 600, 300, 150,
    80, 50, 30, 20,
];

const DAY: Duration = Duration::from_secs(86_400);
const HOUR: u128 = 3_600_000_000_000;

impl RateCurve {
    /// Returns the highest rate.
    #[must_use]
    pub fn highest(&self) -> Rate {
        let above = |one: Rate, other: Rate| {
            let product = |a: Rate, b: Rate| u128::from(a.count()) * u128::from(b.per().as_nanos());
            product(one, other) > product(other, one)
        };
        match self {
            Self::Flat(rate) => *rate,
            Self::Varying(Curve::Ramp { from, to, .. }) => match from {
                Some(from) if above(*from, *to) => *from,
                _ => *to,
            },
            Self::Varying(Curve::Diurnal { peak, .. }) => *peak,
        }
    }

    /// Returns how many things start in a half-open span from the beginning on, if they come evenly;
    /// at random it is the mean. Saturates.
    #[must_use]
    pub fn starts_within(&self, span: Duration) -> u64 {
        let nanos = |span: Duration| u128::from(span.as_nanos());
        let starts = match self {
            Self::Flat(rate) => return rate.starts_within(span),
            Self::Varying(Curve::Ramp { from, to, over }) => {
                let (over, span) = (nanos(over.0), nanos(span));
                let (first, last, unit) = common(*from, *to);
                // The smallest k with 2 over unit k >= 2 over first t + (last - first) t^2.
                let t = span.min(over);
                let rising = last * t * t;
                let falling = first * t * t;
                let twice = 2 * over * first * t + rising - falling;
                let after = 2 * over * last * (span - t);
                (twice + after).div_ceil(2 * over * unit)
            }
            Self::Varying(
                curve @ Curve::Diurnal {
                    peak, time_of_day, ..
                },
            ) => {
                let hours = curve.hours();
                let begin = nanos(time_of_day.0);
                let work = passed(&hours, begin + nanos(span)) - passed(&hours, begin);
                (work * u128::from(peak.count())).div_ceil(1_000 * nanos(peak.per()))
            }
        };
        u64::try_from(starts).unwrap_or(u64::MAX)
    }

    /// Finds what the schema cannot say.
    pub(crate) fn nonsense(&self) -> Option<Nonsense> {
        let wrong = |key, message: &str, help: &str| {
            Some(Nonsense {
                key,
                message: message.to_owned(),
                help: help.to_owned(),
            })
        };
        match self {
            Self::Flat(_) => None,
            Self::Varying(Curve::Ramp { over, .. }) if over.0.is_zero() => wrong(
                "ramp",
                "a ramp takes some time",
                "for a step write two workloads, one after the other",
            ),
            Self::Varying(Curve::Ramp { from, to, over }) => {
                let (first, last, unit) = common(*from, *to);
                let over = u128::from(over.0.as_nanos());
                let largest = first.max(last).checked_mul(2 * over * over);
                let fits = largest.is_some_and(|most| most >> 127 == 0);
                if fits && u64::try_from(unit).is_ok() {
                    return None;
                }
                let message = "the rates of the ramp have too many digits to be exact";
                wrong(
                    "ramp",
                    message,
                    "write both rates with the same unit of time",
                )
            }
            Self::Varying(Curve::Diurnal {
                curve,
                factors,
                time_of_day,
                ..
            }) => {
                if time_of_day.0 >= DAY {
                    let message = "a time of day is less than 24 h";
                    return wrong("diurnal", message, "count it from midnight");
                }
                match (curve, factors) {
                    (Some(_), Some(_)) => wrong(
                        "diurnal",
                        "a day has a curve with a name, or factors of its own",
                        "remove `curve` or `factors`",
                    ),
                    (_, Some(factors)) if factors.iter().any(|factor| !is_thousandths(*factor)) => {
                        let message = "a factor has at most three decimals";
                        wrong(
                            "diurnal",
                            message,
                            "a thousandth of the peak is fine enough",
                        )
                    }
                    (_, Some(factors)) if factors.iter().all(|factor| *factor < 0.001) => {
                        let message = "all factors are zero: nothing would start";
                        wrong("diurnal", message, "give the busiest hour the factor 1")
                    }
                    _ => None,
                }
            }
        }
    }
}

impl Curve {
    /// Returns the thousandths of the peak in each hour of the day; of a ramp they are all 1000.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "factors lie between 0 and 1"
    )]
    pub fn hours(&self) -> [u16; 24] {
        match self {
            Self::Ramp { .. } => [1_000; 24],
            Self::Diurnal { factors: None, .. } => OFFICE_DAY,
            Self::Diurnal {
                factors: Some(factors),
                ..
            } => (**factors).map(|factor| (factor * 1_000.0).round() as u16),
        }
    }
}

fn is_thousandths(factor: f64) -> bool {
    let thousandths = factor * 1_000.0;
    (thousandths - thousandths.round()).abs() < 1e-6
}

/// Returns two rates with a common denominator: both counts, and the time in which they happen.
fn common(from: Option<Rate>, to: Rate) -> (u128, u128, u128) {
    let per = u128::from(to.per().as_nanos());
    let (from, from_per) = from.map_or((0, per), |from| {
        (u128::from(from.count()), u128::from(from.per().as_nanos()))
    });
    let unit = per / super::rate::greatest_common_divisor(per, from_per) * from_per;
    (
        from * (unit / from_per),
        u128::from(to.count()) * (unit / per),
        unit,
    )
}

/// Sums the thousandths of the hours from midnight on, times nanoseconds.
fn passed(hours: &[u16; 24], time: u128) -> u128 {
    let day: u128 = hours.iter().map(|share| u128::from(*share) * HOUR).sum();
    let mut left = time % (24 * HOUR);
    let mut sum = time / (24 * HOUR) * day;
    for share in hours {
        let within = left.min(HOUR);
        sum += u128::from(*share) * within;
        left -= within;
    }
    sum
}

impl JsonSchema for RateCurve {
    fn schema_name() -> Cow<'static, str> {
        "rate-curve".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let rate = generator.subschema_for::<Rate>();
        let span = generator.subschema_for::<TimeSpan>();
        let day = generator.subschema_for::<DayCurve>();
        let pattern = Rate::json_schema(generator).remove("pattern");
        json_schema!({
            "type": ["string", "object"],
            "format": "rate-curve",
            "pattern": pattern,
            "description": "A rate that stays, or a table with one key that says how it changes.",
            "properties": {
                "ramp": {
                    "description": "From one rate to another, evenly; the second one then stays.",
                    "type": "object",
                    "properties": {
                        "from": { "description": "The rate at the start; zero if absent.", "allOf": [rate] },
                        "to": { "description": "The rate at the end.", "allOf": [rate] },
                        "over": { "description": "How long it takes.", "allOf": [span] }
                    },
                    "required": ["to", "over"],
                    "additionalProperties": false
                },
                "diurnal": {
                    "description": "By the hour of the day, each day anew.",
                    "type": "object",
                    "properties": {
                        "peak": { "description": "The rate in an hour whose factor is 1.", "allOf": [rate] },
                        "curve": { "description": "What the day is like: office-day if there are no factors.", "allOf": [day] },
                        "factors": {
                            "description": "A factor for each hour from midnight on, with at most three decimals.",
                            "type": "array",
                            "items": { "type": "number", "minimum": 0.0, "maximum": 1.0 },
                            "minItems": 24,
                            "maxItems": 24
                        },
                        "time_of_day": {
                            "description": "The time of day at the start of the workload, as in \"8h\"; midnight if absent.",
                            "allOf": [span]
                        }
                    },
                    "required": ["peak"],
                    "additionalProperties": false
                }
            },
            "minProperties": 1,
            "maxProperties": 1,
            "additionalProperties": false
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Curve, RateCurve};
    use crate::units::{Rate, TimeSpan};
    use plsim_types::Duration;

    fn rate(text: &str) -> Rate {
        text.parse().unwrap()
    }

    fn within(curve: &Curve, seconds: u64) -> u64 {
        RateCurve::Varying(curve.clone()).starts_within(Duration::from_secs(seconds))
    }

    #[test]
    fn a_ramp_has_brought_its_area() {
        let over = TimeSpan(Duration::from_secs(10));
        let (from, to) = (None, rate("10/s"));
        let rising = Curve::Ramp { from, to, over };
        // The first starts at once; k at the root of 2k seconds.
        assert_eq!(
            [0, 1, 2, 10, 20].map(|t| within(&rising, t)),
            [0, 1, 2, 50, 150]
        );
        let from = Some(rate("600/min"));
        let falling = Curve::Ramp {
            from,
            to: rate("2/s"),
            over,
        };
        assert_eq!(
            [1, 5, 10, 11].map(|t| within(&falling, t)),
            [10, 40, 60, 62]
        );
    }

    #[test]
    fn a_day_has_brought_its_hours() {
        let day = |time_of_day| Curve::Diurnal {
            peak: rate("1/s"),
            curve: None,
            factors: None,
            time_of_day: TimeSpan(Duration::from_secs(time_of_day)),
        };
        // 9.59 hours of the peak in a day.
        assert_eq!(within(&day(0), 86_400), 34_524);
        assert_eq!(within(&day(0), 7 * 86_400), 7 * 34_524);
        assert_eq!(within(&day(10 * 3_600), 3_600), 3_600);
        assert_eq!(within(&day(10 * 3_600 + 1_800), 3_600), 1_800 + 1_764);
        assert_eq!(within(&day(23 * 3_600), 7_200), 144);
    }

    #[test]
    fn the_highest_rate_is_found_in_any_unit() {
        let over = TimeSpan(Duration::from_secs(1));
        let highest = |from, to: &str| {
            let to = rate(to);
            RateCurve::Varying(Curve::Ramp { from, to, over }).highest()
        };
        assert_eq!(highest(Some(rate("600/min")), "2/s"), rate("10/s"));
        assert_eq!(highest(Some(rate("60/min")), "2/s"), rate("2/s"));
        assert_eq!(highest(None, "2/s"), rate("2/s"));
    }
}
