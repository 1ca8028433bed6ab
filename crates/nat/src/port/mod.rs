//! The port spaces: one trait and every way of picking a free port.

mod allocation;
mod bitmap;
mod blocks;
mod deterministic;
mod fifo;
mod lifo;
mod linux;
mod pace;
mod preserve;
mod rfc6056;
mod sequential;
mod set;
mod uniform;

pub use allocation::{Allocation, Ports};
pub use bitmap::BitmapPorts;
pub use blocks::{BlockPorts, Reservations, ShareChange};
pub use deterministic::DeterministicBlocks;
pub use fifo::FifoPorts;
pub use lifo::LifoPorts;
pub use linux::LinuxPorts;
pub use pace::Pace;
pub use preserve::PreservePorts;
pub use rfc6056::Rfc6056Ports;
pub use sequential::SequentialPorts;
pub use uniform::UniformPorts;

use plsim_types::Instant;

/// What an allocator may know of the flow that wants a port; each uses only what its docs say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PortRequest {
    /// 64 even random bits, fresh for every search.
    pub random: u64,
    /// A keyed hash of the whole flow.
    pub flow: u64,
    /// A keyed hash of (NAT IP, protocol, backend port), with a key of the backend VM's own: the F()
    /// and G() of RFC 6056 §3.3.3 and §3.3.4; 0 from the engine for all others.
    pub destination: u64,
    /// The client's own port.
    pub client_port: u16,
    /// Who the port is for: the link id of the private endpoint, or
    /// [with its client](Allocation::ReservedBlocks).
    pub subscriber: u64,
}

/// A port that was free and now is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allocated {
    /// The port.
    pub port: u16,
    /// The ports or words looked at, as the allocator's docs say.
    pub probes: u32,
}

/// Why there is no port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoPort {
    /// None is free.
    Full,
    /// The algorithm failed although ports are free.
    GaveUp {
        /// The ports or words looked at.
        probes: u32,
    },
}

/// The free ports of one (NAT IP, protocol) of one VM.
///
/// An implementation fails if and only if no port is free (RFC 6888 REQ-13: ports are used fully),
/// unless [`Allocation::never_gives_up`] says otherwise.
pub trait PortAllocator {
    /// Takes a free port.
    ///
    /// # Errors
    /// [`NoPort::Full`] if and only if none is free, [`NoPort::GaveUp`] if the algorithm does.
    fn allocate(&mut self, request: &PortRequest) -> Result<Allocated, NoPort>;

    /// Gives a port back that was allocated for the subscriber.
    ///
    /// # Panics
    /// If it was not allocated: the caller's table of owners is then broken.
    fn release(&mut self, port: u16, subscriber: u64);

    /// Does what is due until `now`, which never goes back; an allocator without plans need not know
    /// the time.
    fn advance(&mut self, _now: Instant) {}

    /// Returns when [`advance`](Self::advance) would change something next, unless ports come or go.
    fn next_change(&self) -> Option<Instant> {
        None
    }

    /// Returns how many ports there are.
    fn capacity(&self) -> u32;

    /// Returns how many ports are free.
    fn free(&self) -> u32;

    /// Returns the bytes of heap memory held.
    fn memory_bytes(&self) -> usize;
}
