use core::fmt;
use core::net::{Ipv4Addr, SocketAddrV4};
use core::str::FromStr;

/// A transport protocol that Private Link carries (PLS-22: TCP and UDP, nothing else).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// Transmission Control Protocol, IP protocol number 6.
    Tcp,
    /// User Datagram Protocol, IP protocol number 17.
    Udp,
}

impl Protocol {
    /// Both protocols, in a fixed order.
    pub const ALL: [Self; 2] = [Self::Tcp, Self::Udp];

    /// Returns the IANA protocol number.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
        }
    }

    /// Returns the lower-case name: `tcp` or `udp`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }

    /// Returns 0 for TCP and 1 for UDP, to index per-protocol arrays.
    #[must_use]
    pub const fn index(self) -> usize {
        match self {
            Self::Tcp => 0,
            Self::Udp => 1,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The way a packet goes relative to the connection it belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// From the consumer (who opened the connection) to the backend.
    Original,
    /// From the backend to the consumer.
    Reply,
}

impl Direction {
    /// Returns the other way.
    #[must_use]
    pub const fn reversed(self) -> Self {
        match self {
            Self::Original => Self::Reply,
            Self::Reply => Self::Original,
        }
    }

    /// Returns 0 for original and 1 for reply, to index per-direction arrays.
    #[must_use]
    pub const fn index(self) -> usize {
        match self {
            Self::Original => 0,
            Self::Reply => 1,
        }
    }
}

/// The five values that name a flow in one place of the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FiveTuple {
    /// TCP or UDP.
    pub protocol: Protocol,
    /// Who sends.
    pub source: SocketAddrV4,
    /// Who receives.
    pub destination: SocketAddrV4,
}

impl FiveTuple {
    /// Returns the tuple of a packet that answers this one.
    #[must_use]
    pub const fn reversed(self) -> Self {
        Self {
            protocol: self.protocol,
            source: self.destination,
            destination: self.source,
        }
    }
}

impl fmt::Display for FiveTuple {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {} -> {}",
            self.protocol, self.source, self.destination
        )
    }
}

/// An IPv4 prefix in CIDR form whose host bits are zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix {
    address: u32,
    length: u8,
}

/// Why a text or a pair of values is not a prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PrefixError {
    /// The text is not `A.B.C.D/LENGTH`.
    Syntax,
    /// The length is above 32.
    Length,
    /// Bits beyond the length are set; the value is the network that was probably meant.
    HostBits(Prefix),
}

impl fmt::Display for PrefixError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syntax => f.write_str("not an IPv4 prefix of the form 10.0.0.0/16"),
            Self::Length => f.write_str("the prefix length is above 32"),
            Self::HostBits(network) => {
                write!(f, "host bits are set; the network is {network}")
            }
        }
    }
}

impl core::error::Error for PrefixError {}

impl Prefix {
    /// Builds a prefix.
    ///
    /// # Errors
    /// [`PrefixError::Length`] above 32, [`PrefixError::HostBits`] if a bit beyond `length` is set.
    pub const fn new(address: Ipv4Addr, length: u8) -> Result<Self, PrefixError> {
        if length > 32 {
            return Err(PrefixError::Length);
        }
        let bits = address.to_bits();
        let network = Self {
            address: bits & mask(length),
            length,
        };
        if network.address != bits {
            return Err(PrefixError::HostBits(network));
        }
        Ok(network)
    }

    /// Returns the prefix of exactly one address.
    #[must_use]
    pub const fn host(address: Ipv4Addr) -> Self {
        Self {
            address: address.to_bits(),
            length: 32,
        }
    }

    /// Returns the network address.
    #[must_use]
    pub const fn network(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.address)
    }

    /// Returns the last address.
    #[must_use]
    pub const fn last(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.address | !mask(self.length))
    }

    /// Returns the number of leading bits that are fixed, 0..=32.
    #[must_use]
    pub const fn length(self) -> u8 {
        self.length
    }

    /// Returns the number of addresses, 1..=2^32.
    #[must_use]
    pub const fn size(self) -> u64 {
        1 << (32 - self.length)
    }

    /// Tells whether the address lies inside.
    #[must_use]
    pub const fn contains(self, address: Ipv4Addr) -> bool {
        address.to_bits() & mask(self.length) == self.address
    }

    /// Tells whether the other prefix lies wholly inside this one.
    #[must_use]
    pub const fn covers(self, other: Self) -> bool {
        other.length >= self.length && self.contains(other.network())
    }

    /// Tells whether the two share an address.
    #[must_use]
    pub const fn overlaps(self, other: Self) -> bool {
        self.covers(other) || other.covers(self)
    }
}

const fn mask(length: u8) -> u32 {
    match length {
        0 => 0,
        _ => u32::MAX << (32 - length),
    }
}

impl FromStr for Prefix {
    type Err = PrefixError;

    fn from_str(text: &str) -> Result<Self, PrefixError> {
        let (address, length) = text.split_once('/').ok_or(PrefixError::Syntax)?;
        let address = address.parse().map_err(|_| PrefixError::Syntax)?;
        if length.is_empty() || !length.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(PrefixError::Syntax);
        }
        Self::new(address, length.parse().map_err(|_| PrefixError::Length)?)
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network(), self.length)
    }
}

#[cfg(test)]
mod tests {
    use super::{Prefix, PrefixError};
    use core::net::Ipv4Addr;

    #[test]
    fn a_prefix_with_host_bits_names_the_network_that_was_meant() {
        let meant: Prefix = "10.0.0.0/24".parse().unwrap();
        assert_eq!(
            "10.0.0.1/24".parse::<Prefix>(),
            Err(PrefixError::HostBits(meant))
        );
    }

    #[test]
    fn odd_prefix_texts_are_refused() {
        for text in [
            "",
            "10.0.0.0",
            "10.0.0.0/",
            "10.0.0.0/+8",
            "10.0.0/8",
            "010.0.0.1/32",
            "::/0",
        ] {
            assert_eq!(text.parse::<Prefix>(), Err(PrefixError::Syntax), "{text}");
        }
        assert_eq!("10.0.0.0/33".parse::<Prefix>(), Err(PrefixError::Length));
        assert_eq!("10.0.0.0/999".parse::<Prefix>(), Err(PrefixError::Length));
    }

    #[test]
    fn prefixes_cover_contain_and_overlap() {
        let wide: Prefix = "10.0.0.0/16".parse().unwrap();
        let narrow: Prefix = "10.0.3.0/24".parse().unwrap();
        let all: Prefix = "0.0.0.0/0".parse().unwrap();
        assert!(wide.covers(narrow) && !narrow.covers(wide) && narrow.overlaps(wide));
        assert!(all.contains(Ipv4Addr::BROADCAST) && all.size() == 1 << 32);
        assert_eq!(narrow.last(), Ipv4Addr::new(10, 0, 3, 255));
        assert!(!narrow.contains(Ipv4Addr::new(10, 0, 4, 0)));
    }
}
