use crate::config::{AdminState, NoHealthyBackends, ProbeId};
use crate::rehash::{BackendIndex, Candidate, Chooser};
use alloc::vec;
use alloc::vec::Vec;
use core::net::Ipv4Addr;

/// A backend pool: its members and what their owner says of them.
#[derive(Debug, Clone)]
pub(crate) struct Pool {
    pub(crate) members: Vec<(BackendIndex, AdminState)>,
    pub(crate) may_change: bool,
}

impl Pool {
    pub(crate) fn position(&self, backend: BackendIndex) -> Option<usize> {
        let mut members = self.members.iter();
        members.position(|&(member, _)| member == backend)
    }

    pub(crate) fn has(&self, backend: BackendIndex) -> bool {
        self.position(backend).is_some()
    }
}

/// The members of a pool that rules with one probe may choose: the pool and what the probe says.
#[derive(Debug, Clone)]
pub(crate) struct Group {
    pub(crate) pool: usize,
    pub(crate) probe: Option<ProbeId>,
    chooser: Chooser,
    /// By [`BackendIndex`].
    eligible: Vec<bool>,
}

impl Group {
    pub(crate) fn new(
        pool: usize,
        probe: Option<ProbeId>,
        chooser: Chooser,
        backends: usize,
    ) -> Self {
        Self {
            pool,
            probe,
            chooser,
            eligible: vec![false; backends],
        }
    }

    /// Finds out anew who may be chosen; returns whether that has changed.
    pub(crate) fn refresh(
        &mut self,
        pool: &Pool,
        no_healthy_backends: NoHealthyBackends,
        is_healthy: impl Fn(BackendIndex) -> bool,
        address: impl Fn(BackendIndex) -> Ipv4Addr,
    ) -> bool {
        let members = || pool.members.iter();
        let mut chosen: Vec<BackendIndex> = members()
            .filter(|&&(member, admin)| match admin {
                AdminState::None => is_healthy(member),
                AdminState::Up => true,
                AdminState::Down => false,
            })
            .map(|&(member, _)| member)
            .collect();
        if chosen.is_empty() && no_healthy_backends == NoHealthyBackends::AllProbedUp {
            let admitted = members().filter(|(_, admin)| *admin != AdminState::Down);
            chosen.extend(admitted.map(|&(member, _)| member));
        }
        let mut eligible = vec![false; self.eligible.len()];
        for &member in &chosen {
            eligible[usize::from(member)] = true;
        }
        if eligible == self.eligible {
            return false;
        }
        self.eligible = eligible;
        let candidates = chosen.into_iter().map(|index| Candidate {
            index,
            address: address(index),
        });
        self.chooser.set(candidates.collect());
        true
    }

    /// Tells whether a backend gets new flows.
    #[inline]
    pub(crate) fn is_eligible(&self, backend: BackendIndex) -> bool {
        self.eligible[usize::from(backend)]
    }

    pub(crate) fn eligible(&self) -> usize {
        self.chooser.candidates().len()
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.chooser.memory_bytes()
    }

    #[inline]
    pub(crate) fn pick(&self, number: u64) -> Option<BackendIndex> {
        self.chooser.pick(number)
    }
}
