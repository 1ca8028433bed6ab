use plsim_sim::Place;
use plsim_types::KeyedHash;

/// What stands for the names of nodes and links in the digest.
///
/// The digest knows places by name and not by number, so the order in which a world was built does
/// not show.
#[derive(Debug, Clone, Default)]
pub struct Places {
    nodes: Vec<u64>,
    channels: Vec<u64>,
}

impl Places {
    /// Takes the (kind, name) of every node and of every link, both in the order of their ids.
    pub fn new<'a>(
        nodes: impl IntoIterator<Item = (&'a str, &'a str)>,
        channels: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Self {
        let hash = |kind: &str, name: &str| KeyedHash::new(0, kind).derive(name).word(0);
        Self {
            nodes: nodes
                .into_iter()
                .map(|(kind, name)| hash(kind, name))
                .collect(),
            channels: channels
                .into_iter()
                .map(|(kind, name)| hash(kind, name))
                .collect(),
        }
    }

    /// Returns the value that stands for a place.
    #[inline]
    pub(crate) fn hash(&self, place: Place) -> u64 {
        match place {
            Place::Node(node) => self.nodes[node.0 as usize],
            Place::Channel(channel) => self.channels[channel.0 as usize],
        }
    }
}
