use std::io::{self, IsTerminal, Write};

use anstyle::{AnsiColor, Style};

use crate::exit::Exit;

/// Where people look: standard output and standard error, with colours only on terminals.
#[derive(Debug, Clone)]
pub(crate) struct Terminal {
    color_out: bool,
    color_error: bool,
}

impl Terminal {
    pub(crate) fn new() -> Self {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
            && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        Self {
            color_out: wanted && io::stdout().is_terminal(),
            color_error: wanted && io::stderr().is_terminal(),
        }
    }

    /// Tells whether messages may have colours.
    pub(crate) const fn color_error(&self) -> bool {
        self.color_error
    }

    /// Writes to standard output. A closed pipe is no failure: the reader had enough.
    ///
    /// # Errors
    /// [`Exit::Failure`] if the stream fails; the problem is told.
    pub(crate) fn print(&self, text: &str) -> Result<(), Exit> {
        let mut out = io::stdout().lock();
        let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
        match written {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                self.error(&format!("cannot write to standard output: {error}"));
                Err(Exit::Failure)
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Writes a text that is already complete to standard error.
    pub(crate) fn message(&self, text: &str) {
        // There is nobody left to tell if standard error fails.
        let _ = io::stderr().lock().write_all(text.as_bytes());
    }

    /// Writes one problem to standard error.
    pub(crate) fn error(&self, text: &str) {
        let red = style(self.color_error, AnsiColor::Red.on_default().bold());
        self.message(&format!("{red}error{red:#}: {text}\n"));
    }

    /// Returns how many columns a text for people may have: those of the terminal; a file or a pipe
    /// has no end.
    pub(crate) fn width(&self) -> usize {
        match terminal_size::terminal_size_of(io::stdout()) {
            Some((width, _)) => usize::from(width.0).max(MIN_WIDTH),
            None => usize::MAX,
        }
    }

    /// Returns the styles for standard output.
    pub(crate) const fn styles(&self) -> Styles {
        let on = self.color_out;
        Styles {
            strong: style(on, Style::new().bold()),
            dim: style(on, Style::new().dimmed()),
            good: style(on, AnsiColor::Green.on_default()),
            bad: style(on, AnsiColor::Red.on_default().bold()),
            note: style(on, AnsiColor::Yellow.on_default()),
        }
    }
}

/// Below this many columns no table can be read.
const MIN_WIDTH: usize = 60;

/// How to write what; all plain where colours have no place.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Styles {
    pub(crate) strong: Style,
    pub(crate) dim: Style,
    pub(crate) good: Style,
    pub(crate) bad: Style,
    pub(crate) note: Style,
}

const fn style(on: bool, style: Style) -> Style {
    if on { style } else { Style::new() }
}
