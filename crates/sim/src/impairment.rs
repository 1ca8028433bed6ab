use plsim_packet::Packet;
use plsim_types::{DropReason, Duration, Instant};

use crate::stream::Stream;

/// What a link does to packets beyond its latency; the default does nothing.
///
/// In this order, whatever the order of the keys in a scenario:
///
/// 1. A link that is *down* takes nothing; what it has taken before arrives.
/// 2. The *queue*: the packet waits for the bandwidth, or finds no room.
/// 3. *Loss*. A lost packet has used its share of the bandwidth.
/// 4. *Duplicate*: a copy is made behind the queue. Each of the two goes on by itself:
/// 5. *Corrupt*: one bit flips.
/// 6. *Jitter* changes the latency.
/// 7. *Reorder* holds the packet back.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Impairments {
    /// Whether the link is down.
    pub is_down: bool,
    /// Bits per second; `None` means without limit.
    pub bandwidth: Option<u64>,
    /// The most bytes that may wait for a limited bandwidth, those being sent included; `None`
    /// means without limit. A packet that finds the link idle is always accepted.
    pub queue_limit: Option<u64>,
    /// Which packets are lost.
    pub loss: Loss,
    /// Probability that a packet arrives twice, 0..=1.
    pub duplicate: f64,
    /// Probability that one bit of a packet flips, 0..=1.
    pub corrupt: f64,
    /// By how much the latency varies.
    pub jitter: Jitter,
    /// Which packets are held back.
    pub reorder: Reorder,
}

/// Which packets a link loses.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Loss {
    /// Each by itself with this probability, 0..=1.
    Random(f64),
    /// In bursts.
    GilbertElliott(GilbertElliott),
}

/// Bursts of loss: a link has a good and a bad state and begins in the good one (the model of
/// Gilbert and Elliott; `gemodel` of tc-netem). All are probabilities, 0..=1.
///
/// With every packet lost in the bad state and none in the good one, a share of p / (p + r) is lost,
/// in bursts of 1 / r packets on average.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GilbertElliott {
    /// That the state turns bad after a packet in the good one.
    pub p: f64,
    /// That it turns good after a packet in the bad one.
    pub r: f64,
    /// That a packet is lost in the bad state (netem's 1-h).
    pub loss_in_bad: f64,
    /// That a packet is lost in the good state (netem's 1-k).
    pub loss_in_good: f64,
}

/// By how much the latency of each packet varies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Jitter {
    /// How far, each way: the bound of a uniform, the standard deviation of a normal law. A latency
    /// that would become negative is zero.
    pub span: Duration,
    /// How it is distributed.
    pub law: JitterLaw,
    /// Whether a packet may overtake those before it. Otherwise it waits for them, and the link stays
    /// first in, first out.
    pub may_reorder: bool,
}

/// How jitter is distributed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum JitterLaw {
    /// Every latency within the span is as likely as any other.
    #[default]
    Uniform,
    /// Most are near the middle; cut off at four standard deviations, as in tc-netem's tables.
    Normal,
}

/// Which packets a link holds back, so that later ones overtake them.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Reorder {
    /// Probability that a packet is held back, 0..=1.
    pub probability: f64,
    /// For how long, beyond the latency.
    pub delay: Duration,
    /// After one was held back, only the so many-th packet may be again; 0 and 1 mean any.
    pub gap: u32,
}

/// What a link has done; counted from its first impairment on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LinkStats {
    /// Packets that were handed to the link.
    pub packets: u64,
    /// Packets that found it down.
    pub link_down: u64,
    /// Packets that found its queue full.
    pub queue_full: u64,
    /// Packets lost.
    pub lost: u64,
    /// Runs of packets lost one after the other, those of one packet included.
    pub loss_runs: u64,
    /// Packets of which a copy was made.
    pub duplicated: u64,
    /// Packets and copies of which a bit was flipped.
    pub corrupted: u64,
    /// Packets and copies held back.
    pub reordered: u64,
    /// Packets and copies that arrive before one that was handed in earlier.
    pub overtook: u64,
    /// The most bytes that waited for the bandwidth at once, those being sent included.
    pub queue_peak: u64,
}

