//! The splice rule by rule: a client that starts at 1000, a server that starts at 5000, and a header
//! of 36 bytes.

use plsim_nat::{Inward, Outward, Splice};
use plsim_types::{TcpFlags, TcpSegment};

const HEADER: u8 = 36;
/// The client's first byte.
const BASE: u32 = 1001;
/// The server's first byte.
const FIRST: u32 = 5001;

const FIN_ACK: TcpFlags = TcpFlags(0x11);
const RST_ACK: TcpFlags = TcpFlags(0x14);
const SYN_ACK: TcpFlags = TcpFlags(0x12);

fn segment(flags: TcpFlags, sequence: u32, acknowledgement: u32, length: u16) -> TcpSegment {
    TcpSegment {
        flags,
        sequence,
        acknowledgement,
        window: 1000,
        length,
    }
}

fn syn(isn: u32) -> TcpSegment {
    segment(TcpFlags::SYN, isn, 0, 0)
}

/// The client's bytes from an offset.
fn client(offset: u32, length: u16) -> TcpSegment {
    let sequence = BASE.wrapping_add(offset);
    segment(TcpFlags::ACK, sequence, FIRST, length)
}

/// The server's acknowledgement of so many bytes of its stream, the header included.
fn server(acknowledged: u32, window: u16) -> TcpSegment {
    TcpSegment {
        window,
        ..segment(TcpFlags::ACK, FIRST, BASE.wrapping_add(acknowledged), 0)
    }
}

/// A connection whose SYN-ACK has this window, maximum segment size and scale.
fn opened(window: u16, mss: Option<u16>, scale: Option<u8>) -> Splice {
    let mut splice = Splice::new(&syn(BASE - 1), HEADER);
    assert_eq!(splice.outward(&syn(BASE - 1)), Outward::Pass);
    assert!(!splice.observe(&syn_ack(window), mss, scale));
    splice
}

fn syn_ack(window: u16) -> TcpSegment {
    TcpSegment {
        window,
        ..segment(SYN_ACK, FIRST - 1, BASE, 0)
    }
}

fn open() -> Splice {
    opened(1000, Some(1460), None)
}

#[test]
fn the_header_goes_once_with_the_ack_of_the_handshake() {
    let mut splice = open();
    assert_eq!(splice.outward(&client(0, 0)), Outward::Header(BASE));
    // On its way: what follows follows, also bare.
    assert_eq!(splice.outward(&client(0, 100)), Outward::Shift(BASE + 36));
    assert_eq!(splice.outward(&client(100, 0)), Outward::Shift(BASE + 136));
    splice.observe(&server(136, 1000), None, None);
    assert_eq!(splice.outward(&client(0, 100)), Outward::Shift(BASE + 36));
}

#[test]
fn without_an_ack_of_its_own_the_first_segment_carries_it() {
    assert_eq!(open().outward(&client(0, 100)), Outward::Header(BASE));
    let fin = segment(FIN_ACK, BASE, FIRST, 0);
    assert_eq!(open().outward(&fin), Outward::Header(BASE));
    // Out of order: what is not the first byte never does.
    let mut splice = open();
    assert_eq!(splice.outward(&client(500, 10)), Outward::Shift(BASE + 536));
    assert_eq!(splice.outward(&client(0, 500)), Outward::Header(BASE));
}

#[test]
fn until_it_is_acknowledged_it_goes_again_with_what_tcp_repeats() {
    let mut splice = open();
    assert_eq!(splice.outward(&client(0, 0)), Outward::Header(BASE));
    assert_eq!(splice.outward(&client(0, 100)), Outward::Shift(BASE + 36));
    assert_eq!(splice.outward(&client(0, 100)), Outward::Header(BASE));
    assert_eq!(splice.outward(&client(0, 60)), Outward::Header(BASE));
    // The SYN-ACK again: the handshake's ACK was lost, and the header with it.
    let mut splice = open();
    splice.outward(&client(0, 0));
    splice.observe(&syn_ack(1000), Some(1460), None);
    assert_eq!(splice.outward(&client(0, 0)), Outward::Header(BASE));
    // The server says that it lacks it.
    splice.observe(&server(0, 1000), None, None);
    assert_eq!(splice.outward(&client(0, 0)), Outward::Header(BASE));
    splice.observe(&server(36, 1000), None, None);
    assert_eq!(splice.outward(&client(0, 0)), Outward::Shift(BASE + 36));
}

