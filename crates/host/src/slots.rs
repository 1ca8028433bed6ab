use std::net::{Ipv4Addr, SocketAddrV4};

use plsim_table::Slab;
use plsim_types::Instant;

use crate::alarm::Alarm;
use crate::client::Group;
use crate::connection::Progress;
use crate::ports::Ports;
use crate::side_table::SideTable;

/// The client end of a connection, whatever its transport.
pub(crate) trait ClientEnd: Default {
    /// Returns where it goes, by the number of the destination in its group.
    fn destination(&self) -> u16;

    fn alarm(&mut self) -> &mut Alarm;
}

/// The client ends of connections over one transport, and the ports of their VMs. An end keeps its
/// position until it is removed; the position freed last is taken first. A vacant one holds
/// `S::default()`.
///
/// It has no index: an end is found by its local port.
#[derive(Debug)]
pub(crate) struct Slots<S> {
    entries: Slab<S>,
    free: Vec<u32>,
    progress: SideTable<Progress>,
    pub(crate) ports: Ports,
}

impl<S: Default> Slots<S> {
    pub(crate) const fn new(ports: Ports) -> Self {
        Self {
            entries: Slab::new(),
            free: Vec::new(),
            progress: SideTable::new(),
            ports,
        }
    }

    pub(crate) const fn len(&self) -> usize {
        self.entries.len() - self.free.len()
    }

    pub(crate) fn insert(&mut self, entry: S) -> u32 {
        if let Some(position) = self.free.pop() {
            self.entries[position as usize] = entry;
            return position;
        }
        self.entries.push(entry);
        u32::try_from(self.entries.len() - 1).expect("broken invariant: 2^32 ports are not held")
    }

    pub(crate) fn remove(&mut self, position: u32) -> S {
        if self.free.len() == self.free.capacity() {
            // A quarter instead of doubling: the list may become as long as the slab.
            self.free.reserve_exact((self.free.len() / 4).max(16));
        }
        self.free.push(position);
        self.progress.remove(position);
        std::mem::take(&mut self.entries[position as usize])
    }

    #[inline]
    pub(crate) fn entry(&self, position: u32) -> &S {
        &self.entries[position as usize]
    }

    #[inline]
    pub(crate) fn entry_mut(&mut self, position: u32) -> &mut S {
        &mut self.entries[position as usize]
    }

    /// Returns how far the application is with the connection at a position.
    pub(crate) fn progress(&mut self, position: u32) -> &mut Progress {
        self.progress.entry(position)
    }

    /// Asks for the memory of the end at a position.
    #[inline]
    pub(crate) fn prefetch(&self, position: u32) {
        self.entries.prefetch(position as usize);
    }

    /// Asks for what tells which end [`find`](Self::find) will find.
    #[inline]
    pub(crate) fn foresee(&self, local: SocketAddrV4, remote: SocketAddrV4, group: &Group) {
        if let Some(vm) = group.vm(local.ip()) {
            self.ports.prefetch(vm, local.port(), remote);
        }
    }

    /// Asks for the memory of that end.
    #[inline]
    pub(crate) fn foresee_found(&self, local: SocketAddrV4, remote: SocketAddrV4, group: &Group) {
        let vm = group.vm(local.ip());
        if let Some(position) = vm.and_then(|vm| self.ports.find(vm, local.port(), remote)) {
            self.prefetch(position);
        }
    }

    /// Visits all entries with their positions, vacant ones included.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &S)> {
        (0..self.entries.len() as u32).map(|position| (position, self.entry(position)))
    }

    /// Returns the bytes of heap memory held.
    pub(crate) fn memory_bytes(&self) -> usize {
        let free = self.free.capacity() * size_of::<u32>();
        self.entries.memory_bytes()
            + free
            + self.progress.memory_bytes()
            + self.ports.memory_bytes()
    }
}

impl<S: ClientEnd> Slots<S> {
    /// Finds the connection at a local address and port to this remote one, and its workload.
    #[inline]
    pub(crate) fn find(
        &self,
        local: SocketAddrV4,
        remote: SocketAddrV4,
        group: &Group,
    ) -> Option<(u32, usize)> {
        let vm = group.vm(local.ip())?;
        let position = self.ports.find(vm, local.port(), remote)?;
        let destination = group.destination(self.entry(position).destination());
        (destination.socket == remote).then_some((position, usize::from(destination.workload)))
    }

    /// Returns the workload of a connection, by number.
    pub(crate) fn workload(&self, position: u32, group: &Group) -> usize {
        let destination = self.entry(position).destination();
        usize::from(group.destination(destination).workload)
    }

    /// Tells whose timer fired, by the number of the workload; `None` if it was a stale one.
    pub(crate) fn fired(&mut self, position: u32, now: Instant, group: &Group) -> Option<usize> {
        let is_current = self.entry_mut(position).alarm().fired(now);
        is_current.then(|| self.workload(position, group))
    }

    /// Takes its ports from a VM; returns the positions of its connections.
    pub(crate) fn halt(&mut self, vm: u16) -> Vec<u32> {
        self.ports.halt(vm)
    }

    /// Gives a VM its ports again, when all of its connections are gone.
    pub(crate) fn boot(&mut self, vm: u16, address: Ipv4Addr) {
        self.ports.boot(vm, address);
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddrV4};

    use plsim_types::KeyedHash;

    use super::Slots;
    use crate::ports::{EphemeralPorts, Ports};

    #[test]
    fn positions_are_kept_and_reused_latest_first() {
        let server = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 443);
        let ports = EphemeralPorts {
            range: 1_024..=2_047,
            even_first: false,
            shared: false,
        };
        let key = KeyedHash::new(1, "ports");
        let mut slots = Slots::new(Ports::new(&ports, &[Ipv4Addr::LOCALHOST], key, &[server]));
        let positions: Vec<u32> = (1..=3).map(|value| slots.insert(value)).collect();
        assert_eq!(positions, [0, 1, 2]);
        assert_eq!((slots.remove(0), slots.remove(2), slots.len()), (1, 3, 1));
        assert_eq!((*slots.entry(0), *slots.entry(1)), (0, 2));
        assert_eq!((slots.insert(4), slots.insert(5)), (2, 0));
        *slots.entry_mut(1) += 40;
        assert_eq!((*slots.entry(1), slots.len()), (42, 3));
    }
}
