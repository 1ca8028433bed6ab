//! One test for each clause of the documents that the endpoint follows.

use plsim_types::{Duration, TcpFlags};

use super::{PARAMETERS, PROBED, at, drain, established, flags_of, give, received};
use crate::parameters::TcpParameters;
use crate::segment::{Kind, Segment};
use crate::tcp::{State, Tcb, Verdict};

/// An end that has come to a state, and the peer that it talks to.
fn in_state(state: State) -> (Tcb, Tcb) {
    let (mut one, mut other) = established();
    let closed_first = matches!(
        state,
        State::FinWait1 | State::FinWait2 | State::Closing | State::TimeWait
    );
    if closed_first {
        one.close();
        let fin = drain(&mut one, at(1));
        match state {
            State::FinWait2 => {
                // The peer acknowledges, but has not closed yet.
                give(&mut other, &fin, at(1));
                let mut ack = drain(&mut other, at(1))[0];
                ack.flags = TcpFlags::ACK;
                give(&mut one, &[ack], at(1));
            }
            State::Closing => {
                other.close();
                let crossing = drain(&mut other, at(1));
                give(&mut one, &crossing, at(1));
                drain(&mut one, at(1));
            }
            State::TimeWait => {
                give(&mut other, &fin, at(1));
                let answer = drain(&mut other, at(1));
                give(&mut one, &answer, at(1));
                drain(&mut one, at(1));
            }
            _ => {}
        }
    } else if state != State::Established {
        other.close();
        let fin = drain(&mut other, at(1));
        give(&mut one, &fin, at(1));
        if state == State::CloseWait {
            // It has something to say yet.
            one.write(100_000);
        }
        drain(&mut one, at(1));
    }
    assert_eq!(one.state(), state);
    (one, other)
}

const SYNCHRONIZED: [State; 7] = [
    State::Established,
    State::FinWait1,
    State::FinWait2,
    State::Closing,
    State::CloseWait,
    State::LastAck,
    State::TimeWait,
];

fn plain(tcb: &Tcb, flags: TcpFlags, offset: i32, length: u16) -> Segment {
    Segment {
        sequence: tcb.received().wrapping_add(offset as u32),
        acknowledgement: tcb.sent(),
        flags,
        length,
        kind: Kind::Plain,
    }
}

#[test]
fn rfc_5961_3_2_in_every_state_only_an_exact_reset_counts() {
    for state in SYNCHRONIZED {
        let (one, _) = in_state(state);
        for (offset, verdict, answers) in [
            (0, Verdict::Reset, 0),
            (1, Verdict::Challenged, 1),
            (65_534, Verdict::Challenged, 1),
            (65_535, Verdict::Continue, 0),
            (-1, Verdict::Continue, 0),
        ] {
            let mut tcb = one;
            let reset = plain(&tcb, TcpFlags::RST, offset, 0);
            assert_eq!(
                give(&mut tcb, &[reset], at(2)),
                verdict,
                "{state:?} {offset}"
            );
            assert_eq!(drain(&mut tcb, at(2)).len(), answers, "{state:?} {offset}");
        }
    }
}

#[test]
fn rfc_5961_4_2_in_every_state_a_syn_is_challenged() {
    for state in SYNCHRONIZED {
        for offset in [-70_000, -1, 0, 5, 70_000] {
            let (mut one, _) = in_state(state);
            let syn = plain(&one, TcpFlags::SYN, offset, 0);
            assert_eq!(give(&mut one, &[syn], at(2)), Verdict::Challenged);
            let answer = drain(&mut one, at(2));
            assert_eq!(flags_of(&answer), ["ACK"], "{state:?} {offset}");
            assert_eq!(one.state(), state);
        }
    }
}