#[test]
fn a_keepalive_before_the_first_byte_brings_it_too() {
    let probe = segment(TcpFlags::ACK, BASE - 1, FIRST, 1);
    let mut splice = open();
    assert_eq!(splice.outward(&probe), Outward::HeaderOnly(BASE));
    splice.observe(&server(36, 1000), None, None);
    assert_eq!(splice.outward(&probe), Outward::Shift(BASE + 35));
}

#[test]
fn an_old_segment_of_the_connection_before_does_not_take_the_header_along() {
    let mut splice = open();
    for (flags, before, length) in [
        (TcpFlags::ACK, 2, 0),
        (TcpFlags::ACK, 400_000_000, 0),
        (TcpFlags::ACK, 400_000_000, 200),
        (RST_ACK, 400_000_000, 0),
        (FIN_ACK, 400_000_000, 0),
    ] {
        let old = segment(flags, BASE.wrapping_sub(before), 77, length);
        let shifted = old.sequence.wrapping_add(u32::from(HEADER));
        assert_eq!(splice.outward(&old), Outward::Shift(shifted));
    }
    assert_eq!(splice.outward(&client(0, 0)), Outward::Header(BASE));
}

#[test]
fn the_client_sees_acknowledgements_and_windows_without_the_header() {
    let mut splice = open();
    let inward = |splice: &Splice, segment: &TcpSegment| {
        let Inward {
            acknowledgement,
            window,
        } = splice.inward(segment);
        (acknowledgement.wrapping_sub(BASE), window)
    };
    assert_eq!(inward(&splice, &syn_ack(1000)), (0, 964));
    assert_eq!(inward(&splice, &syn_ack(20)), (0, 0));
    splice.outward(&client(0, 0));
    // A part of the header is nothing of the client's, but room that is used.
    assert_eq!(inward(&splice, &server(0, 1000)), (0, 964));
    assert_eq!(inward(&splice, &server(10, 1000)), (0, 974));
    assert_eq!(inward(&splice, &server(35, 1000)), (0, 999));
    assert_eq!(inward(&splice, &server(36, 1000)), (0, 1000));
    assert_eq!(inward(&splice, &server(136, 1000)), (100, 1000));
    // A RST without ACK says nothing there.
    let reset = segment(TcpFlags::RST, FIRST, 0, 0);
    assert_eq!(splice.inward(&reset).acknowledgement, 0);
}

#[test]
fn rfc_7323_a_scaled_window_loses_whole_units_and_a_syns_is_never_scaled() {
    let mut splice = opened(1000, Some(1460), Some(4));
    assert_eq!(splice.inward(&syn_ack(1000)).window, 964);
    splice.outward(&client(0, 0));
    // 36 bytes are three units of 16; 20 bytes are two.
    assert_eq!(splice.inward(&server(0, 1000)).window, 997);
    assert_eq!(splice.inward(&server(16, 1000)).window, 998);
    assert_eq!(splice.inward(&server(36, 1000)).window, 1000);
}

#[test]
fn sack_edges_inside_the_header_become_the_first_byte() {
    let splice = open();
    let edges = [0, 10, 35, 36, 37, 136].map(|at| splice.edge(BASE + at) - BASE);
    assert_eq!(edges, [0, 0, 0, 0, 1, 100]);
}

#[test]
fn the_client_is_told_of_a_smaller_mss_unless_nothing_would_be_left() {
    let announced = [1460, 536, 72, 71, 36, 20].map(|mss| open().client_mss(mss));
    assert_eq!(announced, [1424, 500, 36, 71, 36, 20]);
    // A client that does not listen: both together would be too long.
    let mut splice = open();
    let ahead = Outward::HeaderAhead(BASE, BASE + 36);
    assert_eq!(splice.outward(&client(0, 1460)), ahead);
    assert_eq!(open().outward(&client(0, 1424)), Outward::Header(BASE));
    let mut splice = opened(1000, None, None);
    assert_eq!(splice.outward(&client(0, 501)), ahead);
}

