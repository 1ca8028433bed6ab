use std::cmp::Ordering;
use std::fmt;
use std::sync::LazyLock;

use plsim_types::{DropReason, Protocol};
use serde_json::Value;

use crate::number::Exact;
use crate::summary::Summary;

/// A question to a [`Summary`], such as `connections.failed` or `max(nat[pls=orders].peak)`.
///
/// ```text
///  question = path | function "(" path ")"
///  function = "sum" | "min" | "max" | "count"
///  path     = step { "." step }
///  step     = key [ "[" key "=" value { "," key "=" value } "]" ]
/// ```
///
/// Steps name the keys of `summary.json`. Brackets pick the rows of a list; a value with a comma
/// or bracket stands in double quotes. Without a function exactly one row must be picked. `sum` of
/// nothing is 0, `min` and `max` of nothing are null, and nulls are left out; `count` counts the
/// rows, or the values that are not null. A drop reason that did not occur is 0.
///
/// # Examples
/// ```
/// use plsim_observe::{Path, Summary};
/// let summary = Summary::default().to_value();
/// let path = Path::parse("ledger.drops.nat-ports-exhausted")?;
/// assert_eq!(path.evaluate(&summary)?, 0);
/// let error = Path::parse("connections.faild").unwrap_err();
/// assert!(error.to_string().contains("`failed`"));
/// # Ok::<(), plsim_observe::QueryError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path {
    pub(crate) text: String,
    pub(crate) function: Option<Function>,
    pub(crate) steps: Vec<Step>,
}

/// What makes one value of many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Function {
    Sum,
    Min,
    Max,
    Count,
}

/// One key of a path, with the byte at which it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) at: usize,
    pub(crate) key: String,
    pub(crate) filters: Vec<Filter>,
}

/// One condition on the rows of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Filter {
    pub(crate) at: usize,
    pub(crate) key: String,
    pub(crate) value: String,
}

/// Why a question has no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum QueryError {
    /// The text breaks the grammar.
    Syntax {
        /// The byte of the text where something else was expected.
        at: usize,
        /// What was expected.
        expected: &'static str,
    },
    /// There is no such key.
    UnknownKey {
        /// The byte of the text where it stands.
        at: usize,
        /// The key asked for.
        key: String,
        /// The keys there are.
        known: Vec<String>,
    },
    /// A condition asks for something that cannot be.
    UnknownValue {
        /// The byte of the text where the condition stands.
        at: usize,
        /// The condition's key.
        key: String,
        /// The value asked for.
        value: String,
        /// The values there are.
        known: Vec<String>,
    },
    /// Brackets follow something that is no list.
    NotAList {
        /// The byte of the text where it stands.
        at: usize,
        /// Its key.
        key: String,
    },
    /// The path ends at a group or a row instead of a value.
    NotAValue {
        /// The byte of the text where its last step stands.
        at: usize,
        /// The last key.
        key: String,
        /// The keys that may follow.
        known: Vec<String>,
    },
    /// A function that reckons was given texts.
    NotANumber {
        /// The byte of the text where the last step stands.
        at: usize,
        /// The last key.
        key: String,
    },
    /// The key holds nothing that may be asked for.
    NotAllowed {
        /// The byte of the text where it stands.
        at: usize,
        /// The key.
        key: String,
    },
    /// Not exactly one row was picked, or none where there must be some.
    Rows {
        /// The list.
        list: String,
        /// How many rows were picked.
        matched: usize,
        /// How many rows the list has.
        rows: usize,
        /// The keys by which rows can be picked.
        keys: Vec<String>,
        /// The conditions that no row meets, with the values there are.
        unmet: Vec<(String, Vec<String>)>,
    },
    /// A sum left the range of 64 bits.
    Overflow,
}

impl QueryError {
    /// Returns the byte of the path's text to point at, if there is one.
    #[must_use]
    pub const fn at(&self) -> Option<usize> {
        match self {
            Self::Syntax { at, .. }
            | Self::UnknownKey { at, .. }
            | Self::UnknownValue { at, .. }
            | Self::NotAList { at, .. }
            | Self::NotAValue { at, .. }
            | Self::NotANumber { at, .. }
            | Self::NotAllowed { at, .. } => Some(*at),
            Self::Rows { .. } | Self::Overflow => None,
        }
    }
}

