use super::pace::{Change, Pace};
use super::set::FreePorts;
use super::{Allocated, NoPort, PortAllocator, PortRequest};
use alloc::collections::BTreeSet;
use alloc::vec;
use alloc::vec::Vec;
use core::ops::RangeInclusive;
use plsim_table::FixedMap;
use plsim_types::{Instant, KeyedHash};

/// Blocks of ports, each of one subscriber: who had a port is known from the port alone.
///
/// Source: port blocks as RFC 6888 REQ-14 and RFC 7422 §2.2 want them for logging; blocks of 8 are
/// what Azure's load balancer deals out (D-LBOUT). A subscriber claims a free block, from a random
/// start, when those it has are full, and loses it with the block's last port. With a [`Pace`] blocks
/// are reserved instead, as in Google's Cloud NAT (GCP-PORTS, GCP-DPA): the first one for good, and
/// the number is doubled when the subscriber is short of ports, and halved when it needs few.
///
/// Within a block the search starts at a random port. A look-up by hash and at most 18 words, which
/// are the probes, at any occupancy; a change of a reservation takes as many steps as it moves blocks.
/// Memory: 8.2 KiB for 64 512 ports and 16 bytes a block (16 KiB for blocks of 64, 126 KiB for
/// blocks of 8), and 72 bytes for as many subscribers as ever had one at once.
///
/// It gives up though ports are free when the subscriber has as many blocks as it may, or when each
/// block is somebody's. Within a block, ports are easy to guess: that is the price (RFC 6888 §4).
#[derive(Debug, Clone)]
pub struct BlockPorts {
    ports: FreePorts,
    size: u32,
    most: u32,
    pace: Option<Pace>,
    unclaimed: FreePorts,
    blocks: Vec<Block>,
    /// The place of each subscriber in the list of holders.
    index: FixedMap<u64, u32>,
    holders: Vec<Holder>,
    /// Places of former holders.
    vacant: Vec<u32>,
    /// What is due with holders, one entry for each at most.
    agenda: BTreeSet<(Instant, u32)>,
    now: Instant,
    reservations: Reservations,
    /// What nobody has asked for yet.
    changes: Vec<ShareChange>,
}

/// A change of how many ports a subscriber may use ([`Pace`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShareChange {
    /// When.
    pub at: Instant,
    /// Whose.
    pub subscriber: u64,
    /// The ports before.
    pub from: u32,
    /// The ports since.
    pub to: u32,
}

/// How many ports lie in blocks that are somebody's, used or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Reservations {
    /// The ports now.
    pub ports: u32,
    /// The most at any instant.
    pub peak: u32,
    /// How often a subscriber got more blocks at once ([`Pace`]).
    pub doublings: u64,
    /// How often a subscriber's share was halved.
    pub halvings: u64,
}

/// A block; the links are meant only while it is claimed and not full.
#[derive(Debug, Clone, Copy)]
struct Block {
    /// The place of its holder.
    owner: u32,
    used: u32,
    previous: u32,
    next: u32,
}

/// What a subscriber has.
#[derive(Debug, Clone, Copy)]
struct Holder {
    subscriber: u64,
    blocks: u32,
    /// How many blocks it may have. It has more for a while after that was halved.
    share: u32,
    /// Ports in use.
    used: u32,
    /// The first block that is not full.
    open: u32,
    /// The block it got last.
    newest: u32,
    due: Option<(Instant, Change)>,
}

const NIL: u32 = u32::MAX;

impl BlockPorts {
    /// Builds the set with every block of the range unclaimed; an empty range has none.
    ///
    /// A block has `size` ports, the last one perhaps fewer; a subscriber may have `most` blocks.
    /// Either is at least 1, and 0 counts as that.
    #[must_use]
    pub fn new(range: RangeInclusive<u16>, size: u16, most: u16) -> Self {
        Self::build(range, size, most, None)
    }

    /// Builds the set for subscribers that have one block reserved from their first port on, and up
    /// to `most` by doubling and halving.
    #[must_use]
    pub fn reserved(range: RangeInclusive<u16>, size: u16, most: u16, pace: Pace) -> Self {
        Self::build(range, size, most, Some(pace))
    }

