use std::fmt;
use std::panic::AssertUnwindSafe;
use std::process::ExitCode;
use std::sync::Mutex;

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

/// What is being run, for the report of a panic.
static RUNNING: Mutex<String> = Mutex::new(String::new());

/// Notes what is being run and how to run it again.
pub(crate) fn note_running(what: String) {
    if let Ok(mut running) = RUNNING.lock() {
        *running = what;
    }
}

/// Runs the program; a panic, which is always our own fault, is reported and becomes exit code 3,
/// after everything that was half-written has been cleaned up.
pub(crate) fn guarded(
    report: impl Fn(&str) + Send + Sync + 'static,
    program: impl FnOnce() -> Exit,
) -> Exit {
    std::panic::set_hook(Box::new(move |panic| {
        let running = RUNNING
            .try_lock()
            .map(|running| running.clone())
            .unwrap_or_default();
        report(&format!(
            "internal error in plsim {}: {panic}\n{running}Please report this with the scenario.",
            env!("CARGO_PKG_VERSION")
        ));
    }));
    std::panic::catch_unwind(AssertUnwindSafe(program)).unwrap_or(Exit::Failure)
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::{Exit, guarded, note_running};

    #[test]
    fn a_panic_is_reported_with_what_was_running_and_ends_with_3() {
        note_running("While running: plsim run x.toml\n".to_owned());
        let told = Arc::new(Mutex::new(String::new()));
        let reporter = Arc::clone(&told);
        let report = move |text: &str| reporter.lock().unwrap().push_str(text);
        assert_eq!(guarded(report, || panic!("on purpose")), Exit::Failure);
        let told = told.lock().unwrap().clone();
        for part in [
            "internal error",
            "on purpose",
            "While running: plsim run x.toml",
        ] {
            assert!(told.contains(part), "{told}");
        }
        assert_eq!(guarded(|_| (), || Exit::Success), Exit::Success);
        drop(std::panic::take_hook());
    }

    #[test]
    fn the_worst_end_of_several_counts() {
        let worst = Exit::ExpectationFailed
            .worse(Exit::Invalid)
            .worse(Exit::Success);
        assert_eq!(worst, Exit::Invalid);
        assert_eq!(Exit::Failure.worse(Exit::Signal(2)), Exit::Signal(2));
    }
}
