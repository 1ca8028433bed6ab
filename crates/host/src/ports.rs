use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::ops::RangeInclusive;

use plsim_table::prefetch;
use plsim_types::KeyedHash;

/// The ephemeral ports of client VMs: which there are, which come first, and what they are unique for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EphemeralPorts {
    /// The ports.
    pub range: RangeInclusive<u16>,
    /// Whether the even ones come first, as for `connect` on Linux (KERN).
    pub even_first: bool,
    /// Whether TCP connections to different destinations may have one port, as for `connect` on Linux
    /// (KERN). UDP sockets never do.
    pub shared: bool,
}

/// The ephemeral ports of all VMs of a group, for one protocol, and who has them.
#[derive(Debug)]
pub(crate) struct Ports {
    /// One for each destination, or one for all.
    spaces: Vec<Space>,
    /// The sockets that have a space of their own, in rising order.
    targets: Vec<SocketAddrV4>,
    /// The space of each destination of a workload.
    of_destination: Vec<u16>,
}

impl Ports {
    /// Frees every port of every VM; `destinations` are those of all workloads, by number.
    pub(crate) fn new(
        ports: &EphemeralPorts,
        addresses: &[Ipv4Addr],
        key: KeyedHash,
        destinations: &[SocketAddrV4],
    ) -> Self {
        if !ports.shared {
            return Self {
                spaces: vec![Space::new(ports, addresses, key)],
                targets: Vec::new(),
                of_destination: vec![0; destinations.len()],
            };
        }
        let mut targets = destinations.to_vec();
        targets.sort_unstable();
        targets.dedup();
        let place = |target| {
            targets
                .binary_search(target)
                .map_or(0, |place| place as u16)
        };
        Self {
            spaces: targets
                .iter()
                .map(|target| Space::new(ports, addresses, key.derive(&target.to_string())))
                .collect(),
            of_destination: destinations.iter().map(place).collect(),
            targets,
        }
    }

    /// Takes a port for a connection to a destination: of the VM that it is to come from, or else of the one
    /// whose turn it is, or of the next one that has any.
    pub(crate) fn take(&mut self, destination: u16, from: Option<u16>) -> Option<(u16, u16)> {
        let space = self.space_mut(destination);
        match from {
            Some(vm) => space.take_of(vm),
            None => space.take(),
        }
    }

    /// Notes the position of the connection that has a port.
    pub(crate) fn assign(&mut self, destination: u16, vm: u16, port: u16, position: u32) {
        self.space_mut(destination).assign(vm, port, position);
    }

    /// Returns the position of the connection that has a port of a VM, if there is one; `remote` is
    /// looked at only where destinations share ports.
    #[inline]
    pub(crate) fn find(&self, vm: u16, port: u16, remote: SocketAddrV4) -> Option<u32> {
        self.space(remote)?.find(vm, port)
    }

    /// Asks for the memory that [`find`](Self::find) will read last.
    #[inline]
    pub(crate) fn prefetch(&self, vm: u16, port: u16, remote: SocketAddrV4) {
        let space = self.space(remote);
        if let Some(holder) = space.and_then(|space| space.holder(vm, port)) {
            prefetch(holder);
        }
    }

    #[inline]
    fn space(&self, remote: SocketAddrV4) -> Option<&Space> {
        let space = match self.targets.as_slice() {
            [] => 0,
            targets => targets.binary_search(&remote).ok()?,
        };
        Some(&self.spaces[space])
    }

    /// Gives a port back.
    pub(crate) fn release(&mut self, destination: u16, vm: u16, port: u16) {
        self.space_mut(destination).release(vm, port);
    }

    /// Hands out no more ports of a VM; returns the positions of its connections, which go on until
    /// their ports are given back.
    pub(crate) fn halt(&mut self, vm: u16) -> Vec<u32> {
        let spaces = self.spaces.iter_mut();
        spaces.flat_map(|space| space.halt(vm)).collect()
    }

    /// Frees every port of a VM that was halted. Its order begins at another one than before, as after
    /// a boot.
    pub(crate) fn boot(&mut self, vm: u16, address: Ipv4Addr) {
        for space in &mut self.spaces {
            space.boot(vm, address);
        }
    }

    /// Returns the bytes of heap memory held.
    pub(crate) fn memory_bytes(&self) -> usize {
        let spaces: usize = self.spaces.iter().map(Space::memory_bytes).sum();
        spaces + self.spaces.capacity() * size_of::<Space>() + self.of_destination.capacity() * 2
    }

