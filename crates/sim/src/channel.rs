use plsim_types::Duration;

use crate::entity::{NodeId, Source, TapId};
use crate::impairment::{Impaired, Impairments};
use crate::stream::Stream;

/// The number of a channel in its world, in the order of creation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChannelId(pub u32);

/// What a one-way link does to packets.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ChannelConfig {
    /// One-way propagation time; zero means the same instant.
    pub latency: Duration,
    /// What else happens to packets on the way.
    pub impairments: Impairments,
    /// Where packets are seen as they enter.
    pub tap_in: Option<TapId>,
    /// Where packets are seen as they leave.
    pub tap_out: Option<TapId>,
}

/// A one-way link between two nodes: an in-memory L3 channel.
///
/// One without impairments adds its latency and draws no random number.
#[derive(Debug)]
pub struct Channel {
    /// The lane of the node at the far end.
    pub(crate) lane: u16,
    pub(crate) latency: Duration,
    pub(crate) tap_in: Option<TapId>,
    pub(crate) source: Source,
    /// What happens to packets, once there are impairments.
    pub(crate) impaired: Option<Box<Impaired>>,
    /// As the channel's name opens it: nothing was drawn yet.
    stream: Stream,
}

impl Channel {
    pub(crate) fn new(config: ChannelConfig, source: Source, stream: Stream) -> Self {
        let impaired = (config.impairments != Impairments::default())
            .then(|| Box::new(Impaired::new(config.impairments, &stream)));
        Self {
            lane: 0,
            latency: config.latency,
            tap_in: config.tap_in,
            source,
            impaired,
            stream,
        }
    }

    /// Returns the shortest time in which a packet can pass.
    pub(crate) fn least_latency(&self) -> Duration {
        match &self.impaired {
            None => self.latency,
            Some(impaired) => impaired.settings.least(self.latency),
        }
    }

    /// Returns the impairments for a change; from the first time on the link counts what it does.
    pub(crate) fn impair(&mut self) -> &mut Impaired {
        let stream = &self.stream;
        self.impaired
            .get_or_insert_with(|| Box::new(Impaired::new(Impairments::default(), stream)))
    }
}

/// What the receiver knows of a link.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FarEnd {
    pub(crate) to: NodeId,
    pub(crate) tap_out: Option<TapId>,
    /// Whether the link has, or had, impairments.
    pub(crate) is_impaired: bool,
}
