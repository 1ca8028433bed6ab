//! The JSON Schema of the format, and the same as a structure to check values with.

use crate::model::Scenario;
use schemars::Schema;
use schemars::generate::SchemaSettings;
use schemars::transform::{Transform, transform_subschemas};
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use std::collections::BTreeMap;
use std::sync::OnceLock;

/// Returns the JSON Schema (draft 7, which editors' TOML plug-ins read) of the scenario format.
#[must_use]
pub fn schema() -> String {
    format!("{:#}\n", generate().as_value())
}

fn generate() -> Schema {
    SchemaSettings::draft07()
        .with_transform(Plain)
        .into_generator()
        .into_root_schema_for::<Scenario>()
}

/// Removes `null`, which TOML cannot write, `writeOnly`, and line breaks inside descriptions.
#[derive(Debug, Clone)]
struct Plain;

impl Transform for Plain {
    fn transform(&mut self, schema: &mut Schema) {
        transform_subschemas(self, schema);
        // Of keys that a scenario has no more once it was read.
        schema.remove("writeOnly");
        if let Some(text) = schema.get("description").and_then(|text| text.as_str()) {
            let text = text
                .replace("\n\n", "\u{0}")
                .replace('\n', " ")
                .replace('\u{0}', "\n\n");
            schema.insert("description".to_owned(), text.into());
        }
        let single = schema
            .get_mut("type")
            .and_then(|kinds| kinds.as_array_mut())
            .map(|kinds| {
                kinds.retain(|kind| kind.as_str() != Some("null"));
                (kinds.len() == 1).then(|| kinds[0].clone())
            });
        if let Some(Some(kind)) = single {
            schema.insert("type".to_owned(), kind);
        }
        let single = schema
            .get_mut("anyOf")
            .and_then(|options| options.as_array_mut())
            .map(|options| {
                options.retain(|option| {
                    option.get("type").and_then(|kind| kind.as_str()) != Some("null")
                });
                options.len() == 1
            });
        if single == Some(true)
            && let Some(options) = schema.remove("anyOf")
        {
            schema.insert("allOf".to_owned(), options);
        }
    }
}

/// A schema as the checker reads it.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Node {
    #[serde(rename = "$ref")]
    reference: Option<String>,
    #[serde(rename = "type")]
    kinds: Kinds,
    pub(crate) properties: Properties,
    pub(crate) required: Vec<String>,
    items: Items,
    any_of: Vec<Self>,
    one_of: Vec<Self>,
    all_of: Vec<Self>,
    #[serde(rename = "const")]
    constant: Option<String>,
    pub(crate) format: Option<String>,
    pub(crate) minimum: Option<f64>,
    pub(crate) maximum: Option<f64>,
    pub(crate) min_items: Option<usize>,
    pub(crate) max_items: Option<usize>,
    pub(crate) max_properties: Option<usize>,
    pub(crate) min_properties: usize,
    pub(crate) description: Option<String>,
    pub(crate) default: Option<DefaultValue>,
    definitions: BTreeMap<String, Self>,
}

/// The types a value may have: JSON Schema writes one or a list.
#[derive(Debug, Default, Deserialize)]
#[serde(untagged)]
enum Kinds {
    #[default]
    Any,
    One(String),
    Several(Vec<String>),
}

/// A value that holds where none is written.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum DefaultValue {
    Flag(bool),
    Number(f64),
    Text(String),
    /// A list or a table: what is in it has defaults of its own.
    Many(IgnoredAny),
}

impl DefaultValue {
    /// Returns it as it is written in a file.
    pub(crate) fn written(&self) -> Option<String> {
        match self {
            Self::Flag(flag) => Some(flag.to_string()),
            Self::Number(number) => Some(number.to_string()),
            Self::Text(text) => Some(format!("\"{text}\"")),
            Self::Many(_) => None,
        }
    }
}

/// What a list holds: the same kind of value throughout, or one kind for each place.
#[derive(Debug, Default, Deserialize)]
#[serde(untagged)]
enum Items {
    #[default]
    Any,
    Each(Box<Node>),
    Places(Vec<Node>),
}

/// The keys of a table in the order of the model.
#[derive(Debug, Default)]
pub(crate) struct Properties(Vec<(String, Node)>);

/// The schema of a whole scenario.
#[derive(Debug)]
pub(crate) struct Shape(Node);