impl fmt::Display for QueryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syntax { at, expected } => {
                write!(f, "expected {expected} at character {}", at + 1)
            }
            Self::UnknownKey { key, known, .. } => {
                write!(f, "there is no `{key}`; known: {}", Names(known))
            }
            Self::UnknownValue {
                key, value, known, ..
            } => {
                write!(f, "`{value}` is no {key}; known: {}", Names(known))
            }
            Self::NotAList { key, .. } => {
                write!(f, "`{key}` is no list, so no brackets may follow it")
            }
            Self::NotAValue { key, known, .. } => {
                write!(
                    f,
                    "`{key}` is not a single value; add one of: {}",
                    Names(known)
                )
            }
            Self::NotANumber { key, .. } => write!(f, "`{key}` is not a number"),
            Self::NotAllowed { key, .. } => write!(f, "`{key}` cannot be asked for"),
            Self::Rows {
                list,
                matched,
                rows,
                keys,
                unmet,
            } => {
                write!(f, "{matched} of the {rows} rows of `{list}` match")?;
                for (key, values) in unmet {
                    write!(f, "; {key} is one of {}", Names(values))?;
                }
                if *matched > 1 {
                    f.write_str(", but one must; wrap it in sum(), min(), max() or count(), or")?;
                } else {
                    f.write_str(";")?;
                }
                write!(f, " pick rows by: {}", Names(keys))
            }
            Self::Overflow => f.write_str("the sum exceeds 64 bits"),
        }
    }
}

impl std::error::Error for QueryError {}

/// Names in backquotes, separated by commas.
struct Names<'a>(&'a [String]);

impl fmt::Display for Names<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, name) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}`{name}`")?;
        }
        Ok(())
    }
}

/// The list whose rows exist only if something happened: that no row matches is an answer.
const REFUSALS: &str = "refusals";
/// The group whose keys exist only if something happened.
const DROPS: &str = "drops";
/// Lists that say nothing about what the run did.
/// The keys of refusals that are nought where nothing was refused; the others are null.
const COUNTS: [&str; 2] = ["packets", "connections"];

const NOT_ALLOWED: [&str; 3] = ["expectations", "findings", "overrides"];

impl Path {
    /// Reads a question and checks every key against what a summary has.
    ///
    /// # Errors
    /// [`QueryError`], all but `Rows` and `Overflow`.
    pub fn parse(text: &str) -> Result<Self, QueryError> {
        let path = crate::query_text::parse(text)?;
        path.check(&Summary::shape())?;
        Ok(path)
    }

    /// Returns the question as it was written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Tells whether the answer is a time in nanoseconds: its key ends with `_ns`.
    #[must_use]
    pub fn is_time(&self) -> bool {
        let last = self.steps.last();
        self.function != Some(Function::Count) && last.is_some_and(|step| step.key.ends_with("_ns"))
    }

    /// Answers the question from a summary's JSON value: a number, a text, a bool or null.
    ///
    /// # Errors
    /// [`QueryError::Rows`] if not exactly one row is picked without a function, or none with one
    /// (except in `refusals`); [`QueryError::Overflow`]; [`QueryError::UnknownKey`] if the value is
    /// no summary of this version.
    pub fn evaluate(&self, summary: &Value) -> Result<Value, QueryError> {
        let mut found = vec![summary];
        let mut parent = "";
        for step in &self.steps {
            let mut next = Vec::new();
            for value in found {
                match value.get(&step.key) {
                    Some(Value::Array(rows)) => next.extend(self.pick(step, rows)?),
                    Some(value) => next.push(value),
                    None if parent == DROPS => next.push(&ZERO),
                    None => return Err(unknown_key(step.at, &step.key, value)),
                }
            }
            found = next;
            parent = &step.key;
        }
        let Some(function) = self.function else {
            let counted = self
                .steps
                .last()
                .is_some_and(|step| COUNTS.contains(&step.key.as_str()));
            let nothing = if counted { ZERO.clone() } else { Value::Null };
            return Ok(found.first().map_or(nothing, |value| (*value).clone()));
        };
        found.retain(|value| !value.is_null());
        match function {
            Function::Count => Ok(found.len().into()),
            Function::Sum => sum(&found),
            Function::Min => Ok(best(&found, Ordering::Less)),
            Function::Max => Ok(best(&found, Ordering::Greater)),
        }
    }

