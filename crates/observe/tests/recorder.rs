//! What the recorder books: digest and refusals.

use std::io::{Sink, sink};
use std::net::{Ipv4Addr, SocketAddrV4};

use plsim_observe::{Capture, CaptureConfig, Digest, Places, Recorder, RefusalKey};
use plsim_packet::{Encap, Origin, Packet, PacketId, Payload, TcpHeader};
use plsim_sim::{ChannelId, NodeId, Observer, Place};
use plsim_types::{BackendId, DropReason, Instant, LinkId, PlsId, Protocol, TcpFlags};

const CLIENT: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 4), 32_768);
const ENDPOINT: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 5), 80);
const HOST: NodeId = NodeId(1);

fn places() -> Places {
    Places::new(
        [("client-vm", "a"), ("backend-host", "b")],
        [("link", "a->b"), ("link", "b->a")],
    )
}

fn recorder() -> Recorder<Sink> {
    Recorder::new(places(), None)
}

fn header() -> TcpHeader {
    TcpHeader {
        source: CLIENT,
        destination: ENDPOINT,
        sequence: 1_000,
        acknowledgement: 2_000,
        flags: TcpFlags::SYN,
        window: 64_240,
        mss: None,
    }
}

fn packet() -> Packet {
    Packet::tcp(&header(), Payload::Zeros(10))
}

/// Records one event.
type Record = fn(&mut Recorder<Sink>);

/// Returns the digest after one event.
fn digest(record: impl FnOnce(&mut Recorder<Sink>)) -> String {
    let mut recorder = recorder();
    record(&mut recorder);
    recorder.digest().to_string()
}

/// Returns the digest after a packet came into being that differs in one field.
fn changed(change: impl FnOnce(&mut Packet)) -> String {
    let mut packet = packet();
    change(&mut packet);
    digest(|recorder| recorder.injected(Instant::ZERO, HOST, &packet))
}

/// Returns the digest after a packet came into being that differs in one header field.
fn changed_header(change: impl FnOnce(&mut TcpHeader)) -> String {
    let mut header = header();
    change(&mut header);
    changed(|packet| *packet = Packet::tcp(&header, Payload::Zeros(10)))
}

#[test]
fn the_digest_changes_with_every_fact() {
    let other = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 6), 32_768);
    let port = SocketAddrV4::new(*CLIENT.ip(), 32_769);
    let udp = Packet::udp(CLIENT, ENDPOINT, Payload::Zeros(10));
    let real = Payload::Bytes([7; 10].into());
    let nanosecond = Instant::from_nanos(1);
    let place = Place::Node(HOST);
    let link = Place::Channel(ChannelId(1));
    let (lost, full) = (DropReason::LinkLoss, DropReason::LinkQueueFull);
    let mut digests = vec![
        recorder().digest().to_string(),
        changed(|_| ()),
        changed_header(|header| header.source = other),
        changed_header(|header| header.destination = other),
        changed_header(|header| header.source = port),
        changed_header(|header| header.destination = port),
        changed_header(|header| (header.source, header.destination) = (ENDPOINT, CLIENT)),
        changed_header(|header| header.sequence += 1),
        changed_header(|header| header.acknowledgement += 1),
        changed_header(|header| header.window += 1),
        changed_header(|header| header.flags = TcpFlags::SYN | TcpFlags::ACK),
        changed(|packet| *packet = Packet::tcp(&header(), Payload::Zeros(11))),
        changed(|packet| *packet = Packet::tcp(&header(), real)),
        changed(|packet| *packet = udp),
        changed_header(|header| header.mss = Some(1_460)),
        changed_header(|header| header.mss = Some(1_461)),
        changed(|packet| assert!(packet.decrement_ttl(1))),
        changed(|packet| packet.origin = Origin::Nat),
        changed(|packet| packet.encap.link = LinkId(1)),
    ];
    let records: [Record; 4] = [
        |recorder| recorder.injected(Instant::from_nanos(1), HOST, &packet()),
        |recorder| recorder.injected(Instant::ZERO, NodeId(0), &packet()),
        |recorder| recorder.delivered(Instant::ZERO, HOST, &packet()),
        |recorder| {
            recorder.injected(Instant::ZERO, HOST, &packet());
            recorder.injected(Instant::ZERO, HOST, &packet());
        },
    ];
    digests.extend(records.map(digest));
    for (now, place, reason) in [
        (Instant::ZERO, place, lost),
        (Instant::ZERO, place, full),
        (Instant::ZERO, link, lost),
        (nanosecond, place, lost),
    ] {
        digests.push(digest(|recorder| {
            recorder.dropped(now, place, &packet(), reason)
        }));
    }
    assert!(digests.iter().all(|digest| digest.len() == 32));
    let count = digests.len();
    digests.sort_unstable();
    digests.dedup();
    assert_eq!(digests.len(), count);
}

