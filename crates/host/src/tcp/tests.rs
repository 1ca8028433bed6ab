use plsim_sim::Stream;
use plsim_types::{Duration, Instant, TcpFlags, TcpSegment};

use super::{State, Tcb, Verdict, WINDOW};
use crate::parameters::{TcpKeepalive, TcpParameters};
use crate::segment::{Kind, Segment, answer_closed};

mod clauses;

/// The time until data is sent again is 1 s and a round trip, which counts from half a millisecond on.
const PARAMETERS: TcpParameters = TcpParameters {
    open_retries: 3,
    retries: 4,
    orphan_retries: 3,
    min_rto: Duration::from_secs(1),
    ..TcpParameters::LINUX_CLIENT
};

/// Probes after 5 s, then every 2 s, three in all.
const PROBED: TcpParameters = TcpParameters {
    keepalive: Some(TcpKeepalive {
        time: Duration::from_secs(5),
        interval: Duration::from_secs(2),
        probes: 3,
    }),
    ..PARAMETERS
};

fn at(millis: u64) -> Instant {
    Instant::ZERO + Duration::from_millis(millis)
}

fn received(segment: &Segment) -> TcpSegment {
    TcpSegment {
        flags: segment.flags,
        sequence: segment.sequence,
        acknowledgement: segment.acknowledgement,
        window: WINDOW,
        length: segment.length,
    }
}

fn drain(tcb: &mut Tcb, now: Instant) -> Vec<Segment> {
    std::iter::from_fn(|| tcb.poll_transmit(now, &PARAMETERS)).collect()
}

fn give(tcb: &mut Tcb, segments: &[Segment], now: Instant) -> Verdict {
    let mut verdict = Verdict::Continue;
    for segment in segments {
        verdict = tcb.on_segment(&received(segment), None, now, &PARAMETERS);
    }
    verdict
}

/// A connection after its handshake; both numbers wrap soon.
fn established() -> (Tcb, Tcb) {
    let mut client = Tcb::connect(u32::MAX - 3);
    let syn = drain(&mut client, at(0));
    let mut server = Tcb::accept(u32::MAX, &received(&syn[0]), Some(1_460));
    let syn_ack = drain(&mut server, at(0));
    client.on_segment(&received(&syn_ack[0]), Some(1_460), at(0), &PARAMETERS);
    let ack = drain(&mut client, at(0));
    assert_eq!(give(&mut server, &ack, at(0)), Verdict::Continue);
    assert_eq!(
        (client.state(), server.state()),
        (State::Established, State::Established)
    );
    assert_eq!((client.deadline(), server.deadline()), (None, None));
    (client, server)
}

fn flags_of(segments: &[Segment]) -> Vec<String> {
    segments
        .iter()
        .map(|segment| segment.flags.to_string())
        .collect()
}

#[test]
fn a_close_from_one_side_ends_in_time_wait_there_and_closed_here() {
    let (mut client, mut server) = established();
    client.close();
    let fin = drain(&mut client, at(1));
    assert_eq!(flags_of(&fin), ["FIN|ACK"]);
    assert_eq!(give(&mut server, &fin, at(1)), Verdict::Continue);
    let fin_ack = drain(&mut server, at(1));
    assert_eq!(
        (flags_of(&fin_ack).join(" "), server.state()),
        ("FIN|ACK".into(), State::LastAck)
    );
    give(&mut client, &fin_ack, at(2));
    assert_eq!(client.state(), State::TimeWait);
    assert_eq!(client.deadline(), Some(at(60_002)));
    let last = drain(&mut client, at(2));
    assert_eq!(give(&mut server, &last, at(2)), Verdict::Closed);
    // The last ACK was lost: the FIN comes again, is acknowledged again, and TIME_WAIT restarts.
    give(&mut client, &fin_ack, at(1_002));
    assert_eq!(flags_of(&drain(&mut client, at(1_002))), ["ACK"]);
    assert_eq!(client.deadline(), Some(at(61_002)));
    assert_eq!(client.on_timer(at(61_002), &PARAMETERS), Verdict::Closed);
}

#[test]
fn a_simultaneous_close_ends_in_time_wait_on_both_sides() {
    let (mut client, mut server) = established();
    client.close();
    server.close();
    let fins = (drain(&mut client, at(1)), drain(&mut server, at(1)));
    give(&mut client, &fins.1, at(2));
    give(&mut server, &fins.0, at(2));
    assert_eq!(
        (client.state(), server.state()),
        (State::Closing, State::Closing)
    );
    let acks = (drain(&mut client, at(2)), drain(&mut server, at(2)));
    give(&mut client, &acks.1, at(3));
    give(&mut server, &acks.0, at(3));
    assert_eq!(
        (client.state(), server.state()),
        (State::TimeWait, State::TimeWait)
    );
}

