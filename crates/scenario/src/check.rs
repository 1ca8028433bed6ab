//! Checks a [`Tree`] against the schema: every problem, each with its place.

use crate::copies;
use crate::diagnostic::{Diagnostic, MAX_DIAGNOSTICS, Severity};
use crate::rows::FileUse;
use crate::schema::{Node, Shape};
use crate::sense;
use crate::source::{Sources, Span, sanitised};
use crate::suggest::nearest;
use crate::tree::{Entry, Tree, Value};
use crate::units::{Nonsense, UnitError, check_format, describe_format};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Keys of Azure that are known but not simulated yet: refused, never ignored.
const NOT_YET: [&str; 19] = [
    "alias",
    "application_security_group",
    "auto_approval",
    "availability_zone",
    "disable_outbound_snat",
    "dns",
    "dns_zone_group",
    "fqdns",
    "gateway",
    "inbound_nat_rule",
    "mtu",
    "nat_gateway",
    "network_security_group",
    "outbound_rule",
    "private_endpoint_network_policies",
    "route_table",
    "tcp_tracking",
    "visibility",
    "zones",
];

/// Checks a whole scenario; returns the problems and the files that it names.
pub(crate) fn check(tree: &Tree, sources: &Arc<Sources>) -> (Vec<Diagnostic>, Vec<FileUse>) {
    let mut checker = Checker {
        shape: Shape::get(),
        sources,
        found: Vec::new(),
        files: Vec::new(),
        copies: None,
    };
    let place = Place {
        path: String::new(),
        title: String::new(),
    };
    checker.value(checker.shape.root(), tree, &place);
    (checker.found, checker.files)
}

/// Where a value stands: its path, and how to call the table around it in a message.
struct Place {
    path: String,
    title: String,
}

struct Checker<'t> {
    shape: &'static Shape,
    sources: &'t Arc<Sources>,
    found: Vec<Diagnostic>,
    files: Vec<FileUse>,
    /// How many copies the section that is looked at stands for.
    copies: Option<u64>,
}

