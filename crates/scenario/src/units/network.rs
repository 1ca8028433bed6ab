use super::{UnitError, text_leaf};
use core::fmt;
use core::net::{Ipv4Addr, Ipv6Addr};
use core::str::FromStr;
use plsim_types::{Prefix, PrefixError};

/// An IPv4 prefix in CIDR form whose host bits are zero, written as `"10.0.0.0/16"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Network(pub Prefix);

/// An inclusive, non-empty range of ports, written as `"1024-65535"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PortRange {
    first: u16,
    last: u16,
}

impl PortRange {
    /// Builds a range, `None` if it is empty or contains port 0.
    #[must_use]
    pub const fn new(first: u16, last: u16) -> Option<Self> {
        if first == 0 || first > last {
            return None;
        }
        Some(Self { first, last })
    }

    /// Returns the first port, 1..=65535.
    #[must_use]
    pub const fn first(self) -> u16 {
        self.first
    }

    /// Returns the last port, not below the first.
    #[must_use]
    pub const fn last(self) -> u16 {
        self.last
    }

    /// Returns the number of ports, 1..=65535.
    #[must_use]
    pub fn size(self) -> u32 {
        u32::from(self.last) - u32::from(self.first) + 1
    }
}

/// Parses an IPv4 address; says so if the text is IPv6 (PLS-21) or has leading zeros.
pub(super) fn parse_address(text: &str) -> Result<Ipv4Addr, UnitError> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    if text.parse::<Ipv6Addr>().is_ok() {
        return Err(ipv6());
    }
    let parts: Vec<&str> = text.split('.').collect();
    let digits = |part: &&str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if parts.len() == 4 && parts.iter().all(digits) {
        if parts
            .iter()
            .any(|part| part.len() > 1 && part.starts_with('0'))
        {
            let plain: Vec<&str> = parts
                .iter()
                .map(|part| match part.trim_start_matches('0') {
                    "" => "0",
                    rest => rest,
                })
                .collect();
            return Err(UnitError::with_help(
                "leading zeros make an address ambiguous: some programs read them as octal",
                format!("write \"{}\"", plain.join(".")),
            ));
        }
        return Err(UnitError::new(
            "each of the four numbers of an address is at most 255",
        ));
    }
    Err(UnitError::with_help(
        "not an IPv4 address",
        "write four numbers with points, for example \"10.0.1.10\"",
    ))
}

fn ipv6() -> UnitError {
    UnitError::with_help(
        "a Private Link Service carries IPv4 only (PLS-21)",
        "use an IPv4 address",
    )
}

impl FromStr for Network {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let error = match text.parse() {
            Ok(prefix) => return Ok(Self(prefix)),
            Err(error) => error,
        };
        let hint = "write a network and its length, for example \"10.0.0.0/16\"";
        let (address, length) = text.split_once('/').unwrap_or((text, ""));
        Err(match error {
            PrefixError::HostBits(network) => UnitError::with_help(
                format!("bits beyond the /{} are set", network.length()),
                format!("the network is \"{network}\""),
            ),
            PrefixError::Length => UnitError::with_help("the prefix length is above 32", hint),
            PrefixError::Syntax if length.parse::<Ipv4Addr>().is_ok() => UnitError::with_help(
                "a mask in dotted form is not accepted",
                "write the number of leading one bits, for example \"10.0.0.0/16\"",
            ),
            PrefixError::Syntax => match parse_address(address) {
                Err(wrong) => UnitError {
                    help: wrong.help.or(Some(hint.into())),
                    ..wrong
                },
                Ok(_) => UnitError::with_help("not an IPv4 prefix", hint),
            },
        })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for PortRange {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let hint = "write the first and the last port, for example \"1024-65535\"";
        let plain = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let (first, last) = text
            .split_once('-')
            .filter(|(first, last)| plain(first) && plain(last))
            .ok_or_else(|| UnitError::with_help("not a range of ports", hint))?;
        let port = |text: &str| {
            text.parse::<u16>()
                .map_err(|_| UnitError::with_help("a port is at most 65535", hint))
        };
        let (first, last) = (port(first)?, port(last)?);
        Self::new(first, last).ok_or_else(|| {
            let message = if first == 0 {
                "port 0 cannot be used"
            } else {
                "the range is empty: its first port is above its last"
            };
            UnitError::with_help(message, hint)
        })
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

text_leaf!(
    Network,
    "ipv4-prefix",
    r"^[0-9]{1,3}(\.[0-9]{1,3}){3}/[0-9]{1,2}$",
    "An IPv4 prefix in CIDR form whose host bits are zero.",
    ["10.0.0.0/16"]
);
text_leaf!(
    PortRange,
    "port-range",
    r"^[0-9]{1,5}-[0-9]{1,5}$",
    "An inclusive range of ports from 1 to 65535.",
    ["1024-65535"]
);

#[cfg(test)]
mod tests {
    use super::{Network, PortRange, parse_address};

    #[test]
    fn addresses_with_leading_zeros_are_refused_with_the_plain_form() {
        let error = parse_address("010.0.0.1").unwrap_err();
        assert_eq!(error.help.as_deref(), Some("write \"10.0.0.1\""));
    }

    #[test]
    fn ipv6_is_refused_by_name_of_the_rule() {
        assert!(
            parse_address("fd00::1")
                .unwrap_err()
                .message
                .contains("PLS-21")
        );
        assert!(
            "fd00::/8"
                .parse::<Network>()
                .unwrap_err()
                .message
                .contains("PLS-21")
        );
    }

    #[test]
    fn host_bits_are_refused_with_the_network_that_was_meant() {
        let error = "10.0.0.1/24".parse::<Network>().unwrap_err();
        assert_eq!(
            error.help.as_deref(),
            Some("the network is \"10.0.0.0/24\"")
        );
    }

    #[test]
    fn odd_addresses_prefixes_and_ranges_are_refused() {
        for text in [
            "",
            "10.0.0",
            "256.0.0.1",
            "10.0.0.1 ",
            "localhost",
            "1.2.3.4.5",
        ] {
            assert!(parse_address(text).is_err(), "{text}");
        }
        for text in [
            "10.0.0.0",
            "10.0.0.0/33",
            "10.0.0.0/255.255.0.0",
            "/8",
            "010.0.0.0/8",
        ] {
            assert!(text.parse::<Network>().is_err(), "{text}");
        }
        for text in ["1024", "0-5", "9-8", "1-65536", "1--2", "a-b", "-", "+1-2"] {
            assert!(text.parse::<PortRange>().is_err(), "{text}");
        }
        assert_eq!("1024-65535".parse::<PortRange>().unwrap().size(), 64_512);
    }
}
