//! The texts that values come from (the file, and each override), and places in them.

use core::ops::Range;

/// A place in one of the [`Sources`]: bytes `start..end` of source number `source`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Span {
    pub(crate) source: usize,
    pub(crate) start: usize,
    pub(crate) end: usize,
}

impl Span {
    pub(crate) fn new(source: usize, range: Range<usize>) -> Self {
        Self {
            source,
            start: range.start,
            end: range.end,
        }
    }
}

/// One text with the name it is known by.
#[derive(Clone)]
struct Source {
    name: String,
    text: String,
    /// Where each line begins, in bytes.
    lines: Vec<usize>,
}

/// All texts of one scenario: the file first, then the overrides in order.
#[derive(Clone, Default)]
pub(crate) struct Sources(Vec<Source>);

/// One line of a source, ready to print, with the place in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Excerpt {
    /// The line's number, from 1.
    pub(crate) line: usize,
    /// The place's first column in characters, from 1.
    pub(crate) column: usize,
    /// The line without control characters, cut to a readable length.
    pub(crate) text: String,
    /// The place, as bytes of `text`.
    pub(crate) range: Range<usize>,
}

/// Characters of a line that are shown before and after the start of a place.
const BEFORE: usize = 60;
const AFTER: usize = 80;

impl core::fmt::Debug for Sources {
    /// Writes the names only: the texts are long, and every diagnostic holds them.
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_list()
            .entries(self.0.iter().map(|source| &source.name))
            .finish()
    }
}

impl Sources {
    pub(crate) fn push(&mut self, name: &str, text: &str) -> usize {
        let after_breaks = text.match_indices('\n').map(|(at, _)| at + 1);
        self.0.push(Source {
            name: name.to_owned(),
            text: text.to_owned(),
            lines: core::iter::once(0).chain(after_breaks).collect(),
        });
        self.0.len() - 1
    }

    /// Returns the name a source is known by.
    pub(crate) fn name(&self, span: Span) -> &str {
        self.0.get(span.source).map_or("", |source| &source.name)
    }

    /// Returns the text of a place; empty if there is no such place.
    pub(crate) fn text(&self, span: Span) -> &str {
        self.0
            .get(span.source)
            .and_then(|source| source.text.get(span.start..span.end))
            .unwrap_or("")
    }

    /// Cuts out the line in which a place begins; a place of several lines ends with the first.
    pub(crate) fn excerpt(&self, span: Span) -> Excerpt {
        let (text, lines) = match self.0.get(span.source) {
            Some(source) => (source.text.as_str(), source.lines.as_slice()),
            None => ("", &[0][..]),
        };
        let start = floor_boundary(text, span.start);
        let end = floor_boundary(text, span.end).max(start);
        let line = lines.partition_point(|begin| *begin <= start).max(1);
        let line_start = lines[line - 1];
        let line_end = lines.get(line).map_or(text.len(), |next| next - 1);
        let shown = text[line_start..line_end].trim_end_matches('\r');
        let within = |at: usize| (at.min(line_end) - line_start).min(shown.len());
        let (shown, range) = window(shown, within(start), within(end));
        Excerpt {
            line,
            column: text[line_start..start].chars().count() + 1,
            text: shown,
            range,
        }
    }
}

fn floor_boundary(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// Escapes a line and cuts it to the surroundings of `from..to`.
fn window(line: &str, from: usize, to: usize) -> (String, Range<usize>) {
    let before = line[..from].chars().count();
    let mut shown = String::new();
    let mut range = 0..0;
    if before > BEFORE {
        shown.push('…');
    }
    let mut started = false;
    for (index, (at, character)) in line.char_indices().enumerate() {
        if index + BEFORE < before {
            continue;
        }
        if at == from {
            range = shown.len()..shown.len();
            started = true;
        }
        if index > before + AFTER {
            shown.push('…');
            break;
        }
        escape_into(&mut shown, character);
        if started && at < to {
            range.end = shown.len();
        }
    }
    if !started {
        range = shown.len()..shown.len();
    }
    (shown, range)
}

/// Tells whether a character could act on a terminal: control characters, line separators and
/// the characters that turn the writing direction.
pub(crate) fn is_active(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{61c}'
        )
}

/// Appends a character, or its escape if it could act on a terminal.
fn escape_into(text: &mut String, character: char) {
    match character {
        '\t' => text.push_str("    "),
        _ if is_active(character) => text.extend(character.escape_unicode()),
        _ => text.push(character),
    }
}

/// Makes a text fit to be shown: what could act on a terminal is escaped (C0, C1, line separators,
/// direction marks), and it is cut to 80 characters.
///
/// For names, titles and file names that come from outside.
#[must_use]
pub fn sanitised(text: &str) -> String {
    let mut shown = String::new();
    for (index, character) in text.chars().enumerate() {
        if index == 80 {
            shown.push('…');
            break;
        }
        escape_into(&mut shown, character);
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::{Sources, Span, sanitised};

    fn excerpt(text: &str, start: usize, end: usize) -> super::Excerpt {
        let mut sources = Sources::default();
        let source = sources.push("a.toml", text);
        sources.excerpt(Span::new(source, start..end))
    }

    #[test]
    fn an_excerpt_is_the_line_of_the_place() {
        let got = excerpt("a = 1\r\nbé = 2\r\n", 7, 10);
        assert_eq!((got.line, got.column, got.text.as_str()), (2, 1, "bé = 2"));
        assert_eq!(&got.text[got.range], "bé");
    }

    #[test]
    fn a_long_line_is_cut_around_the_place() {
        let text = format!("{}X{}", "a".repeat(1_000), "b".repeat(1_000));
        let got = excerpt(&text, 1_000, 1_001);
        assert_eq!((got.column, &got.text[got.range.clone()]), (1_001, "X"));
        assert!(got.text.chars().count() < 150 && got.text.starts_with('…'));
    }

    #[test]
    fn a_place_outside_the_text_is_its_end() {
        let got = excerpt("a\n", 50, 70);
        assert_eq!((got.line, got.column, got.range), (2, 1, 0..0));
    }

    #[test]
    fn what_could_act_on_a_terminal_is_escaped() {
        assert_eq!(
            sanitised("a\u{1b}[31m\u{202e}b\u{85}"),
            "a\\u{1b}[31m\\u{202e}b\\u{85}"
        );
        assert_eq!(sanitised(&"x".repeat(100)).chars().count(), 81);
    }
}
