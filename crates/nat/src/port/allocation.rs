use super::bitmap::Start;
use super::{
    Allocated, BitmapPorts, BlockPorts, FifoPorts, LifoPorts, LinuxPorts, NoPort, Pace,
    PortAllocator, PortRequest, PreservePorts, Reservations, Rfc6056Ports, SequentialPorts,
    ShareChange, UniformPorts,
};
use alloc::vec::Vec;
use core::ops::RangeInclusive;
use plsim_types::{Instant, KeyedHash};

/// How a free port is picked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Allocation {
    /// The next free port from a random start: [`BitmapPorts`].
    Bitmap,
    /// The next free port from the hash of the flow: [`BitmapPorts`].
    BitmapHash,
    /// The lowest free port: [`BitmapPorts`].
    BitmapLowest,
    /// The port that has been free the longest: [`FifoPorts`].
    Fifo,
    /// The port that was freed last: [`LifoPorts`].
    Lifo,
    /// Any free port, each with the same probability: [`UniformPorts`].
    Uniform,
    /// The next free port after the last one: [`SequentialPorts`].
    Sequential,
    /// Algorithm 1 of RFC 6056, a random start and a scan: [`Rfc6056Ports`].
    Rfc6056Simple,
    /// Algorithm 2, random tries: [`Rfc6056Ports`].
    Rfc6056Retries,
    /// Algorithm 3, a hash and one counter: [`Rfc6056Ports`].
    Rfc6056Hash,
    /// Algorithm 4, a hash and a table of counters: [`Rfc6056Ports`].
    Rfc6056DoubleHash,
    /// Algorithm 5, random steps: [`Rfc6056Ports`].
    Rfc6056Increments,
    /// The client's own port, else a random one: [`PreservePorts`].
    Preserve,
    /// The client's own port, else one of its parity: [`PreservePorts`].
    PreserveParity,
    /// The client's own port, else one of its range: [`PreservePorts`].
    PreserveRange,
    /// Blocks of ports for each private endpoint: [`BlockPorts`].
    Blocks {
        /// The ports of a block, at least 1.
        size: u16,
        /// The blocks a private endpoint may have, at least 1.
        most: u16,
    },
    /// Blocks of 8 ports, as many as there are (D-LBOUT): [`BlockPorts`].
    AzureBlocks,
    /// Blocks of ports reserved for each client of a private endpoint, as many as it needs
    /// (GCP-DPA), or one (GCP-PORTS): [`BlockPorts`].
    ReservedBlocks {
        /// The ports of a block, at least 1: the fewest that a client has.
        size: u16,
        /// The blocks a client may have, at least 1.
        most: u16,
        /// How fast it gets them.
        pace: Pace,
    },
    /// The search of Linux, 248 ports at most: [`LinuxPorts`].
    Linux,
}

impl Allocation {
    /// What the name `blocks` stands for: blocks of 64 ports, the least Google's Cloud NAT gives a
    /// VM, and 16 of them, 1 024 ports, what Azure's load balancer gives each VM of up to 50
    /// (D-LBOUT).
    pub const BLOCKS: Self = Self::Blocks { size: 64, most: 16 };

    /// What the name `reserved-blocks` stands for: 32 to 65 536 ports (GCP-DPA).
    pub const RESERVED: Self = Self::ReservedBlocks {
        size: 32,
        most: 2_048,
        pace: Pace::DEFAULT,
    };

    /// Every one, those with numbers with their defaults.
    pub const ALL: &[Self] = &[
        Self::Bitmap,
        Self::BitmapHash,
        Self::BitmapLowest,
        Self::Fifo,
        Self::Lifo,
        Self::Uniform,
        Self::Sequential,
        Self::Rfc6056Simple,
        Self::Rfc6056Retries,
        Self::Rfc6056Hash,
        Self::Rfc6056DoubleHash,
        Self::Rfc6056Increments,
        Self::Preserve,
        Self::PreserveParity,
        Self::PreserveRange,
        Self::BLOCKS,
        Self::AzureBlocks,
        Self::RESERVED,
        Self::Linux,
    ];

