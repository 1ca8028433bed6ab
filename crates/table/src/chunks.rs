use crate::slab::Slab;
use crate::wheel::TimerOwner;

/// The items (position, tag) of a wheel's slot: a chain of chunks, first in, first out.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Chain {
    first: u32,
    last: u32,
}

/// Four cache lines of items.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Chunk {
    next: u32,
    len: u32,
    items: [(u32, u32); ITEMS],
}

/// The chunks of all slots of a wheel, so that a slot that was once long holds no memory for ever.
#[derive(Debug, Clone)]
pub(crate) struct ChunkPool {
    /// In small segments: they are read in order, so that huge pages would not pay for their slack.
    chunks: Slab<Chunk, { 64 << 10 }>,
    /// Chain of the chunks that nobody has.
    free: u32,
}

const ITEMS: usize = 31;
const NIL: u32 = u32::MAX;

impl Chunk {
    pub(crate) fn items(&self) -> &[(u32, u32)] {
        &self.items[..self.len as usize]
    }
}

impl Default for Chain {
    fn default() -> Self {
        Self {
            first: NIL,
            last: NIL,
        }
    }
}

impl Default for ChunkPool {
    fn default() -> Self {
        Self {
            chunks: Slab::new(),
            free: NIL,
        }
    }
}

impl ChunkPool {
    /// Adds an item at the end of a chain.
    #[inline]
    pub(crate) fn append(&mut self, chain: &mut Chain, item: (u32, u32)) {
        if let Some(chunk) = self.chunks.get_mut(chain.last as usize)
            && let Some(place) = chunk.items.get_mut(chunk.len as usize)
        {
            *place = item;
            chunk.len += 1;
        } else {
            self.extend(chain, item);
        }
    }

    /// Takes the first chunk of a chain out.
    pub(crate) fn take_first(&mut self, chain: &mut Chain) -> Option<Chunk> {
        if chain.first == NIL {
            return None;
        }
        let first = &mut self.chunks[chain.first as usize];
        let chunk = *first;
        first.next = self.free;
        self.free = chain.first;
        chain.first = chunk.next;
        if chunk.next == NIL {
            chain.last = NIL;
        }
        Some(chunk)
    }

    /// Tells the owner the items of a chain's first chunk.
    pub(crate) fn fetch_ahead(&self, chain: &Chain, owner: &impl TimerOwner) {
        if chain.first != NIL {
            for &(position, _) in self.chunks[chain.first as usize].items() {
                owner.fetch_ahead(position);
            }
        }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.chunks.memory_bytes()
    }

    /// Adds an item in a chunk of its own.
    #[inline(never)] // One item in 31 needs it.
    fn extend(&mut self, chain: &mut Chain, item: (u32, u32)) {
        let added = if self.free == NIL {
            self.chunks.push(Chunk {
                next: NIL,
                len: 0,
                items: [(0, 0); ITEMS],
            });
            self.chunks.len() as u32 - 1
        } else {
            self.free
        };
        let chunk = &mut self.chunks[added as usize];
        if added == self.free {
            self.free = chunk.next;
        }
        (chunk.next, chunk.len, chunk.items[0]) = (NIL, 1, item);
        match chain.last {
            NIL => chain.first = added,
            last => self.chunks[last as usize].next = added,
        }
        chain.last = added;
    }
}

#[cfg(test)]
mod tests {
    use super::{Chain, ChunkPool, ITEMS};
    use alloc::vec::Vec;

    fn drained(pool: &mut ChunkPool, chain: &mut Chain) -> Vec<u32> {
        let chunks = core::iter::from_fn(|| pool.take_first(chain));
        chunks
            .flat_map(|chunk| chunk.items().to_vec())
            .map(|(position, _)| position)
            .collect()
    }

    #[test]
    fn chains_give_what_they_were_given_in_order_and_share_chunks() {
        let mut pool = ChunkPool::default();
        let count = 3 * ITEMS as u32 + 1;
        let mut chains = [Chain::default(); 2];
        for item in 0..count {
            pool.append(&mut chains[item as usize % 2], (item, 0));
        }
        for (parity, mut chain) in chains.into_iter().enumerate() {
            let expected: Vec<u32> = (parity as u32..count).step_by(2).collect();
            assert_eq!(drained(&mut pool, &mut chain), expected);
        }
        let bytes = pool.bytes();
        let mut again = Chain::default();
        for item in 0..count {
            pool.append(&mut again, (item, 0));
        }
        assert_eq!(pool.bytes(), bytes);
        assert!(drained(&mut pool, &mut again).into_iter().eq(0..count));
    }
}
