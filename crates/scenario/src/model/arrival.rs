use super::Workload;
use crate::rows::{FileKind, Files};
use crate::units::{Count, FileName, Nonsense, TimeSpan};
use plsim_types::Duration;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// How connections are spread over time.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Arrival {
    /// Evenly, at exactly the rate.
    #[default]
    Constant,
    /// At random and independently, with the rate as mean.
    Poisson,
    /// All in the same instant.
    AtOnce,
    /// Many together, again and again.
    Bursts(Bursts),
    /// At the times that stand in a file, one in each line and how many start then; its rows are in
    /// [`Scenario::rows`](crate::Scenario::rows).
    File(FileName),
}

/// Connections that start together, again and again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bursts {
    /// How many connections are in a burst, above zero.
    pub size: Count,
    /// The time from the beginning of one burst to that of the next, above zero.
    pub every: TimeSpan,
    /// Over which time a burst spreads evenly, at most `every`; in one instant if absent.
    #[serde(default)]
    pub spread: TimeSpan,
}

impl Arrival {
    /// Finds what the schema cannot say.
    pub(crate) fn nonsense(&self) -> Option<Nonsense> {
        let Self::Bursts(bursts) = self else {
            return None;
        };
        let (message, help) = if bursts.size.0 == 0 {
            let help = "leave the workload out if nothing is to start";
            ("a burst has at least one connection".to_owned(), help)
        } else if bursts.every.0.is_zero() {
            let help = "for one burst alone write arrival = \"at-once\"";
            (
                "the time between bursts must be above zero".to_owned(),
                help,
            )
        } else if bursts.spread > bursts.every {
            let Bursts { every, spread, .. } = bursts;
            let message =
                format!("a burst of {spread} goes on when the next one begins, after {every}");
            (message, "`spread` is at most as long as `every`")
        } else {
            return None;
        };
        Some(Nonsense {
            key: "bursts",
            message,
            help: help.to_owned(),
        })
    }

    /// Returns how many connections start in a half-open span, if the arrivals alone say it.
    pub(crate) fn starts_within(&self, span: Duration, files: &Files) -> Option<u64> {
        match self {
            Self::Constant | Self::Poisson | Self::AtOnce => None,
            Self::Bursts(bursts) => {
                let (span, every) = (span.as_nanos(), bursts.every.0.as_nanos());
                let whole = (span / every).saturating_mul(bursts.size.0);
                // Place k of a burst starts k * spread / size after its beginning.
                let left = u128::from(span % every) * u128::from(bursts.size.0);
                let last = match u128::from(bursts.spread.0.as_nanos()) {
                    0 if left == 0 => 0,
                    0 => bursts.size.0,
                    spread => u64::try_from(left.div_ceil(spread)).unwrap_or(u64::MAX),
                };
                Some(whole.saturating_add(last.min(bursts.size.0)))
            }
            Self::File(name) => {
                let rows = files.get(&(FileKind::Starts, name.clone()))?;
                let due = rows.iter().take_while(|(at, _)| *at < span.as_nanos());
                Some(due.fold(0, |sum, (_, count)| sum.saturating_add(*count)))
            }
        }
    }
}

impl Workload {
    /// Returns how long it starts connections in a run that ends then.
    pub(crate) fn span(&self, end: Duration) -> Duration {
        let stop = self.stop.map_or(end, |stop| stop.0.min(end));
        Duration::from_nanos(stop.as_nanos().saturating_sub(self.start.0.as_nanos()))
    }

    /// Returns how many connections, requests of a pool or clients start in a run that ends then:
    /// exactly, at random the mean.
    pub(crate) fn planned(&self, end: Duration, files: &Files) -> Option<u64> {
        let span = self.span(end);
        let rate = || self.rate.as_ref().map(|rate| rate.starts_within(span));
        let started = match self.effective_arrival() {
            Arrival::Constant | Arrival::Poisson => rate(),
            Arrival::AtOnce => (!span.is_zero()).then_some(u64::MAX),
            arrival => arrival.starts_within(span, files),
        };
        let most = self.starts().unwrap_or(u64::MAX);
        started.map(|started| started.min(most))
    }
}

impl JsonSchema for Arrival {
    fn schema_name() -> Cow<'static, str> {
        "arrival".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let count = generator.subschema_for::<Count>();
        let span = generator.subschema_for::<TimeSpan>();
        let file = generator.subschema_for::<FileName>();
        json_schema!({
            "description": "How connections are spread over time: a word, or a table with one key.",
            "anyOf": [
                {
                    "oneOf": [
                        { "type": "string", "const": "constant", "description": "Evenly, at exactly the rate." },
                        { "type": "string", "const": "poisson", "description": "At random and independently, with the rate as mean." },
                        { "type": "string", "const": "at-once", "description": "All in the same instant." }
                    ]
                },
                {
                    "type": "object",
                    "format": "arrival",
                    "properties": {
                        "bursts": {
                            "description": "Many together, again and again.",
                            "type": "object",
                            "properties": {
                                "size": { "description": "How many connections are in a burst.", "allOf": [count] },
                                "every": { "description": "The time from the beginning of one burst to that of the next.", "allOf": [span] },
                                "spread": { "description": "Over which time a burst spreads evenly; in one instant if absent.", "allOf": [span] }
                            },
                            "required": ["size", "every"],
                            "additionalProperties": false
                        },
                        "file": {
                            "description": "A file beside the scenario with the times after `start`, one in each line, and how many start then: 1.5s,3",
                            "allOf": [file]
                        }
                    },
                    "minProperties": 1,
                    "maxProperties": 1,
                    "additionalProperties": false
                }
            ]
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Arrival, Bursts};
    use crate::rows::{FileKind, Files};
    use crate::units::{Count, TimeSpan};
    use plsim_types::Duration;

    #[test]
    fn bursts_and_lists_say_how_many_start() {
        let nanos = Duration::from_nanos;
        let bursts = |spread| {
            Arrival::Bursts(Bursts {
                size: Count(3),
                every: TimeSpan(nanos(100)),
                spread: TimeSpan(nanos(spread)),
            })
        };
        let files = Files::new();
        let within = |arrival: &Arrival, span| arrival.starts_within(nanos(span), &files);
        let counts =
            |arrival: Arrival| [0, 1, 4, 10, 100, 101, 104, 200].map(|at| within(&arrival, at));
        assert_eq!(counts(bursts(0)), [0, 3, 3, 3, 3, 6, 6, 6].map(Some));
        // At 0, 3.3 and 6.7 after each beginning.
        assert_eq!(counts(bursts(10)), [0, 1, 2, 3, 3, 4, 5, 6].map(Some));
        let rows = [(0, 2), (7, 0), (30, 1)].as_slice().into();
        let name: crate::units::FileName = "starts.csv".parse().unwrap();
        let files = Files::from([((FileKind::Starts, name.clone()), rows)]);
        let listed = Arrival::File(name);
        let within = |span| listed.starts_within(nanos(span), &files);
        assert_eq!([0, 1, 30, 31].map(within), [0, 2, 2, 3].map(Some));
    }
}
