use std::fmt;
use std::process::ExitCode;

use crate::terminal::Terminal;

/// How the command ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// 0: every run ended and every expectation was met; or nobody reads the output any more.
    Success,
    /// 1: an expectation was not met.
    ExpectationFailed,
    /// 2: wrong usage or an invalid scenario; nothing was run.
    Invalid,
    /// 3: an output error, an internal error, or a determinism mismatch.
    Failure,
    /// 128 + n: ended by signal n.
    Signal(u8),
}

impl Exit {
    /// Returns the worse of two ends of one command.
    pub(crate) fn worse(self, other: Self) -> Self {
        if other.badness() > self.badness() {
            other
        } else {
            self
        }
    }

    const fn badness(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::ExpectationFailed => 1,
            Self::Invalid => 2,
            Self::Failure => 3,
            Self::Signal(_) => 4,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        match exit {
            Exit::Success => Self::SUCCESS,
            Exit::ExpectationFailed => Self::from(1),
            Exit::Invalid => Self::from(2),
            Exit::Failure => Self::from(3),
            Exit::Signal(number) => Self::from(128_u8.saturating_add(number)),
        }
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Success => "success",
            Self::ExpectationFailed => "an expectation was not met",
            Self::Invalid => "invalid",
            Self::Failure => "failure",
            Self::Signal(_) => "interrupted",
        })
    }
}

/// Turns a panic, which is always our own fault, into one clear line and exit code 3.
pub(crate) fn report_panics(terminal: &Terminal) {
    let terminal = terminal.clone();
    std::panic::set_hook(Box::new(move |panic| {
        terminal.error(&format!(
            "internal error in plsim {}: {panic}\n\
             Please report this with the scenario, the options and the seed.",
            env!("CARGO_PKG_VERSION")
        ));
        std::process::exit(3);
    }));
}