/// RFC 9293 §3.5, figure 7.
#[test]
fn two_syns_that_cross_make_one_connection() {
    for is_lost in [false, true] {
        let mut ends = [Tcb::connect(100), Tcb::connect(300)];
        let exchange = |ends: &mut [Tcb; 2], now: Instant, arrives: bool| {
            let sent = [0, 1].map(|end| drain(&mut ends[end], now));
            if arrives {
                assert_eq!(give(&mut ends[0], &sent[1], now), Verdict::Continue);
                assert_eq!(give(&mut ends[1], &sent[0], now), Verdict::Continue);
            }
            [flags_of(&sent[0]).join(" "), flags_of(&sent[1]).join(" ")]
        };
        assert_eq!(exchange(&mut ends, at(0), true), ["SYN"; 2]);
        assert_eq!(ends.map(|end| end.state()), [State::SynReceived; 2]);
        assert_eq!(exchange(&mut ends, at(1), !is_lost), ["SYN|ACK"; 2]);
        if is_lost {
            for end in &mut ends {
                assert_eq!(end.deadline(), Some(at(1_000)));
                assert_eq!(end.on_timer(at(1_000), &PARAMETERS), Verdict::Continue);
            }
            assert_eq!(exchange(&mut ends, at(1_000), true), ["SYN|ACK"; 2]);
        }
        assert_eq!(ends.map(|end| end.state()), [State::Established; 2]);
        assert_eq!(exchange(&mut ends, at(1_001), true), ["ACK"; 2]);
        assert_eq!(exchange(&mut ends, at(1_002), true), [""; 2], "and rest");
        assert_eq!(ends.map(|end| end.deadline()), [None; 2]);
        ends[0].write(10);
        assert_eq!(exchange(&mut ends, at(1_003), true), ["PSH|ACK", ""]);
        assert_eq!(ends[1].received(), 111);
    }
}

#[test]
fn the_first_flight_is_ten_segments_and_acknowledgements_clock_the_rest() {
    let (mut client, mut server) = established();
    server.write(100_000);
    let flight = drain(&mut server, at(1));
    assert_eq!(flight.len(), 10);
    assert!(flight.iter().all(|segment| segment.length == 1_460));
    give(&mut client, &flight[..1], at(2));
    let ack = drain(&mut client, at(2));
    give(&mut server, &ack, at(3));
    assert_eq!(
        drain(&mut server, at(3)).len(),
        2,
        "slow start: two more for each acknowledged"
    );
    for segment in &flight[1..] {
        give(&mut client, &[*segment], at(4));
        let ack = drain(&mut client, at(4));
        give(&mut server, &ack, at(5));
        drain(&mut server, at(5));
    }
    assert_eq!(server.next, 20 * 1_460, "twice as much in flight");
}

#[test]
fn a_lost_segment_is_sent_again_from_there_after_one_rto_and_the_rest_follows() {
    let (mut client, mut server) = established();
    server.write(5_000);
    client.expect_until(client.received().wrapping_add(5_000));
    let flight = drain(&mut server, at(0));
    assert_eq!(flight.len(), 4);
    give(&mut client, &flight[..1], at(1));
    give(&mut client, &flight[2..], at(1));
    assert_eq!(
        client.received(),
        flight[1].sequence,
        "what follows the hole is dropped"
    );
    let ack = drain(&mut client, at(1));
    give(&mut server, &ack, at(2));
    assert_eq!(
        server.deadline(),
        Some(at(1_002) + Duration::from_nanos(16 << 16)),
        "an acknowledgement restarts the timer"
    );
    assert_eq!(server.on_timer(at(1_002), &PARAMETERS), Verdict::Continue);
    let again = drain(&mut server, at(1_002));
    assert_eq!(
        (again.len(), again[0].sequence, again[0].kind),
        (1, flight[1].sequence, Kind::Retransmission)
    );
    for _ in 0..3 {
        let segments = drain(&mut server, at(1_003));
        give(&mut client, &again, at(1_003));
        give(&mut client, &segments, at(1_003));
        let ack = drain(&mut client, at(1_003));
        give(&mut server, &ack, at(1_003));
    }
    assert!(client.is_satisfied() && server.is_acknowledged());
    assert_eq!(server.deadline(), None);
}

