//! The leaf values of a scenario: texts with a unit, addresses, names and references.
//!
//! Every leaf implements `FromStr` (the one parser), `Display` (a text that parses back to the
//! same value), serde and `JsonSchema`. Its schema `format` is how the checker finds the parser.

mod bytes;
mod count;
mod curve;
mod decimal;
mod file;
mod keepalive;
mod law;
mod name;
mod network;
mod rate;
mod size;
mod time;

pub use bytes::HexBytes;
pub use count::{Count, FlowLimit};
pub use curve::{Curve, DayCurve, RateCurve};
pub use file::FileName;
pub use keepalive::{Keepalive, Probing};
pub use law::{Drawn, Law, Quantity};
pub use name::{FrontendPath, Name, PoolPath, RulePath, SubnetPath};
pub use network::{Network, PortRange};
pub use rate::Rate;
pub use size::{Bandwidth, ByteSize};
pub use time::{DelayedAck, TimeSpan, UserTimeout};

pub(crate) use law::{MAX_WEIGHT, Nonsense};

use core::fmt;

/// Why a text is not the value that a key wants: what is wrong, and what to write instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnitError {
    /// What is wrong, in lower case, without the offending text.
    pub message: String,
    /// What to write instead, where that can be said.
    pub help: Option<String>,
}

impl UnitError {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            help: None,
        }
    }

    pub(crate) fn with_help(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            help: Some(help.into()),
        }
    }
}

impl fmt::Display for UnitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.help {
            Some(help) => write!(f, " ({help})"),
            None => Ok(()),
        }
    }
}

impl core::error::Error for UnitError {}

/// Gives a leaf its serde and schema implementations out of `FromStr` and `Display`.
macro_rules! text_leaf {
    ($type:ty, $name:literal, $pattern:literal, $description:literal, [$($example:literal),+]) => {
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <String as serde::Deserialize>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }

        impl schemars::JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                $name.into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({
                    "type": "string",
                    "format": $name,
                    "pattern": $pattern,
                    "description": $description,
                    "examples": [$($example),+],
                })
            }
        }
    };
}
pub(crate) use text_leaf;

/// Parses `text` as the leaf that carries the schema format `format`; the error says why not.
pub(crate) fn check_format(format: &str, text: &str) -> Result<(), UnitError> {
    match format {
        "duration-text" | TimeSpan::LAW => text.parse::<TimeSpan>().map(drop),
        "keepalive" => text.parse::<Keepalive>().map(drop),
        "user-timeout" => text.parse::<UserTimeout>().map(drop),
        "delayed-ack" => text.parse::<DelayedAck>().map(drop),
        "rate" | "rate-curve" => text.parse::<Rate>().map(drop),
        "byte-size" | ByteSize::LAW => text.parse::<ByteSize>().map(drop),
        "hex-bytes" => text.parse::<HexBytes>().map(drop),
        "bandwidth" => text.parse::<Bandwidth>().map(drop),
        "count" => text.parse::<Count>().map(drop),
        "flow-limit" => text.parse::<FlowLimit>().map(drop),
        "port-range" => text.parse::<PortRange>().map(drop),
        "ipv4-prefix" => text.parse::<Network>().map(drop),
        "ipv4" => network::parse_address(text).map(drop),
        "file-name" => text.parse::<FileName>().map(drop),
        "line" => check_line(text),
        "name" => text.parse::<Name>().map(drop),
        "subnet-path" => text.parse::<SubnetPath>().map(drop),
        "frontend-path" => text.parse::<FrontendPath>().map(drop),
        "rule-path" => text.parse::<RulePath>().map(drop),
        "pool-path" => text.parse::<PoolPath>().map(drop),
        _ => Ok(()),
    }
}

/// Checks a text that is shown to people: one line, without characters that act on a terminal.
fn check_line(text: &str) -> Result<(), UnitError> {
    let rule = "such a text is one line of at most 200 characters";
    if text
        .chars()
        .any(|c| crate::source::is_active(c) || c == '\t')
    {
        return Err(UnitError::with_help(
            "it contains a control character",
            rule,
        ));
    }
    if text.chars().count() > 200 {
        return Err(UnitError::with_help("it is too long", rule));
    }
    Ok(())
}

/// Says for a leaf's schema format what to write, for messages about a value of another type.
pub(crate) fn describe_format(format: &str) -> Option<&'static str> {
    Some(match format {
        "duration-text" => "a duration with a unit, as in \"300s\", \"1.5ms\" or \"4min\"",
        TimeSpan::LAW => {
            "a duration with a unit, as in \"300s\", or a distribution, as in { exponential = \"300s\" }"
        }
        ByteSize::LAW => {
            "a size with a unit, as in \"3kB\", or a distribution, as in { exponential = \"3kB\" }"
        }
        "file-name" => "a file beside the scenario, as in \"holds.csv\"",
        "rate-curve" => {
            "a rate, as in \"1000/s\" or \"60/min\", or a table, as in { ramp = { to = \"1000/s\", over = \"10min\" } }"
        }
        "skew" => "\"uniform\", { zipf = { exponent = 1.0 } } or { weights = [3, 1] }",
        "arrival" => "a table, as in { bursts = { size = 100, every = \"1s\" } }",
        "keepalive" => {
            "\"off\", a duration as in \"240s\", a preset as \"linux\", or a table as in { time = \"240s\" }"
        }
        "user-timeout" => "a duration with a unit, as in \"30s\", or \"off\"",
        "delayed-ack" => "a duration with a unit, as in \"40ms\", or \"off\"",
        "rate" => "a rate, as in \"1000/s\" or \"60/min\"",
        "byte-size" => "a size with a unit, as in \"200B\", \"3kB\" or \"1MiB\"",
        "hex-bytes" => "bytes as hexadecimal digits, as in \"4500 002c\"",
        "bandwidth" => "a bandwidth, as in \"1Gbps\" or \"100Mbps\"",
        "count" => "a count, as in 500000 or \"64k\"",
        "flow-limit" => "a count, as in 500000 or \"64k\", or \"off\"",
        "port-range" => "a range of ports, as in \"1024-65535\"",
        "ipv4-prefix" => "an IPv4 prefix, as in \"10.0.0.0/16\"",
        "ipv4" => "an IPv4 address, as in \"10.0.1.10\"",
        "name" => "a name, as in \"web-1\"",
        "subnet-path" => "a subnet, as in \"my-vnet/my-subnet\"",
        "frontend-path" => "a frontend, as in \"my-lb/my-frontend\"",
        "rule-path" => "a rule, as in \"my-lb/my-rule\"",
        "pool-path" => "a backend pool, as in \"my-lb/my-pool\"",
        _ => return None,
    })
}
