//! Faults that can be planted to prove that the checkers would find them.
//!
//! A silent checker is worse than none. With the feature `canary` one fault at a time can be
//! planted for the whole process; without it [`planted`] is a constant false and nothing is left
//! of a fault in the program.

/// A fault, each at one place of the code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Fault {
    /// Some flows get a NAT port that may be another's.
    PortClash = 1,
    /// A RST is believed whatever its sequence number.
    ResetBelieved,
    /// The port range ends one port later than configured.
    PortOutOfRange,
    /// Bindings expire a microsecond early.
    EarlyExpiry,
    /// Bindings expire a microsecond late, in look-ups, too.
    LateExpiry,
    /// The TCP checksum of some rewritten packets is wrong.
    BadChecksum,
    /// Some replies go to the owner of the next port.
    CrossDelivery,
    /// Some packets reach the backend twice.
    Duplicate,
    /// A port is not held down after FIN from both sides.
    FinFreedEarly,
}

impl Fault {
    /// Every fault.
    pub const ALL: [Self; 9] = [
        Self::PortClash,
        Self::ResetBelieved,
        Self::PortOutOfRange,
        Self::EarlyExpiry,
        Self::LateExpiry,
        Self::BadChecksum,
        Self::CrossDelivery,
        Self::Duplicate,
        Self::FinFreedEarly,
    ];
}

/// Tells whether a fault is planted.
#[cfg(not(feature = "canary"))]
#[must_use]
#[inline]
pub const fn planted(_: Fault) -> bool {
    false
}

/// Tells whether a fault is planted.
#[cfg(feature = "canary")]
#[must_use]
#[inline]
pub fn planted(fault: Fault) -> bool {
    PLANTED.load(core::sync::atomic::Ordering::Relaxed) == fault as u8
}

/// Plants a fault for the whole process in place of the one before, or none.
#[cfg(feature = "canary")]
pub fn plant(fault: Option<Fault>) {
    let fault = fault.map_or(0, |fault| fault as u8);
    PLANTED.store(fault, core::sync::atomic::Ordering::Relaxed);
}

#[cfg(feature = "canary")]
static PLANTED: core::sync::atomic::AtomicU8 = core::sync::atomic::AtomicU8::new(0);