#[test]
fn data_is_sent_again_with_doubling_gaps_until_its_time_is_over() {
    let (mut client, _) = established();
    client.write(100);
    drain(&mut client, at(0));
    // Four retries are 31 s, from the first one on.
    for due in [1_000, 3_000, 7_000, 15_000, 31_000] {
        assert_eq!(client.deadline(), Some(at(due)));
        assert_eq!(client.on_timer(at(due), &PARAMETERS), Verdict::Continue);
        assert_eq!(drain(&mut client, at(due)).len(), 1);
    }
    assert_eq!(client.deadline(), Some(at(63_000)));
    assert_eq!(
        client.on_timer(at(63_000), &PARAMETERS),
        Verdict::TimedOut(None)
    );
}

#[test]
fn only_a_reset_with_the_exact_number_ends_a_connection() {
    let (client, _) = established();
    let reset = |offset: u32| {
        let mut tcb = client;
        let segment = Segment::reset(client.received().wrapping_add(offset));
        let verdict = give(&mut tcb, &[segment], at(1));
        (verdict, drain(&mut tcb, at(1)).len())
    };
    assert_eq!(reset(0), (Verdict::Reset, 0));
    assert_eq!(reset(1), (Verdict::Challenged, 1));
    assert_eq!(reset(65_534), (Verdict::Challenged, 1));
    assert_eq!(reset(65_535), (Verdict::Continue, 0));
    assert_eq!(reset(u32::MAX), (Verdict::Continue, 0));
}

#[test]
fn a_syn_inside_a_connection_earns_a_challenge_ack_and_changes_nothing() {
    let (mut client, mut server) = established();
    let syn = drain(&mut Tcb::connect(12_345), at(1));
    assert_eq!(give(&mut server, &syn, at(1)), Verdict::Challenged);
    let challenge = drain(&mut server, at(1));
    assert_eq!(flags_of(&challenge), ["ACK"]);
    assert_eq!(challenge[0].acknowledgement, client.sent());
    // To the peer that still lives it is an ordinary acknowledgement.
    assert_eq!(give(&mut client, &challenge, at(1)), Verdict::Continue);
    assert_eq!(drain(&mut client, at(1)), []);
    // To the one that forgot, it proves an old connection: reset it, then the next SYN succeeds.
    let mut reborn = Tcb::connect(12_345);
    drain(&mut reborn, at(1));
    let Verdict::Answer(reset) = give(&mut reborn, &challenge, at(1)) else {
        panic!("a bare ACK that does not acknowledge the SYN needs a reset");
    };
    assert_eq!(
        (reset.flags, reset.sequence),
        (TcpFlags::RST, challenge[0].acknowledgement)
    );
    assert_eq!(reborn.state(), State::SynSent);
    assert_eq!(give(&mut server, &[reset], at(2)), Verdict::Reset);
}

#[test]
fn in_syn_sent_a_reset_counts_only_if_it_acknowledges_the_syn() {
    let mut client = Tcb::connect(100);
    let syn = drain(&mut client, at(0));
    let refusal = answer_closed(&received(&syn[0])).unwrap();
    assert_eq!(refusal.acknowledgement, 101);
    let off_by_one = Segment {
        acknowledgement: 102,
        ..refusal
    };
    assert_eq!(give(&mut client, &[off_by_one], at(1)), Verdict::Continue);
    assert_eq!(
        give(&mut client, &[Segment::reset(0)], at(1)),
        Verdict::Continue
    );
    assert_eq!(give(&mut client, &[refusal], at(1)), Verdict::Refused);
}

#[test]
fn a_repeated_syn_repeats_the_syn_ack_and_a_foreign_one_is_challenged() {
    let syn = drain(&mut Tcb::connect(100), at(0));
    let mut server = Tcb::accept(500, &received(&syn[0]), Some(1_460));
    let first = drain(&mut server, at(0));
    give(&mut server, &syn, at(500));
    let second = drain(&mut server, at(500));
    assert_eq!(
        (second[0].flags, second[0].sequence),
        (first[0].flags, first[0].sequence)
    );
    assert_eq!(server.deadline(), Some(at(1_000)), "the timer runs on");
    let foreign = drain(&mut Tcb::connect(90_000_000), at(600));
    assert_eq!(give(&mut server, &foreign, at(600)), Verdict::Challenged);
    assert_eq!(drain(&mut server, at(600))[0].acknowledgement, 101);
    let wrong = Segment {
        acknowledgement: 7,
        flags: TcpFlags::ACK,
        sequence: 101,
        ..foreign[0]
    };
    assert_eq!(
        give(&mut server, &[wrong], at(700)),
        Verdict::Answer(Segment::reset(7))
    );
}

