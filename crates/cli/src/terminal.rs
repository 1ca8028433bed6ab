use std::io::{self, IsTerminal, Write};

use anstyle::{AnsiColor, Style};

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

    /// Writes to standard output.
    ///
    /// # Errors
    /// Those of the stream; a closed pipe among them.
    pub(crate) fn print(&self, text: &str) -> io::Result<()> {
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes())?;
        out.flush()
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
