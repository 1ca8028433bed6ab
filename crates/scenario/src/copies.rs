//! Sections that stand for many: `copies = 1000`, and `{n}` in their texts.

use crate::tree::{Tree, Value};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer, Serialize};
use std::borrow::Cow;

/// The key that says how many.
pub(crate) const KEY: &str = "copies";
/// The most that one section may stand for.
const MOST: u64 = 100_000;

/// How many sections one stands for, 1 to 100 000.
///
/// Only the file has it: a scenario that was read has an entry for each of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Copies;

impl<'de> Deserialize<'de> for Copies {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        IgnoredAny::deserialize(deserializer).map(|_| Self)
    }
}

impl JsonSchema for Copies {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        KEY.into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "integer",
            "minimum": 1,
            "maximum": MOST
        })
    }
}

/// Returns how many sections one stands for, if it says so (as it should).
pub(crate) fn written(section: &Tree) -> Option<u64> {
    match section.entry(KEY)?.tree.value {
        Value::Integer(count) => u64::try_from(count)
            .ok()
            .filter(|count| (1..=MOST).contains(count)),
        _ => None,
    }
}

/// Returns how many sections one stands for.
pub(crate) fn count(section: &Tree) -> usize {
    written(section).map_or(1, |count| count as usize)
}

/// Finds the section that a position among all copies belongs to.
pub(crate) fn section(sections: &[Tree], position: usize) -> Option<usize> {
    let mut before = 0;
    sections.iter().position(|section| {
        before += count(section);
        position < before
    })
}

/// Tells whether a text differs from copy to copy.
pub(crate) fn is_numbered(text: &str) -> bool {
    text.contains("{n")
}

/// Returns the text of one copy, or the placeholder that means nothing.
pub(crate) fn text(text: &str, number: u64) -> Result<String, &str> {
    let mut whole = String::with_capacity(text.len() + 8);
    let mut rest = text;
    while let Some(begin) = rest.find('{') {
        let end = rest[begin..]
            .find('}')
            .map_or(rest.len(), |at| begin + at + 1);
        let placeholder = &rest[begin..end];
        let value = value(placeholder, number).ok_or(placeholder)?;
        whole.push_str(&rest[..begin]);
        whole.push_str(&value.to_string());
        rest = &rest[end..];
    }
    whole.push_str(rest);
    Ok(whole)
}

fn value(placeholder: &str, number: u64) -> Option<u64> {
    let inner = placeholder.strip_prefix("{n")?.strip_suffix('}')?;
    let operand = |digits: &str| digits.parse().ok().filter(|&divisor: &u64| divisor > 0);
    match inner.split_at_checked(1) {
        None => Some(number),
        Some(("/", digits)) => Some(number / operand(digits)?),
        Some(("%", digits)) => Some(number % operand(digits)?),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::text;

    #[test]
    fn a_copy_has_its_number_quotients_and_remainders_in_its_texts() {
        for (written, read) in [
            ("vm-{n}", "vm-17"),
            ("lb-{n/8}/fe-{n%8}", "lb-2/fe-1"),
            ("10.0.{n/256}.{n%256}", "10.0.0.17"),
            ("vm", "vm"),
        ] {
            assert_eq!(text(written, 17).as_deref(), Ok(read));
        }
    }

    #[test]
    fn what_is_no_number_of_a_copy_is_told() {
        for wrong in ["{m}", "{n*8}", "{n/0}", "{n/x}", "{n", "{}", "{n/}"] {
            assert_eq!(text(&format!("vm-{wrong}"), 0), Err(wrong));
        }
    }
}
