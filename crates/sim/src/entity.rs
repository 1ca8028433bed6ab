/// The number of a node in its world, in the order of creation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u32);

/// The number of a capture point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TapId(pub u32);

/// The place of an entity in the order of (kind, name): what breaks ties between equal times.
///
/// It does not depend on the order of creation, and adding an entity never swaps two others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rank(pub(crate) u32);

/// A counter of the events an entity has caused.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    pub(crate) rank: Rank,
    pub(crate) caused: u64,
}

impl Source {
    pub(crate) const fn new(rank: Rank) -> Self {
        Self { rank, caused: 0 }
    }

    /// Returns the number of this event among the entity's own.
    pub(crate) const fn next(&mut self) -> u64 {
        self.caused += 1;
        self.caused
    }
}
