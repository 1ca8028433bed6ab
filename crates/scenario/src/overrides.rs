//! Overrides from the command line: `section.NAME.key=value`.

use crate::source::{Sources, Span, sanitised};
use crate::suggest::nearest;
use crate::syntax::{Flaw, parse_value};
use crate::tree::{Entry, Tree, Value};

/// Applies overrides in order. Each is a source of its own, so that a caret can point into it.
pub(crate) fn apply(tree: &mut Tree, sources: &mut Sources, overrides: &[String]) -> Vec<Flaw> {
    let mut flaws = Vec::new();
    for text in overrides {
        let source = sources.push("--set", text);
        flaws.extend(apply_one(tree, source, text));
    }
    flaws
}

fn apply_one(tree: &mut Tree, source: usize, text: &str) -> Vec<Flaw> {
    let Some((path, value)) = text.split_once('=') else {
        return vec![flaw(
            Span::new(source, 0..text.len()),
            "an override needs a path, `=` and a value",
            "write for example --set run.duration=10s",
        )];
    };
    let leading = path.len() - path.trim_start().len();
    let start = path.len() + 1 + (value.len() - value.trim_start().len());
    let value = match parse_value(value.trim(), source, start) {
        Ok(value) => value,
        Err(Some(flaws)) => return flaws,
        Err(None) => Tree {
            span: Span::new(source, start..start + value.trim().len()),
            value: Value::Text(value.trim().to_owned()),
        },
    };
    let at = Cursor {
        source,
        offset: leading,
        rest: path.trim(),
    };
    set(tree, at, value).err().into_iter().collect()
}

/// What is left of a path, and where it stands in its source.
#[derive(Clone, Copy)]
struct Cursor<'p> {
    source: usize,
    offset: usize,
    rest: &'p str,
}

impl<'p> Cursor<'p> {
    fn span(self, length: usize) -> Span {
        Span::new(self.source, self.offset..self.offset + length)
    }

    /// Returns the next key and what comes after it.
    fn split(self) -> (&'p str, Self) {
        let length = self.rest.find(['.', '[']).unwrap_or(self.rest.len());
        (&self.rest[..length], self.after(length))
    }

    /// Returns what comes after `length` bytes and the point behind them.
    fn after(self, length: usize) -> Self {
        let rest = &self.rest[length..];
        let point = usize::from(rest.starts_with('.'));
        Self {
            source: self.source,
            offset: self.offset + length + point,
            rest: &rest[point..],
        }
    }
}

fn flaw(span: Span, message: impl Into<String>, help: impl Into<String>) -> Flaw {
    Flaw {
        span,
        message: message.into(),
        label: String::new(),
        help: Some(help.into()),
    }
}

fn set(mut tree: &mut Tree, mut at: Cursor<'_>, value: Tree) -> Result<(), Flaw> {
    loop {
        let kind = tree.kind();
        match &mut tree.value {
            Value::Table(table) => {
                let (key, rest) = at.split();
                let span = at.span(key.len());
                if key.is_empty() {
                    return Err(flaw(
                        at.span(at.rest.len()),
                        "the path has an empty part",
                        "write for example --set workload.clients.rate=500/s",
                    ));
                }
                if rest.rest.is_empty() {
                    let entry = Entry {
                        key: span,
                        tree: value,
                    };
                    table.insert(key.to_owned(), entry);
                    return Ok(());
                }
                if rest.rest.starts_with('[') && !table.contains_key(key) {
                    return Err(flaw(
                        span,
                        format!("there is no [[{}]]", sanitised(key)),
                        "add one to the file; --set changes what is there",
                    ));
                }
                let entry = table.entry(key.to_owned()).or_insert_with(|| Entry {
                    key: span,
                    tree: Tree {
                        span,
                        ..Tree::empty_table()
                    },
                });
                (tree, at) = (&mut entry.tree, rest);
            }
            Value::Array(items) => {
                let (index, length) = find(items, at)?;
                let rest = at.after(length);
                if rest.rest.is_empty() {
                    return Err(flaw(
                        at.span(length),
                        "this names an entry, not one of its keys",
                        format!(
                            "add a key, as in --set section.{}.key=value",
                            sanitised(at.rest)
                        ),
                    ));
                }
                (tree, at) = (&mut items[index], rest);
            }
            _ => {
                return Err(flaw(
                    at.span(at.rest.len()),
                    format!("there is nothing below: the value is {kind}"),
                    "shorten the path",
                ));
            }
        }
    }
}

