use super::set::FreePorts;
use super::{Allocated, NoPort, PortAllocator, PortRequest};
use core::ops::RangeInclusive;

/// The next free port after the one handed out last, around and around.
///
/// Source: the traditional algorithm, RFC 6056 §2.2, whose scan the summary of [`BitmapPorts`]
/// replaces: one to six words looked at, at any occupancy. Memory: 8.2 KiB for 64 512 ports. It
/// never gives up, and anyone who sees one port knows the next: the attack RFC 6056 is about.
///
/// [`BitmapPorts`]: crate::BitmapPorts
#[derive(Debug, Clone)]
pub struct SequentialPorts {
    ports: FreePorts,
    /// The index at which the next search starts.
    next: u32,
}

impl SequentialPorts {
    /// Builds the set with every port of the range free; an empty range has none.
    #[must_use]
    pub fn new(range: RangeInclusive<u16>) -> Self {
        Self {
            ports: FreePorts::new(&range),
            next: 0,
        }
    }
}

impl PortAllocator for SequentialPorts {
    #[inline]
    fn allocate(&mut self, _request: &PortRequest) -> Result<Allocated, NoPort> {
        if self.ports.free() == 0 {
            return Err(NoPort::Full);
        }
        let (index, probes) = self.ports.next_free(self.next);
        self.ports.take(index);
        self.next = if index + 1 == self.ports.count() {
            0
        } else {
            index + 1
        };
        Ok(Allocated {
            port: self.ports.port(index),
            probes,
        })
    }

    #[inline]
    fn release(&mut self, port: u16, _subscriber: u64) {
        self.ports.put(self.ports.index(port));
    }

    fn capacity(&self) -> u32 {
        self.ports.count()
    }

    #[inline]
    fn free(&self) -> u32 {
        self.ports.free()
    }

    fn memory_bytes(&self) -> usize {
        self.ports.memory_bytes()
    }
}