#[test]
fn rfc_5961_5_2_data_with_an_acknowledgement_out_of_range_is_challenged_and_ignored() {
    let (client, _) = established();
    for (ahead, taken) in [
        (1, false),
        (100_000, false),
        (0, true),
        (-65_535, true),
        (-65_536, false),
    ] {
        let mut tcb = client;
        let mut data = plain(&tcb, TcpFlags::ACK, 0, 10);
        data.acknowledgement = tcb.sent().wrapping_add(ahead as u32);
        let verdict = if taken {
            Verdict::Continue
        } else {
            Verdict::Challenged
        };
        assert_eq!(give(&mut tcb, &[data], at(1)), verdict, "{ahead}");
        let moved = tcb.received().wrapping_sub(client.received());
        assert_eq!(moved, if taken { 10 } else { 0 }, "{ahead}");
        assert_eq!(drain(&mut tcb, at(1)).len(), 1);
    }
}

#[test]
fn rfc_9293_3_10_7_4_after_its_fin_the_peer_has_nothing_more_to_say() {
    for state in [
        State::Closing,
        State::CloseWait,
        State::LastAck,
        State::TimeWait,
    ] {
        let (mut one, _) = in_state(state);
        let before = one.received();
        let data = plain(&one, TcpFlags::ACK, 0, 100);
        give(&mut one, &[data], at(2));
        assert_eq!(one.received(), before, "{state:?}");
    }
    for state in [State::Established, State::FinWait1, State::FinWait2] {
        let (mut one, _) = in_state(state);
        let before = one.received();
        let data = plain(&one, TcpFlags::ACK, 0, 100);
        give(&mut one, &[data], at(2));
        assert_eq!(one.received(), before.wrapping_add(100), "{state:?}");
    }
}

#[test]
fn rfc_9293_3_6_a_half_closed_connection_carries_the_rest_the_other_way() {
    let (mut client, mut server) = established();
    server.write(5_000);
    client.close();
    let fin = drain(&mut client, at(1));
    give(&mut server, &fin, at(1));
    assert_eq!(server.state(), State::CloseWait);
    let data = drain(&mut server, at(1));
    assert_eq!(flags_of(&data), ["ACK", "ACK", "ACK", "FIN|PSH|ACK"]);
    assert_eq!(server.state(), State::LastAck);
    give(&mut client, &data, at(2));
    assert_eq!(client.state(), State::TimeWait);
    let ack = drain(&mut client, at(2));
    assert_eq!(give(&mut server, &ack, at(3)), Verdict::Closed);
}

#[test]
fn rfc_9293_3_10_7_4_a_fin_is_sent_again_until_it_is_acknowledged() {
    for state in [State::FinWait1, State::Closing, State::LastAck] {
        let (mut one, _) = in_state(state);
        for due in [1_001, 3_001, 7_001, 15_001] {
            assert_eq!(one.deadline(), Some(at(due)), "{state:?}");
            assert_eq!(one.on_timer(at(due), &PARAMETERS), Verdict::Continue);
            let again = drain(&mut one, at(due));
            assert_eq!(flags_of(&again), ["FIN|ACK"], "{state:?}");
            assert_eq!(again[0].kind, Kind::Retransmission);
            assert_eq!(one.state(), state);
        }
        let verdict = one.on_timer(at(31_001), &PARAMETERS);
        assert_eq!(verdict, Verdict::TimedOut(None), "{state:?}");
    }
}

#[test]
fn rfc_9293_3_6_1_a_connection_waits_60_s_for_the_peers_fin_as_linux_does() {
    let (mut one, _) = in_state(State::FinWait2);
    assert_eq!(one.deadline(), Some(at(60_001)));
    assert_eq!(one.on_timer(at(60_001), &PARAMETERS), Verdict::Closed);
}

#[test]
fn rfc_6191_2_time_wait_yields_to_a_syn_with_a_higher_number_only() {
    for state in SYNCHRONIZED {
        let (one, _) = in_state(state);
        for (offset, yields) in [(1, true), (1 << 30, true), (0, false), (-1, false)] {
            let syn = received(&plain(&one, TcpFlags::SYN, offset, 0));
            let expected = yields && state == State::TimeWait;
            assert_eq!(one.yields_to(&syn), expected, "{state:?} {offset}");
        }
        let ack = received(&plain(&one, TcpFlags::SYN | TcpFlags::ACK, 1, 0));
        assert!(!one.yields_to(&ack));
    }
}

