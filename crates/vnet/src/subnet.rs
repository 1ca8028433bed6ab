use alloc::collections::BTreeSet;
use core::fmt;
use core::net::Ipv4Addr;
use plsim_types::Prefix;

/// A subnet that Azure would accept: at most 29 prefix bits, five addresses of it reserved.
///
/// Azure keeps the first four addresses (network, gateway, two for DNS) and the last one
/// (broadcast) of every subnet (TF).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subnet(Prefix);

/// A prefix that cannot be a subnet: longer than /29, it would have no usable address left or
/// fewer than Azure asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SubnetError(
    /// The refused prefix.
    pub Prefix,
);

/// Which addresses of one subnet are taken, and which one is next.
///
/// Memory does not grow with the size of the subnet or with dynamic allocations: everything
/// usable below the cursor is taken, and only static addresses at or above it are remembered.
///
/// ```text
///   .0 .1 .2 .3 | .4 .5 .6 .7 | .8 .9 .10 .11 ...  .255
///   reserved    | taken       | ^cursor  ^in `ahead` reserved
/// ```
///
/// # Examples
/// ```
/// use core::net::Ipv4Addr;
/// use plsim_vnet::{AddressPlan, Subnet};
///
/// let subnet = Subnet::new("10.0.1.0/24".parse()?)?;
/// let mut plan = AddressPlan::new(subnet);
/// plan.reserve(Ipv4Addr::new(10, 0, 1, 5))?;
/// assert_eq!(plan.allocate()?, Ipv4Addr::new(10, 0, 1, 4));
/// assert_eq!(plan.allocate()?, Ipv4Addr::new(10, 0, 1, 6));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddressPlan {
    subnet: Subnet,
    /// The lowest address that dynamic allocation has not passed yet; `limit` at the end.
    cursor: u32,
    /// Static addresses at or above the cursor.
    ahead: BTreeSet<u32>,
}

/// Why an address of a subnet cannot be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddressError {
    /// Azure reserves it: the first four and the last of every subnet.
    Reserved {
        /// The address that was asked for.
        address: Ipv4Addr,
        /// The subnet it was asked from.
        subnet: Subnet,
    },
    /// It was handed out before.
    Taken {
        /// The address that was asked for.
        address: Ipv4Addr,
    },
    /// It does not lie in the subnet.
    OutsideSubnet {
        /// The address that was asked for.
        address: Ipv4Addr,
        /// The subnet it was asked from.
        subnet: Subnet,
    },
    /// No usable address is left.
    Full {
        /// The subnet.
        subnet: Subnet,
    },
}

impl Subnet {
    /// The longest prefix that can be a subnet.
    pub const MAX_LENGTH: u8 = 29;
    /// How many addresses of each subnet Azure keeps.
    pub const RESERVED: u64 = 5;

    /// Builds a subnet.
    ///
    /// # Errors
    /// [`SubnetError`] for a prefix longer than /29.
    pub const fn new(prefix: Prefix) -> Result<Self, SubnetError> {
        if prefix.length() > Self::MAX_LENGTH {
            return Err(SubnetError(prefix));
        }
        Ok(Self(prefix))
    }

    /// Returns the address range.
    #[must_use]
    pub const fn prefix(self) -> Prefix {
        self.0
    }

    /// Returns the first address a machine can have: the fifth of the subnet.
    #[must_use]
    pub const fn first_usable(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.0.network().to_bits() + 4)
    }

    /// Returns the last address a machine can have: the last but one of the subnet.
    #[must_use]
    pub const fn last_usable(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.0.last().to_bits() - 1)
    }

    /// Returns how many addresses machines can have, 3 and up.
    #[must_use]
    pub const fn capacity(self) -> u64 {
        self.0.size() - Self::RESERVED
    }

    /// Checks that a machine can have the address.
    ///
    /// # Errors
    /// [`AddressError::OutsideSubnet`] or [`AddressError::Reserved`].
    pub fn check(self, address: Ipv4Addr) -> Result<(), AddressError> {
        let subnet = self;
        if !self.0.contains(address) {
            return Err(AddressError::OutsideSubnet { address, subnet });
        }
        if address < self.first_usable() || address > self.last_usable() {
            return Err(AddressError::Reserved { address, subnet });
        }
        Ok(())
    }
}

