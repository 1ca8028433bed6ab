use core::fmt;

/// The LINKID of one private endpoint connection: tells overlapping consumers apart.
///
/// Azure gives it to the provider as `linkIdentifier` and in PROXY v2 TLV 0xEE (PP-2, PP-4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u32);

impl fmt::Display for LinkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#010x}", self.0)
    }
}

/// The position of a Private Link Service in the scenario.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PlsId(pub u16);

impl PlsId {
    /// What stands for the service of a packet that came through none: of a client that dials a load
    /// balancer's frontend itself.
    pub const NONE: Self = Self(u16::MAX);
}

/// The position of a backend VM in the scenario.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BackendId(pub u16);
