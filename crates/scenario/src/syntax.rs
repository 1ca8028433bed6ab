//! From bytes to a [`Tree`]: encoding, TOML syntax and nesting depth.

use crate::diagnostic::{Diagnostic, Severity};
use crate::read::MAX_BYTES;
use crate::source::{Sources, Span};
use crate::tree::{Entry, Tree, Value};
use core::ops::Range;
use std::collections::BTreeMap;
use std::sync::Arc;
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

/// How deep tables and lists may nest.
const MAX_DEPTH: usize = 32;

/// How many keys, list entries and headers a document may have: the largest scenario that the
/// other limits allow has fewer, and each costs the parser hundreds of bytes.
const MAX_VALUES: usize = 600_000;

/// How many separators of any kind a document may have: each is a token to the parser.
const MAX_SEPARATORS: usize = 2_000_000;

/// How many mistakes of syntax are shown: after so many the parser is out of step.
const MOST_FLAWS: usize = 3;

/// A problem that has no sources yet.
#[derive(Debug)]
pub(crate) struct Flaw {
    pub(crate) span: Span,
    pub(crate) message: String,
    pub(crate) label: String,
    pub(crate) help: Option<String>,
}

impl Flaw {
    pub(crate) fn new(span: Span, message: impl Into<String>) -> Self {
        Self {
            span,
            message: message.into(),
            label: String::new(),
            help: None,
        }
    }

    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    pub(crate) fn into_diagnostic(self, sources: &Arc<Sources>) -> Diagnostic {
        let mut diagnostic = Diagnostic::new(Severity::Error, sources, self.span, self.message);
        diagnostic.label = self.label;
        diagnostic.help.extend(self.help);
        diagnostic
    }
}

/// Turns the bytes of a file into its text; line ends and a byte order mark are left as they are.
/// The text is returned in any case, so that the flaw can point into it.
pub(crate) fn decode(bytes: &[u8]) -> (String, Option<Flaw>) {
    let at = |offset: usize| Span::new(0, offset..offset);
    if bytes.len() as u64 > MAX_BYTES {
        let flaw = Flaw::new(at(0), "the scenario has more than 16 MiB");
        return (String::new(), Some(flaw));
    }
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        let flaw = Flaw::new(at(0), "the file is in UTF-16").help("save it in UTF-8");
        return (String::new(), Some(flaw));
    }
    let text = match core::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            let offset = error.valid_up_to();
            let message = format!(
                "the file is not valid UTF-8: byte 0x{:02x} at offset {offset}",
                bytes.get(offset).copied().unwrap_or_default()
            );
            // The readable part is enough to show the place.
            let text = String::from_utf8_lossy(&bytes[..offset]).into_owned();
            return (
                text,
                Some(Flaw::new(at(offset), message).help("save it in UTF-8")),
            );
        }
    };
    let flaw = text.find('\0').map(|offset| {
        Flaw::new(
            Span::new(0, offset..offset + 1),
            "the file contains a NUL character",
        )
        .help("a scenario is plain text; remove the character")
    });
    (text.to_owned(), flaw)
}

/// Parses a whole document.
pub(crate) fn parse_document(text: &str, source: usize) -> Result<Tree, Vec<Flaw>> {
    if let Some(flaw) = too_much(text, source) {
        return Err(vec![flaw]);
    }
    // A byte order mark is no part of TOML: blanked out, so that all places stay right.
    let blanked = text
        .strip_prefix('\u{feff}')
        .map(|rest| format!("   {rest}"));
    let (table, errors) = DeTable::parse_recoverable(blanked.as_deref().unwrap_or(text));
    if !errors.is_empty() {
        let mut flaws: Vec<Flaw> = errors
            .iter()
            .map(|error| syntax_flaw(error, source, 0))
            .collect();
        // One mistake makes the parser stumble several times on its way to the next line.
        flaws.sort_by_key(|flaw| flaw.span);
        flaws.dedup_by(|next, first| {
            let between = first.span.start.min(text.len())..next.span.start.min(text.len());
            !text.as_bytes()[between].contains(&b'\n')
        });
        if flaws.len() > MOST_FLAWS {
            flaws.truncate(MOST_FLAWS);
            if let Some(last) = flaws.last_mut() {
                last.help = Some("what follows is not read; is the file TOML?".to_owned());
            }
        }
        return Err(flaws);
    }
    let mut builder = Builder {
        source,
        offset: 0,
        flaws: Vec::new(),
    };
    let span = builder.place(table.span());
    let value = builder.table(table.get_ref(), 0);
    builder.finish(Tree { span, value }, text)
}

/// Bounds the parser's memory before it runs.
fn too_much(text: &str, source: usize) -> Option<Flaw> {
    let (mut values, mut separators) = (0, 0);
    for (at, byte) in text.bytes().enumerate() {
        let word = byte.is_ascii_alphanumeric() || byte >= 0x80 || matches!(byte, b'-' | b'_');
        separators += usize::from(!word);
        values += usize::from(matches!(byte, b'=' | b',' | b'[' | b'{'));
        if values > MAX_VALUES || separators > MAX_SEPARATORS {
            let message = format!("more than {MAX_VALUES} keys, list entries and headers");
            let flaw = Flaw::new(Span::new(source, at..at + 1), message);
            return Some(
                flaw.help("groups of machines take a `count`: one entry can stand for thousands"),
            );
        }
    }
    None
}