    /// Returns its name in a scenario.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bitmap => "bitmap",
            Self::BitmapHash => "bitmap-hash",
            Self::BitmapLowest => "bitmap-lowest",
            Self::Fifo => "fifo",
            Self::Lifo => "lifo",
            Self::Uniform => "uniform",
            Self::Sequential => "sequential",
            Self::Rfc6056Simple => "rfc6056-1",
            Self::Rfc6056Retries => "rfc6056-2",
            Self::Rfc6056Hash => "rfc6056-3",
            Self::Rfc6056DoubleHash => "rfc6056-4",
            Self::Rfc6056Increments => "rfc6056-5",
            Self::Preserve => "preserve",
            Self::PreserveParity => "preserve-parity",
            Self::PreserveRange => "preserve-range",
            Self::Blocks { .. } => "blocks",
            Self::AzureBlocks => "azure-blocks",
            Self::ReservedBlocks { .. } => "reserved-blocks",
            Self::Linux => "linux",
        }
    }

    /// Finds the one of that name; the name of one with numbers stands for its defaults.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        let mut all = Self::ALL.iter().copied();
        all.find(|allocation| allocation.name() == name)
    }

    /// Tells whether it finds a port whenever one is free, for anyone.
    #[must_use]
    pub const fn never_gives_up(self) -> bool {
        !matches!(
            self,
            Self::Rfc6056Retries
                | Self::Rfc6056Increments
                | Self::Blocks { .. }
                | Self::AzureBlocks
                | Self::ReservedBlocks { .. }
                | Self::Linux
        )
    }

    /// Tells whether it looks at [`PortRequest::destination`].
    pub(crate) const fn hashes_destination(self) -> bool {
        matches!(self, Self::Rfc6056Hash | Self::Rfc6056DoubleHash)
    }

    /// Returns where it is written down.
    #[must_use]
    pub const fn source(self) -> &'static str {
        match self {
            Self::Bitmap => "RFC 6056 §3.3.1, with a summary instead of the scan",
            Self::BitmapHash => "RFC 6056 §3.3.1, started by the hash of the flow",
            Self::BitmapLowest => "the rule of a file descriptor, POSIX.1-2017 §2.14",
            Self::Fifo => "RFC 9293 §3.6.1: the longest rest between two uses",
            Self::Lifo => "a free list without a hold-down, for comparison",
            Self::Uniform => "RFC 6056 §3.3.2, with a permutation instead of retries",
            Self::Sequential => "RFC 6056 §2.2",
            Self::Rfc6056Simple => "RFC 6056 §3.3.1",
            Self::Rfc6056Retries => "RFC 6056 §3.3.2",
            Self::Rfc6056Hash => "RFC 6056 §3.3.3",
            Self::Rfc6056DoubleHash => "RFC 6056 §3.3.4",
            Self::Rfc6056Increments => "RFC 6056 §3.3.5",
            Self::Preserve => "RFC 4787 §4.2.1",
            Self::PreserveParity => "RFC 4787 REQ-4",
            Self::PreserveRange => "RFC 4787 REQ-3a",
            Self::Blocks { .. } => "RFC 7422 §2.2, RFC 6888 REQ-14",
            Self::AzureBlocks => "D-LBOUT: ports in multiples of 8",
            Self::ReservedBlocks { .. } => "GCP-DPA: ports per VM, from 32 to 65 536",
            Self::Linux => "Linux, net/netfilter/nf_nat_core.c",
        }
    }
}

/// The allocator that an [`Allocation`] names.
#[derive(Debug, Clone)]
pub enum Ports {
    /// A bitmap.
    Bitmap(BitmapPorts),
    /// A queue.
    Fifo(FifoPorts),
    /// A stack.
    Lifo(LifoPorts),
    /// A permutation.
    Uniform(UniformPorts),
    /// A bitmap with a cursor.
    Sequential(SequentialPorts),
    /// An algorithm of RFC 6056.
    Rfc6056(Rfc6056Ports),
    /// Port preservation.
    Preserve(PreservePorts),
    /// Blocks of ports.
    Blocks(BlockPorts),
    /// The search of Linux.
    Linux(LinuxPorts),
}

impl Ports {
    /// Builds the allocator with every port of the range free; `key` seeds what it keeps between
    /// searches.
    #[must_use]
    pub fn new(allocation: Allocation, range: RangeInclusive<u16>, key: KeyedHash) -> Self {
        match allocation {
            Allocation::Bitmap => Self::Bitmap(BitmapPorts::new(range)),
            Allocation::BitmapHash => Self::Bitmap(BitmapPorts::starting(range, Start::Flow)),
            Allocation::BitmapLowest => Self::Bitmap(BitmapPorts::starting(range, Start::Lowest)),
            Allocation::Fifo => Self::Fifo(FifoPorts::new(range)),
            Allocation::Lifo => Self::Lifo(LifoPorts::new(range)),
            Allocation::Uniform => Self::Uniform(UniformPorts::new(range)),
            Allocation::Sequential => Self::Sequential(SequentialPorts::new(range)),
            Allocation::Rfc6056Simple => Self::Rfc6056(Rfc6056Ports::simple(range, key)),
            Allocation::Rfc6056Retries => Self::Rfc6056(Rfc6056Ports::retries(range, key)),
            Allocation::Rfc6056Hash => Self::Rfc6056(Rfc6056Ports::hash(range, key)),
            Allocation::Rfc6056DoubleHash => Self::Rfc6056(Rfc6056Ports::double_hash(range, key)),
            Allocation::Rfc6056Increments => Self::Rfc6056(Rfc6056Ports::increments(range, key)),
            Allocation::Preserve => Self::Preserve(PreservePorts::new(range)),
            Allocation::PreserveParity => Self::Preserve(PreservePorts::same_parity(range)),
            Allocation::PreserveRange => Self::Preserve(PreservePorts::same_range(range)),
            Allocation::Blocks { size, most } => Self::Blocks(BlockPorts::new(range, size, most)),
            Allocation::AzureBlocks => Self::Blocks(BlockPorts::new(range, 8, u16::MAX)),
            Allocation::ReservedBlocks { size, most, pace } => {
                Self::Blocks(BlockPorts::reserved(range, size, most, pace))
            }
            Allocation::Linux => Self::Linux(LinuxPorts::new(range, key)),
        }
    }

