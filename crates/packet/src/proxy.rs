use core::net::SocketAddrV4;

use plsim_types::LinkId;

/// The first 12 bytes of every version 2 header (PROXY protocol §2.2).
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// Version 2, command LOCAL.
const LOCAL: u8 = 0x20;

/// Version 2, command PROXY.
const PROXY: u8 = 0x21;

/// Address family AF_INET, protocol STREAM.
const TCP_OVER_IPV4: u8 = 0x11;

/// Azure's type-length-value: type 0xEE, length 5, subtype 1 "private endpoint LINKID" (PP-2).
const LINK_ID_TLV: [u8; 4] = [0xEE, 0x00, 0x05, 0x01];

/// The PROXY protocol version 2 header that Private Link puts before the client's first byte.
#[derive(Debug, Clone, Copy)]
pub struct ProxyHeader;

impl ProxyHeader {
    /// Encodes the header of a consumer's connection: addresses in network order, then the LINKID
    /// in little-endian order (PP-2).
    ///
    /// `source` is the client and `destination` the private endpoint, as the consumer sees them.
    #[must_use]
    pub fn proxy(source: SocketAddrV4, destination: SocketAddrV4, link: LinkId) -> [u8; 36] {
        let mut bytes = [0; 36];
        bytes[..12].copy_from_slice(&SIGNATURE);
        bytes[12] = PROXY;
        bytes[13] = TCP_OVER_IPV4;
        // 12 bytes of addresses and ports, 8 of the LINKID.
        bytes[14..16].copy_from_slice(&20_u16.to_be_bytes());
        bytes[16..20].copy_from_slice(&source.ip().octets());
        bytes[20..24].copy_from_slice(&destination.ip().octets());
        bytes[24..26].copy_from_slice(&source.port().to_be_bytes());
        bytes[26..28].copy_from_slice(&destination.port().to_be_bytes());
        bytes[28..32].copy_from_slice(&LINK_ID_TLV);
        bytes[32..].copy_from_slice(&link.0.to_le_bytes());
        bytes
    }

    /// Encodes the header of a connection of the proxy's own, such as a health probe (PP-7): no
    /// addresses follow.
    #[must_use]
    pub fn local() -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..12].copy_from_slice(&SIGNATURE);
        bytes[12] = LOCAL;
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::ProxyHeader;
    use core::net::{Ipv4Addr, SocketAddrV4};
    use plsim_types::LinkId;

    #[test]
    fn the_azure_header_carries_the_link_id_in_little_endian() {
        let source = SocketAddrV4::new(Ipv4Addr::new(10, 1, 0, 4), 49152);
        let destination = SocketAddrV4::new(Ipv4Addr::new(10, 1, 0, 10), 443);
        let expected = [
            0x0D, 0x0A, 0x0D, 0x0A, 0x00, 0x0D, 0x0A, 0x51, 0x55, 0x49, 0x54, 0x0A, 0x21, 0x11,
            0x00, 0x14, 0x0A, 0x01, 0x00, 0x04, 0x0A, 0x01, 0x00, 0x0A, 0xC0, 0x00, 0x01, 0xBB,
            0xEE, 0x00, 0x05, 0x01, 0xC1, 0x45, 0x00, 0x21,
        ];
        assert_eq!(
            ProxyHeader::proxy(source, destination, LinkId(553_665_985)),
            expected
        );
    }

    #[test]
    fn a_probe_header_is_16_bytes_without_addresses() {
        let expected = [
            0x0D, 0x0A, 0x0D, 0x0A, 0x00, 0x0D, 0x0A, 0x51, 0x55, 0x49, 0x54, 0x0A, 0x20, 0x00,
            0x00, 0x00,
        ];
        assert_eq!(ProxyHeader::local(), expected);
    }
}
