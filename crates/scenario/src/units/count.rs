use super::UnitError;
use super::decimal::split;
use core::fmt;
use core::str::FromStr;

/// A number of things: an integer, or a text such as `"64k"` (64 000) or `"1M"`; at most 10^12.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Count(pub u64);

/// How many flows, or ports for them, there can be at once: 1..=4 294 967 295, or `"off"` for no
/// limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FlowLimit(pub Option<u32>);

const MAX_COUNT: u64 = 1_000_000_000_000;

impl Count {
    fn checked(value: u64) -> Result<Self, UnitError> {
        if value > MAX_COUNT {
            return Err(UnitError::new("a count cannot be above 1000000000000"));
        }
        Ok(Self(value))
    }
}

impl FromStr for Count {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let (number, unit) = split(text, "a count", "64k")?;
        let factor = match unit {
            "" => 1,
            "k" => 1_000,
            "M" => 1_000_000,
            _ => {
                return Err(UnitError::with_help(
                    "unknown multiple",
                    "write a whole number, or use k (1000) or M (1000000): 64k is 64000",
                ));
            }
        };
        let whole = number
            .times(factor)
            .map_err(|_| UnitError::new("a count must be a whole number"))?;
        Self::checked(u64::try_from(whole).unwrap_or(u64::MAX))
    }
}

impl FlowLimit {
    /// Returns no limit.
    #[must_use]
    pub const fn off() -> Self {
        Self(None)
    }
}

impl FromStr for FlowLimit {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        if text == "off" {
            return Ok(Self::off());
        }
        Self::try_from(text.parse::<Count>()?)
    }
}

impl TryFrom<Count> for FlowLimit {
    type Error = UnitError;

    fn try_from(count: Count) -> Result<Self, UnitError> {
        match u32::try_from(count.0) {
            Ok(0) => Err(UnitError::with_help(
                "a limit of 0 would refuse every flow",
                "write \"off\" for no limit",
            )),
            Ok(limit) => Ok(Self(Some(limit))),
            Err(_) => Err(UnitError::with_help(
                "a limit cannot be above 4294967295",
                "write \"off\" for no limit",
            )),
        }
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for FlowLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(limit) => limit.fmt(f),
            None => f.write_str("off"),
        }
    }
}

impl serde::Serialize for Count {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.0)
    }
}

impl serde::Serialize for FlowLimit {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Some(limit) => serializer.serialize_u32(limit),
            None => serializer.serialize_str("off"),
        }
    }
}

/// An integer or a text, as the file may write a count.
#[derive(serde::Deserialize)]
#[serde(untagged)]
enum Written {
    Integer(u64),
    Text(String),
}

impl<'de> serde::Deserialize<'de> for Count {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Written::deserialize(deserializer)? {
            Written::Integer(value) => Self::checked(value),
            Written::Text(text) => text.parse(),
        }
        .map_err(serde::de::Error::custom)
    }
}

impl<'de> serde::Deserialize<'de> for FlowLimit {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Written::deserialize(deserializer)? {
            Written::Integer(value) => Count::checked(value).and_then(Self::try_from),
            Written::Text(text) => text.parse(),
        }
        .map_err(serde::de::Error::custom)
    }
}

impl schemars::JsonSchema for Count {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "count".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": ["integer", "string"],
            "format": "count",
            "pattern": r"^[0-9]+(\.[0-9]+)?[kM]?$",
            "minimum": 0,
            "maximum": MAX_COUNT,
            "description": "A whole number, or a text with k (1000) or M (1000000): \"64k\" is 64000.",
            "examples": [500_000, "64k", "1M"],
        })
    }
}

impl schemars::JsonSchema for FlowLimit {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "flow-limit".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": ["integer", "string"],
            "format": "flow-limit",
            "pattern": r"^(off|[0-9]+(\.[0-9]+)?[kM]?)$",
            "minimum": 1,
            "maximum": u32::MAX,
            "description": "A whole number, a text such as \"500k\", or \"off\" for no limit.",
            "examples": [500_000, "500k", "off"],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Count, FlowLimit};

    #[test]
    fn counts_may_use_k_and_m_as_powers_of_1000() {
        assert_eq!("64k".parse(), Ok(Count(64_000)));
        assert_eq!("1.5M".parse(), Ok(Count(1_500_000)));
        assert_eq!("64512".parse(), Ok(Count(64_512)));
        for text in ["64K", "64Ki", "0.5", "-1", "2000000M", ""] {
            assert!(text.parse::<Count>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_flow_limit_is_above_zero_or_off() {
        assert_eq!("off".parse(), Ok(FlowLimit(None)));
        assert_eq!("500k".parse(), Ok(FlowLimit(Some(500_000))));
        assert!("0".parse::<FlowLimit>().is_err() && "5000M".parse::<FlowLimit>().is_err());
    }
}
