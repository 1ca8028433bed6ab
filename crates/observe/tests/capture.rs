//! The pcapng capture, byte by byte and through tshark.

use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::process::{Command, Stdio};

use plsim_observe::{Capture, CaptureConfig, Interface, Places, Recorder};
use plsim_packet::{Origin, Packet, PacketId, Payload, ProxyHeader, Rewrite, TcpHeader};
use plsim_sim::{NodeId, Observer, Place, TapId};
use plsim_types::{DropReason, Instant, LinkId, PlsId, TcpFlags};

const CLIENT: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 4), 32_768);
const ENDPOINT: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 5), 80);
const NAT: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 2, 0, 4), 1_024);
const BACKEND: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 2, 0, 5), 8_080);
const LINK: LinkId = LinkId(553_665_985);
const NODE: NodeId = NodeId(0);
const PE_NIC: TapId = TapId(0);
const OUTSIDE: TapId = TapId(1);
const BACKEND_NIC: TapId = TapId(2);

fn config() -> CaptureConfig {
    let interface = |name: &str, description: &str| Interface {
        name: name.to_owned(),
        description: description.to_owned(),
    };
    let interfaces = vec![
        interface("pe-1", "NIC of the private endpoint"),
        interface("vm-0/nat-outside", "provider side of the NAT"),
        interface("vm-0", ""),
    ];
    CaptureConfig {
        interfaces,
        ..CaptureConfig::default()
    }
}

fn recorder(config: &CaptureConfig) -> Recorder<Vec<u8>> {
    let places = Places::new([("host", "a")], []);
    Recorder::new(places, Some(Capture::new(Vec::new(), config)))
}

fn finish(mut recorder: Recorder<Vec<u8>>) -> Vec<u8> {
    let capture = recorder.take_capture().expect("there is a capture");
    capture.finish().expect("a vector takes everything")
}

fn tcp(id: u64, flags: TcpFlags, sequence: u32, acknowledgement: u32, length: u16) -> Packet {
    let mss = flags.has(TcpFlags::SYN).then_some(1_460);
    let (source, destination, window) = (CLIENT, ENDPOINT, 64_240);
    let header = TcpHeader {
        source,
        destination,
        sequence,
        acknowledgement,
        flags,
        window,
        mss,
    };
    let mut packet = Packet::tcp(&header, Payload::Zeros(length));
    packet.id = PacketId(id);
    packet
}

/// Sends a packet from the client through every tap.
fn request(recorder: &mut Recorder<Vec<u8>>, nanos: u64, mut packet: Packet) {
    let at = |hop: u64| Instant::from_nanos(nanos + hop);
    recorder.injected(at(0), NODE, &packet);
    packet.encap.link = LINK;
    packet.encap.pls = PlsId(0);
    recorder.tapped(at(1), PE_NIC, &packet);
    recorder.tapped(at(2), OUTSIDE, &packet);
    packet.rewrite(Rewrite {
        source: NAT,
        destination: BACKEND,
    });
    recorder.tapped(at(3), BACKEND_NIC, &packet);
    recorder.delivered(at(4), NODE, &packet);
}

/// Sends a packet, built as the client's, from the backend through every tap.
fn reply(recorder: &mut Recorder<Vec<u8>>, nanos: u64, mut packet: Packet) {
    let at = |hop: u64| Instant::from_nanos(nanos + hop);
    packet.rewrite(Rewrite {
        source: BACKEND,
        destination: NAT,
    });
    recorder.injected(at(0), NODE, &packet);
    recorder.tapped(at(1), BACKEND_NIC, &packet);
    packet.encap.link = LINK;
    packet.encap.pls = PlsId(0);
    packet.rewrite(Rewrite {
        source: ENDPOINT,
        destination: CLIENT,
    });
    recorder.tapped(at(2), OUTSIDE, &packet);
    recorder.tapped(at(3), PE_NIC, &packet);
    recorder.delivered(at(4), NODE, &packet);
}

