use super::decimal::{Product, split};
use super::{UnitError, text_leaf};
use core::fmt;
use core::str::FromStr;

/// A number of bytes, written as `"200B"`, `"3kB"` (3 000) or `"1MiB"` (1 048 576); at most 1 TiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ByteSize(pub u64);

/// Bits per second, written as `"1Gbps"` or `"100Mbps"`; 1 kbps..=10 Tbps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bandwidth(pub u64);

const MAX_BYTES: u64 = 1 << 40;
const MAX_BITS_PER_SECOND: u64 = 10_000_000_000_000;

const SIZES: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("TB", 1_000_000_000_000),
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("kB", 1_000),
    ("B", 1),
];

const BANDWIDTHS: [(&str, u64); 5] = [
    ("Tbps", 1_000_000_000_000),
    ("Gbps", 1_000_000_000),
    ("Mbps", 1_000_000),
    ("kbps", 1_000),
    ("bps", 1),
];

impl FromStr for ByteSize {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let (number, unit) = split(text, "a size", "3kB")?;
        let known = "the units of size are B, kB, MB, GB, TB (powers of 1000) and KiB, MiB, GiB, TiB (powers of 1024)";
        let factor = factor(&SIZES, unit, known)?;
        let bytes = number.times(factor.into()).map_err(|why| match why {
            Product::TooLarge => UnitError::new("a size cannot be above 1 TiB"),
            Product::NotWhole => UnitError::new("a size must be a whole number of bytes"),
        })?;
        match u64::try_from(bytes) {
            Ok(bytes) if bytes <= MAX_BYTES => Ok(Self(bytes)),
            _ => Err(UnitError::new("a size cannot be above 1 TiB")),
        }
    }
}

impl FromStr for Bandwidth {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let (number, unit) = split(text, "a bandwidth", "1Gbps")?;
        let known =
            "the units of bandwidth are bps, kbps, Mbps, Gbps and Tbps (bits, powers of 1000)";
        let factor = factor(&BANDWIDTHS, unit, known)?;
        let range = || UnitError::new("a bandwidth must lie between 1kbps and 10Tbps");
        let bits = number.times(factor.into()).map_err(|why| match why {
            Product::TooLarge => range(),
            Product::NotWhole => UnitError::new("a bandwidth must be whole bits per second"),
        })?;
        match u64::try_from(bits) {
            Ok(bits) if (1_000..=MAX_BITS_PER_SECOND).contains(&bits) => Ok(Self(bits)),
            _ => Err(range()),
        }
    }
}

fn factor(table: &[(&str, u64)], unit: &str, known: &str) -> Result<u64, UnitError> {
    if unit.is_empty() {
        return Err(UnitError::with_help("the unit is missing", known));
    }
    if let Some((_, factor)) = table.iter().find(|(name, _)| *name == unit) {
        return Ok(*factor);
    }
    let near = table
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(unit));
    Err(match near {
        Some((name, _)) => UnitError::with_help(
            "unknown unit",
            format!("write \"{name}\" (capitals matter); {known}"),
        ),
        None => UnitError::with_help("unknown unit", known),
    })
}

/// Writes a value in the largest unit that divides it.
fn write_whole(f: &mut fmt::Formatter<'_>, table: &[(&str, u64)], value: u64) -> fmt::Result {
    for (name, factor) in table {
        if value >= *factor && value.is_multiple_of(*factor) {
            return write!(f, "{}{name}", value / factor);
        }
    }
    let smallest = table.last().map_or("", |(name, _)| name);
    write!(f, "{value}{smallest}")
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_whole(f, &SIZES, self.0)
    }
}

impl fmt::Display for Bandwidth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_whole(f, &BANDWIDTHS, self.0)
    }
}

text_leaf!(
    ByteSize,
    "byte-size",
    r"^[0-9]+(\.[0-9]+)? ?(B|kB|MB|GB|TB|KiB|MiB|GiB|TiB)$",
    "A number of bytes with a unit: kB is 1000 bytes, KiB is 1024. At most 1 TiB.",
    ["200B", "3kB", "1MiB"]
);
text_leaf!(
    Bandwidth,
    "bandwidth",
    r"^[0-9]+(\.[0-9]+)? ?(bps|kbps|Mbps|Gbps|Tbps)$",
    "Bits per second with a unit in powers of 1000. From 1 kbps to 10 Tbps.",
    ["1Gbps", "100Mbps"]
);

#[cfg(test)]
mod tests {
    use super::{Bandwidth, ByteSize};

    #[test]
    fn sizes_know_powers_of_1000_and_of_1024() {
        let bytes = |text: &str| text.parse().ok().map(|ByteSize(bytes)| bytes);
        assert_eq!(bytes("200B"), Some(200));
        assert_eq!(bytes("3kB"), Some(3_000));
        assert_eq!(bytes("1.5KiB"), Some(1_536));
        assert_eq!(bytes("1TiB"), Some(1 << 40));
        for text in [
            "200",
            "1.5B",
            "2TiB",
            "1kb",
            "1KB",
            "-1B",
            "99999999999999999TB",
        ] {
            assert_eq!(bytes(text), None, "{text}");
        }
    }

    #[test]
    fn bandwidths_lie_between_1_kbps_and_10_tbps() {
        let bits = |text: &str| text.parse().ok().map(|Bandwidth(bits)| bits);
        assert_eq!(bits("1Gbps"), Some(1_000_000_000));
        assert_eq!(bits("1.5Mbps"), Some(1_500_000));
        for text in ["0bps", "999bps", "11Tbps", "1gbps", "1GBps", "1Gb/s"] {
            assert_eq!(bits(text), None, "{text}");
        }
    }

    #[test]
    fn written_values_read_back_as_themselves() {
        for text in ["200B", "3kB", "1MiB", "0B", "1GB"] {
            assert_eq!(text.parse::<ByteSize>().unwrap().to_string(), text);
        }
        assert_eq!(
            "1500kbps".parse::<Bandwidth>().unwrap().to_string(),
            "1500kbps"
        );
    }
}