impl Shape {
    /// Returns the one shape; it is made on first use.
    pub(crate) fn get() -> &'static Self {
        static SHAPE: OnceLock<Shape> = OnceLock::new();
        SHAPE.get_or_init(|| {
            let node = Node::deserialize(generate().as_value());
            Self(node.expect("broken invariant: the checker reads every schema of the model"))
        })
    }

    /// Returns the one of several forms of a value that has this JSON type.
    pub(crate) fn form<'s>(&'s self, node: &'s Node, kind: &str) -> Option<&'s Node> {
        let forms = node.forms().map(|form| self.resolve(form));
        let mut fitting =
            forms.filter(|form| form.accepts(kind) || kind == "string" && !form.words().is_empty());
        fitting.next()
    }

    pub(crate) fn root(&self) -> &Node {
        &self.0
    }

    /// Follows references, and wrappers around one schema.
    pub(crate) fn resolve<'s>(&'s self, mut node: &'s Node) -> &'s Node {
        loop {
            if let Some(reference) = &node.reference {
                let name = reference
                    .strip_prefix("#/definitions/")
                    .unwrap_or(reference);
                node = self
                    .0
                    .definitions
                    .get(name)
                    .expect("broken invariant: references stay inside the schema");
            } else if let [only] = node.all_of.as_slice() {
                node = only;
            } else {
                return node;
            }
        }
    }
}

impl Node {
    /// Tells whether a value of a JSON type may stand here.
    pub(crate) fn accepts(&self, kind: &str) -> bool {
        match &self.kinds {
            Kinds::Any => self.any_of.iter().any(|option| option.accepts(kind)),
            Kinds::One(only) => only == kind,
            Kinds::Several(kinds) => kinds.iter().any(|one| one == kind),
        }
    }

    /// Returns the forms that a value may have, where there are several.
    pub(crate) fn forms(&self) -> impl Iterator<Item = &Self> {
        self.any_of.iter()
    }

    /// Returns the schema of the entry at a place of a list.
    pub(crate) fn item(&self, index: usize) -> Option<&Self> {
        match &self.items {
            Items::Any => None,
            Items::Each(item) => Some(item),
            Items::Places(items) => items.get(index),
        }
    }

    /// Returns the words that may stand here; empty if this is no enumeration.
    pub(crate) fn words(&self) -> Vec<&str> {
        self.one_of
            .iter()
            .filter_map(|option| option.constant.as_deref())
            .collect()
    }

    /// Returns the words that may stand here with what they mean.
    pub(crate) fn meanings(&self) -> impl Iterator<Item = (&str, &str)> {
        self.one_of.iter().filter_map(|option| {
            Some((option.constant.as_deref()?, option.description.as_deref()?))
        })
    }
}

impl Properties {
    pub(crate) fn find(&self, key: &str) -> Option<&Node> {
        self.0
            .iter()
            .find(|(name, _)| name == key)
            .map(|(_, node)| node)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &Node)> {
        self.0.iter().map(|(name, node)| (name.as_str(), node))
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }
}

impl<'de> Deserialize<'de> for Properties {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;

        impl<'de> Visitor<'de> for InOrder {
            type Value = Properties;

            fn expecting(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                f.write_str("the properties of a schema")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Properties, A::Error> {
                let mut list = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    list.push(entry);
                }
                Ok(Properties(list))
            }
        }

        deserializer.deserialize_map(InOrder)
    }
}

#[cfg(test)]
mod tests {
    use super::{Node, Shape, schema};

    fn undescribed(shape: &Shape, node: &Node, path: &str, found: &mut Vec<String>) {
        for key in node.properties.keys() {
            let path = format!("{path}.{key}");
            let property = node.properties.find(key).unwrap();
            if property.description.as_deref().unwrap_or("").len() < 8 {
                found.push(path.clone());
            }
            let inner = shape.resolve(property);
            let inner = inner.item(0).map_or(inner, |items| shape.resolve(items));
            undescribed(shape, inner, &path, found);
        }
    }

    #[test]
    fn every_key_of_the_schema_has_a_description() {
        let (shape, mut found) = (Shape::get(), Vec::new());
        undescribed(shape, shape.root(), "", &mut found);
        assert_eq!(found, Vec::<String>::new());
    }

    #[test]
    fn the_schema_has_no_null() {
        assert!(!schema().contains("null"));
    }

    #[test]
    fn every_format_of_the_schema_is_known_to_the_checker() {
        for part in schema().split("\"format\": \"").skip(1) {
            let format = part.split('"').next().unwrap();
            let known = crate::units::describe_format(format).is_some()
                || ["uint8", "uint16", "uint32", "uint64", "int64", "double"].contains(&format);
            assert!(known, "{format}");
        }
    }
}