/// A handshake, a request and its answer, one SYN refused, a datagram, a RST by the NAT.
fn conversation(config: &CaptureConfig) -> Vec<u8> {
    let mut recorder = recorder(config);
    let (syn, ack) = (TcpFlags::SYN, TcpFlags::ACK);
    request(&mut recorder, 1_000_000_000, tcp(17, syn, 99, 0, 0));
    reply(
        &mut recorder,
        1_000_000_100,
        tcp(18, syn | ack, 499, 100, 0),
    );
    request(&mut recorder, 1_000_000_200, tcp(19, ack, 100, 500, 0));
    request(
        &mut recorder,
        1_000_000_300,
        tcp(20, ack | TcpFlags::PSH, 100, 500, 1_301),
    );
    reply(
        &mut recorder,
        1_000_000_400,
        tcp(21, ack, 500, 1_401, 1_460),
    );

    let mut refused = tcp(22, syn, 7_000, 0, 0);
    let source = SocketAddrV4::new(*CLIENT.ip(), 32_769);
    refused.rewrite(Rewrite {
        source,
        destination: ENDPOINT,
    });
    let at = |nanos: u64| Instant::from_nanos(2_000_000_000 + nanos);
    recorder.injected(at(0), NODE, &refused);
    recorder.tapped(at(1), PE_NIC, &refused);
    recorder.dropped(
        at(2),
        Place::Node(NODE),
        &refused,
        DropReason::NatPortsExhausted,
    );

    let proxy = ProxyHeader::proxy(CLIENT, ENDPOINT, LINK);
    let mut datagram = Packet::udp(CLIENT, ENDPOINT, Payload::Bytes(proxy.into()));
    datagram.id = PacketId(23);
    request(&mut recorder, 2_000_000_100, datagram);

    let mut reset = tcp(24, TcpFlags::RST | ack, 1_960, 1_401, 0);
    reset.origin = Origin::Nat;
    reset.rewrite(Rewrite {
        source: ENDPOINT,
        destination: CLIENT,
    });
    reset.encap.link = LINK;
    reset.encap.pls = PlsId(0);
    recorder.injected(at(200), NODE, &reset);
    recorder.tapped(at(201), OUTSIDE, &reset);
    recorder.tapped(at(202), PE_NIC, &reset);
    finish(recorder)
}

/// The blocks of a file: (type, body), lengths checked.
fn blocks(mut bytes: &[u8]) -> Vec<(u32, &[u8])> {
    let word = |bytes: &[u8], at: usize| {
        u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
    };
    let mut blocks = Vec::new();
    while !bytes.is_empty() {
        let length = word(bytes, 4);
        let (block, rest) = bytes.split_at(length as usize);
        assert_eq!(length % 4, 0, "blocks are padded");
        assert_eq!(
            word(block, block.len() - 4),
            length,
            "the length stands at both ends"
        );
        blocks.push((word(block, 0), &block[8..block.len() - 4]));
        bytes = rest;
    }
    blocks
}

#[test]
fn a_whole_file_with_one_packet_is_these_bytes() {
    let interfaces = vec![Interface {
        name: "pe".to_owned(),
        description: String::new(),
    }];
    let mut recorder = recorder(&CaptureConfig {
        interfaces,
        snap_length: 4,
    });
    let packet = tcp(5, TcpFlags::ACK, 1, 2, 0);
    recorder.tapped(Instant::from_nanos(0x0001_0000_0002), TapId(0), &packet);
    let file = finish(recorder);
    let blocks = blocks(&file);
    let kinds: Vec<_> = blocks.iter().map(|(kind, _)| *kind).collect();
    assert_eq!(kinds, [0x0A0D_0D0A, 1, 1, 6]);
    assert_eq!(blocks[1].1[..12], [101, 0, 0, 0, 4, 0, 0, 0, 2, 0, 2, 0]);
    assert_eq!(blocks[2].1[8..20], *b"\x02\0\x05\0drops\0\0\0");
    let expected = [
        0, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, // interface, time
        4, 0, 0, 0, 40, 0, 0, 0, 0x45, 0, 0, 40, // captured, original, bytes
        5, 0, 8, 0, 5, 0, 0, 0, 0, 0, 0, 0, // packet id
        0, 0, 0, 0,
    ];
    assert_eq!(blocks[3].1, expected);
}