    fn build(range: RangeInclusive<u16>, size: u16, most: u16, pace: Option<Pace>) -> Self {
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
            pace,
            unclaimed: FreePorts::of_count(0, count),
            blocks: vec![vacant; count as usize],
            index: FixedMap::new(),
            holders: Vec::new(),
            vacant: Vec::new(),
            agenda: BTreeSet::new(),
            now: Instant::ZERO,
            reservations: Reservations::default(),
            changes: Vec::new(),
        }
    }

    /// Returns whose block a port is in; `None` if nobody has claimed it, or it is outside the
    /// range.
    #[must_use]
    pub fn subscriber_of(&self, port: u16) -> Option<u64> {
        let index = self.ports.index(port);
        let block = index / self.size;
        (index < self.ports.count() && !self.unclaimed.is_free(block))
            .then(|| self.holders[self.blocks[block as usize].owner as usize].subscriber)
    }

    /// Returns how many blocks a subscriber has.
    #[must_use]
    pub fn blocks_of(&self, subscriber: u64) -> u32 {
        let place = self.index.get(&subscriber);
        place.map_or(0, |place| self.holders[*place as usize].blocks)
    }

    /// Returns how many ports lie in blocks that are somebody's.
    #[must_use]
    pub const fn reservations(&self) -> Reservations {
        self.reservations
    }

    /// Takes the changes of subscribers' shares since the last call, in order.
    pub fn take_changes(&mut self) -> Vec<ShareChange> {
        core::mem::take(&mut self.changes)
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

    /// Finds the block for a subscriber's next port, and how many words that took: one that is not
    /// full, else one more.
    fn block_for(&mut self, request: &PortRequest) -> Option<(u32, u32)> {
        let place = match self.index.get(&request.subscriber) {
            Some(&place) => place,
            None if self.unclaimed.free() == 0 => return None,
            None => self.enter(request.subscriber),
        };
        let holder = &self.holders[place as usize];
        if self.pace.is_some() && u64::from(holder.used) >= self.ports_of(holder) {
            return None;
        }
        if holder.open != NIL {
            return Some((holder.open, 0));
        }
        if holder.blocks >= holder.share || self.unclaimed.free() == 0 {
            return None;
        }
        let start = KeyedHash::scale(request.random, self.unclaimed.count());
        Some(self.claim(place, start))
    }

    /// Makes a holder of a subscriber that has no block.
    fn enter(&mut self, subscriber: u64) -> u32 {
        let holder = Holder {
            subscriber,
            blocks: 0,
            share: if self.pace.is_some() { 1 } else { self.most },
            used: 0,
            open: NIL,
            newest: NIL,
            due: None,
        };
        let place = if let Some(place) = self.vacant.pop() {
            self.holders[place as usize] = holder;
            place
        } else {
            self.holders.push(holder);
            self.holders.len() as u32 - 1
        };
        self.index.insert(subscriber, place);
        place
    }

    /// Returns how many ports a subscriber may use.
    fn ports_of(&self, holder: &Holder) -> u64 {
        u64::from(holder.share) * u64::from(self.size)
    }

    /// Gives a subscriber the next unclaimed block, of which there is one, and says how many words
    /// that took.
    fn claim(&mut self, place: u32, start: u32) -> (u32, u32) {
        let (block, words) = self.unclaimed.next_free(start);
        self.unclaimed.take(block);
        self.blocks[block as usize].owner = place;
        let holder = &mut self.holders[place as usize];
        holder.blocks += 1;
        holder.newest = block;
        self.open(block);
        let ports = self.ports_in(block);
        let reserved = &mut self.reservations;
        reserved.ports += ports;
        reserved.peak = reserved.peak.max(reserved.ports);
        (block, words)
    }

    /// Takes a block without used ports from its owner.
    fn disclaim(&mut self, block: u32) {
        self.close(block);
        self.unclaimed.put(block);
        self.reservations.ports -= self.ports_in(block);
        self.holder(block).blocks -= 1;
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
        &mut self.holders[self.blocks[block as usize].owner as usize]
    }

    /// Plans the next change of a subscriber's share, if its use asks for one.
    fn review(&mut self, place: u32) {
        let Some(pace) = self.pace else { return };
        let holder = &self.holders[place as usize];
        let (used, ports) = (u64::from(holder.used), self.ports_of(holder));
        let more = self.unclaimed.free() > 0 || holder.blocks > holder.share;
        let due = match holder.due {
            // What was asked for comes.
            Some((_, Change::Double)) => return,
            _ if holder.share < self.most
                && more
                && (holder.open == NIL || pace.is_short(used, ports)) =>
            {
                Some((self.now + pace.delay, Change::Double))
            }
            planned if holder.share > 1 && Pace::is_ample(used, ports) => {
                planned.or(Some((self.now + pace.rest, Change::Halve)))
            }
            _ => None,
        };
        self.plan(place, due);
    }

    fn plan(&mut self, place: u32, due: Option<(Instant, Change)>) {
        let holder = &mut self.holders[place as usize];
        if holder.due == due {
            return;
        }
        if let Some((at, _)) = core::mem::replace(&mut holder.due, due) {
            self.agenda.remove(&(at, place));
        }
        if let Some((at, _)) = due {
            self.agenda.insert((at, place));
        }
    }

    /// Reserves as many blocks again as a subscriber may have, or as many as there are, beside those
    /// it has.
    fn double(&mut self, place: u32) {
        let Holder { share, .. } = self.holders[place as usize];
        let target = (2 * share).min(self.most);
        while self.holders[place as usize].blocks < target && self.unclaimed.free() > 0 {
            let after = self.holders[place as usize].newest + 1;
            self.claim(place, after % self.unclaimed.count());
        }
        let holder = &mut self.holders[place as usize];
        holder.share = target.min(holder.blocks);
        if holder.share > share {
            self.reservations.doublings += 1;
            self.tell(place, share);
            self.review(place);
        }
    }

    /// Notes that a subscriber's share is no longer so many blocks.
    fn tell(&mut self, place: u32, before: u32) {
        let holder = &self.holders[place as usize];
        self.changes.push(ShareChange {
            at: self.now,
            subscriber: holder.subscriber,
            from: before * self.size,
            to: holder.share * self.size,
        });
    }

    /// Halves what a subscriber may have. Blocks without used ports go at once, others with their
    /// last port.
    fn halve(&mut self, place: u32) {
        let holder = &mut self.holders[place as usize];
        let before = holder.share;
        holder.share = before.div_ceil(2);
        let Holder {
            share,
            open: mut block,
            ..
        } = *holder;
        while block != NIL && self.holders[place as usize].blocks > share {
            let Block { used, next, .. } = self.blocks[block as usize];
            if used == 0 {
                self.disclaim(block);
            }
            block = next;
        }
        self.reservations.halvings += 1;
        self.tell(place, before);
        self.review(place);
    }
}

