use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::ops::RangeInclusive;

use plsim_types::KeyedHash;

/// The ephemeral ports of client VMs: which there are, and which come first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EphemeralPorts {
    /// The ports.
    pub range: RangeInclusive<u16>,
    /// Whether the even ones come first, as for `connect` on Linux (KERN).
    pub even_first: bool,
}

/// The ephemeral ports of all VMs of a group, for one protocol.
///
/// A VM hands out its ports in rising order from a keyed offset, or so the even ones and then the
/// odd ones, each once; then the one freed
/// longest ago. That costs the same however few are free, and a VM that starts nothing costs a few
/// words.
#[derive(Debug)]
pub(crate) struct Ports {
    first: u16,
    count: u32,
    even_first: bool,
    vms: Vec<VmPorts>,
    /// One bit for each VM with a free port.
    available: Vec<u64>,
    /// The VM whose turn it is.
    turn: usize,
}

#[derive(Debug)]
struct VmPorts {
    offset: u32,
    /// How many ports were handed out for the first time.
    used: u32,
    freed: VecDeque<u16>,
}

impl Ports {
    /// Frees every port of every VM.
    pub(crate) fn new(ports: &EphemeralPorts, addresses: &[Ipv4Addr], key: KeyedHash) -> Self {
        let range = &ports.range;
        assert!(
            !range.is_empty(),
            "a client VM needs at least one ephemeral port"
        );
        let count = u32::from(*range.end()) - u32::from(*range.start()) + 1;
        let vms = addresses.iter().map(|address| VmPorts {
            offset: KeyedHash::scale(key.word(u64::from(address.to_bits())), count),
            used: 0,
            freed: VecDeque::new(),
        });
        let vms: Vec<_> = vms.collect();
        let mut available = vec![u64::MAX; vms.len().div_ceil(64)];
        if vms.len() % 64 > 0 {
            available[vms.len() / 64] = (1 << (vms.len() % 64)) - 1;
        }
        Self {
            first: *range.start(),
            count,
            even_first: ports.even_first,
            vms,
            available,
            turn: 0,
        }
    }

    /// Takes a port of the VM whose turn it is, or of the next one that has any.
    pub(crate) fn take(&mut self) -> Option<(u16, u16)> {
        let at = self.next_available()?;
        self.turn = (at + 1) % self.vms.len();
        let VmPorts { offset, used, .. } = self.vms[at];
        let fresh = (used < self.count).then(|| self.fresh(offset, used));
        let vm = &mut self.vms[at];
        let port = match fresh {
            Some(port) => {
                vm.used += 1;
                port
            }
            None => vm
                .freed
                .pop_front()
                .expect("broken invariant: an available VM has a free port"),
        };
        if vm.used == self.count && vm.freed.is_empty() {
            self.available[at / 64] &= !(1 << (at % 64));
        }
        Some((at as u16, port))
    }

    /// Returns the port that is handed out as number `used` by a VM with this offset.
    fn fresh(&self, offset: u32, used: u32) -> u16 {
        if !self.even_first {
            return self.first + ((offset + used) % self.count) as u16;
        }
        let begins_odd = u32::from(self.first % 2);
        let even = (self.count + 1 - begins_odd) / 2;
        let (among, place, odd) = match used.checked_sub(even) {
            None => (even, used, 0),
            Some(place) => (self.count - even, place, 1),
        };
        let step = 2 * ((offset + place) % among);
        self.first + (step + (begins_odd ^ odd)) as u16
    }

    /// Gives a port back.
    pub(crate) fn release(&mut self, vm: u16, port: u16) {
        let at = usize::from(vm);
        self.vms[at].freed.push_back(port);
        self.available[at / 64] |= 1 << (at % 64);
    }

    /// Returns the bytes of heap memory held.
    pub(crate) fn memory_bytes(&self) -> usize {
        let freed: usize = self.vms.iter().map(|vm| vm.freed.capacity()).sum();
        self.vms.capacity() * size_of::<VmPorts>() + self.available.capacity() * 8 + freed * 2
    }

