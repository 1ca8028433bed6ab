use core::fmt;
use core::net::{Ipv4Addr, SocketAddrV4};

use plsim_types::LinkId;

/// The first 12 bytes of every version 2 header (PROXY protocol §2.2).
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// Version 2, command LOCAL.
const LOCAL: u8 = 0x20;

/// Version 2, command PROXY.
const PROXY: u8 = 0x21;

/// Address family AF_UNSPEC: no addresses that anybody should read.
const UNSPECIFIED: u8 = 0x00;

/// Address family AF_INET, protocol STREAM.
const TCP_OVER_IPV4: u8 = 0x11;

/// Bytes of two IPv4 addresses and two ports.
const ADDRESSES: usize = 12;

/// Azure's type-length-value: type 0xEE, length 5, subtype 1 "private endpoint LINKID" (PP-2).
const LINK_ID_TLV: [u8; 4] = [0xEE, 0x00, 0x05, 0x01];

/// A PROXY protocol version 2 header, as Private Link puts it before the client's first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyHeader {
    /// The connection is the proxy's own, such as a health probe's, or its addresses are not told.
    Local,
    /// A client's TCP connection over IPv4.
    Proxied {
        /// The client.
        source: SocketAddrV4,
        /// What the client dialled: the private endpoint.
        destination: SocketAddrV4,
        /// The LINKID, if Azure's type-length-value is there.
        link: Option<LinkId>,
    },
}

/// Why bytes do not begin with a PROXY protocol version 2 header that an application can read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyError {
    /// They do not begin with the signature.
    NoSignature,
    /// They end before the header does.
    Partial,
    /// The version is not 2.
    BadVersion(u8),
    /// The command is neither LOCAL nor PROXY.
    BadCommand(u8),
    /// Address family and protocol are not TCP over IPv4; the value is their byte.
    UnsupportedFamily(u8),
    /// The length is too small for the addresses.
    BadLength(u16),
    /// A type-length-value does not end where the header does.
    BadTlv,
}

impl fmt::Display for ProxyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSignature => f.write_str("no PROXY protocol signature"),
            Self::Partial => f.write_str("the PROXY header is cut short"),
            Self::BadVersion(version) => write!(f, "PROXY protocol version {version} is not 2"),
            Self::BadCommand(command) => write!(f, "PROXY command {command} is unknown"),
            Self::UnsupportedFamily(family) => {
                write!(f, "PROXY address family {family:#04x} is not TCP over IPv4")
            }
            Self::BadLength(length) => write!(f, "PROXY header length {length} is too small"),
            Self::BadTlv => f.write_str("a PROXY type-length-value has a wrong length"),
        }
    }
}

impl core::error::Error for ProxyError {}

impl ProxyHeader {
    /// Bytes of the header of a consumer's connection; even, so a checksum keeps its byte order.
    pub const LENGTH: usize = 36;

    /// Bytes of every header before its addresses, and of [`Self::local`].
    pub const FIXED: usize = 16;

    /// Encodes the header of a consumer's connection: addresses in network order, then the LINKID
    /// in little-endian order (PP-2).
    ///
    /// `source` is the client and `destination` the private endpoint, as the consumer sees them.
    #[must_use]
    pub fn proxy(
        source: SocketAddrV4,
        destination: SocketAddrV4,
        link: LinkId,
    ) -> [u8; Self::LENGTH] {
        let mut bytes = [0; Self::LENGTH];
        let rest = (Self::LENGTH - Self::FIXED) as u16;
        bytes[..16].copy_from_slice(&fixed(PROXY, TCP_OVER_IPV4, rest));
        bytes[16..20].copy_from_slice(&source.ip().octets());
        bytes[20..24].copy_from_slice(&destination.ip().octets());
        bytes[24..26].copy_from_slice(&source.port().to_be_bytes());
        bytes[26..28].copy_from_slice(&destination.port().to_be_bytes());
        bytes[28..32].copy_from_slice(&LINK_ID_TLV);
        bytes[32..].copy_from_slice(&link.0.to_le_bytes());
        bytes
    }

    /// Encodes the header of a connection of the proxy's own, such as a health probe (PP-7), as the
    /// protocol advises: command LOCAL, no addresses follow.
    #[must_use]
    pub fn local() -> [u8; Self::FIXED] {
        fixed(LOCAL, UNSPECIFIED, 0)
    }

