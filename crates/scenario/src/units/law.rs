use super::{ByteSize, FileName, TimeSpan, UnitError};
use crate::rows::{FileKind, Files};
use core::fmt::Display;
use core::str::FromStr;
use plsim_types::Duration;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// A quantity that is the same each time, or that is drawn anew each time.
///
/// Written as the quantity (`"2s"`), or as a table with the one key of its distribution
/// (`{ exponential = "2s" }`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Law<T> {
    /// Always the same.
    Fixed(T),
    /// Drawn from a distribution.
    Drawn(Drawn<T>),
}

/// A distribution of a quantity.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Drawn<T> {
    /// Everything from the first to the second value is as likely, both included.
    Uniform([T; 2]),
    /// Exponential, with this mean above zero.
    Exponential(T),
    /// Log-normal.
    LogNormal {
        /// The median, above zero.
        median: T,
        /// The standard deviation of the natural logarithm, 0.001..=10.
        sigma: f64,
    },
    /// Pareto, truncated at the maximum.
    Pareto {
        /// The smallest value, above zero.
        minimum: T,
        /// The tail index, 0.01..=100.
        shape: f64,
        /// The largest value.
        maximum: T,
    },
    /// Values with weights, one of which at least is above zero.
    Empirical(Vec<(T, u64)>),
    /// The same from a file, one value and its weight in each line; its rows are in
    /// [`Scenario::rows`](crate::Scenario::rows).
    File(FileName),
}

/// What can be distributed: something with a unit that is a whole number underneath.
pub trait Quantity:
    Copy + Display + FromStr<Err = UnitError> + JsonSchema + Serialize + DeserializeOwned
{
    /// The schema format of a [`Law`] of it.
    const LAW: &'static str;

    /// What a file holds that has a distribution of it.
    const FILE: FileKind;

    /// Returns it in nanoseconds, or bytes.
    fn whole(self) -> u64;

    /// Returns what has this many nanoseconds, or bytes.
    fn from_whole(whole: u64) -> Self;
}

impl Quantity for TimeSpan {
    const LAW: &'static str = "duration-law";
    const FILE: FileKind = FileKind::Spans;

    fn whole(self) -> u64 {
        self.0.as_nanos()
    }

    fn from_whole(whole: u64) -> Self {
        Self(Duration::from_nanos(whole))
    }
}

impl Quantity for ByteSize {
    const LAW: &'static str = "size-law";
    const FILE: FileKind = FileKind::Sizes;

    fn whole(self) -> u64 {
        self.0
    }

    fn from_whole(whole: u64) -> Self {
        Self(whole)
    }
}

/// The most values with weights in a scenario; more go into a file.
const MAX_VALUES: usize = 10_000;
/// The largest weight: the sum of a million stays far from overflow.
pub(crate) const MAX_WEIGHT: u64 = 1_000_000_000_000;

impl<T: Default> Default for Law<T> {
    fn default() -> Self {
        Self::Fixed(T::default())
    }
}

impl From<Duration> for Law<TimeSpan> {
    fn from(span: Duration) -> Self {
        Self::Fixed(TimeSpan(span))
    }
}

/// What makes no sense about a law: below which key, what, and what to write instead.
pub(crate) struct Nonsense {
    pub(crate) key: &'static str,
    pub(crate) message: String,
    pub(crate) help: String,
}