#[test]
fn a_header_longer_than_the_mss_waits_for_one_segment_and_is_never_split() {
    let mut splice = opened(1000, Some(35), None);
    assert_eq!(splice.outward(&client(0, 0)), Outward::Withhold(BASE));
    assert_eq!(splice.outward(&client(0, 0)), Outward::Header(BASE));
    let mut splice = opened(1000, Some(35), None);
    assert_eq!(splice.outward(&client(0, 0)), Outward::Withhold(BASE));
    let ahead = Outward::HeaderAhead(BASE, BASE + 36);
    assert_eq!(splice.outward(&client(0, 10)), ahead);
    let mut splice = opened(1000, Some(36), None);
    assert_eq!(splice.outward(&client(0, 0)), Outward::Header(BASE));
}

#[test]
fn a_header_longer_than_the_window_waits_until_there_is_room() {
    for (window, fits) in [
        (0, false),
        (20, false),
        (35, false),
        (36, true),
        (65_535, true),
    ] {
        let first = opened(window, Some(1460), None).outward(&client(0, 0));
        assert_eq!(first == Outward::Header(BASE), fits, "{window}");
        assert_eq!(first == Outward::Withhold(BASE), !fits, "{window}");
    }
    let mut splice = opened(20, Some(1460), None);
    splice.outward(&client(0, 0));
    // Data that cannot go asks for the window instead; what follows the first byte passes.
    assert_eq!(splice.outward(&client(0, 1)), Outward::Probe(BASE));
    assert_eq!(splice.outward(&client(1, 1)), Outward::Shift(BASE + 37));
    assert!(!splice.observe(&server(0, 35), None, None));
    assert!(
        splice.observe(&server(0, 36), None, None),
        "there is room now"
    );
    assert!(!splice.observe(&server(0, 36), None, None), "sent once");
    // It shrinks again before the header has come.
    splice.observe(&server(0, 0), None, None);
    assert_eq!(splice.outward(&client(0, 1)), Outward::Probe(BASE));
    // What of the header is there needs no more room.
    splice.observe(&server(16, 20), None, None);
    assert_eq!(splice.outward(&client(0, 1)), Outward::Header(BASE));
}

#[test]
fn a_scaled_window_has_room_for_what_it_means() {
    let mut splice = opened(20, Some(1460), Some(2));
    assert_eq!(splice.outward(&client(0, 0)), Outward::Withhold(BASE));
    assert!(!splice.observe(&server(0, 8), None, None));
    assert!(splice.observe(&server(0, 9), None, None));
}

#[test]
fn rfc_5961_a_reset_names_the_byte_that_the_server_expects() {
    let reset = |flags, offset: u32| segment(flags, BASE + offset, FIRST, 0);
    let (abort, answer) = (RST_ACK, TcpFlags::RST);
    // Before the header was sent.
    assert_eq!(open().outward(&reset(abort, 0)), Outward::Shift(BASE));
    assert_eq!(open().outward(&reset(answer, 0)), Outward::Shift(BASE));
    // Behind a header on its way; and if that was lost, the server's challenge is answered exactly.
    let mut splice = open();
    splice.outward(&client(0, 0));
    assert_eq!(splice.outward(&reset(abort, 0)), Outward::Shift(BASE + 36));
    splice.observe(&server(0, 1000), None, None);
    assert_eq!(splice.outward(&reset(answer, 0)), Outward::Shift(BASE));
    splice.outward(&client(0, 100));
    splice.observe(&server(136, 1000), None, None);
    for flags in [abort, answer] {
        assert_eq!(splice.outward(&reset(flags, 0)), Outward::Shift(BASE + 36));
        let later = splice.outward(&reset(flags, 100));
        assert_eq!(later, Outward::Shift(BASE + 136));
    }
}

#[test]
fn the_nats_own_reset_keeps_the_shift() {
    let mut splice = open();
    assert_eq!(splice.reset(BASE), BASE);
    splice.outward(&client(0, 0));
    assert_eq!(splice.reset(BASE), BASE);
    splice.observe(&server(10, 1000), None, None);
    assert_eq!(splice.reset(BASE), BASE + 10);
    splice.observe(&server(36, 1000), None, None);
    assert_eq!(splice.reset(BASE), BASE + 36);
    assert_eq!(splice.reset(BASE + 100), BASE + 136);
    // Nobody has answered the SYN: there is nothing to shift.
    assert_eq!(Splice::new(&syn(BASE - 1), HEADER).reset(BASE), BASE);
}

