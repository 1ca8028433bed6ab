//! What watching a run costs: statistics and digest, and captures.

use std::io::sink;
use std::net::{Ipv4Addr, SocketAddrV4};

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use plsim_observe::{Capture, CaptureConfig, Interface, Places, Recorder};
use plsim_packet::{Packet, PacketId, Payload, Rewrite, TcpHeader};
use plsim_sim::{NodeId, Observer, TapId};
use plsim_types::{Instant, TcpFlags};

/// Packets of one round: more than the first-level cache holds.
const PACKETS: u32 = 2_048;
const SENDER: NodeId = NodeId(0);
const RECEIVER: NodeId = NodeId(1);

fn places() -> Places {
    Places::new([("client-vm", "client"), ("backend-vm", "vm")], [])
}

/// Packets of flows of their own, in full segments.
fn packets() -> Vec<Packet> {
    let packets = (0..PACKETS).map(|number| {
        let [_, _, high, low] = number.to_be_bytes();
        let header = TcpHeader {
            source: SocketAddrV4::new(Ipv4Addr::new(10, 1, high, low), 40_000),
            destination: SocketAddrV4::new(Ipv4Addr::new(10, 1, 255, 10), 443),
            sequence: number,
            acknowledgement: 2,
            flags: TcpFlags::ACK,
            window: 65_535,
            mss: None,
        };
        let mut packet = Packet::tcp(&header, Payload::Zeros(1_400));
        packet.id = PacketId(u64::from(number));
        packet
    });
    packets.collect()
}

fn at(number: u32) -> Instant {
    Instant::from_nanos(u64::from(number) * 1_000)
}

/// What every packet of every run pays: booked and fingerprinted when it begins and when it ends.
fn statistics(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("observe");
    group.throughput(Throughput::Elements(u64::from(PACKETS)));
    let packets = packets();
    let mut recorder = Recorder::<std::io::Sink>::new(places(), None);
    group.bench_function("statistics_and_digest", |bencher| {
        bencher.iter(|| {
            for (number, packet) in (0..).zip(&packets) {
                recorder.injected(at(number), SENDER, packet);
                recorder.delivered(at(number + 650), RECEIVER, packet);
            }
            recorder.digest()
        });
    });
    group.finish();
}

/// A captured packet passes three capture points, and is rewritten between the first two.
fn capture(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("capture");
    group.sample_size(20);
    let interfaces = ["pe nic", "vm nat", "vm nic"].map(|name| Interface {
        name: name.to_owned(),
        description: String::new(),
    });
    for (name, snap_length) in [("snap_96", 96), ("whole", 262_144)] {
        let config = CaptureConfig {
            interfaces: interfaces.to_vec(),
            snap_length,
        };
        // One frame for each capture point that it passes.
        group.throughput(Throughput::Elements(u64::from(PACKETS) * 3));
        group.bench_function(name, |bencher| {
            let mut recorder = Recorder::new(places(), Some(Capture::new(sink(), &config)));
            bencher.iter_batched_ref(
                packets,
                |packets| {
                    for (number, packet) in (0..).zip(packets) {
                        recorder.injected(at(number), SENDER, packet);
                        recorder.tapped(at(number), TapId(0), packet);
                        let tuple = packet.five_tuple();
                        packet.rewrite(Rewrite {
                            source: tuple.destination,
                            destination: tuple.source,
                        });
                        recorder.tapped(at(number + 1), TapId(1), packet);
                        recorder.tapped(at(number + 2), TapId(2), packet);
                        recorder.delivered(at(number + 2), RECEIVER, packet);
                    }
                },
                BatchSize::LargeInput,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, statistics, capture);
criterion_main!(benches);
