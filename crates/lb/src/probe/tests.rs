use super::{ProbeConfig, ProbeEvent, ProbeFailure, ProbeSegment, Prober, Turn, Until};
use alloc::vec;
use alloc::vec::Vec;
use plsim_types::{Duration, Instant, TcpFlags, TcpSegment};

const SYN_ACK: TcpFlags = TcpFlags(0x12);
const FIN_ACK: TcpFlags = TcpFlags(0x11);
const RST_ACK: TcpFlags = TcpFlags(0x14);
const PSH_ACK: TcpFlags = TcpFlags(0x18);

fn secs(secs: u64) -> Instant {
    Instant::from_nanos(secs * 1_000_000_000)
}

fn config(threshold: u8, turns: Vec<Turn>) -> ProbeConfig {
    ProbeConfig {
        port: 80,
        interval: Duration::from_secs(5),
        timeout: Duration::from_secs(5),
        threshold,
        flap_wait: Duration::ZERO,
        first: secs(5),
        starts_up: true,
        turns,
    }
}

fn http() -> Vec<Turn> {
    vec![Turn {
        say: 100,
        until: Until::Status,
    }]
}

/// How a VM answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Vm {
    /// Completes handshakes and closes; answers a request with this status.
    Healthy(u16),
    /// Nothing comes.
    Silent,
    /// No process listens.
    Refusing,
    /// The kernel answers, the process neither answers nor closes.
    Hung,
}

/// A VM and its prober, joined without latency.
struct Pair {
    prober: Prober,
    vm: Vm,
    sent: Vec<ProbeSegment>,
    events: Vec<(Instant, ProbeEvent)>,
}

impl Pair {
    fn new(config: ProbeConfig, vm: Vm) -> Self {
        Self {
            prober: Prober::new(7, vec![config]),
            vm,
            sent: Vec::new(),
            events: Vec::new(),
        }
    }

    /// Runs all deadlines before `end`.
    fn run(&mut self, end: Instant) {
        while let Some(now) = self.prober.poll_timeout().filter(|&at| at < end) {
            self.prober.handle_timeout(now);
            while let Some(segment) = self.prober.poll_transmit(now) {
                self.sent.push(segment);
                self.answer(&segment, now);
            }
            self.collect(now);
            assert!(self.prober.poll_timeout().is_none_or(|next| next > now));
        }
    }

    fn collect(&mut self, now: Instant) {
        while let Some(event) = self.prober.poll_event() {
            self.events.push((now, event));
        }
    }

    fn answer(&mut self, to: &ProbeSegment, now: Instant) {
        let end = to.sequence
            + u32::from(to.length)
            + u32::from(to.flags.has(TcpFlags::SYN) || to.flags.has(TcpFlags::FIN));
        let mut tell = |flags, sequence, length, status| {
            let segment = TcpSegment {
                flags,
                sequence,
                acknowledgement: end,
                window: 0,
                length,
            };
            let (vm, own) = (to.destination_port, to.source_port);
            self.prober.on_segment(vm, own, &segment, status, now);
        };
        match self.vm {
            Vm::Refusing if to.flags == TcpFlags::SYN => tell(RST_ACK, 0, 0, None),
            Vm::Silent | Vm::Refusing => {}
            _ if to.flags == TcpFlags::SYN => tell(SYN_ACK, 1_000, 0, None),
            Vm::Healthy(status) if to.length > 0 => tell(PSH_ACK, 1_001, 50, Some(status)),
            Vm::Healthy(_) if to.flags == FIN_ACK => tell(FIN_ACK, to.acknowledgement, 0, None),
            Vm::Hung if to.length > 0 || to.flags == FIN_ACK => {
                tell(TcpFlags::ACK, to.acknowledgement, 0, None);
            }
            Vm::Healthy(_) | Vm::Hung => {}
        }
    }

    fn changes(&self) -> Vec<(u64, bool)> {
        let seconds = |at: Instant| at.as_nanos() / 1_000_000_000;
        let changes = self.events.iter();
        changes
            .map(|(at, event)| (seconds(*at), event.up))
            .collect()
    }

    fn flags(&self) -> Vec<TcpFlags> {
        self.sent.iter().map(|segment| segment.flags).collect()
    }
}

#[test]
fn d_prb23_a_tcp_probe_is_a_handshake_and_a_four_way_close() {
    let mut pair = Pair::new(config(1, Vec::new()), Vm::Healthy(200));
    pair.run(secs(6));
    let expected = [TcpFlags::SYN, TcpFlags::ACK, FIN_ACK, TcpFlags::ACK];
    assert_eq!(pair.flags(), expected);
    let usage = pair.prober.usage().next().unwrap();
    assert_eq!((usage.sent, usage.succeeded, usage.failed), (1, 1, 0));
    assert!(pair.events.is_empty());
}