impl<T: Quantity> Law<T> {
    /// Finds what its schema cannot say.
    pub(crate) fn nonsense(&self) -> Option<Nonsense> {
        let Self::Drawn(drawn) = self else {
            return None;
        };
        let wrong = |key, message: String, help: &str| {
            let help = help.to_owned();
            Some(Nonsense { key, message, help })
        };
        let zero = |key, what: &str| {
            let message = format!("{what} of a distribution must be above zero");
            wrong(key, message, "what is always zero needs no distribution")
        };
        let order = "write the smaller one first";
        match drawn {
            Drawn::Uniform([low, high]) if low.whole() > high.whole() => {
                let message = format!("the lower bound {low} is above the upper bound {high}");
                wrong("uniform", message, order)
            }
            Drawn::Exponential(mean) if mean.whole() == 0 => zero("exponential", "the mean"),
            Drawn::LogNormal { median, .. } if median.whole() == 0 => {
                zero("log_normal", "the median")
            }
            Drawn::Pareto { minimum, .. } if minimum.whole() == 0 => zero("pareto", "the minimum"),
            Drawn::Pareto {
                minimum, maximum, ..
            } if minimum.whole() > maximum.whole() => {
                let message = format!("the minimum {minimum} is above the maximum {maximum}");
                wrong("pareto", message, "`minimum` is the smaller one")
            }
            Drawn::Empirical(values) if values.iter().all(|(_, weight)| *weight == 0) => {
                let message = "all weights are zero: there is nothing to draw".to_owned();
                wrong("empirical", message, "give one value at least a weight")
            }
            _ => None,
        }
    }
}

impl<T: Quantity> Law<T> {
    /// Returns the values with their weights if they are listed, here or in a file.
    fn listed<'a>(&'a self, files: &'a Files) -> Option<Cow<'a, [(u64, u64)]>> {
        match self {
            Self::Drawn(Drawn::Empirical(values)) => {
                let whole = values
                    .iter()
                    .map(|(value, weight)| (value.whole(), *weight));
                Some(whole.collect())
            }
            Self::Drawn(Drawn::File(name)) => {
                let rows = files.get(&(T::FILE, name.clone()));
                rows.map(|rows| Cow::Borrowed(&**rows))
            }
            _ => None,
        }
    }

    /// Returns the smallest and the largest value; `None` if there is no largest.
    pub(crate) fn range(&self, files: &Files) -> Option<(T, T)> {
        if let Some(listed) = self.listed(files) {
            let drawn = || listed.iter().filter(|(_, weight)| *weight > 0);
            let least = drawn().map(|(value, _)| *value).min()?;
            let most = drawn().map(|(value, _)| *value).max()?;
            return Some((T::from_whole(least), T::from_whole(most)));
        }
        match self {
            Self::Fixed(value) => Some((*value, *value)),
            Self::Drawn(Drawn::Uniform([low, high])) => Some((*low, *high)),
            Self::Drawn(Drawn::Pareto {
                minimum, maximum, ..
            }) => Some((*minimum, *maximum)),
            Self::Drawn(_) => None,
        }
    }

    /// Returns the mean, good enough for an estimate.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an estimate; from float to integer saturates"
    )]
    pub(crate) fn mean(&self, files: &Files) -> T {
        if let Some(listed) = self.listed(files) {
            let sum = |of: fn(&(u64, u64)) -> f64| listed.iter().map(of).sum::<f64>();
            let weighted = sum(|(value, weight)| *value as f64 * *weight as f64);
            return T::from_whole((weighted / sum(|(_, weight)| *weight as f64)) as u64);
        }
        let real = |value: &T| value.whole() as f64;
        let mean = match self {
            Self::Fixed(value) | Self::Drawn(Drawn::Exponential(value)) => return *value,
            Self::Drawn(Drawn::Uniform([low, high])) => real(low).midpoint(real(high)),
            Self::Drawn(Drawn::LogNormal { median, sigma }) => {
                real(median) * (0.5 * sigma * sigma).exp()
            }
            Self::Drawn(Drawn::Pareto {
                minimum,
                shape,
                maximum,
            }) => {
                let span = (real(maximum) / real(minimum)).ln().max(1e-9);
                let above_one = shape - 1.0;
                let integral = match above_one == 0.0 {
                    true => span,
                    false => -(-above_one * span).exp_m1() / above_one,
                };
                real(minimum) * shape * integral / -(-shape * span).exp_m1()
            }
            Self::Drawn(Drawn::Empirical(_) | Drawn::File(_)) => 0.0,
        };
        T::from_whole(mean as u64)
    }
}