impl Checker<'_> {
    fn report(&mut self, span: Span, path: &str, message: String) -> &mut Diagnostic {
        let mut diagnostic = Diagnostic::new(Severity::Error, self.sources, span, message);
        path.clone_into(&mut diagnostic.path);
        self.found.push(diagnostic);
        self.found
            .last_mut()
            .expect("broken invariant: just pushed")
    }

    /// More than are shown have been found: looking on would only cost time.
    fn enough(&self) -> bool {
        self.found.len() > 4 * MAX_DIAGNOSTICS
    }

    fn value(&mut self, node: &'static Node, tree: &Tree, place: &Place) {
        let outer = self.shape.resolve(node);
        // Of several forms the one that this value has.
        let node = match &tree.value {
            Value::Table(_) => self.shape.form(outer, "object").unwrap_or(outer),
            Value::Text(_) => self.shape.form(outer, "string").unwrap_or(outer),
            _ => outer,
        };
        match &tree.value {
            Value::Table(table) if node.accepts("object") => {
                let found = self.found.len();
                self.table(node, table, tree, place);
                if found == self.found.len() {
                    self.sense(node, tree, place);
                }
            }
            Value::Array(items) if node.accepts("array") => self.array(node, items, tree, place),
            Value::Text(text) if !node.words().is_empty() => {
                let table = self.shape.form(outer, "object");
                self.word(node, table, text, tree, place);
            }
            Value::Text(text) if node.accepts("string") => self.text(node, text, tree, place),
            Value::Integer(number) if node.accepts("integer") => {
                self.integer(node, *number, tree, place);
            }
            #[expect(clippy::cast_precision_loss, reason = "only compared with a range")]
            Value::Integer(number) if node.accepts("number") => {
                self.range(node, *number as f64, tree, place);
            }
            Value::Float(number) if node.accepts("number") => {
                if number.is_finite() {
                    self.range(node, *number, tree, place);
                } else {
                    let message = format!("`{}` must be a finite number", key_of(&place.path));
                    self.report(tree.span, &place.path, message).label = "not finite".to_owned();
                }
            }
            Value::Bool(_) if node.accepts("boolean") => {}
            _ => self.wrong_kind(node, tree, place),
        }
    }

    fn wrong_kind(&mut self, node: &Node, tree: &Tree, place: &Place) {
        let wanted = wanted(node);
        let message = match place.path.as_str() {
            "" => format!("a scenario is a table, not {}", tree.kind()),
            path => format!("`{}` must be {wanted}, not {}", key_of(path), tree.kind()),
        };
        let help = repair(node, tree, &place.path, self.sources.text(tree.span));
        let diagnostic = self.report(tree.span, &place.path, message);
        diagnostic.label = tree.kind().to_owned();
        diagnostic.help.extend(help);
    }

    fn table(
        &mut self,
        node: &'static Node,
        table: &BTreeMap<String, Entry>,
        tree: &Tree,
        place: &Place,
    ) {
        let mut meant = Vec::new();
        for (key, entry) in table {
            if self.enough() {
                return;
            }
            let path = match place.path.as_str() {
                "" => key.clone(),
                parent => format!("{parent}.{key}"),
            };
            match node.properties.find(key) {
                Some(property) => {
                    let title = format!("[{}]", without_positions(&path));
                    self.value(property, &entry.tree, &Place { path, title });
                }
                None => meant.extend(self.unknown_key(node, key, entry, &path, place)),
            }
        }
        self.number_of_keys(node, table.len(), tree, place);
        for key in &node.required {
            // A misspelt key has been reported; that the right one is missing is no second problem.
            if !table.contains_key(key) && !meant.contains(&key.as_str()) {
                self.missing_key(node, key, tree, place);
            }
        }
    }

    /// Checks that a table has as many keys as it may have, where that is limited.
    fn number_of_keys(&mut self, node: &Node, count: usize, tree: &Tree, place: &Place) {
        let most = node.max_properties.unwrap_or(usize::MAX);
        if (node.min_properties..=most).contains(&count) {
            return;
        }
        let keys: Vec<&str> = node.properties.keys().collect();
        let message = format!(
            "`{}` must be a table with one key, not {count}",
            key_of(&place.path)
        );
        let diagnostic = self.report(tree.span, &place.path, message);
        diagnostic.label = counted(count, "key");
        diagnostic
            .help
            .push(format!("write one of {}", keys.join(", ")));
    }

    /// Checks what the schema cannot say of a table, and notes the file that it names.
    fn sense(&mut self, node: &Node, tree: &Tree, place: &Place) {
        let format = node.format.as_deref().unwrap_or("");
        match sense::nonsense(format, tree) {
            Ok(None) => {}
            Ok(Some(Nonsense { key, message, help })) => {
                let path = format!("{}.{key}", place.path);
                let message = format!("`{}`: {message}", key_of(&place.path));
                let span = tree.span_at(key);
                self.report(span, &path, message).help.push(help);
            }
            Err(mismatch) => {
                self.report(tree.span, &place.path, mismatch.0);
            }
        }
        let named = tree.text("file").filter(|name| !copies::is_numbered(name));
        let named = named.and_then(|name| name.parse().ok());
        if let (Some(kind), Some(name)) = (sense::file_kind(format), named) {
            self.files.push(FileUse {
                kind,
                name,
                span: tree.span_at("file"),
                path: format!("{}.file", place.path),
            });
        }
    }

    /// Reports a key that is not known; returns the one that was probably meant.
    fn unknown_key<'n>(
        &mut self,
        node: &'n Node,
        key: &str,
        entry: &Entry,
        path: &str,
        place: &Place,
    ) -> Option<&'n str> {
        let shown = sanitised(key);
        let near = nearest(key, node.properties.keys());
        let plain = key.to_ascii_lowercase().replace('-', "_");
        let later = NOT_YET.contains(&plain.as_str());
        let (noun, known_as, context) = match place.path.as_str() {
            "" => ("section", "the sections are", String::new()),
            _ => ("key", "the keys here are", format!(" in {}", place.title)),
        };
        let (message, label, help) = if later {
            (
                format!("`{shown}`{context} is not supported yet"),
                "not supported yet".to_owned(),
                "remove it: plsim refuses what it does not simulate, rather than ignore it"
                    .to_owned(),
            )
        } else {
            let known: Vec<&str> = node.properties.keys().collect();
            (
                format!("unknown {noun} `{shown}`{context}"),
                format!("unknown {noun}"),
                match near {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("{known_as} {}", known.join(", ")),
                },
            )
        };
        let diagnostic = self.report(entry.key, &sanitised(path), message);
        diagnostic.label = label;
        diagnostic.help.push(help);
        near
    }

    fn missing_key(&mut self, node: &'static Node, key: &str, tree: &Tree, place: &Place) {
        let property = node.properties.find(key);
        let inner = property.map(|property| self.shape.resolve(property));
        let what = inner.map_or_else(String::new, wanted);
        let why = property
            .and_then(|property| property.description.clone())
            .unwrap_or_default();
        let (message, label, help) = match place.path.as_str() {
            "" => (
                format!("the section [{key}] is missing"),
                "the scenario begins here".to_owned(),
                format!("add [{key}]: {why}"),
            ),
            _ => (
                format!("`{key}` is missing in {}", place.title),
                format!("needs `{key}`"),
                format!("add `{key} = …`, {what}: {why}"),
            ),
        };
        let diagnostic = self.report(tree.span, &place.path, message);
        diagnostic.label = label;
        diagnostic.help.push(help);
    }

    fn array(&mut self, node: &'static Node, items: &[Tree], tree: &Tree, place: &Place) {
        let least = node.min_items.unwrap_or(0);
        let most = node.max_items.unwrap_or(usize::MAX);
        let count = items.iter().map(copies::count).sum::<usize>();
        if count < least || count > most {
            let range = match (least, most) {
                _ if least == most => format!("exactly {least}"),
                (_, usize::MAX) => format!("at least {least}"),
                (0, _) => format!("at most {most}"),
                _ => format!("{least} to {most}"),
            };
            let message = format!(
                "`{}` must have {range} {}, not {}",
                key_of(&place.path),
                if most == 1 { "entry" } else { "entries" },
                count
            );
            self.report(tree.span, &place.path, message).label = format!("{count} given");
        }
        let mut position = 0;
        for (index, item) in items.iter().enumerate().take(most) {
            let Some(inner) = node.item(index) else {
                return;
            };
            if self.enough() {
                return;
            }
            let path = format!("{}[{position}]", place.path);
            position += copies::count(item);
            let section = without_positions(&place.path);
            let title = match item.text("name") {
                Some(name) => format!("[[{section}]] `{}`", sanitised(name)),
                None => format!("[[{section}]]"),
            };
            let around = self.copies;
            self.copies = copies::written(item).or(around);
            self.copied(inner, item, &path, &title);
            self.value(inner, item, &Place { path, title });
            self.copies = around;
        }
    }

    /// Checks that the copies of a section can be told apart.
    fn copied(&mut self, node: &Node, section: &Tree, path: &str, title: &str) {
        let node = self.shape.resolve(node);
        let has_copies = node.properties.find(copies::KEY).is_some();
        let (Some(count @ 2..), Some(name)) = (copies::written(section), section.text("name"))
        else {
            return;
        };
        // The figures of a workload's copies may be added up under one name.
        let may_share = node.properties.find("client_vm").is_some();
        if has_copies && !may_share && !copies::is_numbered(name) {
            let message = format!("{count} copies of {title} have one name");
            let path = format!("{path}.name");
            let diagnostic = self.report(section.span_at("name"), &path, message);
            diagnostic.label = "the same for all".to_owned();
            diagnostic.help.push(format!(
                "write the number of the copy into it, as in name = \"{}-{{n}}\"",
                sanitised(name)
            ));
        }
    }

    /// Checks a text of each copy of a section; tells whether it has looked at any.
    fn text_of_copies(&mut self, format: &str, text: &str, tree: &Tree, place: &Place) -> bool {
        let Some(count) = self.copies.filter(|_| copies::is_numbered(text)) else {
            return false;
        };
        for number in 0..count {
            let (shown, error) = match copies::text(text, number) {
                Ok(own) => match check_format(format, &own) {
                    Ok(()) => continue,
                    Err(error) => (own, error),
                },
                Err(placeholder) => {
                    let message = format!("`{}` is no number of a copy", sanitised(placeholder));
                    let help = "write {n}, or {n/8} and {n%8} for a quotient and its remainder";
                    (text.to_owned(), UnitError::with_help(message, help))
                }
            };
            let key = key_of(&place.path);
            let message = format!(
                "`{key}` cannot be \"{}\": {}",
                sanitised(&shown),
                error.message
            );
            let diagnostic = self.report(tree.span, &place.path, message);
            diagnostic.label = format!("in copy {number}");
            diagnostic.help.extend(error.help);
            break;
        }
        true
    }

    /// Checks a word; `table` is what may stand in its place.
    fn word(&mut self, node: &Node, table: Option<&Node>, text: &str, tree: &Tree, place: &Place) {
        let words = node.words();
        if words.contains(&text) {
            return;
        }
        let key = key_of(&place.path);
        let message = format!("`{key}` cannot be \"{}\"", sanitised(text));
        let meanings: Vec<String> = node
            .meanings()
            .map(|(word, meaning)| format!("\n  \"{word}\": {meaning}"))
            .collect();
        let mut help = vec![format!("it is one of{}", meanings.concat())];
        let other =
            ["icmp", "icmpv6", "sctp", "any", "all"].contains(&text.to_ascii_lowercase().as_str());
        if other && words.contains(&"tcp") {
            help.insert(
                0,
                "Private Link carries TCP and UDP, nothing else (PLS-22)".to_owned(),
            );
        }
        if let Some(table) = table {
            let keys: Vec<&str> = table.properties.keys().collect();
            help.push(format!("or a table with the key {}", keys.join(" or ")));
        }
        let near = nearest(text, words.iter().copied());
        let diagnostic = self.report(tree.span, &place.path, message);
        diagnostic.label = near.map_or_else(
            || "not one of its values".to_owned(),
            |word| format!("did you mean \"{word}\"?"),
        );
        diagnostic.help = help;
    }

    fn text(&mut self, node: &Node, text: &str, tree: &Tree, place: &Place) {
        let format = node.format.as_deref().unwrap_or("line");
        if self.text_of_copies(format, text, tree, place) {
            return;
        }
        let Err(error) = check_format(format, text) else {
            return;
        };
        let message = format!(
            "`{}` cannot be \"{}\": {}",
            key_of(&place.path),
            sanitised(text),
            error.message
        );
        let label = node.format.as_deref().and_then(describe_format);
        let diagnostic = self.report(tree.span, &place.path, message);
        diagnostic.label = label.map_or_else(String::new, |what| format!("expected {what}"));
        diagnostic.help.extend(error.help);
        if copies::is_numbered(text) {
            let help = "{n} is the number of a copy: say how many there are, as in copies = 100";
            diagnostic.help.push(help.to_owned());
        }
    }

    fn integer(&mut self, node: &Node, number: i128, tree: &Tree, place: &Place) {
        let (least, most) = match node.format.as_deref() {
            Some("uint64") => (0, i128::from(u64::MAX)),
            _ => (i128::from(i64::MIN), i128::from(i64::MAX)),
        };
        #[expect(
            clippy::cast_possible_truncation,
            reason = "bounds of the schema are whole"
        )]
        let least = node
            .minimum
            .map_or(least, |bound| (bound as i128).max(least));
        #[expect(
            clippy::cast_possible_truncation,
            reason = "bounds of the schema are whole"
        )]
        let most = node.maximum.map_or(most, |bound| (bound as i128).min(most));
        if number < least || number > most {
            let key = key_of(&place.path);
            let message = format!("`{key}` must lie between {least} and {most}, not {number}");
            self.report(tree.span, &place.path, message).label = "out of range".to_owned();
        }
    }

    fn range(&mut self, node: &Node, number: f64, tree: &Tree, place: &Place) {
        let least = node.minimum.unwrap_or(f64::NEG_INFINITY);
        let most = node.maximum.unwrap_or(f64::INFINITY);
        if number < least || number > most {
            let key = key_of(&place.path);
            let message = format!("`{key}` must lie between {least} and {most}, not {number}");
            self.report(tree.span, &place.path, message).label = "out of range".to_owned();
        }
    }
}

