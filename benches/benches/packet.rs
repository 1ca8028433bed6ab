//! Packets: build, read, rewrite.

use std::hint::black_box;
use std::net::{Ipv4Addr, SocketAddrV4};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use plsim_packet::{Packet, Payload, Rewrite, TcpHeader};
use plsim_types::TcpFlags;

const fn end(last: u8, port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, last), port)
}

const HEADER: TcpHeader = TcpHeader {
    source: end(4, 40_000),
    destination: end(10, 443),
    sequence: 1,
    acknowledgement: 2,
    flags: TcpFlags::ACK,
    window: 65_535,
    mss: None,
};

fn packet(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("packet");
    group.throughput(Throughput::Elements(1));
    group.bench_function("build/tcp_40", |bencher| {
        bencher.iter(|| Packet::tcp(black_box(&HEADER), Payload::Zeros(0)));
    });
    group.bench_function("read/tuple_and_segment", |bencher| {
        let packet = Packet::tcp(&HEADER, Payload::Zeros(0));
        bencher.iter(|| {
            let packet = black_box(&packet);
            (packet.five_tuple(), packet.tcp_segment())
        });
    });
    group.bench_function("rewrite/tcp", |bencher| {
        let mut packet = Packet::tcp(&HEADER, Payload::Zeros(1_400));
        let there = Rewrite {
            source: end(20, 1_024),
            destination: end(21, 8_443),
        };
        let back = Rewrite {
            source: HEADER.source,
            destination: HEADER.destination,
        };
        let mut turn = false;
        bencher.iter(|| {
            turn = !turn;
            packet.rewrite(black_box(if turn { there } else { back }));
        });
    });
    group.bench_function("parse/tcp_40", |bencher| {
        let mut bytes = Vec::new();
        Packet::tcp(&HEADER, Payload::Zeros(0)).write_to(&mut bytes, usize::MAX);
        bencher.iter(|| Packet::parse(black_box(&bytes)));
    });
    group.finish();
}

criterion_group!(benches, packet);
criterion_main!(benches);
