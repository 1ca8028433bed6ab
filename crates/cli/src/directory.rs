use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use crate::exit::Exit;
use crate::terminal::Terminal;

/// The files that a run may leave, in the order in which they appear.
const FILES: [&str; 4] = [
    "events.jsonl",
    "timeseries.csv",
    "capture.pcapng",
    "summary.json",
];
const LOCK: &str = ".plsim.lock";

/// An output directory that belongs to one run: its files appear only when all are complete.
#[derive(Debug)]
pub(crate) struct Directory {
    path: PathBuf,
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
    pub(crate) fn take(path: &Path, force: bool, terminal: &Terminal) -> Result<Self, Exit> {
        let refuse = |why: &str| {
            terminal.error(&format!("output directory {}: {why}", path.display()));
            Exit::Invalid
        };
        let fail = |error: &io::Error| {
            terminal.error(&format!("output directory {}: {error}", path.display()));
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
        let occupied = occupants(path).map_err(|error| fail(&error))?;
        if !force && !occupied.is_empty() {
            let why = format!(
                "is not empty (it holds {}); add --force to replace the outputs of \
                               an earlier run, or name another directory",
                occupied[0]
            );
            return Err(refuse(&why));
        }
        let lock = options()
            .open(path.join(LOCK))
            .map_err(|error| fail(&error))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => return Err(refuse("is in use by another run")),
            Err(fs::TryLockError::Error(error)) => return Err(fail(&error)),
        }
        Ok(Self {
            path: path.to_owned(),
            _lock: lock,
            open: Vec::new(),
            finished: false,
        })
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
    /// # Errors
    /// Those of the operating system; the files not yet renamed are removed.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        for name in FILES {
            if !self.open.contains(&name) {
                remove(&self.path.join(name))?;
            }
        }
        for name in &self.open {
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
fn occupants(path: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(path)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let ours = name == LOCK || FILES.iter().any(|file| name == format!(".{file}.part"));
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