fn counted(count: usize, noun: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{plural}")
}

/// Returns the last key of a path, without positions.
fn key_of(path: &str) -> &str {
    let key = path.rsplit('.').next().unwrap_or(path);
    key.split('[').next().unwrap_or(key)
}

/// Turns `load_balancer[0].rule[1]` into `load_balancer.rule`.
fn without_positions(path: &str) -> String {
    let parts: Vec<&str> = path.split('.').map(key_of).collect();
    parts.join(".")
}

/// Says what may stand somewhere.
pub(crate) fn wanted(node: &Node) -> String {
    let words = node.words();
    if !words.is_empty() {
        return format!("one of \"{}\"", words.join("\", \""));
    }
    if let Some(words) = node
        .forms()
        .map(Node::words)
        .find(|words| !words.is_empty())
    {
        return format!("one of \"{}\", or a table", words.join("\", \""));
    }
    if let Some(what) = node.format.as_deref().and_then(describe_format) {
        return what.to_owned();
    }
    let kinds: Vec<&str> = [
        ("object", "a table"),
        ("array", "a list"),
        ("integer", "an integer"),
        ("number", "a number"),
        ("boolean", "true or false"),
        ("string", "a text"),
    ]
    .into_iter()
    .filter(|(kind, _)| node.accepts(kind))
    .map(|(_, name)| name)
    .collect();
    kinds.join(" or ")
}

