//! Lets serde read a [`Tree`].

use crate::copies;
use crate::tree::{Entry, Tree, Value};
use core::fmt;
use serde::de::value::{MapAccessDeserializer, MapDeserializer, SeqDeserializer};
use serde::de::{self, Deserializer, IntoDeserializer, Visitor};
use serde::forward_to_deserialize_any;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// Why a tree is not the value serde wants.
#[derive(Debug)]
pub(crate) struct Mismatch(pub(crate) String);

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl core::error::Error for Mismatch {}

impl de::Error for Mismatch {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self(message.to_string())
    }
}

/// A value as one of the copies of its section has it.
#[derive(Debug, Clone, Copy)]
struct Reading<'de> {
    tree: &'de Tree,
    /// The number of the copy; none outside of copies.
    number: Option<u64>,
}

impl<'de> Reading<'de> {
    fn entries(
        self,
        table: &'de BTreeMap<String, Entry>,
    ) -> impl Iterator<Item = (&'de str, Self)> {
        table.iter().map(move |(key, entry)| {
            let tree = &entry.tree;
            (key.as_str(), Self { tree, ..self })
        })
    }

    /// Returns the items of a list, of each section all copies.
    fn items(self, items: &'de [Tree]) -> impl Iterator<Item = Self> {
        items.iter().flat_map(move |tree| {
            let own = copies::written(tree);
            (0..own.unwrap_or(1)).map(move |number| Self {
                tree,
                number: own.map(|_| number).or(self.number),
            })
        })
    }

    /// Returns the text of the copy.
    fn text(self, text: &'de str) -> Result<Cow<'de, str>, Mismatch> {
        match self.number {
            Some(number) if copies::is_numbered(text) => {
                let own = copies::text(text, number).map(Cow::Owned);
                own.map_err(|placeholder| Mismatch(format!("`{placeholder}` is no number")))
            }
            _ => Ok(Cow::Borrowed(text)),
        }
    }
}

impl<'de> IntoDeserializer<'de, Mismatch> for Reading<'de> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'de> Deserializer<'de> for Reading<'de> {
    type Error = Mismatch;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        match &self.tree.value {
            Value::Table(table) => visitor.visit_map(MapDeserializer::new(self.entries(table))),
            Value::Array(items) => visitor.visit_seq(SeqDeserializer::new(self.items(items))),
            Value::Text(text) | Value::Date(text) => match self.text(text)? {
                Cow::Borrowed(text) => visitor.visit_borrowed_str(text),
                Cow::Owned(text) => visitor.visit_string(text),
            },
            Value::Integer(value) => match (i64::try_from(*value), u64::try_from(*value)) {
                (Ok(value), _) => visitor.visit_i64(value),
                (_, Ok(value)) => visitor.visit_u64(value),
                _ => visitor.visit_i128(*value),
            },
            Value::Float(value) => visitor.visit_f64(*value),
            Value::Bool(value) => visitor.visit_bool(*value),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        visitor.visit_some(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Mismatch> {
        match &self.tree.value {
            Value::Text(text) => visitor.visit_enum(self.text(text)?.into_deserializer()),
            Value::Table(table) => {
                let map = MapDeserializer::new(self.entries(table));
                visitor.visit_enum(MapAccessDeserializer::new(map))
            }
            _ => Err(Mismatch(format!(
                "expected a text or a table, not {}",
                self.tree.kind()
            ))),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Mismatch> {
        visitor.visit_newtype_struct(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

impl<'de> Deserializer<'de> for &'de Tree {
    type Error = Mismatch;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        whole(self).deserialize_any(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        whole(self).deserialize_option(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Mismatch> {
        whole(self).deserialize_enum(name, variants, visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Mismatch> {
        whole(self).deserialize_newtype_struct(name, visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

/// Reads a value that is no part of a copy.
const fn whole(tree: &Tree) -> Reading<'_> {
    Reading { tree, number: None }
}