    /// Encodes the other way not to tell addresses: command PROXY with the family AF_UNSPEC.
    #[must_use]
    pub fn unspecified() -> [u8; Self::FIXED] {
        fixed(PROXY, UNSPECIFIED, 0)
    }

    /// Reads the header that `bytes` begin with, and says how long it is.
    ///
    /// As receivers must, it skips the addresses of LOCAL and AF_UNSPEC and every type-length-value
    /// but Azure's. It waits for nothing: a header that is not whole is an error, for Private Link
    /// sends it in one segment.
    ///
    /// # Errors
    /// The first [`ProxyError`] in the order of the bytes.
    pub fn parse(bytes: &[u8]) -> Result<(Self, usize), ProxyError> {
        let Some((signature, rest)) = bytes.split_first_chunk() else {
            let is_begin = SIGNATURE.starts_with(bytes);
            return Err(if is_begin && !bytes.is_empty() {
                ProxyError::Partial
            } else {
                ProxyError::NoSignature
            });
        };
        if *signature != SIGNATURE {
            return Err(ProxyError::NoSignature);
        }
        let Some((&[command, family, high, low], rest)) = rest.split_first_chunk() else {
            return Err(ProxyError::Partial);
        };
        if command >> 4 != 2 {
            return Err(ProxyError::BadVersion(command >> 4));
        }
        if command != LOCAL && command != PROXY {
            return Err(ProxyError::BadCommand(command & 0x0F));
        }
        let length = u16::from_be_bytes([high, low]);
        let rest = rest.get(..usize::from(length)).ok_or(ProxyError::Partial)?;
        let total = Self::FIXED + rest.len();
        if command == LOCAL || family == UNSPECIFIED {
            return Ok((Self::Local, total));
        }
        if family != TCP_OVER_IPV4 {
            return Err(ProxyError::UnsupportedFamily(family));
        }
        let (addresses, values) = rest
            .split_first_chunk::<ADDRESSES>()
            .ok_or(ProxyError::BadLength(length))?;
        let [a, b, c, d, e, f, g, h, i, j, k, l] = *addresses;
        let header = Self::Proxied {
            source: SocketAddrV4::new(Ipv4Addr::new(a, b, c, d), u16::from_be_bytes([i, j])),
            destination: SocketAddrV4::new(Ipv4Addr::new(e, f, g, h), u16::from_be_bytes([k, l])),
            link: link_id(values)?,
        };
        Ok((header, total))
    }
}

/// Encodes what every header begins with.
fn fixed(command: u8, family: u8, rest: u16) -> [u8; ProxyHeader::FIXED] {
    let mut bytes = [0; ProxyHeader::FIXED];
    bytes[..12].copy_from_slice(&SIGNATURE);
    bytes[12] = command;
    bytes[13] = family;
    bytes[14..].copy_from_slice(&rest.to_be_bytes());
    bytes
}