#[test]
fn the_digest_reads_options_even_where_the_checksum_is_equal() {
    let mss = Some(1_460);
    let plain = Packet::tcp(&TcpHeader { mss, ..header() }, Payload::Zeros(0));
    let mut bytes = Vec::new();
    plain.write_to(&mut bytes, usize::MAX);
    // Swapping 16-bit words does not change a one's complement sum.
    bytes.swap(40, 42);
    bytes.swap(41, 43);
    let swapped = Packet::parse(&bytes).expect("options are not judged");
    let digests = [plain, swapped].map(|other| changed(|packet| *packet = other));
    assert_ne!(digests[0], digests[1]);
}

#[test]
fn the_digest_is_fixed_for_good() {
    assert_eq!(changed(|_| ()), "4fe1abc410c3e75c266b55e9543914ee");
}

#[test]
fn the_digest_does_not_know_packet_ids_and_scenario_positions() {
    let plain = changed(|_| ());
    assert_eq!(plain, changed(|packet| packet.id = PacketId(77)));
    assert_eq!(plain, changed(|packet| packet.encap.pls = PlsId(1)));
    assert_eq!(plain, changed(|packet| packet.encap.backend = BackendId(1)));
    let zeros = Payload::Bytes([0; 10].into());
    assert_eq!(
        plain,
        changed(|packet| *packet = Packet::tcp(&header(), zeros))
    );
}

#[test]
fn the_digest_knows_nodes_by_name_and_not_by_number() {
    let renumbered = Places::new(
        [("backend-host", "b"), ("client-vm", "a")],
        [("link", "b->a"), ("link", "a->b")],
    );
    let mut recorder = Recorder::<Sink>::new(renumbered, None);
    recorder.injected(Instant::ZERO, NodeId(0), &packet());
    recorder.dropped(
        Instant::ZERO,
        Place::Channel(ChannelId(0)),
        &packet(),
        DropReason::LinkLoss,
    );
    let expected = digest(|recorder| {
        let (now, reason) = (Instant::ZERO, DropReason::LinkLoss);
        recorder.injected(now, HOST, &packet());
        recorder.dropped(now, Place::Channel(ChannelId(1)), &packet(), reason);
    });
    assert_eq!(recorder.digest().to_string(), expected);
}

#[test]
fn the_digest_does_not_depend_on_the_capture() {
    let config = CaptureConfig::default();
    let mut captured = Recorder::new(places(), Some(Capture::new(sink(), &config)));
    let mut plain = recorder();
    for now in 0..10 {
        let now = Instant::from_nanos(now);
        let observers: [&mut dyn Observer; 2] = [&mut captured, &mut plain];
        for observer in observers {
            observer.injected(now, HOST, &packet());
            observer.dropped(now, Place::Node(HOST), &packet(), DropReason::NoHost);
        }
    }
    assert_eq!(captured.digest(), plain.digest());
    assert_eq!(captured.ledger(), plain.ledger());
}

#[test]
fn parts_of_a_run_summed_up_apart_give_the_same_digest() {
    let event = |recorder: &mut Recorder<Sink>, now| {
        recorder.injected(Instant::from_nanos(now), HOST, &packet());
    };
    let (mut whole, mut even, mut odd) = (recorder(), recorder(), recorder());
    for now in 0..100 {
        event(&mut whole, now);
        event(if now % 2 == 0 { &mut even } else { &mut odd }, now);
    }
    let mut merged = Digest::default();
    merged.merge(&odd.digest());
    merged.merge(&even.digest());
    assert_eq!(merged.to_string(), whole.digest().to_string());
    assert_eq!(merged.events(), 100);
}

