//! How often a client hears that its new flow is refused.

use crate::config::{OnExhaustion, PoolConfig};
use crate::engine::NatEngine;
use crate::pool::Pool;
use plsim_types::{Duration, Instant, PlsId};

/// How often a pool answers refused flows by ICMP: a token bucket, as RFC 4443 §2.4 (f) recommends and RFC
/// 1812 §4.3.2.8 asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AnswerRate {
    /// The time between two answers in the long run, above zero.
    pub interval: Duration,
    /// The most at once, 1 or more: as many as may be saved up.
    pub burst: u32,
}

/// What was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Answers {
    /// ICMP errors to send.
    pub sent: u64,
    /// Refusals that were not answered because there were too many.
    pub suppressed: u64,
}

impl AnswerRate {
    /// What Linux sends of them: 1 000 each second, 50 at once (KERN: `icmp_msgs_per_sec`,
    /// `icmp_msgs_burst`).
    pub const LINUX: Self = Self {
        interval: Duration::from_millis(1),
        burst: 50,
    };
}

/// The answers of one pool.
#[derive(Debug, Clone)]
pub(crate) struct Answering {
    answer: OnExhaustion,
    rate: AnswerRate,
    /// When the bucket is full again.
    full_at: Instant,
    counts: Answers,
}

impl Answering {
    pub(crate) const fn new(config: &PoolConfig) -> Self {
        Self {
            answer: config.on_exhaustion,
            rate: config.answer_rate,
            full_at: Instant::ZERO,
            counts: Answers {
                sent: 0,
                suppressed: 0,
            },
        }
    }

    fn take(&mut self, now: Instant) -> OnExhaustion {
        if self.answer == OnExhaustion::Drop {
            return OnExhaustion::Drop;
        }
        // The bucket lacks a token for each interval until it is full.
        let full_at = self.full_at.max(now) + self.rate.interval;
        let most = u128::from(self.rate.interval.as_nanos()) * u128::from(self.rate.burst);
        if u128::from(full_at.since(now).as_nanos()) > most {
            self.counts.suppressed += 1;
            return OnExhaustion::Drop;
        }
        self.full_at = full_at;
        self.counts.sent += 1;
        self.answer
    }
}

impl NatEngine {
    /// Says what a client of the service hears whose new flow was just refused, and counts it.
    pub fn answer_refusal(&mut self, pls: PlsId, now: Instant) -> OnExhaustion {
        let mut pools = self.pools.iter_mut();
        let pool = pools.find(|pool| pool.pls == pls);
        pool.map_or(OnExhaustion::Drop, |pool| pool.answering.take(now))
    }

    /// Returns what was answered, of all services together.
    #[must_use]
    pub fn answers(&self) -> Answers {
        let pools = self
            .pools
            .iter()
            .map(|Pool { answering, .. }| answering.counts);
        pools.fold(Answers::default(), |sum, one| Answers {
            sent: sum.sent + one.sent,
            suppressed: sum.suppressed + one.suppressed,
        })
    }
}