#[test]
fn time_wait_lasts_as_long_as_its_host_says() {
    let (mut one, mut other) = established();
    let parameters = TcpParameters {
        time_wait: Duration::from_secs(120),
        ..PARAMETERS
    };
    one.close();
    let fin = drain(&mut one, at(1));
    give(&mut other, &fin, at(1));
    let answer = received(&drain(&mut other, at(1))[0]);
    one.on_segment(&answer, None, at(2), &parameters);
    assert_eq!(one.deadline(), Some(at(120_002)));
}

/// Gives an acknowledgement that says how much room there is.
fn give_window(tcb: &mut Tcb, window: u16, now: u64, parameters: &TcpParameters) {
    let mut ack = received(&plain(tcb, TcpFlags::ACK, 0, 0));
    ack.window = window;
    let verdict = tcb.on_segment(&ack, None, at(now), parameters);
    assert_eq!(verdict, Verdict::Continue);
}

#[test]
fn rfc_9293_3_8_6_nothing_leaves_that_the_peer_has_no_room_for() {
    for (window, sizes) in [
        (65_535, vec![1_460; 10]),
        (3_000, vec![1_460, 1_460]),
        (2_920, vec![1_460, 1_460]),
        (1_460, vec![1_460]),
        // Less than a segment, for no acknowledgement will make room.
        (1_459, vec![1_459]),
        (1, vec![1]),
        (0, vec![]),
    ] {
        let (mut client, _) = established();
        give_window(&mut client, window, 0, &PARAMETERS);
        client.write(20_000);
        let sent: Vec<u16> = drain(&mut client, at(1))
            .iter()
            .map(|segment| segment.length)
            .collect();
        assert_eq!(sent, sizes, "{window}");
    }
}

#[test]
fn rfc_9293_3_4_the_fin_needs_room_for_its_own_number() {
    let (mut client, mut server) = established();
    give_window(&mut client, 100, 0, &PARAMETERS);
    client.write(100);
    client.close();
    let data = drain(&mut client, at(1));
    assert_eq!(flags_of(&data), ["PSH|ACK"]);
    give(&mut server, &data, at(1));
    let ack = drain(&mut server, at(1));
    give(&mut client, &ack, at(2));
    assert_eq!(flags_of(&drain(&mut client, at(2))), ["FIN|ACK"]);
}

#[test]
fn rfc_9293_3_8_6_1_a_closed_window_is_asked_about_with_back_off() {
    let parameters = TcpParameters {
        orphan_retries: 4,
        ..PARAMETERS
    };
    for closes in [false, true] {
        let (mut client, server) = established();
        give_window(&mut client, 0, 0, &parameters);
        if closes {
            client.close();
        } else {
            client.write(100);
        }
        assert_eq!(drain(&mut client, at(0)), []);
        for due in [1_000, 3_000, 7_000, 15_000] {
            assert_eq!(client.deadline(), Some(at(due)));
            assert_eq!(client.on_timer(at(due), &parameters), Verdict::Continue);
            let probe = drain(&mut client, at(due));
            assert_eq!((probe.len(), probe[0].kind), (1, Kind::Probe));
            assert_eq!(probe[0].sequence, server.received().wrapping_sub(1));
        }
        let mut deaf = client;
        let verdict = deaf.on_timer(at(31_000), &parameters);
        assert_eq!(verdict, Verdict::TimedOut(None));
        // While the peer answers the connection lives, however long the window stays closed.
        for round in 0..100 {
            let now = 100_000 + round * 10_000;
            give_window(&mut client, 0, now, &parameters);
            let due = at(now + 4_000);
            assert_eq!(client.deadline(), Some(due), "half of the four retries");
            assert_eq!(client.on_timer(due, &parameters), Verdict::Continue);
            assert_eq!(drain(&mut client, due).len(), 1);
        }
        give_window(&mut client, 1, 2_000_000, &parameters);
        let sent = drain(&mut client, at(2_000_000));
        let expected = if closes { ("FIN|ACK", 0) } else { ("ACK", 1) };
        assert_eq!((flags_of(&sent)[0].as_str(), sent[0].length), expected);
    }
}

