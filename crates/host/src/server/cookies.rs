//! SYN cookies: handshakes that the server remembers nothing of (RFC 4987 §3.6).

use std::net::SocketAddrV4;

use plsim_sim::Context;
use plsim_types::{DropReason, Duration, Instant, KeyedHash, Protocol, TcpFlags, TcpSegment};

use super::{Ended, ServerVm, Slot};
use crate::alarm::Alarm;
use crate::client_tcp::send;
use crate::segment::{Kind, Segment};
use crate::tcp::Tcb;

/// The segment sizes that a cookie can tell, which are Linux's; a peer's is rounded down.
const SIZES: [u16; 4] = [536, 1_300, 1_440, 1_460];
/// Cookies of this period and the last one are good: one to two minutes, as in Linux.
const PERIOD: Duration = Duration::from_secs(60);
/// How long after a cookie was sent its port looks for them in the segments of strangers.
pub(super) const MEMORY: Duration = Duration::from_secs(120);
/// The bits of a cookie that are a hash; above them stand three for the size and five for the time, as in
/// RFC 4987, appendix A.
const HASH: u32 = (1 << 24) - 1;

/// Makes initial sequence numbers that tell, when they come back, all that was known.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cookies {
    hash: KeyedHash,
}

impl Cookies {
    pub(super) const fn new(seed: u64) -> Self {
        Self {
            hash: KeyedHash::new(seed, "SYN cookies"),
        }
    }

    /// Makes the answer to a SYN with this number; `peer` tells both sockets.
    fn make(self, peer: u64, syn: u32, mss: Option<u16>, now: Instant) -> u32 {
        let mss = mss.unwrap_or(0);
        let larger = SIZES.iter().rposition(|&size| size <= mss);
        self.word(peer, syn, larger.unwrap_or(0) as u32, period(now))
    }

    /// Returns the segment size that a cookie tells, if it is one.
    fn check(self, peer: u64, syn: u32, cookie: u32, now: Instant) -> Option<u16> {
        let size = cookie >> 24 & 7;
        let mss = *SIZES.get(size as usize)?;
        let latest = period(now);
        let mut periods = [Some(latest), latest.checked_sub(1)].into_iter().flatten();
        let is_good = periods.any(|period| self.word(peer, syn, size, period) == cookie);
        is_good.then_some(mss)
    }

    fn word(self, peer: u64, syn: u32, size: u32, period: u64) -> u32 {
        let about = u64::from(syn) << 32 | u64::from(size) << 24 | period & u64::from(HASH);
        let hash = self.hash.pair(peer, about) as u32;
        (period as u32) << 27 | size << 24 | hash & HASH
    }
}

fn period(now: Instant) -> u64 {
    now.as_nanos() / PERIOD.as_nanos()
}

impl ServerVm {
    /// Tells whether a SYN that finds the queue of handshakes full is answered with a cookie.
    pub(super) fn sends_cookie(&self, reason: DropReason) -> bool {
        reason == DropReason::SynQueueFull && self.queues.has_cookies()
    }

    /// Answers a SYN with a cookie. A connection in TIME_WAIT that it would have replaced is over.
    pub(super) fn send_cookie(
        &mut self,
        found: Option<u32>,
        (remote, local_port): (SocketAddrV4, u16),
        (syn, mss): (&TcpSegment, Option<u16>),
        cx: &mut Context<'_>,
    ) {
        if let Some(position) = found {
            self.end(position, Ended::Closed);
        }
        let peer = self.key(remote, local_port);
        let cookie = self.cookies.make(peer, syn.sequence, mss, cx.now());
        self.queues.sent_cookie(local_port, cx.now());
        self.stats.cookies.sent += 1;
        let answer = Segment {
            sequence: cookie,
            acknowledgement: syn.sequence.wrapping_add(1),
            flags: TcpFlags::SYN | TcpFlags::ACK,
            length: 0,
            kind: Kind::Plain,
        };
        let local = self.local(remote, local_port);
        send(local, remote, &answer, None, self.out, cx);
    }

    /// Reads the cookie that a stranger's segment acknowledges; returns the segment size it tells.
    pub(super) fn read_cookie(
        &mut self,
        (remote, local_port): (SocketAddrV4, u16),
        segment: &TcpSegment,
        now: Instant,
    ) -> Option<u16> {
        let flags = segment.flags;
        if !flags.has(TcpFlags::ACK)
            || flags.has(TcpFlags::SYN)
            || flags.has(TcpFlags::RST)
            || !self.queues.expects_cookie(local_port, now)
            || !self.listens(Protocol::Tcp, local_port)
        {
            return None;
        }
        let (syn, cookie) = (
            segment.sequence.wrapping_sub(1),
            segment.acknowledgement.wrapping_sub(1),
        );
        let peer = self.key(remote, local_port);
        let mss = self.cookies.check(peer, syn, cookie, now);
        self.stats.cookies.failed += u64::from(mss.is_none());
        mss
    }

    /// Makes the connection whose cookie came back; the segment itself is still to be taken.
    pub(super) fn accept_cookie(
        &mut self,
        (remote, local_port): (SocketAddrV4, u16),
        segment: &TcpSegment,
        mss: u16,
    ) -> u32 {
        let slot = Slot {
            tcb: Tcb::by_cookie(segment, mss),
            alarm: Alarm::default(),
            remote: remote.ip().to_bits(),
            remote_port: remote.port(),
            local_port,
        };
        self.stats.cookies.accepted += 1;
        self.stats.half_open += 1;
        self.queues.begin(local_port);
        self.slots.insert(self.key(remote, local_port), slot)
    }
}

#[cfg(test)]
mod tests {
    use super::Cookies;
    use plsim_types::{Duration, Instant};

    fn at(secs: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(secs)
    }

    #[test]
    fn a_cookie_tells_the_segment_size_rounded_down_for_one_to_two_minutes() {
        let cookies = Cookies::new(7);
        for (announced, told) in [
            (None, 536),
            (Some(100), 536),
            (Some(1_424), 1_300),
            (Some(1_440), 1_440),
            (Some(9_000), 1_460),
        ] {
            let cookie = cookies.make(1, 2, announced, at(59));
            assert_eq!(cookies.check(1, 2, cookie, at(59)), Some(told));
            assert_eq!(cookies.check(1, 2, cookie, at(119)), Some(told));
            assert_eq!(cookies.check(1, 2, cookie, at(120)), None);
        }
    }

    #[test]
    fn a_cookie_is_good_for_one_pair_of_sockets_and_one_syn() {
        let cookies = Cookies::new(7);
        let cookie = cookies.make(1, 2, Some(1_460), at(0));
        assert_eq!(cookies.check(1, 2, cookie, at(0)), Some(1_460));
        assert_eq!(cookies.check(2, 2, cookie, at(0)), None);
        assert_eq!(cookies.check(1, 3, cookie, at(0)), None);
        for bit in 0..32 {
            assert_eq!(cookies.check(1, 2, cookie ^ 1 << bit, at(0)), None);
        }
        assert_eq!(Cookies::new(8).check(1, 2, cookie, at(0)), None);
    }
}
