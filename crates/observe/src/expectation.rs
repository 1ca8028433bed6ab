use std::fmt;

use plsim_types::{Duration, Instant};
use serde_json::{Number, Value};

use crate::number::Exact;
use crate::query::Path;
use crate::summary::object;

/// What a scenario promises about its own outcome.
#[derive(Debug, Clone, PartialEq)]
pub struct Expectation {
    /// What is asked of the summary.
    pub path: Path,
    /// What the answer must be.
    pub test: Test,
    /// How far a number may lie outside, in the unit of the answer; `None` means not at all.
    pub within: Option<Number>,
    /// When it is asked; `None` means at the end of the run.
    pub at: Option<Instant>,
}

/// What an answer must be.
#[derive(Debug, Clone, PartialEq)]
pub enum Test {
    /// This number, text, bool or null.
    Equals(Value),
    /// This number or a greater one.
    AtLeast(Number),
    /// This number or a lesser one.
    AtMost(Number),
    /// A number of this range, both ends included.
    Between(Number, Number),
}

/// Whether an expectation held.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    /// The expectation in words, such as `connections.failed = 0`.
    pub text: String,
    /// Whether it held.
    pub passed: bool,
    /// The answer; null if there was none.
    pub actual: Value,
    /// Why there was no answer, or why it could not be compared.
    pub note: Option<String>,
    /// Whether the answer is a time in nanoseconds.
    pub is_time: bool,
}

impl Expectation {
    /// Judges a summary, given as [`crate::Summary::to_value`] returns it.
    ///
    /// A question without an answer does not pass, and the note says why.
    #[must_use]
    pub fn judge(&self, summary: &Value) -> Verdict {
        let text = self.to_string();
        let is_time = self.path.is_time();
        match self.path.evaluate(summary) {
            Ok(actual) => {
                let passed = self.holds(&actual);
                let note = (!passed).then(|| self.mismatch(&actual)).flatten();
                Verdict {
                    text,
                    passed,
                    actual,
                    note,
                    is_time,
                }
            }
            Err(error) => {
                let note = Some(error.to_string());
                Verdict {
                    text,
                    passed: false,
                    actual: Value::Null,
                    note,
                    is_time,
                }
            }
        }
    }

    fn holds(&self, actual: &Value) -> bool {
        let slack = self.within.as_ref().map_or(Exact::Whole(0), Exact::from);
        let at_least = |bound: &Number| {
            Exact::of(actual).is_some_and(|actual| actual.reaches(bound.into(), slack))
        };
        let at_most = |bound: &Number| {
            Exact::of(actual).is_some_and(|actual| Exact::from(bound).reaches(actual, slack))
        };
        match &self.test {
            Test::Equals(Value::Number(wanted)) => at_least(wanted) && at_most(wanted),
            Test::Equals(wanted) => actual == wanted,
            Test::AtLeast(bound) => at_least(bound),
            Test::AtMost(bound) => at_most(bound),
            Test::Between(low, high) => at_least(low) && at_most(high),
        }
    }

    /// Says so if the answer is of another kind than what it is compared with.
    #[must_use]
    pub fn mismatch(&self, actual: &Value) -> Option<String> {
        let wanted = match &self.test {
            Test::Equals(wanted) => kind(wanted),
            Test::AtLeast(_) | Test::AtMost(_) | Test::Between(..) => "a number",
        };
        let found = kind(actual);
        (found != wanted).then(|| format!("the answer is {found}, but {wanted} was expected"))
    }
}

const fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a group",
    }
}

impl fmt::Display for Expectation {
    /// Writes the expectation in words: `nat[backend=vm-0].peak >= 64512`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = &self.path;
        let number = |number: &Number| shown(&Value::Number(number.clone()), path.is_time());
        match &self.test {
            Test::Equals(wanted) => write!(f, "{path} = {}", shown(wanted, path.is_time()))?,
            Test::AtLeast(bound) => write!(f, "{path} >= {}", number(bound))?,
            Test::AtMost(bound) => write!(f, "{path} <= {}", number(bound))?,
            Test::Between(low, high) => {
                write!(f, "{path} between {} and {}", number(low), number(high))?;
            }
        }
        if let Some(slack) = &self.within {
            write!(f, " within {}", number(slack))?;
        }
        match self.at {
            Some(at) => write!(f, " at {at}"),
            None => Ok(()),
        }
    }
}

/// Writes an answer for people: a time with its unit, anything else as in JSON.
fn shown(value: &Value, is_time: bool) -> String {
    match value.as_u64() {
        Some(nanos) if is_time => Duration::from_nanos(nanos).to_string(),
        _ => value.to_string(),
    }
}

impl Verdict {
    /// Returns the answer for people: a time with its unit, anything else as in JSON.
    #[must_use]
    pub fn actual_text(&self) -> String {
        shown(&self.actual, self.is_time)
    }

    pub(crate) fn to_value(&self) -> Value {
        let mut fields = vec![
            ("text", Value::from(self.text.as_str())),
            ("passed", self.passed.into()),
            ("actual", self.actual.clone()),
        ];
        if let Some(note) = &self.note {
            fields.push(("note", note.as_str().into()));
        }
        object(fields)
    }
}
