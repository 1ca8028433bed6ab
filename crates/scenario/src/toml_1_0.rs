//! Refuses what only TOML 1.1 allows: other readers of scenario files (editors, Python) know 1.0.

use crate::source::Span;
use crate::syntax::Flaw;
use crate::tree::{Tree, Value};

/// Finds what TOML 1.0 does not allow in a parsed document or value; `offset` is where `text`
/// begins in its source.
pub(crate) fn flaws(tree: &Tree, text: &str, offset: usize) -> Vec<Flaw> {
    let mut finder = Finder {
        text,
        offset,
        flaws: Vec::new(),
    };
    finder.visit(tree);
    finder.flaws
}

struct Finder<'t> {
    text: &'t str,
    offset: usize,
    flaws: Vec<Flaw>,
}

impl Finder<'_> {
    fn visit(&mut self, tree: &Tree) {
        match &tree.value {
            Value::Table(table) => {
                if self.written(tree.span).starts_with('{') {
                    self.inline_table(tree);
                }
                for entry in table.values() {
                    self.visit(&entry.tree);
                }
            }
            Value::Array(items) => {
                for item in items {
                    self.visit(item);
                }
            }
            Value::Text(_) => self.escapes(tree.span),
            Value::Integer(_) | Value::Float(_) | Value::Bool(_) | Value::Date(_) => {}
        }
    }

    fn written(&self, span: Span) -> &str {
        let range = span.start.saturating_sub(self.offset)..span.end.saturating_sub(self.offset);
        self.text.get(range).unwrap_or("")
    }

    /// An inline table is one line (but for what its values span) and has no comma at its end.
    fn inline_table(&mut self, tree: &Tree) {
        let mut frame = self.written(tree.span).as_bytes().to_vec();
        blank_values(tree, tree.span.start, &mut frame);
        let frame = String::from_utf8_lossy(&frame);
        let problem = if frame.contains('\n') {
            "an inline table must stand on one line"
        } else if frame.trim_end_matches('}').trim_end().ends_with(',') {
            "an inline table has no comma after its last entry"
        } else {
            return;
        };
        let help = "TOML 1.0, which other programs read, is stricter here than TOML 1.1; a [section] header is an alternative";
        self.flaws.push(Flaw::new(tree.span, problem).help(help));
    }

    fn escapes(&mut self, span: Span) {
        let written = self.written(span);
        if !written.starts_with('"') {
            return;
        }
        let mut characters = written.chars();
        while let Some(character) = characters.next() {
            if character == '\\' && matches!(characters.next(), Some('e' | 'x')) {
                let help = "write the character as \\uXXXX";
                self.flaws.push(
                    Flaw::new(span, "the escapes \\e and \\x are not in TOML 1.0").help(help),
                );
                return;
            }
        }
    }
}

/// Overwrites the values inside an inline table that begins at `start`; tables that only a dotted
/// key makes have no text of their own, so their values are looked for instead.
fn blank_values(tree: &Tree, start: usize, frame: &mut [u8]) {
    let Value::Table(table) = &tree.value else {
        return;
    };
    for entry in table.values() {
        let span = entry.tree.span;
        let begin = span.start.saturating_sub(start);
        let is_dotted =
            matches!(entry.tree.value, Value::Table(_)) && frame.get(begin) != Some(&b'{');
        if is_dotted {
            blank_values(&entry.tree, start, frame);
        } else if let Some(bytes) = frame.get_mut(begin..span.end.saturating_sub(start)) {
            bytes.fill(b'v');
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::syntax::{parse_document, parse_value};

    #[test]
    fn what_only_toml_1_1_allows_is_refused() {
        for text in [
            "a = { b = 1,\n c = 2 }",
            "a = { b = 1, }",
            "a = {\n b = 1 }",
            "a = { b = { c = 1, } }",
            "a = [{ b.c = 1, }]",
            "a = \"\\e\"",
            "a = \"x\\x41\"",
        ] {
            assert!(parse_document(text, 0).is_err(), "{text}");
        }
        assert!(parse_value("{ a = 1, }", 1, 20).is_err());
    }

    #[test]
    fn what_toml_1_0_allows_is_accepted() {
        for text in [
            "a = { b = 1, c = 2 }",
            "a = {}",
            "a = { b = [\n1,\n2,\n] }",
            "a = { b.c = [\n1,\n], d = \"\"\"x,\n\"\"\" }",
            "a = [\n{ b = 1 },\n{ b = \"}\" },\n]",
            "a = '\\e'",
            "a = \"\\\\e\"",
            "[a]\nb = 1\n[[c]]\nd = 1",
        ] {
            assert!(parse_document(text, 0).is_ok(), "{text}");
        }
        assert!(parse_value("{ a = 1 }", 1, 20).is_ok());
    }
}
