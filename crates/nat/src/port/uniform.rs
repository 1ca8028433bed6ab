use super::{Allocated, NoPort, PortAllocator, PortRequest};
use alloc::vec;
use alloc::vec::Vec;
use core::ops::RangeInclusive;
use plsim_types::KeyedHash;

/// Any free port, each with the same probability: what a bitmap only comes near to.
///
/// Source: RFC 6056 §3.3.2 wants a random port each time; a permutation whose first part is the
/// free ports (the step of the Fisher-Yates shuffle) gives one without a second try. One swap for
/// an allocation or a release at any occupancy; one probe. Memory: four bytes a port, 252 KiB for
/// 64 512, touched only as ports are used. It never gives up, and nobody can predict it.
#[derive(Debug, Clone)]
pub struct UniformPorts {
    first: u16,
    free: u32,
    /// The permutation: free indices first. Each value is stored XOR its place, so that zeros are
    /// the identity.
    order: Vec<u16>,
    /// The place of each index in it, stored the same way.
    place: Vec<u16>,
}

impl UniformPorts {
    /// Builds the set with every port of the range free; an empty range has none.
    #[must_use]
    pub fn new(range: RangeInclusive<u16>) -> Self {
        Self {
            first: *range.start(),
            free: range.len() as u32,
            order: vec![0; range.len()],
            place: vec![0; range.len()],
        }
    }

    fn at(&self, place: u32) -> u32 {
        u32::from(self.order[place as usize]) ^ place
    }

    fn set(&mut self, place: u32, index: u32) {
        self.order[place as usize] = (index ^ place) as u16;
        self.place[index as usize] = (index ^ place) as u16;
    }

    fn swap(&mut self, one: u32, other: u32) {
        let (a, b) = (self.at(one), self.at(other));
        self.set(one, b);
        self.set(other, a);
    }
}

impl PortAllocator for UniformPorts {
    #[inline]
    fn allocate(&mut self, request: &PortRequest) -> Result<Allocated, NoPort> {
        if self.free == 0 {
            return Err(NoPort::Full);
        }
        let place = KeyedHash::scale(request.random, self.free);
        self.free -= 1;
        self.swap(place, self.free);
        let port = (u32::from(self.first) + self.at(self.free)) as u16;
        Ok(Allocated { port, probes: 1 })
    }

    #[inline]
    fn release(&mut self, port: u16, _subscriber: u64) {
        let index = u32::from(port).wrapping_sub(u32::from(self.first));
        let place = self
            .place
            .get(index as usize)
            .map(|place| u32::from(*place) ^ index)
            .filter(|place| *place >= self.free)
            .expect("broken invariant: a port is released that is not allocated");
        self.swap(place, self.free);
        self.free += 1;
    }

    fn capacity(&self) -> u32 {
        self.order.len() as u32
    }

    #[inline]
    fn free(&self) -> u32 {
        self.free
    }

    fn memory_bytes(&self) -> usize {
        (self.order.capacity() + self.place.capacity()) * size_of::<u16>()
    }
}