    /// Returns the rows that meet a step's conditions.
    fn pick<'a>(&self, step: &Step, rows: &'a [Value]) -> Result<Vec<&'a Value>, QueryError> {
        let meets = |row: &Value, filter: &Filter| plain(&row[&filter.key]) == filter.value;
        let picked: Vec<_> = rows
            .iter()
            .filter(|row| step.filters.iter().all(|filter| meets(row, filter)))
            .collect();
        let enough = match self.function {
            // That nothing was refused is an answer, too.
            None => picked.len() == 1 || (picked.is_empty() && step.key == REFUSALS),
            Some(_) => !picked.is_empty() || step.filters.is_empty() || step.key == REFUSALS,
        };
        if enough {
            return Ok(picked);
        }
        let unmet = step
            .filters
            .iter()
            .filter(|filter| !rows.iter().any(|row| meets(row, filter)));
        Err(QueryError::Rows {
            list: step.key.clone(),
            matched: picked.len(),
            rows: rows.len(),
            keys: row_keys(&step.key),
            unmet: unmet
                .map(|filter| (filter.key.clone(), values_of(&filter.key, rows)))
                .collect(),
        })
    }

    /// Checks every key against a summary that has one row in each list.
    fn check(&self, shape: &Value) -> Result<(), QueryError> {
        let mut value = shape;
        let mut is_row = false;
        for step in &self.steps {
            if NOT_ALLOWED.contains(&step.key.as_str()) {
                return Err(QueryError::NotAllowed {
                    at: step.at,
                    key: step.key.clone(),
                });
            }
            let Some(next) = value.get(&step.key) else {
                return Err(unknown_key(step.at, &step.key, value));
            };
            is_row = next.is_array();
            value = if is_row { &next[0] } else { next };
            if !is_row && !step.filters.is_empty() {
                return Err(QueryError::NotAList {
                    at: step.at,
                    key: step.key.clone(),
                });
            }
            step.filters
                .iter()
                .try_for_each(|filter| check_filter(filter, value))?;
        }
        let Some(last) = self.steps.last() else {
            return Ok(());
        };
        let (at, key) = (last.at, last.key.clone());
        let counts_rows = is_row && self.function == Some(Function::Count);
        let reckons = matches!(
            self.function,
            Some(Function::Sum | Function::Min | Function::Max)
        );
        match value {
            Value::Object(_) | Value::Array(_) if !counts_rows => Err(QueryError::NotAValue {
                at,
                key,
                known: keys(value),
            }),
            Value::String(_) | Value::Bool(_) if reckons => Err(QueryError::NotANumber { at, key }),
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

static ZERO: LazyLock<Value> = LazyLock::new(|| Value::from(0_u64));

fn sum(values: &[&Value]) -> Result<Value, QueryError> {
    let total = values
        .iter()
        .filter_map(|value| Exact::of(value))
        .try_fold(Exact::Whole(0), Exact::plus)
        .and_then(Exact::to_value);
    total.ok_or(QueryError::Overflow)
}

/// Returns the least or greatest number, null if there is none.
fn best(values: &[&Value], wanted: Ordering) -> Value {
    let mut best: Option<(&Value, Exact)> = None;
    for (value, number) in values
        .iter()
        .filter_map(|value| Some((*value, Exact::of(value)?)))
    {
        if best.is_none_or(|(_, so_far)| number.compare(so_far) == Some(wanted)) {
            best = Some((value, number));
        }
    }
    best.map_or(Value::Null, |(value, _)| value.clone())
}

fn check_filter(filter: &Filter, row: &Value) -> Result<(), QueryError> {
    if row.get(&filter.key).is_none() {
        return Err(unknown_key(filter.at, &filter.key, row));
    }
    let known: Vec<_> = match filter.key.as_str() {
        "protocol" => Protocol::ALL
            .iter()
            .map(|protocol| protocol.name().to_owned())
            .collect(),
        "reason" => DropReason::ALL
            .iter()
            .map(|reason| reason.name().to_owned())
            .collect(),
        _ => return Ok(()),
    };
    if known.contains(&filter.value) {
        return Ok(());
    }
    let Filter { at, key, value } = filter.clone();
    Err(QueryError::UnknownValue {
        at,
        key,
        value,
        known,
    })
}

fn unknown_key(at: usize, key: &str, value: &Value) -> QueryError {
    let mut known = keys(value);
    known.retain(|key| !NOT_ALLOWED.contains(&key.as_str()));
    QueryError::UnknownKey {
        at,
        key: key.to_owned(),
        known,
    }
}

fn keys(value: &Value) -> Vec<String> {
    value
        .as_object()
        .map_or_else(Vec::new, |fields| fields.keys().cloned().collect())
}

/// Returns the keys of a list that hold texts: those by which one picks rows.
fn row_keys(list: &str) -> Vec<String> {
    let shape = Summary::shape();
    let fields = shape[list][0].as_object().into_iter().flatten();
    fields
        .filter(|(_, value)| value.is_string())
        .map(|(key, _)| key.clone())
        .collect()
}

/// Returns the different values of a key, in the order of the rows, the first few.
fn values_of(key: &str, rows: &[Value]) -> Vec<String> {
    let mut values = Vec::new();
    for value in rows.iter().map(|row| plain(&row[key])) {
        if values.len() < 8 && !values.contains(&value) {
            values.push(value);
        }
    }
    values
}

/// Returns a value as one writes it in brackets: texts without quotes.
fn plain(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), ToOwned::to_owned)
}
