//! Slices of packets against one call after the other.

use crate::harness::{
    ACK, BACKEND, FIN, PLS, RST, SERVICE, SYN, SYN_ACK, client, endpoint, nat_ip, segment, small,
};
use core::net::SocketAddrV4;
use plsim_nat::{HeldPorts, NatEngine, NatError, Original, Reply, Translation};
use plsim_types::{Instant, LinkId, PlsId, Protocol, TcpSegment};
use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop_oneof, proptest};

#[derive(Debug, Clone)]
enum Slice {
    Originals(Vec<(Original, Instant)>),
    Replies(Vec<(Reply, Instant)>),
}

/// Half of the packets come at once, some after a time-out.
fn gap() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => Just(0),
        2 => 0..2_000_000_000_u64,
        1 => Just(30_000_000_000),
        1 => Just(65_000_000_000),
        1 => Just(299_999_999_999),
    ]
}

/// `None` is a datagram.
fn header() -> impl Strategy<Value = Option<TcpSegment>> {
    let flags = prop_oneof![Just(SYN), Just(SYN_ACK), Just(ACK), Just(FIN), Just(RST)];
    let tcp = (flags, 0..3_u32, 0..3_u32).prop_map(|(flags, sequence, acknowledgement)| {
        Some(segment(flags, sequence, acknowledgement, 0))
    });
    prop_oneof![4 => tcp, 1 => Just(None)]
}

const fn protocol(header: Option<TcpSegment>) -> Protocol {
    if header.is_some() {
        Protocol::Tcp
    } else {
        Protocol::Udp
    }
}

fn slices() -> impl Strategy<Value = Vec<Slice>> {
    let packet = (0..14_u32, header(), gap(), 0..20_u16);
    let slice = (any::<bool>(), proptest::collection::vec(packet, 0..50));
    proptest::collection::vec(slice, 1..12).prop_map(|slices| {
        let mut now = 0;
        let mut built = Vec::new();
        for (original, packets) in slices {
            let packets = packets.into_iter().map(|(number, header, gap, rare)| {
                now += gap;
                let number = (number, u16::from(rare == 0));
                (number, header, Instant::from_nanos(now))
            });
            built.push(if original {
                let packets = packets.map(|(number, header, at)| (sent(number, header), at));
                Slice::Originals(packets.collect())
            } else {
                let packets = packets.map(|(number, header, at)| (answer(number, header), at));
                Slice::Replies(packets.collect())
            });
        }
        built
    })
}

/// A client's packet, now and then for a service that is not there.
fn sent((number, odd): (u32, u16), segment: Option<TcpSegment>) -> Original {
    Original {
        pls: PlsId(PLS.0 + odd),
        link: LinkId(number % 2),
        client: client(number / 2),
        endpoint: endpoint(),
        backend_port: SERVICE,
        protocol: protocol(segment),
        segment,
    }
}

/// A packet to a NAT port, also beyond the range, now and then from another port.
fn answer((number, odd): (u32, u16), segment: Option<TcpSegment>) -> Reply {
    let port = 1_023 + number as u16 / 3;
    Reply {
        source: SocketAddrV4::new(BACKEND, SERVICE + odd),
        destination: SocketAddrV4::new(nat_ip((number % 3) as u8), port),
        protocol: protocol(segment),
        segment,
    }
}

fn in_slices(engine: &mut NatEngine, slices: &[Slice]) -> Vec<Result<Translation, NatError>> {
    let mut translated = Vec::new();
    for slice in slices {
        match slice {
            Slice::Originals(packets) => engine.originals(
                &mut packets.clone(),
                |packet| *packet,
                |_, result| translated.push(result),
            ),
            Slice::Replies(packets) => engine.replies(
                &mut packets.clone(),
                |packet| *packet,
                |_, result| translated.push(result),
            ),
        }
    }
    translated
}

fn one_by_one(engine: &mut NatEngine, slices: &[Slice]) -> Vec<Result<Translation, NatError>> {
    let mut translated = Vec::new();
    for slice in slices {
        match slice {
            Slice::Originals(packets) => {
                translated.extend(
                    packets
                        .iter()
                        .map(|(packet, now)| engine.original(packet, *now)),
                );
            }
            Slice::Replies(packets) => {
                translated.extend(
                    packets
                        .iter()
                        .map(|(packet, now)| engine.reply(packet, *now)),
                );
            }
        }
    }
    translated
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(500) })]
    #[test]
    fn a_slice_does_what_its_packets_do_one_after_the_other(
        slices in slices(),
        reuse in any::<bool>(),
        ports in 1..5_u16,
    ) {
        let mut config = small(2, ports);
        config.events = true;
        config.flow_limit = Some(6);
        if reuse {
            config.pools[0].held_ports = HeldPorts::ReuseOldest;
        }
        let mut one = NatEngine::new(config).unwrap();
        let mut many = one.clone();
        assert_eq!(in_slices(&mut many, &slices), one_by_one(&mut one, &slices));
        assert!(many.bindings().eq(one.bindings()));
        assert!(many.usage().eq(one.usage()));
        assert_eq!(many.poll_timeout(), one.poll_timeout());
        loop {
            let event = one.poll_event();
            assert_eq!(many.poll_event(), event);
            if event.is_none() {
                break;
            }
        }
        loop {
            let reset = one.poll_reset();
            assert_eq!(many.poll_reset(), reset);
            if reset.is_none() {
                break;
            }
        }
    }
}
