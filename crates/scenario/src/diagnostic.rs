use crate::source::{Excerpt, Sources, Span};
use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};
use core::fmt;
use std::collections::BTreeMap;
use std::sync::Arc;

/// How bad a problem is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The scenario cannot run.
    Error,
    /// The scenario can run; the result may surprise.
    Warning,
}

/// One problem of a scenario: what, where, why, and what to do.
#[derive(Debug, Clone)]
pub struct Diagnostic {
    pub(crate) severity: Severity,
    pub(crate) code: Option<&'static str>,
    pub(crate) fact: Option<&'static str>,
    pub(crate) path: String,
    pub(crate) message: String,
    pub(crate) label: String,
    pub(crate) help: Vec<String>,
    pub(crate) place: Span,
    pub(crate) related: Vec<(Span, String)>,
    /// The paths of more problems that differ in nothing but their places.
    pub(crate) alike: Vec<String>,
    pub(crate) sources: Arc<Sources>,
}

/// The problems of a scenario that cannot run: at least one error, at most 50 problems, in the
/// order of the file.
#[derive(Debug, Clone)]
pub struct Diagnostics {
    pub(crate) list: Vec<Diagnostic>,
    pub(crate) omitted: usize,
}

/// The most problems reported at once.
pub(crate) const MAX_DIAGNOSTICS: usize = 50;

/// The most problems that differ only in their places and are told one by one.
const MOST_ALIKE: usize = 3;

impl Diagnostic {
    pub(crate) fn new(
        severity: Severity,
        sources: &Arc<Sources>,
        place: Span,
        message: impl Into<String>,
    ) -> Self {
        Self {
            severity,
            code: None,
            fact: None,
            path: String::new(),
            message: message.into(),
            label: String::new(),
            help: Vec::new(),
            place,
            related: Vec::new(),
            alike: Vec::new(),
            sources: Arc::clone(sources),
        }
    }

    /// Returns how bad it is.
    #[must_use]
    pub const fn severity(&self) -> Severity {
        self.severity
    }

    /// Returns the number of the rule, as in `PL024`; `None` for a problem of form.
    #[must_use]
    pub const fn code(&self) -> Option<&'static str> {
        self.code
    }

    /// Returns the path of the value, as in `private_endpoint[2].subnet`; empty for the file.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Returns what is wrong, in one line.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Returns the name of the text it is about: the file, or `--set` for an override.
    #[must_use]
    pub fn source_name(&self) -> &str {
        self.sources.name(self.place)
    }

    /// Returns line and column (in characters) of its place, both from 1.
    #[must_use]
    pub fn line_and_column(&self) -> (usize, usize) {
        let excerpt = self.sources.excerpt(self.place);
        (excerpt.line, excerpt.column)
    }

    /// Returns what to do about it, in lines.
    #[must_use]
    pub fn remedies(&self) -> &[String] {
        &self.help
    }

    /// Returns how many problems it stands for: itself, and those that differ only in their places.
    #[must_use]
    pub const fn count(&self) -> usize {
        1 + self.alike.len()
    }

    /// Adds what is shown under the caret.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    /// Adds a line that says what to do.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help.push(help.into());
        self
    }

    /// Returns the problem as text with file, line, column, the line, a caret and help; with
    /// terminal colours if `color`. Input is quoted without control characters.
    #[must_use]
    pub fn render(&self, color: bool) -> String {
        let level = match self.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let mut title = level.primary_title(self.message.as_str());
        if let Some(code) = self.code {
            title = title.id(code);
        }
        let excerpt = self.sources.excerpt(self.place);
        let origin = Origin::path(crate::source::sanitised(self.sources.name(self.place)))
            .line(excerpt.line)
            .char_column(excerpt.column);
        let mut group = Group::with_title(title).element(origin);
        group = self.add_snippets(group, excerpt);
        if let Some(fact) = self.fact {
            group = group.element(Level::NOTE.with_name("rule").message(fact));
        }
        for help in &self.help {
            group = group.element(Level::HELP.message(help.as_str()));
        }
        if !self.path.is_empty() {
            group = group.element(Level::NOTE.with_name("at").message(self.path.as_str()));
        }
        if let [first, .., last] = self.alike.as_slice() {
            let more = format!("{}, from {first} to {last}", self.alike.len());
            group = group.element(Level::NOTE.with_name("more like this").message(more));
        } else if let [only] = self.alike.as_slice() {
            let more = format!("1, at {only}");
            group = group.element(Level::NOTE.with_name("more like this").message(more));
        }
        let renderer = if color {
            Renderer::styled()
        } else {
            Renderer::plain()
        };
        let text = renderer.decor_style(DecorStyle::Ascii).render(&[group]);
        // Blank lines of the frame carry a trailing space.
        text.lines()
            .filter(|line| !is_bare_separator(line))
            .map(|line| format!("{}\n", line.trim_end()))
            .collect()
    }

    fn add_snippets<'a>(&'a self, mut group: Group<'a>, excerpt: Excerpt) -> Group<'a> {
        let mut snippet = Snippet::source(excerpt.text)
            .line_start(excerpt.line)
            .fold(false);
        let primary = AnnotationKind::Primary.span(excerpt.range);
        snippet = snippet.annotation(match self.label.as_str() {
            "" => primary,
            label => primary.label(label),
        });
        let mut apart = Vec::new();
        for (span, label) in &self.related {
            let other = self.sources.excerpt(*span);
            if span.source == self.place.source && other.line == excerpt.line {
                // Cut around another place, so only a place that is shown can be marked.
                continue;
            }
            apart.push(
                Snippet::source(other.text)
                    .line_start(other.line)
                    .path(self.sources.name(*span))
                    .fold(false)
                    .annotation(
                        AnnotationKind::Context
                            .span(other.range)
                            .label(label.as_str()),
                    ),
            );
        }
        group = group.element(snippet);
        for snippet in apart {
            group = group.element(snippet);
        }
        group
    }
}

