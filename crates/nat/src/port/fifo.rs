use super::set::UsedPorts;
use super::{Allocated, NoPort, PortAllocator, PortRequest};
use alloc::collections::VecDeque;
use core::ops::RangeInclusive;

/// The port that has been free the longest: the greatest distance between two uses of a port.
///
/// Source: what a backend that keeps old connections in TIME-WAIT likes best (RFC 9293 §3.6.1).
/// Ports that were never used come first, in ascending order, then released ones in the order of
/// their release. Allocation and release are one queue operation at any occupancy; one probe.
/// Memory: 8.1 KiB for 64 512 ports, and two bytes for each port that was ever released, 126 KiB
/// more. It never gives up. The order is predictable, which RFC 6056 advises against where the
/// peer is not trusted.
#[derive(Debug, Clone)]
pub struct FifoPorts {
    ports: UsedPorts,
    /// The index of the next port that was never used.
    fresh: u32,
    released: VecDeque<u16>,
}

impl FifoPorts {
    /// Builds the queue with every port of the range free; an empty range has none.
    #[must_use]
    pub fn new(range: RangeInclusive<u16>) -> Self {
        Self {
            ports: UsedPorts::new(&range),
            fresh: 0,
            released: VecDeque::new(),
        }
    }
}

impl PortAllocator for FifoPorts {
    #[inline]
    fn allocate(&mut self, _request: &PortRequest) -> Result<Allocated, NoPort> {
        let port = if self.fresh < self.ports.count() {
            self.fresh += 1;
            self.ports.port(self.fresh - 1)
        } else {
            self.released.pop_front().ok_or(NoPort::Full)?
        };
        self.ports.take(port);
        Ok(Allocated { port, probes: 1 })
    }

    #[inline]
    fn release(&mut self, port: u16, _subscriber: u64) {
        self.ports.put(port);
        self.released.push_back(port);
    }

    fn capacity(&self) -> u32 {
        self.ports.count()
    }

    #[inline]
    fn free(&self) -> u32 {
        self.ports.free()
    }

    fn memory_bytes(&self) -> usize {
        self.ports.memory_bytes() + self.released.capacity() * size_of::<u16>()
    }
}