/// KERN.
#[test]
fn rfc_5482_the_user_timeout_ends_the_wait_for_a_closed_window_answered_or_not() {
    let parameters = TcpParameters {
        user_timeout: Some(Duration::from_secs(10)),
        ..PARAMETERS
    };
    for is_answered in [false, true] {
        let (mut client, _) = established();
        give_window(&mut client, 0, 0, &parameters);
        client.write(100);
        assert_eq!(client.poll_transmit(at(0), &parameters), None);
        for due in [1_000, 3_000, 7_000] {
            assert_eq!(client.deadline(), Some(at(due)));
            assert_eq!(client.on_timer(at(due), &parameters), Verdict::Continue);
            assert!(client.poll_transmit(at(due), &parameters).is_some());
            if is_answered {
                give_window(&mut client, 0, due, &parameters);
            }
        }
        assert_eq!(client.deadline(), Some(at(10_000)));
        let verdict = client.on_timer(at(10_000), &parameters);
        assert_eq!(verdict, Verdict::TimedOut(None));
    }
}

#[test]
fn rfc_9293_3_8_6_what_stands_first_is_sent_again_even_if_the_window_has_shrunk() {
    let (mut client, _) = established();
    client.write(5_000);
    assert_eq!(drain(&mut client, at(0)).len(), 4);
    let mut ack = received(&plain(&client, TcpFlags::ACK, 0, 0));
    (ack.acknowledgement, ack.window) = (client.unacknowledged(), 0);
    client.on_segment(&ack, None, at(1), &PARAMETERS);
    assert_eq!(client.on_timer(at(1_000), &PARAMETERS), Verdict::Continue);
    let again = drain(&mut client, at(1_000));
    assert_eq!((again.len(), again[0].length), (1, 1_460));
}

#[test]
fn rfc_9293_3_8_4_keepalive_has_a_time_an_interval_and_a_number_and_ends_with_a_reset() {
    let (mut client, _) = established();
    client.rest(at(0), &PROBED);
    for due in [5_000, 7_000, 9_000] {
        assert_eq!(client.deadline(), Some(at(due)));
        assert_eq!(client.on_timer(at(due), &PROBED), Verdict::Continue);
        assert_eq!(drain(&mut client, at(due))[0].kind, Kind::Probe);
    }
    let mut answered = client;
    give_window(&mut answered, 65_535, 10_000, &PROBED);
    assert_eq!(answered.deadline(), Some(at(15_000)), "it begins anew");
    assert_eq!(client.deadline(), Some(at(11_000)));
    let Verdict::TimedOut(Some(reset)) = client.on_timer(at(11_000), &PROBED) else {
        panic!("the peer is told, as Linux does");
    };
    assert_eq!(reset.flags, TcpFlags::RST | TcpFlags::ACK);
    assert_eq!(reset.sequence, client.sent());
}

#[test]
fn rfc_5482_the_user_timeout_ends_retransmission_at_exactly_its_time() {
    let impatient = |millis| TcpParameters {
        user_timeout: Some(Duration::from_millis(millis)),
        ..PARAMETERS
    };
    for (timeout, again, end) in [
        (500, vec![], 500),
        (1_000, vec![], 1_000),
        (1_001, vec![1_000], 1_001),
        (10_000, vec![1_000, 3_000, 7_000], 10_000),
        // More than the four retries allow: it overrides them, too.
        (40_000, vec![1_000, 3_000, 7_000, 15_000, 31_000], 40_000),
    ] {
        let parameters = impatient(timeout);
        let (mut client, _) = established();
        client.write(10);
        assert!(client.poll_transmit(at(0), &parameters).is_some());
        for due in again {
            assert_eq!(client.deadline(), Some(at(due)), "{timeout}");
            assert_eq!(client.on_timer(at(due), &parameters), Verdict::Continue);
            assert!(client.poll_transmit(at(due), &parameters).is_some());
        }
        assert_eq!(client.deadline(), Some(at(end)), "{timeout}");
        let verdict = client.on_timer(at(end), &parameters);
        assert_eq!(verdict, Verdict::TimedOut(None));
    }
}