#[test]
fn the_first_attempt_starts_on_time_and_the_others_an_interval_apart() {
    let mut pair = Pair::new(config(1, Vec::new()), Vm::Healthy(200));
    pair.run(secs(5));
    assert_eq!(pair.sent.len(), 0, "one nanosecond before");
    pair.run(secs(60));
    let usage = pair.prober.usage().next().unwrap();
    assert_eq!((usage.sent, usage.succeeded), (11, 11));
    let ports = pair.sent.iter().map(|segment| segment.source_port);
    assert_eq!(ports.clone().min(), Some(49_152));
    assert_eq!(
        ports.max(),
        Some(49_162),
        "a port of its own for each attempt"
    );
}

#[test]
fn d_prb23_a_reset_fails_at_once_and_silence_after_the_timeout() {
    let mut refused = Pair::new(config(1, Vec::new()), Vm::Refusing);
    refused.run(secs(100));
    assert_eq!(refused.changes(), [(5, false)]);
    assert_eq!(refused.events[0].1.failure, Some(ProbeFailure::Reset));
    let mut silent = Pair::new(config(1, Vec::new()), Vm::Silent);
    silent.run(secs(100));
    assert_eq!(silent.changes(), [(10, false)]);
    assert_eq!(silent.events[0].1.failure, Some(ProbeFailure::NoAnswer));
    // SYNs of one attempt at 0, 1 and 3 s.
    let first = silent.sent[0].source_port;
    let of_first = silent.sent.iter().filter(|it| it.source_port == first);
    assert_eq!(of_first.count(), 3);
}

#[test]
fn d_prb23_the_threshold_is_the_same_up_and_down() {
    for threshold in [1, 2, 3, 100] {
        let mut pair = Pair::new(config(threshold, http()), Vm::Healthy(200));
        pair.run(secs(5));
        pair.vm = Vm::Healthy(503);
        let down = 5 * u64::from(threshold);
        pair.run(secs(down));
        assert_eq!(pair.changes(), [], "{threshold}: one failure less");
        pair.run(secs(down + 1));
        assert_eq!(pair.changes(), [(down, false)]);
        assert_eq!(pair.events[0].1.failure, Some(ProbeFailure::Status(503)));
        pair.vm = Vm::Healthy(200);
        pair.run(secs(2 * down));
        assert_eq!(pair.changes().len(), 1, "{threshold}: one success less");
        pair.run(secs(2 * down + 1));
        assert_eq!(pair.changes(), [(down, false), (2 * down, true)]);
    }
}

#[test]
fn a_success_in_between_begins_the_count_anew() {
    let mut pair = Pair::new(config(3, http()), Vm::Healthy(503));
    pair.run(secs(11));
    pair.vm = Vm::Healthy(200);
    pair.run(secs(16));
    pair.vm = Vm::Healthy(503);
    pair.run(secs(30));
    assert_eq!(pair.changes(), []);
    pair.run(secs(31));
    assert_eq!(pair.changes(), [(30, false)]);
}

#[test]
fn d_prb23_only_200_is_success() {
    for status in [100, 199, 201, 204, 301, 404, 500, 503] {
        let mut pair = Pair::new(config(1, http()), Vm::Healthy(status));
        pair.run(secs(6));
        assert_eq!(pair.changes(), [(5, false)], "{status}");
    }
    let mut pair = Pair::new(config(1, http()), Vm::Healthy(200));
    pair.run(secs(6));
    assert_eq!(pair.changes(), []);
}

#[test]
fn a_hung_process_passes_a_tcp_probe_and_fails_an_http_probe() {
    let mut tcp = Pair::new(config(1, Vec::new()), Vm::Hung);
    tcp.run(secs(60));
    assert_eq!(tcp.changes(), []);
    // Each new attempt resets the connection before it, which the process never closed.
    let resets = tcp
        .flags()
        .iter()
        .filter(|flags| **flags == RST_ACK)
        .count();
    assert_eq!(resets, 10);
    let mut http = Pair::new(config(1, http()), Vm::Hung);
    http.run(secs(60));
    assert_eq!(http.changes(), [(10, false)]);
    assert!(http.flags().contains(&RST_ACK), "the server is told");
}

