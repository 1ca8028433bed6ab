//! The values of a scenario with the places they were written at.

use crate::copies;
use crate::source::Span;
use std::collections::BTreeMap;

/// A value and its place.
#[derive(Debug, Clone)]
pub(crate) struct Tree {
    pub(crate) span: Span,
    pub(crate) value: Value,
}

/// A value as the file has it. Tables know where each key stands.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    Table(BTreeMap<String, Entry>),
    Array(Vec<Tree>),
    Text(String),
    Integer(i128),
    Float(f64),
    Bool(bool),
    Date(String),
}

/// A key's place and its value.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) key: Span,
    pub(crate) tree: Tree,
}

/// One step of a path: a key, or the position in a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step<'p> {
    Key(&'p str),
    Index(usize),
}

impl Tree {
    pub(crate) fn empty_table() -> Self {
        Self {
            span: Span::default(),
            value: Value::Table(BTreeMap::new()),
        }
    }

    /// Returns the value of a key, if this is a table that has it.
    pub(crate) fn entry(&self, key: &str) -> Option<&Entry> {
        match &self.value {
            Value::Table(table) => table.get(key),
            _ => None,
        }
    }

    /// Returns the text of a key, if this is a table that has it and it is a text.
    pub(crate) fn text(&self, key: &str) -> Option<&str> {
        match &self.entry(key)?.tree.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Returns the value at a path such as `workload[2].rate`; `None` if it was not written.
    pub(crate) fn at(&self, path: &str) -> Option<&Self> {
        let mut tree = self;
        for step in steps(path) {
            tree = tree.step(step)?;
        }
        Some(tree)
    }

    /// Returns the place of the value at a path, or of the nearest thing around it that was
    /// written.
    pub(crate) fn span_at(&self, path: &str) -> Span {
        let mut tree = self;
        for step in steps(path) {
            match tree.step(step) {
                Some(next) => tree = next,
                None => break,
            }
        }
        tree.span
    }

    pub(crate) fn step(&self, step: Step<'_>) -> Option<&Self> {
        match (step, &self.value) {
            (Step::Key(key), Value::Table(table)) => table.get(key).map(|entry| &entry.tree),
            // Copies of a section share what was written.
            (Step::Index(index), Value::Array(items)) => items.get(copies::section(items, index)?),
            _ => None,
        }
    }

    /// Says what kind of value this is, for messages.
    pub(crate) fn kind(&self) -> &'static str {
        match self.value {
            Value::Table(_) => "a table",
            Value::Array(_) => "a list",
            Value::Text(_) => "a text",
            Value::Integer(_) => "an integer",
            Value::Float(_) => "a decimal number",
            Value::Bool(_) => "true or false",
            Value::Date(_) => "a date",
        }
    }
}

/// Splits `workload[2].rate` into its steps; what is no number in brackets is a key.
pub(crate) fn steps(path: &str) -> impl Iterator<Item = Step<'_>> {
    path.split(['.', '['])
        .filter(|part| !part.is_empty())
        .map(|part| match part.strip_suffix(']').map(str::parse) {
            Some(Ok(index)) => Step::Index(index),
            _ => Step::Key(part),
        })
}

#[cfg(test)]
mod tests {
    use super::{Step, steps};

    #[test]
    fn a_path_has_keys_and_positions() {
        let got: Vec<_> = steps("virtual_network[2].subnet[0].prefix").collect();
        assert_eq!(
            got,
            [
                Step::Key("virtual_network"),
                Step::Index(2),
                Step::Key("subnet"),
                Step::Index(0),
                Step::Key("prefix")
            ]
        );
        assert_eq!(steps("").count(), 0);
    }
}
