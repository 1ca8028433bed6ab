use core::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// The largest scenario, in bytes: 16 MiB.
pub const MAX_BYTES: u64 = 16 << 20;

/// Why a scenario file could not be read.
#[derive(Debug)]
pub enum ReadError {
    /// The operating system said no.
    Io(PathBuf, io::Error),
    /// The path leads to a directory, a device, a FIFO or a socket.
    NotAFile(PathBuf),
    /// The file has more than [`MAX_BYTES`].
    TooLarge(PathBuf),
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |path: &Path| crate::source::sanitised(&path.to_string_lossy());
        match self {
            Self::Io(path, error) => write!(f, "cannot read {}: {error}", shown(path)),
            Self::NotAFile(path) => write!(
                f,
                "cannot read {}: a scenario is a regular file (or `-` for standard input)",
                shown(path)
            ),
            Self::TooLarge(path) => {
                write!(f, "cannot read {}: it has more than 16 MiB", shown(path))
            }
        }
    }
}

impl core::error::Error for ReadError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Io(_, error) => Some(error),
            Self::NotAFile(_) | Self::TooLarge(_) => None,
        }
    }
}

/// Reads a scenario file, or standard input for the path `-`; at most 16 MiB.
///
/// # Errors
/// [`ReadError::NotAFile`] for what is no regular file (it is not opened, so a FIFO cannot block),
/// [`ReadError::TooLarge`] above [`MAX_BYTES`], [`ReadError::Io`] for the rest.
pub fn read_file(path: &Path) -> Result<Vec<u8>, ReadError> {
    let io = |error| ReadError::Io(path.to_owned(), error);
    if path == Path::new("-") {
        return read_capped(io::stdin().lock(), path);
    }
    let kind = std::fs::metadata(path).map_err(io)?;
    if !kind.is_file() {
        return Err(ReadError::NotAFile(path.to_owned()));
    }
    if kind.len() > MAX_BYTES {
        return Err(ReadError::TooLarge(path.to_owned()));
    }
    read_capped(File::open(path).map_err(io)?, path)
}

/// Reads a file that a scenario names, from the scenario's own folder: the working directory for
/// standard input (`-`).
///
/// # Errors
/// Says why it cannot be read: also if a link leads out of the folder, or if it is longer than
/// [`MAX_BYTES`].
pub fn read_beside(scenario: &Path, name: &str) -> Result<Vec<u8>, String> {
    let folder = match scenario.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    let real = |path: &Path| path.canonicalize().map_err(|error| error.to_string());
    let (folder, path) = (real(folder)?, real(&folder.join(name))?);
    if !path.starts_with(&folder) {
        return Err("a link leads out of the scenario's folder".to_owned());
    }
    read_file(&path).map_err(|error| match error {
        ReadError::Io(_, error) => error.to_string(),
        ReadError::NotAFile(_) => "it is not a regular file".to_owned(),
        ReadError::TooLarge(_) => "it has more than 16 MiB".to_owned(),
    })
}

/// Reads at most one byte more than allowed, so that a growing or endless input ends too.
fn read_capped(input: impl Read, path: &Path) -> Result<Vec<u8>, ReadError> {
    let mut bytes = Vec::new();
    input
        .take(MAX_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| ReadError::Io(path.to_owned(), error))?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(ReadError::TooLarge(path.to_owned()));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::{MAX_BYTES, ReadError, read_capped, read_file};
    use std::path::Path;

    #[test]
    fn directories_and_devices_are_refused_without_opening_them() {
        for path in ["/", "/dev/zero"] {
            assert!(
                matches!(read_file(Path::new(path)), Err(ReadError::NotAFile(_))),
                "{path}"
            );
        }
    }

    #[test]
    fn a_missing_file_is_named_in_the_message() {
        let error = read_file(Path::new("/nowhere/a\u{1b}.toml")).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("cannot read /nowhere/a\\u{1b}.toml: ")
        );
    }

    #[test]
    fn an_endless_input_is_cut_off_at_the_cap() {
        let endless = std::io::repeat(b'#');
        assert!(matches!(
            read_capped(endless, Path::new("-")),
            Err(ReadError::TooLarge(_))
        ));
        let longest = std::io::repeat(b'#');
        let longest = std::io::Read::take(longest, MAX_BYTES);
        assert_eq!(
            read_capped(longest, Path::new("-")).unwrap().len() as u64,
            MAX_BYTES
        );
    }
}
