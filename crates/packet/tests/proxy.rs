//! PROXY protocol headers, as an independent parser reads them.

use std::net::{Ipv4Addr, SocketAddrV4};

use plsim_packet::{ProxyError, ProxyHeader};
use plsim_types::LinkId;
use ppp::v2::{Addresses, Command, Header, Protocol};
use proptest::collection::vec;
use proptest::prelude::{ProptestConfig, Strategy, any, prop_assert, prop_assert_eq, proptest};

fn socket() -> impl Strategy<Value = SocketAddrV4> {
    (any::<u32>(), any::<u16>())
        .prop_map(|(address, port)| SocketAddrV4::new(Ipv4Addr::from_bits(address), port))
}

/// A header of Azure's, damaged here and there, cut, or with something behind it.
fn damaged() -> impl Strategy<Value = Vec<u8>> {
    let whole = (socket(), socket(), any::<u32>());
    let damage = vec((0..40_usize, any::<u8>()), 0..4);
    let values = vec(any::<u8>(), 0..12);
    (whole, damage, values, 0..=60_usize, any::<bool>()).prop_map(
        |((source, destination, link), damage, values, cut, grows)| {
            let mut bytes = ProxyHeader::proxy(source, destination, LinkId(link)).to_vec();
            bytes.extend(&values);
            if grows {
                bytes[15] += values.len() as u8;
            }
            for (at, value) in damage {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = value;
                }
            }
            bytes.truncate(cut.max(1));
            bytes
        },
    )
}

/// What the other parser makes of bytes, if it is TCP over IPv4 with whole type-length-values.
fn oracle(bytes: &[u8]) -> Option<(ProxyHeader, usize)> {
    let header = Header::try_from(bytes).ok()?;
    let Addresses::IPv4(addresses) = header.addresses else {
        return None;
    };
    if (header.command, header.protocol) != (Command::Proxy, Protocol::Stream) {
        return None;
    }
    let mut link = None;
    for value in header.tlvs() {
        let value = value.ok()?;
        if let (0xEE, &[1, a, b, c, d]) = (value.kind, value.value.as_ref()) {
            link = Some(LinkId(u32::from_le_bytes([a, b, c, d])));
        }
    }
    let parsed = ProxyHeader::Proxied {
        source: SocketAddrV4::new(addresses.source_address, addresses.source_port),
        destination: SocketAddrV4::new(addresses.destination_address, addresses.destination_port),
        link,
    };
    Some((parsed, header.as_bytes().len()))
}

#[test]
fn pp_2_the_golden_bytes_are_read_by_an_independent_parser() {
    let golden = [
        0x0D, 0x0A, 0x0D, 0x0A, 0x00, 0x0D, 0x0A, 0x51, 0x55, 0x49, 0x54, 0x0A, 0x21, 0x11, 0x00,
        0x14, 0x0A, 0x01, 0x00, 0x04, 0x0A, 0x01, 0x00, 0x0A, 0xC0, 0x00, 0x01, 0xBB, 0xEE, 0x00,
        0x05, 0x01, 0xC1, 0x45, 0x00, 0x21,
    ];
    let header = Header::try_from(&golden[..]).unwrap();
    let values: Vec<_> = header.tlvs().map(Result::unwrap).collect();
    assert_eq!(values.len(), 1);
    assert_eq!(
        (values[0].kind, values[0].value.as_ref()),
        (0xEE, &[1, 0xC1, 0x45, 0, 0x21][..])
    );
    let expected = ProxyHeader::Proxied {
        source: "10.1.0.4:49152".parse().unwrap(),
        destination: "10.1.0.10:443".parse().unwrap(),
        link: Some(LinkId(553_665_985)),
    };
    assert_eq!(oracle(&golden), Some((expected, 36)));
}

#[test]
fn pp_7_a_probe_header_is_local_to_an_independent_parser() {
    for (bytes, command) in [
        (ProxyHeader::local(), Command::Local),
        (ProxyHeader::unspecified(), Command::Proxy),
    ] {
        let header = Header::try_from(&bytes[..]).unwrap();
        assert_eq!(
            (header.command, header.addresses),
            (command, Addresses::Unspecified)
        );
        assert_eq!(header.as_bytes().len(), 16);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_encoded_is_read_by_both_parsers(
        source in socket(), destination in socket(), link in any::<u32>(), rest in vec(any::<u8>(), 0..20),
    ) {
        let mut bytes = ProxyHeader::proxy(source, destination, LinkId(link)).to_vec();
        bytes.extend(rest);
        let header = ProxyHeader::Proxied { source, destination, link: Some(LinkId(link)) };
        prop_assert_eq!(ProxyHeader::parse(&bytes), Ok((header, 36)));
        prop_assert_eq!(oracle(&bytes), Some((header, 36)));
    }

    #[test]
    fn both_parsers_agree_on_damaged_headers(bytes in damaged()) {
        let ours = ProxyHeader::parse(&bytes);
        let proxied = ours.ok().filter(|(header, _)| *header != ProxyHeader::Local);
        prop_assert_eq!(proxied, oracle(&bytes), "{:?}", ours);
    }

    #[test]
    fn random_bytes_never_panic_and_no_part_of_a_header_is_taken_for_whole(
        bytes in vec(any::<u8>(), 0..80), cut in any::<proptest::sample::Index>(),
    ) {
        let _ = ProxyHeader::parse(&bytes);
        let mut bytes = [ProxyHeader::local().to_vec(), bytes].concat();
        bytes[12] |= 1;
        bytes[13] = 0x11;
        let room = bytes.len() - 16;
        bytes[15] = room as u8;
        if let Ok((_, length)) = ProxyHeader::parse(&bytes) {
            prop_assert_eq!(length, bytes.len());
        }
        let part = &bytes[..cut.index(bytes.len())];
        let refused = ProxyHeader::parse(part);
        let partial = [Err(ProxyError::Partial), Err(ProxyError::NoSignature)];
        prop_assert!(partial.contains(&refused), "{:?}", refused);
    }
}