/// Tells whether a line holds nothing but the mark that separates two snippets: the renderer puts
/// one before a snippet whose place is given apart from it.
fn is_bare_separator(line: &str) -> bool {
    let mut plain = String::new();
    let mut in_escape = false;
    for character in line.chars() {
        match character {
            '\u{1b}' => in_escape = true,
            'm' if in_escape => in_escape = false,
            _ if in_escape => {}
            _ => plain.push(character),
        }
    }
    plain.trim() == ":::"
}

impl Diagnostics {
    /// Gathers problems: sorted by place, those that say the same told together, cut to 50.
    #[must_use]
    pub fn new(list: Vec<Diagnostic>) -> Self {
        let mut list = gathered(list);
        let kept = list.len().min(MAX_DIAGNOSTICS);
        let omitted = list.drain(kept..).map(|left_out| left_out.count()).sum();
        Self { list, omitted }
    }

    /// Returns the problems in the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = &Diagnostic> {
        self.list.iter()
    }

    /// Returns all problems as text, the number of errors and warnings last.
    #[must_use]
    pub fn render(&self, color: bool) -> String {
        let mut text = String::new();
        for diagnostic in &self.list {
            text.push_str(&diagnostic.render(color));
            text.push('\n');
        }
        text.push_str(&self.to_string());
        text.push('\n');
        text
    }
}

/// Sorts problems by place. Of those that differ only in their places the first few stand for all.
pub(crate) fn gathered(mut list: Vec<Diagnostic>) -> Vec<Diagnostic> {
    list.sort_by_key(|diagnostic| (diagnostic.place, diagnostic.severity));
    let mut kept: Vec<Diagnostic> = Vec::new();
    let mut kinds: BTreeMap<_, Vec<usize>> = BTreeMap::new();
    for diagnostic in list {
        let Diagnostic {
            code,
            message,
            label,
            help,
            ..
        } = &diagnostic;
        let kind = (*code, message.clone(), label.clone(), help.clone());
        let places = kinds.entry(kind).or_default();
        match places.last() {
            Some(&last) if places.len() == MOST_ALIKE => kept[last].alike.push(diagnostic.path),
            _ => {
                places.push(kept.len());
                kept.push(diagnostic);
            }
        }
    }
    kept
}

impl From<Diagnostic> for Diagnostics {
    fn from(diagnostic: Diagnostic) -> Self {
        Self::new(vec![diagnostic])
    }
}

impl fmt::Display for Diagnostics {
    /// Writes the number of errors and warnings.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = |severity| {
            self.list
                .iter()
                .filter(|diagnostic| diagnostic.severity == severity)
                .map(Diagnostic::count)
                .sum::<usize>()
        };
        let counted = |noun: &str, count: usize| match count {
            0 => None,
            1 => Some(format!("1 {noun}")),
            _ => Some(format!("{count} {noun}s")),
        };
        let parts: Vec<String> = [
            counted("error", count(Severity::Error)),
            counted("warning", count(Severity::Warning)),
        ]
        .into_iter()
        .flatten()
        .collect();
        f.write_str(&parts.join(", "))?;
        if self.omitted > 0 {
            write!(f, "; {} more not shown", self.omitted)?;
        }
        Ok(())
    }
}

impl core::error::Error for Diagnostics {}