#[test]
fn the_nat_comment_stands_once_at_the_first_tap_behind_the_rewrite() {
    let file = conversation(&config());
    let comments = |id: u64| -> Vec<Option<String>> {
        let packets = blocks(&file).into_iter().filter(|(kind, _)| *kind == 6);
        packets
            .map(|(_, body)| {
                let captured = u32::from_le_bytes([body[12], body[13], body[14], body[15]]);
                &body[20 + (captured as usize).next_multiple_of(4)..]
            })
            .filter(|options| options[4..12] == id.to_le_bytes())
            .map(|options| {
                let length = usize::from(u16::from_le_bytes([options[14], options[15]]));
                (options[12] == 1)
                    .then(|| String::from_utf8_lossy(&options[16..16 + length]).into_owned())
            })
            .collect()
    };
    let original = "NAT 10.0.0.4:32768 -> 10.2.0.4:1024, link 0x21003ec1; \
                    destination 10.0.0.5:80 -> 10.2.0.5:8080";
    let link = LINK.to_string();
    let original = original.replace("0x21003ec1", &link);
    assert_eq!(comments(17), [None, None, Some(original)]);
    let back = format!(
        "NAT 10.2.0.5:8080 -> 10.0.0.5:80, link {link}; destination 10.2.0.4:1024 -> 10.0.0.4:32768"
    );
    assert_eq!(comments(18), [None, Some(back), None]);
    let reason = "dropped: nat-ports-exhausted - No NAT port is free for the connection on its \
                  backend VM.";
    assert_eq!(comments(22), [None, Some(reason.to_owned())]);
    let reset = format!("reset by the NAT: idle timeout or no such flow, link {link}");
    assert_eq!(comments(24), [Some(reset.clone()), Some(reset)]);
}

#[test]
fn equal_runs_give_equal_bytes() {
    assert_eq!(conversation(&config()), conversation(&config()));
}

#[test]
fn names_lose_their_control_characters() {
    let name = "evil\u{1b}[2J\n".to_owned();
    let interfaces = vec![Interface {
        description: name.clone(),
        name,
    }];
    let file = finish(recorder(&CaptureConfig {
        interfaces,
        ..CaptureConfig::default()
    }));
    assert!(!file.windows(2).any(|pair| pair == b"\x1b["));
    let escaped = b"evil\\u{1b}[2J\\u{a}";
    assert_eq!(
        file.windows(escaped.len())
            .filter(|part| part == escaped)
            .count(),
        2
    );
}

/// A disk that takes so many bytes and then is full.
struct SmallDisk(usize);

