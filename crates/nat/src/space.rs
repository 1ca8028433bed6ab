use crate::pool::{NIL, Pool};
use crate::port::{Allocated, NoPort, PortAllocator, PortRequest, Ports};
use crate::reverse::PortMap;
use plsim_types::{Instant, KeyedHash};

/// A set of ports of which each has at most one owner: those of a (NAT IP, protocol), or, with
/// [`PortSpace::PerVmPort`](crate::PortSpace::PerVmPort), of a (NAT IP, protocol, backend port).
#[derive(Debug, Clone)]
pub(crate) struct Space {
    pub(crate) ports: Ports,
    pub(crate) owners: PortMap,
    /// How many of the ports in use are held down.
    pub(crate) held: u32,
    /// The fewest free ports so far.
    least_free: u32,
    /// Exhaustion was told and enough ports were not free again since.
    exhaustion_told: bool,
    /// Ends of the list of held bindings, `NIL` if empty; kept only to reuse the oldest.
    pub(crate) oldest_held: u32,
    pub(crate) newest_held: u32,
}

impl Space {
    pub(crate) fn new(pool: &Pool, key: KeyedHash) -> Self {
        let ports = Ports::new(pool.allocator, pool.ports.clone(), key);
        Self {
            held: 0,
            least_free: ports.free(),
            ports,
            owners: PortMap::new(&pool.ports),
            exhaustion_told: false,
            oldest_held: NIL,
            newest_held: NIL,
        }
    }

    #[inline]
    pub(crate) fn allocate(
        &mut self,
        request: &PortRequest,
        now: Instant,
    ) -> Result<Allocated, NoPort> {
        self.ports.advance(now);
        self.ports.allocate(request)
    }

    /// Counts a port that was just allocated; tells whether it is the last one, for the first time
    /// since enough were free.
    #[inline]
    pub(crate) fn bound(&mut self) -> bool {
        let free = self.ports.free();
        self.least_free = self.least_free.min(free);
        free == 0 && !core::mem::replace(&mut self.exhaustion_told, true)
    }

    /// Gives back a port that is no longer counted.
    #[inline]
    pub(crate) fn release(&mut self, port: u16, subscriber: u64, at: Instant) {
        self.ports.advance(at);
        self.ports.release(port, subscriber);
        if self.exhaustion_told {
            self.exhaustion_told = self.ports.free() < (self.ports.capacity() / 8).max(1);
        }
    }

    /// Returns the ports in use or held down.
    #[inline]
    pub(crate) fn taken(&self) -> u32 {
        self.ports.capacity() - self.ports.free()
    }

    /// Returns the most ports in use or held down at any instant.
    pub(crate) fn peak(&self) -> u32 {
        self.ports.capacity() - self.least_free
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        size_of::<Self>() + self.ports.memory_bytes() + self.owners.memory_bytes()
    }
}