    fn space_mut(&mut self, destination: u16) -> &mut Space {
        &mut self.spaces[usize::from(self.of_destination[usize::from(destination)])]
    }
}

/// The ports of all VMs that are unique among themselves.
///
/// A VM hands out its ports in rising order from a keyed offset, each once; then the one freed
/// longest ago. Where the even ones come first, it does so with them, and an odd one only if no even
/// one is free. That costs the same however few are free, and a VM that starts nothing costs a few
/// words. Who has a port stands at its place in that order, so there is nothing to hash.
#[derive(Debug)]
struct Space {
    first: u16,
    count: u32,
    even_first: bool,
    key: KeyedHash,
    vms: Vec<VmPorts>,
    /// The odd ports that each VM was given back, where the even ones come first; else nothing.
    freed_odd: Vec<VecDeque<u16>>,
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
    boots: u32,
    is_down: bool,
    freed: VecDeque<u16>,
    /// The connections that have the ports, in the order in which these were first handed out.
    holders: Vec<u32>,
}

/// The holder of a port that is free.
const NOBODY: u32 = u32::MAX;

impl Space {
    fn new(ports: &EphemeralPorts, addresses: &[Ipv4Addr], key: KeyedHash) -> Self {
        let range = &ports.range;
        assert!(
            !range.is_empty(),
            "a client VM needs at least one ephemeral port"
        );
        let count = u32::from(*range.end()) - u32::from(*range.start()) + 1;
        let vms = addresses.iter().map(|address| VmPorts {
            offset: offset(key, count, *address, 0),
            used: 0,
            boots: 0,
            is_down: false,
            freed: VecDeque::new(),
            holders: Vec::new(),
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
            key,
            freed_odd: vec![VecDeque::new(); if ports.even_first { vms.len() } else { 0 }],
            vms,
            available,
            turn: 0,
        }
    }

    fn take(&mut self) -> Option<(u16, u16)> {
        let at = self.next_available()?;
        self.turn = (at + 1) % self.vms.len();
        self.take_of(at as u16)
    }

    fn take_of(&mut self, vm: u16) -> Option<(u16, u16)> {
        let at = usize::from(vm);
        if self.available[at / 64] & 1 << (at % 64) == 0 {
            return None;
        }
        let VmPorts { offset, used, .. } = self.vms[at];
        let is_fresh =
            used < self.preferred() || used < self.count && self.vms[at].freed.is_empty();
        let fresh = is_fresh.then(|| self.fresh(offset, used));
        let own = &mut self.vms[at];
        let port = match fresh {
            Some(port) => {
                own.used += 1;
                port
            }
            None => {
                let freed = own.freed.pop_front();
                freed
                    .or_else(|| self.freed_odd.get_mut(at)?.pop_front())
                    .expect("broken invariant: an available VM has a free port")
            }
        };
        let is_odd_left = self.freed_odd.get(at).is_some_and(|odd| !odd.is_empty());
        let own = &self.vms[at];
        if own.used == self.count && own.freed.is_empty() && !is_odd_left {
            self.available[at / 64] &= !(1 << (at % 64));
        }
        Some((vm, port))
    }

    /// Returns how many ports come before others: the even ones, or all.
    fn preferred(&self) -> u32 {
        match self.even_first {
            true => (self.count + 1 - u32::from(self.first % 2)) / 2,
            false => self.count,
        }
    }

    /// Returns the port that is handed out as number `used` by a VM with this offset.
    fn fresh(&self, offset: u32, used: u32) -> u16 {
        if !self.even_first {
            return self.first + ((offset + used) % self.count) as u16;
        }
        let begins_odd = u32::from(self.first % 2);
        let even = self.preferred();
        let (among, place, odd) = match used.checked_sub(even) {
            None => (even, used, 0),
            Some(place) => (self.count - even, place, 1),
        };
        let step = 2 * ((offset + place) % among);
        self.first + (step + (begins_odd ^ odd)) as u16
    }

    /// Returns as which number a VM with this offset hands out a port, if it does.
    fn place(&self, offset: u32, port: u16) -> Option<u32> {
        let at = u32::from(port.checked_sub(self.first)?);
        if at >= self.count {
            return None;
        }
        if !self.even_first {
            return Some((at + self.count - offset) % self.count);
        }
        let begins_odd = u32::from(self.first % 2);
        let even = self.preferred();
        let odd = u32::from(port % 2);
        let (among, before) = match odd {
            0 => (even, 0),
            _ => (self.count - even, even),
        };
        let step = (at - (begins_odd ^ odd)) / 2;
        Some(before + (step + among - offset % among) % among)
    }

    fn assign(&mut self, vm: u16, port: u16, position: u32) {
        let offset = self.vms[usize::from(vm)].offset;
        let place = self
            .place(offset, port)
            .expect("broken invariant: the port lies in the range");
        let holders = &mut self.vms[usize::from(vm)].holders;
        let place = place as usize;
        if place >= holders.len() {
            if place >= holders.capacity() {
                // A quarter instead of doubling: it may become as long as the range.
                holders.reserve_exact((place / 4).max(8) + place + 1 - holders.len());
            }
            holders.resize(place + 1, NOBODY);
        }
        holders[place] = position;
    }

    fn find(&self, vm: u16, port: u16) -> Option<u32> {
        let holder = self.holder(vm, port).copied();
        holder.filter(|&holder| holder != NOBODY)
    }

    /// Returns where the holder of a port is noted, if it ever had one.
    #[inline]
    fn holder(&self, vm: u16, port: u16) -> Option<&u32> {
        let vm = &self.vms[usize::from(vm)];
        let place = self.place(vm.offset, port)?;
        vm.holders.get(place as usize)
    }

    fn release(&mut self, vm: u16, port: u16) {
        self.assign(vm, port, NOBODY);
        let at = usize::from(vm);
        match self.freed_odd.get_mut(at) {
            Some(odd) if port % 2 == 1 => odd.push_back(port),
            _ => self.vms[at].freed.push_back(port),
        }
        if !self.vms[at].is_down {
            self.available[at / 64] |= 1 << (at % 64);
        }
    }

    fn halt(&mut self, vm: u16) -> Vec<u32> {
        let at = usize::from(vm);
        self.available[at / 64] &= !(1 << (at % 64));
        let vm = &mut self.vms[at];
        vm.is_down = true;
        let holders = vm.holders.iter().copied();
        holders.filter(|&holder| holder != NOBODY).collect()
    }

    fn boot(&mut self, vm: u16, address: Ipv4Addr) {
        let at = usize::from(vm);
        let boots = self.vms[at].boots + 1;
        self.vms[at] = VmPorts {
            offset: offset(self.key, self.count, address, boots),
            used: 0,
            boots,
            is_down: false,
            freed: VecDeque::new(),
            holders: Vec::new(),
        };
        if let Some(odd) = self.freed_odd.get_mut(at) {
            odd.clear();
        }
        self.available[at / 64] |= 1 << (at % 64);
    }

    fn memory_bytes(&self) -> usize {
        let freed = self.vms.iter().map(|vm| vm.freed.capacity());
        let odd = self.freed_odd.iter().map(VecDeque::capacity);
        let holders = self.vms.iter().map(|vm| vm.holders.capacity());
        self.vms.capacity() * size_of::<VmPorts>()
            + self.freed_odd.capacity() * size_of::<VecDeque<u16>>()
            + self.available.capacity() * 8
            + freed.chain(odd).sum::<usize>() * 2
            + holders.sum::<usize>() * 4
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

/// Returns where the order of a VM begins after so many boots.
const fn offset(key: KeyedHash, count: u32, address: Ipv4Addr, boots: u32) -> u32 {
    let word = (boots as u64) << 32 | address.to_bits() as u64;
    KeyedHash::scale(key.word(word), count)
}

#[cfg(test)]
mod tests {
    use super::{EphemeralPorts, Ports, Space};
    use plsim_types::KeyedHash;
    use std::collections::BTreeSet;
    use std::net::{Ipv4Addr, SocketAddrV4};

    fn ports(vms: u32, first: u16, last: u16) -> Space {
        ordered(vms, first, last, false)
    }

    fn ordered(vms: u32, first: u16, last: u16, even_first: bool) -> Space {
        let addresses: Vec<_> = (1..=vms).map(Ipv4Addr::from_bits).collect();
        let ports = EphemeralPorts {
            range: first..=last,
            even_first,
            shared: false,
        };
        Space::new(&ports, &addresses, KeyedHash::new(1, "test"))
    }

    #[test]
    fn the_place_of_a_port_is_when_it_is_handed_out() {
        for (first, last) in [
            (10, 19),
            (11, 19),
            (11, 20),
            (7, 7),
            (8, 8),
            (65_000, 65_535),
        ] {
            for even_first in [false, true] {
                let space = ordered(1, first, last, even_first);
                let count = u32::from(last - first) + 1;
                for offset in [0, 1, count / 2, count - 1] {
                    for place in 0..count {
                        let port = space.fresh(offset, place);
                        assert_eq!(space.place(offset, port), Some(place), "{first} {port}");
                    }
                    assert_eq!(space.place(offset, first - 1), None);
                    assert_eq!(space.place(offset, last.wrapping_add(1)), None);
                }
            }
        }
    }

    #[test]
    fn who_has_a_port_is_found_until_it_is_given_back() {
        let mut ports = ports(2, 100, 199);
        for position in 0..200 {
            let (vm, port) = ports.take().unwrap();
            assert_eq!(ports.find(vm, port), None);
            ports.assign(vm, port, position);
            assert_eq!(ports.find(vm, port), Some(position));
        }
        let found: BTreeSet<_> = (0..2)
            .flat_map(|vm| (100..200).map(move |port| (vm, port)))
            .filter_map(|(vm, port)| ports.find(vm, port))
            .collect();
        assert_eq!(found.len(), 200);
        ports.release(1, 150);
        assert_eq!((ports.find(1, 150), ports.find(0, 99)), (None, None));
        assert!(ports.find(0, 150).is_some());
    }

    #[test]
    fn destinations_share_ports_only_where_that_is_asked_for() {
        let (one, other) = (SocketAddrV4::new([9, 9, 9, 9].into(), 443), "8.8.8.8:53");
        let targets = [one, other.parse().unwrap(), one];
        for shared in [false, true] {
            let ports = EphemeralPorts {
                range: 1_000..=1_001,
                even_first: false,
                shared,
            };
            let addresses = [Ipv4Addr::from_bits(7)];
            let mut ports = Ports::new(&ports, &addresses, KeyedHash::new(1, "test"), &targets);
            let taken: Vec<_> = [0, 1, 2, 1, 0]
                .iter()
                .zip(0..)
                .map(|(&workload, position)| {
                    let (vm, port) = ports.take(workload, None)?;
                    ports.assign(workload, vm, port, position);
                    Some((workload, port))
                })
                .collect();
            // Workloads 0 and 2 have one destination.
            let expected = if shared { 4 } else { 2 };
            assert_eq!(taken.iter().flatten().count(), expected);
            for ((workload, port), position) in taken.iter().flatten().zip(0..) {
                let remote = targets[usize::from(*workload)];
                assert_eq!(ports.find(0, *port, remote), Some(position));
            }
            let stranger = "1.2.3.4:5".parse().unwrap();
            assert_eq!(ports.find(0, 1_000, stranger).is_some(), !shared);
        }
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
    fn an_odd_port_is_taken_only_while_no_even_one_is_free() {
        let mut ports = ordered(1, 32_768, 60_999, true);
        for _ in 0..60_000 {
            let (vm, port) = ports.take().unwrap();
            assert_eq!(port % 2, 0);
            ports.release(vm, port);
        }
        let mut few = ordered(1, 10, 15, true);
        let taken: Vec<u16> = (0..5).map(|_| few.take().unwrap().1).collect();
        assert_eq!(taken.iter().filter(|port| *port % 2 == 0).count(), 3);
        for &port in &taken {
            few.release(0, port);
        }
        let again: Vec<u16> = std::iter::from_fn(|| few.take())
            .map(|(_, port)| port)
            .collect();
        assert_eq!(again[..3], taken[..3], "the even one freed longest ago");
        assert!(again[3..].iter().all(|port| port % 2 == 1));
        assert_eq!(again.iter().collect::<BTreeSet<_>>().len(), 6);
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
    fn a_vm_that_booted_has_all_its_ports_and_begins_elsewhere() {
        let mut ports = ports(2, 1_000, 60_999);
        let first = |ports: &mut Space, wanted| {
            let mut taken = std::iter::from_fn(|| ports.take());
            taken.find(|&(vm, _)| vm == wanted).unwrap().1
        };
        let before = first(&mut ports, 1);
        ports.assign(1, before, 77);
        assert_eq!(ports.halt(1), [77]);
        ports.release(1, before);
        assert!(
            (0..1_000).all(|_| ports.take().unwrap().0 == 0),
            "it is down"
        );
        ports.boot(1, Ipv4Addr::from_bits(2));
        let after = first(&mut ports, 1);
        assert_ne!(after, before);
        assert_eq!(ports.vms[1].used, 1);
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