/// Finds the list entry that a path goes on with: `NAME` or `[position]`. Names may contain
/// points, so the longest that fits wins.
fn find(items: &[Tree], at: Cursor<'_>) -> Result<(usize, usize), Flaw> {
    if let Some((digits, _)) = at
        .rest
        .strip_prefix('[')
        .and_then(|rest| rest.split_once(']'))
    {
        return match digits.parse() {
            Ok(index) if index < items.len() => Ok((index, digits.len() + 2)),
            _ => Err(flaw(
                at.span(digits.len() + 2),
                format!("there is no entry {}", sanitised(digits)),
                match items.len() {
                    1 => "the list has 1 entry, number 0".to_owned(),
                    count => format!("the list has {count} entries, counted from 0"),
                },
            )),
        };
    }
    let fits = |name: &str| {
        at.rest
            .strip_prefix(name)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    let names = || items.iter().filter_map(|item| item.text("name"));
    let found = items
        .iter()
        .enumerate()
        .filter_map(|(index, item)| {
            Some((item.text("name").filter(|name| fits(name))?.len(), index))
        })
        .max();
    if let Some((length, index)) = found {
        return Ok((index, length));
    }
    let (given, _) = at.split();
    let help = match nearest(given, names()) {
        Some(name) => format!("did you mean `{}`?", sanitised(name)),
        None if names().next().is_none() => {
            "these entries have no names; write the position, as in event[0].at=10s".to_owned()
        }
        None => {
            let listed: Vec<String> = names()
                .take(8)
                .map(|name| format!("`{}`", sanitised(name)))
                .collect();
            match listed.as_slice() {
                [only] => format!("the only entry is {only}"),
                listed => format!("the entries are {}", listed.join(", ")),
            }
        }
    };
    Err(flaw(
        at.span(given.len()),
        format!("no entry is named `{}`", sanitised(given)),
        help,
    ))
}

#[cfg(test)]
mod tests {
    use super::apply;
    use crate::source::Sources;
    use crate::syntax::parse_document;
    use crate::tree::{Tree, Value};

    const FILE: &str = "[run]\nduration = \"1s\"\n[[workload]]\nname = \"a\"\n[[workload]]\nname = \"a.b\"\n[[event]]\nat = \"1s\"\n";

    fn applied(text: &str) -> Result<Tree, String> {
        let mut sources = Sources::default();
        sources.push("a.toml", FILE);
        let mut tree = parse_document(FILE, 0).unwrap();
        match apply(&mut tree, &mut sources, &[text.to_owned()]).pop() {
            None => Ok(tree),
            Some(flaw) => Err(format!("{} at {}", flaw.message, sources.text(flaw.span))),
        }
    }

    #[test]
    fn keys_are_set_by_section_by_name_and_by_position() {
        for (text, path) in [
            ("run.duration=10s", "run.duration"),
            ("output.interval=2s", "output.interval"),
            ("workload.a.rate=500/s", "workload[0].rate"),
            ("workload.a.b.rate=500/s", "workload[1].rate"),
            ("workload[1].rate=500/s", "workload[1].rate"),
            (" event[0].at = '5s' ", "event[0].at"),
        ] {
            let tree = applied(text).unwrap();
            assert!(
                matches!(tree.at(path).unwrap().value, Value::Text(_)),
                "{text}"
            );
            assert_eq!(tree.at(path).unwrap().span.source, 1);
        }
    }

    #[test]
    fn values_are_toml_if_they_parse_and_text_otherwise() {
        let value = |text: &str| applied(text).unwrap().at("run.seed").unwrap().value.clone();
        assert!(matches!(value("run.seed=7"), Value::Integer(7)));
        assert!(matches!(value("run.seed=true"), Value::Bool(true)));
        assert!(matches!(value("run.seed=[1]"), Value::Array(_)));
        assert!(matches!(value("run.seed=10.0.0.1"), Value::Text(text) if text == "10.0.0.1"));
        assert!(matches!(value("run.seed="), Value::Text(text) if text.is_empty()));
        assert!(matches!(value("run.seed=a=b"), Value::Text(text) if text == "a=b"));
    }

    #[test]
    fn paths_that_lead_nowhere_are_refused() {
        for (text, expected) in [
            (
                "run.duration",
                "an override needs a path, `=` and a value at run.duration",
            ),
            ("workload.c.rate=1/s", "no entry is named `c` at c"),
            ("workload[9].rate=1/s", "there is no entry 9 at [9]"),
            (
                "workload.a=1",
                "this names an entry, not one of its keys at a",
            ),
            (
                "run.duration.x=1",
                "there is nothing below: the value is a text at x",
            ),
            ("=1", "the path has an empty part at "),
            ("expect[0].equals=1", "there is no [[expect]] at expect"),
        ] {
            assert_eq!(applied(text).unwrap_err(), expected);
        }
    }
}