#[test]
fn a_refused_certificate_fails_once_it_was_heard() {
    let turns = vec![
        Turn {
            say: 200,
            until: Until::Objection(50, ProbeFailure::Certificate),
        },
        Turn {
            say: 100,
            until: Until::Status,
        },
    ];
    let mut pair = Pair::new(config(1, turns), Vm::Healthy(200));
    pair.run(secs(6));
    assert_eq!(pair.events[0].1.failure, Some(ProbeFailure::Certificate));
    let said: u32 = pair
        .sent
        .iter()
        .map(|segment| u32::from(segment.length))
        .sum();
    assert_eq!(said, 200, "nothing is asked after that");
    assert_eq!(pair.sent.last().unwrap().flags, RST_ACK);
}

#[test]
fn a_stopped_vm_is_down_at_once_and_not_probed() {
    let mut pair = Pair::new(config(2, Vec::new()), Vm::Healthy(200));
    pair.run(secs(12));
    let before = pair.sent.len();
    pair.prober.set_running(false, secs(12));
    pair.collect(secs(12));
    pair.run(secs(101));
    assert_eq!(pair.changes(), [(12, false)]);
    assert_eq!(
        (pair.sent.len(), pair.prober.poll_timeout()),
        (before, None)
    );
    pair.prober.set_running(true, secs(101));
    pair.run(secs(110));
    assert_eq!(pair.changes().len(), 1, "one success is not enough");
    pair.run(secs(111));
    assert_eq!(pair.changes(), [(12, false), (110, true)]);
}

#[test]
fn a_vm_is_asked_only_while_it_is_in_a_pool_and_earns_its_place() {
    let mut pair = Pair::new(config(1, Vec::new()), Vm::Healthy(200));
    pair.prober.set_asked(0, false, secs(0));
    pair.run(secs(21));
    assert_eq!((pair.sent.len(), pair.prober.poll_timeout()), (0, None));
    pair.prober.set_asked(0, true, secs(21));
    pair.collect(secs(21));
    pair.run(secs(31));
    assert_eq!(pair.changes(), [(21, false), (25, true)]);
    pair.prober.set_asked(0, false, secs(31));
    pair.collect(secs(31));
    assert_eq!(pair.changes().len(), 2, "who has left is not spoken of");
}

#[test]
fn a_flapping_instance_waits_longer_before_it_is_up() {
    let flap = |flap_wait| {
        let mut config = config(1, http());
        config.flap_wait = Duration::from_secs(flap_wait);
        let mut pair = Pair::new(config, Vm::Healthy(200));
        for (until, status) in [(31, 503), (61, 200), (71, 503), (171, 200)] {
            pair.vm = Vm::Healthy(status);
            pair.run(secs(until));
        }
        pair.changes()
    };
    let calm = [(5, false), (35, true), (65, false), (75, true)];
    assert_eq!(flap(0), calm);
    assert_eq!(flap(30), calm, "30 s up are not short");
    assert_eq!(flap(31), [(5, false), (35, true), (65, false), (110, true)]);
}

#[test]
fn lost_segments_are_sent_again_within_the_attempt() {
    let mut pair = Pair::new(config(1, http()), Vm::Silent);
    pair.run(secs(6));
    assert_eq!(pair.sent.len(), 1);
    // The second SYN is answered, then the request is lost once.
    pair.vm = Vm::Hung;
    pair.run(secs(7));
    pair.vm = Vm::Healthy(200);
    let now = secs(7);
    let requests = |pair: &Pair| pair.sent.iter().filter(|it| it.length > 0).count();
    assert_eq!((pair.flags()[1], requests(&pair)), (TcpFlags::SYN, 1));
    assert!(pair.prober.poll_timeout() > Some(now));
    pair.run(secs(9));
    let usage = pair.prober.usage().next().unwrap();
    assert_eq!((usage.sent, usage.failed), (1, 0));
}

#[test]
fn a_stray_segment_is_reset_and_a_stray_reset_is_not() {
    let mut prober = Prober::new(1, vec![config(1, Vec::new())]);
    let mut segment = TcpSegment {
        flags: TcpFlags::ACK,
        sequence: 5,
        acknowledgement: 9,
        window: 0,
        length: 3,
    };
    prober.on_segment(80, 50_000, &segment, None, secs(1));
    let answer = prober.poll_transmit(secs(1)).unwrap();
    assert_eq!((answer.flags, answer.sequence), (TcpFlags::RST, 9));
    segment.flags = RST_ACK;
    prober.on_segment(80, 50_000, &segment, None, secs(1));
    assert_eq!(prober.poll_transmit(secs(1)), None);
}