impl Write for SmallDisk {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(self.0);
        self.0 -= taken;
        if taken == 0 {
            Err(io::ErrorKind::StorageFull.into())
        } else {
            Ok(taken)
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_full_disk_is_noticed_during_the_run_and_told_at_its_end() {
    let capture = Capture::new(SmallDisk(100_000), &config());
    let mut recorder = Recorder::new(Places::new([("host", "a")], []), Some(capture));
    let packet = tcp(1, TcpFlags::ACK, 1, 2, 1_000);
    for nanos in 0..200 {
        recorder.injected(Instant::from_nanos(nanos), NODE, &packet);
        recorder.tapped(Instant::from_nanos(nanos), PE_NIC, &packet);
    }
    assert_eq!(recorder.error().unwrap().kind(), io::ErrorKind::StorageFull);
    assert_eq!(recorder.ledger().injected(), 200, "the books go on");
    let capture = recorder.take_capture().unwrap();
    assert!(capture.frames() < 200);
    assert_eq!(
        capture.finish().err().unwrap().kind(),
        io::ErrorKind::StorageFull
    );
    let tiny = Capture::new(SmallDisk(10), &config());
    assert!(
        tiny.error().is_none() && tiny.finish().is_err(),
        "finish flushes and looks"
    );
}

/// Runs tshark on a file; `None`, with a note, where it is not installed.
#[expect(clippy::print_stderr, reason = "a skipped check must be seen")]
fn tshark(file: &[u8], arguments: &[&str]) -> Option<(String, String)> {
    let mut command = Command::new("tshark");
    command.args(["-n", "-r", "-"]).args(arguments);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let Ok(mut child) = command.spawn() else {
        eprintln!("SKIPPED: tshark is not installed, so it has not judged the capture");
        return None;
    };
    // Dropping the pipe at the end of the statement tells tshark that the file ends.
    child
        .stdin
        .take()
        .expect("stdin is piped")
        .write_all(file)
        .expect("tshark reads its input");
    let output = child.wait_with_output().expect("tshark ends");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let errors = text(&output.stderr);
    assert!(output.status.success(), "{errors}");
    Some((text(&output.stdout), errors))
}

const CHECKSUMS: [&str; 6] = [
    "-o",
    "ip.check_checksum:TRUE",
    "-o",
    "tcp.check_checksum:TRUE",
    "-o",
    "udp.check_checksum:TRUE",
];

/// Returns the fields of the frames that pass a filter, one line each.
fn fields(file: &[u8], filter: &str, names: &[&str]) -> Option<Vec<String>> {
    let mut arguments = CHECKSUMS.to_vec();
    arguments.extend(["-Y", filter, "-T", "fields"]);
    arguments.extend(names.iter().flat_map(|name| ["-e", *name]));
    let (out, errors) = tshark(file, &arguments)?;
    let complaints: Vec<_> = errors
        .lines()
        .filter(|line| !line.contains("as user"))
        .collect();
    assert!(complaints.is_empty(), "{complaints:?}");
    Some(out.lines().map(ToOwned::to_owned).collect())
}

#[test]
fn tshark_finds_nothing_malformed_and_every_checksum_right() {
    let file = conversation(&config());
    let Some(frames) = fields(&file, "frame", &["ip.checksum.status"]) else {
        return;
    };
    assert_eq!(frames.len(), 22);
    assert!(frames.iter().all(|status| status == "1"), "{frames:?}");
    let bad = "_ws.malformed || ip.checksum.status != 1 || tcp.checksum.status != 1 \
               || udp.checksum.status != 1 || _ws.expert.severity == error";
    assert_eq!(fields(&file, bad, &["frame.number"]), Some(Vec::new()));
}

#[test]
fn tshark_follows_one_packet_through_the_nat_by_its_id() {
    let names = [
        "frame.interface_name",
        "ip.src",
        "tcp.srcport",
        "frame.time_relative",
    ];
    let file = conversation(&config());
    let Some(frames) = fields(&file, "frame.packet_id == 17", &names) else {
        return;
    };
    let expected = [
        "pe-1\t10.0.0.4\t32768\t0.000000000",
        "vm-0/nat-outside\t10.0.0.4\t32768\t0.000000001",
        "vm-0\t10.2.0.4\t1024\t0.000000002",
    ];
    assert_eq!(frames, expected);
}

#[test]
fn tshark_shows_comments_drops_and_interface_descriptions() {
    let file = conversation(&config());
    let names = ["frame.packet_id", "frame.interface_name", "frame.comment"];
    let Some(frames) = fields(&file, "frame.comment contains \"dropped\"", &names) else {
        return;
    };
    let expected = "22\tdrops\tdropped: nat-ports-exhausted - No NAT port is free for the \
                    connection on its backend VM.";
    assert_eq!(frames, [expected]);
    let names = ["frame.interface_description"];
    let first = fields(&file, "frame.number == 1", &names);
    assert_eq!(first, Some(vec!["NIC of the private endpoint".to_owned()]));
    let names = ["frame.interface_name"];
    let resets = fields(
        &file,
        "frame.comment contains \"idle timeout\" && tcp.flags.reset",
        &names,
    );
    assert_eq!(
        resets,
        Some(vec!["vm-0/nat-outside".to_owned(), "pe-1".to_owned()])
    );
}

#[test]
fn tshark_finds_the_tcp_analysis_clean_at_every_tap() {
    let file = conversation(&config());
    for interface in ["pe-1", "vm-0/nat-outside", "vm-0"] {
        let one = one_interface(&file, interface);
        let Some(found) = fields(&one, "tcp.analysis.flags", &["frame.number"]) else {
            return;
        };
        assert_eq!(found, Vec::<String>::new(), "{interface}");
    }
}

/// Keeps the packets of one interface.
fn one_interface(file: &[u8], name: &str) -> Vec<u8> {
    let taps = config().interfaces;
    let index = taps
        .iter()
        .position(|tap| tap.name == name)
        .expect("a tap of this name");
    let mut kept = Vec::new();
    let mut at = 0;
    for (kind, body) in blocks(file) {
        let length = body.len() + 12;
        if kind != 6 || usize::from(body[0]) == index {
            kept.extend_from_slice(&file[at..at + length]);
        }
        at += length;
    }
    kept
}

#[test]
fn tshark_tells_a_snapped_packet_from_a_short_one() {
    let file = conversation(&CaptureConfig {
        snap_length: 96,
        ..config()
    });
    let filter = "frame.packet_id == 21 && frame.interface_name == \"vm-0\"";
    let Some(frames) = fields(&file, filter, &["frame.cap_len", "frame.len"]) else {
        return;
    };
    assert_eq!(frames, ["96\t1500"]);
}
