use std::cmp::Ordering;

use serde_json::{Number, Value};

/// A JSON number that is compared and added without rounding while it is whole.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Exact {
    /// A u64 or i64, or a sum of them.
    Whole(i128),
    /// Anything else; finite.
    Float(f64),
}

impl Exact {
    /// Returns the number a value holds, if it holds one.
    pub(crate) fn of(value: &Value) -> Option<Self> {
        match value {
            Value::Number(number) => Some(Self::from(number)),
            Value::Null
            | Value::Bool(_)
            | Value::String(_)
            | Value::Array(_)
            | Value::Object(_) => None,
        }
    }

    /// Adds two numbers; `None` if the sum is out of range.
    pub(crate) fn plus(self, other: Self) -> Option<Self> {
        match (self, other) {
            (Self::Whole(one), Self::Whole(other)) => one.checked_add(other).map(Self::Whole),
            _ => Some(Self::Float(self.float() + other.float())),
        }
    }

    /// Compares two numbers.
    pub(crate) fn compare(self, other: Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Whole(one), Self::Whole(other)) => Some(one.cmp(&other)),
            _ => self.float().partial_cmp(&other.float()),
        }
    }

    /// Tells whether this is at least `bound` less `slack`.
    pub(crate) fn reaches(self, bound: Self, slack: Self) -> bool {
        let sum = self.plus(slack);
        sum.and_then(|sum| sum.compare(bound))
            .is_some_and(Ordering::is_ge)
    }

    /// Returns it as a JSON number; `None` if it exceeds 64 bits or is not finite.
    pub(crate) fn to_value(self) -> Option<Value> {
        match self {
            Self::Whole(whole) => match u64::try_from(whole) {
                Ok(whole) => Some(whole.into()),
                Err(_) => i64::try_from(whole).ok().map(Value::from),
            },
            Self::Float(float) => Number::from_f64(float).map(Value::Number),
        }
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "floats are only as exact as floats are"
    )]
    fn float(self) -> f64 {
        match self {
            Self::Whole(whole) => whole as f64,
            Self::Float(float) => float,
        }
    }
}

impl From<&Number> for Exact {
    fn from(number: &Number) -> Self {
        match (number.as_u64(), number.as_i64()) {
            (Some(whole), _) => Self::Whole(whole.into()),
            (None, Some(whole)) => Self::Whole(whole.into()),
            (None, None) => Self::Float(number.as_f64().unwrap_or(f64::NAN)),
        }
    }
}
