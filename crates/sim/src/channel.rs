use plsim_packet::Packet;
use plsim_types::{DropReason, Duration, Instant};

use crate::entity::{NodeId, Source, TapId};
use crate::stream::Stream;

/// The number of a channel in its world, in the order of creation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChannelId(pub u32);

/// What a one-way link does to packets.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ChannelConfig {
    /// One-way propagation time; zero means the same instant.
    pub latency: Duration,
    /// Bits per second; `None` means without limit.
    pub bandwidth: Option<u64>,
    /// The most bytes that may wait for a limited bandwidth, those being sent included; `None`
    /// means without limit. A packet that finds the link idle is always accepted.
    pub queue_limit: Option<u64>,
    /// Probability that a packet is lost, 0..=1.
    pub loss: f64,
    /// Where packets are seen as they enter.
    pub tap_in: Option<TapId>,
    /// Where packets are seen as they leave.
    pub tap_out: Option<TapId>,
}

/// A one-way link between two nodes: an in-memory L3 channel.
///
/// Bandwidth is one number, the time until which the sender is busy: it needs no events.
#[derive(Debug)]
pub struct Channel {
    pub(crate) to: NodeId,
    pub(crate) config: ChannelConfig,
    pub(crate) source: Source,
    stream: Stream,
    busy_until: Instant,
}

impl Channel {
    pub(crate) const fn new(
        to: NodeId,
        config: ChannelConfig,
        source: Source,
        stream: Stream,
    ) -> Self {
        Self {
            to,
            config,
            source,
            stream,
            busy_until: Instant::ZERO,
        }
    }

    /// Accepts a packet at `now` and returns when it arrives, or why it does not.
    pub(crate) fn accept(&mut self, packet: &Packet, now: Instant) -> Result<Instant, DropReason> {
        let departed = match self.config.bandwidth {
            None => now,
            Some(bandwidth) => self.serialise(packet.wire_len() as u64, bandwidth, now)?,
        };
        if self.config.loss > 0.0 && self.stream.chance(self.config.loss) {
            return Err(DropReason::LinkLoss);
        }
        Ok(departed + self.config.latency)
    }

    /// Puts the bytes behind those that still wait and returns when the last bit has left.
    fn serialise(
        &mut self,
        bytes: u64,
        bandwidth: u64,
        now: Instant,
    ) -> Result<Instant, DropReason> {
        let waiting = self.busy_until.since(now);
        if let Some(limit) = self.config.queue_limit {
            let backlog =
                u128::from(waiting.as_nanos()) * u128::from(bandwidth) / (8 * 1_000_000_000);
            // A packet that finds the link idle need not wait.
            if !waiting.is_zero() && backlog + u128::from(bytes) > u128::from(limit) {
                return Err(DropReason::LinkQueueFull);
            }
        }
        let nanos = (u128::from(bytes) * 8 * 1_000_000_000).div_ceil(u128::from(bandwidth));
        let span = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        self.busy_until = now + waiting + span;
        Ok(self.busy_until)
    }
}
