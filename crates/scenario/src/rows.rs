//! Tables of numbers that stand in files beside the scenario.

use crate::diagnostic::{Diagnostic, MAX_DIAGNOSTICS};
use crate::read::MAX_BYTES;
use crate::source::{Sources, Span, sanitised};
use crate::syntax::Flaw;
use crate::units::{ByteSize, FileName, Quantity, TimeSpan, UnitError};
use plsim_types::KeyedHash;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The most lines with values in one file.
const MAX_ROWS: usize = 1_000_000;

/// What a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FileKind {
    /// Spans of time in nanoseconds, each with its weight.
    Spans,
    /// Sizes in bytes, each with its weight.
    Sizes,
    /// Times in nanoseconds, each with how many connections start then.
    Starts,
}

impl FileKind {
    /// Names the columns, as a header may.
    const fn columns(self) -> [&'static str; 2] {
        match self {
            Self::Spans | Self::Sizes => ["value", "weight"],
            Self::Starts => ["at", "count"],
        }
    }

    fn first(self, text: &str) -> Result<u64, UnitError> {
        match self {
            Self::Spans | Self::Starts => text.parse().map(TimeSpan::whole),
            Self::Sizes => text.parse().map(ByteSize::whole),
        }
    }
}

/// A file that a value of the scenario names.
#[derive(Debug)]
pub(crate) struct FileUse {
    pub(crate) kind: FileKind,
    pub(crate) name: FileName,
    /// Where it is named.
    pub(crate) span: Span,
    pub(crate) path: String,
}

/// The rows of one file in rising order: a value, and its weight.
pub(crate) type Rows = Arc<[(u64, u64)]>;

/// The rows of all files of a scenario.
pub(crate) type Files = BTreeMap<(FileKind, FileName), Rows>;

/// Reads a file beside the scenario; the error says why not.
pub(crate) type Read<'r> = dyn Fn(&str) -> Result<Vec<u8>, String> + 'r;

/// Reads every file once.
pub(crate) fn load(
    uses: Vec<FileUse>,
    read: &Read<'_>,
    sources: &mut Arc<Sources>,
) -> Result<Files, Vec<Diagnostic>> {
    let mut files = Files::new();
    let mut found = Vec::new();
    for FileUse {
        kind,
        name,
        span,
        path,
    } in uses
    {
        if files.contains_key(&(kind, name.clone())) {
            continue;
        }
        let flaws = match read(name.as_str()) {
            Ok(bytes) => match parse(kind, &bytes) {
                Ok(rows) => {
                    files.insert((kind, name), rows);
                    continue;
                }
                Err(flaws) => flaws.show(&name, sources),
            },
            Err(why) => {
                let message = format!("cannot read {}: {}", sanitised(name.as_str()), why);
                let help = "a file is named as seen from the folder of the scenario file, and has at \
                            most 16 MiB and a million lines";
                vec![Flaw::new(span, message).help(help)]
            }
        };
        found.extend(flaws.into_iter().map(|flaw| {
            let mut diagnostic = flaw.into_diagnostic(sources);
            diagnostic.path.clone_from(&path);
            diagnostic
        }));
    }
    if found.is_empty() {
        Ok(files)
    } else {
        Err(found)
    }
}

/// Returns a line for each file that tells its content apart from any other.
pub(crate) fn fingerprints(files: &Files) -> String {
    let lines = files.iter().map(|((kind, name), rows)| {
        let hash = KeyedHash::new(0, "rows");
        let content = rows.iter().fold(0, |state, (value, weight)| {
            hash.pair(hash.pair(state, *value), *weight)
        });
        format!("# {kind:?} {name}: {content:016x}\n")
    });
    lines.collect()
}

/// What is wrong with a file: its text as far as it can be read, and places in it.
struct Flaws {
    text: String,
    /// Places have source number 0.
    list: Vec<Flaw>,
}

impl Flaws {
    /// Adds the text to the sources and lets the flaws point there.
    fn show(self, name: &FileName, sources: &mut Arc<Sources>) -> Vec<Flaw> {
        let source = Arc::make_mut(sources).push(name.as_str(), &self.text);
        let list = self.list.into_iter().map(|mut flaw| {
            flaw.span.source = source;
            flaw
        });
        list.collect()
    }
}