#[test]
fn rfc_5482_the_user_timeout_decides_about_probes_instead_of_their_number() {
    // Probes at 5, 7, 9 s ...: the first moment of a probe when the time is over and one is out.
    for (timeout, end) in [
        (1_000, 7_000),
        (7_000, 7_000),
        (7_001, 9_000),
        (60_000, 61_000),
    ] {
        let parameters = TcpParameters {
            user_timeout: Some(Duration::from_millis(timeout)),
            ..PROBED
        };
        let (mut client, _) = established();
        client.rest(at(0), &parameters);
        let mut due = 5_000;
        while client.on_timer(at(due), &parameters) == Verdict::Continue {
            due += 2_000;
            assert_eq!(client.deadline(), Some(at(due)), "{timeout}");
        }
        assert_eq!(due, end, "{timeout}");
    }
}

/// Acknowledges 40 ms late, and probes after 5 s.
const LATE: TcpParameters = TcpParameters {
    delayed_ack: Some(Duration::from_millis(40)),
    ..PROBED
};

fn give_late(tcb: &mut Tcb, flags: TcpFlags, offset: i32, length: u16, now: u64) -> Vec<Segment> {
    let segment = received(&plain(tcb, flags, offset, length));
    tcb.on_segment(&segment, None, at(now), &LATE);
    std::iter::from_fn(|| tcb.poll_transmit(at(now), &LATE)).collect()
}

#[test]
fn rfc_9293_3_8_6_3_an_acknowledgement_waits_for_its_time() {
    let (mut client, _) = established();
    assert_eq!(give_late(&mut client, TcpFlags::ACK, 0, 100, 10), []);
    assert_eq!(client.deadline(), Some(at(50)));
    assert_eq!(client.on_timer(at(50), &LATE), Verdict::Continue);
    let ack = client.poll_transmit(at(50), &LATE).unwrap();
    assert_eq!((ack.length, ack.acknowledgement), (0, client.received()));
    assert_eq!(client.poll_transmit(at(50), &LATE), None);
    assert_eq!(client.deadline(), Some(at(5_010)), "silent since 10 ms");
}

#[test]
fn rfc_9293_3_8_6_3_every_second_segment_a_fin_and_whatever_is_amiss_are_acknowledged_at_once() {
    let (mut client, _) = established();
    assert_eq!(give_late(&mut client, TcpFlags::ACK, 0, 100, 10), []);
    assert_eq!(give_late(&mut client, TcpFlags::ACK, 0, 100, 11).len(), 1);
    assert_eq!(client.deadline(), Some(at(5_011)));
    assert_eq!(give_late(&mut client, TcpFlags::ACK, 0, 100, 12), []);
    for (offset, what) in [(-100, "a duplicate"), (50, "a hole")] {
        let mut tcb = client;
        let answers = give_late(&mut tcb, TcpFlags::ACK, offset, 100, 13);
        assert_eq!(answers.len(), 1, "{what}");
        assert!(
            tcb.deadline() > Some(at(5_000)),
            "{what}: nothing waits any more"
        );
    }
    let fin = TcpFlags::FIN | TcpFlags::ACK;
    assert_eq!(
        flags_of(&give_late(&mut client, fin, 0, 0, 14)),
        ["FIN|ACK"]
    );
}

#[test]
fn rfc_9293_3_8_6_3_a_waiting_acknowledgement_leaves_with_data() {
    let (mut client, _) = established();
    assert_eq!(give_late(&mut client, TcpFlags::ACK, 0, 100, 10), []);
    client.write(50);
    let data = client.poll_transmit(at(20), &LATE).unwrap();
    assert_eq!((data.length, data.acknowledgement), (50, client.received()));
    assert_eq!(client.deadline(), Some(at(1_020)), "the retransmission's");
    // With something in flight there is no second deadline: it is not delayed.
    let mut more = plain(&client, TcpFlags::ACK, 0, 100);
    more.acknowledgement = client.unacknowledged();
    client.on_segment(&received(&more), None, at(30), &LATE);
    assert!(client.poll_transmit(at(30), &LATE).is_some());
}