/// Looks through type-length-values for Azure's LINKID; the last one counts.
fn link_id(mut values: &[u8]) -> Result<Option<LinkId>, ProxyError> {
    let mut found = None;
    while !values.is_empty() {
        let (&[kind, high, low], rest) = values.split_first_chunk().ok_or(ProxyError::BadTlv)?;
        let length = usize::from(u16::from_be_bytes([high, low]));
        let (value, rest) = rest.split_at_checked(length).ok_or(ProxyError::BadTlv)?;
        if let (true, &[1, a, b, c, d]) = (kind == LINK_ID_TLV[0], value) {
            found = Some(LinkId(u32::from_le_bytes([a, b, c, d])));
        }
        values = rest;
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::{ProxyError, ProxyHeader};
    use core::net::{Ipv4Addr, SocketAddrV4};
    use plsim_types::LinkId;

    const SOURCE: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 1, 0, 4), 49152);
    const DESTINATION: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 1, 0, 10), 443);
    const LINK: LinkId = LinkId(0x2100_45C1);

    /// PP-2, to the byte: addresses in network order, the LINKID in little endian.
    const GOLDEN: [u8; 36] = [
        0x0D, 0x0A, 0x0D, 0x0A, 0x00, 0x0D, 0x0A, 0x51, 0x55, 0x49, 0x54, 0x0A, 0x21, 0x11, 0x00,
        0x14, 0x0A, 0x01, 0x00, 0x04, 0x0A, 0x01, 0x00, 0x0A, 0xC0, 0x00, 0x01, 0xBB, 0xEE, 0x00,
        0x05, 0x01, 0xC1, 0x45, 0x00, 0x21,
    ];

    #[test]
    fn the_azure_header_carries_the_link_id_in_little_endian() {
        assert_eq!(ProxyHeader::proxy(SOURCE, DESTINATION, LINK), GOLDEN);
        let header = ProxyHeader::Proxied {
            source: SOURCE,
            destination: DESTINATION,
            link: Some(LINK),
        };
        assert_eq!(ProxyHeader::parse(&GOLDEN), Ok((header, 36)));
    }

    #[test]
    fn a_probe_header_is_16_bytes_without_addresses() {
        let expected = [
            0x0D, 0x0A, 0x0D, 0x0A, 0x00, 0x0D, 0x0A, 0x51, 0x55, 0x49, 0x54, 0x0A, 0x20, 0x00,
            0x00, 0x00,
        ];
        assert_eq!(ProxyHeader::local(), expected);
        for header in [expected, ProxyHeader::unspecified()] {
            assert_eq!(ProxyHeader::parse(&header), Ok((ProxyHeader::Local, 16)));
        }
        assert_eq!(ProxyHeader::unspecified()[12..], [0x21, 0, 0, 0]);
    }

    #[test]
    fn a_header_that_is_not_whole_is_refused() {
        for length in 1..GOLDEN.len() {
            let part = ProxyHeader::parse(&GOLDEN[..length]);
            assert_eq!(part, Err(ProxyError::Partial), "{length} bytes");
        }
        assert_eq!(ProxyHeader::parse(&[]), Err(ProxyError::NoSignature));
        assert_eq!(ProxyHeader::parse(b"GET /"), Err(ProxyError::NoSignature));
        assert_eq!(
            ProxyHeader::parse(b"PROXY TCP4 10.1.0.4 10.1.0.10 49152 443\r\n"),
            Err(ProxyError::NoSignature)
        );
    }

    #[test]
    fn every_wrong_field_has_its_own_error() {
        let with = |at: usize, value: u8| {
            let mut bytes = GOLDEN;
            bytes[at] = value;
            ProxyHeader::parse(&bytes)
        };
        assert_eq!(with(0, 0), Err(ProxyError::NoSignature));
        assert_eq!(with(11, 0), Err(ProxyError::NoSignature));
        assert_eq!(with(12, 0x11), Err(ProxyError::BadVersion(1)));
        assert_eq!(with(12, 0x22), Err(ProxyError::BadCommand(2)));
        assert_eq!(with(13, 0x12), Err(ProxyError::UnsupportedFamily(0x12)));
        assert_eq!(with(13, 0x21), Err(ProxyError::UnsupportedFamily(0x21)));
        assert_eq!(with(14, 0xFF), Err(ProxyError::Partial));
        assert_eq!(with(15, 21), Err(ProxyError::Partial));
        assert_eq!(with(15, 11), Err(ProxyError::BadLength(11)));
        // The type-length-value claims more, or less, than there is.
        assert_eq!(with(15, 19), Err(ProxyError::BadTlv));
        assert_eq!(with(30, 6), Err(ProxyError::BadTlv));
        assert_eq!(with(30, 4), Err(ProxyError::BadTlv));
    }

    #[test]
    fn a_header_without_azures_value_has_no_link_id() {
        let link = |at: usize, value: u8, length: u8| {
            let mut bytes = GOLDEN;
            bytes[at] = value;
            bytes[15] = length;
            match ProxyHeader::parse(&bytes) {
                Ok((ProxyHeader::Proxied { link, .. }, total)) => Some((link, total)),
                _ => None,
            }
        };
        assert_eq!(link(15, 12, 12), Some((None, 28)));
        // Another type, and another subtype.
        assert_eq!(link(28, 0xEA, 20), Some((None, 36)));
        assert_eq!(link(31, 2, 20), Some((None, 36)));
    }
}
