use crate::config::PortSpace;
use crate::pool::{NIL, Pool};
use crate::port::{Allocated, NoPort, PortAllocator, PortRequest, Ports};
use crate::reverse::PortMap;
use alloc::vec::Vec;
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

/// The port spaces of one (NAT IP, protocol), created on first use: by the backend port they belong to; a
/// single one for port 0 if they are per VM.
#[derive(Debug, Clone, Default)]
pub(crate) struct Spaces(Vec<(u16, Space)>);

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

impl Spaces {
    /// Returns the space of a flow to a backend port.
    #[inline]
    pub(crate) fn get(&self, backend_port: u16) -> Option<&Space> {
        let at = self.position(backend_port).ok()?;
        Some(&self.0[at].1)
    }

    /// Returns the space of a flow that has a port in it.
    ///
    /// # Panics
    /// If there is no such space.
    #[inline]
    pub(crate) fn get_mut(&mut self, backend_port: u16) -> &mut Space {
        let at = self
            .position(backend_port)
            .expect("broken invariant: a binding without its port space");
        &mut self.0[at].1
    }

    #[inline]
    pub(crate) fn get_or_new(
        &mut self,
        backend_port: u16,
        pool: &Pool,
        key: KeyedHash,
    ) -> &mut Space {
        let at = self.position(backend_port).unwrap_or_else(|at| {
            let owner = match pool.port_space {
                PortSpace::PerVm => 0,
                PortSpace::PerVmPort => backend_port,
            };
            self.0.insert(at, (owner, Space::new(pool, key)));
            at
        });
        &mut self.0[at].1
    }

    /// Returns how many there are.
    pub(crate) const fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns them with the backend ports that they belong to; 0 if they are per VM.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u16, &Space)> {
        self.0.iter().map(|(port, space)| (*port, space))
    }

    /// Returns them as [`iter`](Self::iter) does.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (u16, &mut Space)> {
        self.0.iter_mut().map(|(port, space)| (*port, space))
    }

    /// Finds a space, or where it would be inserted.
    #[inline]
    fn position(&self, backend_port: u16) -> Result<usize, usize> {
        match self.0.first() {
            Some((0, _)) => Ok(0),
            _ => self.0.binary_search_by_key(&backend_port, |space| space.0),
        }
    }
}
