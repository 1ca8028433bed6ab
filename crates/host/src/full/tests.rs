use std::collections::VecDeque;
use std::net::SocketAddrV4;

use plsim_packet::Packet;
use plsim_types::{Duration, Instant, TcpFlags};

use super::{Connection, FullStack, Stack, Turned};
use crate::parameters::{TcpKeepalive, TcpParameters};
use crate::segment::Kind;
use crate::tcp::State;

const LATENCY: Duration = Duration::from_millis(5);

const LINUX: TcpParameters = TcpParameters::LINUX_CLIENT;

struct End {
    stack: Stack,
    connection: Box<Connection>,
    local: SocketAddrV4,
    turned: Turned,
    /// Every packet it sent, when and why.
    sent: Vec<(Instant, Packet, Kind)>,
}

/// Two ends with a link in between.
struct Pair {
    ends: [End; 2],
    flying: VecDeque<(Instant, usize, Packet)>,
    now: Instant,
    cut: bool,
}

fn stack(seed: u64) -> Stack {
    Stack::new(
        FullStack {
            receive_buffer: 4_096,
            send_buffer: 4_096,
            no_delay: true,
        },
        seed,
    )
}

impl Pair {
    fn new(parameters: TcpParameters) -> Self {
        let client: SocketAddrV4 = "10.0.0.4:40000".parse().unwrap();
        let server: SocketAddrV4 = "10.2.0.4:443".parse().unwrap();
        let (mut one, mut other) = (stack(1), stack(2));
        let (a, b) = (
            one.connect(client, server, &parameters, Instant::ZERO),
            other.listen(server, client, &LINUX, Instant::ZERO),
        );
        let end = |stack, connection, local| End {
            stack,
            connection,
            local,
            turned: Turned::Goes,
            sent: Vec::new(),
        };
        Self {
            ends: [end(one, a, client), end(other, b, server)],
            flying: VecDeque::new(),
            now: Instant::ZERO,
            cut: false,
        }
    }

    fn turn(&mut self, at: usize, packet: Option<&Packet>) {
        let end = &mut self.ends[at];
        if end.turned != Turned::Goes {
            return;
        }
        let End {
            stack, connection, ..
        } = end;
        end.turned = match packet {
            None => stack.expire(connection, end.local, self.now),
            Some(packet) => {
                let segment = packet.tcp_segment().unwrap();
                stack.take(connection, (packet, &segment), self.now)
            }
        };
        if end.turned == Turned::Goes {
            end.turned = stack.turn(connection, end.local, self.now);
        }
        while let Some((packet, kind)) = end.stack.poll_sent() {
            packet.verify().unwrap();
            end.sent.push((self.now, packet.clone(), kind));
            if !self.cut {
                self.flying.push_back((self.now + LATENCY, 1 - at, packet));
            }
        }
    }

    /// Runs until `end`, with the time to the nanosecond.
    fn run_until(&mut self, end: Instant) {
        self.turn(0, None);
        loop {
            let flying = self.flying.front().map(|(at, ..)| *at);
            let due = |end: &End| match end.turned {
                Turned::Goes => end.connection.deadline(),
                _ => None,
            };
            let timers = self.ends.each_ref().map(due);
            let next = timers.iter().copied().chain([flying]).flatten().min();
            let Some(next) = next.filter(|&next| next <= end) else {
                self.now = end;
                return;
            };
            self.now = next;
            if flying == Some(next) {
                let (_, to, packet) = self.flying.pop_front().unwrap();
                self.turn(to, Some(&packet));
                continue;
            }
            for (at, timer) in timers.iter().enumerate() {
                if *timer == Some(next) {
                    self.turn(at, None);
                }
            }
        }
    }
}

fn seconds(span: u64) -> Instant {
    Instant::ZERO + Duration::from_secs(span)
}

#[test]
fn a_request_and_a_response_larger_than_the_window_arrive_whole() {
    let mut pair = Pair::new(LINUX);
    pair.run_until(seconds(1));
    assert!(pair.ends.iter().all(|end| end.connection.was_open()));
    pair.ends[0].connection.write((*b"head").into(), 96);
    pair.turn(0, None);
    pair.run_until(seconds(2));
    let server = &mut pair.ends[1].connection;
    assert_eq!(server.received(), 100);
    assert_eq!((&server.inbox()[..4], server.inbox()[4]), (&b"head"[..], 0));
    server.write(Box::new([]), 100_000);
    pair.turn(1, None);
    pair.run_until(seconds(3));
    let client = &mut pair.ends[0].connection;
    assert_eq!(
        client.received(),
        1_024,
        "what the application does not take"
    );
    client.skip(100_000);
    assert!(!client.is_skipped());
    pair.turn(0, None);
    pair.run_until(seconds(4));
    let [client, server] = &pair.ends;
    assert!(client.connection.is_skipped());
    assert_eq!(client.connection.received(), 100_000);
    assert!(client.connection.is_acknowledged() && server.connection.is_acknowledged());
}

