use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use crate::exit::Exit;
use crate::terminal::Terminal;

/// The files that a run may leave, in the order in which they appear.
pub(crate) const RUN_FILES: &[&str] = &[
    "events.jsonl",
    "timeseries.csv",
    "capture.pcapng",
    "summary.json",
];
/// The files that a bench of port allocation may leave, in the same order.
pub(crate) const BENCH_PORTS_FILES: &[&str] = &["ports.csv", "ports.svg", "ports.json"];
const LOCK: &str = ".plsim.lock";

/// An output directory that belongs to one run: its files appear only when all are complete.
#[derive(Debug)]
pub(crate) struct Directory {
    path: PathBuf,
    /// The files that may appear here; the last one tells that all others belong to it.
    files: &'static [&'static str],
    /// Held until the run ends: two runs never write to one directory.
    _lock: File,
    open: Vec<&'static str>,
    finished: bool,
}

impl Directory {
    /// Takes a directory for a run; it is created if it is missing.
    ///
    /// # Errors
    /// [`Exit::Invalid`] if it is no directory, holds files and `force` is off, or is in use;
    /// [`Exit::Failure`] if the operating system refuses. The terminal is told.
    pub(crate) fn take(
        path: &Path,
        files: &'static [&'static str],
        force: bool,
        terminal: &Terminal,
    ) -> Result<Self, Exit> {
        // Without a trailing slash, which would look through a symbolic link.
        let path: &Path = &path.components().collect::<PathBuf>();
        let shown = plsim_scenario::sanitised(&path.to_string_lossy());
        let refuse = |why: &str| {
            terminal.error(&format!("output directory {shown}: {why}"));
            Exit::Invalid
        };
        let fail = |error: &io::Error| {
            terminal.error(&format!("output directory {shown}: {error}"));
            Exit::Failure
        };
        match fs::symlink_metadata(path) {
            Ok(metadata) if metadata.is_symlink() => {
                return Err(refuse("is a symbolic link; name the directory itself"));
            }
            Ok(metadata) if !metadata.is_dir() => return Err(refuse("is not a directory")),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                create(path).map_err(|error| fail(&error))?;
            }
            Err(error) => return Err(fail(&error)),
        }
        for name in files.iter().chain([&LOCK]) {
            if fs::symlink_metadata(path.join(name)).is_ok_and(|found| !found.is_file()) {
                return Err(refuse(&format!(
                    "holds {name}, which is not a regular file"
                )));
            }
        }
        let lock = options()
            .open(path.join(LOCK))
            .map_err(|error| fail(&error))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => return Err(refuse("is in use by another run")),
            Err(fs::TryLockError::Error(error)) => return Err(fail(&error)),
        }
        // Only now: another run may have finished in the meantime.
        let directory = Self {
            path: path.to_owned(),
            files,
            _lock: lock,
            open: Vec::new(),
            finished: false,
        };
        let occupied = occupants(path, files).map_err(|error| fail(&error))?;
        if let (false, Some(found)) = (force, occupied.first()) {
            let found = plsim_scenario::sanitised(found);
            return Err(refuse(&format!(
                "is not empty (it holds {found}); add --force to replace the outputs of an earlier \
                 run, or name another directory"
            )));
        }
        Ok(directory)
    }

    /// Opens a file under a temporary name.
    ///
    /// # Errors
    /// Those of the operating system.
    pub(crate) fn open(&mut self, name: &'static str) -> io::Result<File> {
        let temporary = self.temporary(name);
        remove(&temporary)?;
        self.open.push(name);
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(temporary)
    }

    /// Gives every file its name, and removes those of an earlier run that this one has not.
    ///
    /// The last one goes first and comes last: where it stands, the other files belong to it.
    ///
    /// # Errors
    /// Those of the operating system; the files not yet renamed are removed.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        for name in &self.open {
            File::open(self.temporary(name))?.sync_all()?;
        }
        for name in self.files.iter().rev() {
            remove(&self.path.join(name))?;
        }
        for name in self.files.iter().filter(|name| self.open.contains(name)) {
            fs::rename(self.temporary(name), self.path.join(name))?;
        }
        self.finished = true;
        Ok(())
    }

    fn temporary(&self, name: &str) -> PathBuf {
        self.path.join(format!(".{name}.part"))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if !self.finished {
            for name in &self.open {
                // The error that led here has been told; a left-over is hidden and harmless.
                let _ = remove(&self.temporary(name));
            }
        }
        let _ = remove(&self.path.join(LOCK));
    }
}

/// Creates a directory and its parents, readable by the user alone where that exists.
fn create(path: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false);
    options
}

/// Lists what a directory holds besides our own hidden files.
fn occupants(path: &Path, files: &[&str]) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(path)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let ours = name == LOCK || files.iter().any(|file| name == format!(".{file}.part"));
        if !ours {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
