use std::path::{Path, PathBuf};

use plsim::{Case, Outputs, Simulation};
use plsim_scenario::Diagnostic;

use crate::arguments::ValidateOptions;
use crate::exit::Exit;
use crate::memory;
use crate::page::Page;
use crate::terminal::Terminal;

/// A scenario file that was read and found right.
#[derive(Debug)]
pub(crate) struct Source {
    /// What to run; named after the file, without directory and ending.
    pub(crate) case: Case,
    pub(crate) warnings: Vec<Diagnostic>,
}

/// The most warnings that are told.
const MOST: usize = 50;

impl Source {
    /// Tells the warnings.
    pub(crate) fn warn(&self, terminal: &Terminal) {
        for warning in self.warnings.iter().take(MOST) {
            terminal.message(&warning.render(terminal.color_error()));
        }
        let rest = self.warnings.iter().skip(MOST).map(Diagnostic::count);
        let rest: usize = rest.sum();
        if rest > 0 {
            let more = plsim::numbers::counted(rest as u64, "more warning");
            terminal.message(&format!("{more} not shown\n"));
        }
    }
}

/// Reads all files; all problems of all files are told.
///
/// # Errors
/// The worst of the ends that the files call for.
pub(crate) fn read_all(
    files: &[PathBuf],
    overrides: &[String],
    seed: Option<u64>,
    terminal: &Terminal,
) -> Result<Vec<Source>, Exit> {
    let mut exit = Exit::Success;
    let mut sources = Vec::new();
    for file in files {
        match read(file, overrides, seed, terminal) {
            Ok(source) => sources.push(source),
            Err(error) => exit = exit.worse(error),
        }
    }
    if exit == Exit::Success {
        Ok(sources)
    } else {
        Err(exit)
    }
}

fn read(
    file: &Path,
    overrides: &[String],
    seed: Option<u64>,
    terminal: &Terminal,
) -> Result<Source, Exit> {
    let bytes = plsim_scenario::read_file(file).map_err(|error| {
        terminal.error(&error.to_string());
        Exit::Invalid
    })?;
    let shown = file.to_string_lossy();
    let beside = |name: &str| plsim_scenario::read_beside(file, name);
    let parsed = plsim_scenario::parse_with(&shown, &bytes, overrides, &beside);
    let (scenario, warnings) = parsed.map_err(|problems| {
        terminal.message(&problems.render(terminal.color_error()));
        Exit::Invalid
    })?;
    let name = match file.file_stem() {
        Some(stem) if shown != "-" => slug(&stem.to_string_lossy()),
        _ => "stdin".to_owned(),
    };
    let case = Case {
        name,
        scenario,
        overrides: overrides.to_vec(),
        seed,
    };
    Ok(Source { case, warnings })
}

/// Makes a name that is safe in any file system: letters, digits, point, underscore and hyphen,
/// at most 80 of them.
fn slug(text: &str) -> String {
    let safe = |c: char| {
        if c.is_ascii_alphanumeric() || "._-".contains(c) {
            c
        } else {
            '-'
        }
    };
    let slug: String = text.chars().map(safe).take(80).collect();
    let slug = slug.trim_matches('.').to_owned();
    if slug.is_empty() {
        "scenario".to_owned()
    } else {
        slug
    }
}

/// Checks scenario files, including what only building their world can find.
pub(crate) fn validate(options: &ValidateOptions, terminal: &Terminal) -> Exit {
    let sources = match read_all(&options.files, &options.overrides, None, terminal) {
        Ok(sources) => sources,
        Err(exit) => return exit,
    };
    let mut exit = Exit::Success;
    for (source, file) in sources.into_iter().zip(&options.files) {
        let warnings: usize = source.warnings.iter().map(Diagnostic::count).sum();
        source.warn(terminal);
        let mut implied = plsim::plans(&source.case.scenario);
        implied.extend(plsim::implications(&source.case.scenario));
        implied.push(memory::estimate(&source.case.scenario));
        match Simulation::new(source.case, Outputs::none()) {
            Ok(_) if options.quiet => {}
            Ok(simulation) => {
                let note = match warnings {
                    0 => String::new(),
                    count => format!(", {}", plsim::numbers::counted(count as u64, "warning")),
                };
                let shown = plsim_scenario::sanitised(&file.to_string_lossy());
                let mut page = Page::new(terminal);
                page.line(&format!("{shown}: valid{note}"));
                for what in implied {
                    page.wrapped("", &what);
                }
                page.idle_ceilings(&simulation.idle_ceilings());
                if let Err(error) = terminal.print(&page.finish()) {
                    return exit.worse(error);
                }
            }
            Err(problems) => {
                terminal.message(&problems.render(terminal.color_error()));
                exit = exit.worse(Exit::Invalid);
            }
        }
    }
    exit
}

#[cfg(test)]
mod tests {
    use super::slug;

    #[test]
    fn slugs_are_safe_file_names() {
        assert_eq!(slug("port-exhaustion"), "port-exhaustion");
        assert_eq!(slug("../x y\u{202e}"), "-x-y-");
        assert_eq!(slug(""), "scenario");
        assert_eq!(slug("..."), "scenario");
        assert_eq!(slug(&"a".repeat(70_000)).len(), 80);
    }
}
