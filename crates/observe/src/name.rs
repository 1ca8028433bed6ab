use std::fmt::Write as _;

/// Returns a name with every character that could steer a terminal or hide text shown as an
/// escape: control characters (C0, DEL, C1), bidirectional overrides and line separators.
///
/// At most 200 characters of the name are kept; an ellipsis stands for the rest.
#[must_use]
pub fn sanitised(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for (count, character) in name.chars().enumerate() {
        if count == LONGEST {
            out.push('…');
            break;
        }
        if steers(character) {
            // Writing to a string cannot fail.
            let _ = write!(out, "{}", character.escape_unicode());
        } else {
            out.push(character);
        }
    }
    out
}

const LONGEST: usize = 200;

fn steers(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{200E}' | '\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2066}'..='\u{2069}' | '\u{FEFF}'
        )
}

#[cfg(test)]
mod tests {
    use super::sanitised;

    #[test]
    fn control_and_bidirectional_characters_become_escapes() {
        assert_eq!(sanitised("vm-0 é"), "vm-0 é");
        assert_eq!(sanitised("a\u{1b}[31m\nb"), "a\\u{1b}[31m\\u{a}b");
        assert_eq!(
            sanitised("\u{7f}\u{9b}\u{202e}\u{2028}"),
            "\\u{7f}\\u{9b}\\u{202e}\\u{2028}"
        );
    }

    #[test]
    fn a_long_name_is_cut() {
        let name = sanitised(&"x".repeat(100_000));
        assert_eq!(name.chars().count(), 201);
        assert!(name.ends_with("x…"));
    }
}
