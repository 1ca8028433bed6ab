//! Every key of the format on one page, for people: written from the schema, so that it cannot differ.

use crate::check::wanted;
use crate::schema::{DefaultValue, Node, Shape};
use core::fmt::Write;

/// Returns the page in Markdown.
#[must_use]
pub fn reference() -> String {
    let shape = Shape::get();
    let mut page = String::from(HEAD);
    for (key, node) in shape.root().properties.iter() {
        section(shape, key, node, &mut page);
    }
    page
}

const HEAD: &str = "# Keys of a scenario

Written by `plsim schema --markdown` from the schema that files are checked with. A section in double
brackets may stand several times. What is not said has the default; a key without default that is not
*required* says what holds without it. Distributions, rates that vary and keepalives have more forms than
one: the README shows them.
";

/// Writes the keys of a table, and after them the tables inside it.
fn section(shape: &Shape, path: &str, node: &Node, page: &mut String) {
    let own = shape.resolve(node);
    let (table, is_list) = match own.item(0) {
        Some(item) => (shape.resolve(item), true),
        None => (own, false),
    };
    let (open, close) = if is_list { ("[[", "]]") } else { ("[", "]") };
    let _ = writeln!(page, "\n## `{open}{path}{close}`\n");
    let what = node.description.as_deref().or(table.description.as_deref());
    let _ = writeln!(page, "{}\n", what.unwrap_or_default());
    let mut inside = Vec::new();
    for (key, property) in table.properties.iter() {
        let value = shape.resolve(property);
        if is_section(shape, value) {
            inside.push((format!("{path}.{key}"), property));
        } else {
            entry(key, property, value, &table.required, page);
        }
    }
    for (path, property) in inside {
        section(shape, &path, property, page);
    }
}

/// Tells whether a value is a table, or a list of tables, and nothing else.
fn is_section(shape: &Shape, value: &Node) -> bool {
    if value.format.is_some() {
        return false;
    }
    let item = value.item(0).map(|item| shape.resolve(item));
    let table = item.unwrap_or(value);
    table.properties.keys().next().is_some()
}

/// Writes one key: what it takes, its default, what it means, and its words.
fn entry(key: &str, property: &Node, value: &Node, required: &[String], page: &mut String) {
    let is_required = required.iter().any(|name| name == key);
    let word = value.words().is_empty();
    let mut takes = if word {
        wanted(value)
    } else {
        "a word".to_owned()
    };
    if let (Some(least), Some(most)) = (value.minimum, value.maximum) {
        let _ = write!(takes, ", {least} to {most}");
    }
    let default = property.default.as_ref().or(value.default.as_ref());
    let note = match default.and_then(DefaultValue::written) {
        _ if is_required => "; *required*".to_owned(),
        Some(default) => format!("; default `{default}`"),
        None => String::new(),
    };
    let what = property.description.as_deref().unwrap_or_default();
    let what = what.replace("\n\n", " ");
    let _ = writeln!(page, "- **`{key}`**: {takes}{note}. {what}");
    for (word, meaning) in value.meanings() {
        let _ = writeln!(page, "  - `\"{word}\"`: {meaning}");
    }
}
