use std::ops::RangeInclusive;

use plsim_nat::Allocation;

use crate::exact::{self, Exact};
use crate::occupancy::Occupancy;
use crate::timing::{Arena, Timing};
use crate::workload::Workload;

/// How much work a case may be; counted in operations, so that it is the same on every machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Effort {
    /// Timed samples of each case.
    pub samples: u32,
    /// Connections of one sample, fewer where one costs many probes.
    pub connections: u32,
    /// Allocations that are judged for predictability, fewer where one costs many probes.
    pub judged: u32,
    /// Probes that history and counting may cost each, unless 250 connections need more.
    pub probes: u64,
}

impl Effort {
    /// What a table for a document needs: a quarter of a minute for all allocators.
    pub const FULL: Self = Self {
        samples: 201,
        connections: 2_000,
        judged: 10_000,
        probes: 100_000_000,
    };
    /// A first look: a few seconds.
    pub const QUICK: Self = Self {
        samples: 15,
        connections: 500,
        judged: 2_000,
        probes: 2_000_000,
    };
}

/// One allocator under one workload at one occupancy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Case {
    /// The allocator.
    pub allocation: Allocation,
    /// In which order connections come and go.
    pub workload: Workload,
    /// How full the port spaces are; without meaning where the workload passes through all.
    pub occupancy: Occupancy,
    /// Port spaces that the timed connections go to, in random order: NAT IPs times VMs, 1..
    pub spaces: u32,
    /// Ports of one space, 1..=64 512, counted down from 65 535.
    pub ports: u32,
    /// The seed of all randomness.
    pub seed: u64,
    /// How much work it may be.
    pub effort: Effort,
}

/// What was found out about a case.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Measurement {
    /// The case.
    pub case: Case,
    /// What follows from case and seed alone.
    pub exact: Exact,
    /// What depends on the machine and the moment.
    pub timing: Timing,
}

impl Case {
    /// The most ports of a space: 1024..=65535 (D-NGW).
    pub const MOST_PORTS: u32 = 64_512;

    /// Returns a name that no other case of a laboratory has.
    #[must_use]
    pub fn name(&self) -> String {
        let (workload, allocation) = (self.workload.name(), self.allocation.name());
        if self.workload.keeps_occupancy() {
            format!("{workload}/{}/{allocation}", self.occupancy.to_text())
        } else {
            format!("{workload}/{allocation}")
        }
    }

    /// Measures it; `now` returns nanoseconds since any instant and never goes back.
    #[must_use]
    pub fn measure(&self, now: &mut dyn FnMut() -> u64) -> Measurement {
        let exact = exact::measure(self);
        Measurement {
            case: *self,
            exact,
            timing: Arena::new(self).measure(now),
        }
    }

    pub(crate) fn range(&self) -> RangeInclusive<u16> {
        let count = self.ports.clamp(1, Self::MOST_PORTS) as u16;
        u16::MAX - (count - 1)..=u16::MAX
    }
}

/// What to measure: every combination of allocator, occupancy and workload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Laboratory {
    /// The allocators, in the order of the tables.
    pub allocations: Vec<Allocation>,
    /// The occupancies, in the order of the tables.
    pub occupancies: Vec<Occupancy>,
    /// The workloads, in the order of the tables.
    pub workloads: Vec<Workload>,
    /// NAT IPs, 1..
    pub nat_ips: u32,
    /// Backend VMs, 1..
    pub vms: u32,
    /// Ports of one space, 1..=64 512.
    pub ports: u32,
    /// The seed of all randomness.
    pub seed: u64,
    /// How much work a case may be.
    pub effort: Effort,
}

impl Laboratory {
    /// Returns the cases: by workload, then by occupancy, so that what is compared is measured at
    /// nearly the same moment.
    #[must_use]
    pub fn cases(&self) -> Vec<Case> {
        let mut cases = Vec::new();
        for workload in &self.workloads {
            let passing = [Occupancy::LastPort];
            let occupancies = match workload.keeps_occupancy() {
                true => &self.occupancies[..],
                false => &passing[..],
            };
            for occupancy in occupancies {
                cases.extend(self.allocations.iter().map(|allocation| Case {
                    allocation: *allocation,
                    workload: *workload,
                    occupancy: *occupancy,
                    spaces: self.nat_ips.saturating_mul(self.vms).max(1),
                    ports: self.ports,
                    seed: self.seed,
                    effort: self.effort,
                }));
            }
        }
        cases
    }
}