fn parse(kind: FileKind, bytes: &[u8]) -> Result<Rows, Flaws> {
    let whole = |message: &str| Flaws {
        text: String::new(),
        list: vec![Flaw::new(Span::default(), message)],
    };
    if bytes.len() as u64 > MAX_BYTES {
        return Err(whole("the file has more than 16 MiB"));
    }
    let text = match core::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            let offset = error.valid_up_to();
            let flaw = Flaw::new(Span::new(0, offset..offset), "the file is not valid UTF-8");
            return Err(Flaws {
                text: String::from_utf8_lossy(&bytes[..offset]).into_owned(),
                list: vec![flaw.help("save it in UTF-8")],
            });
        }
    };
    let mut rows = Vec::new();
    let mut flaws = Vec::new();
    let mut may_be_header = true;
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let content = line.trim_start_matches('\u{feff}').trim();
        let begins = start + (line.len() - line.trim_start_matches(['\u{feff}', ' ', '\t']).len());
        let span = Span::new(0, begins..begins + content.len());
        start += line.len();
        if content.is_empty() || content.starts_with('#') {
            continue;
        }
        let columns = kind.columns();
        let is_header = content.split(',').map(str::trim).eq(columns) || content == columns[0];
        let is_first = core::mem::take(&mut may_be_header);
        if is_first && is_header {
            continue;
        }
        match row(kind, content) {
            Ok(row) => rows.push(row),
            Err(error) => {
                let mut flaw = Flaw::new(span, error.message);
                flaw.help = error.help;
                if is_first && content.starts_with(|c: char| c.is_ascii_alphabetic()) {
                    flaw.help = Some(format!("as a header write {}", columns.join(",")));
                }
                flaws.push(flaw);
            }
        }
        if rows.len() > MAX_ROWS {
            let message = format!("the file has more than {MAX_ROWS} lines with values");
            flaws.push(Flaw::new(span, message).help("give equal values one line and a weight"));
            break;
        }
        if flaws.len() >= MAX_DIAGNOSTICS {
            break;
        }
    }
    if flaws.is_empty() && rows.iter().all(|(_, weight)| *weight == 0) {
        let [value, weight] = kind.columns();
        let message = format!("the file has no `{value}` with a `{weight}` above zero");
        let help = format!("write {value},{weight} in each line, or {value} alone");
        flaws.push(Flaw::new(Span::default(), message).help(help));
    }
    if !flaws.is_empty() {
        let text = text.to_owned();
        return Err(Flaws { text, list: flaws });
    }
    rows.sort_unstable();
    Ok(rows.into())
}

fn row(kind: FileKind, content: &str) -> Result<(u64, u64), UnitError> {
    let [value, weight] = kind.columns();
    let rule = || format!("a line is {value},{weight} or {value} alone");
    let other = content.chars().find(|c| [';', '\t', '|'].contains(c));
    if let (Some(other), false) = (other, content.contains(',')) {
        let message = format!("the fields are separated by `{}`", other.escape_default());
        return Err(UnitError::with_help(
            message,
            format!("use a comma: {value},{weight}"),
        ));
    }
    let mut fields = content.split(',').map(str::trim);
    let (first, second) = (fields.next().unwrap_or(""), fields.next());
    if fields.next().is_some() {
        return Err(UnitError::with_help("too many fields", rule()));
    }
    let first = kind.first(first).map_err(|error| {
        let help = error.help.unwrap_or_else(rule);
        UnitError::with_help(format!("`{value}` is wrong: {}", error.message), help)
    })?;
    let second = match second.map(str::parse) {
        None => 1,
        Some(Ok(number)) if number <= crate::units::MAX_WEIGHT => number,
        Some(_) => {
            let most = crate::units::MAX_WEIGHT;
            let message = format!("`{weight}` must be a whole number of at most {most}");
            return Err(UnitError::with_help(message, rule()));
        }
    };
    Ok((first, second))
}
