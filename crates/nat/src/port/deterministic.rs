use core::ops::RangeInclusive;

/// A fixed share of the ports for each subscriber: no table, no log, and both directions computed.
///
/// Source: RFC 7422 §2, sequential order. The ports of each NAT IP are cut into equal shares; the
/// first ones go to a subscriber each, the rest of the range is the dynamic pool that subscribers
/// may overflow to. Each look-up is a division.
///
/// # Examples
/// ```
/// use plsim_nat::DeterministicBlocks;
///
/// let blocks = DeterministicBlocks::new(1024..=65535, 1, 14, 2).expect("14 shares fit");
/// assert_eq!(blocks.block(0), Some((0, 1024..=5055)));
/// assert_eq!(blocks.subscriber(0, 5055), Some(0));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeterministicBlocks {
    first: u32,
    last: u16,
    nat_ips: u32,
    subscribers: u32,
    size: u32,
}

impl DeterministicBlocks {
    /// Cuts `ports` of each of `nat_ips` addresses into shares for `subscribers` subscribers and
    /// `dynamic` shares more. `None` if there is no NAT IP or no subscriber, or a share would be
    /// empty.
    #[must_use]
    pub fn new(
        ports: RangeInclusive<u16>,
        nat_ips: u16,
        subscribers: u16,
        dynamic: u16,
    ) -> Option<Self> {
        let shares = u32::from(subscribers) + u32::from(dynamic);
        let size = (ports.len() as u32).checked_div(shares)?;
        (size > 0 && nat_ips > 0 && subscribers > 0).then_some(Self {
            first: u32::from(*ports.start()),
            last: *ports.end(),
            nat_ips: u32::from(nat_ips),
            subscribers: u32::from(subscribers),
            size,
        })
    }

    /// Returns the ports of each subscriber.
    #[must_use]
    pub const fn size(&self) -> u32 {
        self.size
    }

    /// Returns the position of the NAT IP and the ports of a subscriber, counted from 0; `None` if
    /// there are not that many.
    #[must_use]
    pub fn block(&self, subscriber: u32) -> Option<(u32, RangeInclusive<u16>)> {
        let nat_ip = subscriber / self.subscribers;
        if nat_ip >= self.nat_ips {
            return None;
        }
        let first = self.first + subscriber % self.subscribers * self.size;
        Some((nat_ip, first as u16..=(first + self.size - 1) as u16))
    }

    /// Returns whose port it is; `None` for one of the dynamic pool or outside the range.
    #[must_use]
    pub fn subscriber(&self, nat_ip: u32, port: u16) -> Option<u32> {
        let share = u32::from(port).checked_sub(self.first)? / self.size;
        (nat_ip < self.nat_ips && share < self.subscribers)
            .then_some(nat_ip * self.subscribers + share)
    }

    /// Returns the ports of each NAT IP that are nobody's; `None` if all are somebody's.
    #[must_use]
    pub fn dynamic(&self) -> Option<RangeInclusive<u16>> {
        let first = self.first + self.subscribers * self.size;
        (first <= u32::from(self.last)).then_some(first as u16..=self.last)
    }
}