#[test]
fn the_end_that_closes_first_lingers_and_its_peer_is_through() {
    for delayed_ack in [None, Some(Duration::from_millis(40))] {
        let mut pair = Pair::new(TcpParameters {
            delayed_ack,
            ..LINUX
        });
        pair.run_until(seconds(1));
        pair.ends[0].connection.close();
        pair.turn(0, None);
        pair.run_until(seconds(2));
        assert!(pair.ends[1].connection.is_closed_by_peer());
        // With data before it the FIN may be acknowledged later.
        pair.ends[1].connection.write(Box::new([]), 100);
        pair.ends[1].connection.close();
        pair.turn(1, None);
        pair.ends[0].connection.ignore();
        pair.run_until(seconds(3));
        assert_eq!(
            pair.ends.each_ref().map(|end| end.turned),
            [Turned::Lingers, Turned::Gone]
        );
        let End { connection, .. } = &pair.ends[0];
        let tcb = connection.remains(seconds(3), &LINUX);
        let last = pair.ends[0].sent.last().unwrap().1.tcp_segment().unwrap();
        assert_eq!(
            (tcb.unacknowledged(), tcb.received()),
            (last.sequence, last.acknowledgement)
        );
        assert_eq!(
            (tcb.state(), tcb.deadline()),
            (State::TimeWait, Some(seconds(63)))
        );
    }
}

#[test]
fn a_peer_that_never_closes_is_waited_for_60_s() {
    let mut pair = Pair::new(LINUX);
    pair.run_until(seconds(1));
    pair.ends[0].connection.close();
    pair.turn(0, None);
    pair.run_until(seconds(61));
    assert_eq!(pair.ends[0].turned, Turned::Goes);
    pair.run_until(seconds(62));
    assert_eq!(pair.ends[0].turned, Turned::Gone);
}

#[test]
fn an_abort_resets_the_peer() {
    let mut pair = Pair::new(LINUX);
    pair.run_until(seconds(1));
    pair.ends[0].connection.abort();
    pair.turn(0, None);
    assert_eq!(pair.ends[0].turned, Turned::Gone);
    pair.run_until(seconds(2));
    assert_eq!(pair.ends[1].turned, Turned::Reset);
}

#[test]
fn a_syn_without_answer_is_given_up_after_as_long_as_linux_waits() {
    let mut pair = Pair::new(LINUX);
    pair.cut = true;
    pair.run_until(seconds(126));
    assert_eq!(pair.ends[0].turned, Turned::Goes);
    pair.run_until(seconds(127));
    assert_eq!(pair.ends[0].turned, Turned::TimedOut);
    let syns = pair.ends[0].sent.iter().map(|(at, packet, kind)| {
        assert!(packet.tcp_segment().unwrap().flags.opens());
        (at.as_nanos() / 1_000_000_000, *kind)
    });
    let mut expected = vec![(0, Kind::Plain)];
    expected.extend([1, 3, 7, 15, 31, 63, 123].map(|at| (at, Kind::Retransmission)));
    assert_eq!(syns.collect::<Vec<_>>(), expected);
}

#[test]
fn an_idle_connection_lives_for_ever_and_a_probed_one_dies_with_its_peer() {
    let mut pair = Pair::new(LINUX);
    pair.run_until(seconds(100_000));
    assert_eq!(pair.ends[0].turned, Turned::Goes);
    assert!(pair.flying.is_empty());
    let mut pair = Pair::new(TcpParameters {
        keepalive: Some(TcpKeepalive {
            time: Duration::from_secs(75),
            interval: Duration::from_secs(10),
            probes: 3,
        }),
        ..LINUX
    });
    pair.run_until(seconds(1_000));
    assert_eq!(pair.ends[0].turned, Turned::Goes);
    let probes = |pair: &Pair| {
        let sent = pair.ends[0].sent.iter();
        sent.filter(|(.., kind)| *kind == Kind::Probe).count()
    };
    assert_eq!(probes(&pair), 13);
    pair.cut = true;
    pair.run_until(seconds(1_079));
    assert_eq!((pair.ends[0].turned, probes(&pair)), (Turned::Goes, 16));
    pair.run_until(seconds(1_081));
    assert_eq!((pair.ends[0].turned, probes(&pair)), (Turned::TimedOut, 16));
    let (_, last, _) = pair.ends[0].sent.last().unwrap();
    assert!(last.tcp_segment().unwrap().flags.has(TcpFlags::RST));
}

#[test]
fn data_without_answer_is_given_up_silently_after_the_users_patience() {
    let mut pair = Pair::new(TcpParameters {
        user_timeout: Some(Duration::from_secs(30)),
        ..LINUX
    });
    pair.run_until(seconds(500));
    pair.cut = true;
    pair.ends[0].connection.write(Box::new([1; 8]), 0);
    pair.turn(0, None);
    pair.run_until(seconds(529));
    assert_eq!(pair.ends[0].turned, Turned::Goes);
    pair.run_until(seconds(530));
    assert_eq!(pair.ends[0].turned, Turned::TimedOut);
    let (_, last, kind) = pair.ends[0].sent.last().unwrap();
    assert_eq!((last.payload_len(), *kind), (8, Kind::Retransmission));
}

#[test]
fn a_connection_that_is_gone_lends_its_buffers() {
    let mut stack = stack(1);
    let local = "10.0.0.4:40000".parse().unwrap();
    let remote = "10.2.0.4:443".parse().unwrap();
    for listens in [false, true, false] {
        let mut connection = match listens {
            true => stack.listen(local, remote, &LINUX, Instant::ZERO),
            false => stack.connect(local, remote, &LINUX, Instant::ZERO),
        };
        let turned = stack.turn(&mut connection, local, Instant::ZERO);
        assert_eq!(turned, Turned::Goes);
        let sent = std::iter::from_fn(|| stack.poll_sent());
        let syns = sent.filter(|(packet, _)| packet.tcp_segment().unwrap().flags.opens());
        assert_eq!(syns.count(), usize::from(!listens));
        stack.recycle(connection);
    }
    let buffers = 2 * 4_096;
    assert!((buffers..buffers + 2_500).contains(&stack.memory_bytes()));
}