/// Says how to repair a value of the wrong kind, where that can be guessed.
fn repair(node: &Node, tree: &Tree, path: &str, written: &str) -> Option<String> {
    let format = node.format.as_deref().unwrap_or("");
    let written = sanitised(written);
    match (&tree.value, format) {
        (Value::Integer(_), "duration-text") if path.contains(".rule[") => Some(format!(
            "a bare number has no unit: write \"{written}min\" for minutes, in which Azure counts, or \
             \"{written}s\" for seconds"
        )),
        (
            Value::Integer(_) | Value::Float(_),
            "duration-text" | "duration-law" | "keepalive" | "user-timeout",
        ) => Some(format!(
            "a bare number has no unit: write \"{written}s\" for seconds"
        )),
        (Value::Integer(_) | Value::Float(_), "delayed-ack") => Some(format!(
            "a bare number has no unit: write \"{written}ms\" for milliseconds"
        )),
        (Value::Integer(_) | Value::Float(_), "rate" | "rate-curve") => Some(format!(
            "a bare number has no unit: write \"{written}/s\" for {written} in a second"
        )),
        (Value::Integer(_), "byte-size" | "size-law") => Some(format!(
            "a bare number has no unit: write \"{written}B\" for bytes"
        )),
        (Value::Table(_), _) if node.accepts("array") => Some(format!(
            "each entry begins with a header in double brackets: [[{}]]",
            without_positions(path)
        )),
        (Value::Array(_), "duration-law" | "size-law") => Some(format!(
            "for everything between two values write {{ uniform = {written} }}"
        )),
        (Value::Array(_), _) if node.accepts("object") => Some(format!(
            "there is one, so its header has single brackets: [{}]",
            without_positions(path)
        )),
        (Value::Text(text), _) if node.accepts("boolean") => match text.as_str() {
            "true" | "yes" | "on" => Some("write true, without quotes".to_owned()),
            "false" | "no" | "off" => Some("write false, without quotes".to_owned()),
            _ => None,
        },
        (Value::Text(text), _) if node.accepts("integer") && text.parse::<u64>().is_ok() => {
            Some(format!("write {}, without quotes", sanitised(text)))
        }
        (Value::Text(text), _) if node.accepts("array") => {
            Some(format!("write a list: [\"{}\"]", sanitised(text)))
        }
        _ => None,
    }
}
