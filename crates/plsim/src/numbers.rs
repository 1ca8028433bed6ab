//! Numbers as people read them.

use plsim_types::Duration;

/// Writes a whole number in groups of three digits: `64 512`.
#[must_use]
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

/// Writes a number with its noun: `1 connection`, `5 488 connections`.
#[must_use]
pub fn counted(number: u64, noun: &str) -> String {
    let ending = if number == 1 { "" } else { "s" };
    format!("{} {noun}{ending}", grouped(number))
}

/// Writes a share in percent with one decimal, rounded down so that only all is 100 %.
#[must_use]
pub fn percent(part: u64, whole: u64) -> String {
    let mille = part.saturating_mul(1_000).checked_div(whole).unwrap_or(0);
    format!("{}.{} %", mille / 10, mille % 10)
}

/// Rounds a time to what the eye can use, three digits after the point: `70 s`.
#[must_use]
pub fn rounded(span: Duration) -> Duration {
    let nanos = span.as_nanos();
    let unit = match nanos {
        0..1_000 => 1,
        1_000..1_000_000 => 1_000,
        1_000_000..1_000_000_000 => 1_000_000,
        _ => 1_000_000_000,
    };
    let step = (unit / 1_000).max(1);
    Duration::from_nanos(nanos / step * step)
}

#[cfg(test)]
mod tests {
    use super::{counted, grouped, percent};

    #[test]
    fn numbers_are_grouped_by_three() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(64_512), "64 512");
        assert_eq!(grouped(1_000_000), "1 000 000");
        assert_eq!(counted(1, "packet"), "1 packet");
        assert_eq!(counted(2_000, "packet"), "2 000 packets");
    }

    #[test]
    fn only_all_is_a_hundred_percent() {
        assert_eq!(percent(64_511, 64_512), "99.9 %");
        assert_eq!(percent(64_512, 64_512), "100.0 %");
        assert_eq!(percent(0, 0), "0.0 %");
    }
}