#[test]
fn a_segment_to_a_closed_port_earns_a_reset_but_a_reset_earns_nothing() {
    let mut segment = TcpSegment {
        flags: TcpFlags::SYN,
        sequence: 9,
        acknowledgement: 0,
        window: 0,
        length: 0,
    };
    let answer = answer_closed(&segment).unwrap();
    assert_eq!(answer.flags, TcpFlags::RST | TcpFlags::ACK);
    assert_eq!((answer.sequence, answer.acknowledgement), (0, 10));
    (segment.flags, segment.acknowledgement) = (TcpFlags::ACK | TcpFlags::FIN, 77);
    assert_eq!(answer_closed(&segment), Some(Segment::reset(77)));
    segment.flags = TcpFlags::RST | TcpFlags::ACK;
    assert_eq!(answer_closed(&segment), None);
}

#[test]
fn silence_ends_every_timer_but_not_the_answers() {
    let parameters = PROBED;
    let (mut client, server) = established();
    client.rest(at(0), &parameters);
    assert_eq!(client.deadline(), Some(at(5_000)));
    client.fall_silent();
    assert_eq!(client.deadline(), None);
    let probe = Segment {
        sequence: server.sent().wrapping_sub(1),
        acknowledgement: server.received,
        flags: TcpFlags::ACK,
        length: 0,
        kind: Kind::Plain,
    };
    client.on_segment(&received(&probe), None, at(9), &parameters);
    assert_eq!(flags_of(&drain(&mut client, at(9))), ["ACK"]);
    assert_eq!(client.deadline(), None);
}

#[test]
fn two_ends_that_do_not_belong_together_fall_quiet() {
    let mut random = Stream::new(3, "test", "mismatch");
    for _ in 0..20_000 {
        let (mut one, mut other) = established();
        // Somewhere near each other, or anywhere.
        let span = if random.chance(0.5) {
            200_000
        } else {
            u32::MAX
        };
        one.received = one
            .received
            .wrapping_add(random.below(span))
            .wrapping_sub(span / 2);
        other.received = other
            .received
            .wrapping_add(random.below(span))
            .wrapping_sub(span / 2);
        for tcb in [&mut one, &mut other] {
            tcb.write(random.below(3) * 1_000);
            if random.chance(0.3) {
                tcb.close();
            }
            drain(tcb, at(0));
            tcb.next = if random.chance(0.5) { 0 } else { tcb.max };
            tcb.flags |= super::ACK_DUE;
        }
        let mut rounds = 0;
        loop {
            let sent = drain(&mut one, at(1));
            give(&mut other, &sent, at(1));
            let answered = drain(&mut other, at(1));
            give(&mut one, &answered, at(1));
            if sent.is_empty() && answered.is_empty() {
                break;
            }
            rounds += 1;
            assert!(rounds < 20, "{one:?} and {other:?} do not stop");
        }
    }
}

#[test]
fn an_acknowledgement_during_go_back_n_carries_the_highest_number_sent() {
    let (mut client, mut server) = established();
    client.write(5_000);
    let lost = drain(&mut client, at(0));
    client.on_timer(at(1_000), &PARAMETERS);
    assert_eq!(drain(&mut client, at(1_000)).len(), 1);
    server.write(100);
    let response = drain(&mut server, at(1_001));
    give(&mut client, &response, at(1_002));
    let ack = drain(&mut client, at(1_002));
    assert_eq!((ack.len(), ack[0].length), (1, 0));
    assert_eq!(
        ack[0].sequence,
        lost[0].sequence.wrapping_add(5_000),
        "SND.NXT, not SND.UNA"
    );
}

#[test]
fn progress_resets_the_back_off_and_the_count_of_retries() {
    let (mut client, mut server) = established();
    client.write(3_000);
    drain(&mut client, at(0));
    for due in [1_000, 3_000, 7_000] {
        client.on_timer(at(due), &PARAMETERS);
    }
    let again = drain(&mut client, at(7_000));
    give(&mut server, &again, at(7_001));
    let ack = drain(&mut server, at(7_001));
    give(&mut client, &ack, at(7_002));
    assert_eq!(
        client.deadline(),
        Some(at(8_002)),
        "one second after the acknowledgement"
    );
    for due in [8_002, 10_002, 14_002, 22_002] {
        assert_eq!(client.on_timer(at(due), &PARAMETERS), Verdict::Continue);
    }
}

