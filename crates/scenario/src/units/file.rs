use super::{UnitError, text_leaf};
use core::fmt;
use core::str::FromStr;

/// A file beside the scenario file, or in a folder beside it: `"holds.csv"`, `"data/holds.csv"`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileName(String);

/// The longest file name, folders included, in bytes.
const MAX_LENGTH: usize = 200;

impl FileName {
    /// Returns the name as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for FileName {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let rule =
            "name a file beside the scenario file, as in \"holds.csv\" or \"data/holds.csv\"";
        let flaw = |message: &str| Err(UnitError::with_help(message, rule));
        if text.chars().any(crate::source::is_active) {
            return flaw("it contains a control character");
        }
        if text.len() > MAX_LENGTH {
            return flaw("it is too long");
        }
        if crate::copies::is_numbered(text) {
            return flaw("all copies of a section have one file");
        }
        if text.contains(['\\', ':']) {
            return flaw("folders are separated by `/`");
        }
        if text.starts_with(['/', '~']) {
            return flaw("it must lie beside the scenario");
        }
        if text.split('/').any(|part| part == "..") {
            return flaw("it must lie beside the scenario, not above it");
        }
        if text
            .split('/')
            .any(|part| part.is_empty() || part.starts_with(['.', '-']))
        {
            return flaw("it is no name of a file");
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

text_leaf!(
    FileName,
    "file-name",
    r"^[^/\\:]+(/[^/\\:]+)*$",
    "A file beside the scenario file, or in a folder beside it.",
    ["holds.csv"]
);

#[cfg(test)]
mod tests {
    use super::FileName;

    #[test]
    fn a_file_lies_beside_the_scenario() {
        for good in ["holds.csv", "data/holds 2.csv"] {
            assert_eq!(good.parse::<FileName>().unwrap().to_string(), good);
        }
        let long = "a".repeat(201);
        for bad in [
            "",
            "/etc/passwd",
            "../holds.csv",
            "a/../../b",
            "./a",
            "a//b",
            "a/",
            "-",
            "--x",
            "~/a",
            "c:\\a",
            "file:a",
            "a\u{202e}b",
            ".hidden",
            &long,
        ] {
            assert!(bad.parse::<FileName>().is_err(), "{bad}");
        }
    }
}
