use plsim_types::Duration;

use crate::entity::NodeId;

/// The nodes of a world in groups that cannot be separated: the most that threads can share out.
///
/// Two nodes are in one shard if a packet may pass between them without time moving, or if the world
/// was built to keep them together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Shards {
    /// How many there are.
    pub count: usize,
    /// The shortest time in which a packet passes from one to another; `None` if none can.
    pub look_ahead: Option<Duration>,
}

/// Numbers the shards of `nodes` nodes, of which pairs must not be separated: returns each node's, and
/// how many there are. Shards count in the order of their first nodes.
pub(crate) fn number(
    nodes: usize,
    pairs: impl IntoIterator<Item = (NodeId, NodeId)>,
) -> (Vec<u32>, usize) {
    let mut leaders: Vec<usize> = (0..nodes).collect();
    for (one, other) in pairs {
        let one = leader(&mut leaders, one.0 as usize);
        let other = leader(&mut leaders, other.0 as usize);
        // The first node leads, so that numbers follow it.
        leaders[one.max(other)] = one.min(other);
    }
    let mut numbers: Vec<u32> = Vec::with_capacity(nodes);
    let mut count = 0;
    for node in 0..nodes {
        let leader = leader(&mut leaders, node);
        numbers.push(if leader == node {
            count += 1;
            count - 1
        } else {
            numbers[leader]
        });
    }
    (numbers, count as usize)
}

fn leader(leaders: &mut [usize], node: usize) -> usize {
    let mut at = node;
    while leaders[at] != at {
        leaders[at] = leaders[leaders[at]];
        at = leaders[at];
    }
    at
}

/// Shares out shards over lanes so that loads are alike: the heaviest first, each to the lane that has
/// least (Graham 1969: at most a third above the best). Returns each shard's lane.
pub(crate) fn share_out(loads: &[u64], lanes: usize) -> Vec<u16> {
    let mut order: Vec<usize> = (0..loads.len()).collect();
    order.sort_by_key(|&shard| std::cmp::Reverse(loads[shard]));
    let mut filled = vec![0; lanes];
    let mut lane_of = vec![0; loads.len()];
    for shard in order {
        let least = (0..lanes).min_by_key(|&lane| filled[lane]).unwrap_or(0);
        // Shards without load are shared out, too.
        filled[least] += loads[shard].max(1);
        lane_of[shard] = u16::try_from(least).expect("broken invariant: 65 536 lanes");
    }
    lane_of
}

/// Returns what the fullest lane has.
pub(crate) fn heaviest(loads: &[u64], lane_of: &[u16], lanes: usize) -> u64 {
    let mut filled = vec![0; lanes];
    for (load, &lane) in loads.iter().zip(lane_of) {
        filled[usize::from(lane)] += load;
    }
    filled.into_iter().max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::{heaviest, number, share_out};
    use crate::entity::NodeId;

    #[test]
    fn pairs_make_shards_numbered_by_their_first_node() {
        let pairs = [(5, 1), (3, 4), (4, 5)].map(|(one, other)| (NodeId(one), NodeId(other)));
        let (numbers, count) = number(7, pairs);
        assert_eq!(numbers, [0, 1, 2, 1, 1, 1, 3]);
        assert_eq!(count, 4);
        assert_eq!(number(2, []), (vec![0, 1], 2));
        assert_eq!(number(0, []), (vec![], 0));
    }

    #[test]
    fn loads_are_shared_out_evenly() {
        let loads = [10, 40, 30, 20, 0];
        let lanes = share_out(&loads, 2);
        assert_eq!(heaviest(&loads, &lanes, 2), 50);
        assert_eq!(share_out(&[0, 0, 0, 0], 2), [0, 1, 0, 1]);
    }
}