#[test]
fn a_response_held_back_is_dropped_when_the_peer_closes_before_its_request_is_whole() {
    let (mut client, mut server) = established();
    server.cork();
    server.write(1_000);
    assert_eq!(drain(&mut server, at(0)), []);
    client.close();
    let fin = drain(&mut client, at(1));
    give(&mut server, &fin, at(2));
    let answer = drain(&mut server, at(2));
    assert_eq!(
        (flags_of(&answer).join(" "), answer[0].length),
        ("FIN|ACK".into(), 0)
    );
}

#[test]
fn a_keepalive_probe_asks_with_the_number_before_the_next_one() {
    let parameters = PROBED;
    let (mut client, mut server) = established();
    client.rest(at(0), &parameters);
    assert_eq!(client.on_timer(at(5_000), &parameters), Verdict::Continue);
    let probe = drain(&mut client, at(5_000));
    assert_eq!((probe[0].kind, probe[0].length), (Kind::Probe, 0));
    assert_eq!(probe[0].sequence, server.received().wrapping_sub(1));
    give(&mut server, &probe, at(5_001));
    let answer = drain(&mut server, at(5_001));
    client.on_segment(&received(&answer[0]), None, at(5_002), &parameters);
    assert_eq!(client.deadline(), Some(at(10_002)));
}

#[test]
fn rfc_6298_3_a_round_trip_is_measured_of_what_is_sent_once() {
    // 1 200 ms there and back, as over satellites.
    let far = |seed: u32| {
        let mut client = Tcb::connect(seed);
        let syn = drain(&mut client, at(0));
        let mut server = Tcb::accept(900, &received(&syn[0]), Some(1_460));
        let syn_ack = drain(&mut server, at(600));
        (client, server, syn_ack)
    };
    let millis = |tcb: &Tcb| tcb.deadline().map(|due| due.as_nanos() / 1_000_000);
    // The SYN was sent again at 1 s, and the SYN-ACK of the first comes then.
    let (mut client, mut server, syn_ack) = far(7);
    client.on_timer(at(1_000), &PARAMETERS);
    drain(&mut client, at(1_000));
    client.on_segment(&received(&syn_ack[0]), Some(1_460), at(1_200), &PARAMETERS);
    client.write(100);
    drain(&mut client, at(1_200));
    assert_eq!(millis(&client), Some(4_200), "RFC 6298 §5.7: 3 s");
    // Without a loss it is 1 s, and half of that four times, but for the steps: 1 007 and 512 ms.
    let (mut client, _, syn_ack) = far(7);
    client.on_segment(&received(&syn_ack[0]), Some(1_460), at(1_000), &PARAMETERS);
    client.write(100);
    let data = drain(&mut client, at(1_000));
    assert_eq!(millis(&client), Some(1_000 + 3_054));
    server.on_segment(&received(&data[0]), None, at(1_500), &PARAMETERS);
    let ack = drain(&mut server, at(1_500));
    give(&mut client, &ack, at(2_200));
    client.write(100);
    drain(&mut client, at(10_000));
    // SRTT 881 + 150 ms, RTTVAR 384 + 48 ms: 1 040 ms is the nearest step, and 362 the one below 512.
    assert_eq!(millis(&client), Some(10_000 + 2_488));
}

#[test]
fn rfc_6928_2_two_losses_of_the_syn_leave_one_segment_for_the_first_flight() {
    for (losses, segments) in [(0, 10), (1, 10), (2, 1)] {
        let mut client = Tcb::connect(1);
        let syn = drain(&mut client, at(0));
        let mut server = Tcb::accept(900, &received(&syn[0]), Some(1_460));
        let syn_ack = drain(&mut server, at(1));
        for tcb in [&mut client, &mut server] {
            for due in (0..losses).map(|loss| at(1_000 * (2 << loss))) {
                tcb.on_timer(due, &PARAMETERS);
                drain(tcb, due);
            }
        }
        client.on_segment(&received(&syn_ack[0]), Some(1_460), at(9_000), &PARAMETERS);
        let ack = drain(&mut client, at(9_000));
        give(&mut server, &ack, at(9_001));
        for tcb in [&mut client, &mut server] {
            tcb.write(100_000);
            assert_eq!(drain(tcb, at(9_002)).len(), segments, "{losses}");
        }
    }
}