    /// Returns how many ports lie in blocks that are somebody's; none where there are no blocks.
    #[must_use]
    pub fn reservations(&self) -> Reservations {
        match self {
            Self::Blocks(ports) => ports.reservations(),
            _ => Reservations::default(),
        }
    }
}

impl Ports {
    /// Takes the changes of shares since the last call, in order; none where nothing is reserved.
    pub fn take_changes(&mut self) -> Vec<ShareChange> {
        match self {
            Self::Blocks(ports) => ports.take_changes(),
            _ => Vec::new(),
        }
    }
}

impl PortAllocator for Ports {
    #[inline]
    fn allocate(&mut self, request: &PortRequest) -> Result<Allocated, NoPort> {
        match self {
            Self::Bitmap(ports) => ports.allocate(request),
            Self::Fifo(ports) => ports.allocate(request),
            Self::Lifo(ports) => ports.allocate(request),
            Self::Uniform(ports) => ports.allocate(request),
            Self::Sequential(ports) => ports.allocate(request),
            Self::Rfc6056(ports) => ports.allocate(request),
            Self::Preserve(ports) => ports.allocate(request),
            Self::Blocks(ports) => ports.allocate(request),
            Self::Linux(ports) => ports.allocate(request),
        }
    }

    #[inline]
    fn release(&mut self, port: u16, subscriber: u64) {
        match self {
            Self::Bitmap(ports) => ports.release(port, subscriber),
            Self::Fifo(ports) => ports.release(port, subscriber),
            Self::Lifo(ports) => ports.release(port, subscriber),
            Self::Uniform(ports) => ports.release(port, subscriber),
            Self::Sequential(ports) => ports.release(port, subscriber),
            Self::Rfc6056(ports) => ports.release(port, subscriber),
            Self::Preserve(ports) => ports.release(port, subscriber),
            Self::Blocks(ports) => ports.release(port, subscriber),
            Self::Linux(ports) => ports.release(port, subscriber),
        }
    }

    #[inline]
    fn advance(&mut self, now: Instant) {
        if let Self::Blocks(ports) = self {
            ports.advance(now);
        }
    }

    fn next_change(&self) -> Option<Instant> {
        match self {
            Self::Blocks(ports) => ports.next_change(),
            _ => None,
        }
    }

    fn capacity(&self) -> u32 {
        match self {
            Self::Bitmap(ports) => ports.capacity(),
            Self::Fifo(ports) => ports.capacity(),
            Self::Lifo(ports) => ports.capacity(),
            Self::Uniform(ports) => ports.capacity(),
            Self::Sequential(ports) => ports.capacity(),
            Self::Rfc6056(ports) => ports.capacity(),
            Self::Preserve(ports) => ports.capacity(),
            Self::Blocks(ports) => ports.capacity(),
            Self::Linux(ports) => ports.capacity(),
        }
    }

    #[inline]
    fn free(&self) -> u32 {
        match self {
            Self::Bitmap(ports) => ports.free(),
            Self::Fifo(ports) => ports.free(),
            Self::Lifo(ports) => ports.free(),
            Self::Uniform(ports) => ports.free(),
            Self::Sequential(ports) => ports.free(),
            Self::Rfc6056(ports) => ports.free(),
            Self::Preserve(ports) => ports.free(),
            Self::Blocks(ports) => ports.free(),
            Self::Linux(ports) => ports.free(),
        }
    }

    fn memory_bytes(&self) -> usize {
        match self {
            Self::Bitmap(ports) => ports.memory_bytes(),
            Self::Fifo(ports) => ports.memory_bytes(),
            Self::Lifo(ports) => ports.memory_bytes(),
            Self::Uniform(ports) => ports.memory_bytes(),
            Self::Sequential(ports) => ports.memory_bytes(),
            Self::Rfc6056(ports) => ports.memory_bytes(),
            Self::Preserve(ports) => ports.memory_bytes(),
            Self::Blocks(ports) => ports.memory_bytes(),
            Self::Linux(ports) => ports.memory_bytes(),
        }
    }
}