/// The impairments of a link at work.
///
/// Bandwidth is one number, the time until which the sender is busy: it needs no events. Each kind of
/// impairment draws from a stream of its own, so that adding one does not change what another does.
#[derive(Debug)]
pub(crate) struct Impaired {
    pub(crate) settings: Impairments,
    pub(crate) stats: LinkStats,
    streams: Streams,
    busy_until: Instant,
    is_bad: bool,
    /// Whether the last packet was lost.
    is_losing: bool,
    /// Packets since one was held back.
    since_reorder: u32,
    /// The last arrival of those not held back, once one lay in the future.
    last: Option<Instant>,
    /// The last arrival of all.
    furthest: Instant,
}

#[derive(Debug)]
struct Streams {
    loss: Stream,
    duplicate: Stream,
    corrupt: Stream,
    jitter: Stream,
    reorder: Stream,
}

impl Default for Loss {
    fn default() -> Self {
        Self::Random(0.0)
    }
}

impl LinkStats {
    /// Adds what another link has done; of the two queues the longer one counts.
    pub fn add(&mut self, other: &Self) {
        let Self {
            packets,
            link_down,
            queue_full,
            lost,
            loss_runs,
            duplicated,
            corrupted,
            reordered,
            overtook,
            queue_peak,
        } = other;
        self.packets += packets;
        self.link_down += link_down;
        self.queue_full += queue_full;
        self.lost += lost;
        self.loss_runs += loss_runs;
        self.duplicated += duplicated;
        self.corrupted += corrupted;
        self.reordered += reordered;
        self.overtook += overtook;
        self.queue_peak = self.queue_peak.max(*queue_peak);
    }
}

impl Impairments {
    /// Returns the shortest time that a latency can become: jitter may shorten it.
    pub(crate) const fn least(&self, latency: Duration) -> Duration {
        let span = self.jitter.span.as_nanos();
        let most = match self.jitter.law {
            JitterLaw::Uniform => span,
            JitterLaw::Normal => span.saturating_mul(DEVIATIONS),
        };
        Duration::from_nanos(latency.as_nanos().saturating_sub(most))
    }
}

impl Impaired {
    /// Begins with an idle link; `stream` is the link's own.
    pub(crate) fn new(settings: Impairments, stream: &Stream) -> Self {
        let seed = stream.clone().bits();
        let open = |kind| Stream::new(seed, "impairment", kind);
        Self {
            settings,
            stats: LinkStats::default(),
            streams: Streams {
                loss: stream.clone(),
                duplicate: open("duplicate"),
                corrupt: open("corrupt"),
                jitter: open("jitter"),
                reorder: open("reorder"),
            },
            busy_until: Instant::ZERO,
            is_bad: false,
            is_losing: false,
            since_reorder: 0,
            last: None,
            furthest: Instant::ZERO,
        }
    }

    /// Notes when the last of the packets arrives that are on the way already.
    pub(crate) fn follow(&mut self, last: Option<Instant>) {
        self.last = self.last.max(last);
        self.furthest = self.furthest.max(last.unwrap_or(Instant::ZERO));
    }

    /// Takes a packet of so many bytes at `now` and returns when its last bit has left the sender, or
    /// why it never arrives.
    pub(crate) fn admit(&mut self, bytes: u64, now: Instant) -> Result<Instant, DropReason> {
        self.stats.packets += 1;
        if self.settings.is_down {
            self.stats.link_down += 1;
            return Err(DropReason::LinkDown);
        }
        let departed = match self.settings.bandwidth {
            None => now,
            Some(bandwidth) => self.serialise(bytes, bandwidth, now)?,
        };
        if self.loses() {
            return Err(DropReason::LinkLoss);
        }
        Ok(departed)
    }

    /// Tells whether a copy is to be made of a packet that was admitted.
    pub(crate) fn duplicates(&mut self) -> bool {
        let chance = self.settings.duplicate;
        let is_doubled = chance > 0.0 && self.streams.duplicate.chance(chance);
        self.stats.duplicated += u64::from(is_doubled);
        is_doubled
    }

