use alloc::vec::Vec;
use plsim_types::KeyedHash;

/// The position of a backend inside the load balancer.
pub(crate) type BackendIndex = u16;

/// A backend pool and which of its members are up.
#[derive(Debug, Clone)]
pub(crate) struct Pool {
    members: Vec<BackendIndex>,
    /// The members that are up, in configured order.
    up: Vec<BackendIndex>,
    pub(crate) may_change: bool,
}

impl Pool {
    pub(crate) fn new(members: Vec<BackendIndex>, may_change: bool) -> Self {
        let up = members.clone();
        Self {
            members,
            up,
            may_change,
        }
    }

    pub(crate) fn has(&self, backend: BackendIndex) -> bool {
        self.members.contains(&backend)
    }

    pub(crate) fn is_down(&self) -> bool {
        self.up.is_empty()
    }

    /// Recomputes the list of members that are up.
    pub(crate) fn refresh(&mut self, is_up: impl Fn(BackendIndex) -> bool) {
        self.up.clear();
        let members = self.members.iter().copied();
        self.up.extend(members.filter(|&member| is_up(member)));
    }

    /// Scales the hash evenly over the members that are up; `None` if there is none.
    #[inline]
    pub(crate) fn pick(&self, hash: u64) -> Option<BackendIndex> {
        let count = u32::try_from(self.up.len())
            .ok()
            .filter(|&count| count > 0)?;
        Some(self.up[KeyedHash::scale(hash, count) as usize])
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::Pool;
    use std::vec;

    #[test]
    fn the_hash_counts_members_that_are_up_in_configured_order() {
        let mut pool = Pool::new(vec![7, 3, 9], true);
        let third = u64::MAX / 3 + 1;
        let picks = |pool: &Pool| [0, third, third * 2].map(|hash| pool.pick(hash));
        assert_eq!(picks(&pool), [Some(7), Some(3), Some(9)]);
        pool.refresh(|member| member != 3);
        assert_eq!(picks(&pool), [Some(7), Some(7), Some(9)]);
        pool.refresh(|_| false);
        assert!(pool.is_down() && pool.pick(0).is_none() && pool.has(3));
    }
}
