use super::set::FreePorts;
use super::{Allocated, NoPort, PortAllocator, PortRequest};
use alloc::vec;
use alloc::vec::Vec;
use core::ops::RangeInclusive;
use plsim_table::FixedMap;
use plsim_types::KeyedHash;

/// Blocks of ports, each of one private endpoint: who had a port is known from the port alone.
///
/// Source: port blocks as RFC 6888 REQ-14 and RFC 7422 §2.2 want them for logging; blocks of 8 are
/// what Azure's load balancer deals out (D-LBOUT). A subscriber claims a free block, from a random
/// start, when those it has are full, and loses it with the block's last port. Within a block the
/// search starts at a random port. A look-up by hash and at most 18 words, which are the probes, at
/// any occupancy. Memory: 8.2 KiB for 64 512 ports and 16 bytes a block (16 KiB for blocks of 64,
/// 126 KiB for blocks of 8), and 16 bytes for each subscriber that has one.
///
/// It gives up though ports are free when the subscriber has as many blocks as it may, or when each
/// block is somebody's. Within a block, ports are easy to guess: that is the price (RFC 6888 §4).
#[derive(Debug, Clone)]
pub struct BlockPorts {
    ports: FreePorts,
    size: u32,
    most: u32,
    unclaimed: FreePorts,
    blocks: Vec<Block>,
    holders: FixedMap<u32, Holder>,
}

/// A block; the links are meant only while it is claimed and not full.
#[derive(Debug, Clone, Copy)]
struct Block {
    owner: u32,
    used: u32,
    previous: u32,
    next: u32,
}

/// What a subscriber has: how many blocks, and the first one that is not full.
#[derive(Debug, Clone, Copy)]
struct Holder {
    blocks: u32,
    open: u32,
}

const NIL: u32 = u32::MAX;

impl BlockPorts {
    /// Builds the set with every block of the range unclaimed; an empty range has none.
    ///
    /// A block has `size` ports, the last one perhaps fewer; a subscriber may have `most` blocks.
    /// Either is at least 1, and 0 counts as that.
    #[must_use]
    pub fn new(range: RangeInclusive<u16>, size: u16, most: u16) -> Self {
        let size = u32::from(size.max(1));
        let ports = FreePorts::new(&range);
        let count = ports.count().div_ceil(size);
        let vacant = Block {
            owner: 0,
            used: 0,
            previous: NIL,
            next: NIL,
        };
        Self {
            ports,
            size,
            most: u32::from(most.max(1)),
            unclaimed: FreePorts::of_count(0, count),
            blocks: vec![vacant; count as usize],
            holders: FixedMap::new(),
        }
    }

    /// Returns whose block a port is in; `None` if nobody has claimed it, or it is outside the
    /// range.
    #[must_use]
    pub fn subscriber_of(&self, port: u16) -> Option<u32> {
        let index = self.ports.index(port);
        let block = index / self.size;
        (index < self.ports.count() && !self.unclaimed.is_free(block))
            .then(|| self.blocks[block as usize].owner)
    }

    /// Returns how many blocks a subscriber has.
    #[must_use]
    pub fn blocks_of(&self, subscriber: u32) -> u32 {
        let holder = self.holders.get(&subscriber);
        holder.map_or(0, |holder| holder.blocks)
    }

    /// Returns how many ports the block has.
    fn ports_in(&self, block: u32) -> u32 {
        self.size.min(self.ports.count() - block * self.size)
    }

    /// Finds a free port of a block that has one, and how many words that took.
    fn search(&self, block: u32, random: u64) -> (u32, u32) {
        let first = block * self.size;
        let count = self.ports_in(block);
        let (index, words) = self
            .ports
            .next_free(first + KeyedHash::scale(random, count));
        if (first..first + count).contains(&index) {
            return (index, words);
        }
        let (index, more) = self.ports.next_free(first);
        (index, words + more)
    }

    /// Gives a subscriber one more block, and how many words that took.
    fn claim(&mut self, request: &PortRequest) -> Option<(u32, u32)> {
        let blocks = self.blocks_of(request.subscriber);
        if blocks == self.most || self.unclaimed.free() == 0 {
            return None;
        }
        let start = KeyedHash::scale(request.random, self.unclaimed.count());
        let (block, words) = self.unclaimed.next_free(start);
        self.unclaimed.take(block);
        self.blocks[block as usize].owner = request.subscriber;
        let fresh = || Holder {
            blocks: 0,
            open: NIL,
        };
        self.holders
            .get_or_insert_with(request.subscriber, fresh)
            .blocks += 1;
        self.open(block);
        Some((block, words))
    }

    /// Puts a block that is not full before the others of its owner.
    fn open(&mut self, block: u32) {
        let holder = self.holder(block);
        let next = core::mem::replace(&mut holder.open, block);
        self.blocks[block as usize].previous = NIL;
        self.blocks[block as usize].next = next;
        if next != NIL {
            self.blocks[next as usize].previous = block;
        }
    }

    /// Takes a block out of that list.
    fn close(&mut self, block: u32) {
        let Block { previous, next, .. } = self.blocks[block as usize];
        if previous == NIL {
            self.holder(block).open = next;
        } else {
            self.blocks[previous as usize].next = next;
        }
        if next != NIL {
            self.blocks[next as usize].previous = previous;
        }
    }

    fn holder(&mut self, block: u32) -> &mut Holder {
        self.holders
            .get_mut(&self.blocks[block as usize].owner)
            .expect("broken invariant: a claimed block without its holder")
    }
}

impl PortAllocator for BlockPorts {
    fn allocate(&mut self, request: &PortRequest) -> Result<Allocated, NoPort> {
        if self.ports.free() == 0 {
            return Err(NoPort::Full);
        }
        let holder = self.holders.get(&request.subscriber);
        let open = holder.map_or(NIL, |holder| holder.open);
        let (block, claimed) = if open == NIL {
            self.claim(request).ok_or(NoPort::GaveUp { probes: 1 })?
        } else {
            (open, 0)
        };
        // The high bits of the random word may have chosen the block.
        let (index, words) = self.search(block, request.random.rotate_left(32));
        self.ports.take(index);
        self.blocks[block as usize].used += 1;
        if self.blocks[block as usize].used == self.ports_in(block) {
            self.close(block);
        }
        Ok(Allocated {
            port: self.ports.port(index),
            probes: claimed + words,
        })
    }

    fn release(&mut self, port: u16, subscriber: u32) {
        let index = self.ports.index(port);
        self.ports.put(index);
        let block = index / self.size;
        let Block { owner, used, .. } = self.blocks[block as usize];
        assert_eq!(
            owner, subscriber,
            "broken invariant: a port is released by another subscriber"
        );
        if used == self.ports_in(block) {
            self.open(block);
        }
        self.blocks[block as usize].used -= 1;
        if used > 1 {
            return;
        }
        self.close(block);
        self.unclaimed.put(block);
        let holder = self.holder(block);
        holder.blocks -= 1;
        if holder.blocks == 0 {
            self.holders.remove(&owner);
        }
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
            + self.unclaimed.memory_bytes()
            + self.blocks.capacity() * size_of::<Block>()
            + self.holders.len() * size_of::<(u32, Holder)>()
    }
}
