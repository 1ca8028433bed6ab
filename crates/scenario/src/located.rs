use crate::copies;
use crate::diagnostic::{Diagnostic, Severity};
use crate::model::{Scenario, Workload, WorkloadModel};
use crate::profile::Filled;
use crate::rows::{FileKind, fingerprints};
use crate::rules::idle_keys;
use crate::source::Sources;
use crate::tree::{Step, Tree, Value, steps};
use crate::units::{FileName, Law, TimeSpan};
use plsim_types::Duration;
use serde::ser::Error as _;
use serde::{Serialize as _, Serializer};
use std::sync::Arc;

/// Where each value of a scenario was written.
#[derive(Clone)]
pub(crate) struct Located {
    pub(crate) sources: Arc<Sources>,
    pub(crate) tree: Arc<Tree>,
}

impl core::fmt::Debug for Located {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.sources.fmt(f)
    }
}

impl Default for Located {
    fn default() -> Self {
        Self {
            sources: Arc::default(),
            tree: Arc::new(Tree::empty_table()),
        }
    }
}

impl Located {
    /// Returns the position in the file of the section that an entry of a list is a copy of.
    pub(crate) fn section(&self, list: &str, position: usize) -> Option<usize> {
        match &self.tree.at(list)?.value {
            Value::Array(sections) => copies::section(sections, position),
            _ => None,
        }
    }

    /// Returns the path with positions in the file: copies of a section have the same.
    pub(crate) fn written(&self, path: &str) -> String {
        let mut tree = Some(&*self.tree);
        let mut written = String::with_capacity(path.len());
        for step in steps(path) {
            let sections = tree.map(|tree| &tree.value);
            match (step, sections) {
                (Step::Index(index), Some(Value::Array(sections))) => {
                    let index = copies::section(sections, index).unwrap_or(index);
                    written.push_str(&format!("[{index}]"));
                }
                (Step::Index(index), _) => written.push_str(&format!("[{index}]")),
                (Step::Key(key), _) => {
                    written.push('.');
                    written.push_str(key);
                }
            }
            tree = tree.and_then(|tree| tree.step(step));
        }
        written
    }

    /// Makes a diagnostic about a path.
    pub(crate) fn diagnostic(&self, severity: Severity, path: &str, message: String) -> Diagnostic {
        let span = self.tree.span_at(path);
        let mut diagnostic = Diagnostic::new(severity, &self.sources, span, message);
        path.clone_into(&mut diagnostic.path);
        diagnostic
    }
}

impl Scenario {
    /// Makes an error about the value at `path` (as in `expect[3].value`), to be shown with its
    /// line and a caret; a path that was not written points at the nearest thing that was.
    #[must_use]
    pub fn error_at(&self, path: &str, message: impl Into<String>) -> Diagnostic {
        self.located
            .diagnostic(Severity::Error, path, message.into())
    }

    /// Makes a warning about the value at `path`, as [`error_at`](Self::error_at) does.
    #[must_use]
    pub fn warning_at(&self, path: &str, message: impl Into<String>) -> Diagnostic {
        self.located
            .diagnostic(Severity::Warning, path, message.into())
    }

    /// Tells whether the value at `path` was written, in the file or by an override.
    #[must_use]
    pub fn is_written(&self, path: &str) -> bool {
        self.located.tree.at(path).is_some()
    }

    /// Returns the rows of a file that the scenario names, in rising order: a value (in nanoseconds
    /// or bytes) and its weight.
    ///
    /// # Panics
    /// If the scenario does not name it for this kind of value.
    #[must_use]
    pub fn rows(&self, kind: FileKind, name: &FileName) -> &[(u64, u64)] {
        let rows = self.files.get(&(kind, name.clone()));
        rows.expect("a file that the scenario names")
    }

    /// Returns the span itself, or the mean of what is drawn.
    #[must_use]
    pub fn typical(&self, law: &Law<TimeSpan>) -> Duration {
        match law {
            Law::Fixed(span) => span.0,
            drawn @ Law::Drawn(_) => drawn.mean(&self.files).0,
        }
    }

    /// Returns which share of what is drawn is at least so long, from 0 to 1.
    #[must_use]
    pub fn share_of(&self, law: &Law<TimeSpan>, span: Duration) -> f64 {
        law.share_from(TimeSpan(span), &self.files)
    }

    /// Returns how many connections a workload starts, where its arrivals alone say that: exactly,
    /// or of random arrivals the mean.
    #[must_use]
    pub fn planned_connections(&self, workload: &Workload) -> Option<u64> {
        match workload.model {
            WorkloadModel::OpenLoop | WorkloadModel::UdpStream => {
                workload.planned(self.run.duration.0, &self.files)
            }
            WorkloadModel::ConstantConcurrency
            | WorkloadModel::ClosedLoop
            | WorkloadModel::Pool
            | WorkloadModel::PubSub => None,
        }
    }

    /// Returns what a profile has filled in for a workload, by number; `None` without a profile.
    #[must_use]
    pub fn filled(&self, workload: usize) -> Option<&Filled> {
        self.filled.get(workload)?.as_ref()
    }

    /// Returns the effective scenario as one canonical text, which can be parsed again: overrides and
    /// defaults included (but for keys that do nothing), units reduced, so that two files that mean the same give the same text. What stands in
    /// files beside it is told by a hash, in a comment.
    #[must_use]
    pub fn canonical(&self) -> String {
        let text = toml::to_string(self);
        let text = text.expect("broken invariant: a scenario is writable as TOML");
        text + &fingerprints(&self.files)
    }
}

/// Writes workloads without the keys that do nothing for them.
pub(crate) fn effective<S: Serializer>(
    workloads: &[Workload],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let sections = workloads.iter().map(|workload| {
        let mut section = toml::Table::try_from(workload).map_err(S::Error::custom)?;
        section.retain(|key, _| !idle_keys(workload).contains(&key));
        Ok(section)
    });
    sections
        .collect::<Result<Vec<_>, S::Error>>()?
        .serialize(serializer)
}
