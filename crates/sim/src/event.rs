use plsim_packet::Packet;

use crate::channel::ChannelId;
use crate::entity::{NodeId, Source};

/// The kind of an event: arrivals run before timers of the same instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    Arrival = 0,
    Timer = 1,
}

const COUNTER_BITS: u32 = 40;
const RANK_BITS: u32 = 22;

/// The most entities (nodes and channels together) a world can hold.
pub(crate) const MAX_ENTITIES: usize = 1 << RANK_BITS;

/// What orders events of one instant: (class, source entity, per-source counter) in one word.
pub type Tie = u64;

pub(crate) fn tie(class: Class, source: &mut Source) -> Tie {
    let counter = source.next();
    assert!(counter < 1 << COUNTER_BITS, "an entity caused 2^40 events");
    ((class as u64) << (RANK_BITS + COUNTER_BITS))
        | (u64::from(source.rank.0) << COUNTER_BITS)
        | counter
}

/// What happens.
#[derive(Debug)]
pub(crate) enum What {
    /// A packet leaves the far end of a channel.
    Arrival(ChannelId, Box<Packet>),
    /// A node's timer fires.
    Timer(NodeId, u64),
}
