//! Which NAT IP a new flow gets.

use crate::binding::FlowKey;
use crate::config::Selection;
use crate::engine::NatEngine;
use crate::pool::Pool;
use crate::space::Space;
use plsim_types::KeyedHash;

/// The NAT IPs to try: a first one, as an index into the pool's list, and how many in all. The
/// others follow it in the order of the list, around its end.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Choice {
    pub(crate) first: usize,
    pub(crate) tries: usize,
}

impl NatEngine {
    /// Says which NAT IP new flows try first from now on, by its place in the order in which the
    /// service got them; `None` leaves it to the service's selection.
    ///
    /// A load balancer that hashes a NAT IP expects its flow there.
    #[inline]
    pub const fn prefer_nat_ip(&mut self, place: Option<u8>) {
        self.preferred = place;
    }

    pub(crate) fn choose(&self, key: &FlowKey, hash: u64) -> Choice {
        let pool = &self.pools[key.pool()];
        Choice {
            first: self.first_choice(pool, key, hash),
            tries: match pool.selection {
                Selection::HashStrict | Selection::ClientPairedStrict => 1,
                _ => pool.nat_ips.len(),
            },
        }
    }

    /// Returns the NAT IP that a new flow tries first, as an index into the pool's list.
    #[inline]
    pub(crate) fn first_choice(&self, pool: &Pool, key: &FlowKey, hash: u64) -> usize {
        let count = pool.nat_ips.len();
        if let Some(preferred) = self.preferred
            && usize::from(preferred) < count
        {
            return usize::from(preferred);
        }
        let scaled = |hash: u64| KeyedHash::scale(hash, count as u32) as usize;
        match pool.selection {
            Selection::Hash | Selection::HashStrict => scaled(self.select.word(hash)),
            Selection::RoundRobin => pool.turns[key.protocol().index()],
            Selection::LeastUsed => self.least_used(key),
            Selection::Sequential => 0,
            Selection::ClientPaired | Selection::ClientPairedStrict => {
                scaled(self.select.word(key.consumer()))
            }
        }
    }

    #[inline(never)]
    fn least_used(&self, key: &FlowKey) -> usize {
        let pool = &self.pools[key.pool()];
        let taken = |&at: &u8| {
            let side = self.nat_ips[usize::from(at)].sides[key.protocol().index()].as_ref();
            let space = side.and_then(|side| side.spaces.get(key.backend_port()));
            space.map_or(0, Space::taken)
        };
        let all = pool.nat_ips.iter().map(taken).enumerate();
        all.min_by_key(|&(_, taken)| taken).map_or(0, |(at, _)| at)
    }
}
