use super::{UnitError, text_leaf};
use core::fmt;
use core::str::FromStr;

/// Bytes of a packet, written as hexadecimal digits, with spaces wherever they help; at most
/// 65 535.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HexBytes(pub Vec<u8>);

/// The longest IPv4 packet.
const LONGEST: usize = 65_535;

impl FromStr for HexBytes {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let rule = "write two hexadecimal digits for each byte, as in \"4500 002c\"";
        let mut digits = Vec::with_capacity(text.len());
        for character in text.chars().filter(|c| *c != ' ') {
            match character.to_digit(16) {
                Some(digit) => digits.push(digit as u8),
                None => {
                    let odd = character.escape_debug();
                    let message = format!("`{odd}` is no hexadecimal digit");
                    return Err(UnitError::with_help(message, rule));
                }
            }
        }
        let (pairs, odd) = digits.as_chunks::<2>();
        if !odd.is_empty() {
            return Err(UnitError::with_help("the last byte has one digit", rule));
        }
        if pairs.len() > LONGEST {
            return Err(UnitError::new("a packet has at most 65535 bytes"));
        }
        Ok(Self(
            pairs.iter().map(|[high, low]| high << 4 | low).collect(),
        ))
    }
}

impl fmt::Display for HexBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

text_leaf!(
    HexBytes,
    "hex-bytes",
    "^[0-9A-Fa-f ]*$",
    "Bytes as hexadecimal digits, two each, with spaces wherever they help; at most 65535 bytes.",
    ["4500 0020 0000 4000 4011 0000 0a01 0004 0a01 000a"]
);

#[cfg(test)]
mod tests {
    use super::HexBytes;

    #[test]
    fn hex_text_is_read_in_pairs_and_written_back() {
        let bytes: HexBytes = "45 00fF".parse().unwrap();
        assert_eq!(bytes.0, [0x45, 0x00, 0xFF]);
        assert_eq!(bytes.to_string(), "4500ff");
        assert_eq!("".parse(), Ok(HexBytes(Vec::new())));
        assert!("4".parse::<HexBytes>().is_err());
        assert!("0x45".parse::<HexBytes>().is_err());
        let longest = "00".repeat(65_535);
        assert_eq!(longest.parse::<HexBytes>().unwrap().0.len(), 65_535);
        assert!(format!("{longest}00").parse::<HexBytes>().is_err());
    }
}
