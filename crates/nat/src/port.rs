use crate::bitmap::BitmapPorts;
use crate::config::Allocation;
use crate::fifo::FifoPorts;
use core::ops::RangeInclusive;

/// The free ports of one (NAT IP, protocol) of one VM.
///
/// An implementation never fails while a port is free (RFC 6888 REQ-13: ports are used fully).
pub trait PortAllocator {
    /// Takes a free port; `random` is 64 even random bits. `None` if and only if none is free.
    fn allocate(&mut self, random: u64) -> Option<u16>;

    /// Gives a port back.
    ///
    /// # Panics
    /// May panic if the port was not allocated: the caller's table of owners is then broken.
    fn release(&mut self, port: u16);

    /// Returns how many ports are free.
    fn free(&self) -> u32;

    /// Returns the bytes of heap memory held.
    fn memory_bytes(&self) -> usize;
}

/// The allocator that a pool was configured with.
#[derive(Debug, Clone)]
pub(crate) enum Ports {
    Bitmap(BitmapPorts),
    Fifo(FifoPorts),
}

impl Ports {
    pub(crate) fn new(allocation: Allocation, range: RangeInclusive<u16>) -> Self {
        match allocation {
            Allocation::Bitmap => Self::Bitmap(BitmapPorts::new(range)),
            Allocation::Fifo => Self::Fifo(FifoPorts::new(range)),
        }
    }
}

impl PortAllocator for Ports {
    #[inline]
    fn allocate(&mut self, random: u64) -> Option<u16> {
        match self {
            Self::Bitmap(ports) => ports.allocate(random),
            Self::Fifo(ports) => ports.allocate(random),
        }
    }

    #[inline]
    fn release(&mut self, port: u16) {
        match self {
            Self::Bitmap(ports) => ports.release(port),
            Self::Fifo(ports) => ports.release(port),
        }
    }

    #[inline]
    fn free(&self) -> u32 {
        match self {
            Self::Bitmap(ports) => ports.free(),
            Self::Fifo(ports) => ports.free(),
        }
    }

    fn memory_bytes(&self) -> usize {
        match self {
            Self::Bitmap(ports) => ports.memory_bytes(),
            Self::Fifo(ports) => ports.memory_bytes(),
        }
    }
}