    /// Does to a packet, or to its copy, what happens on the way; returns when it arrives.
    pub(crate) fn carry(
        &mut self,
        packet: &mut Packet,
        departed: Instant,
        latency: Duration,
        now: Instant,
    ) -> Instant {
        let (chance, bits) = (self.settings.corrupt, packet.wire_len() as u32 * 8);
        if chance > 0.0 && bits > 0 && self.streams.corrupt.chance(chance) {
            self.stats.corrupted += 1;
            packet.flip_bit(self.streams.corrupt.below(bits) as usize);
        }
        let mut at = departed + self.varied(latency);
        if !self.settings.jitter.may_reorder
            && let Some(last) = self.last
        {
            at = at.max(last);
            if at == now && last == now {
                // The one before may still wait in the event queue, where an arrival in the same
                // instant would pass it.
                at = now + Duration::from_nanos(1);
            }
        }
        if at > now {
            self.last = self.last.max(Some(at));
        }
        if self.holds_back() {
            self.stats.reordered += 1;
            at = at + self.settings.reorder.delay;
        }
        self.stats.overtook += u64::from(at < self.furthest);
        self.furthest = self.furthest.max(at);
        at
    }

    /// Puts the bytes behind those that still wait and returns when the last bit has left.
    fn serialise(
        &mut self,
        bytes: u64,
        bandwidth: u64,
        now: Instant,
    ) -> Result<Instant, DropReason> {
        let waiting = self.busy_until.since(now);
        let backlog = u128::from(waiting.as_nanos()) * u128::from(bandwidth) / (8 * 1_000_000_000);
        let queued = backlog + u128::from(bytes);
        // A packet that finds the link idle need not wait.
        if let Some(limit) = self.settings.queue_limit
            && !waiting.is_zero()
            && queued > u128::from(limit)
        {
            self.stats.queue_full += 1;
            return Err(DropReason::LinkQueueFull);
        }
        let queued = u64::try_from(queued).unwrap_or(u64::MAX);
        self.stats.queue_peak = self.stats.queue_peak.max(queued);
        let nanos = (u128::from(bytes) * 8 * 1_000_000_000).div_ceil(u128::from(bandwidth));
        let span = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        self.busy_until = now + waiting + span;
        Ok(self.busy_until)
    }

    fn loses(&mut self) -> bool {
        let stream = &mut self.streams.loss;
        let is_lost = match self.settings.loss {
            Loss::Random(chance) => chance > 0.0 && stream.chance(chance),
            Loss::GilbertElliott(model) => {
                let (loss, turn) = match self.is_bad {
                    true => (model.loss_in_bad, model.r),
                    false => (model.loss_in_good, model.p),
                };
                let is_lost = stream.chance(loss);
                self.is_bad ^= stream.chance(turn);
                is_lost
            }
        };
        self.stats.lost += u64::from(is_lost);
        self.stats.loss_runs += u64::from(is_lost && !self.is_losing);
        self.is_losing = is_lost;
        is_lost
    }

    /// Returns a latency with its jitter.
    fn varied(&mut self, latency: Duration) -> Duration {
        let Jitter { span, law, .. } = self.settings.jitter;
        if span.is_zero() {
            return latency;
        }
        let (latency, span) = (latency.as_nanos(), span.as_nanos());
        let stream = &mut self.streams.jitter;
        Duration::from_nanos(match law {
            JitterLaw::Uniform => {
                let width = u128::from(span) * 2 + 1;
                let offset = (u128::from(stream.bits()) * width) >> 64;
                let latency = u128::from(latency) + offset;
                u64::try_from(latency.saturating_sub(u128::from(span))).unwrap_or(u64::MAX)
            }
            JitterLaw::Normal => latency.saturating_add_signed(deviation(stream, span)),
        })
    }

    /// Tells whether the packet at hand is held back.
    fn holds_back(&mut self) -> bool {
        let Reorder {
            probability, gap, ..
        } = self.settings.reorder;
        if probability <= 0.0 {
            return false;
        }
        self.since_reorder = self.since_reorder.saturating_add(1);
        let is_held = self.since_reorder >= gap && self.streams.reorder.chance(probability);
        if is_held {
            self.since_reorder = 0;
        }
        is_held
    }
}

/// Where the normal law is cut off, in standard deviations.
const DEVIATIONS: u64 = 4;

/// Draws a deviation by the normal law with the standard deviation `span`, cut off at four of them
/// (Box and Muller; the functions are `libm`'s, which give the same bytes on every machine).
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "a random span needs no more than 53 bits, and float to int saturates"
)]
fn deviation(stream: &mut Stream, span: u64) -> i64 {
    let radius = libm::sqrt(-2.0 * libm::log(1.0 - stream.unit()));
    let normal = radius * libm::cos(core::f64::consts::TAU * stream.unit());
    let bound = DEVIATIONS as f64;
    libm::rint(normal.clamp(-bound, bound) * span as f64) as i64
}

#[cfg(test)]
mod tests;