/// Parses one value that begins `offset` bytes into its source; `Err(None)` if it is not TOML.
pub(crate) fn parse_value(
    text: &str,
    source: usize,
    offset: usize,
) -> Result<Tree, Option<Vec<Flaw>>> {
    let value = DeValue::parse(text).map_err(|_| None)?;
    let mut builder = Builder {
        source,
        offset,
        flaws: Vec::new(),
    };
    let tree = builder.value(&value, 0);
    builder.finish(tree, text).map_err(Some)
}

fn syntax_flaw(error: &toml::de::Error, source: usize, offset: usize) -> Flaw {
    let range = error.span().unwrap_or(0..0);
    let span = Span::new(source, range.start + offset..range.end + offset);
    match error.message() {
        "cannot recurse further; max recursion depth met" | "recursion limit" => too_deep(span),
        "duplicate key" => Flaw::new(span, "this key is given twice")
            .help("keep one of the two; a second list entry needs its own [[section]] header"),
        message => {
            let flaw = Flaw::new(span, format!("not valid TOML: {message}"));
            if message.contains("basic string") || message.contains("literal string") {
                flaw.help("a text ends with the quote it begins with, on the same line")
            } else if message.contains("table") {
                flaw.help("a header is [section], or [[section]] for one of several entries")
            } else {
                flaw.help(
                    "below its [section] header, each line is `key = value`; texts stand in quotes",
                )
            }
        }
    }
}

fn too_deep(span: Span) -> Flaw {
    Flaw::new(
        span,
        format!("tables and lists are nested more than {MAX_DEPTH} deep"),
    )
    .help("no part of a scenario nests deeper than 4")
}

struct Builder {
    source: usize,
    offset: usize,
    flaws: Vec<Flaw>,
}

impl Builder {
    fn finish(mut self, tree: Tree, text: &str) -> Result<Tree, Vec<Flaw>> {
        self.flaws
            .extend(crate::toml_1_0::flaws(&tree, text, self.offset));
        if self.flaws.is_empty() {
            Ok(tree)
        } else {
            Err(self.flaws)
        }
    }

    fn place(&self, range: Range<usize>) -> Span {
        Span::new(
            self.source,
            range.start + self.offset..range.end + self.offset,
        )
    }

    fn value(&mut self, spanned: &Spanned<DeValue<'_>>, depth: usize) -> Tree {
        let span = self.place(spanned.span());
        let value = match spanned.get_ref() {
            DeValue::String(text) => Value::Text(text.to_string()),
            DeValue::Integer(number) => {
                match i128::from_str_radix(number.as_str(), number.radix()) {
                    Ok(number) => Value::Integer(number),
                    Err(_) => {
                        self.flaws
                            .push(Flaw::new(span, "this integer is too large"));
                        Value::Integer(0)
                    }
                }
            }
            DeValue::Float(number) => match number.as_str().parse() {
                Ok(number) => Value::Float(number),
                Err(_) => {
                    self.flaws.push(Flaw::new(span, "this is not a number"));
                    Value::Float(0.0)
                }
            },
            DeValue::Boolean(flag) => Value::Bool(*flag),
            DeValue::Datetime(date) => Value::Date(date.to_string()),
            DeValue::Array(_) | DeValue::Table(_) if depth >= MAX_DEPTH => {
                self.flaws.push(too_deep(span));
                Value::Bool(false)
            }
            DeValue::Array(items) => self.array(items, depth + 1),
            DeValue::Table(table) => self.table(table, depth + 1),
        };
        Tree { span, value }
    }

    fn array(&mut self, items: &DeArray<'_>, depth: usize) -> Value {
        Value::Array(items.iter().map(|item| self.value(item, depth)).collect())
    }

    fn table(&mut self, table: &DeTable<'_>, depth: usize) -> Value {
        let mut entries = BTreeMap::new();
        for (key, value) in table {
            let entry = Entry {
                key: self.place(key.span()),
                tree: self.value(value, depth),
            };
            entries.insert(key.get_ref().to_string(), entry);
        }
        Value::Table(entries)
    }
}

#[cfg(test)]
mod tests {
    use super::{decode, parse_document};

    #[test]
    fn a_byte_order_mark_and_crlf_are_accepted() {
        let text = "\u{feff}[run]\r\nduration = \"1s\"\r\n";
        let tree = parse_document(text, 0).unwrap();
        let span = tree.span_at("run.duration");
        assert_eq!(&text[span.start..span.end], "\"1s\"");
    }

    #[test]
    fn text_that_is_not_utf_8_or_has_nul_is_refused() {
        for bytes in [&b"a = \"\xff\""[..], b"\xff\xfea\0", b"a = \"\0\""] {
            assert!(decode(bytes).1.is_some());
        }
        assert!(decode("é".as_bytes()).1.is_none());
    }

    #[test]
    fn nesting_is_limited_without_recursion() {
        for text in [
            format!("a = {}", "[".repeat(100_000)),
            "[".repeat(100_000),
            format!("a = {}", "{a=".repeat(100_000)),
            format!("{}a = 1", "a.".repeat(100_000)),
            format!("[{}a]", "a.".repeat(100_000)),
            format!("a = {}{}", "[".repeat(33), "]".repeat(33)),
        ] {
            assert!(parse_document(&text, 0).is_err());
        }
        let deepest = format!("a = {}{}", "[".repeat(32), "]".repeat(32));
        assert!(parse_document(&deepest, 0).is_ok());
    }

    #[test]
    fn toml_s_own_integers_are_read() {
        let tree = parse_document("a = 0x1f\nb = 1_000\nc = 18446744073709551615", 0).unwrap();
        for (key, value) in [("a", 31), ("b", 1_000), ("c", i128::from(u64::MAX))] {
            let got = &tree.at(key).unwrap().value;
            assert!(matches!(got, super::Value::Integer(got) if *got == value));
        }
    }
}
