use super::time::span_or_off;
use super::{TimeSpan, UnitError};
use crate::suggest::nearest;
use core::fmt;
use core::str::FromStr;
use plsim_types::Duration;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;

/// TCP keepalive: `"off"`, `"240s"`, a preset as `"linux"`, or
/// `{ time = "240s", interval = "75s", probes = 9 }`.
///
/// One span alone is both the time before the first probe and the interval of the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Keepalive(pub Option<Probing>);

/// How a silent connection is probed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Probing {
    /// Silence before the first probe.
    pub time: TimeSpan,
    /// From one unanswered probe to the next.
    #[serde(default = "linux_interval")]
    pub interval: TimeSpan,
    /// How many probes stay unanswered before the connection is reset, 1..=127.
    #[serde(default = "linux_probes")]
    pub probes: u8,
}

const fn linux_interval() -> TimeSpan {
    TimeSpan(Duration::from_secs(75))
}

const fn linux_probes() -> u8 {
    9
}

const fn probing(time: u64, interval: u64, probes: u8) -> Option<Probing> {
    Some(Probing {
        time: TimeSpan(Duration::from_secs(time)),
        interval: TimeSpan(Duration::from_secs(interval)),
        probes,
    })
}

/// What systems do unless told otherwise (docs/sources.md: KERN, WIN-KA, GO-KA, NET-KA, JVM-KA).
const PRESETS: [(&str, Option<Probing>); 5] = [
    ("linux", probing(7_200, 75, 9)),
    ("windows", probing(7_200, 1, 10)),
    ("go", probing(15, 15, 9)),
    ("jvm", None),
    ("dotnet", None),
];

impl FromStr for Keepalive {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        if let Some((_, preset)) = PRESETS.iter().find(|(name, _)| *name == text) {
            return Ok(Self(*preset));
        }
        let names = || PRESETS.iter().map(|(name, _)| *name);
        if !text.starts_with(|first: char| first.is_ascii_digit()) && text != "off" {
            let help = match nearest(text, names()) {
                Some(name) => format!("did you mean \"{name}\"?"),
                None => {
                    let names: Vec<&str> = names().collect();
                    let names = names.join("\", \"");
                    format!("write a duration such as \"240s\", \"off\", or one of \"{names}\"")
                }
            };
            return Err(UnitError::with_help("no such keepalive", help));
        }
        let span = span_or_off(text)?;
        Ok(Self(span.map(|span| Probing {
            time: TimeSpan(span),
            interval: TimeSpan(span),
            probes: linux_probes(),
        })))
    }
}

impl Serialize for Keepalive {
    /// Writes what it means, so that a preset and its values give the same text.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0 {
            None => serializer.serialize_str("off"),
            Some(probing) if probing.time == probing.interval && probing.probes == 9 => {
                probing.time.serialize(serializer)
            }
            Some(probing) => probing.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Keepalive {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextOrTable;

        impl<'de> Visitor<'de> for TextOrTable {
            type Value = Keepalive;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text or a table")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Keepalive, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Keepalive, A::Error> {
                let probing = Probing::deserialize(MapAccessDeserializer::new(map))?;
                Ok(Keepalive(Some(probing)))
            }
        }

        deserializer.deserialize_any(TextOrTable)
    }
}

impl JsonSchema for Keepalive {
    fn schema_name() -> Cow<'static, str> {
        "keepalive".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let span = generator.subschema_for::<TimeSpan>();
        let described = |text: &str| {
            let mut schema = json_schema!({ "allOf": [span] });
            schema.insert("description".to_owned(), text.into());
            schema
        };
        json_schema!({
            "type": ["string", "object"],
            "format": "keepalive",
            "description": "\"off\"; a span, which is time and interval alike, with 9 probes; what a system does unless told otherwise (\"linux\" 7200/75/9, \"windows\" 7200/1/10, \"go\" 15/15/9, \"jvm\" and \"dotnet\" off); or a table.",
            "examples": ["240s", "off", "linux", { "time": "240s", "interval": "75s", "probes": 9 }],
            "properties": {
                "time": described("Silence before the first probe."),
                "interval": described("From one unanswered probe to the next; 75s, as Linux, if not given."),
                "probes": {
                    "type": "integer",
                    "format": "uint8",
                    "minimum": 1,
                    "maximum": 127,
                    "default": 9,
                    "description": "How many probes stay unanswered before the connection is reset."
                }
            },
            "required": ["time"],
            "additionalProperties": false,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Keepalive, PRESETS};

    fn triple(text: &str) -> Option<(u64, u64, u8)> {
        let Keepalive(probing) = text.parse().unwrap();
        probing.map(|probing| {
            let seconds = |span: super::TimeSpan| span.0.as_nanos() / 1_000_000_000;
            (
                seconds(probing.time),
                seconds(probing.interval),
                probing.probes,
            )
        })
    }

    /// KERN, WIN-KA, GO-KA, JVM-KA, NET-KA.
    #[test]
    fn one_span_is_time_and_interval_and_presets_are_those_of_their_systems() {
        assert_eq!(triple("240s"), Some((240, 240, 9)));
        assert_eq!(triple("linux"), Some((7_200, 75, 9)));
        assert_eq!(triple("windows"), Some((7_200, 1, 10)));
        assert_eq!(triple("go"), Some((15, 15, 9)));
        assert_eq!([triple("off"), triple("jvm"), triple("dotnet")], [None; 3]);
    }

    #[test]
    fn what_is_no_keepalive_is_refused_and_near_misses_are_guessed() {
        for text in ["0s", "240", "", "-1s", "LINUX", "mac"] {
            assert!(text.parse::<Keepalive>().is_err(), "{text}");
        }
        let error = "linx".parse::<Keepalive>().unwrap_err();
        assert_eq!(error.help.as_deref(), Some("did you mean \"linux\"?"));
        assert_eq!(PRESETS.len(), 5);
    }
}
