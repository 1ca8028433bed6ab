use alloc::vec::Vec;
use core::net::Ipv4Addr;
use plsim_table::FixedMap;
use plsim_types::Prefix;

/// A routing table: the longest prefix that contains an address decides.
///
/// One exact-match map for each prefix length present, visited from the longest to the shortest:
/// a look-up costs at most as many probes as there are different lengths (1..=33), whatever the
/// number of routes.
///
/// # Examples
/// ```
/// use plsim_vnet::RouteTable;
///
/// let mut table = RouteTable::new();
/// table.insert("10.0.0.0/16".parse()?, "network");
/// table.insert("10.0.0.5/32".parse()?, "endpoint");
/// let found = table.lookup("10.0.0.5".parse()?);
/// assert_eq!(found, Some(("10.0.0.5/32".parse()?, "endpoint")));
/// assert_eq!(table.lookup("10.1.0.0".parse()?), None);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct RouteTable<H> {
    /// One level a length, the longest first.
    levels: Vec<Level<H>>,
    len: usize,
}

#[derive(Debug, Clone)]
struct Level<H> {
    length: u8,
    mask: u32,
    hops: FixedMap<u32, H>,
}

impl<H: Copy> RouteTable<H> {
    /// Builds an empty table; it owns no memory yet.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            levels: Vec::new(),
            len: 0,
        }
    }

    /// Adds a route and returns the next hop that the same prefix had before.
    pub fn insert(&mut self, prefix: Prefix, next_hop: H) -> Option<H> {
        let length = prefix.length();
        let position = self
            .levels
            .binary_search_by(|level| length.cmp(&level.length));
        let index = match position {
            Ok(index) => index,
            Err(index) => {
                self.levels.insert(index, Level::new(length));
                index
            }
        };
        let hops = &mut self.levels[index].hops;
        let previous = hops.insert(prefix.network().to_bits(), next_hop);
        self.len += usize::from(previous.is_none());
        previous
    }

    /// Finds the longest prefix that contains the address, and its next hop.
    #[must_use]
    #[inline]
    pub fn lookup(&self, address: Ipv4Addr) -> Option<(Prefix, H)> {
        let bits = address.to_bits();
        self.levels.iter().find_map(|level| {
            let network = bits & level.mask;
            let hop = *level.hops.get(&network)?;
            let prefix = Prefix::new(Ipv4Addr::from_bits(network), level.length);
            Some((
                prefix.expect("broken invariant: a level masks to its length"),
                hop,
            ))
        })
    }

    /// Returns the number of routes.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Tells whether there is no route.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl<H: Copy> Default for RouteTable<H> {
    fn default() -> Self {
        Self::new()
    }
}

impl<H> Level<H> {
    fn new(length: u8) -> Self {
        Self {
            length,
            mask: match length {
                0 => 0,
                _ => u32::MAX << (32 - length),
            },
            hops: FixedMap::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::RouteTable;
    use core::net::Ipv4Addr;
    use plsim_types::Prefix;
    use proptest::prelude::{Strategy, any, prop_assert_eq, proptest};
    use std::vec::Vec;

    /// Few enough addresses that prefixes nest and repeat.
    fn prefixes() -> impl Strategy<Value = Prefix> {
        (any::<u8>(), 0..=32_u8).prop_map(|(low, length)| {
            let bits = 0x0A00_0000 | u32::from(low & 0x1F) | u32::from(low >> 5) << 28;
            let mask = if length == 0 {
                0
            } else {
                u32::MAX << (32 - length)
            };
            Prefix::new(Ipv4Addr::from_bits(bits & mask), length).unwrap()
        })
    }

    proptest! {
        #[test]
        fn lookup_agrees_with_a_linear_scan(
            routes in proptest::collection::vec((prefixes(), any::<u16>()), 0..60),
            addresses in proptest::collection::vec((any::<u8>(), any::<u8>()), 1..60),
        ) {
            let mut table = RouteTable::new();
            let mut model: Vec<(Prefix, u16)> = Vec::new();
            for (prefix, hop) in routes {
                let known = model.iter().position(|route| route.0 == prefix);
                let previous = known.map(|index| model.swap_remove(index).1);
                model.push((prefix, hop));
                prop_assert_eq!(table.insert(prefix, hop), previous);
                prop_assert_eq!(table.len(), model.len());
            }
            for (low, high) in addresses {
                let bits = 0x0A00_0000 | u32::from(low & 0x3F) | u32::from(high >> 4) << 28;
                let address = Ipv4Addr::from_bits(bits);
                let matching = model.iter().filter(|route| route.0.contains(address));
                let longest = matching.max_by_key(|route| route.0.length());
                prop_assert_eq!(table.lookup(address), longest.copied());
            }
        }
    }

    #[test]
    fn default_and_host_routes_are_the_two_ends() {
        let mut table = RouteTable::new();
        assert!(table.is_empty());
        table.insert("0.0.0.0/0".parse().unwrap(), 0);
        table.insert("255.255.255.255/32".parse().unwrap(), 32);
        let hop = |address| table.lookup(address).unwrap().1;
        assert_eq!(hop(Ipv4Addr::BROADCAST), 32);
        assert_eq!(hop(Ipv4Addr::new(255, 255, 255, 254)), 0);
        assert_eq!(hop(Ipv4Addr::UNSPECIFIED), 0);
    }
}