impl<T: Quantity> Law<T> {
    /// Returns which share of what is drawn is at least this much, from 0 to 1, good enough to be told.
    #[expect(clippy::cast_precision_loss, reason = "an estimate")]
    pub(crate) fn share_from(&self, least: T, files: &Files) -> f64 {
        if let Some(listed) = self.listed(files) {
            let all: f64 = listed.iter().map(|(_, weight)| *weight as f64).sum();
            let long = listed.iter().filter(|(value, _)| *value >= least.whole());
            return long.map(|(_, weight)| *weight as f64).sum::<f64>() / all;
        }
        let real = |value: &T| value.whole() as f64;
        let least = least.whole() as f64;
        let share = match self {
            Self::Fixed(value) => f64::from(u8::from(real(value) >= least)),
            Self::Drawn(Drawn::Exponential(mean)) => (-least / real(mean)).exp(),
            Self::Drawn(Drawn::Uniform([low, high])) if real(low) < real(high) => {
                (real(high) - least) / (real(high) - real(low))
            }
            Self::Drawn(Drawn::Uniform([low, _])) => f64::from(u8::from(real(low) >= least)),
            Self::Drawn(Drawn::LogNormal { median, sigma }) => {
                above((least / real(median)).ln() / sigma)
            }
            Self::Drawn(Drawn::Pareto { minimum, .. }) if least <= real(minimum) => 1.0,
            Self::Drawn(Drawn::Pareto {
                minimum,
                shape,
                maximum,
            }) => {
                let tail = |value: f64| (real(minimum) / value).powf(*shape);
                let (here, end) = (tail(least), tail(real(maximum)));
                (here - end) / (1.0 - end)
            }
            Self::Drawn(Drawn::Empirical(_) | Drawn::File(_)) => 0.0,
        };
        share.clamp(0.0, 1.0)
    }
}

/// Returns the share of a standard normal law above a value (Abramowitz and Stegun 26.2.17; off by at
/// most 1e-7).
fn above(value: f64) -> f64 {
    let at = 1.0 / (1.0 + 0.231_641_9 * value.abs());
    let series = [
        1.330_274_429,
        -1.821_255_978,
        1.781_477_937,
        -0.356_563_782,
        0.319_381_530,
    ];
    let sum = series.iter().fold(0.0, |sum, factor| (sum + factor) * at);
    let tail = sum * (-value * value / 2.0).exp() / (2.0 * core::f64::consts::PI).sqrt();
    if value < 0.0 { 1.0 - tail } else { tail }
}