    fn next_available(&self) -> Option<usize> {
        let words = self.available.len();
        let (word, bit) = (self.turn / 64, self.turn % 64);
        let later = self.available[word] & (u64::MAX << bit);
        if later != 0 {
            return Some(word * 64 + later.trailing_zeros() as usize);
        }
        (1..=words)
            .map(|step| (word + step) % words)
            .find(|&at| self.available[at] != 0)
            .map(|at| at * 64 + self.available[at].trailing_zeros() as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::{EphemeralPorts, Ports};
    use plsim_types::KeyedHash;
    use std::collections::BTreeSet;
    use std::net::Ipv4Addr;

    fn ports(vms: u32, first: u16, last: u16) -> Ports {
        ordered(vms, first, last, false)
    }

    fn ordered(vms: u32, first: u16, last: u16, even_first: bool) -> Ports {
        let addresses: Vec<_> = (1..=vms).map(Ipv4Addr::from_bits).collect();
        let range = first..=last;
        let ports = EphemeralPorts { range, even_first };
        Ports::new(&ports, &addresses, KeyedHash::new(1, "test"))
    }

    #[test]
    fn even_ports_come_first_where_that_is_asked_for() {
        for (first, last, even) in [
            (10, 19, 5),
            (11, 19, 4),
            (11, 20, 5),
            (10, 20, 6),
            (7, 7, 0),
        ] {
            let mut ports = ordered(1, first, last, true);
            let taken: Vec<u16> =
                std::iter::from_fn(|| ports.take().map(|(_, port)| port)).collect();
            assert!(taken[..even].iter().all(|port| port % 2 == 0), "{taken:?}");
            assert!(taken[even..].iter().all(|port| port % 2 == 1), "{taken:?}");
            let all: BTreeSet<u16> = taken.iter().copied().collect();
            assert_eq!(all, (first..=last).collect());
        }
    }

    #[test]
    fn every_port_is_handed_out_once_and_rises_from_the_offset() {
        let mut ports = ports(1, 32_768, 60_999);
        let taken: Vec<u16> = std::iter::from_fn(|| ports.take().map(|(_, port)| port)).collect();
        assert_eq!(taken.len(), 28_232);
        assert_eq!(taken.iter().collect::<BTreeSet<_>>().len(), 28_232);
        let falls = taken
            .windows(2)
            .filter(|pair| pair[1] != pair[0] + 1)
            .count();
        assert!(falls <= 1 && taken.iter().all(|port| (32_768..=60_999).contains(port)));
        assert_ne!(taken[0], 32_768, "the offset is keyed");
    }

    #[test]
    fn the_port_freed_longest_ago_comes_back_first() {
        let mut ports = ports(1, 10, 12);
        let taken: Vec<u16> = (0..3).map(|_| ports.take().unwrap().1).collect();
        assert_eq!(ports.take(), None);
        ports.release(0, taken[1]);
        ports.release(0, taken[0]);
        assert_eq!(ports.take(), Some((0, taken[1])));
        assert_eq!(ports.take(), Some((0, taken[0])));
        assert_eq!(ports.take(), None);
    }

    #[test]
    fn vms_take_turns_and_full_ones_are_passed_over() {
        let mut ports = ports(130, 1, 2);
        let vms: Vec<u16> = (0..260).map(|_| ports.take().unwrap().0).collect();
        assert_eq!(vms[..130], (0..130).collect::<Vec<_>>());
        assert_eq!(vms[130..], (0..130).collect::<Vec<_>>());
        assert_eq!(ports.take(), None);
        ports.release(129, 1);
        ports.release(64, 2);
        assert_eq!(ports.take(), Some((64, 2)));
        assert_eq!(ports.take(), Some((129, 1)));
        assert_eq!(ports.take(), None);
    }

    #[test]
    fn the_highest_port_range_does_not_overflow() {
        let mut ports = ports(1, 1, u16::MAX);
        assert_eq!((0..65_535).filter_map(|_| ports.take()).count(), 65_535);
        assert_eq!(ports.take(), None);
    }
}
