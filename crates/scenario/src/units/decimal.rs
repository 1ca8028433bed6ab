//! Exact decimal numbers followed by a unit: no floating point anywhere.

use super::UnitError;

/// A decimal number `digits / 10^scale`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Decimal {
    pub(super) digits: u128,
    pub(super) scale: u32,
}

/// Digits a number may have: more cannot matter in any unit, and u128 stays far from overflow.
const MAX_DIGITS: usize = 19;

impl Decimal {
    /// Multiplies by `factor`; `None` if the product is not whole.
    pub(super) fn times(self, factor: u128) -> Result<u128, Product> {
        let product = self.digits.checked_mul(factor).ok_or(Product::TooLarge)?;
        let divisor = 10_u128.pow(self.scale);
        if product % divisor == 0 {
            Ok(product / divisor)
        } else {
            Err(Product::NotWhole)
        }
    }
}

/// Why a product is not a whole number that fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Product {
    TooLarge,
    NotWhole,
}

/// Splits `1.5ms` into the number and the unit (which may stand after one space).
///
/// `noun` names the value in messages, `example` is a correct one.
pub(super) fn split<'t>(
    text: &'t str,
    noun: &str,
    example: &str,
) -> Result<(Decimal, &'t str), UnitError> {
    let hint = || format!("write {noun} as a number and a unit, for example \"{example}\"");
    let lower = text.to_ascii_lowercase();
    if text.is_empty() {
        return Err(UnitError::with_help(
            format!("an empty text is not {noun}"),
            hint(),
        ));
    }
    if text.starts_with('-') {
        return Err(UnitError::with_help(
            format!("{noun} cannot be negative"),
            hint(),
        ));
    }
    if lower.starts_with("nan") || lower.starts_with("inf") || lower.starts_with("+inf") {
        return Err(UnitError::with_help(
            format!("{noun} must be a finite number"),
            hint(),
        ));
    }
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let number =
        parse(number).ok_or_else(|| UnitError::with_help(format!("not {noun}"), hint()))?;
    let unit = unit.strip_prefix(' ').unwrap_or(unit);
    Ok((number, unit))
}

fn parse(text: &str) -> Option<Decimal> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let dangling = text.contains('.') && fraction.is_empty();
    let digits = whole.len() + fraction.len();
    if whole.is_empty() || dangling || digits > MAX_DIGITS || fraction.contains('.') {
        return None;
    }
    let digits = format!("{whole}{fraction}").parse().ok()?;
    let scale = u32::try_from(fraction.len()).ok()?;
    Some(Decimal { digits, scale })
}

#[cfg(test)]
mod tests {
    use super::{Decimal, Product, split};

    #[test]
    fn numbers_are_split_from_units_exactly() {
        let (number, unit) = split("1.50ms", "a duration", "1s").unwrap();
        assert_eq!(
            (number, unit),
            (
                Decimal {
                    digits: 150,
                    scale: 2
                },
                "ms"
            )
        );
        assert_eq!(number.times(1_000), Ok(1_500));
        assert_eq!(number.times(1), Err(Product::NotWhole));
        assert_eq!(split("7 s", "a duration", "1s").unwrap().1, "s");
    }

    #[test]
    fn what_is_no_decimal_number_is_refused() {
        for text in [
            "",
            "-1s",
            "NaN",
            "inf",
            ".5s",
            "5.s",
            "1.2.3s",
            "s",
            "+1s",
            "12345678901234567890s",
        ] {
            assert!(split(text, "a duration", "1s").is_err(), "{text}");
        }
    }
}