impl AddressPlan {
    /// Builds a plan with every usable address free.
    #[must_use]
    pub const fn new(subnet: Subnet) -> Self {
        Self {
            subnet,
            cursor: subnet.first_usable().to_bits(),
            ahead: BTreeSet::new(),
        }
    }

    /// Returns the subnet.
    #[must_use]
    pub const fn subnet(&self) -> Subnet {
        self.subnet
    }

    /// Takes one given address (static allocation); reserve static addresses before allocating
    /// dynamic ones, or they may be gone.
    ///
    /// # Errors
    /// [`AddressError::OutsideSubnet`], [`AddressError::Reserved`] or [`AddressError::Taken`];
    /// nothing is taken then.
    pub fn reserve(&mut self, address: Ipv4Addr) -> Result<(), AddressError> {
        self.subnet.check(address)?;
        if address.to_bits() < self.cursor || !self.ahead.insert(address.to_bits()) {
            return Err(AddressError::Taken { address });
        }
        Ok(())
    }

    /// Takes the lowest free address (dynamic allocation), from the fifth of the subnet on.
    ///
    /// # Errors
    /// [`AddressError::Full`] when every usable address is taken.
    pub fn allocate(&mut self) -> Result<Ipv4Addr, AddressError> {
        while self.ahead.first() == Some(&self.cursor) {
            self.ahead.pop_first();
            self.cursor += 1;
        }
        let address = Ipv4Addr::from_bits(self.cursor);
        if address > self.subnet.last_usable() {
            return Err(AddressError::Full {
                subnet: self.subnet,
            });
        }
        self.cursor += 1;
        Ok(address)
    }

    /// Tells whether the address was handed out, statically or dynamically.
    #[must_use]
    pub fn is_taken(&self, address: Ipv4Addr) -> bool {
        let bits = address.to_bits();
        self.subnet.check(address).is_ok() && (bits < self.cursor || self.ahead.contains(&bits))
    }

    /// Returns how many addresses are taken.
    #[must_use]
    pub fn taken(&self) -> u64 {
        let passed = self.cursor - self.subnet.first_usable().to_bits();
        u64::from(passed) + self.ahead.len() as u64
    }

    /// Returns how many addresses are still free.
    #[must_use]
    pub fn free(&self) -> u64 {
        self.subnet.capacity() - self.taken()
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for SubnetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "subnet {} is too small: the smallest is /29", self.0)
    }
}

impl core::error::Error for SubnetError {}

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reserved { address, subnet } => write!(
                f,
                "{address} is reserved: Azure keeps the first four addresses and the last one of \
                 subnet {subnet}; {} to {} can be used",
                subnet.first_usable(),
                subnet.last_usable()
            ),
            Self::Taken { address } => write!(f, "{address} is already taken"),
            Self::OutsideSubnet { address, subnet } => {
                write!(f, "{address} lies outside subnet {subnet}")
            }
            Self::Full { subnet } => write!(
                f,
                "subnet {subnet} is full: all its {} usable addresses are taken",
                subnet.capacity()
            ),
        }
    }
}