#[test]
fn a_refused_syn_is_refused_in_its_own_numbers() {
    let splice = Splice::new(&syn(BASE - 1), HEADER);
    let refusal = segment(RST_ACK, 0, BASE, 0);
    assert_eq!(splice.inward(&refusal).acknowledgement, BASE);
    let mut splice = splice;
    let cancel = segment(TcpFlags::RST, BASE, 0, 0);
    assert_eq!(splice.outward(&cancel), Outward::Pass);
}

#[test]
fn d12_what_was_never_sent_is_not_acknowledged_by_an_old_segment() {
    let mut splice = open();
    splice.observe(&server(36, 1000), None, None);
    assert_eq!(splice.outward(&client(0, 0)), Outward::Header(BASE));
    // Nor by one that acknowledges more than there is.
    splice.observe(&server(5_000, 1000), None, None);
    assert_eq!(splice.outward(&client(0, 100)), Outward::Shift(BASE + 36));
    assert_eq!(splice.outward(&client(0, 100)), Outward::Header(BASE));
}

#[test]
fn a_syn_on_a_live_connection_can_be_challenged_and_the_answer_comes_back_exactly() {
    let mut splice = open();
    splice.outward(&client(0, 100));
    splice.observe(&server(136, 1000), None, None);
    // The client has forgotten the connection and starts anew; the server has not.
    assert_eq!(splice.outward(&syn(90_000)), Outward::Pass);
    let challenge = server(136, 1000);
    let seen = splice.inward(&challenge).acknowledgement;
    assert_eq!(seen, BASE + 100);
    let answer = segment(TcpFlags::RST, seen, 0, 0);
    assert_eq!(splice.outward(&answer), Outward::Shift(BASE + 136));
    // The next SYN is taken: the header is due again, at the new place.
    assert_eq!(splice.outward(&syn(90_000)), Outward::Pass);
    let taken = segment(SYN_ACK, 7_000, 90_001, 0);
    assert_eq!(splice.inward(&taken).acknowledgement, 90_001);
    splice.observe(&taken, Some(1460), None);
    let first = segment(TcpFlags::ACK, 90_001, 7_001, 0);
    assert_eq!(splice.outward(&first), Outward::Header(90_001));
}

#[test]
fn the_next_connection_on_the_port_has_its_own_header_even_with_the_same_numbers() {
    let mut splice = open();
    splice.outward(&client(0, 100));
    splice.observe(&server(136, 1000), None, None);
    assert_eq!(splice.outward(&syn(BASE - 1)), Outward::Pass);
    let again = segment(SYN_ACK, 7_000, BASE, 0);
    splice.observe(&again, Some(1460), None);
    assert_eq!(splice.outward(&client(0, 0)), Outward::Header(BASE));
}

#[test]
fn numbers_wrap() {
    let mut splice = Splice::new(&syn(u32::MAX - 10), HEADER);
    let answer = segment(SYN_ACK, FIRST - 1, u32::MAX - 9, 0);
    splice.observe(&answer, Some(1460), None);
    let first = segment(TcpFlags::ACK, u32::MAX - 9, FIRST, 5);
    assert_eq!(splice.outward(&first), Outward::Header(u32::MAX - 9));
    let next = segment(TcpFlags::ACK, u32::MAX - 4, FIRST, 20);
    assert_eq!(splice.outward(&next), Outward::Shift(31));
    let inward = splice.inward(&segment(TcpFlags::ACK, FIRST, 51, 0));
    assert_eq!(inward.acknowledgement, 15);
}

/// With the longest headers of IP and TCP and 36 bytes more this is a packet of 65 535 bytes.
#[test]
fn the_header_never_makes_a_packet_too_long_whatever_the_server_takes() {
    let most = u16::MAX - 60 - 60 - 36;
    let begin = |length| opened(u16::MAX, Some(u16::MAX), None).outward(&client(0, length));
    assert_eq!(begin(most), Outward::Header(BASE));
    assert_eq!(begin(most + 1), Outward::HeaderAhead(BASE, BASE + 36));
}

/// A client whose numbers leap almost once around is judged like any other.
#[test]
fn numbers_that_leap_around_the_circle_do_no_harm() {
    let mut splice = open();
    splice.outward(&client(0, 0));
    for leap in [0x7FFF_FFFF, 0xFFFF_FFFE, 0xFFFF_FFFF] {
        splice.outward(&client(leap, 0));
    }
    assert!(!splice.observe(&server(36, 1000), None, None));
    assert_eq!(splice.outward(&client(0, 0)), Outward::Shift(BASE + 36));
}
