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

/// Writes a share in percent with one decimal, rounded; but only all is 100 %.
#[must_use]
pub fn percent(part: u64, whole: u64) -> String {
    let mille = share(part, whole, 1_000);
    format!("{}.{} %", mille / 10, mille % 10)
}

/// The same with two decimals, for shares that are small: of lost packets, for example.
#[must_use]
pub fn fine_percent(part: u64, whole: u64) -> String {
    let share = share(part, whole, 10_000);
    format!("{}.{:02} %", share / 100, share % 100)
}

/// Returns a share in parts of `unit`, rounded; all of them only if it is all, 0 of nothing.
fn share(part: u64, whole: u64, unit: u64) -> u64 {
    if part >= whole {
        return if whole == 0 { 0 } else { unit };
    }
    let (part, whole) = (u128::from(part), u128::from(whole));
    let rounded = (part * u128::from(unit) + whole / 2) / whole;
    // Less than all, so no more than `unit`.
    (rounded as u64).min(unit - 1)
}

/// Rounds a time that is known to about 2 % to two digits: `2.7 ms`.
#[must_use]
pub fn approximate(span: Duration) -> Duration {
    let nanos = span.as_nanos();
    let digits = nanos.checked_ilog10().unwrap_or(0);
    let step = 10_u64.pow(digits.saturating_sub(1));
    Duration::from_nanos(nanos.saturating_add(step / 2) / step * step)
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
    use plsim_types::Duration;

    use super::{approximate, counted, fine_percent, grouped, percent};

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
        assert_eq!(percent(u64::MAX - 1, u64::MAX), "99.9 %");
        assert_eq!(percent(602, 1_000), "60.2 %");
        assert_eq!(percent(6_015, 10_000), "60.2 %");
        assert_eq!(percent(1, 10_000), "0.0 %");
        assert_eq!(fine_percent(486, 100_000), "0.49 %");
        assert_eq!(fine_percent(99_999, 100_000), "99.99 %");
    }

    #[test]
    fn what_is_known_to_two_digits_is_written_with_two() {
        let approximate = |nanos| approximate(Duration::from_nanos(nanos)).to_string();
        assert_eq!(approximate(0), "0 s");
        assert_eq!(approximate(7), "7 ns");
        assert_eq!(approximate(2_654_208), "2.7 ms");
        assert_eq!(approximate(998_244_352), "1 s");
        assert_eq!(approximate(24_964_000_000), "25 s");
        assert_eq!(approximate(156_000_000_000), "160 s");
    }
}