impl core::error::Error for AddressError {}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::{AddressError, AddressPlan, Subnet, SubnetError};
    use core::net::Ipv4Addr;
    use proptest::prelude::{Just, Strategy, any, prop_assert_eq, prop_oneof, proptest};
    use std::collections::BTreeSet;
    use std::string::ToString;
    use std::vec::Vec;

    fn plan(text: &str) -> AddressPlan {
        AddressPlan::new(Subnet::new(text.parse().unwrap()).unwrap())
    }

    fn at(last: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 0, 0, last)
    }

    #[test]
    fn dynamic_addresses_start_at_the_fifth_and_pass_over_static_ones() {
        let mut plan = plan("10.0.0.0/24");
        plan.reserve(at(5)).unwrap();
        plan.reserve(at(6)).unwrap();
        let got: Vec<_> = (0..3).map(|_| plan.allocate().unwrap()).collect();
        assert_eq!(got, [at(4), at(7), at(8)]);
        assert_eq!((plan.taken(), plan.free()), (5, 246));
    }

    #[test]
    fn first_four_addresses_and_the_last_are_reserved() {
        let mut plan = plan("10.0.0.0/24");
        for last in [0, 1, 2, 3, 255] {
            let refused = plan.reserve(at(last)).unwrap_err();
            assert!(
                matches!(refused, AddressError::Reserved { address, .. } if address == at(last))
            );
        }
        assert_eq!(plan.taken(), 0);
        plan.reserve(at(4)).unwrap();
        plan.reserve(at(254)).unwrap();
        assert_eq!(
            plan.reserve(at(255)).unwrap_err().to_string(),
            "10.0.0.255 is reserved: Azure keeps the first four addresses and the last one of \
             subnet 10.0.0.0/24; 10.0.0.4 to 10.0.0.254 can be used"
        );
    }

    #[test]
    fn a_refused_address_names_the_reason_and_takes_nothing() {
        let mut plan = plan("10.0.0.0/24");
        plan.reserve(at(9)).unwrap();
        let first = plan.allocate().unwrap();
        for address in [at(9), first] {
            assert_eq!(plan.reserve(address), Err(AddressError::Taken { address }));
        }
        let outside = Ipv4Addr::new(10, 0, 1, 9);
        let refused = plan.reserve(outside);
        assert!(
            matches!(refused, Err(AddressError::OutsideSubnet { address, .. }) if address == outside)
        );
        assert_eq!(plan.taken(), 2);
    }

    #[test]
    fn smallest_subnet_is_29_with_three_addresses() {
        let mut plan = plan("10.0.0.8/29");
        plan.reserve(at(14)).unwrap();
        assert_eq!(plan.allocate(), Ok(at(12)));
        assert_eq!(plan.allocate(), Ok(at(13)));
        for _ in 0..3 {
            assert!(matches!(plan.allocate(), Err(AddressError::Full { .. })));
            assert_eq!((plan.taken(), plan.free()), (3, 0));
        }
        for length in 30..=32_u8 {
            let prefix = plsim_types::Prefix::new(at(8), length).unwrap();
            assert_eq!(Subnet::new(prefix), Err(SubnetError(prefix)));
        }
    }

    #[test]
    fn a_subnet_of_every_address_counts_without_overflow() {
        let mut plan = plan("0.0.0.0/0");
        assert_eq!(plan.free(), (1 << 32) - 5);
        plan.reserve(Ipv4Addr::new(255, 255, 255, 254)).unwrap();
        assert_eq!(plan.allocate(), Ok(Ipv4Addr::new(0, 0, 0, 4)));
    }

    #[test]
    fn a_hundred_thousand_addresses_of_a_slash_8_need_no_memory() {
        let mut plan = plan("10.0.0.0/8");
        for index in 0..100_000 {
            let expected = Ipv4Addr::from_bits(0x0A00_0004 + index);
            assert_eq!(plan.allocate(), Ok(expected));
        }
        assert!(plan.ahead.is_empty() && plan.taken() == 100_000);
    }

    proptest! {
        #[test]
        fn plan_agrees_with_a_plain_set_of_addresses(
            steps in proptest::collection::vec(
                prop_oneof![Just(None), any::<u8>().prop_map(|low| Some(low & 0x3F))],
                0..120,
            )
        ) {
            let mut plan = plan("10.0.0.0/27");
            let mut taken = BTreeSet::new();
            for step in steps {
                match step {
                    None => {
                        let lowest = (4..31).map(at).find(|address| !taken.contains(address));
                        prop_assert_eq!(plan.allocate().ok(), lowest);
                        taken.extend(lowest);
                    }
                    Some(low) => {
                        let fits = (4..31).contains(&low) && taken.insert(at(low));
                        prop_assert_eq!(plan.reserve(at(low)).is_ok(), fits);
                    }
                }
                for low in 0..64 {
                    prop_assert_eq!(plan.is_taken(at(low)), taken.contains(&at(low)));
                }
                prop_assert_eq!(plan.taken(), taken.len() as u64);
            }
        }
    }
}