impl<T: Quantity> JsonSchema for Law<T> {
    fn schema_name() -> Cow<'static, str> {
        T::LAW.into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let value = generator.subschema_for::<T>();
        let described = |description: &str| {
            let mut schema = json_schema!({ "allOf": [value] });
            schema.insert("description".to_owned(), description.into());
            schema
        };
        let file = generator.subschema_for::<FileName>();
        let pattern = T::json_schema(generator).remove("pattern");
        json_schema!({
            "type": ["string", "object"],
            "format": T::LAW,
            "pattern": pattern,
            "description": "A value that is always the same, or a table with one distribution.",
            "properties": {
                "uniform": {
                    "description": "Every value from the first to the second is as likely.",
                    "type": "array",
                    "items": value,
                    "minItems": 2,
                    "maxItems": 2
                },
                "exponential": described("Exponential with this mean: without memory."),
                "log_normal": {
                    "description": "Log-normal: times of people and of services are often like that.",
                    "type": "object",
                    "properties": {
                        "median": described("Half of the values are below."),
                        "sigma": {
                            "description": "The standard deviation of the natural logarithm.",
                            "type": "number",
                            "minimum": 0.001,
                            "maximum": 10.0
                        }
                    },
                    "required": ["median", "sigma"],
                    "additionalProperties": false
                },
                "pareto": {
                    "description": "Pareto, truncated: many small values, few very large ones.",
                    "type": "object",
                    "properties": {
                        "minimum": described("The smallest value."),
                        "shape": {
                            "description": "The tail index: the smaller, the heavier the tail.",
                            "type": "number",
                            "minimum": 0.01,
                            "maximum": 100.0
                        },
                        "maximum": described("The largest value.")
                    },
                    "required": ["minimum", "shape", "maximum"],
                    "additionalProperties": false
                },
                "empirical": {
                    "description": "Values with weights, as in [[\"1s\", 3], [\"10s\", 1]].",
                    "type": "array",
                    "items": {
                        "type": "array",
                        "items": [
                            value,
                            { "type": "integer", "minimum": 0, "maximum": MAX_WEIGHT }
                        ],
                        "minItems": 2,
                        "maxItems": 2
                    },
                    "minItems": 1,
                    "maxItems": MAX_VALUES
                },
                "file": {
                    "description": "A file beside the scenario, with a value and its weight in each line: 250ms,3",
                    "allOf": [file]
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
    use super::{Drawn, Law, Quantity};
    use crate::rows::{FileKind, Files};
    use crate::units::{ByteSize, TimeSpan};

    fn mean(law: Drawn<ByteSize>) -> u64 {
        Law::Drawn(law).mean(&Files::new()).whole()
    }

    #[test]
    fn means_are_those_of_theory() {
        let size = ByteSize;
        assert_eq!(mean(Drawn::Uniform([size(10), size(20)])), 15);
        assert_eq!(mean(Drawn::Exponential(size(7))), 7);
        let (median, sigma) = (size(1_000), 1.0);
        assert_eq!(mean(Drawn::LogNormal { median, sigma }), 1_648);
        let pareto = |shape, maximum| Drawn::Pareto {
            minimum: size(1_000),
            shape,
            maximum: size(maximum),
        };
        // 1000 ln(1000) / (1 - 1/1000)
        assert_eq!(mean(pareto(1.0, 1_000_000)), 6_914);
        assert_eq!(mean(pareto(3.0, 1_000_000)), 1_499);
        assert_eq!(mean(pareto(1.5, 1_000)), 1_000);
        assert_eq!(
            mean(Drawn::Empirical(vec![(size(10), 1), (size(20), 3)])),
            17
        );
    }

    #[test]
    fn the_share_of_long_draws_is_that_of_theory() {
        let size = ByteSize;
        let share = |law: Drawn<ByteSize>, least: u64| {
            let share = Law::Drawn(law).share_from(ByteSize(least), &Files::new());
            format!("{share:.6}")
        };
        assert_eq!(share(Drawn::Exponential(size(120)), 240), "0.135335");
        let even = |least| share(Drawn::Uniform([size(10), size(20)]), least);
        assert_eq!((even(18), even(21)), ("0.200000".into(), "0.000000".into()));
        assert_eq!(share(Drawn::Uniform([size(10), size(10)]), 10), "1.000000");
        // One standard deviation above the median, and one below.
        let log_normal = |least| {
            let (median, sigma) = (size(1_000_000), 1.0);
            share(Drawn::LogNormal { median, sigma }, least)
        };
        assert_eq!(log_normal(2_718_282), "0.158655");
        assert_eq!(log_normal(367_879), "0.841345");
        let pareto = Drawn::Pareto {
            minimum: size(10),
            shape: 1.0,
            maximum: size(1_000),
        };
        assert_eq!(share(pareto, 100), "0.090909");
        let listed = Drawn::Empirical(vec![(size(10), 1), (size(20), 3)]);
        assert_eq!(share(listed, 11), "0.750000");
        let fixed = |least| Law::Fixed(size(10)).share_from(size(least), &Files::new());
        assert!(fixed(10) > 0.5 && fixed(11) < 0.5);
    }

    #[test]
    fn a_file_is_as_good_as_a_list() {
        let name: crate::units::FileName = "holds.csv".parse().unwrap();
        let rows = [(5, 0), (10, 1), (20, 3)].as_slice().into();
        let files = Files::from([((FileKind::Spans, name.clone()), rows)]);
        let law = Law::Drawn(Drawn::<TimeSpan>::File(name));
        let (least, most) = law.range(&files).unwrap();
        assert_eq!((least.whole(), most.whole()), (10, 20));
        assert_eq!(law.mean(&files).whole(), 17);
    }
}