impl PortAllocator for BlockPorts {
    fn allocate(&mut self, request: &PortRequest) -> Result<Allocated, NoPort> {
        if self.ports.free() == 0 {
            return Err(NoPort::Full);
        }
        let Some((block, claimed)) = self.block_for(request) else {
            if let Some(&place) = self.index.get(&request.subscriber) {
                self.review(place);
            }
            return Err(NoPort::GaveUp { probes: 1 });
        };
        // The high bits of the random word may have chosen the block.
        let (index, words) = self.search(block, request.random.rotate_left(32));
        self.ports.take(index);
        let place = self.blocks[block as usize].owner;
        self.holders[place as usize].used += 1;
        self.blocks[block as usize].used += 1;
        if self.blocks[block as usize].used == self.ports_in(block) {
            self.close(block);
        }
        self.review(place);
        Ok(Allocated {
            port: self.ports.port(index),
            probes: claimed + words,
        })
    }

    fn release(&mut self, port: u16, subscriber: u64) {
        let index = self.ports.index(port);
        self.ports.put(index);
        let block = index / self.size;
        let Block { owner, used, .. } = self.blocks[block as usize];
        assert_eq!(
            self.holders[owner as usize].subscriber, subscriber,
            "broken invariant: a port is released by another subscriber"
        );
        if used == self.ports_in(block) {
            self.open(block);
        }
        self.blocks[block as usize].used -= 1;
        let reserves = self.pace.is_some();
        let holder = self.holder(block);
        holder.used -= 1;
        let kept = if reserves { holder.share } else { 0 };
        if used == 1 && holder.blocks > kept {
            self.disclaim(block);
        }
        if self.holders[owner as usize].blocks == 0 {
            self.index.remove(&subscriber);
            self.vacant.push(owner);
        } else {
            self.review(owner);
        }
    }

    fn advance(&mut self, now: Instant) {
        while let Some(&(at, place)) = self.agenda.first()
            && at <= now
        {
            self.now = self.now.max(at);
            let due = self.holders[place as usize].due;
            self.plan(place, None);
            match due {
                Some((_, Change::Double)) => self.double(place),
                Some((_, Change::Halve)) => self.halve(place),
                None => {}
            }
        }
        self.now = self.now.max(now);
    }

    fn next_change(&self) -> Option<Instant> {
        self.agenda.first().map(|(at, _)| *at)
    }

    fn capacity(&self) -> u32 {
        self.ports.count()
    }

    #[inline]
    fn free(&self) -> u32 {
        self.ports.free()
    }

    fn memory_bytes(&self) -> usize {
        let parts = [
            self.ports.memory_bytes(),
            self.unclaimed.memory_bytes(),
            self.blocks.capacity() * size_of::<Block>(),
            self.index.len() * size_of::<(u64, u32)>(),
            self.holders.capacity() * size_of::<Holder>(),
            self.agenda.len() * size_of::<(Instant, u32)>(),
        ];
        parts.into_iter().sum()
    }
}