/// A SYN for PLS 1 that the edge sent to backend 2.
fn syn(link: u32, client_port: u16, sequence: u32) -> Packet {
    let source = SocketAddrV4::new(*CLIENT.ip(), client_port);
    let mut packet = Packet::tcp(
        &TcpHeader {
            source,
            sequence,
            ..header()
        },
        Payload::Zeros(0),
    );
    let (pls, backend) = (PlsId(1), BackendId(2));
    packet.encap = Encap {
        link: LinkId(link),
        pls,
        backend,
        backend_port: 8080,
        ..Encap::default()
    };
    packet
}

fn refuse(recorder: &mut Recorder<Sink>, seconds: u64, packet: &Packet, reason: DropReason) {
    let now = Instant::from_nanos(seconds * 1_000_000_000);
    recorder.dropped(now, Place::Node(HOST), packet, reason);
}

#[test]
fn a_retransmitted_syn_is_the_same_refused_connection() {
    let reason = DropReason::NatPortsExhausted;
    let mut recorder = recorder();
    for seconds in [1, 2, 4] {
        refuse(&mut recorder, seconds, &syn(7, 1, 100), reason);
    }
    refuse(&mut recorder, 5, &syn(7, 2, 100), reason); // another port
    refuse(&mut recorder, 5, &syn(8, 1, 100), reason); // another consumer, same addresses
    refuse(&mut recorder, 5, &syn(7, 1, 101), reason); // the port used again
    refuse(&mut recorder, 5, &syn(7, 1, 100), DropReason::VmFlowLimit); // counted in its own row
    let key = RefusalKey {
        pls: PlsId(1),
        backend: Some(BackendId(2)),
        protocol: Protocol::Tcp,
        reason,
    };
    let row = recorder.refusal(&key).unwrap();
    assert_eq!((row.packets, row.connections), (6, 4));
    assert_eq!(row.first, Instant::from_nanos(1_000_000_000));
    let rows: Vec<_> = recorder.refusals().collect();
    assert_eq!(rows.len(), 2);
    assert_eq!(
        (rows[1].0.reason, rows[1].1.connections),
        (DropReason::VmFlowLimit, 1)
    );
}

#[test]
fn both_directions_of_an_unapproved_connection_are_one_connection() {
    let reason = DropReason::NotApproved;
    let mut recorder = recorder();
    let acknowledged = |source, destination, sequence| {
        let header = TcpHeader {
            source,
            destination,
            sequence,
            ..header()
        };
        Packet::tcp(
            &TcpHeader {
                flags: TcpFlags::ACK,
                ..header
            },
            Payload::Zeros(5),
        )
    };
    refuse(&mut recorder, 1, &acknowledged(CLIENT, ENDPOINT, 5), reason);
    refuse(
        &mut recorder,
        2,
        &acknowledged(CLIENT, ENDPOINT, 10),
        reason,
    );
    refuse(
        &mut recorder,
        3,
        &acknowledged(ENDPOINT, CLIENT, 99),
        reason,
    );
    let rows: Vec<_> = recorder.refusals().collect();
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].0.backend, None, "refused before the edge chose");
    assert_eq!((rows[0].1.packets, rows[0].1.connections), (3, 1));
}

#[test]
fn a_lost_packet_is_a_drop_but_no_refusal() {
    let mut recorder = recorder();
    for reason in [
        DropReason::LinkLoss,
        DropReason::NoFlow,
        DropReason::NoRoute,
    ] {
        recorder.injected(Instant::ZERO, HOST, &syn(1, 1, 1));
        refuse(&mut recorder, 1, &syn(1, 1, 1), reason);
    }
    assert_eq!(recorder.refusals().count(), 0);
    assert_eq!(
        (recorder.ledger().dropped(), recorder.ledger().injected()),
        (3, 3)
    );
    assert_eq!(
        (
            recorder.injected_of(Protocol::Tcp),
            recorder.injected_of(Protocol::Udp)
        ),
        (3, 0)
    );
    assert_eq!(recorder.ledger().balance(0), Ok(()));
}
