use std::fmt;

use plsim_packet::Origin;
use plsim_types::DropReason;

/// The book of packets: what came into being and how it ended.
///
/// A packet counts once, when it comes into being, whatever its hops. The whole that fragments are
/// joined to goes on as the fragment that completed it; the others end as merged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ledger {
    /// Packets that came into being, by their maker.
    pub injected_by: InjectedBy,
    /// Packets that reached their receiver.
    pub delivered: u64,
    /// Packets that ended as part of another one, as reassembled fragments do.
    pub merged: u64,
    drops: [u64; DropReason::ALL.len()],
}

/// How many packets each kind of maker brought into being.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct InjectedBy {
    /// Clients and servers.
    pub host: u64,
    /// The NAT: RSTs to both ends on an idle timeout (I#94724).
    pub nat: u64,
    /// The load balancer: RSTs on a rule's idle timeout.
    pub lb: u64,
    /// Health probes.
    pub probe: u64,
    /// The NAT: ICMP errors about new flows it refused (RFC 5508 REQ-8).
    pub icmp: u64,
    /// Copies made by links.
    pub duplicate: u64,
}

/// The book does not balance: packets were lost or counted twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LedgerError {
    /// Packets that came into being.
    pub injected: u64,
    /// Packets that reached their receiver.
    pub delivered: u64,
    /// Packets that ended early.
    pub dropped: u64,
    /// Packets that ended as part of another one.
    pub merged: u64,
    /// Packets on links.
    pub in_flight: u64,
}

impl fmt::Display for LedgerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the ledger does not balance: {} injected, but {} delivered + {} dropped + {} merged \
             + {} in flight",
            self.injected, self.delivered, self.dropped, self.merged, self.in_flight
        )
    }
}

impl std::error::Error for LedgerError {}

impl InjectedBy {
    fn add(&mut self, other: &Self) {
        let Self {
            host,
            nat,
            lb,
            probe,
            icmp,
            duplicate,
        } = other;
        self.host += host;
        self.nat += nat;
        self.lb += lb;
        self.probe += probe;
        self.icmp += icmp;
        self.duplicate += duplicate;
    }

    /// Returns the sum over all makers.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.host + self.nat + self.lb + self.probe + self.icmp + self.duplicate
    }
}

impl Default for Ledger {
    fn default() -> Self {
        Self {
            injected_by: InjectedBy::default(),
            delivered: 0,
            merged: 0,
            drops: [0; DropReason::ALL.len()],
        }
    }
}

impl Ledger {
    /// Books a packet that came into being.
    #[inline]
    pub const fn inject(&mut self, origin: Origin) {
        match origin {
            Origin::Host => self.injected_by.host += 1,
            Origin::Nat => self.injected_by.nat += 1,
            Origin::LbTimer | Origin::LbDrain => self.injected_by.lb += 1,
            Origin::Icmp => self.injected_by.icmp += 1,
            Origin::Probe => self.injected_by.probe += 1,
        }
    }

    /// Books the copy that a link made of a packet.
    #[inline]
    pub const fn duplicate(&mut self) {
        self.injected_by.duplicate += 1;
    }

    /// Books a packet that reached its receiver.
    #[inline]
    pub const fn deliver(&mut self) {
        self.delivered += 1;
    }

    /// Books a packet that ended as part of another one.
    #[inline]
    pub const fn merge(&mut self) {
        self.merged += 1;
    }

    /// Books a packet that ended early.
    #[inline]
    pub const fn drop(&mut self, reason: DropReason) {
        self.drops[reason.index()] += 1;
    }

    /// Adds what another part of the run has booked.
    pub(crate) fn add(&mut self, other: &Self) {
        let Self {
            injected_by,
            delivered,
            merged,
            drops,
        } = other;
        self.injected_by.add(injected_by);
        self.delivered += delivered;
        self.merged += merged;
        for (own, other) in self.drops.iter_mut().zip(drops) {
            *own += other;
        }
    }

    /// Returns how many packets came into being.
    #[must_use]
    pub const fn injected(&self) -> u64 {
        self.injected_by.total()
    }

    /// Returns how many packets ended early.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.drops.iter().sum()
    }

    /// Returns how many packets ended early for one reason.
    #[must_use]
    pub const fn dropped_for(&self, reason: DropReason) -> u64 {
        self.drops[reason.index()]
    }

    /// Returns the reasons that occurred with their counts, in the order of [`DropReason::ALL`].
    pub fn drops(&self) -> impl Iterator<Item = (DropReason, u64)> {
        let all = DropReason::ALL.iter().copied().zip(self.drops);
        all.filter(|(_, packets)| *packets > 0)
    }

    /// Checks that every packet is accounted for.
    ///
    /// # Errors
    /// [`LedgerError`] unless injected = delivered + dropped + merged + in flight.
    pub fn balance(&self, in_flight: u64) -> Result<(), LedgerError> {
        let (injected, dropped) = (self.injected(), self.dropped());
        let accounted = [self.delivered, dropped, self.merged, in_flight];
        if accounted
            .iter()
            .map(|&packets| u128::from(packets))
            .sum::<u128>()
            == injected.into()
        {
            return Ok(());
        }
        let Self {
            delivered, merged, ..
        } = *self;
        Err(LedgerError {
            injected,
            delivered,
            dropped,
            merged,
            in_flight,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Ledger;
    use plsim_packet::Origin;
    use plsim_types::DropReason;

    fn ledger() -> Ledger {
        let mut ledger = Ledger::default();
        for _ in 0..5 {
            ledger.inject(Origin::Host);
        }
        ledger.inject(Origin::Nat);
        ledger.deliver();
        ledger.deliver();
        ledger.drop(DropReason::NoFlow);
        ledger.drop(DropReason::NatPortsExhausted);
        ledger.drop(DropReason::NoFlow);
        ledger
    }

    #[test]
    fn a_packet_is_delivered_dropped_merged_or_in_flight() {
        let mut ledger = ledger();
        assert_eq!(ledger.balance(1), Ok(()));
        ledger.merged = 1;
        assert_eq!(ledger.balance(0), Ok(()));
        assert_eq!((ledger.injected_by.host, ledger.injected_by.nat), (5, 1));
    }

    #[test]
    fn a_lost_or_doubled_packet_is_told_with_all_figures() {
        let error = ledger().balance(0).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the ledger does not balance: 6 injected, but 2 delivered + 3 dropped + 0 merged + 0 \
             in flight"
        );
        assert!(ledger().balance(2).is_err());
        assert!(ledger().balance(u64::MAX).is_err(), "sums must not wrap");
    }

    #[test]
    fn only_reasons_that_occurred_are_listed_in_the_order_of_the_list() {
        let drops: Vec<_> = ledger().drops().collect();
        assert_eq!(
            drops,
            [(DropReason::NatPortsExhausted, 1), (DropReason::NoFlow, 2)]
        );
        assert_eq!(ledger().dropped_for(DropReason::NoRoute), 0);
    }
}
